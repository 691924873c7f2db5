# gmner predict: what stands in the way of a sentence - its gold, other sentences, batches, threads, shards, pipes - does
# not show in its answer; and what it answers can be scored.
. tests/cli/lib.sh "$1"

d=$scratch
"$program" synth --out "$d/learnt.jsonl" --count 32 --seed 7 --log-level error
"$program" synth --out "$d/new.jsonl" --count 30 --split dev --log-level error
cat "$d/learnt.jsonl" "$d/new.jsonl" > "$d/all.jsonl"
predict() { "$program" predict --model "$model" --log-level error "$@"; }

# close "what" A B: the same text but for scores, which may differ by 1e-5 (docs/conventions.md).
close() {
    awk -v what="$1" '
        { n = split($0, part, /"(region_)?score": */); text = part[1]
          for (i = 2; i <= n; i++) { score = part[i]; sub(/[^-+.0-9eE].*/, "", score); number[FILENAME, FNR, i] = score
                                     sub(/^[-+.0-9eE]+/, "#", part[i]); text = text part[i] }
          if (FILENAME == ARGV[1]) { want[FNR] = text; count[FNR] = n; lines = FNR; scores += n - 1; next }
          if (text != want[FNR] || n != count[FNR]) { print what ": line " FNR " differs"; bad = 1; exit }
          for (i = 2; i <= n; i++) { gap = number[FILENAME, FNR, i] - number[ARGV[1], FNR, i]
                                     if (gap > 1e-5 || gap < -1e-5) { print what ": line " FNR ": scores differ by " gap; bad = 1; exit } }
          seen = FNR }
        END { if (!bad && (seen != lines || scores == 0)) { print what ": " seen " lines of " lines ", " scores " scores"; bad = 1 }; exit bad }' \
        "$2" "$3" >&2 || fail "$1"
}

# The comparison itself: one score moved by 2e-5, one word, one line less.
printf '%s\n' '{"a": "x", "score": 0.5}' '{"a": "y", "score": 0.25, "n": 1}' > "$d/one"
sed 's/0\.5/0.500005/' "$d/one" > "$d/two"
close "a self-test" "$d/one" "$d/two"
for change in 's/0\.5/0.50002/' 's/y/z/' '$d' 's/"n": 1/"n": 2/'; do
    sed "$change" "$d/one" > "$d/two"
    if (failures=0; close "-" "$d/one" "$d/two" 2> /dev/null; [ $failures -eq 0 ]); then fail "the comparison does not see $change"; fi
done

check_head() {
    local head=$1
    model=$d/$head
    check "$head: train" 0 "" "" "$program" train --out "$model" --set data.train="$d/learnt.jsonl" --set data.dev="$d/learnt.jsonl" \
        --set encoder=tiny --set head="$head" --set dropout=0 --set train.batch=4 --set train.epochs=12 --set train.lr=4e-3 \
        --set train.head_lr=1e-2 --log-level error
    predict --in "$d/all.jsonl" > "$d/whole" || fail "$head: predict ended with $?"
    [ "$(wc -l < "$d/whole")" -eq 62 ] || fail "$head: $(wc -l < "$d/whole") answers to 62 records"
    grep -q '"score": ' "$d/whole" || fail "$head: no entity was found"
    grep -q '"source": "local", "status": "kept"' "$d/whole" || fail "$head: entities lack source and status"

    # Gold, threads and the way in: the same bytes.
    sed 's/"entities": \[.*\]}$/"entities": []}/' "$d/all.jsonl" > "$d/bare.jsonl"
    grep -q '"start"' "$d/bare.jsonl" && fail "the gold was not stripped"
    predict --in "$d/bare.jsonl" | cmp - "$d/whole" || fail "$head: the gold shows in the answers"
    predict < "$d/all.jsonl" | cmp - "$d/whole" || fail "$head: stdin and --in differ"
    for threads in 1 3; do predict --in "$d/all.jsonl" --threads $threads | cmp - "$d/whole" || fail "$head: --threads $threads differs"; done
    sed 's/$/\r/' "$d/all.jsonl" | head -c -2 | predict | cmp - "$d/whole" || fail "$head: CRLF and no line end at the end"

    # Batches.
    for tokens in 16 100 100000; do
        predict --in "$d/all.jsonl" --tokens $tokens > "$d/other" || fail "$head: --tokens $tokens ended with $?"
        close "$head: --tokens $tokens" "$d/whole" "$d/other"
    done
    tac "$d/all.jsonl" | predict | tac > "$d/other"
    close "$head: the other way round" "$d/whole" "$d/other"

    # In bf16, and on the simulator where this build has it: of the sentences that were learnt nearly all answers stay.
    local -a places=("--precision fp32")
    grep -q avx512bw /proc/cpuinfo && places+=("--precision bf16")
    [ -e "$(dirname "$program")/gmner-sim.so" ] && places+=("--device sim" "--device sim --precision bf16")
    for place in "${places[@]}"; do
        predict --in "$d/learnt.jsonl" $place > "$d/other" || fail "$head: $place ended with $?"
        "$program" eval --gold "$d/learnt.jsonl" --pred "$d/other" --json > "$d/score" || fail "$head: $place cannot be scored"
        python3 -c 'import json, sys; exit(not json.load(open(sys.argv[1]))["mner"]["f1"] > 0.9)' "$d/score" || fail "$head: $place: $(cat "$d/score")"
    done

    # Shards: line k is shard k mod n's.
    for i in 0 1 2; do predict --in "$d/all.jsonl" --shard $i/3 > "$d/shard$i" || fail "$head: --shard $i/3 ended with $?"; done
    paste -d '\n' "$d/shard0" "$d/shard1" "$d/shard2" | sed '/^$/d' > "$d/other"
    close "$head: three shards interleaved" "$d/whole" "$d/other"
    predict --in "$d/all.jsonl" --shard 0/1 | cmp - "$d/whole" || fail "$head: --shard 0/1 is not the whole"
}

