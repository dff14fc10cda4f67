/* SPDX-License-Identifier: MIT
 * Data and functions that the files of organ merge share. merge_models.c is the verb, merge_command.c makes a recipe of
 * options, merge_recipe.c and merge_members.c read recipes, merge_settings.c evaluates parameters, merge_filters.c fits
 * filters to names of tensors, merge_donors.c opens models, merge_clashes.c compares their settings, merge_form.c opens
 * GGUF files and URLs as hosts, merge_layers.c edits settings by layer, merge_experts.c matches experts,
 * merge_outline.c and merge_add.c plan tensors, merge_tensors.c writes them, merge_report.c makes the report.
 * merge_token_recipe.c, merge_tokens.c, merge_token_files.c and merge_chat.c do what concerns tokenizers.
 * merge_mixture.h is for mixtures that are composed of dense models.
 *
 * A donor is a model of the recipe. The host is the donor whose names, configuration and other files the output has:
 * the base model, else the first model. */
#ifndef ORGAN_VERBS_MERGE_MERGE_JOB_H
#define ORGAN_VERBS_MERGE_MERGE_JOB_H

#include "formats/base/arena.h"
#include "formats/base/json.h"
#include "formats/base/yaml.h"
#include "formats/weights/weight_search.h"
#include "orchestrator/output/hidden_folder.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/surgery/merge/merge_walk.h"
#include "orchestrator/surgery/write/write.h"
#include "orchestrator/surgery/convert/convert_across.h"
#include "orchestrator/surgery/adapter/adapter.h"
#include "orchestrator/verbs/merge/merge_tokens.h"

#include <organ/merge.h>
#include <organ/weights.h>

#define MERGE_NONE              SIZE_MAX
#define MERGE_NAME              512           /* bytes of the longest name of a tensor, with its NUL */
#define ORGAN_MERGE_RECIPE_NAME "recipe.yaml" /* the recipe with all defaults, next to the reports */

typedef struct model_merge model_merge;

/* ---- recipes ---- */

/* A model in a slice: layers [first, first + slice.layers) of it. */
typedef struct merge_source {
    size_t donor;
    size_t line;
    uint64_t first;
    const char *text;             /* its calibration text; NULL: merge_recipe.text */
    const organ_yaml *parameters; /* NULL: none */
} merge_source;

/* Consecutive layers of the output. A recipe with `models` has one slice. */
typedef struct merge_slice {
    merge_source *sources;
    size_t source_count;
    uint64_t first, layers;       /* layers [first, first + layers) of the output */
    const organ_yaml *parameters; /* NULL: none */
} merge_slice;

/* Settings and conditions of a recipe whose value a tensor has taken. */
typedef struct merge_use {
    const organ_yaml **nodes;
    size_t count;
} merge_use;

typedef struct merge_recipe {
    const char *label; /* path of the recipe, or "the command" */
    bool of_options;   /* it is made of options: `line` of its values is a merge_origin */
    organ_arena arena; /* owns everything below */
    const organ_yaml *tree;
    const organ_merge_method *method;
    const char **donors; /* names of models as written, each once, in order of their first use */
    size_t donor_count;
    size_t base; /* donor, or MERGE_NONE */
    merge_slice *slices;
    size_t slice_count;
    const char *text; /* calibration text of all models; NULL: none */
    bool sliced;      /* the recipe has `slices`: the layers of the output are those of the slices */
    const organ_yaml *module_parameters, *parameters;
    organ_dtype dtype; /* of the output; ORGAN_DTYPE_COUNT: not given */
    json_t *warnings;  /* sentences */
    /* of the host, whose other names of a tensor filters may have; NULL: not known */
    const struct forward_family *family;
    merge_use *use;
    merge_token_recipe tokens;
    struct merge_mixture *mixture; /* the recipe has `experts`; NULL: it merges models */
} merge_recipe;

/* Reads the recipe: the file options->recipe, or a text made from the other options. With `models`, slices[0].layers is
 * 0. The caller calls organ_merge_recipe_release, also after an error. Returns the errors of organ_merge. */
organ_status organ_merge_recipe_read(const organ_merge_options *options, merge_recipe *recipe, organ_error *error);
void organ_merge_recipe_release(merge_recipe *recipe);

/* Refuses members of other names; `what` is the map. */
organ_status organ_merge_check_keys(const merge_recipe *recipe, const organ_yaml *map, const char *what,
                                    const char *const *known, organ_error *error);

