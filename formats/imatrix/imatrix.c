/* SPDX-License-Identifier: MIT */
#include "formats/base/path.h"
#include "formats/gguf/file.h"
#include "formats/imatrix/imatrix_parts.h"
#include "formats/remote/remote.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char sums_suffix[] = ".in_sum2", counts_suffix[] = ".counts";

/* ---- GGUF ---- */

static organ_status check_type(const organ_imatrix_state *s, const organ_gguf *gguf, organ_error *error)
{
    size_t length = 0;
    const char *const type = organ_gguf_string(gguf, "general.type", &length);
    if (organ_gguf_text_equals(gguf, "general.type", "imatrix"))
        return ORGAN_OK;
    if (!type)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: is not an importance matrix: key 'general.type' is missing",
                          s->file.name);
    return organ_fail(error, ORGAN_BAD_INPUT,
                      "%s: is not an importance matrix: 'general.type' is '%.*s', not 'imatrix'", s->file.name,
                      length < 80 ? (int)length : 80, type);
}

/* The 64-bit length of each string precedes the string. */
static organ_status read_datasets(organ_imatrix_state *s, const organ_gguf *gguf, organ_error *error)
{
    const organ_gguf_kv *const kv = organ_gguf_find(gguf, "imatrix.datasets");
    if (!kv)
        return ORGAN_OK;
    if (kv->type != ORGAN_GGUF_ARRAY || kv->element != ORGAN_GGUF_STRING)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: key 'imatrix.datasets' is of type %s, not an array of strings",
                          s->file.name, organ_gguf_type_name(kv->element));
    if (organ_imatrix_begin_datasets(s, kv->count, error) != ORGAN_OK)
        return error->status;
    const unsigned char *at = kv->bytes + ORGAN_GGUF_ARRAY_HEAD;
    for (uint64_t k = 0; k < kv->count && !error->status; k++) { /* the GGUF reader has checked the lengths */
        uint64_t length;
        memcpy(&length, at, sizeof length);
        organ_imatrix_add_dataset(s, (const char *)at + sizeof length, (size_t)length, error);
        at += sizeof length + length;
    }
    return error->status;
}

static char *name_without_suffix(organ_imatrix_state *s, const char *name, const char *suffix)
{
    return organ_ends_with(name, suffix) ? organ_arena_copy(&s->arena, name, strlen(name) - strlen(suffix)) : NULL;
}

static const organ_tensor *find_with_suffix(const organ_tensor_list *list, const char *name, const char *suffix)
{
    char full_name[2 * ORGAN_GGUF_NAME_LIMIT];
    strcpy(full_name, name); /* fits: names of GGUF tensors are shorter than half of this buffer */
    strcat(full_name, suffix);
    const size_t *const found = organ_name_table_find(&list->names, full_name);
    return found ? &list->tensors[*found] : NULL;
}

/* `sums` has a sum of squares for each input; `counts` has the number of tokens of each matrix of the stack, or one
 * number for all. */
static organ_status add_pair(organ_imatrix_state *s, const char *name, const organ_tensor *sums,
                             const organ_tensor *counts, organ_error *error)
{
    const organ_tensor *const both[2] = {sums, counts};
    for (int k = 0; k < 2; k++)
        if (both[k]->dtype != ORGAN_F32 || both[k]->elements == 0)
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: tensor '%s' has %" PRIu64 " elements of type %s, but must be F32 and not empty",
                              s->file.name, both[k]->name, both[k]->elements, organ_dtype_name(both[k]->dtype));
    if (sums->elements % counts->elements)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s' has %" PRIu64 " elements, not a multiple of the %" PRIu64 " of '%s'",
                          s->file.name, sums->name, sums->elements, counts->elements, counts->name);
    return organ_imatrix_add(s, name, sums->elements, counts->elements,
                             (organ_imatrix_bytes){sums->offset, counts->offset}, error);
}

/* Newer files also have the sums of the inputs themselves, which are ignored. */
static organ_status read_tensors(organ_imatrix_state *s, const organ_tensor_list *list, organ_error *error)
{
    for (size_t k = 0; k < list->count && !error->status; k++) {
        const organ_tensor *const t = &list->tensors[k];
        const char *const summed = name_without_suffix(s, t->name, sums_suffix), *const counted = name_without_suffix(
                                                                                     s, t->name, counts_suffix);
        const organ_tensor *other = NULL;
        if (summed)
            other = find_with_suffix(list, summed, counts_suffix);
        else if (counted)
            other = find_with_suffix(list, counted, sums_suffix);
        if ((summed || counted) && !other)
            organ_fail(error, ORGAN_BAD_INPUT, "%s: there is a tensor '%s', but no '%s%s'", s->file.name, t->name,
                       summed ? summed : counted, summed ? counts_suffix : sums_suffix);
        else if (summed)
            add_pair(s, summed, t, other, error);
    }
    return error->status;
}

