/* SPDX-License-Identifier: MIT
 * Starts, watches, signals and ends the process of one job, and takes over jobs of an earlier server. The caller of
 * each function holds jobs->mutex. */
#include "orchestrator/serve/jobs/jobs_parts.h"

#include "formats/base/files.h"
#include "formats/base/json.h"
#include "orchestrator/machine/free_memory.h"
#include "orchestrator/machine/quantity.h"
#include "orchestrator/output/plan.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/report/view/views.h"

#include <errno.h>
#include <fcntl.h>
#include <organ/machine.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Bytes in a block of the file system: only whole blocks of a log can be released. */
enum { BLOCK = 4096 };

static uint64_t file_size(int fd)
{
    struct stat about;
    return fd >= 0 && fstat(fd, &about) == 0 ? (uint64_t)about.st_size : 0;
}

/* ---- the result ---- */

/* `limit` 0 is no limit. If the file was larger, *cut becomes its largest size so far. A running program continues
 * to write at its own offset, so the removed part becomes a hole, which needs no space on the disk. Returns the size
 * of the file afterwards. */
static uint64_t cut_result(const organ_job_store *store, const char *id, uint64_t limit, uint64_t *cut)
{
    ORGAN_OWNED_FILE const int fd = organ_job_open(store, id, "result.json", O_WRONLY);
    uint64_t size = file_size(fd);
    if (limit > 0 && size > limit) {
        *cut = size > *cut ? size : *cut;
        size = ftruncate(fd, (off_t)limit) == 0 ? limit : size;
    }
    return size;
}

static bool has_page(const char *schema)
{
    for (size_t k = 0; k < ORGAN_VIEWS; k++)
        if (strcmp(organ_views[k]->schema, schema) == 0)
            return true;
    return false;
}

/* Parses only the member "schema": *page becomes true if reports of this schema have an HTML page and the text is at
 * most ORGAN_JOB_PAGE_BYTES long. Returns false if the text is no JSON object. */
static bool read_members(const organ_json_source *text, bool *page)
{
    organ_error error = {0};
    organ_json_walk walk;
    json_t *schema = NULL;
    organ_json_walk_begin(&walk, text, (organ_json_span){0, text->length}, /*what=*/NULL, &error);
    while (organ_json_walk_next(&walk, &error))
        if (strcmp(json_string_value(walk.name), "schema") == 0 &&
            organ_json_parse(text, walk.value, "schema", &schema, &error) == ORGAN_OK) {
            *page =
                json_is_string(schema) && has_page(json_string_value(schema)) && text->length <= ORGAN_JOB_PAGE_BYTES;
            json_decref(schema);
        }
    return !error.status;
}

/* Returns whether the document is complete. *page: it has a page. */
static bool read_result(const organ_job_store *store, const char *id, uint64_t size, bool *page)
{
    ORGAN_OWNED_FILE const int fd = organ_job_open(store, id, "result.json", O_RDONLY);
    ORGAN_OWNED char *const bytes = fd >= 0 && size > 0 ? malloc((size_t)size) : NULL;
    size_t got = 0;
    for (ssize_t more = 1; bytes && more > 0 && size > got; got += more > 0 ? (size_t)more : 0)
        more = pread(fd, bytes + got, (size_t)size - got, (off_t)got);
    return got > 0 && got == size && read_members(&(organ_json_source){"result.json", bytes, got}, page);
}

/* ---- the log ---- */

/* A log keeps a quarter of the limit at its beginning and at its end, in whole blocks. The other half is room to
 * grow before blocks must be released again. */
static uint64_t log_share(uint64_t limit) { return limit / 4 / BLOCK * BLOCK; }

/* Releases the blocks in the middle of a log that occupies more than `limit` bytes. The middle begins at offset
 * log_share. It ends log_share bytes before the end of the log, or at offset `read` if the server has read less.
 * Returns the bytes on the disk that the log occupies. */
