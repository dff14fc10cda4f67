/* SPDX-License-Identifier: MIT
 * The three stores of models, each in a file of its own. Each store has a function that resolves a name without its
 * prefix (`text` is the name with it, for messages), and a function that appends all names of the store to a list; the
 * latter leaves the members `path` and `fault` empty. */
#ifndef ORGAN_STORES_H
#define ORGAN_STORES_H

#include "formats/names/names.h"

organ_status organ_hub_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);
organ_status organ_ollama_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);
organ_status organ_lmstudio_resolve(const char *text, organ_arena *arena, const char **path, organ_error *error);

/* Sets the folders in which Ollama keeps models: that of OLLAMA_MODELS, or else those of the user and of the system.
 * Returns their number. */
enum { ORGAN_OLLAMA_ROOTS = 2 };
size_t organ_ollama_roots(organ_arena *arena, const char *roots[ORGAN_OLLAMA_ROOTS]);

/* Returns the folder of LM Studio's models; NULL if HOME is not set, or without memory. */
const char *organ_lmstudio_root(organ_arena *arena);

organ_status organ_hub_list(organ_name_list *list, organ_error *error);
organ_status organ_ollama_list(organ_name_list *list, organ_error *error);
organ_status organ_lmstudio_list(organ_name_list *list, organ_error *error);

/* Returns true, without a message, if the cache has an entry for a name without a prefix. */
bool organ_hub_has(const char *text, organ_arena *arena);

/* Returns true, without a message, if the cache has neither an entry for the name nor, for a revision that is named,
 * its ref or snapshot. */
bool organ_hub_is_missing(const char *text, organ_arena *arena);

/* "; did you mean 'ORG/NAME'?", or "". */
#define ORGAN_NEAR_ROOM 256
void organ_hub_near(const char *text, organ_arena *arena, char near[ORGAN_NEAR_ROOM]);

#endif
