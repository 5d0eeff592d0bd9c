#!/bin/sh
# Runs one nginx and stays with it: supervise.sh PARENT-PID DIRECTORY
#
# It ends nginx and removes the directory at the end of its input (the starter is gone) or on a
# signal (the starter stops it, or was killed: it is started under `setpriv --pdeathsig TERM`, so
# that the kernel tells even when somebody else still holds the pipe).
dir=$2
nginx= reader=

finish () {
  trap '' TERM INT HUP
  [ -n "$reader" ] && kill "$reader" 2>/dev/null
  [ -n "$nginx" ] && kill -TERM "$nginx" 2>/dev/null && wait "$nginx"
  rm -rf "$dir"
  exit 0
}
trap finish TERM INT HUP
[ "$PPID" = "$1" ] || finish    # the starter died before the kernel was asked to tell

echo $$ > "$dir/supervisor.pid"
exec 3<&0
setpriv --pdeathsig TERM nginx -p "$dir" -e "$dir/error.log" -c "$dir/nginx.conf" \
  </dev/null >>"$dir/output.log" 2>&1 3<&- &
nginx=$!
setpriv --pdeathsig TERM cat <&3 >/dev/null &
reader=$!
wait "$reader"
reader=
finish
