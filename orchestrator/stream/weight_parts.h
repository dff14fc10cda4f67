/* SPDX-License-Identifier: MIT
 * Inside of the reader of weights: what the families of schemes have in common. */
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
    /* Sets `batch`, `step` and all properties that follow from the headers; no I/O. */
    organ_status (*prepare)(organ_weight_reader *reader, organ_error *error);
    /* Reads the data that all rows need; NULL if there is none. */
    organ_status (*load)(organ_weight_reader *reader, char note[256], organ_error *error);
    /* Returns the scratch bytes for `rows` rows, at most a batch. */
    size_t (*scratch)(const organ_weight_reader *reader, size_t rows);
    /* Reads at most a batch of rows as type `as`: F32, or another one for which `writes` returns true. */
    organ_status (*read)(const organ_weight_reader *reader, const weight_rows *rows, organ_dtype as, void *values,
                         unsigned char *scratch, organ_error *error);
    bool (*writes)(const organ_weight_reader *reader, organ_dtype as); /* NULL: only F32 */
} weight_family;

/* Scales or zero points: one for a block of rows and columns of each matrix. */
typedef struct weight_grid {
    const organ_tensor *tensor; /* NULL: there are none */
    size_t element;             /* bytes */
    uint64_t matrix;            /* elements from one matrix to the next; 0: all matrices share them */
    uint64_t rows, stride;      /* rows of the grid, and elements from one to the next */
    uint64_t block_rows;        /* rows of the matrix that share a row of the grid */
    size_t cols;                /* that are used of a row: at most `stride` */
} weight_grid;

/* The bytes [from, to) of a tensor, in memory. */
typedef struct weight_held {
    const organ_tensor *tensor;
    uint64_t from, to;
    const unsigned char *bytes;
} weight_held;

struct organ_weight_reader {
    const organ_model *model;
    const organ_weight *weight;
    const organ_kernels *kernels;
    const weight_family *family;
    organ_matrices shape;
    size_t batch;            /* rows that are read and widened at once */
    size_t step;             /* rows that belong together */
    uint64_t stored;         /* bytes of all its tensors */
    float *table;            /* plain types of at most 8 bits: the value of each code */
    organ_code code;         /* packed: what the kernels decode */
    size_t row_bytes;        /* packed: of the codes of a row of words or bytes */
    size_t group, groups;    /* packed: columns that share a scale, and how many such groups a row has */
    weight_grid scale, zero; /* packed: `zero` if zero points have the layout of the scales */
    bool packed_zero;        /* PACKED: zero points are packed along rows */
    bool plus_one;           /* GPTQ: zero points are stored less 1 */
    int32_t *g_idx;          /* the group of each column, or NULL */
    float *global;           /* NVFP4: one for each matrix, or NULL */
    weight_held held[4];     /* codes, scales, zero points and biases in memory */
};

extern const weight_family organ_weight_family_plain, organ_weight_family_rows, organ_weight_family_words,
    organ_weight_family_experts;

/* Sets the family of the scheme and the properties that follow from the headers; reads and allocates nothing. *reader
 * need not be released. ORGAN_BAD_INPUT for a type without real numbers. */
organ_status organ_weight_reader_prepare(const organ_model *model, const organ_weight *weight,
                                         const organ_kernels *kernels, organ_weight_reader *reader, organ_error *error);

/* The approximate number of values that are read and widened at once; they fit in the cache of a core. */
#define WEIGHT_BATCH_VALUES ((size_t)1 << 16)

