"""The default runtime of Axiom Hive: a prompt in, a text out, over stdin and stdout.

A generator is a callable ``generate(prompt, *, seed, branch) -> str``. The supervisor judges what it
returns; nothing in this package is trusted.
"""

__version__ = "0.1.0"
