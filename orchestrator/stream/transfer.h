/* SPDX-License-Identifier: MIT
 * Copies tensors from models into files, byte for byte or converted to another type, on the workers of an engine. The
 * tensors are divided into extents, so that all workers can work on one tensor. */
#ifndef ORGAN_TRANSFER_H
#define ORGAN_TRANSFER_H

#include "orchestrator/stream/read_ahead.h"

typedef struct organ_transfer organ_transfer;

/* Bytes [at, at + bytes) of a tensor in the output, and their XXH3, seed 0. */
typedef struct organ_transfer_extent {
    uint64_t at, bytes, xxh3;
} organ_transfer_extent;

/* One tensor to copy into a file. Several transfers may write one file; their ranges must not overlap. */
struct organ_transfer {
    const organ_model *model; /* model that has the tensor */
    const organ_tensor *tensor;
    const char *path; /* file to write, created by organ_transfer_file */
    uint64_t offset;  /* offset in that file */
    /* type to write: that of the tensor, or another one if organ_can_widen accepts the tensor's type and
     * organ_can_narrow accepts the type to write */
    organ_dtype as;
    const organ_kernels *kernels; /* for the conversion; may be NULL if `as` is the tensor's type */
    organ_overflow *overflow;     /* what the conversion does with values beyond the range; NULL only without one */
    /* The digest of all bytes is needed, so the only extent is the whole tensor. The bytes of an extent are hashed in
     * order: a worker that has bytes of its middle waits until those before them are hashed. */
    bool whole;
    /* Called after the bytes of an extent were written, once for every byte of the tensor and not for an empty one. May
     * be NULL. An error ends the run. The calls of `written` and `done` are made on the thread that runs
     * organ_transfer_run, in the order of the transfers and their bytes. */
    organ_status (*written)(void *context, const organ_transfer *transfer, const organ_transfer_extent *extent,
                            organ_error *error);
    /* Called after all bytes of the tensor were written, and after `written`. An error ends the run. May be NULL. */
    organ_status (*done)(void *context, const organ_transfer *transfer, organ_error *error);
    void *context; /* first argument of `written` and `done` */
    size_t number; /* for the caller's use */
};

/* Creates `path` with `size` zero bytes. `reserved`: reserves space on the disk for them if the file system supports
 * that; else the file has a hole. Returns ORGAN_IO if the file exists or cannot be created. */
organ_status organ_transfer_file(const char *path, uint64_t size, bool reserved, organ_error *error);

/* Writes bytes from memory at `offset` of a file that exists. Returns ORGAN_IO if that fails. */
organ_status organ_transfer_bytes(const char *path, const void *data, size_t bytes, uint64_t offset,
                                  organ_error *error);

/* Runs all transfers on the workers of `engine`, as many as engine->memory has room for buffers of at least 1 MiB each,
 * at least one. The workers begin the extents in the order of the transfers, and no other thread reads or writes bytes
 * of tensors, except that writers wait in direct writes if the memory has room for two buffers
 * for each worker. The files are not synchronised with the disk (organ_transfer_sync does so). Returns ORGAN_IO if a
 * file cannot be read or written, ORGAN_BAD_INPUT if a model's file was changed or a value exceeds the range of its new
 * type, ORGAN_INTERRUPTED if a stop is requested through engine->stop, or the error of a callback. If several extents
 * fail, the error is that of the first in the order of the transfers, for any number of workers. After an error some of
 * the bytes may have been written. */
organ_status organ_transfer_run(const organ_transfer *transfers, size_t count, const organ_engine *engine,
                                const organ_progress *progress, organ_error *error);

/* Synchronises the file system of `directory`: everything written to it so far is then on the disk. One call is enough
 * for any number of small files. */
organ_status organ_transfer_sync(const char *directory, organ_error *error);

/* Returns ORGAN_IO if the file system of `directory` has less than `bytes` bytes free. The message begins with `final`,
 * the path of the output, and states needed, free and missing bytes; `what` begins the clause of the needed bytes, such
 * as "the output needs". */
organ_status organ_transfer_room(const char *directory, const char *final, const char *what, uint64_t bytes,
                                 organ_error *error);

#endif
