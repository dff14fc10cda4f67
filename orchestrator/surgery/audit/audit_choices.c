/* SPDX-License-Identifier: MIT
 * Compares tensors of a copy with chosen rows of the donor's. */
#include "orchestrator/surgery/audit/audit_choices.h"

#include "formats/base/results.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/stream/memory.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW ((size_t)1 << 20) /* bytes that are compared together, or fewer */

organ_status organ_choices_open(organ_choices *choices, const organ_engine *engine, uint64_t bytes, organ_error *error)
{
    if (organ_memory_claim(engine, WINDOW + bytes, error, "the buffers of a comparison"))
        return error->status;
    choices->buffer = aligned_alloc(4096, (size_t)(WINDOW + bytes + 4095) / 4096 * 4096);
    return choices->buffer ? ORGAN_OK : organ_fail_memory(error, choices->copy->path);
}

void organ_choices_release(organ_choices *choices) { free(choices->buffer); }

static bool has_form_of(const organ_row_choice *c, const organ_tensor *found)
{
    uint64_t shape[ORGAN_SAFETENSORS_RANK_LIMIT];
    organ_row_layout_shape(&c->layout, c->tensor, c->count, shape);
    return found->dtype == c->tensor->dtype && found->rank == c->tensor->rank &&
           memcmp(found->shape, shape, found->rank * sizeof *shape) == 0;
}

typedef struct choice_comparison {
    const organ_choices *choices;
    const organ_tensor *found;
    uint64_t different; /* bytes */
} choice_comparison;

/* Compares bytes of the donor with those of the copy at the same place. */
static organ_status compare_bytes(void *context, const unsigned char *bytes, uint64_t at, size_t count,
                                  organ_error *error)
{
    choice_comparison *const c = context;
    unsigned char *const window = c->choices->buffer;
    for (size_t done = 0, n; done < count; done += n) {
        n = count - done < WINDOW ? count - done : WINDOW;
        if (organ_model_read(c->choices->copy, c->found->file, window, n, c->found->offset + at + done, error))
            return error->status;
        if (memcmp(bytes + done, window, n) != 0)
            for (size_t k = 0; k < n; k++)
                c->different += bytes[done + k] != window[k];
    }
    return ORGAN_OK;
}

organ_status organ_choices_compare(const organ_choices *choices, const organ_row_choice *choice, const char *name,
                                   const char *whose, bool *same, organ_error *error)
{
    choice_comparison c = {.choices = choices, .found = organ_model_find(choices->copy, name)};
    *same = false;
    if (!c.found || !has_form_of(choice, c.found)) {
        organ_problem_add(choices->problems, "tensor '%s' of %s %s", name, choices->copy->path,
                          c.found ? "has another type or shape" : "is missing");
        return ORGAN_OK;
    }
    if (organ_choice_pass(choice, choices->buffer + WINDOW, compare_bytes, &c, error))
        return error->status;
    *same = !c.different;
    if (c.different)
        organ_problem_add(choices->problems, "tensor '%s': %llu bytes are not those of %s", name,
                          (unsigned long long)c.different, whose);
    return ORGAN_OK;
}

organ_status organ_choices_compare_whole(const organ_choices *choices, const organ_model *donor,
                                         const organ_tensor *tensor, const organ_stop *stop, bool *same,
                                         organ_error *error)
{
    const organ_row_choice choice = {.model = donor, .tensor = tensor, .stop = stop};
    return organ_choices_compare(choices, &choice, tensor->name, "the donor", same, error);
}

size_t organ_choices_strangers(const organ_choices *choices, const organ_model *donor)
{
    size_t count = 0;
    for (size_t t = 0; t < choices->copy->tensor_count; t++) {
        const char *const name = choices->copy->tensors[t].name;
        if (organ_model_find(donor, name))
            continue;
        organ_problem_add(choices->problems, "tensor '%s' of %s is not in the donor", name, choices->copy->path);
        count++;
    }
    return count;
}
