/* SPDX-License-Identifier: MIT
 * Reads compressed attention and tables of experts from config.json, by the rules of DeepseekV4Config of transformers,
 * which also reads the members of published files.
 * `s` is the config.json that is read; s->family, called the family, is the row of its architecture in families.h. `c`
 * is the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is
 * there. The root, s->root, is the JSON object of the text model. */
#include "formats/architecture/config_readers.h"

#include "formats/base/json.h"

#include <string.h>

/* The kinds of layers: their words, their numbers in compress_ratios, and the older members with the number of tokens
 * that are compressed to one. */
static const struct layer_word {
    const char *word, *older;
    unsigned ratio;
    bool indexed;
} words[] = {{"sliding_attention", NULL, 0, false},
             {"compressed_sparse_attention", "compress_rate_csa", 4, true},
             {"heavily_compressed_attention", "compress_rate_hca", 128, false}};

enum { WORDS = sizeof words / sizeof *words, INDEXED = 1, PLAIN = 2 };

static unsigned rate_of(const config_hf_source *s, size_t k)
{
    const json_t *const rates = organ_config_member(s->root, "compress_rates");
    const config_hf_source of_rates = {s->label, s->file, rates, s->family, s->error};
    const unsigned own = rates ? organ_config_size(&of_rates, words[k].word, words[k].ratio) : words[k].ratio;
    const unsigned rate = organ_config_size(s, words[k].older, own);
    if (rate == 0 || rate > ORGAN_MOST_COMPRESSED)
        organ_refuse(s->error, s->label, "%s: %u tokens are compressed to one, not from 1 to %u", words[k].word, rate,
                     ORGAN_MOST_COMPRESSED);
    return rate;
}

static void set_kind(const config_hf_source *s, organ_layer_kind *kind, size_t k)
{
    kind->indexed = words[k].indexed;
    kind->compress = k ? rate_of(s, k) : 0;
}

static void read_layer_words(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const list = organ_config_list(s, "layer_types", "a string", c->layers);
    for (unsigned l = 0; list && l < c->layers && !s->error->status; l++) {
        const char *const word = organ_json_plain(json_array_get(list, l));
        size_t k = 0;
        while (k < WORDS && (!word || strcmp(word, words[k].word)))
            k++;
        if (k == WORDS)
            organ_refuse(s->error, s->label, "layer_types: '%.100s' is not supported", word ? word : "?");
        else
            set_kind(s, &c->kinds[l], k);
    }
}

/* After the entries of layers, the list may have those of blocks for multi-token prediction, also one of a block that
 * is no longer there. */
static void read_ratios(const config_hf_source *s, organ_forward_config *c)
{
    static const char *const key = "compress_ratios";
    const json_t *list = organ_config_member(s->root, key);
    const size_t blocks = organ_config_size(s, "num_nextn_predict_layers", 1), entries = json_array_size(list);
    if (entries <= c->layers || entries > c->layers + (blocks ? blocks : 1))
        list = organ_config_list(s, key, "a number", c->layers);
    for (unsigned l = 0; list && l < c->layers && !s->error->status; l++) {
        const json_t *const item = json_array_get(list, l);
        size_t k = 0;
        while (k < WORDS && !(json_is_integer(item) && json_integer_value(item) == (json_int_t)words[k].ratio))
            k++;
        if (k == WORDS)
            organ_config_refuse(s, key, item, "0, 4 or 128");
        else
            set_kind(s, &c->kinds[l], k);
    }
}

/* Without a list, layers 0 and 1 and every second layer after them have no indexer. */
static void read_layer_kinds(const config_hf_source *s, organ_forward_config *c)
{
    if (organ_config_member(s->root, "layer_types"))
        read_layer_words(s, c);
    else if (organ_config_member(s->root, "compress_ratios"))
        read_ratios(s, c);
    else
        for (unsigned l = 0; l < c->layers; l++)
            set_kind(s, &c->kinds[l], l >= 2 && l % 2 ? INDEXED : PLAIN);
}

