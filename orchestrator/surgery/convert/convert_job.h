/* SPDX-License-Identifier: MIT
 * Data and functions that the sources of the conversion share:
 *
 *   convert.c           checks options, opens the model, runs
 *   convert_plan.c      lists pieces and sources
 *   convert_pieces.c    pieces of the output, and places of rows in them
 *   convert_to_gguf.c   the pieces that each tensor of safetensors becomes
 *   convert_to_hf.c     the pieces that each tensor of GGUF becomes
 *   convert_pass.c      reads the sources once and writes the pieces
 *   convert_code_types.c  weights whose codes the other format has, too
 *   convert_codes.c     rows of codes and scales, which the other format has too
 *   convert_by_name.c   architectures whose tensors only get other names
 *   convert_reserved.c  names of llama.cpp's architectures
 *   convert_keys.c      key-values of a GGUF output
 *   convert_config.c    config.json of a safetensors output
 *   convert_recurrent.c members and reordered tensors of recurrent layers
 *   convert_streams.c   members of Gemma 3n and 4
 *   convert_check.c     compares the configurations of model and output
 *   convert_document.c  the report */
#ifndef ORGAN_CONVERT_JOB_H
#define ORGAN_CONVERT_JOB_H

#include "formats/base/arena.h"
#include "formats/base/name_table.h"
#include "formats/weights/weights.h"
#include "orchestrator/forward/config/exchange.h"
#include "orchestrator/surgery/convert/convert.h"
#include "orchestrator/surgery/precision/encoding.h"
#include "orchestrator/surgery/write/write.h"

#include <jansson.h>

/* A function of each value. */
typedef enum convert_function {
    CONVERT_SAME,
    CONVERT_PLUS_ONE,
    CONVERT_MINUS_ONE,
    CONVERT_MINUS_EXP, /* -exp(x) */
    CONVERT_SCALE,     /* x times the first factor, then times the second */
    CONVERT_LOG_MINUS  /* the shortest number whose CONVERT_MINUS_EXP is x */
} convert_function;

/* How a place combines its source with the source's counterpart (convert_source.other). In a transposed or picked place
 * the values of both share a row of the piece; in other places whole rows of both alternate. */
typedef enum convert_join {
    CONVERT_ALONE, /* the source has no counterpart */
    CONVERT_PAIRS, /* both alternate */
    CONVERT_ENDS   /* the values of the counterpart follow those of the source */
} convert_join;

/* Copies rows of a source, a stack of matrices, to a piece of the output. From each block of `block` rows of the
 * matrices [matrix, matrix + matrices) it selects `rows` rows, beginning with row `first`. Row 0 of block b of matrix m
 * becomes row at + (m - matrix) x per_matrix + (b - from) x per_block of the piece; rows of a piece are counted over
 * all its matrices. A vector counts as a column: its rows have one value each. */
typedef struct convert_place {
    size_t piece;
    uint64_t matrix, matrices;
    uint64_t block, first, rows;
    uint64_t from, blocks; /* it takes blocks [from, from + blocks) of each matrix; `blocks` 0: all */
    uint64_t at, per_matrix, per_block;
    bool pairs, halves; /* the order of the rows in a block changes: 0, n/2, 1, n/2 + 1, ... , or back */
    /* A block is written as a matrix of `rows` columns, with a row for each of `cols` columns of the source: `col`,
     * col + col_step, ... */
    bool transposed;
    bool picked; /* a block is one row, of which the columns `col`, `col` + `col_step`, ... become a row */
    uint64_t col, col_step, cols;
    /* The columns of a row are outer x inner tiles of `tile` columns, and become inner x outer tiles; 0: they keep
     * their order. */
    uint64_t tile, outer, inner;
    convert_join join;
    convert_function function;
    float factors[2];
} convert_place;

/* A weight of the model, whose rows are read once. */
typedef struct convert_source {
    const organ_weight *weight;
    const organ_weight *other; /* its counterpart, of the same shape, which is read with it; NULL: none */
    size_t first, count;       /* places */
    uint64_t block;            /* that of all its places; 1 if the rows keep their order */
    organ_dtype as;            /* type in which rows are read */
    bool codes;                /* its codes and scales are copied, not its values */
    const organ_weight *own;   /* with `codes`: the weight of the model; `weight` has the order of the stored axes */
} convert_source;

