#!/bin/sh
# bench.sh [NAME…]: runs the benches of bench/, prints what they say, and keeps what they tell in
# build/bench/results/NAME.LUA.jsonl (see bench/support/results.lua).
#   bench/NAME.lua    on lua5.4 and luajit, with UNBUSY_BENCH_DIR for what it builds
#   bench/c/NAME.c    floors and peers in C: built first, to UNBUSY_BENCH_DIR/NAME
# Without a name all of them, those of $once on LuaJIT alone; then docs/performance.md is written.
# One that fails is told at the end, and on the page; the others go on.
set -eu
cd "$(dirname "$0")/.."
UNBUSY_BENCH_DIR=$PWD/build/bench
export UNBUSY_BENCH_DIR
results=$UNBUSY_BENCH_DIR/results
paths="LUA_PATH=./lua/?.lua;./lua/?/init.lua;./?.lua;./?/init.lua;;"

# They take real time, whichever Lua waits; or it is nginx that is measured; or all is in C.
once=" batch blackout brownout edge entries failover flight gateway gateways hedge hits limits nginx
  replay scale spill warm "

mkdir -p "$results"
for source in bench/c/*.c; do
  [ -e "$source" ] || continue
  program=$UNBUSY_BENCH_DIR/$(basename "$source" .c)
  case $source in */redis_*) hiredis=-lhiredis ;; *) hiredis= ;; esac
  [ "$program" -nt "$source" ] ||
    cc -O2 -g -std=gnu11 -D_GNU_SOURCE -Icsrc -o "$program" "$source" csrc/base/*.c csrc/parts/*.c \
      -lcurl $hiredis -lpthread -lm
done

failed=

run() { # NAME LUA
  echo "== $1 on $2"
  export UNBUSY_BENCH_RESULTS="$results/$1.$2.jsonl"
  began=$(date +%s)
  first=$(printf '{"kind":"run","at":%d,"load":%s}' "$began" "$(cut -d' ' -f1 /proc/loadavg)")
  echo "$first" >"$UNBUSY_BENCH_RESULTS"
  if env "$paths" LUA_CPATH="build/$2/?.so;;" "$2" "bench/$1.lua"; then
    printf '{"kind":"end","seconds":%d}\n' $(($(date +%s) - began)) >>"$UNBUSY_BENCH_RESULTS"
  else
    failed="$failed $1 on $2;"
    printf '%s\n{"kind":"end","seconds":%d,"failed":true}\n' "$first" \
      $(($(date +%s) - began)) >"$UNBUSY_BENCH_RESULTS"
  fi
}

write_page() {
  env "$paths" LUA_CPATH="build/lua5.4/?.so;;" lua5.4 tools/performance.lua "$results"
}

if [ $# -gt 0 ]; then
  for name; do
    for lua in lua5.4 luajit; do run "$name" $lua; done
  done
else
  rm -f "$results"/*
  for name in $(basename -s .lua -a bench/*.lua); do
    case $once in *[[:space:]]"$name"[[:space:]]*) ;; *) run "$name" lua5.4 ;; esac
    run "$name" luajit
  done
  write_page
fi
[ -z "$failed" ] || { echo "failed:$failed" >&2; exit 1; }
