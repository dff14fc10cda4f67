/* SPDX-License-Identifier: MIT
 * layers: removes transformer blocks from a model. */
#include "orchestrator/cli/verb_parts.h"
#include <organ/cut.h>

typedef struct layers_call {
    organ_call call;
    organ_layers_options layers;
} layers_call;
#define CALL layers_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option layers_options[] = {
    OUTPUT("OUT", layers.write.output,
           "new directory of the model and its report; for a GGUF model a single file, X.gguf",
           .required = true),
    TEXT("drop", "BLOCKS|N", layers.drop,
         "blocks to drop, counted from 0: 5-8 or 3,7,9-11; a single block: 8-8 or '8,'. A number alone, such as 8, is "
         "the number of blocks that organ chooses on --calibration and drops",
         .required = true),
    FLAG("heal", layers.heal,
         "refit projections around the dropped blocks to the hidden states of the whole model on --calibration"),
    SHARD_SIZE(layers),
    WRITING(layers, "OUT", "print the changes to the model" AND_PLAN "; does not search for blocks")};

static const organ_option calibration_options[] = {
    INPUT("calibration", "FILE", layers.calibration.text, "calibration text for the search and --heal"),
    WINDOWS_CALIBRATION(layers)};

static const organ_option search_options[] = {
    NUMBER("search-tokens", "N", layers.search_tokens,
           "tokens of the text, in whole windows, on which sets of blocks are compared",
           .range = {64, 16777216}, .fallback = "3072"),
    NUMBER("rounds", "N", layers.rounds,
           "largest number of rounds; each tries at most 16 exchanges of a dropped block for a kept one; 0: drop the "
           "blocks of least influence",
           .range = {0, 1000000}, .fallback = "32"),
    TEXT("scores", "FILE", layers.scores,
         "file of the measurements of the search: read if it exists, and extended; an interrupted search continues "
         "from it",
         .names = ORGAN_NAMES_INPUT, .written = true)};

RUN_WRITING(layers, organ_layers, layers)

const organ_verb organ_layers_verb = {
    .name = "layers",
    .shares = true,
    .summary = "drop whole blocks, chosen by name or by search",
    .about = "Writes a model without some of its blocks (layers). Kept blocks are renumbered in the names of tensors. "
             "In config.json or the GGUF metadata, lists with one entry per layer lose the entries of dropped blocks. "
             "If a setting cannot describe the kept blocks, such as 'every fourth layer has full attention', the run "
             "fails with an error that names it. Kept tensors, packed ones too, are copied byte for byte.\n"
             "--drop BLOCKS names the blocks by their numbers in the names of tensors and needs no text. --drop N "
             "searches for N blocks on the calibration text. organ starts by dropping the N blocks of least influence "
             "(1 - the mean cosine of the hidden states before and after a block). It then exchanges one dropped block "
             "for a kept one as long as this lowers the KL divergence from the whole model, measured on "
             "--search-tokens. If there are at most 64 possible sets of N blocks, it compares all of them.\n"
             "For the search, --memory must be large enough for two layers and three times the hidden states of "
             "--search-tokens. With more memory organ compares more sets at a time, with the same result. --scores "
             "FILE stores the measurements: an interrupted search continues from FILE, and a search for another number "
             "of blocks reuses it.\n"
             "--heal refits weights around the dropped blocks, so that the hidden states of the smaller model "
             "approximate those of the whole model. organ runs --samples windows of --context tokens of the "
             "calibration text through both models and solves least-squares problems. A gap is the place of dropped "
             "blocks. In the block before a gap organ refits o and down; in every block after a gap it refits q, k, v, "
             "o, gate, up, down and the router. Last, it multiplies the norm before the output head by one factor.\n"
             "To decide how much of each change to apply, organ holds out up to one window in four (one in eight if "
             "there are 32 windows or more), about 4,096 tokens at most. It measures the KL divergence from MODEL on "
             "the held-out windows for three shares of the change, and applies the share with the least divergence. If "
             "no share lowers it, these weights stay unchanged. The report names output projections that organ cannot "
             "refit because of a norm of their outputs.\n"
             "--heal needs weights of BF16, F16 or F32, or GGUF blocks (Q4_0 to Q8_0, Q4_K to Q6_K). --memory must be "
             "large enough for twice the hidden states of the windows, unless --scratch DIR stores them in files.\n"
             "OUT/organ contains LAYERS_REPORT.md and .html, and layers.json with all numbers; if OUT is a file, they "
             "are next to it.\n"
             ORGAN_EVALUATION_ABOUT("MODEL"),
    OPERANDS(OPERAND("MODEL", MODEL, layers.model, "the model to cut; it is not changed")),
    GROUPS(GROUP("Options", layers_options), GROUP("Calibration (search and --heal)", calibration_options),
           GROUP("Search", search_options),
           EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ layers MODEL -o OUT --drop 20-23", "Drops four consecutive blocks and renumbers the rest."},
             {"organ layers model.gguf -o small.gguf --drop 8,", "Drops one block of a GGUF file."},
             {"organ layers MODEL -o OUT --drop 4 --calibration a.txt --scores s.json",
              "Finds the four blocks whose removal costs least, and stores the measurements."},
             {"organ layers MODEL -o OUT --drop 5-8 --heal --calibration a.txt",
              "Drops four blocks and refits the weights around the gap."},
             {"organ layers MODEL -o OUT --drop 5-8 --dry-run", "Prints what the model would become."}),
    .exits = "0 done; 2 wrong usage, OUT exists, --drop names blocks that the model does not have, or --memory is "
             "too small; 3 the model is malformed, has a setting that cannot describe the kept blocks, or (with a "
             "text) has an unsupported architecture; 4 a read or write fails, or the disk is full; 130 interrupted "
             "(--resume continues)"
             ORGAN_EVALUATION_EXITS ".",
    .run = run_layers};
