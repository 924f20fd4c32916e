#!/usr/bin/env bats
# A model of kind transformer: every program, and every verb of tf-inspect, as on a tokenformer.

load common

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    tiny_model t.tfck --set model.kind=transformer
    tiny_model other.tfck --set model.kind=transformer --set train.seed=2
    tiny_model tokens.tfck
    head -c 3000 "$TF_ROOT/data/stories-valid.txt" >text.txt
}

setup() {
    cp "$BATS_FILE_TMPDIR"/*.tfck "$BATS_FILE_TMPDIR"/text.txt "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
}

# zeros_npy ROWS FILE: rows of 32 zeros, under the header of a real dump.
zeros_npy() {
    tf-inspect dump t.tfck "embed.tokens[:$1]" -o "$2"
    truncate -s 128 "$2"
    truncate -s $((128 + $1 * 128)) "$2"
}

# loss FILE: as tf-eval says it, to the last digit.
loss() {
    tf-eval "$1" text.txt --json | jq .nats_per_token
}

# figures FILE: all that tf-eval says, but for whose it is.
figures() {
    tf-eval "$1" text.txt --json | jq -c 'del(.model_digest)'
}

@test "show says the kind, and the tokens that there are" {
    works tf-inspect t.tfck
    holds $'\nkind        transformer\n'
    holds $'\nactivation  gelu\n'
    holds $'\ntokens      ffn 44\n'
    # 272 x 32, 2 of 4 x 32 x 32 and 2 x 44 x 32, and the last norm
    holds $'\nparameters  22592\n'
    works tf-inspect t.tfck --json
    [ "$(jq -c '.model | [.kind, .norm_activation, .qkv_tokens, .proj_tokens, .ffn_tokens]' <<<"$output")" = \
        '["transformer","gelu",[],[],[44,44]]' ]
    works tf-inspect tokens.tfck
    holds $'\nkind        tokenformer\n'
}

@test "tables, without a scale; stats; digest; verify" {
    works tf-inspect tables t.tfck
    holds layers.1.attn.q.weight
    holds layers.0.ffn.values
    [[ $output != *attn.q.keys* ]]
    works tf-inspect tables --json t.tfck
    [ "$(jq -c '[.tables[] | select(.role == "parameter" and (.name | startswith("layers.0"))) | [.name, .rows, .cols]]' \
        <<<"$output")" = '[["layers.0.attn.k.weight",32,32],["layers.0.attn.o.weight",32,32],["layers.0.attn.q.weight",32,32],["layers.0.attn.v.weight",32,32],["layers.0.ffn.keys",44,32],["layers.0.ffn.values",44,32]]' ]
    [ "$(jq -c '[.tables[].scale] | unique' <<<"$output")" = '[0]' ] ||
        [ "$(jq -c '[.tables[].scale] | unique' <<<"$output")" = '[null]' ]
    works tf-inspect stats t.tfck 'layers.*.attn.q.weight'
    [ "${#lines[@]}" -eq 3 ]
    works tf-inspect verify t.tfck
    works tf-inspect digest t.tfck
    [ "${#lines[@]}" -eq 46 ]
}

@test "stats --usage: the units of the MLP, which slice can keep by" {
    works tf-inspect stats --usage text.txt t.tfck
    [ "${#lines[@]}" -eq 3 ]
    [[ ${lines[2]} == layers.1.ffn*44* ]]
    works tf-inspect stats --usage text.txt t.tfck --json
    [ "$(jq -c '[.usage[] | [.name, .tokens]]' <<<"$output")" = '[["layers.0.ffn",44],["layers.1.ffn",44]]' ]
    printf '%s\n' "$output" >usage.json
    works tf-inspect slice t.tfck -o s.tfck --keep-top 50% --by usage.json
    [[ $stderr == 'tf-inspect: layers.0.ffn and 1 more: 88 -> 44 tokens; function: changed ('* ]]
    tf-eval t.tfck text.txt --compare s.tfck >/dev/null
    fails 66 "no Pattention matches 'layers.0.attn.q'" tf-inspect stats --usage text.txt t.tfck layers.0.attn.q
}

@test "diff: another seed, another kind" {
    works tf-inspect diff t.tfck t.tfck
    run -1 tf-inspect diff t.tfck other.tfck
    holds layers.0.attn.o.weight
    run -1 tf-inspect diff t.tfck tokens.tfck
    holds layers.0.attn.o.weight
    holds layers.0.attn.o.keys
}

@test "unpack and pack: the same bytes" {
    tf-inspect unpack t.tfck -o u
    [ -e u/layers.0.attn.q.weight.npy ]
    [[ $(cat u/manifest.yaml) != *scale* ]]
    tf-inspect pack u -o p.tfck
    cmp t.tfck p.tfck
    sed -i 's/^  layers.0.ffn.keys:$/&\n    scale: 4/' u/manifest.yaml
    fails 65 "table layers.0.ffn.keys: scale 4, but a transformer's tables have none" tf-inspect pack u -o q.tfck
}

@test "units of zero keys come and go, and change nothing" {
    before=$(loss t.tfck)
    zeros_npy 3 keys.npy
    tf-inspect dump t.tfck 'embed.tokens[:3]' -o values.npy
    works tf-inspect append t.tfck -o a.tfck layers.0.ffn keys.npy values.npy
    [[ $stderr == *'44 -> 47 tokens; function: exact' ]]
    [ "$(loss a.tfck)" = "$before" ]
    works tf-inspect config a.tfck
    holds 'ffn_tokens: [47, 44]'
    holds 'qkv_tokens: 20'
    holds 'proj_tokens: 12'
    works tf-inspect slice a.tfck -o s.tfck --drop 'layers.0.ffn[44:46]'
    [[ $stderr == *'47 -> 45 tokens; function: exact' ]]
    [ "$(loss s.tfck)" = "$before" ]
    works tf-inspect slice a.tfck -o s.tfck -f --keep 'layers.0.ffn[:44]'
    [ "$(tf-inspect digest s.tfck | tail -n 1)" = "$(tf-inspect digest t.tfck | tail -n 1)" ]
    works tf-inspect slice t.tfck -o s.tfck -f --drop 'layers.0.ffn[7]'
    [[ $stderr == *'function: changed (layers.0.ffn: the key of token 7 is not zero, and so the token counts)' ]]
    [ "$(loss s.tfck)" != "$before" ]
}

@test "slice, append and transplant of matrices: whole rows of a table, but no tokens" {
    fails 66 "no Pattention matches 'layers.0.attn.q'" tf-inspect slice t.tfck -o s.tfck 'layers.0.attn.q[:4]'
    zeros_npy 3 keys.npy
    fails 66 "no Pattention 'layers.0.attn.q'" tf-inspect append t.tfck -o a.tfck layers.0.attn.q keys.npy keys.npy
    works tf-inspect transplant t.tfck other.tfck -o x.tfck 'layers.0.attn.q.weight[:4]' 'layers.1.ffn[40:]'
    cmp <(tf-inspect dump x.tfck 'layers.0.attn.q.weight[:4]') <(tf-inspect dump other.tfck 'layers.0.attn.q.weight[:4]')
    cmp <(tf-inspect dump x.tfck 'layers.0.attn.q.weight[4:]') <(tf-inspect dump t.tfck 'layers.0.attn.q.weight[4:]')
    cmp <(tf-inspect dump x.tfck 'layers.1.ffn.values[40:]') <(tf-inspect dump other.tfck 'layers.1.ffn.values[40:]')
    works tf-inspect transplant t.tfck other.tfck -o y.tfck --append 'layers.0.ffn[:5]'
    [[ $(tf-inspect config y.tfck) == *'ffn_tokens: [49, 44]'* ]]
    tf-inspect dump other.tfck layers.1.attn.o.weight -o o.npy
    works tf-inspect replace t.tfck -o r.tfck layers.1.attn.o.weight o.npy
    cmp <(tf-inspect dump r.tfck layers.1.attn.o.weight) <(tf-inspect dump other.tfck layers.1.attn.o.weight)
}

@test "set: no scale, no kind; norm_activation is not used" {
    fails 64 'layers.*.ffn.scale: cannot be set: a transformer has no scales' \
        tf-inspect set t.tfck -o s.tfck 'layers.*.ffn.scale=4'
    fails 64 'model.kind: cannot be set: the tables say it' tf-inspect set t.tfck -o s.tfck model.kind=tokenformer
    works tf-inspect set t.tfck -o s.tfck model.norm_activation=softmax
    [[ $stderr == *'function: exact' ]]
    [ "$(loss s.tfck)" = "$(loss t.tfck)" ]
    fails 65 'table layers.0.attn.k.keys: missing, but the config needs it' \
        tf-eval t.tfck text.txt --set model.kind=tokenformer
    fails 65 'table layers.0.attn.k.weight: missing, but the config needs it' \
        tf-eval tokens.tfck text.txt --set model.kind=transformer
}

@test "drop, cast, repack, recover" {
    works tf-inspect drop t.tfck -o d.tfck optim
    [ "$(loss d.tfck)" = "$(loss t.tfck)" ]
    works tf-inspect cast d.tfck -o c.tfck bf16
    [[ $stderr == *'are rounded to bf16)' ]]
    tf-eval t.tfck text.txt --compare c.tfck --fail-above kl=1e-3 >/dev/null
    works tf-inspect repack t.tfck -o r.tfck
    [ "$(tf-inspect digest r.tfck)" = "$(tf-inspect digest t.tfck)" ]
    head -c $(($(stat -c %s t.tfck) - 100)) t.tfck >cut.tfck
    run tf-inspect recover cut.tfck -o w.tfck
    [ "$status" -eq 65 ]
    works tf-inspect recover t.tfck -o w.tfck
    [ "$(tf-inspect digest w.tfck)" = "$(tf-inspect digest t.tfck)" ]
}

@test "tf-eval, at any number of threads and of narrower weights; --keep is of the MLP's units" {
    before=$(figures t.tfck)
    [ "$(tf-eval t.tfck text.txt --json --threads 1 --batch 3 | jq -c 'del(.model_digest)')" = "$before" ]
    for weights in bf16 int8; do
        works tf-eval t.tfck text.txt --weights "$weights" --compare t.tfck --fail-above kl=1e-3
    done
    works tf-eval t.tfck text.txt --keep 50%,25% --json
    kept=$output
    for n in 22 11; do
        tf-inspect slice -q t.tfck -o s.tfck -f --keep "layers.*.ffn[:$n]"
        [ "$(jq ".kept[] | select(.share == $n / 44) | .nats_per_token" <<<"$kept")" = "$(loss s.tfck)" ]
        [ "$(jq ".kept[] | select(.share == $n / 44) | .parameters" <<<"$kept")" = \
            "$(tf-inspect --json s.tfck | jq .parameters)" ]
    done
}

@test "tf-generate: greedy with and without a cache of the prompt, and narrower weights" {
    works tf-generate t.tfck -p 'Once upon a time' -n 20 --temperature 0
    whole=$output
    works tf-generate t.tfck -p 'Once upon a time' -n 20 --temperature 0 --threads 1
    [ "$output" = "$whole" ]
    works tf-generate t.tfck -p 'Once upon a time' -n 20 --samples 3 --seed 4
    works tf-generate t.tfck -p 'Once upon a time' -n 20 --weights int8
}

@test "lineage: compute" {
    works tf-inspect lineage t.tfck
    [[ ${lines[0]} =~ ^'1 train  6 steps, 768 tokens, '[0-9.e+]+' FLOPs, from the start'$ ]]
    flops=$(tf-inspect lineage --json t.tfck | jq .total.flops)
    # 6 x (parameters in products) + 12 L T C, a token: 2 x 4 x 32 x 32 + 2 x 2 x 44 x 32 + 272 x 32, 2 x 32 x 32
    [ "$flops" = $((768 * (6 * (8192 + 5632 + 8704) + 12 * 2048))) ]
}
