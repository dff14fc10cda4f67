/* SPDX-License-Identifier: MIT
 * Runs experts on the tokens of a chunk and computes the norms of the outputs of the experts that the router chose; for
 * the loss also the inner products of the outputs of all experts. */
#include "orchestrator/verbs/shrink/experts_parts.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- inner products of experts' outputs, from which the distance of two choices of experts follows ---- */

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

/* Returns where the caller must write the products of tokens from `token` on: their place in memory, or `scratch` if
 * the products are stored in a file. The caller then calls expert_products_keep. */
static float *expert_products_place(const organ_expert_products *p, size_t token, float *scratch)
{
    return p->all ? p->all + token * organ_expert_products_count(p->experts) : scratch;
}

/* Writes the products of tokens [token, token + count) from `scratch` to the file. Does nothing if products are in
 * memory. */
static organ_status expert_products_keep(organ_expert_products *p, size_t token, size_t count, const float *scratch,
                                         organ_error *error)
{
    return p->all
               ? ORGAN_OK
               : organ_direct_write(&p->file, scratch, count * token_bytes(p), (uint64_t)token * token_bytes(p), error);
}

const float *organ_expert_products_of(const organ_expert_products *p, size_t token, float *scratch, organ_error *error)
{
    if (p->all)
        return expert_products_place(p, token, /*scratch=*/NULL);
    return organ_scratch_read(&p->file, scratch, token_bytes(p), (uint64_t)token * token_bytes(p), error) == ORGAN_OK
               ? scratch
               : NULL;
}

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

/* ---- rows of chunks ---- */

size_t organ_expert_row_width(const organ_forward_config *config) { return 2 * (size_t)config->experts + 1; }

/* The chunks of this rank are chunks first, first + step, ... of the text; token / chunk_tokens is the index of the
 * chunk among these. */
double *organ_expert_row_of(const organ_expert_measure *m, size_t token)
{
    const organ_calibration_chunks *const chunks = organ_calibration_chunks_of(m->calib);
    return m->rows + (chunks->first + token / m->chunk_tokens * chunks->step) * organ_expert_row_width(m->config);
}

typedef struct outputs_job {
    organ_expert_measure *measure;
    const organ_calibration_layer *layer;
    size_t first, count; /* tokens [first, first + count) of the chunk are computed together */
} outputs_job;

static const organ_expert_choice *choices_of_token(const organ_expert_measure *m, size_t token)
{
    return m->choices + (m->chunk_begin + token) * m->config->experts_used;
}

static double output_norm(const organ_expert_measure *m, const float *output)
{
    return sqrt(organ_dot(output, output, (size_t)m->config->hidden));
}

/* ---- the choice of each token ---- */

/* `scratch` has one number for each expert. */
void organ_expert_route(const organ_expert_measure *m, const bool *kept, const float *logits, float *scratch,
                        organ_expert_choice *chosen)
{
    organ_forward_route(&m->router, kept, logits, scratch, chosen);
    for (size_t k = 0; m->factors && k < m->config->experts_used; k++)
        chosen[k].weight = 1;
}

static void route_token(void *context, size_t t, size_t worker)
{
    organ_expert_measure *const m = context;
    const organ_forward_config *const c = m->config;
    const size_t token = m->chunk_begin + t;
    organ_expert_route(m, NULL, m->logits + token * c->experts, m->workers[worker].values,
                       m->choices + token * c->experts_used);
    if (m->factors)
        organ_forward_input_factors(&m->router, m->logits + token * c->experts, m->factors + token * c->experts);
}

/* ---- all experts on every token ---- */

static void pack_upper(const float *square, size_t n, float *to)
{
    for (size_t i = 0; i < n; i++) {
        memcpy(to, square + i * n + i, (n - i) * sizeof *to);
        to += n - i;
    }
}

/* The error of any choice of experts follows from the inner products of the outputs of all experts. */
static void multiply_token_outputs(void *context, size_t index, size_t worker)
{
    const outputs_job *const j = context;
    organ_expert_measure *const m = j->measure;
    const organ_expert_worker *const w = &m->workers[worker];
    const size_t experts = m->config->experts, used = m->config->experts_used, hidden = (size_t)m->config->hidden,
                 t = j->first + index;
    const organ_product_operand outputs = organ_by_rows(m->outputs + index * hidden, j->count * hidden);
    const organ_product product = {
        .m = experts, .n = experts, .k = hidden, .a = outputs, .b = outputs, .c = w->square, .c_stride = experts};
    float *const packed = expert_products_place(&m->products, m->chunk_begin + t,
                                                m->products_buffer + index * organ_expert_products_count(experts));
    const organ_expert_choice *const chosen = choices_of_token(m, t);
    m->options.engine->kernels->product(&product, w->scratch);
    pack_upper(w->square, experts, packed);
    for (size_t k = 0; k < used; k++)
        m->norms[t * used + k] = output_norm(m, m->outputs + (chosen[k].expert * j->count + index) * hidden);
    m->powers[t] = organ_expert_products_apart(packed, experts, chosen, NULL, (unsigned)used, w->differences);
}

