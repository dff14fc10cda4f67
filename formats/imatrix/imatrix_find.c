/* SPDX-License-Identifier: MIT */
#include "formats/imatrix/imatrix_parts.h"

#include <stdio.h>
#include <string.h>

/* Roles (organ_role) do not distinguish these tensors, but their inputs differ. */
typedef enum find_kind { PLAIN, EXPERT, SHARED } find_kind;

static bool contains_text(const char *text, const char *part) { return strstr(text, part) != NULL; }

static find_kind kind_of_name(const char *name, const organ_anatomy *anatomy)
{
    char module[256];
    organ_anatomy_module(name, module, sizeof module);
    if (contains_text(module, "shared_") || contains_text(module, "shexp"))
        return SHARED;
    if (anatomy->role == ORGAN_ROLE_ROUTER)
        return PLAIN; /* the module may contain "block_sparse_moe.", but all tokens reach the router */
    return anatomy->expert >= 0 || contains_text(module, "experts.") || contains_text(module, "_exps") ||
                   contains_text(module, "block_sparse_moe.")
               ? EXPERT
               : PLAIN;
}

static const organ_role *same_inputs(organ_role role)
{
    static const organ_role q[] = {ORGAN_ROLE_Q, ORGAN_ROLE_QKV, ORGAN_ROLE_OTHER},
                            k[] = {ORGAN_ROLE_K, ORGAN_ROLE_QKV, ORGAN_ROLE_OTHER},
                            v[] = {ORGAN_ROLE_V, ORGAN_ROLE_QKV, ORGAN_ROLE_OTHER},
                            qkv[] = {ORGAN_ROLE_QKV, ORGAN_ROLE_Q, ORGAN_ROLE_K, ORGAN_ROLE_V, ORGAN_ROLE_OTHER},
                            gate[] = {ORGAN_ROLE_GATE, ORGAN_ROLE_GATE_UP, ORGAN_ROLE_OTHER},
                            up[] = {ORGAN_ROLE_UP, ORGAN_ROLE_GATE_UP, ORGAN_ROLE_OTHER},
                            gate_up[] = {ORGAN_ROLE_GATE_UP, ORGAN_ROLE_UP, ORGAN_ROLE_GATE, ORGAN_ROLE_OTHER},
                            o[] = {ORGAN_ROLE_O, ORGAN_ROLE_OTHER}, down[] = {ORGAN_ROLE_DOWN, ORGAN_ROLE_OTHER},
                            in[] = {ORGAN_ROLE_IN_PROJ, ORGAN_ROLE_QKV, ORGAN_ROLE_ATTN_GATE, ORGAN_ROLE_OTHER},
                            out[] = {ORGAN_ROLE_OUT_PROJ, ORGAN_ROLE_OTHER},
                            x[] = {ORGAN_ROLE_X_PROJ, ORGAN_ROLE_OTHER}, dt[] = {ORGAN_ROLE_DT_PROJ, ORGAN_ROLE_OTHER},
                            q_a[] = {ORGAN_ROLE_Q_A, ORGAN_ROLE_KV_A, ORGAN_ROLE_OTHER},
                            kv_a[] = {ORGAN_ROLE_KV_A, ORGAN_ROLE_Q_A, ORGAN_ROLE_Q, ORGAN_ROLE_OTHER},
                            q_b[] = {ORGAN_ROLE_Q_B, ORGAN_ROLE_OTHER}, kv_b[] = {ORGAN_ROLE_KV_B, ORGAN_ROLE_OTHER},
                            router[] = {ORGAN_ROLE_ROUTER, ORGAN_ROLE_OTHER},
                            output[] = {ORGAN_ROLE_OUTPUT, ORGAN_ROLE_OTHER}, none[] = {ORGAN_ROLE_OTHER};
    static const organ_role *const known[ORGAN_ROLE_COUNT] = {
        [ORGAN_ROLE_Q] = q,           [ORGAN_ROLE_K] = k,
        [ORGAN_ROLE_V] = v,           [ORGAN_ROLE_QKV] = qkv,
        [ORGAN_ROLE_O] = o,           [ORGAN_ROLE_GATE] = gate,
        [ORGAN_ROLE_UP] = up,         [ORGAN_ROLE_GATE_UP] = gate_up,
        [ORGAN_ROLE_DOWN] = down,     [ORGAN_ROLE_ROUTER] = router,
        [ORGAN_ROLE_OUTPUT] = output, [ORGAN_ROLE_IN_PROJ] = in,
        [ORGAN_ROLE_OUT_PROJ] = out,  [ORGAN_ROLE_X_PROJ] = x,
        [ORGAN_ROLE_DT_PROJ] = dt,    [ORGAN_ROLE_Q_A] = q_a,
        [ORGAN_ROLE_KV_A] = kv_a,     [ORGAN_ROLE_Q_B] = q_b,
        [ORGAN_ROLE_KV_B] = kv_b};
    return known[role] ? known[role] : none;
}

