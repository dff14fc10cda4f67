/* SPDX-License-Identifier: MIT
 * The table of kinds (rows) and, for each kind, its shapes and strips (LAYOUTS). Kinds follow llama.cpp's converter,
 * modify_tensors in conversion/ *.py. */
#include "formats/architecture/pairing.h"

#include "formats/base/text.h"

#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof *(array))

/* ---- layouts: shapes and strips of a kind ---- */

typedef struct layout_job {
    const place_model *model;
    const organ_forward_config *config;
    const organ_layer_kind *kind; /* NULL outside of layers */
    const place_source *source;
    place_layout *layout;
} layout_job;

static void set_shape(place_tensor *tensor, unsigned rank, const uint64_t *shape)
{
    tensor->rank = rank;
    memcpy(tensor->shape, shape, (rank < 4 ? rank : 4) * sizeof *shape);
}
#define SET_SHAPE(tensor, ...)                                                                                         \
    set_shape((tensor), sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t), (uint64_t[]){__VA_ARGS__})

static void add_strip(place_layout *layout, place_strip strip) { layout->strips[layout->strip_count++] = strip; }

/* The columns of a block of `rows` rows become rows. */
static void add_transposed(place_layout *layout, uint64_t block, uint64_t rows, uint64_t at, uint64_t cols)
{
    add_strip(
        layout,
        (place_strip){
            .block = block, .rows = rows, .at = at, .step = cols, .transposed = true, .col_step = 1, .cols = cols});
}

/* The source's shape is that of both tensors until a kind changes one of them. */
/* Returns NULL, or the reason why the tensor has no place; so do the other layout functions. */
static const char *layout_whole(layout_job *j)
{
    const place_source *const s = j->source;
    const forward_part part = s->part.part;
    static const char end[] = "norm.weight"; /* the whole name of the last norm of some models */
    const bool is_norm = organ_ends_with(s->name, end) || strcmp(s->name, end) == 0;
    const bool norm = s->part.draft ? part == PART_NORM_POST_ATTENTION : is_norm;
    /* the gated norm of a mixer is an exception in all architectures */
    if (j->model->pairing->traits & PAIRING_NORMS_PLUS_ONE && part != PART_NORM_MIXED && norm)
        j->layout->function = PLACE_PLUS_ONE;
    if (j->model->gguf_family->gguf_pairs &&
        (part == PART_Q || part == PART_K || part == PART_BIAS_Q || part == PART_BIAS_K))
        j->layout->turned = organ_rope_rows(j->config, j->kind);
    if (!s->gguf && j->model->family->falcon && part == PART_NORM_ATTENTION && j->config->one_norm)
        j->layout->gguf[0].part.part = PART_NORM_FFN; /* the only norm of a layer has the name of the feed-forward's */
    return NULL;
}

static const char *layout_numbered_norm(layout_job *j)
{
    const place_source *const s = j->source;
    const uint64_t heads = s->part.part == PART_NORM_Q ? j->kind->heads : j->kind->kv_heads;
    const uint64_t width = s->shape[s->rank - 1];
    if (!s->gguf && (s->rank != 1 || (uint64_t)s->part.number >= heads))
        return "is not the norm of a head that config.json counts";
    SET_SHAPE(&j->layout->hf, width);
    SET_SHAPE(&j->layout->gguf[0], heads, width);
    j->layout->numbers = s->shape[0];
    add_transposed(j->layout, width, width, s->gguf ? 0 : (uint64_t)s->part.number, 1);
    return NULL;
}

static const char *layout_numbered(layout_job *j)
{
    const place_source *const s = j->source;
    const bool expert = s->part.part < PART_EMBEDDING;
    if (s->part.part == PART_NORM_Q || s->part.part == PART_NORM_K)
        return layout_numbered_norm(j);
    if (s->gguf && s->rank != 3)
        return "is not a stack of matrices";
    const uint64_t counted = expert ? j->config->experts : j->config->streams - 1;
    const uint64_t count = s->gguf ? s->shape[0] : counted;
    if (!s->gguf && (s->rank != 2 || s->part.number < 0 || (uint64_t)s->part.number >= count))
        return expert ? "is not a matrix of an expert that config.json counts"
                      : "is not a matrix of a stream that config.json counts";
    const uint64_t *const matrix = s->shape + s->gguf;
    const uint64_t at = s->gguf ? 0 : (uint64_t)s->part.number * matrix[0];
    SET_SHAPE(&j->layout->hf, matrix[0], matrix[1]);
    SET_SHAPE(&j->layout->gguf[0], count, matrix[0], matrix[1]);
    j->layout->numbers = count;
    add_strip(j->layout, (place_strip){.block = matrix[0], .rows = matrix[0], .at = at, .step = matrix[0]});
    return NULL;
}

