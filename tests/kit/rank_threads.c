/* SPDX-License-Identifier: MIT */
#include "tests/kit/rank_threads.h"

#include "orchestrator/ranks/ranks_parts.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ROOM 4096

rank_thread players[MAX_PLAYERS];
unsigned stops_sent[MAX_PLAYERS];
bool notes_arrive;
bool wire_broken;
size_t ranks_seen;
int silent_rank = -1;
unsigned wires_cut;

static _Thread_local size_t me;
static _Thread_local bool is_rank; /* false in threads that a rank has started, which have no rank */
static size_t playing;             /* number of ranks */
static pthread_barrier_t together;
static char given[MAX_PLAYERS][ROOM];
static size_t expected[MAX_PLAYERS]; /* size of the exchange that a rank is in */
static int beaten[MAX_PLAYERS]
                 [MAX_PLAYERS]; /* heartbeats not received yet, from a rank to another: their words + 2; 0: none */
static char *carried;           /* buffer of a broadcast */
static struct {
    size_t from, to, bytes;
    char note[ORGAN_TRANSPORT_NOTE_BYTES];
} letters[64]; /* guarded by the lock */
static size_t letters_sent;
unsigned first_speaks_for;
static unsigned have_left; /* atomic */
static pthread_mutex_t letters_lock = PTHREAD_MUTEX_INITIALIZER;

static int open_wire(int *rank, int *count, char *why)
{
    (void)why;
    *rank = (int)me;
    *count = (int)(ranks_seen ? ranks_seen : playing);
    return 0;
}

/* Checks that all ranks are at the same point. A real network would mix up the messages of ranks at different points of
 * a run. */
static void come_together(size_t call)
{
    expected[me] = call;
    pthread_barrier_wait(&together);
    for (size_t r = 0; r < playing; r++)
        ck_assert_msg(expected[r] == call, "rank %zu calls for %zu, rank %zu for %zu", me, call, r, expected[r]);
}

static int gather_wire(const void *mine, size_t bytes, void *all, void (*wait)(unsigned turn), char *why)
{
    (void)wait;
    if (__atomic_load_n(&wire_broken, __ATOMIC_RELAXED)) {
        snprintf(why, ORGAN_TRANSPORT_MESSAGE_BYTES, "the wire is cut");
        return 1;
    }
    ck_assert_uint_le(bytes, ROOM);
    memcpy(given[me], mine, bytes);
    come_together(2 * bytes);
    for (size_t r = 0; r < playing; r++)
        memcpy((char *)all + r * bytes, given[r], bytes);
    pthread_barrier_wait(&together);
    return 0;
}

static int broadcast_wire(void *data, size_t bytes, int from, void (*wait)(unsigned turn), char *why)
{
    (void)wait, (void)why;
    if (me == (size_t)from)
        carried = data;
    come_together(2 * bytes + 1);
    if (me != (size_t)from)
        memcpy(data, carried, bytes);
    pthread_barrier_wait(&together);
    return 0;
}

static int send_wire(int to, const void *note, size_t bytes, void (*wait)(unsigned turn), char *why)
{
    (void)wait, (void)why;
    __atomic_fetch_add(&stops_sent[me], 1, __ATOMIC_RELAXED);
    if (!notes_arrive)
        return 0;
    pthread_mutex_lock(&letters_lock);
    ck_assert_uint_lt(letters_sent, sizeof letters / sizeof *letters);
    letters[letters_sent].from = me;
    letters[letters_sent].to = (size_t)to;
    letters[letters_sent].bytes = bytes;
    memcpy(letters[letters_sent++].note, note, bytes);
    pthread_mutex_unlock(&letters_lock);
    return 0;
}

static int receive_wire(void *note, size_t room, size_t *bytes, int *from, char *why)
{
    (void)why;
    *bytes = 0;
    pthread_mutex_lock(&letters_lock);
    for (size_t k = 0; k < letters_sent && is_rank && *bytes == 0; k++) {
        if (letters[k].to != me || letters[k].bytes == 0)
            continue;
        ck_assert_uint_le(letters[k].bytes, room);
        *from = (int)letters[k].from;
        *bytes = letters[k].bytes;
        memcpy(note, letters[k].note, *bytes);
        letters[k].bytes = 0; /* received */
    }
    pthread_mutex_unlock(&letters_lock);
    return 0;
}

static int beat_wire(int to, int word, char *why)
{
    (void)why;
    if ((int)me != silent_rank)
        __atomic_store_n(&beaten[to][me], word + 2, __ATOMIC_RELAXED);
    return 0;
}

static int heard_wire(int *from, int *word, char *why)
{
    (void)why;
    *from = -1;
    for (size_t r = 0; r < playing && *from < 0; r++) {
        const int beat = __atomic_exchange_n(&beaten[me][r], 0, __ATOMIC_RELAXED);
        if (beat) {
            *from = (int)r;
            *word = beat - 2;
        }
    }
    return 0;
}

static void cut_wire(void) { __atomic_fetch_add(&wires_cut, 1, __ATOMIC_RELAXED); }

static int close_wire(char *why)
{
    (void)why;
    return 0;
}

static const organ_transport wire = {open_wire, gather_wire, broadcast_wire, send_wire, receive_wire,
                                     beat_wire, heard_wire,  cut_wire,       close_wire};

static void *be_rank(void *context)
{
    rank_thread *const t = context;
    const organ_launch launch = {.launcher = "mpirun", .rank = t->rank, .count = playing};
    organ_ranks *ranks = NULL;
    me = t->rank;
    is_rank = true;
    if (organ_ranks_join_by(&wire, &launch, &t->stop, &ranks, &t->error) == ORGAN_OK) {
        t->part(ranks, &t->error);
        organ_ranks_sync_status(ranks, "the end", &t->error);
    }
    if (t->rank == 0)
        usleep(first_speaks_for);
    organ_ranks_leave(ranks);
    t->left = __atomic_add_fetch(&have_left, 1, __ATOMIC_RELAXED);
    for (size_t r = 1; r < playing && t->rank == 0 && t->error.status; r++)
        organ_stop_request(&players[r].stop); /* as a launcher does after a process has failed */
    return NULL;
}

void play(size_t count, void (*part)(organ_ranks *ranks, organ_error *error))
{
    ck_assert_uint_le(count, MAX_PLAYERS);
    /* The heartbeat thread would have no rank, so there is none. */
    setenv(ORGAN_SILENCE_VARIABLE, "0", 0);
    playing = count;
    pthread_barrier_init(&together, NULL, (unsigned)count);
    memset(stops_sent, 0, sizeof stops_sent);
    memset(beaten, 0, sizeof beaten);
    letters_sent = 0;
    have_left = 0;
    for (size_t r = 0; r < count; r++) /* all of them before a thread starts: rank 0 may stop the others at once */
        players[r] = (rank_thread){.rank = r, .part = part};
    for (size_t r = 0; r < count; r++)
        ck_assert_int_eq(pthread_create(&players[r].thread, NULL, be_rank, &players[r]), 0);
    for (size_t r = 0; r < count; r++)
        pthread_join(players[r].thread, NULL);
    pthread_barrier_destroy(&together);
}

void all_end(organ_status status, const char *text)
{
    for (size_t r = 0; r < playing; r++) {
        ck_assert_msg(players[r].error.status == status, "rank %zu ends with %d: %s", r, (int)players[r].error.status,
                      players[r].error.message);
        ck_assert_msg(strstr(players[r].error.message, text) != NULL, "rank %zu: %s", r, players[r].error.message);
    }
}
