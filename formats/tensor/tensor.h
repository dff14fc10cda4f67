/* SPDX-License-Identifier: MIT
 * Tensors of safetensors and GGUF files in one description: type, shape, role in the model (derived from the name),
 * and the file that contains the data. */
#ifndef ORGAN_TENSOR_H
#define ORGAN_TENSOR_H

#include "formats/base/api.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

ORGAN_API_BEGIN

/* ---- types ---- */

/* One row for each block type of GGUF: name, elements and bytes of a block, number of the type in GGUF files. Add
 * rows only at the end, because their order numbers the members of organ_dtype. A new type also needs a row in
 * GGML_BLOCK_TYPES of kernels/ggml.h. */
#define ORGAN_BLOCK_TYPES(X)                                                                                           \
    X(Q4_0, 32, 18, 2)                                                                                                 \
    X(Q4_1, 32, 20, 3)                                                                                                 \
    X(Q5_0, 32, 22, 6)                                                                                                 \
    X(Q5_1, 32, 24, 7)                                                                                                 \
    X(Q8_0, 32, 34, 8)                                                                                                 \
    X(Q2_K, 256, 84, 10)                                                                                               \
    X(Q3_K, 256, 110, 11)                                                                                              \
    X(Q4_K, 256, 144, 12)                                                                                              \
    X(Q5_K, 256, 176, 13)                                                                                              \
    X(Q6_K, 256, 210, 14)                                                                                              \
    X(IQ2_XXS, 256, 66, 16)                                                                                            \
    X(IQ2_XS, 256, 74, 17)                                                                                             \
    X(IQ3_XXS, 256, 98, 18)                                                                                            \
    X(IQ1_S, 256, 50, 19)                                                                                              \
    X(IQ4_NL, 32, 18, 20)                                                                                              \
    X(IQ3_S, 256, 110, 21)                                                                                             \
    X(IQ2_S, 256, 82, 22)                                                                                              \
    X(IQ4_XS, 256, 136, 23)                                                                                            \
    X(IQ1_M, 256, 56, 29)                                                                                              \
    X(TQ1_0, 256, 54, 34)                                                                                              \
    X(TQ2_0, 256, 66, 35)                                                                                              \
    X(MXFP4, 32, 17, 39)                                                                                               \
    X(NVFP4, 64, 36, 40)                                                                                               \
    X(Q1_0, 128, 18, 41)                                                                                               \
    X(Q2_0, 64, 18, 42)

typedef enum organ_dtype {
    /* Types of safetensors, in ascending order of alignment as its writer sorts them; many are GGUF types too. */
    ORGAN_BOOL,
    ORGAN_F4,
    ORGAN_F6_E2M3,
    ORGAN_F6_E3M2,
    ORGAN_U8,
    ORGAN_I8,
    ORGAN_F8_E5M2,
    ORGAN_F8_E4M3,
    ORGAN_F8_E8M0,
    ORGAN_F8_E4M3FNUZ,
    ORGAN_F8_E5M2FNUZ,
    ORGAN_I16,
    ORGAN_U16,
    ORGAN_F16,
    ORGAN_BF16,
    ORGAN_I32,
    ORGAN_U32,
    ORGAN_F32,
    ORGAN_C64,
    ORGAN_F64,
    ORGAN_I64,
    ORGAN_U64,
/* Block types of GGUF: ORGAN_Q4_0 to ORGAN_Q2_0. */
#define ORGAN_BLOCK_TYPE(name, elements, bytes, ggml) ORGAN_##name,
    ORGAN_BLOCK_TYPES(ORGAN_BLOCK_TYPE)
#undef ORGAN_BLOCK_TYPE
        ORGAN_DTYPE_COUNT
} organ_dtype;

/* Name, block size and number of an element type. */
typedef struct organ_dtype_info {
    const char *name;    /* name in safetensors and ggml: "BF16", "Q4_K" */
    unsigned elements;   /* elements in a block; 1 for types without blocks */
    unsigned bytes;      /* bytes of a block */
    bool in_safetensors; /* a safetensors header may use the name */
    int ggml;            /* number of the type in GGUF files, or -1 */
} organ_dtype_info;

/* Returns the description of `dtype`, which is below ORGAN_DTYPE_COUNT. */
const organ_dtype_info *organ_dtype_describe(organ_dtype dtype);
const char *organ_dtype_name(organ_dtype dtype);

