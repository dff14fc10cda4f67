/* SPDX-License-Identifier: MIT
 * gguf split, join, edit. */
#include "orchestrator/cli/cli_parts.h"
#include <organ/organs.h>

typedef struct gguf_call {
    organ_call call;
    organ_gguf_split_options split;
    organ_gguf_join_options join;
    organ_gguf_edit_options edit;
    organ_words metadata; /* --metadata */
    organ_words removed;  /* --remove */
} gguf_call;
#define CALL gguf_call

/* Tables are laid out by hand. */
/* clang-format off */

/* ---- split ---- */

static const organ_option split_options[] = {
    OUTPUT("PREFIX", split.write.output,
           "beginning of the files' names: PREFIX-00001-of-00003.gguf and so on, in an existing directory",
           .required = true),
    BYTES("max-shard-size", "SIZE", split.write.max_shard_size,
          "largest size of the tensors in a file, each padded to 32 bytes; the header is not counted",
          .range = {1, 16384.0 * 1073741824.0}, .common = true),
    NUMBER("max-tensors", "N", split.max_tensors, "largest number of tensors in a file", .range = {1, 2147483647.0},
           .common = true),
    FLAG("no-tensor-first-split", split.no_tensor_first_split, "the first file has the key-values and no tensors"),
    WRITING(split, "print which files would be written" AND_NEEDS)};

WORK(split_work)
{
    own->split.access = &call->access;
    own->split.ranks = call->ranks;
    own->split.engine = engine;
    return organ_gguf_split(&own->split, progress, call->stop, report, error);
}
RUN_WORK(split, true)

const organ_verb organ_gguf_split_verb = {
    .name = "gguf split",
    .shares = true,
    .summary = "divide a GGUF model into several files",
    .usage = "MODEL -o PREFIX --max-shard-size SIZE|--max-tensors N [options]",
    .about = "Writes the tensors of a GGUF model, byte for byte and in their order, into files with the names and keys "
             "that llama-gguf-split writes: the first file has all key-values, and each file has split.no, split.count "
             "and split.tensors.count. A new file begins if the next tensor would exceed the bound. Give one bound. A "
             "model that is split already is divided again.\n"
             "llama.cpp and all verbs of organ open such a model by its first file. All files are written in a "
             "hidden directory and get their names when they are complete.",
    OPERANDS(OPERAND("MODEL", MODEL, split.model, "a .gguf file, any part of a split model, or a directory with one")),
    GROUPS(GROUP("Options", split_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ gguf split model.gguf -o parts/model --max-shard-size 45G",
              "Writes parts/model-00001-of-00003.gguf and so on."},
             {"organ gguf split model.gguf -o model --max-tensors 128 -n", "Prints which files would be written."},
             {"organ audit model.gguf parts/model-00001-of-00003.gguf", "Proves that the content is the same."}),
    .exits = {.usage = "a tensor is larger than --max-shard-size"},
    .run = run_split};

/* ---- join ---- */

static const organ_option join_options[] = {
    OUTPUT("OUT", join.write.output, "the new file, OUT.gguf", .required = true),
    WRITING(join, "print what would be written" AND_NEEDS)};

WORK(join_work)
{
    own->join.access = &call->access;
    own->join.ranks = call->ranks;
    own->join.engine = engine;
    return organ_gguf_join(&own->join, progress, call->stop, report, error);
}
RUN_WORK(join, true)

const organ_verb organ_gguf_join_verb = {
    .name = "gguf join",
    .shares = true,
    .summary = "join the files of a split GGUF model into one",
    .about = "Writes the tensors of all files of a split GGUF model, byte for byte and in their order, into one file. "
             "It has the key-values of the first file without split.*. organ checks that all files are there and "
             "belong to the same model.",
    OPERANDS(OPERAND("FIRST", MODEL, join.model,
                     "a file of the split model, usually the first, or a directory with the model")),
    GROUPS(GROUP("Options", join_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ gguf join model-00001-of-00003.gguf -o model.gguf", "Joins three files."},
             {"organ audit model-00001-of-00003.gguf model.gguf", "Proves that the file has the same content."}),
    .exits = {.content = "the model is not split, or a file is missing or of another model"},
    .run = run_join};

/* ---- edit ---- */

static const organ_option edit_options[] = {
    OUTPUT("OUT", edit.write.output, "the new file, OUT.gguf", .required = true),
    WORDS("metadata", "KEY[:TYPE]=VALUE", metadata,
          "set a key; may be repeated. An existing key keeps its type; a new one needs TYPE: uint8, int8, uint16, "
          "int16, uint32, int32, uint64, int64, float32, float64, bool, string, or one of them with [] for an array. "
          "VALUE is a number, true or false, a text, or for an array a JSON array such as [1,2]; @FILE reads a text "
          "or the JSON array from a file", .common = true),
    WORDS("remove", "KEY", removed, "remove a key; may be repeated", .common = true),
    WRITING(edit, "check the settings and print what would change" AND_NEEDS)};

WORK(edit_work)
{
    own->edit.access = &call->access;
    own->edit.ranks = call->ranks;
    own->edit.engine = engine;
    own->edit.metadata = own->metadata.word;
    own->edit.metadata_count = own->metadata.count;
    own->edit.removed = own->removed.word;
    own->edit.removed_count = own->removed.count;
    return organ_gguf_edit(&own->edit, progress, call->stop, report, error);
}
RUN_WORK(edit, true)

const organ_verb organ_gguf_edit_verb = {
    .name = "gguf edit",
    .shares = true,
    .no_job = true, /* @FILE in a value may name any file */
    .summary = "set or remove key-values of a GGUF model",
    .about = "Writes a copy of a GGUF model with other key-values, such as a name, a chat template, the ids of special "
             "tokens or the base of RoPE. Tensors are copied byte for byte. A split model becomes one file.\n"
             "Keys that describe tensors or files cannot be edited: general.architecture, general.alignment, "
             "general.quantization_version, split.*, and numbers of layers, widths, heads, experts and words "
             "(*.block_count, *.embedding_length, *.attention.head_count and so on). The arrays of tokens, scores "
             "and types of the tokenizer keep their length.\n"
             "The report lists each changed key with its value before and after.",
    OPERANDS(OPERAND("MODEL", MODEL, edit.model, "a .gguf file, or any part of a split model; it is not changed")),
    GROUPS(GROUP("Options", edit_options), MACHINE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ gguf edit m.gguf -o n.gguf --metadata general.name=Name", "Changes the name."},
             {"organ gguf edit m.gguf -o n.gguf --metadata tokenizer.chat_template=@t.jinja",
              "Replaces the chat template by the text of a file."},
             {"organ gguf edit m.gguf -o n.gguf --metadata general.tags:string[]='[\"chat\"]'", "Adds an array."},
             {"organ gguf edit m.gguf -o n.gguf --remove general.url", "Removes a key."}),
    .exits = {.usage = "a key is unknown or cannot be edited, or a value does not fit its type",
              .content = "the model does not open with the new values"},
    .run = run_edit};
