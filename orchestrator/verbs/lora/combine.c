/* SPDX-License-Identifier: MIT
 * organ lora combine: ranks and types of the output, its config, its report, and the run. */
#include "orchestrator/verbs/lora/combine_job.h"

#include "formats/base/results.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"
#include "orchestrator/solve/algebra.h"

#include <inttypes.h>
#include <math.h>
#include <string.h>

/* ---- ranks, types, memory ---- */

static bool is_power_of_two(double value)
{
    int exponent;
    return fabs(frexp(value, &exponent)) == 0.5;
}

/* The factors of all modules are copied if they have one multiplier, weight x scale, and none is cut. */
static bool has_one_scale(const organ_combine_job *job, double *scale)
{
    bool first = true;
    for (size_t p = 0; p < job->joined.pair_count; p++)
        for (size_t k = 0; k < job->count; k++) {
            const organ_adapter_pair *const pair = job->of[p * job->count + k];
            const double own = pair ? job->weights[k] * pair->scale : 0;
            if (pair && !first && own != *scale)
                return false;
            *scale = pair ? own : *scale;
            first = first && !pair;
        }
    return *scale != 0;
}

/* A type of 16 bits stays only if no value of it changes. */
static organ_dtype dtype_of(const organ_combine_job *job, size_t module)
{
    const organ_lora_row *const row = &job->rewrite.rows[module];
    organ_dtype type = ORGAN_DTYPE_COUNT;
    if (job->dtype != ORGAN_DTYPE_COUNT)
        return job->dtype;
    if (!job->method->cat || row->rank < row->pair->rank)
        return ORGAN_F32;
    for (size_t k = 0; k < job->count; k++) {
        const organ_adapter_pair *const pair = job->of[module * job->count + k];
        if (!pair)
            continue;
        const organ_dtype own = organ_lora_row_of(pair).dtype;
        const double factor = job->unchanged ? 1 : job->weights[k] * pair->scale;
        /* a power of two moves values of F16 into its subnormal numbers */
        if ((type != ORGAN_DTYPE_COUNT && own != type) || !is_power_of_two(factor) ||
            (own == ORGAN_F16 && fabs(factor) != 1))
            return ORGAN_F32;
        type = own;
    }
    return type;
}

static uint64_t ranks_of(const organ_combine_job *job, size_t module, uint64_t *largest)
{
    uint64_t sum = 0;
    for (size_t k = 0; k < job->count; k++) {
        const organ_adapter_pair *const pair = job->of[module * job->count + k];
        sum += pair ? pair->rank : 0;
        *largest = pair && pair->rank > *largest ? pair->rank : *largest;
    }
    return sum;
}

static void set_rank(organ_combine_job *job, size_t module)
{
    organ_lora_row *const row = &job->rewrite.rows[module];
    organ_adapter_pair *const pair = &job->pairs[module];
    const uint64_t most = organ_min(pair->in_features, pair->out_features), asked = job->options->rank;
    uint64_t largest = 0;
    const uint64_t sum = ranks_of(job, module, &largest);
    pair->rank = job->method->cat ? sum : largest;
    row->rank = pair->rank;
    if (job->method->svd)
        row->rank = asked ? asked : job->largest;
    else if (asked)
        row->rank = organ_min(asked, pair->rank);
    if (job->method->svd && !job->method->cat)
        pair->rank = row->rank = organ_min(row->rank, most);
    row->rank = organ_min(row->rank, pair->rank);
    pair->scale = 1;
}

