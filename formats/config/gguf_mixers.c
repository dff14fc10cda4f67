/* SPDX-License-Identifier: MIT
 * Finds the mixers of layers in GGUF files, and reads the sizes of recurrent ones. No key states the kind of a layer in
 * the same way for all architectures, but the tensors of a layer show it. A layer has attention if it has the
 * attention's output projection, and a feed-forward if it has a down projection. It is recurrent if it has the output
 * projection of the recurrent mixer. If this projection has the same name as the attention's, the norm before the
 * projection of the recurrent mixer decides instead.
 * `s` is the GGUF file that is read; s->family, called the family, is the row of its architecture in families.h. `c` is
 * the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is there.
 */
#include "formats/config/gguf_readers.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static bool any_layer_has_tensor(const config_gguf_source *s, const organ_forward_config *c, const char *name)
{
    for (unsigned l = 0; l < c->layers; l++)
        if (organ_key_layer_tensor(s, l, name))
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
    const char *const out = organ_forward_part_name(names, PART_MIX_OUT, /*gguf=*/true, /*index=*/0);
    const char *const norm = organ_forward_part_name(names, PART_NORM_MIXED, /*gguf=*/true, /*index=*/0);
    const bool one_name = strcmp(out, usual) == 0, recurs = organ_key_layer_tensor(s, layer, one_name ? norm : out);
    const bool attends = organ_key_layer_tensor(s, layer, usual) && !(one_name && recurs);
    if (recurs)
        kind->mixer = recurrent;
    else
        kind->mixer = attends ? ORGAN_MIXER_ATTENTION : ORGAN_MIXER_NONE;
    kind->second = recurs && attends ? ORGAN_MIXER_ATTENTION : ORGAN_MIXER_NONE;
    kind->latent = kind->latent && attends;
    kind->feed =
        organ_key_layer_tensor(s, layer, "ffn_down.weight") || organ_key_layer_tensor(s, layer, "ffn_down_exps.weight");
    if (kind->mixer == ORGAN_MIXER_NONE && !kind->feed)
        organ_refuse(s->error, s->label, "layer %u has no tensors of a mixer or a feed-forward", layer);
}

