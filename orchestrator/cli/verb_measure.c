/* SPDX-License-Identifier: MIT
 * measure and fleet: measure how far weights are from noise. */
#include "orchestrator/cli/verb_parts.h"
#include <organ/measure.h>

#include <string.h>

typedef struct measure_call {
    organ_call call;
    organ_measure_options measure;
    organ_words models;     /* MODEL... */
    const char *definition; /* --definition */
    organ_fleet_options fleet;
} measure_call;
#define CALL measure_call

/* Tables are laid out by hand. */
/* clang-format off */

/* ---- measure ---- */

static const organ_option measure_options[] = {
    OUTPUT("OUTDIR", measure.output,
           "write z_report.json, Z_MEASURE_REPORT.md and Z_MEASURE_REPORT.html to this directory"),
    TYPES("type", measure.types, "measure only tensors of these kinds; skeleton is attention, organ is feed-forward "
                                 "and experts"),
    TEXT("layers", "RANGE,...", measure.layers, "measure only tensors of these layers, for example 5-20 or 0-3,8"),
    CHOICE("definition", "z|seed", definition,
           "z: theta; seed: also compute the theta of an older script, from a sample of 4,096 values, for comparison "
           "with its published figures",
           .fallback = "z"),
    FLAG("tensors", call.tensors, "list every tensor")};

WORK(measure_work)
{
    organ_measure_options *const o = &own->measure;
    o->models = own->models.word;
    o->model_count = own->models.count;
    o->headers = call->access.headers;
    o->header_count = call->access.header_count;
    o->patience = call->access.patience;
    o->seed = own->definition && strcmp(own->definition, "seed") == 0;
    return organ_measure(o, engine, progress, report, error);
}
RUN_WORK(measure, true)

const organ_verb organ_measure_verb = {
    .name = "measure",
    .shares = true,
    .summary = "measure how far the weights of models are from noise",
    .about = "Measures how far the distribution of the values of each tensor is from normal noise. The figure is an "
             "angle theta from 0 degrees (noise) to 90, computed from the entropy, the kurtosis and the spacings of "
             "the values. The report also has moments, the number of distinct values (levels), and how the information "
             "of the values changes if s neighbouring values are averaged (dI/dlog2 s, in bits per doubling of s). It "
             "lists wells: tensors whose theta is lower than that of the same tensor in the layers before and after, "
             "by more than the standard deviation of theta over the role. One table compares all given models. A "
             "quantised weight is measured by its dequantised values.\n"
             "A higher theta is no evidence of a better model: damage can raise it.",
    OPERANDS(OPERAND("MODEL...", MODEL, models,
                     "one or more models: directories, files, outputs of organ extract, or http(s) URLs of files or "
                     "directories")),
    GROUPS(GROUP("Options", measure_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ measure Qwen2.5-7B-Instruct", "Prints theta by role, layer and group, and the wells."},
             {"organ measure https://host/model-00001-of-00013.gguf -o report",
              "Measures a remote model by range requests, without storing it; an interrupted run continues."},
             {"organ measure donor pruned -o report", "Compares two models in one table and writes the reports."},
             {"organ measure model.gguf --type organ --layers 5-20 --tensors",
              "Lists every feed-forward tensor of sixteen layers."}),
    .exits = "0 done; 2 wrong usage; 3 a model is malformed or changed during the run; 4 a model cannot be read, or "
             "the report cannot be written; 130 interrupted.",
    .run = run_measure};

/* ---- fleet ---- */

static const organ_option fleet_options[] = {
    OUTPUT("OUT", fleet.output, "directory for organs and reports; created if it does not exist", .required = true),
    FLAG("no-extract", fleet.no_extract, "only measure; extract no model")};

RUN(fleet, organ_fleet, fleet)

const organ_verb organ_fleet_verb = {
    .name = "fleet",
    .shares = true,
    .summary = "extract and measure every model under a directory",
    .about = "Finds every model under DIR (GGUF files, split sets, safetensors files and directories, organ "
             "directories), extracts each into OUT/organs as extract does, measures it as measure does, and writes one "
             "report: dissection_report.json, z_report_complete.json, Z_MEASURE_REPORT.md and Z_MEASURE_REPORT.html.\n"
             "A broken model is reported, and the run continues with the others. A second run into the same OUT "
             "processes only changed models. Adapters, importance matrices, vocabularies, projectors and optimizer "
             "states are listed separately and not ranked.\n"
             "fleet does not compute the older measure of measure --definition seed, and runs no model on a text. The "
             "report states the method of each pruned model, which it reads from the model's log.",
    OPERANDS(OPERAND("DIR", INPUT, fleet.directory, "directory of the models; it is not changed")),
    GROUPS(GROUP("Options", fleet_options), MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ fleet models -o fleet", "Extracts and measures every model under models/."},
             {"organ fleet models -o fleet --no-extract", "Measures every model without copying its weights."}),
    .exits = "0 done; 1 a model could not be extracted or measured, and the report says why; 2 wrong usage; 3 "
             "there is no model; 4 a read or write fails; 130 interrupted: finished models are kept.",
    .run = run_fleet};
