/* SPDX-License-Identifier: MIT
 * Reads the configuration of the output and compares it with that of the model: a setting that the other format cannot
 * express is an error, not an approximation. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/base/plain_numbers.h"

#include <math.h>
#include <string.h>

/* Members of organ_forward_config whose values in the output must equal those in the model. The macros apply X to each
 * member. */
#define CHECK_FIELDS(X)                                                                                                \
    X(layers)                                                                                                          \
    X(hidden)                                                                                                          \
    X(vocabulary)                                                                                                      \
    X(rms_eps)                                                                                                         \
    X(residual_scale)                                                                                                  \
    X(attention_softcap)                                                                                               \
    X(final_softcap)                                                                                                   \
    X(clip_qkv)                                                                                                        \
    X(activation)                                                                                                      \
    X(gate_alpha)                                                                                                      \
    X(blocks.size)                                                                                                     \
    X(blocks.chosen)                                                                                                   \
    X(blocks.local)                                                                                                    \
    X(blocks.heads)                                                                                                    \
    X(blocks.dim)                                                                                                      \
    X(norms)                                                                                                           \
    X(norm)                                                                                                            \
    X(qk_norm)                                                                                                         \
    X(parallel)                                                                                                        \
    X(one_norm)                                                                                                        \
    X(tied_output)                                                                                                     \
    X(qkv_bias)                                                                                                        \
    X(output_bias)                                                                                                     \
    X(mlp_bias)                                                                                                        \
    X(recurrent.heads)                                                                                                 \
    X(recurrent.groups)                                                                                                \
    X(recurrent.key_dim)                                                                                               \
    X(recurrent.value_dim)                                                                                             \
    X(recurrent.kernel)                                                                                                \
    X(recurrent.twice)                                                                                                 \
    X(recurrent.decay_limit)                                                                                           \
    X(recurrent.rank)                                                                                                  \
    X(per_layer_width)                                                                                                 \
    X(dual_ffn)                                                                                                        \
    X(streams)                                                                                                         \
    X(streams_scaled)                                                                                                  \
    X(laurel_rank)                                                                                                     \
    X(experts)

/* Members that are compared only if the output has experts; config.json of a dense model may have them, too. */
#define CHECK_EXPERTS(X)                                                                                               \
    X(experts_used)                                                                                                    \
    X(expert_intermediate)                                                                                             \
    X(normalise_experts)                                                                                               \
    X(shared_intermediate)                                                                                             \
    X(router.logistic)                                                                                                 \
    X(router.cap)                                                                                                      \
    X(shared_average)                                                                                                  \
    X(router.corrected)

/* Members that are compared only if the model has attention. */
#define CHECK_ATTENTION(X)                                                                                             \
    X(context)                                                                                                         \
    X(rope.theta)                                                                                                      \
    X(rope.dimensions)                                                                                                 \
    X(rope.attention_factor)                                                                                           \
    X(rope.exact_range)                                                                                                \
    X(gate_heads)                                                                                                      \
    X(rope_local.theta)                                                                                                \
    X(query_scale.beta)

typedef struct check_field {
    const char *name;
    double before, after;
} check_field;

/* Rounding to FP32 is no difference. */
static bool check_is_same(double a, double b) { return a == b || fabs(a - b) <= 1e-6 * fmax(fabs(a), fabs(b)); }

/* Without a factor the result is 1, which means the same. */
static double check_scale(const organ_forward_config *c) { return c->router_scale != 0 ? (double)c->router_scale : 1; }
/* Returns 0 if layers may differ: check_layers compares them. */
static double check_heads(const organ_convert_job *job, const organ_forward_config *c)
{
    return organ_heads_by_layer(job->family) ? 0 : c->heads;
}
/* Returns 0 if queries are not scaled by position (query_scale.beta 0). */
static double check_query_length(const organ_forward_config *c)
{
    return c->query_scale.beta != 0 ? c->query_scale.length : 0;
}
/* Returns 1 for latent attention, whose GGUF files have one latent head, and for Gemma 4 (the architecture with
 * value_norm), whose layers differ: check_layers compares them. */
