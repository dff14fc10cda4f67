/* SPDX-License-Identifier: MIT
 * Plans the method moments: which tensors are fitted, the texts, the memory; and runs the texts through the layers. */
#include "orchestrator/verbs/merge/merge_moments.h"

#include "orchestrator/stream/memory.h"

#include <stdlib.h>
#include <string.h>

/* Plan of a dry run: runs of a text through a layer of the output and, with drift, of its own model; operations per
 * token and entry of moments; work of a matrix (organ_plan_solve). */
#define RUNS       5.0
#define MOMENTS_ON 1.0
#define DRIFT_ON   3.3
static const organ_plan_solve fit_work = {6, 20, 1e5};

/* ---- which tensors are fitted ---- */

/* Routers keep the mean, because a change of their choices is no small error. */
static bool may_be_fitted(organ_role role) { return role != ORGAN_ROLE_ROUTER && role != ORGAN_ROLE_BIAS; }

static bool is_head(const merge_tensor *t) { return t->like->anatomy.role == ORGAN_ROLE_OUTPUT && t->layer < 0; }

/* Fitted are the matrices of layers whose inputs the forward pass gives, and the output head. */
organ_status organ_merge_mark_fitted(model_merge *job, organ_error *error)
{
    organ_forward *forward = NULL;
    if (job->recipe.method != &organ_merge_moments)
        return ORGAN_OK;
    if (job->recipe.sliced)
        return organ_merge_fault(&job->recipe, 0, error, "moments merges whole models: use `models`, not `slices`");
    if (job->vocabulary)
        return organ_merge_fault(&job->recipe, 0, error,
                                 "moments needs models with the same tokens: it does not work with `tokenizer`");
    if (organ_forward_open(job->donors[job->host].model, job->engine, &forward, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->tensor_count && !error->status; k++) {
        merge_tensor *const t = &job->tensors[k];
        if (t->why || t->item.task.method != &organ_merge_moments || t->from != job->host || t->like->rank < 2)
            continue;
        t->by_tokens = t->like->anatomy.role == ORGAN_ROLE_EMBED && t->layer < 0;
        const bool head = is_head(t);
        if (!head && (!may_be_fitted(t->like->anatomy.role) || !organ_forward_is_tapped(forward, t->like->codes)))
            continue;
        if (!(t->fitted = organ_arena_take(&job->arena, sizeof *t->fitted))) {
            organ_fail_memory(error, t->name);
            break;
        }
        *t->fitted = (merge_fitted){.layer = head ? -1 : organ_forward_layer_of(forward, t->like->codes),
                                    .transposed = !head && organ_forward_is_transposed(forward, t->like->codes),
                                    .left = organ_weight_matrices(t->like).count};
    }
    organ_forward_close(forward);
    return error->status;
}

/* ---- texts ---- */

/* Returns the tensor of a GGUF file that has the place of a tensor of the host; NULL: there is none, or several. */
static const organ_tensor *counterpart(const moments_input *in, const organ_model *model, const organ_anatomy *anatomy)
{
    const organ_tensor *found = NULL;
    for (size_t k = 0; k < model->tensor_count; k++) {
        const organ_anatomy *const other = &model->tensors[k].anatomy;
        if (other->role != anatomy->role || other->layer != anatomy->layer || other->experts != anatomy->experts ||
            !organ_forward_is_tapped(in->forward, &model->tensors[k]))
            continue;
        if (found)
            return NULL;
        found = &model->tensors[k];
    }
    return found;
}

/* Sets in->names. */
static organ_status find_names(const merge_moments *m, moments_input *in, organ_error *error)
{
    const model_merge *const job = m->job;
    const merge_donor *const donor = &job->donors[in->donor];
    if (!(in->names = calloc(job->tensor_count + 1, sizeof *in->names)))
        return organ_fail_memory(error, donor->path);
    for (size_t k = 0; k < job->tensor_count; k++) {
        const merge_tensor *const t = &job->tensors[k];
        size_t input = 0;
        while (input < t->item.task.inputs && t->donors[input] != in->donor)
            input++;
        if (!t->fitted || input == t->item.task.inputs || t->like->anatomy.experts == ORGAN_EXPERTS_ROUTED)
            continue;
        const bool other_names = organ_merge_is_gguf(donor) && t->fitted->layer >= 0;
        const organ_tensor *const other =
            other_names ? counterpart(in, organ_merge_stored(donor), &t->like->anatomy) : NULL;
        if (other_names && !other)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: no tensor has the place of '%s': convert the model to safetensors first, or give "
                              "`settings` drift=false",
                              donor->path, t->name);
        in->names[k] = other ? other->name : t->item.inputs[input].weight->name;
    }
    return ORGAN_OK;
}

