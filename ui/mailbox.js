// @ts-check
/** Shows messages as they come, while somebody looks. */

const every = 3000; // milliseconds
const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });
const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const exact = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "long" });

/**
 * Tells times in the reader's own zone.
 * @param {ParentNode} part
 */
function tell(part) {
  for (const time of part.querySelectorAll("time")) {
    const at = new Date(time.dateTime);
    time.textContent = (at.toDateString() === new Date().toDateString() ? clock : moment).format(at);
    time.title = exact.format(at);
  }
}

/** @returns {Promise<Document>} the page as it would be now */
async function fetchPage() {
  const answer = await fetch(location.href, { headers: { Accept: "text/html" } });
  if (!answer.ok) throw new Error(String(answer.status));
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

async function refresh() {
  if (document.visibilityState === "hidden" || document.activeElement instanceof HTMLInputElement) return;
  const page = await fetchPage();
  const now = page.querySelector("[data-letters]");
  const shown = document.querySelector("[data-letters]");
  /** @param {Element | null} list */
  const newest = (list) => list?.querySelector("a")?.getAttribute("href");
  if (!now || !shown || newest(now) === newest(shown)) return;
  if (!document.body.classList.contains("picked")) {
    location.reload();
    return;
  }
  tell(now);
  shown.replaceWith(now); // what is being read stays
}

tell(document);

// The server may be restarting: try again, it is a developer's.
setInterval(() => refresh().catch(() => {}), every);
document.addEventListener("visibilitychange", () => refresh().catch(() => {}));
