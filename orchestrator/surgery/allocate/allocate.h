/* SPDX-License-Identifier: MIT
 * Room surgery/allocate: divides one budget over a whole model. The cost of making a single tensor smaller is given by
 * its curve: the divergence from the donor at some levels, measured or read from a file. From the curves of all tensors
 * the allocation computes how much of the budget each tensor gets.
 *
 * This header: curves, the file that contains them, and the division of a budget. */
#ifndef ORGAN_ALLOCATE_H
#define ORGAN_ALLOCATE_H

#include <organ/base.h>
#include <organ/options.h>
#include "orchestrator/ranks/ranks.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define ORGAN_ALLOCATION_DEFINITION "allocate/3"
#define ORGAN_ALLOCATION_SCHEMA     "organ.allocation/1"
#define ORGAN_ALLOCATION_LEVELS     8 /* greatest number of levels of a curve */
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
 * tensor, and *uniform to the greatest level that all tensors could have within the budget.
 *
 * Starts with the lowest level for all tensors. Repeatedly takes the step that fits in the budget and lowers the cost
 * most per unit of size. Then exchanges sizes between pairs of tensors. If the result costs more than *uniform for all
 * tensors, the search runs again from that level, so the cost is never above that of *uniform. Returns the sum of the
 * chosen sizes. */
double organ_allocation_choose(organ_allocation *allocation, const double *sizes, double budget, size_t *chosen,
                               size_t *uniform);

/* Fills in the curves of tensors that were not measured. The logarithm of each cost is interpolated linearly between
 * the nearest measured layers before and after with the same role; if only one side has one, its curve is copied.
 * Returns false and sets *missing to the tensor's index if no tensor of its role was measured. */
bool organ_allocation_fill(organ_allocation *allocation, size_t *missing);

void organ_allocation_release(organ_allocation *allocation);

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

/* Returns the journal line {"curve_of", "cost"} of a measured curve. NULL if memory runs out. */
json_t *organ_allocation_line(const organ_allocation *allocation, const organ_allocation_tensor *tensor);
/* Sets the costs of the tensor that a journal line names, and its `known`. Returns false, and changes nothing, if the
 * allocation has no tensor of this name or the line has no curve. */
bool organ_allocation_recall(organ_allocation *allocation, const json_t *line);

#endif
