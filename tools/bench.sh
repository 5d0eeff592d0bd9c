#!/bin/sh
# bench.sh [NAME…]: runs the benches of bench/, prints what they say, and keeps what they tell in
# build/bench/results/NAME.LUA.jsonl (see bench/support/results.lua).
#   bench/NAME.lua    on lua5.4 and luajit, with UNBUSY_BENCH_DIR for what it builds
#   bench/c/NAME.c    floors and peers in C: built first, to UNBUSY_BENCH_DIR/NAME
# Without a name all of them, shorter than by themselves (UNBUSY_BENCH_TURNS) and those of $once and
# $waiting on LuaJIT alone; then docs/performance.md is written. One that fails is told at the end,
# and on the page; the others go on.
set -eu
cd "$(dirname "$0")/.."
UNBUSY_BENCH_DIR=$PWD/build/bench
export UNBUSY_BENCH_DIR
results=$UNBUSY_BENCH_DIR/results
paths="LUA_PATH=./lua/?.lua;./lua/?/init.lua;./?.lua;./?/init.lua;;"

# It is nginx that is measured, or all is in C.
once="batch entries gateway hits nginx replay"
# They wait most of the time, whichever Lua does it: two of them at a time.
waiting="spill warm gateways limits scale hedge blackout edge failover brownout flight"

ulimit -n "$(ulimit -Hn)" 2>/dev/null || true # thousands of streams

build() {
  mkdir -p "$results"
  for source in bench/c/*.c; do
    [ -e "$source" ] || continue
    program=$UNBUSY_BENCH_DIR/$(basename "$source" .c)
    case $source in */redis_*) hiredis=-lhiredis ;; *) hiredis= ;; esac
    [ "$program" -nt "$source" ] ||
      cc -O2 -g -std=gnu11 -D_GNU_SOURCE -Icsrc -o "$program" "$source" csrc/base/*.c \
        csrc/parts/*.c -lcurl $hiredis -lpthread -lm
  done
}

run() { # NAME LUA
  echo "== $1 on $2"
  export UNBUSY_BENCH_RESULTS="$results/$1.$2.jsonl"
  began=$(date +%s)
  first=$(printf '{"kind":"run","at":%d,"load":%s}' "$began" "$(cut -d' ' -f1 /proc/loadavg)")
  echo "$first" >"$UNBUSY_BENCH_RESULTS"
  if env "$paths" LUA_CPATH="build/$2/?.so;;" "$2" "bench/$1.lua"; then
    printf '{"kind":"end","seconds":%d}\n' $(($(date +%s) - began)) >>"$UNBUSY_BENCH_RESULTS"
  else
    printf '%s\n{"kind":"end","seconds":%d,"failed":true}\n' "$first" \
      $(($(date +%s) - began)) >"$UNBUSY_BENCH_RESULTS"
  fi
}

# Two at a time; what they print comes one after the other.
run_waiting() {
  printed=$(mktemp -d)
  echo $waiting | tr ' ' '\n' | xargs -P 2 -I NAME \
    sh -c 'sh tools/bench.sh --one NAME luajit >"$0/NAME" 2>&1' "$printed"
  for name in $waiting; do cat "$printed/$name"; done
  rm -r "$printed"
}

is_in() { # NAME LIST
  case " $2 " in *" $1 "*) return 0 ;; *) return 1 ;; esac
}

# Of the whole, a bench has fewer turns than by itself.
turns_of() { # NAME
  case $1 in
    batch) echo 1 ;;
    gateway | nginx | simulate) echo 2 ;;
    *) echo 5 ;;
  esac
}

run_all() {
  rm -f "$results"/*
  for name in $(basename -s .lua -a bench/*.lua); do
    is_in "$name" "$waiting" && continue
    turns=${UNBUSY_BENCH_TURNS:-$(turns_of "$name")}
    is_in "$name" "$once" || (export UNBUSY_BENCH_TURNS=$turns; run "$name" lua5.4)
    (export UNBUSY_BENCH_TURNS=$turns UNBUSY_BENCH_SECONDS=${UNBUSY_BENCH_SECONDS:-2}
      run "$name" luajit)
  done
  run_waiting
  env "$paths" LUA_CPATH="build/lua5.4/?.so;;" lua5.4 tools/performance.lua "$results"
}

if [ "${1:-}" = --one ]; then # NAME LUA
  run "$2" "$3"
  exit
fi
build
if [ $# -gt 0 ]; then
  files=
  for name; do
    run "$name" lua5.4
    run "$name" luajit
    files="$files $name.lua5.4.jsonl $name.luajit.jsonl"
  done
else
  run_all
  files="*"
fi
failed=$(cd "$results" && grep -l '"failed":true' $files || true)
[ -z "$failed" ] || { echo "failed: $failed" >&2; exit 1; }
