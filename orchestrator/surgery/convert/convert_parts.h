/* SPDX-License-Identifier: MIT
 * Data and functions that the files of the conversion share. A source is a weight of the input model, a piece is a
 * tensor of the output, and a place is a rule that copies rows of one source to one piece. */
#ifndef ORGAN_SURGERY_CONVERT_CONVERT_PARTS_H
#define ORGAN_SURGERY_CONVERT_CONVERT_PARTS_H

#include "formats/architecture/mtp_types.h"
#include "formats/architecture/pairing.h"
#include "formats/towers/towers.h"
#include "formats/base/arena.h"
#include "formats/base/rows.h"
#include "formats/base/word_lists.h"
#include "formats/tensor/module_names.h"
#include "formats/weights/weight_search.h"
#include "orchestrator/surgery/encoding/encoding.h"
#include "orchestrator/surgery/write/write.h"

#include <jansson.h>
#include <organ/convert.h>
#include <organ/weights.h>

/* A weight of the input model that is converted. Its rows are read once and copied to all its places. */
typedef struct convert_source {
    const organ_weight *weight; /* the weight whose rows are read; differs from `own` in one case */
    /* The counterpart: a weight of the same shape that is read together with `weight` and written to the same pieces
     * (organ_row_place.join). NULL: none */
    const organ_weight *other;
    size_t first, count; /* its places: job->places[first, first + count) */
    /* Strips that are read have a multiple of this many rows: organ_row_place.block of the places that select or
     * reorder rows, which must all have the same block; 1 if all rows keep their order. */
    uint64_t block;
    organ_dtype as; /* the type in which rows are read: F32, BF16 or F16; with `codes` the GGUF type of the codes */
    bool codes;     /* codes and scales are copied; no value is dequantised */
    bool tower;     /* a weight of the mmproj that is converted to safetensors, which is another model */
    /* The weight in job->weights. `weight` is the same, except if codes of a transposed weight are copied: then it is a
     * copy whose axes have the order in which the file stores the codes. */
    const organ_weight *own;
} convert_source;

/* The content of a piece's rows. */
typedef enum convert_content {
    CONVERT_VALUES, /* numbers, or GGUF blocks that convert_pass.c encodes from numbers */
    CONVERT_BLOCKS, /* GGUF: blocks of copied codes and their scale */
    CONVERT_CODES,  /* safetensors: copied codes without scales */
    CONVERT_SCALES, /* safetensors: copied scales of the codes in another piece */
    CONVERT_MINIMA  /* safetensors: copied minima of the codes in another piece */
} convert_content;

/* How safetensors store the codes of a GGUF type in matrices. */
typedef struct convert_form {
    organ_dtype blocks; /* the type in GGUF */
    organ_dtype codes, scales;
    unsigned packed, bits;  /* codes in an element of the tensor of codes; bits of a code */
    unsigned group;         /* values that share a scale */
    bool mlx;               /* else compressed-tensors */
    const char *codes_name; /* end of the name of the tensor of codes after ".weight" */
    const char *format;     /* in compressed-tensors */
} convert_form;

/* The forms of a safetensors output: its quantization_config states one of these. */
typedef enum convert_forms {
    CONVERT_COMPRESSED, /* compressed-tensors */
    CONVERT_GPT_OSS,    /* MXFP4 of gpt-oss */
    CONVERT_MLX
} convert_forms;

/* The plan of a tensor of the output, in addition to organ_piece. */
typedef struct convert_piece {
    uint64_t rows; /* rows over all matrices of the tensor */
    uint64_t
        filled;    /* how many of these rows are planned to come from places, `values` or `zeros`; must become `rows` */
    uint64_t left; /* rows that organ_convert_pass must still write */
    uint64_t zeros; /* number of rows at the end that have no source and are written as 0 */
    bool skip;      /* organ_convert_pass need not write it: an earlier run or another rank does, or it is copied whole
                       (organ_piece.same) */
    /* bytes of a tensor that is computed from the configuration, in job->arena; NULL: its places have the rows */
    const void *values;
    /* GGUF encoding whose blocks are fitted to the values; NULL: values are rounded to the piece's type */
    const organ_encoding *encoding;
    convert_content content;
    const convert_form *form; /* form of copied codes, or of their scales or minima, in a matrix; else NULL */
} convert_piece;

