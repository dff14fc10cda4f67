/* SPDX-License-Identifier: MIT
 * Tables for converting a model between safetensors and GGUF, in addition to families.h: the architectures with their
 * general.architecture, and key-values with the members of config.json that have the same meaning. Functions find the
 * part of the model that a tensor is by its name. Both directions of a conversion use the same rows. */
#ifndef ORGAN_FORWARD_CONFIG_EXCHANGE_H
#define ORGAN_FORWARD_CONFIG_EXCHANGE_H

#include "orchestrator/forward/config/families.h"

/* How the value of a key-value is found: in a member of config.json, or computed from the configuration. */
typedef enum exchange_rule {
    EXCHANGE_MEMBER,      /* the value of a member */
    EXCHANGE_ROTATED,     /* rotated dimensions of a head */
    EXCHANGE_WINDOWS,     /* a flag for each layer: it has a window */
    EXCHANGE_GATING,      /* the function of the router: 2 is the logistic */
    EXCHANGE_MLA_KEY,     /* latent attention: width of a head's key and query */
    EXCHANGE_MLA_WIDE,    /* latent numbers and rotated dimensions, the width of a key in the cache */
    EXCHANGE_EPSILON,     /* epsilon of the norms */
    EXCHANGE_NUMBER,      /* the number in exchange_key.words, or the text there */
    EXCHANGE_CONTEXT,     /* longest window */
    EXCHANGE_THETA,       /* base of the rotation */
    EXCHANGE_DENSE,       /* number of leading layers without experts */
    EXCHANGE_INDEXED,     /* a flag for each layer: it has an indexer */
    EXCHANGE_KV_HEADS,    /* heads of k and v of all layers */
    EXCHANGE_ALIBI,       /* the largest bias of ALiBi */
    EXCHANGE_CLIP,        /* limit of q, k and v, if there is one */
    EXCHANGE_KV_LAYERS,   /* an array: heads of k and v of each layer, 1 if they are latent, 0 for recurrent ones */
    EXCHANGE_KERNEL,      /* recurrent layers: tokens in the convolution */
    EXCHANGE_INNER,       /* recurrent layers: heads of values times their width */
    EXCHANGE_STATES,      /* recurrent layers: width of a key */
    EXCHANGE_STEPS,       /* recurrent layers: Mamba: rank of the time steps; else heads of values */
    EXCHANGE_GROUPS,      /* recurrent layers: heads of keys */
    EXCHANGE_TENTH,       /* a tenth of the member */
    EXCHANGE_LAYERS,      /* number of layers */
    EXCHANGE_FEED,        /* width of the dense feed-forwards */
    EXCHANGE_FEED_LAYERS, /* an array: width of each layer's feed-forward or experts, 0 for layers with neither */
    EXCHANGE_TURNED,      /* a flag: attention rotates queries and keys */
    EXCHANGE_SHARED,      /* width of the shared expert */
    EXCHANGE_NORMED,      /* a flag: the factors of a token's experts are divided by their sum */
    EXCHANGE_HEAD,        /* width of a head */
    EXCHANGE_RECURRENT,   /* a flag for each layer: it is recurrent */
    EXCHANGE_INTERVAL,    /* layers from one with attention to the next */
    EXCHANGE_SECTIONS,    /* the member, an array that is extended to four numbers, or the array in `words` */
    EXCHANGE_LONGROPE,    /* factor of the attention, in files with factors of the frequencies */
    EXCHANGE_FULL_HEAD,   /* width of a head in layers without a window */
    EXCHANGE_LOCAL_HEAD,  /* width of a head in layers with a window */
    EXCHANGE_LOCAL_PART,  /* rotated dimensions of a head in layers with a window that have their own rotation */
    EXCHANGE_PER_LAYER,   /* width of per-layer embeddings, or 0 */
    EXCHANGE_ALPHA,       /* alpha of residual_normed */
    /* an array: parameter number `words` of xIELU in each layer; the key has no architecture before it */
    EXCHANGE_XIELU,
    EXCHANGE_HEAD_LAYERS,  /* an array: heads of q of each layer */
    EXCHANGE_EXPERTS,      /* number of experts of a layer */
    EXCHANGE_EXPERTS_USED, /* number of experts used for a token */
    EXCHANGE_GATE_CUTS,    /* an array: the cut of each layer's gates, -infinity for none */
} exchange_rule;

