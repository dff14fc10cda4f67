/* SPDX-License-Identifier: MIT
 * Says which models other programs open: one table of rules for vLLM, transformers, llama.cpp, mlx-lm, OpenVINO GenAI
 * and mistral.rs. A rule is about the form in which a model stores weights, or about a member of its configuration. The
 * optional tests of servers compare the rules with runs of these programs (docs/opens.md). */
#ifndef ORGAN_SURGERY_READERS_READERS_H
#define ORGAN_SURGERY_READERS_READERS_H

#include "orchestrator/surgery/encoding/encoding.h"

#include <jansson.h>
#include <organ/base.h>
#include <organ/choices.h>
#include <organ/models.h>
#include <organ/weights.h>
#include <stdbool.h>
#include <stddef.h>

/* ---- forms ---- */

/* Properties of a weight that rules test, besides the name of its form. */
enum {
    ORGAN_FORM_EXPERT = 1,    /* it is a matrix of a routed expert, or a stack of them */
    ORGAN_FORM_ZEROS = 2,     /* the codes have zero points (GPTQ: `sym` is false) */
    ORGAN_FORM_ORDERED = 4,   /* the groups are not consecutive columns: act-order */
    ORGAN_FORM_STATIC = 8,    /* servers round its inputs with a stored scale */
    ORGAN_FORM_ROUNDED = 16,  /* servers round its inputs, and the configuration says so */
    ORGAN_FORM_BYTES = 32,    /* integer codes of one byte, not packed into words */
    ORGAN_FORM_CLIPPED = 128, /* blocks end beyond the last row or column */
    ORGAN_FORM_LOOSE = 64     /* words of 32 bits end with unused bits: 3, 5, 6 or 7 bits, by compressed-tensors 0.14 */
};

/* The form of some weights of a model. */
typedef struct organ_form {
    /* FORMAT/SCHEME. FORMAT is quant_method of config.json, "mlx", "gguf", or "plain" for safetensors that are not
     * quantised; SCHEME is a name as in `organ quantize --scheme`, or of a type: "compressed-tensors/int4-group128",
     * "gptq/int4-group128", "gguf/q4_k", "plain/bf16" */
    char name[64];
    unsigned traits;   /* ORGAN_FORM_* */
    size_t weights;    /* number of weights of this form */
    const char *first; /* name of the first of them */
} organ_form;

/* The forms of all weights of a model. Zero: none. organ_forms_release frees the members. */
typedef struct organ_forms {
    organ_form *rows;
    size_t count;
} organ_forms;
void organ_forms_release(organ_forms *forms);
/* Counts one weight of the form `one`, whose members weights and first are ignored. ORGAN_IO if memory runs out. */
organ_status organ_forms_add(organ_forms *forms, const organ_form *one, const char *name, organ_error *error);
/* Returns the form of a tensor that is not packed. */
organ_form organ_form_of_tensor(const organ_tensor *tensor, bool gguf);
/* Returns the form that the encoding gives a weight. */
organ_form organ_form_of_encoding(const organ_encoding *encoding, organ_kind kind);
/* Lists the forms of the weights of a model. `config` is its config.json; NULL: it has none. */
organ_status organ_forms_of_model(const organ_model *model, const organ_weights *weights, const json_t *config,
                                  organ_forms *forms, organ_error *error);

/* ---- verdicts ---- */

/* From the best to the worst. */
typedef enum organ_reader_verdict {
    ORGAN_OPENS,           /* it loads, and computes with the values of the codes */
    ORGAN_NOT_RUN,         /* nobody has tried it for organ */
    ORGAN_OPENS_OTHERWISE, /* it loads, and computes with other values */
    ORGAN_REFUSED          /* it ends with an error */
} organ_reader_verdict;
const char *
organ_reader_verdict_name(organ_reader_verdict verdict); /* "opens", "opens otherwise", "not run", "refuses" */

/* The model that a reader is to open. */
typedef struct organ_opened {
    const organ_model *model;
    const json_t *config; /* its config.json; NULL: none */
    const organ_forms *forms;
    /* config.json gets the members of organ_readers_add_names, so that rules about their absence do not apply */
    bool named;
} organ_opened;

/* The verdict of a reader on some weights, or on a member of the configuration. */
typedef struct organ_opening {
    organ_reader_verdict verdict;
    const char *why;        /* begins with the subject "it"; NULL: the verdict needs no reason */
    const organ_form *form; /* the first form to which the reason applies; NULL: the reason is not a form */
    size_t forms, weights;  /* number of these forms, and of their weights */
    const char *member;     /* the member of the configuration, or the end of a tensor's name; NULL: none */
} organ_opening;
enum { ORGAN_OPENINGS = 64 };
/* Fills `rows` with the verdicts on the forms, one for each reason, then with the rules about members that hold;
 * further ones are left out. Returns their number. */
size_t organ_reader_opens(organ_reader reader, const organ_opened *opened, organ_opening rows[ORGAN_OPENINGS]);
/* Returns the worst of the verdicts; ORGAN_OPENS without rows. */
organ_reader_verdict organ_openings_worst(const organ_opening *rows, size_t count);
/* Returns the verdict on a form in models of a type: model_type of config.json, or general.architecture of GGUF. */
organ_reader_verdict organ_reader_form(organ_reader reader, const char *type, const organ_form *form, const char **why);
/* Returns the worst verdict of several readers, bits 1 << organ_reader, on a form in models of a type. */
organ_reader_verdict organ_readers_worst(unsigned readers, const char *type, const organ_form *form);

/* Returns the name of the program with the version that the rules are for: "vLLM 0.32". */
const char *organ_reader_program(organ_reader reader);
/* Sets the bits 1 << organ_reader of *readers for the names in `words`, which commas separate: "vllm,mlx". NULL: none.
 * Returns ORGAN_USAGE if a name is unknown. */
organ_status organ_readers_parse(const char *words, unsigned *readers, organ_error *error);

/* The reader's rules about members of a configuration that hold for the model: notes of a verb that writes for it. */
typedef void organ_reader_note(void *context, const organ_opening *row);
void organ_reader_members(organ_reader reader, const organ_opened *opened, organ_reader_note *note, void *context);

/* ---- config.json ---- */

/* Add members that transformers 5 does not write and other programs need: rope_theta beside rope_parameters, if all
 * layers have one rotation, max_window_layers and num_experts of qwen3_moe, conv_dim and block_dim of lfm2. Existing
 * members stay. organ_readers_put_names returns false if memory runs out. */
organ_status organ_readers_add_names(organ_json_edit *config, organ_error *error);
bool organ_readers_put_names(json_t *config);
/* Returns whether organ_readers_add_names would add a member, as to outputs of organ 0.3. */
bool organ_readers_lack_names(const json_t *root);

/* Returns the settings of RoPE; of those that transformers 5 has for each kind of layer, those of full attention. */
const json_t *organ_rope_of_full_attention(const json_t *root);
/* Returns whether entry k of layer_types is full_attention. */
bool organ_layer_is_full_attention(const json_t *layer_types, size_t k);
/* Returns the place of the first layer with full attention in layer_types, from 1: the others repeat this period. 0:
 * unknown. */
size_t organ_interval_of_full_attention(const json_t *root);

#endif
