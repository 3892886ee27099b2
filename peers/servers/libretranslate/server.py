"""LibreTranslate: Flask on waitress; each request is translated alone by Argos Translate on CTranslate2.

Start: python server.py, with the environment of peers/servers/settings.py. A WSGI adapter translates between
its API and the contract's; two things of its own are replaced, which need a network or learned weights.
"""

import io
import json
import logging
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from peers.servers.inference import lengths_of
from peers.servers.settings import PeerSettings

settings = PeerSettings()  # type: ignore[call-arg]
FOLDER = Path(tempfile.mkdtemp(prefix="libretranslate-"))
LANGUAGES = {"en": "English", "de": "German"}
# Argos Translate and LibreTranslate read these when they are imported.
os.environ |= {"XDG_DATA_HOME": str(FOLDER), "XDG_CACHE_HOME": str(FOLDER), "XDG_CONFIG_HOME": str(FOLDER)}
os.environ |= {"ARGOS_INTRA_THREADS": "1", "ARGOS_COMPUTE_TYPE": "int8", "ARGOS_BEAM_SIZE": "1"}


def write_package(source: str, target: str) -> None:
    """The weights as a package of Argos Translate, which adds no end token to a text itself."""
    folder = FOLDER / "argos-translate" / "packages" / f"{source}_{target}"
    (folder / "model").mkdir(parents=True)
    for path in settings.weights.iterdir():
        (folder / "model" / path.name).symlink_to(path)
    config = json.loads((settings.weights / "config.json").read_text())
    (folder / "model" / "config.json").unlink()
    (folder / "model" / "config.json").write_text(json.dumps(config | {"add_source_eos": True}))
    (folder / "sentencepiece.model").symlink_to(settings.models / "translation" / "onnx" / "source.spm")
    languages = {"from_code": source, "from_name": LANGUAGES[source]}
    languages |= {"to_code": target, "to_name": LANGUAGES[target]}
    metadata = {"package_version": "1.0", "argos_version": "1.9", "type": "translate", **languages}
    (folder / "metadata.json").write_text(json.dumps(metadata))


# With fewer than two packages LibreTranslate asks the network for more.
write_package("en", "de")
write_package("de", "en")

import argostranslate.sbd
import argostranslate.translate
import ctranslate2
import waitress
from libretranslate.app import create_app
from libretranslate.main import get_parser

lengths = lengths_of(settings)


class SameLengths(ctranslate2.Translator):
    """Ends a translation where every other engine ends it; random weights never choose an end token."""

    def translate_batch(self, source: list[list[str]], **options: Any) -> Any:
        (pieces,) = source  # Argos Translate calls it once per text, without the end token
        limit = lengths.max_new_tokens(len(pieces) + 1)
        options |= {"max_decoding_length": limit, "min_decoding_length": limit if lengths.fixed else 1}
        return super().translate_batch(source, **options)


class OneSentence(argostranslate.sbd.ISentenceBoundaryDetectionModel):
    """Takes a text for one sentence, as all of this benchmark are: MiniSBD's model is on a network."""

    def __init__(self, pkg: Any) -> None:
        self.pkg = pkg

    def split_sentences(self, text: str) -> list[str]:
        return [text]


argostranslate.translate.ctranslate2.Translator = SameLengths
argostranslate.translate.MiniSBDSentencizer = OneSentence


def contract(app: Any) -> Callable[[dict[str, Any], Any], Iterable[bytes]]:
    """A WSGI application with the contract's bodies around LibreTranslate's own."""

    def adapted(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        if environ["PATH_INFO"] != settings.route:
            return app(environ, start_response)
        text = json.loads(environ["wsgi.input"].read())["text"]
        request = json.dumps({"q": text, "source": "en", "target": "de"}).encode()
        environ |= {"wsgi.input": io.BytesIO(request), "CONTENT_LENGTH": str(len(request))}
        status = ""

        def start(given: str, headers: Any, exc_info: Any = None) -> None:
            nonlocal status
            status = given

        answer = json.loads(b"".join(app(environ, start)))
        if status.startswith("200"):
            answer = {"translation": answer["translatedText"]}
        body = json.dumps(answer).encode()
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(body)))]
        start_response(status, headers)
        return [body]

    return adapted


if __name__ == "__main__":
    logging.getLogger("argostranslate").setLevel(logging.WARNING)
    options = ["--load-only", "en,de", "--disable-files-translation", "--disable-web-ui"]
    app = create_app(get_parser().parse_args(options))
    waitress.serve(contract(app), host="127.0.0.1", port=settings.port, threads=settings.threads)
