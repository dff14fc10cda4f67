/* SPDX-License-Identifier: MIT
 * Data and functions of quantisation that all kinds of output share (encoding.h). */
#ifndef ORGAN_VERBS_QUANTIZE_CODES_QUANTIZE_PARTS_H
#define ORGAN_VERBS_QUANTIZE_CODES_QUANTIZE_PARTS_H

#include "formats/base/arena.h"
#include "formats/base/rows.h"
#include "formats/imatrix/imatrix.h"
#include "formats/weights/served.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/surgery/encoding/encoding.h"
#include "orchestrator/surgery/write/write.h"
#include "orchestrator/surgery/calibration/donor_target.h"
#include "orchestrator/verbs/lora/repair_adapter.h"
#include "orchestrator/surgery/gptq/gptq.h"

#include <float.h>
#include <math.h>
#include <organ/quantize.h>
#include <organ/weights.h>

/* Pruning and quantisation in one run over a calibration text. Each matrix is pruned, then quantised, on the inputs
 * that the already pruned and quantised layers compute. */

/* Argument of organ_quantize_pruning.open: the targets that are quantised, and the sizes of the output. */
typedef struct organ_quantize_held {
    const organ_model *model;
    /* Targets that the scheme can represent. organ_calibration_matrix.target is an index of this list. */
    const organ_targets *targets;
    uint64_t codes, scales; /* bytes that codes, and scales, of all targets have in the output */
    uint64_t other_bytes;   /* bytes that all other tensors have in the output */
} organ_quantize_held;

/* A pruning method. All callbacks get `context` as first argument. */
typedef struct organ_quantize_pruning {
    void *context;
    const char *method;                  /* name of the method, for messages */
    organ_calibration_inputs_of streams; /* the inputs on which matrices are calibrated */
    bool moments_only; /* the calibration computes second moments only: organ_calibration_run_options */
    size_t reserve;    /* tokens of the text that calibration windows leave for `decide` */
    uint64_t seed;     /* of the noise with which the calibration measures stability */
    bool rows;         /* `prune` can share the rows of a matrix among ranks */
    /* Returns an upper bound of the bytes that `prune` needs for a matrix of rows x cols, including `keep`, but without
     * its weights and its calibration. */
    uint64_t (*memory)(void *context, uint64_t rows, uint64_t cols);
    /* Prunes `weights`, rows x cols. Sets keep[i * cols + j] to 0 if it removes weight (i, j), else to 1. */
    organ_status (*prune)(void *context, const organ_calibration_matrix *matrix, float *weights, uint8_t *keep,
                          organ_error *error);
    json_t *(*parameters)(void *context); /* returns the member "pruning" of the parameters */
    organ_plan_solve solve;               /* work of `prune`, for the plan of a dry run */
    /* All callbacks below may be NULL. `open` is called after the targets are selected; it checks that memory and text
     * suffice for `decide`. */
    organ_status (*open)(void *context, const organ_quantize_held *held, organ_error *error);
    /* Implements organ_write.decide. A dry run adds the work that it leaves out to `plan`. */
    organ_status (*decide)(void *context, organ_writing *run, organ_plan *plan, organ_error *error);
    json_t *(*allocation)(void *context); /* returns the member "sparsity_allocation" of the report */
    void (*close)(void *context);         /* called at the end, also after an error; the model is still open */
} organ_quantize_pruning;

/* A part: a target that is quantised, with its tensors in the output and the figures for the report. If the target is a
 * stack of matrices, losses and counts are sums over its matrices. */
