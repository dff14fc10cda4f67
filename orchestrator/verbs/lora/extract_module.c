/* SPDX-License-Identifier: MIT
 * Computes the factors of one module: reads its change W_tuned - W_base in strips of rows, computes the leading
 * singular vectors of each matrix of the change, and selects the rank. Writes the factors later (organ_lora_store). */
#include "orchestrator/verbs/lora/lora_parts.h"

#include "formats/base/text.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/low_rank.h"
#include "orchestrator/stream/product.h"

#include <errno.h>
#include <math.h>
#include <organ/stream.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* To plan a dry run: passes of organ_low_rank over a change, and operations per value and pass that read it. */
#define PASSES  8.0
#define CHANGED 40.0

/* c->norms of the strip becomes the sum of squares of the same rows of W_base. */
static organ_status read_change(void *context, uint64_t first, size_t rows, float *values, void *scratch,
                                organ_error *error)
{
    const organ_lora_change *const c = context;
    float *const base = scratch;
    void *const rest = (char *)scratch + c->base_bytes;
    const size_t n = rows * c->cols;
    if (organ_weight_read(c->tuned, c->start + first, rows, ORGAN_F32, values, rest, error) ||
        organ_weight_read(c->base, c->start + first, rows, ORGAN_F32, base, rest, error))
        return error->status;
    c->norms[first / ORGAN_STRIP_ROWS] = organ_sum_of_squares(base, n);
    for (size_t k = 0; k < n; k++)
        values[k] -= base[k];
    return ORGAN_OK;
}

/* With --rank-by energy the rank is the smallest number of leading singular values whose squares add up to the share
 * of ||dW||^2. If even the squares of all computed values do not reach the share, *short_of_share becomes true. */
static size_t rank_of_cut(const organ_lora_job *job, const organ_svd *svd, bool *short_of_share)
{
    double sum = 0;
    *short_of_share = false;
    if (job->share == 0)
        return svd->rank;
    for (size_t k = 0; k < svd->rank; k++) {
        sum += (double)svd->sigma[k] * (double)svd->sigma[k];
        if (sum >= job->share * svd->energy)
            return k + 1;
    }
    *short_of_share = svd->rank > 0;
    return svd->rank;
}

static void round_values(const organ_kernels *kernels, organ_dtype dtype, float *values, size_t n)
{
    uint16_t codes[1024];
    for (size_t from = 0; from < n && dtype != ORGAN_F32; from += sizeof codes / sizeof *codes) {
        const size_t part = organ_min(sizeof codes / sizeof *codes, n - from);
        organ_narrow(kernels, dtype, values + from, codes, part);
        organ_widen(kernels, dtype, codes, values + from, part);
    }
}

/* B is U sqrt(sigma), and A is sqrt(sigma) V^T. The caller releases *f. */
static bool make_factors(const organ_svd *svd, size_t rank, organ_lora_factors *f)
{
    *f = (organ_lora_factors){.rank = rank, .in = svd->cols, .out = svd->rows, .experts = 1};
    f->a = organ_floats(rank, f->in);
    f->b = organ_floats(f->out, rank);
    if (!f->b || !f->a)
        return false;
    for (size_t k = 0; k < rank; k++) {
        const float root = sqrtf(svd->sigma[k]);
        for (size_t i = 0; i < f->out; i++)
            f->b[i * rank + k] = svd->u[k * f->out + i] * root;
        for (size_t j = 0; j < f->in; j++)
            f->a[k * f->in + j] = root * svd->vt[k * f->in + j];
    }
    return true;
}

static organ_status write_factors(organ_lora_job *job, const char *module, const organ_lora_factors *factors,
                                  organ_error *error)
{
    const organ_adapter_pair pair = {.module = module, .experts = factors->experts};
    return organ_adapter_add_factors(job->writer, &pair, job->dtype, factors, error);
}

/* Zeros fill the factors up to the rank of the group (organ_lora_stored_rank). `factors` is NULL for a matrix that
 * did not change and has only zeros. */
