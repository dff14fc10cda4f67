/* SPDX-License-Identifier: MIT
 * Finds the mixers of layers in GGUF files, and reads the sizes of recurrent ones. No key states the kind of a layer in
 * the same way for all architectures, but the tensors of a layer show it. A layer has attention if it has the
 * attention's output projection, and a feed-forward if it has a down projection. It is recurrent if it has the output
 * projection of the recurrent mixer. If this projection has the same name as the attention's, the norm before the
 * projection of the recurrent mixer decides instead.
 * `s` is the GGUF file that is read; s->family, called the family, is the row of its architecture in families.h. `c` is
 * the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is there.
 */
#include "formats/architecture/config_check.h"
#include "formats/architecture/config_gguf.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool has_tensor(const config_gguf_source *s, unsigned layer, const char *name)
{
    char full[CONFIG_KEY_LIMIT];
    snprintf(full, sizeof full, "blk.%u.%s", layer, name);
    return organ_key_tensor(s, full);
}

static bool any_layer_has_tensor(const config_gguf_source *s, const organ_forward_config *c, const char *name)
{
    for (unsigned l = 0; l < c->layers; l++)
        if (has_tensor(s, l, name))
            return true;
    return false;
}

/* The mixer is the first in the list of words: no architecture has two recurrent mixers. */
static organ_mixer recurrent_mixer(const forward_recurrent *r)
{
    const forward_layer_word *word = r->words;
    while (word->word && word->mixer <= ORGAN_MIXER_ATTENTION)
        word++;
    return word->mixer;
}

/* If the output projections of both mixers have the same name, a layer with the norm of the recurrent mixer is
 * recurrent. A layer with both mixers gets attention as kind->second, which runs in parallel with kind->mixer. */
static void read_kind(const config_gguf_source *s, unsigned layer, organ_mixer recurrent, organ_layer_kind *kind)
{
    static const char usual[] = "attn_output.weight";
    const forward_name *const names = s->family->gguf_names;
    const char *const out = organ_forward_part_name(names, PART_MIX_OUT, true, 0), *const norm =
                                                                                       organ_forward_part_name(
                                                                                           names, PART_NORM_MIXED, true,
                                                                                           0);
    const bool one_name = strcmp(out, usual) == 0, recurs = has_tensor(s, layer, one_name ? norm : out);
    const bool attends = has_tensor(s, layer, usual) && !(one_name && recurs);
    if (recurs)
        kind->mixer = recurrent;
    else
        kind->mixer = attends ? ORGAN_MIXER_ATTENTION : ORGAN_MIXER_NONE;
    kind->second = recurs && attends ? ORGAN_MIXER_ATTENTION : ORGAN_MIXER_NONE;
    kind->latent = kind->latent && attends;
    kind->feed = has_tensor(s, layer, "ffn_down.weight") || has_tensor(s, layer, "ffn_down_exps.weight");
    if (kind->mixer == ORGAN_MIXER_NONE && !kind->feed)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: layer %u has no tensors of a mixer or a feed-forward", s->label,
                   layer);
}

/* Files have 0 heads for layers without attention, whose heads are not used. */
static void share_heads(organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers; l++)
        if (c->kinds[l].mixer == ORGAN_MIXER_ATTENTION || c->kinds[l].second == ORGAN_MIXER_ATTENTION)
            c->kv_heads = c->kinds[l].kv_heads;
    for (unsigned l = 0; l < c->layers; l++) {
        organ_layer_kind *const kind = &c->kinds[l];
        if (kind->mixer == ORGAN_MIXER_ATTENTION || kind->second == ORGAN_MIXER_ATTENTION)
            continue;
        kind->heads = c->heads;
        kind->kv_heads = c->kv_heads;
        kind->head_dim = kind->value_dim = c->head_dim;
    }
}

