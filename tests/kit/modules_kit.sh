# SPDX-License-Identifier: MIT
# shellcheck shell=bash
# How quantization_config divides the linear layers of a model. A script reads it after cli_kit.sh.

# divided LAYERS: of quantised/config.json and a JSON list of the linear layers of transformers: a row for each group size with the number of layers, the
# names that are no layer of transformers, and the layers that are both ignored and targets of one group, or neither.
divided() {
    jq -c --argjson layers "$1" '
        def selects($name): . == $name or . == "Linear" or (startswith("re:") and (.[3:] as $pattern | $name | test("^(?:" + $pattern + ")")));
        .quantization_config | .ignore as $ignore | [.config_groups[]] as $groups |
        [$layers[] | . as $name | {name: $name, ignored: any($ignore[]; selects($name)), groups: [$groups[] | select(any(.targets[]; selects($name))).weights.group_size]}] |
        {groups: ([.[] | select(.ignored | not).groups[0]] | group_by(.) | map([.[0], length])),
         unknown: [($groups[].targets[] | select(startswith("re:") or . == "Linear" | not)) | select(. as $n | $layers | index([$n]) | not)],
         unclear: [.[] | select(.ignored | not) | select(.groups | length != 1).name]}' quantised/config.json
}
