/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/ranks: the progress that the first rank shows from the others' reports. */
#include "orchestrator/ranks/ranks_parts.h"
#include "tests/kit/rank_threads.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <string.h>

static char shown[400]; /* name of each stage, followed by the names of its tensors */

static void show_begin(void *context, const char *what, uint64_t bytes, size_t tensors)
{
    (void)context, (void)bytes, (void)tensors;
    strcat(shown, what);
}

static void show_advance(void *context, uint64_t bytes, const char *tensor, const char *remark)
{
    (void)context, (void)bytes, (void)remark;
    if (tensor)
        strcat(strcat(shown, " "), tensor);
}

static void show_end(void *context)
{
    (void)context;
    strcat(shown, "; ");
}

static const organ_progress show = {NULL, show_begin, show_advance, show_end, NULL, NULL, false};

/* Lets the other ranks be ahead: they report tensors of a stage that the first rank begins later, after a stage of its
 * own, and of the next stage, without a meeting in between. */
static void tell_early(organ_ranks *ranks, organ_error *error)
{
    const organ_progress *const progress = organ_ranks_progress(ranks, &show);
    const bool first = organ_ranks_first(ranks);
    const size_t earlier = first ? 2 : organ_ranks_rank(ranks) - 1; /* the rank that reports before this one; 0: none */
    if (first) {
        organ_progress_begin(progress, "alone", 0, 0);
        organ_progress_end(progress);
    }
    ck_assert_int_eq(organ_ranks_agree(ranks, "the stage is dealt", error), ORGAN_OK);
    while (earlier && __atomic_load_n(&stops_sent[earlier], __ATOMIC_RELAXED) < 3)
        organ_ranks_pause_before_retry(0);
    for (int stage = 0; stage < 2; stage++) {
        if (first)
            organ_heartbeat_receive(ranks);
        organ_progress_begin(progress, stage ? "next" : "stage", 0, 0);
        for (int k = 0; k < 2 - stage && !first; k++)
            organ_progress_advance(progress, 1, (const char *[]){"a", "b", "c"}[stage ? 2 : k], NULL);
        if (stage)
            ck_assert_int_eq(organ_ranks_agree(ranks, "the stage is done", error), ORGAN_OK);
        organ_progress_end(progress);
    }
}

/* Reports progress of a stage that the first rank does not begin; it is discarded. */
static void tell_nobody(organ_ranks *ranks, organ_error *error)
{
    const organ_progress *const progress = organ_ranks_progress(ranks, &show);
    if (!organ_ranks_first(ranks)) {
        organ_progress_begin(progress, "stage", 0, 0);
        organ_progress_advance(progress, 1, "a", NULL);
    }
    ck_assert_int_eq(organ_ranks_agree(ranks, "halfway", error), ORGAN_OK);
}

START_TEST(what_comes_early_is_shown_in_its_stage)
{
    notes_arrive = true;
    shown[0] = '\0';
    play(3, tell_early);
    all_end(ORGAN_OK, "");
    ck_assert_str_eq(shown, "alone; stage a b a b; next c c; ");
    shown[0] = '\0';
    play(3, tell_nobody);
    all_end(ORGAN_OK, "");
    ck_assert_str_eq(shown, "");
    notes_arrive = false;
}
END_TEST

int main(void)
{
    const suite_case cases[] = {{"progress", {what_comes_early_is_shown_in_its_stage}}};
    return run_suites((Suite *[]){suite_of("rank_progress", cases, sizeof cases / sizeof *cases, NULL, NULL), NULL});
}
