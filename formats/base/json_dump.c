/* SPDX-License-Identifier: MIT */
#include "formats/base/json_dump.h"

#include <organ/base.h>

#include <stdlib.h>

char *organ_json_dump(const json_t *json, size_t flags)
{
    const size_t size = json_dumpb(json, NULL, 0, flags);
    char *const text = size ? malloc(size + 1) : NULL;
    if (!text || json_dumpb(json, text, size, flags) != size) {
        organ_memory_count_refusal();
        free(text);
        return NULL;
    }
    text[size] = '\0';
    return text;
}
