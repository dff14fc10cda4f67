/* SPDX-License-Identifier: MIT
 * Companions of packed weights whose shards are measured one by one: scales may be in another shard than their
 * codes. Before a shard is deleted, such companions are saved in a small file until the codes are measured. */
#ifndef ORGAN_MEASURE_COMPANIONS_H
#define ORGAN_MEASURE_COMPANIONS_H

#include "formats/model/model.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/stream/stop.h"

#define ORGAN_AT_HOME SIZE_MAX

typedef struct organ_companions {
    const organ_shards *index;
    const char *stem;       /* common beginning of the paths of the saved files */
    size_t *codes_in;       /* per entry of the index: the shard of a companion's codes if it is another shard; else
                             * ORGAN_AT_HOME */
    size_t in_other_shards; /* number of companions in another shard than their codes */
} organ_companions;

/* Finds the companions that are in another shard than their codes; an index without entries has none. `index` and
 * `stem` must outlive the result, which the caller frees even after an error. */
organ_status organ_companions_find(const organ_shards *index, const char *stem, organ_companions *companions,
                                   organ_error *error);
void organ_companions_free(organ_companions *companions);

/* Returns the shard of a tensor's codes if it is another shard; ORGAN_AT_HOME otherwise, and for tensors that are not
 * in the index. */
size_t organ_companions_codes_in(const organ_companions *companions, const char *tensor);

/* Returns the path of the file with saved companions of shard `file`. The caller frees it; NULL if out of memory. */
char *organ_companions_path(const organ_companions *companions, size_t file);

/* Saves the companions in shard `file`, open as `shard`, whose codes are in shards for which `is_selected` returns
 * true. The file is on the disk when the function returns. */
organ_status organ_companions_keep(const organ_companions *companions, size_t file, const organ_model *shard,
                                   bool (*is_selected)(void *context, size_t codes), void *context,
                                   const organ_stop *stop, organ_error *error);

/* Calls `each` with the first companion in every other shard that has companions of codes in shard `file`, until
 * `each` returns an error. */
organ_status organ_companions_needed(const organ_companions *companions, size_t file,
                                     organ_status (*each)(void *context, size_t from, const char *tensor,
                                                          organ_error *error),
                                     void *context, organ_error *error);

/* Removes all saved files. */
void organ_companions_forget(const organ_companions *companions);

#endif
