/* SPDX-License-Identifier: MIT */
#include "orchestrator/machine/work_account.h"

#include <string.h>
#include <time.h>

/* The account of this thread. Its totals grow from the begin of the outermost work on; the figures of a work are the
 * difference to `start`. */
static _Thread_local struct {
    bool open, running;                  /* a work is open; a run is active */
    organ_work_account total, start;     /* until now, and when the innermost work began */
    organ_activity_clock serial, beside; /* clocks of this thread, outside of runs and during them */
    organ_activity_clock *former;        /* the clock that this thread had before the outermost work */
    uint64_t run_began;                  /* by organ_activity_time */
    uint64_t serial_since;               /* processor time of this thread when the last run ended */
} here;

static uint64_t processor_time(clockid_t id)
{
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static void bring_up_to_date(void)
{
    organ_work_account *const t = &here.total;
    t->time = organ_activity_time();
    t->processor = processor_time(CLOCK_PROCESS_CPUTIME_ID);
    if (!here.running) {
        const uint64_t processor = processor_time(CLOCK_THREAD_CPUTIME_ID);
        t->serial_processor += processor - here.serial_since;
        here.serial_since = processor;
        organ_activity_turn(&here.serial, here.serial.now, t->time);
    }
    t->serial = here.serial.sums;
    t->beside = here.beside.sums;
}

organ_work organ_work_begin(void)
{
    const organ_work work = {.outer = here.start, .within = here.open};
    if (!here.open) {
        memset(&here, 0, sizeof here);
        here.open = true;
        here.serial_since = processor_time(CLOCK_THREAD_CPUTIME_ID);
        here.former = organ_activity_attach(&here.serial, ORGAN_COMPUTING);
    }
    bring_up_to_date();
    here.start = here.total;
    return work;
}

void organ_work_end(const organ_work *work)
{
    here.start = work->outer;
    here.open = work->within;
    if (!here.open)
        organ_activity_attach(here.former, ORGAN_COMPUTING);
}

static void subtract_sums(organ_activity_sums *sums, const organ_activity_sums *less)
{
    for (int k = 0; k < ORGAN_ACTIVITIES; k++) {
        sums->spent[k] -= less->spent[k];
        sums->moved[k] -= less->moved[k];
    }
}

void organ_work_account_take(organ_work_account *account)
{
    *account = (organ_work_account){0};
    if (!here.open)
        return;
    bring_up_to_date();
    const organ_work_account *const start = &here.start;
    *account = here.total;
    subtract_sums(&account->workers, &start->workers);
    subtract_sums(&account->serial, &start->serial);
    subtract_sums(&account->beside, &start->beside);
    account->runs -= start->runs;
    account->offered -= start->offered;
    account->in_runs -= start->in_runs;
    account->time -= start->time;
    account->processor -= start->processor;
    account->serial_processor -= start->serial_processor;
}

void organ_work_run_begin(void)
{
    if (!here.open)
        return;
    here.total.serial_processor += processor_time(CLOCK_THREAD_CPUTIME_ID) - here.serial_since;
    here.running = true;
    organ_activity_attach(&here.beside, ORGAN_COMPUTING);
    here.run_began = here.beside.since;
}

void organ_work_run_end(size_t workers, const organ_activity_sums *sums)
{
    if (!here.open || !here.running)
        return;
    organ_activity_attach(&here.serial, ORGAN_COMPUTING);
    const uint64_t took = here.serial.since - here.run_began;
    here.running = false;
    here.serial_since = processor_time(CLOCK_THREAD_CPUTIME_ID);
    here.total.runs++;
    here.total.in_runs += took;
    here.total.offered += took * workers;
    organ_activity_add(&here.total.workers, sums);
}
