/* SPDX-License-Identifier: MIT
 * Reads the quantisation settings in a model's config. Types and shapes of tensors take precedence: the config decides
 * only properties that they do not determine. */
#ifndef ORGAN_WEIGHTS_QUANT_CONFIG_H
#define ORGAN_WEIGHTS_QUANT_CONFIG_H

#include "formats/base/arena.h"
#include "formats/base/json.h"
#include "formats/base/rows.h"
#include "formats/weights/served.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/models.h>
#include <organ/weights.h>
#include <stdbool.h>
#include <stdint.h>

/* ---- rules by which a quantisation config selects modules ---- */

/* The total time of matching is bounded, whatever patterns the config contains. */

/* How a rule selects modules by name. */
typedef enum organ_rule_kind {
    ORGAN_RULE_EXACT,  /* the text is the module's whole name */
    ORGAN_RULE_REGEX,  /* regular expression that matches from the name's beginning, like Python's re.match */
    ORGAN_RULE_SEARCH, /* regular expression that matches anywhere in the name, like Python's re.search */
    ORGAN_RULE_GLOB,   /* pattern with * and ? for the whole name */
    ORGAN_RULE_PART,   /* the name contains the text */
    ORGAN_RULE_CLASS,  /* the text contains "Linear" or "Experts" (all modules but embeddings) or "Embedding" */
    ORGAN_RULE_KINDS
} organ_rule_kind;

struct organ_rule;
struct organ_rule_buffers;

/* A list of rules. A list whose members are all zero is empty. */
typedef struct organ_quant_rules {
    struct organ_rule *rules; /* `count` rules other than exact names, in the order in which they were added */
    size_t count, capacity;
    const void **values; /* the caller's value of each of the `value_count` rules of exact names */
    size_t value_count, value_capacity;
    organ_name_table exact;             /* text of an exact rule -> index into `values` */
    struct organ_rule_buffers *buffers; /* buffers for matching; NULL without regular expressions */
    uint64_t charged;                   /* cost of all matches so far (quant_rules.c); at a limit, matching fails */
} organ_quant_rules;

/* Appends a rule whose result is `value`, which may be NULL. `text` and `value` must outlive the list; `file` and
 * `field` name the rule in messages. Returns ORGAN_BAD_INPUT for a pattern that does not compile or is too long. */
organ_status organ_quant_rules_add(organ_quant_rules *rules, organ_rule_kind kind, const char *text, const void *value,
                                   const char *file, const char *field, organ_error *error);

/* The module that rules are matched with. */
typedef struct organ_quant_module {
    const char *name, *alias; /* its name, and another under which rules may select it; NULL: none */
    bool embedding;           /* the module is an embedding */
} organ_quant_module;

/* Sets *found to true if a rule selects the module, and *value to the value of that rule, else to NULL. Exact names
 * take precedence over patterns, and patterns over classes; among equals the first rule is used. `file` is the name of
 * the config, for messages. Returns ORGAN_BAD_INPUT if matching takes too long. */
organ_status organ_quant_rules_find(organ_quant_rules *rules, const organ_quant_module *module, const char *file,
                                    bool *found, const void **value, organ_error *error);

void organ_quant_rules_release(organ_quant_rules *rules);

/* Settings of the quantised weights of a group of modules. */
typedef struct organ_quant_group {
    /* Path of the group in the config, for messages: "config_groups.group_0.weights"; "" for the config itself. */
    const char *name;
    const char *format; /* format of compressed-tensors ("pack-quantized") or mode of MLX ("affine"); "": not stated */
    const char
        *codes; /* type of the codes: data_type of AutoRound ("mx_int"), dtype of Quark ("fp6_e3m2"); "": not stated */
    const char *strategy;               /* strategy of compressed-tensors ("tensor_group"); "": not stated */
    int bits;                           /* bits of a code, 1 to 8; 0: not stated */
    int symmetric;                      /* codes have no zero point: 1 or 0; -1: not stated */
    int64_t group_size;                 /* columns that share a scale, above 0; -1: a whole row; 0: not stated */
    uint64_t block_rows, block_cols;    /* shape of a block of values that share a scale; 0: not stated */
    organ_input_rounding inputs;        /* without tensors; codes ORGAN_INPUTS_PLAIN: inputs are not rounded */
    const organ_served_inputs *unasked; /* some servers round the inputs although the config does not declare it */
} organ_quant_group;

