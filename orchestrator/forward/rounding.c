/* SPDX-License-Identifier: MIT
 * The rules by which products (products.c) round the inputs of linear layers, from the model's configuration. */
#include "orchestrator/forward/forward_parts.h"

#include "formats/base/arena.h"
#include "formats/base/owned.h"
#include "formats/base/results.h"
#include "orchestrator/machine/quantity.h"

#define E4M3_MAX      448.0f
#define E2M1_MAX      6.0f
#define E4M3_EXPONENT 8
#define E2M1_EXPONENT 2

/* ---- rules ---- */

static organ_rounding_scale scale_of(const organ_input_rounding *inputs)
{
    static const organ_rounding_scale of_groups[] = {[ORGAN_INPUT_SCALES_REAL] = ORGAN_ROUNDING_REAL,
                                                     [ORGAN_INPUT_SCALES_E8M0] = ORGAN_ROUNDING_E8M0,
                                                     [ORGAN_INPUT_SCALES_UE8M0] = ORGAN_ROUNDING_UE8M0,
                                                     [ORGAN_INPUT_SCALES_E4M3] = ORGAN_ROUNDING_E4M3};
    return inputs->span == ORGAN_INPUTS_TENSOR ? ORGAN_ROUNDING_STORED : of_groups[inputs->scales];
}

/* An integer's scale is that of 2^bits - 1 steps between -top and top [compressed-tensors]. */
static organ_rounding rule_of(const organ_input_rounding *inputs, const organ_input_numbers *numbers)
{
    const bool e4m3 = inputs->codes == ORGAN_INPUTS_E4M3, floats = e4m3 || inputs->codes == ORGAN_INPUTS_E2M1;
    const float half = inputs->codes == ORGAN_INPUTS_INT4 ? 8 : 128, largest = e4m3 ? E4M3_MAX : E2M1_MAX;
    return (organ_rounding){.from = scale_of(inputs),
                            .group = (size_t)inputs->group,
                            .low = floats ? -largest : -half,
                            .high = floats ? largest : half - 1,
                            .peak = floats ? largest : half - 0.5f,
                            .scale = numbers->scale,
                            .zero = numbers->zero,
                            .factor = numbers->factor,
                            .limit = (float)inputs->limit,
                            .below = e4m3 ? E4M3_EXPONENT : E2M1_EXPONENT,
                            .asymmetric = !inputs->symmetric};
}

static const organ_rotation *of_inputs(const organ_rotation *rotation);

organ_status organ_forward_rounding_of(const organ_forward *f, const organ_weight *weight, forward_rounding *rounding,
                                       organ_error *error)
{
    const organ_kernels *const kernels = f->engine->kernels;
    organ_input_numbers numbers;
    *rounding = (forward_rounding){.round = NULL};
    if (!weight->inputs || organ_input_numbers_read(f->model, weight, &numbers, error))
        return error->status;
    rounding->rule = rule_of(weight->inputs, &numbers);
    rounding->rotation = of_inputs(weight->rotation);
    rounding->round = kernels->round_integers;
    if (weight->inputs->codes == ORGAN_INPUTS_E4M3)
        rounding->round = kernels->round_e4m3;
    else if (weight->inputs->codes == ORGAN_INPUTS_E2M1)
        rounding->round = kernels->round_e2m1;
    return ORGAN_OK;
}

/* ---- rotations of inputs ---- */

static const organ_rotation *of_inputs(const organ_rotation *rotation)
{
    while (rotation && !rotation->inputs)
        rotation = rotation->from->rotation;
    return rotation;
}

static const organ_rotation *next_of_inputs(const organ_rotation *rotation)
{
    return of_inputs(rotation->from->rotation);
}

static bool has_same_matrix(const organ_rotation *a, const organ_rotation *b)
{
    return a->matrix == b->matrix && a->order == b->order && a->size == b->size && a->factor == b->factor;
}

bool organ_forward_is_same_turn(const organ_rotation *a, const organ_rotation *b)
{
    while (a && b && has_same_matrix(a, b) && a->transposed == b->transposed) {
        a = next_of_inputs(a);
        b = next_of_inputs(b);
    }
    return !a && !b;
}

static const organ_turn *turn_of(const forward_rounded *r, const organ_rotation *rotation)
{
    for (size_t k = 0; k < r->turn_count; k++)
        if (has_same_matrix(r->turns[k].rotation, rotation))
            return r->turns[k].turn;
    return NULL;
}

organ_status organ_forward_add_turns(organ_forward *f, const organ_weight *weight, organ_error *error)
{
    forward_rounded *const r = f->rounded;
    for (const organ_rotation *at = of_inputs(weight->rotation); at && !error->status; at = next_of_inputs(at)) {
        if (turn_of(r, at))
            continue;
        if (!organ_grow(&r->turns, r->turn_count, &r->turn_room, sizeof *r->turns))
            return organ_fail_memory(error, weight->name);
        r->turns[r->turn_count] = (forward_turn){.rotation = at};
        if (organ_turn_open(f->model, at, &r->turns[r->turn_count].turn, error) == ORGAN_OK)
            r->turn_count++;
        if (!error->status && !(at->orthogonal && organ_turn_is_held(turn_of(r, at))))
            organ_fail(error, ORGAN_BAD_INPUT,
                       "tensor '%s': its inputs are rounded after a rotation by a matrix that is no Hadamard matrix, "
                       "which organ does not compute: use `activations` off",
                       weight->name);
    }
    return error->status;
}

static const organ_rotation *last_of(const organ_rotation *first, const organ_rotation *before)
{
    const organ_rotation *at = first;
    while (at != before && next_of_inputs(at) != before)
        at = next_of_inputs(at);
    return at;
}

/* The outermost rotation of the weight is the first of its inputs. All matrices are in memory, so nothing fails. */
void organ_forward_round_row(const forward_rounded *rounded, const forward_rounding *rounding, const float *x, float *y,
                             size_t n, double *line)
{
    organ_error none = {0};
    double *const spare = line + organ_forward_line(rounded) / 2;
    const organ_rotation *const first = rounding->rotation;
    for (size_t k = 0; k < n; k++)
        line[k] = x[k];
    for (const organ_rotation *at = first; at; at = next_of_inputs(at))
        organ_turn_rows(turn_of(rounded, at), !at->transposed, line, 1, n, spare, &none);
    for (size_t k = 0; k < n; k++)
        y[k] = (float)line[k];
    rounding->round(&rounding->rule, y, y, n);
    for (size_t k = 0; k < n; k++)
        line[k] = y[k];
    for (const organ_rotation *at = last_of(first, NULL), *done = NULL; at && at != done;) {
        organ_turn_rows(turn_of(rounded, at), at->transposed, line, 1, n, spare, &none);
        done = at;
        at = at == first ? NULL : last_of(first, done);
    }
    for (size_t k = 0; k < n; k++)
        y[k] = (float)line[k];
}

void organ_forward_rounded_release(forward_rounded *rounded)
{
    if (!rounded)
        return;
    for (size_t k = 0; k < rounded->turn_count; k++)
        organ_turn_close(rounded->turns[k].turn);
    organ_forward_free(rounded->floats);
    ORGAN_FREE_ARRAYS(rounded->turns, rounded->line, rounded);
}
