/* SPDX-License-Identifier: MIT
 * --for: says whether other programs open the model. */
#include "orchestrator/verbs/inspect/inspect_parts.h"

#include "orchestrator/output/facts.h"
#include "orchestrator/surgery/readers/readers.h"

static json_t *reason_json(const void *context, size_t k)
{
    const organ_opening *const row = (const organ_opening *)context + k;
    const organ_form *const form = row->form;
    if (row->verdict == ORGAN_OPENS)
        return NULL;
    return ORGAN_OBJECT(SET_TEXT("verdict", organ_reader_verdict_name(row->verdict)), SET_TEXT("why", row->why),
                        SET_IF(form, "form", organ_document_string(form->name)),
                        SET_IF(form, "forms", json_integer((json_int_t)row->forms)),
                        SET_IF(form, "weights", json_integer((json_int_t)row->weights)),
                        SET_IF(form, "first", organ_document_string(form->first)),
                        SET_IF(row->member, "member", json_string(row->member)));
}

static json_t *reader_json(organ_reader reader, const organ_opened *opened)
{
    organ_opening rows[ORGAN_OPENINGS];
    const size_t count = organ_reader_opens(reader, opened, rows);
    return ORGAN_OBJECT(SET_TEXT("reader", organ_reader_name(reader)),
                        SET_TEXT("program", organ_reader_program(reader)),
                        SET_TEXT("verdict", organ_reader_verdict_name(organ_openings_worst(rows, count))),
                        SET("reasons", organ_json_rows(count, reason_json, rows)));
}

json_t *organ_inspect_readers(const organ_model *model, const organ_weights *weights, unsigned readers,
                              organ_error *error)
{
    ORGAN_OWNED_JSON json_t *config = NULL;
    ORGAN_RELEASED_BY(organ_forms_release) organ_forms forms = {0};
    if ((!model->gguf && organ_model_load_json(model, "config.json", "config.json", &config, error) != ORGAN_OK) ||
        organ_forms_of_model(model, weights, config, &forms, error) != ORGAN_OK)
        return NULL;
    const organ_opened opened = {model, config, &forms, /*named=*/false};
    json_t *const list = json_array();
    for (organ_reader r = 0; r < ORGAN_READER_COUNT; r++)
        if (readers >> r & 1)
            json_array_append_new(list, reader_json(r, &opened));
    return list;
}
