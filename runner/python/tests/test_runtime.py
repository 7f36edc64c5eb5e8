"""Tests of the package: ``python3 -m unittest discover -s tests``, in the directory above."""

import contextlib
import http.server
import io
import json
import os
import subprocess
import sys
import threading
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, ROOT)

from axiom_hive_runtime import generators, markov, openai, protocol  # noqa: E402
from axiom_hive_runtime.__main__ import main, parser  # noqa: E402


def failing(prompt, *, seed, branch):
    raise RuntimeError("x" * 10_000)


def no_text(prompt, *, seed, branch):
    return 7


def wrong_shape(prompt):
    return prompt


def serve(lines, generate, workers=1):
    out = io.BytesIO()
    with contextlib.redirect_stderr(io.StringIO()):
        status = protocol.serve_ndjson(generate, io.BytesIO(lines), out, workers)
    return status, [json.loads(line) for line in out.getvalue().splitlines()]


def request(number, prompt="hello", seed="1"):
    return json.dumps({"id": str(number), "prompt": prompt, "branch": 0, "seed": seed}).encode() + b"\n"


class Text(unittest.TestCase):
    def answer(self, generate, raw=b"hello", environ=None):
        out = io.BytesIO()
        with contextlib.redirect_stderr(io.StringIO()) as errors:
            status = protocol.answer_text(generate, io.BytesIO(raw), out, environ or {})
        return status, out.getvalue(), errors.getvalue()

    def test_answer(self):
        self.assertEqual(self.answer(generators.echo, "hé".encode())[:2], (0, "hé".encode()))

    def test_seed_and_branch_come_from_the_environment(self):
        def show(prompt, *, seed, branch):
            return f"{seed} {branch}"

        environ = {"AXIOM_HIVE_SEED": str(2**62), "AXIOM_HIVE_BRANCH": "3"}
        self.assertEqual(self.answer(show, environ=environ)[1], b"4611686018427387904 3")

    def test_failures_are_told_on_stderr_only(self):
        for generate, raw in ((failing, b"x"), (generators.echo, b"\xff"), (no_text, b"x")):
            status, out, errors = self.answer(generate, raw)
            self.assertEqual((status, out), (1, b""))
            self.assertLess(len(errors), 1000)


class Ndjson(unittest.TestCase):
    def test_every_request_is_answered_by_id(self):
        status, replies = serve(b"".join(request(n, f"p{n}") for n in range(20)), generators.echo, 4)
        self.assertEqual(status, 0)
        self.assertEqual({r["id"]: r["text"] for r in replies}, {str(n): f"p{n}" for n in range(20)})

    def test_a_failing_generator_is_an_error_of_its_branch(self):
        for generate in (failing, no_text):
            status, replies = serve(request(1) + request(2), generate)
            self.assertEqual(status, 0)
            self.assertEqual(len(replies), 2)
            for reply in replies:
                self.assertEqual(sorted(reply), ["error", "id"])
                self.assertLessEqual(len(reply["error"]), protocol.MAX_ERROR_CHARACTERS)

    def test_a_line_that_is_no_request_ends_the_process(self):
        for line in (b"hello\n", b"[]\n", b"7\n", b'{"id":"1"}\n', b"\xff\n"):
            self.assertEqual(serve(line, generators.echo)[0], 1)

    def test_lone_surrogates_do_not_break_the_line(self):
        _, replies = serve(request(1), lambda prompt, *, seed, branch: "a\ud800b")
        self.assertEqual(replies[0]["text"], "a?b")


