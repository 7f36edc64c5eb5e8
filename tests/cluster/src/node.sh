# The first process of a node, in namespaces of its own: sh node.sh DIRECTORY TESTBOX
# What nodes write below /var and /run stays in this node; the machine's own directories are not touched.
set -e
mount --make-rslave /
mount -t proc proc /proc
mount -t overlay -o "lowerdir=/var,upperdir=$1/var,workdir=$1/work" overlay /var
mount -t tmpfs -o mode=755 tmpfs /run
# Mounts of pods are shared between the kubelet and containers that ask for it.
mount --make-rshared /
: >"$1/ready"
exec "$2" pause
