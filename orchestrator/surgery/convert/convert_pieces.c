/* SPDX-License-Identifier: MIT
 * Adds pieces (tensors of the output, with their types) and places (rules that copy rows of a source to a piece) to the
 * plan of a conversion. */
#include "orchestrator/surgery/convert/convert_parts.h"

#include "formats/base/text.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/stream/product.h"

#include <inttypes.h>
#include <math.h>
#include <organ/stream.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---- weights whose codes and scales both safetensors and GGUF can store ---- */

/* The weight needs a scale for each 32 codes, no scale of the whole tensor, and whole groups of 32 in each row. A
 * transposed stack (gpt-oss) needs no check of its shape, because its groups are parts of the last stored axis. */
static bool code_is_mxfp4(const organ_weight *w)
{
    const uint64_t groups = w->elements / ORGAN_CONVERT_GROUP;
    return w->scheme == ORGAN_SCHEME_MXFP4 && w->scale && !w->global &&
           w->codes->bytes == groups * ORGAN_CONVERT_GROUP / 2 && w->scale->bytes == groups &&
           (w->transposed ? w->rank == 3 : w->shape[w->rank - 1] % ORGAN_CONVERT_GROUP == 0);
}

static bool code_has_float_for_group(const organ_weight *w, const organ_tensor *scale)
{
    return scale && scale->elements == w->elements / ORGAN_CONVERT_GROUP &&
           (scale->dtype == ORGAN_F16 || scale->dtype == ORGAN_BF16 || scale->dtype == ORGAN_F32);
}

/* Returns whether the weight has the codes of Q8_0, Q4_0 or Q4_1: whole groups of 32 in a row, with a floating-point
 * scale s each. Codes c mean c s in Q8_0, (c - 8) s in Q4_0, and c s + m in Q4_1, with a minimum m for each group. Each
 * 32-bit word of 4-bit codes has eight of them, the first in its low bits. */
static bool code_is_in_groups(const organ_weight *w)
{
    return !w->zero && !w->g_idx && !w->global && w->rank >= 2 && w->block_rows == 1 &&
           w->block_cols == ORGAN_CONVERT_GROUP && w->shape[w->rank - 1] % ORGAN_CONVERT_GROUP == 0 &&
           w->codes->bytes == w->elements * w->bits / 8 && code_has_float_for_group(w, w->scale);
}

/* Whether the weight has codes of compressed-tensors or ModelOpt, with a tensor scale, in rows of whole GGUF blocks. */
static bool code_is_nvfp4(const organ_weight *w)
{
    return w->scheme == ORGAN_SCHEME_NVFP4 && w->global && w->codes->dtype == ORGAN_U8 && !w->transposed &&
           w->shape[w->rank - 1] % organ_dtype_describe(ORGAN_NVFP4)->elements == 0;
}

/* Whether a block type of GGUF can have another form in safetensors. */
static bool code_has_form(organ_dtype type)
{
    return type == ORGAN_MXFP4 || type == ORGAN_NVFP4 || type == ORGAN_Q8_0 || type == ORGAN_Q4_0 || type == ORGAN_Q4_1;
}

organ_dtype organ_convert_code_type(const organ_weight *weight)
{
    const organ_dtype own = weight->codes->dtype;
    if (weight->columns)
        return ORGAN_DTYPE_COUNT; /* no other form has factors of columns */
    if (weight->scheme == ORGAN_SCHEME_PLAIN)
        return code_has_form(own) ? own : ORGAN_DTYPE_COUNT;
    if (code_is_nvfp4(weight))
        return ORGAN_NVFP4;
    if (code_is_mxfp4(weight))
        return ORGAN_MXFP4;
    if (!code_is_in_groups(weight))
        return ORGAN_DTYPE_COUNT;
    if (weight->scheme == ORGAN_SCHEME_INT8 && own == ORGAN_I8 && !weight->bias)
        return ORGAN_Q8_0;
    if (weight->scheme == ORGAN_SCHEME_PACKED && (weight->bits == 4 || weight->bits == 8) && !weight->bias)
        return weight->bits == 4 ? ORGAN_Q4_0 : ORGAN_Q8_0;
    if (weight->scheme == ORGAN_SCHEME_MLX && weight->bits == 4 && code_has_float_for_group(weight, weight->bias))
        return ORGAN_Q4_1;
    return ORGAN_DTYPE_COUNT;
}

