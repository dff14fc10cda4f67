#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the program as a whole: output, exit codes, remaining files. Run it from the root after `ninja`; it ends with the line
# "N passed, N failed".
#
#   tests/cli/check_cli.sh            compares with the golden files in tests/cli/
#   tests/cli/check_cli.sh --bless    writes the golden files again; review their diff before the commit
. "$(dirname "$0")/../kit/cli_kit.sh"

# Prints digests of all parts of a pruned model that must not vary.
digests() {
    (cd "$1" && find . -type f ! -path './organ/*' -exec sha256sum {} + | sort -k 2 && sha256sum organ/prune.jsonl)
    steady "$1/organ/prune.json" | sha256sum
    steady "$1/organ/REPORT.md" | sha256sum
}

# ---- help and version ----
ends 0
matches help/start ../out
ends 0 help
matches help/overview ../out
ends 0 --help
matches help/overview ../out
ends 0 help inspect
matches help/help_inspect ../out
ends 0 version
prints "organ 0."
isas=$(sed -n 's/^usable *//p' ../out)
twins= # tables that differ in one kernel alone
if grep -qw avx512 <<<"$isas"; then
    prints "the faster of two on this CPU"
    twins=avx512-mixed
fi
ends 0 --version
prints "the best for this CPU"
for isa in $isas $twins; do
    ORGAN_ISA=$isa ends 0 version
    prints "kernels  $isa, as set by ORGAN_ISA"
    prints "tiles    $isa"
    prints "compute  exact; split "
done
ORGAN_ISA=scalar ends 0 version
prints "compute  exact; split is not available (BF16 products need AVX-512); bf16 is not available (BF16 products need AVX-512)"
ORGAN_ISA=mmx refused 2 "'mmx'" version
ORGAN_ISA=mmx refused 2 "'mmx'" prune tiny-qwen2 -o out
ORGAN_ISA=mmx refused 2 "'mmx'" audit tiny-qwen2 tiny-qwen2

# ---- inspect ----
ends 0 inspect tiny-qwen2
matches inspect/inspect ../out
ends 0 inspect tiny-qwen2/
matches inspect/inspect ../out
COLUMNS=120 ends 0 inspect tiny-qwen2 --tensors --select '*.layers.[13].mlp.*'
matches inspect/inspect_tensors ../out
ends 0 inspect tiny-qwen2 --json
matches_briefly inspect/inspect_json ../out
ends 0 inspect --json --tensors tiny-qwen2/model-00001-of-00003.safetensors
holds ../out '.model.index == null and .by_layer == {roles: ["embed"], layers: [-1], elements: [[655360]], bytes: [[1310720]]}' \
    '.tensors | length == 1' '.tensors[0] | .file == "model-00001-of-00003.safetensors" and .offset == 136 and .layer == null and .shape == [2048, 320]'
LC_ALL=C ends 0 inspect tiny-qwen2/model.safetensors.index.json
if LC_ALL=C grep -q '[^ -~]' ../out; then bad "beyond ASCII without a UTF-8 locale" ../out; else good; fi

