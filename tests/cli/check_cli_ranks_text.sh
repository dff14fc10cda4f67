#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Calibrated runs of several processes write the bytes and documents of one process. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/ranks_kit.sh"
need_launcher
text=(--calibration tiny-qwen2/calibration.txt --samples 4 --context 32)

# EFFORT=all adds runs that differ in the model but not in the messages between ranks; calibration_ranks has both kinds. One of the counts is larger
# than the number of matrices of a layer.
counts="2 3 8"
if in_part; then counts=8; fi
some='*.[02].*_proj.weight'
if in_part; then some='*.[02].self_attn.*_proj.weight'; fi
same 1 prune tiny-qwen2 --method physarum-v2 -s 50 "${text[@]}" --select "$some"
counts="2 3"
if in_part; then counts=3; fi
in_part || same 2 prune tiny-qwen2 --method sparsegpt --pattern 2:4 "${text[@]}" --select '*.[01].*_proj.weight'
same 3 prune tiny-qwen2 --method physarum-v3 -s 60 --effort 0.3 --then int4-group32 "${text[@]}" --select '*.[02].*_proj.weight'
same 4 quantize tiny-qwen2 --scheme int4-group32 --method gptq "${text[@]}" --select '*.[23].*_proj.weight'
same 29 quantize tiny-qwen2 --scheme nvfp4 --activations "${text[@]}" --select '*.[13].mlp.*_proj.weight'
same 30 quantize "${model%/*}/tiny-moe" --scheme fp8-tensor --activation-scale static --activation-observer mse --kv-cache head "${text[@]}" --select '*layers.1.*_proj.weight'
same 31 quantize tiny-qwen2 --scheme int8-channel --kv-cache head --calibration tiny-qwen2/calibration.txt --samples 24 --context 128 --select '*.[01].mlp.down_proj.weight'
same 32 quantize "${model%/*}/tiny-moe" --scheme int8-channel --smooth auto --calibration tiny-qwen2/calibration.txt --samples 24 --context 128
in_part || same 5.gguf quantize tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf --scheme q4_0 --method gptq "${text[@]}"
in_part || same 6 prune "${model%/*}/tiny-moe" --method wanda -s 50 --calibration tiny-qwen2/calibration.txt --samples 24 --context 128 # three chunks
# An expert that no token reaches is calibrated on the tokens of all ranks, here in three chunks.
make_never never
same 19 prune never --method sparsegpt -s 50 --calibration tiny-qwen2/calibration.txt --samples 11 --context 96 --select '*.1.mlp.experts.[57].*'
# Each rank keeps its hidden states in a file; the file of a rank without windows is empty.
same 9 prune tiny-qwen2 --method physarum-v2 -s 50 --calibration tiny-qwen2/calibration.txt --samples 24 --context 64 --select '*.0.*.[kv]_proj.weight' --scratch .
counts="2 3"
same 20.gguf imatrix "${model%/*}/tiny-moe" --calibration tiny-qwen2/calibration.txt --context 32 --chunks 7 --process-output
counts=3
looked 0 experts "${model%/*}/tiny-moe" --predict --keep 50%,25% --predict-tokens 200 --score sum --calibration tiny-qwen2/calibration.txt --samples 5 --context 64
same 10 experts "${model%/*}/tiny-moe" --score loss --keep 50% --calibration tiny-qwen2/calibration.txt --samples 11 --context 96 # two chunks
in_part || same 17 width "${model%/*}/tiny-moe" --ffn 75% --multiple-of 8 --heads 1 --calibration tiny-qwen2/calibration.txt --samples 11 --context 96

# Blocks and widths: ranks share the candidate sets of blocks; each rank heals alone.
short=(--calibration tiny-qwen2/calibration.txt --context 32)
same 11 layers tiny-qwen2 --drop 1 "${short[@]}" --search-tokens 128
same 12 layers "${model%/*}/tiny-moe" --drop 1-1 --refit "${short[@]}" --samples 5
in_part || same 13.gguf layers tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --drop 3,0 --refit "${short[@]}" --samples 5
same 14 width tiny-qwen2 --ffn 75% --heads 50% "${text[@]}"

# ---- one budget ----
divide=(--allocate global --allocate-tokens 64 --allocate-layers 2 --rounds 1)
counts="3"
same 7 prune tiny-qwen2 --method wanda -s 50 "${text[@]}" "${divide[@]}"
some='*.[03].self_attn.*_proj.weight'
if in_part; then some='*.[03].self_attn.[qkv]_proj.weight'; fi
same 8 quantize tiny-qwen2 --scheme mixed --method gptq --budget 4.5bpw "${text[@]}" "${divide[@]}" --select "$some"
# Curves measured by several ranks equal those of one, and any number of ranks reads them.
run prune tiny-qwen2 -o curved --method wanda -s 50 "${text[@]}" "${divide[@]}" --allocation ../curves.json
ranks 2 0 prune tiny-qwen2 -o new --method wanda -s 50 "${text[@]}" "${divide[@]}" --allocation ../shared.json
judge "the ranks keep other curves" cmp ../curves.json ../shared.json
rm -rf new
ranks 2 0 prune tiny-qwen2 -o new --method wanda -s 50 "${text[@]}" "${divide[@]}" --allocation ../curves.json
judge "by curves that were kept it is not the same" diff <(holds curved) <(holds new)
rm -rf new curved

# ---- faults ----
cp -rL tiny-qwen2 odd && chmod -R u+w odd
printf '\xc0\x7f' | dd of=odd/model-00003-of-00003.safetensors bs=1 seek=1000000 conv=notrunc status=none
ranks 3 3 quantize odd -o new --scheme int4-group32 --method gptq "${text[@]}"
judge "something is left" test -z "$(find . -maxdepth 1 -name '*new*')"
# The disk of one rank becomes full while the others calibrate.
here="mpirun, one rank of three without room"
command=("$organ" prune tiny-qwen2 -o new --method wanda -s 50 "${text[@]}" --threads 1)
OMPI_MCA_btl=self,tcp mpirun -n 1 "${command[@]}" : -n 1 bash -c 'trap "" XFSZ; ulimit -f 64; exec "$@"' - "${command[@]}" : -n 1 "${command[@]}" \
    >../out 2>../err </dev/null
judge "it ends with another code" test $? = 4
judge "the rank is not named" grep -qE '^error: rank 1 of 3 \(.*File too large' ../err
judge "the output has its name" test ! -e new
rm -rf .new*

# ---- killed and resumed ----
how=(--method physarum-v2 -s 50 --effort 4 "${text[@]}" --select '*.[02].*_proj.weight')
run prune tiny-qwen2 -o slowly "${how[@]}" --quiet
slowly 3 KILL
judge "the output has its name" test ! -e new
ranks 2 0 prune tiny-qwen2 -o new "${how[@]}" --resume
says "continuing"
judge "resumed along a text it is not the same" diff <(holds slowly) <(holds new)
judge "it tells something else" cmp <(tells slowly/organ/prune.json) <(tells new/organ/prune.json)
finish
