/* SPDX-License-Identifier: MIT
 * What a model has of channels and heads, how many of them stay, and the projections that lose columns by it. */
#include "orchestrator/surgery/width/job.h"

#include "formats/base/path.h"
#include "orchestrator/forward/forward.h"
#include "orchestrator/surgery/output/plain_only.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#define FEW  32  /* what kernels of floats go by */
#define MANY 256 /* what the K-quants of GGUF do */

/* ---- how much ---- */

/* What is asked for by an option, of `whole` things, which are told of as `what`. */
typedef struct wish {
    const char *option, *text, *what;
    size_t whole, multiple;
} wish;

/* A decimal number and what stands behind it; NULL: there is none. */
static const char *number(const char *text, double *value)
{
    const size_t digits = strspn(text, "0123456789.");
    char *end = NULL;
    if (digits == 0 || digits > 20 || text[0] == '.')
        return NULL;
    *value = strtod(text, &end);
    return end == text + digits ? end : NULL;
}

static organ_status read_percent(const wish *w, double percent, size_t *keep, organ_error *error)
{
    if (!(percent > 0 && percent < 100))
        return organ_fail(error, ORGAN_USAGE, "--%s %s is not above 0 and below 100 percent", w->option, w->text);
    const double stay = percent / 100 * (double)w->whole;
    *keep = (size_t)(round(stay / (double)w->multiple)) * w->multiple;
    if (*keep == 0)
        return organ_fail(error, ORGAN_USAGE, "--%s %s leaves nothing: of %zu %s it is %.4g, and what stays is a multiple of %zu%s",
                          w->option, w->text, w->whole, w->what, stay, w->multiple, w->multiple > 1 ? " (--multiple-of)" : "");
    if (*keep >= w->whole)
        return organ_fail(error, ORGAN_USAGE, "--%s %s takes nothing away: of %zu %s it is %.4g, to a multiple of %zu%s all of them",
                          w->option, w->text, w->whole, w->what, stay, w->multiple, w->multiple > 1 ? " (--multiple-of)" : "");
    return ORGAN_OK;
}

static organ_status read_wish(const wish *w, size_t *keep, organ_error *error)
{
    double value = 0;
    const char *const unit = number(w->text, &value);
    if (unit && strcmp(unit, "%") == 0)
        return read_percent(w, value, keep, error);
    if (!unit || *unit || value != floor(value))
        return organ_fail(error, ORGAN_USAGE, "--%s '%s' is neither a share (75%%) nor a number of %s", w->option, w->text, w->what);
    if (!(value > 0 && value < (double)w->whole))
        return organ_fail(error, ORGAN_USAGE, "--%s %s: from 1 to %zu of %zu %s can stay", w->option, w->text, w->whole - 1, w->whole,
                          w->what);
    *keep = (size_t)value;
    return *keep % w->multiple == 0
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, "--%s %s is no multiple of %zu (--multiple-of)", w->option, w->text, w->multiple);
}

/* ---- what there is ---- */

static bool is_down(const organ_tensor *t) { return t->anatomy.role == ORGAN_ROLE_DOWN && t->anatomy.layer >= 0; }
static bool is_output(const organ_tensor *t) { return t->anatomy.role == ORGAN_ROLE_O && t->anatomy.layer >= 0; }

/* config.json and key-values have one width for all layers. */
static organ_status take_width(const organ_model *model, const organ_tensor *t, size_t *width, organ_error *error)
{
    const uint64_t cols = organ_tensor_matrices(t).cols;
    if (t->anatomy.experts != ORGAN_EXPERTS_NONE)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: '%s' belongs to experts: --ffn takes channels out of feed-forwards without experts alone; organ experts "
                          "takes out whole experts",
                          model->path, t->name);
    if (*width && *width != cols)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: '%s' has %llu channels, and those before it have %zu: only layers of one width can be narrowed", model->path,
                          t->name, (unsigned long long)cols, *width);
    *width = (size_t)cols;
    return ORGAN_OK;
}

static organ_status plan_ffn(organ_width_job *job, organ_error *error)
{
    const organ_width_options *const o = job->options;
    const organ_model *const model = job->model;
    size_t width = 0;
    for (size_t t = 0; t < model->tensor_count && !error->status; t++)
        if (is_down(&model->tensors[t]))
            take_width(model, &model->tensors[t], &width, error);
    if (!error->status && width == 0)
        return organ_fail(error, ORGAN_USAGE, "%s: has no down projection whose columns --ffn could take", model->path);
    job->multiple = o->multiple_of ? o->multiple_of : model->gguf && width % MANY == 0 ? MANY : FEW;
    job->ffn = (organ_width_share){.whole = width, .columns = 1};
    const wish w = {"ffn", o->ffn, "channels", width, job->multiple};
    return error->status ? error->status : read_wish(&w, &job->ffn.keep, error);
}