/* Vision and audio towers (convert_towers.c). */
typedef struct convert_towers {
    tower_model model;       /* model.family NULL: there are no rules for the towers, or the model has none */
    bool written;            /* the output has the towers */
    bool only;               /* and nothing else */
    bool processed;          /* to GGUF: the model has a file of its preprocessor */
    organ_dtype type;        /* to GGUF: of matrices */
    size_t first;            /* pieces [first, piece_count) are those of the towers */
    organ_gguf_writer *gguf; /* to GGUF: the key-values of the mmproj */
    char *name;              /* to GGUF: its file name next to the text model */
    organ_gguf_part parts[2];
    organ_layout layout;    /* to GGUF: both files, if there are two */
    organ_model *file;      /* to safetensors: the mmproj */
    organ_weights *weights; /* of it */
    json_t *config;         /* to safetensors: the configuration of the model, and its text */
    char *config_text;
    size_t config_length;
    size_t plain; /* matrices that are F16 because blocks do not divide their rows */
} convert_towers;

/* A conversion: the input, the plan of the output, and the output. */
typedef struct organ_convert_job {
    const organ_convert_options *options;
    const organ_write_origin *origin; /* as in organ_write */
    bool outline;                     /* as in organ_write */
    const organ_engine *engine;
    const organ_progress *progress;
    organ_model *opened; /* the model, if the caller has opened it and will close it; else NULL */
    organ_model *model;
    organ_weights *weights;
    bool to_gguf;        /* false: to safetensors */
    organ_dtype type;    /* output type of matrices */
    bool keeps_codes;    /* --dtype codes */
    convert_forms forms; /* of codes in safetensors */
    /* GGUF encoding that --dtype names, whose blocks are fitted to matrices; NULL: values are rounded to `type` */
    const organ_encoding *encoding;
    organ_forward_config config;
    const forward_family *family, *gguf_family; /* the architecture's rows (families.h) for safetensors and for GGUF */
    const forward_pairing *pairing;             /* the architecture's row in pairing.h, or &named */
    /* The architecture has no row in the tables: tensors only get other names (convert_by_name.c). `pairing` is then
     * &named, and both families are a row that has no names of its own. */
    bool by_name;
    forward_pairing named; /* valid with by_name */
    /* with by_name: text of config.json, or of the key-value ORGAN_GGUF_CONFIG; NULL: the GGUF file has none */
    char *own_config;
    const char *prefix; /* how the names of the text model's tensors begin in safetensors, such as "model." */
    /* config.json, and the object in it that configures the text model. To safetensors: `file` is the JSON of
     * ORGAN_GGUF_CONFIG, if the GGUF file has it, and `text` is NULL. */
    json_t *file, *text;
    organ_arena arena;
    organ_name_table names; /* index of each piece by name */
    organ_piece *pieces;
    convert_piece *facts;           /* facts[k] belongs to pieces[k] */
    size_t piece_count, piece_room; /* number of pieces, and how many the arrays have room for */
    convert_source *sources;
    size_t source_count;
    organ_row_place *places;        /* of all sources; the places of one source are consecutive */
    size_t place_count, place_room; /* number of places, and how many the array has room for */
    size_t coded;                   /* number of sources whose codes are copied */
    /* Blocks for multi-token prediction (convert_blocks.c): their row and the family of their names, NULL if unknown;
     * their number in the model, after organ_convert_choose_blocks in the output. */
    const organ_mtp_type *mtp;
    const organ_draft_family *drafts;
    unsigned blocks;
    bool only;           /* the output has only what the block needs */
    unsigned block_like; /* the layer whose attention is like that of blocks */
    int64_t feed_like;   /* the layer whose feed-forward is; -1: none */
    size_t copies;       /* copies of embedding and head in blocks, which the output lacks */
    size_t dropped; /* number of tensors of vision, audio or multi-token prediction, which the output does not have */
    const char *dropped_name; /* of the first of them; NULL: there is none */
    organ_gguf_writer *gguf;
    organ_written_file *files; /* of a safetensors output: config.json and tokenizer files; the job owns their bytes */
    size_t file_count;
    convert_towers towers;
    organ_writing *run; /* the output; valid during organ_convert_pass, else NULL */
    organ_plan plan;    /* of a dry run, from organ_convert_estimate */
} organ_convert_job;

