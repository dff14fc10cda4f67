/* SPDX-License-Identifier: MIT
 * Internals of the weight reader. A family is the code that reads the weights of some quantisation
 * schemes; the families share the functions declared here. */
#ifndef ORGAN_WEIGHT_PARTS_H
#define ORGAN_WEIGHT_PARTS_H

#include <organ/stream.h>

/* A callback for parts of the rows that are read. It gets the first row of a part, counted over all matrices. */
typedef struct weight_use {
    size_t most; /* rows of a part */
    organ_status (*use)(void *context, uint64_t first, size_t rows, organ_error *error);
    void *context;
} weight_use;

/* Rows [first, first + count) of matrix number `matrix` of a weight. */
typedef struct weight_rows {
    uint64_t matrix, first;
    size_t count;
    const weight_use *use; /* families with `parts` only: each part is decoded to the same values; NULL: all rows */
} weight_rows;

/* The functions of a family. */
typedef struct weight_family {
    /* Sets batch, step and the other members of the reader that follow from the headers; no I/O. */
    organ_status (*prepare)(organ_weight_reader *reader, organ_error *error);
    /* Reads the data that all rows need (g_idx, global scales) into the reader; NULL if the family has none. */
    organ_status (*load)(organ_weight_reader *reader, char note[256], organ_error *error);
    /* Returns the bytes of scratch that `read` needs for `rows` rows, at most a batch. */
    size_t (*scratch)(const organ_weight_reader *reader, size_t rows);
    /* Reads at most a batch of rows as type `as`: F32, or another one for which `writes` returns true. */
    organ_status (*read)(const organ_weight_reader *reader, const weight_rows *rows, organ_dtype as, void *values,
                         unsigned char *scratch, organ_error *error);
    bool (*writes)(const organ_weight_reader *reader, organ_dtype as); /* NULL: only F32 */
    /* `read` can decode its rows in parts. It must write every type, and rows of a batch must cost least together. */
    bool parts;
} weight_family;

/* The functions of weight_reader.c, for families in other files whose weights are read from others. */
typedef struct weight_readers {
    organ_status (*prepare)(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                            organ_weight_reader *reader, organ_error *error);
    organ_status (*open)(const organ_model *model, const organ_weight *weight, const organ_kernels *kernels,
                         char note[256], organ_weight_reader **reader, organ_error *error);
    size_t (*scratch)(const organ_weight_reader *reader, size_t rows);
    organ_status (*read)(const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as, void *values,
                         void *scratch, organ_error *error);
} weight_readers;

/* Layout of a tensor of scales, zero points or biases: one number for each block of rows and columns of each matrix. */
typedef struct weight_grid {
    const organ_tensor *tensor; /* NULL: there are none */
    size_t element;             /* bytes of an element */
    /* elements from the grid of one matrix to that of the next; 0: all matrices share one grid */
    uint64_t matrix;
    uint64_t rows, stride; /* rows of the grid of one matrix, and elements from one grid row to the next */
    uint64_t block_rows;   /* rows of the matrix that share a row of the grid */
    size_t cols;           /* elements used in a row of the grid: at most `stride` */
} weight_grid;

/* Bytes [from, to) of a tensor, which organ_weight_reader_hold has read into the caller's memory at `bytes`. */
typedef struct weight_held {
    const organ_tensor *tensor;
    uint64_t from, to;
    const unsigned char *bytes;
} weight_held;

/* An open weight: its tensors, how they are arranged, and values that every row needs. */
struct organ_weight_reader {
    const organ_model *model;
    const organ_weight *weight;
    const organ_kernels *kernels;
    const weight_family *family;
    const weight_readers *readers;
    organ_matrices shape; /* matrices of the weight, rows and columns of each */
    size_t batch;         /* rows that are read and decoded at once */
    /* rows that share stored data (a block of scales, a word): reading them separately costs more */
    size_t step;
    uint64_t stored;             /* stored bytes of the weight, companions included */
    float *table;                /* plain types of at most 8 bits: the value of each code */
    unsigned char wider[64];     /* MXFP6: the code of 8 bits with the value of each code */
    organ_code code;             /* packed: the kind of codes for the kernels */
    size_t row_bytes;            /* packed: bytes of the codes of a row */
    size_t group, groups;        /* packed: columns that share a scale, and how many such groups a row has */
    weight_grid scale, zero;     /* packed: scales; zero points if they have the layout of the scales */
    bool packed_zero;            /* PACKED, AWQ gemv: zero points are codes in words, not a grid */
    bool plus_one;               /* GPTQ: zero points are stored minus 1, so 1 is added to each */
    int32_t *g_idx;              /* group of each column; NULL: columns are in the order of their groups */
    float *columns;              /* factor of the values of each column; NULL: none */
    float *global;               /* second scale of each matrix (NVFP4), or scale of a plain GGUF tensor; NULL: none */
    organ_weight_reader **parts; /* of the parts of a made weight, or of the weight to rotate; NULL: it is stored */
    struct organ_turn *turn;     /* of a rotated weight, else NULL */
    weight_held held[4];         /* codes, scales, zero points and biases that organ_weight_reader_hold has read */
};