# ---- GGUF ----
ends 0 inspect tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
matches inspect/inspect_gguf ../out
ends 0 inspect tiny-qwen2-gguf/tiny-qwen2-BF16-00002-of-00002.gguf
matches inspect/inspect_gguf_split ../out
refused 3 "tiny-qwen2-BF16-00001-of-00002.gguf" inspect tiny-qwen2-gguf
refused 3 "'blk.0.attn_k.weight'" prune tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o out
head -c 100000 tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf >cut.gguf
refused 3 "'token_embd.weight'" inspect cut.gguf
rm cut.gguf
ends 0 prune tiny-qwen2-gguf/tiny-qwen2-BF16-00002-of-00002.gguf -o pruned-gguf --quiet
prints "target: every weight of the pruned tensors  941,591  4,300,800  21.89 %"
judge "both parts are not there" test -f pruned-gguf/tiny-qwen2-BF16-00001-of-00002.gguf -a -f pruned-gguf/tiny-qwen2-BF16-00002-of-00002.gguf
ends 0 audit tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf pruned-gguf --quiet
prints "Passed: the copy equals the donor except for the killed weights, which are zero"
rm -rf pruned-gguf
# The output of a GGUF file is one file, with the bytes that it has in an output directory.
plain=tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
ends 0 dequantize $plain -o plain.gguf --quiet
half=(prune plain.gguf --method magnitude -s 50 --quiet)
ends 0 "${half[@]}" -o half.gguf --dry-run
judge "a dry run wrote something" test -z "$(ls half.* 2>/dev/null)"
ends 0 "${half[@]}" -o half.gguf --evaluate tiny-qwen2/heldout.txt --evaluate-max-tokens 256 --evaluate-context 64
prints "Report:  half.REPORT.md (and .html)"
judge "the evaluation has no figures" jq -e '.evaluation.comparison.kl_divergence > 0 and .run.single_file' half.prune.json
judge "not the files of one output" test "$(echo half.*)" = "half.REPORT.html half.REPORT.md half.gguf half.prune.json half.prune.jsonl"
judge "no line for each tensor" test "$(wc -l <half.prune.jsonl)" = 28
ends 0 "${half[@]}" -o half
judge "the file is not that of a directory" cmp -s half.gguf half/plain.gguf
ends 0 audit plain.gguf half.gguf --quiet
refused 2 "half.gguf" "${half[@]}" -o half.gguf
cp half.gguf before && ends 0 "${half[@]}" -o half.gguf --force
judge "other bytes with --force" cmp -s before half.gguf
# Nobody's file goes for its name: neither one that only looks like a report, nor a report that was changed since organ wrote it.
mkdir kept && cp half.* kept
for name in half.prune.json half.prune.jsonl half.REPORT.md half.REPORT.html; do
    texts=('{"mine": 1}' '# Surgery report: mine' '')
    if in_part && [[ $name != half.prune.json ]]; then texts=('# Surgery report: mine'); fi
    for text in "${texts[@]}"; do
        printf %s "$text" >$name
        refused 2 "$name" "${half[@]}" -o half.gguf --force
        judge "$name is not the user's any more" test "$(<$name)" = "$text"
    done
    sed '0,/a/s/a/b/' kept/$name >$name
    refused 2 "$name" "${half[@]}" -o half.gguf --force
    cp kept/$name $name
done
ends 0 "${half[@]}" -o half.gguf --force
for entry in 'prune.jsonl={' 'journal.jsonl={}' coverage.tiles=mine 'EXPERTS_REPORT.md=# Mine' 'organ/LORA_REPORT.md=# Mine' 'leakage.svg=<svg/>' \
    'organ/prune.json={"schema": "organ.prune/1"}' 'organ/mine.html=<!doctype html>'; do
    printf %s "${entry#*=}" >half/"${entry%%=*}.new" && mv -f half/"${entry%%=*}"{,.former} 2>/dev/null
    mv half/"${entry%%=*}"{.new,}
    refused 2 "'${entry%%=*}'" "${half[@]}" -o half --force
    judge "${entry%%=*} is gone" test "$(<half/"${entry%%=*}")" = "${entry#*=}"
    mv -f half/"${entry%%=*}"{.former,} 2>/dev/null || rm half/"${entry%%=*}"
done
mkdir -p half/drafts/2026
refused 2 "'drafts/2026'" "${half[@]}" -o half --force
judge "the folder is gone" test -d half/drafts/2026
rmdir half/drafts/2026 half/drafts
ends 0 "${half[@]}" -o half --force
for name in page.html prune.jsonl coverage.tiles LORA_REPORT.md leakage.svg; do
    printf '# {"mine": 1}' >$name
    refused 2 "$name" inspect half --html $name
    judge "$name is overwritten" test "$(<$name)" = '# {"mine": 1}'
    rm $name
done
ends 0 inspect half --html page.html
ends 0 inspect half --html page.html
sed -i 's/<title>/<title>mine /' page.html
refused 2 "page.html" inspect half --html page.html
refused 2 "half/organ/prune.json" inspect plain.gguf --html half/organ/prune.json
rm -rf kept page.html
echo '{"mine": 1}' >mine.prune.json
refused 2 "mine.prune.json" "${half[@]}" -o mine.gguf --force
refused 2 "half-2.gguf" prune tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf -o half-2.gguf
refused 2 "half-2.gguf" prune tiny-qwen2 -o half-2.gguf
rm -rf half half.* plain.gguf before mine.prune.json

