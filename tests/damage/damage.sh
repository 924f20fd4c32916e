#!/bin/sh
# Every damaged checkpoint that the program `damage` makes, against its golden file: expected/NAME is a transcript of
# commands about NAME.tfck, what they print, and in brackets their status when it is not 0. A file that `tf-inspect verify`
# refuses is refused by the other programs too: same status, one line on stderr, nothing on stdout, no output.
#
#   damage.sh            speaks TAP; TF_BIN is the folder of the programs. TF_MEASURE, if set, is the program `measure`, and
#                        each command must keep to 64 MiB plus the file's size and to one second of processor time. It is
#                        not set for programs with sanitizers, which are slow: then tf-generate stands for the others.
#   damage.sh --update   writes the golden files anew: what changed is then yours to read
set -u
here=$(cd "$(dirname "$0")" && pwd) || exit
root=$(cd "$here/../.." && pwd) || exit
TF_BIN=${TF_BIN:-$root/build/cli}
export LC_ALL=C OMP_WAIT_POLICY=passive PATH="$TF_BIN:$PATH"
unset TF_CPU NO_COLOR

work=$(mktemp -d) || exit
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
mkdir "$work/files" || exit
"$TF_BIN/../tests/damage" "$work/files" || exit
command -v tf-inspect >/dev/null || exit # before a golden file says that it is missing
cd "$work/files" || exit

# The config of the base, for tf-train.
cat >"$work/base.yaml" <<END
model: {num_layers: 1, hidden_size: 4, num_attention_heads: 2, qkv_tokens: 2, proj_tokens: 2, ffn_tokens: 3, seq_length: 8}
data: {train: ["$root/data/stories-valid.txt"], separator: none}
train: {steps: 2, eval_interval: 0, save_interval: 0, keep_last: 0}
END
head -c 100 "$root/data/stories-valid.txt" >"$work/text"

# limited COMMAND...: runs it within the limits, which depend on $name.
limited() {
    if [ -n "${TF_MEASURE-}" ]; then
        "$TF_MEASURE" $((65536 + $(wc -c <"$name.tfck") / 1024)) 1 "$@"
    else
        "$@"
    fi
}

# Reads a transcript and writes it anew, with what its commands print now.
transcript() {
    while IFS= read -r line; do
        case $line in
        '$ '*)
            printf '%s\n' "$line"
            eval "limited ${line#??}" 2>&1 </dev/null
            status=$?
            [ "$status" -eq 0 ] || echo "[$status]"
            ;;
        esac
    done
}

# refused STATUS COMMAND...: what a program that is given the file must do; else says what it did.
refused() {
    wanted=$1
    shift
    limited "$@" >"$work/stdout" 2>"$work/stderr" </dev/null
    status=$?
    if [ "$status" -eq "$wanted" ] && [ ! -s "$work/stdout" ] && [ "$(wc -l <"$work/stderr")" -eq 1 ] &&
        grep -qF "$name.tfck: " "$work/stderr" && [ -z "$(ls -A "$work/out")" ] && cmp -s "$name.tfck" "$work/copy"; then
        return
    fi
    echo "$*: status $status, not $wanted, or an output"
    cat "$work/stdout" "$work/stderr"
    ls -A "$work/out"
    return 1
}

# Each program that reads checkpoints.
all_refuse() {
    rm -rf "$work/out"
    mkdir "$work/out"
    cp "$name.tfck" "$work/copy"
    refused "$1" tf-generate "$name.tfck" -n 1 -o "$work/out/o.txt" || return
    [ -n "${TF_MEASURE-}" ] || return 0
    refused "$1" tf-train -q "$work/base.yaml" --init "$name.tfck" -o "$work/out/o.tfck" &&
        refused "$1" tf-train -q "$work/base.yaml" --resume -o "$name.tfck" &&
        refused "$1" tf-grow "$name.tfck" --ffn x2 -o "$work/out/o.tfck" &&
        refused "$1" tf-eval "$name.tfck" "$work/text" -o "$work/out/o.txt" &&
        refused "$1" tf-inspect repack "$name.tfck" -o "$work/out/o.tfck" &&
        refused "$1" tf-inspect unpack "$name.tfck" -o "$work/out/o"
}

# What recover makes of a file is good, and else it makes nothing.
recovers() {
    rm -rf "$work/out"
    mkdir "$work/out"
    tf-inspect recover "$name.tfck" -o "$work/out/o.tfck" >"$work/stdout" 2>"$work/stderr" </dev/null
    status=$?
    case $status in
    0 | 1) tf-inspect verify "$work/out/o.tfck" >/dev/null && return ;;
    65 | 71) [ -z "$(ls -A "$work/out")" ] && return ;;
    esac
    echo "tf-inspect recover: status $status"
    cat "$work/stdout" "$work/stderr"
    return 1
}

# One file: its transcript, and the other programs when verify refuses it.
check() {
    transcript <"$here/expected/$name" >"$work/transcript"
    diff "$here/expected/$name" "$work/transcript" || return
    verified=$(sed -n '2{/^good/q;};2,3s/^\[\([0-9]*\)\]$/\1/p' "$work/transcript")
    { [ -z "$verified" ] || all_refuse "$verified"; } && recovers
}

if [ "${1-}" = --update ]; then
    for name in *.tfck; do
        name=${name%.tfck}
        [ -e "$here/expected/$name" ] || echo "\$ tf-inspect verify $name.tfck" >"$here/expected/$name"
        transcript <"$here/expected/$name" >"$work/transcript"
        cp "$work/transcript" "$here/expected/$name"
    done
    exit
fi

number=0
for golden in "$here"/expected/*; do
    name=${golden##*/}
    number=$((number + 1))
    if check >"$work/log" 2>&1; then
        echo "ok $number $name"
    else
        echo "not ok $number $name"
        sed 's/^/# /' "$work/log"
    fi
done
for file in *.tfck; do
    if [ ! -e "$here/expected/${file%.tfck}" ]; then
        number=$((number + 1))
        echo "not ok $number $file has no golden file"
    fi
done
echo "1..$number"
