/* SPDX-License-Identifier: MIT */
#include "formats/names/names.h"
#include "formats/names/stores.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/text.h"
#include "formats/remote/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>

/* ---- Ollama ---- */

/* manifests/HOST/USER/NAME/TAG is a JSON file whose layers name files
 * blobs/sha256-DIGEST; the layer with the weights is a GGUF file. Newer versions write
 * manifests-v2/HOST/USER/NAME/TAG instead: a link into blobs, with ollama.com as the usual host. Such a manifest may
 * be a list of manifests, one for each program that runs models. `root` is a folder of Ollama,
 * `manifest` the path of a manifest, `text` the name that the user typed. */

#define USUAL_HOST "registry.ollama.ai"
#define OTHER_HOST "ollama.com" /* another name of the usual host, in manifests-v2 */
#define USUAL_USER "library"
#define USUAL_TAG  "latest"
#define LAYER_TYPE "application/vnd.ollama.image."
#define LIST_TYPE  "application/vnd.ollama.manifest.list.v2+json"
#define SYSTEM_ROOT                                                                                                    \
    "/usr/share/ollama/.ollama/models" /* folder of the system service that Ollama's installation script sets up */
enum { MANIFEST_LIMIT = 4 << 20, LONGEST_NAME = 400 }; /* bytes */
enum { DIGEST_DIGITS = 64 };                           /* hexadecimal digits of SHA-256 */

/* A name is [HOST/][USER/]NAME[:TAG]; Ollama's defaults stand for missing parts. */
typedef struct ollama_name {
    const char *host, *user, *name, *tag;
} ollama_name;

/* The order is that in which Ollama searches the folders. */
static const char *const manifest_folders[] = {"manifests-v2", "manifests"};
enum { MANIFEST_FOLDERS = sizeof manifest_folders / sizeof *manifest_folders };

static bool is_usual_host(const char *host) { return strcmp(host, USUAL_HOST) == 0 || strcmp(host, OTHER_HOST) == 0; }

/* Without OLLAMA_MODELS, the user and the system service have a folder each. */
static size_t ollama_roots(organ_arena *arena, const char *roots[ORGAN_OLLAMA_ROOTS])
{
    size_t count = 0;
    const char *const own = organ_folder_of("OLLAMA_MODELS", arena);
    const char *const home = organ_folder_at_home(".ollama/models", arena);
    if (own) {
        roots[0] = own;
        return 1;
    }
    if (home)
        roots[count++] = home;
    roots[count++] = SYSTEM_ROOT;
    return count;
}

/* Splits [[HOST/]USER/]NAME[:TAG] in place. Returns false if a part is not a plain name. */
static bool split_name(char *text, ollama_name *name)
{
    char *parts[3], *colon = strrchr(text, ':');
    size_t count = 0;
    *name = (ollama_name){USUAL_HOST, USUAL_USER, NULL, USUAL_TAG};
    if (colon && !strchr(colon, '/')) {
        *colon = '\0';
        name->tag = colon + 1;
    }
    for (char *at = text; at && count < 3; count++) {
        parts[count] = at;
        at = strchr(at, '/');
        if (at)
            *at++ = '\0';
        if (at && count == 2)
            return false;
    }
    name->name = parts[count - 1];
    if (count > 1)
        name->user = parts[count - 2];
    if (count > 2)
        name->host = parts[0];
    return organ_is_plain_name(name->host) && organ_is_plain_name(name->user) && organ_is_plain_name(name->name) &&
           organ_is_plain_name(name->tag);
}

/* ---- manifests ---- */

static const char *digest_digits(const char *digest)
{
    if (!digest || strncmp(digest, "sha256:", 7) != 0 || strlen(digest + 7) != DIGEST_DIGITS)
        return NULL;
    return strspn(digest + 7, "0123456789abcdef") == DIGEST_DIGITS ? digest + 7 : NULL;
}

static organ_status find_layer(const char *manifest, const json_t *tree, const json_t **found, organ_error *error)
{
    size_t k;
    const json_t *layer, *const layers = json_object_get(tree, "layers");
    *found = NULL;
    if (!json_is_array(layers))
        return organ_refuse(error, manifest, "has no list 'layers'");
    json_array_foreach(layers, k, layer)
    {
        const char *const type = organ_json_plain(json_object_get(layer, "mediaType"));
        if (type && strcmp(type, LAYER_TYPE "adapter") == 0)
            return organ_refuse(error, manifest,
                                "the model has a LoRA adapter (layer %zu), which organ does not apply: name the "
                                "files in the folder blobs",
                                k);
        if (!type || strcmp(type, LAYER_TYPE "model") != 0)
            continue;
        if (*found)
            return organ_refuse(error, manifest, "has more than one layer " LAYER_TYPE "model");
        *found = layer;
    }
    return *found ? ORGAN_OK
                  : organ_refuse(error, manifest, "has no layer " LAYER_TYPE "model: the model is not in a GGUF file");
}

