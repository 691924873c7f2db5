# The simulator's modules hold the rows of the cuda kernels and nothing of the cpu backend: no gm_row_cpu_..., no matrix
# product of the backend, no oneDNN. The program, which does hold those, shows that they would be seen.
#
#   no_cpu_kernels.sh PROGRAM MODULE...
set -eu
export LC_ALL=C
cpu='^(gm_row_cpu_|gm_gemm_|dnnl_)'
fail() { echo "FAILED: $*" >&2; exit 1; }
# All names of a file, its own and those that it wants from elsewhere; a version may follow a name.
names() { { nm "$1"; nm -D "$1"; } | awk '{ sub(/@.*/, "", $NF); print $NF }' | sort -u; }
held() { grep -E "$cpu" <<< "$1" | tr '\n' ' ' || true; }

for name in gm_row_cpu_ gm_gemm_ dnnl_; do
    [[ " $(held "$(names "$1")")" == *" $name"* ]] || fail "$1 shows no $name: this test would see none in a module either"
done
shift
rows=$((2 * $(grep -c '^GM_KERNEL' kernels/kernels.def))) # fp32 and bf16
for module in "$@"; do
    all=$(names "$module")
    [ -z "$(held "$all")" ] || fail "$module holds $(held "$all")"
    found=$(grep -c '^gm_row_cuda_' <<< "$all" || true)
    [ "$found" -eq "$rows" ] || fail "$module shows $found rows of cuda kernels, kernels.def asks for $rows"
    echo "$module: $found rows of cuda kernels, none of the cpu"
done