/* Without tensors of its layers, a file has only keys that state their kinds. */
static void read_stated_kind(const config_gguf_source *s, unsigned layer, organ_mixer recurrent, organ_layer_kind *kind)
{
    const forward_recurrent *const r = s->family->recurrent;
    const unsigned interval = r->interval.key ? organ_key_size(s, r->interval.key, 0) : 0;
    const bool attends =
        interval ? (layer + 1) % interval == 0 : organ_key_of_layer(s, "attention.head_count_kv", layer, 0) > 0;
    kind->feed = organ_key_of_layer(s, "feed_forward_length", layer, 1) > 0;
    kind->second = ORGAN_MIXER_NONE;
    kind->latent = kind->latent && attends;
    if (attends)
        kind->mixer = ORGAN_MIXER_ATTENTION;
    else
        kind->mixer = interval || !kind->feed ? recurrent : ORGAN_MIXER_NONE;
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
static void read_ssm(const config_gguf_source *s, organ_mixer mixer, organ_recurrent_config *sizes)
{
    const unsigned inner = organ_key_needed(s, "ssm.inner_size"), rank = organ_key_needed(s, "ssm.time_step_rank");
    sizes->kernel = organ_key_needed(s, "ssm.conv_kernel");
    sizes->key_dim = organ_key_needed(s, "ssm.state_size");
    if (mixer == ORGAN_MIXER_MAMBA) {
        sizes->heads = inner;
        sizes->groups = sizes->value_dim = 1;
        sizes->rank = rank;
        return;
    }
    sizes->heads = rank;
    sizes->groups = organ_key_needed(s, "ssm.group_count");
    if (rank == 0 || inner % rank)
        organ_key_refuse(s, "ssm.inner_size", "is %u, not a multiple of ssm.time_step_rank %u", inner, rank);
    else
        sizes->value_dim = inner / rank;
}

#define BAILING_LIMIT (-5.0) /* the default of kda_lower_bound in transformers */

/* Kimi Delta Attention has as many heads as the attention, but of another width. */
static void read_kda(const config_gguf_source *s, const organ_forward_config *c, organ_recurrent_config *sizes)
{
    sizes->heads = sizes->groups = c->heads;
    sizes->key_dim = sizes->value_dim = organ_key_needed(s, "kda.head_dim");
    sizes->kernel = organ_key_needed(s, "ssm.conv_kernel");
    sizes->by_channel = true;
    sizes->full_rank = s->family->recurrent->full_rank;
    if (!s->family->recurrent->bounded)
        return;
    sizes->decay_limit = organ_key_real(s, "kda.gate_lower_bound", BAILING_LIMIT);
    if (!organ_key_flag(s, "kda.safe_gate", true) || !(sizes->decay_limit < 0))
        organ_key_refuse(s, "kda.gate_lower_bound", "is %g, not below 0, or kda.safe_gate is false",
                         sizes->decay_limit);
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
        organ_key_refuse(s, "residual_scale", "is %g, not finite", (double)alpha);
}

/* The norms of dt, B and C have no weights in Falcon-Mamba, whose files have a key for them, and weights in Jamba. */
static void read_recurrent_options(const config_gguf_source *s, const organ_forward_config *c,
                                   organ_recurrent_config *sizes)
{
    const forward_recurrent *const r = s->family->recurrent;
    const forward_name *const names = s->family->gguf_names;
    const char *const conv = organ_forward_part_name(names, PART_BIAS_CONV, /*gguf=*/true, /*index=*/0);
    sizes->step_norms_bare = organ_key_flag(s, "ssm.dt_b_c_rms", false);
    sizes->step_norms = sizes->step_norms_bare || any_layer_has_tensor(s, c, "ssm_dt_norm.weight");
    sizes->conv_biased = any_layer_has_tensor(s, c, conv);
    sizes->biased =
        any_layer_has_tensor(s, c, organ_forward_part_name(names, PART_BIAS_MIX_IN, /*gguf=*/true, /*index=*/0));
    sizes->out_biased =
        any_layer_has_tensor(s, c, organ_forward_part_name(names, PART_BIAS_MIX_OUT, /*gguf=*/true, /*index=*/0));
    sizes->normed = sizes->norm_rows = any_layer_has_tensor(s, c, "ssm_norm.weight");
    sizes->fused_ba = r->projections == ORGAN_PROJECTIONS_BY_HEAD;
    sizes->projections =
        r->gguf_split && !any_layer_has_tensor(s, c, "ssm_in.weight") ? ORGAN_PROJECTIONS_QKV : r->projections;
}

void organ_key_mixers(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_recurrent *const r = s->family->recurrent;
    if (!r || s->error->status)
        return;
    const organ_mixer mixer = recurrent_mixer(r);
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        (l < s->block ? read_stated_kind : read_kind)(s, l, mixer, &c->kinds[l]);
    share_heads(c);
    c->recurrent = (organ_recurrent_config){
        .norm_eps = c->rms_eps, .step_max = INFINITY, .tiled = r->gguf_tiled, .exp_stored = true};
    if (mixer == ORGAN_MIXER_SHORT_CONV)
        c->recurrent.kernel = organ_key_needed(s, "shortconv.l_cache");
    else if (r->by_channel)
        read_kda(s, c, &c->recurrent);
    else if (r->lightning)
        read_lightning(s, c);
    else
        read_ssm(s, mixer, &c->recurrent);
    read_recurrent_options(s, c, &c->recurrent);
}

/* ---- names of keys in messages of config_check.c, which name members of config.json ---- */

#define MOST_KEYS 6 /* keys of a row of message_keys */

/* A row has words that identify a message, and the keys whose values the message rejects. The first row whose words
 * are in the message applies. */
static const struct {
    const char *words, *keys[MOST_KEYS];
} message_keys[] = {
    {"index_head_dim", {"attention.indexer.key_length", "rope.dimension_count"}},
    {"index_n_heads", {"attention.indexer.head_count", "attention.head_count"}},
    {"index_topk_blocks", {"attention.indexer.top_k", "attention.indexer.local_blocks"}},
    {"index_block_size", {"attention.indexer.block_size"}},
    {"index_topk", {"attention.indexer.top_k"}},
    {"num_hidden_layers", {"block_count", "nextn_predict_layers"}},
    {"num_attention_heads", {"attention.head_count", "attention.head_count_kv"}},
    {"num_key_value_heads", {"attention.head_count_kv"}},
    {"hidden_size", {"embedding_length"}},
    {"v_head_dim", {"attention.value_length", "attention.value_length_mla"}},
    {"qk_nope_head_dim", {"attention.key_length", "attention.key_length_mla", "rope.dimension_count"}},
    {"qk_rope_head_dim", {"rope.dimension_count"}},
    {"kv_lora_rank", {"attention.kv_lora_rank"}},
    {"q_lora_rank", {"attention.q_lora_rank"}},
    {"eps of norms", {"attention.layer_norm_rms_epsilon", "attention.layer_norm_epsilon"}},
    {"original_max_position_embeddings", {"rope.scaling.original_context_length"}},
    {"max_position_embeddings", {"context_length"}},
    {"n_group", {"expert_group_count", "expert_group_used_count", "expert_count"}},
    {"num_experts_per_tok", {"expert_used_count", "expert_count"}},
    {"intermediate size of an expert", {"expert_feed_forward_length", "feed_forward_length"}},
    {"intermediate size of the shared",
     {"expert_feed_forward_length", "expert_shared_count", "expert_shared_feed_forward_length"}},
    {"intermediate_size", {"feed_forward_length", "expert_shared_feed_forward_length"}},
    {"layers have no experts", {"leading_dense_block_count", "block_count"}},
    {"head are rotated", {"rope.dimension_count", "rope.dimension_count_swa", "attention.key_length"}},
    {"head_dim",
     {"attention.key_length", "attention.key_length_mla", "attention.key_length_swa", "embedding_length",
      "attention.head_count"}},
    {"rope_theta", {"rope.freq_base", "rope.freq_base_swa"}},
    {"rope scaling factor", {"rope.scaling.factor", "rope.scale_linear"}},
    {"beta_fast",
     {"rope.scaling.yarn_beta_fast", "rope.scaling.yarn_beta_slow", "rope.scaling.factor", "rope.scaling.attn_factor",
      "rope.scaling.yarn_attn_factor", "rope.scaling.yarn_log_multiplier"}},
    {"attention_factor",
     {"rope.scaling.attn_factor", "rope.scaling.yarn_attn_factor", "rope.scaling.factor",
      "rope.scaling.yarn_log_multiplier"}},
    {"queries are scaled",
     {"attention.temperature_scale", "attention.temperature_length", "rope.scaling.original_context_length"}},
    {"scale of attention scores", {"attention.scale", "rope.scaling.factor", "rope.scaling.yarn_log_multiplier"}},
    {"scale of the values", {"attention.value_scale"}},
    {"scale of the experts", {"expert_weights_scale"}},
    {"experts read vectors", {"moe_latent_size"}},
    {"clipping limit", {"attention.clamp_kqv"}},
    {"ALiBi", {"attention.max_alibi_bias"}},
    {"soft caps", {"attn_logit_softcapping", "final_logit_softcapping"}},
    {"kernel of", {"ssm.conv_kernel", "shortconv.l_cache"}},
    {"heads of recurrent layers",
     {"ssm.inner_size", "ssm.time_step_rank", "ssm.group_count", "kda.head_dim", "attention.head_count"}},
    {"key heads", {"ssm.group_count", "ssm.time_step_rank"}},
    {"in recurrent layers", {"ssm.time_step_rank", "ssm.state_size", "ssm.inner_size", "kda.head_dim"}},
    {"width of their keys", {"ssm.state_size", "kda.head_dim"}},
    {"width of their values", {"ssm.inner_size", "kda.head_dim"}},
    {"rank of their time steps", {"ssm.time_step_rank"}},
};

/* Appends " (keys: ...)" to the message of the error: those of `keys` that the file has. */
static void append_keys(const config_gguf_source *s, const char *const *keys)
{
    char *const message = s->error->message, full[CONFIG_KEY_LIMIT];
    size_t length = strlen(message), named = 0;
    for (size_t k = 0; k < MOST_KEYS && keys[k]; k++) {
        if (!organ_key_find(s, keys[k]))
            continue;
        snprintf(message + length, sizeof s->error->message - length, "%s%s",
                 named++ ? ", " : " (keys: ", organ_key_name(s, keys[k], full));
        length = strlen(message);
    }
    if (named)
        snprintf(message + length, sizeof s->error->message - length, ")");
}

void organ_key_name_fault(const config_gguf_source *s)
{
    const char *const message = s->error->message;
    if (s->error->status != ORGAN_BAD_INPUT || strstr(message, "key '") || strstr(message, "tensor '"))
        return;
    for (size_t k = 0; k < sizeof message_keys / sizeof *message_keys; k++)
        if (strstr(message, message_keys[k].words)) {
            append_keys(s, message_keys[k].keys);
            return;
        }
}

/* ---- heads, windows and positions of layers ---- */

#define WINDOW_PATTERN "attention.sliding_window_pattern"
#define CHUNK          8192 /* positions in a chunk of Llama 4, for which GGUF has no key */

/* The keys may be arrays with a number for each layer. In MiMo-V2 heads of v have a width of their own. The rows of
 * the gate's tensor of Laguna and Step 3.7 show whether it has a number for each head or for each number of the
 * attention's output. */
void organ_key_heads(const config_gguf_source *s, organ_forward_config *c)
{
    for (unsigned l = 0; l < c->layers && !s->error->status; l++) {
        organ_layer_kind *const kind = &c->kinds[l];
        kind->heads = organ_key_of_layer(s, "attention.head_count", l, c->heads);
        kind->kv_heads = organ_key_of_layer(s, "attention.head_count_kv", l, kind->heads);
        if (s->family->heads == HEADS_MIMO)
            kind->value_dim = organ_key_size(s, "attention.value_length", kind->head_dim);
        kind->intermediate = organ_key_of_layer(s, "feed_forward_length", l, 0);
    }
    const organ_tensor *const gate =
        organ_heads_by_layer(s->family) ? organ_model_find(s->model, "blk.0.attn_gate.weight") : NULL;
    c->gate_heads = c->gate_heads || (gate && gate->rank == 2 && gate->shape[0] == c->kinds[0].heads);
}

/* The key WINDOW_PATTERN is an array that is true for layers with a window, or a number n, by default the family's
 * window_pattern. With a number, the last of each n layers has no window, or with first_full the first of each n
 * layers. Phi-3 gets the sliding window with which it was trained, although llama.cpp attends to everything. */
void organ_key_windows(const config_gguf_source *s, organ_forward_config *c)
{
    const forward_windows windows = s->family->windows;
    const bool used = windows == WINDOWS_ALL || windows >= WINDOWS_TYPES;
    const organ_gguf_kv *const pattern = organ_key_find(s, WINDOW_PATTERN);
    c->window = used ? organ_key_size(s, "attention.sliding_window", 0) : 0;
    if (!pattern || pattern->type != ORGAN_GGUF_ARRAY) {
        const unsigned every = organ_key_size(s, WINDOW_PATTERN, s->family->window_pattern);
        organ_forward_config_pattern(c, every);
        for (unsigned l = 0; s->family->first_full && every && l < c->layers; l++)
            c->kinds[l].window = l % every ? c->window : 0;
        return;
    }
    for (unsigned l = 0; l < c->layers && !s->error->status; l++)
        c->kinds[l].window = organ_key_of_layer(s, WINDOW_PATTERN, l, 0) ? c->window : 0;
}

/* llama.cpp, too, sets chunks of CHUNK positions for the layers of Llama 4 that rotate q and k. For a sliding_window
 * of 0 it computes full attention with positions in all layers but the last; no class of transformers computes this. */
static void read_chunks(const config_gguf_source *s, organ_forward_config *c)
{
    if (organ_key_size(s, "attention.sliding_window", CHUNK) == 0)
        organ_key_refuse(s, "attention.sliding_window", "is 0: layers without chunks are not supported");
    for (unsigned l = 0; l < c->layers; l++)
        c->kinds[l].chunk = c->kinds[l].rotated ? CHUNK : 0;
}

unsigned organ_forward_gguf_period(const forward_family *f)
{
    return f->unrotated == UNROTATED_LIST ? 4 : f->window_pattern;
}

/* GGUF files have no list of the layers that do not rotate. With UNROTATED_LIST, the last layer of each period of
 * organ_forward_gguf_period does not rotate, as in llama.cpp. With UNROTATED_FULL, layers without a window do not
 * rotate if the model has a sliding window; with the values after UNROTATED_FULL, no layer without a window rotates.
 * The comments below state two exceptions. */
void organ_key_positions(const config_gguf_source *s, organ_forward_config *c)
{
    organ_forward_config_sinks(c, s->family->sinks);
    if (s->family->unrotated == UNROTATED_LIST)
        for (unsigned l = 0; l < c->layers; l++)
            c->kinds[l].rotated = (l + 1) % organ_forward_gguf_period(s->family) != 0;
    if (s->family->chunk)
        read_chunks(s, c);
    /* Granite 4, which has no windows, rotates q and k in no layer if the key is false. */
    if (s->family->unrotated == UNROTATED_UNLESS && organ_key_flag(s, "rope.scaling.finetuned", true))
        return;
    if (s->family->unrotated >= UNROTATED_FULL)
        organ_forward_config_unrotate(s->family->unrotated != UNROTATED_FULL, c);
    for (unsigned l = 0; s->family->dense_pattern && l < c->layers && !c->kinds[l].mixture; l++)
        c->kinds[l].rotated = true; /* leading dense layers of Cohere 2's mixture */
}
