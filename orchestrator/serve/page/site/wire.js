// SPDX-License-Identifier: MIT
// Requests to the server, and what went wrong in plain words.

const API = "/api/v1";

// `status` is that of HTTP, 0 where there was no answer; `faults` are the server's remarks about single values of a request.
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

// a/b c -> a/b%20c
export function pathOf(name) {
    return name.split("/").map(encodeURIComponent).join("/");
}

async function faultOf(response) {
    let problem = {};
    try {
        problem = await response.json();
    } catch {
        problem = {}; // not a problem document: the status says enough
    }
    return new Fault(response.status, TITLES[response.status] || "The server answered " + response.status + ".",
        typeof problem.detail === "string" ? problem.detail : "", Array.isArray(problem.errors) ? problem.errors : []);
}

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

// The banner over everything while the server is away.
export function away(yes) {
    const banner = document.getElementById("away");
    if (yes && banner.hidden)
        banner.textContent = "The server does not answer. This page may be out of date; it tries again automatically.";
    banner.hidden = !yes;
}

export async function ask(path, signal) {
    return (await send("GET", API + path, undefined, signal)).json();
}

export async function askText(path, signal) {
    return (await send("GET", API + path, undefined, signal)).text();
}

export async function tell(method, path, body) {
    const response = await send(method, API + path, body);
    return response.status === 204 || response.headers.get("Content-Length") === "0" ? null : response.json();
}

export function fileAddress(path) {
    return "/files/" + pathOf(path);
}

// A page of a directory below the root.
export async function askFile(path, cursor, signal) {
    return (await send("GET", fileAddress(path) + (cursor ? "?" + new URLSearchParams({ cursor }) : ""), undefined, signal)).json();
}

// {directory, bytes} or null: only files have a tag.
export async function lookFile(path, signal) {
    try {
        const { headers } = await send("HEAD", fileAddress(path), undefined, signal);
        return { directory: !headers.has("ETag"), bytes: Number(headers.get("Content-Length")) };
    } catch (fault) {
        if (fault.status === 404) return null;
        throw fault;
    }
}

export function addressOf(path) {
    return API + path;
}

// Waits for a time, or for the view to be left; false then.
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
