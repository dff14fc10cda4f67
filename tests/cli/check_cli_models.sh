#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ models: output, documents, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"
unset HF_HUB_CACHE HUGGINGFACE_HUB_CACHE XDG_CACHE_HOME OLLAMA_MODELS
export HOME=$PWD/user HF_HOME=$PWD/user/hf
hub=$HF_HOME/hub
fixtures=${model%/*}
commit=0123456789abcdef0123456789abcdef01234567

COLUMNS=110 ends 0 models
prints "No model was found."

# cached ENTRY FOLDER [REF]: adds a model with the files of a fixture to the cache.
cached() {
    mkdir -p "$hub/$1/refs" "$hub/$1/blobs" "$hub/$1/snapshots" && cp -rL "$2" "$hub/$1/snapshots/$commit"
    printf %s $commit >"$hub/$1/refs/${3:-main}"
}
cached models--tiny--qwen2 "$model"
cached models--tiny--moe "$fixtures/tiny-moe" v1
cached models--tiny--lora "$fixtures/tiny-lora"
cached models--tiny--gguf "$model-gguf"
cached models--tiny--detached "$fixtures/tiny-moe" && rm "$hub/models--tiny--detached/refs/main"
cached models--tiny--short "$model" && chmod u+w "$hub/models--tiny--short/snapshots/$commit/"* && rm "$hub/models--tiny--short/snapshots/$commit/model-00002-of-00003.safetensors"
cached models--tiny--lost "$model" && printf %s abc >"$hub/models--tiny--lost/refs/main"
cached models--tiny--strange "$model" && chmod u+w "$hub/models--tiny--strange/snapshots/$commit/config.json" &&
    sed -i 's/Qwen2ForCausalLM/StrangeForCausalLM/; s/"qwen2"/"strange"/' "$hub/models--tiny--strange/snapshots/$commit/config.json"
mkdir -p "$hub/datasets--tiny--text/snapshots" "$hub/.locks"
mkdir -p "$HOME/.lmstudio/models/maker/tiny-GGUF" && cp "$model-gguf/tiny-qwen2-Q8_0.gguf" "$HOME/.lmstudio/models/maker/tiny-GGUF"
ollama=$HOME/.ollama/models/manifests/registry.ollama.ai/library
mkdir -p "$ollama/liar" && echo '{}' >"$ollama/liar/7b"

COLUMNS=120 ends 0 models --quiet
sed 's/^  ─*$/  ---/' ../out >../plain # as wide as the folders are long
matches models/models ../plain
ends 0 models --json --quiet --html page.html
cp ../out saved.json
sed -E "s,$PWD/user,@HOME@,g; s/ which supports .*/.../" ../out >../plain
matches_briefly models/models_json ../plain
judge "the page does not say why a model does not open" grep -q "model-00002-of-00003.safetensors', which does not exist" page.html
ends 0 report saved.json -o saved.html
ends 0 models --json --match 'hf:tiny/q*'
judge "--match lists others" test "$(jq -c '[.models[].name]' ../out)" = '["hf:tiny/qwen2"]'

# ---- the list agrees with the verbs ----
# what NAME MEMBER: prints a member of the model's entry.
what() { jq --arg name "$1" ".models[] | select(.name == \$name).$2" saved.json; }
for name in $(jq -r '.models[].name' saved.json); do
    run inspect "$name" --json
    here="models, inspect $name ($code)"
    if [[ $(what "$name" opens) == true ]]; then judge "does not open" test $code != 4 -a -s ../out; else judge "opens" test $code = 3; fi
    run perplexity "$name" --text "$model/heldout.txt" --max-tokens 40
    here="models, perplexity $name ($code)"
    if [[ $(what "$name" scores) == true ]]; then judge "does not score" test $code = 0; else judge "scores" test $code = 3; fi
    made=made
    if [[ $name == *Q8_0.gguf || $name == lmstudio:* ]]; then made=made.gguf; fi
    run prune "$name" -o $made --sparsity 50 --method wanda --calibration "$model/calibration.txt" --samples 2 --context 32 --quiet
    here="models, prune $name ($code)"
    if [[ $(what "$name" calibrates) == true ]]; then judge "does not calibrate" test $code = 0; else judge "calibrates" test $code != 0; fi
    rm -rf made*
    if [[ $(what "$name" format) == '"GGUF"' ]]; then made=made.gguf; fi # layers makes one file of a split model
    run layers "$name" -o $made --drop 1-1 --quiet
    here="models, layers $name ($code)"
    if [[ $(what "$name" format) == '"LoRA adapter"' ]]; then judge "cuts an adapter" test "$(what "$name" cuts)" = false; elif [[ $(what "$name" cuts) == true ]]; then judge "does not cut" test $code = 0; else judge "cuts" test $code != 0; fi
    rm -rf made*
done

# ---- thousands of names, errors ----
many=$HOME/.lmstudio/models/many
mkdir "$many" && for k in $(seq 1000); do mkdir "$many/m$k" && ln -s "$model-gguf/tiny-qwen2-Q8_0.gguf" "$many/m$k/m.gguf"; done
ends 0 models --json --match 'lmstudio:many/*'
judge "not all are listed" test "$(jq '[.models[] | select(.opens)] | length' ../out)" = 1000
rm -r "$many"
refused 2 "'--match'" models --mach x
refused 2 "'x'" models x
finish
