"""From the files of the original to a checkpoint that is mapped into memory."""

import errno
import json
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from duologue.errors import ModelUnavailable
from duologue.models.mini_omni import checkpoint as layout
from duologue.models.mini_omni import original as source
from duologue.models.mini_omni.checkpoint import (
    Checkpoint,
    check_tensors,
    checkpoint_folder,
    describe,
    open_checkpoint,
    write_tensors,
)
from duologue.models.mini_omni.original import Original, Tensors, as_array
from duologue.weights import alone_in


def convert(original: Original, folder: Path) -> Checkpoint:
    """Make a checkpoint of the original's files.

    Needs hardly more memory than the largest tensor: what is read is mapped, and written at once.

    Args:
        original: the files.
        folder: where the checkpoint goes; it must not be there yet.

    Raises:
        ModelUnavailable: a file is missing or cut short, or a tensor is missing, has another shape,
            or holds something that is no number.
    """
    path, shape, tensors = source.language_model(original.mini_omni)
    check_tensors(path, tensors, layout.language_model_tensors(shape))
    encoder_path, encoder_shape, encoder = source.encoder(original.whisper)
    check_tensors(encoder_path, encoder, layout.encoder_tensors(encoder_shape))
    if encoder_shape.width != shape.adapter_width:
        raise ModelUnavailable(
            f"{encoder_path} gives features of {encoder_shape.width} values, and Mini-Omni "
            f"expects {shape.adapter_width}"
        )
    snac_path, snac_shape, snac = source.snac(original.snac)
    check_tensors(snac_path, snac, layout.snac_tensors(snac_shape))

    folder.mkdir(parents=True)
    _copy_json(original.mini_omni / source.TOKENIZER, folder / layout.TOKENIZER)
    write_tensors(folder / layout.LANGUAGE_MODEL, _arrays(path, tensors))
    write_tensors(folder / layout.ENCODER, _arrays(encoder_path, encoder, half=True))
    write_tensors(folder / layout.SNAC, _arrays(snac_path, snac))
    describe(
        Checkpoint(
            folder,
            original.random,
            original.source,
            shape,
            encoder_shape,
            snac_shape,
            original.commits,
        )
    )
    return open_checkpoint(folder)


@contextmanager
def replacing(folder: Path) -> Iterator[Path]:
    """A place to work in. What stands in it under the name of `folder` in the end takes its place.

    What was there before goes with all that was made of it. Nobody else pulls meanwhile.

    Raises:
        ModelUnavailable: the disk is full, or cannot be written.
    """
    cache = folder.parent
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with alone_in(cache):
            for leftover in cache.glob("pull-*"):  # of a process that was killed
                shutil.rmtree(leftover, ignore_errors=True)
            with tempfile.TemporaryDirectory(prefix="pull-", dir=cache) as name:
                work = Path(name)
                yield work
                if folder.exists():
                    folder.rename(work / "replaced")
                (work / folder.name).rename(folder)
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise ModelUnavailable(
                f"the disk of {cache} is full, so Mini-Omni's weights could not be stored; "
                "free some space, or set DUOLOGUE_CACHE to another folder"
            ) from error
        raise ModelUnavailable(
            f"the cache folder {cache} cannot be written ({error.strerror or error}); "
            "set DUOLOGUE_CACHE to another folder"
        ) from error


def pull(original: Original, say: Callable[[str], None]) -> Checkpoint:
    """Convert the original's files into the cache folder; `say` is told what takes its time.

    Raises:
        ModelUnavailable: see `convert` and `replacing`.
    """
    folder = checkpoint_folder()
    with replacing(folder) as work:
        say("converting the weights, once")
        convert(original, work / folder.name)
    return open_checkpoint(folder)


def _arrays(
    path: Path, tensors: Tensors, *, half: bool = False
) -> Iterator[tuple[str, NDArray[np.generic]]]:
    for key, tensor in tensors.items():
        array = as_array(tensor, half=half)
        if not np.isfinite(array).all():
            raise ModelUnavailable(f"{key} in {path} holds something that is no finite number")
        yield key, array


def _copy_json(path: Path, target: Path) -> None:
    try:
        content = path.read_bytes()
        json.loads(content)
    except FileNotFoundError:
        raise ModelUnavailable(f"there is no {path}") from None
    except ValueError as error:
        raise ModelUnavailable(f"{path} is no JSON, or is cut short") from error
    target.write_bytes(content)
