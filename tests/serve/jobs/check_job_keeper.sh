#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests jobs with their processes. The program starts itself as these processes, which an emulated program cannot do; emulated trees run no scripts.
exec build/checks/job_keeper
