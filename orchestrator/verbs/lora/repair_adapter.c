/* SPDX-License-Identifier: MIT
 * Makes the adapter of another verb's changes with the plan, the units and the report of an extraction. The model
 * stands for both the tuned one and the base, which does not exist yet. */
#include "orchestrator/verbs/lora/repair_adapter.h"

#include "formats/base/rows.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/verbs/lora/lora_parts.h"

#include <stdlib.h>

struct organ_repair_adapter {
    organ_lora_extract_options options;
    organ_lora_job job;
    organ_name_table modules; /* name of the tensor -> index of its module */
    organ_status (*make)(void *context, organ_error *error);
    void *context;
};

static organ_status fill_adapter(void *context, organ_adapter_writer *writer, organ_error *error)
{
    organ_repair_adapter *const a = context;
    a->job.writer = writer;
    organ_lora_number_units(&a->job);
    a->make(a->context, error);
    a->job.writer = NULL;
    return error->status;
}

static organ_status plan_modules(organ_repair_adapter *a, const bool *changed, organ_error *error)
{
    organ_lora_job *const job = &a->job;
    if (!(job->untapped = malloc(job->tuned->tensor_count + 1)))
        return organ_fail_memory(error, job->tuned->path);
    for (size_t k = 0; k < job->tuned->tensor_count; k++)
        job->untapped[k] = !changed[k];
    if (organ_lora_plan(job, error) != ORGAN_OK || organ_lora_repair_room(job, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->module_count; k++)
        if (!organ_name_table_put(&a->modules, job->modules[k].tuned->name, k))
            return organ_fail_memory(error, job->tuned->path);
    return ORGAN_OK;
}

organ_status organ_repair_adapter_open(const organ_repair_adapter_options *o, const organ_engine *engine,
                                       const organ_progress *progress, organ_repair_adapter **adapter,
                                       organ_error *error)
{
    organ_repair_adapter *const a = *adapter = calloc(1, sizeof *a);
    if (!a)
        return organ_fail_memory(error, o->output);
    a->options = organ_lora_extract_defaults();
    a->options.base = o->base;
    a->options.tuned = o->model;
    a->options.rank = o->rank;
    a->options.dtype = o->dtype;
    a->options.write.output = o->output;
    a->options.write.force = o->force;
    a->options.write.resume = o->resume;
    a->options.write.dry_run = o->dry_run;
    a->job = (organ_lora_job){
        .options = &a->options, .engine = engine, .progress = progress, .repairs = true, .inner = true};
    if (organ_lora_open(&a->job, o->model, error) != ORGAN_OK)
        return error->status;
    return plan_modules(a, o->changed, error);
}

void organ_repair_adapter_close(organ_repair_adapter *a)
{
    if (!a)
        return;
    organ_lora_close(&a->job);
    organ_name_table_release(&a->modules);
    free(a);
}

static const size_t *find(const organ_repair_adapter *a, const char *tensor)
{
    return organ_name_table_find(&a->modules, tensor);
}

bool organ_repair_adapter_has(const organ_repair_adapter *a, const char *tensor) { return find(a, tensor) != NULL; }

organ_status organ_repair_adapter_write(organ_repair_adapter *a, const char *pair,
                                        organ_status (*make)(void *context, organ_error *error), void *context,
                                        json_t **report, organ_error *error)
{
    a->make = make;
    a->context = context;
    a->job.making.repair_pair = pair;
    return organ_lora_make_adapter(&a->job, a, fill_adapter, report, error);
}

bool organ_repair_adapter_done(const organ_repair_adapter *a, const char *tensor)
{
    const size_t *const at = find(a, tensor);
    return at && organ_adapter_done(a->job.writer, a->job.unit_of[*at]);
}

/* `target` becomes E = weights + target - values, what the factors shall correct. */
static void subtract(organ_lora_module *m, const organ_repair_adapter_matrix *x)
{
    for (size_t k = 0; k < x->rows * x->h->size; k++) {
        const double change = (double)x->weights[k] - (double)x->values[k];
        m->change += change * change;
        m->norm += (double)x->values[k] * (double)x->values[k];
        x->target[k] += (float)change;
    }
}

/* Adds B A to `values`, and ||weights - values - B A||^2 to m->rest. */
static void apply(const organ_repair_adapter *a, organ_lora_module *m, const organ_lora_factors *f,
                  const organ_repair_adapter_matrix *x, void *scratch)
{
    double rest = 0;
    organ_lora_add_product(a->job.engine, f, x->values, x->values, scratch);
    for (size_t k = 0; k < x->rows * x->h->size; k++) {
        const double left = (double)x->weights[k] - (double)x->values[k];
        rest += left * left;
    }
    m->rest += rest;
}

organ_status organ_repair_adapter_add(organ_repair_adapter *a, const organ_repair_adapter_matrix *x, organ_error *error)
{
    organ_lora_job *const job = &a->job;
    const size_t at = *find(a, x->tensor);
    organ_lora_module *const m = &job->modules[at];
    const double started = organ_seconds_now();
    ORGAN_RELEASED_BY(organ_correction_release) organ_correction c = {0};
    organ_lora_factors f;
    double outputs = 0;
    ORGAN_OWNED void *const scratch = aligned_alloc(64, organ_products_scratch(job->engine));
    if (!scratch)
        return organ_fail_memory(error, x->tensor);
    if (organ_outputs_energy(job->engine, x->tensor, x->weights, x->rows, x->h, &outputs, error) == ORGAN_OK) {
        subtract(m, x);
        organ_lora_correct(job, m, x->target, x->rows, x->h, &c, &f, error);
    }
    if (!error->status) {
        m->outputs += outputs;
        apply(a, m, &f, x, scratch);
        m->seconds += organ_seconds_now() - started;
        organ_lora_store_correction(job, at, x->matrix, &f, error);
    }
    return error->status;
}

organ_status organ_repair_adapter_restore(organ_repair_adapter *a, const char *tensor, uint64_t matrix, float *values,
                                          size_t rows, size_t cols, organ_error *error)
{
    organ_lora_job *const job = &a->job;
    const size_t at = *find(a, tensor);
    const organ_lora_module *const m = &job->modules[at];
    ORGAN_RELEASED_BY(organ_lora_factors_release)
    organ_lora_factors all = {.experts = (size_t)organ_weight_matrices(m->base).count, .in = cols, .out = rows};
    if (m->rank == 0)
        return ORGAN_OK;
    ORGAN_OWNED void *const scratch = aligned_alloc(64, organ_products_scratch(job->engine));
    if (!scratch)
        organ_fail_memory(error, tensor);
    else if (organ_adapter_read_factors(job->writer, job->unit_of[at], m->parameter, &all, error) == ORGAN_OK) {
        const organ_lora_factors f = organ_lora_factors_of(&all, (size_t)matrix);
        organ_lora_add_product(job->engine, &f, values, values, scratch);
    }
    return error->status;
}

uint64_t organ_repair_adapter_memory(const organ_engine *engine, uint64_t rows, uint64_t cols, unsigned rank)
{
    const uint64_t most = organ_min(rank, (size_t)organ_min((size_t)rows, (size_t)cols));
    return organ_correction_memory(engine, rows, cols, most) + organ_products_scratch(engine) +
           sizeof(float) * 2 * most * (rows + cols);
}
