"""A client of `sinopia serve`, on the standard library alone.

    client = Client()                                     # SINOPIA_SERVER, SINOPIA_TOKEN
    layout = client.plan("a blue dog")[0]["layout"]
    png = client.paint({"layout": layout, "seed": 1})
"""

import http.client
import json
import logging
import os
import queue
import threading
import time
import urllib.error
import urllib.parse
import urllib.request

DEFAULT_SERVER = "http://127.0.0.1:7878"
# What `/api/options` lists: stands in for it where the server cannot be asked.
KNOWN_METHODS = ["lmd", "lmd-plus", "boxdiff", "backward-guidance", "multidiffusion", "gligen", "sd"]
FINAL = ("done", "failed", "cancelled")
LOG = logging.getLogger("sinopia")

# Seconds.
ANSWER_TIMEOUT = 60  # events come with a sign of life every 15
PLAN_TIMEOUT = 1800  # a language model may think for long; `check` can end the wait
PATIENCE = 600  # with a server that is busy
PAUSE = 0.1  # between two calls of `check`


class SinopiaError(RuntimeError):
    """What was wrong, and what to do about it. `status` is HTTP's, where the server answered."""

    def __init__(self, message, hint=None, status=None):
        super().__init__(f"{message}\nhint: {hint}" if hint else message)
        self.status = status


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token goes to the server that was named and to no other."""

    def redirect_request(self, *_):
        return None


class Client:
    """A server. `check` is called all the while that something is waited for; whatever it raises ends the waiting, and a job that is being painted."""

    def __init__(self, server=None, token=None, check=lambda: None, patience=PATIENCE):
        self.server = (server or os.environ.get("SINOPIA_SERVER") or DEFAULT_SERVER).strip().rstrip("/")
        self._token = (token or os.environ.get("SINOPIA_TOKEN") or "").strip()
        self._check = check
        self._patience = patience
        if not self._token.isascii() or any(char.isspace() for char in self._token):
            raise SinopiaError("the token has characters that no token has", "put the server's token into SINOPIA_TOKEN")
        host = self._host()
        proxies = [urllib.request.ProxyHandler({})] if host in ("localhost", "::1") or host.startswith("127.") else []
        self._opener = urllib.request.build_opener(_NoRedirects, *proxies)

    def _host(self):
        try:
            url = urllib.parse.urlsplit(self.server)
            if url.scheme in ("http", "https") and url.hostname:
                return url.hostname
        except ValueError:  # brackets that do not match
            pass
        raise SinopiaError(f"`{self.server}` is no address of a server", f"put one such as {DEFAULT_SERVER} into SINOPIA_SERVER")

    def options(self, timeout=ANSWER_TIMEOUT):
        """What can be asked for: methods, models, limits."""
        return self._json("GET", "/api/options", timeout=timeout)

    def plan(self, caption, candidates=1):
        """Layouts for a caption, best first: `[{"layout", "findings", "penalty"}]`."""
        return self._planned("/api/plan", {"caption": caption, "candidates": candidates})["candidates"]

    def edit(self, layout, instruction):
        """A layout changed as the instruction says: `{"layout", "findings", …}`."""
        return self._planned("/api/plan/edit", {"layout": layout, "instruction": instruction})

    def read_layout(self, text):
        """The layout in a text: layout JSON, or another format that the server knows. Its boxes are clipped to the canvas."""
        return self._json("POST", "/api/layouts/convert?to=sinopia", text.encode(), "text/plain")["layout"]

    def paint(self, request, on_event=lambda event, data: None):
        """Queues a painting, follows it and returns its PNG. `on_event` hears `job`, `progress` and `preview`."""
        job = self._json("POST", "/api/jobs", request)
        try:
            job = self._follow(job, on_event)
        except BaseException:
            self.cancel(job["id"])
            raise
        if job["state"] == "done":
            return self._bytes("GET", job["image"])
        error = job["error"] or {"message": "the job was cancelled on the server", "hint": None}
        raise SinopiaError(f"the server could not paint it: {error['message']}", error["hint"])

    def cancel(self, job_id):
        """Ends a job, if the server can be reached."""
        try:
            self._json("POST", f"/api/jobs/{job_id}/cancel", {}, patience=0)
        except SinopiaError:
            pass

    def _follow(self, job, on_event):
        """Listens until the job has ended. A line that breaks is taken up again."""
        while job["state"] not in FINAL:
            for event, data in self._while_checking(lambda: self._events(f"/api/jobs/{job['id']}/events")):
                if event == "job":
                    job = data
                on_event(event, data)
            if job["state"] not in FINAL:
                self._sleep(1)
                job = self._json("GET", f"/api/jobs/{job['id']}")
                on_event("job", job)
        return job

    def _events(self, path):
        """Server-sent events, as pairs of name and data."""
        try:
            with self._open("GET", path) as answer:
                event = data = None
                for line in answer:
                    field, _, value = line.decode().rstrip("\r\n").partition(": ")
                    if field == "event":
                        event = value
                    elif field == "data":
                        data = value
                    elif not field and data is not None:
                        yield event, json.loads(data)
                        event = data = None
        except (OSError, http.client.HTTPException):
            return

    def _planned(self, path, request):
        """Planning takes long, so it is done beside `check`."""

        def answer():
            yield self._json("POST", path, request, timeout=PLAN_TIMEOUT)

        return next(self._while_checking(answer))

    def _while_checking(self, produce):
        """What `produce` yields on a thread of its own; `check` is called meanwhile."""
        items = queue.Queue()

        def work():
            try:
                for item in produce():
                    items.put((item, None))
                items.put((None, StopIteration()))
            except BaseException as error:  # raised again where it is waited for
                items.put((None, error))

        threading.Thread(target=work, daemon=True).start()
        while True:
            self._check()
            try:
                item, error = items.get(timeout=PAUSE)
            except queue.Empty:
                continue
            if isinstance(error, StopIteration):
                return
            if error:
                raise error
            yield item

    def _sleep(self, seconds):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._check()
            time.sleep(PAUSE)

    def _json(self, *args, **kwargs):
        answer = self._bytes(*args, **kwargs)
        try:
            return json.loads(answer)
        except ValueError as error:
            raise SinopiaError(f"{self.server} does not answer as a Sinopia server does") from error

    def _bytes(self, method, path, body=None, media_type="application/json", timeout=ANSWER_TIMEOUT, patience=None):
        """An answer's body. A server that is busy and says when to come again is asked again."""
        end = time.monotonic() + (self._patience if patience is None else patience)
        while True:
            try:
                with self._open(method, path, body, media_type, timeout) as answer:
                    return answer.read()
            except urllib.error.HTTPError as error:
                told = error.headers.get("Retry-After", "")
                seconds = max(int(told), 1) if told.isdecimal() and error.code in (429, 503) else None
                if seconds is None or time.monotonic() + seconds > end:
                    raise self._refusal(error) from None
                LOG.info("the Sinopia server is busy: asking again in %s s", seconds)
                self._sleep(seconds)
            except (OSError, http.client.HTTPException) as error:
                reason = getattr(error, "reason", None) or error
                hint = "start it with `sinopia serve`, or put its address into SINOPIA_SERVER"
                raise SinopiaError(f"cannot reach the Sinopia server {self.server}: {reason}", hint) from None

    def _open(self, method, path, body=None, media_type="application/json", timeout=ANSWER_TIMEOUT):
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        headers = {"Content-Type": media_type}
        if self._token:
            headers["Authorization"] = f"Bearer {self._token}"
        return self._opener.open(urllib.request.Request(self.server + path, data, headers, method=method), timeout=timeout)

    def _refusal(self, error):
        """The server's refusal in its own words."""
        try:
            told = json.loads(error.read())["error"]
            told["message"]
        except (OSError, ValueError, LookupError, TypeError, http.client.HTTPException):  # something else than a Sinopia server
            told = {"message": error.reason}
        hint = "put the server's token into SINOPIA_TOKEN" if error.code == 401 else told.get("hint")
        return SinopiaError(f"the server refused ({error.code}): {told['message']}", hint, error.code)
