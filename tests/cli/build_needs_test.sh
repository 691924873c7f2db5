# Building without root: dependencies come from a prefix of the user's own, nothing of the system's is taken then; what must be there
# and is not is named with its package, all at once; what may be missing is named and left out.
. tests/cli/lib.sh "$1"

command -v cmake > /dev/null || exit 77
d=$scratch
prefix=$d/prefix
mkdir -p "$prefix/include" "$prefix/lib"

# give NAME HEADER LIBRARY: links from where the system has them. False where it does not.
give() {
    local header library
    header=$(find /usr/include -path "*/$2" -print -quit 2> /dev/null)
    library=$(find /usr/lib -name "lib$3.so" -print -quit 2> /dev/null)
    [ -n "$header" ] && [ -n "$library" ] || return 1
    case $2 in
        */*) mkdir -p "$prefix/include/${2%%/*}"; cp -rs "$(dirname "${header%/"$2"}/$2")/." "$prefix/include/${2%/*}/" ;;
        *) ln -sf "$header" "$prefix/include/$2" ;;
    esac
    ln -sf "$library" "$prefix/lib/lib$3.so"
}
threads=$(find /usr/lib -name libpthread.a -print -quit) # CMake looks for it, as a part of OpenMP, where all the others are hidden
configure() {
    rm -rf "$d/build"
    cmake -S . -B "$d/build" -DGM_TESTS=OFF "-DCMAKE_PREFIX_PATH=$prefix" "-DCMAKE_IGNORE_PATH=/usr/include;/usr/include/libxml2;/usr/lib;/usr/lib64;/usr/lib/x86_64-linux-gnu;/usr/lib/aarch64-linux-gnu;/lib;/lib/x86_64-linux-gnu" -DOpenMP_pthread_LIBRARY="$threads"
}

configure > "$d/out" 2> "$d/err" && fail "nothing is there, and the configuration went on"
for name in 'cjson (Debian: libcjson-dev)' 'dnnl (Debian: libdnnl-dev)' 'utf8proc (Debian: libutf8proc-dev)' CMAKE_PREFIX_PATH; do
    grep -qF "$name" "$d/err" || fail "nothing is there: the message lacks \"$name\": $(cat "$d/err")"
done
grep -qF OpenMP "$d/err" && fail "OpenMP, which comes with the compiler, was not found"

give cjson cjson/cJSON.h cjson && give dnnl oneapi/dnnl/dnnl.h dnnl && give utf8proc utf8proc.h utf8proc || { echo "a library that the build needs is not where a system has it"; exit 77; }
for name in cjson dnnl utf8proc; do
    mv "$prefix/lib/lib$name.so" "$d/hidden"
    configure > "$d/out" 2> "$d/err" && fail "$name is missing, and the configuration went on"
    grep -qF "$name (Debian: " "$d/err" || fail "$name is missing: the message does not say so: $(cat "$d/err")"
    [ "$(grep -c '(Debian: ' "$d/err")" -eq 1 ] || fail "$name is missing: more than it is named: $(cat "$d/err")"
    mv "$d/hidden" "$prefix/lib/lib$name.so"
done

configure > "$d/out" 2> "$d/err" || fail "what must be there is, and the configuration failed: $(cat "$d/err")"
for name in libxml2 pcre2 png jpeg zlib curl sqlite3 mpi sentencepiece; do
    grep -q "without $name" "$d/out" || fail "the configuration does not say that it goes on without $name"
done
for name in cjson dnnl utf8proc; do
    grep -q "^GM_${name}_LIBRARY:.*=$prefix/" "$d/build/CMakeCache.txt" || fail "$name was not taken from the prefix"
done

done_checking
