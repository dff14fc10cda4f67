/* SPDX-License-Identifier: MIT
 * Reads the rotary position embeddings and the scale of queries from config.json. In this file `object` is a member
 * with the settings of a rotation: rope_parameters, a kind of layers there, or rope_scaling.
 * `s` is the file with the row of its architecture in families.h, the family; functions set members of `c`. "Reports an
 * error": sets s->error unless it is set already. The root is the object of the text model. */
#include "orchestrator/forward/config/hf.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Reads the kind of the rotation from rope_type or its older name, type; by default "default". */
static void read_kind(const config_hf_source *s, const json_t *object, organ_rope_config *rope)
{
    static const struct {
        const char *name;
        organ_rope kind;
    } kinds[] = {{"default", ORGAN_ROPE_DEFAULT}, {"linear", ORGAN_ROPE_LINEAR},
                 {"llama3", ORGAN_ROPE_LLAMA3},   {"yarn", ORGAN_ROPE_YARN},
                 {"dynamic", ORGAN_ROPE_DYNAMIC}, {"longrope", ORGAN_ROPE_LONGROPE},
                 {"su", ORGAN_ROPE_LONGROPE},     {"proportional", ORGAN_ROPE_PROPORTIONAL},
                 {"mrope", ORGAN_ROPE_DEFAULT}}; /* of Qwen's vision models: the same for a text */
    const char *word = organ_config_word(s, object, "rope_type", organ_config_word(s, object, "type", "default"));
    /* Early files of Phi-3 use another name. */
    if (strcmp(word, "yarn") == 0 && organ_config_member(object, "long_factor"))
        word = "longrope";
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (strcmp(word, kinds[k].name) == 0) {
            rope->kind = kinds[k].kind;
            return;
        }
    organ_fail(s->error, ORGAN_BAD_INPUT, "%s: rope_type '%s' is not supported", s->label, word);
}

/* Returns YaRN's attention factor, 0.1 mscale ln(factor) + 1, or 1 for a factor of at most 1. */
static double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1; }

/* Reads YaRN's `truncate`: false means exact_range. If kinds of layers have rotations of their own, transformers
 * ignores the member and always rounds. */
static void read_truncate(const config_hf_source *s, const json_t *object, organ_rope_config *rope)
{
    const json_t *const truncate = organ_config_member(object, "truncate"), *const both = organ_config_member(
                                                                                s->root, "rope_parameters");
    if (truncate && !json_is_boolean(truncate))
        organ_config_refuse(s, "truncate", truncate, "true or false");
    rope->exact_range = truncate && !json_is_true(truncate) && !organ_config_member(both, "full_attention");
}

/* Reads the settings of YaRN. The default of attention_factor is that of transformers: yarn_scale with mscale 1 or, if
 * mscale and mscale_all_dim are not 0, the ratio of yarn_scale for both. */
static void read_yarn(const config_hf_source *s, const json_t *object, organ_rope_config *rope)
{
    rope->beta_fast = organ_config_real(s, object, "beta_fast", 32);
    rope->beta_slow = organ_config_real(s, object, "beta_slow", 1);
    const double mscale = organ_config_real(s, object, "mscale", 0),
                 all = organ_config_real(s, object, "mscale_all_dim", 0);
    const double own = mscale != 0 && all != 0 ? yarn_scale(rope->factor, mscale) / yarn_scale(rope->factor, all)
                                               : yarn_scale(rope->factor, 1);
    rope->attention_factor = organ_config_real(s, object, "attention_factor", own);
    read_truncate(s, object, rope);
}

/* Returns the array `key` of the object: a positive number for each pair of the `dimensions` rotated dimensions. The
 * caller frees it; NULL after an error. */
static float *factors_of(const config_hf_source *s, const json_t *object, const char *key, unsigned dimensions)
{
    const json_t *const array = organ_config_member(object, key);
    const size_t count = dimensions / 2;
    if (json_array_size(array) != count || count == 0) {
        organ_fail(s->error, ORGAN_BAD_INPUT,
                   "%s: %s has %zu numbers, not one for each pair of the %u rotated dimensions", s->label, key,
                   json_array_size(array), dimensions);
        return NULL;
    }
    float *const factors = malloc(count * sizeof *factors);
    if (!factors)
        organ_fail_errno(s->error, ENOMEM, "%s", s->label);
    for (size_t k = 0; factors && k < count; k++) {
        const json_t *const value = json_array_get(array, k);
        factors[k] = (float)json_number_value(value);
        if (!json_is_number(value) || !(factors[k] > 0) || !isfinite(factors[k]))
            organ_config_refuse(s, key, value, "a number above 0");
    }
    return factors;
}

/* Reads the attention factors of Phi-3.5-MoE: short_mscale for windows up to the original context, long_mscale beyond
 * it, there with the long factors of frequencies, as in the model's own code and llama.cpp. transformers 5.23 combines
 * long_mscale with the short factors. */
