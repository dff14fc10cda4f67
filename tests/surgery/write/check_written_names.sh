#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Names and shapes of the tensors that every verb writes into a model, for inputs in safetensors, GGUF and MLX. They are those that the modules of
# transformers load: fixtures/architectures/TYPE/model.tsv with the changes of written_names.tsv. bench/served/written_names.py makes that table, and opens
# all outputs in transformers. TYPES="llama mixtral" selects types, WRITTEN=DIRECTORY keeps the outputs there. Ends with "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"

table=$top/tests/surgery/write/written_names.tsv
text=$top/fixtures/tiny-qwen2/calibration.txt
read -ra types <<<"${TYPES:-$(grep -v '^#' "$table" | cut -f1 | uniq | tr '\n' ' ')}"
if [[ ! ${TYPES:-} ]] && in_part; then
    types=(llama gpt2 mixtral-stacked qwen3_moe qwen3_vl_moe deepseek_v3 gpt_oss gpt_oss-mxfp4 granitemoehybrid lfm2_moe kimi_linear falcon_mamba
        exaone_moe-stacked bitnet dbrx laguna olmo_hybrid)
fi
if [[ ! ${TYPES:-} ]] && sampled; then types=(qwen3_moe lfm2_moe bitnet); fi
few=(--calibration "$text" --samples 2 --context 32)

