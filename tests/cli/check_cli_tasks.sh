#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Compares organ evaluate --tasks with lm-evaluation-harness (fixtures/tasks/reference.tsv) and tests comparisons of models, ranks and malformed
# files. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "$top/fixtures" fixtures
model=fixtures/tiny-qwen2

# ---- every choice and likelihood of lm-evaluation-harness ----
# compared FILE DOCUMENT: prints lines "WHAT VALUE" of the reference of FILE and of the document's first model, joined by line number.
answers() { jq -r --arg file "$1" '.answers[] | [$file, .line, .models[0].choice, .models[0].choice_norm] + .models[0].likelihoods | @tsv' "$2"; }
for file in tasks long; do
    context=$([[ $file == long ]] && echo "--context 64")
    # shellcheck disable=SC2086 # two words or none
    if "$organ" evaluate $model --tasks fixtures/tasks/$file.jsonl $context --answers --json --quiet >"$scratch/$file.json" 2>"$scratch/log"; then good; else bad "$file" "$scratch/log"; fi
    grep -P "^$file.jsonl\t" fixtures/tasks/reference.tsv >"$scratch/reference"
    answers $file.jsonl "$scratch/$file.json" >"$scratch/own"
    same "$file: another choice than lm-eval" <(cut -f 1-4 "$scratch/reference") <(cut -f 1-4 "$scratch/own")
    paste "$scratch/reference" "$scratch/own" | awk -F'\t' '{
        for (k = 5; k <= NF / 2; k++) { difference = $k - $(k + NF / 2); if (difference < 0) difference = -difference; if (difference > largest) largest = difference; count++ }
    } END { if (count < 18 || largest > 1e-4) print count " likelihoods, difference up to " largest }' >"$scratch/wrong"
    judge "$file: $(cat "$scratch/wrong")" test ! -s "$scratch/wrong"
done
is() { judge "$1: $(jq -c "$2" "$scratch/$3.json")" jq -e "$2 == $4" "$scratch/$3.json" >/dev/null; }
is "all questions" '[.experiment | .tasks, .questions, .choices]' tasks '[3, 66, 276]'
is "equal inputs share a window" '.experiment.windows' tasks 195
is "contexts longer than the window" '.experiment.cut' long 18
is "the name of the file is the task" '[.results[].task] | unique' long '["long"]'
# acc and its standard error follow from the answers.
jq -e '[.answers[] | select(.task == "continue") | . as $q | if $q.gold | index($q.models[0].choice_norm) then 1 else 0 end] as $right | ($right | length) as $n
    | ($right | add / $n) as $mean | (([$right[] | (. - $mean) * (. - $mean)] | add) / ($n - 1) / $n | sqrt) as $error
    | .results[] | select(.task == "continue" and .metric == "acc_norm") | ((.value - $mean) | fabs) < 1e-12 and ((.value_error - $error) | fabs) < 1e-12' \
    "$scratch/tasks.json" >/dev/null && good || bad "acc_norm is not the mean of the answers"

# ---- models whose inputs servers round ----
"$organ" quantize $model -o "$scratch/served" -s int8-channel --quiet >/dev/null 2>"$scratch/log" || bad "quantize" "$scratch/log"
for which in both on off; do
    "$organ" evaluate "$scratch/served" --tasks fixtures/tasks/long.jsonl --context 64 --answers --json --quiet --activations $which 2>"$scratch/log" |
        jq -c '[.answers[].models[0].likelihoods]' >"$scratch/$which"
done
same "--activations both has other answers than on" "$scratch/both" "$scratch/on"
judge "--activations off has the answers of rounded inputs" bash -c "[[ -s '$scratch/off' ]] && ! cmp -s '$scratch/on' '$scratch/off'"

# ---- two models ----
"$organ" prune $model -o "$scratch/pruned" --method magnitude -s 60 --quiet >/dev/null 2>"$scratch/log" || bad "prune" "$scratch/log"
"$organ" evaluate $model "$scratch/pruned" --tasks fixtures/tasks/tasks.jsonl --answers --json --quiet -o "$scratch/report" >"$scratch/two.json" 2>"$scratch/log" || bad "two models" "$scratch/log"
# The counts of pairs, McNemar's exact test and the interval of Bonett and Price follow from the answers.
jq -e 'def right($m): . as $q | ($q.gold | index($q.models[$m].choice_norm)) != null;
    ([.answers[] | select(right(0) and (right(1) | not))] | length) as $b | ([.answers[] | select(right(1) and (right(0) | not))] | length) as $c | (.answers | length) as $n
    | ($b + $c) as $m | ([$b, $c] | min) as $less
    | (reduce range(0; $less + 1) as $k ({sum: 0, term: 1}; {sum: (.sum + .term), term: (.term * ($m - $k) / ($k + 1))}) | .sum * 2 / pow(2; $m)) as $p
    | (($b + 1) / ($n + 2)) as $x | (($c + 1) / ($n + 2)) as $y | (1.959963984540054 * ((($x + $y) - ($y - $x) * ($y - $x)) / ($n + 2) | sqrt)) as $half
    | .results[] | select(.task == null and .metric == "acc_norm" and .model == "pruned") | .comparison
    | .only_first == $b and .only_this == $c and ((.p - ([$p, 1] | min)) | fabs) < 1e-12 and ((.low - ($y - $x - $half)) | fabs) < 1e-12 and ((.high - ($y - $x + $half)) | fabs) < 1e-12
      and ((.difference - ($c - $b) / $n) | fabs) < 1e-12 and $m > 0' "$scratch/two.json" >/dev/null && good || bad "the comparison does not follow from the answers" "$scratch/two.json"
