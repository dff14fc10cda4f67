/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/jobs/jobs_parts.h"

#include "formats/base/arena.h"
#include "formats/base/files.h"
#include "formats/base/text.h"
#include "orchestrator/output/publish.h"
#include "orchestrator/report/text/report_text.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <organ/report.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

const char *const organ_job_state_names[ORGAN_JOB_STATES] = {"queued", "running",   "done",
                                                             "failed", "cancelled", "interrupted"};

organ_job_state organ_job_state_named(const char *name)
{
    int state = 0;
    while (state < ORGAN_JOB_STATES && strcmp(name, organ_job_state_names[state]) != 0)
        state++;
    return (organ_job_state)state;
}

bool organ_job_active(organ_job_state state) { return state == ORGAN_JOB_QUEUED || state == ORGAN_JOB_RUNNING; }

static bool is_id(const char *id)
{
    const size_t length = strlen(id);
    return length > 0 && length < sizeof((organ_job *)0)->id && strspn(id, "0123456789-") == length;
}

/* ---- the directory of all jobs ---- */

/* Accepts an existing directory, but no links and no other files. *path is for the caller to free, also after an
 * error. */
static organ_status enter_directory(const char *parent, const char *name, char **path, organ_error *error)
{
    struct stat about;
    if (!(*path = organ_format("%s/%s", strcmp(parent, "/") == 0 ? "" : parent, name)))
        return organ_fail_errno(error, ENOMEM, "the directory of jobs");
    if (mkdir(*path, 0700) != 0 && errno != EEXIST)
        return organ_fail_errno(error, errno, "%s cannot be created", *path);
    if (lstat(*path, &about) != 0)
        return organ_fail_errno(error, errno, "%s", *path);
    return S_ISDIR(about.st_mode)
               ? ORGAN_OK
               : organ_fail(error, ORGAN_USAGE, "%s is not a directory, but the server stores jobs there", *path);
}

