/* SPDX-License-Identifier: MIT
 * Finds the changes between two models, byte by byte, and compresses them as a patch stores them (formats/patch).
 * Input: the models; output: a row for each tensor of the second one, and its frame. Tensors are paired by name; one
 * whose type or shape differs is stored whole. Workers take tensors, and read and compress each in steps of fixed size.
 */
#ifndef ORGAN_SURGERY_PATCH_PATCH_CHANGES_H
#define ORGAN_SURGERY_PATCH_PATCH_CHANGES_H

#include "formats/patch/delta.h"

#include <organ/models.h>
#include <organ/stream.h>

/* A tensor of the tuned model. */
typedef struct organ_patch_change {
    const organ_tensor *tuned;
    const organ_tensor *base;  /* its counterpart; NULL: stored whole */
    const organ_tensor *other; /* a tensor of the base with its name and another type or shape; NULL: there is none */
    uint64_t changed;          /* bytes that differ; of a whole tensor all */
    uint64_t packed;           /* bytes of the frame; 0: there is none, because no byte differs */
    char before[ORGAN_CHECKSUM_TEXT], after[ORGAN_CHECKSUM_TEXT]; /* XXH3-128 of the base's and the tuned bytes */
    char checksum[ORGAN_CHECKSUM_TEXT];                           /* of the tuned bytes, in the kind of the pass */
    bool done;
} organ_patch_change;

/* Pairs the tensors: returns a row for each tensor of `tuned`, in their order, from organ_rows_take. NULL if memory
 * runs out. */
organ_patch_change *organ_patch_pair(const organ_model *base, const organ_model *tuned);

/* The pass over all rows whose `done` is not set. */
typedef struct organ_patch_pass {
    const organ_model *base, *tuned;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_delta_encoding encoding;
    organ_checksum_kind kind;
    int level;
    bool only_digests;           /* no frames are made: `packed` and `checksum` are not set */
    organ_patch_change *changes; /* a row for each tensor of `tuned` */
    void *context;               /* first argument of the callbacks */
    /* Receives the bytes of a row's frame in their order, on the worker of the row. NULL: they are only counted. */
    organ_status (*store)(void *context, size_t row, const void *bytes, size_t count, organ_error *error);
    /* Receives a row that is done; one call at a time. NULL: nothing to do. */
    organ_status (*finish)(void *context, size_t row, organ_error *error);
} organ_patch_pass;

/* Returns ORGAN_USAGE if a tensor is too large for the encoding: overwrite has positions of 32 bits. */
organ_status organ_patch_check(const organ_patch_pass *pass, organ_error *error);

/* Runs the pass. Returns ORGAN_USAGE if memory has no room for one worker; errors of organ_model_read, of `store` and
 * `finish`; ORGAN_INTERRUPTED. */
organ_status organ_patch_run(const organ_patch_pass *pass, organ_error *error);

/* Sums of the rows. */
typedef struct organ_patch_sums {
    uint64_t same, changed, whole; /* tensors without, with and as changes */
    uint64_t bytes;                /* of all tensors */
    uint64_t changed_bytes;        /* that differ, in tensors with a counterpart */
    uint64_t paired_bytes;         /* of these tensors */
    uint64_t whole_bytes, packed;  /* of whole tensors; of all frames */
} organ_patch_sums;
organ_patch_sums organ_patch_add_up(const organ_patch_change *changes, size_t count);

#endif
