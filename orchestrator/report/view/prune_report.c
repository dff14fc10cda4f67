/* SPDX-License-Identifier: MIT
 * The terminal's view of a pruning; prune_markdown.c has the file's. */
#include "orchestrator/report/view/prune_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/evaluation_report.h"

static void print_names(const json_t *report, FILE *out)
{
    fputs(json_is_true(organ_json_at(report, "dry_run")) ? "Dry run, nothing was written: " : "Pruned ", out);
    organ_model_line(out, organ_json_at(report, "donor"));
    fputs("\n", out);
    const char *const output = organ_json_text(report, "run.output");
    if (*output) {
        fputs(json_is_true(organ_json_at(report, "dry_run")) ? "would go into " : "into ", out);
        organ_text_visible(out, output);
        fputc('\n', out);
    }
    fputc('\n', out);
}

static const char *chunks_text(const json_t *imatrix, char *out, size_t size)
{
    const unsigned long long chunks = organ_json_count(imatrix, "chunks"), tokens = organ_json_count(imatrix, "chunk_size");
    if (!json_is_integer(organ_json_at(imatrix, "chunks")))
        snprintf(out, size, "chunks unknown");
    else if (json_is_integer(organ_json_at(imatrix, "chunk_size")))
        snprintf(out, size, "%llu chunk%s of %llu tokens", chunks, chunks == 1 ? "" : "s", tokens);
    else
        snprintf(out, size, "%llu chunk%s", chunks, chunks == 1 ? "" : "s");
    return out;
}

static const char *datasets_text(const json_t *imatrix, char *out, size_t size)
{
    const json_t *const names = organ_json_at(imatrix, "datasets");
    const size_t count = json_array_size(names);
    if (count == 0)
        snprintf(out, size, "a text that it does not name");
    else if (count == 1)
        snprintf(out, size, "%.250s", organ_json_text(json_array_get(names, 0), ""));
    else
        snprintf(out, size, "%.230s and %zu more", organ_json_text(json_array_get(names, 0), ""), count - 1);
    return out;
}

static void print_calibration(const json_t *report, FILE *out, const organ_page *page)
{
    const json_t *const calibration = organ_json_at(report, "calibration");
    const unsigned long long cut = organ_json_count(calibration, "block_diagonal_tensors");
    char changed[32], chunks[64], datasets[300];
    if (json_is_object(calibration))
        organ_text_say(out, page, "  ", "Calibrated by %s: %s, %llu windows of %llu tokens.", organ_json_text(report, "parameters.method"),
                       organ_json_text(calibration, "text.name"), organ_json_count(calibration, "samples"),
                       organ_json_count(calibration, "context"));
    const json_t *const imatrix = organ_json_at(report, "imatrix");
    if (json_is_object(imatrix))
        organ_text_say(out, page, "  ", "By an imatrix: no contribution, no compensation; %s (XXH3 %s), %llu entries, %s, made with %s.",
                       organ_json_text(imatrix, "name"), organ_json_text(imatrix, "xxh3"), organ_json_count(imatrix, "entries"),
                       chunks_text(imatrix, chunks, sizeof chunks), datasets_text(imatrix, datasets, sizeof datasets));
    if (cut)
        organ_text_say(out, page, "  ",
                       "Of %llu tensors the inputs did not fit --memory whole: taken in blocks of 256, which prunes worse.", cut);
    if (json_is_true(organ_json_at(report, "compensates")))
        organ_text_say(out, page, "  ", "Compensated: %s kept weights were changed to make up for the killed.",
                       organ_count_text(organ_json_count(report, "compensated"), changed));
}

static void print_counts(const json_t *report, FILE *out, const organ_page *page)
{
    char processed[32], elements[32], tiles[32], percent[32], zero[32], where[48] = "";
    if (organ_json_at(report, "coverage.tiles"))
        snprintf(where, sizeof where, ", in %s tiles", organ_count_text(organ_json_count(report, "coverage.tiles"), tiles));
    organ_text_say(out, page, "  ", "Coverage: %s of %s target weights (%s)%s.",
                   organ_count_text(organ_json_count(report, "coverage.processed_elements"), processed),
                   organ_count_text(organ_json_count(report, "coverage.target_elements"), elements),
                   organ_percent_text(organ_json_real(report, "coverage.percent"), percent), where);
    print_calibration(report, out, page);
    organ_text_say(out, page, "  ", "Zero before: %s, not counted as killed.",
                   organ_count_text(organ_json_count(report, "zero_before"), zero));
}

