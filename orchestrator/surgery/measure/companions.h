/* SPDX-License-Identifier: MIT
 * Keeps companions (scales, zero points) of packed weights while the shards of a model are measured one by one and
 * deleted. A companion may be in another shard than its codes; before that shard is deleted, the companion is saved in
 * a small file until the codes are measured. */
#ifndef ORGAN_MEASURE_COMPANIONS_H
#define ORGAN_MEASURE_COMPANIONS_H

#include <organ/models.h>
#include "formats/safetensors/safetensors.h"
#include <organ/stream.h>

/* Value instead of the index of a shard: the tensor is no companion, or its codes are in the same shard. */
#define ORGAN_AT_HOME SIZE_MAX

/* The companions of a sharded model that are in another shard than their codes. */
typedef struct organ_companions {
    const organ_shards *index; /* tensors and shards of the model */
    const char *stem;          /* common beginning of the paths of saved files: STEM-1.safetensors is of shard 0 */
    /* For each entry of the index: if the tensor is a companion and its codes are in another shard, the index of that
     * shard; else ORGAN_AT_HOME. */
    size_t *codes_in;
    size_t in_other_shards; /* number of companions in another shard than their codes */
} organ_companions;

/* Finds the companions that are in another shard than their codes; an index without entries has none. `index` and
 * `stem` must outlive *companions, which the caller frees even after an error. Returns ORGAN_IO if memory runs out. */
organ_status organ_companions_find(const organ_shards *index, const char *stem, organ_companions *companions,
                                   organ_error *error);
void organ_companions_release(organ_companions *companions);

/* Returns the index of the shard with a companion's codes if it is another shard; ORGAN_AT_HOME otherwise, and for
 * tensors that are not in the index. */
size_t organ_companions_codes_in(const organ_companions *companions, const char *tensor);

/* Returns the path of the file in which the companions from shard `file` are saved. The caller frees it; NULL if out of
 * memory. */
char *organ_companions_path(const organ_companions *companions, size_t file);

/* Saves some of the companions in shard `file`, which is open as `shard`: those with is_selected(context, codes) true,
 * where `codes` is the index of the other shard with their codes. Copies them on the workers of `engine`. Writes no
 * file if there are none. Returns after the file is on the disk; ORGAN_IO or ORGAN_INTERRUPTED if that fails. */
organ_status organ_companions_keep(const organ_companions *companions, size_t file, const organ_model *shard,
                                   bool (*is_selected)(void *context, size_t codes), void *context,
                                   const organ_engine *engine, organ_error *error);

/* Calls each(context, from, tensor, error) once for every other shard `from` that has companions of codes in shard
 * `file`; `tensor` is the name of the first such companion. Stops at an error of `each` and returns it. */
organ_status organ_companions_needed(const organ_companions *companions, size_t file,
                                     organ_status (*each)(void *context, size_t from, const char *tensor,
                                                          organ_error *error),
                                     void *context, organ_error *error);

/* Removes all saved files. */
void organ_companions_forget(const organ_companions *companions);

#endif
