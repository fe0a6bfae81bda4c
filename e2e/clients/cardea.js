/**
 * The installation under test, as those who build applications see it: its address,
 * its management API, and the mailbox of the developer mode.
 *
 * CARDEA_BOOTSTRAP names the bootstrap.json of the server; without it that of
 * "make run" is taken.
 */
import { readFile } from 'node:fs/promises'
import { setTimeout as pause } from 'node:timers/promises'

const file = process.env.CARDEA_BOOTSTRAP ?? new URL('../../.cardea/bootstrap.json', import.meta.url)

export const bootstrap = JSON.parse(await readFile(file, 'utf8'))
export const issuer = bootstrap.public_url

/** The owner of the demo tenant, who has a password. */
export const owner = { email: bootstrap.owner.email, password: bootstrap.owner.password }

/** Calls the management API and returns what it answers. */
export async function api(method, path, body) {
  const response = await fetch(issuer + '/api/v1' + path, {
    method,
    headers: { authorization: `Bearer ${bootstrap.api_key}`, 'content-type': 'application/json' },
    body: body && JSON.stringify(body),
  })
  const text = await response.text()
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${text}`)
  return text && JSON.parse(text)
}

/** Registers an application; oauth is how it takes part in OAuth. */
export function createApplication(name, redirectURIs, oauth = {}, more = {}) {
  return api('POST', '/applications', { name, redirect_uris: redirectURIs, oauth, ...more })
}

let people = 0

/**
 * Makes a user of a new address. Everybody gets few mails, so tests that want one
 * make somebody for it.
 */
export async function createUser(change = {}) {
  const email = `person.${process.pid}.${++people}@example.com`
  const user = await api('POST', '/users', { email, first_name: 'Ada', last_name: 'Lovelace', email_verified: true, ...change })
  return { email, id: user._id }
}

/** Returns the messages to an address, newest first; not the news of what happened to an account. */
export async function messages(to) {
  const response = await fetch(`${issuer}/dev/mailbox?to=${encodeURIComponent(to)}`, { headers: { accept: 'application/json' } })
  if (!response.ok) throw new Error(`mailbox: ${response.status} ${await response.text()}`)
  return (await response.json()).filter((message) => !message.text.includes('/signin/not-me?'))
}

/** Waits for a message to an address that has had so many before, and returns it. */
export async function nextMessage(to, had = 0) {
  for (const end = Date.now() + 15_000; Date.now() < end; await pause(25)) {
    const all = await messages(to)
    if (all.length > had) return all[0]
  }
  throw new Error(`no message to ${to} came in time`)
}

/** The code of a message. */
export function codeOf(message) {
  const found = /(?<!\d)(\d{3})\s?(\d{3})(?!\d)/.exec(message.text)
  if (!found) throw new Error('there is no code in: ' + message.text)
  return found[1] + found[2]
}

/** The address in a message that leads to a path of the installation. */
export function linkOf(message, path) {
  const found = message.text.match(/https?:\/\/[^\s<>"]+/g)?.find((link) => new URL(link).pathname === path)
  if (!found) throw new Error(`there is no link to ${path} in: ` + message.text)
  return found
}
