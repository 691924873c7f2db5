# gmner env: what a report of a bug needs is there, as text and as JSON that a parser takes, and no secret is.
. tests/cli/lib.sh "$1"

secret=this-must-not-be-seen
run() { env GM_API_KEY=$secret OPENAI_API_KEY=$secret AWS_SECRET_ACCESS_KEY=$secret SLURM_JWT=$secret SLURM_JOB_ID=4711 "$program" env "$@"; }
check "as text" 0 "^  version +[0-9]" "" run
cp "$scratch/out" "$scratch/text"
for name in commit compiler flags cjson utf8proc pcre2 curl mpi release kernel model cores "instruction sets" available "limit of the control group" driver cuda nccl; do
    matches "as text" "^  $name  *[^ ]" "$scratch/text"
done
matches "a variable" "^  SLURM_JOB_ID  *4711" "$scratch/text"
check "as JSON" 0 '"SLURM_JOB_ID": "4711"' "" run --json
cp "$scratch/out" "$scratch/json"
python3 - "$scratch/json" "$(nproc)" <<'PY' || fail "the JSON does not say what the machine says"
import json, sys
e = json.load(open(sys.argv[1]))
assert set(e) == {"program", "libraries", "system", "processor", "memory", "gpu", "variables"}, set(e)
assert e["processor"]["cores of this process"] == sys.argv[2], e["processor"]
assert all(isinstance(v, str) or "missing" in v for v in e["libraries"].values()), e["libraries"]
assert e["memory"]["total"].endswith(" kB") and e["program"]["commit"]
PY
! grep -q "$secret" "$scratch/text" "$scratch/json" || fail "a key of the environment was printed"
check "fewer cores" 0 "cores of this process +1\$" "" taskset -c 0 "$program" env
check "a word too many" 2 "" 'unexpected word "all"' "$program" env all

done_checking
