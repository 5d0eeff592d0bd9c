# Runs a gateway's nginx and stays with it: serve.sh NGINX DRAIN ADDRESS PROGRAM REST
#
# PROGRAM --print-conf --prefix DIR REST (parts of a shell line) prints the configuration; it is
# asked again for each reload. TERM, INT and QUIT end it: calls under way have DRAIN seconds, a
# second signal gives them none. HUP reloads, USR1 opens the log anew. This is the process that the
# terminal, the container or systemd has started. nginx has a process group of its own, so that
# Ctrl-C does not reach it, and the kernel tells it when this script is killed.
nginx=$1 drain=$2 address=$3 program=$4 rest=$5

OVERTIME=5 # seconds from "end at once" to the kill that nobody survives
dir= master= up= clock= copier= again= reloaders= stage=0
terminal= # standard error is one
[ -t 2 ] && terminal=1

say() {
  echo "unbusy: $*" >&2
}

# {== The folder ===============================================================

# What a killed gateway has left: a folder whose lock nobody holds. A young one may be about to be
# locked.
sweep() {
  find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'unbusy-serve.*' -type d -user "$(id -u)" -mmin +1 \
    2>/dev/null | while read -r old; do
    [ -f "$old/lock" ] && flock -n "$old/lock" rm -rf "$old"
  done
}

# nginx inherits the lock: it is held as long as any of us lives.
make_folder() {
  dir=$(mktemp -d "${TMPDIR:-/tmp}/unbusy-serve.XXXXXX") || exit 1
  dir=$(realpath "$dir") # nginx takes others as paths below its prefix
  chmod 711 "$dir" # workers may have another user; there is nothing to list, and files are closed
  (umask 077 && : >"$dir/lock")
  exec 9<"$dir/lock"
  flock -n 9
}

leave() {
  stop_clock
  [ -n "$reloaders" ] && wait $reloaders # they write there
  [ -n "$dir" ] && rm -rf "$dir"
  exit "$1"
}

# }=============================================================================

# {== The end ==================================================================

stop_clock() { # by a signal whose end no shell remarks on
  [ -n "$clock" ] && kill -PIPE "-$clock" "$clock" 2>/dev/null
  clock=
}

# In so many seconds this script hears ALRM. What waits holds none of our descriptors.
set_clock() {
  stop_clock
  setsid setpriv --pdeathsig KILL sh -c 'sleep "$0" && kill -ALRM "$1"' "$1" $$ \
    </dev/null >/dev/null 2>&1 9<&- &
  clock=$!
}

# From running to ending, to ending at once, to the kill: a step for each signal and each time that
# is up.
step() {
  stage=$((stage + 1))
  [ -n "$master" ] || leave 0
  if [ "$stage" = 1 ] && [ -n "$up" ]; then
    say "ending: calls under way have $drain s (a second signal ends them at once)"
    kill -QUIT "$master"
    set_clock "$drain"
  elif [ "$stage" -le 2 ]; then
    [ -n "$up" ] && say 'ending at once: calls still under way are cut'
    stage=2
    kill -TERM "$master"
    set_clock "$OVERTIME"
  else
    kill -KILL "-$master" 2>/dev/null
  fi
}

# }=============================================================================

# {== nginx ====================================================================

configure() { # FILE
  (umask 077 && eval "exec $program --print-conf --prefix \"\$dir\" $rest" >"$1") 9<&-
}

# nginx opens /dev/stdout by its name, which the kernel refuses for a socket (systemd's journal) and
# for what belongs to another user: such a one gets its lines through a pipe of our own.
start_copier() {
  (: >>/dev/stdout) 2>/dev/null && return
  mkfifo -m 600 "$dir/log"
  setsid cat <"$dir/log" 9<&- &
  copier=$!
  exec >"$dir/log"
}

# -e: where it complains until the configuration has been read. LUA_CPATH may be that of another Lua
# than nginx's.
start() {
  setsid env -u LUA_CPATH setpriv --pdeathsig QUIT -- \
    "$nginx" -p "$dir" -e stderr -c "$dir/nginx.conf" </dev/null &
  master=$!
  until [ -s "$dir/nginx.pid" ] || ! kill -0 "$master" 2>/dev/null; do
    sleep 0.05 9<&- &
    wait $!
  done
  [ -s "$dir/nginx.pid" ] && up=1
}

# A broken configuration changes nothing. Each reload reads the file when those before it are done.
reload_now() {
  flock 8
  kill -0 "$master" 2>/dev/null || return
  if configure "$dir/next.conf" && "$nginx" -t -q -p "$dir" -e stderr -c "$dir/next.conf"; then
    mv "$dir/next.conf" "$dir/nginx.conf"
    kill -HUP "$master"
    say 'reloaded; calls under way end as they began'
  else
    say 'not reloaded: the old configuration stays'
  fi
}

# In a process of its own: where a signal is heard while another one's trap runs, a shell may take
# the status of the first for that of the command that has just ended.
reload() {
  [ -n "$up" ] || { again=1; return; }
  [ "$stage" = 0 ] || return
  if [ -n "$terminal" ] && ! [ -t 2 ]; then step; return; fi # the terminal was closed
  reload_now 8>"$dir/turn" 9<&- &
  reloaders="$reloaders $!"
}

# }=============================================================================

trap step TERM INT QUIT ALRM
trap reload HUP
trap '[ -n "$up" ] && kill -USR1 "$master"' USR1

sweep
make_folder
configure "$dir/nginx.conf" || leave $?
start_copier
start
if [ -n "$up" ]; then say "$address (process $$: TERM or Ctrl-C ends it, HUP reloads)"; fi
if [ -n "$again" ]; then reload; fi
while :; do
  wait "$master" # until it ends, or a signal was heard
  status=$?
  kill -0 "$master" 2>/dev/null || break
done
kill -KILL "-$master" 2>/dev/null # workers outlive a master that was killed
exec >/dev/null
[ -n "$copier" ] && wait "$copier"
[ "$stage" = 0 ] || leave 0
say "nginx has ended by itself (status $status)"
leave 1
