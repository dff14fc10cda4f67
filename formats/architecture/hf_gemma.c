/* SPDX-License-Identifier: MIT
 * Reads members of config.json that only Gemma 3n and Gemma 4 have (transformers: configuration_gemma3n.py,
 * configuration_gemma4.py).
 * `s` is the config.json that is read; s->family, called the family, is the row of its architecture in families.h. `c`
 * is the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is
 * there. The root, s->root, is the JSON object of the text model. */
#include "formats/architecture/config_readers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#define MAX_STREAMS 16         /* streams of AltUp */
#define MAX_WIDTH   (1u << 16) /* of per-layer embeddings, and rank of Laurel */

/* A null means 0. A missing member is an error, because transformers then uses a default other than 0. */
static unsigned read_present_size(const config_hf_source *s, const char *key)
{
    if (!json_object_get(s->root, key))
        organ_refuse(s->error, s->label, "%s is missing", key);
    return organ_config_size(s, key, 0);
}

/* ---- heads of layers without a window ---- */

static void read_layer_sizes(const config_hf_source *s, const json_t *sizes, organ_layer_kind *kind)
{
    const config_hf_source own = {s->label, s->file, sizes, s->family, s->error};
    const size_t known = (organ_config_member(sizes, "head_dim") ? 1u : 0u) +
                         (organ_config_member(sizes, "num_key_value_heads") ? 1u : 0u);
    if (!json_is_object(sizes) || json_object_size(sizes) != known) {
        organ_config_refuse(s, "per_layer_config", sizes, "head_dim and num_key_value_heads of each layer");
        return;
    }
    kind->head_dim = kind->value_dim = organ_config_size(&own, "head_dim", kind->head_dim);
    kind->kv_heads = organ_config_size(&own, "num_key_value_heads", kind->kv_heads);
}

/* The name is the layer's number, to which transformers adds leading zeros: all names have as many digits as the
 * last layer's number. */
static const json_t *sizes_of_layer(const json_t *all, unsigned layer)
{
    const json_t *own = NULL;
    for (int digits = 1; digits <= 4 && !own; digits++) {
        char number[16];
        snprintf(number, sizeof number, "%0*u", digits, layer);
        own = organ_config_member(all, number);
    }
    return own;
}

/* per_layer_config states the heads of single layers, also of layers with a window. Without it, all layers without a
 * window have global_head_dim and, with attention_k_eq_v, num_global_key_value_heads. With attention_k_eq_v these
 * layers have no projection for v. */
static void read_global_heads(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const all = organ_config_member(s->root, "per_layer_config");
    const bool equal = organ_config_flag(s, "attention_k_eq_v", false);
    const unsigned dim = all ? 0 : organ_config_size(s, "global_head_dim", 512),
                   heads = all || !equal ? 0 : organ_config_size(s, "num_global_key_value_heads", 0);
    if (all && !json_is_object(all))
        organ_config_refuse(s, "per_layer_config", all, "an object");
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        organ_layer_kind *const kind = &c->kinds[l];
        const json_t *const own = sizes_of_layer(all, l);
        if (own)
            read_layer_sizes(s, own, kind);
        kind->value_is_key = equal && !kind->window;
        if (!all && !kind->window) {
            kind->head_dim = kind->value_dim = dim;
            kind->kv_heads = heads ? heads : kind->kv_heads;
        }
    }
}

/* The layers with a window have one rotation, and those without have one. */
static void check_heads(const config_hf_source *s, const organ_forward_config *c)
{
    unsigned dims[2] = {0}; /* of layers without and with a window; 0: no such layer so far */
    for (unsigned l = 0; l < c->layers; l++) {
        unsigned *const dim = &dims[c->kinds[l].window != 0];
        if (*dim && *dim != c->kinds[l].head_dim)
            organ_refuse(s->error, s->label, "layers of the same kind have heads of %u and of %u", *dim,
                         c->kinds[l].head_dim);
        *dim = c->kinds[l].head_dim;
    }
}

/* In families with last_full the last layer has no window. */
void organ_config_global_heads(const config_hf_source *s, organ_forward_config *c)
{
    if (s->family->last_full)
        c->kinds[c->layers - 1].window = 0;
    if (s->family->global_heads) {
        read_global_heads(s, c);
        check_heads(s, c);
    }
}

/* ---- keys and values of earlier layers ---- */

/* With use_double_wide_mlp the feed-forwards of the last layers, which use keys and values of earlier layers, have
 * twice the width. */
