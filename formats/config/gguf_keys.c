/* SPDX-License-Identifier: MIT
 * Reads single GGUF key-values and reports wrong types. Keys are named without their architecture; `fallback` is the
 * value of a missing key.
 * `s` is the GGUF file that is read; s->family, called the family, is the row of its architecture in families.h. `c` is
 * the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is there.
 */
#include "formats/config/gguf_readers.h"
#include "formats/architecture/pairing.h"

#include "formats/base/format_rest.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

const char *organ_key_name(const config_gguf_source *s, const char *key, char full[CONFIG_KEY_LIMIT])
{
    snprintf(full, CONFIG_KEY_LIMIT, "%s.%s", s->architecture, key);
    return full;
}

const organ_gguf_kv *organ_key_find(const config_gguf_source *s, const char *key)
{
    char full[CONFIG_KEY_LIMIT];
    return organ_gguf_find_or_default(s->model->gguf, organ_key_name(s, key, full));
}

void organ_key_refuse(const config_gguf_source *s, const char *key, const char *format, ...)
{
    char full[CONFIG_KEY_LIMIT], text[sizeof s->error->message];
    ORGAN_FORMAT_REST(text, format);
    organ_refuse(s->error, s->label, "key '%s' %s", organ_key_name(s, key, full), text);
}

/* The key may be a single number, which all indices then have. Returns UINT32_MAX for larger numbers. */
static unsigned size_at(const config_gguf_source *s, const char *key, uint64_t index, unsigned fallback)
{
    const organ_gguf_kv *kv = organ_key_find(s, key);
    int64_t value;
    if (!kv)
        return fallback;
    if (!organ_gguf_integer_at(kv, kv->type == ORGAN_GGUF_ARRAY ? index : 0, &value) || value < 0) {
        organ_key_refuse(s, key, "is not a whole number of at least 0");
        return 0;
    }
    return value > UINT32_MAX ? UINT32_MAX : (unsigned)value;
}

/* Arrays, which have no element UINT64_MAX, are errors. */
unsigned organ_key_size(const config_gguf_source *s, const char *key, unsigned fallback)
{
    return size_at(s, key, UINT64_MAX, fallback);
}

void organ_key_require(const config_gguf_source *s, const char *key)
{
    if (!organ_key_find(s, key))
        organ_key_refuse(s, key, "is missing");
}

unsigned organ_key_needed(const config_gguf_source *s, const char *key)
{
    organ_key_require(s, key);
    return organ_key_size(s, key, 0);
}

/* llama.cpp also rejects an array without block_count values. `full` is the key's whole name. */
static bool has_every_layer(const config_gguf_source *s, const char *full, const organ_gguf_kv *kv)
{
    const unsigned blocks = organ_key_size(s, "block_count", 0);
    if (kv->type != ORGAN_GGUF_ARRAY || kv->count == blocks)
        return true;
    organ_refuse(s->error, s->label, "key '%s' has %llu values, but block_count is %u", full,
                 (unsigned long long)kv->count, blocks);
    return false;
}

unsigned organ_key_of_layer(const config_gguf_source *s, const char *key, unsigned layer, unsigned fallback)
{
    char full[CONFIG_KEY_LIMIT];
    const organ_gguf_kv *const kv = organ_key_find(s, key);
    if (kv && !has_every_layer(s, organ_key_name(s, key, full), kv))
        return 0;
    return size_at(s, key, layer, fallback);
}

double organ_key_real(const config_gguf_source *s, const char *key, double fallback)
{
    const organ_gguf_kv *kv = organ_key_find(s, key);
    double value = fallback;
    if (kv && (kv->type == ORGAN_GGUF_ARRAY || !organ_gguf_real_at(kv, 0, &value)))
        organ_key_refuse(s, key, "is not a number");
    return value;
}

