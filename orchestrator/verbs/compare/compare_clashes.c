/* SPDX-License-Identifier: MIT
 * Lists settings, heads and sizes of models that a merge would clash on. */
#include "orchestrator/verbs/compare/compare_job.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/output/head.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <organ/architecture.h>
#include <stdio.h>
#include <string.h>

#define VALUE_TEXT 64

/* Settings of the text model. EVERY: both formats have them; ONE: compared between models of one format, because the
 * other states them in another way. */
#define SETTINGS(EVERY, ONE)                                                                                           \
    EVERY("hidden_size", hidden)                                                                                       \
    EVERY("num_hidden_layers", layers)                                                                                 \
    EVERY("vocab_size", vocabulary)                                                                                    \
    EVERY("rope_theta", rope.theta)                                                                                    \
    EVERY("rotated dimensions", rope.dimensions)                                                                       \
    EVERY("max_position_embeddings", context)                                                                          \
    EVERY("rms_norm_eps", rms_eps)                                                                                     \
    EVERY("activation", activation)                                                                                    \
    EVERY("kind of norm", norm)                                                                                        \
    EVERY("norm of q and k", qk_norm)                                                                                  \
    EVERY("experts", experts)                                                                                          \
    ONE("num_attention_heads", heads)                                                                                  \
    ONE("num_key_value_heads", kv_heads)                                                                               \
    ONE("head_dim", head_dim)                                                                                          \
    ONE("intermediate_size", intermediate)                                                                             \
    ONE("num_experts_per_tok", experts_used)                                                                           \
    ONE("moe_intermediate_size", expert_intermediate)                                                                  \
    ONE("kind of RoPE scaling", rope.kind)                                                                             \
    ONE("RoPE scaling factor", rope.factor)                                                                            \
    ONE("original context of RoPE scaling", rope.original_context)                                                     \
    ONE("low_freq_factor", rope.low_freq_factor)                                                                       \
    ONE("high_freq_factor", rope.high_freq_factor)                                                                     \
    ONE("attention_factor of RoPE scaling", rope.attention_factor)                                                     \
    ONE("sliding_window", window)                                                                                      \
    ONE("places of norms", norms)                                                                                      \
    ONE("scale of attention scores", attention_scale)                                                                  \
    ONE("scale of embeddings", embedding_scale)                                                                        \
    ONE("scale of the residual", residual_scale)                                                                       \
    ONE("scale of logits", logit_scale)                                                                                \
    ONE("attn_logit_softcapping", attention_softcap)                                                                   \
    ONE("final_logit_softcapping", final_softcap)

void organ_compare_clash(compare_job *job, const char *what, const char *const *values)
{
    char text[COMPARE_MODELS * (VALUE_TEXT + 8)] = "";
    for (size_t k = 0, used = 0; k < job->count; k++)
        if (values[k]) {
            const int n = snprintf(text + used, sizeof text - used, "%s%s: %.*s", used ? ", " : "",
                                   organ_compare_label(k), VALUE_TEXT, values[k]);
            used += (size_t)n;
        }
    json_t *const row = ORGAN_OBJECT(SET_TEXT("what", what), SET_BYTES("values", text));
    job->broken |= json_array_append_new(job->clashes, row) != 0;
}

/* ---- settings ---- */

typedef struct clash_value {
    const char *name;
    bool every;
    double of[COMPARE_MODELS];
} clash_value;

/* Rounding to FP32 is no difference. */
static bool is_same(double a, double b) { return a == b || fabs(a - b) <= 1e-6 * fmax(fabs(a), fabs(b)); }

static void compare_setting(compare_job *job, const clash_value *value, const bool *known)
{
    char text[COMPARE_MODELS][32];
    const char *values[COMPARE_MODELS] = {0};
    size_t first = COMPARE_NONE;
    bool differs = false;
    for (size_t k = 0; k < job->count; k++) {
        const bool comparable = value->every || !job->models[k].model->gguf == !job->models[job->form].model->gguf;
        if (!known[k] || !comparable)
            continue;
        first = first == COMPARE_NONE ? k : first;
        differs |= !is_same(value->of[first], value->of[k]);
        organ_snprintf(text[k], sizeof text[k], "%.10g", value->of[k]);
        values[k] = text[k];
    }
    if (differs)
        organ_compare_clash(job, value->name, values);
}

#define SETTING_EVERY(name, member) compare_setting(job, SETTING_OF(name, true, member), known);
#define SETTING_ONE(name, member)   compare_setting(job, SETTING_OF(name, false, member), known);
#define SETTING_OF(name, every, member)                                                                                \
    &(clash_value)                                                                                                     \
    {                                                                                                                  \
        (name), (every),                                                                                               \
        {                                                                                                              \
            (double)c[0].member, (double)c[1].member, (double)c[2].member, (double)c[3].member, (double)c[4].member,   \
                (double)c[5].member, (double)c[6].member, (double)c[7].member                                          \
        }                                                                                                              \
    }
_Static_assert(COMPARE_MODELS == 8, "SETTING_OF lists the models");

static void compare_settings(compare_job *job, const organ_forward_config *c, const bool *known)
{
    SETTINGS(SETTING_EVERY, SETTING_ONE)
}

/* ---- heads and types ---- */

/* Values that are equal in all models are no clash. */
static void compare_texts(compare_job *job, const char *what, char text[COMPARE_MODELS][VALUE_TEXT])
{
    const char *values[COMPARE_MODELS];
    bool differs = false;
    for (size_t k = 0; k < job->count; k++) {
        values[k] = text[k];
        differs |= strcmp(text[k], text[0]) != 0;
    }
    if (differs)
        organ_compare_clash(job, what, values);
}

static organ_status compare_heads(compare_job *job, organ_error *error)
{
    char head[COMPARE_MODELS][VALUE_TEXT], type[COMPARE_MODELS][VALUE_TEXT], embed[COMPARE_MODELS][VALUE_TEXT];
    for (size_t k = 0; k < job->count; k++) {
        const compare_model *const m = &job->models[k];
        organ_head found = {0};
        if (organ_head_find(m->model, m->weights, job->engine, &found, error))
            return error->status;
        snprintf(head[k], VALUE_TEXT, "%s", found.own ? "stored" : "the embedding");
        snprintf(type[k], VALUE_TEXT, "none");
        snprintf(embed[k], VALUE_TEXT, "none");
        if (found.own)
            organ_weight_text(found.stored, type[k], VALUE_TEXT);
        if (found.embedding)
            organ_weight_text(found.embedding, embed[k], VALUE_TEXT);
    }
    compare_texts(job, "output head", head);
    compare_texts(job, "type of the output head", type);
    compare_texts(job, "type of the embedding", embed);
    return ORGAN_OK;
}

organ_status organ_compare_settings(compare_job *job, organ_error *error)
{
    organ_forward_config configs[COMPARE_MODELS];
    bool known[COMPARE_MODELS] = {0};
    memset(configs, 0, sizeof configs);
    for (size_t k = 0; k < job->count && !error->status; k++) {
        organ_error refused = {0};
        known[k] = organ_forward_config_read(job->models[k].model, &configs[k], &refused) == ORGAN_OK;
        if (refused.status == ORGAN_BAD_INPUT)
            organ_say(job->notes, "The settings of %s are not compared: %s", organ_compare_label(k), refused.message);
        else if (refused.status)
            *error = refused;
    }
    if (!error->status) {
        compare_settings(job, configs, known);
        compare_heads(job, error);
    }
    for (size_t k = 0; k < job->count; k++)
        if (known[k])
            organ_forward_config_release(&configs[k]);
    return error->status;
}
