/* SPDX-License-Identifier: MIT */
#include "orchestrator/ranks/ranks_parts.h"

#include "formats/base/owned.h"
#include "orchestrator/machine/workers.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define POLLS_A_SECOND 5u /* wake-ups of the watch per second: organ_condition_wait waits for a fifth of a second */

/* Returns how many ranks, from 0 on, this rank watches: rank 0 watches all, the others rank 0. */
static size_t to_watch(const organ_ranks *ranks) { return ranks->rank ? 1 : ranks->count; }

static bool is_lost(const organ_ranks *ranks) { return __atomic_load_n(&ranks->lost, __ATOMIC_RELAXED); }

static void mark_lost(organ_ranks *ranks) { __atomic_store_n(&ranks->lost, true, __ATOMIC_RELAXED); }

/* A sign of life contains `lost_rank`, the rank that is considered lost, or -1. Sends nothing after
 * organ_watch_hush. */
static void send_beats(organ_ranks *ranks, int lost_rank)
{
    organ_watch *const w = &ranks->watch;
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "";
    ORGAN_LOCKED(&w->lock);
    for (size_t r = 0; r < to_watch(ranks) && !w->hushed && !is_lost(ranks); r++)
        if (r != ranks->rank && (int)r != lost_rank && ranks->transport.beat((int)r, lost_rank, why))
            mark_lost(ranks);
}

/* First sends `silent` to the watched ranks: without that, the others would report rank 0 as silent when rank 0 has
 * ended. */
static void abandon_run(organ_ranks *ranks, int silent)
{
    send_beats(ranks, silent);
    __atomic_store_n(&ranks->watch.silent, silent, __ATOMIC_RELEASE);
    mark_lost(ranks);
    ranks->transport.cut();
    organ_stop_request(ranks->stop);
}

static void receive_beats(organ_ranks *ranks)
{
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "";
    for (int from = 0, word = -1; from >= 0 && !is_lost(ranks);) {
        if (ranks->transport.received(&from, &word, why))
            mark_lost(ranks);
        else if (from >= 0 && word >= 0)
            abandon_run(ranks, word);
        else if (from >= 0)
            ranks->watch.naps[from] = 0;
    }
}

/* A rank may be silent for w->seconds + 1 seconds; the extra second is the interval between two signs of life. The
 * watch counts wake-ups instead of time: if this process itself was suspended, it has no wake-ups for that time, and
 * receives the signs that arrived meanwhile before it counts again. */
static void count_silence(organ_ranks *ranks)
{
    organ_watch *const w = &ranks->watch;
    for (size_t r = 0; r < to_watch(ranks) && !is_lost(ranks); r++)
        if (r != ranks->rank && ++w->naps[r] > (w->seconds + 1) * POLLS_A_SECOND)
            abandon_run(ranks, (int)r);
}

void organ_watch_poll(organ_ranks *ranks, unsigned poll)
{
    if (poll % POLLS_A_SECOND == 0)
        send_beats(ranks, -1);
    receive_beats(ranks);
    count_silence(ranks);
}

static void *run_watch(void *context)
{
    organ_ranks *const ranks = context;
    organ_watch *const w = &ranks->watch;
    bool ending = false;
    for (unsigned poll = 0; !ending && !is_lost(ranks); poll++) {
        organ_watch_poll(ranks, poll);
        pthread_mutex_lock(&w->lock);
        if (!w->ending)
            organ_condition_wait(&w->woken, &w->lock);
        ending = w->ending;
        pthread_mutex_unlock(&w->lock);
    }
    return NULL;
}

organ_status organ_watch_start(organ_ranks *ranks, organ_error *error)
{
    organ_watch *const w = &ranks->watch;
    if (w->seconds == 0)
        return ORGAN_OK;
    w->naps = calloc(ranks->count, sizeof *w->naps);
    if (!w->naps)
        return organ_fail_memory(error, "the ranks");
    const int failed = organ_thread_create(&w->thread, NULL, run_watch, ranks);
    w->runs = failed == 0;
    return failed ? organ_fail_errno(error, failed, "cannot start the thread that listens to the other ranks")
                  : ORGAN_OK;
}

