/* SPDX-License-Identifier: MIT
 * The view of organ.inspect/1, the report of `organ inspect`. */
#include "orchestrator/report/view/view_parts.h"

#include "orchestrator/report/text/report_text.h"

#include <organ/weights.h>
#include <string.h>

static const char *full_name(const char *name)
{
    return strcmp(name, "embed") == 0 ? "embedding" : organ_group_shown(name);
}

json_t *organ_size_rows(const json_t *rows, const char *key)
{
    json_t *const sizes = json_array();
    double all = 0;
    for (size_t k = 0; k < json_array_size(rows); k++)
        all += (double)organ_json_count(organ_json_row_at(rows, k), "bytes");
    for (size_t k = 0; k < json_array_size(rows); k++) {
        const json_t *const row = organ_json_row_at(rows, k);
        const char *const name = organ_json_text(row, key);
        const unsigned long long bytes = organ_json_count(row, "bytes");
        if (bytes > 0)
            json_array_append_new(
                sizes, ORGAN_OBJECT(SET_TEXT("name", strcmp(key, "group") == 0 ? full_name(name) : name),
                                    SET_COUNT("bytes", bytes), SET_REAL("percent", 100 * (double)bytes / all)));
    }
    return sizes;
}

/* by_layer has matrices with a row for each layer and a column for each role. */
static double number_in(const json_t *by_layer, const char *matrix, size_t layer, size_t role)
{
    return json_number_value(organ_json_row_at(organ_json_row_at(json_object_get(by_layer, matrix), layer), role));
}

json_t *organ_layer_cells(const json_t *report)
{
    const json_t *const by_layer = json_object_get(report, "by_layer"),
                        *const roles = json_object_get(by_layer, "roles"),
                        *const layers = json_object_get(by_layer, "layers");
    json_t *const cells = json_array();
    for (size_t l = 0; l < json_array_size(layers); l++)
        for (size_t r = 0; r < json_array_size(roles); r++) {
            const double elements = number_in(by_layer, "elements", l, r), bytes = number_in(by_layer, "bytes", l, r);
            if (elements > 0)
                json_array_append_new(
                    cells, ORGAN_OBJECT(SET_HELD("layer", organ_json_row_at(layers, l)),
                                        SET_HELD("role", organ_json_row_at(roles, r)), SET_REAL("bytes", bytes),
                                        SET_REAL("bits", 8 * bytes / elements),
                                        SET_REAL("percent", 100 * number_in(by_layer, "grafted", l, r) / elements)));
        }
    return cells;
}

enum { MAX_WEIGHTS = 1000 }; /* lines of the table of packed weights on a page */

#define FOUND_NOTHING "No problems found in headers, index and config."
#define WHOLE         "{/match?the matching tensors|the model}"

/* ---- tables ---- */

