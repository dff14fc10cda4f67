#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks permissions of outputs, outputs at the limit of file sizes, and how audit finds an output with files of two runs. Ends with the line
# "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
adapter=$(cd "$model/.." && pwd)/tiny-lora
umask 002

# closed WHAT BITS PATH...: no file or directory has one of the permission bits.
closed() {
    local found
    found=$(find "${@:3}" -perm "/$2" -printf '%m %p\n')
    judge "$1 is more open than its input: $found" test -z "$found" -a -e "$3"
}

# ---- permissions: never more open than the inputs ----
cp -rL tiny-qwen2 private && chmod -R u+w private && chmod 600 private/*.safetensors
cp -rL tiny-qwen2 group && chmod -R u+w group && chmod 640 group/*.safetensors
cp -rL tiny-qwen2 folder && chmod -R u+w folder && chmod 700 folder
cp -rL tiny-qwen2 open && chmod -R u=rwX,go=rX open
cp -rL "$adapter" lora && chmod -R u+w lora && chmod 600 lora/*
ends 0 prune private -o p1 --html p1.html -s 30 --method magnitude
closed "a directory" 077 p1 p1.html
ends 0 convert private --to gguf -o c.gguf
closed "a GGUF file" 077 c.gguf c.convert.json c.CONVERT_REPORT.md c.CONVERT_REPORT.html
ends 0 prune c.gguf -o pc.gguf -s 30 --method magnitude
closed "a pruned GGUF file" 077 pc.*
ends 0 measure private -o z
closed "a measurement" 077 z
ends 0 extract private -o parts
closed "an organ directory" 077 parts
ends 0 lora merge --base open --adapter "$adapter" -o tuned
chmod 600 tuned/*.safetensors
ends 0 lora extract --base open --tuned tuned --rank 2 --select '*.self_attn.v_proj' -o l
closed "an adapter of two models" 077 l
ends 0 lora merge --base open --adapter lora -o m
closed "a merged model" 077 m
ends 0 lora resize lora --rank 1 -o r
closed "a resized adapter" 077 r
ends 0 inspect private --html i.html
closed "a page" 077 i.html
ends 0 report p1/organ/prune.json -o again.html
closed "the page of a report" 077 again.html
ends 0 perplexity private --text tiny-qwen2/heldout.txt --max-tokens 32 -o e
closed "an evaluation" 077 e
ends 0 prune group -o p2 -s 30 --method magnitude
closed "an output for the group" 027 p2
judge "the group cannot read the output" test -n "$(find p2/model-00001-of-00003.safetensors -perm 640)"
ends 0 prune folder -o p3 -s 30 --method magnitude
closed "the output of a closed directory" 077 p3
ends 0 prune open -o p4 -s 30 --method magnitude
judge "the output of a readable model is closed" test -n "$(find p4/model-00001-of-00003.safetensors -perm 644)"
judge "its directory is closed" test -n "$(find p4 -maxdepth 0 -perm 755)"
# What is no input: a directory for temporary files, and a folder behind a link, from which nothing is copied.
mkdir -m 700 scratch
ends 0 prune open -o p5 --method sparsegpt -s 30 --calibration tiny-qwen2/heldout.txt --samples 1 --context 16 --scratch scratch
judge "--scratch closes the output" test -n "$(find p5 -maxdepth 0 -perm 755)"
rm -r p5 && cp -r open looped
for k in {1..24}; do ln -s . looped/l$k; done # 24^8 paths
ends 0 inspect looped --html looped.html
judge "a link to a folder closes the page" test -n "$(find looped.html -perm 644)"
# Inputs that an operand names: an adapter after a '+', models and texts of a recipe.
ends 0 lora extract --base open --tuned tuned --rank 2 --select '*.self_attn.v_proj' -o factors
chmod -R u=rwX,go= factors && cp -r open other && head -c 400 tiny-qwen2/heldout.txt >text && chmod 600 text
ends 0 merge open+factors other --method linear -o m1 --html m1.html
closed "a merge with an adapter" 077 m1 m1.html
ends 0 merge open+factors other --method linear -o m2.gguf
closed "a GGUF file of such a merge" 077 m2.*
ends 0 compare open other+factors --html compared.html
closed "a comparison with an adapter" 077 compared.html
printf 'models: [{model: private}, {model: open}]\nmerge_method: linear\nparameters: {weight: 1}\n' >closed.yaml
ends 0 merge closed.yaml -o m4 --html m4.html
closed "a merge of a recipe" 077 m4 m4.html
ends 0 audit --recipe closed.yaml m4 --html audited.html
closed "the audit of a recipe" 077 audited.html
ends 0 imatrix open --calibration text --context 32 --chunks 2 -o i.gguf
closed "an importance matrix of a text" 077 i.gguf
# Journals and notes: the hidden directory of a run that is killed.
rm -rf p1 z
mkdir -m 700 .k.organ-partial && (umask 077 && : >.k.organ-partial/.organ-growing)
ends 0 prune private -o k --force -s 30 --method magnitude
closed "an output over an unfinished one" 077 k

# ---- ulimit -f: the run ends with 4 and its message, and leaves what a full disk leaves ----
for verb in "prune tiny-qwen2 -o big" "convert tiny-qwen2 --to gguf -o big.gguf" "quantize tiny-qwen2 -s int8-channel -o big" "lora merge --base tiny-qwen2 --adapter $adapter -o big"; do
    # env: signals that a shell ignores stay ignored in its children, so the default is set again.
    # shellcheck disable=SC2086 # words
    (ulimit -f 2 && exec env --default-signal=XFSZ "$organ" $verb --quiet >/dev/null 2>&1 </dev/null)
    status=$?
    judge "$verb ends with $status at the limit of file sizes" test "$status" = 4
    judge "$verb left an output" test ! -e big -a ! -e big.gguf
    rm -rf .big*
done
# shellcheck disable=SC2086
(ulimit -f 2 && exec env --default-signal=XFSZ "$organ" prune tiny-qwen2 -o big --quiet >/dev/null 2>message)
judge "the message does not name the reason" grep -q "File too large" message
rm -rf .big*

# ---- an output with files of two runs ----
ends 0 prune tiny-qwen2 -o one -s 30 --method magnitude
ends 0 prune tiny-qwen2 -o two -s 60 --method magnitude
ends 0 audit tiny-qwen2 one
cp two/model-00002-of-00003.safetensors one/
ends 1 audit tiny-qwen2 one
says "model-00002-of-00003.safetensors"
finish