/* ---- rotations at run time ---- */

/* Where compressed-tensors applies a transform to a module. Those of weights were applied when the model was saved. */
typedef enum organ_quant_location {
    ORGAN_TRANSFORM_INPUT,
    ORGAN_TRANSFORM_OUTPUT,
    ORGAN_TRANSFORM_WEIGHT_INPUT,
    ORGAN_TRANSFORM_WEIGHT_OUTPUT,
    ORGAN_TRANSFORM_K_CACHE,
    ORGAN_TRANSFORM_Q_ATTN,
    ORGAN_TRANSFORM_LOCATIONS
} organ_quant_location;
extern const char *const organ_quant_locations[ORGAN_TRANSFORM_LOCATIONS]; /* "input", "output", ... */

/* A member of `apply` of a transform. */
typedef struct organ_quant_apply {
    organ_quant_location location;
    bool inverse;
    organ_quant_rules targets, ignored; /* values NULL */
    const char *path;                   /* in the config, for messages */
} organ_quant_apply;

/* A member of transform_config.config_groups. */
typedef struct organ_quant_transform {
    const char *name, *type; /* its key; "hadamard", "random-hadamard" or "random-matrix" */
    bool randomize, trained; /* randomize, requires_grad */
    uint64_t head_dim;       /* 0: not stated */
    organ_quant_apply *applies;
    size_t count;
    const char *path;
} organ_quant_transform;

/* Rotations that AutoRound declares. */
typedef struct organ_quant_auto_rotation {
    const char *type;                /* rotation_config: "hadamard" or "random_hadamard"; "": none */
    uint64_t block;                  /* block_size of rotation_config */
    bool spin, first, third, fourth; /* there is a spinquant_config: R1 at run time, R3, R4 */
} organ_quant_auto_rotation;

/* The quantisation settings of a model, read from quantization_config of config.json or from a file of its own. All
 * texts are valid until organ_quant_config_free. */
typedef struct organ_quant_config {
    const char *file;       /* name of the file that was read: "config.json"; "" if there is none */
    const char *model_type; /* that of the model, which must outlive the settings */
    const char *method;     /* quant_method ("gptq"); "" if there is none */
    /* In lower case: checkpoint_format (or format) of GPTQ, version (or format) of AWQ; "": not stated. */
    const char *layout;     /* "gptq_v2", "gemm", ... */
    const char *pack_dtype; /* pack_dtype of GPTQ: "int32"; "": not stated */
    json_t *root;           /* the parsed file; owns the strings above and the strings of the rules */
    const json_t *section;  /* the object in it that has the settings, except those of MLX; NULL: none */
    organ_quant_group all;  /* settings of modules that no rule of `targets` selects */
    /* `targets`: modules with settings of their own (values: organ_quant_group); `skipped`: modules that are not
     * quantised (values NULL). */
    organ_quant_rules targets, skipped;
    bool grouped;       /* the config has groups: modules that no group selects are not quantised */
    bool rounds_inputs; /* a group or `all` has `inputs` */
    /* what states how servers store the KV cache, a member or ModelOpt's name of the type; "": nothing does */
    const char *cache_text;
    bool cache;                        /* as E4M3 codes with stored scales; false, with a cache_text: in another way */
    organ_quant_transform *transforms; /* `transform_count`, in the order in which they apply */
    size_t transform_count;
    organ_quant_auto_rotation rotation;
    const char *unrounded; /* a note on a rounding of inputs that organ does not know; "": none */
    const char *strangers; /* names of unknown members of activations, caches or metadata, for a note; "": none */
    organ_arena arena;
} organ_quant_config;

