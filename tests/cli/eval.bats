#!/usr/bin/env bats
# tf-eval: figures, limits, comparisons, and what it refuses.

load common

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    tiny_model m.tfck
    tiny_model other.tfck --set train.seed=2
    tiny_model plain.tfck --set data.separator=none
    head -c 3000 "$TF_ROOT/data/stories-valid.txt" >text.txt
}

setup() {
    cp "$BATS_FILE_TMPDIR"/*.tfck "$BATS_FILE_TMPDIR"/text.txt "$BATS_TEST_TMPDIR"
    cd "$BATS_TEST_TMPDIR" || return
}

# figure NAME: a value of the last run's text output.
figure() {
    awk -v name="$1" '$1 == name { print $2; exit }' <<<"$output"
}

@test "the figures agree with each other" {
    works tf-eval m.tfck text.txt
    [ "$(figure window)" = 32 ]
    [ "$(figure stride)" = 32 ]
    [ "$(figure scored)" = all ]
    [ "$(figure bytes)" -ge "$(figure tokens)" ]
    [ "$(figure bytes)" -le 2999 ]
    awk -v nats="$(figure nats_per_token)" -v ppl="$(figure perplexity)" -v bpb="$(figure bits_per_byte)" \
        -v tokens="$(figure tokens)" -v bytes="$(figure bytes)" 'function abs(x) { return x < 0 ? -x : x }
        BEGIN { exit abs(ppl / exp(nats) - 1) > 1e-6 || abs(bpb * log(2) * bytes / (nats * tokens) - 1) > 1e-6 }'
}

@test "several files are one text" {
    head -c 1234 text.txt >a.txt
    tail -c +1235 text.txt >b.txt
    works tf-eval m.tfck text.txt
    whole=$output
    works tf-eval m.tfck a.txt b.txt
    [ "$output" = "$whole" ]
    works tf-eval m.tfck - <text.txt
    [ "$output" = "$whole" ]
    zstd -q text.txt -o text.txt.zst
    works tf-eval m.tfck text.txt.zst
    [ "$output" = "$whole" ]
}

@test "batch and threads change nothing" {
    works tf-eval m.tfck text.txt --stride 10 --json
    whole=$output
    for more in '--batch 1' '--batch 7' '--batch 100000' '--threads 1' '--threads 3'; do
        # shellcheck disable=SC2086 # words
        works tf-eval m.tfck text.txt --stride 10 --json $more
        [ "$output" = "$whole" ]
    done
}

@test "each convention scores the tokens that it should" {
    works tf-eval m.tfck text.txt
    tokens=$(figure tokens)
    works tf-eval m.tfck text.txt --stride 8
    [ "$(figure tokens)" = "$tokens" ]
    [ "$(figure stride)" = 8 ]
    works tf-eval m.tfck text.txt --window 16
    [ "$(figure tokens)" = "$tokens" ]
    [ "$(figure stride)" = 16 ]
    works tf-eval m.tfck text.txt --second-half
    [ "$(figure tokens)" = $((tokens / 32 * 16)) ]
    [ "$(figure scored)" = second-half ]
}

@test "--json: the schema first, then the figures in their order" {
    works tf-eval m.tfck text.txt --json --compare m.tfck
    keys=$(grep -o '"[a-z_]*":' <<<"$output" | tr -d '":' | paste -sd ' ')
    wanted="schema model_digest tokens bytes nats_per_token perplexity bits_per_byte stderr window stride scored weights"
    wanted+=" compare model_digest tokens mean_kl max_logit_difference same_argmax"
    [ "$keys" = "$wanted" ]
    holds '"schema": "tf-eval/1"'
    holds "\"model_digest\": \"$(tf-inspect digest m.tfck | tail -n 1 | grep -o '[0-9a-f]\{32\}')\""
    holds '"mean_kl": 0,'
    holds '"same_argmax": 1'
}

@test "one window has no standard error" {
    head -c 33 "$TF_ROOT/data/stories-train.txt" >short.txt
    works tf-eval m.tfck short.txt --json
    holds '"tokens": 32'
    holds '"stderr": null'
    works tf-eval m.tfck short.txt
    [ "$(figure stderr)" = nan ]
}

@test "--fail-above: met, missed, and all that were missed" {
    works tf-eval m.tfck text.txt --fail-above ppl=1000000 --fail-above loss=1e3 --fail-above bits_per_byte=50
    for metric in loss nats_per_token ppl perplexity bpb bits_per_byte; do
        run --separate-stderr tf-eval m.tfck text.txt --fail-above "$metric=0.5"
        [ "$status" -eq 1 ]
        [[ $stderr == "tf-eval: "*" misses the limit 0.5" ]]
        holds nats_per_token
    done
    run --separate-stderr tf-eval m.tfck text.txt --fail-above ppl=1 --fail-above bpb=99 --fail-above loss=0
    [ "$status" -eq 1 ]
    [[ $stderr == "tf-eval: perplexity "*" misses the limit 1; nats_per_token "*" misses the limit 0" ]]
}

@test "--fail-above: what is not a limit" {
    fails 64 "--fail-above speed=3: not METRIC=X" tf-eval m.tfck text.txt --fail-above speed=3
    fails 64 "--fail-above ppl: not METRIC=X" tf-eval m.tfck text.txt --fail-above ppl
    fails 64 '"much" is not a number' tf-eval m.tfck text.txt --fail-above ppl=much
    fails 64 'is not a number' tf-eval m.tfck text.txt --fail-above ppl=
    fails 64 'is not a number' tf-eval m.tfck text.txt --fail-above ppl=nan
    fails 64 'needs --compare' tf-eval m.tfck text.txt --fail-above kl=0
}

@test "--compare" {
    works tf-eval m.tfck text.txt --compare m.tfck --fail-above kl=0 --fail-above logits=0
    [ "$(figure max_logit_difference)" = 0 ]
    run --separate-stderr tf-eval m.tfck text.txt --compare other.tfck --fail-above logits=0
    [ "$status" -eq 1 ]
    [[ $stderr == *"max_logit_difference "*" misses the limit 0" ]]
    awk -v kl="$(figure mean_kl)" -v same="$(figure same_argmax)" 'BEGIN { exit !(kl > 0 && same <= 1) }'
    fails 65 'plain.tfck: its tokenizer (256 tokens' tf-eval m.tfck text.txt --compare plain.tfck
    fails 66 'gone.tfck' tf-eval m.tfck text.txt --compare gone.tfck
}

@test "--weights: bf16 and int8 change the loss little, and the model compared with not at all" {
    works tf-eval m.tfck text.txt
    exact=$(figure nats_per_token)
    [ "$(figure weights)" = f32 ]
    works tf-eval m.tfck text.txt --weights f32
    [ "$(figure nats_per_token)" = "$exact" ]
    for weights in bf16 int8; do
        works tf-eval m.tfck text.txt --weights "$weights" --compare m.tfck --fail-above kl=1e-4
        [ "$(figure weights)" = "$weights" ]
        awk -v exact="$exact" -v nats="$(figure nats_per_token)" -v logits="$(figure max_logit_difference)" \
            'BEGIN { change = nats / exact - 1; exit change == 0 || change > 0.01 || change < -0.01 || logits == 0 }'
        works tf-eval m.tfck text.txt --weights "$weights" --json
        holds "\"weights\": \"$weights\""
    done
    fails 64 '--weights' tf-eval m.tfck text.txt --weights int4
}

@test "--keep: the loss of the model that slice would make, to the last digit" {
    works tf-eval m.tfck text.txt
    whole=$output
    works tf-eval m.tfck text.txt --keep 100%,50%,12.5%,55%
    [[ $output == "$whole"* ]]
    [ "$(awk '$1 == "100%" { print $3, $4 }' <<<"$output")" = "$(figure nats_per_token) $(figure bits_per_byte)" ]
    for weights in f32 int8; do
        works tf-eval m.tfck text.txt --keep 50%,12.5%,55%,0.01%,95% --weights "$weights" --stride 16 --json
        kept=$output
        # of 20, 12 and 44 tokens; rounded up, but 55% of 20 are 11
        while read -r share qkv proj ffn; do
            tf-inspect slice -q m.tfck -o s.tfck -f "layers.*.attn.[qkv][:$qkv]" "layers.*.attn.o[:$proj]" "layers.*.ffn[:$ffn]"
            tf-eval s.tfck text.txt --weights "$weights" --stride 16 --json >s.json
            [ "$(jq -c ".kept[] | select(.share == $share) | [.nats_per_token, .perplexity, .bits_per_byte, .stderr]" <<<"$kept")" = \
                "$(jq -c '[.nats_per_token, .perplexity, .bits_per_byte, .stderr]' s.json)" ] || blame "$share"
            [ "$(jq ".kept[] | select(.share == $share) | .parameters" <<<"$kept")" = \
                "$(tf-inspect s.tfck --json | jq .parameters)" ]
        done <<'END'
0.5 10 6 22
0.125 3 2 6
0.55 11 7 25
0.0001 1 1 1
0.95 19 12 42
END
    done
    [ "$(jq -c '[.kept[].share]' <<<"$kept")" = '[0.5,0.125,0.55,0.0001,0.95]' ]
}

@test "--keep: what is not a list of shares" {
    for list in '' 50 0% 100.01% 101% '50%,' ',50%' '50%,,25%' .5% 5.% 1.234% -1% 1e1% 50%x '50%, 25%' 99999999999999999999%; do
        fails 64 "--keep $list: expected shares above 0% and up to 100%, like 50%,12.5%" tf-eval m.tfck text.txt --keep "$list"
    done
    fails 64 '--keep: more than 64 shares' tf-eval m.tfck text.txt --keep "1%$(printf ',1%%%.0s' $(seq 64))"
    fails 64 '--keep and --compare exclude each other' tf-eval m.tfck text.txt --keep 5% --compare m.tfck
    works tf-eval m.tfck text.txt --keep 50% --fail-above loss=100
}

@test "growth leaves every digit as it was" {
    tf-grow -q m.tfck -o grown.tfck --qkv x2 --ffn +7
    works tf-eval m.tfck text.txt
    before=$output
    works tf-eval grown.tfck text.txt
    [ "$output" = "$before" ]
    works tf-eval m.tfck text.txt --compare grown.tfck --fail-above logits=0
}

@test "a longer context by --set" {
    fails 64 "window 64 is longer than the model's context, 32 tokens" tf-eval m.tfck text.txt --window 64
    works tf-eval m.tfck text.txt --window 64 --set model.seq_length=64
    [ "$(figure window)" = 64 ]
}

@test "calls and inputs that are wrong" {
    fails 64 'a checkpoint and a text are wanted' tf-eval m.tfck
    fails 64 'exclude each other' tf-eval m.tfck text.txt --stride 4 --second-half
    fails 64 'stride 33 is longer than the window, 32' tf-eval m.tfck text.txt --stride 33
    fails 66 'gone.tfck' tf-eval gone.tfck text.txt
    fails 66 'gone.txt' tf-eval m.tfck gone.txt
    fails 65 'text.txt' tf-eval text.txt text.txt
    head -c 20 text.txt >short.txt
    fails 65 'short.txt: the text has 20 tokens, fewer than one window of 32' tf-eval m.tfck short.txt
    head -c 1 text.txt >byte.txt
    fails 65 'byte.txt and the texts after it: the text has 21 tokens' tf-eval m.tfck byte.txt short.txt
    : >empty.txt
    fails 65 'empty.txt' tf-eval m.tfck empty.txt
    fails 71 'limit is 1024' tf-eval m.tfck text.txt --max-memory 1K
}

@test "-o writes what stdout would get, and replaces nothing" {
    works tf-eval m.tfck text.txt --json
    wanted=$output
    works tf-eval m.tfck text.txt --json -o figures.json
    [ -z "$output" ]
    [ "$(cat figures.json)" = "$wanted" ]
    fails 73 'figures.json' tf-eval m.tfck text.txt -o figures.json
    works tf-eval m.tfck text.txt -f -o figures.json
    [ "$(head -c 6 figures.json)" = tokens ]
}

@test "a dry run opens everything and runs nothing" {
    works tf-eval -n m.tfck text.txt --stride 16 -o figures.txt
    holds 'windows   '
    holds ' of 32 tokens, '
    [ ! -e figures.txt ]
    plan=$output
    works tf-eval -v m.tfck text.txt --stride 16
    [ "$stderr" = "$plan" ]
    works tf-eval -n m.tfck text.txt --json
    jq -e '.schema == "tf-eval-plan/1" and .window == 32 and .windows > 0 and .memory > 0' <<<"$output"
    fails 66 'gone.txt' tf-eval -n m.tfck gone.txt
    fails 65 'standard input: the text has 6 tokens' tf-eval -n m.tfck - <<<short
}

@test "a full disk is noticed" {
    fails 74 'standard output' sh -c 'exec tf-eval m.tfck text.txt >/dev/full'
}
