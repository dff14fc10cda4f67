/* SPDX-License-Identifier: MIT
 * Tables for converting a model between safetensors and GGUF, in addition to families.h: architectures with their
 * general.architecture, and key-values of GGUF files with the members of config.json that have the same meaning.
 * Further functions translate a tensor's name to its part and back. Both directions of a conversion use
 * the same rows. */
#ifndef ORGAN_ARCHITECTURE_PAIRING_H
#define ORGAN_ARCHITECTURE_PAIRING_H

#include "formats/architecture/families.h"
#include "formats/tensor/drafts.h"

#include <organ/weights.h>

/* How the value of a key-value is found. */
typedef enum pairing_rule {
    PAIRING_MEMBER,   /* a member of config.json */
    PAIRING_SETTING,  /* a member of organ_forward_config */
    PAIRING_COMPUTED, /* computed from organ_forward_config */
    PAIRING_CONSTANT, /* the number in pairing_key.words, or the text there */
    PAIRING_BY_LAYER, /* an array: a number or flag for each layer */
    PAIRING_TENTH,    /* a tenth of a member of config.json */
    /* a member of config.json, an array that is extended to four numbers, or the array in `words` */
    PAIRING_SECTIONS,
    PAIRING_TOWER_COUNT /* the number of elements of a member of vision_config; 0 without it */
} pairing_rule;

/* The type of a member of a configuration. */
typedef enum pairing_number {
    PAIRING_UNSIGNED,
    PAIRING_U64,
    PAIRING_DOUBLE,
    PAIRING_FLOAT,
    PAIRING_BOOL
} pairing_number;
#define PAIRING_NUMBER(member)                                                                                         \
    _Generic((member), double                                                                                          \
             : PAIRING_DOUBLE, float                                                                                   \
             : PAIRING_FLOAT, bool                                                                                     \
             : PAIRING_BOOL, uint64_t                                                                                  \
             : PAIRING_U64, default                                                                                    \
             : PAIRING_UNSIGNED)
/* Returns the number of that type at an address. */
double organ_pairing_number(const void *at, pairing_number number);

/* A key-value of a GGUF file, where its value is found, and the members of config.json with the same meaning. */
typedef struct pairing_key {
    /* The key without "ARCHITECTURE."; what follows a ':' distinguishes rows of one key and is not written. Conversions
     * write the keys of xIELU without the architecture (keys_set): these rows have no members. */
    const char *key;
    organ_gguf_type type; /* of its value, or of the elements of an array */
    pairing_rule rule;
    /* Members of config.json, separated by blanks; the first that exists has the value. "rope.NAME" is a member of
     * rope_parameters or rope_scaling (of full_attention there), or of config.json itself if these lack it; "swa.NAME"
     * is a member of sliding_attention in rope_parameters. */
    const char *members;
    const char *more; /* further members with this meaning, which conversions do not read; NULL: none */
    /* "sigmoid=2 softmax=1": texts in config.json and the numbers that stand for them in GGUF; NULL: the value is a
     * number. "differ", for an array: only files whose layers have different values have the key. For an array of flags
     * a number n: only files in which other layers than every n-th have the flag 0 have the key. */
    const char *words;
    /* "rope.rope_type=yarn": only files whose member has this value have the key. "swa": only files whose layers with a
     * sliding window have a rotation of their own. NULL: all files */
    const char *when;
    size_t offset;         /* of the member in organ_forward_config or, for PAIRING_BY_LAYER, in organ_layer_kind */
    pairing_number number; /* its type */
    /* these replace `offset`; NaN: the file has no such key */
    double (*compute)(const organ_forward_config *config);
    double (*of_layer)(const organ_forward_config *config, const organ_layer_kind *kind);
} pairing_key;

/* Returns the value of PAIRING_SETTING and _COMPUTED (`kind` NULL), or the element of PAIRING_BY_LAYER for a layer.
 */
