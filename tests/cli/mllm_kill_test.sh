# gmner refine killed with SIGKILL three times on its way, against a server whose answers depend on the request alone: what it writes in
# the end is, byte for byte, what a run that nobody killed writes, and each kill has cost at most `concurrency` requests.
. tests/cli/lib.sh "$1"

server=$(dirname "$program")/faulty_server
[ -x "$server" ] || { echo "skipped: $server is not built"; exit 77; }
check "a probe" 1 "" "." "$program" refine --in /dev/null --endpoint /dev/null --cache "$scratch/probe.db" --out "$scratch/probe" --calls 1
if grep -q "which this build lacks" "$scratch/err"; then cat "$scratch/err"; exit 77; fi
command -v python3 > /dev/null || { echo "skipped: python3 is missing"; exit 77; }
export d=$scratch
servers=()
trap 'kill "${servers[@]}" 2> /dev/null; rm -rf "$scratch"' EXIT
concurrency=8 samples=90

# Each sample has two unsure entities, asked for span, then type, each seeing the answer before: 4 requests a sample.
python3 - "$samples" << 'PY'
import json, os, sys
d, n = os.environ["d"], int(sys.argv[1])
entity = lambda start: {"start": start, "end": start, "type": "PER", "boxes": [], "score": 0.5, "uncertainty": {"span_norm": 0.5, "type_norm": 0.75}}
said, quoted = [], lambda s: json.dumps(s)[1:-1]
with open(d + "/in.jsonl", "w") as f:
    for i in range(n):
        a, b = "A%03d" % i, "B%03d" % i
        f.write(json.dumps({"id": "s%03d" % i, "tokens": ["see", a, "Lee", "in", b, "City"], "image": None, "entities": [entity(1), entity(4)]}) + "\n")
        for word, more in ((a, "Lee"), (b, "City")):
            whole = f"{word} {more}" if i % 3 else word
            said.append((f"Marked entity: {word}", {"corrected_entity": whole}))
            said.append((quoted(f"Entity: {whole}\nType so far: PER"), {"reasoning_process": "x", "corrected_type": "LOC" if i % 2 else "PER"}))
with open(d + "/said.jsonl", "w") as f:
    for find, text in said: f.write(json.dumps({"find": find, "text": json.dumps(text)}) + "\n")
PY

start() { # start NAME OPTION...: a server with the log NAME.log and the endpoint's file NAME.json
    local name=$1
    shift
    "$server" --log "$d/$name.log" --answers "$d/said.jsonl" "$@" > "$d/$name.port" &
    servers+=($!)
    for _ in $(seq 500); do [ -s "$d/$name.port" ] && break; sleep 0.02; done
    printf '{"url": "http://127.0.0.1:%s/v1/chat/completions", "model": "m", "name": "test", "concurrency": %s}\n' "$(cat "$d/$name.port")" $concurrency > "$d/$name.json"
}
refine=("$program" refine --in "$d/in.jsonl" --types PER,LOC --threshold-span 0.3 --threshold-type 0.3 --log-level warn)
into() { printf '%s\n' --endpoint "$d/$1.json" --cache "$d/$1.db" --out "$d/$1"; }
requests() { grep -c '^request' "$d/$1.log"; }

start whole
check "a run that nobody kills" 0 "" "" "${refine[@]}" $(into whole)
[ "$(requests whole)" -eq $((4 * samples)) ] || fail "$(requests whole) requests, expected $((4 * samples))"
[ "$(grep -o '"status": "corrected"' "$d/whole/predictions.jsonl" | wc -l)" -gt $samples ] || fail "hardly an entity was corrected"

start killed --latency-ms 40
for part in 1 2 3; do
    "${refine[@]}" $(into killed) 2> "$d/killed.err" &
    pid=$!
    for _ in $(seq 1000); do [ "$(requests killed)" -ge $((part * samples)) ] && break; sleep 0.02; done
    kill -KILL $pid 2> /dev/null || fail "run $part was over before it could be killed: $(cat "$d/killed.err")"
    wait $pid 2> /dev/null
    [ ! -e "$d/killed/predictions.jsonl" ] || fail "kill $part: something was written"
    [ "$(requests killed)" -lt $((4 * samples)) ] || fail "kill $part came too late"
done
check "the run that is left to end" 0 "" "" "${refine[@]}" $(into killed)
cmp "$d/whole/predictions.jsonl" "$d/killed/predictions.jsonl" || fail "other predictions than those of the run that nobody killed"
sent=$(requests killed) distinct=$(awk '/^request/ { print $2 }' "$d/killed.log" | sort -u | wc -l)
[ "$distinct" -eq $((4 * samples)) ] || fail "$distinct different requests, expected $((4 * samples))"
[ $((sent - distinct)) -le $((3 * concurrency)) ] || fail "$((sent - distinct)) requests were sent twice by 3 kills at $concurrency in flight"
! grep -q violation "$d/killed.log" || fail "the server complains: $(grep violation "$d/killed.log" | head -n 3)"
repeats=$(grep -o '"repeats": *[0-9]*' "$d/killed/report.json" | grep -o '[0-9]*$')
[ "${repeats:-0}" -le $concurrency ] || fail "the report of the last run counts $repeats repeats"
echo "$sent requests for $distinct: $((sent - distinct)) sent twice by 3 kills"
done_checking
