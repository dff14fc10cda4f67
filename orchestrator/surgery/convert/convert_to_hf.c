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
        return organ_convert_unknown(move->job, w->name, "is no stack of experts", move->error);
    for (uint64_t m = 0; m < w->shape[0] && !move->error->status; m++) {
        const exchange_part one = {.part = part, .bias = move->part.bias, .number = (int64_t)m};
        convert_place place = organ_convert_all(w, to_hf_piece(move, one, 2, w->shape + 1), 0);
        place.matrix = m;
        place.matrices = 1;
        organ_convert_place(move->job, &place, move->error);
    }
    return move->error->status;
}

static organ_status to_hf_part(const hf_move *move)
{
    switch (move->part.part) {
    case PART_EXPERTS_GATE:
        return to_hf_numbered(move, PART_EXPERT_GATE);
    case PART_EXPERTS_UP:
        return to_hf_numbered(move, PART_EXPERT_UP);
    case PART_EXPERTS_DOWN:
        return to_hf_numbered(move, PART_EXPERT_DOWN);
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
    /* config.json says these. */
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
        return organ_convert_unknown(job, name, "is unknown: its name in safetensors is not known", error);
    if (move.layer >= (int64_t)job->config.layers) { /* layers that predict further tokens */
        job->dropped++;
        return ORGAN_OK;
    }
    return to_hf_part(&move);
}
