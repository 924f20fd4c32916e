# Edits take a few chunks of memory, however large the checkpoint. TF_LARGE=1 makes it 2 GB instead of 100 MB.

load common

setup_file() {
    export PATH="${TF_BIN:-$BATS_TEST_DIRNAME/../../build/cli}:$PATH" OMP_WAIT_POLICY=passive LC_ALL=C
    [ -n "${TF_MEASURE-}" ] || return 0
    cd "$BATS_FILE_TMPDIR" || return
    cat >small.yaml <<END
model: {num_layers: 2, hidden_size: 256, num_attention_heads: 4, qkv_tokens: 16, proj_tokens: 16, ffn_tokens: 16, seq_length: 8}
data: {train: ["$BATS_TEST_DIRNAME/../../data/stories-valid.txt"]}
train: {steps: 1, batch_size: 1, eval_interval: 0, keep_last: 0}
END
    tf-train -q small.yaml -o small.tfck
    tf-grow -q small.tfck -o large.tfck --ffn $((${TF_LARGE:+57} + 3))0000 --qkv 2000 --keys random >grown
}

setup() {
    [ -n "${TF_MEASURE-}" ] || skip 'not with sanitizers, which take memory of their own'
    cd "$BATS_FILE_TMPDIR" || return
}

teardown() {
    rm -rf "$BATS_FILE_TMPDIR"/out*
}

# within MIB ARGUMENT...: tf-inspect, in so much memory.
within() {
    local mib=$1
    shift
    [ "$(stat -c %s large.tfck)" -gt $((2 * mib << 20)) ]
    "$TF_MEASURE" $((mib * 1024)) 600 tf-inspect -q "$@"
}

@test "rows are cut, replaced and taken over in a fraction of the file's size" {
    within 36 slice large.tfck -o out.tfck 'layers.0.ffn[100:9900]'
    within 36 slice large.tfck -o out.tfck -f --drop 'layers.1.ffn[5,7,9,1000,2000:3000]'
    within 36 transplant large.tfck -o out.tfck -f small.tfck 'layers.*.ffn'
    within 36 transplant large.tfck -o out.tfck -f --append large.tfck 'layers.0.ffn'
    within 36 dump large.tfck layers.0.ffn.values -o out.npy
    within 36 replace large.tfck -o out.tfck -f layers.1.ffn.values out.npy
    within 36 append large.tfck -o out.tfck -f layers.1.ffn out.npy out.npy
}

@test "tables are cast, dropped and packed again in a fraction of the file's size" {
    within 36 set large.tfck -o out.tfck train.seed=4 layers.0.ffn.scale=9
    within 36 drop large.tfck -o out.tfck -f optim
    within 36 cast large.tfck -o out.tfck -f bf16
    within 36 repack large.tfck -o out.tfck -f
    within 36 recover large.tfck -o out.tfck -f
    within 36 verify large.tfck
    within 36 unpack large.tfck -o out
    within 36 pack out -o out.tfck -f
    cmp out.tfck large.tfck
}
