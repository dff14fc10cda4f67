#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ patch extract and apply: the tuned model comes back byte for byte, patches without a manifest, as slime makes them, and at a URL, audits,
# interrupted runs, and every kind of error. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
q=tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
"$organ" lora merge --base tiny-qwen2 --adapter "$top/fixtures/tiny-lora" -o tuned --quiet >../made 2>&1 || bad "no tune" ../made
rm -r tuned/organ
# same A B: both directories have the same files, apart from reports.
same() { judge "$2 is not $1, byte for byte" diff -r -x organ "$1" "$2"; }
# extract NAME ARGS...: makes the patch NAME of tiny-qwen2 and tuned.
extract() { ends 0 patch extract --base tiny-qwen2 --tuned tuned -o "$1" --quiet "${@:2}"; }
apply() { ends 0 patch apply --base tiny-qwen2 --patch "$1" -o "$2" --quiet "${@:3}"; }

# ---- round trips: a tune with a tensor that the base lacks, in one file instead of three ----
extract p
prints "Tensors that the base lacks"
prints "lm_head.weight"
apply p n
prints "Every tensor of the base and of the result"
same tuned n
extract o --encoding overwrite --checksum adler32 --level 5 --patch-version v2 --base-version v1
judge "other settings in the index" test "$(jq -c .metadata o/model.safetensors.index.json)" = \
    '{"base_version":"v1","checksum_format":"adler32","compression_format":"zstd","delta_encoding":"overwrite","version":"v2"}'
apply o no --json
same tuned no
judge "other counts" test "$(jq -c '[.operation, .totals.tensors, .totals.same, .totals.changed, .totals.whole, .totals.bytes]' ../out)" = \
    "[\"apply\",51,40,10,1,$(cat tuned/* | wc -c)]"
