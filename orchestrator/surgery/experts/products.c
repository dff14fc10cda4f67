/* SPDX-License-Identifier: MIT
 * Stores the inner products of experts' outputs, and computes the distance of two choices of experts from them. */
#include "orchestrator/stream/disk/scratch_file.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/experts/measure_job.h"

#include <errno.h>
#include <stdlib.h>

/* The products are those of pairs i <= j of experts. */
size_t organ_expert_products_count(size_t experts) { return experts * (experts + 1) / 2; }

static size_t token_bytes(const organ_expert_products *p)
{
    return organ_expert_products_count(p->experts) * sizeof(float);
}

organ_status organ_expert_products_open(size_t experts, size_t tokens, const char *scratch, organ_expert_products *p,
                                        organ_error *error)
{
    *p = (organ_expert_products){.experts = experts, .tokens = tokens, .file = {.fd = -1, .direct = -1}};
    if (!scratch && !(p->all = organ_floats(tokens, organ_expert_products_count(experts))))
        return organ_fail_errno(error, ENOMEM, "the products of %zu experts for %zu tokens", experts, tokens);
    if (!scratch || organ_scratch_open(scratch, &p->file, error) != ORGAN_OK)
        return error->status;
    return organ_direct_reserve(&p->file, (uint64_t)tokens * token_bytes(p), error);
}

void organ_expert_products_close(organ_expert_products *p)
{
    if (p->file.path)
        organ_direct_close(&p->file);
    free(p->all);
    *p = (organ_expert_products){0};
}

float *organ_expert_products_place(const organ_expert_products *p, size_t token, float *scratch)
{
    return p->all ? p->all + token * organ_expert_products_count(p->experts) : scratch;
}

organ_status organ_expert_products_keep(organ_expert_products *p, size_t token, size_t count, const float *scratch,
                                        organ_error *error)
{
    return p->all
               ? ORGAN_OK
               : organ_direct_write(&p->file, scratch, count * token_bytes(p), (uint64_t)token * token_bytes(p), error);
}

const float *organ_expert_products_of(const organ_expert_products *p, size_t token, float *scratch, organ_error *error)
{
    if (p->all)
        return organ_expert_products_place(p, token, NULL);
    return organ_scratch_read(&p->file, scratch, token_bytes(p), (uint64_t)token * token_bytes(p), error) == ORGAN_OK
               ? scratch
               : NULL;
}

/* ---- squares ---- */

/* Differences of 0 are omitted. If `b` is NULL, all its weights are 0. `list` has room for 2 * used entries. */
static size_t subtract_choices(const organ_expert_choice *a, const organ_expert_choice *b, unsigned used,
                               organ_expert_difference *list)
{
    size_t count = 0;
    for (unsigned i = 0, j = 0; i < used || (b && j < used);) {
        const unsigned x = i < used ? a[i].expert : UINT32_MAX, y = b && j < used ? b[j].expert : UINT32_MAX;
        const double weight = (x <= y ? (double)a[i].weight : 0) - (y <= x ? (double)b[j].weight : 0);
        if (weight != 0)
            list[count++] = (organ_expert_difference){x < y ? x : y, weight};
        i += x <= y;
        j += y <= x;
    }
    return count;
}

/* If d_e is the difference of the weights of expert e in the two choices, the squared distance is sum_e sum_j d_e
 * d_j f_e . f_j. Only the products with j >= e are stored, so those with j > e count twice. */
double organ_expert_products_apart(const float *products, size_t experts, const organ_expert_choice *a,
                                   const organ_expert_choice *b, unsigned used, organ_expert_difference *room)
{
    const size_t count = subtract_choices(a, b, used, room);
    double sum = 0;
    for (size_t i = 0; i < count; i++) {
        const size_t e = room[i].expert;
        const float *const row = products + e * experts - e * (e + 1) / 2; /* row[j]: product with expert j >= e */
        double with = room[i].weight * (double)row[e];
        for (size_t j = i + 1; j < count; j++)
            with += 2 * room[j].weight * (double)row[room[j].expert];
        sum += room[i].weight * with;
    }
    return sum < 0 ? 0 : sum; /* rounding may make a sum of zero slightly negative */
}
