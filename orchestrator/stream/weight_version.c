/* SPDX-License-Identifier: MIT
 * The two versions of GPTQ (gptq and gptq_v2) differ only in the stored zero points: version 1 stores them minus 1.
 * Some files declare one version and store the other. Symmetric weights show the version, because all their zero points
 * are half of the range (8 for 4 bits): version 2 stores this number, version 1 one less. */
#include "orchestrator/stream/weight_parts.h"

#include <stdio.h>
#include <stdlib.h>

/* The counts are of zero points as stored. */
typedef struct zero_census {
    uint64_t all;                        /* number of zero points */
    uint64_t half, below_half, greatest; /* equal to half of the range, to one less, to the largest code */
} zero_census;

/* Each byte of `codes` is a zero point of `bits` bits. */
static void count_codes(const uint8_t *codes, size_t n, unsigned bits, zero_census *census)
{
    const uint8_t half = (uint8_t)(1u << (bits - 1)), greatest = (uint8_t)((1u << bits) - 1);
    census->all += n;
    for (size_t k = 0; k < n; k++) {
        census->half += codes[k] == half;
        census->below_half += codes[k] == half - 1;
        census->greatest += codes[k] == greatest;
    }
}

static organ_status count_zero_points(const organ_weight_reader *r, zero_census *census, organ_error *error)
{
    const organ_tensor *tensor = r->weight->zero;
    const uint64_t rows = r->groups * r->shape.count;
    const size_t outputs = (size_t)r->shape.rows, bytes = (size_t)(tensor->bytes / (rows ? rows : 1));
    unsigned char *words = malloc(bytes + 1), *codes = malloc(outputs + 1);
    if (!(words && codes))
        organ_fail(error, ORGAN_IO, "tensor '%s': no memory for a row of it", tensor->name);
    for (uint64_t row = 0; row < rows && !error->status; row++) {
        organ_weight_fetch(r, tensor, row * bytes, bytes, words, error);
        if (!error->status) {
            organ_unpack_bits(words, r->weight->bits, 1, 0, codes, outputs);
            count_codes(codes, outputs, r->weight->bits, census);
        }
    }
    free(codes);
    free(words);
    return error->status;
}

/* gptq stores zero points minus 1, gptq_v2 unchanged. The zero points decide if all are those of a symmetric weight.
 * The note also tells if the added 1 changes the largest code to 0. */
organ_status organ_weight_find_version(organ_weight_reader *r, char note[256], organ_error *error)
{
    const organ_weight *w = r->weight;
    zero_census census = {0};
    if (!w->zero)
        return ORGAN_OK;
    if (count_zero_points(r, &census, error))
        return error->status;
    const unsigned half = 1u << (w->bits - 1);
    const bool says_v1 = census.all && census.below_half == census.all,
               says_v2 = census.all && census.half == census.all;
    r->plus_one = says_v1 || (!says_v2 && !w->labelled_v2);
    if (r->plus_one == w->labelled_v2)
        snprintf(
            note, 256,
            "the configuration states %s, but all its zero points are stored as %u, which means %s: it is read as %s",
            w->labelled_v2 ? "gptq_v2" : "gptq", says_v1 ? half - 1 : half, says_v1 ? "gptq" : "gptq_v2",
            says_v1 ? "gptq" : "gptq_v2");
    else if (r->plus_one && census.greatest)
        snprintf(
            note, 256,
            "%llu of its %llu zero points are stored as %u, the largest code: with the 1 that gptq adds they become 0",
            (unsigned long long)census.greatest, (unsigned long long)census.all, 2 * half - 1);
    return ORGAN_OK;
}
