/* SPDX-License-Identifier: MIT
 * The view of organ.inspect/1, the report of `organ inspect`. */
#include "orchestrator/report/text/members.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/view_anatomy.h"
#include "orchestrator/report/view/views.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_WEIGHTS = 1000 }; /* lines of the table of packed weights on a page */

#define FOUND_NOTHING "No problems found in headers, index and config."
#define WHOLE         "{/match?the matching tensors|the model}"

/* ---- tables ---- */

#define SHAPE "[{shape:join}]"
static const organ_field roles[] = {
    FIELD_WORDS("role", "{role}{projection? *}", ORGAN_FIELD_LEFT), FIELD_TEXT("group", "group", ORGAN_FIELD_MAYBE),
    /* no column of weights if each weight is one tensor: it would repeat the next column */
    FIELD_IF("!totals.weights=totals.tensors", "weights", "weights", "count", 0), FIELD_COUNT("tensors", "tensors"),
    FIELD_COUNT("elements", "elements"), FIELD_BYTES("size", "bytes"),
    FIELD_WORDS("dtype", "{dtypes?{dtypes:words}}", ORGAN_FIELD_LEFT),
    FIELD_WORDS(
        "shape",
        "{shapes?[{shapes.0.shape:join}]{shapes>1? x{shapes.0.tensors}, [{shapes.1.shape:join}] x{shapes.1.tensors}}"
        "{shapes>2?, {shapes:-2} more}}",
        ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)};
static const organ_field tensors[] = {FIELD_TEXT("tensor", "name", ORGAN_FIELD_SHORTENS), FIELD_TEXT("role", "role", 0),
                                      FIELD_TEXT("dtype", "dtype", 0), FIELD_WORDS("shape", SHAPE, ORGAN_FIELD_LEFT),
                                      FIELD_BYTES("size", "bytes")};
static const organ_field schemes[] = {FIELD_TEXT("quantised as", "text", ORGAN_FIELD_SHORTENS),
                                      FIELD_COUNT("weights", "weights"), FIELD_COUNT("elements", "elements"),
                                      FIELD_BYTES("size", "bytes")};

static const organ_field files[] = {FILE_FIELDS};

static void stored_cell(organ_table *table, const json_t *row)
{
    static const char *const keys[] = {"codes", "scale", "zero", "g_idx", "global", "shape_tensor", "biases"};
    char cell[1024] = "";
    size_t length = 0;
    for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
        const char *const name = organ_json_text(row, keys[k]), *const dot = strrchr(name, '.');
        if (*name && length < sizeof cell)
            length += (size_t)snprintf(cell + length, sizeof cell - length, "%s%s", length ? " " : "",
                                       dot && dot[1] ? dot + 1 : name);
    }
    organ_table_cell(table, "%s", cell);
}

static const organ_field weights[] = {
    FIELD_TEXT("weight", "name", ORGAN_FIELD_SHORTENS), FIELD_WORDS("shape", SHAPE, ORGAN_FIELD_LEFT),
    FIELD_BY("stored as", stored_cell, ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS), FIELD_TEXT("scheme", "scheme", 0)};

/* ---- the page ---- */

static json_t *facts_of(const json_t *report)
{
    static const organ_item facts[] = {
        {"config.num_hidden_layers", NULL, "{config.num_hidden_layers} layers"},
        {"config.hidden_size", NULL, "hidden {config.hidden_size}"},
        {"config.intermediate_size", NULL, "intermediate {config.intermediate_size}"},
        {"config.num_attention_heads", NULL, "{config.num_attention_heads} heads"},
        {"config.num_key_value_heads", NULL, "{config.num_key_value_heads} KV heads"},
        {"config.head_dim", NULL, "head {config.head_dim}"},
        {"config.num_experts", NULL, "{config.num_experts} experts"},
        {"config.vocab_size", NULL, "vocabulary {config.vocab_size}"},
        {"config.tie_word_embeddings", NULL, "tied embeddings"},
        {"quantization.method", NULL, "quantised by {quantization.method}"},
        {"!quantization.method&config.quant_method", NULL, "quantised by {config.quant_method}"}};
    const organ_scope scope = {report, report};
    json_t *const list = json_array();
    for (size_t k = 0; k < sizeof facts / sizeof *facts; k++)
        if (organ_scope_holds(&scope, facts[k].when)) {
            char *const fact = organ_words_text(&scope, facts[k].value, ORGAN_WORDS_PAGE);
            json_array_append_new(list, json_string(fact));
            free(fact);
        }
    return list;
}

