/* SPDX-License-Identifier: MIT
 * Plans the tensors of a composed mixture: for each tensor of the base that tensor or, in place of a matrix of the
 * feed-forward, that of each expert; and the routers. */
#include "orchestrator/verbs/merge/merge_mixture.h"

#include <string.h>

/* ---- weights that the base does not have ---- */

/* Returns a weight of this name and shape, in the type of `like`; NULL after an error. `rank` is at most 3. */
static const organ_weight *new_weight(model_merge *job, const organ_weight *like, const char *name, unsigned rank,
                                      const uint64_t *shape, organ_error *error)
{
    organ_weight *const made = organ_merge_take(job, sizeof *made, error);
    uint64_t *const sizes = organ_merge_take(job, 3 * sizeof *sizes, error);
    char *const copy = error->status ? NULL : organ_arena_copy(&job->arena, name, strlen(name));
    if (!copy) {
        organ_fail_memory(error, name);
        return NULL;
    }
    *made = *like;
    made->name = copy;
    made->rank = rank;
    made->shape = memcpy(sizes, shape, rank * sizeof *sizes);
    made->elements = 1;
    for (unsigned k = 0; k < rank; k++)
        made->elements *= shape[k];
    made->anatomy = organ_anatomy_of(copy);
    return made;
}

/* Writes a name of the form for the layer of `like`. */
static organ_status name_for(const organ_weight *like, const char *form, size_t expert, char out[MERGE_NAME],
                             organ_error *error)
{
    return organ_mixture_name(like->name, form, expert, out)
               ? ORGAN_OK
               : organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': its name is not that of a feed-forward", like->name);
}

/* Adds a tensor that is made, not read. */
static organ_status add_made(model_merge *job, const organ_weight *like, const char *name, merge_made_of kind,
                             unsigned rank, const uint64_t *shape, organ_error *error)
{
    static const char *const why[] = {[MERGE_MADE_ROUTER] = "the router, which gate_mode makes",
                                      [MERGE_MADE_SHARED] = "the gate of the shared expert, which gate_mode makes",
                                      [MERGE_MADE_ZEROS] = "zeros: the base has no such bias"};
    const organ_weight *const made = new_weight(job, like, name, rank, shape, error);
    merge_tensor *const t = made ? organ_merge_add_tensor(job, name, made, job->host, 1, error) : NULL;
    if (!t)
        return error->status;
    organ_merge_put_input(job, t, 0, job->host, like);
    t->made = kind;
    t->why = why[kind];
    t->item.task.inputs = 1;
    return ORGAN_OK;
}

/* ---- matrices of experts ---- */

/* Returns the matrix of an expert that has the name of `like`, a matrix of the base; NULL on error. */
static const organ_weight *matrix_of(const model_merge *job, const organ_weight *like, const mixture_expert *expert,
                                     organ_error *error)
{
    const merge_donor *const donor = &job->donors[expert->donor];
    const organ_weight *const w = organ_merge_weight_named(donor, like->name);
    char is[ORGAN_SHAPE_TEXT], was[ORGAN_SHAPE_TEXT];
    if (w && ORGAN_SAME_SHAPE(w, like))
        return w;
    if (!w)
        organ_merge_fault(&job->recipe, expert->line, error, "tensor '%s' of base_model is missing in %s", like->name,
                          donor->path);
    else
        organ_merge_fault(&job->recipe, expert->line, error, "tensor '%s': its shape is %s in %s and %s in base_model",
                          like->name, organ_shape_text(w->rank, w->shape, is), donor->path,
                          organ_shape_text(like->rank, like->shape, was));
    return NULL;
}

/* Sets the noise and the factor of each of `count` matrices, those of consecutive experts. */
static organ_status set_values(model_merge *job, merge_tensor *t, const mixture_expert *experts, size_t count,
                               bool down, organ_error *error)
{
    double *const values = organ_merge_take(job, 2 * count * sizeof *values, error);
    if (error->status)
        return error->status;
    bool plain = true;
    for (size_t k = 0; k < count; k++) {
        values[ORGAN_MIXTURE_NOISE * count + k] = experts[k].noise;
        values[ORGAN_MIXTURE_SCALE * count + k] = down ? experts[k].residual : 1;
        plain &= experts[k].noise == 0 && values[ORGAN_MIXTURE_SCALE * count + k] == 1;
    }
    t->item.task.inputs = 1;
    t->item.task.values = values;
    if (plain && count == 1 && !t->item.rows) { /* the driver copies it if it can */
        values[0] = 1;
        t->item.task.method = &organ_merge_passthrough;
    }
    return ORGAN_OK;
}