extract s --max-shard-size 1M --json
judge "the changes are in one file" test -e s/model-00002-of-00003.safetensors -o -e s/model-00002-of-00004.safetensors
apply s ns
same tuned ns
ends 0 schema organ.patch_manifest/1 --quiet
# The other way: the tune is the base, and a tensor goes.
ends 0 patch extract --base tuned --tuned tiny-qwen2 -o back --quiet
prints "Tensors of the base that the model lacks"
ends 0 patch apply --base tuned --patch back -o nback --quiet
same tiny-qwen2/. nback
facts='[.added, .reshaped, .gone, .totals.patch_bytes, (.files | map(.patch_bytes))]'
for made in p=n back=nback; do
    judge "apply reports other changes than extract" test "$(jq -c "$facts" "${made%=*}/organ/patch.json")" = "$(jq -c "$facts" "${made#*=}/organ/patch.json")"
done
# Equal models have an empty patch.
ends 0 patch extract --base tiny-qwen2 --tuned tiny-qwen2 -o empty --quiet
prints "No tensor differs"
ends 0 patch apply --base tiny-qwen2 --patch empty -o nempty --quiet
same tiny-qwen2/. nempty
# Files without tensors: hidden ones, folders, none; a file with the seal of a report keeps its bytes.
cp -rL tiny-qwen2 more && chmod -R u+w more && mkdir -p more/a/b && echo x >more/a/b/c.txt && : >more/a/none && echo y >more/.hidden && rm more/vocab.json
printf '# A page\n' >more/README.md
ends 0 patch extract --base tiny-qwen2 --tuned more -o pmore --quiet
apply pmore nmore
same more nmore

# A clone of a hub: what its tools keep is no part of the model. Large files are refused before they are read.
mkdir -p more/.git/objects more/.cache/huggingface && echo z >more/.git/objects/z && echo z >more/.cache/huggingface/z
ends 0 patch extract --base tiny-qwen2 --tuned more -o pclone --quiet
judge "files of git are in the patch" diff -r -x organ pmore pclone
truncate -s 200M more/one more/two
refused 2 "with 'two', the headers and the files without tensors have more than 256 MiB" patch extract --base tiny-qwen2 --tuned more -o x --memory 4G
rm more/two
refused 2 "the headers and files without tensors" patch extract --base tiny-qwen2 --tuned more -o x --memory 64M
rm -r more/one more/.git more/.cache

# ---- GGUF, as a file and in a directory ----
ends 0 gguf edit "$q" -o e.gguf --metadata general.name=other --quiet
ends 0 patch extract --base "$q" --tuned e.gguf -o g --quiet
ends 0 patch apply --base "$q" --patch g -o ng.gguf --quiet
judge "not the bytes of the tuned file" cmp -s e.gguf ng.gguf
ends 0 patch apply --base "$q" --patch g -o ngd --quiet
judge "not the bytes of the tuned file" cmp -s e.gguf ngd/e.gguf
refused 2 "x.safetensors" patch apply --base "$q" --patch g -o x.safetensors
refused 2 "x.gguf" patch apply --base tiny-qwen2 --patch p -o x.gguf
refused 2 "x.gguf: a patch is a directory" patch extract --base "$q" --tuned e.gguf -o x.gguf
split=tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
ends 0 prune "$split" -o cut --quiet
rm -rf cut/organ
ends 0 patch extract --base "$split" --tuned cut -o psplit --quiet
ends 0 patch apply --base "$split" --patch psplit -o nsplit --quiet
same cut nsplit
# A model of another type: everything is stored whole.
ends 0 patch extract --base tiny-qwen2 --tuned "$q" -o cross --json --quiet
judge "GGUF names are not those of safetensors" test "$(jq -c '[.totals.same, .totals.changed, .totals.whole]' ../out)" = '[0,0,50]'
ends 0 dequantize "$q" -o plain.gguf --dtype f32 --quiet
ends 0 patch extract --base "$q" --tuned plain.gguf -o types --json --quiet
judge "tensors of another type are not listed" test "$(jq '(.reshaped | length) == .totals.whole and .totals.whole > 0' ../out)" = true
ends 0 patch apply --base "$q" --patch types -o nplain.gguf --quiet
judge "not the bytes of the tuned file" cmp -s plain.gguf nplain.gguf

# ---- dry runs ----
refuses_nothing=$(inventory)
ends 0 patch extract --base tiny-qwen2 --tuned tuned -o z -n --json --quiet
judge "a dry run has another size" test "$(jq .totals.patch_bytes ../out)" = "$(jq .totals.patch_bytes p/organ/patch.json)"
ends 0 patch apply --base tiny-qwen2 --patch p -o z -n --quiet
judge "a dry run writes" test "$(inventory)" = "$refuses_nothing"

# ---- audit ----
ends 0 audit tiny-qwen2 n --json --quiet
judge "audit counts other tensors" test "$(jq -c '[.tensors, .proved, .from_donor, .files == .proved_files, (.problems | length)]' ../out)" = '[51,51,40,true,0]'
ends 0 audit "$q" ng.gguf --quiet
prints "Passed: 50 of 50 tensors"
ends 0 prune tiny-qwen2 -o other --quiet
ends 1 audit other n --quiet # another base
says "differs from the donor's"
cp -r n spoiled && printf '\x55' | dd of=spoiled/model.safetensors bs=1 seek=500000 conv=notrunc status=none && echo >>spoiled/merges.txt
ends 1 audit tiny-qwen2 spoiled --quiet
says "the report states"
prints "2 problems"
rm -r spoiled

# A patch without a manifest has the files of the base. Its result is audited by the digests of what was written.
cp -rL tiny-qwen2 near && chmod -R u+w near
shard=$("$organ" inspect near --tensors --json --select model.norm.weight | jq -r '.tensors[0].file')
printf '\x55' | dd of="near/$shard" bs=1 seek=$(($(stat -c %s "near/$shard") - 3)) conv=notrunc status=none
ends 0 patch extract --base tiny-qwen2 --tuned near -o pnear --quiet
rm -rf pnear/organ_patch.json pnear/files pnear/organ
cp -rL tiny-qwen2 reported && chmod -R u+w reported && cp -r n/organ reported
ends 0 patch apply --base reported --patch pnear -o nnear --quiet
same near nnear
judge "reports of the base are in the result" test ! -e nnear/organ/donor -a "$(jq .totals.changed nnear/organ/patch.json)" = 1
ends 0 audit tiny-qwen2 nnear --json --quiet
judge "audit proves less" test "$(jq -c '[.tensors, .proved, .from_donor, .files > 9, .files == .proved_files]' ../out)" = '[50,50,49,true,true]'
# spoiled FILE COMMAND...: the audit finds the change that the command makes to the file of a copy of nnear.
spoiled() {
    rm -rf changed && cp -r nnear changed
    "${@:2}"
    ends 1 audit tiny-qwen2 changed --quiet
    says "$1"
}
spoiled model.norm.weight dd if=/dev/zero of="changed/$shard" bs=1 seek=$(($(stat -c %s "near/$shard") - 5)) count=3 conv=notrunc status=none
spoiled "merges.txt has the XXH3-128" truncate -s +1 changed/merges.txt
spoiled "merges.txt is missing" rm changed/merges.txt

# ---- interrupted runs continue to the same bytes ----
for turn in 1 2 3 4; do
    rm -rf .r.organ-partial r
    timeout -s KILL "0.$((turn * 3))" "$organ" patch extract --base tiny-qwen2 --tuned tuned -o r --quiet --threads 1 >../out 2>../err
    [[ -e r ]] || ends 0 patch extract --base tiny-qwen2 --tuned tuned -o r --quiet --resume --threads 1
    judge "a continued patch has other bytes" diff -r -x organ p r
    rm -rf .k.organ-partial k
    timeout -s KILL "0.$((turn * 3))" "$organ" patch apply --base tiny-qwen2 --patch p -o k --quiet --threads 1 >../out 2>../err
    [[ -e k ]] || ends 0 patch apply --base tiny-qwen2 --patch p -o k --quiet --resume --threads 1
    same tuned k
done
# Without a manifest the report has the digests of both runs.
ends 0 patch extract --base tiny-qwen2 --tuned other -o pother --quiet
rm -rf pother/organ_patch.json pother/files pother/organ
interrupted KILL nother patch apply --base tiny-qwen2 --patch pother -o nother
ends 0 patch apply --base tiny-qwen2 --patch pother -o nother --quiet --resume --json
judge "digests are missing" test "$(jq '(.tensors | map(select(.xxh3_128)) | length) == .totals.changed and .totals.changed > 9' ../out)" = true
ends 0 audit tiny-qwen2 nother --quiet

# A patch at a URL, by which an interrupted run is continued only if it is the same.
mkdir -p ../hub/tiny && cp -r p ../hub/tiny/p
unset http_proxy HF_TOKEN HF_HUB_OFFLINE
"${organ%/*}/checks/hub_server" ../hub >../where &
server=$!
says_where ../where || bad "the server does not start" ../where
url=http://127.0.0.1:$port/tiny/p/resolve/main/
apply "$url" far
same tuned far
interrupted KILL far2 patch apply --base tiny-qwen2 --patch "$url" -o far2
sed 's/"result": "tuned"/"result": "other"/' p/organ_patch.json >../hub/tiny/p/organ_patch.json
judge "the manifest has another size" test "$(stat -c %s p/organ_patch.json)" = "$(stat -c %s ../hub/tiny/p/organ_patch.json)"
ends 2 patch apply --base tiny-qwen2 --patch "$url" -o far2 --quiet --resume
says "its patch_digest was"
cp p/organ_patch.json ../hub/tiny/p/organ_patch.json
apply "$url" far2 --resume
same tuned far2
kill $server
wait $server 2>/dev/null
refused 2 "r" patch extract --base tiny-qwen2 --tuned tuned -o r
ends 0 patch extract --base tiny-qwen2 --tuned tuned -o r --force --quiet
ends 0 patch apply --base tiny-qwen2 --patch p -o k --force --quiet

# ---- another base ----
cp -rL tiny-qwen2 wrong && chmod -R u+w wrong
shard=$("$organ" inspect wrong --tensors --json --select model.norm.weight | jq -r '.tensors[0].file')
printf '\x55' | dd of="wrong/$shard" bs=1 seek=$(($(stat -c %s "wrong/$shard") - 3)) conv=notrunc status=none
refused 3 "is not the base of the patch" patch apply --base wrong --patch p -o x
refused 3 "has no tensor" patch apply --base "$q" --patch p -o x
cp -rL tiny-qwen2 edited && chmod -R u+w edited && echo >>edited/merges.txt
refused 3 "merges.txt" patch apply --base edited --patch p -o x
cp -r p slime && rm -r slime/organ_patch.json slime/files slime/organ
refused 3 "lm_head.weight" patch apply --base tiny-qwen2 --patch slime -o x
refused 2 "--base" patch apply --patch p -o x
refused 3 "is no patch" patch apply --base tiny-qwen2 --patch tiny-qwen2 -o x

# ---- models that organ shows in another form than that of their files ----
mkdir mlx && echo '{"model_type":"mamba"}' >mlx/config.json
header='{"a.mixer.conv1d.weight":{"dtype":"F32","shape":[2,3,1],"data_offsets":[0,24]}}'
printf "\\x$(printf %x ${#header})\\0\\0\\0\\0\\0\\0\\0%s%024d" "$header" 0 >mlx/model.safetensors
refused 2 "in another form than its files have" patch extract --base mlx --tuned tuned -o x
refused 2 "in another form than its files have" patch extract --base tuned --tuned mlx -o x
refused 2 "in another form than its files have" patch apply --base mlx --patch p -o x

# ---- damaged patches ----
# damaged THING WHAT...: a copy of the patch in which the command WHAT has changed something is refused by name.
damaged() {
    rm -rf d && cp -r p d
    "${@:2}"
    refused 3 "$1" patch apply --base tiny-qwen2 --patch d -o x
}
edit() { jq -c "$2" "p/$1" >"d/$1"; }
byte() { printf '%b' "\\x$3" | dd of="d/$1" bs=1 seek="$2" conv=notrunc status=none; }
damaged "blake3" edit model.safetensors.index.json '.metadata.checksum_format = "blake3"'
damaged "delta_encoding" edit model.safetensors.index.json '.metadata.delta_encoding = "sum"'
damaged "compression_format" edit model.safetensors.index.json '.metadata.compression_format = "lz4"'
damaged "checksum_format" edit model.safetensors.index.json 'del(.metadata.checksum_format)'
damaged "schema" edit organ_patch.json '.schema = "organ.patch_manifest/9"'
damaged "'organ/x.json': is no file of a model" edit organ_patch.json '.files["organ/x.json"] = .files["config.json"] | del(.files["config.json"])'
damaged "'.organ-growing': is no file of a model" edit organ_patch.json '.files[".organ-growing"] = .files["config.json"] | del(.files["config.json"])'
damaged "file is 'a/model.safetensors', which is in a folder" edit organ_patch.json \
    '.files["a/model.safetensors"] = .files["model.safetensors"] | del(.files["model.safetensors"]) | .tensors[].file = "a/model.safetensors"'
damaged "file is 'none', which is not in files" edit organ_patch.json '.tensors["model.norm.weight"].file = "none"'
damaged "../evil" edit organ_patch.json '.files["../evil"] = .files["config.json"] | del(.files["config.json"])'
damaged "/evil" edit organ_patch.json '.files["/evil"] = .files["config.json"] | del(.files["config.json"])'
damaged "a/../../evil" edit organ_patch.json '.files["a/../../evil"] = .files["config.json"]'
damaged "stored" edit organ_patch.json '.files["config.json"].stored = "files/../../evil"'
damaged "files/9.zst" edit organ_patch.json '.files["config.json"].stored = "files/9.zst"'
damaged "overlaps" edit organ_patch.json '.tensors["model.norm.weight"].offset = .tensors["lm_head.weight"].offset'
damaged "model.norm.weight" edit organ_patch.json '.tensors["model.norm.weight"].offset = 99999999999'
damaged "model.norm.weight" edit organ_patch.json '.tensors["model.norm.weight"].bytes = 640000000000'
damaged "model.norm.weight" edit organ_patch.json '.tensors["model.norm.weight"].change = "none"'
damaged "model.norm.weight" edit organ_patch.json '.tensors["model.norm.weight"].after = "00000000000000000000000000000000"'
damaged "model.norm.weight" edit organ_patch.json '.tensors["model.norm.weight"].before = "00000000000000000000000000000000"'
damaged "model.norm.weight" edit organ_patch.json '.tensors["model.norm.weight"].shape = [2, 160]'
# Headers say otherwise: an unchanged tensor is missing, two have changed places, a file is longer than its tensors.
unchanged=$(jq -r '[.tensors | to_entries[] | select(.value.change == "none")][0].key' p/organ_patch.json)
damaged "the headers of the result have 51" edit organ_patch.json "del(.tensors[\"$unchanged\"])"
damaged "has another place in organ_patch.json than in the header of model.safetensors" edit organ_patch.json \
    '.tensors as $t | "model.layers.0.self_attn.k_proj.weight" as $a | "model.layers.0.self_attn.v_proj.weight" as $b |
    .tensors[$a].offset = $t[$b].offset | .tensors[$b].offset = $t[$a].offset'
damaged "the files that it describes are no model" edit organ_patch.json '.files["model.safetensors"].bytes += 1000'
damaged "another type or size" edit organ_patch.json '.tensors["lm_head.weight"].dtype = "F16"'
damaged "lacks 1 of the 11" edit organ_patch.json 'del(.tensors["model.norm.weight"])'
damaged "spans" edit organ_patch.json '.files["config.json"].spans = [0]'
damaged "config.json" edit organ_patch.json '.files["config.json"].bytes = 99999999999'
damaged "files have more than 268435456 bytes" edit organ_patch.json '.files |= with_entries(select(.value.stored == null) |= (.value.bytes = 200000000 | .value.spans = [0, 200000000]))'
damaged "stored is that of another file" edit organ_patch.json '(.files[] | select(.stored) | .stored) = "files/0.zst"'
damaged "files/" byte "files/1.zst" 12 ff
damaged "merges.txt" edit organ_patch.json '.files["merges.txt"].xxh3_128 = "00000000000000000000000000000000"'
middle=$(($(stat -c %s p/model.safetensors) / 2))
first=$("$organ" inspect p --tensors --json | jq '[.tensors[].offset] | min')
damaged "has no valid header" byte model.safetensors "$first" 25
damaged "tensor '" byte model.safetensors "$middle" 55
damaged "model.safetensors" truncate -s -100 d/model.safetensors
damaged "organ_patch.json" truncate -s -100 d/organ_patch.json
finish
