/* SPDX-License-Identifier: MIT
 * The verbs of the program. */
#ifndef ORGAN_VERBS_H
#define ORGAN_VERBS_H

#include "orchestrator/command/options.h"
#include "orchestrator/serve/serve.h"
#include "orchestrator/surgery/assemble.h"
#include "orchestrator/surgery/audit.h"
#include "orchestrator/surgery/autopsy.h"
#include "orchestrator/surgery/dequantize.h"
#include "orchestrator/surgery/evaluate.h"
#include "orchestrator/surgery/extract.h"
#include "orchestrator/surgery/generate.h"
#include "orchestrator/surgery/graft.h"
#include "orchestrator/surgery/fleet.h"
#include "orchestrator/surgery/inspect.h"
#include "orchestrator/surgery/lora_extract.h"
#include "orchestrator/surgery/lora_merge.h"
#include "orchestrator/surgery/lora_resize.h"
#include "orchestrator/surgery/lora_sanitize.h"
#include "orchestrator/surgery/machine_plan.h"
#include "orchestrator/surgery/measure.h"
#include "orchestrator/surgery/noise_pairs.h"
#include "orchestrator/surgery/orthogonality.h"
#include "orchestrator/surgery/prune.h"
#include "orchestrator/surgery/prune_calibrated.h"
#include "orchestrator/surgery/purify.h"
#include "orchestrator/surgery/quantize.h"
#include "orchestrator/surgery/tokenize.h"

/* Where the options of every verb arrive. */
typedef struct organ_call {
    organ_inspect_options inspect;
    organ_prune_options prune;
    organ_prune_calibrated_options calibrated; /* prune --method */
    organ_audit_options audit;
    organ_measure_options measure; /* but for the models */
    organ_fleet_options fleet;
    organ_words models;  /* measure MODEL... */
    organ_words headers; /* measure --header */
    const char *definition; /* measure --definition */
    bool tensors;        /* measure --tensors, autopsy --tensors */
    organ_purify_options purify;
    organ_extract_options extract;
    organ_assemble_options assemble;
    organ_orthogonality_options orthogonality;
    organ_words pairs;         /* orthogonality --pair: CLEAN, NOISY, CLEAN, NOISY */
    organ_graft_options graft; /* of graft and of chimera */
    organ_dequantize_options dequantize;
    organ_quantize_options quantize;
    organ_autopsy_options autopsy;
    bool print_ranges; /* autopsy --print-ranges */
    organ_lora_extract_options lora_extract;
    organ_lora_merge_options lora_merge;
    organ_lora_sanitize_options lora_sanitize;
    organ_lora_resize_options lora_resize;
    organ_tokenize_options tokenize;
    organ_perplexity_options perplexity;
    organ_experiment_options evaluation; /* --evaluate of verbs that write a model */
    organ_evaluate_options evaluate;     /* but for the pruned models */
    organ_words pruned;                  /* evaluate PRUNED... */
    organ_words experiments;             /* evaluate --experiment */
    organ_generate_options generate;
    organ_serve_options serve;
    const char *import;               /* topology --import */
    const char *topic, *topic_second; /* help VERB, manual VERB, completion SHELL */
    bool list;                        /* manual --list */
    unsigned threads;                 /* 0: one per core */
    uint64_t memory;
    const char *progress;                  /* how it is shown: see organ_terminal_open */
    const char *html;                      /* where the report goes as a page, too; NULL: nowhere */
    const char *saved_report, *saved_page; /* report FILE -o PAGE */
    bool json, quiet, help;
    const organ_stop *stop;
} organ_call;

/* A call with the values that no option sets. */
organ_call organ_call_make(const organ_stop *stop);

#define ORGAN_MOST_VERBS 64
extern const organ_verb *const organ_verbs[]; /* by section */
extern const size_t organ_verb_count;

/* The list of verbs in parts, each of which begins at a verb and ends where the next one begins. */
typedef struct organ_verb_section {
    const char *title;
    const organ_verb *first;
} organ_verb_section;
extern const organ_verb_section organ_verb_sections[];
extern const size_t organ_verb_section_count;

/* The title of the section that begins at this verb, or NULL. */
const char *organ_verb_section_at(const organ_verb *verb);

/* The verb of that name, which for some is two words ("lora extract"): `second` is the next word or NULL, *words how many were used. NULL
 * with ORGAN_USAGE and a suggestion if there is none. */
const organ_verb *organ_verb_find(const char *name, const char *second, int *words, organ_error *error);

/* The verb that the operands of `asker` ("help") name, which are call->topic and call->topic_second; NULL with ORGAN_USAGE. */
const organ_verb *organ_verb_topic(const organ_call *call, const char *asker, organ_error *error);

/* What each verb does; `call` is an organ_call. Results go to stdout, whose errors stay in its error flag; progress goes to stderr. */
organ_status organ_run_inspect(void *call, organ_error *error);
organ_status organ_run_prune(void *call, organ_error *error);
organ_status organ_run_audit(void *call, organ_error *error);
organ_status organ_run_extract(void *call, organ_error *error);
organ_status organ_run_assemble(void *call, organ_error *error);
organ_status organ_run_measure(void *call, organ_error *error);
organ_status organ_run_purify(void *call, organ_error *error);
organ_status organ_run_fleet(void *call, organ_error *error);
organ_status organ_run_graft(void *call, organ_error *error);
organ_status organ_run_version(void *call, organ_error *error);
organ_status organ_run_help(void *call, organ_error *error);

#endif
