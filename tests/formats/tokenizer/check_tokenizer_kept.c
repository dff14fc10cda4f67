/* SPDX-License-Identifier: MIT
 * Tests of vocabularies that are cut to the needs of a text: the text keeps its ids, other texts decode as before, and
 * no merge that stays is in vain. */
#include "formats/tokenizer/kept_tokens.h"
#include "formats/tokenizer/tokenizer_parts.h"
#include "tests/formats/tokenizer/check_tokenizer.h"
#include "tests/kit/scratch_model.h"
#include "tests/kit/suite_table.h"

#include <stdlib.h>
#include <string.h>

/* Tokenizers with bytes as letters, bytes as tokens, scores, ranks, and with ignore_merges. */
static const char *const kinds[] = {"gpt2",   "qwen2", "llama2", "llama3", "mistral", "roberta", "smollm",     "odd",
                                    "spaced", "steps", "wide",   "gemma4", "tekken",  "kimi",    "gemma4-gguf"};
enum { KINDS = sizeof kinds / sizeof *kinds, PART = 150 << 10 };

static char *decoded(const organ_tokenizer *t, const uint32_t *ids, size_t count, size_t *bytes)
{
    organ_bytes all = {0};
    for (size_t k = 0, length; k < count; k++) {
        const char *const piece = organ_tokenizer_piece(t, ids[k], &length);
        ck_assert(organ_bytes_add(&all, piece, length));
    }
    *bytes = all.used;
    return all.data;
}

typedef struct kept_rig {
    organ_tokenizer *whole, *cut;
    organ_kept_tokens kept;
    char *text; /* PART bytes that are kept, then others */
} kept_rig;

static kept_rig rig_open(const char *kind)
{
    kept_rig r = {.whole = tokenizer_of_any_form(kind), .text = tokenizer_mixed_text()};
    organ_error error = {0};
    ck_assert_int_eq(organ_kept_begin(&r.kept, r.whole, &error), ORGAN_OK);
    return r;
}

static void rig_use(kept_rig *r, const char *text, size_t bytes)
{
    organ_error error = {0};
    size_t count;
    uint32_t *const ids = tokenizer_ids(r->whole, text, bytes, /*special=*/true, &count);
    ck_assert_int_eq(organ_kept_use(&r->kept, ids, count, &error), ORGAN_OK);
    free(ids);
    organ_tokenizer_close(r->cut);
    r->cut = organ_kept_tokenizer(&r->kept, &error);
    ck_assert_ptr_nonnull(r->cut);
}

static void rig_close(kept_rig *r)
{
    organ_tokenizer_close(r->cut);
    organ_kept_release(&r->kept);
    organ_tokenizer_close(r->whole);
    free(r->text);
}

/* The two tokenizers give the same ids, or with `pieces` ids that decode to the same bytes. Returns the number of ids
 * that the whole tokenizer gives less. */
static size_t compare_text(const kept_rig *r, const char *kind, const char *text, size_t bytes, bool pieces)
{
    size_t a, b, lengths[2];
    uint32_t *const whole = tokenizer_ids(r->whole, text, bytes, /*special=*/true, &a);
    uint32_t *const cut = tokenizer_ids(r->cut, text, bytes, /*special=*/true, &b);
    char *const first = decoded(r->whole, whole, a, &lengths[0]);
    char *const second = decoded(r->whole, cut, b, &lengths[1]);
    ck_assert_msg(pieces || (a == b && memcmp(whole, cut, a * sizeof *whole) == 0), "%s: %zu ids, not %zu", kind, b, a);
    ck_assert_msg(lengths[0] == lengths[1] && memcmp(first, second, lengths[0]) == 0, "%s: other bytes", kind);
    for (size_t k = 0; k < b; k++)
        ck_assert_msg(r->kept.why[cut[k]], "%s: id %u goes", kind, cut[k]);
    free(first), free(second), free(whole), free(cut);
    ck_assert_uint_ge(b, a);
    return b - a;
}

START_TEST(texts_that_are_kept_keep_their_ids)
{
    const char *const kind = kinds[_i];
    kept_rig r = rig_open(kind);
    rig_use(&r, r.text, PART);
    compare_text(&r, kind, r.text, PART, false);
    compare_text(&r, kind, r.text + PART, 3 * PART, true);
    const uint32_t count = r.kept.count;
    const size_t merges = r.kept.merge_count;
    ck_assert_uint_le(count, r.whole->facts.vocabulary);
    rig_use(&r, r.text, PART); /* once more changes nothing */
    ck_assert_uint_eq(r.kept.count, count);
    ck_assert_uint_eq(r.kept.merge_count, merges);
    rig_use(&r, r.text + PART, PART); /* and a second text is kept too */
    compare_text(&r, kind, r.text, 2 * PART, true);
    compare_text(&r, kind, r.text, PART, false);
    compare_text(&r, kind, r.text + PART, PART, false);
    rig_close(&r);
}
END_TEST

