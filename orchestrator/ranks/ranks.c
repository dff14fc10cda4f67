/* SPDX-License-Identifier: MIT */
#include "orchestrator/ranks/ranks.h"

#include "formats/base/text.h"
#include "orchestrator/machine/workers.h"
#include <organ/machine.h>
#include "orchestrator/ranks/ranks_parts.h"
#include "orchestrator/stream/memory.h"
#include "orchestrator/version.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MODULE      "liborgan_mpi.so"
#define BRIEF_TURNS 2000u /* waits of wait_briefly that do not sleep */

size_t organ_ranks_rank(const organ_ranks *ranks) { return ranks ? ranks->rank : 0; }

size_t organ_ranks_count(const organ_ranks *ranks) { return ranks ? ranks->count : 1; }

bool organ_ranks_first(const organ_ranks *ranks) { return organ_ranks_rank(ranks) == 0; }

bool organ_ranks_without_first(const organ_ranks *ranks)
{
    return ranks && ranks->rank && __atomic_load_n(&ranks->watch.silent, __ATOMIC_ACQUIRE) == 0;
}

const char *organ_ranks_host(const organ_ranks *ranks, size_t rank) { return ranks->hosts[rank]; }

/* ---- meeting points ---- */

typedef struct arrival {
    uint64_t bytes;         /* number of bytes that this rank will broadcast to the others */
    uint64_t spoken;        /* notes that this rank has sent to rank 0 for display since the start */
    uint32_t stages;        /* number of progress stages that this rank has begun */
    int32_t status, errnum; /* of its error */
    bool agreed;            /* its error is the fault that all ranks adopted at an earlier meeting */
    char where[64];         /* name of the step at which this rank meets */
    char message[sizeof((organ_error *)NULL)->message]; /* of its error, "" for none */
} arrival;

/* If *error is an interruption already, its message is quoted, because abandon_run requests a stop when a rank is
 * silent, which causes the interruption. */
static organ_status fail_silent(const organ_ranks *ranks, int silent, organ_error *error)
{
    const bool interrupted = error->status == ORGAN_INTERRUPTED;
    const organ_error before = interrupted ? *error : (organ_error){0};
    if (interrupted)
        *error = (organ_error){0};
    return organ_fail(error, ORGAN_IO,
                      "rank %d of %zu (%s) has sent nothing for %u s (" ORGAN_SILENCE_VARIABLE
                      "): it was suspended, or its host hangs or cannot be reached%s%.600s",
                      silent, ranks->count, ranks->hosts[silent], ranks->watch.seconds, interrupted ? "; " : "",
                      before.message);
}

/* The message names the silent rank if the watch has found one, else it quotes `why`, the reason of the transport or
 * "". */
static organ_status fail_lost(organ_ranks *ranks, const char *why, organ_error *error)
{
    const int silent = __atomic_load_n(&ranks->watch.silent, __ATOMIC_ACQUIRE);
    __atomic_store_n(&ranks->lost, true, __ATOMIC_RELAXED);
    if (silent >= 0)
        return fail_silent(ranks, silent, error);
    return organ_fail(error, ORGAN_IO, "the other ranks cannot be reached%s%s", why[0] ? ": " : "", why);
}

/* The fault is that of the lowest rank that has one other than an interruption, or else of the lowest rank with an
 * interruption. Interruptions come last because they mostly follow the fault of another rank. Returns NULL if no
 * rank has a fault. */
static const arrival *find_fault(const organ_ranks *ranks, const arrival *arrivals)
{
    const arrival *found = NULL;
    for (size_t r = 0; r < ranks->count; r++)
        if (arrivals[r].status &&
            (!found || (found->status == ORGAN_INTERRUPTED && arrivals[r].status != ORGAN_INTERRUPTED)))
            found = &arrivals[r];
    return found;
}

static bool all_report(const organ_ranks *ranks, const arrival *arrivals, const arrival *expected)
{
    for (size_t r = 0; r < ranks->count; r++)
        if (arrivals[r].status != expected->status || strcmp(arrivals[r].message, expected->message) != 0)
            return false;
    return true;
}

