/* SPDX-License-Identifier: MIT
 * Mixed widths: what each target costs with codes of 2, 3, 4 and 8 bits is measured along the text, then one budget is divided. */
#include "formats/base/path.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/output/experiment.h"
#include "orchestrator/surgery/algebra/floats.h"
#include "orchestrator/surgery/allocate/curves.h"
#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/precision/quantize_job.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CHOICES     (ORGAN_WIDTH_LEVELS + 1) /* the last: as it is */
#define NARROW      32                       /* columns of a group */
#define SCALE_BITS  16.0
#define SHAPE_BYTES 16.0

struct organ_quantize_widths {
    organ_quantize_job *job;
    organ_targets held; /* the targets that the scheme can hold */
    organ_allocation curves;
    size_t *of, *chosen; /* to which of the curves each target belongs; levels of these */
    double *sizes;       /* bits of each at each choice */
    double budget, spent;
    size_t uniform;
    json_t *identity;
    organ_curves_work work;
    organ_curves *walk; /* NULL: curves are known */
    organ_gptq_inputs inputs;
    const organ_calibration *inputs_of;
    int32_t layer; /* whose inputs they are */
    size_t tokens, windows;
};

/* ---- choices ---- */

static size_t group_of(size_t level, uint64_t cols)
{
    return level % 2 != 0 ? NARROW : cols % 128 == 0 ? 128 : cols % 64 == 0 ? 64 : NARROW;
}

/* What a target becomes; NULL: it stays. */
static const organ_quantize_scheme *scheme_at(size_t level, uint64_t cols)
{
    char name[32];
    if (level >= ORGAN_WIDTH_LEVELS)
        return NULL;
    snprintf(name, sizeof name, "int%d-group%zu", (int)organ_width_levels[level], group_of(level, cols));
    return organ_quantize_scheme_named(name);
}

/* ---- what goes with what ---- */

organ_status organ_quantize_widths_check(const organ_quantize_options *o, bool mixed, organ_error *error)
{
    const organ_allocate_options *const a = &o->allocate;
    organ_budget budget;
    if (organ_allocate_check(a, error) != ORGAN_OK)
        return error->status;
    if (!a->allocate && !mixed)
        return ORGAN_OK;
    if (!mixed)
        return organ_fail(error, ORGAN_USAGE, "--allocate has no meaning with scheme %s, which has one width: mixed has 2, 3, 4 and 8 bits",
                          o->scheme);
    if (!a->allocate || !a->budget)
        return organ_fail(error, ORGAN_USAGE, "scheme %s needs --allocate global and --budget, bits a weight (3.5bpw) or bytes (9GB)",
                          o->scheme);
    if (!o->method || strcmp(o->method, "gptq") != 0)
        return organ_fail(error, ORGAN_USAGE, "scheme %s needs --method gptq: divergences are measured on a part of its text", o->scheme);
    if (organ_budget_parse(a->budget, &budget, error) != ORGAN_OK)
        return error->status;
    return budget.unit != ORGAN_BUDGET_PERCENT
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, "--budget %s has no meaning for quantize: bits a weight (3.5bpw) or bytes (9GB) have",
                            a->budget);
}

/* ---- how a curve is measured ---- */

static organ_status ready_inputs(organ_quantize_widths *w, const organ_along_matrix *m, organ_error *error)
{
    if (w->inputs_of == m->calibration && w->layer == m->layer->number)
        return ORGAN_OK;
    organ_gptq_inputs_close(&w->inputs);
    w->inputs_of = m->calibration;
    w->layer = m->layer->number;
    return organ_gptq_inputs_open(w->job->engine, m->calibration, m->name, &w->inputs, error);
}

