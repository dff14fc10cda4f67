/* SPDX-License-Identifier: MIT
 * The view of organ.imatrix/1, the report of `organ imatrix`. */
#include "orchestrator/report/view/view_parts.h"

#define TITLE "Importance matrix of {merged?{totals.files:count} file{totals.files:s}|{model.name}}"

static const organ_item highlights[] = {{"filled", "experts without tokens", "{filled.experts:count}"},
                                        {NULL, "entries", "{totals.entries:count}"},
                                        {"calibration", "chunks", "{calibration.chunks:count}"},
                                        {"calibration", "tokens", "{calibration.tokens:count}"},
                                        {"merged", "chunks", "{chunks:count}"}};

static const organ_field entries[] = {
    FIELD_TEXT("entry", "name", ORGAN_FIELD_CODE), FIELD_COUNT("matrices", "matrices"), FIELD_COUNT("inputs", "inputs"),
    FIELD_COUNT("least tokens", "least_tokens"), FIELD_COUNT("most tokens", "most_tokens")};

static const organ_field merged[] = {FIELD_TEXT("file", "name", ORGAN_FIELD_CODE), FIELD_TEXT("format", "format", 0),
                                     FIELD_COUNT("chunks", "chunks"), FIELD_COUNT("tokens of a chunk", "context")};

static const organ_block blocks[] = {
    HEADING(TITLE),
    WARNINGS,
    LINES("dry_run", "Dry run, nothing was run.\n"),
    HIGHLIGHTS("!dry_run", highlights),
    LINES("!dry_run", TITLE ", {totals.entries:count} entries\ninto {run.output}\n\n"),
    SAY(ON_TEXT, "merged", "{chunks:count} chunk{chunks:s} of {context:count} tokens."),
    TABLE(ON_ALL, "merged", "merged", FIELDS(merged), .caption = "Importance matrices that were added"),
    SAY(ON_TEXT, "calibration",
        "Text {calibration.text.name}: {calibration.text.bytes:count} bytes, {calibration.text.tokens:count} tokens, "
        "XXH3 {calibration.text.xxh3}, in {calibration.chunks:count} chunk{calibration.chunks:s} of "
        "{calibration.context:count} tokens; {calibration.bos}."),
    WARN(ON_ALL, "calibration&!calibration.text.utf8", "Bytes of the text that are not UTF-8 are read as U+FFFD."),
    WARN(
        ON_ALL, "filled",
        "No token reached {filled.experts:count} expert{filled.experts:s} ({filled.names:join}); the file has the mean "
        "of the layer instead."),
    WARN(ON_ALL, "uncovered",
         "{uncovered.matrices:count} matrices for multi-token prediction have no entry, because organ "
         "does not run their blocks: {uncovered.names:join}."),
    SECTION(ON_FILES, "!dry_run", "Entries"),
    TABLE(ON_FILES, "!dry_run", "entries", FIELDS(entries), .max = 1000, .what = "entries",
          .caption = "Tensors of llama.cpp, with the tokens that reached each matrix"),
    PLAN_NEEDS,
    SAY(ON_TERMINAL, "!dry_run&calibration", "Time: {run.seconds:time}, {run.tokens_per_second:.0f} tokens/s."),
    DEFINITIONS,
    SECTION(ON_MARKDOWN, "!dry_run&calibration", "Run"),
    SAY(ON_MARKDOWN, "!dry_run&calibration",
        "{run.seconds:time}, {run.tokens_per_second:.0f} tokens/s, {run.threads} threads, {run.cpu_isa}."),
};

const organ_view organ_imatrix_view = {.schema = "organ.imatrix/1",
                                       .kind = "Importance matrix",
                                       .title = "{merged?{totals.files:count} file{totals.files:s}|{model.name}}",
                                       .lead = "Sums of the squared inputs of each matrix over a text.",
                                       BLOCKS_OF(blocks)};
