/* SPDX-License-Identifier: MIT
 * Lists the matrices that --refit refits in each block, computes the sizes and the memory of their equations, and
 * assigns each window of the text to a use. */
#include "orchestrator/verbs/shrink/layers_parts.h"

#include "orchestrator/machine/quantity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bounds of the number of judged tokens: enough to rank candidates, which are all judged on the same tokens. */
#define JUDGED_TOKENS ((size_t)4096)
#define JUDGED_LEAST  ((size_t)128)
/* If there are few judged tokens, they are the beginnings of about this many windows, of at least SHORTEST tokens. */
#define JUDGED_WINDOWS  ((size_t)8)
#define JUDGED_SHORTEST ((size_t)64)

/* Kinds with fewer than three roles repeat one. */
static const struct {
    const char *name;
    organ_role roles[3];
} kinds[ORGAN_HEAL_KINDS + 1] = {
    [ORGAN_HEAL_ATTENTION_INPUTS] = {"attention inputs", {ORGAN_ROLE_Q, ORGAN_ROLE_K, ORGAN_ROLE_V}},
    [ORGAN_HEAL_ATTENTION_OUTPUT] = {"attention output", {ORGAN_ROLE_O, ORGAN_ROLE_O, ORGAN_ROLE_O}},
    [ORGAN_HEAL_FFN_INPUTS] = {"feed-forward inputs", {ORGAN_ROLE_GATE, ORGAN_ROLE_UP, ORGAN_ROLE_ROUTER}},
    [ORGAN_HEAL_FFN_OUTPUT] = {"feed-forward output", {ORGAN_ROLE_DOWN, ORGAN_ROLE_DOWN, ORGAN_ROLE_DOWN}},
    [ORGAN_HEAL_FINAL] = {"final norm", {ORGAN_ROLE_NORM, ORGAN_ROLE_NORM, ORGAN_ROLE_NORM}},
};

const char *organ_layers_kind_name(organ_layers_kind kind) { return kinds[kind].name; }

bool organ_layers_heal_is_inputs(organ_layers_kind kind)
{
    return kind == ORGAN_HEAL_ATTENTION_INPUTS || kind == ORGAN_HEAL_FFN_INPUTS;
}

static bool is_dropped(const organ_layers_heal *h, int32_t layer)
{
    return layer >= 0 && (size_t)layer < h->options.layers && h->options.dropped[layer];
}

bool organ_layers_heal_before_gap(const organ_layers_heal *h, int32_t layer) { return is_dropped(h, layer + 1); }

bool organ_layers_heal_is_refitted(const organ_layers_heal *h, int32_t layer, organ_layers_kind kind)
{
    if (is_dropped(h, layer))
        return false;
    if (!organ_layers_heal_is_inputs(kind) && organ_layers_heal_before_gap(h, layer))
        return true;
    for (int32_t l = layer - 1; l >= 0; l--)
        if (is_dropped(h, l))
            return true;
    return false;
}

/* Fused tensors (q, k and v, or gate and up) belong to the kinds of inputs. */
static bool has_role(const organ_anatomy *a, organ_layers_kind kind)
{
    if (kind == ORGAN_HEAL_FFN_OUTPUT && a->experts == ORGAN_EXPERTS_SHARED)
        return false; /* not refitted: the routed experts are fitted to the target minus the shared expert's output */
    bool belongs = (kind == ORGAN_HEAL_ATTENTION_INPUTS && a->role == ORGAN_ROLE_QKV) ||
                   (kind == ORGAN_HEAL_FFN_INPUTS && a->role == ORGAN_ROLE_GATE_UP);
    for (size_t k = 0; k < 3; k++)
        belongs |= a->role == kinds[kind].roles[k];
    return belongs;
}

size_t organ_layers_heal_number(const organ_layers_heal *h, const organ_tensor *tensor)
{
    unsigned kind = 0;
    if (tensor->anatomy.layer < 0)
        return h->options.layers * ORGAN_HEAL_KINDS;
    while (kind + 1 < ORGAN_HEAL_KINDS && !has_role(&tensor->anatomy, kind))
        kind++;
    return (size_t)tensor->anatomy.layer * ORGAN_HEAL_KINDS + kind;
}

