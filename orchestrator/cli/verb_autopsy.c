/* SPDX-License-Identifier: MIT
 * autopsy: checks the weights of a model for damage. */
#include "orchestrator/cli/verb_parts.h"
#include <organ/inspect.h>
#include <organ/report.h>

#include <stdio.h>

typedef struct autopsy_call {
    organ_call call;
    organ_autopsy_options autopsy;
    bool print_ranges; /* --print-ranges */
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
        return organ_fail(error, ORGAN_USAGE, "--print-ranges does not accept a model: it prints the built-in ranges");
    if (own->print_ranges && own->call.html)
        return organ_fail(error, ORGAN_USAGE,
                          "--print-ranges cannot be combined with --html: its output is not a report");
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
          "file of expected ranges that replace the built-in ones; edit the output of --print-ranges"),
    INPUT("text", "FILE", autopsy.text,
          "test whether all scales are wrong by one factor: predict the first 512 tokens of this text with the scales "
          "times 1/4, 1/2, 1, 2 and 4. If the scales are right, the factor 1 predicts it best. The test runs the model "
          "five times"),
    FLAG("print-ranges", print_ranges, "print the built-in ranges in the format of --ranges and exit"),
    TEXT("match", "GLOB", autopsy.match, "check only weights whose name matches, for example '*.mlp.*'"),
    FLAG("tensors", call.tensors, "list every tensor with its statistics"),
    OUTPUT("DIR", autopsy.output, "write autopsy.json, AUTOPSY_REPORT.md and AUTOPSY_REPORT.html to this directory")};

const organ_verb organ_autopsy_verb = {
    .name = "autopsy",
    .shares = true,
    .summary = "check every weight of a model for damage and name the likely cause",
    .about = "Computes statistics of the dequantised values of every weight: mean, standard deviation, range and "
             "excess kurtosis. It also counts distinct values, zeros, rows and columns of zeros, NaN and infinities. "
             "Statistics that no healthy weight has are findings. The report states the usual cause of each finding, "
             "such as scales that belong to other blocks, wrong zero points, or weights that were never loaded. With "
             "OTHER, autopsy also reports the relative error, cosine and largest difference of each weight.\n"
             "The expected range of a projection is |mean| < 0.01, std 0.02 to 0.05 and values within 0.5 of zero. "
             "Small models have wider weights and large ones narrower, so values outside this range are only remarks. "
             "Findings, which make the exit code 1, are |mean| above 0.1, std outside 0.0001 to 1, or values beyond "
             "100; |mean| above 1 or std above 10 is reported as exploded. Embeddings, norms, routers and biases have "
             "wider ranges: --print-ranges prints all of them.\n"
             "Usual relative errors of quantised copies are 0.4 to 2 percent for 8-bit integers, 2 to 4 for FP8, 8 to "
             "15 for 4-bit codes, 14 to 32 for 3-bit codes. An error above 1.5 times the usual maximum is a finding "
             "unless rounding, pruning, an adapter or training explains it.",
    OPERANDS(OPTIONAL("MODEL", MODEL, autopsy.model,
                      "a model: directory, .safetensors, .gguf, organ directory; packed weights are dequantised"),
             OPTIONAL("OTHER", MODEL, autopsy.other,
                      "a model to compare it with, for example the original of a quantised copy")),
    GROUPS(GROUP("Options", options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ autopsy Qwen3-32B-FP8", "Checks every weight, with its scales applied."},
             {"organ autopsy dequantised original", "Also measures the difference of each weight from the original."},
             {"organ autopsy model --match '*.layers.3.*' --tensors", "Prints the statistics of one layer."},
             {"organ autopsy --print-ranges >ranges.json", "Writes the ranges to a file for --ranges."}),
    .exits = "0 healthy (remarks allowed); 1 there are findings; 2 wrong usage; 3 a model or FILE is malformed or "
             "changed during the run; 4 a model or FILE cannot be read, or the report cannot be written; 130 "
             "interrupted.",
    .run = run_autopsy};
