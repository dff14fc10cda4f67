#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ experts: output, reports, exit codes, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"

ln -s "$(dirname "$model")/tiny-moe" tiny-moe
along=(--calibration tiny-moe/calibration.txt --samples 8 --context 64)

# ---- scores measured once, used for several cuts ----
ends 0 experts tiny-moe --score loss -o half --keep 50% "${along[@]}" --scores scores.json --quiet
matches experts/experts_half ../out
matches experts/EXPERTS_REPORT half/organ/EXPERTS_REPORT.md
judge "no page beside the report" grep -q "</html>" half/organ/EXPERTS_REPORT.html
judge "words of the page were not filled in" test "$(grep -cE '\{[a-z_.]+[?]' half/organ/EXPERTS_REPORT.html)" = 0
judge "config.json has another number of experts" test "$(jq .num_local_experts half/config.json)" = 8
judge "config.json has changed elsewhere" cmp -s <(jq -S '.num_local_experts = 8 | .rope_theta = .rope_parameters.rope_theta | .max_window_layers = 4 | .num_experts = 8' tiny-moe/config.json) <(jq -S . half/config.json)
judge "tokenizer.json did not come along" cmp -s tiny-moe/tokenizer.json half/tokenizer.json
judge "the scores are not those of the report" test "$(jq -c .layers scores.json)" = "$(jq -c .scores.layers half/organ/experts.json)"
ends 0 inspect half
prints "No problems found"
ends 0 experts tiny-moe --score loss -o again --keep 8 --scores scores.json --quiet
judge "other bytes by a file of scores" cmp -s half/model.safetensors again/model.safetensors
ends 0 experts tiny-moe --score loss -o third --keep 8 --scores half/organ/experts.json --quiet
judge "other bytes by the scores of a report" cmp -s half/model.safetensors third/model.safetensors
rm -r again third
ends 0 experts tiny-moe -o default --keep 8 "${along[@]}" --json --quiet
judge "the default score is not the loss" test "$(jq -r .parameters.score ../out)" = loss
ends 0 experts tiny-moe -o sum --keep 8 --score sum --scores scores.json --quiet
judge "the default keeps other experts than the loss" cmp -s default/model.safetensors half/model.safetensors
judge "the sum keeps the experts of the loss" test "$(cmp -s default/model.safetensors sum/model.safetensors; echo $?)" = 1
rm -r default sum
ends 0 experts tiny-moe -o reap --keep 4 --score reap --scores scores.json --json
judge "the document has another schema" test "$(jq -r .schema ../out)" = organ.experts/1
judge "not four experts are kept" test "$(jq -c '[.layers[].kept_experts | length] | unique' ../out)" = '[4]'
ends 0 perplexity half --text tiny-moe/calibration.txt --max-tokens 200 --context 64 --quiet
prints perplexity

# A file of scores without one of its members is bad input, and the message names the member.
for member in definition text samples experts loss tokens layers; do
    jq "del(.$member)" scores.json >lacking.json
    refused 3 "$member" experts tiny-moe --score loss -o no --keep 8 "${along[@]}" --scores lacking.json
done
rm lacking.json

# ---- audited ----
ends 0 audit tiny-moe half --quiet
matches experts/experts_audit ../out
ends 0 audit tiny-moe half --json
judge "the audit finds other experts" test "$(jq -c '[.layers[].kept_experts]' ../out)" = "$(jq -c '[.layers[].kept_experts]' half/organ/experts.json)"
cp -r half changed && chmod -R u+w changed
sed -i 's/"num_local_experts": 8/"num_local_experts": 9/' changed/config.json
ends 1 audit tiny-moe changed --quiet
says "num_local_experts"
prints "FAILED: 1 problem."
rm -r changed

# ---- dry runs ----
ends 0 experts tiny-moe --score loss -o dry --keep 50% "${along[@]}" --dry-run --quiet
matches experts/experts_dry ../out
judge "a dry run wrote something" test ! -e dry
ends 0 experts tiny-moe --score loss -o dry --keep 50% --scores scores.json --dry-run --json
judge "a dry run with scores does not tell which stay" test "$(jq -c .layers[0].kept_experts ../out)" = "$(jq -c .layers[0].kept_experts half/organ/experts.json)"