/* ---- convert_blocks.c ---- */

/* Returns the architecture in both formats. */
place_model organ_convert_model(const organ_convert_job *job);

#define CONVERT_BLOCKS_MOST 64 /* of a model */

/* Sets mtp, drafts and blocks from the model's tensors, and adds the kinds of the blocks to job->config. */
organ_status organ_convert_find_blocks(organ_convert_job *job, organ_error *error);
/* Sets job->blocks to the blocks that the output gets by options->mtp. Returns ORGAN_BAD_INPUT if it asks for blocks
 * that the output cannot have, or if the model states another number of blocks than it has. */
organ_status organ_convert_choose_blocks(organ_convert_job *job, organ_error *error);
/* Returns whether the weight of a block is a copy of the embedding or the head, which loaders take from the model.
 * `draft` is pairing_part.draft of the weight. */
bool organ_convert_is_copy(const organ_convert_job *job, const organ_weight *weight, unsigned draft);
/* Leaves out the blocks if the GGUF model, which the conversion is compared with, states none. */
void organ_convert_match_blocks(organ_convert_job *job, const organ_model *gguf);
/* After the plan: returns ORGAN_BAD_INPUT, naming the first tensor, if a block lacks one. */
organ_status organ_convert_check_blocks(organ_convert_job *job, organ_error *error);
/* Adds the member with the number of blocks to config.json. Returns nonzero if an allocation was refused. */
int organ_convert_put_blocks(const organ_convert_job *job, json_t *config);

/* ---- convert_beside.c ---- */

/* To GGUF: writes the pooling of sentence-transformers as ARCHITECTURE.pooling_type, and names the files and modules
 * that GGUF cannot hold in notes and warnings. Returns ORGAN_BAD_INPUT for a malformed modules.json. */
organ_status organ_convert_beside(const organ_convert_job *job, organ_error *error);
/* To safetensors: adds modules.json and 1_Pooling/config.json to job->files if the GGUF file states a pooling. */
organ_status organ_convert_pooling(organ_convert_job *job, organ_error *error);

/* ---- convert_model.c ---- */

/* Sets the rows of the architecture, by_name, config and prefix of a job with model, weights and to_gguf. */
organ_status organ_convert_find_architecture(organ_convert_job *job, organ_error *error);
/* Releases what the job owns; options, engine and progress belong to the caller. */
void organ_convert_release(organ_convert_job *job);

/* ---- convert_by_name.c ---- */

/* Fills job->pieces, facts, sources and places. Returns ORGAN_BAD_INPUT, naming the tensor, if a tensor of the
 * model is unknown, if the model lacks a tensor for rows of a piece, or if --dtype codes finds no codes that both
 * formats have. */
organ_status organ_convert_plan(organ_convert_job *job, organ_error *error);

/* ---- convert_pieces.c ---- */

/* Adds the piece `made`, whose rows are copied codes or scales, or finds the piece of that name. Sets its type, its
 * number of rows over all matrices (`rows`) and its content, which organ_convert_piece would derive from the source.
 * Returns its index, SIZE_MAX after an error. */
size_t organ_convert_part(organ_convert_job *job, const organ_piece *made, uint64_t rows, convert_content content,
                          organ_error *error);

/* Returns the index of the piece with this name, adding it if it is new. Its type follows from its name, its rank and
 * the source that is being planned (job->sources[job->source_count]). Returns SIZE_MAX after an error. */
