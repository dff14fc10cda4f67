/* SPDX-License-Identifier: MIT
 * Makes the units of an extraction: one module after another, or several at the same time, each on a team of the
 * workers. The factors of such a batch are stored one after another in the usual order, so files, reports and errors do
 * not depend on the batches. */
#include "orchestrator/verbs/lora/lora_parts.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/machine/workers.h"
#include "orchestrator/stream/memory.h"

#include <math.h>
#include <stdlib.h>

#define MODULES ((size_t)4)          /* modules of a batch for each worker */
#define VALUES  ((uint64_t)16 << 20) /* values of their weights for each worker, but one module always may be in it */
#define TABLES  ((uint64_t)1 << 20)  /* bytes of a module's readers and of its part of the teams */

typedef struct extract_batch_module {
    size_t unit;
    organ_lora_module *module;
    organ_lora_change change;
    uint64_t bytes; /* memory of its computation */
    bool failed;    /* atomic */
    organ_error error;
} extract_batch_module;

typedef struct extract_batch {
    organ_lora_job *job;
    extract_batch_module *modules; /* in the order of the units */
    size_t count;
    double *costs;         /* of each module */
    size_t *order, *sizes; /* organ_workers_divide */
    uint64_t values;
} extract_batch;

static void batch_release(extract_batch *b)
{
    for (size_t k = 0; k < b->count; k++)
        organ_lora_change_close(&b->modules[k].change);
    ORGAN_FREE_ARRAYS(b->modules, b->costs, b->order, b->sizes);
}

/* ---- which modules ---- */

static bool is_missing(const organ_lora_job *job, size_t unit)
{
    return !job->units[unit].same && !(job->contents[unit].module && job->repairs) &&
           !organ_adapter_done(job->writer, unit);
}

/* Teams have places for twice as many threads as there are, so that threads without a module of their own help where
 * one lasts longer. */
static void divide_workers(extract_batch *b)
{
    organ_workers_divide(b->job->engine->workers, b->costs, b->count, /*places=*/2, b->order, b->sizes);
}

/* Sets the memory of each module, and returns that of the batch: as many modules as there are workers are computed at
 * the same time, at most those with the largest memory, and all of them keep their factors. */
static uint64_t divide_memory(extract_batch *b)
{
    const organ_lora_job *const job = b->job;
    const size_t workers = organ_workers_count(job->engine->workers);
    uint64_t largest = 0, kept = 0;
    for (size_t k = 0; k < b->count; k++) {
        extract_batch_module *const x = &b->modules[b->order[k]];
        const organ_matrices shape = organ_weight_matrices(x->module->base);
        x->bytes = x->error.status ? 0 : organ_lora_change_bytes(job, x->module, &x->change, b->sizes[k]);
        largest = organ_max(largest, x->bytes);
        kept += TABLES +
                shape.count * organ_lora_max_rank(job, x->module->base) * (shape.rows + shape.cols) * sizeof(float);
    }
    return kept + organ_min(b->count, workers) * largest;
}

/* Returns false, without the module, if the batch would exceed its limits. A module whose weights cannot be opened is
 * the last one. */
static bool add_module(extract_batch *b, size_t unit)
{
    const organ_lora_job *const job = b->job;
    organ_lora_module *const m = job->contents[unit].module;
    const organ_matrices shape = organ_weight_matrices(m->base);
    const uint64_t values = b->values + m->base->elements;
    if (b->count > 0 &&
        (b->modules[b->count - 1].error.status || values > VALUES * organ_workers_count(job->engine->workers)))
        return false;
    const double side = job->options->exact ? (double)organ_min(shape.rows, shape.cols) : 1;
    b->costs[b->count] = (double)m->base->elements * side;
    extract_batch_module *const x = &b->modules[b->count++];
    *x = (extract_batch_module){.unit = unit, .module = m};
    organ_lora_change_open(job, m, &x->change, &x->error);
    divide_workers(b);
    const uint64_t bytes = b->count > 1 ? divide_memory(b) : 0;
    organ_memory_prefer(job->engine, bytes);
    if (bytes > organ_engine_memory(job->engine)) {
        organ_lora_change_close(&x->change);
        b->count--;
        return false;
    }
    b->values = values;
    return true;
}

