// SPDX-License-Identifier: MIT
// The form of a verb: fields made from its description, the command line for their values, and buttons for a dry run and for the start.
import { announce, copyButton, faultBox, make, put, set } from "./elements.js";
import { commandLine } from "./command_line.js";
import { fieldOf } from "./form_fields.js";
import { pathLists } from "./path_picker.js";
import { jobPanel } from "./job_panel.js";
import { ask, tell } from "./wire.js";
import { counted } from "./words.js";

// Options without a field: buttons of the page have their functions.
const ELSEWHERE = ["dry-run", "resume"];
// By verb: what suggestOutput appends to the name of the model for the name of the output.
const ENDINGS = { prune: "-pruned", extract: "-organs", purify: "-purified", dequantize: "-plain", quantize: "-quantized" };

// Returns the element of group `k` of the fields. The first group is always open; the others are closed and show the number of their
// options.
function groupElement({ group, fields }, k) {
    const grid = make("div", { class: "fields" }, fields.map(field => field.element));
    if (k === 0) return make("fieldset", null, make("legend", null, group.title), grid);
    return make("details", { class: "group" },
        make("summary", null, group.title, make("span", { class: "flag" }, " " + counted(fields.length, "option"))), grid);
}

// Returns {fields, elements}: all fields of the form in its order, and the elements that contain them.
function buildFields(verb) {
    const operands = verb.operands.map(operand => fieldOf({ ...operand, kind: operand.repeats ? "words" : "text", operand: true }));
    const groups = verb.groups.map(group => ({
        group, fields: group.options.filter(option => !ELSEWHERE.includes(option.name)).map(option => fieldOf(option)),
    })).filter(({ fields }) => fields.length);
    // Required options come first, whatever their group.
    const needed = groups.flatMap(({ fields }) => fields.filter(field => field.item.required));
    const elements = [
        (operands.length || needed.length) && make("fieldset", null, make("legend", null, "What"),
            [...operands, ...needed].map(field => field.element)),
        groups.map(({ group, fields }) => ({ group, fields: fields.filter(field => !field.item.required) }))
            .filter(({ fields }) => fields.length).map(groupElement),
    ];
    return { fields: [...operands, ...groups.flatMap(({ fields }) => fields)], elements };
}

// Returns the values of all fields that have one, by name: the arguments of a job.
function valuesOf(fields) {
    const values = {};
    for (const field of fields) {
        const value = field.read();
        if (value !== undefined) values[field.name] = value;
    }
    return values;
}

// Fills the field of the output from the name of the model, each time that this changes, until the user writes an output.
function suggestOutput(verb, fields) {
    const output = fields.find(field => field.item.names === "output" && field.name === "output");
    const model = fields.find(field => field.item.operand && field.item.names === "model");
    const ending = ENDINGS[verb.name];
    if (!output || !model || !ending) return;
    let own = output.read() !== undefined;
    output.input.addEventListener("input", () => { own = true; });
    const follow = () => {
        const name = (model.read() || "").replace(/\.(gguf|safetensors)$/, "");
        if (!own) output.write(name ? name + ending : "");
    };
    model.input.addEventListener("input", follow);
    follow();
}

// Sets fields from the query of the page's address: "model" for the field that names the model or input, "a.NAME" for the field NAME. Opens
// groups with such fields.
function firstValues(fields, query) {
    const model = query.get("model");
    const takes = fields.find(field => field.item.names === "model" || (field.item.operand && field.item.names === "input"));
    if (model && takes) takes.write(model);
    const given = new Map();
    for (const [name, value] of query) given.set(name, [...(given.get(name) || []), value]);
    for (const field of fields) {
        const values = given.get("a." + field.name);
        if (!values) continue;
        field.write(values.length > 1 ? values : values[0]);
        field.element.closest("details")?.setAttribute("open", "");
    }
}

// Returns the address of the verb's form with these values, {name: value or array of values}, as firstValues reads it.
export function formAddressWith(verb, values) {
    const query = new URLSearchParams();
    for (const [name, value] of Object.entries(values))
        for (const one of [value].flat()) query.append("a." + name, one);
    return "#/verbs/" + encodeURIComponent(verb) + "?" + query;
}