/* The message gets a prefix that names the rank at fault, unless all ranks have the same message or the fault was
 * common before. */
static organ_status set_common_fault(organ_ranks *ranks, const arrival *arrivals, const arrival *fault,
                                     organ_error *error)
{
    const size_t rank = (size_t)(fault - arrivals);
    char name[32 + ORGAN_HOST_ROOM] = "";
    if (!all_report(ranks, arrivals, fault)) {
        if (!fault->agreed)
            snprintf(name, sizeof name, "rank %zu of %zu (%s): ", rank, ranks->count, ranks->hosts[rank]);
        if (error->status) /* else `error` may record a complete output, which the message must name */
            *error = (organ_error){0};
        /* 900 bytes leave room for the prefix; a message that was common before has its prefix already */
        organ_fail(error, (organ_status)fault->status, "%s%.*s", name, fault->agreed ? (int)sizeof fault->message : 900,
                   fault->message);
    }
    error->errnum = fault->errnum;
    if (!fault->agreed)
        ranks->named = strlen(name);
    memcpy(ranks->agreed, error->message, sizeof ranks->agreed);
    return error->status;
}

/* The next exchanges of ranks at different steps would not match, and they would wait for each other forever. */
static organ_status check_same_step(const organ_ranks *ranks, const arrival *arrivals, organ_error *error)
{
    for (size_t r = 1; r < ranks->count; r++)
        if (strcmp(arrivals[r].where, arrivals[0].where) != 0)
            return organ_fail(error, ORGAN_IO, "the ranks reached different steps: rank 0 '%s', rank %zu '%s'",
                              arrivals[0].where, r, arrivals[r].where);
    return ORGAN_OK;
}

/* A rank with an error first sends the others a request to stop or to halt, so that they come to the meeting point
 * early. */
static organ_status exchange_arrivals(organ_ranks *ranks, const char *where, uint64_t bytes, arrival *arrivals,
                                      organ_error *error)
{
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "";
    arrival mine = {.bytes = bytes, .status = (int32_t)error->status, .errnum = error->errnum};
    snprintf(mine.where, sizeof mine.where, "%s", where);
    if (error->status)
        memcpy(mine.message, error->message, sizeof mine.message);
    /* compares beginnings, because a caller may have appended text to the agreed message */
    mine.agreed = error->status && *ranks->agreed && strncmp(ranks->agreed, error->message, strlen(ranks->agreed)) == 0;
    if (error->status && error->status != ORGAN_CHECK_FAILED)
        (organ_stop_is_pending(ranks->stop) ? organ_heartbeat_stop_all : organ_heartbeat_halt_all)(ranks);
    pthread_mutex_lock(&ranks->lock);
    mine.stages = ranks->stages;
    pthread_mutex_unlock(&ranks->lock);
    mine.spoken = __atomic_load_n(&ranks->spoken, __ATOMIC_ACQUIRE);
    return ranks->transport.gather(&mine, sizeof mine, arrivals, organ_ranks_pause_before_retry, why)
               ? fail_lost(ranks, why, error)
               : ORGAN_OK;
}

static bool allocate_gathered(organ_gathered *all, const arrival *arrivals)
{
    for (size_t r = 0; r < all->count; r++) {
        all->bytes[r] = arrivals[r].bytes;
        if (!(all->of[r] = malloc(arrivals[r].bytes + 1)))
            return false;
        all->of[r][arrivals[r].bytes] = '\0';
    }
    return true;
}

/* First the ranks exchange whether each has memory, because the others would wait forever for a rank that cannot
 * take part. */