static void read_mscales(const config_hf_source *s, const json_t *object, organ_rope_config *rope)
{
    rope->attention_factor = organ_config_real(s, object, "short_mscale", 0);
    rope->long_attention_factor = organ_config_real(s, object, "long_mscale", 0);
    if (!(rope->attention_factor > 0) || !(rope->long_attention_factor > 0) || !isfinite(rope->long_attention_factor))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: short_mscale is %g and long_mscale %g, not above 0", s->label,
                   rope->attention_factor, rope->long_attention_factor);
}

/* Reads LongRoPE: the two lists of factors of frequencies, and attention_factor. Its default is sqrt(1 + ln(factor) /
 * ln(original context)), and that of `factor` is the ratio of the context to the original context. */
static void read_longrope(const config_hf_source *s, const json_t *object, const organ_forward_config *c,
                          organ_rope_config *rope)
{
    const double original = (double)rope->original_context;
    rope->factor = organ_config_real(s, object, "factor", original > 0 ? (double)c->context / original : 0);
    const double own = rope->factor <= 1 || original <= 1 ? 1 : sqrt(1 + log(rope->factor) / log(original));
    rope->attention_factor = organ_config_real(s, object, "attention_factor", own);
    if (s->family->rope_mscale)
        read_mscales(s, object, rope);
    rope->short_factors = factors_of(s, object, "short_factor", rope->dimensions);
    rope->long_factors = factors_of(s, object, "long_factor", rope->dimensions);
}

/* Returns the number of rotated dimensions of a head of width `head_dim`: the share `part` of the head or, with
 * `counted`, rotary_dim if the file has it. With latent attention it returns qk_rope_head_dim, and reports an error if
 * the share is neither that number nor the whole head. */
static unsigned rotated_dimensions(const config_hf_source *s, double part, bool counted, unsigned head_dim,
                                   const organ_forward_config *c)
{
    const unsigned latent = c->latent.rotated, width = latent ? c->head_dim : head_dim;
    const unsigned of_part = part > 0 && part <= 1 ? (unsigned)(width * part) : 0;
    const unsigned dimensions = counted ? organ_config_size(s, "rotary_dim", of_part) : of_part;
    if (latent && dimensions != latent && dimensions != c->head_dim)
        organ_fail(s->error, ORGAN_BAD_INPUT,
                   "%s: partial_rotary_factor is %g, but qk_rope_head_dim is %u of a head of %u", s->label, part,
                   latent, c->head_dim);
    return latent ? latent : dimensions;
}

/* Sets rope->dimensions, the rotated dimensions of a head of width `head_dim`: the share partial_rotary_factor of the
 * object or of the root, or the family's default (forward_family.rotated_part and scaled_whole). */
static void read_dimensions(const config_hf_source *s, const json_t *object, unsigned head_dim,
                            const organ_forward_config *c, organ_rope_config *rope)
{
    static const char *const key = "partial_rotary_factor";
    const forward_family *const f = s->family;
    const bool own = f->rotated_part > 0 && (rope->kind == ORGAN_ROPE_DEFAULT || !f->scaled_whole);
    const double part = organ_config_real(
        s, object, key,
        organ_config_real(s, s->root, f->rotated_key ? f->rotated_key : key, own ? f->rotated_part : 1));
    const bool has_part = organ_config_member(object, key) || organ_config_member(s->root, key);
    const bool whole_head = rope->kind == ORGAN_ROPE_DEFAULT && f->rotated_part == 0;
    rope->dimensions = rotated_dimensions(s, whole_head ? 1 : part, f->rotary_dim && !has_part, head_dim, c);
}

/* Replaces HunYuan's "dynamic" rotation that has a member alpha: by a default rotation whose theta is multiplied by
 * alpha^(d / (d - 2)), with d rotated dimensions, for windows of any length. */
static void read_alpha(const config_hf_source *s, const json_t *object, organ_rope_config *rope)
{
    const double alpha = s->family->rope_alpha ? organ_config_real(s, object, "alpha", 0) : 0;
    if (rope->kind != ORGAN_ROPE_DYNAMIC || alpha == 0)
        return;
    if (!(alpha > 0) || rope->dimensions <= 2)
        organ_fail(
            s->error, ORGAN_BAD_INPUT,
            "%s: alpha is %g and %u dimensions are rotated: alpha must be above 0, and more than 2 dimensions rotated",
            s->label, alpha, rope->dimensions);
    rope->theta *= pow(alpha, rope->dimensions / (rope->dimensions - 2.0));
    rope->kind = ORGAN_ROPE_DEFAULT;
}

/* Reads the scale of queries (organ_query_scale): of Llama 4 from members of the root, whose defaults are those of
 * transformers; of other families with such a scale from two members of the object, which must be there. */
