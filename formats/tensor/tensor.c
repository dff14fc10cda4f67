/* SPDX-License-Identifier: MIT */
#include "formats/tensor/tensor_list.h"

#include "formats/tensor/drafts.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

organ_matrices organ_tensor_matrices(const organ_tensor *tensor)
{
    organ_matrices m = {1, 1, 1};
    for (unsigned k = 0; k < tensor->rank; k++) {
        if (k + 2 < tensor->rank)
            m.count *= tensor->shape[k];
        else if (k + 1 < tensor->rank)
            m.rows = tensor->shape[k];
        else
            m.cols = tensor->shape[k];
    }
    return m;
}

/* ---- shapes ---- */

bool organ_shape_equal(unsigned rank, const uint64_t *shape, unsigned other_rank, const uint64_t *other)
{
    return rank == other_rank && (rank == 0 || memcmp(shape, other, rank * sizeof *shape) == 0);
}

/* After 96 bytes the text ends with ", ...]": one size has up to 22 bytes with its comma, and the end needs 7 more,
 * which ORGAN_SHAPE_TEXT has room for. */
const char *organ_shape_text(unsigned rank, const uint64_t *shape, char out[ORGAN_SHAPE_TEXT])
{
    size_t used = (size_t)sprintf(out, "[");
    for (unsigned k = 0; k < rank && used < 96; k++)
        used += (size_t)sprintf(out + used, "%s%" PRIu64, k ? ", " : "", shape[k]);
    strcpy(out + used, used < 96 ? "]" : ", ...]");
    return out;
}

bool organ_tensor_unwrap(char *name)
{
    static const char *const words[] = {"_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.",
                                        "module."};
    enum { WORDS = sizeof words / sizeof *words, FIRST_ONLY = WORDS - 1 };
    bool found = false;
    for (char *at = name; at;) {
        size_t k = 0;
        while (k < WORDS && (strncmp(at, words[k], strlen(words[k])) || (k == FIRST_ONLY && at != name)))
            k++;
        if (k < WORDS) {
            const size_t length = strlen(words[k]);
            memmove(at, at + length, strlen(at + length) + 1);
            found = true;
        } else {
            char *const dot = strchr(at, '.');
            at = dot ? dot + 1 : NULL;
        }
    }
    return found;
}

organ_status organ_tensor_list_append(organ_tensor_list *list, const organ_tensor *tensor, organ_error *error)
{
    if (!organ_grow(&list->tensors, list->count, &list->capacity, sizeof *list->tensors))
        return organ_fail_errno(error, ENOMEM, "a list of more than %zu tensors", list->count);
    list->tensors[list->count++] = *tensor;
    return ORGAN_OK;
}

size_t organ_tensor_list_drop_replaced(organ_tensor_list *list, organ_tensor *first, uint32_t *used)
{
    size_t count = 0;
    for (size_t k = 0; k < list->count; k++) {
        const organ_tensor tensor = list->tensors[k];
        size_t *const entry = organ_name_table_put(&list->names, tensor.name, k);
        if (*entry == k) {
            *entry = count;
            list->tensors[count++] = tensor;
        } else if (k == count) {
            *first = tensor;
            *used = list->tensors[*entry].file;
        }
    }
    const size_t dropped = list->count - count;
    list->count = count;
    return dropped;
}

void organ_tensor_list_to_file(organ_tensor_list *list)
{
    list->tensors = organ_rows_to_file(list->tensors, list->count * sizeof *list->tensors);
}

void organ_tensor_list_release(organ_tensor_list *list)
{
    organ_rows_free(list->tensors);
    organ_arena_release(&list->arena);
    organ_name_table_release(&list->names);
    *list = (organ_tensor_list){0};
}

/* clang-format off */
/* A row has name, elements and bytes of a block, whether safetensors allows the type, and the number in GGUF files
 * or -1. */
