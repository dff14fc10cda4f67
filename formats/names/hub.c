/* SPDX-License-Identifier: MIT
 * The cache of huggingface_hub: models--ORG--NAME/{refs,snapshots,blobs}. The file refs/REVISION contains the name
 * of a folder in snapshots. The files of a snapshot are symbolic links into blobs. An interrupted download leaves
 * blobs/DIGEST*.incomplete. In this file, an "entry" is a folder models--ORG--NAME, and `text` is the name that the
 * user typed, for messages. */
#include "formats/base/files.h"
#include "formats/base/text.h"
#include "formats/names/stores.h"

#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ENTRY_PREFIX "models--"
enum { LONGEST_ID = 96, LONGEST_REF = 256 }; /* bytes of ORG/NAME, and of the name or content of a ref */
enum { DEEPEST_REF = 4 };                    /* levels of folders in refs */

/* Reads the same environment variables as huggingface_hub, in the same order. */
const char *organ_hub_root(organ_arena *arena)
{
    const char *root = organ_folder_of("HF_HUB_CACHE", arena);
    if (!root)
        root = organ_folder_of("HUGGINGFACE_HUB_CACHE", arena);
    if (root)
        return root;
    const char *home = organ_folder_of("HF_HOME", arena);
    if (home)
        return organ_path_join(arena, home, "hub");
    home = organ_folder_of("XDG_CACHE_HOME", arena);
    return home ? organ_path_join(arena, home, "huggingface/hub")
                : organ_folder_at_home(".cache/huggingface/hub", arena);
}

/* ---- names ---- */

/* The hub accepts letters, digits, '-', '_' and '.', neither '-' nor '.' at the ends of a part, no "--" and no "..". */
static bool is_hub_id(const char *id, size_t length)
{
    size_t slashes = 0; /* in the id: at most one, between ORG and NAME */
    if (length == 0 || length > LONGEST_ID)
        return false;
    for (size_t k = 0; k < length; k++) {
        /* edge: id[k] is at an end of the id or next to a '/'; mark: id[k] is '-' or '.' */
        const bool edge = k == 0 || k + 1 == length || id[k - 1] == '/' || id[k + 1] == '/';
        const bool mark = id[k] == '-' || id[k] == '.';
        slashes += id[k] == '/';
        if (id[k] == '/' ? edge : !isalnum((unsigned char)id[k]) && id[k] != '_' && !mark)
            return false;
        if (mark && (edge || (id[k] == id[k + 1])))
            return false;
    }
    return slashes <= 1;
}

static size_t id_length(const char *text)
{
    const size_t before_revision = strcspn(text, "@"), first_part = strcspn(text, "/@");
    return first_part == before_revision ? before_revision : first_part + 1 + strcspn(text + first_part + 1, "/@");
}

/* huggingface_hub stores the repository in models--ORG--NAME. */
static const char *entry_folder(const char *id, organ_arena *arena)
{
    const char *const slash = strchr(id, '/');
    return slash ? organ_arena_format(arena, ENTRY_PREFIX "%.*s--%s", (int)(slash - id), id, slash + 1)
                 : organ_arena_format(arena, ENTRY_PREFIX "%s", id);
}

organ_status organ_hub_name_parse(const char *text, organ_arena *arena, organ_hub_name *name, organ_error *error)
{
    const char *const own = strncmp(text, "hf:", 3) == 0 ? text + 3 : text;
    const size_t length = id_length(own), whole = strcspn(own, "@"); /* bytes of ORG/NAME, of ORG/NAME[/FILE] */
    *name = (organ_hub_name){.revision = own[whole] ? own + whole + 1 : NULL};
    if (!is_hub_id(own, length))
        return organ_fail(
            error, ORGAN_USAGE,
            "%s: is not a model name of the form hf:ORG/NAME[/FILE][@REVISION] (letters, digits, '-', '_', "
            "'.', without '--' and '..')",
            text);
    if (name->revision && (!organ_is_plain_path(name->revision) || strlen(name->revision) > LONGEST_REF))
        return organ_fail(error, ORGAN_USAGE, "%s: '%s' is not a valid name of a revision", text, name->revision);
    name->id = organ_arena_copy(arena, own, length);
    name->folder = name->id ? entry_folder(name->id, arena) : NULL;
    if (whole > length)
        name->file = organ_arena_copy(arena, own + length + 1, whole - length - 1);
    if (!name->folder || (whole > length && !name->file))
        return organ_fail_memory(error, text);
    if (name->file && !organ_is_plain_path(name->file))
        return organ_fail(error, ORGAN_USAGE, "%s: '%s' is not a valid path of a file in a model", text, name->file);
    return ORGAN_OK;
}

