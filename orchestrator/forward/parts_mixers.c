/* SPDX-License-Identifier: MIT
 * The parts of recurrent mixers. */
#include "orchestrator/forward/parts.h"

#include <string.h>

#define MAX FORWARD_MIXER_PARTS

static size_t delta_parts(const organ_forward_config *c, forward_mixer_part parts[MAX])
{
    const organ_recurrent_config *const r = &c->recurrent;
    const uint64_t keys = (uint64_t)r->groups * r->key_dim, values = (uint64_t)r->heads * r->value_dim;
    const bool by_head = r->projections == ORGAN_PROJECTIONS_BY_HEAD, apart = r->projections == ORGAN_PROJECTIONS_APART;
    const struct {
        bool requested;
        forward_mixer_part part;
    } all[] = {
        {!apart, {PART_MIX_IN, false, 2 * keys + values + (by_head ? values : 0), c->hidden}},
        {apart, {PART_MIX_Q, false, keys, c->hidden}},
        {apart, {PART_MIX_K, false, keys, c->hidden}},
        {apart, {PART_MIX_V, false, values, c->hidden}},
        {!by_head, {PART_MIX_Z, false, values, c->hidden}},
        {by_head, {PART_MIX_BA, false, 2 * (uint64_t)r->heads, c->hidden}},
        {!by_head, {PART_MIX_B, false, r->heads, c->hidden}},
        {!by_head, {PART_MIX_A, false, r->heads, c->hidden}},
        {true, {PART_MIX_OUT, false, c->hidden, values}},
        {!apart, {PART_CONV, true, 2 * keys + values, r->kernel}},
        {apart, {PART_CONV_Q, true, keys, r->kernel}},
        {apart, {PART_CONV_K, true, keys, r->kernel}},
        {apart, {PART_CONV_V, true, values, r->kernel}},
        {true, {PART_A_LOG, true, 0, r->heads}},
        {true, {PART_DT_BIAS, true, 0, r->heads}},
        {true, {PART_NORM_MIXED, true, 0, r->value_dim}},
    };
    size_t count = 0;
    for (size_t k = 0; k < sizeof all / sizeof *all; k++)
        if (all[k].requested)
            parts[count++] = all[k].part;
    return count;
}

size_t organ_forward_mixer_parts(const organ_forward_config *c, organ_mixer mixer, forward_mixer_part parts[MAX])
{
    return mixer == ORGAN_MIXER_DELTA ? delta_parts(c, parts) : 0;
}
