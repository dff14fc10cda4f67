#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# organ convert and vision towers: --mmproj to GGUF, and back to safetensors, for the families of fixtures/towers. libmtmd computes the same embeddings
# from such files as transformers (bench/mmproj_embeddings.py). Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"

towers=$top/fixtures/towers
families=(qwen3_vl qwen3_vl_moe qwen3_5 qwen2_5_vl qwen2_vl gemma3 smolvlm idefics3 mistral3 llava lfm2_vl glm4v llama4 gemma4 kimi_vl)
in_part && families=(qwen3_vl qwen2_5_vl gemma3 mistral3 lfm2_vl gemma4 kimi_vl)

# make FAMILY DIRECTORY: makes the model, with a tokenizer that has Pixtral's token for the end of a row of patches.
make() {
    rm -rf "$2"
    (cd "$top" && build/checks/arch_model "../towers/$1" "$scratch/area/$2") >../out 2>&1 || bad "$1 cannot be made" ../out
    cp "$towers/$1/preprocessor_config.json" "$2"
    mv "$2/tokenizer.json" ../tokenizer.json
    if [[ $1 == @(mistral3|llava) ]]; then # the last token becomes Pixtral's
        jq '([.model.vocab[]] | max) as $id | .model.vocab |= with_entries(select(.value < $id)) | .model.merges |= .[:-1] |
            .added_tokens += [{id: $id, content: "[IMG_BREAK]", special: true, single_word: false, lstrip: false, rstrip: false, normalized: false}]' \
            ../tokenizer.json >"$2/tokenizer.json"
    fi
}
names() { "$organ" inspect "$1" --tensors --json 2>../err | jq -r '.tensors[].name' | sort; }
# values FILE: prints the digest of each tensor of a safetensors file, by name.
values() {
    local size name first end
    size=$(od -A n -t u8 -N 8 "$1" | tr -d ' ')
    tail -c +9 "$1" | head -c "$size" | jq -r 'del(.__metadata__) | to_entries | sort_by(.key)[] | "\(.key) \(.value.data_offsets | join(" "))"' |
        while read -r name first end; do
            echo "$name $(tail -c +$((size + 9 + first)) "$1" | head -c $((end - first)) | cksum)"
        done
}
# renamed FILE JQ: changes the names of the tensors of a safetensors file; JQ maps a name.
renamed() {
    local size header
    size=$(od -A n -t u8 -N 8 "$1" | tr -d ' ')
    header=$(tail -c +9 "$1" | head -c "$size" | jq -c "with_entries(.key |= ($2))")
    while ((${#header} % 8)); do header+=' '; done
    {
        printf "$(printf '%016x' ${#header} | sed -E 's/(..)(..)(..)(..)(..)(..)(..)(..)/\\x\8\\x\7\\x\6\\x\5\\x\4\\x\3\\x\2\\x\1/')"
        printf %s "$header"
        tail -c +$((size + 9)) "$1"
    } >../renamed && mv ../renamed "$1"
}
# after FILE KEY TYPE BYTES: prints what follows a key: its type (8: text, 9: array), then the value, of an array the type of its elements (6: F32).
after() {
    local at
    at=$(LC_ALL=C grep -abo -m 1 -F "$2" "$1" | head -n 1)
    od -A n -t "$3" -j $((${at%%:*} + ${#2})) -N "$4" "$1" | xargs
}
configure() { jq "$2" "$1/config.json" >../config.json && mv ../config.json "$1/config.json"; }

# ---- each family to GGUF and back ----
for family in "${families[@]}"; do
    here="$family to GGUF and back"
    make "$family" model
    ends 0 convert model -o x.gguf --to gguf --dtype f32 --mmproj-dtype f32 --force --quiet
    judge "$family: no mmproj" test -s mmproj-x.gguf
    judge "$family: its key general.architecture" grep -qaP 'general.architecture\x08\0\0\0\x04\0\0\0\0\0\0\0clip' mmproj-x.gguf
    ends 0 convert x.gguf -o back --to safetensors --mmproj mmproj-x.gguf --config model/config.json --dtype f32 --force --quiet
    judge "$family: other tensors come back" diff <(names model) <(names back)
    if [[ $family == @(gemma3|gemma4|qwen3_5|qwen3_vl_moe) ]]; then
        # 1 + weight, log(1 + exp) and -exp round, Gemma 3's projection is F16, and stacks of experts return in the published order of axes
        rounded='norm.weight\|per_dim\|A_log\|mm_input_projection\|mlp.experts'
        judge "$family: other values come back" diff <(values model/model.safetensors | grep -v "$rounded") <(values back/model.safetensors | grep -v "$rounded")
    else
        judge "$family: other values come back" diff <(values model/model.safetensors) <(values back/model.safetensors)
    fi
    judge "$family: another config.json comes back" diff <(jq -S . model/config.json) <(jq -S . back/config.json)
    judge "$family: another preprocessor comes back" cmp model/preprocessor_config.json back/preprocessor_config.json
    ends 0 convert back -o again.gguf --to gguf --dtype f32 --mmproj-dtype f32 --force --quiet
    judge "$family: another mmproj is made of it" cmp mmproj-x.gguf mmproj-again.gguf
    rm -rf back *.gguf *.json *.md *.html
done

# ---- all layouts of names give the same bytes ----
# of FAMILY JQ...: renames the tensors of a model by each JQ.
of() {
    local way
    make "$1" model
    ends 0 convert model -o x.gguf --to gguf --mmproj only --force --quiet
    for way in "${@:2}"; do
        here="$1 with other names: $way"
        make "$1" model
        renamed model/model.safetensors "$way"
        ends 0 convert model -o y.gguf --to gguf --mmproj only --force --quiet
        judge "$1: other names give another mmproj" cmp x.gguf y.gguf
    done
    rm -f ./*.gguf ./*.json ./*.md ./*.html
}
of qwen3_vl 'sub("^model.visual"; "visual")' 'sub("^model.visual"; "model.language_model.visual")'
of qwen2_5_vl 'sub("^visual"; "model.visual")'
of gemma3 'sub("^vision_tower[.]"; "vision_tower.vision_model.") | sub("vision_model.vision_model"; "vision_model")' \
    'sub("vision_tower.vision_model"; "vision_tower")' 'sub("^vision_tower"; "model.vision_tower") | sub("^multi_modal"; "model.multi_modal")'
of mistral3 'sub("^vision_tower"; "model.vision_tower") | sub("^multi_modal"; "model.multi_modal")'
of lfm2_vl 'sub("^model.vision_tower"; "vision_tower") | sub("^model.multi_modal"; "multi_modal")'

# ---- types ----
make gemma3 model
ends 0 convert model -o x.gguf --to gguf --mmproj-dtype q8_0 --force
says "3 matrices of the towers, whose rows Q8_0 does not divide, are F16"
types() { "$organ" inspect "$1" --tensors --json | jq -r '.tensors[] | "\(.name) \(.dtype)"'; }
for row in "v.blk.0.ffn_down.weight F16" "v.blk.0.ffn_up.weight Q8_0" "mm.input_projection.weight F16" "v.position_embd.weight F32" "v.patch_embd.weight F32"; do
    judge "$row" grep -qxF "$row" <(types mmproj-x.gguf)
done
ends 0 convert model -o x.gguf --to gguf --quiet --force
judge "matrices are F16" grep -qxF "v.blk.0.ffn_up.weight F16" <(types mmproj-x.gguf)

# ---- quantize of the file of a tower: all that llama.cpp does not need plain ----
for scheme in q8_0 q4_k_m; do
    ends 0 quantize mmproj-x.gguf -o tower.gguf -s $scheme --force --quiet
    for row in "mm.input_projection.weight F16" "v.position_embd.weight F32" "v.patch_embd.weight F32"; do
        judge "$scheme: $row" grep -qxF "$row" <(types tower.gguf)
    done
    judge "$scheme: nothing is quantised" grep -qE '^v.blk.0.attn_q.weight (Q8_0|Q5_0|Q6_K|Q4_K)$' <(types tower.gguf)
done
# A folder's text model is found beside a tower file of any name.
mkdir folder && cp x.gguf folder/model.gguf && cp mmproj-x.gguf folder/vision.gguf
ends 0 inspect folder
prints "folder (gemma3"
mkdir towers && cp mmproj-x.gguf towers/vision.gguf
ends 0 inspect towers
prints "towers (clip"

# ---- only, none, dry run ----
rm -f ./*x.* && make qwen3_vl model
ends 0 convert model -o t.gguf --to gguf --mmproj none
says "tensors of vision, audio or multi-token prediction, such as 'model.visual.blocks.0.attn.proj.bias', are left out"
judge "--mmproj none writes an mmproj" test ! -e mmproj-t.gguf
ends 0 convert model -o v.gguf --to gguf --mmproj only --quiet
judge "--mmproj only writes a text model" test ! -e mmproj-v.gguf
ends 0 convert model -o x.gguf --to gguf --quiet
judge "the text model differs with an mmproj" cmp x.gguf t.gguf
judge "the mmproj alone differs" cmp mmproj-x.gguf v.gguf
rm -f ./*x.* ./*v.* ./*t.*
ends 0 convert model -o x.gguf --to gguf -n --json
judge "the dry run lacks a file" test "$(jq -c '[.files[].name]' ../out)" = '["x.gguf","mmproj-x.gguf"]'
judge "the dry run has written" test ! -e x.gguf
ends 0 convert model -o x.gguf --to gguf -n
prints "mmproj-x.gguf: "
touch mmproj-x.gguf
refused 2 "mmproj-x.gguf" convert model -o x.gguf --to gguf
rm mmproj-x.gguf && mkdir mmproj-x.gguf
refused 2 "mmproj-x.gguf next to x.gguf is a directory" convert model -o x.gguf --to gguf
rmdir mmproj-x.gguf

# ---- refused by name, and nothing is left ----
configure model '.vision_config.rope_parameters.rope_theta = 20000'
refused 3 "vision_config.rope_parameters.rope_theta is 20000," convert model -o x.gguf --to gguf
make qwen3_vl model
renamed model/model.safetensors 'sub("blocks.1.norm1.weight"; "blocks.1.norm7.weight")'
refused 3 "tensor 'model.visual.blocks.1.norm7.weight' belongs to a tower, and organ has no rule for it" convert model -o x.gguf --to gguf
make qwen3_vl model
configure model '.vision_config.depth = 5'
refused 3 "of a tower that needs 5" convert model -o x.gguf --to gguf
make qwen3_vl model
configure model '.vision_config.deepstack_visual_indexes = [0, 9]'
refused 3 "names no block of the tower" convert model -o x.gguf --to gguf
make qwen3_vl model && rm model/preprocessor_config.json
refused 3 "image_mean is missing" convert model -o x.gguf --to gguf --mmproj keep
ends 0 convert model -o plain.gguf --to gguf
says "there is no preprocessor_config.json, which an mmproj of the towers needs: only the text model is converted"
judge "an mmproj of a model without a preprocessor" test -e plain.gguf -a ! -e mmproj-plain.gguf
rm -f ./plain.*
make qwen3_vl model
refused 2 "programs take a file of this name for that of a tower" convert model -o mmproj-text.gguf --to gguf
renamed model/model.safetensors 'sub("visual.blocks.1[.]"; "visual.blocks.7.")'
refused 3 "belongs to a block that the tower does not have" convert model -o x.gguf --to gguf
make qwen2_5_vl model
configure model '.vision_config.window_size = 64'
refused 3 "vision_config.window_size is 64" convert model -o x.gguf --to gguf
make qwen2_5_vl model
configure model '.vision_config.fullatt_block_indexes = [1, 2]'
refused 3 "is not every n-th block of the tower" convert model -o x.gguf --to gguf
make gemma3 model
jq '.image_mean = [0, 0, 0] | .image_std = [1, 1, 1]' model/preprocessor_config.json >p.json && mv p.json model/preprocessor_config.json
ends 0 convert model -o x.gguf --to gguf --mmproj only --quiet
judge "whole numbers are F32" test "$(after x.gguf clip.vision.image_mean u4 28)" = "9 6 3 0 0 0 0"
rm -f ./x.*
refused 2 "must be one of keep|only|none" convert model -o x.gguf --to gguf --mmproj other
refused 3 "has no vision or audio tower" convert tiny-qwen2 -o x.gguf --to gguf --mmproj keep
ends 0 convert model -o x.gguf --to gguf --quiet
refused 2 "must be given together" convert x.gguf -o back --to safetensors --mmproj mmproj-x.gguf
refused 3 "is no mmproj" convert x.gguf -o back --to safetensors --mmproj x.gguf --config model/config.json
make qwen3_vl other
"$top/build/checks/gguf_keys" mmproj-x.gguf bare.gguf clip.projector_type= >../out 2>&1 || bad "the key cannot be removed" ../out
refused 3 "has no key 'clip.projector_type'" convert x.gguf -o back --to safetensors --mmproj bare.gguf --config model/config.json
refused 3 "the key 'clip." convert x.gguf -o back --to safetensors --mmproj mmproj-x.gguf --config other/config.json
ends 0 convert other -o o.gguf --to gguf --quiet
refused 3 "the mmproj is of another model" convert o.gguf -o back --to safetensors --mmproj mmproj-x.gguf --config other/config.json

# ---- a tower whose feed-forward is as wide as the tower; one whose text model has no rules ----
mkdir square && cp "$towers/gemma3"/* square/
sed -i '/vision_tower.*mlp/s/72/64/g' square/model.tsv
configure square '.vision_config.intermediate_size = 64'
(cd "$top" && build/checks/arch_model "$(realpath --relative-to fixtures/architectures "$scratch/area/square")" "$scratch/area/squared") >../out 2>&1 ||
    bad "the square model cannot be made" ../out
cp square/preprocessor_config.json squared/
refused 3 "feed-forward" convert squared -o s.gguf --to gguf
ends 0 convert squared -o s.gguf --to gguf --mmproj none --quiet
make internvl_chat model
ends 0 convert model -o i.gguf --to gguf --mmproj only --mmproj-dtype f32 --json --quiet
judge "tensors of InternVL" test "$("$organ" inspect i.gguf --tensors --json --quiet | jq '.tensors | length')" = 46
refused 3 "can only be converted by name" convert model -o j.gguf --to gguf

# ---- an interrupted run has neither file; it continues with both ----
make qwen3_vl model
ends 0 convert model -o whole.gguf --to gguf --quiet
interrupted INT cut.gguf convert model -o cut.gguf --to gguf
judge "the run was not interrupted" test "$code" = 130
judge "a file has its name" test ! -e cut.gguf -a ! -e mmproj-cut.gguf
refused 2 "an unfinished run was found" convert model -o cut.gguf --to gguf
ends 0 convert model -o cut.gguf --to gguf --resume --quiet
judge "the text model differs" cmp -s whole.gguf cut.gguf
judge "the mmproj differs" cmp -s mmproj-whole.gguf mmproj-cut.gguf
finish