# ---- predictions ----
few=(--predict --scores scores.json --predict-tokens 256 --keep '12,50%,25%,8')
ends 0 experts tiny-moe "${along[@]}" "${few[@]}" --quiet --html predicted.html
matches experts/experts_predict ../out
judge "the page has no table" grep -q "</table>" predicted.html
ends 0 experts tiny-moe "${along[@]}" "${few[@]}" --json --quiet
judge "other points" test "$(jq -c '[.points[].keep]' ../out)" = '[12,8,4]'
judge "the losses do not rise" test "$(jq '.points | map(.kl_divergence) | . == sort and .[0] > 0' ../out)" = true
judge "the errors of layers are not those of a cut" test "$(jq -c '[.layers[].errors[1]]' ../out)" = "$(jq -c '[.losses[].missed]' half/organ/experts.json)"
cp ../out saved.json
ends 0 report saved.json -o saved.html
# A short text, because scalar kernels take forty times as long.
little=(--calibration tiny-moe/calibration.txt --samples 1 --context 32 --predict --predict-tokens 64 --keep 8 --json --quiet)
ends 0 experts tiny-moe "${little[@]}"
jq -S 'del(.run)' ../out >../predicted
ORGAN_ISA=scalar ends 0 experts tiny-moe "${little[@]}" --threads 3 --memory 40M
judge "threads, memory or instructions change the prediction" cmp -s <(jq -S 'del(.run)' ../out) ../predicted
ends 0 experts tiny-moe -o by-prediction --keep 8 --scores saved.json --quiet
judge "other bytes by the scores of a prediction" cmp -s half/model.safetensors by-prediction/model.safetensors
rm -r by-prediction
# The prediction is what the smaller model then gives. One window of 64 words, each a token, is calibrated on; the other 64 words are held out.
words=(the of and to in is was that he it as his with for on at by be had not)
for ((k = 0; k < 128; k++)); do printf ' %s' "${words[k * k * 7 % 20]}"; done >words.txt
cut -d ' ' -f 66- words.txt | sed 's/^/ /' | tr -d '\n' >later.txt
ends 0 experts tiny-moe --predict --keep 50% --scores scores.words --calibration words.txt --samples 1 --context 64 --predict-tokens 64 --json --quiet
jq -c '.points[0] | [.kl_divergence, .ratio, .top1_agreement]' ../out >../predicted
judge "one number has a knee" test "$(jq .knee ../out)" = null
ends 0 experts tiny-moe -o by-words --keep 50% --scores scores.words --quiet
ends 0 perplexity tiny-moe --compare by-words --text later.txt --context 64 --json --quiet
judge "the smaller model has another loss" cmp ../predicted <(jq -c '.models[1].comparison | [.kl_divergence, .ratio, .top1_agreement]' ../out)
chmod -R u+w by-words && rm -r by-words
# Three quarters of the experts of tiny-qwen2moe are more than three quarters of the output.
ends 0 experts "${model%/*}/tiny-qwen2moe" --predict --keep 4 "${along[@]}" --predict-tokens 64 --quiet
prints "experts are not redundant: keeping 4 of"
refused 2 "--predict" experts tiny-moe --predict --scores scores.json
refused 2 "--output" experts tiny-moe --predict "${along[@]}" -o new
refused 2 "--refit" experts tiny-moe --predict "${along[@]}" --refit
refused 2 "--dry-run" experts tiny-moe --predict "${along[@]}" --dry-run
refused 2 "--predict-tokens" experts tiny-moe "${along[@]}" -o new --keep 8 --predict-tokens 64
refused 2 "--keep 3" experts tiny-moe --predict "${along[@]}" --keep 8,3
refused 2 "8 numbers" experts tiny-moe --predict "${along[@]}" --keep 8,8,8,8,8,8,8,8,8
refused 3 "16777216" experts tiny-moe --predict "${along[@]}" --predict-tokens 16777216
refused 2 "--memory" experts tiny-moe --predict "${along[@]}" --memory 9M
refused 2 "-o OUT" experts tiny-moe "${along[@]}" --keep 8
refused 2 "--keep" experts tiny-moe "${along[@]}" -o new