typedef struct organ_quantize_part {
    const organ_weight *weight;     /* the target in the source model */
    const organ_encoding *encoding; /* encoding of the target in the output */
    /* Encoding that --scheme asks for. It differs from `encoding` if the rows are not whole groups or blocks of it. */
    const organ_encoding *preferred;
    uint64_t rows, cols;     /* shape of each matrix of the target */
    uint64_t groups;         /* scales per row in the tensor of scales; 0: GGUF blocks contain the scales */
    uint64_t scale_shape[2]; /* shape of the tensor of scales; 1 x 1 if one scale covers the target */
    uint64_t words[2];       /* shape of the tensor of packed codes: rows, 32-bit words per row */
    /* Indices in job->list.pieces of the tensors of codes, scales, shape, tensor scale, minima and input scale. `scale`
     * is unused for GGUF, `shape` unless codes are packed, `global` unless organ_encoding_has_divisor, `minimum` unless
     * organ_grid_is_free, `input` unless organ_quantize_measures. Those of a part follow each other, codes first. */
    size_t codes, scale, shape, global, minimum, input;
    float greatest;       /* greatest magnitude in its set; used only if one scale covers the target, or with divisor */
    float greatest_input; /* nvfp4 --activations: greatest magnitude of an input on the text */
    float input_scale;    /* --activation-scale static: the scale of inputs */
    size_t input_set;     /* index in job->ranges.sets while its layer is measured; else SIZE_MAX */
    json_t *unmeasured; /* indices of experts with too few tokens, which have the scale of others; NULL: none. Owned */
    float divisor;      /* power of 2 by which the target is multiplied before it is quantised; 1: no tensor scale */
    float whole_scale;  /* the scale, if one covers the target */
    double tries[16];   /* the same: error squares with each try of organ_grid_search */
    const char *entry;  /* name of its entry in the imatrix; NULL: the imatrix does not weight its columns */
    json_t *unreached;  /* indices of its experts that got no token of the imatrix's text; NULL: none. Owned */
    uint64_t experts;   /* result of organ_experts_of_role, an argument of organ_importance_norms */
    organ_encoding_loss loss[ORGAN_LOSSES]; /* squares of the weights and of their errors; indices: ORGAN_LOSS .. */
    /* Error squares with the scales that map the greatest magnitudes to the largest codes, which the search improves;
     * for GGUF those of ggml's reference. 0 if `calibrated`, and for types for which there are none (Q4_K, Q5_K, Q6_K);
     * -1 if they exceed the range of FP32, so that they are not known. */
    double unsearched;
    bool calibrated; /* true: GPTQ chooses codes on the calibration text; false: each code is nearest to its weight */
    uint64_t matrices_done;                /* number of its matrices that GPTQ has encoded */
    double energy, gptq_loss, output_loss; /* sums of organ_gptq.energy, gptq_loss and loss */
    uint64_t tokens;                       /* calibration tokens; of a stack: those of the matrix with the fewest */
    bool block_diagonal;                   /* second moments were diagonal blocks (--moments blocks) */
    json_t *fallback;       /* indices of experts that were calibrated on all tokens of the layer; NULL: none. Owned */
    uint64_t masked, zeros; /* weights that pruning removed; codes that mean 0, including those of removed weights */
} organ_quantize_part;

typedef organ_served_inputs organ_quantize_inputs;
typedef struct organ_quantize_input_set organ_quantize_input_set;

/* Sets of matrices with one scale of inputs, of the layer that is measured. */
typedef struct organ_quantize_ranges {
    organ_quantize_input_set *sets; /* owned */
    size_t count, room;
    bool counted;      /* inputs are counted by magnitude (--activation-observer mse) */
    size_t unmeasured; /* number of matrices of experts with too few tokens */
} organ_quantize_ranges;

/* A target that is copied unchanged because its encoding cannot represent it. */
typedef struct organ_quantize_left {
    const organ_tensor *tensor;
    const char *why; /* the reason, as a sentence */
} organ_quantize_left;

typedef struct organ_quantize_widths organ_quantize_widths;
typedef struct organ_quantize_types organ_quantize_types;

/* A recipe: a set of rules of llama-quantize that gives each tensor of a GGUF model a type. */
typedef struct organ_recipe {
    const char *name;  /* name in --scheme, after "recipe:" */
    const char *base;  /* name of the encoding of tensors to which no rule applies */
    int64_t file_type; /* value of general.file_type */
} organ_recipe;

typedef struct organ_quantize_source organ_quantize_source;
typedef struct organ_quantize_mlx organ_quantize_mlx;
typedef struct organ_quantize_fused organ_quantize_fused;

