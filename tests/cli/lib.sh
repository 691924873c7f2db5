# What the scripts of tests/cli share: `check` runs a command and compares exit code and output; `done_checking` ends the
# test. A script gets the program's path as its first word and runs in the repository's root.
set -u
export LC_ALL=C
program=$(realpath "$1")
failures=0
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT

fail() { printf 'FAILED: %s\n' "$*" >&2; failures=$((failures + 1)); }

# check "what is shown" CODE STDOUT-PATTERN STDERR-PATTERN command ...; patterns are extended regular expressions, an
# empty one asks for no output.
check() {
    local what=$1 code=$2 out=$3 err=$4 got
    shift 4
    "$@" > "$scratch/out" 2> "$scratch/err" < /dev/null
    got=$?
    [ "$got" -eq "$code" ] || fail "$what: exit code $got, expected $code"
    matches "$what: stdout" "$out" "$scratch/out"
    matches "$what: stderr" "$err" "$scratch/err"
}

matches() {
    if [ -z "$2" ]; then [ ! -s "$3" ] || fail "$1 is not empty: $(head -n 5 "$3")"
    else grep -Eq -e "$2" "$3" || fail "$1 lacks /$2/: $(head -n 5 "$3")"
    fi
}

done_checking() {
    if [ "$failures" -gt 0 ]; then echo "$failures checks failed" >&2; exit 1; fi
    exit 0
}