/* Names the content of the rows of a piece that is copied by code. */
typedef enum convert_content {
    CONVERT_VALUES, /* no codes */
    CONVERT_BLOCKS, /* GGUF: blocks of codes with their scale */
    CONVERT_CODES,  /* safetensors: codes without scales */
    CONVERT_SCALES  /* safetensors: the scales of the codes of another piece */
} convert_content;

typedef struct convert_piece {
    uint64_t rows, filled;          /* rows, and those that have a source */
    uint64_t left;                  /* rows that must still be written */
    uint64_t zeros;                 /* the last rows, which have no source and are 0 */
    bool skip;                      /* an earlier run or another rank writes it */
    const void *values;             /* of a tensor that is computed from the configuration; NULL: it has sources */
    const organ_encoding *encoding; /* of blocks that are fitted; NULL: values are rounded */
    convert_content content;
} convert_piece;

typedef struct organ_convert_job {
    const organ_convert_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *model;
    organ_weights *weights;
    bool to_gguf;
    organ_dtype type;               /* of matrices */
    bool keeps_codes;               /* --type codes */
    const organ_encoding *encoding; /* of blocks; NULL: none */
    organ_forward_config config;
    const forward_family *family, *gguf_family; /* rows of both forms */
    const forward_exchange *exchange;
    bool by_name;           /* the architecture has no row: `exchange` is `named`, and both families have usual names */
    forward_exchange named; /* valid with by_name */
    char *own_config;       /* with by_name: text of config.json, or of ORGAN_CONVERT_CONFIG; NULL: the file has none */
    const char *prefix;     /* of the tensors of the text model in safetensors */
    json_t *file, *text;    /* config.json, and the object in it that configures the text model */
    organ_arena arena;
    organ_name_table names; /* of pieces */
    organ_shard_piece *pieces;
    convert_piece *facts; /* of the pieces */
    organ_unit *units;    /* one for each piece */
    size_t piece_count, piece_room;
    convert_source *sources;
    size_t source_count;
    convert_place *places;
    size_t place_count, place_room;
    size_t coded;   /* sources whose codes are copied */
    size_t dropped; /* tensors of other parts of the model, which the output does not have */
    organ_gguf_writer *gguf;
    organ_written_file *files; /* of a safetensors output: config.json and tokenizer files */
    size_t file_count;
    organ_writing *run;          /* valid while the pass runs */
    const convert_source **todo; /* indexed by the items of the pass */
} organ_convert_job;

/* ---- convert_plan.c ---- */

/* Lists the pieces, and for each weight its places. ORGAN_BAD_INPUT naming a tensor that is unknown, or missing. */
organ_status organ_convert_plan(organ_convert_job *job, organ_error *error);

/* ---- convert_pieces.c ---- */

/* Adds a tensor with scales, or with codes whose shape is not that of the weight: `rows` rows over all its matrices. */
size_t organ_convert_part(organ_convert_job *job, const organ_shard_piece *made, uint64_t rows, convert_content content,
                          organ_error *error);

/* Like organ_weight_matrices, but a vector is a matrix of one column. */
organ_matrices organ_convert_matrices(const organ_weight *weight);

/* Finds the piece of that name or adds it; its type follows from name and rank. SIZE_MAX without memory. */
size_t organ_convert_piece(organ_convert_job *job, const char *name, unsigned rank, const uint64_t *shape,
                           organ_error *error);

/* Adds a place of the source that is being planned, and the same place of the scales if it becomes codes. */
organ_status organ_convert_place(organ_convert_job *job, const convert_place *place, organ_error *error);

/* Returns how many of the blocks [*block, *block + count) of a matrix the place takes, and moves *block to the first.
 */
uint64_t organ_convert_blocks(const convert_place *place, uint64_t *block, uint64_t count);

/* Return the rows of a piece that a block of the place becomes, and their columns, if the source has `cols`. */
uint64_t organ_convert_made(const convert_place *place);
uint64_t organ_convert_cols(const convert_place *place, uint64_t cols);

/* Returns the row of the source, within a block of the place, that becomes row k of the output. */
uint64_t organ_convert_row_from(const convert_place *place, uint64_t k);

