#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Finds the phrases of check_words.tsv, which are almost never plain English, in comments and messages of C files, and in pages. Prints file, line and
# sentence of each finding. Fails if a page of README and docs has too many words. Ends with the line "N passed, N failed".
#
#   tests/check_words.sh --list FOLDER...     prints the findings of any folders
#   tests/check_words.sh --texts FOLDER...    prints the findings in string literals: messages, labels, help
#   tests/check_words.sh --count FOLDER...    prints the findings per 1,000 lines of comments
#   tests/check_words.sh --pages PAGE...      prints the findings in Markdown pages
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

# phrases KIND: prints the phrases of a kind as one regular expression.
phrases() { awk -F '\t' -v kind="$1" '$1 == kind { printf "%s%s", sep, $2; sep = "|" }' tests/check_words.tsv; }
openings="^($(phrases opening)) "
fillers="(^| )($(phrases filler))( |\$|[,.;:])"
perception="(^| )($(phrases perception))( |\$|[,.;:])"
exceptions=$(phrases plain)
texts="(^| )($(phrases text))( |\$|[,.;:%])"
plain_texts=$(phrases plain_text)

# findings FOLDER...: prints "FILE:LINE: KIND: SENTENCE" for each finding, and last "lines N", the number of lines with comments.
findings() {
    find "$@" -name '*.[ch]' | sort | xargs -d '\n' awk -v openings="$openings" -v fillers="$fillers" -v perception="$perception" \
        -v exceptions="$exceptions" '
        function judge(sentence) {
            if (sentence ~ exceptions) return
            if (sentence ~ openings) report("opening", sentence)
            if (tolower(sentence) ~ fillers) report("filler", sentence)
            if (tolower(sentence) ~ perception) report("perception", sentence)
        }
        function report(kind, sentence) { print FILENAME ":" first ": " kind ": " substr(sentence, 1, 160) }
        # Quoted text and names in backquotes do not count.
        function finish(    count, k, sentences) {
            gsub(/`[^`]*`|"[^"]*"/, "X", text)
            gsub(/SPDX-License-Identifier: MIT/, "", text)
            gsub(/[ \t]+/, " ", text)
            count = split(text, sentences, /[.!?] +/)
            for (k = 1; k <= count; k++) { sub(/^ +/, "", sentences[k]); if (sentences[k] != "") judge(sentences[k]) }
            text = ""
        }
        FNR == 1 { inside = 0; text = "" }
        {
            line = $0
            if (!inside) gsub(/"([^"\\]|\\.)*"/, "\"\"", line)
            seen = inside
            while (line != "") {
                if (!inside) {
                    if (!(at = index(line, "/*"))) break
                    line = substr(line, at + 2); inside = seen = 1; first = FNR
                }
                if (at = index(line, "*/")) {
                    part = substr(line, 1, at - 1); line = substr(line, at + 2); inside = 0
                } else { part = line; line = "" }
                sub(/^ *\*( |$)/, "", part)
                text = part ~ /^ *$/ && text != "" ? text ". " : text " " part
                if (!inside) finish()
            }
            lines += seen
        }
        END { print "lines " lines + 0 }'
}

# texts_of FOLDER...: prints "FILE:LINE: text: LITERAL" for each literal with a wrong phrase.
texts_of() {
    find "$@" -name '*.[ch]' | sort | xargs -d '\n' awk -v wrong="$texts" -v plain="$plain_texts" '
        /^ *(\/\*|\*|#include)/ { next }
        {
            line = $0
            gsub(/\/\*.*/, "", line)
            while (match(line, /"([^"\\]|\\.)*"/)) {
                text = substr(line, RSTART + 1, RLENGTH - 2); line = substr(line, RSTART + RLENGTH)
                if (index(text, " ") && tolower(text) ~ wrong && text !~ plain) print FILENAME ":" FNR ": text: " substr(text, 1, 160)
            }
        }'
}

# findings_of_pages PAGE...: does the same for the prose of pages, after turning it into comments. It leaves out headings, tables and code.
findings_of_pages() {
    local page folder
    folder=$(mktemp -d) || exit 1
    for page in "$@"; do
        awk '
            /^```/ { code = !code }
            { prose = !code && !/^(    |\||#|<!--|!\[|```|$)/; gsub(/\*|\]\([^)]*\)|\[/, "") }
            { item = sub(/^ *(-|[0-9]+\.) /, ""); start = !inside ? "/* " : item ? "*/ /* " : " * "; print prose ? start $0 : inside ? "*/" : ""; inside = prose }
            END { if (inside) print "*/" }' "$page" >"$folder/${page//\//:}.h"
    done
    findings "$folder" | sed -e "s,^$folder/,," -e 's,^\([^ ]*\)\.h:,\1:,'
    rm -rf "$folder"
}

count_words() {
    local room
    printf '%-26s %8s %9s %9s %11s %6s\n' folder lines openings fillers perception all
    for room in "$@"; do
        findings "$room" | awk -v room="$room" '
            $1 == "lines" { lines = $2 ? $2 : 1; next }
            { kind[$2]++; all++ }
            END { f = 1000 / lines; printf "%-26s %8d %9.1f %9.1f %11.1f %6.1f\n", room, lines, kind["opening:"] * f, kind["filler:"] * f,
                  kind["perception:"] * f, all * f }'
    done
}

case ${1:-} in
--count) shift && count_words "$@" && exit ;;
--list) shift && findings "$@" && exit ;;
--texts) shift && texts_of "$@" && exit ;;
--pages) shift && findings_of_pages "$@" && exit ;;
esac

