/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/lora/adapter_write_parts.h"

#include "formats/base/file_calls.h"
#include "formats/base/json_dump.h"
#include <organ/base.h>
#include "formats/base/order.h"
#include "formats/base/text_buffer.h"
#include "orchestrator/report/text/members.h"
#include "orchestrator/stream/copy_tree.h"
#include "orchestrator/stream/widen.h"
#include "orchestrator/surgery/output/output.h"

#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ENTRY_BYTES 160               /* upper bound of a tensor's bytes in the header, in addition to its name */
#define CHUNK       ((size_t)1 << 16) /* elements that are converted or copied at once */

char *organ_adapter_pattern(const char *name)
{
    char *const out = malloc(2 * strlen(name) + 1), *to = out;
    if (!out)
        organ_memory_count_refusal();
    for (; to && *name; *to++ = *name++)
        if (strchr(".^$*+?{}[]()|\\", *name))
            *to++ = '\\';
    if (to)
        *to = '\0';
    return out;
}

json_t *organ_adapter_config_make(const char *base, int64_t r, json_t *targets)
{
    return ORGAN_OBJECT(SET_NULL("auto_mapping"),
                        SET("base_model_name_or_path", base ? json_string(base) : json_null()),
                        SET_TEXT("bias", "none"), SET_FLAG("fan_in_fan_out", 0), SET_FLAG("inference_mode", 1),
                        SET_FLAG("init_lora_weights", 1), SET_NULL("layers_pattern"), SET_NULL("layers_to_transform"),
                        SET_COUNT("lora_alpha", r), SET_REAL("lora_dropout", 0.0), SET_NULL("modules_to_save"),
                        SET_TEXT("peft_type", "LORA"), SET_COUNT("r", r), SET("rank_pattern", json_object()),
                        SET_NULL("revision"), SET("target_modules", targets), SET("alpha_pattern", json_object()),
                        SET_TEXT("task_type", "CAUSAL_LM"), SET_FLAG("use_dora", 0), SET_FLAG("use_rslora", 0));
}

/* Sorts the last words of all names, then skips equal neighbours. */
json_t *organ_adapter_targets(const char *const *modules, size_t count)
{
    const char **words = malloc((count + 1) * sizeof *words);
    json_t *list = words ? json_array() : NULL;
    if (!words)
        organ_memory_count_refusal();
    if (list) {
        for (size_t k = 0; k < count; k++) {
            const char *const dot = strrchr(modules[k], '.');
            words[k] = dot ? dot + 1 : modules[k];
        }
        qsort(words, count, sizeof *words, organ_order_texts);
    }
    for (size_t k = 0; list && k < count; k++)
        if ((k == 0 || strcmp(words[k], words[k - 1]) != 0) && json_array_append_new(list, json_string(words[k]))) {
            json_decref(list);
            list = NULL;
        }
    free(words);
    return list;
}

organ_status organ_output_check_not_adapter(const char *path, const organ_adapter *adapter, organ_error *error)
{
    /* organ_output_check_not_input then compares `path` with the adapter's whole directory */
    organ_model whole = *adapter->model;
    whole.path = whole.directory = adapter->path;
    whole.whole_directory = true;
    return organ_output_check_not_input(path, &whole, error);
}

/* ---- appending tensors ---- */

/* Creates or reopens the file to which this rank appends tensors, in the unfinished output, and allocates the writer's
 * buffer and lists of tensors. */
static organ_status adapter_write_open_file(organ_adapter_writer *w, organ_error *error)
{
    organ_ranks *const ranks = w->output.ranks;
    char name[64];
    organ_adapter_file_name(w, name);
    w->turn_tensors = w->output.journal ? json_array() : NULL;
    w->rank_tensors = ranks ? json_array() : NULL;
    w->path = organ_publish_path(&w->output.publish, name);
    w->buffer = malloc(CHUNK * sizeof(float));
    if (!w->path || !w->buffer || (ranks && !w->rank_tensors) || (w->output.journal && !w->turn_tensors))
        return organ_fail_memory(error, w->output.path);
    return organ_direct_open(w->path, 0666, &w->file, error);
}

/* Begins the output on all ranks, then the journal, the header and the file. The ranks then agree, so that all fail if
 * one did. */