size_t organ_convert_piece(organ_convert_job *job, const char *name, unsigned rank, const uint64_t *shape,
                           organ_error *error);

/* Adds a copy of *place to the source that is being planned. If the piece has codes of a form, also adds the tensors of
 * their scales and minima and the same place in them. If place->piece is SIZE_MAX, only returns the error that is set.
 * Returns ORGAN_BAD_INPUT if the rows or columns of the source do not fit the piece. */
organ_status organ_convert_place(organ_convert_job *job, const organ_row_place *place, organ_error *error);

/* Gives the pieces of codes the names and shapes in which they are stored, after all places were planned. */
organ_status organ_convert_finish_forms(organ_convert_job *job, organ_error *error);

/* Returns how many of the blocks [*block, *block + count) of a matrix the place copies (organ_row_place.from and
 * blocks), and sets *block to the first copied one. */
uint64_t organ_convert_blocks(const organ_row_place *place, uint64_t *block, uint64_t count);

/* Returns the number of rows of the piece that a block of the place becomes. */
uint64_t organ_convert_made(const organ_row_place *place);
/* Returns the number of columns of the piece if the source has `cols` columns; `cols` is not used for a transposed or
 * column_slice place. */
uint64_t organ_convert_cols(const organ_row_place *place, uint64_t cols);

/* Returns which of the place's copied rows of a block, counted from organ_row_place.first, becomes row k of the block
 * in the piece (organ_row_place.pairs and halves). */
uint64_t organ_convert_row_from(const organ_row_place *place, uint64_t k);

/* Returns a place that copies all rows of the weight, in their order, to the rows of a piece from `at` on. */
organ_row_place organ_convert_all(const organ_weight *weight, size_t piece, uint64_t at);

/* Returns whether organ_convert_pass must write a piece that has rows of the source (convert_piece.skip is false). */
bool organ_convert_is_left(const organ_convert_job *job, const convert_source *source);
/* Subtracts `rows` written rows from facts[piece].left, and records the piece in the journal if none are left. */
organ_status organ_convert_wrote(organ_convert_job *job, size_t piece, uint64_t rows, organ_error *error);
/* Returns whether the place copies all rows and columns of matrices of `rows` rows in their order. Functions of the
 * values (organ_row_place.function) are allowed. */
bool organ_convert_is_straight(const organ_row_place *place, uint64_t rows);

/* Reads all values of a vector as FP32 into `values`, which has room for weight->elements. */
organ_status organ_convert_values(const organ_convert_job *job, const organ_weight *weight, float *values,
                                  organ_error *error);
/* Adds a piece with `count` computed values: a vector (rank 1), or a single number (rank 0). Copies `values`. Returns
 * SIZE_MAX after an error. */
size_t organ_convert_computed_piece(organ_convert_job *job, const char *name, unsigned rank, const float *values,
                                    uint64_t count, organ_error *error);

/* The frequency divisor for pairs of dimensions that are not rotated: it makes their angle 0. */
#define ORGAN_CONVERT_STILL 1e30F

/* Computes the frequency divisors of Llama 3's rotation, one for each pair of dimensions (rope->dimensions / 2), in
 * FP32 as llama.cpp's converter does (_compute_llama3_parameters of transformers). */
void organ_convert_llama3(const organ_rope_config *rope, float *divisors);

/* ---- convert_llama.c ---- */

/* Warns of settings of a model that becomes GGUF with which llama.cpp computes something else than transformers. */
void organ_convert_note_llama(const organ_convert_job *job);

/* ---- convert_tensors.c ---- */

/* Plans the output tensors of one weight: adds its pieces and places. A tensor that the output does not have (vision,
 * draft layers) is only counted, in job->dropped; frequency divisors of a GGUF file become members of config.json.
 * Returns ORGAN_BAD_INPUT if the weight has no known name or not the shape of its kind. */
