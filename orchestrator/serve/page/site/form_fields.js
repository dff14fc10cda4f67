// SPDX-License-Identifier: MIT
// Makes a field of a form for each operand and option (an item) of a verb, as GET /api/v1/verbs/VERB describes them.
import { make, put, say, set } from "./elements.js";

let serial = 0; // makes the ids of inputs unique

function sentence(text) {
    return text ? text[0].toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".") : "";
}

// Returns the words for a range: "16 to 4096", or "above 0, at most 1" if a bound itself is not allowed.
function rangeWords(range) {
    if (!range) return "";
    const low = (range.after_from ? "above " : "") + range.from, high = (range.before_to ? "below " : "") + range.to;
    return range.after_from || range.before_to ? low + ", " + (range.before_to ? high : "at most " + range.to) : low + " to " + high;
}

// Returns the help text below a field.
function hintOf(item) {
    const parts = [sentence(item.help)];
    if (item.kind === "count" || item.kind === "real") parts.push("From " + rangeWords(item.range) + ".");
    if (item.needs) parts.push(sentence(item.needs));
    if (item.kind === "bytes") parts.push("A size such as 512M or 4G.");
    return parts.filter(Boolean).join(" ").replace("From above", "Above");
}

// Returns {element, fault}: the element of a field with its label, help and input (or `inner`, which contains the input), and the element
// for the message of a fault.
function frame(item, input, inner) {
    const fault = make("p", { class: "wrong", id: input.id + "-fault" });
    const help = make("p", { class: "help", id: input.id + "-help" }, hintOf(item));
    input.setAttribute("aria-describedby", fault.id + " " + help.id);
    const label = make("label", { for: input.id }, titleOf(item), item.required && make("span", { class: "flag" }, " required"));
    const short = ["count", "real", "bytes", "flag"].includes(item.kind) || item.choices;
    const element = make("div", { class: short ? "field short" : "field", dataset: { field: item.name } });
    if (item.kind === "flag") put(element, make("div", { class: "tick" }, input, label), help, fault);
    else put(element, label, inner || input, fault, help);
    return { element, fault };
}

// Titles of options that are not written as their names.
const SPELLED = { ffn: "FFN", html: "HTML", ids: "IDs", json: "JSON" };

function titleOf(item) {
    if (item.operand) return item.name;
    return SPELLED[item.name] || item.name[0].toUpperCase() + item.name.slice(1).replaceAll("-", " ");
}

// Returns the default of an item as text, "" if it has none.
function fallbackWords(item) {
    return item.default === undefined ? "" : String(item.default);
}

// The functions named *Field return {input, read(), write(value)}: the input, its value or undefined if it has none, and a function that sets the value.

function flagField(item, id) {
    const input = make("input", { type: "checkbox", id, name: item.name });
    return { input, read: () => input.checked || undefined, write: value => { input.checked = value === true || value === "true"; } };
}

function choiceField(item, id) {
    const none = item.default === undefined ? (item.required ? "Choose" : "not given") : item.default + " (default)";
    const input = make("select", { id, name: item.name, required: item.required }, make("option", { value: "" }, none),
        item.choices.filter(choice => choice !== item.default).map(choice => make("option", { value: choice }, choice)));
    return { input, read: () => input.value || undefined, write: value => { input.value = value; } };
}

function numberField(item, id) {
    const real = item.kind === "real";
    const input = make("input", { type: "number", id, name: item.name, min: item.range && item.range.from, max: item.range && item.range.to,
        step: real ? "any" : 1, inputmode: real ? "decimal" : "numeric", placeholder: fallbackWords(item), required: item.required });
    return { input, read: () => input.value === "" ? undefined : Number(input.value), write: value => { input.value = value; } };
}

// A number, or the word item.automatic.
function numberOrWordField(item, id) {
    const { automatic } = item;
    const input = Object.assign(textInput(item, id), { pattern: automatic + "|[0-9]*[.]?[0-9]+", title: item.allowed });
    return { input, read: () => input.value === "" ? undefined : input.value === automatic ? automatic : Number(input.value),
        write: value => { input.value = value; } };
}

