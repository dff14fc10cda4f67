/* SPDX-License-Identifier: MIT
 * For tests: a scratch directory, small safetensors models in it, and failing system calls. */
#ifndef MODEL_MAKER_H
#define MODEL_MAKER_H

#include <organ/models.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Makes a new directory in TMPDIR (or /tmp). scratch_path returns "directory/name" in one of 64 static buffers, used in
 * turn. */
void scratch_make(void);
const char *scratch_path(const char *format, ...) __attribute__((format(printf, 1, 2)));
void scratch_remove(void);

/* A tensor to make; the weights are roughly normal, seeded by the name, with some zeros. */
typedef struct made_tensor {
    const char *name;
    organ_dtype dtype; /* BF16, F16 or F32 */
    unsigned rank;
    uint64_t shape[4];
} made_tensor;

/* Writes one safetensors file. */
void make_shard(const char *path, const made_tensor *tensors, size_t count);

/* Writes a model of two shards with index, config.json and a folder of other files: `layers` layers with all seven
 * projections and that hidden size. */
void make_model(const char *directory, int layers, uint64_t hidden);

/* Returns the content of a file, which the caller frees; NULL if there is none. */
char *slurp(const char *path, size_t *size);
void spill(const char *path, const void *data, size_t size);
/* Ends the test if the file does not exist. */
void copy_file(const char *from, const char *to);
bool same_files(const char *a, const char *b);
bool exists(const char *path);
/* Returns true if the scratch directory contains anything of an output of that name, complete or partial. */
bool scratch_left(const char *output);

/* Makes the n-th call from now on of a wrapped function fail with errnum, or (errnum < 0) kill the process, or call
 * `then`. n counts from 1; 0 switches it off. `again`: all later calls fail too. The programs link with $faults of
 * build.ninja.
 * A fault has to fire: fault_clear, and a second fault_at of the same function, end the test if its call never came. */
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
/* Does the same as fault_clear, but returns false instead of ending the test: for a test that searches the last call
 * of a run, or expects none. */
bool fault_fired(void);
/* Changes of the model that make_model made at "donor", for `then`: a new modification time of its first shard; a
 * truncated second shard. */
void touch_donor(void);
void cut_donor(void);
/* Returns the number of calls since the last fault_clear. */
long fault_count(fault_call call);

#endif
