#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ gguf split, join and edit: files, key-values and reports, the audit of each, and every kind of error. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../../kit/cli_kit.sh"
cp tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf q.gguf
first=tiny-qwen2-gguf/tiny-qwen2-BF16-00001-of-00002.gguf
keys() { "$top/build/checks/gguf_keys" "$1"; }
# digest FILES: prints the digest of the bytes of the files, one after the other.
digest() { cat "$@" | sha256sum | cut -c 1-16; }

# ---- split: the bytes are those that llama-gguf-split of llama.cpp wrote ----
mkdir a b c
ends 0 gguf split q.gguf -o a/s --max-shard-size 1000000 --quiet
judge "split by size: other bytes than llama-gguf-split's" test "$(digest a/s-0000?-of-00006.gguf)" = 83fc85c8a6141957
ends 0 gguf split q.gguf -o b/s --max-tensors 7 --quiet
judge "split by number: other bytes than llama-gguf-split's" test "$(digest b/s-0000?-of-00008.gguf)" = c8a9bade01cf2888
ends 0 gguf split q.gguf -o c/s --max-tensors 7 --no-tensor-first-split --quiet
judge "an empty first file: other bytes than llama-gguf-split's" test "$(digest c/s-0000?-of-00009.gguf)" = 7de67cd13bf57e52
judge "other values of split.*" diff <(keys c | grep '^split\.') <(printf 'split.no\t0\nsplit.tensors.count\t50\nsplit.count\t9\n')
ends 0 gguf split q.gguf -o d --max-tensors 20 -n
prints "d-00003-of-00003.gguf"
judge "a dry run writes" test -z "$(compgen -G 'd-*')"
ends 0 gguf split q.gguf -o d --max-tensors 50 --json --quiet
judge "one file is no split" test "$(jq -r '.files[].name' ../out)" = d-00001-of-00001.gguf
# The output is a model of all verbs, whichever file is named.
for file in b b/s-00001-of-00008.gguf b/s-00005-of-00008.gguf; do
    ends 0 inspect $file --tensors --json --quiet
    judge "$file: another number of tensors" test "$(jq '.tensors | length' ../out)" = 50
done
ends 0 perplexity q.gguf --text tiny-qwen2/heldout.txt --max-tokens 64 --json --quiet
cp ../out whole.json
ends 0 perplexity b/s-00001-of-00008.gguf --text tiny-qwen2/heldout.txt --max-tokens 64 --json --quiet
judge "another perplexity" test "$(jq .models[0].figures.perplexity ../out)" = "$(jq .models[0].figures.perplexity whole.json)"
# A split model is divided again.
mkdir e
ends 0 gguf split b/s-00001-of-00008.gguf -o e/s --max-shard-size 1000000 --quiet
judge "another division of the parts" test "$(digest e/s-0000?-of-00006.gguf)" = "$(digest a/s-0000?-of-00006.gguf)"

# ---- join: the file as it was ----
ends 0 gguf join c/s-00001-of-00009.gguf -o joined.gguf --quiet
judge "not the bytes of the file that was split" cmp -s joined.gguf q.gguf
ends 0 gguf join b -o from-folder.gguf --quiet
judge "not the bytes of the file that was split" cmp -s from-folder.gguf q.gguf
ends 0 gguf join "$first" -o bf16.gguf --quiet
ends 0 audit "$first" bf16.gguf --quiet
prints "50 of 50"
judge "split.* is left" test -z "$(keys bf16.gguf | grep '^split\.')"

# ---- audit ----
ends 0 audit q.gguf a/s-00001-of-00006.gguf --quiet
prints "6 files, numbered by split.no"
ends 0 audit q.gguf a --json --quiet
judge "audit counts other files" test "$(jq -c '[.files_before, .files_after, .identical, .tensors, (.problems | length)]' ../out)" = '[1,6,50,50,0]'
cp a/s-00004-of-00006.gguf kept
printf '\x55' | dd of=a/s-00004-of-00006.gguf bs=1 seek=800000 conv=notrunc status=none
ends 1 audit q.gguf a/s-00001-of-00006.gguf --quiet
prints "1 problem"
says "of its 293760 bytes differ from the donor's"
mv kept a/s-00004-of-00006.gguf

