/* SPDX-License-Identifier: MIT
 * Room surgery/allocate: divides one budget over a whole model. The cost of making a single tensor smaller is given by
 * its curve: the divergence from the donor at some levels, measured or read from a file. From the curves of all tensors
 * the allocation computes how much of the budget each tensor gets.
 *
 * This header: curves, the file that contains them, and the division of a budget. */
#ifndef ORGAN_SURGERY_ALLOCATE_ALLOCATE_H
#define ORGAN_SURGERY_ALLOCATE_ALLOCATE_H

#include "orchestrator/output/inputs.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/calibration/calibration.h"
#include "orchestrator/surgery/write/write.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/forward.h>
#include <organ/kernels.h>
#include <organ/options.h>
#include <stdbool.h>
#include <stdint.h>

#define ORGAN_ALLOCATION_DEFINITION "allocate/3"
#define ORGAN_ALLOCATION_SCHEMA     "organ.allocation/1"
#define ORGAN_ALLOCATION_LEVELS     96 /* greatest number of levels of a curve */
#define ORGAN_SPARSITY_LEVELS       2

/* The sparsities at which curves of a pruning are measured: 0.50 and 0.80. */
extern const double organ_sparsity_levels[ORGAN_SPARSITY_LEVELS];

#define ORGAN_ALLOCATION_MIN 0.20 /* least share of zeros of a tensor */
#define ORGAN_ALLOCATION_MAX 0.95 /* greatest share of zeros of a tensor */
#define ORGAN_ALLOCATION_WAY 0.8  /* default of organ_allocate_options.way */

/* The levels at which curves of a quantisation are measured: 2, 3, 4 and 8 bits, each with groups of 32 columns (half a
 * bit more per weight for the scales) and with the widest groups that divide the tensor's rows. */
#define ORGAN_WIDTH_LEVELS 8
extern const double organ_width_levels[ORGAN_WIDTH_LEVELS];
/* The widths that a walk measures: 2 and 4 bits in the widest groups. */
extern const bool organ_width_measured[ORGAN_WIDTH_LEVELS];

/* Derives the costs of all widths from the two measured ones: cost[0] for 2 bits and cost[4] for 4 bits, both in the
 * widest groups, of `group` columns (32, 64 or 128). For these groups a cost is inversely proportional to a power of
 * the number of steps of the codes (3, 7, 15, 255). The power is fitted to the two measured costs and is at least 1:
 * rounding errors are proportional to the size of a step, and the divergence to their square. The cost in groups of 32
 * columns is the cost in groups of `group` columns times the square of a ratio: the expected largest magnitude of 32
 * normal weights divided by that of `group` normal weights. */
void organ_width_derive_costs(double cost[ORGAN_WIDTH_LEVELS], size_t group);

/* ---- options ---- */

/* Rows of requirements (formats/base/requirements.h) of the member `path`, an organ_allocate_options: all options but
 * `allocate` itself and `way`, which only prune has, need one of the conditions. */
#define ORGAN_ALLOCATE_NEEDS(options, path, conditions)                                                                \
    ORGAN_REQUIREMENT_NAMED(options, path.budget, "allocate.budget", .with = conditions),                              \
        ORGAN_REQUIREMENT_NAMED(options, path.file, "allocate.file", .with = conditions),                              \
        ORGAN_REQUIREMENT_NAMED(options, path.rounds, "allocate.rounds", .with = conditions),                          \
        ORGAN_REQUIREMENT_NAMED(options, path.tokens, "allocate.tokens", .with = conditions),                          \
        ORGAN_REQUIREMENT_NAMED(options, path.layers, "allocate.layers", .with = conditions)

/* Returns ORGAN_USAGE if options do not fit together or are out of range. */
organ_status organ_allocate_check(const organ_allocate_options *options, organ_error *error);
/* These three functions return --allocate-tokens, --allocate-layers and --allocate-way (organ_allocate_options.tokens,
 * layers and way), or the default of an option that was not given. */
unsigned organ_allocate_tokens(const organ_allocate_options *options);
unsigned organ_allocate_layers(const organ_allocate_options *options);
double organ_allocate_way(const organ_allocate_options *options);
/* Returns the number of tokens of the calibration text that no window may cover: organ_allocate_tokens with --allocate,
 * else 0. */
size_t organ_allocate_reserve(const organ_allocate_options *options);

/* ---- the budget ---- */