double organ_key_real_of_layer(const config_gguf_source *s, const char *key, unsigned layer)
{
    const organ_gguf_kv *const kv = organ_gguf_find(s->model->gguf, key);
    double value = 0;
    if (!kv || kv->type != ORGAN_GGUF_ARRAY)
        organ_refuse(s->error, s->label, "key '%s' is missing or not an array", key);
    else if (has_every_layer(s, key, kv) && !organ_gguf_real_at(kv, layer, &value))
        organ_refuse(s->error, s->label, "key '%s' has no number for layer %u", key, layer);
    return value;
}

bool organ_key_flag(const config_gguf_source *s, const char *key, bool fallback)
{
    const organ_gguf_kv *kv = organ_key_find(s, key);
    if (kv && (kv->type != ORGAN_GGUF_BOOL || kv->size < 1))
        organ_key_refuse(s, key, "is not true or false");
    return kv && !s->error->status ? *(const unsigned char *)kv->bytes != 0 : fallback;
}

/* Returns true if the key is the text `word`; `otherwise` if the key is missing. The bytes of a text are its length, in
 * 64 bits, and the text. */
static bool key_equals(const config_gguf_source *s, const char *key, const char *word, bool otherwise)
{
    const organ_gguf_kv *const kv = organ_key_find(s, key);
    const size_t length = strlen(word);
    if (!kv)
        return otherwise;
    return kv->type == ORGAN_GGUF_STRING && kv->size == sizeof(uint64_t) + length &&
           memcmp(kv->bytes + sizeof(uint64_t), word, length) == 0;
}

bool organ_key_tensor(const config_gguf_source *s, const char *name) { return organ_model_find(s->model, name); }

bool organ_key_layer_tensor(const config_gguf_source *s, unsigned layer, const char *name)
{
    char full[CONFIG_KEY_LIMIT];
    snprintf(full, sizeof full, "blk.%u.%s", layer < s->block ? s->block : layer, name);
    return organ_key_tensor(s, full);
}

/* ---- the mixture of experts ---- */

/* Used if the row has no mixture: files of the architecture llama that have experts are Mixtral models. */
static const forward_mixture llama_mixture = {.normalise = {NULL, true}};

/* `function` is the key expert_gating_func: 1 means softmax; 0, no such key, means softmax (DeepSeek-V2) if layer
 * `leading_dense`, the first with experts, has no correction biases. Later models have a logistic router with
 * corrections. */
static void read_latent_router(const config_gguf_source *s, unsigned function, unsigned leading_dense,
                               organ_router_rule *router)
{
    if (function == 1 || (function == 0 && !organ_key_layer_tensor(s, leading_dense, "exp_probs_b.bias")))
        *router = (organ_router_rule){.best_in_group = true};
}

/* Values of the key expert_gating_func are 1 softmax, 2 logistic, 3 softmax of the chosen logits, which equals the
 * softmax of all if factors are normalised. Layer `leading_dense` is the first with experts. */
static void read_router(const config_gguf_source *s, const forward_mixture *m, unsigned leading_dense,
                        organ_forward_config *c)
{
    const unsigned function = organ_key_size(s, "expert_gating_func", 0);
    c->router = m->router;
    if (m->selection) /* if the key is missing, llama.cpp uses the logistic */
        c->router.logistic = c->router.late = function != 1;
    if (s->family->latent && m->router.logistic)
        read_latent_router(s, function, leading_dense, &c->router);
    const bool same = c->router.logistic ? function == 2 : function == 1 || (function == 3 && c->normalise_experts);
    if (function && !same)
        organ_key_refuse(s, "expert_gating_func", "is %u, which is not supported", function);
}

/* The forward pass computes shared experts as one wide expert: their number (`counted`) multiplies the width of a
 * routed expert. With shared_optional a file may lack both keys: it has no shared expert. */
