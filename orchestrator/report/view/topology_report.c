/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/topology_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"

#include <stdint.h>
#include <stdio.h>

static void memory_cell(organ_table *table, const json_t *node)
{
    if (json_is_integer(organ_json_at(node, "bytes")))
        organ_bytes_cell(table, node, "bytes");
    else
        organ_table_cell(table, "not told");
}

organ_table *organ_topology_nodes_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_COUNT("node", "node"), FIELD_BY("memory", memory_cell, 0), FIELD_COUNT("cores", "cores"),
                                         FIELD_COUNT("workers", "workers"), FIELD_COUNT("band buffers at most", "band_buffers")};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "nodes"), SIZE_MAX);
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

static void node_cell(organ_table *table, const json_t *worker)
{
    organ_table_cell(table, "node %llu", organ_json_count(worker, "node"));
}

static void remarks_cell(organ_table *table, const json_t *row)
{
    const unsigned long long sharers = organ_json_count(row, "workers_on_cpu"), kind = organ_json_count(row, "kind");
    const char *const remarks[] = {kind ? "slower kind of core" : NULL,
                                   sharers > 1                        ? "shares its CPU"
                                   : organ_json_count(row, "sibling") ? "shares its core"
                                                                      : NULL,
                                   json_is_true(organ_json_at(row, "node_is_near")) ? NULL : "its own node has no memory to use"};
    put_remarks(table, remarks, sizeof remarks / sizeof *remarks);
}

organ_table *organ_topology_workers_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_COUNT("worker", "worker"),
                                         FIELD_COUNT("CPU", "cpu"),
                                         FIELD_COUNT("core", "core"),
                                         FIELD_COUNT("package", "package"),
                                         FIELD_BY("buffers on", node_cell, ORGAN_FIELD_LEFT),
                                         FIELD_BY("remarks", remarks_cell, ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "workers"), SIZE_MAX);
}

organ_table *organ_topology_left_out_table(const json_t *report)
{
    static const organ_field fields[] = {FIELD_TEXT("left out", "what", 0), FIELD_TEXT("which", "which", 0),
                                         FIELD_TEXT("why", "why", ORGAN_FIELD_SHORTENS)};
    return organ_field_table(FIELD_LIST(fields), organ_json_at(report, "left_out"), SIZE_MAX);
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
