/* SPDX-License-Identifier: MIT */
#include "formats/tensor/drafts.h"

#include "formats/base/text.h"
#include "formats/base/word_lists.h"

#include <string.h>

/* DRAFT_PROJECT to DRAFT_NORM_HIDDEN, by the names of DeepSeek. */
#define USUAL_PARTS(prefix) prefix "eh_proj.weight", prefix "enorm.weight", prefix "hnorm.weight"

#define QWEN_PARTS                                                                                                     \
    "mtp.fc.weight", "mtp.pre_fc_norm_embedding.weight", "mtp.pre_fc_norm_hidden.weight", "mtp.norm.weight"

const char *const organ_draft_gguf_parts[DRAFT_PARTS] = {USUAL_PARTS("nextn."), "nextn.shared_head_norm.weight",
                                                         "nextn.shared_head_head.weight"};

/* The sources are the models of vLLM 0.33 (deepseek_mtp.py, qwen3_next_mtp.py, mimo_mtp.py, mimo_v2.py, step3p5_mtp.py,
 * ernie_mtp.py, nemotron_h_mtp.py, longcat_flash_mtp.py) and the graphs of llama.cpp. vLLM norms the state of MiMo-V2,
 * llama.cpp and SGLang do not: organ follows the two. vLLM's GLM-4 MoE hands raw outputs to the next step, all others
 * normed ones. Families with a list of types come first: they share names with the later ones. */
static const organ_draft_family families[] = {
    /* Step */
    {.types = "step3p5 step3p7 step35",
     .parts = {USUAL_PARTS(""), "transformer.shared_head.norm.weight", "transformer.shared_head.output.weight"},
     .raw_state = true,
     .raw_again = true,
     .own_head = true,
     .layers = 1},
    /* MiMo-V2 */
    {.types = "mimo_v2 mimo_v2_flash mimo_v2_pro mimo2",
     .ladder = "model.mtp.layers.#",
     .parts = {USUAL_PARTS("model.mtp.layers.#."), "model.mtp.layers.#.final_layernorm.weight"},
     .raw_state = true,
     .layers = 1},
    /* ERNIE 4.5 */
    {.types = "ernie4_5 ernie4_5_moe ernie4_5-moe",
     .ladder = "model.mtp_block.#",
     .parts = {"model.mtp_linear_proj.#.weight", "model.mtp_emb_norm.#.weight", "model.mtp_hidden_norm.#.weight"},
     .raw_again = true,
     .raw_end = true,
     .layers = 1},
    /* MiMo-7B */
    {.types = "mimo",
     .ladder = "model.mtp_layers.#",
     .parts = {"model.mtp_layers.#.input_proj.weight", "model.mtp_layers.#.token_layernorm.weight",
               "model.mtp_layers.#.hidden_layernorm.weight", "model.mtp_layers.#.final_layernorm.weight"},
     .hidden_first = true,
     .raw_state = true,
     .layers = 1},
    /* Nemotron-H: the attention is one layer and the experts are the next */
    {.types = "nemotron_h nemotron_h_moe",
     .ladder = "mtp.layers.#",
     .parts = {USUAL_PARTS("mtp.layers.#."), "mtp.layers.#.final_layernorm.weight"},
     .layers = 2},
    /* LongCat-Flash */
    {.types = "longcat_flash longcat-flash",
     .ladder = "model.mtp.layers.#.transformer_layer",
     .parts = {"model.mtp.layers.#.eh_proj.weight", "model.mtp.layers.#.enorm.m.weight",
               "model.mtp.layers.#.hnorm.m.weight", "model.mtp.norm.weight"},
     .layers = 1},
    /* Mellum: transformers' default of mtp_layer_types */
    {.types = "mellum", .ladder = "mtp.layers.#", .parts = {QWEN_PARTS}, .shared = true, .windowed = true, .layers = 1},
    /* Qwen3-Next, Qwen3.5, EXAONE */
    {.ladder = "mtp.layers.#", .parts = {QWEN_PARTS}, .shared = true, .layers = 1},
    /* HY-3, Bailing */
    {.parts = {USUAL_PARTS(""), "final_layernorm.weight"}, .layers = 1},
    /* DeepSeek, GLM */
    {.parts = {USUAL_PARTS(""), "shared_head.norm.weight", "shared_head.head.weight"}, .layers = 1},
};
enum { FAMILIES = sizeof families / sizeof *families };

const organ_draft_family *organ_draft_family_at(size_t index) { return index < FAMILIES ? &families[index] : NULL; }

const organ_draft_family *organ_draft_family_of_type(const char *type)
{
    for (size_t k = 0; k < FAMILIES; k++)
        if (organ_lists_word(families[k].types, ' ', type, strlen(type)))
            return &families[k];
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
        for (size_t k = 0; f->ladder && k < DRAFT_PARTS; k++)
            if (f->parts[k] && begins_name(f->parts[k], word, length))
                return true;
        if (f->ladder && begins_name(f->ladder, word, length))
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
            if (!families[k].ladder && is_module(families[k].parts[roles[r].part], module))
                return roles[r].role;
    }
    return ORGAN_ROLE_OTHER;
}
