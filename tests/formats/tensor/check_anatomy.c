/* SPDX-License-Identifier: MIT
 * Tests of the table of tensor names. */
#include <organ/models.h>
#include "tests/formats/check_formats.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static const struct named {
    const char *name, *module, *role, *group; /* the role with the group of its experts */
    int layer, expert;
} names[] = {
    /* Llama, Mistral, Qwen2, Qwen2.5 */
    {"model.embed_tokens.weight", "model.embed_tokens", "embed", "embed", -1, -1},
    {"lm_head.weight", "lm_head", "lm_head", "embed", -1, -1},
    {"model.norm.weight", "model.norm", "norm", "norm", -1, -1},
    {"model.layers.0.self_attn.q_proj.weight", "self_attn.q_proj", "q_proj", "skeleton", 0, -1},
    {"model.layers.1.self_attn.k_proj.weight", "self_attn.k_proj", "k_proj", "skeleton", 1, -1},
    {"model.layers.22.self_attn.v_proj.weight", "self_attn.v_proj", "v_proj", "skeleton", 22, -1},
    {"model.layers.333.self_attn.o_proj.weight", "self_attn.o_proj", "o_proj", "skeleton", 333, -1},
    {"model.layers.3.mlp.gate_proj.weight", "mlp.gate_proj", "gate_proj", "organ", 3, -1},
    {"model.layers.3.mlp.up_proj.weight", "mlp.up_proj", "up_proj", "organ", 3, -1},
    {"model.layers.3.mlp.down_proj.weight", "mlp.down_proj", "down_proj", "organ", 3, -1},
    {"model.layers.3.input_layernorm.weight", "input_layernorm", "norm", "norm", 3, -1},
    {"model.layers.3.post_attention_layernorm.weight", "post_attention_layernorm", "norm", "norm", 3, -1},
    {"model.layers.3.self_attn.q_proj.bias", "self_attn.q_proj.bias", "bias", "skeleton", 3, -1},
    {"model.layers.3.mlp.down_proj.bias", "mlp.down_proj.bias", "bias", "organ", 3, -1},
    {"lm_head.bias", "lm_head.bias", "bias", "embed", -1, -1},
    {"model.norm.bias", "model.norm.bias", "norm", "norm", -1, -1},
    {"model.layers.0.self_attn.rotary_emb.inv_freq", "self_attn.rotary_emb.inv_freq", "other", "other", 0, -1},
    /* Qwen3, Gemma */
    {"model.layers.3.self_attn.q_norm.weight", "self_attn.q_norm", "norm", "norm", 3, -1},
    {"model.layers.3.self_attn.k_norm.weight", "self_attn.k_norm", "norm", "norm", 3, -1},
    {"model.layers.3.pre_feedforward_layernorm.weight", "pre_feedforward_layernorm", "norm", "norm", 3, -1},
    {"model.layers.3.post_feedforward_layernorm.weight", "post_feedforward_layernorm", "norm", "norm", 3, -1},
    {"model.language_model.embed_tokens_per_layer.weight", "model.language_model.embed_tokens_per_layer", "embed",
     "embed", -1, -1},
    /* Phi-3 */
    {"model.layers.3.self_attn.qkv_proj.weight", "self_attn.qkv_proj", "qkv_proj", "skeleton", 3, -1},
    {"model.layers.3.mlp.gate_up_proj.weight", "mlp.gate_up_proj", "gate_up_proj", "organ", 3, -1},
    /* Mixtral */
    {"model.layers.3.block_sparse_moe.gate.weight", "block_sparse_moe.gate", "router", "organ", 3, -1},
    {"model.layers.3.block_sparse_moe.experts.7.w1.weight", "block_sparse_moe.experts.w1", "experts.gate_proj", "organ",
     3, 7},
    {"model.layers.3.block_sparse_moe.experts.0.w2.weight", "block_sparse_moe.experts.w2", "experts.down_proj", "organ",
     3, 0},
    {"model.layers.3.block_sparse_moe.experts.12.w3.weight", "block_sparse_moe.experts.w3", "experts.up_proj", "organ",
     3, 12},
    {"layers.3.attention.wq.weight", "attention.wq", "q_proj", "skeleton", 3, -1},
    {"layers.3.feed_forward.w1.weight", "feed_forward.w1", "gate_proj", "organ", 3, -1},
    {"layers.3.ffn_norm.weight", "ffn_norm", "norm", "norm", 3, -1},
    {"tok_embeddings.weight", "tok_embeddings", "embed", "embed", -1, -1},
    {"output.weight", "output", "lm_head", "embed", -1, -1},
    {"norm.weight", "norm", "norm", "norm", -1, -1},
    /* Qwen2-MoE, Qwen3-MoE */
    {"model.layers.3.mlp.gate.weight", "mlp.gate", "router", "organ", 3, -1},
    {"model.layers.3.mlp.experts.127.down_proj.weight", "mlp.experts.down_proj", "experts.down_proj", "organ", 3, 127},
    {"model.layers.3.mlp.experts.5.gate_proj.weight", "mlp.experts.gate_proj", "experts.gate_proj", "organ", 3, 5},
    {"model.layers.3.mlp.experts.5.up_proj.weight", "mlp.experts.up_proj", "experts.up_proj", "organ", 3, 5},
    {"model.layers.3.mlp.shared_expert.up_proj.weight", "mlp.shared_expert.up_proj", "shared_experts.up_proj", "organ",
     3, -1},
    {"model.layers.3.mlp.shared_expert_gate.weight", "mlp.shared_expert_gate", "router", "organ", 3, -1},
    /* DeepSeek */
    {"model.layers.3.mlp.shared_experts.gate_proj.weight", "mlp.shared_experts.gate_proj", "shared_experts.gate_proj",
     "organ", 3, -1},
    {"model.layers.3.mlp.gate.e_score_correction_bias", "mlp.gate.e_score_correction_bias", "bias", "organ", 3, -1},
    {"model.layers.3.self_attn.q_a_proj.weight", "self_attn.q_a_proj", "q_a_proj", "skeleton", 3, -1},
    {"model.layers.3.self_attn.q_b_proj.weight", "self_attn.q_b_proj", "q_b_proj", "skeleton", 3, -1},
    {"model.layers.3.self_attn.kv_a_proj_with_mqa.weight", "self_attn.kv_a_proj_with_mqa", "kv_a_proj", "skeleton", 3,
     -1},
    {"model.layers.3.self_attn.kv_b_proj.weight", "self_attn.kv_b_proj", "kv_b_proj", "skeleton", 3, -1},
    {"model.layers.3.self_attn.kv_a_layernorm.weight", "self_attn.kv_a_layernorm", "norm", "norm", 3, -1},
    {"model.layers.61.embed_tokens.weight", "embed_tokens", "embed", "embed", 61, -1},
    {"model.layers.61.shared_head.head.weight", "shared_head.head", "lm_head", "embed", 61, -1},
    {"model.layers.61.eh_proj.weight", "eh_proj", "mtp", "other", 61, -1},
    {"model.layers.45.transformer.shared_head.output.weight", "transformer.shared_head.output", "lm_head", "embed", 45,
     -1},
    {"model.layers.45.transformer.shared_head.norm.weight", "transformer.shared_head.norm", "norm", "norm", 45, -1},
    /* MLX: a layer's experts in one tensor, latent attention with kv_b split in two */
    {"model.layers.3.mlp.switch_mlp.gate_proj.weight", "mlp.switch_mlp.gate_proj", "experts.gate_proj", "organ", 3, -1},
    {"language_model.model.layers.3.mlp.switch_mlp.down_proj.weight", "mlp.switch_mlp.down_proj", "experts.down_proj",
     "organ", 3, -1},
    {"model.layers.3.block_sparse_moe.switch_mlp.up_proj.weight", "block_sparse_moe.switch_mlp.up_proj",
     "experts.up_proj", "organ", 3, -1},
    {"model.layers.3.mlp.experts.gate_proj.bias", "mlp.experts.gate_proj.bias", "experts.bias", "organ", 3, -1},
    {"model.layers.3.feed_forward.gate.weight", "feed_forward.gate", "router", "organ", 3, -1},
    {"model.layers.3.feed_forward.experts.up_proj.weight", "feed_forward.experts.up_proj", "experts.up_proj", "organ",
     3, -1},
    {"model.layers.3.self_attn.embed_q.weight", "self_attn.embed_q", "k_b_proj", "skeleton", 3, -1},
    {"model.layers.3.self_attn.unembed_out.weight", "self_attn.unembed_out", "v_b_proj", "skeleton", 3, -1},
    /* GGUF: Llama, Qwen, Gemma, Phi */
    {"token_embd.weight", "token_embd", "embed", "embed", -1, -1},
    {"token_embd_norm.weight", "token_embd_norm", "norm", "norm", -1, -1},
    {"token_types.weight", "token_types", "embed", "embed", -1, -1},
    {"per_layer_token_embd.weight", "per_layer_token_embd", "embed", "embed", -1, -1},
    {"output_norm.weight", "output_norm", "norm", "norm", -1, -1},
    {"rope_freqs.weight", "rope_freqs", "other", "other", -1, -1},
    {"rope_factors_long.weight", "rope_factors_long", "other", "other", -1, -1},
    {"blk.0.attn_norm.weight", "attn_norm", "norm", "norm", 0, -1},
    {"blk.1.attn_q.weight", "attn_q", "q_proj", "skeleton", 1, -1},
    {"blk.22.attn_k.weight", "attn_k", "k_proj", "skeleton", 22, -1},
    {"blk.333.attn_v.weight", "attn_v", "v_proj", "skeleton", 333, -1},
    {"blk.3.attn_q.bias", "attn_q.bias", "bias", "skeleton", 3, -1},
    {"blk.3.attn_output.weight", "attn_output", "o_proj", "skeleton", 3, -1},
    {"blk.3.attn_qkv.weight", "attn_qkv", "qkv_proj", "skeleton", 3, -1},
    {"blk.3.attn_q_norm.weight", "attn_q_norm", "norm", "norm", 3, -1},
    {"blk.3.attn_k_norm.weight", "attn_k_norm", "norm", "norm", 3, -1},
    {"blk.3.ffn_norm.weight", "ffn_norm", "norm", "norm", 3, -1},
    {"blk.3.ffn_gate.weight", "ffn_gate", "gate_proj", "organ", 3, -1},
    {"blk.3.ffn_up.weight", "ffn_up", "up_proj", "organ", 3, -1},
    {"blk.3.ffn_down.weight", "ffn_down", "down_proj", "organ", 3, -1},
    {"blk.3.ffn_down.bias", "ffn_down.bias", "bias", "organ", 3, -1},
    {"blk.3.post_attention_norm.weight", "post_attention_norm", "norm", "norm", 3, -1},
    {"blk.3.post_ffw_norm.weight", "post_ffw_norm", "norm", "norm", 3, -1},
    {"blk.3.attn_norm_2.weight", "attn_norm_2", "norm", "norm", 3, -1},
    {"blk.3.attn_norm.bias", "attn_norm.bias", "norm", "norm", 3, -1},
    /* GGUF: Mixtral in one file per expert and stacked, Qwen-MoE */
    {"blk.3.ffn_gate.7.weight", "ffn_gate", "experts.gate_proj", "organ", 3, 7},
    {"blk.3.ffn_down.0.weight", "ffn_down", "experts.down_proj", "organ", 3, 0},
    {"blk.3.ffn_gate_inp.weight", "ffn_gate_inp", "router", "organ", 3, -1},
    {"blk.3.ffn_gate_inp_shexp.weight", "ffn_gate_inp_shexp", "router", "organ", 3, -1},
    {"blk.3.ffn_gate_exps.weight", "ffn_gate_exps", "experts.gate_proj", "organ", 3, -1},
    {"blk.3.ffn_up_exps.weight", "ffn_up_exps", "experts.up_proj", "organ", 3, -1},
    {"blk.3.ffn_down_exps.weight", "ffn_down_exps", "experts.down_proj", "organ", 3, -1},
    {"blk.3.ffn_gate_up_exps.weight", "ffn_gate_up_exps", "experts.gate_up_proj", "organ", 3, -1},
    /* GGUF: DeepSeek2, Kimi */
    {"blk.60.attn_q_a.weight", "attn_q_a", "q_a_proj", "skeleton", 60, -1},
    {"blk.60.attn_q_b.weight", "attn_q_b", "q_b_proj", "skeleton", 60, -1},
    {"blk.60.attn_kv_a_mqa.weight", "attn_kv_a_mqa", "kv_a_proj", "skeleton", 60, -1},
    {"blk.60.attn_kv_b.weight", "attn_kv_b", "kv_b_proj", "skeleton", 60, -1},
    {"blk.60.attn_k_b.weight", "attn_k_b", "k_b_proj", "skeleton", 60, -1},
    {"blk.60.attn_v_b.weight", "attn_v_b", "v_b_proj", "skeleton", 60, -1},
    {"blk.60.attn_q_a_norm.weight", "attn_q_a_norm", "norm", "norm", 60, -1},
    {"blk.60.attn_kv_a_norm.weight", "attn_kv_a_norm", "norm", "norm", 60, -1},
    {"blk.60.exp_probs_b.bias", "exp_probs_b.bias", "bias", "organ", 60, -1},
    {"blk.60.ffn_gate_shexp.weight", "ffn_gate_shexp", "shared_experts.gate_proj", "organ", 60, -1},
    {"blk.60.ffn_up_shexp.weight", "ffn_up_shexp", "shared_experts.up_proj", "organ", 60, -1},
    {"blk.60.ffn_down_shexp.weight", "ffn_down_shexp", "shared_experts.down_proj", "organ", 60, -1},
    {"blk.61.nextn.eh_proj.weight", "nextn.eh_proj", "mtp", "other", 61, -1},
    {"blk.61.nextn.embed_tokens.weight", "nextn.embed_tokens", "embed", "embed", 61, -1},
    {"blk.61.nextn.shared_head_head.weight", "nextn.shared_head_head", "lm_head", "embed", 61, -1},
    {"blk.61.nextn.shared_head_norm.weight", "nextn.shared_head_norm", "norm", "norm", 61, -1},
    /* GGUF: gpt-oss; vision towers and unknown names */
    {"blk.3.attn_sinks.weight", "attn_sinks", "attention", "skeleton", 3, -1},
    {"blk.3.ffn_gate_exps.bias", "ffn_gate_exps.bias", "experts.bias", "organ", 3, -1},
    {"blk.3.ffn_gate_inp.bias", "ffn_gate_inp.bias", "bias", "organ", 3, -1},
    /* GGUF: recurrent layers, sparse attention, per-layer embeddings, residual streams */
    {"blk.3.ssm_in.weight", "ssm_in", "in_proj", "skeleton", 3, -1},
    {"blk.3.ssm_out.weight", "ssm_out", "out_proj", "skeleton", 3, -1},
    {"blk.3.ssm_x.weight", "ssm_x", "x_proj", "skeleton", 3, -1},
    {"blk.3.ssm_dt.weight", "ssm_dt", "dt_proj", "skeleton", 3, -1},
    {"blk.3.ssm_dt.bias", "ssm_dt.bias", "bias", "skeleton", 3, -1},
    {"blk.3.ssm_a", "ssm_a", "state", "skeleton", 3, -1},
    {"blk.3.ssm_d", "ssm_d", "state", "skeleton", 3, -1},
    {"blk.3.ssm_norm.weight", "ssm_norm", "norm", "norm", 3, -1},
    {"blk.3.ssm_alpha.weight", "ssm_alpha", "state_gate", "skeleton", 3, -1},
    {"blk.3.ssm_ba.weight", "ssm_ba", "state_gate", "skeleton", 3, -1},
    {"blk.3.ssm_conv1d_q.weight", "ssm_conv1d_q", "conv1d", "skeleton", 3, -1},
    {"blk.3.attn_gate.weight", "attn_gate", "attn_gate", "skeleton", 3, -1},
    {"blk.3.shortconv.in_proj.weight", "shortconv.in_proj", "in_proj", "skeleton", 3, -1},
    {"blk.3.shortconv.conv.weight", "shortconv.conv", "conv1d", "skeleton", 3, -1},
    {"blk.3.indexer.attn_q_b.weight", "indexer.attn_q_b", "indexer", "skeleton", 3, -1},
    {"blk.3.indexer.k_norm.weight", "indexer.k_norm", "norm", "norm", 3, -1},
    {"blk.3.indexer.proj.weight", "indexer.proj", "attention", "skeleton", 3, -1},
    {"blk.3.inp_gate.weight", "inp_gate", "per_layer_proj", "organ", 3, -1},
    {"blk.3.proj.weight", "proj", "per_layer_proj", "organ", 3, -1},
    {"per_layer_model_proj.weight", "per_layer_model_proj", "per_layer_proj", "organ", -1, -1},
    {"blk.3.layer_output_scale.weight", "layer_output_scale", "scale", "other", 3, -1},
    {"blk.3.laurel_l.weight", "laurel_l", "low_rank", "organ", 3, -1},
    {"blk.3.altup_correct_coef.weight", "altup_correct_coef", "streams", "other", 3, -1},
    {"altup_proj.weight", "altup_proj", "stream_proj", "organ", -1, -1},
    {"blk.3.ffn_latent_down.weight", "ffn_latent_down", "latent_proj", "organ", 3, -1},
    {"position_embd.weight", "position_embd", "position_embed", "embed", -1, -1},
    /* stored transposed, several copies in a layer, experts in one 2-D tensor */
    {"transformer.h.3.attn.c_attn.weight", "attn.c_attn", "qkv_proj", "skeleton", 3, -1},
    {"model.layers.3.self_attn.1.kv_b_proj.weight", "self_attn.1.kv_b_proj", "kv_b_proj", "skeleton", 3, -1},
    {"model.layers.3.self_attn.q_layernorm.norms.2.weight", "self_attn.q_layernorm.norms.2", "norm", "norm", 3, -1},
    {"transformer.blocks.3.ffn.experts.mlp.v1", "ffn.experts.mlp.v1", "experts.up_proj", "organ", 3, -1},
    {"transformer.blocks.3.norm_attn_norm.attn.Wqkv.weight", "norm_attn_norm.attn.Wqkv", "qkv_proj", "skeleton", 3, -1},
    {"model.layers.3.self_attn.indexer.wk.weight", "self_attn.indexer.wk", "indexer", "skeleton", 3, -1},
    {"mm.input_projection.weight", "mm.input_projection", "vision", "other", -1, -1},
    {"a.blk.3.attn_q.weight", "a.blk.3.attn_q", "audio", "other", -1, -1},
    {"v.blk.3.attn_q.weight", "v.blk.3.attn_q", "vision", "other", -1, -1},
    {"blk.3.ssm_conv1d.weight", "ssm_conv1d", "conv1d", "skeleton", 3, -1},
    {"blk.99999999999.attn_q.weight", "attn_q", "q_proj", "skeleton", -1, -1},
    /* all experts in one tensor: gpt-oss, Llama 4, Granite */
    {"model.layers.3.mlp.experts.gate_up_proj", "mlp.experts.gate_up_proj", "experts.gate_up_proj", "organ", 3, -1},
    {"model.layers.3.mlp.experts.down_proj", "mlp.experts.down_proj", "experts.down_proj", "organ", 3, -1},
    {"model.layers.3.mlp.experts.gate_up_proj_bias", "mlp.experts.gate_up_proj_bias", "experts.bias", "organ", 3, -1},
    {"model.layers.3.mlp.experts.gate_up_proj_blocks", "mlp.experts.gate_up_proj_blocks", "experts.gate_up_proj",
     "organ", 3, -1},
    {"model.layers.3.mlp.experts.gate_up_proj_scales", "mlp.experts.gate_up_proj_scales", "experts.companion", "organ",
     3, -1},
    {"model.layers.3.mlp.router.weight", "mlp.router", "router", "organ", 3, -1},
    {"model.layers.3.mlp.router.bias", "mlp.router.bias", "bias", "organ", 3, -1},
    {"model.layers.3.self_attn.sinks", "self_attn.sinks", "attention", "skeleton", 3, -1},
    {"language_model.model.layers.3.feed_forward.experts.gate_up_proj", "feed_forward.experts.gate_up_proj",
     "experts.gate_up_proj", "organ", 3, -1},
    {"language_model.model.layers.3.feed_forward.shared_expert.down_proj.weight",
     "feed_forward.shared_expert.down_proj", "shared_experts.down_proj", "organ", 3, -1},
    {"language_model.model.layers.3.feed_forward.router.weight", "feed_forward.router", "router", "organ", 3, -1},
    {"model.layers.3.block_sparse_moe.input_linear.weight", "block_sparse_moe.input_linear", "experts.gate_up_proj",
     "organ", 3, -1},
    {"model.layers.3.block_sparse_moe.output_linear.weight", "block_sparse_moe.output_linear", "experts.down_proj",
     "organ", 3, -1},
    {"model.layers.3.block_sparse_moe.router.layer.weight", "block_sparse_moe.router.layer", "router", "organ", 3, -1},
    {"model.layers.3.shared_mlp.input_linear.weight", "shared_mlp.input_linear", "shared_experts.gate_up_proj", "organ",
     3, -1},
    /* a language model inside a multimodal one, and its other parts */
    {"model.language_model.layers.3.self_attn.q_proj.weight", "self_attn.q_proj", "q_proj", "skeleton", 3, -1},
    {"language_model.lm_head.weight", "language_model.lm_head", "lm_head", "embed", -1, -1},
    {"thinker.model.layers.3.mlp.up_proj.weight", "mlp.up_proj", "up_proj", "organ", 3, -1},
    {"model.visual.blocks.3.attn.qkv.weight", "model.visual.blocks.3.attn.qkv", "vision", "other", -1, -1},
    {"visual.blocks.3.mlp.gate_proj.weight", "visual.blocks.3.mlp.gate_proj", "vision", "other", -1, -1},
    {"vision_tower.vision_model.encoder.layers.3.self_attn.q_proj.weight",
     "vision_tower.vision_model.encoder.layers.3.self_attn.q_proj", "vision", "other", -1, -1},
    {"audio_tower.layers.3.self_attn.q_proj.bias", "audio_tower.layers.3.self_attn.q_proj.bias", "audio", "other", -1,
     -1},
    {"model.vision_tower.norm.weight", "model.vision_tower.norm", "vision", "other", -1, -1},
    {"mtp.layers.0.mlp.up_proj.weight", "mtp.layers.0.mlp.up_proj", "mtp", "other", -1, -1},
    {"model.mtp_layers.0.input_proj.weight", "model.mtp_layers.0.input_proj", "mtp", "other", -1, -1},
    {"model.mtp_linear_proj.0.weight", "model.mtp_linear_proj.0", "mtp", "other", -1, -1},
    {"model.mtp_other.0.weight", "model.mtp_other.0", "other", "other", -1, -1},
    {"multi_modal_projector.linear_1.weight", "multi_modal_projector.linear_1", "vision", "other", -1, -1},
    /* companions of quantised weights, adapters, attention gates, other mixers */
    {"model.layers.3.self_attn.q_proj.weight_scale_inv", "self_attn.q_proj.weight_scale_inv", "companion", "skeleton",
     3, -1},
    {"model.layers.3.self_attn.q_proj.input_scale", "self_attn.q_proj.input_scale", "companion", "skeleton", 3, -1},
    {"model.layers.3.self_attn.q_proj.qweight", "self_attn.q_proj.qweight", "q_proj", "skeleton", 3, -1},
    {"model.layers.3.self_attn.q_proj._weight_qdata", "self_attn.q_proj._weight_qdata", "q_proj", "skeleton", 3, -1},
    {"model.layers.3.self_attn.q_proj._weight_scale", "self_attn.q_proj._weight_scale", "companion", "skeleton", 3, -1},
    {"model.layers.3.self_attn.q_proj.SCB", "self_attn.q_proj.SCB", "companion", "skeleton", 3, -1},
    {"model.layers.3.self_attn.q_proj.weight.absmax", "self_attn.q_proj.weight.absmax", "companion", "skeleton", 3, -1},
    {"model.layers.3.self_attn.q_proj.weight.quant_state.bitsandbytes__nf4",
     "self_attn.q_proj.weight.quant_state.bitsandbytes__nf4", "companion", "skeleton", 3, -1},
    {"model.layers.3.self_attn.q_proj.qzeros", "self_attn.q_proj.qzeros", "companion", "skeleton", 3, -1},
    {"model.layers.3.self_attn.q_proj.g_idx", "self_attn.q_proj.g_idx", "companion", "skeleton", 3, -1},
    {"model.layers.3.mlp.down_proj.scales", "mlp.down_proj.scales", "companion", "organ", 3, -1},
    {"model.layers.3.mlp.down_proj.biases", "mlp.down_proj.biases", "companion", "organ", 3, -1},
    {"model.layers.3.mlp.experts.7.up_proj.weight_packed", "mlp.experts.up_proj.weight_packed", "experts.up_proj",
     "organ", 3, 7},
    {"model.layers.3.mlp.experts.7.up_proj.weight_shape", "mlp.experts.up_proj.weight_shape", "experts.companion",
     "organ", 3, 7},
    {"model.layers.3.mlp.shared_experts.up_proj.weight_scale", "mlp.shared_experts.up_proj.weight_scale",
     "shared_experts.companion", "organ", 3, -1},
    {"blk.3.attn_q.scale", "attn_q.scale", "companion", "skeleton", 3, -1},
    {"lm_head.weight_packed", "lm_head.weight_packed", "lm_head", "embed", -1, -1},
    {"model.embed_tokens.scales", "model.embed_tokens.scales", "companion", "embed", -1, -1},
    {"model.layers.3.self_attn.k_scale", "self_attn.k_scale", "other", "other", 3, -1},
    {"model.layers.3.input_layernorm.scale", "input_layernorm.scale", "other", "other", 3, -1},
    {"model.layers.3.mlp.router.scale", "mlp.router.scale", "router", "organ", 3, -1},
    {"model.visual.blocks.3.attn.qkv.weight_scale", "model.visual.blocks.3.attn.qkv.weight_scale", "vision", "other",
     -1, -1},
    {"model.layers.3.self_attn.q_proj.lora_A.weight", "self_attn.q_proj.lora_A", "other", "other", 3, -1},
    {"model.layers.3.self_attn.gate_proj.weight", "self_attn.gate_proj", "attn_gate", "skeleton", 3, -1},
    {"model.layers.3.linear_attn.in_proj_qkvz.weight", "linear_attn.in_proj_qkvz", "in_proj", "skeleton", 3, -1},
    {"model.layers.3.cross_attn.q_proj.weight", "cross_attn.q_proj", "q_proj", "skeleton", 3, -1},
    /* GPT-NeoX, OPT; BERT has layers but no roles */
    {"gpt_neox.layers.3.attention.query_key_value.weight", "attention.query_key_value", "qkv_proj", "skeleton", 3, -1},
    {"gpt_neox.layers.3.input_layernorm.bias", "input_layernorm.bias", "norm", "norm", 3, -1},
    {"gpt_neox.embed_in.weight", "gpt_neox.embed_in", "embed", "embed", -1, -1},
    {"model.decoder.layers.11.self_attn.q_proj.weight", "self_attn.q_proj", "q_proj", "skeleton", 11, -1},
    {"decoder.layers.0.fc1.weight", "fc1", "up_proj", "organ", 0, -1},
    {"model.decoder.embed_positions.weight", "model.decoder.embed_positions", "position_embed", "embed", -1, -1},
    {"bert.encoder.layer.3.attention.self.query.weight", "attention.self.query", "other", "other", 3, -1},
    {"encoder.layer.3.output.dense.weight", "output.dense", "other", "other", 3, -1},
    {"distilbert.transformer.layer.3.ffn.lin1.weight", "ffn.lin1", "other", "other", 3, -1},
    {"bert.encoder.layer.x.output.dense.weight", "bert.encoder.layer.x.output.dense", "other", "other", -1, -1},
    {"bert.encoder.layer.3", "bert.encoder.layer.3", "other", "other", -1, -1},
    {"qformer.bert.encoder.layer.3.output.dense.weight", "qformer.bert.encoder.layer.3.output.dense", "other", "other",
     -1, -1},
    {"model.encoder.layers.3.fc1.weight", "model.encoder.layers.3.fc1", "other", "other", -1, -1},
    /* invalid names */
    {"", "", "other", "other", -1, -1},
    {".", ".", "other", "other", -1, -1},
    {".weight", ".weight", "other", "other", -1, -1},
    {"weight", "weight", "other", "other", -1, -1},
    {"model.layers", "model.layers", "other", "other", -1, -1},
    {"model.layers.", "model.layers.", "other", "other", -1, -1},
    {"model.layers.3", "model.layers.3", "other", "other", -1, -1},
    {"model.layers.3.", "", "other", "other", 3, -1},
    {"model.layers.3.weight", "model.layers.3", "other", "other", -1, -1},
    {"model.layers.x.mlp.up_proj.weight", "model.layers.x.mlp.up_proj", "other", "other", -1, -1},
    {"model.layers.-1.mlp.up_proj.weight", "model.layers.-1.mlp.up_proj", "other", "other", -1, -1},
    {"model.layers.2147483647.mlp.up_proj.weight", "mlp.up_proj", "up_proj", "organ", 2147483647, -1},
    {"model.layers.2147483648.mlp.up_proj.weight", "mlp.up_proj", "up_proj", "organ", -1, -1},
    {"model.layers.99999999999999999999999.mlp.up_proj.weight", "mlp.up_proj", "up_proj", "organ", -1, -1},
    {"model.layers.3.mlp.experts.4294967296.up_proj.weight", "mlp.experts.up_proj", "experts.up_proj", "organ", 3, -1},
    {"model.layers.3.mlp.experts.", "mlp.experts.", "other", "other", 3, -1},
    {"model.layers.3.mlp.experts.5", "mlp.experts.5", "other", "other", 3, -1},
    {"model.layers.3.xself_attn.q_proj.weight", "xself_attn.q_proj", "other", "other", 3, -1},
    {"../../etc/passwd", "../../etc/passwd", "other", "other", -1, -1},
};