static organ_status write_padded(organ_lora_job *job, const organ_lora_module *m, const organ_lora_factors *factors,
                                 organ_error *error)
{
    const size_t rank = organ_lora_stored_rank(m), out = (size_t)m->base->shape[0], in = (size_t)m->base->shape[1];
    if (factors && factors->rank >= rank)
        return write_factors(job, m->key, factors, error);
    ORGAN_RELEASED_BY(organ_lora_factors_release)
    organ_lora_factors padded = {rank, in, out, calloc(rank, in * sizeof(float)), calloc(rank, out * sizeof(float)), 1};
    if (!padded.a || !padded.b)
        organ_fail_memory(error, m->name);
    else {
        for (size_t k = 0; factors && k < factors->rank * in; k++)
            padded.a[k] = factors->a[k];
        for (size_t i = 0; factors && i < out; i++)
            memcpy(padded.b + i * rank, factors->b + i * factors->rank, factors->rank * sizeof(float));
        write_factors(job, m->key, &padded, error);
    }
    return error->status;
}

/* If the base stores the matrix as in_features x out_features, `factors` are those of the transposed change, and the
 * adapter gets B^T as A and A^T as B. */
static organ_status write_matrix(organ_lora_job *job, const organ_lora_module *m, const organ_lora_factors *factors,
                                 organ_error *error)
{
    if (!m->turned)
        return write_padded(job, m, factors, error);
    ORGAN_RELEASED_BY(organ_lora_factors_release)
    organ_lora_factors turned = {factors->rank,
                                 factors->out,
                                 factors->in,
                                 organ_lora_transposed(factors->b, factors->out, factors->rank),
                                 organ_lora_transposed(factors->a, factors->rank, factors->in),
                                 1};
    if (!turned.a || !turned.b)
        organ_fail_memory(error, m->name);
    else
        write_factors(job, m->key, &turned, error);
    return error->status;
}

/* ---- stacks of experts ---- */

organ_status organ_lora_begin_stack(const organ_lora_job *job, organ_lora_module *m, organ_lora_factors *stack,
                                    organ_error *error)
{
    const organ_matrices shape = organ_weight_matrices(m->base);
    const size_t rank = organ_lora_max_rank(job, m->base);
    *stack = (organ_lora_factors){.rank = rank,
                                  .in = (size_t)shape.cols,
                                  .out = (size_t)shape.rows,
                                  .a = calloc(shape.count * rank, shape.cols * sizeof(float)),
                                  .b = calloc(shape.count * rank, shape.rows * sizeof(float)),
                                  .experts = (size_t)shape.count};
    free(m->spectrum); /* of a journal whose unit is made again */
    m->spectrum = calloc(rank + 1, sizeof *m->spectrum);
    return stack->a && stack->b && m->spectrum ? ORGAN_OK : organ_fail_memory(error, m->name);
}

/* The names of the factors contain the name of the parameter's wrapper: the name of the module, followed by
 * ".base_layer" if the wrapper is the inner one. If the matrices are stored as in_features x out_features, the
 * decomposition gave factors of the transposed change, and the adapter gets B^T as A and A^T as B. */
