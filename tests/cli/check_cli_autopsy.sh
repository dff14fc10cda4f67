#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ autopsy: output, documents, exit codes, errors. Run it from the root after `ninja`; ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"

# ---- healthy models ----
isas=$("$organ" version | sed -n 's/^usable *//p')
for isa in $isas; do
    for threads in 1 3; do
        ORGAN_ISA=$isa ends 0 autopsy tiny-qwen2 --threads $threads --quiet
        matches autopsy/autopsy ../out
        [[ -s ../err ]] && bad "--quiet is not quiet" ../err
        ORGAN_ISA=$isa ends 0 autopsy tiny-qwen2 --threads $threads --quiet --json --memory 64M --select '*.layers.0.*'
        matches_briefly autopsy/autopsy_json ../out
    done
done
COLUMNS=120 ends 0 autopsy tiny-qwen2 --tensors --select '*.layers.[13].mlp.*' --quiet
matches autopsy/autopsy_tensors ../out
ends 0 autopsy tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf --quiet
matches autopsy/autopsy_other ../out
ends 0 autopsy tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf tiny-qwen2 --quiet # names of the other format
sed 's/tiny-qwen2 (Qwen2ForCausalLM, safetensors, 3 files, 9.9 MB)/tiny-qwen2-BF16-00001-of-00002.gguf (qwen2, GGUF, 2 files, 10.0 MB)/' ../out >../across
matches autopsy/autopsy_other ../across
LC_ALL=C sed 's/qwen2/llama/g' tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf >turned.gguf
ends 1 autopsy turned.gguf tiny-qwen2 --quiet --json # in GGUF files of llama the rows of q and k have another order than here
judge "not only q and k are found" test "$(jq -r '[.findings[].role] | unique | join(" ")' ../out)" = "bias k_proj q_proj"
rm turned.gguf
ends 0 autopsy tiny-qwen2 tiny-qwen2 --quiet --json --select '*.q_proj.weight'
prints '"relative_error": 0.0'
ends 0 autopsy tiny-qwen2 -o reports --select '*.layers.0.*'
judge "there is no report" test -s reports/AUTOPSY_REPORT.md -a -s reports/autopsy.json
matches autopsy/AUTOPSY_REPORT reports/AUTOPSY_REPORT.md
judge "no page beside the report" grep -q "</html>" reports/AUTOPSY_REPORT.html
matches_briefly autopsy/autopsy_json reports/autopsy.json
ends 0 autopsy tiny-qwen2 -o reports --quiet # over what is there
rm -r reports

# ---- quantised models ----
ln -s "${model%/*}/precision" precision
for scheme in awq-gemm-32 awq-gemv-64 ct-float-quantized ct-int-quantized ct-mxfp4 ct-mxfp8 ct-packed-actorder gptq-v1-2 gptq-v1-4 \
    gptq-auto-3 modelopt-nvfp4; do
    ends 0 autopsy precision/$scheme --quiet
    prints "no finding"
done
ends 0 autopsy precision/gptq-mislabelled-v1-4 --quiet
prints "which means gptq_v2: it is read as gptq_v2."
COLUMNS=300 ends 1 autopsy precision/fp8-ue8m0 --quiet
prints "Its scales are too large"