START_TEST(name_is_understood)
{
    const struct named *row = &names[_i];
    const organ_anatomy a = organ_anatomy_of(row->name);
    const char *const role = organ_anatomy_role_name(&a);
    char module[256];
    organ_anatomy_module(row->name, module, sizeof module);
    ck_assert_str_eq(module, row->module);
    ck_assert_msg(strcmp(role, row->role) == 0, "%s: %s", row->name, role);
    ck_assert_uint_eq(organ_anatomy_row_named(role), organ_anatomy_row(&a));
    ck_assert_int_eq(organ_anatomy_row_role(organ_anatomy_row(&a)), a.role);
    ck_assert_msg(strcmp(organ_group_name(a.group), row->group) == 0, "%s: %s", row->name, organ_group_name(a.group));
    ck_assert_msg(a.layer == row->layer && a.expert == row->expert, "%s: layer %d expert %d", row->name, a.layer,
                  a.expert);
}
END_TEST

/* By default only the projections of attention and feed-forward are targets. */
START_TEST(projections)
{
    static const char *const expected[] = {
        "q_proj",    "k_proj",      "v_proj",         "qkv_proj", "kv_proj",    "o_proj",    "q_a_proj",
        "q_b_proj",  "kv_a_proj",   "kv_b_proj",      "k_b_proj", "v_b_proj",   "attn_gate", "indexer",
        "in_proj",   "x_proj",      "dt_proj",        "out_proj", "gate_proj",  "up_proj",   "gate_up_proj",
        "down_proj", "latent_proj", "per_layer_proj", "low_rank", "stream_proj"};
    size_t count = 0;
    for (int role = 0; role < ORGAN_ROLE_COUNT; role++) {
        const organ_role_info *info = organ_role_describe((organ_role)role);
        ck_assert_ptr_nonnull(info->name);
        if (!info->projection)
            continue;
        ck_assert_uint_lt(count, COUNT(expected));
        ck_assert_str_eq(info->name, expected[count]);
        ck_assert(info->group == ORGAN_GROUP_SKELETON || info->group == ORGAN_GROUP_ORGAN);
        count++;
    }
    ck_assert_uint_eq(count, COUNT(expected));
}
END_TEST