static uint64_t hollow_log(const organ_job_store *store, const char *id, uint64_t limit, int64_t read)
{
    struct stat about = {0};
    ORGAN_OWNED_FILE const int fd = organ_job_open(store, id, "events.jsonl", O_RDWR);
    if (fd < 0 || fstat(fd, &about) != 0)
        about = (struct stat){0};
    /* st_blocks counts units of 512 bytes, without holes. */
    const uint64_t size = (uint64_t)about.st_size, taken = (uint64_t)about.st_blocks * 512, stays = log_share(limit);
    const uint64_t end = (size - stays < (uint64_t)read ? size - stays : (uint64_t)read) / BLOCK * BLOCK;
    const bool large = limit > 0 && size > limit && taken > limit && stays > 0 && end > stays;
    const bool hollowed =
        large && fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)stays, (off_t)(end - stays)) == 0;
    return hollowed ? taken - (end - stays) : taken;
}

/* Copies only whole lines of the `bytes` bytes at offset `at`. For at = 0 drops the incomplete line at the end of
 * these bytes, otherwise the one at their beginning. Returns false if they cannot be read or written, or contain no
 * end of a line. */
static bool copy_part(int from, uint64_t at, uint64_t bytes, FILE *to)
{
    ORGAN_OWNED char *const part = malloc((size_t)bytes + 1);
    const ssize_t got = part ? pread(from, part, (size_t)bytes, (off_t)at) : -1;
    const char *cut = NULL; /* the end of a line at which the bytes are cut */
    if (got > 0)
        cut = at == 0 ? memrchr(part, '\n', (size_t)got) : memchr(part, '\n', (size_t)got);
    const size_t begin = cut && at > 0 ? (size_t)(cut + 1 - part) : 0,
                 end = cut && at == 0 ? (size_t)(cut + 1 - part) : (size_t)got;
    return got == (ssize_t)bytes && cut && fwrite(part + begin, 1, end - begin, to) == end - begin;
}

/* Replaces a log of more than `limit` bytes (0: no limit) by its beginning, an event that gives the number of
 * omitted bytes, and its end, log_share bytes each. Leaves the log unchanged if that fails. Streams that have the
 * old file open continue to read it. */
static void shorten_log(const organ_job_store *store, const char *id, uint64_t limit)
{
    ORGAN_OWNED char *from = NULL, *to = NULL;
    ORGAN_OWNED_FILE const int log = organ_job_open(store, id, "events.jsonl", O_RDONLY);
    const uint64_t size = file_size(log), stays = log_share(limit);
    if (limit > 0 && stays > 0 && size > limit && asprintf(&from, "%s/%s/events.short", store->path, id) >= 0 &&
        asprintf(&to, "%s/%s/events.jsonl", store->path, id) >= 0) {
        const int made = organ_job_open(store, id, "events.short", O_WRONLY | O_CREAT | O_TRUNC);
        FILE *const out = made < 0 ? NULL : fdopen(made, "w");
        organ_job_close(out ? -1 : made); /* fclose closes it otherwise */
        bool good = out && copy_part(log, 0, stays, out);
        good = good &&
               fprintf(out, "{\"event\":\"note\",\"text\":\"%llu bytes of the log are omitted here (--job-output)\"}\n",
                       (unsigned long long)(size - 2 * stays)) > 0;
        good = good && copy_part(log, size - stays, stays, out);
        good = out && fclose(out) == 0 && good;
        if (!good || rename(from, to) != 0)
            unlink(from);
    }
}

/* ---- result and log ---- */

/* Truncates the output of a running job to `limit` bytes each for the result and the log; 0: no limit. The result keeps
 * its first `limit` bytes; if it was larger, *cut becomes its size. The log keeps its beginning and its end. Its middle
 * becomes a hole in the file, but only bytes before the offset `read`, up to which the server has read the log. Returns
 * the bytes that both files occupy. */
static uint64_t trim_output(const organ_job_store *store, const char *id, uint64_t limit, int64_t read, uint64_t *cut)
{
    return cut_result(store, id, limit, cut) + hollow_log(store, id, limit, read);
}

/* Returns the sum of the sizes of job.json, events.jsonl and result.json in bytes. */
static uint64_t bytes_of_job(const organ_job_store *store, const char *id)
{
    static const char *const names[] = {"job.json", "events.jsonl", "result.json"};
    uint64_t bytes = 0;
    for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
        ORGAN_OWNED_FILE const int fd = organ_job_open(store, id, names[k], O_RDONLY);
        bytes += file_size(fd);
    }
    return bytes;
}

