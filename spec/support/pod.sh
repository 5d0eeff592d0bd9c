#!/bin/sh
# pod.sh UID GID TMP PROGRAM ARG…: runs a program as the kubelet would run a container that may write
# nowhere: with another user, no capabilities, no new privileges, process numbers of its own, all
# file systems read-only but for an empty /tmp (which TMP shows from outside) and /dev/shm. The
# environment is what it gets; the network is the machine's. As root.
set -eu

inside() { # UID GID TMP PROGRAM ARG…
  uid=$1 gid=$2 tmp=$3
  shift 3
  mount --make-rprivate /
  mount -t proc proc /proc
  mount -t tmpfs -o mode=1777 tmpfs /dev/shm
  mount --bind "$tmp" "$tmp"
  read_only "$tmp"
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

if [ "${1:-}" = inside ]; then
  shift
  inside "$@"
fi
exec unshare --mount --pid --fork --kill-child=KILL sh "$0" inside "$@"
