/* SPDX-License-Identifier: MIT
 * Compares the changes of a module in several adapters, and makes its factors in the combined one. */
#include "orchestrator/verbs/lora/combine_job.h"

#include "formats/base/text.h"
#include "orchestrator/machine/buffers.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/low_rank.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

/* The factors of a module in the adapters that change it. */
typedef struct module_factors {
    size_t count;
    size_t adapter[ORGAN_COMBINE_MOST]; /* their numbers, ascending */
    double scale[ORGAN_COMBINE_MOST];   /* weight x scale of the adapter */
    organ_lora_factors f[ORGAN_COMBINE_MOST];
} module_factors;

static void release_factors(module_factors *m)
{
    for (size_t k = 0; k < m->count; k++)
        organ_lora_factors_release(&m->f[k]);
    m->count = 0;
}

/* `scaled`: B takes the scale of the adapter. */
static organ_status read_module(const organ_combine_job *job, size_t module, bool scaled, module_factors *m,
                                organ_error *error)
{
    m->count = 0;
    for (size_t k = 0; k < job->count && !error->status; k++) {
        const organ_adapter_pair *const pair = job->of[module * job->count + k];
        if (!pair)
            continue;
        m->adapter[m->count] = k;
        m->scale[m->count] = job->weights[k] * pair->scale;
        organ_lora_factors_read(job->adapters[k], pair, job->rewrite.engine->kernels, scaled ? pair->scale : 1,
                                &m->f[m->count++], error);
    }
    return error->status;
}

/* ---- comparison ---- */

/* Adds the sum of the products of the elements of two changes: that of (B1^T B2) and (A1 A2^T), r1 x r2. */
static organ_status add_dot(const organ_kernels *kernels, const organ_lora_factors *x, const organ_lora_factors *y,
                            double *sum, organ_error *error)
{
    const size_t cells = x->rank * y->rank;
    ORGAN_OWNED double *const grams = calloc(2 * cells, sizeof *grams);
    ORGAN_OWNED double *const line = malloc((x->in + y->in) * sizeof *line);
    if (!grams || !line)
        return organ_fail_memory(error, "the comparison of two adapters");
    for (size_t i = 0; i < x->rank; i++)
        for (size_t j = 0; j < y->rank; j++) {
            for (size_t k = 0; k < x->in && j == 0; k++)
                line[k] = (double)x->a[i * x->in + k];
            for (size_t k = 0; k < x->in; k++)
                line[x->in + k] = (double)y->a[j * x->in + k];
            grams[i * y->rank + j] = kernels->dot_f64(line, line + x->in, x->in);
        }
    for (size_t row = 0; row < x->out; row++)
        for (size_t i = 0; i < x->rank; i++)
            for (size_t j = 0; j < y->rank; j++)
                grams[cells + i * y->rank + j] += (double)x->b[row * x->rank + i] * (double)y->b[row * y->rank + j];
    for (size_t k = 0; k < cells; k++)
        *sum += grams[k] * grams[cells + k];
    return ORGAN_OK;
}

/* Rows of a block of the changes whose signs are compared: about a million values. */
static size_t block_rows(const organ_lora_factors *f)
{
    const size_t rows = ((size_t)1 << 18) / f->in;
    return organ_max((size_t)1, organ_min(rows, f->out));
}

/* Two adapters that change a module: their places in module_factors, and where their figures are. */
typedef struct module_pair {
    size_t x, y;
    organ_combine_figures *figures;
} module_pair;

enum { MOST_PAIRS = ORGAN_COMBINE_MOST * (ORGAN_COMBINE_MOST - 1) / 2 };

static size_t list_pairs(const organ_combine_job *job, size_t module, const module_factors *m,
                         module_pair pairs[MOST_PAIRS])
{
    organ_combine_figures *at = job->figures + module * job->compared;
    size_t position[ORGAN_COMBINE_MOST], count = 0;
    for (size_t k = 0; k < job->count; k++)
        position[k] = SIZE_MAX;
    for (size_t k = 0; k < m->count; k++)
        position[m->adapter[k]] = k;
    for (size_t i = 0; i < job->count; i++)
        for (size_t j = i + 1; j < job->count; j++, at++)
            if (position[i] != SIZE_MAX && position[j] != SIZE_MAX)
                pairs[count++] = (module_pair){position[i], position[j], at};
    return count;
}

