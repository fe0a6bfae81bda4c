/**
 * Takes pictures of every hosted page, in every state that there is a sample of, into
 * the folder that is its argument:
 *
 *   360-light-en/sign-in.png, 1280-dark-en/sign-in.png, 360-light-ar/sign-in.png, …
 */
import { mkdir } from 'node:fs/promises'
import path from 'node:path'
import { launch } from './chromium.js'
import { serveSamples, stay } from './samples.js'

const [folder] = process.argv.slice(2)
if (!folder) throw new Error('usage: node screenshots.js FOLDER')

const [browser, samples] = await Promise.all([launch(), serveSamples()])
try {
  for (const lang of ['en', 'ar']) {
    for (const colorScheme of ['light', 'dark']) {
      for (const width of [360, 1280]) {
        const context = await browser.newContext({ colorScheme, viewport: { width, height: width === 360 ? 720 : 800 }, reducedMotion: 'reduce' })
        const page = await context.newPage()
        await page.addInitScript(stay)
        const into = path.join(folder, `${width}-${colorScheme}-${lang}`)
        await mkdir(into, { recursive: true })
        for (const name of samples.names) {
          await page.goto(`${samples.url}${name}?lang=${lang}`)
          await page.screenshot({ path: path.join(into, name + '.png'), fullPage: true })
        }
        await context.close()
        console.log(into)
      }
    }
  }
} finally {
  await browser.close()
  await samples.close()
}