typedef enum organ_budget_unit { ORGAN_BUDGET_PERCENT, ORGAN_BUDGET_BITS, ORGAN_BUDGET_BYTES } organ_budget_unit;
typedef struct organ_budget {
    organ_budget_unit unit;
    double amount; /* percent of zeros, bits per weight, or bytes */
} organ_budget;

/* Parses "50%", "3.5bpw" or "9GB" (bytes in the syntax of --memory). Returns ORGAN_USAGE for other text, naming the
 * option. */
organ_status organ_budget_parse(const char *text, organ_budget *budget, organ_error *error);

/* ---- curves and their division ---- */

/* A tensor of the allocation, which gets one sparsity or width: a tensor of the model, or all experts of one projection
 * in one layer. */
typedef struct organ_allocation_tensor {
    char *name;       /* the tensor's name; for experts the name with "*" */
    const char *role; /* name of its role (organ_anatomy_role_name); constant */
    int32_t layer;
    uint64_t elements; /* of all its matrices */
    /* At each level: KL(donor || donor with only this tensor at that level), nats per token. */
    double cost[ORGAN_ALLOCATION_LEVELS];
    bool known;   /* `cost` is set */
    bool between; /* `cost` is interpolated from other layers, not measured */
    /* The tensor's share of the division: a share of zeros, 0 .. 1, or, if the caller of organ_exchanges divides
     * another quantity, the tensor's value of that. */
    double sparsity;
} organ_allocation_tensor;

/* The division of a budget among tensors by their curves: the cost of each at each level. */
typedef struct organ_allocation {
    const double *levels; /* meaning of the levels: sparsities, ascending, or bits per weight */
    size_t level_count;
    const bool *measured; /* the levels that a walk measures; the costs of the others are derived from these. NULL: all
                             levels */
    size_t count;
    organ_allocation_tensor *tensors;
    double budget;             /* share of zeros among all elements, 0 .. 1 */
    double cost, uniform_cost; /* sums of the curves for the division, and for the budget applied to every tensor */
} organ_allocation;

/* Returns the cost of a sparsity by the tensor's curve, in nats per token; 0 at a sparsity of 0. Between two levels,
 * and outside the first and the last, the cost is proportional to a power of F(sparsity). F(s) is the share that the s
 * N smallest of N normally distributed weights have in the sum of all squares. The power is at least a half, so no
 * curve falls. */
double organ_allocation_cost(const organ_allocation *allocation, const organ_allocation_tensor *tensor,
                             double sparsity);

/* Divides `budget` (0.20 .. 0.95) over tensors with known curves over sparsities. At a price, the value of one zero,
 * each tensor gets the sparsity with the least cost minus value of its zeros, among 0.20, 0.205 .. 0.95. Searches two
 * nearly equal prices: the division of one has fewer zeros than the budget, that of the other at least as many. An
 * interpolation between these two divisions meets the budget. The result is then moved to `way` (0 .. 1) of the
 * distance from equal sparsities to this division. The sum of sparsity x elements over the tensors equals budget x
 * elements except for rounding. Returns false if memory cannot be allocated. */
bool organ_allocation_divide(organ_allocation *allocation, double budget, double way);

/* Chooses a width for each tensor from curves over widths. sizes[t * (level_count + 1) + l] is the size of tensor t at
 * level l, in the unit of `budget`; l = level_count is the size of the unchanged tensor, which costs nothing. The sum
 * of the sizes at level 0 must be within the budget. Sets chosen[t] to a level, or to level_count for an unchanged
 * tensor, and *uniform to the greatest level that all tensors could have within the budget. If all tensors could stay
 * unchanged, the one whose change costs least is changed, and *copied becomes true. It is false otherwise.
 *
 * Sizes are whole numbers. The sum of the costs is the least that is possible (organ_programme_solve). Returns the sum
 * of the chosen sizes; -1 if memory cannot be allocated. */
double organ_allocation_choose(organ_allocation *allocation, const double *sizes, double budget, size_t *chosen,
                               size_t *uniform, bool *copied);

/* Fills in the curves of tensors that were not measured. The logarithm of each cost is interpolated linearly between
 * the nearest measured layers before and after with the same role; if only one side has one, its curve is copied.
 * Returns false and sets *missing to the tensor's index if no tensor of its role was measured. */
bool organ_allocation_fill(organ_allocation *allocation, size_t *missing);

