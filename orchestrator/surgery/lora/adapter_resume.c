/* SPDX-License-Identifier: MIT
 * The journal of an adapter: writes a line for each completed turn (adapter_write.h), and when a run is continued keeps
 * the turns whose bytes in the file have the digest of their line. */
#include "formats/base/file_calls.h"
#include "formats/base/paged_rows.h"
#include <organ/report.h>
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/lora/adapter_write_parts.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

/* First part of the name of a rank's file; the number of the rank follows. */
#define OF_RANK "tensors-of-rank-"

void organ_adapter_file_name(const organ_adapter_writer *w, char name[64])
{
    if (w->output.ranks)
        snprintf(name, 64, OF_RANK "%zu", organ_ranks_rank(w->output.ranks));
    else
        snprintf(name, 64, "%s", ORGAN_ADAPTER_WEIGHTS);
}

/* Returns whether `name` is the name of a file to which a rank of this run appends tensors. */
static bool is_tensor_file(const void *writer, const char *name)
{
    const organ_adapter_writer *const w = writer;
    return w->output.ranks ? strncmp(name, OF_RANK, strlen(OF_RANK)) == 0 : strcmp(name, ORGAN_ADAPTER_WEIGHTS) == 0;
}

/* Sets w->turn_lines[turn], for turns below `turns`, to 1 + the index of the last journal line that this rank wrote
 * about the turn, or to 0 if there is none. Leaves w->turn_lines NULL if no run is continued. */
static organ_status adapter_resume_index(organ_adapter_writer *w, size_t turns, organ_error *error)
{
    const size_t count = json_array_size(w->journal.lines);
    if (count == 0 || error->status)
        return error->status;
    if (!(w->turn_lines = organ_rows_take(turns, sizeof *w->turn_lines)))
        return organ_fail_memory(error, w->output.path);
    w->line_count = turns;
    for (size_t k = 0; k < count; k++) {
        const json_t *const line = organ_json_row_at(w->journal.lines, k), *const turn = json_object_get(line, "turn"),
                            *const rank = json_object_get(line, "rank");
        if (json_is_integer(turn) && (uint64_t)json_integer_value(turn) < turns && json_is_integer(rank) &&
            (size_t)json_integer_value(rank) == organ_ranks_rank(w->output.ranks))
            w->turn_lines[json_integer_value(turn)] = k + 1;
    }
    return ORGAN_OK;
}

/* Rank 0 begins the journal and, in a resumed run, removes the files of the interrupted run that are not files of
 * tensors; organ_run_journal_share then gives the lines to all ranks. */
organ_status organ_adapter_journal_begin(organ_adapter_writer *w, json_t *head, size_t turns, organ_error *error)
{
    organ_ranks *const ranks = w->output.ranks;
    if (!organ_ranks_first(ranks) || error->status)
        json_decref(head);
    else if (organ_run_journal_begin(&w->journal, head, w->output.path, error) == ORGAN_OK && w->output.publish.resumed)
        organ_output_clear_rest(&w->output, is_tensor_file, w, error);
    organ_run_journal_share(&w->output.publish, &w->journal, ranks, error);
    return adapter_resume_index(w, turns, error);
}

/* ---- turns ---- */

/* Callback of organ_run_digest: reads bytes [offset, offset + bytes) of the tensor data in this rank's file. Returns
 * ORGAN_IO if the file ends before. */
static organ_status read_data(const void *context, void *data, size_t bytes, uint64_t offset, organ_error *error)
{
    const organ_adapter_writer *const w = context;
    const ssize_t got = organ_pread_full(w->file.fd, data, bytes, (off_t)(8 + w->header_room + offset));
    if (got < 0)
        return organ_fail_errno(error, errno, "%s: cannot be read", w->path);
    return (size_t)got == bytes ? ORGAN_OK : organ_fail(error, ORGAN_IO, "%s: ends early", w->path);
}

