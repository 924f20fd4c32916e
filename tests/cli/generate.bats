#!/usr/bin/env bats
# tf-generate: text, samples, prompts, how it ends, and what it refuses.

load common

setup_file() {
    tiny_model "$BATS_FILE_TMPDIR/m.tfck"
}

setup() {
    cd "$BATS_TEST_TMPDIR" || return
    cp "$BATS_FILE_TMPDIR/m.tfck" .
}

# field NAME: the values of a field of the last run's JSON, one a line.
field() {
    grep -o "\"$1\":[^,}]*" <<<"$output" | cut -d: -f2- | tr -d '"'
}

@test "the same seed gives the same text, another seed another" {
    works tf-generate m.tfck -p 'Once upon' -n 30
    first=$output
    works tf-generate m.tfck -p 'Once upon' -n 30 --seed 1 --threads 1
    [ "$output" = "$first" ]
    works tf-generate m.tfck -p 'Once upon' -n 30 --seed 2
    [ "$output" != "$first" ]
}

@test "greedy needs no seed" {
    works tf-generate m.tfck -p 'Once upon' -n 30 --temperature 0
    first=$output
    works tf-generate m.tfck -p 'Once upon' -n 30 --temperature 0 --seed 5
    [ "$output" = "$first" ]
    works tf-generate m.tfck -p 'Once upon' -n 30 --top-k 1
    [ "$output" = "$first" ]
    works tf-generate m.tfck -p 'Once upon' -n 30 --min-p 1
    [ "$output" = "$first" ]
}

