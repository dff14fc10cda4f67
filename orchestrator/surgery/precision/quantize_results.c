/* SPDX-License-Identifier: MIT
 * Figures of a finished part in its journal line. One table lists the members that are written and read. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#include <stddef.h>

/* Row of the table: name in the journal, type, and member of organ_quantize_part. */
#define FIELD(name, type, member) ORGAN_STRUCT_FIELD_NAMED(name, organ_quantize_part, member, type)

static const organ_struct_field results_fields[] = {
    FIELD("block_diagonal", FLAG, block_diagonal),
    FIELD("squares", EXACT, loss[ORGAN_LOSS].squares),
    FIELD("error_squares", EXACT, loss[ORGAN_LOSS].error_squares),
    FIELD("weighted", EXACT, loss[ORGAN_LOSS_WEIGHTED].squares),
    FIELD("error_weighted", EXACT, loss[ORGAN_LOSS_WEIGHTED].error_squares),
    FIELD("energy", EXACT, energy),
    FIELD("gptq_loss", EXACT, gptq_loss),
    FIELD("loss", EXACT, output_loss),
    FIELD("tokens", U64, tokens),
    FIELD("masked", U64, masked),
    FIELD("zeros", U64, zeros)};

json_t *organ_quantize_results(const organ_quantize_part *part)
{
    return ORGAN_STRUCT_ADD(ORGAN_OBJECT(SET_IF(part->fallback, "fallback_experts", json_incref(part->fallback)),
                                         SET_IF(part->unsearched != 0, "unsearched", json_real(part->unsearched))),
                            results_fields, part);
}

bool organ_quantize_recall(void *context, size_t at, const json_t *results)
{
    organ_quantize_part *const part = &((organ_quantize_job *)context)->parts[at];
    json_decref(part->fallback);
    part->fallback = json_incref(json_object_get(results, "fallback_experts"));
    part->unsearched = json_number_value(json_object_get(results, "unsearched"));
    return ORGAN_STRUCT_READ(results, results_fields, part);
}
