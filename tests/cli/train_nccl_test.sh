# Training on several processes with a GPU each, on the simulator's NCCL: what stops it stands in docs/errors.md.
. tests/cli/lib.sh "$1"

if [ ! -e "$(dirname "$program")/gmner-sim.so" ]; then
    echo "skipped: the simulator is not built (make sim)"
    exit 77
fi
if "$program" train --config configs/tiny.json --set data.synth=8 --set train.max_steps=1 --out "$scratch/alone" --comm nccl --device sim \
    --comm-rank 0 --comm-size 1 2>&1 | grep -q 'has no NCCL'; then
    echo "skipped: the simulator was built without nccl.h (tools/get-nccl)"
    exit 77
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ASAN_OPTIONS=detect_leaks=0:${ASAN_OPTIONS:-}

page=docs/errors.md
rows=$(sed -n '/^# What stops several GPUs/,/^# /s/^| \(.*\) | `\(.*\)` |$/\1\t\2/p' "$page")
[ -n "$rows" ] || fail "$page has no table of situations of several GPUs"
provoked=$scratch/provoked
: > "$provoked"
base=(train --config "$PWD/configs/tiny.json" --set train.shards=8 --set data.synth=32 --set train.batch=8 --set train.epochs=1
    --set train.log_every=1 --set predict.tokens=128 --set threads=1 --log-level error)
# by_file N OPTION...: N processes that meet by a file, without MPI; rank r's code and words are left in r.code and r.err.
by_file() {
    local n=$1 r
    shift
    for ((r = 0; r < n; r++)); do
        { "$program" "${base[@]}" --comm nccl --device sim --comm-rank $r --comm-size "$n" --comm-file "$scratch/meeting" "$@" 2> "$scratch/$r.err"
          echo $? > "$scratch/$r.code"; } &
    done
    wait
}
end_of() { # end_of "situation" FILE: the row's message stands in FILE
    local message
    message=$(awk -F '\t' -v s="$1" '$1 == s { print $2 }' <<< "$rows")
    [ -n "$message" ] || { fail "$page has no row \"$1\""; return; }
    echo "$1" >> "$provoked"
    message=$(sed -e 's/[][\.*^$+?(){}|/]/\\&/g' -e 's/\\\.\\\.\\\./.*/g' -e 's/\\\//\//g' <<< "$message")
    grep -Eq -e "$message" "$2" || fail "$1: lacks /$message/: $(head -n 8 "$2")"
}
stops() { # stops "situation" CODE OPTION...: one process alone
    "$program" "${base[@]}" --out "$scratch/new" --comm nccl "${@:3}" 2> "$scratch/err"
    [ $? -eq "$2" ] || fail "$1: must end with $2"
    end_of "$1" "$scratch/err"
}

# Who is who.
stops "nobody says which process this is" 2 --device sim
stops "processes without MPI have no file to meet by" 2 --device sim --comm-rank 1 --comm-size 2
stops "a rank that there is not" 2 --device sim --comm-rank 2 --comm-size 2
stops "--comm nccl on the cpu" 2 --comm-rank 0 --comm-size 2 --comm-file "$scratch/meeting"
stops "a rank does not come" 1 --device sim --comm-rank 0 --comm-size 2 --comm-file "$scratch/meeting" --set comm.timeout_s=1
GM_SIM_DEVICES=2 stops "more processes than GPUs" 1 --device sim --comm-rank 2 --comm-size 3 --comm-file "$scratch/meeting"
GM_SIM_DEVICES=1 by_file 2 --out "$scratch/new"
for r in 0 1; do
    [ "$(cat "$scratch/$r.code")" -eq 1 ] || fail "two processes on one GPU: rank $r must end with 1"
    end_of "two processes on one GPU" "$scratch/$r.err"
done
if [ -e "$(dirname "$program")/gmner-cuda.so" ] && ! nvidia-smi -L 2> /dev/null | grep -q GPU; then
    stops "there is no GPU" 1 --device cuda --comm-rank 0 --comm-size 2 --comm-file "$scratch/meeting"
else
    echo "note: no cuda module, or a GPU: that there is none was not provoked"
    echo "there is no GPU" >> "$provoked"
fi
[ ! -e "$scratch/new" ] || fail "a run that failed left a folder"
[ -z "$(find "$scratch" -name 'meeting*')" ] || fail "files of a meeting were left"