static json_t *check_of(bool ok, const json_t *detail)
{
    return ORGAN_OBJECT(SET_TEXT("check", "headers, index and config"), SET_FLAG("ok", ok), SET_HELD("detail", detail));
}

static json_t *checks_of(const json_t *report)
{
    const json_t *const problems = json_object_get(report, "problems"), *const warnings =
                                                                            json_object_get(report, "warnings");
    json_t *const checks = json_array(), *const none = json_string("no problems found");
    if (json_array_size(problems) == 0)
        json_array_append_new(checks, check_of(true, none));
    for (size_t k = 0; k < json_array_size(problems); k++)
        json_array_append_new(checks, check_of(false, organ_json_row_at(problems, k)));
    for (size_t k = 0; k < json_array_size(warnings); k++)
        json_array_append_new(checks, check_of(true, organ_json_row_at(warnings, k)));
    json_decref(none);
    return checks;
}

/* The view computes facts, checks, bits of an element, and the rows of organ_size_rows and organ_layer_cells. The
 * member "typed" is true if the model type differs from the architecture. */
static json_t *with_folded_members(const json_t *report)
{
    const double elements = organ_json_real(report, "totals.elements"), bytes = organ_json_real(report, "totals.bytes");
    const char *const type = organ_json_text(report, "model.model_type"), *const architecture = organ_json_text(
                                                                              report, "model.architecture");
    json_t *const extended = json_copy((json_t *)(uintptr_t)report);
    /* always false for GGUF, which has one name for both */
    ORGAN_ADD(extended, SET_FLAG("typed", *type && strcmp(type, architecture) != 0), SET("facts", facts_of(report)),
              SET("checks", checks_of(report)), SET_REAL("bits", elements > 0 ? 8 * bytes / elements : 0),
              SET("role_sizes", organ_size_rows(json_object_get(report, "roles"), "role")),
              SET("type_sizes", organ_size_rows(json_object_get(report, "dtypes"), "dtype")),
              SET("cells", organ_layer_cells(report)));
    return extended;
}

static const organ_item highlights[] = {{NULL, "of tensors", "{totals.bytes:bytes}"},
                                        {NULL, "tensors", "{totals.tensors:count}"},
                                        {NULL, "elements", "{totals.elements:count}"},
                                        {"bits", "bits per element", "{bits:.4g}"}};

/* ---- blocks ---- */

static const organ_block targets[] = {
    SAY_AFTER(
        ON_TERMINAL, NULL, "  * ",
        "{prunable_tensors=weights?pruned by default|projections}: {weights:count} tensors, {elements:count} elements, "
        "{percent_of_elements:percent} of " WHOLE "."),
    SAY(ON_TERMINAL, "weights>prunable_tensors",
        "{prunable_tensors} of them are stored as F32, F16 or BF16, the types that can be pruned"
        "{/quantization.schemes?; organ dequantize unpacks the others}."),
    SAY(ON_PAGE, NULL,
        "Roles with * are the projections that pruning works on: {weights:count} tensors, {elements:count} elements, "
        "{percent_of_elements:percent} of " WHOLE
        "; {prunable_tensors} of them are stored as F32, F16 or BF16, the types that can be pruned.")};

/* Condition of the table of files. In an organ directory each tensor is a file, so the table would only repeat the
 * tensors. */
