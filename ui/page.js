// @ts-check
/**
 * What scripts add to a page. Each part finds its elements by a data attribute and
 * leaves a page without them alone; every page works without any of it.
 */
import "./once.js";
import "./reveal.js";
import "./code.js";
import "./resend.js";
import "./times.js";
import "./wait.js";
import "./send.js";
import "./menu.js";
import "./passkey.js";
import "./copy.js";
