// A webhook receiver with Express. docs/receivers.md explains each step.
//
//     npm ci
//     WEBHOOK_SECRET=whsec_… node receiver.js 8080

import express from "express";
import { Webhook } from "standardwebhooks";

const app = express();
const webhook = new Webhook(process.env.WEBHOOK_SECRET);

// In memory, for one process: a restart forgets both. In production, insert into a database table that is unique by
// webhook-id, and let the worker read from it. One insert then remembers the id and keeps the outcome.
const seen = new Set();
const inbox = [];

// The bytes as they arrived, because the signature is over them. Express's own limit is 100 kB; a direct invocation
// carries up to 6 MB, a queue up to 1 MiB.
app.post("/webhook", express.raw({ type: "application/json", limit: "6mb" }), (request, response) => {
  let outcome;
  try {
    // Timestamps more than 5 minutes away are refused.
    outcome = webhook.verify(request.body, request.headers);
  } catch (error) {
    console.warn("refused: %s", error.message);
    // 401 is tried again, so that a wrong secret costs no alert. 400 would never be sent again.
    return response.status(401).json({ error: "the signature is not valid" });
  }

  const id = request.get("webhook-id");
  if (seen.has(id)) {
    console.log("duplicate %s", id);
    return response.json({ status: "duplicate" });
  }
  inbox.push(outcome);
  seen.add(id);
  // Answer first, work later: the work's own failure must not make the sender repeat the alert.
  response.status(202).json({ status: "accepted" });
  setImmediate(work);
});

function work() {
  while (inbox.length > 0) {
    try {
      handle(inbox.shift());
    } catch (error) {
      console.error("an outcome could not be processed:", error);
    }
  }
}

function handle(outcome) {
  // The test message of a probe has neither detection_id nor outcome.
  if (outcome.detection_id === undefined) {
    console.log("test message");
    return;
  }
  console.log("processed %s, %s: %s", outcome.run_id, outcome.outcome, outcome.detection_name);
  // Here: create an incident, forward to the SIEM.
}

const server = app.listen(Number(process.argv[2] ?? 8080), "127.0.0.1");
// The sender keeps an idle connection for 4 s. Closing it later than the sender does leaves no request on a closed one.
server.keepAliveTimeout = 10_000;
