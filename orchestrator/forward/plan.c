/* SPDX-License-Identifier: MIT
 * Finds the parts of a layer among the weights of the model and plans their memory. */
#include "formats/base/arena.h"
#include "orchestrator/forward/families.h"
#include "orchestrator/forward/job.h"
#include "orchestrator/machine/extent.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Names after "model.layers.N." and after "blk.N.". */
static const char *const names[PART_COUNT][2] = {
    [PART_NORM_ATTENTION] = {"input_layernorm.weight", "attn_norm.weight"},
    [PART_NORM_ATTENDED] = {"post_attention_layernorm.weight", "post_attention_norm.weight"},
    [PART_NORM_FEED] = {"post_attention_layernorm.weight", "ffn_norm.weight"},
    [PART_NORM_FED] = {"post_feedforward_layernorm.weight", "post_ffw_norm.weight"},
    [PART_NORM_Q] = {"self_attn.q_norm.weight", "attn_q_norm.weight"},
    [PART_NORM_K] = {"self_attn.k_norm.weight", "attn_k_norm.weight"},
    [PART_Q] = {"self_attn.q_proj.weight", "attn_q.weight"},
    [PART_K] = {"self_attn.k_proj.weight", "attn_k.weight"},
    [PART_V] = {"self_attn.v_proj.weight", "attn_v.weight"},
    [PART_O] = {"self_attn.o_proj.weight", "attn_output.weight"},
    [PART_GATE] = {"mlp.gate_proj.weight", "ffn_gate.weight"},
    [PART_UP] = {"mlp.up_proj.weight", "ffn_up.weight"},
    [PART_DOWN] = {"mlp.down_proj.weight", "ffn_down.weight"},
    [PART_BIAS_Q] = {"self_attn.q_proj.bias", "attn_q.bias"},
    [PART_BIAS_K] = {"self_attn.k_proj.bias", "attn_k.bias"},
    [PART_BIAS_V] = {"self_attn.v_proj.bias", "attn_v.bias"},
    [PART_BIAS_O] = {"self_attn.o_proj.bias", "attn_output.bias"},
    [PART_BIAS_GATE] = {"mlp.gate_proj.bias", "ffn_gate.bias"},
    [PART_BIAS_UP] = {"mlp.up_proj.bias", "ffn_up.bias"},
    [PART_BIAS_DOWN] = {"mlp.down_proj.bias", "ffn_down.bias"},
    [PART_ROUTER] = {"mlp.gate.weight", "ffn_gate_inp.weight"},
    [PART_ROUTER_BIAS] = {"mlp.gate.e_score_correction_bias", "exp_probs_b.bias"},
    [PART_SHARED] = {"mlp.shared_expert_gate.weight", "ffn_gate_inp_shexp.weight"},
    [PART_SHARED_GATE] = {"mlp.shared_expert.gate_proj.weight", "ffn_gate_shexp.weight"},
    [PART_SHARED_UP] = {"mlp.shared_expert.up_proj.weight", "ffn_up_shexp.weight"},
    [PART_SHARED_DOWN] = {"mlp.shared_expert.down_proj.weight", "ffn_down_shexp.weight"},
};

typedef struct builder {
    const organ_forward *forward;
    unsigned layer;
    forward_plan *plan;
    size_t room;
    organ_error *error;
} builder;

static bool is_gguf(const builder *b) { return b->forward->model->gguf != NULL; }

static const char *full_name(const builder *b, const char *part, char name[256])
{
    snprintf(name, 256, is_gguf(b) ? "blk.%u.%s" : "model.layers.%u.%s", b->layer, part);
    return name;
}

static bool exists(const builder *b, const char *part)
{
    char name[256];
    return organ_weights_named(b->forward->weights, full_name(b, part, name)) != NULL;
}