/* Reads the quantisation settings of a model: quantization_config of config.json (at the top or in text_config), or
 * else hf_quant_config.json, quantize_config.json or quant_config.json in the same directory. For a model with
 * weights in U32 words it first reads MLX's `quantization`, or a quantization_config without quant_method, which has
 * the same format; the method is then "mlx". A model without settings gets a config with method "" and ORGAN_OK.
 * Returns ORGAN_BAD_INPUT, naming file, field and value, for wrong types, impossible sizes and bits, and patterns
 * that do not compile; ORGAN_IO if a file cannot be read or memory fails. *config is NULL on error. */
organ_status organ_quant_config_read(const organ_model *model, organ_quant_config **config, organ_error *error);
void organ_quant_config_free(organ_quant_config *config); /* NULL is allowed */

/* Checks config.json of a model without quant_method whose tensors have plain types. Returns ORGAN_BAD_INPUT if it
 * declares rotations at run time (organ_quant_check_method), or the errors of loading. */
organ_status organ_quant_config_check_plain(const organ_model *model, organ_error *error);

/* Sets *group to the settings of the weight of `module` ("model.layers.0.mlp.up_proj"): those of the rule in
 * config->targets that selects the module under its name in the file or in
 * transformers (module_names.h), else config->all. Sets *named to true if the config states that the module
 * is quantised: a rule selects it, or the config has a method and no groups. `embedding` is true for an embedding,
 * which rules for classes of linear layers do not select. Returns ORGAN_BAD_INPUT if matching patterns takes too
 * long. */
organ_status organ_quant_config_of(organ_quant_config *config, const char *module, bool embedding,
                                   const organ_quant_group **group, bool *named, organ_error *error);

/* Sets *skipped to true if a rule in config->skipped selects the module. Parameters and errors are those of
 * organ_quant_config_of. */
organ_status organ_quant_config_is_skipped(organ_quant_config *config, const char *module, bool embedding,
                                           bool *skipped, organ_error *error);

/* Sets *selected to true if the rules of `apply` select the module. Parameters and errors are those of
 * organ_quant_config_of. */
organ_status organ_quant_config_applies(organ_quant_config *config, organ_quant_apply *apply, const char *module,
                                        bool embedding, bool *selected, organ_error *error);

/* ---- functions for the readers of all formats of settings ---- */

/* `error` of the scope keeps the first error; values read after it are meaningless. */

/* An object of the config file and its path in it. */
typedef struct organ_quant_scope {
    organ_quant_config *config;
    organ_error *error;
    const char *path;     /* keys from the top to the object: "quantization_config", "" for the whole file */
    const json_t *object; /* NULL if the file has no such object */
} organ_quant_scope;

/* Reports ORGAN_BAD_INPUT: "FILE: PATH.KEY is VALUE, not EXPECTED". */
void organ_quant_fail_value(const organ_quant_scope *at, const char *key, const json_t *value, const char *expected);

/* Returns the value of the member `key`; NULL if it is absent or null. */
const json_t *organ_quant_member(const organ_quant_scope *at, const char *key);

/* Returns the scope of the object in the member `key`. The scope's object is NULL if the member is absent, or after an
 * error; a member of another type is an error. */
organ_quant_scope organ_quant_enter(const organ_quant_scope *at, const char *key);

/* ---- single values ---- */

/* Sets *out to the string in the member `key`, which config->root owns. Leaves *out unchanged if the member is absent
 * or null; any other value is an error. */
void organ_quant_read_word(const organ_quant_scope *at, const char *key, const char **out);
/* Like organ_quant_read_word, but sets *out to a copy of the string in lower case, in the config's arena. */
void organ_quant_read_term(const organ_quant_scope *at, const char *key, const char **out);

/* ---- members of a group ---- */

/* Returns a new group in the config's arena, a copy of *like with the name `name`; NULL, with an error, if memory is
 * exhausted. */
organ_quant_group *organ_quant_new_group(const organ_quant_scope *at, const char *name, const organ_quant_group *like);

/* The member of organ_quant_group that a field sets, and the form of its value. */
typedef enum organ_quant_kind {
    ORGAN_QUANT_BITS,
    ORGAN_QUANT_GROUP_SIZE,
    ORGAN_QUANT_SYMMETRIC,
    ORGAN_QUANT_ZERO_POINT,    /* true means asymmetric */
    ORGAN_QUANT_BLOCK,         /* [rows, columns], or the older form "128x128" */
    ORGAN_QUANT_GROUP_OR_BLOCK /* AutoRound: a group size, 0 for one scale, or [rows, columns] */
} organ_quant_kind;