// Returns a text input, with the suggestions of path_picker.js if the item names a model or an input file.
function textInput(item, id) {
    const lists = { model: "model-names", input: "input-names" };
    const place = { model: "a model of this server", input: "a path under the directory of this server", output: "where to write" };
    return make("input", { type: "text", id, name: item.name, list: lists[item.names], autocomplete: "off", spellcheck: "false",
        autocapitalize: "none", placeholder: fallbackWords(item) || place[item.names] || "", required: item.required });
}

// Returns the trimmed text of an input, undefined if it is empty. Removes the slash at the end of a path.
function textOf(item, input) {
    const text = input.value.trim();
    return (item.names === "nothing" ? text : text.replace(/(.)\/+$/, "$1")) || undefined;
}

function textField(item, id) {
    const input = textInput(item, id);
    return { input, read: () => textOf(item, input), write: value => { input.value = value; } };
}

// Several texts, with an input for each, and a button that adds an input; or, if an item takes several words at a time (item.takes, "CLEAN
// NOISY"), one that adds so many. `told` gives an input the placeholder and label of its position; `complete` adds inputs up to a multiple
// of item.takes.
function wordsField(item, id) {
    const takes = item.takes || 1, parts = takes > 1 ? item.argument.split(" ") : [];
    const rest = make("div");
    const input = textInput(item, id);
    const told = (one, number) => {
        if (takes > 1) one.placeholder = parts[number % takes] + ": " + one.placeholder;
        if (number) one.setAttribute("aria-label", titleOf(item) + ", " + (parts[number % takes] || "another"));
        return one;
    };
    const add = value => {
        const more = told(textInput({ ...item, required: false }, id + "-" + ++serial), rest.children.length + 1);
        more.value = value || "";
        rest.append(more);
        return more;
    };
    const complete = () => { while ((rest.children.length + 1) % takes) add(); };
    const addAll = () => {
        const first = add();
        complete();
        first.focus();
    };
    told(input, 0);
    complete();
    const inner = make("div", { class: "several" }, input, rest,
        make("button", { type: "button", class: "quiet", onclick: addAll }, "Add another"));
    return {
        input, inner,
        read: () => {
            const words = [input, ...rest.children].map(one => textOf(item, one)).filter(Boolean);
            return words.length ? words : undefined;
        },
        write: value => {
            const [head, ...tail] = [value].flat();
            input.value = head || "";
            set(rest);
            tail.forEach(word => add(word));
            complete();
        },
    };
}

// Returns the function that makes the field of an item.
function makerOf(item) {
    if (item.kind === "flag") return flagField;
    if (item.kind === "words" || item.repeats) return wordsField;
    if (item.choices) return choiceField;
    if (item.kind !== "count" && item.kind !== "real") return textField;
    return item.automatic ? numberOrWordField : numberField;
}

// Returns the field of an item, {name, item, element, input, read(), write(value), complain(text), check()}: `complain` shows a fault ("":
// none), `check` lets the browser check the value, shows its fault, and returns true if there is none.
export function fieldOf(item) {
    const field = makerOf(item)(item, "f-" + item.name.replace(/[^A-Za-z0-9]/g, "-") + "-" + ++serial);
    const { element, fault } = frame(item, field.input, field.inner);
    const complain = text => {
        say(fault, text);
        if (text) field.input.setAttribute("aria-invalid", "true");
        else field.input.removeAttribute("aria-invalid");
    };
    field.input.addEventListener("input", () => complain(""));
    const check = () => {
        const { validity } = field.input;
        const name = titleOf(item);
        if (validity.valid) complain("");
        else if (validity.badInput) complain(name + " must be a number.");
        else if (validity.valueMissing) complain(name + " is needed.");
        else if (validity.patternMismatch) complain(name + " must be " + item.allowed + ".");
        else if (validity.stepMismatch) complain(name + " must be a whole number.");
        else if (validity.rangeUnderflow || validity.rangeOverflow) complain(name + " is " + field.input.value + ", but must be " + rangeWords(item.range) + ".");
        else complain(field.input.validationMessage);
        return validity.valid;
    };
    return { ...field, name: item.name, item, element, complain, check };
}