organ_status organ_adapter_writer_begin(const char *path, const char *like, bool force, unsigned closed,
                                        organ_ranks *ranks, size_t tensors, size_t name_bytes, uint64_t bytes,
                                        const organ_adapter_resumable *resumable, organ_adapter_writer **writer,
                                        organ_error *error)
{
    organ_adapter_writer *const w = *writer = calloc(1, sizeof *w);
    if (!w) {
        json_decref(resumable ? resumable->head : NULL);
        return organ_fail_memory(error, path);
    }
    *w =
        (organ_adapter_writer){.output = {.path = path, .like = like, .force = force, .closed = closed, .ranks = ranks},
                               .file = {.fd = -1, .direct = -1},
                               .last_width = 8};
    if (resumable) {
        w->output.journal = &w->journal;
        w->output.resume = resumable->resume;
        w->output.all = resumable->units;
    }
    /* 64 bytes for the metadata and the braces; a multiple of 8, so that the data after the header are aligned */
    w->header_room = (tensors * ENTRY_BYTES + name_bytes + 64 + 7) & ~(uint64_t)7;
    bool begun; /* there is an output that organ_adapter_writer_end must end */
    /* with ranks the disk has each tensor twice while the files of ranks are merged */
    organ_output_begin_together(&w->output, (ranks ? 2 : 1) * bytes + w->header_room, &begun, error);
    if (!begun) {
        json_decref(resumable ? resumable->head : NULL);
        organ_run_journal_close(&w->journal);
        free(w);
        *writer = NULL;
        return error->status;
    }
    if (resumable)
        organ_adapter_journal_begin(w, resumable->head, tensors, error);
    if (!error->status && organ_adapter_header_begin(w, tensors, name_bytes, error) == ORGAN_OK)
        adapter_write_open_file(w, error);
    if (organ_ranks_agree(ranks, "creating the adapter", error)) {
        organ_adapter_writer_end(w, error);
        *writer = NULL;
    }
    return error->status;
}

void organ_adapter_writer_gguf(organ_adapter_writer *w, const char *architecture) { w->architecture = architecture; }

/* Writes bytes after the tensor data written so far. The tensor data begin after the space kept for the header. */
static organ_status write_data(organ_adapter_writer *w, const void *data, size_t bytes, organ_error *error)
{
    if (organ_direct_write(&w->file, data, bytes, 8 + w->header_room + w->bytes, error) == ORGAN_OK)
        w->bytes += bytes;
    return error->status;
}

/* Adds a tensor of `bytes` bytes to the header, with organ_adapter_enter. The caller appends its data next. */
static organ_status enter_tensor(organ_adapter_writer *w, const char *name, organ_dtype dtype, unsigned rank,
                                 const uint64_t *shape, uint64_t bytes, organ_error *error)
{
    const organ_dtype_info *const type = organ_dtype_describe(dtype);
    json_t *const sizes = json_array();
    for (unsigned k = 0; k < rank; k++)
        json_array_append_new(sizes, json_integer((json_int_t)shape[k]));
    json_t *const entry = ORGAN_OBJECT(SET_TEXT("dtype", type->name), SET("shape", sizes));
    if (!entry)
        organ_fail_memory(error, w->output.path);
    else
        organ_adapter_enter(w, name, type->bytes, entry, bytes, error);
    json_decref(entry);
    return error->status;
}

/* Fails because value `at` of a tensor is not finite or exceeds the range of `dtype`. */
static organ_status fail_value(const organ_adapter_writer *w, const char *name, uint64_t at, double value,
                               organ_dtype dtype, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s': value %" PRIu64 " is %g, which %s%s", w->output.path,
                      name, at, value, isfinite(value) ? "exceeds the range of " : "is not finite",
                      isfinite(value) ? organ_dtype_describe(dtype)->name : "");
}

