/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/lora/rewrite.h"

#include "formats/base/format_rest.h"
#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/schema/schema.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/report/view/views.h"

#include <math.h>
#include <organ/lora.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

typedef struct resize_job {
    const organ_lora_resize_options *options;
    organ_adapter *adapter;
    organ_lora_rewrite rewrite; /* has a row for each pair of the adapter */
    uint64_t bytes_before;      /* bytes of the tensors of the old adapter */
} resize_job;

/* peft changes the base again when it loads the adapter, by the rank in the config. The scale goes into B, and B's bias
 * would need it too. */
static organ_status check_resizable(const organ_adapter *adapter, organ_error *error)
{
    const char *const changed = organ_adapter_changed_base(adapter);
    if (changed)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: init_lora_weights is \"%s\": the initialisation changed the base by the rank of the "
                          "adapter, so it must keep its rank; save the adapter with peft's "
                          "path_initial_model_for_weight_conversion, and resize that one",
                          adapter->path, changed);
    if (json_is_true(json_object_get(adapter->config, "lora_bias")))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: lora_bias is set: the biases of B are not resized; train without lora_bias",
                          adapter->path);
    return ORGAN_OK;
}

static organ_status open_resized(resize_job *j, organ_error *error)
{
    const organ_lora_resize_options *const o = j->options;
    if (o->rank == 0)
        return organ_fail(error, ORGAN_USAGE, "the rank is 0, but must be at least 1");
    if (!(o->energy >= 0 && o->energy <= 1))
        return organ_fail(error, ORGAN_USAGE, "energy %g is outside 0 .. 1", o->energy);
    if (organ_adapter_open(o->adapter, &j->adapter, error) ||
        organ_output_check_not_adapter(o->output, j->adapter, error) ||
        organ_output_check(o->output, j->adapter->path, o->force, error))
        return error->status;
    organ_adapter_warn(j->rewrite.progress, j->adapter, /*lost=*/false);
    if (check_resizable(j->adapter, error))
        return error->status;
    if (j->adapter->pair_count == 0)
        return organ_fail(error, ORGAN_BAD_INPUT, "%s: contains no pair of factors", j->adapter->path);
    j->rewrite.adapter = j->adapter;
    j->rewrite.stage = "resizing";
    j->rewrite.max = o->rank;
    j->rewrite.energy = o->energy;
    j->rewrite.rows = organ_rows_take(j->adapter->pair_count, sizeof *j->rewrite.rows);
    if (!j->rewrite.rows)
        return organ_fail_memory(error, j->options->adapter);
    for (size_t k = 0; k < j->adapter->pair_count; k++) {
        j->rewrite.rows[j->rewrite.count++] = organ_lora_row_of(&j->adapter->pairs[k]);
        j->bytes_before += j->adapter->pairs[k].a->bytes + j->adapter->pairs[k].b->bytes;
    }
    for (size_t k = 0; k < j->adapter->rest_count; k++)
        j->bytes_before += j->adapter->rest[k]->bytes;
    return ORGAN_OK;
}

/* ---- the document ---- */

static json_t *resize_totals_json(const resize_job *j)
{
    json_int_t cut = 0, before = 0;
    double energy = 0, lost = 0, worst = 0; /* ||scale B A||^2, its part that was cut; largest residual of a module */
    for (size_t k = 0; k < j->rewrite.count; k++) {
        const organ_lora_row *const row = &j->rewrite.rows[k];
        const double norm = row->norm * row->norm;
        cut += row->rank < row->pair->rank;
        before = (json_int_t)row->pair->rank > before ? (json_int_t)row->pair->rank : before;
        energy += norm;
        lost += norm * row->residual * row->residual;
        worst = row->residual > worst ? row->residual : worst;
    }
    return ORGAN_OBJECT(SET_COUNT("modules", j->rewrite.count), SET_COUNT("cut", cut), SET_COUNT("rank_before", before),
                        SET_REAL("norm", sqrt(energy)),
                        SET_REAL("residual", energy > 0 ? organ_billionth(sqrt(lost / energy)) : 0.0),
                        SET_REAL("explained", energy > 0 ? organ_billionth(1 - lost / energy) : 1.0),
                        SET_REAL("worst_residual", organ_billionth(worst)), SET_COUNT("bytes_before", j->bytes_before),
                        SET_COUNT("bytes", j->rewrite.bytes));
}

static json_t *resize_document_of(const void *context)
{
    const resize_job *const j = context;
    json_t *const rest = json_array(), *const run = organ_output_run(&j->rewrite.made, j->rewrite.bytes);
    for (size_t k = 0; k < j->adapter->rest_count; k++)
        json_array_append_new(rest, json_string(j->adapter->rest[k]->name));
    ORGAN_ADD(run, SET_BYTES("adapter", j->options->adapter));
    return ORGAN_OBJECT(SET_TEXT("schema", "organ.lora_resize/1"), SET_TEXT("organ", ORGAN_VERSION),
                        SET("adapter", organ_adapter_json(j->adapter)), SET_COUNT("asked_rank", j->options->rank),
                        SET_REAL("asked_energy", j->options->energy), SET_COUNT("r", j->rewrite.rank),
                        SET("modules", organ_lora_rows_json(&j->rewrite)), SET("kept_as_they_are", rest),
                        SET("totals", resize_totals_json(j)), SET_SENTENCES("organ.lora_resize/1", "definitions", NULL),
                        SET("run", run));
}