void organ_allocation_release(organ_allocation *allocation);

/* ---- an integer programme ---- */

#define ORGAN_PROGRAMME_NONE UINT64_MAX /* size of an item that a class does not have */

/* Chooses one item of each class so that the sizes fit into a capacity and the sum of costs is least: a multiple-choice
 * knapsack problem. Item k of class n has sizes[n * items + k] and costs[n * items + k], which is finite and at least
 * 0. The caller sets the members up to `chosen` and owns all arrays. */
typedef struct organ_programme {
    size_t classes, items;
    const uint64_t *sizes;
    const double *costs;
    uint64_t capacity;
    /* The last item leaves a class unchanged: its cost is 0. true: at least one class with an item that is smaller than
     * its last one must change. */
    bool no_copy;
    size_t *chosen; /* output: for each class the number of its item */
    bool copied; /* output: with no_copy, all classes unchanged would be feasible and cost least. `chosen` then has the
                    change that costs least, or none if no class has a smaller item */
    uint64_t least; /* output: size of the smallest items */
    bool feasible;  /* output: `least` is within the capacity, and all classes have an item; if not, there is no further
                       output */
    uint64_t size;  /* output: sum of the chosen sizes */
    double cost;    /* output: sum of the chosen costs, the same for any order of the classes */
    double bound;   /* output: no choice costs less, apart from rounding: `cost` if `exact` */
    double price;   /* output: the Lagrange multiplier of `bound`, cost per unit of size */
    bool exact;     /* output: no choice costs less than `cost`; false: the search was too large to be finished */
} organ_programme;

/* Solves the programme. Results depend only on the arguments. Returns false if memory cannot be allocated. */
bool organ_programme_solve(organ_programme *programme);

/* ---- the file ---- */

/* `identity` is an object with everything that the curves depend on: digests of the model and the text, the method and
 * its parameters. */

/* Reads the curves of the tensors from the file at `path`. The caller has set names and elements of the tensors. *whole
 * becomes true if the file has the curves of all tensors; false if there is no file, or if an interrupted run has left
 * an incomplete one. Returns ORGAN_USAGE if the identity, or the number or a name of the tensors, differs. Returns
 * ORGAN_BAD_INPUT for another document, for other levels, and if a tensor's number of elements differs or a cost is
 * invalid. Also returns errors of reading. After an error no curve is known. */
organ_status organ_allocation_read(organ_allocation *allocation, const json_t *identity, const char *path, bool *whole,
                                   organ_error *error);

/* Writes {"schema": "organ.allocation/1", "organ", the identity, "levels", "tensors": [{"name", "role", "layer",
 * "elements", "between", "cost"}]}, where the cost of a tensor that was not measured is null. Of several ranks, which
 * all have the same curves, the first writes. Returns ORGAN_IO if the file cannot be written. */
organ_status organ_allocation_write(const organ_allocation *allocation, const json_t *identity, const char *path,
                                    organ_ranks *ranks, organ_error *error);

/* Where a run keeps its curves: in the journal of its output, from which a continued run takes them, and in a file. */
typedef struct organ_curves_store {
    organ_writing *writing; /* set before curves are recalled or measured */
    json_t *identity;       /* of the file; owned */
    const char *file;       /* --allocation; NULL: none */
    organ_ranks *ranks;
    size_t tokens, windows; /* of the text on which divergences are measured; set by organ_curves_open */
} organ_curves_store;

/* Takes the curves that the journal has, then those of the file, which the journal gets too. *whole becomes true if
 * all curves are known. Returns the errors of organ_allocation_read, and ORGAN_IO if the journal cannot be written. */
organ_status organ_curves_recall(organ_allocation *allocation, const organ_curves_store *store, bool *whole,
                                 organ_error *error);
/* Appends a measured curve to the journal, and writes the file. `tensor` NULL: only writes the file. Returns ORGAN_IO
 * if that fails. */
organ_status organ_curves_keep(const organ_allocation *allocation, const organ_allocation_tensor *tensor,
                               const organ_curves_store *store, organ_error *error);

/* ---- measuring the curves of a model's targets ---- */

/* Measures the curves of a model's targets. A curve has the divergence from the donor if the target alone is made
 * smaller, at each level, on the inputs that it has in the donor. The divergence is measured on tokens that are not
 * used for calibration. */

