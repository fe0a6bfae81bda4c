// @ts-check
/** Copies a value that is to be put somewhere else. */

const shown = 2000; // milliseconds

for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-copy]"))) {
  const value = button.dataset.copy ?? "";
  const words = button.firstChild;
  if (!navigator.clipboard || !words) continue; // without https there is none
  const before = words.textContent;
  button.hidden = false;
  button.addEventListener("click", async () => {
    await navigator.clipboard.writeText(value);
    words.textContent = button.dataset.copied ?? "";
    setTimeout(() => (words.textContent = before), shown);
  });
}
