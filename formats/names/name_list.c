/* SPDX-License-Identifier: MIT */
#include "formats/names/name_list.h"

#include "formats/base/path.h"
#include "formats/gguf/file.h"
#include "formats/names/folders.h"

#include <string.h>

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

static bool begins_gguf(const char *name)
{
    unsigned part = 1, parts;
    return organ_ends_with(name, ".gguf") && !organ_gguf_is_projector(name) &&
           (organ_gguf_split_parse(name, &part, &parts) == 0 || part == 1);
}

static bool list_ggufs(organ_arena *arena, const organ_folder_names *found, const char *before,
                       organ_folder_names *models)
{
    const char **const names = organ_arena_take(arena, (models->count + found->count + 1) * sizeof *names);
    if (!names)
        return false;
    if (models->count)
        memcpy(names, models->names, models->count * sizeof *names);
    models->names = names;
    for (size_t k = 0; k < found->count; k++)
        if (begins_gguf(found->names[k]) &&
            !(names[models->count++] = organ_arena_format(arena, "%s%s", before, found->names[k])))
            return false;
    return true;
}

/* Repositories with several quantisations have their GGUF models in subfolders. */
static organ_status find_ggufs(organ_arena *arena, const char *folder, const organ_folder_names *found,
                               organ_folder_names *models, organ_error *error)
{
    *models = (organ_folder_names){0};
    if (!list_ggufs(arena, found, "", models))
        return organ_fail_memory(error, folder);
    for (size_t k = 0, own = models->count; k < found->count && own == 0 && !error->status; k++) {
        organ_folder_names inner;
        const char *const path = organ_path_join(arena, folder, found->names[k]);
        const char *const before = organ_arena_format(arena, "%s/", found->names[k]);
        if (!path || !before)
            return organ_fail_memory(error, folder);
        if (organ_is_folder(path) && organ_folder_list(path, arena, &inner, error) == ORGAN_OK &&
            !list_ggufs(arena, &inner, before, models))
            return organ_fail_memory(error, folder);
    }
    return error->status;
}

organ_status organ_name_list_add_folder(organ_name_list *list, organ_store store, const char *folder,
                                        const char *prefix, const char *suffix, organ_error *error)
{
    organ_folder_names found, models;
    bool other = false, config = false; /* the folder has safetensors; a config.json */
    if (organ_folder_list(folder, &list->arena, &found, error) != ORGAN_OK ||
        find_ggufs(&list->arena, folder, &found, &models, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < found.count; k++) {
        other = other || organ_ends_with(found.names[k], ".safetensors");
        config = config || strcmp(found.names[k], "config.json") == 0;
    }
    if (other || models.count == 1 || found.count == 0 || (config && models.count == 0))
        return organ_name_list_add(list, store, organ_arena_format(&list->arena, "%s%s", prefix, suffix), error);
    for (size_t k = 0; k < models.count && !error->status; k++)
        organ_name_list_add(list, store, organ_arena_format(&list->arena, "%s/%s%s", prefix, models.names[k], suffix),
                            error);
    return error->status;
}
