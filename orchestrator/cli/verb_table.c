/* SPDX-License-Identifier: MIT
 * The one table of verbs and options. */
#include "orchestrator/cli/verb_table.h"

#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/cli/verbs.h"

/* clang-format off: tables are laid out by hand */

#define TYPE_CHOICES .argument = "TYPE,...", .choices = "skeleton|organ|embed|norm|other|all", .several = true

/* ---- inspect ---- */

static const organ_operand inspect_operands[] = {
    {"MODEL", "a model directory, a .safetensors or .gguf file, or a model.safetensors.index.json", AT(inspect.model), false,
     ORGAN_NAMES_MODEL}};
static const organ_option inspect_options[] = {
    {.name = "tensors", .value = ORGAN_VALUE_FLAG, .offset = AT(inspect.tensors),
     .help = "list every tensor, and which tensors each packed weight is made of"},
    {.name = "match", .value = ORGAN_VALUE_TEXT, .argument = "GLOB", .offset = AT(inspect.match),
     .help = "count and list only tensors whose name matches, for example '*.mlp.*'"}};
static const organ_option_group inspect_groups[] = {{"Options", inspect_options, COUNT(inspect_options)},
                                                    {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                                    {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example inspect_examples[] = {
    {"organ inspect Qwen2.5-7B-Instruct", "What kind of model it is, its tensors by role, and whether the files are sound."},
    {"organ inspect Qwen2.5-7B-Instruct --tensors --match '*.layers.3.*'", "Every tensor of layer 3 with type, shape and size."},
    {"organ inspect model.safetensors --json | jq .roles", "The same for a program."}};

/* ---- prune ---- */

static const organ_operand prune_operands[] = {{"DONOR", "the model to prune; it is only read, never changed", AT(prune.donor), false,
ORGAN_NAMES_MODEL}};
static const organ_option prune_options[] = {
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "OUT", .required = true, .offset = AT(prune.output),
     .help = "the directory to make; it appears when it is whole", .names = ORGAN_NAMES_OUTPUT},
    {.name = "sparsity", .letter = 's', .value = ORGAN_VALUE_REAL, .argument = "S", .range = {0, 100, true, true},
     .offset = AT(prune.sparsity), .help = "percent of each tensor's weights to kill; if not given, the flow decides"},
    {.name = "method", .value = ORGAN_VALUE_TEXT, .argument = "NAME", .fallback = "physarum-v1", .offset = AT(calibrated.method),
     .choices = "physarum-v1|physarum-v2|magnitude|wanda|sparsegpt", .help = "how to choose what is killed"},
    {.name = "targets", .value = ORGAN_VALUE_TEXT, .argument = "GLOB,...", .offset = AT(prune.targets),
     .help = "prune the tensors whose names match one of these instead of the projections"},
    {.name = "resume", .value = ORGAN_VALUE_FLAG, .offset = AT(prune.resume),
     .help = "go on with a run that was interrupted; the result is the same; physarum-v1 only"},
    FORCE(prune.force, "OUT"),
    {.name = "dry-run", .letter = 'n', .value = ORGAN_VALUE_FLAG, .offset = AT(prune.dry_run),
     .help = "write nothing, only say what would be pruned"}};
static const organ_option calibration_options[] = {
    {.name = "calibration", .value = ORGAN_VALUE_TEXT, .argument = "FILE", .offset = AT(calibrated.calibration),
     .help = "the text to go by, for physarum-v2, wanda and sparsegpt; not one that is scored afterwards", .names = ORGAN_NAMES_INPUT},
    {.name = "imatrix", .value = ORGAN_VALUE_TEXT, .argument = "FILE", .offset = AT(calibrated.imatrix),
     .help = "an importance matrix of llama.cpp to go by instead, for wanda and physarum-v2, which then does not compensate",
     .names = ORGAN_NAMES_INPUT},
    {.name = "samples", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {1, 1000000, false, false}, .fallback = "128",
     .offset = AT(calibrated.samples), .help = "windows of the text, evenly spread over it"},
    {.name = "context", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {1, 1048576, false, false}, .fallback = "512",
     .offset = AT(calibrated.context), .help = "tokens of a window"},
    {.name = "pattern", .value = ORGAN_VALUE_TEXT, .argument = "2:4|4:8", .choices = "2:4|4:8", .offset = AT(calibrated.pattern),
     .help = "of each 4 (8) neighbours in a row 2 (4) are kept; instead of --sparsity; not for physarum-v1"},
    {.name = "no-compensate", .value = ORGAN_VALUE_FLAG, .offset = AT(calibrated.no_compensate),
     .help = "physarum-v2: leave the kept weights as they are"},
    {.name = "effort", .value = ORGAN_VALUE_REAL, .argument = "E", .range = {0, 100, true, false}, .fallback = "1",
     .offset = AT(calibrated.effort), .help = "physarum-v2: scales the products with the second moments that compensation takes"},
    {.name = "seed", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {0, 4294967295, false, false}, .fallback = "0",
     .offset = AT(calibrated.seed), .help = "physarum-v2: of the noise that shows which inputs are stable"}};
static const organ_option flow_options[] = {
    {.name = "block-size", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {16, 4096, false, false}, .fallback = "256",
     .offset = AT(prune.block_size), .help = "edge of a tile in weights"},
    {.name = "iterations", .value = ORGAN_VALUE_COUNT, .argument = "N", .range = {1, 100000, false, false}, .fallback = "30",
     .offset = AT(prune.iterations), .help = "steps of the flow in each tile"},
    {.name = "beta", .value = ORGAN_VALUE_REAL, .argument = "B", .range = {0, 64, true, false}, .fallback = "2.0", .offset = AT(prune.beta),
     .help = "how sharply growth answers to flow"},
    {.name = "coupling", .value = ORGAN_VALUE_REAL, .argument = "L", .range = {0, 8, false, false}, .fallback = "1.0",
     .offset = AT(prune.coupling), .help = "how much a starved row or column pulls; with 0 magnitude alone decides"}};
static const organ_option_group prune_groups[] = {{"Options", prune_options, COUNT(prune_options)},
                                                  {"Physarum v1", flow_options, COUNT(flow_options)},
                                                  {"Calibrated methods", calibration_options, COUNT(calibration_options)},
                                                  {"Evaluation", ORGAN_EVALUATION_OPTIONS},
                                                  {"Machine", ORGAN_MACHINE_OPTIONS},
                                                  {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example prune_examples[] = {
    {"organ prune Qwen2.5-7B-Instruct -o Qwen2.5-7B-Pruned", "Prunes the seven projections of every layer with the default flow."},
    {"organ prune donor -o pruned --sparsity 30 --targets '*.mlp.*_proj.weight'",
     "Kills 30 % of each feed-forward projection and leaves attention alone."},
    {"organ prune donor -o half --method physarum-v2 --calibration a.txt -s 50",
     "Kills half of each projection and changes what is left so that the layers do what they did on that text."},
    {"organ prune donor -o pruned --resume", "Goes on where a killed run stopped."},
    {"organ prune donor -o pruned --dry-run", "Says what would be pruned, and how much of the model that is."}};

/* ---- audit ---- */

static const organ_operand audit_operands[] = {{"DONOR", "the model as it was before pruning", AT(audit.donor), false, ORGAN_NAMES_MODEL},
                                               {"PRUNED", "the pruned copy", AT(audit.pruned), false, ORGAN_NAMES_MODEL}};
static const organ_option audit_options[] = {
    {.name = "targets", .value = ORGAN_VALUE_TEXT, .argument = "GLOB,...", .offset = AT(audit.targets),
     .help = "the tensors that were pruned, if it was not the projections: as given to prune"},
    {.name = "compensated", .value = ORGAN_VALUE_FLAG, .offset = AT(audit.compensated),
     .help = "the pruning changed the weights that it kept (physarum-v2, sparsegpt): count them, do not fail for them"}};
static const organ_option_group audit_groups[] = {{"Options", audit_options, COUNT(audit_options)},
                                                  {"Machine", ORGAN_MACHINE_OPTIONS},
                                                  {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                                  {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example audit_examples[] = {
    {"organ audit Qwen2.5-7B-Instruct Qwen2.5-7B-Pruned", "Counts again, from the bytes of both, what was killed and what was left alone."},
    {"organ audit donor pruned --json | jq .totals", "Killed weights over both denominators, for a program."}};

/* ---- extract ---- */

static const organ_operand extract_operands[] = {
    {"MODEL", "the model to take apart: a .gguf file (of a split one any part), a directory, a .safetensors file", AT(extract.model),
     false, ORGAN_NAMES_MODEL}};
static const organ_option extract_options[] = {
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "DIR", .required = true, .offset = AT(extract.output),
     .help = "the organ directory to make; it appears when it is whole", .names = ORGAN_NAMES_OUTPUT},
    FORCE(extract.force, "DIR"),
    {.name = "dry-run", .letter = 'n', .value = ORGAN_VALUE_FLAG, .offset = AT(extract.dry_run),
     .help = "write nothing, only say what would be in DIR"}};
static const organ_option_group extract_groups[] = {{"Options", extract_options, COUNT(extract_options)},
                                                    {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                                    {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example extract_examples[] = {
    {"organ extract model.gguf -o organs", "Takes a model apart: organs/organs/blk_0_ffn_gate.bin and so on."},
    {"organ extract model-00001-of-00013.gguf -o organs", "The same with a model in 13 files."},
    {"organ assemble organs -o again.gguf", "The donor again, byte for byte."}};

/* ---- assemble ---- */

static const organ_operand assemble_operands[] = {
    {"DIR", "an organ directory; or a model in several files, to make one of them", AT(assemble.directory), false, ORGAN_NAMES_MODEL}};
static const organ_option assemble_options[] = {
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "OUT", .required = true, .offset = AT(assemble.output),
     .help = "X.gguf or X.safetensors: one file; any other name: a directory with the donor's files as they were cut",
     .names = ORGAN_NAMES_OUTPUT},
    FORCE(assemble.force, "OUT"),
    {.name = "dry-run", .letter = 'n', .value = ORGAN_VALUE_FLAG, .offset = AT(assemble.dry_run),
     .help = "write nothing, only say which files there would be"}};
static const organ_option_group assemble_groups[] = {{"Options", assemble_options, COUNT(assemble_options)},
                                                     {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                                     {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example assemble_examples[] = {
    {"organ assemble organs -o model.gguf", "One file; where nothing was changed it is the donor, byte for byte."},
    {"organ assemble organs -o model", "A directory with the donor's files, its tokenizer and configuration."},
    {"organ assemble model-00001-of-00003.gguf -o model.gguf", "Merges a split model."}};

/* ---- fleet ---- */

static const organ_operand fleet_operands[] = {
    {"DIR", "the directory under which the models lie; nothing in it is changed", AT(fleet.directory), false, ORGAN_NAMES_INPUT}};
static const organ_option fleet_options[] = {
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "OUT", .required = true, .offset = AT(fleet.output),
     .help = "the directory for organs and reports, made if need be", .names = ORGAN_NAMES_OUTPUT},
    {.name = "no-extract", .value = ORGAN_VALUE_FLAG, .offset = AT(fleet.no_extract), .help = "measure only, take no model apart"}};
static const organ_option_group fleet_groups[] = {{"Options", fleet_options, COUNT(fleet_options)},
                                                  {"Machine", ORGAN_MACHINE_OPTIONS},
                                                  {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example fleet_examples[] = {
    {"organ fleet models -o fleet", "Takes every model under models/ apart and measures it."},
    {"organ fleet models -o fleet --no-extract", "Measures them, without a copy of their weights."}};

/* ---- measure ---- */

static const organ_operand measure_operands[] = {
    {"MODEL...", "one model or several to compare: directories, files, what organ extract made, or http(s) URLs of files or directories",
     AT(models), false, ORGAN_NAMES_MODEL}};
static const organ_option measure_options[] = {
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "OUTDIR", .offset = AT(measure.output),
     .help = "write z_report.json, Z_MEASURE_REPORT.md and Z_MEASURE_REPORT.html into this directory", .names = ORGAN_NAMES_OUTPUT},
    {.name = "type", .value = ORGAN_VALUE_TEXT, TYPE_CHOICES, .offset = AT(measure.types),
     .help = "only tensors of these kinds"},
    {.name = "layers", .value = ORGAN_VALUE_TEXT, .argument = "RANGE,...", .offset = AT(measure.layers),
     .help = "only tensors of these layers, for example 5-20 or 0-3,8"},
    {.name = "definition", .value = ORGAN_VALUE_TEXT, .argument = "z|seed", .choices = "z|seed", .fallback = "z", .offset = AT(definition),
     .help = "seed: an older measure besides, from the spacings of 4,096 sorted values, for comparison with figures made by it"},
    {.name = "delete-after", .value = ORGAN_VALUE_FLAG, .offset = AT(measure.delete_after),
     .help = "measure the shards that are there one by one and delete each that was measured, never another: for models that another "
             "program downloads; needs -o, and is given again until all shards have come"},
    {.name = "tensors", .value = ORGAN_VALUE_FLAG, .offset = AT(tensors), .help = "list every tensor"}};
static const organ_option_group measure_groups[] = {{"Options", measure_options, COUNT(measure_options)},
                                                    {"Machine", ORGAN_MACHINE_OPTIONS},
                                                    {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                                    {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example measure_examples[] = {
    {"organ measure Qwen2.5-7B-Instruct", "Theta by role, layer and group, and the wells."},
    {"organ measure https://host/model-00001-of-00013.gguf -o report",
     "A model that lies elsewhere, read by ranges: nothing of it comes to the disk, and after an interruption it goes on."},
    {"organ measure donor pruned -o report", "Two models in one table, and the reports as files."},
    {"organ measure model.gguf --type organ --layers 5-20 --tensors", "Every feed-forward tensor of sixteen layers."}};

/* ---- graft, chimera ---- */

#define LAYERS_OPTION(of)                                                                                                                  \
    {.name = "layers", .value = ORGAN_VALUE_TEXT, .argument = "N-M,...", .offset = AT(graft.layers),                                       \
     .help = "only these layers of the " of ", counted from 0: 5-20, or 0-3,8; without it every layer and what stands in none"}
#define MAP_OPTION                                                                                                                         \
    {.name = "map", .value = ORGAN_VALUE_TEXT, .argument = "N-M:N-M,...", .offset = AT(graft.map),                                         \
     .help = "layers that go to other layers: 5-20:6-21; a layer behind the last one is added, with --map and all its tensors"}

static const organ_option graft_options[] = {
    {.name = "source", .value = ORGAN_VALUE_TEXT, .argument = "A", .required = true, .offset = AT(graft.source),
     .help = "the model whose tensors are taken", .names = ORGAN_NAMES_MODEL},
    {.name = "target", .value = ORGAN_VALUE_TEXT, .argument = "B", .required = true, .offset = AT(graft.target),
     .help = "the model into a copy of which they are put", .names = ORGAN_NAMES_MODEL},
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "C", .required = true, .offset = AT(graft.output),
     .help = "the copy to make, of the format of B: .gguf, .safetensors, or a directory", .names = ORGAN_NAMES_OUTPUT},
    {.name = "type", .value = ORGAN_VALUE_TEXT, TYPE_CHOICES, .offset = AT(graft.types),
     .help = "what is taken: skeleton is attention, organ feed-forward and experts; if not given, all"},
    LAYERS_OPTION("source"), MAP_OPTION,
    FORCE(graft.force, "C"),
    {.name = "dry-run", .letter = 'n', .value = ORGAN_VALUE_FLAG, .offset = AT(graft.dry_run),
     .help = "write nothing, only say whether it fits and what would be grafted"}};
static const organ_option_group graft_groups[] = {{"Options", graft_options, COUNT(graft_options)},
                                                  {"Evaluation", ORGAN_EVALUATION_OPTIONS},
                                                  {"Machine", ORGAN_MACHINE_OPTIONS},
                                                  {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                                  {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example graft_examples[] = {
    {"organ graft --source A --target B --output C --layers 5-20 --type organ",
     "The feed-forward of layers 5 to 20 of one model in the body of the other."},
    {"organ graft --source A --target B --output C --type skeleton --dry-run", "Whether the attention would fit."},
    {"organ graft --source A --target A -o C --layers 10-15 --map 10-15:22-27",
     "Layers 10 to 15 once more behind the last of 22."}};
static const organ_option chimera_options[] = {
    {.name = "base", .value = ORGAN_VALUE_TEXT, .argument = "A", .required = true, .offset = AT(graft.target),
     .help = "the model that gives the body", .names = ORGAN_NAMES_MODEL},
    {.name = "donor", .value = ORGAN_VALUE_TEXT, .argument = "B", .required = true, .offset = AT(graft.source),
     .help = "the model that gives the rest", .names = ORGAN_NAMES_MODEL},
    {.name = "take", .value = ORGAN_VALUE_TEXT, TYPE_CHOICES, .required = true, .offset = AT(graft.types),
     .help = "what is taken from the donor"},
    LAYERS_OPTION("donor"), MAP_OPTION,
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "C", .required = true, .offset = AT(graft.output),
     .help = "the model to make, of the format of the base", .names = ORGAN_NAMES_OUTPUT},
    FORCE(graft.force, "C"),
    {.name = "dry-run", .letter = 'n', .value = ORGAN_VALUE_FLAG, .offset = AT(graft.dry_run),
     .help = "write nothing, only say whether it fits and what would be taken"}};
static const organ_option_group chimera_groups[] = {{"Options", chimera_options, COUNT(chimera_options)},
                                                    {"Evaluation", ORGAN_EVALUATION_OPTIONS},
                                                    {"Machine", ORGAN_MACHINE_OPTIONS},
                                                    {"Models behind URLs", ORGAN_REACH_OPTIONS},
                                                    {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example chimera_examples[] = {
    {"organ chimera --base A --donor B --take organ --layers 5-20 -o C.gguf",
     "A with the feed-forward of B in layers 5 to 20, streamed from file to file."}};

/* ---- purify ---- */

static const organ_operand purify_operands[] = {
    {"MODEL", "the model to purify, also an organ directory; it is only read, never changed", AT(purify.model), false, ORGAN_NAMES_MODEL}};
static const organ_option purify_options[] = {
    {.name = "output", .letter = 'o', .value = ORGAN_VALUE_TEXT, .argument = "OUT", .required = true, .offset = AT(purify.output),
     .help = "the directory to make, with the model's files and a report; X.gguf or X.safetensors: a single file, of a single file",
     .names = ORGAN_NAMES_OUTPUT},
    {.name = "method", .value = ORGAN_VALUE_TEXT, .argument = "fft|haar", .choices = "fft|haar", .required = true,
     .offset = AT(purify.method), .help = "tell noise by the spectrum of each row, or by wavelets at scale s and 2s"},
    {.name = "threshold", .value = ORGAN_VALUE_REAL, .argument = "K", .range = {0, 1e6, false, false}, .offset = AT(purify.threshold),
     .help = "how many times the noise floor something must be to be none; if not given, 3 for fft, 1 for haar"},
    {.name = "strength", .value = ORGAN_VALUE_REAL, .argument = "S", .range = {0, 1, false, false}, .fallback = "0.1",
     .offset = AT(purify.strength), .help = "which part of the noise is removed"},
    {.name = "type", .value = ORGAN_VALUE_TEXT, TYPE_CHOICES, .offset = AT(purify.types),
     .help = "purify all tensors of these kinds instead of the projections"},
    {.name = "layers", .value = ORGAN_VALUE_TEXT, .argument = "RANGE,...", .offset = AT(purify.layers),
     .help = "only in these layers, for example 5-20 or 0-3,8"},
    FORCE(purify.force, "OUT"),
    {.name = "dry-run", .letter = 'n', .value = ORGAN_VALUE_FLAG, .offset = AT(purify.dry_run),
     .help = "write nothing, only say what would be purified"}};
static const organ_option_group purify_groups[] = {{"Options", purify_options, COUNT(purify_options)},
                                                   {"Evaluation", ORGAN_EVALUATION_OPTIONS},
                                                   {"Machine", ORGAN_MACHINE_OPTIONS},
                                                   {"Output", ORGAN_OUTPUT_OPTIONS}};
static const organ_example purify_examples[] = {
    {"organ purify model.gguf -o purified.gguf --method haar", "Makes a tenth of what wavelets take for noise go away."},
    {"organ purify MODEL -o OUT --method fft --type organ --layers 5-20",
     "The feed-forward tensors of sixteen layers, by their spectra."},
    {"organ purify organs -o purified --method haar --dry-run", "Says what would be purified in an organ directory."}};

/* ---- help, version ---- */

static const organ_operand help_operands[] = {
    {"VERB", "the verb to explain; all of them in short if not given", AT(topic), true, ORGAN_NAMES_VERB},
    {"WORD", "the second word of a verb that has two", AT(topic_second), true, ORGAN_NAMES_VERB}};
static const organ_option_group help_groups[] = {{"Options", ORGAN_HELP_OPTIONS}};

static const organ_verb inspect_verb = {
    .name = "inspect",
    .summary = "what is in a model: tensors by role, types, shapes, sizes, faults",
    .about = "Shows what is in a model. Only headers, index and config are read, so this takes no time even for the largest one.",
    .operands = inspect_operands, .operand_count = COUNT(inspect_operands), .groups = inspect_groups, .group_count = COUNT(inspect_groups),
    .examples = inspect_examples, .example_count = COUNT(inspect_examples),
    .exits = "0 if the model is sound; 3 if something is wrong with it, as stderr then says; 2 for wrong usage; 4 if it cannot be read.",
    .run = organ_run_inspect};

static const organ_verb prune_verb = {
    .name = "prune",
    .summary = "prune a model into a new directory",
    .about = "Sets to zero the weights through which no flow goes: by default Physarum v1, a static magnitude flow over "
             "tiles, in which every weight of a target tensor is seen exactly once. The targets are the attention and feed-forward "
             "projections (q, k, v, o, gate, up, down, with their fused and expert forms), unless --targets names others.\n"
             "--method physarum-v2 goes by what the layers do on a text: the flow is over importances of weights, and what is kept is "
             "changed to make up for what is killed. magnitude, wanda and sparsegpt are there to compare with, as they were published. "
             "--memory must hold the hidden states of the calibration beside a layer. With --imatrix an importance matrix of "
             "llama.cpp (GGUF, or the older imatrix.dat) says how large the inputs are: no text, tokenizer or forward pass is needed, but "
             "nothing is compensated.\n"
             "OUT becomes a complete model directory that opens wherever the donor does: same files, same headers, same sizes. What was "
             "killed is told in OUT/organ: REPORT.md to read, prune.json with all numbers, prune.jsonl with one line per tensor.\n"
             "A run that is interrupted leaves no half model; of physarum-v1, --resume goes on with it, the other methods leave nothing.\n"
             ORGAN_EVALUATION_ABOUT("the donor"),
    .operands = prune_operands, .operand_count = COUNT(prune_operands), .groups = prune_groups, .group_count = COUNT(prune_groups),
    .examples = prune_examples, .example_count = COUNT(prune_examples),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 the donor is malformed or changed meanwhile; 4 the disk is full or refuses; "
             "130 interrupted (physarum-v1: to be resumed)" ORGAN_EVALUATION_EXITS ".",
    .run = organ_run_prune};

static const organ_verb audit_verb = {
    .name = "audit",
    .summary = "prove from the bytes of both models what a pruning did",
    .about = "Reads donor and pruned copy anew and never a log or report: counts the killed weights per tensor and projection, over both "
             "denominators, and checks that every other weight and every other tensor is the same bit for bit, with the same names, types "
             "and shapes.",
    .operands = audit_operands, .operand_count = COUNT(audit_operands), .groups = audit_groups, .group_count = COUNT(audit_groups),
    .examples = audit_examples, .example_count = COUNT(audit_examples),
    .exits = "0 if everything holds; 1 if anything does not, and the report says what; 2 wrong usage; 3 or 4 if a model cannot be read.",
    .run = organ_run_audit};

static const organ_verb extract_verb = {
    .name = "extract",
    .summary = "take a model apart into skeleton, organs, embedding, norms",
    .about = "Writes the bytes of every tensor, and nothing else, into a file of its own: attention into DIR/skeleton, feed-forward and "
             "experts into DIR/organs, the rest into DIR/embed, DIR/norm and DIR/other. DIR/manifest.json has the whole anatomy: name, "
             "role, layer, type, shape, digest and place of each tensor. Headers are kept as they are, and so is what lies beside the "
             "model, so that 'organ assemble' makes the donor again byte for byte.\n"
             "DIR is itself a model: inspect, measure, purify and graft work on it.",
    .operands = extract_operands, .operand_count = COUNT(extract_operands), .groups = extract_groups, .group_count = COUNT(extract_groups),
    .examples = extract_examples, .example_count = COUNT(extract_examples),
    .exits = "0 done; 2 wrong usage, or DIR exists; 3 the model is malformed or changed meanwhile; 4 the disk is full or refuses; 130 "
             "interrupted, nothing is left.",
    .run = organ_run_extract};

static const organ_verb assemble_verb = {
    .name = "assemble",
    .summary = "put a model together from an organ directory",
    .about = "Makes a model of an organ directory. Untouched, it is the donor byte for byte: the one file, or in a directory all files. A "
             "model in several files becomes one where OUT ends in .gguf or .safetensors. A .bin file that was changed, its length kept, "
             "is taken as it is and named in the report. Everything that the manifest and the headers claim is checked before.",
    .operands = assemble_operands, .operand_count = COUNT(assemble_operands), .groups = assemble_groups,
    .group_count = COUNT(assemble_groups), .examples = assemble_examples, .example_count = COUNT(assemble_examples),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 the directory is malformed or changed meanwhile; 4 the disk is full or refuses; 130 "
             "interrupted, nothing is left.",
    .run = organ_run_assemble};

static const organ_verb fleet_verb = {
    .name = "fleet",
    .summary = "take apart and measure every model under a directory",
    .about = "Finds every model under DIR (GGUF files, split sets, safetensors files and directories, organ directories), takes each "
             "apart into OUT/organs as extract does, measures it as measure does, and writes one report: dissection_report.json, "
             "z_report_complete.json Z_MEASURE_REPORT.md and Z_MEASURE_REPORT.html.\n"
             "A broken model is reported and the others go on. A second run into the same OUT does only what changed. Adapters, importance "
             "matrices, vocabularies, projectors and states of optimizers are listed apart and never ranked.\n"
             "There is no --definition: what is kept from run to run are figures of z/1, and one ranking has one measure (measure "
             "--definition seed shows both). There is no --experiment: no text is scored here, and each pruning is told by its own log.",
    .operands = fleet_operands, .operand_count = COUNT(fleet_operands), .groups = fleet_groups, .group_count = COUNT(fleet_groups),
    .examples = fleet_examples, .example_count = COUNT(fleet_examples),
    .exits = "0 done; 1 if a model could not be dissected or measured, and the report says why; 2 wrong usage; 3 no model at all; 4 the "
             "disk refuses; 130 interrupted: what was finished is kept.",
    .run = organ_run_fleet};

static const organ_verb measure_verb = {
    .name = "measure",
    .summary = "measure how far the weights of models are from noise",
    .about = "Reads every tensor and tells from the distribution of its values how far it is from noise: the angle theta, 0 degrees for "
             "noise, made of entropy, kurtosis and scale coherence; with moments, levels of quantisation, the change of information with "
             "scale, and wells, the tensors that lie lower than their neighbours in depth. Several models make one table. A packed "
             "weight is measured from its values, as dequantize writes them; its scales belong to it.\n"
             "A higher theta is no evidence of a better model: damage can raise it.",
    .operands = measure_operands, .operand_count = COUNT(measure_operands), .groups = measure_groups, .group_count = COUNT(measure_groups),
    .examples = measure_examples, .example_count = COUNT(measure_examples),
    .exits = "0 done; 2 wrong usage; 3 a model is malformed or changed meanwhile; 4 it cannot be read, or the report not written; "
             "130 interrupted.",
    .run = organ_run_measure};

static const organ_verb graft_verb = {
    .name = "graft",
    .summary = "put layers, organs or attention of one model into a copy of another",
    .about = "Makes a copy of B in which the chosen tensors have the bytes of A. A and B are GGUF files, safetensors models or organ "
             "directories; they are only read. Widths, heads, vocabulary, layers, types and the order of rows for the rope are compared "
             "first: whatever does not fit is listed, all of it, and nothing is written.\n"
             "Where C is GGUF and a type differs, the tensor keeps its own type and the header follows; elsewhere it is converted to the "
             "type of B if it can be. Where layers are added or moved, the metadata that counts them follows.\n"
             ORGAN_EVALUATION_ABOUT("B") " --threads and --memory are for that alone.",
    .groups = graft_groups, .group_count = COUNT(graft_groups), .examples = graft_examples, .example_count = COUNT(graft_examples),
    .exits = "0 done; 2 wrong usage, or C exists; 3 the models do not fit, are malformed or changed meanwhile; 4 the disk is full or "
             "refuses; 130 interrupted, nothing is left" ORGAN_EVALUATION_EXITS ".",
    .run = organ_run_graft};

static const organ_verb chimera_verb = {
    .name = "chimera",
    .summary = "a graft in one step: the body of one model, parts of another",
    .about = "The same as graft with the names of a recipe: A gives the body, B what is taken. Bytes go from file to file; nothing is "
             "unpacked to the disk.\n"
             ORGAN_EVALUATION_ABOUT("A") " --threads and --memory are for that alone.",
    .groups = chimera_groups, .group_count = COUNT(chimera_groups), .examples = chimera_examples,
    .example_count = COUNT(chimera_examples),
    .exits = "0 done; 2 wrong usage, or C exists; 3 the models do not fit, are malformed or changed meanwhile; 4 the disk is full or "
             "refuses; 130 interrupted, nothing is left" ORGAN_EVALUATION_EXITS ".",
    .run = organ_run_graft};

static const organ_verb purify_verb = {
    .name = "purify",
    .summary = "weaken what a filter takes for noise in the weights",
    .about = "Makes a copy of a model in which what looks like noise in the rows of its projections (q, k, v, o, gate, up, down, with "
             "their fused and expert forms) is multiplied by 1 - strength: bins of a row's spectrum below a floor (fft), or wavelet "
             "details that do not go on at twice their scale (haar). Types and shapes stay as they are; tensors in types that cannot be "
             "written are left alone.\n"
             "What such a filter calls noise is most of what a model knows. The report says how much of the energy went, and warns above "
             "5 %; a higher theta is no evidence of a better model.\n"
             "OUT becomes what the model is: a directory with the same files, or a single file. The report lies in OUT/organ, or beside "
             "the file: PURIFY_REPORT.md and .html to read, purify.json with all numbers.\n"
             ORGAN_EVALUATION_ABOUT("MODEL"),
    .operands = purify_operands, .operand_count = COUNT(purify_operands), .groups = purify_groups, .group_count = COUNT(purify_groups),
    .examples = purify_examples, .example_count = COUNT(purify_examples),
    .exits = "0 done; 2 wrong usage, or OUT exists, or --type names a tensor whose type cannot be written; 3 the model is malformed, has "
             "values that are not finite, or changed meanwhile; 4 the disk is full or refuses; 130 interrupted, and nothing is left"
             ORGAN_EVALUATION_EXITS ".",
    .run = organ_run_purify};

static const organ_verb version_verb = {
    .name = "version",
    .summary = "the version, and which kernels run on this machine",
    .about = "Shows the version, which instruction set the kernels use here and why, and the cores and memory nodes that this process may "
             "use. The environment variable ORGAN_ISA (scalar, avx2, avx512, neon) chooses another instruction set; the results are the "
             "same with all.",
    .groups = help_groups, .group_count = COUNT(help_groups), .run = organ_run_version};

static const organ_verb help_verb = {
    .name = "help",
    .summary = "explain a verb",
    .about = "Explains a verb with all its options and some examples.",
    .operands = help_operands, .operand_count = COUNT(help_operands), .groups = help_groups, .group_count = COUNT(help_groups),
    .run = organ_run_help};

static const organ_verb *const verbs[] = {
    &inspect_verb,
    &prune_verb, &audit_verb, &purify_verb,
    &measure_verb, &fleet_verb, &organ_autopsy_verb, &organ_orthogonality_verb, &organ_report_verb,
    &extract_verb, &assemble_verb, &graft_verb, &chimera_verb,
    &organ_dequantize_verb, &organ_quantize_verb,
    &organ_lora_extract_verb, &organ_lora_sanitize_verb, &organ_lora_merge_verb, &organ_lora_resize_verb,
    &organ_tokenize_verb, &organ_perplexity_verb, &organ_evaluate_verb, &organ_generate_verb,
    &organ_serve_verb,
    &version_verb, &organ_topology_verb, &help_verb, &organ_manual_verb, &organ_completion_verb};
_Static_assert(COUNT(verbs) <= ORGAN_MOST_VERBS, "more verbs than the search has room for");

static const organ_verb_section sections[] = {
    {"Look", &inspect_verb},
    {"Prune and prove it", &prune_verb},
    {"Measure", &measure_verb},
    {"Take apart and put together", &extract_verb},
    {"Precision", &organ_dequantize_verb},
    {"LoRA adapters", &organ_lora_extract_verb},
    {"Compute with a model", &organ_tokenize_verb},
    {"Serve", &organ_serve_verb},
    {"This program", &version_verb}};
const organ_verb_table organ_all_verbs = {verbs, COUNT(verbs), sections, COUNT(sections)};

static bool is_stopped(void *stop) { return organ_stop_asked(stop); }

void organ_call_reach(organ_call *call)
{
    call->access = (organ_model_access){.headers = call->headers.word,
                                        .header_count = call->headers.count,
                                        .patience = call->patience,
                                        .context = (void *)call->stop,
                                        .stopped = is_stopped};
    call->inspect.access = call->audit.access = call->extract.access = call->assemble.access = &call->access;
    call->graft.access = call->orthogonality.access = call->autopsy.access = call->lora_sanitize.access = &call->access;
    call->tokenize.access = call->generate.access = call->perplexity.experiment.access = &call->access;
    call->evaluate.experiment.access = &call->access;
}

organ_call organ_call_make(const organ_stop *stop)
{
    return (organ_call){.prune = {.sparsity = -1.0}, .purify = {.threshold = -1.0}, .stop = stop, .table = &organ_all_verbs};
}
