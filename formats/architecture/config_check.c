/* SPDX-License-Identifier: MIT
 * Steps that both readers of a configuration share: default layers, windows, shared keys, and the checks of all
 * numbers. `label` names the file in messages. */
#include "formats/architecture/config_readers.h"

#include "formats/base/plain_numbers.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>

#define MAX_LAYERS (1u << 14)

/* ---- kinds of layers ---- */

static organ_status check_size(const char *label, const char *name, uint64_t value, uint64_t max, organ_error *error)
{
    return value > 0 && value <= max
               ? ORGAN_OK
               : organ_refuse(error, label, "%s is %" PRIu64 ", not from 1 to %" PRIu64, name, value, max);
}

organ_status organ_forward_config_kinds(const char *label, organ_forward_config *c, organ_error *error)
{
    if (error->status || check_size(label, "num_hidden_layers", c->layers, MAX_LAYERS, error))
        return error->status;
    c->kinds = calloc(c->layers, sizeof *c->kinds);
    if (!c->kinds)
        return organ_fail_errno(error, ENOMEM, "%s: %u layers", label, c->layers);
    for (unsigned l = 0; l < c->layers; l++)
        c->kinds[l] = (organ_layer_kind){.mixer = ORGAN_MIXER_ATTENTION,
                                         .feed = true,
                                         .heads = c->heads,
                                         .kv_heads = c->kv_heads,
                                         .head_dim = c->head_dim,
                                         .value_dim = c->head_dim,
                                         .rotated = true,
                                         .intermediate = c->intermediate,
                                         .shares_with = l};
    return ORGAN_OK;
}

organ_status organ_forward_config_mixture(const char *label, unsigned first, organ_forward_config *c,
                                          organ_error *error)
{
    if (first > c->layers)
        return organ_refuse(error, label, "the first %u of %u layers have no experts", first, c->layers);
    for (unsigned l = first; l < c->layers; l++) {
        c->kinds[l].mixture = true;
        if (!c->dual_ffn)
            c->kinds[l].intermediate = 0;
    }
    if (first == c->layers)
        c->experts = c->experts_used = 0;
    return ORGAN_OK;
}

void organ_forward_config_pattern(organ_forward_config *c, unsigned pattern)
{
    for (unsigned l = 0; l < c->layers; l++)
        c->kinds[l].window = pattern == 0 || (l + 1) % pattern != 0 ? c->window : 0;
}

void organ_forward_config_unrotate(bool every, organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers; l++)
        c->kinds[l].rotated = (!every && c->window == 0) || c->kinds[l].window;
}

void organ_forward_config_place(organ_forward_config *c)
{
    for (unsigned l = 0; c->kinds && l < c->layers && (c->positions || c->alibi_max > 0); l++)
        c->kinds[l].rotated = false;
}

void organ_forward_config_sinks(organ_forward_config *c, forward_sinks sinks)
{
    for (unsigned l = 0; l < c->layers; l++)
        c->kinds[l].sinks = sinks == SINKS_ALL || (sinks == SINKS_WINDOWED && c->kinds[l].window);
}

/* ---- keys and values of earlier layers ---- */

/* Returns the last layer before `first` that has a window if and only if layer `of` has one; `first` if there is no
 * such layer. */
static unsigned source_of(const organ_forward_config *c, unsigned first, unsigned of)
{
    for (unsigned l = first; l-- > 0;)
        if ((c->kinds[l].window == 0) == (c->kinds[of].window == 0))
            return l;
    return first;
}

organ_status organ_forward_config_share(const char *label, unsigned shared, organ_forward_config *c, organ_error *error)
{
    const unsigned first = c->layers - shared;
    for (unsigned l = first; l < c->layers; l++) {
        const unsigned source = source_of(c, first, l);
        organ_layer_kind *const from = &c->kinds[source], *const kind = &c->kinds[l];
        if (source == first || from->head_dim != kind->head_dim || from->kv_heads != kind->kv_heads) {
            return organ_refuse(error, label,
                                "num_kv_shared_layers is %u, but no layer before %u has keys and values for layer %u",
                                shared, first, l);
        }
        if (from->shared_at == 0) {
            from->shared_at = c->state;
            c->state += (uint64_t)from->kv_heads * ((uint64_t)from->head_dim + from->value_dim);
        }
        kind->shared_at = from->shared_at;
        kind->shares_with = source;
    }
    return ORGAN_OK;
}