static void read_shared_keys(const config_hf_source *s, organ_forward_config *c)
{
    const unsigned shared = read_present_size(s, "num_kv_shared_layers");
    const bool wide = organ_config_flag(s, "use_double_wide_mlp", false);
    if (shared >= c->layers)
        organ_refuse(s->error, s->label, "num_kv_shared_layers is %u, not below num_hidden_layers %u", shared,
                     c->layers);
    if (!s->error->status)
        organ_forward_config_share(s->label, shared, c, s->error);
    for (unsigned l = c->layers - shared; wide && !s->error->status && l < c->layers; l++)
        c->kinds[l].intermediate *= 2;
}

/* ---- per-layer embeddings ---- */

static void read_per_layer(const config_hf_source *s, organ_forward_config *c)
{
    c->per_layer_width = read_present_size(s, "hidden_size_per_layer_input");
    if (c->per_layer_width == 0 && !s->family->streams)
        return;
    c->per_layer_vocabulary = read_present_size(s, "vocab_size_per_layer_input");
    if (c->per_layer_width == 0 || c->per_layer_width > MAX_WIDTH)
        organ_refuse(s->error, s->label, "hidden_size_per_layer_input is %u, not from 1 to %u", c->per_layer_width,
                     MAX_WIDTH);
    /* Gemma 3n uses row 0 for tokens beyond the table, Gemma 4 has a row for each token. */
    if (c->per_layer_vocabulary == 0 || (!s->family->streams && c->per_layer_vocabulary < c->vocabulary))
        organ_refuse(s->error, s->label, "vocab_size_per_layer_input is %llu, too small for vocab_size %llu",
                     (unsigned long long)c->per_layer_vocabulary, (unsigned long long)c->vocabulary);
}

/* ---- AltUp, Laurel and cut gates ---- */

/* gate_cut is the quantile of the normal distribution at the share of a layer's gates that become 0. The default
 * share is 0.95 in the first ten layers of a model with more than ten, and 0 in all others. */
static void read_gate_cuts(const config_hf_source *s, organ_forward_config *c)
{
    static const char key[] = "activation_sparsity_pattern";
    const bool known = organ_config_member(s->root, key) != NULL;
    const json_t *const list = known ? organ_config_list(s, key, "a number", c->layers) : NULL;
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        const json_t *const item = json_array_get(list, l);
        const double usual = c->layers > 10 && l < 10 ? 0.95 : 0, part = known ? json_number_value(item) : usual;
        if ((known && !json_is_number(item)) || !(part >= 0 && part < 1))
            organ_config_refuse(s, key, list, "a list of numbers from 0 and below 1");
        else
            c->kinds[l].gate_cut = part > 0 ? organ_forward_gate_cut((float)part) : 0;
        c->kinds[l].gate_is_cut = part > 0;
    }
}

static void read_widths(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const list = json_is_array(organ_config_member(s->root, "intermediate_size"))
                                   ? organ_config_list(s, "intermediate_size", "a number", c->layers)
                                   : NULL;
    for (unsigned l = 0; list && l < c->layers; l++) {
        const json_t *const item = json_array_get(list, l);
        const json_int_t width = json_integer_value(item);
        if (!json_is_integer(item))
            organ_config_refuse(s, "intermediate_size", item, "a whole number");
        c->kinds[l].intermediate = width > 0 ? (uint64_t)width : 0; /* organ_forward_config_check rejects 0 */
        c->intermediate = c->kinds[l].intermediate > c->intermediate ? c->kinds[l].intermediate : c->intermediate;
    }
}

/* Stream 0 of AltUp must be the active one. */
static void read_streams(const config_hf_source *s, organ_forward_config *c)
{
    c->streams = organ_config_needed(s, "altup_num_inputs");
    c->laurel_rank = organ_config_needed(s, "laurel_rank");
    c->streams_scaled = organ_config_flag(s, "altup_correct_scale", true);
    if (c->streams < 2 || c->streams > MAX_STREAMS)
        organ_refuse(s->error, s->label, "altup_num_inputs is %u, not from 2 to %u", c->streams, MAX_STREAMS);
    if (c->laurel_rank == 0 || c->laurel_rank > MAX_WIDTH)
        organ_refuse(s->error, s->label, "laurel_rank is %u, not from 1 to %u", c->laurel_rank, MAX_WIDTH);
    if (organ_config_size(s, "altup_active_idx", 0) != 0)
        organ_config_refuse(s, "altup_active_idx", organ_config_member(s->root, "altup_active_idx"), "0");
    c->state = c->streams * c->hidden;
    read_widths(s, c);
    read_gate_cuts(s, c);
}

