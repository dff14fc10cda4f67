/* SPDX-License-Identifier: MIT
 * Rewrites the modules of an adapter in two passes: organ_lora_survey computes their ranks, organ_lora_write their new
 * factors. In each pass the worker threads process a batch of modules at a time, as many as fit in memory. The calling
 * thread then writes the factors of the batch in order. */
#include "orchestrator/verbs/lora/rewrite.h"

#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/solve/algebra.h"
#include "orchestrator/solve/low_rank.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/report/view/views.h"

#include <math.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

organ_lora_row organ_lora_row_of(const organ_adapter_pair *pair)
{
    const organ_dtype a = pair->a->dtype, b = pair->b->dtype;
    const bool narrow = (a == ORGAN_F16 || a == ORGAN_BF16) && a == b;
    return (organ_lora_row){.pair = pair, .dtype = narrow ? a : ORGAN_F32, .rank = pair->rank};
}

/* ---- many modules at once ---- */

typedef organ_status row_work(const organ_lora_rewrite *rewrite, organ_lora_row *row, organ_error *error);

typedef struct batch {
    const organ_lora_rewrite *rewrite;
    row_work *work;
    organ_lora_row **rows;
    size_t count;
} batch;

static organ_status work_on_row(void *context, size_t k, size_t worker, organ_error *error)
{
    const batch *const b = context;
    (void)worker;
    return b->work(b->rewrite, b->rows[k], error);
}

/* The estimate is six times the factors of the row as FP32: for the old factors, the new ones, and the buffers of
 * their decomposition. */
static uint64_t rewrite_bytes_of(const organ_lora_row *row)
{
    if (row->memory)
        return row->memory;
    return 6 * sizeof(float) * (row->pair->in_features + row->pair->out_features) * row->pair->rank *
           row->pair->experts;
}

/* In the survey (`writer` NULL) the assignment decides, else the unit of the row. */
static bool is_in_pass(const organ_lora_rewrite *rw, size_t k, const organ_adapter_writer *writer)
{
    return writer ? !organ_adapter_done(writer, rw->rows[k].unit) : organ_assignment_is_local(&rw->assignment, k);
}

/* A single row may exceed --memory. `work` runs on the workers, `finish` for each row, in order, on the calling
 * thread. */
static organ_status for_rows(const organ_lora_rewrite *rw, const organ_adapter_writer *writer, row_work *work,
                             organ_status (*finish)(void *context, organ_lora_row *row, organ_error *error),
                             void *context, organ_error *error)
{
    /* rows of a batch: several for each worker, so that rows of different sizes keep all workers busy */
    const size_t max = 4 * organ_workers_count(rw->engine->workers);
    batch b = {.rewrite = rw, .work = work, .rows = malloc(max * sizeof *b.rows)};
    if (!b.rows)
        organ_fail_memory(error, rw->adapter->path);
    for (size_t k = 0; k < rw->count && !error->status;) {
        uint64_t bytes = 0;
        for (b.count = 0; k < rw->count && b.count < max; k++) {
            if (!is_in_pass(rw, k, writer))
                continue;
            if (b.count && bytes + rewrite_bytes_of(&rw->rows[k]) > organ_engine_memory(rw->engine))
                break;
            bytes += rewrite_bytes_of(&rw->rows[k]);
            b.rows[b.count++] = &rw->rows[k];
        }
        organ_share_try(rw->engine, b.count, work_on_row, &b, error);
        for (size_t j = 0; j < b.count && !error->status; j++)
            finish(context, b.rows[j], error);
    }
    free(b.rows);
    return error->status;
}

/* ---- ranks ---- */

static bool is_cut(const organ_lora_rewrite *rw, const organ_lora_row *row)
{
    return rw->energy > 0 || row->pair->rank > rw->max;
}

/* The squares are added from the smallest up. */
static double tail_energy(const organ_svd *svd, size_t first)
{
    double sum = 0;
    for (size_t k = svd->rank; k-- > first;)
        sum += (double)svd->sigma[k] * (double)svd->sigma[k];
    return sum;
}

/* The rank keeps the share rw->energy of the sum of the squared singular values. */
static size_t rank_of(const organ_lora_rewrite *rw, const organ_svd *svd)
{
    const double all = tail_energy(svd, 0);
    size_t rank = organ_min(svd->rank, (size_t)rw->max);
    while (rw->energy > 0 && rank > 1 && tail_energy(svd, rank - 1) <= (1 - rw->energy) * all)
        rank--;
    return rank ? rank : 1;
}

