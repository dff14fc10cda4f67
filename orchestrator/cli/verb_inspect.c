/* SPDX-License-Identifier: MIT
 * inspect: lists the tensors of a model. */
#include "orchestrator/cli/verb_parts.h"
#include <organ/inspect.h>

typedef struct inspect_call {
    organ_call call;
    organ_inspect_options inspect;
    bool untrusted; /* --untrusted */
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
        return organ_fail(error, ORGAN_USAGE,
                          "--untrusted examines files, not tensors: --tensors and --match have no meaning with it");
    return organ_untrusted(&(organ_untrusted_options){.model = own->inspect.model}, report, error);
}
RUN_WORK(inspect, false)

static const organ_option inspect_options[] = {
    FLAG("tensors", inspect.tensors, "list every tensor, and the tensors that make up each packed weight"),
    TEXT("match", "GLOB", inspect.match, "count and list only tensors whose name matches, for example '*.mlp.*'"),
    FLAG("untrusted", untrusted,
         "check a directory or file of any content for code and other risks before it is loaded")};

const organ_verb organ_inspect_verb = {
    .name = "inspect",
    .shares = true,
    .summary = "list the tensors of a model by role, with types, shapes, sizes and faults",
    .about = "Prints the tensors of a model by role, which is the purpose that organ derives from the name, such as "
             "q_proj. It reads only headers, index and config, so the time does not depend on the size of the weights. "
             "With --untrusted it checks all files of a download for content that could execute code or do damage when "
             "the model is loaded: pickles, programs, configs and chat templates with code, malformed headers, links, "
             "misleading names. It executes none of them.",
    OPERANDS(OPERAND("MODEL", MODEL, inspect.model,
                     "a model directory, a .safetensors or .gguf file, or a model.safetensors.index.json")),
    GROUPS(GROUP("Options", inspect_options), RANKS_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ inspect Qwen2.5-7B-Instruct",
              "Prints the architecture, the tensors by role, and faults of the files."},
             {"organ inspect Qwen2.5-7B-Instruct --tensors --match '*.layers.3.*'",
              "Lists every tensor of layer 3 with type, shape and size."},
             {"organ inspect --untrusted Downloads/model",
              "Checks a download for pickles, programs, templates, links and malformed headers."},
             {"organ inspect model.safetensors --json | jq .roles", "Prints the roles as JSON."}),
    .exits = "0 the model is sound; 1 --untrusted has findings; 2 wrong usage; 3 the model has a fault, which "
             "stderr names; 4 the model cannot be read.",
    .run = run_inspect};
