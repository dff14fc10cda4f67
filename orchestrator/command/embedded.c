/* SPDX-License-Identifier: MIT */
#include "orchestrator/command/embedded.h"

#include <string.h>

const char *organ_embedded_part(FILE *out, const char *text)
{
    const char *const mark = strstr(text, "@@\n");
    const size_t length = mark ? (size_t)(mark - text) : strlen(text);
    fwrite(text, 1, length, out);
    return mark ? mark + 3 : text + length;
}
