/* SPDX-License-Identifier: MIT
 * REPORT.md: everything of organ.prune/1 that a person reads, in the order in which it should be read. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"
#include "orchestrator/report/view/evaluation_report.h"
#include "orchestrator/report/view/prune_report.h"

#include <stdlib.h>

static const organ_column item_columns[] = {{"item", ORGAN_LEFT, false, false}, {"value", ORGAN_LEFT, false, false}};

static organ_status put_head(const json_t *report, FILE *out, organ_error *error)
{
    (void)error;
    fputs("# Surgery report: ", out);
    organ_markdown_text(out, organ_json_text(report, "donor.name"), false);
    fprintf(out, ", %s\n", organ_json_text(report, "parameters.method"));
    organ_errata_put(out, report, NULL);
    return ORGAN_OK;
}

static void joined_cell(organ_table *table, const char *item, const json_t *names)
{
    organ_error fault = {0};
    organ_text text;
    char *joined = NULL;
    if (organ_text_open(&text, &fault) == ORGAN_OK) {
        for (size_t k = 0; k < json_array_size(names); k++)
            fprintf(text.out, "%s%s", k ? ", " : "", organ_json_text(json_array_get(names, k), ""));
        organ_text_finish(&text, &joined, &fault);
    }
    organ_table_cell(table, "%s", item);
    if (fault.status)
        organ_table_fail(table);
    organ_table_cell(table, "%s", joined && *joined ? joined : "none");
    free(joined);
}

static void amount_cells(organ_table *table, const char *item, const json_t *object)
{
    char tensors[32], elements[32], bytes[32];
    organ_table_cell(table, "%s", item);
    organ_table_cell(table, "%s tensors, %s elements, %s bytes", organ_count_text(organ_json_count(object, "tensors"), tensors),
                     organ_count_text(organ_json_count(object, "elements"), elements),
                     organ_count_text(organ_json_count(object, "bytes"), bytes));
}

static void calibration_cells(organ_table *table, const json_t *c)
{
    if (!json_is_object(c))
        return;
    organ_table_cell(table, "Calibration text");
    organ_table_cell(table, "%s, %llu bytes, XXH3 %s, %llu tokens", organ_json_text(c, "text.name"), organ_json_count(c, "text.bytes"),
                     organ_json_text(c, "text.xxh3"), organ_json_count(c, "text.tokens"));
    organ_table_cell(table, "Tokenizer");
    organ_table_cell(table, "%s, vocabulary %llu, digest %s", organ_json_text(c, "tokenizer.kind"),
                     organ_json_count(c, "tokenizer.vocabulary"), organ_json_text(c, "tokenizer.digest"));
    organ_table_cell(table, "Windows");
    organ_table_cell(table, "%llu of %llu tokens, %s; %s", organ_json_count(c, "samples"), organ_json_count(c, "context"),
                     organ_json_text(c, "windows"), organ_json_text(c, "bos"));
    organ_table_cell(table, "Calibrated on");
    organ_table_cell(table, "%s", organ_json_text(c, "streams"));
    organ_table_cell(table, "Tensors whose inputs were taken in blocks of 256");
    organ_table_cell(table, "%llu", organ_json_count(c, "block_diagonal_tensors"));
}

static void imatrix_cells(organ_table *table, const json_t *m)
{
    const json_t *const datasets = organ_json_at(m, "datasets");
    if (!json_is_object(m))
        return;
    organ_table_cell(table, "Imatrix");
    organ_table_cell(table, "%s (%s), %llu bytes, XXH3 %s, %llu entries", organ_json_text(m, "name"), organ_json_text(m, "format"),
                     organ_json_count(m, "bytes"), organ_json_text(m, "xxh3"), organ_json_count(m, "entries"));
    joined_cell(table, "Its texts, as its maker named them", datasets);
    organ_table_cell(table, "Its chunks");
    if (json_is_integer(organ_json_at(m, "chunks")) && json_is_integer(organ_json_at(m, "chunk_size")))
        organ_table_cell(table, "%llu of %llu tokens", organ_json_count(m, "chunks"), organ_json_count(m, "chunk_size"));
    else if (json_is_integer(organ_json_at(m, "chunks")))
        organ_table_cell(table, "%llu, of how many tokens it does not say", organ_json_count(m, "chunks"));
    else
        organ_table_cell(table, "it does not say");
    organ_table_cell(table, "What an imatrix lacks");
    organ_table_cell(table, "%s", organ_json_text(m, "lacks"));
}

/* Of the methods that are not physarum v1. */
static void goal_cells(organ_table *table, const json_t *report)
{
    const json_t *const p = organ_json_at(report, "parameters");
    organ_table_cell(table, "Sparsity");
    if (json_is_string(organ_json_at(p, "pattern")))
        organ_table_cell(table, "pattern %s: at most so many of so many neighbours are kept", organ_json_text(p, "pattern"));
    else if (json_is_number(organ_json_at(p, "sparsity")))
        organ_table_cell(table, "%.15g %% of the elements of each tensor", organ_json_real(p, "sparsity"));
    else
        organ_table_cell(table, "what the flow decides in each tensor");
    if (organ_json_at(p, "effort") && !json_is_object(organ_json_at(report, "imatrix"))) {
        organ_table_cell(table, "Parameters");
        organ_table_cell(table, "compensation=%s, effort=%.15g, seed=%llu", json_is_true(organ_json_at(p, "compensate")) ? "yes" : "no",
                         organ_json_real(p, "effort"), organ_json_count(p, "seed"));
    }
    calibration_cells(table, organ_json_at(report, "calibration"));
    imatrix_cells(table, organ_json_at(report, "imatrix"));
}

