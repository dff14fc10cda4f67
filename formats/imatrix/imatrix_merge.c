/* SPDX-License-Identifier: MIT
 * Adds importance matrices, as llama-imatrix with several --in-file does: in FP32, in the order of the files. Sums are
 * read in blocks while the merged file is written. */
#include "formats/base/owned.h"
#include "formats/imatrix/imatrix_parts.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK ((size_t)1024)      /* sums read together */
#define MOST  0x1p53              /* greatest count */
#define LIMIT ((uint64_t)1 << 31) /* chunks and tokens of a chunk are below this number */

typedef struct merge_entry {
    organ_imatrix_merged *merged;
    const organ_imatrix_entry **of; /* the entry in each file */
    double *counts;
} merge_entry;

struct organ_imatrix_merge_state {
    const organ_imatrix *const *files;
    size_t file_count;
    merge_entry *entries;
    const char **datasets;
    organ_error fault;        /* of reading sums, which organ_imatrix_write cannot return */
    const merge_entry *block; /* `values` has sums of this entry, from number `first` on; NULL: none */
    uint64_t first;
    float values[BLOCK], read[BLOCK];
};

static const organ_imatrix_state *state_of_file(const organ_imatrix *file) { return (const organ_imatrix_state *)file; }

static const char *name_of_file(const organ_imatrix *file) { return state_of_file(file)->file.name; }

/* ---- the entries ---- */

static int by_entry_name(const void *a, const void *b)
{
    return strcmp((*(const organ_imatrix_entry *const *)a)->name, (*(const organ_imatrix_entry *const *)b)->name);
}

/* The caller frees the list, which ends with NULL. Returns NULL after an error. */
static const organ_imatrix_entry **sorted_entries(const organ_imatrix *file, organ_error *error)
{
    const organ_imatrix_entry **const list = malloc((file->entry_count + 1) * sizeof *list);
    if (!list) {
        organ_fail_memory(error, file->path);
        return NULL;
    }
    for (size_t k = 0; k < file->entry_count; k++)
        list[k] = &file->entries[k];
    qsort(list, file->entry_count, sizeof *list, by_entry_name);
    list[file->entry_count] = NULL;
    return list;
}

/* `a` and `b` are the entries of one rank among the sorted names of the first and of another file; NULL after the
 * last. */
static organ_status check_names(const organ_imatrix *first, const organ_imatrix_entry *a, const organ_imatrix *other,
                                const organ_imatrix_entry *b, organ_error *error)
{
    if (a && b && strcmp(a->name, b->name) == 0)
        return ORGAN_OK;
    const bool lacks = a && (!b || strcmp(a->name, b->name) < 0);
    return organ_fail(error, ORGAN_BAD_INPUT, "%s has no entry '%s', which %s has: both must be of one model",
                      name_of_file(lacks ? other : first), lacks ? a->name : b->name,
                      name_of_file(lacks ? first : other));
}

/* The older format has one count for all matrices, so it fits any number of counts. */
static organ_status check_sizes(const merge_entry *e, const organ_imatrix *const *files, size_t file,
                                organ_error *error)
{
    const organ_imatrix_entry *const entry = e->of[file];
    if (entry->values != e->of[0]->values)
        return organ_fail(error, ORGAN_BAD_INPUT, "entry '%s' has %" PRIu64 " values in %s, but %" PRIu64 " in %s",
                          entry->name, e->of[0]->values, name_of_file(files[0]), entry->values,
                          name_of_file(files[file]));
    for (size_t f = 0; f < file && !state_of_file(files[file])->old; f++)
        if (!state_of_file(files[f])->old && e->of[f]->counts != entry->counts)
            return organ_fail(error, ORGAN_BAD_INPUT, "entry '%s' has %" PRIu64 " counts in %s, but %" PRIu64 " in %s",
                              entry->name, e->of[f]->counts, name_of_file(files[f]), entry->counts,
                              name_of_file(files[file]));
    return ORGAN_OK;
}

static organ_status match_file(organ_imatrix_merged *m, size_t file, organ_error *error)
{
    struct organ_imatrix_merge_state *const s = m->state;
    const organ_imatrix_entry **const list = sorted_entries(s->files[file], error);
    const size_t count = list ? s->files[file]->entry_count : 0;
    for (size_t k = 0; list && (k < m->count || k < count) && !error->status; k++) {
        if (check_names(s->files[0], k < m->count ? s->entries[k].of[0] : NULL, s->files[file], list[k], error))
            break;
        s->entries[k].of[file] = list[k];
        check_sizes(&s->entries[k], s->files, file, error);
    }
    free(list);
    return error->status;
}

/* ---- counts ---- */

