/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/health/inspect_lists.h"

#include <fnmatch.h>
#include <string.h>

bool organ_inspect_selects(const organ_inspect_lists *lists, const char *name)
{
    return !lists->match || fnmatch(lists->match, name, 0) == 0;
}

bool organ_inspect_has_room(const organ_inspect_lists *lists, const char *list, size_t rows)
{
    if (lists->max == 0 || rows < lists->max)
        return true;
    const char *const last = json_string_value(json_array_get(lists->truncated, json_array_size(lists->truncated) - 1));
    if (!last || strcmp(last, list) != 0)
        json_array_append_new(lists->truncated, json_string(list));
    return false;
}
