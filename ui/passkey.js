// @ts-check
/**
 * Passkeys: fills in the forms that ask for one. "get" is to sign in, from a button or
 * from what the browser offers beside a field; "create" is to have another.
 */

const lifetime = 4 * 60_000; // milliseconds; a challenge is good for five minutes

const supported = typeof PublicKeyCredential === "function" && "parseRequestOptionsFromJSON" in PublicKeyCredential && "parseCreationOptionsFromJSON" in PublicKeyCredential;

/** What waits for an answer now; the browser lets one wait at a time. */
let waiting = new AbortController();

if (supported) {
  for (const form of document.querySelectorAll("form[data-passkey]")) if (form instanceof HTMLFormElement) attach(form);
  const known = document.querySelector("[data-known-passkeys]");
  if (known instanceof HTMLElement) tell(known.dataset.knownPasskeys ?? "");
}

/** @param {HTMLFormElement} form */
function attach(form) {
  form.hidden = false;
  form.addEventListener("submit", (event) => {
    if (field(form, "credential").value) return;
    event.preventDefault();
    waiting.abort();
    form.dataset.passkey === "create" ? create(form) : get(form);
  });
  if (form.dataset.autofill !== undefined) autofill(form);
}

/**
 * @param {HTMLFormElement} form
 * @param {string} name
 */
function field(form, name) {
  let input = form.elements.namedItem(name);
  if (!(input instanceof HTMLInputElement)) {
    input = document.createElement("input");
    input.setAttribute("type", "hidden");
    input.setAttribute("name", name);
    form.append(input);
  }
  return /** @type {HTMLInputElement} */ (input);
}

/** Whether the device can keep passkeys itself, so that offering one is no riddle. */
const able = supported ? PublicKeyCredential.isUserVerifyingPlatformAuthenticatorAvailable().catch(() => false) : Promise.resolve(false);

/**
 * Asks what to ask the browser; null if the server does not say.
 * @param {HTMLFormElement} form
 */
async function options(form) {
  const body = new URLSearchParams((await able) ? { able: "1" } : {});
  for (const [name, value] of new FormData(form)) if (typeof value === "string") body.set(name, value);
  const answer = await fetch(form.dataset.options ?? "", { method: "POST", body, redirect: "manual", headers: { Accept: "application/json" } });
  return answer.ok ? answer.json() : null;
}

/**
 * @param {HTMLFormElement} form
 * @param {Credential | null} credential
 * @param {string} [state]
 */
function send(form, credential, state) {
  if (!(credential instanceof PublicKeyCredential)) return;
  if (state) field(form, "state").value = state;
  field(form, "credential").value = JSON.stringify(credential.toJSON());
  form.requestSubmit();
}

/**
 * Whoever closes the browser's window has changed their mind, and is told nothing.
 * @param {HTMLFormElement} form
 * @param {unknown} error
 */
function fail(form, error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "AbortError") return;
  const place = form.querySelector(".error");
  if (place instanceof HTMLElement && name !== "NotAllowedError") {
    place.textContent = (name === "InvalidStateError" ? form.dataset.exists : form.dataset.failed) ?? "";
    place.hidden = false;
  }
  if (form.dataset.autofill !== undefined) autofill(form);
}

/** @param {HTMLFormElement} form */
async function get(form) {
  try {
    const asked = await options(form);
    if (!asked) throw new Error("no options");
    const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked.publicKey);
    waiting = new AbortController();
    send(form, await navigator.credentials.get({ publicKey, signal: waiting.signal }), asked.state);
  } catch (error) {
    fail(form, error);
  }
}

/** @param {HTMLFormElement} form */
async function create(form) {
  try {
    const asked = await options(form);
    if (!asked) return form.submit(); // the server shows what comes first, such as signing in again
    const publicKey = PublicKeyCredential.parseCreationOptionsFromJSON(asked.publicKey);
    waiting = new AbortController();
    send(form, await navigator.credentials.create({ publicKey, signal: waiting.signal }));
  } catch (error) {
    fail(form, error);
  }
}

/**
 * Has the browser offer passkeys beside the field for the name, with a challenge that
 * is never old.
 * @param {HTMLFormElement} form
 */
async function autofill(form) {
  try {
    if (!(await PublicKeyCredential.isConditionalMediationAvailable?.())) return;
    for (;;) {
      const asked = await options(form);
      if (!asked) return;
      const publicKey = PublicKeyCredential.parseRequestOptionsFromJSON(asked.publicKey);
      const mine = (waiting = new AbortController());
      let old = false;
      const timer = setTimeout(() => {
        old = true;
        mine.abort();
      }, lifetime);
      try {
        return send(form, await navigator.credentials.get({ publicKey, mediation: "conditional", signal: mine.signal }), asked.state);
      } catch (error) {
        if (!old) throw error;
      } finally {
        clearTimeout(timer);
      }
    }
  } catch {
    // What the browser offers by itself is missed by nobody; the button remains.
  }
}

/**
 * Tells the browser which passkeys there are, so that it stops offering others.
 * @param {string} text
 */
async function tell(text) {
  const signal = /** @type {any} */ (PublicKeyCredential).signalAllAcceptedCredentials;
  if (!signal || !text) return;
  try {
    await signal.call(PublicKeyCredential, JSON.parse(text));
  } catch {
    // It is a courtesy; a passkey that is gone is refused in any case.
  }
}
