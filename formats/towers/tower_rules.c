/* SPDX-License-Identifier: MIT
 * The families whose towers can be converted: names, changes of values, keys, and the settings that llama.cpp fixes.
 * Sources: transformers 5.24 (names of files that it saves and of published ones), tools/mtmd and conversion/ of
 * llama.cpp as vendored by llama-cpp-python 0.3.36. */
#include "formats/towers/towers.h"

/* Tables are laid out by hand. */
/* clang-format off */

#define U32  ORGAN_GGUF_U32
#define F32  ORGAN_GGUF_F32
#define BOOL ORGAN_GGUF_BOOL

/* ---- keys that all vision towers have ---- */

#define VISION_KEYS(width, feed, blocks, heads)                                                                        \
    {"has_vision_encoder", BOOL, TOWER_CONSTANT, NULL, "1", 0},                                                        \
    {"vision.projection_dim", U32, TOWER_TEXT, "hidden_size", NULL, 0},                                                \
    {"vision.patch_size", U32, TOWER_VISION, "patch_size", NULL, 0},                                                   \
    {"vision.embedding_length", U32, TOWER_VISION, width, NULL, 0},                                                    \
    {"vision.feed_forward_length", U32, TOWER_VISION, feed, NULL, 0},                                                  \
    {"vision.block_count", U32, TOWER_VISION, blocks, NULL, 0},                                                        \
    {"vision.attention.head_count", U32, TOWER_VISION, heads, NULL, 0},                                                \
    {"vision.image_mean", F32, TOWER_PROCESSOR, "image_mean", NULL, 0},                                                \
    {"vision.image_std", F32, TOWER_PROCESSOR, "image_std", NULL, 0}
#define EPSILON(member, otherwise) {"vision.attention.layer_norm_epsilon", F32, TOWER_VISION, member, otherwise, 0}
#define EPSILON_OF(value)          {"vision.attention.layer_norm_epsilon", F32, TOWER_CONSTANT, NULL, value, 0}
#define USES_GELU                  {"use_gelu", BOOL, TOWER_CONSTANT, NULL, "1", 0}
#define USES_SILU                  {"use_silu", BOOL, TOWER_CONSTANT, NULL, "1", 0}

#define GELUS "gelu gelu_pytorch_tanh gelu_new gelu_fast"

#define THREE_COLOURS {TOWER_VISION, "in_channels", "3"}, {TOWER_VISION, "in_chans", "3"},                             \
                      {TOWER_VISION, "num_channels", "3"}
#define TWO_FRAMES    {TOWER_VISION, "temporal_patch_size", "2"}
#define USUAL_ROPE    {TOWER_VISION, "rope_parameters.rope_theta", "10000"}, {TOWER_VISION, "rope_theta", "10000"},    \
                      {TOWER_VISION, "rope_parameters.rope_type", "default axial"}

/* ---- Qwen2-VL, Qwen2.5-VL ---- */

static const tower_root qwen2_roots[] = {{"model.language_model.visual.", "visual."}, {"model.visual.", "visual."},
                                         {NULL, NULL}};

#define QWEN2_RULES                                                                                                    \
    {.hf = "visual.patch_embed.proj.weight", .gguf = "v.patch_embd.weight", .change = TOWER_FRAMES},                   \
    {.hf = "visual.blocks.#.norm1$", .gguf = "v.blk.#.ln1$"},                                                          \
    {.hf = "visual.blocks.#.norm2$", .gguf = "v.blk.#.ln2$"},                                                          \
    {.hf = "visual.blocks.#.attn.qkv$", .gguf = "v.blk.#.attn_@$", .change = TOWER_THIRDS},                            \
    {.hf = "visual.blocks.#.attn.proj$", .gguf = "v.blk.#.attn_out$"},                                                 \
    {.hf = "visual.merger.ln_q$", .gguf = "v.post_ln$"},                                                               \
    {.hf = "visual.merger.mlp.0$", .gguf = "mm.0$"},                                                                   \
    {.hf = "visual.merger.mlp.2$", .gguf = "mm.2$"}

static const tower_rule qwen2_vl_rules[] = {
    QWEN2_RULES,
    {.hf = "visual.blocks.#.mlp.fc1$", .gguf = "v.blk.#.ffn_up$"},
    {.hf = "visual.blocks.#.mlp.fc2$", .gguf = "v.blk.#.ffn_down$"},
    {NULL}};
static const tower_rule qwen2_5_vl_rules[] = {
    QWEN2_RULES,
    {.hf = "visual.blocks.#.mlp.gate_proj$", .gguf = "v.blk.#.ffn_gate$"},
    {.hf = "visual.blocks.#.mlp.up_proj$", .gguf = "v.blk.#.ffn_up$"},
    {.hf = "visual.blocks.#.mlp.down_proj$", .gguf = "v.blk.#.ffn_down$"},
    {NULL}};

static const tower_key qwen2_vl_keys[] = {
    VISION_KEYS("embed_dim", "hidden_size", "depth", "num_heads"),
    {"vision.image_size", U32, TOWER_VISION, "image_size", "560", 0},
    EPSILON_OF("1e-6"),
    {NULL}};
