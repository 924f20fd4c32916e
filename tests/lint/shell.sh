#!/bin/sh
# ShellCheck finds nothing in any script. What is left out, and why:
#   SC2016   a $ in single quotes is meant for awk, jq or another shell
#   SC2017   whole numbers are divided first, so that they round
#   SC2059   formats are put together from constants
#   SC2317   called through a name
# and for bats, which sets variables and runs each test in a subshell of its own:
#   SC2030 SC2031 SC2034 SC2154
#   SC1087   "$name[0:2]" is a table's name and its rows
cd "$(dirname "$0")/../.." || exit
anywhere=SC2016,SC2017,SC2059,SC2317
fault=0

list() {
    git ls-files -co --exclude-standard -- "$@"
}
list '*.sh' .ci/run | xargs shellcheck -x -f gcc -e $anywhere || fault=1
list 'data/completions/*.bash' | xargs shellcheck -s bash -f gcc -e $anywhere || fault=1
list '*.bats' 'tests/*.bash' | xargs shellcheck -x -s bats -f gcc \
    -e $anywhere,SC1087,SC2030,SC2031,SC2034,SC2154 || fault=1
exit $fault