/* With codes source->weight of a transposed weight becomes a copy with the last two axes in stored order, since
 * codes cannot be transposed. */
organ_status organ_convert_find_codes(organ_convert_job *job, convert_source *source, organ_error *error)
{
    const organ_weight *const w = source->own = source->weight;
    if (!job->keeps_codes || organ_convert_code_type(w) == ORGAN_DTYPE_COUNT)
        return ORGAN_OK;
    source->codes = true;
    if (!w->transposed)
        return ORGAN_OK;
    organ_weight *const stored = organ_arena_take(&job->arena, sizeof *stored);
    uint64_t *const shape = organ_arena_take(&job->arena, 3 * sizeof *shape);
    if (!stored || !shape)
        return organ_fail_memory(error, w->name);
    memcpy(shape, (const uint64_t[]){w->shape[0], w->shape[2], w->shape[1]}, 3 * sizeof *shape);
    *stored = *w;
    stored->shape = shape;
    stored->transposed = false;
    source->weight = stored;
    return ORGAN_OK;
}

const organ_weight *organ_convert_dequantised(organ_convert_job *job)
{
    convert_source *const source = &job->sources[job->source_count];
    source->codes = false;
    return source->weight = source->own;
}

/* ---- types ---- */

/* llama.cpp's converter always stores these as F32: vectors; tensors whose name does not end in ".weight", such as
 * biases; norms and the small matrices in `ends`. */
static bool plan_is_single(const char *name, unsigned rank)
{
    static const char *const ends[] = {
        "_norm.weight",          "ffn_gate_inp.weight",   "ffn_gate_inp_shexp.weight", "position_embd.weight",
        "ssm_conv1d.weight",     "shortconv.conv.weight", "indexer.proj.weight",       "ssm_conv1d_q.weight",
        "ssm_conv1d_k.weight",   "ssm_conv1d_v.weight",   "altup_correct_coef.weight", "altup_predict_coef.weight",
        "indexer.q_proj.weight", "indexer.k_proj.weight"};
    if (rank <= 1 || !organ_ends_with(name, ".weight"))
        return true;
    for (size_t k = 0; k < sizeof ends / sizeof *ends; k++)
        if (organ_ends_with(name, ends[k]))
            return true;
    return false;
}

/* Returns NULL if `cols` is no multiple of any block of the kind. The output head, or the embeddings if they are the
 * head, gets Q6_K, as `organ quantize` gives it. */
static const organ_encoding *plan_encoding(const organ_convert_job *job, const char *name, uint64_t cols)
{
    const bool head =
        strcmp(name, "output.weight") == 0 || (job->config.tied_output && strcmp(name, "token_embd.weight") == 0);
    return organ_encoding_fitting(head ? organ_encoding_named("q6_k") : job->encoding, cols);
}

/* Sets the form of copied codes, or the encoding whose blocks are fitted to the values, in *facts. */
static organ_dtype plan_type(const organ_convert_job *job, const char *name, unsigned rank, const uint64_t *shape,
                             convert_piece *facts)
{
    const convert_source *const source = &job->sources[job->source_count];
    const organ_encoding **const encoding = &facts->encoding;
    if (source->codes && !job->to_gguf && (facts->form = organ_convert_form(job, source->weight, name, rank)))
        return facts->form->codes;
    if (!job->to_gguf) /* published files have the correction biases of routers as F32 */
        return strstr(name, "correction_bias") || strstr(name, "expert_bias") ? ORGAN_F32 : job->type;
    if (plan_is_single(name, rank))
        return ORGAN_F32;
    const organ_dtype codes = source->codes ? organ_convert_code_type(source->weight) : ORGAN_DTYPE_COUNT;
    if (codes != ORGAN_DTYPE_COUNT && (codes != ORGAN_NVFP4 || organ_convert_has_tensor_scale(job, name)))
        return codes;
    if (job->encoding && (*encoding = plan_encoding(job, name, shape[rank - 1])))
        return (*encoding)->codes;
    /* rows that are not whole blocks of the type become F16 */
    return shape[rank - 1] % organ_dtype_describe(job->type)->elements ? ORGAN_F16 : job->type;
}

