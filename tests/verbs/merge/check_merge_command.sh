#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests what organ merge refuses of its options: it ends with 2 and names the option before it reads a model; a recipe with the same fault ends with 3
# and names file and line. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
for one in a b c; do ln -s "$model" $one; done

# Each line: the option that the error names; models, method and the option that is wrong.
while IFS='|' read -r thing arguments; do
    read -ra given <<<"$arguments"
    refused 2 "$thing" merge "${given[@]}" -o none
    judge "something was written" test ! -e none
done <<'END'
a alone|a --method linear
a alone|a --method linear -n
--method|a b
--method|a b --method mean
--method|a b c --base a --method slerp --t 0.5
--method|a b --method passthrough
--method|a --method nuslerp
--method|a b c --method slerp --t 0.5
--base|a b --method ties
--base|a b --base c --method linear
MODEL: a|a a --method linear
MODEL: b|b --base a b --method ties
--weight|a b --method linear --weight abc
--weight|a b --method linear --weight 1,x
--weight|a b --method linear --weight 1,
--weight|a b --method linear --weight nan
--weight|a b --method linear --weight 1,2,3
--weight|a b --base a --method slerp --t 0.5 --weight 1,2
--weight|a b --method linear --weight 1,-1
--router-weight|a b --method linear --router-weight z
--router-weight|a b --method linear --router-weight 1,2,3
--router-weight|a b --method slerp --t 0.5 --router-weight 1
--density|a b --base a --method dare_ties --density 20
--density|a b --base a --method ties --density -1
--density|a b --base a --method ties --density 0.5,0.5
--density|a b --method linear --density 20
--t|a b --method slerp --t half
--t|a b --method slerp --t 1.5
--t|a b --method slerp --t 1.5 -n
--t|a b --base a --method nearswap --t -1
--t|a b --method slerp
--t|a b --base a --method nearswap
--set|a b --method linear --set bad
--set|a b --method linear --set =1
--set|a b --method linear --set A=1
--set|a b --method linear --set nonsense=1
--set|a b --method linear --set normalize=maybe
--set|a b --method linear --set normalize=true --set normalize=true
--set|a b --method slerp --t 0.5 --set t=1
--set|a b --method karcher --set max_iter=1.5
--set|a b --base a --method breadcrumbs --set gamma=7
--set|a b --base a --method della --density 0.5 --set epsilon=0.9
--calibration|a b --method moments
--calibration|a b --method moments --calibration x --calibration y --calibration z
--dtype|a b --method linear --dtype int8
--missing|a b --method linear --missing none
--match-experts|a b --method linear --match-experts on
--then|a b --method linear --then int3
--seed|a b --method linear --seed -1
END
refused 2 "'a\\xff'" merge $'a\xff' b --method linear -o none

# Each line: the line of the recipe, or the tensor, that the error names; the recipe.
while IFS='|' read -r thing recipe; do
    printf '%b' "$recipe" >r.yaml
    refused 3 "r.yaml: $thing" merge r.yaml -o none
done <<'END'
line 2|merge_method: linear\nmodels: [{model: a}, {model: a}]\n
line 3|merge_method: ties\nbase_model: a\nmodels: [{model: b, parameters: {density: 20}}]\n
line 4|merge_method: slerp\nbase_model: a\nmodels: [{model: b}]\nparameters: {t: half}\n
line 3|merge_method: slerp\nbase_model: a\nmodels: [{model: b}, {model: c}]\nparameters: {t: 0.5}\n
tensor 'model.embed_tokens.weight'|merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: -1}}]\n
line 2|merge_method: moments\nmodels: [{model: a}, {model: b}]\n
END
finish