/* Adds the tensor to the header, then checks, rounds and writes its values in chunks. */
organ_status organ_adapter_writer_add(organ_adapter_writer *w, const organ_kernels *kernels, const char *name,
                                      organ_dtype dtype, unsigned rank, const uint64_t *shape, const float *values,
                                      organ_error *error)
{
    /* Values of greater magnitude round to infinity: 65520 and above in F16, (2 - 2^-8) x 2^127 and above in BF16. */
    double limit = dtype == ORGAN_F16 ? 65519.99609375 : (double)INFINITY;
    if (dtype == ORGAN_BF16)
        limit = 0x1.feffffp127;
    uint64_t count = 1, bytes;
    for (unsigned k = 0; k < rank; k++)
        count *= shape[k];
    if (!organ_dtype_bytes(dtype, count, &bytes) || enter_tensor(w, name, dtype, rank, shape, bytes, error) != ORGAN_OK)
        return error->status ? error->status
                             : organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' is too large", w->output.path, name);
    for (uint64_t at = 0; at < count && !error->status; at += CHUNK) {
        const size_t n = count - at < CHUNK ? (size_t)(count - at) : CHUNK;
        for (size_t k = 0; k < n; k++)
            if (!(fabs((double)values[at + k]) <= limit) || isinf(values[at + k]))
                return fail_value(w, name, at + k, (double)values[at + k], dtype, error);
        organ_narrow(kernels, dtype, values + at, w->buffer, n);
        write_data(w, w->buffer, n * organ_dtype_describe(dtype)->bytes, error);
    }
    return error->status;
}

/* Adds the tensor to the header, then copies its bytes in chunks. */
organ_status organ_adapter_writer_copy(organ_adapter_writer *w, const organ_model *model, const organ_tensor *tensor,
                                       const char *name, organ_error *error)
{
    const size_t max = CHUNK * sizeof(float);
    enter_tensor(w, name, tensor->dtype, tensor->rank, tensor->shape, tensor->bytes, error);
    for (uint64_t at = 0; at < tensor->bytes && !error->status; at += max) {
        const size_t n = tensor->bytes - at < max ? (size_t)(tensor->bytes - at) : max;
        if (organ_model_read(model, tensor->file, w->buffer, n, tensor->offset + at, error) == ORGAN_OK)
            write_data(w, w->buffer, n, error);
    }
    return error->status;
}

/* ---- several ranks ---- */

/* A tensor that a rank has appended. */
typedef struct rank_tensor {
    const json_t *row; /* its row in the list rank_tensors of the rank; the list owns it */
    size_t rank;       /* number of the rank */
    size_t index;      /* index of the row in that list */
} rank_tensor;

/* Returns element k of a list as an integer. */
static json_int_t adapter_write_number_at(const json_t *row, size_t k)
{
    return json_integer_value(json_array_get(row, k));
}

/* Orders rank_tensor by turn, and within a turn in the order in which the rank appended the tensors, so that the file
 * does not depend on the number of ranks. */
static int by_turn(const void *a, const void *b)
{
    const rank_tensor *const x = a, *const y = b;
    const json_int_t p = adapter_write_number_at(x->row, 0), q = adapter_write_number_at(y->row, 0);
    return p != q ? (p > q) - (p < q) : (x->index > y->index) - (x->index < y->index);
}

/* Adds a tensor to the header of the merged adapter, with its new offset. If this rank has appended the tensor, also
 * copies its bytes from `own`, the file of this rank. */
static organ_status merge_tensor(organ_adapter_writer *w, const rank_tensor *t, const organ_direct_file *own,
                                 organ_error *error)
{
    json_t *const entry = json_array_get(t->row, 3), *const place = json_object_get(entry, "data_offsets");
    const uint64_t from = (uint64_t)adapter_write_number_at(place, 0),
                   bytes = (uint64_t)adapter_write_number_at(place, 1) - from, data = 8 + w->header_room;
    const uint64_t to = w->bytes;
    if (organ_adapter_enter(w, json_string_value(json_array_get(t->row, 2)),
                            (unsigned)adapter_write_number_at(t->row, 1), entry, bytes, error))
        return error->status;
    w->bytes += bytes;
    if (t->rank != organ_ranks_rank(w->output.ranks) || bytes == 0)
        return ORGAN_OK;
    return organ_copy_range(own->fd, own->path, data + from, w->file.fd, w->path, data + to, bytes, error);
}

/* Sets *tensors to the *count tensors of all ranks, sorted by turn. lists[r] is the list rank_tensors of rank r. The
 * caller frees *tensors. */
