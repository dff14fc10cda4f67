/* SPDX-License-Identifier: MIT
 * Lists of kept tokens: the member "kept" of a report, which --tokens reads for another model with the same tokens. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/base/json.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/results.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/output/inputs.h"

#include <xxhash.h>

json_t *organ_vocabulary_list_digest(const organ_tokenizer *tokenizer, const uint32_t *ids, size_t count)
{
    uint64_t digest = 0;
    for (size_t k = 0; k < count; k++) {
        size_t bytes;
        const char *const text = organ_tokenizer_text_of(tokenizer, ids[k], &bytes);
        digest = XXH3_64bits_withSeed(text ? text : "", bytes, digest + ids[k]);
    }
    return organ_json_sprintf("%016llx", (unsigned long long)digest);
}

organ_status organ_vocabulary_take_list(vocabulary_job *job, const json_t *report, organ_error *error)
{
    const char *const path = job->options->tokens;
    const json_t *const list = json_object_get(report, "kept");
    if (!json_array_size(list))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no list 'kept', which a smaller vocabulary's report has",
                          path);
    if (organ_kept_list_read(list, job->groups.count, path, &job->listed, &job->listed_count, error))
        return error->status;
    ORGAN_OWNED_JSON json_t *const own = organ_vocabulary_list_digest(job->tokenizer, job->listed, job->listed_count);
    return json_equal(own, json_object_get(report, "kept_digest"))
               ? ORGAN_OK
               : organ_fail(error, ORGAN_BAD_INPUT,
                            "%s: is a list of another tokenizer: its tokens are not those of %s", path,
                            job->options->target ? job->options->target : job->options->model);
}

organ_status organ_vocabulary_read_list(vocabulary_job *job, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *report = NULL;
    const char *const path = job->options->tokens;
    return !path || organ_kept_report_load(path, &report, error) ? error->status
                                                                 : organ_vocabulary_take_list(job, report, error);
}
