"""Mini-Omni's weights from the hub, where its authors and those of its parts publish them."""

import logging
from collections.abc import Callable
from pathlib import Path

from duologue.errors import DuologueError, ModelUnavailable, Unreachable
from duologue.models.mini_omni import convert
from duologue.models.mini_omni import original as files
from duologue.models.mini_omni.checkpoint import Checkpoint, checkpoint_folder, open_checkpoint
from duologue.models.mini_omni.checksums import verify
from duologue.models.mini_omni.original import Original

try:
    from httpx2 import HTTPError  # what huggingface_hub raises where there is no network
    from huggingface_hub import constants, errors, hf_hub_download
except ModuleNotFoundError as missing:
    raise ModelUnavailable(
        "fetching Mini-Omni's weights takes huggingface_hub, which is missing; "
        "install it with: pip install 'duologue[mini-omni]'"
    ) from missing

MINI_OMNI, WHISPER, SNAC = "gpt-omni/mini-omni", "openai/whisper-small", "hubertsiuzdak/snac_24khz"

REVISIONS = {MINI_OMNI: "main", WHISPER: "main", SNAC: "main"}
"""What is fetched if nobody says otherwise: branches, as the original does.

A commit would be better, but the hub could not be reached to verify one. What they were resolved to
is written into the checkpoint.
"""

_FILES = {
    # Small ones first: what is wrong shows before gigabytes were fetched.
    MINI_OMNI: (files.CONFIG, files.TOKENIZER, files.WEIGHTS),
    WHISPER: (files.WHISPER_CONFIG, files.WHISPER_WEIGHTS),
    SNAC: (files.SNAC_CONFIG, files.SNAC_WEIGHTS),
}


def pull(revision: str | None, say: Callable[[str], None]) -> tuple[Checkpoint, bool]:
    """Fetch and convert the weights, unless they are there.

    What is fetched stays in the hub's own cache (HF_HOME), which other programs share. A download
    goes on where its connection broke; after the end of the program, files that are complete are
    not fetched again, but the one under way is.

    Args:
        revision: branch, tag or commit of Mini-Omni; None: what is there, else that of `REVISIONS`.
        say: is told what takes its time.

    Returns:
        The checkpoint, and whether anything had to be done.

    Raises:
        Unreachable: the hub does not answer, or does not have it.
        ModelUnavailable: see `convert`.
    """
    there = _there()
    if there and (revision is None or revision == there.commits.get(MINI_OMNI)):
        return there, False
    say(f"fetching {', '.join(REVISIONS)} from {constants.ENDPOINT}")
    original = fetch(revision or REVISIONS[MINI_OMNI])
    if there and there.commits == original.commits:
        return there, False
    return convert.pull(original, say), True


def fetch(revision: str) -> Original:
    """Have the original's files in the hub's cache; each repository's of one and the same commit.

    Raises:
        Unreachable: the hub does not answer, or does not have it.
        ModelUnavailable: they can't be stored.
    """
    folders, commits = {}, {}
    for repository, names in _FILES.items():
        commit = revision if repository == MINI_OMNI else REVISIONS[repository]
        for name in names:
            folder = _download(repository, commit, name).parent
            commit = folder.name  # the cache has a folder for each commit
        folders[repository], commits[repository] = folder, commit
    source = f"{MINI_OMNI} at {commits[MINI_OMNI]}"
    return Original(folders[MINI_OMNI], folders[WHISPER], folders[SNAC], source, commits)


def _there() -> Checkpoint | None:
    try:
        checkpoint = open_checkpoint(checkpoint_folder())
        verify(checkpoint)
    except ModelUnavailable:  # not there, or broken: to be made anew
        return None
    return checkpoint


def _download(repository: str, revision: str, name: str) -> Path:
    # Its warnings are of retries; those that were of no use end in a sentence.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    try:
        path = hf_hub_download(repository, name, revision=revision)
    except (OSError, ValueError, HTTPError) as error:
        raise _sentence(repository, revision, name, error) from error
    return Path(path)


def _sentence(repository: str, revision: str, name: str, error: Exception) -> DuologueError:
    """What the hub's complaint means to the user."""
    hub = constants.ENDPOINT
    if isinstance(error.__cause__, errors.HfHubHTTPError):
        error = error.__cause__  # it answers, only not what is wanted
    match error:
        case errors.GatedRepoError():
            return Unreachable(
                f"{hub} gives {repository} only to those it knows; run: hf auth login"
            )
        case errors.RevisionNotFoundError():
            return Unreachable(f"{repository} has no revision {revision} on {hub}")
        case errors.RepositoryNotFoundError():
            return Unreachable(f"there is no {repository} on {hub}, or not for everybody")
        case errors.RemoteEntryNotFoundError():
            return Unreachable(f"{repository} has no {name} at revision {revision} on {hub}")
        case errors.HfHubHTTPError():
            status = error.response.status_code
            return Unreachable(f"{hub} answers {name} of {repository} with HTTP status {status}")
        case errors.LocalEntryNotFoundError() | errors.OfflineModeIsEnabled() | HTTPError():
            return Unreachable(
                f"{hub} could not be reached for {name} of {repository}; check the network, set "
                "HF_ENDPOINT to a mirror, or run: duologue pull mini-omni --from FOLDER"
            )
        case _:
            return ModelUnavailable(
                f"{name} of {repository} could not be stored in {constants.HF_HUB_CACHE}: "
                + " ".join(str(error).split())
            )
