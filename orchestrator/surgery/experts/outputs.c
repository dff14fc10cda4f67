/* SPDX-License-Identifier: MIT
 * Computes the outputs of experts for the tokens of a chunk: norms of the experts that the router chose and, for
 * the loss, inner products of the outputs of all experts. */
#include "orchestrator/machine/extent.h"
#include "orchestrator/stream/share.h"
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/experts/measure_job.h"

#include <math.h>
#include <string.h>

/* A batch of tokens of a chunk. */
typedef struct outputs_job {
    organ_expert_measure *measure;
    const organ_calibration_layer *layer;
    size_t first, count; /* tokens [first, first + count) of the chunk are computed together */
} outputs_job;

/* Returns the experts chosen for a token of the current chunk. */
static const organ_choice *choices_of_token(const organ_expert_measure *m, size_t token)
{
    return m->dense + (m->next + token) * m->config->experts_used;
}

static double output_norm(const organ_expert_measure *m, const float *output)
{
    return sqrt(organ_dot(output, output, (size_t)m->config->hidden));
}

/* ---- the choice of each token ---- */

/* Chooses a token's experts among the kept ones. If router weights multiply the inputs (m->factors), the outputs have
 * the weight 1. */
void organ_expert_route(const organ_expert_measure *m, const bool *kept, const float *logits, float *scratch,
                        organ_choice *chosen)
{
    organ_forward_route(&m->router, kept, logits, scratch, chosen);
    for (size_t k = 0; m->factors && k < m->config->experts_used; k++)
        chosen[k].weight = 1;
}

/* Routes a token among all experts and stores its choices. */
static void route_token(void *context, size_t t, size_t worker)
{
    organ_expert_measure *const m = context;
    const organ_forward_config *const c = m->config;
    const size_t token = m->next + t;
    organ_expert_route(m, NULL, m->logits + token * c->experts, m->workers[worker].values,
                       m->dense + token * c->experts_used);
    if (m->factors)
        organ_forward_input_factors(&m->router, m->logits + token * c->experts, m->factors + token * c->experts);
}

/* ---- all experts on every token ---- */

/* Packs the upper triangle of an n x n matrix row by row. */
static void pack_upper(const float *square, size_t n, float *to)
{
    for (size_t i = 0; i < n; i++) {
        memcpy(to, square + i * n + i, (n - i) * sizeof *to);
        to += n - i;
    }
}

/* Computes for a token the products of all pairs of experts' outputs, from which the error of any choice of experts
 * follows, and the norms of the chosen ones. */
static void sum_token_outputs(void *context, size_t index, size_t worker)
{
    const outputs_job *const j = context;
    organ_expert_measure *const m = j->measure;
    const organ_expert_worker *const w = &m->workers[worker];
    const size_t experts = m->config->experts, used = m->config->experts_used, hidden = (size_t)m->config->hidden,
                 t = j->first + index;
    const organ_factor outputs = organ_by_rows(m->outputs + index * hidden, j->count * hidden);
    const organ_product product = {
        .m = experts, .n = experts, .k = hidden, .a = outputs, .b = outputs, .c = w->square, .c_stride = experts};
    float *const kept =
        organ_expert_products_place(&m->products, m->next + t, m->made + index * organ_expert_products_count(experts));
    const organ_choice *const chosen = choices_of_token(m, t);
    m->options.engine->kernels->product(&product, w->scratch);
    pack_upper(w->square, experts, kept);
    for (size_t k = 0; k < used; k++)
        m->norms[t * used + k] = output_norm(m, m->outputs + (chosen[k].expert * j->count + index) * hidden);
    m->powers[t] = organ_expert_products_apart(kept, experts, chosen, NULL, (unsigned)used, w->differences);
}

/* Copies the input of a token to `to`, times the expert's factor if router.into_inputs. */
static void scale_input(const organ_expert_measure *m, unsigned expert, size_t token, float *to)
{
    const size_t hidden = (size_t)m->config->hidden;
    const float factor = m->factors ? m->factors[(m->next + token) * m->config->experts + expert] : 1;
    for (size_t x = 0; x < hidden; x++)
        to[x] = m->normed[token * hidden + x] * factor;
}

/* Returns the inputs of an expert for the tokens of the batch; scaled ones are in a buffer after the outputs. */
static const float *inputs_of(const outputs_job *j, unsigned expert)
{
    const organ_expert_measure *const m = j->measure;
    const size_t hidden = (size_t)m->config->hidden;
    float *const scaled = m->outputs + m->config->experts * j->count * hidden;
    for (size_t t = 0; m->factors && t < j->count; t++)
        scale_input(m, expert, j->first + t, scaled + t * hidden);
    return m->factors ? scaled : m->normed + j->first * hidden;
}

