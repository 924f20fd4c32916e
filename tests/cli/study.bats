#!/usr/bin/env bats
# tests/study: the report's figures from a folder made up, and the whole study at toy size.

load common

study=$TF_ROOT/tests/study

# made_up NAME SEED ROLE AFTER FLOPS-BEFORE FLOPS-A-STEP LOSS...: a run of ten steps an evaluation, one second each ten.
made_up() {
    local run=$1.$2 flops=$5 step_flops=$6 step=0
    printf '%s\t%s\t%s\t%s\t-\toptimizer.lr=%s\n' "$1" "$2" "$3" "$4" "${rate:-1e-3}" >>runs.tsv
    shift 6
    echo "{\"schema\":\"tf-train/1\",\"parameters\":2000000,\"flops_per_step\":$step_flops}" >"$run.jsonl"
    for loss; do
        step=$((step + 10)) flops=$((flops + 10 * step_flops))
        echo "{\"event\":\"step\",\"step\":$step,\"loss\":9,\"seconds\":$((step / 10))}"
        echo "{\"event\":\"eval\",\"step\":$step,\"loss\":$loss,\"seconds\":$((step / 10)),\"flops\":$flops,\"tokens\":$step}"
    done >>"$run.jsonl"
    echo >"$run.done"
}

made_up_study() {
    made_up wide 1 scratch - 0 1000 3 2.2 2.0 1.8
    made_up wide 2 scratch - 0 1000 3 2.2 2.0 2.0
    made_up plain 1 scratch - 0 2000 3 2.5
    made_up small 1 base - 0 100 3 2.4
    made_up small 2 base - 0 100 3 2.6
    made_up paying 1 grown small 2000 1000 1.9 1.7
    made_up paying 2 grown small 2000 1000 1.9 1.9
    made_up losing 1 grown small 2000 1000 2.1 1.95
    rate=4e-3 made_up wide@4e-3 1 sweep - 0 1000 3 2.2 2.0 1.9
    printf '{"before": 2.5, "after": 2.5}\n' | tee paying.1.growth paying.2.growth >/dev/null
    printf '{"before": 2.5, "after": 2.75}\n' >losing.1.growth
    printf '%s\n' '1000 2000000 30' '1000 2000000 10' '1000 2000000 20' '100 2000000 5' '2000 2000000 40' >time.tsv
}

@test "the report's table" {
    made_up_study
    works python3 -B "$study/report.py" .
    grep -Fx '| wide | 2 | 2.00M | 1.9000 ± 0.1414 | 4e+04 | 100% | 4 | 100% | 1 | 100% | 4e+04 (100%) |' study.md
    grep -Fx '| paying | 2 | 2.00M | 1.8000 ± 0.1414 | 2.2e+04 | 55% | 4 | 100% | 0 | 62% | 1.2e+04 (30%) |' study.md
    grep -Fx '| losing | 1 | 2.00M | 1.9500 | 2.2e+04 | 55% | 4 | 100% | 0 | 62% | not reached, +0.0500 |' study.md
    grep -Fx '| paying | paying | 2.5000 | 2.5000 | yes |' study.md
    grep -Fx '| losing | losing | 2.5000 | 2.7500 | no |' study.md
    grep -Fx '| wide | 0.001: 1.8000, 0.004: 1.9000 |' study.md
    run ! grep -q small study.md
}

@test "the report's JSON" {
    made_up_study
    works python3 -B "$study/report.py" .
    [ "$(jq -c '[.schema, .measure.name, .measure.flops]' study.json)" = '["tf-study/1","wide",40000]' ]
    [ "$(jq -c '[.arms[].name]' study.json)" = '["wide","plain","paying","losing"]' ]
    [ "$(jq -c '[.arms[2].curve[] | [.[0], (.[1] * 10 | round / 10)]]' study.json)" = '[[1000,3],[2000,2.5],[12000,1.9],[22000,1.8]]' ]
    [ "$(jq -c '.arms[2] | [.steps, .seconds, .step_seconds]' study.json)" = '[40,4,0.5]' ]
    [ "$(jq -c '.arms[3] | [.reached_flops, .growths[0].equal]' study.json)" = '[null,false]' ]
}

@test "the report's chart is one, and the same each time" {
    made_up_study
    works python3 -B "$study/report.py" .
    python3 - <<'PYTHON'
import xml.etree.ElementTree as tree
names = [element.tag.split("}")[1] for element in tree.parse("study.svg").iter()]
assert names.count("polyline") == 4, names
PYTHON
    for kind in json md svg; do mv study.$kind first.$kind; done
    works python3 -B "$study/report.py" .
    for kind in json md svg; do cmp study.$kind first.$kind; done
}

