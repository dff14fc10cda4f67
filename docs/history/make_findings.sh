#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Writes the tables of docs/history/findings.txt, between <!-- NAME --> and <!-- /NAME -->, by running build/organ on the fixtures.
#   docs/history/make_findings.sh [--check] [NAME...]
# Without names it writes all tables. --check writes nothing, prints the differences and exits with 1 if there are any. Needs bash and jq.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
organ=$root/build/organ
page=$root/docs/history/findings.txt
fixture=$root/fixtures/tiny-qwen2
q8=$root/fixtures/tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
check=false
[[ ${1:-} == --check ]] && check=true && shift
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"

# ---- models: each is made at its first use ----

quiet() { "$organ" "$@" --quiet >/dev/null; }
need() {
    local model
    for model in "$@"; do
        [[ -e $model ]] && continue
        case $model in
        v1) quiet prune "$fixture" -o v1 ;;
        magnitude) quiet prune "$fixture" -o magnitude --method magnitude --sparsity 21.89 ;;
        v2) quiet prune "$fixture" -o v2 --method physarum-v2 --sparsity 21.89 --calibration "$fixture/calibration.txt" --samples 16 --context 128 ;;
        tuned) quiet lora merge --base "$fixture" --adapter "$root/fixtures/tiny-lora" -o tuned ;;
        fp8) quiet quantize "$fixture" -o fp8 --scheme fp8-block128 ;;
        int4) quiet quantize "$fixture" -o int4 --scheme int4-group32 ;;
        tuned-fp8) need tuned && quiet quantize tuned -o tuned-fp8 --scheme fp8-block128 ;;
        tuned-int4) need tuned && quiet quantize tuned -o tuned-int4 --scheme int4-group32 ;;
        fp8-plain) need fp8 && quiet dequantize fp8 -o fp8-plain ;;
        int4-plain) need int4 && quiet dequantize int4 -o int4-plain ;;
        int4-swapped) need int4 && swap_nibbles int4 int4-swapped ;;
        adapter) need tuned && quiet lora extract --base "$fixture" --tuned tuned -o adapter --rank 4 ;;
        esac
    done
}

# Swaps the two nibbles of each byte, to imitate a file whose writer put the high nibble first.
swap_nibbles() {
    local file=$2/model.safetensors header from to packed k set1='' set2='' size
    cp -r "$1" "$2"
    header=$(od -An -tu8 -N8 "$1/model.safetensors" | tr -d ' ')
    for ((k = 0; k < 256; k++)); do
        printf -v set1 '%s\\%03o' "$set1" "$k"
        printf -v set2 '%s\\%03o' "$set2" $((k % 16 * 16 + k / 16))
    done
    head -c $((8 + header)) "$1/model.safetensors" >"$file"
    while read -r from to packed; do
        size=$((to - from))
        tail -c +$((8 + header + from + 1)) "$1/model.safetensors" | head -c "$size" |
            if [[ $packed == true ]]; then LC_ALL=C tr "$set1" "$set2"; else cat; fi >>"$file" || true
    done < <(head -c $((8 + header)) "$1/model.safetensors" | tail -c "$header" |
        jq -r 'del(.__metadata__) | to_entries | sort_by(.value.data_offsets[0])[] | [.value.data_offsets[], (.key | endswith("weight_packed"))] | @tsv')
}

# Prints tab-separated rows as a Markdown table. The first line is the head; all columns but the first are right-aligned.
markdown() { awk -F'\t' '{ printf "|"; for (i = 1; i <= NF; i++) printf " %s |", $i; print "" } NR == 1 { printf "|---|"; for (i = 2; i <= NF; i++) printf "--:|"; print "" }'; }
measure() { "$organ" measure "$@" --definition seed --json --quiet; }

