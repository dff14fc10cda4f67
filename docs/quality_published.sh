# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# Rows of docs/quality.tsv for published models, which bench/published.sh fetches. docs/make_quality.sh sources this file after
# docs/quality_kit.sh. In these rows, the columns that are empty there have seconds of the processor and KiB of peak memory of the run that makes
# the model.
published=(smollm2 gemma3)
store=${ORGAN_PUBLISHED:-${XDG_CACHE_HOME:-$HOME/.cache}/organ-published}

# Columns: models | name | levels (the sparsities of a pruning, "-" for others) | verb and options. {gguf} marks runs on the donor as GGUF.
published_ways() {
    cat <<'END'
all|magnitude|30 50 70|prune --method magnitude --sparsity LEVEL
all|physarum-v1|30 50 70|prune --method physarum-v1 --sparsity LEVEL
all|wanda|30 50 70|prune --method wanda --sparsity LEVEL CALIBRATED
all|sparsegpt|30 50 70|prune --method sparsegpt --sparsity LEVEL CALIBRATED
smollm2|physarum-v2|50|prune --method physarum-v2 --sparsity LEVEL CALIBRATED
all|physarum-v3|30 50 70|prune --method physarum-v3 --sparsity LEVEL CALIBRATED
smollm2|fp8-channel|-|quantize --scheme fp8-channel
all|int8-channel|-|quantize --scheme int8-channel
all|int8-channel, smoothed|-|quantize --scheme int8-channel --smooth auto CALIBRATED
all|int4-group32|-|quantize --scheme int4-group32
all|int4-group32, gptq|-|quantize --scheme int4-group32 --method gptq CALIBRATED
smollm2|int4-group64|-|quantize --scheme int4-group64
smollm2|int4-group64, gptq|-|quantize --scheme int4-group64 --method gptq CALIBRATED
smollm2|int3-group32, gptq|-|quantize --scheme int3-group32 --method gptq CALIBRATED
all|q8_0|-|{gguf} quantize --scheme q8_0
all|q6_k|-|{gguf} quantize --scheme q6_k
smollm2|q5_k|-|{gguf} quantize --scheme q5_k
all|q4_k|-|{gguf} quantize --scheme q4_k
smollm2|q4_k, gptq|-|{gguf} quantize --scheme q4_k --method gptq CALIBRATED
smollm2|q4_1|-|{gguf} quantize --scheme q4_1
all|q4_0|-|{gguf} quantize --scheme q4_0
all|width, 75 % of the channels|-|width --ffn 75% CALIBRATED
smollm2|layers, 27 of 30|-|layers --drop 3 --rounds 0 CALIBRATED
smollm2|layers, 27 of 30, refitted|-|layers --drop 3 --rounds 0 --refit CALIBRATED
gemma3|layers, 16 of 18|-|layers --drop 2 --rounds 0 CALIBRATED
END
}
# Schemes in blocks like those of the published files (Q4_1, Q4_K; q5_k stores Q5_1 in rows of 576): they lose less than on other weights.
flattered="^(int4-group|q4_|q5_)"

# Sets the donors of a published model, which it makes in $store, and its protocol.
describe_published() {
    base=$1 samples=32 tokens=20480
    [[ $base != gemma3 ]] || samples=16 tokens=8192
    donor=$store/$base donor_gguf=$store/$base-bf16.gguf
    ORGAN_PUBLISHED=$store bench/published.sh "$base" text
    [[ -e $donor ]] || "$organ" convert "$store/$base.gguf" -o "$donor" --to safetensors --quiet >/dev/null
    [[ -e $donor_gguf ]] || "$organ" convert "$donor" -o "$donor_gguf" --to gguf --quiet >/dev/null
}

