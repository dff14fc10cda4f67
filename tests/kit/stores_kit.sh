# SPDX-License-Identifier: MIT
# shellcheck shell=bash disable=SC2034 # variables are for the scripts that read this in
# Functions that make folders as huggingface_hub, Ollama and LM Studio write them, in the home folder "user" of the test.
unset HF_HUB_CACHE HUGGINGFACE_HUB_CACHE XDG_CACHE_HOME OLLAMA_MODELS
export HOME=$PWD/user HF_HOME=$PWD/user/hf
export HF_HUB_OFFLINE=1 # names that the caches lack are not asked for elsewhere
hub=$HF_HOME/hub
ollama=$HOME/.ollama/models
studio=$HOME/.lmstudio/models
commit=0123456789abcdef0123456789abcdef01234567

# cached ENTRY COMMIT FILES...: puts files into a snapshot of the cache as huggingface_hub does.
cached() {
    local entry=$hub/$1 snapshot=$hub/$1/snapshots/$2 file digest
    mkdir -p "$entry/blobs" "$entry/refs" "$snapshot"
    for file in "${@:3}"; do
        digest=$(sha256sum "$file" | cut -d ' ' -f 1)
        cp "$file" "$entry/blobs/$digest" && ln -sfn "../../blobs/$digest" "$snapshot/${file##*/}"
    done
}
# layer DIGEST SIZE: prints a layer of an Ollama manifest.
layer() {
    printf '{"schemaVersion":2,"layers":[{"mediaType":"application/vnd.ollama.image.license","digest":"x","size":1},%s]}' \
        "{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"$1\",\"size\":$2}"
}
# manifest PATH DIGEST SIZE: writes a manifest of the first layout.
manifest() {
    mkdir -p "$(dirname "$ollama/manifests/$1")"
    layer "$2" "$3" >"$ollama/manifests/$1"
}
# blob TEXT: writes a blob; $blob is its digest.
blob() {
    blob=$(printf %s "$1" | sha256sum | cut -d ' ' -f 1)
    printf %s "$1" >"$ollama/blobs/sha256-$blob"
}
# manifest_link PATH TEXT: writes a manifest of the second layout, a link to a blob with the text.
manifest_link() {
    blob "$2"
    mkdir -p "$(dirname "$ollama/manifests-v2/$1")"
    ln -sfn "../../../../blobs/sha256-$blob" "$ollama/manifests-v2/$1"
}
