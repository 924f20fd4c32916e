#!/usr/bin/env bats
# tf-train: the same bytes however a run is made, and what is refused.

load common

# small_config FILE: a model of 5.8k parameters; its run of 700 steps takes about half a second, and writes more metrics than a
# pipe holds, so that a run into a pipe waits for its reader before it ends.
small_config() {
    cat >"$1" <<END
model: {num_layers: 1, hidden_size: 16, num_attention_heads: 2, qkv_tokens: 8, proj_tokens: 8, ffn_tokens: 12,
  seq_length: 16, rotary_pct: 0.5}
data: {train: ["$TF_ROOT/data/stories-valid.txt"], valid_fraction: 0.1}
train: {steps: 700, batch_size: 2, save_interval: 50, keep_last: 1, eval_interval: 100, eval_windows: 4, log_interval: 1}
END
}

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    small_config small.yaml
    tf-train -q small.yaml -o small.tfck --metrics small.jsonl
    tiny_model m.tfck
    tf-grow -q m.tfck -o grown.tfck --ffn x2
    head -c 20000 "$TF_ROOT/data/stories-valid.txt" >text.txt
}

setup() {
    cp "$BATS_FILE_TMPDIR"/{small.yaml,tiny.yaml,text.txt} "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
    whole=$BATS_FILE_TMPDIR/small.tfck
    model=$BATS_FILE_TMPDIR/m.tfck
    grown=$BATS_FILE_TMPDIR/grown.tfck
}

# Nothing half-written is left, whether a test's runs succeed or fail.
teardown() {
    [ "$(find "$BATS_TEST_TMPDIR" -name '*.part' -o -name '*.lock')" = '' ]
}

digest() {
    tf-inspect digest "$1" | tail -n 1 | cut -c 1-32
}

# ---- the same bytes ----

wide() {
    tf-train -q tiny.yaml -f -o "$1" --set train.batch_size=8 --set train.save_interval=4 --set train.eval_interval=3 "${@:2}"
}

@test "any number of threads gives the same bytes" {
    wide 1.tfck --threads 1
    wide 2.tfck --threads 2
    cmp 1.tfck 2.tfck
    wide 3.tfck --threads 3
    cmp 1.tfck 3.tfck
}

@test "any micro-batch gives the same bytes" {
    wide whole.tfck
    for size in 1 2 3 8; do
        wide $size.tfck --set train.micro_batch=$size
        cmp whole.tfck $size.tfck
    done
}

@test "another seed gives others" {
    wide 1.tfck
    wide 2.tfck --seed 2
    run -1 cmp 1.tfck 2.tfck
    wide 3.tfck --set train.seed=2
    cmp 2.tfck 3.tfck
    for seed in 0 18446744073709551615; do
        wide 4.tfck --seed $seed
        wide 5.tfck --set train.seed=$seed
        cmp 4.tfck 5.tfck
        run -1 cmp 1.tfck 4.tfck
    done
    fails 64 '--seed=18446744073709551616: is too large' tf-train tiny.yaml -o x.tfck --seed 18446744073709551616
    fails 64 '--seed=-1: must be a whole number' tf-train tiny.yaml -o x.tfck --seed=-1
}

# same_on CPU: a run on that build of the kernels gives the bytes of the build that is chosen.
same_on() {
    able=$(TF_CPU=none tf-train tiny.yaml -o x.tfck 2>&1 | sed -n 's/.*this machine runs //p')
    [ "$able" != '' ]
    [[ ", $able," == *", $1,"* ]] || skip "this machine cannot run $1"
    wide chosen.tfck
    TF_CPU=$1 wide this.tfck
    cmp chosen.tfck this.tfck
}

@test "TF_CPU=x86-64 gives the same bytes" {
    same_on x86-64
}

@test "TF_CPU=x86-64-v3 gives the same bytes" {
    same_on x86-64-v3
}

@test "TF_CPU=x86-64-v4 gives the same bytes" {
    same_on x86-64-v4
}

@test "TF_CPU=aarch64 gives the same bytes" {
    same_on aarch64
}

@test "an unknown TF_CPU" {
    TF_CPU=z80 fails 64 'TF_CPU: kernel build "z80" is unknown here; this machine runs ' tf-train tiny.yaml -o x.tfck
}

# ---- interruption ----

# begin OPTION...: a run in the background whose metrics wait to be read from descriptor 7.
begin() {
    mkfifo pipe
    tf-train -q small.yaml -o m.tfck --metrics pipe "$@" 3>&- &
    pid=$!
    exec 7<pipe
}