static const tower_key qwen2_5_vl_keys[] = {
    VISION_KEYS("hidden_size", "intermediate_size", "depth", "num_heads"),
    {"vision.image_size", U32, TOWER_VISION, "image_size", "560", 0},
    {"vision.n_wa_pattern", U32, TOWER_WINDOWS, "fullatt_block_indexes", NULL, 0},
    USES_SILU, EPSILON_OF("1e-6"),
    {NULL}};

static const tower_need qwen2_vl_needs[] = {
    THREE_COLOURS, TWO_FRAMES, USUAL_ROPE, {TOWER_VISION, "spatial_merge_size", "2"},
    {TOWER_VISION, "hidden_act", "quick_gelu"}, {TOWER_CONSTANT, NULL, NULL}};
static const tower_need qwen2_5_vl_needs[] = {
    THREE_COLOURS, TWO_FRAMES, USUAL_ROPE, {TOWER_VISION, "spatial_merge_size", "2"},
    {TOWER_VISION, "hidden_act", "silu"}, {TOWER_VISION, "window_size", "112"}, {TOWER_CONSTANT, NULL, NULL}};

/* ---- Qwen3-VL, Qwen3.5 ---- */

static const tower_root qwen3_roots[] = {{"model.language_model.visual.", "model.visual."},
                                         {"visual.", "model.visual."}, {NULL, NULL}};

static const tower_rule qwen3_vl_rules[] = {
    {.hf = "model.visual.patch_embed.proj.weight", .gguf = "v.patch_embd.weight", .change = TOWER_FRAMES},
    {.hf = "model.visual.patch_embed.proj.bias", .gguf = "v.patch_embd.bias"},
    {.hf = "model.visual.pos_embed.weight", .gguf = "v.position_embd.weight"},
    {.hf = "model.visual.blocks.#.norm1$", .gguf = "v.blk.#.ln1$"},
    {.hf = "model.visual.blocks.#.norm2$", .gguf = "v.blk.#.ln2$"},
    {.hf = "model.visual.blocks.#.attn.qkv$", .gguf = "v.blk.#.attn_qkv$"},
    {.hf = "model.visual.blocks.#.attn.proj$", .gguf = "v.blk.#.attn_out$"},
    {.hf = "model.visual.blocks.#.mlp.linear_fc1$", .gguf = "v.blk.#.ffn_up$"},
    {.hf = "model.visual.blocks.#.mlp.linear_fc2$", .gguf = "v.blk.#.ffn_down$"},
    {.hf = "model.visual.merger.norm$", .gguf = "v.post_ln$"},
    {.hf = "model.visual.merger.linear_fc1$", .gguf = "mm.0$"},
    {.hf = "model.visual.merger.linear_fc2$", .gguf = "mm.2$"},
    {.hf = "model.visual.deepstack_merger_list.#.norm$", .gguf = "v.deepstack.#.norm$", .deep = true},
    {.hf = "model.visual.deepstack_merger_list.#.linear_fc1$", .gguf = "v.deepstack.#.fc1$", .deep = true},
    {.hf = "model.visual.deepstack_merger_list.#.linear_fc2$", .gguf = "v.deepstack.#.fc2$", .deep = true},
    {NULL}};

static const tower_key qwen3_vl_keys[] = {
    VISION_KEYS("hidden_size", "intermediate_size", "depth", "num_heads"),
    {"vision.image_size", U32, TOWER_POSITIONS, "image_size", NULL, 0},
    USES_GELU,
    {"vision.spatial_merge_size", U32, TOWER_VISION, "spatial_merge_size", "", 0},
    EPSILON_OF("1e-6"),
    {"vision.is_deepstack_layers", BOOL, TOWER_DEEP, "deepstack_visual_indexes", NULL, 0},
    {NULL}};

static const tower_need qwen3_vl_needs[] = {THREE_COLOURS, TWO_FRAMES, USUAL_ROPE, {TOWER_VISION, "hidden_act", GELUS},
                                            {TOWER_CONSTANT, NULL, NULL}};

/* ---- SigLIP: Gemma 3, SmolVLM, LFM2-VL ---- */

#define SIGLIP_RULES(root)                                                                                             \
    {.hf = root "embeddings.position_embedding.weight", .gguf = "v.position_embd.weight"},                             \
    {.hf = root "encoder.layers.#.layer_norm1$", .gguf = "v.blk.#.ln1$"},                                              \
    {.hf = root "encoder.layers.#.layer_norm2$", .gguf = "v.blk.#.ln2$"},                                              \
    {.hf = root "encoder.layers.#.self_attn.q_proj$", .gguf = "v.blk.#.attn_q$"},                                      \
    {.hf = root "encoder.layers.#.self_attn.k_proj$", .gguf = "v.blk.#.attn_k$"},                                      \
    {.hf = root "encoder.layers.#.self_attn.v_proj$", .gguf = "v.blk.#.attn_v$"},                                      \
    {.hf = root "encoder.layers.#.self_attn.out_proj$", .gguf = "v.blk.#.attn_out$"},                                  \
    {.hf = root "encoder.layers.#.mlp.fc1$", .gguf = "v.blk.#.ffn_up$"},                                               \
    {.hf = root "encoder.layers.#.mlp.fc2$", .gguf = "v.blk.#.ffn_down$"},                                             \
    {.hf = root "post_layernorm$", .gguf = "v.post_ln$"}
