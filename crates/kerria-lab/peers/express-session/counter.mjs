// A counter with express-session: `node counter.mjs PORT STORE`, where the store is `memory` or the URL of a Redis server.
import { RedisStore } from 'connect-redis'
import express from 'express'
import session from 'express-session'
import { createClient } from 'redis'

const [port, url] = process.argv.slice(2)
let store
if (url !== 'memory') {
  const client = createClient({ url })
  await client.connect()
  store = new RedisStore({ client })
}
const app = express()
app.use(session({ store, secret: 'of a benchmark', resave: false, saveUninitialized: false }))
app.get('/read', (request, response) => response.send(String(request.session.visits ?? 0)))
app.get('/count', (request, response) => {
  request.session.visits = (request.session.visits ?? 0) + 1
  response.send(String(request.session.visits))
})
app.listen(Number(port), '127.0.0.1')
