# Training on several processes of mpirun: the same bits as one process for the same train.shards, also where runs are killed and
# go on with another number; a rank that dies, hangs, differs or cannot write ends all with a message that stands in
# docs/errors.md, and the last checkpoint stands. There are more processes here than processors may be.
. tests/cli/lib.sh "$1"

if ! command -v mpirun > /dev/null || ! ldd "$program" | grep -q libmpi; then
    case ${GM_REQUIRE:-} in *mpi*) echo "failed (GM_REQUIRE names mpi): no mpirun, or a build without MPI" >&2; exit 1 ;; esac
    echo "skipped: no mpirun, or a build without MPI"
    exit 77
fi
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0

page=docs/errors.md
rows=$(sed -n '/^# What stops several processes/,/^# /s/^| \(.*\) | `\(.*\)` |$/\1\t\2/p' "$page")
[ -n "$rows" ] || fail "$page has no table of situations of several processes"
provoked=$scratch/provoked
: > "$provoked"

# Many steps a second; evaluation has several batches.
base=(train --config "$PWD/configs/tiny.json" --set train.shards=8 --set data.synth=96 --set train.batch=16 --set train.epochs=3
    --set train.log_every=2 --set predict.tokens=128 --set threads=1)
alone() { "$program" "${base[@]}" --log-level error "$@"; }
ranks() { mpirun --oversubscribe -np "$1" "$program" "${base[@]}" --log-level error "${@:2}"; }
files() { (cd "$1" && sha256sum last/* best/* && sed 's/,"tokens_per_s":[^}]*//' metrics.jsonl | sha256sum); }
same() { # same "what" FOLDER FOLDER
    files "$2" > "$scratch/a.sums"
    files "$3" > "$scratch/b.sums"
    diff "$scratch/a.sums" "$scratch/b.sums" >&2 || fail "$1: files differ from those of one process"
    [ -z "$(find "$3" -name '*.part')" ] || fail "$1: a .part was left"
}
end_of() { # end_of "situation" FILE: the row's message stands in FILE, once
    local message
    message=$(awk -F '\t' -v s="$1" '$1 == s { print $2 }' <<< "$rows")
    [ -n "$message" ] || { fail "$page has no row \"$1\""; return; }
    echo "$1" >> "$provoked"
    message=$(sed -e 's/[][\.*^$+?(){}|/]/\\&/g' -e 's/\\\.\\\.\\\./.*/g' -e 's/\\\//\//g' <<< "$message")
    grep -Eq -e "$message" "$2" || fail "$1: lacks /$message/: $(grep -v '^\[' "$2" | head -n 8)"
}
once() { [ "$(grep -c '^gmner train: ' "$2")" -eq 1 ] || fail "$1: said more than once: $(grep '^gmner' "$2")"; }

# The same bits.
alone --out "$scratch/one" || fail "one process"
for n in 1 2 4; do
    ranks $n --out "$scratch/$n" 2> "$scratch/err" || fail "$n processes: $(cat "$scratch/err")"
    same "$n processes" "$scratch/one" "$scratch/$n"
done

# What two ranks send: each gives the other half of the dense gradients and then half of the weights, and of the embedding the
# rows of the step alone, once as partial sums and once as sums.
python3 - "$scratch/2" << 'PY' || fail "the traffic is not what it should be"
import json, struct, sys
with open(sys.argv[1] + "/last/model.safetensors", "rb") as f:
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
dense, tensors, table = 0, 0, None
for name, t in header.items():
    if name == "__metadata__": continue
    size = 1
    for n in t["shape"]: size *= n
    if name.endswith("word_embeddings.weight"): table = size
    else: dense, tensors = dense + size, tensors + 1
lines = [json.loads(l) for l in open(sys.argv[1] + "/metrics.jsonl")]
steps = [l for l in lines if l["event"] == "step"]
assert len(steps) > 2 and all(l["ranks"] == 2 and l["wait_s"] >= 0 for l in steps)
least, most = 2 * 2 * 4 * dense, 2 * 2 * 4 * (dense + 16 * tensors)  # two steps a line, both ways; each tensor ends at a multiple of 16
for l in steps: assert least <= l["sent_dense"] <= most, (l["sent_dense"], least, most)
assert all(0 < l["sent_rows"] < 2 * 2 * 4 * table for l in steps)
assert len({l["sent_rows"] for l in steps}) > 1, "the rows of different steps are different"
PY

# Other models and ways of training; shards that ranks cannot halve; two threads a rank.
variant() { # variant NAME PROCESSES SETTING...
    local name=$1 n=$2 s=() set
    shift 2
    for set in "$@"; do s+=(--set "$set"); done
    alone "${s[@]}" --out "$scratch/$name.one" || fail "$name: one process"
    ranks "$n" "${s[@]}" --out "$scratch/$name" 2> "$scratch/err" || fail "$name: $(cat "$scratch/err")"
    same "$name" "$scratch/$name.one" "$scratch/$name"
}
variant tagger 3 head=crf train.shards=7 threads=2 train.average=1 data.synth=192 train.batch=8 train.epochs=6 train.lr=2e-3 train.head_lr=1e-3
grep -q '"tp":[1-9]' "$scratch/tagger/metrics.jsonl" || fail "the tagger finds nothing, so that its evaluation shows nothing"
variant memory 2 train.checkpointing=true train.dense_embedding=true train.shards=6
if grep -q avx512bw /proc/cpuinfo; then variant bf16 2 precision=bf16; fi
"$program" synth --out "$scratch/seen.jsonl" --count 48 --log-level error
"$program" paint --in "$scratch/seen.jsonl" --out "$scratch/images" --log-level error || fail "paint"
variant pictures 2 data.format=records encoder=tiny data.train="$scratch/seen.jsonl" data.dev="$scratch/seen.jsonl" data.images="$scratch/images" vision=tiny

# Faults: a longer run, which is found in its midst.
long=(--set train.epochs=12 --set train.save_every=5)
alone "${long[@]}" --out "$scratch/long" || fail "one process, long"
rank_of() { # the process of a rank of the run in FOLDER
    local p
    for p in $(pgrep -f -- "--out $1( |\$)"); do
        tr '\0' '\n' < "/proc/$p/environ" 2> /dev/null | grep -qx "OMPI_COMM_WORLD_RANK=$2" && echo "$p"
    done
}
past() { [ "$(sed -n 's/.*"step": \([0-9]*\).*/\1/p' "$1/last/state.json" 2> /dev/null || echo 0)" -ge "$2" ] 2> /dev/null; }
# strike FOLDER STEP SIGNAL RANK PROCESSES OPTION...: behind a checkpoint of that step or later; leaves code and stderr.
strike() {
    local out=$1 step=$2 signal=$3 rank=$4 n=$5 pid tries=0
    shift 5
    (mpirun --oversubscribe -np "$n" "$program" "${base[@]}" "${long[@]}" --log-level error --out "$out" --resume "$@" 2> "$scratch/err") &
    pid=$!
    until past "$out" "$step" || [ $((tries += 1)) -gt 3000 ] || ! kill -0 $pid 2> /dev/null; do sleep 0.02; done
    struck=$(rank_of "$out" "$rank")
    [ -n "$struck" ] || fail "$out: the run was over before it could be struck: $(cat "$scratch/err")"
    kill "-$signal" $struck 2> /dev/null
    wait $pid
    code=$?
}
goes_on() { # goes_on "what" FOLDER PROCESSES
    ranks "$3" "${long[@]}" --out "$2" --resume 2> "$scratch/err2" || fail "$1: resumed: $(cat "$scratch/err2")"
    same "$1" "$scratch/long" "$2"
}

run=$scratch/killed
strike "$run" 5 KILL 1 4
[ $code -ne 0 ] || fail "a killed rank: the run ended with 0"
end_of "a rank was killed" "$scratch/err"
strike "$run" 20 KILL 0 2
[ $code -ne 0 ] || fail "a killed rank 0: the run ended with 0"
(exec "$program" "${base[@]}" "${long[@]}" --log-level error --out "$run" --resume) &
pid=$!
until past "$run" 40 || ! kill -0 $pid 2> /dev/null; do sleep 0.02; done
kill -KILL $pid 2> /dev/null
wait $pid 2> /dev/null
goes_on "killed with 4, 2 and 1 processes, resumed with 3" "$run" 3

run=$scratch/stopped
start=$(date +%s)
strike "$run" 5 STOP 1 3 --set comm.timeout_s=6
[ $code -ne 0 ] || fail "a stopped rank: the run ended with 0"
[ $(($(date +%s) - start)) -lt 120 ] || fail "a stopped rank: took $(($(date +%s) - start)) s to be noticed"
end_of "a rank hangs" "$scratch/err"
grep -q "rank 1 (process $struck on " "$scratch/err" || fail "a stopped rank: process $struck is not named"
! kill -0 "$struck" 2> /dev/null || { sleep 2; ! kill -0 "$struck" 2> /dev/null; } || fail "a stopped rank: it is still there"
goes_on "a stopped rank" "$run" 2

# One rank alone gets the signal; all stop behind the same step, with what a single process says and returns.
run=$scratch/signalled
strike "$run" 5 USR1 1 2
[ $code -eq 143 ] || fail "SIGUSR1 to one rank: exit code $code, expected 143"
matches "SIGUSR1 to one rank" "^gmner train: stopped by SIGUSR1 behind step [0-9]+; all is saved: go on with --resume" "$scratch/err"
once "SIGUSR1 to one rank" "$scratch/err"
goes_on "a signal" "$run" 4

# What one rank cannot do, and what all cannot.
new=$scratch/new
refused() { # refused "situation" PROCESSES OPTION...
    local what=$1 n=$2
    shift 2
    ranks "$n" "$@" --out "$new" 2> "$scratch/err"
    [ $? -eq 1 ] || fail "$what: must end with 1"
    end_of "$what" "$scratch/err"
    once "$what" "$scratch/err"
}
refused "more processes than shards" 3 --set train.shards=2
cat > "$scratch/differ" << END
[ "\$OMPI_COMM_WORLD_RANK" = 1 ] && { cd "$scratch/elsewhere"; set -- "\$@" --set "\$OTHER"; }
exec "$program" "\$@"
END
mkdir "$scratch/elsewhere"
sed '3s/"tokens": \["/&x/' "$scratch/seen.jsonl" > "$scratch/elsewhere/seen.jsonl"
differing() { # differing "situation" SETTING-OF-RANK-1 OPTION...
    (cd "$scratch" && OTHER=$2 exec mpirun --oversubscribe -np 2 bash "$scratch/differ" "${base[@]}" --log-level error --out "$new" "${@:3}") 2> "$scratch/err"
    [ $? -eq 1 ] || fail "$1: must end with 1"
    end_of "$1" "$scratch/err"
    once "$1" "$scratch/err"
}
differing "ranks with different data" threads=2 --set data.format=records --set data.train=seen.jsonl
differing "ranks with different configurations" train.lr=2e-3
differing "a file is missing for one rank" encoder="$scratch/none"
[ ! -e "$new" ] || fail "a run that failed left a folder"
SLURM_STEP_NUM_TASKS=2 alone --out "$new" 2> "$scratch/err"
[ $? -eq 2 ] || fail "copies of srun must be refused"
end_of "copies of srun that do not find each other" "$scratch/err"

small=$scratch/small
mkdir "$small"
if mount -t tmpfs -o size=3m none "$small" 2> /dev/null; then
    trap 'umount -l "$small" 2> /dev/null; rm -rf "$scratch"' EXIT
    ranks 2 "${long[@]}" --set train.max_steps=5 --out "$small/run" 2> "$scratch/err"
    code=$?
    if [ $code -eq 0 ]; then fail "the disk of the test is not full"; fi
    [ $code -eq 1 ] || fail "a full disk: exit code $code, expected 1"
    end_of "the disk is full" "$scratch/err"
    once "the disk is full" "$scratch/err"
    mount -o remount,size=32m "$small"
    goes_on "a full disk" "$small/run" 2
    umount "$small"
else
    echo "note: no file system can be mounted here: a full disk was not provoked"
    echo "the disk is full" >> "$provoked"
fi

while IFS=$'\t' read -r situation _; do
    grep -qxF -e "$situation" "$provoked" || fail "$page: nothing provokes \"$situation\""
done <<< "$rows"

done_checking
