/* SPDX-License-Identifier: MIT
 * The weights of a model, packed or not, and the pairs of factors of LoRA adapters. */
#ifndef ORGAN_API_WEIGHTS_H
#define ORGAN_API_WEIGHTS_H

#include <organ/base.h>
#include <organ/models.h>

#include <jansson.h>

ORGAN_API_BEGIN

/* ---- weights ---- */

/* A packed weight consists of a tensor of codes and of companions, which are tensors of scales, zero points, group
 * indices and the like. organ_weights_find recognises packed weights by quantization_config and by names, types and
 * shapes of tensors. It reads headers, config and tensors of a few numbers (weight_shape), and returns the weights, the
 * tensors that belong to no weight, and notes on contradictions between config and tensors. */

/* ---- one weight ---- */

/* How a weight is packed, with the formula of a value: c is its code, s the scale and z the zero point of its block.
 * Each operation is rounded to FP32. "c s" is a product. */
typedef enum organ_scheme {
    ORGAN_SCHEME_PLAIN,  /* a single tensor of any type of safetensors or GGUF, including block types */
    ORGAN_SCHEME_FP8,    /* F8_E4M3, F8_E5M2 or FNUZ codes: c s; s per tensor, per channel (row) or per block of rows x
                            columns */
    ORGAN_SCHEME_INT8,   /* I8 codes: (c - z) s; compressed-tensors int-quantized and naive-quantized */
    ORGAN_SCHEME_PACKED, /* compressed-tensors pack-quantized: codes of 1 to 8 bits in I32 words of a row: (c - z) s */
    ORGAN_SCHEME_MXFP8,  /* F8_E4M3 codes, an E8M0 scale for each 32: c 2^(s - 127) */
    ORGAN_SCHEME_MXFP4, /* pairs of E2M1 codes, low nibble first, an E8M0 scale for each 32: c 2^(s - 127); also gpt-oss
                         *_blocks and *_scales */
    ORGAN_SCHEME_NVFP4, /* pairs of E2M1 codes, an E4M3 scale for each 16, one FP32 scale for the tensor: c (s /
                           global); ModelOpt: c (s global); MLX has no tensor scale: c s */
    ORGAN_SCHEME_GPTQ,  /* I32 words along in_features, 2, 3, 4 or 8 bits: (c - z) s */
    ORGAN_SCHEME_AWQ_GEMM, /* AutoAWQ: I32 words along out_features in the order 0 2 4 6 1 3 5 7: (c - z) s */
    ORGAN_SCHEME_AWQ_GEMV, /* AutoAWQ: I32 words along in_features in plain order: (c - z) s */
    ORGAN_SCHEME_MLX, /* affine mode of MLX: codes in U32 words of a row, crossing word boundaries, with biases b: c s +
                         b. Product and sum are each rounded to the type of the scales, as mlx.core.dequantize does.
                         MLX's modes mxfp4, mxfp8 and nvfp4 are the schemes above, with codes in U32 words and scales in
                         U8. */
    ORGAN_SCHEME_MXFP6, /* E2M3 or E3M2 codes of 6 bits, four in three bytes, low bits first, an E8M0 scale for each 32:
                           c 2^(s - 127) */
    ORGAN_SCHEME_MXINT4,    /* AutoRound: pairs of codes, low nibble first: a sign above a magnitude of 0 to 7, an E8M0
                               scale for each 32: +-magnitude / 4 2^(s - 127) */
    ORGAN_SCHEME_INT4_ROWS, /* ModelOpt: a byte has the codes of two rows, -8 to 7, the first row in the low nibble: c s
                             */
    ORGAN_SCHEME_QUARK4,    /* Quark: I32 words along out_features in the order 0 2 4 6 1 3 5 7: (c - z) s */
    ORGAN_SCHEME_BNB8,      /* bitsandbytes LLM.int8(): I8 codes and the largest magnitude s of each row: c (s / 127) */
    ORGAN_SCHEME_BNB4, /* bitsandbytes NF4 and FP4: pairs of codes, high nibble first, of 16 stored levels; the largest
                          magnitude s of each block of consecutive values of the whole tensor: level c s */
    ORGAN_SCHEME_ROTATED, /* a plain tensor with a rotation folded into its values (organ_weight.rotation) */
    ORGAN_SCHEME_COUNT
} organ_scheme;

struct organ_weight;
/* "NF4" or "FP4", of a weight of the scheme BNB4 */
const char *organ_weight_level_type(const struct organ_weight *weight);
const char *organ_scheme_name(organ_scheme scheme); /* "plain", "fp8", "int8", "pack-quantized", "mxfp8", ... */

