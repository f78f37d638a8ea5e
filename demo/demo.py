"""`make demo`: the function under cargo-lambda's runtime and a receiver, both on this machine; no AWS account."""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
WORK = ROOT / "target" / "demo"
EVENTS = ROOT / "events"


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def title(text):
    print(f"\n\033[1m── {text}\033[0m" if sys.stdout.isatty() else f"\n── {text}", flush=True)


class Process:
    """A program in the background, with its output in a file; it ends with this script."""

    def __init__(self, name, command, folder=WORK, **options):
        self.path = folder / f"{name}.log"
        self.output = open(self.path, "wb")
        self.process = subprocess.Popen(
            command, stdout=self.output, stderr=subprocess.STDOUT, cwd=ROOT, start_new_session=True, **options
        )
        self.shown = 0

    def new_lines(self):
        # AWS's emulator hands output on in pieces, so the last line may still be on its way.
        for _ in range(50):
            text = self.path.read_bytes()[self.shown :]
            if not text or text.endswith(b"\n"):
                break
            time.sleep(0.02)
        whole = text[: text.rfind(b"\n") + 1]
        self.shown += len(whole)
        return whole.decode(errors="replace").splitlines()

    def end(self):
        try:
            os.killpg(self.process.pid, signal.SIGTERM)
            self.process.wait(5)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(self.process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


def wait_for(port, process, seconds):
    end = time.time() + seconds
    while time.time() < end:
        if process.process.poll() is not None:
            break
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    sys.exit(f"it did not start:\n{process.path.read_text(errors='replace')}")


def main():
    WORK.mkdir(parents=True, exist_ok=True)
    receiver_port, lambda_port, closed_port = free_port(), free_port(), free_port()
    url = f"http://127.0.0.1:{receiver_port}"
    destinations = {
        "destinations": {
            "soc": {"url": f"{url}/webhook?api_key=not-in-the-log"},
            "busy": {"url": f"{url}/answer/503"},
            "moved": {"url": f"{url}/answer/404"},
            "down": {"url": f"http://127.0.0.1:{closed_port}/webhook"},
        },
        "routes": {"201": ["busy"], "202": ["moved"], "203": ["down"], "*": ["soc"]},
    }
    (WORK / "destinations.json").write_text(json.dumps(destinations, indent=2))
    environment = dict(os.environ, DESTINATIONS=f"file:{WORK / 'destinations.json'}", LOCAL_RECEIVERS="true")

    title("Building the function (the first time takes a few minutes)")
    subprocess.run(["cargo", "build", "--quiet", "--bin", "detection-outcome-handler"], cwd=ROOT, check=True)
    receiver = Process("receiver", [sys.executable, str(ROOT / "demo/receiver.py"), str(receiver_port)])
    function = Process(
        "function",
        ["cargo", "lambda", "watch", "--invoke-address", "127.0.0.1", "--invoke-port", str(lambda_port)],
        env=environment,
    )
    try:
        wait_for(receiver_port, receiver, 10)
        wait_for(lambda_port, function, 120)
        receiver.new_lines()
        invoke = lambda name, event: show(name, event, lambda_port, receiver, function)
        invoke("A matched detection: delivered", (EVENTS / "matched.json").read_text())
        invoke("A batch from SQS: each record has its own fate", (EVENTS / "sqs-poison.json").read_text())
        for detection, what in [(201, "answers 503"), (202, "answers 404"), (203, "refuses connections")]:
            outcome = dict(json.loads((EVENTS / "matched.json").read_text()), detection_id=detection, run_id=f"run-{detection}")
            invoke(f"An endpoint that {what}", json.dumps(outcome))
        invoke("A probe: a test message to one destination", json.dumps({"probe": "soc"}))
        invoke("A check: everything that is configured", json.dumps({"check": True}))
    finally:
        function.end()
        receiver.end()


def show(name, event, port, receiver, function):
    title(name)
    (WORK / "event.json").write_text(event)
    function.new_lines()
    command = ["cargo", "lambda", "invoke", "--invoke-address", "127.0.0.1", "--invoke-port", str(port)]
    answer = subprocess.run(
        [*command, "--data-file", str(WORK / "event.json"), "detection-outcome-handler"],
        cwd=ROOT, text=True, capture_output=True, timeout=300,
    )
    time.sleep(0.5)
    arrived = receiver.new_lines()
    print("arrived at the receiver:" if arrived else "nothing arrived at the receiver")
    for line in arrived:
        print(f"   {line}")
    print("the log:")
    for line in function.new_lines():
        line = re.sub(r"\x1b\[[0-9;]*m", "", line)
        if line.startswith("{"):
            print(f"   {line}")
    # cargo-lambda draws a box around an error; its lines begin with these signs.
    parts = [line.strip(" ×│") for line in answer.stderr.splitlines() if line.strip()[:1] in "×│"]
    error = " ".join(part for part in parts if part)
    print(f"the answer: {answer.stdout.strip() or 'an error: ' + error}", flush=True)


if __name__ == "__main__":
    main()