/* A truncated result counts as no result (found.result), because it is no longer JSON. */
static organ_job_findings job_examine(const organ_job_store *store, const char *id, uint64_t limit, uint64_t cut)
{
    organ_job_findings found = {.cut = cut};
    found.size = cut_result(store, id, limit, &found.cut);
    if (found.cut == 0)
        found.result = read_result(store, id, found.size, &found.page);
    found.page = found.page && found.result;
    shorten_log(store, id, limit);
    found.bytes = bytes_of_job(store, id);
    return found;
}

/* Programs with a sanitizer run without a limit, because RLIMIT_DATA counts the terabytes that sanitizers reserve. */
#if defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define IS_SANITIZED 1
#endif
#endif
#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define IS_SANITIZED 1
#endif
#ifdef IS_SANITIZED
const bool organ_job_memory_limited = false;
#else
const bool organ_job_memory_limited = true;
#endif

/* Returns VALUE of the word --NAME=VALUE among the options, which end at "--"; NULL if there is none. */
static const char *value_of(const json_t *argv, const char *name)
{
    const size_t length = strlen(name);
    for (size_t k = 0; k < json_array_size(argv); k++) {
        const char *const word = json_string_value(json_array_get(argv, k));
        if (strcmp(word, "--") == 0)
            break;
        const char *const text = word + strlen("--");
        if (strncmp(word, "--", strlen("--")) == 0 && strncmp(text, name, length) == 0 && text[length] == '=')
            return text + length + 1;
    }
    return NULL;
}

#define WITHOUT_OPTION ((uint64_t)512 << 20) /* bytes of a job whose verb has no --memory */

/* Half of the free memory belongs to all jobs that may run at the same time. */
static organ_status free_share(const organ_jobs *jobs, uint64_t *share, organ_error *error)
{
    organ_free_memory found;
    if (organ_free_memory_read("", &found, error) != ORGAN_OK)
        return error->status;
    *share = found.bytes / 2 / jobs->setup.limit;
    *share = *share > ORGAN_PLAN_MIN ? *share : ORGAN_PLAN_MIN;
    *share = jobs->setup.memory && *share > jobs->setup.memory ? jobs->setup.memory : *share;
    return ORGAN_OK;
}

/* *bytes is what the command line requests: --memory, its default for this verb, or WITHOUT_OPTION for verbs without
 * this option and for NULL. *automatic: it is a share of the free memory. */
static organ_status requested_memory(const organ_jobs *jobs, const organ_verb *verb, const json_t *argv,
                                     uint64_t *bytes, bool *automatic, organ_error *error)
{
    const organ_option *const option = verb ? organ_verb_option(verb, "memory") : NULL;
    const char *const given = value_of(argv, "memory"), *const text = given || !option ? given : option->fallback;
    *bytes = WITHOUT_OPTION;
    *automatic = option && text && !organ_quantity_parse(text, bytes);
    return *automatic ? free_share(jobs, bytes, error) : ORGAN_OK;
}

/* A very large limit becomes 2^63 - 1, which does not overflow. */
uint64_t organ_job_memory_limit(uint64_t memory, const json_t *argv)
{
    const long cores = sysconf(_SC_NPROCESSORS_ONLN);
    const char *const option_text = value_of(argv, "threads");
    uint64_t threads = cores > 0 ? (uint64_t)cores : 1;
    const uint64_t requested = option_text ? strtoull(option_text, NULL, 10) : 0;
    if (requested > 0 && requested < threads)
        threads = requested;
    if (!organ_job_memory_limited)
        return 0;
    const uint64_t extra = ORGAN_JOB_BASE_BYTES + threads * ORGAN_JOB_THREAD_BYTES;
    return memory > UINT64_MAX / 2 ? UINT64_MAX / 2 : memory + extra;
}

/* ---- the end ---- */

