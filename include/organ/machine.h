/* SPDX-License-Identifier: MIT
 * The machine: amounts of bytes and time as text, cores and memory nodes, threads. */
#ifndef ORGAN_API_MACHINE_H
#define ORGAN_API_MACHINE_H

#include <organ/base.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

ORGAN_API_BEGIN

/* ---- amounts of bytes, durations and counts as text ---- */

/* Sets *bytes to the amount in the text: a number and an optional unit, in either case, also after one blank. kB, MB,
 * GB, TB, PB and EB are powers of 1000: "5GB" and "12.9 GB". KiB, MiB, ... and bare K, M, G, T, P and E are powers of
 * 1024: "512M", "2GiB". Without unit, or with B, the number counts bytes and has no fraction; other fractions of a byte
 * are dropped. Returns false, with *bytes unchanged, for anything else: empty text, sign, another blank, exponent,
 * trailing text, more than 2^63 - 1. */
bool organ_quantity_parse(const char *text, uint64_t *bytes);

/* Formats bytes as "640 B", "9.9 MB", "15.2 GB", "152 GB": decimal units, rounded half up, one decimal below 100 and
 * none from there on. 999.95 MB is "1.0 GB". Returns `out`. */
char *organ_quantity_text(uint64_t bytes, char out[16]);

/* Returns the decimal unit in which the amount has one to three digits before the point: "MB". Sets *factor to the
 * number by which bytes are multiplied to get that unit. */
const char *organ_quantity_unit(double bytes, double *factor);

/* Formats bytes as the value of an option, "640K", "492M", "3G": rounded up to K, or to M from 10M on, so that
 * organ_quantity_parse returns at least `bytes`, then in the largest unit (to T) without a fraction. Returns `out`. */
char *organ_quantity_option(uint64_t bytes, char out[24]);

/* Formats a duration as "0.34 s", "12.3 s", "4 min 05 s", "2 h 14 min", rounded half up; "unknown" for a negative,
 * infinite or NaN time and for 10^12 s and more. Returns `out`. */
char *organ_duration_text(double seconds, char out[24]);

/* Formats 1450103613 as "1,450,103,613". Returns `out`. */
char *organ_count_text(uint64_t count, char out[32]);

/* ---- topology: cores on which workers run, and the memory node of each ---- */

typedef struct organ_topology organ_topology;

/* Reads this machine, limited to the CPUs on which this process may run (cgroup cpuset, taskset) and to the memory
 * nodes on which it may allocate. */
organ_status organ_topology_discover(organ_topology **topology, organ_error *error);

/* Reads a machine recorded by hwloc ("lstopo machine.xml"). Threads and memory cannot be bound on it. Returns
 * ORGAN_BAD_INPUT if the file is not such a record, is larger than 64 MiB, or has no usable CPU; ORGAN_IO if it
 * cannot be read. */
organ_status organ_topology_import(const char *path, organ_topology **topology, organ_error *error);

/* Creates a machine for tests from hwloc's synthetic language ("numa:2 core:24 pu:2"). `allowed` is a list of OS
 * numbers of CPUs in hwloc's notation ("0-11,48"), or NULL for all. Threads and memory cannot be bound on it:
 * organ_topology_is_this_machine returns false. Returns ORGAN_USAGE if either text is malformed or no CPU remains. */
organ_status organ_topology_synthetic(const char *description, const char *allowed, organ_topology **topology,
                                      organ_error *error);

void organ_topology_destroy(organ_topology *topology); /* NULL is allowed */
bool organ_topology_is_this_machine(const organ_topology *topology);
size_t organ_topology_cores(const organ_topology *topology); /* usable physical cores */
size_t
organ_topology_nodes(const organ_topology *topology); /* NUMA nodes that are nearest to a usable core, at least 1 */

/* The CPU and memory node of one worker. */
typedef struct organ_place {
    unsigned node; /* 0 .. organ_topology_nodes - 1 */
    unsigned pu;   /* OS number of the CPU to which the worker is bound */
} organ_place;

/* Sets places[k], k < threads, to the CPU and node of worker k. The first workers get one core each, of the fastest
 * kind of core first. Cores of one kind alternate between nodes, so that any number of workers is spread evenly over
 * the nodes. More workers than cores get the other hardware threads of the cores; more workers than CPUs share CPUs. */
void organ_topology_place(const organ_topology *topology, size_t threads, organ_place *places);

/* A memory (NUMA) node; its index is organ_place.node. */
typedef struct organ_node {
    unsigned os;    /* OS number of the node */
    uint64_t bytes; /* bytes of memory; 0 if an imported record does not say */
    size_t cores;   /* usable cores that have this node nearest */
} organ_node;
/* Returns the description of a node; zeros if there is no node of that index. */
organ_node organ_topology_node(const organ_topology *topology, unsigned node);

