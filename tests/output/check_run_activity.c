/* SPDX-License-Identifier: MIT
 * Tests of orchestrator/output/facts.h: the shares of made-up accounts, and what a verb's work counts. */
#include <organ/machine.h>
#include "orchestrator/output/facts.h"
#include "tests/kit/suite_table.h"

#include <check.h>

#define SECOND UINT64_C(1000000000)

/* Four workers in runs of 10 seconds; 2 more seconds before and after them. */
static organ_work_account made_up_account(void)
{
    organ_work_account a = {.runs = 3, .offered = 40 * SECOND, .in_runs = 10 * SECOND, .time = 12 * SECOND};
    a.workers.spent[ORGAN_COMPUTING] = 12 * SECOND;
    a.workers.spent[ORGAN_READING] = 10 * SECOND;
    a.workers.spent[ORGAN_WRITING] = 6 * SECOND;
    a.workers.spent[ORGAN_WAITING] = SECOND; /* of 12 seconds that are left */
    a.workers.moved[ORGAN_READING] = 4800;
    a.workers.moved[ORGAN_WRITING] = 2400;
    a.serial.moved[ORGAN_READING] = 12;
    a.beside.moved[ORGAN_WRITING] = 24;
    a.processor = 14 * SECOND;
    a.serial_processor = SECOND + SECOND / 10;
    return a;
}

/* Checks that the figures of the account have these members. */
static void check_figures(const organ_work_account *account, const char *wanted)
{
    json_t *const figures = organ_work_account_json(account), *const members = json_loads(wanted, 0, NULL);
    const char *key;
    json_t *value;
    ck_assert_ptr_nonnull(members);
    json_object_foreach(members, key, value)
    {
        const json_t *const found = json_object_get(figures, key);
        if (json_is_real(value))
            ck_assert_msg(json_real_value(found) == json_real_value(value), "%s is %.17g", key, json_real_value(found));
        else
            ck_assert_msg(json_equal(found, value), "%s differs", key);
    }
    json_decref(figures);
    json_decref(members);
}

START_TEST(test_shares)
{
    organ_work_account a = made_up_account();
    ck_assert_uint_eq(a.offered + (a.time - a.in_runs) * 4, 48 * SECOND);
    check_figures(&a, "{\"bound\": \"processor\", \"bound_share\": 0.25, \"computing_share\": 0.25, "
                      "\"reading_share\": 0.2083, \"writing_share\": 0.125, \"waiting_share\": 0.25, "
                      "\"one_thread_share\": 0.1667, \"read_bytes\": 4812, \"read_bytes_per_second\": 401.0, "
                      "\"written_bytes\": 2424, \"written_bytes_per_second\": 202.0, \"one_thread_bytes\": 36, "
                      "\"processor_seconds\": 14.0, \"one_thread_processor_share\": 0.0786}");
}
END_TEST

START_TEST(test_bounds)
{
    organ_work_account a = made_up_account();
    a.workers.spent[ORGAN_READING] = 14 * SECOND;
    check_figures(&a, "{\"bound\": \"reading\", \"bound_share\": 0.2917, \"waiting_share\": 0.1667}");
    a.workers.spent[ORGAN_WRITING] = 14 * SECOND + 1;
    check_figures(&a, "{\"bound\": \"writing\", \"waiting_share\": 0.0}");
    a.workers.spent[ORGAN_WRITING] = a.workers.spent[ORGAN_READING] = 0;
    check_figures(&a, "{\"bound\": \"waiting\", \"waiting_share\": 0.5833}");
    a.time = 30 * SECOND;
    check_figures(&a, "{\"bound\": \"one_thread\", \"bound_share\": 0.6667}");
}
END_TEST

/* Outside of runs, only the time of transfers that took no processor time is a wait for the disk. */
START_TEST(test_one_thread_waits)
{
    organ_work_account a = made_up_account();
    a.serial.spent[ORGAN_WRITING] = SECOND * 6 / 10;
    check_figures(&a, "{\"writing_share\": 0.175, \"one_thread_share\": 0.1167, \"reading_share\": 0.2083}");
    a.serial.spent[ORGAN_READING] = SECOND * 12 / 10; /* 0.9 of these 1.8 seconds */
    check_figures(&a, "{\"writing_share\": 0.15, \"one_thread_share\": 0.0917, \"reading_share\": 0.2583}");
    a.serial_processor = 2 * SECOND;
    check_figures(&a, "{\"writing_share\": 0.125, \"one_thread_share\": 0.1667, \"reading_share\": 0.2083}");
}
END_TEST

/* The sums of clocks can exceed the runs' time by the nanoseconds between two readings of a clock; a share is never
 * negative. */
START_TEST(test_no_rest)
{
    organ_work_account a = made_up_account();
    a.workers.spent[ORGAN_COMPUTING] = a.offered + 5;
    check_figures(&a, "{\"waiting_share\": 0.0}");
}
END_TEST

/* Without runs, one thread was busy all the time. */
START_TEST(test_no_runs)
{
    const organ_work_account a = {.time = 5 * SECOND, .processor = 4 * SECOND, .serial_processor = 3 * SECOND};
    check_figures(&a, "{\"bound\": \"one_thread\", \"bound_share\": 1.0, \"one_thread_processor_share\": 0.75}");
}
END_TEST