/* Adds the counts of a file: tokens, or in the older format chunks. */
static organ_status add_counts(const merge_entry *e, size_t file, uint64_t counts, uint64_t chunk_size,
                               organ_error *error)
{
    const organ_imatrix *const imatrix = e->merged->state->files[file];
    const organ_imatrix_state *const s = state_of_file(imatrix);
    const organ_imatrix_bytes *const place = &s->places[e->of[file] - s->entries];
    for (uint64_t k = 0; k < counts && !error->status; k++) {
        float stored = 0;
        double tokens = (double)place->counts * (double)chunk_size;
        if (!s->old) {
            organ_imatrix_read(imatrix, &stored, sizeof stored,
                               place->counts + (e->of[file]->counts > 1 ? k : 0) * sizeof stored, error);
            tokens = round((double)stored);
        }
        if (!error->status && !(tokens >= 0 && tokens <= MOST))
            organ_refuse(error, name_of_file(imatrix),
                         "entry '%s': count %" PRIu64 " is %g; it must be finite and not negative", e->of[file]->name,
                         k, tokens);
        e->counts[k] += tokens;
    }
    return error->status;
}

static organ_status count_entry(organ_imatrix_merged *m, size_t k, organ_error *error)
{
    struct organ_imatrix_merge_state *const s = m->state;
    merge_entry *const e = &s->entries[k];
    uint64_t counts = 1;
    for (size_t f = 0; f < s->file_count; f++)
        counts = e->of[f]->counts > counts ? e->of[f]->counts : counts;
    if (e->of[0]->values % counts)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "entry '%s' has %" PRIu64 " values, not a multiple of its %" PRIu64 " counts", e->of[0]->name,
                          e->of[0]->values, counts);
    if (!(e->counts = calloc((size_t)counts, sizeof *e->counts)))
        return organ_fail_memory(error, e->of[0]->name);
    for (size_t f = 0; f < s->file_count && !error->status; f++)
        add_counts(e, f, counts, m->text.chunk_size, error);
    m->sums[k].counts = m->sums[k].matrices = counts;
    m->sums[k].features = e->of[0]->values / counts;
    for (uint64_t c = 0; c < counts; c++) {
        const uint64_t chunks = (uint64_t)e->counts[c] / m->text.chunk_size;
        m->text.chunks = chunks > m->text.chunks ? chunks : m->text.chunks;
    }
    return error->status || m->text.chunks < LIMIT
               ? error->status
               : organ_fail(error, ORGAN_BAD_INPUT, "entry '%s' has more than 2147483647 chunks", e->of[0]->name);
}

/* ---- sums ---- */

static organ_status add_block(const merge_entry *e, size_t file, size_t count, organ_error *error)
{
    struct organ_imatrix_merge_state *const s = e->merged->state;
    const organ_imatrix_state *const from = state_of_file(s->files[file]);
    const uint64_t at = from->places[e->of[file] - from->entries].sums + s->first * sizeof *s->read;
    const float factor = from->old ? (float)e->merged->text.chunk_size : 1;
    if (organ_imatrix_read(s->files[file], s->read, count * sizeof *s->read, at, error) != ORGAN_OK)
        return error->status;
    for (size_t k = 0; k < count; k++) {
        if (!(s->read[k] >= 0) || !isfinite(s->read[k]))
            return organ_refuse(error, name_of_file(s->files[file]),
                                "entry '%s': the sum of squares %" PRIu64 " is %g; it must be finite and not negative",
                                e->of[file]->name, s->first + k, (double)s->read[k]);
        s->values[k] += s->read[k] * factor;
    }
    return ORGAN_OK;
}

static double merged_sum(const void *source, uint64_t k)
{
    const merge_entry *const e = source;
    struct organ_imatrix_merge_state *const s = e->merged->state;
    if (s->block != e || k < s->first || k >= s->first + BLOCK) {
        const uint64_t rest = e->of[0]->values - k;
        s->block = e;
        s->first = k;
        memset(s->values, 0, sizeof s->values);
        for (size_t f = 0; f < s->file_count && !s->fault.status; f++)
            add_block(e, f, rest < BLOCK ? (size_t)rest : BLOCK, &s->fault);
    }
    return (double)s->values[k - s->first];
}

static double merged_tokens(const void *source, uint64_t k) { return ((const merge_entry *)source)->counts[k]; }

/* ---- the merged matrix ---- */

/* Returns the tokens of a chunk that the files state; 0: none does. *odd is the first file that states another number
 * than the files before it, else NULL. */
