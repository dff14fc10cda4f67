/* SPDX-License-Identifier: MIT
 * extract, assemble, graft, chimera: models taken apart and put together. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/organs/organs.h"

typedef struct organs_call {
    organ_call call;
    organ_extract_options extract;
    organ_assemble_options assemble;
    organ_graft_options graft; /* of graft and of chimera */
} organs_call;
#define CALL organs_call

/* Tables are laid out by hand. */
/* clang-format off */

/* ---- extract ---- */

static const organ_option extract_options[] = {
    OUTPUT("DIR", extract.write.output, "the organ directory to make; it appears when it is whole", .required = true),
    WRITING(extract, "DIR", "say what would be in DIR")};

WORK(extract_work)
{
    own->extract.access = &call->access;
    own->extract.ranks = call->ranks;
    return organ_extract(&own->extract, progress, call->stop, report, error);
}
RUN_WORK(extract, false)

const organ_verb organ_extract_verb = {
    .name = "extract",
    .shares = true,
    .summary = "take a model apart into skeleton, organs, embedding, norms",
    .about = "Writes the bytes of every tensor, and nothing else, into a file of its own: attention into DIR/skeleton, "
             "feed-forward and experts into DIR/organs, the rest into DIR/embed, DIR/norm and DIR/other. "
             "DIR/manifest.json has the whole anatomy: name, role, layer, type, shape, digest and place of each "
             "tensor. Headers are kept as they are, and so is what lies beside the model, so that 'organ assemble' "
             "makes the donor again byte for byte.\n"
             "DIR is itself a model: inspect, measure, purify and graft work on it. A run that is interrupted leaves "
             "no half DIR; --resume goes on with it.",
    OPERANDS(OPERAND("MODEL", MODEL, extract.model,
                     "the model to take apart: a .gguf file (of a split one any part), a directory, a .safetensors "
                     "file; behind a URL one file")),
    GROUPS(GROUP("Options", extract_options), RANKS_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ extract model.gguf -o organs", "Takes a model apart: organs/organs/blk_0_ffn_gate.bin and so on."},
             {"organ extract model-00001-of-00013.gguf -o organs", "The same with a model in 13 files."},
             {"organ extract model-00001-of-00013.gguf -o organs --resume", "Goes on where a killed run stopped."},
             {"organ assemble organs -o again.gguf", "The donor again, byte for byte."}),
    .exits = "0 done; 2 wrong usage, or DIR exists; 3 the model is malformed or changed meanwhile; 4 the disk is full "
             "or refuses; 130 interrupted (to be resumed).",
    .run = run_extract};

/* ---- assemble ---- */

static const organ_option assemble_options[] = {
    OUTPUT("OUT", assemble.write.output,
           "X.gguf or X.safetensors: one file; any other name: a directory with the donor's files as they were cut",
           .required = true),
    WRITING(assemble, "OUT", "say which files there would be")};

WORK(assemble_work)
{
    own->assemble.access = &call->access;
    own->assemble.ranks = call->ranks;
    return organ_assemble(&own->assemble, progress, call->stop, report, error);
}
RUN_WORK(assemble, false)

const organ_verb organ_assemble_verb = {
    .name = "assemble",
    .shares = true,
    .summary = "put a model together from an organ directory",
    .about = "Makes a model of an organ directory. Untouched, it is the donor byte for byte: the one file, or in a "
             "directory all files. A model in several files becomes one where OUT ends in .gguf or .safetensors. A "
             ".bin file that was changed, its length kept, is taken as it is and named in the report. Everything that "
             "the manifest and the headers claim is checked before. A run that is interrupted leaves no half model; "
             "--resume goes on with it.",
    OPERANDS(OPERAND("DIR", MODEL, assemble.directory,
                     "an organ directory; or a model in several files, to make one of them; behind a URL one file")),
    GROUPS(GROUP("Options", assemble_options), RANKS_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ assemble organs -o model.gguf",
              "One file; where nothing was changed it is the donor, byte for byte."},
             {"organ assemble organs -o model", "A directory with the donor's files, its tokenizer and configuration."},
             {"organ assemble model-00001-of-00003.gguf -o model.gguf", "Merges a split model."}),
    .exits = "0 done; 2 wrong usage, or OUT exists; 3 the directory is malformed or changed meanwhile; 4 the disk is "
             "full or refuses; 130 interrupted (to be resumed).",
    .run = run_assemble};

/* ---- graft, chimera ---- */

