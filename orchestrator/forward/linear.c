/* SPDX-License-Identifier: MIT
 * Memory, work for the workers, panels of packed weights, and arithmetic on rows of numbers. */
#include "orchestrator/forward/forward_parts.h"

#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* ---- work for the workers, and large allocations ---- */

organ_status organ_forward_share(const organ_engine *engine, size_t count, double work,
                                 void (*task)(void *context, size_t index, size_t worker), void *context,
                                 organ_error *error)
{
    organ_share_work(engine, engine->stop, count, work, task, context);
    return organ_stop_is_requested(engine->stop) ? organ_fail(error, ORGAN_INTERRUPTED, "interrupted") : ORGAN_OK;
}

#define TOKENS_AT_ONCE ((size_t)32) /* tokens for which a worker calls the task of organ_forward_tokens in turn */

typedef struct shared_tokens {
    organ_token_task *task;
    void *context;
    size_t count;
} shared_tokens;

static void run_tokens(void *context, size_t index, size_t worker)
{
    (void)worker;
    const shared_tokens *const s = context;
    const size_t until = organ_min((index + 1) * TOKENS_AT_ONCE, s->count);
    for (size_t t = index * TOKENS_AT_ONCE; t < until; t++)
        s->task(s->context, t);
}

organ_status organ_forward_tokens(const organ_engine *engine, size_t count, double work, organ_token_task *task,
                                  void *context, organ_error *error)
{
    shared_tokens tokens = {task, context, count};
    return organ_forward_share(engine, organ_pieces_of(count, TOKENS_AT_ONCE), work, run_tokens, &tokens, error);
}

/* Large blocks are mapped directly, with huge pages if available, and unmapped when freed; malloc would keep some of
 * them. The cache line before the first number stores the mapped bytes; 0: from malloc. */
#define LINE        ((size_t)64)
#define LARGE_BLOCK ((size_t)4 << 20)

static void *map_block(size_t bytes)
{
    void *block = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (block == MAP_FAILED)
        return NULL;
    (void)madvise(block, bytes, MADV_HUGEPAGE); /* advice that the system may ignore */
    return block;
}

float *organ_forward_floats(size_t count, organ_error *error)
{
    const size_t bytes = (count / 16 + 2) * LINE; /* a line has 16 floats; one more for the size, one for the rest */
    const bool large = bytes >= LARGE_BLOCK;
    unsigned char *block = NULL;
    if (count < SIZE_MAX / 8) /* `bytes` has not overflowed */
        block = large ? map_block(bytes) : aligned_alloc(LINE, bytes);
    if (!block) {
        organ_fail_errno(error, ENOMEM, "cannot allocate %zu numbers", count);
        return NULL;
    }
    memcpy(block, &(size_t){large ? bytes : 0}, sizeof bytes);
    return (float *)(void *)(block + LINE);
}

void organ_forward_free(float *floats)
{
    size_t bytes;
    if (!floats)
        return;
    unsigned char *const block = (unsigned char *)floats - LINE;
    memcpy(&bytes, block, sizeof bytes);
    if (bytes)
        munmap(block, bytes);
    else
        free(block);
}

/* BF16 and F16 matrices keep their type; vectors and all other types are loaded as FP32. */
organ_real organ_forward_type(const organ_weight *weight)
{
    if (weight->scheme != ORGAN_SCHEME_PLAIN || weight->rank < 2)
        return ORGAN_REAL_F32;
    const organ_dtype stored = weight->codes->dtype;
    if (stored == ORGAN_BF16)
        return ORGAN_REAL_BF16;
    return stored == ORGAN_F16 ? ORGAN_REAL_F16 : ORGAN_REAL_F32;
}

organ_dtype organ_forward_dtype(organ_real type)
{
    if (type == ORGAN_REAL_BF16)
        return ORGAN_BF16;
    return type == ORGAN_REAL_F16 ? ORGAN_F16 : ORGAN_F32;
}

/* If llama.cpp has reordered the rows, reads them one by one in the order of Hugging Face. */
static organ_status decode_panel_rows(const void *source, size_t first, size_t count, void *values, void *scratch,
                                      organ_error *error)
{
    const forward_source *const s = source;
    const organ_dtype as = organ_forward_dtype(s->type);
    const size_t row = (size_t)organ_weight_reader_cols(s->reader) * organ_real_bytes(s->type);
    if (!s->turned.head)
        return organ_weight_read(s->reader, first, count, as, values, scratch, error);
    for (size_t k = 0; k < count && !error->status; k++)
        organ_weight_read(s->reader, organ_turned_stored(s->turned, first + k), 1, as,
                          (unsigned char *)values + k * row, scratch, error);
    return error->status;
}