passed=0
failed=0
scratch=$(mktemp -d) || exit 1
trap 'rm -rf "$scratch"' EXIT

# same FOUND EXPECTED: passes if the findings are equal, and prints them otherwise.
same() {
    if [[ $1 == "$2" ]]; then
        passed=$((passed + 1))
    else
        printf '%s\n' "$1"
        failed=$((failed + 1))
    fi
}
# The findings are a report: they do not fail the build.
{
    findings formats kernels orchestrator tests bench
    texts_of formats kernels orchestrator
    findings_of_pages README.md CHANGELOG.md CONTRIBUTING.md SECURITY.md fixtures/README.md docs/*.md docs/*/*.md
} | grep -v '^lines '

# A page of a verb has at most 1,500 words, another page at most 2,500. long_pages PAGE...: prints the pages above their limit.
long_pages() {
    local page limit words
    for page in "$@"; do
        limit=2500
        [[ $page != *verbs/* ]] || limit=1500
        words=$(wc -w <"$page")
        ((words <= limit)) || echo "$page has $words words, the limit is $limit"
    done
}
same "$(long_pages README.md docs/*.md docs/*/*.md)" ""
mkdir "$scratch/verbs"
seq 1501 | tee "$scratch/verbs/long.md" >"$scratch/page.md"
same "$(long_pages "$scratch/page.md" "$scratch/verbs/long.md")" "$scratch/verbs/long.md has 1501 words, the limit is 1500"

# The check finds each kind of phrase, reports the line where the comment begins, and ignores code and quoted text.
mkdir "$scratch/room"
cat >"$scratch/room/wrong.c" <<'END'
/* Copies rows. What was given goes first. */
int told = f("the file lies there", "lies", "there is no file"); /* `told` and "who sees" are not judged */
/* Reads the value
 * anew. */
END
same "$({ findings "$scratch/room" && texts_of "$scratch/room"; } | sed 's,^.*/wrong\.c:,,' | paste -sd '|')" \
    "1: opening: What was given goes first|1: filler: What was given goes first|1: perception: What was given goes first|3: filler: Reads the value anew|lines 4|2: text: the file lies there"
printf '%s\n' '# Title' '- Copies rows, `along the` text' '  anew. It sees [a file](x.md).' '| anew |' >"$scratch/wrong.md"
same "$(findings_of_pages "$scratch/wrong.md" | sed 's,^.*wrong\.md:,,' | paste -sd '|')" \
    "2: filler: Copies rows, X text anew|2: perception: It sees a file.|lines 3"

echo "$passed passed, $failed failed"
((failed == 0))
