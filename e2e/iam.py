"""`make iam`: the function's role suffices, and nothing in it is idle.

The role's policies, as template.yaml has them for each way of keeping destinations, are enforced by moto. The function
runs with credentials of that role, and so does this script where it stands for Lambda, which polls queues and writes the
log as the role. Then each action on each resource is taken from the role, one at a time, and some case must fail.

Left out: what a KMS key, a VPC and X-Ray need (moto knows no kms:ViaService), and who may assume the roles.
"""

import copy
import functools
import http.server
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import boto3
from samcli.yamlhelper import yaml_parse

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "demo"))
from demo import Process, free_port, wait_for  # noqa: E402

WORK = ROOT / "target" / "iam"
BINARY = ROOT / "target" / "shaped" / "detection-outcome-handler"
REGION, ACCOUNT = "eu-west-1", "123456789012"
TEMPLATE = yaml_parse((ROOT / "template.yaml").read_text())
OUTCOME = (ROOT / "events" / "matched.json").read_text()
QUEUES = ["OutcomeQueue", "RetryQueue", "DeadLetterQueue"]
# Requests before moto asks who sends them: those that make the administrator below.
UNCHECKED = 3


class Endpoint(http.server.BaseHTTPRequestHandler):
    """A webhook that answers each path with the status that is set for it."""

    status = {}
    received = []

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        Endpoint.received.append(self.path)
        self.send_response(Endpoint.status.get(self.path.split("?")[0], 200))
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Resolver:
    """The intrinsic functions that the roles and the function's variables are written with."""

    def __init__(self, parameters, resources):
        defaults = {name: parameter.get("Default", "") for name, parameter in TEMPLATE["Parameters"].items()}
        pseudo = {"AWS::Region": REGION, "AWS::AccountId": ACCOUNT, "AWS::Partition": "aws", "AWS::URLSuffix": "amazonaws.com"}
        self.values = defaults | pseudo | parameters | {name: resource["Ref"] for name, resource in resources.items()}
        self.resources = resources

    def resolve(self, value):
        if isinstance(value, list):
            return [item for item in map(self.resolve, value) if item is not None]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            [(name, argument)] = value.items()
            if name == "Ref":
                return None if argument == "AWS::NoValue" else self.values[argument]
            if name == "Fn::GetAtt":
                resource, attribute = argument
                return self.resources[resource][attribute]
            if name == "Fn::If":
                return self.resolve(argument[1] if self.holds({"Condition": argument[0]}) else argument[2])
            if name == "Fn::Sub":
                for place, text in self.values.items():
                    argument = argument.replace(f"${{{place}}}", str(text))
                assert "${" not in argument, argument
                return argument
            if name == "Fn::Split":
                return self.resolve(argument[1]).split(argument[0])
        return {name: self.resolve(item) for name, item in value.items()}

    def holds(self, condition):
        [(name, argument)] = condition.items()
        if name == "Condition":
            return self.holds(TEMPLATE["Conditions"][argument])
        if name == "Fn::Equals":
            return self.resolve(argument[0]) == self.resolve(argument[1])
        if name == "Fn::Not":
            return not self.holds(argument[0])
        combine = {"Fn::And": all, "Fn::Or": any}[name]
        return combine(self.holds(part) for part in argument)

    def policies(self, role):
        """Name and statements of each of a role's policies."""
        policies = self.resolve(TEMPLATE["Resources"][role]["Properties"]["Policies"])
        return {policy["PolicyName"]: policy["PolicyDocument"]["Statement"] for policy in policies}

    def variables(self):
        return self.resolve(TEMPLATE["Resources"]["Function"]["Properties"]["Environment"]["Variables"])


class Function:
    """The function under AWS's Runtime Interface Emulator."""

    count = 0

    def __init__(self, variables):
        Function.count += 1
        [emulator] = ROOT.glob(".venv/lib/python*/site-packages/samcli/local/rapid/aws-lambda-rie-x86_64")
        self.port, api_port = free_port(), free_port()
        self.process = Process(
            f"function-{Function.count}",
            [str(emulator), "--log-level", "error", "--runtime-interface-emulator-address", f"127.0.0.1:{self.port}",
             "--runtime-api-address", f"127.0.0.1:{api_port}", str(BINARY)],
            folder=WORK,
            env={name: str(value) for name, value in variables.items()} | {"AWS_LAMBDA_FUNCTION_TIMEOUT": "60"},
        )
        wait_for(self.port, self.process, 20)

    def invoke(self, event):
        url = f"http://127.0.0.1:{self.port}/2015-03-31/functions/function/invocations"
        with urllib.request.urlopen(urllib.request.Request(url, json.dumps(event).encode()), timeout=90) as answer:
            return json.loads(answer.read())

    def results(self):
        """The lines about deliveries that are new since the last look."""
        lines = [json.loads(line) for line in self.process.new_lines() if line.startswith("{")]
        return [line for line in lines if "result" in line]

    def end(self):
        self.process.end()


