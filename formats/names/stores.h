/* SPDX-License-Identifier: MIT
 * The three stores of models, each in a file of its own. organ_STORE_resolve sets *path to the file or folder of a
 * model, `text` being the name with its prefix; only names of the hub may lack it. organ_STORE_list appends the
 * names of all models of the store to a list and leaves `path` and `fault` of each NULL. */
#ifndef ORGAN_STORES_H
#define ORGAN_STORES_H

#include "formats/names/names.h"

/* Set *path to the file or folder of the model that `text` names. Return ORGAN_BAD_INPUT if the store does not have
 * the model, or if its entry is incomplete or malformed; *path may be set then. */
organ_status organ_hub_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);
organ_status organ_ollama_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);
organ_status organ_lmstudio_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);

/* Sets roots[] to the folders in which Ollama keeps models: OLLAMA_MODELS, or else the folders of the user and of
 * the system. Returns their number. */
enum { ORGAN_OLLAMA_ROOTS = 2 };
size_t organ_ollama_roots(organ_arena *arena, const char *roots[ORGAN_OLLAMA_ROOTS]);

/* Returns the folder of LM Studio's models; NULL if HOME is not set, or if memory is exhausted. */
const char *organ_lmstudio_root(organ_arena *arena);

/* Append the names of all models of the store to the list and set list->roots of the store. A store whose folder does
 * not exist has no models. Return ORGAN_IO if a folder cannot be read or memory is exhausted. */
organ_status organ_hub_list(organ_name_list *list, organ_error *error);
organ_status organ_ollama_list(organ_name_list *list, organ_error *error);
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
