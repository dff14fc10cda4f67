#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# Checks in the machine code of products by AMX that the innermost loop loads at most one tile for each product of tiles. Ends with "N passed, N failed".
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
. tests/kit/counts.sh
[[ $(uname -m) == x86_64 ]] || echo "tile code: there is none on $(uname -m)"
if [[ $(uname -m) == x86_64 ]]; then
    objdump -d --no-show-raw-insn build/kernels/isa_amx.o >"$scratch/code"
    # A loop is the range of a backward jump; of the loops with products of tiles, the shortest is the innermost. Prints its loads and its products.
    awk '/^[0-9a-f]+ <full_tile_sums>:$/ { inside = 1; next }
        !NF { inside = 0 }
        inside {
            address = $1; sub(":", "", address)
            at[++count] = address; name[count] = $2; target[count] = $3; line[address] = count
        }
        END {
            for (k = 1; k <= count; k++) {
                if (name[k] !~ /^j/ || !(target[k] in line) || line[target[k]] > k) continue
                loads = products = 0
                for (l = line[target[k]]; l <= k; l++) { loads += name[l] == "tileloadd"; products += name[l] == "tdpbf16ps" }
                if (products && (!best || k - line[target[k]] < best)) { best = k - line[target[k]]; found = loads " " products }
            }
            print found
        }' "$scratch/code" >"$scratch/found"
    read -r loads products <"$scratch/found"
    if ((${products:-0} > 0)); then good; else bad "no loop multiplies tiles" "$scratch/found"; fi
    if ((${loads:-99} <= ${products:-0})); then good; else bad "the loop has more loads of tiles than products" "$scratch/found"; fi
fi
finish
