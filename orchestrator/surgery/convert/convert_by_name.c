/* SPDX-License-Identifier: MIT
 * Conversion by name of architectures without a row in pairing.h. A tensor whose name means the same in all
 * architectures gets the other format's name, and keeps its values and the order of its rows; numbered experts become
 * the matrices of a stack. A tensor whose name would differ after a conversion to GGUF and back is an error. The whole
 * config.json is stored as one key-value of the GGUF file, because the meaning of most of its members is not known. The
 * tail of a tensor's name is the part after the layer's number: "mlp.up_proj.weight". */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/base/json.h"
#include "formats/base/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { NAMED_SIZE = 600 }; /* bytes for a tensor's name with its NUL */

/* How the tails of a shared expert's tensors begin: "shared_expert" if it has a gate (Qwen2-MoE), else "shared_experts"
 * (DeepSeek). The list of usual names has only "shared_expert". */
#define NAMED_SHARED  "mlp.shared_expert."
#define NAMED_SHAREDS "mlp.shared_experts."

/* The row has no names of its own, so the usual names of tensors (layer_parts.c) apply. */
static const forward_family named_family = {.architecture = ""};

/* ---- names ---- */

/* `stacked`: from the matrix of one numbered expert (safetensors) to the stack of all experts (GGUF); else the
 * reverse. */
static forward_part named_counterpart(forward_part part, bool stacked)
{
    static const forward_part pairs[][2] = {{PART_EXPERT_GATE, PART_EXPERTS_GATE},
                                            {PART_EXPERT_UP, PART_EXPERTS_UP},
                                            {PART_EXPERT_DOWN, PART_EXPERTS_DOWN}};
    for (size_t k = 0; k < sizeof pairs / sizeof *pairs; k++)
        if (part == pairs[k][!stacked])
            return pairs[k][stacked];
    return part;
}

/* The translation of a norm's name needs the list: its role depends on the other norms of the layer. */
typedef struct named_tensors {
    const organ_convert_job *job;
    bool pieces; /* search the planned tensors of the output; false: the weights of the model */
} named_tensors;

/* `layer_prefix` is the text before the layer's number: "model.layers." or "blk.". */
static bool named_has(const named_tensors *of, const char *layer_prefix, long long layer, const char *tail)
{
    char name[NAMED_SIZE];
    snprintf(name, sizeof name, "%s%lld.%s", layer_prefix, layer, tail);
    return of->pieces ? organ_name_table_find(&of->job->names, name) != NULL
                      : organ_weights_named(of->job->weights, name) != NULL;
}

/* The name has the form LADDER NUMBER "." TAIL. Returns NULL for other forms, and if the number has leading zeros or
 * exceeds INT32_MAX. */
static const char *named_tail(const char *name, const char *layer_prefix, long long *layer)
{
    const size_t length = strlen(layer_prefix);
    char *end;
    if (strncmp(name, layer_prefix, length) || name[length] < '0' || name[length] > '9')
        return NULL;
    *layer = strtoll(name + length, &end, 10);
    return *end == '.' && *layer <= INT32_MAX && (name[length] != '0' || name[length + 1] == '.') ? end + 1 : NULL;
}

/* Writes the tail with `other` in the place of `begin`. Returns false if it does not begin so, or is too long. */
static bool named_swap(const char *tail, const char *begin, const char *other, char made[NAMED_SIZE])
{
    const size_t length = strlen(begin);
    if (strncmp(tail, begin, length) || strlen(tail) > NAMED_SIZE / 2)
        return false;
    snprintf(made, NAMED_SIZE, "%s%s", other, tail + length);
    return true;
}

static const char *const named_outside[][2] = {
    {"model.embed_tokens.weight", "token_embd.weight"},
    {"model.norm.weight", "output_norm.weight"},
    {"model.norm.bias", "output_norm.bias"},
    {"lm_head.weight", "output.weight"},
    {"lm_head.bias", "output.bias"},
};

