/* SPDX-License-Identifier: MIT
 * The usual names of the parts of a model, and the parts that only layers of Gemma and BitNet have. */
#include "formats/architecture/config_readers.h"
#include "formats/architecture/family_rows.h"

#include <organ/base.h>
#include <stdio.h>
#include <string.h>

#define USUAL_NAMES(name, hf, gguf) {hf, gguf},
static const char *const usual_names[PART_NAMES][2] = {FORWARD_PARTS(USUAL_NAMES)};

const char *organ_forward_part_name(const forward_name *own, forward_part part, bool gguf, unsigned index)
{
    bool named = false;
    for (; own && own->name; own++) {
        if (organ_name_part(own) != part)
            continue;
        if (index-- == 0)
            return own->name;
        named = true;
    }
    return named || index ? NULL : usual_names[part][gguf];
}

const char *organ_forward_written_name(const forward_name *own, forward_part part, bool gguf, forward_name_use use)
{
    const char *written = NULL;
    bool named = false;
    for (; own && own->name; own++) {
        if (organ_name_part(own) != part)
            continue;
        named = true;
        if (organ_name_use(own) == use)
            return own->name;
        if (organ_name_use(own) == NAME_WRITTEN && !written)
            written = own->name;
    }
    return named ? written : usual_names[part][gguf];
}

const char *organ_forward_mlx_name(const forward_name *own, forward_part part, const char *word, char name[128])
{
    static const char *const ends[] = {"gate", "up", "down"};
    const char *pattern = usual_names[PART_EXPERT_GATE][false];
    for (bool found = false; own && own->name && !found; own++) {
        found = organ_name_part(own) == PART_EXPERT_GATE || organ_name_part(own) == PART_EXPERTS_GATE_UP;
        pattern = found ? own->name : pattern;
    }
    const char *const at = strstr(pattern, "experts.");
    snprintf(name, 128, "%.*s%s.%s_proj.weight", at ? (int)(at - pattern) : 0, pattern, word,
             ends[part - PART_EXPERTS_GATE]);
    return name;
}

const char *organ_forward_bias_name(const char *weight, char name[256])
{
    const size_t length = strlen(weight), end = strlen("weight");
    snprintf(name, 256, "%.*sbias", (int)(length > end ? length - end : 0), weight);
    return name;
}

void organ_forward_number_name(const char *pattern, unsigned number, char name[128])
{
    const size_t before = strcspn(pattern, "#");
    snprintf(name, 128, "%.*s%u%s", (int)before, pattern, number, pattern[before] ? pattern + before + 1 : "");
}

size_t organ_forward_gemma_parts(const organ_forward_config *c, const organ_layer_kind *kind,
                                 forward_shape shapes[FORWARD_GEMMA_PARTS])
{
    const bool both = kind->mixture && c->dual_ffn, per_layer = c->per_layer_width > 0, streams = c->streams > 0;
    const struct {
        bool requested;
        forward_shape shape;
    } all[FORWARD_GEMMA_PARTS] = {
        {both, {PART_NORM_POST_FFN_DENSE, 0, c->hidden}},
        {both, {PART_NORM_EXPERTS, 0, c->hidden}},
        {both, {PART_NORM_POST_FFN_EXPERTS, 0, c->hidden}},
        {both, {PART_ROUTER_SCALE, 0, c->hidden}},
        {both, {PART_EXPERT_SCALE, 0, c->experts}},
        {c->layer_scaled, {PART_LAYER_SCALE, 0, 1}},
        {per_layer, {PART_PER_LAYER_GATE, c->per_layer_width, c->hidden}},
        {per_layer, {PART_PER_LAYER_OUT, c->hidden, c->per_layer_width}},
        {per_layer, {PART_NORM_PER_LAYER, 0, c->hidden}},
        {streams, {PART_LAUREL_LEFT, c->laurel_rank, c->hidden}},
        {streams, {PART_LAUREL_RIGHT, c->hidden, c->laurel_rank}},
        {streams, {PART_NORM_LAUREL, 0, c->hidden}},
        {streams, {PART_NORM_STREAMS, 0, c->hidden}},
        {streams, {PART_STREAMS_ROUTER, c->streams, c->hidden}},
        {streams, {PART_STREAMS_PREDICT, (uint64_t)c->streams * c->streams, c->streams}},
        {streams, {PART_STREAMS_CORRECT, c->streams, c->streams}},
        {c->sub_norms, {PART_NORM_GIVEN, 0, (uint64_t)kind->heads * kind->value_dim}},
        {c->sub_norms && !kind->mixture, {PART_NORM_INNER, 0, kind->intermediate}},
        {streams && c->streams_scaled, {PART_STREAMS_SCALE, 0, c->hidden}},
    };
    size_t count = 0;
    for (size_t k = 0; k < FORWARD_GEMMA_PARTS; k++)
        if (all[k].requested)
            shapes[count++] = all[k].shape;
    return count;
}