/* ---- pieces ---- */

static bool plan_grow(organ_convert_job *job)
{
    if (job->piece_count < job->piece_room)
        return true;
    const size_t capacity = job->piece_room ? 2 * job->piece_room : 256;
    organ_piece *const pieces = organ_rows_take(capacity, sizeof *pieces);
    convert_piece *const facts = realloc(job->facts, capacity * sizeof *facts);
    job->facts = facts ? facts : job->facts;
    if (!pieces || !facts) {
        organ_rows_free(pieces);
        return false;
    }
    if (job->piece_count)
        memcpy(pieces, job->pieces, job->piece_count * sizeof *pieces);
    organ_rows_free(job->pieces);
    job->pieces = pieces;
    job->piece_room = capacity;
    return true;
}

size_t organ_convert_piece(organ_convert_job *job, const char *name, unsigned rank, const uint64_t *shape,
                           organ_error *error)
{
    const size_t *const known = organ_name_table_find(&job->names, name);
    if (known)
        return *known;
    uint64_t *const own = organ_arena_take(&job->arena, (rank + 1) * sizeof *own); /* + 1: rank may be 0 */
    char *const kept = organ_arena_copy(&job->arena, name, strlen(name));
    if (!own || !kept || !plan_grow(job) || !organ_name_table_put(&job->names, kept, job->piece_count)) {
        organ_fail_memory(error, job->options->model);
        return SIZE_MAX;
    }
    convert_piece *const facts = &job->facts[job->piece_count];
    *facts = (convert_piece){.rows = 1};
    for (unsigned d = 0; d < rank; d++) {
        own[d] = shape[d];
        facts->rows *= d + 1 < rank || rank == 1 ? shape[d] : 1; /* the last axis of a matrix has the columns */
    }
    const organ_dtype dtype = plan_type(job, name, rank, own, facts);
    job->pieces[job->piece_count] = (organ_piece){.name = kept, .dtype = dtype, .rank = rank, .shape = own};
    const convert_source *const source = &job->sources[job->source_count];
    if (facts->form)
        facts->content = CONVERT_CODES;
    else if (source->codes && dtype == organ_convert_code_type(source->weight))
        facts->content = CONVERT_BLOCKS;
    return job->piece_count++;
}

size_t organ_convert_part(organ_convert_job *job, const organ_piece *made, uint64_t rows, convert_content content,
                          organ_error *error)
{
    const size_t before = job->piece_count;
    const size_t piece = organ_convert_piece(job, made->name, made->rank, made->shape, error);
    if (piece < before && job->facts[piece].rows != rows) {
        organ_fail(error, ORGAN_BAD_INPUT, "%s: the parts of '%s' have different sizes", job->options->model,
                   made->name);
        return SIZE_MAX;
    }
    if (piece != SIZE_MAX) {
        job->pieces[piece].dtype = made->dtype;
        job->facts[piece].rows = rows;
        job->facts[piece].content = content;
    }
    return piece;
}

/* ---- places ---- */

organ_row_place organ_convert_all(const organ_weight *weight, size_t piece, uint64_t at)
{
    const organ_matrices m = organ_row_place_matrices(weight);
    return (organ_row_place){.piece = piece,
                             .matrices = m.count,
                             .block = m.rows,
                             .rows = m.rows,
                             .at = at,
                             .per_matrix = m.rows,
                             .per_block = m.rows};
}

bool organ_convert_is_straight(const organ_row_place *place, uint64_t rows)
{
    return place->block == rows && place->rows == rows && !place->pairs && !place->halves && !place->transposed &&
           !place->column_slice && !place->blocks && !place->tile;
}

uint64_t organ_convert_made(const organ_row_place *place) { return place->transposed ? place->cols : place->rows; }

