/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/ranks: exchanges over a simulated network between threads of this program, and the assignment
 * of work. */
#include "orchestrator/ranks/ranks_parts.h"
#include "tests/kit/rank_threads.h"
#include "tests/kit/suite_table.h"

#include <check.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))
#define RANKS        4

/* ---- meetings of all ranks ---- */

static void give_bytes(organ_ranks *ranks, organ_error *error)
{
    char mine[RANKS + 1];
    organ_gathered all = {0};
    memset(mine, 'a' + (int)organ_ranks_rank(ranks), sizeof mine);
    ck_assert_uint_eq(organ_ranks_count(ranks), RANKS);
    /* Rank 0 contributes no bytes. */
    ck_assert_int_eq(organ_ranks_gather(ranks, "here", mine, organ_ranks_rank(ranks), &all, error), ORGAN_OK);
    ck_assert_uint_eq(all.count, RANKS);
    for (size_t r = 0; r < RANKS; r++) {
        ck_assert_uint_eq(all.bytes[r], r);
        for (size_t k = 0; k < r; k++)
            ck_assert_int_eq(all.of[r][k], 'a' + (int)r);
        ck_assert_int_eq(all.of[r][r], '\0');
    }
    organ_gathered_release(&all);
}

START_TEST(all_get_what_each_has)
{
    play(RANKS, give_bytes);
    all_end(ORGAN_OK, "");
    for (int r = 0; r < RANKS; r++)
        ck_assert_uint_eq(stops_sent[r], 0);
}
END_TEST

static void complete_array(organ_ranks *ranks, organ_error *error)
{
    enum { ELEMENTS = 11 };
    struct element {
        double value;
        char name[5];
    } array[ELEMENTS] = {0};
    uint32_t owner[ELEMENTS];
    for (size_t k = 0; k < ELEMENTS; k++) {
        owner[k] = (uint32_t)(k * k % 3); /* the last rank owns none */
        if (owner[k] == organ_ranks_rank(ranks)) {
            array[k].value = 0.5 * (double)k;
            snprintf(array[k].name, sizeof array[k].name, "%zu", k);
        }
    }
    ck_assert_int_eq(organ_ranks_complete(ranks, "an array", array, sizeof *array, ELEMENTS, owner, error), ORGAN_OK);
    for (size_t k = 0; k < ELEMENTS; k++) {
        ck_assert_double_eq(array[k].value, 0.5 * (double)k);
        ck_assert_uint_eq(strtoul(array[k].name, NULL, 10), k);
    }
}

START_TEST(an_array_is_completed)
{
    play(RANKS, complete_array);
    all_end(ORGAN_OK, "");
}
END_TEST

enum { PARTS = 11 };

/* The exchanged result, between members that are not exchanged. */
typedef struct worked {
    const void *mine;
    double found;
    uint64_t twice;
    char *name;
} worked;

static uint64_t part_bytes(const void *context, size_t part)
{
    (void)context;
    return 100 + part;
}

static organ_status work_on_part(void *context, size_t part, organ_error *error)
{
    worked *const w = (worked *)context + part;
    if (part == 8 && !w->mine)
        return organ_fail(error, ORGAN_BAD_INPUT, "part 8 is broken");
    w->found = 0.5 * (double)part;
    w->twice = 2 * part;
    if (part % 3 && asprintf(&w->name, "%0*zu", (int)part, part) < 0)
        return organ_fail_memory(error, "a name");
    return ORGAN_OK;
}

static uint64_t name_bytes(const void *of, size_t part) { return strlen(((const worked *)of)[part].name) + 1; }

