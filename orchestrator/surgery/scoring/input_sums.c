/* SPDX-License-Identifier: MIT
 * Sums of squared inputs, by the names that llama.cpp gives the matrices. */
#include "orchestrator/surgery/scoring/input_sums.h"

#include "formats/base/arena.h"
#include "formats/imatrix/imatrix.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct sums_entry {
    char name[ORGAN_INPUT_NAME]; /* name of the matrix in llama.cpp */
    size_t features, matrices;   /* columns of each matrix; number of matrices */
    double *sums;                /* sums of squares of each input, matrices x features */
    double *counts;              /* number of tokens of each matrix */
} sums_entry;

struct organ_input_sums {
    const organ_forward *forward;
    int32_t layer; /* layer of the last tap */
    sums_entry *entries;
    size_t count, capacity; /* entries in use, and allocated */
};

organ_status organ_input_sums_open(const organ_forward *forward, organ_input_sums **sums, organ_error *error)
{
    *sums = NULL;
    if (!organ_forward_has_input_names(forward))
        return organ_fail(error, ORGAN_USAGE,
                          "--write-imatrix: llama.cpp's names of the matrices of architecture %s are not known",
                          organ_forward_describe(forward)->architecture);
    if (!(*sums = calloc(1, sizeof **sums)))
        return organ_fail_errno(error, ENOMEM, "the sums of an importance matrix");
    (*sums)->forward = forward;
    return ORGAN_OK;
}

void organ_input_sums_close(organ_input_sums *sums)
{
    for (size_t k = 0; sums && k < sums->count; k++) {
        free(sums->entries[k].sums);
        free(sums->entries[k].counts);
    }
    if (sums)
        free(sums->entries);
    free(sums);
}

/* A new entry has sums of 0. The pointer is valid until the next call. Without memory, sets *error and returns NULL. */
static sums_entry *entry_of(organ_input_sums *s, const char *name, size_t matrices, size_t features, organ_error *error)
{
    for (size_t k = 0; k < s->count; k++)
        if (strcmp(s->entries[k].name, name) == 0)
            return &s->entries[k];
    sums_entry made = {.features = features, .matrices = matrices};
    memcpy(made.name, name, sizeof made.name);
    made.sums = calloc(matrices * features, sizeof *made.sums);
    made.counts = calloc(matrices, sizeof *made.counts);
    if (!made.sums || !made.counts || !organ_grow(&s->entries, s->count, &s->capacity, sizeof *s->entries)) {
        free(made.sums);
        free(made.counts);
        organ_fail_errno(error, ENOMEM, "the sums of '%s'", name);
        return NULL;
    }
    s->entries[s->count] = made;
    return &s->entries[s->count++];
}

/* A tensor has two entries if it is two matrices in llama.cpp. The squares are added token by token, so that the
 * sums do not depend on how tokens are grouped into batches. Tensors that the importance matrix does not have are
 * ignored. */
static organ_status add_inputs(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                               const float *inputs, organ_error *error)
{
    (void)first;
    organ_input_sums *const s = context;
    organ_input_place place;
    if (!organ_forward_input_place(s->forward, s->layer, tensor, &place))
        return ORGAN_OK;
    for (unsigned n = 0; n < place.count; n++) {
        sums_entry *const entry = entry_of(s, place.names[n], place.matrices, features, error);
        if (!entry)
            return error->status;
        double *const sums = entry->sums + place.matrix * features;
        for (size_t t = 0; t < tokens; t++)
            for (size_t x = 0; x < features; x++)
                sums[x] += (double)inputs[t * features + x] * (double)inputs[t * features + x];
        entry->counts[place.matrix] += (double)tokens;
    }
    return ORGAN_OK;
}

organ_tap organ_input_sums_tap(organ_input_sums *sums, unsigned layer)
{
    sums->layer = (int32_t)layer;
    return (organ_tap){sums, add_inputs};
}

organ_status organ_input_sums_write(const organ_input_sums *s, const char *path, const organ_imatrix_text *text,
                                    organ_error *error)
{
    organ_imatrix_sums *const all = calloc(s->count + 1, sizeof *all);
    if (!all)
        return organ_fail_memory(error, path);
    for (size_t k = 0; k < s->count; k++) {
        const sums_entry *const e = &s->entries[k];
        all[k] = (organ_imatrix_sums){e->name, e->features, e->matrices, e->sums, e->counts};
    }
    organ_imatrix_write(path, text, all, s->count, error);
    free(all);
    return error->status;
}
