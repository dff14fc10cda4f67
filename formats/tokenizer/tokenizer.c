/* SPDX-License-Identifier: MIT */

#include "formats/base/results.h"
#include "formats/tokenizer/tokenizer_parts.h"

#include <errno.h>
#include <math.h>
#include <organ/tokenizer.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#define USUAL_MEMORY ((uint64_t)512 << 20) /* default of organ_tokenizer_allow */

enum { FILE_LIMIT = 256 << 20 }; /* upper bound of the bytes of a tokenizer file */

static const struct source {
    const char *name;
    organ_tokenizer_source *read;
} sources[] = {{"tokenizer.json", organ_tokenizer_from_json},
               {"tekken.json", organ_tokenizer_from_tekken},
               {"tiktoken.model", organ_tokenizer_from_tiktoken},
               {"hy.tiktoken", organ_tokenizer_from_tiktoken}};

static organ_status read_tokenizer_file(const organ_model *model, organ_tokenizer *t, organ_error *error)
{
    for (size_t k = 0; k < sizeof sources / sizeof *sources; k++) {
        organ_json_source text = {.label = organ_tokenizer_label(model, t, sources[k].name)};
        ORGAN_OWNED char *bytes = NULL;
        if (organ_model_load(model, sources[k].name, FILE_LIMIT, &bytes, &text.length, error) != ORGAN_OK)
            return error->status;
        if (!bytes)
            continue;
        text.bytes = bytes;
        sources[k].read(model, t, &text, error);
        return error->status;
    }
    return organ_refuse(error, model->path,
                        "there is no tokenizer.json: copy it from the original model into this directory (tekken.json, "
                        "Kimi's tiktoken.model and Hunyuan's hy.tiktoken are read too)");
}

/* The seed of the hash tables is random, so that a file cannot choose texts that collide; if the system has no
 * random bytes yet, the seed is the address of the tokenizer. */
organ_tokenizer *organ_tokenizer_create(const char *label, organ_error *error)
{
    organ_tokenizer *const t = calloc(1, sizeof *t);
    if (!t) {
        organ_fail_errno(error, ENOMEM, "%s: the tokenizer", label);
        return NULL;
    }
    t->unknown = ORGAN_NO_ID;
    t->memory = USUAL_MEMORY;
    t->facts.bos = t->facts.eos = -1;
    if (getrandom(&t->seed, sizeof t->seed, GRND_NONBLOCK) < 0)
        t->seed = (uintptr_t)t;
    return t;
}

organ_status organ_tokenizer_open(const organ_model *model, organ_tokenizer **tokenizer, organ_error *error)
{
    ORGAN_OWN_ERROR(error);
    organ_tokenizer *const t = organ_tokenizer_create(model->path, error);
    *tokenizer = NULL;
    if (!t)
        return error->status;
    const bool inside = model->gguf && organ_gguf_find(model->gguf, "tokenizer.ggml.model");
    if (inside)
        organ_tokenizer_from_gguf(model, t, error);
    else
        read_tokenizer_file(model, t, error);
    if (!error->status)
        *tokenizer = t;
    else
        organ_tokenizer_close(t);
    return error->status;
}

void organ_tokenizer_close(organ_tokenizer *t)
{
    if (!t)
        return;
    if (t->kept) {
        ORGAN_FREE_ARRAYS(t->raw.items, t->normalized.items);
        free(t);
        return;
    }
    for (size_t k = 0; k < ORGAN_STEP_LIMIT; k++) {
        pcre2_code_free(t->normalizer[k].regex);
        pcre2_code_free(t->pretokenizer[k].regex);
    }
    ORGAN_FREE_ARRAYS(t->tokens, t->slots, t->merges, t->raw.items, t->normalized.items);
    organ_arena_release(&t->arena);
    free(t);
}

void organ_tokenizer_allow(organ_tokenizer *tokenizer, uint64_t memory) { tokenizer->memory = memory; }

const organ_tokenizer_facts *organ_tokenizer_describe(const organ_tokenizer *tokenizer) { return &tokenizer->facts; }

const char *organ_tokenizer_piece(const organ_tokenizer *tokenizer, uint32_t id, size_t *bytes)
{
    const bool there = id < tokenizer->facts.vocabulary && tokenizer->tokens[id].piece;
    *bytes = there ? tokenizer->tokens[id].piece_bytes : 0;
    return there ? tokenizer->tokens[id].piece : "";
}

