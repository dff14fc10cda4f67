// SPDX-License-Identifier: MIT
// The models under the root.
import { announce, make, set, table } from "./elements.js";
import { bytes, count, counted, moment } from "./words.js";
import { ask } from "./wire.js";

const LIMIT = 50;

function rowOf(model) {
    return { cells: [
        make("a", { href: "#/models/" + model.path.split("/").map(encodeURIComponent).join("/") }, model.path),
        model.architecture || "", model.format || "", count(model.tensors), bytes(model.bytes),
    ] };
}
const COLUMNS = [{ title: "Model" }, { title: "Architecture" }, { title: "Format" }, { title: "Tensors", number: true },
    { title: "Size", number: true }];

export async function showModels(place, address, signal) {
    let offset = 0, search = address.query.get("q") || "";
    const list = make("div");
    const input = make("input", { type: "search", id: "model-search", value: search, autocomplete: "off", spellcheck: "false" });
    const load = async () => {
        const query = new URLSearchParams({ limit: LIMIT, offset });
        if (search) query.set("q", search);
        const page = await ask("/models?" + query, signal);
        set(list, listOf(page, search, step => {
            offset = Math.max(0, offset + step * LIMIT);
            load();
        }));
        return page;
    };
    let timer = 0;
    input.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(async () => {
            search = input.value.trim();
            offset = 0;
            history.replaceState(null, "", "#/models" + (search ? "?" + new URLSearchParams({ q: search }) : ""));
            announce(counted((await load()).total, "model") + " found");
        }, 200);
    });
    set(place, make("h1", null, "Models"),
        make("p", { class: "lead" }, "What lies in the directory of this server. A model shows its parts and what can be done with it."),
        make("div", { class: "filters", role: "search" },
            make("div", { class: "wide" }, make("label", { for: "model-search" }, "Search by name"), input)),
        list);
    await load();
    return "Models";
}

function listOf(page, search, turn) {
    if (!page.total)
        return make("p", { class: "note" }, search ? "No model has '" + search + "' in its name."
            : "There is no model in this directory yet. Put one there (a directory with safetensors, or a .gguf file) and load this page again.");
    const from = page.offset + 1, to = page.offset + page.models.length;
    return [table(counted(page.total, "model"), COLUMNS, page.models.map(rowOf)),
        page.total > page.models.length && make("div", { class: "pages" },
            make("button", { type: "button", disabled: page.offset === 0, onclick: () => turn(-1) }, "Previous"),
            make("span", null, count(from) + " to " + count(to) + " of " + count(page.total)),
            make("button", { type: "button", disabled: to >= page.total, onclick: () => turn(1) }, "Next"))];
}
