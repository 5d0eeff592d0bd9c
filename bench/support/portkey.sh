#!/bin/sh
# portkey.sh: the Portkey gateway from npm, which other gateways are measured against. The versions
# stand in portkey/package-lock.json.
#   install     puts it into build/portkey, if it is not there yet
#   find        fails where it is not there
#   start       runs it until its input ends: prints "pid …", and "url http://127.0.0.1:…" once it
#               answers
# It listens on all interfaces: only start it where there is none but loopback (unshare -n).
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
pins=$root/bench/support/portkey
into=$root/build/portkey
server=$into/node_modules/@portkey-ai/gateway/build/start-server.js

fail() {
  echo "portkey.sh: $*" >&2
  exit 1
}

install() {
  sh "$root/bench/support/npm.sh" "$pins" "$into" @portkey-ai/gateway/build/start-server.js
}

find() {
  [ -e "$server" ] || fail "not installed"
}

start() {
  find
  ! ip -o link show up | grep -qv ' lo:' || fail "there are interfaces besides loopback"
  port=$((20000 + $(od -An -N2 -tu2 /dev/urandom) % 10000))
  setpriv --pdeathsig KILL node "$server" --headless --port=$port </dev/null >"$into/log" 2>&1 &
  pid=$!
  trap 'kill $pid' EXIT
  echo "pid $pid"
  for _ in $(seq 300); do
    curl -s -o /dev/null "http://127.0.0.1:$port/" && break
    kill -0 $pid || fail "$(tail -5 "$into/log")"
    sleep 0.1
  done
  echo "url http://127.0.0.1:$port"
  cat >/dev/null
}

case "${1:-}" in
  install|find|start) "$1" ;;
  *) fail "install, find or start?" ;;
esac