/* Returns the place of all rows of the source, in their order, from row `at` of a piece on. */
convert_place organ_convert_all(const organ_weight *weight, size_t piece, uint64_t at);

/* Returns whether this process must still write rows of the source. */
bool organ_convert_is_left(const organ_convert_job *job, const convert_source *source);
/* Counts `rows` rows as written to a piece, and finishes it after the last. */
organ_status organ_convert_wrote(organ_convert_job *job, size_t piece, uint64_t rows, organ_error *error);
/* Returns whether the place keeps the order of all rows and columns of a matrix with that many rows. */
bool organ_convert_is_straight(const convert_place *place, uint64_t rows);

/* Returns whether GGUF stores 1 more than safetensors in this weight, as in the norms of Gemma and Qwen3-Next. */
bool organ_convert_is_plus_one(const organ_convert_job *job, const organ_weight *weight, forward_part part);

/* Reads all values of a vector as FP32. */
organ_status organ_convert_values(const organ_convert_job *job, const organ_weight *weight, float *values,
                                  organ_error *error);
/* Adds a piece with computed values, a vector or, with rank 0, a single number. SIZE_MAX after an error. */
size_t organ_convert_computed_piece(organ_convert_job *job, const char *name, unsigned rank, const float *values,
                                    uint64_t count, organ_error *error);

/* Returns true if a layer has attention. */
bool organ_convert_has_attention(const organ_forward_config *config);

/* Returns true if the attention of a layer rotates queries and keys. */
bool organ_convert_rotates(const organ_forward_config *config);

/* Returns the first layer with a window, or without; the first layer if there is none. */
const organ_layer_kind *organ_convert_kind(const organ_forward_config *config, bool windowed);
/* Returns the width of a head in these layers. */
static inline unsigned organ_convert_head(const organ_forward_config *config, bool windowed)
{
    return organ_convert_kind(config, windowed)->head_dim;
}

/* Returns the number of leading layers without experts. */
unsigned organ_convert_dense(const organ_forward_config *config);

/* The divisor of frequencies of pairs that do not turn. */
#define ORGAN_CONVERT_STILL 1e30F

/* Computes the divisors of the frequencies of a rotation of Llama 3, one for each pair of dimensions, in FP32 as
 * llama.cpp's converter does (_compute_llama3_parameters of transformers). */
void organ_convert_llama3(const organ_rope_config *rope, float *divisors);

/* ---- one direction each: the places of one weight ---- */

organ_status organ_convert_to_gguf(organ_convert_job *job, const organ_weight *weight, organ_error *error);
organ_status organ_convert_to_hf(organ_convert_job *job, const organ_weight *weight, organ_error *error);
/* Adds the tensors whose values follow from the configuration. In GGUF: divisors of frequencies; ORGAN_BAD_INPUT for a
 * rotation that the architecture cannot have. In safetensors: parameters of xIELU, which are key-values in GGUF. */
organ_status organ_convert_gguf_computed(organ_convert_job *job, organ_error *error);
organ_status organ_convert_hf_computed(organ_convert_job *job, organ_error *error);
/* Refuses a tensor. */
organ_status organ_convert_unknown(const organ_convert_job *job, const char *tensor, const char *why,
                                   organ_error *error);

/* ---- convert_by_name.c ---- */

/* The key-value with the text of config.json, in files of architectures that are converted by name. */
#define ORGAN_CONVERT_CONFIG "organ.config"

/* Prepares a conversion by name of an architecture of config.json that has no row in exchange.h. ORGAN_BAD_INPUT if
 * config.json has no model_type, if llama.cpp would take a file of that name for another architecture, or if the form
 * of values or rows depends on the architecture. */
organ_status organ_convert_find_names(organ_convert_job *job, const char *architecture, organ_error *error);
/* The same for a GGUF file; job->own_config becomes the text in ORGAN_CONVERT_CONFIG, or stays NULL. */
organ_status organ_convert_find_gguf_names(organ_convert_job *job, const char *architecture, organ_error *error);
/* Plans a weight. ORGAN_BAD_INPUT if its name is not known. */
organ_status organ_convert_named(organ_convert_job *job, const organ_weight *weight, organ_error *error);
/* Fails for the first weight whose name would be another after a conversion to GGUF and back. */
organ_status organ_convert_names_return(const organ_convert_job *job, organ_error *error);
/* Adds config.json without quantization_config to the key-values. */
organ_status organ_convert_keep_config(organ_convert_job *job, organ_error *error);