# ---- prune and audit, the same on every instruction set with any number of threads ----
# The scalar table takes ten times as long as the others, and thirty times under a sanitizer; there the suites prune and purify cover it.
numbers="1 2 7" of_scalar="1 2 7"
if in_part; then numbers="1 7" of_scalar=7; fi
if sampled; then numbers=7 isas=${isas##* } twins=; fi
first=
for isa in $isas $twins; do
    if [[ $isa == scalar && $isas != scalar ]] && in_part; then
        few=(prune tiny-qwen2 --quiet --select '*.0.self_attn.*,*.3.mlp.down_proj.weight')
        ends 0 "${few[@]}" -o vector --threads 1
        ORGAN_ISA=scalar ends 0 "${few[@]}" -o scalar --threads 7
        judge "bytes differ from those of scalar kernels" cmp -s <(digests vector) <(digests scalar)
        rm -r vector scalar
        continue
    fi
    for threads in $([[ $isa == scalar ]] && echo "$of_scalar" || echo "$numbers"); do
        out=out-$isa-$threads
        ORGAN_ISA=$isa ends 0 prune tiny-qwen2 -o "$out" --threads $threads --progress lines
        sed "s/$out/OUT/" ../out >../shown && matches prune/prune ../shown
        matches prune/prune_log ../err
        digests "$out" >"../digests-$out"
        if [[ -z $first ]]; then
            first=$out
        elif cmp -s "../digests-$out" "../digests-$first"; then
            good
        else
            bad "bytes differ from those of $first" "../digests-$out"
        fi
        ORGAN_ISA=$isa ends 0 audit tiny-qwen2 "$out" --threads $threads --quiet --json
        matches_briefly audit/audit_json ../out
        [[ -s ../err ]] && bad "--quiet is not quiet" ../err
        [[ $out == "$first" ]] || rm -rf "$out"
    done
done
mv "$first" pruned
here="organ prune"
matches_briefly prune/prune_json pruned/organ/prune.json
matches prune/prune_jsonl pruned/organ/prune.jsonl
matches prune/REPORT pruned/organ/REPORT.md
judge "the index is not the donor's" cmp -s tiny-qwen2/model.safetensors.index.json pruned/model.safetensors.index.json
judge "something hidden was left behind" test -z "$(find . -name '.?*')"
ends 0 audit tiny-qwen2 pruned
matches audit/audit ../out
ends 0 prune tiny-qwen2 -o other --dry-run
matches prune/prune_dry ../out
judge "a dry run wrote something" test ! -e other
ends 0 prune tiny-qwen2 -o other --json --quiet
matches_briefly prune/prune_json ../out
judge "--quiet is not quiet" test ! -s ../err
ends 0 prune tiny-qwen2 -o other --force --memory 16M --block-size 64 --quiet
prints "in 1,080 tiles"
refused 2 "--sparsity" \
    prune tiny-qwen2 -o percent --dry-run --sparsity 0.3
ends 0 prune tiny-qwen2 -o percent --dry-run --sparsity 0.3%
ends 0 prune tiny-qwen2 -o other --force --quiet --select '*.mlp.*_proj.weight' --sparsity 40
prints "--select '*.mlp.*_proj.weight'"
ends 0 audit tiny-qwen2 other --select '*.mlp.*_proj.weight' --quiet
ends 1 audit pruned tiny-qwen2 --quiet
prints "FAILED: "
rm -r other

# ---- interrupted and resumed: a model of more tensors than a run finishes while its messages are held ----
ln -s "${model%/*}/tiny-moe" tiny-moe
again=()
for signal in INT TERM HUP; do
    interrupted $signal resumed prune tiny-moe -o resumed --iterations 5 "${again[@]}"
    judge "$signal ends it with $code instead of 130" test $code -eq 130
    says "organ prune --resume tiny-moe -o resumed --iterations 5"
    judge "a half model is under the final name" test ! -e resumed
    again=(--resume)
done
resume=$(sed -n 's/^note: to continue: organ //p' ../err)
refused 2 "--resume" prune tiny-moe -o resumed --iterations 5
eval "run $resume"
judge "the command to go on ends with $code" test $code -eq 0
prints ", resumed."
digests resumed >../digests-resumed
ends 0 prune tiny-moe -o whole --iterations 5 --quiet
digests whole >../digests-whole
judge "a resumed run differs from a whole one" cmp -s ../digests-resumed ../digests-whole
judge "something hidden was left behind" test -z "$(find . -name '.?*')"
rm -r resumed whole tiny-moe

# ---- stdout that cannot be written ----
here="organ inspect tiny-qwen2 to a full disk"
"$organ" inspect tiny-qwen2 >/dev/full 2>../err
judge "does not end with 4" test $? -eq 4
says "No space left on device"
here="organ inspect tiny-qwen2 to a closed stream"
"$organ" inspect tiny-qwen2 >&- 2>../err
judge "does not end with 4" test $? -eq 4
here="organ inspect tiny-qwen2 to a reader that goes away"
{ "$organ" inspect tiny-qwen2 --tensors --json 2>../err; echo $? >../code; } | true
judge "does not end with 0" test "$(cat ../code)" = 0
judge "is not silent" test ! -s ../err

# ---- typical mistakes ----
refused 2 "'nf4'" quantize tiny-qwen2 -o no -s nf4
refused 2 "'int4-group32'" quantize tiny-qwen2 -o no -s int4-group16
refused 2 "--method gptq" quantize tiny-qwen2 -o no -s gptq
refused 2 "AWQ" quantize tiny-qwen2 -o no -s AWQ
refused 2 "'int4-group128'" quantize tiny-qwen2 -o no -s W4A16
refused 2 "int8-channel" quantize tiny-qwen2 -o no -s int8
refused 2 "'50'" quantize tiny-qwen2 -o no -s 50
refused 2 "'gptq'" quantize tiny-qwen2 -o no -s int4-group32 --method GPTQ
refused 2 "'gguf'" convert tiny-qwen2 -o no.gguf --to GGUF
refused 2 "'dance'" help dance
refused 2 "'soft'" quantize tiny-qwen2 -o no -s soft
says fp8-block128
refused 2 "'nf4'" quantize tiny-qwen2 -o no -s nf4
judge "a list is with the hint" test "$(grep -c fp8-block128 ../err)" = 0
refused 2 "'Q4_K_M'" prune tiny-qwen2 -o no -s 50 --then Q4_K_M
refused 2 "--sparsity" prune tiny-qwen2 -o no -s int4-group32
refused 2 "tiny-qwen2-Q8_0.gguf" \
    quantize tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o no.gguf -s int4-group32
refused 2 "q4_k" quantize tiny-qwen2 -o no -s q4_k
refused 2 "'Hello'" generate tiny-qwen2 Hello
refused 2 "-o 'out'" quantize tiny-qwen2 out
refused 2 "'out'" quantize tiny-qwen2 out -o no -s q4_k
judge "an option that follows is suggested" test "$(grep -c -- "-o 'out'" ../err)" = 0
refused 2 "'organ inspect tiny-qwen2'" tiny-qwen2
refused 2 "'organ inspect none/model.gguf'" none/model.gguf
refused 2 "--version" -v
refused 2 "'organ quantize'" --quantize tiny-qwen2
refused 2 "--json" --json inspect tiny-qwen2
refused 2 "--nonsense" --nonsense
refused 2 "--model" inspect --model tiny-qwen2
refused 2 "--donor" prune --donor tiny-qwen2 -o no
refused 2 "'--budget'" quantize tiny-qwen2 -b 4
refused 2 "'-c'" prune tiny-qwen2 -c 4
HF_HOME=$PWD/cacheless refused 2 "some/model" \
    inspect some/model
HF_HOME=$PWD/cacheless HF_HUB_OFFLINE=1 refused 2 "--some--model" \
    inspect hf:some/model
refused 4 "tiny-qwen2/none" inspect tiny-qwen2/none
text=tiny-qwen2/heldout.txt
ln -s "${model%/*}/tiny-lora" tiny-lora
adapter="tiny-lora: is a LoRA adapter (of tiny-qwen2), not a model; to make a model: organ lora merge --base tiny-qwen2 --adapter tiny-lora -o MERGED"
for words in "prune tiny-lora -o no -s 50" "quantize tiny-lora -o no -s int4-group32" "dequantize tiny-lora -o no" "convert tiny-lora -o no.gguf --to gguf" \
    "purify tiny-lora -o no --method haar" "audit tiny-qwen2 tiny-lora" "audit tiny-lora tiny-qwen2" "experts tiny-lora -o no --keep 50% --calibration $text" \
    "layers tiny-lora -o no --drop 0-0" "width tiny-lora -o no --ffn 50% --calibration $text" "graft --source tiny-lora --target tiny-qwen2 -o no" \
    "perplexity tiny-lora --text $text" "perplexity tiny-qwen2 --compare tiny-lora --text $text" "evaluate tiny-qwen2 tiny-lora --text $text" "generate tiny-lora -p a" \
    "tokenize tiny-lora --text $text" "lora merge --base tiny-lora --adapter tiny-lora -o no" "lora extract --base tiny-lora --tuned tiny-qwen2 -o no"; do
    # shellcheck disable=SC2086
    refused 3 "$adapter" $words
done
refused 3 "tiny-lora/adapter_model.safetensors" prune tiny-lora/adapter_model.safetensors -o no -s 50
for words in "inspect tiny-lora" "measure tiny-lora" "autopsy tiny-lora" "extract tiny-lora -o kinds"; do
    # shellcheck disable=SC2086 # the words of a command line
    ends 0 $words
    says "tiny-lora"
done
ends 0 inspect tiny-lora --quiet
judge "a note in spite of --quiet" test ! -s ../err
ends 0 lora sanitize tiny-lora --base tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o tiny-lora-gguf --quiet
refused 3 "organ lora merge --base BASE --adapter" prune tiny-lora-gguf/adapter_model.gguf -o no.gguf -s 50
rm -rf tiny-lora-gguf kinds

# ---- wrong usage ----
refused 2 "'prune'" prun
refused 2 "'dance'" help dance
refused 2 "'audit'" help prune audit
for verb in inspect prune audit measure purify extract assemble graft fleet version help; do
    refused 2 "--nonsense" $verb --nonsense
done
refused 2 "MODEL" inspect
refused 2 "DONOR" prune -o out
refused 2 "-o OUT" prune tiny-qwen2
refused 2 "PRUNED" audit tiny-qwen2
refused 2 "'b'" inspect a b
refused 2 "'15'" prune tiny-qwen2 -o out --block-size 15
refused 2 "'two'" prune tiny-qwen2 -o out --beta two
refused 2 "'1M'" prune tiny-qwen2 -o out --memory 1M
refused 2 "'0'" audit tiny-qwen2 pruned --threads 0
refused 2 "'*.nothing'" prune tiny-qwen2 -o out --select '*.nothing'
refused 2 "'*.nothing'" audit tiny-qwen2 pruned --select '*.nothing'

# ---- measure, the same on every instruction set with any number of threads ----
ends 0 measure tiny-qwen2 --quiet
matches measure/measure ../out
COLUMNS=100 ends 0 measure tiny-qwen2 --select attention,1-2 --tensors --quiet
matches measure/measure_tensors ../out
ends 0 measure tiny-qwen2 --quiet --json
matches_briefly measure/measure_json ../out
for isa in $isas; do
    for threads in $numbers; do
        ORGAN_ISA=$isa ends 0 measure tiny-qwen2 --quiet --json --threads $threads
        matches_briefly measure/measure_json ../out
    done
done
ends 0 measure tiny-qwen2 pruned tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o measured --quiet
matches measure/measure_models ../out
[[ -s ../err ]] && bad "--quiet is not quiet" ../err
here="organ measure -o"
matches measure/Z_MEASURE_REPORT measured/Z_MEASURE_REPORT.md
judge "the report is not in z_report.json" grep -q '"schema": "organ.measure/1"' measured/z_report.json
ends 0 measure tiny-qwen2 --quiet --definition seed
matches measure/measure_seed ../out
ends 0 measure tiny-qwen2 tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --quiet --definition seed
matches measure/measure_seed_models ../out
ends 0 measure tiny-qwen2 --quiet --json --definition seed --select norm
judge "the older measure is not in the report" test "$(jq -r '.models[0].seed | [.definition, .tensors, (.per_tensor | length)] | join(" ")' ../out)" = "seed/1 9 9"
ends 0 measure tiny-qwen2 --quiet --json --definition z --select norm
judge "the older measure is there unasked" test "$(jq '.models[0] | has("seed")' ../out)" = false
ends 0 measure tiny-qwen2 --quiet -o seeded --definition seed
judge "the page does not show the older measure" grep -q "The older measure" seeded/Z_MEASURE_REPORT.html
rm -rf seeded
refused 2 "'y'" measure tiny-qwen2 --definition y
refused 2 "MODEL" measure
refused 2 "'liver'" measure tiny-qwen2 --select liver
refused 2 "--select" inspect tiny-qwen2 --select 9
refused 2 "'up_prj'" inspect tiny-qwen2 --select q_proj,up_prj
refused 2 "'norm'" measure tiny-qwen2 --select nrom
refused 2 "'9-'" measure tiny-qwen2 --select 9-
refused 2 "--select" measure tiny-qwen2 --select organ,,norm
refused 2 "--select" measure tiny-qwen2 --select 9
refused 2 "pruned/config.json" measure tiny-qwen2 -o pruned/config.json
refused 4 "nowhere" measure tiny-qwen2 nowhere -o unmade
refused 4 "none/out" measure tiny-qwen2 -o none/out
ORGAN_ISA=mmx refused 2 "'mmx'" measure tiny-qwen2

# ---- models behind URLs; tests/formats/remote tests the answers of servers ----
refused 2 "URL" measure http://
refused 2 "http://127.0.0.1/.x" measure http://127.0.0.1/.x
refused 2 "header 1" measure http://127.0.0.1:9/x.gguf --header hush
if grep -q hush ../err; then bad "a secret was printed" ../err; else good; fi
refused 2 "--header" measure tiny-qwen2 --header
ends 4 measure http://me:hush@127.0.0.1:9/x.gguf?hush=hush
judge "does not name the URL" grep -q '^error: .*http://127.0.0.1:9/x.gguf' ../err
if grep -q hush ../err; then bad "a secret was printed" ../err; else good; fi
# libcurl is loaded for URLs only, because loading it takes as long as the rest of the start.
if grep -q libcurl < <(ldd "$organ"); then bad "libcurl is loaded at every start"; else good; fi
mkdir ../libraries && echo none >../libraries/libcurl.so.4
export LD_LIBRARY_PATH=$scratch/libraries
refused 4 "URL" inspect http://127.0.0.1:9/x.gguf
ends 0 inspect tiny-qwen2
unset LD_LIBRARY_PATH

# ---- purify, the same on every instruction set with any number of threads ----
first=
for isa in $isas; do
    for threads in $([[ $isa == scalar ]] && echo "${of_scalar/ 2/}" || echo "${numbers/ 2/}"); do
        out=pure-$isa-$threads
        ORGAN_ISA=$isa ends 0 purify tiny-qwen2 -o "$out" --method haar --threads $threads --quiet
        sed "s/$out/OUT/" ../out >../shown && matches purify/purify ../shown
        [[ -s ../err ]] && bad "--quiet is not quiet" ../err
        first=${first:-$out}
        for shard in tiny-qwen2/*.safetensors; do
            judge "bytes differ from those of $first" cmp -s "$out/${shard#*/}" "$first/${shard#*/}"
        done
        sed "s/$out/OUT/" "$out/organ/purify.json" >../shown && matches_briefly purify/purify_json ../shown
        sed "s/$out/OUT/" "$out/organ/PURIFY_REPORT.md" >../shown && matches purify/PURIFY_REPORT ../shown
        [[ $out == "$first" ]] || rm -r "$out"
    done
done
ends 0 inspect "$first"
rm -r "$first"
ends 0 purify tiny-qwen2 -o out --method fft --strength 0 --quiet
for shard in tiny-qwen2/*.safetensors; do
    judge "strength 0 changes $shard" cmp -s "$shard" "out/${shard#*/}"
