/* SPDX-License-Identifier: MIT
 * Inside of the room surgery/cut: what configurations say, and what they say of the smaller model. The first fault is
 * kept in `error`. */
#ifndef ORGAN_CUT_SETTINGS_H
#define ORGAN_CUT_SETTINGS_H

#include "orchestrator/surgery/cut/cut_job.h"

/* The object of a config.json that tells of the layers: the document, or what is said of the text in it. */
typedef struct organ_cut_config {
    organ_cut_run *run;
    organ_json_edit *edit;
    const char *inside; /* its name; NULL: the document */
    const json_t *object;
    size_t layers; /* num_hidden_layers of the donor; those of next-token prediction come behind them */
    organ_error *error;
} organ_cut_config;

/* ---- settings.c ---- */

/* Gives a member this value (taken over), and notes it where that is another one; NULL is a lack of memory. */
void organ_cut_set(const organ_cut_config *c, const char *key, json_t *value);

/* Notes a setting that was changed; both values are taken over, NULL: there is none. */
void organ_cut_note(organ_cut_run *run, const char *where, const char *key, json_t *before, json_t *after,
                    organ_error *error);

/* ORGAN_BAD_INPUT "config.json: KEY is VALUE: ..." */
void organ_cut_refuse(const organ_cut_config *c, const char *key, const char *why);

/* How many of the first `count` layers stay; behind the last layer numbers go on. */
size_t organ_cut_kept_before(const organ_cut_run *run, size_t count);

/* Whether what layer i has because of (i + shift) % period == rest, each kept layer has in its new place too. */
bool organ_cut_period_holds(const organ_cut_run *run, size_t layers, uint64_t period, uint64_t shift);

/* Groups of experts, of which a router chooses some first: each must keep as many. NULL: that is so; else a sentence
 * why it cannot be. */
const char *organ_cut_groups_fault(const organ_cut_run *run, uint64_t groups, uint64_t used, uint64_t chosen);

/* Whether shared experts keep the same part of their channels as routed ones; else why they must, where a configuration
 * counts them in widths of a routed one. */
bool organ_cut_shared_follow(const organ_cut_run *run);
#define ORGAN_CUT_SHARED_FOLLOW                                                                                        \
    "shared experts are as wide as so many routed ones: of both the same part of the channels must stay"

/* ---- layers.c ---- */

/* What is said of single layers, where blocks are dropped. */
void organ_cut_edit_layers(const organ_cut_config *c);

/* ---- names.c ---- */

/* The value with the names of modules in it as the smaller model has them: *changed where it is another one, which the
 * caller releases. `where` names it in errors. NULL on error. */
json_t *organ_cut_renamed(const organ_cut_run *run, const char *where, const json_t *value, bool *changed,
                          organ_error *error);

#endif
