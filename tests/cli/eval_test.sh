# gmner eval from files: what each option adds to the table and to the JSON, on five predictions counted by hand.
. tests/cli/lib.sh "$1"

d=$scratch/data
mkdir "$d"
entity() { # START TYPE FINE BOXES NUMBERS
    printf '{"start": %s, "end": %s, "type": "%s", "fine": "%s", "boxes": [%s]%s}' "$1" "$1" "$2" "$3" "$4" "$5"
}
doubt() { printf ', "score": %s, "region_score": %s, "uncertainty": {"span": %s, "span_norm": %s, "span_expected": 0, "type_norm": %s, "region_norm": %s, "mine": 1}' "$@"; }
record() { printf '{"id": "%s", "tokens": ["a", "b", "c", "d"], "entities": [%s]}\n' "$1" "$2"; }
{
    record 1 "$(entity 0 PER actor '[0, 0, 10, 10], [20, 0, 30, 10]' ''), $(entity 2 LOC city '' '')"
    record 2 "$(entity 1 ORG club '[0, 0, 10, 10]' '')"
    record 3 ""
} > "$d/gold.jsonl"
{
    record 1 "$(entity 0 PER actor '[0, 0, 10, 8]' "$(doubt 0.9 0.8 0.1 0.1 0.1 0.2)"), $(entity 2 ORG club '' "$(doubt 0.8 0.9 0.2 0.2 0.9 0.1)")"
    record 2 "$(entity 1 ORG team '[50, 50, 60, 60]' "$(doubt 0.7 0.4 0.3 0.3 0.2 0.8)"), $(entity 3 ORG team '' "$(doubt 0.2 0.9 0.6 0.9 0.5 0.1)")"
} > "$d/pred.jsonl"
eval=("$program" eval --gold "$d/gold.jsonl" --pred "$d/pred.jsonl" --log-level error)

# json MEMBER VALUE ...: members of the last JSON report and their values, as Python expressions.
json() {
    python3 - "$scratch/out" "$@" 2>&1 << 'PY' || fail "the report: $(cat "$scratch/out")"
import json, sys
report = json.load(open(sys.argv[1]))
bad = 0
for member, wanted in zip(sys.argv[2::2], sys.argv[3::2]):
    got, wanted_value = eval("report" + member), eval(wanted)
    same = abs(got - wanted_value) < 1e-9 if isinstance(got, float) and isinstance(wanted_value, (int, float)) else got == wanted_value
    if not same:
        print(f"FAILED: {member} is {got}, expected {wanted}")
        bad = 1
sys.exit(bad)
PY
}

for score in SPAN MNER EEG GMNER fine-MNER FMNERG; do check "the table has $score" 0 "^$score +all" "" "${eval[@]}"; done
check "plain JSON" 0 '^\{"span":' "" "${eval[@]}" --json
json "['span']['tp']" 3 \
    "['mner']['tp']" 2 \
    "['eeg']['tp']" 2 \
    "['gmner']['tp']" 1 \
    "['fmnerg']['tp']" 1 \
    "['fine_mner']['tp']" 1 \
    "['missing']" 1 \
    ".get('uncertainty')" None \
    ".get('compat')" None \
    ".get('thresholds')" None

check "as UnCo counts" 0 "as unco's evaluator counts" "" "${eval[@]}" --compat unco
# UnCo: beside the wrong region of b a copy without one, so five rows.
check "as UnCo counts, JSON" 0 . "" "${eval[@]}" --compat unco --json
json "['gmner']['tp']" 1 \
    "['compat']['evaluator']" '"unco"' \
    "['compat']['gmner']['n_gold']" 4 \
    "['compat']['gmner']['n_pred']" 5 \
    "['compat']['gmner']['tp']" 1
check "as ReFineG counts, JSON" 0 . "" "${eval[@]}" --compat refineg --json
json "['compat']['gmner']['n_pred']" 4

check "uncertainty" 0 "^span +max_softmax +3 +1 +1\.0000" "" "${eval[@]}" --uncertainty
check "uncertainty, JSON" 0 . "" "${eval[@]}" --uncertainty --bins 4 --json
json "['uncertainty']['span']['n_right']" 3 \
    "['uncertainty']['span']['n_wrong']" 1 \
    "['uncertainty']['span']['entropy_norm']['auroc']" 1.0 \
    "['uncertainty']['span']['mutual_information']['n_wrong']" 1 \
    "['uncertainty']['type']['entropy_norm']['auroc']" 1.0 \
    "['uncertainty']['type']['entropy']['auroc']" None \
    "['uncertainty']['type']['max_softmax']['auroc']" 0.5 \
    "['uncertainty']['region']['entropy_norm']['auroc']" 1.0 \
    "['uncertainty']['region']['max_softmax']['brier']" "(.2 ** 2 + .1 ** 2 + .4 ** 2) / 3" \
    "['uncertainty']['region']['max_softmax']['bins'][3]['n']" 2

check "thresholds" 0 "^GMNER|gain" "" "${eval[@]}" --thresholds
check "thresholds, JSON" 0 . "" "${eval[@]}" --uncertainty --thresholds --call-cost 0.05 --json
json "['thresholds']['calls']" "{'span': 1, 'type': 1, 'region': 1}" \
    "['thresholds']['corrected']" "{'span': 1, 'type': 1, 'region': 1}" \
    "['thresholds']['before']['tp']" 1 \
    "['thresholds']['after']['f1']" 1.0 \
    "['thresholds']['cost']" "0.05 * 75"
check "thresholds that cost too much" 0 . "" "${eval[@]}" --thresholds --call-cost 99 --json
json "['thresholds']['calls']" "{'span': 0, 'type': 0, 'region': 0}"

if command -v gnuplot > /dev/null; then
    check "plots" 0 "^uncertainty" "" "${eval[@]}" --plots "$scratch/plots/new"
    [ "$(ls "$scratch/plots/new" | wc -l)" -eq 6 ] || fail "six plots were expected: $(ls "$scratch/plots/new")"
else
    echo "note: there is no gnuplot (Debian: gnuplot-nox): no plot was drawn"
fi

done_checking