typedef struct organ_curves_work {
    void *context;
    /* Replaces the donor's `weights` by those of a level of the allocation, such as a sparsity or a width. */
    organ_status (*make)(void *context, const organ_calibration_matrix *matrix, size_t level, float *weights,
                         organ_error *error);
    /* Returns the bytes that `make` needs for a matrix of this tensor, without its weights and its calibration. */
    uint64_t (*memory)(void *context, const organ_tensor *tensor);
    /* Called after the last matrix of a layer: the caller must discard results that it caches by the address of a
     * calibration of this layer. May be NULL. */
    void (*forget)(void *context);
    /* Derives the unmeasured costs of a tensor from the measured ones. NULL: all costs are measured. */
    void (*derive)(void *context, size_t tensor);
} organ_curves_work;

typedef struct organ_curves_options {
    /* calibration on the donor; organ_curves_open sets `streams` and uses half of `samples` */
    organ_calibration_run_options walk;
    /* The least number of tokens for divergences, and the greatest number of measured layers, 2 or more: the first, the
     * last, and others evenly between; a role that occurs in none of them is measured in all its layers. */
    const organ_allocate_options *allocate;
} organ_curves_options;

typedef struct organ_curves organ_curves;

/* Creates the tensors of an allocation without costs: one per target, but a single one for all routed experts of a
 * layer and role. of[k] becomes the tensor of target k. Returns false if memory cannot be allocated. */
bool organ_curves_list(const organ_targets *targets, organ_allocation *allocation, size_t *of);

/* Opens the walk, the run of the calibration text through the donor, and cuts the test windows for divergences. All
 * arguments must outlive *curves, which the caller closes also after an error. Returns the errors of
 * organ_calibration_run_open and organ_calibration_cut_test_windows. */
organ_status organ_curves_open(const organ_curves_options *options, const organ_model *model,
                               const organ_targets *targets, organ_allocation *allocation, const size_t *of,
                               const organ_curves_work *work, organ_curves_store *store, const organ_engine *engine,
                               const organ_progress *progress, organ_curves **curves, organ_error *error);
/* Returns the members of `own`, those of the text, those of `more` unless it is NULL, and those of the walk: what the
 * curves depend on. Takes over both. NULL if memory runs out. */
json_t *organ_curves_identity(const organ_curves *curves, json_t *own, json_t *more);
/* Adds the memory and the work of missing curves to a plan. `solve` is the work of making a matrix smaller once. */
void organ_curves_estimate(organ_curves *curves, const organ_plan_solve *solve, organ_plan *plan);
void organ_curves_close(organ_curves *curves); /* NULL is allowed */

size_t organ_curves_unknown(const organ_curves *curves); /* number of curves that are not measured yet */

/* Measures missing curves, interpolates those of other layers, and keeps them in the store. Prints an estimate of the
 * remaining time after the first measured layer. Returns ORGAN_USAGE if a role has no tensor in a measured layer, and
 * the errors of organ_cache_check_place and organ_curves_keep. */
organ_status organ_curves_run(organ_curves *curves, organ_error *error);

/* Return the calibration walk, and the test windows on which divergences are measured. *curves owns both. */
const organ_calibration_run *organ_curves_walk(const organ_curves *curves);
const organ_calibration_test_windows *organ_curves_rest(const organ_curves *curves);

/* ---- rounds of exchanges ---- */

/* Rounds of exchanges after a budget was divided. In an exchange one tensor gets fewer zeros, and another one as many
 * more. Exchanges are tried on the whole model, with every matrix changed on its inputs in the donor; exchanges that
 * lower the divergence from the donor are kept. */

/* An exchange between two tensors of an allocation, given by their indices. */
typedef struct organ_exchange {
    size_t more, less; /* the tensor whose value rises, and the tensor whose value falls */
    double up, down;   /* values (organ_allocation_tensor.sparsity) of `more` and of `less` after the exchange */
} organ_exchange;

/* Functions of the caller: how weights change, and which exchanges are possible. */
typedef struct organ_exchanges_work {
    void *context;
    /* Replaces the donor's `weights` by those that the matrix gets if `given` is the value of its tensor: a sparsity, 0
     * .. 1, or a value of another quantity that the caller divides. */
    organ_status (*make)(void *context, const organ_calibration_matrix *matrix, double given, float *weights,
                         organ_error *error);
    uint64_t (*memory)(void *context, const organ_tensor *tensor); /* organ_curves_work.memory */
    /* Proposes an exchange between tensors `one` and `other` that keeps the budget; returns false if there is none.
     * NULL: exchanges of zeros, by the curves over sparsities. */
    bool (*propose)(void *context, size_t one, size_t other, organ_exchange *made);
    /* Called when the calibrations of a layer are released. May be NULL. */
    void (*forget)(void *context);
} organ_exchanges_work;

