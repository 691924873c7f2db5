# A model that sees pictures: trained, stopped and resumed to the same bits, with either head; what it answers depends on the
# sentence and its picture alone; a picture that is missing, broken or not to be had leaves its sentence to be read.
. tests/cli/lib.sh "$1"

d=$scratch
for set in train:48 dev:40; do
    "$program" synth --split "${set%:*}" --count "${set#*:}" --out "$d/${set%:*}.jsonl" --log-level error
    "$program" paint --in "$d/${set%:*}.jsonl" --out "$d/images" --log-level error
done
cat "$d/train.jsonl" >> "$d/dev.jsonl"
if ! "$program" predict --help | grep -q -- --images; then fail "predict knows no --images"; done_checking; fi
if "$program" paint --in "$d/dev.jsonl" --out "$d/probe" --log-level error 2>&1 | grep -q 'libpng-dev'; then echo "skipped: built without libpng"; exit 77; fi

train() {
    "$program" train --config configs/tiny.json --set data.format=records --set data.train="$d/train.jsonl" --set data.dev="$d/train.jsonl" \
        --set data.images="$d/images" --set vision=tiny --set region.max=6 --set region.debias=0.5 --set dropout=0.05 --set train.batch=4 --set train.lr=4e-3 --set train.head_lr=4e-3 --log-level error "$@"
}
sums() { (cd "$1" && sha256sum best/model.safetensors last/*); }

# Resumed and with other threads: the same files.
for head in span crf; do
    epochs=$([ $head = span ] && echo 12 || echo 2) # the tagger is not looked at below
    train --set head=$head --set train.epochs=$epochs --out "$d/$head" || fail "$head: training ended with $?"
    sums "$d/$head" > "$d/$head.sums"
    train --set head=$head --set train.epochs=$epochs --out "$d/$head-cut" --set threads=1 --set train.max_steps=13 || fail "$head: the cut run ended with $?"
    train --set head=$head --set train.epochs=$epochs --out "$d/$head-cut" --resume || fail "$head: the resumed run ended with $?"
    sums "$d/$head-cut" | diff - "$d/$head.sums" >&2 || fail "$head: a resumed run differs from a whole one"
done
grep -q '"gmner"' "$d/span/metrics.jsonl" || fail "metrics.jsonl says nothing of grounding"

predict() { "$program" predict --model "$d/span" --images "$d/images" --samples 5 --log-level error "$@"; }
predict --html "$d/page.html" < "$d/dev.jsonl" > "$d/whole" || fail "predict ended with $?"
grep -q '"region": ' "$d/whole" || fail "no uncertainty of a region was written"
grep -q '"region_score": ' "$d/whole" || fail "no score of a region was written"
grep -q 'data:image' "$d/page.html" || fail "the page shows no picture"

# The gold is not read, and what stands beside a sentence does not show.
sed 's/"entities": \[.*\]}$/"entities": []}/' "$d/dev.jsonl" > "$d/bare"
predict < "$d/bare" | cmp - "$d/whole" || fail "the gold shows in the answers"
tac "$d/dev.jsonl" | predict | tac > "$d/reversed"
predict --tokens 64 < "$d/dev.jsonl" > "$d/small"
predict --threads 1 < "$d/dev.jsonl" | cmp - "$d/whole" || fail "the number of threads shows"
while read -r line; do printf '%s\n' "$line"; sleep 0.01; done < "$d/dev.jsonl" | predict > "$d/slow"
cat > "$d/close.py" << 'END'
import json, sys


def same(a, b, path):
    if isinstance(a, float) or isinstance(b, float):
        assert abs(a - b) <= 1e-5, f"{path}: {a} and {b}"
    elif isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for k in a:
            same(a[k], b[k], f"{path}.{k}")
    elif isinstance(a, list):
        assert len(a) == len(b), path
        for i, (x, y) in enumerate(zip(a, b)):
            same(x, y, f"{path}[{i}]")
    else:
        assert a == b, f"{path}: {a} and {b}"


one, two = ([json.loads(line) for line in open(p, encoding="utf-8")] for p in sys.argv[1:3])
assert len(one) == len(two) > 0
for x, y in zip(one, two):
    same(x, y, x["id"])
END
for other in reversed small slow; do python3 "$d/close.py" "$d/whole" "$d/$other" || fail "answers differ: $other"; done

# Pictures that cannot be had.
names=$(sed -n 's/.*"image": "\([^"]*\)".*/\1/p' "$d/dev.jsonl")
first=$(printf '%s\n' $names | sed -n 1p) second=$(printf '%s\n' $names | sed -n 2p) third=$(printf '%s\n' $names | sed -n 3p)
cp -r "$d/images" "$d/worse"
rm "$d/worse/$first"
head -c 100 "$d/images/$second" > "$d/worse/$second"
sed "s#\"image\": \"$third\"#\"image\": \"../../images/$third\"#" "$d/dev.jsonl" > "$d/escape.jsonl"
"$program" predict --model "$d/span" --images "$d/worse" < "$d/escape.jsonl" > "$d/answers" 2> "$d/log" || fail "a missing picture ended predict"
[ "$(wc -l < "$d/answers")" -eq 88 ] || fail "sentences without pictures were lost"
for word in '1 missing' '2 broken' "${first%.*}" "${second%.*}" "${third%.*}"; do grep -q -- "$word" "$d/log" || fail "the log does not say $word"; done

# What must be given, and what must fit.
check "no folder of pictures" 1 "" '--images' "$program" predict --model "$d/span" --in "$d/dev.jsonl"
check "features without files" 1 "" 'data.regions' "$program" train --config configs/tiny.json --set vision=features --out "$d/none"
check "a vision encoder that is not there" 1 "" 'no folder' "$program" train --config configs/tiny.json --set vision="$d/nowhere" --set data.images="$d/images" --out "$d/none"
[ ! -e "$d/none" ] || fail "a run that could not begin left a folder"
done_checking
