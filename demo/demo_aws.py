"""`make demo-aws`: the whole stack, from the unmodified template, in an emulator of AWS on this machine.

An endpoint is down, outcomes arrive, the endpoint comes back, and each outcome reaches it once. Then it refuses one,
which is dead-lettered, and is redriven when the endpoint has been mended. What is not an outcome stays a dead letter.
"""

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time

import boto3

from demo import EVENTS, ROOT, WORK, Process, free_port, title, wait_for

STACK = "detection-outcomes"
FUNCTION = "detection-outcome-handler"
OUTCOMES = 5
REFUSED = "demo-refused"
NO_OUTCOME = {"detection_name": "Suspicious Login Attempts", "severity": "HIGH", "run_id": "demo-no-outcome"}


class Endpoint(http.server.BaseHTTPRequestHandler):
    """A webhook that can be down, and dislike one outcome; it counts what it has accepted."""

    is_up = False
    is_mended = False
    accepted = []

    def do_POST(self):
        run_id = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))["run_id"]
        disliked = run_id == REFUSED and not Endpoint.is_mended
        status = 422 if disliked else 200 if Endpoint.is_up else 503
        if status == 200:
            Endpoint.accepted.append(run_id)
        print(f"   POST {self.path}  {run_id}  webhook-id: {self.headers['webhook-id']}  -> {status}", flush=True)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    port = free_port()
    aws = f"http://127.0.0.1:{port}"
    environment = dict(
        os.environ, AWS_ENDPOINT_URL=aws, AWS_REGION="us-east-1", AWS_DEFAULT_REGION="us-east-1",
        AWS_ACCESS_KEY_ID="test", AWS_SECRET_ACCESS_KEY="test", SAM_CLI_TELEMETRY="0",
    )
    endpoint = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{endpoint.server_address[1]}/webhook"

    title("Building with SAM (the first time takes some minutes)")
    run(["sam", "build"], environment)
    emulator = Process("emulator", [str(ROOT / ".venv/ministack/bin/ministack")], env=dict(environment, BIND_HOST="127.0.0.1", GATEWAY_PORT=str(port)))
    try:
        wait_for(port, emulator, 60)
        title("Deploying the unmodified template")
        run(
            ["sam", "deploy", "--stack-name", STACK, "--resolve-s3", "--capabilities", "CAPABILITY_IAM",
             "--no-confirm-changeset", "--parameter-overrides", f"WebhookUrl={url}",
             # The emulator knows no saved queries and no alarms on a sum of metrics.
             "WithDashboard=false", "WithAlarms=false"],
            environment,
        )
        client = lambda service: boto3.client(
            service, endpoint_url=aws, region_name="us-east-1", aws_access_key_id="test", aws_secret_access_key="test"
        )
        outputs = prepare(client("cloudformation"), client("lambda"))
        show_outage(client("sqs"), outputs)
        show_dead_letters(client("sqs"), client("lambda"), outputs)
        title("The log (sam logs)")
        run(["sam", "logs", "--stack-name", STACK, "--name", "Function"], environment)
    finally:
        emulator.end()
    if sorted(Endpoint.accepted) != [f"demo-{n}" for n in range(OUTCOMES)] + [REFUSED]:
        sys.exit(f"accepted: {Endpoint.accepted}")
    print(f"\nall {OUTCOMES + 1} outcomes arrived, each once")


def run(command, environment):
    result = subprocess.run(command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if result.returncode != 0:
        sys.exit(f"{' '.join(command)}:\n{result.stdout}")
    if command[1] == "logs":
        print("\n".join(f"   {line}" for line in result.stdout.splitlines() if '"message"' in line))


def prepare(cloudformation, functions):
    """What the emulator needs and the template must not have: receivers on loopback, and numbers as numbers."""
    stack = cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
    variables = functions.get_function_configuration(FunctionName=FUNCTION)["Environment"]["Variables"]
    functions.update_function_configuration(
        FunctionName=FUNCTION, Environment={"Variables": dict(variables, LOCAL_RECEIVERS="true")}
    )
    for mapping in functions.list_event_source_mappings(FunctionName=FUNCTION)["EventSourceMappings"]:
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], mapping
        functions.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": 2})
    return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}


def show_outage(sqs, outputs):
    title("The endpoint is down, and outcomes arrive")
    for n in range(OUTCOMES):
        send(sqs, outputs, f"demo-{n}")
    waiting = lambda: count(sqs, outputs["RetryQueueUrl"])
    until(lambda: waiting() == OUTCOMES, "the outcomes to wait in the retry queue")
    print(f"   {waiting()} deliveries wait in the retry queue")
    title("The endpoint comes back")
    Endpoint.is_up = True
    until(lambda: len(Endpoint.accepted) >= OUTCOMES and waiting() == 0, "the outcomes to arrive")


def show_dead_letters(sqs, functions, outputs):
    title("The endpoint refuses an outcome, and a producer sends what is not an outcome: two dead letters")
    send(sqs, outputs, REFUSED)
    sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody=json.dumps(NO_OUTCOME))
    until(lambda: count(sqs, outputs["DeadLetterQueueUrl"]) == 2, "the dead letters")
    ask(functions, {"dead_letters": {}})
    title("The endpoint has been mended, and the dead letter is redriven")
    Endpoint.is_mended = True
    ask(functions, {"redrive": {"destination": "default", "code": "refused_by_endpoint"}})
    until(lambda: REFUSED in Endpoint.accepted, "the outcome to arrive")
    until(lambda: count(sqs, outputs["DeadLetterQueueUrl"]) == 1, "the dead letter to be gone")


def ask(functions, request):
    """Invokes the function as `aws lambda invoke` does, and shows its answer."""
    answer = functions.invoke(FunctionName=FUNCTION, Payload=json.dumps(request))["Payload"].read().decode()
    print(f"   {json.dumps(request)}\n   {answer}")


def send(sqs, outputs, run_id):
    outcome = dict(json.loads((EVENTS / "matched.json").read_text()), run_id=run_id)
    sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody=json.dumps(outcome))


def count(sqs, queue):
    """Messages in a queue: visible, delayed and in flight."""
    attributes = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
    return sum(int(value) for name, value in attributes.items() if name.startswith("ApproximateNumberOfMessages"))


def until(condition, what):
    end = time.time() + 120
    while not condition():
        if time.time() > end:
            sys.exit(f"waited two minutes for {what}")
        time.sleep(0.5)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
