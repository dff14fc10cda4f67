#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests names of models in the Hugging Face cache, Ollama's folder and LM Studio's: every verb opens them, an existing path is preferred, and
# errors name damaged entries.
. "$(dirname "$0")/../kit/cli_kit.sh"
. "$golden/../kit/stores_kit.sh"
gguf=$model-gguf/tiny-qwen2-Q8_0.gguf

cached models--tiny--qwen2 $commit "$model"/*
printf %s $commit >"$hub/models--tiny--qwen2/refs/main"
mkdir -p "$hub/models--tiny--qwen2/refs/refs" && printf '%s\n' $commit >"$hub/models--tiny--qwen2/refs/refs/pr"
cached models--tiny--gguf $commit "$gguf" "$model/config.json"
cp "$gguf" other-Q8_0.gguf && cached models--tiny--gguf $commit other-Q8_0.gguf && rm other-Q8_0.gguf
printf %s $commit >"$hub/models--tiny--gguf/refs/main"
cached models--old $commit "$model"/*
printf %s $commit >"$hub/models--old/refs/main"
cached models--tiny--lora $commit "${model%/*}"/tiny-lora/*
printf %s $commit >"$hub/models--tiny--lora/refs/main"
cached models--tiny--moe $commit "${model%/*}"/tiny-moe/*
printf %s $commit >"$hub/models--tiny--moe/refs/main"

digest=$(sha256sum "$gguf" | cut -d ' ' -f 1)
bytes=$(stat -c %s "$gguf")
mkdir -p "$ollama/blobs" && cp "$gguf" "$ollama/blobs/sha256-$digest"
manifest registry.ollama.ai/library/tiny/latest "sha256:$digest" "$bytes"
manifest registry.ollama.ai/library/tiny/q8_0 "sha256:$digest" "$bytes"
manifest registry.ollama.ai/somebody/tiny/v1 "sha256:$digest" "$bytes"
manifest hf.co/tiny/gguf/Q8_0 "sha256:$digest" "$bytes"
list='"mediaType":"application/vnd.ollama.manifest.list.v2+json"'
manifest_link ollama.com/library/second/latest "$(layer "sha256:$digest" "$bytes")"
inline=$(layer "sha256:$digest" "$bytes")
manifest_link ollama.com/library/second/list "{$list,\"manifests\":[{\"runner\":\"mlx\"},{\"runner\":\"llamacpp\",${inline#\{}]}"
manifest_link ollama.com/library/second/referred "{$list,\"manifests\":[{\"runner\":\"Ollama\",\"digest\":\"sha256:$(blob "$inline" && echo "$blob")\"}]}"

mkdir -p "$studio/maker/tiny-GGUF" "$studio/maker/two" && cp "$gguf" "$studio/maker/tiny-GGUF"
cp "$gguf" "$studio/maker/two/a.gguf" && cp "$gguf" "$studio/maker/two/b.gguf"

# ---- every form of a name opens the model that it names ----
run inspect "$model" --json
jq -S 'del(.run, .model.name)' ../out >../expected
opens() {
    ends 0 inspect "$1" --json
    jq -S 'del(.run, .model.name)' ../out | diff ../expected - >../difference || bad "opens another model" ../difference
}
for name in tiny/qwen2 hf:tiny/qwen2 hf:tiny/qwen2@main tiny/qwen2@main hf:tiny/qwen2@refs/pr hf:tiny/qwen2@$commit hf:old; do opens "$name"; done
run inspect "$gguf" --json
jq -S 'del(.run) | walk(if type == "object" then del(.file, .name) else . end)' ../out >../expected_gguf
opens_gguf() {
    ends 0 inspect "$1" --json
    jq -S 'del(.run) | walk(if type == "object" then del(.file, .name) else . end)' ../out |
        diff ../expected_gguf - >../difference || bad "opens another model" ../difference
}
for name in hf:tiny/gguf/tiny-qwen2-Q8_0.gguf hf:tiny/gguf/other-Q8_0.gguf@main ollama:tiny ollama:tiny:latest ollama:tiny:q8_0 ollama:library/tiny \
    ollama:somebody/tiny:v1 ollama:registry.ollama.ai/library/tiny:q8_0 ollama:hf.co/tiny/gguf:Q8_0 lmstudio:maker/tiny-GGUF \
    lmstudio:maker/two/b.gguf ollama:second ollama:second:list ollama:second:referred ollama:ollama.com/library/second ollama:registry.ollama.ai/library/second; do opens_gguf "$name"; done

# ---- variables that name the folders ----
mkdir apart && mv "$HOME/hf" apart/hf
refused 2 "models--tiny--qwen2" inspect hf:tiny/qwen2
HF_HOME=$PWD/apart/hf opens hf:tiny/qwen2
HF_HUB_CACHE=$PWD/apart/hf/hub opens hf:tiny/qwen2
HUGGINGFACE_HUB_CACHE=$PWD/apart/hf/hub opens hf:tiny/qwen2
# shellcheck disable=SC2016 # the variables are for the program
HF_HUB_CACHE='${HOME}/../apart/$NAME/hub' NAME=hf opens hf:tiny/qwen2
# shellcheck disable=SC2088 # the tilde is for the program
HF_HUB_CACHE='~/../apart/$NAME/hub' NAME=hf opens hf:tiny/qwen2
mv apart/hf apart/huggingface
HF_HOME='' XDG_CACHE_HOME=$PWD/apart opens hf:tiny/qwen2
mkdir "$HOME/.cache" && mv apart/huggingface "$HOME/.cache"
HF_HOME='' opens hf:tiny/qwen2
mv "$HOME/.cache/huggingface" "$HOME/hf" && rmdir apart "$HOME/.cache"
mv "$ollama" models
OLLAMA_MODELS=$PWD/models opens_gguf ollama:tiny
mv models "$ollama"
mv "$studio" models
echo "{\"downloadsFolder\": \"$PWD/models\"}" >"$HOME/.lmstudio/settings.json"
opens_gguf lmstudio:maker/tiny-GGUF
rm "$HOME/.lmstudio/settings.json" && mkdir elsewhere && mv models elsewhere && echo "$PWD/elsewhere" >"$HOME/.lmstudio-home-pointer"
opens_gguf lmstudio:maker/tiny-GGUF
rm "$HOME/.lmstudio-home-pointer" && mkdir -p "$HOME/.cache" && mv elsewhere "$HOME/.cache/lm-studio"
opens_gguf lmstudio:maker/tiny-GGUF
mv "$HOME/.cache/lm-studio/models" "$studio" && rmdir "$HOME/.cache/lm-studio" "$HOME/.cache"

# ---- a path is preferred to a name ----
mkdir -p tiny && cp -rL "${model%/*}/tiny-moe" tiny/qwen2
ends 0 inspect tiny/qwen2

ends 0 inspect tiny/qwen2 --json
judge "the cache is preferred to a path" jq -e '.model.architecture != "Qwen2ForCausalLM"' ../out
mkdir hf: && cp -rL "${model%/*}/tiny-moe" hf:/x
ends 0 inspect hf:/x
chmod -R u+w tiny hf: && rm -r tiny hf:

# ---- every verb that reads a model ----
head -c 6000 "$model/heldout.txt" >../text
"$organ" lora sanitize "${model%/*}/tiny-lora" -o ../servable --quiet >../made 2>&1 || bad "no second adapter" ../made
while IFS='|' read -r words; do
    # shellcheck disable=SC2086 # words
    ends 0 $words
    chmod -R u+w made* 2>/dev/null
    rm -rf made*
done <<END
inspect tiny/qwen2
prune tiny/qwen2 -o made --iterations 2
audit tiny/qwen2 hf:tiny/qwen2
purify tiny/qwen2 -o made --method haar
measure tiny/qwen2 hf:tiny/qwen2@$commit
autopsy tiny/qwen2 $model
extract tiny/qwen2 -o made
graft --source tiny/qwen2 --target hf:tiny/qwen2 -o made
graft --source hf:tiny/qwen2 --target tiny/qwen2 --select feed-forward -o made
dequantize ollama:tiny -o made.gguf
quantize tiny/qwen2 -o made --scheme int8-channel
layers tiny/qwen2 -o made --drop 1-1
width tiny/qwen2 -o made --ffn 800 --calibration ../text --samples 2 --context 64
experts tiny/moe -o made --keep 75% --calibration ../text --samples 2 --context 64
lora merge --adapter hf:tiny/lora --base tiny/qwen2 -o made
lora sanitize hf:tiny/lora --base tiny/qwen2 -o made
lora resize hf:tiny/lora -o made --rank 2
lora combine hf:tiny/lora ../servable -o made
tokenize tiny/qwen2 --text ../text
perplexity tiny/qwen2 --text ../text --context 64 --max-tokens 64
perplexity ollama:tiny --text ../text --context 64 --max-tokens 64
evaluate tiny/qwen2 ollama:tiny lmstudio:maker/tiny-GGUF --text ../text --context 64 --max-tokens 64
generate tiny/qwen2 --prompt The --tokens 2
inspect --untrusted tiny/qwen2
END

# ---- wrong names ----
refused 2 "'hf:tiny/qwen2'" inspect tiny/qwem2
refused 2 "'hf:tiny/qwen2'" inspect hf:tiny/qwem2
refused 2 "$commit" inspect hf:tiny/qwen2@v2
refused 2 "'tiny-qwen2-Q8_0.gguf'" inspect hf:tiny/gguf/tiny-qwen2-Q8.gguf
refused 3 "other-Q8_0.gguf" inspect hf:tiny/gguf
refused 2 "registry.ollama.ai/library/tiney/latest" inspect ollama:tiney
says "'ollama:tiny'"
refused 2 "'ollama:tiny:q8_0'" inspect ollama:tiny:q80
refused 2 "'lmstudio:maker/tiny-GGUF'" inspect lmstudio:maker/tiny-GGUE
for name in hf: hf:.. hf:../qwen2 hf:tiny/.. hf:tiny//x hf:a/b/../../c hf:a/b/../c hf:a--b/c hf:a/b..c hf:-a/b 'hf:a b/c' hf:tiny/qwen2@ hf:tiny/qwen2@../main \
    hf:tiny/qwen2@refs/../../x hf:tiny/qwen2@/main hf:tiny/qwen2/./x; do refused 2 "$name" inspect "$name"; done
for name in ollama: ollama:../x ollama:a/b/c/d ollama:tiny:.. ollama:tiny: ollama:/tiny 'ollama:tiny\x'; do
    refused 2 "$name" inspect "$name"
done
for name in lmstudio: lmstudio:maker lmstudio:../x lmstudio:maker/../two lmstudio:/maker/two lmstudio:maker/; do
    refused 2 "$name" inspect "$name"
done

# ---- damaged entries ----
entry=$hub/models--tiny--qwen2
printf %s ffff456789abcdef0123456789abcdef01234567 >"$entry/refs/main"
refused 3 "refs/main" prune tiny/qwen2 -o made
printf %s ../../x >"$entry/refs/main"
refused 3 "'../../x'" inspect tiny/qwen2
head -c 1000 /dev/zero >"$entry/refs/main"
refused 3 "refs/main" inspect tiny/qwen2
rm "$entry/refs/main"
refused 3 "refs/main" inspect tiny/qwen2
mkdir "$entry/snapshots/second"
refused 3 "hf:tiny/qwen2@second" inspect hf:tiny/qwen2
rmdir "$entry/snapshots/second" && printf %s $commit >"$entry/refs/main"

shard=$entry/snapshots/$commit/model-00002-of-00003.safetensors
blob=$(readlink -f "$shard")
mv "$blob" "$blob.incomplete"
refused 3 "${blob##*/}" inspect tiny/qwen2
mv "$blob.incomplete" "$blob.0a1b2c3d.incomplete"
refused 3 "incomplete" measure tiny/qwen2
mv "$blob.0a1b2c3d.incomplete" lost
refused 3 "$shard" inspect tiny/qwen2
mv lost "$blob"
target=$(readlink "$shard")
rm "$shard"
refused 3 "'model-00002-of-00003.safetensors'" inspect tiny/qwen2
ln -s "$target" "$shard"
mkdir -p "$hub/models--tiny--begun/refs" "$hub/models--tiny--begun/snapshots/$commit" "$hub/models--tiny--begun/blobs"
refused 3 "refs/main" inspect hf:tiny/begun
printf %s $commit >"$hub/models--tiny--begun/refs/main"
head -c 70 /dev/zero >"$hub/models--tiny--begun/blobs/abc.12345678.incomplete"
refused 3 "hf:tiny/begun" inspect hf:tiny/begun
rm -r "$hub/models--tiny--begun/snapshots/$commit"
refused 3 "which does not exist" inspect hf:tiny/begun
rm -r "$hub/models--tiny--begun/refs"
refused 3 "snapshot" inspect hf:tiny/begun

