/* SPDX-License-Identifier: MIT
 * Plans how a tensor of a GGUF file becomes tensors of safetensors. Each function to_hf_KIND adds the pieces (tensors
 * of the output) and the places (convert_place: rules that copy rows) for one kind of tensor, and returns
 * ORGAN_BAD_INPUT if the tensor has another shape than its kind has. */
#include "orchestrator/surgery/convert/convert_job.h"

#include "orchestrator/machine/extent.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TO_HF_NAME = 600 }; /* bytes for a tensor's name with its NUL */

/* The weight that is being planned, with the part of the model that it is. */
typedef struct hf_move {
    organ_convert_job *job;
    const organ_weight *weight;
    int64_t layer;      /* index of its layer; -1: it belongs to no layer */
    exchange_part part; /* such as PART_Q, bias or not */
    organ_error *error;
} hf_move;

/* ---- names ---- */

/* Writes the whole safetensors name of `part` in the weight's layer to `name`. Returns false, with an error, if the
 * architecture has no name for the part. */
static bool to_hf_name(const hf_move *move, exchange_part part, char name[TO_HF_NAME])
{
    const organ_convert_job *const job = move->job;
    char tail[256];
    const bool named = organ_exchange_part_name(job->family, false, &part, tail);
    if (!named && part.part != PART_OUTPUT) {
        organ_convert_unknown(job, move->weight->name, "has no name in safetensors", move->error);
        return false;
    }
    if (part.part == PART_OUTPUT && !named)
        snprintf(name, TO_HF_NAME, "lm_head.%s", part.bias ? "bias" : "weight");
    else if (part.part == PART_OUTPUT)
        snprintf(name, TO_HF_NAME, "%s", tail);
    else if (move->layer < 0)
        snprintf(name, TO_HF_NAME, "%s%s", job->prefix, tail);
    else
        snprintf(name, TO_HF_NAME, "%s%s.%lld.%s", job->prefix, job->family->ladder ? job->family->ladder : "layers",
                 (long long)move->layer, tail);
    return true;
}

/* Adds the safetensors tensor of `part` in the weight's layer, with this shape, or finds it. Returns the index of the
 * piece, SIZE_MAX after an error. */
static size_t to_hf_piece(const hf_move *move, exchange_part part, unsigned rank, const uint64_t *shape)
{
    char name[TO_HF_NAME];
    return to_hf_name(move, part, name) ? organ_convert_piece(move->job, name, rank, shape, move->error) : SIZE_MAX;
}

/* ---- places ---- */

/* Plans a tensor that becomes one tensor of the same shape. Reverses two changes of llama.cpp's converter, where the
 * architecture has them: subtracts the 1 that was added to norms, and restores the order of rows of q and k in which
 * RoPE pairs the halves of a head. */
static organ_status to_hf_whole(const hf_move *move)
{
    const organ_weight *const w = move->weight;
    const organ_convert_job *const job = move->job;
    const forward_part part = move->part.part;
    convert_place all = organ_convert_all(w, to_hf_piece(move, move->part, w->rank, w->shape), 0);
    if (organ_convert_is_plus_one(job, w, part))
        all.function = CONVERT_MINUS_ONE;
    const bool rotated = part == PART_Q || part == PART_K || part == PART_BIAS_Q || part == PART_BIAS_K;
    if (rotated && job->gguf_family->gguf_pairs) {
        const unsigned width = job->config.kinds[move->layer].head_dim;
        all.halves = true;
        all.block = all.rows = all.per_block = width;
    }
    return organ_convert_place(move->job, &all, move->error);
}

/* Plans a stack of matrices of which safetensors has each as a tensor of its own, numbered by expert or AltUp stream.
 * `part` is the part of the numbered tensors. */
static organ_status to_hf_numbered(const hf_move *move, forward_part part)
{
    const organ_weight *const w = move->weight;
    if (w->rank != 3)
        return organ_convert_unknown(move->job, w->name, "is not a stack of matrices", move->error);
    for (uint64_t m = 0; m < w->shape[0] && !move->error->status; m++) {
        const exchange_part one = {.part = part, .bias = move->part.bias, .number = (int64_t)m};
        convert_place place = organ_convert_all(w, to_hf_piece(move, one, 2, w->shape + 1), 0);
        place.matrix = m;
        place.matrices = 1;
        organ_convert_place(move->job, &place, move->error);
    }
    return move->error->status;
}