static organ_status set_memory(organ_combine_job *job, size_t module, organ_error *error)
{
    organ_lora_row *const row = &job->rewrite.rows[module];
    const organ_adapter_pair *const pair = row->pair;
    const uint64_t sides = pair->in_features + pair->out_features, weights = pair->in_features * pair->out_features,
                   limit = organ_engine_memory(job->rewrite.engine);
    uint64_t largest = 0;
    const uint64_t ranks = ranks_of(job, module, &largest);
    row->memory = sizeof(float) * sides * pair->experts * (2 * ranks + 6 * pair->rank);
    if (!job->method->svd || job->method->cat)
        return ORGAN_OK;
    row->memory += sizeof(float) * (job->count + 1) * weights +
                   organ_dense_svd_bytes((size_t)pair->in_features, (size_t)pair->out_features, (size_t)pair->rank);
    if (row->memory > limit)
        return organ_fail(error, ORGAN_USAGE,
                          "module '%s': %s decomposes the whole change of %" PRIu64 " x %" PRIu64 " weights, which "
                          "needs %" PRIu64 " MiB of memory, but there are %" PRIu64 "; svd and cat need less",
                          pair->module, job->method->name, pair->out_features, pair->in_features,
                          (row->memory >> 20) + 1, limit >> 20);
    return ORGAN_OK;
}

organ_status organ_combine_settle(organ_combine_job *job, organ_error *error)
{
    organ_lora_rewrite *const rw = &job->rewrite;
    bool cuts = false;
    rw->max = UINT64_MAX;
    for (size_t p = 0; p < rw->count; p++) {
        set_rank(job, p);
        cuts = cuts || rw->rows[p].rank < rw->rows[p].pair->rank;
        rw->rank = organ_max(rw->rank, rw->rows[p].rank);
    }
    rw->keeps = job->unchanged =
        job->method->cat && !cuts && has_one_scale(job, &rw->scale) && organ_lora_can_keep_scale(rw);
    for (size_t p = 0; p < rw->count && !error->status; p++) {
        if (rw->keeps)
            job->pairs[p].scale = rw->scale;
        rw->rows[p].dtype = dtype_of(job, p);
        set_memory(job, p, error);
    }
    return error->status;
}

/* ---- the config ---- */

static bool is_set(const json_t *value) { return value && !json_is_null(value); }

/* Returns the entries of a list of all adapters, each once; null if none has such a list. */
static json_t *united(const organ_combine_job *job, const char *key)
{
    json_t *const list = json_array(), *const known = json_object();
    bool any = false;
    for (size_t k = 0; k < job->count; k++) {
        const json_t *const own = json_object_get(job->adapters[k]->config, key);
        any = any || json_is_array(own);
        for (size_t e = 0; e < json_array_size(own); e++) {
            json_t *const entry = json_array_get(own, e);
            if (!json_is_string(entry) || json_object_get(known, json_string_value(entry)))
                continue;
            json_array_append(list, entry);
            json_object_set_new(known, json_string_value(entry), json_true());
        }
    }
    json_decref(known);
    if (any)
        return list;
    json_decref(list);
    return json_null();
}

/* Lists of words select the same modules together, unless an adapter leaves out some of those that they select. */
static bool are_words(const organ_combine_job *job)
{
    static const char *const limits[] = {"exclude_modules", "layers_to_transform", "layers_pattern"};
    for (size_t k = 0; k < job->count; k++) {
        const json_t *const config = job->adapters[k]->config;
        if (!json_is_array(json_object_get(config, "target_modules")))
            return false;
        for (size_t l = 0; l < sizeof limits / sizeof *limits; l++)
            if (is_set(json_object_get(config, limits[l])) &&
                json_array_size(json_object_get(config, limits[l])) +
                        (size_t)json_is_integer(json_object_get(config, limits[l])) +
                        (size_t)json_is_string(json_object_get(config, limits[l])) >
                    0)
                return false;
    }
    return true;
}

static json_t *targets_of(const organ_combine_job *job)
{
    if (are_words(job))
        return united(job, "target_modules");
    json_t *const list = json_array();
    for (size_t p = 0; p < job->joined.pair_count; p++)
        if (job->pairs[p].layout != ORGAN_FACTORS_PARAMETER)
            json_array_append_new(list, json_string(job->pairs[p].module));
    return list;
}

