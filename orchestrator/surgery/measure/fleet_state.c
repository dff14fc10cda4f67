/* SPDX-License-Identifier: MIT
 * Keeps the results of a fleet. Ranks: rank 0 reads them and sends the valid entries to the others. */
#include "orchestrator/surgery/measure/fleet_state.h"

#include "formats/base/json_dump.h"
#include <organ/base.h>
#include "formats/base/text_buffer.h"
#include "formats/model/recognise.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/cache/cache.h"
#include <organ/measure.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* Returns the path of fleet.json, which the caller frees; NULL if memory runs out. */
static char *state_path(const char *output) { return organ_format("%s/fleet.json", output); }

/* Checks that `output`/fleet.json is free or a document of organ. */
organ_status organ_fleet_state_check(const char *output, organ_error *error)
{
    char *const path = state_path(output);
    if (path)
        organ_check_cache_place(path, error);
    else
        organ_fail_memory(error, output);
    free(path);
    return error->status;
}

bool organ_fleet_is_other(const json_t *entry)
{
    return strcmp(organ_json_text(entry, "dissection.status"), "apart") == 0;
}

/* Returns the description of fleet.json for organ_cache_read and organ_cache_write. An invalid file is not an error:
 * the run starts over. `identity`: members that a file must have to be valid. */
static organ_cache fleet_state_cache(const char *path, const json_t *identity)
{
    return (organ_cache){.path = path,
                         .schema = "organ.fleet-state/2",
                         .identity = identity,
                         .start_over = true,
                         .unversioned = true,
                         .unbounded = true};
}

/* Writes the results of all members so far to fleet.json, on rank 0. The file names the definition of the measure
 * (ORGAN_Z_DEFINITION); a later run with another definition does not use the file. */
organ_status organ_fleet_state_write(const char *output, const json_t *state, organ_ranks *ranks, organ_error *error)
{
    char *const path = state_path(output);
    json_t *const identity = ORGAN_OBJECT(SET_TEXT("definition", ORGAN_Z_DEFINITION));
    organ_cache cache = fleet_state_cache(path, identity);
    cache.ranks = ranks;
    if (path && identity)
        organ_cache_write(&cache, ORGAN_OBJECT(SET_HELD("models", state)), error);
    else
        organ_fail_memory(error, output);
    json_decref(identity);
    free(path);
    return error->status;
}

/* Returns the entries of the last run; the caller releases them. NULL if the file is missing or invalid, or if memory
 * runs out. */
static json_t *read_state(const char *output)
{
    char *const path = state_path(output);
    json_t *const identity = ORGAN_OBJECT(SET_TEXT("definition", ORGAN_Z_DEFINITION)), *document = NULL;
    const organ_cache cache = fleet_state_cache(path, identity);
    if (path && identity)
        organ_cache_read(&cache, &document, &(organ_error){0});
    json_t *const models = json_incref(json_object_get(document, "models"));
    json_decref(document);
    json_decref(identity);
    free(path);
    return models;
}

/* Returns whether `entry`, of the last run, is still valid for the member: the member's files have not changed, it was
 * processed without error, and its extracted folder exists. With `no_extract`, and for an organ directory, no folder is
 * needed. */
static bool entry_is_valid(const char *output, bool no_extract, const organ_fleet_member *member, const json_t *entry)
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
    const bool needs_no_folder =
        no_extract || strcmp(organ_json_text(entry, "dissection.model.format"), "organ directory") == 0;
    const bool there = needs_no_folder || (*folder && path && stat(path, &info) == 0);
    free(path);
    return there;
}

/* Sends *known of rank 0 to all other ranks, which replace theirs by it. All ranks call it, also with an error. */
static organ_status broadcast_entries(organ_ranks *ranks, json_t **known, organ_error *error)
{
    char *const text = organ_ranks_first(ranks) && *known ? organ_json_dump(*known, JSON_COMPACT) : NULL;
    organ_gathered all = {0};
    bool no_memory = false;
    json_error_t fault;
    if (organ_ranks_first(ranks) && !text && !error->status)
        organ_fail_memory(error, "the state of the fleet");
    if (organ_ranks_gather(ranks, "reading the state of the fleet", text, text ? strlen(text) : 0, &all, error) ==
            ORGAN_OK &&
        !organ_ranks_first(ranks)) {
        json_decref(*known);
        if (!(*known = organ_json_load(all.of[0], all.bytes[0], 0, &fault, &no_memory)))
            organ_fail_memory(error, "the state of the fleet");
    }
    organ_gathered_release(&all);
    free(text);
    return error->status;
}

organ_status organ_fleet_read_results(const char *output, bool no_extract, const organ_fleet_list *list,
                                      organ_ranks *ranks, json_t **known, organ_error *error)
{
    json_t *const before = organ_ranks_first(ranks) ? read_state(output) : NULL;
    *known = json_object();
    for (size_t k = 0; k < list->count && before; k++) {
        json_t *const entry = json_object_get(before, list->members[k].name);
        if (entry_is_valid(output, no_extract, &list->members[k], entry) &&
            json_object_set(*known, list->members[k].name, entry))
            organ_fail_memory(error, output);
    }
    json_decref(before);
    if (!*known)
        organ_fail_memory(error, output);
    return ranks ? broadcast_entries(ranks, known, error) : error->status;
}