static organ_status broadcast_gathered(organ_ranks *ranks, const void *mine, const arrival *arrivals,
                                       organ_gathered *all, organ_error *error)
{
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "";
    char ready = allocate_gathered(all, arrivals); /* 1: this rank has memory */
    ORGAN_OWNED char *const others = malloc(ranks->count);
    bool travels = others != NULL; /* all ranks have memory, so that the broadcasts take place */
    if (!travels)
        ready = 0;
    if (!ready)
        organ_fail_memory(error, "the exchange between ranks");
    if (ranks->transport.gather(&ready, 1, others ? others : &ready, organ_ranks_pause_before_retry, why))
        fail_lost(ranks, why, error);
    for (size_t r = 0; r < ranks->count && travels && !ranks->lost; r++)
        travels = others[r] != 0;
    if (!travels)
        organ_fail(error, ORGAN_IO, "a rank has no memory for the exchange between ranks");
    for (size_t r = 0; r < ranks->count && travels && !ranks->lost; r++) {
        if (r == ranks->rank && arrivals[r].bytes)
            memcpy(all->of[r], mine, arrivals[r].bytes);
        if (ranks->transport.broadcast(all->of[r], arrivals[r].bytes, (int)r, organ_ranks_pause_before_retry, why))
            fail_lost(ranks, why, error);
    }
    return error->status;
}

static bool any_bytes(const organ_ranks *ranks, const arrival *arrivals)
{
    for (size_t r = 0; r < ranks->count; r++)
        if (arrivals[r].bytes)
            return true;
    return false;
}

static organ_status exchange_with_all(organ_ranks *ranks, const char *where, const void *mine, uint64_t bytes,
                                      organ_gathered *all, arrival *arrivals, organ_error *error)
{
    exchange_arrivals(ranks, where, bytes, arrivals, error);
    if (!ranks->lost && any_bytes(ranks, arrivals))
        broadcast_gathered(ranks, mine, arrivals, all, error);
    if (ranks->lost)
        return error->status;
    const arrival *const fault = find_fault(ranks, arrivals);
    if (fault)
        return set_common_fault(ranks, arrivals, fault, error);
    return error->status ? error->status : check_same_step(ranks, arrivals, error);
}

static bool make_places(organ_gathered *all, size_t count)
{
    *all = (organ_gathered){.of = calloc(count, sizeof *all->of), .bytes = calloc(count, sizeof *all->bytes)};
    all->count = all->of && all->bytes ? count : 0;
    return all->count > 0;
}

/* Meets all ranks, gathers their bytes, and on rank 0 receives all notes for display that were sent before the meeting.
 * Sets *together to false if a rank meets at another step than `where`; it is true also if ranks are lost. */
static organ_status ranks_gather(organ_ranks *ranks, const char *where, const void *mine, uint64_t bytes,
                                 organ_gathered *all, bool *together, organ_error *error)
{
    ORGAN_OWNED arrival *const arrivals = malloc(ranks->count * sizeof *arrivals);
    *together = true;
    if (ranks->lost)
        fail_lost(ranks, "", error);
    else if (!arrivals || !make_places(all, ranks->count)) {
        organ_fail_memory(error, where);
        ranks->lost = true; /* the launcher ends the other ranks when this process ends */
    } else {
        uint32_t stages = 0;
        exchange_with_all(ranks, where, mine, bytes, all, arrivals, error);
        for (size_t r = 0; r < ranks->count && !ranks->lost; r++) {
            *together = *together && strcmp(arrivals[r].where, where) == 0;
            stages = arrivals[r].stages > stages ? arrivals[r].stages : stages;
        }
        if (!ranks->lost)
            organ_heartbeat_align(ranks, stages);
        /* notes that were sent before the meeting belong to the stage that ends here */
        for (size_t r = 1; r < ranks->count && !ranks->lost && organ_ranks_first(ranks); r++)
            organ_heartbeat_receive_until(ranks, r, arrivals[r].spoken);
    }
    return error->status;
}

organ_status organ_ranks_agree(organ_ranks *ranks, const char *where, organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered nothing = {0};
    bool together;
    if (ranks)
        ranks_gather(ranks, where, /*mine=*/NULL, 0, &nothing, &together, error);
    return error->status;
}

organ_status organ_ranks_gather(organ_ranks *ranks, const char *where, const void *mine, uint64_t bytes,
                                organ_gathered *all, organ_error *error)
{
    bool together;
    *all = (organ_gathered){0};
    if (ranks)
        return ranks_gather(ranks, where, mine, bytes, all, &together, error);
    if (!error->status && (!make_places(all, 1) || !allocate_gathered(all, &(arrival){.bytes = bytes})))
        organ_fail_memory(error, where);
    if (!error->status && bytes)
        memcpy(all->of[0], mine, bytes);
    return error->status;
}