static void read_shared(const config_gguf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    const char *const width = "expert_shared_feed_forward_length";
    c->shared_gated = m->shared_gated;
    c->shared_own = m->shared_width != NULL;
    const bool has_count = organ_key_find(s, "expert_shared_count"), has_width = organ_key_find(s, width);
    const bool counted = has_count ? m->shared_count || (m->shared_width && !has_width) : m->shared_count && !has_width;
    if (m->shared_optional && !has_count && !has_width)
        return;
    if (counted) /* false for files of Hy3, which have only the width of all shared experts together */
        organ_forward_config_shared(c, organ_key_needed(s, "expert_shared_count"));
    c->shared_average = m->combination && c->shared_intermediate;
    if (counted || (!m->shared_count && !m->shared_width))
        return;
    /* Files of Llama 4, like their config.json, have one width for routed and shared experts. */
    if (m->shared_width && m->width && strcmp(m->shared_width, m->width) == 0 && !has_width)
        c->shared_intermediate = (unsigned)c->expert_intermediate;
    else
        c->shared_intermediate = m->shared_optional ? organ_key_size(s, width, 0) : organ_key_needed(s, width);
    if (c->shared_intermediate == 0 && !m->shared_optional)
        organ_key_refuse(s, has_width ? width : "expert_feed_forward_length", "is 0");
}

/* Every interleave_moe_layer_step-th layer has experts; the other layers are dense. */
static void read_mixture_interval(const config_gguf_source *s, organ_forward_config *c)
{
    const unsigned step = organ_key_size(s, "interleave_moe_layer_step", 1);
    if (step == 0)
        organ_key_refuse(s, "interleave_moe_layer_step", "is 0");
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        if ((l + 1) % step) {
            c->kinds[l].mixture = false;
            c->kinds[l].intermediate = c->intermediate;
        }
}

static void find_dense(const config_gguf_source *s, organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers; l++) {
        if (organ_key_layer_tensor(s, l, "ffn_gate_inp.weight"))
            continue;
        c->kinds[l].mixture = false;
        c->kinds[l].intermediate = organ_key_of_layer(s, "feed_forward_length", l, 0);
    }
}

/* Files of families that allow 0 experts (Granite 4) may state the width of all feed-forwards as that of the shared
 * expert. */
static void read_dense_width(const config_gguf_source *s, const forward_mixture *m, organ_forward_config *c)
{
    const unsigned width = m->optional ? organ_key_size(s, "expert_shared_feed_forward_length", 0) : 0;
    for (unsigned l = 0; width && l < c->layers; l++)
        c->kinds[l].intermediate = width;
}

/* Dense models of Gemma 4 (dual_ffn) have the keys of a mixture too: only a router shows one. Missing keys have
 * llama.cpp's defaults, but keys without which the mixture is unknown, such as expert_used_count, are required. A
 * router_scale of 0 means no scale. */
void organ_key_experts(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_mixture *const m = s->family->mixture ? s->family->mixture : &llama_mixture;
    const unsigned leading_dense = organ_key_size(s, "leading_dense_block_count", 0);
    c->experts = organ_key_size(s, "expert_count", 0);
    if (s->family->dual_ffn && !organ_key_layer_tensor(s, 0, "ffn_gate_inp.weight"))
        c->experts = 0;
    else if (s->family->dual_ffn && c->experts == 0)
        organ_key_refuse(s, "expert_count", "is 0, but the file has a router");
    if (c->experts == 0) {
        read_dense_width(s, m, c);
        return;
    }
    c->dual_ffn = s->family->dual_ffn;
    c->experts_used = organ_key_needed(s, "expert_used_count");
    c->expert_intermediate = organ_key_size(s, "expert_feed_forward_length", (unsigned)c->intermediate);
    /* Where config.json states it in a member, the value of the missing key is gguf_normalise. */
    const bool normalise = m->normalise.key ? m->gguf_normalise : m->normalise.otherwise;
    c->normalise_experts = organ_key_flag(s, "expert_weights_norm", normalise);
    c->router_scale = (float)organ_key_real(s, "expert_weights_scale", 0);
    c->router_groups = m->groups ? organ_key_size(s, "expert_group_count", 0) : 0;
    c->router_groups_used = m->groups ? organ_key_size(s, "expert_group_used_count", 0) : 0;
    c->router_bias = c->expert_bias = m->biases;
    c->expert_latent = m->latent ? organ_key_size(s, "moe_latent_size", 0) : 0;
    read_router(s, m, leading_dense, c);
    read_shared(s, m, c);
    if (!s->error->status && organ_forward_config_mixture(s->label, leading_dense, c, s->error) == ORGAN_OK)
        read_mixture_interval(s, c);
    /* config.json of these families states in its own ways which layers are dense; GGUF files do not */
    const bool own_rule = m->dense == DENSE_FREQ || m->dense == DENSE_PERIOD || m->dense == DENSE_WORDS;
    if (!s->error->status && (own_rule || m->absent_in_gguf))
        find_dense(s, c);
}