/* The documentation of HYV4Config says that a limit of 0 is none, but the class of transformers 5.24 limits all gates
 * to 0. */
static void read_expert_limit(const config_hf_source *s, organ_forward_config *c)
{
    const char *const key = s->family->expert_limit;
    c->expert_limit = organ_config_real(s, s->root, key, 10);
    if (!(c->expert_limit > 0))
        organ_refuse(s->error, s->label, "%s is %g, not above 0", key, c->expert_limit);
    c->limits_shared = s->family->limits_shared;
}

#define MAX_BALANCES 1000

/* The defaults are those of the configurations in transformers. */
static void read_connections(const config_hf_source *s, organ_connections_config *connections)
{
    const forward_connecting kind = s->family->connections;
    const bool mixed = kind != CONNECT_ADD;
    connections->streams = organ_config_size(s, "hc_mult", 4);
    connections->magnitude = mixed ? 2 : organ_config_real(s, s->root, "hc_magnitude", 2);
    connections->eps = organ_config_real(s, s->root, "hc_eps", 1e-6);
    const unsigned balances = mixed ? organ_config_size(s, "hc_sinkhorn_iters", 20) : 0;
    connections->balances = balances;
    connections->mean = kind == CONNECT_MIX_MEAN;
    if (connections->streams < 1 || connections->streams > ORGAN_MOST_STREAMS)
        organ_refuse(s->error, s->label, "hc_mult is %u, not from 1 to %u", connections->streams, ORGAN_MOST_STREAMS);
    else if (!(connections->magnitude > 0))
        organ_refuse(s->error, s->label, "hc_magnitude is %g, not above 0", (double)connections->magnitude);
    else if (!(connections->eps >= 0))
        organ_refuse(s->error, s->label, "hc_eps is %g, below 0", (double)connections->eps);
    else if (mixed && (balances < 1 || balances > MAX_BALANCES))
        organ_refuse(s->error, s->label, "hc_sinkhorn_iters is %u, not from 1 to %u", balances, MAX_BALANCES);
}

/* c->state counts the floats of a token's state between layers: the hidden state or its streams, then the numbers of
 * the keys that an indexer has chosen for later layers, or the output of a mixture of LongCat-Flash. read_streams adds
 * the streams of AltUp, read_shared_keys the shared keys and values. */
void organ_config_gemma(const config_hf_source *s, organ_forward_config *c)
{
    const forward_family *const f = s->family;
    c->value_norm = f->value_norm;
    c->layer_scaled = f->layer_scaled;
    if (f->connections)
        read_connections(s, &c->connections);
    if (f->expert_limit)
        read_expert_limit(s, c);
    c->state = c->hidden * (c->connections.streams ? c->connections.streams : 1);
    c->state += (c->latent.index_shared ? c->latent.keys : 0) + (c->shortcut ? c->hidden : 0);
    if (f->attention_scale > 0)
        c->attention_scale = f->attention_scale;
    if (f->streams)
        read_streams(s, c);
    if (f->per_layer && !s->error->status)
        read_per_layer(s, c);
    if (f->shared_keys && !s->error->status)
        read_shared_keys(s, c);
}

/* ---- latent attention, and the indexer of sparse attention ---- */

/* Some families have factors sqrt(hidden_size / rank). q_lora_rank must be present, but may be null: no latent
 * vector of queries. */
static void read_latent_sizes(const config_hf_source *s, organ_forward_config *c)
{
    organ_latent_config *const l = &c->latent;
    l->rank = organ_config_needed(s, "kv_lora_rank");
    l->plain = organ_config_needed(s, "qk_nope_head_dim");
    l->rotated = organ_config_needed(s, "qk_rope_head_dim");
    l->q_rank = organ_config_size(s, "q_lora_rank", 0);
    if (s->family->latent_scaled) {
        l->q_scale = l->q_rank ? (float)sqrt((double)c->hidden / l->q_rank) : 0;
        l->scale = l->rank ? (float)sqrt((double)c->hidden / l->rank) : 0;
    }
    if (!json_object_get(s->root, "q_lora_rank"))
        organ_refuse(s->error, s->label, "q_lora_rank is missing");
}

/* The letter of a layer is "F" for one with an indexer, "S" for one that uses the keys that an earlier layer has
 * chosen. */