void organ_jobs_conclude(organ_jobs *jobs, organ_job *job, organ_job_state state)
{
    /* If the record cannot be saved, the job still ends here; the next server will find that its process has ended. */
    organ_error ignored = {0};
    job->state = state;
    job->cancelling = false;
    job->process = (organ_process){0};
    organ_job_close(job->events);
    job->events = -1;
    const double now = organ_http_stamp(job->finished);
    job->seconds = job->attempts > 0 && now > job->began ? now - job->began : -1;
    organ_job_save(&jobs->store, job, &ignored);
    jobs->ended[state]++;
    organ_jobs_changed(jobs, job);
}

/* `number` is the signal that ended the process, 0 for none; without a signal the message must contain "memory".
 * Does nothing for SIGKILL, SIGINT and SIGTERM, which come from outside the process. */
static void explain_memory(organ_job *job, int number)
{
    char limit[24];
    const size_t used = strlen(job->message);
    if (job->memory == 0 || (number == 0 && !strcasestr(job->message, "memory")) || number == SIGKILL ||
        number == SIGINT || number == SIGTERM)
        return;
    snprintf(job->message + used, sizeof job->message - used, "%s a job with this --memory is limited to %s in total",
             number ? ", perhaps for lack of memory:" : ";", organ_quantity_option(job->memory, limit));
}

/* `number` is the signal that ended the process, 0 for none. If the process was a child of an earlier server, its
 * exit code is unknown (code -1, number 0): the function then takes the code in the error event, or 0 if the result
 * is complete. */
static void end_job(organ_jobs *jobs, organ_job *job, int code, int number, const organ_job_findings *found)
{
    /* A process that failed or finished before the signal had an effect counts as failed or done. */
    const bool cancelled = job->cancelling && (code == ORGAN_INTERRUPTED || number != 0 || code < 0);
    if (code < 0 && number == 0 && job->progress.failed)
        code = job->progress.code;
    if (code < 0 && number == 0 && found->result)
        code = ORGAN_OK;
    job->code = code;
    job->result = found->result;
    job->page = found->page;
    job->size = found->size;
    job->cut = found->cut;
    job->bytes = found->bytes;
    if (job->progress.failed)
        snprintf(job->message, sizeof job->message, "%s", job->progress.message);
    else if (number != 0)
        snprintf(job->message, sizeof job->message, "ended by signal %d (%s)", number, strsignal(number));
    else if (code < 0)
        snprintf(job->message, sizeof job->message,
                 "the process ended while no server watched it; its exit code is unknown");
    else if (code > ORGAN_CHECK_FAILED)
        snprintf(job->message, sizeof job->message, "%s", job->progress.message);
    if (code == ORGAN_IO || number != 0)
        explain_memory(job, number);
    if (code == ORGAN_OK || code == ORGAN_CHECK_FAILED)
        organ_jobs_conclude(jobs, job, ORGAN_JOB_DONE);
    else if (cancelled)
        organ_jobs_conclude(jobs, job, ORGAN_JOB_CANCELLED);
    else
        organ_jobs_conclude(jobs, job,
                            code == ORGAN_INTERRUPTED || (code < 0 && number == 0) ? ORGAN_JOB_INTERRUPTED
                                                                                   : ORGAN_JOB_FAILED);
}

/* Unlocks the mutex meanwhile, because a result may be long. No other thread frees the job then: its state is still
 * "running", which only this thread changes. */
static organ_job_findings examine_output(organ_jobs *jobs, organ_job *job)
{
    const uint64_t cut = job->cut;
    pthread_mutex_unlock(&jobs->mutex);
    const organ_job_findings found = job_examine(&jobs->store, job->id, jobs->setup.output, cut);
    pthread_mutex_lock(&jobs->mutex);
    return found;
}

void organ_jobs_watch(organ_jobs *jobs, organ_job *job)
{
    int code = -1, number = 0;
    /* Checks for the end before it reads the events, so that it also reads all lines that the process wrote before its
     * end. */
    const bool over =
        job->child ? organ_process_reap(&job->process, &code, &number) : !organ_process_lives(&job->process);
    if (job->events < 0)
        job->events = organ_job_open(&jobs->store, job->id, "events.jsonl", O_RDONLY);
    /* One call reads at most a megabyte of events. While the process runs, later events are left to the next call. */
    bool received = false;
    while (job->events >= 0 && organ_job_progress_read(&job->progress, job->events)) {
        received = true;
        if (!over)
            break;
    }
    if (over) {
        const organ_job_findings found = examine_output(jobs, job);
        end_job(jobs, job, code, number, &found);
        return;
    }
    job->bytes = trim_output(&jobs->store, job->id, jobs->setup.output, job->progress.offset, &job->cut);
    if (received)
        organ_jobs_wake(jobs, job);
}