static organ_status read_gguf(organ_imatrix_state *s, organ_error *error)
{
    organ_gguf_header header = {0};
    organ_tensor_list list = {0};
    if (organ_gguf_read(&s->file, 0, &header, &list, error) == ORGAN_OK &&
        check_type(s, &header.view, error) == ORGAN_OK && read_datasets(s, &header.view, error) == ORGAN_OK) {
        s->view.chunks = organ_gguf_integer(&header.view, "imatrix.chunk_count", -1);
        s->view.chunk_size = organ_gguf_integer(&header.view, "imatrix.chunk_size", -1);
        read_tensors(s, &list, error);
    }
    organ_gguf_header_release(&header);
    organ_tensor_list_release(&list);
    return error->status;
}

/* ---- opening ---- */

static organ_status imatrix_open_file(organ_imatrix_state *s, const char *path, organ_error *error)
{
    s->file = (organ_model_file){.path = organ_arena_copy(&s->arena, path, strlen(path)), .fd = -1};
    if (!s->file.path)
        return organ_fail_memory(error, path);
    s->file.name = *organ_path_name(path) ? organ_path_name(s->file.path) : s->file.path;
    if (organ_model_file_open_here(&s->file, error) != ORGAN_OK)
        return error->status;
    s->view =
        (organ_imatrix){.path = s->file.path, .format = "GGUF", .bytes = s->file.size, .chunks = -1, .chunk_size = -1};
    return ORGAN_OK;
}

static organ_status read_file(organ_imatrix_state *s, organ_error *error)
{
    uint32_t first = 0;
    if (s->file.size >= sizeof first && organ_model_file_read(&s->file, &first, sizeof first, 0, error) != ORGAN_OK)
        return error->status;
    s->old = organ_imatrix_is_old(s, first);
    if ((s->old ? organ_imatrix_read_old(s, error) : read_gguf(s, error)) != ORGAN_OK)
        return error->status;
    s->view.format = s->old ? "imatrix.dat" : "GGUF";
    return s->view.entry_count ? ORGAN_OK : organ_fail(error, ORGAN_BAD_INPUT, "%s: has no entries", s->file.name);
}

organ_status organ_imatrix_open(const char *path, organ_imatrix **imatrix, organ_error *error)
{
    *imatrix = NULL;
    organ_imatrix_state *const s = calloc(1, sizeof *s);
    if (!s)
        return organ_fail_memory(error, path);
    s->file.fd = -1;
    if (imatrix_open_file(s, path, error) == ORGAN_OK && read_file(s, error) == ORGAN_OK)
        *imatrix = &s->view;
    else
        organ_imatrix_close(&s->view);
    return error->status;
}

void organ_imatrix_close(organ_imatrix *imatrix)
{
    organ_imatrix_state *const s = (organ_imatrix_state *)imatrix;
    if (!s)
        return;
    if (s->file.fd >= 0)
        close(s->file.fd);
    organ_arena_release(&s->arena);
    organ_name_table_release(&s->names);
    free(s->entries);
    free(s->places);
    free(s->datasets);
    free(s);
}

/* ---- numbers ---- */

static const organ_imatrix_state *state_of(const organ_imatrix *imatrix)
{
    return (const organ_imatrix_state *)imatrix;
}

organ_status organ_imatrix_read(const organ_imatrix *imatrix, void *to, size_t bytes, uint64_t offset,
                                organ_error *error)
{
    return organ_model_file_read(&state_of(imatrix)->file, to, bytes, offset, error);
}

organ_status organ_imatrix_unchanged(const organ_imatrix *imatrix, organ_error *error)
{
    return organ_model_file_unchanged(&state_of(imatrix)->file, error);
}

/* A GGUF entry has one count for all matrices of a stack or one for each matrix; the count is read from the file. An
 * entry of the old format has one count, which is already in memory (organ_imatrix_bytes.counts). */
static organ_status read_stored(const organ_imatrix_state *s, const organ_imatrix_place *place, float *stored,
                                organ_error *error)
{
    const organ_imatrix_bytes *const bytes = &s->places[place->entry - s->entries];
    *stored = (float)bytes->counts;
    if (s->old)
        return ORGAN_OK;
    return organ_imatrix_read(&s->view, stored, sizeof *stored,
                              bytes->counts + (place->entry->counts > 1 ? place->matrix : 0) * sizeof *stored, error);
}

