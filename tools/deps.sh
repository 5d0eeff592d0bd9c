#!/bin/sh
# deps.sh LEVEL: installs what is missing on Debian; elsewhere says what is needed.
#   build   compiler, both Luas, libcurl, lua-cjson
#   demo    and what the busy upstream runs on: nginx with its Lua module
#   test    and the test runner, the linter, LDoc, LuaRocks, clang, Node.js, cqueues, luv, LuaSocket,
#           Neovim, hiredis, a Redis server, Chromium, Prometheus with Alertmanager and node_exporter;
#           yamllint
#   claims  what demo has, Prometheus with Alertmanager and node_exporter, and Node.js for a kubectl
#   bench   and what gives the benches a network of their own; Lua-cURL, a peer
#   docs    LDoc, which makes the pages of `make docs`
set -eu

build="gcc libc6-dev make pkg-config lua5.4 liblua5.4-dev luajit2 libluajit2-5.1-dev
  libcurl4-openssl-dev libxxhash-dev lua-cjson"
demo="nginx-light libnginx-mod-http-lua lua-resty-core curl openssl procps util-linux"
test="lua-busted lua-check lua-ldoc luarocks zip unzip clang libclang-rt-14-dev nodejs npm
  ca-certificates valgrind lua-cqueues lua-luv lua-socket neovim wrk libhiredis-dev redis-server chromium
  prometheus prometheus-alertmanager prometheus-node-exporter yamllint"
claims="prometheus prometheus-alertmanager prometheus-node-exporter nodejs npm ca-certificates unzip"
bench="iproute2 lua-curl"

case "${1:-build}" in
  build) wanted=$build ;;
  demo) wanted="$build $demo" ;;
  test) wanted="$build $demo $test" ;;
  claims) wanted="$build $demo $claims" ;;
  bench) wanted="$build $demo $test $bench" ;;
  docs) wanted="$build lua-ldoc" ;;
  *) echo "deps.sh: build, demo, test, claims, bench or docs?" >&2; exit 2 ;;
esac

if ! command -v apt-get >/dev/null 2>&1; then
  cat <<TXT
This is not Debian, so nothing is installed for you. Needed, by their Debian names:
  to build:  $(echo $build)
  for the demo and the tests too:  $(echo $demo $test)
LuaJIT is OpenResty's (luajit2); libcurl is 7.85 or newer.
TXT
  exit 0
fi

installed() { dpkg-query -W -f '${Status}' "$1" 2>/dev/null | grep -q '^install ok installed$'; }

# Node.js may be there without being Debian's, and then Debian's npm cannot be installed beside it.
provided() {
  case $1 in
    nodejs) command -v node >/dev/null 2>&1 ;;
    npm) command -v npm >/dev/null 2>&1 ;;
    *) return 1 ;;
  esac
}

missing=
for package in $wanted; do
  installed "$package" || provided "$package" || missing="$missing $package"
done
[ -n "$missing" ] || exit 0

sudo=
if [ "$(id -u)" != 0 ]; then
  command -v sudo >/dev/null 2>&1 || {
    echo "Missing:$missing" >&2
    echo "Install them, or run this as root." >&2
    exit 1
  }
  sudo="sudo env DEBIAN_FRONTEND=noninteractive"
fi
export DEBIAN_FRONTEND=noninteractive
echo "installing:$missing"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { $sudo apt-get update -q && $sudo apt-get install -q -y --no-install-recommends $missing; } \
    >"$log" 2>&1; then
  tail -20 "$log" >&2
  exit 1
fi