/* Sets *value to a member that is a text; NULL if it is absent. */
organ_status organ_merge_text_member(const merge_recipe *recipe, const organ_yaml *map, const char *key,
                                     const char **value, organ_error *error);

/* Sets *donor to the donor of that name; adds it if it is new. */
organ_status organ_merge_donor_named(merge_recipe *recipe, const char *name, size_t *donor, organ_error *error);

/* Reads the sections of merge_tokens.h into recipe->tokens. */
organ_status organ_merge_read_tokens(merge_recipe *recipe, organ_error *error);

/* The option that a value of a recipe comes from, if the recipe is made of options. 0: of none */
enum merge_origin {
    MERGE_OF_METHOD = 1,
    MERGE_OF_BASE,
    MERGE_OF_MODELS,
    MERGE_OF_TEXTS,
    MERGE_OF_WEIGHT,
    MERGE_OF_ROUTER_WEIGHT,
    MERGE_OF_DENSITY,
    MERGE_OF_T,
    MERGE_OF_SETTINGS,
    MERGE_OF_DTYPE
};

/* Returns the member of organ_merge_options. */
const char *organ_merge_member(size_t origin);

/* Returns the origin of a parameter that no single model has. */
size_t organ_merge_origin_of(const char *parameter);

/* Sets recipe->tree to the recipe that the options state. Returns ORGAN_USAGE if they contradict each other. */
organ_status organ_merge_command_recipe(const organ_merge_options *options, merge_recipe *recipe, organ_error *error);

/* Reports a fault of the value in a line: ORGAN_BAD_INPUT, "RECIPE: line N: ...", of a recipe that is made of options
 * ORGAN_USAGE, "`member`: ...". `line` 0: ORGAN_BAD_INPUT, "RECIPE: ...", without RECIPE if that is no file. */
