/* SPDX-License-Identifier: MIT
 * Counts the channels and heads of a model, and computes from the options how many are kept. */
#include "orchestrator/verbs/shrink/width_parts.h"

#include "formats/architecture/pairing.h"
#include "formats/base/plain_numbers.h"
#include "orchestrator/output/inputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* ---- the projections that lose columns, and the kept units of each layer for cut_parts.h ---- */

/* Down projections lose channels, and the output projections of attention lose heads. */
organ_width_kind organ_width_kind_of(const organ_tensor *t)
{
    if (t->anatomy.layer < 0 || (t->anatomy.role != ORGAN_ROLE_DOWN && t->anatomy.role != ORGAN_ROLE_O))
        return ORGAN_WIDTH_KINDS;
    if (t->anatomy.role == ORGAN_ROLE_O)
        return ORGAN_WIDTH_HEADS;
    if (t->anatomy.experts == ORGAN_EXPERTS_NONE)
        return ORGAN_WIDTH_CHANNELS;
    return t->anatomy.experts == ORGAN_EXPERTS_SHARED ? ORGAN_WIDTH_SHARED : ORGAN_WIDTH_EXPERTS;
}

organ_matrices organ_width_matrices(const organ_width_job *job, const organ_tensor *tensor)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    return organ_tensor_is_crossed(job->model, tensor) ? (organ_matrices){m.count, m.cols, m.rows} : m;
}

static organ_status parts_check_shape(const organ_width_job *job, const organ_tensor *t, const organ_width_share *share,
                                      organ_error *error)
{
    const organ_width_kind kind = organ_width_kind_of(t);
    const uint64_t experts = kind == ORGAN_WIDTH_EXPERTS ? organ_cut_experts(job->model, (size_t)t->anatomy.layer) : 0;
    const bool stack = kind == ORGAN_WIDTH_EXPERTS && t->anatomy.expert < 0;
    static const char *const what[] = {"channels", "channels of an expert", "channels of a shared expert",
                                       "heads of K and V"};
    if (t->rank != (stack ? 3 : 2) || organ_width_matrices(job, t).cols != share->total * share->columns)
        return organ_fail(error, ORGAN_USAGE, "%s: '%s' does not have the %zu columns of %zu %s", job->model->path,
                          t->name, share->total * share->columns, share->total, what[kind]);
    if (kind == ORGAN_WIDTH_EXPERTS && (stack ? t->shape[0] != experts : (uint64_t)t->anatomy.expert >= experts))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: '%s' does not have the %llu experts of its layer's router",
                          job->model->path, t->name, (unsigned long long)experts);
    return ORGAN_OK;
}

/* Only BF16, F16 and F32 can be refitted. */
static organ_status check_part(const organ_width_job *job, const organ_tensor *t, const organ_width_share *share,
                               organ_error *error)
{
    static const char format[] = "%.300s: tensor '%.200s': dtype %s cannot be refitted; only BF16, F16 and F32 can";
    const organ_model *const model = job->model;
    const char *const file = model->files[t->file].path, *const dtype = organ_dtype_describe(t->dtype)->name;
    if (parts_check_shape(job, t, share, error) != ORGAN_OK)
        return error->status;
    if (organ_dtype_is_blocks(t->dtype))
        return organ_dequantize_first(model, error, format, file, t->name, dtype);
    return organ_target_is_float(t) ? ORGAN_OK : organ_fail(error, ORGAN_BAD_INPUT, format, file, t->name, dtype);
}

/* Until its units are chosen, the part keeps the first ones. */
static organ_status add_part(organ_width_job *job, const organ_tensor *t, uint64_t matrix, organ_error *error)
{
    const organ_width_kind kind = organ_width_kind_of(t);
    organ_width_part *const part = &job->parts[job->part_count];
    const organ_width_share *const share = &job->shares[kind];
    *part = (organ_width_part){.tensor = t,
                               .matrix = matrix,
                               .share = share,
                               .rows = organ_width_matrices(job, t).rows,
                               .kind = kind,
                               .at = job->choice_bytes};
    if (!(part->kept = calloc(share->keep, sizeof *part->kept)))
        return organ_fail_memory(error, job->model->path);
    job->part_count++;
    for (size_t k = 0; k < share->keep; k++)
        part->kept[k] = (uint32_t)k;
    job->choice_bytes += organ_width_rows(part) * organ_width_columns(part) * sizeof(float);
    return ORGAN_OK;
}

static organ_status add_parts_of_target(organ_width_job *job, const organ_tensor *t, organ_error *error)
{
    const uint64_t matrices = organ_tensor_matrices(t).count;
    if (check_part(job, t, &job->shares[organ_width_kind_of(t)], error) != ORGAN_OK)
        return error->status;
    for (uint64_t m = 0; m < matrices && !error->status; m++)
        add_part(job, t, m, error);
    job->targets.tensors[job->targets.count++] = t;
    job->first[job->targets.count] = job->part_count;
    job->targets.elements += t->elements;
    job->targets.bytes += t->bytes;
    return error->status;
}

