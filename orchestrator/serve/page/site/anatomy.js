// SPDX-License-Identifier: MIT
// Draws a model's anatomy: a column for each layer, in which the area of a cell is its bytes. Parts outside the layers have the same scale.
import { draw, make } from "./elements.js";
import { bytes, count } from "./words.js";

export const GROUPS = [
    { name: "skeleton", title: "Attention", about: "q, k, v, o and mixers" },
    { name: "organ", title: "Feed-forward", about: "and experts" },
    { name: "norm", title: "Norms", about: "normalisation" },
    { name: "embed", title: "Embedding", about: "tokens in and out" },
    { name: "other", title: "Other", about: "everything else" },
];
// The order of roles in a layer, as data flows.
const ORDER = ["input_norm", "q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "attention", "router", "gate_proj", "up_proj", "gate_up_proj",
    "down_proj"];

// Returns the cells of one layer in the order of GROUPS, then of ORDER: from the top down.
function inOrder(cells) {
    const group = new Map(GROUPS.map((entry, k) => [entry.name, k]));
    const place = cell => (group.get(cell.group) ?? GROUPS.length) * 100 + (ORDER.indexOf(cell.role) + 1 || 99);
    return [...cells].sort((a, b) => place(a) - place(b));
}

// Returns the columns from left to right, {title, short: label below it, layer: index or null, cells, bytes}: the embedding, the layers,
// and all other cells without a layer.
function columnsOf(cells) {
    const layers = new Map();
    const before = [], after = [];
    for (const cell of cells)
        if (cell.layer === null) (cell.role === "embed" ? before : after).push(cell);
        else layers.set(cell.layer, [...(layers.get(cell.layer) || []), cell]);
    const column = (title, short, layer, own) => ({ title, short, layer, cells: inOrder(own), bytes: own.reduce((sum, c) => sum + c.bytes, 0) });
    const list = [];
    if (before.length) list.push(column("embedding", "in", null, before));
    for (const layer of [...layers.keys()].sort((a, b) => a - b)) list.push(column("layer " + layer, String(layer), layer, layers.get(layer)));
    if (after.length) list.push(column("after the layers", "out", null, after));
    return list;
}

// Sets the width and height of each column, and returns the sum of the widths. The unit of width is that of a layer, the unit of height the
// largest layer. A column outside the layers has height 1 and a width for its bytes, but at least 0.02, so that it can be seen; then it is
// lower.
function measure(columns) {
    const tallest = Math.max(1, ...columns.filter(c => c.layer !== null).map(c => c.bytes));
    for (const column of columns) {
        column.width = column.layer !== null ? 1 : Math.max(column.bytes / tallest, 0.02);
        column.height = column.bytes / tallest / column.width;
    }
    return columns.reduce((sum, c) => sum + c.width, 0);
}

// Returns the text that describes a cell to users of the mouse and of screen readers.
function label(cell, column) {
    return cell.role.replaceAll("_", " ") + ", " + column.title + ": " + bytes(cell.bytes);
}

// Returns a short name of a role for a small cell: "q" for "q_proj".
function shortRole(role) {
    return role.replace(/_proj$|^lm_/, "").replaceAll("_", " + ");
}

const HEIGHT = 240, FOOT = 20, GAP = 1; // pixels: of the highest layer, below it for labels, between cells

