/* SPDX-License-Identifier: MIT
 * organ topology. */
#include "orchestrator/cli/engine_room.h"
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/report/view/topology_report.h"

/* clang-format off: tables are laid out by hand */

static const organ_option options[] = {
    {.name = "import", .value = ORGAN_VALUE_TEXT, .argument = "FILE.xml", .offset = AT(import),
     .help = "a machine recorded by 'lstopo FILE.xml' of hwloc, instead of this one", .names = ORGAN_NAMES_INPUT},
    {.name = "threads", .letter = 't', .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {1, 4096, false, false}, .offset = AT(threads),
     .help = "workers to find places for; if not given, one per core"}};
static const organ_option_group groups[] = {{"Options", options, COUNT(options)}, {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example examples[] = {
    {"organ topology", "Where the workers of a run on this machine live, and what is left out."},
    {"taskset -c 0-7 organ topology --threads 4", "The same for what a batch system or taskset leaves of it."},
    {"organ topology --import host.xml --json | jq '.workers[].cpu'",
     "The plan for another machine, recorded there by 'lstopo host.xml'."}};

/* clang-format on */

static organ_status run(void *context, organ_error *error)
{
    const organ_call *const call = context;
    const organ_machine_plan_options wanted = {.import = call->import, .threads = call->threads};
    json_t *report = NULL;
    if (organ_machine_plan(&wanted, &report, error) == ORGAN_OK)
        organ_show(call, report, organ_topology_report_terminal, error);
    json_decref(report);
    return error->status;
}

/* clang-format off: tables are laid out by hand */

const organ_verb organ_topology_verb = {
    .name = "topology",
    .summary = "the plan of the machine: where workers and buffers live, and what is left out",
    .about = "Shows where the threads of a run would be pinned and on which NUMA node the buffers of each would lie, and what of the "
             "machine is left out: CPUs that are offline, outside of the cpuset or of the affinity; memory nodes that are empty, "
             "forbidden or far from every core in use; and CPUs that get no worker.\n"
             "Workers get one core each, cores of the fastest kind first, the nodes in turn; then the second hardware threads. Slower "
             "cores are used as well unless --threads says fewer: work is handed out tile by tile, so that they help without holding up "
             "others. The results of every verb are the same with any plan.",
    .groups = groups, .group_count = COUNT(groups), .examples = examples, .example_count = COUNT(examples),
    .exits = "0 done; 2 wrong usage; 3 FILE.xml is no record of a machine; 4 it cannot be read, or no memory.",
    .run = run};