/* Runs all experts on all tokens, in batches: the loss needs the output of an expert also for tokens that it might
 * get. */
static organ_status run_all_experts(outputs_job *j, size_t tokens, organ_error *error)
{
    organ_expert_measure *const m = j->measure;
    const size_t hidden = (size_t)m->config->hidden;
    organ_forward *const forward = organ_calibration_run_facts_of(m->calib)->forward;
    for (j->first = 0; j->first < tokens && !error->status; j->first += j->count) {
        j->count = organ_min(m->batch, tokens - j->first);
        for (unsigned e = 0; e < m->config->experts && !error->status; e++)
            organ_layer_expert(forward, j->layer->loaded, e, inputs_of(j, e), j->count, NULL,
                               m->outputs + e * j->count * hidden, error);
        if (error->status)
            return error->status;
        organ_share(m->options.engine, NULL, j->count, sum_token_outputs, j);
        organ_expert_products_keep(&m->products, m->next + j->first, j->count, m->made, error);
    }
    return error->status;
}

/* ---- each expert on its tokens ---- */

/* Collects the next tokens from *t on that expert `e` works on, at most a batch: their rows go to `x`, the indices of
 * their norms to `places`. Returns their number. */
static size_t outputs_gather(const organ_expert_measure *m, unsigned e, size_t tokens, size_t *t, float *x,
                             size_t *places)
{
    const size_t used = m->config->experts_used, hidden = (size_t)m->config->hidden;
    size_t count = 0;
    for (; *t < tokens && count < m->batch; ++*t) {
        const organ_choice *const chosen = choices_of_token(m, *t);
        for (size_t k = 0; k < used; k++)
            if (chosen[k].expert == e) {
                scale_input(m, e, *t, x + count * hidden);
                places[count++] = *t * used + k;
            }
    }
    return count;
}

/* Runs each expert on the tokens routed to it and stores the norms of its outputs. Sets the powers of the tokens
 * to 0: only the measurement of the loss computes them. */
static organ_status run_routed_experts(outputs_job *j, size_t tokens, organ_error *error)
{
    organ_expert_measure *const m = j->measure;
    const size_t hidden = (size_t)m->config->hidden;
    float *const x = m->outputs, *const y = x + m->batch * hidden;
    for (unsigned e = 0; e < m->config->experts; e++)
        for (size_t t = 0; t < tokens;) {
            const size_t count = outputs_gather(m, e, tokens, &t, x, m->places);
            if (count && organ_layer_expert(organ_calibration_run_facts_of(m->calib)->forward, j->layer->loaded, e, x,
                                            count, NULL, y, error))
                return error->status;
            for (size_t k = 0; k < count; k++)
                m->norms[m->places[k]] = output_norm(m, y + k * hidden);
        }
    memset(m->powers, 0, tokens * sizeof *m->powers);
    return ORGAN_OK;
}

/* ---- the sums of the chunk ---- */

/* Adds gate times norm, and the number of tokens, of each expert to the row of this chunk. */
static organ_status add_up(organ_expert_measure *m, int32_t layer, size_t tokens, organ_error *error)
{
    const size_t experts = m->config->experts, used = m->config->experts_used;
    double *const row = organ_expert_row_of(m, m->next);
    memset(row, 0, organ_expert_row_width(m) * sizeof *row);
    for (size_t t = 0; t < tokens; t++) {
        const organ_choice *const chosen = choices_of_token(m, t);
        for (size_t k = 0; k < used; k++) {
            const double value = (double)chosen[k].weight * m->norms[t * used + k];
            if (!isfinite(value))
                return organ_fail(error, ORGAN_BAD_INPUT,
                                  "%s: expert %u of layer %d returns a value that is not finite",
                                  m->options.model->path, chosen[k].expert, (int)layer);
            row[chosen[k].expert] += value;
            row[experts + chosen[k].expert]++;
        }
        row[2 * experts] += m->powers[t];
    }
    return ORGAN_OK;
}

/* Routes the tokens of a chunk, runs all experts (score loss) or the routed ones, and adds their scores. */
organ_status organ_expert_outputs_take(organ_expert_measure *m, const organ_calibration_layer *layer, size_t tokens,
                                       organ_error *error)
{
    outputs_job j = {.measure = m, .layer = layer};
    organ_share(m->options.engine, NULL, tokens, route_token, m);
    if ((m->scores->with_loss ? run_all_experts : run_routed_experts)(&j, tokens, error) != ORGAN_OK)
        return error->status;
    return add_up(m, layer->number, tokens, error);
}
