# By hand, on a quiet machine: the same as train_kill_test on the real tweets with the real encoder.
#
#     bash tests/cli/train_kill_real.sh build/gmner [STEPS] [CONFIG] [--set ...]
#
# trains STEPS steps (default 300: an evaluation of the whole dev set is among them) once without a break and once killed
# with SIGKILL at five random moments, and prints the SHA-256 of every file of both checkpoints.
steps=${2:-300} config=${3:-configs/twitter-gmner-text.json}
more=("${@:4}")
. tests/cli/lib.sh "$1"

for needed in weights/minilm/model.safetensors ../shared/data/twitter-gmner/train.txt; do
    if [ ! -e "$needed" ]; then echo "skipped: $needed is missing"; exit 77; fi
done
seed=${GM_KILL_SEED:-$(od -An -N2 -tu2 /dev/urandom | tr -d ' ')}
RANDOM=$seed
echo "GM_KILL_SEED=$seed"

train() {
    exec "$program" train --config "$config" --set train.max_steps="$steps" --set train.save_every=40 "${more[@]}" \
        --log-level warn --out "$1" --resume
}
files() { (cd "$1" && sha256sum last/* best/*); }

start=$SECONDS
(train "$scratch/whole") || { fail "the uninterrupted run ended with $?"; done_checking; }
took=$((SECONDS - start))
echo "uninterrupted: $took s"

kills=0
while [ $kills -lt 5 ]; do
    delay=$((took * 1000 / 5 * (RANDOM % 1000) / 1000 + 1000))
    (train "$scratch/killed") &
    pid=$!
    sleep "$((delay / 1000)).$(printf %03d $((delay % 1000)))"
    if ! kill -KILL "$pid"; then fail "the run ended before kill $((kills + 1))"; break; fi
    wait "$pid" 2> /dev/null
    kills=$((kills + 1))
    echo "kill $kills after $delay ms, behind the checkpoint of step $(sed -n 's/.*"step": \([0-9]*\).*/\1/p' "$scratch/killed/last/state.json" 2> /dev/null)"
done
(train "$scratch/killed") || fail "the last run ended with $?"
files "$scratch/whole" | tee "$scratch/whole.sums"
if files "$scratch/killed" | diff "$scratch/whole.sums" -; then
    echo "the same after $kills kills"
else
    fail "files differ from those of the uninterrupted run"
fi
done_checking
