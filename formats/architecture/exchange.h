/* SPDX-License-Identifier: MIT
 * Tables for converting a model between safetensors and GGUF, in addition to families.h: architectures with their
 * general.architecture, and key-values of GGUF files with the members of config.json that have the same meaning.
 * Further functions translate a tensor's name to its part (layer_parts.h) and back. Both directions of a conversion use
 * the same rows. */
#ifndef ORGAN_FORWARD_CONFIG_EXCHANGE_H
#define ORGAN_FORWARD_CONFIG_EXCHANGE_H

#include "formats/architecture/families.h"

/* How the value of a key-value is found. */
typedef enum exchange_rule {
    EXCHANGE_MEMBER,   /* a member of config.json */
    EXCHANGE_SETTING,  /* a member of organ_forward_config */
    EXCHANGE_COMPUTED, /* computed from organ_forward_config */
    EXCHANGE_CONSTANT, /* the number in exchange_key.words, or the text there */
    EXCHANGE_BY_LAYER, /* an array: a number or flag for each layer */
    EXCHANGE_TENTH,    /* a tenth of a member of config.json */
    /* a member of config.json, an array that is extended to four numbers, or the array in `words` */
    EXCHANGE_SECTIONS
} exchange_rule;

/* The type of a member of a configuration. */
typedef enum exchange_number {
    EXCHANGE_UNSIGNED,
    EXCHANGE_U64,
    EXCHANGE_DOUBLE,
    EXCHANGE_FLOAT,
    EXCHANGE_BOOL
} exchange_number;

/* A key-value of a GGUF file, where its value is found, and the members of config.json with the same meaning. */
typedef struct exchange_key {
    /* The key without "ARCHITECTURE."; what follows a ':' distinguishes rows of one key and is not written. The keys of
     * xIELU have no architecture before them. */
    const char *key;
    organ_gguf_type type; /* of its value, or of the elements of an array */
    exchange_rule rule;
    /* Members of config.json, separated by blanks; the first that exists has the value. "rope.NAME" is a member of
     * rope_parameters or rope_scaling (of full_attention there), or of config.json itself if these lack it; "swa.NAME"
     * is a member of sliding_attention in rope_parameters. */
    const char *members;
    /* "sigmoid=2 softmax=1": texts in config.json and the numbers that stand for them in GGUF; NULL: the value is a
     * number. "differ", for an array: only files whose layers have different values have the key. For an array of flags
     * a number n: only files in which other layers than every n-th have the flag 0 have the key. */
    const char *words;
    /* "rope.rope_type=yarn": only files whose member has this value have the key. "swa": only files whose layers with a
     * sliding window have a rotation of their own. NULL: all files */
    const char *when;
    size_t offset;          /* of the member in organ_forward_config or, for EXCHANGE_BY_LAYER, in organ_layer_kind */
    exchange_number number; /* its type */
    /* these replace `offset`; NaN: the file has no such key */
    double (*compute)(const organ_forward_config *config);
    double (*of_layer)(const organ_forward_config *config, const organ_layer_kind *kind);
} exchange_key;

/* Returns the value of EXCHANGE_SETTING and _COMPUTED (`kind` NULL), or the element of EXCHANGE_BY_LAYER for a layer.
 */
double organ_exchange_value(const exchange_key *row, const organ_forward_config *config, const organ_layer_kind *kind);

/* Returns whether at least one layer has attention, also as its second mixer. */
bool organ_exchange_has_attention(const organ_forward_config *config);
/* Returns whether at least one layer has attention as its first mixer and rotates its queries and keys. */
bool organ_exchange_rotates(const organ_forward_config *config);
/* Returns the first layer with a sliding window (`windowed`) or without one; layer 0 if there is no such layer. */
const organ_layer_kind *organ_exchange_kind(const organ_forward_config *config, bool windowed);
/* Returns the number of leading layers without experts; all layers if no layer has experts. */
unsigned organ_exchange_dense(const organ_forward_config *config);

/* Keys that GGUF files of all architectures have, each if config.json has a member of the key's row. The last row has
 * no key. */
extern const exchange_key organ_exchange_common[];

/* Returns the row of a key that only some architectures have; NULL if there is none. `key` points to the `length`
 * characters of the key's name in forward_exchange.keys, ':' and what follows included. */
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