// Shows the faults of a rejected job at their fields, and the message in `place`. A fault of the server names its value by a JSON pointer,
// "/arguments/NAME".
function showFaults(fault, fields, place) {
    const rest = [];
    let at = null;
    for (const { field: pointer = "", detail = "" } of fault.faults) {
        const name = pointer.split("/")[2];
        const field = fields.find(one => one.name === name);
        if (field) {
            field.complain(/^(is|has|must) /.test(detail) ? name + " " + detail : detail);
            at = at || field;
            field.element.closest("details")?.setAttribute("open", "");
        } else rest.push((name ? name + " " : "") + detail);
    }
    const message = fault.faults.length ? rest.join(" ") || "See the marked fields." : fault.message;
    set(place, faultBox({ title: fault.title, message }));
    if (at) at.input.focus();
}

// Returns the description of a verb, folded.
function aboutElement(verb) {
    return make("details", { class: "about" }, make("summary", null, "Description"), verb.about.split("\n").filter(Boolean).map(text => make("p", null, text)));
}

// View of #/verbs/NAME: fills `place` with the form of the verb, and returns the title.
export async function showForm(place, address, signal) {
    const form = make("form", { novalidate: true, class: "form", id: "form" });
    const [verb, lists] = await Promise.all([ask("/verbs/" + encodeURIComponent(address.name), signal), pathLists(form, signal)]);
    const { fields, elements } = buildFields(verb);
    firstValues(fields, address.query);
    suggestOutput(verb, fields);
    const command = make("pre", { class: "command", id: "command", tabindex: 0, "aria-label": "Command line" });
    const faults = make("div"), trial = make("div");
    const values = () => valuesOf(fields);
    const write = () => { command.textContent = commandLine(verb, values()); };
    let leaveTrial = null;

    // Starts the job, or with `dry` a dry run, which it shows below the form. Does nothing but show the faults if a field has one.
    const send = async dry => {
        set(faults);
        const wrong = fields.filter(field => !field.check());
        for (const field of wrong) field.element.closest("details")?.setAttribute("open", "");
        if (wrong.length) {
            wrong[0].input.focus();
            return;
        }
        try {
            const job = await tell("POST", "/jobs", { verb: verb.name, arguments: dry ? { ...values(), "dry-run": true } : values() });
            document.dispatchEvent(new CustomEvent("organ-jobs"));
            if (!dry) {
                location.hash = "#/jobs/" + encodeURIComponent(job.id);
                return;
            }
            leaveTrial?.abort();
            leaveTrial = new AbortController();
            signal.addEventListener("abort", () => leaveTrial.abort(), { once: true });
            set(trial, make("h2", { tabindex: -1 }, "Dry run"), await jobPanel(job.id, AbortSignal.any([signal, leaveTrial.signal])));
            trial.querySelector("h2").focus();
        } catch (fault) {
            if (!fault.title) throw fault;
            showFaults(fault, fields, faults);
        }
    };

    form.addEventListener("submit", event => {
        event.preventDefault();
        send(false);
    });
    form.addEventListener("input", write);
    put(form, make("div", null, aboutElement(verb), elements),
        make("section", { class: "panel side", "aria-labelledby": "same" }, copyButton(() => command.textContent),
            make("h2", { id: "same" }, "The same on the command line"), command,
            make("p", { class: "help" }, "In the directory of this server. More: organ help " + verb.name), faults,
            make("div", { class: "actions" },
                make("button", { type: "submit", class: "main", id: "start" }, "Start"),
                verb.dry_run && make("button", { type: "button", id: "dry-run", onclick: () => send(true) }, "Dry run"))));
    write();
    set(place, make("h1", null, verb.name), make("p", { class: "lead" }, verb.summary[0].toUpperCase() + verb.summary.slice(1) + "."), form, trial, lists);
    announce("");
    return verb.name;
}
