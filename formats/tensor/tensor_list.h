/* SPDX-License-Identifier: MIT
 * The list of a model's tensors, to which the readers of its files append, with a hash table of their names. */
#ifndef ORGAN_TENSOR_TENSOR_LIST_H
#define ORGAN_TENSOR_TENSOR_LIST_H

#include "formats/base/arena.h"
#include "formats/base/rows.h"

#include <organ/base.h>
#include <organ/models.h>
#include <stdbool.h>

/* A list whose members are all zero is empty. */
typedef struct organ_tensor_list {
    organ_tensor *tensors;
    size_t count, capacity;
    organ_arena arena;      /* memory of names and shapes */
    organ_name_table names; /* name -> index into tensors */
    size_t wrapped;         /* number of tensors whose names in the file have words that organ_tensor_unwrap removed */
} organ_tensor_list;

/* Appends a copy of *tensor, whose name and shape must outlive the list or be in its arena. Does not enter the name
 * into `names`. Returns ORGAN_IO if memory is exhausted. */
organ_status organ_tensor_list_append(organ_tensor_list *list, const organ_tensor *tensor, organ_error *error);

/* Removes from `name` the words that wrappers of PyTorch put into the names of a model's tensors: "_orig_mod."
 * (torch.compile), "_fsdp_wrapped_module." and "_checkpoint_wrapped_module." at the beginning and after each '.',
 * "module." (DataParallel) at the beginning. Returns whether the name had such a word. */
bool organ_tensor_unwrap(char *name);

/* Replaces each stack of routed experts, "X.experts.gate_up_proj" of experts x (gate rows, then up rows) x columns or
 * "X.experts.down_proj" (Granite: "X.input_linear.weight", "X.output_linear.weight"), by the matrices of its experts,
 * "X.experts.0.gate_proj.weight" and so on, which are in the same bytes. Returns ORGAN_BAD_INPUT if the list has such a
 * name already, ORGAN_IO if memory is exhausted; the list is then unchanged. */
organ_status organ_tensor_list_unstack(organ_tensor_list *list, organ_error *error);

/* Removes each tensor whose name `names` maps to a later tensor of the list, and renumbers the others. Returns the
 * number of removed tensors. If it is not 0, *first becomes a copy of the first one, and *used the file of the tensor
 * that has replaced it. */
size_t organ_tensor_list_drop_replaced(organ_tensor_list *list, organ_tensor *first, uint32_t *used);

/* Moves `tensors` to a memory-mapped file if the list is large (organ_rows_to_file). The caller must not append
 * afterwards. The addresses of the tensors may change, so pointers from before the call are invalid. */
void organ_tensor_list_to_file(organ_tensor_list *list);

/* Frees the tensors, their names and shapes in the arena, and the hash table; the list is then empty. */
void organ_tensor_list_release(organ_tensor_list *list);

/* Returns whether tensors of the role are those of a vision or an audio tower. */
static inline bool organ_role_is_tower(organ_role role)
{
    return role == ORGAN_ROLE_VISION || role == ORGAN_ROLE_AUDIO;
}

/* ---- the table of names, which maps modules of a language model to roles ---- */

/* Returns the role of a module's weight, or ORGAN_ROLE_OTHER if no row of the table matches. `module` is a tensor
 * name without its part up to the layer number, without numbers and ".weight": "self_attn.q_proj". `in_layer` is true
 * if the name had a layer number. */
organ_role organ_anatomy_module_role(const char *module, bool in_layer);

/* Returns true if the module (`length` bytes, not empty) ends with the pattern in whole words between dots. For a
 * pattern that begins with '*', the last word only has to end with the rest of the pattern. */
bool organ_anatomy_ends(const char *module, size_t length, const char *pattern);

/* ---- tensors whose entries are those of routed experts ---- */

/* Returns whether the tensor is a router, its bias or another part of a router; false for the gate of a shared
 * expert, for scales and for tables of experts by token. */
bool organ_anatomy_is_router(const char *tensor_name);

/* Returns whether the tensor has an entry for each routed expert of its layer: a router, its bias, scales of experts,
 * or a stack of all experts. `anatomy` is that of the name. */
bool organ_anatomy_follows_experts(const char *tensor_name, const organ_anatomy *anatomy);

/* Returns the axis of these entries: the first axis; for a matrix of one row the second (ERNIE 4.5 stores the
 * correction of its router as such a matrix). */
unsigned organ_expert_axis(unsigned rank, const uint64_t *shape);

#endif
