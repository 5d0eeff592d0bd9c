#!/bin/sh
# pod.sh UID GID PROJECT CONFIG TMP PROGRAM ARG…: runs a program as the kubelet would run a container
# that may write nowhere: as another user, without capabilities and new privileges, with process
# numbers of its own, all file systems read-only but for /dev/shm and /tmp. The folder TMP is seen as
# /tmp, CONFIG as /mnt, and PROJECT, which may lie where that user cannot go, as /srv. The network is
# the machine's. It must be root who calls, with absolute paths.
# pod.sh may: is that possible here?
set -eu

inside() { # UID GID PROJECT CONFIG TMP PROGRAM ARG…
  uid=$1 gid=$2 project=$3 config=$4 tmp=$5
  shift 5
  mount --make-rprivate /
  mount -t proc proc /proc
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  mount --bind "$project" /srv
  mount --bind "$tmp" "$tmp"
  read_only "$tmp"
  mount --bind "$config" /mnt
  mount -o remount,bind,ro /mnt
  mount --bind "$tmp" /tmp
  exec setpriv --reuid "$uid" --regid "$gid" --clear-groups --no-new-privs --inh-caps=-all \
    --bounding-set=-all "$@"
}

# What cannot be made read-only is no file system of ours: devices, the kernel's own.
read_only() { # BUT_FOR
  cut -d' ' -f5 /proc/self/mountinfo | while read -r place; do
    case $place in
      "$1" | /dev/* | /proc | /proc/* | /sys | /sys/*) ;;
      *) mount -o remount,bind,ro "$place" ;;
    esac
  done
}

if [ "${1:-}" = may ]; then
  exec unshare --mount --pid --fork --kill-child=KILL \
    sh -c 'mount --make-rprivate / && mount -t proc proc /proc' 2>/dev/null
fi
if [ "${1:-}" = inside ]; then
  shift
  inside "$@"
fi
exec setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child=KILL sh "$0" inside "$@"
