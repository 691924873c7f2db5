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
check "a sweep" 0 "^    100 %        6       100\.00       100\.00   100\.00 \+- 0\.00" "" "${refine[@]}" --gold "$d/gold.jsonl" --sweep
matches "its thresholds" "^thresholds for oracle: span 0\.2750, type 0\.5125, region 1\.0000; 2 \+ 1 \+ 0 calls for 3 entities; mner F1 0\.00 becomes 100\.00, the calls cost 5\.00 points" "$scratch/out"
check "a sweep with a limit" 0 "1 \+ 1 \+ 0 calls for 3 entities; mner F1 0\.00 becomes 80\.00" "" "${refine[@]}" --gold "$d/gold.jsonl" --sweep --calls 2

# Recorded answers, ours and UnCo's; a sweep over them, drawn where gnuplot is.
{
    echo '{"id": "1", "start": 0, "end": 0, "part": "span", "text": "{\"corrected_entity\": \"Ann Lee\"}"}'
    echo '{"id": "1", "entity": "Oslo", "part": "type", "text": "Surely ```json\n{\"corrected_type\": \"loc\"}\n```"}'
    echo '{"img_id": "2.jpg", "pre_entities": [{"entity": "what", "corrected_entity": "whatever"}]}'
    echo '{"id": "3", "entity": "Oslo", "part": "type", "text": "{}"}'
} > "$d/answers.jsonl"
check "recorded answers" 0 "" "answers.jsonl: 3 answers about these predictions, 1 about others" "${refine[@]}" --answers "$d/answers.jsonl" --gold "$d/gold.jsonl" --out "$d/recorded"
matches "their report" '"corrector": "answers", .*"span": \{"asked": 2, "corrected": 1, "kept": 0, "refused": 1, "failed": 0\}' "$d/recorded/report.json"
matches "their scores" '"after": \{"mner": \{"tp":2,"n_pred":3,"n_gold":2' "$d/recorded/report.json"
matches "a refused answer" '"id": "2".*"status": "refused", "why": "span: .*whatever.* does not stand in the text"' "$d/recorded/predictions.jsonl"
sweep=("${refine[@]}" --answers "$d/answers.jsonl" --gold "$d/gold.jsonl" --sweep --out "$d/sweep")
if command -v gnuplot > /dev/null; then
    check "a sweep over answers" 0 "^thresholds for answers: .*becomes 80\.00" "3 answers" "${sweep[@]}"
    [ "$(head -c 4 "$d/sweep/curve.png" | tail -c 3)" = PNG ] || fail "curve.png is no picture"
else
    check "a sweep over answers" 1 "becomes 80\.00" "install the package gnuplot-nox" "${sweep[@]}"
fi
matches "the sweep's file" '"share": 1, "calls": 6, "uncertainty": 80, "max_softmax": 80, "chance": 80, "chance_sd": 0\}' "$d/sweep/sweep.json"
check "thresholds that were picked" 0 "" "2 of 3 entities delegated, 2 calls" "${refine[@]}" --answers "$d/answers.jsonl" --gold "$d/gold.jsonl" --thresholds "$d/sweep/thresholds.json" --out "$d/picked"
echo '{"span": 0.4, "type": 0.5, "region": 0.3}' > "$d/plain.json"
check "thresholds alone" 0 "" "3 of 3 entities delegated, 3 calls" "${refine[@]}" --gold "$d/gold.jsonl" --thresholds "$d/plain.json" --out "$d/plain"
cmp -s "$d/plain/predictions.jsonl" "$d/over/predictions.jsonl" || fail "the same thresholds from a file gave something else"
check "thresholds of eval" 0 "\"thresholds\":" "" "$program" eval --gold "$d/gold.jsonl" --pred "$d/pred.jsonl" --thresholds --json
cp "$scratch/out" "$d/eval.json"
check "they are read" 0 "" "3 calls" "${refine[@]}" --gold "$d/gold.jsonl" --thresholds "$d/eval.json" --out "$d/evals"

check "nobody to ask" 2 "" "there is no corrector" "${refine[@]}" --out "$d/x"
check "no folder" 2 "" "--out DIR is missing" "${refine[@]}"
check "a sweep without gold" 2 "" "give --gold FILE" "${refine[@]}" --sweep
check "more than all" 2 "" "it is 0 to 1" "${refine[@]}" --share 2 --out "$d/x"
check "the oracle, by name" 0 "" "3 of 3 entities delegated" "${refine[@]}" --answers "$d/answers.jsonl" --corrector oracle --gold "$d/gold.jsonl" --out "$d/named"
cmp -s "$d/named/predictions.jsonl" "$d/over/predictions.jsonl" || fail "the oracle by name did something else"
check "another corrector" 2 "" "--corrector is \"crystal\"; it is endpoint, answers or oracle" "${refine[@]}" --corrector crystal --out "$d/x"
check "a corrector without its file" 2 "" "--corrector answers needs --answers FILE" "${refine[@]}" --corrector answers --gold "$d/gold.jsonl" --out "$d/x"
check "two correctors" 2 "" "are two correctors" "${refine[@]}" --endpoint x --answers y --out "$d/x"
check "a sweep of an endpoint" 2 "" "--sweep asks nobody" "${refine[@]}" --endpoint x --sweep --gold "$d/gold.jsonl"
check "an unknown score" 2 "" "--score is \"f7\"" "${refine[@]}" --sweep --gold "$d/gold.jsonl" --score f7
check "a cost that is none" 2 "" "--call-cost is -1" "${refine[@]}" --sweep --gold "$d/gold.jsonl" --call-cost -1
check "a record of nobody" 2 "" "go with --endpoint" "${refine[@]}" --gold "$d/gold.jsonl" --record x --out "$d/x"
echo '{"span": 0.4}' > "$d/half.json"
check "thresholds that lack one" 1 "" "half.json: \"type\" is no number from 0" "${refine[@]}" --thresholds "$d/half.json" --out "$d/x"
sed 's/"uncertainty": {[^}]*}, //g' "$d/pred.jsonl" > "$d/bare.jsonl"
check "no uncertainty" 1 "" "no prediction carries a number to order them by" "$program" refine --in "$d/bare.jsonl" --gold "$d/gold.jsonl" --share 0.5 --out "$d/x"

done_checking