void organ_watch_hush(organ_ranks *ranks)
{
    ORGAN_LOCKED(&ranks->watch.lock);
    ranks->watch.hushed = true;
}

void organ_watch_wait_for_rank_0(organ_ranks *ranks)
{
    const unsigned max = 10, seconds = 2 * ranks->watch.seconds < max ? 2 * ranks->watch.seconds : max;
    if (ranks->rank == 0 || __atomic_load_n(&ranks->watch.silent, __ATOMIC_ACQUIRE) <= 0)
        return;
    organ_stop_clear(
        ranks->stop); /* clears this rank's own request to stop; the next request is the launcher's signal */
    ORGAN_LOCKED(&ranks->watch.lock);
    for (unsigned poll = 0; poll < seconds * POLLS_A_SECOND && !organ_stop_is_pending(ranks->stop); poll++)
        organ_condition_wait(&ranks->watch.woken, &ranks->watch.lock);
}

void organ_watch_end(organ_ranks *ranks)
{
    organ_watch *const w = &ranks->watch;
    if (w->runs) {
        pthread_mutex_lock(&w->lock);
        w->ending = true;
        pthread_cond_signal(&w->woken);
        pthread_mutex_unlock(&w->lock);
        pthread_join(w->thread, NULL);
        receive_beats(ranks); /* receive everything that was sent, before MPI is finalised */
    }
    w->runs = false;
    organ_clear(&w->naps);
}

#define MIN_PAUSE       20000u /* nanoseconds of the first pause between two tests for messages */
#define PAUSE_DOUBLINGS 6u     /* the pause doubles this many times */

/* The first two go to all ranks, the others (notes for display) to rank 0, which displays them. */
typedef enum note_kind {
    NOTE_STOP,   /* request to stop */
    NOTE_FAULT,  /* the sender has an error */
    NOTE_BYTES,  /* progress in bytes */
    NOTE_TENSOR, /* a finished tensor, with progress in bytes */
    NOTE_TEXT,   /* a message for the user */
    NOTE_WARNING /* a warning for the user */
} note_kind;

/* Notes are sent at any time between meeting points (organ_ranks_agree). */
typedef struct note {
    uint32_t kind;    /* note_kind */
    uint32_t stage;   /* number of progress stages that the sender had begun when it sent the note */
    uint64_t bytes;   /* bytes of progress; of NOTE_FAULT: organ_ranks.overcome of the sender */
    char text[800];   /* name of the tensor, or the text to display */
    char remark[160]; /* displayed after the tensor; "" for none */
} note;
_Static_assert(sizeof(note) <= ORGAN_TRANSPORT_NOTE_BYTES, "a note fits the wire");

/* A note for display that arrived on rank 0 before rank 0 began the note's stage of the progress. An element of the
 * list organ_ranks.early. */
struct organ_early_note {
    struct organ_early_note *next;
    note note;
};

void organ_ranks_pause_before_retry(unsigned attempt)
{
    nanosleep(&(struct timespec){.tv_nsec = (long)MIN_PAUSE << (attempt < PAUSE_DOUBLINGS ? attempt : PAUSE_DOUBLINGS)},
              NULL);
}

static void send_note(organ_ranks *ranks, size_t to, const note *n)
{
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "";
    if (!is_lost(ranks) && ranks->transport.send((int)to, n, sizeof *n, organ_ranks_pause_before_retry, why))
        mark_lost(ranks);
    if (n->kind >= NOTE_BYTES)
        __atomic_add_fetch(&ranks->spoken, 1, __ATOMIC_RELEASE);
}

/* Sends the note once: *sent, a member of `ranks`, notes that. */
static void send_to_others(organ_ranks *ranks, bool *sent, const note *n)
{
    if (__atomic_exchange_n(sent, true, __ATOMIC_RELAXED))
        return;
    for (size_t r = 0; r < ranks->count; r++)
        if (r != ranks->rank)
            send_note(ranks, r, n);
}