organ_panels organ_forward_panels(const forward_source *source, size_t row)
{
    return (organ_panels){.make = decode_panel_rows, .source = source, .first = row, .type = source->type};
}

organ_status organ_forward_panel_size(const organ_forward *f, const organ_weight *weight, size_t *bytes,
                                      organ_error *error)
{
    const organ_real type = organ_forward_type(weight);
    const size_t cols = (size_t)organ_weight_matrices(weight).cols, rows = organ_panel_rows(cols, type);
    if (organ_weight_reader_size(f->model, weight, f->engine->kernels, rows, bytes, error) == ORGAN_OK)
        *bytes += organ_panel_bytes(cols, type);
    return error->status;
}

uint64_t organ_forward_scratch_bytes(const organ_forward *f)
{
    return organ_workers_count(f->engine->workers) * (uint64_t)f->worker_bytes;
}

/* The scratch is allocated at the first call and stays with the forward pass. */
float *organ_forward_scratch(organ_forward *f, organ_error *error)
{
    if (!f->scratch)
        f->scratch = organ_forward_floats((size_t)organ_forward_scratch_bytes(f) / sizeof(float), error);
    return f->scratch;
}

/* ---- norms, activations and the online softmax on rows of numbers ---- */

/* Loops are written for vectorisation by the compiler; exp and tanh are computed by kernels. */

/* Adds by halves in the order of the kernels, so that bits do not depend on vectorisation. */
static float math_fold_lanes(const float lanes[16])
{
    float sums[16];
    memcpy(sums, lanes, sizeof sums);
    for (size_t half = 8; half > 0; half /= 2)
        for (size_t l = 0; l < half; l++)
            sums[l] += sums[l + half];
    return sums[0];
}

/* The squares are summed in 16 lanes in a fixed order, so the bits are the same with all instruction sets. */
float organ_forward_mean_square(const float *x, size_t n)
{
    float lanes[16] = {0};
    size_t k = 0;
    for (; k + 16 <= n; k += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] += x[k + l] * x[k + l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] += x[k] * x[k];
    return math_fold_lanes(lanes) / (float)n;
}

void organ_forward_norm(const float *x, const float *w, float plus, double eps, size_t n, float *y)
{
    const float scale = 1.0f / sqrtf(organ_forward_mean_square(x, n) + (float)eps);
    size_t k;
    for (k = 0; !w && k < n; k++)
        y[k] = x[k] * scale;
    for (k = 0; w && k < n; k++)
        y[k] = x[k] * scale * (plus + w[k]);
}

/* Sums (x - *mean)^2, or x if `mean` is NULL, in the order of organ_forward_mean_square. */
static float sum_about(const float *x, size_t n, const float *mean)
{
    float lanes[16] = {0};
    for (size_t k = 0; k < n; k++) {
        const float off = mean ? x[k] - *mean : 0;
        lanes[k % 16] += mean ? off * off : x[k];
    }
    return math_fold_lanes(lanes);
}

/* y = (x - mean) / sqrt(variance + eps) x (plus + weight) + bias; without weights the factor is 1. */
static void layer_norm(const forward_norm *norm, const float *x, size_t n, float *y)
{
    const float mean = sum_about(x, n, /*mean=*/NULL) / (float)n;
    const float scale = 1.0f / sqrtf(sum_about(x, n, &mean) / (float)n + (float)norm->eps);
    for (size_t k = 0; k < n; k++) {
        const float unit = (x[k] - mean) * scale, weight = norm->weights ? norm->plus + norm->weights[k] : 1;
        y[k] = norm->biases ? unit * weight + norm->biases[k] : unit * weight;
    }
}

void organ_forward_norm_by(const forward_norm *norm, const float *x, size_t n, float *y)
{
    if (norm->kind == ORGAN_NORM_LAYER)
        layer_norm(norm, x, n, y);
    else
        organ_forward_norm(x, norm->weights, norm->plus, norm->eps, n, y);
}

/* Only the largest activations remain (Gemma 3n). */
void organ_forward_cut(float *x, size_t n, float cut)
{
    const float mean = sum_about(x, n, /*mean=*/NULL) / (float)n;
    const float from = mean + sqrtf(sum_about(x, n, &mean) / (float)n) * cut;
    for (size_t k = 0; k < n; k++)
        x[k] = x[k] > from ? x[k] - from : 0;
}

