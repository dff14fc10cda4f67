// SPDX-License-Identifier: MIT
// The list of verbs.
import { make, set } from "./elements.js";
import { ask } from "./wire.js";

// View of #/verbs: fills `place` with the verbs in sections, and returns the title. A "model" in the address is passed on to the forms.
export async function showVerbs(place, address, signal) {
    const model = address.query.get("model");
    const list = await ask("/verbs", signal);
    set(place, make("h1", null, "Operations"),
        make("p", { class: "lead" }, "Each is a verb of the program. Its form shows the command line that does the same."),
        sectionsOf(list.verbs).map(section => make("section", null, make("h2", null, section.title),
            make("ul", { class: "cards" }, section.verbs.map(verb => make("li", null,
                make("h3", null, make("a", { class: "whole", href: formAddress(verb.name, model) }, verb.name)),
                make("p", null, verb.summary)))))));
    return "Operations";
}

// Returns [{title, verbs}], the sections of `organ help`. The server lists the verbs in that order, each with the title of its section.
function sectionsOf(verbs) {
    const sections = [];
    for (const verb of verbs) {
        if (!sections.length || sections.at(-1).title !== verb.section) sections.push({ title: verb.section, verbs: [] });
        sections.at(-1).verbs.push(verb);
    }
    return sections;
}

// Returns the address of a verb's form, with its model filled in if that is given.
export function formAddress(verb, model) {
    return "#/verbs/" + encodeURIComponent(verb) + (model ? "?" + new URLSearchParams({ model }) : "");
}
