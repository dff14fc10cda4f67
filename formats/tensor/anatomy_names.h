/* SPDX-License-Identifier: MIT
 * The table of names that anatomy.c uses: it maps modules of a language model to roles. */
#ifndef ORGAN_ANATOMY_NAMES_H
#define ORGAN_ANATOMY_NAMES_H

#include <organ/models.h>

/* Returns the role of a module's weight, or ORGAN_ROLE_OTHER if no row of the table matches. `module` is a tensor
 * name without its part up to the layer number, without numbers and ".weight": "self_attn.q_proj". `in_layer` is true
 * if the name had a layer number. */
organ_role organ_anatomy_module_role(const char *module, bool in_layer);

/* Returns true if the module (`length` bytes, not empty) ends with the pattern in whole words between dots. For a
 * pattern that begins with '*', the last word only has to end with the rest of the pattern. */
bool organ_anatomy_ends(const char *module, size_t length, const char *pattern);

#endif
