"""llama.cpp's own server with a small language model: llama_server.py [PROJECTOR] [KEY].

Needs weights/xllamacpp and weights/smollm2 (tools/get-weights); runs in the repository's root. PROJECTOR ("" for none) lets
it take pictures, KEY is what clients must send. Prints its port once it answers, and ends when its standard input does.
"""
import os
import sys

said = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # its log is not for whoever reads the port
sys.path.insert(0, "weights")
import xllamacpp  # noqa: E402  (found where it was fetched to)

options = xllamacpp.CommonParams()
options.model.path = "weights/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
if len(sys.argv) > 1 and sys.argv[1]:
    options.mmproj.path = sys.argv[1]
if len(sys.argv) > 2:
    options.api_keys = [sys.argv[2]]
options.hostnames = ["127.0.0.1"]
options.port = 0
options.n_parallel = 2
options.n_ctx = 2 * 4096
# Two threads wait for each other at every step: on a machine that does something else as well, fifty times slower than one.
options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1
options.verbosity = 1
server = xllamacpp.Server(options)
print(server.listening_address.rsplit(":", 1)[1].rstrip("/"), file=said, flush=True)
sys.stdin.read()
os._exit(0)  # its threads need not agree
