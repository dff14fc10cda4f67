/* SPDX-License-Identifier: MIT
 * Encodings: the ways in which organ quantize stores a matrix. An encoding is a row of one table: the values that codes
 * can represent, the types of the output's tensors, and the format of the file.
 *
 *   compressed-tensors   NAME.weight (codes of one byte) or NAME.weight_packed and NAME.weight_shape (codes in words of
 *                        32 bits), and NAME.weight_scale or NAME.weight_scale_inv; config.json names the encoding
 *   GGUF                 one tensor of blocks, which contain their scales; key-values name the encoding */
#ifndef ORGAN_SURGERY_ENCODING_ENCODING_H
#define ORGAN_SURGERY_ENCODING_ENCODING_H

#include "formats/base/json.h"
#include "kernels/ggml_parts.h"

#include <organ/kernels.h>
#include <organ/models.h>
#include <organ/schemes.h>
#include <organ/weights.h>

/* Grids: the values that codes can represent. A value is a code (an integer of few bits or an E4M3 number) times a
 * scale, plus a minimum in some GGUF blocks. */

/* Bounds of column weights in the search for the scales of GGUF blocks and in the choice of clipped scales. The weights
 * of all columns have the mean 1. */
#define ORGAN_MIN_WEIGHT 0x1p-20
#define ORGAN_MAX_WEIGHT 0x1p24

/* The values that share a scale: a square block of the matrix, the tensor, a row (channel), a group of consecutive
 * columns of a row (with scales of the type in the name: ORGAN_SCALE_E4M3 without, E4M3_ALL with subnormal numbers), or
 * a group of a GGUF block type
 * (ORGAN_SCALE_GGUF), with scales that its blocks can store. */
typedef enum organ_scale_of {
    ORGAN_SCALE_BLOCK,
    ORGAN_SCALE_TENSOR,
    ORGAN_SCALE_CHANNEL,
    ORGAN_SCALE_GROUP,
    ORGAN_SCALE_E4M3,
    ORGAN_SCALE_E4M3_ALL,
    ORGAN_SCALE_E8M0,
    ORGAN_SCALE_AFFINE_BF16,
    ORGAN_SCALE_AFFINE_F16,
    ORGAN_SCALE_AFFINE_F32,
    ORGAN_SCALE_GGUF
} organ_scale_of;

/* A grid: type of the codes, and values that share a scale. */
typedef struct organ_grid {
    /* Bits of integer codes, 2 to 8; 0: codes are E4M3 numbers. Codes of 4 bits with scales of E4M3 or E8M0 are FP4
     * numbers. */
    unsigned bits;
    organ_scale_of scale_of;
    /* BLOCK: rows and columns of a block. GROUP, E4M3, E8M0: columns of a group. GGUF: number of the block type in GGUF
     * files. TENSOR, CHANNEL: 0. */
    size_t size;
} organ_grid;

/* Returns the number by which the greatest magnitude of a group is divided to get its scale: (2^bits - 1) / 2 for
 * integer codes, as in compressed-tensors; 448, the largest code, for E4M3; 6 for E2M1. */
float organ_grid_max(const organ_grid *grid);
/* Returns the scale of values whose greatest magnitude is `greatest`, rounded to the type in which it is stored: FP32
 * for ORGAN_SCALE_BLOCK, else BF16. If it rounds to 0, returns 1 for ORGAN_SCALE_BLOCK, else 2^-7. Not for GGUF. */
float organ_grid_scale(const organ_grid *grid, const organ_kernels *kernels, float greatest);
/* Returns the levels of the codes; NULL: whole numbers or E4M3. */
const organ_levels *organ_grid_levels(const organ_grid *grid);
/* Returns the type in which scales are stored; of GGUF types with coded scales the type of d. */
organ_scale_store organ_grid_store(const organ_grid *grid);
/* Returns `scale` rounded to F16, if that is the type of the scales, else to FP32 or BF16. Not for other types. */
float organ_grid_stored(const organ_grid *grid, const organ_kernels *kernels, float scale);

