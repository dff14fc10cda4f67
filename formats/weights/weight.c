/* SPDX-License-Identifier: MIT
 * Properties of one weight that can be computed without a search. */
#include "formats/weights/weight_search.h"

#include "formats/base/format_rest.h"

#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>

organ_weight organ_weight_plain(const organ_tensor *tensor)
{
    const organ_dtype_info *const type = organ_dtype_describe(tensor->dtype);
    return (organ_weight){.name = tensor->name,
                          .scheme = ORGAN_SCHEME_PLAIN,
                          .rank = tensor->rank,
                          .shape = tensor->shape,
                          .elements = tensor->elements,
                          .anatomy = tensor->anatomy,
                          .codes = tensor,
                          .bits = type->in_safetensors ? type->bytes * 8 / type->elements : 0};
}

static const struct companion {
    const char *name;
    size_t offset; /* of the pointer in organ_weight */
} companions[ORGAN_WEIGHT_TENSORS] = {
    {"codes", offsetof(organ_weight, codes)},
    {"scale", offsetof(organ_weight, scale)},
    {"zero", offsetof(organ_weight, zero)},
    {"g_idx", offsetof(organ_weight, g_idx)},
    {"global", offsetof(organ_weight, global)},
    {"shape_tensor", offsetof(organ_weight, shape_tensor)},
    {"biases", offsetof(organ_weight, bias)},
    {"columns", offsetof(organ_weight, columns)},
    {"levels", offsetof(organ_weight, levels)},
    {"state", offsetof(organ_weight, state)},
    {"nested_scale", offsetof(organ_weight, nested_scale)},
    {"nested_levels", offsetof(organ_weight, nested_levels)},
};

const organ_tensor *organ_weight_tensor(const organ_weight *weight, size_t k)
{
    const organ_tensor *tensor;
    memcpy(&tensor, (const char *)weight + companions[k].offset, sizeof tensor);
    return tensor;
}

const char *organ_weight_tensor_name(size_t k) { return companions[k].name; }

uint64_t organ_weight_bytes(const organ_weight *weight)
{
    uint64_t bytes = 0;
    for (size_t k = 0; k < ORGAN_WEIGHT_TENSORS; k++) {
        const organ_tensor *const tensor = organ_weight_tensor(weight, k);
        bytes += tensor ? tensor->bytes : 0;
    }
    return bytes;
}

organ_matrices organ_weight_matrices(const organ_weight *weight)
{
    const organ_tensor plain = {.rank = weight->rank, .shape = weight->shape};
    return organ_tensor_matrices(&plain);
}

/* ---- the search for weights: companions by name, errors, lists of weights and notes ---- */

const organ_tensor *organ_weight_relative(organ_weight_search *search, const char *stem, size_t length,
                                          const char *leaf)
{
    memcpy(search->name, stem, length);
    strcpy(search->name + length, leaf);
    return organ_model_find(search->model, search->name);
}

organ_status organ_weight_require(organ_weight_search *search, const organ_tensor *codes, size_t length,
                                  const char *leaf, const organ_tensor **out)
{
    *out = organ_weight_relative(search, codes->name, length, leaf);
    return *out ? ORGAN_OK : organ_weight_fail(search, codes, "lacks a companion: there is no '%.300s'", search->name);
}

organ_status organ_weight_fail(const organ_weight_search *search, const organ_tensor *tensor, const char *format, ...)
{
    char reason[600];
    ORGAN_FORMAT_REST(reason, format);
    return organ_refuse(search->error, search->model->files[tensor->file].name, "tensor '%.200s' %s", tensor->name,
                        reason);
}

/* A note counts the weights with the same property and values. When the list is full, its last note counts all
 * further contradictions. */
void organ_weight_note_contradiction(organ_weight_search *search, const organ_weight *weight, const char *what,
                                     uint64_t stated0, uint64_t stated1, uint64_t found0, uint64_t found1)
{
    for (size_t k = 0; k < search->note_count; k++) {
        organ_weight_note *const note = &search->notes[k];
        if (k + 1 == ORGAN_NOTES_MAX ||
            (strcmp(note->what, what) == 0 && note->stated[0] == stated0 && note->stated[1] == stated1 &&
             note->found[0] == found0 && note->found[1] == found1)) {
            note->count++;
            return;
        }
    }
    search->notes[search->note_count++] =
        (organ_weight_note){what, {stated0, stated1}, {found0, found1}, weight->name, 1};
}

