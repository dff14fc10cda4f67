/* SPDX-License-Identifier: MIT
 * The state of organ_write_run, which the files of this folder share: write_driver.c runs, prepare.c plans the
 * output, write_layout.c plans it for a layout, write_document.c makes reports, units.c makes units, units_recall.c
 * recalls those of an earlier run, units_share.c assigns them to ranks, row_work.c works on rows. */
#ifndef ORGAN_WRITING_H
#define ORGAN_WRITING_H

#include "orchestrator/stream/model_copy.h"
#include "orchestrator/surgery/write/write.h"

#include <pthread.h>
#include <stdio.h>

/* Bytes of a piece that were put in one call. */
typedef struct organ_unit_extent {
    uint64_t at, bytes, xxh3;
} organ_unit_extent;

typedef struct organ_unit_extents {
    organ_unit_extent *list;
    size_t count, capacity;
} organ_unit_extents;

/* The extents of pieces whose unit is not finished, and the shares of ranks. */
typedef struct organ_unit_log {
    pthread_mutex_t lock;
    bool open;
    organ_unit_extents *of_piece;
    size_t *unit_of; /* of each piece */
    bool *elsewhere; /* units that another rank makes: they count as done meanwhile */
    FILE *own_lines; /* among ranks: the lines of the units that this one has made, */
    char *text;      /* as a text, */
    size_t length;   /* of this length */
} organ_unit_log;

struct organ_writing {
    const organ_write *write; /* the caller's */
    organ_output output;
    organ_run_journal journal;
    const organ_stop *stop;
    organ_resharding *plan; /* of pieces and of a layout; NULL: `copy` */
    organ_model_copy *copy; /* of the model's files, while it is written */
    organ_shard_piece *pieces;
    size_t piece_count;
    organ_unit *units; /* in the order of their pieces; each piece belongs to one */
    size_t unit_count, done;
    organ_unit_log log;
    uint64_t source_bytes; /* of all units */
    organ_cuts *cuts;      /* of replaced tensors */
    /* Released by organ_write_run: */
    organ_cuts own_cuts; /* for rows, */
    const organ_tensor **tensors;
    organ_shard_piece *own_pieces;
    organ_unit *own_units;
    organ_file_list extra; /* files to copy, */
    char *root;            /* from this directory */
    char *config_path;     /* of the model's config.json; NULL: none is written */
    organ_json_edit config;
    size_t stripped; /* settings that are left out of config.json (output/leftovers.h) */
    organ_evaluation evaluation;
};

/* ---- prepare.c: before anything is written ---- */

/* Checks the place, plans files and units, edits config.json and opens the evaluation. */
organ_status organ_writing_prepare(organ_writing *w, organ_error *error);

/* Writes what does not depend on the bytes of tensors into the directory `to`. */
organ_status organ_writing_begin(const organ_writing *w, const char *to, organ_error *error);

/* ---- write_layout.c: plans and begins the files of a layout, and writes the files after its tensors ---- */

organ_status organ_writing_plan_layout(organ_writing *w, organ_error *error);
organ_status organ_writing_begin_layout(const organ_writing *w, const char *to, organ_error *error);
organ_status organ_writing_end_layout(const organ_writing *w, const char *to, organ_error *error);

/* ---- write_document.c ---- */

/* Returns everything that the output depends on, as the first line of the journal. NULL without memory. */
json_t *organ_writing_head(const organ_writing *w);

/* Evaluates the output at `path` (NULL in a dry run), makes the report, and writes it into the output. */
organ_status organ_writing_report(organ_writing *w, const char *path, json_t **report, organ_error *error);

/* ---- units.c ---- */

/* Copies the pieces that stay the same and are not done yet; each is a unit. With a copy of the model's files, the
 * bytes around the pieces. Errors of organ_resharding_copy and organ_model_copy_finish. */
organ_status organ_units_copy(organ_writing *w, organ_error *error);

uint64_t organ_units_bytes(const organ_writing *w, size_t unit); /* in the output */

/* ---- units_recall.c ---- */

/* Marks the units that the journal lists as done, after comparing their bytes in the output with the digests; each rank
 * compares its share. organ_units_end must follow whatever it returns. ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_units_begin(organ_writing *w, organ_error *error);
void organ_units_end(organ_writing *w);

/* Takes over the results in the journal line of a unit whose bytes are in the output. */
void organ_units_recall(organ_writing *w, size_t unit, const json_t *line);

/* ---- units_share.c ---- */

/* Gives each rank its share of the units that are not done; those of the others count as done until organ_units_join.
 */
organ_status organ_units_assign(organ_writing *w, organ_error *error);

/* Waits until all ranks have made their units, and takes over the results of the other ranks; also after an error. */
organ_status organ_units_join(organ_writing *w, organ_error *error);

/* ---- row_work.c ---- */

/* Works on the rows of the units that are not done. Errors of organ_pass_run, organ_write_put and `judge`. */
organ_status organ_row_work_run(organ_writing *w, organ_error *error);

/* Restores the sums and the digest of a row range from its journal line; returns false if the line lacks them. */
bool organ_row_work_recall(organ_writing *w, size_t cut, const json_t *line);

/* Folds the results of row ranges into those of tensors. */
void organ_row_work_fold(const organ_writing *w);

#endif