void organ_forward_gate(const organ_kernels *kernels, organ_activation activation, float *gate, const float *up,
                        size_t n)
{
    if (activation == ORGAN_SILU)
        kernels->gate_silu(gate, up, n);
    else if (activation == ORGAN_GELU_TANH)
        kernels->gate_gelu_tanh(gate, up, n);
    else if (activation == ORGAN_RELU || activation == ORGAN_RELU_SQUARED)
        for (size_t k = 0; k < n; k++) {
            const float positive = gate[k] < 0 ? 0 : gate[k];
            gate[k] = (activation == ORGAN_RELU ? positive : positive * positive) * up[k];
        }
    else
        kernels->gate_gelu(gate, up, n);
}

/* Uses the kernel of SiLU: g logistic(alpha g) is silu(alpha g) / alpha, so gate is set to alpha g and up to (up +
 * 1) / alpha first. A NaN stays a NaN. */
void organ_forward_clip(float limit, float *values, size_t n)
{
    for (size_t k = 0; limit > 0 && k < n; k++) {
        const float low = values[k] < -limit ? -limit : values[k];
        values[k] = low > limit ? limit : low;
    }
}

void organ_forward_gate_clamped(const organ_kernels *kernels, float limit, float alpha, float *gate, float *up,
                                size_t n)
{
    for (size_t k = 0; k < n; k++) {
        const float g = gate[k] > limit ? limit : gate[k], below = up[k] > limit ? limit : up[k];
        gate[k] = alpha * g;
        up[k] = ((below < -limit ? -limit : below) + 1) / alpha;
    }
    kernels->gate_silu(gate, up, n);
}

/* A NaN is never larger. Independent lanes let the compiler use vectors. */
static float largest_of(const float *x, size_t n, float most)
{
    float lanes[16];
    size_t k = 0;
    for (size_t l = 0; l < 16; l++)
        lanes[l] = most;
    for (; k + 16 <= n; k += 16)
        for (size_t l = 0; l < 16; l++)
            lanes[l] = x[k + l] > lanes[l] ? x[k + l] : lanes[l];
    for (size_t l = 0; k < n; k++, l++)
        lanes[l] = x[k] > lanes[l] ? x[k] : lanes[l];
    for (size_t l = 0; l < 16; l++)
        most = lanes[l] > most ? lanes[l] : most;
    return most;
}

void organ_forward_softmax_block(const forward_softmax *softmax, float *scores, size_t lo, size_t hi, size_t n,
                                 float *top, float *sum, float *out)
{
    const organ_kernels *const kernels = softmax->kernels;
    float *const s = scores + lo;
    const size_t count = hi - lo;
    memset(scores, 0, lo * sizeof *scores);
    memset(scores + hi, 0, (n - hi) * sizeof *scores);
    for (size_t k = 0; k < count; k++)
        s[k] *= softmax->scale;
    if (softmax->cap > 0)
        kernels->softcap(s, count, softmax->cap);
    const float max = largest_of(s, count, *top);
    if (max > *top) {
        float less = *top;
        kernels->exp_below(&less, 1, max);
        *sum *= less;
        for (size_t k = 0; k < softmax->dim; k++)
            out[k] *= less;
        *top = max;
    }
    *sum += kernels->exp_below(s, count, max);
}

/* ---- feed-forwards without a gate ----
 * down(act(up(x))). relu2 is max(x, 0)^2 [So et al. 2021]. xIELU [Huang and Schlag 2024, arXiv:2411.13010], with
 * a = softplus(alpha_p) and b = beta + softplus(alpha_n), is
 *     x > 0: a x^2 + beta x
 *     else:  b (expm1(min(x, eps)) - x) + beta x */

#define VALUES_AT_ONCE ((size_t)256) /* numbers for which activations have buffers on the stack */

/* Uses a gated kernel, whose factor up is 1 and changes no bit. */
static void activate_by_gate(const organ_kernels *kernels, organ_activation activation, float *x, size_t n)
{
    float ones[VALUES_AT_ONCE];
    for (size_t k = 0; k < VALUES_AT_ONCE; k++)
        ones[k] = 1;
    for (size_t first = 0; first < n; first += VALUES_AT_ONCE)
        organ_forward_gate(kernels, activation, x + first, ones, organ_min(VALUES_AT_ONCE, n - first));
}

