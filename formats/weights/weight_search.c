/* SPDX-License-Identifier: MIT
 * Helpers of the search for weights: looks up companions by name, reports errors, collects weights and notes. */
#include "formats/weights/weight_search.h"

#include "formats/base/plain_numbers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

const organ_tensor *organ_weight_relative(organ_weight_search *search, const char *stem, size_t length,
                                          const char *leaf)
{
    memcpy(search->name, stem, length);
    strcpy(search->name + length, leaf);
    return organ_model_find(search->model, search->name);
}

organ_status organ_weight_fail(const organ_weight_search *search, const organ_tensor *tensor, const char *format, ...)
{
    char reason[600];
    va_list args;
    va_start(args, format);
    organ_vsnprintf(reason, sizeof reason, format, args);
    va_end(args);
    return organ_fail(search->error, ORGAN_BAD_INPUT, "%s: tensor '%.200s' %s", search->model->files[tensor->file].name,
                      tensor->name, reason);
}

/* A note counts the weights with the same property and values. When the list is full, its last note counts all
 * further contradictions. */
void organ_weight_note_contradiction(organ_weight_search *search, const organ_weight *weight, const char *what,
                                     uint64_t stated0, uint64_t stated1, uint64_t found0, uint64_t found1)
{
    for (size_t k = 0; k < search->note_count; k++) {
        organ_weight_note *const note = &search->notes[k];
        if (k + 1 == ORGAN_NOTES_MAX ||
            (strcmp(note->what, what) == 0 && note->stated[0] == stated0 && note->stated[1] == stated1 &&
             note->found[0] == found0 && note->found[1] == found1)) {
            note->count++;
            return;
        }
    }
    search->notes[search->note_count++] =
        (organ_weight_note){what, {stated0, stated1}, {found0, found1}, weight->name, 1};
}

organ_status organ_weight_group(organ_weight_search *search, const char *name, const organ_quant_group **group,
                                bool *named)
{
    if (!name) /* organ_weight_name had no memory */
        return organ_fail_memory(search->error, search->model->path);
    /* The module is the weight's name without ".weight". It is not built in search->name, which a caller may still
     * need. */
    const size_t length = strlen(name) - (organ_ends_with(name, ".weight") ? strlen(".weight") : 0);
    const char *const module = organ_weight_name(search, name, length, "");
    if (!module)
        return organ_fail_memory(search->error, search->model->path);
    return organ_quant_config_of(search->config, module, organ_anatomy_of(name).role == ORGAN_ROLE_EMBED, group, named,
                                 search->error);
}

const char *organ_weight_name(organ_weight_search *search, const char *stem, size_t length, const char *leaf)
{
    char *const name = organ_arena_take(&search->arena, length + strlen(leaf) + 1);
    if (!name)
        return NULL;
    memcpy(name, stem, length);
    strcpy(name + length, leaf);
    return name;
}

organ_status organ_weight_shape(organ_weight_search *search, organ_weight *weight, unsigned lead, const uint64_t *axes,
                                uint64_t rows, uint64_t cols)
{
    uint64_t *const shape = organ_arena_take(&search->arena, (lead + 2) * sizeof *shape);
    if (!shape || !weight->name)
        return organ_fail_memory(search->error, search->model->path);
    bool fits = true;
    weight->elements = 1;
    for (unsigned k = 0; k < lead + 2; k++) {
        shape[k] = k == lead ? rows : cols;
        if (k < lead)
            shape[k] = axes[k];
        fits = fits && shape[k] > 0 && !__builtin_mul_overflow(weight->elements, shape[k], &weight->elements);
    }
    weight->rank = lead + 2;
    weight->shape = shape;
    weight->anatomy = organ_anatomy_of(weight->name);
    char text[ORGAN_SHAPE_TEXT];
    return fits ? ORGAN_OK
                : organ_weight_fail(search, weight->codes, "would unpack to a weight of the impossible shape %s",
                                    organ_shape_text(weight->rank, shape, text));
}

organ_status organ_weight_add(organ_weight_search *search, const organ_weight *weight)
{
    if (search->error->status)
        return search->error->status;
    search->weights[search->count++] = *weight;
    for (size_t k = 0; k < ORGAN_WEIGHT_TENSORS; k++)
        if (organ_weight_tensor(weight, k))
            search->claimed[organ_weight_tensor(weight, k) - search->model->tensors] = true;
    return ORGAN_OK;
}
