/* SPDX-License-Identifier: MIT
 * Words, fields and blocks that the views of several reports share. */
#ifndef ORGAN_REPORT_VIEW_VIEW_PARTS_H
#define ORGAN_REPORT_VIEW_VIEW_PARTS_H

#include "orchestrator/report/blocks/blocks.h"

#include <jansson.h>
#include <organ/base.h>
#include <stddef.h>
#include <stdint.h>

/* Blocks for "evaluation" in the reports of operations that write a model: the figures of --evaluate, in the same form
 * for every operation. */

enum { ORGAN_EVALUATION_BLOCKS = 16 };
extern const organ_block organ_evaluation_blocks[ORGAN_EVALUATION_BLOCKS];

/* Results for HIGHLIGHTS: the KL divergence from the donor, and the perplexity before and after, if the report has an
 * evaluation. The first result of each view is the figure by which one decides whether the output is good, so views
 * list these first, then the loss that the verb itself has measured, then sizes and counts. */
#define EVALUATION_HIGHLIGHTS                                                                                          \
    {"evaluation.comparison", "KL divergence from the donor, nats per token",                                          \
     "{evaluation.comparison.kl_divergence:figure}"},                                                                  \
    {                                                                                                                  \
        "evaluation.comparison", "perplexity; before: {evaluation.before.figures.perplexity:figure}",                  \
            "{evaluation.after.figures.perplexity:figure}"                                                             \
    }

/* Prints the member "evaluation" of a report that has it: on a page and in a Markdown file as a section, on a terminal
 * after an empty line. */
#define EVALUATION_ON(where) PART(where, "evaluation", BLOCKS_OF(organ_evaluation_blocks))

/* Sentences about the member "experiment": text, tokenizer, protocol and compute. A report without "experiment.compute"
 * is older than the option --compute, so its compute was exact. */
#define EXPERIMENT_WORDS                                                                                               \
    "Text {experiment.text.name}: {experiment.text.bytes:count} bytes, {experiment.text.tokens:count} tokens"          \
    "{experiment.text.tokens>experiment.tokens_used? ({experiment.text_windows>experiment.windows?windows with "       \
    "|the first }{experiment.tokens_used:count} are used)}, XXH3 "                                                     \
    "{experiment.text.xxh3}. "                                                                                         \
    "{experiment.text.utf8?|Bytes that are not UTF-8 are read as U+FFFD. }"                                            \
    "Tokenizer: {experiment.tokenizer.kind} of {experiment.tokenizer.vocabulary}, digest "                             \
    "{experiment.tokenizer.digest}. "                                                                                  \
    "Style {experiment.style}, context {experiment.context}, compute {experiment.compute?{experiment.compute}|exact}"  \
    "{experiment.compute_isa? by {experiment.compute_isa}}: {experiment.windows:count}"                                \
    "{experiment.text_windows>experiment.windows? of {experiment.text_windows:count}} window{experiment.windows:s}, "  \
    "{experiment.tokens_scored:count} token{experiment.tokens_scored:s} scored; {experiment.bos}."

/* Mark of a figure, and the note about it, for models with the member "rounded_activations". */
#define ROUNDED_MARK "{rounded_activations? ‡}"
#define ROUNDED_NOTE(name)                                                                                             \
    "‡ The file of " name                                                                                              \
    " declares that servers (vLLM, transformers) round activations, too. organ rounded none (--activations off): "     \
    "this is the loss of the weights alone, and the model as served loses more."
/* The note about a model whose inputs were rounded. */
#define SERVED_NOTE(name, path)                                                                                        \
    "Inputs of " name "'s linear layers are rounded as servers round them: {" path "activations.inputs}.{" path        \
    "activations.servers? Servers differ, because config.json does not declare it. They are rounded by {" path         \
    "activations.servers}. Figures of the weights alone are those of the others.}"

/* Sentence about the member "kv_cache" of a model. */
#define CACHE_NOTE(name)                                                                                               \
    "KV cache of " name ": keys and values are rounded to FP8 E4M3, with "                                             \
    "{kv_cache.scales=1?scale 1|a scale for each {kv_cache.scales}"                                                    \
    "{kv_cache.layers_without_scales>0?; {kv_cache.layers_without_scales} of {kv_cache.layers} layers have none}}."

