/* SPDX-License-Identifier: MIT
 * The three stores of models, each in a file of its own. organ_STORE_resolve sets *path to the file or folder of a
 * model, `text` being the name with its prefix; only names of the hub may lack it. organ_STORE_list appends the
 * names of all models of the store to a list and leaves `path` and `fault` of each empty. */
#ifndef ORGAN_STORES_H
#define ORGAN_STORES_H

#include "formats/names/names.h"

organ_status organ_hub_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);
organ_status organ_ollama_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);
organ_status organ_lmstudio_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);

/* Sets roots[] to the folders in which Ollama keeps models: OLLAMA_MODELS, or else the folders of the user and of
 * the system. Returns their number. */
enum { ORGAN_OLLAMA_ROOTS = 2 };
size_t organ_ollama_roots(organ_arena *arena, const char *roots[ORGAN_OLLAMA_ROOTS]);

/* Returns the folder of LM Studio's models; NULL if HOME is not set, or if memory is exhausted. */
const char *organ_lmstudio_root(organ_arena *arena);

organ_status organ_hub_list(organ_name_list *list, organ_error *error);
organ_status organ_ollama_list(organ_name_list *list, organ_error *error);
organ_status organ_lmstudio_list(organ_name_list *list, organ_error *error);

/* Returns true if the Hugging Face cache has an entry for the name ORG/NAME. Reports no errors. */
bool organ_hub_has(const char *text, organ_arena *arena);

/* Returns true if the Hugging Face cache has no entry for the name, or neither a ref nor a snapshot of the revision
 * in the name. Reports no errors. */
bool organ_hub_is_missing(const char *text, organ_arena *arena);

/* Sets `near` to "; did you mean 'hf:ORG/NAME'?" with the model of the cache whose name is most similar to `text`,
 * or to "". */
#define ORGAN_NEAR_ROOM 256
void organ_hub_near(const char *text, organ_arena *arena, char near[ORGAN_NEAR_ROOM]);

#endif
