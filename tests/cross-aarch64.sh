#!/bin/sh
# By hand, a few minutes, as root the first time: the same bits on another architecture. Builds for this machine and for
# 64-bit ARM, and runs both, the second under qemu: training, growth, evaluation and generation must agree byte for
# byte. Adds the foreign architecture arm64 to dpkg when it is missing.
set -eu
cd "$(dirname "$0")/.."
. data/packages.sh
if ! dpkg --print-foreign-architectures | grep -qx arm64; then
    dpkg --add-architecture arm64
    apt-get update -q
fi
need_packages gcc libc6-dev meson ninja-build pkg-config libyaml-dev libzstd-dev libxxhash-dev libjansson-dev \
    gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user libgomp1:arm64 \
    libyaml-dev:arm64 libzstd-dev:arm64 libxxhash-dev:arm64 libjansson-dev:arm64

[ -f build/build.ninja ] || meson setup build -Dtests=false
[ -f build-aarch64/build.ninja ] ||
    meson setup build-aarch64 --cross-file tests/aarch64.ini -Dtests=false -Dwerror=true
ninja -C build
ninja -C build-aarch64

out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
head -c 40000 data/stories-train.txt >"$out/text"
cat >"$out/config" <<END
model: {num_layers: 2, hidden_size: 48, num_attention_heads: 3, qkv_tokens: 40, proj_tokens: 40, ffn_tokens: 100, seq_length: 48}
data: {train: ["$out/text"], valid_fraction: 0.1}
train: {steps: 12, batch_size: 4, eval_interval: 6, eval_windows: 8, save_interval: 0, keep_last: 0}
END

run() {
    program=$1
    shift
    $wrapper "$programs/$program" "$@"
}
# everything FOLDER PROGRAMS [WRAPPER]: leaves what they write in $out/FOLDER
everything() {
    to=$out/$1 programs=$2 wrapper=${3-}
    mkdir "$to"
    run tf-train -q "$out/config" -o "$to/m.tfck"
    run tf-grow "$to/m.tfck" -o "$to/grown.tfck" --qkv x2 --ffn +60 >/dev/null
    run tf-train -q "$out/config" --init "$to/grown.tfck" -o "$to/more.tfck" --set train.steps=6
    run tf-eval --json "$to/more.tfck" "$out/text" >"$to/eval"
    run tf-generate -q "$to/more.tfck" -p 'Once upon a time' -n 60 --seed 7 >"$to/text"
}
everything native build/cli
everything aarch64 build-aarch64/cli qemu-aarch64

status=0
for file in m.tfck grown.tfck more.tfck eval text; do
    if [ -s "$out/native/$file" ] && cmp "$out/native/$file" "$out/aarch64/$file"; then
        echo "$file: the same bytes"
    else
        status=1
    fi
done
exit $status
