/* SPDX-License-Identifier: MIT
 * Files of measurements that a later run reads: curves of an allocation (first byte 'a'), scores of experts with losses
 * ('l') or without (any other byte). */
#include "orchestrator/surgery/allocate/allocate.h"
#include "orchestrator/verbs/shrink/experts_parts.h"
#include "tests/fuzz/targets.h"

#include <math.h>

enum { LEVELS = 3, TENSORS = 3, LAYERS = 3, EXPERTS = 4, LEAST = 2 };

/* As fuzz_check_verdict; a file of another run is a usage error. */
static void check_measured(organ_status status, const organ_error *error)
{
    if (status != ORGAN_USAGE)
        fuzz_check_verdict(status, error);
    fuzz_require(status == error->status, "the status returned is that of the error");
}

static void divide_curves(organ_allocation *allocation)
{
    const double sizes[TENSORS * (LEVELS + 1)] = {1, 2, 3, 9, 2, 4, 6, 18, 3, 6, 9, 27};
    size_t chosen[TENSORS], uniform;
    bool copied;
    for (size_t k = 0; k < TENSORS; k++)
        for (size_t l = 0; l < LEVELS; l++)
            fuzz_require(isfinite(allocation->tensors[k].cost[l]) && allocation->tensors[k].cost[l] >= 0,
                         "a cost is a number of at least 0");
    fuzz_require(organ_allocation_divide(allocation, 0.5, 1), "there is memory");
    for (size_t k = 0; k < TENSORS; k++)
        fuzz_require(allocation->tensors[k].sparsity >= 0 && allocation->tensors[k].sparsity <= 1,
                     "a share is from 0 to 1");
    const double used = organ_allocation_choose(allocation, sizes, 13, chosen, &uniform, &copied);
    fuzz_require(used > 0 && used <= 13, "a choice stays within its budget");
}

static void read_curves(const json_t *identity)
{
    static const double levels[LEVELS] = {0.25, 0.5, 0.75};
    organ_allocation_tensor tensors[TENSORS] = {{.name = (char *)"a", .role = "q_proj", .elements = 100},
                                                {.name = (char *)"b.*", .role = "up_proj", .elements = 200, .layer = 1},
                                                {.name = (char *)"c", .role = "embed", .elements = 300, .layer = -1}};
    organ_allocation allocation = {.levels = levels, .level_count = LEVELS, .count = TENSORS, .tensors = tensors};
    organ_error error = {0};
    bool whole = false;
    const organ_status status = organ_allocation_read(&allocation, identity, fuzz_file_path(), &whole, &error);
    check_measured(status, &error);
    for (size_t k = 0; k < TENSORS; k++)
        fuzz_require(!tensors[k].known || status == ORGAN_OK, "no curve is known after an error");
    if (status == ORGAN_OK && whole)
        divide_curves(&allocation);
}

static void choose_experts(const organ_expert_scores *scores)
{
    uint32_t kept[EXPERTS], keep[LAYERS];
    for (size_t l = 0; l < LAYERS; l++) {
        if (scores->of[l].dense)
            continue;
        for (organ_expert_score s = 0; s <= ORGAN_EXPERT_LOSS; s++) {
            if (s == ORGAN_EXPERT_LOSS && !scores->with_loss)
                continue;
            organ_expert_scores_choose(scores, l, s, 3, kept);
            fuzz_require(kept[0] < kept[1] && kept[1] < kept[2] && kept[2] < EXPERTS, "kept experts ascend");
        }
    }
    if (!scores->with_loss)
        return;
    organ_expert_scores_divide(scores, 6, keep);
    fuzz_require(keep[0] + keep[1] + keep[2] == 6, "a division keeps as many as it may");
}

static void read_scores(const json_t *identity, bool with_loss)
{
    static uint64_t frequency[LAYERS][EXPERTS];
    static double numbers[LAYERS][3][EXPERTS];
    static uint32_t removed[LAYERS][EXPERTS];
    organ_expert_layer of[LAYERS];
    for (size_t l = 0; l < LAYERS; l++)
        of[l] = (organ_expert_layer){.frequency = frequency[l],
                                     .sum = numbers[l][0],
                                     .reap = numbers[l][1],
                                     .loss = numbers[l][2],
                                     .removed = removed[l],
                                     .known = l == 0,
                                     .dense = l == 0};
    organ_expert_scores scores = {.layers = LAYERS,
                                  .experts = EXPERTS,
                                  .used = LEAST,
                                  .least = LEAST,
                                  .groups = 1,
                                  .with_loss = with_loss,
                                  .of = of};
    organ_error error = {0};
    bool whole = false;
    const organ_status status =
        organ_expert_scores_read(&scores, identity, fuzz_file_path(), "measure again", &whole, &error);
    check_measured(status, &error);
    if (status == ORGAN_OK && whole)
        choose_experts(&scores);
    json_decref(scores.calibration);
}

void fuzz_measurements(const uint8_t *data, size_t size)
{
    json_t *const identity = json_pack("{s:s, s:i}", "model", "m", "samples", 8);
    const uint8_t kind = size ? data[0] : 0;
    fuzz_require(identity != NULL, "there is memory");
    fuzz_file(NULL, 0, data + (size > 0), size - (size > 0), 0);
    if (kind == 'a')
        read_curves(identity);
    else
        read_scores(identity, kind == 'l');
    json_decref(identity);
}