class Markov(unittest.TestCase):
    def ask(self, prompt, seeds=range(50)):
        return [markov.generate(prompt, seed=seed, branch=0) for seed in seeds]

    def test_same_seed_same_text(self):
        for prompt in ("Capital of Australia?", "Tell me about the ledger", "1234 * 5678", ""):
            self.assertEqual(self.ask(prompt), self.ask(prompt))

    def test_steady_facts_agree_and_shaky_ones_do_not(self):
        self.assertEqual(set(self.ask("What is the capital of France?")), {"Paris"})
        self.assertEqual(set(self.ask("What is 17 + 25?")), {"42"})
        shaky = self.ask("What is the capital of Australia?")
        self.assertGreater(len(set(shaky)), 1)
        self.assertEqual(max(set(shaky), key=shaky.count), "Canberra")

    def test_anything_gets_a_short_text(self):
        for text in self.ask("zzz", range(200)):
            self.assertTrue(text.strip())
            self.assertLessEqual(len(text.split()), markov.MAX_WORDS)

    def test_the_branch_number_plays_no_part(self):
        self.assertEqual(
            markov.generate("Tell me about the ledger", seed=1, branch=0),
            markov.generate("Tell me about the ledger", seed=1, branch=9),
        )


class Names(unittest.TestCase):
    def test_a_generator_is_found_by_name(self):
        self.assertIs(generators.from_name("axiom_hive_runtime.markov:generate"), markov.generate)

    def test_wrong_names_are_refused(self):
        sys.modules.setdefault("test_runtime", sys.modules[__name__])
        names = ("x", ":f", "m:", "no.such:thing", "json:nothing", "test_runtime:wrong_shape")
        for name in names:
            with self.assertRaises(generators.ConfigurationError, msg=name):
                generators.from_name(name)

    def test_a_wrong_command_line_is_status_2(self):
        with contextlib.redirect_stderr(io.StringIO()):
            self.assertEqual(main(["--backend", "openai"]), 2)
            self.assertEqual(main(["--backend", "openai", "--base-url", "ftp://x"]), 2)
            self.assertEqual(main(["--generator", "nothing"]), 2)


class Handler(http.server.BaseHTTPRequestHandler):
    replies = {}
    seen = []

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.seen.append((self.path, json.loads(body)))
        status, data = self.replies[self.path]
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        with contextlib.suppress(OSError):
            self.wfile.write(data)

    def log_message(self, *_):
        pass


class OpenAi(unittest.TestCase):
    def setUp(self):
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        Handler.seen.clear()

    def backend(self, *more):
        base = f"http://127.0.0.1:{self.server.server_port}/v1/"
        return generators.load(
            parser().parse_args(["--backend", "openai", "--base-url", base, "--model", "m", *more])
        )

    def reply(self, status, data):
        Handler.replies["/v1/chat/completions"] = (status, data)

    def test_answer(self):
        self.reply(200, json.dumps({"choices": [{"message": {"content": "Paris"}}]}).encode())
        backend = self.backend("--system", "brief", "--temperature", "0.5", "--max-tokens", "9")
        self.assertEqual(backend("Capital?", seed=2**31 + 3, branch=1), "Paris")
        expected = {
            "model": "m",
            "stream": False,
            "temperature": 0.5,
            "max_tokens": 9,
            "seed": 3,
            "messages": [
                {"role": "system", "content": "brief"},
                {"role": "user", "content": "Capital?"},
            ],
        }
        self.assertEqual(Handler.seen, [("/v1/chat/completions", expected)])

    def test_failures(self):
        for status, data in (
            (500, b"broken"),
            (302, b""),
            (200, b"no json"),
            (200, b"[]"),
            (200, b'{"choices":[]}'),
            (200, b'{"choices":[{"message":{"content":null}}]}'),
            (200, b"x" * (openai.MAX_REPLY_BYTES + 1)),
        ):
            self.reply(status, data)
            with self.assertRaises(openai.BackendError):
                self.backend()("x", seed=1, branch=0)


class Module(unittest.TestCase):
    def test_both_protocols_from_outside(self):
        def call(arguments, data, **environ):
            return subprocess.run(
                [sys.executable, "-m", "axiom_hive_runtime", *arguments],
                input=data,
                capture_output=True,
                check=True,
                timeout=60,
                env={"PYTHONPATH": ROOT, **environ},
            ).stdout

        out = call([], b"What is the capital of Italy?", AXIOM_HIVE_SEED="5")
        self.assertEqual(out, b"Rome")
        out = call(["--protocol", "ndjson", "--backend", "echo"], request(9, "ping"))
        self.assertEqual(json.loads(out), {"id": "9", "text": "ping"})


if __name__ == "__main__":
    unittest.main()
