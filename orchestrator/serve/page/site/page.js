// SPDX-License-Identifier: MIT
// The frame of the page: shows the view that the address names, the login, and the parts that all views share.
import { announce, faultBox, make, set } from "./elements.js";
import { ask, pause, tell } from "./wire.js";
import { showForm } from "./form_view.js";
import { showJob } from "./job_view.js";
import { showJobs } from "./jobs_view.js";
import { showModel } from "./model_view.js";
import { showModels } from "./models_view.js";
import { showVerbs } from "./verbs_view.js";

const content = document.getElementById("content");
let leave = new AbortController(); // aborts the requests of the current view
let first = true; // no view was shown yet

// "#/models/a/b?match=x" -> {section: "models", name: "a/b", query}
function readAddress() {
    const [path, query] = location.hash.replace(/^#\/?/, "").split(/\?(.*)/s);
    const parts = path.split("/").map(part => {
        try {
            return decodeURIComponent(part);
        } catch {
            return part; // malformed, for example typed by hand: used as it was typed
        }
    });
    return { section: parts[0] || "models", name: parts.slice(1).join("/"), query: new URLSearchParams(query || "") };
}

// Returns the function that shows the view of an address, null if there is none.
function viewOf(address) {
    if (address.section === "models") return address.name ? showModel : showModels;
    if (address.section === "verbs") return address.name ? showForm : showVerbs;
    if (address.section === "jobs") return address.name ? showJob : showJobs;
    return null;
}

// Marks the link to this section in the navigation.
function markSection(section) {
    for (const link of document.querySelectorAll("[data-section]"))
        if (link.dataset.section === section) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
}

// Shows the view of the current address, or a fault. A view is called with its place, the address and a signal, which is raised when the
// user leaves the view, and returns its title. Then the heading gets the focus, so that keyboard and screen reader continue at the
// beginning of the new content.
async function show() {
    leave.abort();
    leave = new AbortController();
    const { signal } = leave;
    const address = readAddress();
    const view = viewOf(address);
    markSection(address.section);
    const place = make("div", { class: "view" });
    try {
        if (!view) throw Object.assign(new Error("This page has no section '" + address.section + "'."), { title: "Not found." });
        const title = await view(place, address, signal);
        if (signal.aborted) return;
        document.title = title + " – organ";
    } catch (fault) {
        if (signal.aborted || fault.name === "AbortError" || fault.status === 401) return;
        document.title = "organ";
        set(place, make("h1", null, fault.title || "The request failed."), faultBox(fault, show));
        if (fault.status === 0) pause(3000, signal).then(still => still && show());
        if (!fault.title) reportError(fault); // an error of the page's scripts: report it in the console too
    }
    set(content, place);
    const heading = content.querySelector("h1");
    heading.tabIndex = -1;
    if (!first) {
        window.scrollTo(0, 0);
        heading.focus({ preventScroll: true });
    }
    first = false;
}

// Shows the login in place of the view.
function showLogin() {
    leave.abort();
    document.getElementById("logout").hidden = true;
    document.title = "Log in – organ";
    const token = make("input", { type: "password", id: "token", name: "token", autocomplete: "current-password", required: true,
        "aria-describedby": "token-fault token-help" });
    const wrong = make("p", { class: "wrong", id: "token-fault", role: "alert" });
    const form = make("form", { class: "panel narrow" },
        make("h1", { tabindex: -1 }, "Log in"),
        make("p", { id: "token-help", class: "faint" }, "This server needs a token from the file of its option --token-file."),
        make("div", { class: "field" }, make("label", { for: "token" }, "Token"), token, wrong),
        make("div", { class: "actions" }, make("button", { type: "submit", class: "main" }, "Log in")));
    form.addEventListener("submit", async event => {
        event.preventDefault();
        try {
            await tell("POST", "/login", { token: token.value });
            await begin();
        } catch (fault) {
            wrong.textContent = fault.status === 401 ? "This is not the token." : (fault.title || "") + " " + fault.message;
            token.setAttribute("aria-invalid", "true");
            token.select();
        }
    });
    set(content, form);
    token.focus();
}

async function logOut() {
    await tell("POST", "/logout");
    showLogin();
}

// Returns the settings that the server sends without a token; {token: false} if it does not answer.
async function settings() {
    const response = await fetch("/page/settings.json").catch(() => null);
    return response && response.ok ? response.json() : { token: false };
}

// Shows the number of running jobs in the navigation.
async function countJobs() {
    const badge = document.getElementById("running");
    try {
        const { total: running } = await ask("/jobs?state=running&limit=1");
        badge.hidden = !running;
        badge.textContent = running ? running + " running" : "";
    } catch {
        badge.hidden = true; // the views show the fault
    }
}

// Shows the view, the button to log out if the server has tokens, and the number of jobs.
async function begin() {
    await show();
    document.getElementById("logout").hidden = !(await settings()).token;
    await countJobs();
}

document.addEventListener("organ-login", showLogin);
document.addEventListener("organ-jobs", countJobs);
document.getElementById("logout").addEventListener("click", logOut);
document.getElementById("skip").addEventListener("click", event => {
    event.preventDefault(); // #content would replace the address of the view
    content.focus();
    content.scrollIntoView();
});
window.addEventListener("hashchange", show);
window.addEventListener("unhandledrejection", event => {
    if (event.reason && event.reason.name === "AbortError") event.preventDefault();
    else if (event.reason && event.reason.title) {
        event.preventDefault();
        announce(event.reason.title);
    }
});
begin();
