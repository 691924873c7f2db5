# gmner bench: every part gives its rows, JSON that another run is compared with, and answers to bad words. No time is
# judged: machines drift.
. tests/cli/lib.sh "$1"

bench() { "$program" bench --shape tiny --steps 1 --sentences 8 --seconds 0.001 --log-level error "$@"; }

bench --json > "$scratch/old.json" 2> "$scratch/err" || fail "bench: $(cat "$scratch/err")"
rows() { tr '{' '\n' < "$scratch/old.json" | grep -c "\"part\": \"$1"; }
[ "$(rows training)" -ge 20 ] || fail "training has $(rows training) rows"
[ "$(rows 'prediction, batch 1')" -ge 6 ] || fail "prediction, batch 1 has $(rows 'prediction, batch 1') rows"
[ "$(rows 'prediction, batched')" -ge 6 ] || fail "prediction, batched has $(rows 'prediction, batched') rows"
[ "$(rows operations)" -ge 20 ] || fail "operations has $(rows operations) rows"
# Every operation of kernels/ has a row for each of its directions.
operation_row() { tr '{' '\n' < "$scratch/old.json" | grep -Eq "\"part\": \"operations\",.*\"name\": \"$1( [^\"]*)? $2\""; }
known=0
while IFS='()' read -r kind op _; do
    operation_row "$op" forward || fail "operations has no row for $op forward: infer/bench_operations.c or bench_regions.c needs one"
    [ "$kind" != GM_KERNEL ] || operation_row "$op" backward || fail "operations has no row for $op backward"
    known=$((known + 1))
done < <(grep '^GM_KERNEL' kernels/kernels.def)
[ "$known" -eq "$(find kernels -mindepth 2 -name '*_cpu.c' | wc -l)" ] || fail "kernels.def has $known operations, not one for each folder of kernels/"
if command -v python3 > /dev/null; then
    python3 - "$scratch/old.json" <<'PYTHON' || fail "the JSON does not hold what it should"
import json, sys
result = json.load(open(sys.argv[1]))
rows = {(r["part"], r["name"]): r for r in result["rows"]}
assert len(rows) == len(result["rows"]), "a row stands twice"
assert all(r["value"] > 0 for (part, name), r in rows.items() if name != "outside of operations"), "a row is not positive"
step = rows["training", "step"]["value"]
parts = sum(rows["training", n]["value"] for n in ("all forward", "all backward", "all of the optimiser", "outside of operations"))
assert 0.02 * step < parts < 50 * step, (step, parts)
assert rows["operations", "linear qkv forward"]["gemm_share"] > 0
assert result["threads"] == 2 and result["precision"] == "fp32" and result["model"] == "tiny"
PYTHON
fi

# A run beside itself has a ratio for each row that both have; other settings are named.
check "compare" 0 'residual_norm forward .* x [0-9.]+$' '' bench --only operations --compare "$scratch/old.json"
if [ -n "$("$program" bench --shape tiny --precision bf16 --only operations --seconds 0.001 --json 2> /dev/null)" ]; then
    check "compare across precisions" 0 'operations' 'precision is "fp32" there and "bf16" here' \
        "$program" bench --shape tiny --only operations --seconds 0.001 --precision bf16 --compare "$scratch/old.json"
fi
"$program" bench --shape tiny --steps 1 --only training --json --log-level error > "$scratch/training.json"
grep -q '"part": "operations"' "$scratch/training.json" && fail "--only training ran the operations"

# Data and weights of the user's.
"$program" synth --out "$scratch/records.jsonl" --count 40 --log-level error
check "own records" 0 'pieces/s' '' bench --only training --data "$scratch/records.jsonl"
check "one thread" 0 '1 threads' '' bench --only prediction --threads 1
[ -z "$(find "${TMPDIR:-/tmp}" -maxdepth 1 -name 'gmner-bench-*' -newer "$scratch/old.json" 2> /dev/null)" ] || fail "a folder of random weights was left behind"

# Wrong words.
check "unknown part" 2 '' '--only is training, prediction or operations, not "speed"' bench --only speed
check "unknown shape" 2 '' '--shape is minilm, base or tiny, not "huge"' "$program" bench --shape huge
check "two kinds of weights" 2 '' 'give one of them' bench --model a --encoder b
check "no time" 2 '' "--seconds is above 0" "$program" bench --seconds 0
check "no steps" 2 '' "--steps is 1 to" "$program" bench --steps 0
check "precision" 2 '' '--precision is fp32 or bf16, not "fp16"' bench --precision fp16
check "missing data" 1 '' 'nowhere.jsonl' bench --data "$scratch/nowhere.jsonl"
check "missing encoder" 1 '' 'there is no folder' bench --encoder "$scratch/nowhere"
echo '{"rows": 3}' > "$scratch/bad.json"
check "compare with something else" 1 '' 'there is no array "rows"' bench --compare "$scratch/bad.json"
echo '{"rows": [' > "$scratch/bad.json"
check "compare with broken JSON" 1 '' 'bad.json' bench --compare "$scratch/bad.json"

done_checking