/* ---- rotary position embeddings, and the scale of queries ---- */

/* The two tensors are the only sign of LongRoPE: there is no key. */
static bool has_longrope(const config_gguf_source *s)
{
    const bool brief = organ_key_tensor(s, ORGAN_ROPE_SHORT), lasting = organ_key_tensor(s, ORGAN_ROPE_LONG);
    if (brief != lasting)
        organ_refuse(s->error, s->label, "tensor '%s' exists, but '%s' is missing",
                     brief ? ORGAN_ROPE_SHORT : ORGAN_ROPE_LONG, brief ? ORGAN_ROPE_LONG : ORGAN_ROPE_SHORT);
    return brief && lasting;
}

/* Without rope.scaling.type, a scaling factor `factor` other than 1 means linear scaling. */
static organ_rope rope_kind_of(const config_gguf_source *s, double factor)
{
    const char *const key = "rope.scaling.type";
    char full[CONFIG_KEY_LIMIT];
    size_t length = 0;
    if (has_longrope(s))
        return ORGAN_ROPE_LONGROPE;
    if (key_equals(s, key, "linear", factor != 1))
        return ORGAN_ROPE_LINEAR;
    if (key_equals(s, key, "yarn", /*otherwise=*/false))
        return ORGAN_ROPE_YARN;
    if (key_equals(s, key, "none", /*otherwise=*/true))
        return ORGAN_ROPE_DEFAULT;
    const char *const word = organ_gguf_string(s->model->gguf, organ_key_name(s, key, full), &length);
    if (!word)
        organ_key_refuse(s, key, "is not a string");
    else
        organ_key_refuse(s, key, "is '%.*s', which is not supported", (int)(length < 60 ? length : 60), word);
    return ORGAN_ROPE_DEFAULT;
}

/* yarn_attn_factor is attention_factor of config.json. Its default is m(1) / m(a) with m(x) = 1 + 0.1 x ln(factor),
 * where a is yarn_log_multiplier, 0 if it is missing: llama.cpp's converter stores mscale_all_dim of Ministral 3
 * under that key. With latent attention the default is 1, because mscale and mscale_all_dim of DeepSeek's models are
 * equal; organ_key_latent_scale scales their scores. */
static void read_yarn(const config_gguf_source *s, organ_rope_config *rope)
{
    const double all = organ_key_real(s, "rope.scaling.yarn_log_multiplier", 0), growth = 0.1 * log(rope->factor);
    const double own = rope->factor > 1 && !s->family->latent ? (1 + growth) / (1 + all * growth) : 1;
    rope->exact_range = s->family->gguf_exact_range;
    rope->beta_fast = organ_key_real(s, "rope.scaling.yarn_beta_fast", 32);
    rope->beta_slow = organ_key_real(s, "rope.scaling.yarn_beta_slow", 1);
    rope->attention_factor *= organ_key_real(s, "rope.scaling.yarn_attn_factor", own);
}

