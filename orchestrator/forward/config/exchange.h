/* SPDX-License-Identifier: MIT
 * Tables for converting an architecture between safetensors and GGUF, in addition to families.h: the value of
 * general.architecture, and key-values with the members of config.json that have the same meaning. Functions find the
 * part of a tensor by its name. Both directions of a conversion use the same rows. */
#ifndef ORGAN_FORWARD_CONFIG_EXCHANGE_H
#define ORGAN_FORWARD_CONFIG_EXCHANGE_H

#include "orchestrator/forward/config/families.h"

/* A number that a key-value has and no member of config.json: it is computed from the configuration. */
typedef enum exchange_rule {
    EXCHANGE_MEMBER,       /* the value of a member */
    EXCHANGE_ROTATED,      /* rotated dimensions of a head */
    EXCHANGE_WINDOWS,      /* a flag for each layer: it has a window */
    EXCHANGE_GATING,       /* the function of the router: 2 is the logistic */
    EXCHANGE_MLA_KEY,      /* latent attention: width of a head's key and query */
    EXCHANGE_MLA_WIDE,     /* latent numbers and rotated dimensions, the width of a key in the cache */
    EXCHANGE_EPSILON,      /* of the norms */
    EXCHANGE_NUMBER,       /* that in `words`, or the word */
    EXCHANGE_CONTEXT,      /* longest window */
    EXCHANGE_THETA,        /* base of the rotation */
    EXCHANGE_DENSE,        /* number of leading layers without experts */
    EXCHANGE_INDEXED,      /* a flag for each layer: it has an indexer */
    EXCHANGE_KV_HEADS,     /* heads of k and v of all layers */
    EXCHANGE_ALIBI,        /* the largest bias of ALiBi */
    EXCHANGE_CLIP,         /* limit of q, k and v, if there is one */
    EXCHANGE_KV_LAYERS,    /* an array: heads of k and v of each layer, 1 if they are latent, 0 for recurrent ones */
    EXCHANGE_KERNEL,       /* of recurrent layers: tokens in the convolution, */
    EXCHANGE_INNER,        /* heads of values times their width, */
    EXCHANGE_STATES,       /* width of a key, */
    EXCHANGE_STEPS,        /* Mamba: rank of the time steps; else heads of values, */
    EXCHANGE_GROUPS,       /* heads of keys */
    EXCHANGE_TENTH,        /* a tenth of the member */
    EXCHANGE_LAYERS,       /* number of layers */
    EXCHANGE_FEED,         /* width of the dense feeds; */
    EXCHANGE_FEED_LAYERS,  /* an array: that of each layer, or of its experts, 0 for layers without a feed */
    EXCHANGE_TURNED,       /* a flag: attention rotates queries and keys */
    EXCHANGE_SHARED,       /* width of the shared expert */
    EXCHANGE_NORMED,       /* a flag: the factors of a token's experts are divided by their sum */
    EXCHANGE_HEAD,         /* width of a head */
    EXCHANGE_RECURRENT,    /* a flag for each layer: it is recurrent */
    EXCHANGE_INTERVAL,     /* layers from one with attention to the next */
    EXCHANGE_SECTIONS,     /* the member, an array that is filled up to four numbers, or that in `words` */
    EXCHANGE_LONGROPE,     /* factor of the attention, in files with factors of the frequencies */
    EXCHANGE_FULL_HEAD,    /* width of a head in layers without a window, */
    EXCHANGE_LOCAL_HEAD,   /* and in those with one */
    EXCHANGE_LOCAL_PART,   /* rotated dimensions of a head in layers with a window that have their own rotation */
    EXCHANGE_PER_LAYER,    /* width of per-layer embeddings, or 0 */
    EXCHANGE_ALPHA,        /* factor of the normed input of mixers and feed-forwards */
    EXCHANGE_XIELU,        /* an array: parameter number `words` of the activation of each layer; the key is without the
                              architecture */
    EXCHANGE_HEAD_LAYERS,  /* an array: heads of q of each layer */
    EXCHANGE_EXPERTS,      /* number of experts, */
    EXCHANGE_EXPERTS_USED, /* and of those that work on a token */
    EXCHANGE_GATE_CUTS,    /* an array: the cut of each layer's gates, -infinity for none */
} exchange_rule;

