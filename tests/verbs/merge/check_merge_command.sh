#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests what organ merge refuses of its options: it ends with 2 and names the option before it reads a model; a recipe with the same fault ends with 3
# and names file and line. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
for one in a b c; do ln -s "$model" $one; done

# Each line: the words that the message has; models, method and the option that is wrong.
while IFS='|' read -r words arguments; do
    read -ra given <<<"$arguments"
    refused 2 "$words" merge "${given[@]}" -o none
    judge "something was written" test ! -e none
done <<'END'
--method is missing|a b
--method is 'mean'|a b --method mean
--method: slerp merges 1 model and a base, but there are 2|a b c --base a --method slerp --t 0.5
--method: passthrough merges 1 model, but there are 2|a b --method passthrough
--method: nuslerp merges 2 models and a base, but there is 1|a --method nuslerp
--base is missing|a b c --method slerp --t 0.5
--base is missing|a b --method ties
--base: linear merges all models alike|a b --base c --method linear
MODEL: a is listed twice|a a --method linear
MODEL: b is listed twice|b --base a b --method ties
--weight: weight is 'abc', not a number|a b --method linear --weight abc
--weight: weight is 'x', not a number|a b --method linear --weight 1,x
--weight: weight is '', not a number|a b --method linear --weight 1,
--weight: weight is 'nan', not a number|a b --method linear --weight nan
--weight has 3 values, but there are 2 models|a b --method linear --weight 1,2,3
--weight has 2 values, but there are 1 models without the base|a b --base a --method slerp --t 0.5 --weight 1,2
--weight: tensor 'model.embed_tokens.weight': weight: the weights add up to 0|a b --method linear --weight 1,-1
--router-weight: weight is 'z', not a number|a b --method linear --router-weight z
--router-weight has 3 values|a b --method linear --router-weight 1,2,3
--router-weight: slerp has no weights|a b --method slerp --t 0.5 --router-weight 1
--density: density is 20, not from 0 to 1|a b --base a --method dare_ties --density 20
--density: density is -1, not from 0 to 1|a b --base a --method ties --density -1
--density has 2 values|a b --base a --method ties --density 0.5,0.5
--density: density is 20, not from 0 to 1|a b --method linear --density 20
--t: t is 'half', not a number|a b --method slerp --t half
--t: t is -1, below 0|a b --base a --method nearswap --t -1
--t is missing: slerp needs it|a b --method slerp
--t is missing: nearswap needs it|a b --base a --method nearswap
--set is 'bad', not NAME=VALUE|a b --method linear --set bad
--set is '=1', not NAME=VALUE|a b --method linear --set =1
--set is 'A=1', not NAME=VALUE|a b --method linear --set A=1
--set: no method has a parameter 'nonsense'|a b --method linear --set nonsense=1
--set: normalize is 'maybe', not true or false|a b --method linear --set normalize=maybe
--set: normalize is given twice|a b --method linear --set normalize=true --set normalize=true
--set: t is given twice|a b --method slerp --t 0.5 --set t=1
--set: max_iter is 1.5, not a whole number|a b --method karcher --set max_iter=1.5
--set: gamma is 7, not from 0 to 1|a b --base a --method breadcrumbs --set gamma=7
--set: tensor 'model.embed_tokens.weight': epsilon: density 0.5|a b --base a --method della --density 0.5 --set epsilon=0.9
--calibration: the text of a is missing|a b --method moments
--calibration has 3 values, but there are 2 models|a b --method moments --calibration x --calibration y --calibration z
--dtype is 'int8'|a b --method linear --dtype int8
--missing is 'none'|a b --method linear --missing none
--match-experts is 'on'|a b --method linear --match-experts on
--then cannot be 'int3'|a b --method linear --then int3
--seed is '-1'|a b --method linear --seed -1
END
refused 2 "MODEL is 'a\\xff', which is no UTF-8" merge $'a\xff' b --method linear -o none

# Each line: the line of the recipe and the words; the recipe.
while IFS='|' read -r words recipe; do
    printf '%b' "$recipe" >r.yaml
    refused 3 "r.yaml: $words" merge r.yaml -o none
done <<'END'
line 2: a is listed twice|merge_method: linear\nmodels: [{model: a}, {model: a}]\n
line 3: density is 20, not from 0 to 1|merge_method: ties\nbase_model: a\nmodels: [{model: b, parameters: {density: 20}}]\n
line 4: t is 'half', not a number|merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: half}\n
line 3: slerp merges 1 model and a base, but there are 2|merge_method: slerp\nbase_model: a\nmodels: [{model: b}, {model: c}]\nparameters: {t: 0.5}\n
tensor 'model.embed_tokens.weight': weight: the weights add up to 0|merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: -1}}]\n
line 2: the text of a is missing|merge_method: moments\nmodels: [{model: a}, {model: b}]\n
END
finish
