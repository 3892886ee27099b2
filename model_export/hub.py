"""The model hub: whether it answers, what it lets be downloaded, and what of it is cached on this machine."""

import errno
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled

from model_export.errors import PreparationError
from model_export.model_folders import HUB_REPOSITORIES, cached, files_to_read

ANSWER_TIMEOUT_S = 3.0
# What the hub client meets on this machine and no other answer of the hub would change.
LOCAL_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)
Say = Callable[[str], None]


@dataclass(frozen=True)
class Problem:
    """Why the hub gives nothing: a clause, and what can be done about it where that is known."""

    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.remedy})" if self.remedy else self.reason


def problem_of(error: BaseException) -> Problem:
    """What an exception of the hub client stands for; its own texts are pages long."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OfflineModeIsEnabled):
            return Problem("HF_HUB_OFFLINE is set")
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(cause, GatedRepoError):
            return Problem(
                f"the hub answered {status}: the model is gated",
                "ask for access on its page; set HF_TOKEN",
            )
        if status == 401:
            return Problem(
                "the hub answered 401 Unauthorized",
                "the access token is expired or wrong: renew HF_TOKEN or `hf auth login`, "
                "or set HF_HUB_DISABLE_IMPLICIT_TOKEN=1 to send none",
            )
        if status == 403:
            return Problem("the hub answered 403 Forbidden", "the access token may not read this model")
        if status is not None:
            return Problem(f"the hub answered {status}")
        cause = cause.__cause__
    return Problem("the hub did not answer", type(error).__name__)


def ask() -> Problem | None:
    """Why the hub cannot be asked for the models; None where it answers within ANSWER_TIMEOUT_S."""
    try:
        for repository in HUB_REPOSITORIES.values():
            HfApi().model_info(repository, timeout=ANSWER_TIMEOUT_S)
    except Exception as error:  # the hub client raises many unrelated types for one cause
        return problem_of(error)
    return None


def cached_model(task: str) -> Path | None:
    """The task's model in the hub's cache on this machine; None where it is not there whole."""
    return cached(task, Path(constants.HF_HUB_CACHE))


def download(task: str, say: Say) -> Path:
    """The folder of the task's model in the hub's cache, downloaded if need be, else as it is there.

    Raises:
        PreparationError: the hub does not give it, and it is not cached.
        OSError: the cache cannot be written to.
    """
    repository = HUB_REPOSITORIES[task]
    try:
        siblings = HfApi().model_info(repository, timeout=ANSWER_TIMEOUT_S).siblings or []
        names = files_to_read(file.rfilename for file in siblings)
        return Path(snapshot_download(repository, allow_patterns=names))
    except Exception as error:  # as above
        if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
            raise
        problem = problem_of(error)
        if (folder := cached_model(task)) is None:
            raise PreparationError(
                f"{repository} cannot be downloaded: {problem}; {constants.HF_HUB_CACHE} does not hold it; "
                "--source embedded needs no network"
            ) from error
    say(f"{repository}: from the cache in {constants.HF_HUB_CACHE}, since {problem}")
    return folder