static organ_status check_is_file(const char *manifest, const char *path, struct stat *about, organ_error *error)
{
    if (stat(path, about) == 0 && S_ISREG(about->st_mode))
        return ORGAN_OK;
    return organ_refuse(error, manifest, "names %s, which is not a file: the download is incomplete", path);
}

static organ_status check_blob(const char *manifest, const char *path, const json_t *size, organ_error *error)
{
    struct stat about;
    if (check_is_file(manifest, path, &about, error) != ORGAN_OK)
        return error->status;
    if (!json_is_integer(size) || json_integer_value(size) != (json_int_t)about.st_size)
        return organ_refuse(error, manifest, "states %lld bytes for %s, which has %lld",
                            json_is_integer(size) ? (long long)json_integer_value(size) : -1LL, path,
                            (long long)about.st_size);
    return ORGAN_OK;
}

static organ_status load_manifest(const char *manifest, json_t **tree, organ_error *error)
{
    ORGAN_OWNED char *bytes = NULL;
    size_t length;
    if (organ_input_load(manifest, manifest, MANIFEST_LIMIT, &bytes, &length, error) != ORGAN_OK)
        return error->status;
    const organ_json_source text = {manifest, bytes, length};
    organ_json_parse_object(&text, tree, error);
    return error->status;
}

static const char *blob_path(const char *manifest, const char *root, const char *digest, organ_arena *arena,
                             organ_error *error)
{
    const char *const digits = digest_digits(digest);
    const char *const path = digits ? organ_arena_format(arena, "%s/blobs/sha256-%s", root, digits) : NULL;
    if (!digits)
        organ_refuse(error, manifest, "the digest '%s' is not sha256: with 64 hexadecimal digits",
                     digest ? digest : "");
    else if (!path)
        organ_fail_memory(error, manifest);
    return path;
}

/* "ollama" is preferred to "llamacpp". */
static json_t *find_gguf_manifest(const json_t *list)
{
    static const char *const runners[] = {"ollama", "llamacpp"};
    size_t k;
    json_t *child;
    for (size_t r = 0; r < sizeof runners / sizeof *runners; r++)
        json_array_foreach(list, k, child)
        {
            const char *const runner = organ_json_plain(json_object_get(child, "runner"));
            if (runner && strcasecmp(runner, runners[r]) == 0)
                return child;
        }
    return NULL;
}

/* An item of the list is the manifest itself or the digest of a blob; a blob is loaded, and *manifest becomes its
 * path. Does nothing if *tree is no list. */
static organ_status choose_manifest(const char **manifest, const char *root, organ_arena *arena, json_t **tree,
                                    organ_error *error)
{
    const char *const type = organ_json_plain(json_object_get(*tree, "mediaType"));
    if (!type || strcmp(type, LIST_TYPE) != 0)
        return ORGAN_OK;
    json_t *const child = find_gguf_manifest(json_object_get(*tree, "manifests"));
    const char *const digest = organ_json_plain(json_object_get(child, "digest"));
    if (!child)
        return organ_refuse(error, *manifest, "none of the manifests that it lists is for GGUF files");
    json_incref(child);
    json_decref(*tree);
    *tree = child;
    if (!digest || json_object_get(child, "layers"))
        return ORGAN_OK;
    const char *const path = blob_path(*manifest, root, digest, arena, error);
    json_decref(*tree); /* frees the string `digest` too */
    *tree = NULL;
    struct stat about;
    if (!path || check_is_file(*manifest, path, &about, error) != ORGAN_OK)
        return error->status;
    *manifest = path;
    return load_manifest(path, tree, error);
}

/* Sets *path to the file of the model's weights that the manifest names. A manifest that lists others, of several
 * machines, is replaced by the fitting one. */
static organ_status open_manifest(const char *manifest, const char *root, organ_arena *arena, const char **path,
                                  organ_error *error)
{
    ORGAN_OWNED_JSON json_t *tree = NULL;
    const json_t *layer = NULL;
    if (load_manifest(manifest, &tree, error) == ORGAN_OK &&
        choose_manifest(&manifest, root, arena, &tree, error) == ORGAN_OK &&
        find_layer(manifest, tree, &layer, error) == ORGAN_OK) {
        *path = blob_path(manifest, root, organ_json_plain(json_object_get(layer, "digest")), arena, error);
        if (*path)
            check_blob(manifest, *path, json_object_get(layer, "size"), error);
    }
    return error->status;
}

