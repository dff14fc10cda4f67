/* SPDX-License-Identifier: MIT
 * The report of a conversion, document organ.convert/1. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/surgery/convert/convert_job.h"

#include <string.h>

json_t *organ_convert_parameters(void *context)
{
    const organ_convert_job *const job = context;
    return ORGAN_OBJECT(SET_TEXT("to", job->options->to), SET_TEXT("type", job->options->type),
                        SET_TEXT("dtype", organ_dtype_name(job->type)), SET_BYTES_OF("pre", job->options->pre),
                        SET_COUNT("max_shard_bytes", job->options->write.max_shard_size));
}

static json_t *document_types(const organ_convert_job *job)
{
    json_t *const rows = json_array();
    for (organ_dtype type = 0; type < ORGAN_DTYPE_COUNT; type++) {
        uint64_t tensors = 0, bytes = 0;
        for (size_t k = 0; k < job->piece_count; k++)
            if (job->pieces[k].dtype == type) {
                tensors++;
                bytes += job->pieces[k].bytes;
            }
        if (tensors)
            json_array_append_new(
                rows, ORGAN_OBJECT(SET_DTYPE("type", type), SET_COUNT("tensors", tensors), SET_COUNT("bytes", bytes)));
    }
    return rows;
}

json_t *organ_convert_document(void *context, const organ_writing *made)
{
    const organ_convert_job *const job = context;
    uint64_t before = 0, after = 0;
    for (size_t k = 0; k < job->model->tensor_count; k++)
        before += job->model->tensors[k].bytes;
    for (size_t k = 0; k < job->piece_count; k++)
        after += job->pieces[k].bytes;
    return ORGAN_OBJECT(
        SET_TEXT("architecture", job->exchange->architecture), SET_TEXT("general_architecture", job->exchange->gguf),
        SET_FLAG("by_name", job->by_name),
        SET("totals", ORGAN_OBJECT(SET_COUNT("tensors_before", job->model->tensor_count),
                                   SET_COUNT("tensors_after", job->piece_count), SET_COUNT("left_out", job->dropped),
                                   SET_COUNT("bytes_before", before), SET_COUNT("bytes_after", after))),
        SET("plain", organ_pieces_same_json(job->pieces, job->piece_count)), SET("types", document_types(job)),
        SET("files", organ_resharding_files_json(organ_write_files(made))));
}
