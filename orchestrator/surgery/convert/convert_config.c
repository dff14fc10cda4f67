/* SPDX-License-Identifier: MIT
 * Makes config.json of a safetensors output: members from key-values of the GGUF file, by the rows of the tables in
 * formats/architecture/pairing.h, then members from organ_forward_config. Functions that return an int return nonzero
 * if an allocation was refused. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/architecture/layer_values.h"
#include "formats/base/json.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/surgery/readers/readers.h"

#include <math.h>
#include <organ/base.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- numbers ---- */

/* Returns a number with few digits, whose product with `width` loaders round down to `part`. 1e-6 absorbs rounding
 * errors of the quotient. */
static json_t *config_rotary(unsigned part, unsigned width)
{
    double power = 1, factor = (double)part / width;
    do {
        power *= 10;
        factor = ceil((double)part / width * power - 1e-6) / power;
    } while ((unsigned)(factor * width) != part && power < 1e9);
    return json_real(factor);
}

static json_t *config_value(const organ_gguf_kv *kv)
{
    int64_t whole;
    double real;
    if (kv->type == ORGAN_GGUF_BOOL)
        return json_boolean(kv->size && kv->bytes[0]);
    if (organ_gguf_integer_at(kv, 0, &whole))
        return json_integer(whole);
    return organ_gguf_real_at(kv, 0, &real) ? organ_convert_real(real) : NULL;
}

/* `words` is a list of items "TEXT=VALUE", separated by spaces. Returns TEXT, NULL if no item has this value. */
static json_t *config_word(const char *words, const char *value, size_t length)
{
    for (const char *at = words; *at;) {
        const size_t all = strcspn(at, " ");
        const char *const is = memchr(at, '=', all);
        if (is && all - (size_t)(is + 1 - at) == length && memcmp(is + 1, value, length) == 0)
            return json_stringn(at, (size_t)(is - at));
        at += all + (at[all] == ' ');
    }
    return NULL;
}

/* ---- members ---- */

static bool config_is_named(const char *own, const char *name) { return own && strcmp(own, name) == 0; }

static bool config_is_dense(const forward_mixture *m, const char *name)
{
    const bool step = m->dense == DENSE_STEP; /* Llama 4 */
    return config_is_named(m->dense_width, name) || config_is_named(m->dense_first, name) ||
           (step && config_is_named("intermediate_size_mlp", name)) ||
           (step && config_is_named("interleave_moe_layer_step", name));
}

static bool config_has_member(const organ_convert_job *job, const char *name)
{
    const forward_family *const f = job->family;
    const forward_mixture *const m = f->mixture;
    const forward_multipliers *const factors = f->multipliers;
    /* if there are two names, published files have the architecture's own name, or the usual one if the own is old */
    for (size_t k = 0; f->aliases && f->aliases[k][0]; k++) {
        if (config_is_named(f->aliases[k][!f->old_aliases], name))
            return true;
        if (config_is_named(f->aliases[k][f->old_aliases], name))
            return false;
    }
    if (factors && (config_is_named(factors->logit, name) || config_is_named(factors->logit_divisor, name)))
        return true;
    return config_is_named(f->eps_key, name) || config_is_named("intermediate_size", name) ||
           (m &&
            (config_is_named(m->experts, name) || config_is_named(m->used, name) || config_is_named(m->width, name) ||
             config_is_named(m->shared_width, name) || config_is_named(m->shared_count, name) ||
             config_is_dense(m, name) || config_is_named(m->scale, name) || config_is_named(m->normalise.key, name)));
}

/* `name` becomes the first of `members`, separated by blanks, that the architecture's row names, else the first that
 * does not begin with "swa."; "" if there is none. */
static void config_member(const organ_convert_job *job, const char *members, char name[ORGAN_MEMBER_ROOM])
{
    char first[ORGAN_MEMBER_ROOM] = "";
    while (organ_next_word(&members, name, ORGAN_MEMBER_ROOM)) {
        const bool windowed = strncmp(name, "swa.", strlen("swa.")) == 0;
        if (!windowed && config_has_member(job, name))
            return;
        if (!windowed && !*first)
            strcpy(first, name);
    }
    strcpy(name, first);
}

/* The key's value `tenth` is a tenth of mscale and mscale_all_dim, which are equal: DeepSeek's rotation has the
 * factor 1. `member` is the name of the second. Takes over the reference of `tenth`. */
