#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks that help, manual and completion contain exactly the verbs and options of the one table. It runs the completion in a real bash.
# shellcheck disable=SC2034 # the script for bash uses them
. "$(dirname "$0")/../kit/cli_kit.sh"

# same WHAT A B: checks that two lists of words are equal.
same() { if diff -u "$2" "$3" >../difference; then good; else bad "$1" ../difference; fi; }

for shell in bash zsh fish; do
    run completion $shell
    cp ../out ../${shell}_script
    judge "the script does not ask organ" grep -q ' complete ' ../out
done
# words WORD...: prints the candidates for the last word, sorted.
words() { "$organ" complete "$@" | cut -f 1 | sort; }
run manual --list
cp ../out ../pages
here="completion in bash"
# shellcheck source=/dev/null
. ../bash_script 2>../err || bad "the script cannot be read" ../err

# ---- verbs: help, manual and completion name all of them ----
ends 0 help
sed -nE '/^Topics/q; s/^  ([a-z]+([ -][a-z]+)*)(  .*|$)/\1/p' ../out >../verbs
sed -nE '1,/^Topics/d; s/^  ([a-z]+)(  .*|$)/\1/p' ../out >../topics
judge "there are few verbs" test "$(wc -l <../verbs)" -ge 24
sort ../verbs >../sorted
tr ' ' - <../sorted | sort >../joined
same "pages of the manual" <(sed '1d; s/^organ-//' ../pages | sort) ../joined
"$organ" manual | sed -nE '/^\.SH VERBS/,/^\.SH EXIT/s/^\.BR \\%organ\\-(.*) \(1\)$/\1/p' | sed 's/\\-/-/g' | sort >../shown
same "organ(1)" ../shown ../joined
cut -d ' ' -f 1 ../verbs | sort -u >../first
words '' >../shown
same "first words" ../shown ../first
words '' pru >../shown
same "first words after an empty one" ../shown <(echo prune)
while read -r family; do
    sed -n "s/^$family //p" ../verbs | sort >../second
    words "$family" '' >../shown
    same "second words of $family" ../shown ../second
done < <(sed -n 's/ .*//p' ../verbs | sort -u)

# ---- topics: options that verbs share ----
# options: prints the letters and names of the options that help explains on standard input.
options() { sed -nE 's/^  (-(.), |    )(--[a-z0-9-]+)( .*|$)/-\2 \3/p' | tr ' ' '\n' | grep -vx -- -; }
ends 0 help common
cp ../out ../common
judge "there are few topics" test "$(wc -l <../topics)" -ge 8
while read -r topic; do
    [[ $topic == common ]] && continue
    ends 0 help "$topic"
    cp ../out "../topic-$topic"
    judge "help common does not have $topic" grep -qxF -- "$topic: $(head -n 1 ../out)" ../common
    judge "the text of $topic differs in help common" test -z "$(tail -n +2 ../out | grep -vxF -f ../common)"
done <../topics
"$organ" manual | sed -nE '/^\.SH SHARED/,/^\.SH EXIT/{/^\.TP$/{n;s/\\f[BIR]//g;s/\\-/-/g;s/^((-.), )?(--[a-z0-9-]+)( .*|$)/\3/p}}' | sort >../shown
same "shared options in organ(1)" ../shown <(options <../common | grep '^--' | sort)
# shared: prints the letters and names of the shared options that the help or the manual of a verb lists, by topic, on standard input.
shared() {
    local topic name
    while read -r topic name; do
        echo "$name"
        sed -nE "s/^  (-.), $name( .*|$)/\\1/p" "../topic-$topic"
    done < <(sed 's/\\%//g; s/\\-/-/g; s/\\f[BIR]//g' | awk '/^(.SS )?Shared options/ { on = 1; next } /^(.SH .*|)$/ { on = 0 } on {
        if ($1 ~ /^[a-z]/) topic = $1
        while (match($0, /--[a-z0-9-]+/)) { print topic, substr($0, RSTART, RLENGTH); $0 = substr($0, RSTART + RLENGTH) } }')
}