/* The opened --imatrix. */
typedef struct organ_quantize_importance {
    organ_imatrix *file; /* NULL: none */
    char digest[17];     /* XXH3 of the file, in hexadecimal */
    size_t unweighted;   /* number of parts for which it has no entry, although it should */
    const organ_tensor *first_unweighted;
} organ_quantize_importance;

/* The tensors of the output, which are listed when all encodings are known. */
typedef struct organ_quantize_list {
    /* tensors of the output; a unit is the pieces of a part, whose index is organ_piece.item, or another tensor */
    organ_piece *pieces;
    size_t piece_count;
    organ_quantize_part *parts; /* the targets that are quantised */
    size_t part_count;
    size_t regrouped;              /* number of parts whose `encoding` differs from `preferred` */
    size_t clipped;                /* number of parts that have FP8 blocks clipped at the edge of the matrix */
    organ_quantize_left *left_out; /* targets that are copied unchanged */
    size_t left_out_count;
    organ_arena arena; /* owns names of new tensors and reasons in left_out */
} organ_quantize_list;

/* A run of the calibration text: job->along quantises the calibrated parts, job->measured measures the inputs of all
 * parts. */
typedef struct organ_quantize_walk {
    organ_calibration_run_options options;
    organ_calibration_work work;
    organ_targets targets;       /* tensors of the parts, in their order */
    organ_quantize_part **parts; /* of `along`: parts[k] is that of targets.tensors[k] */
    organ_calibration_run *run;  /* NULL: there is none */
    /* Second moments prepared for the last matrix; matrices with the same inputs share them. */
    organ_gptq_inputs inputs;
} organ_quantize_walk;

/* The adapter of --repair-rank. */
typedef struct organ_quantize_repair {
    organ_repair_adapter *adapter; /* NULL: none */
    organ_donor_target donor;
    char *output;   /* its directory; owned */
    char pair[17];  /* digest that the model and its adapter share */
    bool *changed;  /* for each tensor of the model: it is a calibrated target, which gets a correction; owned */
    bool named;     /* the run that is resumed has given the adapter its name */
    json_t *report; /* report of the run that made the adapter; owned */
} organ_quantize_repair;

/* --kv-cache: the run of the text that measures keys and values. */
typedef struct organ_quantize_cache {
    organ_calibration_run_options options;
    organ_calibration_work work;
    organ_targets targets;      /* none */
    organ_calibration_run *run; /* that of job->measured, if there is one, or its own. NULL: no --kv-cache */
    organ_cache_tap tap;
    const organ_forward_config *config;
    bool by_head;        /* a scale for each head of keys; false: for a layer */
    size_t heads;        /* largest number of heads of keys of a layer */
    const char **name;   /* for each layer the name of its attention; NULL: it has none. Owned, in the arena of names */
    float *scales;       /* for each layer `heads` numbers of keys, then of values; the first counts if not by_head */
    float *chunk;        /* greatest magnitudes of the heads in the chunk that runs, in the same order */
    double *rows, *sums; /* those of all chunks in the layer that runs; room for organ_calibration_sum_rows */
    size_t unit;         /* index in job->list.pieces of the first tensor of scales */
    size_t zero;         /* number of scales for which all keys or values were zero */
} organ_quantize_cache;

/* --mtp-scheme: what becomes of the block for multi-token prediction. */
typedef struct organ_quantize_block {
    bool keep, same;                     /* these words are given */
    bool regrouped;                      /* its groups are smaller than those of the scheme that is asked for */
    const organ_encoding *encoding;      /* a scheme of its own; NULL: none */
    const organ_quantize_inputs *inputs; /* with it: how servers round inputs; NULL: they do not */
    /* A flag for each tensor of the model: a matrix that this option decides about. NULL: the option is not given */
    bool *chosen;
} organ_quantize_block;

typedef struct organ_quantize_format organ_quantize_format;