/* Returns true for the 8-bit floats: E4M3, E5M2 and their FNUZ variants. */
bool organ_dtype_is_fp8(organ_dtype dtype);

/* Returns the safetensors type of that name (exact match), or ORGAN_DTYPE_COUNT. */
organ_dtype organ_dtype_from_name(const char *name);

/* Returns the type with that number in GGUF files, or ORGAN_DTYPE_COUNT. */
organ_dtype organ_dtype_from_ggml(int64_t type);

/* Sets *bytes to the size of `elements` elements. Returns false if they are not a whole number of blocks, or if the
 * size overflows. */
bool organ_dtype_bytes(organ_dtype dtype, uint64_t elements, uint64_t *bytes);

/* ---- roles of tensors in a language model; only this code interprets names ---- */

/* The groups of a model's weights: skeleton = attention, organ = feed-forward, embed = embedding and output head,
 * norm = normalisation. */
typedef enum organ_group {
    ORGAN_GROUP_SKELETON,
    ORGAN_GROUP_ORGAN,
    ORGAN_GROUP_EMBED,
    ORGAN_GROUP_NORM,
    ORGAN_GROUP_OTHER
} organ_group;

/* Brackets give the architectures of roles that few architectures have. */
typedef enum organ_role {
    ORGAN_ROLE_OTHER, /* unknown name: verbs copy the tensor and by default do not change it */
    ORGAN_ROLE_EMBED,
    ORGAN_ROLE_POSITION, /* learned embeddings of token positions [GPT-2, OPT] */
    ORGAN_ROLE_OUTPUT,   /* lm_head */
    ORGAN_ROLE_NORM,
    /* Attention */
    ORGAN_ROLE_Q,
    ORGAN_ROLE_K,
    ORGAN_ROLE_V,
    ORGAN_ROLE_QKV, /* fused [Phi-3, GPT-2, GPT-NeoX, Falcon, MPT, BLOOM] */
    ORGAN_ROLE_KV,  /* key and value fused [JetMoe], or one matrix that gives both [DeepSeek V4] */
    ORGAN_ROLE_O,
    ORGAN_ROLE_Q_A,  /* latent attention (MLA): hidden state to the latent query */
    ORGAN_ROLE_Q_B,  /* latent query to the queries of all heads */
    ORGAN_ROLE_KV_A, /* hidden state to the latent key and value, and the rotated part of the key */
    ORGAN_ROLE_KV_B, /* latent key and value to the keys and values of all heads */
    ORGAN_ROLE_K_B, /* the half of KV_B for keys; in GGUF transposed per head: [heads, latent, key width without rotated
                       part] */
    ORGAN_ROLE_V_B, /* the half of KV_B for values */
    ORGAN_ROLE_ATTN_GATE, /* gate on the output of attention, or of a recurrent mixer [Qwen3-Next's z in GGUF, Kimi] */
    ORGAN_ROLE_INDEXER,   /* query and key that choose the keys of sparse attention [DeepSeek V3.2, GLM-5] */
    ORGAN_ROLE_ATTENTION, /* small parameters of attention: sinks, decays */
    /* Recurrent mixers: gated delta networks, Mamba, short convolutions */
    ORGAN_ROLE_IN_PROJ,    /* hidden state to the inputs of the mixer */
    ORGAN_ROLE_X_PROJ,     /* time step, B and C of Mamba-1 */
    ORGAN_ROLE_DT_PROJ,    /* time step of Mamba-1 */
    ORGAN_ROLE_OUT_PROJ,   /* output of the mixer to the hidden state */
    ORGAN_ROLE_STATE_GATE, /* decay and write strength of the state: in_proj_a, in_proj_b, f_a_proj, ssm_alpha */
    ORGAN_ROLE_CONV,       /* causal convolution over tokens */
    ORGAN_ROLE_STATE,      /* A_log, D, dt_bias and other small parameters of the recurrence */
    /* Feed-forward */
    ORGAN_ROLE_GATE,
    ORGAN_ROLE_UP,      /* also the first of two matrices without a gate: fc1, c_fc, dense_h_to_4h */
    ORGAN_ROLE_GATE_UP, /* GATE and UP in one matrix [Phi-3, stacked experts] */
    ORGAN_ROLE_DOWN,    /* also fc2, c_proj, dense_4h_to_h */
    ORGAN_ROLE_ROUTER,  /* chooses the experts */
    ORGAN_ROLE_LATENT,  /* hidden state to the input of a layer's experts, and back from their output [Nemotron 3] */
    /* Extra inputs and paths */
    ORGAN_ROLE_PER_LAYER,   /* projections of per-layer embeddings, in each layer or one for all layers [Gemma 3n, Gemma
                               4] */
    ORGAN_ROLE_LOW_RANK,    /* low-rank pairs next to other matrices [Laurel of Gemma 3n, adapters of Zamba 2] */
    ORGAN_ROLE_STREAM_PROJ, /* hidden state to further residual streams and back [Gemma 3n] */
    ORGAN_ROLE_STREAMS,     /* mixes several residual streams [AltUp of Gemma 3n, hyper-connections] */
    ORGAN_ROLE_SCALE,       /* learned scalars and scale vectors: layer_scalar, act_fn.alpha_p */
    /* Parts that the text forward pass does not run */
    ORGAN_ROLE_VISION,
    ORGAN_ROLE_AUDIO,
    ORGAN_ROLE_MTP, /* multi-token prediction: draft layers and the projections that connect them to the model */
    /* Tensors that belong to a weight; organ_anatomy.group is the group of that weight */
    ORGAN_ROLE_BIAS,      /* bias of a weight; biases of normalisations have the role NORM */
    ORGAN_ROLE_COMPANION, /* scales, zero points, group indices ... of a packed weight */
    ORGAN_ROLE_COUNT
} organ_role;