/* Returns whether `name` is a tensor outside of layers; `made` becomes its name in the other format. */
static bool named_outside_layers(const char *name, bool to_gguf, char made[NAMED_SIZE])
{
    for (size_t k = 0; k < sizeof named_outside / sizeof *named_outside; k++)
        if (strcmp(named_outside[k][!to_gguf], name) == 0) {
            snprintf(made, NAMED_SIZE, "%s", named_outside[k][to_gguf]);
            return true;
        }
    return false;
}

/* A file without the prefix "model." gets it, in `made`. */
static const char *named_usual(const organ_convert_job *job, const char *name, char made[NAMED_SIZE])
{
    if (!job->to_gguf || *job->prefix || strncmp(name, "lm_head.", strlen("lm_head.")) == 0)
        return name;
    snprintf(made, NAMED_SIZE, "model.%.*s", (int)(NAMED_SIZE - sizeof "model."), name);
    return made;
}

/* *number becomes the number of the expert in the tail, -1 if there is none. The tail post_attention_layernorm is
 * the norm before the feed-forward, unless the layer also has pre_feedforward or post_feedforward norms: it is then
 * the norm after the attention. */
static bool named_tail_to_gguf(const named_tensors *of, long long layer, const char *tail, char made[NAMED_SIZE],
                               int64_t *number)
{
    const char *const layer_prefix = of->job->to_gguf && !*of->job->prefix ? "layers." : "model.layers.";
    const bool around = named_has(of, layer_prefix, layer, "pre_feedforward_layernorm.weight") ||
                        named_has(of, layer_prefix, layer, "post_feedforward_layernorm.weight");
    char part_name[256], singular[NAMED_SIZE];
    pairing_part part;
    *number = -1;
    if (named_swap(tail, "post_attention_layernorm.", around ? "post_attention_norm." : "ffn_norm.", made) ||
        named_swap(tail, "pre_feedforward_layernorm.", "ffn_norm.", made) ||
        named_swap(tail, "post_feedforward_layernorm.", "post_ffw_norm.", made))
        return true;
    if (named_swap(tail, NAMED_SHAREDS, NAMED_SHARED, singular))
        tail = singular;
    if (!organ_pairing_find_part(&named_family, /*gguf=*/false, /*top=*/false, tail, &part) ||
        (!organ_part_is_plain(part.part) && named_counterpart(part.part, /*stacked=*/true) == part.part))
        return false;
    *number = part.number;
    part.part = named_counterpart(part.part, /*stacked=*/true);
    if (!organ_pairing_part_name(&named_family, /*gguf=*/true, &part, part_name))
        return false;
    snprintf(made, NAMED_SIZE, "%s", part_name);
    return true;
}

/* `number` is the expert of a stack whose name is needed. ffn_norm becomes post_attention_layernorm; but if the
 * layer has a norm after the attention, that norm gets this name and ffn_norm becomes pre_feedforward_layernorm. */
static bool named_tail_to_hf(const named_tensors *of, long long layer, const char *tail, int64_t number,
                             char made[NAMED_SIZE])
{
    const bool around = named_has(of, "blk.", layer, "post_attention_norm.weight");
    const bool gated = named_has(of, "blk.", layer, "ffn_gate_inp_shexp.weight");
    char part_name[256];
    pairing_part part;
    if (named_swap(tail, "ffn_norm.", around ? "pre_feedforward_layernorm." : "post_attention_layernorm.", made) ||
        named_swap(tail, "post_attention_norm.", "post_attention_layernorm.", made) ||
        named_swap(tail, "post_ffw_norm.", "post_feedforward_layernorm.", made))
        return true;
    if (!organ_pairing_find_part(&named_family, /*gguf=*/true, /*top=*/false, tail, &part) ||
        (!organ_part_is_plain(part.part) && named_counterpart(part.part, /*stacked=*/false) == part.part))
        return false;
    part.part = named_counterpart(part.part, /*stacked=*/false);
    part.number = number;
    part.first = true;
    if (!organ_pairing_part_name(&named_family, /*gguf=*/false, &part, part_name))
        return false;
    if (gated || !named_swap(part_name, NAMED_SHARED, NAMED_SHAREDS, made))
        snprintf(made, NAMED_SIZE, "%s", part_name);
    return true;
}

/* *number is the number of the expert: a result with `to_gguf` (-1: none; unchanged for tensors outside of layers),
 * else an argument (named_tail_to_hf). */