uint64_t organ_convert_cols(const organ_row_place *place, uint64_t cols)
{
    const uint64_t sources = place->join == ORGAN_JOIN_NONE ? 1 : 2;
    if (place->column_slice)
        return sources * place->cols;
    return place->transposed ? sources * place->rows : cols;
}

uint64_t organ_convert_blocks(const organ_row_place *place, uint64_t *block, uint64_t count)
{
    const uint64_t limit = *block + count, end = place->blocks ? organ_min(place->from + place->blocks, limit) : limit;
    *block = organ_max(*block, place->from);
    return end > *block ? end - *block : 0;
}

uint64_t organ_convert_row_from(const organ_row_place *place, uint64_t k)
{
    const organ_turned_rows turned = {place->rows, place->turned};
    if (place->pairs)
        return organ_turned_row(turned, k);
    return place->halves ? organ_turned_stored(turned, k) : k;
}

/* Returns how many rows of its piece the place fills from a source whose matrices have the shape `m`. */
static uint64_t plan_rows(const organ_row_place *place, const organ_matrices *m)
{
    uint64_t first = 0;
    return place->matrices * organ_convert_blocks(place, &first, m->rows / place->block) * organ_convert_made(place);
}

/* ---- tensors of codes in safetensors ---- */

/* Returns the name of a tensor of the weight X.weight, in job->arena: "X.weight_scale", or "X.scales" of MLX. */
static const char *form_name(organ_convert_job *job, const char *weight, const char *compressed, const char *mlx)
{
    const size_t stem = strlen(weight) - (mlx ? strlen("weight") : 0), size = stem + 16;
    char *const name = organ_arena_take(&job->arena, size);
    if (name)
        snprintf(name, size, "%.*s%s", (int)stem, weight, mlx ? mlx : compressed);
    return name;
}

/* Adds the tensor of one number for each group of codes of the place's piece, and the place in it. */
static organ_status form_numbers(organ_convert_job *job, const organ_row_place *place, const char *name,
                                 convert_content content, organ_error *error)
{
    const convert_form *const form = job->facts[place->piece].form;
    const uint64_t *const codes = job->pieces[place->piece].shape;
    const uint64_t shape[] = {codes[0], codes[1] / form->group};
    organ_row_place numbers = *place;
    if (!name)
        return organ_fail_memory(error, job->options->model);
    const organ_piece made = {.name = name, .dtype = form->scales, .rank = 2, .shape = shape};
    numbers.piece = organ_convert_part(job, &made, shape[0], content, error);
    if (numbers.piece != SIZE_MAX)
        job->facts[numbers.piece].form = form;
    return organ_convert_place(job, &numbers, error);
}

/* NAME_shape has the shape of a weight whose codes are packed in words. */
static organ_status form_shape(organ_convert_job *job, const organ_row_place *place, organ_error *error)
{
    const organ_piece *const codes = &job->pieces[place->piece];
    const char *const name = form_name(job, codes->name, "_shape", NULL);
    int64_t *const values = organ_arena_take(&job->arena, 2 * sizeof *values);
    if (!name || !values)
        return organ_fail_memory(error, job->options->model);
    values[0] = (int64_t)codes->shape[0];
    values[1] = (int64_t)codes->shape[1];
    const uint64_t two = 2;
    const organ_piece made = {.name = name, .dtype = ORGAN_I64, .rank = 1, .shape = &two};
    const size_t piece = organ_convert_part(job, &made, 1, CONVERT_VALUES, error);
    if (piece == SIZE_MAX)
        return error->status;
    job->facts[piece].values = values;
    job->facts[piece].filled = 1;
    return ORGAN_OK;
}

/* Adds the tensors of scales, minima and shape of the codes that a place copies to a piece with a form. */
static organ_status form_place(organ_convert_job *job, const organ_row_place *place, organ_error *error)
{
    const char *const name = job->pieces[place->piece].name;
    const convert_form *const form = job->facts[place->piece].form;
    form_numbers(job, place, form_name(job, name, "_scale", form->mlx ? "scales" : NULL), CONVERT_SCALES, error);
    if (!error->status && form->mlx)
        form_numbers(job, place, form_name(job, name, NULL, "biases"), CONVERT_MINIMA, error);
    return !error->status && form->codes == ORGAN_I32 ? form_shape(job, place, error) : error->status;
}

