"""moto's server with a faster clock for SQS: its own makes a date of every look, and it looks at the clock several times
for each message of a queue whenever one is written. Nothing else is changed."""

import sys
import time

import moto.sqs.models
from moto.server import main

moto.sqs.models.unix_time_millis = lambda: time.time() * 1000

if __name__ == "__main__":
    sys.exit(main())