organ_status organ_weight_group(organ_weight_search *search, const char *name, const organ_quant_group **group,
                                bool *named)
{
    if (!name) /* organ_weight_name had no memory */
        return organ_fail_memory(search->error, search->model->path);
    /* The module is the weight's name without ".weight". It is not built in search->name, which a caller may still
     * need. */
    const size_t length = organ_weight_module_length(name);
    const char *const module = organ_weight_name(search, name, length, "");
    if (!module)
        return organ_fail_memory(search->error, search->model->path);
    return organ_quant_config_of(search->config, module, organ_anatomy_of(name).role == ORGAN_ROLE_EMBED, group, named,
                                 search->error);
}

const char *organ_weight_name(organ_weight_search *search, const char *stem, size_t length, const char *leaf)
{
    char *const name = organ_arena_take(&search->arena, length + strlen(leaf) + 1);
    if (!name)
        return NULL;
    memcpy(name, stem, length);
    strcpy(name + length, leaf);
    return name;
}

organ_status organ_weight_shape(organ_weight_search *search, organ_weight *weight, unsigned lead, const uint64_t *axes,
                                uint64_t rows, uint64_t cols)
{
    uint64_t *const shape = organ_arena_take(&search->arena, (lead + 2) * sizeof *shape);
    if (!shape || !weight->name)
        return organ_fail_memory(search->error, search->model->path);
    bool fits = true;
    weight->elements = 1;
    for (unsigned k = 0; k < lead + 2; k++) {
        shape[k] = k == lead ? rows : cols;
        if (k < lead)
            shape[k] = axes[k];
        fits = fits && shape[k] > 0 && !__builtin_mul_overflow(weight->elements, shape[k], &weight->elements);
    }
    weight->rank = lead + 2;
    weight->shape = shape;
    weight->anatomy = organ_anatomy_of(weight->name);
    if (weight->anatomy.layer < 0 && weight->codes->anatomy.layer >= 0) /* organ_mtp_number_layers */
        weight->anatomy = weight->codes->anatomy;
    char text[ORGAN_SHAPE_TEXT];
    return fits ? ORGAN_OK
                : organ_weight_fail(search, weight->codes, "would unpack to a weight of the impossible shape %s",
                                    organ_shape_text(weight->rank, shape, text));
}

organ_status organ_weight_add(organ_weight_search *search, const organ_weight *weight)
{
    if (search->error->status)
        return search->error->status;
    search->weights[search->count++] = *weight;
    for (size_t k = 0; k < ORGAN_WEIGHT_TENSORS; k++)
        if (organ_weight_tensor(weight, k))
            search->claimed[organ_weight_tensor(weight, k) - search->model->tensors] = true;
    return ORGAN_OK;
}

/* ---- a weight in words: scheme, bits, blocks, zero points, types of scales ---- */