double organ_pairing_value(const pairing_key *row, const organ_forward_config *config, const organ_layer_kind *kind);

/* Returns whether at least one layer has attention, also as its second mixer. */
bool organ_pairing_has_attention(const organ_forward_config *config);
/* Returns whether at least one layer has attention as its first mixer and rotates its queries and keys. */
bool organ_pairing_rotates(const organ_forward_config *config);
/* Returns the first layer with a sliding window (`windowed`) or without one; layer 0 if there is no such layer. */
const organ_layer_kind *organ_pairing_kind(const organ_forward_config *config, bool windowed);
/* Returns the number of leading layers without experts; all layers if no layer has experts. */
unsigned organ_pairing_dense(const organ_forward_config *config);

#define ORGAN_MEMBER_ROOM 96 /* bytes of the name of a member with its NUL */
/* Members of config.json that name settings in code outside of this folder (surgery/layers/organ_settings.h). */
#define ORGAN_SETTING_LAYERS   "num_hidden_layers"
#define ORGAN_SETTING_DRAFTS   "num_nextn_predict_layers"
#define ORGAN_SETTING_HEADS    "num_attention_heads"
#define ORGAN_SETTING_KV_HEADS "num_key_value_heads"
#define ORGAN_SETTING_EXPERTS  "num_experts"
/* Writes the key, without the architecture, of the first row that has this member of config.json. Returns false if no
 * row has it. */
bool organ_pairing_key_of(const char *member, char key[ORGAN_MEMBER_ROOM]);
/* Writes the name of member number `index` of config.json that states what the key says; 0 is the usual one, where all
 * architectures have it. Returns false after the last, and for a key without a row. */
bool organ_pairing_member(const char *key, size_t index, char member[ORGAN_MEMBER_ROOM]);
/* Returns whether a key of that name, without the architecture, has a row in one of both tables. */
bool organ_pairing_has_key(const char *name);

/* Bits of forward_pairing.traits. Rows of one general.architecture have the second and third of them together. */
typedef enum pairing_trait {
    PAIRING_NORMS_PLUS_ONE = 1, /* the weights of norms in GGUF files are those of safetensors plus 1 */
    PAIRING_FULL_HEADS = 2,     /* llama.cpp requires that all heads together are as wide as the hidden size */
    PAIRING_TENSOR_SCALES = 4   /* llama.cpp multiplies by the scale of a tensor, which NVFP4 needs */
} pairing_trait;

/* An architecture that can be converted. */
typedef struct forward_pairing {
    const char *architecture; /* in config.json: the row in families.h */
    const char *gguf;         /* general.architecture */
    const char *keys;       /* keys that only some architectures have, with ':' and what follows, separated by blanks */
    const char *model_type; /* model_type of config.json; NULL: the row is not used for GGUF files */
    /* a key, without "ARCHITECTURE.": the row is for GGUF files in which it is not 0 or, after '!', in which it is 0 or
     * missing; NULL: the row is for all files */
    const char *when;
    const char *rest; /* members of config.json that have no key-value, as a JSON object */
    unsigned traits;  /* of GGUF files and llama.cpp */
} forward_pairing;

/* The rows; in the last one `architecture` is NULL. */
extern const forward_pairing organ_pairing_rows[];

/* Returns key number k of an architecture, or NULL after the last one: those that GGUF files of all architectures have,
 * each if config.json has a member of the key's row, then those of pairing->keys. */
const pairing_key *organ_pairing_key_at(const forward_pairing *pairing, size_t k);

/* Returns the row of an architecture in config.json, or NULL. If models with experts have another general.architecture,
 * their row precedes the row for dense models; without `experts` it is skipped. `model_type`, that of the whole model,
 * chooses the row of a text model that llama.cpp runs beside a tower: its tokens have positions on three axes. */
