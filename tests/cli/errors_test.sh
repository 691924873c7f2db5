# Each bad input of docs/errors.md, "What stops a command": provoked here, its message compared with the page's own row.
# A row that nothing provokes, or a case without a row, is a failure.
#
# The read-only folder and the full disk are small file systems in memory where mounting is allowed (root with
# CAP_SYS_ADMIN); elsewhere those two rows are left out with a note, and the file-size limit and the folder below a file,
# which need no rights, stand for them.
. tests/cli/lib.sh "$1"

page=docs/errors.md
rows=$(sed -n '/^# What stops a command/,/^# safetensors/s/^| \(.*\) | `\(.*\)` |$/\1\t\2/p' "$page")
[ -n "$rows" ] || fail "$page has no table of situations"
provoked=$scratch/provoked
: > "$provoked"

# stops "situation" COMMAND...: exit code 1 (2 for wrong usage), the row's message on stderr, nothing on stdout.
stops() {
    local situation=$1 code=1 message
    shift
    message=$(awk -F '\t' -v s="$situation" '$1 == s { print $2 }' <<< "$rows")
    [ -n "$message" ] || { fail "$page has no row \"$situation\""; return; }
    echo "$situation" >> "$provoked"
    case $situation in "wrong usage"*) code=2 ;; esac
    message=$(sed -e 's/[][\.*^$+?(){}|/]/\\&/g' -e 's/\\\.\\\.\\\./.*/g' -e 's/\\\//\//g' <<< "$message")
    check "$situation" $code "" "$message" "$@"
    [ "$(wc -l < "$scratch/err")" -eq "$code" ] || fail "$situation: more on stderr than its message: $(cat "$scratch/err")"
}

