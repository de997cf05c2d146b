#!/usr/bin/env bash
# A real, throw-away SLURM cluster (munged, mariadbd, slurmdbd, slurmctld, N slurmd)
# in one directory, on loopback, without systemd.  Idempotent; every wait is bounded.
#
#   cluster.sh [start|stop|restart|fresh|wipe|status|env|install]   (fresh: wipe, then start)
#   eval "$(cluster.sh env)"          # SLURM_CONF for sbatch/sacct/submitit
#
# Settings (environment):
#   SLURM_CI_DIR    /tmp/slurm-ci  everything lives here (keep it short: unix sockets)
#   SLURM_CI_PORT   26810          ctld=PORT, dbd=PORT+1, slurmd i=PORT+2+i
#   SLURM_CI_NODES  2              emulated nodes n0..n(N-1), each its own slurmd
#   SLURM_CI_CPUS   8              CPUs declared per node (may exceed the real ones)
#   SLURM_CI_MEM    16000          MB declared per node (may exceed the real ones)
#   SLURM_CI_GPUS   4              fake gpus per node
#   SLURM_CI_DBD    1              0: no mariadb/slurmdbd (sacct will not work)
#   SLURM_CI_EXTRA                 lines added to slurm.conf
#   SLURM_CI_INSTALL 1             0: never call apt-get
set -euo pipefail
umask 022
export LC_ALL=C
export PATH="$PATH:/usr/sbin:/sbin"

export SLURM_CI_DIR="${SLURM_CI_DIR:-/tmp/slurm-ci}"
D=$SLURM_CI_DIR
PORT=${SLURM_CI_PORT:-26810}
NODES=${SLURM_CI_NODES:-2}
CPUS=${SLURM_CI_CPUS:-8}
MEM=${SLURM_CI_MEM:-16000}
GPUS=${SLURM_CI_GPUS:-4}
DBD=${SLURM_CI_DBD:-1}
INSTALL=${SLURM_CI_INSTALL:-1}
ME=$(id -un)
export SLURM_CONF="$D/etc/slurm.conf"
unset MYSQL_HOST MYSQL_PWD MYSQL_TCP_PORT || true
export MYSQL_UNIX_PORT="$D/run/maria.sock"     # how slurmdbd's libmariadb finds the socket
NODELIST=$([ "$NODES" -eq 1 ] && echo n0 || echo "n[0-$((NODES-1))]")