/* ---- snapshots ---- */

static void list_snapshots(const char *folder, const char *id, organ_arena *arena, char *names, size_t size)
{
    enum { MAX = 4 };
    organ_error ignored = {0};
    organ_folder_names found;
    size_t used = 0;
    *names = '\0';
    organ_folder_list(folder, arena, &found, &ignored);
    for (size_t k = 0; k < found.count && k < MAX && used < size; k++)
        used += (size_t)snprintf(names + used, size - used, "%shf:%s@%s", k ? ", " : "", id, found.names[k]);
    if (found.count > MAX && used < size)
        snprintf(names + used, size - used, " and %zu more", found.count - MAX);
}

static organ_status read_ref(const char *text, const char *path, organ_arena *arena, const char **snapshot,
                             organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    size_t length;
    *snapshot = NULL;
    struct stat about;
    if (stat(path, &about) != 0 || !S_ISREG(about.st_mode))
        return ORGAN_OK;
    if (organ_input_load(path, path, LONGEST_REF, &bytes, &length, error) != ORGAN_OK)
        return error->status;
    while (length > 0 && isspace((unsigned char)bytes[length - 1]))
        length--;
    bytes[length] = '\0';
    *snapshot = organ_arena_copy(arena, bytes, length);
    const bool plain = strlen(bytes) == length && organ_is_plain_name(bytes);
    if (!plain)
        organ_refuse(error, text, "%s contains '%s', which is not a name of a snapshot", path, bytes);
    else if (!*snapshot)
        organ_fail_memory(error, text);
    return error->status;
}

static organ_status fail_without_ref(const char *text, const organ_hub_name *name, const char *entry,
                                     const char *snapshots, organ_arena *arena, organ_error *error)
{
    char known[600];
    list_snapshots(snapshots, name->id, arena, known, sizeof known);
    if (!*known)
        return organ_refuse(error, text, "%s has no snapshot: nothing of this model was downloaded", entry);
    if (name->revision)
        return organ_fail(error, ORGAN_USAGE, "%s: %s has neither refs/%s nor a snapshot of that name; it has %s", text,
                          entry, name->revision, known);
    return organ_refuse(error, text, "%s has no refs/main, which would choose a snapshot: name one of %s", entry,
                        known);
}

/* If refs/REVISION exists, it contains the name of the folder in snapshots/; otherwise a revision in `name` is
 * itself the name of the folder. */
static organ_status find_snapshot(const char *text, const organ_hub_name *name, const char *entry, organ_arena *arena,
                                  const char **snapshot, organ_error *error)
{
    const char *const revision = name->revision ? name->revision : "main";
    const char *const ref = organ_arena_format(arena, "%s/refs/%s", entry, revision);
    const char *const folder = organ_path_join(arena, entry, "snapshots"), *own = NULL; /* own: the ref's snapshot */
    if (!ref || !folder)
        return organ_fail_memory(error, text);
    if (read_ref(text, ref, arena, &own, error) != ORGAN_OK)
        return error->status;
    const bool named = !own && name->revision && organ_is_plain_name(revision);
    *snapshot = organ_path_join(arena, folder, own ? own : revision);
    if (!*snapshot)
        return organ_fail_memory(error, text);
    if (own && !organ_is_folder(*snapshot))
        return organ_refuse(error, text,
                            "%s names the snapshot %s, which does not exist: the download was interrupted or the "
                            "snapshot was deleted",
                            ref, own);
    if (own || (named && organ_is_folder(*snapshot)))
        return ORGAN_OK;
    return fail_without_ref(text, name, entry, folder, arena, error);
}

