/* SPDX-License-Identifier: MIT
 * width: channels of the feed-forward and heads of K and V, taken out. */
#include "orchestrator/cli/verb_parts.h"
#include "orchestrator/surgery/width/width.h"

typedef struct width_call {
    organ_call call;
    organ_width_options width;
} width_call;
#define CALL width_call

/* Tables are laid out by hand. */
/* clang-format off */

static const organ_option width_options[] = {
    OUTPUT("OUT", width.write.output,
           "the directory to make; X.safetensors: one file and no config; of a GGUF model: X.gguf", .required = true),
    TEXT("ffn", "SHARE", width.ffn, "what stays of the channels of each feed-forward, or of each expert: 75%, or a "
                                    "number of channels"),
    TEXT("heads", "SHARE", width.heads, "what stays of the heads of K and V, each with its query heads: 50%, or a "
                                        "number"),
    NUMBER("multiple-of", "N", width.multiple_of,
           "the channels that stay are a multiple of this; if not given, 32, and 256 of a GGUF model whose width is "
           "one",
           .range = {1, 65536}),
    SHARD_SIZE(width),
    WRITING(width, "OUT", "say what would be taken out" AND_PLAN)};
static const organ_option choice_options[] = {
    INPUT("calibration", "FILE", width.calibration.text, "the text to go by; not one that is scored afterwards",
          .required = true),
    WINDOWS_ALONG(width),
    CHOICE("score", "loss|wanda", width.score,
           "what goes: that by which the output loses least once the rest is solved anew, or, to compare with, the "
           "least of weight times input", .fallback = "loss"),
    FLAG("no-resolve", width.no_resolve, "leave the values of what stays as they are")};

RUN_WRITING(width, organ_width, width)

const organ_verb organ_width_verb = {
    .name = "width",
    .shares = true,
    .summary = "take channels of the feed-forward and heads out of a model",
    .about = "Writes a model whose feed-forwards have fewer channels (--ffn), whose attention has fewer heads of K and "
             "V with their query heads (--heads), or both: smaller and faster wherever the model runs, with nothing to "
             "unpack. Every layer keeps the same number, since config.json and GGUF have one for all. In a mixture of "
             "experts --ffn takes channels out of every routed expert, of each its own ones and of all the same "
             "number.\n"
             "Layer by layer along the text of --calibration, on the model as narrowed so far, channels go one by one: "
             "each time the one by which the output of the down projection (of the output projection, a head) loses "
             "least when all that stay are solved anew. Then the columns of that projection that stay become the "
             "least-squares solution for the output of all. Everything else that stays is copied byte for byte. "
             "--score wanda and --no-resolve are there to compare with.\n"
             "The model must have F32, F16 or BF16 weights in these projections; the rows of what lies before them may "
             "be packed where no block is cut. Experts go by the tokens that are routed to them, and one that sees "
             "none by the norms of its weights, which the report says. organ experts takes out whole experts. What is "
             "chosen lies in a hidden directory beside OUT until that is whole: a run that is interrupted goes on with "
             "--resume, at the layer or the tensor where it was.\n"
             "--memory must hold the hidden states of the calibration beside a layer; with --scratch they are in a "
             "file, which has no name and is gone when the run ends, however it ends.\n"
             "OUT/organ/WIDTH_REPORT.md (and .html) and width.json tell which channels and heads stayed and what each "
             "layer lost.\n"
             ORGAN_EVALUATION_ABOUT("MODEL"),
    OPERANDS(OPERAND("MODEL", MODEL, width.model, "the model to narrow; it is only read, never changed")),
    GROUPS(GROUP("Options", width_options), GROUP("What goes", choice_options),
           EVALUATION_GROUP, MACHINE_GROUP, REPORTING_GROUP),
    EXAMPLES({"organ width Qwen2.5-7B -o OUT --ffn 75% --calibration a.txt",
              "A quarter of the channels of each feed-forward goes."},
             {"organ width MODEL -o OUT --ffn 75% --heads 50% --calibration a.txt",
              "Half of the heads of K and V as well."},
             {"organ width Qwen3-30B-A3B -o OUT --ffn 75% --calibration a.txt",
              "A quarter of the channels of every expert."},
             {"organ width F16.gguf -o OUT.gguf --ffn 8192 --calibration a.txt",
              "So many channels stay in a GGUF model."},
             {"organ width MODEL -o OUT --ffn 75% --calibration a.txt --resume", "Goes on where a killed run stopped."},
             {"organ width MODEL -o OUT --ffn 75% --calibration a.txt -n",
              "Says what would go, and how large OUT would be."}),
    .exits = "0 done; 2 wrong usage, OUT exists, the text is too short or --memory too little for it; 3 the model is "
             "malformed, packed, changed meanwhile, or has weights that are NaN or infinite; 4 the disk is full or "
             "refuses; 130 interrupted (to be resumed)"
             ORGAN_EVALUATION_EXITS ".",
    .run = run_width};
