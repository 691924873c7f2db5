# The stand-ins of tests/gpu/standin serve the whole program and the operations' tests: built with all of them, gmner trains some
# steps, resumes and reads its own files, and a test of an operation passes. A GPU machine is no place to learn that they lag behind.
#
#   standins.sh FOLDER      an empty or earlier build folder
set -eu
folder=$1
fail() { echo "FAILED: $*" >&2; exit 1; }
generator=()
if [ ! -f "$folder/CMakeCache.txt" ] && command -v ninja > /dev/null; then generator=(-G Ninja); fi
mkdir -p "$folder"
{ cmake -S . -B "$folder" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release -DGM_STANDINS=ALL -DGM_TESTS=ON && cmake --build "$folder" --target gmner gather_test; } \
    > "$folder/build.log" 2>&1 || { grep -E -A3 'error|FAILED' "$folder/build.log" | head -n 20; fail "does not build: $folder/build.log"; }
for name in cjson utf8proc dnnl cmocka; do grep -q "$name is stood in for" "$folder/build.log" || fail "$name is not stood in for"; done
"$folder/gather_test" > "$folder/gather.log" 2>&1 || fail "gather_test: $folder/gather.log"
rm -rf "$folder/run"
train() { "$folder/gmner" train --config configs/tiny.json --out "$folder/run" --device cpu "$@" > "$folder/train.log" 2>&1 || fail "gmner train: $(tail -n 2 "$folder/train.log")"; }
train --set train.max_steps=4
train --resume --set train.max_steps=6
grep -q '"step":5,' "$folder/run/metrics.jsonl" || fail "no fifth step in $folder/run/metrics.jsonl"
