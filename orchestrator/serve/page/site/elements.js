// SPDX-License-Identifier: MIT
// Elements of the page. What comes from files and from the server gets in as text and as the values of attributes only.

const SVG = "http://www.w3.org/2000/svg";

// The properties of `about`: "class", "dataset", handlers as "onclick", everything else an attribute; true is an attribute without
// value, false and null none at all. Children are nodes, texts, or nothing (null, false).
function fill(element, about, children) {
    for (const [name, value] of Object.entries(about || {})) {
        if (value === null || value === undefined || value === false) continue;
        if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
        else if (name === "dataset") Object.assign(element.dataset, value);
        else element.setAttribute(name, value === true ? "" : String(value));
    }
    put(element, ...children);
    return element;
}

export function make(tag, about, ...children) {
    return fill(document.createElement(tag), about, children);
}

// The same for pictures.
export function draw(tag, about, ...children) {
    return fill(document.createElementNS(SVG, tag), about, children);
}

export function put(element, ...children) {
    for (const child of children.flat(3)) {
        if (child === null || child === undefined || child === false) continue;
        element.append(...(child instanceof Node ? [child] : breakable(element, String(child))));
    }
}

// Where a long name may go on in the next line: behind a dot, a slash or an underscore, and before a capital ("Qwen2For|CausalLM"). Not in numbers.
const JOINTS = /(?<=[A-Za-z][^\s._\/]*[._\/]+)(?=[A-Za-z\d])|(?<=[a-z\d]{3})(?=[A-Z][a-z]{2})/;
const SHORT = 12;

function breakable(element, text) {
    if (text.length <= SHORT || !(element instanceof HTMLElement) || element instanceof HTMLOptionElement) return [text];
    return text.split(JOINTS).flatMap((part, k) => k ? [document.createElement("wbr"), part] : [part]);
}

// Puts the children in the place of what was there.
export function set(element, ...children) {
    element.replaceChildren();
    put(element, ...children);
}

// Changes a text only where it differs: a screen reader is not told again what it has said.
export function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

// For those who hear the page.
export function announce(text) {
    say(document.getElementById("said"), text);
}

// One sentence about what went wrong, and a way on.
export function faultBox(fault, again) {
    return make("div", { class: "fault", role: "alert" },
        make("p", null, make("strong", null, fault.title || "The request failed."), " ", fault.message),
        again && make("p", null, make("button", { type: "button", onclick: again }, "Try again")));
}

// The head of a column; one that sorts is a button that says which way, `sort` is {by, turn(by)}: "bytes", or "-bytes" downwards.
function headCell(column, sort) {
    const about = { scope: "col", role: "columnheader", class: column.number ? "number" : null };
    if (!column.sort || !sort) return make("th", about, column.title);
    const up = sort.by === column.sort, down = sort.by === "-" + column.sort;
    // Numbers begin with the largest.
    const next = column.number ? (down ? column.sort : "-" + column.sort) : (up ? "-" + column.sort : column.sort);
    return make("th", { ...about, "aria-sort": up ? "ascending" : down ? "descending" : null },
        make("button", { type: "button", class: "sorts", onclick: () => sort.turn(next), dataset: { sort: column.sort } },
            column.title, make("span", { "aria-hidden": true, class: "faint" }, up ? " ↑" : down ? " ↓" : " ↕")));
}

// A table with a caption; `columns` are {title, number, tight, sort} and cells are nodes or texts. On a narrow screen each row becomes a block whose
// cells carry the title of their column.
export function table(caption, columns, rows, sort) {
    const body = make("tbody", { role: "rowgroup" });
    for (const row of rows)
        put(body, make("tr", { role: "row" }, row.cells.map((cell, k) => make(k ? "td" : "th", { class: columns[k].number ? "number" : columns[k].tight ? "tight" : null,
            scope: k ? null : "row", role: k ? "cell" : "rowheader", "data-title": columns[k].title }, cell))));
    // The roles stand there because a table that is laid out as blocks is none any more to some browsers.
    return make("table", { class: "stack", role: "table" },
        make("caption", null, caption),
        make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, columns.map(column => headCell(column, sort)))),
        body);
}

// Buttons to the pages before and behind; nothing where all is on one. `turn` gets -1 or 1.
export function pager(offset, shown, total, turn, back = "Previous", on = "Next") {
    if (total <= shown) return null;
    const number = value => value.toLocaleString("en-GB");
    return make("div", { class: "pages" },
        make("button", { type: "button", disabled: offset === 0, onclick: () => turn(-1) }, back),
        make("span", null, number(offset + 1) + " to " + number(offset + shown) + " of " + number(total)),
        make("button", { type: "button", disabled: offset + shown >= total, onclick: () => turn(1) }, on));
}

// A button that copies what `text()` gives, and says so.
export function copyButton(text) {
    const button = make("button", { type: "button", class: "quiet copy" }, "Copy");
    let timer = 0;
    button.addEventListener("click", async () => {
        let done = true;
        try {
            await navigator.clipboard.writeText(text());
        } catch {
            done = false; // no permission, or not a secure context: the text can still be marked
        }
        button.textContent = done ? "Copied" : "Mark and copy by hand";
        announce(done ? "The command line was copied." : "The browser does not allow copying. Mark the text and copy it by hand.");
        clearTimeout(timer);
        timer = setTimeout(() => { button.textContent = "Copy"; }, 2500);
    });
    return button;
}
