/* SPDX-License-Identifier: MIT
 * Declarations that the sources of an extraction share: lora_extract.c runs it, extract_plan.c pairs the weights,
 * extract_rest.c compares weights that get no factors, extract_module.c decomposes modules, extract_batch.c makes the
 * units, extract_document.c makes the report. */
#ifndef ORGAN_VERBS_LORA_LORA_PARTS_H
#define ORGAN_VERBS_LORA_LORA_PARTS_H

#include "formats/base/arena.h"
#include "formats/tensor/module_names.h"
#include "orchestrator/output/head.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/inputs.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/solve/correction.h"
#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/surgery/write/write.h"
#include "orchestrator/surgery/adapter/adapter.h"
#include "orchestrator/surgery/calibration/donor_target.h"

#include <organ/lora.h>
#include <organ/weights.h>

/* The numbered experts of a layer. transformers stacks their weights in the parameters "NAME.gate_up_proj" and
 * "NAME.down_proj". */
typedef struct organ_lora_group {
    const char *file, *name; /* name before the numbers of the experts, in the files and in transformers */
    size_t experts;          /* number of experts in the base */
    size_t modules[3];       /* numbers of modules of the extraction: gate, up and down projections */
    size_t rank;             /* largest rank that factors of the experts can have, at most --rank */
    bool differs;            /* the experts have different shapes */
    bool pairs;              /* gate and up projections get factors, not only down projections */
    bool stacked;            /* peft stacks the factors when it loads them; else it ignores them */
    bool changed;            /* an expert changed; all experts then get factors of the same rank */
} organ_lora_group;

/* A linear layer, or a stack of experts, whose change dW = W_tuned - W_base is stored as factors. */
typedef struct organ_lora_module {
    const organ_weight *base, *tuned;
    char *name;              /* name of the module in the files, without ".weight"; owned */
    const char *target;      /* name of the module in transformers, for adapter_config.json */
    const char *key;         /* name of the module in the adapter's tensors: `target`, or `name` if peft renames it */
    organ_lora_group *group; /* of a numbered expert; NULL: none */
    bool touched;            /* organ_lora_find_changed_experts found a difference */
    bool as_weight;          /* peft reaches the module only by its parameter "KEY.weight" */
    char *note;              /* notes of the weight readers, one for each line; owned; NULL: none */
    float *spectrum; /* `rank` largest singular values of dW; for a stack the values that organ_lora_put_in_stack
                        combines; owned */
    /* peft stores some stacks of experts as a bare parameter of a module ("experts.down_proj"), not as a module. It
     * wraps the module once for each of its parameters that has factors; the wrapper of the second parameter contains
     * that of the first. */
    bool parameter; /* this weight is such a parameter; `name` is the name of the parameter */
    bool paired;    /* both parameters of the module are in job->modules */
    bool inner;     /* paired, and the wrapper of this parameter is the inner one */
    bool turned;    /* the base stores the matrices as in_features x out_features */
    /* Rank of the factors; 0: unchanged; in a dry run an upper bound. The processes of the run exchange the members
     * from here on, which contain no pointers. */
    size_t rank;
    double change, norm; /* ||dW||^2, ||W_base||^2 */
    double rest;         /* ||dW - B A||^2 with the factors as stored, rounded to job->dtype */
    /* With a calibration text, per token: squared norms of the outputs of W_tuned, of their error in the base, and of
     * the error with the adapter. */
    double outputs, outputs_before, outputs_after;
    bool short_of_share; /* the requested share of energy would need a higher rank than --rank */
    unsigned passes;     /* passes over dW that the decomposition made; for a stack the largest number for an expert */
    double seconds;      /* time of organ_lora_compute */
} organ_lora_module;

