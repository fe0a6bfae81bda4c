/**
 * The sample pages of package page: every hosted page, in states that a test would
 * take long to reach.
 */
import { execFile, spawn } from 'node:child_process'
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import path from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'

const root = fileURLToPath(new URL('../../', import.meta.url))

async function freePort() {
  const server = createServer()
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address()
  await new Promise((resolve) => server.close(resolve))
  return port
}

/** Serves the samples. "names" are their paths below "url". */
export async function serveSamples() {
  const dir = await mkdtemp(path.join(tmpdir(), 'cardea-samples-'))
  const program = path.join(dir, 'page.test')
  await promisify(execFile)('go', ['test', '-c', '-o', program, './internal/page'], { cwd: root })
  const address = `127.0.0.1:${await freePort()}`
  const server = spawn(program, ['-serve', address], { stdio: 'inherit' })
  const close = async () => {
    server.kill()
    await rm(dir, { recursive: true })
  }
  const url = `http://${address}/`
  for (const end = Date.now() + 10_000; ; await pause(20)) {
    try {
      const response = await fetch(url)
      return { url, names: (await response.text()).trim().split('\n'), close }
    } catch (fault) {
      if (Date.now() < end && server.exitCode === null) continue
      await close()
      throw fault
    }
  }
}

/** Keeps a page from sending its forms by itself, for page.addInitScript. */
export function stay() {
  HTMLFormElement.prototype.submit = HTMLFormElement.prototype.requestSubmit = () => {}
}