static organ_status order_tensors(const organ_adapter_writer *w, json_t *const *lists, size_t ranks,
                                  rank_tensor **tensors, size_t *count, organ_error *error)
{
    size_t all = 0;
    for (size_t r = 0; r < ranks; r++)
        all += json_array_size(lists[r]);
    *count = 0;
    if (!(*tensors = malloc((all + 1) * sizeof **tensors)))
        return organ_fail_memory(error, w->output.path);
    for (size_t r = 0; r < ranks; r++)
        for (size_t k = 0; k < json_array_size(lists[r]); k++)
            (*tensors)[(*count)++] = (rank_tensor){json_array_get(lists[r], k), r, k};
    if (all)
        qsort(*tensors, all, sizeof **tensors, by_turn);
    return ORGAN_OK;
}

/* Makes the header of the merged file, copies this rank's tensors into that file, and removes this rank's own file.
 * Every rank adds all tensors to its header, so that it computes the same offsets; only rank 0 writes it later. */
static organ_status merge_tensors(organ_adapter_writer *w, const rank_tensor *tensors, size_t count, organ_error *error)
{
    organ_direct_file own = w->file;
    char *const own_path = w->path;
    json_decref(w->rank_tensors);
    json_decref(w->turn_tensors);
    w->rank_tensors = w->turn_tensors = NULL;
    organ_adapter_header_clear(w);
    w->bytes = 0;
    w->last_width = 8;
    w->file = (organ_direct_file){.fd = -1, .direct = -1};
    if (!(w->path = organ_publish_path(&w->output.publish, ORGAN_ADAPTER_WEIGHTS)))
        organ_fail_memory(error, w->output.path);
    else
        organ_direct_open(w->path, 0666, &w->file, error);
    for (size_t k = 0; k < count && !error->status; k++)
        merge_tensor(w, &tensors[k], &own, error);
    if (!error->status)
        organ_direct_sync(&w->file, error);
    organ_direct_close(&own);
    organ_remove_file(own_path);
    free(own_path);
    if (!organ_ranks_first(w->output.ranks))
        organ_direct_close(&w->file);
    return error->status;
}

/* Sets lists[r] to the list rank_tensors of rank r, parsed from the gathered JSON text. The caller releases the lists,
 * also after an error. */
static organ_status read_lists(const organ_adapter_writer *w, const organ_gathered *all, json_t **lists,
                               organ_error *error)
{
    for (size_t r = 0; r < all->count && !error->status; r++) {
        bool no_memory = false;
        json_error_t fault;
        lists[r] = organ_json_load(all->of[r], all->bytes[r], 0, &fault, &no_memory);
        if (!lists[r])
            organ_fail(error, ORGAN_IO, "%s: the list of tensors that rank %zu appended is malformed", w->output.path,
                       r);
    }
    return error->status;
}

/* Merges the files of all ranks into one file: gathers the ranks' lists of tensors, sorts the tensors by turn, and
 * copies their bytes. */
static organ_status adapter_write_merge_rank_outputs(organ_adapter_writer *w, organ_error *error)
{
    const size_t ranks = organ_ranks_count(w->output.ranks);
    char *const text = organ_json_dump(w->rank_tensors, JSON_COMPACT);
    json_t **const lists = calloc(ranks, sizeof *lists);
    organ_gathered all = {0};
    rank_tensor *tensors = NULL;
    size_t count;
    if (!text || !lists)
        organ_fail_memory(error, w->output.path);
    if (organ_ranks_gather(w->output.ranks, "listing appended tensors", text, text ? strlen(text) : 0, &all, error) ==
            ORGAN_OK &&
        read_lists(w, &all, lists, error) == ORGAN_OK &&
        order_tensors(w, lists, ranks, &tensors, &count, error) == ORGAN_OK)
        merge_tensors(w, tensors, count, error);
    for (size_t r = 0; r < ranks && lists; r++)
        json_decref(lists[r]);
    organ_gathered_release(&all);
    free(tensors);
    free(lists);
    free(text);
    return organ_ranks_agree(w->output.ranks, "placing all tensors", error);
}

/* ---- completing the adapter ---- */

