# gmner refine: nothing delegated is nothing changed, byte for byte; the oracle puts right what is delegated, and nothing else.
. tests/cli/lib.sh "$1"

d=$scratch
entity() { printf '{"start": %s, "end": %s, "type": "%s", "boxes": [], "score": 0.5, "uncertainty": {"span_norm": %s, "type_norm": %s}, "source": "local", "status": "kept"}' "$@"; }
{
    printf '{"id":"1","tokens":["Ann","Lee","sings","Oslo"],"entities":[%s,%s]}\n' "$(entity 0 0 PER 0.75 0.1)" "$(entity 3 3 PER 0.1 0.9)"
    printf '{"id": "2",  "tokens": ["so", "what"], "image": null, "entities": [%s]}\n' "$(entity 1 1 PER 0.45 0.125)"
} > "$d/pred.jsonl"
{
    echo '{"id": "1", "tokens": ["Ann", "Lee", "sings", "Oslo"], "entities": [{"start": 0, "end": 1, "type": "PER", "boxes": []}, {"start": 3, "end": 3, "type": "LOC", "boxes": []}]}'
    echo '{"id": "2", "tokens": ["so", "what"], "entities": []}'
} > "$d/gold.jsonl"
refine=("$program" refine --in "$d/pred.jsonl")

check "no calls" 0 "" "0 of 3 entities delegated, 0 calls" "${refine[@]}" --calls 0 --out "$d/none"
cmp -s "$d/pred.jsonl" "$d/none/predictions.jsonl" || fail "--calls 0 changed the predictions"

check "one call" 0 "" "1 of 3 entities delegated, 1 calls" "${refine[@]}" --gold "$d/gold.jsonl" --calls 1 --out "$d/one"
tail -n 1 "$d/pred.jsonl" | cmp -s - <(tail -n 1 "$d/one/predictions.jsonl") || fail "a record that was not asked about changed"

check "thresholds" 0 "" "3 of 3 entities delegated, 3 calls" "${refine[@]}" --gold "$d/gold.jsonl" --out "$d/over"
matches "the new span" '"start": 0, "end": 1, .*"source": "local\+mllm", "status": "corrected", "before": .*"end": 0' "$d/over/predictions.jsonl"
matches "the new type" '"type": "LOC"' "$d/over/predictions.jsonl"
matches "the one taken back" '"id": "2".*"entities": \[\]' "$d/over/predictions.jsonl"
matches "the report" '"after": \{"mner": \{"tp":2,"n_pred":2,"n_gold":2,"p":1,"r":1,"f1":1\}' "$d/over/report.json"

check "all but removal" 0 "" "calls" "${refine[@]}" --gold "$d/gold.jsonl" --share 1 --keep-all --out "$d/all"
matches "nothing is taken back" '"after": \{"mner": \{"tp":2,"n_pred":3' "$d/all/report.json"
check "a sweep" 0 "^  100 % +100\.00 +100\.00 +100\.00 \+- 0\.00" "" "${refine[@]}" --gold "$d/gold.jsonl" --sweep

check "nobody to ask" 2 "" "there is no corrector" "${refine[@]}" --out "$d/x"
check "no folder" 2 "" "--out DIR is missing" "${refine[@]}"
check "a sweep without gold" 2 "" "give --gold FILE" "${refine[@]}" --sweep
check "more than all" 2 "" "it is 0 to 1" "${refine[@]}" --share 2 --out "$d/x"
check "another corrector" 2 "" "this release has oracle" "${refine[@]}" --corrector crystal --out "$d/x"
sed 's/"uncertainty": {[^}]*}, //g' "$d/pred.jsonl" > "$d/bare.jsonl"
check "no uncertainty" 1 "" "no prediction carries a number to order them by" "$program" refine --in "$d/bare.jsonl" --gold "$d/gold.jsonl" --share 0.5 --out "$d/x"

done_checking
