#!/bin/sh
# What must not be there: unfinished work, functions over 60 lines, .c files over 600 lines; and in the library, calls
# that print, exit, read the environment, draw on hidden state, or whose last bit differs between machines.
cd "$(dirname "$0")/../.." || exit
fault=0

git ls-files -co --exclude-standard -- '*.[ch]' '*.sh' '*.bats' '*.bash' '*.[1-9]' '*.yaml' '*.md' '*.build' '*.txt' |
    grep -v -e '^data/stories' -e '^tests/golden/' |
    xargs grep -n -w -e 'TO''DO' -e 'FIX''ME' -e 'X''XX' && fault=1

# Comments and the insides of strings are blanked, so that only code is looked at.
awk '
function fault(line, text) { print FILENAME ":" line ": " text; faults++ }
function code(line,    out, c, two, i, n) {
    out = ""
    n = length(line)
    for (i = 1; i <= n; i++) {
        c = substr(line, i, 1)
        two = substr(line, i, 2)
        if (comment) {
            if (two == "*/") { comment = 0; i++ }
        } else if (quote != "") {
            if (c == "\\") i++
            else if (c == quote) { out = out c; quote = "" }
        } else if (two == "/*") { comment = 1; i++; out = out " " }
        else if (two == "//") break
        else {
            if (c == "\"" || c == "\047") quote = c
            out = out c
        }
    }
    return out
}
function end_file() { if (name ~ /\.c$/ && lines > 600) { print name ":600: " lines " lines; over 600"; faults++ } }
BEGIN {
    before = "(^|[^A-Za-z0-9_.>])"
    printing = before "((printf|vprintf|puts|putchar|perror)[ ]*\\(|(stdout|stderr)($|[^A-Za-z0-9_]))"
    ending = before "(exit|_exit|_Exit|quick_exit|abort|raise|kill)[ ]*\\("
    hidden = before "(getenv|secure_getenv|setlocale|rand|srand|random|drand48|strtok|asctime|ctime|localtime|gmtime|time)[ ]*\\("
    libm = before "(sin|cos|tan|asin|acos|atan|atan2|sinh|cosh|tanh|exp|exp2|expm1|log|log2|log10|log1p|pow|erf|erfc|cbrt|hypot|tgamma|lgamma)[fl]?[ ]*\\("
}
FNR == 1 { end_file(); name = FILENAME; comment = 0; quote = ""; start = 0; files++ }
{
    lines = FNR
    text = code($0)
    quote = ""
    if (text ~ /^\{/) start = FNR
    if (text ~ /^\}/ && start) {
        if (FNR - start + 1 > 60) fault(start, "a function of " FNR - start + 1 " lines; over 60")
        start = 0
    }
    if (FILENAME ~ /^lib\//) {
        if (text ~ printing) fault(FNR, "the library does not print")
        if (text ~ ending) fault(FNR, "the library does not end the program")
        if (text ~ hidden) fault(FNR, "the library does not read hidden state")
        if (text ~ libm) fault(FNR, "libm differs between machines; see base/fmath.h")
    }
}
END {
    end_file()
    if (files < 20) { print "only " files " files found"; faults++ }
    exit faults > 0
}' lib/*/*.[ch] cli/*.[ch] tests/unit/*.[ch] || fault=1
exit $fault
