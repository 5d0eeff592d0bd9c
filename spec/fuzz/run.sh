#!/bin/sh
# run.sh: the fuzz targets. A C target is NAME_fuzz.c, for libFuzzer; one in Lua is NAME_fuzz.lua.
#   run.sh list          their names; those in Lua end with @LUA, for they run on both
#   run.sh build         the C ones, with ASan and UBSan, into build/fuzz
#   run.sh NAME          for UNBUSY_FUZZ_SECONDS (60; in Lua half of it on each)
#   run.sh NAME FILE     one input again
# The first inputs are spec/fuzz/corpus/NAME; what is found is kept in build/fuzz/corpus/NAME, and
# an input that breaks something in build/fuzz, with the command that runs it again.
set -eu
cd "$(dirname "$0")/../.."
seconds=${UNBUSY_FUZZ_SECONDS:-60}
dir=build/fuzz
frame="-O1 -g -fno-omit-frame-pointer"
checks="address,undefined -fno-sanitize-recover=undefined"

list() {
  for source in spec/fuzz/*_fuzz.c; do basename "$source" _fuzz.c; done
  for source in spec/fuzz/*_fuzz.lua; do
    name=$(basename "$source" _fuzz.lua)
    echo "$name@lua5.4 $name@luajit"
  done
}

build() {
  make -s CC=clang BUILD=$dir OPT="$frame" EXTRA_CFLAGS="-fsanitize=fuzzer-no-link,$checks" \
    EXTRA_LDFLAGS="-fsanitize=$checks" lua5.4
  objects=$(ls $dir/lua5.4/obj/base/*.o $dir/lua5.4/obj/parts/*.o $dir/lua5.4/obj/engine/*.o)
  for source in spec/fuzz/*_fuzz.c; do
    case $source in
      */redis_fuzz.c) more="$(ls $dir/lua5.4/obj/redis/*.o) -lhiredis" ;;
      *) more= ;;
    esac
    clang -std=gnu11 -D_GNU_SOURCE $frame -Wall -Wextra -Wpedantic -Werror -Icsrc \
      -fsanitize=fuzzer,$checks -o "$dir/$(basename "$source" .c)" "$source" \
      spec/support/loopback.c $objects $more -lcurl -lpthread -lm
  done
}

# Show of a run that failed what matters, and how to see it again.
fail() { # NAME LOG
  grep -vE '^#[0-9]+[[:space:]]+(INITED|NEW|REDUCE|RELOAD|pulse)' "$2" | tail -60
  input=$(sed -n 's/.*Test unit written to //p' "$2" | tail -1)
  echo "fuzz: $1 failed; run it again: sh spec/fuzz/run.sh $1 $input"
  exit 1
}

run_c() { # NAME [FILE]
  [ $# = 1 ] || exec "$dir/$1_fuzz" "$2"
  mkdir -p "$dir/corpus/$1"
  log=$dir/$1.log
  "$dir/$1_fuzz" -max_total_time="$seconds" -timeout=25 -artifact_prefix=$dir/ \
    "$dir/corpus/$1" "spec/fuzz/corpus/$1" >"$log" 2>&1 || fail "$1" "$log"
  echo "$1: $(sed -n 's/^Done \([0-9]* runs in [0-9]*\) second.*/\1 s/p' "$log")"
}

run_lua() { # NAME LUA [FILE]
  name=$1 lua=$2
  shift 2
  env LUA_PATH="./lua/?.lua;./lua/?/init.lua;./?.lua;./?/init.lua;;" LUA_CPATH="build/$lua/?.so;;" \
    UNBUSY_FUZZ_SECONDS=$(((seconds + 1) / 2)) "$lua" spec/fuzz/fuzz.lua "$name" "$@"
}

mkdir -p $dir
target=${1:?list, build or a target?}
shift
case $target in
  list|build) $target ;;
  *@*) run_lua "${target%@*}" "${target#*@}" "$@" ;;
  *) run_c "$target" "$@" ;;
esac