static organ_status write_parameter(organ_lora_job *job, const organ_lora_module *m, const organ_lora_factors *stack,
                                    organ_error *error)
{
    const char *const dot = strrchr(m->key, '.');
    ORGAN_OWNED char *const key = organ_format("base_model.model.%.*s%s.lora_A.weight", (int)(dot - m->key), m->key,
                                               m->inner ? ".base_layer" : "");
    const organ_tensor named = {.name = key};
    const organ_adapter_pair pair = {
        .module = m->key, .a = &named, .experts = stack->experts, .layout = ORGAN_FACTORS_PARAMETER};
    ORGAN_RELEASED_BY(organ_lora_factors_release)
    organ_lora_factors turned = {stack->rank, stack->out, stack->in, NULL, NULL, stack->experts};
    if (m->turned) {
        turned.a = calloc(stack->experts * stack->rank, stack->out * sizeof(float));
        turned.b = calloc(stack->experts * stack->rank, stack->in * sizeof(float));
    }
    if (!key || (m->turned && (!turned.a || !turned.b)))
        organ_fail_memory(error, m->name);
    for (size_t e = 0; e < stack->experts && m->turned && !error->status; e++) {
        const organ_lora_factors from = organ_lora_factors_of(stack, e), to = organ_lora_factors_of(&turned, e);
        for (size_t k = 0; k < stack->rank; k++) {
            for (size_t i = 0; i < stack->out; i++)
                to.a[k * stack->out + i] = from.b[i * stack->rank + k];
            for (size_t i = 0; i < stack->in; i++)
                to.b[i * stack->rank + k] = from.a[k * stack->in + i];
        }
    }
    if (!error->status)
        organ_adapter_add_factors(job->writer, &pair, job->dtype, m->turned ? &turned : stack, error);
    return error->status;
}

/* The factors have the largest rank of an expert. An unchanged parameter that is paired gets zeros of rank 1: peft
 * names wrappers by their number, so that both parameters of a module need one. */
organ_status organ_lora_write_stack(organ_lora_job *job, const organ_lora_module *m, organ_lora_factors *stack,
                                    organ_error *error)
{
    const size_t rank = stack->rank, written = m->rank ? m->rank : m->paired;
    if (written == 0)
        return ORGAN_OK;
    /* Packs the factors from the allocated rank to the written one. */
    for (size_t e = 0; e < stack->experts; e++)
        memmove(stack->a + e * written * stack->in, stack->a + e * rank * stack->in,
                written * stack->in * sizeof(float));
    for (size_t i = 0; i < stack->experts * stack->out; i++)
        memmove(stack->b + i * written, stack->b + i * rank, written * sizeof(float));
    stack->rank = written;
    if (m->parameter)
        return write_parameter(job, m, stack, error);
    return write_factors(job, m->key, stack, error);
}

/* ---- one matrix ---- */

void organ_lora_round_factors(const organ_lora_job *job, organ_lora_factors *f)
{
    round_values(job->engine->kernels, job->dtype, f->b, f->out * f->rank);
    round_values(job->engine->kernels, job->dtype, f->a, f->rank * f->in);
}

static organ_status complete_matrix(const organ_lora_job *job, organ_lora_module *m, organ_lora_factors *f,
                                    const float *sigma, organ_error *error)
{
    free(m->spectrum);
    m->rank = f->rank;
    m->spectrum = organ_floats(f->rank, 1);
    if (!m->spectrum)
        return organ_fail_memory(error, m->name);
    organ_lora_round_factors(job, f);
    memcpy(m->spectrum, sigma, f->rank * sizeof *m->spectrum);
    return ORGAN_OK;
}

organ_status organ_lora_write_matrix(organ_lora_job *job, organ_lora_module *m, organ_lora_factors *f,
                                     const float *sigma, organ_error *error)
{
    return complete_matrix(job, m, f, sigma, error) ? error->status : write_matrix(job, m, f, error);
}

/* Value k of the spectrum of a stack is the root of the sum over experts of the squares of their values k. */
void organ_lora_put_in_stack(const organ_lora_job *job, organ_lora_module *m, organ_lora_factors *f, const float *sigma,
                             const organ_lora_factors *stack, size_t expert)
{
    const organ_lora_factors to = organ_lora_factors_of(stack, expert);
    organ_lora_round_factors(job, f);
    memcpy(to.a, f->a, f->rank * f->in * sizeof(float));
    for (size_t i = 0; i < f->out; i++)
        memcpy(to.b + i * to.rank, f->b + i * f->rank, f->rank * sizeof(float));
    for (size_t k = 0; k < f->rank; k++)
        m->spectrum[k] = sqrtf(m->spectrum[k] * m->spectrum[k] + sigma[k] * sigma[k]);
    m->rank = organ_max(m->rank, f->rank);
}