static organ_status wrong_shape(const organ_forward *forward, const organ_weight *weight, uint64_t matrices,
                                uint64_t rows, uint64_t cols, organ_error *error)
{
    char is[160] = "", must[80];
    for (unsigned k = 0; k < weight->rank && strlen(is) < 120; k++)
        snprintf(is + strlen(is), sizeof is - strlen(is), k ? " x %" PRIu64 : "%" PRIu64, weight->shape[k]);
    if (matrices > 1)
        snprintf(must, sizeof must, "%" PRIu64 " x %" PRIu64 " x %" PRIu64, matrices, rows, cols);
    else if (rows)
        snprintf(must, sizeof must, "%" PRIu64 " x %" PRIu64, rows, cols);
    else
        snprintf(must, sizeof must, "%" PRIu64, cols);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is %s, not %s as the config says", forward->model->path,
                      weight->name, *is ? is : "a single number", must);
}

static const organ_weight *find_weight(const organ_forward *forward, const char *name, uint64_t matrices, uint64_t rows,
                                       uint64_t cols, organ_error *error)
{
    const organ_weight *weight = organ_weights_named(forward->weights, name);
    if (!weight) {
        organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is missing", forward->model->path, name);
        return NULL;
    }
    const uint64_t shape[3] = {matrices, rows, cols};
    const unsigned one = rows ? 2 : 1, rank = matrices > 1 ? 3 : one;
    bool same = weight->rank == rank;
    for (unsigned k = 0; same && k < rank; k++)
        same = weight->shape[k] == shape[3 - rank + k];
    if (!same)
        wrong_shape(forward, weight, matrices, rows, cols, error);
    return same ? weight : NULL;
}

const organ_weight *organ_forward_weight_named(const organ_forward *forward, const char *name, uint64_t rows,
                                               uint64_t cols, organ_error *error)
{
    return find_weight(forward, name, 1, rows, cols, error);
}

/* ---- slots ---- */

/* Decides how the slot is kept in memory and computes the bytes it needs. */
static organ_status measure_slot(builder *b, forward_slot *slot)
{
    forward_plan *const plan = b->plan;
    const organ_weight *const weight = slot->weight;
    size_t panel = 0;
    slot->type = organ_forward_type(weight);
    const uint64_t values = weight->elements * organ_real_bytes(slot->type),
                   stored = organ_weight_held_bytes(weight, slot->matrices);
    slot->packed = weight->rank > 1 && slot->type == ORGAN_REAL_F32 && stored < values;
    slot->at = plan->bytes;
    slot->bytes = (size_t)(slot->packed ? stored : values);
    if (slot->packed && organ_forward_panel_size(b->forward, weight, &panel, b->error))
        return b->error->status;
    plan->bytes += organ_to_line(slot->bytes);
    plan->panel = organ_larger(plan->panel, panel);
    return ORGAN_OK;
}

static organ_status measure_loading(builder *b)
{
    for (size_t k = 0; k < b->plan->count && !b->error->status; k++) {
        size_t loading;
        if (organ_forward_load_size(b->forward, &b->plan->slots[k], &loading, b->error) == ORGAN_OK)
            b->plan->reading = organ_larger(b->plan->reading, loading);
    }
    return b->error->status;
}

/* Adds a stack of matrices; rows 0 means a vector. After an error the view refers to no slot. */
static forward_view add_stack(builder *b, const char *part, uint64_t matrices, uint64_t rows, uint64_t cols)
{
    char name[256];
    const forward_view none = {SIZE_MAX, 0};
    if (b->error->status)
        return none;
    const organ_weight *weight = find_weight(b->forward, full_name(b, part, name), matrices, rows, cols, b->error);
    forward_plan *plan = b->plan;
    if (!weight)
        return none;
    if (!organ_grow(&plan->slots, plan->count, &b->room, sizeof *plan->slots)) {
        organ_fail_errno(b->error, ENOMEM, "cannot allocate the plan of layer %u", b->layer);
        return none;
    }
    forward_slot *const slot = &plan->slots[plan->count];
    *slot = (forward_slot){.weight = weight, .rows = matrices * (rows ? rows : 1), .cols = cols, .matrices = matrices};
    return measure_slot(b, slot) ? none : (forward_view){plan->count++, 0};
}