static void flow_cells(organ_table *table, const json_t *p)
{
    organ_table_cell(table, "Parameters");
    organ_table_cell(table, "block_size=%llu, iterations=%llu, beta=%.15g, coupling=%.15g, step=%.15g, threshold=%.15g",
                     organ_json_count(p, "block_size"), organ_json_count(p, "iterations"), organ_json_real(p, "beta"),
                     organ_json_real(p, "coupling"), organ_json_real(p, "step"), organ_json_real(p, "threshold"));
    organ_table_cell(table, "Gain");
    if (json_is_number(organ_json_at(p, "sparsity")))
        organ_table_cell(table, "searched for in each tensor, so that %.15g %% of its elements are zeroed", organ_json_real(p, "sparsity"));
    else
        organ_table_cell(table, "%.15g: the sparsity is what the flow decides", organ_json_real(p, "gain"));
}

static void parameter_cells(organ_table *table, const json_t *report)
{
    const json_t *const p = organ_json_at(report, "parameters");
    const char *const targets = organ_json_text(p, "targets");
    organ_table_cell(table, "Method");
    organ_table_cell(table, "%s, definition %s", organ_json_text(p, "method"), organ_json_text(report, "definition"));
    if (organ_json_at(report, "compensates"))
        goal_cells(table, report);
    else
        flow_cells(table, p);
    organ_table_cell(table, "Targets");
    organ_table_cell(table, "%s", *targets ? targets : "the projections q, k, v, o, gate, up and down, with their fused and expert forms");
}

organ_table *organ_prune_inputs_table(const json_t *report)
{
    organ_table *const table = organ_table_create(item_columns, 2);
    const char *const model_type = organ_json_text(report, "donor.model_type");
    organ_table_cell(table, "Donor");
    organ_table_cell(table, "%s (%s%s%s)", organ_json_text(report, "donor.name"), organ_json_text(report, "donor.architecture"),
                     *model_type ? ", " : "", model_type);
    organ_table_cell(table, "Format");
    organ_table_cell(table, "%s, weight files: %llu", organ_json_text(report, "donor.format"), organ_json_count(report, "donor.files"));
    amount_cells(table, "The whole model", organ_json_at(report, "donor"));
    amount_cells(table, "Copied byte for byte", organ_json_at(report, "untouched"));
    parameter_cells(table, report);
    joined_cell(table, "Other files copied", organ_json_at(report, "copied_files"));
    joined_cell(table, "Files with weights copied unpruned", organ_json_at(report, "other_weights"));
    return table;
}

