# gmner merge: shards of predictions become the bytes of one process, in whatever order they are named; shards that are missing,
# cut, double, of another division, of other text or of another model are refused by name, and nothing is written.
. tests/cli/lib.sh "$1"

d=$scratch
"$program" synth --out "$d/learnt.jsonl" --count 32 --seed 7 --log-level error
"$program" synth --out "$d/new.jsonl" --count 31 --split dev --log-level error
cat "$d/learnt.jsonl" "$d/new.jsonl" > "$d/all.jsonl"
train() {
    "$program" train --out "$1" --set data.train="$d/learnt.jsonl" --set encoder=tiny --set dropout=0 --set train.batch=4 --set train.epochs=12 \
        --set train.lr=4e-3 --set train.head_lr=1e-2 --log-level error --set seed="$2" || fail "training $1"
}
train "$d/model" 1
predict() { "$program" predict --model "$d/model" --in "$d/all.jsonl" --samples 3 --log-level error "$@" || fail "predict $*"; }
merge=("$program" merge --records "$d/all.jsonl" --log-level warn)

predict > "$d/whole"
grep -q '"score": ' "$d/whole" || fail "no entity was found: equal bytes would show nothing"
for n in 1 4 7 70; do # 70: more shards than records
    shards=()
    for ((i = 0; i < n; i++)); do
        predict --shard $i/$n --threads 1 --out "$d/p$n.$i"
        [ -e "$d/p$n.$i.shard.json" ] || fail "shard $i/$n has no note"
        shards=("$d/p$n.$i" "${shards[@]}") # the last one first
    done
    check "$n shards" 0 "" "" "${merge[@]}" --out "$d/merged$n" "${shards[@]}"
    cmp "$d/whole" "$d/merged$n" || fail "$n shards are not the bytes of one process"
done
s=("$d/p4.0" "$d/p4.1" "$d/p4.2" "$d/p4.3")
"${merge[@]}" "${s[@]}" 2> "$d/err" | cmp - "$d/whole" || fail "to stdout"

# refused "what" MESSAGE SHARD...
refused() {
    local what=$1 message=$2
    shift 2
    check "$what" 1 "" "$message" "${merge[@]}" --out "$d/refused" "$@"
    [ ! -e "$d/refused" ] && [ ! -e "$d/refused.part" ] || fail "$what: something was written"
}
refused "a shard is missing" "shard 2/4 is missing: none of the 3 files holds \"synth-train-000002\"; gmner predict --shard 2/4 makes it" "${s[0]}" "${s[1]}" "${s[3]}"
refused "a shard twice" "p4.1 and .*p4.1 both hold shard 1/4: name each shard once" "${s[@]}" "${s[1]}"
refused "shards of two divisions" "p7.0: is shard 0/7, but others are of 4 shards" "${s[0]}" "$d/p7.0" "${s[1]}" "${s[2]}" "${s[3]}"
refused "a file that is not there" "none: cannot open: No such file or directory" "$d/none"

sed 's/"entities": .*/"entities": []}/' "$d/p7.0" > "$d/bare7"
refused "shards of two divisions without notes" "bare7 both hold shard 0/4" "${s[@]}" "$d/bare7"
copy() { cp "$d/p4.2" "$d/bad"; rm -f "$d/bad.shard.json"; } # without its note, so that the content alone must tell
others=("${s[0]}" "${s[1]}" "${s[3]}")
copy; sed -i '$d' "$d/bad"
refused "a shard cut at a line's end" "bad: is cut: it ends before \"synth-dev-000030\", 15 records of shard 2/4 are there" "${others[@]}" "$d/bad"
copy; truncate -s -5 "$d/bad"
refused "a shard cut within a line" "bad:16: the line has no end: the file is cut" "${others[@]}" "$d/bad"
copy; : > "$d/bad"
refused "an empty shard" "shard 2/4 is missing" "${others[@]}" "$d/bad"
copy; sed -i '1d' "$d/bad"
refused "a shard without its first line" "bad: begins with \"synth-train-000006\", record 6, but of 4 shards each begins among the first 4" "${others[@]}" "$d/bad"
copy; sed -i '3d' "$d/bad"
refused "a line is missing" "bad:3: answers \"synth-train-000014\", but the next record of shard 2/4 is \"synth-train-000010\"" "${others[@]}" "$d/bad"
copy; sed -i '3p' "$d/bad"
refused "a line twice" "bad:4: \"synth-train-000010\" is answered in the line before already" "${others[@]}" "$d/bad"
copy; sed -i 's/synth-train-000002/somebody/' "$d/bad"
refused "a stranger" "bad:1: the id \"somebody\" is not in .*all.jsonl" "${others[@]}" "$d/bad"
copy; sed -i '1s/"tokens": \["/&x/' "$d/bad"
refused "other words" "bad:1: the words of \"synth-train-000002\" are not those in" "${others[@]}" "$d/bad"

# Notes: without one only a warning; with one, what the lines cannot tell.
copy
check "a shard without a note" 0 "" "there is no .*bad.shard.json" "${merge[@]}" --out "$d/merged" "${others[@]}" "$d/bad"
cmp -s "$d/whole" "$d/merged" || fail "without a note: other bytes"
copy; sed 's/"count": 4/"count": 5/' "$d/p4.2.shard.json" > "$d/bad.shard.json"
refused "a note of another division" "bad: is shard 2/5, but others are of 4 shards" "${others[@]}" "$d/bad"
copy; sed 's/"index": 2/"index": 1/' "$d/p4.2.shard.json" > "$d/bad.shard.json"
refused "a note of another shard" "holds shard 2/4, but its note says 1/4" "${others[@]}" "$d/bad"
copy; cp "$d/p4.2.shard.json" "$d/bad.shard.json"; sed -i 's/"entities": \[{.*/"entities": []}/' "$d/bad"
refused "a file changed behind its note" "bad: is not the file that .*bad.shard.json describes" "${others[@]}" "$d/bad"
copy; echo '{"gmner_shard": 2}' > "$d/bad.shard.json"
refused "a note of another version" "bad.shard.json: is no note of a shard that this version knows" "${others[@]}" "$d/bad"
train "$d/model2" 2
"$program" predict --model "$d/model2" --in "$d/all.jsonl" --samples 3 --shard 2/4 --out "$d/bad" --log-level error
refused "two models" "p4.0 and .*bad come from different models" "${others[@]}" "$d/bad"
"$program" predict --model "$d/model" --in "$d/all.jsonl" --samples 4 --shard 2/4 --out "$d/bad" --log-level error
refused "two settings" "3 samples of heads.* 4 samples of heads" "${others[@]}" "$d/bad"

check "no shard" 2 "" "no shard is named" "${merge[@]}"
check "no records" 2 "" "--records is missing" "$program" merge "${s[@]}"

# --out: whole or not at all.
check "predict with a bad line" 1 "" ":32: " "$program" predict --model "$d/model" --in <(head -n 31 "$d/all.jsonl"; echo '{') --out "$d/half" --log-level error
[ ! -e "$d/half" ] && [ ! -e "$d/half.part" ] || fail "half of the predictions were left under --out"
if [ -e /dev/full ]; then
    check "predict into a full disk" 1 "" "No space left on device" "$program" predict --model "$d/model" --in "$d/all.jsonl" --out /dev/full --log-level error
    check "merge into a full disk" 1 "" "No space left on device" "${merge[@]}" --out /dev/full "${s[@]}"
fi
check "a folder that is not there" 1 "" "none/merged.*No such file" "${merge[@]}" --out "$d/none/merged" "${s[@]}"

done_checking