/* A table of the experiment for a page; its row is the member "experiment". */
enum { ORGAN_EXPERIMENT_BLOCKS = 1 };
extern const organ_block organ_experiment_blocks[ORGAN_EXPERIMENT_BLOCKS];

/* One sentence of the member "warnings". WARNINGS lists them in files; on a terminal they were shown during the run. */
enum { ORGAN_WARNING_BLOCKS = 2 };
extern const organ_block organ_warning_blocks[ORGAN_WARNING_BLOCKS];
#define WARNINGS EACH(ON_FILES, "warnings", BLOCKS_OF(organ_warning_blocks))

/* The beginning of a terminal report, "Purified MODEL\ninto OUTPUT", or of a dry run "Dry run, nothing was written:
 * MODEL\nwould go into OUTPUT". `done` is the verb, `model` the path of the model in the report. */
#define MADE_WORDS(done, model)                                                                                        \
    "{dry_run?Dry run, nothing was written: |" done " }{" model ":model}\n{dry_run?would go into |into }{run.output}"

/* The beginning of a report of a verb that writes a model: MADE_WORDS, then on the next line `how` it was done, the
 * heading of a page, warnings and highlights. */
#define MADE_BEGIN(done, how, title, highlights)                                                                       \
    LINES(NULL, MADE_WORDS(done, "model") how "\n\n"), HEADING(title " of {model.name}"), WARNINGS,                    \
        HIGHLIGHTS(NULL, highlights)

/* Needs of a run, in the report of a dry run. PLAN: bytes of the output, then PLAN_NEEDS: memory and time. */
#define PLAN                                                                                                           \
    SECTION(ON_MARKDOWN, "dry_run&plan", "Needs of the run"),                                                          \
        SAY(ON_ALL, "dry_run&plan", "Output: {plan.output_bytes:bytes} of tensors."), PLAN_NEEDS
#define PLAN_NEEDS                                                                                                     \
    SAY(ON_ALL, "dry_run&plan&!plan.memory_given", "Memory: at most {plan.memory_enough:memory}."),                    \
        SAY(ON_ALL, "dry_run&plan&plan.memory_given",                                                                  \
            "Memory: --memory {plan.memory_enough:option} is enough{plan.memory_good>plan.memory_enough?; from "       \
            "{plan.memory_good:option} "                                                                               \
            "on, more has no effect}."),                                                                               \
        SAY(ON_ALL, "dry_run&plan.memory_auto",                                                                        \
            "--memory auto: at most {plan.memory_auto.ceiling:option}, half of the free memory"                        \
            "{plan.memory_auto.ranks>1? for each of {plan.memory_auto.ranks} processes}."),                            \
        WARN(                                                                                                          \
            ON_ALL, "dry_run&plan.memory_short",                                                                       \
            "--memory {plan.memory_auto?auto|{plan.memory_given:option}} is too little: the run would end with an "    \
            "error."                                                                                                   \
            "{plan.memory_with_blocks? {plan.memory_with_blocks:option} is enough with --moments blocks, which gives " \
            "a larger error.}"                                                                                         \
            "{plan.memory_with_scratch? {plan.memory_with_scratch:option} is enough with --scratch DIR, which reads "  \
            "and writes the hidden states on a disk.}"),                                                               \
        SAY(ON_ALL, "dry_run&run.plan",                                                                                \
            "Time: about {run.plan.seconds:time} with {run.plan.threads} thread{run.plan.threads:s} of "               \
            "{run.plan.cpu?{run.plan.cpu}|this machine}, disks not counted"                                            \
            "{run.plan.most_seconds?, for {run.plan.windows:count} windows, with which a standard error of "           \
            "{run.plan.max_error_percent:.3g} % is expected (--max-error); at most {run.plan.most_seconds:time}}.")
/* The end of a terminal report. TIME_LINE prints duration and speed; `what` names the bytes that are counted (" of
 * output"). REPORT_LINE prints the path of the report `name`: next to an output that is a single file, otherwise in the
 * output's directory organ/. */
