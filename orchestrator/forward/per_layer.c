/* SPDX-License-Identifier: MIT
 * Per-layer embeddings (transformers: modeling_gemma4.py and modeling_gemma3n.py, project_per_layer_inputs and the end
 * of the decoder layer). Layer l gets, of each token, p = width numbers:
 *   input = (norm(projection_l(embedding) / sqrt(hidden)) + sqrt(p) table_l[token]) / sqrt(2)
 * where table_l and projection_l are the columns and rows [l p, (l + 1) p) of matrices for all layers, and adds
 *   norm(out(act(gate(x)) * input))
 * to the hidden state. Input and embedding depend only on the token, so each run of a layer computes them again. */
#include "formats/architecture/families.h"
#include "orchestrator/forward/forward_job.h"
#include "orchestrator/machine/extent.h"

#include <math.h>

/* The prefix of the text model stands before names in safetensors. `rows` 0 means a vector of `cols` numbers. */
static const organ_weight *find_named(const organ_forward *f, const char *name, const char *gguf, uint64_t rows,
                                      uint64_t cols, organ_error *error)
{
    return f->model->gguf ? organ_forward_weight_named(f, gguf, rows, cols, error)
                          : organ_forward_text_weight(f, name, rows, cols, error);
}

/* Gemma 3n and Gemma 4 have a table with a row of layers x width numbers for each token, a projection of the
 * embedding to the same number of values, and the norm of the projection. */
organ_status organ_forward_per_layer_open(organ_forward *f, organ_error *error)
{
    const organ_forward_config *const c = &f->config;
    const organ_kernels *const kernels = f->engine->kernels;
    forward_per_layer *const p = &f->per_layer;
    const uint64_t all = (uint64_t)c->layers * c->per_layer_width;
    if (c->per_layer_width == 0)
        return ORGAN_OK;
    const organ_weight *const table =
        find_named(f, "embed_tokens_per_layer.weight", ORGAN_PER_LAYER_TABLE, c->per_layer_vocabulary, all, error);
    p->weight =
        table ? find_named(f, "per_layer_model_projection.weight", "per_layer_model_proj.weight", all, c->hidden, error)
              : NULL;
    const organ_weight *const norm = p->weight ? find_named(f, "per_layer_projection_norm.weight",
                                                            "per_layer_proj_norm.weight", 0, c->per_layer_width, error)
                                               : NULL;
    if (!norm || !(p->norm = organ_forward_vector(f, norm, error)))
        return error->status;
    p->projection.type = organ_forward_type(p->weight);
    if (organ_weight_reader_open(f->model, table, kernels, NULL, &p->table, error) ||
        organ_weight_reader_open(f->model, f->embedding, kernels, NULL, &p->embedding, error))
        return error->status;
    return organ_weight_reader_open(f->model, p->weight, kernels, NULL, &p->projection.reader, error);
}

void organ_forward_per_layer_close(forward_per_layer *p)
{
    organ_weight_reader_close(p->table);
    organ_weight_reader_close(p->embedding);
    organ_weight_reader_close(p->projection.reader);
    organ_forward_free(p->norm);
}

organ_status organ_forward_per_layer_scratch(const organ_forward *f, size_t *bytes, organ_error *error)
{
    *bytes = 0;
    if (f->config.per_layer_width == 0 || organ_forward_panel_size(f, f->per_layer.weight, bytes, error))
        return error->status;
    *bytes = organ_max(*bytes, organ_max(organ_forward_rows_scratch(f->per_layer.table),
                                         organ_forward_rows_scratch(f->per_layer.embedding)));
    return ORGAN_OK;
}

/* Output and (in streams.c) its source are for at most FORWARD_GROUP tokens. */
size_t organ_forward_per_layer_room(const organ_forward_config *c, size_t tokens)
{
    return c->per_layer_width ? organ_min(tokens, FORWARD_GROUP) * (2 * (size_t)c->per_layer_width + 2 * c->hidden) : 0;
}

/* ---- the input ---- */

/* `table` has the tokens' rows of the per-layer embedding. `inputs` has the projections at first, and then the
 * complete inputs. */
typedef struct input_job {
    const organ_forward *forward;
    const float *table;
    float *inputs;
    size_t tokens;
} input_job;

/* The complete input is (norm(projection / sqrt(hidden)) + row of the table) / sqrt(2). */
static void complete_inputs(void *context, size_t t)
{
    const input_job *const j = context;
    const organ_forward_config *const c = &j->forward->config;
    const size_t width = c->per_layer_width;
    const float scale = (float)(1 / sqrt((double)c->hidden)), half = (float)sqrt(0.5);
    float *const input = j->inputs + t * width;
    const float *const row = j->table + t * width;
    for (size_t k = 0; k < width; k++)
        input[k] *= scale;
    organ_forward_norm(input, j->forward->per_layer.norm, c->norm_adds_one ? 1 : 0, c->rms_eps, width, input);
    for (size_t k = 0; k < width; k++)
        input[k] = (input[k] + row[k]) * half;
}

/* `embedding` and `table` are scratch for the tokens' rows of the embedding and of the per-layer table. */
static organ_status make_inputs(forward_group *g, const uint32_t *tokens, size_t count, float *embedding, float *table,
                                float *inputs, organ_error *error)
{
    const organ_forward *const f = g->forward;
    const organ_forward_config *const c = &f->config;
    const forward_per_layer *const p = &f->per_layer;
    const size_t layer = (size_t)(g->layer->plan - f->plans), width = c->per_layer_width, hidden = (size_t)c->hidden;
    const size_t floats = f->worker_bytes / sizeof(float);
    const forward_rows embeddings = {p->embedding, c->vocabulary, 0, hidden, hidden, (float)c->embedding_scale, false},
                       rows = {p->table, c->per_layer_vocabulary,    layer * width, width,
                               width,    (float)sqrt((double)width), false};
    const forward_linear projection = {
        .panels = organ_forward_panels(&p->projection, layer * width), .in = hidden, .out = width};
    input_job j = {f, table, inputs, count};
    if (organ_forward_rows_read(f, &embeddings, tokens, count, embedding, g->scratch, floats, error) ||
        organ_forward_rows_read(f, &rows, tokens, count, table, g->scratch, floats, error) ||
        organ_forward_products_add(&g->products, embedding, &projection, inputs, count, error) ||
        organ_forward_products_run(&g->products, f, g->scratch, error))
        return error->status;
    return organ_forward_tokens(f->engine, count, 3 * ORGAN_SHARE_NUMBER * (double)(count * width), complete_inputs, &j,
                                error);
}

/* out = norm(out(act(gate(x)) * input)), as in the equations at the top. Until the output is computed, `out` is
 * scratch for embeddings. */
organ_status organ_forward_per_layer(forward_group *g, size_t first, size_t tokens, const float *x, float *out,
                                     float *scratch, organ_error *error)
{
    const organ_forward_config *const c = &g->forward->config;
    const size_t width = c->per_layer_width;
    float *const inputs = scratch, *const gate = inputs + tokens * width;
    if (make_inputs(g, g->windows->tokens + g->first + first, tokens, out, gate, inputs, error) ||
        organ_forward_apply(g, PART_PER_LAYER_GATE, first, tokens, x, gate, width, error) ||
        organ_forward_gate_all(g, gate, inputs, tokens, width, error) ||
        organ_forward_apply(g, PART_PER_LAYER_OUT, first, tokens, gate, out, (size_t)c->hidden, error))
        return error->status;
    return organ_forward_norm_all(g, PART_NORM_PER_LAYER, out, out, tokens, error);
}
