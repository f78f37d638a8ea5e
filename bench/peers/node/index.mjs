// The same job as people would write it for Node.js: look up, sign, POST, log a line. The loop at the end stands for
// Lambda's own, whose source Node.js cannot run outside of it without a compiler.

import { createHash, createHmac } from "node:crypto";
import { readFileSync } from "node:fs";

const [kind, place] = process.env.DESTINATIONS.split(/:(.*)/);
let client, sdk;
if (kind === "secretsmanager") {
  sdk = await import("@aws-sdk/client-secrets-manager");
  client = new sdk.SecretsManagerClient();
} else if (kind === "dynamodb") {
  sdk = await import("@aws-sdk/client-dynamodb");
  client = new sdk.DynamoDBClient();
}

let known;
async function lookUp() {
  if (kind === "file") return JSON.parse(readFileSync(place, "utf8"));
  return JSON.parse((await client.send(new sdk.GetSecretValueCommand({ SecretId: place }))).SecretString);
}

async function item(key) {
  const answer = await client.send(new sdk.GetItemCommand({ TableName: place, Key: { pk: { S: key } } }));
  return JSON.parse(answer.Item["x-json"].S);
}

async function destinations(outcome) {
  if (kind === "dynamodb") {
    const ids = await item("route#*");
    return Promise.all(ids.map(async (id) => [id, await item(`destination#${id}`)]));
  }
  known ??= await lookUp();
  const ids = known.routes[outcome.detection_id] ?? known.routes["*"];
  return ids.map((id) => [id, known.destinations[id]]);
}

async function deliver(body) {
  const outcome = JSON.parse(body);
  for (const [id, destination] of await destinations(outcome)) {
    const webhookId = createHash("sha256").update(body).digest("hex").slice(0, 32);
    const now = Math.floor(Date.now() / 1000);
    const key = Buffer.from(destination.signing_secrets[0].replace(/^whsec_/, ""), "base64");
    const signature = createHmac("sha256", key).update(`${webhookId}.${now}.${body}`).digest("base64");
    const answer = await fetch(destination.url, {
      method: "POST",
      body,
      headers: {
        "Content-Type": "application/json",
        "webhook-id": webhookId,
        "webhook-timestamp": `${now}`,
        "webhook-signature": `v1,${signature}`,
        ...destination.headers,
      },
      signal: AbortSignal.timeout(30_000),
    });
    await answer.arrayBuffer();
    console.log(JSON.stringify({
      level: "INFO", message: `${id} DELIVERED`, result: "delivered", destination: id,
      detection_id: outcome.detection_id, run_id: outcome.run_id, status: answer.status,
    }));
    if (!answer.ok) throw new Error(`${id}: HTTP ${answer.status}`);
  }
}

async function handle(event) {
  if (event.Records) {
    await Promise.all(event.Records.map((record) => deliver(record.body)));
    return { batchItemFailures: [] };
  }
  await deliver(JSON.stringify(event));
  return { delivered: true };
}

const api = `http://${process.env.AWS_LAMBDA_RUNTIME_API}/2018-06-01/runtime/invocation`;
for (;;) {
  const next = await fetch(`${api}/next`);
  const id = next.headers.get("lambda-runtime-aws-request-id");
  let end = "response";
  const answer = await handle(await next.json()).catch((error) => {
    end = "error";
    return { errorMessage: `${error} ${error.cause ?? ""}` };
  });
  await (await fetch(`${api}/${id}/${end}`, { method: "POST", body: JSON.stringify(answer) })).arrayBuffer();
}
