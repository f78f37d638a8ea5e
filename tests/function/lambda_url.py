"""Serves a Lambda function's handler as AWS does, with S3 in this process.

/webhook: a function URL or an HTTP API (payload format 2.0); /encoded: the same with a body in base64; /rest: a
REST API (payload format 1.0). Arguments: the handler's file and a port.
"""

import base64
import http.server
import importlib.util
import logging
import sys

import boto3
import moto

logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)


def event(request, body):
    encoded = request.path == "/encoded"
    text = base64.b64encode(body).decode() if encoded else body.decode()
    source = request.client_address[0]
    if request.path == "/rest":
        return {
            "resource": "/rest",
            "path": "/rest",
            "httpMethod": "POST",
            "headers": {name.title(): value for name, value in request.headers.items()},
            "multiValueHeaders": {name.title(): [value] for name, value in request.headers.items()},
            "queryStringParameters": None,
            "multiValueQueryStringParameters": None,
            "pathParameters": None,
            "stageVariables": None,
            "requestContext": {
                "httpMethod": "POST",
                "path": "/prod/rest",
                "stage": "prod",
                "identity": {"sourceIp": source},
            },
            "body": text,
            "isBase64Encoded": False,
        }
    return {
        "version": "2.0",
        "routeKey": "$default",
        "rawPath": request.path,
        "rawQueryString": "",
        "headers": {name.lower(): value for name, value in request.headers.items()},
        "requestContext": {
            "domainName": "id.lambda-url.eu-west-1.on.aws",
            "http": {"method": "POST", "path": request.path, "protocol": "HTTP/1.1", "sourceIp": source},
            "routeKey": "$default",
            "stage": "$default",
        },
        "body": text,
        "isBase64Encoded": encoded,
    }


class Server(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            answer = handler(event(self, body), None)
        except Exception:
            # What a function URL answers for a function that fails.
            logging.exception("the handler failed")
            answer = {"statusCode": 502, "body": "Internal Server Error"}
        self.send_response(answer["statusCode"])
        for name, value in answer.get("headers", {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer["body"])))
        self.end_headers()
        self.wfile.write(answer["body"].encode())

    def log_message(self, *_):
        pass


with moto.mock_aws():
    boto3.client("s3").create_bucket(Bucket="inbox", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    spec = importlib.util.spec_from_file_location("receiver", sys.argv[1])
    receiver = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(receiver)
    handler = receiver.lambda_handler
    http.server.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[2])), Server).serve_forever()
