/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/prune/magnitudes.h"

#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/widen.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define PIECE      ((size_t)1 << 16) /* weights that are looked at together */
#define PER_OCTAVE 2
#define FROM_LOG2  (-24)
#define BINS       56        /* up to 2^4 */
#define ROOT_OF_2  0x3504F3u /* mantissa of the FP32 value nearest to it */

typedef struct counting {
    const organ_model *donor, *copy;
    const organ_kernels *kernels;
    void *bytes;
    float *before, *after;
    uint64_t weights, zero, all[BINS], killed[BINS];
} counting;

/* The exponent is the octave; its second half begins at the root of 2. A subnormal is in the first bin. */
static size_t bin_of(float magnitude)
{
    uint32_t bits;
    memcpy(&bits, &magnitude, sizeof bits);
    const int half = 2 * ((int)(bits >> 23) - 127 - FROM_LOG2) + ((bits & 0x7FFFFFu) >= ROOT_OF_2);
    return half < 0 ? 0 : half >= BINS ? BINS - 1 : (size_t)half;
}

static void count_pairs(counting *c, size_t n)
{
    c->weights += n;
    for (size_t k = 0; k < n; k++) {
        if (c->before[k] == 0) {
            c->zero++;
            continue;
        }
        const size_t bin = bin_of(fabsf(c->before[k]));
        c->all[bin]++;
        c->killed[bin] += c->after[k] == 0;
    }
}

static organ_status widen_piece(counting *c, const organ_model *model, const organ_tensor *tensor, uint64_t from, size_t n, float *values,
                                organ_error *error)
{
    const size_t each = organ_dtype_describe(tensor->dtype)->bytes;
    if (organ_model_read(model, tensor->file, c->bytes, n * each, tensor->offset + from * each, error) == ORGAN_OK)
        organ_widen(c->kernels, tensor->dtype, c->bytes, values, n);
    return error->status;
}

static organ_status count_row(counting *c, const organ_tensor *tensor, const organ_tensor *other, uint64_t from, uint64_t cols,
                              organ_error *error)
{
    for (uint64_t done = 0; done < cols; done += PIECE) {
        const size_t n = organ_lesser(PIECE, (size_t)(cols - done));
        if (widen_piece(c, c->donor, tensor, from + done, n, c->before, error) ||
            widen_piece(c, c->copy, other, from + done, n, c->after, error))
            return error->status;
        count_pairs(c, n);
    }
    return ORGAN_OK;
}

static organ_status count_rows(counting *c, const organ_tally *rows, size_t count, uint64_t step, organ_error *error)
{
    for (size_t t = 0; t < count && !error->status; t++) {
        const organ_tensor *const tensor = rows[t].tensor, *const other = organ_model_find(c->copy, tensor->name);
        const organ_matrices m = organ_tensor_matrices(tensor);
        for (uint64_t row = 0; other && row < m.count * m.rows && !error->status; row += step)
            count_row(c, tensor, other, row * m.cols, m.cols, error);
    }
    return error->status;
}

static json_t *describe(const counting *c, uint64_t of, uint64_t step)
{
    return ORGAN_OBJECT(SET_TEXT("definition", "target weights of the donor by magnitude; each count is of half an octave"),
                        SET_COUNT("weights", c->weights), SET_COUNT("of", of), SET_COUNT("every_row", step),
                        SET_COUNT("from_log2", FROM_LOG2), SET_COUNT("per_octave", PER_OCTAVE), SET_COUNT("zero", c->zero),
                        SET("count", organ_counts_json(BINS, c->all)), SET("killed", organ_counts_json(BINS, c->killed)));
}

organ_status organ_magnitudes(const organ_model *donor, const organ_model *copy, const organ_tally *rows, size_t count, uint64_t enough,
                              const organ_kernels *kernels, json_t **report, organ_error *error)
{
    counting c = {.donor = donor, .copy = copy, .kernels = kernels};
    uint64_t of = 0;
    *report = NULL;
    for (size_t k = 0; k < count; k++)
        of += rows[k].tensor->elements;
    if (of == 0)
        return ORGAN_OK;
    const uint64_t step = (of - 1) / enough + 1;
    c.bytes = malloc(PIECE * sizeof(double));
    c.before = malloc(2 * PIECE * sizeof *c.before);
    c.after = c.before + PIECE;
    if (!c.bytes || !c.before)
        organ_fail_errno(error, ENOMEM, "%s: magnitudes of the weights", donor->path);
    else if (count_rows(&c, rows, count, step, error) == ORGAN_OK && !(*report = describe(&c, of, step)))
        organ_fail_errno(error, ENOMEM, "%s: magnitudes of the weights", donor->path);
    free(c.bytes);
    free(c.before);
    return error->status;
}