void organ_gathered_release(organ_gathered *all)
{
    for (size_t r = 0; all->of && r < all->count; r++)
        free(all->of[r]);
    free(all->of);
    free(all->bytes);
    *all = (organ_gathered){0};
}

organ_status organ_ranks_divide_memory(organ_ranks *ranks, const organ_engine *engine, uint64_t limit,
                                       organ_error *error)
{
    ORGAN_RELEASED_BY(organ_gathered_release) organ_gathered all = {0};
    size_t here = ranks ? 0 : 1;
    for (size_t r = 0; ranks && r < ranks->count; r++)
        here += strcmp(ranks->hosts[r], ranks->hosts[ranks->rank]) == 0;
    organ_memory_divide(engine, here, limit);
    const uint64_t mine = engine->memory || !engine->share ? UINT64_MAX : engine->share->ceiling;
    if (!ranks || organ_ranks_gather(ranks, "dividing the memory", &mine, sizeof mine, &all, error) != ORGAN_OK)
        return error->status;
    for (size_t r = 0; r < all.count; r++) {
        uint64_t ceiling = 0;
        memcpy(&ceiling, all.of[r], sizeof ceiling);
        organ_memory_lower(engine, ceiling);
    }
    return ORGAN_OK;
}

/* All ranks call the broadcast right after a meeting, so it ends soon: the first BRIEF_TURNS waits only yield the
 * processor, and later ones sleep. */
static void wait_briefly(unsigned attempt)
{
    if (attempt < BRIEF_TURNS)
        sched_yield();
    else
        organ_ranks_pause_before_retry(attempt - BRIEF_TURNS);
}

organ_status organ_ranks_broadcast(organ_ranks *ranks, size_t from, void *data, size_t bytes, organ_error *error)
{
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "";
    if (!ranks || bytes == 0)
        return error->status;
    if (ranks->lost)
        return fail_lost(ranks, "", error);
    return ranks->transport.broadcast(data, bytes, (int)from, wait_briefly, why) ? fail_lost(ranks, why, error)
                                                                                 : error->status;
}

organ_status organ_ranks_refuse(const organ_ranks *ranks, const char *what, organ_error *error)
{
    if (organ_ranks_count(ranks) < 2)
        return ORGAN_OK;
    return organ_fail(error, ORGAN_USAGE, "%s does not support %zu ranks: start it as a single process", what,
                      organ_ranks_count(ranks));
}

/* ---- joining and leaving ---- */

/* Folders are relative to the program's folder: the same folder in a build, the library directory in an
 * installation. */
static const char *const module_folders[] = {"", "/../lib/organ"};

/* Returns NULL if this folder has no module. The caller frees the path. */
static char *find_module(const char *folder)
{
    char program[4096];
    const ssize_t length = readlink("/proc/self/exe", program, sizeof program - 1);
    program[length > 0 ? length : 0] = '\0';
    char *const slash = strrchr(program, '/');
    if (!slash)
        return NULL;
    *slash = '\0';
    char *const path = organ_format("%s%s/" MODULE, program, folder);
    if (path && access(path, R_OK) == 0)
        return path;
    free(path);
    return NULL;
}

/* Tries module_folders first, then the system's library path. The program itself needs no MPI library. */
static organ_status load_transport(organ_transport *transport, organ_error *error)
{
    static const char *const names[ORGAN_TRANSPORT_FUNCTIONS] = ORGAN_TRANSPORT_NAMES;
    _Static_assert(sizeof *transport == ORGAN_TRANSPORT_FUNCTIONS * sizeof(void (*)(void)), "a name for each function");
    ORGAN_OWNED char *path = NULL;
    for (size_t k = 0; k < sizeof module_folders / sizeof *module_folders && !path; k++)
        path = find_module(module_folders[k]);
    return organ_library_load(path ? path : MODULE, names, ORGAN_TRANSPORT_FUNCTIONS, transport, error);
}

typedef struct introduction {
    char host[ORGAN_HOST_ROOM], version[32];
    cpu_set_t cpus;   /* CPUs on which the rank may run */
    char silence[16]; /* ORGAN_SILENCE in the rank's environment */
} introduction;