# lines N: reads N lines of metrics.
lines() {
    local i
    for ((i = 0; i < $1; i++)); do
        read -r -u 7
    done
}

# finish STATUS: reads the rest; the run must end with that status.
finish() {
    cat <&7 >/dev/null
    exec 7<&-
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq "$1" ] || blame "status $status, not $1"
}

@test "SIGTERM at a random step: saved, and resumed to the same bytes" {
    for round in 1 2 3; do
        begin
        at=$((2 + RANDOM % 120))
        echo "signal after line $at"
        lines $at
        kill -TERM "$pid"
        finish 75
        cmp -s m.tfck "$whole" && return 1
        zstd -q -t <m.tfck
        tf-train -q small.yaml -o m.tfck --resume
        cmp m.tfck "$whole"
        rm m.tfck pipe ./*.step-*
    done
}

@test "stopped runs say so" {
    mkfifo pipe
    tf-train small.yaml -o m.tfck --progress never --metrics pipe 2>log 3>&- &
    pid=$!
    exec 7<pipe
    lines 3
    kill -TERM "$pid"
    finish 75
    grep -qE '^tf-train: stopped at step [0-9]+ of 700; saved: run again with --resume to go on$' log
}

@test "SIGKILL at a random step: resumed from the last checkpoint to the same bytes" {
    for round in 1 2 3; do
        begin
        at=$((60 + RANDOM % 120)) # the first checkpoint is there
        echo "signal after line $at"
        lines $at
        kill -KILL "$pid"
        finish 137
        tf-inspect verify -q m.tfck
        [ -e .m.tfck.lock ]
        echo rest >.m.tfck.part
        tf-train -q small.yaml -o m.tfck --resume
        [ ! -e .m.tfck.lock ]
        [ ! -e .m.tfck.part ]
        cmp m.tfck "$whole"
        rm m.tfck pipe ./*.step-*
    done
}

@test "a second signal stops at once, the last checkpoint intact" {
    [ -r /proc/self/status ] || skip "no /proc"
    begin --threads 1
    for ((quiet = 0; quiet < 3;)); do # until the pipe is full and the run waits
        sleep 0.05
        if grep -q '^State:.S' "/proc/$pid/status"; then quiet=$((quiet + 1)); else quiet=0; fi
    done
    kill -TERM "$pid"
    kill -TERM "$pid" # within a tenth of a second: still the first, as timeout(1) sends it twice
    sleep 0.3
    kill -0 "$pid"
    kill -TERM "$pid"
    finish 143
    tf-inspect verify -q m.tfck
    tf-inspect lineage m.tfck | grep -q '1 train *[1-6][05]0 steps'
    tf-train -q small.yaml -o m.tfck --resume
    cmp m.tfck "$whole"
}

@test "two runs with one output: the second is refused at once, and changes nothing" {
    begin
    lines 60 # the first checkpoint is there
    kill -STOP "$pid"
    sum=$(cksum <m.tfck) text="process $pid is writing it"
    ln -s m.tfck link.tfck
    fails 73 "m.tfck: $text" tf-train small.yaml -o m.tfck --metrics new.jsonl
    fails 73 "m.tfck: $text" tf-train small.yaml -f -o m.tfck --metrics new.jsonl
    fails 73 "m.tfck: $text" tf-train small.yaml -o m.tfck --resume --metrics new.jsonl
    fails 73 "m.tfck: $text" tf-train small.yaml -o ./m.tfck --resume
    fails 73 "link.tfck: $text" tf-train small.yaml -o link.tfck --resume
    fails 73 "m.tfck: $text" tf-train small.yaml -f -o m.tfck --dry-run
    fails 73 "m.tfck: $text" tf-grow -f "$model" -o m.tfck --ffn x2
    fails 73 "m.tfck: $text" tf-inspect -f "$model" -o m.tfck
    [ ! -e new.jsonl ]
    [ "$sum" = "$(cksum <m.tfck)" ]
    [ -e .m.tfck.lock ]
    tf-train -q tiny.yaml -o other.tfck # beside it all goes on
    kill -CONT "$pid"
    finish 0
    cmp m.tfck "$whole"
    [ ! -e .m.tfck.lock ]
}

@test "an output that another program is writing" {
    exec 8>.m.tfck.part
    flock -n 8
    fails 73 'm.tfck: another program is writing it' tf-train tiny.yaml -o m.tfck
    exec 8>&-
    rm .m.tfck.part
    [ "$(echo .m*)" = '.m*' ]
}

@test "a killed run's lock hinders nobody" {
    for next in "tf-train -q -f tiny.yaml -o m.tfck" "tf-grow -q -f $model -o m.tfck --ffn x2" \
        "tf-inspect -q -f $model -o m.tfck"; do
        begin
        lines 2
        kill -KILL "$pid"
        finish 137
        rm pipe
        [ -e .m.tfck.lock ]
        works tf-train -q -n -f tiny.yaml -o m.tfck
        [ -e .m.tfck.lock ]
        # shellcheck disable=SC2086 # words
        works $next
        [ ! -e .m.tfck.lock ]
        rm -f m.tfck ./*.step-*
    done
}

@test "--max-time saves, ends well, and is resumed to the same bytes" {
    works tf-train small.yaml -o m.tfck --max-time 0.000001s
    [[ $stderr == *'tf-train: time is up at step 1 of 700; saved: run again with --resume to go on' ]]
    works tf-train -q small.yaml -o m.tfck --max-time 1e-6 --resume
    works tf-inspect lineage m.tfck
    holds '2 steps'
    works tf-train -q small.yaml -o m.tfck --max-time 2h -r
    cmp m.tfck "$whole"
    works tf-train -q small.yaml -o m.tfck --resume
    cmp m.tfck "$whole"
    fails 64 'max-time' tf-train small.yaml -o m.tfck --max-time soon
}

@test "a longer run goes on from a finished one" {
    cp "$whole" m.tfck
    works tf-train -q small.yaml -o m.tfck --resume --set train.steps=705
    works tf-inspect lineage m.tfck
    holds '705 steps'
    sum=$(cksum <m.tfck)
    fails 78 'train.steps: 700, but m.tfck is at step 705 already' tf-train small.yaml -o m.tfck --resume
    [ "$sum" = "$(cksum <m.tfck)" ]
}

# ---- texts ----

@test "a text from .zst or from standard input is the same text" {
    tf-train -q tiny.yaml -o plain.tfck --set data.train=text.txt --set data.valid=[]
    zstd -q text.txt
    tf-train -q tiny.yaml -o zst.tfck --set data.train=text.txt.zst --set data.valid=[]
    tf-train -q tiny.yaml -o stdin.tfck --set data.train=- --set data.valid=[] <text.txt
    split -n 3 text.txt part.
    tf-train -q tiny.yaml -o parts.tfck --set 'data.train=[part.aa, part.ab, part.ac]' --set data.valid=[]
    for other in zst stdin parts; do
        [ "$(digest plain.tfck)" = "$(digest $other.tfck)" ]
    done
}

@test "bytes that are not UTF-8 are a text" {
    printf '\377\376\000\200%.0s' {1..200} >bytes
    works tf-train -q tiny.yaml -o m.tfck --set data.train=bytes
}

@test "texts that are refused" {
    fails 66 'none.txt: No such file or directory' tf-train tiny.yaml -o x.tfck --set data.train=none.txt
    fails 66 'none.txt: No such file or directory' tf-train tiny.yaml -o x.tfck --set data.valid=none.txt
    mkdir folder
    fails 66 'folder: is a directory' tf-train tiny.yaml -o x.tfck --set data.train=folder
    : >empty
    fails 65 'empty: the text is empty' tf-train tiny.yaml -o x.tfck --set data.train=empty
    fails 65 'standard input: the text is empty' tf-train tiny.yaml -o x.tfck --set data.train=- </dev/null
    head -c 32 text.txt >short
    fails 65 'short: the training text has 32 tokens; a window takes 33' tf-train tiny.yaml -o x.tfck --set data.train=short
    fails 65 'short: the validation text has 32 tokens; a window takes 33' tf-train tiny.yaml -o x.tfck --set data.valid=short
    zstd -q text.txt
    head -c 3000 text.txt.zst >cut.zst
    fails 65 'cut.zst: truncated zstd: ends inside a frame' tf-train tiny.yaml -o x.tfck --set data.train=cut.zst
    flip text.txt.zst 2000
    fails 65 'text.txt.zst: damaged zstd' tf-train tiny.yaml -o x.tfck --set data.train=text.txt.zst
    cp text.txt plain.zst
    fails 65 'plain.zst: damaged zstd' tf-train tiny.yaml -o x.tfck --set data.train=plain.zst
    fails 78 'data.train: names no text to train on' tf-train tiny.yaml -o x.tfck --set data.train=[]
    [ ! -e x.tfck ]
}

# ---- configs ----

# config TEXT: writes it to c.yaml.
config() {
    printf "$1" >c.yaml
}

@test "configs that are refused" {
    fails 66 'none.yaml: No such file or directory' tf-train none.yaml -o x.tfck
    fails 66 '.: is a directory' tf-train . -o x.tfck
    config 'model:\n  hidden_sise: 3\n'
    fails 78 'c.yaml:2:3: unknown key model.hidden_sise (did you mean hidden_size?)' tf-train c.yaml -o x.tfck
    config 'modle:\n  hidden_size: 3\n'
    fails 78 'c.yaml:1:1: unknown section modle (did you mean model?)' tf-train c.yaml -o x.tfck
    config 'train:\n  steps: 0\n'
    fails 78 'c.yaml:2:10: train.steps: expected an integer from 1 to 1000000000000, found "0"' tf-train c.yaml -o x.tfck
    config 'train:\n  steps: many\n'
    fails 78 'c.yaml:2:10: train.steps: expected an integer from 1 to 1000000000000, found "many"' tf-train c.yaml -o x.tfck
    config 'train:\n  steps: 3\n  steps: 4\n'
    fails 78 'c.yaml:3:3: duplicate key steps (first at 2:3)' tf-train c.yaml -o x.tfck
    config 'train: {}\nmodel: *x\n'
    fails 78 'c.yaml:2:8: aliases are not allowed' tf-train c.yaml -o x.tfck
    config 'train: [\n'
    fails 78 'c.yaml:2:1: ' tf-train c.yaml -o x.tfck
    config 'model: {num_attention_heads: 3}\n'
    fails 78 'c.yaml: model.num_attention_heads: 3 does not divide hidden_size 128' tf-train c.yaml -o x.tfck
    fails 78 '--set train.step: unknown key (did you mean train.steps?)' tf-train tiny.yaml -o x.tfck --set train.step=3
    fails 78 '--set train.steps: expected an integer' tf-train tiny.yaml -o x.tfck --set train.steps=1.5
    fails 78 'train.freeze: no table is called layers.9.*' tf-train tiny.yaml -o x.tfck --set 'train.freeze=layers.9.*'
    fails 78 'old-tokens: this model was never grown' tf-train tiny.yaml -o x.tfck --set train.freeze=old-tokens
    fails 71 'this run needs ' tf-train tiny.yaml -o x.tfck --set model.hidden_size=65536 --set model.ffn_tokens=2000000000
    [ ! -e x.tfck ]
}

@test "a config from standard input; --help-config is one" {
    tf-train -q - -o 1.tfck <tiny.yaml
    tf-train -q tiny.yaml -o 2.tfck
    cmp 1.tfck 2.tfck
    works tf-train --help-config
    printf '%s\n' "$output" >all.yaml
    works tf-train -n all.yaml -o x.tfck --set data.train=text.txt
}

@test "wrong calls" {
    fails 64 'one CONFIG is needed, 0 are given' tf-train -o x.tfck
    fails 64 'one CONFIG is needed, 2 are given' tf-train tiny.yaml small.yaml -o x.tfck
    fails 64 '-o OUT.tfck is needed' tf-train tiny.yaml
    fails 64 '-o OUT.tfck is needed' tf-train tiny.yaml -o -
    fails 64 'only one can be' tf-train tiny.yaml -o x.tfck --resume --init "$model"
    fails 64 'only one can be' tf-train tiny.yaml -o x.tfck --json --metrics x.jsonl
    fails 64 'nonsense' tf-train tiny.yaml -o x.tfck --nonsense
    [ ! -e x.tfck ]
    [ ! -e x.jsonl ]
}

# ---- outputs ----

@test "outputs that exist or cannot be made" {
    echo mine >x.tfck
    fails 73 'x.tfck: exists already; --force replaces it' tf-train tiny.yaml -o x.tfck
    fails 73 'x.tfck: exists already; --force replaces it' tf-train -n tiny.yaml -o x.tfck
    [ "$(cat x.tfck)" = mine ]
    works tf-train -q -f tiny.yaml -o x.tfck
    tf-inspect verify -q x.tfck
    mkdir folder
    fails 73 'folder: is a directory' tf-train -f tiny.yaml -o folder
    fails 73 'nowhere/x.tfck: cannot create: No such file or directory' tf-train tiny.yaml -o nowhere/x.tfck
    fails 73 'text.txt/x.tfck: cannot create: Not a directory' tf-train tiny.yaml -o text.txt/x.tfck
    fails 73 'm.jsonl: cannot be written' tf-train tiny.yaml -o y.tfck --metrics nowhere/m.jsonl
    echo mine >m.jsonl
    fails 73 'm.jsonl: exists already; --force replaces it' tf-train tiny.yaml -o y.tfck --metrics m.jsonl
    [ "$(cat m.jsonl)" = mine ]
    [ ! -e y.tfck ]
}

@test "a folder that cannot be written" {
    [ "$(id -u)" -ne 0 ] || skip "root may write anywhere"
    mkdir -m 555 closed
    fails 73 'closed/x.tfck: cannot create: Permission denied' tf-train tiny.yaml -o closed/x.tfck
}

@test "a file that may not grow so large: the old one is untouched" {
    echo mine >x.tfck
    fails 74 'x.tfck: cannot write: File too large' bash -c 'ulimit -f 40 && tf-train -q -f tiny.yaml -o x.tfck'
    [ "$(cat x.tfck)" = mine ]
}

@test "a full disk: the old checkpoint is untouched" {
    [ "$(id -u)" -eq 0 ] || skip "only root can mount a small disk"
    mkdir disk
    mount -t tmpfs -o size=200k tmpfs disk 2>/dev/null || skip "no mounts here"
    echo mine >disk/x.tfck
    run --separate-stderr tf-train -q -f tiny.yaml -o disk/x.tfck
    left=$(ls -A disk) kept=$(cat disk/x.tfck)
    umount disk
    [ "$status" -eq 74 ]
    [ "${#stderr_lines[@]}" -eq 1 ]
    [ "$stderr" = 'tf-train: error: disk/x.tfck: cannot write: No space left on device' ]
    [ "$left" = x.tfck ]
    [ "$kept" = mine ]
}

@test "metrics that cannot be written: nothing is begun" {
    [ -w /dev/full ] || skip "no /dev/full"
    fails 74 '/dev/full: metrics could not all be written: No space left on device' \
        tf-train -q tiny.yaml -o a.tfck --metrics /dev/full
    fails 74 'standard output: cannot write: No space left on device' \
        bash -c 'tf-train -q tiny.yaml -o a.tfck --json >/dev/full'
    [ ! -e a.tfck ]
}

# goes_on: the run was ended early, but saved, and goes on to the same bytes.
goes_on() {
    run -1 cmp -s m.tfck "$whole"
    tf-inspect verify -q m.tfck
    tf-train -q small.yaml -o m.tfck --resume
    cmp m.tfck "$whole"
}

@test "metrics that cannot be written any more end the run, saved" {
    mkfifo pipe
    tf-train small.yaml -o m.tfck --progress never --metrics pipe 2>log 3>&- &
    pid=$!
    exec 7<pipe
    lines 5
    exec 7<&-
    status=0
    wait "$pid" || status=$?
    [ "$status" -eq 74 ]
    [ "$(tail -n 1 log)" = 'tf-train: error: pipe: metrics could not all be written: Broken pipe' ]
    tail -n 2 log | head -n 1 | grep -qE '^tf-train: stopped at step [0-9]+ of 700; saved: run again with --resume to go on$'
    goes_on
}

@test "metrics on a full disk end the run, saved" {
    [ "$(id -u)" -eq 0 ] || skip "only root can mount a small disk"
    mkdir disk
    mount -t tmpfs -o size=16k tmpfs disk 2>/dev/null || skip "no mounts here"
    run --separate-stderr tf-train -q small.yaml -o m.tfck --metrics disk/m.jsonl
    umount disk
    [ "$status" -eq 74 ]
    [ "$stderr" = 'tf-train: error: disk/m.jsonl: metrics could not all be written: No space left on device' ]
    goes_on
}

@test "a reader of metrics that leaves ends the run, saved, and is no news" {
    run --separate-stderr bash -c 'tf-train -q small.yaml -o m.tfck --json | head -n 1; exit "${PIPESTATUS[0]}"'
    [ "$status" -eq 74 ]
    [ "$stderr" = '' ]
    goes_on
}

@test "metrics never touch a checkpoint" {
    fails 64 '--metrics x.tfck: is the output' tf-train tiny.yaml -o x.tfck --metrics x.tfck
    fails 64 '--metrics ./x.tfck: is the output' tf-train tiny.yaml -f -o x.tfck --metrics ./x.tfck
    [ ! -e x.tfck ]
    cp "$model" m.tfck
    ln -s m.tfck link
    fails 64 '--metrics m.tfck: is the output' tf-train tiny.yaml -f -o m.tfck --metrics m.tfck
    fails 64 '--metrics link: is the output' tf-train tiny.yaml -f -o m.tfck --metrics link
    fails 64 '--metrics m.tfck: is the output' tf-train tiny.yaml -o m.tfck --resume --metrics m.tfck
    fails 64 '--metrics m.tfck: is the output' tf-train tiny.yaml -n -o m.tfck --resume --metrics m.tfck
    for with in -f --resume; do
        cp "$model" n.tfck
        fails 73 'm.tfck: is a checkpoint; metrics go elsewhere' tf-train tiny.yaml $with -o n.tfck --metrics m.tfck
        fails 73 'link: is a checkpoint; metrics go elsewhere' tf-train tiny.yaml $with -o n.tfck --metrics link
    done
    cmp m.tfck "$model"
}

@test "metrics never touch an input" {
    cp "$model" m.tfck
    cp text.txt train.txt
    sum=$(cat tiny.yaml train.txt m.tfck | cksum)
    for with in -f --resume; do
        fails 64 '--metrics tiny.yaml: is an input' tf-train tiny.yaml $with -o m.tfck --metrics tiny.yaml
        fails 64 '--metrics ./train.txt: is an input' \
            tf-train tiny.yaml $with -o m.tfck --set 'data.train=[text.txt, train.txt]' --metrics ./train.txt
        fails 64 '--metrics train.txt: is an input' \
            tf-train tiny.yaml $with -o m.tfck --set 'data.valid=[train.txt]' --metrics train.txt
    done
    fails 64 '--metrics m.tfck: is an input' tf-train tiny.yaml -f -o n.tfck --init m.tfck --metrics m.tfck
    [ "$(cat tiny.yaml train.txt m.tfck | cksum)" = "$sum" ]
    [ ! -e n.tfck ]
}

# ---- going on, and beginning from another ----

@test "what cannot be resumed" {
    fails 66 'none.tfck: No such file or directory' tf-train tiny.yaml -o none.tfck --resume
    cp "$model" m.tfck
    flip m.tfck 3000
    sum=$(cksum <m.tfck)
    fails 65 'm.tfck: table embed.tokens: chunk 0' tf-train tiny.yaml -o m.tfck --resume --set train.steps=9
    [ "$sum" = "$(cksum <m.tfck)" ]
    head -c 5000 "$model" >m.tfck
    fails 65 'm.tfck' tf-train tiny.yaml -o m.tfck --resume
    cp text.txt m.tfck
    fails 65 'm.tfck' tf-train tiny.yaml -o m.tfck --resume
    cp "$model" m.tfck
    fails 78 'm.tfck: model.ffn_tokens: the run began with 44, and cannot go on with 45' tf-train tiny.yaml -o m.tfck --resume \
        --set model.ffn_tokens=45
    fails 78 'm.tfck: data.order: the run began with shuffled, and cannot go on with sequential' tf-train tiny.yaml \
        -o m.tfck --resume --set data.order=sequential
    fails 65 'm.tfck: the training text is not the one that this run began with' tf-train tiny.yaml -o m.tfck --resume \
        --set data.train=text.txt
    cmp m.tfck "$model"
    cp "$grown" g.tfck
    fails 65 'g.tfck: cannot be resumed: nothing was trained since it was grown; --init begins from it' \
        tf-train tiny.yaml -o g.tfck --resume --set model.ffn_tokens=88
    cmp g.tfck "$grown"
}

@test "--init begins from a grown checkpoint, which stays as it is" {
    sum=$(cksum <"$grown")
    works tf-train -q tiny.yaml -o t.tfck --init "$grown" # its config, not ours, says how many tokens
    works tf-inspect lineage t.tfck
    holds '3 train  6 steps'
    holds "from $(digest "$grown")"
    [ "$(tf-inspect stats --json t.tfck layers.1.ffn.keys | jq '.tables[0].zero_rows')" = 0 ]
    [ "$sum" = "$(cksum <"$grown")" ]
    tf-train -q tiny.yaml -o u.tfck --init "$grown" --set train.steps=3
    cp "$grown" same.tfck # the input may be the output
    fails 73 'same.tfck: exists already' tf-train tiny.yaml -o same.tfck --init same.tfck
    works tf-train -q -f tiny.yaml -o same.tfck --init same.tfck
    cmp same.tfck t.tfck
    fails 66 'none.tfck' tf-train tiny.yaml -o x.tfck --init none.tfck
    fails 64 '--set model.ffn_tokens=64: with --init the model is that of ' \
        tf-train tiny.yaml -o x.tfck --init "$grown" --set model.ffn_tokens=64
    fails 65 'text.txt' tf-train tiny.yaml -o x.tfck --init text.txt
    fails 78 'data.separator: "", but' tf-train tiny.yaml -o x.tfck --init "$grown" --set data.separator=none
    [ ! -e x.tfck ]
}

@test "what is frozen stays as it is" {
    works tf-train -q tiny.yaml -o t.tfck --init "$model" --set 'train.freeze=[layers.0.*, "*.tokens"]'
    run -1 tf-inspect diff "$model" t.tfck
    holds 'table layers.1.ffn.keys'
    holds 'table norm.weight'
    [[ $output != *'table layers.0'* ]]
    [[ $output != *'table embed'* ]]
    works tf-train -q tiny.yaml -o u.tfck --init "$grown" --set train.freeze=old-tokens
    for part in keys values; do
        tf-inspect dump "$grown" "layers.0.ffn.$part[0:44]" >old
        tf-inspect dump u.tfck "layers.0.ffn.$part[0:44]" | diff old -
        tf-inspect dump "$grown" "layers.0.ffn.$part[44:88]" >new
        tf-inspect dump u.tfck "layers.0.ffn.$part[44:88]" | run -1 diff -q new -
    done
}

# ---- what is kept ----

@test "keep_last and keep_best" {
    works tf-train -q tiny.yaml -o m.tfck --set train.save_interval=1 --set train.keep_last=2 --set train.eval_interval=2 \
        --set train.keep_best=true
    [ "$(echo m.*)" = 'm.best.tfck m.step-5.tfck m.step-6.tfck m.tfck' ]
    cmp m.tfck m.step-6.tfck
    for file in m.*; do
        zstd -q -t <"$file"
        tf-inspect verify -q "$file"
    done
    tf-inspect lineage m.step-5.tfck | grep -q '5 steps'
    works tf-train -q tiny.yaml -o n.tfck
    [ "$(echo n.*)" = n.tfck ]
}

# ---- what it says ----

@test "a dry run prints the plan and writes nothing" {
    mkdir new
    works tf-train --dry-run tiny.yaml -o new/x.tfck --metrics new/x.jsonl
    parameters=$(tf-inspect --json "$model" | jq .parameters)
    holds "parameters         $parameters"
    for kind in weights gradients moments activations text total; do
        [[ $output =~ memory\ $kind\ +[0-9.]+\ [KM]iB ]]
    done
    [[ $output =~ FLOPs\ a\ step\ +[0-9.e+]+ ]]
    [[ $output =~ disk\ a\ checkpoint\ +[0-9.]+\ [KM]iB\ before\ compression ]]
    holds 'training windows   '
    holds 'validation tokens  '
    works tf-train -n tiny.yaml -o new/x.tfck --json
    [ "$(jq -r .schema <<<"$output")" = tf-train-plan/1 ]
    [ "$(jq .parameters <<<"$output")" = "$parameters" ]
    jq -e '.memory | .weights + .gradients + .moments + .activations + .text == .total' <<<"$output"
    jq -e '.memory.weights >= 4 * .parameters and .memory.moments == 2 * .memory.weights' <<<"$output"
    jq -e '.checkpoint == 12 * .parameters and .flops_per_step > 6 * .parameters' <<<"$output"
    jq -e '.train_windows > 0 and .steps_per_epoch == ((.train_windows + 3) / 4 | floor)' <<<"$output"
    jq -e '.valid_tokens > 0 and .final_parameters == .parameters' <<<"$output"
    works tf-train -n tiny.yaml -o new/x.tfck --init "$grown" --json
    [ "$(jq .parameters <<<"$output")" = "$(tf-inspect --json "$grown" | jq .parameters)" ]
    [ "$(ls -A new)" = '' ]
}

@test "metrics" {
    metrics=$BATS_FILE_TMPDIR/small.jsonl
    [ "$(head -n 1 "$metrics" | jq -c 'keys_unsorted')" = \
        '["schema","output","parameters","steps","tokens_per_step","flops_per_step"]' ]
    [ "$(head -n 1 "$metrics" | jq -c '[.schema, .steps, .tokens_per_step]')" = '["tf-train/1",700,32]' ]
    [ "$(jq -c 'select(.event == "step") | keys_unsorted' "$metrics" | uniq -c | tr -s ' ')" = \
        ' 700 ["event","step","tokens","loss","lr","grad_norm","tokens_per_second","seconds","flops"]' ]
    [ "$(jq -c 'select(.event == "eval") | keys_unsorted' "$metrics" | uniq -c | tr -s ' ')" = \
        ' 7 ["event","step","tokens","loss","bits_per_byte","seconds","best","flops"]' ]
    jq -se '[.[] | select(.event == "step")] | all(.tokens == 32 * .step and .loss > 0 and .grad_norm > 0) and
        (map(.step) == [range(1; 701)])' "$metrics"
    jq -se '[.[] | select(.event == "eval")] | map(.step) == [range(100; 701; 100)] and first.best' "$metrics"
    [ "$(wc -l <"$metrics")" -eq 708 ]
    jq -se 'first.flops_per_step as $each | [.[] | select(.event)] | all(.flops == $each * .step)' "$metrics"
}

@test "metrics come each log_interval steps, and with the last" {
    works tf-train -q tiny.yaml -o m.tfck --set train.log_interval=4 --set train.eval_interval=5 --json
    [ "$(jq -c '[.schema, .event, .step]' <<<"$output" | tr '\n' ' ')" = \
        '["tf-train/1",null,null] [null,"step",4] [null,"eval",5] [null,"step",6] [null,"eval",6] ' ]
    [ "$stderr" = '' ]
    works tf-train -q tiny.yaml -f -o m.tfck --metrics -
    [ "$(head -n 1 <<<"$output" | jq -r .schema)" = tf-train/1 ]
}

@test "a resumed run adds to its metrics; a new one with -f begins them anew" {
    tf-train -q tiny.yaml -o m.tfck --metrics m.jsonl --max-time 1e-6
    [ "$(wc -l <m.jsonl)" -eq 2 ]
    tf-train -q tiny.yaml -o m.tfck --metrics m.jsonl --resume
    [ "$(jq -c '.schema // .step' m.jsonl | tr '\n' ' ')" = '"tf-train/1" 1 2 3 4 5 6 ' ]
    tf-train -q -f tiny.yaml -o m.tfck --metrics m.jsonl
    [ "$(jq -c '.schema // .step' m.jsonl | tr '\n' ' ')" = '"tf-train/1" 1 2 3 4 5 6 ' ]
}

@test "notes, quiet, verbose, progress" {
    works tf-train -q tiny.yaml -o m.tfck --set train.eval_interval=3
    [ "$output$stderr" = '' ]
    works tf-train tiny.yaml -f -o m.tfck --set train.eval_interval=3 --set train.save_interval=3
    [ "$output" = '' ]
    [[ ${stderr_lines[0]} == 'tf-train: '*' parameters, '*' of memory' ]]
    [[ ${stderr_lines[1]} == 'tf-train: step 3: validation loss '*' bits a byte' ]]
    [[ ${stderr_lines[2]} == 'step 6/6  loss '*' tokens/s  0s left' ]]
    [[ ${stderr_lines[3]} == 'tf-train: step 6: validation loss '*' bits a byte' ]]
    [ "${#stderr_lines[@]}" -eq 4 ]
    works tf-train tiny.yaml -f -o m.tfck --set train.save_interval=3 -v --progress never
    [ "${stderr_lines[1]}" = 'tf-train: step 3: saved m.tfck' ]
    [ "${stderr_lines[2]}" = 'tf-train: step 6: saved m.tfck' ]
    [ "${#stderr_lines[@]}" -eq 3 ]
    works tf-train tiny.yaml -q -f -o m.tfck --progress always
    [[ $stderr == 'step 6/6  loss '*' tokens/s  0s left' ]]
}

# on_terminal COMMAND: its output and errors on a terminal.
on_terminal() {
    TERM=xterm script -qec "$1" /dev/null </dev/null || true
}

@test "progress and colours on a terminal" {
    script -qec true /dev/null >/dev/null 2>&1 || skip "no pseudo-terminal"
    escape=$'\033'
    [[ $(on_terminal 'tf-train tiny.yaml -o a.tfck') == *$'\r'step*"$escape[K"* ]]
    [[ $(on_terminal 'tf-train tiny.yaml -o b.tfck --progress never') != *step* ]]
    [[ $(on_terminal 'tf-train none.yaml -o x.tfck') == *"$escape[1;31merror: $escape[0mnone.yaml"* ]]
    [[ $(NO_COLOR='' on_terminal 'tf-train none.yaml -o x.tfck') == *"$escape["* ]]
    [[ $(NO_COLOR=1 on_terminal 'tf-train none.yaml -o x.tfck') == *'tf-train: error: none.yaml'* ]]
    [[ $(on_terminal 'tf-train none.yaml -o x.tfck --color never') == *'tf-train: error: none.yaml'* ]]
    [[ $(tf-train none.yaml -o x.tfck --color always 2>&1) == *"$escape["* ]]
}

# ---- divergence ----

@test "a loss that runs away ends the run" {
    wild=(--set optimizer.lr=300 --set optimizer.warmup=0 --set train.divergence_window=2 --set train.divergence_factor=2)
    fails 70 'last good checkpoint: none was saved' tf-train -q tiny.yaml -o x.tfck "${wild[@]}"
    [ ! -e x.tfck ]
    cp "$model" m.tfck
    fails 70 'last good checkpoint: m.tfck, of step 6' tf-train -q tiny.yaml -o m.tfck --resume --set train.steps=50 "${wild[@]}"
    cmp m.tfck "$model"
}