#define SIGLIP_KEYS VISION_KEYS("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads")

static const tower_root gemma3_roots[] = {
    {"model.vision_tower.vision_model.", "vision_tower.vision_model."},
    {"model.vision_tower.", "vision_tower.vision_model."},
    {"vision_tower.vision_model.", "vision_tower.vision_model."},
    {"vision_tower.", "vision_tower.vision_model."},
    {"model.multi_modal_projector.", "multi_modal_projector."},
    {NULL, NULL}};
static const tower_rule gemma3_rules[] = {
    {.hf = "vision_tower.vision_model.embeddings.patch_embedding$", .gguf = "v.patch_embd$"},
    SIGLIP_RULES("vision_tower.vision_model."),
    {.hf = "multi_modal_projector.mm_input_projection_weight", .gguf = "mm.input_projection.weight"},
    {.hf = "multi_modal_projector.mm_soft_emb_norm.weight", .gguf = "mm.soft_emb_norm.weight",
     .change = TOWER_PLUS_ONE},
    {NULL}};
static const tower_key gemma3_keys[] = {
    SIGLIP_KEYS,
    {"vision.image_size", U32, TOWER_VISION, "image_size", NULL, 0},
    EPSILON("layer_norm_eps", "1e-6"), USES_GELU,
    {"vision.projector.scale_factor", U32, TOWER_POOL, "image_seq_length", "256", 0},
    {NULL}};
static const tower_need siglip_needs[] = {THREE_COLOURS, {TOWER_VISION, "hidden_act", GELUS},
                                          {TOWER_CONSTANT, NULL, NULL}};

static const tower_root smolvlm_roots[] = {{"vision_model.", "model.vision_model."}, {"connector.", "model.connector."},
                                           {NULL, NULL}};
static const tower_rule smolvlm_rules[] = {
    {.hf = "model.vision_model.embeddings.patch_embedding$", .gguf = "v.patch_embd$"},
    SIGLIP_RULES("model.vision_model."),
    {.hf = "model.connector.modality_projection.proj.weight", .gguf = "mm.model.fc.weight"},
    {NULL}};
/* Published files leave out members that have the default of transformers. */
static const tower_key smolvlm_keys[] = {
    {"has_vision_encoder", BOOL, TOWER_CONSTANT, NULL, "1", 0},
    {"vision.projection_dim", U32, TOWER_TEXT, "hidden_size", NULL, 0},
    {"vision.patch_size", U32, TOWER_VISION, "patch_size", "32", 0},
    {"vision.embedding_length", U32, TOWER_VISION, "hidden_size", "1152", 0},
    {"vision.feed_forward_length", U32, TOWER_VISION, "intermediate_size", "3072", 0},
    {"vision.block_count", U32, TOWER_VISION, "num_hidden_layers", "12", 0},
    {"vision.attention.head_count", U32, TOWER_VISION, "num_attention_heads", "16", 0},
    {"vision.image_mean", F32, TOWER_PROCESSOR, "image_mean", NULL, 0},
    {"vision.image_std", F32, TOWER_PROCESSOR, "image_std", NULL, 0},
    {"vision.image_size", U32, TOWER_VISION, "image_size", NULL, 0},
    EPSILON("layer_norm_eps", "1e-6"),
    {"vision.projector.scale_factor", U32, TOWER_TOP, "scale_factor", "2", 0},
    USES_GELU,
    {"vision.preproc_image_size", U32, TOWER_EDGE, "size", "", 0},
    {NULL}};

static const tower_root lfm2_roots[] = {
    {"model.vision_tower.vision_model.", "model.vision_tower.vision_model."},
    {"model.vision_tower.", "model.vision_tower.vision_model."},
    {"vision_tower.vision_model.", "model.vision_tower.vision_model."},
    {"vision_tower.", "model.vision_tower.vision_model."},
    {"multi_modal_projector.", "model.multi_modal_projector."},
    {NULL, NULL}};
static const tower_rule lfm2_rules[] = {
    {.hf = "model.vision_tower.vision_model.embeddings.patch_embedding.weight", .gguf = "v.patch_embd.weight",
     .change = TOWER_PATCHES},
    {.hf = "model.vision_tower.vision_model.embeddings.patch_embedding.bias", .gguf = "v.patch_embd.bias"},
    SIGLIP_RULES("model.vision_tower.vision_model."),
    {.hf = "model.multi_modal_projector.layer_norm$", .gguf = "mm.input_norm$", .optional = true},
    {.hf = "model.multi_modal_projector.linear_1$", .gguf = "mm.1$"},
    {.hf = "model.multi_modal_projector.linear_2$", .gguf = "mm.2$"},
    {NULL}};
static const tower_key lfm2_keys[] = {
    SIGLIP_KEYS,
    {"vision.image_size", U32, TOWER_CONSTANT, NULL, "256", 0},
    EPSILON("layer_norm_eps", "1e-6"),
    {"vision.projector.scale_factor", U32, TOWER_TOP, "downsample_factor", "2", 0},
    USES_GELU,
    {"vision.block_count", U32, TOWER_LAST, "num_hidden_layers", NULL, 0},
    {NULL}};
static const tower_need lfm2_needs[] = {THREE_COLOURS, {TOWER_VISION, "hidden_act", GELUS},
                                        {TOWER_VISION, "patch_size", "16"}, {TOWER_TOP, "projector_hidden_act", GELUS},
                                        {TOWER_CONSTANT, NULL, NULL}};

