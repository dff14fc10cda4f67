/* SPDX-License-Identifier: MIT
 * What the files of organ patch apply share: patch_apply.c makes the tensors, patch_result.c plans the files,
 * patch_check.c compares their headers with the manifest. */
#ifndef ORGAN_VERBS_PATCH_PATCH_APPLY_H
#define ORGAN_VERBS_PATCH_PATCH_APPLY_H

#include "formats/patch/patch.h"
#include "orchestrator/output/model_copy.h"
#include "orchestrator/surgery/write/write.h"

#include <organ/organs.h>
#include <pthread.h>

/* A tensor of the result, in the order of the pieces. */
typedef struct apply_item {
    const char *name;
    const organ_tensor *base;       /* NULL: the base is not read */
    const organ_patch_frame *frame; /* NULL: the bytes are the base's */
    const organ_patch_tensor *says; /* the manifest's row; NULL: there is no manifest */
    uint64_t bytes;
    char after[ORGAN_CHECKSUM_TEXT]; /* XXH3-128 of the bytes that were written; "": copied, or none yet */
} apply_item;

typedef struct apply_lane apply_lane;

typedef struct apply_job {
    const organ_patch_apply_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *base;
    organ_patch patch;
    organ_layout layout;
    apply_item *items; /* of the layout's pieces */
    organ_written_file *written;
    size_t written_count;
    organ_writing *writing;
    apply_lane *lanes;
    size_t lane_count;
    /* Without a manifest: the files of the base without tensors, of which reports are left out. */
    organ_file_list others;
    const char **left_out;
    pthread_mutex_t lock; /* one call of organ_write_finish at a time */
} apply_job;

/* Plans files and items. Returns ORGAN_BAD_INPUT if the base lacks a tensor of the patch, or has it in another type or
 * shape, or if a header or another file is not the one of which the patch was made; ORGAN_USAGE if the output is a file
 * and the result a directory. */
organ_status organ_patch_plan_result(apply_job *job, organ_error *error);

/* Compares the headers of the result with the manifest; implements organ_write_make.begun. Returns ORGAN_BAD_INPUT if
 * they have other files or tensors, or state another type, shape or place of a tensor. */
organ_status organ_patch_check_result(void *job, const char *to, const char *path, organ_error *error);

json_t *organ_patch_apply_document(void *job, const organ_writing *made);

#endif
