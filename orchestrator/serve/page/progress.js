// SPDX-License-Identifier: MIT
// A job as it goes: followed by server-sent events, which a browser takes up again by itself when the server was away.
import { announce, copyButton, faultBox, make, say, set } from "./elements.js";
import { filesList } from "./files_list.js";
import { addressOf, ask, askText, away, has, pause, tell } from "./wire.js";
import { bytes, count, duration, moment } from "./words.js";

export const STATES = {
    queued: { word: "Waiting", mark: "◌", look: "stopped" },
    running: { word: "Running", mark: "▶", look: "running" },
    done: { word: "Done", mark: "✓", look: "done" },
    failed: { word: "Failed", mark: "✕", look: "failed" },
    cancelled: { word: "Cancelled", mark: "■", look: "stopped" },
    interrupted: { word: "Interrupted", mark: "■", look: "stopped" },
};

export function lives(job) {
    return job.state === "running" || job.state === "queued";
}

export function stateElement(job) {
    const state = STATES[job.state] || { word: job.state, mark: "?", look: "stopped" };
    return make("span", { class: "state state-" + state.look, dataset: { mark: state.mark } }, state.word);
}

// What an event of the program says about how far it is, put into the job.
function take(job, name, event) {
    if (name === "begin")
        job.progress = { stage: event.what, bytes: 0, of: event.bytes, tensors: 0, of_tensors: event.tensors, tensor: null };
    else
        job.progress = { ...job.progress, bytes: event.bytes, of: event.of, tensors: event.tensors,
            tensor: event.tensor ? [event.tensor, event.remark].filter(Boolean).join("  ") : job.progress && job.progress.tensor };
}

// Calls heard(job) for each change until the signal is raised or the job is over. Stages and tensors come as events; how fast it goes is
// asked of the server, who has seen all of the stage.
export function follow(first, heard, signal) {
    const path = "/jobs/" + encodeURIComponent(first.id);
    let job = first, source = null, wait = 1000, silence = 0, due = 0, asked = 0;
    const tell = () => {
        if (!due) due = setTimeout(() => {
            due = 0;
            if (!signal.aborted) heard(job);
        }, 100);
    };
    const refresh = async () => {
        if (Date.now() - asked < 1000) return;
        asked = Date.now();
        const now = await ask(path, signal).catch(() => null);
        if (now && now.progress && lives(job)) {
            const { bytes_per_second, seconds_left } = now.progress;
            job.progress = { ...now.progress, ...job.progress, bytes_per_second, seconds_left };
            tell();
        }
    };
    const close = () => {
        clearTimeout(silence);
        clearTimeout(due);
        if (source) source.close();
    };
    const alive = () => {
        clearTimeout(silence);
        away(false);
        wait = 1000;
    };
    const open = () => {
        source = new EventSource(addressOf(path + "/events"));
        source.addEventListener("job", event => {
            alive();
            const progress = job.progress;
            job = JSON.parse(event.data);
            job.progress = job.progress && { ...job.progress, tensor: (progress && progress.tensor) || job.progress.tensor };
            if (!lives(job)) close();
            heard(job);
        });
        for (const name of ["begin", "advance"])
            source.addEventListener(name, event => {
                alive();
                take(job, name, JSON.parse(event.data));
                tell();
                refresh();
            });
        source.addEventListener("error", async event => {
            if (signal.aborted || event instanceof MessageEvent) return; // the latter is what the program said, not the connection
            clearTimeout(silence);
            silence = setTimeout(() => away(true), 2500); // a stream that ended begins again sooner than that
            if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
            if (await pause(wait, signal)) look();
            wait = Math.min(wait * 2, 15000);
        });
    };
    // An answer that was refused closes the source for good; then the job itself says what is the matter.
    const look = async () => {
        try {
            job = await ask(path, signal);
            heard(job);
            if (lives(job)) open();
        } catch (fault) {
            if (fault.name === "AbortError" || fault.status === 401 || fault.status === 404) return;
            if (await pause(wait, signal)) look();
        }
    };
    signal.addEventListener("abort", close, { once: true });
    if (!signal.aborted && lives(job)) open();
}