typedef struct organ_exchanges_options {
    organ_calibration_run_options walk; /* calibration on the donor: `streams` is set here */
    size_t tokens;                      /* least number of tokens for divergences */
    size_t rounds;
    uint64_t seed; /* seed of the random pairs */
} organ_exchanges_options;

typedef struct organ_exchanges_report {
    size_t tried, taken;  /* how many were tried and accepted; some accepted ones may have been reverted later */
    double before, after; /* nats per token of the division before and after the exchanges; after <= before */
} organ_exchanges_report;

typedef struct organ_exchanges organ_exchanges;

/* Opens the walk, the run of the calibration text through the model, and cuts the test windows for divergences. All
 * arguments must outlive *exchanges, which the caller closes also after an error. of[k] is the tensor of target k.
 * Returns the errors of organ_calibration_run_open and organ_calibration_cut_test_windows. */
organ_status organ_exchanges_open(const organ_exchanges_options *options, const organ_model *model,
                                  const organ_targets *targets, organ_allocation *allocation, const size_t *of,
                                  const organ_exchanges_work *work, const organ_engine *engine,
                                  const organ_progress *progress, organ_exchanges **exchanges, organ_error *error);
/* Adds the work of all rounds to a plan, and raises the plan's memory to what a round needs. `solve` is the work of
 * changing one matrix once. */
void organ_exchanges_estimate(const organ_exchanges *exchanges, const organ_plan_solve *solve, organ_plan *plan);
void organ_exchanges_close(organ_exchanges *exchanges); /* NULL is allowed */

/* Sets the sparsity of tensors and *report to the result that the journal of an interrupted run has. Returns false if
 * it has none. */
bool organ_exchanges_recall(organ_allocation *allocation, const organ_writing *writing, organ_exchanges_report *report);
/* Runs all rounds: the model runs once in each round, and a last time to measure the result. Sets the sparsity of
 * tensors to the best division that was measured, and appends it to the journal. The sum of sparsity x elements stays
 * equal. */
organ_status organ_exchanges_run(organ_exchanges *exchanges, organ_writing *writing, organ_exchanges_report *report,
                                 organ_error *error);
/* Returns {"tried", "taken", "before", "after"} for documents. NULL if memory runs out. */
json_t *organ_exchanges_json(const organ_exchanges_report *report);

/* ---- the divergence of variants of a model ---- */

/* Measures the divergence of variants of a model from the model. A variant has one changed layer: its input is the
 * donor's, and its output runs through the later layers. Many variants run at a time, so that each layer is loaded once
 * for all of them. Results are bit-identical for any number of threads and of variants at a time. */

typedef struct organ_variants organ_variants;

/* Runs the windows through the donor once, and stores its hidden states before the first layer and after the last. Up
 * to `together` variants, at least 1, are stored at a time. forward, engine and windows must outlive *variants, which
 * is NULL on error. Returns errors of organ_forward_embed and organ_layer_load; ORGAN_IO if memory cannot be allocated;
 * ORGAN_INTERRUPTED if the engine is stopped. */
organ_status organ_variants_open(organ_forward *forward, const organ_engine *engine, const organ_windows *windows,
                                 size_t together, organ_variants **variants, organ_error *error);
void organ_variants_close(organ_variants *variants); /* NULL is allowed */

/* Returns the bytes that an organ_variants needs for `tokens` tokens and `together` simultaneous variants, including
 * the layer that organ_variants_finish loads while the caller has another one loaded. */
uint64_t organ_variants_memory(const organ_forward *forward, size_t tokens, size_t together);

/* Makes `layer`, which must not be before the current layer, the current one: runs the donor's hidden states through
 * the layers from the current one to the one before `layer`. */
organ_status organ_variants_advance(organ_variants *variants, int32_t layer, organ_error *error);
/* Calls organ_variants_finish for the variants of the current layer, then runs the donor's states through the current
 * layer and makes the next layer the current one. `loaded`: the current layer with the donor's weights. */