done
ends 0 purify tiny-qwen2 -o out --force --method fft --threshold 0.1 --select feed-forward,1-2 --quiet
prints "by fft, threshold 0.1, strength 0.1; tensors of type feed-forward in layers 1-2"
if grep -q WARNING ../out; then bad "warns of little" ../out; else good; fi
rm -r out
ends 0 purify tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o pure.gguf --method haar --quiet --json
judge "the reports are not beside the file" test -e pure.purify.json -a -e pure.PURIFY_REPORT.md
ends 0 inspect pure.gguf
rm pure.*
# A file with a matrix of 3 x 256 numbers in F32 and a row of 256 in Q2_K, which organ does not write.
le() { for ((at = 0; at < $1; at++)); do printf -v byte '\\x%02x' $(($2 >> 8 * at & 255)) && printf '%b' "$byte"; done; }
word() { le 8 ${#1} && printf %s "$1"; }
{
    printf GGUF && le 4 3 && le 8 2 && le 8 1
    word general.architecture && le 4 8 && word llama
    word blk.0.ffn_up.weight && le 4 2 && le 8 256 && le 8 3 && le 4 0 && le 8 0
    word blk.0.ffn_down.weight && le 4 2 && le 8 256 && le 8 1 && le 4 10 && le 8 3072
} >some.gguf
head -c $(((32 - $(stat -c %s some.gguf) % 32) % 32 + 3072 + 84)) /dev/zero >>some.gguf
ends 0 purify some.gguf -o pure.gguf --method haar
says "Q2_K"
says "organ dequantize some.gguf -o OUT.gguf"
ends 0 purify some.gguf -o pure.gguf --method haar --quiet --force
judge "--quiet is not quiet" test ! -s ../err
rm pure.* some.gguf
ends 0 purify tiny-qwen2 -o out --method haar --dry-run
matches purify/purify_dry ../out
judge "a dry run wrote something" test ! -e out
refused 2 "--method" purify tiny-qwen2 -o out
refused 2 "-o OUT" purify tiny-qwen2 --method haar
refused 2 "'dwt'" purify tiny-qwen2 -o out --method dwt
refused 2 "'2'" purify tiny-qwen2 -o out --method haar --strength 2
refused 2 "--threshold" purify tiny-qwen2 -o out --method haar --threshold -1
refused 2 "liver" purify tiny-qwen2 -o out --method haar --select liver
refused 2 "--select" purify tiny-qwen2 -o out --method haar --select 9
refused 2 "out.gguf" purify tiny-qwen2 -o out.gguf --method haar
refused 2 "exists" purify tiny-qwen2 -o pruned --method haar
refused 2 "tiny-qwen2" purify tiny-qwen2 -o tiny-qwen2 --method haar
refused 4 "nowhere" purify nowhere -o out --method haar

# ---- paths of inputs and outputs ----
refused 2 "pruned" prune tiny-qwen2 -o pruned
cp -rL tiny-qwen2 donor && chmod -R u+w donor
refused 2 "input donor" prune donor -o donor
refused 2 "input donor" prune donor -o donor --force
refused 2 "input donor" prune donor -o ./donor/../donor/ --force
refused 2 "input donor" prune donor -o donor/out
refused 2 "donor" prune donor -o . --force
refused 4 "none/out" prune donor -o none/out
refused 4 "/proc/" prune donor -o /proc/out
refused 4 "nowhere" inspect nowhere
refused 4 "nowhere" prune nowhere -o out
refused 4 "nowhere" audit nowhere pruned
refused 4 "nowhere" audit donor nowhere
if ((EUID != 0)); then
    mkdir sealed && chmod a-w sealed
    refused 4 "sealed" prune donor -o sealed/out
    rmdir sealed
fi

# ---- bad models ----
# poke FILE OFFSET BYTES: overwrites bytes of a file.
poke() { printf '%b' "$3" | dd of="$1" bs=1 seek="$2" conv=notrunc status=none; }

# broken THING: checks that every verb rejects the model in "donor", then restores it.
broken() {
    refused 3 "$1" inspect donor
    refused 3 "$1" prune donor -o out
    refused 3 "$1" audit donor pruned
    refused 3 "$1" measure donor
    refused 3 "$1" purify donor -o out --method haar
    refused 3 "$1" audit tiny-qwen2 donor
    rm -r donor && cp -rL tiny-qwen2 donor && chmod -R u+w donor
}
printf 'tiny' >donor/model-00002-of-00003.safetensors
broken "model-00002-of-00003.safetensors"
poke donor/model-00002-of-00003.safetensors 7 '\x7f'
broken "model-00002-of-00003.safetensors"
poke donor/model-00002-of-00003.safetensors 8 '['
broken "model-00002-of-00003.safetensors"
truncate -s -2 donor/model-00003-of-00003.safetensors
broken "model-00003-of-00003.safetensors"
rm donor/model-00003-of-00003.safetensors
broken "model-00003-of-00003.safetensors"
echo '{"weight_map": 3}' >donor/model.safetensors.index.json
broken "model.safetensors.index.json"
echo '{"num_hidden_layers": -1}' >donor/config.json
broken "config.json"

# prune finds a weight that is NaN when it reads the tile; it leaves no output.
size=$(stat -c %s donor/model-00002-of-00003.safetensors)
poke donor/model-00002-of-00003.safetensors $((size / 2 & ~1)) '\xff\x7f\xff\x7f'
refused 3 "model-00002-of-00003.safetensors" prune donor -o out --quiet
cp -f tiny-qwen2/model-00002-of-00003.safetensors donor/ && chmod u+w donor/*

# Faults that only inspect searches for.
sed -i 's/"num_hidden_layers": 4/"num_hidden_layers": 6/' donor/config.json
ends 3 inspect donor
prints "PROBLEM  config.json: num_hidden_layers is 6"
says "num_hidden_layers"
mkdir empty
refused 3 "model.safetensors.index.json" inspect empty
refused 3 "model.safetensors.index.json" prune empty -o out

# ---- audit compares every byte ----
cp -r pruned copy
size=$(stat -c %s copy/model-00001-of-00003.safetensors)
poke copy/model-00001-of-00003.safetensors $((size - 1)) '\x01'
ends 1 audit tiny-qwen2 copy --quiet
prints "model.embed_tokens.weight"
says "error: "
cp pruned/model-00001-of-00003.safetensors copy/
size=$(stat -c %s copy/model-00002-of-00003.safetensors)
poke copy/model-00002-of-00003.safetensors $((size / 2)) '\x12\x34\x12\x34'
ends 1 audit tiny-qwen2 copy --quiet
prints "PROBLEM"
prints "FAILED: "
ends 1 audit tiny-qwen2 copy --quiet --json
prints '"changed": 2'
cp pruned/model-00002-of-00003.safetensors copy/
ends 0 audit tiny-qwen2 copy --quiet

# ---- extract and assemble ----
split=tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
ends 0 extract tiny-qwen2 -o apart --dry-run --quiet
matches extract/extract_dry ../out
judge "a dry run wrote something" test ! -e apart
ends 0 extract tiny-qwen2 -o apart --quiet
matches extract/extract ../out
here="organ extract"
matches_briefly extract/manifest apart/manifest.json
ends 0 assemble apart -o together --quiet
matches assemble/assemble ../out
judge "not the donor again" diff -r tiny-qwen2/ together
rm -r together
ends 0 extract tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf -o apart --force --json --quiet
matches extract/extract_json ../out
ends 0 inspect apart
matches inspect/inspect_apart ../out
ends 0 assemble apart -o together.gguf --json --quiet
matches assemble/assemble_json ../out
judge "not the donor again" cmp -s tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf together.gguf
ends 0 extract $split -o split --quiet
ends 0 assemble split -o together --quiet
for part in together/*; do judge "not the donor again: $part" cmp -s "$part" "tiny-qwen2-gguf/${part#*/}"; done
ends 0 assemble $split -o merged.gguf --quiet
prints "merged into one with a new header"
printf '\1' | dd of=apart/organs/blk_0_ffn_up.bin bs=1 seek=9 conv=notrunc status=none
ends 0 assemble apart -o together.gguf --force --quiet
prints "1 tensor was changed since extraction:"
prints "blk.0.ffn_up.weight"
ends 0 graft --source tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --target merged.gguf --select feed-forward,1-2 -o part.gguf --quiet
matches graft/graft_part ../out
ends 0 graft --source tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --target merged.gguf --select feed-forward,1-2 -o other.gguf --quiet --json
matches_briefly graft/graft_part_json ../out
judge "the same graft twice is not the same" cmp -s part.gguf other.gguf
# the command of older versions
ends 0 chimera --base merged.gguf --donor tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --take organ --layers 1-2 -o former.gguf --quiet
judge "chimera does not make the bytes of graft" cmp -s part.gguf former.gguf
ends 0 graft --source tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --target merged.gguf --select gate_proj,up_proj,'blk.*.ffn_down*',1-2 -o roles.gguf --quiet
judge "the roles of a feed-forward are not the feed-forward" cmp -s part.gguf roles.gguf
ends 0 graft --source tiny-qwen2 --target merged.gguf --output again.gguf --quiet
matches graft/graft ../out
judge "the same weights from the other format are not the same" cmp -s again.gguf merged.gguf
ends 3 graft --source apart --target merged.gguf -o none.gguf --select 2-9 --map 2-9:6-13 --quiet
matches graft/graft_mismatch ../out
says "layers 2-9"
judge "something was written" test ! -e none.gguf
refused 2 "-o DIR" extract tiny-qwen2
refused 2 "DIR" assemble -o x.gguf
refused 2 "--target" graft --source apart -o x.gguf
refused 2 "--target" chimera --donor merged.gguf -o x.gguf
refused 2 "'brain'" graft --source apart --target merged.gguf -o x.gguf --select brain
refused 2 "'3-'" graft --source apart --target merged.gguf -o x.gguf --layers 3-
refused 2 "apart" extract tiny-qwen2 -o apart
refused 2 "merged.gguf" extract merged.gguf -o merged.gguf --force
refused 2 "apart/x" assemble apart -o apart/x --force
refused 2 "merged.gguf" graft --source apart --target merged.gguf -o merged.gguf --force
refused 2 "x.safetensors" assemble apart -o x.safetensors
refused 3 "apart" prune apart -o x
refused 4 "nowhere" extract nowhere -o x
rm apart/norm/output_norm.bin
refused 3 "norm/output_norm.bin" assemble apart -o x.gguf
refused 3 "norm/output_norm.bin" inspect apart
sed -i 's,"file": "norm/output_norm.bin","file": "../../tiny-qwen2/config.json",' apart/manifest.json
refused 3 "'../../tiny-qwen2/config.json'" assemble apart -o x.gguf
judge "something hidden was left behind" test -z "$(find . -name '.?*')"

# ---- control characters in names of tensors do not reach the terminal ----
mkdir hostile
header='{"a\u001b[2J|b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}'
{ printf '\x41\0\0\0\0\0\0\0%s' "$header" && printf '\0\0\0\0'; } >hostile/model.safetensors
ends 0 inspect hostile --tensors
prints 'a\x1b[2J|b'
if grep -q "$(printf '\033')" ../out ../err; then bad "an escape character was printed" ../out; else good; fi

finish
