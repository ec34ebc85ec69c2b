# Runs as a service of the booted systemd, as an operator would type it. What it prints is compared line by line.
export PYTHONPATH=/opt/realmkeep/src:/opt/realmkeep/packages:/opt/realmkeep/more
cd /etc/realmkeep || exit
ready() { /usr/bin/python3 -c 'import urllib.request as r; print(r.urlopen("http://127.0.0.1:9464/readyz", timeout=5).status)'; }
until ready >/dev/null 2>&1; do sleep 0.1; done
echo "ready $(ready)"
systemctl start realmkeep-backup
echo "backup $(systemctl show --value -p Result realmkeep-backup)"
setpriv --reuid=realmkeep --regid=realmkeep --clear-groups /opt/realmkeep/bin/realmkeep backup list | grep -c ' good$'
systemctl restart realmkeep-store
until ready >/dev/null 2>&1; do sleep 0.1; done
echo "server $(systemctl is-active realmkeep), started again $(systemctl show --value -p NRestarts realmkeep) times"
systemctl stop realmkeep realmkeep-store
for unit in realmkeep realmkeep-store; do
  echo "$unit $(systemctl show --value -p Result $unit) $(systemctl show --value -p ExecMainStatus $unit)"
done
stat -c '%a %U %n' /var/lib/realmkeep/*
echo end
