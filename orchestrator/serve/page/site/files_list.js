// SPDX-License-Identifier: MIT
// Lists files below the root as downloads; directories can be opened in the list.
import { faultBox, make, put, set } from "./elements.js";
import { askFile, fileAddress, lookFile } from "./wire.js";
import { bytes } from "./words.js";

// Returns the item of a file: a link to download it, and its size in bytes if that is a number.
function fileItem(path, name, size) {
    return make("li", null, make("a", { href: fileAddress(path), download: name }, name),
        Number.isFinite(size) && make("span", { class: "faint" }, " " + bytes(size)));
}

// Returns the item of a directory. It asks for the entries when it is opened, one page at a time. `open`: it is open from the beginning, as
// are directories "organ" in it, which have the reports of verbs.
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

// Returns a list of the files and directories at these paths, with directories open if `open`; null if there are none.
export async function filesList(paths, open, signal) {
    const items = [];
    for (const path of paths) {
        const name = path.split("/").pop();
        const found = await lookFile(path, signal);
        if (found) items.push(found.directory ? directoryItem(path, name, signal, open) : fileItem(path, name, found.bytes));
    }
    return items.length ? make("ul", { class: "files" }, items) : null;
}
