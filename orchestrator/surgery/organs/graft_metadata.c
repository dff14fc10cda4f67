/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/organs/graft_job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* "llama.attention.head_count" gives "attention.head_count". Returns NULL if the key does not begin with the
 * architecture. */
static const char *without_architecture(const organ_gguf *gguf, const char *key)
{
    size_t length = 0;
    const char *const architecture = organ_gguf_string(gguf, "general.architecture", &length);
    return architecture && strncmp(key, architecture, length) == 0 && key[length] == '.' ? key + length + 1 : NULL;
}

/* `source` is NULL if the source is not GGUF. */
static const organ_gguf_kv *find_in_source(const organ_gguf *source, const char *rest)
{
    for (size_t k = 0; source && k < source->kv_count; k++) {
        const char *const other = without_architecture(source, source->kvs[k].key);
        if (other && strcmp(other, rest) == 0)
            return &source->kvs[k];
    }
    return NULL;
}

static void put_little_endian(unsigned char *to, uint64_t value, size_t bytes)
{
    for (size_t k = 0; k < bytes; k++)
        to[k] = (unsigned char)(value >> 8 * k);
}

/* A key-value that is not an array has one value for all layers. Returns false if `source` is NULL, has no value for
 * the layer, or the value does not fit `type`. */
static bool put_element(const organ_gguf_kv *source, int32_t layer, organ_gguf_type type, unsigned char *to)
{
    const uint64_t index = source && source->type == ORGAN_GGUF_ARRAY ? (uint64_t)layer : 0;
    const size_t bytes = organ_gguf_type_bytes(type);
    int64_t integer;
    double real;
    if (!source)
        return false;
    if (type == ORGAN_GGUF_F32 || type == ORGAN_GGUF_F64) {
        if (!organ_gguf_real_at(source, index, &real))
            return false;
        const float single = (float)real;
        memcpy(to, type == ORGAN_GGUF_F32 ? (const void *)&single : (const void *)&real, bytes);
        return true;
    }
    if (!organ_gguf_integer_at(source, index, &integer))
        return false;
    const bool is_signed =
        type == ORGAN_GGUF_I8 || type == ORGAN_GGUF_I16 || type == ORGAN_GGUF_I32 || type == ORGAN_GGUF_I64;
    const unsigned bits = type == ORGAN_GGUF_BOOL ? 1 : (unsigned)(8 * bytes) - is_signed; /* without the sign bit */
    if ((integer < 0 && !is_signed) || (bits < 63 && (integer >> bits) != (integer < 0 ? -1 : 0)))
        return false;
    put_little_endian(to, (uint64_t)integer, bytes);
    return true;
}

/* The new array has job->layers_after values, and each grafted layer gets the value of its layer in the source. A
 * value that the source lacks is a mismatch. *data becomes the new array in GGUF's binary form, which the caller
 * frees, or NULL if nothing changes. `rest` is the key without the architecture. */
static organ_status graft_adapt_array(organ_graft_job *job, const organ_gguf_kv *kv, const char *rest,
                                      unsigned char **data, organ_error *error)
{
    const size_t bytes = organ_gguf_type_bytes(kv->element),
                 size = ORGAN_GGUF_ARRAY_HEAD + (size_t)job->layers_after * bytes;
    const organ_gguf_kv *const source = find_in_source(job->source->gguf, rest);
    unsigned char *const made = calloc(1, size);
    *data = NULL;
    if (!made)
        return organ_fail_errno(error, ENOMEM, "%s", kv->key);
    memcpy(made, kv->bytes, kv->size < size ? kv->size : size);
    put_little_endian(made + 4, (uint64_t)job->layers_after, 8); /* the array's length follows its 4-byte type */
    for (size_t k = 0; k < job->pair_count; k++)
        if (!put_element(source, job->pairs[k].from, kv->element,
                         made + ORGAN_GGUF_ARRAY_HEAD + (size_t)job->pairs[k].to * bytes))
            organ_graft_add_sentence(
                job->mismatches,
                "metadata: %s has a value for every layer of the target, the source has none for its layer %d", kv->key,
                (int)job->pairs[k].from);
    if (kv->size == size && memcmp(made, kv->bytes, size) == 0)
        free(made);
    else
        *data = made;
    return ORGAN_OK;
}

static organ_status adapt_layer_arrays(organ_graft_job *job, organ_gguf_writer *writer, organ_error *error)
{
    const organ_gguf *const target = job->target->gguf;
    for (size_t k = 0; k < target->kv_count && !error->status; k++) {
        organ_gguf_kv kv = target->kvs[k];
        const char *const rest = without_architecture(target, kv.key);
        unsigned char *data = NULL;
        if (!rest || kv.type != ORGAN_GGUF_ARRAY || kv.count != (uint64_t)job->target_layers ||
            !organ_gguf_type_bytes(kv.element) || graft_adapt_array(job, &kv, rest, &data, error) || !data)
            continue;
        kv.bytes = data;
        kv.count = (uint64_t)job->layers_after;
        kv.size = ORGAN_GGUF_ARRAY_HEAD + (size_t)kv.count * organ_gguf_type_bytes(kv.element);
        organ_gguf_writer_kv(writer, &kv, error);
        organ_graft_add_sentence(job->metadata, "%s was adapted to the new layers.", kv.key);
        job->written_again = true;
        free(data);
    }
    return error->status;
}

/* The key changes if the graft adds layers. It is a mismatch if the target's block_count is not the number of layers
 * of its tensors. */
static organ_status set_block_count(organ_graft_job *job, organ_gguf_writer *writer, organ_error *error)
{
    char key[160];
    size_t length = 0;
    const char *const architecture = organ_gguf_string(job->target->gguf, "general.architecture", &length);
    if (job->layers_after == job->target_layers)
        return ORGAN_OK;
    snprintf(key, sizeof key, "%.*s.block_count", (int)(length < 100 ? length : 100), architecture ? architecture : "");
    const int64_t declared = organ_gguf_integer(job->target->gguf, key, -1);
    if (declared != job->target_layers) {
        organ_graft_add_sentence(
            job->mismatches, "metadata: %s is %lld, but the tensors of the target have %d layers: none can be added",
            key, (long long)declared, (int)job->target_layers);
        return ORGAN_OK;
    }
    organ_graft_add_sentence(job->metadata, "%s: %d, was %d.", key, (int)job->layers_after, (int)job->target_layers);
    return organ_gguf_writer_set_integer(writer, key, ORGAN_GGUF_U32, job->layers_after, error);
}

/* If the graft copies only attention or only feed-forward, key-values with a value for each layer stay those of the
 * target, because they also describe the part that is not copied. */
static bool grafts_whole_layers(const organ_graft_job *job)
{
    const unsigned whole = 1u << ORGAN_GROUP_SKELETON | 1u << ORGAN_GROUP_ORGAN;
    return (job->selection.groups & whole) == whole || job->layers_after != job->target_layers;
}

organ_status organ_graft_metadata(organ_graft_job *job, organ_gguf_writer **writer, organ_error *error)
{
    *writer = NULL;
    if (!organ_graft_header_is_free(job) || organ_layout_metadata(job->target->gguf, writer, error))
        return error->status;
    if (!grafts_whole_layers(job) || adapt_layer_arrays(job, *writer, error) == ORGAN_OK)
        set_block_count(job, *writer, error);
    if (error->status || !job->written_again) {
        organ_gguf_writer_destroy(*writer);
        *writer = NULL;
    }
    return error->status;
}