/* Without the merge that makes it, no text becomes the token. */
static void check_needed(kept_rig *r, size_t slot)
{
    const uint32_t id = r->whole->merges[slot].merged;
    const organ_token *const token = &r->whole->tokens[id];
    organ_bpe bpe = {.tokenizer = r->cut};
    uint32_t made;
    const organ_merge *last;
    ck_assert(organ_bpe_last_merge(&bpe, token->text, token->bytes, &made, &last));
    const bool was = made == id;
    r->kept.merges[slot] = false;
    ck_assert(organ_bpe_last_merge(&bpe, token->text, token->bytes, &made, &last));
    ck_assert_msg(!was || made != id, "token %u needs no merge", id);
    r->kept.merges[slot] = true;
    ORGAN_FREE_ARRAYS(bpe.symbols, bpe.heap);
}

START_TEST(kept_merges_are_needed)
{
    kept_rig r = rig_open(kinds[_i]);
    rig_use(&r, r.text, PART);
    size_t checked = 0;
    for (size_t slot = 0; slot < r.whole->merge_slots; slot++)
        if (r.kept.merges[slot]) {
            check_needed(&r, slot);
            checked++;
        }
    ck_assert_uint_eq(checked, r.kept.merge_count);
    ck_assert_uint_gt(checked, 10);
    rig_close(&r);
}
END_TEST

START_TEST(everything_kept_is_the_same_tokenizer)
{
    const char *const kind = kinds[_i];
    kept_rig r = rig_open(kind);
    organ_error error = {0};
    size_t tokens = 0;
    for (uint32_t id = 0; id < r.whole->facts.vocabulary; id++) {
        ck_assert_int_eq(organ_kept_use(&r.kept, &id, 1, &error), ORGAN_OK);
        tokens += r.whole->tokens[id].text != NULL;
    }
    r.cut = organ_kept_tokenizer(&r.kept, &error);
    ck_assert_uint_eq(r.kept.count, tokens);
    compare_text(&r, kind, r.text, 3 * PART, false);
    uint32_t *const ids = organ_kept_ids(&r.kept, &error);
    for (size_t k = 1; k < tokens; k++)
        ck_assert_uint_lt(ids[k - 1], ids[k]);
    free(ids);
    rig_close(&r);
}
END_TEST

/* A text that has nothing of the vocabulary but bytes keeps its bytes; more tokens make fewer pieces of it. */
START_TEST(policies_keep_more)
{
    const char *const kind = kinds[_i];
    organ_error error = {0};
    kept_rig r = rig_open(kind);
    rig_use(&r, "a", 1);
    const size_t few = compare_text(&r, kind, r.text, PART, true);
    const uint32_t least = r.kept.count;
    ck_assert_int_eq(organ_kept_characters(&r.kept, &error), ORGAN_OK);
    organ_tokenizer_close(r.cut);
    r.cut = organ_kept_tokenizer(&r.kept, &error);
    const size_t characters = compare_text(&r, kind, r.text, PART, true);
    ck_assert_uint_ge(r.kept.count, least);
    ck_assert_uint_le(characters, few);
    ck_assert_int_eq(organ_kept_merges(&r.kept, SIZE_MAX, &error), ORGAN_OK);
    organ_tokenizer_close(r.cut);
    r.cut = organ_kept_tokenizer(&r.kept, &error);
    ck_assert_uint_le(compare_text(&r, kind, r.text, PART, true), characters);
    rig_close(&r);
}
END_TEST

Suite *tokenizer_kept_suite(void)
{
    Suite *suite = suite_create("kept tokens");
    TCase *cut = tcase_create("cut vocabularies");
    tcase_add_checked_fixture(cut, scratch_begin, scratch_end);
    tcase_set_timeout(cut, 120);
    tcase_add_loop_test(cut, texts_that_are_kept_keep_their_ids, 0, KINDS);
    tcase_add_loop_test(cut, kept_merges_are_needed, 0, KINDS);
    tcase_add_loop_test(cut, everything_kept_is_the_same_tokenizer, 0, KINDS);
    tcase_add_loop_test(cut, policies_keep_more, 0, KINDS);
    suite_add_tcase(suite, cut);
    return suite;
}
