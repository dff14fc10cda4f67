/* SPDX-License-Identifier: MIT */
#include "formats/architecture/counterpart.h"
#include "orchestrator/surgery/organs/graft_job.h"

#include <organ/weights.h>
#include "orchestrator/surgery/inputs/inputs.h"

#include <string.h>

static bool is_packed(const organ_weight *weight) { return weight->scheme != ORGAN_SCHEME_PLAIN; }

/* Scheme, groups and types must be equal, so that one weight can replace the other. */
static bool packed_alike(const organ_weight *a, const organ_weight *b)
{
    char one[160], other[160];
    return a->scheme == b->scheme && a->divides == b->divides && a->labelled_v2 == b->labelled_v2 &&
           strcmp(organ_weight_text(a, one, sizeof one), organ_weight_text(b, other, sizeof other)) == 0;
}

bool organ_graft_counterpart(const organ_graft_job *job, const char *name, const organ_anatomy *anatomy,
                             char counterpart[ORGAN_COUNTERPART_SIZE])
{
    const int32_t layer = organ_layer_mapped(&job->map, anatomy->layer);
    const bool to_gguf = job->target->gguf != NULL;
    return job->names_differ ? organ_counterpart_across(to_gguf ? job->target : job->source, name, anatomy, to_gguf,
                                                        layer, counterpart, ORGAN_COUNTERPART_SIZE)
                             : organ_counterpart_at(name, anatomy, layer, counterpart, ORGAN_COUNTERPART_SIZE);
}

static const organ_weight *replaced_by(const organ_graft_job *job, const organ_weights *targets,
                                       const organ_weight *weight)
{
    char name[ORGAN_COUNTERPART_SIZE];
    return organ_graft_counterpart(job, weight->name, &weight->anatomy, name) ? organ_weights_named(targets, name)
                                                                              : NULL;
}

/* Weights that are not selected or replace nothing pass. */
static organ_status check_packed_pair(const organ_graft_job *job, const organ_weights *targets,
                                      const organ_weight *weight, organ_error *error)
{
    char source_text[160], target_text[160];
    if (!organ_selected(&job->selection, weight->codes))
        return ORGAN_OK;
    const organ_weight *const replaced = replaced_by(job, targets, weight);
    if (!replaced || (!is_packed(weight) && !is_packed(replaced)) || packed_alike(weight, replaced))
        return ORGAN_OK;
    const organ_model *const packed = is_packed(weight) ? job->source : job->target;
    return organ_dequantize_first(packed, error, "%.200s: is %s in %.150s and %s in %.150s", weight->name,
                                  organ_weight_text(weight, source_text, sizeof source_text), job->source->path,
                                  organ_weight_text(replaced, target_text, sizeof target_text), job->target->path);
}

organ_status organ_graft_packed(organ_graft_job *job, organ_error *error)
{
    organ_weights *sources = NULL, *targets = NULL;
    if (organ_weights_find(job->source, &sources, error) == ORGAN_OK &&
        organ_weights_find(job->target, &targets, error) == ORGAN_OK && sources->packed + targets->packed > 0)
        for (size_t k = 0; k < sources->count && !error->status; k++)
            check_packed_pair(job, targets, &sources->weights[k], error);
    organ_weights_free(sources);
    organ_weights_free(targets);
    return error->status;
}
