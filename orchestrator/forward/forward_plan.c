/* SPDX-License-Identifier: MIT
 * Finds the parts of a layer among the weights of the model and plans their memory. */
#include "formats/base/arena.h"
#include "orchestrator/forward/forward_parts.h"
#include "orchestrator/machine/quantity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

typedef struct builder {
    const organ_forward *forward;
    unsigned layer;
    const organ_layer_kind *kind;
    forward_plan *plan;
    size_t room;
    organ_error *error;
} builder;

static bool is_gguf(const builder *b) { return b->forward->model->gguf != NULL; }

static const char *full_name(const builder *b, const char *part, char name[256])
{
    return organ_forward_layer_name(b->forward, b->layer, part, name);
}

static bool part_exists(const builder *b, const char *part)
{
    char name[256];
    return organ_weights_named(b->forward->weights, full_name(b, part, name)) != NULL;
}

/* If no possible name exists in the file, returns the first of all; NULL: the part has no name. */
static const char *name_of(const builder *b, forward_part part)
{
    const forward_name *const own = is_gguf(b) ? b->forward->family->gguf_names : b->forward->family->names;
    const char *const first = organ_forward_part_name(own, part, is_gguf(b), 0), *name = first;
    for (unsigned k = 1; name && !part_exists(b, name); k++)
        name = organ_forward_part_name(own, part, is_gguf(b), k);
    return name ? name : first;
}

static organ_status measure_slot(builder *b, forward_slot *slot)
{
    forward_plan *const plan = b->plan;
    const organ_weight *const weight = slot->weight;
    size_t panel = 0;
    slot->type = slot->vectors ? ORGAN_REAL_F32 : organ_forward_type(weight);
    const uint64_t values = weight->elements * organ_real_bytes(slot->type),
                   stored = organ_weight_held_bytes(weight, slot->matrices);
    slot->packed = weight->rank > 1 && !weight->rotation && !slot->vectors && !slot->transposed && !slot->decoded &&
                   !b->forward->unpacked && slot->type == ORGAN_REAL_F32 && stored < values;
    slot->at = plan->bytes;
    slot->bytes = (size_t)(slot->packed ? stored : values);
    if (slot->packed && organ_forward_panel_size(b->forward, weight, &panel, b->error))
        return b->error->status;
    plan->bytes += organ_to_line(slot->bytes);
    plan->panel = organ_max(plan->panel, panel);
    return ORGAN_OK;
}

/* plan->reading is in bytes of a worker. */
static organ_status measure_loading(builder *b)
{
    for (size_t k = 0; k < b->plan->count && !b->error->status; k++) {
        size_t loading;
        if (organ_forward_load_size(b->forward, &b->plan->slots[k], &loading, b->error) == ORGAN_OK)
            b->plan->reading = organ_max(b->plan->reading, loading);
    }
    return b->error->status;
}

/* Weight and sizes of `slot` are set. After an error the view is of no slot. */
static forward_view add_slot(builder *b, forward_slot slot)
{
    forward_plan *const plan = b->plan;
    if (slot.vectors && slot.weight) { /* rows and columns as the reader of the weight counts them */
        slot.cols = organ_weight_matrices(slot.weight).cols;
        slot.rows = slot.weight->elements / slot.cols;
    }
    if (!b->error->status && !organ_grow(&plan->slots, plan->count, &b->room, sizeof *plan->slots))
        organ_fail_errno(b->error, ENOMEM, "cannot allocate the plan of layer %u", b->layer);
    if (b->error->status || measure_slot(b, &slot)) {
        free(slot.stored_form);
        return (forward_view){SIZE_MAX, 0};
    }
    plan->slots[plan->count] = slot;
    return (forward_view){plan->count++, 0};
}

/* Returns NULL also after an earlier error. */
static const organ_weight *find_part(const builder *b, const char *part, uint64_t matrices, uint64_t rows,
                                     uint64_t cols)
{
    char name[256];
    return b->error->status
               ? NULL
               : organ_forward_find_weight(b->forward, full_name(b, part, name), matrices, rows, cols, b->error);
}

/* `rows` 0 means a vector of `cols` numbers for each matrix. */
static forward_view add_stack(builder *b, const char *part, uint64_t matrices, uint64_t rows, uint64_t cols)
{
    const organ_weight *const weight = find_part(b, part, matrices, rows, cols);
    forward_slot slot = {.weight = weight, .rows = matrices * (rows ? rows : 1), .cols = cols, .matrices = matrices};
    slot.vectors = rows == 0;
    return add_slot(b, slot);
}