/* A member that a quantisation config may have. */
typedef struct organ_quant_field {
    const char *key;
    organ_quant_kind kind; /* the member of organ_quant_group to set, and the form of the value */
} organ_quant_field;

/* Reads the members of the object *at that `fields` lists (ended by a NULL key) into *group. Absent members change
 * nothing. If the object has two members of the same kind, the later one in `fields` is used. */
/* organ_quant_try_fields returns the first of these keys whose value is wrong, and sets *expected to a description of
 * right ones; NULL if there is none. The other function reports it as an error. */
const char *organ_quant_try_fields(const organ_quant_scope *at, const organ_quant_field *fields,
                                   organ_quant_group *group, const char **expected);
void organ_quant_read_fields(const organ_quant_scope *at, const organ_quant_field *fields, organ_quant_group *group);

/* Adds a rule for modules; `key` is the member that states it, for messages. */
void organ_quant_add_rule(const organ_quant_scope *at, const char *key, organ_quant_rules *rules, organ_rule_kind kind,
                          const char *text, const void *value);
/* Adds a rule for each string of the list in the member `key`: a pattern, a name or, if `exact`, a class of modules. */
void organ_quant_read_names(const organ_quant_scope *at, const char *key, const json_t *list, organ_quant_rules *rules,
                            bool exact, const void *value);

/* Reads transform_config, rotation_config and spinquant_config of the section (quant_config_rotations.c). */
void organ_quant_read_rotations(const organ_quant_scope *at);
/* Refuses a section without quant_method that has one of these members. */
void organ_quant_check_method(const organ_quant_scope *section);
void organ_quant_release_rotations(organ_quant_config *config);

/* Checks the members of the section and of the objects in it: refuses unknown ones that may change values of weights,
 * and lists those of activations, caches and metadata in config->strangers (quant_config_keys.c). */
void organ_quant_check_keys(const organ_quant_scope *at);

/* Sets config->cache and config->cache_text (quant_config_cache.c). `at` is the section with the settings. */
void organ_quant_read_cache(const organ_quant_scope *at);

/* ---- quant_config_values.c ---- */

/* Reads settings of MLX. Returns true if the model has weights in U32 words, which only MLX writes, and its config
 * has settings for them in `top` (the whole config) or `inner` (its text_config). Skips a quantization_config with
 * quant_method: it describes the model that was converted to MLX. */
bool organ_quant_read_mlx(const organ_model *model, const organ_quant_scope *top, const organ_quant_scope *inner);

/* ---- quant_config_inputs.c ---- */

/* Notes, once in a config, that the member describes a rounding that organ does not compute. Weights can be read
 * whatever the config says about activations. */
void organ_quant_leave_out(const organ_quant_scope *at, const char *key);
/* Set group->inputs if the object states that inputs are rounded:
 *   organ_quant_read_inputs: the member input_activations of a group; without it, sets codes ORGAN_INPUTS_PLAIN;
 *   organ_quant_read_scheme: the whole config, by its method (fp8, fbgemm_fp8, modelopt, quark, auto-round);
 *   organ_quant_read_algorithm: quant_algo of ModelOpt, of the whole config or of one layer;
 *   organ_quant_read_quark: input_tensors of global_quant_config, of a layer or of a class of layers; without it, sets
 *   codes ORGAN_INPUTS_PLAIN;
 *   organ_quant_read_auto_round: act_bits of the whole config of AutoRound, or of some layers, which have the members
 *   of the whole config that they do not have themselves. */
void organ_quant_read_inputs(const organ_quant_scope *at, organ_quant_group *group);
void organ_quant_read_scheme(const organ_quant_scope *at, organ_quant_group *group);
void organ_quant_read_algorithm(const organ_quant_scope *at, organ_quant_group *group);
void organ_quant_read_quark(const organ_quant_scope *at, organ_quant_group *group);
void organ_quant_read_auto_round(const organ_quant_scope *at, organ_quant_group *group);

#endif
