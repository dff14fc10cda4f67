/* SPDX-License-Identifier: MIT
 * The members about a composed mixture in the report of a merge. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include "orchestrator/output/facts.h"
#include "orchestrator/stream/compute.h"

#include <stdlib.h>

void organ_mixture_release(merge_mixture *m)
{
    if (m->configured)
        organ_forward_config_release(&m->config);
    free(m->rows);
    free(m->share);
}

void organ_mixture_add_texts(const merge_mixture *m, organ_run_inputs *inputs, organ_error *error)
{
    for (size_t k = 0; k < m->count && !error->status; k++)
        organ_run_inputs_add(inputs, "text", m->experts[k].text, error);
}

/* The recipe has everything else. */
json_t *organ_mixture_parameters(const model_merge *job)
{
    const merge_mixture *const m = job->recipe.mixture;
    const bool texts = m->experts[0].text != NULL;
    return ORGAN_OBJECT(SET_TEXT("architecture", m->form->architecture),
                        SET_TEXT("gate_mode", organ_mixture_gate_name(m->gate)),
                        SET_REDUCED_COMPUTE(job->engine, texts ? job->options->calibration.compute : NULL),
                        SET_IF(texts, "samples", json_integer(job->options->calibration.samples)),
                        SET_IF(texts, "context", json_integer(job->options->calibration.context)));
}

static json_t *expert_json(const void *context, size_t k)
{
    const model_merge *const job = context;
    const mixture_expert *const e = &job->recipe.mixture->experts[k];
    return ORGAN_OBJECT(SET_COUNT("expert", k), SET_BYTES("model", job->donors[e->donor].name),
                        SET_FLAG("shared", k >= job->recipe.mixture->count), SET("noise_scale", json_real(e->noise)),
                        SET("residual_scale", json_real(e->residual)),
                        SET_IF(e->text, "text", organ_document_string(e->text)));
}

static json_t *share_json(const void *context, size_t k)
{
    const model_merge *const job = context;
    return ORGAN_OBJECT(SET_INDEX("layer", (int32_t)k),
                        SET("share", json_real(organ_millionth((double)job->recipe.mixture->share[k]))));
}

static json_t *held_out_json(const model_merge *job)
{
    const merge_mixture *const m = job->recipe.mixture;
    double sum = 0;
    for (size_t k = 0; k < m->config.layers; k++)
        sum += (double)m->share[k] / m->config.layers;
    return ORGAN_OBJECT(SET_COUNT("tokens", m->held), SET("share", json_real(organ_millionth(sum))),
                        SET("by_chance", json_real(organ_millionth(1 / (double)m->count))),
                        SET("layers", organ_json_rows(m->config.layers, share_json, job)));
}

json_t *organ_mixture_json(const model_merge *job)
{
    const merge_mixture *const m = job->recipe.mixture;
    return ORGAN_OBJECT(SET_TEXT("architecture", m->form->architecture), SET_TEXT("made_as", m->form->name),
                        SET_TEXT("gate_mode", organ_mixture_gate_name(m->gate)), SET_COUNT("used", m->used),
                        SET("experts", organ_json_rows(m->count + m->shared, expert_json, job)),
                        SET_IF(m->share, "held_out", held_out_json(job)));
}
