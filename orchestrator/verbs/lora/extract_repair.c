/* SPDX-License-Identifier: MIT
 * Factors that a calibration text decides: a walk runs the text through the tuned model and, at the same time, through
 * the base with the adapter so far. In each matrix the factors minimise the error of the outputs on the inputs that the
 * base and the adapter compute (docs/definitions/lora.md). */
#include "orchestrator/verbs/lora/lora_parts.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define STRIP ((size_t)128) /* rows that a worker solves or adds at a time */

organ_status organ_lora_repair_prepare(organ_lora_job *job, organ_error *error)
{
    const organ_lora_extract_options *const o = job->options;
    organ_targets all = {.tensors = calloc(job->tuned->tensor_count + 1, sizeof *all.tensors)};
    if (!all.tensors)
        return organ_fail_memory(error, job->tuned->path);
    for (size_t k = 0; k < job->tuned->tensor_count; k++)
        if (job->tuned->tensors[k].rank > 1)
            all.tensors[all.count++] = &job->tuned->tensors[k];
    if (organ_calibration_run_check(o->calibration.samples, o->calibration.context, error) == ORGAN_OK &&
        organ_calibration_moments_parse(o->moments, &job->blocks, error) == ORGAN_OK)
        organ_calibration_find_untapped(job->tuned, job->engine, &all, &job->untapped, error);
    free(all.tensors);
    return error->status;
}

/* ---- one matrix ---- */

/* A matrix whose factors are computed. Rows of `damaged` are in the order of the file, those of `weights` in that of
 * the forward pass. */
typedef struct repairing {
    organ_lora_job *job;
    organ_lora_module *module;
    const organ_calibration_matrix *matrix;
    const organ_tensor *tensor;
    size_t rows, cols, block;
    float *weights;  /* W_tuned; afterwards what the layer computes with */
    float *damaged;  /* W_base */
    float *error_of; /* what the factors shall correct */
    float *h;        /* second moments of the inputs, damped */
    unsigned char *scratch;
    organ_buffers buffers;
} repairing;

static void lay_out(void *context, organ_buffers *b)
{
    repairing *const r = context;
    r->damaged = organ_take_floats(b, r->rows, r->cols);
    r->error_of = organ_take_floats(b, r->rows, r->cols);
    r->scratch = organ_take(b, organ_products_scratch(r->job->engine), 1);
}

static void repairing_release(repairing *r) { organ_buffers_release(&r->buffers); }

static organ_status read_base(repairing *r, organ_error *error)
{
    const organ_kernels *const kernels = r->job->engine->kernels;
    organ_weight_reader *reader = NULL;
    char note[256];
    if (organ_weight_reader_open(r->job->base, r->module->base, kernels, note, &reader, error) == ORGAN_OK) {
        ORGAN_OWNED void *const scratch = aligned_alloc(64, organ_to_line(organ_weight_reader_scratch(reader, STRIP)));
        organ_lora_note(r->job, note);
        if (!scratch)
            organ_fail_memory(error, r->module->name);
        for (size_t row = 0; row < r->rows && !error->status; row += STRIP)
            organ_weight_read(reader, r->matrix->matrix * r->rows + row, organ_min(STRIP, r->rows - row), ORGAN_F32,
                              r->damaged + row * r->cols, scratch, error);
    }
    organ_weight_reader_close(reader);
    return error->status;
}

