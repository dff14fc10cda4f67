/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/output/kept.h"

#include "formats/base/json_dump.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void show(const json_t *value, char words[ORGAN_KEPT_SHOWN + 1])
{
    char *const text = organ_json_dump(value, JSON_COMPACT | JSON_ENCODE_ANY);
    snprintf(words, ORGAN_KEPT_SHOWN + 1, "%s", text ? text : "missing");
    free(text);
}

bool organ_kept_differs(const json_t *kept, const json_t *identity, organ_kept_difference *found)
{
    const char *key;
    const json_t *here;
    json_object_foreach((json_t *)identity, key, here)
    {
        const json_t *const there = json_object_get(kept, key);
        if (json_equal(there, here))
            continue;
        found->key = key;
        show(there, found->was);
        show(here, found->is);
        return true;
    }
    return false;
}

organ_status organ_kept_schema(const json_t *kept, const char *schema, const char *path, organ_error *error)
{
    const char *const said = json_string_value(json_object_get(kept, "schema"));
    if (said && strcmp(said, schema) == 0)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: its schema is '%.100s', not %s", path, said ? said : "", schema);
}

organ_status organ_kept_belongs(const json_t *kept, const json_t *identity, const char *what, const char *path,
                                const char *option, organ_error *error)
{
    organ_kept_difference d;
    if (!organ_kept_differs(kept, identity, &d))
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE,
                      "%s: has the %s of another run: its %s is %s, here it is %s; another name for %s measures anew",
                      path, what, d.key, d.was, d.is, option);
}