check_head span
check_head crf

# A writer that waits for each answer before it asks again.
coproc server { predict; }
server_pid=$server_PID
: > "$d/other"
while IFS= read -r line; do
    printf '%s\n' "$line" >&"${server[1]}"
    if ! IFS= read -r -t 60 answer <&"${server[0]}"; then fail "no answer while the writer waits"; break; fi
    printf '%s\n' "$answer" >> "$d/other"
done < "$d/all.jsonl"
exec {server[1]}>&-
wait "$server_pid" || fail "the waiting predict ended with $?"
close "line by line" "$d/whole" "$d/other"

# What the program does not know is kept; entities are replaced whole.
sed '1s/}$/, "note": {"a": [1, 2.50, null], "b": "\\u00e9"}, "lang": "en"}/' "$d/learnt.jsonl" | predict > "$d/other"
head -n 1 "$d/other" | grep -q '"note": *{"a": \[1, 2.50, null\], "b": "\\u00e9"}' || fail "an unknown member is lost: $(head -n 1 "$d/other")"
head -n 1 "$d/other" | grep -q '"lang": *"en"' || fail "the second unknown member is lost"

# --model takes the run folder (its best/) or a folder in it.
predict --in "$d/all.jsonl" > "$d/whole"
(model=$d/crf/best && predict --in "$d/all.jsonl") | cmp - "$d/whole" || fail "the run folder does not mean best/"
(model=$d/crf/last && predict --in "$d/all.jsonl" > "$d/other") || fail "last/ cannot predict"

# Scoring: found by heart, so F1 is high; the counts are the gold's.
check "eval --json" 0 '"mner"' "" "$program" eval --gold "$d/all.jsonl" --pred "$d/whole" --json
gold=$(grep -o '"start"' "$d/all.jsonl" | wc -l)
grep -Eq "\"n_gold\": ?$gold\b" "$scratch/out" || fail "eval --json does not count $gold gold entities: $(cat "$scratch/out")"
predict --in "$d/learnt.jsonl" > "$d/other"
check "eval of what was learnt" 0 "MNER" "" "$program" eval --gold "$d/learnt.jsonl" --pred "$d/other"
"$program" eval --gold "$d/learnt.jsonl" --pred "$d/other" --json | tr -d ' \n' | grep -Eq '"mner":\{[^}]*"f1":(1|0\.9)' || fail "what was learnt by heart scores below .9"

# A bad line: what came before it is answered, the place is named.
{ head -n 5 "$d/all.jsonl"; echo '{"id": "x"}'; tail -n 3 "$d/all.jsonl"; } > "$d/bad.jsonl"
check "a bad line" 1 "synth-train-000004" "^gmner predict: .*bad.jsonl:6: " predict --in "$d/bad.jsonl"
[ "$(wc -l < "$scratch/out")" -eq 5 ] || fail "a bad line: $(wc -l < "$scratch/out") answers, expected the 5 before it"

# A reader that goes away ends the program with 1 and a message, not with a signal.
{ predict --in "$d/all.jsonl" 2> "$scratch/err"; echo $? > "$scratch/code"; } | true
[ "$(cat "$scratch/code")" -eq 1 ] || fail "a closed pipe: exit code $(cat "$scratch/code"), expected 1"
grep -q "stdout: cannot be written: Broken pipe" "$scratch/err" || fail "a closed pipe: $(cat "$scratch/err")"

done_checking