static const char *layout_halves(layout_job *j)
{
    const place_source *const s = j->source;
    const uint64_t given = s->rank >= 2 ? s->shape[s->rank - 2] : 0, rows = s->gguf ? given : given / 2;
    if (s->rank < 2 || s->rank > 4 || (!s->gguf && given % 2))
        return s->gguf ? "is not a matrix" : "is not a matrix of two halves";
    j->layout->hf.shape[s->rank - 2] = 2 * rows;
    for (unsigned half = 0; half < 2; half++) {
        j->layout->gguf[half].shape[s->rank - 2] = rows;
        add_strip(j->layout,
                  (place_strip){.to = half, .block = 2 * rows, .first = half * rows, .rows = rows, .step = rows});
    }
    return NULL;
}

/* The matrices of the keys are transposed. */
static const char *layout_kv_b(layout_job *j)
{
    const organ_forward_config *const c = j->config;
    const uint64_t plain = c->latent.plain, value = j->kind->value_dim, rank = c->latent.rank;
    if (!j->kind->latent)
        return "is of latent attention, which the configuration does not state";
    SET_SHAPE(&j->layout->gguf[0], c->heads, rank, plain);
    SET_SHAPE(&j->layout->gguf[1], c->heads, value, rank);
    if (j->source->gguf)
        SET_SHAPE(&j->layout->hf, c->heads * (plain + value), rank);
    j->layout->by_value = true;
    add_transposed(j->layout, plain + value, plain, 0, rank);
    add_strip(j->layout, (place_strip){.to = 1, .block = plain + value, .first = plain, .rows = value, .step = value});
    return NULL;
}

static const char *layout_qkv(layout_job *j)
{
    const uint64_t head = j->kind->head_dim, heads = j->kind->heads, kv = j->kind->kv_heads, q = heads / kv * head;
    /* of q, k and v: rows for each key-value head, and the first row in GGUF */
    const uint64_t rows[] = {q, head, head}, at[] = {0, heads * head, (heads + kv) * head};
    for (unsigned k = 0; k < 3; k++)
        add_strip(j->layout, (place_strip){.block = q + 2 * head,
                                           .first = k ? q + (k - 1) * head : 0,
                                           .rows = rows[k],
                                           .at = at[k],
                                           .step = rows[k]});
    return NULL;
}

/* Described from GGUF, strip k is that of q, k and v in turn, and the shape in safetensors is that of q. */
static const char *layout_joined(layout_job *j)
{
    const place_source *const s = j->source;
    const uint64_t heads = j->kind->heads, kv = j->kind->kv_heads, head = j->kind->head_dim;
    const uint64_t rows[] = {heads * head, kv * head, kv * j->kind->value_dim}, at[] = {0, rows[0], rows[0] + rows[1]};
    const bool bias = s->gguf ? s->part.bias : s->part.part >= PART_BIAS_Q;
    const unsigned first = s->gguf ? 0 : (unsigned)(s->part.part - (bias ? PART_BIAS_Q : PART_Q));
    const uint64_t all = at[2] + rows[2];
    if (s->rank != (bias ? 1 : 2) || s->shape[0] != (s->gguf ? all : rows[first]))
        return "does not have the rows of the heads that the configuration states";
    j->layout->hf.shape[0] = rows[first];
    j->layout->gguf[0].shape[0] = all;
    j->layout->gguf[0].part.bias = bias;
    for (unsigned k = first; k < (s->gguf ? 3 : first + 1); k++)
        add_strip(j->layout, (place_strip){.block = rows[k], .rows = rows[k], .at = at[k], .step = rows[k]});
    return NULL;
}

/* Converts Qwen3-Next's joint tensor: safetensors files store q, k, v and z of each key head together, GGUF files all
 * q, then all k, then all v, and z in a tensor of its own. */