/* Plans the norms of q or k. If the architecture has a tensor for the norm of each head (StableLM), each row becomes
 * such a tensor; else the tensor keeps its shape. */
static organ_status to_hf_head_norms(const hf_move *move)
{
    const organ_weight *const w = move->weight;
    const char *const name = organ_forward_part_name(move->job->family->names, move->part.part, false, 0);
    const bool numbered = name && strchr(name, '#') && w->rank == 2;
    for (uint64_t h = 0; numbered && h < w->shape[0] && !move->error->status; h++) {
        const exchange_part one = {.part = move->part.part, .bias = move->part.bias, .number = (int64_t)h};
        convert_place place = organ_convert_all(w, to_hf_piece(move, one, 1, w->shape + 1), 0);
        place.transposed = true; /* row h of the source becomes a column, the vector */
        place.block = place.rows = place.blocks = place.col_step = 1;
        place.from = h;
        place.cols = place.per_block = place.per_matrix = w->shape[1];
        organ_convert_place(move->job, &place, move->error);
    }
    return numbered ? move->error->status : to_hf_whole(move);
}

/* Plans a tensor that safetensors stores in the fused tensor `part`, of twice as many rows: its rows become the second
 * half of each matrix there if `lower`, else the first half. */
static organ_status to_hf_half(const hf_move *move, forward_part part, bool lower)
{
    const organ_weight *const w = move->weight;
    const organ_matrices m = organ_weight_matrices(w);
    const exchange_part both = {.part = part, .number = -1};
    uint64_t shape[4];
    if (w->rank < 2 || w->rank > 4)
        return organ_convert_unknown(move->job, w->name, "is not a matrix", move->error);
    memcpy(shape, w->shape, w->rank * sizeof *shape);
    shape[w->rank - 2] = 2 * m.rows;
    convert_place place = organ_convert_all(w, to_hf_piece(move, both, w->rank, shape), lower ? m.rows : 0);
    place.per_matrix = 2 * m.rows;
    return organ_convert_place(move->job, &place, move->error);
}

/* Returns whether the architecture's own safetensors names (family->names) include a name for this part. */
static bool to_hf_has(const hf_move *move, forward_part part)
{
    return organ_exchange_has_name(move->job->family->names, part);
}

/* Sets the counterpart of the source (convert_source.other) to the GGUF tensor of `part` in the same layer, so that
 * both are read together. Returns ORGAN_BAD_INPUT if the file has no such tensor of the same shape. */
static organ_status to_hf_join(const hf_move *move, forward_part part)
{
    organ_convert_job *const job = move->job;
    const organ_weight *const w = move->weight;
    const exchange_part other = {.part = part, .number = -1};
    char tail[256], name[300];
    organ_exchange_part_name(job->gguf_family, true, &other, tail);
    snprintf(name, sizeof name, "blk.%lld.%s", (long long)move->layer, tail);
    const organ_weight *const found = organ_weights_named(job->weights, name);
    if (!found || !ORGAN_SAME_SHAPE(w, found))
        return organ_convert_unknown(job, w->name, "has no counterpart of the same shape", move->error);
    job->sources[job->source_count].other = found;
    return ORGAN_OK;
}

/* Plans a stack of MXFP4 experts whose codes are copied, as gpt-oss stores it: a tensor NAME_blocks of codes and a
 * tensor NAME_scales. `to` is the part of NAME. If `other` differs from `to`, rows of the counterpart alternate with
 * rows of the source. */