/* A weight of one or both models that gets no factors. The code calls these the other weights. */
typedef struct organ_lora_other {
    const organ_weight *base, *tuned; /* NULL: that model does not have it */
    const char *why;                  /* reason why the two weights cannot be compared; NULL: they can */
    const char *reason;               /* reason why it gets no factors; NULL: its kind */
    char *note;                       /* notes of the weight readers; owned; NULL: none */
    bool kept;                        /* --save-full stores the tuned weight whole in the adapter */
    const char *key;                  /* its name in transformers, if `kept` */
    bool bare;                        /* peft ignores the stored tensor: it is no weight or bias of a module */
    double change, norm;              /* ||W_tuned - W_base||^2, ||W_base||^2; 0 if not compared */
} organ_lora_other;

/* The state of one extraction. */
typedef struct organ_lora_job {
    const organ_lora_extract_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_plan plan;   /* of a dry run */
    organ_dtype dtype; /* type of the factors */
    double share;      /* --rank-by: share of ||dW||^2 that the factors must explain; 0: every module has `rank` */
    organ_model *base, *tuned;
    organ_weights *base_weights, *tuned_weights;
    organ_lora_orientation orientation;       /* of the base */
    size_t module_count, other_count, packed; /* packed: number of modules whose base weight is packed */
    organ_lora_module *modules;               /* in the order of the tuned model's tensors */
    size_t group_count;
    organ_lora_group *groups; /* numbered experts, by layer; NULL: none */
    const char **base_names;  /* names in transformers of the base's weights */
    organ_arena names;        /* memory of names in transformers */
    organ_lora_other *others;
    organ_assignment module_assignment, other_assignment; /* which rank processes which module or other weight */
    /* Notes of the weight readers, each text once; further texts are not kept. `compared_notes` is the value of
     * note_count after organ_lora_compare. */
    size_t note_count, compared_notes;
    char *notes[8];
    /* Address of the member `note` of the module or other weight that is being read; organ_lora_note appends to it. */
    char **note_target;
    bool comparing; /* the comparison of organ_lora_compare is running */
    /* Units of the adapter, and for each the module or, if `module` is NULL, the other weight that it stores. */
    organ_piece *units;
    struct organ_lora_content {
        organ_lora_module *module;
        organ_lora_other *other;
    } * contents;
    organ_adapter_making making;
    organ_adapter_writer *writer; /* while the units are made; else NULL */
    /* With a calibration text: the walk through the tuned model, its targets and for each the index of its unit; the
     * factors of stacks of which some matrices are done, for each module. */
    organ_calibration_run_options walk;
    organ_calibration_work work;
    organ_calibration_run *calib;
    organ_targets targets;
    organ_donor_target donor;
    size_t *unit_of;
    organ_lora_factors *stacks;
    uint64_t *stack_done; /* number of matrices that are done, for each module */
    bool *untapped;
    bool blocks;  /* --moments blocks */
    bool repairs; /* factors are chosen for the outputs on a calibration text */
    /* makes the units of the modules with fill_context */
    organ_status (*fill)(void *context, organ_adapter_writer *writer, organ_error *error);
    void *fill_context;
    bool inner; /* the factors come from another verb (repair_adapter.h): there is no walk here */
} organ_lora_job;

/* Opens the model at `path` both as job->base and as job->tuned, for an adapter of changes that another verb makes, and
 * checks the output. Returns the errors of organ_donor_open and organ_output_check. */
organ_status organ_lora_open(organ_lora_job *job, const char *path, organ_error *error);
/* Writes the adapter of the planned modules: `fill` makes their units with `context`. */
organ_status organ_lora_make_adapter(organ_lora_job *job, void *context,
                                     organ_status (*fill)(void *context, organ_adapter_writer *writer,
                                                          organ_error *error),
                                     json_t **report, organ_error *error);
void organ_lora_close(organ_lora_job *job); /* frees all members */

/* Fills job->modules and job->others. Returns ORGAN_USAGE if a pattern of --select matches no linear layer of both
 * models; ORGAN_BAD_INPUT if a module has different shapes in the two models, or there is no module; ORGAN_IO without
 * memory. */
