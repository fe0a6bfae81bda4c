/**
 * Chromium, as the system has it. CARDEA_CHROMIUM names the program; without it the
 * usual names are tried.
 */
import { execFileSync } from 'node:child_process'
import { chromium } from 'playwright-core'

function program() {
  if (process.env.CARDEA_CHROMIUM) return process.env.CARDEA_CHROMIUM
  for (const name of ['chromium', 'chromium-browser', 'google-chrome']) {
    try {
      return execFileSync('which', [name], { encoding: 'utf8' }).trim()
    } catch {
      // the next one
    }
  }
  throw new Error('Chromium is missing: set CARDEA_CHROMIUM to the program')
}

/** Starts the browser. Each test makes contexts in it, which share nothing. */
export function launch(args = []) {
  return chromium.launch({ executablePath: program(), chromiumSandbox: process.getuid?.() !== 0, args })
}
