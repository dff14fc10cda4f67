/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/measure/fleet_state.h"

#include "formats/base/file_calls.h"
#include "formats/base/json_dump.h"
#include "formats/base/memory_watch.h"
#include "formats/base/text_buffer.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/measure/document.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char *state_path(const char *output) { return organ_format("%s/fleet.json", output); }

bool organ_fleet_is_other(const json_t *entry)
{
    return strcmp(organ_json_text(entry, "dissection.status"), "apart") == 0;
}

organ_status organ_fleet_state_write(const char *output, const json_t *state, organ_error *error)
{
    char *path = state_path(output);
    json_t *document = ORGAN_OBJECT(SET_TEXT("schema", "organ.fleet-state/2"),
                                    SET_TEXT("definition", ORGAN_Z_DEFINITION), SET_HELD("models", (json_t *)state));
    if (!path || !document)
        organ_fail_memory(error, output);
    else
        organ_document_write(path, document, error);
    json_decref(document);
    free(path);
    return error->status;
}

/* The last run's state. */
static json_t *read_state(const char *output)
{
    char *path = state_path(output);
    json_error_t fault;
    bool no_memory; /* then the run ends where it writes its first document */
    const int fd = path ? organ_open(path, O_RDONLY, 0) : -1;
    json_t *document = fd >= 0 ? organ_json_load_fd(fd, JSON_REJECT_DUPLICATES, &fault, &no_memory) : NULL;
    if (fd >= 0)
        close(fd);
    const bool fits = strcmp(organ_json_text(document, "schema"), "organ.fleet-state/2") == 0 &&
                      strcmp(organ_json_text(document, "definition"), ORGAN_Z_DEFINITION) == 0;
    json_t *models = fits ? json_incref(json_object_get(document, "models")) : NULL;
    json_decref(document);
    free(path);
    return models;
}

/* Whether what the entry tells of the member is still so. */
static bool holds(const char *output, bool no_extract, const organ_fleet_member *member, const json_t *entry)
{
    char identity[17];
    struct stat info;
    snprintf(identity, sizeof identity, "%016llx", (unsigned long long)member->identity);
    if (strcmp(organ_json_text(entry, "identity"), identity) != 0)
        return false;
    if (organ_fleet_is_other(entry))
        return true;
    if (strcmp(organ_json_text(entry, "dissection.status"), "ok") != 0)
        return false;
    const char *folder = organ_json_text(entry, "dissection.folder");
    char *path = organ_format("%s/%s", output, folder);
    const bool whole = no_extract || strcmp(organ_json_text(entry, "dissection.model.format"), "organ directory") == 0;
    const bool there = whole || (*folder && path && stat(path, &info) == 0);
    free(path);
    return there;
}

/* What the first rank has found is known to all. */
static organ_status share_known(organ_ranks *ranks, json_t **known, organ_error *error)
{
    char *const text = organ_ranks_first(ranks) && *known ? organ_json_dump(*known, JSON_COMPACT) : NULL;
    organ_gathered all = {0};
    bool no_memory = false;
    json_error_t fault;
    if (organ_ranks_first(ranks) && !text && !error->status)
        organ_fail_memory(error, "the state of the fleet");
    if (organ_ranks_gather(ranks, "the state of the fleet is known", text, text ? strlen(text) : 0, &all, error) ==
            ORGAN_OK &&
        !organ_ranks_first(ranks)) {
        json_decref(*known);
        if (!(*known = organ_json_load(all.of[0], all.bytes[0], 0, &fault, &no_memory)))
            organ_fail_memory(error, "the state of the fleet");
    }
    organ_gathered_free(&all);
    free(text);
    return error->status;
}

organ_status organ_fleet_known(const char *output, bool no_extract, const organ_fleet_list *list, organ_ranks *ranks,
                               json_t **known, organ_error *error)
{
    json_t *const before = organ_ranks_first(ranks) ? read_state(output) : NULL;
    *known = json_object();
    for (size_t k = 0; k < list->count && before; k++) {
        json_t *const entry = json_object_get(before, list->members[k].name);
        if (holds(output, no_extract, &list->members[k], entry) &&
            json_object_set(*known, list->members[k].name, entry))
            organ_fail_memory(error, output);
    }
    json_decref(before);
    if (!*known)
        organ_fail_memory(error, output);
    return ranks ? share_known(ranks, known, error) : error->status;
}
