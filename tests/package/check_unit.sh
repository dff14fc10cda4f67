#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks the systemd unit that `ninja install` installs: systemd accepts it without a warning, and rates its exposure at most THRESHOLD tenths of a point
# (0 is none, 100 is everything). Without systemd-analyze it checks only the unit's lines, and says so. Needs a built tree (ninja). Ends with the line
# "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
threshold=15
. tests/kit/counts.sh
unit=$scratch/organ.service
sed "s,/usr/bin/organ,$PWD/build/organ," packaging/organ.service >"$unit"
for line in DynamicUser=yes ProtectSystem=strict ProtectHome=yes PrivateDevices=yes NoNewPrivileges=yes CapabilityBoundingSet= \
    MemoryDenyWriteExecute=yes RestrictNamespaces=yes SystemCallFilter=@system-service SystemCallArchitectures=native; do
    if grep -qx -- "$line" "$unit"; then good; else bad "the unit has no $line"; fi
done
# organ accepts the unit's command line: it rejects only the missing directory, no option.
read -ra command < <(sed -n 's/^ExecStart=//p' "$unit" | sed "s,/var/lib/organ,$scratch/nowhere,; s, \$ORGAN_SERVE,,")
"${command[@]}" >"$scratch/out" 2>&1
if (($? == 4)) && grep -q nowhere "$scratch/out"; then good; else bad "the command of the unit" "$scratch/out"; fi
if command -v systemd-analyze >/dev/null; then
    systemd-analyze verify --man=no "$unit" >"$scratch/out" 2>&1
    if [[ ! -s $scratch/out ]]; then good; else bad "systemd-analyze verify" "$scratch/out"; fi
    if systemd-analyze security --offline=yes --threshold=$threshold "$unit" >"$scratch/out" 2>&1; then good; else
        bad "the sandbox leaves more open than $threshold" <(tail -n 1 "$scratch/out")
    fi
else
    echo "systemd-analyze is not installed: its verdict is not asked for"
fi
finish