organ_status organ_lora_plan(organ_lora_job *job, organ_error *error);

/* Returns the name of a weight or module of the files in transformers, in the memory of the job; for a GGUF model the
 * name itself. *form becomes how transformers loads it. NULL if memory runs out. */
const char *organ_lora_name_in_transformers(organ_lora_job *job, const char *name, organ_module_form *form);

/* Fills job->groups and sets the groups of the modules. Returns ORGAN_IO if memory runs out. */
organ_status organ_lora_group_experts(organ_lora_job *job, organ_error *error);

/* Sets organ_lora_group.changed of all groups, on all ranks. Reads weights until a difference is found. */
organ_status organ_lora_find_changed_experts(organ_lora_job *job, organ_error *error);

/* Returns the largest rank of the factors for this weight of the base, or for each matrix of the stack: --rank, but not
 * more rows or columns than the matrix has. */
static inline size_t organ_lora_max_rank(const organ_lora_job *job, const organ_weight *base)
{
    const organ_matrices shape = organ_weight_matrices(base);
    return organ_min(job->options->rank, organ_min((size_t)shape.rows, (size_t)shape.cols));
}

/* Returns the rank of the factors that the adapter has for the module; 0: none. It exceeds m->rank for an unchanged
 * parameter that is paired, which gets zeros of rank 1 because peft names wrappers by their number, and for experts of
 * a group, whose factors get zeros. */
size_t organ_lora_stored_rank(const organ_lora_module *module);

/* Returns ORGAN_USAGE if decomposing a module needs more memory than --memory. The message has the amount that is
 * enough for all modules. */
organ_status organ_lora_check_memory(organ_lora_job *job, organ_error *error);

/* Returns whether the other weight changed or cannot be compared. Valid after organ_lora_compare. */
bool organ_lora_other_changed(const organ_lora_other *other);

/* Sets `change` and `norm` of all other weights that can be compared, on all ranks, and job->notes. */
organ_status organ_lora_compare(organ_lora_job *job, organ_error *error);

/* Implements --save-full: sets `kept`, `key` and `bare` of the changed other weights that are stored whole. */
organ_status organ_lora_keep(organ_lora_job *job, organ_error *error);

/* Returns the type in which the adapter has a weight that is stored whole. */
organ_dtype organ_lora_kept_type(const organ_lora_job *job, const organ_lora_other *other);

/* Returns the name under which peft stores the tensor X.weight whole: "base_model.model.X.weight" with the name X of
 * transformers, or "base_model.model.X.base_layer.weight" if peft wraps X, which has factors. All modules must have
 * their results. The name is in the memory of the job; NULL if that runs out. */
const char *organ_lora_kept_name(organ_lora_job *job, const organ_lora_other *other);

/* Makes the unit of a packed weight that is stored whole: its dequantised values. */
organ_status organ_lora_store_packed(organ_lora_job *job, organ_lora_other *other, organ_error *error);

/* Sets *differs to whether any module of the tuned model differs from the base; reads up to the first that does. */
organ_status organ_lora_differs(organ_lora_job *job, bool *differs, organ_error *error);

/* The change of a module: open readers, and the factors once they are computed. */
typedef struct organ_lora_change {
    organ_weight_reader *tuned, *base;
    char notes[2][256]; /* of the readers */
    uint64_t start;     /* first row of the matrix that is read, counted over the matrices of the weight */
    size_t cols;        /* columns of the matrix */
    size_t base_bytes;  /* bytes at the beginning of the scratch that are for rows of W_base */
    double *norms;      /* ||W_base||^2 of each strip of ORGAN_STRIP_ROWS rows */
    /* in job->dtype, of the stack or of the only matrix; empty: not computed, or the only matrix is unchanged */
    organ_lora_factors factors;
} organ_lora_change;

/* Opens the readers. The caller closes *change, also after an error. */
organ_status organ_lora_change_open(const organ_lora_job *job, const organ_lora_module *module,
                                    organ_lora_change *change, organ_error *error);
