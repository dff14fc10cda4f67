/* SPDX-License-Identifier: MIT */
#include "formats/names/folders.h"

#include "formats/base/file_calls.h"
#include "formats/base/nearest.h"
#include "formats/base/path.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/utf8.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

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

bool organ_is_plain_path(const char *path)
{
    if (!*path || !organ_utf8_valid(path) || strlen(path) > 2000)
        return false;
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f || *c == '\\' || (*c == '.' && (c == path || c[-1] == '/')))
            return false;
    return *path != '/' && path[strlen(path) - 1] != '/' && !strstr(path, "//");
}

bool organ_is_plain_name(const char *name) { return organ_is_plain_path(name) && !strchr(name, '/'); }

/* ---- entries ---- */

static int is_shown(const struct dirent *entry) { return entry->d_name[0] != '.'; }

organ_status organ_folder_list(const char *path, organ_arena *arena, organ_folder_names *found, organ_error *error)
{
    struct dirent **entries = NULL;
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
    free(entries);
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