static bool named_translate(const named_tensors *of, const char *name, bool to_gguf, char made[NAMED_SIZE],
                            int64_t *number)
{
    long long layer;
    char tail[NAMED_SIZE];
    const char *const own = named_tail(name, to_gguf ? "model.layers." : "blk.", &layer);
    if (!own)
        return named_outside_layers(name, to_gguf, made);
    if (!(to_gguf ? named_tail_to_gguf(of, layer, own, tail, number) : named_tail_to_hf(of, layer, own, *number, tail)))
        return false;
    const int length = snprintf(made, NAMED_SIZE, "%s%lld.%s", to_gguf ? "blk." : "model.layers.", layer, tail);
    return length < NAMED_SIZE;
}

/* ---- one weight ---- */

/* `why` completes "tensor 'TENSOR'". */
static organ_status named_refuse(const organ_convert_job *job, const char *tensor, const char *why, organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: architecture '%s' can only be converted by name, and tensor '%s' %s",
                      job->model->path, job->pairing->architecture, tensor, why);
}

static organ_status named_expert_to_gguf(organ_convert_job *job, const organ_weight *w, const char *name,
                                         int64_t number, organ_error *error)
{
    if (w->rank != 2)
        return named_refuse(job, w->name, "is not a matrix", error);
    const uint64_t shape[] = {job->config.experts, w->shape[0], w->shape[1]};
    const organ_row_place place =
        organ_convert_all(w, organ_convert_piece(job, name, 3, shape, error), (uint64_t)number * w->shape[0]);
    return organ_convert_place(job, &place, error);
}

static organ_status named_stack_to_hf(organ_convert_job *job, const organ_weight *w, organ_error *error)
{
    const named_tensors model = {job, false};
    char name[NAMED_SIZE];
    for (uint64_t m = 0; m < w->shape[0] && !error->status; m++) {
        int64_t number = (int64_t)m;
        if (!named_translate(&model, w->name, /*to_gguf=*/false, name, &number))
            return named_refuse(job, w->name, "has no known name in safetensors", error);
        organ_row_place place = organ_convert_all(w, organ_convert_piece(job, name, 2, w->shape + 1, error), 0);
        place.matrix = m;
        place.matrices = 1;
        organ_convert_place(job, &place, error);
    }
    return error->status;
}

organ_status organ_convert_named(organ_convert_job *job, const organ_weight *weight, organ_error *error)
{
    const named_tensors model = {job, false};
    char name[NAMED_SIZE], usual[NAMED_SIZE];
    int64_t number = 0;
    if (job->to_gguf && organ_ends_with(weight->name, ".rotary_emb.inv_freq")) /* loaders compute it: left out */
        return ORGAN_OK;
    if (!named_translate(&model, named_usual(job, weight->name, usual), job->to_gguf, name, &number))
        return named_refuse(job, weight->name,
                            job->to_gguf ? "has no known name in GGUF" : "has no known name in safetensors", error);
    if (job->to_gguf && number >= 0 && strstr(name, "_exps."))
        return named_expert_to_gguf(job, weight, name, number, error);
    if (!job->to_gguf && strstr(weight->name, "_exps."))
        return weight->rank == 3 ? named_stack_to_hf(job, weight, error)
                                 : named_refuse(job, weight->name, "is not a stack of experts", error);
    const organ_row_place all =
        organ_convert_all(weight, organ_convert_piece(job, name, weight->rank, weight->shape, error), 0);
    return organ_convert_place(job, &all, error);
}

/* Fails with ORGAN_BAD_INPUT for the first weight whose name would differ after a conversion to GGUF and back. */
static organ_status check_names_return(const organ_convert_job *job, organ_error *error)
{
    const named_tensors model = {job, false}, made = {job, true};
    char name[NAMED_SIZE], again[NAMED_SIZE], usual[NAMED_SIZE];
    for (size_t s = 0; s < job->source_count && !error->status; s++) {
        const convert_source *const source = &job->sources[s];
        int64_t number = 0;
        const char *const own = named_usual(job, source->own->name, usual);
        if (!named_translate(&model, own, /*to_gguf=*/true, name, &number) ||
            !named_translate(&made, name, /*to_gguf=*/false, again, &number) || strcmp(again, own))
            named_refuse(job, source->own->name, "would come back from GGUF under another name", error);
    }
    return error->status;
}