/* Only one server may use the directory. The lock ends when the descriptor is closed. */
static organ_status lock_store(organ_job_store *store, organ_error *error)
{
    store->lock = open(store->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (store->lock < 0)
        return organ_fail_errno(error, errno, "%s", store->path);
    if (organ_lock_at_once(store->lock, LOCK_EX) == 0)
        return ORGAN_OK;
    return errno == EWOULDBLOCK ? organ_fail(error, ORGAN_USAGE, "%s: another server uses this directory", store->path)
                                : organ_fail_errno(error, errno, "%s cannot be locked", store->path);
}

organ_status organ_job_store_open(const char *root, organ_job_store *store, organ_error *error)
{
    ORGAN_OWNED char *hidden = NULL;
    *store = (organ_job_store){.lock = -1};
    if (enter_directory(root, ".organ", &hidden, error) == ORGAN_OK &&
        enter_directory(hidden, "jobs", &store->path, error) == ORGAN_OK)
        lock_store(store, error);
    if (error->status != ORGAN_OK)
        organ_job_store_close(store);
    return error->status;
}

void organ_job_store_close(organ_job_store *store)
{
    organ_job_close(store->lock);
    free(store->path);
    *store = (organ_job_store){.lock = -1};
}

/* Returns the path of a file in the directory of a job, of the directory itself if `name` is "". */
static char *job_path(const organ_job_store *store, const char *id, const char *name)
{
    return organ_format("%s/%s%s%s", store->path, id, *name ? "/" : "", name);
}

int organ_job_open(const organ_job_store *store, const char *id, const char *name, int flags)
{
    ORGAN_OWNED char *const path = job_path(store, id, name);
    if (!path)
        return -1;
    /* Another user of this directory may have replaced the file by a link, which O_NOFOLLOW rejects, or by a pipe,
     * whose opening would block without O_NONBLOCK. */
    struct stat about;
    int fd = open(path, flags | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600), fault = errno;
    if (fd >= 0 && (fstat(fd, &about) != 0 || !S_ISREG(about.st_mode))) {
        close(fd);
        fd = -1;
        fault = EINVAL;
    }
    errno = fault;
    return fd;
}

json_t *organ_job_result(const organ_job_store *store, const char *id)
{
    ORGAN_OWNED_FILE const int fd = organ_job_open(store, id, "result.json", O_RDONLY);
    json_error_t fault;
    bool no_memory;
    return fd < 0 ? NULL : organ_json_load_fd(fd, JSON_REJECT_DUPLICATES, &fault, &no_memory);
}

/* Ids in the order of their names are in the order of creation. */
static int id_order(const struct dirent **a, const struct dirent **b) { return strcmp((*a)->d_name, (*b)->d_name); }

json_t *organ_job_ids(const organ_job_store *store, organ_error *error)
{
    ORGAN_OWNED struct dirent **names = NULL;
    const int count = organ_list_folder(store->path, &names, /*is_selected=*/NULL, id_order);
    if (count < 0)
        organ_fail_errno(error, errno, "%s", store->path);
    json_t *ids = count < 0 ? NULL : json_array();
    for (int k = 0; k < count; k++) {
        if (ids && is_id(names[k]->d_name) && json_array_append_new(ids, json_string(names[k]->d_name)) != 0)
            organ_clear_json(&ids);
        free(names[k]);
    }
    if (!ids)
        organ_fail_errno(error, ENOMEM, "%s", store->path); /* does not replace an error */
    return ids;
}

/* Removes the matching files and then the directory. Returns whether the directory is gone: other files keep it. */
static bool remove_files(const organ_job_store *store, const char *id, const char *pattern)
{
    ORGAN_OWNED char *const path = job_path(store, id, "");
    DIR *const directory = path ? organ_open_folder(path) : NULL;
    for (struct dirent *entry; directory && (entry = readdir(directory));)
        if (fnmatch(pattern, entry->d_name, 0) == 0)
            unlinkat(dirfd(directory), entry->d_name, 0); /* refuses "." and ".." */
    if (directory)
        closedir(directory);
    return path && rmdir(path) == 0;
}

void organ_job_erase(const organ_job_store *store, const char *id) { remove_files(store, id, "*"); }

bool organ_job_erase_unfinished(const organ_job_store *store, const char *id)
{
    return remove_files(store, id, "job.json.*.tmp");
}

/* ---- one record ---- */

void organ_job_free(organ_job *job)
{
    if (!job)
        return;
    json_decref(job->fixed);
    organ_job_close(job->events);
    free(job);
}

/* A row of the tables below: a member of organ_job or organ_process that job.json stores under the member's name. */
#define JOB(member, type)     ORGAN_STRUCT_FIELD(organ_job, member, type)
#define PROCESS(member, type) ORGAN_STRUCT_FIELD(organ_process, member, type)
/* job.json also has id, state, process and the members of organ_job.fixed. */
static const organ_struct_field store_job[] = {
    JOB(created, TEXT),    JOB(started, TEXT), JOB(finished, TEXT), JOB(attempts, U32), JOB(resume, FLAG),
    JOB(cancelling, FLAG), JOB(code, INT),     JOB(message, TEXT),  JOB(began, REAL),   JOB(seconds, REAL),
    JOB(result, FLAG),     JOB(page, FLAG),    JOB(size, U64),      JOB(cut, U64)};
static const organ_struct_field store_process[] = {PROCESS(pid, INT), PROCESS(born, U64), PROCESS(boot, TEXT)};

static json_t *record_of(const organ_job *job)
{
    json_t *record = ORGAN_OBJECT(SET_TEXT("schema", "organ.job/1"), SET_TEXT("id", job->id),
                                  SET_TEXT("state", organ_job_state_names[job->state]));
    record = ORGAN_STRUCT_ADD(record, store_job, job);
    if (job->process.pid > 0)
        record = organ_json_joined(
            record, ORGAN_OBJECT(SET("process", ORGAN_STRUCT_ADD(json_object(), store_process, &job->process))));
    return organ_json_joined(record, json_incref(job->fixed));
}

organ_status organ_job_save(const organ_job_store *store, const organ_job *job, organ_error *error)
{
    ORGAN_OWNED char *const path = job_path(store, job->id, "job.json");
    ORGAN_OWNED_JSON json_t *const record = record_of(job);
    if (!path || !record)
        organ_fail_errno(error, ENOMEM, "the record of job %s", job->id);
    else
        organ_document_replace(path, record, error);
    return error->status;
}

/* Returns the time of an id in microseconds, 0 for a name of another form. */
static int64_t micros_of(const char *id)
{
    struct tm parts = {0};
    const char *const rest = id ? strptime(id, "%Y%m%d-%H%M%S-", &parts) : NULL;
    return rest ? 1000000 * (int64_t)timegm(&parts) + atol(rest) : 0;
}

/* Returns a microsecond after the newest job, or the present time if that is later: a clock that steps back leaves the
 * ids in the order of creation. */
static int64_t next_micros(const organ_job_store *store, organ_error *error)
{
    struct timespec now;
    organ_error fault = {0};
    ORGAN_OWNED_JSON json_t *const ids = organ_job_ids(store, &fault);
    if (!ids)
        organ_fail_errno(error, fault.errnum, "a directory for the job cannot be created");
    const size_t count = json_array_size(ids);
    const int64_t after = count ? micros_of(json_string_value(json_array_get(ids, count - 1))) + 1 : 0;
    clock_gettime(CLOCK_REALTIME, &now);
    const int64_t present = 1000000 * (int64_t)now.tv_sec + now.tv_nsec / 1000;
    return after > present ? after : present;
}

/* If a file of another form has the id's name, tries the next 999 microseconds; returns ORGAN_IO if all are used. */
static organ_status make_job_directory(const organ_job_store *store, organ_job *job, organ_error *error)
{
    const int64_t first = next_micros(store, error);
    for (int64_t micros = first; !error->status && micros < first + 1000; micros++) {
        struct tm parts;
        char moment[20];
        const time_t seconds = micros / 1000000;
        gmtime_r(&seconds, &parts);
        strftime(moment, sizeof moment, "%Y%m%d-%H%M%S", &parts);
        snprintf(job->id, sizeof job->id, "%s-%06d", moment, (int)(micros % 1000000));
        ORGAN_OWNED char *const path = job_path(store, job->id, "");
        const int made = path ? mkdir(path, 0700) : -1, why = path ? errno : ENOMEM;
        if (made == 0) /* if this fails, the next start of the server erases the empty directory */
            return organ_sync_directory(store->path, error);
        if (why != EEXIST)
            return organ_fail_errno(error, why, "a directory for the job cannot be created");
    }
    return error->status ? error->status : organ_fail(error, ORGAN_IO, "no free id for the job: try again");
}

organ_status organ_job_create(const organ_job_store *store, organ_job_words *words, organ_job **made,
                              organ_error *error)
{
    organ_job *const job = calloc(1, sizeof *job);
    *made = NULL;
    if (!job)
        return organ_fail_errno(error, ENOMEM, "a job");
    job->events = job->code = -1;
    job->seconds = -1;
    job->fixed = json_pack("{s:s, s:O, s:O, s:s, s:O, s:O, s:O, s:b}", "verb", words->verb->name, "arguments",
                           words->arguments, "argv", words->argv, "command", words->command, "reads", words->reads,
                           "writes", words->writes, "made", words->made, "resumes", words->resumes);
    organ_http_stamp(job->created);
    if (!job->fixed)
        organ_fail_errno(error, ENOMEM, "a job");
    else if (make_job_directory(store, job, error) == ORGAN_OK && organ_job_save(store, job, error) != ORGAN_OK)
        organ_job_erase(store, job->id);
    if (error->status == ORGAN_OK)
        *made = job;
    else
        organ_job_free(job);
    return error->status;
}

static bool has_only_strings(const json_t *array)
{
    for (size_t k = 0; k < json_array_size(array); k++)
        if (!json_is_string(json_array_get(array, k)))
            return false;
    return json_is_array(array);
}

/* Another program may have changed the file, and the server starts a process from these members, so their types are
 * checked. */
static bool is_record(const json_t *record, const char *id)
{
    static const char *const lists[] = {"argv", "reads", "writes"};
    for (size_t k = 0; k < sizeof lists / sizeof *lists; k++)
        if (!has_only_strings(json_object_get(record, lists[k])))
            return false;
    const json_t *const made = json_object_get(record, "made"); /* records of earlier versions have none */
    if ((made && !has_only_strings(made)) || json_array_size(json_object_get(record, "argv")) < 2 ||
        !json_is_object(json_object_get(record, "arguments")))
        return false;
    return *organ_json_text(record, "verb") && *organ_json_text(record, "command") &&
           strcmp(organ_json_text(record, "id"), id) == 0 &&
           strcmp(organ_json_text(record, "schema"), "organ.job/1") == 0;
}

/* Returns false if the record is damaged or memory runs out. */
static bool read_record(const json_t *record, organ_job *job)
{
    static const char *const kept[] = {"verb", "arguments", "argv", "command", "reads", "writes", "resumes"};
    job->fixed = json_object();
    for (size_t k = 0; job->fixed && k < sizeof kept / sizeof *kept; k++)
        if (json_object_set(job->fixed, kept[k], json_object_get(record, kept[k])) != 0)
            return false;
    json_t *const made = json_object_get(record, "made");
    ORGAN_ADD(job->fixed, SET_IF(made, "made", json_incref(made)));
    /* Members that are missing in the record stay 0; is_record checks the required ones. */
    (void)ORGAN_STRUCT_READ(record, store_job, job);
    (void)ORGAN_STRUCT_READ(json_object_get(record, "process"), store_process, &job->process);
    job->state = organ_job_state_named(organ_json_text(record, "state"));
    return job->state < ORGAN_JOB_STATES && *job->created && is_record(record, job->id);
}

/* If memory runs out, jansson may report a syntax error instead; a changed count of refused allocations then reveals
 * the real cause. */
organ_status organ_job_load(const organ_job_store *store, const char *id, organ_job **loaded, organ_error *error)
{
    json_error_t fault = {.text = "it cannot be opened"};
    organ_job *const job = calloc(1, sizeof *job);
    *loaded = NULL;
    if (!job)
        return organ_fail_errno(error, ENOMEM, "a job");
    job->events = -1;
    snprintf(job->id, sizeof job->id, "%s", id);
    const unsigned long refusals = organ_memory_refusals();
    bool no_memory = false;
    const int fd = organ_job_open(store, id, "job.json", O_RDONLY);
    ORGAN_OWNED_JSON json_t *const record =
        fd < 0 ? NULL : organ_json_load_fd(fd, JSON_REJECT_DUPLICATES, &fault, &no_memory);
    const bool complete = record && read_record(record, job);
    organ_job_close(fd);
    if (no_memory || organ_memory_refusals() != refusals)
        organ_fail(error, ORGAN_IO, "job %s: job.json: no memory to read it", id);
    else if (!record)
        organ_fail(error, ORGAN_BAD_INPUT, "job %s: job.json: %s", id, fault.text);
    else if (!complete)
        organ_fail(error, ORGAN_BAD_INPUT, "job %s: job.json is not a job record", id);
    if (error->status == ORGAN_OK)
        *loaded = job;
    else
        organ_job_free(job);
    return error->status;
}

/* ---- documents for clients ---- */

static json_t *member_text(const char *text) { return *text ? organ_document_string(text) : json_null(); }

/* Threads send a view to clients without the mutex, so the view must not share JSON values with the job: their
 * reference counts are not atomic. */
static json_t *copy_fixed(const organ_job *job, const char *key)
{
    return json_deep_copy(json_object_get(job->fixed, key));
}

json_t *organ_job_view(const organ_job *job)
{
    const bool resumes = json_is_true(json_object_get(job->fixed, "resumes")), active = organ_job_active(job->state);
    const bool stopped =
        job->state == ORGAN_JOB_FAILED || job->state == ORGAN_JOB_CANCELLED || job->state == ORGAN_JOB_INTERRUPTED;
    const bool staged = *job->progress.stage != '\0';
    return ORGAN_OBJECT(
        SET_TEXT("id", job->id), SET("verb", copy_fixed(job, "verb")), SET("arguments", copy_fixed(job, "arguments")),
        SET("command", copy_fixed(job, "command")), SET("outputs", copy_fixed(job, "writes")),
        SET_TEXT("state", organ_job_state_names[job->state]), SET("created", member_text(job->created)),
        SET("started", member_text(job->started)), SET("finished", member_text(job->finished)),
        SET_REAL_OF("seconds", job->seconds >= 0 && !active, job->seconds), SET_COUNT("attempts", job->attempts),
        SET_COUNT_OF("exit_code", job->code >= 0, job->code), SET("error", member_text(job->message)),
        SET_FLAG("cancelling", job->cancelling && active),
        SET_FLAG("resumable", resumes && stopped && job->attempts > 0), SET_FLAG("result", job->result && !active),
        SET_FLAG("report", job->page && !active),
        SET("progress",
            staged ? organ_job_progress_view(&job->progress, job->state == ORGAN_JOB_RUNNING) : json_null()),
        SET_COUNT_OF("result_bytes", !active, job->size), SET_COUNT_OF("cut", job->cut && !active, job->cut));
}

/* ---- the list of jobs and their event streams; callers hold jobs->mutex ---- */

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