static void share_parts(organ_ranks *ranks, organ_error *error)
{
    worked of[PARTS];
    organ_assignment assignment;
    for (size_t k = 0; k < PARTS; k++)
        of[k] = (worked){.mine = of};
    ck_assert_int_eq(organ_assignment_create(ranks, PARTS, part_bytes, of, &assignment, error), ORGAN_OK);
    ck_assert_int_eq(organ_assignment_run(&assignment, work_on_part, of, error), ORGAN_OK);
    for (size_t k = 0; k < PARTS; k++)
        ck_assert(organ_assignment_is_local(&assignment, k) || of[k].twice == 0);
    ck_assert_int_eq(organ_assignment_complete(&assignment, "parts", &of->found,
                                               offsetof(worked, name) - offsetof(worked, found), sizeof *of, error),
                     ORGAN_OK);
    ck_assert_int_eq(organ_assignment_exchange(&assignment, "names", &of->name, sizeof *of, name_bytes, of, error),
                     ORGAN_OK);
    for (size_t k = 0; k < PARTS; k++) {
        ck_assert_ptr_eq(of[k].mine, of);
        ck_assert_double_eq(of[k].found, 0.5 * (double)k);
        ck_assert_uint_eq(of[k].twice, 2 * k);
        ck_assert(!of[k].name == !(k % 3));
        ck_assert(!of[k].name || (strlen(of[k].name) == k && strtoul(of[k].name, NULL, 10) == k));
        free(of[k].name);
    }
    organ_assignment_release(&assignment);
}

static void fail_with_part(organ_ranks *ranks, organ_error *error)
{
    worked of[PARTS] = {0};
    organ_assignment assignment;
    ck_assert_int_eq(organ_assignment_create(ranks, PARTS, part_bytes, of, &assignment, error), ORGAN_OK);
    organ_assignment_run(&assignment, work_on_part, of, error);
    ck_assert_int_eq(organ_assignment_complete(&assignment, "parts", &of->found, sizeof of->found, sizeof *of, error),
                     ORGAN_BAD_INPUT);
    ck_assert_int_eq(organ_assignment_exchange(&assignment, "names", &of->name, sizeof *of, NULL, NULL, error),
                     ORGAN_BAD_INPUT);
    organ_assignment_release(&assignment);
    for (size_t k = 0; k < PARTS; k++)
        free(of[k].name);
}

START_TEST(what_is_found_of_parts_is_known_to_all)
{
    organ_error error = {0};
    play(RANKS, share_parts);
    all_end(ORGAN_OK, "");
    share_parts(NULL, &error);
    play(RANKS, fail_with_part);
    all_end(ORGAN_BAD_INPUT, "): part 8 is broken");
}
END_TEST

static void add_counts(organ_ranks *ranks, organ_error *error)
{
    const uint64_t rank = organ_ranks_rank(ranks);
    uint64_t counts[] = {rank, UINT64_C(1) << 60, rank == 2};
    ck_assert_int_eq(organ_ranks_add(ranks, "counts", counts, COUNT(counts), error), ORGAN_OK);
    ck_assert_uint_eq(counts[0], RANKS * (RANKS - 1) / 2);
    ck_assert_uint_eq(counts[1], RANKS * (UINT64_C(1) << 60));
    ck_assert_uint_eq(counts[2], 1);
}

START_TEST(counts_are_added_up)
{
    organ_error error = {0};
    uint64_t alone = 7;
    play(RANKS, add_counts);
    all_end(ORGAN_OK, "");
    ck_assert_int_eq(organ_ranks_add(NULL, "counts", &alone, 1, &error), ORGAN_OK);
    ck_assert_uint_eq(alone, 7);
}
END_TEST

static void fail_alone(organ_ranks *ranks, organ_error *error)
{
    if (organ_ranks_rank(ranks) == 2)
        organ_fail(error, ORGAN_BAD_INPUT, "a tensor is broken");
    ck_assert_int_eq(organ_ranks_agree(ranks, "the work is done", error), ORGAN_BAD_INPUT);
}

