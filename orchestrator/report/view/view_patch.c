/* SPDX-License-Identifier: MIT
 * The view of organ.patch/1, the report of `organ patch extract` and `organ patch apply`. */
#include "orchestrator/report/view/view_parts.h"

#include <jansson.h>
#include <stdlib.h>

static int by_patch_bytes(const void *a, const void *b)
{
    const json_int_t x = json_integer_value(json_object_get(*(json_t *const *)a, "patch_bytes"));
    const json_int_t y = json_integer_value(json_object_get(*(json_t *const *)b, "patch_bytes"));
    return (x < y) - (x > y);
}

/* Adds the tensors that the patch has, the largest first, and the files whose bytes it has. */
static json_t *with_patch_rows(const json_t *report)
{
    json_t *const extended = json_copy((json_t *)(uintptr_t)report);
    const json_t *const tensors = json_object_get(report, "tensors"), *const files = json_object_get(report, "files");
    json_t **const sorted = calloc(json_array_size(tensors) + 1, sizeof *sorted), *row;
    json_t *const stored = json_array(), *const others = json_array();
    size_t count = 0, k;
    json_array_foreach(tensors, k, row) if (sorted && json_integer_value(json_object_get(row, "patch_bytes")))
        sorted[count++] = row;
    if (sorted)
        qsort(sorted, count, sizeof *sorted, by_patch_bytes);
    for (k = 0; k < count; k++)
        json_array_append(stored, sorted[k]);
    json_array_foreach(files, k, row) if (!json_is_true(json_object_get(row, "from_base")))
        json_array_append(others, row);
    free(sorted);
    ORGAN_ADD(extended, SET("stored", stored), SET("stored_files", others));
    return extended;
}

static const organ_item patch_highlights[] = {
    {"operation=extract", "size of the patch", "{totals.patch_bytes:bytes}"},
    {"operation=extract", "of the model's size", "{totals.patch_percent:percent}"},
    {"operation=extract", "of the bytes of common tensors differ", "{totals.changed_percent:percent}"},
    {"operation=apply", "{dry_run?would be written|written}", "{totals.bytes:bytes}"},
    {"operation=apply", "size of the patch", "{totals.patch_bytes:bytes}"},
    {NULL, "tensors of the base, unchanged", "{totals.same:count}"},
    {NULL, "tensors with changes", "{totals.changed:count}"},
    {"totals.whole", "tensors stored whole", "{totals.whole:count}"}};

static const organ_field patch_tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                            FIELD_TEXT("stored as", "change", 0), FIELD_BYTES("size", "bytes"),
                                            FIELD_BYTES("in the patch", "patch_bytes")};
static const organ_field patch_files[] = {FIELD_TEXT("file", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                          FIELD_COUNT("tensors", "tensors"), FIELD_BYTES("size", "bytes")};

#define PATCH_DONE "{operation=extract?Patch of|Patched}"

static const organ_block patch_all[] = {
    LINES(NULL, "{dry_run?Dry run, nothing was written: |}{operation=extract?Patch from {base:model} to {tuned:model}|"
                "Patched {base:model}}\n{dry_run?would go into |into }{run.output}\n\n"),
    HEADING("{operation=extract?{tuned.name}|{base.name}}"),
    WARNINGS,
    HIGHLIGHTS(NULL, patch_highlights),
    SAY(ON_PAGE, NULL, "Base: {base:model}."),
    SAY(ON_PAGE, "tuned", "Tuned: {tuned:model}."),
    SECTION(ON_FILES, NULL, "Tensors"),
    TABLE(ON_ALL, "stored", "stored", FIELDS(patch_tensors), .max = SHOWN, .what = "tensors",
          .caption = "Tensors that the patch has, the largest first."),
    SAY(ON_ALL, "!stored", "No tensor differs from that of the base."),
    SAY(ON_ALL, "added", "Tensors that the base lacks:"),
    EACH(ON_ALL, "added", BLOCKS(SAY_AFTER(ON_ALL, NULL, "    ", "{.}")), .max = SHOWN, .rest = AND_MORE,
         .lead = "    "),
    SAY(ON_ALL, "reshaped", "Tensors with another type or shape than the base's, stored whole:"),
    EACH(ON_ALL, "reshaped", BLOCKS(SAY_AFTER(ON_ALL, NULL, "    ", "{.}")), .max = SHOWN, .rest = AND_MORE,
         .lead = "    "),
    SAY(ON_ALL, "gone", "Tensors of the base that the model lacks:"),
    EACH(ON_ALL, "gone", BLOCKS(SAY_AFTER(ON_ALL, NULL, "    ", "{.}")), .max = SHOWN, .rest = AND_MORE,
         .lead = "    "),
    SECTION(ON_FILES, "stored_files", "Files"),
    TABLE(ON_ALL, "stored_files", "stored_files", FIELDS(patch_files), .max = SHOWN, .what = "files",
          .caption = "Files with headers or contents other than the base's."),
    SAY(ON_ALL, "!dry_run&operation=apply&manifest",
        "Every tensor of the base and of the result, and all other bytes, have the checksums of the patch."),
    SAY(ON_ALL, "!dry_run&operation=apply&!manifest",
        "Changed tensors have the checksums of the patch; it states none of the others."),
    PLAN,
    GAP("!dry_run"),
    TIME_LINE(", on the disk"),
    REPORT_LINE("PATCH_REPORT.md"),
    DEFINITIONS,
};

const organ_view organ_patch_view = {
    .schema = "organ.patch/1",
    .kind = "Patch",
    .title = "{operation=extract?{tuned.name}|{base.name}}",
    .lead = "{dry_run?A dry run: nothing was written.|{operation=extract?The changes that make one model of "
            "another.|A model made of its base and a patch.}}",
    .files = {"patch.json", "PATCH_REPORT.md", NULL},
    .make = with_patch_rows,
    BLOCKS_OF(patch_all)};