void organ_lora_change_close(organ_lora_change *change);
/* Returns the bytes with which organ_lora_compute on `workers` threads reads the weights once. */
uint64_t organ_lora_change_bytes(const organ_lora_job *job, const organ_lora_module *module, organ_lora_change *change,
                                 size_t workers);
/* Decomposes the change with the threads and the memory of `engine`, and sets change->factors, and of the module
 * spectrum, rank and the members after rank. Modules may be computed at the same time, each with its own engine.
 * Returns errors of reading and of organ_low_rank. */
organ_status organ_lora_compute(const organ_lora_job *job, organ_lora_module *module, const organ_engine *engine,
                                organ_lora_change *change, organ_error *error);
/* Adds the computed factors to the current unit. Returns errors of the adapter writer. */
organ_status organ_lora_store(organ_lora_job *job, organ_lora_module *module, organ_lora_change *change,
                              organ_error *error);

/* Makes all units that have no contents yet (extract_batch.c). The results do not depend on threads and memory.
 * Returns the error of the first unit that fails. */
organ_status organ_lora_make_units(organ_lora_job *job, organ_error *error);

/* Rounds the factors of a matrix to job->dtype. */
void organ_lora_round_factors(const organ_lora_job *job, organ_lora_factors *f);

/* Rounds the factors of a module's only matrix to job->dtype, adds them to the current unit, and sets rank and spectrum
 * of the module; `sigma`: a singular value for each row of f->a. Returns errors of the adapter writer, and ORGAN_IO if
 * memory cannot be allocated. */
organ_status organ_lora_write_matrix(organ_lora_job *job, organ_lora_module *module, organ_lora_factors *f,
                                     const float *sigma, organ_error *error);
/* Rounds the factors of a matrix to job->dtype, copies them to matrix `expert` of the stack, and extends rank and
 * spectrum of the module; `sigma` as above. */
void organ_lora_put_in_stack(const organ_lora_job *job, organ_lora_module *module, organ_lora_factors *f,
                             const float *sigma, const organ_lora_factors *stack, size_t expert);
/* Adds the zeros of a matrix that did not change to the current unit, if the adapter needs them. */
organ_status organ_lora_write_zeros(organ_lora_job *job, const organ_lora_module *module, organ_error *error);

/* Allocates the factors of a stack, all 0, and the spectrum of its module; after organ_lora_put_in_stack for each
 * matrix, organ_lora_write_stack adds them to the current unit. The caller releases *stack, also after an error. */
organ_status organ_lora_begin_stack(const organ_lora_job *job, organ_lora_module *module, organ_lora_factors *stack,
                                    organ_error *error);
organ_status organ_lora_write_stack(organ_lora_job *job, const organ_lora_module *module, organ_lora_factors *stack,
                                    organ_error *error);

/* ---- repair by a calibration text (extract_repair.c) ---- */

/* Sets job->untapped: the tensors of the tuned model that no layer of its forward pass multiplies inputs by. Called
 * before organ_lora_plan. Returns ORGAN_USAGE for options that contradict a calibration text, and the errors of
 * organ_calibration_find_untapped. */
organ_status organ_lora_repair_prepare(organ_lora_job *job, organ_error *error);
/* Allocates what matrices of modules need while they come one by one: targets, unit_of, stacks, stack_done. Called
 * after organ_lora_plan. Returns ORGAN_USAGE or ORGAN_BAD_INPUT for a module whose original is quantised or transposed.
 */
organ_status organ_lora_repair_room(organ_lora_job *job, organ_error *error);
/* Opens the walk of the calibration text through the tuned model, in place of organ_lora_check_memory, after
 * organ_lora_plan. Returns the errors of organ_calibration_run_open. */
organ_status organ_lora_repair_open(organ_lora_job *job, organ_error *error);
/* Makes the units of the modules, layer by layer. Returns the errors of organ_calibration_run_layers and of the adapter
 * writer. */
