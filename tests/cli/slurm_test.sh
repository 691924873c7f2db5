# tools/slurm under a real Slurm: munged, slurmctld and slurmd are started here, without root or systemd. Training that its time limit
# and a more urgent job interrupt is queued again and ends with the bits of an undisturbed run, on one rank and on two; an array of
# four predicts the bytes of one process. Skipped where Slurm is missing, unless GM_REQUIRE=slurm.
. tests/cli/lib.sh "$1"

PATH=$PATH:/usr/sbin:/sbin
for tool in munged slurmctld slurmd sbatch; do
    command -v "$tool" > /dev/null && continue
    echo "$tool is missing: apt-get install --no-install-recommends slurm-wlm munge"
    case ",${GM_REQUIRE:-}," in *,slurm,*) exit 1 ;; *) exit 77 ;; esac
done

d=$scratch
stop_slurm() {
    local name pid
    scancel --user "$(id -un)" 2> /dev/null
    for name in slurmd slurmctld munged; do
        pid=$(cat "$d/$name.pid" 2> /dev/null) && kill "$pid" 2> /dev/null
    done
    for name in 1 2 3 4 5 6 7 8 9 10; do
        [ -e "$d/slurmd.pid" ] || [ -e "$d/slurmctld.pid" ] || break
        sleep 0.5
    done
    rm -rf "$scratch"
}
trap stop_slurm EXIT

start_slurm() {
    local host port=$((20000 + $$ % 10000)) user
    host=$(hostname -s) user=$(id -un)
    mkdir "$d/state" "$d/spool"
    (umask 077; dd if=/dev/urandom of="$d/munge.key" bs=128 count=1 status=none)
    chmod 755 "$d" # munged refuses a socket that others cannot reach
    munged --force --key-file="$d/munge.key" --socket="$d/munge.sock" --pid-file="$d/munged.pid" --log-file="$d/munged.log" --seed-file="$d/munge.seed" || return 1
    cat > "$d/slurm.conf" <<CONF
ClusterName=gmner
SlurmctldHost=$host(127.0.0.1)
SlurmUser=$user
SlurmdUser=$user
SlurmctldPort=$port
SlurmdPort=$((port + 1))
AuthType=auth/munge
AuthInfo=socket=$d/munge.sock
StateSaveLocation=$d/state
SlurmdSpoolDir=$d/spool
SlurmctldPidFile=$d/slurmctld.pid
SlurmdPidFile=$d/slurmd.pid
SlurmctldLogFile=$d/slurmctld.log
SlurmdLogFile=$d/slurmd.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerParameters=sched_interval=1,bf_interval=1
JobAcctGatherType=jobacct_gather/none
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
ReturnToService=2
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
KillWait=60
NodeName=$host NodeAddr=127.0.0.1 CPUs=2 State=UNKNOWN
PartitionName=low Nodes=$host Default=YES PriorityTier=1 MaxTime=20
PartitionName=urgent Nodes=$host PriorityTier=10 PreemptMode=OFF MaxTime=20
CONF
    export SLURM_CONF=$d/slurm.conf
    slurmctld -f "$SLURM_CONF" -c && slurmd -f "$SLURM_CONF" || return 1
    until_is 60 node_is_idle
}

