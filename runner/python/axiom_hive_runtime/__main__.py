"""``python3 -m axiom_hive_runtime``: see ``--help``."""

import argparse
import sys

from . import generators, protocol


def parser():
    """The command line, as the supervisor calls it."""
    result = argparse.ArgumentParser(
        prog="axiom_hive_runtime", description="Answers prompts for an Axiom Hive supervisor."
    )
    result.add_argument("--protocol", choices=("text", "ndjson"), default="text")
    source = result.add_mutually_exclusive_group()
    source.add_argument(
        "--backend",
        choices=sorted(generators.BACKENDS),
        default="markov",
        help="a generator of this package (default: markov)",
    )
    source.add_argument(
        "--generator",
        metavar="MODULE:FUNCTION",
        help="your own callable (prompt, *, seed, branch) -> str",
    )
    openai = result.add_argument_group("backend openai")
    openai.add_argument(
        "--base-url", help="the URL before /chat/completions, e.g. http://127.0.0.1:8080/v1"
    )
    openai.add_argument("--model", default="default", help="the model's name")
    openai.add_argument("--system", help="a system message put before the prompt")
    openai.add_argument("--temperature", type=float, help="0 to 2 (default: the server's)")
    openai.add_argument("--max-tokens", type=int, help="upper bound of generated tokens")
    openai.add_argument(
        "--timeout", type=float, default=60.0, help="seconds for one request (default: 60)"
    )
    result.add_argument(
        "--workers", type=int, default=4, help="requests answered at once with ndjson (default: 4)"
    )
    return result


def main(argv=None):
    """Runs until stdin ends; returns the exit status."""
    options = parser().parse_args(argv)
    try:
        generate = generators.load(options)
    except generators.ConfigurationError as error:
        print(f"axiom_hive_runtime: {error}", file=sys.stderr)
        return 2
    if options.protocol == "ndjson":
        return protocol.serve_ndjson(generate, sys.stdin.buffer, sys.stdout.buffer, options.workers)
    return protocol.answer_text(generate, sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    sys.exit(main())