/* ---- the model ---- */

static unsigned named_experts(const organ_convert_job *job)
{
    const named_tensors model = {job, false};
    char name[NAMED_SIZE], usual[NAMED_SIZE];
    int64_t most = -1;
    for (size_t k = 0; k < job->weights->count; k++) {
        int64_t number = -1;
        const char *const own = named_usual(job, job->weights->weights[k].name, usual);
        if (strstr(own, ".experts.") && named_translate(&model, own, /*to_gguf=*/true, name, &number) && number > most)
            most = number;
    }
    return (unsigned)(most + 1);
}

/* Of job->config, sets only what names and shapes of tensors show: vocabulary, number of experts (0 for a GGUF
 * input), and whether the head is tied. `architecture` is the name in config.json, `model_type` also that of
 * general.architecture. */
static organ_status named_begin(organ_convert_job *job, const char *architecture, const char *model_type,
                                organ_error *error)
{
    const bool bare = !organ_weights_named(job->weights, "model.embed_tokens.weight") &&
                      organ_weights_named(job->weights, "embed_tokens.weight");
    job->prefix = bare ? "" : "model.";
    const char *const table = bare ? "embed_tokens.weight" : "model.embed_tokens.weight";
    const organ_weight *const embedding = organ_weights_named(job->weights, job->to_gguf ? table : "token_embd.weight");
    const char *const name = organ_arena_copy(&job->arena, architecture, strlen(architecture));
    const char *const type = organ_arena_copy(&job->arena, model_type, strlen(model_type));
    if (!name || !type)
        return organ_fail_memory(error, job->options->model);
    job->named = (forward_pairing){.architecture = name, .gguf = type, .model_type = type, .keys = "", .rest = "{}"};
    job->by_name = true;
    job->pairing = &job->named;
    job->family = job->gguf_family = &named_family;
    job->config.vocabulary = embedding && embedding->rank == 2 ? embedding->shape[0] : 0;
    job->config.experts = job->to_gguf ? named_experts(job) : 0;
    job->config.tied_output = !organ_weights_named(job->weights, job->to_gguf ? "lm_head.weight" : "output.weight");
    organ_progress_warn(job->progress,
                        "organ convert has no rules for architecture '%s': tensors get other names and keep their "
                        "values, and no forward pass checks the output",
                        name);
    return ORGAN_OK;
}

/* A conversion by name would not reorder, fuse or transpose rows, and knows neither norms of 1 + weight nor
 * recurrent layers. `f` is NULL for an architecture that has no row. */
static bool named_has_rules(const forward_family *f)
{
    return f && (f->norm_adds_one || f->interleaved || f->neighbours || f->gguf_pairs || f->transposed ||
                 f->recurrent || f->fused != ORGAN_FUSED_NONE);
}

static bool named_is_identifier(const char *text)
{
    return *text && strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == strlen(text) &&
           strlen(text) < 64;
}

organ_status organ_convert_find_names(organ_convert_job *job, const char *architecture, organ_error *error)
{
    const char *const word = organ_json_plain(json_object_get(job->text, "model_type")), *const type = word ? word : "";
    if (!named_is_identifier(type) || named_has_rules(job->family))
        return organ_pairing_refuse(job->model->path, architecture, /*gguf=*/false, error);
    const char *const reserved = organ_convert_reserved(type);
    if (reserved)
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: architecture '%s' cannot be converted by name: llama.cpp has the architecture '%s' and "
                          "would misread a GGUF file of model_type '%s'",
                          job->model->path, architecture, reserved, type);
    return named_begin(job, architecture, type, error);
}