void organ_key_query(const config_gguf_source *s, organ_forward_config *c)
{
    const unsigned original = organ_key_size(s, "rope.scaling.original_context_length", (unsigned)c->context);
    if (s->family->query == QUERY_LLAMA4) { /* GGUF has no key for these numbers of the published models */
        c->query_scale = (organ_query_scale){.beta = 0.1, .length = 8192, .offset = 1, .unrotated = true};
        return;
    }
    c->query_scale.beta = organ_key_real(s, "attention.temperature_scale", 0);
    c->query_scale.length = organ_key_size(s, "attention.temperature_length", original);
}

/* The tensor rope_freqs is applied by rotation.c. */
static organ_rope_config rope_of(const config_gguf_source *s, const organ_forward_config *c)
{
    organ_rope_config rope = {.theta = organ_key_real(s, "rope.freq_base", 1e4),
                              .attention_factor = organ_key_real(s, "rope.scaling.attn_factor", 1)};
    rope.dimensions = organ_key_size(s, "rope.dimension_count", c->head_dim);
    if (c->latent.rank)
        rope.dimensions = c->latent.rotated;
    rope.factor = organ_key_real(s, "rope.scaling.factor", organ_key_real(s, "rope.scale_linear", 1));
    rope.kind = rope_kind_of(s, rope.factor);
    if (rope.kind == ORGAN_ROPE_LONGROPE || rope.kind == ORGAN_ROPE_YARN)
        rope.original_context = organ_key_size(s, "rope.scaling.original_context_length", (unsigned)c->context);
    if (rope.kind == ORGAN_ROPE_YARN)
        read_yarn(s, &rope);
    return rope;
}

/* With LOCAL_SAME layers with a window have the same rotation; other families have keys that end with _swa for it,
 * which has no scaling. */
void organ_key_ropes(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_local local = s->family->local;
    c->rope = c->rope_local = rope_of(s, c);
    if (local == LOCAL_SAME)
        return;
    c->rope_local =
        (organ_rope_config){.attention_factor = 1,
                            .theta = organ_key_real(s, "rope.freq_base_swa", local == LOCAL_OWN ? 1e4 : c->rope.theta),
                            .dimensions = organ_key_size(s, "rope.dimension_count_swa", c->rope.dimensions)};
    if (s->family->gguf_half_rotated)
        c->rope.dimensions /= 2;
}

/* ---- Gemma 3n and Gemma 4 (llama.cpp: gemma3n.cpp, gemma4.cpp, and the classes of its converter) ---- */

#define MOST_WIDTH   (1u << 16) /* of per-layer embeddings, and rank of Laurel */
#define MOST_STREAMS 16         /* streams of AltUp */

/* A layer without a tensor for v uses the projection of k as v. */
static void read_kinds_of_heads(const config_gguf_source *s, organ_forward_config *c)
{
    const unsigned local = organ_key_needed(s, "attention.key_length_swa"),
                   value_dim = organ_key_size(s, "attention.value_length_swa", local);
    if (value_dim != local)
        organ_key_refuse(s, "attention.key_length_swa",
                         "is %u and attention.value_length_swa %u: different head sizes are not supported", local,
                         value_dim);
    for (unsigned l = 0; l < c->layers; l++) {
        if (c->kinds[l].window)
            c->kinds[l].head_dim = c->kinds[l].value_dim = local;
        c->kinds[l].value_is_key = !organ_key_layer_tensor(s, l, "attn_v.weight");
    }
}

/* The vocabulary is the number of rows of the table. Gemma 4 may lack per-layer embeddings; Gemma 3n must have them. */
static void read_per_layer_keys(const config_gguf_source *s, organ_forward_config *c)
{
    const organ_tensor *const table = organ_model_find(s->model, ORGAN_PER_LAYER_TABLE);
    c->per_layer_width = organ_key_size(s, "embedding_length_per_layer_input", 0);
    if (c->per_layer_width == 0 && !s->family->streams && !table)
        return;
    if (c->per_layer_width == 0 || c->per_layer_width > MOST_WIDTH)
        organ_key_refuse(s, "embedding_length_per_layer_input", "is %u, not up to %u", c->per_layer_width, MOST_WIDTH);
    if (!table || table->rank != 2 || table->shape[0] < c->vocabulary)
        organ_refuse(s->error, s->label,
                     "tensor '" ORGAN_PER_LAYER_TABLE "' is missing or not a matrix with a row for each token");
    else
        c->per_layer_vocabulary = table->shape[0];
}

