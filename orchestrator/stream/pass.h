/* SPDX-License-Identifier: MIT
 * One pass over tensors of a model as they are stored, in bounded memory. A thread reads bands ahead of the workers,
 * all workers take tiles of any band in memory, and the calling thread retires bands in order.
 *
 * The pass differs from stream/weight_pass.h and stream/rows.h because it must keep up with the disk: it never decodes
 * or copies a band, reads at addresses that suit direct I/O, and a band is also the unit that is written. */
#ifndef ORGAN_PASS_H
#define ORGAN_PASS_H

#include "formats/base/api.h"
#include "kernels/kernels.h"
#include "orchestrator/machine/workers.h"
#include "orchestrator/stream/band.h"
#include "orchestrator/stream/stop.h"

ORGAN_API_BEGIN

/* What a pass runs on. */
typedef struct organ_engine {
    const organ_topology *topology;
    organ_workers *workers;
    uint64_t memory;              /* bytes that buffers and scratch together may take */
    const organ_kernels *kernels; /* the table chosen for this CPU */
    const organ_stop *stop;       /* asked when the run shall end; NULL: never */
    organ_compute compute;     /* of the products of a forward pass; exact unless said otherwise (stream/compute.h) */
    const organ_dots *dots;    /* by what, where that is not exact */
    struct organ_ranks *ranks; /* the processes of this run (room ranks); NULL: it is one */
    double began; /* organ_seconds_now() when the run began, for "seconds" of reports; 0: when its output was begun */
} organ_engine;

/* Runs the pass. ORGAN_OK when every band was retired; ORGAN_USAGE if the memory does not hold two bands and the
 * workers' scratch; ORGAN_IO if a read failed; ORGAN_BAD_INPUT if a file ended early; ORGAN_INTERRUPTED if stopped;
 * else what `retire` returned. When it returns nothing of it runs any more. */
organ_status organ_pass_run(const organ_pass *pass, const organ_engine *engine, organ_error *error);

ORGAN_API_END

#endif
