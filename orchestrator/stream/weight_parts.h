/* SPDX-License-Identifier: MIT
 * Inside of the reader of weights: what every family of schemes has in common. */
#ifndef ORGAN_WEIGHT_PARTS_H
#define ORGAN_WEIGHT_PARTS_H

#include "orchestrator/stream/weight_reader.h"

/* Rows of one matrix of a weight. */
typedef struct weight_rows {
    uint64_t matrix, first;
    size_t count;
} weight_rows;

/* How the weights of some schemes are read. */
typedef struct weight_family {
    /* Sets `batch`, `step` and whatever else the headers tell; no I/O. */
    organ_status (*prepare)(organ_weight_reader *reader, organ_error *error);
    /* Reads what all rows need; NULL where that is nothing. */
    organ_status (*load)(organ_weight_reader *reader, char note[256], organ_error *error);
    /* Bytes of scratch for so many rows, at most a batch. */
    size_t (*scratch)(const organ_weight_reader *reader, size_t rows);
    /* At most a batch of rows, as type `as`, which is F32 unless `writes` says yes to another. */
    organ_status (*read)(const organ_weight_reader *reader, const weight_rows *rows, organ_dtype as, void *values, unsigned char *scratch,
                         organ_error *error);
    bool (*writes)(const organ_weight_reader *reader, organ_dtype as); /* NULL: only F32 */
} weight_family;

struct organ_weight_reader {
    const organ_model *model;
    const organ_weight *weight;
    const organ_kernels *kernels;
    const weight_family *family;
    organ_matrices shape;
    size_t batch;    /* rows that are read and widened at once */
    size_t step;     /* rows that belong together */
    uint64_t stored; /* bytes of all its tensors */
    float *table;    /* plain types of at most 8 bits: the value of each code */
};

extern const weight_family organ_weight_family_plain;

/* The family of the scheme and what the headers tell; nothing is read or allocated. *reader need not be released. ORGAN_BAD_INPUT for a
 * type that has no real numbers. */
organ_status organ_weight_reader_prepare(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                                         organ_weight_reader *reader, organ_error *error);

/* About so many values are read and widened at once: they stay in the cache of a core. */
#define WEIGHT_BATCH_VALUES ((size_t)1 << 16)

/* A multiple of 64. */
static inline size_t weight_round(size_t bytes) { return (bytes + 63) & ~(size_t)63; }

/* `bytes` of the tensor from its byte `at`. */
organ_status organ_weight_fetch(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t at, size_t bytes, void *to,
                                organ_error *error);

#endif
