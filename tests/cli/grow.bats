#!/usr/bin/env bats
# tf-grow: the function is kept, the old bytes are kept, and what is refused.

load common

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    tiny_model m.tfck
    tiny_model soft.tfck --set model.norm_activation=softmax
    tiny_model gelu.tfck --set model.norm_activation=gelu_l2_norm
    tiny_model transformer.tfck --set model.kind=transformer
    head -c 4000 "$TF_ROOT/data/stories-valid.txt" >text.txt
}

setup() {
    cp "$BATS_FILE_TMPDIR"/*.tfck "$BATS_FILE_TMPDIR/text.txt" "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
}

@test "three growths in a row keep every logit, for both L2 normalisations" {
    for model in m gelu; do
        works tf-eval $model.tfck text.txt
        before=$output
        works tf-grow $model.tfck -o 1.tfck --qkv x2 --proj x2 --ffn x2 --verify
        holds 'largest logit difference: 0'
        holds 'function      preserved to the bit'
        works tf-grow 1.tfck -o 2.tfck --ffn +7 --layers 1 --verify --values copy
        holds 'largest logit difference: 0'
        works tf-grow 2.tfck -o 3.tfck --qkv 50 --proj +1 --verify --seed 9
        holds 'largest logit difference: 0'
        for step in 1 2 3; do
            works tf-eval $step.tfck text.txt
            [ "$output" = "$before" ]
        done
        rm [123].tfck
    done
}

@test "the report says what grew" {
    works tf-grow m.tfck -o g.tfck --qkv x2 --ffn +6 --layers 1
    holds 'qkv  tokens   20 -> 20  (layer 0)'
    holds 'qkv  tokens   20 -> 40  (layer 1)'
    holds 'proj tokens   12 -> 12'
    holds 'ffn  tokens   44 -> 50  (layer 1)'
    before=$(tf-inspect digest m.tfck | tail -n 1 | cut -c 1-32)
    after=$(tf-inspect digest g.tfck | tail -n 1 | cut -c 1-32)
    holds "model digest  $before -> $after"
    parameters=$(tf-inspect --json g.tfck | jq .parameters)
    holds "-> $parameters"
    works tf-inspect config g.tfck
    holds 'qkv_tokens: [20, 40]'
    holds 'proj_tokens: 12'
    works tf-inspect lineage g.tfck
    holds "2 grow   keys zero, values random, scale keep, seed 1, from $before"
    holds 'layers.1.ffn  44 -> 50'
}

@test "--json" {
    works tf-grow m.tfck -o g.tfck --ffn x2 --verify --json
    [ "$(jq -r .schema <<<"$output")" = tf-grow/1 ]
    [ "$(jq -c '[.exact, .preserved, .why, .largest_logit_difference]' <<<"$output")" = '[true,true,null,0]' ]
    [ "$(jq -c '.layers[1].ffn' <<<"$output")" = '{"before":44,"after":88}' ]
    [ "$(jq .bytes.after <<<"$output")" = "$(stat -c %s g.tfck)" ]
    works tf-grow m.tfck --ffn x2 --keys random --dry-run --json
    [ "$(jq -c '[.exact, .preserved, .output, .digest.after, .largest_logit_difference]' <<<"$output")" = \
        '[false,false,null,null,null]' ]
}

# frames FILE: each zstd frame of data as one line of hexadecimal digits, cut at its magic number.
frames() {
    head -c -64 "$1" | tail -c +65 | od -An -v -tx1 | tr -d ' \n' | sed 's/28b52ffd/\n&/g' | sed 1d
}

@test "old frames stand in the file as they were" {
    tf-grow -q m.tfck -o g.tfck --qkv x2 --proj x2 --ffn x2
    frames m.tfck | sed '$d' | sort >old # the last one is the directory
    frames g.tfck | sort >new
    [ "$(wc -l <old)" -eq "$(tf-inspect --json m.tfck | jq .tables)" ]
    [ "$(comm -23 old new | wc -l)" -eq 0 ]
}

@test "old rows and their moments are what they were; new moments are zero" {
    tf-grow -q m.tfck -o g.tfck --ffn x2
    run -1 tf-inspect diff m.tfck g.tfck
    holds 'table layers.1.ffn.values: rows 44 | 88; first 44 rows: max 0, rms 0'
    holds 'table optim.v/layers.0.ffn.keys: rows 44 | 88; first 44 rows: max 0, rms 0'
    holds 'config model.ffn_tokens: 44 | 88'
    [[ $output != *attn* ]]
    [ "$(tf-inspect stats --json g.tfck 'optim.?/layers.1.ffn.values' | jq '[.tables[].zero_rows] | add')" = 88 ]
    [ "$(tf-inspect stats --json g.tfck 'layers.1.ffn.keys' | jq '.tables[0].zero_rows')" = 44 ]
    zstd -q -t <g.tfck
    works tf-inspect verify g.tfck
}

@test "the same growth gives the same bytes, at any number of threads" {
    tf-grow -q m.tfck -o a.tfck --ffn x3 --values random --seed 5 --threads 1
    tf-grow -q m.tfck -o b.tfck --ffn x3 --values random --seed 5 --threads 2
    cmp a.tfck b.tfck
    tf-grow -q m.tfck -o c.tfck --ffn x3 --values random --seed 6
    run -1 cmp a.tfck c.tfck
    tf-grow -q m.tfck -o d.tfck --ffn x3 --values random --seed 18446744073709551615
    tf-grow -q m.tfck -o e.tfck --ffn x3 --values random
    run -1 cmp d.tfck e.tfck
}

@test "what does not preserve the function says so" {
    works tf-grow m.tfck -o a.tfck --ffn x2 --keys random
    holds 'function      not preserved: random keys add to the norm'
    works tf-grow soft.tfck -o b.tfck --ffn x2
    holds 'function      not preserved: softmax gives a zero key the weight e^0'
    works tf-grow m.tfck -o c.tfck --ffn x2 --scale count
    holds 'function      not preserved: layers.0.ffn: the scale becomes 88, the token count, where 44 would keep'
    works tf-grow m.tfck -o d.tfck --ffn +1 --keys copy --values copy
    holds 'function      not preserved: layers.0.ffn: 45 tokens are not a whole multiple of 44'
}

@test "a split preserves the function to rounding" {
    for model in m gelu soft; do
        works tf-grow $model.tfck -o g.tfck -f --qkv x2 --ffn x3 --keys copy --values copy --verify --json
        [ "$(jq -c '[.exact, .preserved, .largest_logit_difference < 1e-5]' <<<"$output")" = '[false,true,true]' ]
    done
}

@test "a grown model trains on, its new rows too" {
    tf-grow -q m.tfck -o g.tfck --qkv x2 --ffn x2
    tf-inspect config g.tfck >g.yaml
    tf-train -q g.yaml -o t.tfck --init g.tfck
    run -1 tf-inspect diff g.tfck t.tfck
    holds 'table layers.1.ffn.keys: 88 rows'
    [ "$(tf-inspect stats --json t.tfck layers.1.ffn.keys | jq '.tables[0].zero_rows')" = 0 ]
    works tf-inspect lineage t.tfck
    holds '3 train'
}

@test "the config in the checkpoint gives the defaults; --set changes them" {
    works tf-grow m.tfck -o g.tfck --ffn x2 --set grow.keys=copy --set grow.values=copy --json
    [ "$(jq -c '[.keys, .values]' <<<"$output")" = '["copy","copy"]' ]
    works tf-grow g.tfck -o h.tfck --ffn x2 --json
    [ "$(jq -c '[.keys, .values]' <<<"$output")" = '["copy","copy"]' ]
    fails 78 'grow.keys' tf-grow m.tfck -o x.tfck --ffn x2 --set grow.keys=big
    fails 64 "--set model.ffn_tokens=88: the model is the checkpoint's" tf-grow m.tfck -o x.tfck --ffn x2 \
        --set model.ffn_tokens=88
    [ ! -e x.tfck ]
}

@test "new layers keep every logit, whatever the kind, and learn" {
    for model in m soft gelu transformer; do
        works tf-eval $model.tfck text.txt
        before=$output
        for place in top middle spread; do
            works tf-grow $model.tfck -f -o g.tfck --add-layers 9 --at $place --verify
            holds 'function      preserved to the bit'
            holds 'largest logit difference: 0'
            works tf-eval g.tfck text.txt
            [ "$output" = "$before" ]
        done
    done
    holds_zero_rows() {
        [ "$(tf-inspect stats --json "$1" "$2" | jq '.tables[0].zero_rows')" = "$3" ]
    }
    holds_zero_rows g.tfck layers.10.attn.o.weight 32
    holds_zero_rows g.tfck layers.10.ffn.values 44
    tf-inspect config g.tfck >g.yaml
    tf-train -q g.yaml -o t.tfck --init g.tfck
    holds_zero_rows t.tfck layers.10.attn.o.weight 0
    holds_zero_rows t.tfck layers.10.ffn.values 0
    works tf-inspect verify t.tfck
}

@test "the report says which layers are new" {
    works tf-grow m.tfck -o g.tfck --add-layers 3 --at spread --ffn x2 --layers 1
    holds 'layers        2 -> 5  (new: 1,3-4)'
    holds 'proj tokens   0 -> 12  (layers 3-4)'
    holds 'ffn  tokens   44 -> 88  (layer 2)'
    holds 'ffn  tokens   0 -> 88  (layers 3-4)'
    holds "-> $(tf-inspect --json g.tfck | jq .parameters)"
    works tf-inspect config g.tfck
    holds 'num_layers: 5'
    holds 'ffn_tokens: [44, 44, 88, 88, 88]'
    works tf-inspect lineage g.tfck
    holds 'layers  2 -> 5, at spread'
    holds 'layers.4.ffn  0 -> 88'
    works tf-grow m.tfck -n --add-layers 1 --at middle --json
    [ "$(jq -c '[.num_layers, .place, [.layers[].new], .width, .method]' <<<"$output")" = \
        '[{"before":2,"after":3},"middle",[false,true,false],{"before":32,"after":32},"tokens"]' ]
    [ "$(jq -c '[.keys, .values, .scale, .noise, .seed]' <<<"$output")" = '[null,null,null,null,1]' ]
    tf-grow -q m.tfck -f -o g.tfck --add-layers 1
    works tf-inspect lineage g.tfck
    holds '2 grow   seed 1, from '
}

@test "a wider transformer computes the same, to rounding" {
    works tf-grow transformer.tfck -o g.tfck --method hyperclone --verify --json
    [ "$(jq -c '[.method, .noise, .width.after, .heads.after, .layers[1].ffn.after, .preserved, .exact, .keys]' <<<"$output")" = \
        '["hyperclone",0.01,64,4,88,true,false,null]' ]
    [ "$(jq '.largest_logit_difference < 1e-5' <<<"$output")" = true ]
    [ "$(jq .parameters.after <<<"$output")" = "$(tf-inspect --json g.tfck | jq .parameters)" ]
    works tf-inspect lineage g.tfck
    holds '2 grow   hyperclone, keys copy, values copy, seed 1, from '
    holds 'width  32 -> 64'
    works tf-inspect verify g.tfck
    works tf-grow transformer.tfck -n --method net2net --width x3 --ffn 50 --verify
    holds 'width         32 -> 96'
    holds 'heads         2 -> 6'
    holds 'ffn  tokens   44 -> 50'
    holds 'function      not preserved: net2net adds noise to the copies'
    [[ $output != *'qkv  tokens'* ]]
    works tf-grow transformer.tfck -n --method net2net --noise 0 --verify --json
    [ "$(jq -c '[.preserved, .largest_logit_difference < 1e-5]' <<<"$output")" = '[true,true]' ]
    tf-inspect config g.tfck >g.yaml
    tf-train -q g.yaml -o t.tfck --init g.tfck
    works tf-inspect verify t.tfck
}

@test "a wider transformer has the same bytes at any number of threads" {
    for method in net2net hyperclone; do
        tf-grow -q transformer.tfck -o $method.1.tfck --method $method --threads 1 --seed 3
        tf-grow -q transformer.tfck -o $method.2.tfck --method $method --threads 2 --seed 3
        cmp $method.1.tfck $method.2.tfck
        tf-grow -q transformer.tfck -o $method.3.tfck --method $method --seed 4
        run -1 cmp $method.1.tfck $method.3.tfck
    done
}

@test "narrow tables stay narrow, and the model in memory is rounded as they are" {
    tf-inspect cast m.tfck -o narrow.tfck bf16
    works tf-grow narrow.tfck -o g.tfck --add-layers 1 --ffn x2 --verify
    holds 'largest logit difference: 0'
    [ "$(tf-inspect tables --json g.tfck | jq -c '[.tables[] | select(.role == "parameter") | .dtype] | unique')" = '["bf16"]' ]
    works tf-grow narrow.tfck -f -o g.tfck --ffn x2 --keys random --verify --json
    written=$(jq .largest_logit_difference <<<"$output")
    works tf-grow narrow.tfck -n --ffn x2 --keys random --verify --json
    [ "$written" = "$(jq .largest_logit_difference <<<"$output")" ]
}

@test "a dry run writes nothing" {
    works tf-grow -n m.tfck -o g.tfck --ffn x2 --verify
    holds 'largest logit difference: 0'
    holds 'at most'
    [[ $output =~ memory\ +[0-9.]+\ KiB ]]
    [ ! -e g.tfck ]
    works tf-grow -n m.tfck --ffn x2
    fails 73 'exists already' tf-grow -n m.tfck -o soft.tfck --ffn x2
}

@test "a file is no larger than a dry run says, however little grows" {
    tf-inspect -q drop m.tfck -o bare.tfck optim
    for growth in '--ffn +1 --layers 0' '--add-layers 20' '--ffn x2'; do
        read -ra how <<<"$growth"
        for model in m bare transformer; do
            works tf-grow -n $model.tfck "${how[@]}" --json
            most=$(jq .bytes.after <<<"$output")
            works tf-grow $model.tfck -f -o g.tfck "${how[@]}" --json
            [ "$(jq .bytes.after <<<"$output")" -le "$most" ]
        done
    done
}

# regroup IN OUT NUMBER TABLE...: these tables get the row group NUMBER, and those behind the layers none.
regroup() {
    local in=$1 out=$2 number=$3
    shift 3
    tf-inspect -q unpack "$in" -o regrouped
    sed -i "s/^  \(norm.*\|optim.*\):$/  \1: {row_group: 0}/" regrouped/manifest.yaml
    for table; do
        sed -i "s/^  \($table\): *{*\([^}]*\)}*$/  \1: {row_group: $number, \2}/; s/, }/}/" regrouped/manifest.yaml
    done
    tf-inspect -q pack regrouped -o "$out"
    rm -r regrouped
}

@test "row groups of any number, and shared ones, do not stand in the way" {
    regroup m.tfck high.tfck 65536 layers.1.ffn.keys layers.1.ffn.values
    [ "$(tf-inspect tables --json high.tfck | jq '[.tables[] | .row_group] | max')" = 65536 ]
    works tf-grow high.tfck -o g.tfck --add-layers 1
    regroup m.tfck shared.tfck 60000 layers.0.ffn.keys layers.0.ffn.values layers.1.ffn.keys layers.1.ffn.values
    works tf-grow shared.tfck -f -o g.tfck --ffn x2 --layers 0 --verify
    holds 'largest logit difference: 0'
    works tf-inspect verify g.tfck
}

@test "existing and unwritable outputs" {
    sum=$(cksum <m.tfck)
    fails 73 'm.tfck: exists already' tf-grow m.tfck -o m.tfck --ffn x2
    fails 73 'soft.tfck: exists already' tf-grow m.tfck -o soft.tfck --ffn x2
    fails 73 'nowhere' tf-grow m.tfck -o nowhere/g.tfck --ffn x2
    mkdir folder
    fails 73 'folder' tf-grow m.tfck -f -o folder --ffn x2
    [ "$sum" = "$(cksum <m.tfck)" ]
    works tf-grow m.tfck -f -o m.tfck --ffn x2 --verify
    holds 'largest logit difference: 0'
    works tf-inspect config m.tfck
    holds 'ffn_tokens: 88'
    [ "$(find . -name '.*.part')" = '' ]
}

@test "wrong calls" {
    fails 64 'one checkpoint is wanted, not 0' tf-grow -o x.tfck --ffn x2
    fails 64 'one checkpoint is wanted, not 2' tf-grow m.tfck soft.tfck -o x.tfck --ffn x2
    fails 64 '-o OUT.tfck is missing' tf-grow m.tfck --ffn x2
    fails 64 '-o OUT.tfck is missing' tf-grow m.tfck --ffn x2 -o -
    [ ! -e ./- ]
    fails 64 'nothing to grow: give --qkv, --proj, --ffn, --add-layers or --width' tf-grow m.tfck -o x.tfck
    fails 64 '--at is for --add-layers' tf-grow m.tfck -o x.tfck --ffn x2 --at middle
    fails 64 '--noise is for the methods net2net and hyperclone' tf-grow m.tfck -o x.tfck --ffn x2 --noise 0.1
    fails 64 '--keys is for the method tokens' tf-grow m.tfck -o x.tfck --method net2net --keys zero
    fails 64 '--scale is for --qkv, --proj and --ffn' tf-grow m.tfck -o x.tfck --add-layers 1 --scale count
    fails 64 "layers '0': nothing is said of how their tokens grow" tf-grow m.tfck -o x.tfck --add-layers 1 --layers 0
    fails 64 'add-layers' tf-grow m.tfck -o x.tfck --add-layers 0
    fails 64 'noise' tf-grow m.tfck -o x.tfck --method net2net --noise 2
    fails 64 'a tokenformer does not grow in width' tf-grow m.tfck -o x.tfck --width x2
    fails 64 'a tokenformer does not grow in width' tf-grow m.tfck -o x.tfck --method hyperclone
    fails 64 '1024 new layers on 2 pass the limit of 1024 layers' tf-grow m.tfck -o x.tfck --add-layers 1024
    fails 64 'are matrices, which have no tokens' tf-grow transformer.tfck -o x.tfck --qkv x2
    fails 64 'the method tokens keeps the width' tf-grow transformer.tfck -o x.tfck --width x2
    fails 64 'width: 48 channels are not a whole multiple of 32' tf-grow transformer.tfck -o x.tfck \
        --method net2net --width 48
    fails 64 'nothing to grow: no target is above what is there' tf-grow m.tfck -o x.tfck --ffn 44
    fails 64 'layers.0.ffn: the target of 43 tokens is below the 44 that it has' tf-grow m.tfck -o x.tfck --ffn 43
    fails 64 "--ffn: 'two' is not a target: write 512, x2 or +256" tf-grow m.tfck -o x.tfck --ffn two
    fails 64 "layer 2 does not exist: the model's layers are 0 to 1" tf-grow m.tfck -o x.tfck --ffn x2 --layers 1-2
    fails 64 'zero keys with zero values can never learn' tf-grow m.tfck -o x.tfck --ffn x2 --values zero
    fails 64 'keys' tf-grow m.tfck -o x.tfck --ffn x2 --keys big
    [ ! -e x.tfck ]
}

@test "wrong inputs" {
    fails 66 'none.tfck' tf-grow none.tfck -o x.tfck --ffn x2
    mkdir folder
    fails 66 'folder' tf-grow folder -o x.tfck --ffn x2
    : >empty.tfck
    fails 65 'empty.tfck' tf-grow empty.tfck -o x.tfck --ffn x2
    fails 65 'text.txt' tf-grow text.txt -o x.tfck --ffn x2
    head -c 5000 m.tfck >short.tfck
    fails 65 'short.tfck' tf-grow short.tfck -o x.tfck --ffn x2
    cp m.tfck bad.tfck
    flip bad.tfck 3000
    fails 65 'bad.tfck: table embed.tokens: chunk 0' tf-grow bad.tfck -o x.tfck --ffn x2
    [ ! -e x.tfck ]
    [ "$(find . -name '.*.part')" = '' ]
    fails 71 'm.tfck' tf-grow m.tfck -o x.tfck --ffn x2 --max-memory 10K
    fails 71 'the growth needs' tf-grow m.tfck -o x.tfck --ffn x9999 --max-memory 1M
}

@test "a full disk leaves no output" {
    [ -w /dev/full ] || skip "no /dev/full"
    fails 74 'No space left' bash -c 'tf-grow m.tfck -o g.tfck --ffn x2 >/dev/full'
}
