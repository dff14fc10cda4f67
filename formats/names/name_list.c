/* SPDX-License-Identifier: MIT */
#include "formats/names/name_list.h"

#include "formats/base/path.h"
#include "formats/gguf/file.h"
#include "formats/names/folders.h"

#include <string.h>

/* Appends a model to the list, or sets list->truncated if the list is full. `name` is NULL if the caller had no
 * memory for it. */
organ_status organ_name_list_add(organ_name_list *list, organ_store store, const char *name, organ_error *error)
{
    if (list->count == ORGAN_NAMES_MAX) {
        list->truncated = true;
        return ORGAN_OK;
    }
    if (!name || !organ_grow(&list->models, list->count, &list->capacity, sizeof *list->models))
        return organ_fail_memory(error, "names of models");
    list->models[list->count++] = (organ_named_model){.store = store, .name = name};
    return ORGAN_OK;
}

/* Returns true for the name of a GGUF file that is a model or the first part of a split one. */
static bool begins_gguf(const char *name)
{
    unsigned part = 1, parts;
    return organ_ends_with(name, ".gguf") && (organ_gguf_split_parse(name, &part, &parts) == 0 || part == 1);
}

/* Appends the names of the models in a folder. If the folder has safetensors, a config.json, exactly one GGUF model,
 * or no files at all, appends `prefix` followed by `suffix`: the name of the folder itself. Otherwise appends
 * `prefix`, '/', the file and `suffix` for each GGUF model, and nothing if there is none. */
organ_status organ_name_list_add_folder(organ_name_list *list, organ_store store, const char *folder,
                                        const char *prefix, const char *suffix, organ_error *error)
{
    organ_folder_names found;
    size_t ggufs = 0;   /* number of GGUF models */
    bool other = false; /* the folder has safetensors or a config.json */
    if (organ_folder_list(folder, &list->arena, &found, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < found.count; k++) {
        ggufs += begins_gguf(found.names[k]);
        other = other || organ_ends_with(found.names[k], ".safetensors") || strcmp(found.names[k], "config.json") == 0;
    }
    if (other || ggufs == 1 || found.count == 0)
        return organ_name_list_add(list, store, organ_arena_format(&list->arena, "%s%s", prefix, suffix), error);
    for (size_t k = 0; k < found.count && !error->status; k++)
        if (begins_gguf(found.names[k]))
            organ_name_list_add(list, store,
                                organ_arena_format(&list->arena, "%s/%s%s", prefix, found.names[k], suffix), error);
    return error->status;
}
