/* SPDX-License-Identifier: MIT
 * inspect: what is in a model. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/health/health.h"
#include "orchestrator/surgery/untrusted/untrusted.h"

typedef struct inspect_call {
    organ_call call;
    organ_inspect_options inspect;
    bool untrusted;
} inspect_call;
#define CALL inspect_call

/* Tables are laid out by hand. */
/* clang-format off */

WORK(inspect_work)
{
    own->inspect.access = &call->access;
    if (!own->untrusted)
        return organ_inspect(&own->inspect, report, error);
    if (own->inspect.tensors || own->inspect.match)
        return organ_fail(error, ORGAN_USAGE, "--untrusted looks at files, not at tensors: --tensors and --match have "
                                              "no meaning with it");
    return organ_untrusted(&(organ_untrusted_options){.model = own->inspect.model}, report, error);
}
RUN_WORK(inspect, false)

static const organ_option inspect_options[] = {
    FLAG("tensors", inspect.tensors, "list every tensor, and which tensors each packed weight is made of"),
    TEXT("match", "GLOB", inspect.match, "count and list only tensors whose name matches, for example '*.mlp.*'"),
    FLAG("untrusted", untrusted, "look for what could harm who loads it, before anyone does: a directory or a file, "
                                 "whatever is in it")};

const organ_verb organ_inspect_verb = {
    .name = "inspect",
    .shares = true,
    .summary = "what is in a model: tensors by role, types, shapes, sizes, faults",
    .about = "Shows what is in a model. Only headers, index and config are read, so this takes no time even for the "
             "largest one. With --untrusted it looks at all files of a download before anyone loads it: pickles and "
             "programs, configs and chat templates that run code, headers, links, names that hide. Nothing of it is "
             "run.",
    OPERANDS(OPERAND("MODEL", MODEL, inspect.model,
                     "a model directory, a .safetensors or .gguf file, or a model.safetensors.index.json")),
    GROUPS(GROUP("Options", inspect_options), RANKS_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ inspect Qwen2.5-7B-Instruct",
              "What kind of model it is, its tensors by role, and whether the files are sound."},
             {"organ inspect Qwen2.5-7B-Instruct --tensors --match '*.layers.3.*'",
              "Every tensor of layer 3 with type, shape and size."},
             {"organ inspect --untrusted Downloads/model",
              "Whether a download is safe to load: pickles, programs, templates, links, headers."},
             {"organ inspect model.safetensors --json | jq .roles", "The same for a program."}),
    .exits = "0 if the model is sound; 3 if something is wrong with it, as stderr then says; 1 if --untrusted has "
             "findings; 2 for wrong usage; 4 if it cannot be read.",
    .run = run_inspect};
