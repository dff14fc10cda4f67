/* SPDX-License-Identifier: MIT
 * Appends names of models to an organ_name_list. */
#ifndef ORGAN_NAME_LIST_H
#define ORGAN_NAME_LIST_H

#include "formats/names/names.h"

/* Appends a model to the list; if the list is full, sets list->truncated instead. `name` must live as long as the
 * list; NULL means that the caller had no memory for it. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_name_list_add(organ_name_list *list, organ_store store, const char *name, organ_error *error);

/* Appends the names of the models in `folder`: PREFIX+SUFFIX, the name of the folder itself, if it has safetensors, a
 * config.json, exactly one GGUF model, or no files at all; PREFIX/FILE+SUFFIX for each GGUF model (the first part of a
 * split one) if it has several. Appends nothing if the folder has other files only. */
organ_status organ_name_list_add_folder(organ_name_list *list, organ_store store, const char *folder,
                                        const char *prefix, const char *suffix, organ_error *error);

#endif
