"""A server of OpenAI's routes on loopback that answers with words of its own, as slowly and as badly
as a test asks. Streams are cut into pieces that respect neither events nor characters."""

import json
import ssl
import subprocess
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Server:
    """with Server() as server: server.url, server.requests, server.most_at_once"""

    def __init__(self, first_s=0.02, each_s=0.005, key=None, usage=True, certificate=None):
        self.first_s, self.each_s, self.key, self.usage = first_s, each_s, key, usage
        self.certificate = certificate  # a file and its key's: it speaks TLS
        self.requests = []  # bodies, with "path" and "at"
        self.headers = []   # of each
        self.statuses = []  # of the next answers, before they are served
        self.code = None    # of their errors
        self.refusal = "too busy"  # their words
        self.context = None  # messages that a request may have; more are refused as too long
        self.silent = ""    # a path that is never answered
        self.asked_in_vain = threading.Event()
        self.ends = threading.Event()
        self.cut = False    # streams end without [DONE]
        self.piece = 7      # bytes of one write
        self.words = ["Wörter", " and", " more", " 文字"]
        self.thoughts = []  # reasoning before them
        self.models = ["fake/model"]  # None: there is no such route
        self.streams = True  # otherwise answers are whole, whatever was asked for
        self.breaks = False  # the connection ends after the first word
        self.error = None    # an event in place of the words from the second on
        self.more_of_events = {}   # more keys of each word's
        self.last_ends = False     # the last word's chunk ends the answer, as vLLM's does
        self.counts_tokens = True  # /tokenize: a token a word
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()

    def __enter__(self):
        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.http.daemon_threads = True
        self.http.request_queue_size = 128
        self.http.handle_error = lambda *_: None
        self.http.owner = self
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            self.http.socket = context.wrap_socket(self.http.socket, server_side=True)
        threading.Thread(target=self.http.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *_):
        self.ends.set()
        self.http.shutdown()
        self.http.server_close()

    @property
    def url(self):
        port = self.http.server_address[1]
        return f"https://localhost:{port}" if self.certificate else f"http://127.0.0.1:{port}"


def self_signed(folder):
    """A certificate of localhost that signs itself, and its key."""
    certificate, key = f"{folder}/certificate.pem", f"{folder}/key.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt",
                    "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2", "-subj",
                    "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-keyout", key,
                    "-out", certificate], check=True, capture_output=True)
    return certificate, key


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def refuse(self, status, message, code=None):
        self.answer(status, {"error": {"message": message, "type": "x", "param": None, "code": code}})

    def is_allowed(self):
        owner = self.server.owner
        return owner.key is None or self.headers.get("Authorization") == f"Bearer {owner.key}"

    def stay_silent(self):
        owner = self.server.owner
        if owner.silent and self.path.endswith(owner.silent):
            owner.asked_in_vain.set()
            owner.ends.wait()
            self.close_connection = True
            return True
        return False

    def do_GET(self):
        if self.stay_silent():
            return
        if not self.is_allowed():
            return self.refuse(401, "Incorrect API key provided")
        models = self.server.owner.models
        if models is None or not self.path.endswith("/v1/models"):
            return self.refuse(404, "no such route")
        self.answer(200, {"object": "list", "data": [{"id": name, "object": "model"}
                                                     for name in models]})

    def do_POST(self):
        owner = self.server.owner
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.stay_silent():
            return
        if self.path == "/tokenize":
            if not owner.counts_tokens:
                return self.refuse(404, "there is no /tokenize")
            return self.answer(200, {"count": len(body["prompt"].split())})
        with owner.lock:
            owner.requests.append({**body, "path": self.path, "at": time.monotonic()})
            owner.headers.append(self.headers)
            owner.at_once += 1
            owner.most_at_once = max(owner.most_at_once, owner.at_once)
            status = owner.statuses.pop(0) if owner.statuses else 200
        try:
            if not self.is_allowed():
                return self.refuse(401, "Incorrect API key provided")
            if status != 200:
                return self.refuse(status, owner.refusal, owner.code)
            if owner.context is not None and len(body["messages"]) > owner.context:
                return self.refuse(400, owner.refusal, owner.code)
            if not owner.streams:
                return self.answer(200, {"choices": [{"finish_reason": "stop", "message": {
                    "role": "assistant", "content": "".join(owner.words)}}]})
            self.stream(body)
        finally:
            with owner.lock:
                owner.at_once -= 1

    def stream(self, body):
        owner = self.server.owner
        is_chat = self.path.endswith("/chat/completions")
        count = body.get("max_completion_tokens") or body.get("max_tokens") or 4
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        if is_chat:
            self.send_event({"choices": [{"delta": {"role": "assistant", "content": ""}}]})
        time.sleep(owner.first_s)
        for thought in owner.thoughts:
            self.send_event({"choices": [{"delta": {"reasoning_content": thought}}]})
        for i in range(count):
            if i == 1 and owner.breaks:
                self.close_connection = True
                return
            if i == 1 and owner.error:
                self.send_event({"error": {"message": owner.error}})
                break
            if i > 0:
                time.sleep(owner.each_s)
            word = owner.words[i % len(owner.words)]
            choice = {"delta": {"content": word}} if is_chat else {"text": word}
            ends = owner.last_ends and i + 1 == count
            self.send_event({"choices": [{**choice, "index": 0,
                                          "finish_reason": "length" if ends else None}],
                             **owner.more_of_events})
        if not owner.last_ends:
            choice = {"delta": {}} if is_chat else {"text": ""}
            self.send_event({"choices": [{**choice, "index": 0, "finish_reason": "length"}]})
        if owner.usage:
            prompt = body.get("prompt")
            self.send_event({"choices": [], "usage": {
                "prompt_tokens": len(prompt) if isinstance(prompt, list) else 11,
                "completion_tokens": count}})
        if not owner.cut:
            self.send_bytes(b"data: [DONE]\n\n")
        self.wfile.write(b"0\r\n\r\n")

    def send_event(self, event):
        self.send_bytes(b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n")

    def send_bytes(self, data):
        size = self.server.owner.piece
        for begin in range(0, len(data), size):
            part = data[begin:begin + size]
            self.wfile.write(b"%x\r\n%s\r\n" % (len(part), part))
