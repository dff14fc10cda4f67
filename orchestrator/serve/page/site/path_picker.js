// SPDX-License-Identifier: MIT
// Suggestions for fields that name a model or a path below the root, as datalists, which the browser shows.
import { make, set } from "./elements.js";
import { ask, askFile } from "./wire.js";

const MOST = 500; // suggested models

// Returns the options of a datalist.
function options(names) {
    return names.map(name => make("option", { value: name }));
}

function directoryOf(path) {
    return path.includes("/") ? path.slice(0, path.lastIndexOf("/")) : "";
}

// Returns the two datalists, to which fields refer by id: all models, and the paths in the directory that the user is typing in a field of
// `form`. If the server does not answer, they are empty and the user can still type.
export async function pathLists(form, signal) {
    const models = await ask("/models?limit=" + MOST, signal).then(page => page.models.map(model => model.path), () => []);
    const paths = make("datalist", { id: "input-names" });
    let shown = null;
    const load = async directory => {
        shown = directory;
        const page = await askFile(directory, null, signal).catch(() => null);
        if (!page || shown !== directory) return;
        set(paths, options(page.entries.map(entry => (directory ? directory + "/" : "") + entry.name + (entry.type === "directory" ? "/" : ""))));
    };
    const follow = event => {
        const input = event.target;
        if (input.getAttribute("list") !== "input-names") return;
        const directory = directoryOf(input.value.trim());
        if (directory !== shown) load(directory);
    };
    form.addEventListener("focusin", follow);
    form.addEventListener("input", follow);
    return [make("datalist", { id: "model-names" }, options(models)), paths];
}