/* Sets h and error_of, whose rows are then in the order of the file. */
static organ_status find_error(repairing *r, organ_error *error)
{
    organ_lora_job *const job = r->job;
    const organ_input_moments *const m = organ_calibration_moments(r->matrix->calibration);
    double outputs = 0;
    r->block = m->block;
    r->h = organ_expand_moments(job->engine, m, /*c=*/0, /*h=*/1, organ_moments_damping(m) * m->mean_diagonal,
                                &r->buffers);
    if (!r->h)
        return organ_fail_memory(error, r->module->name);
    const organ_block_matrix h = {r->cols, r->block, r->h};
    if (organ_outputs_energy(job->engine, r->module->name, r->weights, r->rows, &h, &outputs, error) != ORGAN_OK ||
        organ_donor_target_find(&job->donor, job->engine, r->matrix, &h, r->weights, r->error_of, error) != ORGAN_OK)
        return error->status;
    r->module->outputs += outputs;
    for (size_t k = 0; k < r->rows * r->cols; k++)
        r->error_of[k] += r->weights[k];
    if (organ_calibration_reorder_rows(job->calib, r->tensor, r->error_of, r->rows, /*to_file=*/true, error) !=
            ORGAN_OK ||
        organ_calibration_reorder_rows(job->calib, r->tensor, r->weights, r->rows, /*to_file=*/true, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < r->rows * r->cols; k++) {
        const double change = (double)r->weights[k] - (double)r->damaged[k];
        r->module->change += change * change;
        r->module->norm += (double)r->damaged[k] * (double)r->damaged[k];
        r->error_of[k] -= r->damaged[k];
    }
    return ORGAN_OK;
}

typedef struct factor_sum {
    const organ_lora_factors *factors;
    const float *base;
    float *to; /* base + B A */
    const organ_kernels *kernels;
    unsigned char *scratch;
} factor_sum;

static void add_strip(void *context, size_t index, size_t worker)
{
    const factor_sum *const x = context;
    const size_t first = index * STRIP, rows = organ_min(STRIP, x->factors->out - first), rank = x->factors->rank,
                 cols = x->factors->in;
    const organ_product product = {.m = rows,
                                   .n = cols,
                                   .k = rank,
                                   .a = organ_by_rows(x->factors->b + first * rank, rank),
                                   .b = organ_by_columns(x->factors->a, cols),
                                   .c = x->to + first * cols,
                                   .c_stride = cols,
                                   .into = ORGAN_PRODUCT_ADD};
    if (x->to != x->base)
        memcpy(x->to + first * cols, x->base + first * cols, rows * cols * sizeof *x->to);
    x->kernels->product(&product, x->scratch + worker * ORGAN_PRODUCT_SCRATCH);
}

void organ_lora_add_product(const organ_engine *engine, const organ_lora_factors *factors, const float *base, float *to,
                            void *scratch)
{
    factor_sum x = {factors, base, to, engine->kernels, scratch};
    if (factors->rank)
        organ_share(engine, NULL, (factors->out + STRIP - 1) / STRIP, add_strip, &x);
    else if (to != base)
        memcpy(to, base, factors->out * factors->in * sizeof *to);
}

/* `weights`, in the order of the file, become W_base + B A, with which the layer then runs, in the order of the forward
 * pass. Adds ||W_tuned - W_base - B A||^2 to *rest. */
static organ_status add_factors(repairing *r, const organ_lora_factors *factors, double *rest, organ_error *error)
{
    organ_lora_job *const job = r->job;
    organ_lora_add_product(job->engine, factors, r->damaged, r->error_of, r->scratch);
    for (size_t k = 0; k < r->rows * r->cols; k++) {
        const double left = (double)r->weights[k] - (double)r->error_of[k];
        *rest += left * left;
    }
    memcpy(r->weights, r->error_of, r->rows * r->cols * sizeof *r->weights);
    return organ_calibration_reorder_rows(job->calib, r->tensor, r->weights, r->rows, /*to_file=*/false, error);
}

/* ---- units ---- */

static organ_status finish_unit(organ_lora_job *job, organ_lora_module *m, size_t unit, organ_error *error)
{
    char remark[64];
    if (organ_adapter_end(job->writer, organ_lora_module_results(m), error) != ORGAN_OK)
        return error->status;
    organ_snprintf(remark, sizeof remark, "rank %zu, error of outputs %.2f -> %.2f %%", m->rank,
                   100 * sqrt(m->outputs_before / fmax(m->outputs, 1e-300)),
                   100 * sqrt(m->outputs_after / fmax(m->outputs, 1e-300)));
    organ_progress_advance(job->progress, job->units[unit].cost, job->units[unit].name, remark);
    return ORGAN_OK;
}

/* Both factors have the root of the singular value. The caller frees the result. */
static float *singular_values(const organ_lora_factors *f)
{
    float *const sigma = calloc(f->rank + 1, sizeof *sigma);
    for (size_t k = 0; sigma && k < f->rank; k++) {
        double b = 0;
        for (size_t i = 0; i < f->out; i++)
            b += (double)f->b[i * f->rank + k] * (double)f->b[i * f->rank + k];
        sigma[k] = (float)sqrt(b * organ_sum_of_squares(f->a + k * f->in, f->in));
    }
    return sigma;
}

/* Several matrices of a stack come in any order, so their unit begins when all are done. */
organ_status organ_lora_store_correction(organ_lora_job *job, size_t target, uint64_t matrix, organ_lora_factors *f,
                                         organ_error *error)
{
    const size_t unit = job->unit_of[target];
    organ_lora_module *const m = job->contents[unit].module;
    const size_t at = (size_t)(m - job->modules);
    const uint64_t count = organ_weight_matrices(m->base).count;
    organ_lora_factors *const stack = count > 1 ? &job->stacks[at] : NULL;
    float *const sigma = singular_values(f);
    if (!sigma)
        return organ_fail_memory(error, m->name);
    if (stack && !stack->a)
        organ_lora_begin_stack(job, m, stack, error);
    if (!stack && !error->status)
        organ_adapter_begin(job->writer, unit, error);
    if (!error->status && f->rank && stack)
        organ_lora_put_in_stack(job, m, f, sigma, stack, (size_t)matrix);
    else if (!error->status && f->rank)
        organ_lora_write_matrix(job, m, f, sigma, error);
    else if (!error->status && !stack)
        organ_lora_write_zeros(job, m, error);
    free(sigma);
    if (error->status || (stack && ++job->stack_done[at] < count))
        return error->status;
    if (stack && (organ_adapter_begin(job->writer, unit, error) || organ_lora_write_stack(job, m, stack, error)))
        return error->status;
    if (stack)
        organ_lora_factors_release(stack);
    return finish_unit(job, m, unit, error);
}

organ_status organ_lora_correct(const organ_lora_job *job, organ_lora_module *m, const float *errors, size_t rows,
                                const organ_block_matrix *h, organ_correction *c, organ_lora_factors *f,
                                organ_error *error)
{
    if (organ_correct(job->engine, m->name, errors, rows, h, job->options->rank, job->options->seed, c, error) !=
        ORGAN_OK)
        return error->status;
    *f = (organ_lora_factors){.rank = c->rank, .in = c->cols, .out = c->rows, .a = c->a, .b = c->b, .experts = 1};
    organ_lora_round_factors(job, f);
    m->outputs_before += c->before;
    m->outputs_after += c->after;
    m->passes = (unsigned)organ_max(m->passes, c->passes);
    return ORGAN_OK;
}

/* ---- callbacks of the walk ---- */

static organ_lora_module *module_of(const organ_lora_job *job, size_t target)
{
    return job->contents[job->unit_of[target]].module;
}

static organ_status repair_matrix(repairing *r, organ_error *error)
{
    organ_lora_job *const job = r->job;
    const double started = organ_seconds_now();
    ORGAN_RELEASED_BY(organ_correction_release) organ_correction c = {0};
    job->note_target = &r->module->note;
    if (read_base(r, error) != ORGAN_OK || find_error(r, error) != ORGAN_OK)
        return error->status;
    const organ_block_matrix h = {r->cols, r->block, r->h};
    organ_lora_factors f;
    if (organ_lora_correct(job, r->module, r->error_of, r->rows, &h, &c, &f, error) != ORGAN_OK)
        return error->status;
    r->module->seconds += organ_seconds_now() - started;
    if (add_factors(r, &f, &r->module->rest, error) == ORGAN_OK)
        organ_lora_store_correction(job, r->matrix->target, r->matrix->matrix, &f, error);
    return error->status;
}

static repairing repairing_of(organ_lora_job *job, const organ_calibration_matrix *matrix, float *weights)
{
    return (repairing){.job = job,
                       .module = module_of(job, matrix->target),
                       .matrix = matrix,
                       .tensor = job->targets.tensors[matrix->target],
                       .rows = (size_t)matrix->rows,
                       .cols = (size_t)matrix->cols,
                       .weights = weights};
}

static organ_status change_matrix(void *context, const organ_calibration_matrix *matrix, float *weights,
                                  organ_error *error)
{
    ORGAN_RELEASED_BY(repairing_release) repairing r = repairing_of(context, matrix, weights);
    if (!organ_all_finite(weights, r.rows * r.cols))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' has NaN or infinite values", r.job->tuned->path,
                   r.module->tuned->name);
    else if (!organ_buffers_take(&r.buffers, lay_out, &r))
        organ_fail_memory(error, r.module->name);
    else
        repair_matrix(&r, error);
    return error->status;
}

