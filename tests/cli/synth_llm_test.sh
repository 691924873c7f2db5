# gmner synth --llm against a scripted server: what holds becomes training data, the same bytes whatever the server does on the way; what failed is
# named; gmner import and gmner train take the result.
. tests/cli/lib.sh "$1"

server=$(dirname "$program")/faulty_server
[ -x "$server" ] || { echo "skipped: $server is not built"; exit 77; }
d=$scratch
python3 - "$d" << 'PY'
import json, sys
d = sys.argv[1]
names = ["Rafale", "Hessen", "Kiel", "Bonn", "Bremen", "Gripen", "Tornado", "Toulon"]
types = ["aircraft", "vessel", "location", "location", "vessel", "aircraft", "aircraft", "location"]
acts = ["", "[[429:1]]", "[[503]]", "[[prose]]", "[[cut]]", "", "[[permanent*9]]", "[[schema]]"]
with open(d + "/labelled.jsonl", "w") as records, open(d + "/answers.jsonl", "w") as answers:
    for i, (name, kind, act) in enumerate(zip(names, types, acts)):
        tokens = ["Sample", "%d" % i, "saw", "the", name, "."] + ([act] if act else [])
        records.write(json.dumps({"id": "s%d" % i, "tokens": tokens, "entities": [{"start": 4, "end": 4, "type": kind, "boxes": []}]}) + "\n")
        made = [{"text": "The %s came in on day %d of %s." % (name, k, what), "entity": [{"name": name, "type": kind}]}
                for k in range(6) for what in ("calm weather", "heavy rain %d" % i)]
        made += [{"text": "The %s and Atlantis were never seen." % name, "entity": [{"name": name, "type": kind}, {"name": "Atlantic", "type": "location"}]},
                 {"text": "too short", "entity": []}, {"text": "It rained all day in the north.", "entity": []},
                 {"text": "it RAINED all day, in the north", "entity": []}, {"text": " ".join(tokens), "entity": []}]
        answers.write(json.dumps({"find": "Sample %d saw" % i, "text": json.dumps({"sentences": made})}) + "\n")
    records.write(json.dumps({"id": "none", "tokens": ["Nothing", "to", "see", "today", "."], "entities": []}) + "\n")
    answers.write(json.dumps({"find": "Nothing to see", "text": json.dumps([{"text": "There was little to see on day %d." % k, "entity": []} for k in range(8)])}) + "\n")
PY

serve() { # serve ARGUMENTS...: starts the server and writes the endpoint's file
    rm -f "$d/port"
    "$server" --answers "$d/answers.jsonl" "$@" > "$d/port" &
    served=$!
    for _ in $(seq 100); do [ -s "$d/port" ] && break; sleep 0.05; done
    printf '{"url": "http://127.0.0.1:%s/v1/chat/completions", "model": "m", "name": "stub", "concurrency": %d, "backoff_s": 0.01, "response_format": "json_schema"}' \
        "$(cat "$d/port")" "$width" > "$d/endpoint.json"
}
trap 'kill "${served:-0}" 2> /dev/null; rm -rf "$scratch"' EXIT
synth=("$program" synth --llm --in "$d/labelled.jsonl" --endpoint "$d/endpoint.json" --sentences 12 --more 5 --types aircraft,vehicle,weapon,vessel,location,other)
same() { for f in train.jsonl dev.jsonl train.conll dev.conll failed.jsonl; do cmp -s "$d/$2/$f" "$d/$3/$f" || fail "$1: $f differs"; done; }

width=8
serve --log "$d/log"
check "an estimate" 0 "synth: at most 9 calls, [0-9]+ tokens of requests, [0-9]+ of answers, cost 0; 0 answers are in the cache" "" "${synth[@]}" --estimate --cache "$d/cache"
[ ! -e "$d/cache" ] && [ ! -e "$d/log" -o ! -s "$d/log" ] || fail "an estimate asked or wrote"
check "with faults" 0 "" "2 of 9 samples got no sentences" "${synth[@]}" --cache "$d/cache" --out "$d/one"
! grep -q violation "$d/log" || fail "the server saw $(grep violation "$d/log")"
matches "a refused request" '^\{"id": "s6", "outcome": "refused", "why": "HTTP 500: image input is not supported' "$d/one/failed.jsonl"
matches "an answer that cannot be read" '^\{"id": "s7", "outcome": "unreadable", "why": "the answer holds no list of sentences"\}' "$d/one/failed.jsonl"
python3 - "$d" << 'PY' || fail "what was written does not hold together"
import json, sys
d = sys.argv[1] + "/one/"
report = json.load(open(d + "report.json"))
train, dev = ([json.loads(line) for line in open(d + name + ".jsonl")] for name in ("train", "dev"))
s = report["sentences"]
assert report["samples"] == 9 and report["failed"] == 2
assert (s["made"], s["kept"], s["train"], s["dev"]) == (6 * 17 + 8, len(train) + len(dev), len(train), len(dev)), s
assert s["made"] == s["kept"] + sum(s["rejected"].values())
assert {k: v for k, v in s["rejected"].items() if v} == {"too_short": 6, "absent": 6, "copy": 6, "duplicate": 10, "near_duplicate": 1}, s["rejected"]
sides = [{r["made_from"] for r in side} for side in (train, dev)]
assert not sides[0] & sides[1] and len(sides[0] | sides[1]) == 7
kinds = report["entities"]["by_type"]
assert sum(kinds.values()) == report["entities"]["kept"] == 72 and kinds["location"] == 24 and kinds["other"] == 0, kinds
for r in train + dev:
    for e in r["entities"]:
        assert r["tokens"][e["start"]] in ("Rafale", "Hessen", "Kiel", "Bonn", "Bremen", "Gripen")