static const struct scheme {
    const char *name;  /* result of organ_scheme_name */
    const char *codes; /* name of the codes in the text; NULL: the name of their FP8 type */
    bool integers;     /* integer codes: the text states whether they are asymmetric (with zero points) or symmetric */
    bool prints_bits;  /* "INT" and the bits of a code follow `codes` */
} schemes[ORGAN_SCHEME_COUNT] = {
    [ORGAN_SCHEME_PLAIN] = {"plain", NULL, false, false},
    [ORGAN_SCHEME_FP8] = {"fp8", NULL, false, false},
    [ORGAN_SCHEME_INT8] = {"int8", "INT8", true, false},
    [ORGAN_SCHEME_PACKED] = {"pack-quantized", "", true, true},
    [ORGAN_SCHEME_MXFP8] = {"mxfp8", "MXFP8 E4M3", false, false},
    [ORGAN_SCHEME_MXFP4] = {"mxfp4", "MXFP4", false, false},
    [ORGAN_SCHEME_NVFP4] = {"nvfp4", "NVFP4", false, false},
    [ORGAN_SCHEME_GPTQ] = {"gptq", "GPTQ ", true, true},
    [ORGAN_SCHEME_AWQ_GEMM] = {"awq-gemm", "AWQ gemm ", true, true},
    [ORGAN_SCHEME_AWQ_GEMV] = {"awq-gemv", "AWQ gemv ", true, true},
    [ORGAN_SCHEME_MLX] = {"mlx-affine", "MLX ", false, true},
    [ORGAN_SCHEME_MXFP6] = {"mxfp6", "MXFP6", false, false},
    [ORGAN_SCHEME_MXINT4] = {"mxint4", "MXINT4", false, false},
    [ORGAN_SCHEME_INT4_ROWS] = {"int4-rows", "INT4", true, false},
    [ORGAN_SCHEME_QUARK4] = {"quark-int4", "Quark INT4", true, false},
    [ORGAN_SCHEME_BNB8] = {"bitsandbytes-int8", "bitsandbytes INT8", true, false},
    [ORGAN_SCHEME_BNB4] = {"bitsandbytes-4bit", "", false, false},
    [ORGAN_SCHEME_ROTATED] = {"rotated", NULL, false, false},
};

const char *organ_scheme_name(organ_scheme scheme) { return schemes[scheme].name; }

static const char *fp8_name(organ_dtype dtype)
{
    switch (dtype) {
    case ORGAN_F8_E4M3:
        return "FP8 E4M3";
    case ORGAN_F8_E5M2:
        return "FP8 E5M2";
    case ORGAN_F8_E4M3FNUZ:
        return "FP8 E4M3FNUZ";
    default:
        return "FP8 E5M2FNUZ";
    }
}

const char *organ_weight_level_type(const organ_weight *weight)
{
    return organ_ends_with(weight->state->name, "nf4") ? "NF4" : "FP4";
}

static void put_codes(const organ_weight *weight, FILE *out)
{
    const struct scheme *const scheme = &schemes[weight->scheme];
    if (weight->scheme == ORGAN_SCHEME_BNB4)
        fprintf(out, "bitsandbytes %s", organ_weight_level_type(weight));
    else
        fputs(scheme->codes ? scheme->codes : fp8_name(weight->codes->dtype), out);
    if (weight->scheme == ORGAN_SCHEME_MXFP6)
        fputs(weight->wide_exponent ? " E3M2" : " E2M3", out);
    if (scheme->prints_bits)
        fprintf(out, "INT%u", weight->bits);
}

/* The group of a transposed weight may be block_rows values of a column. */
static void put_block(const organ_weight *weight, FILE *out)
{
    const organ_matrices m = organ_weight_matrices(weight);
    const bool per_matrix = weight->block_rows == m.rows && weight->block_cols == m.cols;
    if (per_matrix)
        fputs(weight->scale->elements == 1 ? ", per tensor" : ", per matrix", out);
    else if (weight->block_rows == 1 && weight->block_cols == m.cols)
        fputs(", per channel", out);
    else if (weight->block_rows == 1 || weight->block_cols == 1)
        fprintf(out, ", group %" PRIu64, weight->block_rows == 1 ? weight->block_cols : weight->block_rows);
    else
        fprintf(out, ", block %" PRIu64 " x %" PRIu64, weight->block_rows, weight->block_cols);
}

/* Tools store the scales of MXFP4, MXFP8 and NVFP4 as different types of a byte, but their meaning is always E8M0
 * (MX) or E4M3 (NVFP4). */
static const char *scale_name(const organ_weight *weight)
{
    const bool exponents = weight->scheme == ORGAN_SCHEME_MXFP4 || weight->scheme == ORGAN_SCHEME_MXFP6 ||
                           weight->scheme == ORGAN_SCHEME_MXFP8 || weight->scheme == ORGAN_SCHEME_MXINT4;
    if (weight->scheme == ORGAN_SCHEME_NVFP4)
        return organ_dtype_name(ORGAN_F8_E4M3);
    return exponents ? "E8M0" : organ_dtype_name(weight->scale->dtype);
}