/* Adds a matrix of one expert. `form` is its name. */
static organ_status add_matrix(model_merge *job, const organ_weight *like, const char *form, size_t number,
                               const mixture_expert *expert, bool down, organ_error *error)
{
    char name[MERGE_NAME];
    const organ_weight *const w = matrix_of(job, like, expert, error);
    if (!w || name_for(like, form, number, name, error))
        return error->status;
    merge_tensor *const t = organ_merge_add_tensor(job, name, like, job->host, 1, error);
    if (!t)
        return error->status;
    organ_merge_put_input(job, t, 0, expert->donor, w);
    return set_values(job, t, expert, 1, down, error);
}

/* Lists where the rows of a stack come from: for each expert those of each of its `parts` matrices. */
static organ_merge_rows *stack_rows(model_merge *job, size_t count, size_t parts, uint64_t each, organ_error *error)
{
    const size_t all = count * parts * (size_t)each;
    organ_merge_rows *const rows = organ_merge_take(job, sizeof *rows, error);
    organ_merge_row *const list = organ_merge_take(job, all * sizeof *list, error);
    const organ_merge_row **const lists = organ_merge_take(job, sizeof *lists, error);
    organ_merge_input *const sources = organ_merge_take(job, count * parts * sizeof *sources, error);
    if (error->status)
        return NULL;
    for (size_t k = 0; k < all; k++)
        list[k] = (organ_merge_row){.source = (uint32_t)(k / each), .row = (uint32_t)(k % each)};
    lists[0] = list;
    *rows = (organ_merge_rows){.sources = sources, .count = count * parts, .rows = lists};
    return rows;
}

/* Adds the matrices of `count` experts as one tensor: those of `like` and, if it is not NULL, of `also` below it. */
static organ_status add_stack(model_merge *job, const organ_weight *const like[2], const char *form,
                              const mixture_expert *experts, size_t count, bool routed, organ_error *error)
{
    const size_t parts = like[1] ? 2 : 1;
    const uint64_t shape[3] = {count, parts * like[0]->shape[0], like[0]->shape[1]};
    char name[MERGE_NAME];
    if (name_for(like[0], form, 0, name, error))
        return error->status;
    const organ_weight *const made = new_weight(job, like[0], name, routed ? 3 : 2, routed ? shape : shape + 1, error);
    organ_merge_rows *const rows = made ? stack_rows(job, count, parts, like[0]->shape[0], error) : NULL;
    merge_tensor *const t = rows ? organ_merge_add_tensor(job, name, made, job->host, 1, error) : NULL;
    if (!t)
        return error->status;
    for (size_t k = 0; k < count * parts && !error->status; k++) {
        const mixture_expert *const expert = &experts[k / parts];
        const organ_weight *const from = matrix_of(job, like[k % parts], expert, error);
        if (from)
            ((organ_merge_input *)rows->sources)[k] = (organ_merge_input){
                .model = organ_merge_stored(&job->donors[expert->donor]),
                .weight = from,
                .change = organ_adapted_change(&job->donors[expert->donor].adapted, from, like[k % parts])};
    }
    if (error->status)
        return error->status;
    organ_merge_put_input(job, t, 0, experts[0].donor, rows->sources[0].weight);
    t->item.rows = rows;
    t->why = routed ? "the matrices of all experts" : "the matrices of the shared expert";
    return set_values(job, t, experts, count, /*down=*/!like[1], error);
}

/* ---- the feed-forward of a layer ---- */

/* The matrices of a layer's feed-forward in the base. */
typedef struct feed_forward {
    const organ_weight *gate, *up, *down;
} feed_forward;