# ---- interrupted and resumed ----
interrupted INT resumed experts tiny-moe --score loss -o resumed --keep 50% --scores scores.json --threads 1
judge "SIGINT ends it with $code instead of 130" test $code -eq 130
judge "a half model is under the final name" test ! -e resumed
refused 2 "--resume" experts tiny-moe --score loss -o resumed --keep 50% --scores scores.json
ends 2 experts tiny-moe --score loss -o resumed --keep 25% --scores scores.json --resume
says "parameters"
ends 0 experts tiny-moe --score loss -o resumed --keep 50% --scores scores.json --resume
says "tensors"
judge "a resumed run differs from a whole one" cmp -s half/model.safetensors resumed/model.safetensors
judge "something hidden was left behind" test -z "$(find . -name '.?*')"
ends 0 experts tiny-moe --score loss -o resumed --keep 50% --scores scores.json --force --quiet

# ---- killed during the measurement ----
# The journal gets the scores of each layer. The next run continues after it and makes the same output. If this script is delayed until the measurement
# is over, it tries again.
killed_measuring() { # experts MODEL --score SCORE -o OUT ARGUMENT...
    local pid tries journal=.$6.organ-partial/organ/journal.jsonl
    is_measuring() { grep -qs '"scores"' "$journal" || ! kill -0 "$pid" 2>/dev/null; }
    for tries in 1 2 3 4 5; do
        "$organ" "$@" --quiet >../out 2>../err &
        pid=$!
        await is_measuring
        kill -KILL "$pid" 2>../err
        wait "$pid" 2>../err
        [[ -e $6 ]] || grep -q '"plan"' "$journal" || return
        echo "try $tries: the run was past its measurement"
        rm -rf "$6" ".$6.organ-partial" long.json
    done
}
long=(--calibration tiny-moe/calibration.txt --samples 48 --context 128)
ends 0 experts tiny-moe --score loss -o whole --keep 50% "${long[@]}" --scores long.json --quiet
cp long.json whole.json
killed_measuring experts tiny-moe --score loss -o late --keep 50% "${long[@]}" --threads 1
judge "no scores are kept" grep -q '"scores"' .late.organ-partial/organ/journal.jsonl
judge "something is under the final name" test ! -e late
refused 2 "./.late.organ-partial" experts tiny-moe --score loss -o late --keep 50% "${long[@]}"
ends 2 experts tiny-moe --score loss -o late --keep 50% "${along[@]}" --resume
says "samples"
ends 0 experts tiny-moe --score loss -o late --keep 50% "${long[@]}" --resume
says "layers"
judge "a measurement that went on gives other bytes" cmp -s whole/model.safetensors late/model.safetensors
judge "other scores" test "$(jq -c .scores.layers late/organ/experts.json)" = "$(jq -c .layers whole.json)"
judge "something hidden was left behind" test -z "$(find . -name '.?*')"
rm long.json
killed_measuring experts tiny-moe --score loss -o file --keep 50% "${long[@]}" --scores long.json --threads 1
rm -f long.json # the journal has what the file had
ends 0 experts tiny-moe --score loss -o file --keep 50% "${long[@]}" --scores long.json --resume
judge "a run that went on gives other bytes" cmp -s whole/model.safetensors file/model.safetensors
judge "a run that went on writes another file" cmp -s whole.json long.json
rm -r late file

# ---- one budget for all layers: a dry run with scores fails as its run does, with the numbers of all layers ----
for dry in --dry-run --quiet; do
    refused 2 "GGUF" experts tiny-moe --score loss -o plan --keep 6 --scores scores.json --per-layer global $dry
    judge "the numbers of the layers are missing" grep -qE 'keep [0-9]+, [0-9]+, [0-9]+, [0-9]+ experts' ../err
done
ends 0 experts tiny-moe --score loss -o plan --keep 6 "${along[@]}" --per-layer global --dry-run

