/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/view/tokenize_report.h"

#include "orchestrator/machine/quantity.h"
#include "orchestrator/report/text/document.h"
#include "orchestrator/report/text/report_parts.h"

static void put_ids(FILE *out, const json_t *ids)
{
    for (size_t k = 0; k < json_array_size(ids); k++)
        fprintf(out, "%lld\n", (long long)json_integer_value(json_array_get(ids, k)));
}

/* The name of a token of the tokenizer's facts. */
static void put_edge(FILE *out, const json_t *report, const char *what, const char *path)
{
    const json_t *id = organ_json_at(report, path);
    if (json_is_integer(id))
        fprintf(out, ", %s %lld", what, (long long)json_integer_value(id));
}

static void put_summary(FILE *out, const json_t *report, const organ_page *page)
{
    char tokens[32], bytes[32], vocabulary[32];
    const unsigned long long count = organ_json_count(report, "tokens"), length = organ_json_count(report, "text.bytes");
    organ_text_say(out, page, "", "%s token%s in %s byte%s of %s", organ_count_text(count, tokens), count == 1 ? "" : "s",
                   organ_count_text(length, bytes), length == 1 ? "" : "s", organ_json_text(report, "text.name"));
    if (json_is_real(organ_json_at(report, "bytes_per_token")))
        fprintf(out, "  Bytes per token: %.3f\n", organ_json_real(report, "bytes_per_token"));
    fprintf(out, "  Text digest: %s\n  Tokenizer digest: %s\n", organ_json_text(report, "text.digest"),
            organ_json_text(report, "tokenizer.digest"));
    fprintf(out, "  Tokenizer: %s, vocabulary %s", organ_json_text(report, "tokenizer.kind"),
            organ_count_text(organ_json_count(report, "tokenizer.vocabulary"), vocabulary));
    put_edge(out, report, "BOS", "tokenizer.bos");
    put_edge(out, report, "EOS", "tokenizer.eos");
    fputs(json_is_true(organ_json_at(report, "tokenizer.adds_bos")) ? "\n  The model's practice puts BOS before a text: not counted here.\n"
                                                                    : "\n",
          out);
}

organ_table *organ_tokenize_first_table(const json_t *report)
{
    static const organ_column columns[] = {{"id", ORGAN_RIGHT, false, false}, {"piece", ORGAN_LEFT, true, false}};
    organ_table *const table = organ_table_create(columns, sizeof columns / sizeof *columns);
    const json_t *const first = organ_json_at(report, "first");
    for (size_t k = 0; k < json_array_size(first); k++) {
        const json_t *const one = json_array_get(first, k);
        organ_table_cell(table, "%llu", organ_json_count(one, "id"));
        organ_table_cell(table, "'%s'", organ_json_text(one, "piece"));
    }
    return table;
}

organ_status organ_tokenize_report_terminal(const json_t *report, const organ_page *page, char **text, organ_error *error)
{
    organ_text buffer;
    *text = NULL;
    if (organ_text_open(&buffer, error) != ORGAN_OK)
        return error->status;
    if (organ_json_at(report, "ids")) {
        put_ids(buffer.out, organ_json_at(report, "ids"));
        return organ_text_finish(&buffer, text, error);
    }
    put_summary(buffer.out, report, page);
    if (organ_json_count(report, "tokens")) {
        fputs("\nThe first tokens:\n\n", buffer.out);
        if (organ_table_emit(organ_tokenize_first_table(report), buffer.out, page, error) != ORGAN_OK) {
            organ_text_discard(&buffer);
            return error->status;
        }
    }
    return organ_text_finish(&buffer, text, error);
}