/* A cut of -infinity means none. Without the key the first ten layers have the cut of the published models, which
 * llama.cpp uses for every file. */
static void read_gate_cuts(const config_gguf_source *s, organ_forward_config *c)
{
    char full[CONFIG_KEY_LIMIT];
    const bool known = organ_gguf_find(s->model->gguf, organ_key_name(s, "activation_sparsity_scale", full)) != NULL;
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        organ_layer_kind *const kind = &c->kinds[l];
        const float usual = l < 10 ? organ_forward_gate_cut(0.95F) : -INFINITY;
        const float cut = known ? (float)organ_key_real_of_layer(s, full, l) : usual;
        if (isnan(cut) || cut == INFINITY)
            organ_refuse(s->error, s->label, "key '%s' is %g for layer %u", full, (double)cut, l);
        kind->gate_is_cut = cut > -INFINITY;
        kind->gate_cut = kind->gate_is_cut ? cut : 0;
    }
}

/* There is no key for the rank of Laurel: it is the number of rows of laurel_l. */
static void read_streams(const config_gguf_source *s, organ_forward_config *c)
{
    const organ_tensor *const laurel = organ_model_find(s->model, "blk.0.laurel_l.weight");
    c->streams = organ_key_needed(s, "altup.num_inputs");
    c->laurel_rank = laurel && laurel->rank == 2 && laurel->shape[0] <= MOST_WIDTH ? (unsigned)laurel->shape[0] : 0;
    c->streams_scaled = organ_key_layer_tensor(s, 0, "altup_correct_scale.weight");
    if (c->streams < 2 || c->streams > MOST_STREAMS)
        organ_key_refuse(s, "altup.num_inputs", "is %u, not from 2 to %u", c->streams, MOST_STREAMS);
    if (organ_key_size(s, "altup.active_idx", 0) != 0)
        organ_key_refuse(s, "altup.active_idx", "is not 0");
    if (c->laurel_rank == 0)
        organ_refuse(s->error, s->label, "tensor 'blk.0.laurel_l.weight' is missing or not a matrix of 1 to %u rows",
                     MOST_WIDTH);
    c->state = c->streams * c->hidden;
    read_gate_cuts(s, c);
}

void organ_key_gemma(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_family *const f = s->family;
    if ((!f->global_heads && !f->streams) || s->error->status)
        return;
    const unsigned shared = organ_key_size(s, "attention.shared_kv_layers", 0);
    c->value_norm = f->value_norm;
    c->layer_scaled = f->layer_scaled && organ_key_layer_tensor(s, 0, "layer_output_scale.weight");
    c->attention_scale = f->attention_scale;
    c->state = c->hidden;
    if (f->global_heads)
        read_kinds_of_heads(s, c);
    if (f->streams)
        read_streams(s, c);
    read_per_layer_keys(s, c);
    if (shared >= c->layers)
        organ_key_refuse(s, "attention.shared_kv_layers", "is %u, not below the %u layers", shared, c->layers);
    else if (!s->error->status)
        organ_forward_config_share(s->label, shared, c, s->error);
}

/* ---- latent attention, and the indexer of sparse attention ---- */

/* A layer has an indexer if the file has its tensor indexer.attn_k. A layer without an indexer uses the keys that
 * the last layer with one has chosen, so layer 0 must have one. If there are layers without an indexer, c->state has
 * room for these keys. */