static organ_status survey_energy(const organ_lora_rewrite *rw, organ_lora_row *row, const organ_lora_factors *f,
                                  organ_error *error)
{
    row->rank = 1;
    for (size_t e = 0; e < f->experts && !error->status; e++) {
        const organ_lora_factors one = organ_lora_factors_of(f, e);
        organ_svd svd = {0};
        if (organ_factored_svd(rw->engine->kernels, one.b, one.a, one.out, one.rank, one.in, &svd, error) == ORGAN_OK) {
            row->rank = organ_max(row->rank, rank_of(rw, &svd));
        }
        organ_svd_release(&svd);
    }
    return error->status;
}

static organ_status survey_row(const organ_lora_rewrite *rw, organ_lora_row *row, organ_error *error)
{
    if (rw->source)
        return rw->source->survey(rw, row, error);
    organ_lora_factors f;
    if (organ_lora_factors_read(rw->adapter, row->pair, rw->engine->kernels, row->pair->scale, &f, error) == ORGAN_OK) {
        const double energy = organ_lora_energy(&f, rw->engine->kernels);
        row->norm = sqrt(energy);
        row->rank = organ_min(row->pair->rank, rw->max);
        if (energy < 0)
            organ_fail_memory(error, row->pair->module);
        else if (rw->energy > 0)
            survey_energy(rw, row, &f, error);
    }
    organ_lora_factors_release(&f);
    return error->status;
}

static organ_status report_read(void *context, organ_lora_row *row, organ_error *error)
{
    const organ_lora_rewrite *const rw = context;
    organ_progress_advance(rw->progress, row->pair->a->bytes + row->pair->b->bytes, NULL, NULL);
    return error->status;
}

static uint64_t all_bytes(const organ_lora_rewrite *rw)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < rw->count; k++)
        bytes += rw->rows[k].pair->a->bytes + rw->rows[k].pair->b->bytes;
    return bytes;
}

static uint64_t bytes_of_row(const void *rows, size_t k) { return rewrite_bytes_of((const organ_lora_row *)rows + k); }

organ_status organ_lora_survey(organ_lora_rewrite *rw, organ_error *error)
{
    rw->rank = 0;
    organ_progress_begin(rw->progress, "reading", all_bytes(rw), rw->count);
    if (organ_assignment_create(rw->engine->ranks, rw->count, bytes_of_row, rw->rows, &rw->assignment, error) ==
        ORGAN_OK)
        for_rows(rw, /*writer=*/NULL, survey_row, report_read, rw, error);
    organ_assignment_complete(&rw->assignment, "choosing the rank of each module", &rw->rows->rank,
                              sizeof *rw->rows - offsetof(organ_lora_row, rank), sizeof *rw->rows, error);
    for (size_t k = 0; k < rw->count; k++)
        rw->rank = rw->rows[k].rank > rw->rank ? rw->rows[k].rank : rw->rank;
    organ_progress_end(rw->progress);
    return error->status;
}

/* ---- factors ---- */

/* B is U sqrt(sigma) and A is sqrt(sigma) V^T, so that row k of A and column k of B have equal norms. `a` is [at
 * least rank][svd->cols]; `b` is [svd->rows][padded], of which the function sets the first `rank` columns. */
static void factors_of_leading(const organ_svd *svd, size_t rank, size_t padded, float *a, float *b)
{
    for (size_t k = 0; k < rank; k++) {
        const float root = sqrtf(svd->sigma[k]);
        for (size_t j = 0; j < svd->cols; j++)
            a[k * svd->cols + j] = root * svd->vt[k * svd->cols + j];
        for (size_t i = 0; i < svd->rows; i++)
            b[i * padded + k] = root * svd->u[k * svd->rows + i];
    }
}

/* The squares of all singular values of the product are added to sums[0], and those of the ones that are cut to
 * sums[1]. If the pair is no stack, the singular values are copied to row->sigma. */