#define TIME_WORDS(what)  "Time: {run.seconds:time}, {run.bytes_per_second:bytes}/s" what "."
#define TIME_LINE(what)   SAY(ON_TERMINAL, "!dry_run", TIME_WORDS(what))
#define REPORT_PLACE      "{run.single_file?{run.output:stem}|{run.output}/organ/}"
#define REPORT_LINE(name) LINES("!dry_run", "\nReport:  " REPORT_PLACE name " (and .html)\n")
/* The end of a report of a verb that writes a model: needs, evaluation, time and place; MADE_ENDING adds the
 * definitions. */
#define MADE_END(what, name)    PLAN, EVALUATION_ON(ON_TEXT), GAP("!dry_run"), TIME_LINE(what), REPORT_LINE(name)
#define MADE_ENDING(what, name) MADE_END(what, name), DEFINITIONS

/* A box of warnings about the counts of killed weights, the sentences of the array "errata". The terminal has none:
 * they are the same in every run. */
#define ERRATA CAUTIONS(ON_FILES, NULL, "errata", "Notes on these numbers")

/* Columns of a table of a model's files. */
#define FILE_FIELDS                                                                                                    \
    FIELD_TEXT("file", "name", ORGAN_FIELD_SHORTENS), FIELD_COUNT("tensors", "tensors"), FIELD_BYTES("size", "bytes")
/* Columns of a table of key-values of GGUF that differ. */
#define GGUF_KEY_FIELDS                                                                                                \
    FIELD_TEXT("key", "key", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE), FIELD_TEXT("", "change", 0),                    \
        FIELD_TEXT("type", "type", 0), FIELD_WORDS("before", "{before}", ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS),     \
        FIELD_WORDS("after", "{after}", ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)
/* Columns of a table of settings (members of config.json or key-values of GGUF) that a cut changed. */
#define SETTING_FIELDS                                                                                                 \
    FIELD_TEXT("where", "where", 0), FIELD_TEXT("setting", "key", ORGAN_FIELD_CODE),                                   \
        FIELD_WORDS("before", "{before}", 0), FIELD_WORDS("after", "{after}", 0)

/* Say which share of the weights in matrices of linear layers a verb works on (MATRICES_SHARE), warn if it is small
 * (MATRICES_FEW), and list the kinds of all other matrices (MATRICES_LEFT); MATRICES does all three for targets. `if_`
 * is a condition that ends with '&', or empty. `are` begins the sentence ("targets are"), `what` and `other` name the
 * matrices worked on and all others ("targets", "no targets"), `why` is a sentence about the others. Reports of older
 * versions have no "matrices": nothing is printed. */
#define MATRICES_SHARE(if_, are)                                                                                       \
    SAY(ON_ALL, if_ "matrices.elements",                                                                               \
        "Matrices: " are                                                                                               \
        " {matrices.percent:percent} of the {matrices.elements:count} weights in matrices of linear layers.")
#define MATRICES_FEW(if_, what, why)                                                                                   \
    WARN(ON_ALL, if_ "matrices.few",                                                                                   \
         "Only {matrices.percent:percent} of the weights in matrices are " what ". " why                               \
         " The largest kind is {matrices.left.0.name}.")
#define MATRICES_LEFT(if_, other)                                                                                      \
    TABLE(ON_FILES, if_ "matrices.left", "matrices.left", FIELDS(organ_left_matrix_fields),                            \
          .caption = "Matrices that are " other),                                                                      \
        TABLE(ON_TERMINAL, if_ "matrices.few", "matrices.left", FIELDS(organ_left_matrix_fields), .max = SHOWN,        \
              .what = "kinds", .caption = "Matrices that are " other)
#define MATRICES(if_)                                                                                                  \
    MATRICES_SHARE(if_, "targets are"),                                                                                \
        MATRICES_FEW(if_, "targets", "The others are not targets by default, or --select excludes them."),             \
        MATRICES_LEFT(if_, "no targets")
extern const organ_field organ_left_matrix_fields[4];

/* Limit of lines of a list on a terminal, and the line after a shortened list. */
#define SHOWN    20
#define AND_MORE "and {more} more, all of them with --json"

#define EVERY_TENSOR 1500 /* limit of lines of a table of tensors on a page and in a Markdown file */

/* ---- blocks for "allocation" ---- */

/* Blocks for "allocation" in the reports of operations that divide one budget over all tensors: the amount that each
 * tensor got, and the cost of an equal division for comparison. */