static double check_kv_heads(const organ_forward_config *c)
{
    return c->latent.rank || c->value_norm ? 1 : c->kv_heads;
}
/* Returns 1 for Gemma 4, whose layers differ: check_layers compares them. */
static double check_head_dim(const organ_forward_config *c) { return c->value_norm ? 1 : c->head_dim; }
/* If the output's weights contain the multipliers (Falcon-H1), returns `after`, so that the two are equal; except
 * for embeddings and a head that share one tensor (`tied`), because the head would then get the multiplier of the
 * embeddings. */
static double check_multiplier(const organ_convert_job *job, double before, double after, bool tied)
{
    return organ_convert_is_scaled(job) && !(tied && job->config.tied_output) ? after : before;
}
/* Returns 0 if there is no norm, 1 if it follows the gate, 2 if it precedes the gate. */
static double check_mixed_norm(const organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers; l++)
        if (c->kinds[l].mixer == ORGAN_MIXER_MAMBA2)
            return c->recurrent.normed ? 1 + c->recurrent.norm_first : 0;
    return 0;
}
/* One group is the same as none. */
static double check_groups(const organ_forward_config *c) { return c->router_groups > 1 ? c->router_groups : 0; }

/* Words for messages. `called` replaces the name of the setting (NULL: the name itself). words[v] stands for value v;
 * a setting without words has numbers. */
static const struct {
    const char *setting, *called, *words[ORGAN_MIXER_LIGHTNING + 1];
} check_words[] = {
    {"activation", NULL, {"silu", "gelu_tanh", "gelu", "relu", "relu2", "xielu"}},
    {"norms", NULL, {"before each part", "before and after each part", "after each part", "on each sum"}},
    {"norm", NULL, {"RMSNorm", "LayerNorm"}},
    {"qk_norm", NULL, {"none", "over each head", "over all heads", "over each head with its own weights"}},
    {"the norm of Mamba-2", NULL, {"none", "after the gate", "before the gate"}},
    {"the kind of a layer",
     NULL,
     {"a feed-forward", "attention", "a delta rule", "a short convolution", "Mamba", "Mamba-2", "lightning attention"}},
    {"parallel", "parallel attention and feed-forward", {"false", "true"}},
    {"one_norm", "one norm for attention and feed-forward", {"false", "true"}},
    {"tied_output", "tie_word_embeddings", {"false", "true"}},
    {"qkv_bias", "the bias of q, k and v", {"false", "true"}},
    {"output_bias", "the bias of the attention's output", {"false", "true"}},
    {"mlp_bias", NULL, {"false", "true"}},
    {"normalise_experts", "norm_topk_prob", {"false", "true"}},
    {"router.logistic", "sigmoid scores of the router", {"false", "true"}},
    {"router.corrected", "the score correction of the router", {"false", "true"}},
    {"shared_average", "the average of shared and routed experts", {"false", "true"}},
    {"the rotation of a layer", NULL, {"false", "true"}},
    {"a layer with experts", NULL, {"false", "true"}},
    {"the sparse attention of a layer", NULL, {"false", "true"}},
    {"gate_alpha", "the factor in the activation", {NULL}},
    {"router_groups", "n_group", {NULL}},
    {"recurrent.decay_limit", "kda_lower_bound (0 without kda_safe_gate)", {NULL}},
    {"router.cap", "the soft cap of router values", {NULL}},
    {"query_scale.beta", "attn_scale", {NULL}},
    {"attention_scale", "the scale of attention scores", {NULL}},
    {"final_softcap", "final_logit_softcapping", {NULL}},
    {"attention_softcap", "attn_logit_softcapping", {NULL}},
};

static const char *check_value_text(size_t k, double value, char text[24])
{
    const size_t count = sizeof check_words->words / sizeof *check_words->words;
    const bool listed = k < sizeof check_words / sizeof *check_words && value >= 0 && value < (double)count;
    if (listed && check_words[k].words[(size_t)value])
        return check_words[k].words[(size_t)value];
    organ_snprintf(text, 24, "%g", value);
    return text;
}

static organ_status check_refuse(const organ_convert_job *job, const char *what, double before, double after,
                                 organ_error *error)
{
    const size_t rows = sizeof check_words / sizeof *check_words;
    char was[24], is[24];
    size_t k = 0;
    while (k < rows && strcmp(check_words[k].setting, what) != 0)
        k++;
    const char *const called = k < rows && check_words[k].called ? check_words[k].called : what;
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: %s is %s, but programs would read %s from %s: this model cannot be converted to it",
                      job->model->path, called, check_value_text(k, before, was), check_value_text(k, after, is),
                      job->to_gguf ? "a GGUF file of its architecture" : "config.json");
}

