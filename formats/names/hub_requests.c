/* SPDX-License-Identifier: MIT */
#include "formats/names/hub_requests.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/text.h"
#include "formats/gguf/file.h"
#include "formats/names/stores.h"
#include "formats/remote/remote.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define USUAL_ENDPOINT "https://huggingface.co"
enum { LIST_LIMIT = 64 << 20, TOKEN_LIMIT = 4096 }; /* bytes of the server's answer, and of a file with a token */
enum { COMMIT_DIGITS = 40, SHA256_DIGITS = 64 };    /* hexadecimal digits of SHA-1 (commit, blob) and SHA-256 */

/* ---- environment ---- */

/* The values are those that huggingface_hub reads as true. */
static bool is_enabled(const char *variable)
{
    static const char *const yes[] = {"1", "ON", "YES", "TRUE"};
    const char *const value = getenv(variable);
    for (size_t k = 0; value && k < sizeof yes / sizeof *yes; k++)
        if (strcasecmp(value, yes[k]) == 0)
            return true;
    return false;
}

bool organ_hub_is_offline(void) { return is_enabled("HF_HUB_OFFLINE") || is_enabled("TRANSFORMERS_OFFLINE"); }

static organ_status find_endpoint(organ_arena *arena, const char **endpoint, organ_error *error)
{
    const char *const value = getenv("HF_ENDPOINT");
    const char *const own = value && *value ? value : USUAL_ENDPOINT;
    if (!organ_http_is_url(own) || strpbrk(own, "?#@ "))
        return organ_fail(error, ORGAN_USAGE, "HF_ENDPOINT is not an http(s) URL of a server");
    *endpoint = organ_arena_copy(arena, own, organ_path_length(own));
    return *endpoint ? ORGAN_OK : organ_fail_memory(error, "HF_ENDPOINT");
}

/* ---- token ---- */

static organ_status load_token(const char *path, organ_arena *arena, const char **token, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    size_t length;
    if (organ_input_load(path, path, TOKEN_LIMIT, &bytes, &length, error) != ORGAN_OK)
        return error->status;
    const char *const begin = bytes + strspn(bytes, " \t\r\n");
    *token = organ_arena_copy(arena, begin, strcspn(begin, " \t\r\n"));
    return *token ? ORGAN_OK : organ_fail_memory(error, path);
}

static const char *stored_token(organ_arena *arena)
{
    const char *path = organ_folder_of("HF_TOKEN_PATH", arena);
    const char *const home = organ_folder_of("HF_HOME", arena);
    const char *const cache = organ_folder_of("XDG_CACHE_HOME", arena);
    struct stat about;
    if (!path && home)
        path = organ_path_join(arena, home, "token");
    else if (!path)
        path = cache ? organ_path_join(arena, cache, "huggingface/token")
                     : organ_folder_at_home(".cache/huggingface/token", arena);
    return path && stat(path, &about) == 0 && S_ISREG(about.st_mode) ? path : NULL;
}

/* The hub's server is the only one that gets the token. */
organ_status organ_hub_set_token(const char *path, organ_arena *arena, organ_model_access *access, organ_error *error)
{
    const char *token = path ? NULL : getenv("HF_TOKEN");
    const char *file = path;
    if (find_endpoint(arena, &access->bearer_origin, error) != ORGAN_OK)
        return error->status;
    if (!path && is_enabled("HF_HUB_DISABLE_IMPLICIT_TOKEN"))
        return ORGAN_OK;
    if (!file && !(token && *token))
        file = stored_token(arena);
    if (file && load_token(file, arena, &token, error) != ORGAN_OK)
        return error->status;
    for (const char *c = token ? token : ""; *c; c++)
        if (*c <= ' ' || *c > '~')
            return organ_fail(error, ORGAN_USAGE, "the token in %s contains a space or a character outside ASCII",
                              file ? file : "HF_TOKEN");
    access->bearer = token && *token ? token : NULL;
    return ORGAN_OK;
}

/* ---- the list of files ---- */

