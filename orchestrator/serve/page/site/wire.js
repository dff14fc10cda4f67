// SPDX-License-Identifier: MIT
// Sends requests to the server, and turns errors into plain words.

const API = "/api/v1";

// A failed request. `status` is that of HTTP, 0 if there was no answer; `faults` has the server's messages on single values of the request,
// [{field, detail}].
class Fault extends Error {
    constructor(status, title, message, faults) {
        super(message);
        this.status = status;
        this.title = title;
        this.faults = faults || [];
    }
}

const TITLES = {
    0: "The server does not answer.",
    401: "A token is needed.",
    403: "This is not allowed.",
    404: "Not found.",
    409: "The request conflicts with a job or a file.",
    413: "The request is too large.",
    422: "The server does not accept this.",
    429: "Too many requests.",
    500: "The server failed.",
    503: "The server cannot do this now.",
};

// Encodes a path for a URL: "a/b c" becomes "a/b%20c".
export function pathOf(name) {
    return name.split("/").map(encodeURIComponent).join("/");
}

// Returns the Fault for a response with an error status.
async function faultOf(response) {
    let problem = {};
    try {
        problem = await response.json();
    } catch {
        problem = {}; // not a problem document: the status must do
    }
    return new Fault(response.status, TITLES[response.status] || "The server answered " + response.status + ".",
        typeof problem.detail === "string" ? problem.detail : "", Array.isArray(problem.errors) ? problem.errors : []);
}

// Sends a request, with `body` as JSON unless it is undefined, and returns the response. Throws a Fault if the server does not answer or
// answers with an error. A 401 also makes the page show the login.
async function send(method, address, body, signal) {
    const request = { method, signal, headers: {}, credentials: "same-origin", cache: "no-store" };
    if (body !== undefined) {
        request.headers["Content-Type"] = "application/json";
        request.body = JSON.stringify(body);
    }
    let response;
    try {
        response = await fetch(address, request);
    } catch (error) {
        if (error.name === "AbortError") throw error;
        away(true);
        throw new Fault(0, TITLES[0], "The server may have been stopped, or the network is down.");
    }
    away(false);
    if (response.ok) return response;
    const fault = await faultOf(response);
    if (fault.status === 401 && !address.endsWith("/login")) document.dispatchEvent(new CustomEvent("organ-login"));
    throw fault;
}

// Shows (`yes`) or hides the banner that the server does not answer.
export function away(yes) {
    const banner = document.getElementById("away");
    if (yes && banner.hidden)
        banner.textContent = "The server does not answer. This page may be out of date; it tries again automatically.";
    banner.hidden = !yes;
}

// Gets the JSON at a path of the API.
export async function ask(path, signal) {
    return (await send("GET", API + path, undefined, signal)).json();
}

// Gets the text at a path of the API.
export async function askText(path, signal) {
    return (await send("GET", API + path, undefined, signal)).text();
}

// Sends a request that changes something. Returns the JSON of the response, null if it has none.
export async function tell(method, path, body) {
    const response = await send(method, API + path, body);
    return response.status === 204 || response.headers.get("Content-Length") === "0" ? null : response.json();
}

// Returns the address of a file below the root.
export function fileAddress(path) {
    return "/files/" + pathOf(path);
}

// Gets a page of the entries of a directory below the root; `cursor` is `next` of the page before, null for the first.
export async function askFile(path, cursor, signal) {
    return (await send("GET", fileAddress(path) + (cursor ? "?" + new URLSearchParams({ cursor }) : ""), undefined, signal)).json();
}

// Returns {directory: whether it is one, bytes}, or null if nothing is at the path. Only replies with files have an ETag.
export async function lookFile(path, signal) {
    try {
        const { headers } = await send("HEAD", fileAddress(path), undefined, signal);
        return { directory: !headers.has("ETag"), bytes: Number(headers.get("Content-Length")) };
    } catch (fault) {
        if (fault.status === 404) return null;
        throw fault;
    }
}

// Returns the address of a path of the API.
export function addressOf(path) {
    return API + path;
}

// Waits. Returns true after that time, false as soon as the signal is raised: the user has left the view.
export function pause(milliseconds, signal) {
    return new Promise(resolve => {
        if (signal.aborted) {
            resolve(false);
            return;
        }
        const timer = setTimeout(() => resolve(true), milliseconds);
        signal.addEventListener("abort", () => {
            clearTimeout(timer);
            resolve(false);
        }, { once: true });
    });
}