# ---- options, verb by verb ----
while read -r verb; do
    # shellcheck disable=SC2086 # a verb may be two words
    ends 0 $verb --help
    cp ../out ../shown
    # shellcheck disable=SC2086
    ends 0 help $verb
    same "help of $verb by --help" ../shown ../out
    sort <(options <../out) <(shared <../out) >../wanted
    judge "--help is not among the options" grep -qx -- --help ../wanted
    grep -qx -- --resume ../wanted && echo "$verb" >>../resuming
    # shellcheck disable=SC2086
    run manual organ-${verb// /-}
    sed -nE '/^\.TP$/{n;s/\\f[BIR]//g;s/\\-/-/g;s/^((-.), )?(--[a-z0-9-]+)( .*|$)/\2 \3/p}' ../out | tr ' ' '\n' | grep . | sort - <(shared <../out) >../shown
    same "options of $verb in the manual" ../shown ../wanted
    # The manual explains each option as help does.
    sed -nE '/^\.TP$/{n;n;p}' ../out | sed 's/\\-/-/g; s/\\(aq/'\''/g; s/\\%//g' | cut -c -24 >../beginnings
    # shellcheck disable=SC2086
    run help $verb
    tr -s ' \n' ' ' <../out >../words
    IFS= read -rd '' text <../words
    while read -r beginning; do
        if [[ $text == *"$beginning"* ]]; then good; else bad "the manual says '$beginning'" ../words; fi
    done <../beginnings
    # shellcheck disable=SC2086
    words $verb - >../shown
    same "completed options of $verb" ../shown ../wanted
done <../verbs
sed -n '/^The option `--resume` continues an interrupted run of /,/^$/p' "$golden/../../docs/outputs.md" | tr '\n' ' ' | sed 's/^The option `--resume` //' | grep -o '`[a-z ]*`' | tr -d '`' | sort >../shown
same "verbs with --resume in docs/outputs.md" ../shown <(sort ../resuming)
judge "the hidden verb is listed" test -z "$(grep -x complete ../verbs)"
run complete
judge "no word has candidates" test ! -s ../out

# ---- quantize supports every scheme that completion offers for --scheme, and prune --then those with integer codes ----
words quantize --scheme '' >../schemes
judge "the help leaves out schemes" grep -q "recipe:mxfp4_moe)" <("$organ" help quantize)
judge "there are few schemes" test "$(wc -l <../schemes)" -ge 25
run quantize tiny-qwen2 -o coded --scheme unheard-of -n
says "'unheard-of'"
while read -r scheme; do
    here="quantize --scheme $scheme"
    run quantize tiny-qwen2 -o coded --scheme "$scheme" -n
    judge "the scheme is not known" test "$(grep -cF "'$scheme'" ../err)" = 0
done <../schemes
here="prune --then"
same "schemes" <(words prune --then '') <(grep -vE '^(mixed|none|i?q.*|tq.*|recipe:.*|int[56]-.*)$' ../schemes)

# ---- README.md and docs/: their commands use existing verbs and options, and they show every verb that works on a model ----
mapfile -t documents < <(find "$golden"/../../README.md "$golden"/../../docs/ -name '*.md' | LC_ALL=C sort)
here="README.md and docs/"
while read -r verb; do
    case $verb in version | help | manual | completion) continue ;; esac
    judge "organ $verb is not shown" grep -qE "^    \\$ (.*&& )?organ $verb( |$)" "${documents[@]}"
done <../verbs
declare -A helps=() # by verb
while read -r verb; do
    # shellcheck disable=SC2086
    helps[$verb]=$("$organ" help $verb)
