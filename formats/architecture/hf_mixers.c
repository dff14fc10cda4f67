/* SPDX-License-Identifier: MIT
 * Reads the mixer of each layer and the sizes of recurrent mixers from config.json.
 * `s` is the config.json that is read; s->family, called the family, is the row of its architecture in families.h. `c`
 * is the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is
 * there. The root, s->root, is the JSON object of the text model. */
#include "formats/architecture/config_readers.h"

#include "formats/base/json.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

/* Sets the members of *kind that follow from `word`, the family's name for a structure of a layer. `key` is the member
 * of config.json that has the word. Refuses NULL and a word that the family's table lacks. */
static void set_kind(const config_hf_source *s, const char *key, const char *word, organ_layer_kind *kind)
{
    const forward_layer_word *known = s->family->recurrent->words;
    while (known->word && (!word || strcmp(known->word, word)))
        known++;
    if (!known->word)
        organ_refuse(s->error, s->label, "%s: '%.100s' is not supported", key, word ? word : "?");
    kind->mixer = known->mixer;
    kind->second = known->second;
    kind->feed = known->feed != FEED_NONE;
    kind->latent = kind->latent && kind->mixer == ORGAN_MIXER_ATTENTION;
    /* the words of these families name no mixer after ORGAN_MIXER_ATTENTION that is not recurrent */
    kind->norms_before = s->family->recurrent->norms_before && kind->mixer > ORGAN_MIXER_ATTENTION;
    kind->mixture = known->feed == FEED_EXPERTS;
}

static void read_pattern(const config_hf_source *s, const char *key, organ_forward_config *c)
{
    const char *const pattern = organ_config_word(s, s->root, key, "");
    if (strlen(pattern) != c->layers)
        organ_refuse(s->error, s->label, "%s has %zu letters for %u layers", key, strlen(pattern), c->layers);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        set_kind(s, key, (char[]){pattern[l], 0}, &c->kinds[l]);
}

static const char *types_of(const config_hf_source *s)
{
    return s->family->recurrent->types ? s->family->recurrent->types : "layer_types";
}

unsigned organ_config_layers(const config_hf_source *s)
{
    static const char key[] = "num_hidden_layers";
    const json_t *const types = s->family->recurrent ? organ_config_member(s->root, types_of(s)) : NULL;
    if (types && !json_is_array(types))
        organ_config_refuse(s, types_of(s), types, "a list");
    return types && !organ_config_member(s->root, key) ? (unsigned)json_array_size(types) : organ_config_needed(s, key);
}

/* The layers of the list get the first word, the others the second. */
static void read_indices(const config_hf_source *s, organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    const json_t *const list = organ_config_member(s->root, r->indices);
    if (!json_is_array(list) && (list || r->indices_needed))
        organ_refuse(s->error, s->label, "neither %s nor %s is a list", types_of(s), r->indices);
    for (unsigned l = 0; l < c->layers; l++)
        set_kind(s, types_of(s), r->words[1].word, &c->kinds[l]);
    for (size_t k = 0; k < json_array_size(list); k++) {
        organ_layer_kind *const kind = organ_config_layer(s, r->indices, json_array_get(list, k), /*first=*/0, c);
        if (kind)
            set_kind(s, r->indices, r->words[0].word, kind);
    }
}

/* Layers are numbered from 1. */
static size_t read_numbered(const config_hf_source *s, const json_t *object, const char *key, const char *word,
                            organ_forward_config *c)
{
    const json_t *const list = organ_config_member(object, key);
    if (!json_is_array(list))
        organ_refuse(s->error, s->label, "%s is not a list of numbers of layers", key);
    for (size_t k = 0; k < json_array_size(list); k++) {
        organ_layer_kind *const kind = organ_config_layer(s, key, json_array_get(list, k), /*first=*/1, c);
        if (kind)
            set_kind(s, key, word, kind);
    }
    return json_array_size(list);
}

/* KimiLinearConfig of transformers has two lists of layer numbers from 1, full_attn_layers and kda_layers; each
 * layer must be in exactly one of them. */
static void read_numbered_words(const config_hf_source *s, const json_t *object, organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    for (unsigned l = 0; l < c->layers; l++)
        c->kinds[l].mixer = ORGAN_MIXER_NONE; /* marks layers that are in neither list */
    if (read_numbered(s, object, "full_attn_layers", r->words[0].word, c) +
            read_numbered(s, object, "kda_layers", r->words[1].word, c) !=
        c->layers)
        organ_refuse(s->error, s->label, "full_attn_layers and kda_layers do not name each of %u layers once",
                     c->layers);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        if (c->kinds[l].mixer == ORGAN_MIXER_NONE)
            organ_refuse(s->error, s->label, "layer %u is neither in full_attn_layers nor in kda_layers", l + 1);
}