static organ_status make(void *context, const organ_along_matrix *m, size_t level, float *weights, organ_error *error)
{
    organ_quantize_widths *const w = context;
    const size_t rows = (size_t)m->rows, cols = (size_t)m->cols;
    const organ_grid grid = scheme_at(level, m->cols)->grid;
    organ_gptq g = {.name = m->name,
                    .grid = grid,
                    .no_resolve = w->job->options->no_resolve,
                    .rows = rows,
                    .cols = cols,
                    .weights = weights,
                    .values = organ_floats(rows, cols),
                    .scales = organ_floats(rows, cols / grid.size)};
    if (!g.values || !g.scales)
        organ_fail_memory(error, m->name);
    else if (!isfinite(w->job->engine->kernels->amax(weights, rows * cols)))
        organ_quantize_refuse_values(m->name, error);
    else if (ready_inputs(w, m, error) == ORGAN_OK && organ_gptq_run(&w->inputs, &g, error) == ORGAN_OK)
        memcpy(weights, g.values, rows * cols * sizeof *weights);
    free(g.values);
    free(g.scales);
    return error->status;
}

static uint64_t memory(void *context, const organ_tensor *tensor)
{
    const organ_quantize_widths *const w = context;
    const organ_matrices m = organ_tensor_matrices(tensor);
    const organ_grid *const grid = &w->job->scheme->grid;
    return organ_gptq_memory(grid, m.rows, m.cols) + sizeof(float) * m.rows * (m.cols / grid->size);
}

/* ---- opening ---- */

static organ_status list_tensors(organ_quantize_widths *w, organ_error *error)
{
    const organ_quantize_job *const job = w->job;
    w->held.tensors = calloc(job->targets.count + 1, sizeof *w->held.tensors);
    w->of = calloc(job->targets.count + 1, sizeof *w->of);
    if (!w->held.tensors || !w->of)
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < job->targets.count; k++)
        if (!organ_quantize_obstacle(job, job->targets.tensors[k])) {
            w->held.tensors[w->held.count++] = job->targets.tensors[k];
            w->held.elements += job->targets.tensors[k]->elements;
            w->held.bytes += job->targets.tensors[k]->bytes;
        }
    if (!organ_curves_list(&w->held, &w->curves, w->of))
        return organ_fail_memory(error, job->options->model);
    return ORGAN_OK;
}

static organ_status find_sizes(organ_quantize_widths *w, organ_error *error)
{
    w->chosen = calloc(w->curves.count + 1, sizeof *w->chosen);
    w->sizes = calloc((w->curves.count + 1) * CHOICES, sizeof *w->sizes);
    if (!w->chosen || !w->sizes)
        return organ_fail_memory(error, w->job->options->model);
    for (size_t k = 0; k < w->held.count; k++) {
        double *const own = w->sizes + w->of[k] * CHOICES;
        for (size_t l = 0; l < ORGAN_WIDTH_LEVELS; l++)
            own[l] += (double)w->held.tensors[k]->elements *
                      (floor(organ_width_levels[l]) + SCALE_BITS / (double)group_of(l, w->held.tensors[k]->shape[1]));
        own[ORGAN_WIDTH_LEVELS] += 8.0 * (double)w->held.tensors[k]->bytes;
    }
    return ORGAN_OK;
}

