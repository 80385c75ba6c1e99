// Print each ecg.processed once: npm install amqplib && node subscriber.mjs amqp://guest:guest@localhost/

import amqp from "amqplib"; // 2.3 or later

const NAMESPACE = process.env.ISOLINE_AMQP_NAMESPACE ?? "";
const EXCHANGE = `${NAMESPACE}ecg.events`;
const QUEUE = `${NAMESPACE}sub.example.javascript`;
const seen = new Set(); // delivery is at least once; a real service keeps the ids with what it stores

function readEvent(body) {
  try {
    const event = JSON.parse(body);
    return typeof event?.id === "string" ? event : null;
  } catch {
    return null;
  }
}

async function work(event) {
  console.log(JSON.stringify(event));
}

async function handle(channel, message) {
  const event = readEvent(message.content);
  if (event === null) {
    // Given back it would come again for ever.
    console.error(`unreadable: ${JSON.stringify(message.content.toString().slice(0, 80))}`);
    channel.reject(message, false); // to the queue's dead-letter exchange, if a policy gives it one
    return;
  }
  if (!seen.has(event.id)) {
    await work(event);
    seen.add(event.id);
  }
  channel.ack(message);
}

// Called for each connection. What is not acknowledged when it ends comes again by the next one.
async function subscribe(connection) {
  let isOpen = true;
  const end = (error) => {
    if (isOpen) console.error(`ending the connection: ${error.message}`);
    isOpen = false;
    connection.close().catch(() => {}); // it may be closed already
  };
  connection.on("error", () => {}); // "close" follows
  connection.on("close", () => (isOpen = false));
  const channel = await connection.createChannel();
  channel.on("error", end);
  await channel.checkExchange(EXCHANGE); // Isoline's; ours to bind to, not to make
  await channel.assertQueue(QUEUE, { durable: true, arguments: { "x-queue-type": "quorum" } });
  await channel.bindQueue(QUEUE, EXCHANGE, "ecg.processed");
  await channel.prefetch(100);
  let last = Promise.resolve(); // events are handled one after the other
  await channel.consume(QUEUE, (message) => {
    if (message === null) end(new Error("the queue was deleted"));
    else last = last.then(() => isOpen && handle(channel, message)).catch(end);
  });
}

const url = new URL(process.argv[2]);
url.searchParams.set("heartbeat", "15"); // seconds; a broker that vanished is noticed in twice that
const connection = await amqp.connect(url.href, {
  timeout: 10_000,
  recovery: { initialDelay: 1000, maxDelay: 10_000, setup: subscribe, waitForConnect: false },
});
connection.on("error", () => {}); // "disconnect" follows
connection.on("disconnect", (error) => console.error(`disconnected: ${error.message}`));
connection.on("connect-failed", (error) => console.error(`no connection: ${error.message}`));