organ_status organ_convert_find_gguf_names(organ_convert_job *job, const char *architecture, organ_error *error)
{
    char label[300];
    organ_json_source text = {.label = label};
    snprintf(label, sizeof label, "%.250s: %s", job->model->path, ORGAN_GGUF_CONFIG);
    if (!named_is_identifier(architecture) || organ_convert_reserved(architecture))
        return organ_pairing_refuse(job->model->path, architecture, /*gguf=*/true, error);
    text.bytes = organ_gguf_string(job->model->gguf, ORGAN_GGUF_CONFIG, &text.length);
    if (text.bytes && organ_json_parse_object(&text, &job->file, error))
        return error->status;
    if (text.bytes && !(job->own_config = strndup(text.bytes, text.length)))
        return organ_fail_memory(error, label);
    const json_t *const names = json_object_get(job->file, "architectures");
    const char *const own = organ_json_plain(json_array_get(names, 0));
    return named_begin(job, own && named_is_identifier(own) ? own : architecture, architecture, error);
}

organ_status organ_convert_keep_config(organ_convert_job *job, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_json_edit_release) organ_json_edit edit = {0};
    if (organ_json_edit_begin(&edit, "config.json", job->own_config, strlen(job->own_config), error) == ORGAN_OK &&
        organ_config_drop_quantisation(&edit, error) == ORGAN_OK)
        organ_gguf_writer_set_string(job->gguf, ORGAN_GGUF_CONFIG, edit.bytes, edit.length, error);
    return error->status;
}

/* ---- plan: tensors of the output (pieces) and the weights that are read for them (sources) ---- */

/* A piece is a copy of the source's bytes if no other source has rows in it, and neither the order of rows nor the
 * type changes. */
static void plan_copy(organ_convert_job *job, const convert_source *source)
{
    const organ_weight *const w = source->weight;
    const organ_row_place *const place = &job->places[source->first];
    organ_piece *const piece = &job->pieces[place->piece];
    const organ_matrices m = organ_row_place_matrices(w);
    if (source->count == 1 && w->scheme == ORGAN_SCHEME_PLAIN && !w->scale && !w->global &&
        place->function == ORGAN_ROW_SAME && organ_convert_is_straight(place, m.rows) &&
        piece->dtype == w->codes->dtype && job->facts[place->piece].rows == m.count * m.rows) {
        piece->same = w->codes;
        piece->model = source->tower ? job->towers.file : NULL;
    }
}

/* Whether the place's piece gets values, or codes of the source's type, or numbers of such codes. */
static bool plan_fits(const organ_convert_job *job, const convert_source *source, const organ_row_place *place)
{
    const convert_piece *const facts = &job->facts[place->piece];
    const organ_dtype type = organ_convert_code_type(source->own);
    if (facts->form)
        return facts->form->blocks == type;
    return facts->content != CONVERT_BLOCKS || job->pieces[place->piece].dtype == type;
}

/* A source is copied by codes if all its places have pieces of codes or scales, by values if none has. Refuses a
 * mixture, and values whose rows are read in the order of codes: the numbered experts of a stack may have different
 * types. */
static organ_status plan_codes(organ_convert_job *job, convert_source *source, organ_error *error)
{
    size_t coded = 0, fitting = 0;
    for (size_t k = source->first; k < source->first + source->count; k++) {
        coded += job->facts[job->places[k].piece].content != CONVERT_VALUES;
        fitting += plan_fits(job, source, &job->places[k]);
    }
    /* a transposed weight that is read in the order of its codes cannot be read as values any more */
    if (coded == 0 && source->weight == source->own)
        source->codes = false;
    if (coded != (source->codes ? source->count : 0) || fitting != source->count)
        return organ_convert_unknown(
            job, source->own->name,
            "and another one of the same output tensor do not have the same codes: use another `type`", error);
    if (source->codes)
        source->as = organ_convert_code_type(source->own);
    job->coded += source->codes;
    return ORGAN_OK;
}

/* Rows are read as F16 or BF16 if all pieces of the source have this type and no function changes the values, else
 * as FP32. */
static organ_status plan_source(organ_convert_job *job, convert_source *source, organ_error *error)
{
    if (plan_codes(job, source, error) || source->codes)
        return error->status;
    const uint64_t rows = organ_row_place_matrices(source->weight).rows;
    source->as = job->pieces[job->places[source->first].piece].dtype;
    source->block = 1;
    for (size_t k = source->first; k < source->first + source->count; k++) {
        const organ_row_place *const place = &job->places[k];
        if (!organ_convert_is_straight(place, rows))
            source->block = place->block;
        if (place->function != ORGAN_ROW_SAME || job->pieces[place->piece].dtype != source->as)
            source->as = ORGAN_F32;
    }
    if (source->as != ORGAN_BF16 && source->as != ORGAN_F16)
        source->as = ORGAN_F32;
    plan_copy(job, source);
    return ORGAN_OK;
}

