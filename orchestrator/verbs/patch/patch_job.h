/* SPDX-License-Identifier: MIT
 * What the files of organ patch share. patch_extract.c makes a patch of two models, patch_store.c keeps its frames
 * until their sizes are known, patch_files.c compares the bytes outside of tensors and writes the manifest,
 * patch_apply.c and patch_result.c make a model of a patch and its base, patch_document.c makes the report. */
#ifndef ORGAN_VERBS_PATCH_PATCH_JOB_H
#define ORGAN_VERBS_PATCH_PATCH_JOB_H

#include "formats/patch/patch.h"
#include "orchestrator/surgery/patch/patch_changes.h"
#include "orchestrator/surgery/write/write.h"

#include <organ/organs.h>
#include <xxhash.h>

/* ---- frames in the file of choices ---- */

typedef struct patch_extent {
    uint64_t at, bytes;
} patch_extent;

/* The frame of a changed tensor. */
typedef struct patch_frame {
    patch_extent *extents; /* its bytes in organ_write_choices; owned */
    size_t count, room;
    uint64_t reserved;   /* bytes after the last extent that belong to this frame */
    XXH3_state_t *state; /* while the frame is written; owned */
    char xxh3[17];       /* digest of its bytes */
} patch_frame;

/* ---- files of the result ---- */

typedef struct patch_file {
    const char *name; /* of the job's arena */
    uint64_t size;
    size_t tensors;
    organ_patch_span *spans; /* of the arena */
    size_t span_count;
    uint64_t bytes; /* outside of tensors */
    bool from_base;
    char digest[ORGAN_CHECKSUM_TEXT];
    char *packed; /* the frame of its bytes, unless from_base; owned */
    size_t packed_bytes;
} patch_file;

typedef struct patch_job {
    const organ_patch_extract_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *base, *tuned;
    organ_patch_pass pass;
    organ_layout result; /* the files of the tuned model; its pieces are parallel to tuned->tensors */
    patch_file *files;
    size_t file_count, file_room;
    uint64_t loose;      /* bytes of all files outside of tensors, at most ORGAN_PATCH_LIMIT */
    patch_frame *frames; /* of each tensor of the tuned model */
    organ_writing *writing;
    int store;                   /* descriptor of organ_write_choices; -1: nothing is stored */
    uint64_t stored;             /* bytes of that file that are reserved; atomic */
    organ_layout layout;         /* of the patch */
    organ_piece *pieces;         /* of the layout */
    size_t *rows;                /* row of each piece */
    organ_written_file *written; /* the manifest and the packed files */
    char *manifest;              /* of organ_rows_take */
    organ_arena arena;
} patch_job;

/* Lists the files of the tuned model and compares their bytes outside of tensors with those of the base. Returns
 * ORGAN_USAGE if these are more than ORGAN_PATCH_LIMIT bytes or than the memory holds, or for a name that no patch may
 * have. */
organ_status organ_patch_list_files(patch_job *job, organ_error *error);

/* Makes the manifest and the list of files that the patch has besides its tensors. */
organ_status organ_patch_write_manifest(patch_job *job, organ_error *error);

/* Returns the word for what a patch has of a tensor; `whole`: all of its bytes, because the base has no such tensor. */
static inline const char *organ_patch_change_name(bool whole, bool changed)
{
    if (whole)
        return "whole";
    return changed ? "delta" : "none";
}

/* Takes the frames from the journal that an interrupted run has stored. */
organ_status organ_patch_store_recall(patch_job *job, organ_error *error);
/* Opens the file of frames. In a dry run nothing is stored. */
organ_status organ_patch_store_open(patch_job *job, organ_error *error);
void organ_patch_store_close(patch_job *job);
/* Implement organ_patch_pass.store and finish. */
organ_status organ_patch_store_add(void *job, size_t row, const void *bytes, size_t count, organ_error *error);
organ_status organ_patch_store_finish(void *job, size_t row, organ_error *error);
/* Copies the stored frames into the patch; implements organ_write_make.fill. */
organ_status organ_patch_store_copy(void *job, organ_writing *writing, organ_error *error);

json_t *organ_patch_document(void *job, const organ_writing *made);

#endif
