#!/bin/sh
# prepare.sh FOLDER: makes FOLDER with the small files that the cases work on. The programs are found by PATH.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$1"
cd "$1"

head -c 700 "$root/data/stories-valid.txt" >text.txt
zstd -q text.txt
cat >run.yaml <<'YAML'
model: {num_layers: 1, hidden_size: 8, num_attention_heads: 1, qkv_tokens: 4, proj_tokens: 3, ffn_tokens: 6, seq_length: 8}
data: {train: [text.txt], valid: [text.txt.zst]}
train: {steps: 2, batch_size: 2, save_interval: 1, keep_last: 2, keep_best: true, eval_interval: 1, eval_windows: 2}
YAML
sed 's/steps: 2,/steps: 300,/; s/_interval: 1,/_interval: 50,/g' run.yaml >long.yaml
printf 'Once upon\n{"prompt": "The \\"cat"}\n' >prompts.jsonl

once="tf-train -q run.yaml --set train.keep_last=0 --set train.keep_best=false"
$once -o model.tfck
$once -o begun.tfck --max-time 1e-6
$once -o old.tfck --seed 7
tf-grow -q model.tfck -o grown.tfck --ffn +3 >report
tf-inspect dump grown.tfck 'layers.0.ffn.keys[6:9]' --npy -o keys.npy
tf-inspect dump grown.tfck 'layers.0.ffn.values[6:9]' --npy -o values.npy
tf-inspect stats --usage text.txt --json model.tfck -o usage.json
tf-inspect drop -q model.tfck -o bare.tfck optim >report
tf-inspect unpack -q bare.tfck -o unpacked >report
# What recover saves: a checkpoint with bytes of something else behind it.
cat model.tfck run.yaml >damaged.tfck
rm report
