/* SPDX-License-Identifier: MIT
 * The usual names of the parts of a model, and the parts that only layers of some architectures have. */
#include "formats/architecture/config_readers.h"
#include "formats/architecture/family_rows.h"

#include <stdio.h>
#include <string.h>

#define USUAL_NAMES(name, hf, gguf) {hf, gguf},
static const char *const usual_names[PART_NAMES][2] = {FORWARD_PARTS(USUAL_NAMES)};

const char *organ_forward_part_name(const forward_name *own, forward_part part, bool gguf, unsigned index)
{
    bool named = false;
    for (; own && own->name; own++) {
        if (organ_name_part(own) != part)
            continue;
        if (index-- == 0)
            return own->name;
        named = true;
    }
    return named || index ? NULL : usual_names[part][gguf];
}

const char *organ_forward_written_name(const forward_name *own, forward_part part, bool gguf, forward_name_use use)
{
    const char *written = NULL;
    bool named = false;
    for (; own && own->name; own++) {
        if (organ_name_part(own) != part)
            continue;
        named = true;
        if (organ_name_use(own) == use)
            return own->name;
        if (organ_name_use(own) == NAME_WRITTEN && !written)
            written = own->name;
    }
    return named ? written : usual_names[part][gguf];
}

const char *organ_forward_mlx_name(const forward_name *own, forward_part part, const char *word, char name[128])
{
    static const char *const ends[] = {"gate", "up", "down"};
    const char *pattern = usual_names[PART_EXPERT_GATE][false];
    for (bool found = false; own && own->name && !found; own++) {
        found = organ_name_part(own) == PART_EXPERT_GATE || organ_name_part(own) == PART_EXPERTS_GATE_UP;
        pattern = found ? own->name : pattern;
    }
    const char *const at = strstr(pattern, "experts.");
    snprintf(name, 128, "%.*s%s.%s_proj.weight", at ? (int)(at - pattern) : 0, pattern, word,
             ends[part - PART_EXPERTS_GATE]);
    return name;
}

const char *organ_forward_bias_name(const char *weight, char name[256])
{
    const size_t length = strlen(weight), end = strlen("weight");
    snprintf(name, 256, "%.*sbias", (int)(length > end ? length - end : 0), weight);
    return name;
}

void organ_forward_number_name(const char *pattern, unsigned number, char name[128])
{
    const size_t before = strcspn(pattern, "#");
    snprintf(name, 128, "%.*s%u%s", (int)before, pattern, number, pattern[before] ? pattern + before + 1 : "");
}

size_t organ_forward_gemma_parts(const organ_forward_config *c, const organ_layer_kind *kind,
                                 forward_shape shapes[FORWARD_GEMMA_PARTS])
{
    const bool both = kind->mixture && c->dual_ffn, per_layer = c->per_layer_width > 0, streams = c->streams > 0,
               blocks = kind->indexed && c->blocks.size > 0;
    const struct {
        bool requested;
        forward_shape shape;
    } all[FORWARD_GEMMA_PARTS] = {
        {both, {PART_NORM_POST_FFN_DENSE, 0, c->hidden}},
        {both, {PART_NORM_EXPERTS, 0, c->hidden}},
        {both, {PART_NORM_POST_FFN_EXPERTS, 0, c->hidden}},
        {both, {PART_ROUTER_SCALE, 0, c->hidden}},
        {both, {PART_EXPERT_SCALE, 0, c->experts}},
        {c->layer_scaled, {PART_LAYER_SCALE, 0, 1}},
        {per_layer, {PART_PER_LAYER_GATE, c->per_layer_width, c->hidden}},
        {per_layer, {PART_PER_LAYER_OUT, c->hidden, c->per_layer_width}},
        {per_layer, {PART_NORM_PER_LAYER, 0, c->hidden}},
        {streams, {PART_LAUREL_LEFT, c->laurel_rank, c->hidden}},
        {streams, {PART_LAUREL_RIGHT, c->hidden, c->laurel_rank}},
        {streams, {PART_NORM_LAUREL, 0, c->hidden}},
        {streams, {PART_NORM_STREAMS, 0, c->hidden}},
        {streams, {PART_STREAMS_ROUTER, c->streams, c->hidden}},
        {streams, {PART_STREAMS_PREDICT, (uint64_t)c->streams * c->streams, c->streams}},
        {streams, {PART_STREAMS_CORRECT, c->streams, c->streams}},
        {c->sub_norms, {PART_NORM_GIVEN, 0, (uint64_t)kind->heads * kind->value_dim}},
        {c->sub_norms && !kind->mixture, {PART_NORM_INNER, 0, kind->intermediate}},
        {streams && c->streams_scaled, {PART_STREAMS_SCALE, 0, c->hidden}},
        {blocks, {PART_INDEX_Q, (uint64_t)c->blocks.heads * c->blocks.dim, c->hidden}},
        {blocks, {PART_INDEX_K, c->blocks.dim, c->hidden}},
        {blocks, {PART_NORM_INDEX_Q, 0, c->blocks.dim}},
        {blocks, {PART_NORM_INDEX, 0, c->blocks.dim}},
    };
    size_t count = 0;
    for (size_t k = 0; k < FORWARD_GEMMA_PARTS; k++)
        if (all[k].requested)
            shapes[count++] = all[k].shape;
    return count;
}