static organ_status put_inputs(const json_t *report, FILE *out, organ_error *error)
{
    fputs("\n## Inputs and outputs\n\n", out);
    return organ_table_emit(organ_prune_inputs_table(report), out, NULL, error);
}

static void aggregate_row(organ_table *table, const char *what, const char *count)
{
    organ_table_cell(table, "%s", what);
    organ_table_cell(table, "%s", count);
}

organ_table *organ_prune_counts_table(const json_t *report)
{
    static const organ_column columns[] = {{"quantity", ORGAN_LEFT, false, false}, {"value", ORGAN_RIGHT, false, false}};
    static const char *const counts[][2] = {{"Tensors pruned", "per_tensor.tensors"},
                                            {"Target weights killed", "totals.target.killed"},
                                            {"Target weights kept, bits unchanged", "kept"},
                                            {"Target weights that were zero before", "zero_before"},
                                            {"Target weights seen, each once", "coverage.processed_elements"},
                                            {"Tiles", "coverage.tiles"}};
    static const char *const percents[][2] = {{"Coverage: seen of target weights", "coverage.percent"},
                                              {"Mean of the tensors' killed percents (each of its own elements)", "per_tensor.mean"},
                                              {"Least of them", "per_tensor.min"},
                                              {"Greatest of them", "per_tensor.max"}};
    char text[32];
    organ_table *const table = organ_table_create(columns, 2);
    const bool compensates = json_is_true(organ_json_at(report, "compensates"));
    for (size_t k = 0; k < sizeof counts / sizeof *counts; k++)
        if (organ_json_at(report, counts[k][1]))
            aggregate_row(table, k == 2 && compensates ? "Target weights kept" : counts[k][0],
                          organ_count_text(organ_json_count(report, counts[k][1]), text));
    if (compensates)
        aggregate_row(table, "Kept weights that were changed to compensate",
                      organ_count_text(organ_json_count(report, "compensated"), text));
    for (size_t k = 0; k < sizeof percents / sizeof *percents; k++)
        aggregate_row(table, percents[k][0], organ_percent_text(organ_json_real(report, percents[k][1]), text));
    return table;
}

static organ_status put_aggregate(const json_t *report, FILE *out, organ_error *error)
{
    fputs("\n## Aggregate sparsity\n\n", out);
    if (organ_table_emit(organ_totals_table(report), out, NULL, error) != ORGAN_OK)
        return error->status;
    fputc('\n', out);
    return organ_table_emit(organ_prune_counts_table(report), out, NULL, error);
}

static organ_status put_projections(const json_t *report, FILE *out, organ_error *error)
{
    fputs("\n## Sparsity by projection\n\nMean, min and max are over the projection's tensors, each percent of that tensor's elements; the "
          "last percent is "
          "of all its elements.\n\n",
          out);
    return organ_table_emit(organ_projections_table(report), out, NULL, error);
}

static int by_percent(const void *a, const void *b)
{
    const json_t *const x = *(json_t *const *)a, *const y = *(json_t *const *)b;
    const double dx = organ_json_real(x, "percent"), dy = organ_json_real(y, "percent");
    if (dx != dy)
        return dx < dy ? 1 : -1;
    const json_int_t lx = json_integer_value(json_object_get(x, "layer")), ly = json_integer_value(json_object_get(y, "layer"));
    return (lx > ly) - (lx < ly);
}

static void put_layer_phrase(FILE *out, const json_t *layer)
{
    char percent[32], elements[32];
    const json_int_t number = json_integer_value(json_object_get(layer, "layer"));
    if (number >= 0)
        fprintf(out, "layer %lld", (long long)number);
    else
        fputs("what is outside the layers", out);
    fprintf(out, " (%s of its %s target weights)", organ_percent_text(organ_json_real(layer, "percent"), percent),
            organ_count_text(organ_json_count(layer, "elements"), elements));
}