organ_status organ_variants_pass(organ_variants *variants, const organ_layer *loaded, organ_error *error);

/* Adds the variant in which the current layer is replaced by `changed`. Sets *divergence to the mean over all tokens of
 * KL(donor || variant) in nats, at least 0, no later than organ_variants_finish. Returns ORGAN_BAD_INPUT if logits are
 * not finite. */
organ_status organ_variants_add(organ_variants *variants, const organ_layer *changed, double *divergence,
                                organ_error *error);
/* Adds the variant whose hidden states begin with the embeddings that organ_forward_embed returns now
 * (organ_forward_change_embeddings) and that has the donor's layers. All variants must be finished before one of
 * organ_variants_add follows. */
organ_status organ_variants_add_embedded(organ_variants *variants, double *divergence, organ_error *error);
/* Sets *divergence to the mean of KL(donor || donor with output head `head`), as organ_variants_judge does. */
organ_status organ_variants_judge_head(organ_variants *variants, const organ_head_rows *head, double *divergence,
                                       organ_error *error);
/* Runs all added variants through the remaining layers and sets their divergences. */
organ_status organ_variants_finish(organ_variants *variants, organ_error *error);

/* ---- streams of the caller ---- */

/* Returns the buffer for the hidden states of `together` streams, for a caller that fills it instead of adding
 * variants. *variants owns it. */
float *organ_variants_room(organ_variants *variants);

/* Sets divergence[k] to the mean of KL(donor || stream k) in nats for `count` streams of hidden states after the last
 * layer: consecutive arrays of tokens x hidden; at most `together` streams. */
organ_status organ_variants_judge(organ_variants *variants, const float *states, size_t count, double *divergence,
                                  organ_error *error);
/* Sets the factor by which organ_variants_judge multiplies the logits of every stream except the donor's (1 at
 * first). */
void organ_variants_scale(organ_variants *variants, double times);

/* Returns the operations of layers `layer` to the last one and of the divergence, for one variant on `tokens` tokens in
 * windows of `context` tokens. */
double organ_variants_products(const organ_forward *forward, const organ_model *model, int32_t layer, size_t tokens,
                               size_t context);

/* ---- matrices at several levels ---- */

/* Keeps the matrices that are one tensor of an allocation: all experts of a layer and projection. Each matrix is stored
 * at one or several levels, in the type of the file; once the tensor is complete, all are written into the layer
 * together. */

typedef struct organ_pooled_tensors organ_pooled_tensors;

/* Creates a store for the matrices of `count` tensors at levels 0 .. `levels`. of[k] is the tensor that target k
 * belongs to. Returns NULL if memory cannot be allocated. */
organ_pooled_tensors *organ_pooled_create(size_t count, size_t levels, const organ_targets *targets, const size_t *of,
                                          const organ_kernels *kernels);
void organ_pooled_destroy(organ_pooled_tensors *pooled); /* NULL is allowed */

/* Returns whether the tensor has more than one matrix. */
bool organ_pooled_has_several(const organ_pooled_tensors *pooled, size_t tensor);

/* Returns an upper bound of the bytes of a layer's stored matrices: with `all`, those of all tensors together; else
 * those of one tensor at a time, where only tensors with more than one matrix are stored. */
uint64_t organ_pooled_memory(const organ_pooled_tensors *pooled, int32_t layer, bool all);

/* Stores a matrix of tensor `tensor` of the allocation at a level. `stored` is the matrix's tensor in the model, to
 * whose type `weights` are rounded; `name` is its name in the forward pass. The caller stores the levels of one matrix
 * in order before those of the next matrix. Returns ORGAN_IO if memory runs out. */
organ_status organ_pooled_keep(organ_pooled_tensors *pooled, size_t tensor, const char *name,
                               const organ_tensor *stored, size_t level, const float *weights, organ_error *error);
/* Writes all kept matrices of a tensor into the layer, at this level. Returns ORGAN_IO if memory cannot be
 * allocated. */
organ_status organ_pooled_write(const organ_pooled_tensors *pooled, size_t tensor, size_t level, organ_layer *layer,
                                organ_error *error);
/* Frees the stored matrices of a tensor. */
void organ_pooled_give_back(organ_pooled_tensors *pooled, size_t tensor);
/* Returns the number of matrices of a tensor. */
uint64_t organ_pooled_matrices(const organ_pooled_tensors *pooled, size_t tensor);

#endif
