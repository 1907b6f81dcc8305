"""Prints spec/vectors/signature.json. The signatures are deterministic (RFC 6979), so it prints the same each time."""

import base64
import json

from cryptography.hazmat.primitives.asymmetric import ec

import signer

DEVICES = ["0b0f1ad4-8f2f-4c8f-9c77-2f3f7a5f1a01", "5d1c6f0e-1b7a-4a51-8f6e-0a9bd1f7c302"]
AT = 1_800_000_000
CHALLENGE = signer.b64u(bytes(range(0xC0, 0xD0)))


def private(number):
    scalar = int.from_bytes(bytes((0x11 * (number + 1) + i) % 256 for i in range(32)), "big") % signer.ORDER
    return ec.derive_private_key(scalar, ec.SECP256R1())


def key(number):
    secret, public = private(number), signer.forms(private(number))
    return {
        "private": secret.private_numbers().private_value.to_bytes(32, "big").hex(),
        **{name: public[name].hex() for name in ("sec1", "compressed", "spki")},
        "jwk": public["jwk"],
    }


def proof(number, milliseconds, first):
    nonce = signer.nonce(milliseconds, bytes(range(first, first + 16)))
    made = signer.signatures(private(number), nonce.encode(), deterministic=True)
    return {"key": number, "nonce": nonce, "unix_ms": milliseconds, **{name: made[name].hex() for name in made}}


def request(number, what, method, authority, path, query=None, body=b"", challenge=None, which="raw"):
    described = {
        "method": method,
        "authority": authority,
        "path": path,
        "query": query,
        "body": base64.b64encode(body).decode(),
        "device_id": DEVICES[number],
        "created": AT,
        "nonce": signer.nonce(AT * 1000 + 123, bytes(range(number, number + 16))),
        "challenge": challenge,
    }
    made = signer.sign(private(number), described, which, deterministic=True)
    kept = {name: described[name] for name in ("method", "authority", "path", "query", "device_id", "challenge")}
    return {"what": what, "key": number, **kept, "body": body.hex(), "base": made["base"], "headers": made["headers"]}


def changed(request, what, **changes):
    headers = {**request["headers"], **changes.pop("headers", {})}
    refused = {**request, **changes, "what": what, "headers": headers}
    del refused["base"]
    return refused


def main():
    valid = [
        request(0, "without a body and a query", "GET", "nas.local:7879", "/"),
        request(0, "with a query", "GET", "192.168.1.42:7879", "/photos/2026", "page=2&sort=%2Fdate"),
        request(0, "with a body", "POST", "[fd00::42]:7879", "/notes", None, b'{"text":"Gr\xc3\xbc\xc3\x9fe"}'),
        request(1, "another device", "DELETE", "nas.example.org", "/notes/7"),
        request(1, "with the host's challenge", "PUT", "nas.local:7879", "/notes/7", "", b"x", CHALLENGE),
        request(1, "with n - s in place of s", "GET", "nas.local:7879", "/notes", which="twin"),
    ]
    first, body, other = valid[0], valid[2], valid[3]
    input_, signature = first["headers"]["signature-input"], first["headers"]["signature"]
    raw = base64.b64decode(signature.removeprefix("sig=:").removesuffix(":"))
    sig = lambda value: {"signature": f"sig=:{base64.b64encode(value).decode()}:"}
    inputs = lambda old, new: {"signature-input": input_.replace(old, new)}
    invalid = [
        changed(first, "another method", method="DELETE"),
        changed(first, "another authority", authority="nas.local:7880"),
        changed(first, "another path", path="/admin"),
        changed(first, "another query", query="all"),
        changed(body, "another body", body=b"{}".hex()),
        changed(body, "another body and its digest", body=b"{}".hex(), headers={"content-digest": signer.digest(b"{}")}),
        changed(first, "another device's id", device_id=DEVICES[1], headers={"x-device-id": DEVICES[1]}),
        changed(first, "another key", key=1),
        changed(valid[4], "another challenge", challenge="AAAA", headers={"x-couplet-challenge": "AAAA"}),
        changed(valid[4], "without the challenge that is signed", challenge=None),
        changed(first, "another time", headers=inputs(f"created={AT}", f"created={AT + 1}")),
        changed(first, "another order", headers=inputs('"@method" "@authority"', '"@authority" "@method"')),
        changed(first, "without the query", headers=inputs('"@query" ', "")),
        changed(first, "another algorithm", headers=inputs("ecdsa-p256-sha256", "ed25519")),
        changed(first, "another tag", headers=inputs("couplet-v1", "couplet-v2")),
        changed(first, "one parameter more", headers={"signature-input": input_ + ";expires=1900000000"}),
        changed(first, "two signatures", headers={"signature": f"{signature}, b{signature}", "signature-input": f"{input_}, b{input_}"}),
        changed(first, "DER", headers=sig(signer.signatures(private(0), first["base"].encode(), True)["der"])),
        changed(first, "r and s in the other order", headers=sig(raw[32:] + raw[:32])),
        changed(first, "zeros", headers=sig(bytes(64))),
        changed(first, "r is zero", headers=sig(bytes(32) + raw[32:])),
        changed(first, "s is n", headers=sig(raw[:32] + signer.ORDER.to_bytes(32, "big"))),
        changed(first, "63 bytes", headers=sig(raw[:63])),
        changed(first, "another digest's name", headers={"content-digest": first["headers"]["content-digest"].replace("256", "512")}),
        changed(other, "another case of the id", headers={"x-device-id": DEVICES[1].upper()}),
    ]
    vectors = {
        "keys": [key(0), key(1)],
        "proofs": [proof(0, AT * 1000, 0), proof(1, AT * 1000 + 59_999, 0x40)],
        "requests": valid,
        "refused": invalid,
    }
    print(json.dumps(vectors, indent=2))


if __name__ == "__main__":
    main()
