/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/view_allocation.h"

#define COST(member) "{" member ":.3g}" /* nats per token */

static const organ_field tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                      FIELD_COUNT("layer", "layer"),
                                      FIELD_COUNT("weights", "elements"),
                                      FIELD_PERCENT("given", "sparsity"),
                                      FIELD_WORDS("KL", COST("cost"), 0),
                                      FIELD_WORDS("KL with equal shares", COST("uniform_cost"), 0),
                                      FIELD_WORDS("curve", "{between?from other layers|measured}", 0)};

const organ_block organ_allocation_blocks[ORGAN_ALLOCATION_BLOCKS] = {
    SECTION(ON_FILES, NULL, "Allocation by tensor"),
    SAY(ON_TERMINAL, "tensors",
        "Allocation: one budget of {budget} %; predicted cost " COST("cost") " nats per token, against " COST(
            "uniform_cost") "."),
    SAY(ON_TERMINAL, "!tensors",
        "Allocation: one budget of {budget} % over {tensors_in_all} tensors; {known?their curves are read from a "
        "file|{measured} curves would be measured}, on {tokens:count} tokens that are not used for calibration."),
    SAY(ON_FILES, "tensors",
        "One budget of {budget} % was divided over {tensors_in_all} tensors by the cost of pruning each alone: curves "
        "of {measured} of them were measured on {tokens:count} tokens in {windows} windows of {text.name} that are not "
        "used for calibration. The predicted cost of all of them is " COST(
            "cost") " nats per token; equal shares would cost " COST("uniform_cost") "."),
    SAY(ON_FILES, "!tensors", "One budget of {budget} % would be divided over {tensors_in_all} tensors."),
    SAY(ON_ALL, "exchanges",
        "Exchanges between pairs of tensors: {exchanges.taken} of {exchanges.tried} taken; with every matrix pruned "
        "individually, the model is {exchanges.before:.4g} nats per token from the donor before the exchanges and "
        "{exchanges.after:.4g} after."),
    MAP("tensors", "tensors",
        .style = {.title = "Allocation by layer and projection",
                  .description = "A field of cells, one for each projection in each layer, with the percentage of its "
                                 "weights to set to zero. The table below has the same numbers.",
                  .row_label = "projection",
                  .value_label = "allocated sparsity, percent"},
        .role = "role", .value = "sparsity", .weight = "elements", .layers = true,
        .caption = "Tensors in which zeros cost more get fewer of them; all together meet the budget."),
    TABLE(ON_FILES, "tensors", "tensors", FIELDS(tensors),
          .caption = "Nats per token, by the curve of each tensor alone", .max = 1000, .what = "tensors")};
