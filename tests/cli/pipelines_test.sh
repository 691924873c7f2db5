# The pipelines of configs/, end to end on small sets in the authors' forms, with drawn pictures and a scripted server: estimate, run, killed
# in the middle of asking and called again, the same bytes, and no request sent twice.
. tests/cli/lib.sh "$1"
server=$(dirname "$program")/faulty_server
[ -x "$server" ] || { echo "skipped: there is no $server"; exit 77; }
[ -f weights/minilm/model.safetensors ] || { echo "skipped: weights/minilm is missing (tools/get-weights minilm)"; [ "${GM_REQUIRE:-}" = weights ] && exit 1; exit 77; }

d=$scratch/work
mkdir -p "$d/ccks" "$d/twitter/xml"
serving=
stop_server() { if [ -n "$serving" ]; then kill "$serving" 2> /dev/null; wait "$serving" 2> /dev/null; serving=; fi; }
trap 'stop_server; rm -rf "$scratch"' EXIT
serve() { # serve OPTION...
    stop_server
    rm -f "$d/port"
    "$server" --answers "$d/answers.jsonl" "$@" > "$d/port" &
    serving=$!
    for _ in $(seq 100); do [ -s "$d/port" ] && break; sleep 0.05; done
    printf '{"url": "http://127.0.0.1:%s/v1/chat/completions", "name": "test", "model": "m", "concurrency": 4, "backoff_s": 0.01, "backoff_max_s": 0.05, "coordinates": "pixels", "price": {"in": 1, "out": 2}}\n' \
        "$(cat "$d/port")" > "$d/endpoint.json"
}

# Sets in both forms, and what the server says: sentences to a request for them, a type, a box for everything that is asked to be grounded.
python3 - "$d" << 'PY'
import json, random, sys
d = sys.argv[1]
random.seed(1)
kinds = {"aircraft": ["Rafale", "Gripen", "Tornado"], "vessel": ["Hessen", "Nimitz", "Varyag"], "location": ["Kiel", "Toulon", "Norfolk"], "weapon": ["Exocet", "Harpoon"]}
forms = ["The {} was seen near {} today .", "Crews of the {} trained at {} again", "A {} left {} in the morning ."]
def sample(i):
    a, b = random.choice(["aircraft", "vessel", "weapon"]), "location"
    x, y = random.choice(kinds[a]), random.choice(kinds[b])
    return forms[i % 3].format(x, y), [(x, a), (y, b)]
def ccks(first, count, name, entities):
    texts, labels = {}, {}
    for i in range(first, first + count):
        text, found = sample(i)
        texts["m%d" % i] = {"text": text}
        labels["m%d" % i] = [{"name": n, "label": t, "bnd": None if t == "location" else {"xmin": 10, "ymin": 20, "xmax": 110, "ymax": 90}} for n, t in found]
    json.dump(texts, open("%s/ccks/%s.json" % (d, name), "w"))
    json.dump(labels, open("%s/ccks/%s.json" % (d, entities), "w"))
ccks(0, 12, "sample_text", "sample_entity")
ccks(50, 9, "Evaluation_text", "Evaluation_entity")
def twitter(name, first, count):
    with open("%s/twitter/%s.txt" % (d, name), "w") as out:
        for i in range(first, first + count):
            person, place = random.choice(["Emma", "Liam", "Noah"]), random.choice(["Paris", "Oslo", "Rome"])
            words = [(person, "B-PER"), ("O'Neil", "I-PER"), (random.choice(["is", "was"]), "O"), ("in", "O"), (place, "B-LOC"), (random.choice(["today", "again", "!"]), "O")]
            out.write("IMGID:%d\n" % i + "".join("%s\t%s\n" % w for w in words) + "\n")
            open("%s/twitter/xml/%d.xml" % (d, i), "w").write(
                "<annotation><size><width>200</width><height>150</height><depth>3</depth></size><object><name>%s O'Neil</name><bndbox><xmin>20</xmin>"
                "<ymin>30</ymin><xmax>120</xmax><ymax>110</ymax></bndbox></object></annotation>" % person)
twitter("train", 0, 48), twitter("dev", 100, 12), twitter("test", 200, 12)
with open(d + "/answers.jsonl", "w") as out:
    say = lambda find, answer: out.write(json.dumps({"find": find, "text": "```json\n%s\n```" % json.dumps(answer)}) + "\n")
    say("Answer for each entity of the list", [{"entity": n, "entity_type": "x", "bounding_box": [12, 22, 112, 92]} for k in kinds for n in kinds[k]])
    say("corrected_entity", {"corrected_entity": "Emma O'Neil"})
    say("corrected_type", {"corrected_type": "vessel"})
    say("corrected_bounding_box", {"corrected_bounding_box": [20, 30, 120, 110]})
    for number, source in enumerate(json.load(open(d + "/ccks/sample_text.json")).values()):
        made = []
        for i in range(12):
            text, found = sample(i)
            made.append({"text": "%s It was day %d of week %d ." % (text, i, number), "entity": [{"name": n, "type": t} for n, t in found]})
        say(source["text"], made)