/* `count` is the number of matrices in the tensor. */
static void set_matrix_entry(const organ_tensor *tensor, uint64_t matrix, uint64_t count, heal_matrix *entry)
{
    const organ_matrices m = organ_tensor_matrices(tensor);
    *entry = (heal_matrix){.tensor = tensor, .matrix = matrix, .rows = m.rows, .cols = m.cols};
    entry->expert = tensor->anatomy.expert >= 0 ? (size_t)tensor->anatomy.expert : (size_t)matrix;
    snprintf(entry->name, sizeof entry->name, count > 1 ? "%.300s[%llu]" : "%.300s", tensor->name,
             (unsigned long long)matrix);
}

/* Writes the matrices of a kind to `matrices` (NULL: only counts them). Returns their number. */
static size_t list_matrices(const organ_layers_heal *h, int32_t layer, organ_layers_kind kind, heal_matrix *matrices)
{
    const organ_model *const model = h->options.model;
    size_t count = 0;
    for (size_t t = 0; t < model->tensor_count; t++) {
        const organ_tensor *const tensor = &model->tensors[t];
        if (tensor->anatomy.layer != layer || tensor->rank < 2 || !has_role(&tensor->anatomy, kind))
            continue;
        const uint64_t in_tensor = organ_tensor_matrices(tensor).count;
        for (uint64_t m = 0; m < in_tensor; m++, count++)
            if (matrices)
                set_matrix_entry(tensor, m, in_tensor, &matrices[count]);
    }
    return count;
}

/* For the down projections of routed experts, each expert is a block of inputs of the equations, and a token uses
 * only the blocks of the experts that the router chose. Otherwise there is one block, and all tokens use it. */
organ_status organ_layers_heal_part_list(const organ_layers_heal *h, int32_t layer, organ_layers_kind kind,
                                         heal_part *part, organ_error *error)
{
    const organ_forward_config *const c = organ_forward_describe(h->forward);
    *part = (heal_part){.count = list_matrices(h, layer, kind, /*matrices=*/NULL),
                        .blocks = 1,
                        .used = 1,
                        .outputs = (size_t)c->hidden};
    part->matrices = calloc(part->count + 1, sizeof *part->matrices);
    if (!part->matrices)
        return organ_fail_memory(error, h->options.model->path);
    (void)list_matrices(h, layer, kind, part->matrices);
    if (part->count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: layer %d has no weight of the %s, which `heal` refits",
                          h->options.model->path, (int)layer, organ_layers_kind_name(kind));
    for (size_t k = 0; k < part->count; k++)
        if (organ_forward_is_transposed(h->forward, part->matrices[k].tensor))
            return organ_fail(error, ORGAN_USAGE,
                              "tensor '%s': is stored as in_features x out_features, which `heal` does not support",
                              part->matrices[k].tensor->name);
    part->width = (size_t)part->matrices[0].cols;
    if (kind == ORGAN_HEAL_FFN_OUTPUT && part->matrices[0].tensor->anatomy.experts == ORGAN_EXPERTS_ROUTED) {
        part->blocks = c->experts;
        part->used = c->experts_used;
    }
    return ORGAN_OK;
}

void organ_layers_heal_part_release(heal_part *part)
{
    free(part->matrices);
    *part = (heal_part){0};
}

size_t organ_layers_heal_chunk_tokens(const organ_layers_heal *h)
{
    return h->chunks.together * h->options.walk.calibration.context;
}

/* ---- windows ---- */

/* Returns n: the last of every n windows is held out. Also sets h->judged_length. About `limit` tokens are judged:
 * whole windows, or the beginnings of about JUDGED_WINDOWS windows. n is at least HEAL_HELD (with HEAL_MANY_WINDOWS
 * windows or more 2 HEAL_HELD), so that enough windows remain to refit blocks. */
static size_t choose_held_out(organ_layers_heal *h, size_t limit)
{
    const size_t context = h->options.walk.calibration.context, windows = h->windows.count;
    const size_t least = windows < HEAL_MANY_WINDOWS ? HEAL_HELD : 2 * HEAL_HELD;
    const size_t shortest = organ_min(context, organ_max(limit / JUDGED_WINDOWS, JUDGED_SHORTEST));
    const size_t wanted = organ_max(limit / shortest, 1);
    const size_t stride = organ_max(organ_min(organ_pieces_of(windows, wanted), windows), least);
    h->judged_length = organ_min(context, organ_max(limit / (windows / stride), shortest));
    return stride;
}