void organ_heartbeat_stop_all(organ_ranks *ranks) { send_to_others(ranks, &ranks->sent, &(note){.kind = NOTE_STOP}); }

void organ_heartbeat_halt_all(organ_ranks *ranks)
{
    send_to_others(ranks, &ranks->halted,
                   &(note){.kind = NOTE_FAULT, .bytes = __atomic_load_n(&ranks->overcome, __ATOMIC_RELAXED)});
}

/* ---- progress on rank 0 ---- */

/* The caller holds the lock, and a stage has begun. */
static void advance_by(organ_ranks *ranks, const note *n)
{
    organ_progress_advance(ranks->shown, n->bytes, n->kind == NOTE_TENSOR ? n->text : NULL,
                           n->remark[0] ? n->remark : NULL);
}

/* If memory is exhausted, drops the note, and the display lacks its line. The caller holds the lock. */
static void store_early_note(organ_ranks *ranks, const note *n)
{
    struct organ_early_note *const kept = malloc(sizeof *kept);
    if (!kept)
        return;
    *kept = (struct organ_early_note){.note = *n};
    *(ranks->early ? ranks->early_end : &ranks->early) = kept;
    ranks->early_end = &kept->next;
}

/* Displays the notes of the current stage if it is open, and drops those and older ones from the list. The caller
 * holds the lock. */
static void show_early(organ_ranks *ranks)
{
    struct organ_early_note **at = &ranks->early, *early;
    while ((early = *at) != NULL) {
        if (early->note.stage > ranks->stages) {
            at = &early->next;
            continue;
        }
        if (early->note.stage == ranks->stages && ranks->stage)
            advance_by(ranks, &early->note);
        *at = early->next;
        free(early);
    }
    ranks->early_end = at;
}

static void begin_shown(void *context, const char *what, uint64_t bytes, size_t tensors)
{
    organ_ranks *const ranks = context;
    ORGAN_LOCKED(&ranks->lock);
    ranks->stage = true;
    ranks->stages++;
    organ_progress_begin(ranks->shown, what, bytes, tensors);
    show_early(ranks);
}

static void advance_shown(void *context, uint64_t bytes, const char *tensor, const char *remark)
{
    organ_ranks *const ranks = context;
    ORGAN_LOCKED(&ranks->lock);
    organ_progress_advance(ranks->shown, bytes, tensor, remark);
}

void organ_heartbeat_align(organ_ranks *ranks, uint32_t stages)
{
    ORGAN_LOCKED(&ranks->lock);
    ranks->stages = stages;
    show_early(ranks);
}

/* With the largest number of stages and no open stage, show_early drops every note. */
void organ_heartbeat_discard_notes(organ_ranks *ranks)
{
    ranks->stage = false;
    organ_heartbeat_align(ranks, UINT32_MAX);
}

static void end_shown(void *context)
{
    organ_ranks *const ranks = context;
    ORGAN_LOCKED(&ranks->lock);
    ranks->stage = false;
    organ_progress_end(ranks->shown);
}

static void note_shown(void *context, const char *text)
{
    organ_ranks *const ranks = context;
    ORGAN_LOCKED(&ranks->lock);
    organ_progress_note(ranks->shown, "%s", text);
}

static void warn_shown(void *context, const char *text)
{
    organ_ranks *const ranks = context;
    ORGAN_LOCKED(&ranks->lock);
    organ_progress_warn(ranks->shown, "%s", text);
}

/* A text is displayed at once. A note of progress is kept in ranks->early if rank 0 has not begun its stage, and
 * dropped if no stage is open. */
static void show_note(organ_ranks *ranks, const note *n, int from)
{
    ORGAN_LOCKED(&ranks->lock);
    if (n->kind >= NOTE_TEXT)
        (n->kind == NOTE_WARNING ? organ_progress_warn : organ_progress_note)(
            ranks->shown, "rank %d (%s): %.*s", from, ranks->hosts[from], (int)sizeof n->text - 1, n->text);
    else if (n->stage > ranks->stages)
        store_early_note(ranks, n);
    else if (ranks->stage)
        advance_by(ranks, n);
}

