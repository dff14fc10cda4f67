#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Verbs that inspect and compare print and write the same with several processes as with one. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/ranks_kit.sh"
need_launcher
ln -s "${model%/*}/tiny-lora" tiny-lora
run quantize tiny-qwen2 -o fp8 --scheme fp8-block128 --quiet
run quantize tiny-qwen2 -o int4 --scheme int4-group32 --quiet
# `ninja test-ranks` runs every verb with 2, 3, 7 and 16 ranks.
counts="2 3 7" some="2 3"
if in_part; then some=3; fi

# reported FILE ARGS...: checks that two ranks write the Markdown report of one process.
reported() {
    run "${@:2}" -o alone --quiet
    ranks 2 0 "${@:2}" -o together --quiet
    judge "2 ranks report something else" cmp <(sed 's,together,alone,g' "together/$1") "alone/$1"
    judge "2 ranks leave other files" diff <(cd alone && find . | sort) <(cd together && find . | sort)
    rm -rf alone together
}

# A copy of the model in which one weight is NaN; the adapter changes its matrix.
cp -rL tiny-qwen2 odd && chmod -R u+w odd
run inspect odd --tensors --json
read -r file offset < <(jq -r '.tensors[] | select(.name == "model.layers.3.mlp.up_proj.weight") | "\(.file) \(.offset)"' ../out)
printf '\xc0\x7f' | dd of="odd/$file" bs=1 seek="$offset" conv=notrunc status=none

# broken CODE WHAT ARGS...: checks that a fault on one rank ends the run and leaves no output.
broken() {
    ranks 3 "$1" "${@:3}"
    judge "the rank is not named, or the fault" grep -qE "^error: rank [0-2] of 3 \(.*\): .*$2" ../err
    judge "it is told more than once" test "$(grep -c '^error: ' ../err)" = 1
    judge "something is left" test -z "$(find . -maxdepth 1 -name '*new*')"
}

# ---- orthogonality ----
looked 0 orthogonality tiny-qwen2 fp8 tiny-lora --noisy2 int4
counts=$some
reported ORTHOGONALITY_REPORT.md orthogonality tiny-qwen2 fp8 tiny-lora
looked 0 orthogonality --pair tiny-qwen2 fp8 --pair "$model-gguf/tiny-qwen2-BF16-00001-of-00002.gguf" int4 tiny-lora
reported NOISE_PAIRS_REPORT.md orthogonality --pair tiny-qwen2 fp8 --pair tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf int4 --select '*.layers.1.mlp.*'
broken 3 'a value of row .* is NaN' orthogonality tiny-qwen2 odd tiny-lora -o new
ranks 3 2 orthogonality tiny-qwen2 fp8 tiny-lora -o fp8
says "fp8"

# ---- autopsy ----
looked 0 autopsy fp8 tiny-qwen2
looked 1 autopsy odd
looked 0 autopsy "${model%/*}/tiny-moe" --select '*.experts.*'
reported AUTOPSY_REPORT.md autopsy tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
ranks 2 0 autopsy --print-ranges
judge "the ranges are not told once" test "$(jq -s length ../out)" = 1
cp -rL tiny-qwen2 torn && chmod -R u+w torn && rm torn/model-00002-of-00003.safetensors
ranks 2 3 autopsy torn -o new
judge "the fault is not told once" test "$(grep -c '^error: ' ../err)" = 1
judge "a directory is left" test ! -e new
# ---- inspect, graft ----
threads=() # the first has none
looked 0 inspect fp8 --tensors
looked 3 inspect torn
threads=(--threads 1)
gguf=tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
same 1 graft --source odd --target tiny-qwen2 --select feed-forward,1-2
same 2.gguf graft --source tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --target $gguf --select 1,3
same 3.gguf graft --source $gguf --target $gguf --select 1-2 --map 1-2:4-5 --evaluate tiny-qwen2/heldout.txt --evaluate-max-tokens 300
same 4 graft --source odd --target tiny-qwen2 --select attention
ranks 3 3 graft --source tiny-qwen2 --target "${model%/*}/tiny-moe" -o new --json
judge "misfits are not told once" test "$(jq -s '.[0].mismatches | length > 0' ../out)" = true
judge "something is left" test -z "$(find . -maxdepth 1 -name '*new*')"
# ---- adapters ----
run lora merge --base tiny-qwen2 --adapter tiny-lora -o tuned --scale 4 --quiet
counts="2 3 7"
same 5 lora extract --base tiny-qwen2 --tuned tuned -r 4
counts=$some
same 6 lora extract --base fp8 --tuned tuned -r 16 --save-full --rank-by energy 0.9 --dtype f32
same 7 lora resize tiny-lora --rank 2 --energy 0.8
run lora sanitize tiny-lora -o servable --quiet
same 9 lora combine tiny-lora servable --method svd
same 8 lora sanitize tiny-lora --base tiny-qwen2
looked 1 lora sanitize tiny-lora --check
judge "what ranks appended is left" test -z "$(find one? -name '*of-rank*')"
broken 3 'value .* is nan' lora extract --base odd --tuned tuned -o new
ranks 3 3 lora extract --base tiny-qwen2 --tuned tiny-qwen2 -o new
judge "that nothing changed is not told once" test "$(grep -c '^error: .*: there is nothing to extract' ../err)" = 1
judge "something is left" test -z "$(find . -maxdepth 1 -name '*new*')"
ranks 2 0 lora extract --base tiny-qwen2 --tuned tuned -o new --dry-run
judge "a dry run made something" test ! -e new
# ---- fleet ----
mkdir zoo && cp -rL fp8 zoo/fp8 && cp -L $gguf zoo/alone.gguf && cp -L tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf zoo/q8.gguf
cp -rL tiny-lora zoo/adapter && head -c 500 tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf >zoo/broken.gguf
# Only the rank that measures this weight finds its groups wrong; the others continue with the next model.
cp -rL "${model%/*}/precision/gptq-v1-4" zoo/groups && chmod -R u+w zoo/groups && rm zoo/groups/expected*
run inspect zoo/groups --tensors --json
offset=$(jq '[.tensors[] | select(.name | endswith("g_idx"))][0].offset' ../out)
printf '\xff\xff\xff\x7f' | dd of=zoo/groups/model.safetensors bs=1 seek="$offset" conv=notrunc status=none
# The member "run" contains everything that differs from run to run.
unrun() { jq 'del(.run)' "$1"; }
ends 1 fleet zoo -o fleet1 --quiet
for n in 2 3; do
    ranks $n 1 fleet zoo -o fleet$n --quiet
    for file in dissection_report.json z_report_complete.json; do
        judge "$n ranks tell something else in $file" cmp <(unrun fleet1/$file) <(unrun fleet$n/$file)
    done
    judge "$n ranks leave another state" cmp fleet1/fleet.json fleet$n/fleet.json
    judge "$n ranks take models apart in another way" diff <(holds fleet1/organs) <(holds fleet$n/organs)
done
judge "the broken models are not told of" test "$(jq -c '[.models[] | select(.status == "failed").name]' fleet3/dissection_report.json)" = \
    '["alone.gguf","broken.gguf","groups"]'
touch zoo/alone.gguf
ranks 2 1 fleet zoo -o fleet3 --json --quiet
judge "what is unchanged is done again" test "$(jq .run.unchanged ../out)" = 3
finish
