/* SPDX-License-Identifier: MIT
 * Sums of squared inputs, by the names that llama.cpp gives the matrices.
 *
 * A sum is exact: an integer of 192 bits that counts units of 2^-112. The square of an FP32 number has 48 bits, so only
 * bits below the unit are cut off, from inputs below 2^-32. Therefore the order of the additions does not change a sum,
 * and tokens can be divided among batches, runs and ranks in any way. */
#include "orchestrator/surgery/scoring/input_sums.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/surgery/scoring/scoring_parts.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define UNIT_EXPONENT (-112)
#define LARGEST_INPUT 0x1p30f           /* 2^20 tokens with this input do not overflow a sum */
#define COLUMNS       ((size_t)64)      /* columns of one task */
#define REDUCED       ((size_t)1 << 16) /* numbers that ranks exchange together */

/* ---- entries ---- */

static organ_input_entry *entry_named(const organ_input_sums *s, const char *name)
{
    const size_t *const found = organ_name_table_find(&s->names, name);
    return found ? &s->entries[*found] : NULL;
}

static organ_status add_named(organ_input_sums *s, const char *name, size_t matrices, size_t features, bool joint,
                              organ_error *error)
{
    const organ_input_entry *const old = entry_named(s, name);
    if (old)
        return old->features == features && old->matrices == matrices
                   ? ORGAN_OK
                   : organ_fail(error, ORGAN_BAD_INPUT,
                                "two tensors of the importance matrix's entry '%s' differ in size", name);
    organ_input_entry made = {.features = features, .matrices = matrices, .joint = joint};
    made.name = organ_arena_copy(&s->arena, name, strlen(name));
    made.sums = calloc(matrices * features, sizeof *made.sums);
    made.counts = calloc(matrices, sizeof *made.counts);
    if (!made.name || !made.sums || !made.counts ||
        !organ_grow(&s->entries, s->count, &s->capacity, sizeof *s->entries) ||
        !organ_name_table_put(&s->names, made.name, s->count)) {
        free(made.sums);
        free(made.counts);
        return organ_fail_errno(error, ENOMEM, "the sums of '%s'", name);
    }
    s->entries[s->count++] = made;
    return ORGAN_OK;
}

/* A tensor has two entries if it is two matrices in llama.cpp. */
static organ_status add_entry(void *context, const organ_input_place *place, size_t features, organ_error *error)
{
    for (unsigned n = 0; n < place->count && !error->status; n++)
        add_named(context, place->names[n], place->matrices, features, /*joint=*/false, error);
    return error->status;
}

static organ_status add_layer(organ_input_sums *s, int32_t layer, organ_error *error)
{
    organ_input_place places[2];
    size_t features[2];
    const bool latent = organ_forward_latent_places(s->forward, layer, places, features);
    organ_forward_visit_inputs(s->forward, layer, s, add_entry, error);
    for (unsigned k = 0; latent && k < 2 && !error->status; k++)
        add_named(s, places[k].names[0], places[k].matrices, features[k], /*joint=*/true, error);
    return error->status;
}

organ_status organ_input_sums_open(const organ_forward *forward, const organ_engine *engine, organ_input_sums **sums,
                                   organ_error *error)
{
    *sums = NULL;
    if (!organ_forward_has_input_names(forward))
        return organ_fail(error, ORGAN_USAGE,
                          "an importance matrix cannot be made: llama.cpp's names of the matrices of architecture %s "
                          "are not known",
                          organ_forward_describe(forward)->architecture);
    organ_input_sums *const s = *sums = calloc(1, sizeof *s);
    if (!s)
        return organ_fail_errno(error, ENOMEM, "the sums of an importance matrix");
    s->forward = forward;
    s->engine = engine;
    const unsigned layers = organ_forward_describe(forward)->layers + organ_forward_drafts(forward);
    for (unsigned l = 0; l < layers && !error->status; l++)
        add_layer(s, (int32_t)l, error);
    return error->status;
}

organ_status organ_input_sums_add_head(organ_input_sums *sums, organ_error *error)
{
    organ_input_place place;
    const size_t features = organ_forward_head_place(sums->forward, &place);
    sums->head = true;
    return add_entry(sums, &place, features, error);
}

