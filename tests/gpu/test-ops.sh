#!/usr/bin/env bash
# Builds the cuda module and the operations' tests for the GPU at hand and runs them there, then under compute-sanitizer.
#
#   tests/gpu/test-ops.sh BUILD [ARCH]      needs nvcc, gcc and cmocka; a machine without a GPU is an error, not a pass
#
# GM_SANITIZERS="memcheck racecheck synccheck initcheck" chooses compute-sanitizer's tools (default: memcheck; empty: none).
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
build=$1 arch=${2:-90} jobs=$(nproc) failed=0 passed=0
cuda=$(dirname "$(dirname "$(realpath "$(command -v nvcc)")")")
mkdir -p "$build"
include="-Isrc -Ikernels -I. ${CMOCKA_FLAGS:-}"
base="src/base/status.c src/base/memory.c src/base/philox.c"
nvidia-smi --query-gpu=name,driver_version --format=csv,noheader || { echo "no GPU here"; exit 1; }

say() { printf '\n== %s\n' "$*"; }
say "kernels (sm_$arch)"
ls kernels/*/*_cuda.cu | xargs -P "$jobs" -I{} sh -c \
    'nvcc -std=c++17 -O3 -arch=sm_'"$arch"' -lineinfo -Xcompiler -fPIC -Xcompiler -fvisibility=hidden -Xptxas -v '"$include"' -c {} -o '"$build"'/$(basename {} .cu).o > '"$build"'/$(basename {} .cu).log 2>&1 || { echo "{} does not compile"; cat '"$build"'/$(basename {} .cu).log; }'
grep -h 'spill' "$build"/*_cuda.log | grep -v ' 0 bytes spill stores, 0 bytes spill loads' | sort | uniq -c
for c in $base src/backend/cuda/*.c; do
    gcc -std=c11 -O2 -g -fPIC -fvisibility=hidden $include -I"$cuda/include" -c "$c" -o "$build/$(basename "$c" .c).module.o" || exit 1
done
nvcc -shared -o "$build/libgmner_cuda.so" "$build"/*_cuda.o "$build"/*.module.o -lcublasLt || exit 1

say "tests"
build_test() {
    local name
    name=$(basename "$1" .c)
    gcc -std=c11 -O2 -g -fno-math-errno $include "$1" tests/support/kernel_test.c tests/support/kernel_targets_module.c tests/gpu/targets.c $base \
        -o "$build/$name" ${CMOCKA_LIBS:--lcmocka} -ldl -lm
}
for test in kernels/*/*_test.c; do
    case $test in *_fixture_test.c) continue ;; esac # need cJSON and the fixtures
    build_test "$test" & while [ "$(jobs -r | wc -l)" -ge "$jobs" ]; do wait -n; done
done
wait
export GM_TEST_MODULE=$PWD/$build/libgmner_cuda.so
[ "${build#/}" = "$build" ] || GM_TEST_MODULE=$build/libgmner_cuda.so
run() { # name, command...
    local name=$1 log=$build/$1.run
    shift
    if timeout 300 "$@" > "$log" 2>&1; then
        passed=$((passed + 1)); echo "ok    $name ($(grep -c '\[       OK' "$log") cases)"
    else
        failed=$((failed + 1)); echo "FAIL  $name"; grep -E 'reference says|error|ERROR|Error|fail|off by|launch|bytes' "$log" | head -n 12
    fi
}
for test in kernels/*/*_test.c; do
    name=$(basename "$test" .c)
    [ -x "$build/$name" ] && run "$name" "$build/$name"
done
for tool in ${GM_SANITIZERS-memcheck}; do
    say "compute-sanitizer $tool"
    for test in kernels/*/*_test.c; do
        name=$(basename "$test" .c)
        [ -x "$build/$name" ] && run "$name.$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 "$build/$name"
    done
done
echo
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
