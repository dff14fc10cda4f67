/* SPDX-License-Identifier: MIT
 * The scores as a document. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/experts/scores.h"

typedef struct scores_json_row {
    const organ_expert_scores *scores;
    const organ_expert_layer *layer;
} scores_json_row;

static json_t *frequency_json(const void *context, size_t k)
{
    return json_integer((json_int_t)((const scores_json_row *)context)->layer->frequency[k]);
}
static json_t *sum_json(const void *context, size_t k)
{
    return json_real(((const scores_json_row *)context)->layer->sum[k]);
}
static json_t *reap_json(const void *context, size_t k)
{
    return json_real(((const scores_json_row *)context)->layer->reap[k]);
}
static json_t *removed_json(const void *context, size_t k)
{
    return json_integer((json_int_t)((const scores_json_row *)context)->layer->removed[k]);
}
static json_t *loss_json(const void *context, size_t k)
{
    return json_real(((const scores_json_row *)context)->layer->loss[k]);
}

static json_t *scores_json_layer_json(const void *context, size_t l)
{
    const organ_expert_scores *const s = context;
    const scores_json_row r = {s, &s->of[l]};
    const size_t steps = s->experts - s->least;
    if (!r.layer->known)
        return json_null();
    if (r.layer->dense)
        return ORGAN_OBJECT(SET_COUNT("layer", l), SET_FLAG("dense", true));
    return ORGAN_OBJECT(SET_COUNT("layer", l), SET("frequency", organ_json_rows(s->experts, frequency_json, &r)),
                        SET("sum", organ_json_rows(s->experts, sum_json, &r)),
                        SET("reap", organ_json_rows(s->experts, reap_json, &r)),
                        SET_REAL_OF("power", s->with_loss, r.layer->power),
                        SET("removed", s->with_loss ? organ_json_rows(steps, removed_json, &r) : json_null()),
                        SET("loss", s->with_loss ? organ_json_rows(steps, loss_json, &r) : json_null()));
}

json_t *organ_expert_scores_json(const organ_expert_scores *s, const json_t *identity)
{
    json_t *const head = ORGAN_OBJECT(SET_TEXT("schema", ORGAN_EXPERT_SCORES_SCHEMA), SET_TEXT("organ", ORGAN_VERSION));
    return organ_json_joined(organ_json_joined(head, json_copy((json_t *)identity)),
                             ORGAN_OBJECT(SET_FLAG("loss", s->with_loss), SET_HELD("calibration", s->calibration),
                                          SET_COUNT("experts", s->experts), SET_COUNT("used", s->used),
                                          SET_COUNT("tokens", s->tokens),
                                          SET("layers", organ_json_rows(s->layers, scores_json_layer_json, s))));
}
