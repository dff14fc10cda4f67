/* SPDX-License-Identifier: MIT
 * The table of methods of organ prune, and the checks of options: which of them each method supports, and their
 * ranges. */
#include "orchestrator/verbs/prune/prune_parts.h"

#include "orchestrator/output/verb_requirements.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static const organ_prune_row methods[] = {
    {.name = "physarum-v1",
     .method = ORGAN_PRUNE_PHYSARUM_V2,
     .version = 1,
     .tiles = true,
     .flows = true,
     .solve = {0, 3000, 0}},
    {.name = "physarum-v2",
     .method = ORGAN_PRUNE_PHYSARUM_V2,
     .version = 2,
     .text = true,
     .flows = true,
     .compensates = true,
     .two_streams = true,
     .products = true,
     .noise = true,
     .effort = true,
     .by_imatrix = true,
     .rows = true,
     .solve = {14, 25000, 1e9}},
    {.name = "physarum-v3",
     .method = ORGAN_PRUNE_PHYSARUM_V3,
     .version = 4,
     .text = true,
     .flows = true,
     .compensates = true,
     .two_streams = true,
     .products = true,
     .effort = true,
     .solve = {22, 3500, 5e8}},
    {.name = "alps",
     .method = ORGAN_PRUNE_ALPS,
     .version = 3,
     .text = true,
     .compensates = true,
     .products = true,
     .solve = {70, 3500, 7e8}},
    {.name = "magnitude", .method = ORGAN_PRUNE_MAGNITUDE, .version = 1, .solve = {0, 1000, 0}},
    {.name = "wanda",
     .method = ORGAN_PRUNE_WANDA,
     .version = 1,
     .text = true,
     .by_imatrix = true,
     .solve = {0, 2500, 0}},
    {.name = "sparsegpt",
     .method = ORGAN_PRUNE_SPARSEGPT,
     .version = 1,
     .text = true,
     .compensates = true,
     .solve = {1.66, 2500, 1e8}}};

/* ---- what options have a meaning with ---- */

#define OPTION(path, ...)     ORGAN_REQUIREMENT(organ_prune_options, path, __VA_ARGS__)
#define CALIBRATED(path, ...) ORGAN_REQUIREMENT_NAMED(organ_prune_options, calibrated.path, #path, __VA_ARGS__)
#define BY_INPUTS             "method=physarum-v2,physarum-v3,alps,wanda,sparsegpt"
#define BY_TEXT               BY_INPUTS "|allocate.allocate"
/* An imatrix has mean squares of the inputs, but neither windows of a text nor correlations between inputs. Curves are
 * measured with the default parameters of the flow, so --allocate allows no others. */
#define MEASURED(row, path)                                                                                            \
    row(path, .with = BY_TEXT), row(path, .never = "imatrix", .why = "it has only mean squares of the inputs")
#define OF_FLOW .with = "method=physarum-v1", .never = "allocate.allocate"

/* The default method is physarum-v3 with a text and physarum-v1 without. */
static const char *method_of(const organ_prune_calibrated_options *c)
{
    const char *const fallback = c->calibration.text ? "physarum-v3" : "physarum-v1";
    return c->method ? c->method : fallback;
}

static void find_facts(const void *options, organ_facts *facts)
{
    const organ_prune_calibrated_options *const c = &((const organ_prune_options *)options)->calibrated;
    snprintf(facts->text, sizeof facts->text, "%s, the default method here", method_of(c));
    organ_facts_add(facts, "method", c->method, NULL);
    organ_facts_assume(facts, "method", c->method ? NULL : method_of(c), facts->text);
}

/* clang-format off */
ORGAN_REQUIREMENTS(prune, find_facts,
    CALIBRATED(calibration.text, .with = BY_TEXT, .never = "imatrix", .why = "both describe the inputs"),
    MEASURED(CALIBRATED, calibration.samples),
    MEASURED(CALIBRATED, calibration.context),
    MEASURED(CALIBRATED, calibration.compute),
    MEASURED(CALIBRATED, calibration.scratch),
    MEASURED(CALIBRATED, all_experts),
    MEASURED(OPTION, moments),
    CALIBRATED(no_compensate, .with = "method=physarum-v2"),
    CALIBRATED(effort, .with = "method=physarum-v2,physarum-v3", .never = "no_compensate|imatrix"),
    CALIBRATED(seed, .with = "method=physarum-v2", .never = "imatrix"),
    CALIBRATED(imatrix, .with = "method=physarum-v2,wanda",
        .why = "the other methods need the correlations of the inputs, on `calibration.text`"),
    CALIBRATED(pattern, .with = BY_INPUTS ",magnitude"),
    CALIBRATED(pattern, .never = "allocate.allocate", .why = "it gives every tensor the same sparsity"),
    CALIBRATED(then, .with = "method=physarum-v2,physarum-v3,alps,sparsegpt", .never = "no_compensate|imatrix",
        .why = "it needs a method that refits"),
    OPTION(block_size, OF_FLOW),
    OPTION(iterations, OF_FLOW),
    OPTION(beta, OF_FLOW),
    OPTION(coupling, OF_FLOW),
    CALIBRATED(allocate.allocate, .never = "imatrix", .why = "divergences are measured on a text"),
    CALIBRATED(allocate.way, .with = "allocate.allocate=global"),
    ORGAN_ALLOCATE_NEEDS(organ_prune_options, calibrated.allocate, "allocate.allocate=global"))
