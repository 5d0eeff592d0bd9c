#!/bin/sh
# test.sh SUITE…: runs suites, shows what each prints, and closes with "N passed, N failed".
#   unit        every spec on Lua 5.4 and LuaJIT, and what runs inside nginx, whose Lua is LuaJIT
#               whoever tests it; side by side (alone: unit_lua54, unit_luajit, nginx)
#   sanitize    specs against a core built with ASan and UBSan, but for those of nginx and a few
#               others; side by side (alone: sanitize_lua54, sanitize_luajit)
#   quick       all that `make test` runs but for check: every spec once on each Lua (plain on LuaJIT,
#               but for those of the tools and the simulator: quick_luajit; on Lua 5.4 those of what is
#               in C under the sanitizers: quick_sanitize; the others plain: rest_lua54), nginx, clang,
#               oom_quick, rock and third, five at a time
#   clang       the C sources compile under clang without a warning
#   check       layers, lengths, linter, documentation
#   rock        LuaRocks builds, packs, installs and removes us, offline (rock_all: in every way)
#   third       a mock server from npm through our client; OpenAI's SDK and curl through our gateway;
#               a model in llama.cpp as the edge of examples/edge; the page of /status in Chromium;
#               what is in deploy/; unbusy scale with a kubectl; Prometheus and Alertmanager
#   oom         every allocation fails once: Lua's and libcurl's, under ASan (the core's are in unit)
#   oom_quick   the same for some of Lua's, on Lua 5.4, without ASan
#   fuzz        random bytes for all that reads the network, UNBUSY_FUZZ_SECONDS (60) for each target
#   valgrind    specs of the parts, of JSON and of calls in virtual time under memcheck
#   collector   specs while garbage is collected all the time, in each of the collector's modes
#   soak        a million calls leave memory flat (UNBUSY_SOAK=0.01 for a hundredth of them), and
#               processes killed at every instruction leave shared memory sound
#   tsan        the bell's thread under ThreadSanitizer
#   chaos       everything at once in virtual time: UNBUSY_CHAOS calls (1,000,000, of which half run on
#               each Lua) in which whatever must hold is looked at
#   long        the long ones, as many at a time as there are processors
#   soak_gateway  a gateway under a varying load, for UNBUSY_SOAK_SECONDS
set -u
cd "$(dirname "$0")/.."

passed=0
failed=0
log=$(mktemp)
if [ -z "${UNBUSY_FAILURES:-}" ]; then # a file: what has failed, told again at the end
  export UNBUSY_FAILURES=$(mktemp)
  outermost=yes
fi
trap 'rm -f "$log" ${outermost:+"$UNBUSY_FAILURES"}' EXIT

fail() { # WHAT
  failed=$((failed + 1))
  echo "FAILED: $1" | tee -a "$UNBUSY_FAILURES"
}

# Add the counts of a busted run, whose last summary line looks like
# "7 successes / 0 failures / 0 errors / 0 pending : 0.12 seconds".
count_busted() {
  line=$(grep -E '^[0-9]+ success(es)? / [0-9]+ failures? / [0-9]+ errors?' "$log" | tail -1)
  if [ -z "$line" ]; then
    fail "no summary: the run ended early: $(tail -n 3 "$log")"
    return
  fi
  set -- $(echo "$line" | tr -c '0-9' ' ')
  passed=$((passed + $1))
  failed=$((failed + $2 + $3))
  [ $(($2 + $3)) = 0 ] || sed -n '/^[0-9]* success/,$p' "$log" | head -n 100 >>"$UNBUSY_FAILURES"
}

# one COMMAND…: counts as one test.
one() {
  if "$@"; then passed=$((passed + 1)); else fail "$*"; fi
}

paths="LUA_PATH=./lua/?.lua;./lua/?/init.lua;./?.lua;./?/init.lua;;"

# UNBUSY_LUA tells the specs what can run our core in a process of its own.
busted_with() { # HOST CORE_DIR [option or spec…]
  host=$1 core=$2
  shift 2
  env "$paths" LUA_CPATH="$core/?.so;;" UNBUSY_LUA="$host" \
    ${checker:-} "$host" ${lua_options:-} /usr/bin/busted --output=plainTerminal --pattern=_spec \
    "$@" 2>&1 | tee "$log"
  count_busted
}

