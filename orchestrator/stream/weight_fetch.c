/* SPDX-License-Identifier: MIT
 * The bytes of a weight's tensors: from memory that holds a matrix, or from the file. */
#include "orchestrator/stream/weight_parts.h"

#include <inttypes.h>
#include <string.h>

#define HELD (sizeof((organ_weight_reader *)0)->held / sizeof(weight_held))

/* What a matrix is stored as in one of its tensors: its share where the tensor has one for each matrix, else all of it. */
static weight_held matrix_part(const organ_weight_reader *reader, size_t k, uint64_t matrix)
{
    const organ_weight *const w = reader->weight;
    const organ_tensor *const tensors[HELD] = {w->codes, w->scale, w->zero, w->bias}, *const t = tensors[k];
    if (!t)
        return (weight_held){0};
    const uint64_t count = reader->shape.count, share = count && t->bytes % count == 0 ? t->bytes / count : 0;
    return share ? (weight_held){t, matrix * share, (matrix + 1) * share, NULL} : (weight_held){t, 0, t->bytes, NULL};
}

uint64_t organ_weight_reader_held(const organ_weight_reader *reader)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < HELD; k++) {
        const weight_held part = matrix_part(reader, k, 0);
        bytes += (part.to - part.from + 63) & ~(uint64_t)63;
    }
    return bytes;
}

organ_status organ_weight_reader_hold(organ_weight_reader *reader, uint64_t matrix, void *memory, organ_error *error)
{
    unsigned char *at = memory;
    memset(reader->held, 0, sizeof reader->held);
    for (size_t k = 0; k < HELD; k++) {
        weight_held part = matrix_part(reader, k, matrix);
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

organ_status organ_weight_fetch(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t at, size_t bytes, void *to,
                                organ_error *error)
{
    if (at > tensor->bytes || bytes > tensor->bytes - at)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': has %" PRIu64 " bytes, '%s' takes %" PRIu64, tensor->name, tensor->bytes,
                          reader->weight->name, at + bytes);
    for (size_t k = 0; k < HELD; k++)
        if (reader->held[k].tensor == tensor && at >= reader->held[k].from && at + bytes <= reader->held[k].to) {
            memcpy(to, reader->held[k].bytes + (at - reader->held[k].from), bytes);
            return ORGAN_OK;
        }
    return organ_model_read(reader->model, tensor->file, to, bytes, tensor->offset + at, error);
}