void organ_input_sums_close(organ_input_sums *sums)
{
    for (size_t k = 0; sums && k < sums->count; k++) {
        free(sums->entries[k].sums);
        free(sums->entries[k].counts);
    }
    if (sums) {
        free(sums->entries);
        organ_name_table_release(&sums->names);
        organ_arena_release(&sums->arena);
    }
    free(sums);
}

/* ---- exact sums ---- */

/* Adds mantissa x 2^shift units; bits below the unit are cut off. */
static inline void add_units(organ_exact_sum *sum, uint64_t mantissa, int shift)
{
    const unsigned up = shift > 0 ? (unsigned)shift : 0, word = up / 64, bit = up % 64;
    if (shift < 0)
        mantissa = shift > -64 ? mantissa >> -shift : 0;
    unsigned carry = __builtin_add_overflow(sum->words[word], mantissa << bit, &sum->words[word]);
    const uint64_t high = bit ? mantissa >> (64 - bit) : 0;
    for (unsigned k = word + 1; k < ORGAN_EXACT_WORDS && (carry || k == word + 1); k++) {
        const uint64_t more = (k == word + 1 ? high : 0) + carry; /* does not overflow: `high` has at most 52 bits */
        carry = __builtin_add_overflow(sum->words[k], more, &sum->words[k]);
    }
}

static inline void add_number(organ_exact_sum *sum, double number)
{
    uint64_t bits;
    memcpy(&bits, &number, sizeof bits);
    const int exponent = (int)(bits >> 52); /* the sign is 0; subnormal numbers are far below the unit */
    const uint64_t mantissa = (bits & (((uint64_t)1 << 52) - 1)) | (uint64_t)1 << 52;
    if (exponent) /* the number is mantissa x 2^(exponent - 1023 - 52) */
        add_units(sum, mantissa, exponent - 1023 - 52 - UNIT_EXPONENT);
}

static double number_of(const organ_exact_sum *sum)
{
    double number = 0;
    for (unsigned k = ORGAN_EXACT_WORDS; k-- > 0;)
        number = number * 0x1p64 + (double)sum->words[k];
    return ldexp(number, UNIT_EXPONENT);
}

/* ---- adding tokens ---- */

typedef struct input_batch {
    organ_exact_sum *sums;
    const float *inputs;
    size_t tokens, features, stride; /* rows begin `stride` numbers apart */
    const size_t *columns;           /* columns of the inputs in llama.cpp's tensor; NULL: the same */
    const organ_kernels *kernels;
    size_t *faulty; /* begin of columns and rows with an input that is too large or not finite; SIZE_MAX: none */
} input_batch;

/* Adds value x 2^shift units; shift + the bits of `value` are at most those of a sum. */
static void add_wide(organ_exact_sum *sum, unsigned __int128 value, int shift)
{
    static const int bits = 32;
    for (; value; value >>= bits, shift += bits)
        add_units(sum, (uint64_t)(value & UINT32_MAX), shift);
}

/* Adds the four parts of organ_kernels.square_sums, whose units are 2^129, 2^86, 2^43 and 1 of those of the sum. The
 * parts may be negative, but their sum is not. */
static void add_parts(organ_exact_sum *sum, const double parts[4])
{
    int64_t units[4];
    for (int p = 0; p < 4; p++)
        units[p] = (int64_t)ldexp(parts[p], 43 * p - 17);
    const __int128 step = (__int128)1 << 43;
    __int128 low = units[2] * step + units[3], high = units[0] * step + units[1];
    const __int128 carry = low >> 86; /* rounds down: the remainder of `low` is not negative */
    high += carry;
    low -= carry * step * step;
    add_wide(sum, (unsigned __int128)low, 0);
    add_wide(sum, (unsigned __int128)high, 86);
}

/* Inputs are divided among tasks, so that no two tasks change a sum. */
static void add_columns(void *context, size_t index, size_t worker)
{
    (void)worker;
    const input_batch *const a = context;
    const size_t from = index * COLUMNS, n = organ_min(COLUMNS, a->features - from);
    for (size_t t = 0, rows; t < a->tokens; t += rows) {
        const float *const inputs = a->inputs + t * a->stride + from;
        double sums[4 * COLUMNS] = {0};
        rows = organ_min(a->tokens - t, ORGAN_SQUARE_ROWS);
        if (!a->kernels->square_sums(inputs, a->stride, rows, n, sums)) {
            a->faulty[index] = t * a->stride + from;
            return;
        }
        for (size_t x = 0; x < n; x++)
            add_parts(&a->sums[a->columns ? a->columns[from + x] : from + x],
                      (const double[4]){sums[x], sums[n + x], sums[2 * n + x], sums[3 * n + x]});
    }
}

