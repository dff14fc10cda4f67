// SPDX-License-Identifier: MIT
// Files below the root, to download; directories open in place.
import { faultBox, make, put, set } from "./elements.js";
import { askFile, fileAddress, lookFile } from "./wire.js";
import { bytes } from "./words.js";

function fileItem(path, name, size) {
    return make("li", null, make("a", { href: fileAddress(path), download: name }, name),
        Number.isFinite(size) && make("span", { class: "faint" }, " " + bytes(size)));
}

// Its entries are asked for when it is opened, a page of them at a time. "organ" holds what a verb tells of its work.
function directoryItem(path, name, signal, open) {
    const list = make("ul", { class: "files" });
    const fold = make("details", null, make("summary", null, name + "/"), list);
    let begun = false;
    const load = async cursor => {
        const page = await askFile(path, cursor, signal);
        for (const entry of page.entries) {
            const below = path + "/" + entry.name;
            put(list, entry.type === "directory" ? directoryItem(below, entry.name, signal, entry.name === "organ") : fileItem(below, entry.name, entry.bytes));
        }
        if (page.next === null) return;
        const more = make("li", null, make("button", { type: "button", onclick: () => {
            more.remove();
            load(page.next);
        } }, "More …"));
        put(list, more);
    };
    fold.addEventListener("toggle", () => {
        if (!fold.open || begun) return;
        begun = true;
        load(null).catch(fault => fault.name === "AbortError" || set(list, make("li", null, faultBox(fault))));
    });
    fold.open = open;
    return make("li", null, fold);
}

// What lies at these paths, directories open or not; null if nothing is there.
export async function filesList(paths, open, signal) {
    const items = [];
    for (const path of paths) {
        const name = path.split("/").pop();
        const found = await lookFile(path, signal);
        if (found) items.push(found.directory ? directoryItem(path, name, signal, open) : fileItem(path, name, found.bytes));
    }
    return items.length ? make("ul", { class: "files" }, items) : null;
}
