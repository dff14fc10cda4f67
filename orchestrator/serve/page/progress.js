// SPDX-License-Identifier: MIT
// A job as it goes: followed by server-sent events, which a browser takes up again by itself when the server was away.
import { announce, copyButton, faultBox, make, say, set } from "./elements.js";
import { addressOf, ask, askText, away, pathOf, pause, tell } from "./wire.js";
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

// Calls heard(job) for each change until the signal is raised or the job is over.
export function follow(id, heard, signal) {
    let source = null, wait = 1000, silence = 0;
    signal.addEventListener("abort", () => {
        clearTimeout(silence);
        if (source) source.close();
    }, { once: true });
    const open = () => {
        source = new EventSource(addressOf("/jobs/" + encodeURIComponent(id) + "/events"));
        const hear = event => {
            clearTimeout(silence);
            away(false);
            wait = 1000;
            const job = JSON.parse(event.data);
            heard(job);
            if (!lives(job)) source.close();
        };
        source.addEventListener("job", hear);
        source.addEventListener("error", async () => {
            if (signal.aborted) return;
            clearTimeout(silence);
            silence = setTimeout(() => away(true), 2500); // a stream that ended begins again sooner than that
            if (source.readyState !== EventSource.CLOSED) return; // it tries again by itself
            await pause(wait, signal);
            wait = Math.min(wait * 2, 15000);
            if (!signal.aborted) look();
        });
    };
    // An answer that was refused closes the source for good; then the job itself says what is the matter.
    const look = async () => {
        try {
            const job = await ask("/jobs/" + encodeURIComponent(id), signal);
            heard(job);
            if (lives(job)) open();
        } catch (fault) {
            if (fault.name === "AbortError" || fault.status === 401 || fault.status === 404) return;
            if (await pause(wait, signal)) look();
        }
    };
    if (!signal.aborted) open();
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

// What became of the job, in a sentence.
function ending(job) {
    const took = Number.isFinite(job.seconds) ? " after " + duration(job.seconds) : "";
    if (job.state === "queued") return "It begins when another job has ended.";
    if (job.state === "running") return "";
    if (job.state === "done") return "Finished" + took + ".";
    if (job.state === "interrupted" || job.state === "cancelled")
        return "Stopped" + took + "." + (job.resumable ? " What was done is kept: it can go on from there." : "");
    return "Ended" + took + " with exit code " + job.exit_code + ".";
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

async function endOf(job, signal) {
    if (job.report) return frameOf(job);
    return job.result ? resultOf(job, signal) : null;
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

// Buttons for a state: only those that would do something.
function buttons(job, act) {
    const list = [];
    if (lives(job)) list.push(make("button", { type: "button", class: "danger", onclick: () => act("DELETE", "", "cancelled") }, "Cancel"));
    if (job.resumable && !lives(job) && job.state !== "done")
        list.push(make("button", { type: "button", class: "main", onclick: () => act("POST", "/resume", "resumed") }, "Resume"));
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
            await tell(method, "/jobs/" + encodeURIComponent(id) + path);
            announce("The job was " + what + ".");
            document.dispatchEvent(new CustomEvent("organ-jobs"));
            watch();
        } catch (fault) {
            if (!fault.title) throw fault;
            set(faults, faultBox(fault));
        }
    };
    const update = async job => {
        bars.update(job);
        tellAll(job);
        log.load();
        if (job.state === state) return;
        state = job.state;
        set(head, stateElement(job));
        say(words, job.error || ending(job));
        set(stamps, times(job));
        set(actions, buttons(job, act), again && !lives(job) && again(job));
        set(result);
        document.dispatchEvent(new CustomEvent("organ-jobs"));
        if (!lives(job)) set(result, await endOf(job, signal).catch(fault => fault.name === "AbortError" ? null : faultBox(fault)));
    };
    const watch = () => {
        following?.abort();
        following = new AbortController();
        follow(id, update, AbortSignal.any([signal, following.signal]));
    };
    await update(first);
    watch();
    return make("div", null, head, words, bars.element, actions, faults,
        make("section", { class: "panel" }, copyButton(() => first.command), make("h2", null, "Command line"), command, stamps),
        result, log.element);
}