static void scale_input(const organ_expert_measure *m, unsigned expert, size_t token, float *to)
{
    const size_t hidden = (size_t)m->config->hidden;
    const float factor = m->factors ? m->factors[(m->chunk_begin + token) * m->config->experts + expert] : 1;
    for (size_t x = 0; x < hidden; x++)
        to[x] = m->normed[token * hidden + x] * factor;
}

/* Scaled copies of the inputs are in the buffer after the outputs of all experts. */
static const float *inputs_of(const outputs_job *j, unsigned expert)
{
    const organ_expert_measure *const m = j->measure;
    const size_t hidden = (size_t)m->config->hidden;
    float *const scaled = m->outputs + m->config->experts * j->count * hidden;
    for (size_t t = 0; m->factors && t < j->count; t++)
        scale_input(m, expert, j->first + t, scaled + t * hidden);
    return m->factors ? scaled : m->normed + j->first * hidden;
}

/* The loss needs an expert's output also for tokens that are rerouted to it when other experts are removed. */
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
        organ_share(m->options.engine, NULL, j->count, multiply_token_outputs, j);
        expert_products_keep(&m->products, m->chunk_begin + j->first, j->count, m->products_buffer, error);
    }
    return error->status;
}

/* ---- each expert on its tokens ---- */

/* At most a batch is collected, from *t on; *t becomes the first token that was not examined. `norm_indices` are
 * indices in m->norms. */
static size_t outputs_gather(const organ_expert_measure *m, unsigned e, size_t tokens, size_t *t, float *x,
                             size_t *norm_indices)
{
    const size_t used = m->config->experts_used, hidden = (size_t)m->config->hidden;
    size_t count = 0;
    for (; *t < tokens && count < m->batch; ++*t) {
        const organ_expert_choice *const chosen = choices_of_token(m, *t);
        for (size_t k = 0; k < used; k++)
            if (chosen[k].expert == e) {
                scale_input(m, e, *t, x + count * hidden);
                norm_indices[count++] = *t * used + k;
            }
    }
    return count;
}

/* The powers of the tokens become 0: only the measurement of the loss computes them. */
static organ_status run_routed_experts(outputs_job *j, size_t tokens, organ_error *error)
{
    organ_expert_measure *const m = j->measure;
    const size_t hidden = (size_t)m->config->hidden;
    float *const x = m->outputs, *const y = x + m->batch * hidden;
    for (unsigned e = 0; e < m->config->experts; e++)
        for (size_t t = 0; t < tokens;) {
            const size_t count = outputs_gather(m, e, tokens, &t, x, m->norm_indices);
            if (count && organ_layer_expert(organ_calibration_run_facts_of(m->calib)->forward, j->layer->loaded, e, x,
                                            count, NULL, y, error))
                return error->status;
            for (size_t k = 0; k < count; k++)
                m->norms[m->norm_indices[k]] = output_norm(m, y + k * hidden);
        }
    memset(m->powers, 0, tokens * sizeof *m->powers);
    return ORGAN_OK;
}

/* ---- the sums of the chunk ---- */

/* The row has for each expert the sum over its tokens of router weight times output norm, and the number of its
 * tokens; last it has the sum of the tokens' powers. */
static organ_status add_scores_to_row(organ_expert_measure *m, int32_t layer, size_t tokens, organ_error *error)
{
    const size_t experts = m->config->experts, used = m->config->experts_used;
    double *const row = organ_expert_row_of(m, m->chunk_begin);
    memset(row, 0, organ_expert_row_width(m->config) * sizeof *row);
    for (size_t t = 0; t < tokens; t++) {
        const organ_expert_choice *const chosen = choices_of_token(m, t);
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

organ_status organ_expert_outputs_take(organ_expert_measure *m, const organ_calibration_layer *layer, size_t tokens,
                                       organ_error *error)
{
    outputs_job j = {.measure = m, .layer = layer};
    organ_share(m->options.engine, NULL, tokens, route_token, m);
    if ((m->scores->with_loss ? run_all_experts : run_routed_experts)(&j, tokens, error) != ORGAN_OK)
        return error->status;
    return add_scores_to_row(m, layer->number, tokens, error);
}
