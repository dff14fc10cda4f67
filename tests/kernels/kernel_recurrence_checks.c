/* SPDX-License-Identifier: MIT
 * Checks of linear recurrences and selective scans: every table against the definition in plain C bit for bit, and that
 * within rounding of FP64. Tokens in two calls give the same bits as in one. */
#include "tests/kernels/kernel_checker.h"
#include <math.h>
#include <string.h>

enum { TOKENS = 70, WIDEST = 80, KEYS = 20 };

/* One case: `r` without the state and the outputs. */
typedef struct recurrence_case {
    float queries[TOKENS * KEYS], keys[TOKENS * KEYS], values[TOKENS * WIDEST], decays[TOKENS * KEYS],
        strengths[TOKENS];
    float state[KEYS * WIDEST];
    organ_recurrence r;
} recurrence_case;

static void fill_case(recurrence_case *c, size_t value_dim, bool by_key, bool delta)
{
    samples random = {value_dim * 4 + by_key * 2 + delta + 1};
    float *const arrays[] = {c->queries, c->keys, c->values, c->decays, c->strengths, c->state};
    const size_t lengths[] = {TOKENS * KEYS, TOKENS * KEYS, TOKENS * WIDEST, TOKENS * KEYS, TOKENS, KEYS * WIDEST};
    for (size_t k = 0; k < 6; k++)
        samples_fill(&random, NORMAL, arrays[k], lengths[k]);
    for (size_t k = 0; k < TOKENS * KEYS; k++) {
        c->keys[k] *= 0.2F;
        c->decays[k] = 1 / (1 + fabsf(c->decays[k]));
    }
    for (size_t k = 0; k < TOKENS; k++)
        c->strengths[k] = 1 / (1 + fabsf(c->strengths[k]));
    c->r = (organ_recurrence){.tokens = TOKENS,
                              .key_dim = KEYS,
                              .value_dim = value_dim,
                              .queries = c->queries,
                              .keys = c->keys,
                              .values = c->values,
                              .decays = c->decays,
                              .strengths = c->strengths,
                              .query_stride = KEYS,
                              .key_stride = KEYS,
                              .value_stride = value_dim,
                              .decay_stride = KEYS,
                              .strength_stride = 1,
                              .out_stride = value_dim,
                              .state_stride = value_dim,
                              .decay_by_key = by_key,
                              .delta = delta};
}

static float decay_of(const organ_recurrence *r, size_t t, size_t i)
{
    return r->decays[t * r->decay_stride + (r->decay_by_key ? i : 0)];
}

/* Computes one column by the definition, in FP32. */
static void expected_column(const organ_recurrence *r, size_t j)
{
    for (size_t t = 0; t < r->tokens; t++) {
        const float *const q = r->queries + t * r->query_stride, *const k = r->keys + t * r->key_stride;
        float read = 0, out = 0;
        for (size_t i = 0; i < r->key_dim; i++) {
            float *const s = r->state + i * r->state_stride + j;
            *s = decay_of(r, t, i) * *s;
            read = fmaf(k[i], *s, read);
        }
        const float value = r->values[t * r->value_stride + j], strength = r->strengths[t * r->strength_stride];
        const float written = strength * (r->delta ? value - read : value);
        for (size_t i = 0; i < r->key_dim; i++) {
            float *const s = r->state + i * r->state_stride + j;
            *s = fmaf(k[i], written, *s);
            out = fmaf(q[i], *s, out);
        }
        r->outs[t * r->out_stride + j] = out;
    }
}

/* Returns the largest distance of the outputs of a column from those in FP64, in units of their root mean square. */
static double distance_of(const organ_recurrence *r, const float *begin, size_t j)
{
    double state[KEYS], farthest = 0, squares = 0;
    for (size_t i = 0; i < r->key_dim; i++)
        state[i] = (double)begin[i * r->state_stride + j];
    for (size_t t = 0; t < r->tokens; t++) {
        double read = 0, out = 0;
        for (size_t i = 0; i < r->key_dim; i++) {
            state[i] *= (double)decay_of(r, t, i);
            read += (double)r->keys[t * r->key_stride + i] * state[i];
        }
        const double value = (double)r->values[t * r->value_stride + j] - (r->delta ? read : 0);
        for (size_t i = 0; i < r->key_dim; i++) {
            state[i] += (double)r->keys[t * r->key_stride + i] * value * (double)r->strengths[t * r->strength_stride];
            out += (double)r->queries[t * r->query_stride + i] * state[i];
        }
        farthest = fmax(farthest, fabs(out - (double)r->outs[t * r->out_stride + j]));
        squares += out * out;
    }
    return r->tokens ? farthest / sqrt(squares / (double)r->tokens) : 0;
}

