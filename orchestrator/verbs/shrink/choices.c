/* SPDX-License-Identifier: MIT
 * Stores choices until the output is complete: which units (channels or heads) each part keeps is in the journal, its
 * refitted values are in organ_write_choices. A part is a matrix that loses columns.
 *
 * Ranks: rank 0 writes, and all ranks continue by its journal. */
#include "orchestrator/verbs/shrink/width_parts.h"

#include "formats/base/files.h"
#include "orchestrator/ranks/ranks.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/compute.h"
#include "orchestrator/stream/transfer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- the report of organ width ---- */

static json_t *share_json(const organ_width_job *job, organ_width_kind kind)
{
    const organ_width_share *const share = &job->shares[kind];
    const size_t multiple = share->multiple, query_heads = kind == ORGAN_WIDTH_HEADS ? job->query_heads : 0;
    if (!share->keep)
        return json_null();
    return ORGAN_OBJECT(
        SET_COUNT("before", share->total), SET_COUNT("after", share->keep),
        SET_IF(multiple, "multiple_of", json_integer((json_int_t)multiple)),
        SET_IF(query_heads, "query_heads_before", json_integer((json_int_t)query_heads)),
        SET_IF(query_heads, "query_heads_after", json_integer((json_int_t)(query_heads / share->total * share->keep))));
}

json_t *organ_width_parameters(void *context)
{
    const organ_width_job *const job = context;
    const organ_width_options *const o = job->options;
    return ORGAN_OBJECT(
        SET_BYTES_OF("ffn", o->ffn), SET_BYTES_OF("heads", o->heads), SET_TEXT("score", o->score),
        SET_FLAG("resolve", !o->no_refit), SET_REAL("damping", ORGAN_NARROW_DAMPING),
        SET_IF(job->walk.blocks, "moments", json_string("blocks")), SET_COUNT("samples", o->calibration.samples),
        SET_COUNT("context", o->calibration.context), SET_REDUCED_COMPUTE(job->engine, o->calibration.compute),
        SET("channels", share_json(job, ORGAN_WIDTH_CHANNELS)),
        SET("expert_channels", share_json(job, ORGAN_WIDTH_EXPERTS)),
        SET_IF(job->shares[ORGAN_WIDTH_SHARED].keep, "shared_channels", share_json(job, ORGAN_WIDTH_SHARED)),
        SET("kv_heads", share_json(job, ORGAN_WIDTH_HEADS)));
}

organ_status organ_width_inputs(void *context, organ_run_inputs *inputs, organ_error *error)
{
    const organ_width_options *const o = ((const organ_width_job *)context)->options;
    return organ_run_inputs_add(inputs, "text", o->calibration.text, error);
}

json_t *organ_width_identity(void *context)
{
    const organ_width_job *const job = context;
    return ORGAN_OBJECT(SET_TEXT("text", job->digest));
}

static double lost_percent(double loss, double energy)
{
    return energy > 0 ? organ_millionth(100 * loss / energy) : 0.0;
}

/* The result is -1 if the part belongs to no routed expert. */
static int64_t expert_of(const organ_width_part *part)
{
    const organ_anatomy *const a = &part->tensor->anatomy;
    if (part->kind != ORGAN_WIDTH_EXPERTS)
        return -1;
    return a->expert < 0 ? (int64_t)part->matrix : a->expert;
}

/* `foretold_percent` is the loss that the choice predicted, `lost_percent` the loss after refitting. */
static json_t *document_part_json(const void *context, size_t k)
{
    const organ_width_job *const job = context;
    const organ_width_part *const part = &job->parts[k];
    const organ_narrow_report *const r = &part->report;
    const organ_anatomy *const a = &part->tensor->anatomy;
    json_t *const row =
        ORGAN_OBJECT(SET_TEXT("tensor", part->tensor->name), SET_PLACE(a), SET_INDEX("expert", expert_of(part)),
                     SET_TEXT("what", part->kind == ORGAN_WIDTH_HEADS ? "heads" : "channels"),
                     SET_COUNT("before", part->share->total), SET_COUNT("after", part->share->keep));
    if (job->options->write.dry_run)
        return row;
    return organ_json_joined(
        row, ORGAN_OBJECT(SET_REAL_OF("lost_percent", r->tokens, lost_percent(r->loss, r->energy)),
                          SET_REAL_OF("foretold_percent", r->tokens, lost_percent(r->expected_loss, r->energy)),
                          SET_TEXT("chosen_by", r->tokens ? job->options->score : "norms"),
                          SET_REAL("energy", organ_billionth(r->energy)), SET_COUNT("tokens", r->tokens),
                          SET_FLAG("block_diagonal", r->block_diagonal)));
}

/* The mean loss is over the parts that had calibration tokens; the channels of the others were chosen by norms. In a
 * dry run it is null. */
