# The program itself: help, version, links, unknown commands, and output that cannot leave.
. tests/cli/lib.sh "$1"

version=$(sed -n 's/^#define GM_VERSION "\(.*\)"$/\1/p' src/base/cli.h)
check "--version" 0 "^gmner $version\$" "" "$program" --version
check "--help" 0 "^usage: gmner COMMAND" "" "$program" --help
check "no command" 2 "" "^usage: gmner COMMAND" "$program"
check "unknown command" 2 "" "unknown command trian: did you mean train\?" "$program" trian
check "unknown command, nothing near" 2 "" "unknown command zzzzzzzz\$" "$program" zzzzzzzz
check "unknown option" 2 "" "unknown option --verbose" "$program" --verbose

# Each line of commands.def is a command with a summary, a help text and a link.
commands=$(sed -n 's/^GM_COMMAND(\([a-z]*\)).*/\1/p' infer/commands.def)
[ -n "$commands" ] || fail "infer/commands.def has no command"
for command in $commands; do
    check "--help lists $command" 0 "^  $command +[^ ]" "" "$program" --help
    check "$command --help" 0 "^usage: gmner $command" "" "$program" "$command" --help
    check "$command --version" 0 "^gmner $version\$" "" "$program" "$command" --version
    check "gmner-$command --help" 0 "^usage: gmner $command" "" "$program-$command" --help
    check "$command with an unknown option" 2 "" "^gmner $command: unknown option --no-such" "$program" "$command" --no-such
done
ln -s "$program" "$scratch/gmner-nothing"
check "a link of no command is the program" 0 "^usage: gmner COMMAND" "" "$scratch/gmner-nothing" --help

# Output that cannot leave is a failure with a message.
if [ -e /dev/full ]; then
    "$program" --help > /dev/full 2> "$scratch/err"
    [ $? -eq 1 ] || fail "a full disk must end with 1"
    matches "full disk" "cannot write to standard output: No space left on device" "$scratch/err"
fi
"$program" --help >&- 2> "$scratch/err"
[ $? -eq 1 ] || fail "a closed stdout must end with 1"
matches "closed stdout" "cannot write to standard output: Bad file descriptor" "$scratch/err"
mkfifo "$scratch/pipe"
# The reader opens the pipe and is gone before the program writes.
{ sleep 1; "$program" --help; echo $? > "$scratch/code"; } > "$scratch/pipe" 2> "$scratch/err" &
exec 9< "$scratch/pipe"
exec 9<&-
wait $!
[ "$(cat "$scratch/code")" = 1 ] || fail "a reader that went away must end with 1, not $(cat "$scratch/code")"
matches "reader gone" "cannot write to standard output: its reader has gone" "$scratch/err"

done_checking
