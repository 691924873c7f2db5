# gmner refine against a scripted server with faults mixed in: each sample ends answered, kept or reported, none is lost, none comes twice; what comes
# out depends neither on the order of answers nor on a stop in the middle, and can be had again without the server.
. tests/cli/lib.sh "$1"

server=$(dirname "$program")/faulty_server
[ -x "$server" ] || { echo "skipped: $server is not built"; exit 77; }
export d=$scratch
servers=()
trap 'kill "${servers[@]}" 2> /dev/null; rm -rf "$scratch"' EXIT

# start NAME OPTION...: a server with the log NAME.log and the endpoint's file NAME.json.
start() {
    local name=$1
    shift
    "$server" --log "$d/$name.log" --answers "$d/said.jsonl" "$@" > "$d/$name.port" &
    servers+=($!)
    for _ in $(seq 200); do [ -s "$d/$name.port" ] && break; sleep 0.02; done
    endpoint "$name" "$(cat "$d/$name.port")" 8
}
endpoint() { # endpoint NAME PORT CONCURRENCY [MORE]
    printf '{"url": "http://127.0.0.1:%s/v1/chat/completions", "model": "m", "name": "test", "concurrency": %s, "backoff_s": 0.01, "backoff_max_s": 0.05, "response_format": "json_schema", "coordinates": "pixels"%s}\n' \
        "$2" "$3" "${4:-}" > "$d/$1.json"
}

# Each sample is a case: its text holds the acts of the server, its one entity is unsure in the parts named; then what must become of it.
cat > "$d/cases.py" << 'PY'
import json, os, struct, sys, zlib
d = os.environ["d"]
cases = [ # acts, picture, span answer, type answer, region answer, status, what the reason holds
    ("", "a.png", "E%s Lee", "LOC", [10, 20, 30, 40], "corrected", None),
    ("429:0", None, "E%s Lee", "LOC", None, "corrected", None),
    ("503*2", "a.png", "E%s Lee", "PER", None, "corrected", None),
    ("prose", None, "E%s", "PER", None, "kept", None),
    ("cut,500", None, "E%s Lee", "LOC", None, "corrected", None),
    ("reset,html", None, "E%s Lee", "LOC", None, "corrected", None),
    ("schema", None, "E%s Lee", "LOC", None, "refused", 'lacks "corrected_entity"'),
    ("length", None, "E%s Lee", "LOC", None, "refused", "holds no JSON object"),
    ("", None, "Elsewhere", "GOD", None, "refused", "does not stand in the text"),
    ("", "a.png", "E%s", "PER", [900, 20, 990, 40], "refused", "lies outside the picture"),
    ("", "a.png", "E%s", "PER", [40, 20, 10, 40], "refused", "reversed or equal"),
    ("", "a.png", "E%s", "PER", "Null", "kept", None),
    ("drip:0.001", None, "E%s", "LOC", None, "corrected", None),
    ("permanent", None, "E%s", "PER", None, "failed", "image input is not supported"),
    ("broken*99", None, "E%s", "PER", None, "failed", "no JSON object"),
    ("big", None, "E%s", "PER", None, "failed", "longer than response_bytes"),
    ("filter", None, "E%s", "PER", None, "failed", "content_filter"),
    ("", "none.png", "E%s", "PER", [1, 2, 3, 4], "failed", "there is no picture"),
    ("502*99", None, "E%s", "PER", None, "failed", "HTTP 502"),
]
GOOD = 13 # of these an answer comes in the end

def write():
    with open(d + "/a.png", "wb") as f:
        chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        f.write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 320, 240, 8, 2, 0, 0, 0)) + chunk(b"IDAT", zlib.compress((b"\0" + bytes(960)) * 240)) + chunk(b"IEND", b""))
    said, lines = [], []
    quoted = lambda s: json.dumps(s)[1:-1]
    for i, (acts, picture, span, kind, box, status, why) in enumerate(cases):
        n = "%02d" % i
        span = span % n if "%" in span else span
        said.append((f"Marked entity: E{n}", {"corrected_entity": span}))
        for words in {f"E{n}", f"E{n} Lee"}:
            said.append((quoted(f"Entity: {words}\nType so far: PER"), {"reasoning_process": "x", "corrected_type": kind}))
            if box is not None: said.append((quoted(f"Entity: {words}\nType: {kind}"), {"corrected_bounding_box": box}))
        u = {"span_norm": 0.5, "type_norm": 0.75}
        if box is not None: u["region_norm"] = 0.25
        lines.append({"id": f"s{n}", "tokens": ["see", f"E{n}", "Lee", "in", "Oslo"] + ([f"[[{acts}]]"] if acts else []), "image": picture,
                      "entities": [{"start": 4, "end": 4, "type": "LOC", "boxes": [], "score": 0.9, "uncertainty": {"span_norm": 0.01, "type_norm": 0.01}},
                                   {"start": 1, "end": 1, "type": "PER", "boxes": [], "score": 0.5, "uncertainty": u}]})
    with open(d + "/said.jsonl", "w") as f:
        for find, text in said: f.write(json.dumps({"find": find, "text": json.dumps(text)}) + "\n")
    for name, part in (("all", lines), ("good", lines[:GOOD])):
        with open(f"{d}/{name}.jsonl", "w") as f:
            for line in part: f.write(json.dumps(line) + "\n")