void organ_jobs_signal(organ_jobs *jobs, organ_job *job)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGKILL};
    const int last = (int)(sizeof signals / sizeof *signals) - 1;
    organ_process_signal(&job->process, signals[job->signals < last ? job->signals : last]);
    job->signals++;
    job->next_signal = organ_seconds_now() + jobs->setup.patience;
}

/* ---- the start ---- */

/* The texts belong to `argv`. The caller frees the array, which ends with NULL; NULL if out of memory. */
static char **argv_words(const json_t *argv)
{
    const size_t count = json_array_size(argv);
    char **const words = calloc(count + 1, sizeof *words);
    for (size_t k = 0; words && k < count; k++)
        words[k] = (char *)json_string_value(json_array_get(argv, k));
    return words;
}

bool organ_jobs_memory(const organ_jobs *jobs, const char *name, const json_t *argv, organ_job_memory *of,
                       organ_error *error)
{
    const organ_verb *const verb = organ_job_verb(jobs->setup.verbs, jobs->setup.verb_count, name);
    char requested[24], allowed[24];
    uint64_t memory;
    bool automatic;
    if (requested_memory(jobs, verb, argv, &memory, &automatic, error) != ORGAN_OK)
        return false;
    /* A verb without --memory has a fixed assumed amount, which a client cannot lower: lower it instead of rejecting.
     */
    if (verb && !organ_verb_option(verb, "memory") && jobs->setup.memory && memory > jobs->setup.memory)
        memory = jobs->setup.memory;
    of->limit = jobs->setup.memory ? organ_job_memory_limit(memory, argv) : 0;
    of->share = automatic ? memory : 0;
    if (jobs->setup.memory == 0 || memory <= jobs->setup.memory)
        return true;
    organ_fail(error, ORGAN_USAGE,
               "/arguments/memory: the job requests %s (%llu bytes), but the limit of this server is %s (--job-memory)",
               organ_quantity_option(memory, requested), (unsigned long long)memory,
               organ_quantity_option(jobs->setup.memory, allowed));
    return false;
}

/* The process executes its program only after job.json with its pid is on the disk, so that
 * a later server always finds a running process. */
static organ_status launch_job(organ_jobs *jobs, organ_job *job, char *const *argv, organ_job_memory memory,
                               organ_error *error)
{
    int gate = -1;
    ORGAN_OWNED_FILE const int log = organ_job_open(&jobs->store, job->id, "events.jsonl",
                                                    O_WRONLY | O_CREAT | O_APPEND | (job->resume ? 0 : O_TRUNC));
    ORGAN_OWNED_FILE const int output =
        organ_job_open(&jobs->store, job->id, "result.json", O_WRONLY | O_CREAT | O_TRUNC);
    if (log < 0 || output < 0)
        organ_fail_errno(error, errno, "the files of job %s", job->id);
    else if (organ_process_start(&jobs->plan, argv, memory, output, log, &job->process, &gate, error) == ORGAN_OK) {
        job->state = ORGAN_JOB_RUNNING;
        job->child = true;
        job->attempts++;
        job->began = organ_http_stamp(job->started);
        if (organ_job_save(&jobs->store, job, error) == ORGAN_OK)
            organ_process_let_go(gate);
        else
            organ_process_abandon(&job->process, gate); /* no later server could find the process */
    }
    return error->status;
}

