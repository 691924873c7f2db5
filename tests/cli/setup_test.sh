# tools/setup where nothing is missing, where it may install and where it may not: dpkg-query, apt-get, id and sudo are
# stand-ins that note how they were called.
. tests/cli/lib.sh "$1"

fake=$scratch/bin
mkdir "$fake"
for tool in bash env tr sed cat printf; do ln -s "$(command -v $tool)" "$fake/$tool"; done
tool() { { echo '#!/bin/bash'; cat; } > "$fake/$1"; chmod +x "$fake/$1"; }

# $scratch/absent lists the packages that are not installed.
tool dpkg-query << END
package=\${!#}
if [[ \$* == *Depends* ]]; then echo 'clang-14 (>= 14~)'; exit; fi
while read -r absent; do [ "\$absent" != "\$package" ] || exit 1; done < $scratch/absent
printf installed
END
tool apt-get << END
echo "apt-get \$*" >> $scratch/calls
[[ \$1 != install || ! -e $scratch/offline ]]
END
tool apt-cache <<< "printf '%s\n' 'Package: clang' 'Breaks: clang-3.2' 'Depends: clang-14 (>= 14~)' 'Replaces: clang-3.2'"
tool id <<< "echo \$GMT_UID"
setup() { : > "$scratch/calls"; env -i PATH="$fake" GMT_UID="$1" bash tools/setup "${@:2}"; }
no_call() { [ ! -s "$scratch/calls" ] || fail "$1 called $(cat "$scratch/calls")"; }

: > "$scratch/absent"
check "nothing missing" 0 "" "" setup 0
no_call "nothing missing"

printf '%s\n' libcjson-dev libdnnl-dev libclang-rt-14-dev > "$scratch/absent"
check "root installs" 0 "" "installing: libdnnl-dev libcjson-dev libclang-rt-14-dev" setup 0
grep -qx "apt-get update" "$scratch/calls" || fail "no apt-get update before the install"
grep -Eqx "apt-get install -y --no-install-recommends libdnnl-dev libcjson-dev libclang-rt-14-dev ?" <(tr -s ' ' < "$scratch/calls") ||
    fail "installs more or less than what is missing: $(cat "$scratch/calls")"

check "a user is told each name" 1 "" "Missing: libdnnl-dev libcjson-dev *; for all tests also: libclang-rt-14-dev" setup 1000
no_call "a user without sudo"

printf '%s\n' clang libclang-rt-14-dev > "$scratch/absent"
check "clang's runtime has the version of the clang that comes" 0 "" "installing: clang libclang-rt-14-dev" setup 0

printf '%s\n' libcjson-dev libdnnl-dev > "$scratch/absent"
touch "$scratch/offline"
check "apt-get fails" 1 "" "apt-get failed .*; missing: libdnnl-dev libcjson-dev" setup 0
rm "$scratch/offline"

echo clang > "$scratch/absent"
check "only what skips tests is missing" 0 "" "Missing: nothing that the build needs; for all tests also: clang" setup 1000

echo chromium > "$scratch/absent"
check "a build needs no browser" 0 "" "" setup 0
no_call "a build needs no browser"
check "the tests do" 0 "" "installing: +chromium" setup 0 tests

rm "$fake/dpkg-query"
check "no Debian" 0 "" "no dpkg here" setup 0
no_call "no Debian"

done_checking