/* ---- Pixtral, Mistral 3 ---- */

static const tower_root pixtral_roots[] = {{"model.vision_tower.", "vision_tower."},
                                           {"model.multi_modal_projector.", "multi_modal_projector."}, {NULL, NULL}};
static const tower_rule pixtral_rules[] = {
    {.hf = "vision_tower.patch_conv.weight", .gguf = "v.patch_embd.weight"},
    {.hf = "vision_tower.ln_pre.weight", .gguf = "v.pre_ln.weight"},
    {.hf = "vision_tower.transformer.layers.#.attention_norm.weight", .gguf = "v.blk.#.ln1.weight"},
    {.hf = "vision_tower.transformer.layers.#.ffn_norm.weight", .gguf = "v.blk.#.ln2.weight"},
    {.hf = "vision_tower.transformer.layers.#.attention.q_proj$", .gguf = "v.blk.#.attn_q$", .change = TOWER_TURNED},
    {.hf = "vision_tower.transformer.layers.#.attention.k_proj$", .gguf = "v.blk.#.attn_k$", .change = TOWER_TURNED},
    {.hf = "vision_tower.transformer.layers.#.attention.v_proj$", .gguf = "v.blk.#.attn_v$"},
    {.hf = "vision_tower.transformer.layers.#.attention.o_proj$", .gguf = "v.blk.#.attn_out$"},
    {.hf = "vision_tower.transformer.layers.#.feed_forward.gate_proj$", .gguf = "v.blk.#.ffn_gate$"},
    {.hf = "vision_tower.transformer.layers.#.feed_forward.up_proj$", .gguf = "v.blk.#.ffn_up$"},
    {.hf = "vision_tower.transformer.layers.#.feed_forward.down_proj$", .gguf = "v.blk.#.ffn_down$"},
    {.hf = "multi_modal_projector.norm.weight", .gguf = "mm.input_norm.weight", .optional = true},
    {.hf = "multi_modal_projector.patch_merger.merging_layer.weight", .gguf = "mm.patch_merger.weight",
     .optional = true},
    {.hf = "multi_modal_projector.linear_1$", .gguf = "mm.1$"},
    {.hf = "multi_modal_projector.linear_2$", .gguf = "mm.2$"},
    {.hf = "", .gguf = "v.token_embd.img_break", .change = TOWER_TOKEN},
    {NULL}};
static const tower_key pixtral_keys[] = {
    SIGLIP_KEYS,
    {"vision.image_size", U32, TOWER_VISION, "image_size", NULL, 0},
    EPSILON("layer_norm_eps", "1e-5"),
    {"use_silu", BOOL, TOWER_SILU, "hidden_act", NULL, 0},
    {"use_gelu", BOOL, TOWER_GELU, "hidden_act", NULL, 0},
    {"vision.spatial_merge_size", U32, TOWER_TOP, "spatial_merge_size", "", 0},
    {NULL}};
static const tower_need pixtral_needs[] = {THREE_COLOURS, USUAL_ROPE, {TOWER_VISION, "hidden_act", "silu " GELUS},
                                           {TOWER_TOP, "vision_feature_layer", "-1"},
                                           {TOWER_TOP, "projector_hidden_act", GELUS}, {TOWER_CONSTANT, NULL, NULL}};

/* ---- GLM-4V ---- */

static const tower_root glm4v_roots[] = {{"visual.", "model.visual."}, {NULL, NULL}};
static const tower_rule glm4v_rules[] = {
    {.hf = "model.visual.patch_embed.proj.weight", .gguf = "v.patch_embd.weight", .change = TOWER_FRAMES},
    {.hf = "model.visual.patch_embed.proj.bias", .gguf = "v.patch_embd.bias"},
    {.hf = "model.visual.post_conv_layernorm.weight", .gguf = "v.norm_embd.weight"},
    {.hf = "model.visual.embeddings.position_embedding.weight", .gguf = "v.position_embd.weight"},
    {.hf = "model.visual.blocks.#.norm1.weight", .gguf = "v.blk.#.ln1.weight"},
    {.hf = "model.visual.blocks.#.norm2.weight", .gguf = "v.blk.#.ln2.weight"},
    {.hf = "model.visual.blocks.#.attn.qkv$", .gguf = "v.blk.#.attn_qkv$"},
    {.hf = "model.visual.blocks.#.attn.proj$", .gguf = "v.blk.#.attn_out$"},
    {.hf = "model.visual.blocks.#.mlp.gate_proj$", .gguf = "v.blk.#.ffn_gate$"},
    {.hf = "model.visual.blocks.#.mlp.up_proj$", .gguf = "v.blk.#.ffn_up$"},
    {.hf = "model.visual.blocks.#.mlp.down_proj$", .gguf = "v.blk.#.ffn_down$"},
    {.hf = "model.visual.post_layernorm.weight", .gguf = "v.post_ln.weight"},
    {.hf = "model.visual.downsample$", .gguf = "mm.patch_merger$"},
    {.hf = "model.visual.merger.proj$", .gguf = "mm.model.fc$"},
    {.hf = "model.visual.merger.gate_proj$", .gguf = "mm.gate$"},
    {.hf = "model.visual.merger.up_proj$", .gguf = "mm.up$"},
    {.hf = "model.visual.merger.down_proj$", .gguf = "mm.down$"},
    {.hf = "model.visual.merger.post_projection_norm$", .gguf = "mm.post_norm$"},
    {NULL}};
