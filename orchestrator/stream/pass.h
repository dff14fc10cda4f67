/* SPDX-License-Identifier: MIT
 * One pass over tensors of a model in their stored types, in bounded memory. A tensor is divided into bands, and a band
 * into tiles (stream/band.h). One thread reads bands ahead of the workers, all workers process tiles of any band in
 * memory, and the calling thread passes finished bands in order to the callback `retire`.
 *
 * The pass differs from stream/weight_pass.h and stream/rows.h because it must keep up with the disk: it never
 * decodes or copies a band, reads to addresses that suit direct I/O, and a band is also the unit that is written. */
#ifndef ORGAN_PASS_H
#define ORGAN_PASS_H

#include "formats/base/api.h"
#include "kernels/kernels.h"
#include "orchestrator/machine/workers.h"
#include "orchestrator/stream/band.h"
#include "orchestrator/stream/stop.h"

ORGAN_API_BEGIN

/* The resources of a run: threads, memory, kernels, ranks. */
typedef struct organ_engine {
    const organ_topology *topology;
    organ_workers *workers;
    uint64_t memory;              /* --memory: upper bound on the bytes of buffers and scratch together */
    const organ_kernels *kernels; /* kernel table chosen for this CPU */
    const organ_stop *stop;       /* request to stop; NULL: never */
    organ_compute compute;        /* arithmetic of products of the forward pass; exact by default (stream/compute.h) */
    const organ_dots *dots;       /* kernels for `compute`; NULL if it is exact */
    struct organ_ranks *ranks;    /* the ranks (processes) of this run (orchestrator/ranks); NULL: a single process */
    /* organ_seconds_now() at the start of the run, for "seconds" in reports; 0: use the start of the output */
    double began;
    size_t readers; /* upper bound on the threads that read tensors at the same time; 0: all threads */
} organ_engine;

/* Runs the pass. Returns ORGAN_OK if every band was retired; ORGAN_USAGE if two bands and the workers' scratch do not
 * fit the memory; ORGAN_IO if a read failed; ORGAN_BAD_INPUT if a file ended early; ORGAN_INTERRUPTED if stopped;
 * otherwise the error from `retire`. No thread uses *pass after the return. */
organ_status organ_pass_run(const organ_pass *pass, const organ_engine *engine, organ_error *error);

ORGAN_API_END

#endif