/* Writes the header into the space kept for it and syncs the file. In a continued run, also cuts off bytes that the
 * interrupted run wrote after the last tensor. */
static organ_status write_adapter_header(organ_adapter_writer *w, organ_error *error)
{
    if (organ_adapter_header_write(w, error) == ORGAN_OK &&
        (!w->output.publish.resumed || organ_direct_resize(&w->file, 8 + w->header_room + w->bytes, error) == ORGAN_OK))
        organ_direct_sync(&w->file, error);
    return error->status;
}

/* All ranks merge their files; then rank 0 alone completes the adapter. */
organ_status organ_adapter_writer_finish(organ_adapter_writer *w, const json_t *config, organ_error *error)
{
    organ_adapter *made = NULL;
    if ((w->rank_tensors && adapter_write_merge_rank_outputs(w, error)) || !organ_ranks_first(w->output.ranks))
        return error->status;
    char *const path = organ_publish_path(&w->output.publish, ORGAN_ADAPTER_CONFIG);
    if (!path)
        organ_fail_memory(error, w->output.path);
    else if (write_adapter_header(w, error) == ORGAN_OK &&
             (w->architecture ? organ_adapter_gguf_write(w, error) : organ_document_write(path, config, error)) ==
                 ORGAN_OK)
        organ_adapter_open(w->output.publish.partial, &made, error);
    organ_adapter_close(made);
    free(path);
    return error->status;
}

/* ---- other files ---- */

/* Lists the files of the old adapter without its weights and its config, and copies all that are not in organ/. */
organ_status organ_adapter_writer_copy_files(organ_adapter_writer *w, const organ_adapter *adapter, organ_error *error)
{
    organ_file_list list = {0};
    const size_t count = adapter->model->file_count;
    if (!organ_ranks_first(w->output.ranks))
        return ORGAN_OK;
    const char **skip = malloc((count + 3) * sizeof *skip);
    if (w->architecture || adapter->model->gguf) { /* a GGUF adapter needs no files of peft */
        free(skip);
        return ORGAN_OK;
    }
    if (!skip)
        return organ_fail_memory(error, w->output.path);
    for (size_t k = 0; k < count; k++)
        skip[k] = adapter->model->files[k].name;
    skip[count] = ORGAN_ADAPTER_CONFIG;
    skip[count + 1] = ORGAN_ADAPTER_WEIGHTS ".index.json";
    skip[count + 2] = "adapter_model.bin"; /* may contain the same weights, including removed ones */
    if (organ_list_files(adapter->path, skip, count + 3, &list, error) == ORGAN_OK)
        for (size_t k = 0; k < list.count && !error->status; k++)
            if (strncmp(list.names[k], "organ/", 6) != 0)
                organ_copy_file(adapter->path, list.names[k], w->output.publish.partial, list.names[k], error);
    organ_list_release(&list);
    free(skip);
    return error->status;
}

uint64_t organ_adapter_writer_bytes(const organ_adapter_writer *w) { return w->bytes; }

const organ_output *organ_adapter_writer_output(const organ_adapter_writer *w) { return &w->output; }

organ_status organ_adapter_writer_sync(organ_adapter_writer *w, organ_error *error)
{
    return organ_output_sync(&w->output, error);
}

organ_status organ_adapter_writer_report(organ_adapter_writer *w, const char *name, const json_t *report,
                                         const char *markdown_name, organ_error *error)
{
    if (!organ_ranks_first(w->output.ranks))
        return ORGAN_OK;
    return organ_output_reports_write(&w->output, &(organ_report_files){name, markdown_name, NULL}, report, error);
}

/* The ranks agree first, so that the adapter is published only if no rank has failed. */
organ_status organ_adapter_writer_end(organ_adapter_writer *w, organ_error *error)
{
    if (!w)
        return error->status;
    organ_direct_close(&w->file);
    organ_ranks_agree(w->output.ranks, "completing the adapter", error);
    organ_output_end(&w->output, error);
    organ_run_journal_close(&w->journal);
    json_decref(w->turn_tensors);
    json_decref(w->rank_tensors);
    organ_adapter_header_release(w);
    free(w->path);
    free(w->buffer);
    free(w);
    return error->status;
}
