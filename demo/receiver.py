"""A webhook receiver for trials: prints what arrives, and answers what the path says (/answer/503)."""

import http.server
import sys


class Receiver(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status = int(self.path.rsplit("/", 1)[1]) if self.path.startswith("/answer/") else 200
        print(f"POST {self.path}  webhook-id: {self.headers.get('webhook-id')}  -> {status}", flush=True)
        print(body.decode(errors="replace"), flush=True)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8080
    # From within a container, this machine is reached at another address than loopback: 0.0.0.0 listens at all of them.
    address = sys.argv[2] if len(sys.argv) > 2 else "127.0.0.1"
    with http.server.ThreadingHTTPServer((address, port), Receiver) as server:
        print(f"listening on http://{address}:{server.server_address[1]}", flush=True)
        server.serve_forever()
