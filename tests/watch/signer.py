"""Signs as a watch does: by Python's `cryptography`, from spec/protocol.md, section 8, and nothing of Couplet's own code.

As a program it reads a JSON object a line and answers each with one:

  {"do": "key"}                                     a new key; the answer has its public half in every form
  {"do": "key", "curve": "ed25519" | "p384"}        one that no watch may have
  {"do": "prove", "key": 0, "nonce": "..."}         the nonce signed, raw and as DER
  {"do": "sign", "key": 0, "method": "GET", ...}    the headers of a signed request
"""

import base64
import hashlib
import json
import os
import sys
import time

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
COMPONENTS = ["@method", "@authority", "@path", "@query", "content-digest", "x-device-id"]
CHALLENGE = "x-couplet-challenge"


def b64(data):
    return base64.b64encode(data).decode()


def b64u(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def forms(private):
    """The public half as SEC1 (both), SPKI and JWK."""
    public = private.public_key()
    spki = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    if isinstance(private, ed25519.Ed25519PrivateKey):
        raw = public.public_bytes(Encoding.Raw, PublicFormat.Raw)
        return {"sec1": raw, "compressed": raw, "spki": spki, "jwk": {"kty": "OKP", "crv": "Ed25519", "x": b64u(raw)}}
    numbers, size = public.public_numbers(), (private.curve.key_size + 7) // 8
    coordinates = [b64u(number.to_bytes(size, "big")) for number in (numbers.x, numbers.y)]
    curve = {256: "P-256", 384: "P-384"}[private.curve.key_size]
    return {
        "sec1": public.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint),
        "compressed": public.public_bytes(Encoding.X962, PublicFormat.CompressedPoint),
        "spki": spki,
        "jwk": {"kty": "EC", "crv": curve, "x": coordinates[0], "y": coordinates[1]},
    }


def signatures(private, message, deterministic=False):
    """The signature as DER, raw, and raw with the other s: r and n - s."""
    if isinstance(private, ed25519.Ed25519PrivateKey):
        raw = private.sign(message)
        return {"der": raw, "raw": raw, "twin": raw}
    der = private.sign(message, ec.ECDSA(hashes.SHA256(), deterministic_signing=deterministic))
    r, s = decode_dss_signature(der)
    if private.curve.key_size != 256:
        return {"der": der, "raw": der, "twin": der}
    return {
        "der": der,
        "raw": r.to_bytes(32, "big") + s.to_bytes(32, "big"),
        "twin": r.to_bytes(32, "big") + (ORDER - s).to_bytes(32, "big"),
        "twin_der": encode_dss_signature(r, ORDER - s),
    }


def nonce(milliseconds, random):
    return b64u(milliseconds.to_bytes(8, "big") + random)


def digest(body):
    return f"sha-256=:{b64(hashlib.sha256(body).digest())}:"


def base(request, parameters):
    """The signature base of RFC 9421, 2.5."""
    values = [
        request["method"],
        request["authority"],
        request["path"],
        "?" + (request.get("query") or ""),
        request["content_digest"],
        request["device_id"],
    ]
    lines = [f'"{name}": {value}' for name, value in zip(COMPONENTS, values, strict=True)]
    if request.get("challenge") is not None:
        lines.append(f'"{CHALLENGE}": {request["challenge"]}')
    return "\n".join([*lines, f'"@signature-params": {parameters}'])


def parameters(request):
    covered = COMPONENTS + ([CHALLENGE] if request.get("challenge") is not None else [])
    names = " ".join(f'"{name}"' for name in covered)
    return (
        f'({names});created={request["created"]};nonce="{request["nonce"]}";alg="ecdsa-p256-sha256"'
        f';keyid="{request["device_id"]}";tag="couplet-v1"'
    )


def sign(private, request, which="raw", deterministic=False):
    """The headers of a signed request, and what was signed."""
    now = time.time() + request.get("ahead", 0)
    request = {
        "created": int(now),
        "nonce": nonce(int(now * 1000), os.urandom(16)),
        "content_digest": digest(base64.b64decode(request.get("body", ""))),
        **request,
    }
    params = parameters(request)
    text = base(request, params)
    signature = signatures(private, text.encode(), deterministic)[which]
    headers = {
        "content-digest": request["content_digest"],
        "x-device-id": request["device_id"],
        "signature-input": f"sig={params}",
        "signature": f"sig=:{b64(signature)}:",
    }
    if request.get("challenge") is not None:
        headers[CHALLENGE] = request["challenge"]
    return {"headers": headers, "base": text}


def new_key(curve):
    if curve == "ed25519":
        return ed25519.Ed25519PrivateKey.generate()
    return ec.generate_private_key({"p256": ec.SECP256R1(), "p384": ec.SECP384R1()}[curve])


def answer(asked, keys):
    if asked["do"] == "key":
        keys.append(new_key(asked.get("curve", "p256")))
        public = forms(keys[-1])
        encoded = {name: b64(public[name]) for name in ("sec1", "compressed", "spki")}
        return {"key": len(keys) - 1, "jwk": public["jwk"], **encoded}
    private = keys[asked["key"]]
    if asked["do"] == "prove":
        return {name: b64(value) for name, value in signatures(private, asked["nonce"].encode()).items()}
    return sign(private, asked["request"], asked.get("which", "raw"))


def main():
    keys = []
    for line in sys.stdin:
        print(json.dumps(answer(json.loads(line), keys)), flush=True)


if __name__ == "__main__":
    main()
