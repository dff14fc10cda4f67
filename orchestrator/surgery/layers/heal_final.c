/* SPDX-License-Identifier: MIT
 * Scales the final norm. The norm gives every hidden state the same length, also if the smaller model only partly
 * reproduces the direction of the donor's state; logits are then overconfident. All weights of the norm are multiplied
 * by s = sum <x, y> / sum <y, y>, the least-squares solution of x = s y, where x and y are the inputs of the output
 * head in the donor and in the smaller model, or by a factor between s and 1 if that lowers the divergence more. */
#include "orchestrator/surgery/algebra/algebra.h"
#include "orchestrator/surgery/layers/layers_heal_job.h"

#include <stdlib.h>
#include <string.h>

/* The sums of <x, y> and <y, y> run over tokens: x is the input of the output head in the donor, y in the smaller
 * model. */
typedef struct products {
    double xy, yy;
} products;

static void heal_final_add(products *sums, const float *x, const float *y, size_t count)
{
    sums->xy += organ_dot(x, y, count);
    sums->yy += organ_dot(y, y, count);
}

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
        for (size_t t = 0; t < context; t++)
            heal_final_add(sums, x + t * hidden, y + t * hidden, hidden);
    }
    return error->status;
}

/* The factors 1 + step (s - 1) are tried for steps of 1, 0.5 and 0.25, where s is `solution` (0: none). *solved gets
 * factor 1 and step 0 if no factor lowers the divergence. */
static organ_status heal_final_choose(organ_layers_heal *h, double solution, organ_layers_solved *solved,
                                      organ_error *error)
{
    static const double steps[] = {1, 0.5, 0.25};
    *solved = (organ_layers_solved){
        .layer = -1, .kind = ORGAN_HEAL_FINAL, .times = 1, .before = h->divergence, .after = h->divergence};
    for (size_t k = 0; k < sizeof steps / sizeof *steps && solution > 0; k++) {
        const double times = 1 + steps[k] * (solution - 1);
        double divergence = 0;
        if (organ_layers_heal_judge_final(h, times, &divergence, error) != ORGAN_OK)
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

/* Some models store weight - offset, so the offset is added before the multiplication and subtracted after it. */
static organ_status heal_final_put(organ_layers_heal *h, const organ_layers_solved *solved, float *weights,
                                   organ_error *error)
{
    const organ_final_norm norm = organ_forward_final_norm(h->forward);
    const double factor = solved->times;
    const double offset = (double)norm.plus;
    for (uint64_t k = 0; k < norm.tensor->elements; k++)
        weights[k] = (float)(factor * (offset + (double)norm.weights[k]) - offset);
    return organ_cut_put_once(h->run, norm.tensor, 0, solved->step > 0 ? weights : NULL, error);
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
    float *const x = organ_floats(context, hidden), *const y = organ_floats(context, hidden);
    products sums = {0, 0};
    if (!x || !y)
        organ_fail_memory(error, h->options.model->path);
    for (size_t chunk = 0; chunk < organ_calibration_chunks_count(&h->chunks) && !error->status; chunk++)
        capture_chunk(h, chunk, x, y, &sums, error);
    if (!error->status) {
        const bool found = sums.xy > 0 && sums.yy > 0;
        if (heal_final_choose(h, found ? sums.xy / sums.yy : 0, known, error) == ORGAN_OK &&
            heal_final_put(h, known, x, error) == ORGAN_OK)
            h->solved[h->solved_count++] = *known;
    }
    free(x);
    free(y);
    organ_progress_advance(h->options.progress, 0, organ_layers_kind_name(ORGAN_HEAL_FINAL), NULL);
    return error->status;
}