/* Returns the index of the first input from `begin` on, row by row in the columns of its task, that is too large. */
static size_t find_faulty(const input_batch *a, size_t begin)
{
    const size_t from = begin % a->stride, n = organ_min(COLUMNS, a->features - from);
    size_t at = begin;
    while (fabsf(a->inputs[at]) <= LARGEST_INPUT)
        at += at % a->stride + 1 < from + n ? 1 : a->stride - n + 1;
    return at;
}

static organ_status add_tokens(const organ_input_sums *s, const organ_input_entry *entry, size_t matrix,
                               const char *tensor, input_batch a, organ_error *error)
{
    const size_t tasks = (entry->features + COLUMNS - 1) / COLUMNS;
    ORGAN_OWNED size_t *const faulty = malloc(tasks * sizeof *faulty);
    if (!faulty)
        return organ_fail_memory(error, tensor);
    for (size_t k = 0; k < tasks; k++)
        faulty[k] = SIZE_MAX;
    a.sums = entry->sums + matrix * entry->features;
    a.features = entry->features;
    a.faulty = faulty;
    a.kernels = s->engine->kernels;
    organ_share_work(s->engine, NULL, tasks, ORGAN_SHARE_NUMBER * (double)(a.tokens * a.features), add_columns, &a);
    for (size_t k = 0; k < tasks && !error->status; k++)
        if (faulty[k] != SIZE_MAX) {
            const size_t at = find_faulty(&a, faulty[k]);
            organ_fail(error, ORGAN_BAD_INPUT,
                       "tensor '%s': its input %zu is %g for one token, but importances need finite inputs up to %g",
                       tensor, at % a.stride, (double)a.inputs[at], (double)LARGEST_INPUT);
        }
    entry->counts[matrix] += a.tokens;
    return error->status;
}

/* Tensors that the importance matrix does not have are ignored. */
static organ_status add_inputs(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                               const float *inputs, organ_error *error)
{
    (void)first;
    organ_input_sums *const s = context;
    organ_input_place place;
    if (!organ_forward_input_place(s->forward, s->layer, tensor, &place))
        return ORGAN_OK;
    ORGAN_OWNED size_t *const columns = malloc(features * sizeof *columns);
    if (!columns)
        return organ_fail_memory(error, tensor);
    const bool ordered = organ_forward_input_order(s->forward, s->layer, tensor, columns);
    for (unsigned n = 0; n < place.count && !error->status; n++) {
        const organ_input_entry *const entry = entry_named(s, place.names[n]);
        if (entry && entry->features == features)
            add_tokens(s, entry, place.matrix, tensor,
                       (input_batch){
                           .inputs = inputs, .tokens = tokens, .stride = features, .columns = ordered ? columns : NULL},
                       error);
    }
    return error->status;
}

organ_tap organ_input_sums_tap(organ_input_sums *sums, unsigned layer)
{
    sums->layer = (int32_t)layer;
    return (organ_tap){sums, add_inputs};
}

static organ_status add_head_inputs(void *context, const char *tensor, size_t first, size_t tokens, size_t features,
                                    const float *inputs, organ_error *error)
{
    (void)first;
    organ_input_sums *const s = context;
    organ_input_place place;
    organ_forward_head_place(s->forward, &place);
    return add_tokens(s, entry_named(s, place.names[0]), 0, tensor,
                      (input_batch){.inputs = inputs, .tokens = tokens, .stride = features}, error);
}

organ_tap organ_input_sums_head_tap(organ_input_sums *sums) { return (organ_tap){sums, add_head_inputs}; }

static organ_status add_head_of_layer(void *context, bool of_values, unsigned head, size_t tokens, size_t features,
                                      const float *inputs, size_t stride, organ_error *error)
{
    organ_input_sums *const s = context;
    organ_input_place places[2];
    size_t widths[2];
    if (!organ_forward_latent_places(s->forward, s->layer, places, widths))
        return ORGAN_OK;
    const organ_input_entry *const entry = entry_named(s, places[of_values].names[0]);
    return entry && entry->features == features
               ? add_tokens(s, entry, head, entry->name,
                            (input_batch){.inputs = inputs, .tokens = tokens, .stride = stride}, error)
               : ORGAN_OK;
}

