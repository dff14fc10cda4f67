/* SPDX-License-Identifier: MIT */
#include "orchestrator/surgery/facts/run_activity.h"

#include "orchestrator/machine/stopwatch.h"
#include "orchestrator/report/text/members.h"

#include <math.h>

/* The parts are in the order of the report. ONE_THREAD: no run was active, so that all workers were idle while the
 * calling thread worked. */
enum { COMPUTING, READING, WRITING, WAITING, ONE_THREAD, PARTS };
static const char *const part_names[PARTS] = {"processor", "reading", "writing", "waiting", "one_thread"};

static double seconds_of(uint64_t nanoseconds) { return 1e-9 * (double)nanoseconds; }

static double part_of(double part, double whole) { return whole > 0 ? round(part / whole * 1e4) / 1e4 : 0.0; }

/* Within runs the rest is waiting, including the time in which threads wake up and in which the first ones to finish
 * wait for the last. */
static void divide_time(const organ_work_account *a, double part[PARTS])
{
    part[COMPUTING] = seconds_of(a->workers.spent[ORGAN_COMPUTING]);
    part[READING] = seconds_of(a->workers.spent[ORGAN_READING]);
    part[WRITING] = seconds_of(a->workers.spent[ORGAN_WRITING]);
    part[WAITING] = fmax(seconds_of(a->offered) - part[COMPUTING] - part[READING] - part[WRITING], 0);
    const double threads = a->in_runs ? (double)a->offered / (double)a->in_runs : 1;
    part[ONE_THREAD] = seconds_of(a->time - a->in_runs) * threads;
}

/* Only threads with a clock are counted. */
static uint64_t moved_by_all(const organ_work_account *a, organ_activity activity)
{
    return a->workers.moved[activity] + a->serial.moved[activity] + a->beside.moved[activity];
}

json_t *organ_work_account_json(const organ_work_account *account)
{
    double part[PARTS], all = 0;
    size_t bound = 0;
    divide_time(account, part);
    for (size_t k = 0; k < PARTS; k++) {
        all += part[k];
        bound = part[k] > part[bound] ? k : bound;
    }
    const double took = seconds_of(account->time);
    const uint64_t read = moved_by_all(account, ORGAN_READING), written = moved_by_all(account, ORGAN_WRITING);
    const uint64_t by_workers = account->workers.moved[ORGAN_READING] + account->workers.moved[ORGAN_WRITING];
    return ORGAN_OBJECT(SET_TEXT("bound", part_names[bound]), SET_REAL("bound_share", part_of(part[bound], all)),
                        SET_REAL("computing_share", part_of(part[COMPUTING], all)),
                        SET_REAL("reading_share", part_of(part[READING], all)),
                        SET_REAL("writing_share", part_of(part[WRITING], all)),
                        SET_REAL("waiting_share", part_of(part[WAITING], all)),
                        SET_REAL("one_thread_share", part_of(part[ONE_THREAD], all)), SET_COUNT("read_bytes", read),
                        SET_REAL("read_bytes_per_second", took > 0 ? round((double)read / took) : 0.0),
                        SET_COUNT("written_bytes", written),
                        SET_REAL("written_bytes_per_second", took > 0 ? round((double)written / took) : 0.0),
                        SET_COUNT("one_thread_bytes", read + written - by_workers),
                        SET_REAL("processor_seconds", organ_rounded_seconds(seconds_of(account->processor))),
                        SET_REAL("one_thread_processor_share",
                                 part_of(seconds_of(account->serial_processor), seconds_of(account->processor))));
}

json_t *organ_run_activity_json(void)
{
    organ_work_account account;
    organ_work_account_take(&account);
    return organ_work_account_json(&account);
}
