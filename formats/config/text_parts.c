/* SPDX-License-Identifier: MIT
 * Finds the text part of a multimodal model: the prefix of its names, and its output head. */
#include "formats/config/model_config.h"

#include <stdio.h>
#include <string.h>

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
    const char *embedding;
    for (unsigned n = 0; (embedding = organ_forward_part_name(family->names, PART_EMBEDDING, /*gguf=*/false, n)); n++) {
        for (const char *own = family->prefix; own; own = *own ? strchr(own, '.') + 1 : NULL)
            if (has_prefixed(weights, own, embedding))
                return own;
        for (size_t k = 0; !family->prefix && k < sizeof prefixes / sizeof *prefixes; k++)
            if (has_prefixed(weights, prefixes[k], embedding))
                return prefixes[k];
    }
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
