/* SPDX-License-Identifier: MIT
 * Collects the failures that an audit found. */
#include "orchestrator/surgery/facts/problems.h"

#include <organ/report.h>
#include "formats/base/plain_numbers.h"
#include "orchestrator/surgery/facts/tally.h"

#include <stdarg.h>
#include <stdio.h>

#define MAX_PROBLEMS 100 /* sentences in the array */

void organ_problem_add(organ_problems *problems, const char *format, ...)
{
    char text[800];
    va_list args;
    va_start(args, format);
    organ_vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (json_array_size(problems->sentences) < MAX_PROBLEMS)
        json_array_append_new(problems->sentences, organ_document_string(text));
    else
        problems->more++;
}

size_t organ_problems_count(const organ_problems *problems)
{
    return json_array_size(problems->sentences) + problems->more;
}

json_t *organ_problems_json(organ_problems *problems)
{
    if (problems->more)
        organ_say(problems->sentences, "and %zu more", problems->more);
    return json_incref(problems->sentences);
}
