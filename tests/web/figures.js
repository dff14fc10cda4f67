// SPDX-License-Identifier: MIT
// What is wrong with the figures of a report, each fault once: texts with less contrast than 4.5 : 1 to what is behind them, texts over each
// other or outside the figure, lines and areas with less than 3 : 1 to the paper. Runs in the page, as the body of a function.

function paint(colour, opacity, whole) {
    if (colour === "none") return null;
    const [r, g, b, a] = read(colour);
    return [r, g, b, a * Number(opacity) * Number(whole)];
}

// The parts of a figure in the order in which they are painted.
function parts_of(svg) {
    return [...svg.querySelectorAll("rect, path, text")].map((element, order) => {
        const style = getComputedStyle(element);
        return {
            element, order, style, text: element.tagName === "text" ? element.textContent.trim() : "",
            kind: element.getAttribute("class") || "",
            box: element.getBoundingClientRect(),
            fill: paint(style.fill, style.fillOpacity, style.opacity),
            stroke: paint(style.stroke, style.strokeOpacity, style.opacity),
        };
    });
}
function covers(shape, x, y) {
    const box = shape.box;
    if (x < box.left || x > box.right || y < box.top || y > box.bottom) return false;
    return shape.element.isPointInFill(new DOMPoint(x, y).matrixTransform(shape.element.getScreenCTM().inverse()));
}
function behind(text, areas, x, y) {
    if (text.stroke && text.style.paintOrder.startsWith("stroke")) return text.stroke; // it has its own ground
    return areas.filter(area => area.order < text.order && covers(area, x, y)).reduce((below, area) => over(area.fill, below), [255, 255, 255, 1]);
}
function slanted(text) {
    return /rotate\((?!-90)/.test(text.element.getAttribute("transform") || "");
}

const found = new Set();
let count = 0;

function judge_texts(name, svg, parts) {
    const frame = svg.getBoundingClientRect(), areas = parts.filter(part => !part.text && part.fill && part.fill[3] > 0);
    const texts = parts.filter(part => part.text);
    for (const text of texts) {
        const { box } = text, said = name + ": '" + text.text.slice(0, 40) + "'";
        count++;
        for (const part of [0.1, 0.5, 0.9]) {
            const below = behind(text, areas, box.left + box.width * part, box.top + box.height / 2), ratio = contrast(over(text.fill, below), below);
            if (ratio < 4.5) found.add(said + " has a contrast of " + ratio.toFixed(2));
        }
        if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
            found.add(said + " leaves the figure");
    }
    const upright = texts.filter(text => !slanted(text));
    upright.forEach((one, k) => {
        for (const other of upright.slice(k + 1)) {
            const wide = Math.min(one.box.right, other.box.right) - Math.max(one.box.left, other.box.left);
            const high = Math.min(one.box.bottom, other.box.bottom) - Math.max(one.box.top, other.box.top);
            if (wide > 2 && high > 4) found.add(name + ": '" + one.text.slice(0, 40) + "' and '" + other.text.slice(0, 40) + "' stand over each other");
        }
    });
}
// Grid lines are no information; steps of a scale stand beside each other, and their numbers in the cells or in the table of the figure; an
// outline over cells has a light line and a dark one, and one of them is seen.
function judge_shapes(name, svg, parts) {
    const paper = read(getComputedStyle(svg.querySelector(".oc-paper")).fill);
    for (const shape of parts.filter(part => !part.text && !/\boc-(paper|grid|rim|gleam|[qd]\d+)\b/.test(part.kind))) {
        const seen = [shape.fill, shape.stroke].filter(colour => colour && colour[3] > 0).map(colour => contrast(over(colour, paper), paper));
        count++;
        if (seen.length && Math.max(...seen) < 3) found.add(name + ": ." + shape.kind + " has a contrast of " + Math.max(...seen).toFixed(2));
    }
}

document.querySelectorAll("figure svg").forEach((svg, k) => {
    const parts = parts_of(svg), name = "figure " + (k + 1);
    judge_texts(name, svg, parts);
    judge_shapes(name, svg, parts);
});
if (count < 20) found.add("only " + count + " parts of figures were looked at");
return [...found];