static const char *layout_qkvz(layout_job *j)
{
    const organ_recurrent_config *const r = &j->config->recurrent;
    const uint64_t key = r->key_dim, value = (uint64_t)r->heads / r->groups * r->value_dim, keys = r->groups * key;
    const uint64_t cols = j->source->shape[j->source->rank - 1];
    /* of q, k, v and z: rows for each key head, and the first row in the GGUF tensor */
    const uint64_t rows[] = {key, key, value, value}, at[] = {0, keys, 2 * keys, 0};
    SET_SHAPE(&j->layout->gguf[0], 2 * keys + r->groups * value, cols);
    SET_SHAPE(&j->layout->gguf[1], r->groups * value, cols);
    if (j->source->gguf)
        SET_SHAPE(&j->layout->hf, r->groups * 2 * (key + value), cols);
    for (unsigned k = 0, first = 0; k < 4; first += (unsigned)rows[k++])
        add_strip(j->layout, (place_strip){.to = k == 3,
                                           .block = 2 * (key + value),
                                           .first = first,
                                           .rows = rows[k],
                                           .at = at[k],
                                           .step = rows[k]});
    return NULL;
}

/* The axes of a stack of MXFP4 experts are those of its codes: gate and up are rows that alternate, or two halves. */
static const char *layout_coded(layout_job *j)
{
    const place_source *const s = j->source;
    if (j->layout->count == 1)
        return layout_whole(j);
    if (!j->model->family->mixture->pairs)
        return layout_halves(j);
    for (unsigned k = 0; k < 2; k++) {
        SET_SHAPE(&j->layout->gguf[k], s->shape[0], s->shape[1] / 2, s->shape[2]);
        add_strip(j->layout, (place_strip){.to = k, .block = 2, .first = k, .rows = 1, .step = 1});
    }
    return NULL;
}

/* transformers stores these matrices as in_features x out_features: Conv1D of GPT-2, or stacks of experts. */
static const char *layout_transposed(layout_job *j)
{
    const place_source *const s = j->source;
    const unsigned count = j->layout->count;
    const bool stack = s->part.part >= PART_EXPERTS_GATE_UP && s->part.part <= PART_EXPERTS_DOWN;
    const bool pairs = count == 2 && j->model->family->mixture->pairs;
    if (stack && s->rank != 3)
        return "is not a stack of experts";
    if (s->coded && !s->gguf)
        return layout_coded(j);
    j->layout->by_value = !stack;
    /* rows and columns of a matrix in safetensors, and columns for each GGUF tensor */
    const uint64_t rows = s->shape[s->rank - 1 - !s->gguf], given = s->shape[s->rank - 1 - s->gguf];
    const uint64_t cols = s->gguf ? given : given / count;
    j->layout->hf.shape[stack] = rows;
    j->layout->hf.shape[stack + 1] = cols * count;
    for (unsigned k = 0; k < count; k++) {
        j->layout->gguf[k].shape[stack] = cols;
        j->layout->gguf[k].shape[stack + 1] = rows;
        add_transposed(j->layout, rows, rows, 0, cols);
        j->layout->strips[k].to = k;
        j->layout->strips[k].col = pairs ? k : k * cols;
        j->layout->strips[k].col_step = pairs ? 2 : 1;
    }
    return NULL;
}

/* The matrices of the down projection are transposed. */
static const char *layout_flat(layout_job *j)
{
    const place_source *const s = j->source;
    const bool down = s->part.part == PART_EXPERTS_DOWN;
    const uint64_t experts = j->config->experts, inner = j->config->expert_intermediate, hidden = j->config->hidden;
    if (s->gguf && s->rank != 3)
        return "is not a stack of experts";
    SET_SHAPE(&j->layout->gguf[0], experts, down ? hidden : inner, down ? inner : hidden);
    if (s->gguf)
        SET_SHAPE(&j->layout->hf, experts * inner, hidden);
    if (down)
        add_transposed(j->layout, inner, inner, 0, hidden);
    return NULL;
}

static const char *layout_columns(layout_job *j)
{
    const place_source *const s = j->source;
    if (s->rank != 2)
        return "does not have one row for each expert";
    const uint64_t cols = s->gguf ? s->shape[1] : s->shape[1] / 2;
    SET_SHAPE(&j->layout->hf, s->shape[0], 2 * cols);
    for (unsigned k = 0; k < 2; k++) {
        SET_SHAPE(&j->layout->gguf[k], s->shape[0], cols);
        add_strip(j->layout,
                  (place_strip){
                      .to = k, .block = 1, .rows = 1, .step = 1, .slice = true, .col = k, .col_step = 2, .cols = cols});
    }
    return NULL;
}

