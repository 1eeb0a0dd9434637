#!/bin/sh
# Runs a command as root inside a host of a lab, in the host's own control group: it stands still with the host, and
# dies with it. Ends with 125 where the host is not up.
#   $1   the lab's directory
#   $2   the host's name
#   $3…  the command
lab=$1
host=$2
shift 2
keeper=/proc/$(cat "$lab/keeper.pid")/root
group=$keeper/sys/fs/cgroup/$(basename "$lab")/$host/payload/init.scope

for process in $(cat "$group/cgroup.procs" 2>/dev/null); do
    # The last of its ids is the one that it has in the innermost namespace.
    if [ "$(sed -n 's/^NSpid:.*\t//p' "/proc/$process/status" 2>/dev/null)" = 1 ]; then
        init=$process
        break
    fi
done
if [ -z "${init:-}" ] || ! echo 0 2>/dev/null >"$group/cgroup.procs"; then
    echo "$host is not up" >&2
    exit 125
fi
exec nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root --wd -- \
    /usr/bin/env -i HOME=/root USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
