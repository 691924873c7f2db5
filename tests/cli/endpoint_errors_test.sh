# What is wrong with an endpoint's file, its key or a cache of answers: each row of docs/errors.md, "What stops asking a language model",
# is provoked here, before anything is sent.
. tests/cli/lib.sh "$1"

d=$scratch
printf '{"url": "http://127.0.0.1:1/v1/chat/completions", "model": "m"}' > "$d/good.json"
"$program" synth --out "$d/train.jsonl" --count 4 --log-level error
sed 's/"type": "PER"/&, "uncertainty": {"span_norm": 0.9}/' "$d/train.jsonl" > "$d/unsure.jsonl"
refine=("$program" refine --in "$d/unsure.jsonl" --out "$d/refined" --without-regions --log-level error)
"${refine[@]}" --endpoint "$d/good.json" --cache "$d/probe.db" --calls 1 2> "$d/probe.err" > "$d/probe.out"
if grep -q "which this build lacks" "$d/probe.err"; then cat "$d/probe.err"; exit 77; fi
rm -rf "$d/refined" "$d/probe.db"

page=docs/errors.md
rows=$(sed -n '/^# What stops asking a language model/,/^# /s/^| \(.*\) | `\(.*\)` |$/\1\t\2/p' "$page")
[ -n "$rows" ] || fail "$page has no table of situations"
: > "$d/provoked"
stops() { # stops "situation" COMMAND...: exit code 1, the row's message alone on stderr, nothing on stdout
    local situation=$1 message
    shift
    message=$(awk -F '\t' -v s="$situation" '$1 == s { print $2 }' <<< "$rows")
    [ -n "$message" ] || { fail "$page has no row \"$situation\""; return; }
    echo "$situation" >> "$d/provoked"
    message=$(sed -e 's/[][\.*^$+?(){}|/]/\\&/g' -e 's/\\\.\\\.\\\./.*/g' -e 's/\\\//\//g' <<< "$message")
    check "$situation" 1 "" "$message" "$@"
    [ "$(wc -l < "$scratch/err")" -eq 1 ] || fail "$situation: more on stderr than its message: $(cat "$scratch/err")"
    ! grep -q sk-secret "$scratch/err" || fail "$situation: the message repeats the key"
}
wrong() { # wrong "situation" MEMBERS: an endpoint's file with these
    printf '{%s}' "$2" > "$d/wrong.json"
    stops "$1" "${refine[@]}" --endpoint "$d/wrong.json" "${@:3}"
}
server='"url": "http://127.0.0.1:1/v1", "model": "m"'
export ENDPOINT_TEST_KEY= ENDPOINT_TEST_BAD='sk-secret with blanks'
unset ENDPOINT_TEST_NONE

stops "the endpoint's file is missing" "${refine[@]}" --endpoint "$d/none.json"
wrong "an unknown key of an endpoint" '"modle": "m"'
wrong "a key of an endpoint twice" '"model": "m", "model": "n"'
wrong "a value of an endpoint out of range" "$server, \"tries\": 0"
wrong "an endpoint without url" '"model": "m"'
wrong "an endpoint without model" '"url": "https://host/v1"'
wrong "a url that is none" '"url": "host/v1"'
wrong "a password in the url" '"url": "https://user:sk-secret@host/v1", "model": "m"'
wrong "a key in the url" '"url": "https://host/v1?api_key=sk-secret", "model": "m"'
wrong "a key in the place of its variable's name" "$server, \"key_env\": \"sk-secret.1\""
wrong "the key's variable is not set" "$server, \"key_env\": \"ENDPOINT_TEST_NONE\""
wrong "the key's variable is empty" "$server, \"key_env\": \"ENDPOINT_TEST_KEY\""
wrong "the key's variable holds no key" "$server, \"key_env\": \"ENDPOINT_TEST_BAD\""
wrong "a key over plain http" '"url": "http://host.example/v1", "model": "m", "key_env": "ENDPOINT_TEST_BAD"'
wrong "the certificates to trust cannot be read" "$server, \"ca_file\": \"$d/none.pem\""
wrong "a shared budget without a cache" "$server, \"budget\": {\"calls\": 9, \"name\": \"all\"}"
stops "offline without a cache" "${refine[@]}" --endpoint "$d/good.json" --offline
stops "offline, and the cache is not there" "${refine[@]}" --endpoint "$d/good.json" --offline --cache "$d/none.db"
stops "the cache cannot be made" "${refine[@]}" --endpoint "$d/good.json" --cache "$d/none/cache.db"
stops "the cache is no cache" "${refine[@]}" --endpoint "$d/good.json" --cache "$d/train.jsonl"
[ ! -e "$d/refined" ] || fail "something was written"

while IFS=$'\t' read -r situation _; do
    grep -qxF -e "$situation" "$d/provoked" || fail "$page: nothing provokes \"$situation\""
done <<< "$rows"
done_checking