/* ---- progress on other ranks ---- */

/* Only counts the stage; rank 0 displays it. */
static void send_begin(void *context, const char *what, uint64_t bytes, size_t tensors)
{
    organ_ranks *const ranks = context;
    (void)what, (void)bytes, (void)tensors;
    ORGAN_LOCKED(&ranks->lock);
    ranks->stage = true;
    ranks->stages++;
    ranks->unsent = 0;
}

static note collect_unsent(organ_ranks *ranks, note_kind kind, uint64_t more)
{
    ORGAN_LOCKED(&ranks->lock);
    const note taken = {.kind = kind, .stage = ranks->stages, .bytes = ranks->unsent + more};
    ranks->unsent = 0;
    return taken;
}

static void send_advance(void *context, uint64_t bytes, const char *tensor, const char *remark)
{
    organ_ranks *const ranks = context;
    if (!tensor) {
        pthread_mutex_lock(&ranks->lock);
        ranks->unsent += bytes;
        pthread_mutex_unlock(&ranks->lock);
        return;
    }
    note n = collect_unsent(ranks, NOTE_TENSOR, bytes);
    snprintf(n.text, sizeof n.text, "%s", tensor);
    snprintf(n.remark, sizeof n.remark, "%s", remark ? remark : "");
    send_note(ranks, 0, &n);
}

static void send_end(void *context)
{
    organ_ranks *const ranks = context;
    ORGAN_LOCKED(&ranks->lock);
    ranks->stage = false;
}

/* Sends nothing between stages: there all ranks have the same texts, and rank 0 displays its own. */
static void send_text(organ_ranks *ranks, note_kind kind, const char *text)
{
    note n = {.kind = kind};
    pthread_mutex_lock(&ranks->lock);
    const bool says = ranks->stage;
    pthread_mutex_unlock(&ranks->lock);
    if (!says)
        return;
    snprintf(n.text, sizeof n.text, "%s", text);
    send_note(ranks, 0, &n);
}

static void send_note_text(void *context, const char *text) { send_text(context, NOTE_TEXT, text); }
static void send_warning(void *context, const char *text) { send_text(context, NOTE_WARNING, text); }

const organ_progress *organ_ranks_progress(organ_ranks *ranks, const organ_progress *shown)
{
    if (!ranks)
        return shown;
    pthread_mutex_lock(&ranks->lock);
    ranks->shown = shown;
    ranks->progress =
        ranks->rank == 0
            ? (organ_progress){ranks, begin_shown, advance_shown, end_shown, note_shown, warn_shown, false}
            : (organ_progress){ranks, send_begin, send_advance, send_end, send_note_text, send_warning, true};
    pthread_mutex_unlock(&ranks->lock);
    return &ranks->progress;
}

/* ---- the thread ---- */

/* `overcome` is the number of faults that the sender had overcome; if this rank has another number, the note is
 * about another fault. */
static void receive_fault(organ_ranks *ranks, uint64_t overcome)
{
    ORGAN_LOCKED(&ranks->lock);
    if (overcome == ranks->overcome)
        organ_stop_set_halted(ranks->stop, /*halted=*/true);
}

void organ_heartbeat_receive(organ_ranks *ranks)
{
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "";
    note n;
    size_t bytes = 0;
    int from = 0;
    while (!is_lost(ranks)) {
        if (ranks->transport.receive(&n, sizeof n, &bytes, &from, why))
            mark_lost(ranks);
        if (bytes != sizeof n)
            return;
        if (n.kind == NOTE_STOP)
            organ_stop_request(ranks->stop);
        else if (n.kind == NOTE_FAULT)
            receive_fault(ranks, n.bytes);
        else
            show_note(ranks, &n, from);
        if (n.kind >= NOTE_BYTES)
            __atomic_add_fetch(&ranks->received[from], 1, __ATOMIC_RELEASE);
    }
}

