// SPDX-License-Identifier: MIT
// What can be done.
import { make, set } from "./elements.js";
import { ask } from "./wire.js";

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

// The verbs come in the order of `organ help`, each with the title of its section there.
function sectionsOf(verbs) {
    const sections = [];
    for (const verb of verbs) {
        if (!sections.length || sections.at(-1).title !== verb.section) sections.push({ title: verb.section, verbs: [] });
        sections.at(-1).verbs.push(verb);
    }
    return sections;
}

export function formAddress(verb, model) {
    return "#/verbs/" + encodeURIComponent(verb) + (model ? "?" + new URLSearchParams({ model }) : "");
}