static organ_status cut_expert(const organ_kernels *kernels, organ_lora_row *row, const organ_lora_factors *f,
                               const organ_lora_factors *to, double sums[2], organ_error *error)
{
    organ_svd svd;
    if (organ_factored_svd(kernels, f->b, f->a, f->out, f->rank, f->in, &svd, error) != ORGAN_OK)
        return error->status;
    const size_t rank = organ_min((size_t)row->rank, svd.rank);
    factors_of_leading(&svd, rank, to->rank, to->a, to->b);
    sums[0] += tail_energy(&svd, 0);
    sums[1] += tail_energy(&svd, rank);
    if (row->pair->experts == 1) { /* the report lists no singular values of stacks */
        free(row->sigma);
        row->sigma = organ_floats(svd.rank, 1);
        row->sigma_count = row->sigma ? svd.rank : 0;
        if (row->sigma)
            memcpy(row->sigma, svd.sigma, svd.rank * sizeof *svd.sigma);
        else
            organ_fail_memory(error, row->pair->module);
    }
    organ_svd_release(&svd);
    return error->status;
}

static organ_status cut_factors(const organ_kernels *kernels, organ_lora_row *row, const organ_lora_factors *f,
                                const organ_lora_factors *to, organ_error *error)
{
    double sums[2] = {0, 0};
    for (size_t e = 0; e < f->experts && !error->status; e++) {
        const organ_lora_factors one = organ_lora_factors_of(f, e), made = organ_lora_factors_of(to, e);
        cut_expert(kernels, row, &one, &made, sums, error);
    }
    row->residual = sums[0] > 0 ? sqrt(sums[1] / sums[0]) : 0;
    return error->status;
}

/* Returns the relative error that rounding B, with the scale folded into it, to the type of the factors makes. */
static double folding_error(const organ_kernels *kernels, organ_dtype dtype, const float *b, size_t n)
{
    enum { STEP = 1024 };
    float codes[STEP], back[STEP];
    double miss = 0, all = 0;
    for (size_t at = 0; at < n; at += STEP) {
        const size_t m = n - at < STEP ? n - at : STEP;
        organ_narrow(kernels, dtype, b + at, codes, m);
        organ_widen(kernels, dtype, codes, back, m);
        for (size_t k = 0; k < m; k++) {
            const double value = (double)b[at + k], off = (double)back[k] - value;
            miss += off * off;
            all += value * value;
        }
    }
    return all > 0 ? sqrt(miss / all) : 0;
}

/* The factors are cut to row->rank if is_cut, are padded with zeros to the common rank rw->rank, and have the scale
 * folded into B unless rw->keeps. */
organ_status organ_lora_make_factors(const organ_lora_rewrite *rw, organ_lora_row *row, organ_error *error)
{
    organ_lora_factors f = {0}, *const to = &row->factors;
    const size_t padded = (size_t)rw->rank;
    const double scale = rw->keeps ? 1 : row->pair->scale;
    if (rw->source)
        rw->source->read(rw, row, &f, error);
    else
        organ_lora_factors_read(rw->adapter, row->pair, rw->engine->kernels, scale, &f, error);
    if (!error->status) {
        *to = (organ_lora_factors){.rank = padded,
                                   .in = f.in,
                                   .out = f.out,
                                   .a = calloc(f.experts * padded, f.in * sizeof(float)),
                                   .b = calloc(f.experts * f.out, padded * sizeof(float)),
                                   .experts = f.experts};
        if (!to->a || !to->b)
            organ_fail_memory(error, row->pair->module);
        else if (rw->source ? f.rank > row->rank : is_cut(rw, row))
            cut_factors(rw->engine->kernels, row, &f, to, error);
        else {
            for (size_t e = 0; e < f.experts; e++)
                memcpy(to->a + e * padded * f.in, f.a + e * f.rank * f.in, f.rank * f.in * sizeof(float));
            for (size_t i = 0; i < f.experts * f.out; i++)
                memcpy(to->b + i * padded, f.b + i * f.rank, f.rank * sizeof(float));
        }
        if (!error->status)
            row->folding_error = folding_error(rw->engine->kernels, row->dtype, to->b, f.experts * to->out * padded);
    }
    organ_lora_factors_release(&f);
    return error->status;
}

/* ---- writing ---- */

typedef struct rewriting {
    organ_lora_rewrite *rewrite;
    const organ_lora_output *output;
    organ_adapter_making making;
    char repair_pair[17]; /* of the old adapter */
    organ_piece *units;
    organ_lora_row **row_of; /* the row of each unit; NULL: a copied tensor */
    organ_adapter_writer *writer;
} rewriting;

