/* SPDX-License-Identifier: MIT
 * Makes a smaller model: with fewer experts, fewer blocks, or fewer channels and heads. */
#ifndef ORGAN_API_CUT_H
#define ORGAN_API_CUT_H

#include <organ/base.h>
#include <organ/options.h>

ORGAN_API_BEGIN

/* ---- experts: drops routed experts of a mixture-of-experts model ---- */

/* The options of `organ experts`. */
typedef struct organ_experts_options {
    size_t size; /* see ORGAN_DEFAULTS */
    const char *model;
    const char *keep;                   /* experts to keep in each layer: "50%", "8" */
    const char *score;                  /* "loss", "reap", "sum", "frequency"; NULL: loss */
    const char *per_layer;              /* "uniform": the same number in each layer; "global": one budget for all
                                         * layers; NULL: uniform */
    const char *scores;                 /* file of scores: read if it exists, else written; NULL: none */
    organ_calibration_text calibration; /* text to measure the scores that the file lacks; text NULL: the file must
                                         * have the scores of all layers */
    bool heal; /* refit the down projections of the kept experts on the calibration text, which is then required */
    organ_write_options write;
    /* Write nothing, and report what each number of kept experts costs on held-out windows of the calibration text.
     * `keep` may then list numbers ("75%,8") or be NULL: seven shares. */
    bool predict;
    unsigned predict_tokens; /* held-out tokens; 0: ORGAN_EXPERTS_PREDICT_TOKENS */
} organ_experts_options;
#define ORGAN_EXPERTS_PREDICT_TOKENS 4096
ORGAN_DEFAULTS(experts, o.write.max_shard_size = ORGAN_SHARD_BYTES; o.calibration.samples = ORGAN_SAMPLES_DEFAULT;
               o.calibration.context = ORGAN_CONTEXT_DEFAULT)

/* Writes the model without the lowest-scored experts. *report is a document of schema organ.experts/1, which includes
 * the scores; with `predict`, of schema organ.experts_prediction/1, and no file is written. It is also written, with
 * EXPERTS_REPORT.md, to the folder organ/ of the output (for a GGUF output next to the file, under names that begin
 * with the file's name). The caller releases *report, which is NULL on error.
 *
 * Returns ORGAN_USAGE if `keep` is not a valid number of experts or is smaller than the number that the router chooses
 * for a token, or there is no text; ORGAN_BAD_INPUT for a text that is too short, a malformed model or file of scores,
 * weights that are not finite, an unsupported architecture, or a smaller model that its configuration cannot express;
 * ORGAN_IO or ORGAN_INTERRUPTED. A dry run measures nothing: if no stored scores exist, its report states sizes but not
 * which experts would be kept. */
organ_status organ_experts(const organ_experts_options *options, const organ_engine *engine,
                           const organ_progress *progress, json_t **report, organ_error *error);

/* ---- layers: drops blocks ---- */

/* The caller names the dropped blocks, or a search finds those whose removal changes the model's predictions on a text
 * least. Optionally refits the projections around the gaps (runs of dropped blocks), so that hidden states approximate
 * those of the whole model. */

/* The options of `organ layers`. */
typedef struct organ_layers_options {
    size_t size; /* see ORGAN_DEFAULTS */
    const char *model;
    const char *drop; /* --drop: numbers of blocks from 0 on, "5-8" or "3,7,9-11"; or how many, "8" */
    /* Calibration text; `samples` is for healing only. calibration.text may be NULL if `drop` names blocks and `heal`
     * is unset. */
    organ_calibration_text calibration;
    unsigned search_tokens; /* tokens of the text on which sets of blocks are judged */
    unsigned rounds;        /* upper bound of rounds of the search; 0: drop the blocks of least influence */
    const char *scores;     /* file that keeps influences and divergences for a later search; NULL: none */
    bool heal;              /* refit the blocks around the gaps */
    organ_write_options write;
} organ_layers_options;
ORGAN_DEFAULTS(layers, o.write.max_shard_size = ORGAN_SHARD_BYTES; o.calibration.samples = ORGAN_SAMPLES_DEFAULT;
               o.calibration.context = ORGAN_CONTEXT_DEFAULT; o.search_tokens = 3072; o.rounds = 32)

