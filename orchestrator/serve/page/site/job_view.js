// SPDX-License-Identifier: MIT
// One job, and the files that it wrote.
import { make, set } from "./elements.js";
import { formAddressWith } from "./form_view.js";
import { jobPanel } from "./job_panel.js";
import { ask } from "./wire.js";

// View of #/jobs/ID: fills `place` with the job and a link to repeat it, and returns the title.
export async function showJob(place, address, signal) {
    const job = await ask("/jobs/" + encodeURIComponent(address.name), signal);
    const again = one => make("a", { class: "button", href: formAddressWith(one.verb, one.arguments) }, "Repeat …");
    const panel = await jobPanel(job.id, signal, again);
    set(place, make("p", null, make("a", { href: "#/jobs" }, "All jobs")), make("h1", null, job.verb), panel);
    return job.verb + ", job " + job.id;
}
