/* SPDX-License-Identifier: MIT
 * An output that is made of units: begun, or continued where an earlier run has left it, its files planned beforehand,
 * its tensors made unit by unit, published when whole or not at all. */
#ifndef ORGAN_UNIT_OUTPUT_H
#define ORGAN_UNIT_OUTPUT_H

#include "orchestrator/surgery/output/output.h"
#include "orchestrator/surgery/output/unit_run.h"

/* What the caller says. Everything must outlive the making. */
typedef struct organ_unit_output {
    organ_output
        output; /* path, like, single, force, ranks and resume as organ_output_begin takes them; the rest is set here */
    bool dry_run;
    organ_resharding *plan; /* NULL: see `replaced` */
    organ_shard_piece *pieces;
    size_t piece_count;
    organ_run_unit *units; /* of the pieces, in their order */
    size_t unit_count;
    /* Without a plan the output is a copy of `model`, file by file, in which these tensors (a flag for each) get other
     * bytes of the same length: they, or stretches of them, are the pieces, in their order, and each is a unit. */
    const organ_model *model;
    const bool *replaced;
    uint64_t source_bytes;          /* of all units: what the progress is told of them in the end */
    uint64_t beside_bytes;          /* of files beside the tensors */
    const char *definition, *stage; /* "quantize/1", of what is done, for the journal; "quantizing", for the progress */
    const organ_progress *progress;
    const organ_stop *stop;
    void *context;
    /* What the output depends on, inputs included, for the journal; to be released. A run is continued only where it is
     * the same. NULL without memory. */
    json_t *(*identity)(void *context);
    /* Makes what does not depend on the bytes of tensors: other files, folders; by the first rank alone. `to` has the
     * tensors that an earlier run left and nothing else. */
    organ_status (*begin)(void *context, const char *to, organ_error *error);
    /* Puts the bytes of the units that are neither copied nor done into place with organ_unit_run_put, finishes each
     * with organ_unit_run_finish, and advances the progress. NULL: all pieces stay as they are. */
    organ_status (*fill)(void *context, organ_unit_run *run, organ_error *error);
    bool (*recall)(void *context, size_t item,
                   const json_t *results); /* as in organ_unit_run; NULL where all pieces stay as they are */
    /* All tensors are written: makes what depends on their bytes; as `tell` on all ranks, of which the first alone
     * writes. ORGAN_BAD_INPUT if an input was changed meanwhile. */
    organ_status (*finish)(void *context, const char *to, organ_error *error);
    /* All is on the disk, or it is a dry run: makes the report, and writes it where it belongs into the output. */
    organ_status (*tell)(void *context, json_t **report, organ_error *error);
} organ_unit_output;

/* Makes it. A run that is interrupted, or that the disk or the memory ends, leaves what is done with a journal, and
 * `resume` continues it to the same bytes; after any other error nothing of the output is left. With dry_run nothing is
 * written. *report is what `tell` has made; NULL on error. ORGAN_USAGE if the output exists, if an unfinished run is
 * found and neither `resume` nor `force` is given, or if that run was of another definition, identity, plan or version;
 * ORGAN_IO; ORGAN_INTERRUPTED; else what a callback returned. */
organ_status organ_unit_output_make(organ_unit_output *made, json_t **report, organ_error *error);

#endif
