// @ts-check
/** Keeps "5 minutes ago" true, and tells the exact time in the reader's own zone. */

const language = document.documentElement.lang;
const relative = new Intl.RelativeTimeFormat(language, { numeric: "always" });
const exact = new Intl.DateTimeFormat(language, { dateStyle: "long", timeStyle: "short" });
/** @type {[Intl.RelativeTimeFormatUnit, number][]} */
const units = [["day", 86400], ["hour", 3600], ["minute", 60]];
const longest = 30 * 86400; // seconds; what is older is told as a date by the server

const times = /** @type {NodeListOf<HTMLTimeElement>} */ (document.querySelectorAll("time[data-ago]"));

function tell() {
  for (const time of times) {
    const seconds = (Date.now() - Date.parse(time.dateTime)) / 1000;
    const unit = units.find(([, size]) => seconds >= size);
    if (unit && seconds <= longest) time.textContent = relative.format(-Math.floor(seconds / unit[1]), unit[0]);
  }
}

for (const time of times) time.title = exact.format(new Date(time.dateTime));
if (times.length > 0) setInterval(tell, 60_000);
