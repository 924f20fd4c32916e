#!/usr/bin/env bats
# A disk that is really full, and a limit on the size of files.

load ../cli/common

setup_file() {
    export INPUTS=$BATS_FILE_TMPDIR/inputs
    sh "$BATS_TEST_DIRNAME/prepare.sh" "$INPUTS"
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cp -r "$INPUTS"/. .
}

teardown() {
    mountpoint -q disk && umount disk
    true
}

# disk KIB: a file system of that size in disk/.
disk() {
    mkdir -p disk
    mount -t tmpfs -o "size=$1k" tmpfs disk 2>/dev/null || skip "mounting is not allowed"
}

# The commands that write a checkpoint, each of which wants OUT.
checkpoint_commands=(
    'tf-train -q run.yaml -f -o OUT'
    'tf-grow -q model.tfck --ffn x2 -f -o OUT'
    'tf-inspect set -q model.tfck train.steps=9 -f -o OUT'
    'tf-inspect drop -q model.tfck optim -f -o OUT'
    'tf-inspect slice -q model.tfck layers.0.ffn[0:4] -f -o OUT'
    'tf-inspect append -q model.tfck layers.0.ffn keys.npy values.npy -f -o OUT'
    'tf-inspect transplant -q model.tfck --append grown.tfck layers.0.ffn[6:9] -f -o OUT'
    'tf-inspect replace -q grown.tfck layers.0.ffn.keys[1:4] keys.npy -f -o OUT'
    'tf-inspect cast -q model.tfck f16 -f -o OUT'
    'tf-inspect repack -q model.tfck --level 3 -f -o OUT'
    'tf-inspect pack -q unpacked -f -o OUT'
    'tf-inspect recover -q damaged.tfck -f -o OUT'
    'tf-inspect digest model.tfck -f -o OUT'
)

# refuses TEXT: each command that cannot write all of its output ends with 74, says why, and changes nothing. At least
# ten of them must come to that.
refuses() {
    local command refused=0
    cp old.tfck "$2"
    for command in "${checkpoint_commands[@]}"; do
        run --separate-stderr bash -c "${3:-} ${command/OUT/$2}"
        echo "$command: $status: $stderr"
        if [ "$status" -ne 0 ]; then
            [ "$status" -eq 74 ]
            [ "${#stderr_lines[@]}" -eq 1 ]
            [[ $stderr == *"$1" ]]
            cmp old.tfck "$2"
            refused=$((refused + 1))
        else
            cp old.tfck "$2"
        fi
        [ "$(find . -name '*.part' -o -name '*.lock')" = '' ]
    done
    [ "$refused" -ge "$4" ]
}

@test "a full disk: 74, the old file intact, nothing left" {
    disk 32
    refuses ': No space left on device' disk/out.tfck '' 10
}

@test "a disk with room for a beginning only" {
    disk 40
    refuses ': No space left on device' disk/out.tfck '' 8
}

@test "a full disk and a folder of many files" {
    disk 24
    fails 74 'No space left on device' tf-inspect unpack -q model.tfck -o disk/out
    [ "$(ls -A disk)" = '' ]
}

@test "a full disk and metrics" {
    disk 4
    run --separate-stderr tf-train -q long.yaml -o out.tfck --metrics disk/metrics.jsonl
    [ "$status" -eq 74 ]
    [[ $stderr == *metrics.jsonl* ]]
    tf-inspect verify -q out.tfck
}

@test "a limit on the size of files is an error like any other: 74" {
    refuses ': File too large' out.tfck 'ulimit -f 8;' 10
}

@test "a limit on the size of files and results" {
    for command in 'tf-generate -q model.tfck -n 2000 --ignore-end' 'tf-inspect dump model.tfck optim.m/embed.tokens' 'tf-inspect dump model.tfck embed.tokens'; do
        run --separate-stderr bash -c "ulimit -f 1; $command -o out.txt"
        echo "$command: $status: $stderr"
        [ "$status" -eq 74 ]
        [ "$stderr" = "${command%% *}: error: out.txt: cannot write: File too large" ]
        [ "$(find . -name '*.part' -o -name 'out.txt')" = '' ]
    done
}
