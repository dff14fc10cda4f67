// SPDX-License-Identifier: MIT
// The tensors of a model, page by page, by name, role, part and layer.
import { announce, faultBox, make, pager, set, table } from "./elements.js";
import { GROUPS } from "./anatomy.js";
import { ask, pathOf } from "./wire.js";
import { bytes, counted, shape } from "./words.js";

const LIMIT = 50;
const COLUMNS = [{ title: "Tensor", sort: "name" }, { title: "Role" }, { title: "Layer", number: true, sort: "layer" }, { title: "Type" },
    { title: "Shape" }, { title: "Size", number: true, sort: "bytes" }];

function rowOf(tensor) {
    return { cells: [make("span", { class: "mono" }, tensor.name), (tensor.role || "other").replaceAll("_", " "),
        tensor.layer === null || tensor.layer === undefined ? "" : String(tensor.layer), tensor.dtype, shape(tensor.shape), bytes(tensor.bytes)] };
}

// What is typed is a part of a name, or a pattern where it has a star.
function pattern(text) {
    return /[*?[]/.test(text) ? text : "*" + text + "*";
}

function field(title, input, wide) {
    return make("div", { class: wide ? "wide" : null }, make("label", { for: input.id }, title), input);
}

function choice(id, none, options) {
    return make("select", { id }, make("option", { value: "" }, none), options.map(({ value, title }) => make("option", { value }, title)));
}

// {element, load(), choose({layer, role, group})}. `keep(filter)` is told of each change, for the address.
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
    // Where the pages begin, up to the one that is shown: the server says where the next one does.
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
            if (turn !== asked) return; // an answer that was overtaken
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
    const fresh = () => {
        starts = [0];
        return load();
    };
    // The button that was pressed is made anew, and keeps the focus.
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