/* ---- how servers round the inputs of a linear layer ---- */

/* The codes of rounded inputs. Values beyond the largest code become it; ties go to even codes. */
typedef enum organ_input_codes {
    ORGAN_INPUTS_PLAIN, /* not rounded */
    ORGAN_INPUTS_INT8,  /* -128 to 127 */
    ORGAN_INPUTS_INT4,  /* -8 to 7 */
    ORGAN_INPUTS_E4M3,  /* F8_E4M3, up to 448 */
    ORGAN_INPUTS_E2M1   /* 0, .5, 1, 1.5, 2, 3, 4, 6 and their negatives */
} organ_input_codes;

/* The values that share a scale. */
typedef enum organ_input_span {
    ORGAN_INPUTS_TOKEN, /* all inputs of a token; the scale follows from them */
    ORGAN_INPUTS_GROUP, /* groups of neighbouring inputs of a token; the scale follows from them */
    ORGAN_INPUTS_TENSOR /* all inputs of all tokens; the scale is stored (static) */
} organ_input_span;

/* The scales to which those that follow from the inputs are rounded. */
typedef enum organ_input_scales {
    ORGAN_INPUT_SCALES_REAL,  /* FP32 */
    ORGAN_INPUT_SCALES_E8M0,  /* powers of two: MX, as compressed-tensors rounds them */
    ORGAN_INPUT_SCALES_UE8M0, /* the least power of two that is not smaller (DeepSeek's scale_fmt "ue8m0") */
    ORGAN_INPUT_SCALES_E4M3   /* F8_E4M3, after multiplication by a stored number: NVFP4 */
} organ_input_scales;

/* How the configuration of a model says that servers round the inputs of a linear layer. Formulas:
 * docs/definitions/quantisation.md. */
typedef struct organ_input_rounding {
    organ_input_codes codes; /* not ORGAN_INPUTS_PLAIN */
    organ_input_span span;
    organ_input_scales scales; /* ORGAN_INPUT_SCALES_REAL with ORGAN_INPUTS_TENSOR */
    bool symmetric;            /* false: integer codes with a zero point */
    uint64_t group;            /* ORGAN_INPUTS_GROUP: number of inputs in a group, else 0 */
    double limit;              /* above 0: inputs beyond it do not change the scale (activation_scale_ub); 0: none */
    /* Stored numbers, NULL if the model has none: with ORGAN_INPUTS_TENSOR the scale and the zero point, with
     * ORGAN_INPUT_SCALES_E4M3 the factor of the scales. The model owns the tensors. */
    const organ_tensor *scale, *zero, *global;
    bool reciprocal; /* `global` stores 1 / factor (ModelOpt's input_scale) */
} organ_input_rounding;

/* The values of the stored numbers. */
typedef struct organ_input_numbers {
    float scale, zero, factor; /* 1, 0 and 1 if the rounding has none */
} organ_input_numbers;

struct organ_weight;

/* How bitsandbytes stores the scales of 4-bit codes. */
typedef struct organ_level_blocks {
    uint64_t block; /* consecutive values of the tensor, in the order of rows, that share a scale */
    /* 0: the scales are numbers. Else they are bytes, which are numbers of levels: a scale is the level times the
     * number of its block of `nested` bytes, plus `offset` */
    uint64_t nested;
    double offset;
} organ_level_blocks;

/* Reads the stored numbers of weight->inputs. Returns ORGAN_BAD_INPUT, naming weight or tensor, if a scale is missing,
 * has another type than F32, BF16, F16 (zero points: I8) or more than one value, or is not a finite number above 0;
 * ORGAN_IO if a file cannot be read. */
organ_status organ_input_numbers_read(const organ_model *model, const struct organ_weight *weight,
                                      organ_input_numbers *numbers, organ_error *error);

#define ORGAN_INPUT_TEXT ((size_t)96) /* bytes that every description fits */
/* Describes a rounding: "INT8 per token", "FP8 E4M3 per group of 128". Writes at most `size` bytes, returns `out`. */
char *organ_input_text(const organ_input_rounding *rounding, char *out, size_t size);

