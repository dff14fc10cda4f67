/* SPDX-License-Identifier: MIT
 * Lists the tensors (parts) of recurrent mixers with their shapes: {part, small, rows, cols}, rows 0 for a vector.
 * `small` is false for the matrices of linear layers; all other tensors have few numbers, which are read as FP32. */
#include "formats/architecture/layer_parts.h"

#include <string.h>

#define MAX FORWARD_MIXER_PARTS

typedef struct optional_part {
    bool requested;
    forward_mixer_part part;
} optional_part;

/* The projections of q, k and v are in one tensor, which with by_head (Qwen3-Next) also has z; with `apart` each has
 * a tensor of its own. In Kimi Linear (by_channel) the projections of z and of the decays are products of two
 * matrices with value_dim numbers between them. */
static size_t delta_parts(const organ_forward_config *c, forward_mixer_part parts[MAX])
{
    const organ_recurrent_config *const r = &c->recurrent;
    const uint64_t keys = (uint64_t)r->groups * r->key_dim, values = (uint64_t)r->heads * r->value_dim;
    /* decays: number of decays of a token; low: columns of the matrices that compute z and the decays */
    const uint64_t decays = r->by_channel ? keys : r->heads, low = r->by_channel ? r->value_dim : c->hidden;
    const bool by_head = r->projections == ORGAN_PROJECTIONS_BY_HEAD, apart = r->projections == ORGAN_PROJECTIONS_APART;
    const struct {
        bool requested;
        forward_mixer_part part;
    } all[] = {
        {!apart, {PART_MIX_IN, false, 2 * keys + values + (by_head ? values : 0), c->hidden}},
        {apart, {PART_MIX_Q, false, keys, c->hidden}},
        {apart, {PART_MIX_K, false, keys, c->hidden}},
        {apart, {PART_MIX_V, false, values, c->hidden}},
        {r->by_channel, {PART_MIX_Z_LOW, false, r->value_dim, c->hidden}},
        {r->by_channel, {PART_MIX_A_LOW, false, r->value_dim, c->hidden}},
        {!by_head, {PART_MIX_Z, false, values, low}},
        {r->fused_ba, {PART_MIX_BA, false, 2 * (uint64_t)r->heads, c->hidden}},
        {!r->fused_ba, {PART_MIX_B, false, r->heads, c->hidden}},
        {!r->fused_ba, {PART_MIX_A, false, decays, low}},
        {true, {PART_MIX_OUT, false, c->hidden, values}},
        {!apart, {PART_CONV, true, 2 * keys + values, r->kernel}},
        {apart, {PART_CONV_Q, true, keys, r->kernel}},
        {apart, {PART_CONV_K, true, keys, r->kernel}},
        {apart, {PART_CONV_V, true, values, r->kernel}},
        {true, {PART_A_LOG, true, 0, r->heads}},
        {true, {PART_DT_BIAS, true, 0, decays}},
        {true, {PART_NORM_MIXED, true, 0, r->value_dim}},
    };
    size_t count = 0;
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        if (all[k].requested)
            parts[count++] = all[k].part;
    return count;
}

static size_t present_parts(const optional_part *all, size_t count, forward_mixer_part parts[MAX])
{
    size_t found = 0;
    for (size_t k = 0; k < count; k++)
        if (all[k].requested)
            parts[found++] = all[k].part;
    return found;
}

/* The input projection has three outputs for each channel: two gates and the input of the convolution. */
static size_t short_conv_parts(const organ_forward_config *c, forward_mixer_part parts[MAX])
{
    const organ_recurrent_config *const r = &c->recurrent;
    const optional_part all[] = {{true, {PART_MIX_IN, false, 3 * c->hidden, c->hidden}},
                                 {r->biased, {PART_BIAS_MIX_IN, true, 0, 3 * c->hidden}},
                                 {true, {PART_CONV, true, c->hidden, r->kernel}},
                                 {r->conv_biased, {PART_BIAS_CONV, true, 0, c->hidden}},
                                 {true, {PART_MIX_OUT, false, c->hidden, c->hidden}},
                                 {r->out_biased, {PART_BIAS_MIX_OUT, true, 0, c->hidden}}};
    return present_parts(all, sizeof all / sizeof *all, parts);
}

