#!/bin/sh
# Builds with both compilers and runs every test; the last line is "N passed, N failed".
#
#   build/       gcc, release: unit tests, command-line tests, examples, lint
#   build-asan/  clang, AddressSanitizer with leaks and UBSan: unit tests, command-line tests, examples
#
# Unit tests of kernels and of golden cases go through every CPU variant that the machine has by themselves.
# Every test speaks TAP, so that each case counts as one. Skipped cases are named and not counted.
set -u
cd "$(dirname "$0")/.." || exit
root=$PWD
. data/packages.sh

need_packages gcc libc6-dev clang libclang-rt-dev libomp-dev meson ninja-build pkg-config \
    libyaml-dev libzstd-dev libxxhash-dev libjansson-dev libcmocka-dev bats mandoc zstd jq zsh fish || exit

export LC_ALL=C TF_ROOT="$root" TF_GOLDEN="$root/tests/golden" TF_DATA="$root/data"
export OMP_WAIT_POLICY=passive CMOCKA_MESSAGE_OUTPUT=TAP
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1
export LSAN_OPTIONS="suppressions=$root/tests/lsan.supp:print_suppressions=0"
export UBSAN_OPTIONS=print_stacktrace=1
passed=0 failed=0
log=$(mktemp) || exit
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM

# Runs a command that speaks TAP and counts its cases. A status that no failed case explains, and cases that the plan
# announced but that never came, are one failure.
run_tap() {
    name=$1
    shift
    timeout 600 "$@" >"$log" 2>&1 </dev/null
    status=$?
    counts=$(awk '
        /^1\.\.[0-9]+/ { planned = 1; plan += substr($1, 4) }
        /^(not )?ok .*# [Ss][Kk][Ii][Pp]/ { skip++; next }
        /^ok / { ok++ }
        /^not ok / { bad++ }
        END { printf "%d %d %d %d", ok, bad, skip, !planned || plan != ok + bad + skip }' "$log")
    # shellcheck disable=SC2086 # four numbers
    set -- $counts
    ok=$1 bad=$2 skip=$3 incomplete=$4
    if [ "$bad" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$incomplete" -ne 0 ]; }; then
        bad=1
        echo "# $name: exit status $status, cases missing: $incomplete" >>"$log"
    fi
    passed=$((passed + ok)) failed=$((failed + bad))
    echo "$name: $ok passed, $bad failed"
    [ "$skip" -eq 0 ] || grep -i '^\(not \)\{0,1\}ok .*# skip' "$log"
    [ "$bad" -eq 0 ] || sed 's/^/    /' "$log"
}

# A command that is one case: it passes with status 0.
run_one() {
    name=$1
    shift
    if timeout 600 "$@" >"$log" 2>&1 </dev/null; then
        passed=$((passed + 1))
        echo "$name: 1 passed, 0 failed"
    else
        failed=$((failed + 1))
        echo "$name: 0 passed, 1 failed"
        sed 's/^/    /' "$log"
    fi
}

# build FOLDER COMPILER OPTION...: a build that fails is a failed test, and ends the run.
build() {
    folder=$1 compiler=$2
    shift 2
    again=
    [ ! -f "$folder/build.ninja" ] || again=--reconfigure
    if ! { CC=$compiler meson setup $again "$folder" -Dwerror=true -Dtests=true "$@" &&
        ninja -C "$folder"; } >"$log" 2>&1; then
        cat "$log"
        echo "build with $compiler failed"
        echo "$passed passed, $((failed + 1)) failed"
        exit 1
    fi
    echo "$folder: built with $compiler, no warnings"
}

# unit FOLDER LABEL
unit() {
    for test in tests/unit/test_*.c; do
        test=$(basename "$test" .c)
        run_tap "$test ($2)" "$1/tests/$test"
    done
}

# commands FOLDER LABEL
commands() {
    TF_BIN=$root/$1/cli
    export TF_BIN
    for file in tests/cli/*.bats; do
        run_tap "$(basename "$file") ($2)" bats --tap "$file"
    done
    run_tap "examples ($2)" sh tests/cli/examples.sh
}

build build gcc -Dbuildtype=release
unit build gcc
commands build gcc
for script in tests/lint/*.sh; do
    run_one "lint $(basename "$script" .sh)" sh "$script"
done

build build-asan clang -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
    -Dc_args=-fno-sanitize-recover=undefined
unit build-asan 'clang, sanitizers'
commands build-asan 'clang, sanitizers'

echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
