/* SPDX-License-Identifier: MIT */
#include "orchestrator/report/blocks/place.h"

#include "orchestrator/report/text/report_parts.h"

/* An empty line between blocks, but not between the items of a list. */
static void begin_block(organ_walk *walk, bool item)
{
    if (walk->began && !(item && walk->in_list))
        fputc('\n', walk->out);
    walk->began = true;
    walk->in_list = item;
}

static void markdown_words(organ_walk *walk, const organ_block *block, const char *text)
{
    static const char *const leads[] = {
        [ORGAN_BLOCK_HEADING] = "# ",   [ORGAN_BLOCK_SECTION] = "## ",          [ORGAN_BLOCK_SAY] = "",   [ORGAN_BLOCK_LINES] = "",
        [ORGAN_BLOCK_COMMAND] = "    ", [ORGAN_BLOCK_WARN] = "> **Warning.** ", [ORGAN_BLOCK_ITEM] = "- "};
    begin_block(walk, block->kind == ORGAN_BLOCK_ITEM);
    fprintf(walk->out, "%s%s\n", leads[block->kind], text);
}

static void markdown_table(organ_walk *walk, organ_table *table, const char *caption)
{
    (void)caption;
    begin_block(walk, false);
    organ_table_emit(table, walk->out, NULL, walk->error);
}

static void markdown_list(organ_walk *walk, const organ_block *block, const json_t *rows)
{
    begin_block(walk, false);
    if (block->kind == ORGAN_BLOCK_CHECKS)
        organ_table_emit(organ_checks_table(rows), walk->out, NULL, walk->error);
    else if (block->kind == ORGAN_BLOCK_TERMS)
        organ_terms_list(walk->out, rows);
    else {
        fprintf(walk->out, "> **%s.**\n>\n", block->words);
        organ_sentences_list(walk->out, "> - ", rows);
    }
}

const organ_block_place organ_place_markdown = {ORGAN_WORDS_MARKDOWN, markdown_words, markdown_table, markdown_list};
