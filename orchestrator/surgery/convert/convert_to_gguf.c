/* SPDX-License-Identifier: MIT
 * Plans how a tensor of safetensors becomes tensors of a GGUF file. Each function to_gguf_KIND adds the pieces (tensors
 * of the output) and the places (convert_place: rules that copy rows) for one kind of tensor, and returns
 * ORGAN_BAD_INPUT if the tensor has another shape than its kind has. */
#include "orchestrator/surgery/convert/convert_job.h"

#include "formats/architecture/text_config.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ROPE_FREQS "rope_freqs.weight"

/* The weight that is being planned, with the part of the model that it is. */
typedef struct gguf_move {
    organ_convert_job *job;
    const organ_weight *weight;
    int64_t layer;      /* index of its layer; -1: it belongs to no layer */
    exchange_part part; /* such as PART_Q, bias or not, and the expert's number in its name */
    organ_error *error;
} gguf_move;

/* ---- names ---- */

/* Adds the GGUF tensor of `part` in the weight's layer, with this shape, or finds it. Returns the index of the piece,
 * SIZE_MAX after an error. */
static size_t to_gguf_piece(const gguf_move *move, forward_part part, unsigned rank, const uint64_t *shape)
{
    if (move->job->family->falcon && part == PART_NORM_ATTENTION && move->job->config.one_norm)
        part = PART_NORM_FFN; /* the only norm of a layer has the GGUF name of the feed-forward's */
    const exchange_part as = {.part = part, .bias = move->part.bias, .number = move->part.number};
    char tail[256], name[300];
    if (!organ_exchange_part_name(move->job->gguf_family, true, &as, tail)) {
        organ_convert_unknown(move->job, move->weight->name, "has no name in GGUF", move->error);
        return SIZE_MAX;
    }
    if (move->layer < 0)
        snprintf(name, sizeof name, "%s", tail);
    else
        snprintf(name, sizeof name, "blk.%lld.%s", (long long)move->layer, tail);
    return organ_convert_piece(move->job, name, rank, shape, move->error);
}

/* ---- places ---- */

/* Plans a tensor that becomes one tensor of the same shape. Applies three changes of llama.cpp's converter, where the
 * architecture has them: adds 1 to norms, reorders rows of q and k so that RoPE pairs neighbours, and multiplies
 * weights of Falcon-H1 by the multipliers of config.json. */
static organ_status to_gguf_whole(const gguf_move *move)
{
    const organ_convert_job *const job = move->job;
    const forward_part part = move->part.part;
    const organ_weight *const w =
        organ_convert_is_multiplied(job, part) ? organ_convert_dequantised(move->job) : move->weight;
    convert_place all = organ_convert_all(w, to_gguf_piece(move, part, w->rank, w->shape), 0);
    if (organ_convert_is_plus_one(job, w, part))
        all.function = CONVERT_PLUS_ONE;
    const bool rotated = part == PART_Q || part == PART_K || part == PART_BIAS_Q || part == PART_BIAS_K;
    if (rotated && job->gguf_family->gguf_pairs) {
        all.pairs = true;
        all.block = all.rows = all.per_block = job->config.kinds[move->layer].head_dim;
    }
    if (organ_convert_is_scaled(job))
        return organ_convert_scaled(move->job, all, part, move->error);
    return organ_convert_place(move->job, &all, move->error);
}

/* Plans a matrix that GGUF stores in the stack `part`: it becomes matrix number move->part.number of the stack's
 * `count` matrices, which belong to experts or AltUp streams. */
static organ_status to_gguf_stacked(const gguf_move *move, forward_part part, uint64_t count)
{
    const organ_weight *const w = move->weight;
    if (w->rank != 2 || move->part.number < 0 || (uint64_t)move->part.number >= count)
        return organ_convert_unknown(move->job, w->name,
                                     part < PART_EMBEDDING ? "is not a matrix of an expert that config.json counts"
                                                           : "is not a matrix of a stream that config.json counts",
                                     move->error);
    const uint64_t shape[3] = {count, w->shape[0], w->shape[1]};
    const convert_place all =
        organ_convert_all(w, to_gguf_piece(move, part, 3, shape), (uint64_t)move->part.number * w->shape[0]);
    return organ_convert_place(move->job, &all, move->error);
}