/* ---- the run ---- */

static organ_status write_out(resize_job *j, json_t **report, organ_error *error)
{
    ORGAN_OWNED_JSON json_t *const config = organ_lora_folded_config(j->adapter, j->rewrite.rank);
    const organ_lora_output output = {.write = {.output = j->options->output,
                                                .force = j->options->force,
                                                .resume = j->options->resume,
                                                .figures = j->options->figures},
                                      .config = config,
                                      .rest = j->adapter->rest,
                                      .rest_count = j->adapter->rest_count,
                                      .view = &organ_lora_resize_view,
                                      .context = j,
                                      .document = resize_document_of};
    if (config)
        organ_lora_write(&j->rewrite, &output, report, error);
    else
        organ_fail_memory(error, j->options->adapter);
    return error->status;
}

static organ_status resize_adapter(resize_job *j, json_t **report, organ_error *error)
{
    return open_resized(j, error) || organ_lora_survey(&j->rewrite, error) ? error->status
                                                                           : write_out(j, report, error);
}

static void close_resizing(resize_job *j)
{
    organ_lora_rewrite_release(&j->rewrite);
    organ_adapter_close(j->adapter);
}

organ_status organ_lora_resize(const organ_lora_resize_options *options, const organ_engine *engine,
                               const organ_progress *progress, json_t **report, organ_error *error)
{
    ORGAN_OWN_RESULTS(report, error);
    if (ORGAN_BEGIN_VERB(organ_lora_resize_options, options, report, error, "adapter", options->adapter, "output",
                         options->output))
        return error->status;
    organ_report_work work = organ_report_begin(report);
    resize_job j = {.options = options,
                    .rewrite = {.engine = engine, .progress = organ_warnings_begin(&work.kept, progress)}};
    resize_adapter(&j, report, error);
    close_resizing(&j);
    return organ_report_end(&work, options->adapter, error);
}

enum { LANES = 8 }; /* partial sums of a product, which are added in order */

/* The code has 15 bits of magnitude. The result is the code itself if the next number would be infinite; `infinity`
 * is the code of infinity. */
static uint16_t neighbour_of(uint16_t code, bool up, uint16_t infinity)
{
    const bool negative = code & 0x8000, away = up != negative; /* away from zero */
    const uint16_t magnitude = code & 0x7fff;
    if (magnitude == 0)
        return up ? 1 : 0x8001;
    if (away && magnitude + 1 >= infinity)
        return code;
    return (uint16_t)((code & 0x8000) | (away ? magnitude + 1 : magnitude - 1));
}

static double product_of(const double *sums, const float *direction, size_t rank)
{
    double lanes[LANES] = {0}, sum = 0;
    size_t k = 0;
    for (; k + LANES <= rank; k += LANES)
        for (size_t l = 0; l < LANES; l++)
            lanes[l] += sums[k + l] * (double)direction[k + l];
    for (size_t l = 0; k + l < rank; l++)
        lanes[l] += sums[k + l] * (double)direction[k + l];
    for (size_t l = 0; l < LANES; l++)
        sum += lanes[l];
    return sum;
}

double organ_lora_square(const float *direction, size_t rank)
{
    double sum = 0;
    for (size_t k = 0; k < rank; k++)
        sum += (double)direction[k] * (double)direction[k];
    return sum;
}

static float number_of(const organ_kernels *kernels, organ_dtype dtype, uint16_t code)
{
    const uint32_t bits = (uint32_t)code << 16;
    float value;
    if (dtype == ORGAN_BF16)
        memcpy(&value, &bits, sizeof value);
    else
        organ_widen(kernels, dtype, &code, &value, 1);
    return value;
}

/* `nearest` is the number nearest to the value, and `code` its code. The error times the direction is added to
 * `sums`. With the error e the squared norm of the sums changes by 2 e <sums, direction> + e^2 `square`, the square
 * of the norm of the direction. */
static uint16_t round_value(const organ_kernels *kernels, organ_dtype dtype, float value, uint16_t code, float nearest,
                            const float *direction, size_t rank, double square, double *sums)
{
    const uint16_t other = neighbour_of(code, value > nearest, /*infinity=*/dtype == ORGAN_F16 ? 0x7c00 : 0x7f80);
    double error = (double)value - (double)nearest;
    const double far = (double)value - (double)number_of(kernels, dtype, other),
                 along = product_of(sums, direction, rank);
    if (far * (2 * along + far * square) < error * (2 * along + error * square)) {
        code = other;
        error = far;
    }
    for (size_t k = 0; k < rank; k++)
        sums[k] += error * (double)direction[k];
    return code;
}

void organ_lora_round_with_feedback(const organ_kernels *kernels, organ_dtype dtype, const float *values, size_t rows,
                                    size_t cols, const organ_lora_directions *d, double *sums, float *nearest,
                                    void *codes)
{
    for (size_t i = 0; i < rows; i++) {
        const float *const row = values + i * cols;
        uint16_t *const out = (uint16_t *)codes + i * cols;
        organ_narrow(kernels, dtype, row, out, cols);
        organ_widen(kernels, dtype, out, nearest, cols);
        memset(sums, 0, d->rank * sizeof *sums);
        for (size_t j = 0; j < cols; j++)
            if (nearest[j] != row[j] && isfinite(nearest[j]))
                out[j] = round_value(kernels, dtype, row[j], out[j], nearest[j], d->values + j * d->rank, d->rank,
                                     d->squares[j], sums);
    }
}
