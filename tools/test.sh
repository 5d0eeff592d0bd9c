#!/bin/sh
# test.sh SUITE…: runs suites, shows what each prints, and closes with "N passed, N failed".
#   unit        every spec on Lua 5.4 and LuaJIT
#   sanitize    the same specs against a core built with ASan and UBSan
#   clang       the C sources compile under clang without a warning
#   check       layers, lengths, linter, documentation
#   rock        the rockspec builds and installs, offline
#   third       a mock server from npm, answered through our client
set -u
cd "$(dirname "$0")/.."

passed=0
failed=0
log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Add the counts of a busted run, whose last summary line looks like
# "7 successes / 0 failures / 0 errors / 0 pending : 0.12 seconds".
count_busted() {
  line=$(grep -E '^[0-9]+ success(es)? / [0-9]+ failures? / [0-9]+ errors?' "$log" | tail -1)
  if [ -z "$line" ]; then
    failed=$((failed + 1))
    echo "no summary: the run ended early"
    return
  fi
  set -- $(echo "$line" | tr -c '0-9' ' ')
  passed=$((passed + $1))
  failed=$((failed + $2 + $3))
}

# one COMMAND…: counts as one test.
one() {
  if "$@"; then passed=$((passed + 1)); else failed=$((failed + 1)); echo "FAILED: $*"; fi
}

# UNBUSY_LUA tells the specs what can run our core in a process of its own.
busted_with() { # HOST CORE_DIR [spec…]
  host=$1 core=$2
  shift 2
  env LUA_PATH="./lua/?.lua;./lua/?/init.lua;./?.lua;./?/init.lua;;" LUA_CPATH="$core/?.so;;" \
    UNBUSY_LUA="$host" "$host" /usr/bin/busted --output=plainTerminal --pattern=_spec "${@:-spec}" 2>&1 | tee "$log"
  count_busted
}

unit() {
  for lua in lua5.4 luajit; do
    echo "== specs on $lua"
    busted_with $lua "build/$lua"
  done
  echo "== on luajit without the FFI: what it serves otherwise"
  export UNBUSY_FFI=off
  busted_with luajit build/luajit spec/breaker*_spec.lua spec/limiter*_spec.lua spec/sse*_spec.lua
  unset UNBUSY_FFI
}

sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=undefined"

# Build the core, and a host that runs Lua, with the sanitizers.
sanitized_build() { # LUA
  make -s BUILD=build/asan OPT="-O1 -g -fno-omit-frame-pointer" \
    EXTRA_CFLAGS="$sanitizers" EXTRA_LDFLAGS="$sanitizers" "$1" &&
  gcc -g $sanitizers $(pkg-config --cflags "$1") -o "build/asan/$1/host" spec/support/host.c \
    $(pkg-config --libs "$1")
}

sanitize() {
  for lua in lua5.4 luajit; do
    echo "== specs on $lua under ASan and UBSan"
    sanitized_build $lua || { failed=$((failed + 1)); continue; }
    export ASAN_OPTIONS=detect_leaks=0 UNBUSY_SANITIZED=1
    busted_with "build/asan/$lua/host" "build/asan/$lua"
    unset ASAN_OPTIONS UNBUSY_SANITIZED
  done
}

clang_build() {
  echo "== clang"
  one make -s CC=clang BUILD=build/clang
}

check() {
  echo "== check"
  one make -s check
}

rock() {
  echo "== rock"
  one sh spec/support/rock.sh
}

third() {
  if ! sh spec/support/third_party.sh install; then
    failed=$((failed + 1))
    return
  fi
  for lua in lua5.4 luajit; do
    echo "== third-party mock on $lua"
    busted_third $lua
  done
}

busted_third() { # LUA
  env LUA_PATH="./lua/?.lua;./lua/?/init.lua;./?.lua;./?/init.lua;;" LUA_CPATH="build/$1/?.so;;" \
    "$1" /usr/bin/busted --output=plainTerminal --pattern=_third spec 2>&1 | tee "$log"
  count_busted
}

for suite in "$@"; do
  case $suite in
    unit|sanitize|check|rock|third) $suite ;;
    clang) clang_build ;;
    *) echo "test.sh: no suite '$suite'" >&2; exit 2 ;;
  esac
done

echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
