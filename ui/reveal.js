// @ts-check
/** Shows a password to whoever types it, and hides it again before it is sent. */

for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("[data-reveal]"))) {
  const input = document.getElementById(button.dataset.reveal ?? "");
  if (!(input instanceof HTMLInputElement)) continue;
  const words = { show: button.textContent, hide: button.dataset.hide ?? "" };
  /** @param {boolean} visible */
  const set = (visible) => {
    input.type = visible ? "text" : "password";
    button.textContent = visible ? words.hide : words.show;
    button.setAttribute("aria-pressed", String(visible));
  };
  button.hidden = false;
  button.addEventListener("click", () => {
    set(input.type === "password");
    input.focus();
  });
  // A browser offers to keep what is sent as a password, and remembers the rest.
  input.form?.addEventListener("submit", () => set(false));
}