/* The file has the stack as matrices x cols x rows, or (MXFP4, or_straight) as matrices x rows x cols. */
static forward_view add_transposed(builder *b, const char *part, uint64_t matrices, uint64_t rows, uint64_t cols)
{
    char name[256];
    const organ_weight *weight = organ_weights_named(b->forward->weights, full_name(b, part, name));
    const bool mxfp4 = weight && weight->scheme == ORGAN_SCHEME_MXFP4;
    const forward_mixture *const m = b->forward->family->mixture;
    const bool either = m && m->or_straight && weight && weight->rank == 3;
    if ((mxfp4 && !weight->transposed) || (either && weight->shape[1] == rows && weight->shape[2] == cols))
        return add_stack(b, part, matrices, rows, cols);
    weight = find_part(b, part, matrices, cols, rows);
    forward_slot slot = {.weight = weight, .rows = matrices * rows, .cols = cols, .matrices = matrices};
    if (weight && mxfp4 &&
        (slot.stored_form = organ_forward_stored_form(
             weight, (uint64_t[]){weight->shape[0], weight->shape[2], weight->shape[1]}, b->error)))
        slot.weight = &slot.stored_form->weight;
    slot.transposed = !mxfp4;
    return add_slot(b, slot);
}

/* There is a vector for each matrix of a stack, each head or each channel, read as FP32. */
static forward_view add_rows(builder *b, const char *part, uint64_t rows, uint64_t cols)
{
    const organ_weight *const weight = find_part(b, part, 0, rows, cols);
    return add_slot(b, (forward_slot){.weight = weight, .rows = rows, .cols = cols, .matrices = 1, .vectors = true});
}

/* `rows` 0 means a vector of `cols` numbers. */
static forward_view add_matrix(builder *b, const char *part, uint64_t rows, uint64_t cols)
{
    return add_stack(b, part, 1, rows, cols);
}

/* Safetensors of some architectures have the matrix as in_features x out_features. */
static forward_view add_linear(builder *b, const char *part, uint64_t rows, uint64_t cols)
{
    const bool transposed = b->forward->family->transposed && !is_gguf(b);
    return transposed ? add_transposed(b, part, 1, rows, cols) : add_matrix(b, part, rows, cols);
}

/* `rows` 0 means a vector of `cols` numbers. */
static void add_named_part(builder *b, forward_part part, uint64_t rows, uint64_t cols)
{
    b->plan->parts[part] = (rows ? add_linear : add_matrix)(b, name_of(b, part), rows, cols);
}

/* Fails if the file has the part, of which the config says that the model has none. */
static void refuse_part(builder *b, forward_part part, const char *what)
{
    char name[256];
    if (part_exists(b, name_of(b, part)))
        organ_fail(b->error, ORGAN_BAD_INPUT, "%s: tensor '%s' exists, but the config states that the model has no %s",
                   b->forward->model->path, full_name(b, name_of(b, part), name), what);
}

static void add_bias(builder *b, forward_part part, bool requested, uint64_t cols)
{
    if (requested)
        add_named_part(b, part, 0, cols);
    else
        refuse_part(b, part, "such bias");
}

/* `rows` 0 means a vector of `cols` numbers. */
static void add_biased(builder *b, forward_part part, forward_part bias, bool biased, uint64_t rows, uint64_t cols)
{
    char name[256];
    add_named_part(b, part, rows, cols);
    if (biased)
        b->plan->parts[bias] = add_matrix(b, organ_forward_bias_name(name_of(b, part), name), 0, rows ? rows : cols);
}

static void add_norm(builder *b, forward_part part, bool biased, uint64_t width)
{
    add_biased(b, part, organ_norm_bias(part), biased, 0, width);
}

/* The file has rows of q or k in an order in which rotation pairs neighbours. */
static void mark_reordered_rows(builder *b, forward_part part)
{
    const size_t slot = b->plan->parts[part].slot;
    if (b->forward->config.rope_interleaved && slot != SIZE_MAX)
        b->plan->slots[slot].turned = organ_rope_rows(&b->forward->config, b->kind);
}

