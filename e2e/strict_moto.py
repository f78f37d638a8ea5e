"""moto's server that checks IAM policies, and of each statement also the resource.

By itself moto looks at the resource for SQS alone; any other statement counts for every resource. Here it is told which
secret, table or log group a request is about, and that SQS has no permissions of their own for its batch calls.
"""

import sys

from moto.dynamodb.responses import DynamoHandler
from moto.iam import access_control
from moto.iam.access_control import IAMRequest
from moto.logs.responses import LogsResponse
from moto.secretsmanager.responses import SecretsManagerResponse
from moto.server import main


def secret(self):
    name = self._get_param("SecretId")
    found = self.backend.secrets.get(name) if name else None
    return found.arn if found else "none"


def table(self):
    params = self.params
    [name] = [params["TableName"]] if "TableName" in params else params["RequestItems"]
    return f"arn:aws:dynamodb:{self.region}:{self.current_account}:table/{name}"


def log_group(self):
    name = self._get_param("logGroupName")
    return f"arn:aws:logs:{self.region}:{self.current_account}:log-group:{name}:log-stream:{self._get_param('logStreamName')}"


class Request(IAMRequest):
    def __init__(self, action, **others):
        # https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-api-permissions-reference.html
        super().__init__(action=action.removesuffix("Batch"), **others)


access_control.IAMRequest = Request
SecretsManagerResponse._determine_resource = secret
DynamoHandler._determine_resource = table
LogsResponse._determine_resource = log_group

if __name__ == "__main__":
    sys.exit(main())
