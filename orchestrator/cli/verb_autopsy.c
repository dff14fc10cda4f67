/* SPDX-License-Identifier: MIT
 * autopsy: whether the weights of a model are healthy. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/health/health.h"
#include "orchestrator/report/text/document.h"

#include <stdio.h>

typedef struct autopsy_call {
    organ_call call;
    organ_autopsy_options autopsy;
    bool print_ranges;
} autopsy_call;
#define CALL autopsy_call

RUN_REMOTE(model_autopsy, organ_autopsy, autopsy)

static organ_status print_ranges(const organ_call *call, organ_error *error)
{
    json_t *const ranges = organ_autopsy_ranges();
    if (!ranges)
        organ_fail(error, ORGAN_IO, "no memory for the ranges");
    else if (organ_ranks_first(call->ranks))
        organ_document_print(ranges, stdout, error);
    json_decref(ranges);
    return error->status;
}

static organ_status run_autopsy(void *context, organ_error *error)
{
    const CALL *const own = context;
    if (own->print_ranges && own->autopsy.model)
        return organ_fail(error, ORGAN_USAGE,
                          "--print-ranges goes without a model: it prints the ranges that are used without --ranges");
    if (own->print_ranges && own->call.html)
        return organ_fail(error, ORGAN_USAGE, "--print-ranges goes without --html: what it prints is no report");
    if (own->print_ranges)
        return print_ranges(&own->call, error);
    if (!own->autopsy.model)
        return organ_fail(error, ORGAN_USAGE, "MODEL is missing; see 'organ help autopsy'");
    return run_model_autopsy(context, error);
}

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option options[] = {
    INPUT("ranges", "FILE", autopsy.ranges,
          "other ranges, by role, group or default: what --print-ranges prints, changed"),
    INPUT("text", "FILE", autopsy.text,
          "find out whether all scales are wrong by one factor: predict the first 512 tokens of this text with the "
          "scales at 1/4, 1/2, 1, 2 and 4 times their size. Right scales predict it best at 1. Takes five forward "
          "passes"),
    FLAG("print-ranges", print_ranges, "print the ranges that are used without --ranges, as such a file, and do "
                                       "nothing else"),
    TEXT("match", "GLOB", autopsy.match, "look only at weights whose name matches, for example '*.mlp.*'"),
    FLAG("tensors", call.tensors, "list every tensor with its numbers"),
    OUTPUT("DIR", autopsy.output, "write autopsy.json and AUTOPSY_REPORT.md and .html into this directory")};

const organ_verb organ_autopsy_verb = {
    .name = "autopsy",
    .shares = true,
    .summary = "whether every weight of a model is healthy, and if not, why",
    .about = "Reads every weight as the numbers it means, whatever it is packed in: mean, standard deviation, min, "
             "max, excess kurtosis, NaN and infinities, zeros, rows and columns of zeros, distinct values. What no "
             "healthy weight has is a finding, with what usually causes it: codes read without their scales, scales of "
             "other blocks or off by a factor, zero points that are off, the wrong packing, weights that were never "
             "loaded. With OTHER also the relative error, cosine and largest difference of each weight.\n"
             "A projection is expected to have |mean| < 0.01, std 0.02 to 0.05 and values within 0.5 of zero. Small "
             "models have wider weights, large ones narrower: outside of that is a remark. A finding is what is beyond "
             "|mean| 0.1, std 0.0001 to 1 or values within 100 of zero; above |mean| 1 or std 10 it has exploded. "
             "Embeddings, norms, routers and biases have wider ranges of their own: --print-ranges shows all.\n"
             "Copies are usually this far from their originals: 8-bit integers 0.4 to 2 percent, FP8 2 to 4, 4-bit "
             "codes 8 to 15, 3-bit codes 14 to 32. More than 50 percent is a finding.",
    OPERANDS(OPTIONAL("MODEL", MODEL, autopsy.model,
                      "a model: directory, .safetensors, .gguf, organ directory; packed weights are dequantised on the "
                      "way"),
             OPTIONAL("OTHER", MODEL, autopsy.other,
                      "the model to compare it with: the original of a quantised copy, for example")),
    GROUPS(GROUP("Options", options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ autopsy Qwen3-32B-FP8", "Whether every weight is sound, with its scales applied."},
             {"organ autopsy dequantised original", "Also how far each weight is from that of the original."},
             {"organ autopsy model --match '*.layers.3.*' --tensors", "The numbers of one layer."},
             {"organ autopsy --print-ranges >ranges.json",
              "The ranges, to be changed and given back with --ranges ranges.json."}),
    .exits = "0 healthy, remarks allowed; 1 if there are findings; 2 wrong usage; 3 a model or FILE is malformed, or "
             "changed meanwhile; 4 it cannot be read, or the report not written; 130 interrupted.",
    .run = run_autopsy};
