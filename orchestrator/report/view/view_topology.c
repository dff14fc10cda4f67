/* SPDX-License-Identifier: MIT
 * The view of organ.topology/1, the report of `organ topology`: on which CPUs and memory nodes a run would work. */
#include "orchestrator/report/view/views.h"

/* Condition: another worker runs on the worker's CPU, or on the other hardware thread of its core. */
#define SHARES "workers_on_cpu>1|sibling"

static const organ_item highlights[] = {{NULL, "workers", "{threads:count}"},
                                        {NULL, "usable cores", "{machine.cores:count}"},
                                        {NULL, "memory nodes in use", "{machine.nodes:count}"}};

static const organ_field nodes[] = {FIELD_COUNT("node", "node"),
                                    FIELD_WORDS("memory", "{bytes>-1?{bytes:bytes}|unknown}", 0),
                                    FIELD_COUNT("cores", "cores"), FIELD_COUNT("workers", "workers"),
                                    FIELD_COUNT("band buffers, at most", "band_buffers")};
static const organ_field workers[] = {
    FIELD_COUNT("worker", "worker"),
    FIELD_COUNT("CPU", "cpu"),
    FIELD_COUNT("core", "core"),
    FIELD_COUNT("package", "package"),
    FIELD_WORDS("buffers on", "node {node}", ORGAN_FIELD_LEFT),
    FIELD_WORDS("remarks",
                "{kind?slower kind of core}{" SHARES "?{kind?, }shares its {workers_on_cpu>1?CPU|core}}"
                "{node_is_near?|{kind|" SHARES "?, }its own node has no usable memory}",
                ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)};
static const organ_field ranks[] = {FIELD_COUNT("rank", "rank"), FIELD_TEXT("host", "host", 0),
                                    FIELD_COUNT("workers", "workers"), FIELD_TEXT("CPUs", "cpus", ORGAN_FIELD_SHORTENS),
                                    FIELD_TEXT("buffers on nodes", "nodes", 0)};
static const organ_field left_out[] = {FIELD_TEXT("unused", "what", 0), FIELD_TEXT("which", "which", 0),
                                       FIELD_TEXT("why", "why", ORGAN_FIELD_SHORTENS)};

static const organ_block blocks[] = {
    SAY_AFTER(ON_TERMINAL, NULL, "Machine: ", "{machine.name}"),
    LINES(NULL,
          "  {machine.cores:count} usable core{machine.cores:s} on {machine.nodes:count} memory "
          "node{machine.nodes:s}{machine.kinds>1?, of {machine.kinds} kinds}\n  {threads:count} worker{threads:s}\n\n"),
    HIGHLIGHTS(NULL, highlights),
    SECTION(ON_PAGE, NULL, "Memory nodes"),
    TABLE(ON_ALL, NULL, "nodes", FIELDS(nodes), .caption = "Band buffers are placed near the workers in turn"),
    SECTION(ON_PAGE, NULL, "Workers"),
    TABLE(ON_ALL, NULL, "workers", FIELDS(workers),
          .caption = "Each worker's own buffers are on the node nearest to its core"),
    SECTION(ON_PAGE, "ranks", "Ranks"),
    TABLE(ON_ALL, "ranks", "ranks", FIELDS(ranks),
          .caption = "Processes that share the work of a run; the tables above show the first"),
    SECTION(ON_PAGE, NULL, "Unused"),
    TABLE(ON_ALL, "left_out", "left_out", FIELDS(left_out)),
    SAY_AFTER(ON_ALL, "!left_out", "", "The plan uses all of the machine."),
};

const organ_view organ_topology_view = {
    .schema = "organ.topology/1", .kind = "Plan of the machine", .title = "{machine.name}", BLOCKS_OF(blocks)};