// Bar and figures. {element, update(job)}
export function meters() {
    const bar = make("progress", { max: 1, "aria-label": "Progress" });
    const line = make("p", { class: "meters" });
    const last = make("p", { class: "meters mono" });
    const parts = ["stage", "share", "rate", "left", "tensors"].map(() => make("span"));
    line.append(...parts);
    const update = job => {
        const now = job.progress;
        bar.hidden = !lives(job);
        line.hidden = last.hidden = !lives(job) || !now;
        if (!lives(job)) return;
        if (!now || !now.of) {
            bar.removeAttribute("value");
            return;
        }
        bar.value = now.bytes / now.of;
        const words = [now.stage, Math.floor(now.bytes / now.of * 100) + " % of " + bytes(now.of), now.bytes_per_second ? bytes(now.bytes_per_second) + "/s" : "",
            Number.isFinite(now.seconds_left) ? duration(now.seconds_left) + " left" : "",
            now.of_tensors ? count(now.tensors) + " of " + count(now.of_tensors) + " tensors" : ""];
        words.forEach((word, k) => {
            parts[k].hidden = !word;
            say(parts[k], word || "");
        });
        say(last, now.tensor || "");
    };
    return { element: make("div", null, bar, line, last), update };
}

function secondsOf(job) {
    return (Date.parse(job.finished) - Date.parse(job.started)) / 1000;
}

// What became of the job, in a sentence.
function ending(job) {
    const took = Number.isFinite(secondsOf(job)) ? " after " + duration(secondsOf(job)) : "";
    if (job.cancelling && lives(job)) return "It is asked to stop.";
    if (job.state === "queued") return "It begins when another job has ended.";
    if (job.state === "running") return "";
    if (job.state === "done") return "Finished" + took + (job.code === 1 ? ": what was to be checked does not hold." : ".");
    const kept = job.resumable ? " What was done is kept: it can go on from there." : "";
    return (job.state === "failed" ? "Ended" : "Stopped") + took + "." + (job.message ? " " + job.message + (/[.!?]$/.test(job.message) ? "" : ".") : "") + kept;
}

function times(job) {
    const entries = [["Asked for", job.created], ["Begun", job.started], ["Ended", job.finished]];
    return make("p", { class: "meters" }, entries.filter(([, time]) => time).map(([name, time]) => make("span", null, name + " " + moment(time))));
}

function frameOf(job) {
    const address = addressOf("/jobs/" + encodeURIComponent(job.id) + "/report");
    return make("section", { "aria-labelledby": "report-title" }, make("h2", { id: "report-title" }, "Report"),
        make("p", null, make("a", { href: address, target: "_blank", rel: "noopener" }, "Open it in a tab of its own")),
        // Scripts sort the report's tables; everything else that a page can do is not for it.
        make("iframe", { class: "report", src: address, sandbox: "allow-scripts", title: "Report of " + job.verb }));
}

// The JSON of a job without a page of its own.
async function resultOf(job, signal) {
    const text = await askText("/jobs/" + encodeURIComponent(job.id) + "/result", signal);
    let shown = text;
    try {
        shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
        shown = text; // not JSON: as it is
    }
    return make("section", { "aria-labelledby": "result-title" }, make("h2", { id: "result-title" }, "Result"),
        make("pre", { class: "log", tabindex: 0 }, shown));
}

// What there is to see of a job that is over.
async function endOf(job, signal) {
    if (job.state !== "done") return null;
    const path = "/jobs/" + encodeURIComponent(job.id);
    const shown = await has(path + "/report", signal) ? frameOf(job) : await resultOf(job, signal);
    const files = await filesList(job.outputs || [], true, signal);
    return [shown, files && make("section", { "aria-labelledby": "files-title" }, make("h2", { id: "files-title" }, "Files"), files)];
}