/* The message about a faulty manifest begins with the name that the user typed, `text`. */
static organ_status open_named(const char *text, const char *manifest, const char *root, organ_arena *arena,
                               const char **path, organ_error *error)
{
    organ_error fault = {0};
    if (open_manifest(manifest, root, arena, path, &fault) != ORGAN_BAD_INPUT)
        *error = fault;
    else
        organ_fail(error, fault.status, "%s: %s", text, fault.message);
    return error->status;
}

/* Models of the usual host may be stored under either of its two names. */
static const char *find_manifest(const char *root, const ollama_name *name, organ_arena *arena)
{
    const bool usual = is_usual_host(name->host);
    const char *const hosts[] = {usual ? USUAL_HOST : name->host, OTHER_HOST};
    struct stat about;
    for (size_t f = 0; f < MANIFEST_FOLDERS; f++)
        for (size_t h = 0; h < (usual ? 2 : 1); h++) {
            const char *const path = organ_arena_format(arena, "%s/%s/%s/%s/%s/%s", root, manifest_folders[f], hosts[h],
                                                        name->user, name->name, name->tag);
            if (path && stat(path, &about) == 0 && S_ISREG(about.st_mode))
                return path;
        }
    return NULL;
}

static void suggest_name(const char *const *roots, size_t count, const ollama_name *name, organ_arena *arena,
                         char hint[ORGAN_FOLDER_HINT])
{
    *hint = '\0';
    for (size_t k = 0; k < count * MANIFEST_FOLDERS && !*hint; k++) {
        const char *const folder = manifest_folders[k % MANIFEST_FOLDERS];
        /* manifests-v2, the first folder, has the usual host under its other name */
        const bool renamed = k % MANIFEST_FOLDERS == 0 && is_usual_host(name->host);
        const char *const user = organ_arena_format(arena, "%s/%s/%s/%s", roots[k / MANIFEST_FOLDERS], folder,
                                                    renamed ? OTHER_HOST : name->host, name->user);
        const char *const tags = user ? organ_path_join(arena, user, name->name) : NULL;
        const bool known = tags && organ_is_folder(tags);
        const char *const prefix = known ? organ_arena_format(arena, "ollama:%s:", name->name) : "ollama:";
        organ_folder_names found;
        organ_error ignored = {0};
        if (!tags || !prefix)
            return;
        organ_folder_near(known ? tags : user, known ? name->tag : name->name, arena, prefix, hint);
        if (known && !*hint && organ_folder_list(tags, arena, &found, &ignored) == ORGAN_OK && found.count)
            snprintf(hint, ORGAN_FOLDER_HINT, "; there is ollama:%.60s:%.60s", name->name, found.names[0]);
    }
}

static organ_status ollama_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error)
{
    const char *roots[ORGAN_OLLAMA_ROOTS];
    ollama_name name;
    char *const own = organ_arena_copy(arena, text + strlen("ollama:"), strlen(text) - strlen("ollama:"));
    if (!own)
        return organ_fail_memory(error, text);
    if (strlen(own) > LONGEST_NAME || !split_name(own, &name))
        return organ_fail(error, ORGAN_USAGE, "%s: is not a model name of the form ollama:[HOST/][USER/]NAME[:TAG]",
                          text);
    const size_t count = ollama_roots(arena, roots);
    for (size_t k = 0; k < count; k++) {
        const char *const manifest = find_manifest(roots[k], &name, arena);
        if (manifest)
            return open_named(text, manifest, roots[k], arena, path, error);
    }
    char hint[ORGAN_FOLDER_HINT];
    suggest_name(roots, count, &name, arena, hint);
    return organ_fail(error, ORGAN_USAGE,
                      "%s: no manifest %s/%s/%s/%s in the folders manifests and manifests-v2 of %s%s%s", text,
                      name.host, name.user, name.name, name.tag, roots[0], count > 1 ? " and " SYSTEM_ROOT : "", hint);
}

/* ---- list ---- */