static organ_status allocate_parts(organ_width_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    uint64_t matrices = 0;
    for (size_t t = 0; t < model->tensor_count; t++)
        if (job->targets.chosen[t])
            matrices += organ_tensor_matrices(&model->tensors[t]).count;
    job->parts = calloc((size_t)matrices + 1, sizeof *job->parts);
    return job->parts ? ORGAN_OK : organ_fail_memory(error, model->path);
}

static organ_status list_parts(organ_width_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    const size_t capacity = model->tensor_count + 1;
    job->targets.tensors = calloc(capacity, sizeof *job->targets.tensors);
    job->targets.chosen = calloc(capacity, sizeof *job->targets.chosen);
    job->first = calloc(capacity, sizeof *job->first);
    if (!job->targets.tensors || !job->targets.chosen || !job->first)
        return organ_fail_memory(error, model->path);
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_width_kind kind = organ_width_kind_of(&model->tensors[t]);
        job->targets.chosen[t] = kind < ORGAN_WIDTH_KINDS && job->shares[kind].keep;
    }
    if (organ_require_plain(model, job->targets.chosen, error) != ORGAN_OK || allocate_parts(job, error) != ORGAN_OK)
        return error->status;
    for (size_t t = 0; t < model->tensor_count && !error->status; t++)
        if (job->targets.chosen[t])
            add_parts_of_target(job, &model->tensors[t], error);
    return error->status;
}

static organ_status parts_list_experts(organ_width_job *job, organ_error *error)
{
    uint64_t all = 0;
    for (size_t l = 0; l < job->layer_count; l++)
        all += organ_cut_experts(job->model, l);
    if (!(job->experts = calloc((size_t)all + 1, sizeof *job->experts)))
        return organ_fail_memory(error, job->model->path);
    organ_cut_keep *next = job->experts;
    for (size_t l = 0; l < job->layer_count; l++) {
        const uint64_t experts = organ_cut_experts(job->model, l);
        job->layers[l].expert_channels = experts ? next : NULL;
        next += experts;
    }
    return ORGAN_OK;
}

/* The list of a layer's experts is in job->experts, because organ_cut_layer only has a pointer to const. */
static void enter_kept_channels(organ_width_job *job, const organ_width_part *part)
{
    const organ_anatomy *const a = &part->tensor->anatomy;
    organ_cut_layer *const layer = &job->layers[a->layer];
    const organ_cut_keep keep = {part->kept, part->share->keep};
    if (part->kind == ORGAN_WIDTH_EXPERTS)
        job->experts[(size_t)(layer->expert_channels - job->experts) +
                     (a->expert < 0 ? (size_t)part->matrix : (size_t)a->expert)] = keep;
    else if (part->kind == ORGAN_WIDTH_HEADS)
        layer->kv_heads = keep;
    else if (part->kind == ORGAN_WIDTH_SHARED)
        layer->shared_channels = keep;
    else
        layer->channels = keep;
}

