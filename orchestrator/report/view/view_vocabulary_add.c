/* SPDX-License-Identifier: MIT
 * The view of organ.vocabulary_add/1, the report of `organ vocabulary --add`. */
#include "orchestrator/report/view/view_parts.h"

static const organ_item add_highlights[] = {
    {NULL, "new tokens, from id {vocabulary.first} on", "{tokens:size}"},
    {"vocabulary.parts>0", "of them parts, which only other new tokens need", "{vocabulary.parts:count}"},
    {NULL, "rows, before: {vocabulary.rows_before:count}", "{vocabulary.rows:count}"},
};

static const organ_item add_facts[] = {
    {NULL, "tokenizer", "{vocabulary.kind}"},
    {NULL, "tokens", "{vocabulary.tokens_before:count} + {tokens:size}"},
    {NULL, "made by merges", "{vocabulary.added:count}, with {vocabulary.merges:count} new merge{vocabulary.merges:s}"},
    {"vocabulary.parts>0", "parts of these", "{vocabulary.parts:count}"},
    {NULL, "added tokens", "{vocabulary.special:count}"},
    {NULL, "rows", "{vocabulary.rows_before:count} before, {vocabulary.rows:count} now"},
};

static const organ_field new_tokens[] = {
    FIELD_COUNT("id", "id"), FIELD_TEXT("token", "text", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
    FIELD_TEXT("kind", "kind", 0), FIELD_WORDS("pieces", "{pieces:words}", ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)};
static const organ_field reused_tokens[] = {FIELD_COUNT("id", "id"),
                                            FIELD_TEXT("token", "text", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE)};
static const organ_field add_tables[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                         FIELD_TEXT("use", "use", 0), FIELD_COUNT("before", "rows_before"),
                                         FIELD_COUNT("rows", "rows")};
static const organ_field add_settings[] = {SETTING_FIELDS};

static const organ_block add_blocks[] = {
    LINES(NULL, MADE_WORDS("Added tokens to", "model") "\n\n"),
    HEADING("New tokens of {model.name}"),
    WARNINGS,
    HIGHLIGHTS(NULL, add_highlights),
    SECTION(ON_FILES, NULL, "Vocabulary"),
    ITEMS(ON_ALL, NULL, .name = "vocabulary", .value = "", ITEM_LIST(add_facts)),
    SECTION(ON_FILES, NULL, "New tokens"),
    TABLE(ON_ALL, NULL, "tokens", FIELDS(new_tokens), .max = 200, .what = "tokens",
          .caption = "Pieces: ids that the model's merges leave of the text"),
    SAY(ON_TERMINAL, NULL, "The row of a token is the mean of the rows of its pieces, in each tensor."),
    SECTION(ON_FILES, "reused", "Old tokens that new merges make"),
    TABLE(ON_FILES, "reused", "reused", FIELDS(reused_tokens), .max = 200, .what = "tokens"),
    SECTION(ON_FILES, NULL, "Tensors"),
    TABLE(ON_ALL, NULL, "tables", FIELDS(add_tables)),
    SECTION(ON_FILES, "settings", "Settings"),
    TABLE(ON_ALL, "settings", "settings", FIELDS(add_settings), .caption = "Changes of the configuration",
          .max = EVERY_TENSOR, .what = "settings"),
    PLAN,
    SAY(ON_TERMINAL, "!dry_run", TIME_WORDS(" of output")),
    LINES("!dry_run", "\nReport:  " REPORT_PLACE "VOCABULARY_ADD_REPORT.md (and .html)\n"),
    DEFINITIONS,
};

const organ_view organ_vocabulary_add_view = {.schema = "organ.vocabulary_add/1",
                                              .kind = "New tokens",
                                              .title = "{model.name}",
                                              .lead = "{tokens:size} new tokens.",
                                              .files = {"vocabulary_add.json", "VOCABULARY_ADD_REPORT.md", NULL},
                                              .made_by = "vocabulary",
                                              .method = "add",
                                              BLOCKS_OF(add_blocks)};
