#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests `organ inspect --untrusted`: findings, exit codes, errors. `--bless` writes the golden files again.
. "$(dirname "$0")/../kit/cli_kit.sh"

# ---- models without findings ----
ends 0 inspect --untrusted tiny-qwen2
matches inspect/untrusted_clean ../out
for sound in "$model"-gguf "${model%/*}"/{tiny-moe,tiny-lora,types.gguf,tiny-lora-merged.safetensors} "${model%/*}"/forward/*.gguf \
    "${model%/*}"/forward/{gemma2,llama,mixtral,phi3,qwen3moe-stacked} "${model%/*}"/precision/{ct-packed-group,gptq-v1-4,mlx-affine,gpt-oss-mxfp4}; do
    ends 0 inspect --untrusted "$sound"
    prints "no findings"
done
for tokenizer in "${model%/*}"/tokenizers/*.json; do
    mkdir words && cp "$tokenizer" words/tokenizer.json && cp "$model"/model-00001-of-00003.safetensors words/one.safetensors
    ends 0 inspect --untrusted words
    rm -r words
done

# Files that organ itself writes: headers without data, an index without shards, reports.
for donor in tiny-qwen2 tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf; do
    ends 0 extract "$donor" -o parts
    ends 0 inspect --untrusted parts
    printf '\x80\x02}q\x00.' >parts/skeleton/odd.bin # numbers can be any
    ends 1 inspect --untrusted parts
    prints "1 finding"
    prints "odd.bin"
    rm parts/skeleton/*.bin && echo x >parts/extra.py
    ends 1 inspect --untrusted parts
    prints "extra.py: it is Python source"
    prints "Files that do not form a model"
    rm -r parts
done
ends 0 prune tiny-qwen2 -o pruned --iterations 2
ends 0 inspect --untrusted pruned

# ---- a download with findings of most kinds ----
cp -rL tiny-qwen2 bad && chmod -R u+w bad
printf '\x80\x02}q\x00.' >bad/pytorch_model.bin
echo 'import os' >bad/modeling_tiny.py
ln -s /etc/passwd bad/LICENSE
mkfifo bad/pipe
printf '{}' >$'bad/\u0441onfig.json'
printf '%s' '{"model_type":"qwen2","auto_map":{"AutoModel":"modeling_tiny.Model"}}' >bad/config.json
printf '%s' "{\"chat_template\":\"{{ ''.__class__.__mro__[1].__subclasses__() }}\"}" >bad/tokenizer_config.json
truncate -s -640 bad/model-00003-of-00003.safetensors
ends 1 inspect --untrusted bad
says "'/etc/passwd'"
matches inspect/untrusted ../out
ends 1 inspect --untrusted bad --json
matches_briefly inspect/untrusted_json ../out
ends 1 inspect --untrusted bad --json --html bad.html
judge "the page names every kind" test "$(grep -o '<h2[^>]*>[^<]*' bad.html | wc -l)" -ge 8
for words in "Pickles" "Programs next to the weights" "Configs that name code to load" "Chat templates that run code or never end" "Links out of the directory" \
    "Misleading names" "Devices, pipes and sockets" "Tensors with wrong positions"; do
    judge "the page has $words" grep -qF "$words" bad.html
done
mkdir -p "markup/<script>alert(1)<"
printf '%s' '{"auto_map":{"A":"</td><script>alert(1)</script>"}}' >markup/config.json
printf x >"markup/<script>alert(1)</x.py"
ends 1 inspect --untrusted markup --html markup.html
judge "no markup from names" test "$(grep -c '<script>alert' markup.html)" == 0
ends 1 inspect --untrusted bad --json
cp ../out saved.json
ends 0 report saved.json -o again.html
judge "a saved report makes the same page" cmp -s bad.html again.html

# ---- the scan writes no file, follows no link out of the model and waits for no pipe ----
before=$(inventory)
ends 1 inspect --untrusted bad --quiet
judge "nothing is left behind" test "$(inventory)" == "$before"
refused 2 "URL" inspect --untrusted https://example.invalid/model
refused 2 "--tensors" inspect --untrusted bad --tensors
refused 4 "gone" inspect --untrusted gone
refused 3 "bad/pipe" inspect --untrusted bad/pipe
ends 1 inspect --untrusted bad/modeling_tiny.py
finish
