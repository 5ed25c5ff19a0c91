"""A log and its witness client made of aics-tlog and aics-witness alone: a program of its own, run by foreign.py.

python feeder.py vkey               the log's vkey
python feeder.py URL VKEY           feed it to this witness; one JSON object a submission
"""

import json
import sys

from aics_tlog import Checkpoint, MerkleTree, format_vkey, sign_checkpoint, vkey_from_ed25519
from aics_witness.feeder import FeederError, WitnessClient, WitnessRejected
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

ORIGIN = "foreign.example/aics"
KEY = Ed25519PrivateKey.from_private_bytes(b"\x11" * 32)


def submit(client: WitnessClient, tree: MerkleTree, size: int) -> None:
    """Hand in the tree of that size and say what came back."""
    note = sign_checkpoint(Checkpoint(ORIGIN, size, tree.root(size)), KEY, ORIGIN).to_bytes()
    try:
        lines = client.submit(note, tree.consistency_proof)
        print(json.dumps({"size": size, "cosigned": lines.count("\n")}))
    except WitnessRejected as error:
        print(json.dumps({"size": size, "refused": error.status}))
    except FeederError as error:
        print(json.dumps({"size": size, "failed": type(error).__name__}))


def main() -> None:
    """Grow, forget, grow on, go back, and fork."""
    if sys.argv[1] == "vkey":
        print(format_vkey(vkey_from_ed25519(ORIGIN, KEY.public_key())))
        return
    url, vkey = sys.argv[1:]
    tree = MerkleTree(b"entry %d" % n for n in range(400))
    with WitnessClient(url, vkey) as client:
        for size in (1, 2, 7, 256, 300, 300):
            submit(client, tree, size)
    with WitnessClient(url, vkey) as forgetful:
        submit(forgetful, tree, 390)
        submit(forgetful, tree, 20)
    fork = MerkleTree(b"another %d" % n for n in range(400))
    with WitnessClient(url, vkey) as client:
        submit(client, fork, 390)
        submit(client, fork, 400)


if __name__ == "__main__":
    main()