PY

# Pictures of the CCKS set: its records name them, gmner paint draws them.
for part in sample Evaluation; do
    "$program" import ccks-json --text "$d/ccks/${part}_text.json" --entities "$d/ccks/${part}_entity.json" 2> /dev/null > "$d/$part.jsonl" || fail "import of $part"
    "$program" paint --in "$d/$part.jsonl" --out "$d/ccks/images" 2> "$d/err"
    [ $? -eq 0 ] || { grep -q lacks "$d/err" && { echo "skipped: $(tail -n 1 "$d/err")"; exit 77; }; fail "paint: $(tail -n 1 "$d/err")"; }
done

quick=(--set "endpoint=$d/endpoint.json" --set epochs=12)
refineg=("$program" run configs/refineg-ccks.json "${quick[@]}" --set "data=$d/ccks" --set "labelled_images=$d/ccks/images" --set "images=$d/ccks/images"
    --set "entities=$d/ccks/Evaluation_entity.json" --set share=0.5)
unco=("$program" run configs/unco-gmner.json "${quick[@]}" --set "data=$d/twitter" --set samples=4)

serve --log "$d/log"
check "an estimate" 0 "synth: at most 12 calls, .* cost [0-9]" "stage 3 of 12: gold" "${refineg[@]}" --out "$d/refineg" --estimate
matches "refine's comes later" "refined: can be estimated when the stages before it are done" "$scratch/out"
matches "ground's by a stand-in" "ground: at most 12 calls" "$scratch/out"
[ ! -s "$d/log" ] || fail "an estimate sent a request"
check "ReFineG" 0 "ground: at most" "run: all 12 stages are done" "${refineg[@]}" --out "$d/refineg"
check "UnCo" 0 "refine: at most" "run: all 14 stages are done" "${unco[@]}" --out "$d/unco"
! grep -q violation "$d/log" || fail "the server saw $(grep violation "$d/log")"
python3 - "$d" << 'PY' || fail "what the pipelines wrote does not hold together"
import json, sys, xml.dom.minidom
d = sys.argv[1]
lines = lambda path: [json.loads(line) for line in open(d + path)]
before, after = lines("/refineg/records.jsonl"), lines("/refineg/grounded/predictions.jsonl")
assert [r["id"] for r in before] == [r["id"] for r in after] and len(after) == 9
submission = json.load(open(d + "/refineg/submission.json"))
assert set(submission) == {r["id"] for r in after}
assert any(e["bnd"] for entities in submission.values() for e in entities) and not any(e["bnd"] for entities in submission.values() for e in entities if e["label"] == "location")
total = json.load(open(d + "/refineg/report.json"))["total"]
assert total["requests"] == total["calls"] + total["cached"] > 12 and total["cost"] > 0, total
assert json.load(open(d + "/refineg/scores.json"))["mner"]["n_gold"] == 18
assert [r["id"] for r in lines("/unco/test.jsonl")] == [r["id"] for r in lines("/unco/refined/predictions.jsonl")]
assert sum(json.load(open(d + "/unco/refined/report.json"))[part]["asked"] for part in ("span", "type", "region")) == json.load(open(d + "/unco/report.json"))["total"]["requests"]
for page in ("refineg", "unco"):
    for name in ("report", "predictions"): xml.dom.minidom.parse("%s/%s/%s.html" % (d, page, name))
PY

# Killed while it asks; called again, the cache answers what was answered, and all files are those of the whole run.
serve --log "$d/log2" --latency-ms 40
"${refineg[@]}" --out "$d/killed" > /dev/null 2>&1 &
pid=$!
until [ "$(cat "$d/log2" 2> /dev/null | wc -l)" -ge 6 ] || ! kill -0 $pid 2> /dev/null; do sleep 0.02; done
kill -KILL $pid; wait $pid 2> /dev/null
for _ in $(seq 200); do flock -n "$d/killed/state/lock" true && break; sleep 0.05; done
check "going on" 0 "synth: at most" "run: all 12 stages are done" "${refineg[@]}" --out "$d/killed"
for f in synthetic/train.jsonl predictions.jsonl refined/predictions.jsonl grounded/predictions.jsonl submission.json scores.json; do
    cmp -s "$d/refineg/$f" "$d/killed/$f" || fail "$f differs after a kill"
done
done_checking
