/* SPDX-License-Identifier: MIT
 * Joins the rules about forms and about members to the verdicts of a reader on a model. */
#include "orchestrator/surgery/readers/readers.h"

#include "formats/base/text.h"

#include <stdio.h>
#include <string.h>

const char *organ_reader_verdict_name(organ_reader_verdict verdict)
{
    static const char *const names[] = {[ORGAN_OPENS] = "opens",
                                        [ORGAN_NOT_RUN] = "not run",
                                        [ORGAN_OPENS_OTHERWISE] = "opens otherwise",
                                        [ORGAN_REFUSED] = "refuses"};
    return names[verdict];
}

const char *organ_reader_program(organ_reader reader)
{
    static const char *const programs[] = {[ORGAN_READER_VLLM] = "vLLM 0.32",
                                           [ORGAN_READER_TRANSFORMERS] = "transformers 5.24",
                                           [ORGAN_READER_LLAMA_CPP] = "llama.cpp",
                                           [ORGAN_READER_MLX] = "mlx-lm 0.32",
                                           [ORGAN_READER_OPENVINO] = "OpenVINO GenAI 2026.4",
                                           [ORGAN_READER_MISTRALRS] = "mistral.rs 0.9.5"};
    return programs[reader];
}

organ_status organ_readers_parse(const char *words, unsigned *readers, organ_error *error)
{
    static const char *const names[] = {ORGAN_READERS(ORGAN_CHOICE_NAME)};
    char word[32], hint[ORGAN_HINT_ROOM];
    *readers = 0;
    for (const char *at = words; at && !error->status; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        snprintf(word, sizeof word, "%.*s", (int)strcspn(at, ","), at);
        const organ_reader reader = organ_reader_from_name(word);
        if (reader == ORGAN_READER_COUNT)
            organ_fail(error, ORGAN_USAGE,
                       "`for` has no program '%s', but vllm, transformers, llama.cpp, mlx, openvino and "
                       "mistralrs, separated by commas%s",
                       word, organ_nearest_hint(word, names, ORGAN_READER_COUNT, "", hint));
        else
            *readers |= 1u << reader;
    }
    return error->status;
}

/* ---- verdicts on a model ---- */

typedef struct openings {
    organ_opening *list;
    size_t count;
} openings;

static void add_row(void *context, const organ_opening *row)
{
    openings *const all = context;
    if (all->count < ORGAN_OPENINGS)
        all->list[all->count++] = *row;
}

/* Forms with one reason share a row. */
static void join_row(openings *all, const organ_opening *row)
{
    size_t k = 0;
    while (k < all->count && (all->list[k].verdict != row->verdict || all->list[k].why != row->why))
        k++;
    if (k == all->count)
        add_row(all, row);
    else {
        all->list[k].forms += row->forms;
        all->list[k].weights += row->weights;
    }
}

size_t organ_reader_opens(organ_reader reader, const organ_opened *opened, organ_opening list[ORGAN_OPENINGS])
{
    const char *const type = opened->model->config.model_type;
    openings all = {list, 0};
    for (size_t k = 0; k < opened->forms->count; k++) {
        organ_opening row = {.form = &opened->forms->rows[k], .forms = 1, .weights = opened->forms->rows[k].weights};
        row.verdict = organ_reader_form(reader, type, row.form, &row.why);
        join_row(&all, &row);
    }
    organ_reader_members(reader, opened, add_row, &all);
    return all.count;
}

organ_reader_verdict organ_openings_worst(const organ_opening *list, size_t count)
{
    organ_reader_verdict worst = ORGAN_OPENS;
    for (size_t k = 0; k < count; k++)
        worst = list[k].verdict > worst ? list[k].verdict : worst;
    return worst;
}

organ_reader_verdict organ_readers_worst(unsigned readers, const char *type, const organ_form *form)
{
    organ_reader_verdict worst = ORGAN_OPENS;
    const char *why;
    for (organ_reader r = 0; r < ORGAN_READER_COUNT; r++) {
        const organ_reader_verdict verdict = readers >> r & 1 ? organ_reader_form(r, type, form, &why) : ORGAN_OPENS;
        worst = verdict > worst ? verdict : worst;
    }
    return worst;
}
