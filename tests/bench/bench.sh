#!/bin/sh
# usage: tests/bench/bench.sh BUILD
#
# Every benchmark, one after another, on a machine that should have nothing else to do. Each prints a table; README.md
# says how to read them. PYTHON names a Python that has PyTorch, for the peer of training; without one there is none.
#
# Threads are bound nowhere: a program hands the processor that it is bound to on to those that it starts, and the
# peers would be left with that one. How threads wait is left as it is for everyone (OMP_WAIT_POLICY: not set), so
# that what is measured is what users get; `passive` is for machines that are busy.
set -eu
[ $# -eq 1 ] || { sed -n 2p "$0" >&2; exit 64; }
build=$(cd "$1" && pwd)
cd "$(dirname "$0")/../.."
unset OMP_PROC_BIND OMP_PLACES GOMP_CPU_AFFINITY

lscpu | sed -n 's/^Model name: */processor: /p'
echo "processors: $(nproc)"
awk '/^MemTotal/ { printf "memory: %d MiB\n", $2 / 1024 }' /proc/meminfo
echo "system: $(uname -srm)"
compiler=$(jq -r '.[0].command | split(" ")[0]' "$build/compile_commands.json")
echo "compiler: $("$compiler" --version | head -n 1)"
echo "OMP_NUM_THREADS: ${OMP_NUM_THREADS-not set}, OMP_WAIT_POLICY: ${OMP_WAIT_POLICY-not set}, TF_CPU: ${TF_CPU-not set}"

# title NAME: a line before its table.
title() {
    printf '\n== %s\n' "$1"
}

for name in products rows pattention attention decode generation; do
    title $name
    "$build/tests/bench/bench-$name"
done
title training
"$build/tests/bench/bench-training" --peer "${PYTHON:-python3} tests/bench/peer_torch.py"
for name in files start; do
    title $name
    sh tests/bench/$name.sh "$build"
done
