/* SPDX-License-Identifier: MIT
 * Room surgery/allocate: one budget for a whole model. In goes what each tensor costs when it alone is made smaller
 * (its curve: the divergence from the donor at some levels, measured or read from a file), out comes how much of the
 * budget each tensor gets.
 *
 * Here: curves, the file that keeps them, and the division of a budget. */
#ifndef ORGAN_ALLOCATE_H
#define ORGAN_ALLOCATE_H

#include "formats/base/status.h"
#include "orchestrator/surgery/allocate/allocate_options.h"

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#define ORGAN_ALLOCATION_DEFINITION "allocate/3"
#define ORGAN_ALLOCATION_SCHEMA     "organ.allocation/1"
#define ORGAN_ALLOCATION_LEVELS     8 /* at most */
#define ORGAN_SPARSITY_LEVELS       2

/* The sparsities at which curves of a pruning are measured: 0.50 and 0.80. */
extern const double organ_sparsity_levels[ORGAN_SPARSITY_LEVELS];

#define ORGAN_ALLOCATION_LEAST 0.20 /* no tensor gets a lower sparsity than this, */
#define ORGAN_ALLOCATION_MOST  0.95 /* nor a higher one */
#define ORGAN_ALLOCATION_WAY   0.8  /* from the uniform division to that of least cost */

/* The levels at which curves of a quantisation are measured: 2, 3, 4 and 8 bits, with a half of a bit more for the
 * scales of groups of 32 columns, without it for those of the widest groups that the tensor has. */
#define ORGAN_WIDTH_LEVELS 8
extern const double organ_width_levels[ORGAN_WIDTH_LEVELS];
/* The widths that a walk measures: 2 and 4 bits in the widest groups. */
extern const bool organ_width_measured[ORGAN_WIDTH_LEVELS];

/* Sets the costs of the other widths. A cost is proportional to a power of the largest code (3, 7, 15, 255 steps). The
 * power is fitted to the two measured widths and is at least 1: rounding errors are proportional to a step, and the
 * divergence to their square. The cost in groups of 32 is the cost in groups of `group` (32, 64 or 128) times the
 * square of the ratio of the expected largest magnitude of 32 normal weights to that of `group` normal weights. */
void organ_width_derive(double cost[ORGAN_WIDTH_LEVELS], size_t group);

/* ---- what is asked ---- */

/* Whether the options go together, each by itself in its range. ORGAN_USAGE. */
organ_status organ_allocate_check(const organ_allocate_options *options, organ_error *error);
/* The option's value, or its default. */
unsigned organ_allocate_tokens(const organ_allocate_options *options);
unsigned organ_allocate_layers(const organ_allocate_options *options);
double organ_allocate_way(const organ_allocate_options *options);
/* Tokens of the calibration text that no window may cover: organ_allocate_tokens with --allocate, else 0. */
size_t organ_allocate_reserve(const organ_allocate_options *options);

/* ---- the budget ---- */

typedef enum organ_budget_unit { ORGAN_BUDGET_PERCENT, ORGAN_BUDGET_BITS, ORGAN_BUDGET_BYTES } organ_budget_unit;
typedef struct organ_budget {
    organ_budget_unit unit;
    double amount; /* percent of zeros, bits a weight, bytes */
} organ_budget;

/* "50%", "3.5bpw", "9GB" (an amount of bytes as --memory takes it). ORGAN_USAGE for anything else, naming the option.
 */
organ_status organ_budget_parse(const char *text, organ_budget *budget, organ_error *error);

/* ---- curves and their division ---- */

/* A tensor of the allocation: one tensor of the model, or all experts of one projection in one layer. */
typedef struct organ_allocation_tensor {
    char *name;
    const char *role; /* of the table of the anatomy */
    int32_t layer;
    uint64_t elements;
    double cost[ORGAN_ALLOCATION_LEVELS]; /* nats a token: KL(donor || donor with this tensor alone at that level) */
    bool known;                           /* `cost` is there, */
    bool between;                         /* taken from the layers before and after, not measured */
    double given;                         /* its sparsity, 0 .. 1 */
} organ_allocation_tensor;

