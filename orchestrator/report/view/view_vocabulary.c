/* SPDX-License-Identifier: MIT
 * The views of organ.vocabulary/1, organ.labels/1, organ.draft_head/1 and organ.adapter_rows/1, the reports of `organ
 * vocabulary`. */
#include "orchestrator/report/view/view_parts.h"

static const organ_item vocabulary_highlights[] = {
    {NULL, "of {vocabulary.rows:count} rows are needed", "{needs.tokens:count}"},
    {NULL, "of the model's tensors have a row for each token", "{totals.percent:percent}"},
    {"vocabulary.padding", "rows without a token", "{vocabulary.padding:count}"},
};

static const organ_item vocabulary_facts[] = {
    {NULL, "tokenizer", "{vocabulary.kind}, {vocabulary.tokens:count} tokens, {vocabulary.merges:count} merges"},
    {NULL, "rows", "{vocabulary.rows:count}{vocabulary.padding?, {vocabulary.padding:count} of them without a token}"},
    {"vocabulary.without_row", "ids without a row", "{vocabulary.without_row:count}"},
    {"vocabulary.lacking_bytes", "bytes that no token writes",
     "{vocabulary.lacking_bytes:size}: {vocabulary.lacking_bytes:words}"},
    {NULL, "tokens of the texts", "{needs.texts:count}"},
    {"needs.template", "of the chat template", "{needs.template:count} more"},
    {NULL, "parts of merges", "{needs.parts:count} more"},
    {NULL, "bytes and characters", "{needs.bytes:count} more"},
    {NULL, "added tokens", "{needs.added:count} more"},
    {NULL, "needed", "{needs.tokens:count} tokens, {needs.merges:count} merges"},
};

static const organ_field texts[] = {FIELD_TEXT("text", "name", ORGAN_FIELD_SHORTENS), FIELD_BYTES("size", "bytes"),
                                    FIELD_COUNT("tokens", "tokens"), FIELD_COUNT("different", "distinct")};
#define GROUP_FIELDS                                                                                                   \
    FIELD_COUNT("tokens", "tokens"), FIELD_COUNT("used", "used"), FIELD_COUNT("kept", "kept"),                         \
        FIELD_PERCENT("of the texts", "percent")
static const organ_field kinds[] = {FIELD_TEXT("kind", "kind", 0), GROUP_FIELDS};
static const organ_field scripts[] = {FIELD_TEXT("script", "script", 0), GROUP_FIELDS};
static const organ_field tables[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                     FIELD_TEXT("use", "use", ORGAN_FIELD_MAYBE),
                                     FIELD_TEXT("stored as", "stored", ORGAN_FIELD_MAYBE),
                                     FIELD_FORM("rows", "rows", "count", ORGAN_FIELD_MAYBE),
                                     FIELD_BYTES("size", "bytes"),
                                     FIELD_PERCENT("of model", "percent")};
static const organ_field policies[] = {FIELD_WORDS("kept", "{policy}{chosen? *}", ORGAN_FIELD_LEFT),
                                       FIELD_COUNT("rows", "rows"),
                                       FIELD_WORDS("saved", "{saved:bytes}", 0),
                                       FIELD_PERCENT("of model", "saved_percent"),
                                       FIELD_WORDS_IF("evaluated", "tokens", "{text_tokens:count}", 0),
                                       FIELD_WORDS_IF("evaluated", "more", "{more_percent:percent}", 0),
                                       FIELD_IF("evaluated.scored", "dropped", "dropped", "share", 0),
                                       FIELD_IF("evaluated.scored", "at most", "dropped_most", "share", 0)};

static const organ_field vocabulary_settings[] = {SETTING_FIELDS};

#define POLICIES                                                                                                       \
    "Kept: besides the needs of the texts; *: by the options. Saved: bytes of tensors with a row for each "            \
    "token{evaluated?. Tokens of {evaluated.name} with the kept ones, and how many more than the "                     \
    "{evaluated.tokens:count} of the whole vocabulary}{evaluated.scored?. Dropped: mean and largest probability of "   \
    "all tokens that go}"