# until_is SECONDS COMMAND...: false where the command has not succeeded by then.
until_is() {
    local end=$((SECONDS + $1))
    shift
    until "$@"; do
        [ $SECONDS -lt $end ] || return 1
        sleep 0.2
    done
}
node_is_idle() { [ "$(sinfo -h -p low -o %T 2> /dev/null)" = idle ]; }
# A job that was queued again waits for two minutes by Slurm's own rule, unless somebody moves its time; within the same second
# its node would still refuse it as one that was just ended.
hurry() {
    local about
    about=$(scontrol -o show job "$1" 2> /dev/null)
    [[ $about =~ Reason=BeginTime.*Restarts=([0-9]+) ]] && [ ! -e "$d/hurried.$1.${BASH_REMATCH[1]}" ] || return 0
    touch "$d/hurried.$1.${BASH_REMATCH[1]}"
    scontrol update JobId="$1" StartTime=now+3
}
state() { scontrol -o show job "$1" 2> /dev/null | grep -o 'JobState=[A-Z_]*'; }
has_ended() {
    hurry "$1"
    case $(state "$1") in
        JobState=COMPLETED | JobState=FAILED | JobState=CANCELLED | JobState=TIMEOUT | JobState=NODE_FAIL) true ;;
        *) false ;;
    esac
}
steps_of() { wc -l 2> /dev/null < "$1/metrics.jsonl" || echo 0; }
has_steps() { [ "$(steps_of "$1")" -gt "$2" ]; }
files() { (cd "$1" && sha256sum last/* best/* && sed -E 's/,"(tokens_per_s|ranks|sent_dense|sent_rows|wait_s)":[^,}]*//g' metrics.jsonl | sha256sum); }

start_slurm || { tail -n 20 "$d"/*.log; fail "Slurm does not start"; done_checking; }

export GMNER=$program SBATCH_OUTPUT="$d/%x-%j.log"
train=(--config configs/tiny.json --set data.synth=320 --set train.batch=8 --set train.epochs=${GM_SLURM_EPOCHS:-12} --set train.save_every=1000 --set train.log_every=1 --log-level warn)
"$program" train "${train[@]}" --out "$d/whole" || fail "the undisturbed run"
files "$d/whole" > "$d/whole.sums"
echo "undisturbed: $(steps_of "$d/whole") lines of metrics"

# disturbed NAME SBATCH-OPTION...: the time limit comes after some steps (as its signal), a more urgent job after some more.
disturbed() {
    local name=$1 job urgent
    shift
    job=$(sbatch --parsable "$@" --output="$d/$name.log" tools/slurm/train.sbatch "${train[@]}" --out "$d/$name") || { fail "$name: sbatch"; return; }
    until_is 120 has_steps "$d/$name" 40 || { fail "$name: no steps: $(cat "$d/$name.log")"; return; }
    scancel --batch --signal=USR1 "$job"
    until_is 60 grep -q '^[0-9: -]* ended with' "$d/$name.log" || fail "$name: did not end at the time limit"
    until_is 120 started_again "$job" "$d/$name.log" 1 || fail "$name: was not queued again at its time limit: $(cat "$d/$name.log")"
    until_is 120 has_steps "$d/$name" 160 || fail "$name: no further steps"
    urgent=$(sbatch --parsable -p urgent -c 2 --output=/dev/null --wrap 'sleep 1')
    until_is 120 has_ended "$urgent" || fail "$name: the urgent job did not run"
    until_is 240 has_ended "$job" || fail "$name: $(state "$job")"
    [ "$(state "$job")" = JobState=COMPLETED ] || fail "$name: $(state "$job")"
    [ "$(grep -c 'ended with 143$' "$d/$name.log")" -eq 2 ] || fail "$name: was not stopped twice with its checkpoint saved: $(cat "$d/$name.log")"
    matches "$name: the last start" '^[0-9: -]* start 2 on' "$d/$name.log"
    files "$d/$name" > "$d/$name.sums"
    diff "$d/whole.sums" "$d/$name.sums" >&2 || fail "$name: other bits than the undisturbed run"
    echo "$name: stopped twice, $(grep -c 'start [0-9]' "$d/$name.log") starts, same bits"
}
started_again() {
    hurry "$1"
    grep -q "start $3 on" "$2"
}
disturbed one -c 2
if "$program" env | grep -q '^  mpi  *[^-]' && srun --mpi=list 2>&1 | grep -qw pmix; then disturbed two -n 2
else echo "note: no MPI in this build, or no pmix in this Slurm: training on two ranks was left out"; fi

# Four shards in an array, one merge behind them.
"$program" synth --out "$d/dev.jsonl" --count 41 --split dev --log-level error
"$program" predict --model "$d/whole" --in "$d/dev.jsonl" --samples 3 --log-level error > "$d/predictions"
last=$(tools/slurm/evaluate 4 "$d/eval" "$d/dev.jsonl" "$d/whole" --samples 3 --log-level error) || fail "tools/slurm/evaluate"
until_is 120 has_ended "$last" || fail "the merge did not run: $(squeue; cat "$d"/gmner-*.log)"
cmp "$d/predictions" "$d/eval/predictions.jsonl" || fail "four shards: not the bytes of one process: $(cat "$d"/gmner-*.log)"
"$program" eval --gold "$d/dev.jsonl" --pred "$d/predictions" --json | cmp - "$d/eval/scores.json" || fail "four shards: other scores"

done_checking