say() { printf '[slurm-ci] %s\n' "$*" >&2; }
die() {
    say "ERROR: $*"
    for f in "$D"/log/*.log; do
        [ -s "$f" ] || continue
        printf -- '--- tail %s\n' "$f" >&2; tail -n 12 "$f" >&2 || true
    done
    exit 1
}
wait_for() {  # wait_for SECONDS WHAT COMMAND...
    local end=$((SECONDS + $1)) what=$2; shift 2
    until "$@" >/dev/null 2>"$D/log/wait.err"; do
        [ "$SECONDS" -lt "$end" ] || { say "gave up waiting for $what: $(tail -n 3 "$D/log/wait.err")"; return 1; }
        sleep 0.1
    done
}
# A pid is ours only if the process runs that program AND carries our SLURM_CI_DIR.
is_ours() {  # is_ours PID NAME
    [ -n "${1:-}" ] && [ "$(cat "/proc/$1/comm" 2>/dev/null)" = "$2" ] &&
        { tr '\0' '\n' < "/proc/$1/environ" | grep -qxF "SLURM_CI_DIR=$D"; } 2>/dev/null
}
alive() { local p; p=$(cat "$D/run/$2.pid" 2>/dev/null) || return 1; is_ours "$p" "$1"; }
quiet() { timeout "${T:-10}" "$@" </dev/null; }
# Daemons must hold neither our stdin/stdout (CI pipes) nor the lock (fd 9).
daemon() { ( exec setsid "$@" </dev/null >>"$D/log/daemon.log" 2>&1 9>&- ); }
port_busy() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

install() {
    local need=() p
    command -v slurmctld >/dev/null || need+=(slurmctld)
    command -v slurmd    >/dev/null || need+=(slurmd)
    command -v sbatch    >/dev/null || need+=(slurm-client)
    command -v munged    >/dev/null || need+=(munge)
    if [ "$DBD" = 1 ]; then
        command -v slurmdbd >/dev/null || need+=(slurmdbd)
        command -v mariadbd >/dev/null || need+=(mariadb-server-core)
        command -v mariadb  >/dev/null || need+=(mariadb-client-core)
    fi
    [ ${#need[@]} -eq 0 ] && return 0
    [ "$INSTALL" = 1 ] || die "missing: ${need[*]} (apt-get install --no-install-recommends ${need[*]})"
    [ "$(id -u)" = 0 ] || die "missing: ${need[*]}, and only root can install them"
    say "installing ${need[*]}"
    # The packages' maintainer scripts must not start their own daemons.
    local guard=
    if [ ! -e /usr/sbin/policy-rc.d ]; then
        printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d; chmod 755 /usr/sbin/policy-rc.d; guard=1
    fi
    local log rc=0; log=$(mktemp /tmp/slurm-ci-apt.XXXXXX)
    export DEBIAN_FRONTEND=noninteractive
    for p in 1 2; do
        rc=0
        timeout 300 apt-get -o DPkg::Lock::Timeout=120 update </dev/null >>"$log" 2>&1 || true
        timeout 500 apt-get -o DPkg::Lock::Timeout=120 install -y --no-install-recommends \
            "${need[@]}" </dev/null >>"$log" 2>&1 && break || rc=$?
    done
    [ -z "$guard" ] || rm -f /usr/sbin/policy-rc.d
    [ "$rc" = 0 ] || { tail -n 30 "$log" >&2; die "apt-get failed ($rc), see $log"; }
    rm -f "$log"
}

write() {  # write FILE MODE < text, in one step
    local tmp; tmp=$(mktemp "$1.XXXXXX"); cat > "$tmp"; chmod "$2" "$tmp"; mv -f "$tmp" "$1"
}
fingerprint() { cat "$D"/etc/*.conf 2>/dev/null | cksum; }

configure() {
    mkdir -p "$D"/{etc,run,log,state,spool,dev}
    chmod 755 "$D" "$D"/{etc,run,log,state,spool,dev}
    : > "$D/.slurm-ci"
    [ -s "$D/etc/munge.key" ] || { (umask 077; head -c 128 /dev/urandom > "$D/etc/munge.key"); }
    # Job ids of a wiped cluster must not come back: submitit takes a result file that an
    # earlier job of the same id left in the same folder for this job's.
    [ -s "$D/etc/first_job_id" ] || echo $((100000 + $(date +%s) % 60000000)) > "$D/etc/first_job_id"
    local i host addr bind=
    # The address the hostname resolves to; SLURM binds there under NoInAddrAny.
    host=$(hostname -s 2>/dev/null || hostname)
    addr=$(getent ahostsv4 "$(hostname)" 2>/dev/null | awk 'NR==1{print $1}') || true
    case "$addr" in
        127.*) bind=CommunicationParameters=NoInAddrAny,NoCtldInAddrAny ;;
        *) addr=127.0.0.1; say "hostname $(hostname) does not resolve to loopback: daemons listen on all addresses" ;;
    esac
    # torch.distributed & co. use a node's name as an address, so it has to resolve
    for ((i = 0; i < NODES; i++)); do
        getent hosts "n$i" >/dev/null || { echo "$addr n$i # slurm-ci" >> /etc/hosts; } 2>/dev/null \
            || say "n$i does not resolve and /etc/hosts cannot be written: MASTER_ADDR=n$i will not work"
    done
    # gres wants a device file per gpu: a char device gives CUDA_VISIBLE_DEVICES,
    # a plain file (what a non-root user can make) only the count.
    for ((i = 0; i < GPUS; i++)); do
        [ -e "$D/dev/gpu$i" ] || mknod "$D/dev/gpu$i" c 1 3 2>/dev/null || : > "$D/dev/gpu$i"
    done
    {   cat <<CONF
ClusterName=slurmci
FirstJobId=$(cat "$D/etc/first_job_id")
SlurmctldHost=$host($addr)
SlurmctldPort=$PORT
SlurmUser=$ME
SlurmdUser=$ME
AuthType=auth/munge
CredType=cred/munge
# cred_expire is also how long a requeued job is held back (default 120 s!); it has to
# exceed KillWait+2 or the job can restart on a node whose old step is still dying
# ("Duplicate jobid": node drained, job "launch failed requeued held")
AuthInfo=socket=$D/run/munge.sock,cred_expire=8
$bind
StateSaveLocation=$D/state
SlurmdSpoolDir=$D/spool/%n
SlurmctldPidFile=$D/run/slurmctld.pid
SlurmdPidFile=$D/run/slurmd-%n.pid
SlurmctldLogFile=$D/log/slurmctld.log
SlurmdLogFile=$D/log/slurmd-%n.log
SlurmctldDebug=verbose
SlurmdDebug=verbose
# no cgroups, no affinity: runs in any container or VM
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/linux
JobAcctGatherFrequency=task=1
# a step over its memory request is killed (polled; no cgroups needed)
JobAcctGatherParams=OverMemoryKill
SwitchType=switch/none
MpiDefault=none
PropagateResourceLimits=NONE
# config_overrides: declared CPUs/memory may exceed the hardware
SlurmdParameters=config_overrides
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU_Memory
DefMemPerCPU=500
GresTypes=gpu
ReturnToService=2
SlurmctldTimeout=15
SlurmdTimeout=15
MessageTimeout=10
InactiveLimit=0
KillWait=2
OverTimeLimit=0
MinJobAge=600
MaxArraySize=1001
# a job that can never run is refused, not left pending
EnforcePartLimits=ALL
MaxJobCount=5000
JobRequeue=1
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0,sched_min_interval=0
# --signal (submitit's SIGUSR2) also at preemption, not only before the time limit
SlurmctldParameters=preempt_send_user_signal
PriorityType=priority/basic
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
JobCompType=jobcomp/filetxt
JobCompLoc=$D/log/jobcomp.txt
CONF
        if [ "$DBD" = 1 ]; then
            printf 'AccountingStorageType=accounting_storage/slurmdbd\nAccountingStorageHost=%s\nAccountingStoragePort=%s\nAccountingStoragePass=%s\nAccountingStoreFlags=job_comment\n' "$addr" $((PORT+1)) "$D/run/munge.sock"
            printf 'AccountingStorageTRES=gres/gpu\n'
        else
            echo 'AccountingStorageType=accounting_storage/none'
        fi
        for ((i = 0; i < NODES; i++)); do
            echo "NodeName=n$i NodeHostname=$host NodeAddr=$addr Port=$((PORT+2+i)) CPUs=$CPUS RealMemory=$MEM Gres=gpu:$GPUS State=UNKNOWN"
        done
        cat <<CONF
PartitionName=main  Nodes=$NODELIST Default=YES MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1 PreemptMode=OFF
PartitionName=low   Nodes=$NODELIST MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=10
PartitionName=high  Nodes=$NODELIST MaxTime=INFINITE DefaultTime=60 State=UP PriorityTier=100 PreemptMode=OFF
CONF
        printf '%s\n' "${SLURM_CI_EXTRA:-}"
    } | write "$SLURM_CONF" 644
    echo "NodeName=$NODELIST Name=gpu File=$D/dev/gpu[0-$((GPUS-1))]" | write "$D/etc/gres.conf" 644
    : > "$D/etc/plugstack.conf"
    [ "$DBD" = 1 ] && write "$D/etc/slurmdbd.conf" 600 <<CONF
AuthType=auth/munge
AuthInfo=socket=$D/run/munge.sock
$bind
DbdHost=$host
DbdAddr=$addr
DbdPort=$((PORT+1))
SlurmUser=$ME
DebugLevel=verbose
LogFile=$D/log/slurmdbd.log
PidFile=$D/run/slurmdbd.pid
StorageType=accounting_storage/mysql
StorageHost=localhost
StorageUser=$ME
StorageLoc=slurm_acct
CONF
    return 0
}

start_munge() {
    alive munged munged && return 0
    daemon munged --force --key-file="$D/etc/munge.key" --socket="$D/run/munge.sock" \
        --pid-file="$D/run/munged.pid" --log-file="$D/log/munged.log" --seed-file="$D/run/munged.seed" \
        || die "munged did not start"
    wait_for 10 munged sh -c "munge -S '$D/run/munge.sock' -n | unmunge -S '$D/run/munge.sock'" || die "munged does not answer"
}

start_maria() {
    if ! [ -d "$D/db/mysql" ] || [ -e "$D/db/.incomplete" ]; then
        rm -rf "$D/db"; mkdir -m 700 "$D/db"; : > "$D/db/.incomplete"
        # Authenticates the unix user over the socket: no password, no TCP.
        T=60 quiet mariadb-install-db --no-defaults --user="$ME" --datadir="$D/db" \
            --auth-root-authentication-method=socket --auth-root-socket-user="$ME" \
            --skip-test-db --skip-name-resolve >>"$D/log/mariadb-install.log" 2>&1 || die "mariadb-install-db failed"
        rm -f "$D/db/.incomplete"
    fi
    if ! alive mariadbd mariadbd; then
        rm -f "$D/run/maria.sock"
        ( exec setsid mariadbd --no-defaults --user="$ME" --datadir="$D/db" --socket="$D/run/maria.sock" \
            --pid-file="$D/run/mariadbd.pid" --log-error="$D/log/mariadbd.log" \
            --skip-networking --skip-name-resolve --innodb-buffer-pool-size=64M \
            --innodb-log-file-size=32M --innodb-lock-wait-timeout=900 \
            --innodb-flush-log-at-trx-commit=0 --innodb-doublewrite=0 --performance-schema=OFF \
            </dev/null >>"$D/log/daemon.log" 2>&1 9>&- ) &
    fi
    wait_for 30 mariadbd mariadb --no-defaults -S "$D/run/maria.sock" -u "$ME" -e 'select 1' || die "mariadbd does not answer"
}

start_dbd() {
    if ! alive slurmdbd slurmdbd; then
        port_busy $((PORT+1)) && die "port $((PORT+1)) is taken by another process"
        T=20 quiet mariadb --no-defaults -S "$D/run/maria.sock" -u "$ME" -e 'create database if not exists slurm_acct' || die "cannot create the database"
        daemon slurmdbd || die "slurmdbd did not start"
    fi
    wait_for 40 slurmdbd timeout 5 sacctmgr -n show cluster || die "slurmdbd does not answer"
    [ -n "$(quiet sacctmgr -nP show cluster slurmci)" ] || quiet sacctmgr -i add cluster slurmci >/dev/null || die "sacctmgr add cluster failed"
}

start_ctld() {
    if ! alive slurmctld slurmctld; then
        port_busy "$PORT" && die "port $PORT is taken by another process"
        daemon slurmctld || die "slurmctld did not start"
    fi
    wait_for 20 slurmctld timeout 3 scontrol ping || die "slurmctld does not answer"
    quiet scontrol ping | grep -q UP || die "slurmctld is down"
}

start_slurmd() {  # start_slurmd N
    alive slurmd "slurmd-n$1" && return 0
    port_busy $((PORT+2+$1)) && die "port $((PORT+2+$1)) is taken by another process"
    mkdir -p "$D/spool/n$1"
    daemon slurmd -N "n$1" || die "slurmd n$1 did not start"
    wait_for 10 "slurmd n$1" alive slurmd "slurmd-n$1" || die "slurmd n$1 died"
}

nodes_ready() {
    local n; n=$(timeout 5 sinfo -h -N -p main -o '%N %T' | awk '$2 ~ /^(idle|mixed|allocated|completing)$/' | sort -u | wc -l)
    [ "$n" -eq "$NODES" ]
}
healthy() {
    local i
    alive munged munged && alive slurmctld slurmctld || return 1
    [ "$DBD" != 1 ] || { alive mariadbd mariadbd && alive slurmdbd slurmdbd && timeout 5 sacct -n -X -S now; } || return 1
    for ((i = 0; i < NODES; i++)); do alive slurmd "slurmd-n$i" || return 1; done
    nodes_ready
}

start() {
    local i n t0=$SECONDS
    case "$D" in /*) ;; *) die "SLURM_CI_DIR must be absolute";; esac
    [ ${#D} -le 80 ] || die "SLURM_CI_DIR is too long for a unix socket: $D"
    install
    mkdir -p "$D"
    exec 9>"$D/lock"; flock -w 120 9 || die "another start/stop holds $D/lock"
    configure
    # daemons that run an older configuration are restarted
    if [ "$(cat "$D/run/conf.sum" 2>/dev/null)" != "$(fingerprint)" ]; then stop_daemons; elif healthy >/dev/null 2>&1; then say "already up: $NODES nodes"; return 0; fi
    fingerprint > "$D/run/conf.sum"
    start_munge
    if [ "$DBD" = 1 ]; then start_maria; start_dbd; fi
    start_ctld
    for ((i = 0; i < NODES; i++)); do start_slurmd "$i"; done
    # a node that an earlier failure left down or drained comes back
    for ((i = 0; ; i++)); do
        wait_for 2 "nodes" nodes_ready 2>/dev/null && break
        [ "$i" -lt 15 ] || { timeout 5 sinfo -N -l >&2 || true; die "nodes are not ready"; }
        for n in $(timeout 5 sinfo -h -N -p main -t down,drain,fail -o %N | sort -u); do
            quiet scontrol update nodename="$n" state=resume >/dev/null 2>&1 || true
        done
    done
    say "up in $((SECONDS-t0)) s: $NODES nodes x $CPUS CPUs, $GPUS gpus; SLURM_CONF=$SLURM_CONF"
}

kill_ours() {  # kill_ours NAME PIDFILE SECONDS
    local p; p=$(cat "$D/run/$2.pid" 2>/dev/null) || return 0
    if is_ours "$p" "$1"; then
        kill "$p" 2>/dev/null || true
        local end=$((SECONDS + $3))
        while is_ours "$p" "$1" && [ "$SECONDS" -lt "$end" ]; do sleep 0.1; done
        if is_ours "$p" "$1"; then say "$1 ($p) ignored SIGTERM: SIGKILL"; kill -9 "$p" 2>/dev/null || true; sleep 0.2; fi
    fi
    rm -f "$D/run/$2.pid"
}

stop_daemons() {
    local f p
    if alive slurmctld slurmctld; then
        T=5 quiet scancel -u "$ME" 2>/dev/null || true           # pending and running jobs
        T=5 quiet scancel -f -s KILL -u "$ME" 2>/dev/null || true  # batch steps and tasks at once
        wait_for 10 "jobs to end" sh -c '[ -z "$(timeout 3 squeue -h -t R,CG,S,CF)" ]' || true
    fi
    for f in "$D"/run/slurmd-*.pid; do
        [ -e "$f" ] && kill_ours slurmd "$(basename "$f" .pid)" 10
    done
    # Job steps outlive slurmd by design. A slurmstepd overwrites its environment with
    # its title, so it is known by its log; a task by what SLURM put in its environment.
    for p in $(ps -e -o pid=,comm= | awk '$2=="slurmstepd"{print $1}'); do
        ls -l "/proc/$p/fd" 2>/dev/null | grep -qF -- "-> $D/log/slurmd-" && kill -9 "$p" 2>/dev/null || true
    done
    for p in $(grep -lzxF "SLURM_CONF=$SLURM_CONF" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3); do
        [ "$p" != $$ ] && grep -qzxF SLURM_CLUSTER_NAME=slurmci "/proc/$p/environ" 2>/dev/null &&
            kill -9 "$p" 2>/dev/null || true
    done
    kill_ours slurmctld slurmctld 15
    kill_ours slurmdbd slurmdbd 15
    kill_ours mariadbd mariadbd 20
    kill_ours munged munged 10
}
stop() {
    [ -d "$D" ] || return 0
    exec 9>"$D/lock"; flock -w 120 9 || die "another start/stop holds $D/lock"
    stop_daemons
    say "stopped"
}

wipe() {  # only a directory that this script made
    ( stop )
    if [ -f "$D/.slurm-ci" ]; then rm -rf -- "$D"; fi
}

case "${1:-start}" in
    start)   start ;;
    stop)    stop ;;
    restart) ( stop ); start ;;
    wipe)    wipe ;;
    fresh)   wipe; start ;;
    status)  healthy && say "healthy" || { say "not healthy"; exit 1; } ;;
    env)     printf 'export SLURM_CONF=%q SLURM_CI_DIR=%q\n' "$SLURM_CONF" "$D" ;;
    install) install ;;
    *)       echo "usage: $0 [start|stop|restart|fresh|wipe|status|env|install]" >&2; exit 2 ;;
esac
