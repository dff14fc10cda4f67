// SPDX-License-Identifier: MIT
// The page of a model: facts, verbs, anatomy, tensors and files.
import { anatomy } from "./anatomy.js";
import { make, set } from "./elements.js";
import { filesList } from "./files_list.js";
import { tensorTable } from "./tensor_table.js";
import { formAddress } from "./verbs_view.js";
import { ask, pathOf } from "./wire.js";
import { bytes, count } from "./words.js";

// The verbs that the page of a model offers; "More" lists the others. `experts` needs a model with routed experts.
const FIRST = ["prune", "quantize", "experts", "measure", "autopsy", "inspect"];

// Returns the verbs of FIRST that apply to the model.
function offered(cells) {
    const mixture = cells.some(cell => cell.role.startsWith("experts."));
    return FIRST.filter(verb => verb !== "experts" || mixture);
}

// Returns a list of the model's properties, without those that it does not have.
function facts(model) {
    const entries = [["Architecture", model.architecture], ["Format", model.format], ["Type", model.dtypes && model.dtypes.join(", ")],
        ["Layers", model.layers && count(model.layers)], ["Tensors", count(model.tensors)], ["Weights", model.elements && count(model.elements)],
        ["Size", bytes(model.bytes)], ["Files", model.files && count(model.files)]];
    return make("ul", { class: "facts", "aria-label": "Facts" }, entries.filter(([, value]) => value).map(([name, value]) =>
        make("li", null, make("span", null, name + " "), make("strong", null, value))));
}

// Returns the function `keep` of tensorTable: it stores the filters in the address of the page, without a new entry of the history for each
// letter.
function keeper(path) {
    return filter => {
        const query = new URLSearchParams(filter).toString();
        history.replaceState(null, "", "#/models/" + pathOf(path) + (query ? "?" + query : ""));
    };
}

// View of #/models/PATH: fills `place` with the page of the model, and returns the title.
export async function showModel(place, address, signal) {
    const path = address.name;
    const model = await ask("/models/" + pathOf(path), signal);
    const cells = model.anatomy;
    const tensors = tensorTable(path, cells, address.query, keeper(path), signal);
    const choose = wanted => {
        tensors.choose(wanted);
        document.getElementById("tensors").scrollIntoView({ block: "start" });
    };
    const files = await filesList([path], false, signal);
    set(place, make("h1", null, path),
        make("div", { class: "actions" },
            offered(cells).map((verb, k) => make("a", { class: k ? "button" : "button main", href: formAddress(verb, path) }, verb[0].toUpperCase() + verb.slice(1))),
            make("a", { class: "button", href: "#/verbs?" + new URLSearchParams({ model: path }) }, "More …")),
        facts(model),
        model.problems.length > 0 && make("div", { class: "note" }, model.problems.map(problem => make("p", null, problem))),
        model.cut.length > 0 && make("p", { class: "note" }, "Some lists of this model end after 4096 rows."),
        make("section", { "aria-labelledby": "anatomy" }, make("h2", { id: "anatomy" }, "Anatomy"), anatomy(cells, choose, signal)),
        tensors.element, files && make("section", { "aria-labelledby": "files" }, make("h2", { id: "files" }, "Files"), files));
    await tensors.load();
    return path;
}
