/* SPDX-License-Identifier: MIT
 * Reads the rotary position embeddings and the scale of queries from config.json. `object` is the JSON object with the
 * settings of one rotation: rope_parameters, a member of it for one kind of layers, or rope_scaling; NULL: there is
 * none.
 * `s` is the config.json that is read; s->family, called the family, is the row of its architecture in families.h. `c`
 * is the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is
 * there. The root, s->root, is the JSON object of the text model. */
#include "formats/architecture/config_readers.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

static void read_kind(const config_hf_source *s, const json_t *object, organ_rope_config *rope)
{
    static const struct {
        const char *name;
        organ_rope kind;
    } kinds[] = {{"default", ORGAN_ROPE_DEFAULT}, {"linear", ORGAN_ROPE_LINEAR},
                 {"llama3", ORGAN_ROPE_LLAMA3},   {"yarn", ORGAN_ROPE_YARN},
                 {"dynamic", ORGAN_ROPE_DYNAMIC}, {"longrope", ORGAN_ROPE_LONGROPE},
                 {"su", ORGAN_ROPE_LONGROPE},     {"proportional", ORGAN_ROPE_PROPORTIONAL},
                 {"mrope", ORGAN_ROPE_DEFAULT}}; /* Qwen's vision models; for text it equals "default" */
    const char *word = organ_config_word(s, object, "rope_type", organ_config_word(s, object, "type", "default"));
    /* Early files of Phi-3 call LongRoPE "yarn". */
    if (strcmp(word, "yarn") == 0 && organ_config_member(object, "long_factor"))
        word = "longrope";
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        if (strcmp(word, kinds[k].name) == 0) {
            rope->kind = kinds[k].kind;
            return;
        }
    organ_refuse(s->error, s->label, "rope_type '%s' is not supported", word);
}

static double yarn_scale(double factor, double mscale) { return factor <= 1 ? 1 : 0.1 * mscale * log(factor) + 1; }

/* If rope_parameters has an object for each kind of layers, transformers ignores `truncate` and always rounds. */
static void read_truncate(const config_hf_source *s, const json_t *object, organ_rope_config *rope)
{
    const json_t *const truncate = organ_config_member(object, "truncate");
    const json_t *const parameters = organ_config_member(s->root, "rope_parameters");
    if (truncate && !json_is_boolean(truncate))
        organ_config_refuse(s, "truncate", truncate, "true or false");
    rope->exact_range = truncate && !json_is_true(truncate) && !organ_config_member(parameters, "full_attention");
}

/* rope->factor must be set. The default of attention_factor is that of transformers: the ratio of yarn_scale for
 * mscale and for mscale_all_dim or, if one of these is 0 or missing, yarn_scale for 1. */
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

/* The caller frees the result, which is NULL after a wrong length or without memory, but not after an error for a
 * factor that is not above 0. */
