#!/usr/bin/env bats
# What comes out of files and models may hold commands to a terminal: none reaches one, and none is lost elsewhere.
# shellcheck disable=SC2016 # `see` has its commands expanded by the shell on the terminal

load common

setup_file() {
    cd "$BATS_FILE_TMPDIR" || return
    "$TF_BIN/../tests/damage" .
}

setup() {
    cd "$BATS_FILE_TMPDIR" || return
    seen=$BATS_TEST_TMPDIR/seen
}

# see COMMAND: runs it on a terminal of its own; what the terminal gets is in $seen, without the line ends' CR.
see() {
    TERM=dumb script -qec "$1" /dev/null </dev/null | sed 's/\r$//' >"$seen" || true
    [ -s "$seen" ]
}

# seen_only_text: no control character but newline and tab reached the terminal, nor a byte that is not UTF-8.
seen_only_text() {
    if grep -naP '[\x00-\x08\x0b-\x1f\x7f]|\xc2[\x80-\x9f]|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]' "$seen"; then
        return 1
    fi
    iconv -f UTF-8 -t UTF-8 "$seen" >/dev/null
}

@test "words of a lineage" {
    see 'tf-inspect lineage lineage-words.tfck'
    seen_only_text
    grep -qF 'from \x1b]0;owned\x07\xc2\x9b' "$seen"
    see 'tf-inspect lineage --json lineage-words.tfck'
    seen_only_text
    grep -qF '"from": "\u001b]0;owned\u0007\u009b"' "$seen"
}

@test "a tokenizer's separator" {
    see 'tf-inspect show tokenizer-escape.tfck; tf-inspect show --json tokenizer-escape.tfck'
    seen_only_text
    grep -qF 'separator \x1b]0;owned\x07\x1b[2J\xc2\x9b' "$seen"
}

@test "a config is escaped on a terminal and byte for byte elsewhere" {
    see 'tf-inspect config config-comment.tfck'
    seen_only_text
    grep -qF '# \xe2\x80\xae' "$seen"
    tf-inspect config config-comment.tfck >"$BATS_TEST_TMPDIR/pipe"
    tf-inspect config config-comment.tfck -f -o "$BATS_TEST_TMPDIR/file"
    cmp "$BATS_TEST_TMPDIR/pipe" "$BATS_TEST_TMPDIR/file"
    [ "$(head -n 1 "$BATS_TEST_TMPDIR/pipe")" = $'# \xe2\x80\xae\xe2\x80\x8b\xef\xbf\xbd\r' ]
}

@test "diff of configs" {
    see 'tf-inspect diff config-hidden.tfck base.tfck; tf-inspect diff --json config-hidden.tfck base.tfck'
    seen_only_text
    grep -qF 'config data.train: [\x1b]0;owned\x07\xc2\x9b\xe2\x80\xae.txt] | absent' "$seen"
}

@test "messages about hostile texts and names" {
    for file in name-*.tfck config-*.tfck tokenizer-*.tfck state-*.tfck lineage-*.tfck; do
        see "tf-inspect show $file"
        seen_only_text || blame "$file"
    done
    see 'tf-grow name-escape.tfck --ffn x2 -o out.tfck'
    seen_only_text
    grep -qF 'name "embed\x1b[2J\x1b]0;owned\x07"' "$seen"
}

@test "names of files and operands" {
    name=$'\e[2J\xc2\x9b.tfck'
    cp base.tfck "$BATS_TEST_TMPDIR/$name"
    cd "$BATS_TEST_TMPDIR"
    echo 'Once upon a time, there was' >text
    export name
    see 'tf-inspect show "$name"; tf-inspect show --json "$name"; tf-inspect tables "$name"; tf-inspect digest "$name"'
    seen_only_text
    see 'tf-inspect dump "$name" "$name"; tf-inspect "$name" "$name"; tf-inspect diff "$name" missing; tf-inspect verify "$name.2"'
    seen_only_text
    see 'tf-eval "$name" text --compare "$name"; tf-eval "$name" "$name" --fail-above "$name=1"; tf-eval "$name" "$name.2"'
    seen_only_text
    see 'tf-grow "$name" --ffn x2 -o "$name"; tf-grow "$name" --ffn "$name" -o x; tf-grow "$name" --json --ffn x2 -o "2$name"'
    seen_only_text
    see 'tf-train "$name" -o "$name"; tf-train --set "$name=1" text -o x; tf-train "--$name"; tf-train --seed "$name"'
    seen_only_text
    see 'tf-generate "$name" --prompts "$name.2"; tf-generate "$name" --stop ""; tf-generate "$name.2"'
    seen_only_text
}

@test "generated text is escaped on a terminal and byte for byte elsewhere" {
    see 'tf-generate tokenizer-escape.tfck -n 400 --temperature 1.5 --ignore-end'
    seen_only_text
    grep -qF '\x' "$seen"
    tf-generate tokenizer-escape.tfck -n 400 --temperature 1.5 --ignore-end >"$BATS_TEST_TMPDIR/pipe"
    grep -qaP '[\x00-\x08\x0b-\x1f\x7f]' "$BATS_TEST_TMPDIR/pipe"
    tf-generate tokenizer-escape.tfck -n 400 --temperature 1.5 --ignore-end -o "$BATS_TEST_TMPDIR/file"
    cmp "$BATS_TEST_TMPDIR/pipe" "$BATS_TEST_TMPDIR/file"
    see 'tf-generate tokenizer-escape.tfck -n 200 --temperature 1.5 --samples 3'
    seen_only_text
    see 'tf-generate tokenizer-escape.tfck -n 200 --temperature 1.5 --samples 2 --json'
    seen_only_text
}

@test "prompts that are echoed" {
    printf 'Once \033[2J\302\233\n{"prompt": "\\u001b]0;owned\\u0007"}\n' >"$BATS_TEST_TMPDIR/prompts"
    export prompts=$BATS_TEST_TMPDIR/prompts
    see 'tf-generate base.tfck -n 1 --echo --prompts "$prompts"'
    seen_only_text
    grep -qF 'Once \x1b[2J\xc2\x9b' "$seen"
    tf-generate base.tfck -n 1 --echo --prompts "$prompts" >"$BATS_TEST_TMPDIR/pipe"
    grep -qF $'Once \e[2J' "$BATS_TEST_TMPDIR/pipe"
}