const organ_head_tap *organ_input_sums_heads_tap(organ_input_sums *sums)
{
    sums->heads = (organ_head_tap){sums, add_head_of_layer};
    return &sums->heads;
}

/* ---- joining sums ---- */

void organ_input_entry_add(organ_input_entry *entry, size_t first, const organ_exact_sum *sums, size_t count)
{
    for (size_t k = 0; k < count; k++) {
        uint64_t *const to = entry->sums[first + k].words, carry = 0;
        for (unsigned w = 0; w < ORGAN_EXACT_WORDS; w++) {
            const uint64_t more = sums[k].words[w] + carry;
            carry = more < carry;
            carry += __builtin_add_overflow(to[w], more, &to[w]);
        }
    }
}

/* Each half of a word becomes a number of its own, so that the sums of up to 2^32 ranks do not overflow. */
static void split_words(const organ_exact_sum *sums, size_t count, uint64_t *halves)
{
    for (size_t k = 0; k < count * ORGAN_EXACT_WORDS; k++) {
        const uint64_t word = sums[k / ORGAN_EXACT_WORDS].words[k % ORGAN_EXACT_WORDS];
        halves[2 * k] = word & UINT32_MAX;
        halves[2 * k + 1] = word >> 32;
    }
}

/* The reverse of split_words, for sums of halves, which may exceed 32 bits. */
static void join_words(const uint64_t *halves, size_t count, organ_exact_sum *sums)
{
    for (size_t k = 0; k < count; k++) {
        uint64_t carry = 0;
        for (unsigned h = 0; h < 2 * ORGAN_EXACT_WORDS; h++) {
            const uint64_t sum = halves[2 * ORGAN_EXACT_WORDS * k + h] + carry;
            uint64_t *const word = &sums[k].words[h / 2];
            *word = h % 2 ? *word | sum << 32 : sum & UINT32_MAX;
            carry = sum >> 32;
        }
    }
}

/* A rank with an error takes part in organ_ranks_agree, so that all ranks return it. */
organ_status organ_input_sums_reduce(organ_input_sums *s, organ_ranks *ranks, organ_error *error)
{
    if (!ranks)
        return error->status;
    ORGAN_OWNED uint64_t *const halves = malloc(REDUCED * 2 * ORGAN_EXACT_WORDS * sizeof *halves);
    if (!halves)
        organ_fail_memory(error, "the sums of the ranks");
    organ_ranks_agree(ranks, "adding the sums of the ranks", error);
    for (size_t k = 0; k < s->count && !error->status; k++) {
        organ_input_entry *const e = &s->entries[k];
        const size_t numbers = e->matrices * e->features;
        organ_ranks_add(ranks, "adding counts", e->counts, e->matrices, error);
        for (size_t at = 0; at < numbers && !error->status; at += REDUCED) {
            const size_t n = organ_min(numbers - at, REDUCED);
            split_words(e->sums + at, n, halves);
            if (organ_ranks_add(ranks, "adding sums", halves, n * 2 * ORGAN_EXACT_WORDS, error) == ORGAN_OK)
                join_words(halves, n, e->sums + at);
        }
    }
    return error->status;
}

/* ---- completing and writing ---- */

static bool has_tokens(const organ_input_entry *e)
{
    for (size_t m = 0; m < e->matrices; m++)
        if (e->counts[m])
            return true;
    return false;
}

static void remove_unused(organ_input_sums *s)
{
    size_t kept = 0;
    for (size_t k = 0; k < s->count; k++)
        if (has_tokens(&s->entries[k]))
            s->entries[kept++] = s->entries[k];
        else {
            free(s->entries[k].sums);
            free(s->entries[k].counts);
        }
    s->count = kept;
    organ_name_table_release(&s->names);
}

/* The means are those over all tokens of the stack; matrix m gets them. */
static void fill_matrix(organ_input_entry *e, const double *means, size_t m)
{
    for (size_t x = 0; x < e->features; x++)
        add_number(&e->sums[m * e->features + x], means[x]);
    e->counts[m] = 1;
}