/* ---- checks ---- */

/* Returns the least width of a head among the layers that use the rotation `rope`; the width of the model's heads if no
 * layer uses it. */
static unsigned rotated_width(const organ_forward_config *c, const organ_rope_config *rope)
{
    unsigned least = 0;
    for (unsigned l = 0; l < c->layers; l++) {
        const organ_layer_kind *const kind = &c->kinds[l];
        const bool local = kind->mixer == ORGAN_MIXER_COMPRESSED ? kind->compress == 0 : kind->window > 0;
        if (rope == (local ? &c->rope_local : &c->rope) && (least == 0 || kind->head_dim < least))
            least = kind->head_dim;
    }
    return least ? least : c->head_dim;
}

/* The checks ensure that the frequencies computed from these members are finite. */
static organ_status check_rope(const char *label, const organ_forward_config *c, const organ_rope_config *rope,
                               organ_error *error)
{
    const unsigned width = rotated_width(c, rope);
    if (rope->dimensions == 0 || rope->dimensions % 2 || rope->dimensions > width)
        return organ_refuse(error, label,
                            "%u of %u dimensions of a head are rotated: not an even number from 2 to head_dim",
                            rope->dimensions, width);
    if (rope->kind == ORGAN_ROPE_PROPORTIONAL && rope->angles == 0)
        return organ_refuse(error, label, "partial_rotary_factor rotates no pair of a head of %u", rope->dimensions);
    if (!(rope->theta > 1) || !isfinite(rope->theta))
        return organ_refuse(error, label, "rope_theta is %g, not above 1", rope->theta);
    if (rope->kind != ORGAN_ROPE_DEFAULT && (!(rope->factor > 0) || !isfinite(rope->factor)))
        return organ_refuse(error, label, "the rope scaling factor is %g, not above 0", rope->factor);
    if (rope->kind != ORGAN_ROPE_DEFAULT && rope->kind != ORGAN_ROPE_LINEAR && rope->kind != ORGAN_ROPE_PROPORTIONAL &&
        rope->original_context == 0)
        return organ_refuse(error, label, "original_max_position_embeddings is 0");
    if (rope->kind == ORGAN_ROPE_DYNAMIC && rope->dimensions == 2)
        return organ_refuse(error, label, "rope_type 'dynamic' is not defined for 2 dimensions of a head");
    if (rope->kind == ORGAN_ROPE_LONGROPE && (!(rope->attention_factor > 0) || !isfinite(rope->attention_factor)))
        return organ_refuse(error, label, "the attention factor of the rotation is %g, not above 0",
                            rope->attention_factor);
    if (rope->kind == ORGAN_ROPE_LLAMA3 &&
        !(rope->low_freq_factor > 0 && rope->high_freq_factor >= rope->low_freq_factor))
        return organ_refuse(error, label, "high_freq_factor %g is below low_freq_factor %g", rope->high_freq_factor,
                            rope->low_freq_factor);
    if (rope->kind == ORGAN_ROPE_YARN &&
        !(rope->beta_slow > 0 && rope->beta_fast > 0 && isfinite(rope->beta_slow) && isfinite(rope->beta_fast) &&
          isfinite(rope->attention_factor) && rope->attention_factor > 0))
        return organ_refuse(error, label, "beta_fast %g, beta_slow %g, attention_factor %g: not above 0, or not finite",
                            rope->beta_fast, rope->beta_slow, rope->attention_factor);
    return ORGAN_OK;
}