/* Plans the table of per-layer embeddings (Gemma 3n and 4), which may have fewer rows than the vocabulary has tokens.
 * llama.cpp's converter writes a row for each token, with zeros for tokens without a row (transformers gives them the
 * row of token 0). */
static organ_status to_gguf_per_layer_table(const gguf_move *move)
{
    const organ_weight *const w = move->weight;
    const uint64_t vocabulary = move->job->config.vocabulary, rows = w->shape[0];
    const uint64_t shape[] = {rows < vocabulary ? vocabulary : rows, w->shape[w->rank - 1]};
    const size_t piece = to_gguf_piece(move, move->part.part, 2, shape);
    if (piece == SIZE_MAX)
        return move->error->status;
    convert_piece *const facts = &move->job->facts[piece];
    facts->zeros = shape[0] - rows;
    facts->filled += facts->zeros;
    if (facts->zeros)
        organ_progress_note(move->job->progress,
                            "the %llu tokens without a row in %s get zeros, as llama.cpp's converter writes them",
                            (unsigned long long)facts->zeros, w->name);
    const convert_place all = organ_convert_all(w, piece, 0);
    return organ_convert_place(move->job, &all, move->error);
}

/* Plans a tensor that GGUF divides into two: `upper` gets the first half of each matrix's rows, `lower` the second
 * half. */
static organ_status to_gguf_halves(const gguf_move *move, forward_part upper, forward_part lower)
{
    const organ_weight *const w = move->weight;
    const organ_matrices m = organ_weight_matrices(w);
    uint64_t shape[4];
    if (w->rank < 2 || w->rank > 4 || m.rows % 2)
        return organ_convert_unknown(move->job, w->name, "is not a matrix of two halves", move->error);
    memcpy(shape, w->shape, w->rank * sizeof *shape);
    shape[w->rank - 2] = m.rows / 2;
    for (unsigned half = 0; half < 2 && !move->error->status; half++) {
        convert_place place = organ_convert_all(w, to_gguf_piece(move, half ? lower : upper, w->rank, shape), 0);
        place.first = half * (m.rows / 2);
        place.rows = place.per_matrix = place.per_block = m.rows / 2;
        organ_convert_place(move->job, &place, move->error);
    }
    return move->error->status;
}

/* Plans kv_b_proj of latent attention, which has for each head `plain` rows of the key, then `value` rows of the value.
 * GGUF has two stacks with a matrix for each head; the matrices of the keys are transposed. */