organ_status organ_lora_write_zeros(organ_lora_job *job, const organ_lora_module *m, organ_error *error)
{
    return organ_lora_stored_rank(m) ? write_padded(job, m, /*factors=*/NULL, error) : ORGAN_OK;
}

/* c->factors are those of the stack, or become those of the only matrix. m->rest grows by the squared norm of the
 * change minus the product of the rounded factors. */
static organ_status keep_factors(const organ_lora_job *job, organ_lora_module *m, organ_strips *strips,
                                 const organ_svd *svd, organ_lora_change *c, size_t expert, organ_error *error)
{
    const bool stack = c->factors.a != NULL;
    organ_lora_factors f;
    bool short_of_share;
    double rest = 0;
    const bool made = make_factors(svd, rank_of_cut(job, svd, &short_of_share), &f);
    m->short_of_share |= short_of_share;
    if (!made)
        organ_fail_errno(error, ENOMEM, "%s: tensor '%s'", job->tuned->path, m->tuned->name);
    else if (stack)
        organ_lora_put_in_stack(job, m, &f, svd->sigma, &c->factors, expert);
    else
        complete_matrix(job, m, &f, svd->sigma, error);
    if (!error->status)
        organ_residual(strips, f.b, f.a, f.rank, &rest, error);
    m->rest += rest;
    if (stack || error->status)
        organ_lora_factors_release(&f);
    else
        c->factors = f;
    return error->status;
}

static organ_low_rank_options options_of(const organ_lora_job *job)
{
    return (organ_low_rank_options){
        .rank = job->options->rank, .seed = job->options->seed, .exact = job->options->exact};
}

/* Decomposing needs the buffers of organ_low_rank; measuring the residual later needs the singular vectors, the same
 * number of bytes for the factors, and the buffers of organ_residual. The larger need counts. */
static uint64_t extra_bytes_of(const organ_lora_job *job, uint64_t rows, uint64_t cols, size_t workers)
{
    const organ_low_rank_options options = options_of(job);
    const uint64_t rank = organ_min(options.rank, (size_t)organ_min((size_t)rows, (size_t)cols));
    const uint64_t vectors = sizeof(float) * rank * (rows + cols + 1);
    const uint64_t found = organ_low_rank_bytes(rows, cols, &options, workers);
    return organ_max(found, 2 * vectors + organ_residual_bytes(workers));
}

static void only_read(void *context, const organ_strip *strip, size_t worker)
{
    (void)context, (void)strip, (void)worker;
}

/* An unchanged matrix, whose change is read once and has no energy, is not decomposed. */
static organ_status decompose(organ_strips *strips, const organ_low_rank_options *options, organ_svd *svd,
                              organ_error *error)
{
    const organ_strip_work reading = {.each = only_read};
    if (organ_strips_run(strips, &reading, error) || organ_strips_energy(strips) == 0)
        return error->status;
    return organ_low_rank(strips, options, svd, error);
}

static organ_status decompose_change(const organ_lora_job *job, organ_lora_module *m, const organ_engine *engine,
                                     const organ_rows *rows, size_t expert, organ_error *error)
{
    const organ_low_rank_options options = options_of(job);
    organ_strips *strips = NULL;
    ORGAN_RELEASED_BY(organ_svd_release) organ_svd svd = {0};
    if (organ_strips_open(rows, engine, !job->options->exact, &strips, error) == ORGAN_OK &&
        decompose(strips, &options, &svd, error) == ORGAN_OK) {
        m->change += svd.energy;
        m->passes = (unsigned)organ_max(m->passes, svd.passes);
        if (svd.rank)
            keep_factors(job, m, strips, &svd, rows->context, expert, error);
    }
    organ_strips_close(strips);
    return error->status;
}