/* The SwiGLU divides by alpha. If both numbers are 0, the model has no clamped SwiGLU. */
static organ_status check_gate(const char *label, const organ_forward_config *c, organ_error *error)
{
    const bool clamped = c->gate_limit != 0 || c->gate_alpha != 0;
    if (clamped &&
        (!(c->gate_limit > 0) || !isfinite(c->gate_limit) || !(c->gate_alpha > 0) || !isfinite(c->gate_alpha)))
        return organ_refuse(error, label, "swiglu_limit is %g and swiglu_alpha %g, not above 0", c->gate_limit,
                            c->gate_alpha);
    return ORGAN_OK;
}

/* q and k of the indexer are rotated like those of the attention. */
static organ_status check_blocks(const char *label, const organ_forward_config *c, organ_error *error)
{
    const organ_blocks_config *const b = &c->blocks;
    if (b->size && (b->dim < c->rope.dimensions || b->dim == 0 || b->dim > 1 << 12))
        return organ_refuse(error, label, "index_head_dim is %u, not from %u to %u", b->dim, c->rope.dimensions,
                            1u << 12);
    return ORGAN_OK;
}

static organ_status check_value_and_query_scales(const char *label, const organ_forward_config *c, organ_error *error)
{
    const organ_query_scale *const q = &c->query_scale;
    if (!isfinite(c->value_scale))
        return organ_refuse(error, label, "the scale of the values is %g, not finite", c->value_scale);
    if (!isfinite(q->beta) || (q->beta != 0 && (!(q->length >= 1) || !isfinite(q->length))))
        return organ_refuse(error, label, "queries are scaled with beta %g per %g positions, which must be at least 1",
                            q->beta, q->length);
    return ORGAN_OK;
}

/* The negated comparisons also reject NaN. */
static organ_status check_numbers(const char *label, const organ_forward_config *c, organ_error *error)
{
    if (!(c->rms_eps >= 0) || !isfinite((float)c->rms_eps))
        return organ_refuse(error, label, "the eps of norms is %g, below 0 or not finite", c->rms_eps);
    if (!(c->recurrent.norm_eps >= 0) || !isfinite((float)c->recurrent.norm_eps))
        return organ_refuse(error, label, "the eps of norms in recurrent layers is %g, below 0 or not finite",
                            c->recurrent.norm_eps);
    if (!(c->attention_scale > 0) || !isfinite(c->attention_scale))
        return organ_refuse(error, label, "the scale of attention scores is %g, not above 0", c->attention_scale);
    if (!(c->alibi_max >= 0) || !(c->alibi_max <= 64))
        return organ_refuse(error, label, "the largest bias of ALiBi is %g, not from 0 to 64", c->alibi_max);
    if (!(c->clip_qkv >= 0) || !isfinite(c->clip_qkv))
        return organ_refuse(error, label, "the clipping limit of q, k and v is %g, below 0 or not finite", c->clip_qkv);
    if (!(c->attention_softcap >= 0) || !isfinite(c->attention_softcap) || !(c->final_softcap >= 0) ||
        !isfinite(c->final_softcap))
        return organ_refuse(error, label, "soft caps are %g and %g: below 0 or not finite", c->attention_softcap,
                            c->final_softcap);
    return ORGAN_OK;
}

/* A group needs two experts if the router compares groups by their two best. */
static organ_status check_groups(const char *label, const organ_forward_config *c, organ_error *error)
{
    const unsigned groups = c->router_groups, used = c->router_groups_used;
    if (groups < 2)
        return ORGAN_OK;
    const unsigned least = c->router.best_in_group ? 1 : 2;
    if (groups > ORGAN_ROUTER_GROUPS || c->experts % groups || c->experts / groups < least)
        return organ_refuse(
            error, label,
            "n_group is %u: %u experts must be divisible into at most %d groups, each of %u experts or more", groups,
            c->experts, ORGAN_ROUTER_GROUPS, least);
    if (used == 0 || used > groups)
        return organ_refuse(error, label, "topk_group is %u, not from 1 to n_group %u", used, groups);
    if (c->experts_used > used * (c->experts / groups))
        return organ_refuse(error, label,
                            "num_experts_per_tok is %u, but the %u groups that the router chooses have %u experts",
                            c->experts_used, used, used * (c->experts / groups));
    return ORGAN_OK;
}

