"""Where texts come from: the generator hook and the built-in backends."""

import importlib
import inspect

from . import markov, openai


class ConfigurationError(Exception):
    """The command line names a generator that cannot be had."""


def echo(prompt, *, seed, branch):
    """Answers with the prompt."""
    return prompt


def _openai(options):
    if not options.base_url:
        raise ConfigurationError("--backend openai needs --base-url")
    try:
        return openai.OpenAi(
            options.base_url,
            options.model,
            system=options.system,
            temperature=options.temperature,
            max_tokens=options.max_tokens,
            timeout=options.timeout,
        )
    except ValueError as error:
        raise ConfigurationError(str(error)) from error


BACKENDS = {
    "echo": lambda options: echo,
    "markov": lambda options: markov.generate,
    "openai": _openai,
}


def load(options):
    """The generator that the command line names."""
    if options.generator:
        return from_name(options.generator)
    return BACKENDS[options.backend](options)


def from_name(name):
    """``module:function`` to a callable ``(prompt, *, seed, branch) -> str``."""
    module_name, separator, attribute = name.partition(":")
    if not (module_name and separator and attribute):
        raise ConfigurationError("--generator must be MODULE:FUNCTION")
    try:
        function = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError) as error:
        raise ConfigurationError(f"--generator {name}: {error}") from error
    try:
        inspect.signature(function).bind("prompt", seed=0, branch=0)
    except (TypeError, ValueError) as error:
        raise ConfigurationError(
            f"--generator {name}: must be callable as (prompt, *, seed, branch): {error}"
        ) from error
    return function