# Prints the perplexity of models on the first tokens of the held-out text. Arguments: pairs NAME MODEL.
costs() {
    local names=() models=() named=() # each model is an experiment of its own
    while (($#)); do
        names+=("$1") models+=("$2") named+=(--experiment "$2=$2")
        need "$2"
        shift 2
    done
    printf 'model\tperplexity\tdifference\tKL, nats a token\ttop-1, %%\n'
    "$organ" evaluate "$fixture" "${models[@]}" "${named[@]}" --text "$fixture/heldout.txt" --context 256 --max-tokens 12800 --json --quiet |
        jq -r '.models[] | [.figures.perplexity, (.comparison // {ratio: 1} | (.ratio - 1) * 100), .comparison.kl_divergence // 0, (.comparison.top1_agreement // 1) * 100] | @tsv' |
        paste <(printf '%s\n' "the fixture" "${names[@]}") - |
        awk -F'\t' '{ printf "%s\t%.2f\t%+.2f %%\t%.4f\t%.1f\n", $1, $2, $3, $4, $5 }'
}

# ---- tables ----
# autopsy exits with 1 if it finds something, which is expected here.

table_arithmetic() {
    jq -nr '
        {"mlp.down_proj": [1901068288, 426068415], "mlp.gate_proj": [1901068288, 421099975], "mlp.up_proj": [1901068288, 419952080],
         "self_attn.k_proj": [51380224, 11914046], "self_attn.o_proj": [359661568, 78357784], "self_attn.q_proj": [359661568, 81377034],
         "self_attn.v_proj": [51380224, 11334279]} as $p
        | [402974047, 250461586, 394595552, 402072428] as $shards
        | def verdict($claimed): if . == $claimed then "agrees" else "does not agree: \(.)" end;
        ["statement", "claimed", "computed from the rest"],
        ["weights of the targets", 6525288448, ([$p[][0]] | add | verdict(6525288448))],
        ["killed, summed over projections", 1450103613, ([$p[][1]] | add | verdict(1450103613))],
        ["killed, summed over shards", 1450103613, ($shards | add | verdict(1450103613))],
        ["killed of the targets, %", 22.22, (1450103613 / 6525288448 * 10000 | round / 100 | verdict(22.22))],
        ["killed of the full model, %", 19.04, (1450103613 / 7615616512 * 10000 | round / 100 | verdict(19.04))],
        ["not targets, % of the model", 14.32, ((1 - 6525288448 / 7615616512) * 10000 | round / 100 | verdict(14.32))],
        ["bytes of the model in BF16", 15231233024, (7615616512 * 2 | verdict(15231233024))]
        | map(tostring) | @tsv' | markdown
}

table_rate() {
    need v1
    jq -r '["projection", "tensors", "mean, %", "least, %", "most, %"], (.projections[] | [.name, .tensors, .mean, .min, .max])
        | @tsv' v1/organ/prune.json | awk -F'\t' 'NR == 1 { print; next } { printf "%s\t%d\t%.2f\t%.2f\t%.2f\n", $1, $2, $3, $4, $5 }' | markdown
    jq -r '.totals | "\n\(.target.killed) of \(.target.elements) target weights were killed (\(.target.percent * 100 | round / 100) %), \(.full.percent * 100 | round / 100) % of all \(.full.elements) weights of the model."' v1/organ/prune.json
}

table_cost() { costs "physarum v1" v1 "magnitude, the same share" magnitude "physarum v2, the same share" v2 | markdown; }

table_theta() {
    measure "$fixture" | jq -r '.models[0].seed as $s
        | def group(name): $s.groups[] | select(.group == name);
        [$s.roles[] | select(.role | IN("q_proj", "k_proj", "v_proj", "o_proj"))] as $attention
        | {theta_mean: ($attention | map(.theta_mean) | add / length), z_theta_mean: ($attention | map(.z_theta_mean) | add / length)} as $attention
        | [["norms", "75 to 84", group("norm")], ["attention (q, k, v, o)", "39 to 56", $attention], ["feed-forward", "34 to 52", group("organ")],
           ["embedding", "25 to 47", group("embed")], ["all tensors", "36 to 52", $s]][] | [.[0], .[1], .[2].theta_mean, .[2].z_theta_mean] | @tsv' |
        awk -F'\t' 'BEGIN { print "part\tclaimed\tseed/1\tz/1" } { printf "%s\t%s\t%.1f\t%.1f\n", $1, $2, $3, $4 }' | markdown
}

table_storage() {
    need fp8-plain int4-plain
    local model name
    printf 'stored as\tseed/1\tz/1\n'
    while IFS='|' read -r model name; do
        measure "$model" | jq -r --arg name "$name" '[.models[0].seed.roles[] | select(.role | endswith("proj"))] | [$name, (map(.theta_mean) | add / length), (map(.z_theta_mean) | add / length)] | @tsv'
    done <<<"$fixture|BF16
$q8|Q8_0 of GGUF
fp8-plain|FP8, blocks of 128 x 128
int4-plain|INT4, groups of 32" | awk -F'\t' '{ printf "%s\t%.1f\t%.1f\n", $1, $2, $3 }'
}

table_scale() {
    jq -nr '
        [["SmolLM2-135M", 0.135, 52.28], ["DeepSeek-R1-Distill-14B", 14.8, 46.01], ["Qwen2.5-3B", 3.09, 46.00], ["Qwen2.5-14B", 14.8, 45.98],
         ["Qwen2.5-7B", 7.62, 45.64], ["DeepSeek-R1-Distill-7B", 7.62, 45.53], ["DeepSeek-R1-7B", 7.62, 45.42], ["Gemma-2-9B", 9.24, 44.94],
         ["Phi-3.5-Mini", 3.82, 44.65], ["Llama-3.1-8B", 8.03, 37.87], ["Llama-3.2-1B", 1.24, 37.57], ["Llama-3.2-3B", 3.21, 37.41],
         ["Mistral-7B", 7.25, 36.21], ["Kimi K2.5", 1000, 87.65]] as $models
        | def rank: . as $v | map(. as $x | ([$v[] | select(. < $x)] | length) + ([$v[] | select(. == $x)] | length + 1) / 2);
        def correlation($x; $y): ($x | add / length) as $a | ($y | add / length) as $b
            | ([range($x | length)] | map(($x[.] - $a) * ($y[.] - $b)) | add) / (([$x[] | (. - $a) * (. - $a)] | add | sqrt) * ([$y[] | (. - $b) * (. - $b)] | add | sqrt));
        def both: [correlation(map(.[1] | log); map(.[2])), correlation(map(.[1]) | rank; map(.[2]) | rank)] | map(. * 100 | round / 100);
        ["models", "correlation of θ with log(parameters)", "rank correlation"],
        (["all 14"] + ($models | both)),
        (["without Kimi K2.5"] + ($models[:13] | both)),
        (["without Kimi K2.5 and SmolLM2-135M"] + ($models[1:13] | both)) | @tsv' | markdown
}

table_healthy() {
    "$organ" measure "$fixture" --json --quiet | jq -r '[.models[0].per_tensor[] | select((.shape | length) == 2)] as $t
        | def share(f): "\([$t[] | select(f)] | length) of \($t | length)";
        ["matrices of the fixture with", "how many"],
        ["a mean below 0.01 in size", share((.mean | fabs) < 0.01)],
        ["a standard deviation of 0.02 to 0.05", share(.std >= 0.02 and .std <= 0.05)],
        ["all values within -0.5 and 0.5", share(.min >= -0.5 and .max <= 0.5)] | @tsv' | markdown
}

table_orthogonal() {
    need adapter fp8 int4
    local noisy
    printf 'quantised as\tnoise / adapter, norms\tcosine\tby chance\tz\tleakage over expectation\tverdict\n'
    for noisy in fp8 int4 "$q8"; do
        "$organ" orthogonality "$fixture" "$noisy" adapter --json --quiet | jq -r '.noises[0] | [.stored_as, .total.ratio, .total.cosine, .total.chance_std, .total.z, .total.leakage_over_expected, .verdict.direction] | @tsv'
    done | awk -F'\t' '{ printf "%s\t%.2f\t%.4f\t%.4f\t%.1f\t%.2f\t%s\n", $1, $2, $3, $4, $5, $6, $7 }'
}

table_nibble() {
    need adapter int4-swapped
    local noisy
    printf 'INT4 codes read\tnoise / adapter, norms\tnoise / weights, norms\n'
    for noisy in int4 int4-swapped; do
        "$organ" orthogonality "$fixture" "$noisy" adapter --json --quiet |
            jq -r --arg how "$([[ $noisy == int4 ]] && echo "in their order" || echo "with the nibbles of each byte exchanged")" '[$how, .noises[0].total.ratio] | @tsv'
    done | paste - <(for noisy in int4 int4-swapped; do "$organ" autopsy "$noisy" "$fixture" --json --quiet 2>/dev/null |
        jq '[.roles[] | select(.role | endswith("proj")) | .against_other.mean_relative_error] | add / length' || true; done) |
        awk -F'\t' '{ printf "%s\t%.2f\t%.2f\n", $1, $2, $3 }'
}

table_premise() {
    need tuned fp8 int4 tuned-fp8 tuned-int4
    local scheme
    printf 'scheme\tmodules that differ\tcosine of the noises, all modules\tnorm of N_A - N_B / norm of N_A\tpremise\n'
    for scheme in fp8 int4; do
        "$organ" orthogonality --pair "$fixture" $scheme --pair tuned tuned-$scheme --json --quiet |
            jq -r '[.pairs[0].noisy.stored_as, .verdict.modules, .total.cosine, .verdict.remains_to_noise_a, .verdict.premise] | @tsv'
    done | awk -F'\t' '{ printf "%s\t%d\t%.3f\t%.3f\t%s\n", $1, $2, $3, $4, $5 }'
}

table_purify() {
    local method strength list=()
    for method in haar fft; do
        for strength in 0.1 0.3 1; do
            quiet purify "$fixture" -o "$method-$strength" --method "$method" --strength "$strength"
            list+=("$method, strength $strength" "$method-$strength")
        done
    done
    costs "${list[@]}" | paste - <(printf 'energy removed, %%\tθ of the projections\n'
        jq -r '[0, .totals.theta_before] | @tsv' haar-0.1/organ/purify.json
        for method in haar fft; do for strength in 0.1 0.3 1; do
            jq -r '[(.totals.energy_removed_percent * 10 | round / 10), (.totals.theta_after * 10 | round / 10)] | @tsv' "$method-$strength/organ/purify.json"
        done; done | cat) | awk -F'\t' 'NR == 2 { $7 = sprintf("%.1f", $7) } { OFS = "\t"; print $1, $2, $3, $4, $5, $6, $7 }' | markdown
}

table_chimera() {
    quiet graft --source "$fixture" --target "$fixture" -o feed --type organ --layers 2 --map 2:1
    quiet graft --source "$fixture" --target "$fixture" -o thought --type skeleton --layers 2 --map 2:1
    quiet graft --source "$fixture" --target "$fixture" -o whole --layers 2 --map 2:1
    need tuned
    quiet chimera --base "$fixture" --donor tuned --take organ -o kin
    costs "feed-forward of layer 1 from layer 2" feed "attention of layer 1 from layer 2" thought "all of layer 1 from layer 2" whole \
        "all feed-forward from the tuned copy" kin "the tuned copy itself" tuned | markdown
}

# These tables bring their own heads.
framed() { case $1 in storage | orthogonal | nibble | premise) "table_$1" | markdown ;; *) "table_$1" ;; esac; }

# ---- the page ----

mapfile -t there < <(sed -n 's/^<!-- \([a-z]*\) -->$/\1/p' "$page")
mapfile -t known < <(declare -F | sed -n 's/^declare -f table_//p')
if [[ $(printf '%s\n' "${there[@]}" | sort) != "$(printf '%s\n' "${known[@]}" | sort)" ]]; then
    echo "the page has the tables: ${there[*]}; known are: ${known[*]}" >&2
    exit 1
fi
cp "$page" old.md
cp "$page" new.md
names=("$@")
((${#names[@]})) || names=("${there[@]}")
for name in "${names[@]}"; do
    framed "$name" >"$name.table"
    [[ -s $name.table ]] || { echo "$name: no table" >&2; exit 1; }
    awk -v name="$name" -v file="$name.table" '
        $0 == "<!-- /" name " -->" { inside = 0 }
        !inside { print }
        $0 == "<!-- " name " -->" { inside = 1; print ""; while ((getline line < file) > 0) print line; print "" }' new.md >next.md
    mv next.md new.md
done
if $check; then
    diff old.md new.md
else
    cp new.md "$page"
fi
