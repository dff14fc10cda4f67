/* SPDX-License-Identifier: MIT
 * organ merge. */
#include "orchestrator/cli/cli_parts.h"
#include <organ/inspect.h>

typedef struct merge_call {
    organ_call call;
    organ_merge_options merge;
} merge_call;
#define CALL merge_call

/* Tables are laid out by hand. */
/* clang-format off */

RUN_REMOTE(merge, organ_merge, merge)

const organ_verb organ_merge_verb = {
    .name = "merge",
    .summary = "merge several models into one",
    .about = "Reads every weight as the numbers it means, whatever it is packed in, and counts them by role.",
    OPERANDS(OPERAND("MODEL", MODEL, merge.model,
                     "a model: directory, .safetensors, .gguf, organ directory; packed weights are dequantised on the "
                     "way")),
    GROUPS(MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ merge Qwen3-4B", "The values of each role."},
             {"organ merge model.gguf --json", "The same as a JSON document."}),
    .run = run_merge};