START_TEST(module_is_cut)
{
    static const char name[] = "model.layers.3.mlp.experts.7.down_proj.weight", whole[] = "mlp.experts.down_proj";
    for (size_t size = 0; size <= sizeof whole + 2; size++) {
        char out[64];
        memset(out, '#', sizeof out);
        organ_anatomy_module(name, out, size);
        ck_assert_int_eq(out[size], '#');
        if (size > 0) {
            ck_assert_uint_eq(strlen(out), size - 1 < sizeof whole - 1 ? size - 1 : sizeof whole - 1);
            ck_assert_int_eq(strncmp(out, whole, strlen(out)), 0);
        }
    }
}
END_TEST

/* Names may have any length. */
START_TEST(long_names)
{
    static char name[100000];
    memset(name, 'x', sizeof name - 1);
    ck_assert_int_eq(organ_anatomy_of(name).role, ORGAN_ROLE_OTHER);
    memcpy(name, "model.layers.3.", 15);
    strcpy(name + sizeof name - 1 - 24, ".self_attn.q_proj.weight");
    ck_assert_int_eq(organ_anatomy_of(name).role, ORGAN_ROLE_OTHER);
    ck_assert_int_eq(organ_anatomy_of(name).layer, 3);
}
END_TEST

/* For each architecture that transformers builds: every tensor has a role, and at least 95 percent of the values in
 * linear layers belong to projections. fixtures/make_arch.py writes the table. */