static int put_mscales(json_t *rope, const char *member, json_t *tenth)
{
    json_t *const all = organ_convert_real(10 * json_number_value(tenth));
    json_decref(tenth);
    return !ORGAN_ADD(rope, SET("mscale", json_incref(all)), SET(member, all));
}

/* A member "rope.X" becomes X in `rope`, but rope_theta in `config`. Adds nothing if the key's value has no
 * counterpart or is an array of different numbers. Returns 0; nonzero if out of memory. */
static int config_put_row(const organ_convert_job *job, const pairing_key *row, json_t *config, json_t *rope)
{
    char key[160], name[ORGAN_MEMBER_ROOM];
    snprintf(key, sizeof key, "%s.%.*s", job->pairing->gguf, (int)strcspn(row->key, ":"), row->key);
    const organ_gguf_kv *const kv = organ_gguf_find_or_default(job->model->gguf, key);
    if (strcmp(row->key, ORGAN_MTP_KEY) == 0)
        return 0; /* organ_convert_put_blocks */
    config_member(job, row->members, name);
    if (!kv || !organ_convert_is_uniform(kv) || !*name)
        return 0;
    const bool text = kv->type == ORGAN_GGUF_STRING; /* its length, then its bytes */
    json_t *value = NULL;
    if (!job->by_name && strcmp(row->key, "block_count") == 0) /* the key counts blocks, too */
        value = json_integer(job->config.layers);
    else if (!row->words)
        value = config_value(kv);
    else if (text)
        value = config_word(row->words, (const char *)kv->bytes + sizeof(uint64_t), kv->size - sizeof(uint64_t));
    if (!value)
        return 0;
    if (strcmp(name, "final_logit_softcapping") == 0 &&
        json_number_value(value) == 0) { /* transformers divides by it */
        json_decref(value);
        value = json_null();
    }
    const char *const rotary = strncmp(name, "rope.", strlen("rope.")) == 0 ? name + strlen("rope.") : NULL;
    if (row->rule == PAIRING_TENTH)
        return put_mscales(rope, rotary, value);
    if (!rotary)
        return json_object_set_new(config, name, value);
    if (strcmp(rotary, "rope_theta") != 0)
        return json_object_set_new(rope, rotary, value);
    const char *const base = job->family ? job->family->theta_key : NULL;
    return json_object_set_new(config, base && !strchr(base, '.') ? base : rotary, value); /* config_put_dbrx: nested */
}

/* ---- members from organ_forward_config ---- */

static json_t *config_words(const organ_forward_config *c, bool (*is)(const organ_layer_kind *), const char *yes,
                            const char *no)
{
    json_t *const words = json_array();
    for (unsigned l = 0; l < c->layers; l++)
        if (json_array_append_new(words, json_string(is(&c->kinds[l]) ? yes : no))) {
            json_decref(words);
            return NULL;
        }
    return words;
}

static bool config_is_windowed(const organ_layer_kind *kind) { return kind->window > 0; }
static bool config_is_mixture(const organ_layer_kind *kind) { return kind->mixture; }
static bool config_is_indexed(const organ_layer_kind *kind) { return kind->indexed; }

/* sliding_window is null without a window. Laguna has it (0) and layer_types even if no layer has a window. */
static int config_put_windows(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    if (job->family->windows == WINDOWS_NONE || job->family->windows == WINDOWS_FLAG ||
        job->family->windows == WINDOWS_UNROTATED || job->family->windows == WINDOWS_FLAG_ALL ||
        job->family->windows == WINDOWS_FROM)
        return 0;
    const bool needed = job->family->heads == HEADS_LAGUNA; /* transformers needs both members in any case */
    if (!ORGAN_ADD(config, SET_COUNT_OF("sliding_window", c->window || needed, c->window)))
        return -1;
    if ((!c->window && !needed) || job->family->windows == WINDOWS_ALL)
        return 0;
    return !ORGAN_ADD(config,
                      SET("layer_types", config_words(c, config_is_windowed, "sliding_attention", "full_attention")));
}