static bool refits_blocks(size_t window, size_t stride)
{
    return window % stride != stride - 1 && window % HEAL_NORM_EVERY != 1;
}

/* The last of every `stride` windows is held out to choose steps. The second of every HEAL_NORM_EVERY windows is
 * for the final norm unless it is held out. All other windows refit blocks; the last of every HEAL_LAMBDA_EVERY of
 * them (of all of them if they are fewer) chooses lambda. */
organ_status organ_layers_heal_assign(organ_layers_heal *h, double judged, organ_error *error)
{
    const double limit = judged < (double)JUDGED_TOKENS ? judged : (double)JUDGED_TOKENS;
    const size_t stride = choose_held_out(h, organ_max((size_t)limit, JUDGED_LEAST));
    size_t blocks = 0, number = 0; /* windows that refit blocks, and how many of them have their use */
    h->uses = calloc(h->windows.count, sizeof *h->uses);
    if (!h->uses)
        return organ_fail_memory(error, h->options.model->path);
    for (size_t w = 0; w < h->windows.count; w++)
        blocks += refits_blocks(w, stride);
    const size_t every = organ_min(blocks, HEAL_LAMBDA_EVERY);
    for (size_t w = 0; w < h->windows.count; w++)
        if (refits_blocks(w, stride))
            h->uses[w] = number++ % every == every - 1 ? HEAL_LAMBDA : HEAL_BLOCKS;
        else
            h->uses[w] = w % stride == stride - 1 ? HEAL_CHOICES : HEAL_NORM;
    return ORGAN_OK;
}

heal_use organ_layers_heal_use(const organ_layers_heal *h, size_t chunk, size_t window)
{
    return h->uses[chunk * h->chunks.together + window];
}

organ_ridge_shape organ_layers_heal_shape(const organ_layers_heal *h, const heal_part *part)
{
    const size_t context = h->options.walk.calibration.context;
    size_t tokens[HEAL_USES] = {0};
    for (size_t w = 0; w < h->windows.count; w++)
        tokens[h->uses[w]] += context;
    return (organ_ridge_shape){
        .name = part->matrices[0].name,
        .tokens = {[ORGAN_RIDGE_FIT] = tokens[HEAL_BLOCKS], [ORGAN_RIDGE_HELD] = tokens[HEAL_LAMBDA]},
        .blocks = part->blocks,
        .width = part->width,
        .used = part->used,
        .outputs = part->outputs,
        .scratch = h->options.walk.calibration.scratch};
}

/* ---- judging candidates of a heal ---- */

/* Judges each candidate of a heal (a block with refitted weights) by the KL divergence of the whole smaller model from
 * the donor, on held-out windows. The windows run through the candidate's block and the kept blocks after it, which
 * have the donor's weights, and the logits are compared with the donor's. The error after the block would not suffice,
 * because later blocks may amplify it. A pending candidate has run through its own block, but is not judged yet. */

/* Returns the floats of the hidden states of a candidate. */
static size_t floats_of_candidate(const organ_layers_heal *h)
{
    return h->judged.begin[h->judged.count] * (size_t)organ_forward_describe(h->forward)->hidden;
}

static float *candidate_states(const organ_layers_heal *h, size_t k)
{
    return organ_variants_room(h->variants) + k * floats_of_candidate(h);
}

/* ---- opening ---- */

organ_status organ_layers_heal_take_judged(organ_layers_heal *h, organ_error *error)
{
    const size_t length = h->judged_length;
    h->judged_tokens = malloc(h->windows.count * length * sizeof *h->judged_tokens);
    h->judged_begin = malloc((h->windows.count + 1) * sizeof *h->judged_begin);
    if (!h->judged_tokens || !h->judged_begin)
        return organ_fail_memory(error, h->options.model->path);
    size_t count = 0;
    for (size_t w = 0; w < h->windows.count; w++)
        if (h->uses[w] == HEAL_CHOICES)
            memcpy(h->judged_tokens + count++ * length, h->windows.tokens + h->windows.begin[w],
                   length * sizeof *h->judged_tokens);
    for (size_t w = 0; w <= count; w++)
        h->judged_begin[w] = w * length;
    h->judged = (organ_windows){h->judged_tokens, count, h->judged_begin};
    return ORGAN_OK;
}