organ_status organ_convert_tensor(organ_convert_job *job, const organ_weight *weight, organ_error *error);
/* Adds the tensors whose values follow from the configuration. In GGUF: frequency divisors of the rotation; returns
 * ORGAN_BAD_INPUT for a rotation that GGUF files of the architecture cannot have. In safetensors: the parameters of
 * xIELU, which are key-values in GGUF. */
organ_status organ_convert_computed(organ_convert_job *job, organ_error *error);
/* Writes the name in safetensors of a parameter of xIELU: 0 alpha_p, 1 alpha_n, 2 beta, 3 eps. */
#define CONVERT_XIELU 4
void organ_convert_xielu_name(const organ_convert_job *job, unsigned layer, unsigned number,
                              char name[ORGAN_PLACE_NAME]);
/* Fails with ORGAN_BAD_INPUT and the message "MODEL: tensor 'TENSOR' WHY". */
organ_status organ_convert_unknown(const organ_convert_job *job, const char *tensor, const char *why,
                                   organ_error *error);

/* ---- convert_by_name.c ---- */

/* Prepares the conversion to GGUF of an architecture that has no row in pairing.h: sets by_name and named. Returns
 * ORGAN_BAD_INPUT if config.json has no model_type, if llama.cpp has an architecture of such a name and would misread
 * the file, or if the architecture's tensors would need more than other names. */
organ_status organ_convert_find_names(organ_convert_job *job, const char *architecture, organ_error *error);
/* Prepares the conversion to safetensors of a GGUF file whose architecture has no row. job->own_config becomes the text
 * in ORGAN_GGUF_CONFIG, or stays NULL if the file has none. */
organ_status organ_convert_find_gguf_names(organ_convert_job *job, const char *architecture, organ_error *error);
/* Adds the pieces and places of a weight, by name. Returns ORGAN_BAD_INPUT if its name is unknown. */
organ_status organ_convert_named(organ_convert_job *job, const organ_weight *weight, organ_error *error);
/* Sets the key-value ORGAN_GGUF_CONFIG to job->own_config without the member quantization_config. */
organ_status organ_convert_keep_config(organ_convert_job *job, organ_error *error);

/* ---- convert_tensors.c ---- */

/* Returns the architecture of llama.cpp that has this name, or a name that differs only in capitals, '-', '_' or a
 * "_text" at the end; NULL if there is none. */
const char *organ_convert_reserved(const char *name);

/* ---- convert_recurrent.c ---- */

/* Adds the places of a tensor of the kind PLACE_TILED. They reorder its value heads. */
organ_status organ_convert_tiled(organ_convert_job *job, const organ_weight *weight, const place_layout *layout,
                                 size_t piece, organ_error *error);
/* Returns whether weights of the GGUF output are multiplied by multipliers of config.json (Falcon-H1), because GGUF has
 * no keys for these. */
bool organ_convert_is_scaled(const organ_convert_job *job);
/* Returns whether organ_convert_is_scaled is true and a multiplier of this part is not 1. */
bool organ_convert_is_multiplied(const organ_convert_job *job, forward_part part);
/* Adds the places of a tensor of a model for which organ_convert_is_scaled is true: like `all`, but values are
 * multiplied by the multipliers of the part. */
organ_status organ_convert_scaled(organ_convert_job *job, organ_row_place all, forward_part part, organ_error *error);
/* Returns whether GGUF files of the architecture have the factors of LongRoPE. */
static inline bool organ_convert_has_longrope(const organ_convert_job *job)
{
    static const char key[] = "rope.scaling.attn_factor";
    return organ_lists_word(job->pairing->keys, ' ', key, sizeof key - 1);
}
/* Sets the heads of K and V in config.json. Returns nonzero if an allocation was refused. */
static inline int organ_convert_put_kv_heads(json_t *config, uint64_t count)
{
    return json_object_set_new(config, "num_key_value_heads", json_integer((json_int_t)count));
}

/* Sets the member `flag.key` of config.json to `value`; does nothing if the architecture has no such member (key NULL).
 * Returns nonzero if an allocation was refused. */
