/* SPDX-License-Identifier: MIT
 * The weights that a model means, whatever tensors they are stored in: each packed tensor with its companions (scales,
 * zero points, group indices). In goes an open model; they are recognised from quantization_config and from names,
 * types and shapes. Headers and config only are read, and tensors of a few numbers (weight_shape). Out comes a list of
 * weights, of tensors that belong to none, and of what was odd. */
#ifndef ORGAN_WEIGHTS_H
#define ORGAN_WEIGHTS_H

#include "formats/base/api.h"
#include "formats/model/model.h"
#include "formats/tensor/tensor.h"

ORGAN_API_BEGIN

/* ---- one weight ---- */

/* How codes become values. c is a code, s its scale, z its zero point; every formula is FP32, each operation rounded.
 */
typedef enum organ_scheme {
    ORGAN_SCHEME_PLAIN,  /* stands alone: any type of safetensors or GGUF, block types of GGUF included */
    ORGAN_SCHEME_FP8,    /* F8_E4M3, F8_E5M2 or FNUZ codes: c s; s per tensor, per channel (row) or per block of rows x
                            columns */
    ORGAN_SCHEME_INT8,   /* I8 codes: (c - z) s; compressed-tensors int-quantized and naive-quantized */
    ORGAN_SCHEME_PACKED, /* compressed-tensors pack-quantized: 1 to 8 bits in I32 words along a row: (c - z) s */
    ORGAN_SCHEME_MXFP8,  /* F8_E4M3 codes, E8M0 scales for 32: c 2^(s - 127) */
    ORGAN_SCHEME_MXFP4,  /* pairs of E2M1 codes, low nibble first, E8M0 scales for 32: c 2^(s - 127); also gpt-oss
                          *_blocks and *_scales */
    ORGAN_SCHEME_NVFP4,  /* pairs of E2M1 codes, E4M3 scales for 16, one FP32 scale: c (s / global); ModelOpt: c (s
                            global);  MLX has no such scale: c s */
    ORGAN_SCHEME_GPTQ,   /* I32 words along in_features, 2, 3, 4 or 8 bits: (c - z) s */
    ORGAN_SCHEME_AWQ_GEMM, /* AutoAWQ: I32 words along out_features in the order 0 2 4 6 1 3 5 7: (c - z) s */
    ORGAN_SCHEME_AWQ_GEMV, /* AutoAWQ: I32 words along in_features in plain order: (c - z) s */
    ORGAN_SCHEME_MLX, /* affine mode of MLX: U32 words along a row, codes run across them: c s + b. Product and sum are
                         each rounded to the type of the scales, as mlx.core.dequantize does. Its modes mxfp4, mxfp8 and
                         nvfp4 are the schemes above, with codes in U32 words and scales in U8. */
    ORGAN_SCHEME_COUNT
} organ_scheme;

const char *organ_scheme_name(organ_scheme scheme); /* "plain", "fp8", "int8", "pack-quantized", "mxfp8", ... */

/* One weight. Companions that it does not have are NULL. */
typedef struct organ_weight {
    const char *name; /* of the plain tensor: "model.layers.0.mlp.up_proj.weight", whatever the codes are called */
    organ_scheme scheme;
    unsigned rank; /* of the plain tensor, and its shape, slowest axis first: what a model without quantisation has */
    const uint64_t *shape;
    uint64_t elements;
    organ_anatomy anatomy;     /* of the plain name */
    const organ_tensor *codes; /* the tensor itself, or the packed one */
    const organ_tensor *scale, *zero, *g_idx, *global, *shape_tensor, *bias;
    unsigned bits; /* of a code; 0 for block types of GGUF */
    /* A scale is for block_rows x block_cols values of the plain tensor; blocks at the bottom and right edges may be
     * clipped. Per tensor: all rows and columns; per channel: one row, all columns; groups: one row, group_size
     * columns. 0, 0 where there are no scales. With g_idx the group of a column is what g_idx says. */
    uint64_t block_rows, block_cols;
    bool dense_words; /* PACKED, MLX: codes of 3, 5, 6 and 7 bits run across words; else a word holds 32 / bits of them
                       */
    bool divides;     /* NVFP4: the global scale divides */
    bool transposed;  /* codes are stored with the last two axes of the plain tensor exchanged (GPTQ, AWQ gemm, gpt-oss)
                       */
    bool labelled_v2; /* GPTQ: the config says gptq_v2, zero points stored as they are; a reader believes the data more
                       */
} organ_weight;

/* A tensor that belongs to no weight. */
typedef struct organ_stray {
    const organ_tensor *tensor;
    bool dropped;    /* scales of activations and caches (input_scale, k_scale, ...): of no use in a plain model */
    const char *why; /* one sentence */
} organ_stray;

typedef struct organ_weights {
    size_t count;
    const organ_weight
        *weights;  /* in file order of the codes; every tensor of the model is a weight, a companion or a stray */
    size_t packed; /* of them not plain */
    size_t stray_count;
    const organ_stray *strays;
    size_t note_count;
    const char *const *notes; /* one sentence each: what config and tensors disagree in, and which was believed */
    const char
        *method; /* quantization_config.quant_method (or what a quantize_config.json says), "" if there is none */
} organ_weights;

/* The plain weight that a tensor is by itself. */
organ_weight organ_weight_plain(const organ_tensor *tensor);

/* As organ_tensor_matrices, of the plain tensor. */
organ_matrices organ_weight_matrices(const organ_weight *weight);

/* The tensors that it is stored in, k below ORGAN_WEIGHT_TENSORS: codes, scale, zero, g_idx, global, shape_tensor,
 * bias. NULL for one that it does not have. */
#define ORGAN_WEIGHT_TENSORS ((size_t)7)
const organ_tensor *organ_weight_tensor(const organ_weight *weight, size_t k);

/* Bytes of all tensors that it is stored in. */
uint64_t organ_weight_bytes(const organ_weight *weight);

/* "FP8 E4M3, block 128 x 128, F32 scales", "INT4, group 128, asymmetric, BF16 scales", "BF16": at most `size` bytes.
 * Returns `out`. */
char *organ_weight_text(const organ_weight *weight, char *out, size_t size);

/* ---- all of a model ---- */

/* Finds the weights of a model, which must outlive them. ORGAN_BAD_INPUT where a companion is missing, has the wrong
 * type or shape, or the config asks for what cannot be (group_size 0, bits 0 or 33), naming tensor, field and both
 * values; and where codes are in a layout that is not known (gptq_marlin, AWQ marlin, exllama, gemv_fast, bit-plane
 * GPTQ, 2:4 sparse), naming it. ORGAN_IO. *weights is NULL on error.
 */
organ_status organ_weights_find(const organ_model *model, organ_weights **weights, organ_error *error);
void organ_weights_free(organ_weights *weights); /* NULL is allowed */

/* The weight of that name or NULL; constant time. */
const organ_weight *organ_weights_named(const organ_weights *weights, const char *name);

ORGAN_API_END

#endif