/* The last field of the array has the name NULL. */
static void check_fields(const organ_convert_job *job, const check_field *field, organ_error *error)
{
    for (; field->name && !error->status; field++)
        if (!check_is_same(field->before, field->after))
            check_refuse(job, field->name, field->before, field->after, error);
}

/* Returns the factor that the message states: the first of the two that differs from `made`. */
static double check_factor(const float factors[2], float made)
{
    return (double)(factors[0] != made ? factors[0] : factors[1]);
}

/* Whether config.json is that of the model from which the GGUF file was made: it may have a window that the file
 * lacks. */
static bool has_own_config(const organ_convert_job *job) { return !job->to_gguf && job->towers.written; }

static void check_layer(const organ_convert_job *job, const organ_forward_config *made, unsigned l, organ_error *error)
{
    const organ_layer_kind *const a = &job->config.kinds[l], *const b = &made->kinds[l];
    const unsigned part = job->config.rope_local.dimensions, made_part = made->rope_local.dimensions;
    const bool heads = a->heads != b->heads || a->kv_heads != b->kv_heads || a->head_dim != b->head_dim;
    const struct {
        const char *setting;
        bool differs;
        double before, after;
    } settings[] = {
        {"the sparse attention of a layer", a->indexed != b->indexed && made->blocks.size, a->indexed, b->indexed},
        {"the window of a layer", a->window != b->window && made->window && !has_own_config(job), a->window, b->window},
        {"the kind of a layer", a->mixer != b->mixer || a->second != b->second, a->mixer, b->mixer},
        {"a layer with experts", a->mixture != b->mixture, a->mixture, b->mixture},
        {"the width of a layer's feed-forward", a->feed && !a->mixture && a->intermediate != b->intermediate,
         (double)a->intermediate, (double)b->intermediate},
        {"the activation sparsity of a layer",
         a->gate_is_cut != b->gate_is_cut || !check_is_same((double)a->gate_cut, (double)b->gate_cut),
         (double)a->gate_cut, (double)b->gate_cut},
        {"the limit of a layer's dense feed-forward", a->limits[0] != b->limits[0], (double)a->limits[0],
         (double)b->limits[0]},
        {"the limit of a layer's experts", a->limits[1] != b->limits[1], (double)a->limits[1], (double)b->limits[1]},
        {"the offset of shared keys and values of a layer", a->shared_at != b->shared_at, (double)a->shared_at,
         (double)b->shared_at},
        {"the rotated part of a head", b->window && part != made_part, part, made_part},
        {"the positions in a chunk of a layer", a->chunk != b->chunk, a->chunk, b->chunk},
        {"the rotation of a layer", a->rotated != b->rotated, a->rotated, b->rotated},
        {"the heads of a layer", a->mixer == ORGAN_MIXER_ATTENTION && heads, a->heads, b->heads},
        {"the factor of a layer's normed input", a->alpha[0] != b->alpha[0] || a->alpha[1] != b->alpha[1],
         check_factor(a->alpha, b->alpha[0]), (double)b->alpha[0]},
        {"the factor of a mixer's or a feed-forward's output", a->beta[0] != b->beta[0] || a->beta[1] != b->beta[1],
         check_factor(a->beta, b->beta[0]), (double)b->beta[0]},
        {"the layer whose keys and values a layer has", a->shares_with != b->shares_with, a->shares_with,
         b->shares_with},
        {"the projection of a layer's values", a->shares_with == l && a->value_is_key != b->value_is_key,
         a->value_is_key, b->value_is_key}};
    for (size_t k = 0; k < sizeof settings / sizeof *settings && !error->status; k++)
        if (settings[k].differs)
            check_refuse(job, settings[k].setting, settings[k].before, settings[k].after, error);
}

/* The indexer of organ may have another number of heads, that of llama.cpp not. */
static void check_blocks(const organ_convert_job *job, organ_error *error)
{
    const organ_forward_config *const c = &job->config;
    if (!error->status && job->to_gguf && c->blocks.size && c->blocks.heads != c->kv_heads)
        organ_fail(error, ORGAN_BAD_INPUT,
                   "%s: index_n_heads is %u, but llama.cpp takes " ORGAN_SETTING_KV_HEADS
                   ", %u, for it: this model cannot be converted to a GGUF file",
                   job->model->path, c->blocks.heads, c->kv_heads);
}

