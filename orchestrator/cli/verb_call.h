/* SPDX-License-Identifier: MIT
 * What a verb is called with. */
#ifndef ORGAN_VERB_CALL_H
#define ORGAN_VERB_CALL_H

#include "orchestrator/cli/verb_find.h"
#include "orchestrator/command/options.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/serve/serve.h"
#include "orchestrator/surgery/calibrated/calibrated.h"
#include "orchestrator/surgery/cut/audit_cut.h"
#include "orchestrator/surgery/experts/experts.h"
#include "orchestrator/surgery/health/health.h"
#include "orchestrator/surgery/layers/layers.h"
#include "orchestrator/surgery/lora/lora.h"
#include "orchestrator/surgery/measure/fleet.h"
#include "orchestrator/surgery/measure/measure.h"
#include "orchestrator/surgery/organs/organs.h"
#include "orchestrator/surgery/orthogonality/noise_pairs.h"
#include "orchestrator/surgery/orthogonality/orthogonality.h"
#include "orchestrator/surgery/output/machine_plan.h"
#include "orchestrator/surgery/precision/precision.h"
#include "orchestrator/surgery/prune/audit.h"
#include "orchestrator/surgery/prune/prune.h"
#include "orchestrator/surgery/purify/purify.h"
#include "orchestrator/surgery/text/text.h"
#include "orchestrator/surgery/untrusted/untrusted.h"
#include "orchestrator/surgery/width/width.h"

/* Where the options of every verb arrive. */
typedef struct organ_call {
    organ_inspect_options inspect;
    bool untrusted; /* inspect --untrusted */
    organ_prune_options prune;
    organ_prune_calibrated_options calibrated; /* prune --method */
    organ_audit_options audit;
    organ_measure_options measure; /* but for the models */
    organ_fleet_options fleet;
    organ_words models;        /* measure MODEL... */
    organ_words headers;       /* --header */
    unsigned patience;         /* --patience */
    organ_model_access access; /* made of both by organ_call_complete */
    const char *definition;    /* measure --definition */
    bool tensors;              /* measure --tensors, autopsy --tensors */
    organ_purify_options purify;
    organ_layers_options layers;
    organ_width_options width;
    organ_extract_options extract;
    organ_assemble_options assemble;
    organ_orthogonality_options orthogonality;
    organ_words pairs;         /* orthogonality --pair: CLEAN, NOISY, CLEAN, NOISY */
    organ_graft_options graft; /* of graft and of chimera */
    organ_dequantize_options dequantize;
    organ_quantize_options quantize;
    organ_experts_options experts;
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
    unsigned ranks_wanted;         /* how many processes there must be; 0: as many as there are */
    organ_ranks *ranks;            /* the processes that share the work; NULL: this one does it alone */
    const organ_verb_table *table; /* of the program, for verbs that tell of others */
} organ_call;

#endif