const forward_pairing *organ_pairing_named(const char *architecture, const char *model_type, bool experts);
/* Returns whether a row of that general.architecture has the trait. */
bool organ_pairing_has_trait(const char *gguf_architecture, pairing_trait trait);
/* Returns whether llama.cpp multiplies by the scale of the GGUF tensor `name` in architectures with
 * PAIRING_TENSOR_SCALES. It (0c1e570, llama-model.cpp) loads scales of many matrices of every architecture, but the
 * graphs of most do not apply them, without a message. */
bool organ_pairing_has_tensor_scale(const char *name);
/* Returns the first row with this model_type, or NULL. */
const forward_pairing *organ_pairing_of_type(const char *model_type);
/* Returns the row for converting a GGUF file to safetensors, or NULL. */
const forward_pairing *organ_pairing_of_gguf(const organ_gguf *gguf, const char *architecture);
/* Returns the row of organ_pairing_of_gguf or, if there is none, the first row with this general.architecture, which
 * may only be for converting to GGUF. For callers that need only the names of tensors. */
const forward_pairing *organ_pairing_names_of_gguf(const organ_gguf *gguf, const char *architecture);

/* Sets and returns ORGAN_BAD_INPUT. The message lists the architectures that can be converted from this format (GGUF if
 * `gguf`), or states that llama.cpp lacks the architecture. */
organ_status organ_pairing_refuse(const char *label, const char *architecture, bool gguf, organ_error *error);

/* The part of a layer or of the model that a tensor is. */
typedef struct pairing_part {
    forward_part part;
    bool bias;      /* the tensor is the bias of that part */
    int64_t number; /* number of the expert or head in the tensor's name; -1: none */
    bool first;     /* for organ_pairing_part_name, safetensors: the name with NAME_ONE_NORM, if the part has one */
    /* a tensor of a block for multi-token prediction: a name with NAME_DRAFT comes first */
    bool in_block;
    unsigned draft; /* 1 + organ_draft_part: the part of a block beside its layer; 0: `part` */
} pairing_part;

/* Returns true if the list has a name for the part; NULL is an empty list. */
bool organ_pairing_has_name(const forward_name *names, forward_part part);

/* Finds the part of a tensor by `tail`, the end of its name: after the number of its layer or, with `top`, after the
 * prefix of the text model. Sets `first` of `found` to false. Returns false if no part has this name. */
bool organ_pairing_find_part(const forward_family *family, bool gguf, bool top, const char *tail, pairing_part *found);

/* Changes PART_MIX_Q, _K, _V or _OUT to PART_Q, _K, _V or _O. In GGUF files these parts of a recurrent mixer and of the
 * attention may have the same names; call it for tensors of a layer with attention. */
void organ_pairing_attend(pairing_part *part);

/* Writes the name of a part or, if part->bias, of its bias, without the prefix and the number of its layer.
 * part->number replaces '#'. Returns false if the architecture has no such part in this format. */
bool organ_pairing_part_name(const forward_family *family, bool gguf, const pairing_part *part, char name[256]);

/* ---- places: which rows of a tensor in one format are which rows of tensors in the other ---- */

/* Each kind of tensor is described once, towards GGUF: one tensor of safetensors is written to one or two tensors of
 * GGUF. A conversion to safetensors inverts the description. */

/* Bytes for a tensor's name with its NUL. */
#define ORGAN_PLACE_NAME 600

/* A model's architecture in both formats. */
typedef struct place_model {
    const forward_pairing *pairing;             /* its row in pairing.h */
    const forward_family *family, *gguf_family; /* its rows in families.h for safetensors and for GGUF */
    const organ_forward_config *config;         /* of the model, from a file of either format */
    const char *prefix;                         /* how names of the text model begin in safetensors, such as "model." */
    /* name of the output head in safetensors if the family has no own name for it (organ_text_head) */
    const char *head;
    /* Blocks for multi-token prediction: config->kinds has one more entry for each, and their layers have the numbers
     * from config->layers on. */
    const organ_draft_family *drafts; /* NULL: names of blocks are unknown */
    unsigned blocks;
} place_model;

