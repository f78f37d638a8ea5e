"""A webhook receiver as an AWS Lambda function, behind a function URL, an HTTP API or a REST API.

docs/receivers.md explains each step. Deploy it with the package standardwebhooks beside it; its role needs
s3:PutObject on the bucket. An S3 event notification of the bucket starts the worker, one invocation per outcome.
"""

import base64
import json
import logging
import os

import boto3
from botocore.exceptions import ClientError
from standardwebhooks import Webhook, WebhookVerificationError

logging.getLogger().setLevel(logging.INFO)

webhook = Webhook(os.environ["WEBHOOK_SECRET"])
s3 = boto3.client("s3")


def lambda_handler(event, context):
    body = event.get("body") or ""
    # API Gateway and function URLs say whether they encoded the body.
    body = base64.b64decode(body) if event.get("isBase64Encoded") else body.encode()
    # A REST API passes header names on as they were written.
    headers = {name.lower(): value for name, value in event["headers"].items()}
    try:
        # Over the bytes as they arrived. Timestamps more than 5 minutes away are refused.
        webhook.verify(body, headers, json_parse=False)
    # The library raises ValueError for headers that it cannot decode.
    except (WebhookVerificationError, ValueError) as error:
        logging.warning("refused: %s", error)
        # 401 is tried again, so that a wrong secret costs no alert. 400 would never be sent again.
        return answer(401, {"error": "the signature is not valid"})

    # Each instance of a function has a memory of its own, so S3 tells duplicates apart: one conditional write remembers
    # the id and keeps the outcome. A lifecycle rule of 30 days clears the bucket.
    webhook_id = headers["webhook-id"]
    try:
        s3.put_object(Bucket=os.environ["INBOX_BUCKET"], Key=webhook_id, Body=body, IfNoneMatch="*")
    except ClientError as error:
        if error.response["Error"]["Code"] == "PreconditionFailed":
            logging.info("duplicate %s", webhook_id)
            return answer(200, {"status": "duplicate"})
        # Not kept, so the sender has to try again. S3 answers two writes at the same time with a conflict.
        logging.exception("not kept: %s", webhook_id)
        return answer(503, {"error": "try again later"})
    logging.info("kept %s", webhook_id)
    # Answer first, work later: the work's own failure must not make the sender repeat the alert.
    return answer(202, {"status": "accepted"})


def answer(status, body):
    return {"statusCode": status, "headers": {"content-type": "application/json"}, "body": json.dumps(body)}
