/* SPDX-License-Identifier: MIT
 * Options that several verbs share. A verb with further options has a struct whose first member, `call`, is an
 * organ_call. */
#ifndef ORGAN_VERB_CALL_H
#define ORGAN_VERB_CALL_H

#include "formats/base/arena.h"
#include "orchestrator/cli/verb_find.h"
#include "orchestrator/command/options.h"
#include "orchestrator/ranks/ranks.h"
#include <organ/options.h>

typedef struct organ_call {
    organ_words headers;                 /* --header */
    unsigned patience;                   /* --patience */
    organ_model_access access;           /* made from `headers` and `patience` by organ_call_complete */
    organ_experiment_options evaluation; /* --evaluate of verbs that write a model */
    bool tensors;                        /* --tensors: the report on the terminal lists all tensors */
    unsigned threads;                    /* 0: one per core */
    uint64_t memory;                     /* --memory in bytes */
    unsigned readers;                    /* --readers; 0: all threads */
    const char *progress;                /* --progress, see organ_terminal_open; NULL: auto */
    const char *html;                    /* --html: file to which the report is also written as a page; NULL: none */
    bool json, quiet, help;
    const organ_stop *stop;        /* main sets it when a signal requests the end of the run */
    unsigned ranks_requested;      /* --ranks: required number of processes; 0: any */
    organ_ranks *ranks;            /* the processes that share the work; NULL: this process does it alone */
    const organ_verb_table *table; /* all verbs of the program */
    organ_arena names;             /* owns the paths by which organ_call_resolve_names replaces names of models */
} organ_call;

/* Returns the options of --evaluate, for organ_write_options.evaluate; NULL if it was not given. */
static inline const organ_experiment_options *organ_call_evaluation(const organ_call *call)
{
    return call->evaluation.text ? &call->evaluation : NULL;
}

#endif
