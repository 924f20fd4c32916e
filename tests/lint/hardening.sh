#!/bin/sh
# The programs are hardened: position-independent, with relocations bound at start and then read-only, a stack that is
# not executable, stack protectors, and fortified calls. Wants the programs, built with optimisation, in TF_BIN (build/cli).
cd "$(dirname "$0")/../.." || exit
export LC_ALL=C
fault=0

# expect PROGRAM WORDS WHAT: readelf says WORDS of the program.
expect() {
    printf '%s\n' "$elf" | grep -Eq -e "$2" || { echo "$1: no $3"; fault=1; }
}
for program in tf-train tf-grow tf-eval tf-generate tf-inspect; do
    elf=$(readelf --wide --file-header --program-headers --dynamic --dyn-syms "${TF_BIN:-build/cli}/$program") || exit
    expect $program '^ *Type: +DYN ' 'position-independent code'
    expect $program 'FLAGS_1\).* PIE' 'position-independent code'
    expect $program '^ *GNU_RELRO ' 'read-only relocations'
    expect $program 'FLAGS\).* BIND_NOW' 'binding at start'
    expect $program '^ *GNU_STACK .* RW +0x[0-9a-f]+$' 'stack without execution'
    expect $program ' __stack_chk_fail(@|$)' 'stack protector'
    expect $program ' __v?snprintf_chk(@|$)' 'fortified calls'
done
exit $fault
