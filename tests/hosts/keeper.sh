# The first process of a lab's own namespaces: whatever is in them ends when it does, and it ends when its standard
# input does, so with the process that opened the lab, however that ends.
#   $1  the lab's name
#   $2  the controller's address on the lab's network, with its prefix length
set -eu
mount -t cgroup2 none /sys/fs/cgroup
mount -t tmpfs -o mode=0755,size=80% none /run
mkdir "/sys/fs/cgroup/$1"
ip link set lo up
ip link add lan type bridge stp_state 0 forward_delay 0
ip address add "$2" dev lan
ip link set lan up
echo ready
exec cat >/dev/null
