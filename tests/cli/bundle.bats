#!/usr/bin/env bats
# tf-inspect unpack and pack: a folder of NumPy files, and back.

load common

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    tiny_model m.tfck
    tiny_model soft.tfck --set model.norm_activation=softmax
    tf-grow -q m.tfck -o g.tfck --ffn x2 --layers 1
    tf-inspect -q drop g.tfck -o bare.tfck optim
    tf-inspect -q cast g.tfck -o b.tfck bf16
    tf-inspect -q cast b.tfck -o mixed.tfck f16 '*.keys' 'optim.*'
    head -c 4000 "$TF_ROOT/data/stories-valid.txt" >text.txt
}

setup() {
    cp "$BATS_FILE_TMPDIR"/*.tfck "$BATS_FILE_TMPDIR/text.txt" "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
}

# numpy: runs the Python program on stdin, after `import numpy as np`.
numpy() {
    {
        echo 'import numpy as np'
        cat
    } | python3 -
}

needs_numpy() {
    python3 -c 'import numpy' 2>/dev/null || skip 'python3-numpy is not installed'
}

# says TEXT: the last command's stderr holds the text.
says() {
    [[ $stderr == *"$1"* ]] || blame "stderr lacks: $1"
}

@test "there and back, byte for byte" {
    for model in m soft g bare b mixed; do
        works tf-inspect unpack $model.tfck -o $model
        works tf-inspect pack $model -o back.tfck
        says 'function: exact'
        cmp $model.tfck back.tfck
        rm back.tfck
    done
}

@test "what the folder holds" {
    works tf-inspect unpack g.tfck -o dir/
    says 'dir/: 69 tables, '
    [ "$(find dir -type f | wc -l)" = 74 ]
    cmp dir/config.yaml <(tf-inspect config g.tfck)
    head -n 2 dir/manifest.yaml >top.txt
    printf 'schema: tokenformer checkpoint 1\ndigest: "%s"\n' \
        "$(tf-inspect digest g.tfck | tail -n 1 | cut -c 1-32)" | cmp - top.txt
    sed -n 3p dir/manifest.yaml | grep -qxE 'settings: "[0-9a-f]{32}"'
    grep -qx '  embed.tokens:' dir/manifest.yaml
    grep -qx '  layers.0.ffn.keys: {scale: 44}' dir/manifest.yaml
    grep -qx '  layers.0.ffn.values:' dir/manifest.yaml
    grep -qx '  layers.1.ffn.keys: {scale: 44, chunks: \[44\*2\]}' dir/manifest.yaml
    grep -qx '  optim.m/norm.bias:' dir/manifest.yaml
    [ -f dir/optim.m+norm.bias.npy ]
}

@test "numpy reads every file; pack reads what numpy saves" {
    needs_numpy
    tf-inspect -q unpack mixed.tfck -o dir
    numpy <<'EOF'
import glob
kinds = set()
for file in glob.glob('dir/*.npy'):
    table = np.load(file)
    assert table.ndim == 2 and table.shape[1] == 32, file
    kinds.add(table.dtype.str)
    np.save(file, table)
assert kinds == {'<f2', '<u2'}, kinds
EOF
    works tf-inspect pack dir -o back.tfck
    cmp mixed.tfck back.tfck
    tf-inspect dump m.tfck 'layers.0.ffn.keys' --npy >keys.npy
    tf-inspect -q unpack m.tfck -o plain
    cmp keys.npy plain/layers.0.ffn.keys.npy
}

@test "the function is more than tables: config and tokenizer are compared, too" {
    local change
    for change in 's/^  norm_activation: .*/  norm_activation: softmax/' \
        's/^  num_attention_heads: .*/  num_attention_heads: 1/' \
        's/^  rotary_pct: .*/  rotary_pct: 0.5/' 's/^  rotary_base: .*/  rotary_base: 100/'; do
        tf-inspect -q unpack m.tfck -o dir
        sed -i "$change" dir/config.yaml
        works tf-inspect pack dir -o out.tfck
        says 'function: changed (config.yaml or tokenizer is not as it was unpacked)'
        works tf-inspect lineage out.tfck
        holds "2 edit   pack, function changed, from $(tf-inspect digest m.tfck | tail -n 1 | cut -c 1-32)"
        rm -r dir out.tfck
    done
    tf-inspect -q unpack m.tfck -o dir # keys that have no part in it, another spelling of one that has
    sed -i 's/^  steps: .*/  steps: 99/; s/^  seq_length: .*/  seq_length: 16/; s/^  rotary_pct: 0.25/  rotary_pct: 2.5e-1/' \
        dir/config.yaml
    works tf-inspect pack dir -o out.tfck
    says 'function: exact'
    rm out.tfck
    sed -i 's/endoftext/end/' dir/tokenizer
    sed -i 's/endoftext/end/' dir/config.yaml
    works tf-inspect pack dir -o out.tfck
    says 'function: changed (config.yaml or tokenizer is not as it was unpacked)'
}

