/* SPDX-License-Identifier: MIT */
#include "formats/gguf/typed_values.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "formats/base/owned.h"
#include "formats/base/plain_numbers.h"
#include "formats/base/text.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define SHOWN 60 /* bytes of a text that reports and messages show, and of the elements of an array */

/* ---- kinds ---- */

/* The names are those of gguf-py and of the specification, in lower case. */
static const struct {
    const char *name;
    organ_gguf_type type;
} names[] = {{"uint8", ORGAN_GGUF_U8},    {"int8", ORGAN_GGUF_I8},    {"uint16", ORGAN_GGUF_U16},
             {"int16", ORGAN_GGUF_I16},   {"uint32", ORGAN_GGUF_U32}, {"int32", ORGAN_GGUF_I32},
             {"uint64", ORGAN_GGUF_U64},  {"int64", ORGAN_GGUF_I64},  {"float32", ORGAN_GGUF_F32},
             {"float64", ORGAN_GGUF_F64}, {"bool", ORGAN_GGUF_BOOL},  {"string", ORGAN_GGUF_STRING}};
enum { NAMES = sizeof names / sizeof *names };

const char *organ_gguf_kind_name(organ_gguf_kind kind, char out[ORGAN_GGUF_KIND_ROOM])
{
    const char *name = "array";
    for (size_t k = 0; k < NAMES; k++)
        if (names[k].type == kind.type)
            name = names[k].name;
    snprintf(out, ORGAN_GGUF_KIND_ROOM, "%s%s", name, kind.array ? "[]" : "");
    return out;
}

bool organ_gguf_kind_parse(const char *name, size_t length, organ_gguf_kind *kind)
{
    kind->array = length > 2 && memcmp(name + length - 2, "[]", 2) == 0;
    length -= kind->array ? 2 : 0;
    for (size_t k = 0; k < NAMES; k++)
        if (strlen(names[k].name) == length && memcmp(names[k].name, name, length) == 0) {
            kind->type = names[k].type;
            return true;
        }
    return false;
}

organ_gguf_kind organ_gguf_kind_of(const organ_gguf_kv *kv)
{
    return (organ_gguf_kind){kv->element, kv->type == ORGAN_GGUF_ARRAY};
}

/* ---- parsing ---- */

/* The value that is parsed. */
typedef struct parsed {
    const char *key;
    organ_gguf_kind kind;
    organ_text bytes; /* the encoded value, without the head of an array */
    organ_error *error;
} parsed;

static organ_status refuse_value(const parsed *p, const char *text, const char *why)
{
    char kind[ORGAN_GGUF_KIND_ROOM];
    return organ_fail(p->error, ORGAN_BAD_INPUT, "key '%.100s': '%.60s' is no %s: %s", p->key, text,
                      organ_gguf_kind_name(p->kind, kind), why);
}

static void put_little_endian(parsed *p, uint64_t value, size_t bytes)
{
    for (size_t k = 0; k < bytes; k++)
        fputc((int)(value >> 8 * k & 0xff), p->bytes.out);
}

/* `negative`: the number is below 0; `magnitude` its absolute value. */
static organ_status put_integer(parsed *p, bool negative, uint64_t magnitude, const char *text)
{
    char why[96];
    const organ_gguf_type type = p->kind.type;
    const unsigned bits = 8 * (unsigned)organ_gguf_type_bytes(type);
    const bool is_signed =
        type == ORGAN_GGUF_I8 || type == ORGAN_GGUF_I16 || type == ORGAN_GGUF_I32 || type == ORGAN_GGUF_I64;
    const uint64_t most = UINT64_MAX >> (64 - bits + is_signed), least = is_signed ? most + 1 : 0;
    if (magnitude > (negative ? least : most)) {
        snprintf(why, sizeof why, "the range is %s%" PRIu64 " to %" PRIu64, is_signed ? "-" : "", least, most);
        return refuse_value(p, text, why);
    }
    put_little_endian(p, negative ? -magnitude : magnitude, bits / 8);
    return ORGAN_OK;
}

static organ_status put_real(parsed *p, double value, const char *text)
{
    const float single = (float)value;
    uint64_t wide;
    uint32_t narrow;
    memcpy(&wide, &value, sizeof wide);
    memcpy(&narrow, &single, sizeof narrow);
    if (!isfinite(value) || (p->kind.type == ORGAN_GGUF_F32 && !isfinite(single)))
        return refuse_value(p, text, "it is beyond the range of the type, or not finite");
    p->kind.type == ORGAN_GGUF_F32 ? put_little_endian(p, narrow, 4) : put_little_endian(p, wide, 8);
    return ORGAN_OK;
}