enum { ORGAN_ALLOCATION_BLOCKS = 8 };
extern const organ_block organ_allocation_blocks[ORGAN_ALLOCATION_BLOCKS];

/* Prints the member "allocation", or another member of the same form, of a report that has it. */
#define ALLOCATION_ON(where)         ALLOCATION_OF(where, "allocation")
#define ALLOCATION_OF(where, member) PART(where, member, BLOCKS_OF(organ_allocation_blocks))

/* ---- the composition of a model ---- */

/* The composition of a model: sizes of its parts (attention, feed-forward, embedding, norms), and of each role in each
 * layer. */

/* Returns {"name", "bytes", "percent" of the bytes of all rows} for each of `rows` with more than 0 bytes. "name" is
 * the row's member `key`; for the key "group" a name for readers ("attention"). */
json_t *organ_size_rows(const json_t *rows, const char *key);

/* Returns an array with a row for each layer and role that has elements by report.by_layer: {"layer", "role", "bytes",
 * "bits" (bits per element), "percent" (share of the elements that `organ graft` took from another model; 0 in the
 * reports of other verbs)}. The caller owns the array. */
json_t *organ_layer_cells(const json_t *report);

/* Bars for rows of organ_size_rows, which the view has stored at `path`; `heading` is the title, `text` the caption. */
#define SIZE_BARS(if_, path, heading, text)                                                                            \
    BARS(if_, path,                                                                                                    \
         .style = {.title = (heading),                                                                                 \
                   .description =                                                                                      \
                       "A bar for each part: its size and its share of the whole. The table has the numbers.",         \
                   .value_label = "size",                                                                              \
                   .series = {"size", NULL},                                                                           \
                   .digits = 3},                                                                                       \
         .name = "name", .values = {"bytes"}, .bytes = true, .remark = "{percent:percent}", .caption = (text))
#define ANATOMY_BARS SIZE_BARS("sizes", "sizes", "Anatomy", "Parts of the model by the bytes of their tensors.")

/* A heat map of the bytes of the cells of organ_layer_cells, which the view has stored as "cells". */
#define BYTES_MAP                                                                                                      \
    MAP("cells", "cells",                                                                                              \
        .style = {.title = "Size by layer and role",                                                                   \
                  .description = "The bytes of the tensors of each role in each layer.",                               \
                  .value_label = "size"},                                                                              \
        .role = "role", .value = "bytes", .bytes = true, .zero = true, .inside = true,                                 \
        .caption = "Bytes by layer and role; tensors outside the layers are not shown.")

/* ---- tensors that measured models share ---- */

/* Finds which measured models share tensors: tensors with the same number of elements and the same moments are taken to
 * have the same values. A chimera is a model whose tensors are all found in two others together (its body and its
 * donor), but not all in one of them. */

/* Only the first 60 models are compared: a set of models is a 64-bit word. */
#define ORGAN_LINEAGE_MAX  60
#define ORGAN_LINEAGE_NONE SIZE_MAX

/* How a model is related to other models, which are given by their indices; NONE is ORGAN_LINEAGE_NONE. Counts include
 * only tensors whose values are not all the same. */
typedef struct organ_lineage {
    size_t body;       /* of a chimera: the model that has most of its tensors; NONE: this model is no chimera */
    size_t donor;      /* of a chimera: the model that has all tensors that the body does not have */
    size_t like;       /* the model that shares most tensors with this one; NONE: no model shares any */
    size_t tensors;    /* tensors of this model */
    size_t from_body;  /* of these: found in `body` */
    size_t from_donor; /* of these: not found in `body`, but in `donor` */
    size_t shared;     /* of these: found in `like` */
    size_t depth;      /* 0, or for a model listed after its body the body's depth + 1: a level of indentation */
} organ_lineage;

/* Fills lineage[0 .. count) for the `count` elements of `models` (report.models of an organ.measure/1). Models from
 * ORGAN_LINEAGE_MAX on are not compared: body, donor and like are NONE. Stores the indices of all models in order[0 ..
 * count): ascending, except that a chimera follows its body. Returns ORGAN_IO if out of memory. */
organ_status organ_measure_lineage(const json_t *models, organ_lineage *lineage, size_t *order, organ_error *error);

/* ---- measurements and fleets ---- */

/* Blocks and fields shared by the views of a measurement (organ.measure/1) and of a fleet (organ.fleet/1). The blocks'
 * row is an organ.measure/1. */