/* The series for -0.5 <= t <= 0 goes up to t^9 / 9!; the next term is below 2^-30 of the result. */
static float brief_expm1(float t)
{
    float sum = 1;
    for (int k = 9; k > 1; k--)
        sum = 1 + sum * t / (float)k;
    return t * sum;
}

/* The equation is above; `positive` is a, `negative` is b, and n is at most VALUES_AT_ONCE. For t >= -0.5, e^t - 1
 * is computed by its series, because the difference would lose digits. */
static void xielu_activate(const organ_kernels *kernels, const forward_xielu *p, float *x, size_t n)
{
    float powers[VALUES_AT_ONCE];
    for (size_t k = 0; k < n; k++)
        powers[k] = fminf(x[k], p->eps);
    kernels->exp_below(powers, n, 0);
    for (size_t k = 0; k < n; k++) {
        const float t = fminf(x[k], p->eps), below = t < -0.5F ? powers[k] - 1 : brief_expm1(t);
        const float nonlinear = x[k] > 0 ? p->positive * x[k] * x[k] : (below - x[k]) * p->negative;
        x[k] = nonlinear + p->beta * x[k];
    }
}

void organ_forward_activate(const organ_kernels *kernels, organ_activation activation, const forward_xielu *xielu,
                            float *x, size_t n)
{
    if (activation == ORGAN_XIELU)
        for (size_t first = 0; first < n; first += VALUES_AT_ONCE)
            xielu_activate(kernels, xielu, x + first, organ_min(VALUES_AT_ONCE, n - first));
    else if (activation == ORGAN_RELU || activation == ORGAN_RELU_SQUARED)
        for (size_t k = 0; k < n; k++) {
            const float positive = x[k] < 0 ? 0 : x[k];
            x[k] = activation == ORGAN_RELU ? positive : positive * positive;
        }
    else
        activate_by_gate(kernels, activation, x, n);
}

/* A NaN stays a NaN. */
void organ_forward_gate_limited(const organ_kernels *kernels, organ_activation activation, float limit, float *gate,
                                const float *up, size_t n)
{
    organ_forward_activate(kernels, activation, /*xielu=*/NULL, gate, n);
    for (size_t k = 0; k < n; k++) {
        const float g = gate[k] > limit ? limit : gate[k], below = up[k] > limit ? limit : up[k];
        gate[k] = g * (below < -limit ? -limit : below);
    }
}

void organ_forward_rates(const organ_kernels *kernels, const organ_recurrent_config *sizes, const float *stored,
                         float *rates, size_t count)
{
    if (rates != stored)
        memcpy(rates, stored, count * sizeof *rates);
    if (sizes->exp_stored)
        return;
    kernels->exp_below(rates, count, 0);
    for (size_t k = 0; k < count; k++)
        rates[k] = -rates[k];
}

/* ---- streamed layers, whose experts do not fit in memory together ---- */

/* A streamed layer uses a sixteenth of the memory for the inputs and outputs of its feed-forward. */
#define SHARE_OF_STATES 16

size_t organ_forward_layer_need(const organ_forward *f, const forward_plan *plan, uint64_t memory)
{
    if (!f->may_stream || !plan->experts)
        return plan->bytes;
    const uint64_t experts = organ_max(plan->expert, (size_t)(memory / FORWARD_SHARE_OF_EXPERTS));
    return plan->resident + experts < plan->bytes ? plan->resident + (size_t)experts : plan->bytes;
}

size_t organ_forward_largest_layer(const organ_forward *f, uint64_t memory)
{
    size_t max = 0;
    for (unsigned l = 0; l < f->plan_count; l++)
        max = organ_max(max, organ_forward_layer_need(f, &f->plans[l], memory));
    return max;
}

bool organ_forward_is_streamed(const organ_forward *f, const forward_plan *plan, uint64_t memory)
{
    return organ_forward_layer_need(f, plan, memory) < plan->bytes;
}

/* The share of memory is a sixteenth, for at least FORWARD_GROUP tokens. A token needs its normed input, its output,
 * router logits, and a copy of its hidden state if states are wider than that. */
size_t organ_forward_stream_tokens(const organ_forward *f, uint64_t memory)
{
    const uint64_t copies = f->config.state > f->config.hidden ? 3 : 2;
    const uint64_t token = (copies * f->config.hidden + organ_forward_choices(&f->config)) * sizeof(float);
    return organ_max(FORWARD_GROUP, (size_t)(memory / SHARE_OF_STATES / token));
}
