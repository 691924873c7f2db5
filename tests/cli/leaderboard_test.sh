# tools/leaderboard from files in the authors' form to the table, on a set of one's own making: rows for each evaluator beside the
# published ones, mean and deviation over seeds, and a second call that finds all done and changes nothing.
. tests/cli/lib.sh "$1"

command -v python3 > /dev/null || exit 77
d=$scratch
mkdir -p "$d/set/xml"
sentences() { # N FIRST-ID
    local i
    for ((i = 0; i < $1; i++)); do
        printf 'IMGID:%d\nAnn\tB-PER\nLee\tI-PER\nsings\tO\nin\tO\n%s\tB-LOC\n\n' $(($2 + i)) "$([ $((i % 2)) = 0 ] && echo Oslo || echo Rome)"
    done
}
sentences 40 100 > "$d/set/train.txt"
sentences 9 500 > "$d/set/dev.txt"
run() {
    tools/leaderboard configs/leaderboard/twitter-gmner.json "$d/board" --gmner "$program" --key root="$d/set" --key score=dev.txt --key select= --key paint= \
        --key seeds=1,2 --set encoder=tiny --set vision=none --set train.epochs=15 --set train.batch=4 --set train.lr=4e-3 --set train.head_lr=1e-2 --set shape=none "$@"
}
check "the job" 0 '^\| \*\*this run\*\* \| docs/evaluation.md \| [0-9.]+ ± [0-9.]+ \| 100.00 ± 0.00 \|' "leaderboard: " run
table=$d/board/twitter-gmner/table.md
matches "as UnCo counts" '^\| \*\*this run\*\* \| as unco \|' "$table"
matches "the published rows" '^\| MQSPN \| MQSPN \| 58.76 \| 80.43 \| 62.40 \|' "$table"
matches "what was changed" 'seeds 1, 2, scored on dev.txt, with encoder=tiny' "$table"
for seed in 1 2; do
    [ "$(wc -l < "$d/board/twitter-gmner/seed-$seed/predictions.jsonl")" -eq 9 ] || fail "seed $seed: no whole predictions"
done
before=$(cd "$d/board" && find . -type f -exec sha256sum {} + | sort)
run > "$d/again" 2> "$d/err" || fail "the second call"
cmp "$d/again" "$table" || fail "the second call prints another table"
[ "$before" = "$(cd "$d/board" && find . -type f -exec sha256sum {} + | sort)" ] || fail "the second call changed files"
! grep -q "$program" "$d/err" || fail "the second call ran something: $(cat "$d/err")"

# A stop in the middle: the scores of one seed are gone, and come back.
rm "$d/board/twitter-gmner/seed-2/scores-gmner.json"
run > "$d/again" 2> "$d/err" && cmp "$d/again" "$table" || fail "after a stop"
[ "$(grep -c "$program" "$d/err")" -eq 1 ] || fail "after a stop more than what was missing was done: $(cat "$d/err")"

check "an unknown key" 1 "" "expected one of" run --key sed=1
rm -r "$d/board"
check "a file that is not there" 1 "" "that command failed" run --key train=none.txt
[ ! -e "$table" ] || fail "a job that failed left a table"

done_checking