/* A warning that every report with theta has. */
#define MEASURE_CAUTION                                                                                                \
    "theta measures how far the distribution of the values is from noise. A higher theta is no evidence of a better "  \
    "model: damage can raise "                                                                                         \
    "it."

/* Blocks of a page about several models: HIGHLIGHT are the main results, FLEET compares the models, MODELS has a
 * section for each model. */
enum { ORGAN_MEASURE_HIGHLIGHT_BLOCKS = 1, ORGAN_MEASURE_FLEET_BLOCKS = 2, ORGAN_MEASURE_MODELS_BLOCKS = 1 };
extern const organ_block organ_measure_highlight_blocks[ORGAN_MEASURE_HIGHLIGHT_BLOCKS];
extern const organ_block organ_measure_fleet_blocks[ORGAN_MEASURE_FLEET_BLOCKS];
extern const organ_block organ_measure_models_blocks[ORGAN_MEASURE_MODELS_BLOCKS];

/* Columns of two tables with a line for each model: the ranking by theta, and the mean theta of each group. */
enum { ORGAN_RANKING_FIELDS = 7, ORGAN_GROUP_FIELDS = 6 };
extern const organ_field organ_ranking_fields[ORGAN_RANKING_FIELDS], organ_group_fields[ORGAN_GROUP_FIELDS];

/* Columns of a table of "others", a member of both reports: files and directories among the models that are not
 * models. */
#define OTHERS_FIELDS                                                                                                  \
    FIELD_TEXT("not a model, not ranked", "name", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE),                            \
        FIELD_TEXT("kind", "kind", 0), FIELD_BYTES("size", "bytes")

/* ---- noise against an adapter, noises of two pairs ---- */

/* Fields and blocks shared by the views of organ.orthogonality/1 (noise against an adapter) and organ.noise_pairs/1
 * (noises of two pairs of models). */

enum { EVERY_NOISE_MODULE = 1500 }; /* limit of lines of a table of modules on a page and in a Markdown file */

#define FIELD_PROJECTION FIELD_TEXT("projection", "projection", ORGAN_FIELD_SHORTENS | ORGAN_FIELD_CODE)
#define FIELD_LAYER      FIELD_WORDS("layer", "{layer>-1?{layer}|none}", 0)

/* A column with the number of modules whose |z| is at most 3: their cosine is within three standard deviations of what
 * random matrices have. organ_noise_within_cell puts this number of `row` into the next cell of the table. */
#define FIELD_WITHIN FIELD_BY("|z|<=3", organ_noise_within_cell, 0)
void organ_noise_within_cell(organ_table *table, const json_t *row);

#define ABOUT_WEIGHTS "These figures describe weights. They do not predict the answers of a model."

/* A heat map of z by projection and layer. The row of the block has "places", an array with a row for each module.
 * `heading` are words for the title, `of` ("between noise and adapter") follows "cosine", `text` is the caption. */
#define Z_MAP(heading, of, text)                                                                                       \
    MAP("places.*.z", "places",                                                                                        \
        .style = {.title = (heading),                                                                                  \
                  .subtitle = "z: cosine over its standard deviation by chance; 0 is the mean of random matrices",     \
                  .description = "z of the cosine " of " for each projection and layer. Beyond 3 is outlined.",        \
                  .row_label = "projection",                                                                           \
                  .value_label = "z",                                                                                  \
                  .mark_name = "beyond 3: rare by chance",                                                             \
                  .low = -6,                                                                                           \
                  .high = 6,                                                                                           \
                  .diverging = true},                                                                                  \
        .role = "projection", .value = "z", .beyond = 3, .inside = true, .caption = (text))

/* A section with a table of "thresholds": the condition of each verdict. */
#define THRESHOLDS                                                                                                     \
    SECTION(ON_FILES, NULL, "Limits of the verdicts"), TERMS(ON_FILES, NULL, "thresholds", "verdict on", "condition")

/* ---- killed weights, in the views of a pruning and of its audit ---- */

/* Blocks shared by the views of a pruning and of its audit: both count killed weights, which pruning set to zero. */

