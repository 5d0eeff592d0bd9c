#!/bin/sh
# rock.sh: builds and installs the rock with LuaRocks, offline, for both Luas, into a tree of its
# own, and uses it from there. Debian's lua-cjson is no rock, so it is named as provided.
set -eu
cd "$(dirname "$0")/../.."
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$dir" 2>/dev/null || true
cd "$dir"
cat > config.lua <<'LUA'
rocks_provided = { ["lua-cjson"] = "2.1.0-1" }
rocks_servers = {}
LUA

try() { # VERSION LUA INCDIR
  LUAROCKS_CONFIG=$dir/config.lua luarocks --lua-version "$1" --tree "$dir/tree$1" \
    make rockspec/unbusy-scm-1.rockspec LUA_INCDIR="$3" >"$dir/log" 2>&1 || { cat "$dir/log"; exit 1; }
  said=$(cd / && LUA_PATH="$dir/tree$1/share/lua/$1/?.lua;$dir/tree$1/share/lua/$1/?/init.lua;;" \
    LUA_CPATH="$dir/tree$1/lib/lua/$1/?.so;;" "$2" -e 'print(require("unbusy").version)')
  [ -n "$said" ] || exit 1
  [ -x "$dir/tree$1/bin/unbusy" ] || { echo "no bin/unbusy"; exit 1; }
  LUAROCKS_CONFIG=$dir/config.lua luarocks --lua-version "$1" --tree "$dir/tree$1" remove unbusy >/dev/null
  [ ! -e "$dir/tree$1/share/lua/$1/unbusy" ] || { echo "files are left"; exit 1; }
  echo "rock: built, used and removed on $2 (version $said)"
}

try 5.4 lua5.4 /usr/include/lua5.4
try 5.1 luajit /usr/include/luajit-2.1
