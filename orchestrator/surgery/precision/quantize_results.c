/* SPDX-License-Identifier: MIT
 * The figures of a part in the journal: one table for writing and reading them. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/cache/cache.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#include <stddef.h>

#define AT(member) offsetof(organ_quantize_part, member)

static const struct {
    const char *name;
    size_t offset;
} sums[] = {{"squares", AT(loss[ORGAN_LOSS].squares)},
            {"error_squares", AT(loss[ORGAN_LOSS].error_squares)},
            {"weighted", AT(loss[ORGAN_LOSS_WEIGHTED].squares)},
            {"error_weighted", AT(loss[ORGAN_LOSS_WEIGHTED].error_squares)},
            {"energy", AT(energy)},
            {"gptq_loss", AT(gptq_loss)},
            {"loss", AT(output_loss)}},
  counts[] = {{"tokens", AT(tokens)}, {"masked", AT(masked)}, {"zeros", AT(zeros)}};

enum { SUMS = sizeof sums / sizeof *sums, COUNTS = sizeof counts / sizeof *counts };

json_t *organ_quantize_results(const organ_quantize_part *part)
{
    const char *const base = (const char *)part;
    organ_member members[SUMS + COUNTS + 3] = {SET_FLAG("block_diagonal", part->block_diagonal),
                                               SET_IF(part->fallback, "fallback_experts", json_incref(part->fallback))};
    organ_member *next = members + 2;
    for (size_t k = 0; k < SUMS; k++)
        *next++ =
            (organ_member)SET(sums[k].name, organ_exact_json(*(const double *)(const void *)(base + sums[k].offset)));
    for (size_t k = 0; k < COUNTS; k++)
        *next++ = (organ_member)SET_COUNT(counts[k].name, *(const uint64_t *)(const void *)(base + counts[k].offset));
    return organ_members_object(json_object(), members);
}

bool organ_quantize_recall(void *context, size_t at, const json_t *results)
{
    organ_quantize_part *const part = &((organ_quantize_job *)context)->parts[at];
    char *const base = (char *)part;
    bool known = true;
    for (size_t k = 0; k < SUMS; k++)
        known = known &&
                organ_exact_value(json_object_get(results, sums[k].name), (double *)(void *)(base + sums[k].offset));
    for (size_t k = 0; k < COUNTS; k++)
        *(uint64_t *)(void *)(base + counts[k].offset) =
            (uint64_t)json_integer_value(json_object_get(results, counts[k].name));
    part->block_diagonal = json_is_true(json_object_get(results, "block_diagonal"));
    json_decref(part->fallback);
    part->fallback = json_incref(json_object_get(results, "fallback_experts"));
    return known;
}