/* A phase's workers are the run's: 4 threads. A phase without time is left out, and the rest of the run has no name. */
START_TEST(test_phases)
{
    organ_work_account a = made_up_account();
    a.phases[ORGAN_PHASE_OTHER] = (organ_phase_times){4 * SECOND, SECOND};
    a.phases[ORGAN_PHASE_FEED_FORWARD] = (organ_phase_times){6 * SECOND, 18 * SECOND};
    a.phases[ORGAN_PHASE_NORMS] = (organ_phase_times){2 * SECOND, 0};
    check_figures(&a, "{\"phases\": {\"norms\": {\"share\": 0.1667, \"computing_share\": 0.0}, "
                      "\"feed_forward\": {\"share\": 0.5, \"computing_share\": 0.75}}}");
    a = made_up_account();
    a.phases[ORGAN_PHASE_OTHER].time = a.time;
    json_t *const figures = organ_work_account_json(&a);
    ck_assert_ptr_nonnull(figures);
    ck_assert_ptr_null(json_object_get(figures, "phases"));
    json_decref(figures);
}
END_TEST

static void do_nothing(void *context, size_t worker) { (void)context, (void)worker; }

/* Returns the number of runs in the work of this thread. */
static uint64_t runs_so_far(void)
{
    organ_work_account account;
    organ_work_account_take(&account);
    return account.runs;
}

/* A report's work counts its runs only, and has the member. */
START_TEST(test_work)
{
    organ_topology *topology;
    organ_workers *workers;
    organ_error error = {0};
    json_t *report;
    ck_assert_int_eq(organ_topology_synthetic("pack:1 core:2 pu:1", NULL, &topology, &error), ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(topology, 2, &workers, &error), ORGAN_OK);
    organ_workers_run(workers, do_nothing, NULL);
    const organ_report_work work = organ_report_begin(&report);
    ck_assert_uint_eq(runs_so_far(), 0);
    organ_workers_run(workers, do_nothing, NULL);
    ck_assert_uint_eq(runs_so_far(), 1);
    report = ORGAN_OBJECT(SET_ACTIVITY());
    ck_assert_ptr_nonnull(json_string_value(json_object_get(json_object_get(report, "activity"), "bound")));
    ck_assert_int_eq(organ_report_end(&work, "a report", &error), ORGAN_OK);
    ck_assert_uint_eq(runs_so_far(), 0);
    json_decref(report);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
}
END_TEST

/* Keeps the worker busy until some time has passed. */
static void spend_time(void *context, size_t worker)
{
    const uint64_t until = organ_activity_time() + SECOND / 1000;
    (void)context, (void)worker;
    while (organ_activity_time() < until)
        ;
}

static void run_scores(organ_workers *workers)
{
    ORGAN_IN_PHASE(ORGAN_PHASE_ATTENTION_SCORES);
    organ_workers_run(workers, spend_time, NULL);
}

static void run_mixers(organ_workers *workers)
{
    ORGAN_IN_PHASE(ORGAN_PHASE_MIXERS);
    organ_workers_run(workers, spend_time, NULL);
    run_scores(workers);
    ck_assert_int_eq(organ_phase_now(), ORGAN_PHASE_MIXERS);
}

/* An inner phase interrupts the outer one, and the time of all phases is that of the work. A run counts for the phase
 * in which it ends. */
START_TEST(test_nested_phases)
{
    organ_topology *topology;
    organ_workers *workers;
    organ_error error = {0};
    organ_work_account a;
    uint64_t time = 0;
    ck_assert_int_eq(organ_topology_synthetic("pack:1 core:2 pu:1", NULL, &topology, &error), ORGAN_OK);
    ck_assert_int_eq(organ_workers_create(topology, 2, &workers, &error), ORGAN_OK);
    ck_assert_int_eq(organ_phase_begin(ORGAN_PHASE_HEAD), ORGAN_PHASE_OTHER); /* no work is open */
    ck_assert_int_eq(organ_phase_now(), ORGAN_PHASE_OTHER);
    const organ_work work = organ_work_begin();
    run_mixers(workers);
    organ_work_account_take(&a);
    for (size_t k = 0; k < ORGAN_PHASES; k++) {
        const bool ran = k == ORGAN_PHASE_MIXERS || k == ORGAN_PHASE_ATTENTION_SCORES;
        time += a.phases[k].time;
        ck_assert_uint_ge(a.phases[k].computing, ran ? 2 * SECOND / 1000 : 0);
        ck_assert(ran || a.phases[k].computing == 0);
    }
    ck_assert_uint_eq(time, a.time);
    organ_work_end(&work);
    organ_workers_destroy(workers);
    organ_topology_destroy(topology);
}
END_TEST

int main(void)
{
    const suite_case cases[] = {
        {"figures", {test_shares, test_bounds, test_one_thread_waits, test_no_rest, test_no_runs, test_phases}},
        {"work", {test_work, test_nested_phases}}};
    Suite *const suites[] = {suite_of("run_activity", cases, sizeof cases / sizeof *cases, NULL, NULL), NULL};
    return run_suites(suites);
}