#define LAYERS_OPTION(of) \
    TEXT("layers", "N-M,...", graft.layers, \
         "only these layers of the " of ", counted from 0: 5-20, or 0-3,8; without it every layer and what stands in " \
         "none")
#define MAP_OPTION \
    TEXT("map", "N-M:N-M,...", graft.map, \
         "layers that go to other layers: 5-20:6-21; a layer behind the last one is added, with --map and all its " \
         "tensors")

static const organ_option graft_options[] = {
    MODEL("source", "A", graft.source, "the model whose tensors are taken", .required = true),
    MODEL("target", "B", graft.target, "the model into a copy of which they are put", .required = true),
    OUTPUT("C", graft.write.output, "the copy to make, of the format of B: .gguf, .safetensors, or a directory",
                              .required = true),
    TYPES("type", graft.types, "what is taken: skeleton is attention, organ feed-forward and experts; if not given, "
                               "all"),
    LAYERS_OPTION("source"), MAP_OPTION,
    WRITING(graft, "C", "say whether it fits and what would be grafted")};
static const organ_option chimera_options[] = {
    MODEL("base", "A", graft.target, "the model that gives the body", .required = true),
    MODEL("donor", "B", graft.source, "the model that gives the rest", .required = true),
    TYPES("take", graft.types, "what is taken from the donor", .required = true),
    LAYERS_OPTION("donor"), MAP_OPTION,
    OUTPUT("C", graft.write.output, "the model to make, of the format of the base", .required = true),
    WRITING(graft, "C", "say whether it fits and what would be taken")};

/* A graft itself only moves bytes: what its engine has of threads and memory is for the evaluation. */
WORK(graft_work)
{
    own->graft.write.evaluate = organ_call_evaluation(call);
    own->graft.access = &call->access;
    own->graft.engine = engine;
    own->graft.ranks = call->ranks;
    return organ_graft(&own->graft, engine->kernels, progress, call->stop, report, error);
}
/* A chimera is a graft under other names: the table puts its options where those of a graft are. */
RUN_WORK(graft, true)

const organ_verb organ_graft_verb = {
    .name = "graft",
    .shares = true,
    .summary = "put layers, organs or attention of one model into a copy of another",
    .about = "Makes a copy of B in which the chosen tensors have the bytes of A. A and B are GGUF files, safetensors "
             "models or organ directories; they are only read. Widths, heads, vocabulary, layers, types and the order "
             "of rows for the rope are compared first: whatever does not fit is listed, all of it, and nothing is "
             "written.\n"
             "Where C is GGUF and a type differs, the tensor keeps its own type and the header follows; elsewhere it "
             "is converted to the type of B if it can be. Where layers are added or moved, the metadata that counts "
             "them follows. A run that is interrupted leaves no half model; --resume goes on with it.\n"
             ORGAN_EVALUATION_ABOUT("B") " --threads and --memory are for that alone.",
    GROUPS(GROUP("Options", graft_options), EVALUATION_GROUP, MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ graft --source A --target B --output C --layers 5-20 --type organ",
              "The feed-forward of layers 5 to 20 of one model in the body of the other."},
             {"organ graft --source A --target B --output C --type skeleton --dry-run",
              "Whether the attention would fit."},
             {"organ graft --source A --target A -o C --layers 10-15 --map 10-15:22-27",
              "Layers 10 to 15 once more behind the last of 22."}),
    .exits = "0 done; 2 wrong usage, or C exists; 3 the models do not fit, are malformed or changed meanwhile; 4 the "
             "disk is full or refuses; 130 interrupted (to be resumed)" ORGAN_EVALUATION_EXITS ".",
    .run = run_graft};

const organ_verb organ_chimera_verb = {
    .name = "chimera",
    .shares = true,
    .summary = "a graft in one step: the body of one model, parts of another",
    .about = "The same as graft with the names of a recipe: A gives the body, B what is taken. Bytes go from file to "
             "file; nothing is unpacked to the disk. A run that is interrupted leaves no half model; --resume goes on "
             "with it.\n"
             ORGAN_EVALUATION_ABOUT("A") " --threads and --memory are for that alone.",
    GROUPS(GROUP("Options", chimera_options), EVALUATION_GROUP, MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ chimera --base A --donor B --take organ --layers 5-20 -o C.gguf",
              "A with the feed-forward of B in layers 5 to 20, streamed from file to file."}),
    .exits = "0 done; 2 wrong usage, or C exists; 3 the models do not fit, are malformed or changed meanwhile; 4 the "
             "disk is full or refuses; 130 interrupted (to be resumed)" ORGAN_EVALUATION_EXITS ".",
    .run = run_graft};