static const tower_key glm4v_keys[] = {
    VISION_KEYS("hidden_size", "intermediate_size", "depth", "num_heads"),
    {"vision.image_size", U32, TOWER_POSITIONS, "image_size", NULL, 0},
    {"use_gelu", BOOL, TOWER_GELU, "hidden_act", NULL, 0},
    {"use_silu", BOOL, TOWER_SILU, "hidden_act", NULL, 0},
    EPSILON("rms_norm_eps", "1e-5"),
    {NULL}};
static const tower_need glm4v_needs[] = {THREE_COLOURS, TWO_FRAMES, USUAL_ROPE, {TOWER_VISION, "hidden_act", "silu"},
                                         {TOWER_VISION, "spatial_merge_size", "2"}, {TOWER_CONSTANT, NULL, NULL}};

/* ---- InternVL in its original layout ---- */

static const tower_root internvl_roots[] = {{"vision_tower.vision_model.", "vision_model."}, {NULL, NULL}};
static const tower_rule internvl_rules[] = {
    {.hf = "vision_model.embeddings.class_embedding", .gguf = "v.class_embd"},
    {.hf = "vision_model.embeddings.patch_embedding$", .gguf = "v.patch_embd$"},
    {.hf = "vision_model.embeddings.position_embedding", .gguf = "v.position_embd.weight"},
    {.hf = "vision_model.encoder.layers.#.norm1$", .gguf = "v.blk.#.ln1$"},
    {.hf = "vision_model.encoder.layers.#.norm2$", .gguf = "v.blk.#.ln2$"},
    {.hf = "vision_model.encoder.layers.#.attn.qkv$", .gguf = "v.blk.#.attn_@$", .change = TOWER_THIRDS},
    {.hf = "vision_model.encoder.layers.#.attn.q_norm.weight", .gguf = "v.blk.#.attn_q_norm.weight", .optional = true},
    {.hf = "vision_model.encoder.layers.#.attn.k_norm.weight", .gguf = "v.blk.#.attn_k_norm.weight", .optional = true},
    {.hf = "vision_model.encoder.layers.#.attn.proj$", .gguf = "v.blk.#.attn_out$"},
    {.hf = "vision_model.encoder.layers.#.mlp.fc1$", .gguf = "v.blk.#.ffn_up$"},
    {.hf = "vision_model.encoder.layers.#.mlp.fc2$", .gguf = "v.blk.#.ffn_down$"},
    {.hf = "vision_model.encoder.layers.#.ls1", .gguf = "v.blk.#.ls1.weight"},
    {.hf = "vision_model.encoder.layers.#.ls2", .gguf = "v.blk.#.ls2.weight"},
    {.hf = "mlp1.0$", .gguf = "mm.model.mlp.0$"},
    {.hf = "mlp1.1$", .gguf = "mm.model.mlp.1$"},
    {.hf = "mlp1.3$", .gguf = "mm.model.mlp.3$"},
    {NULL}};
static const tower_key internvl_keys[] = {
    SIGLIP_KEYS,
    {"vision.image_size", U32, TOWER_VISION, "image_size", NULL, 0},
    EPSILON("layer_norm_eps", "1e-6"),
    {"use_silu", BOOL, TOWER_SILU, "hidden_act", NULL, 0},
    {"use_gelu", BOOL, TOWER_GELU, "hidden_act", NULL, 0},
    {"vision.projector.scale_factor", U32, TOWER_INVERSE, "downsample_ratio", NULL, 0},
    {"vision.preproc_min_tiles", U32, TOWER_TOP, "min_dynamic_patch", "", 0},
    {"vision.preproc_max_tiles", U32, TOWER_TOP, "max_dynamic_patch", "", 0},
    {NULL}};
static const tower_need internvl_needs[] = {THREE_COLOURS, {TOWER_VISION, "hidden_act", "silu " GELUS},
                                            {TOWER_TOP, "select_layer", "-1"}, {TOWER_TOP, "ps_version", "v2"},
                                            {TOWER_CONSTANT, NULL, NULL}};

/* ---- Llama 4 ---- */

static const tower_root llama4_roots[] = {{"model.vision_model.", "vision_model."},
                                          {"model.multi_modal_projector.", "multi_modal_projector."}, {NULL, NULL}};