/* ---- tokens of ModelProto (sentencepiece_model.proto) ---- */

/* A message of protobuf is a list of fields: a varint with number and type, then the value. */

enum { PIECES_LIMIT = 256 << 20 }; /* largest size of tokenizer.model, in bytes */

enum { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

/* ---- reading ---- */

typedef struct proto_reading {
    const unsigned char *at, *end;
    bool broken; /* the message ends within a value, or has a type that protobuf lacks */
} proto_reading;

typedef struct proto_field {
    uint64_t number, value;
    const unsigned char *bytes; /* of WIRE_BYTES and WIRE_32 */
    size_t length;
    unsigned type;
} proto_field;

/* Sets r->broken if the number does not end, and returns 0. */
static uint64_t read_varint(proto_reading *r)
{
    uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (r->at == r->end)
            break;
        const unsigned char byte = *r->at++;
        value |= (uint64_t)(byte & 127) << shift;
        if (byte < 128)
            return value;
    }
    r->broken = true;
    return 0;
}

/* Returns false at the end, and if the message is damaged (r->broken). */
static bool next_field(proto_reading *r, proto_field *field)
{
    if (r->at == r->end || r->broken)
        return false;
    const uint64_t key = read_varint(r);
    *field = (proto_field){.number = key >> 3, .type = (unsigned)(key & 7)};
    if (field->type == WIRE_VARINT) {
        field->value = read_varint(r);
        return !r->broken;
    }
    const uint64_t fixed = field->type == WIRE_64 ? 8 : 4, length = field->type == WIRE_BYTES ? read_varint(r) : fixed;
    const bool known = field->type == WIRE_BYTES || field->type == WIRE_64 || field->type == WIRE_32;
    if (r->broken || !known || length > (uint64_t)(r->end - r->at)) {
        r->broken = true;
        return false;
    }
    field->bytes = r->at;
    field->length = (size_t)length;
    r->at += length;
    return true;
}

/* Returns false if the message is damaged or names another token than `id` has. *score is 0 without a score. */
static bool read_piece(const organ_tokenizer *t, uint64_t id, const proto_field *piece, float *score)
{
    proto_reading r = {.at = piece->bytes, .end = piece->bytes + piece->length};
    const organ_token *const token = id < t->facts.vocabulary ? &t->tokens[id] : NULL;
    proto_field field;
    bool same = !token || !token->text;
    *score = 0;
    while (next_field(&r, &field))
        if (field.number == 1 && field.type == WIRE_BYTES)
            same = same || (field.length == token->bytes && memcmp(field.bytes, token->text, field.length) == 0);
        else if (field.number == 2 && field.type == WIRE_32)
            memcpy(score, field.bytes, sizeof *score);
    return same && !r.broken;
}

/* The order holds if the scores of the tokens that the merges make never rise from one merge to the next. */
static bool in_order(const organ_piece_scores *pieces, const organ_merge *merges, size_t count)
{
    float last = INFINITY;
    for (size_t k = 0; k < count; k++) {
        const float score = merges[k].merged < pieces->count ? pieces->scores[merges[k].merged] : -INFINITY;
        if (!(score <= last))
            return false;
        last = score;
    }
    return true;
}

organ_status organ_piece_scores_read(const organ_model *model, const organ_tokenizer *t, const organ_merge *merges,
                                     size_t merge_count, organ_piece_scores *out, organ_error *error)
{
    char *bytes = NULL;
    size_t length = 0, capacity = 0;
    bool fits = true;
    *out = (organ_piece_scores){0};
    if (organ_model_load(model, "tokenizer.model", PIECES_LIMIT, &bytes, &length, error) || !bytes)
        return error->status;
    proto_reading r = {.at = (const unsigned char *)bytes, .end = (const unsigned char *)bytes + length};
    for (proto_field field; fits && next_field(&r, &field);)
        if (field.number == 1 && field.type == WIRE_BYTES) { /* a piece */
            if (!organ_grow(&out->scores, out->count, &capacity, sizeof *out->scores)) {
                organ_fail_memory(error, model->path);
                break;
            }
            fits = read_piece(t, out->count, &field, &out->scores[out->count]);
            out->count++;
        }
    free(bytes);
    if (!error->status && fits && !r.broken && out->count && in_order(out, merges, merge_count))
        return ORGAN_OK;
    free(out->scores);
    *out = (organ_piece_scores){0};
    return error->status;
}