organ_status organ_lora_repair_modules(organ_lora_job *job, organ_error *error);
void organ_lora_repair_close(organ_lora_job *job);

/* Sets job->unit_of; target k is module k. Called when the units are listed. */
void organ_lora_number_units(organ_lora_job *job);
/* Computes the best correction of `errors` (organ_correct), rounds its factors, and adds its figures to the module's.
 * *f is a view into *c, which the caller releases, also after an error. */
organ_status organ_lora_correct(const organ_lora_job *job, organ_lora_module *module, const float *errors, size_t rows,
                                const organ_block_matrix *h, organ_correction *c, organ_lora_factors *f,
                                organ_error *error);
/* Adds the factors of a matrix to the adapter, and completes the unit of its module if this is the last matrix.
 * `target`: index of the module. The current unit may not be begun. Returns errors of the adapter writer. */
organ_status organ_lora_store_correction(organ_lora_job *job, size_t target, uint64_t matrix, organ_lora_factors *f,
                                         organ_error *error);
/* Sets to = base + B A, all [f->out][f->in]; `to` may be `base`. `scratch`: organ_products_scratch bytes. */
void organ_lora_add_product(const organ_engine *engine, const organ_lora_factors *factors, const float *base, float *to,
                            void *scratch);

/* Returns the journal entry of a finished module, which has every result of organ_lora_compute. NULL if out of
 * memory. */
json_t *organ_lora_module_results(const organ_lora_module *module);

/* Restores the results of a module from its journal entry. Returns false, without results, if the entry is malformed.
 */
bool organ_lora_module_recall(organ_lora_module *module, const json_t *results);

/* Returns the options that determine the adapter, for journal and report. NULL if out of memory. */
json_t *organ_lora_extract_parameters(const organ_lora_job *job);

/* Appends a weight reader's note to *job->note_target, and prints it if job->notes does not have it yet. Ignores "" and
 * NULL. */
void organ_lora_note(organ_lora_job *job, const char *note);

/* Adds the notes about the modules, in their order, to job->notes. All modules must have their results. */
void organ_lora_notes_written(organ_lora_job *job);

/* Returns the content of adapter_config.json. All modules must have their results. NULL if out of memory. */
json_t *organ_lora_config(const organ_lora_job *job);

/* Implements organ_write.document: returns the report of the job `context`, a document of schema organ.lora_extract/1;
 * of a dry run without measured values. */
json_t *organ_lora_extract_document(void *context, const organ_writing *writing);

/* ---- what merge.c, merge_plan.c (keys to weights) and merge_pass.c (sums) share ---- */

/* Sums over the values of a weight W. D is its exact change: scale B A, or with DoRA the merged weight minus W. T is
 * the change in the output: W + D rounded to the output's type, minus W rounded to this type. */
typedef struct organ_merge_sums {
    double delta, applied; /* sums of D^2 and of T^2 */
    double dot, miss;      /* sums of T D and of (T - D)^2 */
    uint64_t overflow;     /* 1 + index of the first value that exceeded the range of the type; 0: none */
    uint64_t without_norm; /* DoRA: 1 + index of the first row of W + scale B A with norm 0; 0: none */
} organ_merge_sums;