/* The input projection computes x and z, each `inner` wide. */
static size_t mamba_parts(const organ_forward_config *c, forward_mixer_part parts[MAX])
{
    const organ_recurrent_config *const r = &c->recurrent;
    const uint64_t inner = r->heads, states = r->key_dim;
    const bool normed = r->step_norms && !r->step_norms_bare;
    const optional_part all[] = {{true, {PART_MIX_IN, false, 2 * inner, c->hidden}},
                                 {r->biased, {PART_BIAS_MIX_IN, true, 0, 2 * inner}},
                                 {true, {PART_CONV, true, inner, r->kernel}},
                                 {r->conv_biased, {PART_BIAS_CONV, true, 0, inner}},
                                 {true, {PART_MIX_X, false, r->rank + 2 * states, inner}},
                                 {true, {PART_MIX_STEP, false, inner, r->rank}},
                                 {true, {PART_DT_BIAS, true, 0, inner}},
                                 {normed, {PART_NORM_STEP, true, 0, r->rank}},
                                 {normed, {PART_NORM_STATE_B, true, 0, states}},
                                 {normed, {PART_NORM_STATE_C, true, 0, states}},
                                 {true, {PART_A_LOG, true, inner, states}},
                                 {true, {PART_SKIP, true, 0, inner}},
                                 {true, {PART_MIX_OUT, false, c->hidden, inner}},
                                 {r->out_biased, {PART_BIAS_MIX_OUT, true, 0, c->hidden}}};
    return present_parts(all, sizeof all / sizeof *all, parts);
}

/* The input projection computes z, then the channels of the convolution (x, B and C), then dt. */
static size_t mamba2_parts(const organ_forward_config *c, forward_mixer_part parts[MAX])
{
    const organ_recurrent_config *const r = &c->recurrent;
    const uint64_t inner = (uint64_t)r->heads * r->value_dim, channels = inner + 2 * (uint64_t)r->groups * r->key_dim;
    const uint64_t rows = inner + channels + r->heads, groups = r->norm_rows ? r->groups : 0;
    const optional_part all[] = {{true, {PART_MIX_IN, false, rows, c->hidden}},
                                 {r->biased, {PART_BIAS_MIX_IN, true, 0, rows}},
                                 {true, {PART_CONV, true, channels, r->kernel}},
                                 {r->conv_biased, {PART_BIAS_CONV, true, 0, channels}},
                                 {true, {PART_A_LOG, true, 0, r->heads}},
                                 {true, {PART_DT_BIAS, true, 0, r->heads}},
                                 {true, {PART_SKIP, true, 0, r->heads}},
                                 {r->normed, {PART_NORM_MIXED, true, groups, groups ? inner / groups : inner}},
                                 {true, {PART_MIX_OUT, false, c->hidden, inner}},
                                 {r->out_biased, {PART_BIAS_MIX_OUT, true, 0, c->hidden}}};
    return present_parts(all, sizeof all / sizeof *all, parts);
}

/* PART_MIX_IN computes q, k and v. */
static size_t lightning_parts(const organ_forward_config *c, forward_mixer_part parts[MAX])
{
    const uint64_t inner = (uint64_t)c->recurrent.heads * c->recurrent.value_dim;
    const optional_part all[] = {{true, {PART_MIX_IN, false, 3 * inner, c->hidden}},
                                 {true, {PART_MIX_Z, false, inner, c->hidden}},
                                 {true, {PART_NORM_MIXED, true, 0, inner}},
                                 {true, {PART_MIX_OUT, false, c->hidden, inner}}};
    return present_parts(all, sizeof all / sizeof *all, parts);
}

size_t organ_forward_mixer_parts(const organ_forward_config *c, organ_mixer mixer, forward_mixer_part parts[MAX])
{
    switch (mixer) {
    case ORGAN_MIXER_DELTA:
        return delta_parts(c, parts);
    case ORGAN_MIXER_SHORT_CONV:
        return short_conv_parts(c, parts);
    case ORGAN_MIXER_MAMBA:
        return mamba_parts(c, parts);
    case ORGAN_MIXER_MAMBA2:
        return mamba2_parts(c, parts);
    case ORGAN_MIXER_LIGHTNING:
        return lightning_parts(c, parts);
    default:
        return 0;
    }
}