static const organ_dtype_info dtypes[ORGAN_DTYPE_COUNT] = {
    [ORGAN_BOOL] = {"BOOL", 1, 1, true, -1},
    [ORGAN_F4] = {"F4", 2, 1, true, -1},
    [ORGAN_F6_E2M3] = {"F6_E2M3", 4, 3, true, -1},
    [ORGAN_F6_E3M2] = {"F6_E3M2", 4, 3, true, -1},
    [ORGAN_U8] = {"U8", 1, 1, true, -1},
    [ORGAN_I8] = {"I8", 1, 1, true, 24},
    [ORGAN_F8_E5M2] = {"F8_E5M2", 1, 1, true, -1},
    [ORGAN_F8_E4M3] = {"F8_E4M3", 1, 1, true, -1},
    [ORGAN_F8_E8M0] = {"F8_E8M0", 1, 1, true, -1},
    [ORGAN_F8_E4M3FNUZ] = {"F8_E4M3FNUZ", 1, 1, true, -1},
    [ORGAN_F8_E5M2FNUZ] = {"F8_E5M2FNUZ", 1, 1, true, -1},
    [ORGAN_I16] = {"I16", 1, 2, true, 25},
    [ORGAN_U16] = {"U16", 1, 2, true, -1},
    [ORGAN_F16] = {"F16", 1, 2, true, 1},
    [ORGAN_BF16] = {"BF16", 1, 2, true, 30},
    [ORGAN_I32] = {"I32", 1, 4, true, 26},
    [ORGAN_U32] = {"U32", 1, 4, true, -1},
    [ORGAN_F32] = {"F32", 1, 4, true, 0},
    [ORGAN_C64] = {"C64", 1, 8, true, -1},
    [ORGAN_F64] = {"F64", 1, 8, true, 28},
    [ORGAN_I64] = {"I64", 1, 8, true, 27},
    [ORGAN_U64] = {"U64", 1, 8, true, -1},
#define ROW(name, elements, bytes, ggml) [ORGAN_##name] = {#name, elements, bytes, false, ggml},
    ORGAN_BLOCK_TYPES(ROW)
#undef ROW
};
/* clang-format on */

const organ_dtype_info *organ_dtype_describe(organ_dtype dtype) { return &dtypes[dtype]; }
const char *organ_dtype_name(organ_dtype dtype) { return dtypes[dtype].name; }

bool organ_dtype_is_fp8(organ_dtype dtype)
{
    return dtype == ORGAN_F8_E4M3 || dtype == ORGAN_F8_E5M2 || dtype == ORGAN_F8_E4M3FNUZ || dtype == ORGAN_F8_E5M2FNUZ;
}

organ_dtype organ_dtype_from_name(const char *name)
{
    for (int k = 0; k < ORGAN_DTYPE_COUNT; k++)
        if (dtypes[k].in_safetensors && strcmp(dtypes[k].name, name) == 0)
            return (organ_dtype)k;
    return ORGAN_DTYPE_COUNT;
}

organ_dtype organ_dtype_from_ggml(int64_t type)
{
    for (int k = 0; k < ORGAN_DTYPE_COUNT; k++)
        if (dtypes[k].ggml >= 0 && dtypes[k].ggml == type)
            return (organ_dtype)k;
    return ORGAN_DTYPE_COUNT;
}

bool organ_dtype_bytes(organ_dtype dtype, uint64_t elements, uint64_t *bytes)
{
    const organ_dtype_info *info = &dtypes[dtype];
    return elements % info->elements == 0 &&
           !__builtin_mul_overflow(elements / info->elements, (uint64_t)info->bytes, bytes);
}

/* TOP is for tensors without a layer number, LAYER for those with one. */
typedef enum anatomy_place { TOP, LAYER } anatomy_place;

/* The table of names. A pattern matches the end of a module's name, in whole words between dots; after a leading '*'
 * the last word only has to end with the pattern. The caller has removed the numbers of layers, experts and other
 * copies, and ".weight", ".bias" or "_bias". The first matching row applies. A row lists names of Hugging Face first,
 * then names of Meta and Mistral (w1 = gate, w2 = down, w3 = up), then names of GGUF, which all architectures share. */