static bool is_inner_path(const char *path)
{
    if (!path || !*path || strlen(path) > 1000)
        return false;
    for (const char *segment = path;;) {
        const size_t length = strcspn(segment, "/");
        if (length == 0 || length > 255 || (length == 1 && *segment == '.') || strncmp(segment, "../", 3) == 0 ||
            strcmp(segment, "..") == 0)
            return false;
        if (!segment[length])
            break;
        segment += length + 1;
    }
    for (const char *c = path; *c; c++)
        if ((unsigned char)*c < ' ' || *c == 0x7f || *c == '\\')
            return false;
    return true;
}

static bool is_hex_of_length(const char *text, size_t count)
{
    return text && strlen(text) == count && strspn(text, "0123456789abcdef") == count;
}

/* Large files (LFS) have a SHA-256 as digest, all others the SHA-1 of a git blob. */
static organ_status read_hub_file(const char *label, const json_t *row, organ_arena *arena, organ_hub_file *file,
                                  organ_error *error)
{
    const char *const path = organ_json_plain(json_object_get(row, "rfilename"));
    const json_t *const lfs = json_object_get(row, "lfs"), *const size = json_object_get(row, "size");
    *file = (organ_hub_file){.lfs = json_is_object(lfs)};
    const char *const digest =
        organ_json_plain(file->lfs ? json_object_get(lfs, "sha256") : json_object_get(row, "blobId"));
    if (!is_inner_path(path))
        return organ_refuse(error, label, "'%s' is not a valid path of a file in a repository", path ? path : "");
    if (!json_is_integer(size) || json_integer_value(size) < 0)
        return organ_refuse(error, label, "%s has no size", path);
    if (!is_hex_of_length(digest, file->lfs ? SHA256_DIGITS : COMMIT_DIGITS))
        return organ_refuse(error, label, "the digest '%s' of %s is neither SHA-256 nor SHA-1", digest ? digest : "",
                            path);
    file->bytes = (uint64_t)json_integer_value(size);
    file->path = organ_arena_copy(arena, path, strlen(path));
    file->digest = organ_arena_copy(arena, digest, strlen(digest));
    return file->path && file->digest ? ORGAN_OK : organ_fail_memory(error, label);
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const organ_hub_file *)a)->path, ((const organ_hub_file *)b)->path);
}

static organ_status check_hub_paths(const char *label, const organ_hub_files *found, organ_error *error)
{
    char folder[1001]; /* is_inner_path limits the length of a path */
    const organ_hub_file key = {.path = folder};
    for (size_t k = 0; k < found->count; k++) {
        const char *const path = found->files[k].path;
        if (k > 0 && strcmp(found->files[k - 1].path, path) == 0)
            return organ_refuse(error, label, "lists %s twice", path);
        for (const char *slash = path; (slash = strchr(slash, '/')); slash++) {
            snprintf(folder, sizeof folder, "%.*s", (int)(slash - path), path);
            if (bsearch(&key, found->files, found->count, sizeof key, by_path))
                return organ_refuse(error, label, "lists %s as a file, but also %s below it", folder, path);
        }
    }
    return ORGAN_OK;
}

static organ_status read_hub_files(const char *label, const json_t *tree, organ_arena *arena, organ_hub_files *found,
                                   organ_error *error)
{
    const char *const commit = organ_json_plain(json_object_get(tree, "sha"));
    const json_t *const list = json_object_get(tree, "siblings");
    const size_t count = json_array_size(list);
    if (!is_hex_of_length(commit, COMMIT_DIGITS) || !json_is_array(list))
        return organ_refuse(error, label, "the server's answer has no commit or no list of files");
    found->commit = organ_arena_copy(arena, commit, COMMIT_DIGITS);
    found->files = organ_arena_take(arena, (count + 1) * sizeof *found->files);
    if (!found->commit || !found->files)
        return organ_fail_memory(error, label);
    for (size_t k = 0; k < count; k++)
        if (read_hub_file(label, json_array_get(list, k), arena, &found->files[found->count++], error) != ORGAN_OK)
            return error->status;
    qsort(found->files, count, sizeof *found->files, by_path);
    return check_hub_paths(label, found, error);
}

/* The revision is a file in the directory `url`, whose query organ_http repeats. The caller frees *bytes. */
static organ_status load_revision(const char *text, const char *url, const char *revision,
                                  const organ_model_access *access, char **bytes, size_t *length, organ_error *error)
{
    organ_http *http;
    if (organ_http_create(url, access, &http, error) == ORGAN_OK)
        organ_http_load(http, revision, LIST_LIMIT, bytes, length, error);
    organ_http_destroy(http);
    if (!error->status && !*bytes)
        return organ_fail(error, ORGAN_USAGE, "%s: the server has no such model, or no revision %s of it", text,
                          revision);
    return error->status;
}

