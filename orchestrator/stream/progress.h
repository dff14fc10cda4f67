/* SPDX-License-Identifier: MIT
 * Callbacks through which operations report progress. The command line displays it. */
#ifndef ORGAN_PROGRESS_H
#define ORGAN_PROGRESS_H

#include "formats/base/api.h"
#include "formats/model/model.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

ORGAN_API_BEGIN

/* Callbacks of the receiver of progress; any may be NULL. Calls never overlap, but may come from different threads. */
typedef struct organ_progress {
    void *context; /* first argument of the callbacks */
    /* Begins a stage named `what` ("pruning") that will process `bytes` bytes and `tensors` tensors. */
    void (*begin)(void *context, const char *what, uint64_t bytes, size_t tensors);
    /* Reports that `bytes` more bytes were processed. `tensor` is the tensor that was just finished (NULL: none), with
     * a short remark ("22.4 % killed"; NULL: none). */
    void (*advance)(void *context, uint64_t bytes, const char *tensor, const char *remark);
    /* The stage has ended, complete or not. */
    void (*end)(void *context);
    /* A message for the user, one sentence: a downgrade, a resumed run. */
    void (*note)(void *context, const char *text);
    bool follows; /* this rank is not rank 0: organ_progress_note_once reports nothing, because rank 0 does */
} organ_progress;

/* The functions below call the callback of the same name; `progress` and the callback may be NULL. */
void organ_progress_begin(const organ_progress *progress, const char *what, uint64_t bytes, size_t tensors);
void organ_progress_advance(const organ_progress *progress, uint64_t bytes, const char *tensor, const char *remark);
void organ_progress_end(const organ_progress *progress);
void organ_progress_note(const organ_progress *progress, const char *format, ...) __attribute__((format(printf, 2, 3)));
/* Reports a note that all ranks have: only rank 0 calls the callback `note`. */
void organ_progress_note_once(const organ_progress *progress, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
/* Reports a note for each warning about the model's files. */
void organ_progress_warn(const organ_progress *progress, const organ_model *model);

ORGAN_API_END

#endif