static const char *layout_conv(layout_job *j)
{
    const place_source *const s = j->source;
    const uint64_t width = s->rank ? s->shape[s->rank - 1] : 1;
    uint64_t channels = 1;
    if (s->gguf ? s->rank < 2 : s->rank != 3 || s->shape[1] != 1)
        return s->gguf ? "is not a convolution" : "is not a convolution of single channels";
    for (unsigned d = 0; d + 1 < s->rank; d++)
        channels *= s->shape[d];
    SET_SHAPE(&j->layout->hf, channels, 1, width);
    if (s->part.part == PART_CONV)
        SET_SHAPE(&j->layout->gguf[0], channels, width);
    else
        SET_SHAPE(&j->layout->gguf[0], 1, channels, 1, width);
    return NULL;
}

/* The vectors are A_log and D. A_log of Kimi Linear has the shape 1 x 1 x heads x 1 in safetensors. */
static const char *layout_vector(layout_job *j)
{
    const place_source *const s = j->source;
    const bool positive = j->model->gguf_family->recurrent->bounded;
    const bool column = j->kind->mixer == ORGAN_MIXER_MAMBA2 || positive;
    uint64_t elements = 1;
    for (unsigned d = 0; d < s->rank; d++)
        elements *= s->shape[d];
    if (column && s->rank == 1)
        SET_SHAPE(&j->layout->gguf[0], s->shape[0], 1);
    if (column && s->gguf && s->rank == 2)
        j->layout->hf.rank = 1;
    if (s->gguf && j->config->recurrent.by_channel && !positive)
        SET_SHAPE(&j->layout->hf, 1, 1, elements, 1);
    if (s->part.part == PART_A_LOG)
        j->layout->function = positive ? PLACE_EXP : PLACE_MINUS_EXP;
    return NULL;
}

static const char *layout_grouped(layout_job *j)
{
    const place_source *const s = j->source;
    const uint64_t groups = s->gguf ? s->shape[0] : j->config->recurrent.groups;
    const uint64_t width = s->gguf ? s->shape[1] : s->shape[0] / groups;
    if (s->gguf)
        SET_SHAPE(&j->layout->hf, groups * width);
    SET_SHAPE(&j->layout->gguf[0], groups, width);
    add_transposed(j->layout, width, width, 0, 1);
    return NULL;
}

/* Per-layer embeddings of Gemma 3n and 4 may have fewer rows than the vocabulary has tokens. */
static const char *layout_padded(layout_job *j)
{
    const place_source *const s = j->source;
    const uint64_t vocabulary = j->config->vocabulary, rows = s->shape[0];
    SET_SHAPE(&j->layout->gguf[0], rows < vocabulary ? vocabulary : rows, s->shape[s->rank - 1]);
    j->layout->zeros = j->layout->gguf[0].shape[0] - rows;
    return NULL;
}

/* Rows of queries and keys precede the value heads of the input projection and the convolution. The output projection
 * has the heads as columns: a scale belongs to codes of consecutive columns. */
static const char *layout_tiled(layout_job *j)
{
    const organ_recurrent_config *const r = &j->config->recurrent;
    const forward_part part = j->source->part.part;
    const bool both = part == PART_MIX_IN || part == PART_CONV;
    j->layout->plain = both ? 2 * (uint64_t)r->groups * r->key_dim : 0;
    j->layout->each = both || part == PART_MIX_Z || part == PART_MIX_OUT ? r->value_dim : 1;
    j->layout->by_value = part == PART_MIX_OUT;
    j->layout->function = part == PART_A_LOG ? PLACE_MINUS_EXP : PLACE_SAME;
    return part == PART_CONV && (j->source->gguf || j->source->rank == 3) ? layout_conv(j) : NULL;
}

/* ---- the table ---- */

/* Conditions that need the shape or the other format's names differ by the format of the source. */
typedef enum place_when {
    ALWAYS,
    FROM_HF,
    FLAT_STACKS,
    TRANSPOSED_STACKS,
    JOINT_STACKS,  /* gate and up of all experts are one stack in safetensors, but not in GGUF */
    JOINT_DENSE,   /* the same of the dense feed-forward */
    JOINT_SHARED,  /* and of the shared expert */
    STRAIGHT_DOWN, /* stacks of the down projection are stacks in safetensors */
    BY_HEAD,
    JOINED_QKV,
    SPLIT_QKVZ,
    IN_GROUPS,
    BY_NUMBER,
    TILED_HEADS,
    CONV1D
} place_when;