/* One weight. A companion is NULL if the weight has none. The model owns the tensors. */
typedef struct organ_weight {
    /* name of the unpacked tensor: "model.layers.0.mlp.up_proj.weight", whatever the name of the codes */
    const char *name;
    organ_scheme scheme;
    unsigned rank;                    /* axes of the unpacked tensor */
    const uint64_t *shape;            /* sizes of these axes, slowest axis first, as in a model without quantisation */
    uint64_t elements;                /* product of the sizes */
    organ_anatomy anatomy;            /* layer, role and other properties that `name` states */
    const organ_tensor *codes;        /* the tensor itself of a plain weight, else the tensor with the codes */
    const organ_tensor *scale, *zero; /* scales and zero points of the codes */
    const organ_tensor *g_idx;        /* group of each column [GPTQ's act-order] */
    const organ_tensor *global;       /* FP32 scale of the whole tensor, or of each matrix [NVFP4] */
    const organ_tensor *shape_tensor; /* shape of the unpacked tensor [compressed-tensors] */
    const organ_tensor *bias;         /* b of MLX's formula */
    const organ_tensor *columns;      /* a factor of the values of each column [ModelOpt's pre_quant_scale] */
    const organ_tensor *levels;       /* the values of the codes [bitsandbytes] */
    /* describes the weight, and is no factor of its values: state of BNB4, format of BNB8, second scale of ModelOpt's
     * W4A8 */
    const organ_tensor *state;
    const organ_tensor *nested_scale, *nested_levels; /* of scales that are codes themselves [bitsandbytes] */
    const struct organ_level_blocks *blocks;          /* BNB4, else NULL */
    unsigned bits;                                    /* bits of a code; 0 for block types of GGUF */
    /* Size of the blocks of the unpacked tensor whose values share a scale, in rows and columns; blocks at the bottom
     * and right edges may be smaller. All rows and columns: per tensor; one row and all columns: per channel; one row
     * and group_size columns: groups. 0 and 0: no scales. If there is a g_idx, it states the group of each column
     * instead. */
    uint64_t block_rows, block_cols;
    bool dense_words; /* PACKED, MLX: codes of 3, 5, 6 and 7 bits cross word boundaries; false: each word has 32 / bits
                         whole codes and unused bits */
    bool divides;     /* NVFP4: the scales are divided by `global`; false: multiplied by it */
    bool transposed;  /* codes are stored with the last two axes exchanged (GPTQ, AWQ gemm, gpt-oss, Quark) */
    bool planar; /* GPTQ: the bits of 32 codes are in planes (gptq_p); false: codes follow each other without gaps */
    bool signed_codes;  /* QUARK4: codes and zero points are -8 to 7 in two's complement; false: 0 to 15 */
    bool wide_exponent; /* MXFP6: the codes are E3M2; false: E2M3 */
    bool labelled_v2;   /* GPTQ: the config says gptq_v2, whose zero points are stored without an offset of 1; readers
                           trust the data more than this label */
    /* NULL: stored as described above. Else its rows are read from weights of another format; `codes`, scheme
     * and bits are those of the coarsest of these */
    const struct organ_made *made;
    /* how servers round the inputs of the weight's linear layer, by the model's configuration; NULL: not at all */
    const organ_input_rounding *inputs;
    /* NULL: none. Else the layer rotates its inputs or outputs at run time: codes and scales are those of the rotated
     * weight, and readers fold the rotation into the values */
    const struct organ_rotation *rotation;
} organ_weight;

/* A tensor that belongs to no weight. */
typedef struct organ_unmatched_tensor {
    const organ_tensor *tensor;
    bool dropped;    /* an unpacked model does not need the tensor: it is a scale of activations or caches (input_scale,
                      * k_scale, ...) */
    const char *why; /* predicate of a sentence about the tensor: "scales activations, ..." */
} organ_unmatched_tensor;

/* The weights of a model: each combines the tensors that store one parameter. */
typedef struct organ_weights {
    size_t count;
    const organ_weight *weights; /* `count` weights, in the order of their codes in organ_model.tensors; each tensor of
                                    the model is codes or companion of a weight, or unmatched */
    size_t packed;               /* number of weights that are not plain; 0 for a GGUF model */
    size_t unmatched_count;
    const organ_unmatched_tensor *unmatched; /* `unmatched_count` tensors */
    size_t note_count;
    /* a sentence for each contradiction between config and tensors, with the value that was used, then the remarks */
    const char *const *notes;
    /* the last of the notes: what the config declares for servers and organ leaves out */
    size_t remark_count;
    const char *method; /* quantization_config.quant_method (or that of quantize_config.json), "" if there is none */
} organ_weights;

/* Returns the plain weight that consists of this tensor alone. */
organ_weight organ_weight_plain(const organ_tensor *tensor);

/* Returns the unpacked tensor as a stack of matrices, like organ_tensor_matrices. */
organ_matrices organ_weight_matrices(const organ_weight *weight);