static organ_status compare_changes(const organ_combine_job *job, const module_factors *m, const module_pair *pairs,
                                    size_t count, organ_error *error)
{
    const organ_kernels *const kernels = job->rewrite.engine->kernels;
    double energy[ORGAN_COMBINE_MOST];
    for (size_t k = 0; k < m->count; k++)
        if ((energy[k] = organ_lora_energy(&m->f[k], kernels)) < 0)
            return organ_fail_memory(error, "the comparison of two adapters");
    for (size_t p = 0; p < count; p++) {
        const module_pair *const pair = &pairs[p];
        pair->figures->modules = 1;
        pair->figures->norms[0] = energy[pair->x];
        pair->figures->norms[1] = energy[pair->y];
        for (size_t e = 0; e < m->f[0].experts && !error->status; e++) {
            const organ_lora_factors one = organ_lora_factors_of(&m->f[pair->x], e),
                                     other = organ_lora_factors_of(&m->f[pair->y], e);
            add_dot(kernels, &one, &other, &pair->figures->dot, error);
        }
    }
    return error->status;
}

/* Compares the signs of all elements, by blocks of rows of the changes: the changes are never whole in memory. */
static organ_status compare_signs(const organ_combine_job *job, const module_factors *m, const module_pair *pairs,
                                  size_t count, organ_error *error)
{
    const size_t in = m->f[0].in, out = m->f[0].out, most = block_rows(m->f);
    ORGAN_OWNED float *const blocks = malloc(m->count * most * in * sizeof *blocks);
    ORGAN_OWNED void *const scratch = aligned_alloc(64, ORGAN_PRODUCT_SCRATCH);
    if (!blocks || !scratch)
        return organ_fail_memory(error, "the comparison of two adapters");
    for (size_t row = 0; row < m->f[0].experts * out;) {
        const size_t rows = organ_min(most, out - row % out); /* of one matrix */
        for (size_t k = 0; k < m->count; k++)
            organ_lora_multiply(job->rewrite.engine->kernels, &m->f[k], /*transposed=*/false, row, rows,
                                blocks + k * most * in, scratch);
        for (size_t p = 0; p < count; p++) {
            uint64_t counts[2] = {0, 0};
            organ_combine_signs(blocks + pairs[p].x * most * in, blocks + pairs[p].y * most * in, rows * in, counts);
            pairs[p].figures->same += counts[0];
            pairs[p].figures->opposed += counts[1];
            pairs[p].figures->elements += rows * in;
        }
        row += rows;
    }
    return ORGAN_OK;
}

organ_status organ_combine_survey(const organ_lora_rewrite *rw, organ_lora_row *row, organ_error *error)
{
    const organ_combine_job *const job = rw->source->context;
    const size_t module = organ_combine_module(job, row);
    module_factors m;
    module_pair pairs[MOST_PAIRS];
    if (read_module(job, module, /*scaled=*/true, &m, error) == ORGAN_OK && m.count > 1) {
        const size_t count = list_pairs(job, module, &m, pairs);
        if (compare_changes(job, &m, pairs, count, error) == ORGAN_OK)
            compare_signs(job, &m, pairs, count, error);
    }
    release_factors(&m);
    return error->status;
}

/* sum gets the sum over all experts. */
static organ_status add_all_dots(const organ_kernels *kernels, const organ_lora_factors *x, const organ_lora_factors *y,
                                 double factor, double *sum, organ_error *error)
{
    double dot = 0;
    for (size_t e = 0; e < x->experts && !error->status; e++) {
        const organ_lora_factors one = organ_lora_factors_of(x, e), other = organ_lora_factors_of(y, e);
        add_dot(kernels, &one, &other, &dot, error);
    }
    *sum += factor * dot;
    return error->status;
}

organ_status organ_combine_distance(const organ_combine_job *job, const organ_lora_row *row,
                                    const organ_lora_factors *stored, double scale, double *distance,
                                    organ_error *error)
{
    const organ_kernels *const kernels = job->rewrite.engine->kernels;
    double own = 0, cross = 0, all = 0;
    module_factors m;
    read_module(job, organ_combine_module(job, row), /*scaled=*/false, &m, error);
    if (!error->status)
        add_all_dots(kernels, stored, stored, scale * scale, &own, error);
    for (size_t i = 0; i < m.count && !error->status; i++) {
        add_all_dots(kernels, stored, &m.f[i], scale * m.scale[i], &cross, error);
        for (size_t j = 0; j < m.count && !error->status; j++)
            add_all_dots(kernels, &m.f[i], &m.f[j], m.scale[i] * m.scale[j], &all, error);
    }
    release_factors(&m);
    *distance = all > 0 ? sqrt(fmax(0, own - 2 * cross + all) / all) : 0;
    return error->status;
}

/* ---- factors ---- */

