"""Language models as GGUF files from the model hub, by name or by repository and file."""

import os
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from urllib.parse import quote

import httpx2

from duologue.errors import ModelUnavailable, Unreachable
from duologue.weights import alone_in, cache_folder
from duologue.weights.catalogue import File
from duologue.weights.files import is_full, is_right
from duologue.weights.official import HUB, download_file

KNOWN: Mapping[str, str] = {
    "qwen2.5-0.5b": "Qwen/Qwen2.5-0.5B-Instruct-GGUF/qwen2.5-0.5b-instruct-q4_k_m.gguf",
    "qwen2.5-1.5b": "Qwen/Qwen2.5-1.5B-Instruct-GGUF/qwen2.5-1.5b-instruct-q4_k_m.gguf",
}
"""Short names of files in their makers' own repositories, Apache-2.0: 0.5 and 1.1 GB."""

_PATH = re.compile(r"[\w.-]+/[\w.-]+/(?:[\w.-]+/)*[\w.-]+\.gguf")
_ANSWERS_WITHIN = 10.0  # seconds


def is_name(name: str) -> bool:
    """Whether this names such a file: of `KNOWN`, or OWNER/REPOSITORY/FILE.gguf."""
    return name in KNOWN or (_PATH.fullmatch(name) is not None and ".." not in name.split("/"))


def locate(name: str) -> Path:
    """The file; it was checked when it came.

    Raises:
        ModelUnavailable: it is not here; says how to get it.
    """
    path = _place(name)
    if not path.is_file():
        raise ModelUnavailable(f"the weights {name} are missing; run: duologue pull {name}")
    return path


def pull(name: str, say: Callable[[str], None] = lambda _: None) -> bool:
    """Fetch the file from the hub, going on where it was left, and check it against the hub's sha256.

    Returns:
        Whether it had to be fetched.

    Raises:
        ModelUnavailable: it is not what the hub says, or can't be stored.
        Unreachable: the hub does not answer, or has no such file.
    """
    path = _place(name)
    if path.is_file():
        return False
    hub = os.environ.get("HF_ENDPOINT", HUB).rstrip("/")
    owner, repository, *rest = KNOWN.get(name, name).split("/")
    address = f"{hub}/{owner}/{repository}/resolve/main/{quote('/'.join(rest))}"
    try:
        with httpx2.Client(timeout=_ANSWERS_WITHIN, follow_redirects=True) as client:
            file = _told(client, address, path.name)
            say(f"{file.size / 1e6:.0f} MB from {address.split('/')[2]}")
            path.parent.mkdir(parents=True, exist_ok=True)
            with alone_in(cache_folder()):
                if path.is_file():  # by whom we have waited for
                    return False
                work = path.with_name(f"partial-{path.name}")
                work.mkdir(exist_ok=True)
                if not is_right(work / file.name, file):
                    download_file(client, address, file, work)
                (work / file.name).replace(path)
                shutil.rmtree(work)
    except (httpx2.HTTPError, httpx2.InvalidURL, ImportError) as error:
        why = (str(error) or type(error).__name__).splitlines()[0]
        raise Unreachable(
            f"the model hub does not give {name} ({why}); check the name and the network, set HF_ENDPOINT "
            "to a mirror, or give --llm the path of a GGUF file that was brought by other means"
        ) from error
    except ValueError as error:
        raise ModelUnavailable(f"{error}, so it was thrown away; try again") from error
    except OSError as error:
        full = "; free some space" if is_full(error) else ""
        raise ModelUnavailable(
            f"{path} cannot be stored ({error.strerror or error}){full}, or set DUOLOGUE_CACHE to another "
            "folder"
        ) from error
    return True


def _place(name: str) -> Path:
    return cache_folder() / "gguf" / "--".join(KNOWN.get(name, name).split("/"))


def _told(client: httpx2.Client, address: str, name: str) -> File:
    """What the hub says that the file is.

    Raises:
        httpx2.HTTPError: it does not answer, or has no such file.
        ValueError: it does not say.
    """
    answer = client.head(address, follow_redirects=False)
    if answer.is_error:
        answer.raise_for_status()
    size = answer.headers.get("x-linked-size", "")
    sha256 = answer.headers.get("x-linked-etag", "").strip('"')
    if not size.isdecimal() or not re.fullmatch(r"[0-9a-f]{64}", sha256):
        raise ValueError(f"the hub does not say what {name} should be")
    return File(name, int(size), sha256)
