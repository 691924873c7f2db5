# `make test-gpu` and `make bench-gpu` on a machine without a GPU, or with one that is too old: an error that says so, before
# anything is built. nvidia-smi is a stand-in.
. tests/cli/lib.sh "$1"

mkdir "$scratch/bin"
smi() { { echo '#!/bin/bash'; cat; } > "$scratch/bin/nvidia-smi"; chmod +x "$scratch/bin/nvidia-smi"; }
with_smi() { PATH=$scratch/bin:$PATH BUILD=$scratch/build "$@"; }
for front in tests/gpu/run benchmarks/gpu/run; do
    smi <<< 'echo "No devices were found"; exit 6'
    check "$front without a GPU" 1 "" "no GPU here: .*No devices were found" with_smi "$front"
    smi <<< 'echo "Tesla V100, 580.00, 7.0"'
    check "$front with an old GPU" 1 "" "the kernels need compute capability 8.0" with_smi "$front"
    smi <<< 'echo "[N/A]"'
    check "$front with a GPU that says nothing" 1 "" "does not say which GPU this is" with_smi "$front"
done
[ ! -e "$scratch/build" ] || fail "something was built"
done_checking
