/* SPDX-License-Identifier: MIT
 * Models as files: access to URLs, tensors and their roles, config.json, metadata of GGUF, and organ_model_open,
 * which reads all formats. */
#ifndef ORGAN_API_MODELS_H
#define ORGAN_API_MODELS_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <time.h>

ORGAN_API_BEGIN

/* ---- models at URLs: headers, credentials, and how long requests are repeated ---- */

/* Settings that are all zero are the defaults. Everything that they point to must outlive the model. */
typedef struct organ_model_access {
    const char *const *headers; /* each "Name: value"; sent to the host of the URL and to no host that it redirects to;
                                   messages never contain them */
    size_t header_count;
    const char *bearer;        /* token, sent as "Authorization: Bearer TOKEN" only to the scheme, host and port of
                                  bearer_origin; not sent if `headers` has an Authorization; NULL for none */
    const char *bearer_origin; /* URL of the only server that may get the token; NULL for none */
    unsigned tries; /* number of tries without progress after which a request fails; 0: 3 until the server has answered
                       for the first time, then 12, over about three minutes */
    unsigned first_wait_ms; /* milliseconds before the second try, doubled from try to try up to 30 s; 0: 500 */
    unsigned patience; /* seconds that a server may ask to wait (Retry-After); a request that is asked to wait longer
                          fails; 0: 60 */
    unsigned read_ms;  /* upper bound in milliseconds on one read: all its tries without the waits between them; each 32
                          KiB received add a second; 0: 300000 */
    void *context;     /* passed to the two functions below, which any thread that reads may call; each may be NULL */
    bool (*stopped)(void *context); /* called at least about once a second; if it returns true, waiting and reading end
                                       with ORGAN_INTERRUPTED */
    /* called with one sentence if a request failed and will be repeated */
    void (*note)(void *context, const char *text);
} organ_model_access;

/* ---- tensors: type, shape, role in the model (derived from the name), and the file with the data ---- */

/* ---- types ---- */

/* One row for each block type of GGUF: name, elements and bytes of a block, number of the type in GGUF files. Add
 * rows only at the end, because their order numbers the members of organ_dtype. */
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
/* Block types of GGUF: a member for each row of ORGAN_BLOCK_TYPES. */
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
typedef enum organ_expert_kind { ORGAN_EXPERTS_NONE, ORGAN_EXPERTS_ROUTED, ORGAN_EXPERTS_SHARED } organ_expert_kind;

