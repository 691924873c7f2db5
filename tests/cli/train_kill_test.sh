# Training killed with SIGKILL and resumed leaves, file by file, what an uninterrupted run leaves. Five kills come at
# random moments; more come while a checkpoint is being written and right behind an evaluation, where a random moment
# seldom falls. GM_KILL_SEED repeats a failure.
. tests/cli/lib.sh "$1"

seed=${GM_KILL_SEED:-$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')}
RANDOM=$seed
echo "GM_KILL_SEED=$seed"

train() {
    exec "$program" train --config configs/tiny.json --set data.synth=96 --set train.batch=8 --set train.epochs=4 \
        --set train.save_every=3 --set train.log_every=1 --set threads="$2" --log-level error --out "$1" --resume
}
files() { (cd "$1" && sha256sum last/* best/* && sed 's/,"tokens_per_s":[^,}]*//' metrics.jsonl | sha256sum); }
is_done() { grep -q '"epoch": 4, ' "$1/last/state.json" 2> /dev/null; }

# kill_when FOLDER THREADS COMMAND...: kills the run as soon as the command succeeds; fails when the run ends before.
kill_when() {
    local out=$1 threads=$2 pid
    shift 2
    (train "$out" "$threads") &
    pid=$!
    while ! "$@"; do
        if ! kill -0 "$pid" 2> /dev/null; then wait "$pid"; return 1; fi
    done
    kill -KILL "$pid" 2> /dev/null
    wait "$pid" 2> /dev/null
    [ $? -eq 137 ]
}

finish() { (train "$1" 2) || fail "$2: the last run ended with $?"; }

compare() {
    files "$scratch/$1" > "$scratch/$1.sums"
    diff "$scratch/whole.sums" "$scratch/$1.sums" >&2 || fail "$1: files differ from those of an uninterrupted run"
    [ -z "$(find "$scratch/$1" -name '*.part')" ] || fail "$1: a .part was left"
}

start=$(date +%s%N)
finish "$scratch/whole" "whole"
took_ms=$((($(date +%s%N) - start) / 1000000))
files "$scratch/whole" > "$scratch/whole.sums"
[ "$(wc -l < "$scratch/whole.sums")" -eq 11 ] || fail "expected six files in last/, four in best/ and the metrics"

# Five random moments, each within a third of the whole run; a run that ends before its kill is begun anew, with less time.
later() { [ "$(date +%s%N)" -ge "$deadline" ]; }
for tries in 3 5 8 12 20; do
    rm -rf "$scratch/random"
    kills=0 where=
    while [ $kills -lt 5 ]; do
        deadline=$(($(date +%s%N) + (took_ms * 1000000 / tries) * (RANDOM % 1000) / 1000))
        kill_when "$scratch/random" $((RANDOM % 3 + 1)) later || break
        kills=$((kills + 1))
        where="$where $(sed -n 's/.*"step": \([0-9]*\).*/\1/p' "$scratch/random/last/state.json" 2> /dev/null || true)"
        if is_done "$scratch/random"; then break; fi
    done
    [ $kills -eq 5 ] && break
done
[ "$kills" -eq 5 ] || fail "only $kills of five kills found the run alive"
echo "random kills: behind the checkpoints of steps$where"
finish "$scratch/random" "random"
compare random

# While last.part and best.part are being filled, and behind the line of an evaluation that no checkpoint has yet seen.
has_part() { [ -e "$out/$part" ]; }
has_eval() { [ "$(cat "$out/metrics.jsonl" 2> /dev/null | grep -c '"eval"')" -gt "$seen" ]; }
out=$scratch/writing
hits=0
for part in last.part/model.safetensors last.part/optimizer.safetensors.part best.part last.part/state.json last.part/gmner.json; do
    kill_when "$out" 2 has_part && hits=$((hits + 1))
done
echo "kills while a checkpoint was written: $hits of 5"
[ $hits -ge 2 ] || fail "only $hits of five kills came while a checkpoint was written"
finish "$out" "writing"
compare writing

out=$scratch/behind
for seen in 0 1 2; do kill_when "$out" 2 has_eval || fail "the run ended before evaluation $((seen + 1))"; done
finish "$out" "behind"
compare behind

done_checking