def check(out):
    records = [json.loads(line) for line in open(f"{d}/{out}/predictions.jsonl")]
    report = json.load(open(f"{d}/{out}/report.json"))
    assert [r["id"] for r in records] == ["s%02d" % i for i in range(len(records))], "samples were lost or doubled"
    assert len(records) in (GOOD, len(cases))
    for r, (acts, picture, span, kind, box, status, why) in zip(records, cases):
        sure, e = r["entities"]
        assert "status" not in sure, r["id"] + ": an entity was touched that is sure"
        assert e["status"] == status, (r["id"], e)
        assert (why or "") in e.get("why", ""), (r["id"], e["why"], why)
        if status == "corrected" and "Lee" in span: assert (e["start"], e["end"], e["before"]["end"]) == (1, 2, 1), r["id"]
        if status in ("failed", "refused"): assert (e["start"], e["end"]) == (1, 1), r["id"]
        assert e["source"] == ("local" if status == "failed" else "local+mllm")
    assert records[0]["entities"][1]["boxes"] == [[10, 20, 30, 40]] and records[0]["entities"][1]["type"] == "LOC"
    asked = 0
    for part in ("span", "type", "region"):
        n = report[part]
        assert n["asked"] == n["corrected"] + n["kept"] + n["refused"] + n["failed"], (part, n)
        asked += n["asked"]
    assert asked == 2 * len(records) + sum(c[4] is not None for c in cases[:len(records)]), asked
    assert report["corrector"] == "answers" or report["endpoint"]["requests"] == asked - report["without_picture"], report

{"write": write, "check": lambda: check(sys.argv[2])}[sys.argv[1]]()
PY
python3 "$d/cases.py" write || fail "the cases cannot be written"
mkdir "$d/pictures" && mv "$d/a.png" "$d/pictures/"
over=(--threshold-span 0.3 --threshold-type 0.3 --threshold-region 0.2)
refine() { # refine WHAT PREDICTIONS SERVER OUT OPTION...: must end well
    local what=$1 in=$2 name=$3 out=$4
    shift 4
    check "$what" 0 "" "entities delegated" "$program" refine --in "$d/$in.jsonl" --endpoint "$d/$name.json" --images "$d/pictures" "${over[@]}" --out "$d/$out" "$@"
}
same() { cmp -s "$d/$2/predictions.jsonl" "$d/$3/predictions.jsonl" || fail "$1: other predictions"; }

# All faults at once.
start first
refine "all faults" all first all --record "$d/record.jsonl"
matches "a missing picture" "s17: asked without its picture: .*none.png" "$scratch/err"
python3 "$d/cases.py" check all || fail "all faults: see above"
! grep -q violation "$d/first.log" || fail "the server complains: $(grep violation "$d/first.log" | head -n 3)"

# What was recorded answers as the endpoint did, without it.
check "a replay of the record" 0 "" "43 answers about these predictions, 0 about others" \
    "$program" refine --in "$d/all.jsonl" --answers "$d/record.jsonl" "${over[@]}" --out "$d/replayed"
same "a replay of the record" all replayed
python3 "$d/cases.py" check replayed || fail "a replay of the record: see above"

# One after the other gives the same bytes; so does the cache alone, and neither asks again.
start second
endpoint one "$(cat "$d/second.port")" 1
check "an estimate" 0 "refine: at most 30 calls, [0-9]+ tokens of requests, .* 0 answers are in the cache" "" \
    "$program" refine --in "$d/good.jsonl" --endpoint "$d/one.json" --images "$d/pictures" "${over[@]}" --cache "$d/cache.db" --estimate --log-level error
refine "one at a time" good one one --cache "$d/cache.db"
python3 "$d/cases.py" check one || fail "one at a time: see above"
head -n 13 "$d/all/predictions.jsonl" | cmp -s - "$d/one/predictions.jsonl" || fail "one at a time: other predictions than all at once"
asked=$(wc -l < "$d/second.log")
refine "from the cache" good one again --cache "$d/cache.db"
refine "offline" good one offline --cache "$d/cache.db" --offline
same "from the cache" one again
same "offline" one offline
[ "$(wc -l < "$d/second.log")" -eq "$asked" ] || fail "the server was asked again"
check "an estimate of nothing" 0 "refine: at most 0 calls, .* 30 answers are in the cache" "" \
    "$program" refine --in "$d/good.jsonl" --endpoint "$d/one.json" --images "$d/pictures" "${over[@]}" --cache "$d/cache.db" --estimate --log-level error