static const tower_rule llama4_rules[] = {
    {.hf = "vision_model.patch_embedding.linear.weight", .gguf = "v.patch_embd.weight"},
    {.hf = "vision_model.class_embedding", .gguf = "v.class_embd"},
    {.hf = "vision_model.positional_embedding_vlm", .gguf = "v.position_embd.weight"},
    {.hf = "vision_model.layernorm_pre$", .gguf = "v.pre_ln$"},
    {.hf = "vision_model.layernorm_post$", .gguf = "v.post_ln$"},
    {.hf = "vision_model.model.layers.#.input_layernorm$", .gguf = "v.blk.#.ln1$"},
    {.hf = "vision_model.model.layers.#.post_attention_layernorm$", .gguf = "v.blk.#.ln2$"},
    {.hf = "vision_model.model.layers.#.self_attn.q_proj$", .gguf = "v.blk.#.attn_q$"},
    {.hf = "vision_model.model.layers.#.self_attn.k_proj$", .gguf = "v.blk.#.attn_k$"},
    {.hf = "vision_model.model.layers.#.self_attn.v_proj$", .gguf = "v.blk.#.attn_v$"},
    {.hf = "vision_model.model.layers.#.self_attn.o_proj$", .gguf = "v.blk.#.attn_out$"},
    {.hf = "vision_model.model.layers.#.mlp.fc1$", .gguf = "v.blk.#.ffn_up$"},
    {.hf = "vision_model.model.layers.#.mlp.fc2$", .gguf = "v.blk.#.ffn_down$"},
    {.hf = "vision_model.vision_adapter.mlp.fc1.weight", .gguf = "mm.model.mlp.1.weight"},
    {.hf = "vision_model.vision_adapter.mlp.fc2.weight", .gguf = "mm.model.mlp.2.weight"},
    {.hf = "multi_modal_projector.linear_1.weight", .gguf = "mm.model.fc.weight"},
    {NULL}};
static const tower_key llama4_keys[] = {
    SIGLIP_KEYS,
    {"vision.image_size", U32, TOWER_VISION, "image_size", NULL, 0},
    EPSILON("norm_eps", "1e-5"),
    {"vision.projector.scale_factor", U32, TOWER_INVERSE, "pixel_shuffle_ratio", NULL, 0},
    USES_GELU,
    {NULL}};
static const tower_need llama4_needs[] = {THREE_COLOURS, USUAL_ROPE, {TOWER_VISION, "hidden_act", GELUS},
                                          {TOWER_CONSTANT, NULL, NULL}};

/* ---- Gemma 4 ---- */

static const tower_root gemma4_roots[] = {
    {"vision_tower.", "model.vision_tower."}, {"audio_tower.", "model.audio_tower."},
    {"embed_vision.", "model.embed_vision."}, {"embed_audio.", "model.embed_audio."}, {NULL, NULL}};

/* A linear layer whose inputs and outputs are limited; the limits may be missing. */
#define CLAMPED(from, to)                                                                                              \
    {.hf = from ".linear.weight", .gguf = to ".weight"},                                                               \
    {.hf = from ".input_min", .gguf = to ".input_min", .change = TOWER_SCALAR, .optional = true},                      \
    {.hf = from ".input_max", .gguf = to ".input_max", .change = TOWER_SCALAR, .optional = true},                      \
    {.hf = from ".output_min", .gguf = to ".output_min", .change = TOWER_SCALAR, .optional = true},                    \
    {.hf = from ".output_max", .gguf = to ".output_max", .change = TOWER_SCALAR, .optional = true}
#define SEEING "model.vision_tower.encoder.layers.#."
#define HEARING "model.audio_tower.layers.#."

