// node-postgres with its defaults: texts, parameters, named queries, its pool, notifications.
// Arguments: host, port, number (telling.py says what of).
'use strict'

const { createRequire } = require('module')
const { Client, Pool } = createRequire(process.cwd() + '/')('pg')

const [host, port, n] = [process.argv[2], Number(process.argv[3]), Number(process.argv[4])]
const target = { host, port, user: 'app', database: 'app' }
const pids = new Set()

const tell = (...values) => console.log(values.map((value) => JSON.stringify(value)).join(' '))
const tellError = (error) => console.log(`${error.code ?? ''}: ${error.message}`)

async function chapter(title, body) {
  console.log(`# ${title}`)
  try {
    await body()
  } catch (error) {
    tellError(error)
  }
}

async function ask(client, ...query) {
  const result = await client.query(...query)
  return [result.command, result.rowCount, result.rows]
}

async function queries(client) {
  await chapter('texts and parameters', async () => {
    for (let i = 0; i < 6; i++) {
      tell(await ask(client, `SELECT ${n} AS n`))
      tell(await ask(client, `SELECT ${n} * 100 + $1::int AS n, $2::text AS t`, [i, 'x']))
      for (let j = 0; j < 2; j++) pids.add((await client.query('SELECT pg_backend_pid() AS pid')).rows[0].pid)
    }
  })
  await chapter('named queries', async () => {
    for (let i = 0; i < 8; i++) {
      tell(await ask(client, { name: 'one', text: `SELECT ${n} + $1::int AS n`, values: [i] }))
      tell(await ask(client, { name: 'other', text: `SELECT ${n} - $1::int AS n`, values: [i], rowMode: 'array' }))
    }
  })
  await chapter('a name with another text', async () => {
    tell(await ask(client, { name: 'one', text: 'SELECT 0 AS n', values: [] }))
  })
  await chapter('a named query that fails', async () => {
    for (const divisor of [1, 0, 2, 0, 3]) {
      try {
        tell(await ask(client, { name: 'divide', text: `SELECT ${n} * 6 / $1::int AS n`, values: [divisor] }))
      } catch (error) {
        tellError(error)
      }
    }
    for (const text of ['SELECT nothing', `SELECT ${n} AS n`]) {
      try {
        tell(await ask(client, { name: 'wrong first', text }))
      } catch (error) {
        tellError(error)
      }
    }
  })
  await chapter('queries that are not waited for', async () => {
    const asked = []
    for (let i = 0; i < 12; i++) {
      asked.push(ask(client, { name: `ahead ${i % 3}`, text: `SELECT ${i % 3}, ${n} + $1::int AS n`, values: [i] }))
    }
    for (const answer of await Promise.all(asked)) tell(answer)
  })
  await chapter('several statements', async () => {
    const results = await client.query(`SELECT ${n} AS a; SELECT 2 AS b`)
    tell(results.map((result) => result.rows))
  })
}

async function transactions(client) {
  await chapter('transactions', async () => {
    await client.query(`CREATE TABLE node_${n} (n int, t text)`)
    for (const last of ['COMMIT', 'ROLLBACK', 'COMMIT']) {
      await client.query('BEGIN')
      for (let i = 0; i < 4; i++) {
        await client.query({ name: 'insert', text: `INSERT INTO node_${n} VALUES ($1, $2)`, values: [i, `${n}.${i}`] })
      }
      await client.query('SAVEPOINT a')
      await client.query('SELECT 1/0').catch(tellError)
      await client.query('ROLLBACK TO a')
      tell(await ask(client, `SELECT sum(n), max(t) FROM node_${n}`))
      await client.query(last)
    }
    tell(await ask(client, `SELECT count(*) FROM node_${n}`))
    await client.query(`DROP TABLE node_${n}`)
  })
  await chapter('settings', async () => {
    await client.query(`SET TIME ZONE ${n}`)
    for (let i = 0; i < 4; i++) tell(await ask(client, "SELECT '2020-01-01 00:00+0'::timestamptz::text AS t"))
    await client.query('RESET ALL')
    tell(await ask(client, 'SHOW TimeZone'))
  })
  await chapter('a cursor', async () => {
    await client.query('BEGIN')
    await client.query(`DECLARE c CURSOR FOR SELECT generate_series(1, ${20 * n}) AS n`)
    for (let i = 0; i < 3; i++) tell(await ask(client, 'FETCH 7 FROM c'))
    await client.query('COMMIT')
  })
  await chapter('a temporary table', async () => {
    await client.query('CREATE TEMP TABLE mine (n int)')
    for (let i = 0; i < 4; i++) {
      await client.query('INSERT INTO mine VALUES ($1)', [i * n])
      tell(await ask(client, 'SELECT sum(n) FROM mine'))
    }
    await client.query('DROP TABLE mine')
  })
}

async function notifications(client) {
  await chapter('notifications', async () => {
    const heard = []
    let awake = () => {}
    client.on('notification', (message) => {
      heard.push([message.channel, message.payload])
      awake()
    })
    await client.query(`LISTEN node_${n}`)
    const other = new Client(target)
    await other.connect()
    for (let i = 0; i < 3; i++) await other.query('SELECT pg_notify($1, $2)', [`node_${n}`, `${i} of ${n}`])
    await other.end()
    while (heard.length < 3) await new Promise((resolve) => (awake = resolve))
    tell(heard)
    await client.query('UNLISTEN *')
  })
}

async function pools() {
  await chapter('its pool', async () => {
    const options = `-c work_mem=${n}MB`
    const pool = new Pool({ ...target, max: 3, options, application_name: `client ${n}` })
    const query = {
      name: 'pooled',
      text: "SELECT $1::int AS i, current_setting('work_mem') AS m, current_setting('application_name') AS a",
    }
    const answers = await Promise.all([...Array(15).keys()].map((i) => ask(pool, { ...query, values: [i] })))
    for (const answer of answers) tell(answer)
    await pool.end()
  })
  await chapter('a time-out', async () => {
    const client = new Client({ ...target, statement_timeout: 200 })
    await client.connect()
    await client.query('SELECT pg_sleep(60)').catch(tellError)
    tell(await ask(client, 'SHOW statement_timeout'))
    await client.end()
  })
}

async function main() {
  const client = new Client(target)
  await client.connect()
  await queries(client)
  await transactions(client)
  await notifications(client)
  await pools()
  await client.end()
  console.error(pids.size)
}

main()
