# Several processes, one cache, one budget: two runs of gmner refine side by side, then gmner ground, with an endpoint's file that names the
# budget. Together they send no more than it allows, and each ends well with all its samples.
. tests/cli/lib.sh "$1"

server=$(dirname "$program")/faulty_server
[ -x "$server" ] || { echo "skipped: $server is not built"; exit 77; }
command -v python3 > /dev/null || { echo "skipped: python3 is missing"; exit 77; }
export d=$scratch
"$server" --log "$d/log" --latency-ms 10 > "$d/port" &
served=$!
trap 'kill $served 2> /dev/null; rm -rf "$scratch"' EXIT
for _ in $(seq 500); do [ -s "$d/port" ] && break; sleep 0.02; done
budget() { # budget CALLS
    printf '{"url": "http://127.0.0.1:%s/v1/chat/completions", "model": "m", "concurrency": 4, "budget": {"calls": %s, "name": "both"}}' "$(cat "$d/port")" "$1" > "$d/e.json"
}
python3 - << 'PY'
import json, os
for part in "abc":
    with open(f"{os.environ['d']}/{part}.jsonl", "w") as f:
        for i in range(40):
            e = {"start": 1, "end": 1, "type": "PER", "boxes": [], "score": 0.5, "uncertainty": {"span_norm": 0.5}}
            f.write(json.dumps({"id": f"{part}{i:03}", "tokens": ["see", f"{part.upper()}{i}", "there"], "image": f"{part}{i}.jpg", "size": [64, 48], "entities": [e]}) + "\n")
PY
refine() { exec "$program" refine --in "$d/$1.jsonl" --without-regions --endpoint "$d/e.json" --cache "$d/cache.db" --out "$d/$1" --log-level warn; }
requests() { grep -c '^request' "$d/log"; }

budget 50
(refine a) 2> "$d/a.err" &
one=$!
(refine b) 2> "$d/b.err" &
two=$!
wait $one || fail "the first run: $(cat "$d/a.err")"
if grep -q "which this build lacks" "$d/a.err"; then exit 77; fi
wait $two || fail "the second run: $(cat "$d/b.err")"
[ "$(requests)" -eq 50 ] || fail "two runs sent $(requests) requests, their budget is 50"
cat "$d/a.err" "$d/b.err" > "$d/both.err"
matches "a run whose budget is spent" "nothing more was sent: the budget of 50 calls is spent" "$d/both.err"
for part in a b; do [ "$(wc -l < "$d/$part/predictions.jsonl")" -eq 40 ] || fail "$part: samples were lost"; done
[ "$(cat "$d"/[ab]/predictions.jsonl | grep -c '"status": *"failed".*the budget of 50 calls is spent')" -eq 30 ] || fail "not the 30 samples beyond the budget say so"

# A later run of another stage finds what is left; what was answered before costs nothing.
budget 60
check "pictures" 0 "" "" "$program" paint --in "$d/c.jsonl" --out "$d/pictures" --log-level error
check "ground" 0 "" "the budget of 60 calls is spent" "$program" ground --in "$d/c.jsonl" --images "$d/pictures" --k 0 --endpoint "$d/e.json" --cache "$d/cache.db" --out "$d/c" --log-level warn
[ "$(requests)" -eq 60 ] || fail "a third run brought the requests to $(requests), the budget is 60"
[ "$(wc -l < "$d/c/predictions.jsonl")" -eq 40 ] || fail "ground: samples were lost"
check "refine again" 0 "" "the budget of 60 calls is spent" bash -c "$(declare -f refine); program=$program d=$d; refine a"
[ "$(requests)" -eq 60 ] || fail "an empty budget was overrun: $(requests)"
done_checking
