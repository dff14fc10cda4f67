/* SPDX-License-Identifier: MIT
 * Appends names to a list of models. */
#ifndef ORGAN_NAME_LIST_H
#define ORGAN_NAME_LIST_H

#include "formats/names/names.h"

/* Appends a model to the list; sets `cut` instead if it is full. ORGAN_IO without memory. */
organ_status organ_name_list_add(organ_name_list *list, organ_store store, const char *name, organ_error *error);

/* Appends "PREFIX/FILE" for each model file in the folder: each GGUF file (of a split one the first part) if there are
 * several models, else PREFIX itself for the folder. Adds nothing if the folder has no model. */
organ_status organ_name_list_add_folder(organ_name_list *list, organ_store store, const char *folder,
                                        const char *prefix, const char *suffix, organ_error *error);

#endif
