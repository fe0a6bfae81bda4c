// @ts-check
/** Takes a code however it is pasted, and sends it as soon as it is whole. */

for (const input of /** @type {NodeListOf<HTMLInputElement>} */ (document.querySelectorAll("input[data-digits]"))) {
  const length = Number(input.dataset.digits);
  let sent = input.value; // one that was refused is not sent again by itself
  /** @param {string} text */
  const digitsOf = (text) => text.normalize("NFKC").replace(/[^0-9]/g, "");
  /** @param {string} text */
  const take = (text) => {
    const digits = digitsOf(text).slice(0, length);
    if (digits !== input.value) input.value = digits;
    if (digits.length !== length || digits === sent) return;
    sent = digits;
    input.form?.requestSubmit();
  };
  input.addEventListener("input", (event) => {
    if (!(event instanceof InputEvent && event.isComposing)) take(input.value);
  });
  // Before maxlength cuts it: people copy the whole line of the mail.
  input.addEventListener("paste", (event) => {
    const text = event.clipboardData?.getData("text") ?? "";
    if (digitsOf(text).length !== length) return;
    event.preventDefault();
    take(text);
  });
}
