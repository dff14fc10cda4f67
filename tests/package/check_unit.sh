#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The unit for systemd, as `ninja install` installs it: systemd reads it without a complaint, and what it judges the sandbox to leave open is at most
# THRESHOLD tenths of a point of 10 (0 is nothing, 10 all). Where systemd-analyze is not installed the lines of the unit are looked at alone, and
# that is said. The tree must have been built (ninja). Ends with the line "N passed, N failed".
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
# The command line is one that organ takes: a directory that is not there is refused as such, and no option is unknown.
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
