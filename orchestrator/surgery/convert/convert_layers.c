/* SPDX-License-Identifier: MIT
 * Key-values of a GGUF file with a number for each layer, where config.json may have only one for all. */
#include "orchestrator/surgery/convert/convert_job.h"

#include <stdio.h>
#include <string.h>

bool organ_convert_is_uniform(const organ_gguf_kv *kv)
{
    const size_t each = organ_gguf_type_bytes(kv->element);
    const unsigned char *const first = kv->bytes + ORGAN_GGUF_ARRAY_HEAD;
    if (kv->type != ORGAN_GGUF_ARRAY)
        return true;
    for (uint64_t k = 1; k < kv->count && each; k++)
        if (memcmp(first, first + k * each, each))
            return false;
    return kv->count > 0 && each > 0;
}

static bool config_lists_layers(const organ_convert_job *job, const char *key)
{
    const size_t own = strlen(key);
    for (const char *at = job->exchange->keys; *at;) {
        const size_t length = strcspn(at, " ");
        if (length > own && strncmp(at, key, own) == 0 && at[own] == ':')
            return true;
        at += length + (at[length] == ' ');
    }
    return false;
}

organ_status organ_convert_check_layers(const organ_convert_job *job, organ_error *error)
{
    static const char *const sizes[] = {"feed_forward_length", "attention.head_count", "attention.head_count_kv"};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        char key[160];
        snprintf(key, sizeof key, "%s.%s", job->exchange->gguf, sizes[k]);
        const organ_gguf_kv *const kv = organ_gguf_find(job->model->gguf, key);
        if (kv && !organ_convert_is_uniform(kv) && !config_lists_layers(job, sizes[k]))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: key '%s' has different numbers for the layers; config.json of %s has one for all",
                              job->model->path, key, job->exchange->architecture);
    }
    return ORGAN_OK;
}
