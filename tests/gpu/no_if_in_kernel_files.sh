# Kernel files are the same text for nvcc and for the simulator: only kernels/device/port.h may hold #if and its kin. The
# guard of a header (#ifndef NAME_H, #define NAME_H, and the #endif of the last line) is no condition.
#
#   no_if_in_kernel_files.sh      in the repository's root
set -eu
export LC_ALL=C
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
fail() { echo "FAILED: $*" >&2; exit 1; }

# Prints FILE:LINE: TEXT of each condition in the files; comments hide none, and a backslash joins none.
conditions() {
    awk '
        function drop_guard() {
            if (held != "" && last != lines) print held
            if (guard != "" && held == "") print file ": a guard without an end"
            held = ""
        }
        FNR == 1 { drop_guard(); file = FILENAME; guard = ""; seen = 0 }
        { lines = FNR }
        /^[ \t]*#[ \t]*(if|ifdef|ifndef|elif|elifdef|elifndef|else|endif)([^a-z]|$)/ {
            seen++
            if (seen == 1 && $1 == "#ifndef" && $2 ~ /^[A-Z0-9_]+_H$/) { guard = $2; next }
            here = FILENAME ":" FNR ": " $0
            if (guard != "" && held == "" && $1 == "#endif" && NF == 1) { held = here; last = FNR; next }
            print here
        }
        END { drop_guard() }' "$@"
}

shopt -s nullglob
files=(kernels/*/*_cuda.cu kernels/*/*.cuh kernels/*/*_cuda.h kernels/device/*.h)
checked=()
for file in "${files[@]}"; do [ "$file" = kernels/device/port.h ] || checked+=("$file"); done
[ "${#checked[@]}" -ge 12 ] || fail "only ${#checked[@]} kernel files in kernels/"
found=$(conditions "${checked[@]}")
[ -z "$found" ] || fail "conditions outside kernels/device/port.h:
$found"

# The same on files that hold what it looks for: at the top, inside a guard, indented, after the guard's end.
sees() {
    printf '%s\n' "${@:2}" > "$scratch/planted_cuda.h"
    [ -n "$(conditions "$scratch/planted_cuda.h")" ] || fail "does not see $1"
}
guarded=('#ifndef GM_PLANTED_H' '#define GM_PLANTED_H' 'int a;' '#endif')
printf '%s\n' "${guarded[@]}" > "$scratch/planted_cuda.h"
[ -z "$(conditions "$scratch/planted_cuda.h")" ] || fail "takes a guard for a condition"
sees "#if in a source" 'int a;' '#if __CUDA_ARCH__ >= 900' 'int b;' '#endif'
sees "#ifdef in a guarded header" "${guarded[@]:0:2}" '#ifdef __CUDACC__' 'int b;' '#endif' '#endif'
sees "an indented # if" "${guarded[@]:0:3}" '  #  if 1' '  #  endif' '#endif'
sees "a second guard" "${guarded[@]}" '#ifndef GM_OTHER' '#define GM_OTHER' '#endif'
sees "#else of the guard" "${guarded[@]:0:3}" '#else' 'int b;' '#endif'
sees "a text behind the guard" "${guarded[@]}" 'int b;'
for planted in "${checked[@]:0:2}"; do
    { sed '$d' "$planted"; echo '#if 0'; echo '#endif'; tail -n 1 "$planted"; } > "$scratch/planted_cuda.cu"
    [ -n "$(conditions "$scratch/planted_cuda.cu")" ] || fail "does not see #if in a copy of $planted"
done
echo "${#checked[@]} kernel files without a condition"
