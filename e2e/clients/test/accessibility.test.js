/**
 * Nothing on a hosted page keeps anybody out: axe finds nothing serious on any page
 * in any state, bright and dark, from left to right and from right to left, and
 * nothing is wider than a small telephone.
 */
import assert from 'node:assert/strict'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import { after, before, describe, test } from 'node:test'
import { launch } from '../chromium.js'
import { serveSamples, stay } from '../samples.js'

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8')

/** What is seriously wrong with a page. */
async function scanned(page) {
  await page.evaluate(axe)
  const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'], iframes: false }))
  return violations
    .filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .map(({ id, help, nodes }) => `${id}, ${help}: ${nodes.map((node) => node.html.slice(0, 200)).join(' | ')}`)
}

describe('accessibility', { concurrency: true }, () => {
  let browser, samples
  before(async () => { [browser, samples] = await Promise.all([launch(), serveSamples()]) })
  after(async () => { await browser.close(); await samples.close() })

  const looks = [
    { name: 'bright, wide', colorScheme: 'light', width: 1280, lang: 'en', scan: true },
    { name: 'dark, narrow, Arabic', colorScheme: 'dark', width: 360, lang: 'ar', scan: true },
    { name: 'narrow, German, whose words are long', colorScheme: 'light', width: 360, lang: 'de', scan: false },
  ]
  for (const { name, colorScheme, width, lang, scan } of looks) {
    test(name, async () => {
      assert.ok(samples.names.length > 30, `there are only ${samples.names.length} samples: ${samples.names}`)
      // Our policy forbids scripts from elsewhere, and so axe.
      const context = await browser.newContext({ colorScheme, viewport: { width, height: 800 }, bypassCSP: true, reducedMotion: 'reduce' })
      const page = await context.newPage()
      await page.addInitScript(stay)
      const faults = []
      for (const sample of samples.names) {
        await page.goto(`${samples.url}${sample}?lang=${lang}`)
        const overflow = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth)
        if (overflow > 0) faults.push(`${sample}: ${overflow} pixels too wide`)
        if (scan) faults.push(...(await scanned(page)).map((fault) => `${sample}: ${fault}`))
      }
      await context.close()
      assert.deepEqual(faults, [])
    })
  }
})
