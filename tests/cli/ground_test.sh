# gmner ground against a scripted server: each record ends answered, kept or reported, none lost and none twice, whatever the
# server does; what is written depends on no order; solved samples are chosen, never the record itself.
. tests/cli/lib.sh "$1"
server=$(dirname "$program")/faulty_server
[ -x "$server" ] || { echo "note: there is no $server"; exit 77; }

d=$scratch/work
mkdir "$d"
serving=
stop_server() { if [ -n "$serving" ]; then kill "$serving" 2> /dev/null; wait "$serving" 2> /dev/null; serving=; fi; }
trap 'stop_server; rm -rf "$scratch"' EXIT
serve() { # serve OPTION...: a server, and endpoint.json that names it
    stop_server
    rm -f "$d/port"
    "$server" --answers "$d/answers.jsonl" "$@" > "$d/port" &
    serving=$!
    for _ in $(seq 100); do [ -s "$d/port" ] && break; sleep 0.05; done
    endpoint 8
}
endpoint() { # endpoint CONCURRENCY
    printf '{"url": "http://127.0.0.1:%s/v1/chat/completions", "name": "test", "model": "m", "concurrency": %s, "tries": 3, "error_tries": 2, "backoff_s": 0.01, "backoff_max_s": 0.05, "coordinates": "pixels"}\n' \
        "$(cat "$d/port")" "$1" > "$d/endpoint.json"
}

