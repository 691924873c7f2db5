# gmner run: stages in their order, none done twice, none half; stopped and killed it goes on to the same files.
. tests/cli/lib.sh "$1"

d=$scratch
cat > "$d/tiny.json" <<'END'
{"about": "a tiny pipeline", "variables": {"epochs": "3", "count": "64"},
 "stages": [
  {"name": "train", "command": "synth", "options": {"out": "{out}/train.jsonl", "count": "{count}"}},
  {"name": "dev", "command": "synth", "options": {"out": "{out}/dev.jsonl", "count": 24, "split": "dev"}},
  {"name": "model", "command": "train", "options": {"config": "{out}/../train.json", "out": "{out}/model",
   "set": ["data.format=records", "data.train={out}/train.jsonl", "data.dev={out}/dev.jsonl", "train.epochs={epochs}", "train.save_every=2"]}},
  {"name": "predictions", "command": "predict", "options": {"model": "{out}/model", "in": "{out}/dev.jsonl"}, "to": "{out}/predictions.jsonl"},
  {"name": "scores", "command": "eval", "options": {"gold": "{out}/dev.jsonl", "pred": "{out}/predictions.jsonl", "json": true}, "to": "{out}/scores.json"}]}
END
echo '{"data": {"format": "records"}, "encoder": "tiny", "head": "span", "train": {"batch": 16, "lr": 1e-3, "head_lr": 1e-3}}' > "$d/train.json"
run=("$program" run "$d/tiny.json")
files() { (cd "$1" && sha256sum ./*.json* model/last/* model/best/*); }

"${run[@]}" --out "$d/whole" 2> "$d/err" || fail "the pipeline ended with $?: $(tail -n 3 "$d/err")"
matches "its end" "run: all 5 stages are done" "$d/err"
matches "the scores" '"mner": *\{"tp":' "$d/whole/scores.json"
files "$d/whole" > "$d/whole.sums"
find "$d/whole" -type f -printf '%p %T@\n' | grep -v lock | sort > "$d/times"
check "again" 0 "" "stage 5 of 5: scores is done" "${run[@]}" --out "$d/whole"
find "$d/whole" -type f -printf '%p %T@\n' | grep -v lock | sort | cmp -s - "$d/times" || fail "a pipeline that was done wrote files"

check "up to a stage" 0 "" "stage 2 of 5: dev" "${run[@]}" --out "$d/part" --until dev
[ ! -e "$d/part/model" ] || fail "--until dev went on to the model"
check "no such stage" 2 "" "no such stage" "${run[@]}" --out "$d/part" --until moon

# Stopped in the middle of training, and killed there: the files are those of the whole run.
stopped() { # NAME SIGNAL
    "${run[@]}" --out "$d/$1" 2> "$d/err" &
    local pid=$!
    until [ -e "$d/$1/model/last/state.json" ] || ! kill -0 $pid 2> /dev/null; do sleep 0.05; done
    kill "-$2" $pid
    wait $pid 2> /dev/null
    local got=$?
    [ $got -eq "$3" ] || [ $got -eq 0 ] || fail "$1: exit status $got, expected $3: $(tail -n 2 "$d/err")"
    for _ in $(seq 200); do flock -n "$d/$1/state/lock" true && break; sleep 0.05; done
    "${run[@]}" --out "$d/$1" 2> "$d/err" || fail "$1: going on ended with $?: $(tail -n 3 "$d/err")"
    files "$d/$1" | diff "$d/whole.sums" - > /dev/null || fail "$1: files differ from those of the whole run"
}
stopped stopped TERM 143
stopped killed KILL 137

check "other settings" 1 "" "model: .*was made by other settings or other data" "${run[@]}" --out "$d/whole" --set epochs=2
rm -rf "$d/whole/model"
check "their folder taken away" 0 "" "all 5 stages are done" "${run[@]}" --out "$d/whole" --set epochs=2
exec 9> "$d/whole/state/lock"; flock 9
check "two at once" 1 "" "another gmner run is at work in this folder" "${run[@]}" --out "$d/whole"
exec 9>&-

check "a stage that fails" 1 "" "stage train failed with exit status 2, and says why above" "${run[@]}" --out "$d/bad" --set count=many
matches "and why" "gmner synth: .*count" "$d/err"
bad() { echo "$2" > "$d/bad.json"; check "$1" 1 "" "bad.json: .*$3" "$program" run "$d/bad.json" --out "$d/x"; }
bad "no JSON" '{"stages": [' 'line|JSON|1:'
bad "no stages" '{"stages": []}' 'a list of "stages"'
bad "unknown key" '{"stages": [{"name": "a", "command": "synth", "option": {}}]}' 'unknown key "option"'
bad "no command" '{"stages": [{"name": "a"}]}' 'wants a "command"'
bad "a name with a slash" '{"stages": [{"name": "../a", "command": "synth"}]}' 'letters, digits'
bad "a name twice" '{"stages": [{"name": "a", "command": "synth"}, {"name": "a", "command": "synth"}]}' 'two stages are called "a"'
bad "unknown placeholder" '{"stages": [{"name": "a", "command": "synth", "options": {"out": "{moon}/x"}}]}' 'option "out": there is no variable \{moon\}'
bad "a variable that is no text" '{"variables": {"n": 3}, "stages": [{"name": "a", "command": "synth"}]}' 'variable "n" is no text'
bad "a value of another form" '{"stages": [{"name": "a", "command": "synth", "options": {"out": {"a": 1}}}]}' 'expected a text, a number, true or a list'
bad "a variable within itself" '{"variables": {"a": "{b}", "b": "{a}"}, "stages": [{"name": "a", "command": "synth", "options": {"out": "{a}"}}]}' 'do not end'
bad "unless_set without a variable" '{"stages": [{"name": "a", "command": "synth", "unless_set": "moon"}]}' '"unless_set" names no variable'
echo '{"variables": {"real": "{out}/drawn.jsonl"}, "stages": [{"name": "a", "unless_set": "real", "command": "synth", "options": {"out": "{real}", "count": 3}},
  {"name": "b", "command": "import", "words": ["records"], "options": {"text": "{real}"}, "to": "{out}/b.jsonl"}]}' > "$d/real.json"
check "a stand-in" 0 "" "stage 2 of 2: b" "$program" run "$d/real.json" --out "$d/stand-in"
check "the real thing" 0 "" "stage 1 of 1: b" "$program" run "$d/real.json" --out "$d/real" --set "real=$d/whole/dev.jsonl"
[ "$(wc -l < "$d/stand-in/b.jsonl") $(wc -l < "$d/real/b.jsonl")" = "3 24" ] || fail "the stand-in and the real thing were not told apart"
touch "$d/whole/dev.jsonl"
check "an input that only looks older" 0 "" "stage 1 of 1: b is done" "$program" run "$d/real.json" --out "$d/real" --set "real=$d/whole/dev.jsonl"
head -n 5 "$d/whole/dev.jsonl" > "$d/five.jsonl" && mv "$d/five.jsonl" "$d/whole/dev.jsonl"
check "another input" 0 "" "stage 1 of 1: b$" "$program" run "$d/real.json" --out "$d/real" --set "real=$d/whole/dev.jsonl"
[ "$(wc -l < "$d/real/b.jsonl")" = 5 ] || fail "an input that changed was not read again"
check "unknown variable" 2 "" "no variable of this name" "${run[@]}" --out "$d/x" --set moon=1
check "no value" 2 "" "expected NAME=VALUE" "${run[@]}" --out "$d/x" --set epochs
check "no pipeline" 2 "" "expected a pipeline" "$program" run --out "$d/x"

done_checking
