// SPDX-License-Identifier: MIT
// Formats numbers for reading, with the same words as the terminal.

const UNITS = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];

// 9921664 -> "9.92 MB"
export function bytes(number) {
    if (!Number.isFinite(number)) return "–";
    let unit = 0;
    while (number >= 999.5 && unit + 1 < UNITS.length) {
        number /= 1000;
        unit++;
    }
    return (unit ? number.toPrecision(3) : String(Math.round(number))) + " " + UNITS[unit];
}

// 1234567 -> "1,234,567"
export function count(number) {
    return Number.isFinite(number) ? number.toLocaleString("en-GB") : "–";
}

// counted(1, "tensor") -> "1 tensor"
export function counted(number, thing) {
    return count(number) + " " + thing + (number === 1 ? "" : "s");
}

// 4000 s -> "1 h 6 min"
export function duration(seconds) {
    if (!Number.isFinite(seconds) || seconds < 0) return "–";
    if (seconds < 10) return seconds.toFixed(1) + " s";
    if (seconds < 60) return Math.round(seconds) + " s";
    const minutes = Math.floor(seconds / 60);
    if (minutes < 60) return minutes + " min " + Math.round(seconds % 60 - 0.5) + " s";
    const hours = Math.floor(minutes / 60);
    if (hours < 48) return hours + " h " + minutes % 60 + " min";
    return Math.floor(hours / 24) + " d " + hours % 24 + " h";
}

// Formats seconds since 1970, or a time in ISO 8601, as "2024-05-31 09:30" in the time zone of the browser.
export function moment(time) {
    const date = typeof time === "number" ? new Date(time * 1000) : new Date(time || NaN);
    if (Number.isNaN(date.getTime())) return "–";
    const two = number => String(number).padStart(2, "0");
    return date.getFullYear() + "-" + two(date.getMonth() + 1) + "-" + two(date.getDate()) + " " +
        two(date.getHours()) + ":" + two(date.getMinutes());
}

// [2048, 320] -> "2048 × 320"
export function shape(extents) {
    return extents && extents.length ? extents.join(" × ") : "scalar";
}