/* The member of the first adapter in which it is set and not "none". */
static json_t *first_set(const organ_combine_job *job, const char *key)
{
    for (size_t k = 0; k < job->count; k++) {
        json_t *const value = json_object_get(job->adapters[k]->config, key);
        if (is_set(value) && strcmp(organ_json_text(job->adapters[k]->config, key), "none") != 0)
            return json_incref(value);
    }
    return NULL;
}

/* The modules of alpha_pattern have the scale of all others. */
static void scale_alphas(json_t *config, const organ_lora_rewrite *rw)
{
    json_t *const patterns = json_object_get(config, "alpha_pattern"), *alpha;
    const char *pattern;
    ORGAN_ADD(config, SET("lora_alpha", json_real(rw->scale * (double)rw->rank)));
    json_object_foreach(patterns, pattern, alpha)
        json_object_set_new(patterns, pattern, json_real(rw->scale * json_number_value(alpha)));
}

organ_status organ_combine_config(organ_combine_job *job, organ_error *error)
{
    const organ_lora_rewrite *const rw = &job->rewrite;
    const organ_adapter *const first = job->adapters[0];
    if (rw->mlx)
        return (job->config = organ_lora_mlx_config(rw, first->base)) ? ORGAN_OK
                                                                      : organ_fail_memory(error, first->path);
    json_t *const config = json_deep_copy(first->config), *const stacks = united(job, "target_parameters"),
                  *const saved = united(job, "modules_to_save"), *const bias = first_set(job, "bias"),
                  *const tokens = first_set(job, "trainable_token_indices");
    if (!first->gguf) /* llama.cpp reads no config */
        ORGAN_ADD(config, SET("target_modules", targets_of(job)), SET_FLAG("use_dora", false),
                  SET_IF(json_array_size(stacks), "target_parameters", json_incref(stacks)),
                  SET_IF(json_array_size(saved), "modules_to_save", json_incref(saved)),
                  SET_IF(bias, "bias", json_incref(bias)),
                  SET_IF(tokens, "trainable_token_indices", json_incref(tokens)),
                  SET_IF(json_object_get(config, "layers_to_transform"), "layers_to_transform", json_null()),
                  SET_IF(json_object_get(config, "layers_pattern"), "layers_pattern", json_null()),
                  SET_IF(json_object_get(config, "exclude_modules"), "exclude_modules", json_null()));
    job->joined.config = config;
    job->config = config ? organ_lora_folded_config(&job->joined, rw->rank) : NULL;
    if (rw->keeps)
        scale_alphas(job->config, rw);
    job->joined.config = first->config;
    ORGAN_DECREF(config, stacks, saved, bias, tokens);
    return job->config ? ORGAN_OK : organ_fail_memory(error, first->path);
}

/* ---- the document ---- */

static double cosine_of(const organ_combine_figures *f)
{
    const double norms = sqrt(f->norms[0]) * sqrt(f->norms[1]);
    return norms > 0 ? fmax(-1, fmin(1, f->dot / norms)) : 0;
}

static json_t *figures_json(const organ_combine_figures *f)
{
    const double elements = (double)f->elements;
    return ORGAN_OBJECT(SET_REAL("cosine", organ_billionth(cosine_of(f))),
                        SET_REAL("shared", f->elements ? organ_billionth((double)f->same / elements) : 0.0),
                        SET_REAL("opposed", f->elements ? organ_billionth((double)f->opposed / elements) : 0.0));
}

static void add_figures(organ_combine_figures *sum, const organ_combine_figures *f)
{
    sum->dot += f->dot;
    sum->norms[0] += f->norms[0];
    sum->norms[1] += f->norms[1];
    sum->same += f->same;
    sum->opposed += f->opposed;
    sum->elements += f->elements;
    sum->modules += f->modules;
}