organ_status organ_lora_change_open(const organ_lora_job *job, const organ_lora_module *m, organ_lora_change *c,
                                    organ_error *error)
{
    const size_t rows = (size_t)organ_weight_matrices(m->base).rows;
    *c = (organ_lora_change){.norms = calloc(organ_pieces_of(rows, ORGAN_STRIP_ROWS), sizeof *c->norms)};
    if (!c->norms)
        return organ_fail_memory(error, m->name);
    if (organ_weight_reader_open(job->tuned, m->tuned, job->engine->kernels, c->notes[0], &c->tuned, error) == ORGAN_OK)
        organ_weight_reader_open(job->base, m->base, job->engine->kernels, c->notes[1], &c->base, error);
    return error->status;
}

void organ_lora_change_close(organ_lora_change *c)
{
    organ_weight_reader_close(c->tuned);
    organ_weight_reader_close(c->base);
    organ_lora_factors_release(&c->factors);
    free(c->norms);
    *c = (organ_lora_change){0};
}

/* read_change reads the rows with the open readers of `c`. `name` is for messages and must outlive the result. */
static organ_rows rows_of(const organ_lora_job *job, const organ_lora_module *m, organ_lora_change *c, const char *name,
                          size_t workers)
{
    const organ_matrices shape = organ_weight_matrices(m->base);
    c->cols = (size_t)shape.cols;
    c->base_bytes = organ_to_line(ORGAN_STRIP_ROWS * c->cols * sizeof(float));
    const size_t rest = organ_max(organ_weight_reader_scratch(c->tuned, ORGAN_STRIP_ROWS),
                                  organ_weight_reader_scratch(c->base, ORGAN_STRIP_ROWS));
    const uint64_t rank = organ_min(job->options->rank, (size_t)organ_min((size_t)shape.rows, (size_t)shape.cols));
    /* Copies of the factors in memory, in addition to those of extra_bytes_of. A stack needs its own; for a parameter a
     * copy of B in peft's order; for transposed matrices also the exchanged factors (write_parameter). A transposed
     * matrix needs the exchanged factors (write_matrix), one of an expert those with zeros (write_padded). */
    const uint64_t of_stack = m->turned ? 3 : 1 + m->parameter,
                   copies = shape.count > 1 ? of_stack : m->turned || m->group;
    const uint64_t stack = copies * shape.count * rank * (shape.rows + shape.cols) * sizeof(float);
    return (organ_rows){.rows = shape.rows,
                        .cols = shape.cols,
                        .name = name,
                        .scratch_bytes = c->base_bytes + rest,
                        .extra_bytes = stack + extra_bytes_of(job, shape.rows, shape.cols, workers),
                        .context = c,
                        .read = read_change};
}

/* The memory has room for the buffers, for the whole matrix, and for scratch of all readers (organ_strips_open). */
uint64_t organ_lora_change_bytes(const organ_lora_job *job, const organ_lora_module *m, organ_lora_change *c,
                                 size_t workers)
{
    const organ_rows rows = rows_of(job, m, c, m->name, workers);
    const uint64_t strips = organ_pieces_of((size_t)rows.rows, ORGAN_STRIP_ROWS);
    return rows.extra_bytes + 2 * workers * organ_to_line(rows.scratch_bytes) +
           strips * ORGAN_STRIP_ROWS * rows.cols * sizeof(float);
}

/* The block of a pass has half the vectors that organ_low_rank seeks, and a pass multiplies by it twice. */
static void add_work(organ_lora_job *job)
{
    job->plan.bytes += PASSES * (double)organ_model_tensor_bytes(job->tuned);
    for (size_t k = 0; k < job->module_count; k++) {
        const organ_lora_module *const m = &job->modules[k];
        const double rank = (double)m->rank, columns = rank + (rank > 64 ? rank / 4 : 16);
        job->plan.products += PASSES * (CHANGED + 2 * columns) * (double)m->base->elements;
    }
}

