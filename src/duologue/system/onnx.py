"""onnxruntime, which tells nobody that it runs: the one place that may import it."""

import os
from pathlib import Path

# onnxruntime 1.32 sends usage to its makers from the moment it is imported; this program tells nobody.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"
import onnxruntime
from onnxruntime import InferenceSession

__all__ = ["InferenceSession", "open_network"]


def open_network(network: Path | bytes, threads: int = 1) -> InferenceSession:
    """The network in a file, or in memory; on one thread of whoever runs it, unless it shall be more.

    A window of Silero takes 0.12 ms, and handing it to a pool costs more than that; for an answer of
    Smart Turn nobody waits, so a second core would be better spent on a reply.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    # Threads that spin in wait for work would keep a core busy between the answers.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return InferenceSession(network, options, providers=["CPUExecutionProvider"])
