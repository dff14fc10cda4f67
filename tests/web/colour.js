// SPDX-License-Identifier: MIT
// Colours as the page computes them, and the contrast of two of them. Goes before what judges by it.

// "rgb(1, 2, 3)", "rgba(1, 2, 3, 0.5)" -> [r, g, b, a]
function read(colour) {
    const numbers = (colour.match(/[\d.]+/g) || [0, 0, 0, 0]).map(Number);
    return [numbers[0], numbers[1], numbers[2], numbers.length > 3 ? numbers[3] : 1];
}
function over(top, below) {
    return [0, 1, 2].map(k => top[k] * top[3] + below[k] * (1 - top[3])).concat(1);
}
function luminance(colour) {
    const [r, g, b] = colour.slice(0, 3).map(value => value / 255).map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function contrast(one, other) {
    const [high, low] = [luminance(one), luminance(other)].sort((a, b) => b - a);
    return (high + 0.05) / (low + 0.05);
}
