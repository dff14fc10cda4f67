/* SPDX-License-Identifier: MIT
 * The mixers of config.json's layers, and the sizes of recurrent ones. */
#include "orchestrator/forward/config_hf.h"

#include "formats/base/json_text.h"

#include <stdio.h>
#include <string.h>

static void set_word(const config_hf_source *s, const char *key, const char *word, organ_layer_kind *kind)
{
    const forward_layer_word *known = s->family->recurrent->words;
    while (known->word && (!word || strcmp(known->word, word)))
        known++;
    if (!known->word)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s: '%.100s' is not supported", s->label, key, word ? word : "?");
    kind->mixer = known->mixer;
    kind->second = known->second;
    kind->feed = !known->only;
}

static void read_pattern(const config_hf_source *s, const char *key, organ_forward_config *c)
{
    const char *const pattern = organ_config_word(s, s->root, key, "");
    if (strlen(pattern) != c->layers)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s has %zu letters for %u layers", s->label, key, strlen(pattern),
                   c->layers);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        set_word(s, key, (char[]){pattern[l], 0}, &c->kinds[l]);
}

static void read_words(const config_hf_source *s, organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    const bool listed = organ_config_member(s->root, "layer_types") || !r->interval.key;
    const json_t *const types = listed ? organ_config_list(s, "layer_types", "a word", c->layers) : NULL;
    const unsigned interval = listed ? 1 : organ_config_size(s, r->interval.key, (unsigned)r->interval.otherwise);
    if (interval == 0)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: %s is 0", s->label, r->interval.key);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        set_word(s, "layer_types",
                 listed ? organ_json_plain(json_array_get(types, l)) : r->words[(l + 1) % interval ? 1 : 0].word,
                 &c->kinds[l]);
}

/* Returns a size; 0 without a member. */
static unsigned size_of(const config_hf_source *s, forward_number number)
{
    if (!number.key)
        return 0;
    return number.otherwise > 0 ? organ_config_size(s, number.key, (unsigned)number.otherwise)
                                : organ_config_needed(s, number.key);
}

void organ_config_mixers(const config_hf_source *s, organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    if (!r || s->error->status)
        return;
    if (r->pattern && organ_config_member(s->root, r->pattern))
        read_pattern(s, r->pattern, c);
    else
        read_words(s, c);
    c->recurrent = (organ_recurrent_config){.heads = size_of(s, r->heads),
                                            .groups = size_of(s, r->groups),
                                            .key_dim = size_of(s, r->key_dim),
                                            .value_dim = size_of(s, r->value_dim),
                                            .kernel = size_of(s, r->kernel),
                                            .projections = r->projections,
                                            .norm_eps = r->norm_eps > 0 ? r->norm_eps : c->rms_eps,
                                            .twice = organ_config_flag_of(s, r->twice)};
}