static inline int organ_convert_put_flag(json_t *config, forward_flag flag, bool value)
{
    return flag.key ? json_object_set_new(config, flag.key, json_boolean(value)) : 0;
}
/* Adds the members of recurrent layers to config.json. Returns nonzero if an allocation was refused. */
int organ_convert_put_recurrent(const organ_convert_job *job, json_t *config);

/* ---- convert_tensors.c ---- */

/* Adds the members of Gemma 3n to config.json. Returns nonzero if an allocation was refused. */
int organ_convert_put_streams(const organ_convert_job *job, json_t *config);
/* Adds the members of Gemma 4: heads of layers with and without a window, shared keys and values, and per-layer
 * embeddings. Returns nonzero if an allocation was refused. */
int organ_convert_put_gemma(const organ_convert_job *job, json_t *config);

/* ---- convert_forms.c ---- */

/* Sets job->forms, from the types of the weights of a GGUF file, and with --dtype codes job->type. */
void organ_convert_choose_forms(organ_convert_job *job);
/* Returns the form of a weight's codes in the tensor `name` of a safetensors output; NULL: that tensor gets values. */
const convert_form *organ_convert_form(const organ_convert_job *job, const organ_weight *weight, const char *name,
                                       unsigned rank);
/* Returns whether the tensor of a GGUF output can have NVFP4 codes: llama.cpp must multiply by its scale. */
bool organ_convert_has_tensor_scale(const organ_convert_job *job, const char *name);
/* Adds quantization_config for an output with copied codes. Returns nonzero if an allocation was refused. */
int organ_convert_put_quantization(const organ_convert_job *job, json_t *config);

/* ---- convert_pass.c ---- */

/* Writes all pieces that are not yet complete, in job->run. */
organ_status organ_convert_pass(organ_convert_job *job, organ_error *error);

/* Adds the work of organ_convert_pass to job->plan. */
organ_status organ_convert_estimate(organ_convert_job *job, organ_error *error);

/* ---- convert_pieces.c ---- */

#define ORGAN_CONVERT_GROUP 32 /* codes that share a scale */

/* Returns the GGUF type that can store the codes and scales of the weight: MXFP4; NVFP4 with a tensor scale; with a
 * scale for 32 values Q8_0 for symmetric INT8, Q4_0 for symmetric INT4 and Q4_1 for MLX's codes of 4 bits.
 * ORGAN_DTYPE_COUNT: none. */
organ_dtype organ_convert_code_type(const organ_weight *weight);
/* Sets source->own, and source->codes if --dtype codes was given and GGUF and safetensors both have such codes. */
organ_status organ_convert_find_codes(organ_convert_job *job, convert_source *source, organ_error *error);
/* Converts the source that is being planned by values, not by codes: clears source->codes. Returns its weight. */
const organ_weight *organ_convert_dequantised(organ_convert_job *job);

/* ---- convert_scales.c ---- */

/* Adds the tensor scales of copied NVFP4 codes, after all places were planned: one F32 number for each matrix. GGUF has
 * a factor, X.scale; compressed-tensors has a divisor, X.weight_global_scale. A factor of the model (ModelOpt) stays,
 * and a divisor becomes its reciprocal. Returns ORGAN_BAD_INPUT, naming the tensor, for a number whose reciprocal F32
 * does not have, and for matrices with different numbers that become one. Warns of
 * matrices that servers multiply as one but that have different numbers. */
organ_status organ_convert_tensor_scales(organ_convert_job *job, organ_error *error);

/* ---- convert_codes.c ---- */

/* Copies the rows of all sources with `codes` to their places. Returns ORGAN_BAD_INPUT, naming the weight, for a scale
 * that the output's type does not have: NaN for MXFP4, NaN or a sign for NVFP4, a number that is no F16 for the
 * others. */
organ_status organ_convert_codes_pass(organ_convert_job *job, organ_error *error);

/* ---- metadata ---- */