done <../verbs
for document in "${documents[@]}"; do
    here=${document#"$golden"/../../}
    while read -r _ verb second words; do
        [[ $verb == lora ]] && verb="lora $second"
        [[ -n ${helps[$verb]:-} ]] || continue # a sentence about an organ
        for word in $second $words; do
            [[ $word == --[a-z]* ]] || continue
            judge "organ $verb has no ${word%%=*}" grep -qE -- "^ .*${word%%=*}([ ,]|$)" <<<"${helps[$verb]}"
        done
    done < <(sed -e ':a' -e '/\\$/{N;s/\\\n *//;ba' -e '}' "$document" | grep -oE 'organ [a-z][a-z-]* [^`&;<)]*')
done

# ---- manual pages: no long line, and no text line that begins like a troff request ----
while read -r page; do
    run manual "$page"
    known='^\.(\\"|TH|SH|SS|TP|PP|B|BR|br|EX|EE|in)( |$)'
    if grep -qvE "$known" < <(grep -E "^[.']" ../out); then bad "an unknown request" ../out; else good; fi
    if grep -qE '.{81}' < <(sed '/^\.EX/,/^\.EE/d' ../out); then bad "a long line" ../out; else good; fi
    if grep -q '[^ -~]' ../out; then bad "not only ASCII" ../out; else good; fi
    IFS= read -rd '' text <../out
    for section in NAME SYNOPSIS DESCRIPTION "SEE ALSO"; do
        if [[ $text == *$'\n'".SH $section"$'\n'* ]]; then good; else bad "no $section" ../out; fi
    done
done <../pages
ends 0 manual lora resize
cp ../out ../wanted
ends 0 manual organ-lora-resize
same "two names of one page" ../out ../wanted
ends 0 manual version
matches help/manual_version ../out
refused 2 "'prune'" manual prun
refused 2 "'more'" manual prune more
refused 2 "'ksh'" completion ksh
refused 2 "bash|zsh|fish" completion

# ---- bash ----
# pieces LINE: splits a line into $pieces as readline does: '=' and ':' are words too, and an empty word ends the line where a word may begin.
pieces() {
    local rest=$1 word
    pieces=()
    while [[ -n $rest ]]; do
        case $rest in
        ' '*)
            rest=${rest#"${rest%%[! ]*}"}
            [[ -z $rest ]] && pieces+=('')
            continue
            ;;
        [:=]*) word=${rest%%[!:=]*} ;;
        *) word=${rest%%[ :=]*} ;;
        esac
        pieces+=("$word")
        rest=${rest#"$word"}
    done
}

# offers LINE WORDS: checks the candidates of bash's completion at the end of the line.
offers() {
    local pieces
    here="organ ... $1"
    pieces "organ $1"
    COMP_WORDS=("${pieces[@]}") COMP_CWORD=$((${#pieces[@]} - 1)) COMP_LINE="organ $1" COMP_POINT=$((${#1} + 6))
    _organ "$organ" 2>../err
    [[ -s ../err ]] && bad "bash complains" ../err
    if [[ $(printf '%s\n' "${COMPREPLY[@]}" | sort | xargs) == "$2" ]]; then good; else bad "offers ${COMPREPLY[*]}"; fi
}
touch file.txt 'two words'
offers "pru" "prune"
offers "lora " "combine extract merge resize sanitize"
offers "lora ex" "extract"
offers "prune --me" "--memory --method"
offers "prune -" "$(sort <("$organ" help prune | options) <("$organ" help prune | shared) | xargs)"
offers "prune --method " "alps magnitude physarum-v1 physarum-v2 physarum-v3 sparsegpt wanda"
offers "prune --method=phy" "physarum-v1 physarum-v2 physarum-v3"
offers "prune --method al" "alps"
offers "prune --method=s" "sparsegpt"
offers "prune --method physarum-v3 ti" "tiny-qwen2 tiny-qwen2-gguf"
offers "prune ti" "tiny-qwen2 tiny-qwen2-gguf"
offers "prune tiny-qwen2 --output fi" "file.txt"
offers "prune tiny-qwen2 -o fi" "file.txt"
offers "prune tiny-qwen2 --calibration=fi" "file.txt"
offers "prune --sparsity " ""
offers "prune tiny-qwen2 fi" ""
offers "prune --force ti" "tiny-qwen2 tiny-qwen2-gguf"
offers "prune --beta 2 -o x tiny-qwen2 --d" "--dry-run"
offers "inspect -- --me" ""
offers "inspect -- fi" "file.txt"
offers "measure a b c fi" "file.txt"
offers "measure --select feed-forward,n" "feed-forward,norm"
offers "lora extract --dtype " "bf16 f16 f32"
offers "lora extract --base ti" "tiny-qwen2 tiny-qwen2-gguf"
offers "orthogonality --pair ti" "tiny-qwen2 tiny-qwen2-gguf"
offers "orthogonality --pair tiny-qwen2 fi" "file.txt"
offers "orthogonality --pair tiny-qwen2 " "file.txt tiny-qwen2 tiny-qwen2-gguf two words"
offers "orthogonality --pair tiny-qwen2 x --dr" "--draws"
offers "orthogonality --pair=tiny-qwen2 x --dr" "--draws"
offers "help lora " "combine extract merge resize sanitize"
offers "help pr" "prune"
offers "help prune " ""
offers "completion " "bash fish zsh"
offers "nosuch " ""
offers "lora nosuch --" ""
offers "inspect two" "two words"

finish