/* Returns whether scale_of is one of ORGAN_SCALE_AFFINE_BF16, _F16 and _F32: groups of columns with a scale and a
 * minimum of that type, for which organ_kernels.fit_affine searches. */
bool organ_grid_is_free(const organ_grid *grid);

/* Returns the search for the scales of a grid without a text: tries whose scales are rounded to the stored type. Try 0
 * is organ_grid_scale. A constant; NULL for GGUF and organ_grid_is_free, which have searches
 * of their own. */
const organ_scale_search *organ_grid_search(const organ_grid *grid);
/* Returns the scale of a tensor with E4M3 scales (or of several that share it) whose greatest magnitude is `greatest`:
 * the greatest power of 2 up to 448 x 6 / greatest, from 2^-100 to 2^100. The tensor is multiplied by it before it is
 * quantised, so that no scale of a group exceeds 448, and few are subnormal. */
float organ_grid_divisor(float greatest);

/* Sets *low and *high to the least and greatest whole level; without meaning for other levels. */
void organ_grid_range(const organ_grid *grid, float *low, float *high);
/* Sets codes[k] to the level nearest to (values[k] - minimum) / scale, for n values of a group. `minimum` is 0 if the
 * grid has no minima. n is any number. */
void organ_grid_codes(const organ_grid *grid, float scale, float minimum, const float *values, float *codes, size_t n);

/* Returns the GGUF block type of the grid; NULL unless scale_of is ORGAN_SCALE_GGUF. */
const organ_ggml_kind *organ_grid_blocks(const organ_grid *grid);

/* Returns the number of consecutive rows that share their scales (a band), in a matrix of `rows` rows: grid->size if a
 * scale covers a block, `rows` if it covers the tensor, else 1. */
size_t organ_grid_band(const organ_grid *grid, size_t rows);

/* Returns the number of consecutive columns of a row of `cols` columns that share a scale (a group). */
size_t organ_grid_group(const organ_grid *grid, size_t cols);
/* Returns the number of groups of a row; the last one may be shorter. */
size_t organ_grid_groups(const organ_grid *grid, size_t cols);
/* Returns whether a group has a minimum in addition to its scale. */
bool organ_grid_affine(const organ_grid *grid);
/* Returns the number of blocks of a row if they store each group scale as a code times a scale d of the block (Q4_K and
 * similar), and each minimum as a code times dmin; 0 for all other grids. */
size_t organ_grid_supers(const organ_grid *grid, size_t cols);
/* Returns how many numbers decode the codes of a row, in this order: a scale for each group; a minimum for each group
 * (organ_grid_affine); d of each block, and with minima dmin of each block (organ_grid_supers). */
size_t organ_grid_numbers(const organ_grid *grid, size_t cols);

/* Reads the numbers of organ_grid_numbers from a row of GGUF blocks into `numbers`, `stride` floats apart. */
void organ_grid_split(const organ_grid *grid, const void *blocks, size_t cols, float *numbers, size_t stride);
/* Writes a row of GGUF blocks. `numbers`: those of organ_grid_numbers, consecutive. Each value must equal a code times
 * its scale (plus minimum), so that the codes are recovered exactly. */
void organ_grid_join(const organ_grid *grid, const float *values, const float *numbers, size_t cols, void *blocks);

#define ORGAN_MIN_GROUP 32 /* columns of the smallest group of integer codes */

/* The schemes of MLX, for messages; those of GGUF models as an array of names. */
#define ORGAN_MLX_SCHEMES_TEXT                                                                                         \
    "int2, int3, int4, int5, int6 and int8 with -group128, -group64 or -group32, mxfp4, mxfp8, nvfp4"