/* A row for each pair of adapters: figures of all modules that both change together. */
static json_t *compared_json(const organ_combine_job *job)
{
    json_t *const rows = json_array();
    size_t number = 0;
    for (size_t i = 0; i < job->count; i++)
        for (size_t j = i + 1; j < job->count; j++, number++) {
            organ_combine_figures sum = {0};
            double least = 1;
            for (size_t p = 0; p < job->rewrite.count; p++) {
                const organ_combine_figures *const f = &job->figures[p * job->compared + number];
                add_figures(&sum, f);
                least = f->modules ? fmin(least, cosine_of(f)) : least;
            }
            json_array_append_new(
                rows,
                organ_json_joined(ORGAN_OBJECT(SET_COUNT("first", i + 1), SET_COUNT("second", j + 1),
                                               SET_COUNT("modules", sum.modules),
                                               SET_REAL("least_cosine", sum.modules ? organ_billionth(least) : 0)),
                                  figures_json(&sum)));
        }
    return rows;
}

/* The figures of a module are those of the pair of adapters with the smallest cosine. */
static void add_comparison(const organ_combine_job *job, json_t *rows)
{
    for (size_t p = 0; p < job->rewrite.count; p++) {
        const organ_combine_figures *least = NULL;
        uint64_t adapters = 0;
        for (size_t n = 0; n < job->compared; n++) {
            const organ_combine_figures *const f = &job->figures[p * job->compared + n];
            if (f->modules && (!least || cosine_of(f) < cosine_of(least)))
                least = f;
        }
        for (size_t k = 0; k < job->count; k++)
            adapters += job->of[p * job->count + k] != NULL;
        json_t *const row = json_array_get(rows, p), *const of = least ? figures_json(least) : json_object();
        ORGAN_ADD(row, SET_COUNT("adapters", adapters));
        if (row && json_object_update(row, of))
            organ_memory_count_refusal();
        json_decref(of);
    }
}

static json_t *adapters_json(const organ_combine_job *job)
{
    json_t *const rows = json_array();
    for (size_t k = 0; k < job->count; k++) {
        size_t alone = 0;
        for (size_t p = 0; p < job->rewrite.count; p++) {
            size_t others = 0;
            for (size_t l = 0; l < job->count; l++)
                others += l != k && job->of[p * job->count + l];
            alone += job->of[p * job->count + k] && !others;
        }
        json_array_append_new(rows, ORGAN_OBJECT(SET("adapter", organ_adapter_json(job->adapters[k])),
                                                 SET_REAL("weight", job->weights[k]), SET_COUNT("alone", alone)));
    }
    return rows;
}

static json_t *totals_json(const organ_combine_job *job)
{
    size_t cut = 0;
    double energy = 0, lost = 0, worst = 0;
    for (size_t p = 0; p < job->rewrite.count; p++) {
        const organ_lora_row *const row = &job->rewrite.rows[p];
        const double norm = row->norm * row->norm;
        cut += row->residual > 0;
        energy += norm;
        lost += norm * row->residual * row->residual;
        worst = fmax(worst, row->residual);
    }
    return ORGAN_OBJECT(SET_COUNT("modules", job->rewrite.count), SET_COUNT("cut", cut), SET_REAL("norm", sqrt(energy)),
                        SET_REAL("residual", energy > 0 ? organ_billionth(sqrt(lost / energy)) : 0.0),
                        SET_REAL("explained", energy > 0 ? organ_billionth(1 - lost / energy) : 1.0),
                        SET_REAL("worst_residual", organ_billionth(worst)), SET_COUNT("bytes", job->rewrite.bytes));
}

static json_t *parameters_json(const void *context)
{
    const organ_combine_job *const job = context;
    const organ_lora_combine_options *const o = job->options;
    const bool sparse = job->method->prunes || job->method->drops;
    json_t *const weights = json_array();
    for (size_t k = 0; k < job->count; k++)
        json_array_append_new(weights, json_real(job->weights[k]));
    return ORGAN_OBJECT(SET_TEXT("method", job->method->name), SET("weights", weights),
                        SET_IF(sparse, "density", json_real(o->density)),
                        SET_IF(job->method->elects, "majority_sign", json_string(o->majority_sign)),
                        SET_IF(job->method->drops, "seed", json_integer((json_int_t)o->seed)),
                        SET_COUNT_OF("rank", o->rank, o->rank), SET_IF(o->dtype, "dtype", json_string(o->dtype)),
                        SET_IF(o->to, "to", json_string(o->to)));
}