/* Runs tokens before `cut` in one call and the others in a second. */
static void run_cut(const organ_kernels *kernels, organ_recurrence r, size_t cut)
{
    const size_t all = r.tokens;
    r.tokens = cut;
    kernels->recurrence(&r);
    r.queries += cut * r.query_stride;
    r.keys += cut * r.key_stride;
    r.values += cut * r.value_stride;
    r.decays += cut * r.decay_stride;
    r.strengths += cut * r.strength_stride;
    r.outs += cut * r.out_stride;
    r.tokens = all - cut;
    kernels->recurrence(&r);
}

/* For each case the caller passes cut 0 first: the function then computes the expected values by the definition, and it
 * compares the kernels with these values at every cut. */
static const char *check_case(const organ_kernels *kernels, size_t value_dim, size_t cut, unsigned kind)
{
    static recurrence_case c;
    static float outs[TOKENS * WIDEST], state[KEYS * WIDEST];
    const char *fault = NULL;
    fill_case(&c, value_dim, kind & 1, kind & 2);
    guarded a = guarded_create(TOKENS * value_dim * sizeof(float), GUARD_BEHIND, 5),
            b = guarded_create(KEYS * value_dim * sizeof(float), GUARD_BEHIND, 6);
    c.r.outs = (float *)(void *)a.data;
    c.r.state = (float *)(void *)b.data;
    memcpy(c.r.state, c.state, KEYS * value_dim * sizeof(float));
    run_cut(kernels, c.r, cut);
    organ_recurrence wanted = c.r;
    wanted.outs = outs;
    wanted.state = state;
    if (cut == 0)
        memcpy(state, c.state, sizeof state);
    for (size_t j = 0; j < value_dim && cut == 0; j++)
        expected_column(&wanted, j);
    if (memcmp(outs, c.r.outs, TOKENS * value_dim * sizeof *outs) != 0)
        fault = kernel_fault("recurrence of %zu columns, kind %u, cut at %zu: outputs", value_dim, kind, cut);
    if (memcmp(state, c.r.state, KEYS * value_dim * sizeof *state) != 0)
        fault = kernel_fault("recurrence of %zu columns, kind %u, cut at %zu: state", value_dim, kind, cut);
    for (size_t j = 0; j < value_dim && cut == 0 && !fault; j++)
        if (!(distance_of(&c.r, c.state, j) < 4e-6))
            fault = kernel_fault("recurrence of %zu columns, kind %u: column %zu is %g off", value_dim, kind, j,
                                 distance_of(&c.r, c.state, j));
    if (!guarded_intact(&a, 5) || !guarded_intact(&b, 6))
        fault = kernel_fault("recurrence of %zu columns: touched what is not its own", value_dim);
    guarded_destroy(&a);
    guarded_destroy(&b);
    return fault;
}

const char *check_recurrence(const organ_kernels *kernels)
{
    static const size_t widths[] = {1, 15, 16, 17, 31, 32, 33, 48, 64, 80}, cuts[] = {0, 1, 63, 64, 65, TOKENS};
    const char *fault = NULL;
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++)
        for (unsigned kind = 0; kind < 4; kind++)
            for (size_t k = 0; k < sizeof cuts / sizeof *cuts && !fault; k++)
                fault = check_case(kernels, widths[w], cuts[k], kind);
    return fault;
}

/* ---- selective scans ---- */

enum { STATES = 6, MIXED = 2 * STATES + 3 };

/* One case: `s` without the values and the state. */
typedef struct scan_case {
    float values[TOKENS * WIDEST], steps[TOKENS * WIDEST], mixed[TOKENS * MIXED], rates[STATES * WIDEST], skip[WIDEST],
        state[STATES * WIDEST];
    organ_selective_scan s;
} scan_case;

static void fill_scan(scan_case *c, size_t channels)
{
    samples random = {channels};
    float *const arrays[] = {c->values, c->steps, c->mixed, c->rates, c->skip, c->state};
    const size_t lengths[] = {TOKENS * WIDEST, TOKENS * WIDEST, TOKENS * MIXED,
                              STATES * WIDEST, WIDEST,          STATES * WIDEST};
    for (size_t k = 0; k < 6; k++)
        samples_fill(&random, NORMAL, arrays[k], lengths[k]);
    for (size_t k = 0; k < TOKENS * WIDEST; k++)
        c->steps[k] = fabsf(c->steps[k]);
    for (size_t k = 0; k < STATES * WIDEST; k++)
        c->rates[k] = -fabsf(c->rates[k]) * (float)(k % 7);
    c->s = (organ_selective_scan){.tokens = TOKENS,
                                  .channels = channels,
                                  .states = STATES,
                                  .steps = c->steps,
                                  .writes = c->mixed,
                                  .reads = c->mixed + STATES,
                                  .rates = c->rates,
                                  .skip = c->skip,
                                  .value_stride = channels,
                                  .step_stride = WIDEST,
                                  .write_stride = MIXED,
                                  .read_stride = MIXED,
                                  .rate_stride = WIDEST,
                                  .state_stride = channels};
}

