/* SPDX-License-Identifier: MIT */
#include "formats/tensor/drafts.h"

#include "formats/base/text.h"

#include <stdio.h>
#include <string.h>

/* DRAFT_PROJECT to DRAFT_NORM_HIDDEN, by the names of DeepSeek. */
#define USUAL_PARTS(prefix) prefix "eh_proj.weight", prefix "enorm.weight", prefix "hnorm.weight"

#define QWEN_PARTS                                                                                                     \
    "mtp.fc.weight", "mtp.pre_fc_norm_embedding.weight", "mtp.pre_fc_norm_hidden.weight", "mtp.norm.weight"

const char *const organ_draft_gguf_parts[DRAFT_PARTS] = {USUAL_PARTS("nextn."), "nextn.shared_head_norm.weight",
                                                         "nextn.shared_head_head.weight", "post_attention_norm.weight"};

/* The sources are the models of vLLM 0.33 (deepseek_mtp.py, qwen3_next_mtp.py, mimo_mtp.py, mimo_v2.py, step3p5_mtp.py,
 * ernie_mtp.py, nemotron_h_mtp.py, longcat_flash_mtp.py) and the graphs of llama.cpp. vLLM norms the state of MiMo-V2,
 * llama.cpp and SGLang do not: organ follows the two. Its later blocks read the outputs of the one before, which are
 * raw, in llama.cpp alone. vLLM's GLM-4 MoE hands raw outputs to the next step, all others normed ones. Families of
 * listed types come first: they share names with the later ones. */
static const organ_draft_family families[] = {
    /* Step */
    {.name = "Step",
     .listed = true,
     .parts = {USUAL_PARTS(""), "transformer.shared_head.norm.weight", "transformer.shared_head.output.weight"},
     .raw_state = true,
     .raw_again = true,
     .own_head = true,
     .layers = 1},
    /* MiMo-V2 */
    {.name = "MiMo-V2",
     .listed = true,
     .layer_prefix = "model.mtp.layers.#",
     .parts = {USUAL_PARTS("model.mtp.layers.#."), "model.mtp.layers.#.final_layernorm.weight"},
     .gguf_norm = "layer_output_norm.weight",
     .raw_state = true,
     .raw_again = true,
     .joined = true,
     .layers = 1},
    /* ERNIE 4.5 */
    {.name = "ERNIE",
     .listed = true,
     .layer_prefix = "model.mtp_block.#",
     .parts = {"model.mtp_linear_proj.#.weight", "model.mtp_emb_norm.#.weight", "model.mtp_hidden_norm.#.weight"},
     .raw_again = true,
     .raw_end = true,
     .layers = 1},
    /* MiMo-7B */
    {.name = "MiMo",
     .listed = true,
     .layer_prefix = "model.mtp_layers.#",
     .parts = {"model.mtp_layers.#.input_proj.weight", "model.mtp_layers.#.token_layernorm.weight",
               "model.mtp_layers.#.hidden_layernorm.weight", "model.mtp_layers.#.final_layernorm.weight"},
     .hidden_first = true,
     .raw_state = true,
     .layers = 1},
    /* Nemotron-H: the attention is one layer and the experts are the next */
    {.name = "Nemotron-H",
     .listed = true,
     .layer_prefix = "mtp.layers.#",
     .parts = {USUAL_PARTS("mtp.layers.#."),
               "mtp.layers.#.final_layernorm.weight", [DRAFT_NORM_FEED] = "mtp.layers.#.norm.weight"},
     .layers = 2},
    /* LongCat-Flash */
    {.name = "LongCat-Flash",
     .listed = true,
     .layer_prefix = "model.mtp.layers.#.transformer_layer",
     .parts = {"model.mtp.layers.#.eh_proj.weight", "model.mtp.layers.#.enorm.m.weight",
               "model.mtp.layers.#.hnorm.m.weight", "model.mtp.norm.weight"},
     .layers = 1},
    /* DeepSeek-V4: M is in two tensors, and hidden states have several streams */
    {.name = "DeepSeek-V4",
     .listed = true,
     .layer_prefix = "mtp.#",
     .parts = {"mtp.#.e_proj.weight", "mtp.#.enorm.weight", "mtp.#.hnorm.weight", "mtp.#.norm.weight",
               "mtp.#.head.weight", [DRAFT_PROJECT_STATE] = "mtp.#.h_proj.weight"},
     .raw_state = true,
     .raw_again = true,
     .layers = 1},
    /* Mellum: transformers' default of mtp_layer_types */
    {.name = "Mellum",
     .listed = true,
     .layer_prefix = "mtp.layers.#",
     .parts = {QWEN_PARTS},
     .shared = true,
     .windowed = true,
     .layers = 1},
    /* Qwen3-Next, Qwen3.5, EXAONE */
    {.name = "Qwen", .layer_prefix = "mtp.layers.#", .parts = {QWEN_PARTS}, .shared = true, .layers = 1},
    /* HY-3, Bailing */
    {.name = "HY", .parts = {USUAL_PARTS(""), "final_layernorm.weight"}, .layers = 1},
    /* DeepSeek, GLM */
    {.name = "DeepSeek", .parts = {USUAL_PARTS(""), "shared_head.norm.weight", "shared_head.head.weight"}, .layers = 1},
};
enum { FAMILIES = sizeof families / sizeof *families };

const organ_draft_family *organ_draft_family_at(size_t index) { return index < FAMILIES ? &families[index] : NULL; }