# ---- edit ----
printf '{{ messages }}\nfrom a file' >chat.jinja
echo '["a", "", "b ä"]' >tags.json
ends 0 gguf edit q.gguf -o e.gguf --metadata general.name=Other --metadata general.file_type=17 --metadata qwen2.rope.freq_base=5e5 \
    --metadata tokenizer.chat_template:string=@chat.jinja --metadata general.tags:string[]=@tags.json --metadata x.bytes:uint8[]=[0,255] \
    --metadata x.least:int64=-9223372036854775808 --metadata x.most:uint64=18446744073709551615 --metadata x.real:float64=0.1 \
    --metadata x.reals:float32[]=[1,-2.5] --metadata x.no:bool=false --metadata x.none:string[]=[] --metadata 'x.text:string=a=b: c' \
    --remove tokenizer.ggml.add_bos_token --json --quiet
judge "other changes in the report" diff <(jq -r '.keys[] | "\(.change) \(.key) \(.type) \(.before) -> \(.after)"' ../out) - <<'ROWS'
changed general.name string tiny-qwen2 -> Other
changed general.file_type uint32 7 -> 17
changed qwen2.rope.freq_base float32 10000 -> 500000
added tokenizer.chat_template string null -> {{ messages }} from a file
added general.tags string[] null -> 3 x string: a, , b ä
added x.bytes uint8[] null -> 2 x uint8: 0, 255
added x.least int64 null -> -9223372036854775808
added x.most uint64 null -> 18446744073709551615
added x.real float64 null -> 0.10000000000000001
added x.reals float32[] null -> 2 x float32: 1, -2.5
added x.no bool null -> false
added x.none string[] null -> 0 x string
added x.text string null -> a=b: c
removed tokenizer.ggml.add_bos_token bool false -> null
ROWS
judge "other key-values in the file" diff <(keys e.gguf | grep -E '^(x\.[^m]|general\.(name|tags|file)|tokenizer.chat)') - <<'ROWS'
general.name	"Other"
general.file_type	17
tokenizer.chat_template	"{{ messages }}\nfrom a file"
general.tags	["a","","b ä"]
x.bytes	[0,255]
x.least	-9223372036854775808
x.real	0.1
x.reals	[1.0,-2.5]
x.no	false
x.none	[]
x.text	"a=b: c"
ROWS
ends 0 audit q.gguf e.gguf --quiet
prints "14 differ"
# A key that was changed later, or not by the run of the report, is a problem; so is a report that states too much.
"$top/build/checks/gguf_keys" e.gguf later.gguf general.name=string:'"Third"' && cp e.gguf.json later.gguf.json
ends 1 audit q.gguf later.gguf --quiet
says "key 'general.name' is changed: this is not what the report states: later.gguf.json"
cp q.gguf back.gguf && cp e.gguf.json back.gguf.json
ends 1 audit q.gguf back.gguf --quiet
says "key 'general.name' is that of the donor, but back.gguf.json states that it was changed"
rm later.gguf.json
ends 1 audit q.gguf later.gguf --quiet
says "no report states it: later.gguf"
# A split model becomes one file, with another alignment too.
"$top/build/checks/gguf_keys" q.gguf wide.gguf general.alignment=u32:64
ends 0 gguf split wide.gguf -o wide --max-tensors 9 --quiet
ends 0 gguf edit wide-00001-of-00006.gguf -o wide-edited.gguf --metadata general.name=w --quiet
judge "the alignment is lost" test "$(keys wide-edited.gguf | grep alignment)" = $'general.alignment\t64'
ends 0 audit wide.gguf wide-edited.gguf --quiet

# An adapter in GGUF can be edited; one of peft is no GGUF file.
ln -s "${model%/*}/tiny-lora" peft
ends 0 lora sanitize peft --to gguf --base bf16.gguf -o adapter --quiet
ends 0 gguf edit adapter/adapter_model.gguf -o adapter.gguf --metadata general.name:string=mine --quiet
judge "another name" test "$(keys adapter.gguf | grep general.name)" = $'general.name\t"mine"'
ends 0 audit adapter/adapter_model.gguf adapter.gguf --quiet
refused 2 "has no key 'general.name'" gguf edit adapter/adapter_model.gguf -o x.gguf --remove general.name
refused 3 "is a LoRA adapter" gguf edit peft -o x.gguf --metadata general.name=x