static organ_status open_text(merge_moments *m, moments_input *in, const char *text, organ_error *error)
{
    const model_merge *const job = m->job;
    const merge_donor *const donor = &job->donors[in->donor];
    const organ_calibration_text *const given = &job->options->calibration;
    in->walk = (organ_calibration_run_options){
        .calibration = {text, given->samples, given->context, given->scratch, given->compute},
        .method = "moments",
        .verb = "merge"};
    if (organ_calibration_run_open(&in->walk, job->donors[job->host].model, NULL, NULL, job->engine, job->progress,
                                   &in->calib, error) != ORGAN_OK)
        return error->status;
    in->facts = organ_calibration_run_facts_of(in->calib);
    const organ_forward_config *const c = organ_forward_describe(in->facts->forward);
    in->chunks = organ_calibration_chunks_make(in->walk.calibration.samples, in->walk.calibration.context, c->state);
    if (!m->drift)
        return ORGAN_OK;
    if (donor->adapted.adapter)
        return organ_fail(error, ORGAN_USAGE,
                          "%s is a model with an adapter, whose own outputs moments does not compute: write it with "
                          "'organ lora merge' first, or give `settings` drift=false",
                          donor->name);
    if (organ_forward_open(organ_merge_stored(donor), organ_calibration_engine(in->calib), &in->forward, error) !=
        ORGAN_OK)
        return error->status;
    if (organ_forward_describe(in->forward)->state != c->state)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s passes on %llu numbers per token, but %s %llu", donor->path,
                          (unsigned long long)organ_forward_describe(in->forward)->state, job->donors[job->host].path,
                          (unsigned long long)c->state);
    return find_names(m, in, error);
}

static organ_status open_texts(merge_moments *m, organ_error *error)
{
    const merge_recipe *const r = &m->job->recipe;
    const merge_slice *const slice = &r->slices[0];
    if (!(m->inputs = calloc(slice->source_count + 1, sizeof *m->inputs)))
        return organ_fail_memory(error, r->label);
    for (size_t k = 0; k < slice->source_count && !error->status; k++) {
        const merge_source *const source = &slice->sources[k];
        if (source->donor == r->base)
            continue;
        const char *const text = source->text ? source->text : r->text;
        if (!text)
            return organ_merge_fault(r, r->of_options ? MERGE_OF_TEXTS : source->line, error,
                                     "the text of %.200s is missing: moments needs a text of each model (calibration)",
                                     r->donors[source->donor]);
        m->inputs[m->count].donor = source->donor;
        open_text(m, &m->inputs[m->count++], text, error);
    }
    return error->status;
}

/* ---- the embedding: its inputs are unit vectors, so its moments are the numbers of the tokens ---- */

static double tokens_of(const moments_input *in) { return (double)in->facts->windows.begin[in->facts->windows.count]; }

/* Returns what the model of input k weighs for the row of a token that is `count` times in its text: its weight times
 * the share of the token in the text, to which `prior` is added. */