#define ORGAN_NAME_COMMA(name, ...) name,
#define ORGAN_GGUF_SCHEME_NAMES                                                                                        \
    ORGAN_BLOCK_SCHEMES(ORGAN_NAME_COMMA, ORGAN_NAME_COMMA) ORGAN_BLOCK_TENSOR_SCHEMES(ORGAN_NAME_COMMA)

typedef struct organ_encoding {
    const char *name; /* name in --scheme */
    organ_grid grid;  /* values that codes can represent; ORGAN_SCALE_GGUF: the output is GGUF */
    /* Type of the tensor of codes or blocks. ORGAN_I32: codes are packed into words of 32 bits. */
    organ_dtype codes;
    organ_dtype scales;   /* type of the tensor of scales; ORGAN_DTYPE_COUNT: GGUF, whose blocks contain the scales */
    const char *narrower; /* GGUF: name of the encoding for rows that are not whole blocks of this one; NULL: none */
    int64_t file_type;    /* GGUF: value of general.file_type, by the numbers of llama.cpp */
    bool mixed;           /* GGUF: scheme mixed tries it */
} organ_encoding;

/* ---- the table ---- */

/* The kinds of outputs: safetensors in the formats of compressed-tensors and DeepSeek, GGUF, safetensors of MLX. */
typedef enum organ_kind { ORGAN_KIND_TENSORS, ORGAN_KIND_GGUF, ORGAN_KIND_MLX } organ_kind;
organ_kind organ_encoding_kind(const organ_encoding *encoding);

/* Returns the first encoding with this name, of any kind; NULL if there is none. */
const organ_encoding *organ_encoding_named(const char *name);
/* Returns the encoding with this name for outputs of the kind, a constant; NULL if there is none. */
const organ_encoding *organ_encoding_for(const char *name, organ_kind kind);
/* Lists the block types that scheme mixed tries, those of them that GPTQ can write, in the order that decides between
 * types of equal size and cost. Returns their number, at most `most`. */
size_t organ_encodings_of_mixed(const organ_encoding **types, size_t most);
/* Returns the encoding of MLX with scales (and minima) of `type`, the type of the weights: BF16, F16 or F32. Encodings
 * whose scales do not depend on the type stay. */
const organ_encoding *organ_encoding_of_type(const organ_encoding *encoding, organ_dtype type);
/* Returns the encoding that stores values of a GGUF tensor unquantised, with the name "f16", "bf16" or "f32"; NULL for
 * another name. organ_encoding_named does not find it, because it is not a scheme. */
const organ_encoding *organ_encoding_plain(const char *name);
/* Returns file_type of the encoding of GGUF that has tensors of this type; 0, that of F32, if there is none. */
int64_t organ_encoding_file_type(organ_dtype type);
/* Returns whether organ_encoding_plain returned the encoding. It has no scales, and GPTQ cannot use it. */
bool organ_encoding_is_plain(const organ_encoding *encoding);
/* Returns whether the encoding is that of --scheme mixed, which stands for a number of bits chosen for each target; its
 * grid has the greatest number of bits and the smallest groups. */
bool organ_encoding_is_mixed(const organ_encoding *encoding);
/* Returns whether the encoding is for GGUF models; else it is for safetensors models. */
bool organ_encoding_is_gguf(const organ_encoding *encoding);
/* Returns whether codes are packed into words of 32 bits. */
bool organ_encoding_is_packed(const organ_encoding *encoding);
/* Returns whether codes are E2M1 numbers, two in a byte: NVFP4 and MXFP4. */
bool organ_encoding_is_fp4(const organ_encoding *encoding);
/* Returns whether the tensor has a scale too, in FP32 (organ_grid_divisor): NVFP4. */
bool organ_encoding_has_divisor(const organ_encoding *encoding);
/* Returns the encoding for rows of `cols` values: `requested` if `cols` is a multiple of its group or block. Otherwise
 * the encoding with the same bits and the largest smaller group that divides `cols`, or for GGUF `requested->narrower`,
 * if it fits; NULL if none does. Encodings without groups fit all lengths. */