lie() {
    manifest registry.ollama.ai/library/liar/latest "$1" "$2"
    refused 3 "$3" inspect ollama:liar
}
lie "sha256:$digest" 17 "$ollama/blobs/sha256-$digest"
lie "sha256:$digest" '"17"' "$bytes"
lie "sha256:${digest:1}" "$bytes" "'sha256:${digest:1}'"
lie "sha256:../../../../x" "$bytes" "'sha256:../../../../x'"
lie "md5:$digest" "$bytes" "'md5:$digest'"
lie "sha256:${digest^^}" "$bytes" "'sha256:${digest^^}'"
lie "sha256:$(printf %064d 7)" "$bytes" "sha256-$(printf %064d 7)"
liar=$ollama/manifests/registry.ollama.ai/library/liar/latest
for text in '' '[]' '{' '{}' '{"layers":{}}' '{"layers":[]}' '{"layers":[{"mediaType":7}]}'; do
    printf %s "$text" >"$liar"
    refused 3 "$liar" inspect ollama:liar
done
printf '{"layers":[{"mediaType":"application/vnd.ollama.image.adapter","digest":"sha256:%s","size":1}]}' "$digest" >"$liar"
refused 3 "layer 0" inspect ollama:liar
one="{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"sha256:$digest\",\"size\":$bytes}"
printf '{"layers":[%s,%s]}' "$one" "$one" >"$liar"
refused 3 "application/vnd.ollama.image.model" inspect ollama:liar
rm -r "${liar%/*}"
lists() {
    manifest_link ollama.com/library/list/latest "{$list,$1}"
    refused 3 "$2" inspect ollama:list
}
for text in '"manifests":[]' '"manifests":{}' '"x":1' '"manifests":[7,{"runner":"mlx"}]'; do
    lists "$text" library/list/latest
