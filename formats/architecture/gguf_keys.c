/* SPDX-License-Identifier: MIT
 * Reads single GGUF key-values and reports wrong types. Keys are named without their architecture; `fallback` is the
 * value of a missing key.
 * `s` is the GGUF file that is read; s->family, called the family, is the row of its architecture in families.h. `c` is
 * the configuration that the functions fill. "Reports an error" means: sets s->error unless an earlier error is there.
 */
#include "formats/architecture/gguf_keys.h"

#include <stdio.h>
#include <string.h>

const organ_gguf_kv *organ_key_find(const config_gguf_source *s, const char *key, char full[CONFIG_KEY_LIMIT])
{
    snprintf(full, CONFIG_KEY_LIMIT, "%s.%s", s->architecture, key);
    return organ_gguf_find(s->model->gguf, full);
}

/* The key may be a single number, which all indices then have. Returns UINT32_MAX for larger numbers. */
static unsigned size_at(const config_gguf_source *s, const char *key, uint64_t index, unsigned fallback)
{
    char full[CONFIG_KEY_LIMIT];
    const organ_gguf_kv *kv = organ_key_find(s, key, full);
    int64_t value;
    if (!kv)
        return fallback;
    if (!organ_gguf_integer_at(kv, kv->type == ORGAN_GGUF_ARRAY ? index : 0, &value) || value < 0) {
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is not a whole number of at least 0", s->label, full);
        return 0;
    }
    return value > UINT32_MAX ? UINT32_MAX : (unsigned)value;
}

/* Arrays, which have no element UINT64_MAX, are errors. */
unsigned organ_key_size(const config_gguf_source *s, const char *key, unsigned fallback)
{
    return size_at(s, key, UINT64_MAX, fallback);
}

void organ_key_require(const config_gguf_source *s, const char *key)
{
    char full[CONFIG_KEY_LIMIT];
    if (!organ_key_find(s, key, full))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is missing", s->label, full);
}

unsigned organ_key_needed(const config_gguf_source *s, const char *key)
{
    organ_key_require(s, key);
    return organ_key_size(s, key, 0);
}

/* llama.cpp also rejects an array without block_count values. `full` is the key's whole name. */
static bool has_every_layer(const config_gguf_source *s, const char *full, const organ_gguf_kv *kv)
{
    const unsigned blocks = organ_key_size(s, "block_count", 0);
    if (kv->type != ORGAN_GGUF_ARRAY || kv->count == blocks)
        return true;
    organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' has %llu values, but block_count is %u", s->label, full,
               (unsigned long long)kv->count, blocks);
    return false;
}

unsigned organ_key_of_layer(const config_gguf_source *s, const char *key, unsigned layer, unsigned fallback)
{
    char full[CONFIG_KEY_LIMIT];
    const organ_gguf_kv *const kv = organ_key_find(s, key, full);
    if (kv && !has_every_layer(s, full, kv))
        return 0;
    return size_at(s, key, layer, fallback);
}

double organ_key_real(const config_gguf_source *s, const char *key, double fallback)
{
    char full[CONFIG_KEY_LIMIT];
    const organ_gguf_kv *kv = organ_key_find(s, key, full);
    double value = fallback;
    if (kv && (kv->type == ORGAN_GGUF_ARRAY || !organ_gguf_real_at(kv, 0, &value)))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is not a number", s->label, full);
    return value;
}

double organ_key_real_of_layer(const config_gguf_source *s, const char *key, unsigned layer)
{
    const organ_gguf_kv *const kv = organ_gguf_find(s->model->gguf, key);
    double value = 0;
    if (!kv || kv->type != ORGAN_GGUF_ARRAY)
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is missing or not an array", s->label, key);
    else if (has_every_layer(s, key, kv) && !organ_gguf_real_at(kv, layer, &value))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' has no number for layer %u", s->label, key, layer);
    return value;
}

bool organ_key_flag(const config_gguf_source *s, const char *key, bool fallback)
{
    char full[CONFIG_KEY_LIMIT];
    const organ_gguf_kv *kv = organ_key_find(s, key, full);
    if (kv && (kv->type != ORGAN_GGUF_BOOL || kv->size < 1))
        organ_fail(s->error, ORGAN_BAD_INPUT, "%s: key '%s' is not true or false", s->label, full);
    return kv && !s->error->status ? *(const unsigned char *)kv->bytes != 0 : fallback;
}

bool organ_key_equals(const config_gguf_source *s, const char *key, const char *word, bool otherwise)
{
    char full[CONFIG_KEY_LIMIT];
    if (!organ_key_find(s, key, full))
        return otherwise;
    return organ_gguf_text_equals(s->model->gguf, full, word);
}

bool organ_key_tensor(const config_gguf_source *s, const char *name) { return organ_model_find(s->model, name); }
