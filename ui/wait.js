// @ts-check
/** Goes on by itself when the link of the mail was opened elsewhere. */

const every = 3000; // milliseconds
const longest = 15 * 60_000; // a link lives for ten minutes

const form = document.querySelector("form[data-wait-url]");
if (form instanceof HTMLFormElement) wait(form, form.dataset.waitUrl ?? "");

/**
 * @param {HTMLFormElement} form
 * @param {string} address
 */
async function wait(form, address) {
  const end = performance.now() + longest;
  while (performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, every));
    if (document.hidden || form.ownerDocument.querySelector("form[data-sent]")) continue;
    try {
      const answer = await fetch(address, { headers: { Accept: "application/json" }, redirect: "error" });
      if (answer.status === 200) return form.requestSubmit();
      if (answer.status >= 400 && answer.status < 500 && answer.status !== 429) return; // nothing to wait for
    } catch {
      // Offline for a moment: the next try may do.
    }
  }
}
