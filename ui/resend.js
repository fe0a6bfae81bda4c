// @ts-check
/** Counts down to when something may be sent again. */

for (const button of /** @type {NodeListOf<HTMLButtonElement>} */ (document.querySelectorAll("button[data-wait]"))) {
  const until = performance.now() + Number(button.dataset.wait) * 1000;
  const label = button.textContent;
  const waiting = button.dataset.waiting ?? "";
  const show = () => {
    const left = Math.ceil((until - performance.now()) / 1000);
    if (left <= 0) {
      clearInterval(timer);
      button.disabled = false;
      button.textContent = label;
      return;
    }
    const clock = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    button.disabled = true;
    button.textContent = waiting.replace("{clock}", clock);
  };
  const timer = setInterval(show, 1000);
  show();
}