const organ_encoding *organ_encoding_fitting(const organ_encoding *requested, uint64_t cols);

/* ---- rows ---- */

/* Returns the bytes of the codes or blocks of a row of `cols` values. */
size_t organ_encoding_row_bytes(const organ_encoding *encoding, size_t cols);
/* Returns the number of consecutive rows that share their scales in a matrix of `rows` rows (organ_grid_band). */
size_t organ_encoding_band(const organ_encoding *encoding, size_t rows);

/* Encodes a row of `cols` values to the codes nearest to them; `scales` has the scales of its groups. For GGUF writes
 * blocks: `scales` has the numbers of organ_grid_numbers, and each value must equal a code times these numbers
 * (organ_grid_join). */
void organ_encoding_encode(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                           const float *scales, size_t cols, void *codes);
/* Returns how many operations of a matrix product take as long as organ_encoding_fit for a value, to plan a dry run. */
double organ_encoding_fit_products(const organ_encoding *encoding);

/* Searches for the scales of each GGUF block with the least error and writes the blocks of `rows` rows; a plain
 * encoding rounds the values. Only for GGUF. `weights` has the weight of each column's squared errors; NULL: all are
 * equal. */
void organ_encoding_fit(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                        const float *weights, size_t rows, size_t cols, void *blocks);
/* Decodes the stored codes of a row to FP32; `scales` has the scales of its groups. For GGUF `scales` is ignored, and
 * `cols` may be the number of values of several consecutive rows. */
void organ_encoding_decode(const organ_encoding *encoding, const organ_kernels *kernels, const void *codes,
                           const float *scales, size_t cols, float *values);

/* Returns the bytes of a scale in the tensor of scales; 0 for GGUF. */
size_t organ_encoding_scale_bytes(const organ_encoding *encoding);
/* Converts n scales to the type of the tensor of scales. Not for GGUF. */
void organ_encoding_store_scales(const organ_encoding *encoding, const organ_kernels *kernels, const float *scales,
                                 size_t n, void *stored);
/* Converts n scales from the type of the tensor of scales to FP32. Not for GGUF. */
void organ_encoding_load_scales(const organ_encoding *encoding, const organ_kernels *kernels, const void *stored,
                                size_t n, float *scales);

/* ---- errors ---- */

/* Sums of the squares of values and of their quantisation errors. The relative error is sqrt(error_squares / squares).
 */
typedef struct organ_encoding_loss {
    double squares, error_squares;
} organ_encoding_loss;

/* Indices of an array of losses: ORGAN_LOSS gives all columns the same weight; ORGAN_LOSS_WEIGHTED, only for GGUF,
 * gives each column its imatrix weight. */
enum { ORGAN_LOSS, ORGAN_LOSS_WEIGHTED, ORGAN_LOSSES };
/* Returns the length of an array of losses: ORGAN_LOSSES for GGUF, else 1. */
size_t organ_encoding_losses(const organ_encoding *encoding);

/* Adds `more` to `sums`, arrays of organ_encoding_losses entries. */
void organ_encoding_add_losses(const organ_encoding *encoding, organ_encoding_loss *sums,
                               const organ_encoding_loss *more);
/* Does what organ_encoding_encode does, and adds the squares and error squares of the row to *sum. Not for GGUF.
 * Overwrites `back`, which has room for `cols` values. */
void organ_encoding_encode_row(const organ_encoding *encoding, const organ_kernels *kernels, const float *values,
                               const float *scales, size_t cols, void *codes, float *back, organ_encoding_loss *sum);
/* Adds the squares and error squares of `rows` rows to `sums`. `values`: the original values; `back`: the decoded ones;
 * `roots`: root of each column's weight, NULL: adds only to sums[ORGAN_LOSS]. With `roots` overwrites `values` and
 * `back`. */
void organ_encoding_add_row_losses(const organ_kernels *kernels, float *values, float *back, const float *roots,
                                   size_t rows, size_t cols, organ_encoding_loss *sums);

