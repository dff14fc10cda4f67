/* SPDX-License-Identifier: MIT
 * Mixtures composed of dense models (a recipe with `experts`): each expert is the feed-forward of a model, everything
 * else is the base's, and the rows of the routers are made by `gate_mode`. mixture_recipe.c reads the keys,
 * mixture_form.c has the architectures, mixture_config.c edits config.json, mixture_outline.c plans the tensors,
 * mixture_gates.c makes the routers, mixture_fit.c fits them along texts. */
#ifndef ORGAN_VERBS_MERGE_MERGE_MIXTURE_H
#define ORGAN_VERBS_MERGE_MERGE_MIXTURE_H

#include "orchestrator/verbs/merge/merge_job.h"

/* Most experts, shared ones included. */
#define MIXTURE_EXPERTS 256

/* How the rows of the routers are made. */
typedef enum mixture_gate {
    MIXTURE_HIDDEN,      /* hidden state of the last token of each prompt */
    MIXTURE_HIDDEN_AVG,  /* mean of the hidden states of each prompt, padding included */
    MIXTURE_HIDDEN_LAST, /* as MIXTURE_HIDDEN */
    MIXTURE_CHEAP_EMBED, /* sum of the embeddings of the prompts */
    MIXTURE_RANDOM,      /* normal numbers */
    MIXTURE_UNIFORM,     /* uniform numbers up to 1 / sqrt(hidden_size) in magnitude */
    MIXTURE_FIT,         /* ridge regression along a text of each expert */
    MIXTURE_GATES
} mixture_gate;

/* Returns whether a gate reads the prompts of the experts. */
static inline bool organ_mixture_needs_prompts(mixture_gate gate) { return gate <= MIXTURE_CHEAP_EMBED; }

/* An entry of `experts` or `shared_experts`. */
typedef struct mixture_expert {
    size_t donor, line;
    const char **positive, **negative; /* prompts */
    size_t positive_count, negative_count;
    const char *text;       /* its text for MIXTURE_FIT; NULL: none */
    double noise, residual; /* noise_scale, 0 for none; residual_scale, 1 for none */
} mixture_expert;

/* Bits of mixture_form.biases. */
enum { MIXTURE_BIAS_QKV = 1, MIXTURE_BIAS_O = 2 };

/* An architecture of the output. Names of tensors follow the prefix of a layer; "#" is the number of an expert. */
typedef struct mixture_form {
    const char *name;                /* as in mergekit */
    const char *words[2];            /* other spellings of `architecture`, in lower-case letters and digits */
    const char *architecture, *type; /* class and model_type of transformers */
    const char *bases[4];            /* classes of models that it is made of; ends with NULL */
    size_t shared_least, shared_most;
    bool shared_gated;  /* the shared expert has a gate of its own, which the gates make */
    bool stacked;       /* a tensor has the matrices of all experts, those of gate and up one below the other */
    bool windowed;      /* its layers may all have a sliding window */
    bool always_biased; /* q, k and v always have a bias: zeros if the base has none */
    unsigned biases;    /* biases of attention that it may have */
    const char *router, *gate, *up, *down; /* stacked: `gate` has gate and up */
    const char *shared_router, *shared_gate, *shared_up, *shared_down;
    const char *experts_key;
} mixture_form;

typedef struct merge_mixture {
    mixture_gate gate;
    size_t gate_line, architecture_line, shared_line, used_line;
    const char *architecture; /* as written; NULL: not given */
    mixture_expert *experts;  /* the routed ones, then the shared ones */
    size_t count, shared;
    unsigned used; /* experts of a token */
    const mixture_form *form;
    organ_forward_config config; /* of the base */
    bool configured;             /* `config` was read */
    size_t gated;                /* rows of a layer: experts, and a shared one that has a gate */
    float *rows;                 /* [layers][gated][hidden]; NULL: not made yet */
    float *share;  /* [layers]: share of the held-out tokens that go to their expert; NULL: not measured */
    uint64_t held; /* number of these tokens */
} merge_mixture;

/* ---- mixture_recipe.c ---- */

/* Reads the keys of a mixture into recipe->mixture, the donors and one slice of all of them. Returns ORGAN_BAD_INPUT,
 * naming the line, for keys and values that mergekit-moe would not accept. */
organ_status organ_mixture_read(merge_recipe *recipe, organ_error *error);
/* Returns the value of gate_mode. */
const char *organ_mixture_gate_name(mixture_gate gate);

/* ---- mixture_form.c ---- */

/* Chooses the architecture of the output; the donors are open. Returns ORGAN_BAD_INPUT if there is none with this name,
 * or if those that fit the name do not take the models; the message has the reason. */
organ_status organ_mixture_choose_form(model_merge *job, organ_error *error);

/* Writes the name of a tensor of a layer: the part of `like`, a name of the base, before "mlp.", then `name` with the
 * expert's number in place of "#". Returns false if `like` has another form or the name is too long. */
bool organ_mixture_name(const char *like, const char *name, size_t expert, char out[MERGE_NAME]);

/* ---- mixture_config.c ---- */

/* Makes config.json of the base that of the mixture. */
organ_status organ_mixture_edit(const model_merge *job, organ_json_edit *config, organ_error *error);

/* ---- mixture_outline.c ---- */

/* Fills job->tensors. Returns ORGAN_BAD_INPUT if an expert lacks a tensor or has another shape. */
organ_status organ_mixture_outline(model_merge *job, organ_error *error);

/* ---- mixture_gates.c ---- */

/* Checks prompts and memory, and raises job->plan; reads no weights. */
organ_status organ_mixture_check_gates(model_merge *job, organ_error *error);
/* Makes mixture->rows of prompts or random numbers; with MIXTURE_FIT zeros, which organ_mixture_run_texts replaces. */
organ_status organ_mixture_make_rows(model_merge *job, organ_error *error);
/* Writes the tensors that gates make, and zeros (merge_tensor.made), that no earlier run has written. */
organ_status organ_mixture_write_made(model_merge *job, organ_writing *writing, organ_error *error);
/* Returns the numbers of a made tensor, rows x columns in FP32: the caller frees them. NULL after an error. */
float *organ_mixture_values(const model_merge *job, const merge_tensor *tensor, organ_error *error);

/* ---- mixture_fit.c ---- */

/* Checks the texts and the memory for them, and raises job->plan. */
organ_status organ_mixture_check_texts(model_merge *job, organ_error *error);
/* With MIXTURE_FIT makes mixture->rows; measures the share of the held-out tokens. */
organ_status organ_mixture_run_texts(model_merge *job, organ_error *error);

/* ---- the report ---- */

/* Returns the member "mixture" of the report, and that of its parameters. */
json_t *organ_mixture_json(const model_merge *job);
json_t *organ_mixture_parameters(const model_merge *job);
/* Adds the texts to the inputs of the run. */
void organ_mixture_add_texts(const merge_mixture *mixture, organ_run_inputs *inputs, organ_error *error);

/* Releases what the recipe's arena does not own. */
void organ_mixture_release(merge_mixture *mixture);

#endif
