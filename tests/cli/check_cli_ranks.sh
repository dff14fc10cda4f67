#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs of several processes started by an MPI launcher write the bytes of one process, also after a rank was killed and the run resumed.
. "$(dirname "$0")/../kit/ranks_kit.sh"

# ---- a launcher's environment without ranks ----
launched() { env OMPI_COMM_WORLD_SIZE=4 OMPI_COMM_WORLD_RANK="$1" "$organ" "${@:2}" >../out 2>../err </dev/null; }
here="four processes"
launched 0 tokenize tiny-qwen2 --text tiny-qwen2/heldout.txt
judge "a verb that shares nothing runs" test $? = 2
says "tokenize"
launched 3 tokenize tiny-qwen2 --text tiny-qwen2/heldout.txt
judge "the others do not fail" test $? = 2
judge "all ranks say the same" test ! -s ../err
launched 1 prune --help
judge "all ranks show the help" test ! -s ../out
launched 0 prune --help
judge "no rank shows the help" grep -q 'organ prune' ../out
launched 0 prune tiny-qwen2 -o new --ranks 8
judge "another number of processes runs" test $? = 2
says '--ranks 8'
launched 0 prune tiny-qwen2 -o new --ranks 1
says '--ranks 1'
launched 2 prune tiny-qwen2 -o new --ranks 1
judge "all ranks say the same" test ! -s ../err
refused 2 "--ranks 2" inspect tiny-qwen2 --ranks 2
refused 2 "'0'" prune tiny-qwen2 -o new --ranks 0
ends 0 inspect tiny-qwen2 --ranks 1
env OMPI_COMM_WORLD_SIZE=1 OMPI_COMM_WORLD_RANK=0 "$organ" prune tiny-qwen2 -o new --ranks 8 >../out 2>../err
judge "a process that was started alone runs as one of eight" test $? = 2
says '--ranks 8'
judge "something was made" test ! -e new
mkdir bare && cp "$organ" bare/organ
env OMPI_COMM_WORLD_SIZE=2 OMPI_COMM_WORLD_RANK=0 bare/organ prune tiny-qwen2 -o new >../out 2>../err
judge "it runs without the module" test $? = 4
says 'liborgan_mpi.so'
judge "something was made" test ! -e new
need_launcher
env PMI_SIZE=4 PMI_RANK=0 "$organ" prune tiny-qwen2 -o new >../out 2>../err
judge "processes that do not see each other run" test $? = 2
says "MPI"
judge "something was made" test ! -e new

# ---- the same bytes ----
# `ninja test-ranks` runs every verb with 2, 3, 7 and 16 ranks.
counts="2 3 7"
if in_part; then counts=3; fi
same 1 prune tiny-qwen2
if ! in_part; then counts="2 3"; fi
in_part || same 2 prune tiny-qwen2 --sparsity 50
same 3 quantize tiny-qwen2 --scheme int4-group32
in_part || same 4.gguf quantize tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf --scheme q4_0
same 10.gguf quantize tiny-qwen2 --scheme recipe:q4_k_m
same 5 dequantize one3
same 12.gguf convert tiny-qwen2 --to gguf --dtype q8_0
if ! in_part; then
    same 13 convert one12.gguf --to safetensors --dtype codes
    same 14.gguf convert one13 --to gguf --dtype codes
fi
same 6.gguf purify tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --method haar
same 10 lora merge --base tiny-qwen2 --adapter "${model%/*}/tiny-lora"
same 11 prune tiny-qwen2 --method magnitude -s 50 --evaluate tiny-qwen2/heldout.txt --evaluate-max-tokens 300
threads=() # they have none
same 7 extract tiny-qwen2
same 8 assemble one7
in_part || same 9.safetensors assemble one7
threads=(--threads 1)
rm -rf one[2-9]* one1?

looked 0 audit tiny-qwen2 one1
looked 0 measure tiny-qwen2 one1 tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
ranks 2 0 measure tiny-qwen2 --definition seed -o measured
run measure tiny-qwen2 --definition seed -o alone-measured
judge "2 ranks report something else" cmp <(tells measured/z_report.json) <(tells alone-measured/z_report.json)
looked 0 perplexity tiny-qwen2 --text tiny-qwen2/heldout.txt --context 64 --max-tokens 1000
looked 0 perplexity tiny-qwen2 --text tiny-qwen2/heldout.txt --compare one1 --max-tokens 300
looked 0 evaluate tiny-qwen2 one1 --text tiny-qwen2/heldout.txt --context 64 --max-tokens 700
looked 0 perplexity tiny-qwen2 --text tiny-qwen2/heldout.txt --compare one1 --context 64 --max-windows 9
for _ in {1..7}; do cat "${model%/*}/tiny-llama/heldout.txt"; done >seven.txt
looked 0 perplexity "${model%/*}/tiny-llama" --text seven.txt --context 16 --max-error 5 # ends after the first block
cp -r one1 spoilt && chmod -R u+w spoilt
printf '\x11\x3f' | dd of=spoilt/model-00002-of-00003.safetensors bs=1 seek=500000 conv=notrunc status=none
looked 1 audit tiny-qwen2 spoilt

