/* SPDX-License-Identifier: MIT
 * Causal convolutions by channels. A task is a block of channels of one window. It processes the window from its last
 * token to its first, because an output replaces its input, which the outputs of later tokens need. */
#include "orchestrator/forward/mixers.h"
#include "orchestrator/machine/extent.h"

#include <string.h>

#define CHANNELS ((size_t)64) /* channels of a block */

typedef struct conv_job {
    const forward_group *group;
    const forward_conv *conv;
    size_t blocks; /* blocks of CHANNELS channels */
} conv_job;

/* A block of n channels of a window. `kernels`: width x CHANNELS; `next`: (width - 1) x CHANNELS, the tail to store in
 * the cache; `ones`: the factor `up` of the kernel gate_silu, which then computes silu; `rows`: the first token's row.
 */
typedef struct conv_block {
    float *kernels, *next, *ones, *rows;
    const float *tail; /* inputs before the window; NULL: zeros */
    size_t n;
} conv_block;

/* The tail has the last width - 1 inputs of all channels. */
size_t organ_forward_conv_tail(size_t width, size_t channels) { return (width - 1) * channels; }

/* The scratch has `width` rows of kernels, width - 1 rows of the next tail, and a row of ones. */
size_t organ_forward_conv_scratch(size_t width) { return 2 * width * CHANNELS * sizeof(float); }

/* The input is in the window, else in the cache's tail; NULL if there is no tail, because the text begins with the
 * window. */
static const float *conv_input(const forward_conv *conv, const conv_block *b, size_t t, size_t back)
{
    if (back <= t)
        return b->rows + (t - back) * conv->stride;
    return b->tail ? b->tail + (conv->width - 1 + t - back) * conv->channels : NULL;
}

/* The sum of the last `width` inputs of each channel, weighted by the kernel, and the bias replace the input of
 * token t. */
static void convolve_token(const organ_kernels *kernels, const forward_conv *conv, const conv_block *b, size_t t,
                           const float *biases)
{
    float sums[CHANNELS] = {0};
    float *const row = b->rows + t * conv->stride;
    for (size_t j = 0; j < conv->width; j++) {
        const float *const x = conv_input(conv, b, t, conv->width - 1 - j), *const w = b->kernels + j * CHANNELS;
        for (size_t k = 0; x && k < b->n; k++)
            sums[k] += w[k] * x[k];
    }
    for (size_t k = 0; k < b->n; k++)
        row[k] = biases ? sums[k] + biases[k] : sums[k];
    if (conv->silu)
        kernels->gate_silu(row, b->ones, b->n);
}

/* If the window has fewer than width - 1 tokens, the first inputs come from the old tail. */
static void store_tail(const forward_conv *conv, const conv_block *b, size_t tokens)
{
    for (size_t j = 0; j + 1 < conv->width; j++) {
        const float *const x = conv_input(conv, b, tokens, conv->width - 1 - j);
        memcpy(b->next + j * CHANNELS, x, b->n * sizeof *x);
    }
}

/* Task `index` is block index % blocks of window index / blocks. The kernels are transposed first, so that the
 * weights of all channels for one input are contiguous. The tail for the cache is stored before the rows are
 * overwritten. */
static void convolve_block(void *context, size_t index, size_t worker)
{
    const conv_job *const j = context;
    const forward_conv *const conv = j->conv;
    const size_t from = index % j->blocks * CHANNELS, w = j->group->window + index / j->blocks;
    const size_t *const begin = j->group->windows->begin;
    const size_t first = begin[w] - j->group->first, tokens = begin[w + 1] - begin[w];
    float *const scratch = organ_forward_mixer_scratch_of(j->group, worker);
    const conv_block b = {.kernels = scratch,
                          .next = scratch + conv->width * CHANNELS,
                          .ones = scratch + (2 * conv->width - 1) * CHANNELS,
                          .rows = conv->rows + first * conv->stride + from,
                          .tail = conv->tail ? conv->tail + from : NULL,
                          .n = organ_min(CHANNELS, conv->channels - from)};
    for (size_t k = 0; k < CHANNELS; k++) {
        b.ones[k] = 1;
        for (size_t i = 0; k < b.n && i < conv->width; i++)
            b.kernels[i * CHANNELS + k] = conv->kernels[(from + k) * conv->width + i];
    }
    if (conv->tail)
        store_tail(conv, &b, tokens);
    for (size_t t = tokens; t-- > 0;)
        convolve_token(j->group->forward->engine->kernels, conv, &b, t, conv->biases ? conv->biases + from : NULL);
    for (size_t i = 0; conv->tail && i + 1 < conv->width; i++)
        memcpy(conv->tail + i * conv->channels + from, b.next + i * CHANNELS, b.n * sizeof *b.next);
}

organ_status organ_forward_convolve(const forward_group *g, const forward_conv *conv, organ_error *error)
{
    conv_job j = {g, conv, organ_pieces_of(conv->channels, CHANNELS)};
    const double number = (double)conv->width + ORGAN_SHARE_HARD;
    return organ_forward_share(g->forward->engine, j.blocks * (g->until - g->window),
                               (double)g->tokens * (double)conv->channels * number, convolve_block, &j, error);
}