organ_status organ_convert_place(organ_convert_job *job, const organ_row_place *place, organ_error *error)
{
    if (place->piece == SIZE_MAX)
        return error->status;
    convert_source *const source = &job->sources[job->source_count];
    const organ_matrices m = organ_row_place_matrices(source->weight);
    const organ_piece *const piece = &job->pieces[place->piece];
    const uint64_t cols = piece->rank > 1 ? piece->shape[piece->rank - 1] : 1;
    const convert_content content = job->facts[place->piece].content;
    /* the columns are scales, minima or packed codes, not values */
    const bool part = content == CONVERT_SCALES || content == CONVERT_MINIMA || piece->rank == 4;
    if (place->block == 0 || m.rows % place->block || (!part && cols != organ_convert_cols(place, m.cols)))
        return organ_fail(error, ORGAN_BAD_INPUT,
                          "%s: tensor '%s' has matrices of %" PRIu64 " x %" PRIu64 ", which do not fit '%s'",
                          job->model->path, source->weight->name, m.rows, m.cols, piece->name);
    if (!organ_grow(&job->places, job->place_count, &job->place_room, sizeof *job->places))
        return organ_fail_memory(error, job->options->model);
    job->places[job->place_count++] = *place;
    /* codes and scales of a source and its counterpart alternate by rows, so the place fills twice as many rows */
    job->facts[place->piece].filled += plan_rows(place, &m) * (place->join == ORGAN_JOIN_PAIRS && part ? 2 : 1);
    source->count++;
    return content == CONVERT_CODES && job->facts[place->piece].form ? form_place(job, place, error) : ORGAN_OK;
}

/* While places are planned, a row of codes has a column for each value. */
organ_status organ_convert_finish_forms(organ_convert_job *job, organ_error *error)
{
    for (size_t k = 0; k < job->piece_count; k++) {
        const convert_form *const form = job->facts[k].form;
        organ_piece *const piece = &job->pieces[k];
        if (!form || job->facts[k].content != CONVERT_CODES)
            continue;
        uint64_t *const shape = organ_arena_take(&job->arena, 2 * sizeof *shape);
        const char *const name = form_name(job, piece->name, form->codes_name, NULL);
        if (!shape || !name)
            return organ_fail_memory(error, job->options->model);
        shape[0] = piece->shape[0];
        shape[1] = piece->shape[1] / form->packed;
        piece->shape = shape;
        piece->name = name;
    }
    return ORGAN_OK;
}

bool organ_convert_is_left(const organ_convert_job *job, const convert_source *source)
{
    for (size_t k = source->first; k < source->first + source->count; k++)
        if (!job->facts[job->places[k].piece].skip)
            return true;
    return false;
}

organ_status organ_convert_wrote(organ_convert_job *job, size_t piece, uint64_t rows, organ_error *error)
{
    job->facts[piece].left -= rows;
    if (job->facts[piece].left > 0 || organ_write_finish(job->run, piece, json_object(), error))
        return error->status;
    organ_progress_advance(job->progress, 0, job->pieces[piece].name, NULL);
    return ORGAN_OK;
}

/* ---- errors ---- */

organ_status organ_convert_unknown(const organ_convert_job *job, const char *tensor, const char *why,
                                   organ_error *error)
{
    return organ_fail(error, ORGAN_BAD_INPUT, "%s: tensor '%s' %s", job->model->path, tensor, why);
}

/* ---- small tensors ---- */

