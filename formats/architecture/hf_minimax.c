/* SPDX-License-Identifier: MIT
 * MiniMax M3: gives config.json of published files the members that transformers saves
 * (MiniMaxM3VLTextConfig.__post_init__ of configuration_minimax_m3_vl.py), and reads block-sparse attention. */
#include "formats/architecture/config_readers.h"
#include "formats/base/json.h"
#include "formats/base/owned.h"

#include <string.h>

#define TYPES  "layer_types"
#define FEEDS  "mlp_layer_types"
#define SPARSE "minimax_m3_sparse"
#define FULL   "full_attention"

/* The object of published files with the settings of sparse attention, whose members precede those of the text part. */
#define OBJECT "sparse_attention_config"

/* The members that transformers adds if config.json lacks them. */
#define M3_DEFAULTS                                                                                                    \
    "{\"dense_intermediate_size\": 12288, \"shared_intermediate_size\": 3072, \"routed_scaling_factor\": 2.0, "        \
    "\"num_local_experts\": 128, \"num_experts_per_tok\": 4, \"intermediate_size\": 3072, \"index_n_heads\": 4, "      \
    "\"index_head_dim\": 128, \"index_block_size\": 128, \"index_topk_blocks\": 16, \"index_local_blocks\": 1}"

static bool is_missing(const json_t *text, const char *key)
{
    const json_t *const value = json_object_get(text, key);
    return !value || json_is_null(value);
}

/* Sets `key` to a list with `hit` for each entry of `list` that is true or not 0, else `miss`. Copies what is neither a
 * flag nor a number, and a value that is no list: their readers refuse it. */
static void add_words(json_t *text, const char *key, json_t *list, const char *hit, const char *miss)
{
    json_t *const words = json_is_array(list) ? json_array() : json_incref(list);
    for (size_t k = 0; k < json_array_size(list); k++) {
        json_t *const entry = json_array_get(list, k);
        const bool is_hit = json_is_true(entry) || (json_is_number(entry) && json_number_value(entry) != 0);
        if (json_is_boolean(entry) || json_is_number(entry))
            json_array_append_new(words, json_string(is_hit ? hit : miss));
        else
            json_array_append(words, entry);
    }
    json_object_set_new(text, key, words);
}

/* Without a list, all layers have the same word. */
static void add_same(json_t *text, const char *key, size_t layers, const char *word)
{
    json_t *const words = json_array();
    for (size_t k = 0; k < layers; k++)
        json_array_append_new(words, json_string(word));
    json_object_set_new(text, key, words);
}

static void add_sizes(json_t *text, const json_t *sparse)
{
    static const char *const names[][2] = {{"sparse_num_index_heads", "index_n_heads"},
                                           {"sparse_index_dim", "index_head_dim"},
                                           {"sparse_block_size", "index_block_size"},
                                           {"sparse_topk_blocks", "index_topk_blocks"},
                                           {"sparse_local_block", "index_local_blocks"}};
    for (size_t k = 0; k < sizeof names / sizeof *names; k++)
        if (json_object_get(sparse, names[k][0]))
            json_object_set(text, names[k][1], json_object_get(sparse, names[k][0]));
}

void organ_config_m3(json_t *text)
{
    json_t *const sparse = json_object_get(text, OBJECT), *const feeds = json_object_get(text, "moe_layer_freq"),
                  *const attends = json_object_get(sparse, "sparse_attention_freq");
    const json_int_t layers = json_integer_value(json_object_get(text, "num_hidden_layers"));
    bool no_memory = false;
    json_error_t fault;
    if (layers <= 0 || layers > 1 << 16)
        return;
    json_object_set_new(text, "hidden_act", json_string("silu"));
    add_sizes(text, sparse);
    if (is_missing(text, TYPES) && attends)
        add_words(text, TYPES, attends, SPARSE, FULL);
    else if (is_missing(text, TYPES))
        add_same(text, TYPES, (size_t)layers, FULL);
    if (is_missing(text, FEEDS) && feeds && !json_is_null(feeds))
        add_words(text, FEEDS, feeds, "sparse", "dense");
    else if (is_missing(text, FEEDS))
        add_same(text, FEEDS, (size_t)layers, "sparse");
    ORGAN_OWNED_JSON json_t *const missing = organ_json_load(M3_DEFAULTS, strlen(M3_DEFAULTS), 0, &fault, &no_memory);
    if (missing)
        json_object_update_missing(text, missing);
}

/* ---- block-sparse attention ---- */

void organ_config_blocks(const config_hf_source *s, organ_forward_config *c)
{
    if (!s->family->blocks || s->error->status)
        return;
    organ_config_require_object(s, s->root, OBJECT);
    const json_t *const words = organ_config_list(s, TYPES, "a string", c->layers);
    bool any = false;
    for (unsigned l = 0; words && l < c->layers; l++) {
        c->kinds[l].indexed = organ_config_layer_is(s, TYPES, words, l, SPARSE, FULL);
        any = any || c->kinds[l].indexed;
    }
    if (!any || s->error->status)
        return;
    c->blocks = (organ_blocks_config){.size = organ_config_needed(s, "index_block_size"),
                                      .chosen = organ_config_needed(s, "index_topk_blocks"),
                                      .local = organ_config_size(s, "index_local_blocks", 1),
                                      .heads = organ_config_needed(s, "index_n_heads"),
                                      .dim = organ_config_needed(s, "index_head_dim")};
    organ_forward_config_blocks(s->label, c, s->error);
}
