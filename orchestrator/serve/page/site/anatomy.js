// SPDX-License-Identifier: MIT
// A model's anatomy as a picture: a column for each layer, bytes as area. Parts outside the layers have the same scale.
import { draw, make } from "./elements.js";
import { bytes, count } from "./words.js";

export const GROUPS = [
    { name: "skeleton", title: "Skeleton", about: "attention" },
    { name: "organ", title: "Organs", about: "feed-forward" },
    { name: "norm", title: "Norms", about: "normalisation" },
    { name: "embed", title: "Embedding", about: "tokens in and out" },
    { name: "other", title: "Other", about: "everything else" },
];
const ORDER = ["input_norm", "q_proj", "k_proj", "v_proj", "qkv_proj", "o_proj", "attention", "router", "gate_proj", "up_proj", "gate_up_proj",
    "down_proj"];

// Cells of one layer from the top down: as data flows.
function inOrder(cells) {
    const group = new Map(GROUPS.map((entry, k) => [entry.name, k]));
    const place = cell => (group.get(cell.group) ?? GROUPS.length) * 100 + (ORDER.indexOf(cell.role) + 1 || 99);
    return [...cells].sort((a, b) => place(a) - place(b));
}

// Columns in the order of the picture: {title, short, layer, cells, bytes}; what has no layer stands before (embedding) and after.
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

// Widths in parts of a layer's: a column outside the layers is as high as the highest layer and as wide as its bytes want, or lower where
// it would be too thin to be seen.
function measure(columns) {
    const tallest = Math.max(1, ...columns.filter(c => c.layer !== null).map(c => c.bytes));
    for (const column of columns) {
        column.width = column.layer !== null ? 1 : Math.max(column.bytes / tallest, 0.02);
        column.height = column.bytes / tallest / column.width;
    }
    return columns.reduce((sum, c) => sum + c.width, 0);
}

function label(cell, column) {
    return cell.role.replaceAll("_", " ") + ", " + column.title + ": " + bytes(cell.bytes);
}

// What a cell can be called where there is little room: "q_proj" is q.
function shortRole(role) {
    return role.replace(/_proj$|^lm_/, "").replaceAll("_", " + ");
}

const HEIGHT = 240, FOOT = 20, GAP = 1;

// The picture for a width in pixels. `choose(cell)` is called for a cell that was clicked.
function picture(columns, width, choose) {
    const total = measure(columns);
    const gaps = (columns.length - 1) * (columns.length > 120 ? 0 : 2);
    const unit = Math.max(1, width - gaps) / total;
    const svg = draw("svg", { viewBox: `0 0 ${width} ${HEIGHT + FOOT}`, width, height: HEIGHT + FOOT, class: "anatomy", role: "group",
        "aria-label": "Anatomy: bytes by layer and part. Arrow keys move, Enter shows the tensors." });
    const every = Math.ceil(26 / (unit + 2)); // labels that do not touch
    let x = 0;
    columns.forEach((column, at) => {
        const wide = Math.max(column.width * unit, 1);
        let y = HEIGHT - column.height * HEIGHT;
        column.cells.forEach((cell, row) => {
            const high = column.bytes ? cell.bytes / column.bytes * column.height * HEIGHT : 0;
            // Thin cells (norms) are drawn with a pixel and a half, to be seen and hit at all.
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

// One stop for the Tab key; the arrows go from cell to cell, Enter and the space bar choose.
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

// `cells` are {layer or null, role, group, bytes}; `choose` gets {layer, role} or {group}.
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
