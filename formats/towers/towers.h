/* SPDX-License-Identifier: MIT
 * Vision and audio towers of multimodal models. llama.cpp reads them from a file of their own, an mmproj, whose
 * general.architecture is "clip". A family's rows (tower_rules.c) pair its tensors in safetensors with those in an
 * mmproj, make the key-values, and list the settings that llama.cpp fixes. Both directions of a conversion read the
 * same rows. */
#ifndef ORGAN_TOWERS_H
#define ORGAN_TOWERS_H

#include "formats/gguf/file.h"

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* How the values of a tensor of safetensors become those of GGUF. D, H: widths of the tower and of the text model; P:
 * pixels along the side of a patch. */
typedef enum tower_change {
    TOWER_SAME,      /* one tensor of the same shape and values */
    TOWER_THIRDS,    /* the rows of q, k and v become a tensor each */
    TOWER_FRAMES,    /* a convolution over two frames, [D, 3, 2, P, P]: a tensor [D, 3, P, P] for each frame */
    TOWER_PLUS_ONE,  /* 1 is added */
    TOWER_TURNED,    /* the rows of each head get llama.cpp's order of rotated pairs */
    TOWER_PATCHES,   /* [D, P P 3] with the colours of a pixel adjacent: [D, 3, P, P] */
    TOWER_SOFTPLUS,  /* log(1 + exp(x)) */
    TOWER_SCALAR,    /* a number without axes gets one */
    TOWER_DEPTHWISE, /* [C, 1, K]: [C, K] */
    TOWER_GRID,      /* positions [rows, columns, D]: [rows columns, D] */
    TOWER_TOKEN      /* the row of one token in the embedding of the text model: [H]. The text model keeps it */
} tower_change;

/* A pair of tensors. In both names '#' is the number of a block and '@' is q, k or v; a '$' at the end is ".weight" or
 * ".bias". */
typedef struct tower_rule {
    const char *hf; /* in published files */
    const char *gguf;
    tower_change change;
    bool optional; /* a model may lack the tensor; biases are always optional */
    bool deep;     /* the number in GGUF is the one at this place in deepstack_visual_indexes */
    bool numbered; /* the number is not one of a block of the tower */
} tower_rule;

/* Where a value of a key comes from. */
typedef enum tower_source {
    TOWER_CONSTANT,  /* `otherwise` */
    TOWER_VISION,    /* a member of vision_config */
    TOWER_AUDIO,     /* a member of audio_config */
    TOWER_TOP,       /* a member of config.json */
    TOWER_TEXT,      /* a member of text_config, or of config.json */
    TOWER_PROCESSOR, /* a member of preprocessor_config.json or processor_config.json */
    TOWER_INVERSE,   /* the whole part of 1 / x, of a member of config.json, or of vision_config */
    TOWER_POSITIONS, /* side of the image: the root of num_position_embeddings x patch_size; image_size if present */
    TOWER_DEEP,      /* for each block whether deepstack_visual_indexes has it */
    TOWER_WINDOWS,   /* n, if every n-th block of fullatt_block_indexes, and no other, has full attention */
    TOWER_POOL,      /* Gemma 3: patches along the side of an image for each token; no key if it is 4 */
    TOWER_LAST,      /* blocks up to vision_feature_layer, a negative number of config.json */
    TOWER_EDGE,      /* longest edge of preprocessed images, else image_size */
    TOWER_GELU,      /* true if hidden_act is a GELU; else no key */
    TOWER_SILU       /* true if hidden_act is SiLU; else no key */
} tower_source;

/* A key-value of the mmproj. */
typedef struct tower_key {
    const char *key; /* after "clip." */
    organ_gguf_type type;
    tower_source source;
    const char *members;   /* names separated by blanks; the first that is present has the value */
    const char *otherwise; /* the value without a member; NULL: the member is needed; "": there is no key then */
    double times;          /* a number is multiplied by this; 0: 1 */
} tower_key;

/* A setting that llama.cpp computes in one way only. */
typedef struct tower_need {
    tower_source where;  /* TOWER_VISION, TOWER_AUDIO, TOWER_TOP or TOWER_TEXT */
    const char *member;  /* a dot divides the member of an object */
    const char *allowed; /* values that it may have, separated by blanks; a missing member is allowed */
} tower_need;

/* Beginnings of names that mean the same; the first that fits is used. */
typedef struct tower_root {
    const char *found, *published;
} tower_root;