/* The bytes include the layer that run_candidates loads while h->loaded is in memory. */
uint64_t organ_layers_heal_judge_memory(const organ_layers_heal *h, size_t together)
{
    return organ_variants_memory(h->forward, h->judged.begin[h->judged.count], together);
}

/* ---- streams ---- */

/* Copies the smaller model's hidden states of the judged tokens to `states`. */
static organ_status gather_held_out(organ_layers_heal *h, float *states, organ_error *error)
{
    const size_t floats = h->chunks.window_bytes / sizeof(float), /* of a window, and of its judged tokens */
        judged = floats / h->options.walk.calibration.context * h->judged_length;
    for (size_t chunk = 0; chunk < organ_calibration_chunks_count(&h->chunks) && !error->status; chunk++) {
        const float *const of_chunk = organ_calibration_states_copy(h->cut, chunk, error);
        for (size_t w = 0; of_chunk && w < organ_calibration_chunk_windows(&h->chunks, chunk); w++)
            if (organ_layers_heal_use(h, chunk, w) == HEAL_CHOICES) {
                memcpy(states, of_chunk + w * floats, judged * sizeof *states);
                states += judged;
            }
    }
    return error->status;
}

/* The kept blocks from `layer` on have the donor's weights. */
static organ_status run_candidates(organ_layers_heal *h, size_t layer, organ_error *error)
{
    organ_layer *loaded = NULL;
    for (size_t l = layer; l < h->options.layers && !error->status; l++) {
        if (h->options.dropped[l])
            continue;
        if (organ_stop_is_requested(h->options.engine->stop))
            organ_fail(error, ORGAN_INTERRUPTED, "stopped while refitting blocks");
        else if (organ_layer_load_to_run(h->forward, (int32_t)l, &loaded, error) == ORGAN_OK)
            for (size_t k = 0; k < h->pending && !error->status; k++)
                organ_layer_run(h->forward, loaded, &h->judged, candidate_states(h, k), NULL, error);
    }
    organ_layer_free(loaded);
    return error->status;
}

/* Afterwards, also on error, no candidate is pending. */
static organ_status judge_candidates(organ_layers_heal *h, size_t layer, organ_error *error)
{
    double divergences[HEAL_TOGETHER];
    if (h->pending && run_candidates(h, layer, error) == ORGAN_OK)
        organ_variants_judge(h->variants, candidate_states(h, 0), h->pending, divergences, error);
    for (size_t k = 0; k < h->pending && !error->status; k++)
        *h->results[k] = divergences[k];
    h->pending = 0;
    return error->status;
}

organ_status organ_layers_heal_finish(organ_layers_heal *h, organ_error *error)
{
    return judge_candidates(h, (size_t)h->layer + 1, error);
}

organ_status organ_layers_heal_try(organ_layers_heal *h, double *divergence, organ_error *error)
{
    if (h->pending == h->together && organ_layers_heal_finish(h, error) != ORGAN_OK)
        return error->status;
    float *const states = candidate_states(h, h->pending);
    h->results[h->pending++] = divergence;
    return gather_held_out(h, states, error) ? error->status
                                             : organ_layer_run(h->forward, h->loaded, &h->judged, states, NULL, error);
}

organ_status organ_layers_heal_judge_rest(organ_layers_heal *h, size_t layer, double *divergence, organ_error *error)
{
    if (gather_held_out(h, candidate_states(h, 0), error) != ORGAN_OK)
        return error->status;
    h->results[0] = divergence;
    h->pending = 1;
    return judge_candidates(h, layer, error);
}

/* ---- scaling the final norm ---- */

/* Scales the final norm. The norm gives every hidden state the same length, also if the smaller model only partly
 * reproduces the direction of the donor's state; logits are then overconfident. All weights of the norm are multiplied
 * by s = sum <x, y> / sum <y, y>, the least-squares solution of x = s y, where x and y are the inputs of the output
 * head in the donor and in the smaller model, or by a factor between s and 1 if that lowers the divergence more. */

/* The sums of <x, y> and <y, y> run over tokens: x is the input of the output head in the donor, y in the smaller
 * model. */
typedef struct products {
    double xy, yy;
} products;

/* Only the windows HEAL_NORM are used, to which no other part was fitted. On fitted windows the smaller model is
 * nearer to the donor than on new text, so s would be too close to 1. */