organ_status organ_convert_values(const organ_convert_job *job, const organ_weight *weight, float *values,
                                  organ_error *error)
{
    organ_weight_reader *reader = NULL;
    char note[256];
    ORGAN_OWNED void *const scratch =
        organ_weight_reader_open(job->model, weight, job->engine->kernels, note, &reader, error)
            ? NULL
            : aligned_alloc(64, organ_weight_reader_scratch(reader, 1) + 64);
    ORGAN_OWNED float *const row = aligned_alloc(64, (weight->elements * sizeof(float) + 63) / 64 * 64 + 64);
    if (!error->status && (!scratch || !row))
        organ_fail_memory(error, weight->name);
    if (!error->status && organ_weight_read(reader, 0, 1, ORGAN_F32, row, scratch, error) == ORGAN_OK)
        memcpy(values, row, weight->elements * sizeof *values);
    organ_weight_reader_close(reader);
    return error->status;
}

size_t organ_convert_computed_piece(organ_convert_job *job, const char *name, unsigned rank, const float *values,
                                    uint64_t count, organ_error *error)
{
    float *const kept = organ_arena_take(&job->arena, count * sizeof *kept);
    const size_t piece = kept ? organ_convert_piece(job, name, rank, &count, error) : SIZE_MAX;
    if (!kept)
        organ_fail_memory(error, name);
    if (piece == SIZE_MAX)
        return SIZE_MAX;
    if (job->pieces[piece].dtype == ORGAN_F32)
        memcpy(kept, values, count * sizeof *kept);
    else
        organ_narrow(job->engine->kernels, job->pieces[piece].dtype, values, kept, count);
    job->facts[piece].values = kept;
    job->facts[piece].filled = job->facts[piece].rows;
    return piece;
}

/* ---- frequency divisors ---- */

/* The divisor is 1 for short wavelengths, `factor` for long ones, and interpolated between. */
void organ_convert_llama3(const organ_rope_config *r, float *divisors)
{
    const float factor = (float)r->factor, low = (float)r->low_freq_factor;
    const double context = (double)r->original_context;
    for (unsigned k = 0; k < r->dimensions / 2; k++) {
        const float frequency = 1 / powf((float)r->theta, (float)(2 * k) / (float)r->dimensions);
        const float length = (float)(2 * M_PI) / frequency;
        const float smooth = ((float)context / length - low) / (float)(r->high_freq_factor - r->low_freq_factor);
        divisors[k] = 1 / ((1 - smooth) / factor + smooth);
        if (length < (float)(context / r->high_freq_factor))
            divisors[k] = 1;
        else if (length > (float)(context / r->low_freq_factor) || r->high_freq_factor == r->low_freq_factor)
            divisors[k] = factor;
    }
}

/* ---- key-values of a GGUF file by layer, where config.json may have one for all ---- */

bool organ_convert_is_uniform(const organ_gguf_kv *kv)
{
    const size_t each = organ_gguf_type_bytes(kv->element);
    const unsigned char *const first = kv->bytes + ORGAN_GGUF_ARRAY_HEAD;
    if (kv->type != ORGAN_GGUF_ARRAY)
        return true;
    for (uint64_t k = 1; k < kv->count && each; k++)
        if (memcmp(first, first + k * each, each))
            return false;
    return kv->count > 0 && each > 0;
}

static bool config_lists_layers(const organ_convert_job *job, const char *key)
{
    const char *keys = job->pairing->keys;
    char one[ORGAN_MEMBER_ROOM];
    bool listed = false;
    while (!listed && organ_next_word(&keys, one, sizeof one))
        listed = strncmp(one, key, strlen(key)) == 0 && one[strlen(key)] == ':';
    return listed;
}

organ_status organ_convert_check_layers(const organ_convert_job *job, organ_error *error)
{
    static const char *const sizes[] = {"feed_forward_length", "attention.head_count", "attention.head_count_kv"};
    for (size_t k = 0; k < sizeof sizes / sizeof *sizes; k++) {
        char key[160];
        snprintf(key, sizeof key, "%s.%s", job->pairing->gguf, sizes[k]);
        const organ_gguf_kv *const kv = organ_gguf_find(job->model->gguf, key);
        if (kv && !organ_convert_is_uniform(kv) && !config_lists_layers(job, sizes[k]))
            return organ_fail(error, ORGAN_BAD_INPUT,
                              "%s: key '%s' has different numbers for the layers; config.json of %s has one for all",
                              job->model->path, key, job->pairing->architecture);
    }
    return ORGAN_OK;
}
