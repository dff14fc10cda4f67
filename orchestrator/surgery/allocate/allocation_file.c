/* SPDX-License-Identifier: MIT
 * Reads and writes the document of curves, and curves in lines of a journal. */
#include "orchestrator/surgery/allocate/allocate.h"

#include "formats/base/plain_numbers.h"
#include "orchestrator/output/cache.h"
#include "orchestrator/report/text/report_text.h"

#include <math.h>
#include <organ/machine.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COST 1e6 /* nats a token; the divergence of two softmaxes in FP32 is far below */

static organ_cache_numbers cost_numbers(const organ_allocation *a, const double *costs)
{
    return (organ_cache_numbers){"cost", ORGAN_FIELD_REAL, a->level_count, (double *)costs, MAX_COST};
}

static json_t *costs_json(const organ_allocation *a, const double *costs)
{
    const organ_cache_numbers numbers = cost_numbers(a, costs);
    return organ_cache_numbers_json(&numbers);
}

static bool read_costs(const organ_allocation *a, const json_t *array, double *costs)
{
    const organ_cache_numbers numbers = cost_numbers(a, costs);
    return organ_cache_numbers_read(&numbers, array);
}

static organ_cache cache_of_file(const char *path, const json_t *identity)
{
    return (organ_cache){.path = path,
                         .schema = ORGAN_ALLOCATION_SCHEMA,
                         .identity = identity,
                         .content = "curves of a different run",
                         .remedy = "to measure again, give another file with `allocate.file`"};
}

/* ---- lines ---- */

static json_t *curve_line(const organ_allocation *allocation, const organ_allocation_tensor *tensor)
{
    return ORGAN_OBJECT(SET_BYTES("curve_of", tensor->name), SET("cost", costs_json(allocation, tensor->cost)));
}

/* Returns false if the line has no valid curve of one of the tensors. */
static bool recall_curve(organ_allocation *allocation, const json_t *line)
{
    const char *const name = json_string_value(json_object_get(line, "curve_of"));
    double costs[ORGAN_ALLOCATION_LEVELS] = {0};
    for (size_t k = 0; name && k < allocation->count; k++)
        if (strcmp(allocation->tensors[k].name, name) == 0) {
            if (!read_costs(allocation, json_object_get(line, "cost"), costs))
                return false;
            memcpy(allocation->tensors[k].cost, costs, sizeof costs);
            allocation->tensors[k].known = true;
            return true;
        }
    return false;
}

/* ---- the document ---- */

static json_t *tensor_json(const void *context, size_t k)
{
    const organ_allocation *const a = context;
    const organ_allocation_tensor *const t = &a->tensors[k];
    return ORGAN_OBJECT(SET_BYTES("name", t->name), SET_TEXT("role", t->role), SET_INDEX("layer", t->layer),
                        SET_COUNT("elements", t->elements), SET_FLAG("between", t->between),
                        SET("cost", t->known ? costs_json(a, t->cost) : json_null()));
}

organ_status organ_allocation_write(const organ_allocation *allocation, const json_t *identity, const char *path,
                                    organ_ranks *ranks, organ_error *error)
{
    organ_cache cache = cache_of_file(path, identity);
    cache.ranks = ranks;
    return organ_cache_write(&cache,
                             ORGAN_OBJECT(SET("levels", costs_json(allocation, allocation->levels)),
                                          SET("tensors", organ_json_rows(allocation->count, tensor_json, allocation))),
                             error);
}

/* The curve stays unknown if its cost is null. Returns ORGAN_USAGE if the row names another tensor, ORGAN_BAD_INPUT
 * if its number of elements differs or a cost is invalid. */