/* Computes one channel by the definition, in FP32. */
static void expected_channel(const organ_selective_scan *s, size_t j)
{
    for (size_t t = 0; t < s->tokens; t++) {
        const float value = s->values[t * s->value_stride + j], step = s->steps[t * s->step_stride + j];
        float sum = 0;
        for (size_t i = 0; i < s->states; i++) {
            float *const state = s->state + i * s->state_stride + j;
            float decay = s->rates[i * s->rate_stride + j] * step;
            organ_kernels_scalar->exp_below(&decay, 1, 0);
            *state = fmaf(s->writes[t * s->write_stride + i], step * value, decay * *state);
            sum = fmaf(s->reads[t * s->read_stride + i], *state, sum);
        }
        s->values[t * s->value_stride + j] = fmaf(s->skip[j], value, sum);
    }
}

/* Returns the largest distance of the outputs of a channel from those in FP64, in units of their root mean square. */
static double scan_distance(const scan_case *c, size_t j)
{
    const organ_selective_scan *const s = &c->s;
    double state[STATES], farthest = 0, squares = 0;
    for (size_t i = 0; i < STATES; i++)
        state[i] = (double)c->state[i * s->channels + j];
    for (size_t t = 0; t < TOKENS; t++) {
        const double value = (double)c->values[t * s->channels + j], step = (double)s->steps[t * s->step_stride + j];
        double out = (double)s->skip[j] * value;
        for (size_t i = 0; i < STATES; i++) {
            state[i] = exp((double)s->rates[i * s->rate_stride + j] * step) * state[i] +
                       (double)s->writes[t * s->write_stride + i] * step * value;
            out += (double)s->reads[t * s->read_stride + i] * state[i];
        }
        farthest = fmax(farthest, fabs(out - (double)s->values[t * s->value_stride + j]));
        squares += out * out;
    }
    return farthest / sqrt(squares / TOKENS);
}

/* Runs tokens before `cut` in one call and the others in a second. */
static void run_cut_scan(const organ_kernels *kernels, organ_selective_scan s, size_t cut)
{
    const size_t all = s.tokens;
    s.tokens = cut;
    kernels->selective_scan(&s);
    s.values += cut * s.value_stride;
    s.steps += cut * s.step_stride;
    s.writes += cut * s.write_stride;
    s.reads += cut * s.read_stride;
    s.tokens = all - cut;
    kernels->selective_scan(&s);
}

/* For each number of channels the caller passes cut 0 first: the function then computes the expected values by the
 * definition, and it compares the kernels with these values at every cut. */
static const char *check_scan(const organ_kernels *kernels, size_t channels, size_t cut)
{
    static scan_case c;
    static float values[TOKENS * WIDEST], state[STATES * WIDEST];
    const char *fault = NULL;
    fill_scan(&c, channels);
    guarded a = guarded_create(TOKENS * channels * sizeof(float), GUARD_BEHIND, 5),
            b = guarded_create(STATES * channels * sizeof(float), GUARD_BEHIND, 6);
    c.s.values = (float *)(void *)a.data;
    c.s.state = (float *)(void *)b.data;
    memcpy(c.s.values, c.values, TOKENS * channels * sizeof(float));
    memcpy(c.s.state, c.state, STATES * channels * sizeof(float));
    run_cut_scan(kernels, c.s, cut);
    organ_selective_scan wanted = c.s;
    wanted.values = values;
    wanted.state = state;
    if (cut == 0) {
        memcpy(values, c.values, sizeof values);
        memcpy(state, c.state, sizeof state);
    }
    for (size_t j = 0; j < channels && cut == 0; j++)
        expected_channel(&wanted, j);
    if (memcmp(values, c.s.values, TOKENS * channels * sizeof *values) != 0)
        fault = kernel_fault("selective scan of %zu channels, cut at %zu: outputs", channels, cut);
    if (memcmp(state, c.s.state, STATES * channels * sizeof *state) != 0)
        fault = kernel_fault("selective scan of %zu channels, cut at %zu: state", channels, cut);
    for (size_t j = 0; j < channels && cut == 0 && !fault; j++)
        if (!(scan_distance(&c, j) < 4e-6))
            fault = kernel_fault("selective scan of %zu channels: channel %zu is %g off", channels, j,
                                 scan_distance(&c, j));
    if (!guarded_intact(&a, 5) || !guarded_intact(&b, 6))
        fault = kernel_fault("selective scan of %zu channels: touched what is not its own", channels);
    guarded_destroy(&a);
    guarded_destroy(&b);
    return fault;
}

const char *check_selective_scan(const organ_kernels *kernels)
{
    static const size_t channels[] = {1, 15, 16, 17, 48, 64, 80}, cuts[] = {0, 1, 63, TOKENS};
    const char *fault = NULL;
    for (size_t n = 0; n < sizeof channels / sizeof *channels; n++)
        for (size_t k = 0; k < sizeof cuts / sizeof *cuts && !fault; k++)
            fault = check_scan(kernels, channels[n], cuts[k]);
    return fault;
}