/* A CPU on which a worker can run. */
typedef struct organ_pu {
    unsigned core;    /* OS number of its core; cores of different packages can have the same number */
    unsigned package; /* OS number of its package; 0 if there is none */
    unsigned kind;    /* kind of its core: 0 is the fastest of the machine, 1 the next, ... */
    unsigned sibling; /* number of the CPU among the usable ones of its core, from 0 */
    bool near;        /* the memory node of its worker is local to the CPU; false if no local node has usable memory, so
                         that another node is used */
} organ_pu;
/* Returns the description of the usable CPU with OS number `pu`; zeros if there is none. */
organ_pu organ_topology_pu(const organ_topology *topology, unsigned pu);
size_t organ_topology_kinds(const organ_topology *topology); /* number of kinds of usable cores, at least 1 */

/* Reasons why a part of the machine is not used. The first three apply to CPUs, the others to memory nodes; all are
 * identified by OS numbers. */
typedef enum organ_absence {
    ORGAN_CPU_OFFLINE,    /* switched off, or missing in the record */
    ORGAN_CPU_FORBIDDEN,  /* not in the cpuset of the process (cgroup) */
    ORGAN_CPU_UNBOUND,    /* not in the affinity of the caller (taskset, numactl, a batch system) */
    ORGAN_NODE_FORBIDDEN, /* not in the cpuset of the process */
    ORGAN_NODE_EMPTY,     /* without memory, or switched off */
    ORGAN_NODE_REMOTE,    /* nearest to no usable core */
    ORGAN_ABSENCES
} organ_absence;

/* Returns a list of the OS numbers that are not used for this reason, such as "8-15,40", or "" if there are none; the
 * caller frees it. NULL if memory is exhausted. */
char *organ_topology_absent(const organ_topology *topology, organ_absence why);

/* Lists, in the form of organ_topology_absent, the usable CPUs that have no worker if there are `threads` workers:
 * *cores are first CPUs of cores of the fastest kind, *slower those of slower kinds, *siblings all further CPUs of
 * cores. Returns false if memory is exhausted; the caller frees the lists in both cases. */
bool organ_topology_idle(const organ_topology *topology, size_t threads, char **cores, char **slower, char **siblings);

/* Returns `count` numbers of CPUs or nodes, in any order, as a list like "8-15,40", which the caller frees; NULL if
 * memory is exhausted. */
char *organ_topology_list(const unsigned *numbers, size_t count);

/* Binds the calling thread to the CPU of the place. Returns false if the system refuses; callers report this as a
 * downgrade, not as an error. */
bool organ_topology_bind(const organ_topology *topology, organ_place place);

/* Restricts the calling thread, and threads that it creates, to part `share` (from 0) of `of` equal parts of the cores
 * on which it may run now. Parts are whole adjacent cores; if there are more parts than cores, several share a core. A
 * topology discovered afterwards contains only this part. Returns ORGAN_IO if the system refuses; ORGAN_USAGE unless
 * share < of. */
organ_status organ_topology_take_share(size_t share, size_t of, organ_error *error);

/* Allocates `bytes` bytes of zeroed memory, page-aligned, on that node if the system allows it. Returns NULL with
 * errno if memory is exhausted. Release it with organ_topology_free. */
void *organ_topology_allocate(const organ_topology *topology, unsigned node, size_t bytes);
void organ_topology_free(const organ_topology *topology, void *memory, size_t bytes); /* NULL is allowed */

/* ---- workers: a pool of threads, each bound to a CPU, that run one function together ---- */

typedef struct organ_workers organ_workers;

/* Starts `threads` threads (0: one per core of the topology), each bound to its place if the system allows it.
 * `topology` must outlive the pool. On a synthetic topology no thread is bound. The threads have stacks of 8 MiB and
 * block signals, which are delivered to the caller's threads. Returns ORGAN_IO if a thread or memory is refused; all
 * threads that were started have then ended. */
organ_status organ_workers_create(const organ_topology *topology, size_t threads, organ_workers **workers,
                                  organ_error *error);
void organ_workers_destroy(organ_workers *workers); /* NULL is allowed; waits for the threads */

size_t organ_workers_count(const organ_workers *workers);
size_t organ_workers_pinned(const organ_workers *workers); /* number of threads that could be bound */
organ_place organ_workers_place(const organ_workers *workers, size_t worker); /* CPU and node of a thread */

/* Calls work(context, worker) once on every thread (worker = 0 .. count-1) and returns when all have returned. Not
 * reentrant. */
void organ_workers_run(organ_workers *workers, void (*work)(void *context, size_t worker), void *context);

/* Run `work` in two steps: organ_workers_start starts it on all threads and returns at once; organ_workers_wait
 * returns when the work has returned on all threads. */
void organ_workers_start(organ_workers *workers, void (*work)(void *context, size_t worker), void *context);
void organ_workers_wait(organ_workers *workers);

ORGAN_API_END

#endif