# ---- a shared expert ----
cp -r "$(dirname "$model")/forward/qwen2moe" shared && chmod -R u+w shared && cp tiny-moe/tokenizer*.json shared
ends 0 experts shared -o fewer --keep 50% --refit "${along[@]}" --quiet
prints "3 of 3 layers are refitted"
judge "config.json has another number of experts" test "$(jq -c '[.num_experts, .shared_expert_intermediate_size]' fewer/config.json)" = '[3,40]'
ends 0 audit shared fewer --refitted --quiet
ends 0 width shared -o narrow --ffn 50% --multiple-of 4 "${along[@]}" --quiet
judge "config.json has other widths" test "$(jq -c '[.moe_intermediate_size, .shared_expert_intermediate_size]' narrow/config.json)" = '[12,40]'
ends 0 audit shared narrow --refitted --quiet
ends 0 experts narrow -o both --keep 50% --refit "${along[@]}" --quiet
judge "config.json has other experts or widths" test "$(jq -c '[.num_experts, .moe_intermediate_size]' both/config.json)" = '[3,12]'
ends 0 audit narrow both --refitted --quiet
ends 0 layers shared -o lower --drop 1 --refit "${along[@]}" --quiet
ends 0 audit shared lower --refitted --quiet
judge "the shared expert was solved anew" test "$(jq '[.. | strings | select(test("shared_expert.down_proj"))] | length' lower/organ/layers.json)" = 0
for made in fewer narrow both lower; do
    ends 0 perplexity $made --text tiny-moe/calibration.txt --max-tokens 200 --context 64 --quiet
done
rm -r shared fewer narrow both lower

# ---- a first layer without experts, groups of experts, and a multi-token prediction block ----
cp -r "$(dirname "$model")/forward/glm4moe" groups && chmod -R u+w groups && cp tiny-moe/tokenizer*.json groups
ends 0 experts groups -o fewer --keep 50% "${along[@]}" --quiet
matches experts/experts_groups ../out
judge "config.json has another number of experts" test "$(jq -c '[.n_routed_experts, .n_group, .first_k_dense_replace, .num_nextn_predict_layers]' fewer/config.json)" = '[4,2,1,1]'
ends 0 audit groups fewer --quiet
ends 0 experts groups -o healed --keep 4 --refit "${along[@]}" --quiet
prints "2 of 2 layers are refitted"
ends 0 audit groups healed --refitted --quiet
refused 2 "--keep 5" experts groups -o no --keep 5 "${along[@]}"
refused 2 "multiple of 2" experts groups -o no --keep 2 "${along[@]}"
ends 0 experts groups -o plan --keep 4 --score loss --per-layer global "${along[@]}" --dry-run --json
judge "a layer without experts keeps some" test "$(jq -c '[.losses[].keep]' ../out)" = '[0,4,4,4]'
ends 0 layers groups -o lower --drop 0, --refit "${along[@]}" --quiet
ends 0 audit groups lower --refitted --quiet
judge "the first layers are still said to have no experts" test "$(jq .first_k_dense_replace lower/config.json)" = 0
ends 0 layers groups -o found --drop 1 --calibration tiny-moe/calibration.txt --context 64 --search-tokens 256 --quiet
judge "the block behind is gone" test "$(jq -c '[.num_hidden_layers, .num_nextn_predict_layers]' found/config.json)" = '[2,1]'
refused 2 "groups" layers groups -o no --drop 3 --calibration tiny-moe/calibration.txt --context 64 --search-tokens 256
ends 0 width groups -o less --heads 1 --ffn 50% --multiple-of 4 "${along[@]}" --quiet
holds less/organ/width.json '[.. | objects | select(.tensor? == "model.layers.3.self_attn.o_proj.weight")] | length > 0'
judge "the block has other heads than the layers" test "$("$organ" inspect less --tensors --json 2>../err |
    jq -c '[.tensors[] | select(.name | test("self_attn.q_proj.weight|experts.[0-9].down_proj.weight")).shape] | unique')" = '[[32,12],[32,32]]'