static uint64_t common_chunk_size(const organ_imatrix *const *files, size_t count, const organ_imatrix **odd)
{
    uint64_t size = 0;
    *odd = NULL;
    for (size_t f = 0; f < count && !*odd; f++)
        if (files[f]->chunk_size > 0) {
            if (size && size != (uint64_t)files[f]->chunk_size)
                *odd = files[f];
            else
                size = (uint64_t)files[f]->chunk_size;
        }
    return size;
}

static organ_status choose_chunk_size(organ_imatrix_merged *m, uint64_t chunk_size, organ_error *error)
{
    const struct organ_imatrix_merge_state *const s = m->state;
    const organ_imatrix *odd;
    const uint64_t common = common_chunk_size(s->files, s->file_count, &odd);
    if (!chunk_size && odd)
        return organ_fail(error, ORGAN_USAGE,
                          "%s has chunks of %" PRId64 " tokens, the files before it of %" PRIu64
                          ": `context` N gives the tokens of a chunk in the merged file",
                          name_of_file(odd), odd->chunk_size, common);
    m->text.chunk_size = chunk_size ? chunk_size : common;
    if (!m->text.chunk_size)
        m->text.chunk_size = ORGAN_IMATRIX_CHUNK;
    return m->text.chunk_size < LIMIT ? ORGAN_OK
                                      : organ_refuse(error, name_of_file(s->files[0]),
                                                     "chunks of %" PRIu64 " tokens are too large", m->text.chunk_size);
}

static organ_status list_datasets(organ_imatrix_merged *m, organ_error *error)
{
    struct organ_imatrix_merge_state *const s = m->state;
    size_t count = 0;
    for (size_t f = 0; f < s->file_count; f++)
        count += s->files[f]->dataset_count;
    if (!(s->datasets = calloc(count + 1, sizeof *s->datasets)))
        return organ_fail_memory(error, "the names of the texts");
    for (size_t f = 0; f < s->file_count; f++)
        for (size_t k = 0; k < s->files[f]->dataset_count; k++)
            s->datasets[m->text.count++] = s->files[f]->datasets[k];
    m->text.names = s->datasets;
    return ORGAN_OK;
}

static organ_status begin_entries(organ_imatrix_merged *m, organ_error *error)
{
    struct organ_imatrix_merge_state *const s = m->state;
    ORGAN_OWNED const organ_imatrix_entry **const list = sorted_entries(s->files[0], error);
    const size_t count = s->files[0]->entry_count;
    m->sums = calloc(count, sizeof *m->sums);
    s->entries = calloc(count, sizeof *s->entries);
    if (!error->status && (!m->sums || !s->entries))
        organ_fail_memory(error, s->files[0]->path);
    for (size_t k = 0; k < count && !error->status; k++) {
        s->entries[k] = (merge_entry){.merged = m, .of = calloc(s->file_count, sizeof *s->entries[k].of)};
        m->count = k + 1;
        if (!s->entries[k].of) {
            organ_fail_memory(error, s->files[0]->path);
            break;
        }
        s->entries[k].of[0] = list[k];
        m->sums[k] = (organ_imatrix_sums){
            .name = list[k]->name, .sum = merged_sum, .tokens = merged_tokens, .source = &s->entries[k]};
    }
    return error->status;
}

organ_status organ_imatrix_merge(const organ_imatrix *const *files, size_t count, uint64_t chunk_size,
                                 organ_imatrix_merged *merged, organ_error *error)
{
    *merged = (organ_imatrix_merged){.state = calloc(1, sizeof *merged->state)};
    if (!merged->state)
        return organ_fail_memory(error, files[0]->path);
    merged->state->files = files;
    merged->state->file_count = count;
    if (choose_chunk_size(merged, chunk_size, error) || begin_entries(merged, error) || list_datasets(merged, error))
        return error->status;
    for (size_t f = 1; f < count && !error->status; f++)
        match_file(merged, f, error);
    for (size_t k = 0; k < merged->count && !error->status; k++)
        count_entry(merged, k, error);
    return error->status;
}

organ_status organ_imatrix_merge_write(const organ_imatrix_merged *merged, const char *path,
                                       organ_imatrix_format format, organ_error *error)
{
    organ_imatrix_write(path, format, &merged->text, merged->sums, merged->count, error);
    if (!error->status && merged->state->fault.status)
        *error = merged->state->fault;
    return error->status;
}

void organ_imatrix_merge_release(organ_imatrix_merged *merged)
{
    struct organ_imatrix_merge_state *const s = merged->state;
    for (size_t k = 0; s && k < merged->count; k++) {
        ORGAN_FREE_ARRAYS(s->entries[k].of, s->entries[k].counts);
    }
    if (s) {
        ORGAN_FREE_ARRAYS(s->entries, s->datasets);
    }
    free(s);
    free(merged->sums);
    *merged = (organ_imatrix_merged){0};
}
