/* SPDX-License-Identifier: MIT
 * The views of organ.extract/1, organ.assemble/1, organ.gguf/1 and organ.graft/1, the reports of the verbs that move
 * tensors unchanged. */
#include "orchestrator/report/view/view_parts.h"

#include "orchestrator/report/text/report_text.h"

#include <errno.h>
#include <math.h>
#include <organ/models.h>
#include <organ/report.h>
#include <stdbool.h>
#include <stdlib.h>

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
    WARNINGS,
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
    PLAN,
    SAY(ON_PAGE, "!dry_run",
        "Verification: manifest.json has the XXH3 digest of every tensor and of every header. organ assemble compares "
        "them with the bytes of the files and reports whether its output equals the donor."),
    TIME_LINE(", on the disk"),
};

const organ_view organ_extract_view = {
    .schema = "organ.extract/1",
    .kind = "Extraction",
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
    {"!dry_run&donor_again", "the donor, byte for byte", "yes"},
    {"!dry_run&!donor_again", "tensors changed since extraction", "{changed:size}"},
    WRITTEN};
static const organ_field files[] = {FILE_FIELDS};
static const organ_field changed[] = {FIELD_TEXT("tensor", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                      FIELD_TEXT("role", "role", 0)};

#define NOT_DONOR "!dry_run&!donor_again&"
#define AGAIN     "No tensor was changed: the output equals the donor byte for byte."
#define UNCHANGED "No tensor was changed since the directory was created, but it no longer equals its donor."

static const organ_block assemble_all[] = {
    LINES(NULL, MADE_WORDS("Assembled", "model") "\n\n"),
    WARNINGS,
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
    PLAN,
    TIME_LINE(", on the disk"),
};

const organ_view organ_assemble_view = {.schema = "organ.assemble/1",
                                        .kind = "Assembly",
                                        .lead = "{dry_run?A dry run: the model that would be assembled; nothing was "
                                                "written.|The model assembled from its parts.}",
                                        .make = with_assemble_rows,
                                        BLOCKS_OF(assemble_all)};

/* ---- organ.gguf/1: `organ gguf split`, `join` and `edit` ---- */

#define GGUF_DONE "{operation=split?Split|{operation=join?Joined|Edited}}"

static const organ_item gguf_highlights[] = {WRITTEN, {NULL, "files; before: {files_before}", "{files:size}"}};
static const organ_field gguf_keys[] = {GGUF_KEY_FIELDS};

static const organ_block gguf_all[] = {
    LINES(NULL, "{dry_run?Dry run, nothing was written: |" GGUF_DONE " }{model:model}\n{dry_run?would go into |into "
                "}{run.output}\n\n"),
    HEADING("{model.name}"),
    WARNINGS,
    HIGHLIGHTS(NULL, gguf_highlights),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SECTION(ON_FILES, NULL, "Files"),
    TABLE(ON_ALL, NULL, "files", FIELDS(files), .total = "all files", .total_row = "totals", .max = EVERY_TENSOR,
          .what = "files", .caption = "{dry_run?Tensors that would be written.|Written tensors.}"),
    SECTION(ON_FILES, "keys", "Key-values"),
    TABLE(ON_ALL, "keys", "keys", FIELDS(gguf_keys), .max = EVERY_TENSOR, .what = "key-values",
          .caption = "Key-values that differ from the model's."),
    SAY(ON_ALL, "!keys", "All key-values {dry_run?would be|are} those of the model, apart from split.*."),
    SAY(ON_FILES, "!dry_run",
        "The tensors have the bytes of the model's tensors; 'organ audit MODEL OUTPUT' checks it."),
    PLAN,
    GAP("!dry_run"),
    TIME_LINE(", on the disk"),
    REPORT_LINE("GGUF_REPORT.md"),
    DEFINITIONS,
};

const organ_view organ_gguf_view = {.schema = "organ.gguf/1",
                                    .kind = "GGUF files",
                                    .title = "{model.name}",
                                    .lead = "{dry_run?A dry run: nothing was written.|The tensors of the model, byte "
                                            "for byte, in new GGUF files.}",
                                    .files = {"gguf.json", "GGUF_REPORT.md", NULL},
                                    BLOCKS_OF(gguf_all)};

/* ---- organ.graft/1 ---- */

/* The view of organ.graft/1, the report of a graft and of a chimera: a copy of the target model with tensors of the
 * source model. */

#define FITS "!mismatches" /* condition: source and target fit */

/* The row has the bytes of the output that "stayed" the target's, and those "grafted" from the source; null instead
 * of 0, for which no bar is drawn. */
static json_t *part_row(const void *context, size_t k)
{
    const json_t *const row = organ_json_row_at(context, k);
    const double grafted = organ_json_number(row, "grafted.bytes"), all = organ_json_number(row, "output.bytes");
    return ORGAN_OBJECT(SET_HELD("group", json_object_get(row, "group")),
                        SET_REAL_OF("stayed", all > grafted, all - grafted),
                        SET_REAL_OF("grafted", grafted > 0, grafted));
}

static json_t *with_graft_rows(const json_t *report)
{
    const json_t *const groups = json_object_get(report, "groups");
    json_t *const extended = json_copy((json_t *)(uintptr_t)report);
    ORGAN_ADD(extended, SET("parts", organ_json_rows(json_array_size(groups), part_row, groups)),
              SET("cells", organ_layer_cells(report)),
              SET_HELD("definitions", organ_json_at(report, "evaluation.definitions")));
    return extended;
}

static const organ_item highlights[] = {
    EVALUATION_HIGHLIGHTS,
    {NULL, "of the output's elements come from the source", "{totals.percent_of_elements:percent}"},
    {NULL, "tensors {dry_run?would be|are} grafted", "{totals.grafted.tensors} of {totals.output.tensors}"},
    {NULL, "the header is {header_anew?rewritten|the target's, byte for byte}", "{header_anew?new|kept}"}};
static const organ_field groups[] = {FIELD_TEXT("group", "group", 0), FIELD_COUNT("grafted", "grafted.tensors"),
                                     FIELD_COUNT("of", "output.tensors"), FIELD_COUNT("elements", "grafted.elements"),
                                     FIELD_BYTES("size", "grafted.bytes")};
static const organ_field graft_tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                            FIELD_TEXT("from", "from", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                            FIELD_TEXT("written as", "dtype", 0), FIELD_TEXT("was", "source_dtype", 0),
                                            FIELD_IF("!dry_run", "XXH3", "xxh3", NULL, ORGAN_FIELD_CODE)};
static const organ_field projections[] = {FIELD_TEXT("projection", "tensor", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),
                                          FIELD_WORDS("error before", "{before:~3}", 0),
                                          FIELD_WORDS("error after", "{after:~3}", 0),
                                          FIELD_WORDS("lambda", "{lambda}", 0)};
static const organ_field mismatches[] = {FIELD_NUMBER("number"),
                                         FIELD_WORDS("mismatch", "{.}", ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)};
static const organ_block sentences[] = {SAY(ON_ALL, NULL, "{.}")};

static const organ_block blocks[] = {
    LINES(NULL, "{mismatches?Does not fit, nothing was written: |{dry_run?Dry run, nothing was written: |Grafted "
                "}}{source:model}\n"
                "into a copy of {target:model}\n{mismatches|dry_run?for |as }{run.output}\n\n"),
    HEADING("Graft of {source.name} into {target.name}"),
    WARNINGS,
    EACH(ON_TERMINAL, "mismatches", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  MISMATCH  ", "{.}"))),
    HIGHLIGHTS(FITS, highlights),
    SAY(ON_FILES, NULL, "Source: {source:model}."),
    SAY(ON_FILES, NULL, "Target: {target:model}."),
    SECTION(ON_PAGE, FITS, "Copied tensors"),
    BARS(FITS, "parts",
         .style = {.title = "Anatomy",
                   .description = "Two bars for each part of the output: the bytes from the target and the bytes from "
                                  "the source. The table has the numbers.",
                   .value_label = "size",
                   .series = {"from the target", "from the source"},
                   .digits = 3},
         .name = "group", .values = {"stayed", "grafted"}, .bytes = true,
         .caption = "Parts of the output and their origin."),
    TABLE(ON_ALL, FITS, "groups", FIELDS(groups), .total = "whole model", .total_row = "totals",
          .caption = "Grafted share of each part of the output."),
    MAP(FITS, "cells",
        .style = {.title = "Share of the source by layer and role",
                  .description = "Percent of the elements of each role in each layer that come from the source; the "
                                 "others come from the target.",
                  .value_label = "from the source, percent",
                  .low = 0,
                  .high = 100},
        .role = "role", .value = "percent",
        .caption = "0: all from the target, 100: all from the source. The column \"none\" has the tensors outside the "
                   "layers."),
    SAY(ON_TERMINAL | ON_MARKDOWN, FITS,
        "{totals.percent_of_elements:percent} of the output's elements come from the source. The header is "
        "{header_anew?rewritten|the target's, byte for byte}."),
    SECTION(ON_FILES, FITS "&refit", "Refit"),
    TABLE(ON_ALL, FITS "&refit&!dry_run", "refit.projections", FIELDS(projections),
          .caption = "Squared error per token of what the block's layer gets, against the source, on the "
                     "{refit.held_windows} held-out windows; lambda 0: the projection is unchanged."),
    SAY(ON_ALL, FITS "&refit",
        "{dry_run?The projection would be|Projections are} fitted to the target's states on "
        "{refit.calibration.samples} windows of {refit.calibration.context} tokens; "
        "{refit.held_windows} held-out windows judge the fit."),
    SECTION(ON_FILES, FITS "&metadata|" FITS "&notes", "Notes"),
    EACH_IF(ON_TERMINAL, FITS, "metadata", BLOCKS_OF(sentences), .max = SHOWN, .rest = AND_MORE),
    EACH_IF(ON_TERMINAL, FITS, "notes", BLOCKS_OF(sentences), .max = SHOWN, .rest = AND_MORE),
    EACH_IF(ON_FILES, FITS, "metadata", BLOCKS_OF(sentences)),
    EACH_IF(ON_FILES, FITS, "notes", BLOCKS_OF(sentences)),
    SECTION(ON_FILES, FITS, "Grafted tensors"),
    TABLE(ON_FILES, FITS, "tensors", FIELDS(graft_tensors), .max = EVERY_TENSOR, .what = "grafted tensors",
          .caption = "{dry_run?Tensors that would be copied from the source.|Tensors copied from the source, with the "
                     "digest of the written bytes.}"),
    SAY(ON_FILES, FITS "&!dry_run",
        "If the type is unchanged, the digest equals that of the source's bytes{refit?, but for fitted projections}. "
        "All "
        "other tensors have the target's bytes."),
    SECTION(ON_FILES, "mismatches", "Mismatches"),
    TABLE(ON_FILES, "mismatches", "mismatches", FIELDS(mismatches), .max = EVERY_TENSOR, .what = "mismatches",
          .caption = "All mismatches between source and target: first of the models, then of their tensors."),
    PLAN,
    EVALUATION_ON(ON_ALL),
    SAY(ON_TERMINAL, FITS "&!dry_run", TIME_WORDS(", on the disk")),
    PAGE_ENDING,
};
const organ_view organ_graft_view = {
    .schema = "organ.graft/1",
    .kind = "Graft",
    .title = "{source.name} into {target.name}",
    .lead = "{mismatches?The models do not fit: nothing was written.|{dry_run?A dry run: the tensors that would be "
            "grafted; nothing was written.|A copy of the target with the chosen tensors of the source.}}",
    .files = {"graft.json", "GRAFT_REPORT.md", NULL},
    .made_by = "graft",
    .make = with_graft_rows,
    BLOCKS_OF(blocks)};

enum { MEAN, STD, MIN, MAX, KURTOSIS, ZEROS, FIGURES };

typedef struct fingerprint {
    double of[FIGURES]; /* of[MEAN] is mean / std, of[ZEROS] the share of zeros */
    json_int_t elements;
    size_t model;    /* index of the model that it was read from */
    uint64_t owners; /* bit m is set: model m has a tensor with these figures */
} fingerprint;

static int by_values(const void *a, const void *b)
{
    const fingerprint *const x = a, *const y = b;
    for (size_t k = 0; k < FIGURES; k++)
        if (x->of[k] != y->of[k])
            return x->of[k] < y->of[k] ? -1 : 1;
    return ORGAN_ORDER(x->elements, y->elements);
}

static int by_model(const void *a, const void *b)
{
    const fingerprint *const x = a, *const y = b;
    return ORGAN_ORDER(x->model, y->model);
}

/* Rounds to 33 significant bits. */
static double lineage_rounded(double x)
{
    int exponent;
    const double mantissa = frexp(x, &exponent);
    return ldexp(round(ldexp(mantissa, 33)), exponent - 33);
}

/* Sets all of *p but its owners. Returns false if a figure is missing, or if the tensor is constant, such as a new
 * norm: unrelated models have equal constant tensors, so they prove no kinship. */
static bool read_fingerprint(const json_t *tensor, size_t model, fingerprint *p)
{
    static const char *const keys[FIGURES] = {"mean", "std", "min", "max", "kurtosis", "zero_share"};
    *p = (fingerprint){.elements = json_integer_value(json_object_get(tensor, "elements")), .model = model};
    for (size_t k = 0; k < FIGURES; k++) {
        const json_t *const value = json_object_get(tensor, keys[k]);
        if (!json_is_number(value))
            return false;
        p->of[k] = json_number_value(value);
    }
    if (!(p->of[STD] > 0))
        return false;
    /* Sums become coarser than the errors of other storage types and orders of rows; the other figures are exact. */
    p->of[MEAN] = round(p->of[MEAN] / p->of[STD] * 1e8);
    p->of[STD] = lineage_rounded(p->of[STD]);
    p->of[KURTOSIS] = round(p->of[KURTOSIS] * 1e4);
    return true;
}

/* Reads the first `max` models. Returns the number of fingerprints, which are sorted by model. */
static size_t read_fingerprints(const json_t *models, size_t max, fingerprint *prints)
{
    size_t count = 0;
    for (size_t m = 0; m < max; m++) {
        const json_t *const tensors = json_object_get(organ_json_row_at(models, m), "per_tensor");
        for (size_t t = 0; t < json_array_size(tensors); t++)
            count += read_fingerprint(organ_json_row_at(tensors, t), m, &prints[count]);
    }
    return count;
}

/* Sets `owners` of all fingerprints: those with equal figures follow each other once they are sorted by values. */
static void find_owners(fingerprint *prints, size_t count)
{
    qsort(prints, count, sizeof *prints, by_values);
    for (size_t from = 0, to; from < count; from = to) {
        uint64_t owners = 0;
        for (to = from; to < count && by_values(&prints[to], &prints[from]) == 0; to++)
            owners |= UINT64_C(1) << prints[to].model;
        for (size_t k = from; k < to; k++)
            prints[k].owners = owners;
    }
    qsort(prints, count, sizeof *prints, by_model);
}

/* Sets *model to the model of the set `among` (a bit for each model) that has the most of these fingerprints, and
 * returns how many it has. Ignores fingerprints that are also of a model of the set `but`. Without any, *model is
 * NONE. */
static size_t lineage_max_of(const fingerprint *prints, size_t count, uint64_t among, uint64_t but, size_t *model)
{
    size_t counts[ORGAN_LINEAGE_MAX] = {0}, best = 0;
    for (size_t k = 0; k < count; k++)
        for (size_t m = 0; m < ORGAN_LINEAGE_MAX && !(prints[k].owners & but); m++)
            counts[m] += (prints[k].owners & among) >> m & 1;
    *model = ORGAN_LINEAGE_NONE;
    for (size_t m = 0; m < ORGAN_LINEAGE_MAX; m++)
        if (counts[m] > best) {
            best = counts[m];
            *model = m;
        }
    return best;
}

/* A model is a chimera of two if the model with the most of its fingerprints (the body) does not have all, and a
 * single other model (the donor) has all that the body lacks. If so, sets body, donor and their counts, and returns
 * true. */
static bool find_parents(const fingerprint *prints, size_t count, uint64_t among, organ_lineage *lineage)
{
    size_t body, donor;
    const size_t max = lineage_max_of(prints, count, among, /*but=*/0, &body);
    if (body == ORGAN_LINEAGE_NONE || max == count ||
        max + lineage_max_of(prints, count, among, UINT64_C(1) << body, &donor) != count)
        return false;
    lineage->body = body;
    lineage->donor = donor;
    lineage->from_body = max;
    lineage->from_donor = count - max;
    return true;
}

/* The `known` fingerprints are sorted by model. The first pass finds parents among all models. The second pass
 * excludes chimeras as parents, so that two chimeras of the same parents are not described by each other. If the
 * second pass finds no parents of a model, those of the first pass stay. */
static void lineage_finish(const fingerprint *prints, size_t known, organ_lineage *lineage)
{
    uint64_t chimeras = 0;
    for (int again = 0; again < 2; again++) {
        const uint64_t others = again ? ~chimeras : ~UINT64_C(0);
        for (size_t from = 0, to; from < known; from = to) {
            const size_t self = prints[from].model;
            for (to = from; to < known && prints[to].model == self; to++)
                ;
            lineage[self].tensors = to - from;
            lineage[self].shared =
                lineage_max_of(prints + from, to - from, ~(UINT64_C(1) << self), /*but=*/0, &lineage[self].like);
            if (lineage[self].shared < lineage[self].tensors &&
                find_parents(prints + from, to - from, others & ~(UINT64_C(1) << self), &lineage[self]))
                chimeras |= UINT64_C(1) << self;
        }
    }
}

/* Appends the model `root` to order[], then the chimeras of which it is the body, each followed by its own; those of
 * one body are ascending. `done` marks listed models. Only the first ORGAN_LINEAGE_MAX models can be chimeras. */
static void put_in_order(const organ_lineage *lineage, size_t count, size_t root, size_t *order, size_t *used,
                         bool *done)
{
    size_t stack[ORGAN_LINEAGE_MAX + 1], top = 0;
    stack[top++] = root;
    done[root] = true;
    while (top > 0) {
        const size_t model = stack[--top];
        order[(*used)++] = model;
        for (size_t k = count; k-- > 0;)
            if (lineage[k].body == model && !done[k]) {
                done[k] = true;
                stack[top++] = k;
            }
    }
}

/* Fills order[] (organ_measure_lineage) and sets the depths. */
static organ_status lineage_arrange(organ_lineage *lineage, size_t count, size_t *order, organ_error *error)
{
    ORGAN_OWNED bool *const done = calloc(count + 1, sizeof *done);
    size_t used = 0;
    if (!done)
        return organ_fail_errno(error, ENOMEM, "the models");
    for (size_t k = 0; k < count; k++)
        if (lineage[k].body == ORGAN_LINEAGE_NONE)
            put_in_order(lineage, count, k, order, &used, done);
    for (size_t k = 0; k < count; k++) /* models that are in a circle of bodies */
        if (!done[k])
            put_in_order(lineage, count, k, order, &used, done);
    for (size_t k = 0; k < count; k++) {
        const size_t body = lineage[order[k]].body;
        bool before = false;
        for (size_t j = 0; j < k && body != ORGAN_LINEAGE_NONE; j++)
            before |= order[j] == body;
        lineage[order[k]].depth = before ? lineage[body].depth + 1 : 0;
    }
    return ORGAN_OK;
}

organ_status organ_measure_lineage(const json_t *models, organ_lineage *lineage, size_t *order, organ_error *error)
{
    const size_t count = json_array_size(models), max = count < ORGAN_LINEAGE_MAX ? count : ORGAN_LINEAGE_MAX;
    size_t capacity = 1;
    for (size_t m = 0; m < max; m++)
        capacity += json_array_size(json_object_get(organ_json_row_at(models, m), "per_tensor"));
    ORGAN_OWNED fingerprint *const prints = calloc(capacity, sizeof *prints);
    if (!prints)
        return organ_fail_errno(error, ENOMEM, "the tensors of %zu models", count);
    const size_t known = read_fingerprints(models, max, prints);
    find_owners(prints, known);
    for (size_t m = 0; m < count; m++)
        lineage[m] =
            (organ_lineage){.body = ORGAN_LINEAGE_NONE, .donor = ORGAN_LINEAGE_NONE, .like = ORGAN_LINEAGE_NONE};
    lineage_finish(prints, known, lineage);
    return lineage_arrange(lineage, count, order, error);
}
