#!/bin/sh
# Fuzzes the parsers: fuzz.sh SECONDS [NAME...]
#
# Builds the harnesses with libFuzzer, AddressSanitizer and UBSan in build-fuzz/ and runs each (or the named ones) that
# long. New inputs go to build-fuzz/corpus/NAME/. Exits 1 when something was found: the input that shows it is then in
# tests/fuzz/crashes/NAME/.
set -u
cd "$(dirname "$0")/../.." || exit
case ${1-} in
'' | *[!0-9]*)
    echo "usage: sh tests/fuzz/fuzz.sh SECONDS [NAME...]" >&2
    exit 64
    ;;
esac
seconds=$1
shift
if [ $# -eq 0 ]; then
    for harness in tests/fuzz/fuzz_*.c; do
        name=$(basename "$harness" .c)
        set -- "$@" "${name#fuzz_}"
    done
fi

root=$PWD build=build-fuzz
if [ ! -f $build/build.ninja ]; then
    CC=clang meson setup $build -Dfuzz=true -Dbuildtype=debugoptimized -Db_sanitize=address,undefined \
        -Db_lundef=false -Dc_args=-fno-sanitize-recover=undefined || exit
fi
for name in "$@"; do
    ninja -C $build "tests/fuzz/fuzz_$name" || exit
done

# One thread: libFuzzer should find the same again.
export OMP_NUM_THREADS=1 LC_ALL=C
export ASAN_OPTIONS=detect_leaks=1:strict_string_checks=1:allocator_may_return_null=1:intercept_tls_get_addr=0
export LSAN_OPTIONS="suppressions=$root/tests/lsan.supp:print_suppressions=0"
export UBSAN_OPTIONS=print_stacktrace=1
found=0
for name in "$@"; do
    case $name in
    checkpoint | directory) longest=16384 ;;
    *) longest=4096 ;;
    esac
    log=$build/fuzz_$name.log crashes=tests/fuzz/crashes/$name
    mkdir -p "$build/corpus/$name" "$crashes" "tests/fuzz/corpus/$name"
    if "$build/tests/fuzz/fuzz_$name" -max_total_time="$seconds" -timeout=5 -rss_limit_mb=512 -max_len=$longest \
        -artifact_prefix="$crashes/" -print_final_stats=1 "$build/corpus/$name" "tests/fuzz/corpus/$name" \
        >"$log" 2>&1; then
        result="nothing found"
    else
        result="FOUND: $(grep -m 1 -e 'does not hold' -e '^SUMMARY' -e '^refused' -e ' ERROR: ' "$log")"
        grep 'Test unit written to' "$log"
        found=1
    fi
    rmdir "$crashes" 2>/dev/null
    executions=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    coverage=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)
    echo "$name: $executions executions in $seconds s, coverage ${coverage:-0}; $result"
done
exit $found
