#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ fetch, and verbs that read models from the hub by ranges, against a server that answers as the hub does (tests/kit/hub_server.c).
. "$(dirname "$0")/../kit/cli_kit.sh"
unset HF_HUB_CACHE HUGGINGFACE_HUB_CACHE XDG_CACHE_HOME HF_TOKEN HF_TOKEN_PATH HF_HUB_OFFLINE TRANSFORMERS_OFFLINE HF_HUB_DISABLE_IMPLICIT_TOKEN http_proxy
export HOME=$PWD/../user HF_HOME=$PWD/../user/hf
commit=0123456789abcdef0123456789abcdef01234567
repo=$PWD/../hub/tiny/qwen2
mkdir -p "$HOME" "$repo/sub/deep" "$PWD/../hub/tiny/gguf" "$PWD/../hub/tiny/many"
cp "$model"/* "$repo" && chmod u+w "$repo"/* && rm "$repo/calibration.txt" && echo hello >"$repo/sub/deep/x y.txt" && : >"$repo/empty"
mv "$repo/sub/deep/x y.txt" "$repo/sub/deep/x.txt" && echo "*.bin" >"$repo/.gitattributes"
cp "$model-gguf/tiny-qwen2-Q8_0.gguf" ../hub/tiny/gguf && cp "$model-gguf/tiny-qwen2-Q8_0.gguf" ../hub/tiny/many/a.gguf && cp ../hub/tiny/many/a.gguf ../hub/tiny/many/b.gguf
"$golden/../../build/checks/hub_server" ../hub >../where &
server=$!
says_where ../where || bad "the server does not start" ../where
export HF_ENDPOINT=http://127.0.0.1:$port
manners() { printf %s "$*" >../hub/manners; }
straight() { rm -f ../hub/manners; }
asked() { cut -d ' ' -f "$1" ../hub/log | sort | uniq -c | sed 's/^ *//'; }

# ---- into a folder ----
ends 0 fetch hf:tiny/qwen2 -o "/${scratch##*/}" --dry-run --quiet # a folder that would be made directly below /
ends 0 fetch hf:tiny/qwen2 -o plain --dry-run
matches fetch/fetch_dry ../out
judge "a dry run writes" test ! -e plain
ends 0 fetch hf:tiny/qwen2 -o plain --json --html page.html
cp ../out saved.json
sed -E 's/"folder": .*/"folder": "",/' ../out >../plain_json
matches_briefly fetch/fetch_json ../plain_json
ends 0 report saved.json -o saved.html
judge "the files are not those of the server" diff -r plain "$repo"
: >../hub/log
ends 0 fetch hf:tiny/qwen2 -o plain --json
judge "what is there is fetched again" test "$(jq -c '[.files[].state] | unique' ../out)" = '["present"]'
judge "more than the list is asked for" test "$(asked 1)" = "1 hub"
ends 0 fetch hf:tiny/qwen2@refs/pr/1 -o some --include '*.json' --include 'sub/*' --exclude 'tok*' --json
judge "the wrong files are selected" test "$(jq -c '[.files[].file]' ../out)" = \
    '["config.json","generation_config.json","model.safetensors.index.json","reference.json","sub/deep/x.txt","vocab.json"]'
ends 0 fetch hf:tiny/qwen2/config.json -o one
judge "more than one file is fetched" test "$(ls one)" = config.json
refused 2 "$commit" fetch hf:tiny/qwen2 -o none --include '*.bin'
refused 2 "--cache" fetch hf:tiny/qwen2
refused 2 "--cache" fetch hf:tiny/qwen2 -o x --cache
refused 2 "hf:tiny/../x" fetch hf:tiny/../x -o x
refused 2 "revision main" fetch hf:tiny/lost -o x
refused 2 "revision v7" fetch hf:tiny/qwen2@v7 -o x
HF_HUB_OFFLINE=1 refused 2 "HF_HUB_OFFLINE" fetch hf:tiny/qwen2 -o x
HF_ENDPOINT=ftp://x refused 2 "HF_ENDPOINT" fetch hf:tiny/qwen2 -o x
echo other >one/config.json
refused 2 "one/config.json" fetch hf:tiny/qwen2/config.json -o one

# ---- interrupted downloads and wrong content ----
big=model-00002-of-00003.safetensors
head -c 1000000 "$repo/$big" >one/$big.part
: >../hub/log
ends 0 fetch hf:tiny/qwen2/$big -o one --json
judge "the part is not continued" test "$(jq -r '.files[0].state, .run.fetched' ../out | paste -sd ' ')" = "continued 3307712"
judge "bytes that were there are asked for" grep -q " bytes=1000000-" ../hub/log
judge "the file is another" cmp -s one/$big "$repo/$big"
rm one/$big && head -c 1000000 /dev/zero >one/$big.part
ends 0 fetch hf:tiny/qwen2/$big -o one
judge "wrong bytes are kept" cmp -s one/$big "$repo/$big"
rm one/$big
manners cut 700000 once
ends 0 fetch hf:tiny/qwen2/$big -o one
judge "after a broken connection the file is another" cmp -s one/$big "$repo/$big"
rm one/$big
wrong() {
    manners "$1"
    ends "$2" fetch "hf:tiny/qwen2/$big" -o one
    says "$3"
    judge "manners '$1': something is left" test "$(ls one)" = config.json
    straight
}
wrong digest 3 "digest"
wrong size 3 4307713
wrong longer 3 4307722
wrong path 3 "'a/../../b'"
wrong form 3 SHA-256
wrong commit 3 commit
wrong garbage 3 "hf:tiny/qwen2/$big"

