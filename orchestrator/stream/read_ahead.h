/* SPDX-License-Identifier: MIT
 * Announces reads of tensors to the system, and limits how many workers read at the same time. */
#ifndef ORGAN_STREAM_READ_AHEAD_H
#define ORGAN_STREAM_READ_AHEAD_H

#include <organ/base.h>
#include <organ/kernels.h>
#include <organ/models.h>
#include <organ/stream.h>
#include <organ/weights.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* ---- announcements ----
 * The system reads announced bytes into the page cache before the workers need them. Its own read-ahead expects one
 * reader of a file that reads it in order. */

/* A tensor of a model. */
typedef struct organ_read_range {
    const organ_model *model;
    const organ_tensor *tensor; /* NULL: nothing to read */
} organ_read_range;

/* Returns tensor number `part`, below ORGAN_READ_PARTS, from which rows of the weight are read; NULL: no weight. */
#define ORGAN_READ_PARTS 4
organ_read_range organ_read_range_of(const organ_model *model, const organ_weight *weight, size_t part);

/* The position of announcements in a list of tensors. The caller sets the first three members, and the others to
 * zero. */
typedef struct organ_read_ahead {
    size_t count; /* number of tensors */
    organ_read_range (*range)(const void *context, size_t index);
    const void *context;
    pthread_mutex_t lock;         /* protects the members below */
    size_t next;                  /* index of the tensor with the next announcement */
    uint64_t offset;              /* its offset in the tensor */
    uint64_t announced;           /* bytes announced so far, of all tensors */
    const organ_model_file *file; /* the file of descriptor `fd`; NULL: none */
    int fd;                       /* -1: announcements for `file` have no effect, such as for a file at a URL */
} organ_read_ahead;

void organ_read_ahead_open(organ_read_ahead *ahead);
void organ_read_ahead_close(organ_read_ahead *ahead);

/* Announces bytes in the order of the list until 64 MiB more than `read` are announced; `read` is the number of bytes
 * that the workers have read, or begin to read. Does nothing if another thread runs this function. Errors are left to
 * the reads themselves. */
void organ_read_ahead_move(organ_read_ahead *ahead, uint64_t read);

/* ---- the limit ----
 * organ_engine.readers: a spinning disk and some network file systems read slower when many threads read different
 * places. */

/* A gate through which a limited number of workers may be at a time. */
typedef struct organ_reader_gate {
    bool limits; /* false: every worker may pass, and the members below are not used */
    size_t free; /* workers that may still enter; protected by `lock` */
    pthread_mutex_t lock;
    pthread_cond_t left; /* a worker has left */
} organ_reader_gate;

/* Makes a gate for engine->readers workers. The caller ends it with organ_reader_gate_close. */
void organ_reader_gate_open(organ_reader_gate *gate, const organ_engine *engine);
void organ_reader_gate_close(organ_reader_gate *gate);

/* Waits until this worker may read. It calls organ_reader_gate_leave after the read, and never waits for another worker
 * in between. */
void organ_reader_gate_enter(organ_reader_gate *gate);
void organ_reader_gate_leave(organ_reader_gate *gate);

/* ---- finite values beyond the range of the type in which an output stores them ---- */

/* Rounding would make them, or the scale of their block, infinite. They are counted where values are converted, and
 * refused or limited. The model's own infinite values and NaN are kept. */

/* The treatment of such values in an output, and their number. Made by ORGAN_OVERFLOW; all threads may share one. */
typedef struct organ_overflow {
    bool saturate;        /* store the greatest finite value of the type, with the sign; false: refuse */
    pthread_mutex_t lock; /* guards the members below */
    uint64_t values;      /* number of values that were limited */
    char first[160];      /* name of a tensor that has some, the first in the order of strcmp */
    organ_dtype dtype;    /* the type of that tensor in the output */
} organ_overflow;

#define ORGAN_OVERFLOW(saturates)                                                                                      \
    {                                                                                                                  \
        .saturate = (saturates), .lock = PTHREAD_MUTEX_INITIALIZER                                                     \
    }

/* Returns the greatest magnitude that `dtype` can store in any block: 65504 for F16, BF16's greatest finite value, and
 * for GGUF blocks the value with which their F16 scale is still finite. INFINITY for other types. */
float organ_overflow_limit(organ_dtype dtype);

/* Returns how many of the values are finite, but not finite in `units`, which stores them as `dtype`. */
uint64_t organ_overflow_count(const organ_kernels *kernels, organ_dtype dtype, const float *values, const void *units,
                              size_t units_count);

/* Reports that `count` values of a tensor, at least 1, exceed the range of `dtype`. With `saturate` adds them to the
 * totals; otherwise returns ORGAN_BAD_INPUT and names the tensor, the type and its limit. */
organ_status organ_overflow_found(organ_overflow *overflow, const char *tensor, organ_dtype dtype, uint64_t count,
                                  organ_error *error);

/* Replaces finite values of greater magnitude than `limit` by it, with their sign. */
void organ_overflow_clamp(float *values, size_t n, float limit);

/* Like organ_narrow for values of `tensor`. Values beyond the range are limited, in `values` too, or refused with the
 * error of organ_overflow_found. */
organ_status organ_overflow_narrow(organ_overflow *overflow, const organ_kernels *kernels, organ_dtype dtype,
                                   const char *tensor, float *values, void *units, size_t units_count,
                                   organ_error *error);

#endif
