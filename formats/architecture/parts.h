/* SPDX-License-Identifier: MIT
 * Parts of a model: the purposes of its tensors, and the names that most architectures give them. */
#ifndef ORGAN_ARCHITECTURE_PARTS_H
#define ORGAN_ARCHITECTURE_PARTS_H

/* A part: the purpose of a tensor in a layer or in the model. A row is PART(name, names of the tensor): most
 * architectures use these names, in safetensors after "model.layers.N.", and in GGUF files after "blk.N."; for parts
 * outside of the layers the whole name, in safetensors after the prefix of the text model. NULL: no usual name.
 * The order matters: some functions compute a part as another one plus a constant. */
/* clang-format off */
#define FORWARD_PARTS(PART) \
    PART(NORM_ATTENTION, "input_layernorm.weight", "attn_norm.weight") /* norm before the attention or other mixer */ \
    /* norm of the attention's output */ \
    PART(NORM_POST_ATTENTION, "post_attention_layernorm.weight", "post_attention_norm.weight") \
    PART(NORM_FFN, "post_attention_layernorm.weight", "ffn_norm.weight") /* norm before the feed-forward */ \
    /* norm of the feed-forward's output */ \
    PART(NORM_POST_FFN, "post_feedforward_layernorm.weight", "post_ffw_norm.weight") \
    PART(NORM_Q, "self_attn.q_norm.weight", "attn_q_norm.weight") \
    PART(NORM_K, "self_attn.k_norm.weight", "attn_k_norm.weight") \
    /* norm of the latent vector of q; from here to BIAS_KV_A: latent attention */ \
    PART(NORM_Q_A, "self_attn.q_a_layernorm.weight", "attn_q_a_norm.weight") \
    PART(NORM_KV_A, "self_attn.kv_a_layernorm.weight", "attn_kv_a_norm.weight") \
    PART(Q_A, "self_attn.q_a_proj.weight", "attn_q_a.weight") \
    PART(Q_B, "self_attn.q_b_proj.weight", "attn_q_b.weight") \
    PART(KV_A, "self_attn.kv_a_proj_with_mqa.weight", "attn_kv_a_mqa.weight") \
    PART(KV_B, "self_attn.kv_b_proj.weight", "attn_kv_b.weight") \
    /* GGUF: stacks of a matrix for each head, the rows of kv_b_proj for keys (transposed) and for values */ \
    PART(K_B, NULL, "attn_k_b.weight") \
    PART(V_B, NULL, "attn_v_b.weight") \
    PART(BIAS_Q_A, "self_attn.q_a_proj.bias", "attn_q_a.bias") \
    PART(BIAS_KV_A, "self_attn.kv_a_proj_with_mqa.bias", "attn_kv_a_mqa.bias") \
    PART(Q, "self_attn.q_proj.weight", "attn_q.weight") \
    PART(K, "self_attn.k_proj.weight", "attn_k.weight") \
    PART(V, "self_attn.v_proj.weight", "attn_v.weight") \
    PART(O, "self_attn.o_proj.weight", "attn_output.weight") \
    PART(GATE, "mlp.gate_proj.weight", "ffn_gate.weight") \
    PART(UP, "mlp.up_proj.weight", "ffn_up.weight") \
    PART(DOWN, "mlp.down_proj.weight", "ffn_down.weight") \
    PART(BIAS_Q, "self_attn.q_proj.bias", "attn_q.bias") \
    PART(BIAS_K, "self_attn.k_proj.bias", "attn_k.bias") \
    PART(BIAS_V, "self_attn.v_proj.bias", "attn_v.bias") \
    PART(BIAS_O, "self_attn.o_proj.bias", "attn_output.bias") \
    PART(BIAS_GATE, "mlp.gate_proj.bias", "ffn_gate.bias") \
    PART(BIAS_UP, "mlp.up_proj.bias", "ffn_up.bias") \
    PART(BIAS_DOWN, "mlp.down_proj.bias", "ffn_down.bias") \
    PART(ROUTER, "mlp.gate.weight", "ffn_gate_inp.weight") \
    /* the correction, which only the choice of experts adds */ \
    PART(ROUTER_BIAS, "mlp.gate.e_score_correction_bias", "exp_probs_b.bias") \
    PART(BIAS_ROUTER, "mlp.router.bias", "ffn_gate_inp.bias") /* the bias of the router's linear layer */ \
    PART(SINKS, "self_attn.sinks", "attn_sinks.weight") /* attention sinks: a score for each head */ \
    PART(HEAD_GATE, "self_attn.gate_proj.weight", "attn_gate.weight") /* gate of the attention's output */ \
    /* the gate of the shared expert: one row */ \
    PART(SHARED, "mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight") \
    /* the shared expert, in the order of PART_GATE, PART_UP, PART_DOWN */ \
    PART(SHARED_GATE, "mlp.shared_expert.gate_proj.weight", "ffn_gate_shexp.weight") \
    PART(SHARED_UP, "mlp.shared_expert.up_proj.weight", "ffn_up_shexp.weight") \
    PART(SHARED_DOWN, "mlp.shared_expert.down_proj.weight", "ffn_down_shexp.weight") \
    PART(BIAS_SHARED_GATE, NULL, NULL) /* biases of PART_SHARED_GATE, _UP, _DOWN */ \
    PART(BIAS_SHARED_UP, NULL, NULL) \
    PART(BIAS_SHARED_DOWN, NULL, NULL) \
    /* projections of hidden states to the inputs of routed experts, and of their outputs back (expert_latent) */ \
    PART(LATENT_IN, NULL, NULL) \
    PART(LATENT_OUT, NULL, NULL) \
    PART(BIAS_LATENT_IN, NULL, NULL) \
    PART(BIAS_LATENT_OUT, NULL, NULL) \
    /* biases of the six norms from PART_NORM_ATTENTION to PART_NORM_K, in their order */ \
    PART(BIAS_NORM_ATTENTION, NULL, NULL) \
    PART(BIAS_NORM_POST_ATTENTION, NULL, NULL) \
    PART(BIAS_NORM_FFN, NULL, NULL) \
    PART(BIAS_NORM_POST_FFN, NULL, NULL) \
    PART(BIAS_NORM_Q, NULL, NULL) \
    PART(BIAS_NORM_K, NULL, NULL) \
    /* one number, which multiplies the layer's output */ \
    PART(LAYER_SCALE, "layer_scalar", "layer_output_scale.weight") \
    /* dual_ffn: norm of the dense feed-forward's output */ \
    PART(NORM_POST_FFN_DENSE, "post_feedforward_layernorm_1.weight", "post_ffw_norm_1.weight") \
    /* dual_ffn: norm before the experts */ \
    PART(NORM_EXPERTS, "pre_feedforward_layernorm_2.weight", "pre_ffw_norm_2.weight") \
    /* dual_ffn: norm of the experts' output */ \
    PART(NORM_POST_FFN_EXPERTS, "post_feedforward_layernorm_2.weight", "post_ffw_norm_2.weight") \
    PART(ROUTER_SCALE, "router.scale", "ffn_gate_inp.scale") /* multiplies the router's input */ \
    PART(EXPERT_SCALE, "router.per_expert_scale", "ffn_down_exps.scale") /* multiplies the factor of each expert */ \
    /* per-layer embeddings: projection of the hidden state, whose result gates them */ \
    PART(PER_LAYER_GATE, "per_layer_input_gate.weight", "inp_gate.weight") \
    /* projection of gated per-layer embeddings to the hidden state */ \
    PART(PER_LAYER_OUT, "per_layer_projection.weight", "proj.weight") \
    /* norm of the result of PART_PER_LAYER_OUT */ \
    PART(NORM_PER_LAYER, "post_per_layer_input_norm.weight", "post_norm.weight") \
    PART(LAUREL_LEFT, "laurel.linear_left.weight", "laurel_l.weight") \
    PART(LAUREL_RIGHT, "laurel.linear_right.weight", "laurel_r.weight") \
    PART(NORM_LAUREL, "laurel.post_laurel_norm.weight", "laurel_post_norm.weight") \
    /* AltUp: before the router of streams */ \
    PART(NORM_STREAMS, "altup.router_norm.weight", "altup_router_norm.weight") \
    PART(STREAMS_ROUTER, "altup.modality_router.weight", "altup_router.weight") \
    /* AltUp: coefficients that predict the streams before the layer */ \
    PART(STREAMS_PREDICT, "altup.prediction_coefs.weight", "altup_predict_coef.weight") \
    /* AltUp: coefficients that correct them after the layer */ \
    PART(STREAMS_CORRECT, "altup.correction_coefs.weight", "altup_correct_coef.weight") \
    PART(STREAMS_SCALE, "altup.correct_output_scale", "altup_correct_scale.weight") /* AltUp: altup_correct_scale */ \
    PART(XIELU_P, "mlp.act_fn.alpha_p", NULL) /* alpha_p of xIELU; alpha_n, beta and eps follow */ \
    PART(XIELU_N, "mlp.act_fn.alpha_n", NULL) \
    PART(XIELU_BETA, "mlp.act_fn.beta", NULL) \
    PART(XIELU_EPS, "mlp.act_fn.eps", NULL) \
    /* norm before the output projection of the attention; PART_NORM_INNER: before that of a dense feed-forward */ \
    PART(NORM_GIVEN, "self_attn.attn_sub_norm.weight", NULL) \
    PART(NORM_INNER, "mlp.ffn_sub_norm.weight", NULL) \
    /* the indexer of sparse attention: projections of queries and keys, norm of keys, weights of heads */ \
    PART(INDEX_Q, "self_attn.indexer.wq_b.weight", "indexer.attn_q_b.weight") \
    PART(INDEX_K, "self_attn.indexer.wk.weight", "indexer.attn_k.weight") \
    PART(NORM_INDEX, "self_attn.indexer.k_norm.weight", "indexer.k_norm.weight") \
    PART(NORM_INDEX_Q, NULL, NULL) /* norm of the queries of an indexer that chooses blocks */ \
    PART(BIAS_NORM_INDEX, "self_attn.indexer.k_norm.bias", "indexer.k_norm.bias") \
    PART(INDEX_WEIGHTS, "self_attn.indexer.weights_proj.weight", "indexer.proj.weight") \
    /* compressed attention: first matrix of the output projection; projections of the tokens' vectors \
       and of their weights, biases of weights by position, norm; then the indexer's parts beside INDEX_K */ \
    PART(O_A, NULL, NULL) \
    PART(COMPRESS_KV, NULL, NULL) \
    PART(COMPRESS_GATE, NULL, NULL) \
    PART(COMPRESS_BIAS, NULL, NULL) \
    PART(NORM_COMPRESS, NULL, NULL) \
    PART(INDEX_GATE, NULL, NULL) \
    PART(INDEX_BIAS, NULL, NULL) \
    /* recurrent mixers: the projection of q, k and v, or all projections in one tensor */ \
    PART(MIX_IN, "linear_attn.in_proj_qkv.weight", "attn_qkv.weight") \
    PART(MIX_Q, "linear_attn.q_proj.weight", NULL) \
    PART(MIX_K, "linear_attn.k_proj.weight", NULL) \
    PART(MIX_V, "linear_attn.v_proj.weight", NULL) \
    PART(MIX_Z, "linear_attn.in_proj_z.weight", "attn_gate.weight") /* gate of the output */ \
    PART(MIX_BA, "linear_attn.in_proj_ba.weight", "ssm_ba.weight") /* write strength and decay in one tensor */ \
    PART(MIX_B, "linear_attn.in_proj_b.weight", "ssm_beta.weight") /* write strength and decay in a tensor each */ \
    PART(MIX_A, "linear_attn.in_proj_a.weight", "ssm_alpha.weight") \
    /* if Z and A are products of two matrices: the matrices that read the hidden state */ \
    PART(MIX_Z_LOW, "self_attn.g_a_proj.weight", "ssm_g_a.weight") \
    PART(MIX_A_LOW, "self_attn.f_a_proj.weight", "ssm_f_a.weight") \
    PART(MIX_OUT, "linear_attn.out_proj.weight", "ssm_out.weight") \
    /* kernels of the causal convolution, channels x width, of all channels */ \
    PART(CONV, "linear_attn.conv1d.weight", "ssm_conv1d.weight") \
    PART(CONV_Q, "linear_attn.q_conv1d.weight", "ssm_conv1d_q.weight") /* kernels of q, k and v in a tensor each */ \
    PART(CONV_K, "linear_attn.k_conv1d.weight", "ssm_conv1d_k.weight") \
    PART(CONV_V, "linear_attn.v_conv1d.weight", "ssm_conv1d_v.weight") \
    PART(BIAS_CONV, "mamba.conv1d.bias", "ssm_conv1d.bias") \
    PART(BIAS_MIX_IN, "mamba.in_proj.bias", "ssm_in.bias") \
    PART(BIAS_MIX_OUT, "mamba.out_proj.bias", "ssm_out.bias") \
    PART(SKIP, "mamba.D", "ssm_d") /* D of Mamba, the factor of x in the output */ \
    /* Mamba: the projection of x to the short vector, B and C; PART_MIX_STEP: of the short vector to time steps */ \
    PART(MIX_X, "mamba.x_proj.weight", "ssm_x.weight") \
    PART(MIX_STEP, "mamba.dt_proj.weight", "ssm_dt.weight") \
    /* Mamba: norms of the short vector, of B and of C */ \
    PART(NORM_STEP, "mamba.dt_layernorm.weight", "ssm_dt_norm.weight") \
    PART(NORM_STATE_B, "mamba.b_layernorm.weight", "ssm_b_norm.weight") \
    PART(NORM_STATE_C, "mamba.c_layernorm.weight", "ssm_c_norm.weight") \
    PART(A_LOG, "linear_attn.A_log", "ssm_a") \
    PART(DT_BIAS, "linear_attn.dt_bias", "ssm_dt.bias") \
    /* norm before the output projection of a recurrent mixer */ \
    PART(NORM_MIXED, "linear_attn.norm.weight", "ssm_norm.weight") \
    /* hyper-connections of the mixer: matrix, vector and factors of connections.c; then those of the feed-forward */ \
    PART(CONNECT_MIXER, NULL, "hc_attn_fn.weight") \
    PART(CONNECT_MIXER_BASE, NULL, "hc_attn_base.weight") \
    PART(CONNECT_MIXER_SCALE, NULL, "hc_attn_scale.weight") \
    PART(CONNECT_FEED, NULL, "hc_ffn_fn.weight") \
    PART(CONNECT_FEED_BASE, NULL, "hc_ffn_base.weight") \
    PART(CONNECT_FEED_SCALE, NULL, "hc_ffn_scale.weight") \
    /* Names of tensors that contain several parts; plans have no view of them. */ \
    /* q, k and v, one below the other; in safetensors only of families whose names list it */ \
    PART(QKV, NULL, "attn_qkv.weight") \
    PART(GATE_UP, NULL, NULL) /* gate and up, one below the other; only of families whose names list it */ \
    PART(SHARED_GATE_UP, NULL, NULL) /* gate and up of the shared expert */ \
    PART(ROUTER_TABLE, NULL, NULL) /* experts of each token of the vocabulary (organ_layer_kind.by_token) */ \
    /* stacks of all experts, experts x rows x columns */ \
    PART(EXPERTS_GATE_UP, "mlp.experts.gate_up_proj", "ffn_gate_up_exps.weight") \
    PART(EXPERTS_GATE, NULL, "ffn_gate_exps.weight") \
    PART(EXPERTS_UP, NULL, "ffn_up_exps.weight") \
    PART(EXPERTS_DOWN, "mlp.experts.down_proj", "ffn_down_exps.weight") \
    PART(EXPERTS_BIAS_GATE_UP, "mlp.experts.gate_up_proj_bias", NULL) /* biases of all experts, experts x rows */ \
    PART(EXPERTS_BIAS_GATE, NULL, "ffn_gate_exps.bias") \
    PART(EXPERTS_BIAS_UP, NULL, "ffn_up_exps.bias") \
    PART(EXPERTS_BIAS_DOWN, "mlp.experts.down_proj_bias", "ffn_down_exps.bias") \
    PART(EXPERT_GATE, "mlp.experts.#.gate_proj.weight", NULL) /* one expert; '#' in the name stands for its number */ \
    PART(EXPERT_UP, "mlp.experts.#.up_proj.weight", NULL) \
    PART(EXPERT_DOWN, "mlp.experts.#.down_proj.weight", NULL) \
    /* Parts outside of the layers. In safetensors the prefix of the text model precedes all names but the last. */ \
    PART(EMBEDDING, "embed_tokens.weight", "token_embd.weight") \
    PART(POSITIONS, "wpe.weight", "position_embd.weight") /* learned absolute positions */ \
    /* norm of the embeddings; also for its bias */ \
    PART(NORM_EMBEDDING, "word_embeddings_layernorm.weight", "token_embd_norm.weight") \
    /* per-layer embeddings of all layers: the table, the projection of embeddings, its norm */ \
    PART(PER_LAYER_TABLE, "embed_tokens_per_layer.weight", "per_layer_token_embd.weight") \
    PART(PER_LAYER_MODEL, "per_layer_model_projection.weight", "per_layer_model_proj.weight") \
    PART(NORM_PER_LAYER_MODEL, "per_layer_projection_norm.weight", "per_layer_proj_norm.weight") \
    PART(FINAL_NORM, "norm.weight", "output_norm.weight") \
    /* AltUp: a matrix for each stream after the first, before the first layer and after the last */ \
    PART(STREAMS_MAKE, "altup_projections.#.weight", "altup_proj.weight") \
    PART(STREAMS_END, "altup_unembed_projections.#.weight", "altup_unembd_proj.weight") \
    /* hyper-connections after the last layer */ \
    PART(CONNECT_END, NULL, "output_hc_fn.weight") \
    PART(CONNECT_END_BASE, NULL, "output_hc_base.weight") \
    PART(CONNECT_END_SCALE, NULL, "output_hc_scale.weight") \
    PART(OUTPUT, NULL, "output.weight") /* NULL: "lm_head.weight", or the name that organ_text_head finds */
/* clang-format on */
#define PART_NUMBER(name, hf, gguf) PART_##name,
typedef enum forward_part { FORWARD_PARTS(PART_NUMBER) PART_NAMES } forward_part;
enum { PART_COUNT = PART_QKV }; /* parts of which plans have views */

#endif
