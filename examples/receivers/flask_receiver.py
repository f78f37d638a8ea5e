"""A webhook receiver with Flask. docs/receivers.md explains each step.

    pip install flask standardwebhooks
    WEBHOOK_SECRET=whsec_… python flask_receiver.py 8080
"""

import logging
import os
import queue
import sys
import threading

from flask import Flask, request
from standardwebhooks import Webhook, WebhookVerificationError

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)

app = Flask(__name__)
# A direct invocation carries up to 6 MB, a queue up to 1 MiB.
app.config["MAX_CONTENT_LENGTH"] = 6 << 20

webhook = Webhook(os.environ["WEBHOOK_SECRET"])

# In memory, for one process: a restart forgets both. In production, insert into a database table that is unique by
# webhook-id, and let the worker read from it. One insert then remembers the id and keeps the outcome.
seen = set()
inbox = queue.Queue()
lock = threading.Lock()


@app.post("/webhook")
def receive():
    try:
        # Over the bytes as they arrived. Timestamps more than 5 minutes away are refused.
        outcome = webhook.verify(request.get_data(), dict(request.headers))
    # The library raises ValueError for headers that it cannot decode.
    except (WebhookVerificationError, ValueError) as error:
        logging.warning("refused: %s", error)
        # 401 is tried again, so that a wrong secret costs no alert. 400 would never be sent again.
        return {"error": "the signature is not valid"}, 401

    webhook_id = request.headers["webhook-id"]
    with lock:
        if webhook_id in seen:
            logging.info("duplicate %s", webhook_id)
            return {"status": "duplicate"}
        inbox.put(outcome)
        seen.add(webhook_id)
    # Answer first, work later: the work's own failure must not make the sender repeat the alert.
    return {"status": "accepted"}, 202


def work():
    while True:
        outcome = inbox.get()
        try:
            process(outcome)
        except Exception:
            logging.exception("an outcome could not be processed")


def process(outcome):
    # The test message of a probe has neither detection_id nor outcome.
    if "detection_id" not in outcome:
        logging.info("test message")
        return
    logging.info("processed %s, %s: %s", outcome.get("run_id"), outcome["outcome"], outcome.get("detection_name"))
    # Here: create an incident, forward to the SIEM.


threading.Thread(target=work, daemon=True).start()

if __name__ == "__main__":
    # Flask's own server is for trials. In production: gunicorn or waitress, behind TLS.
    app.run(host="127.0.0.1", port=int(sys.argv[1]) if len(sys.argv) > 1 else 8080)