/* Rows are counted for q, k and v in turn; the bias, if any, is PART_BIAS_Q. */
static void add_fused(builder *b, const char *name, const uint64_t rows[3])
{
    const organ_forward_config *c = &b->forward->config;
    const uint64_t all = rows[0] + rows[1] + rows[2];
    forward_view *parts = b->plan->parts;
    char bias[256];
    parts[PART_Q] = add_linear(b, name, all, c->hidden);
    if (c->qkv_bias)
        parts[PART_BIAS_Q] = add_matrix(b, organ_forward_bias_name(name, bias), 0, all);
    for (unsigned k = 1; k < 3 && c->fused == ORGAN_FUSED_NONE; k++)
        parts[PART_Q + k] = organ_view_from_row(parts[PART_Q + k - 1], rows[k - 1]);
}

/* rows[0] is 0 if the layer has no q. */
static void add_qkv(builder *b, const uint64_t rows[3])
{
    const organ_forward_config *c = &b->forward->config;
    const char *const fused = name_of(b, PART_QKV);
    if (fused && (!is_gguf(b) || (part_exists(b, fused) && !c->rope_interleaved))) {
        add_fused(b, fused, rows);
        return;
    }
    for (unsigned k = 0; k < 3; k++)
        if (rows[k])
            add_named_part(b, PART_Q + k, rows[k], c->hidden);
    for (unsigned k = 0; k < 3; k++)
        if (rows[k])
            add_bias(b, PART_BIAS_Q + k, c->qkv_bias, rows[k]);
    mark_reordered_rows(b, PART_Q);
    mark_reordered_rows(b, PART_K);
    mark_reordered_rows(b, PART_BIAS_Q);
    mark_reordered_rows(b, PART_BIAS_K);
}

/* Loading decodes the stack even if packing would need less memory. */
static void add_decoded(builder *b, forward_part part, uint64_t matrices, uint64_t rows, uint64_t cols)
{
    const organ_weight *const weight = find_part(b, name_of(b, part), matrices, rows, cols);
    b->plan->parts[part] = add_slot(
        b,
        (forward_slot){.weight = weight, .rows = matrices * rows, .cols = cols, .matrices = matrices, .decoded = true});
}

static void add_indexer(builder *b)
{
    const organ_latent_config *const l = &b->forward->config.latent;
    add_named_part(b, PART_INDEX_Q, (uint64_t)l->index_heads * l->index_dim, l->q_rank);
    add_named_part(b, PART_INDEX_K, l->index_dim, b->forward->config.hidden);
    add_named_part(b, PART_NORM_INDEX, 0, l->index_dim);
    add_named_part(b, PART_BIAS_NORM_INDEX, 0, l->index_dim);
    add_named_part(b, PART_INDEX_WEIGHTS, l->index_heads, b->forward->config.hidden);
}

/* MLA is that of DeepSeek-V2. Newer GGUF files split kv_b in two, with K transposed. */
static void add_latent(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    const organ_latent_config *const l = &c->latent;
    const organ_layer_kind *const kind = b->kind;
    const uint64_t q = (uint64_t)kind->heads * kind->head_dim, kv = (uint64_t)l->rank + l->rotated;
    if (l->q_rank) {
        add_named_part(b, PART_Q_A, l->q_rank, c->hidden);
        add_bias(b, PART_BIAS_Q_A, c->qkv_bias, l->q_rank);
        add_named_part(b, PART_NORM_Q_A, 0, l->q_rank);
        add_named_part(b, PART_Q_B, q, l->q_rank);
    } else
        add_named_part(b, PART_Q, q, c->hidden);
    add_named_part(b, PART_KV_A, kv, c->hidden);
    add_bias(b, PART_BIAS_KV_A, c->qkv_bias, kv);
    add_named_part(b, PART_NORM_KV_A, 0, l->rank);
    if (is_gguf(b) && !part_exists(b, name_of(b, PART_KV_B))) {
        add_decoded(b, PART_K_B, kind->heads, l->rank, l->plain);
        add_decoded(b, PART_V_B, kind->heads, kind->value_dim, l->rank);
    } else
        add_decoded(b, PART_KV_B, 1, kind->heads * ((uint64_t)l->plain + kind->value_dim), l->rank);
    add_named_part(b, PART_O, c->hidden, (uint64_t)kind->heads * kind->value_dim);
    add_bias(b, PART_BIAS_O, c->output_bias, c->hidden);
    if (kind->indexed)
        add_indexer(b);
}

