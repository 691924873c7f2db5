# gmner import ccks-json and gmner export: the CCKS authors' files to records and back, and predictions in the form of a submission.
. tests/cli/lib.sh "$1"

d=$scratch
cat > "$d/text.json" << 'JSON'
{"b1": {"text": "NATO's crew boarded Fregatte F 124 Hessen."}, "a2": {"text": "An NH-90 met an NH-90 NTH near Kiel."}, "c": {"text": "Nothing here."}}
JSON
cat > "$d/entity.json" << 'JSON'
{"b1": [{"name": "NATO", "label": "other", "bnd": null}, {"name": "Fregatte F 124 Hessen", "label": "vessel", "bnd": {"xmin": 1, "ymin": 2, "xmax": 30.5, "ymax": 40}}],
 "a2": [{"name": "NH-90", "label": "aircraft", "bnd": {"xmin": 0, "ymin": 0, "xmax": 9, "ymax": 9}}, {"name": "NH-90 NTH", "label": "aircraft", "bnd": null},
        {"name": "NH-90", "label": "aircraft", "bnd": {"xmin": 10, "ymin": 0, "xmax": 19, "ymax": 9}}, {"name": "Kiel", "label": "location", "bnd": null}],
 "c": []}
JSON
"$program" import ccks-json --text "$d/text.json" --entities "$d/entity.json" > "$d/gold.jsonl" 2> "$d/counts"
matches "entities" "^entities +5$" "$d/counts"
matches "names" "^names not in their text +0$" "$d/counts"
check "there and back" 0 "" "" "$program" export ccks-json --in "$d/gold.jsonl" --all-boxes --out "$d/back.json"
check "a submission" 0 '"Fregatte F 124 Hessen", "label": "vessel", "bnd": \{"xmin": 1, "ymin": 2, "xmax": 30.5, "ymax": 40\}' "" "$program" export ccks-json --in "$d/gold.jsonl"
python3 - "$d" << 'PY' || fail "what came back is not what went in"
import json, sys
read = lambda name: json.load(open(sys.argv[1] + "/" + name))
gold, back, submitted = read("entity.json"), read("back.json"), read("out")
order = lambda entries: sorted(entries, key=json.dumps)
assert list(back) == list(gold) == list(submitted)
for key in gold:
    assert order(back[key]) == order(gold[key]), (key, back[key])
assert len(submitted["a2"]) == 3 and [e for e in submitted["a2"] if e["name"] == "NH-90"][0]["bnd"]["xmin"] == 0
PY
check "scored as the authors do" 0 "1\.0000" "" "$program" eval --gold "$d/gold.jsonl" --pred "$d/gold.jsonl" --compat refineg
check "texts alone" 0 '"id": "c", "tokens": \["Nothing", "here", "\."\], .*"entities": \[\]' "samples" "$program" import ccks-json --text "$d/text.json"
"$program" export conll --in "$d/gold.jsonl" > "$d/gold.conll"
matches "tagged text" "^Hessen	I-vessel$" "$d/gold.conll"
"$program" import ccks --text "$d/gold.conll" > "$d/tagged.jsonl" 2> /dev/null
python3 - "$d" << 'PY' || fail "the tagged text says something else"
import json, sys
read = lambda name: [(r["tokens"], [(e["start"], e["end"], e["type"]) for e in r["entities"]]) for r in map(json.loads, open(sys.argv[1] + "/" + name))]
assert read("tagged.jsonl") == read("gold.jsonl")
PY
check "no such form" 2 "" '"xml" is no format; there are ccks-json conll' "$program" export xml --in "$d/gold.jsonl"
check "no form" 2 "" "expected a format: ccks-json conll" "$program" export --in "$d/gold.jsonl"
check "tags have no boxes" 2 "" "leave --all-boxes out" "$program" export conll --in "$d/gold.jsonl" --all-boxes

done_checking
