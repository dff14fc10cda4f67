/* SPDX-License-Identifier: MIT
 * Progress for programs (--progress json): one JSON object a line, on stderr, each written at once.
 *
 *   {"event": "begin", "what": "pruning", "bytes": N, "tensors": N}       a stage with all it has to do
 *   {"event": "advance", "bytes": N, "of": N, "tensors": N, "tensor": NAME|null, "remark": TEXT|null}
 *                                                                         done so far in the stage; NAME has just been
 *                                                                         finished
 *   {"event": "end", "bytes": N, "of": N, "tensors": N}                   the stage is over, whole or not; where a
 *                                                          stage names no tensors,
 *                                                                         they stay 0, and bytes alone tell how far it
 *                                                                         is
 *   {"event": "note", "text": TEXT}                                       something the user should know
 *   {"event": "error", "status": NAME, "code": N, "message": TEXT}        the run failed; N is the exit code. The last
 *   line */
#ifndef ORGAN_PROGRESS_EVENTS_H
#define ORGAN_PROGRESS_EVENTS_H

#include "formats/base/status.h"

#include <stdint.h>
#include <stdio.h>

/* How far a stage is. */
typedef struct organ_event_stage {
    uint64_t done, bytes;
    size_t tensors; /* finished */
} organ_event_stage;

void organ_event_begin(FILE *out, const char *what, uint64_t bytes, size_t tensors);
void organ_event_advance(FILE *out, const organ_event_stage *stage, const char *tensor, const char *remark);
void organ_event_end(FILE *out, const organ_event_stage *stage);
void organ_event_note(FILE *out, const char *text);
void organ_event_error(FILE *out, const organ_error *error);

#endif