/* Lets one rank fail and leave at once; the others reach points where they exchange bytes, and one more. */
static void fail_and_leave(organ_ranks *ranks, organ_error *error)
{
    organ_gathered all = {0};
    if (organ_ranks_rank(ranks) == 2) {
        organ_fail(error, ORGAN_BAD_INPUT, "a tensor is broken");
        return;
    }
    ck_assert_int_eq(organ_ranks_gather(ranks, "bytes", "abc", 3, &all, error), ORGAN_BAD_INPUT);
    organ_gathered_release(&all);
    if (organ_ranks_rank(ranks) == 1)
        ck_assert_int_eq(organ_ranks_agree(ranks, "elsewhere", error), ORGAN_BAD_INPUT);
}

/* Checks that a failure which all ranks have agreed to ignore has no effect later. */
static void fail_and_go_on(organ_ranks *ranks, organ_error *error)
{
    organ_error fault = {0};
    if (organ_ranks_rank(ranks) == 0)
        organ_fail(&fault, ORGAN_BAD_INPUT, "what can be left out");
    ck_assert_int_eq(organ_ranks_agree(ranks, "an extra", &fault), ORGAN_BAD_INPUT);
    give_bytes(ranks, error);
}

/* Lets an optional part fail; the ranks learn of it at different points. */
static void overcome_fault(organ_ranks *ranks, organ_error *error)
{
    organ_error fault = {0};
    if (organ_ranks_rank(ranks) == 1)
        organ_fail_errno(&fault, EIO, "part 5");
    else
        organ_ranks_agree(ranks, "halfway", &fault);
    ck_assert_int_eq(organ_ranks_sync_status(ranks, "the part is done", &fault), ORGAN_IO);
    ck_assert_int_eq(fault.errnum, EIO);
    ck_assert_int_eq(strncmp(fault.message, "rank 1 of 4 (", 13), 0);
    ck_assert_int_eq(strncmp(organ_ranks_message(ranks, &fault), "part 5", 6), 0);
    organ_stop_set_halted(ranks->stop, true); /* as a message of another rank does */
    organ_ranks_overcome(ranks);
    ck_assert(!organ_stop_is_requested(ranks->stop));
    give_bytes(ranks, error);
    organ_stop_request(ranks->stop);
    organ_ranks_overcome(ranks);
    ck_assert(organ_stop_is_requested(ranks->stop));
}

START_TEST(a_fault_is_overcome_by_all)
{
    play(RANKS, overcome_fault);
    all_end(ORGAN_OK, "");
}
END_TEST

START_TEST(a_fault_of_one_is_that_of_all)
{
    play(RANKS, fail_alone);
    all_end(ORGAN_BAD_INPUT, "rank 2 of 4 (");
    all_end(ORGAN_BAD_INPUT, "): a tensor is broken");
    ck_assert_uint_eq(stops_sent[2], RANKS - 1);
    play(RANKS, fail_and_leave);
    all_end(ORGAN_BAD_INPUT, "rank 2 of 4 (");
    for (int r = 0; r < RANKS; r++)
        ck_assert_ptr_null(strstr(players[r].error.message + 1, "rank"));
    play(RANKS, fail_and_go_on);
    all_end(ORGAN_OK, "");
}
END_TEST

static void fail_together(organ_ranks *ranks, organ_error *error)
{
    (void)ranks;
    organ_fail(error, ORGAN_USAGE, "the output exists");
}

START_TEST(a_fault_of_all_names_no_rank)
{
    play(RANKS, fail_together);
    for (int r = 0; r < RANKS; r++)
        ck_assert_str_eq(players[r].error.message, "the output exists");
}
END_TEST

static void interrupt_and_fail(organ_ranks *ranks, organ_error *error)
{
    if (organ_ranks_rank(ranks) == 3)
        organ_fail(error, ORGAN_IO, "no space left");
    else
        organ_fail(error, ORGAN_INTERRUPTED, "interrupted");
    organ_ranks_agree(ranks, "the work is done", error);
}