static const tower_rule gemma4_rules[] = {
    {.hf = "model.vision_tower.patch_embedder.input_proj.weight", .gguf = "v.patch_embd.weight",
     .change = TOWER_PATCHES},
    {.hf = "model.vision_tower.patch_embedder.position_embedding_table", .gguf = "v.position_embd.weight"},
    {.hf = "model.vision_tower.std_bias", .gguf = "v.std_bias", .optional = true},
    {.hf = "model.vision_tower.std_scale", .gguf = "v.std_scale", .optional = true},
    {.hf = SEEING "input_layernorm.weight", .gguf = "v.blk.#.ln1.weight"},
    {.hf = SEEING "pre_feedforward_layernorm.weight", .gguf = "v.blk.#.ln2.weight"},
    {.hf = SEEING "post_attention_layernorm.weight", .gguf = "v.blk.#.attn_post_norm.weight"},
    {.hf = SEEING "post_feedforward_layernorm.weight", .gguf = "v.blk.#.ffn_post_norm.weight"},
    {.hf = SEEING "self_attn.q_norm.weight", .gguf = "v.blk.#.attn_q_norm.weight"},
    {.hf = SEEING "self_attn.k_norm.weight", .gguf = "v.blk.#.attn_k_norm.weight"},
    CLAMPED(SEEING "self_attn.q_proj", "v.blk.#.attn_q"), CLAMPED(SEEING "self_attn.k_proj", "v.blk.#.attn_k"),
    CLAMPED(SEEING "self_attn.v_proj", "v.blk.#.attn_v"), CLAMPED(SEEING "self_attn.o_proj", "v.blk.#.attn_out"),
    CLAMPED(SEEING "mlp.gate_proj", "v.blk.#.ffn_gate"), CLAMPED(SEEING "mlp.up_proj", "v.blk.#.ffn_up"),
    CLAMPED(SEEING "mlp.down_proj", "v.blk.#.ffn_down"),
    {.hf = "model.embed_vision.embedding_projection.weight", .gguf = "mm.input_projection.weight"},
    {.hf = "model.audio_tower.subsample_conv_projection.layer#.conv.weight", .gguf = "a.conv1d.#.weight",
     .optional = true, .numbered = true},
    {.hf = "model.audio_tower.subsample_conv_projection.layer#.norm.weight", .gguf = "a.conv1d.#.norm.weight",
     .optional = true, .numbered = true},
    {.hf = "model.audio_tower.subsample_conv_projection.input_proj_linear.weight", .gguf = "a.input_projection.weight",
     .optional = true},
    {.hf = HEARING "feed_forward1.pre_layer_norm.weight", .gguf = "a.blk.#.ffn_norm.weight"},
    CLAMPED(HEARING "feed_forward1.ffw_layer_1", "a.blk.#.ffn_up"),
    CLAMPED(HEARING "feed_forward1.ffw_layer_2", "a.blk.#.ffn_down"),
    {.hf = HEARING "feed_forward1.post_layer_norm.weight", .gguf = "a.blk.#.ffn_post_norm.weight"},
    {.hf = HEARING "feed_forward2.pre_layer_norm.weight", .gguf = "a.blk.#.ffn_norm_1.weight"},
    CLAMPED(HEARING "feed_forward2.ffw_layer_1", "a.blk.#.ffn_up_1"),
    CLAMPED(HEARING "feed_forward2.ffw_layer_2", "a.blk.#.ffn_down_1"),
    {.hf = HEARING "feed_forward2.post_layer_norm.weight", .gguf = "a.blk.#.ffn_post_norm_1.weight"},
    {.hf = HEARING "norm_pre_attn.weight", .gguf = "a.blk.#.attn_pre_norm.weight"},
    {.hf = HEARING "norm_post_attn.weight", .gguf = "a.blk.#.attn_post_norm.weight"},
    CLAMPED(HEARING "self_attn.q_proj", "a.blk.#.attn_q"), CLAMPED(HEARING "self_attn.k_proj", "a.blk.#.attn_k"),
    CLAMPED(HEARING "self_attn.v_proj", "a.blk.#.attn_v"), CLAMPED(HEARING "self_attn.post", "a.blk.#.attn_out"),
    {.hf = HEARING "self_attn.relative_k_proj.weight", .gguf = "a.blk.#.attn_k_rel.weight"},
    {.hf = HEARING "self_attn.per_dim_scale", .gguf = "a.blk.#.per_dim_scale.weight", .change = TOWER_SOFTPLUS},
    CLAMPED(HEARING "lconv1d.linear_start", "a.blk.#.conv_pw1"),
    CLAMPED(HEARING "lconv1d.linear_end", "a.blk.#.conv_pw2"),
    {.hf = HEARING "lconv1d.depthwise_conv1d.weight", .gguf = "a.blk.#.conv_dw.weight", .change = TOWER_DEPTHWISE},
    {.hf = HEARING "lconv1d.pre_layer_norm.weight", .gguf = "a.blk.#.conv_norm.weight"},
    {.hf = HEARING "lconv1d.conv_norm.weight", .gguf = "a.blk.#.norm_conv.weight"},
    {.hf = HEARING "norm_out.weight", .gguf = "a.blk.#.ln2.weight"},
    {.hf = "model.audio_tower.output_proj$", .gguf = "a.pre_encode.out$", .optional = true},
    {.hf = "model.embed_audio.embedding_projection.weight", .gguf = "mm.a.input_projection.weight", .optional = true},
    {NULL}};
static const tower_key gemma4_keys[] = {
    VISION_KEYS("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads"),
    {"vision.image_size", U32, TOWER_CONSTANT, NULL, "224", 0},
    EPSILON("rms_norm_eps layer_norm_eps", "1e-6"), USES_GELU,
    {NULL}};
static const tower_key gemma4_audio_keys[] = {
    {"has_audio_encoder", BOOL, TOWER_CONSTANT, NULL, "1", 0},
    {"audio.projection_dim", U32, TOWER_TEXT, "hidden_size", NULL, 0},
    {"audio.embedding_length", U32, TOWER_AUDIO, "hidden_size", NULL, 0},
    {"audio.feed_forward_length", U32, TOWER_AUDIO, "hidden_size", NULL, 4},
    {"audio.block_count", U32, TOWER_AUDIO, "num_hidden_layers", NULL, 0},
    {"audio.attention.head_count", U32, TOWER_AUDIO, "num_attention_heads", NULL, 0},
    {"audio.num_mel_bins", U32, TOWER_AUDIO, "input_feat_size", "128", 0},
    {"audio.attention.layer_norm_epsilon", F32, TOWER_AUDIO, "rms_norm_eps layer_norm_eps", "1e-6", 0},
    {NULL}};
static const tower_need gemma4_needs[] = {
    THREE_COLOURS, {TOWER_VISION, "rope_parameters.rope_theta", "100"}, {TOWER_VISION, "rope_theta", "100"},
    {TOWER_VISION, "pooling_kernel_size", "3"}, {TOWER_VISION, "hidden_activation", GELUS},
    {TOWER_VISION, "hidden_act", GELUS}, {TOWER_AUDIO, "hidden_act", "silu"}, {TOWER_CONSTANT, NULL, NULL}};

/* ---- Kimi-VL ---- */

static const tower_root kimi_roots[] = {{"model.vision_tower.", "vision_tower."},
                                        {"model.multi_modal_projector.", "multi_modal_projector."}, {NULL, NULL}};