#define ROW(member) ORGAN_STRUCT_FIELD(organ_lora_row, member, EXACT)
static const organ_struct_field row_fields[] = {ROW(norm), ROW(residual), ROW(folding_error)};

static organ_status write_factors(void *context, organ_lora_row *row, organ_error *error)
{
    const rewriting *const w = context;
    const organ_adapter_pair *const pair = row->pair;
    json_t *const sigma = json_array();
    for (size_t k = 0; k < row->sigma_count; k++)
        json_array_append_new(sigma, organ_exact_json((double)row->sigma[k]));
    json_t *const results = ORGAN_STRUCT_ADD(ORGAN_OBJECT(SET("sigma", sigma)), row_fields, row);
    if (organ_adapter_begin(w->writer, row->unit, error) ||
        organ_adapter_add_factors(w->writer, pair, row->dtype, &row->factors, error))
        json_decref(results);
    else
        organ_adapter_end(w->writer, results, error);
    organ_lora_factors_release(&row->factors);
    organ_progress_advance(w->rewrite->progress, pair->a->bytes + pair->b->bytes, pair->module, NULL);
    return error->status;
}

static organ_status rewrite_fill(void *context, organ_adapter_writer *writer, organ_error *error)
{
    rewriting *const w = context;
    w->writer = writer;
    return for_rows(w->rewrite, writer, organ_lora_make_factors, write_factors, w, error);
}

/* Returns false if the line of the journal lacks a number: the unit is made again. */
static bool rewrite_recall(void *context, size_t unit, const json_t *results)
{
    organ_lora_row *const row = ((const rewriting *)context)->row_of[unit];
    const json_t *const sigma = json_object_get(results, "sigma");
    const size_t count = json_array_size(sigma);
    float *const values = organ_floats(count + 1, 1);
    bool known = row && values && ORGAN_STRUCT_READ(results, row_fields, row);
    for (size_t k = 0; k < count && known; k++) {
        double value = 0;
        known = organ_exact_value(json_array_get(sigma, k), &value);
        values[k] = (float)value;
    }
    if (!known || count == 0) {
        free(values);
        return known;
    }
    free(row->sigma);
    row->sigma = values;
    row->sigma_count = count;
    return true;
}

static json_t *rewrite_config(void *context, organ_error *error)
{
    json_t *const config = json_deep_copy(((const rewriting *)context)->output->config);
    if (!config)
        organ_fail_memory(error, ((const rewriting *)context)->output->write.output);
    return config;
}

static json_t *rewrite_parameters(void *context)
{
    const rewriting *const w = context;
    return organ_json_joined(ORGAN_OBJECT(SET_IF(w->rewrite->keeps, "scale", organ_exact_json(w->rewrite->scale)),
                                          SET_IF(w->rewrite->mlx, "mlx", json_true()),
                                          SET_COUNT("max", w->rewrite->max), SET_REAL("energy", w->rewrite->energy),
                                          SET("config", json_deep_copy(w->output->config))),
                             w->output->parameters ? w->output->parameters(w->output->context) : json_object());
}

static organ_status rewrite_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const organ_lora_output *const o = ((const rewriting *)context)->output;
    return o->inputs ? o->inputs(o->context, inputs, error) : ORGAN_OK;
}

static json_t *rewrite_document(void *context, const organ_writing *writing)
{
    const rewriting *const w = context;
    w->rewrite->made = *organ_write_output(writing);
    w->rewrite->bytes = w->making.bytes;
    return w->output->document(w->output->context);
}

/* Adds the units of tensors whose values have `width` bytes. */
static organ_status list_units(rewriting *w, unsigned width, organ_error *error)
{
    const organ_lora_rewrite *const rw = w->rewrite;
    organ_adapter_making *const m = &w->making;
    for (size_t k = 0; k < w->output->rest_count; k++) {
        const organ_tensor *const t = w->output->rest[k];
        if (organ_dtype_describe(t->dtype)->bytes != width)
            continue;
        w->units[m->unit_count] = organ_piece_same(t);
        w->units[m->unit_count++].model = w->output->rest_models ? w->output->rest_models[k] : rw->adapter->model;
        m->name_bytes += strlen(t->name);
    }
    for (size_t k = 0; k < rw->count; k++) {
        organ_lora_row *const row = &rw->rows[k];
        const organ_adapter_pair *const pair = row->pair;
        if (organ_dtype_describe(row->dtype)->bytes != width)
            continue;
        char *const key = organ_adapter_key(pair, rw->adapter->gguf, 'A');
        if (!key)
            return organ_fail_memory(error, pair->module);
        m->name_bytes += 2 * strlen(key);
        free(key);
        row->unit = m->unit_count;
        w->row_of[m->unit_count] = row;
        w->units[m->unit_count++] =
            (organ_piece){.name = pair->module,
                          .cost = pair->a->bytes + pair->b->bytes,
                          .bytes = (pair->in_features + pair->out_features) * pair->experts * rw->rank * width};
    }
    return ORGAN_OK;
}