static organ_status take_factors(const organ_lora_row *row, uint64_t rank, organ_lora_factors *f, organ_error *error)
{
    const organ_adapter_pair *const pair = row->pair;
    *f = (organ_lora_factors){.rank = (size_t)rank,
                              .in = (size_t)pair->in_features,
                              .out = (size_t)pair->out_features,
                              .experts = (size_t)pair->experts};
    f->a = calloc(f->experts * f->rank, f->in * sizeof(float));
    f->b = calloc(f->experts * f->rank, f->out * sizeof(float));
    return f->a && f->b ? ORGAN_OK : organ_fail_memory(error, pair->module);
}

/* A takes weight and scale, as in peft, unless all factors are kept with their scale. */
static void concatenate(const organ_combine_job *job, const module_factors *m, const organ_lora_factors *to)
{
    size_t first = 0;
    for (size_t k = 0; k < m->count; first += m->f[k++].rank) {
        const organ_lora_factors *const f = &m->f[k];
        const float scale = job->unchanged ? 1.0f : (float)m->scale[k];
        for (size_t e = 0; e < f->experts; e++) {
            const float *const a = f->a + e * f->rank * f->in;
            float *const into = to->a + (e * to->rank + first) * f->in;
            for (size_t j = 0; j < f->rank * f->in; j++)
                into[j] = scale * a[j];
        }
        for (size_t i = 0; i < f->experts * f->out; i++)
            memcpy(to->b + i * to->rank + first, f->b + i * f->rank, f->rank * sizeof(float));
    }
}

/* Of one kind of values of a module, in all adapters that change it: A, B or the change. */
typedef struct value_set {
    const char *module;
    char kind;     /* 'A', 'B' or 'D' */
    size_t expert; /* of a stack */
    size_t count, n;
    const size_t *adapter;
    float *values[ORGAN_COMBINE_MOST]; /* overwritten */
    float weights[ORGAN_COMBINE_MOST];
} value_set;

/* A stream is that of one expert, so that its numbers do not depend on the others. */
static uint64_t stream_of(const value_set *v, size_t k)
{
    const uint64_t place[3] = {(uint64_t)(unsigned char)v->kind, v->adapter[k], v->expert};
    return XXH3_64bits_withSeed(place, sizeof place, XXH3_64bits(v->module, strlen(v->module)));
}

/* The result is in `to`, which may be values[0]. */
static organ_status join_values(const organ_combine_job *job, const value_set *v, float *to, organ_error *error)
{
    const organ_combine_method *const method = job->method;
    const double density = job->options->density;
    organ_combine_vote vote = ORGAN_COMBINE_SUM;
    ORGAN_OWNED uint64_t *const counters = malloc(ORGAN_COMBINE_COUNTERS * sizeof *counters);
    ORGAN_OWNED uint8_t *const mask = malloc(method->drops && density < 1 ? v->n + 1 : 1);
    if (!counters || !mask)
        return organ_fail_memory(error, v->module);
    for (size_t k = 0; k < v->count && method->prunes; k++)
        organ_combine_prune(v->values[k], v->n, density, counters);
    for (size_t k = 0; k < v->count && method->drops && density < 1; k++) {
        organ_combine_draw(job->rewrite.engine->kernels, job->options->seed, stream_of(v, k), density, mask, v->n);
        organ_combine_drop(v->values[k], mask, v->n, density);
    }
    if (method->elects)
        vote = strcmp(job->options->majority_sign, "frequency") == 0 ? ORGAN_COMBINE_COUNT : ORGAN_COMBINE_TOTAL;
    organ_combine_join((const float *const *)v->values, v->weights, v->count, v->n, vote, to);
    return ORGAN_OK;
}

/* Combines A and B one by one: each takes the square root of the magnitude of weight x scale, A also its sign. */
static organ_status join_factors(const organ_combine_job *job, const organ_lora_row *row, const module_factors *m,
                                 const organ_lora_factors *to, organ_error *error)
{
    const size_t sizes[2] = {m->f[0].rank * m->f[0].in, m->f[0].rank * m->f[0].out};
    for (size_t e = 0; e < to->experts; e++)
        for (size_t side = 0; side < 2 && !error->status; side++) {
            const size_t n = sizes[side];
            value_set v = {.module = row->pair->module,
                           .kind = "AB"[side],
                           .expert = e,
                           .count = m->count,
                           .n = n,
                           .adapter = m->adapter};
            for (size_t k = 0; k < m->count; k++) {
                const double root = sqrt(fabs(m->scale[k]));
                v.values[k] = (side ? m->f[k].b : m->f[k].a) + e * n;
                v.weights[k] = (float)(side || m->scale[k] >= 0 ? root : -root);
            }
            join_values(job, &v, (side ? to->b : to->a) + e * n, error);
        }
    return error->status;
}

