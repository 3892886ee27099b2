"""A peer's engine without its server, `python -m peers.servers.engine_alone`: the answers to compare with.

Standard input is a JSON list of texts, the last line of standard output the JSON list of their answers, each
text being a batch of its own.
"""

import json
import sys

from peers.servers.inference import load_engine
from peers.servers.settings import PeerSettings


def main() -> int:
    engine = load_engine(PeerSettings())  # type: ignore[call-arg]
    print(json.dumps([engine([text])[0] for text in json.load(sys.stdin)]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
