/* SPDX-License-Identifier: MIT
 * Parses the value of --budget. */
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/allocate/allocate.h"

#include <organ/machine.h>

#include <stdlib.h>
#include <string.h>

/* Reads the decimal number, without sign or exponent, that the text begins with. Returns the text after it; NULL if
 * there is no such number. */
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

/* Reads a budget: a number with "%" (share of zeros), "bpw" (bits per weight) or a unit of bytes. */
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