done
lists '"manifests":[{"runner":"ollama","digest":"sha256:../../x"}]' "sha256:../../x"
lists "\"manifests\":[{\"runner\":\"ollama\",\"digest\":\"sha256:$(printf %064d 7)\"}]" "$ollama/blobs/sha256-$(printf %064d 7)"
blob "{$list}"
lists "\"manifests\":[{\"runner\":\"ollama\",\"digest\":\"sha256:$blob\"}]" "'layers'"
rm "$ollama/blobs/sha256-$(readlink "$ollama/manifests-v2/ollama.com/library/list/latest" | sed 's/.*sha256-//')"
refused 2 "registry.ollama.ai/library/list/latest" inspect ollama:list
ln -s nowhere "$studio/maker/lost"
refused 3 "$studio/maker/lost" inspect lmstudio:maker/lost
# Verbs that read no URLs say so, without a request and without the password.
for verb in "fleet DIR" "prune DONOR" "layers MODEL" "lora_resize ADAPTER" "lora_sanitize ADAPTER" "report FILE"; do
    read -r name operand <<<"$verb"
    refused 2 "$operand" \
        ${name/_/ } http://user:secret@localhost:1/model -o new $(case $name in *resize) echo --rank 2 ;; layers) echo --drop 1-1 ;; esac)
    judge "the message shows the password" test -z "$(grep secret ../err)"
done
refused 2 "--text" perplexity hf:tiny/qwen2 --text https://localhost:1/text
refused 2 "--output" convert hf:tiny/qwen2 -o http://localhost:1/x --to gguf
HOME='' HF_HOME='' refused 2 "HF_HOME" inspect hf:tiny/qwen2
finish
