#!/bin/bash
# The first process of a guest. Its root is the host's root, read-only; all that must be writable
# is a fresh tmpfs. It takes the numbers of jobs from its serial line and runs each job's script.
export PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/tmp LANG=C
mount -t proc proc /proc
mount -t sysfs sys /sys
for word in $(</proc/cmdline); do
  case $word in jobdir=*) jobdir=${word#*=} ;; guest=*) guest=${word#*=} ;; esac
done
mount -t devtmpfs dev /dev 2>/dev/null
mkdir -p /dev/pts /dev/shm
mount -t devpts pts /dev/pts
mount -t tmpfs shm /dev/shm
if ! [ -e /dev/fd ]; then
  ln -s /proc/self/fd /dev/fd
  ln -s /proc/self/fd/0 /dev/stdin
  ln -s /proc/self/fd/1 /dev/stdout
  ln -s /proc/self/fd/2 /dev/stderr
fi
mount -t tmpfs -o mode=755 mnt /mnt
mkdir -p /mnt/job /mnt/nfs
mount -t hostfs none /mnt/job -o "$jobdir" # before /tmp is covered
for place in /tmp /var/tmp; do mount -t tmpfs -o mode=1777 tmp $place; done
mount -t tmpfs -o mode=755 run /run
mkdir -p /run/rpcbind /run/lock /run/sendsigs.omit.d /run/bin
mount -t tmpfs nfs /var/lib/nfs
mkdir -p /var/lib/nfs/sm /var/lib/nfs/sm.bak /var/lib/nfs/rpc_pipefs
chown -R statd /var/lib/nfs 2>/dev/null
: >/var/lib/nfs/state
for name in hosts resolv.conf passwd group; do
  cp /mnt/job/etc."$name" /run/"$name"
  mount --bind /run/"$name" /etc/"$name"
done
while read -r share; do
  mkdir -p "$share" && mount -t hostfs -r -o "$share" none "$share"
done </mnt/job/shares
hostname "guest$guest"
mount --bind /usr/lib/uml/modules /lib/modules
modprobe ipv6
ip link set lo up
ip addr add 10.99.0.$((10 + guest))/24 dev vec0
ip addr add fd99::$((10 + guest))/64 dev vec0 nodad
ip link set vec0 up
ip route add default via 10.99.0.1
cat >/run/bin/barrier <<'B'
#!/bin/bash
# barrier NAME: returns when every guest has called it.
mkdir -p "/mnt/job/barrier.$1"
: >"/mnt/job/barrier.$1/$GUEST"
while [ "$(ls "/mnt/job/barrier.$1" | wc -l)" -lt "$GUESTS" ]; do sleep 0.05; done
B
chmod +x /run/bin/barrier
export PATH=/run/bin:$PATH GUEST=$guest GUESTS=$(</mnt/job/guests) JOB=/mnt/job
modprobe nfsv3
rpcbind -w 2>/dev/null || rpcbind
rpc.statd --no-notify
stty -F /dev/ttyS0 raw -echo
exec 3</dev/ttyS0
echo ready >"/mnt/job/ready.$guest"
while read -r job <&3; do
  {
    # Only the script's own shell may stand in the mount, or it could not unmount it.
    (cd /mnt/nfs && exec bash "/mnt/job/script.$job") >"/mnt/job/output.$job" 2>&1
    echo $? >"/mnt/job/code.$job.part"
    mv "/mnt/job/code.$job.part" "/mnt/job/code.$job"
  } </dev/null 3<&- &
done
poweroff -f
