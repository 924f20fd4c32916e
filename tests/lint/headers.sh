#!/bin/sh
# Each header compiles alone, and twice.
cd "$(dirname "$0")/../.." || exit
fault=0
for header in lib/*/*.h cli/*.h; do
    case $header in
    lib/*) name=${header#lib/} ;;
    *) name=$header ;;
    esac
    printf '#include "%s"\n#include "%s"\nextern int header;\n' "$name" "$name" |
        ${CC:-cc} -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wpedantic -Wshadow -Wundef -Werror -Ilib -I. \
            -fsyntax-only -x c - || { echo "$header:1: does not compile alone"; fault=1; }
done
exit $fault
