/* SPDX-License-Identifier: MIT
 * Shards of a packed model that go one by one: scales may lie in another shard than the codes they belong to. Such
 * companions are kept in a small file when their shard goes, until the codes are measured. */
#ifndef ORGAN_MEASURE_COMPANIONS_H
#define ORGAN_MEASURE_COMPANIONS_H

#include "formats/model/model.h"
#include "formats/safetensors/safetensors.h"
#include "orchestrator/stream/stop.h"

#define ORGAN_AT_HOME SIZE_MAX

typedef struct organ_companions {
    const organ_shards *index;
    const char *stem; /* of the paths of the files that keep them */
    size_t *codes_in; /* per entry of the index: of a companion the shard of its codes, where that is another one; else
                         ORGAN_AT_HOME */
    size_t apart;     /* how many are so */
} organ_companions;

/* Of an index without entries nothing is apart. index and stem must outlive it; the caller frees it also after an
 * error. */
organ_status organ_companions_find(const organ_shards *index, const char *stem, organ_companions *companions,
                                   organ_error *error);
void organ_companions_free(organ_companions *companions);

/* Where a tensor of the index has its codes, ORGAN_AT_HOME also for one that is not in it. */
size_t organ_companions_codes_in(const organ_companions *companions, const char *tensor);

/* The path of the file that keeps companions of shard `file`, to be freed; NULL without memory. */
char *organ_companions_path(const organ_companions *companions, size_t file);

/* Keeps the companions in shard `file`, open as `shard`, whose codes are in shards that `wanted` says yes to: on the
 * disk when it returns.
 */
organ_status organ_companions_keep(const organ_companions *companions, size_t file, const organ_model *shard,
                                   bool (*wanted)(void *context, size_t codes), void *context, const organ_stop *stop,
                                   organ_error *error);

/* Of each shard that has companions of codes in shard `file` the first such tensor: calls `each` for it until that
 * returns an error. */
organ_status organ_companions_needed(const organ_companions *companions, size_t file,
                                     organ_status (*each)(void *context, size_t from, const char *tensor,
                                                          organ_error *error),
                                     void *context, organ_error *error);

/* Removes all files. */
void organ_companions_forget(const organ_companions *companions);

#endif