static int config_put_latent(const organ_forward_config *c, json_t *config)
{
    int failed = !ORGAN_ADD(config, SET_COUNT("head_dim", c->latent.rotated));
    failed |= organ_convert_put_kv_heads(config, c->heads);
    return failed | !ORGAN_ADD(config, SET_COUNT("qk_nope_head_dim", c->latent.plain),
                               SET_COUNT("qk_rope_head_dim", c->latent.rotated),
                               SET_COUNT_OF("q_lora_rank", c->latent.q_rank, c->latent.q_rank),
                               SET_IF(c->latent.keys && c->latent.index_neighbours, "indexer_types",
                                      config_words(c, config_is_indexed, "full", "shared")));
}

static bool config_has_usual_sizes(const forward_family *f)
{
    return !f->aliases || (f->old_aliases && !f->four_times);
}

static bool config_lists_feeds(const forward_mixture *m)
{
    for (size_t k = 0; m->required && m->required[k]; k++)
        if (strcmp(m->required[k], "mlp_layer_types") == 0)
            return true;
    return m->dense == DENSE_FREQ;
}

/* Returns whether transformers would derive another list of feed-forwards from the members. */
static bool config_derives_others(const organ_convert_job *job, const json_t *config)
{
    const organ_forward_config *const c = &job->config;
    ORGAN_OWNED_JSON json_t *const object = json_copy((json_t *)config);
    bool others = false;
    if (object && job->pairing->model_type)
        json_object_set_new(object, "model_type", json_string(job->pairing->model_type));
    for (unsigned l = 0; object && l < c->layers && !others; l++) {
        ORGAN_OWNED_JSON json_t *const type =
            organ_layer_value(&(organ_layer_origin){object, c->layers, l, NULL}, "mlp_layer_types");
        const char *const word = json_string_value(type);
        others = word && (strcmp(word, "sparse") == 0) != c->kinds[l].mixture;
    }
    return others;
}

/* Layers of Laguna differ in their number of heads, and a word states its gate. Other families get num_attention_heads
 * by a row of the pairing tables. */
static int config_put_laguna(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    int failed = 0;
    if (job->family->heads != HEADS_LAGUNA)
        return 0;
    json_t *const heads = json_array();
    for (unsigned l = 0; l < c->layers; l++)
        failed |= json_array_append_new(heads, json_integer(c->kinds[l].heads));
    return failed |
           !ORGAN_ADD(config, SET_COUNT("num_attention_heads", c->heads), SET("num_attention_heads_per_layer", heads),
                      SET_TEXT("gating", c->gate_heads ? "per-head" : "per-element"));
}

/* GGUF stores these members in another form or not at all. */
static int config_put_mixture(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    const forward_mixture *const m = job->family->mixture;
    const uint64_t shared = c->expert_intermediate ? c->shared_intermediate / c->expert_intermediate : 0;
    const bool lacks = config_has_usual_sizes(job->family) && !json_object_get(config, "intermediate_size");
    return organ_convert_put_flag(config, m->normalise, c->normalise_experts) |
           !ORGAN_ADD(config, SET_IF(lacks, "intermediate_size", json_integer((json_int_t)c->expert_intermediate))) |
           !ORGAN_ADD(config, SET_IF(m->dense_first, m->dense_first, json_integer(organ_pairing_dense(c))),
                      SET_IF(m->shared_count, m->shared_count, json_integer((json_int_t)shared)),
                      SET_IF(m->selection, m->selection, json_string(c->router.logistic ? "sigmoid" : "softmax"))) |
           !ORGAN_ADD(config, SET_IF(config_lists_feeds(m) || config_derives_others(job, config), "mlp_layer_types",
                                     config_words(c, config_is_mixture, "sparse", "dense")));
}

static int config_put_sizes(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    const forward_family *const f = job->family;
    const bool sized = config_has_usual_sizes(f) && !f->attention_free;
    int failed = !ORGAN_ADD(config, SET_COUNT("vocab_size", c->vocabulary),
                            SET_IF(sized, "head_dim", json_integer(c->head_dim)));
    failed |= sized ? organ_convert_put_kv_heads(config, c->kv_heads) : 0;
    failed |= !ORGAN_ADD(config, SET_FLAG("tie_word_embeddings", c->tied_output));
    failed |= organ_convert_put_flag(config, f->qkv_bias, c->qkv_bias) |
              organ_convert_put_flag(config, f->mlp_bias, c->mlp_bias) | config_put_windows(job, config);
    if (f->output_bias.key && (!f->qkv_bias.key || strcmp(f->output_bias.key, f->qkv_bias.key)))
        failed |= organ_convert_put_flag(config, f->output_bias, c->output_bias);
    failed |= !ORGAN_ADD(config, SET_IF(f->qk_norm_key, f->qk_norm_key, json_boolean(c->qk_norm != ORGAN_QK_NORM_NONE)),
                         SET_IF(f->query_scalar, "query_pre_attn_scalar",
                                json_integer(llround(1 / (c->attention_scale * c->attention_scale)))));
    if (f->mixture && c->experts)
        failed |= config_put_mixture(job, config);
    if (c->latent.rank)
        return failed | config_put_latent(c, config);
    if (c->rope.dimensions != c->head_dim || (f->rotated_part > 0 && f->rotated_part < 1))
        failed |= !ORGAN_ADD(config, SET(f->rotated_key ? f->rotated_key : "partial_rotary_factor",
                                         config_rotary(c->rope.dimensions, c->head_dim)));
    return failed;
}

