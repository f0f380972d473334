"""A real browser (Chromium, headless) that tests look through: a page is opened from its file, and asked what it shows.

    with Browser(tmp_path) as browser:
        page = browser.open(path, width=400)
        page.ask("document.title"), page.errors, page.requests, page.picture()

It is driven by the DevTools protocol over a pair of pipes (--remote-debugging-pipe: JSON, ended by NUL), so that no port is
needed and nothing else can talk to it. It may reach no host: every name leads nowhere."""

import base64
import json
import os
import select
import shutil
import subprocess
import time

DEADLINE_S = 60
FLAGS = ["--headless", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions", "--no-sandbox",
         "--disable-background-networking", "--host-resolver-rules=MAP * ~NOTFOUND", "--remote-debugging-pipe"]


class Browser:
    def __init__(self, directory):
        program = shutil.which("chromium")
        assert program, "chromium is missing: deploy/install-deps.sh test installs it"
        self.log = (directory / "chromium.log").open("wb")
        theirs, self.to = os.pipe()
        self.source, answers = os.pipe()
        # It reads from 3 and writes to 4. What is passed keeps its number, so a shell moves it there.
        move = f'exec 3<&{theirs} 4>&{answers}; exec "$@"'
        self.process = subprocess.Popen(["bash", "-c", move, "bash", program, *FLAGS, f"--user-data-dir={directory / 'profile'}"],
                                        pass_fds=(theirs, answers), stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        os.close(theirs)
        os.close(answers)
        self.buffer, self.number, self.events = b"", 0, []

    def __enter__(self):
        return self

    def __exit__(self, *_):
        os.close(self.to)  # it ends when nobody can tell it anything any more
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        os.close(self.source)
        self.log.close()

    def _message(self):
        end = time.monotonic() + DEADLINE_S
        while b"\0" not in self.buffer:
            ready, _, _ = select.select([self.source], [], [], max(0, end - time.monotonic()))
            more = os.read(self.source, 1 << 20) if ready else b""
            assert more, f"the browser ended or says nothing: see {self.log.name}"
            self.buffer += more
        text, _, self.buffer = self.buffer.partition(b"\0")
        return json.loads(text)

    def tell(self, method, session=None, **params):
        """Sends a command and returns its result; events that come in between are kept."""
        self.number += 1
        command = {"id": self.number, "method": method, "params": params} | ({"sessionId": session} if session else {})
        text = json.dumps(command).encode() + b"\0"
        while text:
            text = text[os.write(self.to, text):]
        while (message := self._message()).get("id") != self.number:
            self.events.append(message)
        assert "error" not in message, (method, message)
        return message["result"]

    def wait_event(self, session, method):
        while not any(e.get("sessionId") == session and e["method"] == method for e in self.events):
            self.events.append(self._message())

    def open(self, path, width, height=900):
        return Page(self, path, width, height)


class Page:
    def __init__(self, browser, path, width, height):
        self.browser = browser
        target = browser.tell("Target.createTarget", url="about:blank")["targetId"]
        self.session = browser.tell("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.tell(f"{domain}.enable")
        self.tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.tell("Page.navigate", url=path.as_uri())
        browser.wait_event(self.session, "Page.loadEventFired")

    def tell(self, method, **params):
        return self.browser.tell(method, self.session, **params)

    def ask(self, expression):
        """The value of a JavaScript expression in the page."""
        answer = self.tell("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, (expression, answer)
        return answer["result"].get("value")

    def _events(self, *methods):
        return [e["params"] for e in self.browser.events if e.get("sessionId") == self.session and e["method"] in methods]

    @property
    def errors(self):
        """What scripts threw, and what the console complains of."""
        thrown = self._events("Runtime.exceptionThrown")
        logged = [e for e in self._events("Log.entryAdded") if e["entry"]["level"] in ("error", "warning")]
        return thrown + logged

    @property
    def requests(self):
        """The addresses of everything that was loaded, the page itself first."""
        return [e["request"]["url"] for e in self._events("Network.requestWillBeSent")]

    def picture(self):
        """The whole page as PNG."""
        return base64.b64decode(self.tell("Page.captureScreenshot", format="png", captureBeyondViewport=True)["data"])