/* The norms are tensors numbered by head, or the rows of one tensor. */
static void add_norms_of_heads(builder *b, forward_part part, unsigned heads, forward_view *views)
{
    const char *const pattern = name_of(b, part);
    const bool numbered = strchr(pattern, '#') != NULL;
    const uint64_t width = b->kind->head_dim;
    forward_view all = {0, 0};
    char name[128];
    if (!numbered)
        all = add_rows(b, pattern, heads, width);
    for (unsigned h = 0; h < heads && !b->error->status; h++) {
        if (numbered)
            organ_forward_number_name(pattern, h, name);
        views[h] = numbered ? add_matrix(b, name, 0, width) : organ_view_from_row(all, h);
    }
}

/* Norms of q come before those of k. */
static void add_head_norms(builder *b)
{
    const unsigned heads = b->kind->heads, kv_heads = b->kind->kv_heads;
    if (!b->error->status && !(b->plan->head_norms = calloc((size_t)heads + kv_heads, sizeof(forward_view))))
        organ_fail_errno(b->error, ENOMEM, "cannot allocate the norms of %u heads", heads);
    if (b->error->status)
        return;
    add_norms_of_heads(b, PART_NORM_Q, heads, b->plan->head_norms);
    add_norms_of_heads(b, PART_NORM_K, kv_heads, b->plan->head_norms + heads);
}

static void add_attention(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    const organ_layer_kind *const kind = b->kind;
    const bool own = kind->shares_with == b->layer; /* files may have unused k and v of the other layers */
    const uint64_t rows[3] = {(uint64_t)kind->heads * kind->head_dim,
                              own ? (uint64_t)kind->kv_heads * kind->head_dim : 0,
                              own && !kind->value_is_key ? (uint64_t)kind->kv_heads * kind->value_dim : 0};
    add_qkv(b, (uint64_t[]){rows[0] * (c->gate_in_q ? 2 : 1), rows[1], rows[2]});
    add_named_part(b, PART_O, c->hidden, (uint64_t)kind->heads * kind->value_dim);
    add_bias(b, PART_BIAS_O, c->output_bias, c->hidden);
    if (c->qk_norm == ORGAN_QK_NORM_HEADS)
        add_head_norms(b);
    else if (c->qk_norm != ORGAN_QK_NORM_NONE && !c->qk_norm_bare) {
        const bool all = c->qk_norm == ORGAN_QK_NORM_ALL;
        add_norm(b, PART_NORM_Q, c->qk_norm_biased, all ? rows[0] : kind->head_dim);
        if (own)
            add_norm(b, PART_NORM_K, c->qk_norm_biased, all ? rows[1] : kind->head_dim);
    }
}

/* Parts marked `small` are vectors read as FP32. */
static void add_mixer(builder *b, organ_mixer mixer)
{
    forward_mixer_part parts[FORWARD_MIXER_PARTS];
    const organ_forward_config *const c = &b->forward->config;
    const size_t count = organ_forward_mixer_parts(c, b->kind, mixer, parts);
    const bool attends = mixer == ORGAN_MIXER_ATTENTION;
    if (attends)
        (b->kind->latent ? add_latent : add_attention)(b);
    if (attends && b->kind->sinks)
        add_named_part(b, PART_SINKS, 0, b->kind->heads);
    if (attends && c->gate != ORGAN_UNGATED && !c->gate_in_q)
        add_named_part(b, PART_HEAD_GATE, b->kind->heads * (c->gate_heads ? 1 : (uint64_t)b->kind->value_dim),
                       c->hidden);
    for (const forward_mixer_part *p = parts; p < parts + count; p++)
        if (p->small)
            b->plan->parts[p->part] = add_rows(b, name_of(b, p->part), p->rows ? p->rows : 1, p->cols);
        else
            add_named_part(b, p->part, p->rows, p->cols);
}

/* Returns the name of the tensor with gate and up, one below the other; NULL if the file has them apart. */
static const char *joined_name(const builder *b, forward_part joined, forward_part up)
{
    const char *const name = name_of(b, joined);
    return name && (part_exists(b, name) || !part_exists(b, name_of(b, up))) ? name : NULL;
}