function logOf(id, signal) {
    const text = make("pre", { class: "log", tabindex: 0, "aria-label": "Log" });
    const fold = make("details", { class: "group" }, make("summary", null, "Log"), text);
    const load = async () => {
        if (!fold.open) return;
        const log = await askText("/jobs/" + encodeURIComponent(id) + "/log", signal);
        const below = text.scrollTop + text.clientHeight >= text.scrollHeight - 4; // stays at the end if one was there
        say(text, log || "Nothing was said so far.");
        if (below) text.scrollTop = text.scrollHeight;
    };
    fold.addEventListener("toggle", load);
    return { element: fold, load };
}

// Buttons for a state: only those that would do something. `alone`: the job has the page for itself.
function buttons(job, act, alone) {
    const list = [];
    if (lives(job)) list.push(make("button", { type: "button", class: "danger", disabled: job.cancelling,
        onclick: () => act("DELETE", "", "cancelled") }, "Cancel"));
    if (job.resumable)
        list.push(make("button", { type: "button", class: "main", onclick: () => act("POST", "/resume", "resumed") }, "Resume"));
    if (alone && !lives(job))
        list.push(make("button", { type: "button", class: "quiet", title: "The files that it wrote stay", onclick: () => act("DELETE", "", "removed") },
            "Remove from the list"));
    return list;
}

function announcer() {
    let next = 0, state = "";
    return job => {
        const now = job.progress;
        if (job.state !== state) announce(STATES[job.state] ? job.verb + ": " + STATES[job.state].word : "");
        else if (job.state === "running" && now && now.of && Date.now() > next)
            announce(Math.floor(now.bytes / now.of * 100) + " % done" + (Number.isFinite(now.seconds_left) ? ", " + duration(now.seconds_left) + " left" : ""));
        else return;
        state = job.state;
        next = Date.now() + 15000;
    };
}

// All of one job: {verb, element}. It follows the job until the signal is raised.
export async function jobPanel(id, signal, again) {
    const first = await ask("/jobs/" + encodeURIComponent(id), signal);
    const head = make("p", null), words = make("p"), faults = make("div"), actions = make("div", { class: "actions" }), stamps = make("div");
    const command = make("pre", { class: "command", tabindex: 0, "aria-label": "Command line" }, first.command);
    const result = make("div");
    const bars = meters(), log = logOf(id, signal), tellAll = announcer();
    let state = "", following = null;

    const act = async (method, path, what) => {
        set(faults);
        try {
            const job = await tell(method, "/jobs/" + encodeURIComponent(id) + path);
            announce("The job was " + what + ".");
            document.dispatchEvent(new CustomEvent("organ-jobs"));
            if (!job) {
                location.hash = "#/jobs";
                return;
            }
            await update(job);
            watch(job);
        } catch (fault) {
            if (!fault.title) throw fault;
            set(faults, faultBox(fault));
        }
    };
    const update = async job => {
        bars.update(job);
        tellAll(job);
        log.load();
        const now = job.state + job.attempts + job.cancelling;
        if (now === state) return;
        state = now;
        set(head, stateElement(job));
        say(words, ending(job));
        set(stamps, times(job));
        set(actions, again && !lives(job) && again(job), buttons(job, act, Boolean(again)));
        set(result);
        document.dispatchEvent(new CustomEvent("organ-jobs"));
        if (!lives(job)) set(result, await endOf(job, signal).catch(fault => fault.name === "AbortError" ? null : faultBox(fault)));
    };
    const watch = job => {
        following?.abort();
        following = new AbortController();
        follow(job, update, AbortSignal.any([signal, following.signal]));
    };
    await update(first);
    watch(first);
    return make("div", null, head, words, bars.element, actions, faults,
        make("section", { class: "panel" }, copyButton(() => first.command), make("h2", null, "Command line"), command, stamps),
        result, log.element);
}