static organ_status to_gguf_kv_b(const gguf_move *move)
{
    const organ_weight *const w = organ_convert_dequantised(move->job);
    const organ_forward_config *const c = &move->job->config;
    const uint64_t plain = c->latent.plain, value = c->kinds[move->layer].value_dim, rank = c->latent.rank;
    const uint64_t keys[] = {c->heads, rank, plain}, values[] = {c->heads, value, rank};
    convert_place place = organ_convert_all(w, to_gguf_piece(move, PART_K_B, 3, keys), 0);
    place.block = plain + value;
    place.rows = plain;
    place.transposed = true;
    place.cols = place.per_block = rank;
    place.col_step = 1;
    if (organ_convert_place(move->job, &place, move->error) != ORGAN_OK)
        return move->error->status;
    place.piece = to_gguf_piece(move, PART_V_B, 3, values);
    place.first = plain;
    place.rows = place.per_block = value;
    place.transposed = false;
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans a fused q, k, v, which has for each key-value head the rows of its query heads, then its rows of k, then its
 * rows of v. GGUF has all rows of q, then all of k, then all of v. */
static organ_status to_gguf_fused_qkv(const gguf_move *move)
{
    const organ_weight *const w = move->weight;
    const organ_layer_kind *const kind = &move->job->config.kinds[move->layer];
    const uint64_t head = kind->head_dim, q = (uint64_t)kind->heads / kind->kv_heads * head;
    /* of q, k and v: rows for each key-value head, the first of them there, and the first row in GGUF */
    const uint64_t rows[] = {q, head, head}, first[] = {0, q, q + head};
    const uint64_t at[] = {0, kind->heads * head, (kind->heads + kind->kv_heads) * head};
    for (unsigned k = 0; k < 3 && !move->error->status; k++) {
        convert_place place = organ_convert_all(w, to_gguf_piece(move, PART_QKV, w->rank, w->shape), at[k]);
        place.block = q + 2 * head;
        place.first = first[k];
        place.rows = place.per_block = rows[k];
        organ_convert_place(move->job, &place, move->error);
    }
    return move->error->status;
}

/* Plans a matrix that transformers stores as in_features x out_features (Conv1D of GPT-2). GGUF has the transpose. */
static organ_status to_gguf_transposed_linear(const gguf_move *move)
{
    const organ_weight *const w = organ_convert_dequantised(move->job);
    const uint64_t shape[] = {w->shape[1], w->shape[0]};
    convert_place place = organ_convert_all(w, to_gguf_piece(move, move->part.part, 2, shape), 0);
    place.transposed = true;
    place.cols = place.per_block = shape[0];
    place.col_step = 1;
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans a stack of MXFP4 experts whose codes are copied; they are stored as experts x out_features x in_features. If
 * `second` differs from `first`, a matrix of the stack has the rows of both parts (gate and up), alternating or as two
 * halves, and GGUF has a stack for each part. */
static organ_status to_gguf_mxfp4_stack(const gguf_move *move, forward_part first, forward_part second)
{
    const organ_weight *const w = move->weight;
    const uint64_t half[] = {w->shape[0], w->shape[1] / 2, w->shape[2]};
    if (first == second)
        return to_gguf_whole(move);
    if (!move->job->family->mixture->pairs)
        return to_gguf_halves(move, first, second);
    for (unsigned part = 0; part < 2 && !move->error->status; part++) {
        convert_place place = organ_convert_all(w, to_gguf_piece(move, part ? second : first, 3, half), 0);
        place.block = 2;
        place.first = part;
        place.rows = place.per_block = 1;
        place.per_matrix = half[1];
        organ_convert_place(move->job, &place, move->error);
    }
    return move->error->status;
}

/* Plans a stack stored as experts x in_features x out_features, which GGUF stores with each matrix transposed. If
 * `second` differs from `first`, the stack has the columns of both parts (gate and up), and GGUF has a stack for each
 * part. The columns alternate if mixture->pairs is set, else those of `first` come first. */
static organ_status to_gguf_transposed_experts(const gguf_move *move, forward_part first, forward_part second)
{
    const organ_weight *const w = move->weight;
    const bool pairs = move->job->family->mixture->pairs, both = second != first;
    const organ_matrices m = organ_weight_matrices(w);
    const uint64_t cols = both ? m.cols / 2 : m.cols, shape[] = {m.count, cols, m.rows};
    if (w->rank != 3)
        return organ_convert_unknown(move->job, w->name, "is not a stack of experts", move->error);
    if (move->job->sources[move->job->source_count].codes) /* codes are stored as out_features x in_features already */
        return to_gguf_mxfp4_stack(move, first, second);
    for (unsigned part = 0; part < (both ? 2u : 1u) && !move->error->status; part++) {
        convert_place place = organ_convert_all(w, to_gguf_piece(move, part ? second : first, 3, shape), 0);
        place.transposed = true;
        place.cols = place.per_matrix = place.per_block = cols;
        place.col = pairs || !both ? part : part * cols; /* first column of the part */
        place.col_step = pairs && both ? 2 : 1;
        organ_convert_place(move->job, &place, move->error);
    }
    return move->error->status;
}

/* Plans a stack of DBRX, stored as (experts x channels) x hidden_size. GGUF has experts x out_features x in_features,
 * so the matrices of the down projection are transposed. */
static organ_status to_gguf_flat_stack(const gguf_move *move)
{
    const organ_weight *const w = move->weight;
    const organ_forward_config *const c = &move->job->config;
    const bool down = move->part.part == PART_EXPERTS_DOWN;
    const uint64_t inner = c->expert_intermediate, hidden = c->hidden;
    const uint64_t shape[] = {c->experts, down ? hidden : inner, down ? inner : hidden};
    convert_place place = organ_convert_all(w, to_gguf_piece(move, move->part.part, 3, shape), 0);
    if (down) {
        place.transposed = true;
        place.block = place.rows = inner;
        place.cols = place.per_block = hidden;
        place.col_step = 1;
    }
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans the biases of gate and up of all experts, a tensor of experts x 2 channels in which gate and up alternate. GGUF
 * has a tensor for each of them. */
static organ_status to_gguf_gate_up_biases(const gguf_move *move)
{
    const organ_weight *const w = move->weight;
    const organ_matrices m = organ_weight_matrices(w);
    const uint64_t shape[] = {m.rows, m.cols / 2};
    if (w->rank != 2)
        return organ_convert_unknown(move->job, w->name, "does not have one row for each expert", move->error);
    for (unsigned part = 0; part < 2 && !move->error->status; part++) {
        const forward_part names[] = {PART_EXPERTS_BIAS_GATE, PART_EXPERTS_BIAS_UP};
        convert_place place = organ_convert_all(w, to_gguf_piece(move, names[part], 2, shape), 0);
        place.column_slice = true;
        place.block = place.rows = place.per_block = 1;
        place.col = part;
        place.col_step = 2;
        place.cols = m.cols / 2;
        organ_convert_place(move->job, &place, move->error);
    }
    return move->error->status;
}

/* Plans the convolution of a recurrent mixer, channels x 1 x kernel. GGUF has channels x kernel, but 1 x channels x 1 x
 * kernel if q, k and v have separate convolutions. */
static organ_status to_gguf_conv(const gguf_move *move)
{
    const organ_weight *const w = move->weight;
    const bool own = move->part.part != PART_CONV;
    const uint64_t shape[] = {w->shape[0], w->shape[w->rank - 1]}, four[] = {1, shape[0], 1, shape[1]};
    if (w->rank != 3 || w->shape[1] != 1)
        return organ_convert_unknown(move->job, w->name, "is not a convolution of single channels", move->error);
    convert_place place =
        organ_convert_all(w, to_gguf_piece(move, move->part.part, own ? 4 : 2, own ? four : shape), 0);
    /* for convert_place the source has one matrix for each channel, of one row */
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans in_proj_qkvz of Qwen3-Next, which has for each key head the rows of q, k, v and z. GGUF has all rows of q, then
 * of k, then of v in one tensor, and those of z in another. */
static organ_status to_gguf_qkvz(const gguf_move *move)
{
    const organ_weight *const w = move->weight;
    const organ_recurrent_config *const r = &move->job->config.recurrent;
    const uint64_t key = r->key_dim, value = (uint64_t)r->heads / r->groups * r->value_dim, keys = r->groups * key;
    /* of q, k, v and z: rows for each key head, and the first row in the output tensor */
    const uint64_t rows[] = {key, key, value, value}, at[] = {0, keys, 2 * keys, 0};
    const uint64_t shapes[2][2] = {{2 * keys + r->groups * value, w->shape[w->rank - 1]},
                                   {r->groups * value, w->shape[w->rank - 1]}};
    for (unsigned k = 0, first = 0; k < 4 && !move->error->status; first += (unsigned)rows[k++]) {
        convert_place place =
            organ_convert_all(w, to_gguf_piece(move, k == 3 ? PART_MIX_Z : PART_MIX_IN, 2, shapes[k == 3]), at[k]);
        place.block = 2 * (key + value);
        place.first = first;
        place.rows = place.per_block = rows[k];
        organ_convert_place(move->job, &place, move->error);
    }
    return move->error->status;
}

/* Plans a tensor whose value heads have another order in GGUF (organ_convert_is_tiled). In the output projection the
 * heads are columns. The codes of this projection cannot be copied, because one scale belongs to codes of consecutive
 * columns. */
static organ_status to_gguf_tiled(const gguf_move *move)
{
    const forward_part part = move->part.part;
    const organ_weight *const w = part == PART_MIX_OUT ? organ_convert_dequantised(move->job) : move->weight;
    const uint64_t conv[] = {w->shape[0], w->shape[w->rank - 1]};
    const bool is_conv = part == PART_CONV && w->rank == 3 && w->shape[1] == 1;
    const size_t piece = is_conv ? to_gguf_piece(move, part, 2, conv) : to_gguf_piece(move, part, w->rank, w->shape);
    return organ_convert_tiled(move->job, w, part, piece, move->error);
}

/* Plans A_log or D of a recurrent mixer. GGUF stores a vector, one number for each head, as a column for Mamba-2. A_log
 * becomes -exp(A_log). */
static organ_status to_gguf_head_vector(const gguf_move *move)
{
    const organ_weight *const w = move->weight;
    const bool column = w->rank == 1 && move->job->config.kinds[move->layer].mixer == ORGAN_MIXER_MAMBA2;
    const uint64_t shape[] = {w->shape[0], 1};
    convert_place place =
        organ_convert_all(w, to_gguf_piece(move, move->part.part, column ? 2 : w->rank, column ? shape : w->shape), 0);
    if (move->part.part == PART_A_LOG)
        place.function = CONVERT_MINUS_EXP;
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans the gated norm of Mamba-2: its weight vector becomes a matrix with a row for each group. In layers with another
 * mixer, and if the weight is no vector, the norm is copied as a whole. */
static organ_status to_gguf_grouped_norm(const gguf_move *move)
{
    const organ_weight *const w = move->weight;
    const uint64_t groups = move->job->config.recurrent.groups, shape[] = {groups, w->shape[0] / groups};
    if (move->job->config.kinds[move->layer].mixer != ORGAN_MIXER_MAMBA2 || w->rank != 1)
        return to_gguf_whole(move);
    convert_place place = organ_convert_all(w, to_gguf_piece(move, move->part.part, 2, shape), 0);
    place.transposed = true; /* of each group: its values, a part of the source's only column, become a row */
    place.block = place.rows = shape[1];
    place.cols = place.col_step = place.per_block = 1;
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans the norm of q or k. If the name has the number of a head (StableLM), the vector becomes row number
 * move->part.number of a matrix of heads x head_dim; else the tensor keeps its shape. */
static organ_status to_gguf_head_norm(const gguf_move *move)
{
    const organ_weight *const w = move->weight;
    const organ_layer_kind *const kind = &move->job->config.kinds[move->layer];
    const uint64_t heads = move->part.part == PART_NORM_Q ? kind->heads : kind->kv_heads;
    const uint64_t shape[] = {heads, w->shape[0]};
    if (move->part.number < 0)
        return to_gguf_whole(move);
    if (w->rank != 1 || (uint64_t)move->part.number >= heads)
        return organ_convert_unknown(move->job, w->name, "is not the norm of a head that config.json counts",
                                     move->error);
    convert_place place =
        organ_convert_all(w, to_gguf_piece(move, move->part.part, 2, shape), (uint64_t)move->part.number);
    place.transposed = true; /* the source is a column, which becomes a row */
    place.block = place.rows = shape[1];
    place.cols = place.col_step = place.per_block = place.per_matrix = 1;
    return organ_convert_place(move->job, &place, move->error);
}

/* In a layer with experts and without a dense feed-forward, changes move->part from a part of the dense feed-forward to
 * that of the shared expert: Granite 4 hybrids use one name for both parts. */
static void to_gguf_correct_shared_expert(gguf_move *move)
{
    if (move->layer < 0 || !move->job->config.kinds[move->layer].mixture ||
        move->job->config.kinds[move->layer].intermediate > 0)
        return;
    if (move->part.part == PART_GATE_UP)
        move->part.part = PART_SHARED_GATE_UP;
    else if (move->part.part == PART_DOWN)
        move->part.part = PART_SHARED_DOWN;
}

/* Returns whether a stack of experts is stored as experts x in_features x out_features. If the architecture has files
 * of both forms (forward_mixture.or_straight), decides by the shape. */
static bool to_gguf_is_transposed(const gguf_move *move)
{
    const forward_mixture *const m = move->job->family->mixture;
    const organ_weight *const w = move->weight;
    const bool down = move->part.part == PART_EXPERTS_DOWN;
    const uint64_t rows = down ? move->job->config.hidden : 2 * move->job->config.expert_intermediate;
    const uint64_t cols = down ? move->job->config.expert_intermediate : move->job->config.hidden;
    return m && m->transposed && !(m->or_straight && w->rank == 3 && w->shape[1] == rows && w->shape[2] == cols);
}

/* Plans the GGUF tensors of a weight: calls the function for the kind of tensor that its part is. */
static organ_status to_gguf_part(const gguf_move *move)
{
    const forward_family *const gguf = move->job->gguf_family;
    const unsigned experts = move->job->config.experts;
    const bool transposed = to_gguf_is_transposed(move);
    if (move->job->family->transposed && move->layer >= 0 && move->weight->rank == 2)
        return to_gguf_transposed_linear(move);
    if (organ_convert_is_tiled(move->job, move->layer, move->part.part))
        return to_gguf_tiled(move);
    if (move->job->family->mixture && move->job->family->mixture->flat && move->part.part >= PART_EXPERTS_GATE &&
        move->part.part <= PART_EXPERTS_DOWN)
        return to_gguf_flat_stack(move);
    switch (move->part.part) {
    case PART_MIX_IN:
        return gguf->recurrent && gguf->recurrent->gguf_split ? to_gguf_qkvz(move) : to_gguf_whole(move);
    case PART_KV_B:
        return to_gguf_kv_b(move);
    case PART_CONV:
    case PART_CONV_Q:
    case PART_CONV_K:
    case PART_CONV_V:
        return to_gguf_conv(move);
    case PART_A_LOG:
    case PART_SKIP:
        return to_gguf_head_vector(move);
    case PART_NORM_MIXED:
        return to_gguf_grouped_norm(move);
    case PART_NORM_Q:
    case PART_NORM_K:
        return to_gguf_head_norm(move);
    case PART_EXPERTS_DOWN:
        return transposed ? to_gguf_transposed_experts(move, PART_EXPERTS_DOWN, PART_EXPERTS_DOWN)
                          : to_gguf_whole(move);
    case PART_EXPERTS_BIAS_GATE_UP:
        return to_gguf_gate_up_biases(move);
    case PART_PER_LAYER_TABLE:
        return to_gguf_per_layer_table(move);
    case PART_STREAMS_MAKE:
    case PART_STREAMS_END:
        return to_gguf_stacked(move, move->part.part, move->job->config.streams - 1);
    case PART_EXPERT_GATE:
        return to_gguf_stacked(move, PART_EXPERTS_GATE, experts);
    case PART_EXPERT_UP:
        return to_gguf_stacked(move, PART_EXPERTS_UP, experts);
    case PART_EXPERT_DOWN:
        return to_gguf_stacked(move, PART_EXPERTS_DOWN, experts);
    case PART_EXPERTS_GATE_UP:
        if (transposed)
            return to_gguf_transposed_experts(move, PART_EXPERTS_GATE, PART_EXPERTS_UP);
        return organ_exchange_has_name(gguf->gguf_names, PART_EXPERTS_GATE_UP)
                   ? to_gguf_whole(move)
                   : to_gguf_halves(move, PART_EXPERTS_GATE, PART_EXPERTS_UP);
    case PART_SHARED_GATE_UP:
        return to_gguf_halves(move, PART_SHARED_GATE, PART_SHARED_UP);
    case PART_GATE_UP:
        if (!organ_forward_part_name(gguf->gguf_names, PART_GATE_UP, true, 0))
            return to_gguf_halves(move, PART_GATE, PART_UP);
        return to_gguf_whole(move);
    case PART_QKV:
        return move->job->config.fused == ORGAN_FUSED_HEADS ? to_gguf_fused_qkv(move) : to_gguf_whole(move);
    default:
        return to_gguf_whole(move);
    }
}

/* ---- one weight ---- */

/* Returns whether the output does not get the weight: because llama.cpp computes it, because it is a copy of the tied
 * embeddings, or because it belongs to vision, audio or multi-token prediction. Counts weights of vision, audio and
 * multi-token prediction in job->dropped. */
static bool to_gguf_is_dropped(organ_convert_job *job, const organ_weight *weight)
{
    static const char *const computed[] = {
        ".rotary_emb.inv_freq",   ".attention.bias",      ".attention.masked_bias",   ".self_attn.slope_rate",
        ".self_attn.query_decay", ".self_attn.key_decay", ".self_attn.diagonal_decay"};
    const organ_role role = weight->anatomy.role;
    for (size_t k = 0; k < sizeof computed / sizeof *computed; k++) {
        const char *const at = strstr(weight->name, computed[k]);
        if (at && at[strlen(computed[k])] == 0)
            return true;
    }
    if (job->config.tied_output && strcmp(weight->name, organ_text_head(job->weights)) == 0)
        return true;
    const bool other = role == ORGAN_ROLE_VISION || role == ORGAN_ROLE_AUDIO || role == ORGAN_ROLE_MTP;
    job->dropped += other;
    return other;
}

/* Sets move->layer and move->part from the weight's name. Returns false if the architecture has no such name. */
static bool to_gguf_find(gguf_move *move)
{
    const organ_convert_job *const job = move->job;
    const char *name = move->weight->name, *const layers = job->family->ladder ? job->family->ladder : "layers";
    const size_t prefix = strlen(job->prefix), length = strlen(layers);
    char head[256];
    const char *const own = organ_forward_part_name(job->family->names, PART_OUTPUT, false, 0);
    move->layer = -1;
    const char *const output = own ? own : organ_text_head(job->weights);
    if (strcmp(name, output) == 0 || strcmp(name, organ_forward_bias_name(output, head)) == 0) {
        move->part = (exchange_part){.part = PART_OUTPUT, .bias = strcmp(name, output) != 0, .number = -1};
        return true;
    }
    if (strncmp(name, job->prefix, prefix))
        return false;
    name += prefix;
    if (strncmp(name, layers, length) || name[length] != '.' || name[length + 1] < '0' || name[length + 1] > '9')
        return organ_exchange_find_part(job->family, false, true, name, &move->part);
    char *end;
    move->layer = strtol(name + length + 1, &end, 10);
    return *end == '.' && organ_exchange_find_part(job->family, false, false, end + 1, &move->part);
}

/* Reads a parameter of xIELU into the layer's configuration; convert_keys.c writes the parameters of all layers as an
 * array. */
static organ_status to_gguf_xielu(const gguf_move *move)
{
    if (move->weight->elements != 1)
        return organ_convert_unknown(move->job, move->weight->name, "is not a single number", move->error);
    return organ_convert_values(move->job, move->weight,
                                &move->job->config.kinds[move->layer].xielu[move->part.part - PART_XIELU_P],
                                move->error);
}

/* Finds the layer and the part of a weight of a safetensors model by its name, and plans the GGUF tensors of this
 * part. */
organ_status organ_convert_to_gguf(organ_convert_job *job, const organ_weight *weight, organ_error *error)
{
    gguf_move move = {.job = job, .weight = weight, .error = error};
    if (to_gguf_is_dropped(job, weight))
        return ORGAN_OK;
    if (!to_gguf_find(&move))
        return organ_convert_unknown(job, weight->name, "has no known name in GGUF", error);
    if (move.layer >= (int64_t)job->config.layers) { /* layers that predict further tokens */
        job->dropped++;
        return ORGAN_OK;
    }
    if (move.part.part >= PART_XIELU_P && move.part.part <= PART_XIELU_EPS)
        return to_gguf_xielu(&move);
    if (move.part.part == PART_BIAS_Q && job->config.fused != ORGAN_FUSED_NONE) /* the name of the fused bias */
        move.part = (exchange_part){.part = PART_QKV, .bias = true, .number = -1};
    to_gguf_correct_shared_expert(&move);
    return to_gguf_part(&move);
}

/* ---- computed tensors ---- */

/* Adds a vector of `count` computed values to the output. */
static organ_status to_gguf_computed(organ_convert_job *job, const char *name, const float *values, uint64_t count,
                                     organ_error *error)
{
    organ_convert_computed_piece(job, name, 1, values, count, error);
    return error->status;
}

/* Adds rope_freqs.weight, a frequency divisor for each pair of dimensions: the divisors of Llama 3's rotation, or those
 * of Gemma 4's rotation, which are 1 for rotated pairs and ORGAN_CONVERT_STILL for the others. */
static organ_status to_gguf_rope_freqs(organ_convert_job *job, organ_error *error)
{
    const organ_rope_config *const r = &job->config.rope;
    float *const divisors = malloc((r->dimensions / 2 + 1) * sizeof *divisors);
    if (!divisors)
        return organ_fail_memory(error, ROPE_FREQS);
    if (r->kind == ORGAN_ROPE_LLAMA3)
        organ_convert_llama3(r, divisors);
    for (unsigned k = 0; k < r->dimensions / 2 && r->kind == ORGAN_ROPE_PROPORTIONAL; k++)
        divisors[k] = k < r->angles ? 1 : ORGAN_CONVERT_STILL;
    to_gguf_computed(job, ROPE_FREQS, divisors, r->dimensions / 2, error);
    free(divisors);
    return error->status;
}

/* Adds the tensors of frequency divisors, which only GGUF files have; config.json has parameters instead. Returns
 * ORGAN_BAD_INPUT for a rotation that GGUF files of the architecture cannot express. */
organ_status organ_convert_gguf_computed(organ_convert_job *job, organ_error *error)
{
    const organ_rope_config *const r = &job->config.rope;
    const unsigned count = r->dimensions / 2;
    switch (r->kind) {
    case ORGAN_ROPE_DEFAULT:
    case ORGAN_ROPE_LINEAR:
    case ORGAN_ROPE_YARN:
        return ORGAN_OK;
    case ORGAN_ROPE_LLAMA3:
        return to_gguf_rope_freqs(job, error);
    case ORGAN_ROPE_PROPORTIONAL:
        if (r->factor == 1)
            return to_gguf_rope_freqs(job, error);
        break;
    case ORGAN_ROPE_LONGROPE:
        if (strcmp(job->exchange->gguf, "phi3") == 0 &&
            to_gguf_computed(job, ORGAN_ROPE_LONG, r->long_factors, count, error) == ORGAN_OK)
            to_gguf_computed(job, ORGAN_ROPE_SHORT, r->short_factors, count, error);
        if (strcmp(job->exchange->gguf, "phi3") == 0)
            return error->status;
        break;
    case ORGAN_ROPE_DYNAMIC:
        break;
    }
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: config.json: the rope_type cannot be expressed in a GGUF file of %s",
                      job->model->path, job->exchange->gguf);
}
