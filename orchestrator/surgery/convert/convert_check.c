/* SPDX-License-Identifier: MIT
 * Reads the configuration of the output and compares it with that of the model: what one format cannot express is an
 * error, not an approximation. */
#include "orchestrator/surgery/convert/convert_job.h"

#include <math.h>

#define CHECK_FIELDS(X)                                                                                                \
    X(layers)                                                                                                          \
    X(hidden)                                                                                                          \
    X(heads)                                                                                                           \
    X(kv_heads)                                                                                                        \
    X(head_dim)                                                                                                        \
    X(vocabulary)                                                                                                      \
    X(context)                                                                                                         \
    X(rms_eps)                                                                                                         \
    X(attention_scale)                                                                                                 \
    X(embedding_scale)                                                                                                 \
    X(residual_scale)                                                                                                  \
    X(logit_scale)                                                                                                     \
    X(attention_softcap)                                                                                               \
    X(final_softcap)                                                                                                   \
    X(clip_qkv)                                                                                                        \
    X(activation)                                                                                                      \
    X(norms)                                                                                                           \
    X(norm)                                                                                                            \
    X(qk_norm)                                                                                                         \
    X(parallel)                                                                                                        \
    X(one_norm)                                                                                                        \
    X(tied_output)                                                                                                     \
    X(qkv_bias)                                                                                                        \
    X(output_bias)                                                                                                     \
    X(mlp_bias)                                                                                                        \
    X(rope.theta)                                                                                                      \
    X(rope.dimensions)                                                                                                 \
    X(rope_local.theta)                                                                                                \
    X(experts)                                                                                                         \
    X(experts_used)                                                                                                    \
    X(expert_intermediate)                                                                                             \
    X(normalise_experts)                                                                                               \
    X(shared_intermediate)                                                                                             \
    X(router.logistic)                                                                                                 \
    X(router.corrected)

typedef struct check_field {
    const char *name;
    double before, after;
} check_field;

static bool check_is_same(double a, double b) { return fabs(a - b) <= 1e-6 * fmax(fabs(a), fabs(b)); }

/* No scale and a scale of 1, no groups and one group mean the same. */
static double check_scale(const organ_forward_config *c) { return c->router_scale != 0 ? (double)c->router_scale : 1; }
static double check_groups(const organ_forward_config *c) { return c->router_groups > 1 ? c->router_groups : 0; }

static organ_status check_refuse(const organ_convert_job *job, const char *what, double before, double after,
                                 organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: %s is %g, and programs would read %g from %s: this model cannot be converted to it",
                      job->model->path, what, before, after,
                      job->to_gguf ? "a GGUF file of its architecture" : "config.json");
}

static organ_status check_layers(const organ_convert_job *job, const organ_forward_config *made, organ_error *error)
{
    bool window = false;
    for (unsigned l = 0; l < made->layers && !error->status; l++) {
        const organ_layer_kind *const a = &job->config.kinds[l], *const b = &made->kinds[l];
        window = window || a->window != b->window;
        if (a->mixture != b->mixture)
            check_refuse(job, "the number of experts of a layer", a->mixture, b->mixture, error);
        else if (a->rotated != b->rotated)
            check_refuse(job, "the rotation of a layer", a->rotated, b->rotated, error);
        else if (a->heads != b->heads || a->kv_heads != b->kv_heads || a->head_dim != b->head_dim)
            check_refuse(job, "the heads of a layer", a->heads, b->heads, error);
    }
    if (window && !error->status)
        organ_progress_note(job->progress,
                            "the sliding window of %u tokens is lost: files of %s have none, so longer texts score "
                            "otherwise",
                            job->config.window, job->exchange->gguf);
    return error->status;
}

organ_status organ_convert_check(void *context, const char *to, const char *path, organ_error *error)
{
    const organ_convert_job *const job = context;
    organ_model *model = NULL;
    organ_forward_config made = {0};
    (void)to;
    if (organ_model_open(path, &model, error) == ORGAN_OK &&
        organ_forward_config_read(model, &made, error) == ORGAN_OK) {
#define FIELD(field) {#field, (double)job->config.field, (double)made.field},
        const check_field fields[] = {
            CHECK_FIELDS(FIELD){"router_scale", check_scale(&job->config), check_scale(&made)},
            {"router_groups", check_groups(&job->config), check_groups(&made)}};
#undef FIELD
        for (size_t k = 0; k < sizeof fields / sizeof *fields && !error->status; k++)
            if (!check_is_same(fields[k].before, fields[k].after))
                check_refuse(job, fields[k].name, fields[k].before, fields[k].after, error);
        if (!error->status)
            check_layers(job, &made, error);
    }
    organ_forward_config_release(&made);
    organ_model_close(model);
    return error->status;
}
