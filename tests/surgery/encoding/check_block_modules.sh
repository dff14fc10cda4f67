#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Lists of modules that servers leave unquantised, for models with a plain block for multi-token prediction: the entries match the names that vLLM 0.33
# and SGLang 0.5.23 give to the modules of the block (block_names.tsv), fused ones and experts included, and none of the model's layers. Ends with "N
# passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
. "$top/tests/surgery/mtp_kit.sh"

# matches NAME: whether an entry of config.json is the name, or a pattern "re:..." that matches from its beginning.
matches() { jq -e --arg name "$1" '[.quantization_config.ignore[] | if startswith("re:") then (.[3:] as $p | $name | test("^(" + $p + ")")) else . == $name end] | any' made/config.json >../out; }

# loads: prints for each row of block_names.tsv of the type $type (bench/mtp/check_names.py makes the table from the sources of both servers) the part of
# the model, the server, the module, and the group of quantization_config by which the server loads it, "plain" if it is unquantised.
names=$top/tests/surgery/encoding/block_names.tsv
loads() {
    grep "^$type	" "$names" | jq -rR --slurpfile config made/config.json --argjson n "$layers" '
        def hits($name): if startswith("re:") then (.[3:] as $p | $name | test("^(?:" + $p + ")")) else . == $name end;
        def within($name): ("." + . + ".") as $e | "." + $name + "." | contains($e);
        $config[0].quantization_config as $q
        | ($q.config_groups // {fp8: {targets: ["Linear"]}} | to_entries) as $groups
        | def listed($name; $server):
              if $q.ignore then any($q.ignore[]; hits($name))
              elif $server == "sglang" then any($q.modules_to_not_convert[]; within($name))
              else any($q.modules_to_not_convert[]; . == $name) end;
          def group($name): [$groups[] | select(any(.value.targets[]; hits($name))).key] + [$groups[] | select(.value.targets | index("Linear")).key] | first // "error";
          split("\t") as [$type, $server, $part, $pattern, $joined]
        | ($pattern | gsub("\\{n\\}"; $n | tostring)) as $name
        | ($name | sub("[^.]*$"; "")) as $before
        | (if $name | endswith(".experts") then [$name + ".0." + ("gate_proj", "up_proj", "down_proj")]
           elif $joined == "-" then [$name] else [$before + ($joined | split(",")[])] end) as $parts
        | ($parts | map(select(listed(.; $server))) | length) as $found
        | (if listed($name; $server) or $found == ($parts | length) then "plain" elif $found > 0 then "error"
           elif $name | endswith(".experts") then $parts | map(group(.)) | unique | join("+") else group($name) end) as $loaded
        | "\($part) \($server) \($name) \($loaded)"'
}
# loaded SCHEME EXPRESSION: the rows of `loads` that EXPRESSION of grep -E selects end in SCHEME, and there are such rows.
loaded() {
    here="$type as $scheme: $2"
    loads | grep -E "$2" >../out
    judge "is loaded otherwise than as $1" eval 'test -s ../out && ! grep -vE " ('"$1"')$" ../out'
}
# serves DIRECTORY: with the sources of both servers, their own functions load the modules of the model as they are stored.
[[ ${VLLM:-} && ${SGLANG:-} ]] || echo "skipped: the functions of vLLM and SGLang themselves; to run them: VLLM=DIRECTORY SGLANG=DIRECTORY (bench/mtp/check_names.py)"
serves() {
    [[ ${VLLM:-} && ${SGLANG:-} ]] || return 0
    here="$type as $scheme"
    judge "is loaded otherwise by a server" python3 "$top/bench/mtp/check_names.py" check "$VLLM" "$SGLANG" "$1"
}
for type in glm4_moe glm4_moe_lite deepseek_v3 hy_v3 qwen3_next qwen3_5_text exaone_moe mimo_v2_flash mimo ernie4_5_moe nemotron_h-moe; do
    with_block "$type" model
    layers=$(jq '.num_hidden_layers // (.layers_block_type | length)' model/config.json)
    for scheme in int8-channel fp8-block128; do
        rm -rf made
        ends 0 quantize model -o made -s $scheme --quiet
        group=group_0 blocks='^block'
        if [[ $scheme == fp8* ]]; then
            group=fp8 blocks='^block .*(self_attn|decoder|mtp\.layers\.0)\..*(qkv_proj|o_proj|q_b_proj|fused_qkv.*)( |$)'
            [[ $type == nemotron* ]] && blocks='^block .* mtp\.layers\.0\.mixer\.o_proj'
            [[ $type == mimo ]] && blocks='^block vllm'
        fi
        loaded plain "$blocks"
        # 128 does not divide the rows of matrices that servers fuse in these layers: all of such a set are left unquantised, and so are all experts.
        if [[ $type != nemotron* && $scheme == fp8* ]]; then
            loaded plain '^trunk .*[._](fused_)?qkv_'
            loaded fp8 '^trunk .*\.(o_proj|q_b_proj) '
        elif [[ $type != nemotron* ]]; then
            loaded $group '^trunk'
        fi
        # SGLang gives modules of these blocks the names of layer 0. The first layer of EXAONE has no experts.
        if [[ $type == qwen3_next && $scheme == fp8* ]]; then
            loaded plain '^first .*\.experts '
            loaded fp8 '^first .*\.(qkv_proj|o_proj|gate_up_proj|down_proj) '
        elif [[ $type == qwen3_next || $type == exaone_moe ]]; then
            loaded $group '^first'
        fi
        grep -q "^$type	.*	projection" "$names" && loaded plain '^projection'
        [[ $type == mimo && $scheme == fp8* ]] || serves made
        chmod -R u+w made
    done
    # A block with a scheme of its own has one entry, which the fused modules of both servers find before that of all linear layers.
    scheme="int4-group32 and int8-channel"
    rm -rf made
    ends 0 quantize model -o made -s int4-group32 --mtp-scheme int8-channel --quiet
    loaded group_0 '^block'
    [[ $type == nemotron* ]] || loaded 'group_1|plain' '^trunk'
    grep -q "^$type	.*	projection" "$names" && loaded plain '^projection'
    [[ $type == deepseek* || $type == glm4_moe_lite ]] || serves made # rows that have no whole groups stay plain there
    chmod -R u+w made
done
if [[ ${VLLM:-} && ${SGLANG:-} ]]; then
    here=block_names.tsv
    python3 "$top/bench/mtp/check_names.py" names "$VLLM" "$SGLANG" >../out
    judge "differs from the sources" cmp ../out "$names"
fi
if command -v python3 >/dev/null; then
    python3 "$top/bench/mtp/check_names.py" check nowhere nowhere made >../out 2>../err
    status=$?
    here=check_names.py
    judge "ends with $status" test $status == 2
    says "is missing: name the directory"
fi
# SGLang's names of these blocks are those of other modules, or have no prefix that lists without patterns can name.
with_block exaone_moe model
rm -rf made
ends 0 quantize model -o made -s int8-channel
says "SGLang names the block for multi-token prediction of EXAONE like layer 0"
chmod -R u+w made
with_block mimo model
rm -rf made
ends 0 quantize model -o made -s fp8-block128
says "of MiMo-7B without a prefix"
chmod -R u+w made
# Entries follow the block when layers are removed, and its number is warned of.
with_block glm4_moe model
rm -rf made
ends 0 quantize model -o q -s int8-channel --quiet
ends 0 layers q --drop 2-2 -o made
says "the block for multi-token prediction is layer 4, and gets the number after the kept layers"
judge "config.json does not count the block" test "$(jq -c '[.num_hidden_layers, .num_nextn_predict_layers]' made/config.json)" = '[3,1]'
judge "entries have another number" matches model.layers.3.mlp.experts
judge "a layer is left unquantised" eval "! matches model.layers.2.mlp.experts"
chmod -R u+w made q

with_block qwen3_next model
rm -rf made
ends 0 quantize model -o made -s int8-channel
says "no entry of config.json can leave only the block unquantised"
judge "vLLM quantises the block" matches mtp.layers.0.self_attn.qkv_proj
chmod -R u+w made

# A block of which --select quantises a part has no pattern: it would match that part, too.
with_block glm4_moe model
rm -rf made
ends 0 quantize model -o made -s int8-channel --select model.layers.3.self_attn.o_proj.weight,model.layers.4.self_attn.o_proj.weight --quiet
judge "a quantised module is left unquantised" eval "! matches model.layers.4.self_attn.o_proj"
judge "the projection is not listed" matches model.layers.4.eh_proj

# SGLang gives the modules of both blocks the same names: a note says that only one of them is quantised, wholly or in part.
with_block mimo_v2_flash model
for words in 'model.mtp.layers.0.*' '*q_proj,*k_proj,*v_proj,model.mtp.layers.0.self_attn.o_proj'; do
    rm -rf made
    ends 0 quantize model -o made -s int8-channel --select "$words"
    says "SGLang gives the modules of all blocks for multi-token prediction the same names"
    says "while model.mtp.layers.0."
    chmod -R u+w made
done
for words in attention 'model.layers.*' '*.mtp.layers.*proj'; do
    rm -rf made
    ends 0 quantize model -o made -s int8-channel --select "$words"
    judge "a note without a cause" eval "! grep -q 'all blocks for multi-token prediction the same' ../err"
    chmod -R u+w made
done
finish