BATCH=6 # files for one process: each fork and each look for leaks costs more in a large one

in_batches() { # HOST CORE_DIR spec…; with busted's options in $busted_options
  host=$1 core=$2
  shift 2
  while [ $# -gt 0 ]; do
    batch= n=0
    while [ $# -gt 0 ] && [ $n -lt $BATCH ]; do
      batch="$batch $1" n=$((n + 1))
      shift
    done
    busted_with "$host" "$core" ${busted_options:-} $batch
  done
}

nginx_specs() {
  find spec -name '*_spec.lua' |
    grep -e /gateway/ -e /nginx/ -e /serve -e /docs_openresty_spec | sort
}

other_specs() {
  find spec -name '*_spec.lua' |
    grep -v -e /gateway/ -e /nginx/ -e /serve -e /docs_openresty_spec | sort
}

# Suites, so many at the same time, each in a shell of its own, or several of them in one, one after
# the other; what they print comes shell by shell.
at_once() { # HOW_MANY "SUITE…"…
  most=$1
  shift
  printed=$(mktemp -d)
  n=0
  for suites; do
    n=$((n + 1))
    echo "$n $suites"
  done | xargs -P "$most" -L 1 sh -c 'n=$1; shift; sh tools/test.sh "$@" >"$0/$n" 2>&1
    echo "== ended: $*: $(tail -n 1 "$0/$n")"' "$printed"
  for n in $(seq $#); do
    sed '$d' "$printed/$n"
    add_counts "$(tail -1 "$printed/$n")"
  done
  rm -rf "$printed"
}

# Add the counts of a suite's last line; one that has none ended early.
add_counts() { # "N passed, N failed"
  case $1 in
    *" passed, "*" failed")
      line=${1% failed}
      passed=$((passed + ${line%% *})) failed=$((failed + ${line##* })) ;;
    *) fail "no summary of a suite: $1" ;;
  esac
}

unit_on() { # LUA
  echo "== specs on $1"
  in_batches "$1" "build/$1" $(other_specs)
}

without_ffi() {
  echo "== on luajit without the FFI: what it serves otherwise"
  export UNBUSY_FFI=off
  busted_with luajit build/luajit spec/balancer*_spec.lua spec/breaker*_spec.lua \
    spec/limiter*_spec.lua spec/metrics_spec.lua spec/sse*_spec.lua
  unset UNBUSY_FFI
}

tools="/(demo|cli|install|readme|docs_policies|docs_simulator|signs|busyd|busyd_load)_spec|/(cli|simulate|performance)/"

# Most of a spec's code runs once or twice: compiled less eagerly, it is done in half the time.
lazily="-Ohotloop=500,hotexit=200"

# Of the quick run: the tools, the simulator and what is tried in it, which are Lua alone, are left to
# Lua 5.4, and so is what kills processes in the midst of C.
quick_luajit() {
  echo "== specs on luajit"
  lua_options=$lazily
  in_batches luajit build/luajit $(other_specs |
    grep -v -E "$tools|/policies/|/(chaos|inspect|names)_spec|_kill_spec")
  without_ffi
  lua_options=
}

unit_lua54() { unit_on lua5.4; }
unit_luajit() { unit_on luajit; without_ffi; }
unit() { at_once 3 unit_lua54 unit_luajit nginx; }

nginx() {
  echo "== specs inside nginx"
  lua_options=$lazily
  in_batches luajit build/luajit $(nginx_specs)
  lua_options=
}

sanitizers="-fsanitize=address,undefined -fno-sanitize-recover=undefined"

# Build the core, and a host that runs Lua, with the sanitizers.
sanitized_build() { # LUA
  make -s BUILD=build/asan OPT="-O1 -g -fno-omit-frame-pointer" \
    EXTRA_CFLAGS="$sanitizers" EXTRA_LDFLAGS="$sanitizers" "$1" &&
  gcc -g $sanitizers $(pkg-config --cflags "$1") -o "build/asan/$1/host" spec/support/host.c \
    $(pkg-config --libs "$1")
}

# Without what takes long and runs little of the C: a tool, a crowd, a kill at each step.
sanitized_specs() { # LUA
  but="$tools|/(inspect|names|scheduler_memory)_spec|/policies/|/policy/bad_input_spec|_kill_spec"
  [ "$1" = lua5.4 ] || but="$but|/faults_spec|_model_spec|_processes_spec"
  other_specs | grep -v -E "$but"
}

# Of those the ones about what is in C, and about everything at once: for the quick run.
quick_sanitized_specs() {
  but='/(batch|caching|coalesce|diagnose|escalation|fallback|hedging|metrics|policy|providers|resume'
  but="$but|routing|scaling|stages|warm)/|/(chaos|docs_[a-z_]+|lua_openai|queue|queue_chance)_spec"
  but="$but|/status[a-z_]*_spec"
  but="$but|_model_spec"
  sanitized_specs lua5.4 | grep -v -E "$but"
}

sanitize_on() { # LUA SPEC…
  lua=$1
  shift
  echo "== specs on $lua under ASan and UBSan"
  sanitized_build "$lua" || { fail "sanitized_build $lua"; return; }
  # (Much that is kept after it was freed makes each fork dear.)
  export ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=16 UNBUSY_SANITIZED=1
  BATCH=5
  in_batches "build/asan/$lua/host" "build/asan/$lua" "$@"
  BATCH=6
  unset ASAN_OPTIONS UNBUSY_SANITIZED
}

sanitize_lua54() { sanitize_on lua5.4 $(sanitized_specs lua5.4); }
sanitize_luajit() { sanitize_on luajit $(sanitized_specs luajit); }
sanitize() { at_once 2 sanitize_lua54 sanitize_luajit; }
quick_sanitize() { sanitize_on lua5.4 $(quick_sanitized_specs); }

# What the quick run has not under the sanitizers.
rest_lua54() {
  sanitized=$(mktemp)
  quick_sanitized_specs >"$sanitized"
  echo "== the other specs on lua5.4"
  in_batches lua5.4 build/lua5.4 $(other_specs | grep -v -x -F -f "$sanitized")
  rm -f "$sanitized"
}

quick() {
  at_once 5 "quick_luajit oom_quick" quick_sanitize "nginx clang" rest_lua54 "third rock"
}

clang_build() {
  echo "== clang"
  one make -s CC=clang OPT=-O0 BUILD=build/clang
}

check() {
  echo "== check"
  one make -s check
}

rock() {
  echo "== rock"
  one sh spec/support/rock.sh
}

rock_all() {
  echo "== rock, in every way"
  one sh spec/support/rock.sh all
}

third() {
  if ! sh spec/support/third_party.sh install; then
    fail "spec/support/third_party.sh install"
    return
  fi
  for lua in lua5.4 luajit; do
    echo "== third-party mock on $lua"
    busted_third $lua third_party_third
  done
  echo "== OpenAI's SDK and curl through the gateway"
  busted_third luajit openai_third
  third_with model luajit edge_third "an edge node with a model in llama.cpp"
  third_with browser luajit status_third "the status page in Chromium"
  third_with kubernetes lua5.4 'deploy_%a+_third' "deploy/: Kubernetes, Istio, Karmada, the image"
  third_with kubernetes lua5.4 'scaling_%a+_third' "unbusy scale, a kubectl, Prometheus"
  third_with grafana lua5.4 'monitoring_%a+_third' "Prometheus, Alertmanager, Grafana's types"
}

third_with() { # WHAT-TO-INSTALL LUA PATTERN TITLE
  echo "== $4"
  if sh spec/support/third_party.sh "install-$1"; then
    busted_third "$2" "$3"
  else
    fail "spec/support/third_party.sh install-$1"
  fi
}

busted_third() { # LUA PATTERN
  env LUA_PATH="./lua/?.lua;./lua/?/init.lua;./?.lua;./?/init.lua;;" LUA_CPATH="build/$1/?.so;;" \
    "$1" /usr/bin/busted --output=plainTerminal --pattern="$2" spec 2>&1 | tee "$log"
  count_busted
}

# {== The long ones ============================================================

c_flags="-std=gnu11 -D_GNU_SOURCE -g -Wall -Wextra -Wpedantic -Werror -Icsrc"

# A host whose allocator fails; and a program whose libcurl lacks memory.
nomem_host() { # LUA FLAGS TO
  mkdir -p "$(dirname "$3")"
  gcc $c_flags $2 $(pkg-config --cflags "$1") -o "$3" spec/support/host_nomem.c \
    spec/support/loopback.c $(pkg-config --libs "$1")
}

nomem_run() { # HOST CORE_DIR STEP
  env "$paths" LUA_CPATH="$2/?.so;;" "$1" spec/support/nomem_scenarios.lua "$3" 2>&1 | tee "$log"
  count_busted
}

oom_quick() {
  echo "== out of memory"
  one nomem_host lua5.4 -O1 build/nomem/lua5.4
  nomem_run build/nomem/lua5.4 build/lua5.4 13
}

engine_nomem() {
  mkdir -p build/asan
  gcc $c_flags -O1 -fno-omit-frame-pointer $sanitizers -o build/asan/engine_nomem \
    spec/support/engine_nomem.c spec/support/loopback.c csrc/base/*.c csrc/engine/*.c \
    -lcurl -lpthread -lm &&
  ASAN_OPTIONS=detect_leaks=1:handle_segv=0:handle_sigfpe=0 build/asan/engine_nomem
}

oom_curl() {
  echo "== libcurl out of memory"
  one engine_nomem
}

oom_on() { # LUA
  echo "== out of memory on $1 under ASan and UBSan"
  sanitized_build "$1" && nomem_host "$1" "-O1 $sanitizers" "build/asan/$1/host_nomem" ||
    { fail "nomem_host $1"; return; }
  export ASAN_OPTIONS=detect_leaks=0
  nomem_run "build/asan/$1/host_nomem" "build/asan/$1" 1
  unset ASAN_OPTIONS
}

oom_lua54() { oom_on lua5.4; }
oom_luajit() { oom_on luajit; }
oom() { at_once 3 oom_curl oom_lua54 oom_luajit; }

fuzz() {
  echo "== fuzz, ${UNBUSY_FUZZ_SECONDS:-60} s for each target"
  one sh spec/fuzz/run.sh build
  for target in $(sh spec/fuzz/run.sh list); do
    one sh spec/fuzz/run.sh "$target"
  done
}

# Specs that neither start a server nor many processes of their own, and are not of Lua alone, as a
# policy's hours in virtual time; nor those that step through a child of theirs, which would step
# through valgrind.
memcheck_specs() {
  grep -rL --include='*_spec.lua' -e busyd -e raw_server -e engines.child -e popen -e os.execute \
    -e files.output -e files.trimmed spec |
    grep -v -e /loops/ -e 0225- -e every_byte -e long_texts -e simulat -e /polic -e options_spec \
      -e _kill_spec -e _processes_spec | sort
}

valgrind_on() { # LUA
  echo "== specs on $1 under valgrind"
  logs=build/valgrind/$1.logs # one of each process
  rm -rf "$logs"
  mkdir -p "$logs"
  gcc -g -O1 $(pkg-config --cflags "$1") -o "build/valgrind/$1" spec/support/host.c \
    $(pkg-config --libs "$1") || { fail "valgrind's host for $1"; return; }
  export UNBUSY_SANITIZED=1
  checker="valgrind -q --leak-check=full --show-leak-kinds=definite --num-callers=25
    --log-file=$logs/%p"
  busted_options=--helper=spec/support/interpreted.lua
  in_batches "build/valgrind/$1" "build/$1" $(memcheck_specs)
  checker= busted_options=
  unset UNBUSY_SANITIZED
  one no_faults "$logs"
}

valgrind_lua54() { valgrind_on lua5.4; }
valgrind_luajit() { valgrind_on luajit; }
valgrind() { at_once 2 valgrind_lua54 valgrind_luajit; }

no_faults() { # FOLDER
  told=$(cat "$1"/*)
  [ -z "$told" ] || { echo "$told"; return 1; }
}

# What runs in processes of its own is out of the helper's reach, and a crowd takes hours.
collector_specs() {
  other_specs |
    grep -v -E '/(demo|cli|install|readme|docs_simulator|busyd|busyd_load|faults|engine_leaving)_spec|/(cli|simulate)/' | sort
}

collector_on() { # LUA MODE
  echo "== specs on $1, the collector always at work ($2)"
  export UNBUSY_COLLECTOR="$2"
  busted_options=--helper=spec/support/collector.lua
  BATCH=2 # what one file leaves is marked again and again while the others run
  in_batches "$1" "build/$1" $(collector_specs)
  BATCH=6 busted_options=
  unset UNBUSY_COLLECTOR
}

collector_lua54() { collector_on lua5.4 incremental; }
collector_generational() { collector_on lua5.4 generational; }
collector_luajit() { collector_on luajit incremental; }
collector() { at_once 3 collector_lua54 collector_generational collector_luajit; }

soak_on() { # LUA
  echo "== soak on $1"
  env "$paths" LUA_CPATH="build/$1/?.so;;" UNBUSY_LUA="$1" \
    "$1" /usr/bin/busted --output=plainTerminal --pattern=_soak spec 2>&1 | tee "$log"
  count_busted
  echo "== killed at every 11th instruction on $1"
  export UNBUSY_KILLS=11
  busted_with "$1" "build/$1" spec/region_kill_spec.lua spec/shared_kill_spec.lua
  export UNBUSY_KILLS=211
  busted_with "$1" "build/$1" spec/cache_kill_spec.lua spec/cache_file_spec.lua
  unset UNBUSY_KILLS
}

soak_lua54() { soak_on lua5.4; }
soak_luajit() { soak_on luajit; }
soak() { at_once 2 soak_lua54 soak_luajit; }

# The bell's thread, and whoever rings beside it, watched by ThreadSanitizer; that it watches at all
# is shown by a race that was planted.
tsan() {
  echo "== the bell under ThreadSanitizer"
  mkdir -p build/tsan
  one gcc $c_flags -O1 -fno-omit-frame-pointer -Wno-tsan -fsanitize=thread -o build/tsan/bell \
    spec/support/bell_threads.c csrc/base/*.c csrc/engine/*.c -lcurl -lpthread -lm
  one env TSAN_OPTIONS=halt_on_error=1 build/tsan/bell
  one finds_planted
}

finds_planted() {
  ! env TSAN_OPTIONS=halt_on_error=1 build/tsan/bell planted 2>build/tsan/planted.log &&
  grep -q "ThreadSanitizer: data race" build/tsan/planted.log
}

# Every second era on each Lua, side by side.
chaos() {
  at_once 2 chaos_lua54 chaos_luajit
}

chaos_on() { # LUA PART
  echo "== chaos on $1"
  one env "$paths" LUA_CPATH="build/$1/?.so;;" "$1" tools/chaos.lua "${UNBUSY_CHAOS:-1000000}" "$2" 2
}

chaos_lua54() { chaos_on lua5.4 1; }
chaos_luajit() { chaos_on luajit 2; }

soak_gateway() {
  env "$paths" LUA_CPATH="build/luajit/?.so;;" UNBUSY_LUA=luajit \
    luajit /usr/bin/busted --output=plainTerminal --pattern=metrics_soak spec/gateway 2>&1 | tee "$log"
  count_busted
}

# All of them, as many at a time as there are processors, the longest first; what builds the same
# files is one after the other.
long() {
  at_once "$(nproc)" valgrind_lua54 valgrind_luajit \
    collector_lua54 collector_generational collector_luajit \
    "sanitize_lua54 oom_lua54" "sanitize_luajit oom_luajit oom_curl" fuzz soak_lua54 soak_luajit \
    unit_lua54 unit_luajit rock_all chaos_luajit chaos_lua54 tsan
}

# }=============================================================================

for suite in "$@"; do
  case $suite in
    unit|unit_lua54|unit_luajit|nginx|sanitize|sanitize_lua54|sanitize_luajit) $suite ;;
    quick|quick_luajit|quick_sanitize|rest_lua54|oom_quick|check|rock|third) $suite ;;
    long|rock_all|oom|oom_curl|oom_lua54|oom_luajit|fuzz|tsan|chaos|chaos_lua54|chaos_luajit) $suite ;;
    valgrind|valgrind_lua54|valgrind_luajit|soak|soak_lua54|soak_luajit|soak_gateway) $suite ;;
    collector|collector_lua54|collector_generational|collector_luajit) $suite ;;
    clang) clang_build ;;
    *) echo "test.sh: no suite '$suite'" >&2; exit 2 ;;
  esac
  times >"$log"
  echo "== processor time up to the end of $suite, user and system: $(tail -n 1 "$log")"
done

if [ -n "${outermost:-}" ] && [ -s "$UNBUSY_FAILURES" ]; then
  echo
  echo "== what failed"
  cat "$UNBUSY_FAILURES"
fi
echo
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
