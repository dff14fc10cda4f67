/* SPDX-License-Identifier: MIT
 * Writes the rows of a tensor. */
#include "orchestrator/verbs/vocabulary/vocabulary_rows.h"

#include "orchestrator/machine/quantity.h"

#include <string.h>

organ_status organ_rows_flush(vocabulary_rows *r, organ_error *error)
{
    if (r->filled &&
        organ_write_put(r->writing, r->piece, r->buffer, r->filled, r->at, r->buffer + ORGAN_ROWS_BUFFER, error))
        return error->status;
    r->at += r->filled;
    r->filled = 0;
    return ORGAN_OK;
}

organ_status organ_rows_copy(vocabulary_rows *r, uint64_t from, uint64_t bytes, organ_error *error)
{
    while (bytes) {
        const size_t n = (size_t)organ_min(bytes, ORGAN_ROWS_BUFFER - r->filled);
        if (organ_model_read(r->model, r->tensor->file, r->buffer + r->filled, n, r->tensor->offset + from, error))
            return error->status;
        r->filled += n;
        from += n;
        bytes -= n;
        if (r->filled == ORGAN_ROWS_BUFFER && organ_rows_flush(r, error))
            return error->status;
    }
    return ORGAN_OK;
}

organ_status organ_rows_put(vocabulary_rows *r, const void *data, size_t bytes, organ_error *error)
{
    for (size_t done = 0, n; done < bytes; done += n) {
        n = organ_min(bytes - done, ORGAN_ROWS_BUFFER - r->filled);
        memcpy(r->buffer + r->filled, (const unsigned char *)data + done, n);
        r->filled += n;
        if (r->filled == ORGAN_ROWS_BUFFER && organ_rows_flush(r, error))
            return error->status;
    }
    return ORGAN_OK;
}
