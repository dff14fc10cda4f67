/* SPDX-License-Identifier: MIT
 * Hyper-connections (Zhu et al. 2024, "Hyper-Connections", arXiv:2409.19606), as HYV4HyperConnection and HYV4HyperHead
 * of transformers 5.24 compute them. S is the row of all streams s_1 ... s_n of a token, F a matrix of 2 n rows, b a
 * vector, and a, a' two factors. With
 *
 *     m = F S / sqrt(mean(S^2) + rms_norm_eps),
 *     p_i = logistic(a m_i + b_i) + eps,    q_i = magnitude logistic(a' m_(n+i) + b_(n+i)) + eps,
 *
 * the half of a layer (mixer or feed-forward, with the norm before it) reads x = sum of p_i s_i, and its output y
 * changes the streams to s_i + q_i y. After the last layer the hidden state is the sum of p_i s_i, where F has n rows.
 *
 * DeepseekV4HyperConnection mixes the streams, which become q_i y + sum of C_ji s_j over j, and q_i has no eps. F has
 * n^2 more rows, and there is a third factor a''. Row j of C is softmax(a'' m_(2n+jn+i) + b_(2n+jn+i)) over i, plus
 * eps. Then the columns of C are divided by their sums plus eps, and `balances` - 1 times rows, then columns are (the
 * algorithm of Sinkhorn and Knopp), so that rows and columns have sums near 1. */
#include "orchestrator/forward/connections.h"

#include "orchestrator/machine/quantity.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define LANES 16 /* partial sums of a dot product; independent lanes let the compiler use vectors */

/* The matrix, the vector and the factors of a half or of the end; NULL at the end of a model with `mean`. */
typedef struct connection {
    const float *matrix, *biases, *factors;
} connection;

typedef struct connect_job {
    const organ_forward *forward;
    connection by;
    float *states;      /* states of the tokens, config.state floats each */
    const size_t *rows; /* of token t, its number in `states`; NULL: t */
    float *hidden;      /* tokens x hidden_size */
} connect_job;

