/* SPDX-License-Identifier: MIT
 * Reads the rotary position embeddings and the scale of queries from GGUF key-values.
 * `s` is the GGUF file that is read; s->family, called the family, is the row of its architecture in families.h. `c` is
 * the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is there.
 */
#include "formats/architecture/config_gguf.h"

#include <math.h>

/* The two tensors are the only sign of LongRoPE: there is no key. */
static bool has_longrope(const config_gguf_source *s)
{
    const bool brief = organ_key_tensor(s, ORGAN_ROPE_SHORT), lasting = organ_key_tensor(s, ORGAN_ROPE_LONG);
    if (brief != lasting)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: tensor '%s' exists, but '%s' is missing", s->label,
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
    if (organ_key_equals(s, key, "linear", factor != 1))
        return ORGAN_ROPE_LINEAR;
    if (organ_key_equals(s, key, "yarn", false))
        return ORGAN_ROPE_YARN;
    if (organ_key_equals(s, key, "none", true))
        return ORGAN_ROPE_DEFAULT;
    const organ_gguf_kv *const kv = organ_key_find(s, key, full);
    const char *const word = organ_gguf_string(s->model->gguf, full, &length);
    if (kv && !word)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is not a string", s->label, full);
    else if (kv)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is '%.*s', which is not supported", s->label, full,
                   (int)(length < 60 ? length : 60), word);
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
}
