/* SPDX-License-Identifier: MIT
 * organ topology. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/output/machine_plan.h"

typedef struct topology_call {
    organ_call call;
    const char *import; /* --import */
} topology_call;
#define CALL topology_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option planning[] = {
    INPUT("import", "FILE.xml", import, "a machine recorded by 'lstopo FILE.xml' of hwloc, instead of this one"),
    NUMBER("threads", "N", call.threads, "workers to find places for; if not given, one per core",
                                    .letter = 't', .range = {THREADS})};

WORK(topology_work)
{
    const organ_machine_plan_options options = {.import = own->import, .threads = call->threads, .ranks = call->ranks};
    return organ_machine_plan(&options, report, error);
}
RUN_WORK(topology, false)

const organ_verb organ_topology_verb = {
    .name = "topology",
    .shares = true,
    .summary = "the plan of the machine: where workers and buffers live, and what is left out",
    .about = "Shows where the threads of a run would be pinned and on which NUMA node the buffers of each would lie, "
             "and what of the machine is left out: CPUs that are offline, outside of the cpuset or of the affinity; "
             "memory nodes that are empty, forbidden or far from every core in use; and CPUs that get no worker.\n"
             "Workers get one core each, cores of the fastest kind first, the nodes in turn; then the second hardware "
             "threads. Slower cores are used as well unless --threads says fewer: work is handed out tile by tile, so "
             "that they help without holding up others. The results of every verb are the same with any plan.",
    GROUPS(GROUP("Options", planning), RANKS_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ topology", "Where the workers of a run on this machine live, and what is left out."},
             {"taskset -c 0-7 organ topology --threads 4", "The same for what a batch system or taskset leaves of it."},
             {"organ topology --import host.xml --json | jq '.workers[].cpu'",
              "The plan for another machine, recorded there by 'lstopo host.xml'."}),
    .exits = "0 done; 2 wrong usage; 3 FILE.xml is no record of a machine; 4 it cannot be read, or no memory.",
    .run = run_topology};