/* In files with Mamba-2 or the delta rule, ssm.time_step_rank is the number of heads. */
static void read_ssm(const config_gguf_source *s, organ_mixer mixer, organ_recurrent_config *to)
{
    const unsigned inner = organ_key_needed(s, "ssm.inner_size"), rank = organ_key_needed(s, "ssm.time_step_rank");
    to->kernel = organ_key_needed(s, "ssm.conv_kernel");
    to->key_dim = organ_key_needed(s, "ssm.state_size");
    if (mixer == ORGAN_MIXER_MAMBA) {
        to->heads = inner;
        to->groups = to->value_dim = 1;
        to->rank = rank;
        return;
    }
    to->heads = rank;
    to->groups = organ_key_needed(s, "ssm.group_count");
    if (rank == 0 || inner % rank)
        organ_fail(s->error, ORGAN_BAD_INPUT,
                   "%s: key '%s.ssm.inner_size' is %u, not a multiple of ssm.time_step_rank %u", s->label,
                   s->architecture, inner, rank);
    else
        to->value_dim = inner / rank;
}

/* Kimi Delta Attention has as many heads as the attention, but of another width. */
static void read_kda(const config_gguf_source *s, const organ_forward_config *c, organ_recurrent_config *to)
{
    to->heads = to->groups = c->heads;
    to->key_dim = to->value_dim = organ_key_needed(s, "kda.head_dim");
    to->kernel = organ_key_needed(s, "ssm.conv_kernel");
    to->by_channel = true;
}

static void read_lightning(const config_gguf_source *s, organ_forward_config *c)
{
    const float alpha = (float)organ_key_real(s, "residual_scale", 0);
    organ_key_require(s, "residual_scale");
    c->recurrent.heads = c->recurrent.groups = c->heads;
    c->recurrent.key_dim = c->recurrent.value_dim = c->head_dim;
    c->recurrent.kernel = 1; /* there is no convolution, but the check of sizes rejects 0 */
    c->residual_normed = true;
    for (unsigned l = 0; l < c->layers; l++)
        for (unsigned k = 0; k < 2; k++) {
            c->kinds[l].alpha[k] = alpha;
            c->kinds[l].beta[k] = 1;
        }
    if (!isfinite(alpha))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s.residual_scale' is %g, not finite", s->label,
                   s->architecture, (double)alpha);
}

/* The norms of dt, B and C have no weights in Falcon-Mamba, whose files have a key for them, and weights in Jamba. */
static void read_options(const config_gguf_source *s, const organ_forward_config *c, organ_recurrent_config *to)
{
    const forward_recurrent *const r = s->family->recurrent;
    const forward_name *const names = s->family->gguf_names;
    const char *const conv = organ_forward_part_name(names, PART_BIAS_CONV, true, 0);
    to->step_norms_bare = organ_key_flag(s, "ssm.dt_b_c_rms", false);
    to->step_norms = to->step_norms_bare || any_layer_has_tensor(s, c, "ssm_dt_norm.weight");
    to->conv_biased = any_layer_has_tensor(s, c, conv);
    to->biased = any_layer_has_tensor(s, c, organ_forward_part_name(names, PART_BIAS_MIX_IN, true, 0));
    to->out_biased = any_layer_has_tensor(s, c, organ_forward_part_name(names, PART_BIAS_MIX_OUT, true, 0));
    to->normed = to->norm_rows = any_layer_has_tensor(s, c, "ssm_norm.weight");
    to->fused_ba = r->projections == ORGAN_PROJECTIONS_BY_HEAD;
    to->projections =
        r->gguf_split && !any_layer_has_tensor(s, c, "ssm_in.weight") ? ORGAN_PROJECTIONS_QKV : r->projections;
}

void organ_key_mixers(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    if (!r || s->error->status)
        return;
    const organ_mixer mixer = recurrent_mixer(r);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        read_kind(s, l, mixer, &c->kinds[l]);
    share_heads(c);
    c->recurrent = (organ_recurrent_config){
        .norm_eps = c->rms_eps, .step_max = INFINITY, .out_scale = 1, .tiled = r->gguf_tiled, .exp_stored = true};
    if (mixer == ORGAN_MIXER_SHORT_CONV)
        c->recurrent.kernel = organ_key_needed(s, "shortconv.l_cache");
    else if (r->by_channel)
        read_kda(s, c, &c->recurrent);
    else if (r->lightning)
        read_lightning(s, c);
    else
        read_ssm(s, mixer, &c->recurrent);
    read_options(s, c, &c->recurrent);
}
