/* SPDX-License-Identifier: MIT
 * One pass over tensors of a model in their stored types, in bounded memory. A tensor is divided into bands, and a band
 * into tiles (stream/band.h). Each worker takes the next band in file order, reads it into memory of its own NUMA node,
 * processes its tiles, and passes it to the callbacks that write it and add up its results. No other thread moves bytes
 * of tensors, except that with organ_pass.behind each worker has a companion that waits in its writes. A worker that
 * cannot take a band helps with the tiles of another worker's band. The thread that runs organ_pass_run only receives
 * finished items.
 *
 * A write with O_DIRECT returns when the device has the bytes. A thread that waits in pwrite overlaps this with
 * computing on every system; io_uring would save the thread, but container runtimes block it by default, so that a
 * second way would be needed in any case. A companion costs two changes of thread for each band of about a mebibyte.
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

/* Runs the pass. Returns ORGAN_OK if every band was retired and written and every item finished; ORGAN_USAGE if two
 * bands and the workers' scratch do not fit the memory; ORGAN_IO if a read failed; ORGAN_BAD_INPUT if a file ended
 * early; ORGAN_INTERRUPTED if stopped; otherwise the error of a callback. If several bands fail, the error is that of
 * the first of them in file order, for any number of threads: bands before it are completed, and none after it is
 * begun. No thread uses *pass after the return. */
organ_status organ_pass_run(const organ_pass *pass, const organ_engine *engine, organ_error *error);

ORGAN_API_END

#endif
