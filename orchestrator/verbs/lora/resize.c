/* SPDX-License-Identifier: MIT */
#include "orchestrator/verbs/lora/rewrite.h"

#include "formats/base/format_rest.h"
#include "formats/base/results.h"
#include "formats/base/rows.h"
#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/facts.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/product.h"
#include "orchestrator/report/view/views.h"

#include <errno.h>
#include <math.h>
#include <organ/lora.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
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
    json_t *const definitions = ORGAN_OBJECT(SET_TEXT("norm", "||scale B A||, Frobenius"),
                                             SET_TEXT("residual", "|| scale B A - kept part || / || scale B A ||"),
                                             SET_TEXT("explained", "1 - residual^2"));
    return ORGAN_OBJECT(SET_TEXT("schema", "organ.lora_resize/1"), SET_TEXT("organ", ORGAN_VERSION),
                        SET("adapter", organ_adapter_json(j->adapter)), SET_COUNT("asked_rank", j->options->rank),
                        SET_REAL("asked_energy", j->options->energy), SET_COUNT("r", j->rewrite.rank),
                        SET("modules", organ_lora_rows_json(&j->rewrite)), SET("kept_as_they_are", rest),
                        SET("totals", resize_totals_json(j)), SET("definitions", definitions), SET("run", run));
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

unsigned organ_served_rank(uint64_t rank)
{
    static const unsigned limits[] = {1, 8, 16, 32, 64, 128, 256, 320, ORGAN_SERVED_RANK};
    for (size_t k = 0; k < sizeof limits / sizeof *limits; k++)
        if (rank <= limits[k])
            return limits[k];
    return 0;
}

const char *organ_lora_unservable(const organ_adapter *adapter, const char *name, bool factor)
{
    static const struct {
        const char *word, *why;
    } words[] = {{"lm_head", "name has 'lm_head'"},     {"embed_tokens", "name has 'embed_tokens'"},
                 {"layernorm", "name has 'layernorm'"}, {"norm", "name has 'norm'"},
                 {"bias", "name has 'bias'"},           {"rotary_emb", "name has 'rotary_emb'"}};
    for (size_t k = 0; k < sizeof words / sizeof *words && !adapter->gguf; k++)
        if (strstr(name, words[k].word))
            return words[k].why;
    return factor ? NULL : "not a factor of LoRA";
}

const char *organ_lora_pair_unservable(const organ_adapter *adapter, const organ_adapter_pair *pair)
{
    if (pair->experts > 1 && !adapter->gguf)
        return "the factors of a stack of experts";
    return organ_lora_unservable(adapter, pair->a->name, /*factor=*/true);
}

bool organ_lora_is_target(const char *target, const char *module) { return organ_ends_in_words(module, target); }

typedef struct check {
    const organ_adapter *adapter;
    json_t *findings;                   /* list to which note_finding appends */
    organ_lora_orientation orientation; /* of the base; ORGAN_LORA_STRAIGHT without a base */
    organ_error *error;
} check;

