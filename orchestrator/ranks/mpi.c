/* SPDX-License-Identifier: MIT
 * The module liborgan_mpi.so, which implements organ_transport with MPI; ranks_parts.h describes the functions. Only
 * this file is compiled with mpicc. MPI is initialised for one calling thread at a time, so each call holds the
 * lock. A waiting call releases the lock and sleeps between two tests of its request: other threads can send
 * meanwhile, and a rank that has finished leaves its cores to the others. Functions return 0, or 1 with a reason in
 * `why`. */
#include "orchestrator/ranks/ranks_parts.h"

#include <mpi.h>
#include <stdio.h>
#include <string.h>

#define NOTE_TAG 1                  /* MPI's tag of notes */
#define BEAT_TAG 2                  /* MPI's tag of signs of life */
#define NOTES    256                /* largest number of notes and signs of life that are sent and not yet delivered */
#define STEP     ((size_t)64 << 20) /* bytes in one MPI call, whose count is an int */

#define EXPORTED __attribute__((visibility("default")))

EXPORTED int organ_mpi_open(int *rank, int *count, char *why);
EXPORTED int organ_mpi_gather(const void *mine, size_t bytes, void *all, void (*wait)(unsigned attempt), char *why);
EXPORTED int organ_mpi_broadcast(void *data, size_t bytes, int from, void (*wait)(unsigned attempt), char *why);
EXPORTED int organ_mpi_send(int to, const void *note, size_t bytes, void (*wait)(unsigned attempt), char *why);
EXPORTED int organ_mpi_receive(void *note, size_t room, size_t *bytes, int *from, char *why);
EXPORTED int organ_mpi_beat(int to, int word, char *why);
EXPORTED int organ_mpi_take_beat(int *from, int *word, char *why);
EXPORTED void organ_mpi_cut(void);
EXPORTED int organ_mpi_close(char *why);

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* 1 after organ_mpi_cut. A call that waited at that time returned while MPI still had its buffers, which the caller may
 * have freed since, so no MPI function may be called any more. Protected by the lock. */
static int cut;

/* Returns 0, or 1 with the text of the error in `why`. */
static int mpi_check(int code, char *why)
{
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    if (code == MPI_SUCCESS)
        return 0;
    MPI_Error_string(code, text, &length);
    snprintf(why, ORGAN_TRANSPORT_MESSAGE_BYTES, "%s", text);
    return 1;
}

int organ_mpi_open(int *rank, int *count, char *why)
{
    int level = MPI_THREAD_SINGLE;
    if (mpi_check(MPI_Init_thread(NULL, NULL, MPI_THREAD_SERIALIZED, &level), why))
        return 1;
    if (level < MPI_THREAD_SERIALIZED) {
        snprintf(why, ORGAN_TRANSPORT_MESSAGE_BYTES, "this MPI library can be called by one thread only");
        return 1;
    }
    return mpi_check(MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN), why) ||
           mpi_check(MPI_Comm_rank(MPI_COMM_WORLD, rank), why) || mpi_check(MPI_Comm_size(MPI_COMM_WORLD, count), why);
}

/* Returns 1 without the lock if organ_mpi_cut was called. */
static int mpi_enter(char *why)
{
    pthread_mutex_lock(&lock);
    if (cut) {
        snprintf(why, ORGAN_TRANSPORT_MESSAGE_BYTES, "the connection to the other ranks was closed");
        pthread_mutex_unlock(&lock);
    }
    return cut;
}

static int mpi_leave(int code, char *why)
{
    const int failed = mpi_check(code, why);
    pthread_mutex_unlock(&lock);
    return failed;
}

/* Without the lock, other threads can call MPI. Returns 0 with the lock, or 1 without it if organ_mpi_cut was
 * called. */
static int mpi_wait_turn(void (*wait)(unsigned attempt), unsigned attempt, char *why)
{
    pthread_mutex_unlock(&lock);
    wait(attempt);
    return mpi_enter(why);
}

/* `code` is the result of the MPI call that started the request. The caller holds the lock, which is released at the
 * end. */
static int mpi_complete(int code, MPI_Request *request, void (*wait)(unsigned attempt), char *why)
{
    int done = 0;
    for (unsigned attempt = 0; code == MPI_SUCCESS; attempt++) {
        code = MPI_Test(request, &done, MPI_STATUS_IGNORE);
        if (done)
            break;
        if (mpi_wait_turn(wait, attempt, why))
            return 1;
    }
    return mpi_leave(code, why);
}

int organ_mpi_gather(const void *mine, size_t bytes, void *all, void (*wait)(unsigned attempt), char *why)
{
    MPI_Request request;
    if (mpi_enter(why))
        return 1;
    return mpi_complete(MPI_Iallgather(mine, (int)bytes, MPI_BYTE, all, (int)bytes, MPI_BYTE, MPI_COMM_WORLD, &request),
                        &request, wait, why);
}