#define NAME_LIMIT 256
static const char names_file[] = "fixtures/architectures/tensor_names.tsv";

typedef struct known_tensor {
    char model_type[NAME_LIMIT], name[NAME_LIMIT], shape[NAME_LIMIT], role[NAME_LIMIT];
    int linear;
} known_tensor;

static bool read_known(FILE *file, known_tensor *row)
{
    char line[4 * NAME_LIMIT];
    do
        if (!fgets(line, sizeof line, file))
            return false;
    while (line[0] == '#');
    ck_assert_int_eq(sscanf(line, "%255[^\t]\t%255[^\t]\t%255[^\t]\t%d\t%255[^\n]", row->model_type, row->name,
                            row->shape, &row->linear, row->role),
                     5);
    return true;
}

static double known_elements(const char *shape)
{
    double elements = 1;
    for (const char *at = shape; *at; at += strspn(at, "x")) {
        char *end;
        elements *= strtod(at, &end);
        at = end;
    }
    return elements;
}

/* Returns whether the role of a tensor may be "other": the names of JetMoE's block biases do not identify them. */
static bool may_be_other(const char *name)
{
    return strstr(name, ".mlp.bias") || strstr(name, ".self_attention.experts.bias");
}

static void check_share(const char *model_type, double linear, double targets)
{
    ck_assert_msg(linear > 0, "%s: no linear layer", model_type);
    ck_assert_msg(targets >= 0.95 * linear, "%s: %.1f percent of its linear layers are projections", model_type,
                  100 * targets / linear);
}