/* How a tensor of safetensors is stored in GGUF files. */
typedef enum place_kind {
    PLACE_WHOLE,      /* as one tensor, which may have another shape */
    PLACE_NUMBERED,   /* tensors with a number in their name are the matrices, or rows, of one tensor */
    PLACE_HALVES,     /* the first and the second half of each matrix's rows are a tensor each */
    PLACE_KV_B,       /* kv_b_proj: rows of keys and of values of each head, as a stack of matrices each */
    PLACE_QKV,        /* fused q, k, v, ordered by head of k and v: all rows of q, then of k, then of v */
    PLACE_JOINED,     /* q, k and v as one tensor: all rows of q, then of k, then of v */
    PLACE_QKVZ,       /* in_proj_qkvz of Qwen3-Next, ordered by key head: a tensor with q, k and v, one with z */
    PLACE_TRANSPOSED, /* each matrix is transposed; a stack of gate and up becomes two stacks */
    PLACE_FLAT,       /* stacks of DBRX, (experts x channels) x hidden_size */
    PLACE_COLUMNS,    /* biases of experts: the columns of gate and up alternate */
    PLACE_CONV,       /* as PLACE_WHOLE: channels x 1 x kernel as channels x kernel, or as 1 x channels x 1 x kernel */
    PLACE_VECTOR,     /* as PLACE_WHOLE: a number for each head, in GGUF files of Mamba-2 as a column */
    PLACE_GROUPED,    /* the norm of Mamba-2: a vector as a matrix with a row for each group */
    PLACE_PADDED,     /* the rows are followed by zeros */
    PLACE_TILED,      /* value heads in another order (forward_recurrent.gguf_tiled) */
} place_kind;

/* The function of a value that GGUF stores. */
typedef enum place_function {
    PLACE_SAME,     /* x */
    PLACE_PLUS_ONE, /* x + 1 */
    PLACE_EXP,      /* exp(x) */
    PLACE_MINUS_EXP /* -exp(x) */
} place_function;

/* Rows of a tensor of safetensors, and the rows of a tensor of GGUF that they become. Rows are counted over all
 * matrices of a tensor; a vector is a matrix of one column. Of block number b of `block` rows, rows
 * [first, first + rows) become rows at + b x step and following ones. */
typedef struct place_strip {
    unsigned to; /* index in place_layout.gguf */
    uint64_t block, first, rows, at, step;
    bool transposed; /* the columns below of these rows become rows */
    bool slice;      /* the columns below of each row become a row */
    /* With transposed and slice: columns col, col + col_step, ..., `cols` in number. If col_step is 1, the columns of
     * another strip may follow; if it is 2, they alternate with those of another strip. */
    uint64_t col, col_step, cols;
} place_strip;

/* The most strips of a layout. */
#define ORGAN_PLACE_STRIPS 4

/* A tensor in one format. */
typedef struct place_tensor {
    pairing_part part;
    unsigned rank;
    uint64_t shape[4];
} place_tensor;

/* A tensor of safetensors and the tensors of GGUF that have its values. */
typedef struct place_layout {
    place_kind kind;
    place_tensor hf, gguf[2];
    unsigned count; /* of `gguf` */
    /* PLACE_NUMBERED, described from GGUF: how many tensors of safetensors there are. Their numbers are 0, 1, ...;
     * hf.part.number and the strip are those of number 0, and the strip of number n begins n x `step` rows later. */
    uint64_t numbers;
    place_strip strips[ORGAN_PLACE_STRIPS];
    unsigned strip_count; /* 0: all rows keep their order */
    place_function function;
    organ_turned_rows turned; /* the order of the rows of each head in GGUF; head 0: their order in safetensors */
    bool by_value;            /* scales of quantised weights do not fit the rows or columns of the other format */
    uint64_t zeros;           /* PLACE_PADDED: rows of zeros after those of safetensors */
    /* PLACE_TILED: rows [0, plain) keep their order; then come value heads of `each` rows, or columns */
    uint64_t plain, each;
} place_layout;

