#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Jobs with their processes. The program starts itself as those, which it cannot do in an emulator; scripts run where there is none.
exec build/checks/job_keeper