/* Of `interval` consecutive layers, the layer at `offset` gets the mixer of the first word, the others that of the
 * second. */
static void read_mixer_interval(const config_hf_source *s, organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    const unsigned interval = r->alike ? 1 : organ_config_size(s, r->interval.key, (unsigned)r->interval.otherwise);
    if (interval == 0)
        organ_refuse(s->error, s->label, "%s is 0", r->interval.key);
    const unsigned offset =
        r->offset.key ? organ_config_size(s, r->offset.key, (unsigned)r->offset.otherwise) : interval - 1;
    if (r->offset.key && offset >= interval)
        organ_refuse(s->error, s->label, "%s is %u, not below %s %u", r->offset.key, offset, r->interval.key, interval);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        set_kind(s, types_of(s), r->words[l % interval == offset ? 0 : 1].word, &c->kinds[l]);
}

static void read_words(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *const types = organ_config_list(s, types_of(s), "a string", c->layers);
    for (unsigned l = 0; types && l < c->layers && !s->error->status; l++)
        set_kind(s, types_of(s), organ_json_plain(json_array_get(types, l)), &c->kinds[l]);
}

/* In a family with forward_recurrent.alike, all layers get the first word even if the file has the list of layer
 * words. */
static void read_kinds(const config_hf_source *s, organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    const json_t *const object = r->object ? organ_config_member(s->root, r->object) : NULL;
    if (r->object)
        organ_config_require_object(s, s->root, r->object);
    if (r->pattern && organ_config_member(s->root, r->pattern))
        read_pattern(s, r->pattern, c);
    else if (object && !organ_config_member(s->root, types_of(s)))
        read_numbered_words(s, object, c);
    else if (r->alike)
        read_mixer_interval(s, c);
    else if (r->indices && !organ_config_member(s->root, types_of(s)))
        read_indices(s, c);
    else if (r->interval.key && !organ_config_member(s->root, types_of(s)))
        read_mixer_interval(s, c);
    else
        read_words(s, c);
}

/* A default of 0 means that the member is required. Returns 0 if number.key is NULL. */
static unsigned read_size_or_default(const config_hf_source *s, forward_number number)
{
    if (!number.key)
        return 0;
    return number.otherwise > 0 ? organ_config_size(s, number.key, (unsigned)number.otherwise)
                                : organ_config_needed(s, number.key);
}

/* The inner width is heads x value_dim. Returns 0 if the family has no `expand`, or if the product is not above 0
 * and below 2^24. */
static uint64_t inner_of(const config_hf_source *s, const organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    if (r->inner && organ_config_member(s->root, r->inner))
        return organ_config_needed(s, r->inner);
    const double inner = organ_config_number(s, r->expand) * (double)c->hidden;
    return inner > 0 && inner < 1 << 24 ? (uint64_t)inner : 0;
}

static void read_object(const config_hf_source *s, organ_recurrent_config *sizes)
{
    const char *const key = s->family->recurrent->object;
    const json_t *const object = key ? organ_config_member(s->root, key) : NULL;
    const config_hf_source source = {s->label, s->file, object, s->family, s->error}; /* with the object as the root */
    if (!object)
        return;
    sizes->heads = sizes->groups = organ_config_size(&source, "num_heads", sizes->heads);
    sizes->key_dim = sizes->value_dim = organ_config_size(&source, "head_dim", sizes->key_dim);
    sizes->kernel = organ_config_size(&source, "short_conv_kernel_size", sizes->kernel);
}

static bool is_auto(const config_hf_source *s, const char *key)
{
    const char *const word = organ_json_plain(organ_config_member(s->root, key));
    return word && strcmp(word, "auto") == 0;
}

/* The width "auto" (Bamba, Granite) stands for the inner width divided by the number of heads. In Mamba each channel
 * is a head of width 1; its `rank` is by default, or if it is "auto", hidden_size / 16, rounded up. */
static void read_head(const config_hf_source *s, organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    organ_recurrent_config *const sizes = &c->recurrent;
    const uint64_t inner = inner_of(s, c);
    if (r->rank) { /* Mamba */
        sizes->heads = (unsigned)inner;
        sizes->groups = sizes->value_dim = 1;
        const bool automatic = !organ_config_member(s->root, r->rank) || is_auto(s, r->rank);
        sizes->rank = automatic ? (unsigned)((c->hidden + 15) / 16) : organ_config_needed(s, r->rank);
    }
    if (!r->value_dim.key)
        return;
    if (is_auto(s, r->value_dim.key))
        sizes->value_dim = sizes->heads ? (unsigned)(inner / sizes->heads) : 0;
    else
        sizes->value_dim = read_size_or_default(s, r->value_dim);
    if ((r->inner || r->expand.key) && (uint64_t)sizes->heads * sizes->value_dim != inner)
        organ_refuse(s->error, s->label, "%u heads of %u in recurrent layers do not make up %llu channels",
                     sizes->heads, sizes->value_dim, (unsigned long long)inner);
}

