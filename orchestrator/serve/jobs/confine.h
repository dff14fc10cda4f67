/* SPDX-License-Identifier: MIT
 * Confines a process to one directory by Landlock, a restriction that a process puts on itself and cannot remove. */
#ifndef ORGAN_JOB_CONFINE_H
#define ORGAN_JOB_CONFINE_H

#include <stdbool.h>

/* The version of Landlock that the kernel offers; 0: none, or one with which directories could not be renamed (before Linux 5.19). From 4
 * on the network is closed as well. */
int organ_confine_version(void);

/* Confines the calling thread and what it will execute: reading and writing below the directory `root`, reading of the system's libraries
 * and of what tells about the machine, executing of the file `program` (a descriptor, O_PATH does) and of what the system's loader needs.
 * Nothing else of the file system, no TCP, no signals to others as far as the kernel knows these. false with errno if it could not be done,
 * in whole or in part. `version` is what organ_confine_version gave, not 0. Makes system calls only: may be called between fork and exec.
 */
bool organ_confine(int version, int root, int program);

#endif
