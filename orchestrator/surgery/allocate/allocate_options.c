/* SPDX-License-Identifier: MIT
 * Checks and defaults of the options of an allocation; the value of --budget. */
#include "orchestrator/surgery/allocate/allocate.h"

#include "formats/base/plain_numbers.h"
#include <organ/machine.h>

#include <stdlib.h>
#include <string.h>

#define TOKENS 1024u /* default of --allocate-tokens */
#define LAYERS 16u   /* default of --allocate-layers */

unsigned organ_allocate_tokens(const organ_allocate_options *o) { return o->tokens ? o->tokens : TOKENS; }
size_t organ_allocate_reserve(const organ_allocate_options *o) { return o->allocate ? organ_allocate_tokens(o) : 0; }

unsigned organ_allocate_layers(const organ_allocate_options *o) { return o->layers ? o->layers : LAYERS; }
double organ_allocate_way(const organ_allocate_options *o) { return o->way > 0 ? o->way : ORGAN_ALLOCATION_WAY; }

static organ_status refuse_alone(const organ_allocate_options *o, organ_error *error)
{
    const struct {
        bool given;
        const char *name;
    } options[] = {{o->budget, "--budget"},          {o->file, "--allocation"},        {o->rounds, "--rounds"},
                   {o->tokens, "--allocate-tokens"}, {o->layers, "--allocate-layers"}, {o->way > 0, "--allocate-way"}};
    for (size_t k = 0; k < sizeof options / sizeof *options; k++)
        if (options[k].given)
            return organ_fail(error, ORGAN_USAGE, "%s has no meaning without --allocate global", options[k].name);
    return ORGAN_OK;
}

organ_status organ_allocate_check(const organ_allocate_options *o, organ_error *error)
{
    if (!o->allocate)
        return refuse_alone(o, error);
    if (strcmp(o->allocate, "global") != 0)
        return organ_fail(error, ORGAN_USAGE, "--allocate '%s' is unknown: the only value is global", o->allocate);
    if (!organ_within(o->rounds, ORGAN_ALLOCATE_ROUNDS))
        return organ_fail(error, ORGAN_USAGE, "%u rounds are outside %d .. %d", o->rounds, ORGAN_ALLOCATE_ROUNDS);
    if (!organ_within(organ_allocate_tokens(o), ORGAN_ALLOCATE_TOKENS))
        return organ_fail(error, ORGAN_USAGE, "--allocate-tokens %u is outside %d .. %d", o->tokens,
                          ORGAN_ALLOCATE_TOKENS);
    if (!organ_within(organ_allocate_layers(o), ORGAN_ALLOCATE_LAYERS))
        return organ_fail(error, ORGAN_USAGE, "--allocate-layers %u is outside %d .. %d", o->layers,
                          ORGAN_ALLOCATE_LAYERS);
    return organ_allocate_way(o) <= 1
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, "--allocate-way %g is outside 0 (excluded) .. 1", o->way);
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
        return organ_fail(error, ORGAN_USAGE,
                          "--budget '%s' is invalid: give percent of zeros above 0 and below 100 (50%%), bits per "
                          "weight up to 64 (3.5bpw) or bytes (9GB)",
                          text);
    return ORGAN_OK;
}