static organ_status add_routers(model_merge *job, const feed_forward *f, organ_error *error)
{
    const merge_mixture *const m = job->recipe.mixture;
    const uint64_t shape[2] = {m->count, m->config.hidden}, of_shared[2] = {m->shared, m->config.hidden};
    char name[MERGE_NAME];
    if (name_for(f->gate, m->form->router, 0, name, error) ||
        add_made(job, f->gate, name, MERGE_MADE_ROUTER, 2, shape, error) || !m->form->shared_gated)
        return error->status;
    return name_for(f->gate, m->form->shared_router, 0, name, error)
               ? error->status
               : add_made(job, f->gate, name, MERGE_MADE_SHARED, 2, of_shared, error);
}

static organ_status add_stacks(model_merge *job, const feed_forward *f, organ_error *error)
{
    const merge_mixture *const m = job->recipe.mixture;
    const organ_weight *const in[2] = {f->gate, f->up}, *const out[2] = {f->down, NULL};
    if (add_stack(job, in, m->form->gate, m->experts, m->count, /*routed=*/true, error) ||
        add_stack(job, out, m->form->down, m->experts, m->count, /*routed=*/true, error) || !m->shared)
        return error->status;
    const mixture_expert *const shared = &m->experts[m->count];
    return add_stack(job, in, m->form->shared_gate, shared, 1, /*routed=*/false, error)
               ? error->status
               : add_stack(job, out, m->form->shared_down, shared, 1, /*routed=*/false, error);
}

static organ_status add_matrices(model_merge *job, const feed_forward *f, organ_error *error)
{
    const merge_mixture *const m = job->recipe.mixture;
    for (size_t k = 0; k < m->count + m->shared && !error->status; k++) {
        const bool shared = k >= m->count;
        const char *const gate = shared ? m->form->shared_gate : m->form->gate,
                          *const up = shared ? m->form->shared_up : m->form->up,
                          *const down = shared ? m->form->shared_down : m->form->down;
        if (add_matrix(job, f->gate, gate, k, &m->experts[k], /*down=*/false, error) ||
            add_matrix(job, f->up, up, k, &m->experts[k], /*down=*/false, error))
            break;
        add_matrix(job, f->down, down, k, &m->experts[k], /*down=*/true, error);
    }
    return error->status;
}

/* Returns the matrix of the base that has this role in the layer of `like`; NULL: there is none. */
static const organ_weight *of_role(const merge_donor *host, const organ_weight *like, organ_role role)
{
    for (size_t k = 0; k < host->weights->count; k++) {
        const organ_weight *const w = &host->weights->weights[k];
        if (w->anatomy.role == role && w->anatomy.layer == like->anatomy.layer && w->rank == 2)
            return w;
    }
    return NULL;
}

/* `gate` is the first matrix of a layer's feed-forward. */
static organ_status add_layer(model_merge *job, const organ_weight *gate, organ_error *error)
{
    const merge_donor *const host = &job->donors[job->host];
    const feed_forward f = {gate, of_role(host, gate, ORGAN_ROLE_UP), of_role(host, gate, ORGAN_ROLE_DOWN)};
    if (!f.up || !f.down)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: layer %d has no up_proj or down_proj", host->path,
                          (int)gate->anatomy.layer);
    if (add_routers(job, &f, error))
        return error->status;
    return job->recipe.mixture->form->stacked ? add_stacks(job, &f, error) : add_matrices(job, &f, error);
}

/* ---- tensors of the base ---- */

static bool is_projection(const organ_weight *w)
{
    return w->anatomy.role == ORGAN_ROLE_Q || w->anatomy.role == ORGAN_ROLE_K || w->anatomy.role == ORGAN_ROLE_V;
}

/* Adds zeros as the bias of a projection that has none. */
static organ_status add_bias(model_merge *job, const organ_weight *w, organ_error *error)
{
    const size_t length = strlen(w->name), suffix = strlen(".weight");
    char name[MERGE_NAME];
    if (length < suffix || length >= sizeof name)
        return organ_fail(error, ORGAN_BAD_INPUT, "tensor '%s': its name is too long", w->name);
    memcpy(name, w->name, length - suffix);
    memcpy(name + length - suffix, ".bias", sizeof ".bias");
    return add_made(job, w, name, MERGE_MADE_ZEROS, 1, w->shape, error);
}