static void note_finding(check *c, const char *rule, const char *where, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

static void note_finding(check *c, const char *rule, const char *where, const char *format, ...)
{
    char text[600];
    ORGAN_FORMAT_REST(text, format);
    json_t *const row = ORGAN_OBJECT(SET_TEXT("rule", rule), SET_BYTES("where", where), SET_BYTES("text", text));
    if (!row || json_array_append_new(c->findings, row))
        organ_fail_errno(c->error, ENOMEM, "%s", c->adapter->path);
}

/* ---- the config ---- */

/* null, false, an empty list and an empty object are what peft writes for a field that is not used. */
static bool is_set(const json_t *value)
{
    return value && !json_is_null(value) && !json_is_false(value) &&
           !(json_is_array(value) && json_array_size(value) == 0) &&
           !(json_is_object(value) && json_object_size(value) == 0);
}

static void check_targets(check *c)
{
    const json_t *const targets = json_object_get(c->adapter->config, "target_modules");
    if (!is_set(targets) || (json_is_string(targets) && !*json_string_value(targets)))
        note_finding(c, "field", "target_modules", "it is missing, but servers require it");
    for (size_t k = 0; k < json_array_size(targets); k++) {
        const char *const target = json_string_value(json_array_get(targets, k));
        if (organ_lora_unservable(c->adapter, target, /*factor=*/true))
            note_finding(c, "target", "target_modules", "'%s' cannot be served: %s", target,
                         organ_lora_unservable(c->adapter, target, /*factor=*/true));
    }
}

/* A server that ignores rank_pattern and alpha_pattern computes the right scales if lora_alpha and r alone give the
 * scale of every pair, and no pair has a rank above r. */
static bool has_one_scale(const organ_adapter *adapter)
{
    /* the scale that peft uses without patterns */
    const double scale = adapter->alpha / (adapter->rslora ? sqrt((double)adapter->r) : (double)adapter->r);
    for (size_t k = 0; k < adapter->pair_count; k++)
        if (adapter->pairs[k].scale != scale || adapter->pairs[k].rank > (uint64_t)adapter->r)
            return false;
    return true;
}

static void check_config(check *c)
{
    static const struct {
        const char *field, *text;
    } fields[] = {
        {"modules_to_save", "servers do not load whole modules from an adapter"},
        {"use_dora", "servers do not support DoRA"},
        {"rank_pattern", "servers use one r and one scale for all modules: fold the others into B"},
        {"alpha_pattern", "servers use one lora_alpha for all modules: fold the others into B"},
        {"lora_bias", "servers do not support biases of B"},
        {"trainable_token_indices", "servers do not support separately trained tokens"},
    };
    for (size_t k = 0; k < sizeof fields / sizeof *fields; k++)
        if (is_set(json_object_get(c->adapter->config, fields[k].field)) &&
            !(strstr(fields[k].field, "_pattern") && has_one_scale(c->adapter)))
            note_finding(c, "field", fields[k].field, "%s", fields[k].text);
    const char *const bias = json_string_value(json_object_get(c->adapter->config, "bias"));
    if (bias && strcmp(bias, "none") != 0)
        note_finding(c, "field", "bias", "it is \"%s\": servers do not support biases", bias);
    if (organ_adapter_changed_base(c->adapter))
        note_finding(c, "field", "init_lora_weights",
                     "it is \"%s\": the factors fit only the base as changed by the initialisation",
                     organ_adapter_changed_base(c->adapter));
    check_targets(c);
}

/* ---- keys ---- */

static void check_key(check *c, const organ_adapter_pair *pair, const char *name)
{
    const char *const why = organ_lora_pair_unservable(c->adapter, pair);
    if (why)
        note_finding(c, "key", name, "%s", why);
    if (c->adapter->gguf)
        return;
    if (strncmp(name, "base_model.model.", strlen("base_model.model.")) != 0)
        note_finding(c, "key", name, "it does not begin with 'base_model.model.': peft would silently ignore it");
    if (strstr(name, ".default"))
        note_finding(c, "key", name,
                     "it contains the name of the adapter, 'default', which is not part of keys in files");
}

static void check_fit(check *c, const organ_adapter_pair *pair, const organ_lora_names *base)
{
    char shape[ORGAN_SHAPE_TEXT];
    const organ_weight *const w = organ_lora_names_find(base, pair->weight);
    const uint64_t rows = pair->embedding ? pair->in_features : pair->out_features;
    const uint64_t cols = pair->embedding ? pair->out_features : pair->in_features;
    const unsigned rank = pair->experts > 1 ? 3 : 2;
    /* rows and columns of the base's weight; NULL: it has another number of dimensions */
    const uint64_t *const last = w && w->rank == rank ? w->shape + rank - 2 : NULL;
    const bool experts = rank == 2 || (last && w->shape[0] == pair->experts);
    const bool straight = last && experts && last[0] == rows && last[1] == cols;
    const bool transposed = last && last[0] == cols && last[1] == rows && rank == 2 &&
                            (c->adapter->fan_in_fan_out || organ_lora_is_turned(c->orientation, w));
    if (!w)
        note_finding(c, "base", pair->module, "the base has no '%s'", pair->weight);
    else if (!straight && !transposed)
        note_finding(c, "base", pair->module, "B A is %llu x %llu, but '%s' of the base is %s",
                     (unsigned long long)pair->out_features, (unsigned long long)pair->in_features, w->name,
                     organ_shape_text(w->rank, w->shape, shape));
}

organ_status organ_lora_findings(const organ_adapter *adapter, const organ_model *model, const organ_lora_names *base,
                                 uint64_t max, json_t *findings, organ_error *error)
{
    check c = {adapter, findings,
               model ? organ_lora_orientation_of(model, base->weights, adapter) : ORGAN_LORA_STRAIGHT, error};
    uint64_t rank = 0;   /* largest rank of the pairs that servers can load */
    size_t servable = 0; /* their number */
    if (!adapter->gguf)
        check_config(&c);
    for (size_t k = 0; k < adapter->rest_count && !error->status; k++)
        note_finding(&c, "key", adapter->rest[k]->name, "%s",
                     organ_lora_unservable(adapter, adapter->rest[k]->name, /*factor=*/false));
    for (size_t k = 0; k < adapter->pair_count && !error->status; k++) {
        const organ_adapter_pair *const pair = &adapter->pairs[k];
        check_key(&c, pair, pair->a->name);
        check_key(&c, pair, pair->b->name);
        if (organ_lora_pair_unservable(adapter, pair))
            continue;
        servable++;
        rank = organ_max(rank, pair->rank);
        if (base)
            check_fit(&c, pair, base);
    }
    if (servable == 0)
        note_finding(&c, "key", ORGAN_ADAPTER_WEIGHTS, "no module remains that a server would accept");
    if (!adapter->gguf && (rank > max || (uint64_t)adapter->r > max))
        note_finding(&c, "rank", "r", "the rank is %llu, above %llu: organ lora resize makes it smaller",
                     (unsigned long long)organ_max(rank, (uint64_t)adapter->r), (unsigned long long)max);
    return error->status;
}