START_TEST(a_fault_comes_before_interruptions)
{
    play(RANKS, interrupt_and_fail);
    all_end(ORGAN_IO, "rank 3 of 4 (");
    all_end(ORGAN_IO, "): no space left");
}
END_TEST

static void part_ways(organ_ranks *ranks, organ_error *error)
{
    organ_ranks_agree(ranks, organ_ranks_rank(ranks) == 2 ? "opening the journals" : "creating files", error);
}

START_TEST(ranks_that_part_ways_notice)
{
    play(RANKS, part_ways);
    all_end(ORGAN_IO, "the ranks reached different steps: rank 0 'creating files', rank 2 'opening the journals'");
}
END_TEST

static void cut_wire(organ_ranks *ranks, organ_error *error)
{
    __atomic_store_n(&wire_broken, true, __ATOMIC_RELAXED);
    ck_assert_int_eq(organ_ranks_agree(ranks, "the work is done", error), ORGAN_IO);
    ck_assert_int_eq(organ_ranks_agree(ranks, "later", error), ORGAN_IO);
}

static void fail_after_the_output(organ_ranks *ranks, organ_error *error)
{
    if (organ_ranks_first(ranks))
        organ_error_set_output(error, "out");
    if (organ_ranks_rank(ranks) == 2)
        organ_fail(error, ORGAN_IO, "no memory");
    organ_ranks_sync_status(ranks, "the end", error);
}

static void miss_one_after_the_output(organ_ranks *ranks, organ_error *error)
{
    organ_error_set_output(error, "out");
    __atomic_store_n(&ranks->watch.silent, 2, __ATOMIC_RELAXED);
    cut_wire(ranks, error);
}

START_TEST(a_fault_after_the_output_says_that_it_is_whole)
{
    play(RANKS, fail_after_the_output);
    all_end(ORGAN_IO, "): no memory");
    ck_assert_int_eq(strncmp(players[0].error.message, "out is complete, but a later step failed: rank 2", 45), 0);
    play(RANKS, miss_one_after_the_output);
    wire_broken = false;
    all_end(ORGAN_IO, "out is complete, but a later step failed: rank 2 of 4 (");
    ck_assert_ptr_null(strstr(players[0].error.message + 1, "out is complete"));
}
END_TEST

START_TEST(ranks_that_are_out_of_reach_end)
{
    play(RANKS, cut_wire);
    wire_broken = false;
    all_end(ORGAN_IO, "the other ranks cannot be reached: the wire is cut");
}
END_TEST

static pthread_barrier_t turn_ends;

/* Runs only the watches of the ranks, which all wake at the same times. */
static void only_watch(organ_ranks *ranks, organ_error *error)
{
    organ_watch *const w = &ranks->watch;
    w->naps = calloc(organ_ranks_count(ranks), sizeof *w->naps);
    ck_assert_ptr_nonnull(w->naps);
    w->seconds = 2;
    for (unsigned nap = 0; nap < 40; nap++) {
        organ_watch_poll(ranks, nap);
        pthread_barrier_wait(&turn_ends);
    }
    if (organ_stop_is_requested(ranks->stop))
        organ_fail(error, ORGAN_INTERRUPTED, "interrupted after 3 tensors; `resume` continues");
    organ_ranks_agree(ranks, "the work is done", error);
}

static void play_watches(int silent)
{
    silent_rank = silent;
    wires_cut = 0;
    pthread_barrier_init(&turn_ends, NULL, RANKS);
    play(RANKS, only_watch);
    pthread_barrier_destroy(&turn_ends);
    silent_rank = -1;
}

START_TEST(ranks_that_beat_are_not_lost)
{
    play_watches(-1);
    all_end(ORGAN_OK, "");
    ck_assert_uint_eq(wires_cut, 0);
}
END_TEST

