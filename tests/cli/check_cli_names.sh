#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# No run loses a file of the user: names that are taken during a run, files that --force replaces or keeps, and paths of reports.
. "$(dirname "$0")/../kit/cli_kit.sh"

# ---- the output's name is taken during the run ----
# The run is held while its output grows, so that the script can take the name.
# race PUT CODE ARGS...: starts the run, calls PUT when the output has begun to grow, and lets the run end.
race() {
    local put=$1 wanted=$2 runner
    shift 2
    here="organ $* (raced)"
    grows() { compgen -G ".*.organ-partial" >/dev/null || is_over; }
    hold "$@"
    await grows
    "$put"
    let_go
    if ((code == wanted)); then good; else bad "ends with $code instead of $wanted" ../err; fi
}
# Runs the command that the message names.
take() { eval "$(grep -o 'mv -n .*' ../err)"; }

put_thesis() { mkdir -p o && echo thesis >o/thesis.txt; }
put_file() { echo thesis >o.safetensors; }
for attempt in 1 2 3; do
    race put_thesis 4 prune tiny-qwen2 -o o --iterations 200
    says "name"
    judge "the thesis is lost" test "$(cat o/thesis.txt)" = thesis
    judge "the finished work is not kept" test -f .o.organ-partial/organ/prune.json
    rm -r o
    ends 2 prune tiny-qwen2 -o ../area/o --quiet
    says "finished output"
    ends 2 prune tiny-qwen2 -o o --force --quiet
    says "finished output"
    ends 2 prune tiny-qwen2 -o o --resume --quiet
    says "finished output"
    mkdir o
    take
    judge "nothing was taken" test -f o-2/organ/prune.json
    if ((attempt == 1)); then ends 0 audit tiny-qwen2 o-2 --quiet; fi
    rm -r o o-2
    judge "something hidden was left behind" test -z "$(find . -name '.?*')"
done
cat tiny-qwen2/model-00002-of-00003.safetensors >one.safetensors
race put_file 4 purify one.safetensors -o o.safetensors --method haar --threads 1
judge "the file is lost" test "$(cat o.safetensors)" = thesis
take
ends 0 inspect o-2.safetensors
rm -r .o.safetensors.organ-* o.safetensors o-2.safetensors
# Once the name is free, the same command renames the stored output.
race put_thesis 4 prune tiny-qwen2 -o o --iterations 200
rm -r o
cp -r .o.organ-partial kept
ends 0 prune tiny-qwen2 -o o --iterations 200
says "28 of 28"
judge "not what was kept" diff -r -x organ kept o
judge "something hidden was left behind" test -z "$(find . -name '.?*')"
rm -r o kept
# An empty directory that is filled during the run is a taken name; one that stays empty becomes the output.
mkdir o
race put_thesis 4 prune tiny-qwen2 -o o --iterations 200
judge "the thesis is lost" test "$(cat o/thesis.txt)" = thesis
rm -r o .o.organ-partial
mkdir o
ends 0 prune tiny-qwen2 -o o --quiet

# A name that is taken while the run still decides gives the same exit code; once it is free, the same command renames the stored output.
ln -s "$model/../tiny-moe" tiny-moe
rm -r o
early=(--calibration tiny-qwen2/calibration.txt --samples 8 --context 64 --threads 1)
for words in "width tiny-qwen2 -o o --ffn 75% --multiple-of 8" "experts tiny-moe -o o --keep 50%" \
    "layers tiny-qwen2 -o o --drop 1 --search-tokens 64 --scores known.json" \
    "quantize tiny-qwen2 -o o --scheme mixed --method gptq --allocate global --budget 5bpw --allocation known.json --allocate-tokens 64 --select *.[03].self_attn.[qkv]_proj.weight"; do
    read -ra words <<<"$words"
    race put_thesis 4 "${words[@]}" "${early[@]}"
    says "name"
    judge "the thesis is lost" test "$(cat o/thesis.txt)" = thesis
    rm -r o
    ends 0 "${words[@]}" "${early[@]}"
    judge "nothing was renamed" test -f o/config.json
    rm -rf o known.json
    judge "something hidden was left behind" test -z "$(find . -name '.?*')"
