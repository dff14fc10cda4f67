/* SPDX-License-Identifier: MIT
 * The views of organ.extract/1 and organ.assemble/1, the reports of `organ extract` and `organ assemble`. */
#include <organ/models.h>
#include "orchestrator/report/text/members.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/view_anatomy.h"
#include "orchestrator/report/view/views.h"

#include <stdint.h>

enum { MAX_CHANGED = 1000 }; /* lines of the table of changed tensors on a page */

/* OTHER_FILES prints the number and bytes of the files that are not weights: `what` begins the sentence, `end` ends it.
 * WRITTEN: main results, bytes and tensors of the output. */
#define OTHER_FILES(where, what, end)                                                                                  \
    SAY(where, "beside.files", what ": {beside.files:count} file{beside.files:s}, {beside.bytes:bytes}" end ".")
#define WRITTEN                                                                                                        \
    {NULL, "{dry_run?would be written|written}", "{totals.bytes:bytes}"}, { NULL, "tensors", "{totals.tensors:count}" }

/* ---- extract ---- */

static json_t *with_extract_rows(const json_t *report)
{
    json_t *const extended = json_copy((json_t *)(uintptr_t)report);
    ORGAN_ADD(extended, SET("sizes", organ_size_rows(json_object_get(report, "folders"), "group")),
              SET("cells", organ_layer_cells(report)));
    return extended;
}

static const organ_item extract_highlights[] = {WRITTEN, {NULL, "headers, stored unchanged", "{sources:size}"}};
static const organ_field folders[] = {FIELD_WORDS("folder", "{folder}/", ORGAN_FIELD_LEFT),
                                      FIELD_COUNT("tensors", "tensors"), FIELD_COUNT("elements", "elements"),
                                      FIELD_BYTES("size", "bytes")};
