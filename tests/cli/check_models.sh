#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The verbs on each architecture of fixtures/architectures, docs/models.md, which lists what works, and docs/rejections.txt. `check_models.sh --write` writes both;
# otherwise the page must say what the verbs did, and no verb may end with another status than 0 or, with a message that names the reason, 2 or 3.
# TYPES="llama gpt_oss" tries these alone and does not look at the page. Unless EFFORT is all, every sixth type with its variants tries the dry run of prune and
# one other verb, in turn; all else is taken from the page. Ends with the line "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/kit/counts.sh
page=docs/models.md
refused=docs/rejections.txt
commit=0123456789abcdef0123456789abcdef01234567
text=$PWD/fixtures/tiny-moe/calibration.txt
organ=$PWD/build/organ
short=(--samples 2 --context 32 --quiet)
verbs=(inspect prune perplexity generate wanda gptq layers width experts)
is_in_part=false
if [[ ${EFFORT:-some} != all && ${1:-} != --write && -z ${TYPES:-} ]]; then is_in_part=true; fi

# The rejections, "- VERB, VERB...: TYPE, TYPE...: MESSAGE", by "TYPE VERB"; a verb that the page does not list for a type runs on it.
declare -A reasons_of
while IFS=$'\t' read -r rejecting named reason; do
    for verb in ${rejecting//,/}; do for type in ${named//,/}; do reasons_of["$type $verb"]=$reason; done; done
done < <(sed -e ':a' -e 'N;$!ba' -e 's/\n  / /g' "$refused" | sed -nE 's/^- ([a-z, ]+): ([a-z0-9_, -]+): (.*)$/\1\t\2\t\3/p')

# as_the_page TYPE VERB: the rejection that the page has for the verb, if any.
as_the_page() {
    local reason=${reasons_of["$1 $2"]:-}
    [[ -z $reason ]] || printf '%s\t%s\t%s\n' "$1" "$2" "$reason" >>"$scratch/reasons"
}

# left_out TYPE VERB: whether this run takes the verb's result from the page. The verb `turn` is tried.
left_out() {
    $is_in_part && [[ $2 != prune && $2 != "$turn" ]] || return
    as_the_page "$1" "$2"
}

# row_of_page TYPE: takes the row and the rejections of the type from the page; fails if the page has no row, so that a new type is tried.
row_of_page() {
    local verb
    for verb in "${verbs[@]}" convert; do as_the_page "$1" "$verb"; done
    grep -F "|\`${1%%-*}\`|" "$page" >>"$scratch/kept_rows"
}

# is_mixture TYPE: whether its tensors include routed experts.
is_mixture() { grep -qE 'experts|block_sparse_moe' "fixtures/architectures/$1/model.tsv"; }

# turn_of NUMBER TYPE: the verb that the type with this number tries in addition to the dry run.
turn_of() {
    local turns=(wanda gptq layers width generate perplexity)
    if is_mixture "$2"; then turns+=(experts); fi
    turn=${turns[$1 % ${#turns[@]}]}
}

# rejected TYPE NAME: adds the message of the verb, unless the test model has too few experts to remove one.
rejected() {
    grep -q 'nothing would be removed' "$scratch/err" && return
    echo "$1	$2	$(grep '^error: ' "$scratch/err" | sed -E -e 's/^error: //' -e 's/^(prune|quantize|experts|layers|width|generate|perplexity|convert): //' -e "s#$scratch/##g" -e "s#(^|[ '\"])$1([:/ ]|\$)#\1MODEL\2#g" \
        -e 's/, but programs would read (.*) from a GGUF file of its architecture: .*$/; GGUF: \1/')" >>"$scratch/reasons"
}

# try TYPE NAME VERB...: runs the verb. A message with status 2 or 3 is a rejection; any other status but 0 fails the suite.
try() {
    local type=$1 name=$2 status
    shift 2
    left_out "$type" "$name" && return
    timeout 300 "$organ" "$@" >"$scratch/out" 2>"$scratch/err"
    status=$?
    judge "$type: $name ended with $status: $(tail -n 1 "$scratch/err" | cut -c 1-200)" test "$status" = 0 -o "$status" = 2 -o "$status" = 3
    if ((status)); then
        judge "$type: $name says nothing" grep -q '^error: ' "$scratch/err"
        rejected "$type" "$name"
    fi
    rm -rf "$scratch/made" "$scratch"/.made*
}

# share FILE: the share of the matrices of linear layers that are targets, as prune's dry run prints it.
share() { grep -oE '[0-9.]+ % of the [0-9,]+ weights in matrices of linear' "$1" | grep -oE '^[0-9.]+' | head -n 1; }

# there_and_back MODEL: sets `ways` to "both" if the model becomes $made and safetensors again, else to "to GGUF".
there_and_back() {
    ways="to GGUF"
    rm -rf "$scratch"/made.* "$scratch/back"
    "$organ" convert "$1" -o "$made" --to gguf --mmproj none --quiet >/dev/null 2>"$scratch/err" || return
    if "$organ" convert "$made" -o "$scratch/back" --to safetensors --quiet >/dev/null 2>&1; then ways=both; fi
}

# converted TYPE MODEL: "both" if the model becomes GGUF and safetensors again, "to GGUF" if only that, "by name" if its architecture has no rules and all
# tensors have usual names, "absent" if llama.cpp does not have its architecture, "-" if the architecture is not converted. A setting that GGUF cannot
# express is a rejection; the model is then tried with the settings of fixtures/convert.tsv.
converted() {
    local made=$scratch/made.gguf ways settings
    there_and_back "$2"
    settings=$(awk -F '\t' -v name="$1" '$1 == name { print $7; exit }' fixtures/convert.tsv)
    if [[ $ways != both && ${settings:--} != - ]]; then
        [[ -e $made ]] || rejected "$1" convert
        jq ". + $settings" "$2/config.json" >"$scratch/set.json" && mv "$scratch/set.json" "$2/config.json"
        there_and_back "$2"
    fi
    if [[ ! -e $made ]]; then
        if grep -qE 'cannot be converted, only|converted by name|has no rules for llama.cpp' "$scratch/err"; then ways=-
        elif grep -q 'llama.cpp has no architecture' "$scratch/err"; then ways=absent
        else rejected "$1" convert; fi
    elif [[ $ways == both ]] && grep -q '^  "by_name": true' "$scratch/made.convert.json"; then ways="by name"; fi
    rm -rf "$scratch/back" "$scratch"/made.*
    echo "$ways"
}

# cached TYPE: what `organ models` says about the model in a cache of Hugging Face.
cached() {
    local hub=$scratch/hub/models--tiny--$1 word said=
    mkdir -p "$hub/snapshots" "$hub/refs" && ln -s "$scratch/$1" "$hub/snapshots/$commit" && printf %s "$commit" >"$hub/refs/main"
    HF_HUB_CACHE=$scratch/hub HOME=$scratch/home OLLAMA_MODELS=$scratch/none "$organ" models --json --quiet >"$scratch/cached"
    for word in opens scores calibrates cuts; do
        if grep -q "^      \"$word\": true" "$scratch/cached"; then said+="${said:+, }$word"; fi
    done
    [[ $said != "opens, scores, calibrates, cuts" ]] || said=all
    echo "${said:--}"
    rm -r "$scratch/hub"
}

# folded MODEL: the kinds of folds that `--smooth` would scale in the model, joined by "+"; "-" if there are none.
folded() {
    "$organ" quantize "$1" -o "$scratch/made" -s none --smooth .5 --calibration "$text" "${short[@]}" --dry-run --json 2>/dev/null |
        jq -r '[.folds[].fold | if startswith("norm") then "norms" elif startswith("up") then "up" else . end] | unique | join("+")' | grep . || echo -
}

# row TYPE: tries the verbs and writes architecture, type, share of targets, whether a GGUF file of the type is tested, `converted`, `cached` and `folded`.
row() {
    local type=$1 model=$scratch/$1 out=$scratch/made architecture name gguf=no targets folds
    build/checks/arch_model "$type" "$model" >"$scratch/out" 2>&1 || { judge "$type: cannot be made" false && return; }
    architecture=$(sed -n '/"architectures"/,/\]/p' "$model/config.json" | grep -oE '"[A-Za-z0-9_]+"' | sed -n 2p | tr -d '"')
    name=${type//_/} name=${name%text}
    if grep -q "^$type	" fixtures/convert.tsv || [[ -e fixtures/architectures/$type/gguf.tsv || -e fixtures/forward/$name.gguf || -e fixtures/tiny-$name-gguf ]]; then gguf=yes; fi
    try "$type" inspect inspect "$model"
    try "$type" prune prune "$model" -o "$out" --sparsity 50 --dry-run
    targets=$(share "$scratch/out")
    try "$type" perplexity perplexity "$model" --text "$text" --max-tokens 96 --context 48 --quiet
    try "$type" generate generate "$model" -p "the text" -n 3
    try "$type" wanda prune "$model" -o "$out" --sparsity 50 --method wanda --calibration "$text" "${short[@]}"
    try "$type" gptq quantize "$model" -o "$out" --scheme int8-channel --method gptq --calibration "$text" "${short[@]}"
    try "$type" layers layers "$model" -o "$out" --drop 1-1 --quiet
    try "$type" width width "$model" -o "$out" --ffn 50% --multiple-of 8 --calibration "$text" "${short[@]}"
    if is_mixture "$type"; then try "$type" experts experts "$model" -o "$out" --keep 75% --calibration "$text" "${short[@]}"; fi
    folds=$(folded "$model")
    printf '%s\t%s\t%s\t%s\t%s\t%s\t%s\n' "$architecture" "$type" "$targets" "$gguf" "$(converted "$type" "$model")" "$(cached "$type")" "$folds" >>"$scratch/rows"
    rm -rf "$model"
}

# logits: for each type, what fixtures/logits.tsv says of llama.cpp's logits for the type and its variants.
logits() {
    awk -F '\t' '
        /^#/ { next }
        { type = $1; sub(/-.*/, "", type) }
        $3 != "-" { word = $3 <= 0.001 ? "equal" : $5 ~ / lost: / ? "equal but for a lost setting" : "differs" }
        $3 == "-" { word = $5 ~ /llama\.cpp(: | ended)/ ? "refused" : "" }
        word != "" && !((type, word) in seen) { seen[type, word]; words[type] = words[type] (words[type] == "" ? "" : ", ") word }
        END { for (type in words) print type "\t" words[type] }' fixtures/logits.tsv
}

# table: the rows of the page, one for each model type. Variants (TYPE-NAME) share the row of their type.
table() {
    logits >"$scratch/logits"
    awk -F '\t' '
        FILENAME ~ /logits$/ { logits[$1] = $2; next }
        { type = $2; sub(/-.*/, "", type); name[type] = $1 }
        $3 != "" && (!(type in least) || $3 + 0 < least[type] + 0) { least[type] = $3 }
        $3 != "" && (!(type in most) || $3 + 0 > most[type] + 0) { most[type] = $3 }
        $4 == "yes" { gguf[type] = "yes" }
        $5 == "both" || ($5 != "-" && !(type in ways)) { ways[type] = $5 }
        !(type in cache) || $6 == "all" { cache[type] = $6 }
        { for (n = split($7, kinds, "+"); n; n--) has[type, kinds[n]] }
        END {
            for (type in name) {
                share = least[type] == most[type] ? least[type] : least[type] " to " most[type]
                folds = ""
                for (n = split("norms up v", kinds, " "); n; n--)
                    if ((type, kinds[n]) in has) folds = kinds[n] (folds == "" ? "" : "+" folds)
                printf "|%s|`%s`|%s|%s|%s|%s|%s|%s|\n", name[type], type, share, gguf[type] ? "yes" : "-", type in ways ? ways[type] : "-",
                    type in logits ? logits[type] : "-", cache[type], folds == "" ? "-" : folds
            }
        }' "$scratch/logits" "$scratch/rows" | LC_ALL=C sort -u - "$scratch/kept_rows"
}

# wrapped: lines of at most 120 columns; continuations are indented.
wrapped() {
    awk '{ count = split($0, word, " "); line = word[1]
           for (k = 2; k <= count; k++)
               if (length(line) + 1 + length(word[k]) > 120) { print line; line = "  " word[k] } else line = line " " word[k]
           print line }'
}

# joined: for rows of two fields and a third, one row for each pair of second and third, with the first fields joined by ", ".
joined() {
    LC_ALL=C sort | awk -F '\t' '
        { key = $2 "\t" $3; first[key] = first[key] == "" ? $1 : first[key] ", " $1 }
        END { for (key in first) print first[key] "\t" key }'
}

# rejections: the items "- VERB, VERB...: TYPE, TYPE...: MESSAGE", one for each message.
rejections() {
    joined <"$scratch/reasons" | awk -F '\t' -v OFS='\t' '{ print $2, $1, $3 }' | joined | awk -F '\t' '{ print "- " $1 ": " $2 ": " $3 }' |
        LC_ALL=C sort | wrapped
}

: >"$scratch/reasons"
types=${TYPES:-$(cd fixtures/architectures && LC_ALL=C ls -d */ | tr -d /)} # variants follow their type
number=0 base=
: >"$scratch/kept_rows"
for type in $types; do
    [[ ${type%%-*} == "$base" ]] || base=${type%%-*} number=$((number + 1))
    if $is_in_part && ((number % 6)); then row_of_page "$type" && continue; fi
    turn_of $((number / 6)) "$type"
    row "$type"
done
{
    cat <<'END'
# Models

organ can run the architectures of this table: `perplexity`, `generate`, the methods of `prune` and `quantize` with a
text, `layers`, `width` and, for mixtures of experts, `experts` work on each of them, except for the
[rejections](rejections.txt). Models of all other architectures can be inspected, measured, pruned and quantised without
a text, and converted to other types.

- **targets** is the share of the weights of linear layers, in percent, that `organ prune` changes by default.
- **GGUF** is "yes" if organ also runs GGUF files of this architecture, with llama.cpp's names and keys.
- **convert** has the directions of [`organ convert`](verbs/convert.md): "both" (to GGUF and back to safetensors), "to
  GGUF", or "by name" (organ only [renames the tensors](verbs/convert.md#other-architectures)). If convert fails, the
  column has "absent" (llama.cpp lacks the architecture) or "-" (another reason). The column is about text models;
  [Vision and audio towers](mmproj.md) lists the model types whose towers convert.
- **llama.cpp** compares the logits of llama.cpp 0.3.36 (of llama-cpp-python), for the GGUF file of `organ convert
  --dtype f32`, with those of transformers. They are "equal" if the relative error in FP32 is at most 0.001, and "equal
  but for a lost setting" if GGUF cannot store one. The column has "differs" if llama.cpp does not apply a setting of
  the test model, which `organ convert` names, and "refused" if llama.cpp does not load or run the model, most often for
  biases, heads or sizes that published models do not have (`fixtures/logits.tsv`, made by `bench/compare_logits.py`).
- **cache** has what `organ models` prints for the model in a Hugging Face cache; "all" means open, score, calibrate and
  cut.
- **smooth** has the channels that [`--smooth`](definitions/mixed_precision.md#smoothing) scales in some layer: outputs of
  norms, rows of up and of v.

`tests/cli/check_models.sh --write` makes this page from small test models with random weights. The suite `forward`
compares the negative log-likelihoods of 72 tokens of each model with those of transformers 5.23 or 5.24 in FP32: the
mean agrees within 1e-5 nats, each token within 1e-3. organ cannot run Zamba 2.

|architecture|model type|targets, %|GGUF|convert|llama.cpp|cache|smooth|
|---|---|--:|---|---|---|---|---|
END
    table
    cat <<'END'

## Other model types

transformers renames the tensors of many model types as it loads them. The lists of unquantised modules in
`quantization_config` and the modules of an adapter must have the new names. organ has these names for the types of the
table and for apertus1p5_text, axk2, beam, diffllama, doge, dory, flint,
jetmoe, kolibri1, lara_mini, modernbert-decoder and rwkv. Their outputs of `quantize`, `lora extract` and `layers`
were opened with transformers 5.24 and peft 0.21 (`tests/surgery/encoding/open_types.py`). `layers` rejects them if
transformers computes something from a layer's number (beam, diffllama, dory; layer 0 of modernbert-decoder and rwkv).

For all other types `quantize`, `lora extract`, `layers`, `graft` of whole layers and `merge` with `slices` write the
names of the file and print a warning, on the terminal, in the report and in `--json`: the output may not load, or load as another
model.
END
} >"$scratch/page"
{
    cat <<'END'
Each line names a verb or a method (wanda, gptq), the test models that it rejects, and its message, in which MODEL is
the path of the model. A line that ends in "GGUF: VALUE" is shortened: GGUF cannot store the setting, so programs would
read VALUE from the file. `experts` was not tried on mixtures whose test model has too few experts to remove one.

END
    rejections
} >"$scratch/refused"
if [[ ${1:-} == --write ]]; then
    cp "$scratch/page" "$page"
    cp "$scratch/refused" "$refused"
elif [[ -z ${TYPES:-} ]]; then
    judge "$page does not say what the verbs did: tests/cli/check_models.sh --write; $(diff "$page" "$scratch/page" | head -n 5 | tr '\n' ' ')" cmp -s "$page" "$scratch/page"
    judge "$refused does not have what the verbs said: tests/cli/check_models.sh --write; $(diff "$refused" "$scratch/refused" | head -n 5 | tr '\n' ' ')" cmp -s "$refused" "$scratch/refused"
fi
finish