static void print_integrity(const json_t *report, FILE *out, const organ_page *page)
{
    const json_t *const checks = organ_json_at(report, "integrity");
    const size_t count = json_array_size(checks), others = json_array_size(organ_json_at(report, "other_weights"));
    size_t held = 0;
    for (size_t k = 0; k < count; k++) {
        const json_t *const check = json_array_get(checks, k);
        if (json_is_true(json_object_get(check, "ok")))
            held++;
        else
            organ_text_say(out, page, "  FAILED  ", "%s: %s", organ_json_text(check, "check"), organ_json_text(check, "detail"));
    }
    if (count)
        organ_text_say(out, page, "  ", "Integrity: %zu of %zu checks hold.", held, count);
    if (others)
        organ_text_say(out, page, "  ", "Copied unpruned although they seem to hold weights: %zu file%s, named in the report.", others,
                       others == 1 ? "" : "s");
}

static void print_speed(const json_t *report, FILE *out, const organ_page *page)
{
    char duration[24], rate[16];
    const unsigned long long threads = organ_json_count(report, "run.threads");
    organ_text_say(out, page, "  ", "Time: %s, %s/s of target weights, %llu thread%s, %s%s.",
                   organ_duration_text(organ_json_real(report, "run.seconds"), duration),
                   organ_quantity_text((uint64_t)organ_json_real(report, "run.bytes_per_second"), rate), threads, threads == 1 ? "" : "s",
                   organ_json_text(report, "run.cpu_isa"), json_is_true(organ_json_at(report, "run.resumed")) ? ", resumed" : "");
}

static void print_next(const json_t *report, FILE *out)
{
    fputs("\nReport:  ", out);
    organ_text_visible(out, organ_json_text(report, "run.output"));
    fputs("/organ/REPORT.md (and .html)\nProof:   ", out);
    organ_audit_command(out, report);
}

organ_table *organ_prune_plan_table(const json_t *report)
{
    static const organ_column columns[] = {
        {"projection", ORGAN_LEFT, true, true}, {"tensors", ORGAN_RIGHT, false, false}, {"weights", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const projections = organ_json_at(report, "projections");
    unsigned long long tensors = 0;
    for (size_t k = 0; k < json_array_size(projections); k++) {
        const json_t *const row = json_array_get(projections, k);
        tensors += organ_json_count(row, "tensors");
        organ_table_cell(table, "%s", organ_json_text(row, "name"));
        organ_table_count(table, organ_json_count(row, "tensors"));
        organ_table_count(table, organ_json_count(row, "elements"));
    }
    organ_table_totals(table);
    organ_table_cell(table, "all targets");
    organ_table_count(table, tensors);
    organ_table_count(table, organ_json_count(report, "totals.target.elements"));
    return table;
}

static organ_status print_plan(const json_t *report, FILE *out, const organ_page *page, organ_error *error)
{
    char tensors[32], bytes[16], full[32], percent[32];
    const unsigned long long all = organ_json_count(report, "totals.full.elements"),
                             target = organ_json_count(report, "totals.target.elements");
    if (organ_table_emit(organ_prune_plan_table(report), out, page, error) != ORGAN_OK)
        return error->status;
    organ_text_say(out, page, "  ", "The targets are %s of the model's %s weights.",
                   organ_percent_text(all ? 100.0 * (double)target / (double)all : 0.0, percent), organ_count_text(all, full));
    organ_text_say(out, page, "  ", "Copied as they are: %s tensors, %s.",
                   organ_count_text(organ_json_count(report, "untouched.tensors"), tensors),
                   organ_quantity_text(organ_json_count(report, "untouched.bytes"), bytes));
    return organ_evaluation_terminal(out, report, page, error);
}

static organ_status print_result(const json_t *report, FILE *out, const organ_page *page, organ_error *error)
{
    if (organ_table_emit(organ_projections_table(report), out, page, error) != ORGAN_OK ||
        organ_table_emit(organ_totals_table(report), out, page, error) != ORGAN_OK)
        return error->status;
    organ_errata_put(out, report, page);
    print_counts(report, out, page);
    print_integrity(report, out, page);
    print_speed(report, out, page);
    if (organ_evaluation_terminal(out, report, page, error) == ORGAN_OK)
        print_next(report, out);
    return error->status;
}

organ_status organ_prune_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    print_names(report, buffer.out);
    const bool dry = json_is_true(organ_json_at(report, "dry_run"));
    if ((dry ? print_plan : print_result)(report, buffer.out, page, error) == ORGAN_OK)
        return organ_text_finish(&buffer, text, error);
    organ_text_discard(&buffer);
    return error->status;
}
