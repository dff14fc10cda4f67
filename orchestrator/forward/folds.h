/* SPDX-License-Identifier: MIT
 * Folds: where numbers of a layer can be scaled by channel without a change of its function. A producer is divided by
 * a factor for each channel, and all its readers are multiplied by that factor. The plans of the layers and the steps
 * of the forward pass decide what reads what, so that a model of a new part has no fold that forgets it. */
#ifndef ORGAN_FORWARD_FOLDS_H
#define ORGAN_FORWARD_FOLDS_H

#include "formats/base/arena.h"

#include <organ/forward.h>
#include <organ/weights.h>

/* Rows or columns of a tensor by channel: block b, for b < blocks, begins at index first + b * stride, and its item k,
 * for k < span, is at that index plus k * step. It has channel base + b / share * span + k. */
typedef struct organ_fold_map {
    uint64_t first, stride, blocks, span, step, share, base;
} organ_fold_map;

/* A tensor of a fold, as `matrices` matrices of out_features x in_features; a vector is a matrix of one row. */
typedef struct organ_fold_side {
    const organ_weight *weight;
    uint64_t matrices, rows, cols; /* rows of one matrix */
    bool transposed;               /* the file has the matrices as in_features x out_features */
    bool divided;                  /* the producer; false: a reader */
    bool of_rows;                  /* channels are those of rows, counted over all matrices; else of columns */
    /* columns: counted over all matrices, matrix 0 first; false: all matrices have the channels of the first */
    bool apart;
    float plus;  /* the forward pass multiplies by plus + value (norms that add one) */
    float times; /* readers: the layer multiplies the channels by this number before the reader reads them */
    organ_fold_map map;
} organ_fold_side;

#define ORGAN_NO_CHANNEL UINT64_MAX
/* Returns the channel of row `at` (side->of_rows) or of column `at` of a matrix; ORGAN_NO_CHANNEL: the fold has not
 * this row or column. */
uint64_t organ_fold_channel(const organ_fold_side *side, uint64_t matrix, uint64_t at);

/* What a fold scales. */
typedef enum organ_fold_kind {
    ORGAN_FOLD_NORM, /* the output of a norm, which all its readers read */
    ORGAN_FOLD_UP,   /* rows of up, columns of down */
    ORGAN_FOLD_VALUE /* rows of v, columns of o */
} organ_fold_kind;

typedef struct organ_fold {
    int32_t layer;
    organ_fold_kind kind;
    const char *name; /* "norm before the mixer" */
    uint64_t channels;
    size_t first, count; /* range of its sides in organ_folds.sides; those of the producer come first */
} organ_fold;

/* A place where a layer has no fold. */
typedef struct organ_unfolded {
    int32_t layer;
    const char *name;
    const char *why; /* "there is no norm" */
} organ_unfolded;

/* The folds of a model, in the order of layers, and the places without one. */
typedef struct organ_folds {
    organ_fold *list;
    organ_fold_side *sides;
    organ_unfolded *left;
    size_t count, side_count, left_count;
    size_t room, side_room, left_room; /* allocated items */
} organ_folds;

/* Finds the folds of all layers; blocks for multi-token prediction have none. The tensors belong to the model of
 * `forward`, which must outlive *folds. Call organ_folds_release also after an error. Returns ORGAN_IO if memory runs
 * out. */
organ_status organ_forward_folds(const organ_forward *forward, organ_folds *folds, organ_error *error);
void organ_folds_release(organ_folds *folds);

#endif