static const struct anatomy_row {
    anatomy_place where;
    organ_role role;
    const char *patterns[32]; /* terminated by NULL */
} table[] = {
    /* clang-format off */
    /* Parts of sparse attention come first, because their names end like names of other roles. */
    {LAYER, ORGAN_ROLE_INDEXER,
     {"indexer.wq_b", "indexer.wk", "indexer.attn_q_b", "indexer.attn_k", "indexer.q_proj", "indexer.k_proj",
      "self_attn.index_q_proj", "self_attn.index_k_proj", "compressor.wgate"}},
    {LAYER, ORGAN_ROLE_ATTENTION, {"indexer.weights_proj", "indexer.proj", "compressor.ape"}},
    /* Attention */
    {LAYER, ORGAN_ROLE_Q,
     {"self_attn.q_proj", "attn.q_proj", "attention.q_proj", "mixer.q_proj", "linear_attn.q_proj",
      "cross_attn.q_proj", "temporal_block.q_proj", "self_attention.experts.input_linear", "attention.wq",
      "attn_q"}},
    {LAYER, ORGAN_ROLE_K,
     {"self_attn.k_proj", "attn.k_proj", "attention.k_proj", "mixer.k_proj", "linear_attn.k_proj",
      "cross_attn.k_proj", "temporal_block.k_proj", "attention.key", "attention.wk", "attn_k"}},
    {LAYER, ORGAN_ROLE_V,
     {"self_attn.v_proj", "attn.v_proj", "attention.v_proj", "mixer.v_proj", "linear_attn.v_proj",
      "cross_attn.v_proj", "temporal_block.v_proj", "attention.value", "attention.wv", "attn_v"}},
    {LAYER, ORGAN_ROLE_QKV,
     {"self_attn.qkv_proj", "attn.qkv_proj", "attention.query_key_value", "self_attention.query_key_value",
      "self_attn.query_key_value", "attn.c_attn", "attn.Wqkv", "attn_qkv"}},
    {LAYER, ORGAN_ROLE_KV, {"self_attention.kv_proj", "attn.wkv", "compressor.wkv"}},
    {LAYER, ORGAN_ROLE_O,
     {"self_attn.o_proj", "attn.o_proj", "mixer.o_proj", "linear_attn.o_proj", "cross_attn.o_proj",
      "temporal_block.o_proj", "self_attn.out_proj", "attn.out_proj", "attention.out_proj", "attn.c_proj",
      "attention.dense", "self_attention.dense", "self_attn.dense", "self_attention.experts.output_linear",
      "attention.output", "attn.wo_a", "attn.wo_b", "attention.wo", "attn_output"}},
    /* Latent attention. embed_q and unembed_out are the two halves of kv_b_proj, head by head, in MLX. */
    {LAYER, ORGAN_ROLE_Q_A, {"self_attn.q_a_proj", "attention.q_a_proj", "attn.wq_a", "attn_q_a"}},
    {LAYER, ORGAN_ROLE_Q_B, {"self_attn.q_b_proj", "attention.q_b_proj", "attn.wq_b", "attn_q_b"}},
    {LAYER, ORGAN_ROLE_KV_A, {"self_attn.kv_a_proj_with_mqa", "attention.kv_a_proj_with_mqa", "attn_kv_a_mqa"}},
    {LAYER, ORGAN_ROLE_KV_B, {"self_attn.kv_b_proj", "attention.kv_b_proj", "attn_kv_b"}},
    {LAYER, ORGAN_ROLE_K_B, {"self_attn.embed_q", "attn_k_b"}},
    {LAYER, ORGAN_ROLE_V_B, {"self_attn.unembed_out", "attn_v_b"}},
    {LAYER, ORGAN_ROLE_ATTN_GATE,
     {"self_attn.gate_proj", "self_attn.g_proj", "self_attn.linear_gate", "self_attn.output_gate",
      "self_attn.g_a_proj", "self_attn.g_b_proj", "linear_attn.g_proj", "attention.g_proj", "attention.receptance",
      "attn_gate", "ssm_g_a", "ssm_g_b"}},
    {LAYER, ORGAN_ROLE_ATTENTION,
     {"self_attn.sinks", "self_attn.attention_sink", "self_attn.learnable_sink_param", "attn.attn_sink",
      "self_attn.lambda_q1", "self_attn.lambda_q2", "self_attn.lambda_k1", "self_attn.lambda_k2",
      "self_attn.query_decay", "self_attn.key_decay", "self_attn.diagonal_decay", "self_attn.slope_rate",
      "attn_sinks"}},
    /* Recurrent mixers */
    {LAYER, ORGAN_ROLE_IN_PROJ,
     {"mixer.in_proj", "mamba.in_proj", "linear_attn.in_proj_qkv", "linear_attn.in_proj_qkvz",
      "linear_attn.in_proj_z", "conv.in_proj", "temporal_block.linear_x", "temporal_block.linear_y", "ssm_in",
      "shortconv.in_proj"}},
    {LAYER, ORGAN_ROLE_X_PROJ, {"mixer.x_proj", "mamba.x_proj", "ssm_x"}},
    {LAYER, ORGAN_ROLE_DT_PROJ, {"mixer.dt_proj", "mamba.dt_proj", "self_attn.dt_proj", "ssm_dt"}},
    {LAYER, ORGAN_ROLE_OUT_PROJ,
     {"mixer.out_proj", "mamba.out_proj", "linear_attn.out_proj", "conv.out_proj", "temporal_block.linear_out",
      "linear", "ssm_out", "shortconv.out_proj"}},
    {LAYER, ORGAN_ROLE_STATE_GATE,
     {"linear_attn.in_proj_a", "linear_attn.in_proj_b", "linear_attn.in_proj_ba", "linear_attn.a_proj",
      "linear_attn.b_proj", "self_attn.b_proj", "self_attn.f_a_proj", "self_attn.f_b_proj", "attention.b_proj",
      "attention.f_proj",
      "rg_lru.input_gate_weight", "rg_lru.recurrent_gate_weight", "rg_lru.input_gate", "rg_lru.recurrent_gate",
      "ssm_alpha", "ssm_beta", "ssm_ba", "ssm_f_a", "ssm_f_b"}},
    {LAYER, ORGAN_ROLE_CONV,
     {"*conv1d", "temporal_block.conv_1d", "conv.conv", "ssm_conv1d_q", "ssm_conv1d_k", "ssm_conv1d_v",
      "shortconv.conv"}},
    {LAYER, ORGAN_ROLE_STATE,
     {"mixer.A_log", "mixer.D", "mixer.dt", "mamba.A_log", "mamba.D", "mamba.dt", "linear_attn.A_log",
      "linear_attn.dt", "self_attn.A_log", "self_attn.A", "self_attn.dt", "attention.A_log",
      "attention.dt", "rg_lru.recurrent_param",
      "attention.time_decay", "attention.time_first", "*time_mix_key", "*time_mix_value", "*time_mix_receptance",
      "ssm_a", "ssm_d"}},
    /* Feed-forward: plain, numbered, shared, and all experts in one 3-D tensor */
    {LAYER, ORGAN_ROLE_GATE,
     {"gate_proj", "mlp.linear_gate", "shared_experts.linear_gate", "experts.w1", "shared_experts.w1",
      "experts.mlp.w1", "mlp.c_fc_0", "feed_forward.w1", "feed_forward.receptance", "ffn_gate", "ffn_gate_exps",
      "ffn_gate_shexp"}},
    {LAYER, ORGAN_ROLE_UP,
     {"up_proj", "experts.w3", "shared_experts.w3", "experts.mlp.v1", "feed_forward.w3", "feed_forward.key", "fc1",
      "mlp.c_fc", "mlp.c_fc_1", "mlp.dense_h_to_4h", "mlp.fc_in", "ffn_up", "ffn_up_exps", "ffn_up_shexp"}},
    {LAYER, ORGAN_ROLE_GATE_UP,
     {"gate_up_proj", "block_sparse_moe.input_linear", "shared_mlp.input_linear", "mlp.input_linear",
      "ffn_gate_up_exps"}},
    {LAYER, ORGAN_ROLE_DOWN,
     {"down_proj", "experts.w2", "shared_experts.w2", "experts.mlp.w2", "feed_forward.w2", "feed_forward.value",
      "fc2", "mlp.c_proj", "mlp.dense_4h_to_h", "mlp.fc_out", "block_sparse_moe.output_linear",
      "shared_mlp.output_linear", "mlp.output_linear", "ffn_down", "ffn_down_exps", "ffn_down_shexp"}},
    {LAYER, ORGAN_ROLE_ROUTER,
     {"mlp.gate", "mlp.gate.wg", "mlp.gate.expert", "mlp.router", "mlp.router.gate", "mlp.router.classifier",
      "mlp.router.layer", "mlp.expert", "router.proj", "router.scale", "router.per_expert_scale", "feed_forward.router",
      "feed_forward.gate", "feed_forward.expert", "block_sparse_moe.gate", "block_sparse_moe.router",
      "block_sparse_moe.router.layer", "mixer.gate", "ffn.gate", "ffn.gate.tid2eid", "ffn.router.layer",
      "experts.router.layer", "shared_expert_gate", "e_score_correction", "moe.gate", "moe.router",
      "ffn_gate_inp", "ffn_gate_inp_shexp", "exp_probs_b"}},
    {LAYER, ORGAN_ROLE_LATENT, {"fc1_latent_proj", "fc2_latent_proj", "ffn_latent_down", "ffn_latent_up"}},
    /* Extra inputs and paths */
    {LAYER, ORGAN_ROLE_PER_LAYER, {"per_layer_input_gate", "per_layer_projection", "inp_gate", "proj"}},
    {LAYER, ORGAN_ROLE_LOW_RANK,
     {"laurel.linear_left", "laurel.linear_right", "laurel_l", "laurel_r", "gate_up_proj_adapter_list"}},
    {LAYER, ORGAN_ROLE_STREAMS,
     {"altup.correct_output_scale", "altup.correction_coefs", "altup.prediction_coefs", "altup.modality_router",
      "altup_correct_scale", "altup_correct_coef", "altup_predict_coef", "altup_router", "hc_attn_base",
      "hc_attn_fn", "hc_attn_scale", "hc_ffn_base", "hc_ffn_fn", "hc_ffn_scale", "hc_base", "hc_fn", "hc_scale"}},
    {LAYER, ORGAN_ROLE_SCALE,
     {"layer_scalar", "act_fn.alpha_n", "act_fn.alpha_p", "act_fn.beta", "act_fn.eps", "input_residual",
      "post_attention_residual", "layer_output_scale"}},
    /* input_layernorm, pre_feedforward_layernorm, q_norm, kv_a_layernorm, attention_norm, ... */
    {LAYER, ORGAN_ROLE_NORM,
     {"*norm", "*norm_1", "*norm_2", "post_norm1", "post_norm2", "ffn_norm_exps", "ln_1", "ln_2", "ln_attn", "ln_mlp",
      "ln1", "ln2", "pre_ln", "q_layernorm.norms", "k_layernorm.norms"}},
    /* The prediction layers of DeepSeek contain embeddings of their own. */
    {LAYER, ORGAN_ROLE_EMBED, {"embed_tokens"}},
    /* Outside of layers */
    {TOP, ORGAN_ROLE_NORM, {"*norm", "ln_f", "norm_f", "ln_out"}},
    {TOP, ORGAN_ROLE_EMBED,
     {"embed_tokens", "embed", "embed_in", "wte", "word_embeddings", "embeddings", "embed_tokens_per_layer",
      "tok_embeddings", "token_embd", "per_layer_token_embd", "token_types"}},
    {TOP, ORGAN_ROLE_POSITION, {"embed_positions", "wpe", "position_embd"}},
    {TOP, ORGAN_ROLE_OUTPUT, {"lm_head", "embed_out", "head", "output"}},
    {TOP, ORGAN_ROLE_PER_LAYER, {"per_layer_model_projection", "per_layer_model_proj"}},
    {TOP, ORGAN_ROLE_STREAM_PROJ,
     {"altup_projections", "altup_unembed_projections", "altup_proj", "altup_unembd_proj"}},
    {TOP, ORGAN_ROLE_STREAMS, {"hc_base", "hc_fn", "hc_scale", "hc_head_base", "hc_head_fn", "hc_head_scale"}},
    /* clang-format on */
};

bool organ_anatomy_ends(const char *module, size_t length, const char *pattern)
{
    const bool open = *pattern == '*';
    const char *const end = pattern + open;
    const size_t own = strlen(end);
    if (own > length || module[length - 1] != end[own - 1] || memcmp(module + length - own, end, own) != 0)
        return false;
    return open || own == length || module[length - own - 1] == '.';
}

organ_role organ_anatomy_module_role(const char *module, bool in_layer)
{
    const size_t length = strlen(module);
    const anatomy_place where = in_layer ? LAYER : TOP;
    for (const struct anatomy_row *row = table; length && row < table + sizeof table / sizeof *table; row++)
        for (const char *const *pattern = row->patterns; row->where == where && *pattern; pattern++)
            if (organ_anatomy_ends(module, length, *pattern))
                return row->role;
    return in_layer ? organ_draft_module_role(module) : ORGAN_ROLE_OTHER;
}
