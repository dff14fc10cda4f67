// SPDX-License-Identifier: MIT
// The list of jobs, the newest first, with the progress of those that run.
import { announce, faultBox, make, pager, set } from "./elements.js";
import { follow, lives, meters, stateElement } from "./progress.js";
import { ask, pause, tell } from "./wire.js";
import { moment } from "./words.js";

const LIMIT = 25; // jobs on a page
// Running jobs whose events the page follows. A browser opens at most six connections to a server, for all its tabs; the page leaves the
// other three for other requests.
const FOLLOWED = 3;

// Returns {id, element, update(job)}: an item of the list, and a function that shows a newer state of the job. Faults of its button appear
// in `faults`.
function jobItem(job, faults) {
    const bars = meters(), state = make("span"), actions = make("span");
    const cancel = async () => {
        set(faults);
        try {
            await tell("DELETE", "/jobs/" + encodeURIComponent(job.id));
            announce("The job was cancelled.");
        } catch (fault) {
            if (!fault.title) throw fault;
            set(faults, faultBox(fault));
        }
    };
    let was = "";
    const update = now => {
        bars.update(now);
        if (now.state === was) return;
        if (was) document.dispatchEvent(new CustomEvent("organ-jobs"));
        was = now.state;
        set(state, stateElement(now));
        set(actions, lives(now) && make("button", { type: "button", class: "danger", onclick: cancel, "aria-label": "Cancel " + job.command }, "Cancel"));
    };
    update(job);
    const element = make("li", null,
        make("div", { class: "head" },
            make("h2", null, make("a", { href: "#/jobs/" + encodeURIComponent(job.id) }, job.verb)), state,
            make("span", { class: "faint" }, moment(job.created)), actions),
        make("pre", { class: "command" }, job.command), bars.element);
    return { id: job.id, element, update };
}

// View of #/jobs: fills `place` with the list, keeps it current until the signal is raised, and returns the title.
export async function showJobs(place, address, signal) {
    let offset = 0, following = new AbortController();
    const list = make("div"), faults = make("div");
    const paint = page => {
        following.abort();
        following = new AbortController();
        const items = page.jobs.map(job => jobItem(job, faults));
        set(list, page.total ? make("ul", { class: "cards rows jobs", "aria-label": "Jobs" }, items.map(item => item.element))
            : make("p", { class: "note" }, "There are no jobs. ", make("a", { href: "#/verbs" }, "Start one"), "."),
        pager(offset, items.length, page.total, turn, "Newer", "Older"));
        const both = AbortSignal.any([signal, following.signal]);
        page.jobs.forEach((job, k) => {
            if (lives(job) && page.jobs.slice(0, k).filter(lives).length < FOLLOWED) follow(job, items[k].update, both);
        });
        return items;
    };
    const look = () => ask("/jobs?" + new URLSearchParams({ limit: LIMIT, offset }), signal);
    let items = [];
    const turn = async step => {
        offset = Math.max(0, offset + step * LIMIT);
        items = paint(await look());
    };
    set(place, make("h1", null, "Jobs"), make("p", { class: "lead" }, "Jobs of this server, the newest first."), faults, list);
    items = paint(await look());
    // Asks for the page every 3 seconds: for new jobs, and for the jobs whose events it does not follow.
    (async () => {
        while (await pause(3000, signal)) {
            const page = await look().catch(() => null);
            if (!page) continue;
            if (page.jobs.length === items.length && page.jobs.every((job, k) => job.id === items[k].id)) page.jobs.forEach((job, k) => items[k].update(job));
            else items = paint(page);
        }
    })();
    return "Jobs";
}