static void add_dense(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    const uint64_t inner = b->kind->intermediate;
    const char *const fused = joined_name(b, PART_GATE_UP, PART_UP);
    forward_view *parts = b->plan->parts;
    if (fused) {
        parts[PART_GATE] = add_matrix(b, fused, 2 * inner, c->hidden);
        parts[PART_UP] = organ_view_from_row(parts[PART_GATE], inner);
    } else {
        if (!c->ungated) {
            add_named_part(b, PART_GATE, inner, c->hidden);
            add_bias(b, PART_BIAS_GATE, c->mlp_bias, inner);
        }
        add_named_part(b, PART_UP, inner, c->hidden);
        add_bias(b, PART_BIAS_UP, c->mlp_bias, inner);
    }
    for (unsigned k = 0; k < 4 && c->activation == ORGAN_XIELU && !is_gguf(b); k++)
        add_named_part(b, PART_XIELU_P + k, 0, 1);
    add_named_part(b, PART_DOWN, c->hidden, inner);
    add_bias(b, PART_BIAS_DOWN, c->mlp_bias, c->hidden);
}

/* A stack of DBRX has two dimensions: (matrices x rows) x cols, or if `transposed` (matrices x cols) x rows. */
static forward_view add_flat(builder *b, forward_part part, bool transposed, uint64_t matrices, uint64_t rows,
                             uint64_t cols)
{
    const uint64_t shape[3] = {matrices, transposed ? cols : rows, transposed ? rows : cols};
    const organ_weight *const weight = find_part(b, name_of(b, part), 1, matrices * shape[1], shape[2]);
    forward_slot slot = {.rows = matrices * rows, .cols = cols, .matrices = matrices, .reshaped = true};
    if (weight && (slot.stored_form = organ_forward_stored_form(weight, shape, b->error)))
        slot.weight = &slot.stored_form->weight;
    slot.transposed = transposed;
    return add_slot(b, slot);
}

/* In safetensors only MLX and Step 3.7 have a stack for each projection. */
static const char *stack_name(const builder *b, forward_part part, char name[128])
{
    const char *const own = name_of(b, part);
    return is_gguf(b) || part_exists(b, own) ? own : organ_forward_mlx_stack(b->forward, b->layer, part, name);
}

/* `fused` is the name of a stack with gate and up; NULL: none. */
static void add_stacked(builder *b, const char *fused)
{
    const organ_forward_config *c = &b->forward->config;
    const forward_mixture *const m = b->forward->family->mixture;
    const bool transposed = fused && m && m->transposed && !is_gguf(b);
    const uint64_t inner = c->expert_intermediate, step = fused ? 2 * inner : inner,
                   hidden = organ_forward_expert_hidden(c);
    forward_view (*const add)(builder *, const char *, uint64_t, uint64_t, uint64_t) =
        transposed ? add_transposed : add_stack;
    forward_view gate, up;
    char name[128];
    const bool flat = m && m->flat && !is_gguf(b);
    b->plan->pairs = fused && c->gate_up_pairs;
    if (flat) {
        gate = add_flat(b, PART_EXPERTS_GATE, /*transposed=*/false, c->experts, step, hidden);
        up = add_flat(b, PART_EXPERTS_UP, /*transposed=*/false, c->experts, step, hidden);
    } else if (fused) {
        gate = add(b, fused, c->experts, step, hidden);
        up = b->plan->pairs ? gate : organ_view_from_row(gate, inner);
    } else {
        up = add_stack(b, stack_name(b, PART_EXPERTS_UP, name), c->experts, step, hidden);
        gate = c->ungated ? up : add_stack(b, stack_name(b, PART_EXPERTS_GATE, name), c->experts, step, hidden);
    }
    const char *const last = fused ? name_of(b, PART_EXPERTS_DOWN) : stack_name(b, PART_EXPERTS_DOWN, name);
    const forward_view down = flat ? add_flat(b, PART_EXPERTS_DOWN, /*transposed=*/true, c->experts, hidden, inner)
                                   : add(b, last, c->experts, hidden, inner);
    for (uint64_t e = 0; e < c->experts; e++) {
        forward_view *expert = b->plan->experts + 3 * e;
        expert[0] = organ_view_from_row(gate, e * step);
        expert[1] = organ_view_from_row(up, e * step);
        expert[2] = organ_view_from_row(down, e * hidden);
    }
}