done

# ---- a page that cannot be written at the end: the message says that the output is complete ----
mkdir pages
take_pages() { rm -r pages; }
race take_pages 4 prune tiny-qwen2 -o o --html pages/o.html --iterations 200
says "pages/o.html"
prints "organ audit tiny-qwen2 o"
judge "the output is not whole" test -f o/organ/prune.json
echo mine >taken
refused 4 "'taken'" prune tiny-qwen2 -o taken/o

# ---- --force replaces an output of organ or a model, and nothing else ----
ends 0 prune tiny-qwen2 -o o --force --quiet --sparsity 20
for what in "thesis.txt" "src/main.c" ".git/HEAD" "organ/notes.txt" "results.csv"; do
    mkdir -p "o/$(dirname "$what")"
    echo mine >"o/$what"
    refused 2 "'$what'" prune tiny-qwen2 -o o --force --quiet
    refused 2 "'$what'" prune tiny-qwen2 -o o --quiet
    refused 2 "'$what'" extract tiny-qwen2 -o o --force --quiet
    refused 2 "'$what'" quantize tiny-qwen2 --scheme fp8-tensor -o o --force --quiet
    refused 2 "'$what'" purify tiny-qwen2 --method haar -o o --force --quiet
    rm "o/$what"
    rm -rf o/src o/.git
