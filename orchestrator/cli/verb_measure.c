/* SPDX-License-Identifier: MIT
 * measure and fleet: how far weights are from noise. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/measure/fleet.h"
#include "orchestrator/surgery/measure/measure.h"

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
    OUTPUT("OUTDIR", measure.output, "write z_report.json, Z_MEASURE_REPORT.md and Z_MEASURE_REPORT.html into this "
                                     "directory"),
    TYPES("type", measure.types, "only tensors of these kinds"),
    TEXT("layers", "RANGE,...", measure.layers, "only tensors of these layers, for example 5-20 or 0-3,8"),
    CHOICE("definition", "z|seed", definition,
           "seed: an older measure besides, from the spacings of 4,096 sorted values, for comparison with figures made "
           "by it",
           .fallback = "z"),
    FLAG("delete-after", measure.delete_after,
         "measure the shards that are there one by one and delete each that was measured, never another: for models "
         "that another program downloads; needs -o, and is given again until all shards have come"),
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
    .about = "Reads every tensor and tells from the distribution of its values how far it is from noise: the angle "
             "theta, 0 degrees for noise, made of entropy, kurtosis and scale coherence; with moments, levels of "
             "quantisation, the change of information with scale, and wells, the tensors that lie lower than their "
             "neighbours in depth. Several models make one table. A packed weight is measured from its values, as "
             "dequantize writes them; its scales belong to it.\n"
             "A higher theta is no evidence of a better model: damage can raise it.",
    OPERANDS(OPERAND("MODEL...", MODEL, models,
                     "one model or several to compare: directories, files, what organ extract made, or http(s) URLs of "
                     "files or directories")),
    GROUPS(GROUP("Options", measure_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ measure Qwen2.5-7B-Instruct", "Theta by role, layer and group, and the wells."},
             {"organ measure https://host/model-00001-of-00013.gguf -o report",
              "A model that lies elsewhere, read by ranges: nothing of it comes to the disk, and after an interruption "
              "it goes on."},
             {"organ measure donor pruned -o report", "Two models in one table, and the reports as files."},
             {"organ measure model.gguf --type organ --layers 5-20 --tensors",
              "Every feed-forward tensor of sixteen layers."}),
    .exits = "0 done; 2 wrong usage; 3 a model is malformed or changed meanwhile; 4 it cannot be read, or the report "
             "not written; 130 interrupted.",
    .run = run_measure};

/* ---- fleet ---- */

static const organ_option fleet_options[] = {
    OUTPUT("OUT", fleet.output, "the directory for organs and reports, made if need be", .required = true),
    FLAG("no-extract", fleet.no_extract, "measure only, take no model apart")};

RUN(fleet, organ_fleet, fleet)

const organ_verb organ_fleet_verb = {
    .name = "fleet",
    .shares = true,
    .summary = "take apart and measure every model under a directory",
    .about = "Finds every model under DIR (GGUF files, split sets, safetensors files and directories, organ "
             "directories), takes each apart into OUT/organs as extract does, measures it as measure does, and writes "
             "one report: dissection_report.json, z_report_complete.json Z_MEASURE_REPORT.md and "
             "Z_MEASURE_REPORT.html.\n"
             "A broken model is reported and the others go on. A second run into the same OUT does only what changed. "
             "Adapters, importance matrices, vocabularies, projectors and states of optimizers are listed apart and "
             "never ranked.\n"
             "There is no --definition: what is kept from run to run are figures of z/1, and one ranking has one "
             "measure (measure --definition seed shows both). There is no --experiment: no text is scored here, and "
             "each pruning is told by its own log.",
    OPERANDS(OPERAND("DIR", INPUT, fleet.directory,
                     "the directory under which the models lie; nothing in it is changed")),
    GROUPS(GROUP("Options", fleet_options), MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ fleet models -o fleet", "Takes every model under models/ apart and measures it."},
             {"organ fleet models -o fleet --no-extract", "Measures them, without a copy of their weights."}),
    .exits = "0 done; 1 if a model could not be dissected or measured, and the report says why; 2 wrong usage; 3 no "
             "model at all; 4 the disk refuses; 130 interrupted: what was finished is kept.",
    .run = run_fleet};
