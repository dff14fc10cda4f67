/* SPDX-License-Identifier: MIT
 * Names of models in the folders where other programs keep them, and the paths behind these names:
 *
 *   hf:ORG/NAME[/FILE][@REVISION]    the cache of huggingface_hub; ORG/NAME without "hf:" if no such path exists
 *   ollama:[HOST/][USER/]NAME[:TAG]  the GGUF file of a model of Ollama
 *   lmstudio:PUBLISHER/NAME[/FILE]   a folder or a file of LM Studio
 *
 * Environment variables decide where these folders are, as in those programs (docs/names.md lists them). */
#ifndef ORGAN_NAMES_H
#define ORGAN_NAMES_H

#include "formats/base/arena.h"
#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>

/* Sets *path to the file or folder of the model that `text` names:
 *   - `text` itself if it is a URL, if a file or folder of this name exists, or if it has neither a prefix nor the
 *     form ORG/NAME;
 *   - otherwise a new path in the arena.
 * Reads refs, manifests and names of files, no weights, and makes no requests. Returns
 *   - ORGAN_USAGE, with the name and the folder that was searched, if no store has the model, revision or file, or if
 *     the name is malformed;
 *   - ORGAN_BAD_INPUT if the entry is incomplete or contradictory (a ref without its snapshot, a link without its
 *     target, a manifest with a wrong digest or size);
 *   - ORGAN_IO if a folder cannot be read.
 * A text without a prefix is a name only if it has the form ORG/NAME, there is no folder ORG, and NAME does not end in
 * .safetensors, .gguf, .json or .bin; any other is a path, and the caller reports that it is missing. */
organ_status organ_name_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);

/* Does the same as organ_name_resolve, but looks only in the stores, not for a path of this name. Sets *path to NULL
 * after an error, and if the text has no prefix and the Hugging Face cache does not have the model. */
organ_status organ_name_find(const char *text, organ_arena *arena, const char **path, organ_error *error);

/* Sets roots[] to the folders of all stores, whether they exist or not. Each path that organ_name_find returns
 * begins with one of them. Returns their number. */
enum { ORGAN_NAME_ROOTS = 4 };
size_t organ_name_roots(organ_arena *arena, const char *roots[ORGAN_NAME_ROOTS]);

/* Returns true for a name "hf:..." that a download could make available: the Hugging Face cache has no folder for the
 * model, or neither a ref nor a snapshot of the revision in the name. Returns false for a malformed name, and if a file
 * of this name exists. */
bool organ_name_is_remote(const char *text, organ_arena *arena);

/* Returns true if the text begins with "hf:", "ollama:" or "lmstudio:". */
bool organ_name_has_prefix(const char *text);

/* Writes advice for a model ORG/NAME or hf:ORG/NAME that is not on this machine, "; to download it: organ fetch ...",
 * or
 * "" if the text has another form. Returns `hint`. */
#define ORGAN_FETCH_HINT_ROOM 320
const char *organ_fetch_hint(const char *text, char hint[ORGAN_FETCH_HINT_ROOM]);

/* ---- lists ---- */

/* The programs whose downloaded models organ finds by name: Hugging Face's cache, Ollama and LM Studio. */
typedef enum organ_store { ORGAN_STORE_HUB, ORGAN_STORE_OLLAMA, ORGAN_STORE_LMSTUDIO, ORGAN_STORES } organ_store;
extern const char *const organ_store_titles[ORGAN_STORES]; /* "Hugging Face", ... */

/* A model that was found in a store. */
typedef struct organ_named_model {
    organ_store store;
    const char *name;  /* with its prefix, as organ_name_resolve takes it */
    const char *path;  /* file or folder of the model; NULL if it cannot be opened */
    const char *fault; /* why `path` is NULL: one sentence; NULL if `path` is set */
} organ_named_model;

#define ORGAN_NAMES_MAX 10000 /* models in an organ_name_list at most */

/* The models of all stores; strings belong to `arena`. */
typedef struct organ_name_list {
    organ_named_model *models; /* by store, then by name */
    size_t count, capacity;
    const char *roots[ORGAN_STORES]; /* folder of each store, NULL if it does not exist */
    bool truncated; /* the stores have more than ORGAN_NAMES_MAX models; the list has the first ones that were found */
    organ_arena arena;
} organ_name_list;

/* Lists the models of all stores, and looks each up to set its path or fault. A store whose folder does not exist has
 * no models. Returns ORGAN_IO if memory is exhausted or a folder cannot be read. The caller releases *list, also after
 * an error. */
organ_status organ_names_list(organ_name_list *list, organ_error *error);
void organ_names_list_release(organ_name_list *list);

/* ---- the cache of huggingface_hub ---- */

/* A name of the form ORG/NAME[/FILE][@REVISION], without "hf:". */
typedef struct organ_hub_name {
    const char *id;       /* "ORG/NAME", or "NAME" for old models without an organisation */
    const char *folder;   /* "models--ORG--NAME" */
    const char *file;     /* file in the repository, or NULL for all of it */
    const char *revision; /* branch, tag or commit; NULL for "main" */
} organ_hub_name;

/* Splits a name ORG/NAME[/FILE][@REVISION], with or without "hf:", into strings in the arena. Returns
 * ORGAN_USAGE, with the name in the message, if it has another form. */
organ_status organ_hub_name_parse(const char *text, organ_arena *arena, organ_hub_name *name, organ_error *error);

/* Returns the path of the cache's folder, whether it exists or not. Returns NULL if neither HOME nor a variable for
 * the folder is set, or if memory is exhausted. */
const char *organ_hub_root(organ_arena *arena);

#endif