/* Returns infinity for an item that is null, {"__float__": "Infinity"} (transformers 5) or a number above FLT_MAX,
 * which organ_hf_config_tidy writes in place of Infinity. */
static double item_of(const config_hf_source *s, const char *key, size_t index, size_t count, double otherwise)
{
    const json_t *const list = organ_config_member(s->root, key), *const item = json_array_get(list, index);
    const char *const word = organ_json_plain(json_object_get(item, "__float__"));
    char expected[64];
    if (!list)
        return otherwise;
    snprintf(expected, sizeof expected, "a list of %zu numbers", count);
    if (json_array_size(list) != count)
        organ_config_refuse(s, key, list, expected);
    if (json_is_number(item))
        return json_number_value(item) > FLT_MAX ? INFINITY : json_number_value(item);
    if (!item || (!json_is_null(item) && (!word || strcmp(word, "Infinity"))))
        organ_config_refuse(s, key, list, expected);
    return INFINITY;
}

/* The member that forward_recurrent.least_step names has only the lower limit; families in which this is NULL have
 * the list time_step_limit. */
static void read_steps(const config_hf_source *s, organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    organ_recurrent_config *const sizes = &c->recurrent;
    sizes->step_min = r->least_step ? organ_config_real(s, s->root, r->least_step, 0.001)
                                    : item_of(s, "time_step_limit", /*index=*/0, /*count=*/2, 0);
    sizes->step_max = r->least_step ? INFINITY : item_of(s, "time_step_limit", /*index=*/1, /*count=*/2, INFINITY);
    if (!(sizes->step_min >= 0) || !isfinite((float)sizes->step_min) || !(sizes->step_max >= sizes->step_min))
        organ_refuse(s->error, s->label, "the limits of the time steps are %g and %g", sizes->step_min,
                     sizes->step_max);
}

static float multiplier_of(const config_hf_source *s, const char *key)
{
    return (float)organ_config_real(s, s->root, key, 1);
}

static void read_multipliers(const config_hf_source *s, organ_forward_config *c)
{
    organ_multipliers *const m = &c->multipliers;
    *m = (organ_multipliers){.attention_in = multiplier_of(s, "attention_in_multiplier"),
                             .key = multiplier_of(s, "key_multiplier"),
                             .attention_out = multiplier_of(s, "attention_out_multiplier"),
                             .gate = (float)item_of(s, "mlp_multipliers", /*index=*/0, /*count=*/2, 1),
                             .down = (float)item_of(s, "mlp_multipliers", /*index=*/1, /*count=*/2, 1),
                             .recurrent_in = multiplier_of(s, "ssm_in_multiplier"),
                             .recurrent_out = multiplier_of(s, "ssm_out_multiplier")};
    bool finite = isfinite(m->attention_in) && isfinite(m->key) && isfinite(m->attention_out) && isfinite(m->gate) &&
                  isfinite(m->down) && isfinite(m->recurrent_in) && isfinite(m->recurrent_out);
    for (size_t k = 0; k < 5; k++) {
        m->projections[k] = (float)item_of(s, "ssm_multipliers", k, /*count=*/5, 1);
        finite = finite && isfinite(m->projections[k]);
    }
    if (!finite)
        organ_refuse(s->error, s->label, "a multiplier is not finite");
}

/* alpha and beta belong to the residual additions of MiniMaxDecoderLayer of transformers. */
static void read_lightning(const config_hf_source *s, organ_forward_config *c)
{
    organ_recurrent_config *const sizes = &c->recurrent;
    sizes->heads = sizes->groups = c->heads;
    sizes->key_dim = sizes->value_dim = c->head_dim;
    sizes->kernel = 1; /* there is no convolution, but the check of sizes rejects 0 */
    c->residual_normed = true;
    for (unsigned l = 0; l < c->layers; l++) {
        organ_layer_kind *const kind = &c->kinds[l];
        const bool full = kind->mixer == ORGAN_MIXER_ATTENTION;
        kind->alpha[0] =
            (float)organ_config_real(s, s->root, full ? "full_attn_alpha_factor" : "linear_attn_alpha_factor", 1);
        kind->beta[0] =
            (float)organ_config_real(s, s->root, full ? "full_attn_beta_factor" : "linear_attn_beta_factor", 1);
        kind->alpha[1] = (float)organ_config_real(s, s->root, "mlp_alpha_factor", 1);
        kind->beta[1] = (float)organ_config_real(s, s->root, "mlp_beta_factor", 1);
        if (!isfinite(kind->alpha[0]) || !isfinite(kind->beta[0]) || !isfinite(kind->alpha[1]) ||
            !isfinite(kind->beta[1]))
            organ_refuse(s->error, s->label, "a factor of the residuals of layer %u is not finite", l);
    }
}

