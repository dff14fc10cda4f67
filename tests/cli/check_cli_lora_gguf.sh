#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests organ lora with GGUF bases and adapters: the same factors, translated between the names, row orders and stacks of both formats, change the
# same weights by the same values. Ends with the line "N passed, N failed".
. "$(dirname "$0")/../kit/cli_kit.sh"
ln -s "${model%/*}/tiny-lora" tiny-lora
ln -s "${model%/*}/tiny-qwen2moe" tiny-qwen2moe
ln -s "${model%/*}/tiny-llama" tiny-llama

# both_ways DONOR MODULES: extracts an adapter from a copy of other precision, translates it for the GGUF form of the donor and merges it there.
both_ways() {
    local d=$1
    ends 0 quantize "$d" -o packed -s int4-group32 --quiet
    ends 0 dequantize packed -o tuned --quiet
    ends 0 convert "$d" -o base.gguf --to gguf --dtype f32 --quiet
    ends 0 convert tuned -o tuned.gguf --to gguf --dtype f32 --quiet
    ends 0 lora extract --base base.gguf --tuned tuned.gguf -o made -r 2 --select "$2" --dtype f32 --quiet
    judge "$d: no adapter" test -s made/adapter_model.gguf -a ! -e made/adapter_model.safetensors -a ! -e made/adapter_config.json
    ends 0 lora sanitize made --base "$d" -o peft --quiet
    judge "$d: no adapter of peft" test -s peft/adapter_model.safetensors -a -s peft/adapter_config.json
    ends 0 lora sanitize peft --base base.gguf -o back --quiet
    ends 0 lora sanitize back/adapter_model.gguf --base base.gguf --check --quiet
    for adapter in made peft back; do
        ends 0 lora merge --base base.gguf --adapter "$adapter" -o "$adapter.gguf" --quiet
        ends 0 lora merge --base "$d" --adapter "$adapter" --dtype f32 -o "in-$adapter" --quiet
    done
    judge "$d: peft's form changes other weights of the GGUF base" cmp -s made.gguf peft.gguf
    judge "$d: the form that was translated twice does" cmp -s made.gguf back.gguf
    judge "$d: the GGUF adapter changes other weights of safetensors" same_weights in-made in-peft
    judge "$d: the form that was translated twice does" same_weights in-made in-back
    ends 0 convert in-made -o converted.gguf --to gguf --dtype f32 --quiet
    ends 3 lora extract --base made.gguf --tuned converted.gguf -o no --quiet
    says "made.gguf"
    judge "$d: nothing was changed" bash -c '! cmp -s base.gguf made.gguf'
    ends 0 lora resize made --rank 1 -o smaller --quiet
    judge "$d: no smaller adapter" test "$(stat -c %s smaller/adapter_model.gguf)" -lt "$(stat -c %s made/adapter_model.gguf)"
    rm -r packed tuned made peft back in-* smaller ./*.gguf ./*.md ./*.html ./*.json
}
same_weights() { diff <(cd "$1" && cat ./*.safetensors | sha256sum) <(cd "$2" && cat ./*.safetensors | sha256sum); }

both_ways tiny-llama attn_q,attn_k
both_ways tiny-qwen2moe ffn_gate_exps,ffn_down_exps,ffn_up_shexp

# ---- keys of GGUF adapters ----
base=tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
ends 0 lora sanitize tiny-lora --base $base -o made
judge "target_modules of a GGUF adapter" bash -c '! grep -q target_modules ../out'
prints "Rank 4: llama.cpp applies it with --lora."
edited() { "${organ%/*}/checks/gguf_keys" made/adapter_model.gguf "$@"; }
edited alora.gguf 'adapter.alora.invocation_tokens=u32:[5,9,11]'
edited none.gguf 'adapter.alora.invocation_tokens=u32:[]'
edited told.gguf 'adapter.lora.task_name=string:"sums"' 'adapter.lora.prompt_prefix=string:"Add:"' 'general.name=string:"adder"'
edited later.gguf 'adapter.lora.twist=f32:0.5'
edited text.gguf 'adapter.lora.alpha=string:"4"'
for words in "merge --base $base --adapter alora.gguf" "resize alora.gguf --rank 2" "sanitize alora.gguf" "sanitize alora.gguf --base tiny-qwen2"; do
    read -ra words <<<"$words"
    refused 3 "adapter.alora.invocation_tokens" lora "${words[@]}" -o no
done
refused 3 "adapter.alora.invocation_tokens" lora sanitize alora.gguf --check
refused 3 "adapter.alora.invocation_tokens" orthogonality tiny-qwen2 tiny-qwen2 alora.gguf
refused 3 "adapter.alora.invocation_tokens" merge --method linear tiny-qwen2+alora.gguf tiny-qwen2 -o no
refused 3 "adapter.alora.invocation_tokens" compare tiny-qwen2+alora.gguf tiny-qwen2
refused 3 "adapter.lora.alpha" lora sanitize text.gguf --check
ends 0 lora sanitize none.gguf --check --quiet
ends 0 lora sanitize later.gguf --check
says "'adapter.lora.twist'"
for verb in "sanitize told.gguf" "resize told.gguf --rank 2"; do
    read -ra words <<<"$verb"
    ends 0 lora "${words[@]}" -o kept --force
    judge "$verb: a key is lost" test "$("${organ%/*}/checks/gguf_keys" kept/adapter_model.gguf | grep -c 'task_name.*sums\|prompt_prefix.*Add:\|general.name.*adder')" == 3
    judge "$verb: no warning" test "$(grep -c 'adapter\.lora\.' ../err)" = 0
done
ends 0 lora sanitize told.gguf --base tiny-qwen2 -o kept --force
says "adapter.lora.task_name"
ends 0 lora merge --base $base --adapter told.gguf -o no.gguf --dry-run
says "adapter.lora.prompt_prefix"
rm -r made kept ./*.gguf

# ---- errors ----
base=tiny-qwen2-gguf/tiny-qwen2-Q8_0.gguf
cp -rL tiny-lora strange && chmod -R u+w strange && LC_ALL=C sed -i 's/model\.model\.norm\.weight/model.model.morm.weight/' strange/adapter_model.safetensors
ends 3 lora merge --base $base --adapter strange -o no.gguf --quiet
says "'base_model.model.model.morm.weight'"
rm -rf strange
refused 3 "general.type" lora merge --base $base --adapter $base -o no
refused 2 "--save-full" lora extract --base $base --tuned $base -o no --save-full
finish
