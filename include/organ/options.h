/* SPDX-License-Identifier: MIT
 * Options that several operations share. An operation gets a struct of options, an engine, and a progress object to
 * report to; it returns a report as JSON, and an error. `report` and `error` may be NULL. */
#ifndef ORGAN_API_OPTIONS_H
#define ORGAN_API_OPTIONS_H

#include <organ/base.h>
#include <organ/stream.h>

#include <jansson.h>
#include <stdbool.h>
#include <string.h>

ORGAN_API_BEGIN

/* Defines the function of a verb that returns its options as the command line has them when none is given: for `prune`
 * prune_defaults with the prefix organ_. `size` tells the library which members the structure of its caller has; 0 in a
 * zeroed structure means those of the first liborgan.so.5. In a zeroed structure, members have their defaults or are
 * refused by name. Structures that options contain do not grow. */
#define ORGAN_DEFAULTS(verb, ...)                                                                                      \
    static inline organ_##verb##_options organ_##verb##_defaults(void)                                                 \
    {                                                                                                                  \
        organ_##verb##_options o;                                                                                      \
        memset(&o, 0, sizeof o);                                                                                       \
        o.size = sizeof o;                                                                                             \
        __VA_ARGS__;                                                                                                   \
        return o;                                                                                                      \
    }

/* Returns whether from <= value <= to. Ranges of options are macros of two numbers, "from, to". */
static inline bool organ_within(double value, double from, double to) { return value >= from && value <= to; }

/* ---- operations that write a model, an adapter or an organ directory ---- */

#define ORGAN_SHARD_BYTES (5ULL << 30)

/* Figures of an operation that writes. A dry run sets the figures that it predicts. */
typedef struct organ_figures {
    uint64_t bytes;           /* size of the output's files with tensors and of their index */
    uint64_t weights;         /* number of stored values in all tensors of the model */
    uint64_t weights_changed; /* number of those values in tensors that are not copied */
    double seconds;           /* duration of the operation and its evaluation */
} organ_figures;

typedef struct organ_write_options {
    const char *output; /* path of the output: a directory, or one file if the operation says so */
    /* Upper bound of the bytes of tensor data in a new shard; 0: ORGAN_SHARD_BYTES; not used by operations that keep
     * the model's files. */
    uint64_t max_shard_size;
    bool resume; /* continue an interrupted run that had the same parameters and inputs */
    bool
        force; /* replace an existing output if all of its files are known to come from an input or from this library */
    bool dry_run; /* write nothing; the report says what would be written. `output` may be NULL */
    /* Store finite values beyond the range of their type in the output as its greatest finite value, with their sign;
     * false: such values are an error. Used by organ_convert, organ_dequantize and organ_graft; other
     * operations always fail, but for scales of GGUF blocks in organ_quantize, which are always finite. */
    bool saturate;
    /* Text and options to score model and output on; NULL: do not. Not used by
     * operations whose output is not a model that can run: organ_extract, organ_assemble, organ_lora_extract. */
    const struct organ_experiment_options *evaluate;
    /* Set if the operation returns ORGAN_OK, or its output is complete and only the evaluation failed. An operation
     * that writes several models adds up their figures; an adapter that it writes beside a model does not count.
     * NULL: the caller needs no figures. */
    organ_figures *figures;
} organ_write_options;

/* ---- operations that score models on a text ---- */

/* The text, and how it is scored. */
typedef struct organ_experiment_options {
    const char *text; /* path of the text */
    /* How the text is cut into windows, and which tokens are scored: "hf", "llama.cpp", "lm-eval"; NULL: "hf". */
    const char *style;
    /* Tokens of a window; 0: 512 for llama.cpp, else 2048, but at most the context for which the model was trained. */
    unsigned context;
    unsigned max_tokens; /* only this number of tokens from the beginning is the text; 0: all */
    const char *output;  /* directory to create for the reports; NULL: none */
    bool force;          /* replace an existing directory of such reports */
    bool imatrix; /* --write-imatrix: the directory also gets imatrix.gguf, the importance matrix of the first model */
    const organ_model_access *access; /* access to models behind a URL; NULL: defaults */
    /* How products are computed: "exact", "split", "bf16" (organ_product); NULL: "exact". */
    const char *compute;
    /* "fp8": the KV cache of the models, but not of the first of several, is rounded to E4M3
     * (organ_forward_round_cache); "off": it is not; NULL: it is if the configuration of a model declares it */
    const char *kv_cache;
    /* Whether inputs of linear layers are rounded as the configuration of a quantised model declares that servers do:
     * "on", "off", or "both": on, and models that declare it are also scored without; NULL: "off", with --evaluate of a
     * verb that writes a model "both". */
    const char *activations;
} organ_experiment_options;

/* ---- operations that run a calibration text through a model, layer by layer ---- */

/* Ranges "least, greatest" of --samples and --context, and the program's values if an option is not given. */
#define ORGAN_SAMPLES         1, 1000000
#define ORGAN_SAMPLES_DEFAULT 128
#define ORGAN_CONTEXTS        1, 1048576
#define ORGAN_CONTEXT_DEFAULT 512

/* Options of all verbs that calibrate on a text. */
typedef struct organ_calibration_text {
    const char *text; /* path of a text file in UTF-8; NULL: none */
    /* number of windows to cut, evenly spread, without overlap, within ORGAN_SAMPLES; a text with room for fewer
     * windows gives those that fit */
    unsigned samples;
    unsigned context;    /* tokens of a window, within ORGAN_CONTEXTS */
    const char *scratch; /* a directory for the hidden states of the windows; NULL: they are in memory */
    /* How the products of the forward pass and the second moments of inputs are computed: "exact", "split", "bf16"
     * (organ_product); NULL: "exact". */
    const char *compute;
} organ_calibration_text;

/* ---- operations that divide a budget among tensors ---- */

#define ORGAN_ALLOCATE_ROUNDS 0, 1000
#define ORGAN_ALLOCATE_TOKENS 64, 16777216
#define ORGAN_ALLOCATE_LAYERS 2, 16384

/* The options that divide a budget among targets, in all verbs that have them. */
typedef struct organ_allocate_options {
    const char *allocate; /* "global": one budget for all targets; NULL: every target gets the same sparsity or width */
    const char *budget;   /* "50%", "3.5bpw", "9GB"; NULL: the default of the command */
    const char *file;     /* file of the curves: read if it exists, else written; NULL: none */
    unsigned rounds;      /* rounds of exchanges between pairs of tensors, within ORGAN_ALLOCATE_ROUNDS */
    unsigned tokens; /* number of tokens on which divergences are measured, within ORGAN_ALLOCATE_TOKENS; 0: 1024 */
    unsigned layers; /* greatest number of measured layers, within ORGAN_ALLOCATE_LAYERS; 0: 16 */
    double way;      /* share of the way from the uniform division to that of least cost, in (0, 1]; 0 or less: 0.8 */
} organ_allocate_options;

ORGAN_API_END

#endif
