/* SPDX-License-Identifier: MIT
 * Small models described by words, cuts of them, and checks of the tensors of the output. */
#ifndef CUT_RIG_H
#define CUT_RIG_H

#include <organ/prune.h>
#include "orchestrator/verbs/shrink/cut_parts.h"
#include "tests/kit/run_rig.h"

#include <check.h>

#define RIG_LAYERS 12

/* The cut as words: "e0:1,3 d2 c1:0,1 h0:1" keeps experts 1 and 3 of layer 0, drops layer 2, keeps channels 0 and 1 of
 * layer 1 and the K and V head 1 of layer 0; "x0:1,2/0,3" keeps channels 1 and 2 of expert 0 of layer 0, and 0 and 3 of
 * its expert 1; "s0:1,2" those of its shared expert. 0-31 is a range. */
typedef struct cut_way {
    const char *donor;    /* a name in the scratch directory; NULL: "donor", or "donor.gguf" if it exists */
    const char *cut;      /* NULL: "e0:1,3" */
    const char *refitted; /* part of the names of tensors whose matrices get other values; NULL: none */
    bool resume, force, dry_run;
    size_t threads;
    uint64_t memory;
    organ_stop *stop;
} cut_way;

extern json_t *cut_report; /* of the last run that succeeded */

void cut_setup(void);
void cut_teardown(void);

/* Writes donor/model.safetensors and donor/config.json (NULL: none). `tensors` has a line "NAME DTYPE 4,32" for each
 * tensor, "-" for no axis, optionally followed by "=1,2" for integer values; all other bytes are unique. */
void rig_donor(const char *config, const char *tensors);

/* Writes donor.gguf. `keys`: "KEY=4", "KEY=[1,2]", "KEY=word", separated by blanks. Shapes begin with the slowest
 * axis. */
void rig_gguf(const char *keys, const char *tensors);

organ_status cut_model(const char *output, cut_way way, organ_error *error);
/* Cuts and audits the result; both must succeed. */
void must_cut(const char *output, cut_way way);

/* Audits an output against the donor; the report is audit_report. */
extern json_t *audit_report;
organ_status audit_cut(const char *output, bool compensated, organ_error *error);

/* Checks that the audit finds a fault whose text contains `word`. */
void audit_finds(const char *output, bool compensated, const char *word);

/* Checks that the cut fails with this status and a message that contains `word`, and leaves nothing. */
void cut_refused(cut_way way, organ_status status, const char *word);

/* Checks that the tensors of an output are exactly those of the lines. "NAME = DONOR" is a copy of that tensor of the
 * donor; "NAME = DONOR 0:1,3;2:0-7" has the listed places of axes 0 and 2 (in elements, of the last axis in blocks);
 * "1:1,2/0,3" lists the places for each number of the first axis. "NAME ! 2" checks only that the tensor exists. */
void made_of(const char *output, const char *lines);

/* Returns a member of the output's config.json as compact JSON, "" if there is none, in a static buffer. key: such as
 * "text_config.num_experts". */
const char *config_says(const char *output, const char *key);

Suite *cut_experts_suite(void);
Suite *cut_widths_suite(void);
Suite *cut_expert_widths_suite(void);
Suite *cut_blocks_suite(void);
Suite *cut_faults_suite(void);
Suite *cut_audit_suite(void);

#endif
