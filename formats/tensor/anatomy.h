/* SPDX-License-Identifier: MIT
 * The one table that knows names: what a tensor of a language model is for, read from its name. */
#ifndef ORGAN_ANATOMY_H
#define ORGAN_ANATOMY_H

#include "formats/base/api.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

ORGAN_API_BEGIN

/* The part of the body: skeleton = attention, organ = feed-forward, embed = embedding and output head, norm = normalisation. */
typedef enum organ_group { ORGAN_GROUP_SKELETON, ORGAN_GROUP_ORGAN, ORGAN_GROUP_EMBED, ORGAN_GROUP_NORM, ORGAN_GROUP_OTHER } organ_group;

typedef enum organ_role {
    ORGAN_ROLE_OTHER, /* unknown name: copied, never operated on by default */
    ORGAN_ROLE_EMBED,
    ORGAN_ROLE_OUTPUT, /* lm_head */
    ORGAN_ROLE_NORM,
    ORGAN_ROLE_Q,
    ORGAN_ROLE_K,
    ORGAN_ROLE_V,
    ORGAN_ROLE_QKV, /* fused, Phi-3 */
    ORGAN_ROLE_O,
    ORGAN_ROLE_ATTENTION, /* any other weight of the attention: the low-rank pairs of latent attention, gates, sinks */
    ORGAN_ROLE_GATE,
    ORGAN_ROLE_UP,
    ORGAN_ROLE_GATE_UP, /* fused, Phi-3 and stacked experts */
    ORGAN_ROLE_DOWN,
    ORGAN_ROLE_ROUTER,    /* chooses the experts */
    ORGAN_ROLE_BIAS,      /* the bias of anything but a normalisation; its group is that of the weight (organ_anatomy.group) */
    ORGAN_ROLE_COMPANION, /* scales, zero points, group indices ... of a packed weight; its group is that of the weight */
    ORGAN_ROLE_COUNT
} organ_role;

typedef struct organ_role_info {
    const char *name; /* "q_proj", "gate_up_proj", "embed", ... */
    organ_group group;
    bool projection; /* one of the projections that pruning operates on by default */
} organ_role_info;

const organ_role_info *organ_role_describe(organ_role role);
const char *organ_group_name(organ_group group);

/* Which experts a tensor of a feed-forward network belongs to. Reports keep them apart: a routed expert sees a share of the tokens, a
 * shared one sees all. */
typedef enum organ_experts { ORGAN_EXPERTS_NONE, ORGAN_EXPERTS_ROUTED, ORGAN_EXPERTS_SHARED } organ_experts;

typedef struct organ_anatomy {
    organ_role role;
    organ_group group; /* of the role; of a bias or a companion: of what it belongs to */
    organ_experts experts;
    int32_t layer;  /* 0-based, or -1 */
    int32_t expert; /* 0-based; -1 for none and for stacked experts (one 3-D tensor of all) */
} organ_anatomy;

/* Reads the HF name of a tensor ("model.layers.3.mlp.experts.7.down_proj.weight") or its GGUF name ("blk.3.ffn_down_exps.weight"). Never
 * fails: an unknown name is ORGAN_ROLE_OTHER. Numbers that do not fit are -1. Multimodal prefixes ("model.language_model.layers.") are
 * understood; vision and audio towers, draft heads and whatever else stands under an unknown prefix are ORGAN_ROLE_OTHER with layer -1.
 * The codes of a packed weight ("weight_packed", "qweight", "gate_up_proj_blocks") have its role, its companions ("weight_scale", "qzeros",
 * "g_idx", ...) are ORGAN_ROLE_COMPANION in its group. */
organ_anatomy organ_anatomy_of(const char *tensor_name);

/* The module that a tensor belongs to, whatever it is: the first *length bytes of the name, without ".weight" and without what the tensors
 * of a packed weight are called. True if the name is that of a companion. */
bool organ_anatomy_companion(const char *tensor_name, size_t *length);

/* Rows of reports: the roles, those of routed and of shared experts by themselves. */
#define ORGAN_ANATOMY_ROWS (3 * ORGAN_ROLE_COUNT)
unsigned organ_anatomy_row(const organ_anatomy *anatomy);

/* "gate_proj", "experts.gate_proj", "shared_experts.gate_proj", ...; NULL for a row that no tensor is in. */
const char *organ_anatomy_row_name(unsigned row);
const char *organ_anatomy_role_name(const organ_anatomy *anatomy); /* of its row */

/* The row of that name, ORGAN_ANATOMY_ROWS if there is none, and the role of a row: what all experts have in common. */
unsigned organ_anatomy_row_named(const char *name);
organ_role organ_anatomy_row_role(unsigned row); /* ORGAN_ROLE_OTHER for ORGAN_ANATOMY_ROWS */

/* Where the tensor stands in its layer: the name without everything up to and with the layer number, without the number of the expert and
 * without ".weight": "self_attn.q_proj", "mlp.down_proj", "mlp.experts.down_proj", "ffn_down_exps"; where there is no layer, the whole name
 * without ".weight". `out` gets at most `size` bytes with its NUL (cut if longer). */
void organ_anatomy_module(const char *tensor_name, char *out, unsigned long size);

ORGAN_API_END

#endif
