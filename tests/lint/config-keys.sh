#!/bin/sh
# tf-config(5) documents the keys that the program has, with their types, ranges and defaults, and no others; and its
# examples are configs that the program takes.
#
# tf-train --help-config prints a config of all defaults, and above each key its help and then what it may be:
#   model:
#     # Layers, each an attention block and a feed-forward block
#     # integer from 1 to 1024
#     num_layers: 4
# Wants tf-train in TF_BIN (build/cli).
cd "$(dirname "$0")/../.." || exit
train=${TF_BIN:-build/cli}/tf-train page=man/tf-config.5
export LC_ALL=C
scratch=$(mktemp -d) || exit
trap 'rm -rf "$scratch"' EXIT
fault=0

"$train" --help-config >"$scratch/config" || exit
awk '
/^[a-z]+:$/ { section = $1; sub(":", "", section) }
/^  # / { above = $0; sub(/^  # /, "", above) }
/^  [a-z_]+: / { sub(/^  /, ""); print section "." $0 " (" above ")" }' "$scratch/config" >"$scratch/program"

awk '
/^\.Ss / { section = $2 }
/^\.It Cm [a-z_]+ : / {
    sub(/^\.It Cm /, "")
    sub(" : ", ": ")
    gsub(/\\\(dq/, "\"")
    key = section "." $0
    getline
    sub(/^\.Pq /, "")
    print key " (" $0 ")"
}' "$page" >"$scratch/page"

if [ "$(wc -l <"$scratch/program")" -lt 40 ]; then
    echo "$train --help-config: hardly a key found"
    fault=1
fi
if ! diff "$scratch/program" "$scratch/page" >"$scratch/differences"; then
    echo "--help-config (<) and $page (>) differ:"
    cat "$scratch/differences"
    fault=1
fi

# Examples: the literal blocks of that section; and what --help-config prints, given something to train on.
awk -v out="$scratch/example" '
/^\.Sh / { examples = $2 == "EXAMPLES" }
/^\.Ed/ { inside = 0 }
inside { print >(out count ".yaml") }
/^\.Bd -literal/ && examples { inside = 1; count++ }' "$page"
sed 's|^  train: \[\]|  train: [data/stories-train.txt]|' "$scratch/config" >"$scratch/example0.yaml"
count=0
for config in "$scratch"/example*.yaml; do
    count=$((count + 1))
    "$train" "$config" -o "$scratch/out.tfck" --dry-run --quiet >/dev/null || fault=1
done
if [ "$count" -lt 3 ]; then
    echo "$page: hardly an example found"
    fault=1
fi
exit $fault