/* Name and group of a role. */
typedef struct organ_role_info {
    const char *name; /* "q_proj", "gate_up_proj", "embed", ... */
    organ_group group;
    bool projection; /* one of the projections that pruning changes by default */
} organ_role_info;

/* Return the name and group of a role, and the name of a group in reports ("skeleton"). */
const organ_role_info *organ_role_describe(organ_role role);
const char *organ_group_name(organ_group group);

/* The kind of experts that a feed-forward tensor belongs to. Reports separate them, because a routed expert processes
 * a share of the tokens and a shared expert all of them. */
typedef enum organ_experts { ORGAN_EXPERTS_NONE, ORGAN_EXPERTS_ROUTED, ORGAN_EXPERTS_SHARED } organ_experts;

/* The place of a tensor in the network, derived from its name. */
typedef struct organ_anatomy {
    organ_role role;
    organ_group group; /* group of the role; for a bias or a companion, the group of its weight */
    organ_experts experts;
    int32_t layer;  /* from 0; -1 for none */
    int32_t expert; /* from 0; -1 for none and for stacked experts (one 3-D tensor of all) */
} organ_anatomy;

/* Derives the description of a tensor from its Hugging Face name ("model.layers.3.mlp.experts.7.down_proj.weight") or
 * its GGUF name ("blk.3.ffn_down_exps.weight"). Never fails: an unknown name has the role ORGAN_ROLE_OTHER, and a
 * number above INT32_MAX becomes -1.
 *   - Prefixes of multimodal models ("model.language_model.layers.") are skipped.
 *   - Tensors of vision and audio towers have the role ORGAN_ROLE_VISION or ORGAN_ROLE_AUDIO, tensors of draft layers
 *     under a prefix ("mtp.") ORGAN_ROLE_MTP. Their layer is -1.
 *   - A tensor under an unknown prefix is ORGAN_ROLE_OTHER with layer -1. Tensors of BERT and its relatives
 *     ("bert.encoder.layer.3.") are ORGAN_ROLE_OTHER with the number of their layer.
 *   - The codes of a packed weight ("weight_packed", "qweight", "gate_up_proj_blocks") have the role of the
 *     weight. Its companions ("weight_scale", "qzeros", "g_idx", ...) are ORGAN_ROLE_COMPANION in the group of the
 *     weight. */
organ_anatomy organ_anatomy_of(const char *tensor_name);

/* Sets *length to the length of the tensor name without ".weight" or the suffix of a packed weight (".qweight"): the
 * first *length bytes are the name of the module, with all that precedes it. Returns true if the tensor is a companion
 * of a packed weight (scales, zero points, ...). */
bool organ_anatomy_companion(const char *tensor_name, size_t *length);

/* Reports have three rows for each role: tensors outside of experts, of routed and of shared experts.
 * organ_anatomy_row returns the row of a tensor. */