typedef struct organ_quantize_job {
    const organ_quantize_options *options;
    const organ_quantize_pruning *pruning; /* NULL: none */
    const organ_quantize_source *source;   /* the conversion of the model (quantize_source.h); NULL: there was none */
    organ_model *opened;                   /* the model, if the caller has opened it and will close it; else NULL */
    const organ_write_origin *origin;      /* as in organ_write */
    const organ_engine *engine;
    const organ_progress *progress;
    const organ_quantize_format *format; /* of the output; NULL: the model is not open yet */
    const organ_encoding *encoding;      /* encoding of --scheme; of a recipe, its base */
    const organ_recipe *recipe;          /* the recipe of --scheme; NULL: none */
    bool blocks;                         /* second moments are diagonal blocks (--moments blocks) */
    organ_model *model;
    organ_weights *weights; /* all weights of the model, some of which are targets */
    organ_targets targets;  /* targets of --select, or the default ones */
    /* A flag for each tensor of the model: true for a target that no layer multiplies inputs by, so that GPTQ cannot
     * calibrate it. NULL: not computed, because --select is set or the method is not gptq. */
    bool *untapped;
    /* GGUF: a type for each tensor of the model, before the lengths of rows are checked. `fixed` has those of
     * --type-of, NULL entry: none; `recipe_types` those of the recipe, NULL entry: unchanged. NULL: no such option */
    const organ_encoding **fixed, **recipe_types;
    const organ_encoding **encodings; /* encoding of each tensor of the model; NULL entry: the tensor stays unchanged */
    organ_quantize_widths *widths;    /* state of --scheme mixed of safetensors models; NULL: another scheme */
    organ_quantize_types *types;      /* state of --scheme mixed of GGUF models; NULL: another scheme */
    organ_quantize_mlx *mlx;          /* state of an output for MLX (quantize_mlx.h); NULL: another output */
    organ_quantize_importance imatrix;
    organ_quantize_list list;
    organ_gguf_writer *writer;           /* key-values of a GGUF output; NULL: the output is safetensors */
    const organ_quantize_inputs *inputs; /* how servers round inputs; NULL: they do not */
    organ_quantize_ranges ranges;
    organ_quantize_block block;
    bool own_head;               /* the output head is not the embedding; known if an embedding is a target */
    organ_quantize_fused *fused; /* the sets that stay unquantised (quantize_fused.c); NULL: none */
    organ_quantize_walk along, measured;
    organ_quantize_cache cache;
    organ_quantize_repair repair;
    organ_plan plan;    /* dry run: memory and work, without reading the model and writing the output */
    organ_writing *run; /* the output; set when organ_write_run calls `decide` or `fill` */
} organ_quantize_job;

/* Returns whether no program of --for refuses matrices of this encoding. */
bool organ_quantize_readers_open(const organ_quantize_job *job, const organ_encoding *encoding);

/* Returns part k, for loops over all parts. Every 1,024th call releases the memory of the pages of all arrays of
 * organ_rows_take, which are mapped files if the model has very many tensors. */
static inline organ_quantize_part *organ_quantize_next_part(const organ_quantize_job *job, size_t k)
{
    organ_rows_passed();
    return &job->list.parts[k];
}

/* Returns the bytes that the weight has in the model; of one that is made of a part of a tensor, those of the part. */
static inline uint64_t organ_quantize_source_bytes(const organ_weight *weight)
{
    return weight->made ? weight->elements * organ_dtype_describe(weight->codes->dtype)->bytes : weight->codes->bytes;
}

/* ---- kinds of output ---- */

/* The functions in which outputs for compressed-tensors, MLX and GGUF differ. A member that is NULL does nothing.
 * Functions with an `error` return its status; they are called in this order. */