extern const weight_family organ_weight_family_plain, organ_weight_family_rows, organ_weight_family_words,
    organ_weight_family_experts, organ_weight_family_rotated, organ_weight_family_levels;

/* Returns the best number of rows for one call of organ_weight_read_parts, if the caller would choose `rows`. */
size_t organ_weight_reader_batch(const organ_weight_reader *reader, size_t rows);
/* Returns likewise the best number of rows of a part. */
size_t organ_weight_reader_part(const organ_weight_reader *reader, size_t rows);
/* As organ_weight_read, but has room for use->most rows in `values`, and calls `use` when they have the next rows. Rows
 * that share stored data are still read together. */
organ_status organ_weight_read_parts(const organ_weight_reader *reader, uint64_t first, size_t rows, organ_dtype as,
                                     void *values, const weight_use *use, void *scratch, organ_error *error);

/* Sets the family and all members that follow from the headers; reads and allocates nothing, so *reader need not be
 * released. Returns ORGAN_BAD_INPUT for a type without real numbers. */
organ_status organ_weight_reader_prepare(const organ_model *model, const organ_weight *weight,
                                         const organ_kernels *kernels, organ_weight_reader *reader, organ_error *error);

/* About how many values are read and decoded at once; they fit in the cache of a core. */
#define WEIGHT_BATCH_VALUES ((size_t)1 << 16)

/* Returns `bytes` rounded up to a multiple of 64, a cache line. */
static inline size_t weight_round(size_t bytes) { return (bytes + 63) & ~(size_t)63; }
/* Returns a / b, rounded up. */
static inline uint64_t weight_up(uint64_t a, uint64_t b) { return a / b + (a % b != 0); }

/* Reserves `bytes` bytes of scratch memory: returns the address *at and advances *at past the bytes, to a multiple of
 * 64. If *at is 0 before the first array, it becomes the total bytes of the arrays. */
static inline void *weight_take(uintptr_t *at, size_t bytes)
{
    const uintptr_t taken = *at;
    *at += weight_round(bytes);
    return (void *)taken;
}

/* Reads `bytes` bytes of the tensor from its byte `at` on, from memory or from the file. Returns ORGAN_BAD_INPUT if
 * they are not all within the tensor. */
organ_status organ_weight_fetch(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t at,
                                size_t bytes, void *to, organ_error *error);

/* Bytes of scratch memory of organ_weight_fetch_columns. */
#define WEIGHT_ROOM ((size_t)1 << 17)

/* Treats the tensor as rows of `width` bytes. Copies bytes [first, first + n) of each of the rows [row, row + rows) to
 * `to`, without gaps. `scratch`: WEIGHT_ROOM bytes. Returns ORGAN_BAD_INPUT if the tensor has fewer bytes, ORGAN_IO if
 * a read failed. */
organ_status organ_weight_fetch_columns(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t row,
                                        size_t rows, uint64_t width, uint64_t first, size_t n, unsigned char *to,
                                        unsigned char *scratch, organ_error *error);

typedef struct weight_columns {
    const unsigned char *bytes; /* of the first row; in the scratch memory */
    size_t rows, stride;        /* in bytes, from row to row */
} weight_columns;

/* As organ_weight_fetch_columns, but n is at most WEIGHT_ROOM / 2, and the bytes stay in `scratch`, for an even number
 * of rows or all. */
