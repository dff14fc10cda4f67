// SPDX-License-Identifier: MIT
// Shows one job: state, progress, buttons, report or result, files, log.
import { announce, copyButton, faultBox, make, say, set } from "./elements.js";
import { filesList } from "./files_list.js";
import { follow, lives, meters, stateElement, stateOf } from "./progress.js";
import { addressOf, ask, askText, tell } from "./wire.js";
import { bytes, counted, duration, moment } from "./words.js";

// Returns a sentence on how the job ended, or why it does not run; "" while it runs.
function ending(job) {
    const took = Number.isFinite(job.seconds) ? " after " + duration(job.seconds) : "";
    if (job.cancelling && lives(job)) return "The job is being cancelled.";
    if (job.state === "queued") return "The job starts when another job has ended.";
    if (job.state === "running") return "";
    if (job.state === "done") return "Finished" + took + (job.exit_code === 1 ? ": what was to be checked does not hold." : ".");
    const why = job.error ? ": " + job.error : "";
    if (job.state === "failed") return "Ended" + took + why;
    return "Stopped" + took + (job.resumable ? ". Finished work is kept; Resume continues the job." : why || ".");
}

// Returns a line with the times at which the job was created, started and ended, as far as there are any.
function times(job) {
    const entries = [["Created", job.created], ["Started", job.started], ["Ended", job.finished]];
    return make("p", { class: "meters" }, entries.filter(([, time]) => time).map(([name, time]) => make("span", null, name + " " + moment(time))));
}

// Moves the focus to the first fold after the button: past the report, in which the Tab key stops many times.
function skip(button) {
    const summaries = [...document.querySelectorAll("main details > summary")];
    const next = summaries.find(summary => button.compareDocumentPosition(summary) & Node.DOCUMENT_POSITION_FOLLOWING);
    if (next) next.focus();
}

// Returns a section with the report of the job in a frame.
function frameOf(job) {
    const address = addressOf("/jobs/" + encodeURIComponent(job.id) + "/report");
    return make("section", { "aria-labelledby": "report-title" }, make("h2", { id: "report-title" }, "Report"),
        make("p", null, make("a", { href: address, target: "_blank", rel: "noopener" }, "Open in a new tab"), " ",
            make("button", { type: "button", class: "quiet", onclick: event => skip(event.target) }, "Skip the report")),
        // The sandbox allows scripts, which sort the report's tables, and nothing else.
        make("iframe", { class: "report", src: address, sandbox: "allow-scripts", title: "Report of " + job.verb }));
}

// Returns a section for a result that is too long to be shown: the reason `why`, a link to download it and, if given, the beginning
// `shown`.
function longResult(job, why, shown) {
    const address = addressOf("/jobs/" + encodeURIComponent(job.id) + "/result?raw=true");
    return make("section", { "aria-labelledby": "result-title" }, make("h2", { id: "result-title" }, "Result"),
        make("p", { class: "note" }, why + " ", make("a", { href: address, download: "" }, "Download it (" + bytes(job.result_bytes) + ")")),
        shown && make("pre", { class: "log", tabindex: 0 }, shown));
}

const MOST_SHOWN = 1 << 20; // bytes of a result that is shown

// Returns a section with the result of a job that has no report: its JSON, indented. `job.cut` is the size of a result of which the server
// kept only the beginning.
async function resultOf(job, signal) {
    if (job.cut) {
        const { beginning } = await ask("/jobs/" + encodeURIComponent(job.id) + "/result", signal);
        return longResult(job, "The result had " + bytes(job.cut) + "; it was cut after " + bytes(job.result_bytes) + ".", beginning);
    }
    if (job.result_bytes > MOST_SHOWN) return longResult(job, "The result is too long to be shown here.");
    const text = await askText("/jobs/" + encodeURIComponent(job.id) + "/result", signal);
    let shown = text;
    try {
        shown = JSON.stringify(JSON.parse(text), null, 2);
    } catch {
        shown = text; // not JSON: shown unchanged
    }
    return make("section", { "aria-labelledby": "result-title" }, make("h2", { id: "result-title" }, "Result"),
        make("pre", { class: "log", tabindex: 0 }, shown));
}

