# gmner page: what the page shows, read from the DOM that Chromium makes of it. Without Chromium the page is only checked to
# be well-formed and to hold its texts, and the test says that it was skipped.
. tests/cli/lib.sh "$1"

browser=
for name in chromium chromium-browser google-chrome; do
    if command -v "$name" > /dev/null; then browser=$name; break; fi
done
dom() {
    timeout 120 "$browser" --headless=new --no-sandbox --disable-gpu --disable-dev-shm-usage --no-first-run --user-data-dir="$scratch/profile" \
        --dump-dom "file://$1" 2> "$scratch/browser"
}
# well_formed FILE: by xmllint or python3, whichever is there.
well_formed() {
    if command -v xmllint > /dev/null; then xmllint --noout --nonet "$1" 2> "$scratch/err"
    elif command -v python3 > /dev/null; then python3 -c 'import sys, xml.dom.minidom; xml.dom.minidom.parse(sys.argv[1])' "$1" 2> "$scratch/err"
    else return 0
    fi || fail "$1 is not well-formed: $(tail -n 2 "$scratch/err")"
}

work=$scratch/work
mkdir "$work"
# A tweet with all that a page must not take for its own, two entities with boxes, one without, and doubts.
cat > "$work/gold.jsonl" << 'END'
{"id":"a<b>&\"c\"","tokens":["<script>document.title='gone'</script>","Emma","O'Hare","&amp;","\"quoted\"","😀","مرحبا","</article>","Acme","in","Paris"],"image":"pictures/one.png","size":[300,200],"entities":[{"start":1,"end":2,"type":"PER","boxes":[[10,20,110,180]]},{"start":8,"end":8,"type":"ORG","boxes":[[150,40,290,160]]},{"start":10,"end":10,"type":"LOC","boxes":[]}]}
{"id":"plain","tokens":["no","name","here"],"image":null,"entities":[]}
{"id":"lost","tokens":["Rome","again"],"image":"two.png","size":[90,90],"entities":[{"start":0,"end":0,"type":"LOC","boxes":[[5,5,80,80]]}]}
END
cat > "$work/pred.jsonl" << 'END'
{"id":"a<b>&\"c\"","tokens":["<script>document.title='gone'</script>","Emma","O'Hare","&amp;","\"quoted\"","😀","مرحبا","</article>","Acme","in","Paris"],"image":"pictures/one.png","size":[300,200],"entities":[{"start":1,"end":2,"type":"PER","boxes":[[12,22,112,182]],"score":0.91,"region_score":0.83,"uncertainty":{"span":0.1,"type":0.2,"region":0.9,"span_norm":0.15,"type_norm":0.2,"region_norm":0.65}},{"start":8,"end":8,"type":"LOC","boxes":[[150,40,290,160]],"score":0.55},{"start":10,"end":10,"type":"LOC","boxes":[],"score":0.97}]}
{"id":"plain","tokens":["no","name","here"],"image":null,"entities":[]}
{"id":"lost","tokens":["Rome","again"],"image":"two.png","size":[90,90],"entities":[]}
END
"$program" paint --in "$work/gold.jsonl" --out "$work/images" 2> "$scratch/err"
code=$?
if [ "$code" -eq 1 ] && grep -q "lacks" "$scratch/err"; then echo "skipped: $(tail -n 1 "$scratch/err")"; exit 77; fi
[ "$code" -eq 0 ] || fail "paint: $(cat "$scratch/err")"
rm "$work/images/two.png"
check "page" 0 "" "" "$program" page --pred "$work/pred.jsonl" --gold "$work/gold.jsonl" --images "$work/images" --out "$work/page.html" \
    --note "drawn images & invented predictions"
well_formed "$work/page.html"
check "page on stdout" 0 "^<!DOCTYPE html>" "" "$program" page --pred "$work/pred.jsonl" --out -
cp "$scratch/out" "$work/bare.html"
well_formed "$work/bare.html"
grep -q "MNER" "$work/bare.html" && fail "a page without gold shows scores"
grep -q "<script" "$work/page.html" && fail "the page has a script"
grep -Eq "(src|href)=\"[^d\"]" "$work/page.html" && fail "the page points to something outside itself"

# shows WHAT PATTERN: how often a text stands in the page, or in what the browser made of it.
shows() { [ "$(grep -oF -- "$2" "$work/dom" | wc -l)" -eq "$3" ] || fail "$1: \"$2\" stands there $(grep -oF -- "$2" "$work/dom" | wc -l) times, not $3"; }
if [ -n "$browser" ]; then
    dom "$work/page.html" > "$work/dom" || fail "$browser: $(tail -n 3 "$scratch/browser")"
    shows "no script became one" "<script" 0
    shows "the title stayed" "<title>Predictions</title>" 1
    shows "the page ends where it should" "</article>" 3
    shows "the text is text" "&lt;script&gt;document.title='gone'&lt;/script&gt;" 2
    shows "quotes, ampersands, emoji and Arabic" '&amp;amp; "quoted" 😀 مرحبا &lt;/article&gt;' 2
    shows "a name with an apostrophe" '<mark class="t2" data-type="PER">Emma O'\''Hare</mark>' 2
    shows "the id" '<h2>a&lt;b&gt;&amp;"c"</h2>' 1
    shows "a predicted box" '<rect x="12" y="22" width="100" height="160">' 1
    shows "its gold box" '<rect x="10" y="20" width="100" height="160">' 1
    shows "predicted boxes" '<g class="box t' 2
    shows "gold boxes" '<g class="gold t' 3
    shows "boxes lie in the picture's own pixels" 'viewBox="0 0 300 200"' 1
    shows "embedded pictures" 'href="data:image/' 1
    shows "a picture that is gone" "two.png: cannot open" 1
    shows "a record without picture" "no picture: the record names none" 1
    shows "bars" 'style="width:65.0%"' 1
    shows "scores" "<td>0.91</td>" 1
    shows "right" '<td class="right">right</td>' 2
    shows "wrong" '<td class="wrong">type is ORG</td>' 1
    shows "missed" '<td class="wrong">missed</td>' 1
    shows "MNER" '<dt>MNER F1</dt><dd>57.14</dd>' 1
    shows "samples" '<dt>samples</dt><dd>3</dd>' 1
    shows "the note" 'drawn images &amp; invented predictions' 1
    shows "the legend" '<span class="type t1">ORG</span>' 1
fi

check "the first sample only" 0 "" "" "$program" page --pred "$work/pred.jsonl" --out "$work/first.html" --html-limit 1
[ "$(grep -c '<article' "$work/first.html")" -eq 1 ] || fail "--html-limit 1 shows other than one sample"
printf '{"id":"other","tokens":["a"],"entities":[]}\n' > "$work/other.jsonl"
check "predictions of other sentences" 1 "" "the id \"other\" is not in the gold file" \
    "$program" page --pred "$work/other.jsonl" --gold "$work/gold.jsonl" --out "$work/none.html"
[ ! -e "$work/none.html" ] || fail "a refused page was written"
check "a limit that is none" 2 "" "--html-limit is -1" "$program" page --pred "$work/pred.jsonl" --out "$work/none.html" --html-limit -1
check "no predictions" 2 "" "--pred" "$program" page --out "$work/none.html"

if [ "$failures" -eq 0 ] && [ -z "$browser" ]; then
    echo "skipped: no Chromium here to read the page's DOM (Debian: chromium); the rest passed"
    exit 77
fi
done_checking
