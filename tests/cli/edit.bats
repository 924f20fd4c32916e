#!/usr/bin/env bats
# tf-inspect's edits of whole tables and of what goes with them: set, drop, cast, repack.

load common

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    tiny_model m.tfck
    head -c 4000 "$TF_ROOT/data/stories-valid.txt" >text.txt
}

setup() {
    cp "$BATS_FILE_TMPDIR/m.tfck" "$BATS_FILE_TMPDIR/text.txt" "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
}

# digest FILE: the model's.
digest() {
    tf-inspect digest "$1" | tail -n 1 | cut -c 1-32
}

# says TEXT: the last command's stderr holds the text.
says() {
    [[ $stderr == *"$1"* ]] || blame "stderr lacks: $1"
}

@test "set: keys of the config that are no part of the model" {
    before=$(digest m.tfck)
    works tf-inspect set m.tfck -o out.tfck train.seed=3 'data.train=[a.txt, b.txt]' optimizer.lr=5e-4
    says 'function: exact'
    works tf-inspect config out.tfck
    holds 'seed: 3'
    holds 'train: [a.txt, b.txt]'
    holds 'lr: 0.0005'
    [ "$(digest out.tfck)" = "$before" ]
    [ "$(tf-inspect lineage --json out.tfck | jq '.events | length')" = 1 ]
}

@test "set: the scale of Pattentions, by pattern" {
    works tf-inspect set m.tfck -o out.tfck 'layers.*.ffn.scale=512' layers.1.attn.o.scale=3 \
        'layers.*.attn.[qkv].scale=7'
    says 'function: changed (layers.0.ffn has another scale)'
    works tf-inspect tables out.tfck --json
    [ "$(jq -c '[.tables[] | select(.scale == 512) | .name]' <<<"$output")" = \
        '["layers.0.ffn.keys","layers.0.ffn.values","layers.1.ffn.keys","layers.1.ffn.values"]' ]
    [ "$(jq '[.tables[] | select(.scale == 3)] | length' <<<"$output")" = 2 ]
    [ "$(jq '[.tables[] | select(.scale == 7)] | length' <<<"$output")" = 12 ]
    works tf-inspect lineage out.tfck
    holds "2 edit   set, function changed, from $(digest m.tfck)"
    works tf-eval out.tfck text.txt
}

@test "set: what it refuses" {
    fails 64 "'train.seed': expected KEY=VALUE" tf-inspect set m.tfck -o out.tfck train.seed
    fails 78 'train.sed: unknown key (did you mean train.seed?)' tf-inspect set m.tfck -o out.tfck train.sed=1
    fails 64 'model.ffn_tokens: cannot be set: the tables say it' tf-inspect set m.tfck -o out.tfck model.ffn_tokens=1
    fails 78 'model.num_attention_heads: 3 does not divide hidden_size 32' \
        tf-inspect set m.tfck -o out.tfck model.num_attention_heads=3
    fails 64 'found "-1"' tf-inspect set m.tfck -o out.tfck layers.0.ffn.scale=-1
    fails 66 'layers.7.ffn' tf-inspect set m.tfck -o out.tfck layers.7.ffn.scale=1
    fails 64 'set: an operand is missing' tf-inspect set m.tfck -o out.tfck
    [ ! -e out.tfck ]
}

@test "drop optim: a model for release" {
    works tf-inspect drop m.tfck -o out.tfck optim
    says 'function: exact'
    [ "$(digest out.tfck)" = "$(digest m.tfck)" ]
    [ "$(tf-inspect tables out.tfck | grep -c optim)" = 0 ]
    [ "$(tf-inspect tables m.tfck | grep -c optim)" = 46 ]
    [ "$(stat -c %s out.tfck)" -lt $(($(stat -c %s m.tfck) / 2)) ]
    works tf-inspect verify out.tfck
    works tf-eval m.tfck text.txt
    before=$output
    works tf-eval out.tfck text.txt
    [ "$output" = "$before" ]
    fails 66 'out.tfck: has no optimizer state' tf-inspect drop out.tfck -o again.tfck optim
}

@test "drop: the moments of some tables, in pairs; never parameters" {
    works tf-inspect drop m.tfck -o out.tfck 'optim.m/*.ffn.*'
    [ "$(tf-inspect tables out.tfck | grep -c 'optim.*ffn')" = 0 ]
    [ "$(tf-inspect tables out.tfck | grep -c optim)" = 38 ]
    fails 64 'norm.bias: is a parameter; the model cannot be without it' tf-inspect drop m.tfck -o o2.tfck norm.bias
    fails 66 'nothing' tf-inspect drop m.tfck -o o2.tfck 'nothing*'
    [ ! -e o2.tfck ]
    works tf-inspect out.tfck
    holds 'optimizer   state of some tables'
    [ "$(tf-inspect --json out.tfck | jq .optimizer_state)" = false ]
}

