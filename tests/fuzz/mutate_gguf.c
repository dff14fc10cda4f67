/* SPDX-License-Identifier: MIT
 * Mutates a GGUF header field by field: counts, lengths, types, shapes, offsets, alignment, nested lists. Every other
 * time it corrects dependent fields, so that the fault is isolated. */
#include <organ/models.h>
#include "tests/fuzz/mutate.h"

#include <string.h>

enum { FIELDS = 1024, ITEMS = 256 };

typedef struct field {
    size_t at, bytes;
} field;

/* A key-value or the info of a tensor, [begin, end); for a tensor also the position of its type, and its elements. */
typedef struct item {
    size_t begin, end, type;
    uint64_t elements;
} item;

typedef struct header {
    fuzz_input in;
    size_t magic, at; /* start of the file, and the next position to read */
    size_t wide;      /* bytes of a count */
    uint64_t alignment;
    field fields[FIELDS];
    item items[ITEMS]; /* key-values first */
    size_t field_count, item_count, key_count;
    bool good; /* no field was truncated */
} header;

/* ---- parser ---- */

static uint64_t take(header *h, size_t bytes)
{
    if (!h->good || bytes > h->in.size - h->at || h->field_count == FIELDS) {
        h->good = false;
        return 0;
    }
    h->fields[h->field_count++] = (field){h->at, bytes};
    h->at += bytes;
    return fuzz_number_at(&h->in, h->at - bytes, bytes);
}

static void pass(header *h, uint64_t bytes)
{
    h->good = h->good && bytes <= h->in.size - h->at;
    h->at += h->good ? (size_t)bytes : 0;
}

static void take_value(header *h, uint64_t type, unsigned depth)
{
    if (type == ORGAN_GGUF_STRING) {
        pass(h, take(h, h->wide));
    } else if (type == ORGAN_GGUF_ARRAY && depth < 8) {
        const uint64_t element = take(h, 4), count = take(h, h->wide);
        for (uint64_t k = 0; k < count && h->good; k++)
            take_value(h, element, depth + 1);
    } else if (type < ORGAN_GGUF_TYPES && organ_gguf_type_bytes((organ_gguf_type)type)) {
        take(h, organ_gguf_type_bytes((organ_gguf_type)type));
    } else {
        h->good = false;
    }
}

static void take_key(header *h)
{
    static const char alignment[] = "general.alignment";
    const uint64_t length = take(h, h->wide);
    const size_t name = h->at;
    pass(h, length);
    const bool aligns = h->good && length == sizeof alignment - 1 && memcmp(h->in.data + name, alignment, length) == 0;
    take_value(h, take(h, 4), 0);
    if (aligns && h->good)
        h->alignment = fuzz_number_at(&h->in, h->at - 4, 4);
}

static void take_tensor(header *h, item *one)
{
    pass(h, take(h, h->wide));
    const uint64_t rank = take(h, 4);
    one->elements = 1;
    for (uint64_t k = 0; k < rank && h->good; k++)
        one->elements *= take(h, h->wide);
    one->type = h->at;
    take(h, 4);
    take(h, 8);
}

/* Reads as much of the header as is valid. */
static bool read_header(header *h)
{
    const uint8_t *const magic = memmem(h->in.data, h->in.size, "GGUF", 4);
    h->field_count = h->item_count = h->key_count = 0;
    h->alignment = 32;
    h->good = magic != NULL;
    if (!magic)
        return false;
    h->magic = (size_t)(magic - h->in.data);
    h->at = h->magic + 4;
    h->wide = take(h, 4) == 1 ? 4 : 8;
    const uint64_t tensors = take(h, h->wide), keys = take(h, h->wide);
    for (uint64_t k = 0; h->good && h->item_count < ITEMS && k < keys + tensors; k++) {
        item one = {.begin = h->at};
        if (k < keys)
            take_key(h);
        else
            take_tensor(h, &one);
        one.end = h->at;
        h->key_count += k < keys && h->good;
        if (h->good)
            h->items[h->item_count++] = one;
    }
    return h->field_count > 0;
}

/* ---- corrections ---- */

static void add_to_count(header *h, bool keys, uint64_t by)
{
    const size_t at = h->magic + 8 + (keys ? h->wide : 0);
    fuzz_set_number(&h->in, at, h->wide, fuzz_number_at(&h->in, at, h->wide) + by);
}

/* Sets the offsets that a writer would write, and adds data up to the end of the tensors if there is room. */
static void lay_out(header *h)
{
    uint64_t offset = 0, bytes;
    if (!read_header(h) || !h->good || h->alignment == 0)
        return;
    for (size_t k = h->key_count; k < h->item_count; k++) {
        const item *const one = &h->items[k];
        const organ_dtype type = organ_dtype_from_ggml((int64_t)fuzz_number_at(&h->in, one->type, 4));
        fuzz_set_number(&h->in, one->type + 4, 8, offset);
        if (type == ORGAN_DTYPE_COUNT || !organ_dtype_bytes(type, one->elements, &bytes) || bytes > h->in.room)
            return;
        offset += (bytes + h->alignment - 1) / h->alignment * h->alignment;
    }
    const size_t header_bytes = h->at - h->magic;
    const uint64_t data = (header_bytes + h->alignment - 1) / h->alignment * h->alignment + h->magic;
    if (h->item_count == h->key_count || data + offset > h->in.room)
        return;
    if (data + offset > h->in.size)
        memset(h->in.data + h->in.size, 0, (size_t)(data + offset) - h->in.size);
    h->in.size = (size_t)(data + offset);
}