static organ_status add_manifest(organ_name_list *list, const char *const part[4], organ_error *error)
{
    const bool host = !is_usual_host(part[0]), user = host || strcmp(part[1], USUAL_USER) != 0;
    const bool tag = strcmp(part[3], USUAL_TAG) != 0;
    return organ_name_list_add(list, ORGAN_STORE_OLLAMA,
                               organ_arena_format(&list->arena, "ollama:%s%s%s%s%s%s%s", host ? part[0] : "",
                                                  host ? "/" : "", user ? part[1] : "", user ? "/" : "", part[2],
                                                  tag ? ":" : "", tag ? part[3] : ""),
                               error);
}

/* `level` is 0 in the folder of hosts and 3 in the folder of tags; part[0 .. level) are the names of the folders
 * above. */
static organ_status add_manifests(organ_name_list *list, const char *folder, const char *part[4], size_t level,
                                  organ_error *error)
{
    organ_folder_names found;
    organ_folder_list(folder, &list->arena, &found, error);
    for (size_t k = 0; !error->status && !list->truncated && k < found.count; k++) {
        part[level] = found.names[k];
        const char *const below = organ_path_join(&list->arena, folder, found.names[k]);
        if (!below)
            organ_fail_memory(error, folder);
        else if (level == 3)
            add_manifest(list, part, error);
        else if (organ_is_folder(below))
            add_manifests(list, below, part, level + 1, error);
    }
    return error->status;
}

static organ_status ollama_list(organ_name_list *list, organ_error *error)
{
    const char *roots[ORGAN_OLLAMA_ROOTS], *part[4];
    const size_t count = ollama_roots(&list->arena, roots);
    for (size_t k = 0; k < count * MANIFEST_FOLDERS && !error->status; k++) {
        const char *const root = roots[k / MANIFEST_FOLDERS];
        const char *const manifests = organ_path_join(&list->arena, root, manifest_folders[k % MANIFEST_FOLDERS]);
        if (!manifests)
            return organ_fail_memory(error, root);
        if (!organ_is_folder(manifests))
            continue;
        if (!list->roots[ORGAN_STORE_OLLAMA])
            list->roots[ORGAN_STORE_OLLAMA] = root;
        add_manifests(list, manifests, part, 0, error);
    }
    return error->status;
}

const char *const organ_store_titles[ORGAN_STORES] = {
    [ORGAN_STORE_HUB] = "Hugging Face", [ORGAN_STORE_OLLAMA] = "Ollama", [ORGAN_STORE_LMSTUDIO] = "LM Studio"};

static const struct {
    const char *prefix;
    organ_status (*resolve)(const char *text, organ_arena *arena, const char **path, organ_error *error);
    organ_status (*list)(organ_name_list *list, organ_error *error);
} stores[ORGAN_STORES] = {[ORGAN_STORE_HUB] = {"hf:", organ_hub_resolve, organ_hub_list},
                          [ORGAN_STORE_OLLAMA] = {"ollama:", ollama_resolve, ollama_list},
                          [ORGAN_STORE_LMSTUDIO] = {"lmstudio:", organ_lmstudio_resolve, organ_lmstudio_list}};

static organ_store store_of(const char *text)
{
    organ_store store = 0;
    while (store < ORGAN_STORES && strncmp(text, stores[store].prefix, strlen(stores[store].prefix)) != 0)
        store++;
    return store;
}

bool organ_name_is_remote(const char *text, organ_arena *arena)
{
    struct stat about;
    return store_of(text) == ORGAN_STORE_HUB && lstat(text, &about) != 0 && organ_hub_is_missing(text, arena);
}

bool organ_name_has_prefix(const char *text) { return store_of(text) < ORGAN_STORES; }

const char *organ_fetch_hint(const char *text, char hint[ORGAN_FETCH_HINT_ROOM])
{
    const char *const id = strncmp(text, "hf:", 3) == 0 ? text + 3 : text, *const slash = strchr(id, '/');
    const size_t length = slash ? strcspn(slash + 1, "/@") : 0;
    *hint = '\0';
    if (length)
        snprintf(hint, ORGAN_FETCH_HINT_ROOM, "; to download it: organ fetch hf:%.150s -o %.*s", id,
                 (int)(length < 100 ? length : 100), slash + 1);
    return hint;
}

/* Returns whether a text without a prefix can only be meant as ORG/NAME[@REVISION]. */
static bool is_meant_as_name(const char *text, organ_arena *arena)
{
    static const char *const endings[] = {".safetensors", ".gguf", ".json", ".bin"};
    organ_error ignored = {0};
    organ_hub_name name;
    if (organ_hub_name_parse(text, arena, &name, &ignored) != ORGAN_OK || !strchr(name.id, '/') || name.file)
        return false;
    for (size_t k = 0; k < sizeof endings / sizeof *endings; k++)
        if (organ_ends_with(text, endings[k]))
            return false;
    const char *const folder = organ_arena_copy(arena, text, strcspn(text, "/"));
    return folder && !organ_is_folder(folder);
}

