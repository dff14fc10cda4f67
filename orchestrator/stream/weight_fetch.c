/* SPDX-License-Identifier: MIT
 * Reads the bytes of a weight's tensors: from memory if organ_weight_reader_hold has read them, else from the file. */
#include "orchestrator/stream/weight_parts.h"

#include <inttypes.h>
#include <string.h>

/* Number of a weight's tensors that organ_weight_reader_hold keeps in memory. */
#define HELD (sizeof((organ_weight_reader *)0)->held / sizeof(weight_held))

/* `k` is 0 for codes, 1 for scales, 2 for zero points, 3 for biases. The matrices need their share of the tensor if
 * its bytes can be divided evenly among all matrices, else the whole tensor. The member `tensor` of the result is
 * NULL if the weight has no tensor k. */
static weight_held weight_fetch_part_of(const organ_weight *w, size_t k, uint64_t first, uint64_t count)
{
    const organ_tensor *const tensors[HELD] = {w->codes, w->scale, w->zero, w->bias}, *const t = tensors[k];
    if (!t)
        return (weight_held){0};
    const uint64_t all = organ_weight_matrices(w).count, share = all && t->bytes % all == 0 ? t->bytes / all : 0;
    return share ? (weight_held){t, first * share, (first + count) * share, NULL} : (weight_held){t, 0, t->bytes, NULL};
}

uint64_t organ_weight_held_bytes(const organ_weight *weight, uint64_t count)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < HELD; k++) {
        const weight_held part = weight_fetch_part_of(weight, k, 0, count);
        bytes += (part.to - part.from + 63) & ~(uint64_t)63;
    }
    return bytes;
}

/* Each range begins at a multiple of 64 bytes. organ_weight_fetch finds the ranges in reader->held. */
organ_status organ_weight_reader_hold(organ_weight_reader *reader, uint64_t first, uint64_t count, void *memory,
                                      organ_error *error)
{
    unsigned char *at = memory;
    memset(reader->held, 0, sizeof reader->held);
    for (size_t k = 0; k < HELD; k++) {
        weight_held part = weight_fetch_part_of(reader->weight, k, first, count);
        const size_t bytes = (size_t)(part.to - part.from);
        if (!part.tensor)
            continue;
        if (organ_model_read(reader->model, part.tensor->file, at, bytes, part.tensor->offset + part.from, error))
            return error->status;
        part.bytes = at;
        reader->held[k] = part;
        at += (bytes + 63) & ~(size_t)63;
    }
    return ORGAN_OK;
}

const unsigned char *organ_weight_in_memory(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t at,
                                            size_t bytes)
{
    for (size_t k = 0; k < HELD; k++) {
        const weight_held *const held = &reader->held[k];
        if (held->tensor == tensor && at >= held->from && at <= held->to && bytes <= held->to - at)
            return held->bytes + (at - held->from);
    }
    return NULL;
}

organ_status organ_weight_fetch(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t at,
                                size_t bytes, void *to, organ_error *error)
{
    if (at > tensor->bytes || bytes > tensor->bytes - at)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': has %" PRIu64 " bytes, but '%s' needs %" PRIu64,
                          tensor->name, tensor->bytes, reader->weight->name, at + bytes);
    const unsigned char *const held = organ_weight_in_memory(reader, tensor, at, bytes);
    if (held) {
        memcpy(to, held, bytes);
        return ORGAN_OK;
    }
    return organ_model_read(reader->model, tensor->file, to, bytes, tensor->offset + at, error);
}
