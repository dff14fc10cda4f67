/* SPDX-License-Identifier: MIT
 * topology: prints where the threads and buffers of a run would be placed. */
#include "orchestrator/cli/verb_parts.h"
#include <organ/inspect.h>

typedef struct topology_call {
    organ_call call;
    const char *import; /* --import */
} topology_call;
#define CALL topology_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option planning[] = {
    INPUT("import", "FILE.xml", import,
          "plan for another machine: run hwloc's 'lstopo FILE.xml' there and copy FILE.xml here"),
    NUMBER("threads", "N", call.threads, "number of workers to place; default: one per core",
                                    .letter = 't', .range = {THREADS})};

/* Needs no engine, because it starts no threads. */
WORK(topology_work)
{
    const organ_machine_plan_options options = {.import = own->import, .threads = call->threads, .ranks = call->ranks};
    return organ_machine_plan(&options, report, error);
}
RUN_WORK(topology, false)

const organ_verb organ_topology_verb = {
    .name = "topology",
    .shares = true,
    .summary = "print where threads and buffers of a run would be placed",
    .about = "Prints the core to which each thread of a run would be pinned, the NUMA node of its buffers, and the "
             "parts of the machine that a run does not use. Those are CPUs that are offline, outside the cpuset or "
             "affinity mask, or without a worker, and memory nodes that are empty, forbidden or far from every used "
             "core.\n"
             "Workers first get one CPU of each core, then the second hardware threads of the cores. The fastest "
             "kind of core comes first; among equal cores the NUMA nodes take turns. By default there is one worker "
             "per core, so slower cores are used too. These do not delay faster ones, because organ assigns work "
             "tile by tile. The results of every verb are the same with any plan.",
    GROUPS(GROUP("Options", planning), RANKS_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ topology", "Prints where the workers of a run on this machine would be placed."},
             {"taskset -c 0-7 organ topology --threads 4",
              "Prints the plan for the CPUs that a batch system or taskset allows."},
             {"organ topology --import host.xml --json | jq '.workers[].cpu'",
              "Prints the CPUs of the workers on the machine where 'lstopo host.xml' ran."}),
    .exits = "0 done; 2 wrong usage; 3 FILE.xml is not a topology of hwloc; 4 FILE.xml cannot be read, or memory is "
             "exhausted.",
    .run = run_topology};