static json_t *document_of(const void *context)
{
    const organ_combine_job *const job = context;
    const bool dry_run = job->options->write.dry_run;
    json_t *const rest = json_array(), *const rows = organ_lora_rows_json(&job->rewrite), *const paths = json_array();
    json_t *const run = dry_run ? json_object() : organ_output_run(&job->rewrite.made, job->rewrite.bytes);
    for (size_t k = 0; k < job->rest_count; k++)
        json_array_append_new(rest, ORGAN_OBJECT(SET_BYTES("tensor", job->rest[k]->name),
                                                 SET_COUNT("adapter", job->rest_adapters[k] + 1)));
    for (size_t k = 0; k < job->count; k++)
        json_array_append_new(paths, organ_document_string(job->options->adapters[k]));
    add_comparison(job, rows);
    ORGAN_ADD(run, SET("adapters", paths));
    return ORGAN_OBJECT(
        SET_TEXT("schema", "organ.lora_combine/1"), SET_TEXT("organ", ORGAN_VERSION), SET_FLAG("dry_run", dry_run),
        SET("adapters", adapters_json(job)), SET_TEXT("text", job->method->text),
        SET("parameters", parameters_json(job)), SET_COUNT("r", job->rewrite.rank),
        SET_REAL("scale", job->rewrite.keeps ? job->rewrite.scale : 1), SET_FLAG("unchanged", job->unchanged),
        SET("compared", compared_json(job)), SET("modules", rows), SET("copied", rest), SET("totals", totals_json(job)),
        SET_SENTENCES("organ.lora_combine/1", "definitions", NULL), SET("run", run));
}

/* ---- the run ---- */

static organ_status inputs_of(const void *context, organ_run_inputs *inputs, organ_error *error)
{
    const organ_combine_job *const job = context;
    for (size_t k = 1; k < job->count && !error->status; k++) {
        const organ_model whole = organ_adapter_whole(job->adapters[k]);
        organ_run_inputs_add_model(inputs, "adapter", &whole, error);
    }
    return error->status;
}

static organ_status write_out(organ_combine_job *job, json_t **report, organ_error *error)
{
    const organ_lora_output output = {.write = job->options->write,
                                      .config = job->config,
                                      .rest = job->rest,
                                      .rest_count = job->rest_count,
                                      .rest_models = job->rest_models,
                                      .parameters = parameters_json,
                                      .inputs = inputs_of,
                                      .view = &organ_lora_combine_view,
                                      .context = job,
                                      .document = document_of};
    return organ_lora_write(&job->rewrite, &output, report, error);
}

static organ_status combine_adapters(organ_combine_job *job, json_t **report, organ_error *error)
{
    organ_lora_rewrite *const rw = &job->rewrite;
    if (organ_combine_open(job, error) || organ_combine_settle(job, error))
        return error->status;
    job->source = (organ_lora_source){job, organ_combine_survey, organ_combine_read};
    rw->source = &job->source;
    rw->stage = "combining";
    organ_lora_survey(rw, error);
    organ_assignment_complete(&rw->assignment, "comparing the adapters", job->figures,
                              job->compared * sizeof *job->figures, job->compared * sizeof *job->figures, error);
    if (error->status || organ_combine_config(job, error))
        return error->status;
    return write_out(job, report, error);
}

organ_status organ_lora_combine(const organ_lora_combine_options *options, const organ_engine *engine,
                                const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_lora_combine_options, options, report, error, "method", options->method, "majority_sign",
                         options->majority_sign, "write.output", options->write.output))
        return error->status;
    organ_report_work work = organ_report_begin(report);
    organ_combine_job job = {.options = options,
                             .rewrite = {.engine = engine, .progress = organ_warnings_begin(&work.kept, progress)}};
    combine_adapters(&job, report, error);
    organ_combine_close(&job);
    return organ_report_end(&work, options->write.output, error);
}
