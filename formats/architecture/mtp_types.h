/* SPDX-License-Identifier: MIT
 * A table of the model types with blocks for multi-token prediction (MTP): the family of their names (drafts.h), the
 * member of config.json that counts the blocks, and what llama.cpp does with them. */
#ifndef ORGAN_ARCHITECTURE_MTP_TYPES_H
#define ORGAN_ARCHITECTURE_MTP_TYPES_H

#include "formats/architecture/pairing.h"
#include "formats/tensor/drafts.h"

#include <jansson.h>
#include <string.h>

/* The key of GGUF files with the number of blocks, which block_count includes. */
#define ORGAN_MTP_KEY "nextn_predict_layers"

/* Returns whether a member of config.json of this name states the number of blocks (organ_pairing_member). */
bool organ_mtp_is_counter(const char *member);

typedef struct organ_mtp_type {
    const char *types;        /* words: model_type of config.json and general.architecture */
    const char *family;       /* organ_draft_family.name */
    const char *name;         /* of the models, for messages and reports */
    const char *architecture; /* general.architecture that rows share; NULL: it is in one row */
    const char *counter;      /* the member that is written, and read first; NULL: none is read */
    bool optional;            /* published files lack the member, and loaders count tensors or have a constant */
    unsigned runs;            /* the most blocks that llama.cpp runs; 0: it runs none */
    const char *reason;       /* with `runs` 0: why, as the end of a sentence */
    const char *dispute;      /* how loaders differ, and what organ does; NULL: they agree */
    /* Regular expressions, divided by spaces, with which the names of the block's modules begin in the file, in vLLM
     * 0.33 and in SGLang 0.5.23; '#' stands for the number that its layer has after those of the model. NULL: those of
     * organ_mtp_served */
    const char *served;
    bool like_first; /* SGLang names the block's modules like those of the model's layer 0 */
} organ_mtp_type;

/* Returns the row that lists `type`; NULL: none does. */
const organ_mtp_type *organ_mtp_type_of(const char *type);

/* Returns the family of all blocks of models of this type; NULL: they are of the first family that lists no types and
 * whose names the files have. */
const organ_draft_family *organ_mtp_family_of(const char *type);

/* Returns whether blocks of the two types are alike: those of GLM-4.7-Flash and DeepSeek-V3 share an architecture of
 * GGUF files, in which none shows its type. */
static inline bool organ_mtp_same(const organ_mtp_type *a, const organ_mtp_type *b)
{
    return a == b || (a->architecture && b->architecture && strcmp(a->architecture, b->architecture) == 0);
}

#define ORGAN_MTP_KEY_ROOM 160
/* Writes the key of GGUF files of the architecture, such as "qwen35.nextn_predict_layers", to `key` and returns it. */
const char *organ_mtp_key(const char *architecture, char key[ORGAN_MTP_KEY_ROOM]);

/* Returns the number of blocks that a GGUF file of the architecture states; -1: it states none. */
int64_t organ_mtp_stated(const organ_gguf *gguf, const char *architecture);

/* Returns the number of blocks that config.json states; -1: it states none. `config` is the object that describes the
 * layers. Sets `member` to the name of the statement, or to type->counter; "" without a counter. */
int64_t organ_mtp_counted(const organ_mtp_type *type, const json_t *config, char member[ORGAN_MEMBER_ROOM]);

/* Returns the number of layers that are not those of blocks, as the model states it. */
int32_t organ_mtp_trunk_layers(const organ_model *model);

/* Returns the number, from 0 on, of the block that has the tensor; -1: none has it. `trunk`: organ_mtp_trunk_layers. */
int64_t organ_mtp_block_of(const char *name, const organ_anatomy *anatomy, int32_t trunk);

/* Returns the expressions `served` of the type (NULL: there is no row). `outside`: the names of the block's tensors are
 * outside the sequence of layers. */
const char *organ_mtp_served(const organ_mtp_type *type, bool outside);

/* Returns the rest of the name of a block's tensor after that of its layer, "self_attn.q_proj.weight"; NULL: it is of
 * no layer. */
const char *organ_mtp_tail_of(const char *name, const organ_anatomy *anatomy);

/* Returns the anatomy of a block's tensor in its layer: that of a tensor of the model's layers with the same end of its
 * name, also for names such as mtp.layers.0, whose organ_anatomy has ORGAN_ROLE_MTP. The block's projection keeps that
 * role; tensors of no block have their own anatomy. `layer` is that of `anatomy`. */
organ_anatomy organ_mtp_anatomy_in_layer(const char *name, const organ_anatomy *anatomy);
/* Returns its role. */
organ_role organ_mtp_role_of(const char *name, const organ_anatomy *anatomy);
/* Returns whether the role of a block's tensor in its layer (organ_mtp_role_of) is that of a projection. */
bool organ_mtp_is_projection(const organ_tensor *tensor);

/* Returns the length of the beginning of a block's name that follows no layer of the model, with the dot after it, such
 * as that of "mtp.layers.0.", and sets *layer to the number in it; 0: the name is none, or that of a part outside of
 * the block's layers. */
size_t organ_mtp_name_prefix(const char *name, unsigned *layer);

#define ORGAN_MTP_NAME_ROOM 512
/* Returns the name that such a tensor has as one of layer `trunk` + *layer of the model, written to `room`; other names
 * are returned. */
const char *organ_mtp_layer_name(const char *name, int32_t trunk, char room[ORGAN_MTP_NAME_ROOM]);

/* Returns the anatomy that the tensor has as one of layer `trunk` + *layer; the projection has ORGAN_ROLE_MTP in the
 * layer of its block, further ones of a block none. Other tensors, and all with a `trunk` below 1, have their own. */
organ_anatomy organ_mtp_anatomy(const organ_tensor *tensor, int32_t trunk);

/* Gives the tensors of such blocks the anatomy of layers after the model's. Parts outside of the block's layers keep
 * ORGAN_ROLE_MTP. Does nothing if they have it already. */
void organ_mtp_number_layers(organ_model *model);

/* Returns whether a GGUF model, such as a file mtp-NAME.gguf, has layers of blocks and none of the other layers. */
bool organ_mtp_is_alone(const organ_model *model);

#endif
