/* SPDX-License-Identifier: MIT
 * organ audit --recipe: plans the merge of a recipe again, and recomputes some tensors of it from the donors. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include "formats/base/results.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/view/views.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

/* A tensor that is recomputed. */
typedef struct merge_sample {
    size_t tensor;                /* index in model_merge.tensors */
    organ_weight stored;          /* of the audited model */
    organ_weight_reader *reader;  /* of `stored` */
    size_t reading;               /* bytes of scratch memory of the reader */
    uint64_t different, elements; /* values that differ, of all values */
} merge_sample;

typedef struct merge_audit {
    const organ_merge_audit_options *options;
    model_merge job;
    organ_merge_options as; /* how the model was merged */
    organ_model *model;     /* the audited model */
    merge_sample *samples;
    size_t count;
    size_t made; /* tensors of a mixture that gates make */
    uint64_t made_elements, made_different;
    size_t fitted;        /* tensors that depend on texts, which are not recomputed */
    pthread_mutex_t lock; /* guards merge_sample.different */
    organ_problems problems;
} merge_audit;

/* ---- the recipe and the options of the run that made the model ---- */

/* The report of the merge states what a recipe does not: --seed, --missing, --keep-tied, --other-architecture and
 * --match-experts. */
static organ_status read_report(merge_audit *a, organ_error *error)
{
    if (a->model->gguf)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: is GGUF, which a conversion has made of the merged model: `recipe` recomputes models of "
                          "safetensors; organ compare compares it with one",
                          a->options->model);
    ORGAN_OWNED_JSON json_t *const report = organ_own_report(a->model, &organ_merge_view, error);
    const json_t *const given = json_object_get(report, "parameters");
    const char *const missing = json_string_value(json_object_get(given, "missing"));
    const char *const order = json_string_value(json_object_get(given, "match_experts"));
    static const char *const policies[] = {"error", "base", "any"};
    a->as.seed = (unsigned)json_integer_value(json_object_get(given, "seed"));
    a->as.keep_tied = json_is_true(json_object_get(given, "keep_tied"));
    a->as.other_architecture = json_is_true(json_object_get(given, "other_architecture"));
    if (order && strcmp(order, "off") == 0)
        a->as.match_experts = "off";
    for (size_t k = 0; missing && k < sizeof policies / sizeof *policies; k++)
        a->as.missing = strcmp(missing, policies[k]) == 0 ? policies[k] : a->as.missing;
    return error->status;
}

/* ---- names, types and shapes ---- */

/* Returns whether the tensor is that of the recipe; else adds a problem. `tensor` is NULL if it is missing. */
static bool check_piece(merge_audit *a, const organ_tensor *tensor, const organ_piece *piece)
{
    char is[ORGAN_SHAPE_TEXT], was[ORGAN_SHAPE_TEXT];
    if (!tensor)
        organ_problem_add(&a->problems, "tensor '%s' is missing", piece->name);
    else if (tensor->dtype != piece->dtype || !ORGAN_SAME_SHAPE(tensor, piece))
        organ_problem_add(&a->problems, "tensor '%s' is %s %s, but the recipe gives %s %s", piece->name,
                          organ_dtype_name(tensor->dtype), organ_shape_text(tensor->rank, tensor->shape, is),
                          organ_dtype_name(piece->dtype), organ_shape_text(piece->rank, piece->shape, was));
    else
        return true;
    return false;
}

/* Returns whether the routers of a mixture are made again: not if they depend on long texts. */
static bool remakes(const model_merge *job) { return job->recipe.mixture && job->recipe.mixture->gate != MIXTURE_FIT; }

/* Lists the merged tensors of the model that can be recomputed. */
static organ_status list_samples(merge_audit *a, organ_error *error)
{
    const model_merge *const job = &a->job;
    if (!(a->samples = calloc(job->tensor_count + 1, sizeof *a->samples)))
        return organ_fail_memory(error, a->model->path);
    for (size_t k = 0; k < job->piece_count; k++) {
        const organ_tensor *const tensor = organ_model_find(a->model, job->pieces[k].name);
        const bool there = check_piece(a, tensor, &job->pieces[k]) && k < job->tensor_count;
        const bool made = there && job->tensors[k].made && !remakes(job);
        const bool fitted = there && (job->tensors[k].fitted || job->tensors[k].by_tokens || made);
        a->fitted += fitted;
        if (there && !fitted && !job->tensors[k].made && organ_weight_has_numbers(job->tensors[k].like))
            a->samples[a->count++] = (merge_sample){.tensor = k, .stored = organ_weight_plain(tensor)};
    }
    if (a->model->tensor_count > job->piece_count)
        organ_problem_add(&a->problems, "the model has %zu tensors, but the recipe gives %zu", a->model->tensor_count,
                          job->piece_count);
    return ORGAN_OK;
}

