#!/bin/sh
# study.sh [-b BIN] [-s toy] [-n] DIR [ARM...]: trains the arms of arms.sh in DIR, or those named; then measures the time a
# step takes (the arm "time"), and reports. What is done stays done; what was stopped goes on. -n lists what is to do.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
root=$here/../..
bin=$root/build/cli scale=full only_list=
usage() {
    sed -n '2,3s/^# //p' "$0" >&2
    exit 64
}
while getopts b:s:n option; do
    case $option in
    b) bin=$OPTARG ;;
    s) scale=$OPTARG ;;
    n) only_list=yes ;;
    *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -ge 1 ] || usage
case $scale in full | toy) ;; *) usage ;; esac
bin=$(cd "$bin" && pwd)
mkdir -p "$1"
cd "$1"
shift
PATH=$bin:$PATH
export PATH LC_ALL=C OMP_WAIT_POLICY="${OMP_WAIT_POLICY:-passive}"

say() {
    echo "study.sh: $*" >&2
}

if [ "$scale" = toy ]; then rounds=2 stretch=4 growth_bytes=2049; else rounds=5 stretch=30 growth_bytes=131073; fi

# ---- the text ----

package=dict-gcide version=0.48.5+nmu2

sums() {
    sha256sum --check --quiet <<-SUMS
	aaa3366cd0cf6821c180792445f0debd7f2ce93cf9768c9e1092e39c74028b45  train.txt
	f074a2d5d74a87247a7149a28d20aa7a495f6ea460a8f862ed0987a21cde4940  valid.txt
	SUMS
}