static const organ_block vocabulary_blocks[] = {
    LINES(NULL, "{model.name}: {needs.tokens:count} of {vocabulary.rows:count} rows are needed\n\n"),
    LINES("output&run.output", MADE_WORDS("Trimmed", "model") "\n\n"),
    HEADING("Vocabulary of {model.name}"),
    WARNINGS,
    SAY(ON_ALL, "output",
        "{vocabulary.rows:count} rows {dry_run?would become|became} {output.rows:count}, and the tensors "
        "{output.bytes:bytes}."),
    HIGHLIGHTS(NULL, vocabulary_highlights),
    SECTION(ON_PAGE, NULL, "Texts"),
    TABLE(ON_ALL, NULL, "texts", FIELDS(texts)),
    SECTION(ON_FILES, NULL, "Vocabulary"),
    ITEMS(ON_ALL, NULL, .name = "vocabulary", .value = "", ITEM_LIST(vocabulary_facts)),
    SECTION(ON_FILES, NULL, "Policies"),
    BARS(NULL, "policies",
         .style = {.title = "Tensors with a row for each token",
                   .description = "A bar for each policy: the size of the tensors with a row for each token.",
                   .value_label = "size"},
         .name = "policy", .values = {"bytes"}, .bytes = true, .remark = "{rows:count} rows",
         .caption = "The whole vocabulary needs {totals.bytes:bytes}."),
    TABLE(ON_ALL, NULL, "policies", FIELDS(policies), .caption = POLICIES),
    BARS("evaluated", "policies",
         .style = {.title = "Tokens of the second text",
                   .description = "A bar for each policy: percentage of tokens that the second text has more.",
                   .value_label = "more tokens, %",
                   .digits = 2},
         .name = "policy", .values = {"more_percent"}, .caption = "Compared with the whole vocabulary."),
    SAY(ON_TERMINAL, NULL, POLICIES "."),
    SECTION(ON_FILES, NULL, "Tokens by kind"),
    TABLE(ON_ALL, NULL, "kinds", FIELDS(kinds), .caption = "Kept: by the policy of the options."),
    SECTION(ON_FILES, NULL, "Tokens by script"),
    TABLE(ON_ALL, NULL, "scripts", FIELDS(scripts), .caption = "The script is that of a token's first letter."),
    SECTION(ON_FILES, NULL, "Tensors"),
    TABLE(ON_ALL, NULL, "tables", FIELDS(tables), .total = "all", .total_row = "totals"),
    SECTION(ON_FILES, "settings", "Settings"),
    TABLE(ON_ALL, "settings", "settings", FIELDS(vocabulary_settings), .caption = "Changes of the configuration",
          .max = EVERY_TENSOR, .what = "settings"),
    PLAN,
    SAY(ON_TERMINAL, "output&!dry_run", TIME_WORDS(" of output")),
    LINES("output&!dry_run", "\nReport:  " REPORT_PLACE "VOCABULARY_REPORT.md (and .html)\n"),
    DEFINITIONS,
};

const organ_view organ_vocabulary_view = {.schema = "organ.vocabulary/1",
                                          .kind = "Vocabulary",
                                          .title = "{model.name}",
                                          .lead = "{needs.tokens:count} of {vocabulary.rows:count} rows are needed.",
                                          .files = {"vocabulary.json", "VOCABULARY_REPORT.md", NULL},
                                          .made_by = "vocabulary",
                                          .method = "vocabulary",
                                          BLOCKS_OF(vocabulary_blocks)};

/* ---- organ.labels/1: `organ vocabulary --labels` ---- */

static const organ_item label_highlights[] = {
    {NULL, "labels, each scored by the row of its token", "{labels:size}"},
    {"head.removed", "is left out: nothing reads the rows of other tokens", "{head.removed}"},
};

static const organ_field labels[] = {FIELD_COUNT("row", "row"), FIELD_TEXT("label", "label", 0),
                                     FIELD_COUNT("token", "id"),
                                     FIELD_TEXT("text of the token", "token", ORGAN_FIELD_CODE)};

#define LABEL_ROWS                                                                                                     \
    "{head.name:code} has rows of {head.rows_of:code}, byte for byte ({head.stored}){head.removed?, which the output " \
    "lacks}."

static const organ_block label_blocks[] = {
    MADE_BEGIN("Classifier of", "", "Labels", label_highlights),
    TABLE(ON_ALL, NULL, "labels", FIELDS(labels), .caption = "Labels, in the order of the rows"),
    SAY(ON_ALL, NULL, LABEL_ROWS),
    SAY(ON_ALL, "!gguf",
        "Class in transformers: {architecture}. Token that fills shorter texts of a batch: {pad.id} ({pad.from})."),
    SAY(ON_ALL, "gguf&!parameters.rerank_template",
        "No template for reranking was given: llama.cpp's server joins query and document by its default."),
    SECTION(ON_FILES, "settings", "Settings"),
    TABLE(ON_FILES, "settings", "settings", FIELDS(vocabulary_settings), .caption = "Changes of the configuration",
          .max = EVERY_TENSOR, .what = "settings"),
    MADE_ENDING(" of output", "LABELS_REPORT.md"),
};

const organ_view organ_labels_view = {.schema = "organ.labels/1",
                                      .kind = "Labels",
                                      .title = "{model.name}",
                                      .lead = "{labels:size} labels, each scored by the row of its token.",
                                      .files = {"labels.json", "LABELS_REPORT.md", NULL},
                                      .made_by = "vocabulary",
                                      .method = "labels",
                                      BLOCKS_OF(label_blocks)};