/* The place of a tensor in the network, derived from its name. */
typedef struct organ_anatomy {
    organ_role role;
    organ_group group; /* group of the role; for a bias or a companion, the group of its weight */
    organ_expert_kind experts;
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

/* ---- config.json ---- */

#define ORGAN_CONFIG_LIMIT ((size_t)16 << 20) /* bytes of the longest config.json that is read */

/* The fields of config.json that organ uses. A string that is absent is "". */
typedef struct organ_hf_config {
    bool present; /* config.json exists */
    /* architectures[0]; the class that transformers chooses by model_type if that is missing or the class of a model
     * without its output head ("LlamaModel"); else "" */
    char architecture[96];
    char model_type[64];
    char torch_dtype[32]; /* "torch_dtype", or "dtype" as transformers 5 writes it */
    /* Each is -1 if the field is absent, or if it is a list with one value for each layer. */
    int64_t hidden_size, intermediate_size, num_hidden_layers, num_attention_heads, num_key_value_heads, head_dim,
        vocab_size, num_experts;
    /* the output head is the embedding matrix: by the flag or, if config.json lacks it, by the default of the
     * architecture; in a GGUF file, which has no flag, if output.weight is missing */
    bool tie_word_embeddings;
    char quant_method[64]; /* quantization_config.quant_method, or "" */
} organ_hf_config;

/* The value for a model without config.json. */
extern const organ_hf_config organ_hf_config_unknown;

/* Reads the config.json at `path`. If it does not exist, `present` is false and the result ORGAN_OK. Fields may be
 * at the top level or in the object "text_config"; the words NaN and Infinity, which Python writes, are accepted.
 * Returns ORGAN_BAD_INPUT, with file, field and value in the message, if the file is not a JSON object or a known
 * field has the wrong type or is negative. */
organ_status organ_hf_config_read(const char *path, organ_hf_config *config, organ_error *error);

/* Reads the fields like organ_hf_config_read, from the `length` bytes of a file in memory, in which the function
 * replaces NaN and Infinity. `bytes` is NULL if there is no file; `label` is the name of the file in messages. */
organ_status organ_hf_config_parse(char *bytes, size_t length, const char *label, organ_hf_config *config,
                                   organ_error *error);

/* Replaces the word NaN by an empty string, Infinity by 1e99 and integers of more than 64 bits by real numbers, in
 * place and padded to the same length. Words inside strings stay. Python writes these; readers of JSON do not take
 * them. */
void organ_hf_config_tidy(char *bytes, size_t length);

/* ---- metadata of GGUF (the key-values) of one model, from one file or a split set; versions 1 to 3, little endian
 * ---- */

/* Value types as numbered on disk. */
typedef enum organ_gguf_type {
    ORGAN_GGUF_U8,
    ORGAN_GGUF_I8,
    ORGAN_GGUF_U16,
    ORGAN_GGUF_I16,
    ORGAN_GGUF_U32,
    ORGAN_GGUF_I32,
    ORGAN_GGUF_F32,
    ORGAN_GGUF_BOOL,
    ORGAN_GGUF_STRING,
    ORGAN_GGUF_ARRAY,
    ORGAN_GGUF_U64,
    ORGAN_GGUF_I64,
    ORGAN_GGUF_F64,
    ORGAN_GGUF_TYPES
} organ_gguf_type;

/* Return the name of a type ("u8", ..., "f64"), and the number of bytes of one value of a type (0 for strings and
 * arrays). `type` is below ORGAN_GGUF_TYPES. */
const char *organ_gguf_type_name(organ_gguf_type type);
size_t organ_gguf_type_bytes(organ_gguf_type type);

/* Bytes before the first element of an array: its element type (u32) and count (u64). */
#define ORGAN_GGUF_ARRAY_HEAD ((size_t)12)

/* One key-value. `bytes` is the value in the encoding of version 3, without its type: for a string its u64 length
 * and text, for an array its element type, u64 count and elements. An unchanged value is therefore written back byte
 * for byte. */
typedef struct organ_gguf_kv {
    const char *key;               /* valid UTF-8, no NUL */
    organ_gguf_type type, element; /* `element` is the type of an array's elements, else equal to `type` */
    uint64_t count;                /* number of elements of an array, else 1 */
    const unsigned char *bytes;
    size_t size; /* of `bytes` */
} organ_gguf_kv;

/* The metadata of a model, taken from its first file. */
typedef struct organ_gguf {
    uint32_t version;   /* version of the first file */
    uint64_t alignment; /* general.alignment, or 32 if absent */
    size_t kv_count;
    const organ_gguf_kv *kvs; /* in file order, including split.* */
    size_t split_count;       /* number of files; 1 if not split */
} organ_gguf;

/* Returns the key-value of that name, or NULL. */
const organ_gguf_kv *organ_gguf_find(const organ_gguf *gguf, const char *key);

/* Return the value of a key as a number, whatever its stored width. Return `fallback` if the key is absent, text, an
 * array, or an integer beyond 63 bits; organ_gguf_integer also for a float. */
int64_t organ_gguf_integer(const organ_gguf *gguf, const char *key, int64_t fallback);
double organ_gguf_real(const organ_gguf *gguf, const char *key, double fallback);
/* Returns the text of a string value and sets *length to its bytes. The text is not NUL-terminated and may contain any
 * bytes. Returns NULL if the key is absent or not a string. */
const char *organ_gguf_string(const organ_gguf *gguf, const char *key, size_t *length);

/* Returns true if the key is a string equal to `text`. */
bool organ_gguf_text_equals(const organ_gguf *gguf, const char *key, const char *text);

/* Both functions set *value to element `index` of an array or, at index 0, to a single value. They return false for an
 * index beyond the end, for text and for an integer beyond 63 bits; organ_gguf_integer_at also for a float. */
bool organ_gguf_integer_at(const organ_gguf_kv *kv, uint64_t index, int64_t *value);
bool organ_gguf_real_at(const organ_gguf_kv *kv, uint64_t index, double *value);

/* ---- models, in any of the formats ---- */

struct organ_manifest;

/* An open model: its files, and the names, types and places of all tensors. All pointers belong to the model. */
typedef struct organ_model {
    const char *path;      /* the caller's path without trailing slashes */
    const char *directory; /* directory of the files */
    const char *format;    /* "safetensors", "GGUF", "organ directory" */
    /* metadata of a GGUF model, or of an organ directory made from one, else NULL */
    const organ_gguf *gguf;
    const struct organ_manifest *manifest; /* manifest of an organ directory, else NULL */
    const char *index;                     /* name of the index file relative to `directory`, NULL if there is none */
    bool whole_directory;                  /* `path` names the directory, not a single file in it */
    /* factor by which readers of packed weights multiply every scale and bias; set by the caller, 0 for none */
    float scale_times;
    organ_hf_config config;
    size_t file_count, tensor_count;
    /* shards or parts sorted by name; in an organ directory one file for each tensor, in the order of `tensors` */
    const organ_model_file *files;
    const organ_tensor *tensors; /* in file order, by offset within a file */
    size_t problem_count; /* faults that leave every tensor readable, such as a name that is too long for llama.cpp */
    const char *const *problems; /* one sentence each */
    size_t warning_count; /* wrong statements in the files on which no loader relies, such as total_size of the index */
    const char *const *warnings;         /* one sentence each */
    const organ_model_file *config_file; /* the local config.json that was read; NULL: none */
} organ_model;

/* Opens a model, which is one of
 *   - an organ directory;
 *   - a directory with model.safetensors.index.json, with model.safetensors, with exactly one other *.safetensors, or
 *     with exactly one GGUF model;
 *   - a .safetensors file;
 *   - a GGUF file of any name (with all parts of a split model);
 *   - an index, whose name ends in .safetensors.index.json, with its files next to it;
 *   - a URL (see organ_model_open_with).
 *
 * Files are opened read-only. Headers are read completely, and every offset and length is checked against the file size
 * before memory of that size is allocated. All files stay open, except those of an organ directory; for models with
 * many shards the process's soft limit of open files is raised, up to the hard limit.
 *
 * Returns ORGAN_IO if a file cannot be opened or read. Returns ORGAN_BAD_INPUT if a file is malformed, or a shard or
 * part is missing; the message has the file, the tensor, the field, the value found and the value expected. *model is
 * NULL on error. */
organ_status organ_model_open(const char *path, organ_model **model, organ_error *error);

/* Opens a model like organ_model_open, or one at an http(s) URL: a .gguf (any part of a split one), a .safetensors,
 * a .safetensors.index.json with its files next to it, or a directory with model.safetensors.index.json or
 * model.safetensors. A model at a URL can be read, but has no descriptors and cannot be copied. User, password,
 * query and headers never appear in messages or in the fields of the model. `access` (NULL for none) must live as
 * long as the model. */
organ_status organ_model_open_with(const char *path, const organ_model_access *access, organ_model **model,
                                   organ_error *error);
void organ_model_close(organ_model *model); /* NULL is allowed */

/* Returns ORGAN_USAGE if the model is at a URL, for callers that need local files. `doing` is the participle in the
 * message: "a model at a URL cannot be pruned". */
organ_status organ_model_is_here(const organ_model *model, const char *doing, organ_error *error);

/* Sets *fd to a descriptor for reading files[file] of the model; the caller ends its use with organ_model_file_close. A
 * file of an organ directory is opened here, because its files, one for each tensor, are too many to stay open. Returns
 * ORGAN_BAD_INPUT if such a file was replaced or has another size than when the model was opened. Returns ORGAN_USAGE
 * for a model at a URL. Thread-safe. */
organ_status organ_model_file_open(const organ_model *model, uint32_t file, int *fd, organ_error *error);
/* Closes a descriptor of organ_model_file_open, unless the model keeps it open for later reads. -1 is allowed. */
void organ_model_file_close(const organ_model *model, uint32_t file, int fd);

/* Reads exactly `bytes` bytes from byte `offset` of files[file], local or remote, to `to`. Returns ORGAN_BAD_INPUT if
 * the file ends earlier, which means that it was changed after it was opened. Thread-safe. */
organ_status organ_model_read(const organ_model *model, uint32_t file, void *to, size_t bytes, uint64_t offset,
                              organ_error *error);

/* Loads the small file `name` that belongs to the model, such as config.json, local or remote: at most `limit` bytes,
 * followed by a NUL. The caller frees *bytes, which is NULL, with ORGAN_OK, if the file does not exist. Returns
 * ORGAN_BAD_INPUT if the file is longer. */
organ_status organ_model_load(const organ_model *model, const char *name, size_t limit, char **bytes, size_t *length,
                              organ_error *error);
/* Loads a JSON object of at most ORGAN_CONFIG_LIMIT bytes in the same way, after organ_hf_config_tidy. `label` is the
 * name of the file in messages. The caller releases *root, which is NULL if the file does not exist or after an error.
 */
organ_status organ_model_load_json(const organ_model *model, const char *name, const char *label, json_t **root,
                                   organ_error *error);

/* Returns the tensor of that name, or NULL if there is none, in constant time. */
const organ_tensor *organ_model_find(const organ_model *model, const char *name);

/* Returns ORGAN_BAD_INPUT if a file of the model or its config.json was changed, shortened, replaced or removed after
 * it was opened: the size, the modification time or the inode at its path differs (of a file at a URL: the size, the
 * ETag or the date). */
organ_status organ_model_unchanged(const organ_model *model, organ_error *error);

ORGAN_API_END

#endif