START_TEST(architectures)
{
    FILE *const file = fopen(names_file, "r");
    known_tensor row;
    char model_type[NAME_LIMIT] = "";
    double linear = 0, targets = 0;
    size_t count = 0;
    ck_assert_msg(file != NULL, "%s cannot be opened", names_file);
    while (read_known(file, &row)) {
        const organ_anatomy a = organ_anatomy_of(row.name);
        ck_assert_msg(strcmp(organ_anatomy_role_name(&a), row.role) == 0, "%s: %s is %s", row.model_type, row.name,
                      organ_anatomy_role_name(&a));
        ck_assert_msg(a.role != ORGAN_ROLE_OTHER || may_be_other(row.name), "%s: %s has no role", row.model_type,
                      row.name);
        if (strcmp(model_type, row.model_type) != 0) {
            if (count++ > 0)
                check_share(model_type, linear, targets);
            strcpy(model_type, row.model_type);
            linear = targets = 0;
        }
        linear += row.linear * known_elements(row.shape);
        targets += row.linear * organ_role_describe(a.role)->projection * known_elements(row.shape);
    }
    check_share(model_type, linear, targets);
    ck_assert_uint_ge(count, 80);
    fclose(file);
}
END_TEST

Suite *anatomy_suite(void)
{
    Suite *suite = suite_create("anatomy");
    TCase *table = tcase_create("names");
    tcase_add_loop_test(table, name_is_understood, 0, COUNT(names));
    tcase_add_test(table, projections);
    tcase_add_test(table, module_is_cut);
    tcase_add_test(table, long_names);
    tcase_add_test(table, architectures);
    suite_add_tcase(suite, table);
    return suite;
}
