import { createServer } from 'node:http'

/**
 * Takes a port for an application, whose address must be known before the
 * application can be registered. "serve" then says what answers.
 */
export async function listen() {
  const server = createServer()
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://localhost:${server.address().port}`,
    serve: (handler) => server.on('request', handler),
    close() {
      server.closeAllConnections()
      return new Promise((resolve) => server.close(resolve))
    },
  }
}