/* The divisor is the number of tokens that reached the matrix or, in the old format, the number of chunks. */
static organ_status read_count(const organ_imatrix_state *s, const organ_imatrix_place *place, double *count,
                               organ_error *error)
{
    float stored;
    if (read_stored(s, place, &stored, error) != ORGAN_OK)
        return error->status;
    *count = (double)stored;
    if (!(stored >= 1) || !isfinite(stored))
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: entry '%s': the count of matrix %" PRIu64 " is %g: %s",
                          s->file.name, place->entry->name, place->matrix, (double)stored,
                          stored == 0 ? "no token reached it, so it has no statistics"
                                      : "it must be finite and at least 1");
    return ORGAN_OK;
}

static organ_status check_fit(const organ_imatrix_state *s, const organ_imatrix_place *place, const char *tensor,
                              uint64_t features, organ_error *error)
{
    const organ_imatrix_entry *const e = place->entry;
    uint64_t requested;
    if (e->counts != 1 && e->counts != place->matrices)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: entry '%s' has counts for %" PRIu64 " matrices, but tensor '%s' has %" PRIu64,
                          s->file.name, e->name, e->counts, tensor, place->matrices);
    if (__builtin_mul_overflow(features, place->matrices, &requested) || e->values != requested ||
        place->matrix >= place->matrices)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: entry '%s' has %" PRIu64 " values, but tensor '%s' has %" PRIu64 " x %" PRIu64 " inputs",
                          s->file.name, e->name, e->values, tensor, place->matrices, features);
    return ORGAN_OK;
}

/* In old files, an expert without tokens has the same sum for all inputs. */
static organ_status columns_differ(const organ_imatrix_state *s, const organ_imatrix_place *place, uint64_t features,
                                   bool *differ, organ_error *error)
{
    const uint64_t bytes = features * sizeof(float);
    float *const sums = malloc((size_t)bytes);
    if (!sums)
        return organ_fail_memory(error, place->entry->name);
    organ_imatrix_read(&s->view, sums, bytes, s->places[place->entry - s->entries].sums + place->matrix * bytes, error);
    *differ = false;
    for (uint64_t j = 1; j < features && !error->status; j++)
        *differ |= sums[j] != sums[0];
    free(sums);
    return error->status;
}

/* The old format has no counts for experts: there, a matrix of a stack is taken as reached if the sums of its inputs
 * differ. All other matrices are always taken as reached. */
organ_status organ_imatrix_reached(const organ_imatrix *imatrix, const organ_imatrix_place *place, const char *tensor,
                                   uint64_t features, bool *reached, organ_error *error)
{
    const organ_imatrix_state *const s = state_of(imatrix);
    float stored = 1;
    *reached = true;
    if (check_fit(s, place, tensor, features, error) != ORGAN_OK)
        return error->status;
    if (s->old)
        return place->matrices > 1 && features > 1 ? columns_differ(s, place, features, reached, error) : ORGAN_OK;
    if (place->entry->counts > 1)
        read_stored(s, place, &stored, error);
    *reached = stored != 0;
    return error->status;
}

/* In an old file, equal sums of an expert are also an error, because llama.cpp writes them for experts without
 * tokens. */
organ_status organ_imatrix_norms(const organ_imatrix *imatrix, const organ_imatrix_place *place, const char *tensor,
                                 uint64_t features, float *norms, double *count, organ_error *error)
{
    const organ_imatrix_state *const s = state_of(imatrix);
    const uint64_t bytes = features * sizeof *norms;
    if (check_fit(s, place, tensor, features, error) != ORGAN_OK || read_count(s, place, count, error) != ORGAN_OK ||
        organ_imatrix_read(imatrix, norms, bytes, s->places[place->entry - s->entries].sums + place->matrix * bytes,
                           error) != ORGAN_OK)
        return error->status;
    bool all_zero = true, all_same = true;
    for (uint64_t j = 0; j < features; j++) {
        if (!(norms[j] >= 0) || !isfinite(norms[j]))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: entry '%s': the sum of squares %" PRIu64
                              " is %g; it must be finite and not negative",
                              s->file.name, place->entry->name, place->matrix * features + j, (double)norms[j]);
        all_zero &= norms[j] == 0;
        all_same &= norms[j] == norms[0];
    }
    if (all_zero || (s->old && place->matrices > 1 && features > 1 && all_same))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: entry '%s': all %" PRIu64 " sums of matrix %" PRIu64
                          " are %g: they cannot rank the inputs",
                          s->file.name, place->entry->name, features, place->matrix, (double)norms[0]);
    for (uint64_t j = 0; j < features; j++)
        norms[j] = (float)sqrt((double)norms[j] / *count);
    return ORGAN_OK;
}
