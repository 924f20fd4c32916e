#!/usr/bin/env bats
# Runs of tf-train that grow: stages, what follows a growth, token dropout, and what the lineage counts.

load common

# Eight steps; the model grows before the fourth and before the seventh.
stages=(tf-train -q tiny.yaml --set train.steps=8 --set train.save_interval=1 --set train.eval_interval=4 --set
    'grow.stages=[{at: 3, qkv: x2, ffn: +20, scale_ramp: 2}, {at: 6, ffn: x2, add_layers: 1, place: top}]')
staged() {
    "${stages[@]}" -o "$@"
}

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    tiny_model m.tfck
    tf-grow -q m.tfck -o grown.tfck --ffn x2
    staged staged.tfck --metrics staged.jsonl
}

setup() {
    cp "$BATS_FILE_TMPDIR/tiny.yaml" "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
    model=$BATS_FILE_TMPDIR/m.tfck
    grown=$BATS_FILE_TMPDIR/grown.tfck
    whole=$BATS_FILE_TMPDIR/staged.tfck
    metrics=$BATS_FILE_TMPDIR/staged.jsonl
}

# Nothing half-written is left, whether a test's runs succeed or fail.
teardown() {
    [ "$(find "$BATS_TEST_TMPDIR" -name '*.part' -o -name '*.lock')" = '' ]
}

rows() {
    tf-inspect --json tables "$1" | jq ".tables[] | select(.name == \"$2\") | .rows"
}

# cut_off LINE SIGNAL: a run to k.tfck, sent the signal when its metrics have so many lines. Its status.
cut_off() {
    local pid status=0
    mkfifo pipe
    "${stages[@]}" -o k.tfck --metrics pipe 3>&- &
    pid=$!
    exec 7<pipe
    for ((i = 0; i < $1; i++)); do read -r -u 7 || return 99; done
    kill -"$2" "$pid" || return 99
    cat <&7 >/dev/null
    wait "$pid" || status=$?
    exec 7<&-
    return "$status"
}

# ---- stages ----

@test "a run grows as its stages say" {
    [ "$(rows "$whole" layers.0.attn.q.keys)" = 40 ]
    [ "$(rows "$whole" layers.0.attn.o.keys)" = 12 ]
    [ "$(rows "$whole" layers.1.ffn.values)" = 128 ]
    [ "$(rows "$whole" layers.2.ffn.values)" != '' ]
    tf-inspect config "$whole" | grep -q '^  num_layers: 3$'
    [ "$(tf-inspect lineage --json "$whole" | jq -c '[.events[].kind]')" = '["train","grow","train","grow","train"]' ]
    [ "$(tf-inspect lineage --json "$whole" | jq -c '[.events[].steps // empty]')" = '[3,3,2]' ]
}

@test "threads and micro-batches do not show" {
    staged 1.tfck --threads 1
    staged 2.tfck --threads 2 --set train.micro_batch=3
    cmp 1.tfck "$whole"
    cmp 2.tfck "$whole"
}

@test "killed at any line of its metrics, around a growth, it is resumed to the same bytes" {
    for at in 4 5 6 8 9 10; do
        cut_off "$at" KILL || [ $? -eq 137 ] # or it was done
        staged k.tfck --resume
        cmp k.tfck "$whole"
        rm -f k.tfck pipe
    done
}

@test "stopped at any line of its metrics, it is resumed to the same bytes" {
    for at in 3 4 5 6 8 9; do
        cut_off "$at" TERM || [ $? -eq 75 ] # or it was done
        staged k.tfck --resume
        cmp k.tfck "$whole"
        rm -f k.tfck pipe
    done
}

@test "metrics of a run that grows" {
    [ "$(jq -c 'select(.event == "grow") | keys_unsorted' "$metrics" | uniq -c | tr -s ' ')" = \
        ' 2 ["event","step","method","parameters","loss_before","loss_after","flops"]' ]
    jq -se '[.[] | select(.event == "grow")] | map(.step) == [3, 6] and all(.method == "tokens") and
        all(.loss_before == .loss_after and .loss_before > 0) and .[0].parameters[1] == .[1].parameters[0]' "$metrics"
    [ "$(jq -s 'map(select(.event == "grow")) | last.parameters[1]' "$metrics")" = "$(tf-inspect --json "$whole" | jq .parameters)" ]
    jq -se '[.[] | select(.flops) | .flops] | . == sort' "$metrics"
    jq -se '[.[] | select(.event == "step") | .flops] as $f | ($f[3] - $f[2] > $f[2] - $f[1]) and ($f[6] - $f[5] > $f[5] - $f[4])' \
        "$metrics"
}

@test "a dry run plans for the largest model" {
    works staged x.tfck --dry-run --json
    jq -e '.final_parameters > .parameters and .checkpoint == 12 * .final_parameters' <<<"$output"
    [ "$(jq .final_parameters <<<"$output")" = "$(tf-inspect --json "$whole" | jq .parameters)" ]
    works staged x.tfck --dry-run
    holds 'parameters, grown  '
    [ ! -e x.tfck ]
}