/* The defaults are those of DeepseekV4Config. Its class has one head of keys, whatever num_key_value_heads is. */
void organ_config_compressed(const config_hf_source *s, organ_forward_config *c)
{
    organ_compression_config *const z = &c->compressed;
    if (!s->family->compressed)
        return;
    z->q_rank = organ_config_size(s, "q_lora_rank", 1024);
    z->groups = organ_config_size(s, "o_groups", 8);
    z->group_rank = organ_config_size(s, "o_lora_rank", 1024);
    z->keys = organ_config_size(s, "index_topk", 512);
    z->index_heads = organ_config_size(s, "index_n_heads", 64);
    z->index_dim = organ_config_size(s, "index_head_dim", 128);
    c->window = organ_config_size(s, "sliding_window", 128);
    if (c->kv_heads == 0 || c->kv_heads > c->heads)
        organ_refuse(s->error, s->label, "num_key_value_heads is %u, not from 1 to %u", c->kv_heads, c->heads);
    c->kv_heads = 1;
    for (unsigned l = 0; l < c->layers; l++) {
        organ_layer_kind *const kind = &c->kinds[l];
        kind->mixer = ORGAN_MIXER_COMPRESSED;
        kind->kv_heads = 1;
        kind->window = c->window;
        kind->sinks = true;
    }
    read_layer_kinds(s, c);
}

/* ---- rotations ---- */

/* Returns the share of a head that is rotated, if the rotation does not state it. */
static double rotated_part(const config_hf_source *s, const organ_forward_config *c)
{
    static const char *const key = "partial_rotary_factor", *const other = "qk_rope_head_dim";
    const double part = organ_config_real(s, s->root, key, s->family->rotated_part);
    const unsigned dimensions = organ_config_size(s, other, (unsigned)(c->head_dim * part));
    if (!organ_config_member(s->root, key) && organ_config_member(s->root, other) && c->head_dim)
        return (double)dimensions / c->head_dim;
    if (!(part > 0 && part <= 1) || dimensions != (unsigned)(c->head_dim * part))
        organ_refuse(s->error, s->label, "%s is %g, but %s is %u of a head of %u", key, part, other, dimensions,
                     c->head_dim);
    return part;
}

/* YaRN with one object for several rotations: transformers rounds the bounds of the ramp, whatever `truncate` says. */
static organ_rope_config read_rotation(const config_hf_source *s, const json_t *object, double theta, double part,
                                       const organ_forward_config *c)
{
    organ_rope_config rope = organ_config_rope(s, object, theta, c->head_dim, c);
    rope.dimensions = part > 0 && part <= 1 ? (unsigned)(c->head_dim * part) : 0;
    rope.exact_range = false;
    if (rope.kind != ORGAN_ROPE_DEFAULT && rope.kind != ORGAN_ROPE_YARN)
        organ_refuse(s->error, s->label, "rope_type is neither 'default' nor 'yarn'");
    return rope;
}

/* rope_parameters has an object for each of the two rotations; else it, or rope_scaling, scales the rotation of the
 * layers that attend to compressed tokens, and does not change the factor of cosines and sines by default. */
void organ_config_compressed_ropes(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const parameters = organ_config_member(s->root, "rope_parameters"),
                        *const own = organ_config_member(parameters, "compress"),
                        *const local = organ_config_member(parameters, "main");
    const json_t *const object = parameters ? parameters : organ_config_member(s->root, "rope_scaling");
    const double part = rotated_part(s, c), theta = organ_config_real(s, s->root, "rope_theta", 1e4),
                 compressed = organ_config_real(s, s->root, "compress_rope_theta", 160000);
    if (own && local) {
        organ_config_require_object(s, parameters, "compress");
        organ_config_require_object(s, parameters, "main");
        c->rope = read_rotation(s, own, 0, organ_config_real(s, own, "partial_rotary_factor", 1), c);
        c->rope_local = read_rotation(s, local, 0, organ_config_real(s, local, "partial_rotary_factor", 1), c);
        return;
    }
    organ_config_require_object(s, s->root, parameters ? "rope_parameters" : "rope_scaling");
    c->rope = read_rotation(s, object, 0, part, c);
    c->rope.theta = compressed;
    c->rope.attention_factor =
        c->rope.kind == ORGAN_ROPE_YARN ? organ_config_real(s, object, "attention_factor", 1) : 1;
    c->rope_local = read_rotation(s, NULL, theta, part, c);
}

/* ---- tables of experts ---- */

void organ_config_by_token(const config_hf_source *s, organ_forward_config *c)
{
    static const char *const key = "mlp_layer_types";
    const json_t *const list =
        organ_config_member(s->root, key) ? organ_config_list(s, key, "a string", c->layers) : NULL;
    const unsigned first = organ_config_size(s, "num_hash_layers", 3);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        c->kinds[l].mixture = true;
        c->kinds[l].intermediate = 0;
        c->kinds[l].by_token = list ? organ_config_layer_is(s, key, list, l, "hash_moe", "moe") : l < first;
    }
}