void organ_jobs_start(organ_jobs *jobs, organ_job *job)
{
    organ_error error = {0};
    organ_job_memory memory = {0};
    json_t *const plain = json_object_get(job->fixed, "argv");
    ORGAN_OWNED_JSON json_t *const argv = job->resume ? organ_job_words_resumed(plain) : json_incref(plain);
    ORGAN_OWNED char **const words = argv_words(argv);
    job->progress = (organ_job_progress){.offset = job->progress.offset}; /* a resumed job appends to events.jsonl */
    job->message[0] = '\0';
    job->finished[0] = '\0';
    job->code = -1;
    job->signals = 0;
    job->result = job->page = false;
    job->size = job->cut = 0;
    if (!argv || !words)
        organ_fail_errno(&error, ENOMEM, "the words of job %s", job->id);
    else if (organ_jobs_memory(jobs, organ_json_text(job->fixed, "verb"), argv, &memory, &error))
        launch_job(jobs, job, words, memory, &error);
    job->memory = memory.limit;
    if (error.status == ORGAN_OK) {
        jobs->started++;
        organ_jobs_changed(jobs, job);
        return;
    }
    organ_jail_unroot(jobs->setup.jail, error.message);
    snprintf(job->message, sizeof job->message, "%s", error.message);
    organ_jobs_conclude(jobs, job, ORGAN_JOB_FAILED);
}

/* ---- after a restart ---- */

/* The limits of the server may have changed, too. */
unsigned organ_jobs_renew(organ_jobs *jobs, organ_job *job, organ_error *error)
{
    const organ_jobs_setup *const setup = &jobs->setup;
    ORGAN_OWNED_JSON json_t *faults = NULL;
    organ_job_words words;
    ORGAN_OWNED_JSON json_t *const request = json_pack("{s:O, s:O}", "verb", json_object_get(job->fixed, "verb"),
                                                       "arguments", json_object_get(job->fixed, "arguments"));
    const unsigned refused =
        request ? organ_job_words_read(setup->verbs, setup->verb_count, setup->jail, request, &words, &faults) : 500;
    if (refused) {
        const json_t *const first = json_array_get(faults, 0);
        organ_fail(error, ORGAN_BAD_INPUT, "%s: %s",
                   first ? json_string_value(json_object_get(first, "field")) : "no memory",
                   first ? json_string_value(json_object_get(first, "detail")) : "");
        return refused;
    }
    organ_job_memory memory;
    if (!organ_jobs_memory(jobs, words.verb->name, words.argv, &memory, error)) {
        organ_job_words_release(&words);
        return 422;
    }
    const bool replaced = ORGAN_ADD(job->fixed, SET_HELD("argv", words.argv), SET_HELD("reads", words.reads),
                                    SET_HELD("writes", words.writes));
    organ_job_words_release(&words);
    if (!replaced)
        organ_fail_errno(error, ENOMEM, "the words of job %s", job->id);
    return replaced ? 0 : 500;
}

/* A result that was larger than the limit of this server is no longer JSON, so the job then counts as one without a
 * result (job->result) and without a page. The log stays unchanged: trim_output releases only bytes of it that
 * the server has read, and gets 0 as their number. */
static void finish_ended_job(organ_jobs *jobs, organ_job *job)
{
    organ_error ignored = {0};
    const uint64_t cut = job->cut;
    trim_output(&jobs->store, job->id, jobs->setup.output, /*read=*/0, &job->cut);
    job->bytes = bytes_of_job(&jobs->store, job->id);
    if (job->cut == cut)
        return;
    job->result = job->page = false;
    job->size = jobs->setup.output;
    organ_job_save(&jobs->store, job, &ignored);
}

void organ_jobs_adopt(organ_jobs *jobs, organ_job *job)
{
    organ_error error = {0};
    job->child = false;
    job->signals = job->cancelling ? 1 : 0; /* the earlier server sent SIGINT: the next is SIGTERM */
    job->next_signal = organ_seconds_now() + jobs->setup.patience;
    if (job->state == ORGAN_JOB_RUNNING)
        organ_jobs_watch(jobs, job);
    else if (!organ_job_active(job->state))
        finish_ended_job(jobs, job);
    else if (job->state == ORGAN_JOB_QUEUED && organ_jobs_renew(jobs, job, &error)) {
        snprintf(job->message, sizeof job->message, "%s", error.message);
        organ_jobs_conclude(jobs, job, ORGAN_JOB_FAILED);
    }
}