static void read_query_scale(const config_hf_source *s, const json_t *object, organ_forward_config *c)
{
    static const char *const length = "original_max_position_embeddings";
    const bool llama4 = s->family->query == QUERY_LLAMA4;
    if (s->family->query == QUERY_NONE || (llama4 && !organ_config_flag(s, "attn_temperature_tuning", true)))
        return;
    if (!llama4 && (!organ_config_member(object, "llama_4_scaling_beta") || !organ_config_member(object, length)))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: llama_4_scaling_beta or %s is missing in the rotation", s->label,
                   length);
    c->query_scale.beta = llama4 ? organ_config_real(s, s->root, "attn_scale", 0.1)
                                 : organ_config_real(s, object, "llama_4_scaling_beta", 0);
    c->query_scale.length =
        llama4 ? organ_config_real(s, s->root, "floor_scale", 8192) : organ_config_real(s, object, length, 0);
    c->query_scale.offset = llama4;
    c->query_scale.unrotated = llama4;
}

/* Returns the rotation of heads of width `head_dim` by the settings in `object`, which may be NULL: a default rotation.
 * `theta` is the base if the object has no rope_theta. */
static organ_rope_config read_rope(const config_hf_source *s, const json_t *object, double theta, unsigned head_dim,
                                   const organ_forward_config *c)
{
    organ_rope_config rope = {.theta = organ_config_real(s, object, "rope_theta", theta), .attention_factor = 1};
    read_kind(s, object, &rope);
    read_dimensions(s, object, head_dim, c, &rope);
    read_alpha(s, object, &rope);
    if (rope.kind == ORGAN_ROPE_DEFAULT)
        return rope;
    if (s->family->rope_mscale && rope.kind != ORGAN_ROPE_LONGROPE)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: rope_type is neither 'default' nor 'longrope'", s->label);
    if (rope.kind == ORGAN_ROPE_PROPORTIONAL) {
        rope.angles = rope.dimensions / 2;
        rope.dimensions = head_dim;
        rope.factor = organ_config_real(s, object, "factor", 1);
        return rope;
    }
    const double fallback = organ_config_real(s, s->root, "original_max_position_embeddings", (double)c->context);
    const double original = organ_config_real(s, object, "original_max_position_embeddings", fallback);
    rope.original_context = original >= 1 && original < 1e15 ? (uint64_t)original : 0;
    if (rope.kind == ORGAN_ROPE_LONGROPE) {
        read_longrope(s, object, c, &rope);
        return rope;
    }
    if (!organ_config_member(object, "factor"))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: the rope scaling has no factor", s->label);
    rope.factor = organ_config_real(s, object, "factor", 0);
    if (rope.kind == ORGAN_ROPE_DYNAMIC)
        rope.original_context = c->context;
    if (rope.kind == ORGAN_ROPE_LLAMA3) {
        rope.low_freq_factor = organ_config_real(s, object, "low_freq_factor", 1);
        rope.high_freq_factor = organ_config_real(s, object, "high_freq_factor", 4);
    }
    if (rope.kind == ORGAN_ROPE_YARN)
        read_yarn(s, object, &rope);
    return rope;
}

/* Returns the width of a head in the first layer with a window, or without a window; the width of the model's heads if
 * there is no such layer. */
static unsigned head_dim_of(const organ_forward_config *c, bool windowed)
{
    for (unsigned l = 0; l < c->layers; l++)
        if ((c->kinds[l].window != 0) == windowed)
            return c->kinds[l].head_dim;
    return c->head_dim;
}

/* Reads the rotation of layers without a window (rope) and that of layers with one (rope_local), and the scale of
 * queries. If the rotation is scaled, latent attention multiplies its scores by the square of yarn_scale with
 * mscale_all_dim. */
void organ_config_ropes(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *both = organ_config_member(s->root, "rope_parameters"),
                 *full = both ? organ_config_member(both, "full_attention") : NULL;
    const json_t *object = full ? full : both;
    const char *key = full ? "rope_parameters.full_attention" : "rope_parameters";
    if (!both) {
        object = organ_config_member(s->root, "rope_scaling");
        key = "rope_scaling";
    }
    if (!object && s->family->theta == 0) {
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: rope_parameters and rope_scaling are missing", s->label);
        return;
    }
    if (object && !json_is_object(object)) {
        organ_config_refuse(s, key, object, "an object");
        return;
    }
    const char *const base = s->family->theta_key ? s->family->theta_key : "rope_theta";
    c->rope = read_rope(s, object, organ_config_real(s, s->root, base, s->family->theta), head_dim_of(c, false), c);
    c->rope.reversed = s->family->rope_reversed;
    read_query_scale(s, object, c);
    c->rope_local = c->rope;
    if (c->latent.rank && c->rope.kind != ORGAN_ROPE_DEFAULT) {
        const double scale = yarn_scale(c->rope.factor, organ_config_real(s, object, "mscale_all_dim", 0));
        c->attention_scale *= scale * scale;
    }
    const json_t *local = full ? organ_config_member(both, "sliding_attention") : NULL;
    if (local)
        organ_config_require_object(s, s->root, "rope_parameters.sliding_attention");
    if (full || s->family->local == LOCAL_OWN)
        c->rope_local =
            read_rope(s, local, organ_config_real(s, s->root, "rope_local_base_freq", 1e4), head_dim_of(c, true), c);
    else if (s->family->local == LOCAL_PLAIN)
        c->rope_local =
            (organ_rope_config){.theta = c->rope.theta, .dimensions = c->rope.dimensions, .attention_factor = 1};
}