/* Keeps options->tensors of them, evenly spread. */
static void thin_samples(merge_audit *a)
{
    const size_t most = a->options->tensors, all = a->count;
    if (most == 0 || all <= most)
        return;
    for (size_t k = 0; k < most; k++)
        a->samples[k] = a->samples[most > 1 ? k * (all - 1) / (most - 1) : 0];
    a->count = most;
}

/* ---- values ---- */

static organ_status compare_strip(void *context, size_t worker, size_t item, uint64_t first, size_t rows, float *values,
                                  void *spare, void *scratch, organ_error *error)
{
    (void)worker;
    merge_audit *const a = context;
    merge_sample *const s = &a->samples[item];
    const organ_dtype dtype = s->stored.codes->dtype;
    const size_t width = organ_dtype_describe(dtype)->bytes,
                 n = rows * (size_t)a->job.tensors[s->tensor].item.task.shape.cols;
    const unsigned char *const made = spare, *const stored = (const unsigned char *)values;
    uint64_t different = 0;
    organ_overflow all = ORGAN_OVERFLOW(true);
    if (organ_overflow_narrow(&all, a->job.engine->kernels, dtype, s->stored.name, values, spare, n, error) ||
        organ_weight_read(s->reader, first, rows, dtype, values, scratch, error))
        return error->status;
    for (size_t k = 0; k < n; k++)
        different += memcmp(made + k * width, stored + k * width, width) != 0;
    pthread_mutex_lock(&a->lock);
    s->different += different;
    pthread_mutex_unlock(&a->lock);
    return ORGAN_OK;
}

static organ_status judge_sample(void *context, size_t item, const organ_merge_moved *moved, organ_error *error)
{
    merge_audit *const a = context;
    merge_sample *const s = &a->samples[item];
    (void)moved;
    (void)error;
    s->elements = s->stored.elements;
    if (s->different)
        organ_problem_add(&a->problems, "tensor '%s': %llu of %llu values differ from the recipe", s->stored.name,
                          (unsigned long long)s->different, (unsigned long long)s->elements);
    organ_progress_advance(a->job.progress, a->job.pieces[s->tensor].cost, s->stored.name, NULL);
    return ORGAN_OK;
}

static organ_status open_samples(merge_audit *a, organ_merge_item *items, size_t *scratch, organ_error *error)
{
    for (size_t k = 0; k < a->count && !error->status; k++) {
        merge_sample *const s = &a->samples[k];
        items[k] = a->job.tensors[s->tensor].item;
        if (organ_weight_reader_open(a->model, &s->stored, a->job.engine->kernels, NULL, &s->reader, error) == ORGAN_OK)
            s->reading = organ_weight_reader_scratch(s->reader, organ_merge_strip_rows(&items[k].task.shape));
        *scratch = s->reading > *scratch ? s->reading : *scratch;
    }
    return error->status;
}

static organ_status recompute(merge_audit *a, organ_error *error)
{
    ORGAN_OWNED organ_merge_item *const items = malloc((a->count + 1) * sizeof *items);
    organ_merge_walk walk = {
        .items = items, .count = a->count, .context = a, .put = compare_strip, .finish = judge_sample};
    uint64_t bytes = 0;
    if (!items)
        return organ_fail_memory(error, a->model->path);
    for (size_t k = 0; k < a->count; k++)
        bytes += a->job.pieces[a->samples[k].tensor].cost;
    organ_progress_begin(a->job.progress, "recomputing", bytes, a->count);
    if (open_samples(a, items, &walk.put_scratch, error) == ORGAN_OK)
        organ_merge_walk_run(&walk, a->job.engine, error);
    organ_progress_end(a->job.progress);
    return error->status;
}

/* ---- routers of a mixture ---- */

