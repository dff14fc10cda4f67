/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/measure/fleet_kind.h"

#include <string.h>

/* Values of general.type or general.architecture in GGUF files that are not models, and the kind of such a file. */
static const struct word {
    const char *word, *kind;
} words[] = {{"adapter", "adapter"},
             {"imatrix", "imatrix"},
             {"mmproj", "multimodal projector"},
             {"clip", "multimodal projector"},
             {"controlvector", "control vector"},
             {"vocab", "vocabulary only"}};

/* Parts of tensor names that models do not have, and the kind of a file whose tensors have them. */
static const struct word names[] = {
    {".lora_", "adapter"},
    {"lora_down.", "adapter"},
    {"lora_up.", "adapter"},
    {".lora.", "adapter"},
    {".hada_w", "adapter"},
    {".lokr_w", "adapter"},
    {".dora_scale", "adapter"},
    {"ia3_l", "adapter"},
    {"prompt_embeddings", "adapter"},
    {"exp_avg", "optimizer state"},
    {"momentum_buffer", "optimizer state"},
    {"optimizer.", "optimizer state"},
    {".in_sum2", "imatrix"},
    {".counts", "imatrix"},
};

/* Returns the kind that the value of a key names; NULL if it names none. */
static const char *kind_by(const organ_model *model, const char *key)
{
    size_t length = 0;
    const char *const value = organ_gguf_string(model->gguf, key, &length);
    for (size_t k = 0; value && k < sizeof words / sizeof *words; k++)
        if (strlen(words[k].word) == length && memcmp(words[k].word, value, length) == 0)
            return words[k].kind;
    return NULL;
}

static const char *kind_of_name(const char *name)
{
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strstr(name, names[k].word))
            return names[k].kind;
    return NULL;
}

/* Returns the kind of a file that is not a model, NULL for a model. A GGUF file is recognised by its metadata; else at
 * least half of the tensor names must be of one kind. */
const char *organ_fleet_kind(const organ_model *model)
{
    const char *kind = NULL;
    if (model->gguf) {
        kind = kind_by(model, "general.type");
        kind = kind ? kind : kind_by(model, "general.architecture");
    }
    if (kind)
        return kind;
    if (model->tensor_count == 0)
        return model->gguf ? "vocabulary only" : "no tensors";
    size_t adapters = 0, of_a_kind = 0, bases = 0;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const char *const mine = kind_of_name(model->tensors[t].name);
        of_a_kind += mine != NULL;
        bases += strstr(model->tensors[t].name, ".base_layer.") != NULL; /* a model that includes its adapters */
        adapters += mine && strcmp(mine, "adapter") == 0;
        kind = mine ? mine : kind;
    }
    if (adapters)
        return bases ? NULL : "adapter";                       /* it may contain modules that are saved whole */
    return 2 * of_a_kind >= model->tensor_count ? kind : NULL; /* step counts of optimizers have arbitrary names */
}