/* An unfinished download is the file blobs/DIGEST.incomplete or, since version 2 of huggingface_hub,
 * blobs/DIGEST.XXXXXXXX.incomplete. If `blob` is "", any unfinished download of the entry counts. Returns -1 if
 * there is none. */
static long long incomplete_bytes(const char *entry, const char *blob, organ_arena *arena)
{
    organ_error ignored = {0};
    organ_folder_names found = {0};
    const char *const folder = organ_path_join(arena, entry, "blobs");
    if (!folder || organ_folder_list(folder, arena, &found, &ignored) != ORGAN_OK)
        return -1;
    for (size_t k = 0; k < found.count; k++) {
        struct stat about;
        const char *const path = organ_path_join(arena, folder, found.names[k]);
        if (strncmp(found.names[k], blob, strlen(blob)) == 0 && organ_ends_with(found.names[k], ".incomplete") &&
            path && stat(path, &about) == 0)
            return (long long)about.st_size;
    }
    return -1;
}

static organ_status fail_broken(const char *text, const char *entry, const char *path, organ_arena *arena,
                                organ_error *error)
{
    char target[1024] = "";
    const ssize_t length = readlink(path, target, sizeof target - 1);
    target[length > 0 ? length : 0] = '\0';
    const long long bytes = incomplete_bytes(entry, organ_path_name(target), arena);
    if (bytes >= 0)
        return organ_refuse(error, text,
                            "the download of %s is incomplete: blobs/%s has %lld bytes so far: repeat the download",
                            path, organ_path_name(target), bytes);
    return organ_refuse(error, text, "%s is a link to '%s', which does not exist", path, target);
}

static bool is_dangling_link(const char *path)
{
    struct stat about;
    return lstat(path, &about) == 0 && S_ISLNK(about.st_mode) && stat(path, &about) != 0 && errno == ENOENT;
}

static bool has_weights(const char *name)
{
    return organ_ends_with(name, ".safetensors") || organ_ends_with(name, ".gguf");
}

static organ_status check_links(const char *text, const char *entry, const char *folder, bool inner, bool *weights,
                                organ_arena *arena, organ_error *error)
{
    organ_folder_names found;
    if (organ_folder_list(folder, arena, &found, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < found.count && !error->status; k++) {
        const char *const path = organ_path_join(arena, folder, found.names[k]);
        if (!path)
            return organ_fail_memory(error, text);
        if (is_dangling_link(path))
            return fail_broken(text, entry, path, arena, error);
        *weights = *weights || has_weights(found.names[k]);
        if (!inner && organ_is_folder(path))
            check_links(text, entry, path, /*inner=*/true, weights, arena, error);
    }
    return error->status;
}

/* A snapshot is incomplete if it has a link without a target, or no file with weights while the entry has an
 * unfinished download. */
static organ_status check_snapshot(const char *text, const char *entry, const char *snapshot, organ_arena *arena,
                                   organ_error *error)
{
    bool weights = false;
    if (check_links(text, entry, snapshot, /*inner=*/false, &weights, arena, error) != ORGAN_OK)
        return error->status;
    const long long bytes = weights ? -1 : incomplete_bytes(entry, "", arena);
    return bytes < 0 ? ORGAN_OK
                     : organ_refuse(error, text,
                                    "%s has no file with weights, and a download with %lld bytes so far is "
                                    "incomplete: repeat the download",
                                    snapshot, bytes);
}

static organ_status find_file(const char *text, const char *entry, const char *snapshot, const char *file,
                              organ_arena *arena, const char **path, organ_error *error)
{
    struct stat about;
    *path = organ_path_join(arena, snapshot, file);
    if (!*path)
        return organ_fail_memory(error, text);
    if (stat(*path, &about) == 0)
        return ORGAN_OK;
    if (is_dangling_link(*path))
        return fail_broken(text, entry, *path, arena, error);
    char hint[ORGAN_FOLDER_HINT];
    organ_folder_near(snapshot, file, arena, "", hint);
    return organ_fail(error, ORGAN_USAGE, "%s: %s has no file %s%s", text, snapshot, file, hint);
}

organ_status organ_hub_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error)
{
    organ_hub_name name;
    const char *snapshot = NULL;
    if (organ_hub_name_parse(text, arena, &name, error) != ORGAN_OK)
        return error->status;
    const char *const root = organ_hub_root(arena);
    const char *const entry = root ? organ_path_join(arena, root, name.folder) : NULL;
    if (!entry)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: neither HOME nor HF_HOME is set, so the folder of the cache is unknown", text);
    if (!organ_is_folder(entry)) {
        char near[ORGAN_NEAR_ROOM];
        organ_hub_near(name.id, arena, near);
        return organ_fail(error, ORGAN_USAGE, "%s: the Hugging Face cache %s has no %s%s", text, root, name.folder,
                          near);
    }
    if (find_snapshot(text, &name, entry, arena, &snapshot, error) != ORGAN_OK)
        return error->status;
    if (name.file)
        return find_file(text, entry, snapshot, name.file, arena, path, error);
    *path = snapshot;
    return check_snapshot(text, entry, snapshot, arena, error);
}

