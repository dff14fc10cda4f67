/* SPDX-License-Identifier: MIT
 * State and functions that the sources of organ_weights_find share. Functions return the status of search->error. */
#ifndef ORGAN_WEIGHTS_WEIGHT_SEARCH_H
#define ORGAN_WEIGHTS_WEIGHT_SEARCH_H

#include "formats/base/arena.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "formats/base/turned.h"
#include "formats/weights/quant_config.h"

#include <organ/models.h>
#include <organ/weights.h>
#include <string.h>

#define ORGAN_NOTES_MAX 64 /* upper bound of different notes; the last one counts all further contradictions */

/* A property for which config and tensors state different values; reported once for all weights with the same pair
 * of values. */
typedef struct organ_weight_note {
    const char *what;             /* name of the property: "group_size" */
    uint64_t stated[2], found[2]; /* values in config and tensors: [0] the value, or rows of a block; [1] columns of a
                                   * block, else 0 */
    const char *first;            /* name of the first weight with this contradiction */
    size_t count;                 /* number of weights with it */
} organ_weight_note;

/* State of the search for weights. `found` is the result that the caller gets; the search lives as long as it. */
typedef struct organ_weight_search {
    organ_weights found; /* first member, so that a pointer to it is a pointer to the search */
    const organ_model *model;
    organ_error *error;                /* of the caller of organ_weights_find; keeps the first error */
    organ_weight *weights;             /* weights found so far; room for one per tensor of the model */
    size_t count;                      /* number of them */
    organ_unmatched_tensor *unmatched; /* found.unmatched_count tensors; room for one per tensor of the model */
    bool *claimed;   /* by index of tensor: it is codes or companion of a weight in `weights`, or of a rotation */
    bool as_tensors; /* weight k is tensor k of the model, so the model's table of names is used instead of `names` */
    char *name; /* the last name that organ_weight_relative looked up; room for the longest tensor name and a suffix */
    organ_quant_config *config; /* NULL for GGUF and for a model without any sign of quantisation */
    organ_weight_note notes[ORGAN_NOTES_MAX];
    size_t note_count;
    const char **sentences;      /* the notes as text: found.notes */
    const char *without_scales;  /* name of the first plain weight that has a type of codes but no scale; NULL: none */
    size_t without_scales_count; /* number of such weights */
    unsigned layouts_found;      /* for pack-quantized codes of 3, 5, 6 and 7 bits: set of the layouts (DENSE, PADDED of
                                    packed_words.c) that the shapes of some weight prove */
    struct rotation_matrix *matrices; /* rotations.c: `matrix_count` stored tensors of rotations */
    size_t matrix_count, matrix_room;
    bool rotated_embedding;
    char folded[600], dropped[600]; /* the notes on rotations that are folded and that cancel; "": none */
    char unscaled[400];             /* the note on inputs whose factors are folded into the weights; "": none */
    organ_arena arena;              /* names, shapes, sentences */
    organ_name_table names;         /* name of a weight -> index into `weights` */
} organ_weight_search;

/* ---- weight.c ---- */

/* Returns the tensor whose name is the first `length` bytes of `stem` followed by `leaf`, or NULL if the model has
 * none. Leaves that name in search->name for messages. */
const organ_tensor *organ_weight_relative(organ_weight_search *search, const char *stem, size_t length,
                                          const char *leaf);

/* Sets *out to the tensor that organ_weight_relative returns for the name of `codes`. Returns ORGAN_BAD_INPUT if the
 * model has none. */
organ_status organ_weight_require(organ_weight_search *search, const organ_tensor *codes, size_t length,
                                  const char *leaf, const organ_tensor **out);

