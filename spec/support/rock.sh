#!/bin/sh
# rock.sh [all]: what LuaRocks does with us on both Luas, offline, in a copy of the sources and trees
# of its own: it builds from a source rock and from the sources, is used, packed, installed again
# from what was packed, and removed. Two of the four builds, quick ones; `all`: all four, as for a
# user. Debian's lua-cjson is no rock, so it is named as provided.
set -eu
cd "$(dirname "$0")/../.."
what=${1:-quick}
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
mkdir "$dir/src"
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$dir/src" 2>/dev/null || true
cd "$dir/src"
git init -q && git add -A
git -c user.name=unbusy -c user.email=unbusy@example.invalid commit -q -m sources

fail() {
  echo "rock: $*" >&2
  exit 1
}

# Its words are shown when it fails.
quietly() {
  "$@" >"$dir/log" 2>&1 || { cat "$dir/log"; fail "failed: $*"; }
}

quietly make dist
version=$(lua5.4 -e 'print(dofile "lua/unbusy/version.lua")')
rock=unbusy-$version-1
(cd lua && find unbusy -type f | sort) >"$dir/wanted"

rocks() {
  (cd "$dir/src" && LUAROCKS_CONFIG="$dir/$abi.lua" luarocks --lua-version "$abi" --tree "$tree" "$@")
}

# Everything is there, and works from anywhere.
used() { # HOW
  (cd "$tree/share/lua/$abi" && find unbusy -type f | sort) >"$dir/found"
  diff "$dir/wanted" "$dir/found" || fail "$lua, $1: other files than ours"
  said=$(cd / && env -i PATH="$PATH" LUA_PATH="$tree/share/lua/$abi/?.lua;$tree/share/lua/$abi/?/init.lua;;" \
    LUA_CPATH="$tree/lib/lua/$abi/?.so;;" "$lua" -e 'local unbusy = require "unbusy"
      unbusy.new({ targets = { { name = "a", url = "http://127.0.0.1" } } }):close()
      print("unbusy " .. unbusy.version)')
  [ "$said" = "unbusy $version" ] || fail "$lua, $1: it says '$said'"
  said=$(cd / && env -i PATH="$PATH" "$tree/bin/unbusy" --version)
  [ "$said" = "unbusy $version" ] || fail "$lua, $1: bin/unbusy says '$said'"
  echo "rock: $lua: $1, used"
}

removed() {
  quietly rocks remove unbusy
  left=$(find "$tree" -name '*unbusy*')
  [ -z "$left" ] || fail "$lua: files are left: $left"
  echo "rock: $lua: removed"
}

begin() { # LUA ABI INCDIR
  lua=$1 abi=$2 tree=$dir/tree$2 built=
  cat >"$dir/$abi.lua" <<LUA
rocks_provided = { ["lua-cjson"] = "2.1.0-1" }
rocks_servers = {}
lua_interpreter = "$lua"
variables = { LUA_INCDIR = "$3" }
LUA
}

flags=
[ "$what" = all ] || flags="CFLAGS=-O0 -fPIC"

make_rock() {
  quietly rocks make rockspec/$rock.rockspec ${flags:+"$flags"}
  used "luarocks make"
}

install_source_rock() {
  quietly rocks install build/dist/$rock.src.rock ${flags:+"$flags"}
  used "luarocks install of the source rock"
}

# What was packed is installed into a tree of its own.
again() {
  quietly rocks pack unbusy
  [ "$what" != all ] || removed
  tree=$tree.again
  quietly rocks install $rock.linux-*.rock
  used "luarocks pack, and install of what was packed"
  removed
  rm -f $rock.linux-*.rock
}

begin lua5.4 5.4 /usr/include/lua5.4
if [ "$what" = all ]; then make_rock; removed; fi
install_source_rock
again
begin luajit 5.1 /usr/include/luajit-2.1
if [ "$what" = all ]; then install_source_rock; removed; fi
make_rock
again
