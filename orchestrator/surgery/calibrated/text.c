/* SPDX-License-Identifier: MIT
 * The windows of a calibration text, and the memory that their hidden states take. */
#include "formats/base/input_file.h"
#include "orchestrator/machine/enough_memory.h"
#include "orchestrator/surgery/calibrated/job.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LARGEST_TEXT ((size_t)1 << 30)
#define CHUNK_TOKENS ((size_t)1024) /* as many as a forward pass takes together */

/* Windows evenly spread, from the first token of the text to the last. They do not overlap: the text has room for all. */
static organ_status cut(organ_calibrated_job *job, const uint32_t *ids, organ_error *error)
{
    const size_t samples = job->options->samples, context = job->options->context, count = job->text_tokens;
    const organ_tokenizer_facts *const facts = organ_tokenizer_describe(job->tokenizer);
    const char *const path = job->options->calibration;
    if (count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: has no tokens: there is nothing to calibrate by", path);
    if (count / context < samples)
        return organ_fail(error, ORGAN_USAGE,
                          "%s: has %zu token%s, which is %zu window%s of %zu, not %zu: --samples or --context can be less", path, count,
                          count == 1 ? "" : "s", count / context, count / context == 1 ? "" : "s", context, samples);
    job->tokens = malloc(samples * context * sizeof *job->tokens);
    job->begin = calloc(samples + 1, sizeof *job->begin);
    if (!job->tokens || !job->begin)
        return organ_fail_memory(error, path);
    for (size_t w = 0; w < samples; w++) {
        const size_t from = samples > 1 ? (size_t)((uint64_t)w * (count - context) / (samples - 1)) : 0;
        memcpy(job->tokens + w * context, ids + from, context * sizeof *ids);
        if (facts->adds_bos && facts->bos >= 0)
            job->tokens[w * context] = (uint32_t)facts->bos;
        job->begin[w + 1] = (w + 1) * context;
    }
    return ORGAN_OK;
}

/* The longest rows of all targets together are what a chunk keeps of its inputs. */
static uint64_t kept_bytes(const organ_calibrated_job *job, uint64_t chunk_tokens)
{
    uint64_t most = 0;
    const organ_targets *const targets = &job->base.targets;
    for (size_t k = 0; k < targets->count;) {
        uint64_t sum = 0;
        const int32_t layer = targets->tensors[k]->anatomy.layer;
        for (; k < targets->count && targets->tensors[k]->anatomy.layer == layer; k++)
            sum += targets->tensors[k]->anatomy.expert < 0 ? organ_tensor_matrices(targets->tensors[k]).cols : 0;
        most = sum > most ? sum : most;
    }
    return job->two_streams ? most * chunk_tokens * sizeof(float) : 0;
}

/* What pruning the most demanding matrix takes beside its moments. */
static uint64_t matrix_bytes(const organ_calibrated_job *job)
{
    uint64_t most = 0;
    for (size_t k = 0; k < job->base.targets.count; k++) {
        const uint64_t bytes = organ_calibrated_matrix_memory(job, job->base.targets.tensors[k]);
        most = bytes > most ? bytes : most;
    }
    return most;
}

/* What the forward pass must leave. */
typedef struct beside {
    const organ_calibrated_job *job;
    uint64_t wanted;
} beside;

static bool leaves_more(void *context, uint64_t memory)
{
    const beside *const b = context;
    return organ_forward_left(b->job->forward, memory, b->job->options->context) > b->wanted;
}

static organ_status share_memory(organ_calibrated_job *job, organ_error *error)
{
    const organ_forward_config *const config = organ_forward_describe(job->forward);
    const uint64_t memory = job->base.engine->memory, width = config->hidden * sizeof(float);
    const size_t context = job->options->context, samples = job->options->samples;
    job->chunk_windows = context < CHUNK_TOKENS ? CHUNK_TOKENS / context : 1;
    job->chunk_windows = job->chunk_windows < samples ? job->chunk_windows : samples;
    const uint64_t chunk = job->chunk_windows * context, tokens = (uint64_t)samples * context, streams = job->two_streams ? 2 : 1;
    const uint64_t states = (streams * tokens + chunk) * width, gathering = kept_bytes(job, chunk), pruning = matrix_bytes(job);
    const uint64_t kept = gathering > pruning ? gathering : pruning;
    beside b = {job, states + kept};
    if (!leaves_more(&b, memory))
        return organ_memory_refuse(
            error, memory, organ_memory_enough(memory, leaves_more, &b),
            "the hidden states of %zu windows (--samples) of %zu tokens (--context), a layer and what pruning it takes", samples, context);
    /* Not by what this number of threads leaves: whether moments are whole would depend on it, and with it the result. */
    const uint64_t spare = organ_forward_spare(job->forward, context);
    job->moments_memory = spare - states - kept;
    job->pruned_states = malloc((size_t)(tokens * width));
    job->chunk = malloc((size_t)(chunk * width));
    job->donor_states = job->two_streams ? malloc((size_t)(tokens * width)) : NULL;
    if (!job->pruned_states || !job->chunk || (job->two_streams && !job->donor_states))
        return organ_fail_errno(error, ENOMEM, "hidden states of %zu windows of %zu tokens", samples, context);
    return ORGAN_OK;
}

static void note_context(const organ_calibrated_job *job)
{
    const uint64_t made_for = organ_forward_describe(job->forward)->context;
    if (made_for && job->options->context > made_for)
        organ_progress_note(job->base.progress, "windows of %u tokens are longer than the %llu that %s was made for", job->options->context,
                            (unsigned long long)made_for, job->base.donor->path);
}

static organ_status encode(organ_calibrated_job *job, const char *text, uint32_t **ids, organ_error *error)
{
    organ_tokenizer_allow(job->tokenizer, job->base.engine->memory);
    return organ_tokenizer_encode(job->tokenizer, text, job->text_bytes, true, ids, &job->text_tokens, error);
}

organ_status organ_calibrated_text(organ_calibrated_job *job, organ_error *error)
{
    const char *const path = job->options->calibration;
    char *text = NULL;
    uint32_t *ids = NULL;
    if (organ_input_load(path, path, LARGEST_TEXT, &text, &job->text_bytes, error) == ORGAN_OK &&
        organ_tokenizer_open(job->base.donor, &job->tokenizer, error) == ORGAN_OK &&
        organ_forward_open(job->base.donor, job->base.engine, &job->forward, error) == ORGAN_OK &&
        encode(job, text, &ids, error) == ORGAN_OK && cut(job, ids, error) == ORGAN_OK) {
        snprintf(job->text_digest, sizeof job->text_digest, "%016llx", (unsigned long long)XXH3_64bits(text, job->text_bytes));
        note_context(job);
        share_memory(job, error);
    }
    free(ids);
    free(text);
    return error->status;
}