assert report["endpoint"]["requests"] == 9
PY

check "again, from the cache" 0 "" "calls" "${synth[@]}" --cache "$d/cache" --out "$d/two"
same "answers of the cache" one two
kill "$served"; wait "$served" 2> /dev/null
check "offline" 0 "" "0 calls" "${synth[@]}" --cache "$d/cache" --offline --out "$d/three"
grep -v '"s6"' "$d/one/failed.jsonl" | cmp -s - <(grep -v '"s6"' "$d/three/failed.jsonl") || fail "offline: other requests failed"
for f in train.jsonl dev.jsonl; do cmp -s "$d/one/$f" "$d/three/$f" || fail "offline: $f differs"; done
width=1
serve --latency-ms 2
check "one at a time" 0 "" "calls" "${synth[@]}" --out "$d/four"
same "another order of answers" one four

check "another seed" 0 "" "calls" "${synth[@]}" --cache "$d/cache" --seed 7 --out "$d/seed"
[ "$(cat "$d/one/train.jsonl" "$d/one/dev.jsonl" | sort)" = "$(cat "$d/seed/train.jsonl" "$d/seed/dev.jsonl" | sort)" ] || fail "a seed changed more than the split"
! cmp -s "$d/one/dev.jsonl" "$d/seed/dev.jsonl" || fail "a seed changed nothing"
check "partial sentences" 0 "" "calls" "${synth[@]}" --cache "$d/cache" --keep-partial --out "$d/partial"
matches "an entity left out" '"left_out": 6' "$d/partial/report.json"
matches "and its sentence kept" '"Atlantis"' "$d/partial/train.jsonl"

# The tagged text is the records: words, entities and their types.
"$program" import conll --text "$d/one/train.conll" > "$d/back.jsonl" 2> /dev/null
python3 - "$d" << 'PY' || fail "train.conll does not say what train.jsonl says"
import json, sys
d = sys.argv[1]
read = lambda path: [(r["tokens"], [(e["start"], e["end"], e["type"]) for e in r["entities"]]) for r in map(json.loads, open(path))]
assert read(d + "/back.jsonl") == read(d + "/one/train.jsonl")
PY
check "training on it" 0 "" "" "$program" train --log-level error --set encoder=tiny --set train.batch=8 --set train.max_steps=2 \
    --set data.train="$d/one/train.jsonl" --set data.dev="$d/one/dev.jsonl" --out "$d/run"
check "training on the tagged text" 0 "" "" "$program" train --log-level error --set encoder=tiny --set train.batch=8 --set train.max_steps=2 \
    --set data.format=ccks --set data.train="$d/one/train.conll" --set data.dev="$d/one/dev.conll" --out "$d/tagged"

kill "$served"; wait "$served" 2> /dev/null
check "nothing kept" 1 "" "there is no sentence for training: report.json counts why" "${synth[@]}" --cache "$d/cache" --offline --min-words 30 --out "$d/empty"
matches "the report says why" '"too_short": 1[0-9]+' "$d/empty/report.json"
check "no endpoint" 2 "" "--endpoint FILE is missing" "$program" synth --llm --in "$d/labelled.jsonl" --out "$d/x"
check "no folder" 2 "" "--out DIR is missing" "${synth[@]}"
check "no sentences" 2 "" "--sentences is 0; it is a whole number from 1 to 1000" "$program" synth --llm --in "$d/labelled.jsonl" --out "$d/x" --sentences 0
check "limits reversed" 2 "" "--max-words is 3; it is a whole number from 4 to 10000" "${synth[@]}" --out "$d/x" --max-words 3
check "a share that is none" 2 "" "--dev-share is 1; it is 0 to below 1" "${synth[@]}" --out "$d/x" --dev-share 1
grep '"none"' "$d/labelled.jsonl" > "$d/bare.jsonl"
check "no types" 1 "" "there are no types to ask for: name them by --types" "$program" synth --llm --in "$d/bare.jsonl" --endpoint "$d/endpoint.json" --out "$d/x"
check "help" 0 "keep-partial" "" "$program" synth --llm --help
check "help of the other" 0 "see --llm --help" "" "$program" synth --help

done_checking
