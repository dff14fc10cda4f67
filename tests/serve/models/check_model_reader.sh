#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The process that reads models. The program starts itself as that, which it cannot do in an emulator; scripts run where there is none.
exec build/checks/model_reader