/* llama.cpp takes the heads of these to be as wide as the hidden size together, whatever attention.key_length says. */
static organ_status check_reader(const organ_width_job *job, organ_error *error)
{
    static const char *const fixed[] = {"qwen2", "phi3", NULL};
    const char *const architecture = job->model->config.architecture;
    if (job->model->gguf && organ_is_one_of(architecture, fixed))
        return organ_fail(
            error, ORGAN_USAGE,
            "%s: llama.cpp reads no GGUF model of architecture '%s' with fewer heads than its hidden size asks for: --ffn can "
            "narrow it",
            job->model->path, architecture);
    return ORGAN_OK;
}

static organ_status plan_heads(organ_width_job *job, organ_error *error)
{
    organ_forward_config config;
    if (check_reader(job, error) || organ_forward_config_read(job->model, &config, error))
        return error->status;
    job->query_heads = config.heads;
    job->heads = (organ_width_share){.whole = config.kv_heads, .columns = (size_t)config.heads / config.kv_heads * config.head_dim};
    organ_forward_config_release(&config);
    const wish w = {"heads", job->options->heads, "heads of K and V", job->heads.whole, 1};
    if (job->heads.whole < 2)
        return organ_fail(error, ORGAN_USAGE, "%s: has one head of K and V: --heads has nothing to take away", job->model->path);
    return read_wish(&w, &job->heads.keep, error);
}

/* ---- the projections ---- */

static organ_status take_part(organ_width_job *job, const organ_tensor *t, organ_error *error)
{
    static const char format[] = "%.300s: tensor '%.200s': dtype %s cannot be solved anew, only BF16, F16 and F32 can";
    const organ_model *const model = job->model;
    const bool heads = is_output(t);
    const organ_width_share *const share = heads ? &job->heads : &job->ffn;
    const char *const file = model->files[t->file].path, *const dtype = organ_dtype_describe(t->dtype)->name;
    if (t->rank != 2 || t->shape[1] != share->whole * share->columns)
        return organ_fail(error, ORGAN_USAGE, "%s: '%s' has not the %zu columns of %zu %s", model->path, t->name,
                          share->whole * share->columns, share->whole, heads ? "heads of K and V" : "channels");
    if (organ_dtype_is_blocks(t->dtype))
        return organ_dequantize_first(model, error, format, file, t->name, dtype);
    if (!organ_target_is_float(t))
        return organ_fail(error, ORGAN_BAD_INPUT, format, file, t->name, dtype);
    organ_width_part *const part = &job->parts[job->targets.count];
    *part = (organ_width_part){.tensor = t, .share = share, .heads = heads, .at = job->choices.bytes};
    if (!(part->kept = calloc(share->keep, sizeof *part->kept)))
        return organ_fail_memory(error, model->path);
    for (size_t k = 0; k < share->keep; k++)
        part->kept[k] = (uint32_t)k;
    job->choices.bytes += t->shape[0] * organ_width_columns(part) * sizeof(float);
    job->targets.tensors[job->targets.count++] = t;
    job->targets.elements += t->elements;
    job->targets.bytes += t->bytes;
    return ORGAN_OK;
}

static organ_status list_parts(organ_width_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    const size_t room = model->tensor_count + 1;
    job->targets.tensors = calloc(room, sizeof *job->targets.tensors);
    job->targets.chosen = calloc(room, sizeof *job->targets.chosen);
    job->parts = calloc(room, sizeof *job->parts);
    if (!job->targets.tensors || !job->targets.chosen || !job->parts)
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++)
        job->targets.chosen[t] = (job->ffn.keep && is_down(&model->tensors[t])) || (job->heads.keep && is_output(&model->tensors[t]));
    if (organ_plain_only(model, job->targets.chosen, error) != ORGAN_OK)
        return error->status;
    for (size_t t = 0; t < model->tensor_count && !error->status; t++)
        if (job->targets.chosen[t])
            take_part(job, &model->tensors[t], error);
    return error->status;
}

/* What the room of cuts is told; the numbers in it are those that the parts choose later. */
static organ_status list_layers(organ_width_job *job, organ_error *error)
{
    job->layer_count = organ_cut_layers(job->model);
    if (!(job->layers = calloc(job->layer_count + 1, sizeof *job->layers)))
        return organ_fail_memory(error, job->model->path);
    for (size_t k = 0; k < job->targets.count; k++) {
        const organ_width_part *const part = &job->parts[k];
        organ_cut_layer *const layer = &job->layers[part->tensor->anatomy.layer];
        *(part->heads ? &layer->kv_heads : &layer->channels) = (organ_cut_keep){part->kept, part->share->keep};
    }
    return ORGAN_OK;
}

organ_status organ_width_plan(organ_width_job *job, organ_error *error)
{
    const organ_width_options *const o = job->options;
    if ((o->ffn && plan_ffn(job, error)) || (o->heads && plan_heads(job, error)) || list_parts(job, error))
        return error->status;
    return list_layers(job, error);
}