/* If the text is meant as a path, *path becomes `text`, and the caller's open reports the missing file. */
static organ_status fail_unknown(const char *text, organ_arena *arena, const char **path, organ_error *error)
{
    const char *const root = organ_hub_root(arena);
    char near[ORGAN_NEAR_ROOM], hint[ORGAN_FETCH_HINT_ROOM];
    *path = text;
    if (!is_meant_as_name(text, arena))
        return ORGAN_OK;
    if (!root || !organ_is_folder(root))
        return organ_fail(error, ORGAN_USAGE,
                          "%s: no file or folder of this name, and there is no Hugging Face cache%s%s%s", text,
                          root ? " " : "", root ? root : "", organ_fetch_hint(text, hint));
    organ_hub_near(text, arena, near);
    return organ_fail(error, ORGAN_USAGE,
                      "%s: no file or folder of this name, nor a model in the Hugging Face cache %s%s%s", text, root,
                      near, *near ? "" : organ_fetch_hint(text, hint));
}

organ_status organ_name_find(const char *text, organ_arena *arena, const char **path, organ_error *error)
{
    const organ_store store = store_of(text);
    organ_status status = ORGAN_OK;
    *path = NULL;
    if (store < ORGAN_STORES)
        status = stores[store].resolve(text, arena, path, error);
    else if (organ_hub_has(text, arena))
        status = organ_hub_resolve(text, arena, path, error);
    if (status != ORGAN_OK)
        *path = NULL; /* a store sets *path before it checks the file */
    return status;
}

/* A text without a prefix that begins with '/' or '.' or has no '/' is always a path. */
organ_status organ_name_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error)
{
    struct stat about;
    const organ_store store = store_of(text);
    *path = text;
    if (organ_http_is_url(text) || lstat(text, &about) == 0)
        return ORGAN_OK;
    if (store == ORGAN_STORES && (*text == '/' || *text == '.' || !strchr(text, '/')))
        return ORGAN_OK;
    if (organ_name_find(text, arena, path, error) != ORGAN_OK || *path)
        return error->status;
    return fail_unknown(text, arena, path, error);
}

size_t organ_name_roots(organ_arena *arena, const char *roots[ORGAN_NAME_ROOTS])
{
    const char *const others[] = {organ_hub_root(arena), organ_lmstudio_root(arena)};
    size_t count = ollama_roots(arena, roots);
    for (size_t k = 0; k < sizeof others / sizeof *others; k++)
        if (others[k])
            roots[count++] = others[k];
    return count;
}

/* ---- lists ---- */

static int by_store_and_name(const void *a, const void *b)
{
    const organ_named_model *const x = a, *const y = b;
    return x->store != y->store ? (int)x->store - (int)y->store : strcmp(x->name, y->name);
}

static organ_status resolve_row(organ_name_list *list, organ_named_model *model, organ_error *error)
{
    organ_error fault = {0};
    if (stores[model->store].resolve(model->name, &list->arena, &model->path, &fault) == ORGAN_OK)
        return ORGAN_OK;
    model->path = NULL;
    model->fault = organ_arena_copy(&list->arena, fault.message, strlen(fault.message));
    return model->fault ? ORGAN_OK : organ_fail_memory(error, model->name);
}

/* A store may have a model twice, for the user and for the system or in two layouts. The entries of one model do not
 * differ yet, because resolve_row sets the paths later. */
static void drop_repeated(organ_name_list *list)
{
    size_t kept = list->count > 0;
    for (size_t k = 1; k < list->count; k++)
        if (by_store_and_name(&list->models[k], &list->models[kept - 1]) != 0)
            list->models[kept++] = list->models[k];
    list->count = kept;
}

organ_status organ_names_list(organ_name_list *list, organ_error *error)
{
    *list = (organ_name_list){0};
    for (organ_store store = 0; store < ORGAN_STORES && !error->status; store++)
        stores[store].list(list, error);
    if (list->count)
        qsort(list->models, list->count, sizeof *list->models, by_store_and_name);
    drop_repeated(list);
    for (size_t k = 0; k < list->count && !error->status; k++)
        resolve_row(list, &list->models[k], error);
    return error->status;
}

void organ_names_list_release(organ_name_list *list)
{
    free(list->models);
    organ_arena_release(&list->arena);
    *list = (organ_name_list){0};
}