/* A transposed stack is experts x in_features x out_features. If the architecture has files of both forms
 * (forward_mixture.or_straight), a tensor of safetensors has the form that fits its shape. */
static bool is_transposed(const place_model *m, const place_source *s)
{
    const forward_mixture *const mixture = m->family->mixture;
    const bool down = s->part.part == PART_EXPERTS_DOWN;
    const uint64_t inner = m->config->expert_intermediate, hidden = m->config->hidden;
    const uint64_t rows = down ? hidden : 2 * inner, cols = down ? inner : hidden;
    return mixture && mixture->transposed &&
           (s->gguf || !(mixture->or_straight && s->rank == 3 && s->shape[1] == rows && s->shape[2] == cols));
}

/* The value heads of a gated delta net have two orders: safetensors has all value heads of a key head in sequence;
 * GGUF has the first value head of each key head, then the second of each, and so on. */
static bool is_tiled(const place_model *m, const organ_layer_kind *kind)
{
    const organ_recurrent_config *const r = &m->config->recurrent;
    const forward_recurrent *const row = m->gguf_family->recurrent;
    return row && row->gguf_tiled && kind && r->heads != r->groups && r->groups != 1 &&
           kind->mixer == ORGAN_MIXER_DELTA;
}

/* Returns whether safetensors (`gguf`) has `joint` but not `single`, PART_NAMES if that is not asked for, or whether
 * GGUF lacks `joint` (not `gguf`): the format of the tensor decides about the other format. */
static bool is_joint(const place_model *m, bool gguf, forward_part joint, forward_part single)
{
    if (!gguf)
        return !organ_pairing_has_name(m->gguf_family->gguf_names, joint);
    return organ_pairing_has_name(m->family->names, joint) && !organ_pairing_has_name(m->family->names, single);
}

static bool applies(const place_model *m, const place_source *s, const organ_layer_kind *kind, place_when when)
{
    const forward_family *const f = m->family;
    const forward_recurrent *const r = m->gguf_family->recurrent;
    const char *name;
    switch (when) {
    case ALWAYS:
        return true;
    case FROM_HF:
        return !s->gguf;
    case FLAT_STACKS:
        return f->mixture && f->mixture->flat;
    case TRANSPOSED_STACKS:
        return is_transposed(m, s);
    case JOINT_STACKS:
        return is_joint(m, s->gguf, PART_EXPERTS_GATE_UP, PART_EXPERT_GATE);
    case JOINT_DENSE:
        return is_joint(m, /*gguf=*/false, PART_GATE_UP, PART_NAMES) &&
               is_joint(m, /*gguf=*/true, PART_GATE_UP, PART_NAMES);
    case JOINT_SHARED:
        return !s->gguf || is_joint(m, /*gguf=*/true, PART_SHARED_GATE_UP, PART_NAMES);
    case STRAIGHT_DOWN:
        return !s->gguf || is_joint(m, /*gguf=*/true, PART_EXPERTS_GATE_UP, PART_EXPERT_GATE);
    case BY_HEAD: /* configurations of GGUF files have no `fused` */
        return s->gguf ? f->fused == ORGAN_FUSED_HEADS || (f->early == EARLY_BIGCODE && m->config->kv_heads > 1)
                       : m->config->fused == ORGAN_FUSED_HEADS;
    case JOINED_QKV: /* GGUF files made of joined tensors have them in all layers */
        return m->drafts && m->drafts->joined && (s->gguf || s->layer >= (int64_t)m->config->layers);
    case SPLIT_QKVZ: /* older GGUF files have one tensor, as safetensors files have */
        return r && r->gguf_split && (!s->gguf || m->config->recurrent.projections == ORGAN_PROJECTIONS_QKV);
    case IN_GROUPS:
        return s->gguf ? s->rank == 2 : kind->mixer == ORGAN_MIXER_MAMBA2 && s->rank == 1;
    case BY_NUMBER: /* StableLM has a norm for each head */
        name = organ_forward_part_name(f->names, s->part.part, /*gguf=*/false, /*index=*/0);
        return s->gguf ? name && strchr(name, '#') && s->rank == 2 : s->part.number >= 0;
    case TILED_HEADS:
        return is_tiled(m, kind);
    case CONV1D:
        return f->transposed && kind && s->rank == 2;
    }
    return false;
}