/* Makes the model without the dropped blocks. The other blocks are renumbered, config.json or the GGUF key-values are
 * adapted, and all tensors except refitted ones keep their bytes, in packed types too.
 *
 * *report has the schema organ.layers/1; it is also written with LAYERS_REPORT.md and .html into the output's organ/
 * folder, or next to a single file under its name. The caller releases it; NULL on error.
 *
 * A run that ends with ORGAN_INTERRUPTED or ORGAN_IO while it writes keeps its unfinished output, which `resume`
 * continues to the same bytes. An interrupted search continues only with `scores`.
 *
 * Returns ORGAN_USAGE for a `drop` that does not fit the model, a missing text, too little memory, or an output that
 * exists; ORGAN_BAD_INPUT for a text that is too short, a malformed model, an unsupported architecture (with a text),
 * or a smaller model that its configuration cannot express; ORGAN_IO or ORGAN_INTERRUPTED if reading, writing or memory
 * failed or a stop was requested. With `evaluate` also the errors of organ_perplexity; a complete output is then kept.
 */
organ_status organ_layers(const organ_layers_options *options, const organ_engine *engine,
                          const organ_progress *progress, json_t **report, organ_error *error);

/* ---- width: makes a narrower model ---- */

/* Removes channels of feed-forwards (in a mixture, channels of each routed expert) or heads of K and V with their query
 * heads: those whose removal costs the least loss on a calibration text. Then refits the projections that read the kept
 * channels and heads. */

typedef struct organ_width_options {
    size_t size; /* see ORGAN_DEFAULTS */
    const char *model;
    /* --ffn: share of channels to keep in each feed-forward and each expert, "75%", or their number; NULL: all. A
     * shared expert without a gate is narrowed by the same ratio; one with a gate keeps its width. */
    const char *ffn;
    const char *heads; /* --heads: share or number of heads of K and V to keep; NULL: all */
    /* The number of kept channels is a multiple of this; 0: 256 for a GGUF model whose width is a multiple of 256, else
     * 32. */
    unsigned multiple_of;
    organ_calibration_text calibration;
    const char *score; /* how channels are chosen: "loss", or "wanda" for comparison */
    bool no_refit;     /* do not refit the kept columns */
    organ_write_options write;
    /* second moments of the inputs of feed-forwards and attention: "whole" (also NULL), or "blocks" of 256 inputs,
     * which need less memory */
    const char *moments;
} organ_width_options;
ORGAN_DEFAULTS(width, o.write.max_shard_size = ORGAN_SHARD_BYTES; o.calibration.samples = ORGAN_SAMPLES_DEFAULT;
               o.calibration.context = ORGAN_CONTEXT_DEFAULT; o.score = "loss")

/* Makes a narrower model: a directory, or one file if `output` ends in .safetensors or .gguf. Chooses the channels
 * layer by layer on the text, on inputs from the already narrowed layers; the number of channels is the same in every
 * layer. Then writes the output.
 *
 * *report has the schema organ.width/1; it is also written with WIDTH_REPORT.md and .html into the output's organ/
 * folder, or next to a single file under its name. The caller releases it; NULL on error.
 *
 * The unfinished output keeps the choices. After ORGAN_INTERRUPTED or ORGAN_IO `resume` continues the run to the same
 * bytes.
 *
 * Returns ORGAN_USAGE for contradictory options, shares that keep nothing or everything, too little memory, or a
 * model whose layers differ in width; ORGAN_BAD_INPUT for a text that is too short, weights that are packed or not
 * finite, an unsupported architecture, or a smaller model that its configuration cannot express; ORGAN_IO or
 * ORGAN_INTERRUPTED.
 */
organ_status organ_width(const organ_width_options *options, const organ_engine *engine, const organ_progress *progress,
                         json_t **report, organ_error *error);

/* ---- vocabulary: which tokens texts need, and models with only these ---- */

