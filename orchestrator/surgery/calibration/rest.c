/* SPDX-License-Identifier: MIT
 * Places the calibration windows in the text, and cuts test windows from the gaps between them. */
#include "orchestrator/surgery/calibration/calibration_job.h"
#include "orchestrator/surgery/inputs/inputs.h"

#include <stdlib.h>
#include <string.h>

/* Windows are spread evenly from the first token of the text to the last. They do not overlap, because fit_samples
 * (calibration_run.c) limits their number. */
size_t organ_calibration_window_at(const organ_calibration_run *calib, size_t window)
{
    const size_t samples = calib->options->calibration.samples;
    return samples > 1 ? (size_t)((uint64_t)window * (calib->facts.tokens - calib->options->calibration.context) /
                                  (samples - 1))
                       : 0;
}

static size_t gap_start(const organ_calibration_run *calib, size_t w, size_t *length)
{
    const size_t begin = organ_calibration_window_at(calib, w) + calib->options->calibration.context;
    const size_t end =
        w + 1 < calib->options->calibration.samples ? organ_calibration_window_at(calib, w + 1) : calib->facts.tokens;
    *length = end - begin;
    return begin;
}

/* The last of several windows ends with the text, so no gap follows it; a single window begins with the text and has
 * one gap after it. */
static size_t gap_count(const organ_calibration_run *calib)
{
    return calib->options->calibration.samples > 1 ? calib->options->calibration.samples - 1 : 1;
}

/* Returns how many test windows of `length` tokens fit into the gaps. `begins`, unless NULL, gets the positions of
 * their first tokens in the text. */
static size_t find_places(const organ_calibration_run *calib, size_t length, size_t *begins)
{
    size_t count = 0;
    for (size_t w = 0; w < gap_count(calib); w++) {
        size_t capacity = 0;
        const size_t begin = gap_start(calib, w, &capacity);
        for (size_t k = 0; k < capacity / length; k++, count++)
            if (begins)
                begins[count] = begin + k * length;
    }
    return count;
}

static size_t window_length(const organ_calibration_run *calib)
{
    size_t length = calib->options->calibration.context;
    for (size_t w = 0; w < gap_count(calib); w++) {
        size_t capacity = 0;
        (void)gap_start(calib, w, &capacity);
        length = capacity < length ? capacity : length;
    }
    return length;
}

/* Only the tokens of the calibration windows were kept. The engine's memory is still available for the text, because
 * the hidden states have not been written yet. Returns ORGAN_BAD_INPUT if the text has changed. */
static organ_status encode_text_again(const organ_calibration_run *calib, organ_text_input *text, organ_error *error)
{
    const char *const path = calib->options->calibration.text;
    if (organ_text_load(text, path, calib->engine->memory, error) == ORGAN_OK &&
        organ_text_encode(text, calib->facts.tokenizer, true, error) == ORGAN_OK &&
        (text->size != calib->facts.bytes || text->tokens != calib->facts.tokens))
        organ_fail(error, ORGAN_BAD_INPUT, "%s: was changed while being read", path);
    return error->status;
}

/* The windows are at evenly spread places of the `all` places in `begins` (find_places). If the tokenizer adds a BOS
 * token, it replaces the first token of each window. */
static organ_status fill_windows(const organ_calibration_run *calib, const size_t *begins, size_t all, size_t count,
                                 organ_calibration_test_windows *rest, organ_error *error)
{
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(calib->facts.tokenizer);
    organ_text_input text = {0};
    rest->tokens = malloc(count * rest->length * sizeof *rest->tokens);
    rest->begin = calloc(count + 1, sizeof *rest->begin);
    if (!rest->tokens || !rest->begin)
        return organ_fail_memory(error, calib->options->calibration.text);
    if (encode_text_again(calib, &text, error) == ORGAN_OK)
        for (size_t w = 0; w < count; w++) {
            uint32_t *const own = rest->tokens + w * rest->length;
            memcpy(own, text.ids + begins[(size_t)((uint64_t)w * all / count)], rest->length * sizeof *own);
            if (facts->adds_bos && facts->bos >= 0)
                own[0] = (uint32_t)facts->bos;
            rest->begin[w + 1] = (w + 1) * rest->length;
        }
    organ_text_release(&text);
    rest->windows = (organ_windows){rest->tokens, count, rest->begin};
    return error->status;
}

bool organ_calibration_has_test_tokens(const organ_calibration_run *calib, size_t tokens)
{
    const size_t length = window_length(calib);
    return length >= ORGAN_CALIBRATION_MIN_REST && find_places(calib, length, NULL) >= (tokens + length - 1) / length;
}

organ_status organ_calibration_cut_test_windows(const organ_calibration_run *calib, size_t requested,
                                                const char *option, organ_calibration_test_windows *rest,
                                                organ_error *error)
{
    *rest = (organ_calibration_test_windows){.length = window_length(calib)};
    const bool enough = rest->length >= ORGAN_CALIBRATION_MIN_REST;
    const size_t all = enough ? find_places(calib, rest->length, NULL) : 0,
                 count = enough ? (requested + rest->length - 1) / rest->length : 1;
    if (count > all)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: the calibration windows (--samples, --context) leave only %zu tokens in pieces of at "
                          "least %zu, fewer than the %zu needed (%s)",
                          calib->options->calibration.text, all * rest->length,
                          enough ? rest->length : ORGAN_CALIBRATION_MIN_REST, requested, option);
    size_t *const begins = malloc(all * sizeof *begins);
    if (!begins)
        return organ_fail_memory(error, calib->options->calibration.text);
    (void)find_places(calib, rest->length, begins);
    fill_windows(calib, begins, all, count, rest, error);
    free(begins);
    return error->status;
}

void organ_calibration_test_windows_release(organ_calibration_test_windows *rest)
{
    free(rest->tokens);
    free(rest->begin);
    *rest = (organ_calibration_test_windows){0};
}