/* Bits that the targets may take. */
static organ_status find_budget(organ_quantize_widths *w, organ_error *error)
{
    const organ_quantize_job *const job = w->job;
    const char *const asked = job->options->allocate.budget;
    double plain = SHAPE_BYTES * (double)w->held.count - (double)w->held.bytes, least = 0;
    organ_budget budget;
    if (organ_budget_parse(asked, &budget, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->model->tensor_count; k++)
        plain += (double)job->model->tensors[k].bytes;
    for (size_t k = 0; k < w->curves.count; k++)
        least += w->sizes[k * CHOICES];
    const bool bits = budget.unit == ORGAN_BUDGET_BITS;
    w->budget = bits ? budget.amount * (double)w->held.elements : 8 * (budget.amount - plain);
    if (w->budget >= least)
        return ORGAN_OK;
    if (bits)
        return organ_fail(error, ORGAN_USAGE, "--budget %s: codes of 2 bits with their scales take %g bits a weight", asked,
                          least / (double)w->held.elements);
    return organ_fail(error, ORGAN_USAGE, "--budget %s: with all targets in 2 bits the tensors take %.0f bytes", asked, plain + least / 8);
}

/* What the curves belong to. */
static organ_status identify(organ_quantize_widths *w, organ_error *error)
{
    const organ_quantize_options *const o = w->job->options;
    char fingerprint[17];
    if (organ_model_fingerprint(w->job->model, fingerprint, error) != ORGAN_OK)
        return error->status;
    w->identity = ORGAN_OBJECT(SET_TEXT("definition", ORGAN_ALLOCATION_DEFINITION), SET_TEXT("model", fingerprint),
                               SET_TEXT("method", o->no_resolve ? "gptq/1" : "gptq-resolved/1"),
                               SET_TEXT("text", organ_along_describe(organ_curves_walk(w->walk))->digest), SET_COUNT("samples", o->samples),
                               SET_COUNT("context", o->context), SET_COUNT("allocate_tokens", organ_allocate_tokens(&o->allocate)),
                               SET_COUNT("allocate_layers", organ_allocate_layers(&o->allocate)));
    return w->identity ? ORGAN_OK : organ_fail_memory(error, o->model);
}

static organ_status open_walk(organ_quantize_widths *w, organ_error *error)
{
    const organ_quantize_options *const o = w->job->options;
    const organ_curves_options options = {.walk = {.text = o->calibration,
                                                   .samples = o->samples,
                                                   .context = o->context,
                                                   .method = "--allocate",
                                                   .verb = "quantise",
                                                   .doing = "measuring divergences with",
                                                   .moments_only = true},
                                          .tokens = organ_allocate_tokens(&o->allocate),
                                          .layers = organ_allocate_layers(&o->allocate)};
    w->curves.levels = organ_width_levels;
    w->curves.level_count = ORGAN_WIDTH_LEVELS;
    w->work = (organ_curves_work){.context = w, .make = make, .memory = memory};
    if (organ_curves_open(&options, w->job->model, &w->held, &w->curves, w->of, &w->work, w->job->engine, w->job->progress, &w->walk,
                          error))
        return error->status;
    const organ_windows *const windows = &organ_curves_rest(w->walk)->windows;
    w->tokens = windows->begin[windows->count];
    w->windows = windows->count;
    return identify(w, error);
}

/* ---- the division ---- */

static organ_status know_curves(organ_quantize_widths *w, organ_error *error)
{
    const char *const file = w->job->options->allocate.file;
    bool known = false;
    if (open_walk(w, error) || (file && organ_allocation_read(&w->curves, w->identity, file, &known, error)) || known)
        return error->status;
    if ((file && organ_allocation_check_place(file, error)) || organ_curves_run(w->walk, error))
        return error->status;
    return file ? organ_allocation_write(&w->curves, w->identity, file, error) : ORGAN_OK;
}

static void stop_measuring(organ_quantize_widths *w)
{
    organ_curves_close(w->walk);
    organ_gptq_inputs_close(&w->inputs);
    w->walk = NULL;
    w->inputs_of = NULL;
}

static void divide(organ_quantize_widths *w)
{
    organ_quantize_job *const job = w->job;
    w->spent = organ_allocation_choose(&w->curves, w->sizes, w->budget, w->chosen, &w->uniform);
    for (size_t k = 0; k < w->held.count; k++)
        job->scheme_of[w->held.tensors[k] - job->model->tensors] = scheme_at(w->chosen[w->of[k]], w->held.tensors[k]->shape[1]);
    organ_progress_note(job->progress, "allocation: by the curves %.4g nats a token, where %g bits a weight for each tensor cost %.4g",
                        w->curves.cost, organ_width_levels[w->uniform < ORGAN_WIDTH_LEVELS ? w->uniform : ORGAN_WIDTH_LEVELS - 1],
                        w->curves.uniform_cost);
}

/* Measuring takes long: what would refuse the output is found before. */
static organ_status check_output(const organ_quantize_job *job, organ_error *error)
{
    const organ_quantize_options *const o = job->options;
    if (o->dry_run || organ_output_spares(o->output, job->model, error) != ORGAN_OK)
        return error->status;
    return organ_output_check(o->output, organ_output_like(job->model), o->force, error);
}

organ_status organ_quantize_widths_find(organ_quantize_job *job, organ_error *error)
{
    organ_quantize_widths *const w = job->widths = calloc(1, sizeof *w);
    job->scheme_of = calloc(job->model->tensor_count + 1, sizeof *job->scheme_of);
    if (!w || !job->scheme_of)
        return organ_fail_memory(error, job->options->model);
    w->job = job;
    if (check_output(job, error) || list_tensors(w, error) || w->held.count == 0 || find_sizes(w, error) || find_budget(w, error) ||
        know_curves(w, error))
        return error->status;
    stop_measuring(w);
    divide(w);
    return ORGAN_OK;
}

void organ_quantize_widths_close(organ_quantize_widths *w)
{
    if (!w)
        return;
    stop_measuring(w);
    organ_allocation_release(&w->curves);
    json_decref(w->identity);
    free(w->held.tensors);
    free(w->of);
    free(w->chosen);
    free(w->sizes);
    free(w);
}

/* ---- what is told ---- */

json_t *organ_quantize_widths_parameters(const organ_quantize_options *o)
{
    const organ_allocate_options *const a = &o->allocate;
    return ORGAN_OBJECT(SET_TEXT("allocate", a->allocate), SET_TEXT("budget", a->budget), SET_COUNT("tokens", organ_allocate_tokens(a)),
                        SET_COUNT("layers", organ_allocate_layers(a)));
}

/* Of codes, or of the values as they are. */
static double bits_of(const organ_quantize_widths *w, size_t tensor, size_t choice)
{
    return choice < ORGAN_WIDTH_LEVELS ? floor(organ_width_levels[choice])
                                       : w->sizes[tensor * CHOICES + choice] / (double)w->curves.tensors[tensor].elements;
}

static double cost_of(const organ_allocation_tensor *t, size_t choice) { return choice < ORGAN_WIDTH_LEVELS ? t->cost[choice] : 0; }

static json_t *tensor_json(const void *context, size_t k)
{
    const organ_quantize_widths *const w = context;
    const organ_allocation_tensor *const t = &w->curves.tensors[k];
    return ORGAN_OBJECT(SET_BYTES("name", t->name), SET_TEXT("role", t->role), SET_INDEX("layer", t->layer),
                        SET_COUNT("elements", t->elements), SET_REAL("bits", bits_of(w, k, w->chosen[k])),
                        SET_REAL("bits_per_weight", w->sizes[k * CHOICES + w->chosen[k]] / (double)t->elements),
                        SET_FLAG("quantised", w->chosen[k] < ORGAN_WIDTH_LEVELS), SET_REAL("cost", cost_of(t, w->chosen[k])),
                        SET_REAL("uniform_cost", cost_of(t, w->uniform)), SET_FLAG("between", t->between));
}

json_t *organ_quantize_widths_json(const organ_quantize_widths *w)
{
    const organ_quantize_options *const o = w->job->options;
    size_t measured = 0;
    for (size_t k = 0; k < w->curves.count; k++)
        measured += !w->curves.tensors[k].between;
    return ORGAN_OBJECT(SET_TEXT("definition", ORGAN_ALLOCATION_DEFINITION), SET_TEXT("budget", o->allocate.budget),
                        SET_REAL("bits_per_weight", w->spent / (double)w->held.elements),
                        SET("text", ORGAN_OBJECT(SET_BYTES("name", organ_path_name(o->calibration)),
                                                 SET_HELD("xxh3", json_object_get(w->identity, "text")))),
                        SET_COUNT("tokens", w->tokens), SET_COUNT("windows", w->windows), SET_COUNT("tensors_in_all", w->curves.count),
                        SET_COUNT("measured", measured), SET_REAL("cost", w->curves.cost),
                        SET_REAL("uniform_bits", bits_of(w, 0, w->uniform)), SET_REAL("uniform_cost", w->curves.uniform_cost),
                        SET("tensors", organ_json_rows(w->curves.count, tensor_json, w)));
}
