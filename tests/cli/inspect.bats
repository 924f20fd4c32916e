#!/usr/bin/env bats
# tf-inspect: each verb, what it prints, and what it refuses.

load common

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    tiny_model m.tfck
    tf-grow -q m.tfck -o g.tfck --ffn x2
}

setup() {
    cp "$BATS_FILE_TMPDIR"/*.tfck "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
}

# says NAME VALUE: show's line of that name is this value.
says() {
    [[ $'\n'$output$'\n' == *$'\n'"$(printf '%-11s %s' "$1" "$2")"$'\n'* ]] || blame "no line $1 $2"
}

@test "show is the default, and quick to read" {
    works tf-inspect show m.tfck
    shown=$output
    works tf-inspect m.tfck
    [ "$output" = "$shown" ]
    says file m.tfck
    says layers 2
    says width 32
    says heads 2
    says window 32
    says vocabulary '272, tied'
    says activation l2_norm_gelu
    says tokens 'qkv 20, proj 12, ffn 44'
    says parameters 23616
    says tokenizer 'bytes, 257 ids, separator <|endoftext|>'
    says training 'step 6, 768 tokens'
    says optimizer 'state present'
    says lineage 'trained 6 steps'
    [[ $output == *$'\nformat      1.0, '* ]]
    [[ $output != *digest* ]]
    works tf-inspect -v g.tfck
    says digest "$(tf-inspect digest g.tfck | tail -n 1 | cut -c 1-32)"
    says lineage 'trained 6 steps, grew 2 Pattentions'
}

@test "show reads the directory alone" {
    flip m.tfck 3000
    works tf-inspect m.tfck
    says layers 2
    fails 65 'm.tfck: table embed.tokens: chunk 0' tf-inspect -v m.tfck
}

@test "show --json" {
    works tf-inspect show g.tfck --json
    [ "$(jq -r '"\(.schema) \(.verb)"' <<<"$output")" = 'tf-inspect/1 show' ]
    [ "$(jq -c '[.model.layers, .model.ffn_tokens, .tokenizer.ids, .step, .best_loss, .optimizer_state, .events]' \
        <<<"$output")" = '[2,[88,88],257,6,null,true,2]' ]
    [ "$(jq .bytes <<<"$output")" = "$(stat -c %s g.tfck)" ]
}

@test "tables" {
    works tf-inspect tables m.tfck
    [[ ${lines[0]} == table*type*rows*cols*scale*bytes*ratio ]]
    [[ ${lines[1]} == embed.tokens*f32*272*32* ]]
    [ "${#lines[@]}" -eq 70 ]
    works tf-inspect tables --long m.tfck
    [[ ${lines[1]} == embed.tokens*f32*272*32*parameter*planes*1*1 ]]
    [[ $output == *'optim.m/layers.0.attn.k.keys '*moment* ]]
    works tf-inspect tables --json m.tfck
    [ "$(jq -c '.tables[1] | [.name, .role, .dtype, .rows, .cols, .scale, .row_group]' <<<"$output")" = \
        '["layers.0.attn.k.keys","parameter","f32",20,32,20,2]' ]
    [ "$(jq '[.tables[] | select(.role == "parameter") | .rows * .cols] | add' <<<"$output")" = 23616 ]
    [ "$(jq '[.tables[].row_group] | max' <<<"$output")" = 13 ]
}

@test "tables --diffable shows models and not how they are stored" {
    tf-inspect tables --diffable m.tfck >a
    tf-inspect tables --diffable g.tfck >b
    [ "$(head -n 1 a)" = "embed.tokens f32 272 32 0 $(tf-inspect digest m.tfck | head -n 1 | cut -c 1-32)" ]
    run -1 diff a b
    [ "$(grep -c '^<' <<<"$output")" -eq 12 ]
    fails 64 'exclude each other' tf-inspect tables --long --diffable m.tfck
}

@test "config gives back a config that trains" {
    works tf-inspect config m.tfck
    holds '  ffn_tokens: 44'
    tf-inspect config m.tfck >again.yaml
    tf-train -q again.yaml -o again.tfck
    cmp m.tfck again.tfck
}

@test "lineage" {
    works tf-inspect lineage g.tfck
    # a token: 6 x (272 x 32 of the embedding, twice 2 x (3 x 20 + 12 + 44) x 32) + 12 x 2 x 32 x 32
    [ "${lines[0]}" = '1 train  6 steps, 768 tokens, 1.274e+08 FLOPs, from the start' ] || blame "${lines[0]}"
    [ "${lines[1]}" = "2 grow   keys zero, values random, scale keep, seed 1, from $(tf-inspect digest m.tfck |
        tail -n 1 | cut -c 1-32)" ]
    [ "${lines[2]}" = '         layers.0.ffn  44 -> 88' ]
    [ "${lines[4]}" = 'total    6 steps, 768 tokens, 1.274e+08 FLOPs, seconds not known' ] || blame "${lines[4]}"
    works tf-inspect lineage g.tfck --json
    [ "$(jq -c '.events[1] | [.kind, .rows[1]]' <<<"$output")" = \
        '["grow",{"name":"layers.1.ffn","before":44,"after":88}]' ]
    [ "$(jq -c '.events[0] | [.kind, .from, .steps, .seconds]' <<<"$output")" = '["train",null,6,null]' ]
    [ "$(jq -c '.events[1] | [.method, .layers, .place, .width]' <<<"$output")" = '["tokens",null,null,null]' ]
    [ "$(jq -c '.total | [.steps, .tokens, .seconds]' <<<"$output")" = '[6,768,null]' ]
    [ "$(jq '.total.flops == .events[0].flops and .total.flops == 768 * 165888' <<<"$output")" = true ] ||
        blame "$(jq .total.flops <<<"$output")"
    works tf-inspect show --json g.tfck
    [ "$(jq '.flops == 768 * 165888' <<<"$output")" = true ]
    works tf-inspect g.tfck
    says compute '1.274e+08 FLOPs in 6 steps, 768 tokens'
}

@test "lineage: layers and width that grew; seconds, where the run noted them" {
    works tf-inspect lineage "$TF_ROOT/tests/golden/checkpoints/1.0.tfck"
    [ "${lines[0]}" = '1 train  2 steps, 32 tokens, FLOPs not known, from the start' ]
    [ "${lines[1]}" = 'total    2 steps, 32 tokens, FLOPs not known, seconds not known' ]
    works tf-inspect "$TF_ROOT/tests/golden/checkpoints/1.0.tfck"
    [[ $output != *compute* ]]
    tf-inspect unpack -q m.tfck -o u
    cat >u/lineage.yaml <<'END'
- event: train
  from: ""
  steps: 6
  tokens: 768
  flops: 1e12
  seconds: 12.25
- event: grow
  from: "0123456789abcdef0123456789abcdef"
  method: net2net
  keys: ""
  values: ""
  scale: ""
  layers: [2, 3]
  width: [16, 32]
  place: middle
  seed: 4
  rows:
    layers.1.ffn: [0, 44]
- event: train
  from: "0123456789abcdef0123456789abcdef"
  steps: 4
  tokens: 100
  flops: 5e11
  seconds: 2
END
    tf-inspect pack -q u -o p.tfck
    works tf-inspect lineage p.tfck
    [ "$output" = '1 train  6 steps, 768 tokens, 1e+12 FLOPs, 12.2 seconds, from the start
2 grow   net2net, seed 4, from 0123456789abcdef0123456789abcdef
         layers  2 -> 3, at middle
         width  16 -> 32
         layers.1.ffn  0 -> 44
3 train  4 steps, 100 tokens, 5e+11 FLOPs, 2.0 seconds, from 0123456789abcdef0123456789abcdef
total    10 steps, 868 tokens, 1.5e+12 FLOPs, 14.2 seconds' ] || blame lineage
    works tf-inspect lineage --json p.tfck
    [ "$(jq -c '.events[1] | [.method, .keys, .layers.after, .place, .width.before]' <<<"$output")" = \
        '["net2net",null,3,"middle",16]' ]
    [ "$(jq -c .total <<<"$output")" = '{"steps":10,"tokens":868,"flops":1500000000000,"seconds":14.25}' ]
    works tf-inspect p.tfck
    says lineage 'trained 6 steps, grew to width 32, trained 4 steps'
}

@test "stats" {
    works tf-inspect stats g.tfck
    [ "${#lines[@]}" -eq 70 ]
    works tf-inspect stats g.tfck 'layers.*.ffn.keys' norm.weight
    [ "${#lines[@]}" -eq 4 ]
    [[ ${lines[1]} == layers.0.ffn.keys*44 ]]
    [[ ${lines[3]} == norm.weight* ]]
    works tf-inspect stats g.tfck 'layers.1.ffn.keys[40:50,-1]'
    [ "${#lines[@]}" -eq 2 ]
    [[ ${lines[1]} == layers.1.ffn.keys*' 7' ]]
    fails 66 "g.tfck: no table matches 'layers.9*'" tf-inspect stats g.tfck 'layers.9*'
}

@test "stats agree with the numbers that dump prints" {
    tf-inspect dump m.tfck layers.1.attn.q.values >rows
    [ "$(wc -l <rows)" -eq 20 ]
    works tf-inspect stats --json m.tfck layers.1.attn.q.values
    awk -v mean="$(jq .tables[0].mean <<<"$output")" -v rms="$(jq .tables[0].rms <<<"$output")" \
        -v least="$(jq .tables[0].min <<<"$output")" -v norm="$(jq .tables[0].row_norm_mean <<<"$output")" '
        function abs(x) { return x < 0 ? -x : x }
        {
            row = 0
            for (i = 1; i <= NF; i++) { sum += $i; row += $i * $i; if ($i < low) low = $i }
            squares += row; norms += sqrt(row); n += NF
        }
        END {
            exit n != 640 || abs(sum / n - mean) > 1e-7 || abs(sqrt(squares / n) - rms) > 1e-7 ||
                abs(low - least) > 1e-7 || abs(norms / NR - norm) > 1e-6
        }' rows
}

@test "dump of some rows" {
    tf-inspect dump m.tfck embed.tokens >all
    for range in 5:9 :3 270: 7 -1; do
        works tf-inspect dump m.tfck "embed.tokens[$range]"
        first=${range%%:*} end=${range##*:}
        case $range in
        *:*) ;;
        -1) first=271 end=272 ;;
        *) end=$((range + 1)) ;;
        esac
        [ "$output" = "$(sed -n "$((${first:-0} + 1)),${end:-272}p" all)" ]
    done
    works tf-inspect dump m.tfck 'embed.tokens[-2:,7,5:8]'
    [ "$output" = "$(sed -n '6,8p;271,272p' all)" ]
    fails 64 "'embed.tokens[9:5]' is not within the 272 rows of embed.tokens" \
        tf-inspect dump m.tfck 'embed.tokens[9:5]'
    fails 64 "'embed.tokens[0:273]' is not within" tf-inspect dump m.tfck 'embed.tokens[0:273]'
    for range in '[]' '[a]' '[1' '[1:2' '[1:2]x' '[--1]' '[1:2:3]'; do
        fails 64 'is not a selection of rows: write embed.tokens[2:9]' tf-inspect dump m.tfck "embed.tokens$range"
    done
    fails 66 "m.tfck: no table matches 'tokens'" tf-inspect dump m.tfck 'tokens[1]'
    fails 64 "'norm.*' means 2 tables, must be one" tf-inspect dump m.tfck 'norm.*'
}

@test "dump as a NumPy file" {
    works tf-inspect dump m.tfck 'norm.weight' -o w.npy
    tf-inspect dump m.tfck 'norm.weight' --npy >w2.npy
    cmp w.npy w2.npy
    [ "$(stat -c %s w.npy)" -eq $((128 + 32 * 4)) ]
    [ "$(head -c 6 w.npy | od -An -tx1)" = ' 93 4e 55 4d 50 59' ]
    grep -qa "'descr': '<f4', 'fortran_order': False, 'shape': (1, 32)" w.npy
    [ "$(tail -c 128 w.npy | od -An -v -w4 -tf4 | awk '{ printf "%.5g ", $1 }')" = \
        "$(tf-inspect dump m.tfck norm.weight | tr ' ' '\n' | awk '{ printf "%.5g ", $1 }')" ]
    fails 73 'w.npy: exists already' tf-inspect dump m.tfck norm.weight -o w.npy
    works tf-inspect dump m.tfck norm.bias -f -o w.npy
}

@test "binary does not go to a terminal" {
    script -qec true /dev/null >/dev/null 2>&1 || skip "no pseudo-terminal"
    run script -qec 'tf-inspect dump m.tfck norm.weight --npy' /dev/null
    [ "$status" -eq 64 ]
    [[ $output == *'binary does not go to a terminal'* ]]
}

@test "verify and digest" {
    works tf-inspect verify g.tfck
    holds "good: 69 tables, 81 chunks, $(stat -c %s g.tfck) bytes"
    works tf-inspect verify g.tfck --json
    [ "$(jq -c '[.good, .tables]' <<<"$output")" = '[true,69]' ]
    works tf-inspect digest m.tfck
    [[ ${lines[0]} =~ ^[0-9a-f]{32}'  embed.tokens'$ ]]
    [[ ${lines[69]} =~ ^[0-9a-f]{32}'  model'$ ]]
    cut -c 35- <<<"$output" | head -n 69 | sort -c
    works tf-inspect digest m.tfck --json
    [ "$(jq -r .model <<<"$output")" = "$(tf-inspect digest m.tfck | tail -n 1 | cut -c 1-32)" ]
}

@test "diff" {
    cp m.tfck same.tfck
    works tf-inspect diff m.tfck same.tfck
    [ -z "$output" ]
    run --separate-stderr tf-inspect diff m.tfck g.tfck
    [ "$status" -eq 1 ]
    [ -z "$stderr" ]
    holds 'config model.ffn_tokens: 44 | 88'
    holds 'lineage: differs'
    holds 'table layers.1.ffn.keys: rows 44 | 88; first 44 rows: max 0, rms 0'
    run -1 tf-inspect diff m.tfck g.tfck --json
    [ "$(jq -c '[.same, .config[0].key, .same_blobs.tokenizer, (.tables | length)]' <<<"$output")" = \
        '[false,"model.ffn_tokens",true,12]' ]
    works tf-inspect diff m.tfck same.tfck --json
    [ "$(jq -c '[.same, .config, .tables]' <<<"$output")" = '[true,[],[]]' ]
}

@test "diff of two trainings" {
    tiny_model other.tfck --set train.seed=2 --set model.tie_embeddings=false
    run -1 tf-inspect diff m.tfck other.tfck
    holds 'config train.seed: 1 | 2'
    holds 'config model.tie_embeddings: true | false'
    holds 'table head.tokens: only in other.tfck'
    [[ $output =~ 'table embed.tokens: 272 rows: max 0.'[0-9]+', rms 0.02' ]]
    [[ $output != *tokenizer* ]]
}

@test "results go where -o says, whole or not at all" {
    works tf-inspect tables m.tfck -o out.txt
    [ -z "$output" ]
    tf-inspect tables m.tfck | cmp - out.txt
    fails 73 'out.txt: exists already' tf-inspect tables m.tfck -o out.txt
    flip m.tfck 3000
    fails 65 'm.tfck: table embed.tokens: chunk 0' tf-inspect digest m.tfck -o new.txt
    [ ! -e new.txt ]
    [ "$(find . -name '.*.part')" = '' ]
}

@test "wrong calls" {
    fails 64 'show: no checkpoint given' tf-inspect
    fails 64 'tables: no checkpoint given' tf-inspect tables
    fails 64 'dump: an operand is missing' tf-inspect dump m.tfck
    fails 64 'diff: an operand is missing' tf-inspect diff m.tfck
    fails 64 "verify: one operand too many: 'g.tfck'" tf-inspect verify m.tfck g.tfck
    fails 64 'verify takes no --long' tf-inspect verify m.tfck --long
    fails 64 'config takes no --json' tf-inspect config m.tfck --json
    fails 64 'unknown option' tf-inspect m.tfck --no-such-thing
    works tf-inspect --help
    for verb in set slice drop replace append transplant cast repack unpack pack recover; do
        holds $'\n  '"$verb "
    done
}

@test "wrong inputs" {
    mkdir folder
    : >empty
    head -c 1000 m.tfck >short
    head -c 5000 /dev/zero >zeros
    for verb in show tables config lineage stats verify digest; do
        fails 66 'none.tfck' tf-inspect $verb none.tfck
        fails 66 'folder' tf-inspect $verb folder
        for bad in empty short zeros; do
            fails 65 "$bad: " tf-inspect $verb $bad
        done
    done
    fails 66 'none.tfck' tf-inspect diff m.tfck none.tfck
    fails 65 'short: ' tf-inspect diff short m.tfck
    flip m.tfck 3000
    fails 65 'm.tfck: table embed.tokens: chunk 0: checksum mismatch' tf-inspect verify m.tfck
}

@test "a full disk and a closed pipe" {
    [ -w /dev/full ] || skip "no /dev/full"
    fails 74 'No space left' bash -c 'tf-inspect tables m.tfck >/dev/full'
    fails 74 'rows.txt: cannot write: File too large' \
        bash -c 'ulimit -f 16 && tf-inspect dump m.tfck embed.tokens -o rows.txt'
    [ ! -e rows.txt ]
    run --separate-stderr bash -c 'tf-inspect dump m.tfck embed.tokens | head -n 1'
    [ "$status" -eq 0 ]
    [ -z "$stderr" ]
}