/* Adds a tensor of the base, or what it becomes. */
static organ_status add_one(model_merge *job, const organ_weight *w, organ_error *error)
{
    const merge_mixture *const m = job->recipe.mixture;
    const organ_role role = w->anatomy.role;
    const bool inside = w->anatomy.layer >= 0 && w->rank == 2;
    if (inside && role == ORGAN_ROLE_GATE)
        return add_layer(job, w, error);
    if (inside && (role == ORGAN_ROLE_UP || role == ORGAN_ROLE_DOWN))
        return ORGAN_OK;
    const organ_weight *const values = organ_merge_weight_named(&job->donors[job->host], w->name);
    merge_tensor *const t = values ? organ_merge_add_tensor(job, w->name, w, job->host, 1, error) : NULL;
    if (!t)
        return error->status ? error->status
                             : organ_fail(error, ORGAN_BAD_INPUT, "%s: has no weight that gives tensor '%s'",
                                          job->donors[job->host].path, w->name);
    organ_merge_put_input(job, t, 0, job->host, values);
    organ_merge_pass_through(t, 0, "the base's", error);
    return is_projection(w) && m->form->always_biased && !m->config.qkv_bias ? add_bias(job, w, error) : error->status;
}

/* ---- the models ---- */

/* A model without a tokenizer has the tokens of the base only if its embedding has as many rows. */
static organ_status check_tokens(const model_merge *job, const mixture_expert *expert, organ_error *error)
{
    const merge_donor *const donor = &job->donors[expert->donor], *const host = &job->donors[job->host];
    const organ_weight *const its = organ_merge_weight_of_role(donor, ORGAN_ROLE_EMBED), *const own =
                                                                                             organ_merge_weight_of_role(
                                                                                                 host,
                                                                                                 ORGAN_ROLE_EMBED);
    bool has = false;
    if (!its || !own || its->shape[0] == own->shape[0] || organ_merge_has_tokenizer(donor, &has, error) || has)
        return error->status;
    return organ_merge_fault(&job->recipe, expert->line, error,
                             "%.200s has no tokenizer, and embeddings of %llu tokens, but base_model has %llu",
                             donor->name, (unsigned long long)its->shape[0], (unsigned long long)own->shape[0]);
}

/* The models have as many layers as the base, and no biases in the feed-forward. */
static organ_status check_expert(const model_merge *job, const mixture_expert *expert, organ_error *error)
{
    const merge_donor *const donor = &job->donors[expert->donor], *const host = &job->donors[job->host];
    if (donor->layers != host->layers)
        return organ_merge_fault(&job->recipe, expert->line, error,
                                 "%.200s has %llu layers, but base_model %.200s %llu", donor->name,
                                 (unsigned long long)donor->layers, host->name, (unsigned long long)host->layers);
    for (size_t k = 0; k < donor->weights->count; k++) {
        const char *const name = donor->weights->weights[k].name;
        if (strstr(name, "mlp.") && strstr(name, "_proj.bias"))
            return organ_merge_fault(&job->recipe, expert->line, error,
                                     "%.200s has tensor '%s', but the experts have no bias", donor->name, name);
    }
    return check_tokens(job, expert, error);
}

organ_status organ_mixture_outline(model_merge *job, organ_error *error)
{
    const merge_donor *const host = &job->donors[job->host];
    const merge_mixture *const m = job->recipe.mixture;
    if (organ_mixture_choose_form(job, error))
        return error->status;
    for (size_t k = 0; k < m->count + m->shared && !error->status; k++)
        check_expert(job, &m->experts[k], error);
    job->has_head = host->head != NULL;
    job->unties = host->head && host->model->config.tie_word_embeddings;
    job->layers = host->layers;
    job->recipe.slices[0].layers = host->layers;
    for (size_t k = 0; k < host->weights->count && !error->status; k++) {
        const organ_weight *const w = &host->weights->weights[k];
        const bool head = w->anatomy.role == ORGAN_ROLE_OUTPUT && w->anatomy.layer < 0 && w->rank == 2;
        if (!organ_merge_is_apart(host, &w->anatomy) && organ_weight_has_numbers(w) && !(head && !job->has_head))
            add_one(job, w, error);
    }
    return error->status;
}
