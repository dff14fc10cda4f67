/* SPDX-License-Identifier: MIT
 * Outputs in GGUF: recipes, types of single tensors, importance matrix, types that fit a size. */
#ifndef ORGAN_VERBS_QUANTIZE_GGUF_QUANTIZE_GGUF_H
#define ORGAN_VERBS_QUANTIZE_GGUF_QUANTIZE_GGUF_H

#include "orchestrator/verbs/quantize/codes/quantize_parts.h"

extern const organ_quantize_format organ_quantize_gguf;

/* ---- encodings of GGUF models: recipes ---- */

/* Returns the recipe that a value of --scheme names in any case: "recipe:q4_k_m", also without "recipe:" unless that
 * names an encoding. NULL: it names none, or one with a type that organ does not write. */
const organ_recipe *organ_recipe_named(const char *scheme);
/* Returns recipe k of all, also of those that organ_recipe_named does not return; NULL after the last. */
const organ_recipe *organ_recipe_at(size_t k);
/* Returns whether llama-quantize quantises the tensor of a GGUF model: a matrix or a stack of matrices that is no norm,
 * router, position or other small table. */
bool organ_recipe_quantises(const organ_model *model, const organ_tensor *tensor);
/* Returns the encoding of a matrix of a block for multi-token prediction: `usual`, but Q8_0 for the projection if
 * `usual` has fewer bits. NULL: it is of no block, or none that is quantised. */
const organ_encoding *organ_recipe_block_type(const organ_model *model, const organ_tensor *tensor,
                                              const organ_encoding *usual);
/* Sets types[t] to the type that the recipe gives tensor t of the model, before the lengths of rows are checked; NULL:
 * it stays unchanged. `weighed`: there is an imatrix. Tensors with an entry in `fixed` (NULL: none) get NULL and do not
 * count in rules on the order of tensors, as with --tensor-type of llama-quantize. Returns ORGAN_IO if memory cannot be
 * allocated. */
organ_status organ_recipe_types(const organ_recipe *recipe, const organ_model *model, bool weighed,
                                const organ_encoding *const *fixed, const organ_encoding **types, organ_error *error);

/* ---- types of single tensors ---- */

/* Returns the encoding of GGUF models with this name; NULL if there is none. */
const organ_encoding *organ_quantize_type_named(const char *name);
/* An entry of job->fixed: the tensor stays unchanged. */
extern const organ_encoding organ_quantize_keep;
/* Sets job->fixed from --type-of. Returns ORGAN_USAGE for a malformed word, an unknown type, and a pattern that matches
 * no matrix that organ_recipe_quantises; ORGAN_IO if memory cannot be allocated. */
organ_status organ_quantize_fix_types(organ_quantize_job *job, organ_error *error);

/* Returns the encoding that a word in lower case names in --type-of: a scheme for GGUF, f16, bf16, f32, or
 * organ_quantize_keep; NULL: none. */
const organ_encoding *organ_quantize_type_of_word(const char *word);
/* Sets the entries of job->fixed of the block's matrices of a GGUF model that have none. */
organ_status organ_quantize_block_types(organ_quantize_job *job, organ_error *error);

/* ---- tensors of GGUF models ---- */

/* Returns ORGAN_USAGE if a part gets a type that needs importances of the columns: for runs without --imatrix and text.
 */
organ_status organ_quantize_gguf_check_weighed(const organ_quantize_job *job, organ_error *error);
/* Opens --imatrix, if it is set, and finds the entry of each part. Returns ORGAN_BAD_INPUT if a part needs an entry and
 * has none, and the errors of organ_imatrix_open. */
organ_status organ_quantize_gguf_open_imatrix(organ_quantize_job *job, organ_error *error);
/* Returns the errors of organ_importance_check, with advice. */
organ_status organ_quantize_gguf_check_entry(const organ_quantize_job *job, const organ_tensor *tensor,
                                             uint64_t experts, organ_error *error);
/* Creates job->writer: the key-values of the model, and those that name the encoding and the imatrix. */
organ_status organ_quantize_gguf_metadata(organ_quantize_job *job, organ_error *error);

/* Returns whether the tensor is a table of tokens, such as one of each layer. Those of positions and types are small
 * and stay unchanged. */
bool organ_quantize_gguf_is_table(const organ_tensor *tensor);
/* Returns whether the tensor is the table of token embeddings; whether it is the output head, which may be the same. */
bool organ_quantize_gguf_is_embedding(const organ_tensor *tensor);
bool organ_quantize_gguf_is_head(const organ_model *model, const organ_tensor *tensor);

/* ---- state of types by size ---- */

/* Types by size: state shared by the sources that choose types, measure their costs and report them.
 *
 *   type     index of organ_quantize_types.types; type_count: the tensor stays unchanged
 *   curve    the costs of a tensor; experts of a layer and role in several tensors share one
 *
 * `cost` of an organ_allocation_tensor in a layer: divergences of the far and the near anchor, the errors of outputs of
 * the two with the nearest codes, relative to the outputs, then those of all types for each way in which codes are
 * chosen (organ_types_way). For embeddings and output head, the divergence of each type is there in place of its first
 * error. */