static void read_indexer_keys(const config_gguf_source *s, organ_forward_config *c)
{
    organ_latent_config *const l = &c->latent;
    l->keys = organ_key_needed(s, "attention.indexer.top_k");
    l->index_heads = organ_key_needed(s, "attention.indexer.head_count");
    l->index_dim = organ_key_needed(s, "attention.indexer.key_length");
    l->index_neighbours = s->family->indexer == INDEXER_SHARED;
    l->index_eps = 1e-6; /* a constant of the classes in transformers */
    organ_forward_config_indexer(s->label, l, s->error);
    for (unsigned k = 0; k < c->layers; k++) {
        c->kinds[k].indexed = organ_key_layer_tensor(s, k, "indexer.attn_k.weight");
        l->index_shared = l->index_shared || !c->kinds[k].indexed;
    }
    if (!s->error->status && (!c->kinds[0].indexed || (l->index_shared && !l->index_neighbours)))
        organ_refuse(s->error, s->label, "tensors of the indexer are missing in a layer");
    if (l->index_shared)
        c->state = c->hidden + l->keys;
}

/* llama.cpp gives all layers with experts an indexer. */
void organ_key_blocks(const config_gguf_source *s, organ_forward_config *c)
{
    if (!s->family->blocks || s->error->status)
        return;
    const unsigned first = organ_key_size(s, "leading_dense_block_count", 0);
    for (unsigned l = first; l < c->layers; l++)
        c->kinds[l].indexed = true;
    c->blocks = (organ_blocks_config){.size = organ_key_needed(s, "attention.indexer.block_size"),
                                      .chosen = organ_key_needed(s, "attention.indexer.top_k"),
                                      .local = organ_key_needed(s, "attention.indexer.local_blocks"),
                                      .heads = organ_key_needed(s, "attention.indexer.head_count"),
                                      .dim = organ_key_needed(s, "attention.indexer.key_length")};
    organ_forward_config_blocks(s->label, c, s->error);
}

/* Newer files have the widths of a head in key_length_mla and value_length_mla; older files have them in key_length
 * and value_length, which in newer files are widths of latent vectors. */
void organ_key_latent(const config_gguf_source *s, organ_forward_config *c)
{
    organ_latent_config *const l = &c->latent;
    if (!s->family->latent)
        return;
    const unsigned value =
        organ_key_size(s, "attention.value_length_mla", organ_key_size(s, "attention.value_length", 0));
    l->rank = organ_key_needed(s, "attention.kv_lora_rank");
    l->q_rank = organ_key_size(s, "attention.q_lora_rank", 0);
    l->rotated = organ_key_needed(s, "rope.dimension_count");
    c->head_dim = organ_key_size(s, "attention.key_length_mla", c->head_dim);
    if (l->rotated == 0 || l->rotated >= c->head_dim)
        organ_key_refuse(s, "rope.dimension_count",
                         "is %u, not from 1 to below attention.key_length or attention.key_length_mla, %u", l->rotated,
                         c->head_dim);
    else
        l->plain = c->head_dim - l->rotated;
    c->rope_neighbours = true;
    for (unsigned k = 0; k < c->layers; k++) {
        c->kinds[k].latent = true;
        c->kinds[k].kv_heads = c->kinds[k].heads;
        c->kinds[k].head_dim = c->head_dim;
        c->kinds[k].value_dim = value;
    }
    if (s->family->indexer != INDEXER_NONE)
        read_indexer_keys(s, c);
}

/* The factor is m^2 with m = 1 + 0.1 mscale_all_dim ln(factor). The key yarn_log_multiplier is 0.1 mscale_all_dim. */
void organ_key_latent_scale(const config_gguf_source *s, organ_forward_config *c)
{
    const double multiplier = organ_key_real(s, "rope.scaling.yarn_log_multiplier", 0);
    const double factor = c->rope.kind == ORGAN_ROPE_YARN && c->rope.factor > 1 ? c->rope.factor : 1;
    const double scale = 1 + multiplier * log(factor);
    if (s->family->latent)
        c->attention_scale *= scale * scale;
}
