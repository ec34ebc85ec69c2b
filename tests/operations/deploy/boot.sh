# Boots a systemd of its own, in namespaces of its own, with the written units. $1: the directory of the test, $2: the checkout,
# $3: its site-packages, $4: the store's program. Nothing of the machine is changed: /etc, /opt, /var/lib and /run are the test's.
set -e
test=$1 checkout=$2 packages=$3 valkey=$4
mount --make-rprivate /
mount -t tmpfs tmpfs /mnt
mkdir -p /mnt/etc /mnt/work /mnt/opt
mount -t overlay overlay -o lowerdir=/etc,upperdir=/mnt/etc,workdir=/mnt/work /etc
mount --bind /mnt/opt /opt
mount -t tmpfs -o mode=755 tmpfs /var/lib
mount -t tmpfs -o mode=755 tmpfs /run
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys
mount -t cgroup2 cgroup2 /sys/fs/cgroup
useradd --system --home-dir /var/lib/realmkeep --shell /usr/sbin/nologin realmkeep

# The packages of the tests, on the machine's Python: the tests' own may lie where a unit may not look, below /root or /tmp.
mkdir -p /opt/realmkeep/bin /opt/realmkeep/packages /opt/realmkeep/src /opt/realmkeep/more
mount --bind "$packages" /opt/realmkeep/packages
mount --bind "$checkout/src" /opt/realmkeep/src
# The driver of Redis wants this package before Python 3.11.3; the tests' Python may be newer than the machine's.
echo 'from asyncio import timeout' >/opt/realmkeep/more/async_timeout.py
cp "$valkey" /opt/realmkeep/bin/valkey-server
printf '#!/bin/sh\nexec %s -m realmkeep.cli "$@"\n' "$5" >/opt/realmkeep/bin/realmkeep
chmod 755 /opt/realmkeep/bin/realmkeep
install -d -m 0755 /etc/realmkeep
install -m 0644 "$test/files/valkey.conf" "$test/files/realmkeep.toml" /etc/realmkeep/
path=/opt/realmkeep/src:/opt/realmkeep/packages:/opt/realmkeep/more
echo "PYTHONPATH=$path" >/etc/realmkeep/environment

units=/run/units
mkdir -p $units/multi-user.target.wants
cp "$test"/files/systemd/* $units/
for target in sysinit basic shutdown multi-user network-online timers umount; do
  printf '[Unit]\nDefaultDependencies=no\n' >$units/$target.target
done
printf '[Unit]\nAfter=realmkeep.service\n[Service]\nType=oneshot\nExecStart=/bin/sh -x %s/drive.sh\n' "$test" >$units/drive.service
printf 'StandardOutput=append:%s/said\nStandardError=append:%s/traced\n' "$test" "$test" >>$units/drive.service
ln -s ../realmkeep-store.service ../realmkeep.service ../drive.service $units/multi-user.target.wants/
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin container=unshare SYSTEMD_UNIT_PATH=$units PYTHONPATH=$path \
  /lib/systemd/systemd --unit=multi-user.target --log-target=console --show-status=no