struct organ_quantize_format {
    /* Checks the opened model and sets job->weights. */
    organ_status (*open)(organ_quantize_job *job, organ_error *error);
    /* Checks and changes job->targets, when they are selected. */
    organ_status (*select)(organ_quantize_job *job, organ_error *error);
    /* Sets job->encodings; with scheme mixed opens what chooses them. */
    organ_status (*forms)(organ_quantize_job *job, organ_error *error);
    /* With scheme mixed: measures costs, or takes them from a file, and changes job->encodings. */
    organ_status (*decide)(organ_quantize_job *job, organ_error *error);
    /* Returns whether the output lacks a tensor of the model. */
    bool (*drops)(const organ_quantize_job *job, const organ_tensor *tensor);
    /* Returns the encoding that the options ask for, before the rows are checked; NULL: the tensor is no target. */
    const organ_encoding *(*preferred)(const organ_quantize_job *job, const organ_tensor *tensor);
    /* Returns why no encoding can represent a target, as a sentence; NULL: one can, or there is an error. */
    const char *(*obstacle)(organ_quantize_job *job, const organ_weight *weight, organ_error *error);
    /* Returns why loaders of safetensors models cannot read a target, whatever its scheme, as a constant sentence;
     * NULL: they can. For organ_quantize_obstacle. */
    const char *(*unreadable)(const organ_quantize_job *job, const organ_weight *weight);
    /* Appends the tensors that a part becomes to job->list.pieces and sets their indices and shapes in the part. */
    organ_status (*add)(organ_quantize_job *job, organ_quantize_part *part, organ_error *error);
    /* The last piece is an unchanged tensor: makes it what loaders have in its place.
     * `made`: the weight that is made of a part of the tensor; NULL: the tensor itself. */
    organ_status (*keep)(organ_quantize_job *job, const organ_tensor *tensor, const organ_weight *made,
                         organ_error *error);
    /* Completes and checks the list of parts and pieces. */
    organ_status (*list)(organ_quantize_job *job, organ_error *error);
    /* Opens what the output needs besides; the calibration text is open. */
    organ_status (*prepare)(organ_quantize_job *job, organ_error *error);
    /* Prints notes about the output before it is written. */
    void (*note)(const organ_quantize_job *job);
    /* Writes and measures what must be known or written before codes. */
    organ_status (*write)(organ_quantize_job *job, organ_error *error);
    /* Implements organ_write.edit. NULL: there is no config.json. */
    organ_status (*edit)(void *job, organ_json_edit *config, organ_error *error);
    void (*close)(organ_quantize_job *job); /* also after an error of any step */
};

/* Returns whether --method is gptq, which needs a calibration text. */
bool organ_quantize_by_text(const organ_quantize_options *options);
/* Returns whether the name of the model or of the output ends in .gguf. */
bool organ_quantize_names_gguf(const organ_quantize_options *options);

/* Writes codes and scales of the parts that are not calibrated; each code is the nearest to its weight. Returns the
 * errors of organ_weight_pass_run, and ORGAN_BAD_INPUT if a weight is not finite. */
organ_status organ_quantize_pass(organ_quantize_job *job, organ_error *error);
/* Returns ORGAN_USAGE if organ_quantize_pass would. */
organ_status organ_quantize_claim_pass(organ_quantize_job *job, organ_error *error);
/* Adds the memory and the work of organ_quantize_pass to job->plan. */
organ_status organ_quantize_estimate_pass(organ_quantize_job *job, organ_error *error);

/* Fails with ORGAN_BAD_INPUT: tensor `tensor` has NaN or infinite values. Returns that status. */
organ_status organ_quantize_refuse_values(const char *tensor, organ_error *error);

/* Writes NAME.weight_shape, the rows and columns of a part, if codes are packed, NAME.weight_global_scale if there is a
 * divisor, and a measured scale of inputs, NAME.input_global_scale or NAME.input_scale; does nothing for other parts.
 */
organ_status organ_quantize_put_shape(organ_quantize_job *job, const organ_quantize_part *part, organ_error *error);

/* Sets `divisor` or `whole_scale` of the parts that this run writes, if the encoding has a scale of the whole tensor:
 * reads all weights of these parts, and of those that servers fuse with them. Returns the errors of
 * organ_weight_pass_run, and ORGAN_BAD_INPUT if a weight is not finite. */
organ_status organ_quantize_find_scales(organ_quantize_job *job, organ_error *error);
/* Returns the bytes that progress counts for `rows` rows of a part in a pass: a part of them if several passes read its
 * weights. */