# entity FIRST LAST TYPE BOXES; record ID TOKENS ENTITIES [IMAGE]: a picture of 64 x 48.
entity() { printf '{"start": %s, "end": %s, "type": "%s", "boxes": [%s], "score": 0.5, "source": "local", "status": "kept"}' "$@"; }
record() { printf '{"id": "%s", "tokens": [%s], "image": %s, "size": [64, 48], "entities": [%s]}\n' "$1" "$2" "${4-\"$1.png\"}" "$3"; }
{
    record s1 '"Ann", "sings"' "$(entity 0 0 PER '[1, 1, 20, 20]')"
    record s2 '"Bo", "plays", "in", "Oslo"' "$(entity 0 0 PER '[2, 2, 30, 30]'), $(entity 3 3 LOC '')"
    record s3 '"the", "Opera", "of", "Oslo"' "$(entity 1 3 ORG '')"
    record s4 '"no", "picture", "of", "Ann"' "$(entity 3 3 PER '[1, 1, 9, 9]')"
} > "$d/samples.jsonl"
{
    record p-good '"Ann", "Lee", "sings", "in", "Oslo1"' "$(entity 0 1 PER '[1, 2, 3, 4]'), $(entity 4 4 LOC '[5, 6, 7, 8]')"
    record p-twice '"Bob", "meets", "Bob", "of", "Kin2"' "$(entity 0 0 PER ''), $(entity 2 2 PER ''), $(entity 4 4 ORG '')"
    record p-prose '"Cid", "of", "Kin3"' "$(entity 0 0 PER '[1, 2, 3, 4]'), $(entity 2 2 ORG '')"
    record p-reversed '"Dan", "of", "Kin4"' "$(entity 0 0 PER '[1, 2, 3, 4]'), $(entity 2 2 ORG '')"
    record p-outside '"Eve", "of", "Kin5"' "$(entity 0 0 PER ''), $(entity 2 2 ORG '')"
    record p-schema '"[[schema]]", "Fay"' "$(entity 1 1 PER '[1, 2, 3, 4]')"
    record p-broken '"Gus"' "$(entity 0 0 PER '[1, 2, 3, 4]')"
    record p-missing '"Hal"' "$(entity 0 0 PER '')"
    record p-none '"Ida"' "$(entity 0 0 PER '')" null
    record p-empty '"so", "what"' ''
    record p-never '"Rome", "again"' "$(entity 0 0 LOC '[1, 2, 3, 4]')"
    record p-500 '"[[500*99]]", "Jon"' "$(entity 1 1 PER '[1, 2, 3, 4]')"
    record p-429 '"[[429:0*2]]", "Kim"' "$(entity 1 1 PER '')"
    record s1 '"Ann", "sings"' "$(entity 0 0 PER '')"
    record p-several '"Lea", "of", "Kin6"' "$(entity 0 0 PER ''), $(entity 2 2 ORG '[1, 2, 3, 4]')"
} > "$d/pred.jsonl"
# What the server says to a request that ends with these entities.
cat > "$d/answers.jsonl" <<'END'
{"find": "Oslo1\\\", \\\"type\\\": \\\"LOC\\\"}]\"}]", "text": "```json\n{\"entities\": [{\"entity\": \"Ann Lee\", \"entity_type\": \"PER\", \"bounding_box\": [10, 11, 30, 31]}, {\"entity\": \"Oslo1\", \"entity_type\": \"LOC\", \"bounding_box\": [1, 1, 9, 9]}]}\n```"}
{"find": "Kin2\\\", \\\"type\\\": \\\"ORG\\\"}]\"}]", "text": "[{\"entity\": \"Kin2\", \"entity_type\": \"ORG\", \"bounding_box\": []}, {\"entity\": \"Bob\", \"entity_type\": \"PER\", \"bounding_box\": [10, 10, 20, 20]}, {\"entity\": \"Bob\", \"entity_type\": \"dog\", \"bounding_box\": [40, 10, 60, 20]}]"}
{"find": "Kin3\\\", \\\"type\\\": \\\"ORG\\\"}]\"}]", "text": "Two people stand in a field; I cannot tell who they are."}
{"find": "Kin4\\\", \\\"type\\\": \\\"ORG\\\"}]\"}]", "text": "[{\"entity\": \"Dan\", \"entity_type\": \"PER\", \"bounding_box\": [30, 30, 10, 10]}, {\"entity\": \"Kin4\", \"entity_type\": \"ORG\", \"bounding_box\": \"[3, 3, 9, 9]\"}]"}
{"find": "Kin5\\\", \\\"type\\\": \\\"ORG\\\"}]\"}]", "text": "Sure! [{\"entity\": \"Eve\", \"entity_type\": \"PER\", \"bounding_box\": [640, 10, 700, 20]}] That is all."}
{"find": "Kin6\\\", \\\"type\\\": \\\"ORG\\\"}]\"}]", "text": "[{\"entity\": \"Lea\", \"entity_type\": \"PER\", \"bounding_box\": [[1, 1, 9, 9], [20, 1, 90, 9]]}, {\"entity\": \"Kin6\", \"entity_type\": \"ORG\", \"bounding_box\": [1, 2, 3, 4]}]"}
{"find": "Kim\\\", \\\"type\\\": \\\"PER\\\"}]\"}]", "text": "[{\"entity\": \"Kim\", \"entity_type\": \"PER\", \"bounding_box\": [5, 5, 15, 15]}]"}
{"find": "Jon\\\", \\\"type\\\": \\\"PER\\\"}]\"}]", "text": "[{\"entity\": \"Jon\", \"entity_type\": \"PER\", \"bounding_box\": [5, 5, 15, 15]}]"}
{"find": "Ann\\\", \\\"type\\\": \\\"PER\\\"}]\"}]", "text": "[{\"entity\": \"Ann\", \"entity_type\": \"PER\", \"bounding_box\": [6, 6, 16, 16]}]"}
END
sed 's/, "image": null//' "$d/pred.jsonl" > "$d/paint.jsonl"
"$program" paint --in "$d/paint.jsonl" --out "$d/images" --log-level error > /dev/null || fail "paint"
"$program" paint --in "$d/samples.jsonl" --out "$d/shown" --log-level error > /dev/null || fail "paint of samples"
head -c 100 "$d/images/p-broken.png" > "$d/cut" && mv "$d/cut" "$d/images/p-broken.png"
rm "$d/images/p-missing.png" "$d/shown/s4.png"
"$program" train --log-level error --set encoder=tiny --set vision=tiny --set data.train="$d/samples.jsonl" --set data.images="$d/shown" --set train.max_steps=1 --out "$d/run" > /dev/null || fail "an encoder"