/* A row is a kind and the parts that have it. The first row with the part applies whose condition is true; a part
 * without such a row is PLACE_WHOLE. */
static const struct {
    forward_part hf, gguf[2]; /* gguf[1] is PART_NAMES if there is one GGUF tensor */
    place_kind kind;
    place_when when;
} rows[] = {
    {PART_NAMES, {PART_NAMES, PART_NAMES}, PLACE_TRANSPOSED, CONV1D}, /* all parts */
    {PART_MIX_IN, {PART_MIX_IN, PART_NAMES}, PLACE_TILED, TILED_HEADS},
    {PART_CONV, {PART_CONV, PART_NAMES}, PLACE_TILED, TILED_HEADS},
    {PART_MIX_Z, {PART_MIX_Z, PART_NAMES}, PLACE_TILED, TILED_HEADS},
    {PART_MIX_B, {PART_MIX_B, PART_NAMES}, PLACE_TILED, TILED_HEADS},
    {PART_MIX_A, {PART_MIX_A, PART_NAMES}, PLACE_TILED, TILED_HEADS},
    {PART_A_LOG, {PART_A_LOG, PART_NAMES}, PLACE_TILED, TILED_HEADS},
    {PART_DT_BIAS, {PART_DT_BIAS, PART_NAMES}, PLACE_TILED, TILED_HEADS},
    {PART_MIX_OUT, {PART_MIX_OUT, PART_NAMES}, PLACE_TILED, TILED_HEADS},
    {PART_EXPERTS_GATE, {PART_EXPERTS_GATE, PART_NAMES}, PLACE_FLAT, FLAT_STACKS},
    {PART_EXPERTS_UP, {PART_EXPERTS_UP, PART_NAMES}, PLACE_FLAT, FLAT_STACKS},
    {PART_EXPERTS_DOWN, {PART_EXPERTS_DOWN, PART_NAMES}, PLACE_FLAT, FLAT_STACKS},
    {PART_EXPERTS_GATE_UP, {PART_EXPERTS_GATE, PART_EXPERTS_UP}, PLACE_TRANSPOSED, TRANSPOSED_STACKS},
    {PART_EXPERTS_DOWN, {PART_EXPERTS_DOWN, PART_NAMES}, PLACE_TRANSPOSED, TRANSPOSED_STACKS},
    {PART_EXPERTS_GATE_UP, {PART_EXPERTS_GATE, PART_EXPERTS_UP}, PLACE_HALVES, JOINT_STACKS},
    {PART_EXPERTS_DOWN, {PART_EXPERTS_DOWN, PART_NAMES}, PLACE_WHOLE, STRAIGHT_DOWN},
    {PART_EXPERT_GATE, {PART_EXPERTS_GATE, PART_NAMES}, PLACE_NUMBERED, ALWAYS},
    {PART_EXPERT_UP, {PART_EXPERTS_UP, PART_NAMES}, PLACE_NUMBERED, ALWAYS},
    {PART_EXPERT_DOWN, {PART_EXPERTS_DOWN, PART_NAMES}, PLACE_NUMBERED, ALWAYS},
    {PART_EXPERTS_BIAS_GATE_UP, {PART_EXPERTS_BIAS_GATE, PART_EXPERTS_BIAS_UP}, PLACE_COLUMNS, ALWAYS},
    {PART_SHARED_GATE_UP, {PART_SHARED_GATE, PART_SHARED_UP}, PLACE_HALVES, JOINT_SHARED},
    {PART_GATE_UP, {PART_GATE, PART_UP}, PLACE_HALVES, JOINT_DENSE},
    {PART_KV_B, {PART_K_B, PART_V_B}, PLACE_KV_B, ALWAYS},
    {PART_Q, {PART_QKV, PART_NAMES}, PLACE_JOINED, JOINED_QKV},
    {PART_K, {PART_QKV, PART_NAMES}, PLACE_JOINED, JOINED_QKV},
    {PART_V, {PART_QKV, PART_NAMES}, PLACE_JOINED, JOINED_QKV},
    {PART_BIAS_Q, {PART_QKV, PART_NAMES}, PLACE_JOINED, JOINED_QKV},
    {PART_BIAS_K, {PART_QKV, PART_NAMES}, PLACE_JOINED, JOINED_QKV},
    {PART_BIAS_V, {PART_QKV, PART_NAMES}, PLACE_JOINED, JOINED_QKV},
    {PART_QKV, {PART_QKV, PART_NAMES}, PLACE_QKV, BY_HEAD},
    {PART_MIX_IN, {PART_MIX_IN, PART_MIX_Z}, PLACE_QKVZ, SPLIT_QKVZ},
    {PART_CONV, {PART_CONV, PART_NAMES}, PLACE_CONV, ALWAYS},
    {PART_CONV_Q, {PART_CONV_Q, PART_NAMES}, PLACE_CONV, ALWAYS},
    {PART_CONV_K, {PART_CONV_K, PART_NAMES}, PLACE_CONV, ALWAYS},
    {PART_CONV_V, {PART_CONV_V, PART_NAMES}, PLACE_CONV, ALWAYS},
    {PART_A_LOG, {PART_A_LOG, PART_NAMES}, PLACE_VECTOR, ALWAYS},
    {PART_SKIP, {PART_SKIP, PART_NAMES}, PLACE_VECTOR, ALWAYS},
    {PART_NORM_MIXED, {PART_NORM_MIXED, PART_NAMES}, PLACE_GROUPED, IN_GROUPS},
    {PART_NORM_Q, {PART_NORM_Q, PART_NAMES}, PLACE_NUMBERED, BY_NUMBER},
    {PART_NORM_K, {PART_NORM_K, PART_NAMES}, PLACE_NUMBERED, BY_NUMBER},
    {PART_STREAMS_MAKE, {PART_STREAMS_MAKE, PART_NAMES}, PLACE_NUMBERED, ALWAYS},
    {PART_STREAMS_END, {PART_STREAMS_END, PART_NAMES}, PLACE_NUMBERED, ALWAYS},
    {PART_PER_LAYER_TABLE, {PART_PER_LAYER_TABLE, PART_NAMES}, PLACE_PADDED, FROM_HF},
};