static organ_status read_tensor(organ_allocation *a, const json_t *row, size_t k, const char *path, organ_error *error)
{
    organ_allocation_tensor *const t = &a->tensors[k];
    const organ_cache_numbers costs = cost_numbers(a, t->cost);
    const char *const name = json_string_value(json_object_get(row, "name"));
    const json_t *const elements = json_object_get(row, "elements");
    if (!name || !json_is_integer(elements))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors[%zu].%s is missing or no %s", path, k,
                          name ? "elements" : "name", name ? "number" : "text");
    if (strcmp(name, t->name) != 0)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: tensors[%zu].name is '%.200s', not '%.200s': the file belongs to other targets", path, k,
                          name, t->name);
    if ((uint64_t)json_integer_value(elements) != t->elements)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors[%zu].elements is %lld, and '%.200s' has %llu", path, k,
                          (long long)json_integer_value(elements), t->name, (unsigned long long)t->elements);
    if (json_is_null(json_object_get(row, "cost")) ||
        organ_cache_numbers_take(&costs, row, "tensors", k, path, error) != ORGAN_OK)
        return error->status;
    t->known = true;
    t->between = json_is_true(json_object_get(row, "between"));
    return ORGAN_OK;
}

static organ_status read_document(organ_allocation *a, const json_t *document, const char *path, organ_error *error)
{
    double levels[ORGAN_ALLOCATION_LEVELS];
    const json_t *const tensors = json_object_get(document, "tensors");
    if (!read_costs(a, json_object_get(document, "levels"), levels) ||
        memcmp(levels, a->levels, a->level_count * sizeof *levels) != 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the member \"levels\" is not the %zu levels from %g to %g", path,
                          a->level_count, a->levels[0], a->levels[a->level_count - 1]);
    if (!json_is_array(tensors))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: the member \"tensors\" is missing", path);
    if (json_array_size(tensors) != a->count)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: has %zu tensors, not the %zu of this run: the file belongs to other targets", path,
                          json_array_size(tensors), a->count);
    for (size_t k = 0; k < a->count && !error->status; k++)
        read_tensor(a, json_array_get(tensors, k), k, path, error);
    for (size_t k = 0; k < a->count && error->status; k++)
        a->tensors[k].known = a->tensors[k].between = false;
    return error->status;
}

organ_status organ_allocation_read(organ_allocation *allocation, const json_t *identity, const char *path, bool *whole,
                                   organ_error *error)
{
    const organ_cache cache = cache_of_file(path, identity);
    ORGAN_OWNED_JSON json_t *document = NULL;
    organ_cache_read(&cache, &document, error);
    *whole = document != NULL;
    if (!document)
        return error->status;
    read_document(allocation, document, path, error);
    for (size_t k = 0; k < allocation->count; k++)
        *whole &= allocation->tensors[k].known;
    return error->status;
}

/* ---- journal and file ---- */

organ_status organ_curves_keep(const organ_allocation *allocation, const organ_allocation_tensor *tensor,
                               const organ_curves_store *store, organ_error *error)
{
    if (tensor && organ_write_note_once(store->writing, curve_line(allocation, tensor), error) != ORGAN_OK)
        return error->status;
    return store->file ? organ_allocation_write(allocation, store->identity, store->file, store->ranks, error)
                       : ORGAN_OK;
}

/* A journal that has curves already has those of the file, too: they are noted only if it has none. */
organ_status organ_curves_recall(organ_allocation *allocation, const organ_curves_store *store, bool *whole,
                                 organ_error *error)
{
    size_t noted = 0, at;
    const json_t *line;
    json_array_foreach(organ_write_lines(store->writing), at, line) noted += recall_curve(allocation, line);
    *whole = false;
    if (store->file)
        organ_allocation_read(allocation, store->identity, store->file, whole, error);
    for (size_t t = 0; t < allocation->count && !noted && !error->status; t++)
        if (allocation->tensors[t].known && !allocation->tensors[t].between)
            organ_write_note_once(store->writing, curve_line(allocation, &allocation->tensors[t]), error);
    return error->status;
}

/* ---- options of an allocation: checks, defaults, the value of --budget ---- */

