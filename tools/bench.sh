#!/bin/sh
# bench.sh [NAME…]: runs the benches of bench/ (all of them by default) on both Luas.
#   bench/NAME.lua    on lua5.4 and luajit, with UNBUSY_BENCH_DIR for what it builds
#   bench/c/NAME.c    floors and peers in C: built first, to UNBUSY_BENCH_DIR/NAME
set -eu
cd "$(dirname "$0")/.."
UNBUSY_BENCH_DIR=$PWD/build/bench
export UNBUSY_BENCH_DIR
mkdir -p "$UNBUSY_BENCH_DIR"

for source in bench/c/*.c; do
  [ -e "$source" ] || continue
  program=$UNBUSY_BENCH_DIR/$(basename "$source" .c)
  case $source in */redis_*) hiredis=-lhiredis ;; *) hiredis= ;; esac
  [ "$program" -nt "$source" ] ||
    cc -O2 -g -std=gnu11 -D_GNU_SOURCE -Icsrc -o "$program" "$source" csrc/base/*.c csrc/parts/*.c \
      -lcurl $hiredis -lpthread -lm
done

[ $# -gt 0 ] || set -- $(basename -s .lua -a bench/*.lua)
for name in "$@"; do
  for lua in lua5.4 luajit; do
    echo "== $name on $lua"
    env LUA_PATH="./lua/?.lua;./lua/?/init.lua;./?.lua;./?/init.lua;;" \
      LUA_CPATH="build/$lua/?.so;;" $lua "bench/$name.lua"
  done
done
