#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs the commands of README's table of recipes as they are printed: with --dry-run on a model of Qwen3-30B-A3B's shapes without data, whose plans
# must agree with the table, and without it on fixtures/tiny-moe. With `slice` it runs them on two layers of these shapes with random weights and
# compares memory and processor time with the plan. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
top=${golden%/tests/cli}
factor=1.5

# near WHAT FOUND EXPECTED: checks that two numbers differ by at most $factor.
near() {
    if awk -v a="$2" -v b="$3" -v factor=$factor 'BEGIN { exit !(a > 0 && b > 0 && a <= factor * b && b <= factor * a) }'; then good; else
        bad "$1: $2, but $3 was expected"
    fi
}
# rows: prints the rows of the table without its head.
rows() { awk '/^<!-- recipes -->$/ { inside = 1; next } !inside { next } !/^\|/ { exit } ++row > 2' "$top/README.md"; }
commands() { rows | grep -o '`organ [^`]*`' | tr -d '`'; }
made_by() { sed 's/.* -o \([^ ]*\).*/\1/' <<<"$1"; }

# follows PID: waits for a process and prints the greatest VmHWM that it had, in bytes.
follows() {
    local peak=0 now
    while now=$(awk '/^VmHWM:/ { print $2 * 1024 }' "/proc/$1/status" 2>/dev/null) && [[ -n $now ]]; do
        peak=$now
        sleep 0.1
    done
    echo "$peak"
}

# measured COMMAND: runs a command on one thread with the good memory of its plan, and compares processor time and peak memory with the plan. The peak
# may be less than the good memory, which counts second moments of shared inputs for each matrix, but not less than the least.
measured() {
    local -a words
    local good_memory least planned peak used
    read -ra words <<<"$1"
    ends 0 "${words[@]:1}" --threads 1 --quiet --dry-run --json --memory 64G
    good_memory=$(jq .plan.memory_good ../out)
    least=$(jq .plan.memory_enough ../out)
    planned=$(jq .run.plan.processor_seconds ../out)
    here="$1"
    TIMEFORMAT='%U %S'
    { time { "$organ" "${words[@]:1}" --threads 1 --quiet --memory "$good_memory" >../out 2>../err </dev/null & follows $! >../peak; wait $!; code=$?; }; } 2>../times
    if ((code == 0)); then good; else bad "ends with $code" ../err; fi
    peak=$(<../peak)
    used=$(awk '{ print $1 + $2 }' ../times)
    printf '%s: %.0f s of processor, planned %.0f s; %d MB, planned %d to %d MB\n' "$1" "$used" "$planned" "$((peak / 1000000))" \
        "$((least / 1000000))" "$((good_memory / 1000000))"
    # A second is for the start, the headers and the report, which a plan leaves out.
    near "seconds of processor, and one" "$(awk -v s="$used" 'BEGIN { print s + 1 }')" "$(awk -v s="$planned" 'BEGIN { print s + 1 }')"
    # Headers, the tokenizer and the program itself need memory in addition.
    judge "a peak of $peak bytes with --memory $good_memory" test $((peak * 2)) -le $((good_memory * 3 + 200000000))
    judge "the plan's least, $least bytes, is too much for a peak of $peak" test $((least * 2)) -le $((peak * 3))
}

if [[ ${1:-} == slice ]]; then
    "$top/build/bench/make_model" MODEL 2 experts=32 || bad "make_model fails"
    head -c 17000 tiny-qwen2/calibration.txt >TEXT
    while read -r command; do
        made=$(made_by "$command")
        rm -rf "${made:?}" "${made%.gguf}".*
        measured "$command"
    done < <(commands)
    finish
fi

# The plans on the model of full size, and the table. A row has the size of its last output, the greatest memory and the sum of its hours.
"$top/docs/make_recipes.sh" "$scratch/recipes.tsv" || bad "make_recipes.sh fails"
judge "docs/recipes.tsv is not what docs/make_recipes.sh makes" diff "$top/docs/recipes.tsv" ../recipes.tsv
row=0
while IFS='|' read -r _ size memory hours _; do
    row=$((row + 1))
    here="row $row of README's recipes"
    read -r bytes enough longest time < <(awk -F '\t' -v row=$row '$1 == row { bytes = $2; if ($4 > good) good = $4; longest += $7; hours += $8 }
        END { print bytes / 1e9, good / 1e9, longest, hours }' ../recipes.tsv)
    near size "${size//[^0-9.]/}" "$bytes"
    judge "not the size of the plan" test "$(printf '%.1f GB' "$bytes")" = "$(xargs <<<"$size")"
    near RAM "$(grep -oE '[0-9.]+' <<<"$memory" | tail -n 1)" "$(awk -v g="$enough" 'BEGIN { print g < 0.1 ? 0.1 : g }')"
    near hours "$(grep -oE '[0-9.]+' <<<"$hours" | tail -n 1)" "$(awk -v h="$time" 'BEGIN { print h < 0.1 ? 0.1 : h }')"
    near "hours with the least memory" "$(grep -oE '[0-9.]+' <<<"$hours" | head -n 1)" "$(awk -v h="$longest" 'BEGIN { print h < 0.1 ? 0.1 : h }')"
done < <(rows)
here=
judge "README has no recipes" test "$row" -ge 4

# A dry run prints size, memory and time whatever --memory it is given, and more windows need no less time.
"$top/build/bench/make_model" MODEL 6 experts holes
cp tiny-qwen2/calibration.txt TEXT
gptq=(quantize MODEL -o OUT -s int4-group32 --method gptq --calibration TEXT)
for given in 8M 64G; do
    ends 0 "${gptq[@]}" --dry-run --memory $given
    for line in 'Output: 3\.4 GB of tensors\.' 'Memory: --memory [0-9.]* *[kMGiB]* is enough' 'Time: about .* with [0-9]* threads\? of '; do
        judge "no line '$line'" grep -q "^  $line" ../out
    done
    judge "says that $given is too little" test "$(grep -c 'is too little: the run would end with an error' ../out)" = "$([[ $given == 64G ]] && echo 0 || echo 1)"
done
last=0
for samples in 16 64; do
    ends 0 "${gptq[@]}" --samples $samples --memory 64G --dry-run --json --quiet
    products=$(jq .plan.products ../out) # of which the seconds follow, with the speed of the machine
    judge "$samples windows take $products products, and fewer of them $last" test "$products" -gt "$last"
    last=$products
done
rm -rf MODEL

# The same commands on a small mixture, without --dry-run.
ln -s "${model%/*}/tiny-moe" MODEL
head -c 12000 tiny-qwen2/calibration.txt >TEXT
while read -r command; do
    read -ra words <<<"$command"
    made=$(made_by "$command")
    rm -rf "${made:?}" "${made%.gguf}".*
    ends 0 "${words[@]:1}" --quiet
    judge "makes no $made" test -e "$made"
done < <(commands)
finish