/* No matrix of a later layer has the same inputs. */
static organ_status leave_layer(void *context, const organ_calibration_layer *layer, organ_error *error)
{
    (void)layer;
    organ_donor_target_close(&((organ_lora_job *)context)->donor);
    return error->status;
}

static bool is_done(void *context, size_t target)
{
    const organ_lora_job *const job = context;
    return organ_adapter_done(job->writer, job->unit_of[target]);
}

static organ_status restore_matrix(void *context, const organ_calibration_matrix *matrix, float *weights,
                                   organ_error *error)
{
    ORGAN_RELEASED_BY(repairing_release) repairing r = repairing_of(context, matrix, weights);
    organ_lora_job *const job = r.job;
    double rest = 0; /* the journal has that of the earlier run */
    ORGAN_RELEASED_BY(organ_lora_factors_release)
    organ_lora_factors all = {
        .experts = (size_t)organ_weight_matrices(r.module->base).count, .in = r.cols, .out = r.rows};
    if (!organ_buffers_take(&r.buffers, lay_out, &r))
        organ_fail_memory(error, r.module->name);
    else if (read_base(&r, error) == ORGAN_OK &&
             (r.module->rank == 0 || organ_adapter_read_factors(job->writer, job->unit_of[matrix->target],
                                                                r.module->parameter, &all, error) == ORGAN_OK)) {
        const organ_lora_factors f = r.module->rank ? organ_lora_factors_of(&all, (size_t)matrix->matrix) : all;
        add_factors(&r, &f, &rest, error);
    }
    return error->status;
}