START_TEST(a_silent_rank_is_named)
{
    play_watches(2);
    for (int r = 0; r < RANKS; r++) {
        const char *const message = players[r].error.message;
        ck_assert_int_eq(players[r].error.status, ORGAN_IO);
        /* Rank 2 receives nothing and reports rank 0 as silent. */
        ck_assert_msg(strncmp(message, r == 2 ? "rank 0 of 4 (" : "rank 2 of 4 (", 13) == 0, "rank %d: %s", r, message);
        ck_assert_ptr_nonnull(strstr(
            message, ") has sent nothing for 2 s (ORGAN_SILENCE): it was suspended, or its host hangs or cannot be "
                     "reached; interrupted after 3 tensors; `resume` continues"));
    }
    ck_assert_uint_eq(wires_cut, RANKS);
}
END_TEST

/* A launcher ends all ranks when one has failed: the first rank must have named the silent rank before. */
START_TEST(the_first_rank_says_who_is_missed)
{
    first_speaks_for = 300000;
    play_watches(2);
    first_speaks_for = 0;
    for (int r = 1; r < RANKS; r++)
        ck_assert_msg(r == 2 || players[r].left > players[0].left, "rank %d left as number %u, the first as number %u",
                      r, players[r].left, players[0].left);
}
END_TEST

static void never_silent(organ_ranks *ranks, organ_error *error)
{
    (void)ranks, (void)error;
    ck_abort_msg("the variable is not looked at");
}

START_TEST(silence_is_seconds)
{
    static const char *const wrong[] = {"soon", "-1", "2s", "86401"};
    for (size_t k = 0; k < COUNT(wrong); k++) {
        setenv(ORGAN_SILENCE_VARIABLE, wrong[k], 1);
        play(RANKS, never_silent);
        all_end(ORGAN_USAGE, "ORGAN_SILENCE is '");
        all_end(ORGAN_USAGE, "': it must be a number of seconds from 1 to 86400, or 0 for no limit");
    }
    unsetenv(ORGAN_SILENCE_VARIABLE); /* later tests may run in this process */
}
END_TEST

static void never_played(organ_ranks *ranks, organ_error *error)
{
    (void)ranks, (void)error;
    ck_abort_msg("the ranks do not know that they are too few");
}

START_TEST(another_library_is_noticed)
{
    ranks_seen = 1;
    play(RANKS, never_played);
    ranks_seen = 0;
    all_end(ORGAN_USAGE, "mpirun has started 4 processes, but MPI finds 1");
}
END_TEST

START_TEST(one_process_needs_nobody)
{
    organ_error error = {0};
    organ_gathered all;
    double value = 1;
    uint32_t owner = 0;
    ck_assert(organ_ranks_first(NULL));
    ck_assert_uint_eq(organ_ranks_count(NULL), 1);
    ck_assert_int_eq(organ_ranks_agree(NULL, "here", &error), ORGAN_OK);
    ck_assert_int_eq(organ_ranks_gather(NULL, "here", "abc", 3, &all, &error), ORGAN_OK);
    ck_assert_uint_eq(all.count, 1);
    ck_assert_str_eq(all.of[0], "abc");
    organ_gathered_release(&all);
    ck_assert_int_eq(organ_ranks_complete(NULL, "here", &value, sizeof value, 1, &owner, &error), ORGAN_OK);
    ck_assert_int_eq(organ_ranks_refuse(NULL, "this", &error), ORGAN_OK);
    ck_assert_ptr_null(organ_ranks_progress(NULL, NULL));
    organ_fail(&error, ORGAN_IO, "a fault");
    ck_assert_int_eq(organ_ranks_agree(NULL, "here", &error), ORGAN_IO);
    organ_ranks_leave(NULL);
}
END_TEST

/* ---- assignment of parts ---- */

