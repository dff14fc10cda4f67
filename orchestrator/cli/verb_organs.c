/* SPDX-License-Identifier: MIT
 * extract, assemble, graft: split models into tensors and combine them. */
#include "orchestrator/cli/cli_parts.h"
#include <organ/organs.h>

typedef struct organs_call {
    organ_call call;
    organ_extract_options extract;
    organ_assemble_options assemble;
    organ_graft_options graft;
} organs_call;
#define CALL organs_call

/* Tables are laid out by hand. */
/* clang-format off */

/* ---- extract ---- */

static const organ_option extract_options[] = {
    OUTPUT("DIR", extract.write.output, "the new organ directory", .required = true),
    TEXT("select", "WHAT", extract.select, "mtp: only the block for multi-token prediction", .choices = "all|mtp"),
    WRITING(extract, "print what DIR would contain" AND_NEEDS)};

WORK(extract_work)
{
    own->extract.access = &call->access;
    own->extract.ranks = call->ranks;
    own->extract.engine = engine;
    return organ_extract(&own->extract, progress, call->stop, report, error);
}
RUN_WORK(extract, true)

const organ_verb organ_extract_verb = {
    .name = "extract",
    .shares = true,
    .summary = "extract the tensors of a model into files by kind",
    .about = "Writes the bytes of every tensor into a file of its own: attention into DIR/skeleton, feed-forward and "
             "experts into DIR/organs, the rest into DIR/embed, DIR/norm and DIR/other. DIR/manifest.json lists "
             "name, role, layer, type, shape, digest and file of each tensor. Headers and the other files of the "
             "model are stored unchanged, so that 'organ assemble' restores the donor byte for byte. DIR is itself a "
             "model that all verbs except prune can read.",
    OPERANDS(OPERAND("MODEL", MODEL, extract.model,
                     "the model to extract: a .gguf file (any part of a split one), a directory, a .safetensors file; "
                     "at a URL only a single file")),
    GROUPS(GROUP("Options", extract_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ extract model.gguf -o organs",
              "Extracts a model into organs/organs/blk_0_ffn_gate.bin and so on."},
             {"organ extract model-00001-of-00013.gguf -o organs", "Extracts a model in 13 files."},
             {"organ extract model-00001-of-00013.gguf -o organs --resume", "Continues an interrupted run."},
             {"organ assemble organs -o again.gguf", "Restores the donor byte for byte."}),
    .run = run_extract};

/* ---- assemble ---- */

static const organ_option assemble_options[] = {
    OUTPUT("OUT", assemble.write.output,
           "X.gguf or X.safetensors: one file; any other name: a directory with files split as the donor's",
           .required = true),
    TEXT("select", "WHAT", assemble.select,
         "mtp: only the block for multi-token prediction; of a GGUF model also embedding, final norm and head, as "
         "llama.cpp reads them from mtp-NAME.gguf", .choices = "all|mtp"),
    WRITING(assemble, "print which files would be written" AND_NEEDS)};

WORK(assemble_work)
{
    own->assemble.access = &call->access;
    own->assemble.ranks = call->ranks;
    own->assemble.engine = engine;
    return organ_assemble(&own->assemble, progress, call->stop, report, error);
}
RUN_WORK(assemble, true)