static int config_put_dbrx(const organ_forward_config *c, json_t *config)
{
    json_t *const attention =
        ORGAN_OBJECT(SET_COUNT("kv_n_heads", c->kv_heads), SET("rope_theta", organ_convert_real(c->rope.theta)),
                     SET("clip_qkv", c->clip_qkv > 0 ? organ_convert_real(c->clip_qkv) : json_null()));
    json_t *const feed = ORGAN_OBJECT(
        SET("ffn_act_fn", ORGAN_OBJECT(SET_TEXT("name", "silu"))), SET_COUNT("ffn_hidden_size", c->expert_intermediate),
        SET_COUNT("moe_num_experts", c->experts), SET_COUNT("moe_top_k", c->experts_used),
        SET("moe_normalize_expert_weights", c->normalise_experts ? json_real(1) : json_null()));
    return !ORGAN_ADD(config, SET("attn_config", attention), SET("ffn_config", feed));
}

/* BigCode, MPT, DBRX and Falcon configure heads, norms and ALiBi with these members. */
static int config_put_early(const organ_convert_job *job, json_t *config)
{
    const organ_forward_config *const c = &job->config;
    const bool one = c->kv_heads == 1;
    if (job->family->early == EARLY_BIGCODE)
        return !ORGAN_ADD(config, SET_FLAG("multi_query", one));
    if (job->family->early == EARLY_MPT) {
        json_t *const own =
            ORGAN_OBJECT(SET_FLAG("alibi", true), SET_COUNT("alibi_bias_max", lround(c->alibi_max)),
                         SET("clip_qkv", c->clip_qkv > 0 ? organ_convert_real(c->clip_qkv) : json_null()));
        return !ORGAN_ADD(config, SET("attn_config", own));
    }
    if (job->family->early == EARLY_DBRX)
        return config_put_dbrx(c, config);
    if (!job->family->falcon)
        return 0;
    return !ORGAN_ADD(config, SET_FLAG("new_decoder_architecture", !one || !c->one_norm), SET_FLAG("multi_query", one),
                      SET_COUNT("num_ln_in_parallel_attn", c->one_norm ? 1 : 2),
                      SET_COUNT("ffn_hidden_size", c->intermediate));
}

/* ---- frequency divisors of the rotation ---- */

static organ_status config_read_factors(organ_convert_job *job, const char *name, float *values, organ_error *error)
{
    const organ_weight *const weight = organ_weights_named(job->weights, name);
    if (!weight || weight->elements != job->config.rope.dimensions / 2 || weight->rank != 1)
        return organ_convert_unknown(job, name, "is missing or does not have one number for each pair of dimensions",
                                     error);
    return organ_convert_values(job, weight, values, error);
}

/* GGUF lacks the parameters, so those of published models are tried: `factors`, high_freq_factor 4 or 1 (Llama 4),
 * and a context of 8192, then of 2^4 to 2^20. They must give exactly the divisors `values` (rope_freqs.weight). Does
 * nothing if key-values of the file have already given `rope` members. */
