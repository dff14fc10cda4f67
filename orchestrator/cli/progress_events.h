/* SPDX-License-Identifier: MIT
 * Progress for programs (--progress json): one JSON object per line on stderr, each written immediately.
 *
 *   {"event": "begin", "what": "pruning", "bytes": N, "tensors": N}
 *       a stage begins; the totals of the stage
 *   {"event": "advance", "bytes": N, "of": N, "tensors": N, "tensor": NAME|null, "remark": TEXT|null}
 *       amount done so far in the stage; NAME is the tensor that was just finished
 *   {"event": "end", "bytes": N, "of": N, "tensors": N}
 *       the stage has ended, complete or not; "tensors" is 0 in stages that count only bytes
 *   {"event": "note", "text": TEXT}
 *       information for the user
 *   {"event": "error", "status": NAME, "code": N, "message": TEXT}
 *       the run failed; N is the exit code; always the last line */
#ifndef ORGAN_PROGRESS_EVENTS_H
#define ORGAN_PROGRESS_EVENTS_H

#include <organ/base.h>

#include <stdint.h>
#include <stdio.h>

/* Counts of a stage so far. */
typedef struct organ_event_stage {
    uint64_t done, bytes; /* bytes processed, and in total */
    size_t tensors;       /* number of finished tensors */
} organ_event_stage;

/* Each function prints the event of its name. NULL for `tensor` or `remark` is printed as null. */

void organ_event_begin(FILE *out, const char *what, uint64_t bytes, size_t tensors);
void organ_event_advance(FILE *out, const organ_event_stage *stage, const char *tensor, const char *remark);
void organ_event_end(FILE *out, const organ_event_stage *stage);
void organ_event_note(FILE *out, const char *text);
void organ_event_error(FILE *out, const organ_error *error);

#endif