static forward_view add_matrix(builder *b, const char *part, uint64_t rows, uint64_t cols)
{
    return add_stack(b, part, 1, rows, cols);
}

static void add_named_part(builder *b, forward_part part, uint64_t rows, uint64_t cols)
{
    b->plan->parts[part] = add_matrix(b, names[part][is_gguf(b)], rows, cols);
}

/* Adds a bias if the configuration demands it (`wanted`). Otherwise a bias in the file is an error. */
static void add_bias(builder *b, forward_part part, bool wanted, uint64_t cols)
{
    char name[256];
    if (wanted)
        add_named_part(b, part, 0, cols);
    else if (exists(b, names[part][is_gguf(b)]))
        organ_fail(b->error, ORGAN_BAD_INPUT,
                   "%s: tensor '%s' is there, but the config says that there is no such bias", b->forward->model->path,
                   full_name(b, names[part][is_gguf(b)], name));
}

static forward_view below(forward_view view, uint64_t rows)
{
    view.row += rows;
    return view;
}

/* ---- parts ---- */

static bool is_phi3(const builder *b)
{
    const char *name = b->forward->config.architecture;
    return strcmp(name, "Phi3ForCausalLM") == 0 || strcmp(name, "phi3") == 0;
}

/* Marks rows of q and k that llama.cpp has reordered. */
static void mark_turned(builder *b, forward_part part)
{
    const forward_view view = b->plan->parts[part];
    if (b->forward->config.rope_interleaved && view.slot != SIZE_MAX)
        b->plan->slots[view.slot].turned_head_dim = b->forward->config.head_dim;
}

static void add_attention(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    forward_view *parts = b->plan->parts;
    const uint64_t q = (uint64_t)c->heads * c->head_dim, kv = (uint64_t)c->kv_heads * c->head_dim;
    const char *fused = is_gguf(b) ? "attn_qkv.weight" : "self_attn.qkv_proj.weight";
    if (is_phi3(b)) {
        parts[PART_Q] = add_matrix(b, fused, q + 2 * kv, c->hidden);
        parts[PART_K] = below(parts[PART_Q], q);
        parts[PART_V] = below(parts[PART_K], kv);
    } else {
        add_named_part(b, PART_Q, q, c->hidden);
        add_named_part(b, PART_K, kv, c->hidden);
        add_named_part(b, PART_V, kv, c->hidden);
        add_bias(b, PART_BIAS_Q, c->qkv_bias, q);
        add_bias(b, PART_BIAS_K, c->qkv_bias, kv);
        add_bias(b, PART_BIAS_V, c->qkv_bias, kv);
        mark_turned(b, PART_Q);
        mark_turned(b, PART_K);
        mark_turned(b, PART_BIAS_Q);
        mark_turned(b, PART_BIAS_K);
    }
    add_named_part(b, PART_O, c->hidden, q);
    add_bias(b, PART_BIAS_O, c->output_bias, c->hidden);
    if (c->qk_norm != ORGAN_QK_NORM_NONE) {
        const bool all = c->qk_norm == ORGAN_QK_NORM_ALL;
        add_named_part(b, PART_NORM_Q, 0, all ? q : c->head_dim);
        add_named_part(b, PART_NORM_K, 0, all ? kv : c->head_dim);
    }
}

static void add_dense(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    forward_view *parts = b->plan->parts;
    if (is_phi3(b)) {
        parts[PART_GATE] =
            add_matrix(b, is_gguf(b) ? "ffn_up.weight" : "mlp.gate_up_proj.weight", 2 * c->intermediate, c->hidden);
        parts[PART_UP] = below(parts[PART_GATE], c->intermediate);
    } else {
        add_named_part(b, PART_GATE, c->intermediate, c->hidden);
        add_named_part(b, PART_UP, c->intermediate, c->hidden);
        add_bias(b, PART_BIAS_GATE, c->mlp_bias, c->intermediate);
        add_bias(b, PART_BIAS_UP, c->mlp_bias, c->intermediate);
    }
    add_named_part(b, PART_DOWN, c->hidden, c->intermediate);
    add_bias(b, PART_BIAS_DOWN, c->mlp_bias, c->hidden);
}

