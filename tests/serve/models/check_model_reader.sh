#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Tests the process that reads models. The program starts itself as this process, which an emulated program cannot do; emulated trees run no scripts.
exec build/checks/model_reader