/* Sets `digits` to the XXH3, in hexadecimal, of the first `bytes` bytes of the current turn's data. */
static organ_status digest_of(const organ_adapter_writer *w, uint64_t bytes, char digits[17], organ_error *error)
{
    static const organ_progress none;
    return organ_run_digest(read_data, w, w->turn_begin, bytes, &none, digits, error);
}

/* Sets *intact to whether the journal line describes a turn that begins at w->turn_begin, and the file still has the
 * bytes of this turn: as many as the line says, with the same digest. */
static organ_status check_bytes(const organ_adapter_writer *w, const json_t *line, bool *intact, organ_error *error)
{
    struct stat info;
    char found[17];
    const json_int_t begin = json_integer_value(json_object_get(line, "begin")),
                     bytes = json_integer_value(json_object_get(line, "bytes"));
    const char *const written = json_string_value(json_object_get(line, "xxh3"));
    *intact = false;
    if (begin < 0 || (uint64_t)begin != w->turn_begin || bytes < 0 || !written || fstat(w->file.fd, &info) ||
        (uint64_t)info.st_size < 8 + w->header_room + w->turn_begin ||
        (uint64_t)info.st_size - (8 + w->header_room + w->turn_begin) < (uint64_t)bytes)
        return ORGAN_OK;
    if (digest_of(w, (uint64_t)bytes, found, error) == ORGAN_OK)
        *intact = strcmp(found, written) == 0;
    return error->status;
}

/* Looks up the journal line of the turn. If the bytes in the file have the digest of the line, adds the tensors of the
 * turn to the header as if they were appended now, and returns the results in the line. Otherwise, and on error,
 * returns NULL. */
const json_t *organ_adapter_writer_recall(organ_adapter_writer *w, size_t turn, organ_error *error)
{
    bool intact = false;
    size_t k;
    json_t *row;
    organ_adapter_writer_turn(w, turn);
    const size_t at = turn < w->line_count ? w->turn_lines[turn] : 0;
    const json_t *const line = at ? organ_json_row_at(w->journal.lines, at - 1) : NULL;
    if (!line || check_bytes(w, line, &intact, error) || !intact)
        return NULL;
    json_array_foreach(json_object_get(line, "tensors"), k, row)
    {
        json_int_t width, from, to;
        const char *name;
        json_t *entry;
        if (json_unpack(row, "[s, I, o]", &name, &width, &entry) ||
            json_unpack(entry, "{s: [I, I]}", "data_offsets", &from, &to) || from < 0 || (uint64_t)from != w->bytes ||
            to < from || width < 1 || width > 8)
            organ_fail(error, ORGAN_IO, "%s: line %zu is malformed", w->journal.path, at);
        else if (organ_adapter_enter(w, name, (unsigned)width, entry, (uint64_t)(to - from), error) == ORGAN_OK)
            w->bytes += (uint64_t)(to - from);
        if (error->status)
            return NULL;
    }
    w->output.done++;
    return json_object_get(line, "results");
}

/* Computes the digest of the turn's bytes from the file and appends a journal line with turn, bytes, digest, tensors
 * and results. */
organ_status organ_adapter_writer_done(organ_adapter_writer *w, json_t *results, organ_error *error)
{
    char digits[17] = "";
    if (digest_of(w, w->bytes - w->turn_begin, digits, error)) {
        json_decref(results);
        return error->status;
    }
    w->output.done++;
    json_t *const line =
        ORGAN_OBJECT(SET_COUNT("turn", w->turn), SET_COUNT("rank", organ_ranks_rank(w->output.ranks)),
                     SET_COUNT("begin", w->turn_begin), SET_COUNT("bytes", w->bytes - w->turn_begin),
                     SET_TEXT("xxh3", digits), SET("tensors", json_incref(w->turn_tensors)), SET("results", results));
    return organ_run_journal_add(&w->journal, line, error);
}