class Stack:
    """What the template makes for one way of keeping destinations, with the function's role in force."""

    def __init__(self, mode, endpoint, server, administrator):
        self.mode, self.path = mode, f"/{mode}"
        self.credentials = {"administrator": administrator}
        # Making a client takes boto3 longer than a call does.
        self.client = functools.cache(lambda service, who: server.client(service, self.credentials[who]))
        self.server = server
        client = self.admin
        self.queues, resources = {}, {}
        for name in QUEUES:
            url = client("sqs").create_queue(QueueName=f"{mode}-{name}")["QueueUrl"]
            self.queues[name] = url
            resources[name] = {"Ref": url, "Arn": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{mode}-{name}"}
        self.log_group = f"/aws/lambda/{mode}"
        client("logs").create_log_group(logGroupName=self.log_group)
        # https://docs.aws.amazon.com/AWSCloudFormation/latest/TemplateReference/aws-resource-logs-loggroup.html#aws-resource-logs-loggroup-return-values
        resources["LogGroup"] = {"Ref": self.log_group, "Arn": f"arn:aws:logs:{REGION}:{ACCOUNT}:log-group:{self.log_group}:*"}
        parameters = {"DestinationsFrom": mode, "FunctionName": mode, "RegistryTtlSeconds": "0", "HeartbeatMinutes": "5"}
        secrets = client("secretsmanager")
        secret = lambda name, value: secrets.create_secret(Name=f"{mode}-{name}", SecretString=value)["ARN"]
        url, key = f"{endpoint}{self.path}", ""
        if mode == "webhook-url":
            parameters |= {"WebhookUrl": url, "WebhookTimeout": "30"}
        else:
            references = [secret("key", "a key"), secret("other", "another")]
            # Of the second secret without its random suffix, as an operator writes it who has no ARN at hand.
            references[1] = references[1][: -len("AbCdEf")] + "*"
            parameters["ReferencedSecretArns"] = ",".join(references)
            url = f"{url}?key={{{{secret:{mode}-key}}}}&other={{{{secret:{mode}-other}}}}"
            key = "?key=a%20key&other=another"
        self.expected = self.path + key
        if mode == "secret":
            document = {"destinations": {"default": {"url": url}}}
            parameters["DestinationsSecretArn"] = secret("destinations", json.dumps(document))
        if mode == "webhook-url":
            value = Resolver(parameters, {}).resolve(TEMPLATE["Resources"]["DestinationsSecret"]["Properties"]["SecretString"])
            arn = secret("destinations", value)
            resources["DestinationsSecret"] = {"Ref": arn}
        if mode == "table":
            table = client("dynamodb").create_table(
                TableName="destinations", KeySchema=[{"AttributeName": "pk", "KeyType": "HASH"}],
                AttributeDefinitions=[{"AttributeName": "pk", "AttributeType": "S"}], BillingMode="PAY_PER_REQUEST",
            )["TableDescription"]
            resources["DestinationsTable"] = {"Ref": "destinations", "Arn": table["TableArn"]}
            for item in [
                {"pk": {"S": "destination#default"}, "url": {"S": url}},
                {"pk": {"S": "route#*"}, "destinations": {"L": [{"S": "default"}]}},
            ]:
                client("dynamodb").put_item(TableName="destinations", Item=item)
        self.resolver = Resolver(parameters, resources)
        self.policies = {role: self.resolver.policies(role) for role in ["Role", "HeartbeatRole"]}
        for role in self.policies:
            arn = client("iam").create_role(RoleName=f"{mode}-{role}", AssumeRolePolicyDocument=anyone())["Role"]["Arn"]
            self.allow(role, self.policies[role])
            answer = client("sts").assume_role(RoleArn=arn, RoleSessionName="function")
            self.credentials[role] = answer["Credentials"]

    def allow(self, role, policies):
        for name, statements in policies.items():
            policy = {"RoleName": f"{self.mode}-{role}", "PolicyName": name}
            if statements:
                document = json.dumps({"Version": "2012-10-17", "Statement": statements})
                self.admin("iam").put_role_policy(**policy, PolicyDocument=document)
            else:
                self.admin("iam").delete_role_policy(**policy)

    def admin(self, service):
        return self.client(service, "administrator")

    def as_role(self, service, role="Role"):
        return self.client(service, role)

    def start(self, **others):
        credentials = self.credentials["Role"]
        environment = {
            "AWS_ENDPOINT_URL": self.server.url, "AWS_REGION": REGION, "LOCAL_RECEIVERS": "true",
            "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
            "AWS_SESSION_TOKEN": credentials["SessionToken"],
        }
        return Function(environment | self.resolver.variables() | others)

    def clear(self):
        """Empties the queues. SQS purges one only once a minute."""
        for name, url in self.queues.items():
            self.admin("sqs").delete_queue(QueueUrl=url)
            self.admin("sqs").create_queue(QueueName=f"{self.mode}-{name}")

    def count(self, queue):
        """Messages of a queue: visible, delayed and in flight."""
        attributes = self.admin("sqs").get_queue_attributes(QueueUrl=self.queues[queue], AttributeNames=["All"])["Attributes"]
        return sum(int(value) for name, value in attributes.items() if name.startswith("ApproximateNumberOfMessages"))

    def send(self, queue, **attributes):
        attributes = {name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()}
        self.admin("sqs").send_message(QueueUrl=self.queues[queue], MessageBody=OUTCOME, MessageAttributes=attributes)

    def deliver(self, queue, function, status):
        """Does what Lambda's poller does for one message, and returns the line about its delivery."""
        sqs, url = self.as_role("sqs"), self.queues[queue]
        Endpoint.status[self.path] = status
        sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        [message] = sqs.receive_message(QueueUrl=url, AttributeNames=["All"], MessageAttributeNames=["All"])["Messages"]
        attributes = {
            name: {"dataType": value["DataType"], "stringValue": value["StringValue"]}
            for name, value in message.get("MessageAttributes", {}).items()
        }
        answer = function.invoke({"Records": [{
            "messageId": message["MessageId"], "receiptHandle": message["ReceiptHandle"], "body": message["Body"],
            "attributes": message["Attributes"], "messageAttributes": attributes, "eventSource": "aws:sqs",
            "eventSourceARN": f"arn:aws:sqs:{REGION}:{ACCOUNT}:{self.mode}-{queue}", "awsRegion": REGION,
        }]})
        if not answer["batchItemFailures"]:
            sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        [line] = function.results()
        return line

    # The cases. Each asserts what would be missing without one of the role's permissions.

    def a_delivery(self, function):
        self.send("OutcomeQueue")
        line = self.deliver("OutcomeQueue", function, 200)
        assert line["result"] == "delivered", line
        assert Endpoint.received.count(self.expected) > 0, Endpoint.received
        assert self.count("OutcomeQueue") == 0

    def a_retry(self, function):
        self.send("OutcomeQueue")
        line = self.deliver("OutcomeQueue", function, 503)
        assert line["result"] == "retrying", line
        assert (self.count("OutcomeQueue"), self.count("RetryQueue")) == (0, 1)
        self.clear()

    def a_second_retry(self, function):
        self.send("RetryQueue", **{"outcome-destination": "default"})
        line = self.deliver("RetryQueue", function, 503)
        assert line["result"] == "retrying", line
        self.clear()
        self.send("RetryQueue", **{"outcome-destination": "default"})
        line = self.deliver("RetryQueue", function, 200)
        assert line["result"] == "delivered" and self.count("RetryQueue") == 0, line

    def a_dead_letter(self, function):
        self.send("OutcomeQueue")
        line = self.deliver("OutcomeQueue", function, 410)
        assert line["result"] == "dead_lettered", line
        assert (self.count("OutcomeQueue"), self.count("DeadLetterQueue")) == (0, 1)
        self.clear()

    def an_outcome_that_is_returned(self, _):
        place = self.resolver.variables()["DESTINATIONS"].split(":")[0]
        function = self.start(DESTINATIONS=f"{place}:none")
        try:
            self.send("OutcomeQueue")
            line = self.deliver("OutcomeQueue", function, 200)
            # The time is known only if the message could be hidden.
            assert line["result"] == "returned" and "next_attempt_at" in line, line
        finally:
            function.end()
            self.clear()

    def the_log(self, _):
        stream = f"stream-{time.monotonic_ns()}"
        self.as_role("logs").create_log_stream(logGroupName=self.log_group, logStreamName=stream)
        event = {"timestamp": int(time.time() * 1000), "message": "{}"}
        self.as_role("logs").put_log_events(logGroupName=self.log_group, logStreamName=stream, logEvents=[event])

    def a_heartbeat(self, _):
        self.as_role("sqs", "HeartbeatRole").send_message(QueueUrl=self.queues["OutcomeQueue"], MessageBody="{}")
        self.clear()

    def a_probe(self, function):
        Endpoint.status[self.path] = 200
        answer = function.invoke({"probe": "default"})
        function.results()
        assert answer["ok"], answer

    def a_check(self, function):
        answer = function.invoke({"check": True})
        assert answer["ok"] and answer["destinations"], answer

    def a_list_of_dead_letters(self, function):
        self.send("DeadLetterQueue", **{"outcome-destination": "default", "outcome-code": "gone"})
        answer = function.invoke({"dead_letters": {}})
        assert [group["count"] for group in answer.get("dead_letters", [])] == [1], answer

    def a_redrive(self, function):
        """Of the letter that the case before has left."""
        answer = function.invoke({"redrive": {"destination": "default", "code": "gone"}})
        assert answer["moved"] == 1 and answer.get("error") is None, answer
        assert (self.count("DeadLetterQueue"), self.count("RetryQueue")) == (0, 1)

    CASES = [
        a_delivery, a_retry, a_second_retry, a_dead_letter, an_outcome_that_is_returned, the_log, a_heartbeat, a_probe, a_check,
        a_list_of_dead_letters, a_redrive,
    ]

    def failing_case(self):
        """Name of the first case that fails, and why; nothing if none does."""
        self.clear()
        function = self.start()
        try:
            for case in self.CASES:
                try:
                    case(self, function)
                except Exception as error:  # whatever it is, the case did not go as it should
                    return case.__name__, f"{type(error).__name__} {error}"
            return None
        finally:
            function.end()

    def lines(self):
        """One line for each thing that is tried; a line that begins with a dash is wrong."""
        failed = self.failing_case()
        if failed:
            yield f"- {self.mode}: the role does not suffice for {failed[0]}: {failed[1]}"
            return
        yield f"  {self.mode}: the role suffices for {len(self.CASES)} cases"
        for role, policies in self.policies.items():
            for name, statements in policies.items():
                for index, action, resource in grants(statements):
                    self.allow(role, {name: without(statements, index, action, resource)})
                    failed = self.failing_case()
                    self.allow(role, {name: statements})
                    what = f"{self.mode}: without {action} on {resource}"
                    yield f"  {what}: {failed[0]} fails" if failed else f"- {what}: nothing fails ({role}, policy {name})"


class Server:
    """moto, which asks every caller for a permission."""

    def __init__(self):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.process = Process(
            "moto", [sys.executable, str(ROOT / "e2e/strict_moto.py"), "-H", "127.0.0.1", "-p", str(self.port)],
            folder=WORK, env=dict(os.environ, INITIAL_NO_AUTH_ACTION_COUNT=str(UNCHECKED)),
        )
        wait_for(self.port, self.process, 60)

    def client(self, service, credentials):
        return boto3.session.Session().client(
            service, endpoint_url=self.url, region_name=REGION, aws_access_key_id=credentials["AccessKeyId"],
            aws_secret_access_key=credentials["SecretAccessKey"], aws_session_token=credentials.get("SessionToken"),
        )

    def administrator(self):
        """Credentials of a user that may do everything."""
        iam = self.client("iam", {"AccessKeyId": "none", "SecretAccessKey": "none"})
        iam.create_user(UserName="administrator")
        everything = {"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]}
        iam.put_user_policy(UserName="administrator", PolicyName="everything", PolicyDocument=json.dumps(everything))
        return iam.create_access_key(UserName="administrator")["AccessKey"]


def anyone():
    statement = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def listed(value):
    return value if isinstance(value, list) else [value]


def grants(statements):
    """Each action on each resource, with the number of its statement."""
    for index, statement in enumerate(statements):
        for action in listed(statement["Action"]):
            for resource in listed(statement["Resource"]):
                yield index, action, resource


def without(statements, index, action, resource):
    """The statements with one action on one resource less."""
    changed = copy.deepcopy(statements)
    whole = changed.pop(index)
    actions = [one for one in listed(whole["Action"]) if one != action]
    resources = [one for one in listed(whole["Resource"]) if one != resource]
    rest = [{"Action": actions, "Resource": listed(whole["Resource"])}, {"Action": [action], "Resource": resources}]
    return changed + [whole | part for part in rest if part["Action"] and part["Resource"]]


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    endpoint = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Endpoint)
    threading.Thread(target=endpoint.serve_forever, daemon=True).start()
    server = Server()
    wrong = 0
    try:
        administrator = server.administrator()
        url = f"http://127.0.0.1:{endpoint.server_address[1]}"
        stacks = [Stack(mode, url, server, administrator) for mode in ["webhook-url", "secret", "table"]]

        def tried(stack):
            found = 0
            for line in stack.lines():
                print(line, flush=True)
                found += line.startswith("-")
            return found

        with ThreadPoolExecutor(len(stacks)) as pool:
            wrong = sum(pool.map(tried, stacks))
    finally:
        server.process.end()
    if wrong:
        sys.exit(f"{wrong} wrong")


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    main()