/* ---- writing ---- */

/* Like all put_ functions here, returns false if memory is exhausted. */
static bool put_varint(organ_bytes *to, uint64_t value)
{
    char text[10];
    size_t length = 0;
    for (; value >= 128; value >>= 7)
        text[length++] = (char)((value & 127) | 128);
    text[length++] = (char)value;
    return organ_bytes_add(to, text, length);
}

static bool put_number(organ_bytes *to, unsigned number, uint64_t value)
{
    return put_varint(to, number << 3 | WIRE_VARINT) && put_varint(to, value);
}

static bool put_field(organ_bytes *to, unsigned number, const char *bytes, size_t length)
{
    return put_varint(to, number << 3 | WIRE_BYTES) && put_varint(to, length) && organ_bytes_add(to, bytes, length);
}

/* The fields are piece 1, score 2, type 3. Types have the numbers of GGUF. */
static bool put_piece(organ_bytes *to, organ_bytes *piece, const organ_token *token, float score, uint64_t type)
{
    piece->used = 0;
    return put_field(piece, 1, token->text ? token->text : "", token->text ? token->bytes : 0) &&
           put_varint(piece, 2 << 3 | WIRE_32) && organ_bytes_add(piece, (const char *)&score, sizeof score) &&
           put_number(piece, 3, type) && put_field(to, 1, piece->data, piece->used);
}

/* The ids are 64-bit varints, -1 for none. */
static bool put_specs(organ_bytes *to, organ_bytes *spec, const organ_model *model, const organ_tokenizer *t)
{
    static const char *const keys[] = {"tokenizer.ggml.unknown_token_id", "tokenizer.ggml.bos_token_id",
                                       "tokenizer.ggml.eos_token_id", "tokenizer.ggml.padding_token_id"};
    enum { TYPE = 3, SIZE = 4, BYTES = 35, IDS = 40, WORDS = 45, BPE = 2, PREFIX = 3, TRIMS = 4 };
    spec->used = 0;
    bool complete =
        put_number(spec, TYPE, BPE) && put_number(spec, SIZE, t->facts.vocabulary) && put_number(spec, BYTES, 1);
    for (unsigned k = 0; k < sizeof keys / sizeof *keys && complete; k++) {
        const int64_t id = organ_gguf_integer(model->gguf, keys[k], k == 0 ? 0 : -1);
        const organ_token *const token = id >= 0 && id < t->facts.vocabulary ? &t->tokens[id] : NULL;
        complete = put_number(spec, IDS + k, (uint64_t)id) &&
                   (!token || !token->text || put_field(spec, WORDS + k, token->text, token->bytes));
    }
    complete = complete && put_field(to, 2, spec->data, spec->used);
    spec->used = 0;
    const bool prefix = organ_gguf_integer(model->gguf, "tokenizer.ggml.add_space_prefix", 1) != 0;
    return complete && put_field(spec, 1, "identity", 8) && put_number(spec, PREFIX, prefix) &&
           put_number(spec, TRIMS, 0) && put_field(to, 3, spec->data, spec->used);
}

organ_status organ_tokenizer_to_pieces(const organ_model *model, char **bytes, size_t *length, organ_error *error)
{
    const organ_gguf_kv *const scores = organ_gguf_find(model->gguf, "tokenizer.ggml.scores");
    const organ_gguf_kv *const types = organ_gguf_find(model->gguf, "tokenizer.ggml.token_type");
    organ_bytes all = {0}, part = {0};
    organ_tokenizer *t = NULL;
    *bytes = NULL;
    *length = 0;
    if (!scores || !types || !organ_gguf_text_equals(model->gguf, "tokenizer.ggml.model", "llama") ||
        organ_tokenizer_open(model, &t, error) != ORGAN_OK)
        return error->status;
    bool complete = true;
    for (uint32_t id = 0; id < t->facts.vocabulary && complete; id++) {
        double score = 0;
        int64_t type = 1;
        organ_gguf_real_at(scores, id, &score);
        organ_gguf_integer_at(types, id, &type);
        complete = put_piece(&all, &part, &t->tokens[id], (float)score, (uint64_t)type);
    }
    complete = complete && put_specs(&all, &part, model, t);
    organ_tokenizer_close(t);
    free(part.data);
    if (!complete) {
        free(all.data);
        return organ_fail_memory(error, model->path);
    }
    *bytes = all.data;
    *length = all.used;
    return ORGAN_OK;
}