@test "tokens are added in numpy" {
    needs_numpy
    tf-inspect -q unpack g.tfck -o dir
    numpy <<'EOF'
import glob
for file in glob.glob('dir/*layers.0.ffn.*.npy'):
    table = np.load(file)
    new = np.zeros((3, 32), '<f4')
    if 'optim' not in file and 'values' in file:
        new += 0.25
    np.save(file, np.concatenate([table, new]))
EOF
    works tf-inspect pack dir -o out.tfck
    says 'function: changed (tables are not as they were unpacked)'
    works tf-inspect config out.tfck
    holds 'ffn_tokens: [47, 88]'
    works tf-inspect lineage out.tfck
    holds "3 edit   pack, function changed, from $(tf-inspect digest g.tfck | tail -n 1 | cut -c 1-32)"
    holds 'layers.0.ffn  44 -> 47'
    works tf-eval g.tfck text.txt # zero keys: the function is in truth the same
    before=$output
    works tf-eval out.tfck text.txt
    [ "$output" = "$before" ]
    works tf-train "$BATS_FILE_TMPDIR/tiny.yaml" -q --init out.tfck -o more.tfck
}

@test "bf16 is edited by its bits; f32 in its place is f32" {
    needs_numpy
    tf-inspect -q unpack b.tfck -o dir
    numpy <<'EOF'
file = 'dir/layers.1.ffn.values.npy'
bits = np.load(file)
table = (bits.astype('<u4') << 16).view('<f4')
table[:] = -1.5
np.save(file, (table.view('<u4') >> 16).astype('<u2'))
file = 'dir/layers.0.ffn.values.npy'
np.save(file, (np.load(file).astype('<u4') << 16).view('<f4'))
EOF
    works tf-inspect pack dir -o out.tfck
    tf-inspect dump out.tfck layers.1.ffn.values --npy -o values.npy
    numpy <<<"assert (np.load('values.npy') == 0xbfc0).all()"
    works tf-inspect tables out.tfck
    [ "$(grep 'layers.0.ffn.values' <<<"$output" | head -n 1 | grep -c ' f32 ')" = 1 ]
    [ "$(grep 'layers.1.ffn.values' <<<"$output" | head -n 1 | grep -c ' bf16 ')" = 1 ]
}

@test "arrays that pack does not take" {
    needs_numpy
    tf-inspect -q unpack m.tfck -o dir
    cp dir/layers.0.ffn.keys.npy good.npy
    while IFS='|' read -r change message; do
        numpy <<<"np.save('dir/layers.0.ffn.keys.npy', $change)"
        fails 65 "$message" tf-inspect pack dir -o out.tfck
    done <<'EOF'
np.load('good.npy').astype('<f8')|dir/layers.0.ffn.keys.npy: type '<f8', must be '<f4', '<f2'
np.load('good.npy').astype('>f4')|dir/layers.0.ffn.keys.npy: type '>f4'
np.load('good.npy').astype('<i4')|dir/layers.0.ffn.keys.npy: integers of 32 bits, must be '<f4', '<f2' or '<u2' (bf16)
np.load('good.npy').astype('<i8')|dir/layers.0.ffn.keys.npy: type '<i8'
np.asfortranarray(np.load('good.npy'))|dir/layers.0.ffn.keys.npy: fortran_order is not False
np.load('good.npy').ravel()|dir/layers.0.ffn.keys.npy: its shape has 1 dimension, must have 2
np.load('good.npy')[:43]|dir/layers.0.ffn.values.npy: 44 rows, but layers.0.ffn.keys, which goes with it, has 43
np.load('good.npy')[:0]|dir/layers.0.ffn.keys.npy: dimension 0 is 0
np.load('good.npy')[:, :31].copy()|table layers.0.ffn.keys: 31 columns
np.array([{}], object)|dir/layers.0.ffn.keys.npy: type
EOF
    [ ! -e out.tfck ]
    numpy <<<"np.savez('dir/layers.0.ffn.keys.npy', np.load('good.npy')); import os; os.rename('dir/layers.0.ffn.keys.npy.npz', 'dir/layers.0.ffn.keys.npy')"
    fails 65 'dir/layers.0.ffn.keys.npy: not an .npy file' tf-inspect pack dir -o out.tfck
    cp good.npy dir/layers.0.ffn.keys.npy
    works tf-inspect pack dir -o out.tfck
    cmp m.tfck out.tfck
}

