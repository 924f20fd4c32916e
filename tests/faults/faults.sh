#!/bin/sh
# faults.sh BUILD memory|calls|crash|random: every case of the file `cases` with every fault of that kind, in TAP.
# BUILD is a gcc build without sanitizers. TF_FAULTS_ALL=1, TF_FAULTS_ONLY=CASE, TF_FAULTS_KILLS=N and TF_FAULTS_SEED=N:
# see README.md.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
build=$(cd "$1" && pwd)
PATH=$build/cli:$PATH
export LC_ALL=C OMP_WAIT_POLICY=passive PATH
unset TF_CPU NO_COLOR LD_PRELOAD

# In memory, where syncing a file costs nothing.
for folder in "${TMPDIR:-}" /dev/shm /tmp; do
    [ -d "$folder" ] && [ -w "$folder" ] && break
done
scratch=$(mktemp -d "$folder/faults.XXXXXX")
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM

sh "$here/prepare.sh" "$scratch/inputs"
"$build/tests/faults/inject" "$2" "$build/tests/faults/libshim.so" "$scratch/inputs" "$here/cases" "$scratch"
