/* SPDX-License-Identifier: MIT
 * Which weights of the models belong together: those of the adapter's modules, or else of the first clean model's
 * projections. */
#include "orchestrator/surgery/lora/factors.h"
#include "orchestrator/surgery/orthogonality/module_match.h"
#include "orchestrator/surgery/orthogonality/noise_pairs_job.h"

#include <stdlib.h>
#include <string.h>

/* The weight of the module in every model but those that have it already. */
static void find_weights(organ_pairs_job *job, organ_pairs_module *m, const organ_module_place *place,
                         organ_misfits *misfits, organ_error *error)
{
    bool found = true;
    for (size_t k = 0; k < job->sources && found; k++) {
        if (!m->weight[k])
            m->weight[k] = organ_module_weight(place, job->weights[k], job->model[k], misfits, error);
        found = m->weight[k] != NULL;
    }
}

static void match_pair(organ_pairs_job *job, size_t index, organ_globs *globs, organ_misfits *misfits,
                       organ_error *error)
{
    const organ_adapter_pair *const pair = &job->adapter->pairs[index];
    const bool turned = pair->embedding || job->adapter->fan_in_fan_out;
    if (!organ_globs_match(globs, pair->module))
        return;
    organ_pairs_module *const m = &job->modules[job->count++];
    *m = (organ_pairs_module){
        .name = strdup(pair->module), .pair = pair, .anatomy = &pair->anatomy, .index = index, .transposed = turned};
    m->rows = (size_t)(turned ? pair->in_features : pair->out_features);
    m->cols = (size_t)(turned ? pair->out_features : pair->in_features);
    const organ_module_place place = {.module = pair->module, .anatomy = m->anatomy, .rows = m->rows, .cols = m->cols};
    find_weights(job, m, &place, misfits, error);
    if (!m->name)
        organ_fail_memory(error, job->options->clean[0]);
}

/* "model.layers.0.mlp.up_proj" of "model.layers.0.mlp.up_proj.weight"; to be freed. */
static char *noise_pairs_match_module_of(const char *name)
{
    const size_t length = strlen(name);
    return strndup(name, length > 7 && strcmp(name + length - 7, ".weight") == 0 ? length - 7 : length);
}

static void match_weight(organ_pairs_job *job, size_t index, organ_globs *globs, organ_misfits *misfits,
                         organ_error *error)
{
    const organ_weight *const clean = &job->weights[ORGAN_CLEAN_A]->weights[index];
    char *const module = noise_pairs_match_module_of(clean->name);
    if (!module)
        organ_fail_memory(error, job->options->clean[0]);
    if (!module || clean->rank < 2 || !organ_weight_has_numbers(clean) || clean->elements == 0 ||
        !(job->options->modules ? organ_globs_match(globs, module)
                                : organ_role_describe(clean->anatomy.role)->projection)) {
        free(module);
        return;
    }
    const organ_matrices shape = organ_weight_matrices(clean);
    organ_pairs_module *const m = &job->modules[job->count++];
    *m = (organ_pairs_module){.name = module, .anatomy = &clean->anatomy, .index = index};
    m->rows = (size_t)(shape.count * shape.rows);
    m->cols = (size_t)shape.cols;
    m->weight[ORGAN_CLEAN_A] = clean;
    const organ_module_place place = {.module = module,
                                      .tensor = clean->name,
                                      .anatomy = m->anatomy,
                                      .rows = m->rows,
                                      .cols = m->cols,
                                      .rank = clean->rank,
                                      .gguf = job->model[ORGAN_CLEAN_A]->gguf != NULL};
    find_weights(job, m, &place, misfits, error);
}

/* By layer, those in none first, each layer in the order of the file or adapter. */
static int noise_pairs_match_by_layer(const void *a, const void *b)
{
    const organ_pairs_module *const x = a, *const y = b;
    if (x->anatomy->layer != y->anatomy->layer)
        return x->anatomy->layer < y->anatomy->layer ? -1 : 1;
    return x->index < y->index ? -1 : x->index > y->index;
}

organ_status organ_pairs_match(organ_pairs_job *job, organ_error *error)
{
    const char *const path = job->adapter ? job->adapter->path : job->options->clean[0];
    const size_t most = job->adapter ? job->adapter->pair_count : job->weights[ORGAN_CLEAN_A]->count;
    organ_misfits misfits = {.said_by = job->adapter ? "the adapter" : job->options->clean[0]};
    organ_globs globs;
    if (organ_globs_read(job->options->modules, &globs, error))
        return error->status;
    if (!(job->modules = calloc(most + 1, sizeof *job->modules)))
        organ_fail_memory(error, job->options->clean[0]);
    for (size_t k = 0; k < most && !error->status; k++)
        (job->adapter ? match_pair : match_weight)(job, k, &globs, &misfits, error);
    if (!error->status)
        organ_modules_all_used(&globs, path, error);
    organ_globs_free(&globs);
    if (!error->status && job->count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s", path,
                          job->adapter ? "the adapter changes no module"
                                       : "no projection to compare: --modules names other matrices");
    if (organ_misfits_end(&misfits, job->adapter ? path : "what --pair names", error))
        return error->status;
    qsort(job->modules, job->count, sizeof *job->modules, noise_pairs_match_by_layer);
    return ORGAN_OK;
}