/* Returns `bytes` rounded up to a multiple of 64; weight_up returns a / b rounded up. */
static inline size_t weight_round(size_t bytes) { return (bytes + 63) & ~(size_t)63; }
static inline uint64_t weight_up(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

/* Returns the next `bytes` of scratch, 64-byte aligned, and advances the address *at past them. A layout from address 0
 * ends at the number of bytes that it needs. */
static inline void *weight_take(uintptr_t *at, size_t bytes)
{
    const uintptr_t taken = *at;
    *at += weight_round(bytes);
    return (void *)taken;
}

/* Returns `bytes` bytes of the tensor from byte `at` on if they are in memory, else NULL. */
const unsigned char *organ_weight_in_memory(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t at,
                                            size_t bytes);

/* Reads `bytes` bytes of the tensor from its byte `at` on. ORGAN_BAD_INPUT if they are not all within the tensor. */
organ_status organ_weight_fetch(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t at,
                                size_t bytes, void *to, organ_error *error);

/* Reads bytes [first, first + n) of each of `rows` rows of `width` bytes, from row `row` on, contiguously. `scratch`:
 * WEIGHT_ROOM bytes. */
#define WEIGHT_ROOM ((size_t)1 << 17)
organ_status organ_weight_fetch_columns(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t row,
                                        size_t rows, uint64_t width, uint64_t first, size_t n, unsigned char *to,
                                        unsigned char *scratch, organ_error *error);

/* Determines how the columns are grouped under scales. `across` is the axis of the scale that counts the groups; 1 is
 * its last axis, 2 the one before. ORGAN_BAD_INPUT without a scale. */
organ_status organ_weight_find_groups(organ_weight_reader *reader, unsigned across, organ_error *error);

/* Decodes a row of codes with a scale and a zero point for each group. With a g_idx `scale_of` and `zero_of` have room
 * for all columns. */
void organ_weight_decode(const organ_weight_reader *reader, const unsigned char *codes, const float *scales,
                         const float *zeros, float *scale_of, float *zero_of, organ_dtype as, void *values);

/* Returns whether the decoding kernels can write type `as`; organ_weight_real returns it as an organ_real. */
bool organ_weight_can_decode_to(const organ_weight_reader *reader, organ_dtype as);
organ_real organ_weight_real(organ_dtype as);

/* The range of whole words or bytes that contains the codes [first, first + n), of `bits` bits each, in a row of
 * words. */
typedef struct weight_span {
    uint64_t from, to; /* words of 32 bits */
    size_t skip;       /* codes of the first word before the first one read */
} weight_span;
weight_span organ_weight_span(unsigned bits, bool dense, uint64_t first, uint64_t n);

/* ---- scales ---- */

/* Determines how a companion maps to the blocks of a weight. ORGAN_BAD_INPUT if its type or size is impossible. */
organ_status organ_weight_grid_make(const organ_weight_reader *reader, const organ_tensor *tensor, weight_grid *grid,
                                    organ_error *error);

/* Returns the largest number of rows of the grid that apply to any `rows` consecutive rows of a matrix. */
size_t organ_weight_grid_rows(const weight_grid *grid, size_t rows);

/* Returns the scratch bytes that organ_weight_grid_read needs in addition to the floats. */
size_t organ_weight_grid_scratch(const weight_grid *grid, size_t rows);

/* Reads to `floats` those rows of the grid that apply to these rows of a matrix, `stride` floats each, beginning with
 * the grid's row for matrix row `rows->first`. */
organ_status organ_weight_grid_read(const organ_weight_reader *reader, const weight_grid *grid, const weight_rows *rows,
                                    float *floats, unsigned char *scratch, organ_error *error);

/* Converts n elements of the tensor's type to FP32: floats, integers, and exponents of E8M0 if a scale is U8. */
void organ_weight_widen(const organ_weight_reader *reader, const organ_tensor *tensor, const void *elements, size_t n,
                        float *floats);

/* Reads the scale of each matrix: of scales in NVFP4, of values in a GGUF. */
organ_status organ_weight_load_global(organ_weight_reader *reader, organ_error *error);

/* Reads and checks the group of each column. */
organ_status organ_weight_load_g_idx(organ_weight_reader *reader, organ_error *error);

/* Determines for GPTQ whether zero points are stored less 1: from the data or, if these do not decide, from the
 * label. */
organ_status organ_weight_find_version(organ_weight_reader *reader, char note[256], organ_error *error);

#endif