START_TEST(parts_are_dealt_by_size)
{
    static const uint64_t bytes[] = {5, 90, 30, 30, 40, 5, 0, 0};
    /* Sizes: 90 to rank 0, 40 to 1, 30 to 2 and again 30 to 2, which has the least; then rank 1 has 40 of 90, 40, 60
     * and gets the rest. */
    static const uint32_t requested[] = {1, 0, 2, 2, 1, 1, 1, 1};
    uint32_t owner[COUNT(bytes)], again[COUNT(bytes)];
    organ_ranks three = {.count = 3};
    organ_error error = {0};
    ck_assert_int_eq(organ_ranks_assign(&three, bytes, COUNT(bytes), owner, &error), ORGAN_OK);
    for (size_t k = 0; k < COUNT(bytes); k++)
        ck_assert_msg(owner[k] == requested[k], "part %zu goes to rank %u", k, owner[k]);
    three.rank = 2;
    ck_assert_int_eq(organ_ranks_assign(&three, bytes, COUNT(bytes), again, &error), ORGAN_OK);
    ck_assert_mem_eq(owner, again, sizeof owner);
    ck_assert_int_eq(organ_ranks_assign(NULL, bytes, COUNT(bytes), owner, &error), ORGAN_OK);
    for (size_t k = 0; k < COUNT(bytes); k++)
        ck_assert_uint_eq(owner[k], 0);
    ck_assert_int_eq(organ_ranks_assign(&three, NULL, 0, NULL, &error), ORGAN_OK);
}
END_TEST

START_TEST(shares_differ_by_less_than_a_part)
{
    enum { MANY = 997 };
    uint64_t bytes[MANY], load[RANKS] = {0}, least = UINT64_MAX, max = 0, largest = 0;
    uint32_t owner[MANY];
    organ_ranks four = {.count = RANKS};
    organ_error error = {0};
    for (size_t k = 0; k < MANY; k++) {
        bytes[k] = k * 7919 % 1000;
        largest = bytes[k] > largest ? bytes[k] : largest;
    }
    ck_assert_int_eq(organ_ranks_assign(&four, bytes, MANY, owner, &error), ORGAN_OK);
    for (size_t k = 0; k < MANY; k++)
        load[owner[k]] += bytes[k];
    for (size_t r = 0; r < RANKS; r++) {
        least = load[r] < least ? load[r] : least;
        max = load[r] > max ? load[r] : max;
    }
    ck_assert_uint_le(max - least, largest);
}
END_TEST

/* ---- launchers ---- */

START_TEST(rows_are_cut_at_steps)
{
    for (size_t count = 1; count < 9; count++)
        for (size_t rows = 1; rows < 5000; rows += 127) {
            organ_ranks ranks = {.count = count};
            size_t next = 0;
            for (size_t r = 0; r < count; r++) {
                const organ_row_range own = organ_ranks_rows(&ranks, r, rows, 128);
                ck_assert_uint_eq(own.first, next);
                ck_assert(own.first % 128 == 0 || own.first == rows);
                next = own.end;
            }
            ck_assert_uint_eq(next, rows);
        }
}
END_TEST

#define SHARED_ROWS 300

static void complete_rows(organ_ranks *ranks, organ_error *error)
{
    int values[SHARED_ROWS][2] = {{0}};
    const organ_row_range own = organ_ranks_own_rows(ranks, SHARED_ROWS, 64);
    for (size_t i = own.first; i < own.end; i++)
        values[i][1] = 1 + (int)i;
    organ_ranks_complete_rows(ranks, "rows", values, sizeof *values, SHARED_ROWS, 64, error);
    for (int i = 0; i < SHARED_ROWS && !error->status; i++)
        ck_assert_int_eq(values[i][1], 1 + i);
}

START_TEST(rows_of_all_reach_all)
{
    play(7, complete_rows); /* more ranks than steps */
    all_end(ORGAN_OK, "");
}
END_TEST