// Returns the picture, `width` pixels wide, and stores the element of each cell in cell.rect. A click on a cell calls choose(cell).
function picture(columns, width, choose) {
    const total = measure(columns);
    const gaps = (columns.length - 1) * (columns.length > 120 ? 0 : 2);
    const unit = Math.max(1, width - gaps) / total;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT + FOOT}`, width, height: HEIGHT + FOOT, class: "anatomy", role: "group",
        "aria-label": "Anatomy: bytes by layer and part. Arrow keys move, Enter shows the tensors." });
    const every = Math.ceil(26 / (unit + 2)); // a label for each so many layers: one needs 26 pixels
    let x = 0;
    columns.forEach((column, at) => {
        const wide = Math.max(column.width * unit, 1);
        let y = HEIGHT - column.height * HEIGHT;
        column.cells.forEach((cell, row) => {
            const high = column.bytes ? cell.bytes / column.bytes * column.height * HEIGHT : 0;
            // Cells have at least 1.5 pixels, so that thin ones (norms) can be seen and clicked.
            const rect = draw("rect", { x: x.toFixed(2), y: Math.min(y, HEIGHT - 1.5).toFixed(2), width: wide.toFixed(2),
                height: Math.max(high - (high > 4 ? GAP : 0), 1.5).toFixed(2), class: "cell g-" + cell.group, role: "button",
                tabindex: -1, "aria-label": label(cell, column), dataset: { at, row } }, draw("title", null, label(cell, column)));
            rect.addEventListener("click", () => choose(cell));
            cell.rect = rect;
            svg.append(rect);
            const word = shortRole(cell.role);
            if (high > 15 && wide > word.length * 6.5 + 8)
                svg.append(draw("text", { x: (x + wide / 2).toFixed(2), y: (y + (high - GAP) / 2 + 4).toFixed(2), "text-anchor": "middle",
                    "aria-hidden": true, class: "on-" + cell.group }, word));
            y += high;
        });
        const named = column.layer === null ? wide > 16 : column.layer % every === 0;
        if (named) svg.append(draw("text", { x: (x + wide / 2).toFixed(2), y: HEIGHT + 15, "text-anchor": "middle", "aria-hidden": true },
            column.short));
        x += wide + gaps / Math.max(1, columns.length - 1);
    });
    return svg;
}

// Makes the picture usable by keyboard: the Tab key stops at one cell (`row` of column `at`), arrow keys, Home and End move to other cells,
// Enter and the space bar choose.
function walk(svg, columns, choose) {
    let at = 0, row = 0;
    const cell = () => columns[at].cells[row];
    const step = (right, down) => {
        at = Math.min(Math.max(at + right, 0), columns.length - 1);
        row = Math.min(Math.max(row + down, 0), columns[at].cells.length - 1);
    };
    const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], Home: [-Infinity, 0], End: [Infinity, 0] };
    cell().rect.setAttribute("tabindex", 0);
    svg.addEventListener("keydown", event => {
        if (event.key === "Enter" || event.key === " ") choose(cell());
        else if (event.key in moves) {
            cell().rect.setAttribute("tabindex", -1);
            step(...moves[event.key]);
            cell().rect.setAttribute("tabindex", 0);
            cell().rect.focus();
        } else return;
        event.preventDefault();
    });
    svg.addEventListener("focusin", event => {
        if (!event.target.dataset.at) return;
        cell().rect.setAttribute("tabindex", -1);
        at = Number(event.target.dataset.at);
        row = Number(event.target.dataset.row);
        cell().rect.setAttribute("tabindex", 0);
    });
}

// Returns the legend: a button for each group that the cells have, with its bytes and share, which calls choose({group}).
function legend(cells, choose) {
    const list = make("ul", { class: "legend", "aria-label": "Parts" });
    const whole = cells.reduce((sum, cell) => sum + cell.bytes, 0);
    for (const group of GROUPS) {
        const own = cells.filter(cell => cell.group === group.name);
        if (!own.length) continue;
        const sum = own.reduce((total, cell) => total + cell.bytes, 0);
        list.append(make("li", null, make("button", { type: "button", class: "quiet", onclick: () => choose({ group: group.name }) },
            make("span", { class: "swatch s-" + group.name, "aria-hidden": true }),
            make("span", null, make("strong", null, group.title), make("span", { class: "faint" }, " " + group.about), make("br"),
                bytes(sum) + " · " + (whole ? sum / whole * 100 : 0).toFixed(1) + " %"))));
    }
    return list;
}

// Returns the picture with its legend, redrawn for each width of the page until the signal is raised. `cells` are {layer or null, role,
// group, bytes}; a click calls `choose` with a cell or with {group}.
export function anatomy(cells, choose, signal) {
    const columns = columnsOf(cells);
    const layers = columns.filter(column => column.layer !== null).length;
    const frame = make("div", { class: "picture" });
    const paint = () => {
        const svg = picture(columns, Math.max(frame.clientWidth, 200), choose);
        frame.replaceChildren(svg);
        walk(svg, columns, choose);
    };
    let width = 0;
    const observer = new ResizeObserver(() => {
        if (frame.clientWidth === width || !columns.length) return;
        width = frame.clientWidth;
        paint();
    });
    observer.observe(frame);
    signal.addEventListener("abort", () => observer.disconnect(), { once: true });
    return make("figure", { class: "chart" }, legend(cells, choose), frame, make("figcaption", null,
        layers ? "A column for each of the " + count(layers) + " layers, and parts outside the layers. Areas are bytes. Choose a part to list its tensors."
            : "Areas are bytes. Choose a part to list its tensors."));
}