organ_status organ_weight_view_columns(const organ_weight_reader *reader, const organ_tensor *tensor, uint64_t row,
                                       size_t rows, uint64_t width, uint64_t first, size_t n, unsigned char *scratch,
                                       weight_columns *view, organ_error *error);

/* Sets reader->group, the number of columns that share a scale, and reader->groups, the number of groups in a row.
 * `across` is the axis of the scale tensor that counts groups: 1 its last axis, 2 the one before. Returns
 * ORGAN_BAD_INPUT if the weight has no scale. */
organ_status organ_weight_find_groups(organ_weight_reader *reader, unsigned across, organ_error *error);

/* Decodes a row of codes to `values`, of type `as`. `scales` and `zeros` have one number for each group of columns;
 * NULL zeros: no zero points. If reader->g_idx is set, `scale_of` and `zero_of` are scratch for one number per column.
 */
void organ_weight_decode(const organ_weight_reader *reader, const unsigned char *codes, const float *scales,
                         const float *zeros, float *scale_of, float *zero_of, organ_dtype as, void *values);

/* Returns whether the decoding kernels can write type `as`: F32, BF16 or F16. The signature is that of
 * weight_family.writes. */
bool organ_weight_can_decode_to(const organ_weight_reader *reader, organ_dtype as);

/* Converts F32, BF16 or F16 to the organ_real of that type. */
organ_real organ_weight_real(organ_dtype as);

/* The 32-bit words of a row that contain some consecutive codes. */
typedef struct weight_span {
    uint64_t from, to; /* words [from, to) of the row */
    size_t skip;       /* codes in word `from` before code `first` */
} weight_span;

/* Returns the words that contain codes [first, first + n) of a row; n >= 1. `dense`: codes may cross words; else each
 * word has 32 / bits codes. */
weight_span organ_weight_span(unsigned bits, bool dense, uint64_t first, uint64_t n);

/* ---- scales ---- */

/* Sets *grid to the layout of a companion (a tensor of scales, zero points or biases). Returns ORGAN_BAD_INPUT if the
 * tensor has a type that scales cannot have, or too few elements. */
organ_status organ_weight_grid_make(const organ_weight_reader *reader, const organ_tensor *tensor, weight_grid *grid,
                                    organ_error *error);

/* Returns the largest number of grid rows that can apply to `rows` consecutive rows of a matrix. */
size_t organ_weight_grid_rows(const weight_grid *grid, size_t rows);

/* Returns the bytes of scratch memory that organ_weight_grid_read needs for `rows` rows of a matrix. */
size_t organ_weight_grid_scratch(const weight_grid *grid, size_t rows);

/* Reads the grid rows that apply to the rows *rows of a matrix to `floats`, as FP32, grid->stride floats for each grid
 * row. The first grid row in `floats` is the one that applies to matrix row rows->first. */
organ_status organ_weight_grid_read(const organ_weight_reader *reader, const weight_grid *grid, const weight_rows *rows,
                                    float *floats, unsigned char *scratch, organ_error *error);

/* Converts n elements of a companion to FP32: floats, integers, E4M3, or exponents (E8M0, U8). Scales and biases are
 * also multiplied by organ_model.scale_times, unless that is 0. */
void organ_weight_widen(const organ_weight_reader *reader, const organ_tensor *tensor, const void *elements, size_t n,
                        float *floats);

/* Allocates and reads reader->global: for each matrix the scale of its scales (NVFP4) or of its values (a plain GGUF
 * tensor). Does nothing if the weight has no such tensor. */
organ_status organ_weight_load_global(organ_weight_reader *reader, organ_error *error);

/* Allocates and reads reader->columns. Does nothing if the weight has no such factors. */
organ_status organ_weight_load_columns(organ_weight_reader *reader, organ_error *error);

/* Allocates, reads and checks reader->g_idx, the group of each column; leaves it NULL if the columns are in the order
 * of their groups. */
organ_status organ_weight_load_g_idx(organ_weight_reader *reader, organ_error *error);

/* GPTQ: sets reader->plus_one. If all zero points are equal to half of the range, or all to one less, they decide;
 * otherwise the label in the configuration decides. Sets `note` if the zero points contradict the
 * label, or if some of them become 0 because of the added 1. */
organ_status organ_weight_find_version(organ_weight_reader *reader, char note[256], organ_error *error);

#endif
