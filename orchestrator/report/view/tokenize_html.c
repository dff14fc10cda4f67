/* SPDX-License-Identifier: MIT
 * organ.tokenize/1 as a page. */
#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/html/parts.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/view/tokenize_report.h"

#include <math.h>
#include <stdio.h>

static void put_fact(organ_table *table, const json_t *report, const char *name, const char *path)
{
    const json_t *const value = organ_json_at(report, path);
    organ_table_cell(table, "%s", name);
    if (json_is_string(value))
        organ_table_cell(table, "%s", json_string_value(value));
    else if (json_is_integer(value))
        organ_table_count(table, organ_json_count(report, path));
    else
        organ_table_cell(table, "%s", json_is_boolean(value) ? json_is_true(value) ? "yes" : "no" : "none");
}

static organ_table *facts_table(const json_t *report)
{
    static const organ_column columns[] = {{"what", ORGAN_LEFT, false, false}, {"here", ORGAN_LEFT, false, false}};
    static const char *const facts[][2] = {{"text", "text.name"},
                                           {"bytes of the text", "text.bytes"},
                                           {"digest of the text", "text.digest"},
                                           {"tokenizer", "tokenizer.kind"},
                                           {"digest of the tokenizer", "tokenizer.digest"},
                                           {"vocabulary", "tokenizer.vocabulary"},
                                           {"BOS", "tokenizer.bos"},
                                           {"EOS", "tokenizer.eos"},
                                           {"the model's practice puts BOS before a text: not counted here", "tokenizer.adds_bos"},
                                           {"names of special tokens in the text stand for them", "special"}};
    organ_table *const table = organ_table_create(columns, 2);
    for (size_t k = 0; k < sizeof facts / sizeof *facts; k++)
        put_fact(table, report, facts[k][0], facts[k][1]);
    return table;
}

organ_status organ_tokenize_report_html(const json_t *report, char **html, organ_error *error)
{
    const double each = organ_json_number(report, "bytes_per_token");
    char tokens[32], bytes[32], ratio[32] = "-";
    if (isfinite(each))
        snprintf(ratio, sizeof ratio, "%.3f", each);
    const organ_html_figure_of_merit figures[] = {{organ_count_text(organ_json_count(report, "tokens"), tokens), "tokens"},
                                                  {organ_count_text(organ_json_count(report, "text.bytes"), bytes), "bytes of text"},
                                                  {ratio, "bytes per token"}};
    organ_html *const page = organ_html_create("Tokens", organ_json_text(report, "text.name"), NULL);
    organ_html_figures_of_merit(page, figures, sizeof figures / sizeof *figures);
    organ_html_section(page, "Text and tokenizer");
    organ_html_table(page, facts_table(report), "Ids compare only where the tokenizer's digest is the same");
    if (json_array_size(organ_json_at(report, "first"))) {
        organ_html_section(page, "The first tokens");
        organ_html_table(page, organ_tokenize_first_table(report), NULL);
    }
    organ_html_ending(page, json_object_get(report, "definitions"), json_object_get(report, "run"));
    return organ_html_finish(page, html, error);
}