static const char *(*const layouts[])(layout_job *) = {
    [PLACE_WHOLE] = layout_whole,     [PLACE_NUMBERED] = layout_numbered,
    [PLACE_HALVES] = layout_halves,   [PLACE_KV_B] = layout_kv_b,
    [PLACE_QKV] = layout_qkv,         [PLACE_JOINED] = layout_joined,
    [PLACE_QKVZ] = layout_qkvz,       [PLACE_TRANSPOSED] = layout_transposed,
    [PLACE_FLAT] = layout_flat,       [PLACE_COLUMNS] = layout_columns,
    [PLACE_CONV] = layout_conv,       [PLACE_VECTOR] = layout_vector,
    [PLACE_GROUPED] = layout_grouped, [PLACE_PADDED] = layout_padded,
    [PLACE_TILED] = layout_tiled,
};

static bool is_row_of(size_t k, bool gguf, forward_part part)
{
    const bool has_part = gguf ? rows[k].gguf[0] == part || rows[k].gguf[1] == part : rows[k].hf == part;
    return has_part || rows[k].hf == PART_NAMES;
}

const char *organ_place_describe(const place_model *m, const place_source *s, place_layout *layout)
{
    const organ_layer_kind *const kind = organ_place_kind(m, s->layer);
    layout_job job = {m, m->config, kind, s, layout};
    size_t k = 0;
    while (k < COUNT(rows) && !(is_row_of(k, s->gguf, s->part.part) && applies(m, s, kind, rows[k].when)))
        k++;
    *layout = (place_layout){.kind = k < COUNT(rows) ? rows[k].kind : PLACE_WHOLE, .count = 1};
    layout->hf.part = layout->gguf[0].part = layout->gguf[1].part = s->part;
    if (k < COUNT(rows) && rows[k].hf != PART_NAMES) {
        layout->hf.part.part = rows[k].hf;
        layout->gguf[0].part.part = rows[k].gguf[0];
        layout->gguf[1].part.part = rows[k].gguf[1];
        layout->count = rows[k].gguf[1] == PART_NAMES ? 1 : 2;
    }
    set_shape(&layout->hf, s->rank, s->shape);
    for (unsigned g = 0; g < 2; g++)
        set_shape(&layout->gguf[g], s->rank, s->shape);
    return layouts[layout->kind](&job);
}