#define TOKENS 1024u /* default of --allocate-tokens */
#define LAYERS 16u   /* default of --allocate-layers */

unsigned organ_allocate_tokens(const organ_allocate_options *o) { return o->tokens ? o->tokens : TOKENS; }
size_t organ_allocate_reserve(const organ_allocate_options *o) { return o->allocate ? organ_allocate_tokens(o) : 0; }

unsigned organ_allocate_layers(const organ_allocate_options *o) { return o->layers ? o->layers : LAYERS; }
double organ_allocate_way(const organ_allocate_options *o) { return o->way > 0 ? o->way : ORGAN_ALLOCATION_WAY; }

organ_status organ_allocate_check(const organ_allocate_options *o, organ_error *error)
{
    if (!o->allocate)
        return ORGAN_OK;
    if (strcmp(o->allocate, "global") != 0)
        return organ_fail(error, ORGAN_USAGE, "`allocate.allocate` '%s' is unknown: the only value is global",
                          o->allocate);
    if (!organ_within(o->rounds, ORGAN_ALLOCATE_ROUNDS))
        return organ_fail(error, ORGAN_USAGE, "%u rounds are outside %d .. %d", o->rounds, ORGAN_ALLOCATE_ROUNDS);
    if (!organ_within(organ_allocate_tokens(o), ORGAN_ALLOCATE_TOKENS))
        return organ_fail(error, ORGAN_USAGE, "`allocate.tokens` %u is outside %d .. %d", o->tokens,
                          ORGAN_ALLOCATE_TOKENS);
    if (!organ_within(organ_allocate_layers(o), ORGAN_ALLOCATE_LAYERS))
        return organ_fail(error, ORGAN_USAGE, "`allocate.layers` %u is outside %d .. %d", o->layers,
                          ORGAN_ALLOCATE_LAYERS);
    return organ_allocate_way(o) <= 1
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, "`allocate.way` %g is outside 0 (excluded) .. 1", o->way);
}

/* ---- a budget ---- */

/* The number is decimal, without sign or exponent. Returns the text after it; NULL if there is no such number. */
static const char *budget_number(const char *text, double *value)
{
    const size_t digits = strspn(text, "0123456789."), whole = strspn(text, "0123456789");
    const char *const point = memchr(text, '.', digits);
    char *end = NULL;
    if (digits == 0 || digits > 40 || text[0] == '.' || (point && (point != text + whole || digits == whole + 1)))
        return NULL;
    *value = organ_strtod(text, &end);
    return end == text + digits ? end : NULL;
}

organ_status organ_budget_parse(const char *text, organ_budget *budget, organ_error *error)
{
    double value = 0;
    uint64_t bytes = 0;
    const char *const unit = budget_number(text, &value);
    if (unit && strcmp(unit, "%") == 0 && value > 0 && value < 100)
        *budget = (organ_budget){ORGAN_BUDGET_PERCENT, value};
    else if (unit && strcmp(unit, "bpw") == 0 && value > 0 && value <= 64)
        *budget = (organ_budget){ORGAN_BUDGET_BITS, value};
    else if (unit && *unit && organ_quantity_parse(text, &bytes) && bytes > 0)
        *budget = (organ_budget){ORGAN_BUDGET_BYTES, (double)bytes};
    else
        return organ_fail(
            error, ORGAN_USAGE,
            "`allocate.budget` '%s' is invalid: give percent of zeros above 0 and below 100 (50%%), bits per "
            "weight up to 64 (3.5bpw) or bytes (9GB)",
            text);
    return ORGAN_OK;
}

/* ---- choosing the width of each tensor within a budget of bits ---- */

/* The square of E(32) / E(64), where E(n) is the expected largest magnitude of n normal weights, and that of E(32) /
 * E(128). */
#define NARROWER  0.8173518555267973
#define NARROWEST 0.6890210736860123
#define MIN_POWER 1.0   /* smallest power in organ_width_derive_costs */
#define MIN_COST  1e-12 /* nats per token; smaller costs become this, so that their logarithm exists */