/* Names without "/" could be paths and are not looked up. */
bool organ_hub_has(const char *text, organ_arena *arena)
{
    organ_error ignored = {0};
    organ_hub_name name;
    const char *const root = organ_hub_root(arena);
    if (!root || organ_hub_name_parse(text, arena, &name, &ignored) != ORGAN_OK || !strchr(name.id, '/'))
        return false;
    const char *const entry = organ_path_join(arena, root, name.folder);
    return entry && organ_is_folder(entry);
}

bool organ_hub_is_missing(const char *text, organ_arena *arena)
{
    organ_error ignored = {0};
    organ_hub_name name;
    struct stat about;
    const char *const root = organ_hub_root(arena);
    if (!root || organ_hub_name_parse(text, arena, &name, &ignored) != ORGAN_OK)
        return false;
    const char *const entry = organ_path_join(arena, root, name.folder);
    if (!entry || !organ_is_folder(entry) || !name.revision)
        return entry && !organ_is_folder(entry);
    const char *const ref = organ_arena_format(arena, "%s/refs/%s", entry, name.revision);
    const char *const snapshot = organ_arena_format(arena, "%s/snapshots/%s", entry, name.revision);
    return ref && snapshot && stat(ref, &about) != 0 && stat(snapshot, &about) != 0;
}

static const char *entry_id(const char *folder, organ_arena *arena)
{
    if (strncmp(folder, ENTRY_PREFIX, strlen(ENTRY_PREFIX)) != 0)
        return NULL;
    const char *const own = folder + strlen(ENTRY_PREFIX), *const dashes = strstr(own, "--");
    return dashes ? organ_arena_format(arena, "%.*s/%s", (int)(dashes - own), own, dashes + 2) : own;
}

void organ_hub_near(const char *text, organ_arena *arena, char near[ORGAN_NEAR_ROOM])
{
    const char *const root = organ_hub_root(arena);
    organ_error ignored = {0};
    organ_hub_name name;
    char hint[ORGAN_FOLDER_HINT];
    *near = '\0';
    if (!root || organ_hub_name_parse(text, arena, &name, &ignored) != ORGAN_OK)
        return;
    organ_folder_near(root, name.folder, arena, "", hint);
    char *const folder = strstr(hint, ENTRY_PREFIX);
    if (!folder)
        return;
    folder[strcspn(folder, "'")] = '\0';
    const char *const id = entry_id(folder, arena);
    if (id)
        snprintf(near, ORGAN_NEAR_ROOM, "; did you mean 'hf:%s'?", id);
}

/* ---- list ---- */

typedef struct hub_entry {
    organ_name_list *list;
    const char *path, *id;        /* path of the entry, .../models--ORG--NAME; "ORG/NAME" */
    organ_folder_names snapshots; /* names of its snapshots */
    bool *referred;               /* for each of `snapshots`: a ref names it */
} hub_entry;

