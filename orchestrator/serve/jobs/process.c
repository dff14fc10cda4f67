/* SPDX-License-Identifier: MIT */
#include "orchestrator/serve/jobs/jobs_parts.h"

#include "formats/base/files.h"
#include "orchestrator/report/text/report_text.h"
#include "orchestrator/stream/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <organ/report.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

void organ_job_close(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* ---- identity ---- */

static bool read_small_file(const char *path, char *text, size_t size)
{
    ORGAN_OWNED_FILE const int fd = open(path, O_RDONLY | O_CLOEXEC);
    const ssize_t got = fd < 0 ? -1 : read(fd, text, size - 1);
    text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* The time is in clock ticks since boot: field 22 of /proc/PID/stat. Counts fields from the end of field 2, the name
 * in brackets, which may contain any bytes. Returns false if there is no such process, or only a zombie. */
static bool read_birth(pid_t pid, uint64_t *born)
{
    char path[40], text[1024];
    snprintf(path, sizeof path, "/proc/%ld/stat", (long)pid);
    char *at = read_small_file(path, text, sizeof text) ? strrchr(text, ')') : NULL;
    if (!at || at[1] != ' ' || at[2] == 'Z' || at[2] == 'X')
        return false;
    for (int field = 2; field < 22 && at; field++)
        at = strchr(at + 1, ' ');
    *born = at ? strtoull(at, NULL, 10) : 0;
    return at != NULL;
}

/* The id is "" if it cannot be read. A pid and a start time have no meaning in another boot. */
static void this_boot(char boot[40])
{
    if (read_small_file("/proc/sys/kernel/random/boot_id", boot, 40))
        boot[strcspn(boot, "\n")] = '\0';
}

bool organ_process_lives(const organ_process *process)
{
    char boot[40];
    uint64_t born = 0;
    this_boot(boot);
    return process->pid > 0 && read_birth(process->pid, &born) && born == process->born &&
           strcmp(boot, process->boot) == 0;
}

/* ---- starting ---- */

/* A child that is being started. Two pipes connect it with the server: through the gate the server permits the child to
 * execute the program; through `ready` the child reports that it is confined. A closed end is -1. */
typedef struct child {
    const organ_process_plan *plan;
    char *const *argv;             /* the command line, NULL-terminated */
    char **environ;                /* the environment, NULL-terminated */
    uint64_t memory;               /* RLIMIT_DATA in bytes; 0: no limit */
    int output, log;               /* descriptors that become standard output and error */
    int gate, ready;               /* ends of the pipes that the child uses */
    int server_gate, server_ready; /* ends of the pipes that the server uses */
} child;

/* In the child: resets signal handlers, sets process group, limits, directory and standard descriptors, and confines
 * the access to files with Landlock; `program` stays executable. Makes only async-signal-safe calls, as required
 * between fork and exec: another thread may have held any lock at the time of the fork. Returns false with errno on
 * failure. */
static bool prepare_child(const child *self, int program)
{
    const struct rlimit none = {0, 0}, memory = {self->memory, self->memory};
    /* Copies with high numbers, so that moving one descriptor to 0, 1 or 2 does not overwrite another. */
    const int root = organ_child_move_descriptor(self->plan->folders[0]),
              output = organ_child_move_descriptor(self->output), log = organ_child_move_descriptor(self->log);
    const int nothing = open("/dev/null", O_RDONLY | O_CLOEXEC);
    organ_child_plain_signals();
    /* A process group of its own lets the server signal the job and its children. A session of its own would not do:
     * where the scheduler shares processors by session, the job's lower priority would have no effect. */
    setpgid(0, 0);
    if (setrlimit(RLIMIT_CORE, &none) != 0 || (self->memory && setrlimit(RLIMIT_DATA, &memory) != 0))
        return false;
    if (root < 0 || fchdir(root) != 0)
        return false;
    if (!organ_child_place(nothing, 0) || !organ_child_place(output, 1) || !organ_child_place(log, 2))
        return false;
    const organ_readable stores = {self->plan->folders + 1, self->plan->folder_count - 1};
    return !self->plan->confine.landlock || organ_confine_files(self->plan->confine.landlock, root, stores, program);
}

/* Numbers of the child's descriptors before exec: the program and its ends of the two pipes. All from OTHERS on are
 * closed. */
enum { PROGRAM = ORGAN_PROGRAM_DESCRIPTOR, GATE, READY, OTHERS };

/* Moves three descriptors to their numbers and closes all others except 0 to 2. It must close the descriptor that locks
 * the job store, because the next server may start before this child executes its program. Returns false on failure. */
static bool close_other_descriptors(int program, int gate, int ready)
{
    if (dup3(program, PROGRAM, O_CLOEXEC) < 0 || dup3(gate, GATE, O_CLOEXEC) < 0 || dup3(ready, READY, O_CLOEXEC) < 0)
        return false;
    organ_child_close_from(OTHERS);
    return true;
}

/* Main function of the child; does not return. Confines the process, sends 0 or an errno through `ready`, waits for a
 * byte from the gate, and executes the program. A child that stops before that has the status of an interrupted job,
 * because it began nothing. `lost` is the event in the job's log if the program cannot be
 * executed. */
static void become_program(const child *self)
{
    static const char lost[] = "{\"event\":\"error\",\"status\":\"input or output\",\"code\":4,\"message\":\"the "
                               "program could not be executed\"}\n";
    const int program = organ_child_move_descriptor(self->plan->program),
              gate = organ_child_move_descriptor(self->gate), ready = organ_child_move_descriptor(self->ready);
    const bool good = program >= 0 && gate >= 0 && ready >= 0 && prepare_child(self, program);
    int why = good ? 0 : errno;
    char go = 0;
    const bool kept = close_other_descriptors(program, gate, ready);
    /* seccomp comes last, because it forbids some of the calls above. */
    if (!why && self->plan->confine.seccomp && !organ_confine_calls(ORGAN_CALLS_OF_JOBS))
        why = errno;
    if (!kept || write(READY, &why, sizeof why) != sizeof why || why != 0)
        _exit(ORGAN_INTERRUPTED);
    /* This process has closed the server's end of the gate, so that the read ends if the server dies. */
    if (read(GATE, &go, 1) != 1)
        _exit(ORGAN_INTERRUPTED);
    syscall(SYS_execveat, PROGRAM, "", self->argv, self->environ, AT_EMPTY_PATH);
    _exit(write(2, lost, sizeof lost - 1) > 0 ? ORGAN_IO : ORGAN_INTERRUPTED);
}

/* Returns what the child has sent: 0 or an errno. ECHILD if it has ended before. */
static int wait_for_child(int ready)
{
    int why = 0;
    ssize_t got;
    do
        got = read(ready, &why, sizeof why);
    while (got < 0 && errno == EINTR);
    return got == sizeof why ? why : ECHILD;
}

/* Waits until the child is confined. Leaves *process unchanged if no child can be started. After another failure the
 * child has ended, and *process is zero. */
static organ_status fork_child(child *self, organ_process *process, organ_error *error)
{
    const pid_t pid = fork();
    if (pid == 0)
        become_program(self);
    if (pid < 0)
        return organ_fail_errno(error, errno, "a process for the job cannot be started");
    close(self->ready);
    self->ready = -1;
    const int why = wait_for_child(self->server_ready);
    *process = (organ_process){.pid = pid};
    this_boot(process->boot);
    if (why == 0 && read_birth(pid, &process->born))
        return ORGAN_OK;
    close(self->server_gate); /* a child that waits at the gate ends now */
    self->server_gate = -1;
    waitpid(pid, NULL, 0);
    *process = (organ_process){0};
    return organ_fail_errno(error, why ? why : ECHILD, "the process of the job cannot be %s",
                            self->plan->confine.landlock || self->plan->confine.seccomp ? "confined" : "prepared");
}

/* Returns the environment of the plan with one more variable, `last`. The caller frees the array; NULL if memory runs
 * out. */
static char **extended_environment(char *const *plain, char *last)
{
    size_t count = 0;
    while (plain[count])
        count++;
    char **const all = malloc((count + 2) * sizeof *all);
    if (!all)
        return NULL;
    memcpy(all, plain, count * sizeof *all);
    all[count] = last;
    all[count + 1] = NULL;
    return all;
}

/* Until the release the caller can save *process, which identifies the process, before the program is executed.
 * *gate is -1 after an error. */
organ_status organ_process_start(const organ_process_plan *plan, char *const *argv, organ_job_memory memory, int output,
                                 int log, organ_process *process, int *gate, organ_error *error)
{
    int gates[2] = {-1, -1}, readies[2] = {-1, -1};
    char share[64];
    snprintf(share, sizeof share, ORGAN_MEMORY_VARIABLE "=%llu", (unsigned long long)memory.share);
    ORGAN_OWNED char **const all = extended_environment(plan->environ, memory.share ? share : NULL);
    int failed = pipe2(gates, O_CLOEXEC);
    if (!failed)
        failed = pipe2(readies, O_CLOEXEC);
    child self = {.plan = plan,
                  .argv = argv,
                  .environ = all,
                  .memory = memory.limit,
                  .output = output,
                  .log = log,
                  .gate = gates[0],
                  .ready = readies[1],
                  .server_gate = gates[1],
                  .server_ready = readies[0]};
    *gate = -1;
    if (failed)
        organ_fail_errno(error, errno, "a pipe to the job cannot be made");
    else if (!all)
        organ_fail_memory(error, "the environment of a job");
    else if (fork_child(&self, process, error) == ORGAN_OK) {
        *gate = self.server_gate;
        self.server_gate = -1;
    }
    organ_job_close(self.gate);
    organ_job_close(self.ready);
    organ_job_close(self.server_gate);
    organ_job_close(self.server_ready);
    return error->status;
}

void organ_process_let_go(int gate)
{
    const ssize_t said = write(gate, "g", 1); /* fails if the process has died; organ_jobs_watch then ends the job */
    (void)said;
    close(gate);
}

void organ_process_abandon(const organ_process *process, int gate)
{
    close(gate);
    waitpid(process->pid, NULL, 0);
}

bool organ_process_reap(const organ_process *process, int *code, int *signal)
{
    int status = 0;
    if (process->pid <= 0 || waitpid(process->pid, &status, WNOHANG) != process->pid)
        return false;
    *code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    *signal = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
    return true;
}

/* The process group gets the signal, so that children of the process get it too. */
void organ_process_signal(const organ_process *process, int number)
{
    if (organ_process_lives(process))
        kill(-process->pid, number);
}

/* CHUNK is in bytes; a call of organ_job_progress_read reads at most MAX_CHUNKS. */
enum { CHUNK = 64 << 10, MAX_CHUNKS = 16 };

/* Seconds of measurement before the speed is shown: earlier values vary too much. */
static const double min_rate_seconds = 0.3;

/* Copies the first 900 bytes; organ_fail makes the control characters of its message visible. */
static void make_visible(char *out, size_t size, const char *bytes, size_t length)
{
    organ_error error = {0};
    organ_fail(&error, ORGAN_USAGE, "%.*s", (int)(length < 900 ? length : 900), bytes);
    snprintf(out, size, "%s", error.message);
}

json_t *organ_job_event(const char *line, size_t length)
{
    json_error_t fault;
    bool no_memory;
    json_t *const event = organ_json_load(line, length, JSON_REJECT_DUPLICATES, &fault, &no_memory);
    const char *const name = json_string_value(json_object_get(event, "event"));
    if (name && *name && strspn(name, "abcdefghijklmnopqrstuvwxyz") == strlen(name))
        return event;
    char text[1000];
    json_decref(event);
    make_visible(text, sizeof text, line, length);
    return json_pack("{s:s, s:s}", "event", "note", "text", text);
}

static void begin_stage(organ_job_progress *progress, const json_t *event)
{
    snprintf(progress->stage, sizeof progress->stage, "%s", organ_json_text(event, "what"));
    progress->failed = false; /* an error before this event belongs to an earlier attempt, which is now resumed */
    progress->message[0] = '\0';
    progress->bytes = progress->tensors = progress->before = 0;
    progress->of = organ_json_count(event, "bytes");
    progress->many = organ_json_count(event, "tensors");
    snprintf(progress->unit, sizeof progress->unit, "%s", organ_json_text(event, "unit"));
    progress->tensor[0] = '\0';
    progress->since = organ_seconds_now();
}

/* `first`: the event is among the first that this server reads of the log, so it may be older than this server; the
 * measurement of the speed then starts after it. */
static void advance_progress(organ_job_progress *progress, const json_t *event, bool first)
{
    const char *const tensor = organ_json_text(event, "tensor");
    progress->bytes = organ_json_count(event, "bytes");
    progress->of = organ_json_count(event, "of");
    progress->tensors = organ_json_count(event, "tensors");
    if (*tensor)
        snprintf(progress->tensor, sizeof progress->tensor, "%s", tensor);
    if (first) {
        progress->since = organ_seconds_now();
        progress->before = progress->bytes;
    }
}

static void read_event_line(organ_job_progress *progress, const char *line, size_t length, bool first)
{
    ORGAN_OWNED_JSON json_t *const event = organ_job_event(line, length);
    const char *const name = organ_json_text(event, "event");
    if (strcmp(name, "begin") == 0)
        begin_stage(progress, event);
    else if (strcmp(name, "advance") == 0)
        advance_progress(progress, event, first);
    else if (strcmp(name, "error") == 0) {
        progress->failed = true;
        progress->code = (int)organ_json_count(event, "code");
        snprintf(progress->message, sizeof progress->message, "%s", organ_json_text(event, "message"));
    } else if (strcmp(name, "note") == 0 && !progress->failed) {
        snprintf(progress->message, sizeof progress->message, "%s", organ_json_text(event, "text"));
    }
}

/* At most MAX_CHUNKS x CHUNK bytes are read per call. An incomplete last line stays for the next call. */
bool organ_job_progress_read(organ_job_progress *progress, int fd)
{
    ORGAN_OWNED char *const chunk = malloc(CHUNK);
    const bool first = progress->offset == 0;
    bool any = false;
    for (int k = 0; chunk && k < MAX_CHUNKS; k++) {
        const ssize_t got = pread(fd, chunk, CHUNK, progress->offset);
        size_t at = 0;
        for (const char *end; got > 0 && (end = memchr(chunk + at, '\n', (size_t)got - at));
             at = (size_t)(end - chunk) + 1)
            read_event_line(progress, chunk + at, (size_t)(end - chunk) - at, first);
        if (got == CHUNK && at == 0)
            at = CHUNK; /* no event is as long as CHUNK: skip this part of the line */
        progress->offset += (int64_t)at;
        any = any || at > 0;
        if (got < CHUNK)
            break;
    }
    return any;
}

json_t *organ_job_progress_view(const organ_job_progress *progress, bool running)
{
    const double seconds = organ_seconds_now() - progress->since, of = (double)progress->of,
                 done = (double)progress->bytes;
    const bool timed = running && progress->bytes > progress->before && seconds >= min_rate_seconds;
    const double speed = timed ? (double)(progress->bytes - progress->before) / seconds : 1;
    return ORGAN_OBJECT(SET_BYTES("stage", progress->stage), SET_COUNT("bytes", progress->bytes),
                        SET_COUNT("of", progress->of), SET_COUNT("tensors", progress->tensors),
                        SET_COUNT("of_tensors", progress->many), SET_TEXT("unit", progress->unit),
                        SET_REAL_OF("fraction", progress->of > 0, done >= of ? 1.0 : done / of),
                        SET_BYTES_OF("tensor", *progress->tensor ? progress->tensor : NULL),
                        SET_REAL_OF("bytes_per_second", timed, speed),
                        SET_REAL_OF("seconds_left", timed && done < of, (of - done) / speed));
}