# A dictionary of 40 MB. Every fortieth block of 32 KiB is for validation: 38,936,513 and 1,015,808 bytes.
fetch() {
    say "fetching $package $version"
    apt-get -q download "$package=$version" >&2
    dpkg-deb -x "$package"_*.deb package
    mkdir -p blocks
    zcat <package/usr/share/dictd/gcide.dict.dz | split -b 32768 -d -a 4 - blocks/
    i=0
    for block in blocks/*; do
        if [ $((i % 40)) -eq 17 ]; then cat "$block" >&4; else cat "$block" >&3; fi
        i=$((i + 1))
    done 3>train.txt 4>valid.txt
    rm -r package blocks "$package"_*.deb
}

text() {
    if [ "$scale" = toy ]; then
        cp "$root/data/stories-train.txt" train.txt
        cp "$root/data/stories-valid.txt" valid.txt
    else
        if [ ! -e train.txt ] || [ ! -e valid.txt ]; then fetch; fi
        sums
    fi
    head -c "$growth_bytes" valid.txt >growth.txt
}

# ---- the runs: NAME.SEED of runs.tsv, of which no field is empty ----

# run NAME SEEDS ROLE AFTER GROWTH TRAINING: rows of runs.tsv.
run() {
    for seed in $2; do
        printf '%s\t%s\t%s\t%s\t%s\t%s\n' "$1" "$seed" "$3" "$4" "$5" "${common:+$common }$6"
    done
}

# each COMMAND...: the command on every row.
each() {
    while IFS='	' read -r name seed role after growth training; do
        "$@" <&4
    done 4<&0 <runs.tsv
}

# path NAME SEED: the rows of a run and of those that it grew from, the first one first; of any seed, where it is empty.
path() {
    awk -F '\t' -v name="$1" -v seed="$2" '
        seed == "" || $2 == seed { row[$1] = $0; after[$1] = $4 }
        END {
            for (; name != "-"; name = after[name]) {
                if (!(name in row)) { print "study.sh: arms.sh has no run " name > "/dev/stderr"; exit 64 }
                text = row[name] "\n" text
                delete row[name]
            }
            printf "%s", text
        }' runs.tsv
}

# recipe PATH: all that decides what a run's result is.
recipe() {
    cat "$here/study.yaml"
    echo "$1" | cut -f 1,2,5,6
}

# is STATE: does the row's run stand so (done, begun), by the recipe of today?
is() {
    [ -e "$name.$seed.$1" ] && [ "$(cat "$name.$seed.$1")" = "$recipe" ]
}

# Whether the row is of an arm named on the command line, or of what it grows from.
wanted() {
    [ -z "$wanted" ] || case " $wanted " in *" $name "*) ;; *) return 1 ;; esac
}

list() {
    wanted || return 0
    path=$(path "$name" "$seed")
    recipe=$(recipe "$path")
    if is 'done'; then state='done'; elif is begun; then state=begun; else state='to do'; fi
    if [ "$state" = 'to do' ] && [ -e "$name.$seed.done" ]; then state='to do again'; fi
    printf '%-12s %-8s %s.%s\n' "$state" "$role" "$name" "$seed"
}

# nats MODEL: its loss over growth.txt, as tf-eval prints it.
nats() {
    tf-eval -q "$1" growth.txt --json >nats.json
    jq -e .nats_per_token nats.json
}

# grow RUN SEED: makes RUN.grown.tfck, and RUN.growth, the loss right before and right after; a growth "none" goes on with the
# model as it is.
grow() {
    if [ "$growth" = none ]; then
        cp "$after.$seed.tfck" "$1.grown.tfck"
        return
    fi
    # shellcheck disable=SC2086 # words
    tf-grow -q "$after.$seed.tfck" -o "$1.grown.tfck" --seed "$2" $growth >/dev/null
    before=$(nats "$after.$seed.tfck")
    now=$(nats "$1.grown.tfck")
    printf '{"before": %s, "after": %s}\n' "$before" "$now" >"$1.growth"
}

# Trains the row's run, unless that is done. Each stage has its own seed, so that it sees the text in another order.
train() {
    wanted || return 0
    path=$(path "$name" "$seed")
    recipe=$(recipe "$path")
    ! is 'done' || return 0
    run=$name.$seed
    stage=$(($(echo "$path" | wc -l) - 1))
    say "$run"
    if is begun && [ -e "$run.tfck" ]; then
        set -- --resume
    else
        rm -f "$run.tfck" "$run.jsonl" "$run.grown.tfck" "$run.growth" "$run.begun" "$run.done"
        set --
        [ "$after" = - ] || grow "$run" $((seed + 100 * stage))
        printf '%s\n' "$recipe" >"$run.begun"
    fi
    [ ! -e "$run.grown.tfck" ] || [ $# -gt 0 ] || set -- --init="$run.grown.tfck"
    for key in $training; do
        set -- "$@" --set "$key"
    done
    tf-train -q "$here/study.yaml" -o "$run.tfck" --metrics "$run.jsonl" --seed $((seed + 100 * stage)) "$@"
    rm -f "$run.grown.tfck"
    mv "$run.begun" "$run.done"
}

# ---- time ----

# The shapes of models that were trained: FLOPs a step, parameters, a run whose model has had no other.
shapes() {
    for done in *.done; do
        [ ! -e "$done" ] || grep -L '"event":"grow"' "${done%done}jsonl" || true
    done | xargs -r jq -r 'select(.schema) | [.flops_per_step, .parameters, (input_filename | rtrimstr(".jsonl"))] | @tsv' |
        sort -k 1,1n -k 2,2n -u
}

# time.tsv: FLOPs a step, parameters, milliseconds a step; once a round. Stretches of the shapes take turns, so that what
# else the machine does falls on all alike. The first half of a stretch is for getting warm.
measure() {
    shapes >shapes.tsv
    [ -s shapes.tsv ] || { say 'time: no run is done yet' && exit 1; }
    : >time.part
    for round in $(seq "$rounds"); do
        say "time: round $round of $rounds"
        while read -r flops parameters run; do
            # shellcheck disable=SC2086 # words
            tf-train -q "$here/study.yaml" --init="$run.tfck" -f -o stretch.tfck --json \
                ${common:+$(printf -- '--set %s ' $common)} --set train.eval_interval=0 --set train.save_interval=0 \
                --set train.steps="$stretch" --set train.log_interval=$((stretch / 2)) </dev/null |
                jq -rs --arg flops "$flops" --arg parameters "$parameters" --argjson steps $((stretch / 2)) '
                    map(select(.event == "step"))
                    | [$flops, $parameters, (.[1].seconds - .[0].seconds) * 1000 / $steps] | @tsv' >>time.part
        done <shapes.tsv
    done
    mv time.part time.tsv
    rm -f stretch.tfck shapes.tsv
}

# Are all shapes in time.tsv?
timed() {
    [ -e time.tsv ] && [ "$(shapes | cut -f 1,2 | sort)" = "$(cut -f 1,2 time.tsv | sort -u)" ]
}

# ---- all of it ----

# shellcheck source=tests/study/arms.sh
. "$here/arms.sh"
arms >runs.tsv
again='' wanted=''
for arm; do
    if [ "$arm" = 'time' ]; then
        again=yes
    else
        rows=$(path "$arm" '')
        wanted="$wanted $(echo "$rows" | cut -f 1 | tr '\n' ' ')"
    fi
done
if [ -n "$only_list" ]; then
    each list
    [ $# -gt 0 ] || timed || echo 'to do        time'
    exit
fi
text
if [ $# -eq 0 ] || [ -n "$wanted" ]; then each train; fi
if [ -n "$again" ] || { [ $# -eq 0 ] && ! timed; }; then measure; fi
python3 -B "$here/report.py" .
