// SPDX-License-Identifier: MIT
// The list of models below the root.
import { announce, faultBox, make, pager, set, table } from "./elements.js";
import { bytes, count, counted, moment } from "./words.js";
import { ask, pathOf, pause } from "./wire.js";

const LIMIT = 50; // models on a page

// Returns the first cell of a model: a link to its page, and the fault of a model that could not be read. If the root itself is a model,
// the link leads to the verbs, because no address of a page can name it.
function nameCell(model) {
    if (model.path === ".") return make("a", { href: "#/verbs?model=." }, ". (the directory itself)");
    const link = make("a", { href: "#/models/" + pathOf(model.path) }, model.path);
    return model.fault ? make("span", null, link, make("br"), make("span", { class: "wrong" }, model.fault)) : link;
}

// All columns. modelTable leaves out those that are empty for all models of the page.
const COLUMNS = [
    { title: "Model", cell: nameCell },
    { title: "Kind", cell: model => model.kind },
    { title: "Architecture", cell: model => model.pending ? "being read …" : model.architecture },
    { title: "Tensors", number: true, cell: model => Number.isFinite(model.tensors) ? count(model.tensors) : null },
    { title: "Size", number: true, cell: model => bytes(model.bytes) },
    { title: "Changed", tight: true, cell: model => Number.isFinite(model.modified) ? moment(model.modified) : null },
];

function modelTable(models, total) {
    const columns = COLUMNS.filter(column => models.some(column.cell));
    return table(counted(total, "model"), columns, models.map(model => ({ cells: columns.map(column => column.cell(model) || "") })));
}

// View of #/models: fills `place` with the search and the list, and returns the title.
export async function showModels(place, address, signal) {
    let offset = 0, search = address.query.get("q") || "", asked = 0;
    const list = make("div");
    const input = make("input", { type: "search", id: "model-search", value: search, autocomplete: "off", spellcheck: "false" });
    const load = async () => {
        const turn = ++asked;
        const query = new URLSearchParams({ limit: LIMIT, offset });
        if (search) query.set("q", search);
        const page = await ask("/models?" + query, signal);
        if (turn !== asked) return page; // a later request was sent meanwhile
        set(list, listOf(page, offset, search, turnTo));
        if (page.looking) askAgain(turn);
        return page;
    };
    // Loads the list again after a second, because the server is still scanning or reading models.
    const askAgain = async turn => {
        if (await pause(1000, signal) && turn === asked) load().catch(() => askAgain(asked));
    };
    const again = async () => {
        try {
            announce(counted((await load()).total, "model") + " found");
        } catch (fault) {
            if (fault.name !== "AbortError") set(list, faultBox(fault, again));
        }
    };
    const turnTo = step => {
        offset = Math.max(0, offset + step * LIMIT);
        again();
    };
    let timer = 0;
    input.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(() => {
            search = input.value.trim();
            offset = 0;
            history.replaceState(null, "", "#/models" + (search ? "?" + new URLSearchParams({ q: search }) : ""));
            again();
        }, 200);
    });
    set(place, make("h1", null, "Models"),
        make("p", { class: "lead" }, "Models in the directory of this server. The page of a model shows its parts and the verbs for it."),
        make("div", { class: "filters", role: "search" },
            make("div", { class: "wide" }, make("label", { for: "model-search" }, "Search by name"), input)),
        list);
    await load();
    return "Models";
}

// Returns the elements of a page of the list: the table with notes and the pager, or a note if the page is empty.
function listOf(page, offset, search, turnTo) {
    if (!page.total && page.looking)
        return make("p", { class: "note", role: "status" }, "The server is still searching the directory.");
    if (!page.total)
        return make("p", { class: "note" }, search ? "No model has '" + search + "' in its name."
            : "There is no model in this directory yet. Put one there (a directory with safetensors, or a .gguf file) and load this page again.");
    return [modelTable(page.models, page.total),
        page.looking && make("p", { class: "note", role: "status" }, "The server is still searching: more models may appear."),
        page.cut && make("p", { class: "note" }, "The list is incomplete: the directory has too many folders, or is nested too deep."), pager(offset, page.models.length, page.total, turnTo)];
}