/* A note that was sent before a collective call (gather, broadcast) can arrive after that call, so a meeting must
 * wait for it. */
void organ_heartbeat_receive_until(organ_ranks *ranks, size_t rank, uint64_t spoken)
{
    organ_heartbeat_receive(ranks);
    for (unsigned attempt = 0; __atomic_load_n(&ranks->received[rank], __ATOMIC_ACQUIRE) < spoken; attempt++) {
        if (is_lost(ranks))
            return;
        organ_ranks_pause_before_retry(attempt);
        organ_heartbeat_receive(ranks);
    }
}

static void send_heartbeat(organ_ranks *ranks)
{
    organ_heartbeat_receive(ranks);
    if (organ_stop_is_pending(ranks->stop))
        organ_heartbeat_stop_all(ranks);
    const note n = collect_unsent(ranks, NOTE_BYTES, 0);
    if (n.bytes)
        send_note(ranks, 0, &n);
}

static void *run_heartbeat(void *context)
{
    organ_ranks *const ranks = context;
    bool ending = false;
    while (!ending) {
        send_heartbeat(ranks);
        pthread_mutex_lock(&ranks->lock);
        if (!ranks->ending)
            organ_condition_wait(&ranks->woken, &ranks->lock);
        ending = ranks->ending;
        pthread_mutex_unlock(&ranks->lock);
    }
    organ_heartbeat_receive(ranks); /* receive all notes that were sent, before MPI is finalised */
    return NULL;
}

organ_status organ_heartbeat_start(organ_ranks *ranks, organ_error *error)
{
    const int failed = organ_thread_create(&ranks->heartbeat, NULL, run_heartbeat, ranks);
    ranks->beats = failed == 0;
    return failed ? organ_fail_errno(error, failed, "cannot start the heartbeat thread") : ORGAN_OK;
}

void organ_heartbeat_end(organ_ranks *ranks)
{
    if (!ranks->beats)
        return;
    pthread_mutex_lock(&ranks->lock);
    ranks->ending = true;
    pthread_cond_signal(&ranks->woken);
    pthread_mutex_unlock(&ranks->lock);
    pthread_join(ranks->heartbeat, NULL);
    ranks->beats = false;
}

/* ---- launchers ---- */

/* The environment variables that launchers set for each process. organ_launch_find uses the first row whose variables
 * exist, even if their count is 1: processes that mpirun starts inside a Slurm job also have srun's variables, which
 * describe the step of mpirun's daemons. A batch script or a shell of salloc is not a step with several tasks. */
static const struct launcher {
    const char *name;         /* of the launcher, for messages */
    const char *count, *rank; /* names of the variables with the number of processes and with this process's rank */
} launchers[] = {{"mpirun", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_RANK"},
                 {"mpirun", "PMI_SIZE", "PMI_RANK"},
                 {"srun", "SLURM_STEP_NUM_TASKS", "SLURM_PROCID"}};

/* Returns false if the variable is missing or not a number. */
static bool launch_number_of(const char *variable, size_t *number)
{
    const char *const text = getenv(variable);
    char *end = NULL;
    if (!text || *text < '0' || *text > '9')
        return false;
    *number = strtoul(text, &end, 10);
    return *end == '\0';
}

const char *organ_launch_silence(void)
{
    const char *const text = getenv(ORGAN_SILENCE_VARIABLE);
    return text ? text : "";
}

/* Without a launcher's variables, or if the number is 0, the result is rank 0 of 1 process. */
organ_launch organ_launch_find(void)
{
    for (size_t k = 0; k < sizeof launchers / sizeof *launchers; k++) {
        organ_launch launch = {.launcher = launchers[k].name};
        if (launch_number_of(launchers[k].count, &launch.count) && launch_number_of(launchers[k].rank, &launch.rank))
            return launch.count > 0 ? launch : (organ_launch){.count = 1};
    }
    return (organ_launch){.count = 1};
}
