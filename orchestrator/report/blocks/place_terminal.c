/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/blocks/view_writer.h"

#include <organ/report.h>
#include "orchestrator/report/text/report_text.h"

static void print_wrapped(const organ_view_walk *walk, const char *lead, const char *text)
{
    organ_text_wrap(walk->out, lead, organ_text_width(lead), text, walk->page);
}

static void terminal_words(organ_view_walk *walk, const organ_block *block, const char *text)
{
    switch (block->kind) {
    case ORGAN_BLOCK_SAY:
        print_wrapped(walk, block->lead ? block->lead : "  ", text);
        break;
    case ORGAN_BLOCK_WARN:
        print_wrapped(walk, "  WARNING  ", text);
        break;
    case ORGAN_BLOCK_ITEM:
        print_wrapped(walk, block->lead ? block->lead : "  - ", text);
        break;
    case ORGAN_BLOCK_COMMAND:
        fprintf(walk->out, "    %s\n", text);
        break;
    default:
        fputs(text, walk->out);
    }
}

static void terminal_table(organ_view_walk *walk, organ_table *table, const char *caption)
{
    (void)caption;
    organ_table_print(table, walk->out, walk->page, walk->error);
    organ_table_destroy(table);
    fputc('\n', walk->out);
}

static void terminal_list(organ_view_walk *walk, const organ_block *block, const json_t *rows)
{
    if (block->kind == ORGAN_BLOCK_CHECKS)
        terminal_table(walk, organ_block_checks(rows), NULL);
    if (block->kind != ORGAN_BLOCK_CAUTIONS)
        return;
    fprintf(walk->out, "  %s:\n", block->words);
    for (size_t k = 0; k < json_array_size(rows); k++)
        organ_text_say(walk->out, walk->page, "  - ", "%s", organ_json_text(organ_json_row_at(rows, k), ""));
    fputc('\n', walk->out);
}

const organ_block_writer organ_writer_terminal = {ORGAN_WORDS_TERMINAL, terminal_words, terminal_table, terminal_list};