static json_t *means_json(const organ_width_job *job, organ_width_kind kind)
{
    const bool chosen = !job->options->write.dry_run;
    double lost = 0;
    size_t count = 0, reached = 0;
    uint64_t fewest = UINT64_MAX;
    for (size_t k = 0; k < job->part_count; k++) {
        const organ_narrow_report *const r = &job->parts[k].report;
        if (job->parts[k].kind != kind)
            continue;
        lost += r->tokens ? lost_percent(r->loss, r->energy) : 0;
        reached += r->tokens > 0;
        fewest = r->tokens < fewest ? r->tokens : fewest;
        count++;
    }
    if (!count)
        return json_null();
    return ORGAN_OBJECT(
        SET_COUNT("projections", count),
        SET_REAL_OF("lost_percent", chosen && reached, organ_millionth(lost / (double)reached)),
        SET_IF(kind == ORGAN_WIDTH_EXPERTS && chosen, "by_norms", json_integer((json_int_t)(count - reached))),
        SET_IF(kind == ORGAN_WIDTH_EXPERTS && chosen, "fewest_tokens", json_integer((json_int_t)fewest)));
}

/* If --memory permits, the moments of all experts of a layer are in memory at the same time. */
static uint64_t largest_expert_moments(const organ_width_job *job)
{
    uint64_t max = 0;
    for (size_t l = 0; l < job->layer_count; l++) {
        uint64_t bytes = 0;
        for (size_t k = 0; k < job->part_count; k++)
            if (job->parts[k].kind == ORGAN_WIDTH_EXPERTS && job->parts[k].tensor->anatomy.layer == (int32_t)l)
                bytes += organ_calibration_memory(job->parts[k].share->total, organ_width_rows(&job->parts[k]),
                                                  /*two_streams=*/false, /*undivided=*/true);
        max = bytes > max ? bytes : max;
    }
    return max;
}

static json_t *memory_json(const organ_width_job *job)
{
    const uint64_t moments = largest_expert_moments(job);
    return job->options->write.dry_run && job->calib ? ORGAN_OBJECT(SET_COUNT_OF("expert_moments", moments, moments),
                                                                    SET_COUNT("choices_on_disk", job->choice_bytes))
                                                     : json_null();
}

static json_t *facts_json(const organ_width_job *job)
{
    return ORGAN_OBJECT(SET_FLAG("wanda", strcmp(job->options->score, "wanda") == 0),
                        SET_FLAG("experts", job->shares[ORGAN_WIDTH_EXPERTS].keep),
                        SET_FLAG("shared", job->shares[ORGAN_WIDTH_SHARED].keep),
                        SET_FLAG("unchanged", job->options->no_refit));
}

json_t *organ_width_document(void *context, const organ_writing *made)
{
    const organ_width_job *const job = context;
    return organ_json_joined(
        organ_cut_json(made),
        ORGAN_OBJECT(SET_HELD("calibration", job->calibration), SET("memory", memory_json(job)),
                     SET("ffn", means_json(job, ORGAN_WIDTH_CHANNELS)),
                     SET("experts", means_json(job, ORGAN_WIDTH_EXPERTS)),
                     SET_IF(job->shares[ORGAN_WIDTH_SHARED].keep, "shared", means_json(job, ORGAN_WIDTH_SHARED)),
                     SET("attention", means_json(job, ORGAN_WIDTH_HEADS)),
                     SET("projections", organ_json_rows(job->part_count, document_part_json, job)),
                     SET_SENTENCES("organ.width/1", "definitions", facts_json(job))));
}

/* ---- values ---- */

static organ_status read_values(const void *context, void *data, size_t bytes, uint64_t offset, organ_error *error)
{
    const char *const path = organ_write_choices(((const organ_width_job *)context)->writing);
    const int fd = organ_open(path, O_RDONLY, 0);
    const ssize_t got = fd < 0 ? -1 : organ_pread_full(fd, data, bytes, (off_t)offset);
    if (got < 0)
        organ_fail_errno(error, errno, "%s: cannot be read", path);
    else if ((size_t)got < bytes)
        organ_fail(error, ORGAN_IO, "%s: ends at byte %llu of the choices", path,
                   (unsigned long long)(offset + (uint64_t)got));
    if (fd >= 0)
        close(fd);
    return error->status;
}

/* Returns the offset of a row in the file of values. */
static uint64_t row_offset(const organ_width_part *part, uint64_t row)
{
    return part->at + row * organ_width_columns(part) * sizeof(float);
}

organ_status organ_width_choices_put(const organ_width_job *job, const organ_width_part *part, const float *values,
                                     uint64_t first, uint64_t rows, organ_error *error)
{
    const size_t bytes = (size_t)(rows * organ_width_columns(part)) * sizeof *values;
    return organ_transfer_bytes(organ_write_choices(job->writing), values, bytes, row_offset(part, first), error);
}

organ_status organ_width_choices_get(const organ_width_job *job, const organ_width_part *part, float *values,
                                     uint64_t first, uint64_t rows, organ_error *error)
{
    const size_t bytes = (size_t)(rows * organ_width_columns(part)) * sizeof *values;
    return read_values(job, values, bytes, row_offset(part, first), error);
}

