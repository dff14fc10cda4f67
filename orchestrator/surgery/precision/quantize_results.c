/* SPDX-License-Identifier: MIT
 * What the journal has of a part besides its bytes. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/cache/cache.h"
#include "orchestrator/surgery/output/tally.h"
#include "orchestrator/surgery/precision/quantize_job.h"

json_t *organ_quantize_results(const organ_quantize_part *part)
{
    return ORGAN_OBJECT(SET("squares", organ_exact_json(part->squares)),
                        SET("error_squares", organ_exact_json(part->error_squares)),
                        SET("energy", organ_exact_json(part->energy)),
                        SET("gptq_loss", organ_exact_json(part->gptq_loss)), SET("loss", organ_exact_json(part->loss)),
                        SET_COUNT("tokens", part->tokens), SET_FLAG("block_diagonal", part->block_diagonal),
                        SET_IF(part->fallback, "fallback_experts", json_incref(part->fallback)),
                        SET_IF(part->masked, "masked", json_integer((json_int_t)part->masked)),
                        SET_IF(part->zeros, "zeros", json_integer((json_int_t)part->zeros)));
}

bool organ_quantize_recall(void *context, size_t at, const json_t *results)
{
    organ_quantize_part *const part = &((organ_quantize_job *)context)->parts[at];
    part->tokens = (uint64_t)json_integer_value(json_object_get(results, "tokens"));
    part->block_diagonal = json_is_true(json_object_get(results, "block_diagonal"));
    json_decref(part->fallback);
    part->fallback = json_incref(json_object_get(results, "fallback_experts"));
    part->masked = (uint64_t)json_integer_value(json_object_get(results, "masked"));
    part->zeros = (uint64_t)json_integer_value(json_object_get(results, "zeros"));
    return organ_exact_value(json_object_get(results, "squares"), &part->squares) &&
           organ_exact_value(json_object_get(results, "error_squares"), &part->error_squares) &&
           organ_exact_value(json_object_get(results, "energy"), &part->energy) &&
           organ_exact_value(json_object_get(results, "gptq_loss"), &part->gptq_loss) &&
           organ_exact_value(json_object_get(results, "loss"), &part->loss);
}