typedef struct tower_family {
    const char *types;     /* model_type of config.json, separated by blanks */
    const char *projector; /* value of clip.projector_type, or of clip.vision.projector_type with audio_projector */
    const char *audio_projector; /* value of clip.audio.projector_type; NULL: the family has no audio tower */
    const char *text;            /* how names of the text model's tensors begin in published files */
    const char *head;            /* name of its output head there */
    const tower_root *roots;     /* the last has NULL */
    const tower_rule *rules;
    const tower_key *keys, *audio_keys;
    const tower_need *needs;
    const char *left_out;   /* part of names of tensors that neither the tower nor llama.cpp uses; NULL: none */
    const char *always_f16; /* GGUF name of a matrix that llama.cpp transposes, which blocks do not allow; NULL: none */
    const char *token;      /* TOWER_TOKEN: text of the token */
    bool swaps;             /* llama.cpp exchanges the matrices of the feed-forward if it is as wide as the tower */
    bool f32_patches;       /* the convolution of patches is F32 also in files of F16 */
    bool quick;             /* without a key llama.cpp computes x sigmoid(1.702 x), the family's activation */
    const char *vision;     /* model_type of vision_config; NULL: any */
    const char *original;   /* architectures[0] of vision_config; NULL: any */
} tower_family;

extern const tower_family organ_tower_families[]; /* the last has NULL types */

#define TOWER_DEEP_MOST 64 /* entries of deepstack_visual_indexes */

/* A model's towers, as its configuration describes them. */
typedef struct tower_model {
    const char *label; /* the model's path, for messages */
    const tower_family *family;
    const json_t *config; /* config.json; borrowed */
    /* members of preprocessor_config.json, overlaid by those of processor_config.json; owned. NULL: unknown, and keys
     * that depend on them are left out */
    const json_t *processor;
    bool has_vision, has_audio;
    uint64_t heads;                /* of the vision tower */
    uint64_t blocks, audio_blocks; /* that llama.cpp runs */
    uint64_t patch;                /* P */
    unsigned deep_count;
    uint64_t deep[TOWER_DEEP_MOST]; /* deepstack_visual_indexes */
} tower_model;

/* Returns the family of a config.json; NULL: there are no rules for its towers. */
const tower_family *organ_tower_family(const json_t *config);

/* Reads the settings of towers into *towers; `family` and `label` are set, `processor` may be. Returns ORGAN_BAD_INPUT,
 * naming the member, if one is missing or has a value that llama.cpp does not compute. */
organ_status organ_tower_read(tower_model *towers, organ_error *error);

/* A tensor by its rule. */
typedef struct tower_part {
    const tower_rule *rule;
    int64_t number; /* of a block, in the numbering of safetensors; -1: none */
    bool bias;
    unsigned part; /* which tensor of GGUF: 0 to 2 for q, k, v; 0 or 1 for the frames */
} tower_part;

#define TOWER_NAME 256 /* bytes of a name with its NUL */

/* Finds the rule of a name in safetensors, of any layout, or in GGUF. Returns false if there is none. */
bool organ_tower_find(const tower_model *towers, bool gguf, const char *name, tower_part *part);
/* Writes the name of a part in published safetensors or in GGUF. */
void organ_tower_name(const tower_model *towers, bool gguf, const tower_part *part, char name[TOWER_NAME]);
/* Returns the number of GGUF tensors of a rule. */
unsigned organ_tower_parts(const tower_rule *rule);
/* Returns whether the tensor of safetensors belongs to no program that runs the towers. */
bool organ_tower_is_left_out(const tower_family *family, const char *name);

/* For organ_tower_read: sets heads, blocks, audio_blocks and patch from the rows of their keys. Returns
 * ORGAN_BAD_INPUT, naming the member, if one is missing or no number above 0. */
organ_status organ_tower_numbers(tower_model *towers, organ_error *error);

/* Adds the key-values "clip.*" to the writer. Returns ORGAN_BAD_INPUT, naming the member, if a value is missing or has
 * not the key's type. */
organ_status organ_tower_keys(const tower_model *towers, organ_gguf_writer *writer, organ_error *error);

/* Compares the key-values of an mmproj with those that organ_tower_keys makes. Returns ORGAN_BAD_INPUT, naming the key,
 * if one differs, or if the file has no projector type or another one. Keys that the file lacks are allowed. */
organ_status organ_tower_compare(const tower_model *towers, const char *path, const organ_gguf *gguf,
                                 organ_error *error);

#endif