/* The rules are those of BailingHybridConfig of transformers: files that it saved have members of their own for the
 * sizes, published files have those of the attention and of the convolution. */
static void read_bounded(const config_hf_source *s, organ_recurrent_config *sizes)
{
    static const char limit[] = "kda_lower_bound";
    const unsigned heads = organ_config_needed(s, "num_attention_heads");
    sizes->heads = sizes->groups = organ_config_size(s, "linear_num_heads", heads);
    sizes->key_dim = sizes->value_dim = organ_config_size(s, "linear_head_dim", organ_config_size(s, "head_dim", 128));
    sizes->kernel = organ_config_size(s, "linear_conv_kernel_dim", organ_config_size(s, "short_conv_kernel_size", 4));
    if (!organ_config_flag(s, "kda_safe_gate", true))
        return;
    sizes->decay_limit = organ_config_real(s, s->root, limit, -5);
    if (!(sizes->decay_limit < 0))
        organ_refuse(s->error, s->label, "%s is %g, not below 0", limit, sizes->decay_limit);
}

/* As in Lfm2MLP of transformers, the width is block_ff_dim or, if block_auto_adjust_ff_dim is true, 2/3 of it,
 * multiplied by block_ffn_dim_multiplier (by default 1) and rounded up to a multiple of block_multiple_of. If
 * block_ffn_dim_multiplier is null, the width is neither multiplied nor rounded. */
static void adjust_feed(const config_hf_source *s, organ_forward_config *c)
{
    uint64_t width = organ_config_size(s, "block_ff_dim", (unsigned)c->intermediate);
    if (organ_config_flag(s, "block_auto_adjust_ff_dim", true)) {
        const unsigned multiple = organ_config_size(s, "block_multiple_of", 256);
        const bool scaled = json_object_get(s->root, "block_ffn_dim_multiplier") == NULL ||
                            organ_config_member(s->root, "block_ffn_dim_multiplier");
        const double factor = organ_config_real(s, s->root, "block_ffn_dim_multiplier", 1);
        width = 2 * width / 3;
        if (scaled && (multiple == 0 || !(factor > 0) || !(factor * (double)width < 1 << 24)))
            organ_refuse(s->error, s->label, "block_multiple_of %u or block_ffn_dim_multiplier %g is not valid",
                         multiple, factor);
        else if (scaled)
            width = ((uint64_t)(factor * (double)width) + multiple - 1) / multiple * multiple;
    }
    for (unsigned l = 0; l < c->layers; l++)
        c->kinds[l].intermediate = width;
    c->intermediate = width;
}

void organ_config_mixers(const config_hf_source *s, organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    if (!r || s->error->status)
        return;
    read_kinds(s, c);
    c->recurrent = (organ_recurrent_config){.heads = read_size_or_default(s, r->heads),
                                            .groups = read_size_or_default(s, r->groups),
                                            .key_dim = read_size_or_default(s, r->key_dim),
                                            .kernel = read_size_or_default(s, r->kernel),
                                            .projections = r->projections,
                                            .fused_ba = r->projections == ORGAN_PROJECTIONS_BY_HEAD,
                                            .norm_eps = r->norm_eps > 0 ? r->norm_eps : c->rms_eps,
                                            .twice = organ_config_flag_of(s, r->twice),
                                            .conv_biased = organ_config_flag_of(s, r->conv_bias),
                                            .biased = organ_config_flag_of(s, r->bias),
                                            .out_biased = organ_config_flag_of(s, r->out_bias),
                                            .by_channel = r->by_channel,
                                            .full_rank = r->full_rank,
                                            .normed = organ_config_flag_of(s, r->normed),
                                            .norm_first = organ_config_flag_of(s, r->norm_first),
                                            .step_norms = r->step_norms,
                                            .step_norms_bare = r->step_norms_bare};
    if (r->norm_eps_key)
        c->recurrent.norm_eps = organ_config_real(s, s->root, r->norm_eps_key, r->norm_eps);
    read_head(s, c);
    read_object(s, &c->recurrent);
    if (r->lightning)
        read_lightning(s, c);
    if (r->bounded)
        read_bounded(s, &c->recurrent);
    read_steps(s, c);
    if (r->scaled)
        read_multipliers(s, c);
    if (s->family->adjusted_feed)
        adjust_feed(s, c);
}