asking=("$program" ground --in "$d/pred.jsonl" --samples "$d/samples.jsonl" --images "$d/images" --samples-images "$d/shown" --encoder "$d/run/last" --endpoint "$d/endpoint.json" --never LOC)
serve --log "$d/log" --latency-ms 5
check "a whole run" 0 "" "10 records asked about; boxes of 7 entities changed, 2 kept, 6 answers refused, 4 failed" "${asking[@]}" --vision tests/golden/clip/whole --cache "$d/cache" --gold "$d/pred.jsonl" --out "$d/out"
of() { grep -F "\"id\": \"$1\"" "$d/out/predictions.jsonl" > "$d/line" || fail "$1 is lost"; [ "$(wc -l < "$d/line")" -eq 1 ] || fail "$1 is there twice"; }
is() { of "$1"; shift; for pattern; do matches "$(cut -c1-20 "$d/line")" "$pattern" "$d/line"; done; }
[ "$(wc -l < "$d/out/predictions.jsonl")" -eq 15 ] || fail "not as many records as came in"
is p-good '"type": "PER".*"boxes": \[\[10, 11, 30, 31\]\].*"source": "local\+mllm", "status": "corrected", "before": \{"start": 0, "end": 1, "type": "PER", "boxes": \[\[1, 2, 3, 4\]\]\}' '"type": "LOC", [^}]*"boxes": \[\]'
is p-twice '"start": 0, "end": 0, [^}]*"boxes": \[\[10, 10, 20, 20\]\]' '"start": 2, "end": 2, "type": "PER", [^}]*"boxes": \[\[40, 10, 60, 20\]\]' '"type": "ORG", [^}]*"boxes": \[\].*"status": "kept"'
is p-prose '"boxes": \[\[1, 2, 3, 4\]\].*"source": "local\+mllm", "status": "refused", "why": "region: the answer holds no JSON list"'
is p-reversed '"boxes": \[\[1, 2, 3, 4\]\].*"status": "refused", "why": "region: the box .* its corners are reversed' '"type": "ORG", [^}]*"boxes": \[\[3, 3, 9, 9\]\]'
is p-outside '"status": "refused", "why": "region: the box .* lies outside the picture' '"status": "refused", "why": "region: the answer says nothing of it"'
is p-schema '"boxes": \[\[1, 2, 3, 4\]\].*"status": "refused"'
is p-broken '"boxes": \[\[1, 2, 3, 4\]\].*"source": "local", "status": "failed", "why": "region: .*p-broken.png'
is p-missing '"boxes": \[\].*"status": "failed", "why": "region: there is no picture p-missing.png"'
is p-none '"status": "failed", "why": "region: the record names no picture"'
is p-never '"boxes": \[\].*"before": .*\[\[1, 2, 3, 4\]\]'
is p-500 '"boxes": \[\[1, 2, 3, 4\]\].*"source": "local", "status": "failed", "why": "region: HTTP 500'
is p-429 '"boxes": \[\[5, 5, 15, 15\]\]'
is s1 '"boxes": \[\[6, 6, 16, 16\]\]'
is p-several '"boxes": \[\[1, 1, 9, 9\], \[20, 1, 64, 9\]\].*"status": "corrected"' '"type": "ORG", [^}]*"boxes": \[\[1, 2, 3, 4\]\].*"status": "kept"'
of p-empty
grep -F '"p-empty"' "$d/pred.jsonl" | cmp -s - "$d/line" || fail "a record without entities changed"
matches "the report" '"samples": 15, "left": 0, "without_entities": 1, "never_grounded": 1, "without_picture": 3, "asked": 10, "answered": 7, "refused": 2, "failed": 1, ' "$d/out/report.json"
matches "its demonstrations" '"demonstrations": \{"samples": 4, "shown": 29, "without_picture": 1, "text": \{"mean": [0-9.]+, .*"image": \{.*"entity": \{.*"score": \{' "$d/out/report.json"
matches "its endpoint" '"endpoint": \{' "$d/out/report.json"
matches "its scores" '"after": \{"mner": .*"gmner": ' "$d/out/report.json"
[ "$(wc -l < "$d/out/demonstrations.jsonl")" -eq 10 ] || fail "demonstrations of other records than those asked about"
grep -q '"id": "s4"' "$d/out/demonstrations.jsonl" && fail "a sample without its picture was shown"
grep '^{"id": "s1"' "$d/out/demonstrations.jsonl" | grep -q '{"id": "s1", "score"' && fail "a record was shown as its own demonstration"
matches "three likenesses" '\{"id": "s[123]", "score": [0-9.]+, "text": -?[0-9.]+, "image": -?[0-9.]+, "entity": -?[0-9.]+\}' "$d/out/demonstrations.jsonl"
grep -q '^violation' "$d/log" && fail "the server complains: $(grep '^violation' "$d/log")"