const organ_verb organ_assemble_verb = {
    .name = "assemble",
    .shares = true,
    .summary = "assemble a model from an organ directory",
    .about = "Writes a model from an organ directory, the output of organ extract. If no file was changed, the "
             "output equals the donor byte for byte. A model in several files becomes one file if OUT ends in .gguf "
             "or .safetensors. If you changed the bytes of a .bin file but not its length, assemble uses them, and "
             "the report names the file.",
    OPERANDS(OPERAND("DIR", MODEL, assemble.directory,
                     "an organ directory, or a model in several files to merge. At a URL: no organ directory; OUT must "
                     "be one file if the model has several")),
    GROUPS(GROUP("Options", assemble_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ assemble organs -o model.gguf", "Writes one file; if nothing was changed, it equals the donor."},
             {"organ assemble organs -o model",
              "Writes a directory with the donor's files, tokenizer and configuration."},
             {"organ assemble model-00001-of-00003.gguf -o model.gguf", "Merges a split model into one file."},
             {"organ assemble model.gguf --select mtp -o mtp-model.gguf",
              "Writes the block for multi-token prediction alone, as llama.cpp loads it for a draft."}),
    .run = run_assemble};

/* ---- graft ---- */

static const organ_option graft_options[] = {
    MODEL("source", "A", graft.source, "the model from which tensors are copied", .required = true, .former = "donor"),
    MODEL("target", "B", graft.target, "the model whose copy gets these tensors; it is not changed", .required = true,
          .former = "base"),
    OUTPUT("C", graft.write.output, "the output, in the format of B: .gguf, .safetensors, or a directory",
                              .required = true),
    SELECT(graft.types, "copy only these tensors of A; mtp alone: its block for multi-token prediction, also into a "
                        "model that has none", .former = "type|take"),
    TEXT("map", "N-M:N-M,...", graft.map,
         "copy layers to other positions: 5-20:6-21; a position after the last layer adds a layer and needs all "
         "of its tensors", .common = true),
    FLAG("refit", graft.refit,
         "with --select mtp: fit the block's projection to the states of B by least squares on --calibration"),
    SATURATE(graft),
    WRITING(graft, "print whether the models fit and what would be grafted" AND_NEEDS)};

static const organ_option graft_calibration[] = {
    INPUT("calibration", "FILE", graft.calibration.text, "calibration text for --refit"),
    WINDOWS_CALIBRATION(graft)};

WORK(graft_work)
{
    own->graft.write.evaluate = organ_call_evaluation(call);
    own->graft.access = &call->access;
    own->graft.engine = engine;
    own->graft.ranks = call->ranks;
    return organ_graft(&own->graft, engine->kernels, progress, call->stop, report, error);
}
RUN_WORK(graft, true)

const organ_verb organ_graft_verb = {
    .name = "graft",
    .former = "chimera",
    .shares = true,
    .summary = "copy layers or tensors of one model into a copy of another",
    .about = "Writes a copy of B in which the chosen tensors come from A. A and B are GGUF files, safetensors models "
             "or organ directories; they are not changed. graft first compares widths, heads, vocabulary, "
             "layers, types and the row order for RoPE. If anything does not fit, it lists all mismatches and writes "
             "nothing.\n"
             "If C is one GGUF file, or an organ directory of a GGUF model, copied matrices keep the type that they "
             "have in A. Vectors are converted to the type that they have in B, as are all tensors if C has another "
             "format. A type that cannot be converted is a mismatch. If layers are added or moved, graft updates the "
             "metadata that counts layers.\n"
             "--select mtp copies the block for multi-token prediction, which drafts tokens in servers. It was trained "
             "with the states of A. --refit changes its projection, the matrix that joins embedding and state, so that "
             "on --calibration the rest of the block gets from the states of B what it gets from those of A. Every "
             "fourth window is held out; the projection stays as it is if no fit lowers the error there. 'organ "
             "evaluate --mtp' measures how many drafted tokens a server would accept.",
    NEEDS(NEED(graft, graft)),
    GROUPS(GROUP("Options", graft_options), GROUP("Calibration (--refit)", graft_calibration),
           EVALUATION_GROUP, MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    FORMERLY(LAYERS_FORMERLY(graft.layers)),
    EXAMPLES({"organ graft --source A --target B --output C --select feed-forward,5-20",
              "Copies the feed-forward of layers 5 to 20 of A into a copy of B."},
             {"organ graft --source A --target B --output C --select attention --dry-run",
              "Checks whether the attention fits."},
             {"organ graft --source A --target B --output C --select mtp",
              "Puts the block for multi-token prediction of A into a copy of B, such as a fine-tune that has lost it."},
             {"organ graft --source A --target B -o C --select mtp --refit --calibration T",
              "Also fits the block to the states of B, such as a pruned copy of A."},
             {"organ graft --source A --target A -o C --select 10-15 --map 10-15:22-27",
              "Repeats layers 10 to 15 after the last of 22 layers."}),
    .exits = {.content = "the models do not fit"},
    .run = run_graft};
