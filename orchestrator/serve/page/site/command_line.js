// SPDX-License-Identifier: MIT
// The command line that does the same as a form.

// As a POSIX shell reads it.
function quoted(word) {
    return /^[A-Za-z0-9_\/.:=,+@%-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'";
}

// A path that begins with a dash would be an option.
function pathWord(word, names) {
    return names !== "nothing" && word.startsWith("-") ? "./" + word : word;
}

function optionWords(option, value) {
    if (option.kind === "flag") return value ? ["--" + option.name] : [];
    const takes = option.takes || 1; // words that follow each time the option is given
    return [value].flat().map(one => pathWord(String(one), option.names)).flatMap((word, k) => k % takes ? [word] : ["--" + option.name, word]);
}

// `verb` as the server describes it, `values` the members of "arguments". What is missing and required stands there by its name.
export function commandLine(verb, values) {
    const words = ["organ", ...verb.name.split(" ")];
    const operands = verb.operands.flatMap(operand => {
        const value = values[operand.name];
        if (value === undefined) return operand.required ? [{ missing: operand.name }] : [];
        return [value].flat().map(one => pathWord(String(one), operand.names));
    });
    const options = verb.groups.flatMap(group => group.options).flatMap(option => {
        const value = values[option.name];
        if (value !== undefined) return optionWords(option, value);
        return option.required ? ["--" + option.name, { missing: option.argument || option.name.toUpperCase() }] : [];
    });
    // Operands that look like options stand behind "--"; pathWord has dealt with paths already.
    const dash = operands.some(word => typeof word === "string" && word.startsWith("-"));
    return [...words, ...(dash ? [...options, "--", ...operands] : [...operands, ...options])]
        .map(word => typeof word === "string" ? quoted(word) : word.missing).join(" ");
}