static organ_status put_text(parsed *p, const char *text, size_t length)
{
    if (strnlen(text, length) != length || !organ_utf8_valid_within(text, length))
        return refuse_value(p, text, "it has a NUL, or is not valid UTF-8");
    put_little_endian(p, length, 8);
    fwrite(text, 1, length, p->bytes.out);
    return ORGAN_OK;
}

static organ_status parse_integer(parsed *p, const char *text)
{
    const bool negative = *text == '-';
    const char *const digits = text + (negative || *text == '+');
    char *end;
    errno = 0;
    const uint64_t magnitude = strtoull(digits, &end, 10);
    if (*digits < '0' || *digits > '9' || *end)
        return refuse_value(p, text, "a whole number in decimal is needed");
    return errno ? refuse_value(p, text, "it has more than 64 bits") : put_integer(p, negative, magnitude, text);
}

static organ_status parse_real(parsed *p, const char *text)
{
    char *end;
    const double value = organ_strtod(text, &end);
    return end == text || *end ? refuse_value(p, text, "a decimal number is needed") : put_real(p, value, text);
}

static organ_status parse_bool(parsed *p, const char *text)
{
    const bool yes = strcmp(text, "true") == 0;
    if (!yes && strcmp(text, "false") != 0)
        return refuse_value(p, text, "it is neither true nor false");
    put_little_endian(p, yes, 1);
    return ORGAN_OK;
}

/* A text of a number or bool has no NUL: it comes from a command line, or parsing ends at the NUL and refuses the text
 * of a file that has one. */
static organ_status parse_single(parsed *p, const char *text, size_t length)
{
    if (p->kind.type == ORGAN_GGUF_STRING)
        return put_text(p, text, length);
    if (strlen(text) != length)
        return refuse_value(p, text, "it has a NUL");
    if (p->kind.type == ORGAN_GGUF_BOOL)
        return parse_bool(p, text);
    return p->kind.type == ORGAN_GGUF_F32 || p->kind.type == ORGAN_GGUF_F64 ? parse_real(p, text)
                                                                            : parse_integer(p, text);
}

/* ---- arrays ---- */

static organ_status put_element(parsed *p, const json_t *element, const char *text)
{
    const organ_gguf_type type = p->kind.type;
    if (type == ORGAN_GGUF_STRING && json_is_string(element))
        return put_text(p, json_string_value(element), json_string_length(element));
    if (type == ORGAN_GGUF_BOOL && json_is_boolean(element)) {
        put_little_endian(p, json_is_true(element), 1);
        return ORGAN_OK;
    }
    if ((type == ORGAN_GGUF_F32 || type == ORGAN_GGUF_F64) && json_is_number(element))
        return put_real(p, json_number_value(element), text);
    const bool whole = type != ORGAN_GGUF_STRING && type != ORGAN_GGUF_BOOL && json_is_integer(element) &&
                       type != ORGAN_GGUF_F32 && type != ORGAN_GGUF_F64;
    const json_int_t number = json_integer_value(element);
    if (!whole)
        return refuse_value(p, text, "it has another kind of value in JSON");
    return put_integer(p, number < 0, number < 0 ? -(uint64_t)number : (uint64_t)number, text);
}

static organ_status parse_array(parsed *p, const char *text, size_t length, uint64_t *count)
{
    json_error_t fault;
    bool no_memory = false;
    ORGAN_OWNED_JSON json_t *const array = organ_json_load(text, length, JSON_REJECT_DUPLICATES, &fault, &no_memory);
    const json_t *element;
    size_t k;
    if (no_memory)
        return organ_fail_memory(p->error, p->key);
    if (!json_is_array(array)) {
        char why[160];
        snprintf(why, sizeof why, "a JSON array is needed%s%.100s", array ? "" : ": ", array ? "" : fault.text);
        return refuse_value(p, text, why);
    }
    *count = json_array_size(array);
    json_array_foreach(array, k, element)
    {
        char name[48];
        snprintf(name, sizeof name, "element %zu of %zu", k + 1, json_array_size(array));
        if (put_element(p, element, name) != ORGAN_OK)
            break;
    }
    return p->error->status;
}

