/* SPDX-License-Identifier: MIT
 * Lists of kept tokens: the member "kept" of a report, which --tokens reads for another model with the same tokens. */
#include "orchestrator/verbs/vocabulary/vocabulary_job.h"

#include "formats/base/json.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/results.h"
#include "formats/tokenizer/tokenizer_files.h"
#include "orchestrator/output/inputs.h"

#include <xxhash.h>

enum { LIST_BYTES = 256 << 20 }; /* of the longest report */

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

static organ_status take_list(vocabulary_job *job, const json_t *list, organ_error *error)
{
    const char *const path = job->options->tokens;
    if (!json_array_size(list))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no list 'kept', which a smaller vocabulary's report has",
                          path);
    return organ_kept_list_read(list, job->groups.count, path, &job->listed, &job->listed_count, error);
}

organ_status organ_vocabulary_read_list(vocabulary_job *job, organ_error *error)
{
    const char *const path = job->options->tokens;
    ORGAN_OWNED char *bytes = NULL;
    ORGAN_OWNED_JSON json_t *root = NULL;
    size_t length = 0;
    json_error_t fault;
    bool no_memory;
    if (!path || organ_input_load(path, path, LIST_BYTES, &bytes, &length, error))
        return error->status;
    root = organ_json_load(bytes, length, 0, &fault, &no_memory);
    if (no_memory)
        return organ_fail_memory(error, path);
    if (!root)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: line %d: %s", path, fault.line, fault.text);
    if (take_list(job, json_object_get(root, "kept"), error))
        return error->status;
    ORGAN_OWNED_JSON json_t *const own = organ_vocabulary_list_digest(job->tokenizer, job->listed, job->listed_count);
    if (!json_equal(own, json_object_get(root, "kept_digest")))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is a list of another tokenizer: its tokens are not those of %s",
                          path, job->options->model);
    return ORGAN_OK;
}