/* The limits keep products of sizes from overflowing. */
static organ_status check_experts(const char *label, const organ_forward_config *c, organ_error *error)
{
    if (c->experts == 0)
        return ORGAN_OK;
    if (c->identity_experts > 1 << 16)
        return organ_refuse(error, label, "zero_expert_num is %u, above %u", c->identity_experts, 1u << 16);
    if (c->experts_used == 0 || c->experts_used > c->experts)
        return organ_refuse(error, label, "num_experts_per_tok is %u, not from 1 to the %u experts", c->experts_used,
                            c->experts);
    if (c->expert_intermediate == 0)
        return organ_refuse(error, label, "the intermediate size of an expert is 0");
    if (c->expert_latent > 1 << 20)
        return organ_refuse(error, label, "experts read vectors of %" PRIu64 " numbers, more than %u", c->expert_latent,
                            1u << 20);
    if (c->shared_intermediate > 1 << 24)
        return organ_refuse(error, label, "the intermediate size of the shared expert is %u, above %u",
                            c->shared_intermediate, 1u << 24);
    if (!(c->router_scale >= 0) || !isfinite(c->router_scale))
        return organ_refuse(error, label, "the scale of the experts' outputs is %g, below 0 or not finite",
                            (double)c->router_scale);
    /* the forward pass uses twice router_jitter_noise */
    if (c->router.sparse && (c->experts_used != 2 || !(c->router.jitter >= 0)))
        return organ_refuse(error, label, "num_experts_per_tok is %u, not 2, or router_jitter_noise is %g, below 0",
                            c->experts_used, (double)c->router.jitter / 2);
    if (!(c->router.least_sum >= 0) || !isfinite(c->router.least_sum))
        return organ_refuse(error, label, "the least sum of the experts' factors is %g, below 0",
                            (double)c->router.least_sum);
    if (!(c->router.cap >= 0) || !isfinite(c->router.cap))
        return organ_refuse(error, label, "the soft cap of router values is %g, below 0", (double)c->router.cap);
    return check_groups(label, c, error);
}

void organ_forward_config_shared(organ_forward_config *c, unsigned shared)
{
    const uint64_t width = c->expert_intermediate * shared;
    c->shared_intermediate = width > UINT32_MAX ? UINT32_MAX : (unsigned)width;
}

/* q_lora_rank may be 0. */
static organ_status check_latent(const char *label, const organ_latent_config *l, organ_error *error)
{
    if (check_size(label, "kv_lora_rank", l->rank, 1 << 14, error) ||
        check_size(label, "qk_nope_head_dim", l->plain, 1 << 14, error) ||
        check_size(label, "qk_rope_head_dim", l->rotated, 1 << 14, error))
        return error->status;
    return l->q_rank ? check_size(label, "q_lora_rank", l->q_rank, 1 << 16, error) : ORGAN_OK;
}

/* In the enumeration organ_mixer, recurrent mixers follow attention, and compressed attention follows them. */
static bool is_recurrent(organ_mixer mixer) { return mixer > ORGAN_MIXER_ATTENTION && mixer < ORGAN_MIXER_COMPRESSED; }

/* Within these limits the products of sizes stay below 2^52. */
static organ_status check_recurrent(const char *label, organ_mixer mixer, const organ_recurrent_config *r,
                                    organ_error *error)
{
    if (mixer == ORGAN_MIXER_SHORT_CONV)
        return check_size(label, "the kernel of the convolution", r->kernel, 1 << 8, error);
    if (check_size(label, "the number of heads of recurrent layers", r->heads, 1 << 20, error) ||
        check_size(label, "the number of key heads of recurrent layers", r->groups, 1 << 16, error) ||
        check_size(label, "the width of their keys", r->key_dim, 1 << 12, error) ||
        check_size(label, "the width of their values", r->value_dim, 1 << 12, error) ||
        check_size(label, "the kernel of their convolution", r->kernel, 1 << 8, error))
        return error->status;
    if (mixer == ORGAN_MIXER_MAMBA && check_size(label, "the rank of their time steps", r->rank, 1 << 16, error))
        return error->status;
    if (r->heads % r->groups)
        return organ_refuse(error, label, "recurrent layers have %u heads, not a multiple of %u key heads", r->heads,
                            r->groups);
    const uint64_t wide = r->key_dim > r->value_dim ? r->key_dim : r->value_dim;
    if (r->heads * wide > (1 << 24))
        return organ_refuse(error, label,
                            "%u heads of %" PRIu64 " in recurrent layers exceed the limit of 16777216 values", r->heads,
                            wide);
    return ORGAN_OK;
}