/* ---- tensors of recurrent mixers ---- */

/* Rows of {part, small, rows, cols}, rows 0 for a vector. `small` is false for the matrices of linear layers; all other
 * tensors have few numbers, which are read as FP32. */

#define MAX FORWARD_MIXER_PARTS

typedef struct optional_part {
    bool requested;
    forward_mixer_part part;
} optional_part;

static size_t present_parts(const optional_part *all, size_t count, forward_mixer_part parts[MAX])
{
    size_t found = 0;
    for (size_t k = 0; k < count; k++)
        if (all[k].requested)
            parts[found++] = all[k].part;
    return found;
}

/* The projections of q, k and v are in one tensor, which with by_head (Qwen3-Next) also has z; with `apart` each has
 * a tensor of its own. In Kimi Linear (by_channel without full_rank) the projections of z and of the decays are
 * products of two matrices with value_dim numbers between them. */
static size_t delta_parts(const organ_forward_config *c, forward_mixer_part parts[MAX])
{
    const organ_recurrent_config *const r = &c->recurrent;
    const uint64_t keys = (uint64_t)r->groups * r->key_dim, values = (uint64_t)r->heads * r->value_dim;
    /* decays: number of decays of a token; low: columns of the matrices that compute z and the decays */
    const bool twofold = r->by_channel && !r->full_rank;
    const uint64_t decays = r->by_channel ? keys : r->heads, low = twofold ? r->value_dim : c->hidden;
    const bool by_head = r->projections == ORGAN_PROJECTIONS_BY_HEAD, apart = r->projections == ORGAN_PROJECTIONS_APART;
    const optional_part all[] = {
        {!apart, {PART_MIX_IN, false, 2 * keys + values + (by_head ? values : 0), c->hidden}},
        {apart, {PART_MIX_Q, false, keys, c->hidden}},
        {apart, {PART_MIX_K, false, keys, c->hidden}},
        {apart, {PART_MIX_V, false, values, c->hidden}},
        {twofold, {PART_MIX_Z_LOW, false, r->value_dim, c->hidden}},
        {twofold, {PART_MIX_A_LOW, false, r->value_dim, c->hidden}},
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
    return present_parts(all, sizeof all / sizeof *all, parts);
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

/* The tokens' vectors are PART_KV_A. In layers with an indexer, a token takes part in two compressed vectors, in each
 * with projections of its own, which are the rows of one tensor; so do the tokens of the indexer's vectors,
 * PART_INDEX_K.
 */
static size_t compressed_parts(const organ_forward_config *c, const organ_layer_kind *kind,
                               forward_mixer_part parts[MAX])
{
    const organ_compression_config *const z = &c->compressed;
    const uint64_t heads = kind->heads, dim = kind->head_dim, low = (uint64_t)z->groups * z->group_rank;
    const uint64_t series = (kind->indexed ? 2 : 1) * dim, index = 2 * (uint64_t)z->index_dim;
    const bool some = kind->compress > 0, indexed = kind->indexed;
    const optional_part all[] = {{true, {PART_Q_A, false, z->q_rank, c->hidden}},
                                 {true, {PART_NORM_Q_A, true, 0, z->q_rank}},
                                 {true, {PART_Q_B, false, heads * dim, z->q_rank}},
                                 {true, {PART_KV_A, false, dim, c->hidden}},
                                 {true, {PART_NORM_KV_A, true, 0, dim}},
                                 {true, {PART_SINKS, true, 0, heads}},
                                 {true, {PART_O_A, false, low, heads * dim / z->groups}},
                                 {true, {PART_O, false, c->hidden, low}},
                                 {some, {PART_COMPRESS_KV, false, series, c->hidden}},
                                 {some, {PART_COMPRESS_GATE, false, series, c->hidden}},
                                 {some, {PART_COMPRESS_BIAS, true, kind->compress, series}},
                                 {some, {PART_NORM_COMPRESS, true, 0, dim}},
                                 {indexed, {PART_INDEX_Q, false, index / 2 * z->index_heads, z->q_rank}},
                                 {indexed, {PART_INDEX_WEIGHTS, false, z->index_heads, c->hidden}},
                                 {indexed, {PART_INDEX_K, false, index, c->hidden}},
                                 {indexed, {PART_INDEX_GATE, false, index, c->hidden}},
                                 {indexed, {PART_INDEX_BIAS, true, kind->compress, index}},
                                 {indexed, {PART_NORM_INDEX, true, 0, index / 2}}};
    return present_parts(all, sizeof all / sizeof *all, parts);
}

/* The matrices are read as FP32, because their products decide about all streams. If the streams
 * are mixed, the matrices also have rows for the weights of the mixing. */
static size_t connection_parts(const organ_forward_config *c, forward_mixer_part *parts)
{
    const bool mixed = c->connections.balances > 0;
    const uint64_t streams = c->connections.streams, all = streams * c->hidden, factors = mixed ? 3 : 2,
                   rows = 2 * streams + (mixed ? streams * streams : 0);
    const forward_mixer_part of_layer[] = {
        {PART_CONNECT_MIXER, true, rows, all},        {PART_CONNECT_MIXER_BASE, true, 0, rows},
        {PART_CONNECT_MIXER_SCALE, true, 0, factors}, {PART_CONNECT_FEED, true, rows, all},
        {PART_CONNECT_FEED_BASE, true, 0, rows},      {PART_CONNECT_FEED_SCALE, true, 0, factors}};
    if (streams)
        memcpy(parts, of_layer, sizeof of_layer);
    return streams ? sizeof of_layer / sizeof *of_layer : 0;
}

size_t organ_forward_mixer_parts(const organ_forward_config *c, const organ_layer_kind *kind, organ_mixer mixer,
                                 forward_mixer_part parts[MAX])
{
    static size_t (*const lists[ORGAN_MIXER_LIGHTNING + 1])(const organ_forward_config *, forward_mixer_part *) = {
        [ORGAN_MIXER_DELTA] = delta_parts,         [ORGAN_MIXER_SHORT_CONV] = short_conv_parts,
        [ORGAN_MIXER_MAMBA] = mamba_parts,         [ORGAN_MIXER_MAMBA2] = mamba2_parts,
        [ORGAN_MIXER_LIGHTNING] = lightning_parts,
    };
    if (mixer == ORGAN_MIXER_COMPRESSED) {
        const size_t own = compressed_parts(c, kind, parts);
        return own + connection_parts(c, parts + own);
    }
    const size_t count = lists[mixer] ? lists[mixer](c, parts) : 0;
    return mixer == ORGAN_MIXER_NONE ? 0 : count + connection_parts(c, parts + count);
}