/* ---- convert_reserved.c ---- */

/* Returns the architecture of llama.cpp that has this name but for capitals, '-', '_' and "_text" at the end, or NULL.
 */
const char *organ_convert_reserved(const char *name);

/* ---- convert_recurrent.c ---- */

/* Returns whether GGUF files of the architecture have the heads of values in another order in this part of a layer. */
bool organ_convert_is_tiled(const organ_convert_job *job, int64_t layer, forward_part part);
/* Adds the places of a tensor for which organ_convert_is_tiled is true. */
organ_status organ_convert_tiled(organ_convert_job *job, const organ_weight *weight, forward_part part, size_t piece,
                                 organ_error *error);
/* Returns whether a GGUF file of the architecture has the multipliers of config.json in its weights (Falcon-H1). */
bool organ_convert_is_scaled(const organ_convert_job *job);
/* Returns whether it has a multiplier other than 1 in this part. */
bool organ_convert_is_multiplied(const organ_convert_job *job, forward_part part);
/* Adds the places of a tensor of such an architecture, whose rows `all` copies: values times their multipliers. */
organ_status organ_convert_scaled(organ_convert_job *job, convert_place all, forward_part part, organ_error *error);
/* Adds a flag to config.json if the architecture has its key. Returns nonzero if an allocation was refused. */
static inline int organ_convert_put_flag(json_t *config, forward_flag flag, bool value)
{
    return flag.key ? json_object_set_new(config, flag.key, json_boolean(value)) : 0;
}
/* Adds the members of recurrent layers to config.json. Returns nonzero if an allocation was refused. */
int organ_convert_put_recurrent(const organ_convert_job *job, json_t *config);

/* ---- convert_streams.c ---- */

/* Adds the members of Gemma 3n to config.json. Returns nonzero if an allocation was refused. */
int organ_convert_put_streams(const organ_convert_job *job, json_t *config);
/* Adds the members of Gemma 4: heads of layers with and without a window, shared keys and values, and the per-layer
 * embeddings. Returns nonzero if an allocation was refused. */
int organ_convert_put_gemma(const organ_convert_job *job, json_t *config);

/* ---- convert_pass.c ---- */

organ_status organ_convert_pass(organ_convert_job *job, organ_error *error);

/* ---- convert_code_types.c ---- */

#define ORGAN_CONVERT_GROUP 32 /* codes with one scale */

/* Returns the type of GGUF that has the codes and the scales of the weight, ORGAN_DTYPE_COUNT if there is none: MXFP4,
 * or Q8_0 for symmetric INT8 with a scale for 32 values. */
organ_dtype organ_convert_code_type(const organ_weight *weight);
/* Prepares the source for a copy of its codes if --type codes was given and the weight has such codes. */
organ_status organ_convert_find_codes(organ_convert_job *job, convert_source *source, organ_error *error);
/* Gives up the copy of codes for the source that is being planned; returns its weight. */
const organ_weight *organ_convert_dequantised(organ_convert_job *job);

/* ---- convert_codes.c ---- */

/* Copies the rows of all sources with codes to their places. ORGAN_BAD_INPUT naming a weight with a scale that the
 * output's type does not have: not a number in MXFP4, more bits than an F16 in INT8. */
organ_status organ_convert_codes_pass(organ_convert_job *job, organ_error *error);

/* ---- metadata ---- */

/* Adds the key-values of the architecture and of the tokenizer to job->gguf. */
organ_status organ_convert_keys(organ_convert_job *job, organ_error *error);
/* Makes job->files. */
organ_status organ_convert_config(organ_convert_job *job, organ_error *error);

/* ---- convert_check.c ---- */

/* Compares the configuration of the output with that of the model. ORGAN_BAD_INPUT naming what differs. */
organ_status organ_convert_check(void *job, const char *to, const char *path, organ_error *error);

/* ---- convert_document.c ---- */

json_t *organ_convert_parameters(void *job);
json_t *organ_convert_document(void *job, const organ_writing *made);

#endif
