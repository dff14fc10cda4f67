/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/measure/fleet_kind.h"

#include <string.h>

/* A word that identifies a file other than a model, and the kind of such a file (organ_fleet_kind). The words of
 * words[] are values of general.type or general.architecture in GGUF files. */
static const struct word {
    const char *word, *kind;
} words[] = {{"adapter", "adapter"},
             {"imatrix", "imatrix"},
             {"mmproj", "multimodal projector"},
             {"clip", "multimodal projector"},
             {"controlvector", "control vector"},
             {"vocab", "vocabulary only"}};

/* Parts of tensor names, which models do not have, and the kind of the files in which they occur. */
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

/* Returns the kind of the value of the GGUF key `key`; NULL if the value is not in words[] or the key is missing. */
static const char *kind_by(const organ_model *model, const char *key)
{
    size_t length = 0;
    const char *const value = organ_gguf_string(model->gguf, key, &length);
    for (size_t k = 0; value && k < sizeof words / sizeof *words; k++)
        if (strlen(words[k].word) == length && memcmp(words[k].word, value, length) == 0)
            return words[k].kind;
    return NULL;
}

/* Returns the kind of the files whose tensors have names like `name` (names[]); NULL if models may have a tensor of
 * this name. */
static const char *kind_of_name(const char *name)
{
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (strstr(name, names[k].word))
            return names[k].kind;
    return NULL;
}

/* Returns the kind of a file that is not a model, NULL for a model. Looks at the metadata of a GGUF file first, then at
 * the names of tensors. One tensor of an adapter is enough for "adapter", unless the base layers are there too. For
 * other kinds at least half of the names must contain a part in names[]; the last such name then decides the kind. */
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
        bases += strstr(model->tensors[t].name, ".base_layer.") != NULL; /* PEFT: a model that includes its adapters */
        adapters += mine && strcmp(mine, "adapter") == 0;
        kind = mine ? mine : kind;
    }
    if (adapters)
        return bases ? NULL : "adapter"; /* no share of names: an adapter may contain modules that are saved whole */
    /* Half of the names suffices: step counts of optimizers have arbitrary names. */
    return 2 * of_a_kind >= model->tensor_count ? kind : NULL;
}