static organ_status to_hf_mxfp4_stack(const hf_move *move, forward_part to, forward_part other)
{
    const organ_weight *const w = move->weight;
    const bool both = other != to;
    /* shape of the codes: experts, rows, groups of a row, bytes of a group; the scales have the first three axes */
    const uint64_t rows = (both ? 2 : 1) * w->shape[1],
                   shape[] = {w->shape[0], rows, w->shape[2] / ORGAN_CONVERT_GROUP, ORGAN_CONVERT_GROUP / 2};
    char name[TO_HF_NAME], part[TO_HF_NAME + 8];
    if (!to_hf_name(move, (exchange_part){.part = to, .number = -1}, name))
        return move->error->status;
    for (unsigned scales = 0; scales < 2 && !move->error->status; scales++) {
        const organ_shard_piece made = {.name = part, .dtype = ORGAN_U8, .rank = scales ? 3 : 4, .shape = shape};
        snprintf(part, sizeof part, "%s%s", name, scales ? "_scales" : "_blocks");
        const size_t piece =
            organ_convert_part(move->job, &made, shape[0] * rows, scales ? CONVERT_SCALES : CONVERT_CODES, move->error);
        convert_place place = organ_convert_all(w, piece, 0);
        place.block = place.rows = 1;
        place.per_block = both ? 2 : 1;
        place.per_matrix = rows;
        place.join = both ? CONVERT_PAIRS : CONVERT_ALONE;
        organ_convert_place(move->job, &place, move->error);
    }
    return move->error->status;
}

/* Returns whether the codes of the source are copied and both the source and its counterpart, if there is one, are
 * MXFP4. */
static bool to_hf_keeps_codes(const hf_move *move)
{
    const convert_source *const source = &move->job->sources[move->job->source_count];
    return source->codes && move->weight->codes->dtype == ORGAN_MXFP4 &&
           (!source->other || source->other->codes->dtype == ORGAN_MXFP4);
}

/* Plans a stack that safetensors has as part `to`, experts x in_features x out_features. If `other` differs from `to`,
 * it is the GGUF part (up) whose columns share this tensor with the columns of the source (gate). */
