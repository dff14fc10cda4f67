/* SPDX-License-Identifier: MIT
 * The tensors of safetensors that a tensor of a GGUF file becomes. */
#include "orchestrator/surgery/convert/convert_job.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct hf_move {
    organ_convert_job *job;
    const organ_weight *weight;
    int64_t layer; /* -1: none */
    exchange_part part;
    organ_error *error;
} hf_move;

/* ---- names ---- */

/* Adds a tensor to the output under its name in safetensors; returns its number, SIZE_MAX if it has no name. */
static size_t to_hf_piece(const hf_move *move, exchange_part part, unsigned rank, const uint64_t *shape)
{
    const organ_convert_job *const job = move->job;
    char tail[256], name[600];
    const bool named = organ_exchange_part_name(job->family, false, &part, tail);
    if (!named && part.part != PART_OUTPUT) {
        organ_convert_unknown(job, move->weight->name, "has no name in safetensors", move->error);
        return SIZE_MAX;
    }
    if (part.part == PART_OUTPUT && !named)
        snprintf(name, sizeof name, "lm_head.%s", part.bias ? "bias" : "weight");
    else if (part.part == PART_OUTPUT)
        snprintf(name, sizeof name, "%s", tail);
    else if (move->layer < 0)
        snprintf(name, sizeof name, "%s%s", job->prefix, tail);
    else
        snprintf(name, sizeof name, "%s%s.%lld.%s", job->prefix, job->family->ladder ? job->family->ladder : "layers",
                 (long long)move->layer, tail);
    return organ_convert_piece(move->job, name, rank, shape, move->error);
}

/* ---- places ---- */

static bool to_hf_subtracts_one(const hf_move *move)
{
    const char *const name = move->weight->name, *const end = strstr(name, "norm.weight");
    return move->job->exchange->norms_plus_one && end && end[strlen("norm.weight")] == 0;
}

/* Copies a whole tensor; rows of q and k that llama.cpp has reordered go back to their order. */
static organ_status to_hf_whole(const hf_move *move)
{
    const organ_weight *const w = move->weight;
    const organ_convert_job *const job = move->job;
    const forward_part part = move->part.part;
    convert_place all = organ_convert_all(w, to_hf_piece(move, move->part, w->rank, w->shape), 0);
    if (to_hf_subtracts_one(move))
        all.function = CONVERT_MINUS_ONE;
    const bool rotated = part == PART_Q || part == PART_K || part == PART_BIAS_Q || part == PART_BIAS_K;
    if (rotated && job->gguf_family->gguf_pairs) {
        const unsigned width = job->config.kinds[move->layer].head_dim;
        all.halves = true;
        all.block = all.rows = all.per_block = width;
    }
    return organ_convert_place(move->job, &all, move->error);
}

/* Each matrix of a stack is a tensor of its own. */
static organ_status to_hf_numbered(const hf_move *move, forward_part part)
{
    const organ_weight *const w = move->weight;
    if (w->rank != 3)
        return organ_convert_unknown(move->job, w->name, "is not a stack of experts", move->error);
    for (uint64_t m = 0; m < w->shape[0] && !move->error->status; m++) {
        const exchange_part one = {.part = part, .bias = move->part.bias, .number = (int64_t)m};
        convert_place place = organ_convert_all(w, to_hf_piece(move, one, 2, w->shape + 1), 0);
        place.matrix = m;
        place.matrices = 1;
        organ_convert_place(move->job, &place, move->error);
    }
    return move->error->status;
}

/* Plans the upper or the lower half of each matrix of a fused tensor. */
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

/* Returns whether the published files of the architecture have a name of their own for this part. */
static bool to_hf_has(const hf_move *move, forward_part part)
{
    for (const forward_name *n = move->job->family->names; n && n->name; n++)
        if (n->part == part)
            return true;
    return false;
}

static organ_status to_hf_experts(const hf_move *move)
{
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

/* Plans kv_b_proj from the two stacks of latent attention: for each head the rows of the key, then those of the
 * value. */
static organ_status to_hf_latent(const hf_move *move, bool keys)
{
    const organ_forward_config *const c = &move->job->config;
    const uint64_t plain = c->latent.plain, head = plain + c->kinds[move->layer].value_dim;
    const uint64_t shape[] = {c->heads * head, c->latent.rank};
    const exchange_part both = {.part = PART_KV_B, .number = -1};
    convert_place place = organ_convert_all(move->weight, to_hf_piece(move, both, 2, shape), keys ? 0 : plain);
    place.per_matrix = head;
    place.transposed = keys;
    place.cols = keys ? plain : 0;
    place.col_step = 1;
    return organ_convert_place(move->job, &place, move->error);
}

/* Plans the tensors of transformers for a tensor of GGUF, by the part of the layer that it is. */
static organ_status to_hf_part(const hf_move *move)
{
    const bool fused_shared = to_hf_has(move, PART_SHARED_GATE_UP);
    switch (move->part.part) {
    case PART_K_B:
    case PART_V_B:
        return to_hf_latent(move, move->part.part == PART_K_B);
    case PART_EXPERTS_GATE:
    case PART_EXPERTS_UP:
    case PART_EXPERTS_DOWN:
        return to_hf_experts(move);
    case PART_SHARED_GATE:
        return fused_shared ? to_hf_half(move, PART_SHARED_GATE_UP, false) : to_hf_whole(move);
    case PART_SHARED_UP:
        return fused_shared ? to_hf_half(move, PART_SHARED_GATE_UP, true) : to_hf_whole(move);
    default:
        return to_hf_whole(move);
    }
}

/* ---- one weight ---- */

organ_status organ_convert_to_hf(organ_convert_job *job, const organ_weight *weight, organ_error *error)
{
    hf_move move = {.job = job, .weight = weight, .layer = -1, .error = error};
    const char *const name = weight->name;
    bool known;
    /* These are members of config.json. */
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
    return to_hf_part(&move);
}