static float dot(const float *x, const float *y, size_t n)
{
    float lanes[LANES] = {0}, sum = 0;
    size_t k = 0;
    for (; k + LANES <= n; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += x[k + l] * y[k + l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] += x[k] * y[k];
    for (size_t l = 0; l < LANES; l++)
        sum += lanes[l];
    return sum;
}

static float *state_of(const connect_job *j, size_t t)
{
    return j->states + (j->rows ? j->rows[t] : t) * j->forward->config.state;
}

/* Sets `to` to factor x m + b for rows [first, first + count) of F. */
static void project_streams(const connect_job *j, const float *state, size_t first, size_t count, float factor,
                            float *to)
{
    const size_t all = organ_forward_streams_floats(&j->forward->config);
    const float scale = 1 / sqrtf(organ_forward_mean_square(state, all) + (float)j->forward->config.rms_eps);
    for (size_t k = 0; k < count; k++)
        to[k] = dot(j->by.matrix + (first + k) * all, state, all) * scale * factor + j->by.biases[first + k];
}

/* Computes p (`first` 0, equation at the top of the file) or q (`first` n) of a token. */
static void weigh_streams(const connect_job *j, const float *state, size_t first, float weights[ORGAN_MOST_STREAMS])
{
    const organ_connections_config *const c = &j->forward->config.connections;
    const float eps = first && c->balances ? 0 : (float)c->eps, magnitude = first ? (float)c->magnitude : 1;
    if (!j->by.matrix) { /* the mean after the last layer */
        for (size_t k = 0; k < c->streams; k++)
            weights[k] = 1.0F / (float)c->streams;
        return;
    }
    project_streams(j, state, first, c->streams, j->by.factors[first > 0], weights);
    organ_forward_logistic(j->forward->engine->kernels, weights, c->streams);
    for (size_t k = 0; k < c->streams; k++)
        weights[k] = magnitude * weights[k] + eps;
}

/* Divides the n numbers from `at` on, `step` apart, by their sum plus eps. */
static void divide_by_sum(float *at, size_t step, size_t n, float eps)
{
    float sum = 0;
    for (size_t k = 0; k < n; k++)
        sum += at[k * step];
    for (size_t k = 0; k < n; k++)
        at[k * step] /= sum + eps;
}

/* Computes C of a token, n x n. */
static void weigh_mixing(const connect_job *j, const float *state, float *matrix)
{
    const organ_connections_config *const c = &j->forward->config.connections;
    const size_t n = c->streams;
    const float eps = (float)c->eps;
    project_streams(j, state, 2 * n, n * n, j->by.factors[2], matrix);
    for (size_t row = 0; row < n; row++) {
        float *const of_row = matrix + row * n, top = -INFINITY;
        for (size_t k = 0; k < n; k++)
            top = of_row[k] > top ? of_row[k] : top;
        const float sum = j->forward->engine->kernels->exp_below(of_row, n, top);
        for (size_t k = 0; k < n; k++)
            of_row[k] = of_row[k] / sum + eps;
    }
    for (unsigned turn = 0; turn < c->balances; turn++) {
        for (size_t k = 0; k < n && turn > 0; k++)
            divide_by_sum(matrix + k * n, 1, n, eps);
        for (size_t k = 0; k < n; k++)
            divide_by_sum(matrix + k, n, n, eps);
    }
}

/* Replaces the streams by their mixtures. `matrix` is C. */
static void mix_streams(const organ_forward_config *c, const float *matrix, float *state)
{
    const size_t n = c->connections.streams, hidden = (size_t)c->hidden;
    for (size_t x = 0; x < hidden; x++) {
        float old[ORGAN_MOST_STREAMS];
        for (size_t k = 0; k < n; k++)
            old[k] = state[k * hidden + x];
        for (size_t k = 0; k < n; k++) {
            float sum = 0;
            for (size_t i = 0; i < n; i++)
                sum += matrix[i * n + k] * old[i];
            state[k * hidden + x] = sum;
        }
    }
}

static void sum_streams(void *context, size_t t)
{
    const connect_job *const j = context;
    const organ_forward_config *const c = &j->forward->config;
    const size_t hidden = (size_t)c->hidden, streams = c->connections.streams;
    const float *const state = state_of(j, t);
    float weights[ORGAN_MOST_STREAMS], *const to = j->hidden + t * hidden;
    weigh_streams(j, state, 0, weights);
    for (size_t x = 0; x < hidden; x++) {
        float sum = 0;
        for (size_t k = 0; k < streams; k++)
            sum += weights[k] * state[k * hidden + x];
        to[x] = sum;
    }
}

static void add_output(void *context, size_t t)
{
    const connect_job *const j = context;
    const organ_forward_config *const c = &j->forward->config;
    const size_t hidden = (size_t)c->hidden, streams = c->connections.streams;
    float *const state = state_of(j, t), weights[ORGAN_MOST_STREAMS], mixing[ORGAN_MOST_STREAMS * ORGAN_MOST_STREAMS];
    weigh_streams(j, state, streams, weights);
    if (c->connections.balances) {
        weigh_mixing(j, state, mixing);
        mix_streams(c, mixing, state);
    }
    for (size_t k = 0; k < streams; k++)
        for (size_t x = 0; x < hidden; x++)
            state[k * hidden + x] += weights[k] * j->hidden[t * hidden + x];
}

static organ_status share_connected(connect_job *j, size_t tokens, organ_token_task *task, organ_error *error)
{
    const organ_forward_config *const c = &j->forward->config;
    const size_t streams = c->connections.streams, rows = streams * (c->connections.balances ? 2 * streams : 1) + 2;
    const double work = (double)tokens * (double)(rows * organ_forward_streams_floats(c));
    return organ_forward_tokens(j->forward->engine, tokens, work * ORGAN_SHARE_NUMBER, task, j, error);
}

/* ---- a half of a layer ---- */

static connect_job half_job(const forward_group *g, forward_part half, size_t first, float *hidden)
{
    const connection by = {organ_forward_values(g->layer, half),
                           organ_forward_values(g->layer, half + (PART_CONNECT_MIXER_BASE - PART_CONNECT_MIXER)),
                           organ_forward_values(g->layer, half + (PART_CONNECT_MIXER_SCALE - PART_CONNECT_MIXER))};
    return (connect_job){
        .forward = g->forward, .by = by, .states = g->states + first * g->forward->config.state, .hidden = hidden};
}

organ_status organ_forward_connect_in(const forward_group *g, forward_part half, size_t first, size_t tokens,
                                      float *hidden, organ_error *error)
{
    connect_job j = half_job(g, half, first, hidden);
    return share_connected(&j, tokens, sum_streams, error);
}

organ_status organ_forward_connect_out(const forward_group *g, forward_part half, size_t first, size_t tokens,
                                       float *hidden, organ_error *error)
{
    connect_job j = half_job(g, half, first, hidden);
    return share_connected(&j, tokens, add_output, error);
}

/* ---- both ends of the model ---- */

/* Tries all names of the part; an error names the last. */
static float *open_end(const organ_forward *f, forward_part part, uint64_t rows, uint64_t cols, organ_error *error)
{
    const bool gguf = f->model->gguf != NULL;
    const forward_name *const own = gguf ? f->family->gguf_names : f->family->names;
    const char *tried;
    char name[256] = "";
    if (error->status)
        return NULL;
    for (unsigned k = 0;
         !organ_weights_named(f->weights, name) && (tried = organ_forward_part_name(own, part, gguf, k)); k++)
        snprintf(name, sizeof name, "%s%s", gguf ? "" : f->prefix, tried);
    const organ_weight *const weight = organ_forward_weight_named(f, name, rows, cols, error);
    return weight ? organ_forward_vector(f, weight, error) : NULL;
}

organ_status organ_forward_connections_open(organ_forward *f, organ_error *error)
{
    const unsigned streams = f->config.connections.streams;
    if (streams == 0 || f->config.connections.mean)
        return ORGAN_OK;
    f->connections.matrix = open_end(f, PART_CONNECT_END, streams, streams * f->config.hidden, error);
    f->connections.biases = open_end(f, PART_CONNECT_END_BASE, 0, streams, error);
    f->connections.factors = open_end(f, PART_CONNECT_END_SCALE, 0, 1, error);
    return error->status;
}

void organ_forward_connections_close(organ_forward *f)
{
    organ_forward_free(f->connections.matrix);
    organ_forward_free(f->connections.biases);
    organ_forward_free(f->connections.factors);
}

void organ_forward_connections_split(const organ_forward *f, float *states, size_t tokens)
{
    const organ_forward_config *const c = &f->config;
    for (size_t t = 0; t < tokens; t++)
        for (size_t k = 1; k < c->connections.streams; k++)
            memcpy(states + t * c->state + k * c->hidden, states + t * c->state, (size_t)c->hidden * sizeof *states);
}

organ_status organ_forward_connections_merge(const organ_forward *f, const float *states, const size_t *rows,
                                             size_t count, float *merged, organ_error *error)
{
    connect_job j = {.forward = f,
                     .by = {f->connections.matrix, f->connections.biases, f->connections.factors},
                     .states = (float *)(uintptr_t)states, /* the task only reads them */
                     .rows = rows,
                     .hidden = merged};
    return share_connected(&j, count, sum_streams, error);
}
