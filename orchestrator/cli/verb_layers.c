/* SPDX-License-Identifier: MIT
 * layers: a model with fewer blocks. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/layers/layers.h"

typedef struct layers_call {
    organ_call call;
    organ_layers_options layers;
} layers_call;
#define CALL layers_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option layers_options[] = {
    OUTPUT("OUT", layers.write.output,
           "the directory to make, with the files beside the weights and a report; X.gguf: a single file, of a GGUF "
           "model",
           .required = true),
    TEXT("drop", "BLOCKS|N", layers.drop,
         "the blocks that go, from 0 on: 5-8 or 3,7,9-11 (one alone is 8-8 or 8,); a number alone, 8, is how many, "
         "found on --calibration",
         .required = true),
    INPUT("calibration", "FILE", layers.calibration.text, "the text on which blocks are found, and healed"),
    FLAG("heal", layers.heal, "solve for projections around the gaps anew, by the hidden states of the whole model on "
                              "--calibration"),
    SHARD_SIZE(layers),
    WRITING(layers, "OUT", "say what would become of the model" AND_PLAN "; blocks are not searched")};

static const organ_option search_options[] = {
    NUMBER("search-tokens", "N", layers.search_tokens,
           "tokens of the text that sets of blocks are judged on, in whole windows",
           .range = {64, 16777216}, .fallback = "3072"),
    NUMBER("rounds", "N", layers.rounds,
           "rounds of at most 16 exchanges of one block each; 0: the blocks of least influence go",
           .range = {0, 1000000}, .fallback = "32"),
    TEXT("scores", "FILE", layers.scores,
         "where influences and divergences are kept: read if it is there, added to; a search that was ended goes on "
         "with it",
         .names = ORGAN_NAMES_INPUT),
    WINDOWS_ALONG(layers)};

RUN_WRITING(layers, organ_layers, layers)

const organ_verb organ_layers_verb = {
    .name = "layers",
    .shares = true,
    .summary = "drop whole blocks, named or found by search",
    .about = "Makes a copy of a model without some of its blocks (layers). Those that stay close up: names, "
             "config.json or key-values, lists and patterns that have a place for each layer become those of the "
             "smaller model, or it is said why they cannot. What stays keeps its bytes, packed weights too.\n"
             "--drop names the blocks, as the names of tensors count them, and no text is needed; or it says how many "
             "go. Then they are found: from the blocks of least influence (1 - the mean cosine of the hidden states "
             "before and behind) on, one dropped block at a time is exchanged for one that is kept, as long as that "
             "brings the model nearer to the whole one: sets are compared by KL divergence on a part of the text. "
             "Where there are 64 sets or fewer, all of them are judged.\n"
             "--memory holds the hidden states of the search three times over beside two layers; more of it judges "
             "more sets at a time, which are the same bits. With --scores a search that was interrupted goes on, and "
             "one for another N uses what it has.\n"
             "--heal goes along the text by --samples windows of --context tokens and solves for what is left around "
             "the gaps anew, in least squares: the outputs of attention and feed-forward in the block before a gap, "
             "and in all blocks behind one also the weights that read their inputs, so that hidden states are those of "
             "the whole model; in the end the final norm is taken times one number. The KL divergence of the whole "
             "smaller model from MODEL on windows that nothing is fitted to, one of four or eight, chooses how much of "
             "each solution is taken; what does not lower it is not written, and the report says so. It takes weights "
             "of BF16, F16 or F32, or blocks of GGUF whose scales can be searched for, and the hidden states twice "
             "over; with --scratch they are in files.\n"
             "The report lies in OUT/organ, or beside the file: LAYERS_REPORT.md and .html to read, layers.json with "
             "all numbers.\n"
             ORGAN_EVALUATION_ABOUT("MODEL"),
    OPERANDS(OPERAND("MODEL", MODEL, layers.model, "the model to make smaller; it is only read, never changed")),
    GROUPS(GROUP("Options", layers_options), GROUP("Search", search_options),
           EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ layers MODEL -o OUT --drop 20-23", "Four blocks in a row go; the rest is numbered anew."},
             {"organ layers model.gguf -o small.gguf --drop 8,", "One block of a GGUF file."},
             {"organ layers MODEL -o OUT --drop 4 --calibration a.txt --scores s.json",
              "Finds the four blocks that cost least, and keeps what it measured."},
             {"organ layers MODEL -o OUT --drop 5-8 --heal --calibration a.txt",
              "Makes up for what the blocks did, as far as it can be."},
             {"organ layers MODEL -o OUT --drop 5-8 --dry-run", "Says what the model would become."}),
    .exits = "0 done; 2 wrong usage, or OUT exists, or blocks that the model does not have, or too little --memory; 3 "
             "the model is malformed or has a pattern that cannot be said without these blocks, or its architecture is "
             "not known (with a text); 4 the disk is full or refuses; 130 interrupted (to be resumed)"
             ORGAN_EVALUATION_EXITS ".",
    .run = run_layers};