/* ---- modules in quantization_config ---- */

/* The tensors of a safetensors output by whether they are quantised. */
typedef struct organ_module_list {
    const organ_model *model;
    const void *context;                                            /* first argument of the functions */
    size_t plain, quantised;                                        /* k of the functions is below these numbers */
    const organ_tensor *(*plain_at)(const void *context, size_t k); /* a tensor that is not quantised; NULL: none */
    const organ_weight *(*quantised_at)(const void *context, size_t k);
} organ_module_list;

/* Returns whether a tensor of this anatomy is a projection of a routed expert, or a stack of such projections. */
bool organ_modules_is_routed(const organ_anatomy *anatomy);
/* Returns the modules without quantisation, by their names in transformers, for `ignore` and similar members.
 * `patterns`: whole towers get patterns, "re:.*vision_tower.*". */
json_t *organ_modules_ignored(const organ_module_list *list, bool patterns);
/* Returns whether the output head is quantised. */
bool organ_modules_quantise_head(const organ_module_list *list);
/* Appends the module of a tensor by its name in transformers, or the modules into which transformers cuts its matrix,
 * unless the last row has that name. Appends nothing if the tensor is not a matrix of a linear layer. */
void organ_modules_append(const organ_model *model, const organ_tensor *tensor, json_t *rows);
/* Appends the names of a module of a block for multi-token prediction in servers, if they are others than in the file
 * and numbers follow from them. */
void organ_modules_append_served(const organ_model *model, const organ_tensor *tensor, json_t *rows);
/* Returns patterns that match all quantised modules of blocks for multi-token prediction, by the names of servers, too,
 * and none of the model's layers, of the blocks' heads and projections. */
json_t *organ_modules_of_blocks(const organ_module_list *list);
/* The same for a weight of any scheme, "MODULE.weight". */
void organ_modules_append_weight(const organ_model *model, const organ_weight *weight, json_t *rows);

/* ---- quantization_config of compressed-tensors; the functions take over the values that they get ---- */

/* Returns symmetric QuantizationArgs of compressed-tensors. `strategy` names the values that share a scale: "group",
 * "channel", "tensor" or "token". `group_size` may be JSON null. `dynamic`: scales are computed at run time, as for
 * activations. */
json_t *organ_compressed_arguments(int bits, const char *type, const char *strategy, json_t *group_size, bool dynamic);
/* Returns a member of config_groups. `inputs` is JSON null if inputs are not quantised. */
json_t *organ_compressed_group(json_t *targets, json_t *weights, json_t *inputs);
/* Returns the whole quantization_config; `format` is a name of compressed-tensors. */
json_t *organ_compressed_config(json_t *groups, const char *format, json_t *ignore);

/* ---- config.json of a model that is no longer quantised ---- */

/* Removes the sections that describe quantised weights (quant_sections.h), at the top and in text_config. */
organ_status organ_config_drop_quantisation(organ_json_edit *config, organ_error *error);

/* As organ_config_drop_quantisation; if `packed` (the source model had packed tensors), also declares `dtype` as the
 * type of the weights, at the top and in text_config. */
organ_status organ_config_make_plain(organ_json_edit *config, organ_dtype dtype, bool packed, organ_error *error);

/* Sets torch_dtype and dtype (its name since transformers 5), at the top and in text_config, where they are there.
 * `add`: adds torch_dtype at the top if neither is there. */
organ_status organ_config_set_type(organ_json_edit *config, organ_dtype dtype, bool add, organ_error *error);

/* Files beside config.json that describe a packed model and would be false for a plain one; the list ends with NULL. */
#define ORGAN_PACKED_FILES 3
extern const char *const organ_packed_files[ORGAN_PACKED_FILES + 1];

/* Returns the name of BF16, F16 or F32 in torch_dtype: "bfloat16". */
const char *organ_torch_dtype(organ_dtype dtype);

#endif