static void put_stored(const organ_weight *weight, FILE *out)
{
    if (weight->scheme == ORGAN_SCHEME_PLAIN || weight->scheme == ORGAN_SCHEME_ROTATED) {
        fputs(organ_dtype_name(weight->codes->dtype), out);
        if (weight->global)
            fprintf(out, ", %s tensor scale", organ_dtype_name(weight->global->dtype));
        return;
    }
    put_codes(weight, out);
    put_block(weight, out);
    if (weight->scheme == ORGAN_SCHEME_GPTQ)
        fputs(", zero points", out); /* symmetric weights may have them too, all equal */
    else if (schemes[weight->scheme].integers)
        fputs(weight->zero ? ", asymmetric" : ", symmetric", out);
    if (weight->g_idx)
        fputs(", group index", out);
    fprintf(out, ", %s scales%s", scale_name(weight), weight->bias ? " and biases" : "");
    if (weight->columns)
        fputs(", factors of columns", out);
}

static void put_weight(const organ_weight *weight, FILE *out)
{
    put_stored(weight, out);
    if (weight->rotation)
        fputs(", rotated at run time", out);
}

char *organ_weight_text(const organ_weight *weight, char *out, size_t size)
{
    if (size == 0)
        return out;
    FILE *const text = fmemopen(out, size, "w");
    *out = '\0';
    if (text) {
        put_weight(weight, text);
        fclose(text);
        out[size - 1] = '\0';
    } else {
        organ_memory_count_refusal();
    }
    return out;
}

organ_matrices organ_row_place_matrices(const organ_weight *weight)
{
    const organ_matrices m = organ_weight_matrices(weight);
    return weight->rank == 1 ? (organ_matrices){1, m.cols, 1} : m;
}

static uint64_t place_blocks(const organ_row_place *place, const organ_matrices *m)
{
    return place->blocks ? place->blocks : m->rows / place->block;
}

uint64_t organ_row_place_values(const organ_row_place *place, const organ_matrices *m)
{
    const uint64_t cols = place->transposed || place->column_slice ? place->cols : m->cols;
    return place->matrices * place_blocks(place, m) * place->rows * cols;
}

bool organ_row_place_to_gguf(const organ_row_place *place, const organ_matrices *m, uint64_t row, uint64_t *source,
                             uint64_t *column, uint64_t *left)
{
    const uint64_t blocks = place_blocks(place, m), made = place->transposed ? place->cols : place->rows;
    if (row < place->at)
        return false;
    row -= place->at;
    const uint64_t matrix = place->matrices > 1 ? row / place->per_matrix : 0;
    row -= matrix * place->per_matrix;
    const uint64_t block = blocks > 1 ? row / place->per_block : 0;
    row -= block * place->per_block;
    if (matrix >= place->matrices || block >= blocks || row >= made)
        return false;
    *source = (place->matrix + matrix) * m->rows + (place->from + block) * place->block + place->first;
    *left = made - row;
    *column = place->col + row * place->col_step;
    if (place->pairs)
        *source += organ_turned_row((organ_turned_rows){place->rows, place->turned}, row);
    else if (!place->transposed)
        *source += row;
    return true;
}

bool organ_row_place_to_hf(const organ_row_place *place, const organ_matrices *m, uint64_t row, uint64_t *made,
                           uint64_t *column, uint64_t *left)
{
    const uint64_t matrix = row / m->rows, block = row % m->rows / place->block, within = row % m->rows % place->block;
    if (matrix < place->matrix || matrix - place->matrix >= place->matrices || block < place->from ||
        block - place->from >= place_blocks(place, m) || within < place->first || within - place->first >= place->rows)
        return false;
    const uint64_t k = within - place->first;
    *made = place->at + (matrix - place->matrix) * place->per_matrix + (block - place->from) * place->per_block;
    *left = place->rows - k;
    *column = k;
    if (place->pairs)
        *made += organ_turned_stored((organ_turned_rows){place->rows, place->turned}, k);
    else if (!place->transposed)
        *made += k;
    return true;
}
