/* SPDX-License-Identifier: MIT
 * Grafts of blocks for multi-token prediction (--select mtp): graft_block.c compares the models and places tensors,
 * graft_block_config.c edits config.json and checks how weights are packed. */
#ifndef ORGAN_VERBS_GRAFT_GRAFT_BLOCK_H
#define ORGAN_VERBS_GRAFT_GRAFT_BLOCK_H

#include "orchestrator/output/hidden_folder.h"
#include "orchestrator/verbs/graft/graft_parts.h"

/* Compares both models, and places the tensors of the source's blocks in the layout. Appends mismatches to
 * job->mismatches. Returns errors of reading; ORGAN_IO if memory runs out. */
organ_status organ_graft_plan_block(organ_graft_job *job, organ_error *error);

/* Reads what side->model has and states of blocks, and loads its config.json, whose root the caller releases. Appends a
 * mismatch, and sets side->type to NULL, if organ knows no blocks of the model. */
organ_status organ_graft_read_side(graft_block_side *side, json_t *mismatches, organ_error *error);
/* Appends a mismatch if the model has other blocks than it states or, with `needed`, none. */
void organ_graft_check_side(const graft_block_side *side, bool needed, json_t *mismatches);

/* With `select` "mtp" leaves in the layout of the model only the tensors of its blocks, in one file, in GGUF also
 * embedding, final norm and head; with NULL or "all" does nothing. `name`: of that file; NULL: one made of the model's.
 * Sets *block. Returns ORGAN_USAGE for another word, ORGAN_BAD_INPUT if the model has no such block, or other blocks
 * than it states. */
organ_status organ_graft_select_block(const organ_model *model, const char *select, const char *name,
                                      organ_layout *layout, bool *block, organ_error *error);

/* Grafts from the model at `source` and closes what the job has opened. */
typedef organ_status organ_graft_from(void *job, const char *source, json_t **report, organ_error *error);

/* Calls `graft` with options->source or, if the source has another format than the target and only blocks are grafted,
 * with its block in that format, which is converted first and removed at the end; after an interruption it stays for
 * --resume. Returns the errors of organ_steps_run and organ_convert, and of `graft`, which is not called after them. */
organ_status organ_graft_across(const organ_graft_options *options, const organ_progress *progress,
                                organ_graft_from *graft, void *job, json_t **report, organ_error *error);

/* Finds out which weights of the block are packed, and appends a mismatch for those that the target's
 * quantization_config does not describe. */
organ_status organ_graft_packed_block(organ_graft_job *job, organ_error *error);

/* Edits config.json of the output; `noted`: appends a sentence for each change to job->metadata. */
organ_status organ_graft_edit_block_config(organ_graft_job *job, organ_json_edit *config, bool noted,
                                           organ_error *error);

#endif