typedef struct organ_vocabulary_options {
    size_t size;              /* see ORGAN_DEFAULTS */
    const char *model;        /* path or URL */
    const char *const *texts; /* paths of `text_count` texts in UTF-8; at least 1 without `tokens` */
    size_t text_count;
    const char *tokens;   /* path of a report of organ_vocabulary: keep exactly the tokens that it lists; NULL: none */
    const char *evaluate; /* path of a second text; NULL: none */
    unsigned evaluate_tokens; /* tokens of it that run through the model; 0: none */
    bool keep_characters;     /* also keep each token that is a single character */
    bool keep_all;            /* keep all tokens: only rows without a token go */
    uint64_t keep_merges;     /* also keep the tokens of the first merges, this many */
    unsigned multiple_of;     /* the number of rows is a multiple of this; 0: 1 */
    const char *labels;       /* words between commas, each one token: write a classifier of these; NULL: none */
    unsigned draft_head;      /* rows that the head of a draft gets, those that the texts need; 0: no draft */
    /* path or URL of a model: with draft_head, the one whose tokenizer the draft has, NULL: its own; of an adapter, the
     * one whose tokens the list must have, NULL: it is not compared */
    const char *target;
    const char *rerank_template; /* path of a text with {query} and {document}, for labels in GGUF; NULL: none */
    const char *add;             /* path of a text in UTF-8 with a new token on each line, made by merges; NULL: none */
    const char *special;         /* path of such a text of new added tokens; NULL: none */
    const organ_model_access *access; /* access to a model behind a URL; NULL: defaults */
    organ_write_options write;        /* write.output NULL, without dry_run: only report */
} organ_vocabulary_options;
ORGAN_DEFAULTS(vocabulary, o.write.max_shard_size = ORGAN_SHARD_BYTES; o.evaluate_tokens = 2048)

/* Finds the tokens and merges that the texts and the model's chat template need: with these alone each text has the
 * same tokens as before. *report has the schema organ.vocabulary/1: tokens by kind and script, and for several policies
 * the rows, the bytes that fewer rows save, and, on the second text, how many more tokens it has and the probability
 * that the model gives to the tokens that go. Without an output, tensors are read only for this probability. Except for
 * "run" the report is the same with any number of threads, any memory and on every ISA. The caller releases *report,
 * which is NULL on error.
 *
 * With write.output writes the model with the kept tokens alone: a directory, or a file .gguf of a GGUF model. Kept
 * tokens get the ids from 0 on in their order. Rows of tensors with a row for each token are copied byte by byte in the
 * type they are stored in; other tensors stay. Ids are replaced in all files and key-values that hold them. The report
 * lists the kept tokens and is written to OUT/organ/vocabulary.json, next to a single file as X.vocabulary.json. Before
 * tensors are written, the tokenizer of the output is read, and must give the texts the same tokens.
 *
 * With `add` or `special` writes a directory with new tokens, whose ids follow all others; *report has the schema
 * organ.vocabulary_add/1 and is written as vocabulary_add.json. Tokens of `add` get merges after all others, so that
 * texts have them. A new row is the mean of the rows of the tokens that the text had before, in each tensor in F32, F16
 * or BF16. It then also returns ORGAN_BAD_INPUT, naming file and line, for an empty line, a token that exists or occurs
 * twice, and one that no text would have; for other types and for GGUF.
 *
 * If `model` is a LoRA adapter of peft, mlx-lm or llama.cpp, `tokens` is the report of its base: columns of factors of
 * embeddings, rows of factors of heads and of tensors that are stored whole are copied byte by byte for the listed
 * tokens, into a directory; *report has the schema organ.adapter_rows/1 and is written as adapter_rows.json. It then
 * returns ORGAN_BAD_INPUT for an adapter without such tensors, matrices with another number of rows, tensors that may
 * have rows but are not known, and trainable_token_indices.
 *
 * Returns ORGAN_USAGE without a text or list, for options that exclude each other, for too little memory and for an
 * output that exists; ORGAN_BAD_INPUT for an empty text or one that is not UTF-8, for a tokenizer that is not
 * supported, such as WordPiece or Unigram, for a model without an embedding matrix, for a list of another tokenizer,
 * and, with `evaluate_tokens`, for an architecture that is not supported; with an output also, naming it, for a tensor
 * of which rows share scales or words, and for a setting that may hold ids but is not known; ORGAN_IO or
 * ORGAN_INTERRUPTED. */
organ_status organ_vocabulary(const organ_vocabulary_options *options, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);

ORGAN_API_END

#endif