@test "a run that was killed and resumed counts each step once, and all its seconds" {
    made_up one 1 scratch - 0 1000 3 2.5
    tail -n 2 one.1.jsonl | sed 's/"seconds":2/"seconds":1/; s/2\.5/2.4/' >again
    cat again >>one.1.jsonl
    works python3 -B "$study/report.py" .
    [ "$(jq -c '.arms[0] | [.curve, .steps, .seconds, .loss]' study.json)" = '[[[10000,3],[20000,2.4]],20,3,2.4]' ]
}

@test "a run that grew inside tells of it, and has no median step" {
    made_up one 1 scratch - 0 1000 3 2.5
    echo '{"event":"grow","step":10,"parameters":[1,2],"loss_before":3,"loss_after":3.5,"flops":10000}' >>one.1.jsonl
    echo '1000 2000000 30' >time.tsv
    works python3 -B "$study/report.py" .
    [ "$(jq -c '.arms[0] | [.growths[0], .step_seconds]' study.json)" = \
        '[{"run":"one","before":3,"after":3.5,"equal":false},null]' ]
}

@test "seeds that were not trained alike are refused" {
    made_up one 1 scratch - 0 1000 3 2.5
    made_up one 2 scratch - 0 2000 3 2.5
    fails 1 'the seeds of an arm were trained for different FLOPs: [10000, 20000]' python3 -B "$study/report.py" .
}

@test "without a scratch arm there is no report" {
    made_up small 1 base - 0 1000 3
    fails 1 '.: no scratch arm is done yet' python3 -B "$study/report.py" .
}

@test "a text that is not the one is refused" {
    mkdir d
    echo other | tee d/train.txt >d/valid.txt
    run sh "$study/study.sh" -b "$TF_BIN" d
    [ "$status" -ne 0 ]
    [[ $output == *'train.txt: FAILED'* ]]
    [ ! -e d/transformer.1.jsonl ]
}

@test "the whole study, at toy size" {
    works sh "$study/study.sh" -b "$TF_BIN" -s toy d
    works sh "$study/study.sh" -b "$TF_BIN" -s toy -n d
    run ! grep -qv '^done ' <<<"$output"
    [ "$(jq -c '[.arms[] | select(.step_seconds > 0 and .seconds > 0)] | length' d/study.json)" -eq \
        "$(jq '.arms | length' d/study.json)" ]
    # Growth that should change nothing changed nothing; the paper's did.
    [ "$(jq -c '[.arms[] | select(.name == "zero-keep" or .name == "deeper") | .growths[0].equal]' d/study.json)" = '[true,true]' ]
    [ "$(jq -c '.arms[] | select(.name == "random-count") | .growths[0].equal' d/study.json)" = false ]
    # FLOPs count from the base's first step.
    [ "$(jq -s 'map(.flops // empty) | last' d/zero-keep.1.jsonl)" = \
        "$(jq -s '.[0].flops_per_step * .[0].steps + .[1].flops_per_step * .[1].steps' \
            <(head -n 1 d/small.1.jsonl) <(head -n 1 d/zero-keep.1.jsonl))" ]
    # And again there is nothing to do.
    works sh "$study/study.sh" -b "$TF_BIN" -s toy d
    [ -z "$stderr" ]
}

@test "an arm that was stopped goes on to the same bytes" {
    works sh "$study/study.sh" -b "$TF_BIN" -s toy whole tokenformer
    mkdir bin
    ln -s "$TF_BIN"/tf-* bin
    rm bin/tf-train
    printf '#!/bin/sh\n%s "$@" --max-time 0.001\nexit 75\n' "$TF_BIN/tf-train" >bin/tf-train
    chmod +x bin/tf-train
    run sh "$study/study.sh" -b bin -s toy d tokenformer
    [ "$status" -eq 75 ]
    works sh "$study/study.sh" -b bin -s toy -n d tokenformer
    [ "$output" = $'begun        scratch  tokenformer.1\nto do        scratch  tokenformer.2' ]
    works sh "$study/study.sh" -b "$TF_BIN" -s toy d tokenformer
    cmp d/tokenformer.1.tfck whole/tokenformer.1.tfck
    cmp d/tokenformer.2.tfck whole/tokenformer.2.tfck
}

@test "an arm whose recipe changed is to be done again, and so is what grew from it" {
    mkdir d
    works sh "$study/study.sh" -b "$TF_BIN" -s toy -n d small zero-keep
    [ "$(wc -l <<<"$output")" -eq 4 ]
    touch d/small.1.done d/zero-keep.2.done
    works sh "$study/study.sh" -b "$TF_BIN" -s toy -n d zero-keep
    [ "$output" = "to do again  base     small.1
to do        base     small.2
to do        grown    zero-keep.1
to do again  grown    zero-keep.2" ]
}