# Training: one, two and four GPUs end with the same bits, in both precisions, whoever tells the ranks who they are; losses stay by
# those of MPI's ranks on the CPU as closely as one GPU's (tests/device/short_device_test.c).
weights() { (cd "$1" && sha256sum last/model.safetensors last/optimizer.safetensors best/model.safetensors); }
same() { # same "what" FOLDER FOLDER
    diff <(weights "$2") <(weights "$3") >&2 || fail "$1: files differ"
}
one() { "$program" "${base[@]}" --device sim "$@" 2> "$scratch/err" || fail "one process: $(cat "$scratch/err")"; }
all_well() { # all_well N OPTION...: by file
    local n=$1 r
    by_file "$@"
    for ((r = 0; r < n; r++)); do [ "$(cat "$scratch/$r.code")" -eq 0 ] || fail "rank $r of $n: $(cat "$scratch/$r.err")"; done
}
one --out "$scratch/one"
for n in 2 4; do
    all_well $n --out "$scratch/$n"
    same "$n GPUs" "$scratch/one" "$scratch/$n"
done
one --out "$scratch/tags" --set head=crf --set precision=bf16
all_well 3 --out "$scratch/tags3" --set head=crf --set precision=bf16
same "3 GPUs, a tagger in bf16" "$scratch/tags" "$scratch/tags3"

# Stopped behind a step with two, resumed with four.
all_well 2 --out "$scratch/part" --set train.max_steps=2
all_well 4 --out "$scratch/part" --resume
same "resumed with four GPUs" "$scratch/one" "$scratch/part"

losses() { # losses FOLDER FOLDER: of two runs are the same within a millionth
    python3 - "$1" "$2" << 'PY' || fail "losses of $1 and $2"
import json, sys
a, b = ([json.loads(l) for l in open(f + "/metrics.jsonl") if '"event":"step"' in l] for f in sys.argv[1:])
assert len(a) == len(b) == 4, (len(a), len(b))
for x, y in zip(a, b): assert abs(x["loss"] - y["loss"]) <= 1e-6 * x["loss"], (x["loss"], y["loss"])
assert all(x["sent_dense"] == y["sent_dense"] > 0 and x["sent_rows"] == y["sent_rows"] > 0 for x, y in zip(a, b)), "traffic"
PY
}
if command -v mpirun > /dev/null && ldd "$program" | grep -q libmpi; then
    ranks() { mpirun --oversubscribe -np "$1" "$program" "${base[@]}" "${@:2}" 2> "$scratch/err"; }
    for n in 2 4; do
        ranks $n --device cpu --out "$scratch/mpi$n" || fail "$n ranks by MPI: $(cat "$scratch/err")"
        losses "$scratch/mpi$n" "$scratch/$n"
    done
    ranks 2 --device sim --out "$scratch/auto" || fail "NCCL by mpirun: $(cat "$scratch/err")"
    same "NCCL by mpirun" "$scratch/one" "$scratch/auto"
    ranks 2 --device sim --comm mpi --out "$scratch/new" && fail "MPI between GPUs: must be refused"
    end_of "processes on GPUs are told to use MPI" "$scratch/err"
else
    echo "note: no mpirun, or a build without MPI: NCCL was not compared with it"
    echo "processes on GPUs are told to use MPI" >> "$provoked"
fi

# strike SIGNAL FOLDER: a run of two that goes on for long, rank 1 struck behind the first checkpoint.
strike() {
    local r tries=0 pid=()
    for r in 0 1; do
        "$program" "${base[@]}" --set train.epochs=400 --set train.save_every=2 --comm nccl --device sim --comm-rank $r --comm-size 2 \
            --comm-file "$scratch/meeting" --set comm.timeout_s=5 --out "$2" 2> "$scratch/$r.err" &
        pid[r]=$!
    done
    until [ -e "$2/last/state.json" ] || [ $((tries += 1)) -gt 3000 ]; do sleep 0.02; done
    kill "-$1" ${pid[1]}
    wait ${pid[0]}
    [ $? -eq 1 ] || fail "$1: rank 0 must end with 1: $(cat "$scratch/0.err")"
    kill -KILL ${pid[1]} 2> /dev/null
    wait ${pid[1]} 2> /dev/null
    [ -e "$2/last/state.json" ] || fail "$1: the last checkpoint does not stand"
}
strike KILL "$scratch/killed"
end_of "a process on a GPU is killed" "$scratch/0.err"
strike STOP "$scratch/stopped"
end_of "a process on a GPU hangs" "$scratch/0.err"

while IFS=$'\t' read -r situation _; do
    grep -qxF -e "$situation" "$provoked" || fail "$page: nothing provokes \"$situation\""
done <<< "$rows"

done_checking
