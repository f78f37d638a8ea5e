"""The same job as people would write it in Python: look up, sign, POST, log a line."""

import base64
import concurrent.futures
import hashlib
import hmac
import json
import os
import ssl
import time

import urllib3

KIND, _, PLACE = os.environ["DESTINATIONS"].partition(":")
if KIND != "file":
    import boto3

    AWS = boto3.client("secretsmanager" if KIND == "secretsmanager" else "dynamodb")

TLS = ssl.create_default_context()
TLS.load_verify_locations(os.environ["EXTRA_CA_BUNDLE"])
POOL = urllib3.PoolManager(ssl_context=TLS, maxsize=64, retries=False)
THREADS = concurrent.futures.ThreadPoolExecutor(64)
DOCUMENT = None


def document():
    global DOCUMENT
    if DOCUMENT is None:
        if KIND == "file":
            with open(PLACE, encoding="utf-8") as file:
                DOCUMENT = json.load(file)
        else:
            DOCUMENT = json.loads(AWS.get_secret_value(SecretId=PLACE)["SecretString"])
    return DOCUMENT


def item(key):
    return json.loads(AWS.get_item(TableName=PLACE, Key={"pk": {"S": key}})["Item"]["x-json"]["S"])


def destinations(outcome):
    detection = str(outcome["detection_id"])
    if KIND == "dynamodb":
        return [(id, item("destination#" + id)) for id in item("route#*")]
    known = document()
    ids = known["routes"].get(detection) or known["routes"]["*"]
    return [(id, known["destinations"][id]) for id in ids]


def deliver(body):
    outcome = json.loads(body)
    for id, destination in destinations(outcome):
        webhook_id = hashlib.sha256(body).hexdigest()[:32]
        now = str(int(time.time()))
        key = base64.b64decode(destination["signing_secrets"][0].removeprefix("whsec_"))
        signed = hmac.new(key, f"{webhook_id}.{now}.".encode() + body, hashlib.sha256).digest()
        headers = {
            "Content-Type": "application/json",
            "webhook-id": webhook_id,
            "webhook-timestamp": now,
            "webhook-signature": "v1," + base64.b64encode(signed).decode(),
            **destination["headers"],
        }
        answer = POOL.request("POST", destination["url"], body=body, headers=headers, timeout=30)
        print(json.dumps({
            "level": "INFO", "message": f"{id} DELIVERED", "result": "delivered", "destination": id,
            "detection_id": outcome["detection_id"], "run_id": outcome["run_id"], "status": answer.status,
        }))
        if not 200 <= answer.status < 300:
            raise RuntimeError(f"{id}: HTTP {answer.status}")


def handle(event, context):
    if "Records" in event:
        list(THREADS.map(deliver, [record["body"].encode() for record in event["Records"]]))
        return {"batchItemFailures": []}
    deliver(json.dumps(event).encode())
    return {"delivered": True}