static void read_index_pattern(const config_hf_source *s, const char *pattern, organ_forward_config *c)
{
    const bool valid = strlen(pattern) == c->layers && strspn(pattern, "FS") == c->layers;
    if (!valid)
        organ_refuse(s->error, s->label, "index_topk_pattern is '%.100s', not F or S for each of %u layers", pattern,
                     c->layers);
    for (unsigned l = 0; valid && l < c->layers; l++)
        c->kinds[l].indexed = pattern[l] == 'F';
}

/* The word of a layer is "full" for one with an indexer, "shared" for one that uses the keys that an earlier layer
 * has chosen. */
static void read_index_words(const config_hf_source *s, const char *key, organ_forward_config *c)
{
    const json_t *const words = organ_config_list(s, key, "a string", c->layers);
    for (unsigned l = 0; words && l < c->layers; l++)
        c->kinds[l].indexed = organ_config_layer_is(s, key, words, l, "full", "shared");
}

/* The rules are those of GlmMoeDsaConfig of transformers. Without a list or a string of letters, the first
 * index_skip_topk_offset layers and every index_topk_freq-th layer after them have an indexer. */
static void read_index_layers(const config_hf_source *s, organ_forward_config *c)
{
    static const char *const list = "indexer_types", *const pattern = "index_topk_pattern";
    const char *const letters = json_string_value(organ_config_member(s->root, pattern));
    const unsigned freq = organ_config_size(s, "index_topk_freq", 1),
                   offset = organ_config_size(s, "index_skip_topk_offset", 2);
    if (organ_config_member(s->root, list))
        read_index_words(s, list, c);
    else if (letters)
        read_index_pattern(s, letters, c);
    else if (organ_config_member(s->root, pattern))
        read_index_words(s, pattern, c);
    else
        for (unsigned l = 0; l < c->layers; l++)
            c->kinds[l].indexed = freq < 2 || l + 1 <= offset || (l + 1 - offset) % freq == 0;
    for (unsigned l = 0; l < c->layers; l++)
        c->latent.index_shared = c->latent.index_shared || !c->kinds[l].indexed;
    if (!s->error->status && !c->kinds[0].indexed)
        organ_refuse(s->error, s->label, "layer 0 has no indexer, and there is no earlier layer to share one");
}

static void read_indexer(const config_hf_source *s, organ_forward_config *c)
{
    organ_latent_config *const l = &c->latent;
    l->keys = organ_config_needed(s, "index_topk");
    l->index_heads = organ_config_needed(s, "index_n_heads");
    l->index_dim = organ_config_needed(s, "index_head_dim");
    l->index_neighbours = s->family->indexer == INDEXER_SHARED;
    l->index_last = s->family->indexer == INDEXER_LAST;
    /* constants of the classes in transformers, but in HY 4 that of other norms */
    l->index_eps = l->index_last ? organ_config_real(s, s->root, "rms_norm_eps", s->family->eps) : 1e-6;
    organ_forward_config_indexer(s->label, l, s->error);
    if (s->family->indexer != INDEXER_HALVES && !s->error->status)
        read_index_layers(s, c);
}

/* The q and k of a head are as wide as their plain and rotated parts together. In files of MiniCPM v_head_dim is
 * optional, by default hidden_size / heads. */
void organ_config_latent(const config_hf_source *s, organ_forward_config *c)
{
    const organ_latent_config *const l = &c->latent;
    if (!s->family->latent)
        return;
    read_latent_sizes(s, c);
    const bool derived = s->family->minicpm && !organ_config_member(s->root, "v_head_dim") && c->heads > 0;
    const unsigned value = derived ? (unsigned)(c->hidden / c->heads) : organ_config_needed(s, "v_head_dim");
    const uint64_t head = (uint64_t)l->plain + l->rotated;
    if (c->kv_heads != c->heads)
        organ_refuse(s->error, s->label, "num_key_value_heads is %u, not num_attention_heads %u", c->kv_heads,
                     c->heads);
    c->head_dim = head > UINT32_MAX ? UINT32_MAX : (unsigned)head;
    c->rope_neighbours = organ_config_flag(s, "rope_interleave", !s->family->latent_halves);
    for (unsigned k = 0; k < c->layers; k++) {
        c->kinds[k].latent = true;
        c->kinds[k].head_dim = c->head_dim;
        c->kinds[k].value_dim = value;
        c->kinds[k].indexed = s->family->indexer != INDEXER_NONE;
    }
    if (s->family->indexer != INDEXER_NONE)
        read_indexer(s, c);
}
