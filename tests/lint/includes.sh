#!/bin/sh
# Layers: an include names its layer and points to the same layer or a lower one; foreign libraries have one home each.
cd "$(dirname "$0")/../.." || exit

awk '
BEGIN {
    below["base"] = "base"
    below["kernel"] = "kernel base"
    below["store"] = "store base"
    below["text"] = "text base"
    below["nn"] = "nn kernel base"
    below["train"] = "train nn kernel store text base"
    below["cli"] = "cli train nn kernel store text base"
    home["yaml.h"] = "^lib/text/yaml\\.c$"
    home["jansson.h"] = "^lib/text/json\\.c$"
    home["zstd.h"] = "^lib/(store/[a-z_]+\\.[ch]|text/corpus\\.c)$"
    home["zstd_errors.h"] = home["zstd.h"]
    home["xxhash.h"] = "^lib/(store|text|train)/[a-z_]+\\.c$"
    home["omp.h"] = "^(lib/(kernel|store|nn|train)|cli)/[a-z_]+\\.c$"
}
function fault(text) { print FILENAME ":" FNR ": " text; faults++ }
FNR == 1 { n = split(FILENAME, part, "/"); layer = part[1] == "lib" ? part[2] : part[1]; files++ }
/^[ \t]*#[ \t]*include[ \t]*</ {
    split($0, name, /[<>]/)
    if (name[2] in home && FILENAME !~ home[name[2]])
        fault("<" name[2] "> belongs in " home[name[2]])
}
/^[ \t]*#[ \t]*include[ \t]*"/ {
    split($0, name, "\"")
    to = name[2]
    if (!sub(/\/[a-z0-9_]+\.[ch]$/, "", to))
        fault("an include names its layer: \"" name[2] "\"")
    else if (index(" " below[layer] " ", " " to " ") == 0)
        fault(layer " must not include " name[2])
}
END {
    if (files < 20) { print "only " files " files found"; faults++ }
    exit faults > 0
}' lib/*/*.[ch] cli/*.[ch]
