#!/bin/sh
# Builds with both compilers and runs every test; the last line is "N passed, N failed".
#
#   build/       gcc, release: unit tests, command-line tests, examples, faults, lint
#   build-asan/  clang, AddressSanitizer with leaks and UBSan: unit tests, command-line tests, examples
#   build-tsan/  clang, ThreadSanitizer: unit tests
#
# Unit tests of kernels and of golden cases go through every CPU variant that the machine has by themselves.
# Every test speaks TAP, so that each case counts as one. Skipped cases are named and not counted.
set -u
cd "$(dirname "$0")/.." || exit
root=$PWD
. data/packages.sh

need_packages gcc libc6-dev binutils clang clang-tidy libclang-rt-dev libomp-dev meson ninja-build pkg-config \
    libyaml-dev libzstd-dev libxxhash-dev libjansson-dev libcmocka-dev bats mandoc shellcheck zstd jq zsh fish \
    python3-numpy || exit
# python3-numpy is for Debian's own python3.
python3 -c 'import numpy' 2>/dev/null || PATH=/usr/bin:$PATH

export LC_ALL=C TF_ROOT="$root" TF_GOLDEN="$root/tests/golden" TF_DATA="$root/data"
export OMP_WAIT_POLICY=passive CMOCKA_MESSAGE_OUTPUT=TAP
# intercept_tls_get_addr=0: clang 14 guesses how large a library's thread-local storage is from what stands before it, and
# the leak check then reads wherever that leads.
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1:intercept_tls_get_addr=0
export LSAN_OPTIONS="suppressions=$root/tests/lsan.supp:print_suppressions=0"
export UBSAN_OPTIONS=print_stacktrace=1
passed=0 failed=0
log=$(mktemp) || exit
trap 'rm -f "$log"' EXIT
trap 'exit 1' HUP INT TERM

# timed BLOCK COMMAND...: notes the seconds that a block of tests takes.
seconds=
timed() {
    block=$1 begun=$(date +%s)
    shift
    "$@"
    seconds="$seconds, $block $(($(date +%s) - begun))"
}

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

# unit FOLDER LABEL [BUT]: all unit tests, but for one.
unit() {
    for test in tests/unit/test_*.c; do
        test=$(basename "$test" .c)
        [ "$test" = "${3-}" ] || run_tap "$test ($2)" "$1/tests/$test"
    done
}

# commands FOLDER LABEL [MEASURE]: MEASURE is the program that holds commands to limits of memory and time.
commands() {
    TF_BIN=$root/$1/cli TF_MEASURE=${3-}
    export TF_BIN TF_MEASURE
    for file in tests/cli/*.bats; do
        run_tap "$(basename "$file") ($2)" bats --tap "$file"
    done
    run_tap "examples ($2)" sh tests/cli/examples.sh
    run_tap "damage ($2)" sh tests/damage/damage.sh
}

# replays FOLDER LABEL: what fuzzing chose to keep, and past crashes, through each harness of tests/fuzz.
replays() {
    for harness in tests/fuzz/fuzz_*.c; do
        harness=$(basename "$harness" .c) inputs=${harness#fuzz_}
        # shellcheck disable=SC2046 # one a word
        run_tap "$harness ($2)" "$1/tests/fuzz/$harness" "tests/fuzz/corpus/$inputs" \
            $(find "tests/fuzz/crashes/$inputs" -type f 2>/dev/null | sort)
    done
    recipes=$(mktemp -d) || exit
    for checkpoint in tests/golden/checkpoints/*.tfck; do
        "$1/tests/fuzz/recipe" "$checkpoint" >"$recipes/$(basename "$checkpoint")"
    done
    run_tap "fuzz_directory, golden checkpoints ($2)" "$1/tests/fuzz/fuzz_directory" "$recipes"
    rm -r "$recipes"
}

# faults: what fails underneath the programs: calls, memory, the disk, a kill.
faults() {
    for kind in memory calls crash random; do
        run_tap "faults: $kind" sh tests/faults/faults.sh build "$kind"
    done
    for file in tests/faults/*.bats; do
        run_tap "$(basename "$file")" bats --tap "$file"
    done
}

lint() {
    for script in tests/lint/*.sh; do
        run_one "lint $(basename "$script" .sh)" sh "$script"
    done
}

# races FOLDER LABEL: the unit tests by several threads. Archer, which comes with libomp, tells ThreadSanitizer what a
# parallel region orders. test_mem counts the pages that an allocation touches, and here each has a shadow that counts.
races() {
    OMP_TOOL_LIBRARIES=$(ldd "$1/tests/test_gemm" | sed -n 's|.* \(/.*/\)libomp\.so.*|\1libarcher.so|p')
    TSAN_OPTIONS=ignore_noninstrumented_modules=1:allocator_may_return_null=1
    OMP_NUM_THREADS=4
    export OMP_TOOL_LIBRARIES TSAN_OPTIONS OMP_NUM_THREADS
    run_one "Archer is there ($2)" test -f "$OMP_TOOL_LIBRARIES"
    unit "$1" "$2" test_mem
    unset OMP_TOOL_LIBRARIES OMP_NUM_THREADS
}

timed 'gcc build' build build gcc -Dbuildtype=release
timed 'unit' unit build gcc
timed 'commands' commands build gcc "$root/build/tests/measure"
timed 'replays' replays build gcc
timed 'faults' faults
timed 'lint' lint

timed 'asan build' build build-asan clang -Dbuildtype=debugoptimized -Db_sanitize=address,undefined -Db_lundef=false \
    -Dc_args=-fno-sanitize-recover=undefined
timed 'unit' unit build-asan 'clang, sanitizers'
timed 'commands' commands build-asan 'clang, sanitizers'
timed 'replays' replays build-asan 'clang, sanitizers'

timed 'tsan build' build build-tsan clang -Dbuildtype=debugoptimized -Db_sanitize=thread -Db_lundef=false
timed 'races' races build-tsan 'clang, threads'

echo "Seconds: ${seconds#, }"
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
