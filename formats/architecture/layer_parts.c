/* SPDX-License-Identifier: MIT
 * The usual names of the parts of a model, and the parts that only layers of Gemma and BitNet have. */
#include "formats/architecture/config_readers.h"
#include "formats/architecture/family_rows.h"

#include <organ/base.h>
#include <stdio.h>
#include <string.h>

/* Most architectures use these names: in safetensors after "model.layers.N.", and in GGUF files after "blk.N."; for
 * parts outside of the layers the whole name, in safetensors after the prefix of the text model. NULL means that
 * there is no usual name. */
static const char *const usual_names[PART_NAMES][2] = {
    [PART_NORM_ATTENTION] = {"input_layernorm.weight", "attn_norm.weight"},
    [PART_NORM_POST_ATTENTION] = {"post_attention_layernorm.weight", "post_attention_norm.weight"},
    [PART_NORM_FFN] = {"post_attention_layernorm.weight", "ffn_norm.weight"},
    [PART_NORM_POST_FFN] = {"post_feedforward_layernorm.weight", "post_ffw_norm.weight"},
    [PART_NORM_Q] = {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    [PART_NORM_K] = {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    [PART_NORM_Q_A] = {"self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight"},
    [PART_NORM_KV_A] = {"self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight"},
    [PART_Q_A] = {"self_attn.q_a_proj.weight", "attn_q_a.weight"},
    [PART_Q_B] = {"self_attn.q_b_proj.weight", "attn_q_b.weight"},
    [PART_KV_A] = {"self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight"},
    [PART_KV_B] = {"self_attn.kv_b_proj.weight", "attn_kv_b.weight"},
    [PART_K_B] = {NULL, "attn_k_b.weight"},
    [PART_V_B] = {NULL, "attn_v_b.weight"},
    [PART_BIAS_Q_A] = {"self_attn.q_a_proj.bias", "attn_q_a.bias"},
    [PART_BIAS_KV_A] = {"self_attn.kv_a_proj_with_mqa.bias", "attn_kv_a_mqa.bias"},
    [PART_Q] = {"self_attn.q_proj.weight", "attn_q.weight"},
    [PART_K] = {"self_attn.k_proj.weight", "attn_k.weight"},
    [PART_V] = {"self_attn.v_proj.weight", "attn_v.weight"},
    [PART_O] = {"self_attn.o_proj.weight", "attn_output.weight"},
    [PART_GATE] = {"mlp.gate_proj.weight", "ffn_gate.weight"},
    [PART_UP] = {"mlp.up_proj.weight", "ffn_up.weight"},
    [PART_DOWN] = {"mlp.down_proj.weight", "ffn_down.weight"},
    [PART_BIAS_Q] = {"self_attn.q_proj.bias", "attn_q.bias"},
    [PART_BIAS_K] = {"self_attn.k_proj.bias", "attn_k.bias"},
    [PART_BIAS_V] = {"self_attn.v_proj.bias", "attn_v.bias"},
    [PART_BIAS_O] = {"self_attn.o_proj.bias", "attn_output.bias"},
    [PART_BIAS_GATE] = {"mlp.gate_proj.bias", "ffn_gate.bias"},
    [PART_BIAS_UP] = {"mlp.up_proj.bias", "ffn_up.bias"},
    [PART_BIAS_DOWN] = {"mlp.down_proj.bias", "ffn_down.bias"},
    [PART_ROUTER] = {"mlp.gate.weight", "ffn_gate_inp.weight"},
    [PART_ROUTER_BIAS] = {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
    [PART_BIAS_ROUTER] = {"mlp.router.bias", "ffn_gate_inp.bias"},
    [PART_HEAD_GATE] = {"self_attn.gate_proj.weight", "attn_gate.weight"},
    [PART_SINKS] = {"self_attn.sinks", "attn_sinks.weight"},
    [PART_SHARED] = {"mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight"},
    [PART_SHARED_GATE] = {"mlp.shared_expert.gate_proj.weight", "ffn_gate_shexp.weight"},
    [PART_SHARED_UP] = {"mlp.shared_expert.up_proj.weight", "ffn_up_shexp.weight"},
    [PART_SHARED_DOWN] = {"mlp.shared_expert.down_proj.weight", "ffn_down_shexp.weight"},
    [PART_LAYER_SCALE] = {"layer_scalar", "layer_output_scale.weight"},
    [PART_NORM_POST_FFN_DENSE] = {"post_feedforward_layernorm_1.weight", "post_ffw_norm_1.weight"},
    [PART_NORM_EXPERTS] = {"pre_feedforward_layernorm_2.weight", "pre_ffw_norm_2.weight"},
    [PART_NORM_POST_FFN_EXPERTS] = {"post_feedforward_layernorm_2.weight", "post_ffw_norm_2.weight"},
    [PART_ROUTER_SCALE] = {"router.scale", "ffn_gate_inp.scale"},
    [PART_EXPERT_SCALE] = {"router.per_expert_scale", "ffn_down_exps.scale"},
    [PART_PER_LAYER_GATE] = {"per_layer_input_gate.weight", "inp_gate.weight"},
    [PART_PER_LAYER_OUT] = {"per_layer_projection.weight", "proj.weight"},
    [PART_NORM_PER_LAYER] = {"post_per_layer_input_norm.weight", "post_norm.weight"},
    [PART_LAUREL_LEFT] = {"laurel.linear_left.weight", "laurel_l.weight"},
    [PART_LAUREL_RIGHT] = {"laurel.linear_right.weight", "laurel_r.weight"},
    [PART_NORM_LAUREL] = {"laurel.post_laurel_norm.weight", "laurel_post_norm.weight"},
    [PART_NORM_STREAMS] = {"altup.router_norm.weight", "altup_router_norm.weight"},
    [PART_STREAMS_ROUTER] = {"altup.modality_router.weight", "altup_router.weight"},
    [PART_STREAMS_PREDICT] = {"altup.prediction_coefs.weight", "altup_predict_coef.weight"},
    [PART_STREAMS_CORRECT] = {"altup.correction_coefs.weight", "altup_correct_coef.weight"},
    [PART_STREAMS_SCALE] = {"altup.correct_output_scale", "altup_correct_scale.weight"},
    [PART_QKV] = {NULL, "attn_qkv.weight"},
    [PART_EXPERTS_GATE_UP] = {"mlp.experts.gate_up_proj", "ffn_gate_up_exps.weight"},
    [PART_EXPERTS_GATE] = {NULL, "ffn_gate_exps.weight"},
    [PART_EXPERTS_UP] = {NULL, "ffn_up_exps.weight"},
    [PART_EXPERTS_DOWN] = {"mlp.experts.down_proj", "ffn_down_exps.weight"},
    [PART_EXPERTS_BIAS_GATE_UP] = {"mlp.experts.gate_up_proj_bias", NULL},
    [PART_EXPERTS_BIAS_GATE] = {NULL, "ffn_gate_exps.bias"},
    [PART_EXPERTS_BIAS_UP] = {NULL, "ffn_up_exps.bias"},
    [PART_EXPERTS_BIAS_DOWN] = {"mlp.experts.down_proj_bias", "ffn_down_exps.bias"},
    [PART_EXPERT_GATE] = {"mlp.experts.#.gate_proj.weight", NULL},
    [PART_EXPERT_UP] = {"mlp.experts.#.up_proj.weight", NULL},
    [PART_EXPERT_DOWN] = {"mlp.experts.#.down_proj.weight", NULL},
    [PART_XIELU_P] = {"mlp.act_fn.alpha_p", NULL},
    [PART_XIELU_N] = {"mlp.act_fn.alpha_n", NULL},
    [PART_XIELU_BETA] = {"mlp.act_fn.beta", NULL},
    [PART_XIELU_EPS] = {"mlp.act_fn.eps", NULL},
    [PART_NORM_GIVEN] = {"self_attn.attn_sub_norm.weight", NULL},
    [PART_NORM_INNER] = {"mlp.ffn_sub_norm.weight", NULL},
    [PART_INDEX_Q] = {"self_attn.indexer.wq_b.weight", "indexer.attn_q_b.weight"},
    [PART_INDEX_K] = {"self_attn.indexer.wk.weight", "indexer.attn_k.weight"},
    [PART_NORM_INDEX] = {"self_attn.indexer.k_norm.weight", "indexer.k_norm.weight"},
    [PART_BIAS_NORM_INDEX] = {"self_attn.indexer.k_norm.bias", "indexer.k_norm.bias"},
    [PART_INDEX_WEIGHTS] = {"self_attn.indexer.weights_proj.weight", "indexer.proj.weight"},
    [PART_MIX_IN] = {"linear_attn.in_proj_qkv.weight", "attn_qkv.weight"},
    [PART_MIX_Q] = {"linear_attn.q_proj.weight", NULL},
    [PART_MIX_K] = {"linear_attn.k_proj.weight", NULL},
    [PART_MIX_V] = {"linear_attn.v_proj.weight", NULL},
    [PART_MIX_Z] = {"linear_attn.in_proj_z.weight", "attn_gate.weight"},
    [PART_MIX_BA] = {"linear_attn.in_proj_ba.weight", "ssm_ba.weight"},
    [PART_MIX_B] = {"linear_attn.in_proj_b.weight", "ssm_beta.weight"},
    [PART_MIX_A] = {"linear_attn.in_proj_a.weight", "ssm_alpha.weight"},
    [PART_MIX_Z_LOW] = {"self_attn.g_a_proj.weight", "ssm_g_a.weight"},
    [PART_MIX_A_LOW] = {"self_attn.f_a_proj.weight", "ssm_f_a.weight"},
    [PART_MIX_OUT] = {"linear_attn.out_proj.weight", "ssm_out.weight"},
    [PART_CONV] = {"linear_attn.conv1d.weight", "ssm_conv1d.weight"},
    [PART_CONV_Q] = {"linear_attn.q_conv1d.weight", "ssm_conv1d_q.weight"},
    [PART_CONV_K] = {"linear_attn.k_conv1d.weight", "ssm_conv1d_k.weight"},
    [PART_CONV_V] = {"linear_attn.v_conv1d.weight", "ssm_conv1d_v.weight"},
    [PART_BIAS_CONV] = {"mamba.conv1d.bias", "ssm_conv1d.bias"},
    [PART_BIAS_MIX_IN] = {"mamba.in_proj.bias", "ssm_in.bias"},
    [PART_BIAS_MIX_OUT] = {"mamba.out_proj.bias", "ssm_out.bias"},
    [PART_MIX_X] = {"mamba.x_proj.weight", "ssm_x.weight"},
    [PART_MIX_STEP] = {"mamba.dt_proj.weight", "ssm_dt.weight"},
    [PART_NORM_STEP] = {"mamba.dt_layernorm.weight", "ssm_dt_norm.weight"},
    [PART_NORM_STATE_B] = {"mamba.b_layernorm.weight", "ssm_b_norm.weight"},
    [PART_NORM_STATE_C] = {"mamba.c_layernorm.weight", "ssm_c_norm.weight"},
    [PART_SKIP] = {"mamba.D", "ssm_d"},
    [PART_A_LOG] = {"linear_attn.A_log", "ssm_a"},
    [PART_DT_BIAS] = {"linear_attn.dt_bias", "ssm_dt.bias"},
    [PART_NORM_MIXED] = {"linear_attn.norm.weight", "ssm_norm.weight"},
    [PART_EMBEDDING] = {"embed_tokens.weight", "token_embd.weight"},
    [PART_POSITIONS] = {"wpe.weight", "position_embd.weight"},
    [PART_NORM_EMBEDDING] = {"word_embeddings_layernorm.weight", "token_embd_norm.weight"},
    [PART_PER_LAYER_TABLE] = {"embed_tokens_per_layer.weight", "per_layer_token_embd.weight"},
    [PART_PER_LAYER_MODEL] = {"per_layer_model_projection.weight", "per_layer_model_proj.weight"},
    [PART_NORM_PER_LAYER_MODEL] = {"per_layer_projection_norm.weight", "per_layer_proj_norm.weight"},
    [PART_FINAL_NORM] = {"norm.weight", "output_norm.weight"},
    [PART_STREAMS_MAKE] = {"altup_projections.#.weight", "altup_proj.weight"},
    [PART_STREAMS_END] = {"altup_unembed_projections.#.weight", "altup_unembd_proj.weight"},
    [PART_OUTPUT] = {NULL, "output.weight"},
};

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
    const bool both = kind->mixture && c->dual_ffn, per_layer = c->per_layer_width > 0, streams = c->streams > 0;
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
    };
    size_t count = 0;
    for (size_t k = 0; k < FORWARD_GEMMA_PARTS; k++)
        if (all[k].requested)
            shapes[count++] = all[k].shape;
    return count;
}

/* ---- the text part of a multimodal model ---- */

const char *const organ_base_words[] = {"model.", "transformer.", "gpt_neox.", "backbone.", "biogpt.", NULL};

static bool has_prefixed(const organ_weights *weights, const char *prefix, const char *name)
{
    char full[256];
    snprintf(full, sizeof full, "%s%s", prefix, name);
    return organ_weights_named(weights, full) != NULL;
}

/* The family's prefix shrinks word by word from the front until the model has an embedding of that name. */
const char *organ_text_prefix(const forward_family *family, const organ_weights *weights)
{
    static const char *const prefixes[] = {"model.",
                                           "model.language_model.",
                                           "language_model.model.",
                                           "model.text_model.",
                                           "model.llm.",
                                           "thinker.model.",
                                           "llm.model.",
                                           "language_model.",
                                           "text_model.",
                                           ""};
    const char *const embedding = organ_forward_part_name(family->names, PART_EMBEDDING, false, 0);
    for (const char *own = family->prefix; own; own = *own ? strchr(own, '.') + 1 : NULL)
        if (has_prefixed(weights, own, embedding))
            return own;
    for (size_t k = 0; !family->prefix && k < sizeof prefixes / sizeof *prefixes; k++)
        if (has_prefixed(weights, prefixes[k], embedding))
            return prefixes[k];
    return family->prefix ? family->prefix : prefixes[0];
}

const char *organ_text_new_head(const char *architecture, const char *embedding)
{
    const forward_family *const family = organ_forward_family_named(architecture, false);
    const char *const own = family ? organ_forward_part_name(family->names, PART_OUTPUT, false, 0) : NULL;
    if (own)
        return own;
    return strncmp(embedding, "language_model.model.", 21) == 0 ? "language_model.lm_head.weight" : "lm_head.weight";
}

const char *organ_text_head(const organ_weights *weights)
{
    static const char *const heads[] = {"lm_head.weight", "language_model.lm_head.weight", "model.lm_head.weight"};
    for (size_t k = 0; k < sizeof heads / sizeof *heads; k++)
        if (organ_weights_named(weights, heads[k]))
            return heads[k];
    return heads[0];
}

organ_status organ_text_check_embedding(const organ_model *model, const organ_weights *weights, organ_error *error)
{
    const organ_weight *head = NULL;
    for (size_t k = 0; k < weights->count; k++) {
        const organ_weight *const w = &weights->weights[k];
        if (w->anatomy.layer >= 0 || w->rank != 2)
            continue;
        if (w->anatomy.role == ORGAN_ROLE_EMBED)
            return ORGAN_OK;
        head = w->anatomy.role == ORGAN_ROLE_OUTPUT ? w : head;
    }
    return head && !model->gguf && model->config.tie_word_embeddings
               ? organ_refuse(error, model->path,
                              "config.json ties output head and embedding, and the model stores only the head '%s', "
                              "which transformers uses for both: give that tensor the name of the embedding, such as "
                              "model.embed_tokens.weight",
                              head->name)
               : ORGAN_OK;
}