#define SHAPE "[{shape:join}]"
static const organ_field inspect_roles[] = {
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

static const organ_field inspect_files[] = {FILE_FIELDS};

/* The cell has the last parts of the names of all tensors that store the weight. */
static void stored_cell(organ_table *table, const json_t *row)
{
    char cell[1024] = "";
    size_t length = 0;
    for (size_t k = 0; k < ORGAN_WEIGHT_TENSORS; k++) {
        const char *const name = organ_json_text(row, organ_weight_tensor_name(k)), *const dot = strrchr(name, '.');
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
            ORGAN_OWNED char *const fact = organ_words_text(&scope, facts[k].value, ORGAN_WORDS_PAGE);
            json_array_append_new(list, json_string(fact));
        }
    return list;
}

static json_t *check_of(bool ok, const json_t *detail)
{
    return ORGAN_OBJECT(SET_TEXT("check", "headers, index and config"), SET_FLAG("ok", ok), SET_HELD("detail", detail));
}

static json_t *checks_of(const json_t *report)
{
    const json_t *const problems = json_object_get(report, "problems");
    const json_t *const warnings = json_object_get(report, "warnings");
    json_t *const checks = json_array(), *const none = json_string("no problems found");
    if (json_array_size(problems) == 0)
        json_array_append_new(checks, check_of(/*ok=*/true, none));
    for (size_t k = 0; k < json_array_size(problems); k++)
        json_array_append_new(checks, check_of(/*ok=*/false, organ_json_row_at(problems, k)));
    for (size_t k = 0; k < json_array_size(warnings); k++)
        json_array_append_new(checks, check_of(/*ok=*/true, organ_json_row_at(warnings, k)));
    json_decref(none);
    return checks;
}

/* The view computes facts, checks, bits of an element, and the rows of organ_size_rows and organ_layer_cells. The
 * member "typed" is true if the model type differs from the architecture. */
static json_t *with_folded_members(const json_t *report)
{
    const double elements = organ_json_real(report, "totals.elements"), bytes = organ_json_real(report, "totals.bytes");
    const char *const type = organ_json_text(report, "model.model_type");
    const char *const architecture = organ_json_text(report, "model.architecture");
    const bool typed = *type && strcmp(type, architecture) != 0; /* never of GGUF, which has one name for both */
    json_t *const more =
        ORGAN_OBJECT(SET_FLAG("typed", typed), SET("facts", facts_of(report)), SET("checks", checks_of(report)),
                     SET_REAL_OF("bits", elements > 0, 8 * bytes / elements),
                     SET("role_sizes", organ_size_rows(json_object_get(report, "roles"), "role")),
                     SET("type_sizes", organ_size_rows(json_object_get(report, "dtypes"), "dtype")),
                     SET("cells", organ_layer_cells(report)));
    return organ_json_joined(json_copy((json_t *)(uintptr_t)report), more);
}

static const organ_item inspect_highlights[] = {{NULL, "of tensors", "{totals.bytes:bytes}"},
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

#define REASON                                                                                                         \
    "{form?{form}{forms>1? and {forms:-1} more forms}, {weights:count} weight{weights:s} such as {first}|{member}}: "  \
    "{why}"
static const organ_block reader_reasons[] = {SAY_AFTER(ON_TERMINAL, NULL, "    ", REASON), SAY(ON_PAGE, NULL, REASON)};
static const organ_block readers[] = {SAY_AFTER(ON_TERMINAL, NULL, "  ", "{program}: {verdict}"),
                                      SAY(ON_PAGE, NULL, "{program}: {verdict}"),
                                      EACH(ON_ALL, "reasons", BLOCKS_OF(reader_reasons))};

static const organ_block inspect_blocks[] = {
    LINES(NULL, "{model:model}{typed?, model type {model.model_type}}\n"),
    HIGHLIGHTS(NULL, inspect_highlights),
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
    TABLE(ON_ALL, NULL, "roles", FIELDS(inspect_roles), .total = "{match?matching|whole model}", .total_row = "totals",
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
    SECTION(ON_PAGE, "readers", "Programs that open the model"),
    EACH(ON_PAGE, "readers", BLOCKS_OF(readers)),
    SECTION(ON_PAGE, FILES, "Files"),
    TABLE(ON_ALL, FILES, "files", FIELDS(inspect_files), .caption = "The files of the model."),
    SECTION(ON_PAGE, "tensors>-1", "Tensors"),
    TABLE(ON_ALL, "tensors>-1", "tensors", FIELDS(tensors), .max = EVERY_TENSOR, .what = "tensors",
          .caption = "Every tensor in the order of the files."),
    PART(ON_TERMINAL, "projections", BLOCKS_OF(targets)),
    SAY(ON_ALL, "mtp", "The block for multi-token prediction is named as in {mtp.family}."),
    SAY(ON_ALL, "mtp.dispute", "Programs run it differently: {mtp.dispute}."),
    NOTES(ON_TERMINAL),
    EACH(ON_TERMINAL, "warnings", BLOCKS(WARN(ON_TERMINAL, NULL, "{.}"))),
    EACH(ON_TERMINAL, "problems", BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "  PROBLEM  ", "{.}"))),
    SAY(ON_TERMINAL, "!problems", FOUND_NOTHING),
    EACH(ON_TERMINAL, "readers", BLOCKS_OF(readers)),
};

const organ_view organ_inspect_view = {
    .schema = "organ.inspect/1",
    .kind = "Inspection",
    .lead = "{problems?This file has faults: see its health.|Contents of the file. " FOUND_NOTHING "}",
    .make = with_folded_members,
    BLOCKS_OF(inspect_blocks)};

/* ---- organ.models/1: `organ models` ---- */

static const organ_item models_highlights[] = {{NULL, "models", "{totals.models:count}"},
                                               {NULL, "open", "{totals.opens:count}"}};

static const organ_field stores[] = {
    FIELD_TEXT("store", "store", 0), FIELD_COUNT("models", "models"),
    FIELD_WORDS("folder", "{folder?{folder}|none}", ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)};
static const organ_field models[] = {
    FIELD_TEXT("name", "name", ORGAN_FIELD_SHORTENS),
    FIELD_WORDS("architecture", "{architecture?{architecture}|-}", ORGAN_FIELD_LEFT),
    FIELD_WORDS("format", "{format?{format} {dtype}|-}", ORGAN_FIELD_LEFT),
    FIELD_WORDS("size", "{opens?{bytes:bytes}|-}", 0),
    FIELD_WORDS("organ can", "{opens?open|-}{scores?, score}{calibrates?, calibrate}{cuts?, cut}", ORGAN_FIELD_LEFT)};
static const organ_field reasons[] = {FIELD_TEXT("name", "name", ORGAN_FIELD_SHORTENS),
                                      FIELD_TEXT("why it does not score or open", "reason", ORGAN_FIELD_SHORTENS)};

static const organ_block models_blocks[] = {
    HEADING("Models on this machine"),
    HIGHLIGHTS(NULL, models_highlights),
    SECTION(ON_PAGE, NULL, "Stores"),
    TABLE(ON_ALL, NULL, "stores", FIELDS(stores)),
    WARN(ON_ALL, "cut", "The list ends after {totals.models:count} models."),
    SECTION(ON_PAGE, NULL, "Models"),
    TABLE(ON_ALL, "models", "models", FIELDS(models)),
    SAY_AFTER(ON_ALL, "!models", "", "No model was found."),
    SECTION(ON_PAGE, NULL, "Reasons"),
    TABLE_WHERE(ON_FILES, "models", "models", "reason", FIELDS(reasons),
                .caption = "Models that do not open or do not score"),
};

const organ_view organ_models_view = {
    .schema = "organ.models/1", .kind = "Models", .title = "Models on this machine", BLOCKS_OF(models_blocks)};

/* ---- organ.topology/1: `organ topology` ---- */

/* The view of organ.topology/1, the report of `organ topology`: on which CPUs and memory nodes a run would work. */

/* Condition: another worker runs on the worker's CPU, or on the other hardware thread of its core. */
#define SHARES "workers_on_cpu>1|sibling"

static const organ_item topology_highlights[] = {{NULL, "workers", "{threads:count}"},
                                                 {NULL, "usable cores", "{machine.cores:count}"},
                                                 {NULL, "memory nodes in use", "{machine.nodes:count}"}};

static const organ_field nodes[] = {FIELD_COUNT("node", "node"),
                                    FIELD_WORDS("memory", "{bytes>-1?{bytes:memory}|unknown}", 0),
                                    FIELD_COUNT("cores", "cores"), FIELD_COUNT("workers", "workers"),
                                    FIELD_COUNT("band buffers, at most", "band_buffers")};
static const organ_field workers[] = {
    FIELD_COUNT("worker", "worker"),
    FIELD_COUNT("CPU", "cpu"),
    FIELD_COUNT("core", "core"),
    FIELD_COUNT("package", "package"),
    FIELD_WORDS("buffers on", "node {node}", ORGAN_FIELD_LEFT),
    FIELD_WORDS("remarks",
                "{kind?slower kind of core}{" SHARES "?{kind?, }shares its {workers_on_cpu>1?CPU|core}}"
                "{node_is_near?|{kind|" SHARES "?, }its own node has no usable memory}",
                ORGAN_FIELD_LEFT | ORGAN_FIELD_SHORTENS)};
static const organ_field ranks[] = {FIELD_COUNT("rank", "rank"), FIELD_TEXT("host", "host", 0),
                                    FIELD_COUNT("workers", "workers"), FIELD_TEXT("CPUs", "cpus", ORGAN_FIELD_SHORTENS),
                                    FIELD_TEXT("buffers on nodes", "nodes", 0)};
static const organ_field left_out[] = {FIELD_TEXT("unused", "what", 0), FIELD_TEXT("which", "which", 0),
                                       FIELD_TEXT("why", "why", ORGAN_FIELD_SHORTENS)};

static const organ_block topology_blocks[] = {
    SAY_AFTER(ON_TERMINAL, NULL, "Machine: ", "{machine.name}"),
    LINES(NULL,
          "  {machine.cores:count} usable core{machine.cores:s} on {machine.nodes:count} memory "
          "node{machine.nodes:s}{machine.kinds>1?, of {machine.kinds} kinds}\n  {threads:count} worker{threads:s}\n\n"),
    HIGHLIGHTS(NULL, topology_highlights),
    SECTION(ON_PAGE, NULL, "Memory nodes"),
    TABLE(ON_ALL, NULL, "nodes", FIELDS(nodes), .caption = "Band buffers are placed near the workers in turn"),
    SECTION(ON_PAGE, NULL, "Workers"),
    TABLE(ON_ALL, NULL, "workers", FIELDS(workers),
          .caption = "Each worker's own buffers are on the node nearest to its core"),
    SECTION(ON_PAGE, "ranks", "Ranks"),
    TABLE(ON_ALL, "ranks", "ranks", FIELDS(ranks),
          .caption = "Processes that share the work of a run; the tables above show the first"),
    SECTION(ON_PAGE, NULL, "Unused"),
    TABLE(ON_ALL, "left_out", "left_out", FIELDS(left_out)),
    SAY_AFTER(ON_ALL, "!left_out", "", "The plan uses all of the machine."),
};

const organ_view organ_topology_view = {
    .schema = "organ.topology/1", .kind = "Plan of the machine", .title = "{machine.name}", BLOCKS_OF(topology_blocks)};

/* ---- organ.schemas/1: `organ schema` ---- */

static const organ_field schemas[] = {FIELD_TEXT("schema", "name", 0),
                                      FIELD_TEXT("document", "title", ORGAN_FIELD_SHORTENS)};

static const organ_block schemas_blocks[] = {
    HEADING("Schemas"),
    SECTION(ON_PAGE, NULL, "Schemas"),
    TABLE(ON_ALL, NULL, "schemas", FIELDS(schemas)),
    LINES(NULL, "\n'organ schema NAME' prints one.\n"),
};

const organ_view organ_schemas_view = {
    .schema = "organ.schemas/1", .kind = "Schemas", .title = "JSON Schemas of organ", BLOCKS_OF(schemas_blocks)};

/* ---- organ.untrusted/1: a downloaded model, examined before it is loaded ---- */

#define CHECKED                                                                                                        \
    "{looked_at.files:count} file{looked_at.files:s} examined, {looked_at.bytes:bytes}; {looked_at.weights:count} "    \
    "of them "                                                                                                         \
    "hold{looked_at."                                                                                                  \
    "weights=1?s} weights.{looked_at.passed_over? Directories of version control were skipped.}"
#define CLEAN "No risk of loading it was found."
#define SOME  "{findings_in_all:count} finding{findings_in_all:s}: do not load it before you understand each."
#define LIMIT                                                                                                          \
    "organ ran, unpickled, rendered and unpacked nothing of it. A clean verdict covers only these checks, not "        \
    "the behaviour of the weights."

static json_t *findings_of(const json_t *findings, const char *kind)
{
    json_t *const list = json_array();
    size_t k;
    json_t *finding;
    json_array_foreach(findings, k, finding)
    {
        if (strcmp(organ_json_text(finding, "kind"), kind) == 0)
            json_array_append(list, finding);
    }
    return list;
}

/* The view adds "groups": the rows of report.kinds, each with its findings as member "rows". */
static json_t *with_grouped_findings(const json_t *report)
{
    const json_t *const findings = json_object_get(report, "findings");
    json_t *const groups = json_array(), *kind;
    size_t k;
    json_array_foreach(json_object_get(report, "kinds"), k, kind)
    {
        json_t *const group = json_copy(kind);
        ORGAN_ADD(group, SET("rows", findings_of(findings, organ_json_text(kind, "kind"))));
        json_array_append_new(groups, group);
    }
    return organ_json_joined(json_copy((json_t *)(uintptr_t)report), ORGAN_OBJECT(SET("groups", groups)));
}

static const organ_item untrusted_highlights[] = {{NULL, "findings", "{findings_in_all:count}"},
                                                  {NULL, "files examined", "{looked_at.files:count}"},
                                                  {NULL, "of weights", "{looked_at.weights:count}"}};

static const organ_field rows[] = {FIELD_WORDS("file", "{file}", ORGAN_FIELD_LEFT),
                                   FIELD_WORDS("where", "{where?{where}|-}", ORGAN_FIELD_LEFT),
                                   FIELD_WORDS("what", "{what}", ORGAN_FIELD_LEFT)};

static const organ_block untrusted_blocks[] = {
    LINES(NULL, "{model.name}: {findings_in_all?{findings_in_all:count} finding{findings_in_all:s}|no findings}\n\n"),
    HIGHLIGHTS(NULL, untrusted_highlights),
    SAY(ON_ALL, NULL, CHECKED),
    EACH(ON_TERMINAL, "groups",
         BLOCKS(LINES(NULL, "\n"), SAY_AFTER(ON_TERMINAL, NULL, "  ", "{title} ({severity}). {why}"),
                EACH(ON_TERMINAL, "rows",
                     BLOCKS(SAY_AFTER(ON_TERMINAL, NULL, "    - ", "{file}{where?, {where}}: {what}"))))),
    GAP(NULL),
    EACH(ON_FILES, "groups",
         BLOCKS(SECTION(ON_FILES, NULL, "{title}"), SAY(ON_FILES, NULL, "Severity {severity}. {why}"),
                TABLE(ON_FILES, NULL, "rows", FIELDS(rows)))),
    SAY(ON_ALL, "!findings", CLEAN),
    SAY(ON_ALL, NULL, LIMIT),
};

const organ_view organ_untrusted_view = {.schema = "organ.untrusted/1",
                                         .kind = "Examination of a download",
                                         .lead = "{findings?" SOME "|" CLEAN "}",
                                         .make = with_grouped_findings,
                                         BLOCKS_OF(untrusted_blocks)};

/* ---- organ.fetch/1: `organ fetch` ---- */

static const organ_item fetch_highlights[] = {{NULL, "files", "{totals.files:count}"},
                                              {NULL, "size", "{totals.bytes:bytes}"}};

static const organ_field fetch_files[] = {FIELD_TEXT("file", "file", ORGAN_FIELD_SHORTENS),
                                          FIELD_BYTES("size", "bytes"), FIELD_IF("dry_run", "left", "left", "bytes", 0),
                                          FIELD_TEXT("state", "state", 0)};

static const organ_block fetch_blocks[] = {
    LINES(NULL, "{model} at {revision}, commit {commit}\n{dry_run?would be downloaded|is} in {run.folder}\n\n"),
    HEADING("{model}"),
    HIGHLIGHTS(NULL, fetch_highlights),
    SECTION(ON_PAGE, NULL, "Files"),
    TABLE(ON_ALL, NULL, "files", FIELDS(fetch_files)),
    SAY_AFTER(
        ON_ALL, "!dry_run", "",
        "{totals.files:count} file{totals.files:s} with {totals.bytes:bytes}; every size and digest is that of the "
        "server's list."),
    SAY_AFTER(
        ON_ALL, "dry_run", "",
        "{totals.files:count} file{totals.files:s} with {totals.bytes:bytes}, of which {totals.left} bytes are left "
        "to download."),
};

const organ_view organ_fetch_view = {
    .schema = "organ.fetch/1", .kind = "Download", .title = "{model}", BLOCKS_OF(fetch_blocks)};