# job NAME ARGS...: runs organ; the output is NAME.
job() {
    "$organ" "${@:2}" -o "$1" --quiet >../out 2>../err </dev/null || printf '%s\t%s\trefused\n' "$type" "$1" >>../found
}
# listed NAME: adds the names and shapes in the headers of the files of the directory.
listed() {
    local file length
    for file in "$1"/*.safetensors; do
        [[ -e $file ]] || continue
        length=$(od -An -tu8 -N 8 "$file")
        tail -c +9 "$file" | head -c "$((length))" | jq -r --arg type "$type" --arg job "$1" 'del(.__metadata__) | to_entries[] |
            [$type, $job, .key, (.value.shape | map(tostring) | join("x")), .value.dtype] | join("\t")'
    done >>../found
}
of_safetensors() {
    job pruned prune model --sparsity 20
    job purified purify model --method haar
    job fp8 quantize model --scheme fp8-channel
    job int4 quantize model --scheme int4-group32
    job int4-plain dequantize int4
    job merged merge model pruned --method linear
    job lora lora extract --base model --tuned pruned --rank 2
    job lora-merged lora merge --base model --adapter lora
    job shorter layers model --drop 1-1
    job fewer experts model --keep 75% "${few[@]}" --score frequency
    job narrower width model --ffn 50% --multiple-of 16 "${few[@]}" --score wanda
    job headless width model --heads 50% "${few[@]}" --score wanda
    job grafted graft --source pruned --target model --select 1-1
    job organs extract model
    job assembled assemble organs
}
of_gguf() {
    if [[ -e $top/fixtures/architectures/$type/gguf.tsv ]]; then
        (cd "$top" && build/checks/arch_model "$type" "$scratch/area/x.gguf") >../out 2>&1 || bad "$type cannot be made as GGUF" ../out
    else
        job x.gguf convert model --to gguf --dtype f32
        [[ -e x.gguf ]] || return 0
    fi
    job gguf convert x.gguf --to safetensors
    job q8.gguf quantize x.gguf --scheme q8_0
    job gguf-q8 convert q8.gguf --to safetensors
    job gguf-merged merge x.gguf model --method linear
    job short.gguf layers x.gguf --drop 1-1
    job gguf-shorter convert short.gguf --to safetensors
}
of_mlx() {
    job mlx8 quantize model --scheme int8-group32 --format mlx
    [[ -e mlx8 ]] || return 0
    job mlx-plain dequantize mlx8
    job mlx-merged merge mlx8 model --method linear
    job mlx-shorter layers mlx8 --drop 1-1
    job mlx.gguf convert mlx8 --to gguf
    job mlx-gguf convert mlx.gguf --to safetensors
}


# expected: prints type, job, name and shape of each tensor that the outputs in ../found must have, and the jobs that are refused.
expected() {
    local type
    for type in "$@" $(awk -F'\t' '$3 == "as" { print $4 }' "$table" | sort -u); do
        awk -F'\t' -v type="$type" '$1 == "tensor" { print "whole\t" type "\t" $2 "\t" $3 }' "$top/fixtures/architectures/$type/model.tsv"
    done | sort -u | cat - <(grep -v '^#' "$table" | sed 's/^/table\t/') <(cut -f1,2 ../found | sort -u | sed 's/^/job\t/') | awk -F'\t' -v OFS='\t' '
        $1 == "whole" { whole[$2] = whole[$2] $3 OFS $4 "\n" }
        $1 == "table" && $4 == "as" { like[$2, $3] = $5 }
        $1 == "table" && $4 == "refused" { refused[$2, $3] = 1 }
        $1 == "table" && NF > 4 && $4 != "as" { changes[$2, $3] = changes[$2, $3] $4 OFS $5 OFS $6 "\n" }
        $1 == "job" {
            if (($2, $3) in refused) { print $2, $3, "refused", ""; next }
            delete shape
            count = split(whole[($2, $3) in like ? like[$2, $3] : $2], lines, "\n")
            for (k = 1; k < count; k++) { split(lines[k], part, OFS); shape[part[1]] = part[2] }
            count = split(changes[$2, $3], lines, "\n")
            for (k = 1; k < count; k++) {
                split(lines[k], part, OFS)
                times = split(part[3], each, " ")
                for (n = 1; n <= (times ? times : 1); n++) {
                    name = part[1]
                    split(each[n], number, ".")
                    for (d = 1; sub(/#/, number[d], name); d++);
                    shape[name] = part[2]
                    if (sub(/\*$/, "", name)) for (other in shape) if (index(other, name) == 1) shape[other] = "-"
                }
            }
            for (name in shape) if (shape[name] != "-") print $2, $3, name, shape[name]
        }'
}
# plain: prints the rows of ../found with the names and shapes of the matrices whose codes and scales they have. I32 holds eight codes of 4 bits.
plain() {
    awk -F'\t' -v OFS='\t' '
        { row[NR] = $0; name[$1, $2, $3] = 1 }
        END {
            for (k = 1; k <= NR; k++) {
                $0 = row[k]
                if (match($3, /_(packed|scale|scale_inv|shape|zero_point)$/)) {
                    before = substr($3, 1, RSTART - 1)
                    if (!/_packed\t/ && (($1, $2, before) in name || ($1, $2, before "_packed") in name)) continue
                    if (/_packed\t/) { split($4, axes, "x"); $3 = before; $4 = axes[1] "x" 8 * axes[2] }
                }
                print $1, $2, $3, $4 == "" && $3 != "refused" ? 1 : $4
            }
        }' ../found
}

: >../found
for type in "${types[@]}"; do
    (cd "$top" && build/checks/arch_model "$type" "$scratch/area/model") >../out 2>&1 || bad "$type cannot be made" ../out
    of_safetensors
    of_gguf
    of_mlx
    for made in */; do
        case $made in model/ | lora/ | organs/ | mlx8/ | mlx-shorter/ | tiny-*) ;; *) listed "${made%/}" ;; esac
    done
    if [[ ${WRITTEN:-} ]]; then mkdir -p "$WRITTEN/$type" && cp -r [^t]*/ "$WRITTEN/$type/"; fi
    find . -mindepth 1 -maxdepth 1 ! -name 'tiny-*' -exec chmod -R u+w {} + -exec rm -r {} +
done
if [[ ${WRITTEN:-} ]]; then cp ../found "$WRITTEN/found.tsv"; fi
plain | sort >../written
expected "${types[@]}" | sort >../wanted
for type in "${types[@]}"; do
    for list in written wanted; do grep "^$type	" ../$list >../$list.of; done
    for name in $(cut -f2 ../written.of | uniq | sort -u); do
        here="$type: $name"
        judge "other tensors than transformers loads: $(diff <(grep "	$name	" ../wanted.of) <(grep "	$name	" ../written.of) | grep '^[<>]' | head -4)" \
            cmp -s <(grep "^$type	$name	" ../wanted.of) <(grep "^$type	$name	" ../written.of)
    done
done
finish
