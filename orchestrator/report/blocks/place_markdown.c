/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/blocks/view_writer.h"
#include <organ/report.h>

#include <stdint.h>

static void begin_block(organ_view_walk *walk, bool item)
{
    if (walk->began && !(item && walk->in_list))
        fputc('\n', walk->out);
    walk->began = true;
    walk->in_list = item;
}

static void markdown_words(organ_view_walk *walk, const organ_block *block, const char *text)
{
    static const char *const leads[] = {
        [ORGAN_BLOCK_HEADING] = "# ", [ORGAN_BLOCK_SECTION] = "## ",  [ORGAN_BLOCK_SAY] = "",
        [ORGAN_BLOCK_LINES] = "",     [ORGAN_BLOCK_COMMAND] = "    ", [ORGAN_BLOCK_WARN] = "> **Warning.** ",
        [ORGAN_BLOCK_ITEM] = "- "};
    begin_block(walk, block->kind == ORGAN_BLOCK_ITEM);
    fprintf(walk->out, "%s%s\n", leads[block->kind], text);
}

static void markdown_table(organ_view_walk *walk, organ_table *table, const char *caption)
{
    (void)caption;
    begin_block(walk, false);
    organ_table_markdown(table, walk->out, walk->error);
    organ_table_destroy(table);
}

static void put_terms(FILE *out, const json_t *terms)
{
    const char *term;
    json_t *sentence;
    json_object_foreach((json_t *)(uintptr_t)terms, term, sentence)
    {
        fprintf(out, "- **%s**: ", term);
        organ_markdown_text(out, organ_json_text(sentence, ""), false);
        fputc('\n', out);
    }
}

static void markdown_list(organ_view_walk *walk, const organ_block *block, const json_t *rows)
{
    if (block->kind == ORGAN_BLOCK_CHECKS) {
        markdown_table(walk, organ_block_checks(rows), NULL);
        return;
    }
    begin_block(walk, false);
    if (block->kind == ORGAN_BLOCK_TERMS) {
        put_terms(walk->out, rows);
        return;
    }
    fprintf(walk->out, "> **%s.**\n>\n", block->words);
    for (size_t k = 0; k < json_array_size(rows); k++) {
        fputs("> - ", walk->out);
        organ_markdown_text(walk->out, organ_json_text(organ_json_row_at(rows, k), ""), false);
        fputc('\n', walk->out);
    }
}

const organ_block_writer organ_writer_markdown = {ORGAN_WORDS_MARKDOWN, markdown_words, markdown_table, markdown_list};
