# gmner regions: what becomes of good, missing, broken and badly named pictures, and what the proposals reach.
. tests/cli/lib.sh "$1"

golden=tests/golden/images
pictures=$scratch/pictures
mkdir "$pictures"
cp $golden/rgb420.jpg "$pictures/good.jpg"
head -c 700 $golden/rgb420.jpg > "$pictures/cut.jpg"
cp $golden/rgb.png "$scratch/outside.png"
record() { # record ID IMAGE BOX
    printf '{"id": "%s", "tokens": ["a", "b"], "image": %s, "size": [45, 37], "entities": [{"start": 0, "end": 0, "type": "PER", "boxes": [%s]}, {"start": 1, "end": 1, "type": "LOC", "boxes": []}]}\n' "$1" "$2" "$3"
}
{
    record 1 '"good.jpg"' '[0, 0, 45, 37]'
    record 2 '"good.jpg"' '[0, 0, 1, 1]'
    record 3 '"cut.jpg"' '[0, 0, 45, 37]'
    record 4 '"../outside.png"' '[0, 0, 45, 37]'
    record 5 '"../../x"' '[0, 0, 45, 37]'
    record 6 '"none.jpg"' '[0, 0, 45, 37]'
    record 7 null ''
} > "$scratch/records.jsonl"

if "$program" regions --in "$scratch/records.jsonl" --images "$pictures" --out "$scratch/regions" 2>&1 | grep -q 'which this build lacks'; then
    echo "this build lacks libpng or libjpeg-turbo"
    exit 77
fi
look=("$program" regions --in "$scratch/records.jsonl" --out "$scratch/regions" --max 5)
check "the counts" 0 '"records":7,"found":2,"missing":1,"broken":3,"no_proposals":0,"none":1,"other_size":0,"boxes":10,"dropped":0,' \
    '5: "../../x" is no name of a picture inside the folder; it goes on as text only' "${look[@]}" --images "$pictures" --json
check "the recall" 0 '"PER":\{"entities":6,"with_regions":2,"covered":1,"recall":0.166667\},"all"' \
    '3: .*cut.jpg: is a JPEG that ends before its pixels do' "${look[@]}" --images "$pictures" --json
check "a table" 0 '^PER +6 +2 +1 +0.1667 +0.5000$' 'warn images: 6: .*none.jpg: there is no such file' "${look[@]}" --images "$pictures"
[ "$(wc -l < "$scratch/regions/proposals.jsonl")" -eq 1 ] || fail "one line a picture: $(cat "$scratch/regions/proposals.jsonl")"
[ "$(ls "$scratch/regions")" = proposals.jsonl ] || fail "the output folder holds $(ls "$scratch/regions")"
cp "$scratch/regions/proposals.jsonl" "$scratch/boxes.jsonl"
check "its own proposals" 0 '"found":2,.*"boxes":10,' '' "${look[@]}" --images "$pictures" --proposals "$scratch/boxes.jsonl" --json --log-level error
cmp -s "$scratch/boxes.jsonl" "$scratch/regions/proposals.jsonl" || fail "proposals that are read back are others"
mkdir "$scratch/npz"
cp $golden/stored.npz "$scratch/npz/good.jpg.npz"
check "the authors' files" 0 '"found":2,.*"no_proposals":2,' 'warn images: 6: .*none.jpg.npz: there is no such file' "${look[@]}" --proposals "$scratch/npz" --json
check "without pictures the records tell the size" 0 '"found":4,"missing":0,"broken":2,' '5: "../../x"' "${look[@]}" --json
done_checking
