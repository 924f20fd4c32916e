#!/usr/bin/env bats
# tf-inspect slice, replace, append, transplant: from file to file, as a person would use them.

load common

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    tiny_model m.tfck
    tf-grow -q m.tfck -o g.tfck --ffn x2 >/dev/null
}

setup() {
    cp "$BATS_FILE_TMPDIR"/*.tfck "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
}

# model_digest FILE
model_digest() {
    tf-inspect digest "$1" | tail -n 1 | cut -c 1-32
}

# rows FILE TABLE[...]: as text.
rows() {
    tf-inspect dump "$1" "$2"
}

# notes TEXT: the last command said just this on stderr.
notes() {
    [ "$stderr" = "tf-inspect: $1" ] || blame "stderr is not: $1"
}

# zeros_npy ROWS FILE: rows of 32 zeros, under the header of a real dump.
zeros_npy() {
    tf-inspect dump m.tfck "embed.tokens[:$1]" -o "$2"
    truncate -s 128 "$2"
    truncate -s $((128 + $1 * 128)) "$2"
}

@test "slice undoes a growth" {
    works tf-inspect slice g.tfck -o u.tfck --keep 'layers.*.ffn[:44]'
    [ -z "$output" ]
    notes 'layers.0.ffn and 1 more: 176 -> 88 tokens; function: exact'
    [ "$(model_digest u.tfck)" = "$(model_digest m.tfck)" ]
    cmp <(tf-inspect config u.tfck) <(tf-inspect config m.tfck)
    cmp <(tf-inspect tables --long u.tfck) <(tf-inspect tables --long m.tfck)
    run -1 tf-inspect diff m.tfck u.tfck
    [ "$output" = 'lineage: differs' ]
    works tf-inspect lineage u.tfck
    [ "${lines[4]}" = "3 edit   slice, function exact, from $(model_digest g.tfck)" ] || blame "${lines[4]}"
    works tf-inspect slice g.tfck -o d.tfck --drop 'layers.*.ffn[44:]'
    cmp u.tfck d.tfck
    works tf-inspect slice g.tfck -o d.tfck -f -q --drop 'layers.0.ffn[-44:]' 'layers.1.ffn[44:60,60:]'
    [ -z "$stderr" ]
    cmp u.tfck d.tfck
    tf-inspect verify u.tfck
}

@test "slice of trained tokens: keys, values, moments and config in step, and the model runs on" {
    works tf-inspect slice m.tfck -o s.tfck 'layers.1.ffn[:4,40:]' 'layers.*.attn.[qkv][10:]'
    notes 'layers.0.attn.k and 6 more: 164 -> 68 tokens; function: changed (layers.0.attn.k: the key of token 0 is not zero, and so counts in the norm)'
    for table in layers.1.ffn.keys layers.1.ffn.values optim.{m,v}/layers.1.ffn.{keys,values}; do
        cmp <(rows s.tfck "$table") <(rows m.tfck "${table}[:4,40:]")
    done
    cmp <(rows s.tfck layers.0.attn.v.values) <(rows m.tfck 'layers.0.attn.v.values[10:]')
    cmp <(rows s.tfck layers.0.ffn.keys) <(rows m.tfck layers.0.ffn.keys)
    works tf-inspect config s.tfck
    holds 'ffn_tokens: [44, 8]'
    holds 'qkv_tokens: 10'
    [ "$(tf-inspect tables --json s.tfck | jq '.tables[] | select(.name == "layers.1.ffn.keys") | .scale')" = 44 ]
    works tf-eval s.tfck "$TF_ROOT/data/stories-valid.txt" --window 32
    tf-inspect config s.tfck >s.yaml
    works tf-train -q s.yaml -o t.tfck --init s.tfck --set train.steps=1
}

@test "slice keeps what was used most" {
    works tf-inspect stats --usage "$TF_ROOT/data/stories-valid.txt" --json m.tfck -o usage.json
    works tf-inspect stats --usage "$TF_ROOT/data/stories-valid.txt" m.tfck -o named.json
    cmp usage.json named.json
    works tf-inspect slice m.tfck -o p.tfck --keep-top 90% --by usage.json
    [[ $stderr == *'layers.0.attn.k and 9 more: 232 -> 210 tokens; function: changed'* ]] || blame "$stderr"
    works tf-inspect show p.tfck
    holds 'qkv 18, proj 11, ffn 40'
    works tf-inspect slice m.tfck -o p.tfck -f --keep-top 4 --by usage.json 'layers.*.ffn'
    works tf-inspect show p.tfck
    holds 'qkv 20, proj 12, ffn 4'
    works tf-eval p.tfck "$TF_ROOT/data/stories-valid.txt" --window 32
    works tf-inspect slice m.tfck -o p.tfck -f --keep-top 55% --by usage.json 'layers.*.attn.[qkv]'
    works tf-inspect show p.tfck
    holds 'qkv 11, proj 12, ffn 44' # 55% of 20 are 11, although 0.55 * 20 is more in doubles
    fails 64 'layers.0.ffn: rows cannot be chosen here' \
        tf-inspect slice m.tfck -o q.tfck --keep-top 4 --by usage.json 'layers.0.ffn[:9]'
    fails 64 'layers.0.ffn: rows cannot be chosen here' \
        tf-inspect stats --usage "$TF_ROOT/data/stories-valid.txt" m.tfck 'layers.0.ffn[:9]'
    echo '{' >bad.json
    fails 65 'bad.json: ' tf-inspect slice m.tfck -o q.tfck --keep-top 4 --by bad.json
    fails 66 'none.json' tf-inspect slice m.tfck -o q.tfck --keep-top 4 --by none.json
    fails 65 'measured with 44 tokens' tf-inspect slice g.tfck -o q.tfck --keep-top 4 --by usage.json
    fails 64 'go together' tf-inspect slice m.tfck -o q.tfck --keep-top 4
    [ ! -e q.tfck ]
}

@test "slice in place of its input" {
    before=$(model_digest m.tfck)
    fails 73 'g.tfck: exists already' tf-inspect slice g.tfck -o g.tfck 'layers.*.ffn[:44]'
    works tf-inspect slice g.tfck -o g.tfck -f 'layers.*.ffn[:44]'
    [ "$(model_digest g.tfck)" = "$before" ]
}

@test "slice leaves a tenth of the tokens" {
    works tf-inspect slice m.tfck -o s.tfck 'layers.*.attn.[qkv][:2]' 'layers.*.attn.o[::]' ||
        fails 64 "'layers.*.attn.o[::]' is not a selection of rows: write layers.*.attn.o[2:9]" \
            tf-inspect slice m.tfck -o s.tfck 'layers.*.attn.o[::]'
    works tf-inspect slice m.tfck -o s.tfck 'layers.*.attn.[qkv][:2]' 'layers.*.attn.o[3]' 'layers.*.ffn[5,9:12]'
    [ "$(tf-inspect show --json s.tfck | jq -c '[.model.qkv_tokens, .model.proj_tokens, .model.ffn_tokens]')" = \
        '[[2,2],[1,1],[4,4]]' ]
    works tf-eval s.tfck "$TF_ROOT/data/stories-valid.txt" --window 32
}

@test "slice refuses" {
    fails 64 "slice: no tokens given: write 'layers.*.ffn[:64]'" tf-inspect slice m.tfck -o x.tfck
    fails 64 'layers.0.ffn: none of its 44 tokens would be left' \
        tf-inspect slice m.tfck -o x.tfck --drop 'layers.0.ffn[:20]' 'layers.0.ffn[20:]'
    fails 64 "'layers.*.ffn[40:50]' is not within the 44 rows of layers.0.ffn" \
        tf-inspect slice m.tfck -o x.tfck 'layers.*.ffn[40:50]'
    fails 66 "m.tfck: no Pattention matches 'embed.tokens', but a table does" tf-inspect slice m.tfck -o x.tfck 'embed.tokens[:9]'
    fails 66 "m.tfck: no Pattention matches 'layers.0.ffn.keys'" \
        tf-inspect slice m.tfck -o x.tfck 'layers.0.ffn.keys[:9]'
    for dry in '' -n; do
        # shellcheck disable=SC2086 # no word when empty
        fails 65 'layers.0.attn: q, k and v must have one number of tokens (model.qkv_tokens), not 9, 20 and 20' \
            tf-inspect slice $dry m.tfck -o x.tfck 'layers.0.attn.q[:9]'
    done
    fails 64 'exclude each other' tf-inspect slice m.tfck -o x.tfck --keep --drop 'layers.0.ffn[:9]'
    fails 73 'm.tfck: exists already' tf-inspect slice m.tfck -n -o m.tfck 'layers.0.ffn[:9]'
    fails 66 'none.tfck' tf-inspect slice none.tfck -o x.tfck 'layers.0.ffn[:9]'
    fails 71 'the limit is 1.0 MiB' tf-inspect slice m.tfck -o x.tfck --max-memory 1M 'layers.0.ffn[:9]'
    flip m.tfck "$(($(stat -c %s m.tfck) / 2))"
    fails 65 'm.tfck: table ' tf-inspect slice m.tfck -o x.tfck 'layers.0.ffn[:9]'
    [ ! -e x.tfck ]
    [ -z "$(find . -name '.*.part')" ]
}

@test "a dry run says what would be, and makes nothing" {
    works tf-inspect slice -n m.tfck -o x.tfck 'layers.1.ffn[:9]'
    [ -z "$stderr" ]
    holds 'layers.1.ffn                       44 -> 9 tokens'
    holds 'tables      69 written, 0 left out'
    holds 'copied      63 chunks, '
    holds 'coded anew  54 rows, 6.8 KiB before compression'
    holds 'function    changed (layers.1.ffn: the key of token 9 is not zero, and so counts in the norm)'
    works tf-inspect slice -n g.tfck -o x.tfck 'layers.*.ffn[:44]'
    holds 'coded anew  0 rows, 0 B before compression'
    holds 'function    exact'
    works tf-inspect transplant -n m.tfck -o x.tfck --append g.tfck 'layers.0.ffn[44:]'
    holds 'layers.0.ffn                       44 -> 88 tokens'
    holds 'function    exact'
    works tf-inspect transplant -n m.tfck -o x.tfck m.tfck '*'
    holds 'coded anew  0 rows, 0 B before compression'
    [ ! -e x.tfck ]
}

@test "replace: what dump takes out goes back in" {
    tf-inspect dump m.tfck 'layers.1.ffn.values[3,10:20]' -o v.npy
    works tf-inspect replace m.tfck -o same.tfck 'layers.1.ffn.values[3,10:20]' v.npy
    notes 'function: exact'
    cmp m.tfck same.tfck
    works tf-inspect replace m.tfck -o r.tfck 'layers.0.ffn.values[:11]' v.npy
    notes 'function: changed (layers.0.ffn.values gets other numbers)'
    cmp <(rows r.tfck 'layers.0.ffn.values[:11]') <(rows m.tfck 'layers.1.ffn.values[3,10:20]')
    cmp <(rows r.tfck 'layers.0.ffn.values[11:]') <(rows m.tfck 'layers.0.ffn.values[11:]')
    cmp <(rows r.tfck 'optim.m/layers.0.ffn.values') <(rows m.tfck 'optim.m/layers.0.ffn.values')
    works tf-inspect lineage r.tfck
    holds '2 edit   replace, function changed, from '
}

@test "replace by way of numpy" {
    python3 -c 'import numpy' 2>/dev/null || skip "no numpy"
    tf-inspect dump m.tfck layers.1.ffn.values -o v.npy
    python3 -c 'import numpy as np; v = np.load("v.npy"); np.save("w.npy", v[::-1] * np.float32(2))'
    works tf-inspect replace m.tfck -o r.tfck layers.1.ffn.values w.npy
    tf-inspect dump r.tfck layers.1.ffn.values -o back.npy
    cmp w.npy back.npy
    python3 -c 'import numpy as np; np.save("w.npy", np.load("v.npy").astype(float))'
    fails 65 "w.npy: type '<f8', must be '<f4', '<f2', '<i4' or '<u2'" \
        tf-inspect replace m.tfck -o x.tfck layers.1.ffn.values w.npy
    python3 -c 'import numpy as np; np.save("w.npy", np.asfortranarray(np.load("v.npy")))'
    fails 65 'fortran_order is not False' tf-inspect replace m.tfck -o x.tfck layers.1.ffn.values w.npy
}

@test "replace refuses" {
    zeros_npy 3 z.npy
    fails 65 'z.npy: 3 rows for 4 of table embed.tokens' tf-inspect replace m.tfck -o x.tfck 'embed.tokens[:4]' z.npy
    fails 64 "'layers.*.keys[:3]' means 10 tables, must be one" \
        tf-inspect replace m.tfck -o x.tfck 'layers.*.keys[:3]' z.npy
    fails 66 "m.tfck: no table matches 'layers.0.ffn', but a Pattention does" tf-inspect replace m.tfck -o x.tfck 'layers.0.ffn[:3]' z.npy
    fails 66 'none.npy' tf-inspect replace m.tfck -o x.tfck 'embed.tokens[:3]' none.npy
    fails 65 'm.tfck: not an .npy file' tf-inspect replace m.tfck -o x.tfck 'embed.tokens[:3]' m.tfck
    fails 64 'an operand is missing' tf-inspect replace m.tfck -o x.tfck 'embed.tokens[:3]'
    fails 64 '-o with the name of the result is needed' tf-inspect replace m.tfck 'embed.tokens[:3]' z.npy
    [ ! -e x.tfck ]
}

@test "append: tokens with zero keys leave every logit as it was" {
    zeros_npy 5 zeros.npy
    tf-inspect dump m.tfck 'embed.tokens[:5]' -o values.npy
    works tf-inspect append m.tfck -o a.tfck layers.1.ffn zeros.npy values.npy
    notes 'layers.1.ffn: 44 -> 49 tokens; function: exact'
    cmp <(rows a.tfck 'layers.1.ffn.values[44:]') <(rows m.tfck 'embed.tokens[:5]')
    cmp <(rows a.tfck 'optim.v/layers.1.ffn.keys[:44]') <(rows m.tfck optim.v/layers.1.ffn.keys)
    [ "$(rows a.tfck 'optim.v/layers.1.ffn.keys[44:]' | tr -d ' 0\n')" = '' ]
    cmp <(tf-generate -q m.tfck -p 'One day' -n 20 --seed 1) <(tf-generate -q a.tfck -p 'One day' -n 20 --seed 1)
    works tf-inspect append m.tfck -o b.tfck layers.1.ffn values.npy values.npy
    notes 'layers.1.ffn: 44 -> 49 tokens; function: changed (layers.1.ffn: the key of token 44 is not zero, and so counts in the norm)'
    works tf-inspect slice b.tfck -o c.tfck --drop 'layers.1.ffn[-5:]'
    [ "$(model_digest c.tfck)" = "$(model_digest m.tfck)" ]
    tf-inspect dump m.tfck 'embed.tokens[:4]' -o four.npy
    fails 65 'zeros.npy has 5 rows, four.npy has 4' tf-inspect append m.tfck -o x.tfck layers.1.ffn zeros.npy four.npy
    fails 66 "m.tfck: no Pattention 'layers.*.ffn'" \
        tf-inspect append m.tfck -o x.tfck 'layers.*.ffn' zeros.npy values.npy
    [ ! -e x.tfck ]
}

@test "transplant merges the new tokens of two models that grew from one" {
    tf-grow -q m.tfck -o h.tfck --ffn +20 --seed 7 >/dev/null
    works tf-inspect transplant g.tfck -o b.tfck --append h.tfck 'layers.*.ffn[44:64]'
    notes 'layers.0.ffn and 1 more: 176 -> 216 tokens; function: exact'
    cmp <(rows b.tfck 'layers.1.ffn.values[:88]') <(rows g.tfck layers.1.ffn.values)
    cmp <(rows b.tfck 'layers.1.ffn.values[88:]') <(rows h.tfck 'layers.1.ffn.values[44:]')
    cmp <(tf-generate -q m.tfck -p 'One day' -n 20 --seed 1) <(tf-generate -q b.tfck -p 'One day' -n 20 --seed 1)
    works tf-inspect slice b.tfck -o u.tfck 'layers.*.ffn[:44]'
    [ "$(model_digest u.tfck)" = "$(model_digest m.tfck)" ]
    works tf-inspect transplant g.tfck -o h.tfck -f --append h.tfck 'layers.*.ffn[44:64]' # the result over an input
    cmp b.tfck h.tfck
}

@test "transplant in place" {
    tiny_model o.tfck --set train.seed=2
    works tf-inspect transplant m.tfck -o t.tfck o.tfck 'layers.0.ffn[5:9]' 'embed.tokens[-3:]' norm.bias
    [[ $stderr == *'function: changed (embed.tokens gets other numbers)' ]] || blame "$stderr"
    for table in layers.0.ffn.keys optim.v/layers.0.ffn.values; do
        cmp <(rows t.tfck "${table}[5:9]") <(rows o.tfck "${table}[5:9]")
        cmp <(rows t.tfck "${table}[:5,9:]") <(rows m.tfck "${table}[:5,9:]")
    done
    cmp <(rows t.tfck 'embed.tokens[-3:]') <(rows o.tfck 'embed.tokens[-3:]')
    cmp <(rows t.tfck norm.bias) <(rows o.tfck norm.bias)
    works tf-inspect transplant m.tfck -o back.tfck -f t.tfck 'layers.1.*'
    notes 'function: exact'
    cmp m.tfck back.tfck
    works tf-inspect transplant t.tfck -o back.tfck -f m.tfck '*'
    fails 64 'row 87 is chosen, but m.tfck has 44 rows' tf-inspect transplant m.tfck -o x.tfck g.tfck 'layers.*.ffn'
    fails 66 "g.tfck: no Pattention matches 'norm.bias'" tf-inspect transplant m.tfck -o x.tfck --append g.tfck norm.bias
    fails 66 'none.tfck' tf-inspect transplant m.tfck -o x.tfck none.tfck norm.bias
    fails 64 'slice takes no --append' tf-inspect slice m.tfck -o x.tfck --append 'layers.0.ffn[:4]'
    [ ! -e x.tfck ]
}