/* A tensor that is described. */
typedef struct place_source {
    bool gguf; /* its format */
    /* its axes have the order in which MXFP4 codes are stored: experts x out_features x in_features */
    bool coded;
    const char *name;
    unsigned rank;
    const uint64_t *shape;
    int64_t layer;     /* -1: in no layer */
    pairing_part part; /* layer and part are those of organ_place_find */
} place_source;

/* Returns the kind of a layer or block; NULL: the number is that of neither. */
const organ_layer_kind *organ_place_kind(const place_model *model, int64_t layer);

/* Returns whether a weight of safetensors has no tensor in GGUF because llama.cpp computes it, or because it is the
 * output head that is tied to the embeddings. */
bool organ_place_is_left_out(const place_model *model, const organ_weight *weight);

/* Finds layer and part of a tensor by its name. Returns false if the architecture has no such name. The layer of a
 * tensor of block k is config->layers + k. */
bool organ_place_find(const place_model *model, bool gguf, const char *name, int64_t *layer, pairing_part *part);

/* Writes the name of a part in the layer. Returns false if the format has no name for the part. */
bool organ_place_name(const place_model *model, bool gguf, int64_t layer, const pairing_part *part,
                      char name[ORGAN_PLACE_NAME]);

/* Describes how the tensor is stored in both formats. Returns NULL or, if its shape is not that of its kind, why: the
 * end of a sentence that begins with the tensor's name. `layer` must be that of a layer or block, or -1. */
const char *organ_place_describe(const place_model *model, const place_source *source, place_layout *layout);

/* ---- the same tensor at another layer, or under the name of the other format ---- */

#define ORGAN_COUNTERPART_SIZE 4200 /* bytes for a tensor's name with its NUL, after its layer number became longer */

/* Writes the name of the same tensor of layer `layer`, in the same format:
 * "model.layers.3.mlp.up_proj.weight" at layer 5 is "model.layers.5.mlp.up_proj.weight". `anatomy` is that of `name`.
 * If the tensor is in a layer, `layer` must be at least 0; if it is not, `layer` must be -1, else the function returns
 * false. Also returns false if the result exceeds `size` bytes. */
bool organ_counterpart_at(const char *name, const organ_anatomy *anatomy, int32_t layer, char *out, size_t size);

/* Translates the name of a tensor between safetensors ("model.layers.3.mlp.up_proj.weight") and GGUF
 * ("blk.3.ffn_up.weight") by the architecture that the GGUF file states, with `layer` as layer number if the tensor is
 * in a layer. `to_gguf` is true if `name` is one of safetensors. Returns false for a tensor that is not one tensor with
 * the same rows in the other format (numbered experts, fused and transposed tensors), and if the result exceeds `size`
 * bytes. */
bool organ_counterpart_across(const organ_model *gguf, const char *name, const organ_anatomy *anatomy, bool to_gguf,
                              int32_t layer, char *out, size_t size);

/* Returns true if converters to GGUF keep the order of the rows of q and k of this architecture. Returns false if
 * they interleave the two halves of each head's rows, or if the architecture is unknown. */
bool organ_keeps_rope_rows(const char *gguf_architecture);

/* Returns whether the weight or bias of a part of a layer has the same values and order of rows in both formats in
 * every architecture, apart from the rows of q and k. Fused tensors, stacks and recurrent parts have not. */
bool organ_part_is_plain(forward_part part);

/* Returns the key-value of a GGUF file; if it has none, the one that the program which made the file has in its code
 * (gguf_defaults.c), or NULL. */
const organ_gguf_kv *organ_gguf_find_or_default(const organ_gguf *gguf, const char *key);

#endif