/* Returns tensor k < ORGAN_WEIGHT_TENSORS of the weight, the codes first; NULL if the weight lacks it. */
#define ORGAN_WEIGHT_TENSORS ((size_t)12)
const organ_tensor *organ_weight_tensor(const organ_weight *weight, size_t k);
/* Returns the name of that tensor in reports: "codes", "scale", "zero", ... */
const char *organ_weight_tensor_name(size_t k);

/* Returns the sum of the bytes in which the file stores codes and companions of the weight. */
uint64_t organ_weight_bytes(const organ_weight *weight);

/* Describes the weight: "FP8 E4M3, block 128 x 128, F32 scales", "INT4, group 128, asymmetric, BF16 scales", "BF16".
 * Writes at most `size` bytes and returns `out`. */
char *organ_weight_text(const organ_weight *weight, char *out, size_t size);

/* ---- all weights of a model ---- */

/* Finds the weights of `model`, which must stay open while *weights is used. The caller frees *weights with
 * organ_weights_free. *weights is NULL on error.
 *
 * Returns ORGAN_BAD_INPUT
 *   - naming tensor, field and both values, if a companion is missing or has the wrong type or shape, or the config
 *     has an impossible value (group_size 0, bits 0 or 33);
 *   - naming the layout, if codes are in an unsupported one (gptq_marlin, AWQ marlin, exllama, gemv_fast,
 *     2:4 sparse).
 * Returns ORGAN_IO if a file cannot be read. */
organ_status organ_weights_find(const organ_model *model, organ_weights **weights, organ_error *error);
void organ_weights_free(organ_weights *weights); /* NULL is allowed */

/* Returns the weight of that name, or NULL, in constant time. */
const organ_weight *organ_weights_named(const organ_weights *weights, const char *name);

/* ---- the KV cache ---- */

/* How servers store the keys and values of attention. */
typedef enum organ_cache_codes {
    ORGAN_CACHE_PLAIN, /* not rounded */
    ORGAN_CACHE_E4M3,  /* as E4M3 codes, with stored scales of a tensor or of each head of keys */
    ORGAN_CACHE_OTHER  /* in another way, which organ does not compute */
} organ_cache_codes;
/* Sets *codes to what the configuration of a model states: kv_cache_scheme of compressed-tensors and ModelOpt, an
 * object or a word, or kv_cache_quant_algo of ModelOpt (hf_quant_config.json too). `text` becomes the name of the
 * object or the word; "" if there is none.
 * Returns the errors of a malformed configuration, as organ_weights_find. */
organ_status organ_cache_declared(const organ_model *model, organ_cache_codes *codes, char text[64],
                                  organ_error *error);

/* ---- LoRA adapters ---- */

#define ORGAN_ADAPTER_CONFIG  "adapter_config.json"
#define ORGAN_ADAPTER_WEIGHTS "adapter_model.safetensors"
#define ORGAN_ADAPTER_GGUF    "adapter_model.gguf"
#define ORGAN_ADAPTER_MLX     "adapters.safetensors" /* of mlx-lm */

/* Shapes of the tensors in which a file stores the factors A and B of a pair, [rows][columns]. */
typedef enum organ_adapter_layout {
    ORGAN_FACTORS_PLAIN,     /* A is [rank][in_features], B [out_features][rank]; stacks have experts as first axis */
    ORGAN_FACTORS_PARAMETER, /* peft's ParamWrapper: A is [experts * rank][in_features], the `rank` rows from e * rank
                              * on belong to expert e; B is [out_features][rank * experts], column k * experts + e is
                              * column k of expert e */
    ORGAN_FACTORS_TURNED,    /* embeddings of GGUF: A is [in_features][rank] */
    ORGAN_FACTORS_MLX,       /* A is [in_features][rank], B [rank][out_features] */
    ORGAN_FACTORS_CONV       /* of peft: A is [rank][channels][kernel...], in_features of them; B [out][rank][1...] */
} organ_adapter_layout;

struct organ_adapter_pair;

/* How the factors of a pair are made from the stored factors of other pairs. Set for adapters that were translated from
 * the names or the layout of a base. */
typedef struct organ_adapter_origin {
    const struct organ_adapter_pair **pairs; /* `count` stored pairs: one, or one for each expert (NULL: zeros) */
    size_t count;
    int64_t expert;       /* the expert of a stored stack to use; -1: all */
    uint64_t first, step; /* row k of B is row first + k * step of the stored B; step 0: the pair joins several pairs */
    uint64_t head; /* number of rows of B in an attention head, which are reordered as `halves` states before first and
                      step apply; 0: not reordered */
    /* the first n = `rotated` rows of a head are taken in this order, the others in theirs: true: 0, 2, ..., 1, 3, ...;
     * false: 0, n / 2, 1, n / 2 + 1, ... */
    bool halves;
    uint64_t rotated;
} organ_adapter_origin;