/* Returns a copy of the report with the member "fold", which is computed from the other members:
 *
 *   all       a row for all targets: the members of totals.target, and "tensors", "mean", "min", "max" of the
 *             tensors' percents
 *   totals    a row for each denominator, targets and full model: "name", "killed", "elements", "percent"
 *   bars      a row for each projection and one for all targets: "name", "killed", "elements", "percent", "of_full"
 *             (killed weights in percent of the full model), and of projections "min" and "max"
 *   layers    the report's layers, with "label" ("none"), "name" ("layer 3"), and the "low" and "high" of the percents
 *             of their tensors
 *   densest   the same layers, those with the highest percent first; "sparsest" is the last of them
 *   tensors   the report's tensors; of more than 2,000 those whose percent is farthest from the mean
 *   bins      a row for each range of "magnitudes" from the first to the last with a weight: "place" (log2 of its
 *             middle), "all" and "killed" in percent of the weights counted
 *   tiles     the report's "tile_map", if it is complete
 *   alike     true if all target tensors have the same percent within 0.005, as with a sparsity that is set for each
 *             tensor
 *   target_percent    the target weights, in percent of the model's weights
 *
 * Returns NULL if out of memory. */
json_t *organ_sparsity_fold(const json_t *report);

/* Columns and tables over a copy that organ_sparsity_fold returned: by projection, over both denominators, by layer. */
extern const organ_field organ_projection_fields[8], organ_total_fields[4], organ_sparse_layer_fields[5];
#define PROJECTIONS(where, if_)                                                                                        \
    TABLE(where, if_, "projections", FIELDS(organ_projection_fields), .total = "all targets", .total_row = "fold.all", \
          .caption = "Mean, min and max are over the projection's tensors, each in percent of that tensor's "          \
                     "elements; the last percent "                                                                     \
                     "is of all elements of the projection.")
#define TOTALS(where, if_)                                                                                             \
    TABLE(where, if_, "fold.totals", FIELDS(organ_total_fields), .caption = "Killed weights over both denominators")

/* Blocks of a page, over the same copy: killed weights by projection and by layer; by magnitude; of single tensors. */
enum { ORGAN_SPARSITY_BLOCKS = 11, ORGAN_MAGNITUDE_BLOCKS = 3, ORGAN_SPARSE_TENSOR_BLOCKS = 4 };
extern const organ_block organ_sparsity_blocks[ORGAN_SPARSITY_BLOCKS], organ_magnitude_blocks[ORGAN_MAGNITUDE_BLOCKS],
    organ_sparse_tensor_blocks[ORGAN_SPARSE_TENSOR_BLOCKS];
#define SPARSITY(if_)       PART_IF(ON_PAGE, if_, ".", BLOCKS_OF(organ_sparsity_blocks))
#define MAGNITUDES          PART_IF(ON_PAGE, "fold.bins", ".", BLOCKS_OF(organ_magnitude_blocks))
#define SPARSE_TENSORS(if_) PART_IF(ON_PAGE, if_, ".", BLOCKS_OF(organ_sparse_tensor_blocks))

/* The command `organ audit DONOR OUTPUT --select ...`, quoted for a shell. `output` is the member of "run" with the
 * path of the output, `compensated` the condition for --refitted. */
#define AUDIT_COMMAND(output, compensated)                                                                             \
    "organ audit {run.donor:shell} {run." output ":shell}{parameters.targets? --select {parameters.targets:shell}}"    \
    "{" compensated "? --refitted}"

/* Main results of a pruning or its audit, for HIGHLIGHTS. */
#define SPARSITY_HIGHLIGHTS                                                                                            \
    {NULL, "of the {totals.target.elements:count} target weights killed", "{totals.target.percent:percent}"},          \
        {NULL, "of all {totals.full.elements:count} weights of the model killed", "{totals.full.percent:percent}"},    \
        {"!coverage.percent=100", "of the target weights processed, each once", "{coverage.percent:percent}"},         \
        {"matrices", "of the weights in matrices of linear layers are targets", "{matrices.percent:percent}"},         \
    {                                                                                                                  \
        NULL, "target tensors", "{per_tensor.tensors:count}"                                                           \
    }

/* ---- shares of changes by module ---- */

/* Shares of changes by module. A module is a linear layer with factors of an adapter, which change its weight. A share
 * is the part of the squared norm of this change that extracted factors explain, that shorter factors keep, or that
 * arrived in the merged weight. */