static organ_status capture_chunk(organ_layers_heal *h, size_t chunk, float *x, float *y, products *sums,
                                  organ_error *error)
{
    const size_t context = h->options.walk.calibration.context,
                 hidden = (size_t)organ_forward_describe(h->forward)->hidden;
    const float *const donor = organ_calibration_states_copy(h->donor, chunk, error);
    const float *const cut = donor ? organ_calibration_states_copy(h->cut, chunk, error) : NULL;
    for (size_t w = 0; cut && w < organ_calibration_chunk_windows(&h->chunks, chunk); w++) {
        if (organ_layers_heal_use(h, chunk, w) != HEAL_NORM)
            continue;
        organ_forward_final(h->forward, donor + w * context * hidden, context, x);
        organ_forward_final(h->forward, cut + w * context * hidden, context, y);
        for (size_t t = 0; t < context; t++) {
            sums->xy += organ_dot(x + t * hidden, y + t * hidden, hidden);
            sums->yy += organ_dot(y + t * hidden, y + t * hidden, hidden);
        }
    }
    return error->status;
}

/* The factors 1 + step (s - 1) are tried for steps of 1, 0.5 and 0.25, where s is `solution` (0: none). *solved gets
 * factor 1 and step 0 if no factor lowers the divergence. */
static organ_status choose_factor(organ_layers_heal *h, double solution, organ_layers_solved *solved,
                                  organ_error *error)
{
    static const double steps[] = {1, 0.5, 0.25};
    *solved = (organ_layers_solved){
        .layer = -1, .kind = ORGAN_HEAL_FINAL, .times = 1, .before = h->divergence, .after = h->divergence};
    for (size_t k = 0; k < sizeof steps / sizeof *steps && solution > 0; k++) {
        const double times = 1 + steps[k] * (solution - 1);
        double divergence = 0;
        /* scaling the logits instead of the norm gives the same logits */
        organ_variants_scale(h->variants, times);
        organ_layers_heal_judge_rest(h, h->options.layers, &divergence, error);
        organ_variants_scale(h->variants, 1);
        if (error->status)
            return error->status;
        if (divergence < solved->after) {
            solved->times = times;
            solved->step = steps[k];
            solved->after = divergence;
        }
    }
    h->divergence = solved->after;
    return ORGAN_OK;
}

/* Some models store weight - offset, so the offset is added before the multiplication and subtracted after it.
 * `scratch` has room for the weights of the norm. */
static organ_status put_final_norm(organ_layers_heal *h, const organ_layers_solved *solved, float *scratch,
                                   organ_error *error)
{
    const organ_final_norm norm = organ_forward_final_norm(h->forward);
    const double offset = (double)norm.plus;
    for (uint64_t k = 0; k < norm.tensor->elements; k++)
        scratch[k] = (float)(solved->times * (offset + (double)norm.weights[k]) - offset);
    return organ_cut_put_once(h->run, norm.tensor, /*matrix=*/0, solved->step > 0 ? scratch : NULL, error);
}

organ_status organ_layers_heal_final(organ_layers_heal *h, organ_error *error)
{
    const size_t context = h->options.walk.calibration.context,
                 hidden = (size_t)organ_forward_describe(h->forward)->hidden;
    const organ_tensor *const tensor = organ_forward_final_norm(h->forward).tensor;
    organ_layers_solved *const known = &h->known[organ_layers_heal_number(h, tensor)];
    if (organ_cut_done(h->run, tensor)) {
        h->solved[h->solved_count++] = *known;
        h->divergence = known->after;
        return error->status;
    }
    ORGAN_OWNED float *const x = organ_floats(context, hidden), *const y = organ_floats(context, hidden);
    products sums = {0, 0};
    if (!x || !y)
        organ_fail_memory(error, h->options.model->path);
    for (size_t chunk = 0; chunk < organ_calibration_chunks_count(&h->chunks) && !error->status; chunk++)
        capture_chunk(h, chunk, x, y, &sums, error);
    if (!error->status) {
        const bool found = sums.xy > 0 && sums.yy > 0;
        if (choose_factor(h, found ? sums.xy / sums.yy : 0, known, error) == ORGAN_OK &&
            put_final_norm(h, known, /*scratch=*/x, error) == ORGAN_OK)
            h->solved[h->solved_count++] = *known;
    }
    organ_progress_advance(h->options.progress, 0, organ_layers_kind_name(ORGAN_HEAL_FINAL), NULL);
    return error->status;
}
