#!/bin/sh
# npm.sh PINS INTO FILE: others' software from npm. What PINS/package-lock.json pins is put into
# INTO, if it is not there yet; then INTO/node_modules/FILE is there. Says why not, and fails,
# where it cannot be had.
set -eu
pins=$1 into=$2 file=$2/node_modules/$3

cmp -s "$pins/package-lock.json" "$into/installed.json" && [ -e "$file" ] && exit
command -v npm >/dev/null || { echo "npm.sh: no npm" >&2; exit 1; }
rm -rf "$into"
mkdir -p "$into"
cp "$pins/package.json" "$pins/package-lock.json" "$into/"
(cd "$into" && npm ci --omit=optional --ignore-scripts --no-audit --no-fund \
  --engine-strict=false --loglevel=error) >"$into/npm.log" 2>&1 || {
  tail -20 "$into/npm.log" >&2
  echo "npm.sh: npm could not install what is in $pins/package.json" >&2
  exit 1
}
[ -e "$file" ] || { echo "npm.sh: there is no $file" >&2; exit 1; }
cp "$pins/package-lock.json" "$into/installed.json"