/* Compares a tensor that gates make, or zeros, with the stored one. */
static organ_status compare_made(merge_audit *a, size_t piece, organ_error *error)
{
    const merge_tensor *const t = &a->job.tensors[piece];
    const organ_tensor *const tensor = organ_model_find(a->model, a->job.pieces[piece].name);
    if (!tensor || tensor->dtype != a->job.pieces[piece].dtype || tensor->elements != t->like->elements)
        return ORGAN_OK; /* a problem already */
    const size_t n = (size_t)tensor->elements, width = organ_dtype_describe(tensor->dtype)->bytes;
    ORGAN_OWNED float *const values = organ_mixture_values(&a->job, t, error);
    ORGAN_OWNED unsigned char *const made = values ? malloc(n * sizeof *values + 64) : NULL;
    ORGAN_OWNED unsigned char *const stored = made ? malloc(n * width + 64) : NULL;
    organ_overflow all = ORGAN_OVERFLOW(true);
    uint64_t different = 0;
    if (!stored)
        return error->status ? error->status : organ_fail_memory(error, t->name);
    if (organ_overflow_narrow(&all, a->job.engine->kernels, tensor->dtype, t->name, values, made, n, error) ||
        organ_model_read(a->model, tensor->file, stored, n * width, tensor->offset, error))
        return error->status;
    for (size_t k = 0; k < n; k++)
        different += memcmp(made + k * width, stored + k * width, width) != 0;
    a->made++;
    a->made_elements += n;
    a->made_different += different;
    if (different)
        organ_problem_add(&a->problems, "tensor '%s': %llu of %llu values differ from the recipe", t->name,
                          (unsigned long long)different, (unsigned long long)n);
    return ORGAN_OK;
}

static organ_status recompute_made(merge_audit *a, organ_error *error)
{
    if (!remakes(&a->job) || organ_mixture_make_rows(&a->job, error))
        return error->status;
    for (size_t k = 0; k < a->job.tensor_count && !error->status; k++)
        if (a->job.tensors[k].made)
            compare_made(a, k, error);
    return error->status;
}

/* ---- the report ---- */

static json_t *audit_report(merge_audit *a)
{
    uint64_t elements = a->made_elements, different = a->made_different;
    for (size_t k = 0; k < a->count; k++) {
        elements += a->samples[k].elements;
        different += a->samples[k].different;
    }
    const bool ok = organ_problems_count(&a->problems) == 0;
    return ORGAN_OBJECT(SET_HEAD("organ.audit_merge/1", "merge/1"), SET("model", organ_model_json(a->model)),
                        SET_TEXT("method", a->job.recipe.method->name), SET_COUNT("tensors", a->job.piece_count),
                        SET_COUNT("recomputed", a->count + a->made), SET_COUNT("not_recomputed", a->fitted),
                        SET_COUNT("elements", elements), SET_COUNT("different", different), SET_FLAG("ok", ok),
                        SET("problems", organ_problems_json(&a->problems)),
                        SET("run", ORGAN_OBJECT(SET_ENGINE(a->job.engine))));
}

static organ_status plan_and_compare(merge_audit *a, json_t **report, organ_error *error)
{
    model_merge *const job = &a->job;
    if (organ_donor_open(a->options->model, "audited", job->progress, &a->model, error) || read_report(a, error) ||
        organ_merge_recipe_read(&a->as, &job->recipe, error) || organ_merge_read_tokens(&job->recipe, error) ||
        organ_merge_open_donors(job, error) || organ_merge_open_vocabulary(job, error) ||
        organ_merge_outline(job, error) || list_samples(a, error))
        return error->status;
    thin_samples(a);
    if (recompute(a, error) || recompute_made(a, error))
        return error->status;
    organ_problems_judge(&a->problems, error, "%s is not the merge of %s", a->options->model, a->options->recipe);
    if (!(*report = audit_report(a)))
        return organ_fail_memory(error, a->model->path);
    return error->status;
}

organ_status organ_merge_audit(const organ_merge_audit_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_merge_audit_options, options, report, error, "recipe", options->recipe, "model",
                         options->model))
        return error->status;
    merge_audit a = {.options = options, .as = organ_merge_defaults(), .lock = PTHREAD_MUTEX_INITIALIZER};
    const organ_report_work work = organ_report_begin(report);
    a.as.recipe = options->recipe;
    a.job = (model_merge){.options = &a.as, .engine = engine, .progress = progress};
    if ((a.problems.sentences = json_array()))
        plan_and_compare(&a, report, error);
    else
        organ_fail_memory(error, options->model);
    for (size_t k = 0; k < a.count; k++)
        organ_weight_reader_close(a.samples[k].reader);
    free(a.samples);
    json_decref(a.problems.sentences);
    organ_model_close(a.model);
    organ_merge_release(&a.job, error);
    return organ_report_end(&work, options->model, error);
}