static organ_status config_find_llama3(organ_convert_job *job, const float *values, json_t *rope, organ_error *error)
{
    static const double factors[] = {8, 32, 16, 4, 2, 64};
    enum { FACTORS = sizeof factors / sizeof *factors, USUAL = 8192, FIRST = 4, LAST = 20 };
    const unsigned count = job->config.rope.dimensions / 2;
    ORGAN_OWNED float *const tried = malloc((count + 1) * sizeof *tried);
    if (!tried)
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < 2 * FACTORS * (LAST - FIRST + 2) && !json_object_size(rope); k++) {
        organ_rope_config r = job->config.rope;
        r.factor = factors[k % FACTORS];
        r.low_freq_factor = 1;
        r.high_freq_factor = k / FACTORS % 2 == 0 ? 4 : 1;
        r.original_context = k < 2 * FACTORS ? USUAL : UINT64_C(1) << (k / (2 * FACTORS) - 1 + FIRST);
        organ_convert_llama3(&r, tried);
        if (memcmp(tried, values, count * sizeof *tried) == 0 &&
            !ORGAN_ADD(rope, SET_TEXT("rope_type", "llama3"), SET_REAL("factor", r.factor),
                       SET_REAL("low_freq_factor", 1), SET_REAL("high_freq_factor", r.high_freq_factor),
                       SET_COUNT("original_max_position_embeddings", r.original_context)))
            return organ_fail_memory(error, job->options->model);
    }
    if (!json_object_size(rope))
        organ_convert_unknown(job, "rope_freqs.weight", "has divisors that no known rope_type gives", error);
    return error->status;
}

/* The pairs that rotate come first and have the divisor 1; the others have ORGAN_CONVERT_STILL. Other divisors are
 * refused. */
static organ_status config_find_rotary(organ_convert_job *job, const float *values, json_t *rope, organ_error *error)
{
    const unsigned count = job->config.rope.dimensions / 2;
    unsigned turning = 0, still;
    while (turning < count && values[turning] == 1)
        turning++;
    for (still = turning; still < count && values[still] == ORGAN_CONVERT_STILL;)
        still++;
    if (still < count || turning == 0)
        return organ_convert_unknown(job, "rope_freqs.weight", "has divisors that no known rope_type gives", error);
    return ORGAN_ADD(rope, SET_TEXT("rope_type", "proportional"),
                     SET("partial_rotary_factor", config_rotary(2 * turning, 2 * count)))
               ? ORGAN_OK
               : organ_fail_memory(error, job->options->model);
}

static organ_status config_put_factors(organ_convert_job *job, json_t *rope, organ_error *error)
{
    static const char *const lists[][2] = {{ORGAN_ROPE_LONG, "long_factor"}, {ORGAN_ROPE_SHORT, "short_factor"}};
    const unsigned count = job->config.rope.dimensions / 2;
    ORGAN_OWNED float *const values = calloc(count + 1, sizeof *values);
    if (!values)
        return organ_fail_memory(error, job->options->model);
    if (organ_weights_named(job->weights, "rope_freqs.weight") &&
        config_read_factors(job, "rope_freqs.weight", values, error) == ORGAN_OK) {
        if (job->family->global_heads)
            config_find_rotary(job, values, rope, error);
        else
            config_find_llama3(job, values, rope, error);
    }
    for (size_t k = 0; k < 2 && job->config.rope.kind == ORGAN_ROPE_LONGROPE && !error->status; k++) {
        json_t *const list = json_array();
        config_read_factors(job, lists[k][0], values, error);
        for (unsigned i = 0; i < count; i++)
            json_array_append_new(list, organ_convert_real((double)values[i]));
        ORGAN_ADD(rope, SET(lists[k][1], list), SET_TEXT("rope_type", "longrope")); /* config_text counts refusals */
    }
    return error->status;
}

/* ---- the whole file ---- */

static int config_put_rows(const organ_convert_job *job, json_t *config, json_t *rope)
{
    const pairing_key *row;
    int failed = 0;
    for (size_t k = 0; (row = organ_pairing_key_at(job->pairing, k)); k++)
        failed |= config_put_row(job, row, config, rope);
    return failed;
}

/* `rope` usually becomes rope_scaling. If layers with and without a window rotate differently, and the architecture
 * has no other members for that, rope_parameters gets an object for each kind of layer. */