enum { EVERY_MODULE = 2000 }; /* limit of lines of a table of modules on a page and in a Markdown file */

/* Names members of the rows of report.modules, which the functions below read; each row also has "role", "layer" and
 * "rank". */
typedef struct organ_share_of {
    const char *share; /* member with the share, 0 to 1, of the squared norm: "explained" */
    const char *norm;  /* member with the norm of the change: "change_norm" */
    /* member with the singular values of the change, the largest first: "spectrum"; NULL: none */
    const char *spectrum;
} organ_share_of;

/* Returns {"rows": an array with a row for each role, "total": a row for all modules}. A row has
 *
 *   role                     "" in the total
 *   modules, elements        number of modules; sum of their elements
 *   rank_from, rank_to       lowest and highest rank of its modules
 *   before_from, before_to   the same before a resize (0 if the report has no ranks from before)
 *   share                    of the squared norms of all its modules together, 0 to 1; null if they change nothing
 *   least, most              lowest and highest share of a module
 *
 * Returns NULL if out of memory. */
json_t *organ_share_roles(const json_t *report, const organ_share_of *of);

/* Draws over k the share of the change that the first k singular values explain, in a panel for each role. Returns an
 * SVG, which the caller frees; NULL if out of memory. */
char *organ_rank_curves(const json_t *report, const organ_share_of *of);

/* Words for the rank of a row of organ_share_roles: "4" or "4-16". */
#define RANK_WORDS "{rank_from}{rank_to>rank_from?-{rank_to}}"

/* Charts of shares. SHARE_BARS has a bar for each role, over the rows of organ_share_roles; SHARE_MAP has a cell for
 * each module of report.modules. `heading` is the title, `word` says what the share is ("explained"), `share` is the
 * member of a module, `text` the caption. RANK_MAP shows the ranks of the modules, if the condition `if_` is true and
 * ranks differ. */
#define SHARE_BARS(heading, word, text)                                                                                \
    BARS("rows", "rows",                                                                                               \
         .style = {.title = (heading),                                                                                 \
                   .subtitle = "share of the squared norm of the change; the whisker spans the modules of the role",   \
                   .description =                                                                                      \
                       "One bar per role: the share over all its modules together; the whisker spans its modules.",    \
                   .value_label = "percent",                                                                           \
                   .series = {word ", all modules of the role together", NULL},                                        \
                   .digits = 4,                                                                                        \
                   .unit = " %"},                                                                                      \
         .name = "role", .values = {"share"}, .low = "least", .high = "most", .factor = 100,                           \
         .remark = "{modules} module{modules:s}, rank {rank_from}{rank_to>rank_from? to {rank_to}}",                   \
         .caption = (text))
#define SHARE_MAP(heading, word, share)                                                                                \
    MAP("modules.*." share, "modules",                                                                                 \
        .style = {.title = heading ", by layer",                                                                       \
                  .description = "The same share for each role and layer.",                                            \
                  .value_label = word ", percent",                                                                     \
                  .low = 0,                                                                                            \
                  .high = 100},                                                                                        \
        .role = "role", .value = (share), .factor = 100, .least = true, .inside = true,                                \
        .caption = "Each cell is a module; the table below has the numbers.")
#define RANK_MAP(if_)                                                                                                  \
    MAP(if_, "modules",                                                                                                \
        .style = {.title = "Rank by layer",                                                                            \
                  .description = "The rank of each module, by role and layer.",                                        \
                  .value_label = "rank"},                                                                              \
        .role = "role", .value = "rank", .inside = true, .varies = true,                                               \
        .caption = "A change that needs more rank is spread over more directions.")

/* ---- charts of `organ evaluate` ---- */

/* Charts of a report of `organ evaluate` (organ.evaluate/1): a value of each model over the share of its weights that
 * were killed (set to zero), one line a method. */

/* Draws a point for each model but the first, which is the donor: the model's perplexity over the percent of killed
 * target weights. The line of each method starts at the donor. Returns an SVG, which the caller frees; NULL if out of
 * memory. */
char *organ_perplexity_cloud(const json_t *report);

/* The same with the KL divergence from the donor instead of the perplexity; the lines do not start at the donor. */
char *organ_divergence_cloud(const json_t *report);

#endif