/* Sends pieces of STEP bytes, because MPI counts with int. */
int organ_mpi_broadcast(void *data, size_t bytes, int from, void (*wait)(unsigned attempt), char *why)
{
    int failed = 0;
    for (size_t at = 0; at < bytes && !failed; at += STEP) {
        const size_t some = bytes - at < STEP ? bytes - at : STEP;
        MPI_Request request;
        if (mpi_enter(why))
            return 1;
        failed = mpi_complete(MPI_Ibcast((char *)data + at, (int)some, MPI_BYTE, from, MPI_COMM_WORLD, &request),
                              &request, wait, why);
    }
    return failed;
}

/* Senders do not wait for the receiver, so MPI reads the bytes of notes and signs of life from here. */
static struct {
    MPI_Request request; /* MPI_REQUEST_NULL if the place is free */
    char bytes[ORGAN_TRANSPORT_NOTE_BYTES];
} sent[NOTES];
static int begun; /* number of places in `sent` that were ever used */

/* Returns -1 if all places are in use. The caller holds the lock. */
static int free_place(int *code)
{
    for (int k = 0; k < begun && *code == MPI_SUCCESS; k++) {
        int done = 1;
        if (sent[k].request != MPI_REQUEST_NULL)
            *code = MPI_Test(&sent[k].request, &done, MPI_STATUS_IGNORE);
        if (done)
            return k;
    }
    return begun < NOTES ? begun++ : -1;
}

int organ_mpi_send(int to, const void *note, size_t bytes, void (*wait)(unsigned attempt), char *why)
{
    int code = MPI_SUCCESS, place;
    if (mpi_enter(why))
        return 1;
    for (unsigned attempt = 0; (place = free_place(&code)) < 0 && code == MPI_SUCCESS; attempt++)
        if (mpi_wait_turn(wait, attempt, why))
            return 1;
    if (code == MPI_SUCCESS) {
        memcpy(sent[place].bytes, note, bytes);
        code = MPI_Isend(sent[place].bytes, (int)bytes, MPI_BYTE, to, NOTE_TAG, MPI_COMM_WORLD, &sent[place].request);
    }
    return mpi_leave(code, why);
}

/* Drops the sign if no place is free, because another sign follows. */
int organ_mpi_beat(int to, int word, char *why)
{
    int code = MPI_SUCCESS;
    if (mpi_enter(why))
        return 1;
    const int place = free_place(&code);
    if (place >= 0)
        memcpy(sent[place].bytes, &word, sizeof word);
    if (code == MPI_SUCCESS && place >= 0)
        code = MPI_Isend(sent[place].bytes, sizeof word, MPI_BYTE, to, BEAT_TAG, MPI_COMM_WORLD, &sent[place].request);
    return mpi_leave(code, why);
}

/* Returns MPI's code. The caller holds the lock. */
static int mpi_receive_if_arrived(int tag, void *note, size_t capacity, int *there, MPI_Status *status)
{
    const int code = MPI_Iprobe(MPI_ANY_SOURCE, tag, MPI_COMM_WORLD, there, status);
    return code == MPI_SUCCESS && *there
               ? MPI_Recv(note, (int)capacity, MPI_BYTE, status->MPI_SOURCE, tag, MPI_COMM_WORLD, status)
               : code;
}

int organ_mpi_receive(void *note, size_t capacity, size_t *bytes, int *from, char *why)
{
    MPI_Status status;
    int there = 0, length = 0;
    *bytes = 0;
    if (mpi_enter(why))
        return 1;
    const int code = mpi_receive_if_arrived(NOTE_TAG, note, capacity, &there, &status);
    if (code == MPI_SUCCESS && there) {
        MPI_Get_count(&status, MPI_BYTE, &length);
        *bytes = (size_t)length;
        *from = status.MPI_SOURCE;
    }
    return mpi_leave(code, why);
}

int organ_mpi_take_beat(int *from, int *word, char *why)
{
    MPI_Status status;
    int there = 0;
    *from = -1;
    if (mpi_enter(why))
        return 1;
    const int code = mpi_receive_if_arrived(BEAT_TAG, word, sizeof *word, &there, &status);
    if (code == MPI_SUCCESS && there)
        *from = status.MPI_SOURCE;
    return mpi_leave(code, why);
}

void organ_mpi_cut(void)
{
    pthread_mutex_lock(&lock);
    cut = 1;
    pthread_mutex_unlock(&lock);
}

/* Finalises MPI. Notes that were not received are discarded. */
int organ_mpi_close(char *why)
{
    for (int k = 0; k < begun; k++)
        if (sent[k].request != MPI_REQUEST_NULL)
            MPI_Request_free(&sent[k].request);
    return mpi_check(MPI_Finalize(), why);
}