/* The layers point to the parts' kept units, which are chosen later. */
static organ_status list_layers(organ_width_job *job, organ_error *error)
{
    job->layer_count = organ_cut_layers(job->model);
    if (!(job->layers = calloc(job->layer_count + 1, sizeof *job->layers)))
        return organ_fail_memory(error, job->model->path);
    if (job->shares[ORGAN_WIDTH_EXPERTS].keep && parts_list_experts(job, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->part_count; k++)
        enter_kept_channels(job, &job->parts[k]);
    return ORGAN_OK;
}

#define FLOAT_MULTIPLE   32  /* number of channels must be a multiple of this for kernels of floats */
#define K_QUANT_MULTIPLE 256 /* ... and of this for the K-quants of GGUF */

/* ---- numbers of the options ---- */

/* The value `text` of the option is a share or a number of `total` units; `what` names the units in messages. Kept
 * numbers are multiples of `multiple`. */
typedef struct setting {
    const char *option, *text, *what;
    size_t total, multiple;
} setting;

/* Returns the text after the number; NULL if there is no number or it has more than 20 characters. */
static const char *read_number(const char *text, double *value)
{
    const size_t digits = strspn(text, "0123456789.");
    char *end = NULL;
    if (digits == 0 || digits > 20 || text[0] == '.')
        return NULL;
    *value = organ_strtod(text, &end);
    return end == text + digits ? end : NULL;
}

static organ_status read_percent(const setting *w, double percent, size_t *keep, organ_error *error)
{
    if (!(percent > 0 && percent < 100))
        return organ_fail(error, ORGAN_USAGE, "--%s %s is not above 0 and below 100 percent", w->option, w->text);
    const double stay = percent / 100 * (double)w->total;
    *keep = (size_t)(round(stay / (double)w->multiple)) * w->multiple;
    if (*keep == 0)
        return organ_fail(error, ORGAN_USAGE,
                          "--%s %s leaves nothing: of %zu %s it is %.4g, rounded to a multiple of %zu%s", w->option,
                          w->text, w->total, w->what, stay, w->multiple, w->multiple > 1 ? " (`multiple_of`)" : "");
    if (*keep >= w->total)
        return organ_fail(
            error, ORGAN_USAGE,
            "--%s %s removes nothing: of %zu %s it is %.4g, and rounding to a multiple of %zu%s gives all of them",
            w->option, w->text, w->total, w->what, stay, w->multiple, w->multiple > 1 ? " (`multiple_of`)" : "");
    return ORGAN_OK;
}

static organ_status parse_setting(const setting *w, size_t *keep, organ_error *error)
{
    double value = 0;
    const char *const unit = read_number(w->text, &value);
    if (unit && strcmp(unit, "%") == 0)
        return read_percent(w, value, keep, error);
    if (!unit || *unit || value != floor(value))
        return organ_fail(error, ORGAN_USAGE, "--%s '%s' is neither a share (75%%) nor a number of %s", w->option,
                          w->text, w->what);
    if (!(value > 0 && value < (double)w->total))
        return organ_fail(error, ORGAN_USAGE, "--%s %s: keep 1 to %zu of the %zu %s", w->option, w->text, w->total - 1,
                          w->total, w->what);
    *keep = (size_t)value;
    return *keep % w->multiple == 0 ? ORGAN_OK
                                    : organ_fail(error, ORGAN_USAGE, "--%s %s is not a multiple of %zu (`multiple_of`)",
                                                 w->option, w->text, w->multiple);
}

/* ---- widths of the model ---- */

/* All layers must have the same number of columns, because config.json and GGUF store one number for all layers. */
static organ_status set_width(organ_width_job *job, const organ_tensor *t, organ_error *error)
{
    const uint64_t cols = organ_width_matrices(job, t).cols;
    organ_width_share *const share = &job->shares[organ_width_kind_of(t)];
    if (share->total && share->total != cols)
        return organ_fail(
            error, ORGAN_USAGE,
            "%s: '%s' has %llu channels, but earlier layers have %zu: only layers of equal width can be narrowed",
            job->model->path, t->name, (unsigned long long)cols, share->total);
    *share = (organ_width_share){.total = (size_t)cols, .columns = 1};
    return ORGAN_OK;
}

static organ_status read_ffn_option(organ_width_job *job, organ_width_kind kind, organ_error *error)
{
    const organ_width_options *const o = job->options;
    organ_width_share *const share = &job->shares[kind];
    const char *const what = kind == ORGAN_WIDTH_EXPERTS ? "channels of an expert" : "channels";
    if (!share->total)
        return ORGAN_OK;
    share->multiple = o->multiple_of;
    if (!share->multiple)
        share->multiple = job->model->gguf && share->total % K_QUANT_MULTIPLE == 0 ? K_QUANT_MULTIPLE : FLOAT_MULTIPLE;
    return parse_setting(&(setting){"ffn", o->ffn, what, share->total, share->multiple}, &share->keep, error);
}

/* If the config states the width of a shared expert as a multiple of the width of a routed expert, the shared expert
 * is narrowed by the same ratio as the routed ones. A shared expert with a gate, or with a width of its own in the
 * config, is not narrowed. */
static organ_status follow_experts(organ_width_job *job, organ_error *error)
{
    const organ_width_share *const one = &job->shares[ORGAN_WIDTH_EXPERTS];
    organ_width_share *const shared = &job->shares[ORGAN_WIDTH_SHARED];
    organ_forward_config config;
    if (organ_forward_config_read(job->model, &config, error) != ORGAN_OK)
        return error->status;
    const bool counted = !config.shared_gated && !config.shared_own;
    organ_forward_config_release(&config);
    if (!counted)
        return ORGAN_OK;
    if (shared->total % one->total)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: its shared expert has %zu channels, not a multiple of the %zu of a routed one",
                          job->model->path, shared->total, one->total);
    shared->keep = shared->total / one->total * one->keep;
    shared->multiple = one->multiple;
    return ORGAN_OK;
}

/* For a model that has both feed-forwards and experts, a number would be ambiguous, so a percentage is required. If
 * the model has only a shared expert, --ffn is for the shared expert. */