organ_status organ_merge_fault(const merge_recipe *recipe, size_t line, organ_error *error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/* Reports a fault of a method's check: its message begins with the name of a parameter. */
organ_status organ_merge_check_fault(const merge_recipe *recipe, const char *tensor, const char *message,
                                     organ_error *error);

/* Reports that there is no method of this name: "`before` 'NAME', which is no method; ...". */
organ_status organ_merge_no_method(const char *name, organ_status status, const char *before, organ_error *error);

/* ---- parameters ---- */

/* The place at which parameters are evaluated. */
typedef struct merge_place {
    const merge_slice *slice;
    double t;                  /* position in gradients, 0 to 1 */
    const char *output;        /* name of the output's tensor */
    const char *const *inputs; /* its name in the model of each of `sources` */
    const size_t *sources;     /* for each input of the method: index of its source in the slice */
    size_t count;              /* number of these inputs */
} merge_place;

/* Checks all settings of the recipe: names of parameters, kinds and ranges of values. Adds warnings of parameters that
 * the method does not use. */
organ_status organ_merge_check_settings(merge_recipe *recipe, organ_error *error);

/* Evaluates all parameters: `values` gets parameter_count x max(count, 1) numbers, as organ_merge_task.values. Returns
 * ORGAN_BAD_INPUT if a required one is missing. */
organ_status organ_merge_evaluate(const merge_recipe *recipe, const merge_place *place, double *values,
                                  organ_error *error);

/* Sets job->recipe.family. The donors are open. */
void organ_merge_know_names(model_merge *job);

/* Returns whether a filter fits a tensor of the host's form: it is "*" or a part of one of the tensor's names; "router"
 * fits the routers of every layout. */
bool organ_merge_filter_fits(const merge_recipe *recipe, const char *filter, const char *name);

/* Begins to note which settings are used; organ_merge_use notes one, a condition or a whole setting. */
organ_status organ_merge_begin_use(merge_recipe *recipe, organ_error *error);
void organ_merge_use(const merge_recipe *recipe, const organ_yaml *node);

/* Adds a warning for each filter and each parameter that no tensor used. */
void organ_merge_warn_of_unused(merge_recipe *recipe);

/* ---- models ---- */

typedef struct merge_donor {
    const char *name; /* as written in the recipe */
    const char *path;
    /* its number in the recipe: random numbers depend on it, not on the name, so that a twin of the model elsewhere or
     * in another format keeps the same elements */
    char key[24];
    organ_model *model;
    organ_weights *weights;
    organ_across *across; /* its weights in the form of the host's; NULL: they have that form */
    /* Of a host that is a GGUF file or at a URL: the file and its weights. `model` is then an outline of it in
     * safetensors, in a temporary directory; the values of its weights are in `stored`, by `across` if that is GGUF.
     * NULL: `model` has the values itself. */
    organ_model *stored;
    organ_weights *stored_weights;
    organ_hidden_folder outline_folder;
    uint64_t layers;       /* of the text model, without draft layers */
    organ_adapted adapted; /* MODEL+ADAPTER; all zero: the donor is a model */
    const char *head;      /* name of the stored matrix that is its output head; NULL: its embedding is the head */
} merge_donor;

/* ---- tensors ---- */

/* A tensor whose matrices are fitted along texts. */
typedef struct merge_fitted {
    int32_t layer;        /* of the forward pass */
    bool transposed;      /* the forward pass has its matrices transposed */
    uint64_t left, means; /* matrices that are not written yet, and those that are the mean */
    uint64_t tokens;      /* whose inputs were gathered, for all matrices */
    double before, after; /* squared errors of the outputs, with the mean and as fitted */
} merge_fitted;

/* How a tensor of a composed mixture is made that is not read from models (merge_mixture.h). */
typedef enum merge_made_of { MERGE_MADE_NOT, MERGE_MADE_ROUTER, MERGE_MADE_SHARED, MERGE_MADE_ZEROS } merge_made_of;

/* A tensor of the output. */
typedef struct merge_tensor {
    const char *name;
    organ_merge_item item;
    const organ_weight *like;
    const uint64_t *shape;    /* NULL: that of `like` */
    size_t from;              /* donor of `like` */
    int32_t layer;            /* of the output */
    size_t *donors;           /* of the inputs, and of the base */
    const char *why;          /* why it is not merged: "towers and draft layers are the base's"; NULL: it is merged */
    organ_merge_moved *moved; /* for each input, and the base; set when the tensor is written */
    merge_fitted *fitted;     /* NULL: it is merged strip by strip */
    bool by_tokens;           /* the numbers of tokens of the texts are weights of its rows */
    merge_made_of made;       /* `like` and the input have only its type; MERGE_MADE_NOT: its inputs are merged */
} merge_tensor;

/* The experts of a layer in one model, matched with those of the model that gives the layer its names. */
typedef struct merge_match {
    int32_t layer; /* of the output */
    size_t donor, experts, reordered;
    double distance, in_order; /* means of squared distances of unit vectors, after and before the matching */
} merge_match;

/* The orders of experts in the sources of a layer. All zero: the same order. */
typedef struct merge_orders {
    size_t experts;
    const uint32_t **of; /* of each source: its expert for each of the output; NULL: the same. NULL: all the same */
} merge_orders;

/* How a merge is made that other steps follow (merge_verb.c), and what they need of it. */
typedef struct merge_made {
    bool outline;            /* write an outline (organ_write.outline) */
    const char *last;        /* path of the output of the last step; NULL: none */
    char print[17];          /* digest of the recipe and the options */
    organ_run_inputs inputs; /* all files that the merge reads */
    uint64_t bytes;          /* of the merged tensors */
    char *recipe;            /* with all defaults */
    char *base;              /* path of the host */
} merge_made;

struct model_merge {
    const organ_merge_options *options;
    merge_made *made; /* NULL: no steps follow */
    const organ_engine *engine;
    const organ_progress *progress;
    merge_recipe recipe;
    merge_donor *donors; /* recipe.donor_count of them */
    size_t host;
    organ_model_access access;    /* to models at URLs */
    merge_vocabulary *vocabulary; /* NULL: that of all models */
    char *chat_template;          /* of the output; NULL: that of the host */
    organ_arena arena;
    merge_tensor *tensors;
    size_t tensor_count, tensor_room;
    organ_piece *pieces;
    size_t piece_count;
    json_t *clashes; /* rows of organ_settings_compare */
    json_t *lacking; /* names of tensors that only some models have, with what became of them */
    merge_match *matches;
    size_t match_count, match_room;
    unsigned expert_groups; /* 0: not yet known */
    bool matching;          /* the stage of progress has begun */
    bool experts_fixed;     /* no experts are matched */
    bool experts_unfit;     /* a warning names a layer whose experts are not matched */
    uint64_t layers;        /* of the output */
    bool packed;            /* the host has packed weights, so the output's configuration is that of a plain model */
    bool has_head;          /* the output stores a head of its own */
    bool unties;            /* config.json of the host must no longer tie the head to the embedding */
    char *filled;           /* text of the recipe with all defaults */
    organ_plan plan;        /* of a dry run */
    size_t *todo;           /* tensors of the running pass */
    struct merge_moments *moments; /* of the method moments; else NULL */
    char *partial;                 /* path by which the unfinished output opens, for moments */
    organ_writing *writing;
    organ_behind *behind; /* while tensors are merged */
};

/* Returns zeroed memory that stays until the job is released; NULL with an error. */
void *organ_merge_take(model_merge *job, size_t size, organ_error *error);

/* Returns the first weight outside of layers that has the role, or NULL; of a GGUF file in its own form. */
const organ_weight *organ_merge_weight_of_role(const merge_donor *donor, organ_role role);
/* Returns whether a tensor is not merged: those of towers and of blocks for multi-token prediction are the host's. */
bool organ_merge_is_apart(const merge_donor *donor, const organ_anatomy *anatomy);

/* Sets *path to the path or URL of a model in a recipe. Returns the errors of organ_name_resolve and
 * organ_hub_stream. */
organ_status organ_merge_find_model(model_merge *job, const char *name, const char **path, organ_error *error);
/* Opens donor->path, which may be a URL. */
organ_status organ_merge_open_model(model_merge *job, merge_donor *donor, organ_error *error);
/* Makes the outline of a host that is a GGUF file or at a URL. organ_merge_close_form accepts what it leaves after an
 * error, and a donor without outline. */
organ_status organ_merge_open_form(model_merge *job, merge_donor *donor, organ_error *error);
organ_status organ_merge_close_form(merge_donor *donor, organ_error *error);

/* Opens all donors, finds the host, and checks that their vocabularies are equal unless the recipe states that of the
 * output. */
organ_status organ_merge_open_donors(model_merge *job, organ_error *error);
void organ_merge_close_donors(model_merge *job, organ_error *error);

/* Compares the donors with the host: fills job->clashes, and adds warnings of settings and towers that differ. Returns
 * ORGAN_BAD_INPUT for another architecture, unless the options allow it. */
organ_status organ_merge_compare_donors(model_merge *job, organ_error *error);

/* Matches the experts of a layer of the slice with those of its source `reference`, and adds rows to job->matches.
 * A dry run adds the work to the plan instead. Layers without experts, or whose experts cannot be reordered, keep their
 * order; a warning says so. Returns ORGAN_USAGE if the memory is not enough, and errors of reading. */
organ_status organ_merge_match_experts(model_merge *job, const merge_slice *slice, uint64_t layer, size_t reference,
                                       merge_orders *orders, organ_error *error);

/* Returns the number that expert `expert` of source `from` has in source `to`, or for MERGE_NONE in the output. */
size_t organ_merge_expert_in(const merge_orders *orders, size_t from, size_t to, size_t expert);

/* Sets *order to the order of a weight with an entry for each expert of the source; NULL: the order of the weight.
 * Returns ORGAN_BAD_INPUT for a tensor of experts of an unknown form. */
organ_status organ_merge_order_of(const merge_orders *orders, size_t source, const organ_weight *weight,
                                  const uint32_t **order, organ_error *error);

/* Fills tensors and pieces. Returns ORGAN_BAD_INPUT if the models do not fit. */
organ_status organ_merge_outline(model_merge *job, organ_error *error);

/* Adds a tensor that has the shape and the type of `like`, with room for `inputs` inputs; NULL with an error. */
merge_tensor *organ_merge_add_tensor(model_merge *job, const char *name, const organ_weight *like, size_t from,
                                     size_t inputs, organ_error *error);
/* Makes a weight of a donor input `at` of the tensor. */
void organ_merge_put_input(model_merge *job, merge_tensor *tensor, size_t at, size_t donor, const organ_weight *weight);
/* Makes the tensor that of one donor, input `at`. Returns the status of `error`. */
organ_status organ_merge_pass_through(merge_tensor *tensor, size_t at, const char *why, const organ_error *error);

/* If layers move and the weight, of the host, has entries for each layer: returns a weight that has those of the layers
 * of the output. Else NULL, also with an error. */
const organ_weight *organ_merge_by_layer(model_merge *job, const organ_weight *like, organ_error *error);

/* Checks that merged layers have the same settings and, with slices, that config.json can describe the layers of the
 * output; after organ_merge_outline. Returns ORGAN_BAD_INPUT, naming layers or setting, if not. */
organ_status organ_merge_check_layers(const model_merge *job, organ_error *error);
/* Writes number and settings of the output's layers to config.json. Returns the errors of organ_layers_edit and
 * organ_layers_check. */
organ_status organ_merge_edit_layers(const model_merge *job, organ_json_edit *config, organ_error *error);

/* Returns the tensor that has this name in the host, or NULL. */
const organ_weight *organ_merge_weight_named(const merge_donor *donor, const char *name);

/* Returns the tensor of the donor whose name in the output is `name`; a donor without an output head lends its
 * embedding. */
const organ_weight *organ_merge_find_weight(const model_merge *job, const merge_donor *donor, const char *name,
                                            const organ_anatomy *anatomy);

/* ---- tokens ---- */

/* Sets *has if the donor has a tokenizer. */
organ_status organ_merge_has_tokenizer(const merge_donor *donor, bool *has, organ_error *error);
/* Warns that the donor, which has no tokenizer, is taken to have the tokens of `like`. */
void organ_merge_say_assumed(model_merge *job, const merge_donor *donor, const merge_donor *like);

/* Makes job->vocabulary if the recipe names a source of tokens. */
organ_status organ_merge_open_vocabulary(model_merge *job, organ_error *error);
void organ_merge_close_vocabulary(model_merge *job);

/* Returns whether the tensor of the donor has a row for each token; its number of rows may differ from the output's. */
bool organ_merge_has_tokens(const model_merge *job, size_t donor, const organ_weight *weight);

/* Sets shape and rows of a tensor that has a row for each token. */
organ_status organ_merge_set_rows(model_merge *job, merge_tensor *tensor, organ_error *error);

/* Makes job->chat_template of the recipe's; the caller frees it. */
organ_status organ_merge_choose_chat(model_merge *job, organ_error *error);

/* Returns whether the verb writes the files of organ_merge_tokenizer_files itself. */
bool organ_merge_writes_tokenizer(const model_merge *job);
#define MERGE_LEFT_OUT 13
extern const char *const organ_merge_tokenizer_files[MERGE_LEFT_OUT];
organ_status organ_merge_write_tokenizer(const model_merge *job, const char *to, organ_error *error);
organ_status organ_merge_edit_vocabulary(model_merge *job, organ_json_edit *config, organ_error *error);
/* Returns the model that has the values of the donor's weights. */
static inline const organ_model *organ_merge_stored(const merge_donor *donor)
{
    return donor->stored ? donor->stored : donor->model;
}

/* Returns whether the donor's values are in a GGUF file; its tensors then have other names than those of the host. */
static inline bool organ_merge_is_gguf(const merge_donor *donor) { return organ_merge_stored(donor)->gguf != NULL; }

/* organ_merge without further steps. The strings of *made are the caller's to free, also after an error; `made` may be
 * NULL. organ_merge_plain is an organ_plan_verb, whose options are an organ_merge_options. */
organ_status organ_merge_once(const organ_merge_options *options, merge_made *made, const organ_engine *engine,
                              const organ_progress *progress, json_t **report, organ_error *error);
organ_status organ_merge_plain(const void *options, const organ_engine *engine, const organ_progress *progress,
                               json_t **report, organ_error *error);

/* Releases what the job owns, also after an error of any step. */
void organ_merge_release(model_merge *job, organ_error *error);

/* Raises job->plan to what the merge needs. */
organ_status organ_merge_estimate_run(model_merge *job, organ_error *error);

/* `fill` and `recall` of organ_write. */
organ_status organ_merge_fill(void *job, organ_writing *writing, organ_error *error);
bool organ_merge_recall_tensor(void *job, size_t tensor, const json_t *results);

/* `document` of organ_write. */
json_t *organ_merge_document(void *job, const organ_writing *writing);

/* Returns what the journal keeps of a tensor. */
json_t *organ_merge_tensor_results(const merge_tensor *tensor);

/* ---- the method moments (merge_moments.h) ---- */

typedef struct merge_moments merge_moments;

/* Sets `fitted` and `by_tokens` of all tensors. Returns ORGAN_BAD_INPUT for recipes that moments does not merge. */
organ_status organ_merge_mark_fitted(model_merge *job, organ_error *error);
/* Opens the texts and forward passes and raises job->plan; with another method only checks that there is no text. */
organ_status organ_merge_open_moments(model_merge *job, organ_error *error);
void organ_merge_close_moments(model_merge *job);
/* Fits and writes all matrices, after all other tensors were written. */
organ_status organ_merge_run_moments(model_merge *job, organ_error *error);
json_t *organ_merge_texts_json(const model_merge *job); /* facts of the texts, in the order of the models */

/* Makes job->filled. */
organ_status organ_merge_fill_recipe(model_merge *job, organ_error *error);

#endif
