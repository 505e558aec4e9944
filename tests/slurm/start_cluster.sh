#!/usr/bin/env bash
# Starts a Slurm of one node on this machine: accounting in a database, two stand-in GPUs (scheduled,
# with no CUDA behind them), limits enforced but none set. As root, on Debian 12 or Ubuntu, after
# tests/helpers/install.sh. Run again it restarts only what has died or whose settings have changed.
#
#   MAX_ARRAY_SIZE  1001  what `scontrol show config` says of it; indices of an array end one below
#   CRED_EXPIRE     5     s; how long a requeued job waits (Slurm's own default: 120)
#   KILL_WAIT       2     s between TERM and KILL at a time limit
#   CPUS            2     of the node, whatever the machine has
#   NODE_TIMEOUT    10    s without an answer until a node is down
set -euo pipefail

etc=/etc/slurm run=/run/slurm log=/var/log/slurm spool=/var/spool
host=$(hostname -s)

say() { echo "start_cluster: $*" >&2; }

wait_for() {  # wait_for SECONDS COMMAND...
  local end=$((SECONDS + $1))
  shift
  until timeout 5 "$@" >/dev/null 2>&1; do
    ((SECONDS < end)) || { say "gave up waiting for: $*; see $log"; exit 1; }
    sleep 0.1
  done
}

lives() { [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }

end() {  # end PIDFILE: asks the daemon to end, and sees that it has
  lives "$1" || return 0
  kill "$(cat "$1")"
  for _ in $(seq 100); do lives "$1" || return 0; sleep 0.1; done
  kill -9 "$(cat "$1")"
}

put() {  # put FILE MODE: stdin into FILE; true if that changed it
  local new
  new=$(mktemp)
  cat >"$new"
  if cmp -s "$new" "$1"; then rm "$new"; return 1; fi
  install -m "$2" "$new" "$1"
  rm "$new"
}

start_munge() {
  if [ ! -s /etc/munge/munge.key ]; then
    (umask 077 && head -c 1024 /dev/urandom >/etc/munge/munge.key)
  fi
  install -d -o munge -g munge -m 755 /run/munge
  chown munge:munge /etc/munge /etc/munge/munge.key
  munge -n >/dev/null 2>&1 || runuser -u munge -- "$(command -v munged)" --force >>"$log/munge.log" 2>&1
  wait_for 10 munge -n
}

start_database() {
  if ! timeout 5 mysqladmin ping >/dev/null 2>&1; then
    install -d -o mysql -g mysql /run/mysqld
    setsid mariadbd --user=mysql --bind-address=127.0.0.1 --innodb-buffer-pool-size=128M \
      >>"$log/mariadb.log" 2>&1 </dev/null &
    wait_for 30 mysqladmin ping
  fi
  mysql <<'SQL'
create database if not exists slurm_acct_db;
create user if not exists 'slurm'@'localhost' identified by 'slurm';
grant all on slurm_acct_db.* to 'slurm'@'localhost';
SQL
}

start_accounting() {
  put "$etc/slurmdbd.conf" 600 <<CONF && end "$run/slurmdbd.pid"
AuthType=auth/munge
DbdHost=localhost
SlurmUser=root
PidFile=$run/slurmdbd.pid
LogFile=$log/slurmdbd.log
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=slurm
StoragePass=slurm
StorageLoc=slurm_acct_db
CONF
  lives "$run/slurmdbd.pid" || slurmdbd
  wait_for 30 sacctmgr show cluster
  if [ -z "$(sacctmgr -nP show cluster local)" ]; then
    sacctmgr -Qi add cluster local >/dev/null  # with it come the account and the user root
  fi
}

# Where the memory controller can be used, a task above its --mem is killed by the kernel and ends as
# OUT_OF_MEMORY, as on a real cluster. Elsewhere Slurm itself watches the tasks and kills them.
confinement() {
  local probe=/sys/fs/cgroup/memory/rmsweep_probe
  if mkdir -p "$probe" 2>/dev/null && [ -w "$probe/memory.limit_in_bytes" ]; then
    rmdir "$probe"
    printf '%s\n' ProctrackType=proctrack/cgroup TaskPlugin=task/cgroup
  else
    printf '%s\n' ProctrackType=proctrack/linuxproc TaskPlugin=task/none \
      JobAcctGatherParams=OverMemoryKill
  fi
}

configure() {
  local changed=1 megabytes
  megabytes=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
  put "$etc/gres.conf" 644 <<<$'Name=gpu File=/dev/null\nName=gpu File=/dev/zero' && changed=0
  put "$etc/cgroup.conf" 644 <<CONF && changed=0
CgroupAutomount=no
ConstrainRAMSpace=yes
ConstrainSwapSpace=no
CONF
  put "$etc/slurm.conf" 644 <<CONF && changed=0
ClusterName=local
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/munge
AuthInfo=cred_expire=${CRED_EXPIRE:-5}
StateSaveLocation=$spool/slurmctld
SlurmdSpoolDir=$spool/slurmd
SlurmctldPidFile=$run/slurmctld.pid
SlurmdPidFile=$run/slurmd.pid
SlurmctldLogFile=$log/slurmctld.log
SlurmdLogFile=$log/slurmd.log
$(confinement)
MpiDefault=none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
AccountingStorageType=accounting_storage/slurmdbd
AccountingStorageHost=localhost
AccountingStorageEnforce=associations,limits,qos
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=1,sched_min_interval=0,batch_sched_delay=0,bf_interval=1,default_queue_depth=1000
SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
DefMemPerCPU=256
GresTypes=gpu
MaxArraySize=${MAX_ARRAY_SIZE:-1001}
MaxJobCount=20000
KillWait=${KILL_WAIT:-2}
OverTimeLimit=0
CompleteWait=0
SlurmdParameters=config_overrides
SlurmdTimeout=${NODE_TIMEOUT:-10}
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName=$host NodeAddr=127.0.0.1 CPUs=${CPUS:-2} RealMemory=$megabytes Gres=gpu:2 State=UNKNOWN
PartitionName=main Nodes=$host Default=YES MaxTime=INFINITE PriorityTier=1
PartitionName=urgent Nodes=$host MaxTime=INFINITE PriorityTier=2
CONF
  return $changed
}

[ "$(id -u)" = 0 ] || { say "must run as root"; exit 1; }
for program in slurmctld slurmdbd munged mariadbd; do
  command -v "$program" >/dev/null || { say "no $program here; tests/helpers/install.sh installs it"; exit 1; }
done
if [ -e "$etc/slurm.conf" ] && ! grep -qx 'ClusterName=local' "$etc/slurm.conf"; then
  say "$etc/slurm.conf belongs to another cluster; it is left alone"
  exit 1
fi
mkdir -p "$etc" "$run" "$log" "$spool/slurmctld" "$spool/slurmd"
start_munge
start_database
if configure; then  # before accounting, whose sacctmgr reads slurm.conf
  end "$run/slurmd.pid"
  end "$run/slurmctld.pid"
fi
start_accounting
lives "$run/slurmctld.pid" || slurmctld
wait_for 30 scontrol ping
lives "$run/slurmd.pid" || slurmd
# Slurm drains a node on which something went wrong, and waits for an administrator
node_is_up() {
  sinfo -h -o %T | grep -Eqx 'idle|mixed|allocated|completing' && return
  scontrol update NodeName="$host" State=RESUME
  false
}
export -f node_is_up
export host
wait_for 30 bash -c node_is_up