@test "cast: half the size, and back" {
    works tf-inspect cast m.tfck -o half.tfck bf16
    says 'function: changed (numbers of embed.tokens are rounded to bf16)'
    works tf-inspect tables half.tfck --long
    [ "$(grep -c ' bf16 .* parameter ' <<<"$output")" = 23 ]
    [ "$(grep -c ' f32 .* moment ' <<<"$output")" = 46 ]
    works tf-eval half.tfck text.txt
    works tf-inspect cast half.tfck -o wide.tfck f32
    says 'function: exact'
    works tf-inspect cast wide.tfck -o again.tfck bf16
    says 'function: exact'
    [ "$(digest again.tfck)" = "$(digest half.tfck)" ]
}

@test "cast: some tables, moments when they are named" {
    works tf-inspect cast m.tfck -o out.tfck f16 'optim.*'
    says 'function: exact'
    [ "$(digest out.tfck)" = "$(digest m.tfck)" ]
    works tf-inspect cast m.tfck -o keys.tfck f16 'layers.*.keys'
    [ "$(tf-inspect tables keys.tfck --long | grep -c ' f16 ')" = 10 ]
    fails 64 "cast: 'f64' is no type: write f32, bf16 or f16" tf-inspect cast m.tfck -o o2.tfck f64
    fails 66 'none' tf-inspect cast m.tfck -o o2.tfck f16 none
    [ ! -e o2.tfck ]
}

@test "repack: full chunks, the same model" {
    tf-grow -q m.tfck -o g.tfck --ffn x2 --qkv +3
    works tf-inspect repack g.tfck -o r.tfck --level 9
    [ "$(digest r.tfck)" = "$(digest g.tfck)" ]
    [ "$(tf-inspect tables --json r.tfck | jq '[.tables[].chunks] | max')" = 1 ]
    [ "$(tf-inspect tables --json g.tfck | jq '[.tables[].chunks] | max')" = 2 ]
    works tf-inspect repack m.tfck -o same.tfck
    cmp m.tfck same.tfck
    fails 64 level tf-inspect repack m.tfck -o o2.tfck --level 10
    fails 64 'set takes no --level' tf-inspect set m.tfck -o o2.tfck --level 3 train.seed=1
}

@test "--dry-run says what would be done and does nothing" {
    cp m.tfck before.tfck
    works tf-inspect cast m.tfck -o out.tfck f16 'layers.0.ffn.*' -n
    holds 'layers.0.ffn.keys                  f32 -> f16'
    holds 'tables      69 written, 0 left out'
    holds 'function    changed (numbers of layers.0.ffn.keys are rounded to f16)'
    works tf-inspect drop m.tfck -o out.tfck optim --dry-run
    holds 'tables      23 written, 46 left out'
    holds 'coded anew  0 rows'
    works tf-inspect set m.tfck -o out.tfck layers.0.ffn.scale=5 -n
    holds 'layers.0.ffn.keys                  scale 44 -> 5'
    works tf-inspect repack m.tfck -o out.tfck -n
    holds 'copied      0 chunks'
    touch taken.tfck
    fails 73 'taken.tfck: exists already' tf-inspect repack m.tfck -o taken.tfck -n
    [ ! -e out.tfck ]
    [ ! -s taken.tfck ]
    cmp m.tfck before.tfck
}

@test "the input stays as it is, unless -f puts the output in its place" {
    cp m.tfck before.tfck
    fails 73 'm.tfck: exists already' tf-inspect drop m.tfck -o m.tfck optim
    cmp m.tfck before.tfck
    works tf-inspect drop m.tfck -o m.tfck -f -q optim
    [ -z "$stderr" ]
    [ "$(digest m.tfck)" = "$(digest before.tfck)" ]
    [ "$(tf-inspect tables m.tfck | grep -c optim)" = 0 ]
    fails 64 'drop: -o with the name of the result is needed' tf-inspect drop before.tfck optim
    fails 64 'drop: -o with the name of the result is needed' tf-inspect drop before.tfck -o - optim
    [ "$(find . -name '.*.part' | wc -l)" = 0 ]
}
