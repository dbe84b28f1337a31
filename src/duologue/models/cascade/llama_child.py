"""The language model's process: llama.cpp's HTTP server, for this machine and who knows the key only.

Arguments: the file of the weights, and how many tokens a conversation with its answer can have. Out: the
server's address, one JSON string, once it can be used.
"""

import os
import sys

import xllamacpp

from duologue.system import child
from duologue.system.cpus import cpus

KEY = "DUOLOGUE_LANGUAGE_KEY"
"""The environment variable with the key that requests must bring."""

SLOTS = 4
"""How many answers are written at once."""

THREADS = min(2, cpus())
"""How many threads write them."""

PATIENT = {"GOMP_SPINCOUNT": "2000"}
"""The environment variable that the process is started with: how often a thread looks whether the other one
is ready before it sleeps.

By itself, libgomp looks for milliseconds, many times a word, while the other thread may find no processor.
"""


def main() -> None:
    """Serve until standard input ends."""
    child.behave()
    if sys.platform != "win32":
        os.nice(5)  # more: what is written already is spoken first
    settings = xllamacpp.CommonParams()
    settings.model.path = sys.argv[1]
    settings.n_parallel = SLOTS
    settings.n_ctx = SLOTS * int(sys.argv[2])
    settings.cpuparams.n_threads = THREADS
    settings.cpuparams_batch.n_threads = THREADS
    settings.n_threads_http = SLOTS + 2  # its default goes by the machine, not by the container
    # 32 tokens take 0.25 s to read: as long as others wait, and as an abandoned prompt goes on.
    settings.n_batch = settings.n_ubatch = 32
    # Where turns in the middle are forgotten, what follows is moved forward, not read again.
    settings.n_cache_reuse = 8  # tokens in a row, at least
    settings.cache_ram_mib = 128  # of earlier conversations; its default is 8 GB
    # Of what was read, 8 bits of each key and value are kept, not 16: 95 MB less.
    settings.cache_type_k = settings.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_Q8_0
    settings.fit_params = False
    settings.n_gpu_layers = 0
    settings.warmup = True
    settings.verbosity = 0
    settings.hostnames = ["127.0.0.1"]
    settings.port = 0
    settings.api_keys = [os.environ[KEY]]
    settings.cors_origins = ""
    settings.ui = settings.endpoint_slots = settings.endpoint_props = False
    server = xllamacpp.Server(settings)
    child.tell(server.listening_address)
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