d=$scratch/data
mkdir "$d"
"$program" synth --out "$d/train.jsonl" --count 24 --log-level error
"$program" synth --out "$d/dev.jsonl" --count 8 --split dev --log-level error
train=("$program" train --log-level error --set encoder=tiny --set train.batch=6 --set train.epochs=1 --set train.save_every=2)
good=("${train[@]}" --set data.train="$d/train.jsonl")
run=$scratch/run
check "a good run" 0 "" "" "${good[@]}" --set train.max_steps=2 --out "$run"
sums() { (cd "$1" && sha256sum last/*); }
before=$(sums "$run")
new=$scratch/new # no failing command may leave a checkpoint here

# The encoder.
encoder() { # encoder NAME: a copy of a good one
    mkdir "$d/$1"
    cp "$run/last/config.json" "$run/last/vocab.txt" "$run/last/model.safetensors" "$d/$1/"
}
with() { echo "$program" train --log-level error --set train.epochs=1 --set data.train="$d/train.jsonl" --out "$new" --set encoder="$d/$1"; }
stops "the encoder's folder is missing" $(with none)
encoder missing && rm "$d/missing/model.safetensors"
stops "the encoder has no model.safetensors" $(with missing)
encoder cut && truncate -s 300000 "$d/cut/model.safetensors"
stops "model.safetensors is cut short" $(with cut)
encoder empty && : > "$d/empty/model.safetensors"
stops "model.safetensors is empty" $(with empty)
encoder shape && sed -i 's/"intermediate_size": 256/"intermediate_size": 128/' "$d/shape/config.json"
stops "a tensor has the wrong shape" $(with shape)
encoder layers && sed -i 's/"num_hidden_layers": 2/"num_hidden_layers": 3/' "$d/layers/config.json"
stops "a tensor is missing" $(with layers)
encoder nan # the last four bytes of the data belong to some tensor
printf '\000\000\300\177' | dd of="$d/nan/model.safetensors" bs=1 seek=$(($(stat -c %s "$d/nan/model.safetensors") - 4)) conv=notrunc status=none
cp "$run/last/gmner.json" "$d/nan/" # as a model of ours, whose every tensor is read
stops "a tensor holds what is no number" "$program" predict --model "$d/nan" --in "$d/train.jsonl" --log-level error
encoder kind && sed -i 's/"model_type": "bert"/"model_type": "t5"/' "$d/kind/config.json"
stops "the encoder is of no known family" $(with kind)

# The data.
sed '3s/"tokens": \["/&\xff/' "$d/train.jsonl" > "$d/bad.jsonl"
stops "bad UTF-8 in records" "${train[@]}" --set data.train="$d/bad.jsonl" --out "$new"
stops "bad UTF-8 in records" "$program" eval --gold "$d/bad.jsonl" --pred "$d/train.jsonl"
tagged=("${train[@]}" --set data.format=twitter-gmner --out "$new")
printf 'IMGID:1\na\tO\n\xffb\tO\n\n' > "$d/bad.txt"
stops "bad UTF-8 in a tagged text" "${tagged[@]}" --set data.train="$d/bad.txt"
printf 'IMGID:1\na\tO\nb\tB-FOO\n\n' > "$d/tag.txt"
stops "an unknown tag" "${tagged[@]}" --set data.train="$d/tag.txt"
stops "an unknown tag" "$program" import twitter-gmner --text "$d/tag.txt"
printf 'IMGID:1\na\tO\nb\n\n' > "$d/line.txt"
stops "a line without a tag" "$program" import twitter-gmner --text "$d/line.txt"
sed 's/"type": "PER"/"type": "GOD"/' "$d/dev.jsonl" > "$d/type.jsonl"
stops "a type that the model does not know" "${good[@]}" --set data.dev="$d/type.jsonl" --out "$new"
sed '5s/train-000004/train-000003/' "$d/train.jsonl" > "$d/twice.jsonl"
stops "an id twice" "${train[@]}" --set data.train="$d/twice.jsonl" --out "$new"
stops "an id twice" "$program" eval --gold "$d/train.jsonl" --pred "$d/twice.jsonl"
: > "$scratch/empty"
stops "an empty file of records" "${train[@]}" --set data.train="$scratch/empty" --out "$new"
stops "an empty tagged text" "${tagged[@]}" --set data.train="$scratch/empty"
stops "a data file is missing" "${train[@]}" --set data.train="$d/none.jsonl" --out "$new"
stops "no data file is named" "${train[@]}" --out "$new"

printf '{"1": {"text": "The Hessen left."}}' > "$d/text.json"
printf '{"2": []}' > "$d/entity.json"
stops "entities of a sample that has no text" "$program" import ccks-json --text "$d/text.json" --entities "$d/entity.json"
printf '{"1": [{"name": "Hessen", "label": "vessel", "bnd": {"xmin": 5, "ymin": 0, "xmax": 5, "ymax": 9}}]}' > "$d/entity.json"
stops "entities by name with a box that is none" "$program" import ccks-json --text "$d/text.json" --entities "$d/entity.json"
echo '{"id": "x", "tokens": ["a", "b"], "entities": [{"start": 0, "end": 1, "type": "PER", "boxes": []}, {"start": 1, "end": 1, "type": "LOC", "boxes": []}]}' > "$d/shared.jsonl"
stops "export of tags for entities that share words" "$program" export conll --in "$d/shared.jsonl"

# Pictures and proposals.
regions=("$program" regions --in "$d/train.jsonl" --out "$scratch/regions" --log-level error)
stops "there is no folder of pictures" "${regions[@]}" --images "$d/none"
stops "proposals of no known kind" "${regions[@]}" --proposals "$d/none.json"
mkdir "$d/npz"
stops "a folder of proposals without any" "${regions[@]}" --proposals "$d/npz"
printf '{"image": "a.jpg", "boxes": []}\n{"image": "b.jpg", "boxes": [[1, 2, 3]]}\n' > "$d/line.jsonl"
stops "a line of proposals is wrong" "${regions[@]}" --proposals "$d/line.jsonl"
printf '{"image": "a.jpg", "boxes": []}\n{"image": "a.jpg", "boxes": []}\n' > "$d/both.jsonl"
stops "a picture twice in the proposals" "${regions[@]}" --proposals "$d/both.jsonl"
stops "wrong usage: a number of regions out of range" "${regions[@]}" --max 0

# The configuration.
stops "an unknown key on the command line" "${good[@]}" --set trian.lr=1 --out "$new"
printf '{\n"train": {"epoch": 1}}' > "$d/key.json"
stops "an unknown key in a file" "${good[@]}" --config "$d/key.json" --out "$new"
printf '{"train": {"lr": 1, "lr": 0.5}}' > "$d/twice.json"
stops "a key twice in a file" "${good[@]}" --config "$d/twice.json" --out "$new"
stops "a value out of its range" "${good[@]}" --set train.lr=7 --out "$new"
stops "a number with something behind it" "${good[@]}" --set train.epochs=12x --out "$new"

# Resuming. The run stands behind step 2 of 4.
stops "a run resumed with another configuration" "${good[@]}" --set train.lr=2e-3 --out "$run" --resume
mkdir "$run.data" && cp -R "$run/." "$run.data/"
cp "$d/train.jsonl" "$d/kept.jsonl"
sed -i '1s/"tokens": \["/&x/' "$d/train.jsonl"
stops "a run resumed with other data" "${good[@]}" --out "$run.data" --resume
mv "$d/kept.jsonl" "$d/train.jsonl"
rm "$run.data/run.json"
stops "checkpoints without run.json" "${good[@]}" --out "$run.data" --resume
stops "checkpoints without run.json" "${good[@]}" --out "$run.data"

# The disk. Nothing half written, the last checkpoint whole, and the run goes on once there is room.
whole=$scratch/whole
check "an uninterrupted run" 0 "" "" "${good[@]}" --out "$whole"
goes_on() { # goes_on "what" FOLDER: after a failure
    [ "$(sums "$2")" = "$before" ] || fail "$1: the last checkpoint was changed"
    [ -z "$(find "$2" -name '*.part')" ] || fail "$1: left $(find "$2" -name '*.part')"
    check "$1: resumed" 0 "" "" "${good[@]}" --out "$2" --resume
    [ "$(sums "$2")" = "$(sums "$whole")" ] || fail "$1: the resumed run differs from an uninterrupted one"
}
: > "$scratch/file"
stops "the output folder cannot be made" "${good[@]}" --out "$scratch/file/run"
mkdir "$run.limit" && cp -R "$run/." "$run.limit/"
limited() { (ulimit -f 1000; exec "$@"); } # kilobytes: enough for the weights, too little for the moments
stops "a file would be larger than the limit" limited "${good[@]}" --out "$run.limit" --resume
goes_on "a file would be larger than the limit" "$run.limit"
small=$scratch/small
mkdir "$small"
if mount -t tmpfs -o size=4m none "$small" 2> /dev/null; then
    trap 'umount -l "$small" 2> /dev/null; rm -rf "$scratch"' EXIT
    cp -R "$run" "$small/run"
    stops "the disk is full" "${good[@]}" --out "$small/run" --resume
    mount -o remount,size=16m "$small"
    mount -o remount,ro "$small"
    stops "the output folder is read-only" "${good[@]}" --out "$small/run" --resume
    stops "the output folder is read-only" "${good[@]}" --out "$small/new"
    mount -o remount,rw "$small"
    goes_on "the disk is full" "$small/run"
    umount "$small"
else
    echo "note: no file system can be mounted here: a full disk and a read-only one were not provoked"
    printf '%s\n' "the disk is full" "the output folder is read-only" >> "$provoked"
fi

# A row of a weight that overflows: the weights file is good, the sum is not. Of a table of equal rows every sentence has one.
encoder huge
python3 - "$d/huge/model.safetensors" << 'PY' || fail "the weights could not be poisoned"
import json, struct, sys
with open(sys.argv[1], "r+b") as f:
    size = struct.unpack("<Q", f.read(8))[0]
    begin, end = json.loads(f.read(size))["embeddings.word_embeddings.weight"]["data_offsets"]
    f.seek(8 + size + begin)
    f.write(struct.pack("<f", 3e38) * ((end - begin) // 4))
PY
stops "the loss is no number" $(with huge)
grep -q "synth-train-0000" "$scratch/err" || fail "the batch's ids are not named"

# Devices, predicting, scoring.
mkdir "$scratch/alone" && cp "$program" "$scratch/alone/gmner" # no module lies beside this one
alone=$scratch/alone/gmner
stops "--device cuda, the module is not built" "$alone" "${good[@]:1}" --device cuda --out "$new"
stops "--device cuda, the module is not built" "$alone" predict --model "$run/last" --in "$d/train.jsonl" --device cuda
stops "--device sim, the module is not built" "$alone" "${good[@]:1}" --device sim --out "$new"
stops "--device sim, the module is not built" "$alone" predict --model "$run/last" --in "$d/train.jsonl" --device sim
check "--device auto without a module" 0 "." "auto: the cpu \(.*\), because this build has no cuda module" \
    "$alone" predict --model "$run/last" --in "$d/dev.jsonl" --device auto
if [ -e "$(dirname "$program")/gmner-cuda.so" ] && [ ! -e /dev/nvidiactl ]; then
    stops "--device cuda, there is no GPU" "${good[@]}" --device cuda --out "$new"
    stops "--device cuda, there is no GPU" "$program" predict --model "$run/last" --in "$d/train.jsonl" --device cuda
else
    echo "note: the cuda module is not built, or there is a GPU: its absence was not provoked"
    echo "--device cuda, there is no GPU" >> "$provoked"
fi
if grep -q avx512bw /proc/cpuinfo; then
    echo "note: this processor has AVX-512: its absence was not provoked"
    echo "bf16 on a processor without AVX-512" >> "$provoked"
else
    stops "bf16 on a processor without AVX-512" "${good[@]}" --set precision=bf16 --out "$new"
    stops "bf16 on a processor without AVX-512" "$program" predict --model "$run/last" --in "$d/train.jsonl" --precision bf16
fi
cp -r "$run" "$scratch/gpu"
sed -i 's/"device": "cpu"/"device": "cuda"/' "$scratch/gpu/run.json"
stops "a run resumed on another device" "${good[@]}" --resume --out "$scratch/gpu"
stops "the model's folder holds no model" "$program" predict --model "$d" --in "$d/train.jsonl"
stops "predict gets nothing" "$program" predict --model "$run/last"
stops "predict gets nothing" "$program" predict --model "$run/last" --in "$scratch/empty"
stops "predictions of other sentences are scored" "$program" eval --gold "$d/train.jsonl" --pred "$d/dev.jsonl"
for i in 0 1 2; do "$program" predict --model "$run/last" --in "$d/dev.jsonl" --shard $i/3 --out "$d/part.$i" --log-level error; done
merge=("$program" merge --records "$d/dev.jsonl" --log-level error "$d/part.0" "$d/part.2")
stops "a shard is missing" "${merge[@]}"
sed '$d' "$d/part.1" > "$d/cut.1"
stops "a shard is cut" "${merge[@]}" "$d/cut.1"
stops "a shard twice" "${merge[@]}" "$d/part.1" "$d/part.1"
check "another model" 0 "" "" "$program" train --log-level error --set encoder=tiny --set train.epochs=1 --set data.train="$d/train.jsonl" --set seed=7 --out "$d/other"
"$program" predict --model "$d/other" --in "$d/dev.jsonl" --shard 1/3 --out "$d/other.1" --log-level error
stops "shards of two models" "${merge[@]}" "$d/other.1"
sed '1s/"tokens": \["/&x/' "$d/part.1" > "$d/text.1"
stops "a shard of other text" "${merge[@]}" "$d/text.1"
stops "wrong usage: no shard to merge" "$program" merge --records "$d/dev.jsonl"
plan=("$program" plan --model bert-base)
stops "a plan of pictures" "${plan[@]}" --hardware a100 --set vision=tiny
stops "a plan for a machine without bf16" "${plan[@]}" --hardware v100 --set precision=bf16
stops "wrong usage: a plan for an unknown machine" "${plan[@]}" --hardware abacus
stops "wrong usage: a plan of an unknown model" "$program" plan --model gpt --hardware a100
score=("$program" eval --gold "$d/train.jsonl")
sed 's/"type": "PER"/&, "uncertainty": {"span": -1}/' "$d/train.jsonl" | grep uncertainty > "$d/uncertain.jsonl"
stops "an uncertainty that is none" "${score[@]}" --pred "$d/uncertain.jsonl"
stops "predictions without anything to rank them by" "${score[@]}" --pred "$d/train.jsonl" --uncertainty
stops "thresholds of predictions without uncertainty" "${score[@]}" --pred "$d/train.jsonl" --thresholds
sed 's/"type": "PER"/&, "score": 0.5/' "$d/train.jsonl" > "$d/scored.jsonl"
stops "plots without gnuplot" env PATH=/nowhere "${score[@]}" --pred "$d/scored.jsonl" --plots "$scratch/plots"
[ -z "$(ls "$scratch/plots")" ] || fail "plots without gnuplot: left $(ls "$scratch/plots")"
stops "plots have nowhere to go" "${score[@]}" --pred "$d/scored.jsonl" --plots "$scratch/empty/plots"
# Refining.
sed 's/"type": "PER"/&, "uncertainty": {"span_norm": 0.9, "region_norm": 0.9}/' "$d/train.jsonl" | grep uncertainty > "$d/unsure.jsonl"
refine=("$program" refine --in "$d/unsure.jsonl" --out "$scratch/refined" --log-level error)
echo '{"url": "http://127.0.0.1:1/v1/chat/completions", "model": "m"}' > "$d/endpoint.json"
cp -r configs/prompts "$d/prompts" && sed -i 's/{entity}/{entety}/' "$d/prompts/span.txt"
stops "a prompt with a placeholder that is unknown" "${refine[@]}" --endpoint "$d/endpoint.json" --without-regions --prompts "$d/prompts"
echo '{"id": "1", "part": "span", "text": "x"}' > "$d/answers.jsonl"
stops "a recorded answer that is none" "${refine[@]}" --answers "$d/answers.jsonl"
python3 - "$d/unsure.jsonl" > "$d/both.jsonl" << 'PY'
import json, sys
r = json.loads(open(sys.argv[1]).readline())
e = r["entities"][0]
for text in "xy": print(json.dumps({"id": r["id"], "start": e["start"], "end": e["end"], "part": "span", "text": text}))
PY
stops "two recorded answers for one part" "${refine[@]}" --answers "$d/both.jsonl"
echo '{"span": 0.4}' > "$d/half.json"
stops "thresholds that lack a part" "${refine[@]}" --thresholds "$d/half.json"
stops "wrong usage: nobody corrects" "${refine[@]}"
stops "wrong usage: two correctors" "${refine[@]}" --endpoint "$d/endpoint.json" --answers "$d/answers.jsonl"
stops "wrong usage: regions without pictures" "${refine[@]}" --endpoint "$d/endpoint.json"
stops "wrong usage: a sweep that asks" "${refine[@]}" --endpoint "$d/endpoint.json" --sweep --gold "$d/train.jsonl"
stops "wrong usage: a score that is none" "${refine[@]}" --sweep --gold "$d/train.jsonl" --score f7
stops "wrong usage: a pair of types that is none" "${refine[@]}" --types person/,location
[ ! -e "$scratch/refined" ] || fail "a refinement that failed left $(ls "$scratch/refined")"
stops "wrong usage: an unknown evaluator" "${score[@]}" --pred "$d/train.jsonl" --compat sake
stops "wrong usage: bins that are none" "${score[@]}" --pred "$d/train.jsonl" --uncertainty --bins 0
stops "wrong usage: a negative cost" "${score[@]}" --pred "$d/train.jsonl" --thresholds --call-cost -1
ground=("$program" ground --in "$d/train.jsonl" --log-level error --out "$new")
printf '{"url": "http://127.0.0.1:1/v1/chat/completions", "model": "m"}\n' > "$d/endpoint.json"
stops "wrong usage: grounding without pictures" "${ground[@]}"
stops "wrong usage: nothing to show" "${ground[@]}" --images "$d"
stops "wrong usage: too much to show" "${ground[@]}" --images "$d" --k 33
ground+=(--images "$d" --samples "$d/dev.jsonl" --endpoint "$d/endpoint.json" --prompts configs/prompts)
stops "a folder of samples' pictures that is not there" "${ground[@]}" --samples-images "$d/none"
stops "the encoder that compares samples is not there" "${ground[@]}" --encoder "$d/none"
printf '{"url": "http://127.0.0.1:9/", "model": "m", "tries": 1, "give_up_after": 1}' > "$d/nobody.json" # nobody listens there
sed -E 's/"entities": ?\[.*\]/"entities": []/' "$d/train.jsonl" > "$d/bare.jsonl"
asked=("$program" synth --llm --log-level error --endpoint "$d/nobody.json" --out "$scratch/made")
stops "synth --llm: samples without types" "${asked[@]}" --in "$d/bare.jsonl"
stops "synth --llm: nothing is left for training" "${asked[@]}" --in "$d/train.jsonl"
stops "wrong usage: synth --llm with a number out of range" "${asked[@]}" --in "$d/train.jsonl" --sentences 0
stops "wrong usage: synth --llm without an endpoint" "$program" synth --llm --in "$d/train.jsonl" --out "$scratch/made"
full() { "$program" predict --model "$run/last" --in "$d/train.jsonl" --log-level error > /dev/full; }
if [ -e /dev/full ]; then
    full 2> "$scratch/err"
    [ $? -eq 1 ] || fail "predict into a full disk must end with 1"
    matches "predict into a full disk" "stdout: cannot be written: No space left on device" "$scratch/err"
fi
echo "predictions have nowhere to go" >> "$provoked"

stops "wrong usage: a folder that holds a run" "${good[@]}" --out "$run"
stops "wrong usage: no --out" "${good[@]}"
stops "wrong usage: an unknown option" "$program" predict --model "$run/last" --thread 2
stops "wrong usage: an unknown device" "${good[@]}" --device tpu --out "$new"
stops "wrong usage: a shard that is none" "$program" predict --model "$run/last" --shard 3/3
stops "wrong usage: a number that is none" "$program" predict --model "$run/last" --threads 2x

[ ! -e "$new/last" ] && [ ! -e "$new/best" ] || fail "a run that failed left a checkpoint"
[ "$(sums "$run")" = "$before" ] || fail "the run that others were copied from has changed"
while IFS=$'\t' read -r situation _; do
    grep -qxF -e "$situation" "$provoked" || fail "$page: nothing provokes \"$situation\""
done <<< "$rows"

done_checking
