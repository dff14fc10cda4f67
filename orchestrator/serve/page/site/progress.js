// SPDX-License-Identifier: MIT
// Shows a job while it runs. The server sends its events (server-sent events); if the connection is lost, the browser opens it again by
// itself.
import { make, say } from "./elements.js";
import { addressOf, ask, away, pause } from "./wire.js";
import { bytes, count, duration } from "./words.js";

const STATES = {
    queued: { word: "Waiting", mark: "◌", look: "stopped" },
    running: { word: "Running", mark: "▶", look: "running" },
    done: { word: "Done", mark: "✓", look: "done" },
    failed: { word: "Failed", mark: "✕", look: "failed" },
    cancelled: { word: "Cancelled", mark: "■", look: "stopped" },
    interrupted: { word: "Interrupted", mark: "■", look: "stopped" },
};

// Returns whether the job runs or waits to run.
export function lives(job) {
    return job.state === "running" || job.state === "queued";
}

// Returns the word, mark and style of a job's state. A job that has found that a check fails (exit code 1) is done, but gets no tick.
export function stateOf(job) {
    if (job.state === "done" && job.exit_code === 1) return { word: "Check failed", mark: "!", look: "wanting" };
    return STATES[job.state] || { word: job.state, mark: "?", look: "stopped" };
}

// Returns an element that shows the state of the job.
export function stateElement(job) {
    const state = stateOf(job);
    return make("span", { class: "state state-" + state.look, dataset: { mark: state.mark } }, state.word);
}

// Calls heard(job) for each change of the job, until the signal is raised or the job has ended. `first` is the job as it is known now.
export function follow(first, heard, signal) {
    const path = "/jobs/" + encodeURIComponent(first.id);
    // the EventSource; ms until the next attempt; timer that reports a server that does not answer; remark on the last tensor
    let source = null, wait = 1000, silence = 0, remark = "";
    const close = () => {
        clearTimeout(silence);
        if (source) source.close();
    };
    const open = () => {
        source = new EventSource(addressOf(path + "/events"));
        source.addEventListener("advance", event => {
            const { tensor, remark: said } = JSON.parse(event.data);
            if (tensor) remark = said || "";
        });
        source.addEventListener("job", event => {
            clearTimeout(silence);
            away(false);
            wait = 1000;
            const job = JSON.parse(event.data);
            if (job.progress) job.progress.remark = remark;
            if (!lives(job)) close();
            heard(job);
        });
        source.addEventListener("error", async event => {
            if (signal.aborted || event instanceof MessageEvent) return; // a MessageEvent is an error event of the job, not of the connection
            clearTimeout(silence);
            silence = setTimeout(() => away(true), 2500); // a stream that ended normally begins again sooner
            if (source.readyState !== EventSource.CLOSED) return; // the browser tries again by itself
            if (await pause(wait, signal)) look();
            wait = Math.min(wait * 2, 15000);
        });
    };
    // If the server answers with an error, the browser closes the source for good. Then this asks for the job itself, and opens a new
    // source if the job lives.
    const look = async () => {
        try {
            const job = await ask(path, signal);
            heard(job);
            if (lives(job)) open();
        } catch (fault) {
            if (fault.name === "AbortError" || fault.status === 401 || fault.status === 404) return;
            if (await pause(wait, signal)) look();
        }
    };
    signal.addEventListener("abort", close, { once: true });
    if (!signal.aborted && lives(first)) open();
}

// Returns {element, update(job)}: a progress bar with its numbers, and a function that shows those of a job.
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
            now.of_tensors ? count(now.tensors) + " of " + count(now.of_tensors) + " " + (now.unit || "tensors") : ""];
        words.forEach((word, k) => {
            parts[k].hidden = !word;
            say(parts[k], word || "");
        });
        say(last, [now.tensor, now.remark].filter(Boolean).join("  "));
    };
    return { element: make("div", null, bar, line, last), update };
}