/* Reports ORGAN_BAD_INPUT: "FILE: tensor 'NAME' " and the formatted text. */
organ_status organ_weight_fail(const organ_weight_search *search, const organ_tensor *tensor, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Returns the length of the name of the module that has the weight: without ".weight" at its end. */
static inline size_t organ_weight_module_length(const char *name)
{
    return strlen(name) - (organ_ends_with(name, ".weight") ? strlen(".weight") : 0);
}

/* Returns whole / part, rounded up. `part` must not be 0. */
static inline uint64_t organ_divide_up(uint64_t whole, uint64_t part) { return whole / part + (whole % part != 0); }

/* Returns true if the first `count` sizes of two shapes are equal. */
static inline bool organ_same_axes(const uint64_t *a, const uint64_t *b, unsigned count)
{
    return memcmp(a, b, count * sizeof *a) == 0;
}

/* Notes that the config contradicts the weight's tensors in the property `what`: the config states stated0, but the
 * tensors show found0. If the property is a block, the config states stated0 x stated1 and the tensors show found0 x
 * found1; otherwise stated1 and found1 are 0. */
void organ_weight_note_contradiction(organ_weight_search *search, const organ_weight *weight, const char *what,
                                     uint64_t stated0, uint64_t stated1, uint64_t found0, uint64_t found1);

/* Sets *group to the settings in the config for the weight called `name`, and *named to true if the config states that
 * this weight is quantised. Reports exhausted memory if `name` is NULL, so that the caller need not check the result of
 * organ_weight_name. */
organ_status organ_weight_group(organ_weight_search *search, const char *name, const organ_quant_group **group,
                                bool *named);

/* Returns the first `length` bytes of `stem` followed by `leaf` as a string that lives as long as the weights; NULL
 * if memory is exhausted. */
const char *organ_weight_name(organ_weight_search *search, const char *stem, size_t length, const char *leaf);

/* Sets the weight's shape to the `lead` sizes in `axes`, then rows and columns, and sets rank, elements and anatomy.
 * Returns ORGAN_BAD_INPUT if a size is 0 or the product overflows; ORGAN_IO if memory is exhausted or weight->name is
 * NULL, which organ_weight_name returns if memory is exhausted. */
organ_status organ_weight_shape(organ_weight_search *search, organ_weight *weight, unsigned lead, const uint64_t *axes,
                                uint64_t rows, uint64_t cols);

/* Appends a copy of *weight to the list and marks its tensors as claimed. Does nothing after an error. */
organ_status organ_weight_add(organ_weight_search *search, const organ_weight *weight);

/* ---- find_scales.c ---- */

/* Sets block_rows and block_cols of the weight, the block of values that share a scale, from the shapes of weight
 * and scale and the config's settings `group`. Returns ORGAN_BAD_INPUT if the shapes fit no division into blocks. */
organ_status organ_weight_grid(organ_weight_search *search, organ_weight *weight, const organ_quant_group *group);

/* Sets *size to the columns of a group, for `groups` groups in a row. `group` is the config's settings, or NULL. Takes
 * the config's group size if it gives this number of groups; otherwise divides the columns into equal groups of a power
 * of two of columns, or into one group. Returns ORGAN_BAD_INPUT if that is not possible. */
organ_status organ_weight_groups(organ_weight_search *search, const organ_weight *weight, uint64_t groups,
                                 const organ_quant_group *group, uint64_t *size);

/* Returns ORGAN_BAD_INPUT unless weight->scale has one of the types in the list `types`, which ORGAN_DTYPE_COUNT
 * ends. */
organ_status organ_weight_scale_type(const organ_weight_search *search, const organ_weight *weight,
                                     const organ_dtype *types);

/* Returns ORGAN_BAD_INPUT if the config declares zero points and the weight has none. Adds a note if the config
 * declares none and the weight has zero points. */
organ_status organ_weight_check_symmetry(organ_weight_search *search, const organ_weight *weight,
                                         const organ_quant_group *group);

/* Returns ORGAN_BAD_INPUT unless the tensor has exactly this shape. `weight` is the weight to which it belongs, for
 * messages. */
organ_status organ_weight_expect(const organ_weight_search *search, const organ_weight *weight,
                                 const organ_tensor *tensor, unsigned rank, const uint64_t *shape);

/* ---- bytes.c, packed_words.c, mlx.c, bitsandbytes.c ---- */

/* Each of these functions checks whether `tensor` is the codes of a packed weight in one of its formats:
 *   organ_weight_find_bytes: FP8, INT8, MX, NVFP4, torchao and ModelOpt's INT4;
 *   organ_weight_find_words: pack-quantized, GPTQ and AWQ;
 *   organ_weight_find_mlx: the formats of MLX;
 *   organ_weight_find_bitsandbytes: INT8, NF4 and FP4 of bitsandbytes.
 * If so, it adds the weight and sets *found to true. If that weight is faulty, it also sets *found, and returns an
 * error. Otherwise it does nothing, and *found keeps its value. */
organ_status organ_weight_find_bytes(organ_weight_search *search, const organ_tensor *tensor, bool *found);
organ_status organ_weight_find_words(organ_weight_search *search, const organ_tensor *tensor, bool *found);
organ_status organ_weight_find_mlx(organ_weight_search *search, const organ_tensor *tensor, bool *found);
organ_status organ_weight_find_bitsandbytes(organ_weight_search *search, const organ_tensor *tensor, bool *found);

/* Checks the tensor `codes`, which belongs to no packed weight. Ignores tensors with fewer than 2 axes, and types other
 * than those of codes and words (integers of 16 or 32 bits). Returns ORGAN_BAD_INPUT if there is a scale next to the
 * tensor, because no known scheme has such codes. For a type of codes also returns ORGAN_BAD_INPUT if the config states
 * that the tensor is quantised, because its scale is missing. Otherwise `codes` is a plain weight. */
organ_status organ_weight_check_without_scale(organ_weight_search *search, const organ_tensor *codes);

/* Sets dense_words of pack-quantized weights whose shapes fit both layouts of words: to the layout of the model's other
 * weights. Must be called after all packed weights were added. */
organ_status organ_weight_resolve_words(organ_weight_search *search);

/* ---- inputs.c ---- */

/* Sets `columns` of all packed weights. Must be called before organ_weight_find_inputs. */
organ_status organ_weight_find_columns(organ_weight_search *search);
/* Sets `inputs` of all packed weights. */
organ_status organ_weight_find_inputs(organ_weight_search *search);

/* ---- rotations.c ---- */

/* Lists the tensors of rotations at run time as unmatched, and marks them as claimed, so that no other reader takes
 * them for weights. Keeps the matrices of transforms in search->matrices for organ_weight_find_rotations. */
organ_status organ_weight_claim_rotations(organ_weight_search *search);
/* Sets `rotation` of all weights whose layers rotate inputs or outputs, and writes the notes on rotations. Must be
 * called after all weights were added, before they are sorted. Returns ORGAN_BAD_INPUT, naming the member of the config
 * or the tensor, if a rotation is unknown or its matrix is missing. */
organ_status organ_weight_find_rotations(organ_weight_search *search);

/* ---- weight.c, find_weights.c ---- */

/* Returns why the tensor, which no packed weight has claimed, is no weight: the predicate of a sentence about the
 * tensor. Returns NULL if it is a plain weight. The caller adds the tensor to its list. Sets *dropped to true if an
 * unpacked model does not need the tensor. search->names must contain the names of all packed weights. */
const char *organ_weight_why_unmatched(organ_weight_search *search, const organ_tensor *tensor, bool *dropped);

/* ---- weights in one form that are read from weights in another ---- */

/* A stack of experts is read from numbered experts, q_proj of safetensors from attn_q of GGUF, and so on
 * (stream/weight_reader). Below, "safetensors" and "GGUF" are the two sides of a place also between layouts of one
 * format: the larger weight, such as a stack, counts as that of safetensors. */

/* The function that a place applies to each value x. Places of made weights have one towards GGUF: not the inverse
 * functions MINUS_ONE, LOG, LOG_MINUS and SOFTPLUS_BACK. */
typedef enum organ_row_function {
    ORGAN_ROW_SAME,      /* x */
    ORGAN_ROW_PLUS_ONE,  /* x + 1 */
    ORGAN_ROW_MINUS_ONE, /* x - 1 */
    ORGAN_ROW_EXP,       /* exp(x) */
    ORGAN_ROW_LOG,       /* log(x): as ORGAN_ROW_LOG_MINUS, with exp(y) = x */
    ORGAN_ROW_MINUS_EXP, /* -exp(x) */
    ORGAN_ROW_SCALE,     /* x * factors[0] * factors[1] */
    /* log(-x): of the FP32 numbers y with -exp(y) = x, the one with the shortest mantissa */
    ORGAN_ROW_LOG_MINUS,
    ORGAN_ROW_SOFTPLUS,     /* log(1 + exp(x)), computed in FP64 */
    ORGAN_ROW_SOFTPLUS_BACK /* log(exp(x) - 1), computed in FP64 */
} organ_row_function;

/* How a place combines its source with a second weight, the counterpart. If the place is transposed or has
 * column_slice, a made row has values of both weights; else ORGAN_JOIN_PAIRS makes whole rows of the two weights in
 * turn. Places of made weights have ORGAN_JOIN_NONE. */
typedef enum organ_row_join {
    ORGAN_JOIN_NONE,  /* the source has no counterpart */
    ORGAN_JOIN_PAIRS, /* values (or whole rows) alternate: source, counterpart, source, ... */
    ORGAN_JOIN_ENDS   /* the values of the counterpart follow those of the source */
} organ_row_join;

/* Rows of a source, a stack of matrices, that become rows of another tensor. Each matrix is divided into blocks of
 * `block` rows; the place has rows [first, first + rows) of a block. The first of these of block b of matrix m becomes
 * row at + (m - matrix) x per_matrix + (b - from) x per_block; rows made are counted over all matrices. A vector of n
 * values counts as a matrix of n rows and one column. At most one of pairs, halves, transposed, column_slice and `tile`
 * is set; without them a block's rows keep their order and content. The source of a made weight's places is the weight
 * of safetensors. */
typedef struct organ_row_place {
    size_t piece;                 /* in the plan of a conversion: number of the tensor that is made */
    uint64_t matrix, matrices;    /* matrices [matrix, matrix + matrices) of the source */
    uint64_t block;               /* rows of a block; divides the rows of a matrix */
    uint64_t first, rows;         /* the rows of each block */
    uint64_t from, blocks;        /* blocks [from, from + blocks) of each matrix; `blocks` 0: all blocks */
    uint64_t at;                  /* the row that the first one becomes */
    uint64_t per_matrix;          /* rows made from the first row of one matrix to that of the next */
    uint64_t per_block;           /* rows made from the first row of one block to that of the next */
    bool pairs;                   /* the rows of a block get the order of GGUF, organ_turned_rows {rows, turned} */
    bool halves;                  /* the rows get the order of safetensors from that of GGUF; not in made weights */
    uint64_t turned;              /* with pairs or halves: the number of rotated rows of a block, the first ones */
    bool transposed;              /* each of the columns in `col`, `col_step`, `cols` becomes a row of `rows` values */
    bool column_slice;            /* a block is one row, whose columns in `col`, `col_step`, `cols` become one row */
    uint64_t col, col_step, cols; /* columns col, col + col_step, ..., `cols` in number */
    /* columns of a row are outer x inner tiles of `tile` columns, and become inner x outer tiles; 0: no tiles */
    uint64_t tile, outer, inner;
    organ_row_join join;
    organ_row_function function;
    float factors[2]; /* of ORGAN_ROW_SCALE */
} organ_row_place;

/* A part of a made weight: the rows that it has from one weight in the other form. */
typedef struct organ_made_part {
    const organ_weight *from;
    organ_row_place place;
    const organ_model *model; /* of `from`; NULL: the model of the made weight */
} organ_made_part;

/* How a weight is made (organ_weight.made). Rows that no part has are zeros. */
typedef struct organ_made {
    bool inverse; /* the weight has the form of safetensors, and `from` are weights of GGUF; false: the reverse */
    const organ_made_part *parts;
    size_t count;
    const float *values; /* its values if they follow from the configuration; NULL: the parts have them */
} organ_made;

/* How a weight follows from another one (organ_weight.rotation): each part of `size` values of a row, or of `size` rows
 * of a column if `rows` is set, is multiplied by a square matrix R, or by R^T if `transposed`. */
typedef struct organ_rotation {
    const struct organ_weight *from;
    bool rows, transposed;
    uint64_t size;
    double factor;              /* of the numbers of the matrix */
    const organ_tensor *matrix; /* [size][size]; NULL: the Hadamard matrix of this size (formats/base/hadamard.h) */
    const organ_tensor *order;  /* a permutation p of the rows and columns: R[i][j] is that of p[i], p[j]; NULL: none */
    bool inputs;                /* the layer's inputs x become x R^T, or x R if `transposed`, before they are rounded */
    bool orthogonal;            /* R R^T is the unit matrix */
} organ_rotation;

/* Returns the weight as a stack of matrices as a place counts them: a vector of n values is one matrix of n rows and
 * one column. */
organ_matrices organ_row_place_matrices(const organ_weight *weight);

/* Returns the number of values of the stack `m`, the matrices of the weight of safetensors, that the place has. */
uint64_t organ_row_place_values(const organ_row_place *place, const organ_matrices *m);

/* Finds row `row` of GGUF. Sets *source to the row of safetensors, counted over all matrices, and *left to the number
 * of rows of GGUF from `row` on that the same block has. If the place is transposed, *source is the block's first row
 * and *column the column that is the row in GGUF. Returns false if the place does not have the row. */
bool organ_row_place_to_gguf(const organ_row_place *place, const organ_matrices *m, uint64_t row, uint64_t *source,
                             uint64_t *column, uint64_t *left);
/* Finds row `row` of safetensors, counted over all matrices: sets *made to the row of GGUF, and *left to the number of
 * rows of safetensors from `row` on that the same block has. If the place is transposed, *made is the first row of GGUF
 * of the block, and *column the column in GGUF. Returns false if the place does not have the row. */
bool organ_row_place_to_hf(const organ_row_place *place, const organ_matrices *m, uint64_t row, uint64_t *made,
                           uint64_t *column, uint64_t *left);

#endif