/* A row that no place fills shows that the model lacks a tensor. */
static organ_status plan_check(const organ_convert_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->piece_count; k++)
        if (job->facts[k].filled != job->facts[k].rows)
            return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensors %s: '%s' would have %" PRIu64 " of %" PRIu64 " rows",
                              job->model->path,
                              job->facts[k].filled < job->facts[k].rows ? "are missing"
                                                                        : "have the same rows of the output",
                              job->pieces[k].name, job->facts[k].filled, job->facts[k].rows);
    return ORGAN_OK;
}

/* The bytes of a source are added to the cost of the piece in its first place only, so that each source counts once. */
static void set_costs(organ_convert_job *job)
{
    for (size_t k = 0; k < job->piece_count; k++) {
        job->pieces[k].item = k;
        job->pieces[k].cost = 0;
    }
    for (size_t s = 0; s < job->source_count; s++)
        job->pieces[job->places[job->sources[s].first].piece].cost += organ_weight_bytes(job->sources[s].weight);
}

static organ_status plan_weight(organ_convert_job *job, const organ_weight *weight, organ_error *error)
{
    convert_source *const source = &job->sources[job->source_count];
    *source = (convert_source){.weight = weight, .first = job->place_count};
    if (organ_convert_find_codes(job, source, error))
        return error->status;
    if (job->by_name)
        organ_convert_named(job, source->weight, error);
    else
        organ_convert_tensor(job, source->weight, error);
    job->source_count += source->count > 0;
    organ_rows_passed();
    return error->status;
}

organ_status organ_convert_plan(organ_convert_job *job, organ_error *error)
{
    const organ_weights *const w = job->weights, *const towers = job->towers.weights;
    /* + 1: functions that add pieces read sources[source_count], also after the last source */
    if (!(job->sources = calloc(w->count + (towers ? towers->count : 0) + 1, sizeof *job->sources)))
        return organ_fail_memory(error, job->options->model);
    for (size_t k = 0; k < w->unmatched_count; k++)
        if (!w->unmatched[k].dropped)
            return organ_convert_unknown(job, w->unmatched[k].tensor->name, w->unmatched[k].why, error);
    if (!job->to_gguf)
        organ_convert_choose_forms(job);
    for (size_t k = 0; k < w->count && !job->towers.only && !error->status; k++)
        if (!organ_convert_is_tower(job, &w->weights[k]) || !job->towers.written)
            plan_weight(job, &w->weights[k], error);
    job->sources[job->source_count] = (convert_source){0};
    if (!error->status && job->by_name && job->to_gguf)
        check_names_return(job, error);
    else if (!error->status && !job->by_name && !job->towers.only)
        organ_convert_computed(job, error);
    if (error->status || organ_convert_plan_towers(job, error) || plan_check(job, error) ||
        organ_convert_check_blocks(job, error) || organ_convert_tensor_scales(job, error) ||
        organ_convert_finish_forms(job, error))
        return error->status;
    set_costs(job);
    for (size_t s = 0; s < job->source_count && !error->status; s++)
        plan_source(job, &job->sources[s], error);
    if (!error->status && job->keeps_codes && job->coded == 0)
        return organ_fail(
            error, ORGAN_BAD_INPUT, "%s: `dtype` codes: no tensor has codes that %s have, too: MXFP4%s",
            job->model->path, job->to_gguf ? "GGUF files" : "safetensors of this architecture",
            job->to_gguf
                ? ", NVFP4 (if llama.cpp applies scales of tensors), or symmetric INT8 or INT4 with a scale for "
                  "32 values, or MLX's 4 bits in groups of 32"
                : ", NVFP4, Q8_0 or Q4_0 of linear layers, or Q4_1 if mlx-lm has the architecture");
    return error->status;
}
