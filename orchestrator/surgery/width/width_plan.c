/* SPDX-License-Identifier: MIT
 * Counts the channels and heads of a model, and computes from the options how many are kept. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/width/width_job.h"

#include "formats/base/path.h"
#include <organ/forward.h>
#include "orchestrator/surgery/inputs/inputs.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

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
static const char *plan_number(const char *text, double *value)
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
                          w->text, w->total, w->what, stay, w->multiple, w->multiple > 1 ? " (--multiple-of)" : "");
    if (*keep >= w->total)
        return organ_fail(
            error, ORGAN_USAGE,
            "--%s %s removes nothing: of %zu %s it is %.4g, and rounding to a multiple of %zu%s gives all of them",
            w->option, w->text, w->total, w->what, stay, w->multiple, w->multiple > 1 ? " (--multiple-of)" : "");
    return ORGAN_OK;
}

static organ_status parse_setting(const setting *w, size_t *keep, organ_error *error)
{
    double value = 0;
    const char *const unit = plan_number(w->text, &value);
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
                                    : organ_fail(error, ORGAN_USAGE, "--%s %s is not a multiple of %zu (--multiple-of)",
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
        return organ_fail(error, ORGAN_USAGE, "%s: has no down projection whose columns --ffn could remove",
                          model->path);
    if (!error->status && dense && experts && !strchr(job->options->ffn, '%'))
        return organ_fail(error, ORGAN_USAGE,
                          "--ffn %s: %s has feed-forwards of %zu channels and experts of %zu: give a share to keep",
                          job->options->ffn, model->path, dense, experts);
    if (error->status || read_ffn_option(job, ORGAN_WIDTH_CHANNELS, error) ||
        read_ffn_option(job, ORGAN_WIDTH_EXPERTS, error))
        return error->status;
    return experts && shared ? follow_experts(job, error) : ORGAN_OK;
}

/* For these GGUF architectures llama.cpp assumes that all heads together are as wide as the hidden size, regardless
 * of attention.key_length. */
static organ_status check_reader(const organ_width_job *job, organ_error *error)
{
    static const char *const fixed[] = {"qwen2", "qwen2moe", "phi3", NULL};
    const char *const architecture = job->model->config.architecture;
    if (job->model->gguf && organ_is_one_of(architecture, fixed))
        return organ_fail(error, ORGAN_USAGE,
                          "%s: llama.cpp requires for architecture '%s' that all heads together are as wide as the "
                          "hidden size: only --ffn can narrow a GGUF model of it",
                          job->model->path, architecture);
    return ORGAN_OK;
}

static organ_status refuse_heads(const organ_width_job *job, const char *why, organ_error *error)
{
    return organ_fail(error, ORGAN_USAGE, "%s: %s: --heads cannot remove any", job->model->path, why);
}

static organ_status check_attention(const organ_width_job *job, const organ_forward_config *config, organ_error *error)
{
    if (config->latent.rank)
        return refuse_heads(job, "its attention is latent (MLA), and all heads share one latent key and value", error);
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
        return organ_fail(error, ORGAN_USAGE, "%s: has one head of K and V, so --heads can remove none",
                          job->model->path);
    return parse_setting(&w, &share->keep, error);
}

organ_status organ_width_plan(organ_width_job *job, organ_error *error)
{
    const organ_width_options *const o = job->options;
    if ((o->ffn && plan_ffn(job, error)) || (o->heads && plan_heads(job, error)))
        return error->status;
    return organ_width_list(job, error);
}
