#!/bin/sh
# From nothing to a grown model, in about three minutes: builds, trains a small model on the sample stories, doubles its
# parameter tokens without changing a digit of its loss, trains on, and lets it tell a story.
set -eu
cd "$(dirname "$0")/.."
. data/packages.sh
need_packages gcc libc6-dev meson ninja-build pkg-config libyaml-dev libzstd-dev libxxhash-dev libjansson-dev

# Threads that wait give way: on a busy machine spinning would slow the training several times.
export OMP_WAIT_POLICY=passive

out=quickstart-out
PATH=$PWD/build/cli:$PATH
# Prints a command as it could be typed, and runs it.
run() {
    printf '\n$' >&2
    for word; do
        case $word in
        *[!A-Za-z0-9_./=+-]*) printf " '%s'" "$word" >&2 ;;
        *) printf ' %s' "$word" >&2 ;;
        esac
    done
    echo >&2
    "$@"
}

[ -f build/build.ninja ] || run meson setup build -Dtests=false
run ninja -C build
mkdir -p $out
echo '*' >$out/.gitignore

run tf-train data/configs/quick.yaml -o $out/small.tfck --force --set train.steps=1800
run tf-eval $out/small.tfck data/stories-valid.txt >$out/small.txt
cat $out/small.txt

run tf-grow $out/small.tfck -o $out/grown.tfck --force --qkv x2 --proj x2 --ffn x2 --verify
run tf-eval $out/grown.tfck data/stories-valid.txt >$out/grown.txt
cat $out/grown.txt
run cmp $out/small.txt $out/grown.txt
echo 'Twice the tokens, and the loss is the same to the last digit.'

run tf-train data/configs/quick.yaml --init $out/grown.tfck -o $out/trained.tfck --force \
    --set train.steps=400 --set optimizer.lr=4e-4
run tf-eval $out/trained.tfck data/stories-valid.txt

run tf-generate $out/trained.tfck -q -p 'Once there was a' --echo --ignore-end -n 600 --temperature 0.5