static const tower_rule kimi_rules[] = {
    {.hf = "vision_tower.patch_embed.proj$", .gguf = "v.patch_embd$"},
    {.hf = "vision_tower.patch_embed.pos_emb.weight", .gguf = "v.position_embd.weight", .change = TOWER_GRID},
    {.hf = "vision_tower.encoder.blocks.#.norm0$", .gguf = "v.blk.#.ln1$"},
    {.hf = "vision_tower.encoder.blocks.#.norm1$", .gguf = "v.blk.#.ln2$"},
    {.hf = "vision_tower.encoder.blocks.#.wqkv$", .gguf = "v.blk.#.attn_@$", .change = TOWER_THIRDS},
    {.hf = "vision_tower.encoder.blocks.#.wo$", .gguf = "v.blk.#.attn_out$"},
    {.hf = "vision_tower.encoder.blocks.#.mlp.fc0$", .gguf = "v.blk.#.ffn_up$"},
    {.hf = "vision_tower.encoder.blocks.#.mlp.fc1$", .gguf = "v.blk.#.ffn_down$"},
    {.hf = "vision_tower.encoder.final_layernorm$", .gguf = "v.post_ln$"},
    {.hf = "multi_modal_projector.pre_norm$", .gguf = "mm.input_norm$"},
    {.hf = "multi_modal_projector.linear_1$", .gguf = "mm.1$"},
    {.hf = "multi_modal_projector.linear_2$", .gguf = "mm.2$"},
    {NULL}};
static const tower_key kimi_keys[] = {
    SIGLIP_KEYS,
    {"vision.image_size", U32, TOWER_CONSTANT, NULL, "896", 0},
    USES_GELU,
    {"vision.projector.scale_factor", U32, TOWER_CONSTANT, NULL, "2", 0},
    EPSILON("layer_norm_eps", "1e-5"),
    {NULL}};
static const tower_need kimi_needs[] = {THREE_COLOURS, {TOWER_VISION, "hidden_act", GELUS},
                                        {TOWER_VISION, "patch_size", "14"}, {TOWER_CONSTANT, NULL, NULL}};

/* ---- the families ---- */

#define INNER .text = "language_model.model.", .head = "language_model.lm_head.weight"
#define OUTER .text = "model.language_model.", .head = "lm_head.weight"

const tower_family organ_tower_families[] = {
    {.types = "qwen2_vl", .projector = "qwen2vl_merger", .text = "model.", .head = "lm_head.weight",
     .roots = qwen2_roots, .rules = qwen2_vl_rules, .keys = qwen2_vl_keys, .needs = qwen2_vl_needs, .swaps = true,
     .quick = true},
    {.types = "qwen2_5_vl", .projector = "qwen2.5vl_merger", .text = "model.", .head = "lm_head.weight",
     .roots = qwen2_roots, .rules = qwen2_5_vl_rules, .keys = qwen2_5_vl_keys, .needs = qwen2_5_vl_needs,
     .swaps = true},
    {.types = "qwen3_vl qwen3_vl_moe qwen3_5 qwen3_5_moe", .projector = "qwen3vl_merger", OUTER, .roots = qwen3_roots,
     .rules = qwen3_vl_rules, .keys = qwen3_vl_keys, .needs = qwen3_vl_needs},
    {.types = "gemma3", .projector = "gemma3", INNER, .roots = gemma3_roots, .rules = gemma3_rules,
     .keys = gemma3_keys,
     .needs = siglip_needs, .left_out = ".head.", .always_f16 = "mm.input_projection.weight", .swaps = true,
     .f32_patches = true},
    {.types = "smolvlm idefics3", .projector = "idefics3", .text = "model.text_model.", .head = "lm_head.weight",
     .roots = smolvlm_roots, .rules = smolvlm_rules, .keys = smolvlm_keys, .needs = siglip_needs, .swaps = true,
     .f32_patches = true},
    {.types = "lfm2_vl", .projector = "lfm2", OUTER, .roots = lfm2_roots, .rules = lfm2_rules, .keys = lfm2_keys,
     .needs = lfm2_needs, .left_out = ".head."},
    {.types = "mistral3 llava", .vision = "pixtral", .projector = "pixtral", INNER, .roots = pixtral_roots,
     .rules = pixtral_rules, .keys = pixtral_keys, .needs = pixtral_needs, .token = "[IMG_BREAK]"},
    {.types = "glm4v glm4v_moe", .projector = "glm4v", OUTER, .roots = glm4v_roots, .rules = glm4v_rules,
     .keys = glm4v_keys, .needs = glm4v_needs},
    {.types = "internvl_chat", .projector = "internvl", INNER, .roots = internvl_roots, .rules = internvl_rules,
     .keys = internvl_keys, .needs = internvl_needs, .original = "InternVisionModel"},
    {.types = "llama4", .projector = "llama4", INNER, .roots = llama4_roots, .rules = llama4_rules,
     .keys = llama4_keys, .needs = llama4_needs},
    {.types = "gemma4", .projector = "gemma4v", .audio_projector = "gemma4a", OUTER, .roots = gemma4_roots,
     .rules = gemma4_rules, .keys = gemma4_keys, .audio_keys = gemma4_audio_keys, .needs = gemma4_needs},
    {.types = "kimi_vl", .projector = "kimivl", INNER, .roots = kimi_roots, .rules = kimi_rules, .keys = kimi_keys,
     .needs = kimi_needs},
    {.types = NULL}};