# ---- an interrupted run, --resume, --force, and files of the user ----
mkdir f && echo thesis >f/s-00002-of-00006.gguf
refused 2 "f/s-00002-of-00006.gguf" gguf split q.gguf -o f/s --max-shard-size 1000000
refused 2 "f/s-00002-of-00006.gguf" gguf split q.gguf -o f/s --max-shard-size 1000000 --force
rm f/*
ends 0 gguf split q.gguf -o f/s --max-shard-size 1000000 --quiet
refused 2 "f/s-00001-of-00006.gguf" gguf split q.gguf -o f/s --max-shard-size 1000000
refused 2 "f/s-00001-of-00006.gguf" gguf split q.gguf -o f/s --max-shard-size 1000000 -n
ends 0 gguf split q.gguf -o f/s --max-shard-size 1000000 --force --quiet
judge "not the same files again" test "$(digest f/s-0000?-of-00006.gguf)" = "$(digest a/s-0000?-of-00006.gguf)"
judge "something hidden is left" test -z "$(find . -name '.?*')"
rm -r f && mkdir f
log_room=100 hold gguf split q.gguf -o f/s --max-tensors 7 --threads 1
grows() { compgen -G 'f/.*.organ-partial/s-*' >/dev/null || is_over; }
await grows
kill -INT $runner
let_go
judge "the interrupted run ends with $code" test $code = 130
judge "an interrupted run names files" test -z "$(compgen -G 'f/s-*')"
if compgen -G 'f/.*.organ-partial' >/dev/null; then
    ends 0 gguf split q.gguf -o f/s --max-tensors 7 --resume --quiet
else
    ends 0 gguf split q.gguf -o f/s --max-tensors 7 --quiet
fi
judge "other bytes after an interruption" test "$(digest f/s-0000?-of-00008.gguf)" = "$(digest b/s-0000?-of-00008.gguf)"

# ---- errors of split and join ----
refused 2 "--max-shard-size" gguf split q.gguf -o x
refused 2 "--max-tensors" gguf split q.gguf -o x --max-tensors 3 --max-shard-size 1M
refused 2 "'token_embd.weight' has 696320 bytes, which do not fit: --max-shard-size must be at least 680K" gguf split q.gguf -o x --max-shard-size 1K
refused 2 "--max-tensors" gguf split q.gguf -o x --max-tensors 0
refused 2 "without .gguf" gguf split q.gguf -o x.gguf --max-tensors 3
refused 2 "organ convert --to gguf" gguf split tiny-qwen2 -o x --max-tensors 3
refused 4 "none/x-00001-of-00017.gguf" gguf split q.gguf -o none/x --max-tensors 3
refused 2 "the input" gguf split b/s-00001-of-00008.gguf -o b/s --max-tensors 7 --force
refused 4 "none.gguf" gguf split none.gguf -o x --max-tensors 3
refused 3 "q.gguf: is not split" gguf join q.gguf -o x.gguf
refused 2 "name a .gguf" gguf join b -o x
refused 2 "q.gguf exists" gguf join b -o q.gguf
refused 2 "the input" gguf join b/s-00001-of-00008.gguf -o b/s-00004-of-00008.gguf --force
mkdir g && cp b/s-*.gguf g && rm g/s-00003-of-00008.gguf
refused 3 "'s-00003-of-00008.gguf', which does not exist" gguf join g/s-00001-of-00008.gguf -o x.gguf
cp c/s-00004-of-00009.gguf g/s-00003-of-00008.gguf
refused 3 "s-00003-of-00008.gguf" gguf join g/s-00001-of-00008.gguf -o x.gguf
ends 0 gguf split bf16.gguf -o g/s --max-tensors 7 --force --quiet
cp b/s-00003-of-00008.gguf g
ends 0 gguf join g/s-00001-of-00008.gguf -o mixed.gguf --quiet # headers do not show that types are of another model
ends 1 audit bf16.gguf mixed.gguf --quiet
head -c 100000 b/s-00003-of-00008.gguf >g/s-00003-of-00008.gguf
refused 3 "s-00003-of-00008.gguf" gguf join g/s-00001-of-00008.gguf -o x.gguf

# ---- errors of edit: what the message names, the exit code, the words ----
rejects() { refused "$1" "$2" gguf edit q.gguf -o x.gguf "${@:3}"; }
rejects 2 "--metadata or --remove"
rejects 2 "'general.nmae', and a new key needs its type: KEY:TYPE=VALUE; did you mean 'general.name'?" --metadata general.nmae=x
rejects 2 "did you mean 'general.name'?" --remove general.nam
rejects 2 "'general.name' is no KEY=VALUE" --metadata general.name
rejects 2 "'=x'" --metadata =x
rejects 2 "':uint8=1' has no key" --metadata :uint8=1
rejects 2 "'uint' is no type" --metadata a.b:uint=3
rejects 2 "the range is 0 to 255" --metadata a.b:uint8=256
rejects 2 "the range is 0 to 255" --metadata a.b:uint8=-1
rejects 2 "the range is -128 to 127" --metadata a.b:int8=-129
rejects 2 "the range is -32768 to 32767" --metadata a.b:int16=32768
rejects 2 "the range is 0 to 4294967295" --metadata general.file_type=4294967296
rejects 2 "more than 64 bits" --metadata a.b:uint64=18446744073709551616
rejects 2 "whole number" --metadata a.b:int32=1.5
rejects 2 "whole number" --metadata a.b:int32=
rejects 2 "float32" --metadata qwen2.rope.freq_base=1e39
rejects 2 "float32" --metadata qwen2.rope.freq_base=nan
rejects 2 "a decimal number" --metadata qwen2.rope.freq_base=1e4x
rejects 2 "neither true nor false" --metadata tokenizer.ggml.add_bos_token=1
rejects 2 "JSON array" --metadata a.b:uint8[]=5
rejects 2 "element 2 of 2" --metadata a.b:uint8[]=[1,2.5]
rejects 2 "element 1 of 1" --metadata 'a.b:string[]=[1]'
rejects 2 "element 1 of 1" --metadata a.b:bool[]=[0]
echo '[1,' >cut.json
rejects 3 "JSON array" --metadata a.b:uint8[]=@cut.json
printf 'a\0b' >nul.txt
rejects 3 "NUL" --metadata general.name=@nul.txt
printf '\xff' >bad.txt
rejects 3 "UTF-8" --metadata general.name=@bad.txt
rejects 4 "none.json" --metadata a.b:uint8[]=@none.json
rejects 2 "whole number" --metadata general.file_type=@tags.json
rejects 2 "has the type string, which it keeps" --metadata general.name:uint8=3
rejects 2 "'general.name' is set or removed twice" --metadata general.name=a --remove general.name
rejects 2 "'general.name' is set or removed twice" --metadata general.name=a --metadata general.name:string=b
for key in general.architecture general.alignment general.quantization_version split.count qwen2.block_count qwen2.embedding_length qwen2.attention.head_count; do
    rejects 2 "key '$key' cannot be edited" --metadata $key:uint32=4
    rejects 2 "key '$key' cannot be edited" --remove $key
done
rejects 2 "key 'qwen2.context_length' cannot be removed" --remove qwen2.context_length
rejects 2 "2048 tokens" --metadata 'tokenizer.ggml.tokens=["a"]'
refused 2 "e.gguf exists" gguf edit q.gguf -o e.gguf --metadata general.name=x
refused 2 "the input" gguf edit q.gguf -o q.gguf --metadata general.name=x --force
refused 2 "did you mean 'gguf split'?" gguf splt q.gguf

# ---- documents, pages, memory and a full disk ----
ends 0 report b/s-00001-of-00008.gguf.json -o split.html
ends 0 report e.gguf.json -o edit.html
ends 0 gguf join c -o small.gguf --memory 16M --threads 2 --quiet
judge "--memory changes the file" cmp -s small.gguf q.gguf
finish
