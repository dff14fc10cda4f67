/* SPDX-License-Identifier: MIT
 * patch extract, apply. */
#include "orchestrator/cli/cli_parts.h"
#include <organ/organs.h>

typedef struct patch_call {
    organ_call call;
    organ_patch_extract_options extract;
    organ_patch_apply_options apply;
} patch_call;
#define CALL patch_call

/* Tables are laid out by hand. */
/* clang-format off */

/* ---- extract ---- */

static const organ_option extract_options[] = {
    MODEL("base", "MODEL", extract.base, "the model from which the changes are taken", .required = true,
          .common = true),
    MODEL("tuned", "MODEL", extract.tuned, "the model to which they lead, local files", .required = true,
          .common = true),
    OUTPUT("PATCH", extract.write.output, "new directory of the patch", .required = true),
    CHOICE("encoding", "xor|overwrite", extract.encoding,
           "xor: exclusive or of new and old bytes, smallest and fastest; overwrite: positions and new bytes, which "
           "may be applied twice; default xor", .common = true),
    CHOICE("checksum", "xxh3-128|adler32", extract.checksum,
           "checksums of changed tensors for other readers; default xxh3-128"),
    NUMBER("level", "N", extract.level, "level of the Zstandard compression", .range = {1, 9}, .fallback = "1"),
    TEXT("patch-version", "LABEL", extract.version, "label of the tuned model in the patch; default 000001"),
    TEXT("base-version", "LABEL", extract.base_version, "label of the base in the patch; default 000000"),
    SHARD_SIZE(extract),
    WRITING(extract, "compare the models and print the size of the patch")};

RUN_REMOTE(extract, organ_patch_extract, extract)

const organ_verb organ_patch_extract_verb = {
    .name = "patch extract",
    .summary = "store a tuned model as its changes from the base",
    .about = "Compares the bytes of all tensors of two models and stores those that differ, compressed. Files without "
             "tensors and headers are stored if the base has other ones. organ patch apply makes the tuned model of "
             "base and patch again, byte for byte.\n"
             "The directory has the layout of the weight deltas of slime, which SGLang, miles and others apply: a U8 "
             "vector for each changed tensor, an index and checksums of the new bytes. organ adds organ_patch.json, "
             "with the XXH3 of every tensor of both models, and files/. Tensors whose type or shape differs from the "
             "base's, and new ones, are stored whole; only organ reads those.\n"
             "Any two models can be given, quantised or pruned ones and GGUF, too. A patch is small if most bytes are "
             "equal: organ lora extract makes a smaller approximation of other tunes.",
    GROUPS(GROUP("Options", extract_options), ALONE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ patch extract --base MODEL --tuned TUNE -o patch", "Stores the tune as its changes."},
             {"organ patch extract --base MODEL --tuned TUNE -o patch -n", "Prints how large the patch would be."},
             {"organ patch extract --base v1 --tuned v2 -o p --patch-version 2",
              "A step of a chain of versions."}),
    .exits = {.usage = "a tensor is too large for --encoding overwrite"},
    .run = run_extract};

/* ---- apply ---- */

static const organ_option apply_options[] = {
    MODEL("base", "MODEL", apply.base, "the model of which the patch was made", .required = true, .common = true),
    MODEL("patch", "PATCH", apply.patch, "a directory of organ patch extract, or weight deltas of slime",
          .required = true, .common = true),
    OUTPUT("OUT", apply.write.output,
           "new directory of the model; of a model of one file also X.gguf or X.safetensors", .required = true),
    WRITING(apply, "check names, types and shapes, and print what would be written" AND_NEEDS)};

RUN_REMOTE(apply, organ_patch_apply, apply)

const organ_verb organ_patch_apply_verb = {
    .name = "patch apply",
    .summary = "make a tuned model of its base and a patch",
    .about = "Writes the tuned model, byte for byte: tensors, headers, configuration, tokenizer. While tensors are "
             "written, organ compares the XXH3 of every tensor of the base and of the result with organ_patch.json. "
             "Another base, or a damaged patch, is an error that names the first tensor that differs, and no output is "
             "left.\n"
             "A patch of slime has no organ_patch.json: the result then has the files of the base, and only changed "
             "tensors are compared with checksums. Its encodings xor and overwrite and its checksums xxh3-128 and "
             "adler32 are read; blake3 is not.",
    GROUPS(GROUP("Options", apply_options), ALONE_GROUP, REACH_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ patch apply --base MODEL --patch patch -o TUNE", "Makes the tune again."},
             {"organ patch apply --base https://host/base.gguf --patch patch -o tune.gguf",
              "The base is read from a server."}),
    .exits = {.content = "the base is not that of the patch, or the patch is damaged"},
    .run = run_apply};