/* ---- combination of the changes ---- */

/* B is U sqrt(sigma), A sqrt(sigma) V^T; sums gets ||D||^2 and what the kept part lacks of it. */
static organ_status decompose(const organ_kernels *kernels, const float *change, const organ_lora_factors *to,
                              double sums[2], organ_error *error)
{
    const size_t rank = to->rank;
    ORGAN_OWNED_BUFFERS buffers = {0};
    float *const sigma = organ_take_floats(&buffers, rank, 1), *const u = organ_take_floats(&buffers, rank, to->out),
                 *const vt = organ_take_floats(&buffers, rank, to->in);
    double all = 0, kept = 0;
    for (size_t k = 0; k < to->out * to->in; k++)
        all += (double)change[k] * (double)change[k];
    if (buffers.lacking)
        return organ_fail_memory(error, "the decomposition of a change");
    if (all > 0 && !organ_dense_svd(kernels, change, to->in, to->out, rank, vt, sigma, u))
        return organ_fail(error, ORGAN_IO, "the decomposition of a change failed: not enough memory");
    for (size_t k = 0; k < rank && all > 0; k++) {
        const float root = sqrtf(sigma[k]);
        kept += (double)sigma[k] * (double)sigma[k];
        for (size_t j = 0; j < to->in; j++)
            to->a[k * to->in + j] = root * vt[k * to->in + j];
        for (size_t i = 0; i < to->out; i++)
            to->b[i * rank + k] = root * u[k * to->out + i];
    }
    sums[0] += all;
    sums[1] += rank == organ_min(to->out, to->in) || kept > all ? 0 : all - kept;
    return ORGAN_OK;
}

static organ_status join_changes(const organ_combine_job *job, organ_lora_row *row, const module_factors *m,
                                 const organ_lora_factors *to, organ_error *error)
{
    const organ_kernels *const kernels = job->rewrite.engine->kernels;
    const size_t n = to->out * to->in;
    double sums[2] = {0, 0};
    ORGAN_OWNED float *const changes = malloc(m->count * n * sizeof *changes);
    ORGAN_OWNED void *const scratch = aligned_alloc(64, ORGAN_PRODUCT_SCRATCH);
    if (!changes || !scratch)
        return organ_fail_memory(error, row->pair->module);
    for (size_t e = 0; e < to->experts && !error->status; e++) {
        const organ_lora_factors one = organ_lora_factors_of(to, e);
        value_set v = {
            .module = row->pair->module, .kind = 'D', .expert = e, .count = m->count, .n = n, .adapter = m->adapter};
        for (size_t k = 0; k < m->count; k++) {
            v.values[k] = changes + k * n;
            v.weights[k] = (float)job->weights[m->adapter[k]];
            organ_lora_multiply(kernels, &m->f[k], /*transposed=*/false, e * to->out, to->out, v.values[k], scratch);
        }
        if (join_values(job, &v, changes, error) == ORGAN_OK)
            decompose(kernels, changes, &one, sums, error);
    }
    row->norm = sqrt(sums[0]);
    row->residual = sums[0] > 0 ? sqrt(sums[1] / sums[0]) : 0;
    return error->status;
}

static organ_status set_norm(const organ_combine_job *job, organ_lora_row *row, const organ_lora_factors *f,
                             organ_error *error)
{
    const double energy = organ_lora_energy(f, job->rewrite.engine->kernels);
    row->norm = sqrt(energy) * fabs(job->rewrite.keeps ? job->rewrite.scale : 1);
    return energy < 0 ? organ_fail_memory(error, row->pair->module) : ORGAN_OK;
}

organ_status organ_combine_read(const organ_lora_rewrite *rw, organ_lora_row *row, organ_lora_factors *to,
                                organ_error *error)
{
    const organ_combine_job *const job = rw->source->context;
    const bool changes = job->method->svd && !job->method->cat;
    module_factors m;
    if (read_module(job, organ_combine_module(job, row), changes, &m, error) == ORGAN_OK &&
        take_factors(row, changes ? row->rank : row->pair->rank, to, error) == ORGAN_OK) {
        if (changes)
            join_changes(job, row, &m, to, error);
        else if (job->method->cat)
            concatenate(job, &m, to);
        else
            join_factors(job, row, &m, to, error);
        if (!error->status && !changes)
            set_norm(job, row, to, error);
    }
    release_factors(&m);
    return error->status;
}
