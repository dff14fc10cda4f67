/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/enough_memory.h"

#include "orchestrator/machine/quantity.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MOST ((uint64_t)1 << 62)

uint64_t organ_memory_enough(uint64_t given, organ_memory_fits *fits, void *context)
{
    uint64_t low = given, high = given + 1;
    while (high < MOST && !fits(context, high)) {
        low = high;
        high *= 2;
    }
    while (high - low > 1) {
        const uint64_t middle = low + (high - low) / 2;
        *(fits(context, middle) ? &high : &low) = middle;
    }
    return high < MOST ? high : MOST;
}

/* As the user may have written it: "16M", "1000". */
static const char *given_text(uint64_t bytes, char out[24])
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

organ_status organ_memory_refuse(organ_error *error, uint64_t given, uint64_t enough, const char *what, ...)
{
    char text[400], have[24], option[24];
    va_list args;
    va_start(args, what);
    vsnprintf(text, sizeof text, what, args);
    va_end(args);
    return organ_fail(error, ORGAN_USAGE, "--memory %s is too little for %s; --memory %s is enough", given_text(given, have), text,
                      organ_quantity_option(enough, option));
}

uint64_t organ_memory_named(const organ_error *error)
{
    static const char before[] = "; --memory ", after[] = " is enough";
    char option[24];
    uint64_t bytes = 0;
    const char *at = error->status == ORGAN_USAGE ? error->message : NULL, *last = NULL;
    while (at && (at = strstr(at, before)) != NULL)
        last = at += sizeof before - 1;
    const char *const end = last ? strstr(last, after) : NULL;
    if (!end || (size_t)(end - last) >= sizeof option)
        return 0;
    snprintf(option, sizeof option, "%.*s", (int)(end - last), last);
    return organ_quantity_parse(option, &bytes) ? bytes : 0;
}

organ_status organ_memory_refuse_both(organ_error *error, const organ_error *other)
{
    if (other->status && (!error->status || organ_memory_named(other) > organ_memory_named(error)))
        *error = *other;
    return error->status;
}
