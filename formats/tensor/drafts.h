/* SPDX-License-Identifier: MIT
 * A table of the blocks for multi-token prediction (MTP): how models name their tensors, and how servers run them. A
 * block predicts the token after the next one from a state of the model's layers (the trunk) and from the embedding of
 * the next token: a norm of each, a projection M of both together, a layer, a norm and the output head. */
#ifndef ORGAN_TENSOR_DRAFTS_H
#define ORGAN_TENSOR_DRAFTS_H

#include <organ/models.h>

/* Parts of a block beside its layer. */
typedef enum organ_draft_part {
    DRAFT_PROJECT,        /* M: hidden_size x 2 hidden_size */
    DRAFT_NORM_EMBEDDING, /* of the embedding of the next token */
    DRAFT_NORM_HIDDEN,    /* of the trunk's state */
    DRAFT_NORM_HEAD,      /* before the output head; missing in some GGUF files: it is then the model's final norm */
    DRAFT_HEAD,           /* an output head of the block's own */
    DRAFT_NORM_FEED,      /* before the feed-forward, if a block has several layers of the model's list */
    DRAFT_PROJECT_STATE,  /* the columns of M that read the state, where DRAFT_PROJECT has only the others */
    DRAFT_PARTS
} organ_draft_part;

/* Models whose blocks have the same names and are run alike. */
typedef struct organ_draft_family {
    const char *name; /* of the models whose names the family has first, for messages and reports */
    bool listed;      /* only models of the types that formats/architecture/mtp_types.c lists for it are of the family;
                         false: all that have its names and are of no such type */
    /* Names of safetensors files; '#' stands for the number of the block. The layer's tensors follow `layer_prefix`.
     * NULL: the block continues the model's layers, and its names follow that of the layer. */
    const char *layer_prefix;
    const char *parts[DRAFT_PARTS]; /* NULL: there is no such part */
    bool shared;                    /* all blocks have the parts in common, and only layers of their own */
    bool hidden_first;              /* M reads the state first, then the embedding */
    bool raw_state;                 /* DRAFT_NORM_HIDDEN reads the state of the last layer without the final norm */
    bool raw_again;  /* a later block reads the outputs of the block before without a norm for the head */
    bool raw_end;    /* the output head reads the layer's outputs without a norm */
    bool own_head;   /* servers use DRAFT_HEAD of safetensors files, not the output head of the model in its place */
    bool windowed;   /* the layer has a sliding window, as the last one of the model's layers that has one */
    bool joined;     /* llama.cpp requires q, k and v of the layer in one tensor, also where the model has them apart */
    unsigned layers; /* layers of the model's list that a block consists of */
    const char *gguf_norm; /* DRAFT_NORM_HEAD in GGUF files; NULL: as in organ_draft_gguf_parts */
} organ_draft_family;

/* Returns family `index`, in the order in which they are tried; NULL after the last. */
const organ_draft_family *organ_draft_family_at(size_t index);

/* Returns the family of that name; NULL: there is none. */
const organ_draft_family *organ_draft_family_named(const char *name);

/* Finds a tensor of a block by its name, which for safetensors is whole if the family has a prefix. Otherwise, and for
 * GGUF files, `name` is the rest after the name of the layer. Sets *part, and DRAFT_PARTS with *tail, the name after
 * the prefix, for a tensor of a layer of the block. With a prefix sets *layer to the number of the layer among those of
 * all blocks; parts that blocks share are in layer 0. Returns false if the name is none of a block. */
bool organ_draft_find(const organ_draft_family *family, bool gguf, const char *name, unsigned *layer,
                      organ_draft_part *part, const char **tail);

/* Writes the name of a part of block `block`, whole or after that of the layer as organ_draft_find reads it. Returns
 * false if the family has no such part. */
bool organ_draft_name(const organ_draft_family *family, bool gguf, unsigned block, organ_draft_part part,
                      char name[256]);

/* Returns whether the word from `word` to before `end` is the first of the names of a family that follow no layer of
 * the model, after "model.". */
bool organ_draft_begins(const char *word, const char *end);

/* The tensors of a layer that are one in GGUF for a family with `joined`: weights, and biases, of q, k and v. */
extern const char *const organ_draft_apart[6];
/* Returns the name after that of the layer of the GGUF tensor in which blocks of a family with `joined` have the rows
 * of the tensor `tail`, such as "attn_qkv.weight" for "attn_q.weight"; NULL: they have `tail`. */
const char *organ_draft_joined(const organ_draft_family *family, const char *tail);

/* Returns whether the part is a matrix; the others are norms. */
static inline bool organ_draft_is_matrix(organ_draft_part part)
{
    return part == DRAFT_PROJECT || part == DRAFT_HEAD || part == DRAFT_PROJECT_STATE;
}

/* Returns the role of a block's part whose name after the layer is `module`, without ".weight"; ORGAN_ROLE_OTHER: it is
 * none, or a norm, whose names end like those of other norms. */
organ_role organ_draft_module_role(const char *module);

/* Names of the parts in GGUF files, after that of the layer, for all families. */
extern const char *const organ_draft_gguf_parts[DRAFT_PARTS];

#endif
