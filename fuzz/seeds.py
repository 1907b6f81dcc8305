"""Writes the inputs that every target begins with, from spec/vectors/, into fuzz/corpus/."""

import base64
import hashlib
import json
import pathlib

HERE = pathlib.Path(__file__).parent
VECTORS = HERE.parent / "spec" / "vectors"


def vectors(name):
    return json.loads((VECTORS / name).read_text())


def put(target, *parts):
    seed = b"".join(bytes.fromhex(part) if isinstance(part, str) else bytes(part) for part in parts)
    folder = HERE / "corpus" / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed)


def sized(part):
    part = bytes.fromhex(part) if isinstance(part, str) else part
    return len(part).to_bytes(2, "big") + part


def main():
    offers = vectors("offer.json")
    for offer in [*offers["valid"], *offers["invalid"], offers["skipped"]]:
        put("offer_bytes", offer["bytes"])
        for endpoint in offer.get("endpoints", []):
            put("offer_bytes", endpoint)
        for link in offer.get("links", []):
            put("offer_link", link.encode())
    for code in vectors("check_code.json")["codes"]:
        put("offer_link", code["check_code"].encode())
    put("offer_link", b"relay.example.org:8443")

    for number, handshake in enumerate(vectors("handshake.json")["handshakes"]):
        mode = bytes([number])
        put("m1", handshake["m1"])
        put("m2", mode, handshake["m2"])
        put("m1_payload", mode, handshake["payload1"])
        put("m2_payload", mode, handshake["payload2"])
        put("confirm", mode, handshake["confirm_frame"])
        put("confirm", bytes([number | 4]), b"\xa1\x61t\x67confirm")
        if "rP" in handshake:
            put("confirm", bytes([number | 4]), b"\xa2\x61t\x67confirm\x62rP\x58\x20", handshake["rP"])

    types = {"DATA": 1, "CLOSE": 2, "KEYUPDATE": 3, "PAD": 4, "CONTROL": 5}
    frames = vectors("frames.json")["frames"]
    put("frames", *(sized(frame["frame"]) for frame in frames if frame["from"] == "host"))
    inner = [sized(bytes.fromhex(frame["data"]) + bytes([types[frame["type"]], 0])) for frame in frames]
    put("frame_contents", *inner)
    for frame, part in zip(frames, inner, strict=True):
        put("frame_contents", part)
        if frame["type"] == "CONTROL":
            put("control", frame["data"])
    # To be refused, or ignored: chance is slow to come to what makes them so.
    for message in [
        b"\xb8\x01\x61t\x63ack", b"\xa1\x78\x01t\x63ack", b"\xa1\x61t\x78\x03ack", b"\xbf\x61t\x63ack\xff",
        b"\xa2\x61t\x63ack\x61t\x63ack", b"\xa2\x61u\x00\x61t\x63ack", b"\xa1\x61t\x63ack\x00", b"\xa1\x61t\xc0\x63ack",
        b"\xa2\x61t\x63ack\x61u\x82\x20\xf6", b"\xa3\x61t\x69endpoints\x64list\x81\x43\x09\x01\x00\x66serial\x18\x18",
        b"\xa1\x61t\x66paired", b"\xa2\x61t\x68rejected\x64code\x68CPL-1208", b"\xa1\x61t\x67confirm",
    ]:
        put("control", message)
    put("frame_contents", sized(bytes(16_619) + b"\x01"), sized(bytes(16_620) + b"\x01"))
    put("frame_contents", sized(b"\x03"), sized(b"x\x01"), sized(b"\x03\x00"), sized(bytes(9) + b"\x05\x02"))

    signatures = vectors("signature.json")
    for key in signatures["keys"]:
        for form in ("sec1", "compressed", "spki"):
            put("verifying_key", key[form])
    proof = base64.b64encode(bytes.fromhex(signatures["proofs"][0]["der"])).decode()
    for request in [*signatures["requests"], *signatures["refused"]]:
        headers = request["headers"]
        lines = [headers[name] for name in ("signature-input", "signature", "content-digest")]
        put("signed_head", "\n".join([*lines, proof]).encode())


main()
