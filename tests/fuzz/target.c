/* SPDX-License-Identifier: MIT */
#include "tests/fuzz/target.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const fuzz_target *fuzz_target_named(const char *name)
{
    for (const fuzz_target *target = fuzz_targets; target->name; target++)
        if (strcmp(target->name, name) == 0)
            return target;
    return NULL;
}

void fuzz_require(bool holds, const char *what)
{
    if (holds)
        return;
    fprintf(stderr, "does not hold: %s\n", what);
    abort();
}

void fuzz_tell(unsigned status, const char *message)
{
    static int tells = -1;
    if (tells < 0)
        tells = getenv("TELL") != NULL;
    if (tells)
        fprintf(stderr, "%u %s\n", status, message);
}

void fuzz_check_verdict(organ_status status, const organ_error *error)
{
    fuzz_tell(status, error->message);
    fuzz_require(status == error->status, "the status returned is that of the error");
    fuzz_require(status == ORGAN_OK || status == ORGAN_BAD_INPUT, "nothing in a file makes the system refuse");
    fuzz_require((status == ORGAN_OK) == (*error->message == '\0'), "an error has a message");
}

fuzz_part fuzz_next_part(fuzz_part *rest)
{
    const size_t mark = sizeof FUZZ_BETWEEN - 1;
    const uint8_t *const end = rest->size ? memmem(rest->data, rest->size, FUZZ_BETWEEN, mark) : NULL;
    const fuzz_part part = {rest->data, end ? (size_t)(end - rest->data) : rest->size};
    if (end)
        rest->data = end + mark;
    else if (rest->size) /* an empty input may have a null address */
        rest->data += rest->size;
    rest->size = end ? rest->size - part.size - mark : 0;
    return part;
}