const organ_draft_family *organ_draft_family_named(const char *name)
{
    for (size_t k = 0; k < FAMILIES; k++)
        if (strcmp(families[k].name, name) == 0)
            return &families[k];
    return NULL;
}

/* ---- names ---- */

/* The norms at the end of a block are those of its last layer, all other parts are those of the first. */
static unsigned layer_in_block(const organ_draft_family *f, organ_draft_part part)
{
    return part == DRAFT_NORM_HEAD || part == DRAFT_NORM_FEED ? f->layers - 1 : 0;
}

/* Returns what follows `pattern` in `name`, of which '#' matches a number; NULL: the name begins otherwise. */
static const char *match(const char *pattern, const char *name, unsigned *number)
{
    for (; *pattern; pattern++) {
        if (*pattern != '#') {
            if (*pattern != *name++)
                return NULL;
            continue;
        }
        if (*name < '0' || *name > '9')
            return NULL;
        for (*number = 0; *name >= '0' && *name <= '9' && *number < 100000; name++)
            *number = *number * 10 + (unsigned)(*name - '0');
    }
    return name;
}

static const char *gguf_part(const organ_draft_family *f, organ_draft_part part)
{
    if (part == DRAFT_NORM_HEAD && f->gguf_norm)
        return f->gguf_norm;
    return part != DRAFT_NORM_FEED || f->parts[part] ? organ_draft_gguf_parts[part] : NULL;
}

/* GGUF files of families with another name for DRAFT_NORM_HEAD may also have the usual one. */
static bool is_gguf_part(const organ_draft_family *f, organ_draft_part part, const char *name)
{
    const char *const own = gguf_part(f, part);
    return own &&
           (strcmp(own, name) == 0 || (part == DRAFT_NORM_HEAD && strcmp(organ_draft_gguf_parts[part], name) == 0));
}

bool organ_draft_find(const organ_draft_family *f, bool gguf, const char *name, unsigned *layer, organ_draft_part *part,
                      const char **tail)
{
    const bool whole = f->layer_prefix && !gguf;
    *tail = name;
    *layer = 0;
    for (*part = 0; *part < DRAFT_PARTS; *part += 1) {
        const char *const end = !gguf && f->parts[*part] ? match(f->parts[*part], name, layer) : NULL;
        if ((gguf && is_gguf_part(f, *part, name)) ||
            (end && !*end && (!whole || f->shared || *layer % f->layers == layer_in_block(f, *part))))
            return true;
    }
    if (!whole)
        return true;
    const char *const end = match(f->layer_prefix, name, layer);
    *tail = end && *end == '.' ? end + 1 : NULL;
    return *tail != NULL;
}

bool organ_draft_name(const organ_draft_family *f, bool gguf, unsigned block, organ_draft_part part, char name[256])
{
    const char *const pattern = gguf ? gguf_part(f, part) : f->parts[part];
    if (!pattern)
        return false;
    const size_t before = strcspn(pattern, "#");
    if (pattern[before])
        snprintf(name, 256, "%.*s%u%s", (int)before, pattern, block * f->layers + layer_in_block(f, part),
                 pattern + before + 1);
    else
        snprintf(name, 256, "%s", pattern);
    return true;
}

const char *const organ_draft_apart[6] = {"attn_q.weight", "attn_k.weight", "attn_v.weight",
                                          "attn_q.bias",   "attn_k.bias",   "attn_v.bias"};

const char *organ_draft_joined(const organ_draft_family *f, const char *tail)
{
    for (size_t k = 0; k < sizeof organ_draft_apart / sizeof *organ_draft_apart && f->joined; k++)
        if (strcmp(tail, organ_draft_apart[k]) == 0)
            return k < 3 ? "attn_qkv.weight" : "attn_qkv.bias";
    return NULL;
}

static bool begins_name(const char *name, const char *word, size_t length)
{
    name += strncmp(name, "model.", 6) == 0 ? 6 : 0;
    return strncmp(name, word, length) == 0 && name[length] == '.';
}

bool organ_draft_begins(const char *word, const char *end)
{
    const size_t length = (size_t)(end - word);
    for (const organ_draft_family *f = families; f < families + FAMILIES; f++) {
        for (size_t k = 0; f->layer_prefix && k < DRAFT_PARTS; k++)
            if (f->parts[k] && begins_name(f->parts[k], word, length))
                return true;
        if (f->layer_prefix && begins_name(f->layer_prefix, word, length))
            return true;
    }
    return false;
}

static bool is_module(const char *part, const char *module)
{
    size_t length = part ? strlen(part) : 0;
    return part && organ_cut_end(part, &length, ".weight") && strlen(module) == length &&
           memcmp(part, module, length) == 0;
}

organ_role organ_draft_module_role(const char *module)
{
    static const struct {
        organ_draft_part part;
        organ_role role;
    } roles[] = {{DRAFT_PROJECT, ORGAN_ROLE_MTP}, {DRAFT_HEAD, ORGAN_ROLE_OUTPUT}};
    for (size_t r = 0; r < sizeof roles / sizeof *roles; r++) {
        if (is_module(organ_draft_gguf_parts[roles[r].part], module))
            return roles[r].role;
        for (size_t k = 0; k < FAMILIES; k++)
            if (!families[k].layer_prefix && is_module(families[k].parts[roles[r].part], module))
                return roles[r].role;
    }
    return ORGAN_ROLE_OTHER;
}
