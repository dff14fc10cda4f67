/* SPDX-License-Identifier: MIT
 * For tests: a scratch directory, small safetensors models in it, and faults in system calls. */
#ifndef MODEL_MAKER_H
#define MODEL_MAKER_H

#include "formats/tensor/tensor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A new directory under TMPDIR (or /tmp). scratch_path gives "directory/name" in one of 64 static buffers, used in
 * turn. */
void scratch_make(void);
const char *scratch_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
void scratch_remove(void);

/* One tensor to make; the weights are seeded by the name and roughly normal, with a zero now and then. */
typedef struct made_tensor {
    const char *name;
    organ_dtype dtype; /* BF16, F16 or F32 */
    unsigned rank;
    uint64_t shape[4];
} made_tensor;

/* Writes one safetensors file. */
void make_shard(const char *path, const made_tensor *tensors, size_t count);

/* Writes a model of two shards with index, config.json and a folder of other files: `layers` layers of all seven
 * projections, hidden wide.
 */
void make_model(const char *directory, int layers, uint64_t hidden);

/* Whole content of a file; to be freed. NULL where there is none. */
char *slurp(const char *path, size_t *size);
void spill(const char *path, const void *data, size_t size);
/* Ends the test where there is no such file. */
void copy_file(const char *from, const char *to);
bool same_files(const char *a, const char *b);
bool exists(const char *path);
/* Something is left of an output of that name in the scratch directory, whole or unfinished. */
bool scratch_left(const char *output);

/* Faults: the n-th call from now on of a wrapped function fails with errnum, or (errnum < 0) kills the process, or
 * calls `then`. n counts from 1; 0 switches it off. `again`: all later calls fail too. Link with
 * -Wl,--wrap=pread,--wrap=pwrite,... */
typedef enum fault_call {
    FAULT_PREAD,
    FAULT_PWRITE,
    FAULT_WRITE,
    FAULT_FSYNC,
    FAULT_COPY_RANGE,
    FAULT_FTRUNCATE,
    FAULT_RENAME,
    FAULT_RENAMEAT2,
    FAULT_LINK,
    FAULT_CALLS
} fault_call;
void fault_at(fault_call call, long n, int errnum, bool again, void (*then)(void));
void fault_clear(void);
/* What may happen to a model that make_model made at "donor" while it is in use, for `then`: its first shard gets
 * another time of change, its second one is cut. */
void touch_donor(void);
void cut_donor(void);
/* Calls so far since the last fault_clear. */
long fault_count(fault_call call);

#endif