/* "@main" is omitted because it is the default. */
static organ_status add_snapshot(hub_entry *e, const char *snapshot, const char *revision, organ_error *error)
{
    organ_arena *const arena = &e->list->arena;
    const bool is_main = strcmp(revision, "main") == 0;
    const char *const folder = organ_arena_format(arena, "%s/snapshots/%s", e->path, snapshot);
    const char *const prefix = organ_arena_format(arena, "hf:%s", e->id);
    const char *const suffix = organ_arena_format(arena, "%s%s", is_main ? "" : "@", is_main ? "" : revision);
    if (!folder || !prefix || !suffix)
        return organ_fail_memory(error, e->path);
    return organ_name_list_add_folder(e->list, ORGAN_STORE_HUB, folder, prefix, suffix, error);
}

/* Names of revisions may have slashes. `prefix` is "" for refs itself; `depth` is the level of refs/PREFIX below
 * refs. A ref to a missing snapshot is listed too, so that opening it reports the fault. */
static organ_status add_refs(hub_entry *e, const char *prefix, int depth, organ_error *error)
{
    organ_arena *const arena = &e->list->arena;
    organ_folder_names found = {0};
    const char *const folder = organ_arena_format(arena, "%s/refs/%s", e->path, prefix);
    if (!folder || depth > DEEPEST_REF || organ_folder_list(folder, arena, &found, error) != ORGAN_OK)
        return folder ? error->status : organ_fail_memory(error, e->path);
    for (size_t k = 0; k < found.count && !error->status; k++) {
        organ_error fault = {0};
        const char *snapshot = NULL;
        const char *const name = organ_arena_format(arena, "%s%s%s", prefix, *prefix ? "/" : "", found.names[k]);
        const char *const path = name ? organ_arena_format(arena, "%s/refs/%s", e->path, name) : NULL;
        if (!path)
            return organ_fail_memory(error, e->path);
        if (organ_is_folder(path)) {
            add_refs(e, name, depth + 1, error);
            continue;
        }
        read_ref(path, path, arena, &snapshot, &fault);
        for (size_t j = 0; snapshot && j < e->snapshots.count; j++)
            e->referred[j] = e->referred[j] || strcmp(e->snapshots.names[j], snapshot) == 0;
        add_snapshot(e, snapshot && !fault.status ? snapshot : "", name, error);
    }
    return error->status;
}

/* The snapshots that refs name come first, then all others under the names of their commits. A folder that is no
 * model is ignored. */
static organ_status add_entry(organ_name_list *list, const char *root, const char *folder, organ_error *error)
{
    hub_entry e = {.list = list, .path = organ_path_join(&list->arena, root, folder)};
    e.id = entry_id(folder, &list->arena);
    if (strncmp(folder, ENTRY_PREFIX, strlen(ENTRY_PREFIX)) != 0)
        return ORGAN_OK;
    const char *const snapshots = e.path ? organ_path_join(&list->arena, e.path, "snapshots") : NULL;
    if (!snapshots || !e.id)
        return organ_fail_memory(error, root);
    if (organ_folder_list(snapshots, &list->arena, &e.snapshots, error) != ORGAN_OK)
        return error->status;
    e.referred = organ_arena_take(&list->arena, e.snapshots.count + 1);
    if (!e.referred)
        return organ_fail_memory(error, root);
    memset(e.referred, 0, e.snapshots.count + 1);
    add_refs(&e, "", 0, error);
    for (size_t k = 0; k < e.snapshots.count && !error->status; k++)
        if (!e.referred[k])
            add_snapshot(&e, e.snapshots.names[k], e.snapshots.names[k], error);
    return error->status;
}

organ_status organ_hub_list(organ_name_list *list, organ_error *error)
{
    organ_folder_names found;
    const char *const root = organ_hub_root(&list->arena);
    if (!root || !organ_is_folder(root))
        return ORGAN_OK;
    list->roots[ORGAN_STORE_HUB] = root;
    organ_folder_list(root, &list->arena, &found, error);
    for (size_t k = 0; !error->status && !list->truncated && k < found.count; k++)
        add_entry(list, root, found.names[k], error);
    return error->status;
}