/* clang-format on */

/* ---- checks of values ---- */

static organ_status choose_method(organ_prune_job *job, organ_error *error)
{
    const organ_prune_calibrated_options *const c = job->calibrated;
    const bool unchanged = c->no_compensate || c->imatrix; /* kept weights keep their bits */
    for (size_t k = 0; k < sizeof methods / sizeof *methods && !job->method; k++)
        if (strcmp(method_of(c), methods[k].name) == 0)
            job->method = &methods[k];
    const organ_prune_row *const m = job->method;
    if (!m)
        return organ_fail(
            error, ORGAN_USAGE,
            "`method` '%s' is unknown: physarum-v1, physarum-v2, physarum-v3, alps, magnitude, wanda or sparsegpt",
            c->method);
    job->needs_text = m->text && !c->imatrix;
    job->two_streams = m->two_streams && !unchanged;
    job->compensates = m->compensates && !unchanged;
    snprintf(job->definition, sizeof job->definition, "%s%s/%d", m->name, c->imatrix && m->flows ? "-imatrix" : "",
             m->version);
    return ORGAN_OK;
}

/* The check of characters rejects signs and spaces, which sscanf accepts. */
static organ_status choose_pattern(organ_prune_job *job, organ_error *error)
{
    const char *const pattern = job->calibrated->pattern;
    int end = 0;
    if (!pattern)
        return ORGAN_OK;
    const bool read = sscanf(pattern, "%2u:%2u%n", &job->pattern.keep, &job->pattern.of, &end) == 2 &&
                      pattern[end] == 0 && strspn(pattern, "0123456789:") == strlen(pattern);
    if (!read || job->pattern.keep < 1 || job->pattern.keep >= job->pattern.of || job->pattern.of > ORGAN_PATTERN_MAX)
        return organ_fail(error, ORGAN_USAGE,
                          "`pattern` is N:M, N kept of each M neighbours with 1 <= N < M <= %d, not '%s'",
                          ORGAN_PATTERN_MAX, pattern);
    return ORGAN_OK;
}

/* This CPU must compute the flow to the same bits as all other CPUs: one without FMA does so only if the flow needs
 * no pow. */
static organ_status check_flow(const organ_prune_options *o, organ_error *error)
{
    const organ_physarum_params params = {.beta = (float)o->beta, .coupling = (float)o->coupling};
    if (!organ_within(o->block_size, ORGAN_PRUNE_BLOCK_SIZES))
        return organ_fail(error, ORGAN_USAGE, "block size %u is outside %d .. %d", o->block_size,
                          ORGAN_PRUNE_BLOCK_SIZES);
    if (!organ_within(o->iterations, ORGAN_PRUNE_ITERATIONS))
        return organ_fail(error, ORGAN_USAGE, "%u iterations are outside %d .. %d", o->iterations,
                          ORGAN_PRUNE_ITERATIONS);
    if (!organ_within(o->beta, ORGAN_PRUNE_BETAS) || o->beta == 0)
        return organ_fail(error, ORGAN_USAGE, "beta %g is outside %d (excluded) .. %d", o->beta, ORGAN_PRUNE_BETAS);
    if (!organ_within(o->coupling, ORGAN_PRUNE_COUPLINGS))
        return organ_fail(error, ORGAN_USAGE, "coupling %g is outside %d .. %d", o->coupling, ORGAN_PRUNE_COUPLINGS);
    if (!organ_physarum_runs(organ_cpu_detect(), &params))
        return organ_fail(error, ORGAN_USAGE,
                          "this CPU has no FMA: it runs `beta` 2 with `coupling` 0 or 1 only, not %g with %g", o->beta,
                          o->coupling);
    return ORGAN_OK;
}

/* A negative sparsity means that none was given. */
static organ_status check_ranges(const organ_prune_job *job, organ_error *error)
{
    const organ_prune_options *const o = job->options;
    const organ_prune_calibrated_options *const c = job->calibrated;
    if (organ_calibration_run_check(c->calibration.samples, c->calibration.context, error) != ORGAN_OK)
        return error->status;
    if (!organ_within(c->effort, ORGAN_PRUNE_EFFORTS) || c->effort == 0)
        return organ_fail(error, ORGAN_USAGE, "effort %g is outside %d (excluded) .. %d", c->effort,
                          ORGAN_PRUNE_EFFORTS);
    if (!(o->sparsity < 0) && !(o->sparsity > 0 && o->sparsity < 100)) /* rejects NaN too */
        return organ_fail(error, ORGAN_USAGE, "sparsity %g is not between 0 and 100 percent", o->sparsity);
    return job->method->tiles ? check_flow(o, error) : ORGAN_OK;
}