static void add_stacked(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    const uint64_t inner = c->expert_intermediate;
    forward_view gate, up, down;
    const bool fused = !is_gguf(b);
    if (fused) {
        gate = add_stack(b, "mlp.experts.gate_up_proj", c->experts, 2 * inner, c->hidden);
        up = below(gate, inner);
        down = add_stack(b, "mlp.experts.down_proj", c->experts, c->hidden, inner);
    } else {
        gate = add_stack(b, "ffn_gate_exps.weight", c->experts, inner, c->hidden);
        up = add_stack(b, "ffn_up_exps.weight", c->experts, inner, c->hidden);
        down = add_stack(b, "ffn_down_exps.weight", c->experts, c->hidden, inner);
    }
    for (uint64_t e = 0; e < c->experts; e++) {
        forward_view *expert = b->plan->experts + 3 * e;
        expert[0] = below(gate, e * (fused ? 2 * inner : inner));
        expert[1] = below(up, e * (fused ? 2 * inner : inner));
        expert[2] = below(down, e * c->hidden);
    }
}

static void add_numbered(builder *b, bool mixtral)
{
    static const char *const kinds[2][3] = {{"gate_proj", "up_proj", "down_proj"}, {"w1", "w3", "w2"}};
    const organ_forward_config *c = &b->forward->config;
    for (unsigned e = 0; e < c->experts && b->error->status == ORGAN_OK; e++)
        for (unsigned k = 0; k < 3; k++) {
            char part[128];
            snprintf(part, sizeof part, "%s.experts.%u.%s.weight", mixtral ? "block_sparse_moe" : "mlp", e,
                     kinds[mixtral][k]);
            b->plan->experts[3 * e + k] = add_matrix(b, part, k < 2 ? c->expert_intermediate : c->hidden,
                                                     k < 2 ? c->hidden : c->expert_intermediate);
        }
}

static void add_shared(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    if (!c->shared_intermediate)
        return;
    if (c->shared_gated)
        add_named_part(b, PART_SHARED, is_gguf(b) ? 0 : 1, c->hidden);
    for (unsigned k = 0; k < 3; k++) {
        static const char *const several[] = {"mlp.shared_experts.gate_proj.weight",
                                              "mlp.shared_experts.up_proj.weight",
                                              "mlp.shared_experts.down_proj.weight"};
        const forward_part part = PART_SHARED_GATE + k;
        const bool one = is_gguf(b) || c->shared_gated;
        b->plan->parts[part] =
            add_matrix(b, one ? names[part][is_gguf(b)] : several[k], k < 2 ? c->shared_intermediate : c->hidden,
                       k < 2 ? c->hidden : c->shared_intermediate);
    }
}

static void add_experts(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    const bool stacked = is_gguf(b) || exists(b, "mlp.experts.gate_up_proj");
    const bool mixtral = !stacked && strcmp(c->architecture, "MixtralForCausalLM") == 0;
    if (mixtral)
        b->plan->parts[PART_ROUTER] = add_matrix(b, "block_sparse_moe.gate.weight", c->experts, c->hidden);
    else
        add_named_part(b, PART_ROUTER, c->experts, c->hidden);
    if (c->logistic_router)
        add_named_part(b, PART_ROUTER_BIAS, 0, c->experts);
    /* The router has a row for each expert, so its shape has confirmed the number of experts. */
    if (b->error->status)
        return;
    b->plan->experts = calloc((size_t)c->experts * 3, sizeof *b->plan->experts);
    if (!b->plan->experts) {
        organ_fail_errno(b->error, ENOMEM, "cannot allocate the plan of %u experts", c->experts);
        return;
    }
    if (stacked)
        add_stacked(b);
    else
        add_numbered(b, mixtral);
    add_shared(b);
}

