/* SPDX-License-Identifier: MIT
 * Declarations that the sources of organ fleet share. */
#ifndef ORGAN_FLEET_PARTS_H
#define ORGAN_FLEET_PARTS_H

#include "orchestrator/ranks/ranks.h"
#include <organ/base.h>
#include <organ/models.h>

#include <jansson.h>
#include <stdint.h>

/* ---- fleet find ---- */

/* Finds the models under a directory. */

/* A model under the searched directory, or a file that may be one. */
typedef struct organ_fleet_member {
    char *path; /* path for opening it */
    char *name; /* path relative to the searched directory, "." for itself; for a split GGUF without the part number */
    /* Digest of the names, sizes and modification times of the model's files: if it is equal in two runs, the model is
     * unchanged. */
    uint64_t identity;
} organ_fleet_member;

/* The models under a directory. */
typedef struct organ_fleet_list {
    size_t count;
    organ_fleet_member *members; /* ordered by name */
} organ_fleet_list;

/* Fills *list with the models in `directory` and its folders. A folder with model.safetensors.index.json or
 * model.safetensors is one model. In other folders every .safetensors is a model; in all folders every .gguf is a model
 * (a split set once). An organ directory is one model and is not searched. Ignores hidden entries, unfinished outputs,
 * links to directories and the folder `skip` (a real path, may be NULL). Returns ORGAN_IO if a folder cannot be read,
 * and leaves *list empty. The caller frees *list. */
organ_status organ_fleet_find(const char *directory, const char *skip, organ_fleet_list *list, organ_error *error);
void organ_fleet_release(organ_fleet_list *list);

/* ---- fleet kind ---- */

/* Recognises files in a fleet that are not models, such as adapters. */

/* Returns "adapter", "imatrix", "vocabulary only", "multimodal projector", "control vector", "optimizer state" or "no
 * tensors", from the metadata of the file or the names of its tensors; NULL for a model. */
const char *organ_fleet_kind(const organ_model *model);

/* ---- fleet prunings ---- */

/* Summarises the pruned models of a fleet from their logs. Models are grouped by experiment: the method and parameters
 * of the pruning. */

/* Returns {"experiment", "target", "full"} from the pruning log of a model (organ/prune.json): method and parameters,
 * and the share of killed weights among the targets and in the whole model. Returns null if there is no log, {"fault"}
 * with the reason if the log is invalid, NULL if out of memory. */
json_t *organ_fleet_pruning(const organ_model *model);

/* Adds "prunings", an array of {"experiment", "words", "models": [{"name", "target", "full"}]}, and "errata" to the
 * report of a fleet, from the member "pruning" of its "models". Returns 0, or another number if out of memory. */
int organ_fleet_report_prunings(json_t *report);

/* ---- fleet state ---- */

/* Reads and writes OUT/fleet.json: the results of a run over a fleet, with which the next run processes only changed
 * models. */

/* Returns whether `entry`, the results of one member of the fleet, is of a file that is not a model, such as an adapter
 * (organ_fleet_kind): the status of its dissection is "apart". Such a file is listed, but neither extracted nor
 * measured. */
bool organ_fleet_is_other(const json_t *entry);

/* Sets *known to {NAME: {"identity", "dissection", "measure"}} of the members of `list` that an earlier run completed
 * and that have not changed. Unless `no_extract` is set, their extracted folders must exist. Rank 0 reads the file and
 * sends the entries to the other ranks. If the file is missing or invalid, *known is empty, so everything is processed
 * again. The caller releases *known. Returns ORGAN_IO if memory runs out, and the errors of organ_ranks_gather. */
organ_status organ_fleet_read_results(const char *output, bool no_extract, const organ_fleet_list *list,
                                      organ_ranks *ranks, json_t **known, organ_error *error);

/* Returns ORGAN_USAGE if OUTPUT/fleet.json exists and is no document of this program. */
organ_status organ_fleet_state_check(const char *output, organ_error *error);

/* Writes `state`, the results of all members so far, on rank 0; does nothing on other ranks. Returns ORGAN_IO if the
 * file cannot be written. */
organ_status organ_fleet_state_write(const char *output, const json_t *state, organ_ranks *ranks, organ_error *error);

#endif
