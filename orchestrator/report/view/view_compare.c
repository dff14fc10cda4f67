/* SPDX-License-Identifier: MIT
 * The view of organ.compare/1, the report of `organ compare`. */
#include "orchestrator/report/view/view_parts.h"

enum {
    MAX_ROWS = 500, /* rows of a table of tensors or layers in a file */
    MAX_LAYERS = 12 /* on the terminal */
};

static const organ_item compare_highlights[] = {
    {"models=2&pairs.0.distance>-1", "relative distance of the weights", "{pairs.0.distance:.4g}"},
    {NULL, "clashes of a merge", "{clashes:size}"},
    {NULL, "base", "{lineage.base?{lineage.base}|not known}"},
    {NULL, "models", "{models:size}"}};

static const organ_field compare_models[] = {
    FIELD_TEXT("", "label", 0),
    FIELD_TEXT("model", "model.name", ORGAN_FIELD_SHORTENS),
    FIELD_TEXT("format", "model.format", 0),
    FIELD_COUNT("tensors", "weights"),
    FIELD_COUNT("values", "values"),
    FIELD_BYTES("size", "model.bytes"),
    FIELD_WORDS("", "{base?base}{quantised?{base?, }quantised}", ORGAN_FIELD_LEFT)};

#define FIGURES                                                                                                        \
    FIELD_MAYBE_GENERAL("distance", "distance", 4), FIELD_MAYBE_FIXED("cosine", "cosine", 6),                          \
        FIELD_MAYBE_SHARE("equal signs", "same_signs"), FIELD_MAYBE_SHARE("equal values", "equal")

static const organ_field compare_pairs[] = {FIELD_TEXT("pair", "pair", 0), FIELD_COUNT("tensors", "tensors"), FIGURES,
                                            FIELD_WORDS("one base", "{related?yes|no}", ORGAN_FIELD_LEFT)};
static const organ_field compare_roles[] = {FIELD_TEXT("role", "role", ORGAN_FIELD_SHORTENS),
                                            FIELD_COUNT("tensors", "tensors"), FIELD_COUNT("values", "values"),
                                            FIGURES};
static const organ_field compare_differences[] = {FIELD_TEXT("differences of", "pair", 0),
                                                  FIELD_MAYBE_FIXED("cosine", "cosine", 6),
                                                  FIELD_MAYBE_SHARE("equal signs", "same_signs")};
static const organ_field compare_nearest[] = {FIELD_TEXT("model", "model", 0),
                                              FIELD_TEXT("nearest", "nearest", 0),
                                              FIELD_GENERAL("distance", "distance", 4),
                                              FIELD_WORDS("next", "{next?{next}|-}", ORGAN_FIELD_LEFT),
                                              FIELD_MAYBE_GENERAL("distance", "next_distance", 4),
                                              FIELD_MAYBE_FIXED("position", "position", 4)};
static const organ_field compare_clashes[] = {FIELD_TEXT("merge", "what", 0),
                                              FIELD_TEXT("values", "values", ORGAN_FIELD_SHORTENS)};
static const organ_field compare_shapes[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE),
                                             FIELD_TEXT("shapes", "shapes", 0)};
static const organ_field compare_only[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_CODE),
                                           FIELD_TEXT("shape", "shape", 0), FIELD_TEXT("only in", "models", 0)};
static const organ_field compare_words[] = {
    FIELD_TEXT("pair", "pair", 0), FIELD_COUNT("tokens", "tokens"), FIELD_COUNT("tokens", "other_tokens"),
    FIELD_COUNT("different", "different"),
    FIELD_WORDS("first", "{different?{first}: '{token}' and '{other_token}'|{same_rules?|other rules}}",
                ORGAN_FIELD_LEFT)};
static const organ_field compare_routers[] = {FIELD_LAYER,
                                              FIELD_TEXT("pair", "pair", 0),
                                              FIELD_COUNT("experts", "experts"),
                                              FIELD_COUNT("reordered", "moved"),
                                              FIELD_FIXED("cosine", "cosine", 6),
                                              FIELD_FIXED("in order", "cosine_in_order", 6)};

static const organ_field compare_patches[] = {FIELD_TEXT("patch", "pair", 0),
                                              FIELD_COUNT("equal tensors", "same"),
                                              FIELD_COUNT("changed", "changed"),
                                              FIELD_COUNT("whole", "whole"),
                                              FIELD_BYTES("changed bytes", "changed_bytes"),
                                              FIELD_BYTES("patch", "patch_bytes"),
                                              FIELD_PERCENT("of model", "patch_percent")};

#define POSITION "Position: on the line from the nearest relative (0) to the next one (1)."