/* With `fused`, row e of one tensor has the biases of gate and up of expert e. MLX has them next to the stacks. */
static void add_expert_biases(builder *b, bool fused)
{
    const organ_forward_config *c = &b->forward->config;
    const uint64_t inner = c->expert_intermediate, widths[] = {fused ? 2 * inner : inner, inner, c->hidden};
    forward_view view = {0};
    if (!(b->plan->expert_biases = calloc((size_t)c->experts * 3, sizeof(forward_view)))) {
        organ_fail_errno(b->error, ENOMEM, "cannot allocate the plan of %u experts", c->experts);
        return;
    }
    for (unsigned k = 0; k < 3; k++) {
        char stack[128], name[256];
        const char *const bias =
            fused || is_gguf(b) ? name_of(b, fused && k < 2 ? PART_EXPERTS_BIAS_GATE_UP : PART_EXPERTS_BIAS_GATE + k)
                                : organ_forward_bias_name(stack_name(b, PART_EXPERTS_GATE + k, stack), name);
        view = fused && k == 1 ? view : add_rows(b, bias, c->experts, widths[k]);
        for (size_t e = 0; e < c->experts; e++)
            b->plan->expert_biases[3 * e + k] = organ_view_from_row(view, e);
    }
}

/* Gate, up and down of an expert are a tensor each; without a gate, the view of gate is that of up. */
static void add_numbered(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    const uint64_t inner = c->expert_intermediate, hidden = organ_forward_expert_hidden(c);
    forward_view *const views = b->plan->experts;
    char part[128];
    for (unsigned k = c->ungated; k < 3; k++) {
        const char *const pattern = name_of(b, PART_EXPERT_GATE + k);
        for (unsigned e = 0; e < c->experts && b->error->status == ORGAN_OK; e++) {
            organ_forward_number_name(pattern, e, part);
            views[3 * (size_t)e + k] = add_matrix(b, part, k < 2 ? inner : hidden, k < 2 ? hidden : inner);
        }
    }
    for (size_t e = 0; c->ungated && e < c->experts; e++)
        views[3 * e] = views[3 * e + 1];
}

/* In older GGUF files a part of one row is a vector. */
static bool has_row(const builder *b, forward_part part)
{
    char name[256];
    const organ_weight *const weight = organ_weights_named(b->forward->weights, full_name(b, name_of(b, part), name));
    return !is_gguf(b) || (weight && weight->rank == 2);
}

/* Fails if the file has a shared expert but the config does not mention one. */
static void add_shared(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    const char *const fused = joined_name(b, PART_SHARED_GATE_UP, PART_SHARED_UP);
    const uint64_t inner = c->shared_intermediate;
    if (!inner) {
        refuse_part(b, PART_SHARED_DOWN, "shared expert");
        return;
    }
    if (c->shared_gated)
        add_named_part(b, PART_SHARED, has_row(b, PART_SHARED) ? 1 : 0, c->hidden);
    if (fused) {
        b->plan->parts[PART_SHARED_GATE] = add_matrix(b, fused, 2 * inner, c->hidden);
        b->plan->parts[PART_SHARED_UP] = organ_view_from_row(b->plan->parts[PART_SHARED_GATE], inner);
    } else {
        if (!c->ungated)
            add_biased(b, PART_SHARED_GATE, PART_BIAS_SHARED_GATE, c->mlp_bias, inner, c->hidden);
        add_biased(b, PART_SHARED_UP, PART_BIAS_SHARED_UP, c->mlp_bias, inner, c->hidden);
    }
    add_biased(b, PART_SHARED_DOWN, PART_BIAS_SHARED_DOWN, c->mlp_bias, c->hidden, inner);
}