static organ_status digest_values(const organ_width_job *job, const organ_width_part *part, char digits[17],
                                  organ_error *error)
{
    const uint64_t bytes = organ_width_rows(part) * organ_width_columns(part) * sizeof(float);
    return organ_run_digest(read_values, job, part->at, bytes, NULL, digits, error);
}

/* ---- lines ---- */

/* Members of organ_narrow_report in a journal line; block_diagonal is called "blocks" there. */
#define REPORT(member, type) ORGAN_STRUCT_FIELD(organ_narrow_report, member, type)
static const organ_struct_field choices_report[] = {
    REPORT(energy, EXACT),
    REPORT(loss, EXACT),
    REPORT(expected_loss, EXACT),
    REPORT(tokens, U64),
    {"blocks", ORGAN_FIELD_FLAG, offsetof(organ_narrow_report, block_diagonal), sizeof(bool)}};

organ_status organ_width_choices_add(organ_width_job *job, organ_width_part *part, organ_error *error)
{
    char digits[17];
    if (digest_values(job, part, digits, error) != ORGAN_OK)
        return error->status;
    return organ_write_note(
        job->writing,
        ORGAN_STRUCT_ADD(ORGAN_OBJECT(SET_BYTES("tensor", part->tensor->name),
                                      SET_IF(part->matrix, "matrix", json_integer((json_int_t)part->matrix)),
                                      SET_TEXT("xxh3", digits),
                                      SET("kept", organ_ids_json(part->kept, part->share->keep))),
                         choices_report, &part->report),
        /*keep_if_interrupted=*/true, error);
}

/* Returns NULL if the line names no matrix that loses columns. */
static organ_width_part *part_of_line(const organ_width_job *job, const json_t *line)
{
    const char *const name = json_string_value(json_object_get(line, "tensor"));
    const json_int_t matrix = json_integer_value(json_object_get(line, "matrix"));
    for (size_t k = 0; name && k < job->targets.count; k++)
        if (strcmp(job->targets.tensors[k]->name, name) == 0 && matrix >= 0 &&
            matrix < (json_int_t)(job->first[k + 1] - job->first[k]))
            return &job->parts[job->first[k] + (size_t)matrix];
    return NULL;
}

/* Returns false if `numbers` are not share->keep ascending units of the part. */
static bool read_kept(const organ_width_part *part, const json_t *numbers, uint32_t *kept)
{
    json_int_t before = -1;
    if (json_array_size(numbers) != part->share->keep)
        return false;
    for (size_t k = 0; k < part->share->keep; k++) {
        const json_int_t number = json_integer_value(json_array_get(numbers, k));
        if (number <= before || number >= (json_int_t)part->share->total)
            return false;
        kept[k] = (uint32_t)(before = number);
    }
    return true;
}

/* A line is ignored if it is malformed or the values in the file do not have its digest; the units of the part are
 * then chosen again. A complete output has no such file, and does not need the values. */
static organ_status choices_recall(organ_width_job *job, const json_t *line, organ_error *error)
{
    organ_width_part *const part = part_of_line(job, line);
    const char *const expected = json_string_value(json_object_get(line, "xxh3"));
    organ_narrow_report report = {0};
    char digits[17];
    ORGAN_OWNED uint32_t *const kept = part ? calloc(part->share->keep, sizeof *kept) : NULL;
    if (part && !kept)
        organ_fail_memory(error, part->tensor->name);
    else if (part && expected && read_kept(part, json_object_get(line, "kept"), kept) &&
             ORGAN_STRUCT_READ(line, choices_report, &report) &&
             (organ_write_is_whole(job->writing) ||
              (digest_values(job, part, digits, error) == ORGAN_OK && strcmp(digits, expected) == 0))) {
        memcpy(part->kept, kept, part->share->keep * sizeof *kept);
        part->report = report;
        part->done = true;
    }
    return error->status;
}

/* A file that an interrupted run has left complete in size stays. */
static organ_status make_values(const organ_width_job *job, organ_error *error)
{
    const char *const path = organ_write_choices(job->writing);
    struct stat info;
    const bool there = lstat(path, &info) == 0;
    if (organ_write_is_whole(job->writing) ||
        (there && S_ISREG(info.st_mode) && (uint64_t)info.st_size == job->choice_bytes))
        return ORGAN_OK;
    if (there && organ_remove_file(path))
        return organ_fail_errno(error, errno, "%s: cannot be removed", path);
    return organ_transfer_file(path, job->choice_bytes, /*reserved=*/true, error);
}

organ_status organ_width_choices_begin(organ_width_job *job, organ_error *error)
{
    organ_ranks *const ranks = job->engine->ranks;
    const json_t *line;
    size_t k;
    if (organ_ranks_first(ranks))
        make_values(job, error);
    if (organ_ranks_agree(ranks, "making the file of choices", error))
        return error->status;
    json_array_foreach(organ_write_lines(job->writing), k, line) if (!error->status) choices_recall(job, line, error);
    return organ_ranks_agree(ranks, "reading the choices", error);
}
