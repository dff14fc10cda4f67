/* SPDX-License-Identifier: MIT */
#include "formats/tensor/counterpart.h"
#include "formats/base/path.h"

#include <stdio.h>
#include <string.h>

/* Modules inside a layer: Hugging Face name, GGUF name. The pairs of norms hold for blocks with one norm before
 * attention and one before the feed-forward. */
static const char *const modules[][2] = {
    {"self_attn.q_proj", "attn_q"},
    {"self_attn.k_proj", "attn_k"},
    {"self_attn.v_proj", "attn_v"},
    {"self_attn.qkv_proj", "attn_qkv"},
    {"self_attn.o_proj", "attn_output"},
    {"self_attn.q_norm", "attn_q_norm"},
    {"self_attn.k_norm", "attn_k_norm"},
    {"mlp.gate_proj", "ffn_gate"},
    {"mlp.up_proj", "ffn_up"},
    {"mlp.down_proj", "ffn_down"},
    {"mlp.gate", "ffn_gate_inp"},
    {"input_layernorm", "attn_norm"},
    {"post_attention_layernorm", "ffn_norm"},
};

/* Modules outside of layers: Hugging Face name, GGUF name. */
static const char *const outside[][2] = {
    {"model.embed_tokens", "token_embd"},
    {"model.norm", "output_norm"},
    {"lm_head", "output"},
};

/* Returns true if llama.cpp's converter keeps the order of the rows of q and k for this GGUF architecture. For other
 * architectures it interleaves the two halves of each head, because ggml then rotates neighbouring rows. */
bool organ_keeps_rope_rows(const char *architecture)
{
    static const char *const known[] = {"qwen2", "qwen2moe", "qwen3",   "qwen3moe",   "gemma",    "gemma2", "gemma3",
                                        "phi2",  "phi3",     "gptneox", "starcoder2", "stablelm", "olmo2",  "gpt-oss"};
    for (size_t k = 0; k < sizeof known / sizeof *known; k++)
        if (strcmp(known[k], architecture) == 0)
            return true;
    return false;
}

/* Returns the address in the name of the first word (between two dots) that is the number `layer`, and sets *length to
 * its number of digits. Returns NULL if no word is that number. */
static const char *find_layer_number(const char *name, int32_t layer, size_t *length)
{
    char number[16];
    *length = (size_t)snprintf(number, sizeof number, "%d", (int)layer);
    for (const char *at = name; (at = strstr(at, number)); at++)
        if (at > name && at[-1] == '.' && at[*length] == '.')
            return at;
    return NULL;
}

/* Writes the tensor's name with its layer number replaced by `layer`; the same name if `layer` is anatomy->layer.
 * Returns false if the name has no layer number to replace, or if the result exceeds `size` bytes. */
bool organ_counterpart_at(const char *name, const organ_anatomy *anatomy, int32_t layer, char *out, size_t size)
{
    size_t length = 0;
    if (layer == anatomy->layer)
        return snprintf(out, size, "%s", name) < (int)size;
    const char *const number = anatomy->layer >= 0 ? find_layer_number(name, anatomy->layer, &length) : NULL;
    return number &&
           snprintf(out, size, "%.*s%d%s", (int)(number - name), name, (int)layer, number + length) < (int)size;
}

/* Writes the tensor's name in the other format, GGUF if `to_gguf` is true, else Hugging Face, with the layer number
 * `layer`. Returns false if the table lacks the module, for numbered experts, or if the result exceeds `size` bytes. */
bool organ_counterpart_across(const char *name, const organ_anatomy *anatomy, bool to_gguf, int32_t layer, char *out,
                              size_t size)
{
    char module[256];
    organ_anatomy_module(name, module, sizeof module);
    if (anatomy->expert >= 0 || strlen(module) + 1 == sizeof module)
        return false;
    size_t length = strlen(module);
    const bool bias = organ_cut_end(module, &length, ".bias");
    module[length] = '\0';
    const bool inside = anatomy->layer >= 0;
    const size_t count = inside ? sizeof modules / sizeof *modules : sizeof outside / sizeof *outside;
    for (size_t k = 0; k < count; k++) {
        /* pair[0] is the Hugging Face name, pair[1] the GGUF name */
        const char *const *const pair = inside ? modules[k] : outside[k];
        if (strcmp(pair[!to_gguf], module) != 0)
            continue;
        const char *const suffix = bias ? "bias" : "weight", *const other = pair[to_gguf];
        const int wrote =
            inside ? snprintf(out, size, "%s.%d.%s.%s", to_gguf ? "blk" : "model.layers", (int)layer, other, suffix)
                   : snprintf(out, size, "%s.%s", other, suffix);
        return wrote < (int)size;
    }
    return false;
}