#define ORGAN_TYPES_DEFINITION "allocate-types/3"
#define ORGAN_TYPES_FAR        ((size_t)0)
#define ORGAN_TYPES_NEAR       ((size_t)1)
#define ORGAN_TYPES_FAR_ERROR  ((size_t)2)
#define ORGAN_TYPES_NEAR_ERROR ((size_t)3)
#define ORGAN_TYPES_FIRST      ((size_t)4)

/* How codes are chosen: by GPTQ, which files of a run with method nearest lack; nearest to the weights, or so with
 * columns weighted by the mean squares of the inputs, as with an imatrix. */
typedef enum organ_types_way {
    ORGAN_TYPES_GPTQ,
    ORGAN_TYPES_NEAREST,
    ORGAN_TYPES_WEIGHTED,
    ORGAN_TYPES_WAYS
} organ_types_way;
#define ORGAN_TYPES ((ORGAN_ALLOCATION_LEVELS - ORGAN_TYPES_FIRST) / ORGAN_TYPES_WAYS) /* most types */

struct organ_quantize_types {
    organ_quantize_job *job;
    const organ_encoding *types[ORGAN_TYPES];
    bool allowed[ORGAN_TYPES]; /* by --types */
    size_t type_count;
    char names[320];                        /* of all types, separated by commas */
    bool by_text;                           /* GPTQ chooses the codes */
    double levels[ORGAN_ALLOCATION_LEVELS]; /* of `curves`: bits per weight of the types */
    bool measured[ORGAN_ALLOCATION_LEVELS]; /* of `curves` */
    organ_targets targets, inner;           /* the tensors that get a type; those of them in layers */
    size_t *curve_of, *inner_curve_of;      /* of each of these tensors */
    organ_allocation curves;
    uint64_t *matrices_of; /* number of matrices of a curve */
    double *energies;      /* outputs of the sampled rows of a curve so far; -1: its errors are finished */
    uint64_t *sizes;       /* bytes of a curve's tensors in each type, and unchanged: [curves][type_count + 1] */
    double *costs;         /* in nats per token, in the same order */
    size_t *chosen;        /* type of each curve */
    size_t kept, unfit;    /* unchanged curves: those that a type fits, and those that no allowed type makes smaller */
    organ_programme programme;
    uint64_t header, alignment; /* bytes before the data of the tensors; that of each tensor begins at a multiple */
    uint64_t other;             /* bytes of the tensors without a curve */
    uint64_t elements;          /* weights of the model */
    uint64_t requested, bytes;  /* bytes of the request, and of the chosen types, in its unit */
    int64_t file_type;          /* value of general.file_type */
    bool provisional;           /* costs are not measured: a dry run */
    organ_curves_store store;   /* of the costs; its tokens are 0 if they are from a file */
    organ_curves_work work;     /* callbacks of `walk` */
    organ_curves *walk;         /* the run that measures; NULL: not open */
    organ_gptq_inputs inputs;   /* second moments prepared for the last matrix */
};

/* Returns whether rows of `cols` values are whole blocks of the type. */
static inline bool organ_quantize_type_fits(const organ_quantize_types *types, size_t type, size_t cols)
{
    return cols % organ_dtype_describe(types->types[type]->codes)->elements == 0;
}
static inline double organ_quantize_type_bits(const organ_quantize_types *types, size_t type)
{
    const organ_dtype_info *const info = organ_dtype_describe(types->types[type]->codes);
    return 8.0 * (double)info->bytes / (double)info->elements;
}
/* Returns the index in `cost` of a type's error if codes are chosen in this way. */
static inline size_t organ_quantize_type_level(const organ_quantize_types *types, organ_types_way way, size_t type)
{
    return ORGAN_TYPES_FIRST + way * types->type_count + type;
}
/* Returns the measured cost of a type with the codes that this run chooses, in nats per token; 0 for an unchanged
 * tensor. */
double organ_quantize_type_cost(const organ_quantize_types *types, size_t curve, size_t type);
/* Implement organ_curves_work. */
organ_status organ_quantize_make_anchor(void *types, const organ_calibration_matrix *matrix, size_t level,
                                        float *weights, organ_error *error);
uint64_t organ_quantize_anchor_memory(void *types, const organ_tensor *tensor);
/* Measures embeddings and output head; types->walk is open. */
organ_status organ_quantize_measure_ends(organ_quantize_types *types, organ_error *error);

/* ---- types by size ---- */

/* Creates job->types: lists the tensors that get a type, and opens the text on which costs are measured. Returns
 * ORGAN_USAGE if the smallest types are too large, and the errors of organ_curves_open. */
organ_status organ_quantize_types_open(organ_quantize_job *job, organ_error *error);
/* Chooses the type of each tensor: takes the costs from the journal or --allocation FILE, or measures them, then solves
 * the integer programme. Sets job->encodings. A dry run assumes costs that are not known. Returns the errors of
 * organ_curves_run and organ_curves_recall. */
organ_status organ_quantize_types_decide(organ_quantize_job *job, organ_error *error);
void organ_quantize_types_close(organ_quantize_types *types); /* NULL is allowed */

#endif
