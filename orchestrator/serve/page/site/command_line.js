// SPDX-License-Identifier: MIT
// Makes the command line that does the same as a form.

// Returns the word in quotes for a POSIX shell, if it needs them.
function quoted(word) {
    return /^[A-Za-z0-9_\/.:=,+@%-]+$/.test(word) ? word : "'" + word.replaceAll("'", "'\\''") + "'";
}

// Returns the word, with "./" before a path that begins with a dash, because that would be an option. `names` is "nothing" for words that
// are not paths.
function pathWord(word, names) {
    return names !== "nothing" && word.startsWith("-") ? "./" + word : word;
}

// Returns the words of an option with its value or array of values.
function optionWords(option, value) {
    if (option.kind === "flag") return value ? ["--" + option.name] : [];
    const takes = option.takes || 1; // words that follow each time the option is given
    return [value].flat().map(one => pathWord(String(one), option.names)).flatMap((word, k) => k % takes ? [word] : ["--" + option.name, word]);
}

// Returns the command line for a verb, as GET /api/v1/verbs/VERB describes it, and the arguments `values`, {name: value or array}. A
// required argument without a value appears by its name.
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
    // Operands that begin with a dash must follow "--". Only operands that are not paths still can: pathWord has changed paths.
    const dash = operands.some(word => typeof word === "string" && word.startsWith("-"));
    return [...words, ...(dash ? [...options, "--", ...operands] : [...operands, ...options])]
        .map(word => typeof word === "string" ? quoted(word) : word.missing).join(" ");
}