@test "folders that are none" {
    fails 66 'none: No such file or directory' tf-inspect pack none -o out.tfck
    fails 66 'm.tfck: not a folder' tf-inspect pack m.tfck -o out.tfck
    mkdir empty
    fails 66 'empty/manifest.yaml: No such file or directory' tf-inspect pack empty -o out.tfck
    tf-inspect -q unpack m.tfck -o dir
    mv dir/norm.bias.npy away
    fails 66 'dir/norm.bias.npy: No such file or directory' tf-inspect pack dir -o out.tfck
    ln -s ../away dir/norm.bias.npy
    fails 66 'dir/norm.bias.npy: is a symbolic link' tf-inspect pack dir -o out.tfck
    rm dir/norm.bias.npy
    mkfifo dir/norm.bias.npy
    fails 66 'dir/norm.bias.npy: not a regular file' timeout 10 tf-inspect pack dir -o out.tfck
    rm dir/norm.bias.npy
    mv away dir/norm.bias.npy
    sed -i 's/^  norm.bias:/  norm.bias: {file: "..\/norm.bias.npy"}/' dir/manifest.yaml
    fails 65 'file: expected the plain name of a file in the folder, found the text "../norm.bias.npy"' \
        tf-inspect pack dir -o out.tfck
    sed -i 's/^  norm.bias:.*/  norm.bias: {chunks: [1*99999999999]}/' dir/manifest.yaml
    fails 65 'chunks: expected a list of the rows in each chunk' tf-inspect pack dir -o out.tfck
    sed -i '/^  norm.bias:/d' dir/manifest.yaml
    fails 65 'table norm.bias: missing, but the config needs it' tf-inspect -q pack dir -o out.tfck
    [ ! -e out.tfck ]
    [ "$(find . -name '.*.part' | wc -l)" = 0 ]
}

@test "files that the manifest does not name are left out, and said to be" {
    tf-inspect -q unpack m.tfck -o dir
    touch dir/notes.txt dir/.swp
    works tf-inspect pack dir -o out.tfck
    says 'dir: the manifest does not name notes.txt'
    cmp m.tfck out.tfck
    touch dir/a.py
    works tf-inspect pack dir -f -o out.tfck
    says 'dir: the manifest does not name a.py and 1 more'
    works tf-inspect pack dir -f -q -o out.tfck
    [ -z "$stderr" ]
}

@test "an existing folder is never replaced" {
    mkdir dir
    fails 73 'dir: exists already' tf-inspect unpack m.tfck -o dir
    fails 64 'unpack takes no --force: a folder is never replaced' tf-inspect unpack m.tfck -f -o dir
    rmdir dir
    fails 64 'unpack: -o with the name of the result is needed' tf-inspect unpack m.tfck
    flip m.tfck 3000
    fails 65 'm.tfck: table embed.tokens' tf-inspect unpack m.tfck -o dir
    [ ! -e dir ]
    [ "$(find . -name '.*.part' | wc -l)" = 0 ]
}

@test "--dry-run makes nothing" {
    works tf-inspect unpack m.tfck -o dir -n
    holds 'dir  69 tables, '
    [ ! -e dir ]
    tf-inspect -q unpack g.tfck -o dir
    fails 73 'dir: exists already' tf-inspect unpack m.tfck -o dir -n
    works tf-inspect pack dir -o out.tfck -n
    holds 'tables      69 written, 0 left out'
    holds 'function    exact'
    [ ! -e out.tfck ]
    touch out.tfck
    fails 73 'out.tfck: exists already' tf-inspect pack dir -o out.tfck -n
}

@test "more tables than a program may open files, unless it asks" {
    tf-inspect -q unpack m.tfck -o dir
    (
        ulimit -Sn 40
        works tf-inspect pack dir -o out.tfck
    )
    cmp m.tfck out.tfck
    ulimit -n 40
    fails 66 'Too many open files' tf-inspect pack dir -o none.tfck
}

@test "--level" {
    tf-inspect -q unpack m.tfck -o dir
    works tf-inspect pack dir -o out.tfck --level 9
    [ "$(tf-inspect digest out.tfck)" = "$(tf-inspect digest m.tfck)" ]
    fails 64 level tf-inspect pack dir -o none.tfck --level 0
}
