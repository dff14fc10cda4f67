#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ serve --caches: models in the caches of other programs by their names, in lists, files and jobs, and links that lead out of a cache.
. "$(dirname "$0")/../../kit/serve_kit.sh"
. "$golden/../kit/stores_kit.sh"
gguf=$model-gguf/tiny-qwen2-Q8_0.gguf
cached models--tiny--qwen2 $commit "$model"/*
printf %s $commit >"$hub/models--tiny--qwen2/refs/main"
cached models--tiny--out $commit "$model"/*
printf %s $commit >"$hub/models--tiny--out/refs/main"
cp "$gguf" ../outside.gguf && cp "$model/config.json" ../outside.json
ln -sfn "$scratch/outside.json" "$hub/models--tiny--out/snapshots/$commit/config.json"
cached models--tiny--broken $commit "$model"/*
printf %s $commit >"$hub/models--tiny--broken/refs/main"
rm "$(readlink -f "$hub/models--tiny--broken/snapshots/$commit/model-00002-of-00003.safetensors")"
digest=$(sha256sum "$gguf" | cut -d ' ' -f 1)
mkdir -p "$ollama/blobs" && cp "$gguf" "$ollama/blobs/sha256-$digest"
manifest_link ollama.com/library/tiny/latest "$(layer "sha256:$digest" "$(stat -c %s "$gguf")")"
mkdir -p "$studio/maker/tiny-GGUF" && cp "$gguf" "$studio/maker/tiny-GGUF"
mkdir -p root/tiny && cp -r "$model" root/own && cp "$model/heldout.txt" root/text.txt
ln -s own/config.json root/config.json && mkdir root/other && ln -s "$scratch/outside.json" root/other/leak.json && ln -s .. root/up

listed() { http GET /api/v1/models && ! grep -q '"pending":true' "$answer"; }
# job BODY: runs the job to its end; the result is in $answer.
job() {
    gives 201 POST /api/v1/jobs "$1"
    local id
    id=$(member id)
    is_over() { http GET "/api/v1/jobs/$id" && [[ $(member state) != running && $(member state) != queued ]]; }
    await is_over
    has '"state":"done"'
    gives 200 GET "/api/v1/jobs/$id/result"
}

# ---- without --caches only what is below the root exists ----
serve
gives 404 GET /api/v1/models/hf:tiny/qwen2
gives 404 GET /files/hf:tiny/qwen2/config.json
gives 404 POST /api/v1/jobs '{"verb":"inspect","arguments":{"MODEL":"hf:tiny/qwen2"}}'
gives 200 GET /files/config.json
cmp -s <(sed '1,/^\r$/d' "$answer") "$model/config.json" || bad "is not the file that the link leads to"
gives 403 GET /files/other/leak.json
gives 403 GET /files/up/area/text.txt
kill -TERM $server && wait $server

# ---- lists and models ----
serve --caches
await listed
for name in own hf:tiny/qwen2 ollama:tiny lmstudio:maker/tiny-GGUF; do has "\"path\":\"$name\""; done
judge "a complete model has a fault" jq -e '[.models[] | select(.path == "hf:tiny/qwen2" or (.path | startswith("ollama:")))] | length == 2 and all(.tensors > 0)' \
    <(sed '1,/^\r$/d' "$answer") >../judged
judge "a broken model has none" jq -e '.models[] | select(.path == "hf:tiny/broken") | .fault | test("is a link to")' <(sed '1,/^\r$/d' "$answer") >../judged
judge "the place of the cache is told" test -z "$(grep -F "$HOME" "$answer")"
gives 200 GET /api/v1/models/hf:tiny/qwen2
has '"architecture":"Qwen2ForCausalLM"'
gives 200 GET "/api/v1/models/hf:tiny/qwen2@$commit/tensors?limit=1"
has '"total":'
gives 200 GET /api/v1/models/tiny/qwen2
gives 200 GET /api/v1/models/ollama:tiny
gives 200 GET /api/v1/models/lmstudio:maker/tiny-GGUF
gives 200 GET /files/hf:tiny/qwen2/config.json
gives 200 GET /files/ollama:tiny
gives 404 GET /api/v1/models/hf:tiny/broken
has 'is a link to'
judge "the place of the cache is told" test -z "$(grep -F "$HOME" "$answer")"
gives 404 GET /api/v1/models/hf:tiny/qwem2
has "did you mean 'hf:tiny/qwen2'?"
gives 404 GET /api/v1/models/ollama:none
gives 400 GET /api/v1/models/hf:..%2f..%2fetc
gives 404 GET /api/v1/models/hf:tiny..x/qwen2
gives 403 GET /files/hf:tiny/out/config.json
gives 403 GET /api/v1/models/hf:tiny/out

# ---- jobs ----
job '{"verb":"inspect","arguments":{"MODEL":"hf:tiny/qwen2"}}'
has 'Qwen2ForCausalLM'
job '{"verb":"perplexity","arguments":{"MODEL":"ollama:tiny","text":"text.txt","max-tokens":300}}'
has '"perplexity"'
job '{"verb":"prune","arguments":{"DONOR":"tiny/qwen2","output":"pruned","iterations":2}}'
judge "the output is missing" test -f root/pruned/config.json
gives 200 GET /api/v1/jobs
has '"command":"organ prune tiny/qwen2 --output=pruned --iterations=2"'
gives 404 POST /api/v1/jobs '{"verb":"inspect","arguments":{"MODEL":"hf:tiny/broken"}}'
gives 403 POST /api/v1/jobs '{"verb":"inspect","arguments":{"MODEL":"hf:tiny/out"}}'
gives 404 POST /api/v1/jobs '{"verb":"prune","arguments":{"DONOR":"own","output":"hf:tiny/made"}}'
gives 403 POST /api/v1/jobs '{"verb":"prune","arguments":{"DONOR":"own","output":"up/made"}}'
kill -TERM $server && wait $server
server=

# ---- a secret in a cache ----
umask 077
echo "a-token-of-22-letters!" >"$hub/token"
refused 2 "$hub/token" serve --root root --caches --token-file "$hub/token"
finish
