/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/blocks/view_writer.h"

#include "orchestrator/report/text/report_text.h"

#include <string.h>

static void put_lines(organ_html *html, const char *text)
{
    while (*text) {
        const size_t length = strcspn(text, "\n");
        if (length)
            organ_html_paragraph(html, "%.*s", (int)length, text);
        text += length + (text[length] == '\n');
    }
}

static void page_words(organ_view_walk *walk, const organ_block *block, const char *text)
{
    switch (block->kind) {
    case ORGAN_BLOCK_SECTION:
        organ_html_section(walk->html, text);
        break;
    case ORGAN_BLOCK_WARN:
        organ_html_caution(walk->html, text);
        break;
    case ORGAN_BLOCK_LINES:
        put_lines(walk->html, text);
        break;
    case ORGAN_BLOCK_COMMAND:
        organ_html_command(walk->html, text);
        break;
    case ORGAN_BLOCK_ITEM:
        if (!walk->items)
            walk->items = json_array();
        if (json_array_append_new(walk->items, json_string(text)) != 0)
            organ_html_fail(walk->html);
        break;
    default:
        organ_html_paragraph(walk->html, "%s", text);
    }
}

static void page_table(organ_view_walk *walk, organ_table *table, const char *caption)
{
    organ_html_table(walk->html, table, caption);
}

static void page_list(organ_view_walk *walk, const organ_block *block, const json_t *rows)
{
    if (block->kind == ORGAN_BLOCK_CHECKS)
        organ_html_checks(walk->html, rows);
    else if (block->kind == ORGAN_BLOCK_CAUTIONS)
        organ_html_cautions(walk->html, block->words, rows);
    else
        organ_html_terms(walk->html, rows, block->lead, block->words);
}

const organ_block_writer organ_writer_page = {ORGAN_WORDS_PAGE, page_words, page_table, page_list};
