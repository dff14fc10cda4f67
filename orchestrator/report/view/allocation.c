/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/allocation.h"

#define COST(member) "{" member ":.3g}"

static const organ_field tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                      FIELD_COUNT("layer", "layer"),
                                      FIELD_COUNT("weights", "elements"),
                                      FIELD_PERCENT("given", "sparsity"),
                                      FIELD_WORDS("KL", COST("cost"), 0),
                                      FIELD_WORDS("KL with the same for each", COST("uniform_cost"), 0),
                                      FIELD_WORDS("curve", "{between?of other layers|measured}", 0)};

const organ_block organ_allocation_blocks[ORGAN_ALLOCATION_BLOCKS] = {
    SECTION(ON_FILES, NULL, "What each tensor got"),
    SAY(ON_TERMINAL, "tensors",
        "Allocation: one budget of {budget} %; by the curves " COST(
            "cost") " nats a token, where the same for each tensor costs " COST("uniform_cost") "."),
    SAY(ON_TERMINAL, "!tensors",
        "Allocation: one budget of {budget} % over {tensors_in_all} tensors; {known?their curves are read|{measured} "
        "curves would be "
        "measured}, on {tokens:count} tokens that calibrate no curve."),
    SAY(ON_FILES, "tensors",
        "One budget of {budget} % was divided over {tensors_in_all} tensors by what each costs alone: curves of "
        "{measured} of them were "
        "measured on {tokens:count} tokens in {windows} windows of {text.name} that calibrate no curve. By the curves "
        "all of them "
        "cost " COST("cost") " nats a token; the same for each tensor would cost " COST("uniform_cost") "."),
    SAY(ON_FILES, "!tensors", "One budget of {budget} % would be divided over {tensors_in_all} tensors."),
    SAY(ON_ALL, "exchanges",
        "Exchanges between pairs of tensors: {exchanges.taken} of {exchanges.tried} taken; all matrices pruned by "
        "themselves are "
        "{exchanges.before:.4g} nats a token from the donor before, {exchanges.after:.4g} after."),
    MAP("tensors", "tensors",
        .style = {.title = "What each projection of each layer got",
                  .description = "A field of cells, one for each projection in each layer, with the percentage of its "
                                 "weights that it was "
                                 "given to lose. The table below has the same numbers.",
                  .row_label = "projection",
                  .value_label = "sparsity given, percent"},
        .role = "role", .value = "sparsity", .weight = "elements", .layers = true,
        .caption = "Few zeros where they cost much, many where they cost little; together they are the budget."),
    TABLE(ON_FILES, "tensors", "tensors", FIELDS(tensors), .caption = "Nats a token by the curve of each tensor alone",
          .max = 1000, .what = "tensors")};
