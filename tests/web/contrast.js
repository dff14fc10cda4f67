// SPDX-License-Identifier: MIT
// The texts that are seen now with less contrast to what is behind them than `arguments[0]`: "2.31 p.faint 'What ...'", each once.
// Runs in the page, as the body of a function.

function background(element) {
    const layers = [];
    for (let at = element; at; at = at.parentElement) layers.push(read(getComputedStyle(at).backgroundColor));
    const canvas = matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0, 1] : [255, 255, 255, 1];
    return layers.reverse().reduce((below, top) => over(top, below), canvas);
}
// A text in a picture stands on the shape before it where its class says so.
function behind(element) {
    const shape = element.previousElementSibling;
    return element.tagName === "text" && /\b(on-|oc-t[qd]\d)/.test(element.getAttribute("class") || "") ? read(getComputedStyle(shape).fill) : background(element);
}
function seen(element) {
    if (!element.checkVisibility({ opacityProperty: true, visibilityProperty: true })) return false;
    const box = element.getBoundingClientRect();
    return box.width > 1 && box.height > 1;
}
function judge(element, text, colour) {
    const below = behind(element);
    const ratio = contrast(over(read(colour), below), below);
    count++;
    if (ratio < least) found.add(ratio.toFixed(2) + " " + element.tagName.toLowerCase() + "." + (element.getAttribute("class") || "") + " '" + text.trim().slice(0, 40) + "'");
}

const least = Number(arguments[0]);
const found = new Set();
let count = 0;
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.data.trim() || !seen(element) || ["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    judge(element, node.data, element instanceof SVGElement ? style.fill : style.color);
}
for (const field of document.querySelectorAll("input, textarea, select")) {
    if (!seen(field)) continue;
    if (field.placeholder && !field.value) judge(field, field.placeholder, getComputedStyle(field, "::placeholder").color);
    else if (field.type !== "checkbox") judge(field, field.value, getComputedStyle(field).color);
}
if (count < 8) found.add("only " + count + " texts were looked at");
return [...found];