static const organ_block compare_pair[] = {
    TABLE(ON_ALL, NULL, "roles", FIELDS(compare_roles), .caption = "{pair}, by role"),
    MAP("cells", "cells",
        .style = {.title = "Distance of {pair}",
                  .description = "Relative distance of the weights of each role in each layer.",
                  .value_label = "distance, percent"},
        .role = "role", .value = "distance", .weight = "values", .factor = 100, .zero = true, .varies = true,
        .caption = "Distance relative to the norms of both models. The column \"none\" has the tensors outside the "
                   "layers.")};
static const organ_block compare_change[] = {
    MAP("cells", "cells",
        .style = {.title = "Cosine of the differences of {pair} from {/lineage.base}",
                  .description = "Cosine of the changes of two models for each role in each layer.",
                  .value_label = "cosine",
                  .low = -1,
                  .high = 1,
                  .diverging = true},
        .role = "role", .value = "cosine", .mean = true, .varies = true,
        .caption = "1: the same direction, 0: independent changes, -1: opposite changes.")};
static const organ_block compare_note[] = {SAY(ON_TERMINAL | ON_PAGE, NULL, "{.}"), ITEM(ON_MARKDOWN, NULL, "{.}")};

static const organ_block compare_blocks[] = {
    HEADING("Comparison of {models:size} models"),
    WARNINGS,
    HIGHLIGHTS(NULL, compare_highlights),
    TABLE(ON_ALL, NULL, "models", FIELDS(compare_models)),
    SAY(ON_ALL, NULL, "{lineage.says}"),
    TABLE(ON_ALL, NULL, "pairs", FIELDS(compare_pairs), .caption = "Pairs of models, over all matrices"),
    SAY(ON_ALL, "routers.*.moved",
        "Figures are of matched experts: {routers:sum.moved:count} of {routers:sum.experts:count} have another number "
        "in the other model."),
    TABLE_WHERE(ON_TERMINAL, "routers.*.moved", "routers", "moved", FIELDS(compare_routers), .max = MAX_LAYERS,
                .what = "layers"),
    TABLE(ON_ALL, "differences", "differences", FIELDS(compare_differences),
          .caption = "Differences from {lineage.base}"),
    TABLE(ON_ALL, "nearest&models>2", "nearest", FIELDS(compare_nearest), .caption = POSITION),
    TABLE(ON_ALL, "patches", "patches", FIELDS(compare_patches),
          .caption = "Patches from the first model of each pair to the second (organ patch extract)"),
    SECTION(ON_FILES, NULL, "Layers and roles"),
    EACH(ON_FILES, "pairs", BLOCKS_OF(compare_pair)),
    EACH_IF(ON_TERMINAL, "models=2", "pairs", BLOCKS_OF(compare_pair)),
    EACH(ON_PAGE, "differences", BLOCKS_OF(compare_change)),
    SECTION(ON_FILES, "clashes|shapes|only", "What a merge clashes on"),
    TABLE(ON_ALL, "clashes", "clashes", FIELDS(compare_clashes)),
    SAY(ON_TERMINAL, "shapes", "Other shapes: {shapes:size} tensors, the first is {shapes.0.tensor}."),
    TABLE(ON_FILES, "shapes", "shapes", FIELDS(compare_shapes), .max = MAX_ROWS, .what = "tensors"),
    SAY(ON_TERMINAL, "only",
        "Not in all models: {only:size} tensors, the first is {only.0.tensor} in {only.0.models}."),
    TABLE(ON_FILES, "only", "only", FIELDS(compare_only), .max = MAX_ROWS, .what = "tensors"),
    SECTION(ON_FILES, "vocabularies", "Vocabularies"),
    SAY(ON_TERMINAL, "vocabularies&!vocabularies.*.different", "The vocabularies are equal, token by token."),
    TABLE_WHERE(ON_TERMINAL, "vocabularies.*.different", "vocabularies", "different", FIELDS(compare_words)),
    TABLE(ON_FILES, "vocabularies", "vocabularies", FIELDS(compare_words)),
    SECTION(ON_FILES, "routers", "Experts"),
    SAY(ON_TERMINAL, "routers&!routers.*.moved",
        "Experts: the {routers:sum.experts:count} experts have the same order."),
    TABLE(ON_FILES, "routers", "routers", FIELDS(compare_routers), .max = MAX_ROWS, .what = "layers"),
    SAY(ON_ALL, "skipped", "Left out: {skipped:count} elements that are not finite in one of the models."),
    EACH(ON_ALL, "notes", BLOCKS_OF(compare_note)),
};

const organ_view organ_compare_view = {.schema = "organ.compare/1",
                                       .kind = "comparison",
                                       .title = "{models.0.model.name} and {models:-1} more",
                                       BLOCKS_OF(compare_blocks)};