/* If ranks on one host have exactly the same CPUs, the launcher has bound none of them, and all would start their
 * workers at the first core. */
static organ_status divide_cores(const organ_ranks *ranks, const introduction *of, organ_error *error)
{
    const introduction *const mine = &of[ranks->rank];
    size_t share = 0, all = 0;
    for (size_t r = 0; r < ranks->count; r++) {
        const bool extra = strcmp(of[r].host, mine->host) == 0 && CPU_EQUAL(&of[r].cpus, &mine->cpus);
        share += extra && r < ranks->rank;
        all += extra;
    }
    return all > 1 && CPU_COUNT(&mine->cpus) > 1 ? organ_topology_take_share(share, all, error) : ORGAN_OK;
}

/* `text` is rank 0's value of ORGAN_SILENCE, because launchers do not pass the variable to every host. */
static organ_status read_silence(organ_ranks *ranks, const char *text, organ_error *error)
{
    char *end = NULL;
    const unsigned long seconds = strtoul(text, &end, 10);
    ranks->watch.seconds = text[0] ? (uint32_t)seconds : ORGAN_SILENCE_SECONDS;
    if ((text[0] && (text[0] < '0' || text[0] > '9')) || *end || seconds > ORGAN_SILENCE_MAX)
        return organ_fail(error, ORGAN_USAGE,
                          ORGAN_SILENCE_VARIABLE
                          " is '%s': it must be a number of seconds from 1 to %d, or 0 for no limit",
                          text, ORGAN_SILENCE_MAX);
    return ORGAN_OK;
}

/* Returns ORGAN_USAGE if versions of organ differ, because the formats of their notes may differ. */
static organ_status exchange_introductions(organ_ranks *ranks, organ_error *error)
{
    introduction mine = {.version = ORGAN_VERSION}, *const of = calloc(ranks->count, sizeof *of);
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "";
    ranks->hosts = calloc(ranks->count, sizeof *ranks->hosts);
    ranks->received = calloc(ranks->count, sizeof *ranks->received);
    if (!of || !ranks->hosts || !ranks->received) {
        free(of);
        return organ_fail_memory(error, "the ranks");
    }
    gethostname(mine.host, sizeof mine.host - 1);
    snprintf(mine.silence, sizeof mine.silence, "%s", organ_launch_silence());
    /* the set stays empty if the machine has more CPUs than cpu_set_t */
    sched_getaffinity(0, sizeof mine.cpus, &mine.cpus);
    if (ranks->transport.gather(&mine, sizeof mine, of, organ_ranks_pause_before_retry, why))
        fail_lost(ranks, why, error);
    for (size_t r = 0; r < ranks->count && !error->status; r++) {
        memcpy(ranks->hosts[r], of[r].host, sizeof of[r].host);
        if (strcmp(of[r].version, mine.version) != 0)
            organ_fail(error, ORGAN_USAGE,
                       "rank %zu (%s) is organ %s, but this rank (%s) is %s: all must have the same version", r,
                       of[r].host, of[r].version, mine.host, mine.version);
    }
    if (!error->status && read_silence(ranks, of[0].silence, error) == ORGAN_OK)
        divide_cores(ranks, of, error);
    free(of);
    ranks->joined = !error->status;
    return error->status;
}

static organ_status connect_ranks(const organ_launch *launch, organ_ranks *ranks, organ_error *error)
{
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "";
    int rank = 0, count = 0;
    if (ranks->transport.open(&rank, &count, why))
        return organ_fail(error, ORGAN_IO, "MPI cannot be initialised: %s", why);
    ranks->rank = (size_t)rank;
    ranks->count = (size_t)count;
    if (ranks->count != launch->count)
        return organ_fail(error, ORGAN_USAGE,
                          "%s has started %zu processes, but MPI finds %zu: the module belongs to another MPI library "
                          "than the launcher; with srun, --mpi=pmix may be missing",
                          launch->launcher, launch->count, ranks->count);
    return exchange_introductions(ranks, error);
}

