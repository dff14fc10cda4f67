/* SPDX-License-Identifier: MIT
 * Edits config.json for the smaller model; private to surgery/cut. Functions store the first error in c->error. */
#ifndef ORGAN_CUT_SETTINGS_H
#define ORGAN_CUT_SETTINGS_H

#include "orchestrator/surgery/cut/cut_job.h"

/* The object of a config.json that describes the layers: the document itself, or its member for the text model. */
typedef struct organ_cut_config {
    organ_cut_run *run;
    organ_json_edit *edit;
    const char *inside; /* name of the member; NULL: the document itself */
    const json_t *object;
    size_t layers; /* num_hidden_layers of the donor; layers of multi-token prediction follow after them */
    organ_error *error;
} organ_cut_config;

/* ---- cut_settings.c ---- */

/* Sets member `key` of c->object in the edited config.json to `value`, and appends the change to run->settings, unless
 * the member has this value already. Takes over the reference `value`. `value` NULL: sets the error of a failed
 * allocation. */
void organ_cut_set(const organ_cut_config *c, const char *key, json_t *value);

/* Appends a changed setting to run->settings (organ_cut_json). `where` is "config.json" or "GGUF". Takes over the
 * references `before` and `after`; `before` NULL: the setting is new; `after` NULL: it is removed. */
void organ_cut_note(organ_cut_run *run, const char *where, const char *key, json_t *before, json_t *after,
                    organ_error *error);

/* Sets the error ORGAN_BAD_INPUT "config.json: KEY is VALUE: WHY" in c->error. */
void organ_cut_refuse(const organ_cut_config *c, const char *key, const char *why);

/* Returns the member if it is an integer of at least 0, and sets *value to it; else NULL and 0. */
const json_t *organ_cut_whole(const organ_cut_config *c, const char *key, uint64_t *value);

/* Returns whether a layer of the donor is kept; false for numbers beyond its last layer. */
bool organ_cut_stays(const organ_cut_config *c, size_t layer);

/* Returns how many of the first `count` layers are kept, which is the new number of layer `count`. Numbers beyond the
 * last layer count as kept. */
size_t organ_cut_kept_before(const organ_cut_run *run, size_t count);

/* Returns whether each kept layer keeps its phase in a pattern of layers: (l + shift) % period is 0 for the new number
 * if and only if it is 0 for the old one. */
bool organ_cut_period_holds(const organ_cut_run *run, size_t layers, uint64_t period, uint64_t shift);

/* Checks that each of the router's `groups` groups keeps the same number of experts, at least two, and that the `used`
 * groups from which the router chooses a token's `chosen` experts keep at least that many. Returns NULL if so, or if
 * there are fewer than two groups; else a sentence with the reason, a constant string. */
const char *organ_cut_groups_fault(const organ_cut_run *run, uint64_t groups, uint64_t used, uint64_t chosen);

/* Returns whether shared experts keep the same share of their channels as routed experts do; false if a width is
 * unknown. ORGAN_CUT_SHARED_FOLLOW is the reason in an error for configurations that state the width of shared experts
 * as a multiple of the routed width. */
bool organ_cut_shared_follow(const organ_cut_run *run);
#define ORGAN_CUT_SHARED_FOLLOW                                                                                        \
    "the width of shared experts is a multiple of the routed ones': both must keep the same share of channels"

/* ---- cut_layer_settings.c ---- */

/* Edits all settings that depend on the number, or on the indices, of layers. Called if blocks are dropped. */
void organ_cut_edit_layers(const organ_cut_config *c);

/* ---- patterns.c ---- */

/* Edits settings that give layers their kind by position. A setting that still describes the kept layers stays. Any
 * other setting gets new values or is replaced by a list. Sets ORGAN_BAD_INPUT, naming the key, if neither new values
 * nor a list can describe the kept layers. */
void organ_cut_edit_patterns(const organ_cut_config *c);

/* ---- renumber_names.c ---- */

/* Returns a copy of the JSON `value` in which names of modules have the layer and expert numbers of the smaller model,
 * for the caller to release. Elements and members that name removed modules are left out. Sets *changed if anything
 * differs. Returns NULL on error, and without an error for a string that names a removed module. Errors name `where`.
 */
json_t *organ_cut_renamed(const organ_cut_run *run, const char *where, const json_t *value, bool *changed,
                          organ_error *error);

#endif
