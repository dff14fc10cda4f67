/* SPDX-License-Identifier: MIT
 * The parts of composed tensors, the files that show them, and how they are read. */
#ifndef ORGAN_MODEL_COMPOSE_H
#define ORGAN_MODEL_COMPOSE_H

#include "formats/model/composed.h"
#include "formats/tensor/tensor_list.h"

#include <pthread.h>

/* A stored stack of matrices, plain or quantised by MLX. */
typedef struct organ_compose_part {
    organ_tensor codes;
    organ_tensor scales, biases; /* of MLX's codes; `bits` is 0 without them, biases.name NULL without biases */
    unsigned bits;               /* of a code */
    bool affine;                 /* else a floating-point mode, which its group tells */
    bool turned;                 /* rows become columns */
} organ_compose_part;

typedef enum organ_compose_form {
    ORGAN_COMPOSE_BELOW,  /* the rows of each part follow those of the one before */
    ORGAN_COMPOSE_BESIDE, /* so do the columns */
    ORGAN_COMPOSE_WOVEN   /* a column of each part in turn */
} organ_compose_form;

/* A tensor whose bytes no file has in one piece: `count` matrices, each of one matrix of every part, or, if `apart`, of
 * one part. */
typedef struct organ_composed {
    organ_tensor as;
    uint64_t count, rows, cols;
    organ_compose_form form;
    float plus;         /* is added to each value */
    const float *times; /* a factor of each row; NULL: 1 */
    /* the bytes of rows are copied, so that rows of codes are codes again; else values are computed */
    bool bytes;
    bool apart; /* count is part_count, and matrix k is that of part k */
    size_t part_count;
    const organ_compose_part *parts; /* their files and offsets are those of real files */
} organ_composed;

/* A tensor of a shown file. */
typedef struct organ_composed_place {
    uint64_t offset, bytes; /* in the shown file */
    uint64_t from;          /* offset in the real file; ORGAN_COMPOSED_AT + k: it is list[k] */
} organ_composed_place;
#define ORGAN_COMPOSED_AT ((uint64_t)1 << 60)

/* A shown file: a header, then its tensors without gaps. */
typedef struct organ_composed_file {
    organ_model_file real;
    char *header;
    size_t header_bytes;
    size_t first, count; /* its places */
} organ_composed_file;

/* The composed tensors of a model, and its shown files. All zero: none. */
typedef struct organ_compositions {
    bool used; /* the files are shown in another form */
    organ_composed *list;
    size_t count, capacity;
    organ_composed_file *files;
    size_t file_count;
    organ_composed_place *places; /* by file and offset */
    pthread_mutex_t lock;
    bool locks;       /* `lock` is initialised */
    const void *held; /* the tensor of which `values` has the matrix `matrix` */
    uint64_t matrix;
    unsigned char *values;
} organ_compositions;

/* Appends *made, whose tensor gets the offset ORGAN_COMPOSED_AT + its index. Returns ORGAN_IO if memory is exhausted.
 */
organ_status organ_compositions_add(organ_compositions *all, organ_composed *made, organ_error *error);

/* Makes `files` show the tensors of `list`, whose offsets are those of the real files or of organ_compositions_add:
 * sorts the tensors, gives them the offsets and files[k] the size of a shown file, and takes over its descriptor.
 * Returns ORGAN_IO if memory is exhausted. */
organ_status organ_compositions_show(organ_compositions *all, organ_tensor_list *list, organ_model_file *files,
                                     size_t count, organ_error *error);

/* Reads bytes of shown file number `file`. Thread-safe. Returns the errors of organ_model_read. */
organ_status organ_compositions_read(organ_compositions *all, uint32_t file, void *to, size_t bytes, uint64_t offset,
                                     organ_error *error);

/* Sets first and count of each file; the tensors have the order of files. */
void organ_model_files_count(organ_model_file *files, size_t count, const organ_tensor_list *list);

/* Closes the real files. */
void organ_compositions_release(organ_compositions *all);

#endif