/* ---- mutations ---- */

static const field *any_field(header *h) { return &h->fields[fuzz_roll(&h->in, h->field_count)]; }

static void set_odd(header *h)
{
    const field *const f = any_field(h);
    fuzz_set_number(&h->in, f->at, f->bytes, fuzz_odd_number(&h->in, fuzz_number_at(&h->in, f->at, f->bytes)));
}

static void set_small(header *h)
{
    const field *const f = any_field(h);
    fuzz_set_number(&h->in, f->at, f->bytes, fuzz_roll(&h->in, 42));
}

static void set_as_another(header *h)
{
    const field *const f = any_field(h), *const other = any_field(h);
    fuzz_set_number(&h->in, f->at, f->bytes, fuzz_number_at(&h->in, other->at, other->bytes));
}

/* Lengthens or shortens the text after a number that is its length. */
static void resize_text(header *h)
{
    const field *const f = any_field(h);
    const uint64_t length = fuzz_number_at(&h->in, f->at, f->bytes);
    const size_t begin = f->at + f->bytes, cut = fuzz_roll(&h->in, 3), more = fuzz_roll(&h->in, 70);
    static const uint8_t text[70] = "blk.0.ffn_down_exps.weight tokenizer.ggml.tokens split.tensors.count";
    if (f->bytes != h->wide || length < cut || length > h->in.size - begin)
        return;
    if (fuzz_splice(&h->in, begin, cut, text + fuzz_roll(&h->in, sizeof text - more), more))
        fuzz_set_number(&h->in, f->at, f->bytes, length - cut + more);
}

static void repeat_item(header *h)
{
    if (h->item_count == 0)
        return;
    const size_t from = fuzz_roll(&h->in, h->item_count), to = fuzz_roll(&h->in, h->item_count);
    const item *const one = &h->items[from];
    const bool key = from < h->key_count;
    if (key == (to < h->key_count) &&
        fuzz_splice(&h->in, h->items[to].begin, 0, h->in.data + one->begin, one->end - one->begin))
        add_to_count(h, key, 1);
}

static void take_item(header *h)
{
    if (h->item_count == 0)
        return;
    const size_t k = fuzz_roll(&h->in, h->item_count);
    if (fuzz_splice(&h->in, h->items[k].begin, h->items[k].end - h->items[k].begin, "", 0))
        add_to_count(h, k < h->key_count, (uint64_t)-1);
}

/* Inserts nested lists as the first key-value; or general.alignment. */
static void put_key(header *h)
{
    enum { DEEPEST = 512 };
    uint8_t bytes[64 + DEEPEST * 12] = {0};
    fuzz_input out = {.data = bytes, .size = sizeof bytes, .room = sizeof bytes};
    const bool aligns = fuzz_roll(&h->in, 2);
    const char *const name = aligns ? "general.alignment" : "a";
    const size_t depth = aligns ? 0 : (size_t)1 << fuzz_roll(&h->in, 10);
    size_t at = h->wide;
    fuzz_set_number(&out, 0, h->wide, strlen(name));
    memcpy(bytes + at, name, strlen(name));
    at += strlen(name);
    fuzz_set_number(&out, at, 4, aligns ? ORGAN_GGUF_U32 : ORGAN_GGUF_ARRAY);
    at += 4;
    for (size_t k = 0; k < depth; k++, at += 4 + h->wide) {
        fuzz_set_number(&out, at, 4, k + 1 < depth ? ORGAN_GGUF_ARRAY : ORGAN_GGUF_U8);
        fuzz_set_number(&out, at + 4, h->wide, k + 1 < depth);
    }
    if (aligns) {
        fuzz_set_number(&out, at, 4, fuzz_roll(&h->in, 2) ? fuzz_odd_number(&h->in, 32) : 8 * fuzz_roll(&h->in, 20));
        at += 4;
    }
    if (fuzz_splice(&h->in, h->magic + 8 + 2 * h->wide, 0, bytes, at))
        add_to_count(h, true, 1);
}

static void cut_off(header *h)
{
    if (h->in.size > h->magic)
        h->in.size = h->magic + fuzz_roll(&h->in, h->in.size - h->magic);
}

static void (*const changes[])(header *) = {set_odd,     set_small,   set_small, set_as_another, resize_text,
                                            resize_text, repeat_item, take_item, put_key,        cut_off};

size_t fuzz_mutate_gguf(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    static header h;
    h.in = fuzz_input_of(data, size, room, seed);
    if (fuzz_roll(&h.in, 4) == 0 || !read_header(&h))
        return fuzz_mutate_bytes(data, size, room, seed);
    for (size_t steps = 1 + fuzz_roll(&h.in, 3); steps > 0 && read_header(&h); steps--)
        changes[fuzz_roll(&h.in, sizeof changes / sizeof *changes)](&h);
    if (fuzz_roll(&h.in, 2))
        lay_out(&h);
    return h.in.size;
}

size_t fuzz_mutate_any(uint8_t *data, size_t size, size_t room, unsigned seed)
{
    return (memmem(data, size, "GGUF", 4) ? fuzz_mutate_gguf : fuzz_mutate_json)(data, size, room, seed);
}