typedef struct organ_allocation {
    const double *levels; /* what the costs of a curve are of: sparsities ascending, bits a weight */
    size_t level_count;
    const bool *measured; /* the levels that a walk measures; the costs of the others are derived from these. NULL: all
                             levels */
    size_t count;
    organ_allocation_tensor *tensors;
    double budget;             /* of all elements, 0 .. 1 */
    double cost, uniform_cost; /* sums of the curves as divided, and with the budget for every tensor */
} organ_allocation;

/* Returns the cost of a sparsity by the curve, in nats a token; 0 at a sparsity of 0. Between two levels, and beyond
 * the first and the last, the cost is proportional to a power of F(sparsity): the share of the sum of all squares that
 * this fraction of the smallest of normally distributed weights has. The power is at least a half, so no curve falls.
 */
double organ_allocation_cost(const organ_allocation *allocation, const organ_allocation_tensor *tensor,
                             double sparsity);

/* Divides `budget` (0.20 .. 0.95) over the tensors, whose curves over sparsities are known: the sum of costs is least
 * among sparsities of 0.20, 0.205 .. 0.95 for one price of an element; between the two divisions on either side of the
 * budget the point that meets it; then `way` (0 .. 1) of the way from uniform to that. The sum of given x elements is
 * budget x elements but for rounding. false without memory.
 */
bool organ_allocation_divide(organ_allocation *allocation, double budget, double way);

/* Chooses a width for each tensor, whose curves over widths are known: `sizes` has what a tensor takes at each level
 * and, last, as it is, which costs nothing. The sum of the costs is least for one price of a bit while the sum of sizes
 * is within the budget, which the lowest levels together must be; steps that fit use the rest of the budget, and
 * exchanges between pairs of tensors end the search. If the result costs more than the greatest level that all tensors
 * can have, the search runs again from that level, so the cost is never above that of *uniform. chosen[t] is a level,
 * or level_count for an unchanged tensor. *uniform is the greatest that all of them can have. The sum of the sizes. */
double organ_allocation_choose(organ_allocation *allocation, const double *sizes, double budget, size_t *chosen,
                               size_t *uniform);

/* Curves of tensors that were not measured: the logarithm of each level lies on the line through the nearest measured
 * layers before and after of the same role; where there is one of them, it is that one's. false, with *missing, for a
 * tensor whose role was not measured. */
bool organ_allocation_fill(organ_allocation *allocation, size_t *missing);

void organ_allocation_release(organ_allocation *allocation);

/* ---- the file ---- */

/* `identity` is an object of all that changes the curves: digests of the model and the text, the method, its
 * parameters. */

/* Reads the curves of the tensors, whose names and elements are set. *whole is false if there is no file, or if an
 * interrupted run has left one without all curves. ORGAN_BAD_INPUT for another document, ORGAN_USAGE if the identity or
 * a tensor differs; both name the member. After an error no curve is known. */
organ_status organ_allocation_read(organ_allocation *allocation, const json_t *identity, const char *path, bool *whole,
                                   organ_error *error);

/* Writes {"schema": "organ.allocation/1", "organ", the identity, "levels", "tensors": [{"name", "role", "layer",
 * "elements", "between", "cost"}]}, where the cost of a tensor that was not measured is null. ORGAN_IO. */
organ_status organ_allocation_write(const organ_allocation *allocation, const json_t *identity, const char *path,
                                    organ_error *error);

/* The curve as a line of a journal, and back: false where it is of another tensor or no curve. */
json_t *organ_allocation_line(const organ_allocation *allocation, const organ_allocation_tensor *tensor);
bool organ_allocation_recall(organ_allocation *allocation, const json_t *line);

#endif
