/* SPDX-License-Identifier: MIT
 * Declarations that the sources of an extraction share: lora_extract.c runs it, extract_plan.c pairs the weights,
 * extract_rest.c compares weights that get no factors, extract_module.c decomposes modules, extract_notes.c collects
 * the notes of weight readers, extract_recall.c writes and reads journal lines, extract_document.c makes the report. */
#ifndef ORGAN_LORA_EXTRACT_JOB_H
#define ORGAN_LORA_EXTRACT_JOB_H

#include "formats/weights/weights.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/surgery/lora/adapter_write.h"
#include "orchestrator/surgery/lora/lora_extract.h"

/* A linear layer (or stack of experts) whose change becomes factors. W is a weight, dW = W_tuned - W_base. */
typedef struct organ_lora_module {
    const organ_weight *base, *tuned;
    char *name;      /* name of the module, without ".weight"; owned */
    char *note;      /* notes of the weight readers, one for each line; owned; NULL: none */
    float *spectrum; /* `rank` largest singular values of dW; owned */
    size_t turn;     /* turn of its factors (adapter_write.h) */
    /* A stack of experts that is a parameter of a module of peft. peft wraps a module once for each of its parameters
     * that has factors: */
    bool parameter; /* it is such a stack */
    bool paired;    /* both parameters of the module are wrapped, */
    bool inner;     /* and the wrapper of this parameter is inside of the other one */
    bool turned;    /* the matrices are in_features x out_features */
    /* Rank of the factors; 0: unchanged; in a dry run an upper bound. Ranks exchange the members from here on, which
     * contain no pointers. */
    size_t rank;
    double change, norm, rest; /* ||dW||^2, ||W_base||^2, ||dW - B A||^2 with the stored factors */
    bool short_of_share;       /* the requested share of energy would need a higher rank than --rank */
    unsigned passes;           /* passes over dW that the decomposition made */
    double seconds;
} organ_lora_module;

/* A weight of either model that gets no factors. */
typedef struct organ_lora_other {
    const organ_weight *base, *tuned; /* NULL: that model does not have it */
    const char *why;                  /* why it cannot be compared; NULL: it can */
    char *note;                       /* notes of the weight readers; owned; NULL: none */
    size_t turn;                      /* turn of its tensor, if `kept` */
    bool kept;                        /* stored whole in the adapter */
    double change, norm;              /* ||dW||^2, ||W_base||^2 */
} organ_lora_other;

typedef struct organ_lora_job {
    const organ_lora_extract_options *options;
    const organ_engine *engine;
    const organ_progress *progress;
    organ_dtype dtype; /* type of the factors */
    double share;      /* --rank-by: share of ||dW||^2 that the factors must explain; 0: every module has `rank` */
    organ_model *base, *tuned;
    organ_weights *base_weights, *tuned_weights;
    size_t module_count, other_count, packed; /* packed: number of modules whose base weight is packed */
    organ_lora_module *modules;               /* in the order of the tuned model's tensors */
    organ_lora_other *others;
    organ_assignment module_assignment, other_assignment; /* which rank processes which */
    size_t turns;                                         /* number of turns assigned so far */
    size_t note_count, compared_notes; /* compared_notes: value of note_count after the other weights were compared */
    char *notes[8];                    /* notes of the weight readers, each text once */
    /* Points to `note` of the weight that is being read, where organ_lora_note stores notes. */
    char **note_target;
    organ_adapter_writer *writer;
} organ_lora_job;

/* Fills the lists of modules and other weights. Returns ORGAN_USAGE if a pattern of --modules matches nothing,
 * ORGAN_BAD_INPUT if the models do not fit together. */
organ_status organ_lora_plan(organ_lora_job *job, organ_error *error);

/* Returns ORGAN_USAGE if decomposing a module needs more than --memory; the message has the amount that is enough for
 * all modules. */
organ_status organ_lora_check_memory(organ_lora_job *job, organ_error *error);

/* Returns whether the weight changed, or could not be compared. */
bool organ_lora_other_changed(const organ_lora_other *other);

/* Sets `change` and `norm` of the other weights, on all ranks. */
organ_status organ_lora_compare(organ_lora_job *job, organ_error *error);

/* Assigns turns to the changed other weights whose elements have `element_bytes` bytes in the adapter, and appends
 * those of this rank whole (--save-full). */
organ_status organ_lora_keep(organ_lora_job *job, unsigned element_bytes, organ_error *error);

/* Decomposes the change of one module, sets its results, and appends its factors. */
organ_status organ_lora_factorise(organ_lora_job *job, organ_lora_module *module, organ_error *error);

/* Return the journal entry of a finished module with every result of organ_lora_factorise (NULL if out of memory), and
 * restore the results from such an entry (ORGAN_IO if it is malformed). */
json_t *organ_lora_module_results(const organ_lora_module *module);
organ_status organ_lora_module_recall(const organ_lora_job *job, organ_lora_module *module, const json_t *results,
                                      organ_error *error);

/* Return the journal entry of a weight that is stored whole, which has its note, and restore the note from it. */
json_t *organ_lora_note_json(const char *note);
organ_status organ_lora_note_recall(const organ_lora_job *job, const json_t *results, char **note, organ_error *error);

/* Returns the options that determine the adapter. NULL if out of memory. */
json_t *organ_lora_extract_parameters(const organ_lora_job *job);

/* Stores a weight reader's note about the weight that is being read, and prints it if it is new. "" and NULL are
 * ignored. */
void organ_lora_note(organ_lora_job *job, const char *note);

/* Exchange the notes among ranks, so that job->notes is the same on all ranks, in the order in which one process would
 * collect them: after the other weights were compared, and after all weights were written. Return errors of
 * organ_ranks_agree. */
organ_status organ_lora_notes_compared(organ_lora_job *job, organ_error *error);
organ_status organ_lora_notes_written(organ_lora_job *job, organ_error *error);

/* Returns adapter_config.json, once the ranks of all modules are computed. NULL if out of memory. */
json_t *organ_lora_config(const organ_lora_job *job);

/* Returns a document of schema organ.lora_extract/1. NULL if out of memory. */
json_t *organ_lora_extract_document(const organ_lora_job *job);

#endif