static void add_experts(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    const char *const both = name_of(b, PART_EXPERTS_GATE_UP), *const fused = part_exists(b, both) ? both : NULL;
    const uint64_t choices = organ_forward_choices(c);
    add_named_part(b, PART_ROUTER, choices, c->hidden);
    if (c->router.corrected && !b->kind->by_token)
        add_named_part(b, PART_ROUTER_BIAS, 0, choices);
    if (c->router_bias)
        add_named_part(b, PART_BIAS_ROUTER, 0, choices);
    if (c->expert_latent) {
        add_biased(b, PART_LATENT_IN, PART_BIAS_LATENT_IN, c->mlp_bias, c->expert_latent, c->hidden);
        add_biased(b, PART_LATENT_OUT, PART_BIAS_LATENT_OUT, c->mlp_bias, c->hidden, c->expert_latent);
    }
    /* The shape of the router, a row for each expert, has confirmed their number. */
    if (!b->error->status && !(b->plan->experts = calloc((size_t)c->experts * 3, sizeof(forward_view))))
        organ_fail_errno(b->error, ENOMEM, "cannot allocate the plan of %u experts", c->experts);
    if (b->error->status)
        return;
    if (is_gguf(b) || fused || b->forward->family->mixture->flat ||
        part_exists(b, stack_name(b, PART_EXPERTS_UP, (char[128]){""})))
        add_stacked(b, fused);
    else
        add_numbered(b);
    if (c->expert_bias && !b->error->status)
        add_expert_biases(b, fused != NULL);
    add_shared(b);
}

/* The tensors of single architectures, and the dense feed-forward that runs in parallel with a mixture. */
static void add_gemma(builder *b)
{
    forward_shape shapes[FORWARD_GEMMA_PARTS];
    const size_t count = organ_forward_gemma_parts(&b->forward->config, b->kind, shapes);
    if (b->kind->mixture && (b->forward->config.dual_ffn || b->forward->config.shortcut))
        add_dense(b);
    for (size_t k = 0; k < count; k++)
        add_named_part(b, shapes[k].part, shapes[k].rows, shapes[k].cols);
}

static void add_norms(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    forward_view *const parts = b->plan->parts;
    const bool mixes = b->kind->mixer != ORGAN_MIXER_NONE, feeds = b->kind->feed;
    const organ_norm_placement norms = organ_forward_norms_of(c, b->kind);
    const bool before = norms == ORGAN_NORMS_BEFORE || norms == ORGAN_NORMS_AROUND;
    if (c->norm_unweighted)
        return;
    if (before && mixes)
        add_norm(b, PART_NORM_ATTENTION, c->norm_biased, c->hidden);
    if (before && !c->one_norm && feeds)
        add_norm(b, PART_NORM_FFN, c->norm_biased, c->hidden);
    if (c->one_norm) {
        parts[PART_NORM_FFN] = parts[PART_NORM_ATTENTION];
        parts[PART_BIAS_NORM_ATTENTION + PART_NORM_FFN] = parts[PART_BIAS_NORM_ATTENTION];
    }
    if (norms != ORGAN_NORMS_BEFORE && mixes)
        add_norm(b, PART_NORM_POST_ATTENTION, c->norm_biased, c->hidden);
    if (norms != ORGAN_NORMS_BEFORE && feeds)
        add_norm(b, PART_NORM_POST_FFN, c->norm_biased, c->hidden);
}

static forward_view add_project(builder *b)
{
    const organ_weight *const found = b->forward->drafts[b->layer - b->forward->config.layers].project;
    const uint64_t n = b->forward->config.hidden;
    const organ_weight *const weight = organ_forward_weight_named(b->forward, found->name, n, 2 * n, b->error);
    return add_slot(b, (forward_slot){.weight = weight, .rows = n, .cols = 2 * n, .matrices = 1});
}

organ_status organ_forward_plan_make(organ_forward *forward, unsigned layer, forward_plan *plan, organ_error *error)
{
    builder b = {forward, layer, &forward->config.kinds[layer], plan, 0, error};
    for (size_t k = 0; k < PART_COUNT; k++)
        plan->parts[k].slot = SIZE_MAX;
    if (layer >= forward->config.layers)
        forward->drafts[layer - forward->config.layers].slot = add_project(&b).slot;
    add_norms(&b);
    add_mixer(&b, b.kind->mixer);
    add_mixer(&b, b.kind->second);
    if (b.kind->feed && b.kind->mixture)
        add_experts(&b);
    else if (b.kind->feed)
        add_dense(&b);
    add_gemma(&b);
    if (!error->status)
        organ_forward_plan_experts(plan, forward->config.experts);
    return measure_loading(&b);
}

organ_status organ_forward_plan_head(organ_forward *forward, forward_plan *plan, organ_error *error)
{
    const organ_weight *const weight = forward->output;
    builder b = {.forward = forward, .plan = plan, .error = error};
    add_slot(&b, (forward_slot){.weight = weight, .rows = weight->shape[0], .cols = weight->shape[1], .matrices = 1});
    return measure_loading(&b);
}