static double row_weight(const merge_moments *m, const merge_tensor *t, size_t k, float count, double prior)
{
    const double weight = organ_merge_value(&t->item.task, ORGAN_MOMENTS_WEIGHT, k);
    return weight * ((double)count / tokens_of(&m->inputs[k]) + prior);
}

/* Sets the factor of each model for each row of the embedding: its share of the sum of all row_weights. The parameter
 * prior is relative to one token in a text (the mean over the texts), and is divided by the sum of the weights. */
static organ_status set_row_factors(merge_moments *m, merge_tensor *t, organ_error *error)
{
    const size_t rows = (size_t)t->item.task.shape.rows, inputs = t->item.task.inputs;
    float *const all = organ_arena_take(&m->job->arena, inputs * rows * sizeof *all); /* counts, then factors */
    const float **const factors = organ_arena_take(&m->job->arena, inputs * sizeof *factors);
    double total = 0, one_token = 0;
    if (!all || !factors)
        return organ_fail_memory(error, t->name);
    for (size_t k = 0; k < inputs; k++) {
        total += organ_merge_value(&t->item.task, ORGAN_MOMENTS_WEIGHT, k);
        one_token += 1 / tokens_of(&m->inputs[k]) / (double)inputs;
        factors[k] = memset(all + k * rows, 0, rows * sizeof *all);
    }
    const double prior = organ_merge_value(&t->item.task, ORGAN_MOMENTS_PRIOR, 0) * one_token / total;
    for (size_t k = 0; k < inputs; k++) {
        const organ_windows *const w = &m->inputs[k].facts->windows;
        for (size_t i = 0; i < w->begin[w->count]; i++)
            if (w->tokens[i] < rows)
                all[k * rows + w->tokens[i]] += 1;
    }
    for (size_t r = 0; r < rows; r++) {
        double sum = 0;
        for (size_t k = 0; k < inputs; k++)
            sum += row_weight(m, t, k, all[k * rows + r], prior);
        for (size_t k = 0; k < inputs; k++)
            all[k * rows + r] = (float)(row_weight(m, t, k, all[k * rows + r], prior) / sum);
    }
    t->item.task.row_factors = factors;
    return ORGAN_OK;
}

/* ---- memory ---- */

typedef struct moments_needs {
    const merge_moments *moments;
    uint64_t bytes; /* of streams, a layer of another model, and the group that needs most */
} moments_needs;

static bool leaves_more(void *context, uint64_t memory)
{
    const moments_needs *const n = context;
    const moments_input *const first = &n->moments->inputs[0];
    return organ_forward_memory_left(first->facts->forward, memory, first->walk.calibration.context) > n->bytes;
}

/* Returns the bytes of the group that needs most. Matrices of a layer with as many inputs count as a group, which they
 * are at most. */
static uint64_t largest_group_memory(const merge_moments *m)
{
    const model_merge *const job = m->job;
    uint64_t most = 0;
    for (size_t k = 0; k < job->tensor_count; k++) {
        const merge_tensor *const t = &job->tensors[k];
        if (!t->fitted)
            continue;
        const organ_matrices own = organ_weight_matrices(t->like);
        const bool expert = own.count > 1 || t->like->anatomy.expert >= 0;
        const uint64_t cols = t->fitted->transposed ? own.rows : own.cols;
        uint64_t rows = 0;
        for (size_t l = 0; l < job->tensor_count; l++) {
            const merge_tensor *const other = &job->tensors[l];
            if (!other->fitted || other->fitted->layer != t->fitted->layer ||
                other->like->anatomy.expert != t->like->anatomy.expert)
                continue;
            const organ_matrices its = organ_weight_matrices(other->like);
            if ((its.count > 1) == (own.count > 1) && (other->fitted->transposed ? its.rows : its.cols) == cols)
                rows += other->fitted->transposed ? its.cols : its.rows;
        }
        const uint64_t bytes = organ_merge_group_memory(m, cols, rows, expert);
        most = bytes > most ? bytes : most;
    }
    return most;
}