@test "--json: one line a sample, its fields in their order" {
    works tf-generate m.tfck -p 'a "b"' -n 5 --ignore-end --samples 3 --json
    [ "${#lines[@]}" -eq 3 ]
    keys=$(grep -o '"[a-z_]*":' <<<"${lines[0]}" | tr -d '":' | paste -sd ' ')
    [ "$keys" = 'schema prompt_index sample prompt text tokens finish' ]
    [[ ${lines[0]} == '{"schema":"tf-generate/1","prompt_index":0,"sample":0,"prompt":"a \"b\"","text":"'* ]]
    [ "$(field sample | paste -sd ' ')" = '0 1 2' ]
    [ "$(field finish | sort -u)" = length ]
    [[ ${lines[0]} =~ \"tokens\":\[[0-9]+(,[0-9]+){4}\] ]]
}

@test "a sample does not depend on how many are asked for" {
    works tf-generate m.tfck -p Once -n 50 --samples 4 --json
    four=("${lines[@]}")
    works tf-generate m.tfck -p Once -n 50 --json
    [ "$output" = "${four[0]}" ]
    works tf-generate m.tfck -p Once -n 50 --json --samples 2
    [ "${lines[1]}" = "${four[1]}" ]
    [ "${four[0]}" != "${four[1]/\"sample\":1/\"sample\":0}" ]
}

@test "several samples are told apart, a single one is bare" {
    works tf-generate m.tfck -p Once -n 1 --temperature 0 --echo
    one=$output
    [[ $one == Once* ]]
    works tf-generate m.tfck -p Once -n 1 --temperature 0 --echo --samples 2
    [ "$output" = "==> prompt 0 sample 0 <==
$one

==> prompt 0 sample 1 <==
$one" ]
}

@test "--prompts: lines, JSON lines, empty lines" {
    printf 'Once\n\n{"prompt": "The cat"}\nlast, without a newline' >prompts
    works tf-generate m.tfck --prompts prompts -n 4 --json
    [ "$(field prompt_index | paste -sd ' ')" = '0 1 2' ]
    [ "$(field prompt | head -n 2 | paste -sd ' ')" = 'Once The cat' ]
    from_file=$output
    works tf-generate m.tfck --prompts - -n 4 --json <prompts
    [ "$output" = "$from_file" ]
    works tf-generate m.tfck --prompts prompts -n 4 --echo
    [ "$(grep -a -c '^==> prompt [0-2] sample 0 <==$' <<<"$output")" -eq 3 ]
}

@test "--prompts: what is not a prompt" {
    printf 'Once\n{"promt": "The cat"}\n' >prompts
    fails 65 'prompts:2: ' tf-generate m.tfck --prompts prompts
    printf '{"prompt": "The cat"' >prompts
    fails 65 'prompts:1: ' tf-generate m.tfck --prompts prompts
    printf '\n\n' >prompts
    fails 65 'prompts: no prompt in it' tf-generate m.tfck --prompts prompts
    fails 66 'gone' tf-generate m.tfck --prompts gone
}

@test "without a prompt, and with an empty one: a new document" {
    works tf-generate m.tfck -n 20 --json </dev/null
    [ "$(field prompt)" = '' ]
    bare=$output
    works tf-generate m.tfck -n 20 --json -p ''
    [ "$output" = "$bare" ]
}

@test "--stop ends before its text" {
    works tf-generate m.tfck -p Once -n 9 --temperature 0 --ignore-end --json
    [ "$(field finish)" = length ]
    [[ $output =~ \"tokens\":\[([0-9]+) ]]
    printf -v first "\\x$(printf %02x "${BASH_REMATCH[1]}")"
    works tf-generate m.tfck -p Once -n 9 --temperature 0 --ignore-end --stop nothing --stop "$first" --json
    [ "$(field finish)" = stop ]
    [ "$(field text)" = '' ]
}

@test "the text is UTF-8, whatever the bytes" {
    works tf-generate m.tfck -n 400 -q --temperature 3 --ignore-end -o text
    iconv -f UTF-8 -t UTF-8 text >/dev/null
    works tf-generate m.tfck -n 400 -q --temperature 3 --ignore-end -p $'\xff' --json -f -o text
    iconv -f UTF-8 -t UTF-8 text >/dev/null
}

@test "longer than the context: said once, unless quiet" {
    works tf-generate m.tfck -p Once -n 28 --ignore-end --temperature 0
    [ -z "$stderr" ]
    works tf-generate m.tfck -p Once -n 90 --ignore-end --temperature 0 --samples 2
    [ "$stderr" = 'tf-generate: longer than the context of 32 tokens: the oldest are forgotten' ]
    works tf-generate m.tfck -p Once -n 90 --ignore-end --temperature 0 -q
    [ -z "$stderr" ]
    printf '%0200d\n%0200d\n' 1 2 >prompts
    works tf-generate m.tfck --prompts prompts -n 1 --ignore-end
    [ "${#stderr_lines[@]}" -eq 1 ]
}

@test "-v tells the speed" {
    works tf-generate m.tfck -p Once -n 8 --ignore-end -v
    [[ $stderr == 'tf-generate: prompt: 4 tokens in '*'; new: 8 in '*' tokens/s' ]]
}

@test "a signal ends it with what there is" {
    run --separate-stderr timeout --preserve-status -s INT 2 tf-generate m.tfck -n 10000000 --ignore-end --json -q
    [ "$status" -eq 75 ]
    [ "${#lines[@]}" -eq 1 ]
    [ "$(field finish)" = interrupted ]
    [ "$stderr" = 'tf-generate: stopped by a signal' ]
    run timeout --preserve-status -s TERM 2 tf-generate m.tfck -n 10000000 --ignore-end -q -o text
    [ "$status" -eq 75 ]
    [ -s text ]
}

@test "a closed pipe ends it quietly, a full disk does not" {
    run --separate-stderr bash -c 'tf-generate m.tfck -q -n 1000000 --ignore-end | head -c 5 >/dev/null; exit "${PIPESTATUS[0]}"'
    [ "$status" -eq 74 ]
    [ -z "$stderr" ]
    fails 74 'standard output' sh -c 'exec tf-generate m.tfck -n 3 >/dev/full'
}

@test "-o replaces nothing unless told to" {
    works tf-generate m.tfck -n 20 -o text
    [ -z "$output" ]
    wanted=$(tf-generate m.tfck -n 20 | cksum)
    [ "$(cksum <text)" = "$wanted" ]
    fails 73 'text' tf-generate m.tfck -n 9 -o text
    [ "$(cksum <text)" = "$wanted" ]
    works tf-generate m.tfck -n 9 -f -o text
    [ "$(cksum <text)" != "$wanted" ]
}

@test "-n 0 prints the prompt alone" {
    works tf-generate m.tfck -p Once -n 0 --echo
    [ "$output" = Once ]
}

@test "a dry run checks, and generates nothing" {
    works tf-generate m.tfck -p Once --dry-run --samples 3 -o text
    holds 'prompts   1, samples of each 3'
    [ ! -e text ]
    works tf-generate m.tfck -p Once -n 9 --dry-run --samples 3 --json
    jq -e '.schema == "tf-generate-plan/1" and .samples == 3 and .tokens == 9 and .context == 32' <<<"$output"
    fails 66 'gone' tf-generate m.tfck --prompts gone --dry-run
    fails 71 'bytes are needed' tf-generate m.tfck --samples 4096 -n 16777216 --max-memory 1G --dry-run
}

@test "calls and inputs that are wrong" {
    fails 64 'one checkpoint is wanted, not 0' tf-generate
    fails 64 'one checkpoint is wanted, not 2' tf-generate m.tfck m.tfck
    fails 64 'exclude each other' tf-generate m.tfck -p Once --prompts prompts
    fails 64 'the text is empty' tf-generate m.tfck --stop ''
    fails 64 '--temperature=-1' tf-generate m.tfck --temperature=-1
    fails 64 '--top-p=1.5' tf-generate m.tfck --top-p 1.5
    fails 64 '--samples=0' tf-generate m.tfck --samples 0
    fails 66 'gone.tfck' tf-generate gone.tfck
    echo text >text
    fails 65 'text' tf-generate text
    fails 71 'limit is 1024' tf-generate m.tfck --max-memory 1K
}

@test "--weights: the same text at any number of threads and from any build" {
    for weights in f32 bf16 int8; do
        works tf-generate m.tfck -p 'Once upon' -n 60 --weights "$weights"
        text=$output
        works tf-generate m.tfck -p 'Once upon' -n 60 --weights "$weights" --threads 1
        [ "$output" = "$text" ]
        run --separate-stderr env TF_CPU=x86-64 tf-generate m.tfck -p 'Once upon' -n 60 --weights "$weights"
        [ "$status" -eq 64 ] || [ "$output" = "$text" ] # 64: another kind of processor
    done
    works tf-generate m.tfck -p 'Once upon' -n 60 --weights f32
    text=$output
    works tf-generate m.tfck -p 'Once upon' -n 60
    [ "$output" = "$text" ]
    fails 64 '--weights' tf-generate m.tfck --weights f16
}
