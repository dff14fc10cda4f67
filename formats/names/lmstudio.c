/* SPDX-License-Identifier: MIT
 * Models in LM Studio's folder: PUBLISHER/NAME/FILES. `text` is the name that the user typed, for messages. */
#include "formats/base/input_file.h"
#include "formats/base/json_text.h"
#include "formats/base/path.h"
#include "formats/names/folders.h"
#include "formats/names/name_list.h"
#include "formats/names/stores.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { POINTER_LIMIT = 4096, SETTINGS_LIMIT = 4 << 20 }; /* bytes of .lmstudio-home-pointer and settings.json at most */

static char *load_text(const char *path, size_t limit)
{
    organ_error ignored = {0};
    char *bytes = NULL;
    size_t length;
    if (!path || organ_input_load(path, path, limit, &bytes, &length, &ignored) != ORGAN_OK)
        return NULL;
    while (length > 0 && isspace((unsigned char)bytes[length - 1]))
        bytes[--length] = '\0';
    return bytes;
}

/* ~/.lmstudio-home-pointer names the folder; without it, ~/.cache/lm-studio precedes ~/.lmstudio. */
static const char *lmstudio_home(organ_arena *arena)
{
    char *const pointer = load_text(organ_folder_at_home(".lmstudio-home-pointer", arena), POINTER_LIMIT);
    const char *home = pointer && *pointer == '/' ? organ_arena_copy(arena, pointer, strlen(pointer)) : NULL;
    free(pointer);
    if (home)
        return home;
    home = organ_folder_at_home(".cache/lm-studio", arena);
    return home && organ_is_folder(home) ? home : organ_folder_at_home(".lmstudio", arena);
}

/* "downloadsFolder" of settings.json counts only if it is an absolute path. */
const char *organ_lmstudio_root(organ_arena *arena)
{
    const char *const home = lmstudio_home(arena), *root = NULL;
    organ_error ignored = {0};
    json_t *tree = NULL;
    char *const settings = home ? load_text(organ_path_join(arena, home, "settings.json"), SETTINGS_LIMIT) : NULL;
    if (settings) {
        const organ_json_source text = {"settings.json", settings, strlen(settings)};
        organ_json_parse_object(&text, &tree, &ignored);
        const char *const folder = organ_json_plain(json_object_get(tree, "downloadsFolder"));
        root = folder && *folder == '/' ? organ_arena_copy(arena, folder, strlen(folder)) : NULL;
    }
    json_decref(tree);
    free(settings);
    return root || !home ? root : organ_path_join(arena, home, "models");
}

organ_status organ_lmstudio_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error)
{
    const char *const own = text + strlen("lmstudio:"), *const root = organ_lmstudio_root(arena);
    struct stat about;
    if (!organ_is_plain_path(own) || !strchr(own, '/'))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is not a model name of the form lmstudio:PUBLISHER/NAME[/FILE]",
                          text);
    *path = root ? organ_path_join(arena, root, own) : NULL;
    if (!*path)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: HOME is not set, so the folder of LM Studio is unknown", text);
    if (stat(*path, &about) == 0)
        return ORGAN_OK;
    char hint[ORGAN_FOLDER_HINT], target[2];
    const char *const name = organ_path_name(own);
    const char *const above = organ_arena_copy(arena, own, (size_t)(name - own));
    const char *const folder = above ? organ_path_join(arena, root, above) : NULL;
    const char *const before = above ? organ_arena_format(arena, "lmstudio:%s", above) : NULL;
    if (!folder || !before)
        return organ_fail_memory(error, text);
    if (readlink(*path, target, sizeof target) > 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: %s is a link that leads nowhere", text, *path);
    organ_folder_near(folder, name, arena, before, hint);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: LM Studio's folder %s has no %s%s", text, root, own, hint);
}

organ_status organ_lmstudio_list(organ_name_list *list, organ_error *error)
{
    organ_arena *const arena = &list->arena;
    organ_folder_names publishers, models;
    const char *const root = organ_lmstudio_root(arena);
    if (!root || !organ_is_folder(root))
        return ORGAN_OK;
    list->roots[ORGAN_STORE_LMSTUDIO] = root;
    organ_folder_list(root, arena, &publishers, error);
    for (size_t p = 0; !error->status && p < publishers.count; p++) {
        const char *const folder = organ_path_join(arena, root, publishers.names[p]);
        if (!folder)
            return organ_fail_memory(error, root);
        organ_folder_list(folder, arena, &models, error);
        for (size_t m = 0; !error->status && !list->truncated && m < models.count; m++) {
            const char *const model = organ_path_join(arena, folder, models.names[m]);
            const char *const name = organ_arena_format(arena, "lmstudio:%s/%s", publishers.names[p], models.names[m]);
            if (!model || !name)
                return organ_fail_memory(error, root);
            if (organ_is_folder(model))
                organ_name_list_add_folder(list, ORGAN_STORE_LMSTUDIO, model, name, "", error);
        }
    }
    return error->status;
}