static uint64_t streams_memory(const merge_moments *m, bool scratch)
{
    uint64_t bytes = 0, layer = 0;
    for (size_t k = 0; k < m->count; k++) {
        const uint64_t other = m->inputs[k].forward ? organ_forward_layer_bytes(m->inputs[k].forward) : 0;
        bytes += (m->drift ? 2 : 1) * organ_calibration_states_memory(&m->inputs[k].chunks, /*copied=*/true, scratch);
        layer = other > layer ? other : layer;
    }
    return bytes + layer;
}

static organ_status share_memory(merge_moments *m, organ_error *error)
{
    const organ_calibration_text *const given = &m->job->options->calibration;
    const uint64_t group = largest_group_memory(m), streams = streams_memory(m, given->scratch != NULL);
    moments_needs here = {m, streams + group}, with_scratch = {m, streams_memory(m, /*scratch=*/true) + group};
    if (organ_memory_require(m->job->engine, leaves_more, &here, error,
                             "the hidden states of all texts, two layers and the moments of one matrix") != ORGAN_OK) {
        if (!given->scratch)
            organ_memory_offer_scratch(error, organ_memory_enough(0, leaves_more, &with_scratch));
        return error->status;
    }
    m->spare = organ_forward_spare_memory(m->inputs[0].facts->forward, m->inputs[0].walk.calibration.context);
    m->spare = m->spare > streams ? m->spare - streams : 0;
    organ_plan_memory(&m->job->plan, organ_memory_enough(0, leaves_more, &here), 0);
    return ORGAN_OK;
}

/* Adds the work to the plan. */
static void add_runs(const merge_moments *m, const moments_input *in, int32_t layer, organ_plan *plan)
{
    const model_merge *const job = m->job;
    const double tokens = RUNS * (m->drift ? 2 : 1) * tokens_of(in);
    const organ_plan_work token = organ_calibration_token_products(in->facts->forward, job->donors[job->host].model,
                                                                   layer, in->walk.calibration.context);
    organ_plan_compute(plan, organ_calibration_engine(in->calib),
                       (organ_plan_work){tokens * token.all, tokens * token.multiplied});
}

static void estimate(merge_moments *m)
{
    const model_merge *const job = m->job;
    organ_plan *const plan = &m->job->plan;
    for (size_t k = 0; k < m->count; k++) {
        const moments_input *const in = &m->inputs[k];
        for (int32_t l = 0; l < (int32_t)organ_forward_describe(in->facts->forward)->layers; l++)
            add_runs(m, in, l, plan);
    }
    for (size_t k = 0; k < job->tensor_count; k++) {
        const merge_tensor *const t = &job->tensors[k];
        if (!t->fitted)
            continue;
        const organ_matrices own = organ_weight_matrices(t->like);
        const double cols = (double)(t->fitted->transposed ? own.rows : own.cols),
                     rows = (double)(t->fitted->transposed ? own.cols : own.rows);
        for (size_t i = 0; i < m->count; i++) {
            const double sums = (m->drift ? DRIFT_ON : MOMENTS_ON) * cols * cols * tokens_of(&m->inputs[i]);
            organ_plan_compute(plan, organ_calibration_engine(m->inputs[i].calib), (organ_plan_work){sums, sums});
        }
        organ_plan_matrices(plan, &fit_work, (double)own.count, rows, cols, cols);
    }
}

