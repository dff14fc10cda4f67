#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ tokenize: output, documents, errors. Ends with the line "N passed, N failed"; `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"

# ---- results ----
printf 'In the beginning God created\tthe heaven.\r\n<|endoftext|>\xff caf\xc3\xa9\n' >text
ends 0 tokenize tiny-qwen2 --text text
matches tokenize/tokenize ../out
ends 0 tokenize tiny-qwen2 --text text --special --json
matches tokenize/tokenize_json ../out
ends 0 tokenize tiny-qwen2 --text text --ids
cp ../out ids
matches tokenize/tokenize_ids ../out
ends 0 tokenize tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf --text text --ids
if cmp -s ../out ids; then good; else bad "GGUF gives other ids"; fi
"$organ" tokenize tiny-qwen2 --text - --ids <text >../out 2>../err
if cmp -s ../out ids; then good; else bad "standard input gives other ids" ../err; fi
ends 0 tokenize tiny-qwen2 --text tiny-qwen2/heldout.txt --quiet
prints "55,040 tokens in 202,093 bytes"
: >empty
ends 0 tokenize tiny-qwen2 --text empty
prints "0 tokens in 0 bytes"
ends 0 tokenize tiny-qwen2 --text empty --ids
judge "an empty text has ids" test ! -s ../out

# ---- interrupted while it waits for more text: one signal, sent after the program has installed its handler ----
here="organ tokenize --text -, interrupted"
mkfifo pipe
exec 3<>pipe
env --default-signal=INT "$organ" tokenize tiny-qwen2 --text - <pipe >../out 2>../err &
waiting=$!
# Bit 1 of SigCgt is SIGINT. Before exec the process is a copy of this shell, which catches SIGINT too but has no argument "tokenize".
listens() { grep -qzx tokenize "/proc/$waiting/cmdline" 2>/dev/null && [[ $(sed -n 's/^SigCgt:\t//p' "/proc/$waiting/status" 2>/dev/null) == *[2367abef] ]]; }
await listens
kill -INT "$waiting"
ended() { ! kill -0 "$waiting" 2>/dev/null; }
await ended
kill -KILL "$waiting" 2>/dev/null
wait "$waiting"
judge "it does not end with 130" test $? = 130
judge "it does not say why" grep -q "^error: interrupted" ../err
judge "it prints something" test ! -s ../out
exec 3>&-

# ---- errors ----
refused 2 "MODEL" tokenize
refused 2 "--text" tokenize tiny-qwen2
refused 2 "'--ids'" tokenize tiny-qwen2 --text text --id
refused 4 "nowhere" tokenize tiny-qwen2 --text nowhere
refused 4 "nowhere" tokenize nowhere --text text
refused 3 "tiny-qwen2" tokenize tiny-qwen2 --text tiny-qwen2
mkdir bare
cp tiny-qwen2/model-00001-of-00003.safetensors bare/model.safetensors
refused 3 "tokenizer.json" tokenize bare --text text
truncate -s 1073741825 long.txt # has no blocks on the disk
refused 3 "1073741825" \
    tokenize tiny-qwen2 --text long.txt
rm long.txt
# The error for the root of an entry of the Hugging Face cache names its snapshots.
mkdir -p models--a--b/snapshots/0123abc models--a--b/blobs models--a--b/refs
refused 3 "models--a--b" \
    tokenize models--a--b --text text
rm -r models--a--b
echo '{"model":{"type":"Unigram","vocab":[["a",0.0]]}}' >bare/tokenizer.json
refused 3 "'Unigram'" tokenize bare --text text
head -c 20000 tiny-qwen2/tokenizer.json >bare/tokenizer.json
refused 3 "bare/tokenizer.json" tokenize bare --text text
sed 's/gpt2/bert/' tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf >bert.gguf
refused 3 "'bert'" tokenize bert.gguf --text text

# ---- normalisation steps that multiply the text: 16 rules that replace 'a' by 100 of it would need more than any memory ----
a100=$(printf 'a%.0s' {1..100})
steps=$(for k in {1..16}; do printf '%s{"type":"Replace","pattern":{"String":"a"},"content":"%s"}' "${comma:-}" "$a100" && comma=,; done)
echo '{"normalizer":{"type":"Sequence","normalizers":['"$steps"']},"model":{"type":"BPE","vocab":{"a":0},"merges":[]}}' >bare/tokenizer.json
printf 'a%.0s' {1..61} >sixty-one
if grep -q libasan < <(ldd "$organ"); then capped=$organ; else
    capped=$scratch/capped
    printf '#!/bin/sh
ulimit -v 2000000
exec "%s" "$@"
' "$organ" >"$capped" && chmod +x "$capped"
fi
whole=$organ organ=$capped
refused 3 "step 2 of 16" tokenize bare --text sixty-one
organ=$whole
finish
