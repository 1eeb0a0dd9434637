#!/bin/sh
# Runs a command as root inside a host of a lab, in the host's own control group: it stands still with the host, and
# dies with it. Ends with 125 where the host is not up.
#   $1   the lab's directory
#   $2   the host's name
#   $3…  the command
lab=$1
host=$2
shift 2
read -r keeper <"$lab/keeper.pid"
group=/proc/$keeper/root/sys/fs/cgroup/${lab##*/}/$host/payload/init.scope

# By what the shell has built in, since a test runs this many hundred times.
{
    while [ -z "${init:-}" ] && read -r process; do
        while read -r field ids; do
            # The last of its ids is the one that it has in the innermost namespace.
            if [ "$field" = NSpid: ]; then
                [ "${ids##*[!0-9]}" = 1 ] && init=$process
                break
            fi
        done 2>/dev/null <"/proc/$process/status"
    done <"$group/cgroup.procs"
} 2>/dev/null
if [ -z "${init:-}" ] || ! echo 0 2>/dev/null >"$group/cgroup.procs"; then
    echo "$host is not up" >&2
    exit 125
fi
exec nsenter --target "$init" --mount --uts --ipc --net --pid --cgroup --root --wd -- \
    /usr/bin/env -i HOME=/root USER=root LOGNAME=root SHELL=/bin/bash LANG=C.UTF-8 \
    PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin "$@"