static const organ_field sources[] = {FIELD_TEXT("file", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                      FIELD_BYTES("size", "bytes"), FIELD_BYTES("header", "header_bytes"),
                                      FIELD_BYTES("between tensors", "gap_bytes")};

static const organ_block extract_all[] = {
    LINES(NULL, MADE_WORDS("Extracted", "model") "\n\n"),
    HIGHLIGHTS(NULL, extract_highlights),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SECTION(ON_PAGE, NULL, "Anatomy"),
    ANATOMY_BARS,
    TABLE_WHERE(ON_ALL, NULL, "folders", "tensors", FIELDS(folders), .total = "all tensors", .total_row = "totals",
                .caption = "Contents of each folder."),
    BYTES_MAP,
    SAY(ON_TERMINAL, NULL, "Headers: {sources:size}, {sources:sum.header_bytes:bytes}, stored unchanged in header/."),
    SAY(ON_TERMINAL, "sources.*.gap_bytes",
        "Between tensors: {sources:sum.gap_bytes:bytes} that are not zeros, also stored there."),
    SECTION(ON_PAGE, NULL, "Sources"),
    TABLE(ON_PAGE, NULL, "sources", FIELDS(sources),
          .caption =
              "The extracted files: header/ has their headers and the bytes between tensors that are not zeros."),
    OTHER_FILES(ON_TERMINAL, "Other files", ", in files/"),
    OTHER_FILES(ON_PAGE, "Other files", ", in files/"),
    SAY(ON_PAGE, "!dry_run",
        "Verification: manifest.json has the XXH3 digest of every tensor and of every header. organ assemble compares "
        "them with the bytes of the files and reports whether its output equals the donor."),
    TIME_LINE(", on the disk"),
};

const organ_view organ_extract_view = {
    .schema = "organ.extract/1",
    .kind = "Extraction",
    .title = "{model.name}",
    .lead = "{dry_run?A dry run: the files that extract would write; nothing was written.|The extracted model: a file "
            "for every tensor, in folders for skeleton, organs, embedding and norms.}",
    .make = with_extract_rows,
    BLOCKS_OF(extract_all)};

/* ---- assemble ---- */

static json_t *changed_row(const void *context, size_t k)
{
    const char *const name = organ_json_text(organ_json_row_at(context, k), "");
    return ORGAN_OBJECT(SET_TEXT("tensor", name),
                        SET_TEXT("role", organ_role_describe(organ_anatomy_of(name).role)->name));
}

static json_t *with_assemble_rows(const json_t *report)
{
    const json_t *const changed = json_object_get(report, "changed");
    json_t *const extended = json_copy((json_t *)(uintptr_t)report);
    ORGAN_ADD(extended, SET("sizes", organ_size_rows(json_object_get(report, "groups"), "group")),
              SET("cells", organ_layer_cells(report)),
              SET("changed_rows", organ_json_rows(json_array_size(changed), changed_row, changed)));
    return extended;
}

static const organ_item assemble_highlights[] = {
    WRITTEN,
    {"!dry_run&donor_again", "the donor, byte for byte", "yes"},
    {"!dry_run&!donor_again", "tensors changed since extraction", "{changed:size}"}};
static const organ_field files[] = {FILE_FIELDS};
static const organ_field changed[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                      FIELD_TEXT("role", "role", 0)};

#define NOT_DONOR "!dry_run&!donor_again&"
#define AGAIN     "No tensor was changed: the output equals the donor byte for byte."
#define UNCHANGED "No tensor was changed since the directory was created, but it no longer equals its donor."

static const organ_block assemble_all[] = {
    LINES(NULL, MADE_WORDS("Assembled", "model") "\n\n"),
    HIGHLIGHTS(NULL, assemble_highlights),
    SAY(ON_PAGE, NULL, "Made of: {model:model}."),
    SECTION(ON_PAGE, NULL, "Anatomy"),
    ANATOMY_BARS,
    BYTES_MAP,
    SECTION(ON_PAGE, NULL, "Files"),
    TABLE(ON_ALL, NULL, "files", FIELDS(files), .caption = "{dry_run?Tensors that would be written.|Written tensors.}"),
    OTHER_FILES(ON_PAGE, "Other files", ""),
    SECTION(ON_PAGE, NULL, "Proof"),
    SAY(ON_ALL, "merged", "The donor's files were merged into one with a new header."),
    SAY(ON_PAGE, "dry_run", "A dry run reads no tensor and verifies nothing."),
    SAY(ON_TERMINAL, "!dry_run&donor_again", AGAIN),
    SAY(ON_PAGE, "!dry_run&donor_again",
        AGAIN " The XXH3 digest of every tensor that was written is the one in manifest.json."),
    SAY(ON_TERMINAL, NOT_DONOR "changed", "{changed:size} tensor{changed=1? was|s were} changed since extraction:"),
    SAY(ON_TERMINAL, NOT_DONOR "changed>-1&!changed&!merged", UNCHANGED),
    SAY(ON_PAGE, NOT_DONOR "!changed", UNCHANGED),
    TABLE(ON_PAGE, NOT_DONOR "changed", "changed_rows", FIELDS(changed), .max = MAX_CHANGED, .what = "changed tensors",
          .caption = "Tensors changed since extraction: their XXH3 digest differs from manifest.json."),
    EACH_IF(ON_TERMINAL, "!dry_run", "changed", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "    ", "{.}")), .max = SHOWN,
            .rest = AND_MORE, .lead = "    "),
    OTHER_FILES(ON_TERMINAL, "Other files", ""),
    TIME_LINE(", on the disk"),
};

const organ_view organ_assemble_view = {.schema = "organ.assemble/1",
                                        .kind = "Assembly",
                                        .title = "{model.name}",
                                        .lead = "{dry_run?A dry run: the model that would be assembled; nothing was "
                                                "written.|The model assembled from its parts.}",
                                        .make = with_assemble_rows,
                                        BLOCKS_OF(assemble_all)};
