/* SPDX-License-Identifier: MIT */
#include "formats/names/names.h"

#include "formats/base/path.h"
#include "formats/names/folders.h"
#include "formats/names/stores.h"
#include "formats/remote/remote.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

const char *const organ_store_titles[ORGAN_STORES] = {
    [ORGAN_STORE_HUB] = "Hugging Face", [ORGAN_STORE_OLLAMA] = "Ollama", [ORGAN_STORE_LMSTUDIO] = "LM Studio"};

static const struct {
    const char *prefix;
    organ_status (*resolve)(const char *text, organ_arena *arena, const char **path, organ_error *error);
    organ_status (*list)(organ_name_list *list, organ_error *error);
} stores[ORGAN_STORES] = {[ORGAN_STORE_HUB] = {"hf:", organ_hub_resolve, organ_hub_list},
                          [ORGAN_STORE_OLLAMA] = {"ollama:", organ_ollama_resolve, organ_ollama_list},
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

/* If the text has the form ORG/NAME and the folder of the Hugging Face cache exists, there is no such model.
 * Otherwise *path is `text`, and the caller's open reports the missing file. */
static organ_status fail_unknown(const char *text, organ_arena *arena, const char **path, organ_error *error)
{
    organ_error ignored = {0};
    organ_hub_name name;
    const char *const root = organ_hub_root(arena);
    char near[ORGAN_NEAR_ROOM];
    *path = text;
    if (!root || !organ_is_folder(root) || organ_hub_name_parse(text, arena, &name, &ignored) != ORGAN_OK ||
        !strchr(name.id, '/') || name.file)
        return ORGAN_OK;
    organ_hub_near(text, arena, near);
    return organ_fail_errno(error, ENOENT,
                            "%s: no model here, nor is there one of that name in the Hugging Face cache %s%s", text,
                            root, near);
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
    size_t count = organ_ollama_roots(arena, roots);
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