/* A weight of the base that the adapter changes or replaces. */
typedef struct organ_merge_part {
    size_t weight;                  /* index into organ_weights.weights */
    const organ_adapter_pair *pair; /* factors that change the weight; NULL: none */
    const organ_tensor *saved; /* tensor of the adapter that replaces the weight before `pair` changes it; NULL: none */
    const organ_tensor *magnitudes; /* DoRA: the norm of each row of the merged weight; NULL: none */
    const organ_tensor
        *tokens;         /* rows of words that replace those of the weight (trainable_token_indices); NULL: none */
    uint64_t *token_ids; /* number of the row that each row of `tokens` replaces; owned */
    float *token_rows;   /* values of `tokens`, only while the weight is processed; owned */
    bool head;           /* the part is the output head, which the base takes from `weight`, its embedding */
    bool transposed;     /* the weight is stored as in_features x out_features: an embedding, Conv1D */
    double scale;        /* factor of B A: the adapter's own scale times --scale */
    organ_lora_factors factors; /* values of `pair`, only while the weight is processed; owned */
    float *row_norms;           /* values of `magnitudes`, only while the weight is processed; owned; NULL: no DoRA */
    /* --feedback: [experts][columns][rank], the directions of the change of a row in the columns of the stored weight;
     * only while the weight is processed. The factors own them if they are B of a transposed weight. */
    const float *directions;
    float *own_directions; /* NULL: `directions` is in `factors` */
    double *squares;       /* organ_lora_square of each of them; owned */
    organ_merge_sums sums; /* results, for report and journal */
} organ_merge_part;

/* The state of one merge. */
typedef struct organ_merge_job {
    const organ_lora_merge_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_adapter *stored, *translated; /* as opened; with the names of the base (NULL: `stored` has them) */
    const organ_adapter *adapter;       /* `translated` if it is set, else `stored` */
    organ_model *base;
    organ_weights *weights;
    organ_lora_names names;                 /* finds the weights of names in the adapter */
    organ_gguf_writer *gguf;                /* key-values of a GGUF base; NULL: safetensors */
    organ_dtype dtype;                      /* type of --dtype, or BF16: that of weights that were packed */
    size_t part_count, piece_count, packed; /* packed: number of packed weights of the base */
    organ_merge_part *parts;                /* in the order of the weights */
    size_t *part_of; /* part_of[w]: index in `parts` of weight w, or ORGAN_NO_PART if the adapter does not change it */
    /* Tensors of the output: pieces[w] is weight w; then come the tensors of the base that belong to no weight. */
    organ_piece *pieces;
    organ_head tie;    /* the head of the base */
    bool headless;     /* the base stores no head of other values than its embedding */
    bool tied, unties; /* the base takes its head from its embedding; the output does not */
    size_t head_part;  /* index in `parts` of a head that the base does not store; ORGAN_NO_PART: none */
    size_t head_piece; /* index in `pieces` of that head */
    uint64_t words;    /* rows of the vocabulary of the adapter's whole tensors; 0: that of the base */
    organ_plan plan;   /* of a dry run */
    json_t *clashes;   /* rows of organ_settings_compare: the adapter's own base and this one */
    json_t *unplaced;  /* rows {"tensor", "reason"} of the adapter's tensors that fit no weight of the base */
} organ_merge_job;

#define ORGAN_NO_PART SIZE_MAX /* value of organ_merge_job.part_of */

/* Returns the piece of the output that a part changes. */
static inline size_t organ_merge_piece_of(const organ_merge_job *job, const organ_merge_part *part)
{
    return part->head ? job->head_piece : part->weight;
}

/* Assigns the adapter's tensors to weights of the base and fills parts, pieces and units. Adds tensors that fit no
 * weight to job->unplaced and returns ORGAN_OK; the caller checks that the list is empty. Returns ORGAN_IO without
 * memory. */
organ_status organ_merge_plan(organ_merge_job *job, organ_error *error);

/* Computes and writes all changed, replaced and dequantised weights of this rank that a continued run has not written
 * yet. Returns ORGAN_BAD_INPUT if a value exceeds the range of the output's type, and errors of reading and writing. */
organ_status organ_merge_run(organ_merge_job *job, organ_writing *run, organ_error *error);

/* Adds the work of organ_merge_run to job->plan. */
organ_status organ_merge_estimate(organ_merge_job *job, organ_error *error);

/* Implements organ_write.recall: restores the sums of weight `weight` from `results`, those of its journal line.
 * Returns false if they are incomplete. */
bool organ_merge_recall(void *job, size_t weight, const json_t *results);

#endif
