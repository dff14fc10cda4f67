/* SPDX-License-Identifier: MIT */
#include "formats/names/stores.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"
#include "formats/gguf/file.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MAX_LISTED = 100000 }; /* names of one folder */

char *organ_arena_format(organ_arena *arena, const char *format, ...)
{
    va_list list, again;
    va_start(list, format);
    va_copy(again, list);
    const int length = organ_vsnprintf(NULL, 0, format, list);
    char *const text = length < 0 ? NULL : organ_arena_take(arena, (size_t)length + 1);
    if (text)
        organ_vsnprintf(text, (size_t)length + 1, format, again);
    va_end(again);
    va_end(list);
    return text;
}

/* ---- environment ---- */

/* Returns the length of the reference $NAME or ${NAME} at `at`; 0 if there is none or the variable is not set. */
static size_t variable_at(const char *at, const char **value)
{
    const bool braces = *at == '$' && at[1] == '{';
    const char *const name = at + (braces ? 2 : 1);
    size_t length = 0;
    char copy[128];
    while (*at == '$' && (isalnum((unsigned char)name[length]) || name[length] == '_'))
        length++;
    if (length == 0 || length >= sizeof copy || (braces && name[length] != '}'))
        return 0;
    memcpy(copy, name, length);
    copy[length] = '\0';
    *value = getenv(copy);
    if (!*value)
        return 0;
    return length + (braces ? 3 : 1);
}

const char *organ_folder_of(const char *variable, organ_arena *arena)
{
    const char *text = getenv(variable), *value = "";
    const char *const home = getenv("HOME");
    if (!text || !*text)
        return NULL;
    const char *path = "";
    if (*text == '~' && (text[1] == '/' || !text[1]) && home)
        path = home, text++;
    while (path && *text) {
        const size_t used = variable_at(text, &value);
        const size_t plain = used ? 0 : 1 + strcspn(text + 1, "$"); /* bytes up to the next '$', copied unchanged */
        path = used ? organ_arena_format(arena, "%s%s", path, value)
                    : organ_arena_format(arena, "%s%.*s", path, (int)plain, text);
        text += used + plain;
    }
    return path;
}

const char *organ_folder_at_home(const char *path, organ_arena *arena)
{
    const char *const home = getenv("HOME");
    return home && *home ? organ_path_join(arena, home, path) : NULL;
}

bool organ_is_folder(const char *path)
{
    struct stat about;
    return stat(path, &about) == 0 && S_ISDIR(about.st_mode);
}

/* ---- parts of names ---- */

bool organ_is_plain_path(const char *path) { return organ_path_stays_inside(path, /*hidden=*/false); }

bool organ_is_plain_name(const char *name) { return organ_is_plain_path(name) && !strchr(name, '/'); }

/* ---- entries ---- */

static int is_shown(const struct dirent *entry) { return entry->d_name[0] != '.'; }

organ_status organ_folder_list(const char *path, organ_arena *arena, organ_folder_names *found, organ_error *error)
{
    ORGAN_OWNED struct dirent **entries = NULL;
    *found = (organ_folder_names){0};
    const int count = organ_list_folder(path, &entries, is_shown, alphasort);
    if (count < 0)
        return errno == ENOENT || errno == ENOTDIR ? ORGAN_OK
                                                   : organ_fail_errno(error, errno, "%s: cannot be listed", path);
    const size_t listed = count < MAX_LISTED ? (size_t)count : MAX_LISTED;
    found->names = organ_arena_take(arena, (listed + 1) * sizeof *found->names);
    for (size_t k = 0; found->names && k < listed; k++)
        if (!(found->names[found->count++] = organ_arena_copy(arena, entries[k]->d_name, strlen(entries[k]->d_name))))
            found->names = NULL;
    for (size_t k = 0; k < (size_t)count; k++)
        free(entries[k]);
    return found->names ? ORGAN_OK : organ_fail_memory(error, path);
}

void organ_folder_near(const char *folder, const char *typed, organ_arena *arena, const char *before,
                       char hint[ORGAN_FOLDER_HINT])
{
    organ_error ignored = {0};
    organ_folder_names found;
    *hint = '\0';
    if (organ_folder_list(folder, arena, &found, &ignored) == ORGAN_OK)
        organ_nearest_hint(typed, found.names, found.count, before, hint);
}

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

static bool add_ggufs(organ_arena *arena, const organ_folder_names *found, const char *before,
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
    if (!add_ggufs(arena, found, "", models))
        return organ_fail_memory(error, folder);
    for (size_t k = 0, own = models->count; k < found->count && own == 0 && !error->status; k++) {
        organ_folder_names inner;
        const char *const path = organ_path_join(arena, folder, found->names[k]);
        const char *const before = organ_arena_format(arena, "%s/", found->names[k]);
        if (!path || !before)
            return organ_fail_memory(error, folder);
        if (organ_is_folder(path) && organ_folder_list(path, arena, &inner, error) == ORGAN_OK &&
            !add_ggufs(arena, &inner, before, models))
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

/* ---- LM Studio: PUBLISHER/NAME/FILES ---- */

/* `text` is the name that the user typed, for messages. */

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
    ORGAN_OWNED char *const pointer = load_text(organ_folder_at_home(".lmstudio-home-pointer", arena), POINTER_LIMIT);
    const char *home = pointer && *pointer == '/' ? organ_arena_copy(arena, pointer, strlen(pointer)) : NULL;
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
    ORGAN_OWNED_JSON json_t *tree = NULL;
    ORGAN_OWNED char *const settings =
        home ? load_text(organ_path_join(arena, home, "settings.json"), SETTINGS_LIMIT) : NULL;
    if (settings) {
        const organ_json_source text = {"settings.json", settings, strlen(settings)};
        organ_json_parse_object(&text, &tree, &ignored);
        const char *const folder = organ_json_plain(json_object_get(tree, "downloadsFolder"));
        root = folder && *folder == '/' ? organ_arena_copy(arena, folder, strlen(folder)) : NULL;
    }
    return root || !home ? root : organ_path_join(arena, home, "models");
}

organ_status organ_lmstudio_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error)
{
    const char *const own = text + strlen("lmstudio:"), *const root = organ_lmstudio_root(arena);
    struct stat about;
    if (!organ_is_plain_path(own) || !strchr(own, '/'))
        return organ_fail(error, ORGAN_USAGE, "%s: is not a model name of the form lmstudio:PUBLISHER/NAME[/FILE]",
                          text);
    *path = root ? organ_path_join(arena, root, own) : NULL;
    if (!*path)
        return organ_fail(error, ORGAN_USAGE, "%s: HOME is not set, so the folder of LM Studio is unknown", text);
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
        return organ_refuse(error, text, "%s is a link that leads nowhere", *path);
    organ_folder_near(folder, name, arena, before, hint);
    return organ_fail(error, ORGAN_USAGE, "%s: LM Studio's folder %s has no %s%s", text, root, own, hint);
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