static organ_status put_densest(const json_t *layers, FILE *out, organ_error *error)
{
    const size_t count = json_array_size(layers);
    json_t **const sorted = calloc(count, sizeof *sorted);
    if (!sorted)
        return organ_fail(error, ORGAN_IO, "no memory for the report");
    for (size_t k = 0; k < count; k++)
        sorted[k] = json_array_get(layers, k);
    qsort(sorted, count, sizeof *sorted, by_percent);
    fputs("Pruned most densely: ", out);
    for (size_t k = 0; k < count && k < 3; k++) {
        fputs(k == 0 ? "" : k + 1 == count || k == 2 ? " and " : ", ", out);
        put_layer_phrase(out, sorted[k]);
    }
    if (count > 3) {
        fputs("; least: ", out);
        put_layer_phrase(out, sorted[count - 1]);
    }
    fputs(".\n\n", out);
    free(sorted);
    return ORGAN_OK;
}

static organ_status put_layers(const json_t *report, FILE *out, organ_error *error)
{
    static const organ_column columns[] = {{"layer", ORGAN_RIGHT, false, false},
                                           {"n", ORGAN_RIGHT, false, false},
                                           {"killed", ORGAN_RIGHT, false, false},
                                           {"of", ORGAN_RIGHT, false, false},
                                           {"percent", ORGAN_RIGHT, false, false}};
    const json_t *const layers = organ_json_at(report, "layers");
    if (json_array_size(layers) == 0)
        return ORGAN_OK;
    fputs("\n## Sparsity by layer\n\n", out);
    if (put_densest(layers, out, error) != ORGAN_OK)
        return error->status;
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    for (size_t k = 0; k < json_array_size(layers); k++) {
        const json_t *const layer = json_array_get(layers, k);
        const json_int_t number = json_integer_value(json_object_get(layer, "layer"));
        char percent[32];
        organ_table_cell(table, number < 0 ? "none" : "%lld", (long long)number);
        organ_table_count(table, organ_json_count(layer, "tensors"));
        organ_table_count(table, organ_json_count(layer, "killed"));
        organ_table_count(table, organ_json_count(layer, "elements"));
        organ_table_cell(table, "%s", organ_percent_text(organ_json_real(layer, "percent"), percent));
    }
    return organ_table_emit(table, out, NULL, error);
}

static organ_status put_integrity(const json_t *report, FILE *out, organ_error *error)
{
    fputs("\n## Output integrity\n\n", out);
    return organ_table_emit(organ_checks_table(organ_json_at(report, "integrity")), out, NULL, error);
}

static organ_status put_evaluation(const json_t *report, FILE *out, organ_error *error)
{
    return organ_evaluation_markdown(out, report, error);
}

static organ_status put_sentences(const json_t *report, FILE *out, organ_error *error)
{
    (void)error;
    organ_definitions_list(out, report);
    fputs("\n## What is not in this report\n\n", out);
    organ_sentences_list(out, "- ", organ_json_at(report, "not_in_this_report"));
    if (json_is_true(organ_json_at(report, "compensates"))) {
        fputs(
            "\n## How to check it\n\n"
            "`organ audit DONOR OUTPUT --compensated` reads both models anew, never this report or its log, and counts again what is zero "
            "and what was changed; it fails if a tensor that was not a target differs in a single byte. The command for this run stands "
            "below. The log of every tensor is `prune.jsonl`, the numbers of this report are `prune.json`, both beside it.\n",
            out);
        return ORGAN_OK;
    }
    fputs("\n## How to check it\n\n"
          "`organ audit DONOR OUTPUT` reads both models anew, never this report or its log, and counts again what was killed; it fails if "
          "any weight "
          "was changed other than to zero, or if a tensor that was not a target differs in a single byte. The command for this run stands "
          "below. "
          "The log of every tensor is `prune.jsonl`, the numbers of this report are `prune.json`, both beside it.\n",
          out);
    return ORGAN_OK;
}