organ_status organ_forward_config_blocks(const char *label, const organ_forward_config *c, organ_error *error)
{
    const organ_blocks_config *const b = &c->blocks;
    if (b->heads == 0 || c->heads % b->heads)
        organ_refuse(error, label, "index_n_heads is %u, not a divisor of num_attention_heads %u", b->heads, c->heads);
    if (b->size == 0)
        organ_refuse(error, label, "index_block_size is 0");
    if (b->chosen == 0 || b->local > b->chosen)
        organ_refuse(error, label, "index_topk_blocks is %u, not above 0 and at least index_local_blocks %u", b->chosen,
                     b->local);
    return error->status;
}

organ_status organ_forward_config_indexer(const char *label, const organ_latent_config *l, organ_error *error)
{
    if (l->keys == 0 || l->keys > 1 << 20)
        organ_refuse(error, label, "index_topk is %u, not from 1 to %u", l->keys, 1u << 20);
    if (l->index_heads == 0 || l->index_heads > 1 << 12)
        organ_refuse(error, label, "index_n_heads is %u, not from 1 to %u", l->index_heads, 1u << 12);
    if (l->index_dim < l->rotated || l->index_dim > 1 << 12)
        organ_refuse(error, label, "index_head_dim is %u, not from qk_rope_head_dim %u to %u", l->index_dim, l->rotated,
                     1u << 12);
    if (l->q_rank == 0)
        organ_refuse(error, label, "q_lora_rank is null, but the indexer needs it");
    return error->status;
}

static organ_status check_compressed(const char *label, const organ_forward_config *c, const organ_layer_kind *kind,
                                     organ_error *error)
{
    const organ_compression_config *const z = &c->compressed;
    if (check_size(label, "q_lora_rank", z->q_rank, 1 << 16, error) ||
        check_size(label, "o_groups", z->groups, kind->heads, error) ||
        check_size(label, "o_lora_rank", z->group_rank, 1 << 16, error) ||
        check_size(label, "sliding_window", kind->window, UINT32_MAX, error))
        return error->status;
    if (kind->heads % z->groups)
        return organ_refuse(error, label, "num_attention_heads is %u, not a multiple of o_groups %u", kind->heads,
                            z->groups);
    if (!kind->indexed)
        return ORGAN_OK;
    if (check_size(label, "index_topk", z->keys, 1 << 20, error) ||
        check_size(label, "index_n_heads", z->index_heads, 1 << 12, error) ||
        check_size(label, "index_head_dim", z->index_dim, 1 << 12, error))
        return error->status;
    return z->index_dim >= c->rope.dimensions
               ? ORGAN_OK
               : organ_refuse(error, label, "index_head_dim is %u, below the %u rotated dimensions", z->index_dim,
                              c->rope.dimensions);
}

static organ_status check_kind(const char *label, const organ_layer_kind *kind, organ_error *error)
{
    if (check_size(label, "num_attention_heads", kind->heads, 1 << 16, error) ||
        check_size(label, "num_key_value_heads", kind->kv_heads, 1 << 16, error) ||
        check_size(label, "head_dim", kind->head_dim, 1 << 14, error) ||
        check_size(label, "v_head_dim", kind->value_dim, 1 << 14, error))
        return error->status;
    if (kind->heads % kind->kv_heads)
        return organ_refuse(error, label, "num_attention_heads is %u, not a multiple of num_key_value_heads %u",
                            kind->heads, kind->kv_heads);
    if (kind->head_dim % 2)
        return organ_refuse(error, label, "head_dim is %u, not even", kind->head_dim);
    const uint64_t width = kind->head_dim > kind->value_dim ? kind->head_dim : kind->value_dim;
    if (kind->heads * width > (1 << 24))
        return organ_refuse(error, label, "%u heads of %" PRIu64 " exceed the limit of 16777216 values", kind->heads,
                            width);
    return ORGAN_OK;
}