/* A sliding window or a gate limit that GGUF files of the architecture do not store is only noted. */
static organ_status check_layers(const organ_convert_job *job, const organ_forward_config *made, organ_error *error)
{
    bool window = false;
    check_blocks(job, error);
    for (unsigned l = 0; l < made->layers && !error->status; l++) {
        window = window || job->config.kinds[l].window != made->kinds[l].window;
        check_layer(job, made, l, error);
    }
    if (window && !has_own_config(job) && !error->status)
        organ_progress_warn(
            job->progress,
            "the sliding window of %u tokens is lost: files of %s do not store it, so longer texts get other scores",
            job->config.window, job->pairing->gguf);
    if (made->gate_limit != job->config.gate_limit && !error->status)
        organ_progress_warn(job->progress,
                            "the activation's limit of %g is lost: files of %s do not store it, and programs use %g",
                            job->config.gate_limit, job->pairing->gguf, made->gate_limit);
    return error->status;
}

/* GGUF files do not store these settings. This is no error, because published models have them and llama.cpp's
 * converter leaves them out. */
static void warn_of_recurrent(const organ_convert_job *job, const organ_forward_config *made)
{
    const organ_recurrent_config *const a = &job->config.recurrent, *const b = &made->recurrent;
    if (!check_is_same(a->step_min, b->step_min) || !check_is_same(a->step_max, b->step_max))
        organ_progress_warn(
            job->progress,
            "the limits of the time steps, %g and %g, are lost: files of %s do not store them, so texts "
            "get other scores where a time step is outside",
            a->step_min, a->step_max, job->pairing->gguf);
    if (a->heads && !check_is_same(a->norm_eps, b->norm_eps))
        organ_progress_warn(
            job->progress,
            "the epsilon of norms in recurrent layers is lost: files of %s have one epsilon, %g instead "
            "of %g",
            job->pairing->gguf, b->norm_eps, a->norm_eps);
}

organ_status organ_convert_check(void *context, const char *to, const char *path, organ_error *error)
{
    const organ_convert_job *const job = context;
    organ_model *model = NULL;
    ORGAN_RELEASED_BY(organ_forward_config_release) organ_forward_config made = {0};
    (void)to;
    /* a file with blocks only lacks the tensors by which layers are known */
    if (organ_model_open(path, &model, error) == ORGAN_OK && !job->by_name && !job->only &&
        organ_forward_config_read(model, &made, error) == ORGAN_OK) {
#define FIELD(field) {#field, (double)job->config.field, (double)made.field},
#define SCALED(field, tied)                                                                                            \
    {#field, check_multiplier(job, (double)job->config.field, (double)made.field, tied), (double)made.field},
        const check_field all[] = {CHECK_FIELDS(FIELD) SCALED(embedding_scale, true) SCALED(logit_scale, true){
                                       "the norm of Mamba-2", check_mixed_norm(&job->config), check_mixed_norm(&made)},
                                   {NULL, 0, 0}};
        const check_field experts[] = {
            CHECK_EXPERTS(FIELD){"router_scale", check_scale(&job->config), check_scale(&made)},
            {"router_groups", check_groups(&job->config), check_groups(&made)},
            {NULL, 0, 0}};
        const check_field attention[] = {
            CHECK_ATTENTION(FIELD)
                SCALED(attention_scale, false){"kv_heads", check_kv_heads(&job->config), check_kv_heads(&made)},
            {"heads", check_heads(job, &job->config), check_heads(job, &made)},
            {"head_dim", check_head_dim(&job->config), check_head_dim(&made)},
            {"query_scale.length", check_query_length(&job->config), check_query_length(&made)},
            {NULL, 0, 0}};
#undef SCALED
#undef FIELD
        check_fields(job, all, error);
        if (made.experts > 0)
            check_fields(job, experts, error);
        if (organ_pairing_has_attention(&job->config))
            check_fields(job, attention, error);
        if (!error->status && check_layers(job, &made, error) == ORGAN_OK) {
            warn_of_recurrent(job, &made);
            if (job->to_gguf)
                organ_convert_note_llama(job);
        }
    }
    organ_model_close(model);
    return error->status;
}