/* The readers are opened only to compute the sizes of the buffers; no rows are read. */
organ_status organ_lora_check_memory(organ_lora_job *job, organ_error *error)
{
    const organ_lora_module *largest = NULL;
    uint64_t least = 0;
    for (size_t k = 0; k < job->module_count && !error->status; k++) {
        const organ_lora_module *const m = &job->modules[k];
        ORGAN_RELEASED_BY(organ_lora_change_close) organ_lora_change c;
        if (organ_lora_change_open(job, m, &c, error) == ORGAN_OK) {
            const organ_rows rows = rows_of(job, m, &c, m->name, organ_workers_count(job->engine->workers));
            largest = organ_strips_min(&rows) > least ? m : largest;
            least = organ_max(least, organ_strips_min(&rows));
        }
    }
    organ_plan_memory(&job->plan, least, 0);
    add_work(job);
    if (error->status || !largest)
        return error->status;
    return organ_memory_claim(job->engine, least, error, "the factors of %.200s in %s", largest->name,
                              job->tuned->path);
}

static organ_status read_energy(const organ_lora_job *job, const organ_lora_module *m, organ_lora_change *c,
                                double *energy, organ_error *error)
{
    const organ_matrices shape = organ_weight_matrices(m->base);
    const organ_strip_work reading = {.each = only_read};
    organ_rows rows = rows_of(job, m, c, m->name, organ_workers_count(job->engine->workers));
    rows.extra_bytes = 0;
    for (size_t e = 0; e < shape.count && *energy == 0 && !error->status; e++) {
        organ_strips *strips = NULL;
        c->start = e * shape.rows;
        if (organ_strips_open(&rows, job->engine, /*hold=*/false, &strips, error) == ORGAN_OK &&
            organ_strips_run(strips, &reading, error) == ORGAN_OK)
            *energy = organ_strips_energy(strips);
        organ_strips_close(strips);
    }
    return error->status;
}

organ_status organ_lora_differs(organ_lora_job *job, bool *differs, organ_error *error)
{
    *differs = false;
    for (size_t k = 0; k < job->module_count && !*differs && !error->status; k++) {
        const organ_lora_module *const m = &job->modules[k];
        ORGAN_RELEASED_BY(organ_lora_change_close) organ_lora_change c;
        double energy = 0;
        if (organ_lora_change_open(job, m, &c, error) == ORGAN_OK)
            read_energy(job, m, &c, &energy, error);
        *differs = energy != 0;
    }
    return error->status;
}

organ_status organ_lora_compute(const organ_lora_job *job, organ_lora_module *m, const organ_engine *engine,
                                organ_lora_change *c, organ_error *error)
{
    const double started = organ_seconds_now();
    const organ_matrices shape = organ_weight_matrices(m->base);
    const size_t strips = organ_pieces_of((size_t)shape.rows, ORGAN_STRIP_ROWS);
    char name[600];
    snprintf(name, sizeof name, "%.200s less %.200s: tensor '%.150s'", job->tuned->path, job->base->path,
             m->tuned->name);
    const organ_rows rows = rows_of(job, m, c, name, organ_workers_count(engine->workers));
    if (shape.count > 1)
        organ_lora_begin_stack(job, m, &c->factors, error);
    for (size_t e = 0; e < shape.count && !error->status; e++) {
        c->start = e * shape.rows;
        memset(c->norms, 0, strips * sizeof *c->norms);
        decompose_change(job, m, engine, &rows, e, error);
        for (size_t k = 0; k < strips; k++)
            m->norm += c->norms[k];
    }
    m->seconds = organ_seconds_now() - started;
    return error->status;
}

organ_status organ_lora_store(organ_lora_job *job, organ_lora_module *m, organ_lora_change *c, organ_error *error)
{
    if (organ_weight_matrices(m->base).count > 1)
        return organ_lora_write_stack(job, m, &c->factors, error);
    return c->factors.a ? write_matrix(job, m, &c->factors, error) : organ_lora_write_zeros(job, m, error);
}