organ_status organ_merge_open_moments(model_merge *job, organ_error *error)
{
    const merge_slice *const slice = &job->recipe.slices[0];
    if (job->recipe.method != &organ_merge_moments) {
        bool texts = job->recipe.text != NULL;
        for (size_t k = 0; k < slice->source_count; k++)
            texts |= slice->sources[k].text != NULL;
        return texts ? organ_fail(error, ORGAN_USAGE, "a text (calibration) is for the method moments, not for %s",
                                  job->recipe.method->name)
                     : ORGAN_OK;
    }
    if (!(job->moments = calloc(1, sizeof *job->moments)))
        return organ_fail_memory(error, job->recipe.label);
    job->moments->job = job;
    for (size_t k = 0; k < job->tensor_count; k++)
        if (job->tensors[k].fitted)
            job->moments->drift |= organ_merge_value(&job->tensors[k].item.task, ORGAN_MOMENTS_DRIFT, 0) != 0;
    if (open_texts(job->moments, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < job->tensor_count && !error->status; k++)
        if (job->tensors[k].by_tokens)
            set_row_factors(job->moments, &job->tensors[k], error);
    if (!error->status && share_memory(job->moments, error) == ORGAN_OK)
        estimate(job->moments);
    return error->status;
}

void organ_merge_close_moments(model_merge *job)
{
    merge_moments *const m = job->moments;
    if (!m)
        return;
    for (size_t k = 0; k < m->count; k++) {
        organ_calibration_states_close(m->inputs[k].states);
        organ_calibration_states_close(m->inputs[k].own);
        organ_forward_close(m->inputs[k].forward);
        free(m->inputs[k].names);
        organ_calibration_run_close(m->inputs[k].calib);
    }
    organ_forward_close(m->forward);
    organ_model_close(m->model);
    ORGAN_FREE_ARRAYS(m->inputs, m);
    job->moments = NULL;
}

/* ---- the run ---- */

/* Returns the last layer that the texts have to run through; -1: there is nothing to write. *head becomes whether the
 * output head is to be fitted. */
static int32_t last_layer(const merge_moments *m, bool *head)
{
    const model_merge *const job = m->job;
    int32_t last = -1;
    *head = false;
    for (size_t k = 0; k < job->tensor_count; k++) {
        const merge_fitted *const fitted = job->tensors[k].fitted;
        if (!fitted || organ_write_done(job->writing, k))
            continue;
        *head |= fitted->layer < 0;
        last = fitted->layer > last ? fitted->layer : last;
    }
    return *head ? (int32_t)organ_forward_describe(m->inputs[0].facts->forward)->layers - 1 : last;
}

static organ_status run_layers(merge_moments *m, organ_error *error)
{
    bool head = false;
    const int32_t last = last_layer(m, &head);
    for (int32_t l = 0; l <= last && !error->status; l++) {
        organ_layer *loaded = NULL;
        if (organ_layer_load(m->forward, l, &loaded, error) == ORGAN_OK &&
            organ_merge_fit_layer(m, l, loaded, error) == ORGAN_OK && (l < last || head))
            for (size_t k = 0; k < m->count; k++)
                for (size_t c = 0; c < organ_calibration_chunks_count(&m->inputs[k].chunks) && !error->status; c++)
                    organ_merge_run_chunk(m->forward, loaded, &m->inputs[k], m->inputs[k].states, c, /*copy=*/false,
                                          NULL, error);
        organ_layer_free(loaded);
    }
    return error->status || !head ? error->status : organ_merge_fit_head(m, error);
}

organ_status organ_merge_run_moments(model_merge *job, organ_error *error)
{
    merge_moments *const m = job->moments;
    bool head;
    if (last_layer(m, &head) < 0)
        return ORGAN_OK;
    if (organ_model_open(job->partial, &m->model, error) == ORGAN_OK &&
        organ_forward_open(m->model, job->engine, &m->forward, error) == ORGAN_OK &&
        organ_merge_open_streams(m, error) == ORGAN_OK)
        run_layers(m, error);
    return error->status;
}

/* ---- facts ---- */

json_t *organ_merge_texts_json(const model_merge *job)
{
    json_t *const list = json_array();
    for (size_t k = 0; job->moments && k < job->moments->count; k++)
        if (json_array_append_new(list,
                                  organ_calibration_run_json(job->moments->inputs[k].calib,
                                                             "of the output and, with drift, of the model itself")))
            organ_memory_count_refusal();
    return list;
}