static float *factors_of(const config_hf_source *s, const json_t *object, const char *key, unsigned dimensions)
{
    const json_t *const array = organ_config_member(object, key);
    const size_t count = dimensions / 2;
    if (json_array_size(array) != count || count == 0) {
        organ_refuse(s->error, s->label, "%s has %zu numbers, not one for each pair of the %u rotated dimensions", key,
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

/* short_mscale is for windows up to the original context, long_mscale for longer ones (Phi-3.5-MoE). The forward
 * pass uses long_mscale together with the long factors of frequencies, like the model's own code and llama.cpp;
 * transformers 5.23 combines it with the short factors. */
static void read_mscales(const config_hf_source *s, const json_t *object, organ_rope_config *rope)
{
    rope->attention_factor = organ_config_real(s, object, "short_mscale", 0);
    rope->long_attention_factor = organ_config_real(s, object, "long_mscale", 0);
    if (!(rope->attention_factor > 0) || !(rope->long_attention_factor > 0) || !isfinite(rope->long_attention_factor))
        organ_refuse(s->error, s->label, "short_mscale is %g and long_mscale %g, not above 0", rope->attention_factor,
                     rope->long_attention_factor);
}

/* attention_factor is by default sqrt(1 + ln(factor) / ln(original context)), or 1 if `factor` is at most 1. The
 * default of `factor` is the ratio of the context to the original context. */
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

/* The number is the share `part` of the head or, with `read_rotary_dim`, the file's rotary_dim, if any. With latent
 * attention it is qk_rope_head_dim, and the share must be this number or the whole head. */
static unsigned rotated_dimensions(const config_hf_source *s, double part, bool read_rotary_dim, unsigned head_dim,
                                   const organ_forward_config *c)
{
    const unsigned latent = c->latent.rotated, width = latent ? c->head_dim : head_dim;
    const unsigned of_part = part > 0 && part <= 1 ? (unsigned)(width * part) : 0;
    const unsigned dimensions = read_rotary_dim ? organ_config_size(s, "rotary_dim", of_part) : of_part;
    if (latent && dimensions != latent && dimensions != c->head_dim)
        organ_refuse(s->error, s->label, "partial_rotary_factor is %g, but qk_rope_head_dim is %u of a head of %u",
                     part, latent, c->head_dim);
    return latent ? latent : dimensions;
}

/* rope->kind must be set. The share of the head is partial_rotary_factor of the object, of the root, or the family's
 * default (rotated_part and scaled_whole of forward_family). */
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

/* HunYuan's rotation, "dynamic" with a member alpha, is a default rotation whose theta is multiplied by alpha^(d /
 * (d - 2)) for windows of any length; d is the number of rotated dimensions. */
static void read_alpha(const config_hf_source *s, const json_t *object, organ_rope_config *rope)
{
    const double alpha = s->family->rope_alpha ? organ_config_real(s, object, "alpha", 0) : 0;
    if (rope->kind != ORGAN_ROPE_DYNAMIC || alpha == 0)
        return;
    if (!(alpha > 0) || rope->dimensions <= 2)
        organ_refuse(
            s->error, s->label,
            "alpha is %g and %u dimensions are rotated: alpha must be above 0, and more than 2 dimensions rotated",
            alpha, rope->dimensions);
    rope->theta *= pow(alpha, rope->dimensions / (rope->dimensions - 2.0));
    rope->kind = ORGAN_ROPE_DEFAULT;
}

/* Llama 4 has the scale of queries in members of the root, with transformers' defaults; other families with such a
 * scale (QUERY_ROPE) have two members of the object, both required. */
static void read_query_scale(const config_hf_source *s, const json_t *object, organ_forward_config *c)
{
    static const char *const length = "original_max_position_embeddings";
    const bool llama4 = s->family->query == QUERY_LLAMA4;
    if (s->family->query == QUERY_NONE || (llama4 && !organ_config_flag(s, "attn_temperature_tuning", true)))
        return;
    if (!llama4 && (!organ_config_member(object, "llama_4_scaling_beta") || !organ_config_member(object, length)))
        organ_refuse(s->error, s->label, "llama_4_scaling_beta or %s is missing in the rotation", length);
    c->query_scale.beta = llama4 ? organ_config_real(s, s->root, "attn_scale", 0.1)
                                 : organ_config_real(s, object, "llama_4_scaling_beta", 0);
    c->query_scale.length =
        llama4 ? organ_config_real(s, s->root, "floor_scale", 8192) : organ_config_real(s, object, length, 0);
    c->query_scale.offset = llama4; /* Llama 4 counts positions from 1 here, the others from 0 */
    c->query_scale.unrotated = llama4;
}

organ_rope_config organ_config_rope(const config_hf_source *s, const json_t *object, double theta, unsigned head_dim,
                                    const organ_forward_config *c)
{
    organ_rope_config rope = {.theta = organ_config_real(s, object, "rope_theta", theta), .attention_factor = 1};
    read_kind(s, object, &rope);
    read_dimensions(s, object, head_dim, c, &rope);
    read_alpha(s, object, &rope);
    if (rope.kind == ORGAN_ROPE_DEFAULT)
        return rope;
    if (s->family->rope_mscale && rope.kind != ORGAN_ROPE_LONGROPE)
        organ_refuse(s->error, s->label, "rope_type is neither 'default' nor 'longrope'");
    if (rope.kind == ORGAN_ROPE_PROPORTIONAL) {
        rope.angles = rope.dimensions / 2;
        rope.dimensions = head_dim;
        rope.factor = organ_config_real(s, object, "factor", 1);
        return rope;
    }
    /* the original context: of the object, else of the root, else the context; 0 if it is not valid */
    const double fallback = organ_config_real(s, s->root, "original_max_position_embeddings", (double)c->context);
    const double original = organ_config_real(s, object, "original_max_position_embeddings", fallback);
    rope.original_context = original >= 1 && original < 1e15 ? (uint64_t)original : 0;
    if (rope.kind == ORGAN_ROPE_LONGROPE) {
        read_longrope(s, object, c, &rope);
        return rope;
    }
    if (!organ_config_member(object, "factor"))
        organ_refuse(s->error, s->label, "the rope scaling has no factor");
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

static unsigned head_dim_of(const organ_forward_config *c, bool windowed)
{
    for (unsigned l = 0; l < c->layers; l++)
        if ((c->kinds[l].window != 0) == windowed)
            return c->kinds[l].head_dim;
    return c->head_dim;
}

/* In models with latent attention and a rotation other than "default", c->attention_scale is multiplied by the
 * square of yarn_scale for mscale_all_dim. */
void organ_config_ropes(const config_hf_source *s, organ_forward_config *c)
{
    const json_t *parameters = organ_config_member(s->root, "rope_parameters"),
                 *full = parameters ? organ_config_member(parameters, "full_attention") : NULL;
    const json_t *object = full ? full : parameters;
    const char *key = full ? "rope_parameters.full_attention" : "rope_parameters";
    if (!parameters) {
        object = organ_config_member(s->root, "rope_scaling");
        key = "rope_scaling";
    }
    if (!object && s->family->theta == 0) {
        organ_refuse(s->error, s->label, "rope_parameters and rope_scaling are missing");
        return;
    }
    if (object && !json_is_object(object)) {
        organ_config_refuse(s, key, object, "an object");
        return;
    }
    const char *const base = s->family->theta_key ? s->family->theta_key : "rope_theta";
    c->rope = organ_config_rope(s, object, organ_config_real(s, s->root, base, s->family->theta),
                                head_dim_of(c, /*windowed=*/false), c);
    c->rope.reversed = s->family->rope_reversed;
    read_query_scale(s, object, c);
    c->rope_local = c->rope;
    if (c->latent.rank && c->rope.kind != ORGAN_ROPE_DEFAULT) {
        const double scale = yarn_scale(c->rope.factor, organ_config_real(s, object, "mscale_all_dim", 0));
        c->attention_scale *= scale * scale;
    }
    const json_t *local = full ? organ_config_member(parameters, "sliding_attention") : NULL;
    if (local)
        organ_config_require_object(s, s->root, "rope_parameters.sliding_attention");
    if (full || s->family->local == LOCAL_OWN)
        c->rope_local = organ_config_rope(s, local, organ_config_real(s, s->root, "rope_local_base_freq", 1e4),
                                          head_dim_of(c, /*windowed=*/true), c);
    else if (s->family->local == LOCAL_PLAIN)
        c->rope_local =
            (organ_rope_config){.theta = c->rope.theta, .dimensions = c->rope.dimensions, .attention_factor = 1};
}
