#!/bin/sh
# usage: tests/bench/files.sh BUILD [FOLDER [ROUNDS]]
#
# Saving, loading and growing a checkpoint of 152 million parameters with its optimizer state, beside zstd and cp. The
# model is made in FOLDER, where a later run finds it again (not given: in a temporary folder). Wants 8 GB there and 4
# GB of memory.
set -eu
[ $# -ge 1 ] || { sed -n 2p "$0" >&2; exit 64; }
build=$(cd "$1" && pwd)
rounds=${3:-5}
if [ $# -ge 2 ]; then
    mkdir -p "$2"
    here=$(cd "$2" && pwd)
else
    here=$(mktemp -d)
    trap 'rm -rf "$here"' EXIT
    trap 'exit 1' HUP INT TERM
fi
cd "$(dirname "$0")/../.."

# One step, so that the moments are not zero; short, since it is not what is measured.
if [ ! -f "$here/model.tfck" ]; then
    "$build/cli/tf-train" -q data/configs/tokenformer-150m.yaml -o "$here/model.tfck" \
        --set model.vocab_multiple=50304 --set model.seq_length=64 --set train.batch_size=4 --set train.steps=1 \
        --set train.eval_interval=0 --set optimizer.warmup=0
fi
"$build/tests/bench/bench-files" "$here/model.tfck" "$here" "$rounds"
