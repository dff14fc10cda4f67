/* SPDX-License-Identifier: MIT
 * Key-values of GGUF files with an element for each layer, and those that organ does not know and that look like
 * settings by layer. */
#include "orchestrator/surgery/layers/layer_settings.h"

#include "formats/base/owned.h"
#include "formats/base/text.h"

#include <stdlib.h>
#include <string.h>

/* Keys, without the architecture, that have no row in formats/architecture: other functions change them, or they
 * describe blocks of a sequence. */
static const char *const known[] = {"moe_every_n_layers",
                                    "n_deepstack_layers",
                                    "attention.indexer.block_size",
                                    "attention.indexer.local_blocks",
                                    "block_size",
                                    NULL};
static const char *const others[] = {"general.", "tokenizer.", "split.", "quantize.", "imatrix.", "organ.", NULL};

/* Returns what follows the architecture in a key; the whole key if it does not begin with it. */
static const char *after_architecture(const organ_settings *s, const char *key)
{
    const size_t length = strlen(s->architecture);
    return strncmp(key, s->architecture, length) == 0 && key[length] == '.' ? key + length + 1 : key;
}

/* ---- unknown keys ---- */

#define REMEDY "; layers can be moved after the key was removed, if it does not depend on them"

/* Returns the name of a key without the architecture before it; NULL for keys that do not describe the model. */
static const char *name_of(const organ_settings *s, const char *key)
{
    for (size_t k = 0; others[k]; k++)
        if (strncmp(key, others[k], strlen(others[k])) == 0)
            return NULL;
    return after_architecture(s, key);
}

static bool is_number(const organ_gguf_kv *kv)
{
    return kv->type != ORGAN_GGUF_ARRAY && kv->type != ORGAN_GGUF_STRING && kv->type != ORGAN_GGUF_BOOL;
}

organ_status organ_layers_check_keys(const organ_model *model, organ_error *error)
{
    const organ_gguf *const gguf = model->gguf;
    const organ_settings s = organ_settings_of(model, /*writer=*/NULL, error);
    const uint64_t layers = organ_settings_get(&s, ORGAN_SETTING_LAYERS),
                   drafts = organ_settings_get(&s, ORGAN_SETTING_DRAFTS);
    for (size_t k = 0; k < gguf->kv_count && !error->status; k++) {
        const organ_gguf_kv *const kv = &gguf->kvs[k];
        const char *const name = name_of(&s, kv->key);
        if (!name || organ_is_one_of(name, known) || organ_pairing_has_key(name))
            continue;
        if (kv->type == ORGAN_GGUF_ARRAY &&
            (kv->count == layers || kv->count == layers - drafts || strstr(name, "layer")))
            organ_settings_refuse_key(&s, kv, kv->key, ORGAN_LAYERS_LISTS REMEDY);
        else if (is_number(kv) && organ_layers_is_suggestive(name))
            organ_settings_refuse_key(&s, kv, kv->key, ORGAN_LAYERS_SUGGESTS REMEDY);
    }
    return error->status;
}

/* ---- arrays with an element for each layer ---- */

/* Returns the key-value that has the meaning of `kv` in the origin's model; NULL: there is none. */
static const organ_gguf_kv *counterpart(const organ_layer_plan *p, const organ_gguf_kv *kv, const organ_layer_origin *o)
{
    const char *const rest = after_architecture(&p->s, kv->key);
    size_t length = 0;
    if (o->gguf == p->s.gguf || !o->gguf)
        return o->gguf ? kv : NULL;
    if (rest == kv->key)
        return organ_gguf_find(o->gguf, kv->key);
    const char *const architecture = organ_gguf_string(o->gguf, "general.architecture", &length);
    ORGAN_OWNED char *const key = organ_format("%.*s.%s", (int)length, architecture ? architecture : "", rest);
    return key ? organ_gguf_find(o->gguf, key) : NULL;
}

