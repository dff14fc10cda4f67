/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/topology_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"

#include <stdio.h>

organ_table *organ_topology_nodes_table(const json_t *report)
{
    static const organ_column columns[] = {{"node", ORGAN_RIGHT, false, false},
                                           {"memory", ORGAN_RIGHT, false, false},
                                           {"cores", ORGAN_RIGHT, false, false},
                                           {"workers", ORGAN_RIGHT, false, false},
                                           {"band buffers at most", ORGAN_RIGHT, false, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const rows = organ_json_at(report, "nodes");
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        organ_table_count(table, organ_json_count(row, "node"));
        if (json_is_integer(organ_json_at(row, "bytes")))
            organ_bytes_cell(table, row, "bytes");
        else
            organ_table_cell(table, "not told");
        organ_table_count(table, organ_json_count(row, "cores"));
        organ_table_count(table, organ_json_count(row, "workers"));
        organ_table_count(table, organ_json_count(row, "band_buffers"));
    }
    return table;
}

/* Those that are not NULL, separated by commas, as one cell. */
static void put_remarks(organ_table *table, const char *const *remarks, size_t count)
{
    char cell[160] = "";
    size_t length = 0;
    for (size_t k = 0; k < count; k++)
        if (remarks[k])
            length += (size_t)snprintf(cell + length, sizeof cell - length, "%s%s", length ? ", " : "", remarks[k]);
    organ_table_cell(table, "%s", cell);
}

organ_table *organ_topology_workers_table(const json_t *report)
{
    static const organ_column columns[] = {{"worker", ORGAN_RIGHT, false, false},    {"CPU", ORGAN_RIGHT, false, false},
                                           {"core", ORGAN_RIGHT, false, false},      {"package", ORGAN_RIGHT, false, false},
                                           {"buffers on", ORGAN_LEFT, false, false}, {"remarks", ORGAN_LEFT, true, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const rows = organ_json_at(report, "workers");
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        const unsigned long long sharers = organ_json_count(row, "workers_on_cpu"), kind = organ_json_count(row, "kind");
        organ_table_count(table, organ_json_count(row, "worker"));
        organ_table_count(table, organ_json_count(row, "cpu"));
        organ_table_count(table, organ_json_count(row, "core"));
        organ_table_count(table, organ_json_count(row, "package"));
        organ_table_cell(table, "node %llu", organ_json_count(row, "node"));
        const char *const remarks[] = {kind ? "slower kind of core" : NULL,
                                       sharers > 1                        ? "shares its CPU"
                                       : organ_json_count(row, "sibling") ? "shares its core"
                                                                          : NULL,
                                       json_is_true(organ_json_at(row, "node_is_near")) ? NULL : "its own node has no memory to use"};
        put_remarks(table, remarks, sizeof remarks / sizeof *remarks);
    }
    return table;
}

organ_table *organ_topology_left_out_table(const json_t *report)
{
    static const organ_column columns[] = {
        {"left out", ORGAN_LEFT, false, false}, {"which", ORGAN_LEFT, false, false}, {"why", ORGAN_LEFT, true, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const rows = organ_json_at(report, "left_out");
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = json_array_get(rows, k);
        organ_table_cell(table, "%s", organ_json_text(row, "what"));
        organ_table_cell(table, "%s", organ_json_text(row, "which"));
        organ_table_cell(table, "%s", organ_json_text(row, "why"));
    }
    return table;
}

static void put_summary(FILE *out, const json_t *report, const organ_page *page)
{
    organ_text_say(out, page, "Machine: ", "%s", organ_json_text(report, "machine.name"));
    fputs("  ", out);
    organ_plural(out, organ_json_count(report, "machine.cores"), "core", "cores");
    fputs(" may be used, on ", out);
    organ_plural(out, organ_json_count(report, "machine.nodes"), "memory node", "memory nodes");
    if (organ_json_count(report, "machine.kinds") > 1)
        fprintf(out, ", of %llu kinds", organ_json_count(report, "machine.kinds"));
    fputs("\n  ", out);
    organ_plural(out, organ_json_count(report, "threads"), "worker", "workers");
    fputs("\n\n", out);
}

static organ_status put_tables(FILE *out, const json_t *report, const organ_page *page, organ_error *error)
{
    if (organ_table_emit(organ_topology_nodes_table(report), out, page, error) != ORGAN_OK ||
        organ_table_emit(organ_topology_workers_table(report), out, page, error) != ORGAN_OK)
        return error->status;
    if (json_array_size(organ_json_at(report, "left_out")) == 0) {
        fputs("Nothing of the machine is left out.\n", out);
        return ORGAN_OK;
    }
    return organ_table_emit(organ_topology_left_out_table(report), out, page, error);
}

organ_status organ_topology_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    put_summary(buffer.out, report, page);
    put_tables(buffer.out, report, page, error);
    return organ_text_end(&buffer, text, error);
}