/* One key-value. */
typedef struct exchange_key {
    const char *key; /* after "ARCHITECTURE."; rows with the same key differ by '*' at its end, which is not written */
    organ_gguf_type type; /* of its value, or of the elements of an array */
    exchange_rule rule;
    /* Members of config.json, separated by blanks; the first one that is there has the value. "rope.NAME" is a member
     * of rope_parameters or rope_scaling (of full_attention in it), or of the configuration if they lack it; "swa.NAME"
     * is one of sliding_attention in them. */
    const char *members;
    /* "sigmoid=2 softmax=1": texts in config.json and their numbers; NULL: the value is a number. The row of an array
     * has "differ" if the key belongs to files whose layers have different values. EXCHANGE_RECURRENT has a number n if
     * the key belongs to files in which other layers than every n-th attend. */
    const char *words;
    const char *when; /* "rope.rope_type=yarn": the key belongs to files whose member has this value; NULL: to all */
} exchange_key;

/* The keys that files of all architectures have if config.json has the member; the last row has no key. */
extern const exchange_key organ_exchange_common[];

/* Returns the row of a key that only some architectures have, or NULL. */
const exchange_key *organ_exchange_key_named(const char *key, size_t length);

/* An architecture that can be converted. */
typedef struct forward_exchange {
    const char *architecture; /* in config.json: the row in families.h */
    const char *gguf;         /* general.architecture */
    const char *keys;         /* keys of organ_exchange_key_named, separated by blanks */
    const char *model_type;   /* of config.json; NULL: a file of this kind becomes one of another row's architecture */
    const char *when;         /* a GGUF file becomes one of this row if it has this key, or, after '!', lacks it or has
                                 0; NULL: any does */
    const char *rest;         /* members of config.json that no key-value has, as JSON */
    bool norms_plus_one;      /* GGUF: 1 is added to the weights of norms */
} forward_exchange;

/* Returns the row of an architecture in config.json, or NULL. An architecture that has another general.architecture for
 * models with experts has a row for these before that for the others. */
const forward_exchange *organ_exchange_named(const char *architecture, bool experts);
/* Returns the row for a GGUF file, or NULL. */
const forward_exchange *organ_exchange_of_gguf(const organ_gguf *gguf, const char *architecture);
/* Finds the row of names like organ_exchange_of_gguf, also for architectures that can only be converted to GGUF. */
const forward_exchange *organ_exchange_names_of_gguf(const organ_gguf *gguf, const char *architecture);

/* Fails with ORGAN_BAD_INPUT; the message lists the architectures that can be converted. */
organ_status organ_exchange_refuse(const char *label, const char *architecture, bool gguf, organ_error *error);

/* The part that a tensor is. */
typedef struct exchange_part {
    forward_part part;
    bool bias;      /* it is the bias of that part */
    int64_t number; /* of the expert or head in its name; -1: none */
    bool first;     /* in safetensors: it has the first of its names; false: the last, that of published files */
} exchange_part;

/* Returns true if the list has a name for the part; NULL is an empty list. */
bool organ_exchange_has_name(const forward_name *names, forward_part part);

/* Finds the part of the tensor whose name ends with `tail`, after the number of its layer or, with `top`, after the
 * prefix of the text model. Returns false if no part has this name. */
bool organ_exchange_find_part(const forward_family *family, bool gguf, bool top, const char *tail,
                              exchange_part *found);

/* Changes a part of a recurrent mixer to that of the attention with the same name in GGUF, for a layer that attends. */
void organ_exchange_attend(exchange_part *part);

/* Writes the name of a part, without the number of its layer. `number` stands for '#'. Returns false if this form of
 * the architecture has no such part. */
bool organ_exchange_part_name(const forward_family *family, bool gguf, const exchange_part *part, char name[256]);

#endif
