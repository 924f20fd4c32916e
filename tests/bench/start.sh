#!/bin/sh
# usage: tests/bench/start.sh BUILD [RUNS]
#
# How soon the programs answer: whole processes, start to exit, files in the page cache; `date` before and after
# adds 1 to 2 ms to each. Makes two checkpoints in a temporary folder: the model of data/configs/quick.yaml, and one
# of 113 million parameters with its optimizer state, for which it wants 1.2 GB there and 2 GB of memory.
set -eu
[ $# -ge 1 ] || { sed -n 2p "$0" >&2; exit 64; }
bin=$(cd "$1/cli" && pwd)
runs=${2:-15}
cd "$(dirname "$0")/../.."
here=$(mktemp -d)
trap 'rm -rf "$here"' EXIT
trap 'exit 1' HUP INT TERM

# make NAME CONFIG [OPTION]...: NAME.tfck, after one step.
make() {
    name=$1 config=$2
    shift 2
    "$bin/tf-train" -q "$config" -o "$here/$name.tfck" --set train.steps=1 --set train.eval_interval=0 \
        --set optimizer.warmup=0 "$@"
}

# measure WHAT TARGET COMMAND...: a row of the table, in ms.
measure() {
    what=$1 target=$2
    shift 2
    "$@" >"$here/out"
    for _ in $(seq "$runs"); do
        begun=$(date +%s%N)
        "$@" >"$here/out"
        echo $(($(date +%s%N) - begun))
    done | sort -n | awk -v what="$what" -v target="$target" '
        { ms[NR] = $1 / 1e6 }
        END { printf "%-40s %7.1f %7.1f-%-7.1f %6s\n", what, (ms[int((NR + 1) / 2)] + ms[int(NR / 2) + 1]) / 2,
                  ms[1], ms[NR], "< " target }'
}

make quick data/configs/quick.yaml
make large data/configs/tokenformer-150m.yaml --set model.seq_length=64 --set train.batch_size=4
printf '%-40s %7s %15s %6s\n' 'ms, whole process' median 'least-most  ' target
measure 'tf-generate, 1M model, first token' 50 "$bin/tf-generate" "$here/quick.tfck" -p 'Once' -n 1
measure 'tf-inspect show, 150M with moments' 20 "$bin/tf-inspect" show "$here/large.tfck"
