/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/enough_memory.h"

#include "formats/base/plain_numbers.h"

#include <organ/machine.h>

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MAX ((uint64_t)1 << 62) /* bytes: result if no amount fits */

/* Doubles the number until it fits and then bisects; `fits` must be monotonic. */
uint64_t organ_memory_enough(uint64_t given, organ_memory_fits *fits, void *context)
{
    uint64_t low = given, high = given + 1;
    while (high < MAX && !fits(context, high)) {
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        *(fits(context, middle) ? &high : &low) = middle;
    }
    return high < MAX ? high : MAX;
}

static const char *memory_option_text(uint64_t bytes, char out[24])
{
    const char units[] = {'\0', 'K', 'M', 'G'};
    unsigned power = 0;
    while (power < 3 && bytes && bytes % 1024 == 0) {
        bytes /= 1024;
        power++;
    }
    snprintf(out, 24, "%llu%.1s", (unsigned long long)bytes, power ? &units[power] : "");
    return out;
}

static organ_status refuse_with_arguments(organ_error *error, uint64_t given, uint64_t enough, const char *what,
                                          va_list args)
{
    char text[400], have[24], option[24];
    organ_vsnprintf(text, sizeof text, what, args);
    return organ_fail(error, ORGAN_USAGE, "--memory %s is too little for %s; --memory %s is enough",
                      memory_option_text(given, have), text, organ_quantity_option(enough, option));
}

organ_status organ_memory_refuse(organ_error *error, uint64_t given, uint64_t enough, const char *what, ...)
{
    va_list args;
    va_start(args, what);
    refuse_with_arguments(error, given, enough, what, args);
    va_end(args);
    return error->status;
}

organ_status organ_memory_require(organ_error *error, uint64_t given, organ_memory_fits *fits, void *context,
                                  const char *what, ...)
{
    if (fits(context, given))
        return ORGAN_OK;
    va_list args;
    va_start(args, what);
    refuse_with_arguments(error, given, organ_memory_enough(given, fits, context), what, args);
    va_end(args);
    return error->status;
}

/* Amounts of bytes are found in a message by the words before and after them. */
static const char enough_ends[] = " is enough", offer_begins[] = " is enough, or ",
                  offer_ends[] = " with --scratch DIR";

/* Returns 0 if there is no such amount, and for errors other than ORGAN_USAGE. */
static uint64_t amount_between(const organ_error *error, const char *before, const char *after)
{
    char option[24];
    uint64_t bytes = 0;
    const char *at = error->status == ORGAN_USAGE ? error->message : NULL, *last = NULL;
    while (at && (at = strstr(at, before)) != NULL)
        last = at += strlen(before);
    const char *const end = last ? strstr(last, after) : NULL;
    if (!end || (size_t)(end - last) >= sizeof option)
        return 0;
    snprintf(option, sizeof option, "%.*s", (int)(end - last), last);
    return organ_quantity_parse(option, &bytes) ? bytes : 0;
}

uint64_t organ_memory_named(const organ_error *error) { return amount_between(error, "; --memory ", enough_ends); }

/* If the message does not mention --scratch, returns the bytes that it calls enough for --memory. */
static uint64_t bytes_with_scratch(const organ_error *error)
{
    const uint64_t offered = amount_between(error, offer_begins, offer_ends);
    return offered ? offered : organ_memory_named(error);
}

void organ_memory_offer_scratch(organ_error *error, uint64_t enough)
{
    char option[24];
    uint64_t advised = 0;
    char *const before = strstr(error->message, offer_begins);
    if (before)
        before[sizeof enough_ends - 1] = '\0';
    const size_t length = strlen(error->message);
    if (organ_quantity_parse(organ_quantity_option(enough, option), &advised) && advised < organ_memory_named(error))
        snprintf(error->message + length, sizeof error->message - length, ", or %s%s", option, offer_ends);
}

/* If both messages name bytes, the larger of their bytes_with_scratch is enough for both parts of the task with
 * --scratch. */
organ_status organ_memory_refuse_both(organ_error *error, const organ_error *other)
{
    const uint64_t mine = bytes_with_scratch(error), others = bytes_with_scratch(other);
    if (other->status && (!error->status || organ_memory_named(other) > organ_memory_named(error)))
        *error = *other;
    if (mine && others)
        organ_memory_offer_scratch(error, mine > others ? mine : others);
    return error->status;
}

organ_status organ_memory_check_also(organ_status (*check)(void *context, organ_error *error), void *context,
                                     organ_error *error)
{
    organ_error other = {0};
    if (error->status && !organ_memory_named(error))
        return error->status;
    check(context, &other);
    return organ_memory_refuse_both(error, &other);
}