#define OMPI "OMPI_COMM_WORLD_"
START_TEST(launchers_are_known_by_their_variables)
{
    static const struct {
        const char *set[4];
        const char *launcher;
        size_t rank, count;
    } rows[] = {
        {{NULL}, NULL, 0, 1},
        {{OMPI "SIZE=3", OMPI "RANK=2"}, "mpirun", 2, 3},
        {{"PMI_SIZE=2", "PMI_RANK=1"}, "mpirun", 1, 2},
        /* mpirun in a Slurm job: its daemons are a step of srun */
        {{OMPI "SIZE=3", OMPI "RANK=2", "SLURM_STEP_NUM_TASKS=2", "SLURM_PROCID=1"}, "mpirun", 2, 3},
        {{OMPI "SIZE=1", OMPI "RANK=0", "SLURM_STEP_NUM_TASKS=2", "SLURM_PROCID=1"}, "mpirun", 0, 1},
        {{"PMI_SIZE=1", "PMI_RANK=0", "SLURM_STEP_NUM_TASKS=2", "SLURM_PROCID=0"}, "mpirun", 0, 1},
        /* srun --mpi=pmi2, which looks like MPICH's mpirun, and --mpi=pmix */
        {{"PMI_SIZE=3", "PMI_RANK=2", "SLURM_STEP_NUM_TASKS=3", "SLURM_PROCID=2"}, "mpirun", 2, 3},
        {{"PMIX_RANK=1", "SLURM_STEP_NUM_TASKS=3", "SLURM_PROCID=1"}, "srun", 1, 3},
        {{"SLURM_NTASKS=8", "SLURM_NPROCS=8"}, NULL, 0, 1}, /* a shell of salloc */
        {{"SLURM_STEP_NUM_TASKS=8", "SLURM_PROCID=7"}, "srun", 7, 8},
        {{"SLURM_NTASKS=8", "SLURM_PROCID=0"}, NULL, 0, 1}, /* a batch script */
        {{OMPI "SIZE=1", OMPI "RANK=0"}, "mpirun", 0, 1},
        {{OMPI "SIZE=0", OMPI "RANK=0"}, NULL, 0, 1},
        {{OMPI "SIZE=2"}, NULL, 0, 1},
        {{OMPI "SIZE=-2", OMPI "RANK=0"}, NULL, 0, 1},
        {{OMPI "SIZE=2x", OMPI "RANK=0"}, NULL, 0, 1},
    };
    for (size_t k = 0; k < COUNT(rows); k++) {
        clearenv();
        for (size_t v = 0; v < COUNT(rows[k].set) && rows[k].set[v]; v++)
            putenv((char *)rows[k].set[v]);
        const organ_launch launch = organ_launch_find();
        ck_assert_msg(launch.count == rows[k].count && launch.rank == rows[k].rank, "row %zu: %zu of %zu", k,
                      launch.rank, launch.count);
        ck_assert_pstr_eq(launch.launcher, rows[k].launcher);
    }
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"exchange",
         {all_get_what_each_has, an_array_is_completed, counts_are_added_up, what_is_found_of_parts_is_known_to_all}},
        {"faults",
         {a_fault_is_overcome_by_all, a_fault_of_one_is_that_of_all, a_fault_of_all_names_no_rank,
          a_fault_after_the_output_says_that_it_is_whole, a_fault_comes_before_interruptions,
          ranks_that_part_ways_notice, ranks_that_are_out_of_reach_end, ranks_that_beat_are_not_lost,
          a_silent_rank_is_named, the_first_rank_says_who_is_missed, silence_is_seconds, another_library_is_noticed}},
        {"alone", {one_process_needs_nobody}},
        {"dealing",
         {parts_are_dealt_by_size, shares_differ_by_less_than_a_part, rows_are_cut_at_steps, rows_of_all_reach_all,
          launchers_are_known_by_their_variables}}};
    return run_suites((Suite *[]){suite_of("ranks", cases, sizeof cases / sizeof *cases, NULL, NULL), NULL});
}