/* A sparsity (or a budget) and a pattern must not both be given; one of them is needed unless the method can choose
 * the sparsity itself. */
static organ_status check_goal(const organ_prune_job *job, organ_error *error)
{
    const bool sparsity = job->options->sparsity > 0 || job->requested.amount > 0;
    if (sparsity && job->pattern.of)
        return organ_fail(error, ORGAN_USAGE, "`pattern` %s sets the sparsity: it cannot be combined with `sparsity`",
                          job->calibrated->pattern);
    if (!sparsity && !job->pattern.of && !job->method->flows)
        return organ_fail(error, ORGAN_USAGE, "`method` %s needs `sparsity` or `pattern`", job->method->name);
    return ORGAN_OK;
}

/* Exactly one of --budget and --sparsity must be given. The range of a budget in bits or bytes is checked later.
 * */
static organ_status read_budget(const organ_prune_calibrated_options *c, double sparsity, organ_budget *result,
                                organ_error *error)
{
    const organ_allocate_options *const o = &c->allocate;
    *result = (organ_budget){ORGAN_BUDGET_PERCENT, sparsity};
    if (o->budget && organ_budget_parse(o->budget, result, error) != ORGAN_OK)
        return error->status;
    if (o->budget && sparsity > 0)
        return organ_fail(error, ORGAN_USAGE, "`allocate.budget` %s and `sparsity` %g exclude each other", o->budget,
                          sparsity);
    if (!o->budget && !(sparsity > 0))
        return organ_fail(error, ORGAN_USAGE, "`allocate.allocate` global needs `allocate.budget` or `sparsity`");
    if (result->unit != ORGAN_BUDGET_PERCENT && c->then)
        return ORGAN_OK; /* the size of codes is known only after the model is opened */
    if (result->unit != ORGAN_BUDGET_PERCENT)
        return organ_fail(
            error, ORGAN_USAGE,
            "`allocate.budget` %s: prune needs a percentage of zeros (50%%), since its output is as large as the "
            "donor; bits and bytes need `then`",
            o->budget);
    if (result->amount < 100 * ORGAN_ALLOCATION_MIN || result->amount > 100 * ORGAN_ALLOCATION_MAX)
        return organ_fail(error, ORGAN_USAGE,
                          "`allocate.allocate` global gives each tensor %g to %g %%: the mean cannot be %g %%",
                          100 * ORGAN_ALLOCATION_MIN, 100 * ORGAN_ALLOCATION_MAX, result->amount);
    return ORGAN_OK;
}

static organ_status check_allocation(const organ_prune_calibrated_options *c, double sparsity, organ_budget *budget,
                                     organ_error *error)
{
    const organ_allocate_options *const o = &c->allocate;
    *budget = (organ_budget){0};
    if (organ_allocate_check(o, error) != ORGAN_OK || !o->allocate)
        return error->status;
    if (!c->calibration.text)
        return organ_fail(
            error, ORGAN_USAGE,
            "`allocate.allocate` global needs `calibration.text` FILE: divergences are measured on a part of it");
    return read_budget(c, sparsity, budget, error);
}

organ_status organ_prune_check_options(organ_prune_job *job, organ_error *error)
{
    const organ_prune_calibrated_options *const c = job->calibrated;
    const organ_prune_options defaults = organ_prune_defaults();
    if (choose_method(job, error) || organ_calibration_moments_parse(job->options->moments, &job->blocks, error) ||
        organ_requirements_check(&organ_prune_requirements, job->options, &defaults, error))
        return error->status;
    job->divides = c->allocate.allocate != NULL;
    if (choose_pattern(job, error) || check_ranges(job, error) ||
        check_allocation(c, job->options->sparsity, &job->requested, error) || check_goal(job, error))
        return error->status;
    job->budget = job->requested.unit == ORGAN_BUDGET_PERCENT ? job->requested.amount / 100 : 0;
    if (job->needs_text && !c->calibration.text)
        return organ_fail(error, ORGAN_USAGE, "`method` %s needs `calibration.text` FILE, a text%s", job->method->name,
                          job->method->by_imatrix ? ", or `imatrix` FILE" : "");
    return ORGAN_OK;
}

/* A sparsity of 0 percent means that none was requested or that a pattern decides. */
organ_prune_matrix_options organ_prune_options_of(const organ_prune_job *job, size_t part, const char *name)
{
    const double requested = job->budget > 0 ? 100 * job->budget : fmax(job->options->sparsity, 0);
    return (organ_prune_matrix_options){.method = job->method->method,
                                        .name = name,
                                        .sparsity = job->shares ? job->shares[part] : requested,
                                        .pattern = job->pattern,
                                        .no_compensate = !job->compensates,
                                        .effort = job->calibrated->effort};
}