/* ---- organ.draft_head/1: `organ vocabulary --draft-head` ---- */

static const organ_item draft_highlights[] = {
    {"evaluated", "of the tokens of {evaluated.name} can be drafted", "{evaluated.percent:percent}"},
    {NULL, "of {rows_before:count} rows", "{rows:count}"},
};

static const organ_field draft_texts[] = {FIELD_TEXT("text", "name", ORGAN_FIELD_SHORTENS),
                                          FIELD_BYTES("size", "bytes"),
                                          FIELD_COUNT("tokens", "tokens"),
                                          FIELD_COUNT("different", "distinct"),
                                          FIELD_COUNT("covered", "covered"),
                                          FIELD_PERCENT("share", "percent")};

#define COVERED                                                                                                        \
    "{evaluated?Of the {evaluated.tokens:count} tokens of {evaluated.name}, {evaluated.percent:percent} are among "    \
    "the "                                                                                                             \
    "kept ones: the others are never drafted.|No second text was given (--evaluate): the share of a new text is "      \
    "smaller.}"

static const organ_block draft_blocks[] = {
    MADE_BEGIN("Draft head of", "", "Draft head", draft_highlights),
    SAY(ON_ALL, NULL,
        "{rows_before:count} rows {dry_run?would become|became} {rows:count}; the texts have {used:count} of these "
        "tokens{head?. {head.name}: {head.bytes_before:bytes}, now {head.bytes:bytes}}."),
    TABLE(ON_ALL, NULL, "texts", FIELDS(draft_texts), .caption = "Tokens of the texts, and how many of them are kept"),
    SAY(ON_ALL, NULL, COVERED),
    SECTION(ON_FILES, "settings", "Settings"),
    TABLE(ON_FILES, "settings", "settings", FIELDS(vocabulary_settings), .caption = "Changes of the configuration",
          .max = EVERY_TENSOR, .what = "settings"),
    PLAN,
    EVALUATION_ON(ON_TEXT),
    GAP("!dry_run"),
    SAY(ON_TERMINAL, "!dry_run&head", TIME_WORDS(" of output")),
    SAY(ON_TERMINAL, "!dry_run&!head", "Time: {run.seconds:time}."),
    LINES("!dry_run&head", "\nReport:  " REPORT_PLACE "DRAFT_HEAD_REPORT.md (and .html)\n"),
    DEFINITIONS,
};

const organ_view organ_draft_head_view = {.schema = "organ.draft_head/1",
                                          .kind = "Draft head",
                                          .title = "{model.name}",
                                          .lead = "{rows_before:count} rows, then {rows:count}.",
                                          .files = {"draft_head.json", "DRAFT_HEAD_REPORT.md", NULL},
                                          .made_by = "vocabulary",
                                          .method = "draft head",
                                          BLOCKS_OF(draft_blocks)};

/* ---- organ.adapter_rows/1: `organ vocabulary ADAPTER --tokens` ---- */

static const organ_item adapter_highlights[] = {
    {NULL, "of {rows_before:count} rows", "{rows:count}"},
    {NULL, "tensors with rows of tokens", "{tensors:size}"},
};

static const organ_field adapter_tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                              FIELD_TEXT("changes", "use", 0),
                                              FIELD_COUNT("before", "rows_before"),
                                              FIELD_COUNT("rows", "rows"),
                                              FIELD_BYTES("size before", "bytes_before"),
                                              FIELD_BYTES("size", "bytes")};

static const organ_block adapter_blocks[] = {
    LINES(NULL, "{dry_run?Dry run, nothing was written: |}Trimmed {adapter.name}\n{dry_run?would go into |into }"
                "{run.output}\n\n"),
    HEADING("Adapter {adapter.name} for fewer tokens"),
    WARNINGS,
    HIGHLIGHTS(NULL, adapter_highlights),
    TABLE(ON_ALL, NULL, "tensors", FIELDS(adapter_tensors),
          .caption = "Tensors with a row, or a column, for each token", .max = EVERY_TENSOR, .what = "tensors"),
    SAY(ON_ALL, "copied",
        "{copied:count} other {copied=1?tensor {dry_run?would be|was}|tensors {dry_run?would be|were}} copied."),
    MADE_ENDING(" of output", "ADAPTER_ROWS_REPORT.md"),
};

const organ_view organ_adapter_rows_view = {.schema = "organ.adapter_rows/1",
                                            .kind = "Adapter",
                                            .title = "{adapter.name}",
                                            .lead = "{rows_before:count} rows, then {rows:count}.",
                                            .files = {"adapter_rows.json", "ADAPTER_ROWS_REPORT.md", NULL},
                                            .made_by = "vocabulary",
                                            .method = "adapter rows",
                                            BLOCKS_OF(adapter_blocks)};
