# gmner plan beside real runs: parameters and what is sent are met exactly, memory within bounds; time only as a ratio that is
# printed, because a busy machine says nothing about the estimate.
. tests/cli/lib.sh "$1"

d=$scratch
train=("$program" train --config configs/tiny.json --set data.synth=256 --set train.epochs=2 --set train.batch=32 --log-level error)
# peak FILE COMMAND...: the command's largest memory in bytes goes to FILE.
peak() { python3 -c 'import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
open(sys.argv[1], "w").write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024))
sys.exit(code)' "$@"; }
peak "$d/peak" "${train[@]}" --out "$d/run" || fail "the run"
peak "$d/start" "$program" train --print-config > /dev/null || fail "the program alone"

# The sentences as the run met them: 22 pieces is about what the synthesiser writes.
plan=("$program" plan configs/tiny.json --model "$d/run/best" --set train.batch=32)
"${plan[@]}" --json > "$d/plan" || fail "plan"
python3 - "$d" <<'PY' || fail "the plan does not meet the run"
import json, struct, sys
d = sys.argv[1]
plan = json.load(open(d + "/plan"))
with open(d + "/run/best/model.safetensors", "rb") as f:
    header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
in_file = sum((v["data_offsets"][1] - v["data_offsets"][0]) // 4 for k, v in header.items() if k != "__metadata__")
assert plan["parameters"] == in_file, (plan["parameters"], in_file)
peak, start = int(open(d + "/peak").read()), int(open(d + "/start").read())
ratio = plan["memory"]["all"] / (peak - start)
print("memory of the tiny run: planned %.1f MB, %.1f MB more than the program alone, ratio %.2f" % (plan["memory"]["all"] / 1e6, (peak - start) / 1e6, ratio))
assert 0.1 < ratio < 2, ratio # the run also holds its data, the tape and code made for its products
steps = [json.loads(l) for l in open(d + "/run/metrics.jsonl") if '"step"' in l]
speed = [s["tokens_per_s"] for s in steps if "tokens_per_s" in s and s["tokens_per_s"]]
if speed:
    print("pieces a second: planned %.0f, run %.0f, ratio %.2f" % (32 * 27 / plan["step"]["s"], speed[-1], 32 * 27 / plan["step"]["s"] / speed[-1]))
PY

if command -v mpirun > /dev/null && "$program" env | grep -q '^  mpi  *[^-]'; then
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
    ASAN_OPTIONS=${ASAN_OPTIONS:-}:detect_leaks=0 mpirun -np 2 --oversubscribe --bind-to none "${train[@]}" --set train.log_every=1 --out "$d/two" 2> "$d/err" || fail "two ranks: $(cat "$d/err")"
    "${plan[@]}" --gpus 2 --json > "$d/plan2" || fail "plan of two"
    python3 - "$d" <<'PY' || fail "the plan of two ranks does not meet the run"
import json, sys
d = sys.argv[1]
plan = json.load(open(d + "/plan2"))
steps = [json.loads(l) for l in open(d + "/two/metrics.jsonl")]
steps = [s for s in steps if s.get("event") == "step"]
sent = {s["sent_dense"] for s in steps[1:]}
print("dense bytes sent a step by two ranks: planned %.0f, counted %s" % (2 * plan["step"]["sent_dense"], sorted(sent)))
assert len(sent) == 1 and sent == {2 * plan["step"]["sent_dense"]}, sent
PY
else echo "note: no MPI: two ranks were not compared"
fi

# Machines of the table.
check "a GPU" 0 "^hardware +a100" "" "$program" plan --model bert-base --gpus 4 --hardware a100 --set precision=bf16 --set train.shards=4
check "one that is too small" 0 "it does NOT fit" "" "$program" plan --model xlm-r-large --hardware rtx4090 --pieces 128 --words 100 --set train.batch=256 --set train.shards=1
check "an unknown machine" 2 "" '--hardware is "abacus"; it is here, v100, a100' "$program" plan --model bert-base --hardware abacus
check "an unknown model" 2 "" '--model is "gpt"; it is bert-base' "$program" plan --model gpt --hardware a100
check "a type that the machine lacks" 1 "" "precision: v100 has no bf16" "$program" plan --model bert-base --hardware v100 --set precision=bf16
check "more nodes than ranks" 2 "" "--nodes is 1 to the number of ranks" "$program" plan --model bert-base --nodes 2
check "a configuration with pictures" 1 "" "pictures and fine types are not counted yet" "$program" plan configs/twitter-gmner.json --hardware a100 --model bert-base

done_checking
