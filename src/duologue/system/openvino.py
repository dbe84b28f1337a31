"""OpenVINO, which tells nobody that it runs: the one place that may import it."""

import sys

# `import openvino` imports its converter of models, and that posts to Google Analytics, with a number
# that it keeps in ~/intel, from a fork of this process. Nothing is converted here, so it is not let in:
# to OpenVINO it looks like a converter that is not installed.
sys.modules.setdefault("openvino.tools.ovc", None)  # type: ignore[arg-type]

import openvino as ov
from openvino import opset13 as ops

__all__ = ["ops", "ov"]
