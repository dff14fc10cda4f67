/* SPDX-License-Identifier: MIT
 * Tensors of one architecture in safetensors and in GGUF files: their names, and which rows of a tensor in one format
 * are which rows of tensors in the other. Each kind of tensor is described once, towards GGUF: one tensor of
 * safetensors is written to one or two tensors of GGUF. A conversion to safetensors inverts the description. */
#ifndef ORGAN_PLACES_H
#define ORGAN_PLACES_H

#include <organ/weights.h>
#include "formats/architecture/exchange.h"

/* Bytes for a tensor's name with its NUL. */
#define ORGAN_PLACE_NAME 600

/* A model's architecture in both formats. */
typedef struct place_model {
    const forward_exchange *exchange;           /* its row in exchange.h */
    const forward_family *family, *gguf_family; /* its rows in families.h for safetensors and for GGUF */
    const organ_forward_config *config;         /* of the model, from a file of either format */
    const char *prefix;                         /* how names of the text model begin in safetensors, such as "model." */
    /* name of the output head in safetensors if the family has no own name for it (organ_text_head) */
    const char *head;
} place_model;

/* How a tensor of safetensors is stored in GGUF files. */
typedef enum place_kind {
    PLACE_WHOLE,      /* as one tensor, which may have another shape */
    PLACE_NUMBERED,   /* tensors with a number in their name are the matrices, or rows, of one tensor */
    PLACE_HALVES,     /* the first and the second half of each matrix's rows are a tensor each */
    PLACE_KV_B,       /* kv_b_proj: rows of keys and of values of each head, as a stack of matrices each */
    PLACE_QKV,        /* fused q, k, v, ordered by head of k and v: all rows of q, then of k, then of v */
    PLACE_QKVZ,       /* in_proj_qkvz of Qwen3-Next, ordered by key head: a tensor with q, k and v, one with z */
    PLACE_TRANSPOSED, /* each matrix is transposed; a stack of gate and up becomes two stacks */
    PLACE_FLAT,       /* stacks of DBRX, (experts x channels) x hidden_size */
    PLACE_COLUMNS,    /* biases of experts: the columns of gate and up alternate */
    PLACE_CONV,       /* as PLACE_WHOLE: channels x 1 x kernel as channels x kernel, or as 1 x channels x 1 x kernel */
    PLACE_VECTOR,     /* as PLACE_WHOLE: a number for each head, in GGUF files of Mamba-2 as a column */
    PLACE_GROUPED,    /* the norm of Mamba-2: a vector as a matrix with a row for each group */
    PLACE_PADDED,     /* the rows are followed by zeros */
    PLACE_TILED,      /* value heads in another order (forward_recurrent.gguf_tiled) */
} place_kind;

/* The function of a value that GGUF stores. */
typedef enum place_function {
    PLACE_SAME,     /* x */
    PLACE_PLUS_ONE, /* x + 1 */
    PLACE_MINUS_EXP /* -exp(x) */
} place_function;

/* Rows of a tensor of safetensors, and the rows of a tensor of GGUF that they become. Rows are counted over all
 * matrices of a tensor; a vector is a matrix of one column. Of block number b of `block` rows, rows
 * [first, first + rows) become rows at + b x step and following ones. */
typedef struct place_strip {
    unsigned to; /* index in place_layout.gguf */
    uint64_t block, first, rows, at, step;
    bool transposed; /* the columns below of these rows become rows */
    bool slice;      /* the columns below of each row become a row */
    /* With transposed and slice: columns col, col + col_step, ..., `cols` in number. If col_step is 1, the columns of
     * another strip may follow; if it is 2, they alternate with those of another strip. */
    uint64_t col, col_step, cols;
} place_strip;

/* The most strips of a layout. */
#define ORGAN_PLACE_STRIPS 4

/* A tensor in one format. */
typedef struct place_tensor {
    exchange_part part;
    unsigned rank;
    uint64_t shape[4];
} place_tensor;

/* A tensor of safetensors and the tensors of GGUF that have its values. */
typedef struct place_layout {
    place_kind kind;
    place_tensor hf, gguf[2];
    unsigned count; /* of `gguf` */
    /* PLACE_NUMBERED, described from GGUF: how many tensors of safetensors there are. Their numbers are 0, 1, ...;
     * hf.part.number and the strip are those of number 0, and the strip of number n begins n x `step` rows later. */
    uint64_t numbers;
    place_strip strips[ORGAN_PLACE_STRIPS];
    unsigned strip_count; /* 0: all rows keep their order */
    place_function function;
    uint64_t head;  /* the rows of each head, of this size, have the order 0, n/2, 1, n/2 + 1, ...; 0: their order in
                       safetensors */
    bool by_value;  /* scales of quantised weights do not fit the rows or columns of the other format */
    uint64_t zeros; /* PLACE_PADDED: rows of zeros after those of safetensors */
    /* PLACE_TILED: rows [0, plain) keep their order; then come value heads of `each` rows, or columns */
    uint64_t plain, each;
} place_layout;

/* A tensor that is described. */
typedef struct place_source {
    bool gguf; /* its format */
    /* its axes have the order in which MXFP4 codes are stored: experts x out_features x in_features */
    bool coded;
    const char *name;
    unsigned rank;
    const uint64_t *shape;
    int64_t layer;      /* -1: in no layer */
    exchange_part part; /* layer and part are those of organ_place_find */
} place_source;

/* Returns whether a weight of safetensors has no tensor in GGUF because llama.cpp computes it, or because it is the
 * output head that is tied to the embeddings. */
bool organ_place_is_left_out(const place_model *model, const organ_weight *weight);

/* Finds layer and part of a tensor by its name. Returns false if the architecture has no such name. */
bool organ_place_find(const place_model *model, bool gguf, const char *name, int64_t *layer, exchange_part *part);

/* Writes the name of a part in the layer. Returns false if the format has no name for the part. */
bool organ_place_name(const place_model *model, bool gguf, int64_t layer, const exchange_part *part,
                      char name[ORGAN_PLACE_NAME]);

/* Describes how the tensor is stored in both formats. Returns NULL or, if its shape is not that of its kind, why: the
 * end of a sentence that begins with the tensor's name. `layer` must be below config->layers. */
const char *organ_place_describe(const place_model *model, const place_source *source, place_layout *layout);

#endif