# ---- wrong scales: found by a text, named by the original ----
cp -rL tiny-qwen2 plain && chmod -R u+w plain
ends 0 quantize plain -o scaled --scheme fp8-channel --quiet
COLUMNS=300 ends 0 autopsy scaled --quiet
prints "Not tested: whether all scales of the model are wrong by one factor. --text FILE tests that"
ends 0 autopsy scaled --quiet --text tiny-qwen2/heldout.txt -o reports
prints "all scales times  perplexity  nats per token"
judge "no scale test in the report" grep -q "all scales times" reports/AUTOPSY_REPORT.md
judge "no scale test in the page" grep -q "all scales times" reports/AUTOPSY_REPORT.html
# Doubling a BF16 number adds one to its exponent: this doubles each scale in place.
double_scales() {
    local file=$1/model.safetensors header from to
    header=$(od -An -tu8 -N8 "$file" | tr -d ' ')
    while read -r from to; do
        tail -c +$((9 + header + from)) "$file" | head -c $((to - from)) | od -An -v -tu2 -w2 |
            awk '{ x = $1 + 128; printf "%c%c", x % 256, int(x / 256) }' >../bytes
        dd if=../bytes of="$file" bs=1M oflag=seek_bytes seek=$((8 + header + from)) conv=notrunc status=none
    done < <(head -c $((8 + header)) "$file" | tail -c "$header" | tr '}' '\n' |
        sed -n 's/.*weight_scale".*"data_offsets":\[\([0-9]*\),\([0-9]*\)\].*/\1 \2/p')
}
LC_ALL=C double_scales scaled
COLUMNS=300 ends 1 autopsy scaled --quiet --text tiny-qwen2/heldout.txt -o reports
prints "FINDING  *: all scales wrong by one factor: with all scales 1/2 times as large perplexity is"
judge "no finding in the report" grep -q "all scales wrong by one factor" reports/AUTOPSY_REPORT.md
judge "no finding in the page" grep -q "all scales wrong by one factor" reports/AUTOPSY_REPORT.html
COLUMNS=300 ends 1 autopsy scaled plain --quiet
prints "scales wrong by one factor: all its scales are 2 times their correct values; relative error 100 percent"
refused 2 "tiny-qwen2" autopsy tiny-qwen2 --text tiny-qwen2/heldout.txt
rm -r plain scaled reports

# ---- a damaged model: the end of one shard is zeros, part of the last one is noise ----
mkdir sick
cp -r tiny-qwen2/* sick
chmod -R u+w sick
truncate -s 3000000 sick/model-00002-of-00003.safetensors
truncate -s 4307712 sick/model-00002-of-00003.safetensors
{
    head -c 4000000 tiny-qwen2/model-00003-of-00003.safetensors
    head -c 8192 tiny-qwen2/tokenizer.json
    tail -c +4008193 tiny-qwen2/model-00003-of-00003.safetensors
} >sick/model-00003-of-00003.safetensors
ends 1 autopsy sick --quiet
matches autopsy/autopsy_sick ../out
says "sick"
ends 1 autopsy sick tiny-qwen2 --quiet --json -o reports --select '*.layers.[13].mlp.*'
holds ../out '.healthy == false and .weights == 6 and .other.name == "tiny-qwen2"' '[.findings[].kind] | unique == ["all_zero", "dead_rows", "exploded", "far"]' \
    '.findings | length == 8' '.tensors[0] | .dead_rows == 315 and .zero == 100896' '.roles[0].against_other.largest_relative_error == 0.602119098'
matches autopsy/AUTOPSY_REPORT_sick reports/AUTOPSY_REPORT.md
judge "no page beside the report" grep -q "</html>" reports/AUTOPSY_REPORT.html
rm -r reports sick

# ---- ranges ----
ends 0 autopsy --print-ranges
matches_briefly autopsy/autopsy_ranges ../out 2
cp ../out ranges.json
ends 0 autopsy tiny-qwen2 --ranges ranges.json --quiet
matches autopsy/autopsy ../out
echo '{"schema": "organ.ranges/1", "q_proj": {"std": [0.05, 0.0505]}, "organ": {"mean": 0.001}}' >ranges.json
ends 1 autopsy tiny-qwen2 --ranges ranges.json --quiet
prints "FINDING  model.layers.2.self_attn.q_proj.weight: spread too large"
prints "Healthy: |mean| at most 0.1, std 0.05 to 0.0505"
echo '{"schema": "organ.ranges/1", "q_proj": {"std": 1}}' >ranges.json
refused 3 "q_proj.std" autopsy tiny-qwen2 --ranges ranges.json
refused 4 "none.json" autopsy tiny-qwen2 --ranges none.json

# ---- errors: wrong usage, missing and malformed models ----
refused 2 "MODEL" autopsy
refused 2 "--print-ranges" autopsy tiny-qwen2 --print-ranges
refused 2 "'--ranges'" autopsy tiny-qwen2 --range ranges.json
refused 2 "'autopsy'" autopsie tiny-qwen2
refused 2 "'nothing'" autopsy tiny-qwen2 --select nothing
refused 2 "ranges.json" autopsy tiny-qwen2 -o ranges.json
refused 4 "none" autopsy none
refused 4 "none" autopsy tiny-qwen2 none
refused 4 "none/reports" autopsy tiny-qwen2 -o none/reports
head -c 100000 tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf >cut.gguf
refused 3 "'token_embd.weight'" autopsy cut.gguf
finish
