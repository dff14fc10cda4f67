/* SPDX-License-Identifier: MIT
 * Functions on the list of jobs, and on the event streams that are woken when a job changes. The caller of each holds
 * jobs->mutex. */
#include "formats/base/arena.h"
#include "orchestrator/serve/jobs/jobs_parts.h"

#include <string.h>

organ_job *organ_jobs_find(const organ_jobs *jobs, const char *id)
{
    for (size_t k = jobs->count; k-- > 0;)
        if (strcmp(jobs->list[k]->id, id) == 0)
            return jobs->list[k];
    return NULL;
}

bool organ_jobs_make_room(organ_jobs *jobs)
{
    return organ_grow(&jobs->list, jobs->count, &jobs->capacity, sizeof *jobs->list);
}

void organ_jobs_leave(organ_job *job)
{
    job->users--;
    if (job->removed && job->users == 0)
        organ_job_free(job);
}

void organ_jobs_drop(organ_jobs *jobs, organ_job *job)
{
    size_t at = 0;
    while (jobs->list[at] != job)
        at++;
    memmove(&jobs->list[at], &jobs->list[at + 1], (--jobs->count - at) * sizeof *jobs->list);
    organ_job_erase(&jobs->store, job->id);
    job->removed = true;
    job->users++; /* this function counts as a user, so that organ_jobs_leave frees a job without streams */
    organ_jobs_leave(job);
}

/* Compares all streams with each other; their number is limited by the number of connections. */
size_t organ_jobs_most_streams(const organ_jobs *jobs, bool by_job)
{
    size_t most = 0;
    for (const organ_job_stream *stream = jobs->streams; stream; stream = stream->next) {
        size_t count = 0;
        for (const organ_job_stream *other = stream; other; other = other->next)
            count += by_job ? other->job == stream->job : strcmp(other->token, stream->token) == 0;
        most = count > most ? count : most;
    }
    return most;
}

void organ_jobs_wake(organ_jobs *jobs, const organ_job *job)
{
    for (organ_job_stream *stream = jobs->streams; stream; stream = stream->next)
        if (stream->job == job && stream->waker)
            organ_http_wake(stream->waker);
}

void organ_jobs_changed(organ_jobs *jobs, organ_job *job)
{
    job->version++;
    organ_jobs_wake(jobs, job);
}

size_t organ_jobs_count_in(const organ_jobs *jobs, organ_job_state state)
{
    size_t count = 0;
    for (size_t k = 0; k < jobs->count; k++)
        count += jobs->list[k]->state == state;
    return count;
}