const double organ_width_levels[ORGAN_WIDTH_LEVELS] = {2, 2.5, 3, 3.5, 4, 4.5, 8, 8.5};
const bool organ_width_measured[ORGAN_WIDTH_LEVELS] = {[0] = true, [4] = true};

/* The cost is the expected squared step of groups of 32 columns over that of groups of `group` columns, for normal
 * weights: narrower groups have smaller maxima and so smaller steps. */
static double narrow_group_cost(size_t group)
{
    if (group <= 32)
        return 1;
    return group <= 64 ? NARROWER : NARROWEST;
}

/* The logarithm of the cost is a linear function of the logarithm of the number of steps, 2^bits - 1. Odd levels
 * have groups of 32 columns, which multiply the cost by narrow_group_cost. */
void organ_width_derive_costs(double cost[ORGAN_WIDTH_LEVELS], size_t group)
{
    const double two = log(fmax(cost[0], MIN_COST)), four = log(fmax(cost[4], MIN_COST)),
                 power = fmax(MIN_POWER, (two - four) / log(15.0 / 3)), narrow = narrow_group_cost(group);
    for (size_t l = 0; l < ORGAN_WIDTH_LEVELS; l++) {
        const double steps = exp2(floor(organ_width_levels[l])) - 1, from = steps < 15 ? two : four,
                     begun = steps < 15 ? 3 : 15;
        cost[l] = exp(from - power * log(steps / begun)) * (l % 2 ? narrow : 1);
    }
}

static double cost_at(const organ_allocation *a, size_t tensor, size_t level)
{
    return level < a->level_count ? a->tensors[tensor].cost[level] : 0;
}

static double total_size_at(const organ_allocation *a, const double *sizes, size_t level)
{
    double sum = 0;
    for (size_t t = 0; t < a->count; t++)
        sum += sizes[t * (a->level_count + 1) + level];
    return sum;
}

static double cost_of_choice(const organ_allocation *a, const size_t *chosen)
{
    double cost = 0;
    for (size_t k = 0; k < a->count; k++)
        cost += cost_at(a, k, chosen[k]);
    return cost;
}

/* Returns the sum of the chosen sizes; -1 if memory cannot be allocated. */
static double choose_exactly(const organ_allocation *a, const double *sizes, double budget, size_t *chosen,
                             bool *copied)
{
    const size_t items = a->level_count + 1, count = a->count * items;
    ORGAN_OWNED uint64_t *const whole = calloc(count + 1, sizeof *whole);
    ORGAN_OWNED double *const costs = calloc(count + 1, sizeof *costs);
    organ_programme p = {.classes = a->count,
                         .items = items,
                         .sizes = whole,
                         .costs = costs,
                         .capacity = (uint64_t)budget,
                         .no_copy = true,
                         .chosen = chosen};
    for (size_t k = 0; k < count && whole && costs; k++) {
        whole[k] = (uint64_t)ceil(sizes[k]);
        costs[k] = cost_at(a, k / items, k % items);
    }
    const bool solved = whole && costs && organ_programme_solve(&p) && p.feasible;
    *copied = p.copied;
    return solved ? (double)p.size : -1;
}

double organ_allocation_choose(organ_allocation *a, const double *sizes, double budget, size_t *chosen, size_t *uniform,
                               bool *copied)
{
    *uniform = 0;
    for (size_t l = 1; l < a->level_count; l++)
        *uniform = total_size_at(a, sizes, l) <= budget ? l : *uniform;
    a->uniform_cost = 0;
    for (size_t k = 0; k < a->count; k++)
        a->uniform_cost += cost_at(a, k, *uniform);
    const double size = choose_exactly(a, sizes, budget, chosen, copied);
    if (size >= 0)
        a->cost = cost_of_choice(a, chosen);
    return size;
}