organ_status organ_forward_config_check(const char *label, organ_forward_config *c, organ_error *error)
{
    c->state = c->state ? c->state : c->hidden;
    for (unsigned l = 0; l < c->layers && !error->status; l++) {
        const organ_layer_kind *const kind = &c->kinds[l];
        const bool dense = kind->feed && (c->dual_ffn || !kind->mixture);
        if (kind->mixer == ORGAN_MIXER_ATTENTION || kind->second == ORGAN_MIXER_ATTENTION ||
            kind->mixer == ORGAN_MIXER_COMPRESSED)
            check_kind(label, kind, error);
        if (kind->mixer == ORGAN_MIXER_COMPRESSED && !error->status)
            check_compressed(label, c, kind, error);
        if (dense && !error->status)
            check_size(label, "intermediate_size", kind->intermediate, 1 << 24, error);
        if (kind->latent && !error->status)
            check_latent(label, &c->latent, error);
        if ((is_recurrent(kind->mixer) || is_recurrent(kind->second)) && !error->status)
            check_recurrent(label, kind->mixer, &c->recurrent, error);
        if (is_recurrent(kind->mixer) && kind->mixer != ORGAN_MIXER_SHORT_CONV && c->activation != ORGAN_SILU &&
            !c->ungated && !error->status)
            organ_refuse(error, label, "hidden_act of layers with linear attention must be silu");
        if (kind->mixer == ORGAN_MIXER_ATTENTION && c->gate_in_q && kind->head_dim != kind->value_dim && !error->status)
            organ_refuse(error, label, "gated heads have q of width %u, but v of width %u", kind->head_dim,
                         kind->value_dim);
    }
    if (error->status || check_size(label, "hidden_size", c->hidden, 1 << 20, error) ||
        check_size(label, "vocab_size", c->vocabulary, 1 << 28, error) ||
        check_size(label, "max_position_embeddings", c->context, UINT32_MAX, error) ||
        check_size(label, "num_attention_heads", c->heads, 1 << 16, error) || check_numbers(label, c, error) ||
        check_gate(label, c, error) || check_blocks(label, c, error) || check_value_and_query_scales(label, c, error) ||
        check_experts(label, c, error) || check_rope(label, c, &c->rope, error))
        return error->status;
    return check_rope(label, c, &c->rope_local, error);
}

/* ---- the share of gates that Gemma 3n sets to 0, and the cut in standard deviations above their mean ---- */

#define SQRT_PI 1.77245385090551602730

/* Newton's method from 0 never passes the root: erf is concave above 0 and convex below. */
static double inverse_erf(double y)
{
    double x = 0;
    for (unsigned k = 0; k < 1000; k++) {
        const double step = (y - erf(x)) * (SQRT_PI / 2) * exp(x * x);
        x += step;
        if (fabs(step) <= 1e-16 * fabs(x))
            break;
    }
    return x;
}

float organ_forward_gate_cut(float part)
{
    const float centred = 2 * part - 1;
    return (float)inverse_erf((double)centred) * (float)sqrt(2);
}

double organ_forward_gate_part(float cut)
{
    const double part = 0.5 * erfc(-(double)cut / sqrt(2));
    double rounded = part;
    for (int digits = 1; digits <= 9; digits++) {
        char text[40];
        organ_snprintf(text, sizeof text, "%.*g", digits, part);
        rounded = organ_strtod(text, NULL);
        if (rounded > 0 && rounded < 1 && organ_forward_gate_cut((float)rounded) == cut)
            break;
    }
    return rounded;
}