/* A pair of factors: the weight of `module` becomes W + scale B A. For a stack of experts, A and B contain one
 * factor for each expert. */
typedef struct organ_adapter_pair {
    const char *module;    /* name in the model, without ".weight": "model.layers.0.self_attn.q_proj" */
    const organ_tensor *a; /* factor A; `layout` states the shapes of a and b */
    const organ_tensor *b; /* factor B */
    uint64_t rank, in_features, out_features; /* of A and B of one matrix */
    double scale;   /* alpha / r, or alpha / sqrt(r) with use_rslora; a matching entry of rank_pattern or alpha_pattern
                       replaces r or alpha */
    bool embedding; /* lora_embedding_A and _B of peft, or token_embd of GGUF: A is [rank][vocabulary] in peft */
    organ_anatomy anatomy; /* layer, role and other properties that the name `weight` states */
    const char *weight; /* name of the base's tensor that is changed: "MODULE.weight", or `module` itself if that is a
                           parameter */
    uint64_t experts;   /* number of matrices of the weight; 1 if it is no stack */
    organ_adapter_layout layout;
    const organ_adapter_origin *origin; /* NULL if a and b are the stored factors */
} organ_adapter_pair;

/* A LoRA adapter that organ_adapter_open read: a directory of PEFT or mlx-lm, or a GGUF file of llama.cpp. */
typedef struct organ_adapter {
    const char *path;         /* path of the directory, or of a GGUF file that the caller named */
    const organ_model *model; /* the tensors of adapter_model.safetensors or of the GGUF file */
    json_t *config;           /* adapter_config.json, unchanged; an empty object for GGUF; the adapter owns it */
    int64_t r;                /* rank of modules that no rank_pattern matches; of GGUF the largest rank */
    double alpha;             /* lora_alpha; of GGUF adapter.lora.alpha */
    bool rslora, dora;        /* use_rslora, use_dora */
    bool fan_in_fan_out; /* the base stores weights as in_features x out_features (Conv1D of GPT-2); the factors are for
                            out_features x in_features */
    const char *base;    /* base_model_name_or_path, "" if null */
    size_t pair_count;
    const organ_adapter_pair *pairs; /* in the order of their modules' layers and names */
    size_t rest_count;
    const organ_tensor *const *rest; /* `rest_count` tensors that are no factors: modules_to_save, biases, magnitude
                                      * vectors, unknown tensors */
    bool gguf;                       /* a GGUF file: names are those of llama.cpp */
    const char *architecture;        /* general.architecture of the GGUF file; else "" */
} organ_adapter;

/* Opens the adapter at `path`: a directory of peft (or its adapter_model.safetensors), or a GGUF file (or a directory
 * with adapter_model.gguf). Reads headers and config, but no values of tensors. In names of peft, the prefix
 * "base_model.model." and the ".default" after lora_A and lora_B are optional. rank_pattern and alpha_pattern are
 * matched as in peft: the first pattern in the order of the file applies. A GGUF file must have general.type "adapter"
 * and adapter.type "lora"; r is the largest rank, and the scale of a pair is adapter.lora.alpha / rank, or 1 if alpha
 * is 0.
 *
 * Returns ORGAN_BAD_INPUT, naming file, field and values, for
 *   - a path that is not an adapter, a malformed file, or a member of the config with a wrong type;
 *   - no "peft_type": "LORA", r not from 1 to INT32_MAX, lora_alpha missing, alpha not a finite number;
 *   - a pattern that is no regular expression, or patterns that take too long to be matched;
 *   - an option or key with which a weight does not become W + scale B A, such as the invocation tokens of aLoRA;
 *   - A without B, B without A, or two tensors for one of them;
 *   - ranks of A and B that differ from each other or from the config;
 *   - factors that are not F32, F16, BF16 or F64 matrices;
 *   - no tensor at all.
 * Returns ORGAN_USAGE for a URL, ORGAN_IO if a file cannot be read. *adapter is NULL on error. */
organ_status organ_adapter_open(const char *path, organ_adapter **adapter, organ_error *error);
/* The same, but also accepts factors of convolutions, ORGAN_FACTORS_CONV. */
organ_status organ_adapter_open_with_conv(const char *path, organ_adapter **adapter, organ_error *error);
void organ_adapter_close(organ_adapter *adapter); /* NULL is allowed */

/* Returns the pair of a module, or NULL, in constant time. */
const organ_adapter_pair *organ_adapter_find(const organ_adapter *adapter, const char *module);

ORGAN_API_END

#endif