# ---- one rank, and faults ----
ranks 1 0 prune tiny-qwen2 -o alone --quiet --ranks 1
judge "one rank is not the ordinary path" diff <(holds one1) <(holds alone)
ranks 3 2 prune tiny-qwen2 -o alone
judge "the fault is not told once" test "$(grep -c '^error: prune: alone exists; --force' ../err)" = 1
ranks 2 2 prune tiny-qwen2 -o new --what
judge "the usage is not told once" test "$(grep -c "^error: " ../err)" = 1
ranks 2 0 prune tiny-qwen2 -o new --dry-run
prints ' with 2 threads of '
judge "a dry run made something" test ! -e new
ranks 3 0 prune tiny-qwen2 -o new --progress lines
judge "not all tensors are in the log" test "$(grep -c '% killed' ../err)" = 28
judge "the last is not the 28th" grep -q '^\[28/28\]' ../err
rm -rf new
cp -rL tiny-qwen2 odd && chmod -R u+w odd
printf '\xc0\x7f' | dd of=odd/model-00003-of-00003.safetensors bs=1 seek=1000000 conv=notrunc status=none
ranks 3 3 prune odd -o new
judge "the rank is not named, or the tensor" grep -qE '^error: rank [0-2] of 3 \(.*\): .*NaN or infinite' ../err
judge "something is left" test -z "$(find . -maxdepth 1 -name '*new*')"

# ---- cores ----
cores=$("$organ" topology --json | jq .machine.cores)
mpirun --bind-to none -n 2 "$organ" prune tiny-qwen2 -o new --json --quiet >../out 2>../err
judge "two ranks do not divide $cores cores" test "$(jq .run.threads ../out)" = $((cores > 1 ? cores / 2 : 1))
rm -rf new
mpirun --bind-to none -n 2 "$organ" topology --json >../out 2>../err
judge "the plans of the ranks are not told" test "$(jq -c '[.ranks[] | .rank, .workers]' ../out)" = "[0,$((cores > 1 ? cores / 2 : 1)),1,$((cores > 1 ? cores - cores / 2 : 1))]"
judge "a rank's plan is another one" test "$(jq -c '.ranks[1] | keys' ../out)" = '["cpus","host","nodes","rank","workers"]'
judge "the ranks share a CPU" test "$(jq '.ranks[0].cpus != .ranks[1].cpus' ../out)" = "$( ((cores > 1)) && echo true || echo false)"
ranks 2 0 topology
prints 'buffers on nodes'

# ---- killed and resumed ----
how=(--iterations 1000)
run prune tiny-qwen2 -o slow "${how[@]}" --quiet
slowly 3 KILL
judge "a killed rank is not the end" test $code != 0
judge "the output has its name" test ! -e new
judge "there is nothing to go on with" test -d .new.organ-partial
# A rank that gets SIGTERM makes the other ranks stop.
slowly 2 TERM
judge "it ends with another code" test $code = 130
judge "does not end as interrupted" grep -q 'interrupted .*--resume continues' ../err
judge "the command to go on is not shown" grep -q 'note: to continue: organ prune --resume' ../err
ranks 7 0 prune tiny-qwen2 -o new "${how[@]}" --resume
says "continuing"
judge "resumed by others it is not the same" diff <(holds slow) <(holds new)
judge "journals are left" test -z "$(find new -name 'journal*')"
rm -rf new
# If the last or the first rank is stopped with SIGSTOP, the others name it and end. Each run starts from the beginning; otherwise the other ranks
# would do all work while they wait, and the stopped rank would have none left.
for silent in 2 0; do
    rm -rf .new.organ-partial
    ORGAN_SILENCE=5 slowly 3 STOP $silent
    judge "a silent rank is not the end" test $code = 4
    # How far the others came differs from run to run, so tests/messages.tsv has no row. mpirun puts its own words into longer texts.
    judge "the silent rank is not named" grep -qF "error: rank $silent of 3" ../err
    judge "the output has its name" test ! -e new
done
ends 0 prune tiny-qwen2 -o new "${how[@]}" --resume
judge "resumed after silence it is not the same" diff <(holds slow) <(holds new)
rm -rf new
ORGAN_SILENCE=soon ranks 2 2 prune tiny-qwen2 -o new
# mpirun may put its own words into this message, too.
judge "the value of ORGAN_SILENCE is not named" grep -qF "'soon'" ../err
slowly 3 KILL
ends 0 prune tiny-qwen2 -o new "${how[@]}" --resume
judge "resumed by one it is not the same" diff <(holds slow) <(holds new)
finish
