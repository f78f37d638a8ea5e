"""`make e2e`: deploys a release into an emulator of AWS on this machine, and tries all that an operator relies on.

Destinations are in the table, and the webhook's key in a secret. Without an argument the release is made of template.yaml
and the test profile's binary; with one it is that folder's, as `make release` fills it. It ends at the first wrong thing.
"""

import http.server
import json
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter

import boto3

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path += [str(ROOT / "demo"), str(ROOT / "tools")]
import release  # noqa: E402
from demo import Process, free_port, wait_for  # noqa: E402

WORK = ROOT / "target" / "e2e"
BINARY = ROOT / "target" / "shaped" / release.NAME
ARCHITECTURE = "arm64" if platform.machine() == "aarch64" else "x86_64"
REGION, ACCOUNT = "us-east-1", "000000000000"
STACK = "detection-outcomes"
RULE = "detection-outcomes"
OUTAGE = 5


class Endpoint(http.server.BaseHTTPRequestHandler):
    """A webhook that asks for a key, can be down, and may refuse an outcome."""

    key = "key-before"
    is_up = True
    refuses = None
    accepted = Counter()
    refused = Counter()

    def do_POST(self):
        outcome = json.loads(self.rfile.read(int(self.headers.get("Content-Length", 0))))
        run_id = outcome.get("run_id", "none")
        if self.headers["authorization"] != f"Bearer {Endpoint.key}":
            status = 401
        elif not Endpoint.is_up:
            status = 503
        elif run_id == Endpoint.refuses:
            status = 422
        else:
            status = 200
        (Endpoint.accepted if status == 200 else Endpoint.refused)[run_id] += 1
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Aws:
    """The emulator, and the stack in it."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        keys = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": REGION, "AWS_REGION": REGION}
        self.environment = dict(os.environ, **keys, AWS_ENDPOINT_URL=self.url, SAM_CLI_TELEMETRY="0")
        # A function inherits the emulator's variables; receivers are on loopback here, which no template may allow.
        own = {"BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(self.port), "TMPDIR": str(WORK), "STATE_DIR": str(WORK / "state"), "LOCAL_RECEIVERS": "true"}
        program = ROOT / ".venv/ministack/bin/ministack"
        self.process = Process("emulator", [str(program)], folder=WORK, env=self.environment | own)
        wait_for(self.port, self.process, 60)
        self.clients = {}

    def __getattr__(self, service):
        return self.clients.setdefault(service, boto3.client(
            service, endpoint_url=self.url, region_name=REGION, aws_access_key_id="test", aws_secret_access_key="test"
        ))

    def sam(self, folder, *arguments):
        result = subprocess.run(["sam", *arguments, "--stack-name", STACK], cwd=folder, env=self.environment, text=True,
                                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=180)
        if result.returncode != 0:
            wrong(f"sam {' '.join(arguments)}:\n{result.stdout}")

    def deploy(self, folder, **parameters):
        # The emulator knows no saved queries and no alarms on a sum of metrics.
        parameters |= {"WithAlarms": "false", "WithDashboard": "false", "DestinationsFrom": "table"}
        self.sam(
            folder, "deploy", "--template-file", f"template-{ARCHITECTURE}.yaml", "--resolve-s3", "--capabilities", "CAPABILITY_IAM",
            "--no-confirm-changeset", "--parameter-overrides", *(f"{name}={value}" for name, value in parameters.items()),
        )
        # It takes numbers from a template as text.
        for mapping in self.lambda_.list_event_source_mappings(FunctionName=release.NAME)["EventSourceMappings"]:
            check(mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"], f"the mapping {mapping}")
            most = int(mapping["ScalingConfig"]["MaximumConcurrency"])
            self.lambda_.update_event_source_mapping(UUID=mapping["UUID"], ScalingConfig={"MaximumConcurrency": most})
        return self.outputs()

    def outputs(self):
        stack = self.cloudformation.describe_stacks(StackName=STACK)["Stacks"][0]
        return {output["OutputKey"]: output["OutputValue"] for output in stack["Outputs"]}

    @property
    def lambda_(self):
        return getattr(self, "lambda")

    def invoke(self, event, kind="RequestResponse"):
        """Invokes the function as `aws lambda invoke` does."""
        answer = self.lambda_.invoke(FunctionName=release.NAME, InvocationType=kind, Payload=event if isinstance(event, str) else json.dumps(event))
        check("FunctionError" not in answer, f"the invocation {event}")
        text = answer["Payload"].read().decode()
        return json.loads(text) if text else None

    def count(self, queue, kind=""):
        """Messages in a queue: visible, delayed and in flight, or one of these kinds."""
        attributes = self.sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["All"])["Attributes"]
        return sum(int(value) for name, value in attributes.items() if name.startswith(f"ApproximateNumberOfMessages{kind}"))

    def log(self):
        pages = self.logs.get_paginator("filter_log_events").paginate(logGroupName=f"/aws/lambda/{release.NAME}")
        return [event["message"] for page in pages for event in page["events"]]


def main():
    started = time.monotonic()
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir(parents=True)
    folder = pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else make_release()
    endpoint = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    aws = Aws()
    try:
        outputs = deploy(aws, folder, f"http://127.0.0.1:{endpoint.server_address[1]}/webhook")
        every_way_in(aws, outputs)
        outage(aws, outputs)
        dead_letter(aws, outputs)
        rotated_secret(aws, outputs)
        update(aws, folder, outputs)
        the_log(aws)
        removal(aws, folder, outputs)
    finally:
        aws.process.end()
    step(f"all as it should be, in {time.monotonic() - started:.0f} s")


def make_release():
    folder = WORK / "release"
    folder.mkdir()
    release.zip_binary(BINARY, folder / release.zip_name(ARCHITECTURE))
    (folder / f"template-{ARCHITECTURE}.yaml").write_text(release.released_template(ARCHITECTURE))
    return folder


def deploy(aws, folder, url):
    topic = aws.sns.create_topic(Name="detection-outcomes")["TopicArn"]
    aws.events.put_rule(Name=RULE, EventPattern=json.dumps({"detail-type": ["Detection Outcome"]}))
    secret = aws.secretsmanager.create_secret(Name="soc", SecretString=json.dumps({"key": Endpoint.key}))["ARN"]
    aws.given = {
        "ProducerTopicArns": topic, "ProducerRuleArns": f"arn:aws:events:{REGION}:{ACCOUNT}:rule/{RULE}", "ReferencedSecretArns": secret,
    }
    outputs = aws.deploy(folder, **aws.given)
    aws.events.put_targets(Rule=RULE, Targets=[{"Id": "outcomes", "Arn": outputs["QueueArn"]}])
    for item in [
        {"pk": {"S": "destination#soc"}, "url": {"S": url},
         "headers": {"M": {"Authorization": {"S": "Bearer {{secret:soc#key}}"}}}},
        {"pk": {"S": "route#*"}, "destinations": {"L": [{"S": "soc"}]}},
    ]:
        aws.dynamodb.put_item(TableName=outputs["DestinationsTableName"], Item=item)
    answer = aws.invoke({"check": True})
    check(answer["ok"] and answer["version"] == outputs["Version"], f"the check {answer}")
    answer = aws.invoke({"probe": "soc"})
    check(answer["ok"], f"the probe {answer}")
    step("deployed; check and probe are fine")
    return outputs


def every_way_in(aws, outputs):
    aws.sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody=outcome("by-sqs"))
    aws.sns.publish(TopicArn=aws.given["ProducerTopicArns"], Message=outcome("by-sns"))
    entry = {"Source": "detections", "DetailType": "Detection Outcome", "Detail": outcome("by-eventbridge")}
    aws.events.put_events(Entries=[entry])
    answer = aws.invoke(outcome("direct"))
    check([one["result"] for one in answer["deliveries"]] == ["delivered"], f"the answer {answer}")
    aws.invoke(outcome("async"), kind="Event")
    arrive({"by-sqs", "by-sns", "by-eventbridge", "direct", "async"})
    empty(aws, outputs)
    step("outcomes arrive by SQS, SNS, EventBridge, direct and asynchronous invocation, each once")


def outage(aws, outputs):
    Endpoint.is_up = False
    names = {f"outage-{n}" for n in range(OUTAGE)}
    for name in names:
        aws.sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody=outcome(name))
    wait(lambda: names <= set(Endpoint.refused), "attempts while the endpoint is down")
    wait(lambda: aws.count(outputs["RetryQueueUrl"]) == OUTAGE, "the deliveries in the retry queue")
    check(aws.count(outputs["QueueUrl"]) == 0, "nothing left in the first queue")
    Endpoint.is_up = True
    arrive(names)
    empty(aws, outputs)
    step(f"{OUTAGE} outcomes wait for the end of an outage and arrive, each once")


def dead_letter(aws, outputs):
    Endpoint.refuses = "refused"
    aws.sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody=outcome("refused"))
    wait(lambda: aws.count(outputs["DeadLetterQueueUrl"]) == 1, "the dead letter")
    check(Endpoint.refused["refused"] == 1, "one attempt at what the endpoint refuses")
    answer = aws.invoke({"dead_letters": {}})
    groups = [(group["destination"], group["code"], group["count"]) for group in answer["dead_letters"]]
    check(len(groups) == 1 and groups[0][0] == "soc" and groups[0][2] == 1, f"the list {answer}")
    code = groups[0][1]
    Endpoint.refuses = None
    answer = aws.invoke({"redrive": {"destination": "soc", "code": code}})
    check(answer["moved"] == 1, f"the redrive {answer}")
    arrive({"refused"})
    empty(aws, outputs)
    step(f"a dead letter ({code}) is listed, redriven by invocation, and arrives")


def rotated_secret(aws, outputs):
    Endpoint.key = "key-after"
    aws.secretsmanager.put_secret_value(SecretId="soc", SecretString=json.dumps({"key": Endpoint.key}))
    aws.sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody=outcome("rotated"))
    arrive({"rotated"})
    empty(aws, outputs)
    step(f"a rotated secret is used at once, after {Endpoint.refused['rotated']} attempt with the old one")


def update(aws, folder, outputs):
    sent, is_over = [], threading.Event()

    def send():
        while not is_over.wait(0.5):
            sent.append(f"update-{len(sent)}")
            aws.sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody=outcome(sent[-1]))

    sender = threading.Thread(target=send)
    sender.start()
    try:
        aws.deploy(folder, **aws.given, MemorySize="512", LongestTimeout="60", MaxAttempts="9")
    finally:
        time.sleep(1)
        is_over.set()
        sender.join()
    configuration = aws.lambda_.get_function_configuration(FunctionName=release.NAME)
    found = (configuration["MemorySize"], configuration["Timeout"], configuration["Environment"]["Variables"]["MAX_ATTEMPTS"])
    check((int(found[0]), int(found[1]), found[2]) == (512, 90, "9"), f"the updated function {found}")
    check(aws.outputs() == outputs, "the same outputs as before the update")
    # The emulator may end an invocation in the middle: its message stays hidden in the queue for the visibility timeout,
    # which is longer than this waits. A poller that is replaced may let one go twice. None may be missing.
    queue = outputs["QueueUrl"]
    missing = lambda: set(sent) - set(Endpoint.accepted)
    wait(lambda: len(missing()) <= aws.count(queue, "NotVisible") and aws.count(queue) == aws.count(queue, "NotVisible"),
         f"all {len(sent)} outcomes at the endpoint or hidden in the queue")
    empty(aws, outputs, ["RetryQueueUrl", "DeadLetterQueueUrl"])
    step(f"of {len(sent)} outcomes that are sent during an update of the stack {len(sent) - len(missing())} arrive, the rest waits")


def the_log(aws):
    lines = aws.log()
    results = Counter(json.loads(line).get("result") for line in lines if line.startswith("{"))
    for result in ["delivered", "retrying", "dead_lettered"]:
        check(results[result] > 0, f"lines with the result {result} among {results}")
    check(results["returned"] + results["rejected"] == 0, f"nothing returned or rejected in {results}")
    told = [line for line in lines if "key-before" in line or "key-after" in line]
    check(not told, f"the key in no line, but {told[:1]}")
    step(f"the log tells of {results['delivered']} deliveries and no key")


def removal(aws, folder, outputs):
    Endpoint.refuses = "left"
    aws.sqs.send_message(QueueUrl=outputs["QueueUrl"], MessageBody=outcome("left"))
    wait(lambda: aws.count(outputs["DeadLetterQueueUrl"]) == 1, "the dead letter")
    aws.sam(folder, "delete", "--no-prompts", "--region", REGION)
    check(not aws.lambda_.list_functions()["Functions"], "no function after the removal")
    check(not [role for role in aws.iam.list_roles()["Roles"] if STACK in role["RoleName"]], "no role after the removal")
    for queue in ["QueueUrl", "RetryQueueUrl", "DeadLetterQueueUrl"]:
        aws.count(outputs[queue])
    [message] = aws.sqs.receive_message(QueueUrl=outputs["DeadLetterQueueUrl"])["Messages"]
    check(json.loads(message["Body"])["run_id"] == "left", f"the dead letter {message}")
    items = aws.dynamodb.scan(TableName=outputs["DestinationsTableName"])["Count"]
    check(items == 2, f"2 items in the table, not {items}")
    step("the stack is removed; its three queues with a dead letter in them, and the table, stay")


def outcome(run_id):
    return json.dumps(dict(json.loads((ROOT / "events" / "matched.json").read_text()), run_id=run_id))


def arrive(names):
    """Waits until each of the outcomes has been accepted, and checks that none was twice."""
    wait(lambda: names <= set(Endpoint.accepted), f"{sorted(names)} at the endpoint")
    often = [name for name in names if Endpoint.accepted[name] != 1]
    check(not often, f"each once, but {often} more often")


def empty(aws, outputs, queues=("QueueUrl", "RetryQueueUrl", "DeadLetterQueueUrl")):
    """Waits until nothing is left in any of the queues."""
    for queue in queues:
        wait(lambda: aws.count(outputs[queue]) == 0, f"an empty {queue}")


def wait(condition, what, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            wrong(f"{what}: not within {seconds} s")
        time.sleep(0.2)


def check(condition, what):
    if not condition:
        wrong(f"expected {what}")


def wrong(what):
    log = WORK / "emulator.log"
    tail = log.read_text(errors="replace").splitlines()[-20:] if log.exists() else []
    sys.exit("\n".join([*tail, f"- {what}"]))


def step(what):
    print(f"  {what}", flush=True)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