# The same bytes, whatever the order of answers, and from the cache alone.
but_failed() { grep -vF '"p-500"' "$1"; }
endpoint 1
check "one after another" 0 "" "10 records" "${asking[@]}" --vision tests/golden/clip/whole --out "$d/slow"
cmp "$d/out/predictions.jsonl" "$d/slow/predictions.jsonl" || fail "the order of answers shows"
cmp "$d/out/demonstrations.jsonl" "$d/slow/demonstrations.jsonl" || fail "the order of answers shows in demonstrations"
check "pictures compared by a model's own encoder" 0 "" "10 records" "${asking[@]}" --vision "$d/run/last" --out "$d/tiny"
matches "its likeness" '"image": -?[0-9.]+, "entity"' "$d/tiny/demonstrations.jsonl"

# Stopped in the middle, and called again: the rest is asked, and the same comes out.
serve --log "$d/late.log" --latency-ms 200
endpoint 1
"${asking[@]}" --vision tests/golden/clip/whole --cache "$d/stopped" --out "$d/late" --log-level error 2> "$d/err" &
asker=$!
for _ in $(seq 200); do [ "$(grep -cs "^request" "$d/late.log")" -ge 3 ] && break; sleep 0.05; done
kill -TERM "$asker"
wait "$asker"
[ $? -eq 143 ] || fail "a stopped command does not say so"
[ ! -e "$d/late" ] || fail "a stopped command left a folder"
check "called again" 0 "" " [1-9][0-9]* from the cache" "${asking[@]}" --vision tests/golden/clip/whole --cache "$d/stopped" --out "$d/late"
cmp "$d/out/predictions.jsonl" "$d/late/predictions.jsonl" || fail "what was stopped and called again differs"
stop_server
check "from the cache" 0 "" "1 not sent" "${asking[@]}" --vision tests/golden/clip/whole --cache "$d/cache" --offline --out "$d/again"
cmp <(but_failed "$d/out/predictions.jsonl") <(but_failed "$d/again/predictions.jsonl") || fail "a replay differs"
check "an estimate" 0 "^ground: at most 10 calls, .* 0 answers are in the cache" "" "${asking[@]}" --estimate --log-level warn
check "an estimate with a cache" 0 "^ground: at most 1 calls, .* 9 answers are in the cache" "" "${asking[@]}" --vision tests/golden/clip/whole --cache "$d/cache" --estimate --log-level error

# Without a model, and with few calls.
check "no calls" 0 "" "0 records asked about" "$program" ground --in "$d/pred.jsonl" --calls 0 --out "$d/none"
cmp -s "$d/pred.jsonl" "$d/none/predictions.jsonl" || fail "--calls 0 changed the predictions"
check "two calls" 0 "" "2 records asked about" "${asking[@]}" --vision tests/golden/clip/whole --cache "$d/cache" --offline --calls 2 --out "$d/two"
cmp -s <(head -n 2 "$d/out/predictions.jsonl") <(head -n 2 "$d/two/predictions.jsonl") || fail "two calls: the first two records differ"
cmp -s <(tail -n +3 "$d/pred.jsonl") <(tail -n +3 "$d/two/predictions.jsonl") || fail "two calls changed more than two records"
check "no samples" 0 "" "without --vision|10 records" "$program" ground --in "$d/pred.jsonl" --images "$d/images" --k 0 --endpoint "$d/endpoint.json" --offline --cache "$d/cache" --never LOC --out "$d/zero"

check "no folder" 2 "" "--out DIR is missing" "$program" ground --in "$d/pred.jsonl"
check "no pictures" 2 "" "--images DIR is missing" "$program" ground --in "$d/pred.jsonl" --out "$d/x"
check "nothing to show" 2 "" "--samples FILE is missing" "$program" ground --in "$d/pred.jsonl" --images "$d/images" --out "$d/x"
check "too many to show" 2 "" "--k is 33; it is 0 to 32" "${asking[@]}" --k 33 --out "$d/x"
check "a folder that is not there" 1 "" "--images: there is no folder" "$program" ground --in "$d/pred.jsonl" --images "$d/no" --samples "$d/samples.jsonl" --out "$d/x"
check "no endpoint" 2 "" "--endpoint FILE is missing" "$program" ground --in "$d/pred.jsonl" --images "$d/images" --samples "$d/samples.jsonl" --out "$d/x"
check "no encoder" 1 "" "encoder: there is no folder" "${asking[@]/#$d\/run\/last/$d/no}" --out "$d/x"
check "a weight below 0" 2 "" "--weight-image is -1" "${asking[@]}" --weight-image -1 --out "$d/x"
[ ! -e "$d/x" ] || fail "a command that failed left a folder"

done_checking