/* A key-value of a GGUF file, and the members of config.json with the same meaning. */
typedef struct exchange_key {
    /* the key without "ARCHITECTURE."; rows with the same key differ by '*' at the end, which is not written */
    const char *key;
    organ_gguf_type type; /* of its value, or of the elements of an array */
    exchange_rule rule;
    /* Members of config.json, separated by blanks; the first that exists has the value. "rope.NAME" is a member of
     * rope_parameters or rope_scaling (of full_attention there), or of config.json itself if these lack it; "swa.NAME"
     * is a member of sliding_attention in rope_parameters. */
    const char *members;
    /* "sigmoid=2 softmax=1": texts in config.json and the numbers that stand for them in GGUF; NULL: the value is a
     * number. "differ", for an array: only files whose layers have different values have the key. For
     * EXCHANGE_RECURRENT a number n: only files in which other layers than every n-th attend have the key. */
    const char *words;
    const char *when; /* "rope.rope_type=yarn": only files whose member has this value have the key; NULL: all files */
} exchange_key;

/* The keys of files of all architectures whose config.json has the member; the last row has no key. */
extern const exchange_key organ_exchange_common[];

/* Returns the row of a key that only some architectures have, or NULL. */
const exchange_key *organ_exchange_key_named(const char *key, size_t length);

/* An architecture that can be converted. */
typedef struct forward_exchange {
    const char *architecture; /* in config.json: the row in families.h */
    const char *gguf;         /* general.architecture */
    const char *keys;         /* keys of organ_exchange_key_named, separated by blanks */
    const char *model_type;   /* model_type of config.json; NULL: the row is not used for GGUF files */
    /* the row is for GGUF files that have this key, or, after '!', lack it or have 0; NULL: for all */
    const char *when;
    const char *rest;    /* members of config.json that no key-value has, as JSON */
    bool norms_plus_one; /* GGUF: 1 is added to the weights of norms */
} forward_exchange;

/* Returns the row of an architecture in config.json, or NULL. If models with experts have another general.architecture,
 * their row precedes the row for dense models. */
const forward_exchange *organ_exchange_named(const char *architecture, bool experts);
/* Returns the row for converting a GGUF file to safetensors, or NULL. */
const forward_exchange *organ_exchange_of_gguf(const organ_gguf *gguf, const char *architecture);
/* Returns the row like organ_exchange_of_gguf, or else the row of an architecture that can only be converted to GGUF,
 * for the names of its tensors. */
const forward_exchange *organ_exchange_names_of_gguf(const organ_gguf *gguf, const char *architecture);

/* Sets and returns ORGAN_BAD_INPUT; the message lists the architectures that can be converted from this format. */
organ_status organ_exchange_refuse(const char *label, const char *architecture, bool gguf, organ_error *error);

/* The part of a layer or of the model that a tensor is. */
typedef struct exchange_part {
    forward_part part;
    bool bias;      /* it is the bias of that part */
    int64_t number; /* of the expert or head in its name; -1: none */
    /* safetensors: the tensor has the first name in the family's list; false: the last one, which published files have
     */
    bool first;
} exchange_part;

/* Returns true if the list has a name for the part; NULL is an empty list. */
bool organ_exchange_has_name(const forward_name *names, forward_part part);

/* Finds the part of the tensor whose name ends with `tail`, after the number of its layer or, with `top`, after the
 * prefix of the text model. Returns false if no part has this name. */
bool organ_exchange_find_part(const forward_family *family, bool gguf, bool top, const char *tail,
                              exchange_part *found);

/* Changes a part of a recurrent mixer to that of the attention with the same name in GGUF, for a layer that attends. */
void organ_exchange_attend(exchange_part *part);

/* Writes the name of a part, without prefix and number of its layer. part->number replaces '#'. Returns false if the
 * architecture has no such part in this format. */
bool organ_exchange_part_name(const forward_family *family, bool gguf, const exchange_part *part, char name[256]);

#endif
