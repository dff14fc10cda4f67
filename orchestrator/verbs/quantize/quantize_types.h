/* SPDX-License-Identifier: MIT
 * Scheme mixed: the types of GGUF tensors and the widths of safetensors tensors that fit a size. */
#ifndef ORGAN_VERBS_QUANTIZE_QUANTIZE_TYPES_H
#define ORGAN_VERBS_QUANTIZE_QUANTIZE_TYPES_H

#include "orchestrator/verbs/quantize/quantize_parts.h"

/* ---- state of mixed widths ---- */

/* Mixed widths: state shared by the sources that choose widths and report them.
 *
 *   level    index of organ_width_levels: a number of bits, with wide groups (even) or groups of 32 columns (odd)
 *   curve    cost of a tensor at each level, in nats per token; all routed experts of a layer and role share a curve
 *   choice   a set of targets that get the same level; its cost is the sum of the curves of its tensors */

/* Number of levels of a choice: those of organ_width_levels, and a last one that leaves its tensors unchanged. */
#define ORGAN_WIDTH_CHOICES (ORGAN_WIDTH_LEVELS + 1)

/* A choice: one tensor, or the experts of a layer and role; all routed experts are one choice. With --one-width
 * also the matrices that servers multiply as one (formats/tensor/fused.h). */
typedef struct organ_quantize_choice {
    const organ_tensor *first; /* its first tensor */
    size_t curve;              /* index in organ_quantize_widths.curves of the curve of its first tensor */
    size_t group; /* columns of a wide group: the largest of 128, 64 and 32 that divides the rows of all its tensors */
    double unchanged_bits; /* bits of its tensors in the source model */
} organ_quantize_choice;

/* State of the division of a budget of bits. */
struct organ_quantize_widths {
    organ_quantize_job *job;
    organ_targets targets;          /* the targets that the scheme can represent */
    organ_allocation curves;        /* one curve per tensor; the experts of a layer and role share one */
    organ_allocation choices;       /* costs of the choices; `sparsity` of a choice is a level while exchanges run */
    organ_quantize_choice *details; /* details[c] describes choice c */
    size_t *choice_of;              /* choice_of[k]: index of the choice of targets.tensors[k] */
    size_t *curve_of;               /* curve_of[k]: index of the curve of targets.tensors[k] */
    size_t *choice_of_curve;        /* choice_of_curve[t]: index of the choice of curve t */
    size_t *chosen;                 /* chosen[c]: level of choice c; ORGAN_WIDTH_LEVELS: unchanged */
    double *sizes; /* bits of the tensors of each choice at each level, [choices][ORGAN_WIDTH_CHOICES] */
    /* Bits that the targets may occupy, including scales; bits that they occupy at the chosen levels. */
    double budget, spent;
    size_t uniform;                     /* highest level that is within the budget if all choices have it */
    bool copied;                        /* the targets fit into the budget unquantised */
    bool provisional;                   /* a dry run does not know all costs, or has not made the exchanges */
    json_t *identity;                   /* model, text and options on which the curves depend */
    organ_curves_work work;             /* callbacks of `walk` */
    organ_curves *walk;                 /* the run that measures curves; NULL: not open */
    organ_exchanges_work exchange_work; /* callbacks of the exchanges between pairs of choices */
    organ_exchanges_report exchanged;   /* results of the exchanges; zero if there were none */
    organ_gptq_inputs inputs;           /* second moments prepared for the last matrix */
    const organ_calibration *inputs_of; /* the calibration that `inputs` are prepared from; NULL: they are closed */
    int32_t layer;                      /* layer to which `inputs` belong */
    size_t tokens, windows;             /* of the text on which costs are measured */
};

/* Returns the cost of a curve or a choice at a level, in nats per token; 0 at level ORGAN_WIDTH_LEVELS (unchanged). */
static inline double organ_quantize_width_cost(const organ_allocation_tensor *tensor, size_t level)
{
    return level < ORGAN_WIDTH_LEVELS ? tensor->cost[level] : 0;
}

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
    json_t *identity;           /* model, text and options on which the costs depend */
    organ_curves_work work;     /* callbacks of `walk` */
    organ_curves *walk;         /* the run that measures; NULL: not open */
    organ_gptq_inputs inputs;   /* second moments prepared for the last matrix */
    size_t tokens, windows;     /* of the text on which costs are measured; 0: costs are from a file */
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

/* Returns whether the options ask for scheme mixed of a GGUF model. */
bool organ_quantize_types_wanted(const organ_quantize_options *options);
/* Implements organ_plan_verb for such options: `call`, an organ_quantize_call, has a function that makes each size. */
organ_status organ_quantize_sizes(const void *call, const organ_engine *engine, const organ_progress *progress,
                                  json_t **report, organ_error *error);
/* Returns ORGAN_USAGE if a word of --target-size is no size, or two are equal. */
organ_status organ_quantize_sizes_check(const organ_quantize_options *options, organ_error *error);
/* Returns `path`, without slashes at its end, with `end` in place of ".gguf" or at its end. The caller frees it. NULL
 * if memory runs out. */
char *organ_quantize_name_beside(const char *path, const char *end);
/* Returns ORGAN_USAGE if the options do not fit scheme mixed of a GGUF model. */
organ_status organ_quantize_types_check(const organ_quantize_options *options, organ_error *error);
/* Creates job->types: lists the tensors that get a type, and opens the text on which costs are measured. Returns
 * ORGAN_USAGE if the smallest types are too large, and the errors of organ_curves_open. */
organ_status organ_quantize_types_open(organ_quantize_job *job, organ_error *error);
/* Chooses the type of each tensor: takes the costs from the journal or --allocation FILE, or measures them, then solves
 * the integer programme. Sets job->encodings. A dry run assumes costs that are not known. Returns the errors of
 * organ_curves_run and organ_curves_recall. */
organ_status organ_quantize_types_decide(organ_quantize_job *job, organ_error *error);
void organ_quantize_types_close(organ_quantize_types *types); /* NULL is allowed */

/* ---- mixed widths ---- */

/* Returns ORGAN_USAGE if --allocate, --budget, --one-width and --method do not fit the scheme. `mixed`: the scheme is
 * "mixed". */
organ_status organ_quantize_widths_check(const organ_quantize_options *options, bool mixed, organ_error *error);
/* Creates job->widths: lists the targets, and opens the text on which costs are measured. Returns ORGAN_USAGE if the
 * budget is too small, and the errors of organ_curves_open. */
organ_status organ_quantize_widths_open(organ_quantize_job *job, organ_error *error);
/* Finds the width of each target: takes the costs of widths from the journal or --allocation FILE, or measures them in
 * nats per token; then divides the budget of bits. Sets job->encodings. A dry run assumes costs that are not known, and
 * makes no exchanges. Returns the errors of organ_curves_run, organ_curves_recall and organ_exchanges_run. */
organ_status organ_quantize_widths_decide(organ_quantize_job *job, organ_error *error);
void organ_quantize_widths_close(organ_quantize_widths *widths); /* NULL is allowed */

#endif
