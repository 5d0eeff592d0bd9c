#!/bin/sh
# third_party.sh: from npm, somebody else's mock of an LLM API, so that nothing of ours is on both
# ends, and OpenAI's SDK. The versions stand in third_party/package-lock.json.
#   install          puts them into build/third_party, if they are not there yet
#   start FIXTURES   becomes the server: prints its pid, then what it says ("listening on http://…").
#                    It takes a free port of 127.0.0.1 and dies with whoever started it.
#   sdk NAME JSON    runs third_party/openai/NAME.mjs, which is given JSON; OPENAI_BASE_URL and
#                    OPENAI_API_KEY say who is asked
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
pins=$root/spec/support/third_party
into=$root/build/third_party
# As CommonJS, since only there node18.cjs can add what an older Node.js lacks.
server=$into/node_modules/@copilotkit/aimock/dist/cli.cjs
sdk=$into/node_modules/openai/index.mjs

fail() {
  echo "third_party.sh: $*" >&2
  exit 1
}

need() {
  command -v "$1" >/dev/null 2>&1 || fail "no $1: install Node.js (18 or newer) with npm"
}

installed() { [ -e "$server" ] && [ -e "$sdk" ]; }

need_install() {
  installed || fail "not installed: run 'sh spec/support/third_party.sh install'"
}

install() {
  need node
  major=$(node -p 'process.versions.node.split(".")[0]') || fail "node does not run"
  [ "$major" -ge 18 ] || fail "Node.js $(node -v) is too old: 18 or newer"
  # Written last, so that an install that was broken off is done again.
  cmp -s "$pins/package-lock.json" "$into/installed.json" && installed && return
  need npm
  rm -rf "$into"
  mkdir -p "$into"
  cp "$pins/package.json" "$pins/package-lock.json" "$into/"
  (cd "$into" && npm ci --omit=optional --ignore-scripts --no-audit --no-fund \
    --engine-strict=false --loglevel=error) >"$into/npm.log" 2>&1 || {
    tail -20 "$into/npm.log" >&2
    fail "npm could not install what is in $pins/package.json"
  }
  installed || fail "npm has not installed $server and $sdk"
  cp "$pins/package-lock.json" "$into/installed.json"
}

# The parent may have died before the kernel was asked to tell of it: so look once more.
serve() { # PARENT FIXTURES
  [ "$PPID" = "$1" ] || exit 1
  echo $$
  exec env -u NODE_OPTIONS node --require "$pins/node18.cjs" "$server" \
    --host 127.0.0.1 --port 0 --fixtures "$2" --metrics --journal-max 0
}

# Nothing of the developer's own tells the SDK what to do, nor sends it by way of a proxy.
run_sdk() { # NAME JSON
  exec env -i PATH="$PATH" OPENAI_SDK="$sdk" OPENAI_BASE_URL="${OPENAI_BASE_URL:?}" \
    OPENAI_API_KEY="${OPENAI_API_KEY:?}" \
    setpriv --pdeathsig KILL node --no-warnings "$pins/openai/$1.mjs" "$2"
}

case "${1:-} $#" in
  "install 1") install ;;
  "start 2")
    need_install
    exec setpriv --pdeathsig KILL sh "$0" serve "$PPID" "$2" ;;
  "sdk 3")
    need_install
    run_sdk "$2" "$3" ;;
  "serve 3") serve "$2" "$3" ;;
  *) fail "install, start FIXTURES, or sdk NAME JSON?" ;;
esac