static int config_put_rotation(const organ_convert_job *job, json_t *config, json_t *rope)
{
    const organ_forward_config *const c = &job->config;
    const organ_rope_config *const local = &c->rope_local;
    const forward_family *const f = job->family;
    const bool own_part = f->local == LOCAL_OWN && f->rotated_part > 0; /* windowed layers may rotate another part */
    if (!own_part && !f->global_heads && (f->local != LOCAL_PLAIN || local->theta == c->rope.theta))
        return json_object_get(rope, "rope_type") ? json_object_set(config, "rope_scaling", rope) : 0;
    int failed = !ORGAN_ADD(rope, SET("rope_theta", json_incref(json_object_get(config, "rope_theta"))),
                            SET_IF(!json_object_get(rope, "rope_type"), "rope_type", json_string("default")),
                            SET_IF(own_part, "partial_rotary_factor", config_rotary(c->rope.dimensions, c->head_dim)));
    failed |= json_object_del(config, "rope_theta");
    json_t *const own =
        ORGAN_OBJECT(SET_TEXT("rope_type", "default"), SET("rope_theta", organ_convert_real(local->theta)),
                     SET_IF(own_part, "partial_rotary_factor", config_rotary(local->dimensions, c->head_dim)));
    return failed | !ORGAN_ADD(config, SET("rope_parameters", ORGAN_OBJECT(SET("full_attention", json_incref(rope)),
                                                                           SET("sliding_attention", own))));
}

/* Returns job->own_config with the members torch_dtype and quantization_config of `made`; NULL with an error. The
 * caller frees the text. */
static char *config_edited(organ_convert_job *job, const json_t *made, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    const json_t *const codes = json_object_get(made, "quantization_config");
    const bool begun =
        organ_json_edit_begin(&edit, ORGAN_GGUF_CONFIG, job->own_config, strlen(job->own_config), error) == ORGAN_OK;
    const char *const type = begun && organ_json_edit_has(&edit, NULL, "dtype") ? "dtype" : "torch_dtype";
    const json_t *const own = json_object_get(made, "torch_dtype");
    if (begun && !json_equal(json_object_get(job->file, type), own))
        organ_json_edit_set(&edit, NULL, type, own, error);
    if (!error->status && organ_config_drop_quantisation(&edit, error) == ORGAN_OK && codes)
        organ_json_edit_set(&edit, NULL, "quantization_config", codes, error);
    char *const text = error->status ? NULL : edit.bytes;
    if (text)
        edit.bytes = NULL;
    return text;
}

/* The GGUF file lacks ORGAN_GGUF_CONFIG, the text of its config.json. */
static int config_put_named(const organ_convert_job *job, json_t *config)
{
    ORGAN_OWNED_JSON json_t *const rope = json_object();
    int failed = !ORGAN_ADD(config, SET_TEXT("model_type", job->pairing->model_type),
                            SET_COUNT("vocab_size", job->config.vocabulary),
                            SET_FLAG("tie_word_embeddings", job->config.tied_output));
    failed |= config_put_rows(job, config, rope) | organ_convert_put_ids(job, config);
    failed |= json_object_get(rope, "rope_type") ? json_object_set(config, "rope_scaling", rope) : 0;
    return failed;
}