// Returns the elements for a job that has ended: report or result, and files; null if it failed or was stopped.
async function endOf(job, signal) {
    if (job.state !== "done") return null;
    const shown = job.report ? frameOf(job) : (job.result || job.cut) && await resultOf(job, signal);
    const files = await filesList(job.outputs || [], true, signal);
    return [shown, files && make("section", { "aria-labelledby": "files-title" }, make("h2", { id: "files-title" }, "Files"), files)];
}

// Converts a line of the log, an event in JSON, to the line that the terminal would show; "" if it would show none.
function logLine(line) {
    let event = {};
    try {
        event = JSON.parse(line);
    } catch {
        return line;
    }
    if (event.event === "begin") return [event.what, event.bytes ? bytes(event.bytes) : "", event.tensors ? counted(event.tensors, (event.unit || "tensors").slice(0, -1)) : ""].filter(Boolean).join(", ");
    if (event.event === "advance") return event.tensor ? "[" + event.tensors + "] " + [event.tensor, event.remark].filter(Boolean).join("  ") : "";
    if (event.event === "end") return "";
    return event.text || event.message || line;
}

// Returns {element, load(last)}: a fold with the log of the job, and a function that loads the log if the fold is open, at most once a
// second; `last`: in any case.
function logOf(id, signal) {
    const text = make("pre", { class: "log", tabindex: 0, "aria-label": "Log" });
    const fold = make("details", { class: "group" }, make("summary", null, "Log"), text);
    let asked = 0;
    const load = async last => {
        if (!fold.open || (Date.now() - asked < 1000 && !last)) return;
        asked = Date.now();
        const log = await askText("/jobs/" + encodeURIComponent(id) + "/log", signal)
            .catch(fault => fault.status === 404 ? "" : fault.title || "");
        const below = text.scrollTop + text.clientHeight >= text.scrollHeight - 4; // true: the end of the log is visible, and stays visible
        say(text, log.split("\n").map(line => line && logLine(line)).filter(Boolean).join("\n") || "The log is empty.");
        if (below) text.scrollTop = text.scrollHeight;
    };
    fold.addEventListener("toggle", () => load(true));
    return { element: fold, load };
}

// Returns the buttons that have an effect in the job's state. `act` is called with the method and path of the request and the past
// participle for its message. `alone`: the page shows only this job.
function buttons(job, act, alone) {
    const list = [];
    if (lives(job)) list.push(make("button", { type: "button", class: "danger", disabled: job.cancelling,
        onclick: () => act("DELETE", "", "cancelled") }, "Cancel"));
    if (job.resumable)
        list.push(make("button", { type: "button", class: "main", onclick: () => act("POST", "/resume", "resumed") }, "Resume"));
    if (alone && !lives(job))
        list.push(make("button", { type: "button", class: "quiet", title: "Files that the job wrote are kept", onclick: () => act("DELETE", "", "removed") },
            "Remove from the list"));
    return list;
}

// Returns a function that makes a screen reader read a job's new state, and its progress every 15 seconds.
function announcer() {
    let next = 0, state = "";
    return job => {
        const now = job.progress;
        if (job.state !== state) announce(job.verb + ": " + stateOf(job).word);
        else if (job.state === "running" && now && now.of && Date.now() > next)
            announce(Math.floor(now.bytes / now.of * 100) + " % done" + (Number.isFinite(now.seconds_left) ? ", " + duration(now.seconds_left) + " left" : ""));
        else return;
        state = job.state;
        next = Date.now() + 15000;
    };
}

// Returns the element of the job `id`, which shows the job's changes until the signal is raised. `again(job)`, if given, returns a link to
// repeat a job that has ended; the page then shows only this job.
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
        log.load(!lives(job));
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
