#!/usr/bin/env python3
"""The page of m1-serve in headless Chromium: page_test.py BIN_DIR. Skipped (77) without Chromium. M1_SCREENSHOTS=DIR keeps pictures."""
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

import server

sys.path.insert(0, os.path.join(server.ROOT, "test", "Tools"))
import text_model

BIN = server.bin_dir()
CHROMIUM = shutil.which("chromium")
QUESTION = "Find the greatest common divisor of 3724 and 490."


class Browser:
    """Chromium, spoken to by the DevTools protocol through pipes."""

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        to_browser, self.out = os.pipe()
        self.into, from_browser = os.pipe()
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
                 "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe",
                 "--user-data-dir=" + self.profile.name, "about:blank"]
        self.process = subprocess.Popen(["sh", "-c", f'exec "$@" 3<&{to_browser} 4>&{from_browser}', "sh", CHROMIUM, *flags],
                                        pass_fds=(to_browser, from_browser), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(to_browser)
        os.close(from_browser)
        self.number, self.held, self.session = 0, b"", None
        self.errors = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        self.call("Runtime.enable")
        self.call("Page.enable")

    def call(self, method, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.out, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.held:
                piece = os.read(self.into, 1 << 16)
                assert piece, "Chromium has ended"
                self.held += piece
            text, self.held = self.held.split(b"\0", 1)
            answer = json.loads(text)
            if answer.get("method") == "Runtime.exceptionThrown":
                self.errors.append(answer["params"]["exceptionDetails"]["text"])
            if answer.get("id") == self.number:
                assert "error" not in answer, answer
                return answer["result"]

    def run(self, script):
        result = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def until(self, script, seconds=60):
        end = time.monotonic() + seconds
        while not self.run(script):
            assert time.monotonic() < end, "never true: " + script + "\n" + self.run("document.body.innerText")
            time.sleep(0.05)

    def open(self, url, width, height=800, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && document.getElementById('model').textContent !== 'M1 Runtime'")

    def picture(self, name):
        directory = os.environ.get("M1_SCREENSHOTS")
        if directory:
            with open(os.path.join(directory, name + ".png"), "wb") as file:
                file.write(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.out)
        os.close(self.into)
        self.profile.cleanup()


class Page(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = server.Server(BIN, server.tiny_reasoner(BIN), "--slots", "16")
        cls.url = f"http://{cls.server.host}:{cls.server.port}/"
        cls.browser = Browser()

    @classmethod
    def tearDownClass(cls):
        cls.browser.close()
        assert cls.server.close() == 0

    def setUp(self):
        self.browser.errors.clear()
        self.browser.open(self.url, 1100)
        self.browser.run("localStorage.clear()")
        self.browser.open(self.url, 1100)

    def tearDown(self):
        self.assertEqual(self.browser.errors, [])

    def set(self, **fields):
        for name, value in fields.items():
            self.browser.run(f"(() => {{ const e = document.getElementById({json.dumps(name)}); const v = {json.dumps(value)};"
                             "typeof v === 'boolean' ? e.checked = v : e.value = v; e.dispatchEvent(new Event('change')); })()")

    def send(self, text):
        self.set(prompt=text)
        self.browser.run("document.getElementById('send').click()")

    def ask(self, text):
        self.send(text)
        self.browser.until("!document.getElementById('send').disabled && document.querySelectorAll('.answer').length > 0")

    def fits(self):
        return self.browser.run("document.documentElement.scrollWidth <= innerWidth")

    def test_one_answer(self):
        """The page shows what the interface says, streams it and counts its tokens."""
        self.set(temperature="0")
        self.ask(QUESTION)
        said = self.browser.run("document.querySelector('.said').textContent")
        self.assertEqual(said, self.server.chat(QUESTION, temperature=0)["choices"][0]["message"]["content"])
        self.assertRegex(self.browser.run("document.getElementById('status').textContent"), r"^\d+ tokens")
        self.assertEqual(self.browser.run("document.querySelector('.user').textContent"), QUESTION)
        self.ask("What is 2+3?")
        self.assertEqual(self.browser.run("document.querySelectorAll('.user').length"), 2)
        self.browser.picture("conversation")
        self.browser.run("document.getElementById('fresh').click()")
        self.assertEqual(self.browser.run("document.getElementById('talk').children.length"), 0)

    def test_vote(self):
        """Samples side by side, the vote as bars, the winner chosen; in a narrow dark window, too."""
        for width, dark in ((1100, False), (400, True)):
            self.browser.open(self.url, width, dark=dark)
            self.set(samples="8", vote=True, temperature="1", seed="1", time_budget="60", max_tokens="300")
            self.ask(QUESTION)
            self.assertEqual(self.browser.run("document.querySelectorAll('.sample').length"), 8)
            self.assertIn("8 of 8 samples", self.browser.run("document.querySelector('.vote').innerText"))
            votes = self.browser.run("[...document.querySelectorAll('.vote .row')].map(r => [r.textContent, r.querySelector('.fill').style.width])")
            self.assertGreater(len(votes), 0)
            winner = self.browser.run("document.querySelector('.vote .row span').textContent")
            self.assertIn("\\boxed{" + winner + "}", self.browser.run("document.querySelector('.sample.chosen .said').textContent"))
            self.assertTrue(self.fits(), width)
            self.assertEqual(self.browser.run("document.documentElement.dataset.theme"), "dark" if dark else "light")
            self.browser.picture(f"vote-{width}")
            self.browser.run("document.getElementById('toggle').click()")
            self.assertTrue(self.fits(), width)
            self.browser.picture(f"settings-{width}")

    def test_provisional_ballots(self):
        """What running samples would answer is shown beside the ballots, hatched."""
        self.set(samples="4", vote=True, temperature="1", seed="1", max_tokens="900", probe_every="16")
        self.browser.run("""{
          window.most = 0;
          new MutationObserver(() => document.querySelectorAll('.vote .fill.maybe').forEach(
            fill => { window.most = Math.max(window.most, parseFloat(fill.style.width)); })).observe(document.body, { childList: true, subtree: true });
          const plain = window.fetch;
          window.fetch = (url, options) => plain(url, { ...options, body: options?.body && JSON.stringify({ ...JSON.parse(options.body), close_text: "\\\\boxed{7} " }) });
          0 }""")
        self.ask(QUESTION)
        self.assertIn(self.browser.run("window.most"), (25, 50, 75, 100))
        self.assertIn("4 of 4 samples", self.browser.run("document.querySelector('.vote').innerText"))
        self.assertEqual(self.browser.run("[...document.querySelectorAll('.vote .fill.maybe')].filter(f => f.style.width !== '0%').length"), 0)

    def test_stop(self):
        """Stop ends the samples on the server as well."""
        self.set(samples="200", temperature="1", max_tokens="900")
        self.send(QUESTION)
        self.browser.until("document.querySelector('.said')?.textContent.length > 0")
        self.browser.run("document.getElementById('stop').click()")
        self.browser.until("!document.getElementById('send').disabled")
        end = time.monotonic() + 20
        while self.server.metric("m1_running_samples") and time.monotonic() < end:
            time.sleep(0.05)
        self.assertEqual(self.server.metric("m1_running_samples"), 0)

    def test_texts_are_texts(self):
        """Markup in a message is shown, not obeyed; an error is shown in the server's words, and settings outlast a visit."""
        self.set(max_tokens="4", temperature="200")
        self.ask("<img src=x onerror=document.title='owned'>")
        self.assertNotEqual(self.browser.run("document.title"), "owned")
        self.assertEqual(self.browser.run("document.querySelectorAll('#talk img').length"), 0)
        self.assertIn("'temperature'", self.browser.run("document.querySelector('.error').textContent"))
        self.browser.run("document.getElementById('theme').click()")
        self.browser.open(self.url, 1100)
        self.assertEqual(self.browser.run("document.getElementById('temperature').value"), "200")
        self.assertEqual(self.browser.run("document.documentElement.dataset.theme"), "dark")

    def test_thought_is_folded(self):
        """What a model thinks is there, but folded away."""
        with tempfile.TemporaryDirectory() as directory:
            model = text_model.write(os.path.join(directory, "model"))
            path = os.path.join(model, "tokenizer_config.json")
            with open(path) as file:
                config = json.load(file)
            config["chat_template"] += "{% if add_generation_prompt %}<think>\n{% endif %}"
            with open(path, "w") as file:
                json.dump(config, file)
            artifact = os.path.join(directory, "thinker.m1a")
            server.compile_model(BIN, model, artifact)
            running = server.Server(BIN, artifact)
            try:
                self.browser.open(f"http://{running.host}:{running.port}/", 1100)
                self.set(max_tokens="40")
                self.ask("hi")
                thought = self.browser.run("(() => { const d = document.querySelector('.thought'); return [d.hidden, d.open, d.textContent.length > 20]; })()")
                self.assertEqual(thought, [False, False, True])
                self.assertEqual(self.browser.run("document.querySelector('.said').textContent"), "")
            finally:
                running.close()


if __name__ == "__main__":
    if not CHROMIUM:
        print("there is no Chromium")
        sys.exit(77)
    unittest.main(argv=sys.argv[:1] + sys.argv[2:])
