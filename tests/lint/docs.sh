#!/bin/sh
# The documentation agrees with the programs: the options of --help, of the man page and of the completions for bash, zsh
# and fish are the same ones, and so are the values of options that take a choice. Man pages are lint-clean.
# Wants the programs in TF_BIN (build/cli).
cd "$(dirname "$0")/../.." || exit
bin=${TF_BIN:-build/cli}
export LC_ALL=C
scratch=$(mktemp -d) || exit
trap 'rm -rf "$scratch"' EXIT
fault=0
fail() {
    echo "$@"
    fault=1
}

# The ..._options print a program's options, one a line: "--force", "-f".
help_options() {
    "$bin/$1" --help | sed -n 's/^ \{2,6\}\(-.*\)/\1/p' | grep -oE '^(-[a-zA-Z], )?--[a-z][a-z-]*' | tr -s ', ' '\n'
}
# Options with a choice: "--keys zero random copy", from a help text that ends "(zero, random or copy)".
help_choices() {
    "$bin/$1" --help | awk '
        function flush() {
            if (match(text, /\(([a-z0-9_]+, )*[a-z0-9_]+ or [a-z0-9_]+\)$/) && match(text, /--[a-z-]+=/)) {
                option = substr(text, RSTART, RLENGTH - 1)
                sub(/.*\(/, "", text)
                gsub(/,| or|\)/, "", text)
                print option, text
            }
            text = ""
        }
        /^  -/ || /^      -/ || /^[^ ]/ || /^$/ { flush() }
        { sub(/^ */, ""); text = text " " $0 }
        END { flush() }'
}
man_options() {
    sed -n 's/\\//g; s/^\.It \(Fl .*\)/\1/p' "man/$1.1" | awk '{
        for (i = 1; i < NF; i++)
            if ($i == "Fl" && $(i + 1) == "Fl") { print "--" $(i + 2); i += 2 }
            else if ($i == "Fl") print "-" $(i + 1)
    }'
}
bash_complete() {
    bash --norc -c '
        . data/completions/tf.bash
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        _tf 2>/dev/null
        printf "%s\n" "${COMPREPLY[@]}"' bash "$@" | sed 's/ *$//'
}
bash_options() {
    bash_complete "$1" -
}
zsh_specs() {
    zsh -f -c '_arguments() { print -rl -- "$@" }; service=$1; . ./data/completions/_tf' zsh "$1"
}
zsh_options() {
    zsh_specs "$1" | sed 's/^([^)]*)//; s/^\*//' | grep -oE '^--?[a-zA-Z][a-z-]*' | grep -vx -e -s -e -S -e -C
}
fish_complete() {
    HOME=$scratch fish --no-config -c 'source data/completions/tf.fish; complete -C "$argv"' "$*" | cut -f 1
}
fish_options() {
    fish_complete "$1" -
}

for program in tf-train tf-grow tf-eval tf-generate tf-inspect; do
    for from in help man bash zsh fish; do
        ${from}_options "$program" | sort -u >"$scratch/$from"
    done
    [ "$(wc -l <"$scratch/help")" -ge 8 ] || fail "$program --help: hardly an option found"
    for from in man bash zsh fish; do
        differences=$(diff "$scratch/help" "$scratch/$from" | grep '^[<>]' | tr '\n' ' ')
        [ -z "$differences" ] || fail "$program: --help (<) and $from (>) differ: $differences"
    done

    help_choices "$program" >"$scratch/choices"
    grep -q '^--color auto always never$' "$scratch/choices" || fail "$program --help: --color without its choices"
    while read -r option values; do
        words=$(echo "$values" | tr ' ' '\n' | sort)
        [ "$(bash_complete "$program" "$option" "" | sort)" = "$words" ] ||
            fail "data/completions/tf.bash: $program $option: not $values"
        [ "$(fish_complete "$program $option " | sort)" = "$words" ] ||
            fail "data/completions/tf.fish: $program $option: not $values"
        zsh_specs "$program" | grep -F -- "$option=[" | grep -qF "($values)" ||
            fail "data/completions/_tf: $program $option: not $values"
    done <"$scratch/choices"

    grep -q '^\.Sh EXIT STATUS' "man/$program.1" || fail "man/$program.1: no EXIT STATUS"
    grep -q '^\.Sh EXAMPLES' "man/$program.1" || fail "man/$program.1: no EXAMPLES"
done

mandoc -Tlint -Wwarning man/*.[1-8] || fault=1
exit $fault