typedef struct find_requested {
    int32_t layer;
    int64_t expert; /* number of the expert in its layer; -1 for a tensor that is no expert */
    find_kind kind;
} find_requested;

/* The entry of a stack of experts fits each expert. */
static bool fits_request(const organ_imatrix_entry *e, const find_requested *request, organ_role role)
{
    return e->anatomy.role == role && e->anatomy.layer == request->layer &&
           (e->anatomy.expert < 0 || e->anatomy.expert == request->expert) &&
           kind_of_name(e->name, &e->anatomy) == request->kind;
}

static const organ_imatrix_entry *find_by_role(const organ_imatrix *imatrix, const find_requested *request,
                                               const organ_role *roles, const organ_imatrix_entry **second)
{
    const organ_imatrix_entry *found = NULL;
    *second = NULL;
    for (; *roles != ORGAN_ROLE_OTHER && !found; roles++)
        for (size_t k = 0; k < imatrix->entry_count && !*second; k++)
            if (fits_request(&imatrix->entries[k], request, *roles))
                *(found ? second : &found) = &imatrix->entries[k];
    return found;
}

/* llama.cpp's converter reorders the heads of linear_attn.out_proj for Qwen3.5, but not for Qwen3-Next. Only
 * Qwen3-Next has an entry ssm_ba, so the lack of that entry shows the reordering. */
static bool has_other_columns(const organ_imatrix_state *s, const char *tensor, int32_t layer)
{
    char name[48];
    snprintf(name, sizeof name, "blk.%d.ssm_ba.weight", (int)layer);
    return contains_text(tensor, "linear_attn.out_proj") && !organ_name_table_find(&s->names, name);
}

organ_status organ_imatrix_find(const organ_imatrix *imatrix, const char *tensor, const organ_anatomy *anatomy,
                                int64_t expert, uint64_t experts, organ_imatrix_place *place, organ_error *error)
{
    const organ_imatrix_state *const s = (const organ_imatrix_state *)imatrix;
    const size_t *const same = organ_name_table_find(&s->names, tensor);
    const find_requested w = {anatomy->layer, expert, expert >= 0 ? EXPERT : kind_of_name(tensor, anatomy)};
    const organ_imatrix_entry *second = NULL;
    const organ_imatrix_entry *const found =
        same ? &s->entries[*same] : find_by_role(imatrix, &w, same_inputs(anatomy->role), &second);
    if (found && !same && has_other_columns(s, tensor, anatomy->layer))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "tensor '%s': llama.cpp has the columns of %s's '%s' in another order of heads: leave the "
                          "tensor out with --targets",
                          tensor, s->file.name, found->name);
    if (!found)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': %s has no entry for it among its %zu ('%s', ...)",
                          tensor, s->file.name, imatrix->entry_count, imatrix->entries[0].name);
    if (second)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': %s has two matching entries, '%s' and '%s'", tensor,
                          s->file.name, found->name, second->name);
    /* an entry without the number of an expert has the statistics of all experts of the layer */
    const bool stacked = expert >= 0 && found->anatomy.expert < 0;
    *place = (organ_imatrix_place){found, stacked ? (uint64_t)expert : 0, stacked ? experts : 1};
    return ORGAN_OK;
}