/* Beside the layout: H, and B A in the type of the adapter. */
static uint64_t matrix_memory(void *context, const organ_calibration_run *calib, const organ_tensor *tensor)
{
    const organ_lora_job *const job = context;
    const organ_matrices m = organ_calibration_matrices(calib, tensor);
    const uint64_t rank = organ_min(job->options->rank, (size_t)organ_min((size_t)m.rows, (size_t)m.cols)),
                   block = job->blocks ? organ_min(ORGAN_CALIBRATION_BLOCK, (size_t)m.cols) : m.cols;
    repairing r = {.job = (organ_lora_job *)context, .rows = (size_t)m.rows, .cols = (size_t)m.cols};
    return organ_buffers_count(lay_out, &r) +
           sizeof(float) * (m.cols * block + 2 * (m.count + 1) * rank * (m.rows + m.cols)) +
           organ_donor_target_memory(job->engine, m.cols, block) +
           organ_correction_memory(job->engine, m.rows, m.cols, rank);
}

/* ---- opening and running ---- */

organ_status organ_lora_repair_room(organ_lora_job *job, organ_error *error)
{
    job->targets.tensors = calloc(job->module_count + 1, sizeof *job->targets.tensors);
    job->unit_of = calloc(job->module_count + 1, sizeof *job->unit_of);
    job->stacks = calloc(job->module_count + 1, sizeof *job->stacks);
    job->stack_done = calloc(job->module_count + 1, sizeof *job->stack_done);
    if (!job->targets.tensors || !job->unit_of || !job->stacks || !job->stack_done)
        return organ_fail_memory(error, job->tuned->path);
    for (size_t k = 0; k < job->module_count; k++) {
        const organ_lora_module *const m = &job->modules[k];
        if (m->tuned->scheme != ORGAN_SCHEME_PLAIN)
            return organ_fail(error, ORGAN_USAGE,
                              "%s: tensor '%s' is quantised, so it cannot be the original: dequantize it first",
                              job->tuned->path, m->tuned->name);
        if (m->turned)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: tensor '%s' is stored as in_features x out_features: `calibration.text` does not "
                              "support it",
                              job->tuned->path, m->tuned->name);
        job->targets.tensors[job->targets.count++] = m->tuned->codes;
    }
    return ORGAN_OK;
}

organ_status organ_lora_repair_open(organ_lora_job *job, organ_error *error)
{
    const organ_lora_extract_options *const o = job->options;
    if (organ_lora_repair_room(job, error) != ORGAN_OK)
        return error->status;
    job->walk = (organ_calibration_run_options){.calibration = o->calibration,
                                                .all_experts = o->all_experts,
                                                .blocks = job->blocks,
                                                .method = "lora extract",
                                                .verb = "repair",
                                                .doing = "repairing",
                                                .streams = ORGAN_INPUTS_BOTH,
                                                .moments_only = true};
    job->work = (organ_calibration_work){.context = job,
                                         .memory = matrix_memory,
                                         .done = is_done,
                                         .restore = restore_matrix,
                                         .change = change_matrix,
                                         .grouped = true,
                                         .forget = NULL,
                                         .leave = leave_layer};
    if (organ_calibration_run_open(&job->walk, job->tuned, &job->targets, &job->work, job->engine, job->progress,
                                   &job->calib, error) != ORGAN_OK ||
        !o->write.dry_run)
        return error->status;
    /* iterations of the correction: about ten products of a matrix with 32 vectors */
    const organ_plan_solve solve = {.squares = 1, .weights = 1000, .matrices = 1e7};
    organ_calibration_run_estimate(job->calib, &solve, &job->plan);
    return ORGAN_OK;
}

void organ_lora_number_units(organ_lora_job *job)
{
    for (size_t unit = 0; unit < job->making.unit_count; unit++)
        if (job->contents[unit].module)
            job->unit_of[job->contents[unit].module - job->modules] = unit;
}

organ_status organ_lora_repair_modules(organ_lora_job *job, organ_error *error)
{
    organ_lora_number_units(job);
    return organ_calibration_run_layers(job->calib, error);
}

void organ_lora_repair_close(organ_lora_job *job)
{
    for (size_t k = 0; job->stacks && k < job->module_count; k++)
        organ_lora_factors_release(&job->stacks[k]);
    organ_donor_target_close(&job->donor);
    organ_calibration_run_close(job->calib);
    ORGAN_FREE_ARRAYS(job->targets.tensors, job->unit_of, job->stacks, job->stack_done, job->untapped);
}
