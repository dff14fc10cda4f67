// SPDX-License-Identifier: MIT
// Makes elements of the page. Texts from files and from the server become text nodes and values of attributes only, never markup.

const SVG = "http://www.w3.org/2000/svg";

// Sets the properties of `about` on the element, and appends the children (as `put` does). "onclick" and other names with "on" are event
// handlers, "dataset" is an object, all others are attributes: the value true is an attribute without a value, false and null are none.
// Returns the element.
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

// Makes an HTML element, with the arguments of `fill`.
export function make(tag, about, ...children) {
    return fill(document.createElement(tag), about, children);
}

// Makes an SVG element, with the arguments of `fill`.
export function draw(tag, about, ...children) {
    return fill(document.createElementNS(SVG, tag), about, children);
}

// Appends the children, which are nodes, texts, lists of these, or nothing (null, undefined, false).
export function put(element, ...children) {
    for (const child of children.flat(3)) {
        if (child === null || child === undefined || child === false) continue;
        element.append(...(child instanceof Node ? [child] : breakable(element, String(child))));
    }
}

// The places where a long name may continue on the next line: after dots, slashes and underscores, and before a capital
// ("Qwen2For|CausalLM"); not in numbers.
const JOINTS = /(?<=[A-Za-z][^\s._\/]*[._\/]+)(?=[A-Za-z\d])|(?<=[a-z\d]{3})(?=[A-Z][a-z]{2})/;
const SHORT = 12; // characters up to which a name is not broken

// Returns the nodes for a text: the text itself, with <wbr> at the places where a long name may be broken. Not in options and SVG, which
// have no <wbr>.
function breakable(element, text) {
    if (text.length <= SHORT || !(element instanceof HTMLElement) || element instanceof HTMLOptionElement) return [text];
    return text.split(JOINTS).flatMap((part, k) => k ? [document.createElement("wbr"), part] : [part]);
}

// Replaces all children of the element.
export function set(element, ...children) {
    element.replaceChildren();
    put(element, ...children);
}

// Sets the text of an element if it differs. Setting the same text again would make a screen reader read it again.
export function say(element, text) {
    if (element.textContent !== text) element.textContent = text;
}

// Makes a screen reader read the text; it is not visible.
export function announce(text) {
    say(document.getElementById("said"), text);
}

// Returns a box with the title and message of a fault, and a button that calls `again`, if that is given.
export function faultBox(fault, again) {
    return make("div", { class: "fault", role: "alert" },
        make("p", null, make("strong", null, fault.title || "The request failed."), " ", fault.message),
        again && make("p", null, make("button", { type: "button", onclick: again }, "Try again")));
}

// Returns the head of a column. If the table can be sorted by it, it is a button that shows the current order and calls sort.turn with the
// next one. `sort` is {by, turn(by)}; `by` is an order: "bytes", or "-bytes" for descending.
function headCell(column, sort) {
    const about = { scope: "col", role: "columnheader", class: column.number ? "number" : null };
    if (!column.sort || !sort) return make("th", about, column.title);
    const up = sort.by === column.sort, down = sort.by === "-" + column.sort;
    // The first click on a column of numbers puts the largest first.
    const next = column.number ? (down ? column.sort : "-" + column.sort) : (up ? "-" + column.sort : column.sort);
    return make("th", { ...about, "aria-sort": up ? "ascending" : down ? "descending" : null },
        make("button", { type: "button", class: "sorts", onclick: () => sort.turn(next), dataset: { sort: column.sort } },
            column.title, make("span", { "aria-hidden": true, class: "faint" }, up ? " ↑" : down ? " ↓" : " ↕")));
}

// Returns a table with a caption. `columns` are {title, number: right-aligned, tight: not wrapped, sort: the name of its order}; `rows` are
// {cells}, a node or text for each column; `sort` as for headCell, or undefined. On a narrow screen each row becomes a block whose cells
// show the titles of their columns.
export function table(caption, columns, rows, sort) {
    const body = make("tbody", { role: "rowgroup" });
    for (const row of rows)
        put(body, make("tr", { role: "row" }, row.cells.map((cell, k) => make(k ? "td" : "th", { class: columns[k].number ? "number" : columns[k].tight ? "tight" : null,
            scope: k ? null : "row", role: k ? "cell" : "rowheader", "data-title": columns[k].title }, cell))));
    // The roles are given because some browsers no longer treat a table that is laid out as blocks as a table.
    return make("table", { class: "stack", role: "table" },
        make("caption", null, caption),
        make("thead", { role: "rowgroup" }, make("tr", { role: "row" }, columns.map(column => headCell(column, sort)))),
        body);
}

// Returns buttons for the previous and the next page, with the range of rows that is shown; null if all `total` rows are on this page.
// `offset` rows are before the page, `shown` on it. The buttons call turn(-1) and turn(1).
export function pager(offset, shown, total, turn, back = "Previous", on = "Next") {
    if (total <= shown) return null;
    const number = value => value.toLocaleString("en-GB");
    return make("div", { class: "pages" },
        make("button", { type: "button", disabled: offset === 0, onclick: () => turn(-1) }, back),
        make("span", null, number(offset + 1) + " to " + number(offset + shown) + " of " + number(total)),
        make("button", { type: "button", disabled: offset + shown >= total, onclick: () => turn(1) }, on));
}

// Returns a button that copies the result of text() to the clipboard and reports whether that succeeded.
export function copyButton(text) {
    const button = make("button", { type: "button", class: "quiet copy" }, "Copy");
    let timer = 0;
    button.addEventListener("click", async () => {
        let done = true;
        try {
            await navigator.clipboard.writeText(text());
        } catch {
            done = false; // no permission, or not a secure context: the user can still select the text
        }
        button.textContent = done ? "Copied" : "Select the text and copy it";
        announce(done ? "The command line was copied." : "The browser does not allow copying. Mark the text and copy it by hand.");
        clearTimeout(timer);
        timer = setTimeout(() => { button.textContent = "Copy"; }, 2500);
    });
    return button;
}
