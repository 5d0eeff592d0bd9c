#!/bin/sh
# third_party.sh: somebody else's mock of an LLM API, from npm, so that nothing of ours is on both
# ends. The versions stand in third_party/package-lock.json.
#   install          puts it into build/third_party, if it is not there yet
#   start FIXTURES   becomes the server: prints its pid, then what it says ("listening on http://…").
#                    It takes a free port of 127.0.0.1 and dies with whoever started it.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
pins=$root/spec/support/third_party
into=$root/build/third_party
# As CommonJS, since only there node18.cjs can add what an older Node.js lacks.
server=$into/node_modules/@copilotkit/aimock/dist/cli.cjs

fail() {
  echo "third_party.sh: $*" >&2
  exit 1
}

need() {
  command -v "$1" >/dev/null 2>&1 || fail "no $1: install Node.js (18 or newer) with npm"
}

install() {
  need node
  major=$(node -p 'process.versions.node.split(".")[0]') || fail "node does not run"
  [ "$major" -ge 18 ] || fail "Node.js $(node -v) is too old: 18 or newer"
  # Written last, so that an install that was broken off is done again.
  cmp -s "$pins/package-lock.json" "$into/installed.json" && [ -e "$server" ] && return
  need npm
  rm -rf "$into"
  mkdir -p "$into"
  cp "$pins/package.json" "$pins/package-lock.json" "$into/"
  (cd "$into" && npm ci --omit=optional --ignore-scripts --no-audit --no-fund \
    --engine-strict=false --loglevel=error) >"$into/npm.log" 2>&1 || {
    tail -20 "$into/npm.log" >&2
    fail "npm could not install the mock server"
  }
  [ -e "$server" ] || fail "npm installed no $server"
  cp "$pins/package-lock.json" "$into/installed.json"
}

# The parent may have died before the kernel was asked to tell of it: so look once more.
serve() { # PARENT FIXTURES
  [ "$PPID" = "$1" ] || exit 1
  echo $$
  exec env -u NODE_OPTIONS node --require "$pins/node18.cjs" "$server" \
    --host 127.0.0.1 --port 0 --fixtures "$2" --metrics --journal-max 0
}

case "${1:-} $#" in
  "install 1") install ;;
  "start 2")
    [ -e "$server" ] || fail "not installed: run 'sh spec/support/third_party.sh install'"
    exec setpriv --pdeathsig KILL sh "$0" serve "$PPID" "$2" ;;
  "serve 3") serve "$2" "$3" ;;
  *) fail "install, or start FIXTURES?" ;;
esac
