/* SPDX-License-Identifier: MIT
 * Reads multi-head latent attention and the indexer of sparse attention from config.json.
 * `s` is the config.json that is read; s->family, called the family, is the row of its architecture in families.h. `c`
 * is the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is
 * there. The root, s->root, is the JSON object of the text model. */
#include "formats/architecture/config_check.h"
#include "formats/architecture/hf.h"

#include "formats/base/json_text.h"

#include <math.h>
#include <string.h>

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
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: q_lora_rank is missing", s->label);
}

/* The letter of a layer is "F" for one with an indexer, "S" for one that uses the keys that an earlier layer has
 * chosen. */
static void read_index_pattern(const config_hf_source *s, const char *pattern, organ_forward_config *c)
{
    const bool valid = strlen(pattern) == c->layers && strspn(pattern, "FS") == c->layers;
    if (!valid)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: index_topk_pattern is '%.100s', not F or S for each of %u layers",
                   s->label, pattern, c->layers);
    for (unsigned l = 0; valid && l < c->layers; l++)
        c->kinds[l].indexed = pattern[l] == 'F';
}

/* The word of a layer is "full" for one with an indexer, "shared" for one that uses the keys that an earlier layer
 * has chosen. */
static void read_index_words(const config_hf_source *s, const char *key, organ_forward_config *c)
{
    const json_t *const words = organ_config_list(s, key, "a string", c->layers);
    for (unsigned l = 0; words && l < c->layers; l++) {
        const char *const word = organ_json_plain(json_array_get(words, l));
        c->kinds[l].indexed = word && strcmp(word, "full") == 0;
        if (!c->kinds[l].indexed && (!word || strcmp(word, "shared")))
            organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s: '%s' is not supported", s->label, key, word ? word : "?");
    }
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
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: layer 0 has no indexer, and there is no earlier layer to share one",
                   s->label);
}

static void read_indexer(const config_hf_source *s, organ_forward_config *c)
{
    organ_latent_config *const l = &c->latent;
    l->keys = organ_config_needed(s, "index_topk");
    l->index_heads = organ_config_needed(s, "index_n_heads");
    l->index_dim = organ_config_needed(s, "index_head_dim");
    l->index_neighbours = s->family->indexer == INDEXER_SHARED;
    organ_forward_config_indexer(s->label, l, s->error);
    if (l->index_neighbours && !s->error->status)
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
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: num_key_value_heads is %u, not num_attention_heads %u", s->label,
                   c->kv_heads, c->heads);
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
