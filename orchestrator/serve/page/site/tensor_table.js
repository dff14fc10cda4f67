// SPDX-License-Identifier: MIT
// Lists the tensors of a model, page by page, with filters by name, role, part and layer.
import { announce, faultBox, make, pager, set, table } from "./elements.js";
import { GROUPS } from "./anatomy.js";
import { ask, pathOf } from "./wire.js";
import { bytes, counted, shape } from "./words.js";

const LIMIT = 50; // rows of a page
const COLUMNS = [{ title: "Tensor", sort: "name" }, { title: "Role" }, { title: "Layer", number: true, sort: "layer" }, { title: "Type" },
    { title: "Shape" }, { title: "Size", number: true, sort: "bytes" }];

function rowOf(tensor) {
    return { cells: [make("span", { class: "mono" }, tensor.name), (tensor.role || "other").replaceAll("_", " "),
        tensor.layer === null || tensor.layer === undefined ? "" : String(tensor.layer), tensor.dtype, shape(tensor.shape), bytes(tensor.bytes)] };
}

// Returns the glob for a text of the search field: the text itself if it has one of * ? [, otherwise names that contain it.
function pattern(text) {
    return /[*?[]/.test(text) ? text : "*" + text + "*";
}

// Returns an input with its label.
function field(title, input, wide) {
    return make("div", { class: wide ? "wide" : null }, make("label", { for: input.id }, title), input);
}

// Returns a selection among `options`, {value, title}; its first choice, named `none`, has the value "".
function choice(id, none, options) {
    return make("select", { id }, make("option", { value: "" }, none), options.map(({ value, title }) => make("option", { value }, title)));
}

// Returns {element, load(), choose({layer, role, group})}: the table, a function that loads it, and one that sets its filters and loads it.
// `first` has the first filters (URLSearchParams). load calls keep(filter), which stores the filters in the address of the page.
export function tensorTable(path, cells, first, keep, signal) {
    const match = make("input", { type: "search", id: "tensor-match", autocomplete: "off", spellcheck: "false", placeholder: "q_proj, or *.mlp.*" });
    const values = (name, title) => [...new Set(cells.map(cell => cell[name]))].filter(value => value !== null)
        .sort((a, b) => typeof a === "number" ? a - b : a.localeCompare(b)).map(value => ({ value, title: title(value) }));
    const controls = {
        match,
        group: choice("tensor-group", "all", GROUPS.filter(g => cells.some(cell => cell.group === g.name)).map(g => ({ value: g.name, title: g.title }))),
        role: choice("tensor-role", "all", values("role", role => role.replaceAll("_", " "))),
        layer: choice("tensor-layer", "all", values("layer", String)),
    };
    const rows = make("div", { "aria-live": "off" });
    // Offsets of the pages up to the one that is shown; offset of the next page, which the server returns (null: none); number of requests
    // so far; order ("": that of the files).
    let starts = [0], next = null, asked = 0, by = first.get("sort") || "";
    const filter = () => Object.fromEntries(Object.entries(controls).map(([name, input]) => [name, input.value.trim()]).filter(([, value]) => value));

    async function load() {
        const turn = ++asked, now = filter();
        const query = new URLSearchParams({ limit: LIMIT, offset: starts.at(-1), ...now });
        if (now.match) query.set("match", pattern(now.match));
        if (by) query.set("sort", by);
        keep(by ? { ...now, sort: by } : now);
        try {
            const page = await ask("/models/" + pathOf(path) + "/tensors?" + query, signal);
            if (turn !== asked) return; // a later request was sent meanwhile
            set(rows, pageOf(page));
            announce(counted(page.total, "tensor"));
        } catch (fault) {
            if (fault.name !== "AbortError" && turn === asked) set(rows, faultBox(fault, load));
        }
    }
    const turnTo = step => {
        if (step > 0 && next !== null) starts.push(next);
        else if (step < 0 && starts.length > 1) starts.pop();
        load();
    };
    function pageOf(page) {
        next = page.next;
        if (!page.total) return make("p", { class: "note" }, "No tensor matches.");
        return [table(counted(page.total, "tensor") + (Number.isFinite(page.bytes) ? ", " + bytes(page.bytes) : ""), COLUMNS,
            page.tensors.map(rowOf), { by, turn: sortBy }),
            pager(page.offset, page.tensors.length, page.total, turnTo)];
    }
    // Loads the first page.
    const fresh = () => {
        starts = [0];
        return load();
    };
    // Loads the first page in another order. The button of the column is a new element afterwards, and gets the focus.
    const sortBy = async key => {
        by = key;
        await fresh();
        rows.querySelector("[data-sort=" + key.replace("-", "") + "]")?.focus();
    };
    const choose = wanted => {
        for (const [name, input] of Object.entries(controls))
            input.value = wanted[name] === undefined || wanted[name] === null ? "" : String(wanted[name]);
        return fresh();
    };

    let timer = 0;
    match.addEventListener("input", () => {
        clearTimeout(timer);
        timer = setTimeout(fresh, 200);
    });
    for (const input of [controls.group, controls.role, controls.layer]) input.addEventListener("change", fresh);
    for (const [name, input] of Object.entries(controls)) input.value = first.get(name) || "";
    const element = make("section", { "aria-labelledby": "tensors" }, make("h2", { id: "tensors" }, "Tensors"),
        make("div", { class: "filters", role: "search" }, field("Name", match, true), field("Part", controls.group), field("Role", controls.role),
            field("Layer", controls.layer),
            make("button", { type: "button", onclick: () => choose({}) }, "Show all")),
        rows);
    return { element, load, choose };
}