# make_published NAME LEVEL COMMAND: makes the model of a row and adds it to $pending, if $lines lacks the row.
pending=()
make_published() {
    local name=$1 level=$2 command=$3 from=$donor out=$scratch/out${#pending[@]} user system peak
    [[ $command != "{gguf} "* ]] || { from=$donor_gguf out+=.gguf && command=${command#"{gguf} "}; }
    command=${command//LEVEL/$level}
    command=${command//CALIBRATED/--calibration "$store/calib.txt" --samples $samples --context 512}
    echo "$base: $command"
    # shellcheck disable=SC2086 # the command is words
    /usr/bin/time -o "$scratch/time" -f '%U %S %M' "$organ" ${command%% *} "$from" -o "$out" ${command#* } --threads 1 --force --quiet \
        >/dev/null </dev/null
    read -r user system peak <"$scratch/time"
    pending+=("$name"$'\t'"$level"$'\t'"$out"$'\t'"$(jq -n "$user + $system")"$'\t'"$peak")
    ((${#pending[@]} < 6)) || score_published
}

# Scores the models of $pending against the donor in one run, adds their lines and removes them.
score_published() {
    local row out outs=() names=() k=0
    ((${#pending[@]})) || return 0
    for row in "${pending[@]}"; do
        out=$(cut -f 3 <<<"$row")
        outs+=("$out") names+=(--experiment "e$((k++))=$out")
    done
    "$organ" evaluate "$donor" "${outs[@]}" "${names[@]}" --text "$store/held.txt" --context 512 --max-tokens $tokens --threads 1 --json \
        --quiet | jq -r ".models[1:][] | $jq_figures + $jq_alone | @tsv" >"$scratch/scores"
    (($(wc -l <"$scratch/scores") == k))
    printf '%s\n' "${pending[@]}" | paste - "$scratch/scores" |
        awk -F '\t' -v OFS='\t' -v base="$base" '{ print base, $1, $2, $6, $7, $8, $9, $4, $5 ($11 == "" ? "" : OFS $10 OFS $11) }' >>"$lines"
    rm -rf "${outs[@]}" "$scratch"/out*
    pending=()
}

is_missing() { ! grep -qxF "$base"$'\t'"$1"$'\t'"$2" < <(cut -f1-3 "$lines"); }

# Calls the command with "NAME LEVEL COMMAND" for each row of the model $base that $lines lacks.
for_missing() {
    local models name levels level command
    while IFS='|' read -r models name levels command; do
        [[ $models == all || $models == "$base" ]] || continue
        for level in $levels; do
            ! is_missing "$name" "$level" || "$1" "$name" "$level" "$command" </dev/null
        done
    done < <(published_ways)
}

# Fetches the model only if a row is missing.
measure_published() {
    base=$1
    [[ -n $(for_missing echo) ]] || return 0
    describe_published "$base"
    for_missing make_published
    score_published
}

# Prints the tables of a published model: prunings by sparsity, then schemes and cuts. Time and memory of a pruning are those at 50 %.
published_table() {
    published_ways | cut -d '|' -f 2 | awk -F'\t' -v base="$1" -v flattered="$flattered" '
        function cost(name, level) { return sprintf(" %.1f | %.0f |", seconds[name, level], peak[name, level] * 1024 / 1e6) }
        FILENAME == "-" { order[++n] = $1; next }
        $1 == base { bytes[$2, $3] = $4; rise[$2, $3] = $6; kl[$2, $3] = $7; seconds[$2, $3] = $8; peak[$2, $3] = $9; alone[$2, $3] = $11
            if ($3 == "-") schemes[$2]; else methods[$2] }
        END {
            print "| method | 30 % | 50 % | 70 % | processor, s | memory, MB |\n|---|--:|--:|--:|--:|--:|"
            for (j = 1; j <= n; j++) if (order[j] in methods) {
                printf "| %s |", order[j]
                for (level = 30; level <= 70; level += 20)
                    if ((order[j], level) in kl) printf " %.1f (%.3f) |", rise[order[j], level], kl[order[j], level]; else printf " |"
                print (order[j], 50) in kl ? cost(order[j], 50) : " | |"
            }
            print "\n| scheme or cut | size, MB | perplexity, % | KL | KL, weights alone | processor, s | memory, MB |\n|---|--:|--:|--:|--:|--:|--:|"
            for (j = 1; j <= n; j++) if (order[j] in schemes)
                printf "| %s%s | %.0f | %+.2f | %.4f | %s |%s\n", order[j], order[j] ~ flattered ? " †" : "", bytes[order[j], "-"] / 1e6,
                    rise[order[j], "-"], kl[order[j], "-"], alone[order[j], "-"] == "" ? "" : sprintf("%.4f", alone[order[j], "-"]), cost(order[j], "-")
        }' - "$lines"
}
