/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/page/open_api.h"

#include <organ/base.h>
#include "formats/base/plain_numbers.h"
#include "orchestrator/command/embedded.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/serve/jobs/jobs.h"

#include <stdio.h>
#include <string.h>

#define REFERENCE "#/components/schemas/"

ORGAN_EMBEDDED(organ_open_api_text, "orchestrator/serve/page/open_api.json")

static void schema_name(const char *verb, char name[80])
{
    size_t used = (size_t)snprintf(name, 80, "JobOf");
    bool first = true;
    for (; *verb && used < 79; verb++) {
        if (*verb == ' ' || *verb == '-')
            first = true;
        else {
            name[used++] = first && *verb >= 'a' && *verb <= 'z' ? (char)(*verb - 'a' + 'A') : *verb;
            first = false;
        }
    }
    name[used] = '\0';
}

/* The new schemas are one for the job of each verb that can be a job, and "JobRequest", which is any of them,
 * selected by its "verb". */
static void add_requests(json_t *schemas, const organ_verb *const *verbs, size_t count)
{
    json_t *const any = json_array(), *const mapping = json_object();
    for (size_t k = 0; k < count; k++) {
        char name[80];
        if (!organ_verb_is_job(verbs[k]))
            continue;
        schema_name(verbs[k]->name, name);
        json_object_set_new(schemas, name, organ_verb_request_schema(verbs[k]));
        json_array_append_new(any, json_pack("{s:o}", "$ref", organ_json_sprintf(REFERENCE "%s", name)));
        json_object_set_new(mapping, verbs[k]->name, organ_json_sprintf(REFERENCE "%s", name));
    }
    ORGAN_ADD(schemas,
              SET("JobRequest", ORGAN_OBJECT(SET_TEXT("description", "A verb and its arguments."), SET("oneOf", any),
                                             SET("discriminator", ORGAN_OBJECT(SET_TEXT("propertyName", "verb"),
                                                                               SET("mapping", mapping))))));
}

json_t *organ_open_api(const organ_verb *const *verbs, size_t count, organ_error *error)
{
    json_error_t fault;
    bool no_memory;
    json_t *const document =
        organ_json_load(organ_open_api_text, strlen(organ_open_api_text), JSON_REJECT_DUPLICATES, &fault, &no_memory);
    if (no_memory)
        organ_fail(error, ORGAN_IO, "no memory for the description of the API");
    else if (!document)
        organ_fail(error, ORGAN_BAD_INPUT, "open_api.json: line %d, column %d: %s", fault.line, fault.column,
                   fault.text);
    if (!document)
        return NULL;
    ORGAN_ADD(json_object_get(document, "info"), SET_TEXT("version", ORGAN_VERSION));
    add_requests(json_object_get(json_object_get(document, "components"), "schemas"), verbs, count);
    return document;
}
