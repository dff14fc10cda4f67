/* SPDX-License-Identifier: MIT
 * A run over units: independent parts of an output, in order, each with its place in it. A unit that is done is written
 * into the journal with the digests of its bytes; a run that continues takes over the units whose bytes in the output
 * still have them. */
#ifndef ORGAN_UNIT_RUN_H
#define ORGAN_UNIT_RUN_H

#include "orchestrator/ranks/ranks.h"
#include "orchestrator/stream/model_copy.h"
#include "orchestrator/surgery/output/resharding.h"
#include "orchestrator/surgery/output/run_journal.h"

/* The output tensors that are made of one source tensor. */
typedef struct organ_run_unit {
    size_t first, count; /* pieces of the output, one behind the other */
    size_t item;         /* what it is made of, as the caller counts */
    uint64_t bytes;      /* of the source: what the progress is told of it */
    bool done;           /* the bytes of all its pieces are in the output */
    bool along;          /* a text: who walks along it deals it to ranks, not organ_unit_run_deal */
} organ_run_unit;

typedef struct organ_unit_log organ_unit_log; /* what was put into pieces that are not done */

/* The caller sets all but `log` and `done`. */
typedef struct organ_unit_run {
    organ_resharding *plan; /* where the pieces go, or */
    organ_model_copy *copy; /* a copy of the model in which they are in their places; else NULL */
    organ_shard_piece *pieces;
    size_t piece_count;
    organ_run_unit *units; /* in the order of their pieces; every piece belongs to one */
    size_t unit_count;
    organ_run_journal *journal;
    const organ_progress *progress;
    const organ_stop *stop;
    organ_ranks *ranks; /* that share the units; NULL: this process makes all */
    void *context;
    /* Takes over what organ_unit_run_finish was given as `results` for the unit of this item; false if that is not what
     * it expects. Not called for pieces that stay as they are. */
    bool (*recall)(void *context, size_t item, const json_t *results);
    organ_unit_log *log;
    size_t done;
} organ_unit_run;

/* Marks the units that the lines of the journal say are done, after comparing their bytes in the output with the
 * digests, of which each rank does its share. To be ended whatever it returns. ORGAN_IO, ORGAN_INTERRUPTED. */
organ_status organ_unit_run_begin(organ_unit_run *run, organ_error *error);
void organ_unit_run_end(organ_unit_run *run);

/* As organ_resharding_put, and remembers the digest. Any thread; into a copy, one at a time. */
organ_status organ_unit_run_put(organ_unit_run *run, size_t piece, const void *data, size_t bytes, uint64_t at,
                                void *scratch, organ_error *error);

/* Reads bytes [at, at + bytes) of a piece back. ORGAN_IO. */
organ_status organ_unit_run_read(const organ_unit_run *run, size_t piece, void *data, size_t bytes, uint64_t at,
                                 organ_error *error);

/* All bytes of the unit were put: writes it into the journal with `results` (an object, taken over), what the caller
 * must know of it when the run is continued. One thread at a time. */
organ_status organ_unit_run_finish(organ_unit_run *run, size_t unit, json_t *results, organ_error *error);

/* Copies the pieces that stay as they are and are not done yet; each is a unit. Errors as of organ_resharding_copy.
 * With a copy of the model, what lies around the pieces: organ_model_copy_finish. */
organ_status organ_unit_run_copy(organ_unit_run *run, organ_error *error);

/* Gives each rank its share of the units that are not done; those of the others count as done until
 * organ_unit_run_join. */
organ_status organ_unit_run_deal(organ_unit_run *run, organ_error *error);

/* Waits until all ranks have made their units, and takes over what the others know of theirs. Also after an error, as
 * organ_ranks_agree. */
organ_status organ_unit_run_join(organ_unit_run *run, organ_error *error);

#endif