static organ_status to_hf_transposed_experts(const hf_move *move, forward_part to, forward_part other)
{
    const organ_weight *const w = move->weight;
    const exchange_part part = {.part = to, .number = -1};
    const bool both = other != to;
    if (w->rank != 3)
        return organ_convert_unknown(move->job, w->name, "is not a stack of experts", move->error);
    if (both && to_hf_join(move, other))
        return move->error->status;
    if (to_hf_keeps_codes(move) && strcmp(move->job->exchange->model_type, "gpt_oss") == 0)
        return to_hf_mxfp4_stack(move, to, other);
    const uint64_t shape[] = {w->shape[0], w->shape[2], (both ? 2 : 1) * w->shape[1]};
    convert_place place = organ_convert_all(w, to_hf_piece(move, part, 3, shape), 0);
    place.transposed = true;
    place.cols = place.per_matrix = place.per_block = shape[1];
    place.col_step = 1;
    if (both)
        place.join = move->job->family->mixture->pairs ? CONVERT_PAIRS : CONVERT_ENDS;
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans the biases of gate and of up of all experts, two tensors of GGUF, as one tensor of safetensors in which they
 * alternate. The source is the gate; to_hf_join finds the biases of up. */
static organ_status to_hf_gate_up_biases(const hf_move *move)
{
    const organ_weight *const w = move->weight;
    const exchange_part both = {.part = PART_EXPERTS_BIAS_GATE_UP, .number = -1};
    if (w->rank != 2)
        return organ_convert_unknown(move->job, w->name, "does not have one row for each expert", move->error);
    if (to_hf_join(move, PART_EXPERTS_BIAS_UP))
        return move->error->status;
    const uint64_t shape[] = {w->shape[0], 2 * w->shape[1]};
    convert_place place = organ_convert_all(w, to_hf_piece(move, both, 2, shape), 0);
    place.column_slice = true;
    place.block = place.rows = place.per_block = place.col_step = 1;
    place.cols = w->shape[1];
    place.join = CONVERT_PAIRS;
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans a stack of DBRX, which is (experts x channels) x hidden_size in safetensors: the matrices of the down
 * projection are transposed. */
static organ_status to_hf_flat_stack(const hf_move *move)
{
    const organ_weight *const w = move->weight;
    const bool down = move->part.part == PART_EXPERTS_DOWN;
    if (w->rank != 3)
        return organ_convert_unknown(move->job, w->name, "is not a stack of experts", move->error);
    const uint64_t inner = w->shape[down ? 2 : 1], shape[] = {w->shape[0] * inner, w->shape[down ? 1 : 2]};
    convert_place place = organ_convert_all(w, to_hf_piece(move, move->part, 2, shape), 0);
    if (down) {
        place.transposed = true;
        place.cols = place.per_matrix = place.per_block = inner;
        place.col_step = 1;
    }
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans a stack of experts in the form that the architecture has in safetensors: flat (DBRX), transposed, with gate and
 * up fused in one stack, or a tensor for each expert. */
static organ_status to_hf_experts(const hf_move *move)
{
    if (move->job->family->mixture && move->job->family->mixture->flat)
        return to_hf_flat_stack(move);

    const bool transposed = move->job->family->mixture && move->job->family->mixture->transposed;
    if (transposed && move->part.part == PART_EXPERTS_UP) /* planned with the gates */
        return ORGAN_OK;
    if (transposed && move->part.part == PART_EXPERTS_GATE)
        return to_hf_transposed_experts(move, PART_EXPERTS_GATE_UP, PART_EXPERTS_UP);
    if (transposed)
        return to_hf_transposed_experts(move, PART_EXPERTS_DOWN, PART_EXPERTS_DOWN);
    const bool stacked = to_hf_has(move, PART_EXPERTS_GATE_UP) && !to_hf_has(move, PART_EXPERT_GATE);
    switch (move->part.part) {
    case PART_EXPERTS_GATE:
        return stacked ? to_hf_half(move, PART_EXPERTS_GATE_UP, false) : to_hf_numbered(move, PART_EXPERT_GATE);
    case PART_EXPERTS_UP:
        return stacked ? to_hf_half(move, PART_EXPERTS_GATE_UP, true) : to_hf_numbered(move, PART_EXPERT_UP);
    default:
        return stacked ? to_hf_whole(move) : to_hf_numbered(move, PART_EXPERT_DOWN);
    }
}

/* Plans the stack of keys (if `keys`) or of values (else) of latent attention as rows of kv_b_proj. kv_b_proj has for
 * each head `plain` rows of the key, then the rows of the value. */
static organ_status to_hf_kv_b(const hf_move *move, bool keys)
{
    const organ_forward_config *const c = &move->job->config;
    const uint64_t plain = c->latent.plain, head = plain + c->kinds[move->layer].value_dim;
    const uint64_t shape[] = {c->heads * head, c->latent.rank};
    const exchange_part both = {.part = PART_KV_B, .number = -1};
    const organ_weight *const w = organ_convert_dequantised(move->job);
    convert_place place = organ_convert_all(w, to_hf_piece(move, both, 2, shape), keys ? 0 : plain);
    place.per_matrix = head; /* a matrix of the stack has one head */
    place.transposed = keys;
    place.cols = keys ? plain : 0;
    place.col_step = 1;
    return organ_convert_place(move->job, &place, move->error);
}

/* Adds a place for heads [from, from + heads) of a fused q, k, v. Heads are counted over q, k and v together. The first
 * of these heads begins at row `at` of the output tensor, and each further one `step` rows later. Errors are in
 * move->error. */
static void to_hf_place_heads(const hf_move *move, uint64_t from, uint64_t heads, uint64_t at, uint64_t step)
{
    const organ_weight *const w = move->weight;
    convert_place place = organ_convert_all(w, to_hf_piece(move, move->part, w->rank, w->shape), at);
    place.block = place.rows = move->job->config.kinds[move->layer].head_dim;
    place.from = from;
    place.blocks = heads;
    place.per_block = step;
    if (!move->error->status)
        organ_convert_place(move->job, &place, move->error);
}

/* Returns whether safetensors orders the rows of the fused q, k, v by key-value head: its rows of q, then k, then v. */
static bool to_hf_qkv_is_by_head(const hf_move *move)
{
    const forward_family *const f = move->job->family;
    return f->fused == ORGAN_FUSED_HEADS || (f->early == EARLY_BIGCODE && move->job->config.kv_heads > 1);
}

/* Plans a fused q, k, v for which to_hf_qkv_is_by_head is true. GGUF has all rows of q, then of k, then of v. */
static organ_status to_hf_fused_qkv(const hf_move *move)
{
    const organ_layer_kind *const kind = &move->job->config.kinds[move->layer];
    /* query heads, and rows of the output tensor, for each key-value head */
    const uint64_t head = kind->head_dim, each = kind->heads / kind->kv_heads, group = (each + 2) * head;
    for (uint64_t g = 0; g < kind->kv_heads; g++)
        to_hf_place_heads(move, g * each, each, g * group, head);
    to_hf_place_heads(move, kind->heads, kind->kv_heads, each * head, group);
    to_hf_place_heads(move, kind->heads + kind->kv_heads, kind->kv_heads, (each + 1) * head, group);
    return move->error->status;
}

/* Plans a matrix that safetensors stores as in_features x out_features (Conv1D of GPT-2), the transpose of GGUF. */
static organ_status to_hf_transposed_linear(const hf_move *move)
{
    const organ_weight *const w = organ_convert_dequantised(move->job);
    const uint64_t shape[] = {w->shape[1], w->shape[0]};
    convert_place place = organ_convert_all(w, to_hf_piece(move, move->part, 2, shape), 0);
    place.transposed = true;
    place.cols = place.per_block = shape[0];
    place.col_step = 1;
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans the convolution of a recurrent mixer, which gets a dimension of 1 in the middle: channels x 1 x kernel. */
static organ_status to_hf_conv(const hf_move *move)
{
    const organ_weight *const w = move->weight;
    const uint64_t width = w->shape[w->rank - 1], shape[] = {w->elements / width, 1, width};
    if (w->rank < 2)
        return organ_convert_unknown(move->job, w->name, "is not a convolution", move->error);
    const size_t piece = to_hf_piece(move, move->part, 3, shape);
    if (organ_convert_is_tiled(move->job, move->layer, PART_CONV))
        return organ_convert_tiled(move->job, w, PART_CONV, piece, move->error);
    const convert_place place = organ_convert_all(w, piece, 0);
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans A_log or D of a recurrent mixer. For Mamba-2, GGUF stores a vector, one number for each head, as a column. The
 * value -exp(A_log) of GGUF becomes A_log. In Kimi Linear the vector has the shape 1 x 1 x heads x 1. */
static organ_status to_hf_head_vector(const hf_move *move)
{
    const organ_weight *const w = move->weight;
    const bool column = w->rank == 2 && move->job->config.kinds[move->layer].mixer == ORGAN_MIXER_MAMBA2;
    const bool four = move->job->config.recurrent.by_channel;
    const uint64_t heads[] = {1, 1, w->elements, 1};
    const unsigned rank = column ? 1 : w->rank;
    convert_place place =
        organ_convert_all(w, to_hf_piece(move, move->part, four ? 4 : rank, four ? heads : w->shape), 0);
    if (move->part.part == PART_A_LOG)
        place.function = CONVERT_LOG_MINUS;
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans the gated norm of Mamba-2: the matrix of GGUF, with a row for each group, becomes a vector. */
static organ_status to_hf_grouped_norm(const hf_move *move)
{
    const organ_weight *const w = move->weight;
    if (w->rank != 2)
        return to_hf_whole(move);
    const uint64_t count = w->elements;
    convert_place place = organ_convert_all(w, to_hf_piece(move, move->part, 1, &count), 0);
    place.transposed = true; /* each row of the source becomes a part of the only column, the vector */
    place.block = place.rows = place.col_step = 1;
    place.cols = place.per_block = w->shape[1];
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans the GGUF tensor with q, k and v, or the one with z, as rows of in_proj_qkvz of Qwen3-Next, which has for each
 * key head the rows of q, k, v and z. */
static organ_status to_hf_qkvz(const hf_move *move)
{
    const organ_weight *const w = move->weight;
    const organ_recurrent_config *const r = &move->job->config.recurrent;
    const uint64_t key = r->key_dim, each = r->heads / r->groups, value = each * r->value_dim, keys = r->groups * key;
    const uint64_t shape[] = {r->groups * 2 * (key + value), w->shape[w->rank - 1]};
    const exchange_part all = {.part = PART_MIX_IN, .number = -1};
    const bool gate = move->part.part == PART_MIX_Z;
    /* of q, k and v: rows for each key head, and the first row in the GGUF tensor */
    const uint64_t rows[] = {key, key, value}, first[] = {0, keys, 2 * keys};
    const uint64_t block = organ_common_divisor(key, value); /* all places of a source have blocks of one size */
    convert_place place = organ_convert_all(w, to_hf_piece(move, all, 2, shape), 2 * key + value);
    place.block = place.rows = value;
    place.per_block = 2 * (key + value);
    if (gate)
        return organ_convert_place(move->job, &place, move->error);
    place.block = place.rows = place.per_block = block;
    for (unsigned k = 0; k < 3 * r->groups && !move->error->status; k++) {
        const unsigned part = k % 3, group = k / 3;
        place.from = (first[part] + group * rows[part]) / block;
        place.blocks = rows[part] / block;
        place.at = group * 2 * (key + value) + part * key;
        organ_convert_place(move->job, &place, move->error);
    }
    return move->error->status;
}

/* Corrects move->part of a Falcon norm. In layers with two norms, GGUF's attn_norm is the norm before the feed-forward
 * and attn_norm_2 the norm before the attention. In layers with one norm, exchange_part.first chooses its name. */
static void to_hf_falcon(hf_move *move)
{
    if (move->part.part != PART_NORM_ATTENTION)
        return;
    move->part.first = move->job->config.one_norm;
    if (!move->part.first && strstr(move->weight->name, ".attn_norm."))
        move->part.part = PART_NORM_FFN;
}

/* Returns whether the GGUF file stores the rows of in_proj_qkvz of Qwen3-Next in two tensors. Older GGUF files have one
 * tensor for them, as safetensors files have. */
static bool to_hf_has_split_qkvz(const hf_move *move)
{
    const forward_recurrent *const r = move->job->gguf_family->recurrent;
    return r && r->gguf_split && move->job->config.recurrent.projections == ORGAN_PROJECTIONS_QKV;
}

/* Plans a tensor whose value heads have another order in GGUF (organ_convert_is_tiled). In the output projection the
 * heads are columns. The codes of this projection cannot be copied, because one scale belongs to codes of consecutive
 * columns. */
static organ_status to_hf_tiled(const hf_move *move)
{
    const forward_part part = move->part.part;
    const organ_weight *const w = part == PART_MIX_OUT ? organ_convert_dequantised(move->job) : move->weight;
    return organ_convert_tiled(move->job, w, part, to_hf_piece(move, move->part, w->rank, w->shape), move->error);
}

/* Plans the safetensors tensors of a weight: calls the function for the kind of tensor that its part is. */
static organ_status to_hf_part(const hf_move *move)
{
    const bool fused_shared = to_hf_has(move, PART_SHARED_GATE_UP);
    const bool fused =
        to_hf_has(move, PART_GATE_UP) && !organ_exchange_has_name(move->job->gguf_family->gguf_names, PART_GATE_UP);
    if (move->job->family->transposed && move->layer >= 0 && move->weight->rank == 2)
        return to_hf_transposed_linear(move);
    if (move->part.part >= PART_CONV && move->part.part <= PART_CONV_V)
        return to_hf_conv(move);
    if (organ_convert_is_tiled(move->job, move->layer, move->part.part))
        return to_hf_tiled(move);
    switch (move->part.part) {
    case PART_A_LOG:
    case PART_SKIP:
        return to_hf_head_vector(move);
    case PART_NORM_MIXED:
        return to_hf_grouped_norm(move);
    case PART_NORM_Q:
    case PART_NORM_K:
        return to_hf_head_norms(move);
    case PART_MIX_IN:
    case PART_MIX_Z:
        return to_hf_has_split_qkvz(move) ? to_hf_qkvz(move) : to_hf_whole(move);
    case PART_GATE:
        return fused ? to_hf_half(move, PART_GATE_UP, false) : to_hf_whole(move);
    case PART_UP:
        return fused ? to_hf_half(move, PART_GATE_UP, true) : to_hf_whole(move);
    case PART_QKV:
        return to_hf_qkv_is_by_head(move) ? to_hf_fused_qkv(move) : to_hf_whole(move);
    case PART_K_B:
    case PART_V_B:
        return to_hf_kv_b(move, move->part.part == PART_K_B);
    case PART_EXPERTS_GATE:
    case PART_EXPERTS_UP:
    case PART_EXPERTS_DOWN:
        return to_hf_experts(move);
    case PART_EXPERTS_BIAS_GATE:
        return to_hf_gate_up_biases(move);
    case PART_STREAMS_MAKE:
    case PART_STREAMS_END:
        return to_hf_numbered(move, move->part.part);
    case PART_EXPERTS_BIAS_UP: /* planned with those of the gates */
        return ORGAN_OK;
    case PART_SHARED_GATE:
        return fused_shared ? to_hf_half(move, PART_SHARED_GATE_UP, false) : to_hf_whole(move);
    case PART_SHARED_UP:
        return fused_shared ? to_hf_half(move, PART_SHARED_GATE_UP, true) : to_hf_whole(move);
    default:
        return to_hf_whole(move);
    }
}

/* ---- one weight ---- */

/* Finds the layer and the part of a GGUF tensor by its name, and plans the safetensors tensors of this part. */
organ_status organ_convert_to_hf(organ_convert_job *job, const organ_weight *weight, organ_error *error)
{
    hf_move move = {.job = job, .weight = weight, .layer = -1, .error = error};
    const char *const name = weight->name;
    bool known;
    /* Frequency divisors become members of config.json. */
    if (strcmp(name, "rope_freqs.weight") == 0 || strcmp(name, ORGAN_ROPE_LONG) == 0 ||
        strcmp(name, ORGAN_ROPE_SHORT) == 0)
        return ORGAN_OK;
    if (strncmp(name, "blk.", 4) == 0 && name[4] >= '0' && name[4] <= '9') {
        char *end;
        move.layer = strtol(name + 4, &end, 10);
        known = *end == '.' && organ_exchange_find_part(job->gguf_family, true, false, end + 1, &move.part);
    } else
        known = organ_exchange_find_part(job->gguf_family, true, true, name, &move.part);
    if (!known)
        return organ_convert_unknown(job, name, "has no known name in safetensors", error);
    if (move.layer >= (int64_t)job->config.layers) { /* layers that predict further tokens */
        job->dropped++;
        return ORGAN_OK;
    }
    if (job->family->falcon)
        to_hf_falcon(&move);
    if (move.layer >= 0 && job->config.kinds[move.layer].mixer == ORGAN_MIXER_ATTENTION)
        organ_exchange_attend(&move.part);
    return to_hf_part(&move);
}

/* ---- computed tensors ---- */

/* Adds the parameters of xIELU, which are key-values in GGUF, as tensors of each layer. As in transformers, alpha_p and
 * alpha_n are vectors of one number, beta and eps single numbers. */
organ_status organ_convert_hf_computed(organ_convert_job *job, organ_error *error)
{
    for (unsigned l = 0; l < job->config.layers && job->config.activation == ORGAN_XIELU; l++)
        for (unsigned k = 0; k < 4 && !error->status; k++) {
            const forward_part part = (forward_part)(PART_XIELU_P + k);
            const hf_move move = {.job = job, .layer = l, .error = error};
            char name[TO_HF_NAME];
            if (to_hf_name(&move, (exchange_part){.part = part, .number = -1}, name))
                organ_convert_computed_piece(job, name, part <= PART_XIELU_N, &job->config.kinds[l].xielu[k], 1, error);
        }
    return error->status;
}