is "the first model has no comparison" '[.results[] | select(.model == "tiny-qwen2") | .comparison] | unique' two '[null]'
for file in tasks.json TASKS_REPORT.md TASKS_REPORT.html; do judge "no $file" test -s "$scratch/report/$file"; done
judge "a report has a member that is missing" test -z "$(grep -l 'no member' "$scratch"/report/*)"
same "the report cannot be converted" <("$organ" report "$scratch/report/tasks.json" -o "$scratch/page.html" 2>&1 >/dev/null) /dev/null

# ---- the same bits with threads and little memory ----
# Under sanitizers the run above is enough.
if [[ ${EFFORT:-some} != few ]]; then
    "$organ" evaluate $model --tasks fixtures/tasks/tasks.jsonl --answers --json --quiet --threads 1 --memory 24M >"$scratch/small.json" 2>"$scratch/log" || bad "--memory 24M" "$scratch/log"
    same "other likelihoods with one thread and less memory" <(jq .answers "$scratch/tasks.json") <(jq .answers "$scratch/small.json")
fi

# ---- errors ----
refused 2 "--text FILE" evaluate $model
refused 2 "--text FILE" evaluate $model --tasks fixtures/tasks/tasks.jsonl --text fixtures/tiny-qwen2/heldout.txt
refused 2 PRUNED evaluate $model --text fixtures/tiny-qwen2/heldout.txt
refused 2 --answers evaluate $model "$scratch/pruned" --text fixtures/tiny-qwen2/heldout.txt --answers
refused 2 --max-tokens evaluate $model --tasks fixtures/tasks/tasks.jsonl --max-tokens 10
refused 2 --select evaluate $model --tasks fixtures/tasks/tasks.jsonl --select '*'
refused 2 --style evaluate $model --tasks fixtures/tasks/tasks.jsonl --style llama.cpp
refused 4 nothing.jsonl evaluate $model --tasks nothing.jsonl
# line TEXT THING [ARGS...]: a file with the text is refused.
line() {
    printf '%s\n' "$1" >bad.jsonl
    refused 3 "$2" evaluate $model --tasks bad.jsonl -o bad "${@:3}"
}
good_line='{"context": "a", "choices": ["b", "c"], "gold": 0}'
line "" bad.jsonl
line "not json" "line 1"
line "$good_line
[]" "line 2"
line '{"choices": ["b", "c"], "gold": 0}' '"context"'
line '{"context": 1, "choices": ["b", "c"], "gold": 0}' '"context"'
line '{"context": "a\u0000b", "choices": ["b", "c"], "gold": 0}' '"context"'
line '{"context": "a", "choices": ["b"], "gold": 0}' '"choices"'
line '{"context": "a", "choices": "bc", "gold": 0}' '"choices"'
line '{"context": "a", "choices": ["b", ""], "gold": 0}' '"choices"'
line '{"context": "a", "choices": ["b", 1], "gold": 0}' '"choices"'
line '{"context": "a", "choices": ["b", "c"]}' '"gold"'
line '{"context": "a", "choices": ["b", "c"], "gold": 2}' '"gold"'
line '{"context": "a", "choices": ["b", "c"], "gold": -1}' '"gold"'
line '{"context": "a", "choices": ["b", "c"], "gold": []}' '"gold"'
line '{"context": "a", "choices": ["b", "c"], "gold": [0, 5]}' '"gold"'
line '{"context": "a", "choices": ["b", "c"], "gold": "b"}' '"gold"'
line '{"context": "a", "choices": ["b", "c"], "gold": 0, "task": ""}' '"task"'
line '{"context": "a", "choices": ["b", "c"], "gold": 0, "delimiter": 1}' '"delimiter"'
line '{"context": "a", "context": "b", "choices": ["b", "c"], "gold": 0}' 'line 1'
line '{"context": "a", "choices": ["b", "one two three four five six seven eight nine ten"], "gold": 0}' "--context 8" --context 8
awk 'BEGIN { printf "{\"context\": \"a\", \"gold\": 0, \"choices\": [\"b\""; for (k = 0; k < 1024; k++) printf ", \"c%d\"", k; print "]}" }' >../many
line "$(cat ../many)" '"choices"'
awk 'BEGIN { while (length(text) < 6000) text = text "word "; for (k = 0; k < 400; k++) printf "{\"context\": \"%s\", \"choices\": [\"b\", \"c\"], \"gold\": 0}\n", text }' >large.jsonl
refused 2 large.jsonl evaluate $model --tasks large.jsonl --memory 8M
finish