/* found->url is the URL of the folder with the files of this commit. */
organ_status organ_hub_list_files(const char *text, const organ_hub_name *name, const organ_model_access *access,
                                  organ_arena *arena, organ_hub_files *found, organ_error *error)
{
    const char *const revision = name->revision ? name->revision : "main", *endpoint;
    ORGAN_OWNED char *bytes = NULL;
    size_t length = 0;
    ORGAN_OWNED_JSON json_t *tree = NULL;
    *found = (organ_hub_files){0};
    if (organ_hub_is_offline())
        return organ_fail(error, ORGAN_USAGE, "%s: HF_HUB_OFFLINE or TRANSFORMERS_OFFLINE forbids requests", text);
    if (find_endpoint(arena, &endpoint, error) != ORGAN_OK)
        return error->status;
    const char *const url = organ_arena_format(arena, "%s/api/models/%s/revision?blobs=true", endpoint, name->id);
    if (!url)
        return organ_fail_memory(error, text);
    if (load_revision(text, url, revision, access, &bytes, &length, error) == ORGAN_OK) {
        const organ_json_source source = {text, bytes, length};
        if (organ_json_parse_object(&source, &tree, error) == ORGAN_OK)
            read_hub_files(text, tree, arena, found, error);
    }
    if (!error->status &&
        !(found->url = organ_arena_format(arena, "%s/%s/resolve/%s", endpoint, name->id, found->commit)))
        organ_fail_memory(error, text);
    return error->status;
}

/* ---- streaming ---- */

/* Returns "" for a folder with model.safetensors or its index, else the name of the only GGUF model (of its first
 * part if it is split). Returns NULL if there is no GGUF model, if there are several, or if the only one is in a
 * subfolder. */
static const char *only_model(const organ_hub_files *found)
{
    const char *gguf = NULL;
    size_t ggufs = 0;
    for (size_t k = 0; k < found->count; k++) {
        const char *const path = found->files[k].path;
        unsigned part = 1, parts;
        if (strcmp(path, "model.safetensors.index.json") == 0 || strcmp(path, "model.safetensors") == 0)
            return "";
        if (!organ_ends_with(path, ".gguf") || (organ_gguf_split_parse(path, &part, &parts) && part > 1))
            continue;
        gguf = path;
        ggufs++;
    }
    return ggufs == 1 && !strchr(gguf, '/') ? gguf : NULL;
}

organ_status organ_hub_stream(const char *text, const organ_model_access *access, organ_arena *arena, const char **url,
                              organ_error *error)
{
    organ_hub_name name;
    organ_hub_files found;
    if (organ_hub_name_parse(text, arena, &name, error) != ORGAN_OK ||
        organ_hub_list_files(text, &name, access, arena, &found, error) != ORGAN_OK)
        return error->status;
    const char *const file = name.file ? name.file : only_model(&found);
    size_t k = 0;
    while (name.file && k < found.count && strcmp(found.files[k].path, name.file) != 0)
        k++;
    if (name.file && k == found.count)
        return organ_fail(error, ORGAN_USAGE, "%s: the repository has no file %s at commit %s", text, name.file,
                          found.commit);
    if (!file)
        return organ_refuse(error, text,
                            "commit %s has no model.safetensors, no index of shards and not one GGUF model: name a "
                            "file of it",
                            found.commit);
    *url = organ_arena_format(arena, "%s%s%s", found.url, *file ? "/" : "", file);
    return *url ? ORGAN_OK : organ_fail_memory(error, text);
}

organ_status organ_hub_find(const char *name, organ_model_access *access, organ_arena *arena, const char **path,
                            organ_error *error)
{
    if (!organ_name_is_remote(name, arena) || organ_hub_is_offline())
        return organ_name_resolve(name, arena, path, error);
    if (organ_hub_set_token(/*path=*/NULL, arena, access, error) == ORGAN_OK)
        organ_hub_stream(name, access, arena, path, error);
    return error->status;
}
