/* SPDX-License-Identifier: MIT */
#include <organ/organs.h>

#include "orchestrator/surgery/write/write.h"
#include "orchestrator/surgery/facts/facts.h"

typedef struct extraction {
    const organ_extract_options *options;
    const organ_progress *progress;
    const organ_stop *stop;
    organ_model *model;
    organ_layout layout;
} extraction;

static json_t *folder_json(const void *layout, size_t group)
{
    const organ_amount in = organ_layout_amount(layout, (organ_group)group, NULL);
    return ORGAN_OBJECT(SET_TEXT("folder", organ_group_folder((organ_group)group)),
                        SET_TEXT("group", organ_group_name((organ_group)group)), SET_AMOUNT(in));
}

/* Fillers are the bytes of a file that belong to no tensor: the header comes first, then parts of the gaps between
 * and after tensors that are not all zero. "gap_bytes" leaves out the first. */
static json_t *extract_source_json(const void *layout, size_t f)
{
    const organ_layout_file *const file = &((const organ_layout *)layout)->files[f];
    uint64_t gaps = 0;
    for (size_t k = 1; k < file->filler_count; k++)
        gaps += file->fillers[k].bytes;
    return ORGAN_OBJECT(SET_BYTES("name", file->name), SET_COUNT("bytes", file->size),
                        SET_COUNT("header_bytes", file->data_offset), SET_COUNT("gap_bytes", gaps));
}

static json_t *extract_document(void *context, const organ_writing *made)
{
    const extraction *const e = context;
    const organ_layout *const layout = &e->layout;
    const organ_file_list *const extra = organ_write_extra_files(made);
    const organ_amount all = organ_layout_amount(layout, ORGAN_ALL_GROUPS, NULL);
    json_t *const run = organ_output_run(organ_write_output(made), all.bytes);
    ORGAN_ADD(run, SET_BYTES("model", e->options->model));
    return ORGAN_OBJECT(SET_TEXT("schema", "organ.extract/1"), SET_TEXT("organ", ORGAN_VERSION),
                        SET_FLAG("dry_run", e->options->write.dry_run), SET("model", organ_model_json(e->model)),
                        SET("folders", organ_json_rows(ORGAN_ALL_GROUPS, folder_json, layout)),
                        SET("totals", ORGAN_OBJECT(SET_AMOUNT(all))),
                        SET("by_layer", organ_layout_by_layer_json(layout, NULL)),
                        SET("sources", organ_json_rows(layout->file_count, extract_source_json, layout)),
                        SET("beside", ORGAN_OBJECT(SET_COUNT("files", extra->count), SET_COUNT("bytes", extra->bytes))),
                        SET("run", run));
}

static organ_status extract_model(extraction *e, json_t **report, organ_error *error)
{
    const organ_extract_options *const o = e->options;
    if (organ_model_open_with(o->model, o->access, &e->model, error) ||
        organ_output_check_not_input(o->write.output, e->model, error) ||
        organ_layout_copy(e->model, &e->layout, error))
        return error->status;
    const organ_write made = {.model = e->model,
                              .requested = &o->write,
                              .resumed_by = o->resumed_by,
                              .layout = &e->layout,
                              .apart = true,
                              .ranks = o->ranks,
                              .stop = e->stop,
                              .definition = "extract/1",
                              .stage = "extracting",
                              .model_is = "model",
                              .progress = e->progress,
                              .engine = o->engine,
                              .context = e,
                              .document = extract_document};
    return organ_write_run(&made, report, error);
}

static void close_extraction(extraction *e)
{
    organ_layout_release(&e->layout);
    organ_model_close(e->model);
}

organ_status organ_extract(const organ_extract_options *options, const organ_progress *progress, const organ_stop *stop,
                           json_t **report, organ_error *error)
{
    if (ORGAN_BEGIN_VERB(organ_extract_options, options, report, error, "model", options->model, "write.output",
                         options->write.dry_run ? "" : options->write.output))
        return error->status;
    extraction e = {.options = options, .progress = progress, .stop = stop};
    const organ_report_work work = organ_report_begin(report);
    extract_model(&e, report, error);
    close_extraction(&e);
    return organ_report_end(&work, options->model, error);
}
