// @ts-check
/** Goes on by itself from pages that are only a step on the way. */

const form = document.querySelector("form[data-send-itself]");
if (form instanceof HTMLFormElement) form.requestSubmit();

// Applications are told of the sign-out in frames; slow ones are not waited for.
const link = document.querySelector("a[data-after-frames]");
if (link instanceof HTMLAnchorElement) {
  const loaded = [...document.querySelectorAll("iframe")].map((frame) => new Promise((resolve) => frame.addEventListener("load", resolve, { once: true })));
  const patience = new Promise((resolve) => setTimeout(resolve, 3000));
  Promise.race([Promise.all(loaded), patience]).then(() => location.replace(link.href));
}
