/* SPDX-License-Identifier: MIT
 * Private to this room: writes the rows of a tensor of the output one after the other. */
#ifndef ORGAN_VERBS_VOCABULARY_VOCABULARY_ROWS_H
#define ORGAN_VERBS_VOCABULARY_VOCABULARY_ROWS_H

#include "orchestrator/surgery/write/write.h"

#define ORGAN_ROWS_BUFFER ((size_t)1 << 20) /* bytes of vocabulary_rows.buffer before its scratch */

typedef struct vocabulary_rows {
    const organ_model *model;
    const organ_tensor *tensor; /* of the model */
    organ_writing *writing;
    size_t piece;          /* of the output */
    size_t filled;         /* bytes in `buffer` */
    uint64_t at;           /* bytes that were written */
    unsigned char *buffer; /* ORGAN_ROWS_BUFFER + ORGAN_PUT_SCRATCH bytes, aligned to a page */
} vocabulary_rows;

/* Appends `bytes` bytes of the tensor, from byte `from` on. */
organ_status organ_rows_copy(vocabulary_rows *rows, uint64_t from, uint64_t bytes, organ_error *error);
/* Appends bytes in memory. */
organ_status organ_rows_put(vocabulary_rows *rows, const void *data, size_t bytes, organ_error *error);
/* Writes what is in the buffer. */
organ_status organ_rows_flush(vocabulary_rows *rows, organ_error *error);

#endif
