# gmner paint: one file a picture, the same bytes whatever the threads and the order, and nothing outside the folder.
. tests/cli/lib.sh "$1"

work=$scratch/work
mkdir "$work"
"$program" synth --out "$work/tweets.jsonl" --count 60 --seed 5 2> /dev/null || fail "synth"
"$program" paint --in "$work/tweets.jsonl" --out "$work/first" 2> "$scratch/err"
code=$?
if [ "$code" -eq 1 ] && grep -q "lacks" "$scratch/err"; then echo "skipped: $(tail -n 1 "$scratch/err")"; exit 77; fi
[ "$code" -eq 0 ] || fail "paint: exit code $code: $(cat "$scratch/err")"
matches "paint says what it drew" "drawn images in .*first with [0-9]+ objects" "$scratch/err"

# Each record that names an image has its file, and no other file is there.
sed -n 's/.*"image": "\([^"]*\)".*/\1/p' "$work/tweets.jsonl" | sort > "$work/wanted"
ls "$work/first" | sort > "$work/found"
cmp -s "$work/wanted" "$work/found" || fail "the files are not the records' images: $(diff "$work/wanted" "$work/found" | head -n 3)"
[ -s "$work/wanted" ] || fail "no record names an image"
for name in $(head -n 3 "$work/wanted"); do
    [ "$(head -c 4 "$work/first/$name" | tail -c 3)" = PNG ] || fail "$name is no PNG"
done

# The size in the file's header is the record's.
name=$(head -n 1 "$work/wanted")
size=$(od -An -tu1 -j16 -N8 "$work/first/$name" | awk '{ print "[" $3 * 256 + $4 ", " $7 * 256 + $8 "]" }')
grep -F "\"image\": \"$name\", \"size\": $size" "$work/tweets.jsonl" > /dev/null || fail "$name has the size $size, the record another"

"$program" paint --in "$work/tweets.jsonl" --out "$work/threads" --threads 4 2> /dev/null || fail "paint with threads"
diff -r "$work/first" "$work/threads" > /dev/null || fail "threads change a picture"
tac "$work/tweets.jsonl" | "$program" paint --in - --out "$work/tac" 2> /dev/null || fail "paint from stdin"
diff -r "$work/first" "$work/tac" > /dev/null || fail "the order of records changes a picture"
"$program" paint --in "$work/tweets.jsonl" --out "$work/seed" --seed 43 2> /dev/null || fail "paint with a seed"
diff -r "$work/first" "$work/seed" > /dev/null && fail "another seed gives the same pictures"

# Folders below are made; a picture that two records share is drawn once, with the objects of both.
printf '%s\n' '{"id":"1","tokens":["Emma"],"image":"sub/a.jpg","size":[80,60],"entities":[{"start":0,"end":0,"type":"PER","boxes":[[0,0,30,50]]}]}' \
    '{"id":"2","tokens":["Rome"],"image":"sub/a.jpg","size":[80,60],"entities":[{"start":0,"end":0,"type":"LOC","boxes":[[40,0,80,50]]}]}' \
    '{"id":"3","tokens":["Rome"],"image":"unknown.jpg","entities":[]}' > "$work/shared.jsonl"
check "shared" 0 "" "2 drawn images in .* with 2 objects; 0 records" "$program" paint --in "$work/shared.jsonl" --out "$work/shared"
matches "a picture without a size" "1 records give no size" "$scratch/err"
[ -s "$work/shared/sub/a.jpg" ] && [ -s "$work/shared/unknown.jpg" ] || fail "files of shared.jsonl"

# Whatever is wrong is found before anything is drawn, and named by the record's id.
refuse() {
    local what=$1 message=$2
    printf '%s\n' '{"id":"good","tokens":["a"],"image":"good.png","size":[9,9],"entities":[]}' "$3" > "$work/bad.jsonl"
    check "$what" 1 "" "$message" "$program" paint --in "$work/bad.jsonl" --out "$work/refused/pictures"
    [ ! -e "$work/refused" ] || fail "$what: something was written: $(find "$work/refused")"
}
record() { printf '{"id":"bad","tokens":["a"],"image":"%s","size":%s,"entities":[{"start":0,"end":0,"type":"PER","boxes":[%s]}]}' "$1" "$2" "$3"; }
refuse "a name that leaves the folder" 'record "bad": the image "../../x.png" would lie outside' "$(record ../../x.png '[9,9]' '')"
refuse "an absolute name" 'record "bad": the image "/tmp/x.png" would lie outside' "$(record /tmp/x.png '[9,9]' '')"
refuse "a name that is a folder" 'record "bad": the image "\.\." would lie outside' "$(record .. '[9,9]' '')"
refuse "a box outside" 'record "bad": the box 10 1 20 5 lies outside the picture of 9 x 9 pixels' "$(record x.png '[9,9]' '[10,1,20,5]')"
refuse "a reversed box" 'record "bad": the box 5 1 2 5 has no inside' "$(record x.png '[9,9]' '[5,1,2,5]')"
refuse "a bomb" 'record "bad": the size 30000 x 30000 is beyond the limits' "$(record x.png '[30000,30000]' '')"
refuse "two sizes" 'record "bad": good.png is 9 x 8 pixels, but record "good" has it with 9 x 9' "$(record good.png '[9,8]' '')"
printf '{"id":"1","tokens":["a"],"image":null,"entities":[]}\n' > "$work/none.jsonl"
check "no image at all" 1 "" "none of 1 records names an image" "$program" paint --in "$work/none.jsonl" --out "$work/none"
check "no input" 1 "" "missing.jsonl: cannot open" "$program" paint --in "$work/missing.jsonl" --out "$work/none"
check "no threads" 2 "" "--threads is 0; it lies between 1 and 1024" "$program" paint --in "$work/none.jsonl" --out "$work/none" --threads 0
touch "$work/file"
check "the folder is a file" 1 "" "work/file" "$program" paint --in "$work/shared.jsonl" --out "$work/file"
mkdir -p "$work/folder/unknown.jpg"
check "a picture's name is a folder's" 1 "" "record \"3\": .*unknown.jpg: cannot write: it is a folder" "$program" paint --in "$work/shared.jsonl" --out "$work/folder"
find "$work" -name '*.part' | grep -q . && fail "a part was left"

done_checking
