"""The two protocols of a process runtime.

``text``: the prompt is stdin until its end, the answer is stdout; seed and branch number are in the
environment as ``AXIOM_HIVE_SEED`` and ``AXIOM_HIVE_BRANCH``.

``ndjson``: one JSON object per line. Request ``{"id", "prompt", "branch", "seed"}`` (the seed is a
decimal string), reply ``{"id", "text"}`` or ``{"id", "error"}``, in any order.
"""

import json
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

MAX_ERROR_CHARACTERS = 500


def _explain(error):
    return f"{type(error).__name__}: {error}"[:MAX_ERROR_CHARACTERS]


def answer_text(generate, stdin, stdout, environ=None):
    """Answers the one prompt on ``stdin``; returns the exit status."""
    environ = os.environ if environ is None else environ
    try:
        prompt = stdin.read().decode("utf-8")
        seed = int(environ.get("AXIOM_HIVE_SEED", "0"))
        branch = int(environ.get("AXIOM_HIVE_BRANCH", "0"))
        text = generate(prompt, seed=seed, branch=branch)
        stdout.write(text.encode("utf-8"))
        stdout.flush()
    except Exception as error:  # a generator may raise anything
        print(f"axiom_hive_runtime: {_explain(error)}", file=sys.stderr)
        return 1
    return 0


def serve_ndjson(generate, stdin, stdout, workers=4):
    """Answers requests until ``stdin`` ends; returns the exit status.

    A line that is no request ends the process: whoever writes it cannot be answered by id.
    """
    lock = threading.Lock()

    def reply(message):
        line = json.dumps(message, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with lock:
            stdout.write(line)
            stdout.flush()

    def answer(request):
        try:
            text = generate(
                request["prompt"], seed=int(request["seed"]), branch=int(request["branch"])
            )
            if not isinstance(text, str):
                raise TypeError("a generator must return str")
            message = {"id": request["id"], "text": text}
        except Exception as error:  # a generator may raise anything
            message = {"id": request["id"], "error": _explain(error)}
        reply(message)

    with ThreadPoolExecutor(max_workers=max(1, workers)) as pool:
        for line in stdin:
            try:
                request = json.loads(line)
                for name in ("id", "prompt", "branch", "seed"):
                    request[name]
            except (ValueError, TypeError, KeyError) as error:
                print(f"axiom_hive_runtime: not a request: {_explain(error)}", file=sys.stderr)
                return 1
            pool.submit(answer, request)
    return 0
