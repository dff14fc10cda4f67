/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/text/field_table.h"
#include "orchestrator/report/text/report_parts.h"

#include "formats/base/memory_watch.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

static void result_cell(organ_table *table, const json_t *check)
{
    organ_table_cell(table, "%s", json_is_true(json_object_get(check, "ok")) ? "ok" : "FAILED");
}

organ_table *organ_checks_table(const json_t *checks)
{
    static const organ_field fields[] = {FIELD_TEXT("check", "check", ORGAN_FIELD_SHORTENS),
                                         FIELD_BY("result", result_cell, ORGAN_FIELD_LEFT),
                                         FIELD_TEXT("detail", "detail", ORGAN_FIELD_SHORTENS)};
    return organ_field_table(FIELD_LIST(fields), checks, SIZE_MAX);
}

organ_status organ_table_emit(organ_table *table, FILE *out, const organ_page *page, organ_error *error)
{
    const organ_status status = page ? organ_table_print(table, out, page, error) : organ_table_markdown(table, out, error);
    organ_table_destroy(table);
    if (page)
        fputc('\n', out);
    return status;
}

void organ_sentences_list(FILE *out, const char *lead, const json_t *sentences)
{
    for (size_t k = 0; k < json_array_size(sentences); k++) {
        fputs(lead, out);
        organ_markdown_text(out, organ_json_text(json_array_get(sentences, k), ""), false);
        fputc('\n', out);
    }
}

void organ_terms_list(FILE *out, const json_t *terms)
{
    const char *term;
    json_t *sentence;
    json_object_foreach((json_t *)terms, term, sentence)
    {
        fprintf(out, "- **%s**: ", term);
        organ_markdown_text(out, organ_json_text(sentence, ""), false);
        fputc('\n', out);
    }
}
