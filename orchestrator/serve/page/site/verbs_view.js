// SPDX-License-Identifier: MIT
// What can be done.
import { make, set } from "./elements.js";
import { ask } from "./wire.js";

export async function showVerbs(place, address, signal) {
    const model = address.query.get("model");
    const list = await ask("/verbs", signal);
    set(place, make("h1", null, "Operations"),
        make("p", { class: "lead" }, "Each is a verb of the program. Its form shows the command line that does the same."),
        make("ul", { class: "cards" }, list.verbs.map(verb => make("li", null,
            make("h2", null, make("a", { class: "whole", href: formAddress(verb.name, model) }, verb.name)),
            make("p", null, verb.summary)))));
    return "Operations";
}

export function formAddress(verb, model) {
    return "#/verbs/" + encodeURIComponent(verb) + (model ? "?" + new URLSearchParams({ model }) : "");
}
