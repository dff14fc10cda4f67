/* SPDX-License-Identifier: MIT
 * Linear recurrences (organ_recurrence). A strip of columns of the state is processed for all tokens before the next
 * strip, so that it stays in the cache closest to the core. One pass over its rows ends a token and begins the next
 * one. */

#define RECURRENCE_VECTORS 2 /* width of a strip, in vectors */

/* The decays, key and query of a token, which are the same for all columns of the state. */
typedef struct recurrence_token {
    const float *decays, *key, *query;
    size_t step; /* distance in `decays` between two rows of the state: 1, or 0 if all rows have the same decay */
} recurrence_token;

/* Returns the decays, key and query of token t. */
INLINE recurrence_token recurrence_at(const organ_recurrence *r, size_t t)
{
    return (recurrence_token){.decays = r->decays + t * r->decay_stride,
                              .key = r->keys + t * r->key_stride,
                              .query = r->queries + t * r->query_stride,
                              .step = r->decay_by_key};
}

/* One number for each column of a strip. */
typedef f32x16 recurrence_strip[RECURRENCE_VECTORS];

/* Processes row i of a strip of the state, whose numbers begin at `row`: the write and the output of the token `now`,
 * then the decay and the read of the token `next`. `now` or `next` may be NULL. The last of `vectors` vectors has
 * `last` columns. */
INLINE void recurrence_row(const recurrence_token *now, const recurrence_token *next, size_t i, float *row,
                           const recurrence_strip writes, recurrence_strip outs, recurrence_strip reads,
                           const int vectors, const size_t last)
{
    UNROLL for (int v = 0; v < vectors; v++)
    {
        const size_t n = v + 1 < vectors ? 16 : last;
        f32x16 s = f32_load_first(row + 16 * v, n);
        if (now) {
            s = f32_fma(f32_set1(now->key[i]), writes[v], s);
            outs[v] = f32_fma(f32_set1(now->query[i]), s, outs[v]);
        }
        if (next) {
            s = f32_mul(f32_set1(next->decays[i * next->step]), s);
            reads[v] = f32_fma(f32_set1(next->key[i]), s, reads[v]);
        }
        f32_store_first(row + 16 * v, s, n);
    }
}

/* Applies recurrence_row to all rows of the state. */
INLINE void recurrence_rows(const organ_recurrence *r, const recurrence_token *now, const recurrence_token *next,
                            float *state, const recurrence_strip writes, recurrence_strip outs, recurrence_strip reads,
                            const int vectors, const size_t last)
{
    for (size_t i = 0; i < r->key_dim; i++)
        recurrence_row(now, next, i, state + i * r->state_stride, writes, outs, reads, vectors, last);
}

/* Runs all tokens through the columns of the state S from `from` on: `vectors` x 16 columns, where the last vector has
 * `last` columns. There is at least one token. For each token: S = decay S; reads = key^T S; writes = strength (value -
 * reads), the gated delta rule (Yang et al. 2024, arXiv:2412.06464), or strength value without `delta`; S = S + key
 * writes^T; out = query^T S. The next token's decay and read need only the row just written, so one pass over the rows
 * of S ends a token and begins the next. */
INLINE void recurrence_columns(const organ_recurrence *r, size_t from, const int vectors, const size_t last)
{
    float *const state = r->state + from;
    recurrence_strip reads, outs, writes;
    UNROLL for (int v = 0; v < vectors; v++) reads[v] = writes[v] = outs[v] = f32_set1(0);
    recurrence_token now = recurrence_at(r, 0);
    recurrence_rows(r, NULL, &now, state, writes, outs, reads, vectors, last);
    for (size_t t = 0; t < r->tokens; t++) {
        const f32x16 strength = f32_set1(r->strengths[t * r->strength_stride]);
        const float *const values = r->values + t * r->value_stride + from;
        float *const to = r->outs + t * r->out_stride + from;
        UNROLL for (int v = 0; v < vectors; v++)
        {
            const f32x16 value = f32_load_first(values + 16 * v, v + 1 < vectors ? 16 : last);
            writes[v] = f32_mul(strength, r->delta ? f32_sub(value, reads[v]) : value);
            reads[v] = outs[v] = f32_set1(0);
        }
        if (t + 1 < r->tokens) {
            const recurrence_token next = recurrence_at(r, t + 1);
            recurrence_rows(r, &now, &next, state, writes, outs, reads, vectors, last);
            now = next;
        } else
            recurrence_rows(r, &now, NULL, state, writes, outs, reads, vectors, last);
        UNROLL for (int v = 0; v < vectors; v++) f32_store_first(to + 16 * v, outs[v], v + 1 < vectors ? 16 : last);
    }
}

/* Runs the tokens of one head through the recurrence, strip by strip of its columns. */
static void recurrence(const organ_recurrence *r)
{
    size_t from = 0;
    for (; r->tokens && from + 16 * RECURRENCE_VECTORS <= r->value_dim; from += 16 * RECURRENCE_VECTORS)
        recurrence_columns(r, from, RECURRENCE_VECTORS, 16);
    for (; r->tokens && from + 16 <= r->value_dim; from += 16)
        recurrence_columns(r, from, 1, 16);
    if (r->tokens && from < r->value_dim)
        recurrence_columns(r, from, 1, r->value_dim - from);
}
