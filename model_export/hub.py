"""The model hub: whether it answers, downloads, and its cache on this machine."""

import errno
from dataclasses import dataclass
from pathlib import Path

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import GatedRepoError, OfflineModeIsEnabled

from model_export.errors import PreparationError
from model_export.model_folders import HUB_REPOSITORIES, cached, files_to_read
from model_export.progress import PrintLine

ANSWER_TIMEOUT_S = 3.0
# Errors of this machine, which no answer of the hub would change.
LOCAL_ERRORS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True)
class Problem:
    """Why the hub cannot be used: a clause, and a remedy where one is known."""

    reason: str
    remedy: str = ""

    def __str__(self) -> str:
        return f"{self.reason} ({self.remedy})" if self.remedy else self.reason


def problem_of(error: BaseException) -> Problem:
    """The cause of an exception of the hub client, whose own messages are pages long."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OfflineModeIsEnabled):
            return Problem("HF_HUB_OFFLINE is set")
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(cause, GatedRepoError):
            return Problem(
                f"the hub answered {status}: the model is gated",
                "request access on its page; set HF_TOKEN",
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


def hub_problem() -> Problem | None:
    """Why the hub cannot be used; None where it answers within ANSWER_TIMEOUT_S."""
    try:
        for repository in HUB_REPOSITORIES.values():
            HfApi().model_info(repository, timeout=ANSWER_TIMEOUT_S)
    except Exception as error:  # the hub client raises many unrelated types for one cause
        return problem_of(error)
    return None


def cached_model(task: str) -> Path | None:
    """The task's model in the hub's cache on this machine; None where it is missing or incomplete."""
    return cached(task, Path(constants.HF_HUB_CACHE))


def download(task: str, print_line: PrintLine) -> Path:
    """The folder of the task's model in the hub's cache: downloaded, else the cached copy.

    Raises:
        PreparationError: it can neither be downloaded nor is it cached.
        OSError: the cache cannot be written to.
    """
    repository = HUB_REPOSITORIES[task]
    try:
        siblings = HfApi().model_info(repository, timeout=ANSWER_TIMEOUT_S).siblings or []
        names = files_to_read(file.rfilename for file in siblings)
        return Path(snapshot_download(repository, allow_patterns=names))
    except Exception as error:  # many unrelated types, as above
        if isinstance(error, OSError) and error.errno in LOCAL_ERRORS:
            raise
        problem = problem_of(error)
        if (folder := cached_model(task)) is None:
            raise PreparationError(
                f"{repository} cannot be downloaded: {problem}; {constants.HF_HUB_CACHE} does not have it; "
                "--source embedded needs no network"
            ) from error
    print_line(f"{repository}: from the cache in {constants.HF_HUB_CACHE}, since {problem}")
    return folder
