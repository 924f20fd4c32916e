#!/bin/sh
# Runs the examples of the man pages and of README.md, one TAP case each. Each page's run in order, in a fresh folder.
#
# A man page: in EXAMPLES, a line that begins with "$ " is a command, and "> " continues it. README.md: every line of
# an sh block under <!-- run -->. Each must end with status 0; what it prints is not compared.
set -u
TF_ROOT=${TF_ROOT:-$(cd "$(dirname "$0")/../.." && pwd)}
PATH=${TF_BIN:-$TF_ROOT/build/cli}:$PATH
export TF_ROOT PATH LC_ALL=C
scratch=$(mktemp -d) || exit
trap 'rm -rf "$scratch"' EXIT
trap 'exit 1' HUP INT TERM
cases=0 failed=0

# Both print commands, each with "\001" in place of the newlines inside it, one a line.
page_commands() {
    mandoc -T ascii "$1" | sed 's/.\x08//g' | awk '
        /^[A-Z]/ { inside = $0 == "EXAMPLES" }
        !inside { next }
        / *> / && sub(/^ *> /, "") && command != "" { command = command "\001" $0; next }
        command != "" { print command; command = "" }
        sub(/^ *\$ /, "") { command = $0 }
        END { if (command != "") print command }'
}
readme_commands() {
    awk '
        /^```/ { inside = !inside && marked; marked = 0; next }
        !inside { marked = /^<!-- run -->$/ ; next }
        { sub(/^\$ /, ""); printf "%s", $0; printf /\\$/ ? "\001" : "\n" }' "$1"
}

# What the examples find: a small trained model and another, their config, texts and prompts.
prelude() {
    mkdir "$scratch/prelude" && cd "$scratch/prelude" || return
    head -c 60000 "$TF_ROOT/data/stories-train.txt" >train.txt
    head -c 6000 "$TF_ROOT/data/stories-valid.txt" >valid.txt
    cat >base.yaml <<'END'
model:
  num_layers: 2
  hidden_size: 32
  num_attention_heads: 2
  qkv_tokens: 32
  proj_tokens: 32
  ffn_tokens: 64
  seq_length: 32
data:
  train: [train.txt]
  valid: [valid.txt]
train:
  steps: 20
  batch_size: 4
  eval_interval: 10
  eval_windows: 8
  save_interval: 10
  keep_last: 0
END
    echo 'Once upon a time' >prompts.txt
    printf '{"prompt": "Once upon a time"}\n{"prompt": "The cat"}\n' >prompts.jsonl
    ln -s "$TF_ROOT/data" data
    tf-train -q base.yaml -o m.tfck && tf-train -q base.yaml -o other.tfck --set train.seed=2
}

# run_page NAME, commands on stdin
run_page() {
    page=$1
    rm -rf "$scratch/here"
    cp -R "$scratch/prelude" "$scratch/here"
    cd "$scratch/here" || exit
    while IFS= read -r line; do
        cases=$((cases + 1))
        command=$(printf '%s' "$line" | tr '\001' '\n')
        title=$(printf '%s' "$line" | tr -s '\001\\ ' ' ')
        if sh -c "$command" >"$scratch/log" 2>&1 </dev/null; then
            echo "ok $cases $page: $title"
        else
            failed=$((failed + 1))
            echo "not ok $cases $page: $title"
            sed 's/^/# /' "$scratch/log"
        fi
    done
}

if ! prelude >"$scratch/log" 2>&1; then
    echo "not ok 1 prelude"
    sed 's/^/# /' "$scratch/log"
    echo 1..1
    exit 1
fi
for page in "$TF_ROOT"/man/*.[1-8]; do
    page_commands "$page" >"$scratch/commands"
    case $page in
    *.1)
        [ -s "$scratch/commands" ] || {
            cases=$((cases + 1)) failed=$((failed + 1))
            echo "not ok $cases $(basename "$page") has no examples"
        }
        ;;
    esac
    run_page "$(basename "$page")" <"$scratch/commands"
done
readme_commands "$TF_ROOT/README.md" >"$scratch/commands"
run_page README.md <"$scratch/commands"
echo "1..$cases"
[ "$failed" -eq 0 ]