/* ---- the text part of a multimodal model ---- */

const char *const organ_base_words[] = {"model.", "transformer.", "gpt_neox.", "backbone.", "biogpt.", NULL};

static bool has_prefixed(const organ_weights *weights, const char *prefix, const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return organ_weights_named(weights, full) != NULL;
}

/* The family's prefix shrinks word by word from the front until the model has an embedding of that name. */
const char *organ_text_prefix(const forward_family *family, const organ_weights *weights)
{
    static const char *const prefixes[] = {"model.",
                                           "model.language_model.",
                                           "language_model.model.",
                                           "model.text_model.",
                                           "model.llm.",
                                           "thinker.model.",
                                           "llm.model.",
                                           "language_model.",
                                           "text_model.",
                                           ""};
    const char *const embedding = organ_forward_part_name(family->names, PART_EMBEDDING, /*gguf=*/false, 0);
    for (const char *own = family->prefix; own; own = *own ? strchr(own, '.') + 1 : NULL)
        if (has_prefixed(weights, own, embedding))
            return own;
    for (size_t k = 0; !family->prefix && k < sizeof prefixes / sizeof *prefixes; k++)
        if (has_prefixed(weights, prefixes[k], embedding))
            return prefixes[k];
    return family->prefix ? family->prefix : prefixes[0];
}

const char *organ_text_new_head(const char *architecture, const char *embedding)
{
    const forward_family *const family = organ_forward_family_named(architecture, /*gguf=*/false);
    const char *const own = family ? organ_forward_part_name(family->names, PART_OUTPUT, /*gguf=*/false, 0) : NULL;
    if (own)
        return own;
    static const char inner[] = "language_model.model.";
    return strncmp(embedding, inner, strlen(inner)) == 0 ? "language_model.lm_head.weight" : "lm_head.weight";
}

const char *organ_text_head(const organ_weights *weights)
{
    static const char *const heads[] = {"lm_head.weight", "language_model.lm_head.weight", "model.lm_head.weight"};
    for (size_t k = 0; k < sizeof heads / sizeof *heads; k++)
        if (organ_weights_named(weights, heads[k]))
            return heads[k];
    return heads[0];
}

organ_status organ_text_check_embedding(const organ_model *model, const organ_weights *weights, organ_error *error)
{
    const organ_weight *head = NULL;
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        if (w->anatomy.layer >= 0 || w->rank != 2)
            continue;
        if (w->anatomy.role == ORGAN_ROLE_EMBED)
            return ORGAN_OK;
        head = w->anatomy.role == ORGAN_ROLE_OUTPUT ? w : head;
    }
    return head && !model->gguf && model->config.tie_word_embeddings
               ? organ_refuse(error, model->path,
                              "config.json ties output head and embedding, and the model stores only the head '%s', "
                              "which transformers uses for both: give that tensor the name of the embedding, such as "
                              "model.embed_tokens.weight",
                              head->name)
               : ORGAN_OK;
}