refine "offline without answers" good one nothing --offline --cache "$d/cache.db" --types PER,LOC,NEW
matches "offline without answers" '"why": "type: .*(offline|cache)' "$d/nothing/predictions.jsonl"

# Stopped in the middle: nothing is written, and the same command goes on from the cache.
for signal in INT KILL; do
    start "slow$signal" --latency-ms 100
    endpoint "slow$signal" "$(cat "$d/slow$signal.port")" 2
    "$program" refine --in "$d/good.jsonl" --endpoint "$d/slow$signal.json" --images "$d/pictures" "${over[@]}" --out "$d/$signal" --cache "$d/$signal.db" 2> "$d/$signal.err" &
    pid=$!
    for _ in $(seq 500); do [ "$(wc -l < "$d/slow$signal.log")" -ge 6 ] && break; sleep 0.02; done
    kill "-$signal" $pid
    wait $pid 2> /dev/null
    code=$?
    [ "$signal" = KILL ] || [ $code -eq 130 ] || fail "SIGINT: exit code $code: $(cat "$d/$signal.err")"
    [ "$signal" = KILL ] || matches "SIGINT" "goes on from there" "$d/$signal.err"
    [ ! -e "$d/$signal/predictions.jsonl" ] || fail "SIG$signal: something was written"
    refine "after SIG$signal" good "slow$signal" "$signal" --cache "$d/$signal.db"
    same "after SIG$signal" one "$signal"
    repeats=$(grep -c '^repeat' "$d/slow$signal.log")
    [ "$repeats" -le 2 ] || fail "after SIG$signal: $repeats requests were answered twice"
    [ "$signal" = KILL ] || [ "$repeats" -eq 0 ] || fail "after SIGINT: $repeats requests were answered twice"
done

# A wrong key: all stays as it was and says why; the key is nowhere.
start locked --key right
endpoint locked "$(cat "$d/locked.port")" 8 ', "key_env": "REFINE_TEST_KEY"'
export REFINE_TEST_KEY=sk-wrong-0123456789
refine "a wrong key" good locked locked --cache "$d/locked.db"
matches "a wrong key" "nothing more was sent: HTTP 401" "$scratch/err"
! grep -rq sk-wrong "$d/locked" "$scratch/err" "$d/locked.db" || fail "the key was written somewhere"
[ "$(grep -c '"status": "failed"' "$d/locked/predictions.jsonl")" -eq 13 ] || fail "a wrong key: not all failed"

# The server goes in the middle.
start mortal --acts 'ok*5,gone'
endpoint mortal "$(cat "$d/mortal.port")" 1 ', "tries": 2, "give_up_after": 2'
refine "a server that goes" good mortal mortal
[ "$(wc -l < "$d/mortal/predictions.jsonl")" -eq 13 ] || fail "a server that goes: samples were lost"
matches "a server that goes" "nothing more was sent: 2 requests in a row have failed" "$scratch/err"

# What needs no endpoint, and what is wrong before anything is asked.
check "no calls" 0 "" "0 of 26 entities delegated, 0 calls" "$program" refine --in "$d/good.jsonl" --endpoint "$d/none.json" --calls 0 --out "$d/none"
cmp -s "$d/good.jsonl" "$d/none/predictions.jsonl" || fail "--calls 0 changed the predictions"
check "an estimate of no calls" 0 "refine: at most 0 calls" "" "$program" refine --in "$d/good.jsonl" --endpoint "$d/none.json" --calls 0 --estimate --log-level error
: > "$d/file"
check "a folder that cannot be made" 1 "" "cannot make the folder" "$program" refine --in "$d/good.jsonl" --endpoint "$d/mortal.json" --images "$d/pictures" "${over[@]}" --out "$d/file/x"
bad=("$program" refine --in "$d/good.jsonl" --endpoint "$d/one.json" "${over[@]}" --out "$d/x")
check "regions without pictures" 2 "" "a model must see the picture: give --images DIR" "${bad[@]}"
check "no folder of pictures" 1 "" "images: there is no folder .*/nowhere" "${bad[@]}" --images "$d/nowhere"
check "no prompts" 1 "" "there is no such folder: name the one of the prompts by --prompts" "${bad[@]}" --images "$d/pictures" --prompts "$d/nowhere"
cp -r configs/prompts "$d/prompts" && sed -i 's/{entity}/{entety}/' "$d/prompts/span.txt"
check "a wrong prompt" 1 "" "span.txt:[0-9]+:[0-9]+: .*did you mean \{entity\}" "${bad[@]}" --images "$d/pictures" --prompts "$d/prompts"

done_checking