/* ---- the value in the header ---- */

/* The head of an array: the type of its elements in 4 bytes, their number in 8. */
static organ_status store_value(organ_gguf_writer *writer, const parsed *p, const char *bytes, uint64_t count)
{
    if (p->kind.array)
        return organ_gguf_writer_set_array(writer, p->key, p->kind.type, count, bytes, p->bytes.size, p->error);
    const organ_gguf_kv kv = {.key = p->key,
                              .type = p->kind.type,
                              .element = p->kind.type,
                              .count = 1,
                              .bytes = (const unsigned char *)bytes,
                              .size = p->bytes.size};
    return organ_gguf_writer_kv(writer, &kv, p->error);
}

organ_status organ_gguf_set_typed(organ_gguf_writer *writer, const char *key, organ_gguf_kind kind, const char *text,
                                  size_t length, organ_error *error)
{
    parsed p = {.key = key, .kind = kind, .error = error};
    ORGAN_OWNED char *bytes = NULL;
    uint64_t count = 1;
    if (organ_text_open(&p.bytes, error) != ORGAN_OK)
        return error->status;
    kind.array ? parse_array(&p, text, length, &count) : parse_single(&p, text, length);
    if (organ_text_end(&p.bytes, &bytes, error) == ORGAN_OK)
        store_value(writer, &p, bytes, count);
    return error->status;
}

/* ---- values as text ---- */

/* Appends at most SHOWN bytes of a text, whole characters only. */
static void show_text(FILE *out, const unsigned char *bytes, uint64_t length)
{
    size_t at = 0;
    while (at < length && at < SHOWN) {
        uint32_t code;
        const size_t part = organ_utf8_within(bytes + at, length - at, &code);
        const bool plain = part && !organ_utf8_hidden(code);
        if (plain)
            fwrite(bytes + at, 1, part, out);
        else
            fputc(part && code == '\n' ? ' ' : '?', out);
        at += part ? part : 1;
    }
    if (at < length)
        fputs("...", out);
}

static void show_number(FILE *out, const organ_gguf_kv *kv, uint64_t index)
{
    int64_t whole;
    double real;
    if (kv->element == ORGAN_GGUF_BOOL && organ_gguf_integer_at(kv, index, &whole))
        fputs(whole ? "true" : "false", out);
    else if (organ_gguf_integer_at(kv, index, &whole))
        fprintf(out, "%" PRId64, whole);
    else if (organ_gguf_real_at(kv, index, &real))
        organ_fprintf(out, kv->element == ORGAN_GGUF_F32 ? "%.9g" : "%.17g", real);
    else
        fprintf(out, "%" PRIu64, organ_little_endian(kv->bytes + kv->size - 8 * (kv->count - index), 8));
}

/* The strings of an array follow one another, each with its length in 8 bytes. */
static void show_array(FILE *out, const organ_gguf_kv *kv)
{
    const unsigned char *at = kv->bytes + ORGAN_GGUF_ARRAY_HEAD;
    const long begin = ftell(out);
    char kind[ORGAN_GGUF_KIND_ROOM];
    fprintf(out, "%" PRIu64 " x %s%s", kv->count, organ_gguf_kind_name((organ_gguf_kind){kv->element, false}, kind),
            kv->count ? ": " : "");
    for (uint64_t k = 0; k < kv->count; k++) {
        if (ftell(out) - begin > SHOWN) {
            fputs(", ...", out);
            break;
        }
        fputs(k ? ", " : "", out);
        if (kv->element != ORGAN_GGUF_STRING) {
            show_number(out, kv, k);
            continue;
        }
        const uint64_t length = organ_little_endian(at, 8);
        show_text(out, at + 8, length);
        at += 8 + length;
    }
}

char *organ_gguf_value_text(const organ_gguf_kv *kv)
{
    organ_text text;
    organ_error ignored = {0};
    char *shown = NULL;
    if (organ_text_open(&text, &ignored) != ORGAN_OK)
        return NULL;
    if (kv->type == ORGAN_GGUF_ARRAY)
        show_array(text.out, kv);
    else if (kv->type == ORGAN_GGUF_STRING)
        show_text(text.out, kv->bytes + 8, kv->size - 8);
    else
        show_number(text.out, kv, 0);
    organ_text_finish(&text, &shown, &ignored);
    return shown;
}