done
put_change() { echo thesis >o/thesis.txt; }
race put_change 4 prune tiny-qwen2 -o o --force --iterations 200
says "o-2"
judge "the thesis is lost" test "$(cat o-2/thesis.txt)" = thesis
judge "the thesis is in the output" test ! -e o/thesis.txt
rm -r o-2
mkdir project && echo "# Mine" >project/README.md
refused 2 "'README.md'" prune tiny-qwen2 -o project --force
ln -s o link
refused 2 "symbolic link" prune tiny-qwen2 -o link --force
refused 2 "symbolic link" prune tiny-qwen2 -o link/ --force
echo thesis >thesis.gguf
refused 2 "report" dequantize tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o thesis.gguf --force
# --force replaces a model that organ did not write if its index lists its files and the input has the same other files, also as links into a cache.
cp -rL tiny-qwen2 donor && chmod -R u+w donor && rm donor/calibration.txt donor/heldout.txt donor/reference.json
cp -r donor base && cp -r donor lone
for what in README.md modeling_mine.py tokenizer_thesis.docx .cache/huggingface/download/config.json.metadata original/params.json; do
    mkdir -p "donor/$(dirname "$what")"
    echo mine >"donor/$what"
    refused 2 "'$what'" prune tiny-qwen2 -o donor --force --quiet
    judge "it is lost" test "$(cat "donor/$what")" = mine
    rm "donor/$what" && (cd donor && [[ $what != */* ]] || rmdir -p "${what%/*}") # an empty folder would be the user's, too
done
ends 0 prune tiny-qwen2 -o donor --force --quiet
mkdir snapshot && for file in "$model"/*; do ln -s "$file" snapshot/; done
ends 0 quantize tiny-qwen2 --scheme fp8-tensor -o snapshot --force --quiet
judge "a link was followed" test -f "$model/config.json"
# Two models in one folder that no run has written; one has no index.
mkdir both && cp "$model/../types.gguf" both/a.gguf && cp one.safetensors both/b.safetensors
for verb in "prune tiny-qwen2" "extract tiny-qwen2" "quantize tiny-qwen2 --scheme fp8-tensor" "lora sanitize $model/../tiny-lora" \
    "layers tiny-qwen2 --drop 1-1" "lora merge --base tiny-qwen2 --adapter $model/../tiny-lora" "evaluate tiny-qwen2 base --text tiny-qwen2/heldout.txt" \
    "orthogonality tiny-qwen2 base base"; do
    read -ra words <<<"$verb"
    refused 2 "'a.gguf'" "${words[@]}" -o both --force --quiet
done
judge "a model is lost" test -f both/a.gguf -a -f both/b.safetensors
rm lone/model* && cp one.safetensors lone/model.safetensors
refused 2 "'model.safetensors'" prune tiny-qwen2 -o lone --force
# --force removes a file of the record only while it has the content that the run has written.
for what in README.md modeling_mine.py tokenizer_thesis.docx config.json mine.safetensors; do
    if [[ -e o/$what ]]; then mv "o/$what" was; fi
    cp one.safetensors "o/$what"
    refused 2 "'$what'" prune tiny-qwen2 -o o --force --quiet
    judge "$what is lost" cmp one.safetensors "o/$what"
    rm "o/$what"
    if [[ -e was ]]; then mv was "o/$what"; fi
done
echo '{}' >o/config.json
refused 2 "'config.json'" prune tiny-qwen2 -o o --force
cp tiny-qwen2/config.json o/config.json
ends 0 prune tiny-qwen2 -o o --force --quiet
# The output of a version that wrote neither record nor card.
rm o/organ/files.json o/README.md
ends 0 quantize tiny-qwen2 --scheme fp8-tensor -o o --force --quiet
rm o/organ/files.json
echo "# Mine" >o/README.md
refused 2 "'README.md'" quantize tiny-qwen2 --scheme fp8-tensor -o o --force --quiet
rm o/README.md
ends 0 prune tiny-qwen2 -o o --force --quiet

# ---- an output inside another output, several times ----
ends 0 extract tiny-qwen2 -o apart --quiet
mkdir apart/files/deep && echo mine >apart/files/deep/thesis.txt
refused 2 "'files/deep/thesis.txt'" extract tiny-qwen2 -o apart --force --quiet
mv apart/files/deep/thesis.txt apart/files/README.md && rmdir apart/files/deep
refused 2 "'files/README.md'" extract tiny-qwen2 -o apart --force --quiet
judge "a file is lost" test "$(cat apart/files/README.md)" = mine
rm apart/files/README.md
ends 0 extract tiny-qwen2 -o apart --force --quiet
ends 0 assemble apart -o whole --quiet
ends 0 assemble apart -o whole --force --quiet
here="assemble twice"
judge "not the donor again" diff -r "$model" whole

# ---- reports ----
refused 2 "input base" measure base -o base
refused 2 "input o" measure o -o o
refused 2 "o/reports" measure o -o o/reports
refused 2 "input o" measure o/model-00002-of-00003.safetensors -o o
refused 2 "input o" measure one.safetensors o -o o
refused 2 "input o" autopsy o -o o
refused 2 "input o" autopsy one.safetensors o -o o
mkdir models && cp -rL tiny-qwen2 models/a
refused 2 "models/a/out" fleet models -o models/a/out
refused 2 "o/" inspect o --html o/page.html
refused 2 "o/organ/" audit tiny-qwen2 o --html o/organ/page.html
refused 2 "o/" orthogonality --pair tiny-qwen2 o --pair o tiny-qwen2 --html o/page.html
refused 2 "input o" lora sanitize "$model/../tiny-lora" --base o -o o --force
ends 0 measure one.safetensors -o reports --quiet
ends 0 measure one.safetensors -o reports --quiet
for name in z_report.json Z_MEASURE_REPORT.md Z_MEASURE_REPORT.html; do
    cp "reports/$name" kept && echo mine >"reports/$name"
    refused 2 "reports/$name" measure one.safetensors -o reports
    mv kept "reports/$name"
done
printf '<!doctype html>\n<p>mine</p>\n' >index.html
refused 2 "index.html" inspect o --html index.html
echo '{}' >one.dequantize.json
cat "$model-gguf/tiny-qwen2-Q8_0.gguf" >q8.gguf
refused 2 "one.dequantize.json" dequantize q8.gguf -o one.gguf
refused 2 "one.dequantize.json" dequantize q8.gguf -o one.gguf --force
finish