static void add_norms(builder *b)
{
    const organ_forward_config *c = &b->forward->config;
    if (c->norms == ORGAN_NORMS_AFTER) {
        add_named_part(b, PART_NORM_ATTENDED, 0, c->hidden);
        add_named_part(b, PART_NORM_FED, 0, c->hidden);
        return;
    }
    add_named_part(b, PART_NORM_ATTENTION, 0, c->hidden);
    if (is_gguf(b) && organ_forward_family_named(c->architecture, true)->traits & TRAIT_NORM_AS_ATTENDED) {
        b->plan->parts[PART_NORM_FEED] = add_matrix(b, names[PART_NORM_ATTENDED][1], 0, c->hidden);
        return;
    }
    if (c->norms == ORGAN_NORMS_BEFORE) {
        add_named_part(b, PART_NORM_FEED, 0, c->hidden);
        return;
    }
    b->plan->parts[PART_NORM_FEED] =
        add_matrix(b, is_gguf(b) ? "ffn_norm.weight" : "pre_feedforward_layernorm.weight", 0, c->hidden);
    add_named_part(b, PART_NORM_ATTENDED, 0, c->hidden);
    add_named_part(b, PART_NORM_FED, 0, c->hidden);
}

organ_status organ_forward_plan_make(organ_forward *forward, unsigned layer, forward_plan *plan, organ_error *error)
{
    builder b = {.forward = forward, .layer = layer, .plan = plan, .error = error};
    for (size_t k = 0; k < PART_COUNT; k++)
        plan->parts[k].slot = SIZE_MAX;
    add_norms(&b);
    add_attention(&b);
    if (forward->config.experts && layer >= forward->config.dense_layers)
        add_experts(&b);
    else
        add_dense(&b);
    return measure_loading(&b);
}

organ_status organ_forward_plan_head(organ_forward *forward, forward_plan *plan, organ_error *error)
{
    const organ_weight *const weight = forward->output;
    builder b = {.forward = forward, .plan = plan, .error = error};
    if (!(plan->slots = calloc(1, sizeof *plan->slots)))
        return organ_fail_errno(error, ENOMEM, "cannot allocate the plan of the output head");
    plan->count = 1;
    plan->slots[0] =
        (forward_slot){.weight = weight, .rows = weight->shape[0], .cols = weight->shape[1], .matrices = 1};
    return measure_slot(&b, plan->slots) ? error->status : measure_loading(&b);
}

/* Codes, scales and other inputs of a panel have at most twice the bytes of the panel, plus read buffers of this
 * size. */
#define MADE_ROOM ((size_t)1 << 18)

organ_status organ_forward_plan_foresee(const organ_forward *forward, organ_made_as as, forward_plan *plan,
                                        organ_error *error)
{
    plan->bytes = 0;
    for (size_t k = 0; k < plan->count && !error->status; k++) {
        forward_slot *const slot = &plan->slots[k];
        size_t loading = 0;
        if (as == ORGAN_MADE_PACKED && slot->weight->rank > 1)
            plan->panel =
                organ_larger(plan->panel, 2 * organ_panel_bytes((size_t)slot->cols, ORGAN_REAL_F32) + MADE_ROOM);
        if (slot->packed && as >= ORGAN_MADE_16) {
            slot->packed = false;
            slot->bytes = (size_t)slot->weight->elements * (as == ORGAN_MADE_16 ? sizeof(uint16_t) : sizeof(float));
        }
        plan->bytes += organ_to_line(slot->bytes);
        if (organ_forward_load_size(forward, slot, &loading, error) == ORGAN_OK)
            plan->reading = organ_larger(plan->reading, loading);
    }
    return error->status;
}

void organ_forward_plan_release(forward_plan *plan)
{
    free(plan->slots);
    free(plan->experts);
}
