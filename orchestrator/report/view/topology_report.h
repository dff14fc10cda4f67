/* SPDX-License-Identifier: MIT
 * A document organ.topology/1 for people: where workers and buffers live, and what of the machine is left out. The text is for the caller
 * to free. */
#ifndef ORGAN_TOPOLOGY_REPORT_H
#define ORGAN_TOPOLOGY_REPORT_H

#include "orchestrator/report/text/text_table.h"

#include <jansson.h>

organ_status organ_topology_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error);
organ_status organ_topology_report_html(const json_t *report, char **html, organ_error *error);

/* One row a memory node, a worker, a thing left out. NULL without memory, which the tables' functions accept. */
organ_table *organ_topology_nodes_table(const json_t *report);
organ_table *organ_topology_workers_table(const json_t *report);
organ_table *organ_topology_left_out_table(const json_t *report);

#endif