/* `whole` is the old adapter, by its directory. */
static void describe_output(rewriting *w, const organ_model *whole)
{
    const organ_lora_output *const o = w->output;
    const organ_adapter *const old = w->rewrite->adapter;
    w->making =
        (organ_adapter_making){.write = {.model = whole,
                                         .requested = &o->write,
                                         .check.early = true,
                                         .names = {o->view->files.json, o->view, w->rewrite->stage, "adapter", NULL},
                                         .progress = w->rewrite->progress,
                                         .engine = w->rewrite->engine,
                                         .context = w,
                                         .check.parameters = rewrite_parameters,
                                         .check.inputs = rewrite_inputs,
                                         .report.document = rewrite_document},
                               .tensors = 2 * w->rewrite->count + o->rest_count,
                               .architecture = old->gguf ? old->architecture : NULL,
                               .mlx = w->rewrite->mlx,
                               .alpha = w->rewrite->keeps ? w->rewrite->scale * (double)w->rewrite->rank : 0,
                               .files_of = old,
                               .repair_pair = *w->repair_pair ? w->repair_pair : NULL,
                               .fill = rewrite_fill,
                               .recall = rewrite_recall,
                               .config = rewrite_config};
}

organ_status organ_lora_write(organ_lora_rewrite *rw, const organ_lora_output *output, json_t **report,
                              organ_error *error)
{
    const size_t most = rw->count + output->rest_count + 1;
    const organ_model whole = organ_adapter_whole(rw->adapter);
    rewriting w = {.rewrite = rw,
                   .output = output,
                   .units = organ_rows_take(most, sizeof *w.units),
                   .row_of = organ_rows_take(most, sizeof *w.row_of)};
    if (!w.units || !w.row_of)
        organ_fail_memory(error, output->write.output);
    else
        organ_repair_pair_of(rw->adapter, w.repair_pair, error);
    describe_output(&w, &whole);
    w.making.units = w.units;
    for (unsigned width = 8; width > 0 && !error->status; width /= 2) /* wide values come first */
        list_units(&w, width, error);
    if (!error->status)
        organ_adapter_make(&w.making, report, error);
    organ_rows_free(w.units);
    organ_rows_free(w.row_of);
    return error->status;
}

/* ---- documents ---- */

static json_t *row_json(const void *rows, size_t k)
{
    const organ_lora_row *const row = (const organ_lora_row *)rows + k;
    const organ_adapter_pair *const pair = row->pair;
    return ORGAN_OBJECT(SET_TEXT("module", pair->module), SET_TEXT("role", organ_anatomy_role_name(&pair->anatomy)),
                        SET_INDEX("layer", pair->anatomy.layer), SET_COUNT("rank_before", pair->rank),
                        SET_COUNT("rank", row->rank), SET_REAL("scale", pair->scale), SET_REAL("norm", row->norm),
                        SET_REAL("residual", organ_billionth(row->residual)),
                        SET_REAL("explained", organ_billionth(1 - row->residual * row->residual)),
                        SET_REAL("folding_error", organ_billionth(row->folding_error)), SET_DTYPE("dtype", row->dtype),
                        SET("sigma", row->sigma ? organ_json_reals(row->sigma_count, row->sigma) : json_null()));
}

json_t *organ_lora_rows_json(const organ_lora_rewrite *rw) { return organ_json_rows(rw->count, row_json, rw->rows); }

void organ_lora_rewrite_release(organ_lora_rewrite *rw)
{
    for (size_t k = 0; k < rw->count; k++) {
        free(rw->rows[k].sigma);
        organ_lora_factors_release(&rw->rows[k].factors);
    }
    organ_assignment_release(&rw->assignment);
    organ_rows_free(rw->rows);
    rw->rows = NULL;
    rw->count = 0;
}