uint64_t organ_quantize_counted_bytes(const organ_quantize_part *part, uint64_t rows);
/* Multiplies n values by a power of 2. */
void organ_quantize_multiply(float *values, size_t n, float factor);
/* Returns whether --activation-scale is static. */
bool organ_quantize_static(const organ_quantize_options *options);
/* Returns whether static scales are those with the least squared error (--activation-observer mse). */
bool organ_quantize_by_error(const organ_quantize_options *options);
/* Returns whether parts get tensors of scales of their inputs, from a text. */
bool organ_quantize_measures(const organ_quantize_options *options);
/* Returns whether the options ask for scheme mixed of a GGUF model. */
bool organ_quantize_types_wanted(const organ_quantize_options *options);
/* Returns `path`, without slashes at its end, with `end` in place of ".gguf" or at its end. The caller frees it. NULL
 * if memory runs out. */
char *organ_quantize_name_beside(const char *path, const char *end);

/* ---- targets and tensors of the output ---- */

/* Returns whether the output is for MLX. */
static inline bool organ_quantize_is_mlx(const organ_quantize_job *job)
{
    return organ_encoding_kind(job->encoding) == ORGAN_KIND_MLX;
}
/* Returns whether a tensor is a target without --select: for MLX also token embeddings and output head. */
bool organ_quantize_is_target(const organ_quantize_job *job, const organ_tensor *tensor);
/* Returns whether the model is the GGUF file of a tower (mmproj). */
bool organ_quantize_is_tower(const organ_quantize_job *job);
/* A set of tensors that loaders read alike. */
typedef bool organ_quantize_alike(const organ_model *model, const organ_tensor *tensor);
/* Returns whether --select has the tensor's name or role, or a pattern that matches only tensors of the set `alike`;
 * false also after an error. */
bool organ_quantize_is_named(const organ_quantize_job *job, const organ_tensor *tensor, organ_quantize_alike *alike,
                             organ_error *error);
/* Returns whether the tensor is one of the block's matrices, and the option gives them another scheme than --scheme. */
static inline bool organ_quantize_has_own_scheme(const organ_quantize_job *job, const organ_tensor *tensor)
{
    return job->block.encoding && job->block.chosen && job->block.chosen[tensor - job->model->tensors];
}
/* Returns the encoding that the options ask for, for a target of a safetensors model. */
static inline const organ_encoding *organ_quantize_scheme_of(const organ_quantize_job *job, const organ_tensor *tensor)
{
    return organ_quantize_has_own_scheme(job, tensor) ? job->block.encoding : job->encoding;
}
/* Returns whether config.json must list several encodings: with mixed widths, or if parts have smaller groups than
 * job->encoding. */
bool organ_quantize_has_several_encodings(const organ_quantize_job *job);
/* Returns the index in job->list.pieces of a new tensor of the output, whose `shape` must outlive the job. */
size_t organ_quantize_add_piece(organ_quantize_job *job, const char *name, organ_dtype dtype, unsigned rank,
                                const uint64_t *shape);
/* Returns `weight`, a name that ends in "weight", with that end replaced: "X.weight" with `end` "weight_scale" gives
 * "X.weight_scale". The job's arena owns the result. NULL if memory cannot be allocated. */
const char *organ_quantize_name_next_to(organ_quantize_job *job, const char *weight, const char *end);
/* Returns whether nearest codes have the scale of the greatest magnitude, without a search: rows of int8-channel. A
 * smaller scale would cut off the largest weights of a row, which often meet the largest inputs: the outputs then lose
 * more than the squares of the weights' errors tell. */
static inline bool organ_quantize_keeps_scale(const organ_grid *grid)
{
    return grid->scale_of == ORGAN_SCALE_CHANNEL && grid->bits;
}
/* Returns the scale by which servers multiply inputs before they round their block scales: 448 x 6 / `greatest`. */
static inline float organ_quantize_input_scale(float greatest) { return fminf(448 * 6 / greatest, FLT_MAX); }
/* Computes the weight of each column of matrix number `matrix` of the part from the imatrix, and the root of the
 * weight. `weights` and `roots` get part->cols numbers each. Returns the errors of organ_importance_norms. */
organ_status organ_quantize_weigh(const organ_quantize_job *job, const organ_quantize_part *part, uint64_t matrix,
                                  float *weights, float *roots, organ_error *error);

