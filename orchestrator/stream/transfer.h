/* SPDX-License-Identifier: MIT
 * Copies tensors from models into files, byte for byte. Several threads read, hash and write with direct I/O, so that
 * neither the disk nor the processor waits for the other. */
#ifndef ORGAN_TRANSFER_H
#define ORGAN_TRANSFER_H

#include "formats/model/model.h"
#include "kernels/kernels.h"
#include "orchestrator/stream/overflow.h"
#include "orchestrator/stream/progress.h"
#include "orchestrator/stream/stop.h"

typedef struct organ_transfer organ_transfer;

/* One tensor to copy into a file. Several threads may write one file; the ranges of its tensors must not overlap. */
struct organ_transfer {
    const organ_model *model; /* model that has the tensor */
    const organ_tensor *tensor;
    const char *path; /* file to write, created by organ_transfer_file */
    uint64_t offset;  /* offset in that file */
    /* type to write: that of the tensor, or another one if organ_can_widen accepts the tensor's type and
     * organ_can_narrow accepts the type to write (stream/widen.h) */
    organ_dtype as;
    const organ_kernels *kernels; /* for the conversion; may be NULL if `as` is the tensor's type */
    organ_overflow *overflow;     /* what the conversion does with values beyond the range; NULL only without one */
    uint64_t xxh3;                /* result: XXH3 digest of the bytes that were written, seed 0 */
    /* Called after all bytes of the tensor were written: one call at a time, on any thread. An error ends the run. May
     * be NULL. */
    organ_status (*done)(void *context, const organ_transfer *transfer, organ_error *error);
    void *context; /* first argument of `done` */
};

/* Creates `path` with `size` zero bytes, and reserves space on the disk for them if the file system supports that.
 * Returns ORGAN_IO if the file exists or cannot be created. */
organ_status organ_transfer_file(const char *path, uint64_t size, organ_error *error);

/* Writes bytes from memory at `offset` of a file that exists. Returns ORGAN_IO if that fails. */
organ_status organ_transfer_bytes(const char *path, const void *data, size_t bytes, uint64_t offset,
                                  organ_error *error);

/* Runs all transfers with four threads and 16 MiB of buffers. The threads begin the transfers in order. The files are
 * not synchronised with the disk (organ_transfer_sync does so). Returns ORGAN_IO if a file cannot be read or written,
 * ORGAN_BAD_INPUT if a model's file was changed or a value exceeds the range of its new type, ORGAN_INTERRUPTED if a
 * stop is requested through `stop`, or the error of `done`. After an error some of the bytes may have been written. */
organ_status organ_transfer_run(organ_transfer *transfers, size_t count, const organ_progress *progress,
                                const organ_stop *stop, organ_error *error);

/* Synchronises the file system of `directory`: everything written to it so far is then on the disk. One call is enough
 * for any number of small files. */
organ_status organ_transfer_sync(const char *directory, organ_error *error);

/* Returns ORGAN_IO if the file system of `directory` has less than `bytes` bytes free. The message begins with `final`,
 * the path of the output, and states needed, free and missing bytes; `what` begins the clause of the needed bytes, such
 * as "the output needs". */
organ_status organ_transfer_room(const char *directory, const char *final, const char *what, uint64_t bytes,
                                 organ_error *error);

#endif