#define ORGAN_ANATOMY_ROWS (3 * ORGAN_ROLE_COUNT)
unsigned organ_anatomy_row(const organ_anatomy *anatomy);

/* Returns "gate_proj", "experts.gate_proj", "shared_experts.gate_proj", ..., or NULL for a row that no tensor can be
 * in. */
const char *organ_anatomy_row_name(unsigned row);
const char *organ_anatomy_role_name(const organ_anatomy *anatomy); /* name of its row */

/* Returns the row of that name, or ORGAN_ANATOMY_ROWS if there is none. organ_anatomy_row_role returns the role of a
 * row, whatever its kind of experts. */
unsigned organ_anatomy_row_named(const char *name);
organ_role organ_anatomy_row_role(unsigned row); /* ORGAN_ROLE_OTHER for ORGAN_ANATOMY_ROWS */

/* Writes a copy of the name with the given numbers of layer and expert to `out`. A negative number keeps the old
 * one; a number that the name lacks is not added. Returns false if the result with its NUL exceeds `size` bytes. */
bool organ_anatomy_renumber(const char *tensor_name, int32_t layer, int32_t expert, char *out, size_t size);

/* Writes the module of a tensor to `out`: the name without the part up to the layer number, without the number of
 * the expert and without ".weight" ("self_attn.q_proj", "mlp.experts.down_proj", "ffn_down_exps"; a bias keeps
 * ".bias"). A tensor outside of layers keeps its whole name without ".weight". Cuts the result at `size` bytes with
 * the NUL. */
void organ_anatomy_module(const char *tensor_name, char *out, unsigned long size);

/* ---- tensors and files ---- */

/* Description of a stored tensor, without its data. */
typedef struct organ_tensor {
    const char *name; /* valid UTF-8 without NUL */
    organ_dtype dtype;
    unsigned rank;         /* 0 for a scalar */
    const uint64_t *shape; /* rank dimensions, slowest axis first: (out_features, in_features) */
    uint64_t elements;     /* product of the dimensions */
    uint64_t bytes;        /* size of the data in the file */
    uint32_t file;         /* index into organ_model.files */
    uint64_t offset;       /* file offset of its first byte */
    organ_anatomy anatomy;
} organ_tensor;

/* A tensor as a stack of `count` row-major matrices of `rows` x `cols`. Rank 0 is a 1 x 1 matrix, rank 1 one row,
 * rank 2 one matrix; from rank 3 on, all axes before the last two are stacked. */
typedef struct organ_matrices {
    uint64_t count, rows, cols;
} organ_matrices;
/* Returns the shape of a tensor as a stack of matrices. */
organ_matrices organ_tensor_matrices(const organ_tensor *tensor);

struct organ_http_file;

/* A file with tensor data that belongs to an open model. */
typedef struct organ_model_file {
    const char *name; /* relative to the model's directory: "model-00001-of-00003.safetensors" */
    const char *path; /* path for opening the file again */
    int fd; /* descriptor for reading, open while the model is open; -1 if organ_model_file_open opens the file for each
               read */
    struct organ_http_file *remote; /* set for a file at a URL (`fd` is -1); else NULL */
    uint64_t size;                  /* bytes of the file */
    uint64_t data_offset;           /* offset of the tensor data; the header precedes it */
    uint64_t first, count; /* the file's tensors are organ_model.tensors[first .. first + count), in order of offset */
    struct timespec modified; /* stat's modification time when the file was opened */
    uint64_t device, inode;   /* of stat: the same file under two paths has the same pair */
} organ_model_file;

/* ---- shapes ---- */

/* Returns whether both ranks and all sizes are equal. */
bool organ_shape_equal(unsigned rank, const uint64_t *shape, unsigned other_rank, const uint64_t *other);
/* Compares the shapes of two structs with members `rank` and `shape`, such as organ_tensor and organ_weight. */
#define ORGAN_SAME_SHAPE(a, b) organ_shape_equal((a)->rank, (a)->shape, (b)->rank, (b)->shape)

/* Writes the shape as "[320, 8]" to `out` and returns `out`. A text that is too long ends with ", ...]". */
#define ORGAN_SHAPE_TEXT 128
const char *organ_shape_text(unsigned rank, const uint64_t *shape, char out[ORGAN_SHAPE_TEXT]);

ORGAN_API_END

#endif