organ_status organ_ranks_join_by(const organ_transport *transport, const organ_launch *launch, organ_stop *stop,
                                 organ_ranks **result, organ_error *error)
{
    organ_ranks *const ranks = *result = calloc(1, sizeof *ranks);
    if (!ranks)
        return organ_fail_memory(error, "the ranks");
    ranks->transport = *transport;
    ranks->stop = stop;
    ranks->count = 1;
    pthread_mutex_init(&ranks->lock, NULL);
    organ_condition_init(&ranks->woken);
    ranks->watch.silent = -1;
    pthread_mutex_init(&ranks->watch.lock, NULL);
    organ_condition_init(&ranks->watch.woken);
    if (connect_ranks(launch, ranks, error) || organ_watch_start(ranks, error) || organ_heartbeat_start(ranks, error)) {
        organ_ranks_leave(ranks);
        *result = NULL;
    }
    return error->status;
}

organ_status organ_ranks_join(const organ_launch *launch, organ_stop *stop, organ_ranks **ranks, organ_error *error)
{
    organ_transport transport;
    organ_error cause = {0};
    *ranks = NULL;
    if (launch->count < 2)
        return ORGAN_OK;
    if (load_transport(&transport, &cause))
        return organ_fail(error, ORGAN_IO,
                          "%s has started %zu processes, but the MPI module cannot be loaded: %.600s; build it with "
                          "'ninja mpi' (libopenmpi-dev) or install it, or start organ as a single process",
                          launch->launcher, launch->count, cause.message);
    return organ_ranks_join_by(&transport, launch, stop, ranks, error);
}

/* A rank at another meeting point gets the common fault there and then calls this function. */
organ_status organ_ranks_sync_status(organ_ranks *ranks, const char *where, organ_error *error)
{
    for (bool together = !ranks; !together;) {
        organ_gathered nothing = {0};
        ranks_gather(ranks, where, /*mine=*/NULL, 0, &nothing, &together, error);
        organ_gathered_release(&nothing);
    }
    return error->status;
}

/* ranks->overcome lets receive_fault ignore notes about the same fault that arrive later. */
void organ_ranks_overcome(organ_ranks *ranks)
{
    if (!ranks)
        return;
    pthread_mutex_lock(&ranks->lock);
    ranks->overcome++;
    organ_stop_set_halted(ranks->stop, /*halted=*/false);
    pthread_mutex_unlock(&ranks->lock);
    __atomic_store_n(&ranks->halted, false, __ATOMIC_RELAXED);
}

const char *organ_ranks_message(const organ_ranks *ranks, const organ_error *error)
{
    return error->message + (ranks && strcmp(ranks->agreed, error->message) == 0 ? ranks->named : 0);
}

void organ_ranks_leave(organ_ranks *ranks)
{
    char why[ORGAN_TRANSPORT_MESSAGE_BYTES] = "", here = 0;
    if (!ranks)
        return;
    /* If the other ranks cannot be reached, the launcher ends them when this process ends. Otherwise all ranks meet
     * here, stop sending, and meet a second time before the first of them leaves: nothing may be sent to a rank that
     * has left. */
    ORGAN_OWNED char *const all = ranks->joined && !ranks->lost ? malloc(ranks->count) : NULL;
    const bool here_all = all && ranks->transport.gather(&here, 1, all, organ_ranks_pause_before_retry, why) == 0;
    organ_watch_wait_for_rank_0(ranks);
    organ_watch_hush(ranks);
    organ_heartbeat_end(ranks);
    const bool ends = here_all && ranks->transport.gather(&here, 1, all, organ_ranks_pause_before_retry, why) == 0;
    organ_watch_end(ranks);
    if (ends) {
        organ_heartbeat_receive(ranks);
        ranks->transport.close(why);
    }
    organ_heartbeat_discard_notes(ranks);
    pthread_cond_destroy(&ranks->watch.woken);
    pthread_mutex_destroy(&ranks->watch.lock);
    pthread_cond_destroy(&ranks->woken);
    pthread_mutex_destroy(&ranks->lock);
    ORGAN_FREE_ARRAYS(ranks->received, ranks->hosts, ranks);
}