/* ---- a calibration text ---- */

/* Returns the calibration run of the job, for reports; NULL: there is no text. */
static inline const organ_calibration_run *organ_quantize_text(const organ_quantize_job *job)
{
    const organ_calibration_run *const measured = job->measured.run ? job->measured.run : job->cache.run;
    return job->along.run ? job->along.run : measured;
}

/* Checks that a calibration run on `targets` can be opened: opens it and closes it again. Called before mixed widths
 * are measured, so that a long measurement does not end with an error of the text or of --memory. Returns the errors of
 * organ_calibration_run_open. */
organ_status organ_quantize_check_text(organ_quantize_job *job, const organ_targets *targets, organ_error *error);
/* Opens job->along.run, the calibration run for the calibrated parts, and then the pruning method if there is one.
 * Called after the parts of the output are listed. Returns ORGAN_USAGE if no part is calibrated, else the errors of
 * organ_calibration_run_open and of organ_quantize_pruning.open. */
organ_status organ_quantize_open_text(organ_quantize_job *job, organ_error *error);
/* Runs the calibration: quantises the calibrated parts layer by layer and writes their codes and scales. Returns the
 * errors of organ_calibration_run_layers and of the functions of organ_quantize_pruning. */
organ_status organ_quantize_calibrated(void *job, organ_error *error);
/* Returns the callbacks of the calibration run. */
organ_calibration_work organ_quantize_calibrated_work(organ_quantize_job *job);
/* Closes what organ_quantize_open_text opened, also after an error. */
void organ_quantize_close_text(organ_quantize_job *job);

/* ---- codes with an adapter (quantize_repair.c) ---- */

/* Opens the adapter of the calibrated targets. Returns the errors of organ_repair_adapter_open. */
organ_status organ_quantize_repair_open(organ_quantize_job *job, organ_error *error);
/* Makes the adapter with the codes of the calibrated targets, or takes the complete one of the interrupted run. */
organ_status organ_quantize_repair_write(organ_quantize_job *job, organ_status (*make)(void *job, organ_error *error),
                                         organ_error *error);
void organ_quantize_repair_close(organ_quantize_job *job);

/* ---- encodings of safetensors models ---- */

/* Implements organ_quantize_format.open for models that are not quantised. Returns ORGAN_USAGE for others. */
organ_status organ_quantize_open_safetensors(organ_quantize_job *job, organ_error *error);
/* Returns the reason why a safetensors encoding cannot represent a target, as a constant sentence; NULL if the job's
 * encoding can, or the one with the same bits and smaller groups. */
const char *organ_quantize_obstacle(organ_quantize_job *job, const organ_weight *weight, organ_error *error);
/* Returns the encoding that the options ask for a tensor of a safetensors model; NULL: it is no target. */
const organ_encoding *organ_quantize_preferred(const organ_quantize_job *job, const organ_tensor *tensor);
/* Notes targets with smaller groups than the scheme's, if there are any. Valid after the parts are listed. */
void organ_quantize_note_regrouped(const organ_quantize_job *job);
/* Returns the number of quantised tensors of routed experts. */
size_t organ_quantize_packed_experts(const organ_quantize_job *job);
/* Returns the number of matrices of routed experts that are not quantised. Does not count stacks, which store all
 * experts of a layer in one tensor. Valid after the parts are listed. */
size_t organ_quantize_plain_experts(const organ_quantize_job *job);
/* Sets job->encodings of a safetensors model. Returns ORGAN_USAGE if --select matches only some of the routed experts
 * of a layer, ORGAN_BAD_INPUT if no single encoding fits all routed
 * experts, ORGAN_IO if memory cannot be allocated. */
organ_status organ_quantize_forms(organ_quantize_job *job, organ_error *error);

/* ---- journal and report ---- */

/* Returns the figures of a finished part for its journal line, a new object. NULL if memory runs out. */
json_t *organ_quantize_results(const organ_quantize_part *part);
/* Implements organ_write.recall: restores the figures of part number `part` from its journal line. Returns false if
 * they are malformed. */
bool organ_quantize_recall(void *job, size_t part, const json_t *results);

#endif