static organ_status find_modules(extract_batch *b, size_t unit, organ_error *error)
{
    const size_t workers = organ_workers_count(b->job->engine->workers), most = workers > 1 ? MODULES * workers : 1;
    b->modules = calloc(most, sizeof *b->modules);
    b->costs = calloc(most, sizeof *b->costs);
    b->order = calloc(most, sizeof *b->order);
    b->sizes = calloc(most, sizeof *b->sizes);
    if (!b->modules || !b->costs || !b->order || !b->sizes)
        return organ_fail_memory(error, b->job->options->write.output);
    for (; unit < b->job->making.unit_count && b->count < most; unit++)
        if (is_missing(b->job, unit) && (!b->job->contents[unit].module || !add_module(b, unit)))
            break;
    divide_workers(b);
    divide_memory(b);
    return ORGAN_OK;
}

/* ---- computing and storing ---- */

static bool failed_before(const extract_batch *b, size_t number)
{
    for (size_t k = 0; k < number; k++)
        if (__atomic_load_n(&b->modules[k].failed, __ATOMIC_RELAXED))
            return true;
    return false;
}

/* After a failure only modules before the failed one begin: those after it will not be stored. */
static void compute_module(void *context, size_t k, organ_workers *team)
{
    extract_batch *const b = context;
    extract_batch_module *const x = &b->modules[b->order[k]];
    organ_engine engine = *b->job->engine;
    engine.workers = team;
    engine.ranks = NULL;
    engine.memory = x->bytes;
    if (failed_before(b, b->order[k]))
        return;
    if (x->error.status || organ_lora_compute(b->job, x->module, &engine, &x->change, &x->error) != ORGAN_OK)
        __atomic_store_n(&x->failed, true, __ATOMIC_RELAXED);
}

static organ_status advance(organ_lora_job *job, size_t unit, const char *remark)
{
    organ_progress_advance(job->progress, job->units[unit].cost, job->units[unit].name, remark);
    return ORGAN_OK;
}

static organ_status store_module(organ_lora_job *job, extract_batch_module *x, organ_error *error)
{
    organ_lora_module *const m = x->module;
    char remark[64] = "unchanged";
    job->note_target = &m->note;
    for (size_t k = 0; k < 2; k++)
        organ_lora_note(job, x->change.notes[k]);
    *error = x->error;
    if (error->status || organ_adapter_begin(job->writer, x->unit, error) ||
        organ_lora_store(job, m, &x->change, error) ||
        organ_adapter_end(job->writer, organ_lora_module_results(m), error))
        return error->status;
    if (m->rank)
        organ_snprintf(remark, sizeof remark, "rank %zu, %.1f %% explained", m->rank, 100 * (1 - m->rest / m->change));
    organ_lora_change_close(&x->change);
    return advance(job, x->unit, remark);
}

/* Makes the unit of a module, and of those after it that are computed at the same time. */
static organ_status make_modules(organ_lora_job *job, size_t unit, organ_error *error)
{
    ORGAN_RELEASED_BY(batch_release) extract_batch b = {.job = job};
    if (find_modules(&b, unit, error) != ORGAN_OK)
        return error->status;
    extract_batch_module *const x = b.modules;
    if (b.count > 1)
        organ_workers_run_teams(job->engine->workers, b.sizes, b.count, compute_module, &b, error);
    else if (!x->error.status)
        organ_lora_compute(job, x->module, job->engine, &x->change, &x->error);
    for (size_t k = 0; k < b.count && !error->status; k++)
        store_module(job, &b.modules[k], error);
    return error->status;
}

static organ_status make_other(organ_lora_job *job, size_t unit, organ_error *error)
{
    if (organ_adapter_begin(job->writer, unit, error) ||
        organ_lora_store_packed(job, job->contents[unit].other, error) ||
        organ_adapter_end(job->writer, json_object(), error))
        return error->status;
    return advance(job, unit, /*remark=*/NULL);
}

organ_status organ_lora_make_units(organ_lora_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->making.unit_count && !error->status; k++)
        if (is_missing(job, k))
            (job->contents[k].module ? make_modules : make_other)(job, k, error);
    return error->status;
}