/* Appends the numbers of the filled matrices to `experts`. */
static organ_status fill_entry(organ_input_entry *e, json_t *experts, organ_error *error)
{
    ORGAN_OWNED double *const means = calloc(e->features, sizeof *means);
    double tokens = 0;
    if (!means)
        return organ_fail_memory(error, e->name);
    for (size_t m = 0; m < e->matrices; m++) {
        tokens += (double)e->counts[m];
        for (size_t x = 0; x < e->features; x++)
            means[x] += number_of(&e->sums[m * e->features + x]);
    }
    for (size_t x = 0; x < e->features; x++)
        means[x] /= tokens;
    for (size_t m = 0; m < e->matrices; m++)
        if (e->counts[m] == 0) {
            fill_matrix(e, means, m);
            json_array_append_new(experts, json_integer((json_int_t)m));
        }
    return error->status;
}

/* The matrices of a layer's experts have the same tokens, so each layer is listed once. */
static void list_filled(json_t *filled, const char *name, const json_t *experts)
{
    char text[200];
    json_t *const layers = json_object_get(filled, "layers");
    const json_int_t layer = organ_anatomy_of(name).layer,
                     before = json_integer_value(json_object_get(filled, "experts"));
    const json_t *const last = json_array_get(layers, json_array_size(layers) - 1);
    if (json_array_size(experts) == 0 || (last && (json_int_t)organ_json_count(last, "layer") == layer))
        return;
    size_t used = (size_t)snprintf(text, sizeof text, "layer %d:", (int)layer);
    for (size_t k = 0; k < json_array_size(experts) && used < sizeof text; k++)
        if (used + 24 < sizeof text) /* room for ", ", a number and ", ..." */
            used += (size_t)snprintf(text + used, sizeof text - used, "%s %d", k ? "," : "",
                                     (int)json_integer_value(json_array_get(experts, k)));
        else
            used += (size_t)snprintf(text + used, sizeof text - used, ", ...") + sizeof text; /* nothing more fits */
    json_array_append_new(layers, ORGAN_OBJECT(SET_COUNT("layer", layer), SET("experts", json_deep_copy(experts))));
    json_array_append_new(json_object_get(filled, "names"), json_string(text));
    json_object_set_new(filled, "experts", json_integer(before + (json_int_t)json_array_size(experts)));
}

organ_status organ_input_sums_complete(organ_input_sums *s, json_t **filled, organ_error *error)
{
    json_t *const list = ORGAN_OBJECT(SET_COUNT("experts", 0), SET("layers", json_array()), SET("names", json_array()));
    *filled = NULL;
    if (!list)
        return organ_fail_memory(error, "the experts without tokens");
    remove_unused(s);
    for (size_t k = 0; k < s->count && !error->status; k++) {
        ORGAN_OWNED_JSON json_t *const experts = json_array();
        if (fill_entry(&s->entries[k], experts, error) == ORGAN_OK)
            list_filled(list, s->entries[k].name, experts);
    }
    if (!error->status && organ_json_count(list, "experts") > 0)
        *filled = list;
    else
        json_decref(list);
    return error->status;
}

static double sum_at(const void *source, uint64_t k)
{
    return number_of(&((const organ_input_entry *)source)->sums[k]);
}

static double tokens_at(const void *source, uint64_t k)
{
    return (double)((const organ_input_entry *)source)->counts[k];
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const organ_imatrix_sums *)a)->name, ((const organ_imatrix_sums *)b)->name);
}

organ_status organ_input_sums_write(const organ_input_sums *s, const char *path, organ_imatrix_format format,
                                    const organ_imatrix_text *text, organ_error *error)
{
    ORGAN_OWNED organ_imatrix_sums *const all = calloc(s->count + 1, sizeof *all);
    if (!all)
        return organ_fail_memory(error, path);
    for (size_t k = 0; k < s->count; k++) {
        const organ_input_entry *const e = &s->entries[k];
        all[k] =
            (organ_imatrix_sums){e->name, e->features, e->matrices, e->joint ? 1 : e->matrices, sum_at, tokens_at, e};
    }
    qsort(all, s->count, sizeof *all, by_name);
    return organ_imatrix_write(path, format, text, all, s->count, error);
}