@test "stages that are refused" {
    fails 78 'grow.stages: at 3: ' tf-train tiny.yaml -o x.tfck --set 'grow.stages=[{at: 3, ffn: 4}]'
    fails 78 'grow.stages: at 3: ' tf-train tiny.yaml -o x.tfck --set 'grow.stages=[{at: 3, ffn: x2, layers: 7}]'
    fails 78 'grow.stages: at 6 is not below train.steps 6' tf-train tiny.yaml -o x.tfck --set 'grow.stages=[{at: 6, ffn: x2}]'
    fails 78 'grow.stages: unknown key fnn (did you mean ffn?)' tf-train tiny.yaml -o x.tfck --set 'grow.stages=[{at: 3, fnn: x2}]'
    printf 'grow:\n  - {at: 3, ffn: twice}\n' >c.yaml
    fails 78 'c.yaml:2:18: grow.stages.ffn: expected a target 512, x2 or +256, found "twice"' tf-train c.yaml -o x.tfck
    cp "$whole" w.tfck
    fails 78 'w.tfck: grow.stages: the run has grown by [{at: 3, qkv: x2, ffn: +20, scale_ramp: 2}], and cannot go on with []' \
        tf-train tiny.yaml -o w.tfck --resume --set train.steps=9
    cmp w.tfck "$whole"
    [ ! -e x.tfck ]
}

@test "a finished run grows once more" {
    cp "$whole" w.tfck
    tf-train -q tiny.yaml -o w.tfck --resume --set train.steps=10 --set \
        'grow.stages=[{at: 3, qkv: x2, ffn: +20, scale_ramp: 2}, {at: 6, ffn: x2, add_layers: 1}, {at: 8, proj: x2}]'
    [ "$(rows w.tfck layers.0.attn.o.keys)" = 24 ]
}

@test "a transformer grows in width inside its run, and is resumed" {
    wider() {
        tf-train -q tiny.yaml -o "$1" --set model.kind=transformer --set 'grow.stages=[{at: 3, method: hyperclone, width: x2}]' "${@:2}"
    }
    wider a.tfck
    [ "$(rows a.tfck layers.0.attn.q.weight)" = 64 ]
    wider b.tfck --max-time 0.000001s
    for ((i = 0; i < 5; i++)); do wider b.tfck --resume --max-time 0.000001s; done
    cmp a.tfck b.tfck
}

# ---- what follows a growth ----

@test "new rows learn at a rate of their own, old ones as ever" {
    tf-train -q tiny.yaml -o a.tfck --init "$grown" --set train.steps=1 --set optimizer.warmup=0
    tf-train -q tiny.yaml -o b.tfck --init "$grown" --set train.steps=1 --set optimizer.warmup=0 --set grow.new_lr=3
    for part in keys values; do
        tf-inspect dump a.tfck "layers.0.ffn.$part[0:44]" >old
        tf-inspect dump b.tfck "layers.0.ffn.$part[0:44]" | diff old -
        tf-inspect dump a.tfck "layers.0.ffn.$part[44:88]" >new
        tf-inspect dump b.tfck "layers.0.ffn.$part[44:88]" | run -1 diff -q new -
    done
    tf-train -q tiny.yaml -o c.tfck --init "$model" --set grow.new_lr=3 # never grown: nothing is new
    tf-train -q tiny.yaml -o d.tfck --init "$model"
    cmp <(tf-inspect digest c.tfck) <(tf-inspect digest d.tfck)
}

@test "old tokens wait for freeze_steps" {
    tf-train -q tiny.yaml -o t.tfck --init "$grown" --set train.steps=3 --set grow.freeze_steps=3
    tf-inspect dump "$grown" 'layers.0.ffn.keys[0:44]' >old
    tf-inspect dump t.tfck 'layers.0.ffn.keys[0:44]' | diff old -
    tf-train -q tiny.yaml -o t.tfck --resume --set model.ffn_tokens=88 --set train.steps=4 --set grow.freeze_steps=3
    tf-inspect dump t.tfck 'layers.0.ffn.keys[0:44]' | run -1 diff -q old -
}

@test "token dropout: the same bytes however the run is made" {
    dropped() {
        tf-train -q tiny.yaml -o "$1" --set train.token_dropout=0.8 "${@:2}"
    }
    dropped a.tfck
    run -1 cmp -s a.tfck "$model"
    dropped b.tfck --threads 1 --set train.micro_batch=3
    cmp a.tfck b.tfck
    dropped c.tfck --max-time 0.000001s
    for ((i = 0; i < 5; i++)); do dropped c.tfck --resume --max-time 0.000001s; done
    cmp a.tfck c.tfck
}
