/* SPDX-License-Identifier: MIT
 * Tables for converting a model between safetensors and GGUF, in addition to families.h: architectures with their
 * general.architecture, and key-values of GGUF files with the members of config.json that have the same meaning.
 * Further functions translate a tensor's name to its part (layer_parts.h) and back. Both directions of a conversion use
 * the same rows. */
#ifndef ORGAN_FORWARD_CONFIG_EXCHANGE_H
#define ORGAN_FORWARD_CONFIG_EXCHANGE_H

#include "formats/architecture/families.h"

/* How the value of a key-value is found: in a member of config.json, or computed from organ_forward_config. */
typedef enum exchange_rule {
    EXCHANGE_MEMBER,      /* the value of a member */
    EXCHANGE_ROTATED,     /* rotated dimensions of a head */
    EXCHANGE_WINDOWS,     /* an array: a flag for each layer, true with a window */
    EXCHANGE_GATING,      /* the function of the router: 2 is the logistic */
    EXCHANGE_MLA_KEY,     /* latent attention: width of a head's key and query */
    EXCHANGE_MLA_WIDE,    /* latent attention: width of the latent vector plus rotated dimensions, a key in the cache */
    EXCHANGE_EPSILON,     /* epsilon of the norms */
    EXCHANGE_NUMBER,      /* the number in exchange_key.words, or the text there */
    EXCHANGE_CONTEXT,     /* longest window */
    EXCHANGE_THETA,       /* base of the rotation */
    EXCHANGE_DENSE,       /* number of leading layers without experts */
    EXCHANGE_INDEXED,     /* an array: a flag for each layer, true with an indexer */
    EXCHANGE_KV_HEADS,    /* heads of k and v of all layers */
    EXCHANGE_ALIBI,       /* the largest bias of ALiBi */
    EXCHANGE_CLIP,        /* limit of q, k and v; no key if there is none */
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
    EXCHANGE_RECURRENT,   /* an array: a flag for each layer, true if it is recurrent */
    EXCHANGE_INTERVAL,    /* layers from one with attention to the next */
    EXCHANGE_SECTIONS,    /* the member, an array that is extended to four numbers, or the array in `words` */
    EXCHANGE_LONGROPE,    /* LongRoPE: attention_factor; no key for models with another rotation */
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
    /* the key without "ARCHITECTURE."; '*' at the end distinguishes rows of the same key and is not written */
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

/* Keys that GGUF files of all architectures have, each if config.json has a member of the key's row. The last row has
 * no key. */
extern const exchange_key organ_exchange_common[];

/* Returns the row of a key that only some architectures have; NULL if there is none. `key` points to the `length`
 * characters of the key's name in forward_exchange.keys, '*' included. */
const exchange_key *organ_exchange_key_named(const char *key, size_t length);

/* An architecture that can be converted. */
typedef struct forward_exchange {
    const char *architecture; /* in config.json: the row in families.h */
    const char *gguf;         /* general.architecture */
    const char *keys;         /* keys of organ_exchange_key_named, separated by blanks */
    const char *model_type;   /* model_type of config.json; NULL: the row is not used for GGUF files */
    /* a key, without "ARCHITECTURE.": the row is for GGUF files in which it is not 0 or, after '!', in which it is 0 or
     * missing; NULL: the row is for all files */
    const char *when;
    const char *rest;    /* members of config.json that have no key-value, as a JSON object */
    bool norms_plus_one; /* the weights of norms in GGUF files are those of safetensors plus 1 */
} forward_exchange;

/* Returns the row of an architecture in config.json, or NULL. If models with experts have another general.architecture,
 * their row precedes the row for dense models; without `experts` it is skipped. */
const forward_exchange *organ_exchange_named(const char *architecture, bool experts);
/* Returns the row for converting a GGUF file to safetensors, or NULL. */
const forward_exchange *organ_exchange_of_gguf(const organ_gguf *gguf, const char *architecture);
/* Returns the row of organ_exchange_of_gguf or, if there is none, the first row with this general.architecture, which
 * may only be for converting to GGUF. For callers that need only the names of tensors. */
const forward_exchange *organ_exchange_names_of_gguf(const organ_gguf *gguf, const char *architecture);

/* Sets and returns ORGAN_BAD_INPUT. The message lists the architectures that can be converted from this format (GGUF if
 * `gguf`), or states that llama.cpp lacks the architecture. */
organ_status organ_exchange_refuse(const char *label, const char *architecture, bool gguf, organ_error *error);

/* The part of a layer or of the model that a tensor is. */
typedef struct exchange_part {
    forward_part part;
    bool bias;      /* the tensor is the bias of that part */
    int64_t number; /* number of the expert or head in the tensor's name; -1: none */
    /* for organ_exchange_part_name, safetensors: use the first of the names that the family has for the part; false:
     * the last one, which published files have */
    bool first;
} exchange_part;

/* Returns true if the list has a name for the part; NULL is an empty list. */
bool organ_exchange_has_name(const forward_name *names, forward_part part);

/* Finds the part of a tensor by `tail`, the end of its name: after the number of its layer or, with `top`, after the
 * prefix of the text model. Sets all members of `found` but `first`. Returns false if no part has this name. */
bool organ_exchange_find_part(const forward_family *family, bool gguf, bool top, const char *tail,
                              exchange_part *found);

/* Changes PART_MIX_Q, _K, _V or _OUT to PART_Q, _K, _V or _O. In GGUF files these parts of a recurrent mixer and of the
 * attention may have the same names; call it for tensors of a layer with attention. */
void organ_exchange_attend(exchange_part *part);

/* Writes the name of a part or, if part->bias, of its bias, without the prefix and the number of its layer.
 * part->number replaces '#'. Returns false if the architecture has no such part in this format. */
bool organ_exchange_part_name(const forward_family *family, bool gguf, const exchange_part *part, char name[256]);

#endif
