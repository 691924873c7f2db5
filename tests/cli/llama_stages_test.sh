# The three stages that ask a language model, on 20 tweets of Twitter-GMNER with drawn pictures, against a real server with real weights
# (llama.cpp, SmolLM2-135M, started here): each sample ends answered, kept or reported, none is lost and none comes twice. What the model says
# is poor, so most of it is refused; that the stages take it as it comes is what this shows. Skipped where the server, its weights or the
# data set are not there, unless GM_REQUIRE has llama or data.
. tests/cli/lib.sh "$1"

lacks() { # lacks NAME MESSAGE
    echo "$2"
    case ",${GM_REQUIRE:-}," in *",$1,"*) exit 1 ;; esac
    exit 77
}
data=../shared/data/twitter-gmner
[ -e "$data/dev.txt" ] || lacks data "skipped: $data is missing"
[ -e weights/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf ] && python3 -c 'import sys; sys.path.insert(0, "weights"); import xllamacpp' 2> /dev/null ||
    lacks llama "skipped: there is no llama.cpp here: run tools/get-weights xllamacpp and tools/get-weights smollm2"
"$program" refine --in /dev/null --endpoint /dev/null --cache "$scratch/probe.db" --out "$scratch/probe" --calls 1 2> "$scratch/probe.err"
! grep -q "which this build lacks" "$scratch/probe.err" || { cat "$scratch/probe.err"; exit 77; }
d=$scratch

# The server ends with the pipe that this script holds open.
python3 tests/mllm/random_projector.py "$d/projector.gguf" || fail "no projector"
mkfifo "$d/alive"
python3 tests/mllm/llama_server.py "$d/projector.gguf" < "$d/alive" > "$d/port" 2> "$d/server.log" &
server=$!
trap 'kill $server 2> /dev/null; rm -rf "$scratch"' EXIT
exec 9> "$d/alive"
for _ in $(seq 600); do [ -s "$d/port" ] && break; sleep 0.1; done
[ -s "$d/port" ] || fail "the server does not start: $(tail -n 3 "$d/server.log")"
printf '{"url": "http://127.0.0.1:%s/v1/chat/completions", "model": "smollm2", "concurrency": 2, "read_s": 400, "total_s": 500, "max_tokens": 48, "response_format": "json_schema", "image": {"max_side": 320}}\n' \
    "$(cat "$d/port")" > "$d/endpoint.json"

# 20 tweets with entities, and predictions about them: every second entity lacks its last word or has one too many, and is unsure.
"$program" import twitter-gmner --text "$data/dev.txt" --boxes "$data/xml" --log-level error > "$d/dev.jsonl" 2> /dev/null
python3 - "$d" << 'PY' || fail "no predictions"
import json, sys
d = sys.argv[1]
gold = [r for r in map(json.loads, open(d + "/dev.jsonl")) if r["entities"]][:40]
with open(d + "/gold.jsonl", "w") as f: f.writelines(json.dumps(r) + "\n" for r in gold[:20])
with open(d + "/samples.jsonl", "w") as f: f.writelines(json.dumps(r) + "\n" for r in gold[20:])
with open(d + "/in.jsonl", "w") as f:
    for i, r in enumerate(gold[:20]):
        e = r["entities"][0]
        e["uncertainty"] = {"span_norm": 0.5 if i % 2 == 0 else 0.1, "type_norm": 0.75 if i % 3 == 0 else 0.1, "region_norm": 0.5 if i % 4 == 1 else 0.1}
        if i % 2 == 0: e["end"] = e["end"] - 1 if e["end"] > e["start"] else e["end"]
        e["score"] = 0.5
        r["entities"] = [e]
        f.write(json.dumps(r) + "\n")
PY
cat "$d/gold.jsonl" "$d/samples.jsonl" > "$d/both.jsonl"
check "pictures" 0 "" "" "$program" paint --in "$d/both.jsonl" --out "$d/pictures" --log-level error

stage() { # stage NAME COMMAND OPTION...
    local name=$1
    shift
    check "$name" 0 "" "" "$program" "$@" --endpoint "$d/endpoint.json" --cache "$d/cache.db" --out "$d/$name" --log-level error
}
ground=(--k 0)
[ ! -e weights/minilm/model.safetensors ] || ground=(--k 1 --samples "$d/samples.jsonl")
stage refined refine --in "$d/in.jsonl" --images "$d/pictures" --gold "$d/gold.jsonl" --threshold-span 0.3 --threshold-type 0.5 --threshold-region 0.3
stage grounded ground --in "$d/refined/predictions.jsonl" --images "$d/pictures" "${ground[@]}" --gold "$d/gold.jsonl"
stage made synth --llm --in "$d/gold.jsonl" --sentences 2 --more 1 --max-tokens 64

python3 - "$d" << 'PY' || fail "the stages' files do not hold together"
import json, sys
d = sys.argv[1]
ids = [json.loads(line)["id"] for line in open(d + "/in.jsonl")]
ends = {"corrected", "kept", "refused", "failed"}
for stage in ("refined", "grounded"):
    records = [json.loads(line) for line in open(f"{d}/{stage}/predictions.jsonl")]
    assert [r["id"] for r in records] == ids, stage + ": samples were lost, doubled or moved"
    report = json.load(open(f"{d}/{stage}/report.json"))
    client = report["endpoint"]
    assert client["requests"] > 0 and client["requests"] == sum(client[o] for o in ("answered", "cached", "refused", "failed", "unsent")), client
    assert client["answered"] == client["requests"], client
    for r in records:
        for e in r["entities"]: assert e.get("status", "kept") in ends and (e.get("status") not in ("refused", "failed") or e.get("why")), (stage, r["id"], e)
    print(stage, {k: client[k] for k in ("requests", "answered", "calls", "tokens_in", "tokens_out")},
          {s: sum(e.get("status") == s for r in records for e in r["entities"]) for s in sorted(ends)})
asked = [r["entities"] for r in map(json.loads, open(d + "/refined/predictions.jsonl"))]
for i, entities in enumerate(asked): # those over a threshold, and no others, were asked about
    unsure = i % 2 == 0 or i % 3 == 0 or i % 4 == 1
    assert not entities or ("status" in entities[0]) == unsure, (i, entities)
report = json.load(open(d + "/made/report.json"))
failed = [json.loads(line)["id"] for line in open(d + "/made/failed.jsonl")]
made = {r["made_from"] for part in ("train", "dev") for r in map(json.loads, open(f"{d}/made/{part}.jsonl"))}
assert report["samples"] == 20 and report["endpoint"]["requests"] == 20 and len(failed) == len(set(failed)) == report["failed"]
assert not made & set(failed) and made | set(failed) <= set(ids)
s = report["sentences"]
assert s["made"] == s["kept"] + sum(s["rejected"].values()), s
print("made", {k: report["endpoint"][k] for k in ("requests", "answered", "calls", "tokens_in", "tokens_out")}, "no sentences:", len(failed), "sentences:", s["made"], "kept:", s["kept"])
PY
done_checking