static organ_status plan_ffn(organ_width_job *job, organ_error *error)
{
    const organ_model *const model = job->model;
    for (size_t t = 0; t < model->tensor_count && !error->status; t++) {
        const organ_width_kind kind = organ_width_kind_of(&model->tensors[t]);
        if (kind < ORGAN_WIDTH_HEADS)
            set_width(job, &model->tensors[t], error);
    }
    const size_t dense = job->shares[ORGAN_WIDTH_CHANNELS].total, experts = job->shares[ORGAN_WIDTH_EXPERTS].total;
    const size_t shared = job->shares[ORGAN_WIDTH_SHARED].total;
    if (!error->status && !dense && !experts && shared) /* Granite 4 without experts */
        return read_ffn_option(job, ORGAN_WIDTH_SHARED, error);
    if (!error->status && !dense && !experts)
        return organ_fail(error, ORGAN_USAGE, "%s: has no down projection whose columns `ffn` could remove",
                          model->path);
    if (!error->status && dense && experts && !strchr(job->options->ffn, '%'))
        return organ_fail(error, ORGAN_USAGE,
                          "`ffn` %s: %s has feed-forwards of %zu channels and experts of %zu: give a share to keep",
                          job->options->ffn, model->path, dense, experts);
    if (error->status || read_ffn_option(job, ORGAN_WIDTH_CHANNELS, error) ||
        read_ffn_option(job, ORGAN_WIDTH_EXPERTS, error))
        return error->status;
    return experts && shared ? follow_experts(job, error) : ORGAN_OK;
}

/* For some GGUF architectures llama.cpp assumes that all heads together are as wide as the hidden size, regardless
 * of attention.key_length. */
static organ_status check_reader(const organ_width_job *job, organ_error *error)
{
    const char *const architecture = job->model->config.architecture;
    if (job->model->gguf && organ_pairing_has_trait(architecture, PAIRING_FULL_HEADS))
        return organ_fail(error, ORGAN_USAGE,
                          "%s: llama.cpp requires for architecture '%s' that all heads together are as wide as the "
                          "hidden size: only `ffn` can narrow a GGUF model of it",
                          job->model->path, architecture);
    return ORGAN_OK;
}

static organ_status refuse_heads(const organ_width_job *job, const char *why, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE, "%s: %s: `heads` cannot remove any", job->model->path, why);
}

static organ_status check_attention(const organ_width_job *job, const organ_forward_config *config, organ_error *error)
{
    if (config->latent.rank)
        return refuse_heads(job, "its attention is latent (MLA), and all heads share one latent key and value", error);
    if (config->compressed.q_rank)
        return refuse_heads(job, "its attention is compressed, and all heads share one key and value", error);
    if (config->gate_in_q)
        return refuse_heads(job, "its q_proj has the rows of a gate next to those of each head", error);
    for (unsigned l = 0; l < config->layers; l++)
        if (config->kinds[l].second != ORGAN_MIXER_NONE)
            return refuse_heads(job, "its attention runs in parallel with a recurrent mixer", error);
    return ORGAN_OK;
}

/* The query heads of a removed head of K and V are removed, too. */
static organ_status plan_heads(organ_width_job *job, organ_error *error)
{
    organ_forward_config config;
    if (check_reader(job, error) || organ_forward_config_read(job->model, &config, error))
        return error->status;
    if (check_attention(job, &config, error) != ORGAN_OK) {
        organ_forward_config_release(&config);
        return error->status;
    }
    job->query_heads = config.heads;
    organ_width_share *const share = &job->shares[ORGAN_WIDTH_HEADS];
    *share = (organ_width_share){.total = config.kv_heads,
                                 .columns = (size_t)config.heads / config.kv_heads * config.head_dim};
    organ_forward_config_release(&config);
    const setting w = {"heads", job->options->heads, "heads of K and V", share->total, 1};
    if (share->total < 2)
        return organ_fail(error, ORGAN_USAGE, "%s: has one head of K and V, so `heads` can remove none",
                          job->model->path);
    return parse_setting(&w, &share->keep, error);
}

/* A norm between the matrices divides by the size of all channels: without some of them, the others would get other
 * values. */
static organ_status check_inner_norms(const organ_width_job *job, const char *option, const char *norm,
                                      organ_error *error)
{
    for (size_t t = 0; t < job->model->tensor_count; t++)
        if (strstr(job->model->tensors[t].name, norm))
            return organ_fail(error, ORGAN_USAGE,
                              "%s: norm '%s' acts on all channels that reach the projection: `%s` cannot remove any",
                              job->model->path, job->model->tensors[t].name, option);
    return ORGAN_OK;
}

organ_status organ_width_plan(organ_width_job *job, organ_error *error)
{
    const organ_width_options *const o = job->options;
    if ((o->ffn && (check_inner_norms(job, "ffn", "ffn_sub_norm", error) || plan_ffn(job, error))) ||
        (o->heads && (check_inner_norms(job, "heads", "attn_sub_norm", error) || plan_heads(job, error))))
        return error->status;
    return list_parts(job, error) ? error->status : list_layers(job, error);
}