ends 0 audit groups less --quiet
ends 0 layers groups -o flat --drop 1-3 --quiet
cp tiny-moe/tokenizer*.json flat
refused 2 "flat" experts flat -o no --keep 4 "${along[@]}"
ends 0 layers groups -o body --drop 3, --quiet
cp tiny-moe/tokenizer*.json body
ends 0 width body -o narrow --heads 1 "${along[@]}" --quiet
ends 0 prune body -o thin --method wanda -s 50 "${along[@]}" --quiet
refused 3 "24 values" quantize body -o coded -s int4-group32 --method gptq "${along[@]}"
ends 0 quantize body -o coded -s fp8-channel --method gptq "${along[@]}" --quiet
ends 0 audit body narrow --refitted --quiet
ends 0 width body -o lean --ffn 50% --multiple-of 4 "${along[@]}" --quiet
prints "24 of 48 of the shared expert"
prints "Of the output of a shared expert "
judge "the widths are others" test "$(jq -c '[.intermediate_size, .moe_intermediate_size, .n_shared_experts]' lean/config.json)" = '[24,12,2]'
ends 0 audit body lean --refitted --quiet
prints "24 of 48"
for made in fewer healed lower found flat body narrow lean thin coded; do
    ends 0 perplexity $made --text tiny-moe/calibration.txt --max-tokens 200 --context 64 --quiet
done
rm -r groups less fewer healed lower found flat body narrow lean thin coded

# ---- errors ----
refused 2 "--memory" experts tiny-moe --score loss -o no --keep 50% "${long[@]}" --memory 8M
refused 2 "--scratch" experts tiny-moe --score loss -o no --keep 50% --scores scores.json --scratch .
jq -c '.model = "0123456789abcdef"' scores.json >other.json
jq -c '.layers[1] = null' scores.json >part.json
jq -c '.layers[0].loss |= map(0)' scores.json >uneven.json
mkdir taken && echo x >taken/x
refused 2 "-o OUT" experts tiny-moe
refused 2 "--keep" experts tiny-moe --score loss -o no --scores scores.json
refused 2 "--calibration" experts tiny-moe --score loss -o no --keep 50%
refused 2 "--keep many" experts tiny-moe --score loss -o no --keep many --scores scores.json
refused 2 "--keep 16" experts tiny-moe --score loss -o no --keep 16 --scores scores.json
refused 2 "--keep 3" experts tiny-moe --score loss -o no --keep 3 --scores scores.json
refused 2 "--keep 16" experts tiny-moe --score loss -o no --keep 16 "${long[@]}"
refused 2 "--keep 1e30" experts tiny-moe --score loss -o no --keep 1e30 --scores scores.json
refused 2 "--keep 8.5" experts tiny-moe --score loss -o no --keep 8.5 --scores scores.json
refused 2 "GGUF" \
    experts tiny-moe --score loss -o no --keep 10 --scores uneven.json --per-layer global
refused 2 "'best'" experts tiny-moe -o no --keep 50% --scores scores.json --score best
refused 2 "other.json" experts tiny-moe --score loss -o no --keep 50% --scores other.json
refused 2 "--samples 8 --context 64" experts tiny-moe --score loss -o no --keep 50% --scores part.json
refused 2 "--calibration" experts tiny-moe --score loss -o no --keep 50% --scores none.json
refused 2 "--samples 8 --context 64" \
    experts tiny-moe --score loss -o no --keep 50% --scores part.json --calibration tiny-moe/calibration.txt --samples 8 --context 32
refused 3 "schema" experts tiny-moe --score loss -o no --keep 50% --scores tiny-moe/config.json
refused 2 "tiny-qwen2" experts tiny-qwen2 -o no --keep 50% --scores scores.json
refused 2 "taken" experts tiny-moe --score loss -o taken --keep 50% --scores scores.json
refused 2 "tiny-moe" experts tiny-moe --score loss -o tiny-moe --keep 50% --scores scores.json --force
refused 2 "no.safetensors" experts tiny-moe --score loss -o no.safetensors --keep 50% --scores scores.json
refused 4 "nothing" experts nothing -o no --keep 50% --scores scores.json

finish
