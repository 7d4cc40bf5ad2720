"""A hub of models on loopback, small and obedient: it redirects, cuts, lies and refuses as a test
asks. Large files ("lfs") lie on a second server, as on the real hub's content network."""

import hashlib
import json
import re
import ssl
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def git_sha1(data):
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def is_large(name):
    return name.endswith((".gguf", ".safetensors"))


class Repo:
    def __init__(self, files, gated=False, commit=COMMIT, revisions=("main",), listed=None):
        self.files, self.gated, self.commit, self.revisions = files, gated, commit, revisions
        self.listed = listed  # names in place of the files' own


class Hub:
    """with Hub({"user/repo": Repo({...})}) as hub: hub.url, hub.requests, ..."""

    def __init__(self, repos, certificate=None):
        self.repos, self.certificate = repos, certificate
        self.requests = []     # (server, method, path, headers)
        self.cuts = {}         # file -> bytes after which its next answers end, one each
        self.statuses = {}     # file -> refusals before it is served, at the content network
        self.refused = {}      # file -> the status by which the hub itself refuses it
        self.damaged = {}      # file -> bytes that are served in place of its own
        self.has_ranges = True
        self.pause = None      # called with the file before its bytes are sent
        self.expiry = 0        # answers that a signed address is good for; 0: any number
        self.signed = {}       # signature -> answers given
        self.token = None      # the only one that is valid
        self.evil_location = None
        self.lock = threading.Lock()

    def __enter__(self):
        self.content = self.serve(ContentNetwork)
        self.front = self.serve(Front)
        return self

    def serve(self, handler):
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        server.handle_error = lambda *_: None  # clients that leave are what this is for
        server.hub = self
        if self.certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*self.certificate)
            server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return server

    def __exit__(self, *_):
        for server in (self.front, self.content):
            server.shutdown()
            server.server_close()

    def address(self, server):
        host = "localhost" if self.certificate else "127.0.0.1"
        return f"http{'s' if self.certificate else ''}://{host}:{server.server_address[1]}"

    @property
    def url(self):
        return self.address(self.front)

    def asked(self, part, server=None, method=None):
        with self.lock:
            return [request for request in self.requests if part in request[2]
                    and server in (None, request[0]) and method in (None, request[1])]

    def take(self, table, name):
        """The next of what a test planned for a file, or None."""
        with self.lock:
            return table[name].pop(0) if table.get(name) else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def note(self, server):
        with self.server.hub.lock:
            self.server.hub.requests.append((server, self.command, self.path, dict(self.headers)))

    def answer(self, status, body=b"", **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_file(self, name, data, **headers):
        """A file's bytes, or a range of them; cut short where a test says so."""
        hub = self.server.hub
        if hub.pause:
            hub.pause(name)
        data = hub.damaged.get(name, data)
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        begin, end = 0, len(data)
        if asked and hub.has_ranges:
            begin, end = int(asked[1]), min(int(asked[2]) + 1, len(data))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {begin}-{end - 1}/{len(data)}")
        else:
            self.send_response(200)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(end - begin))
        self.end_headers()
        if self.command == "HEAD":
            return
        cut = hub.take(hub.cuts, name)
        self.wfile.write(data[begin:end if cut is None else min(begin + cut, end)])
        if cut is not None:
            self.close_connection = True


class Front(Handler):
    """The hub itself: the API, small files, and redirects to large ones."""

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        self.note("front")
        hub = self.server.hub
        path = urllib.parse.unquote(self.path.split("?")[0])
        path = re.sub(r"^http://[^/]+", "", path)  # asked as a proxy
        if path == "/api/models":
            found = [{"id": name} for name in hub.repos]
            return self.answer(200, json.dumps(found).encode())
        wanted = (re.fullmatch(r"/api/models/([^/]+/[^/]+)/(?:revision/(.+)|refs)", path)
                  or re.fullmatch(r"/([^/]+/[^/]+)/resolve/([^/]+)/(.+)", path))
        repo = hub.repos.get(wanted[1]) if wanted else None
        if repo is None:
            return self.answer(401, b"{}", X_Error_Code="RepoNotFound")
        if repo.gated and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.answer(403 if "Authorization" in self.headers else 401, b"{}",
                               X_Error_Code="GatedRepo")
        if path.endswith("/refs"):
            branches = [{"name": name} for name in repo.revisions]
            return self.answer(200, json.dumps({"branches": branches, "tags": []}).encode())
        if path.startswith("/api/"):
            return self.list(repo, wanted[2])
        return self.resolve(repo, wanted[1], wanted[3])

    def list(self, repo, revision):
        if revision not in (*repo.revisions, repo.commit):
            return self.answer(404, b"{}", X_Error_Code="RevisionNotFound")
        siblings = []
        for name in repo.listed or repo.files:
            data = repo.files.get(name, b"")
            sibling = {"rfilename": name, "size": len(data), "blobId": git_sha1(data)}
            if is_large(name):
                sibling["lfs"] = {"sha256": sha256(data), "size": len(data), "pointerSize": 134}
            siblings.append(sibling)
        self.answer(200, json.dumps({"sha": repo.commit, "siblings": siblings}).encode())

    def resolve(self, repo, repo_name, name):
        hub = self.server.hub
        data = repo.files.get(name)
        if data is None:
            return self.answer(404, b"", X_Error_Code="EntryNotFound")
        if name in hub.refused:
            return self.answer(hub.refused[name], b"")
        if not is_large(name):
            return self.send_file(name, data, ETag=f'"{git_sha1(data)}"',
                                  X_Repo_Commit=repo.commit)
        with hub.lock:
            signature = f"s{len(hub.signed)}"
            hub.signed[signature] = 0
        place = hub.evil_location or (
            f"{hub.address(hub.content)}/{repo_name}/{name}?signature={signature}")
        self.answer(302, b"Found", Location=place, X_Repo_Commit=repo.commit,
                    X_Linked_Etag=f'"{sha256(data)}"', X_Linked_Size=str(len(data)))


class ContentNetwork(Handler):
    """Where large files lie: knows signatures and no tokens."""

    def do_GET(self):
        self.note("content")
        hub = self.server.hub
        path, signature = self.path.split("?signature=")
        user, repo, name = urllib.parse.unquote(path).lstrip("/").split("/", 2)
        with hub.lock:
            hub.signed[signature] += 1
            expired = hub.expiry and hub.signed[signature] > hub.expiry
        if expired:
            return self.answer(403, b"expired")
        status = hub.take(hub.statuses, name)
        if status:
            return self.answer(status, b"no", Retry_After="0")
        self.send_file(name, hub.repos[f"{user}/{repo}"].files[name])