# ---- lists that are refused before anything is downloaded ----
: >../hub/log
listed() { # listed MANNERS THING [ARGS...]
    manners "$1"
    refused 3 "$2" fetch hf:tiny/qwen2 -o list "${@:3}"
    HF_HOME=$PWD/../user/none refused 3 "$2" fetch hf:tiny/qwen2 --cache "${@:3}"
    judge "manners '$1': the cache is written" test ! -e ../user/none
    straight
}
listed huge 2^63
listed huge 2^63 --dry-run
listed "called config.json/x" config.json/x
listed "called sub/deep" sub/deep/x.txt
listed "called config.json" config.json
for name in .git/hooks/post-checkout .GIT/config .bashrc sub/.git/config .gitignore/x sub/.eval_results/a.yaml .eval_results/.x; do
    listed "called $name" "--exclude '$name'"
done
judge "more than the list is asked for" test "$(asked 1 | cut -d ' ' -f 2)" = hub
judge "something is downloaded" test "$(cut -d ' ' -f 3 ../hub/log | sort -u | grep -cv /api/)" = 0
for name in .eval_results/a.yaml sub/.gitattributes .gitignore sub/.gitkeep .DS_Store; do
    manners "called $name"
    ends 0 fetch hf:tiny/qwen2 -o list --dry-run --json --include "$name"
    judge "$name is not selected" test "$(jq -c '[.files[].file]' ../out)" = "[\"$name\"]"
done
manners "called .git/config"
ends 0 fetch hf:tiny/qwen2 -o list --exclude '.git/*' --dry-run --json
judge "the wrong files are selected" test "$(jq '[.files[].file | select(startswith(".git/") | not)] | length' ../out)" = 14
straight

# ---- tokens are sent to one host only ----
manners gated
refused 4 "401" fetch hf:tiny/qwen2/config.json -o x
straight
: >../hub/log
HF_TOKEN=hf_secret ends 0 fetch hf:tiny/qwen2/$big -o one
echo " hf_secret " >../token
rm one/$big
HF_TOKEN=hf_other ends 0 fetch hf:tiny/qwen2/$big -o one --token-file ../token
mkdir -p "$HF_HOME" && cp ../token "$HF_HOME/token" && rm one/$big
ends 0 fetch hf:tiny/qwen2/$big -o one
judge "the hub does not get the token" test "$(grep -c '^hub .* Bearer hf_secret$' ../hub/log)" = "$(grep -c ^hub ../hub/log)"
judge "another host gets the token" test "$(grep '^cdn' ../hub/log | grep -vc ' -$')" = 0
judge "the other host is not asked" grep -q ^cdn ../hub/log
rm "$HF_HOME/token"
HF_TOKEN='a b' refused 2 "HF_TOKEN" fetch hf:tiny/qwen2 -o x
refused 4 "nowhere" fetch hf:tiny/qwen2 -o x --token-file nowhere

# ---- into the cache, in the layout of huggingface_hub ----
refused 2 "models--tiny--qwen2" prune hf:tiny/qwen2 -o made
ends 0 fetch hf:tiny/qwen2 --cache
entry=$HF_HOME/hub/models--tiny--qwen2
judge "refs/main is not the commit" test "$(cat "$entry/refs/main")" = $commit
judge "the snapshot is another" diff -r "$entry/snapshots/$commit" "$repo"
judge "large files are not named by their digest" \
    test "$(readlink "$entry/snapshots/$commit/$big")" = "../../blobs/$(sha256sum "$repo/$big" | cut -d ' ' -f 1)"
# git_blob FILE: prints the name that git gives to the file's blob. The tests do not need git.
git_blob() { { printf 'blob %d\0' "$(stat -c %s "$1")" && cat "$1"; } | sha1sum | cut -d ' ' -f 1; }
judge "small files are not named by git's blob" \
    test "$(readlink "$entry/snapshots/$commit/config.json")" = "../../blobs/$(git_blob "$repo/config.json")"
judge "links of folders are wrong" \
    test "$(readlink "$entry/snapshots/$commit/sub/deep/x.txt")" = "../../../../blobs/$(git_blob "$repo/sub/deep/x.txt")"
ends 0 prune hf:tiny/qwen2 -o made --iterations 2
ends 0 fetch hf:tiny/qwen2@v1 --cache --json
judge "blobs are fetched twice" test "$(jq -c '[.files[].state] | unique' ../out)" = '["present"]'
ends 0 inspect hf:tiny/qwen2@v1

# ---- read by ranges ----
rm -rf "$HF_HOME/hub"
run perplexity "$model" --text "$model/heldout.txt" --max-tokens 200 --json
jq '.model.perplexity // .perplexity' ../out >../expected
: >../hub/log
HF_TOKEN=hf_secret ends 0 perplexity hf:tiny/qwen2@v1 --text "$model/heldout.txt" --max-tokens 200 --json
jq '.model.perplexity // .perplexity' ../out | cmp -s - ../expected || bad "the perplexity is another" ../out
judge "files are not of the commit" test "$(grep '^hub GET /tiny' ../hub/log | grep -vc "/resolve/$commit/")" = 0
judge "another host gets the token" test "$(grep '^cdn' ../hub/log | grep -vc ' -$')" = 0
ends 0 inspect hf:tiny/gguf
ends 0 inspect hf:tiny/many/b.gguf
refused 3 "tiny/many" inspect hf:tiny/many
refused 2 "c.gguf" inspect hf:tiny/many/c.gguf
refused 2 "tiny/qwen2" inspect tiny/qwen2
HF_HUB_OFFLINE=1 refused 2 "models--tiny--qwen2" inspect hf:tiny/qwen2
judge "the cache is written" test ! -e "$HF_HOME/hub"
kill $server
finish
