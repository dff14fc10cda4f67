/* SPDX-License-Identifier: MIT
 * Helpers of the stores of models: their folders from environment variables, checks of the parts of a name, sorted
 * lists of a folder's entries, hints for mistyped names. */
#ifndef ORGAN_NAMES_STORES_H
#define ORGAN_NAMES_STORES_H

#include "formats/base/arena.h"
#include "formats/names/names.h"

#include <dirent.h>
#include <organ/base.h>
#include <stdbool.h>
#include <stddef.h>

/* Formats like printf into memory of the arena. Returns NULL if memory is exhausted. */
char *organ_arena_format(organ_arena *arena, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Returns the value of an environment variable as a path in the arena, with a leading "~/" and "$NAME" or "${NAME}"
 * replaced as Python's expanduser and expandvars do. Returns NULL if the variable is unset or empty, or if memory is
 * exhausted. */
const char *organ_folder_of(const char *variable, organ_arena *arena);

/* Returns "$HOME/PATH" in the arena; NULL if HOME is not set, or if memory is exhausted. */
const char *organ_folder_at_home(const char *path, organ_arena *arena);

/* Returns true if `path` is a directory or a link to one. */
bool organ_is_folder(const char *path);

/* Returns organ_path_stays_inside of the path, without hidden segments. */
bool organ_is_plain_path(const char *path);

/* Returns true for a path of organ_is_plain_path with one segment: a name without "/". */
bool organ_is_plain_name(const char *name);

/* The names in a folder, sorted by their bytes; all memory belongs to an arena. */
typedef struct organ_folder_names {
    const char **names;
    size_t count;
} organ_folder_names;

/* Sets *found to the names in the folder `path` that do not begin with a dot, sorted; only the first 100,000. A
 * missing folder has no names. Returns ORGAN_IO if the folder cannot be read or memory is exhausted. */
organ_status organ_folder_list(const char *path, organ_arena *arena, organ_folder_names *found, organ_error *error);

#define ORGAN_FOLDER_HINT 200 /* bytes */

/* Sets `hint` to "; did you mean '" + before + NAME + "'?", where NAME is the name in `folder` that is most similar
 * to `typed`. Sets it to "" if none is similar or the folder cannot be read. */
void organ_folder_near(const char *folder, const char *typed, organ_arena *arena, const char *before,
                       char hint[ORGAN_FOLDER_HINT]);

/* ---- lists of names ---- */

/* Appends a model to the list; if the list is full, sets list->truncated instead. `name` must live as long as the
 * list; NULL means that the caller had no memory for it. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_name_list_add(organ_name_list *list, organ_store store, const char *name, organ_error *error);

/* Appends the names of the models in `folder`: PREFIX+SUFFIX, the name of the folder itself, if it has safetensors, a
 * config.json, exactly one GGUF model, or no files at all; PREFIX/FILE+SUFFIX for each GGUF model (the first part of a
 * split one) if it has several. Appends nothing if the folder has other files only. */
organ_status organ_name_list_add_folder(organ_name_list *list, organ_store store, const char *folder,
                                        const char *prefix, const char *suffix, organ_error *error);

/* ---- the three stores of models ---- */

/* organ_STORE_resolve sets *path to the file or folder of a model, `text` being the name with its prefix; only names of
 * the hub may lack it. organ_STORE_list appends the names of all models of the store to a list and leaves `path` and
 * `fault` of each NULL. */

/* Set *path to the file or folder of the model that `text` names. Return the errors of
 * organ_name_resolve; *path may be set then. */
organ_status organ_hub_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);
organ_status organ_lmstudio_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);

/* Sets roots[] to the folders in which Ollama keeps models: OLLAMA_MODELS, or else the folders of the user and of
 * the system. Returns their number. */
enum { ORGAN_OLLAMA_ROOTS = 2 };

/* Returns the folder of LM Studio's models; NULL if HOME is not set, or if memory is exhausted. */
const char *organ_lmstudio_root(organ_arena *arena);

/* Append the names of all models of the store to the list and set list->roots of the store. A store whose folder does
 * not exist has no models. Return ORGAN_IO if a folder cannot be read or memory is exhausted. */
organ_status organ_hub_list(organ_name_list *list, organ_error *error);
organ_status organ_lmstudio_list(organ_name_list *list, organ_error *error);

/* Returns true if the Hugging Face cache has a folder for the name ORG/NAME. Reports no errors. */
bool organ_hub_has(const char *text, organ_arena *arena);

/* Returns true if the Hugging Face cache has no folder for the model that `text` names, or neither a ref nor a snapshot
 * of the revision in `text`. Returns false for a malformed name. Reports no errors. */
bool organ_hub_is_missing(const char *text, organ_arena *arena);

#define ORGAN_NEAR_ROOM 256 /* bytes */

/* Sets `near` to "; did you mean 'hf:ORG/NAME'?" with the model of the cache whose name is most similar to `text`; to
 * "" if none is similar. */
void organ_hub_near(const char *text, organ_arena *arena, char near[ORGAN_NEAR_ROOM]);

#endif