#define FILES "files>1&!model.format=organ directory"
#define NOTES(places)                                                                                                  \
    EACH(places, "quantization.notes",                                                                                 \
         BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  NOTE  ", "{.}"), SAY(ON_PAGE, NULL, "NOTE  {.}"))),                    \
        EACH_IF(places, NULL, "quantization.strays",                                                                   \
                BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  NOTE  ", "{name} {why}"),                                       \
                       SAY(ON_PAGE, NULL, "NOTE  {name} {why}")),                                                      \
                .where = "!dropped", .max = 8, .lead = "  NOTE  ",                                                     \
                .rest = "{more} more tensors belong to no weight: --json lists them."),                                \
        TOGETHER(places, NULL, "quantization.strays",                                                                  \
                 BLOCKS(SAY(                                                                                           \
                     places, NULL,                                                                                     \
                     "{rows:size} scale{rows:s} of activations or caches, such as {rows.0.name}, {rows=1?is|are} not " \
                     "needed in a plain model.")),                                                                     \
                 .where = "dropped")

static const organ_block blocks[] = {
    LINES(NULL, "{model:model}{typed?, model type {model.model_type}}\n"),
    HIGHLIGHTS(NULL, highlights),
    SAY(ON_PAGE, NULL, "Model: {model:model}."),
    SAY(ON_TERMINAL, "config>-1", "{facts:join}"),
    SAY(ON_PAGE, "config>-1&facts", "{facts:join}"),
    SAY(ON_TERMINAL | ON_PAGE, "!config>-1", "no config.json next to it"),
    GAP(NULL),
    SAY(ON_PAGE, "match", "Counts include only tensors that match {match}."),
    SECTION(ON_PAGE, NULL, "Health of the file"),
    CHECKS(ON_PAGE, NULL, "checks"),
    NOTES(ON_PAGE),
    SECTION(ON_PAGE, NULL, "Anatomy"),
    SIZE_BARS("role_sizes", "role_sizes", "Size by role", "Bytes of the file by role."),
    TABLE(ON_ALL, NULL, "roles", FIELDS(roles), .total = "{match?matching|whole model}", .total_row = "totals",
          .caption = "Tensors of each role."),
    PART(ON_PAGE, "projections", BLOCKS_OF(targets)),
    SIZE_BARS("dtypes>1&type_sizes", "type_sizes", "Size by type", "Storage types of the elements."),
    BYTES_MAP,
    MAP("dtypes>1&cells", "cells",
        .style = {.title = "Bits per weight by layer and role",
                  .description = "Bits per weight of each role in each layer, including the scales of blocks.",
                  .value_label = "bits per weight"},
        .role = "role", .value = "bits", .zero = true, .inside = true,
        .caption = "Bits per weight, including the scales of its block."),
    SECTION(ON_PAGE, "quantization.schemes", "Quantisation"),
    TABLE(ON_ALL, "quantization.schemes", "quantization.schemes", FIELDS(schemes),
          .caption = "Quantisation schemes. Codes and companions (scales, zero points) are separate tensors and count "
                     "as bytes of their weight; elements are those of the weights."),
    TABLE(ON_TERMINAL, "quantization.weights", "quantization.weights", FIELDS(weights)),
    TABLE(ON_PAGE, "quantization.schemes&quantization.weights", "quantization.weights", FIELDS(weights),
          .max = MAX_WEIGHTS, .what = "weights", .caption = "Every weight and the tensors that store it."),
    SECTION(ON_PAGE, FILES, "Files"),
    TABLE(ON_ALL, FILES, "files", FIELDS(files), .caption = "The files of the model."),
    SECTION(ON_PAGE, "tensors>-1", "Tensors"),
    TABLE(ON_ALL, "tensors>-1", "tensors", FIELDS(tensors), .max = EVERY_TENSOR, .what = "tensors",
          .caption = "Every tensor in the order of the files."),
    PART(ON_TERMINAL, "projections", BLOCKS_OF(targets)),
    NOTES(ON_TERMINAL),
    EACH(ON_TERMINAL, "warnings", BLOCKS(WARN(ON_TERMINAL, NULL, "{.}"))),
    EACH(ON_TERMINAL, "problems", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  PROBLEM  ", "{.}"))),
    SAY(ON_TERMINAL, "!problems", FOUND_NOTHING),
};

const organ_view organ_inspect_view = {
    .schema = "organ.inspect/1",
    .kind = "Inspection",
    .title = "{model.name}",
    .lead = "{problems?This file has faults: see its health.|Contents of the file. " FOUND_NOTHING "}",
    .make = with_folded_members,
    BLOCKS_OF(blocks)};
