# Runs a host until its power is off; runs in the lab's namespaces.
#   $1   the host's control group
#   $2…  the command line of systemd-nspawn
set -u
echo 0 >"$1/cgroup.procs" || exit 1
shift
# The host owns its network namespace, so it may set its sysctls.
export SYSTEMD_NSPAWN_API_VFS_WRITABLE=network
while :; do
    "$@"
    code=$?
    # 133 is how systemd-nspawn says that the host wants to be booted again.
    [ "$code" = 133 ] || exit "$code"
done