/* Like config_text, for a conversion by name. */
static char *config_text_by_name(organ_convert_job *job, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *config = NULL;
    const organ_report_work work = organ_report_begin(&config); /* a refused allocation may have left out a member */
    config = json_object();
    int failed = job->own_config ? 0 : config_put_named(job, config);
    failed |= !ORGAN_ADD(config, SET_TEXT("torch_dtype", organ_torch_dtype(job->type)));
    failed |= job->coded ? organ_convert_put_quantization(job, config) : 0;
    char *text = NULL;
    if (!failed && job->own_config)
        text = config_edited(job, config, error);
    else if (!failed)
        text = organ_json_dump(config, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (organ_report_end_partial(&work, job->options->model, error) == ORGAN_OK && !text)
        organ_fail_memory(error, job->options->model);
    return text;
}

/* Returns the text of config.json; NULL if memory ran out. The caller frees it, also after an error. */
static char *config_text(organ_convert_job *job, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *config = NULL;
    const organ_report_work work = organ_report_begin(&config); /* a refused allocation may have left out a member */
    bool no_memory = false;
    json_error_t fault;
    config = json_object();
    ORGAN_OWNED_JSON json_t *const rest =
        organ_json_load(job->pairing->rest, strlen(job->pairing->rest), 0, &fault, &no_memory);
    json_t *const rope = json_object(), *const names = json_array();
    int failed = json_array_append_new(names, json_string(job->pairing->architecture)) |
                 !ORGAN_ADD(config, SET("architectures", names), SET_TEXT("model_type", job->pairing->model_type),
                            SET_TEXT("torch_dtype", organ_torch_dtype(job->type)));
    failed |= json_object_update(config, rest) | config_put_rows(job, config, rope) | config_put_sizes(job, config) |
              organ_convert_put_gemma(job, config) | config_put_early(job, config) |
              organ_convert_put_recurrent(job, config) | organ_convert_put_streams(job, config) |
              config_put_laguna(job, config) | organ_convert_put_blocks(job, config) |
              organ_convert_put_ids(job, config);
    config_put_factors(job, rope, error);
    if (job->config.rope.kind == ORGAN_ROPE_YARN && job->config.rope.exact_range)
        failed |= json_object_set_new(rope, "truncate", json_false());
    if (json_object_get(rope, "mscale_all_dim") && !json_object_get(rope, "mscale"))
        failed |= json_object_set_new(rope, "mscale", json_real(1));
    json_t *const context = json_object_get(rope, "original_max_position_embeddings");
    if (context && (job->config.rope.kind == ORGAN_ROPE_LONGROPE || organ_convert_has_longrope(job)))
        failed |= json_object_set(config, "original_max_position_embeddings", context);
    failed |= config_put_rotation(job, config, rope) | !organ_readers_put_names(config) |
              (job->coded ? organ_convert_put_quantization(job, config) : 0);
    char *const text = failed ? NULL : organ_json_dump(config, JSON_INDENT(2) | JSON_REAL_PRECISION(9));
    if (organ_report_end_partial(&work, job->options->model, error) == ORGAN_OK && !text)
        organ_fail_memory(error, job->options->model);
    json_decref(rope);
    return text;
}

/* Adds the files of the tokenizer to job->files. `config`: text of config.json. Without a tokenizer in the GGUF file
 * there is no generation_config.json either. */
static organ_status config_tokenizer(organ_convert_job *job, const char *config, organ_error *error)
{
    if (organ_gguf_text_equals(job->model->gguf, "tokenizer.ggml.model", "none") ||
        !organ_gguf_find(job->model->gguf, "tokenizer.ggml.model"))
        return error->status;
    organ_written_file *const made = job->files + job->file_count;
    made[0].name = "tokenizer.json";
    made[1].name = "tokenizer_config.json";
    job->file_count += 2;
    organ_tokenizer_difference difference;
    if (organ_tokenizer_to_json(job->model, config, &made[0].bytes, &made[1].bytes, &difference, error) != ORGAN_OK)
        return error->status;
    if (difference.found)
        organ_progress_warn(job->progress,
                            "transformers 5.24 loads the tokenizer of this model type in a class with its own "
                            "normalizer and pre-tokenizer: %s",
                            difference.text);
    char *const generation = organ_convert_generation(job, error);
    job->files[job->file_count++] = (organ_written_file){.name = "generation_config.json", .bytes = generation};
    organ_written_file pieces = {.name = "tokenizer.model"};
    if (!error->status)
        organ_tokenizer_to_pieces(job->model, &pieces.bytes, &pieces.length, error);
    if (pieces.bytes)
        job->files[job->file_count++] = pieces;
    return error->status;
}

organ_status organ_convert_config(organ_convert_job *job, organ_error *error)
{
    if (job->type != ORGAN_BF16 && job->type != ORGAN_F16 && job->type != ORGAN_F32)
        return organ_fail(error, ORGAN_USAGE, "`dtype`: tensors of safetensors can become bf16, f16 or f32");
    /* those added below, the two of organ_convert_pooling, those of the preprocessor, and the end of the list */
    enum { MOST_FILES = 8 + CONVERT_TOWER_FILES + 1 };
    if (!(job->files = calloc(MOST_FILES, sizeof *job->files)))
        return organ_fail_memory(error, job->options->model);
    if (organ_convert_check_layers(job, error) != ORGAN_OK)
        return error->status;
    char *config;
    if (job->towers.written)
        config = organ_convert_tower_config(job, error);
    else
        config = job->by_name ? config_text_by_name(job, error) : config_text(job, error);
    job->files[job->file_count++] = (organ_written_file){.name = "config.json", .bytes = config};
    char *const card = error->status ? NULL : organ_convert_card(job, error);
    if (card)
        job->files[job->file_count++] = (organ_written_file){.name = "README.md", .bytes = card};
    if (!error->status)
        organ_convert_pooling(job, error);
    if (!error->status)
        organ_convert_tower_files(job, error);
    return error->status ? error->status : config_tokenizer(job, config, error);
}