/* Adds the key-values of the architecture and of the tokenizer to job->gguf. */
organ_status organ_convert_keys(organ_convert_job *job, organ_error *error);

/* ---- convert_pieces.c ---- */

/* Returns whether the value is a single one, or an array whose numbers are all equal. */
bool organ_convert_is_uniform(const organ_gguf_kv *kv);

/* Rejects a GGUF file whose layers differ in a size of which config.json of the architecture has one for all. */
organ_status organ_convert_check_layers(const organ_convert_job *job, organ_error *error);

/* ---- convert_card.c ---- */

/* Sets general.name and what README.md of the model states: licence, languages and so on; and general.sampling.* from
 * generation_config.json. */
organ_status organ_convert_put_card(const organ_convert_job *job, organ_error *error);

/* Returns the text of README.md for a safetensors output, with what general.* of the GGUF file states; NULL if that is
 * nothing, or with an error. The caller frees it. */
char *organ_convert_card(const organ_convert_job *job, organ_error *error);

/* Returns the text of generation_config.json; NULL if memory ran out. The caller frees it, also after an error. */
char *organ_convert_generation(const organ_convert_job *job, organ_error *error);

/* Adds bos_token_id, eos_token_id and pad_token_id to `config`. Returns nonzero if an allocation was refused. */
int organ_convert_put_ids(const organ_convert_job *job, json_t *config);

/* Returns an FP32 number as JSON, with the fewest digits that give the same FP32 number. */
json_t *organ_convert_real(double value);

/* Makes job->files: config.json and the files of the tokenizer. */
organ_status organ_convert_config(organ_convert_job *job, organ_error *error);

/* ---- convert_tower_files.c ---- */

/* Sets job->towers from the options mmproj and config and the configuration of the model. Returns ORGAN_USAGE or
 * ORGAN_BAD_INPUT for options that do not fit, for towers without rules that are asked for, and for settings that
 * llama.cpp does not compute. To safetensors, opens the mmproj and reads the configuration. */
organ_status organ_convert_find_towers(organ_convert_job *job, organ_error *error);
/* ---- convert_towers.c ---- */

/* To GGUF: returns whether the weight belongs to a tower whose family has rules. */
bool organ_convert_is_tower(const organ_convert_job *job, const organ_weight *weight);
/* Plans the pieces of the towers after those of the text model. Returns ORGAN_BAD_INPUT, naming the tensor, if it has
 * no rule or another shape than its rule needs, or if one is missing. */
organ_status organ_convert_plan_towers(organ_convert_job *job, organ_error *error);
/* ---- convert_tower_files.c ---- */

/* Adds the key-values of the mmproj to job->towers.gguf. */
organ_status organ_convert_tower_keys(organ_convert_job *job, organ_error *error);
/* To GGUF: plans the files of an output with two, in towers.layout. */
organ_status organ_convert_lay_out(organ_convert_job *job, organ_error *error);
/* Opens the written mmproj in directory `to` and compares its key-values with the configuration. */
organ_status organ_convert_check_towers(const organ_convert_job *job, const char *to, organ_error *error);

#define CONVERT_TOWER_FILES 3 /* most files of the preprocessor */

/* To safetensors: returns the text of the configuration with the type of the output; NULL with an error. The caller
 * frees it. */
char *organ_convert_tower_config(organ_convert_job *job, organ_error *error);
/* To safetensors: adds the files of the preprocessor next to the configuration to job->files. */
organ_status organ_convert_tower_files(organ_convert_job *job, organ_error *error);
void organ_convert_release_towers(convert_towers *towers);

/* ---- convert_check.c ---- */

/* Compares the configuration of the output at `path` with that of the model. Returns ORGAN_BAD_INPUT, naming the
 * setting, if they differ. Notes settings of recurrent layers that GGUF files do not store. If job->by_name is set,
 * only checks that the output can be opened as a model. `to` is unused. Called by organ_write_run. */
organ_status organ_convert_check(void *job, const char *to, const char *path, organ_error *error);

#endif
