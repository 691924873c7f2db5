# CONTRIBUTING.md's example of a new operation, done word for word in a copy of the tree: its code blocks become the
# folder, its line goes into kernels.def, nothing else changes, and the new test passes.
. tests/cli/lib.sh "$1"

copy=$scratch/tree
mkdir -p "$copy/tests"
cp -R CMakeLists.txt cmake src kernels infer train "$copy/"
cp -R tests/support tests/slow.txt "$copy/tests/"

# The block behind the heading that ends in `PATH`; $1 is its path, $2 the block's language.
block() {
    awk -v path="$1" -v fence="\`\`\`$2" '
        /^###? / { here = index($0, "`" path "`") > 0 }
        here && inside && $0 == "```" { exit }
        inside { print }
        here && $0 == fence { inside = 1 }' CONTRIBUTING.md
}

mkdir "$copy/kernels/leaky_relu"
for file in leaky_relu.h leaky_relu_cpu.c leaky_relu_test.c; do
    block "kernels/leaky_relu/$file" c > "$copy/kernels/leaky_relu/$file"
    [ -s "$copy/kernels/leaky_relu/$file" ] || fail "CONTRIBUTING.md has no block for kernels/leaky_relu/$file"
done
sed -n '/^```def$/,/^```$/p' CONTRIBUTING.md | grep -v '^```' >> "$copy/kernels/kernels.def"

# One folder and one line.
diff -r kernels "$copy/kernels" > "$scratch/diff"
printf '%s\n' "Only in $copy/kernels: leaky_relu" "diff -r kernels/kernels.def $copy/kernels/kernels.def" "> GM_KERNEL(leaky_relu)" |
    sort > "$scratch/want"
grep -Ev '^[0-9]+a[0-9]+$' "$scratch/diff" | sort | diff "$scratch/want" - || fail "the example touches more than a folder and a line"

generator=()
if command -v ninja > /dev/null; then generator=(-G Ninja); fi
if ! cmake -S "$copy" -B "$copy/build" "${generator[@]}" -DCMAKE_BUILD_TYPE=Release > "$scratch/log" 2>&1 ||
    ! cmake --build "$copy/build" --target leaky_relu_test -j 2 >> "$scratch/log" 2>&1; then
    tail -n 30 "$scratch/log" >&2
    fail "the example does not build"
    done_checking
fi
check "leaky_relu_test" 0 "OK \] leaky_relu/matches_reference cpu .*, 2 threads" "PASSED" "$copy/build/leaky_relu_test"

# The example's test can fail: with a wrong slope in the kernel it does.
sed -i 's/a->slope \* x\[c\]/x[c]/' "$copy/kernels/leaky_relu/leaky_relu_cpu.c"
cmake --build "$copy/build" --target leaky_relu_test -j 2 >> "$scratch/log" 2>&1 || fail "the broken kernel does not build"
"$copy/build/leaky_relu_test" > "$scratch/out" 2>&1 && fail "the test passes with a broken kernel"
matches "broken kernel" "the reference says" "$scratch/out"

done_checking