static organ_status put_shards(const json_t *report, FILE *out, organ_error *error)
{
    static const organ_column columns[] = {{"shard", ORGAN_LEFT, false, true},
                                           {"time", ORGAN_RIGHT, false, false},
                                           {"tensors", ORGAN_RIGHT, false, false},
                                           {"bytes", ORGAN_RIGHT, false, false},
                                           {"killed", ORGAN_RIGHT, false, false},
                                           {"killed so far", ORGAN_RIGHT, false, false}};
    const json_t *const shards = organ_json_at(report, "run.shards");
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    for (size_t k = 0; k < json_array_size(shards); k++) {
        const json_t *const shard = json_array_get(shards, k);
        organ_table_cell(table, "%s", organ_json_text(shard, "file"));
        organ_table_cell(table, "%.2f s", organ_json_real(shard, "seconds"));
        organ_table_count(table, organ_json_count(shard, "tensors"));
        organ_table_count(table, organ_json_count(shard, "bytes"));
        organ_table_count(table, organ_json_count(shard, "killed"));
        organ_table_count(table, organ_json_count(shard, "killed_so_far"));
    }
    return organ_table_emit(table, out, NULL, error);
}

static organ_status put_run(const json_t *report, FILE *out, organ_error *error)
{
    const json_t *const run = organ_json_at(report, "run");
    organ_table *const table = organ_table_create(item_columns, 2);
    char text[32];
    fprintf(out, "\n## Run\n\nThis section varies from run to run; everything above depends on the donor and the parameters alone.\n\n");
    aggregate_row(table, "Donor", organ_json_text(run, "donor"));
    aggregate_row(table, "Output", organ_json_text(run, "output"));
    aggregate_row(table, "Started", organ_json_text(run, "started"));
    aggregate_row(table, "Wall time", organ_duration_text(organ_json_real(run, "seconds"), text));
    organ_table_cell(table, "Speed");
    organ_table_cell(table, "%s/s of target weights", organ_quantity_text((uint64_t)organ_json_real(run, "bytes_per_second"), text));
    organ_table_cell(table, "Machine");
    organ_table_cell(table, "%s, %llu threads (%llu pinned), %s kernels", organ_json_text(run, "host"), organ_json_count(run, "threads"),
                     organ_json_count(run, "pinned"), organ_json_text(run, "cpu_isa"));
    organ_table_cell(table, "Memory allowed");
    organ_table_cell(table, "%.15g MiB", (double)organ_json_count(run, "memory") / 1048576.0);
    aggregate_row(table, "Resumed", json_is_true(json_object_get(run, "resumed")) ? "yes: times are those of the last part" : "no");
    aggregate_row(table, "Program", organ_json_text(report, "organ"));
    if (organ_table_emit(table, out, NULL, error) != ORGAN_OK)
        return error->status;
    fputs("\nWall time by shard:\n\n", out);
    if (put_shards(report, out, error) != ORGAN_OK)
        return error->status;
    fputs("\nTo check this run:\n\n    ", out);
    organ_audit_command(out, report);
    return ORGAN_OK;
}

organ_status organ_prune_report_markdown(const json_t *report, char **markdown, organ_error *error)
{
    static organ_status (*const sections[])(const json_t *, FILE *, organ_error *) = {
        put_head, put_inputs, put_aggregate, put_projections, put_layers, put_integrity, put_evaluation, put_sentences, put_run};
    organ_text text;
    *markdown = NULL;
    if (organ_text_open(&text, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < sizeof sections / sizeof *sections; k++)
        if (sections[k](report, text.out, error) != ORGAN_OK) {
            organ_text_discard(&text);
            return error->status;
        }
    return organ_text_finish(&text, markdown, error);
}
