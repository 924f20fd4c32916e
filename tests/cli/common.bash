# What every .bats file loads: where the programs are, a quiet environment, a scratch folder for each test.

bats_require_minimum_version 1.5.0

TF_ROOT=${TF_ROOT:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
TF_BIN=${TF_BIN:-$TF_ROOT/build/cli}
export TF_ROOT TF_BIN
export LC_ALL=C OMP_WAIT_POLICY=passive PATH="$TF_BIN:$PATH"
unset TF_CPU NO_COLOR

setup() {
    cd "$BATS_TEST_TMPDIR" || return
}

# tiny_config FILE: a config whose run takes about a second.
tiny_config() {
    cat >"$1" <<END
model:
  num_layers: 2
  hidden_size: 32
  num_attention_heads: 2
  qkv_tokens: 20
  proj_tokens: 12
  ffn_tokens: 44
  seq_length: 32
data:
  train: ["$TF_ROOT/data/stories-valid.txt"]
  valid: ["$TF_ROOT/data/stories-valid.txt"]
train:
  steps: 6
  batch_size: 4
  eval_interval: 0
  eval_windows: 4
  save_interval: 0
  keep_last: 0
  log_interval: 1
END
}

# tiny_model FILE [OPTION...]: a trained checkpoint of tiny_config.
tiny_model() {
    local out=$1
    shift
    tiny_config "$BATS_FILE_TMPDIR/tiny.yaml"
    tf-train -q "$BATS_FILE_TMPDIR/tiny.yaml" -o "$out" "$@"
}

# fails STATUS TEXT COMMAND...: the command ends with that status, says nothing on stdout and one line on stderr (a second
# one may point to --help) that holds the text.
fails() {
    local status_wanted=$1 text=$2
    shift 2
    run --separate-stderr "$@"
    [ "$status" -eq "$status_wanted" ] || blame "status $status, not $status_wanted"
    [ -z "$output" ] || blame "stdout is not empty"
    [ "${#stderr_lines[@]}" -eq 1 ] || [[ ${#stderr_lines[@]} -eq 2 && ${stderr_lines[1]} == *--help* ]] ||
        blame "stderr has ${#stderr_lines[@]} lines"
    [[ $stderr == *"$text"* ]] || blame "stderr lacks: $text"
}

# works COMMAND...: status 0; stdout in $output.
works() {
    run --separate-stderr "$@"
    [ "$status" -eq 0 ] || blame "status $status"
}

# holds TEXT: the last command's stdout holds the text.
holds() {
    [[ $output == *"$1"* ]] || blame "stdout lacks: $1"
}

blame() {
    printf '%s\nstatus: %s\nstdout: %s\nstderr: %s\n' "$1" "$status" "$output" "$stderr" >&2
    return 1
}

# flip FILE OFFSET: inverts the lowest bit of one byte.
flip() {
    local byte
    byte=$(od -An -tu1 -j "$2" -N 1 "$1")
    printf "\\x$(printf %02x $((byte ^ 1)))" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none
}
