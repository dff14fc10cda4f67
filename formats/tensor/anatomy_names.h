/* SPDX-License-Identifier: MIT
 * The table of names that anatomy.c reads: which module of a language model has which role. */
#ifndef ORGAN_ANATOMY_NAMES_H
#define ORGAN_ANATOMY_NAMES_H

#include "formats/tensor/tensor.h"

/* The role of a module's weight. `module` is the name without the number of its layer, without other numbers and
 * without ".weight": "self_attn.q_proj"; `in_layer` says whether the name had a layer. ORGAN_ROLE_OTHER if no row of
 * the table matches. */
organ_role organ_anatomy_module_role(const char *module, bool in_layer);

/* Whether the module, `length` bytes and not empty, ends with the pattern: whole words between dots, or with a pattern
 * that begins with '*' the end of a word. */
bool organ_anatomy_ends(const char *module, size_t length, const char *pattern);

#endif