/* Returns false if a whole number does not fit the type. */
static bool put_integer(int64_t integer, organ_gguf_type type, unsigned char *to)
{
    const size_t bytes = organ_gguf_type_bytes(type);
    const bool is_signed =
        type == ORGAN_GGUF_I8 || type == ORGAN_GGUF_I16 || type == ORGAN_GGUF_I32 || type == ORGAN_GGUF_I64;
    const unsigned bits = type == ORGAN_GGUF_BOOL ? 1 : (unsigned)(8 * bytes) - is_signed; /* without the sign bit */
    /* the bits above those of the type must be copies of the sign; each value fits 63 bits and a sign */
    if ((integer < 0 && !is_signed) || (bits < 63 && (integer >> bits) != (integer < 0 ? -1 : 0)))
        return false;
    memcpy(to, &integer, bytes); /* little endian */
    return true;
}

/* A key-value that is no array has one value for all layers. Returns false if `source` is NULL, has no value for the
 * layer, or the value does not fit `type`. */
static bool put_element(const organ_gguf_kv *source, size_t layer, organ_gguf_type type, unsigned char *to)
{
    const bool listed = source && source->type == ORGAN_GGUF_ARRAY;
    const size_t bytes = organ_gguf_type_bytes(type);
    int64_t integer;
    double real;
    if (listed && source->element == type && layer < source->count)
        memcpy(to, source->bytes + ORGAN_GGUF_ARRAY_HEAD + layer * bytes, bytes);
    else if (!source || (listed && layer >= source->count))
        return false;
    else if (type != ORGAN_GGUF_F32 && type != ORGAN_GGUF_F64)
        return organ_gguf_integer_at(source, listed ? layer : 0, &integer) && put_integer(integer, type, to);
    else if (organ_gguf_real_at(source, listed ? layer : 0, &real)) {
        const float single = (float)real;
        memcpy(to, type == ORGAN_GGUF_F32 ? (const void *)&single : (const void *)&real, bytes);
    } else
        return false;
    return true;
}

/* Returns how many elements the array has in the output; 0: it has none for each layer. Arrays of strings, and
 * rope.dimension_sections, do not depend on layers. Arrays of some architectures have no element for draft layers. */
static size_t elements_after(const organ_layer_plan *p, const organ_gguf_kv *kv)
{
    const bool own = after_architecture(&p->s, kv->key) != kv->key || strncmp(kv->key, "xielu.", 6) == 0;
    if (!own || kv->type != ORGAN_GGUF_ARRAY || !organ_gguf_type_bytes(kv->element) || strstr(kv->key, "sections"))
        return 0;
    for (size_t n = p->after; n < p->count; n++) {
        const organ_layer_origin *const o = &p->origins[n];
        const organ_gguf_kv *const there = o->gguf == p->s.gguf ? NULL : counterpart(p, kv, o);
        if (there && there->type == ORGAN_GGUF_ARRAY && there->count == o->layers)
            return 0;
    }
    if (kv->count == p->all)
        return p->count;
    return kv->count == p->layers ? p->after : 0;
}

static void edit_array(const organ_layer_plan *p, const organ_gguf_kv *kv, size_t count)
{
    const size_t each = organ_gguf_type_bytes(kv->element), size = count * each,
                 before = kv->size - ORGAN_GGUF_ARRAY_HEAD;
    const unsigned char *const old = kv->bytes + ORGAN_GGUF_ARRAY_HEAD;
    ORGAN_OWNED unsigned char *const bytes = calloc(count + 1, each);
    if (!bytes) {
        organ_fail_memory(p->s.error, kv->key);
        return;
    }
    memcpy(bytes, old, before < size ? before : size);
    for (size_t n = 0; n < count; n++)
        if (!put_element(counterpart(p, kv, &p->origins[n]), p->origins[n].layer, kv->element, bytes + n * each) &&
            p->lacks)
            p->lacks(p->s.context, kv->key, &p->origins[n]);
    if ((size != before || memcmp(bytes, old, size) != 0) &&
        organ_gguf_writer_set_array(p->s.writer, kv->key, kv->element, count, bytes, size, p->s.error) == ORGAN_OK &&
        p->s.changed)
        p->s.changed(p->s.context, &p->s, kv->key, NULL, json_string("an element for each kept layer"));
}

organ_status organ_layers_edit_arrays(const organ_layer_plan *p)
{
    for (size_t k = 0; k < p->s.gguf->kv_count && !p->s.error->status; k++) {
        const size_t count = elements_after(p, &p->s.gguf->kvs[k]);
        if (count)
            edit_array(p, &p->s.gguf->kvs[k], count);
    }
    return p->s.error->status;
}
