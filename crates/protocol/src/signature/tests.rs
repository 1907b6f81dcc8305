use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use data_encoding::BASE64;
use proptest::prelude::*;

use super::*;

const ID: &str = "0b0f1ad4-8f2f-4c8f-9c77-2f3f7a5f1a01";
const INPUT: &str = "s=(\"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\" \"x-device-id\")";

fn parameters() -> String {
    let nonce = Nonce::new(1_800_000_000_123, [9; 16]);
    format!(";created=1800000000;nonce=\"{nonce}\";alg=\"{ALGORITHM}\";keyid=\"{ID}\";tag=\"{TAG}\"")
}

fn signature(bytes: &[u8]) -> String {
    format!("s=:{}:", BASE64.encode(bytes))
}

fn parse(input: &str) -> Result<SignedHead, SignatureError> {
    SignedHead::parse(input, &signature(&[1; 64]))
}

#[test]
fn the_base_is_that_of_rfc_9421() {
    let head = parse(&format!("{INPUT}{}", parameters())).unwrap();
    let digest = ContentDigest::of(b"");
    let digest = digest.to_string();
    let request = Covered {
        method: "GET",
        authority: "nas.local:7879",
        path: "/photos",
        query: Some("a=1"),
        content_digest: &digest,
        device_id: ID,
        challenge: None,
    };
    let expected = format!(
        "\"@method\": GET\n\"@authority\": nas.local:7879\n\"@path\": /photos\n\"@query\": ?a=1\n\
         \"content-digest\": sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:\n\"x-device-id\": {ID}\n\
         \"@signature-params\": {}{}",
        &INPUT[2..],
        parameters()
    );
    assert_eq!(head.base(&request).unwrap(), expected);
    assert_eq!(head.base(&Covered { challenge: Some("c"), ..request }), None);
    assert_eq!(head.base(&Covered { path: "/\n\"@query\": ?", ..request }), None);
}

#[test]
fn a_signer_has_no_choice() {
    let fine = format!("{INPUT}{}", parameters());
    assert!(parse(&fine).is_ok());
    // Structured fields may be spaced otherwise; what is signed is the one way to write them.
    assert_eq!(parse(&fine.replace("\" \"", "\"   \"")), parse(&fine));
    let challenged = fine.replace("\")", "\" \"x-couplet-challenge\")");
    assert!(parse(&challenged).unwrap().is_challenged);
    for components in [
        fine.replace("\"@query\" ", ""),
        fine.replace("\"@method\" \"@authority\"", "\"@authority\" \"@method\""),
        fine.replace("\"@path\"", "\"@path\" \"@path\""),
        fine.replace("\"@path\"", "\"@path\";req"),
        fine.replace("\"@path\"", "@path").replace("(\"@method\"", "(method"),
        fine.replace("\")", "\" \"date\")"),
        fine.replace("(\"@method\"", "(\"x-couplet-challenge\" \"@method\""),
        format!("s=(){}", parameters()),
    ] {
        assert!(
            matches!(parse(&components), Err(SignatureError::Components | SignatureError::Field(_))),
            "{components}"
        );
    }
    for (name, changed) in [
        ("created", fine.replace("1800000000;nonce", "\"1800000000\";nonce")),
        ("created", fine.replace("1800000000;nonce", "1800000000.5;nonce")),
        ("created", fine.replace(";created=1800000000", "")),
        ("nonce", fine.replace("nonce=\"A", "nonce=\"")),
        ("nonce", fine.replace("nonce=", "once=")),
        ("alg", fine.replace(ALGORITHM, "ed25519")),
        ("alg", fine.replace(&format!(";alg=\"{ALGORITHM}\""), "")),
        ("keyid", fine.replace(ID, &ID.to_uppercase())),
        ("keyid", fine.replace(ID, &ID.replace('-', ""))),
        ("tag", fine.replace(TAG, "couplet-v2")),
        ("another", format!("{fine};expires=1900000000")),
        ("another", format!("{fine};x")),
    ] {
        assert_eq!(parse(&changed), Err(SignatureError::Parameter(name)), "{changed}");
    }
}

#[test]
fn there_is_one_signature_of_64_bytes() {
    let fine = format!("{INPUT}{}", parameters());
    for (input, signature, error) in [
        (fine.clone(), "t=:AAAA:".to_owned(), SignatureError::NotOne),
        (format!("{fine}, {}", fine.replace("s=(", "t=(")), signature(&[1; 64]), SignatureError::NotOne),
        (fine.clone(), format!("{}, t=:AAAA:", signature(&[1; 64])), SignatureError::NotOne),
        (fine.clone(), format!("{};x", signature(&[1; 64])), SignatureError::NotOne),
        (fine.clone(), signature(&[1; 63]), SignatureError::Form),
        (fine.clone(), signature(&[1; 72]), SignatureError::Form),
        (fine.clone(), "s=\"text\"".to_owned(), SignatureError::Field("Signature")),
        (fine.clone(), String::new(), SignatureError::NotOne),
        (String::new(), signature(&[1; 64]), SignatureError::NotOne),
        ("s=1".to_owned(), signature(&[1; 64]), SignatureError::Field("Signature-Input")),
        (format!("{fine}{}", " ".repeat(2000)), signature(&[1; 64]), SignatureError::Field("Signature-Input")),
    ] {
        assert_eq!(SignedHead::parse(&input, &signature), Err(error), "{input} {signature}");
    }
}

#[test]
fn a_digest_is_sha_256_and_alone() {
    assert!(ContentDigest::parse(&ContentDigest::of(b"x").to_string()).unwrap().is_of(b"x"));
    assert!(ContentDigest::parse("sha-256=:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=:").unwrap().is_of_nothing());
    let sha256 = ContentDigest::of(b"").to_string();
    for other in ["", "sha-256=:AAAA:", "sha-256=\"x\"", "sha-512=:AAAA:", &format!("{sha256}, md5=:AAAA:")] {
        assert_eq!(ContentDigest::parse(other), Err(SignatureError::Digest), "{other}");
    }
    assert_eq!(ContentDigest::parse(&format!("{sha256};x")), Err(SignatureError::Digest));
}

#[test]
fn a_new_device_may_sign_in_either_form() {
    let (nonce, random) = (Nonce::new(1_800_000_000_123, [9; 16]), SystemRandom::new());
    for algorithm in [&ECDSA_P256_SHA256_FIXED_SIGNING, &ECDSA_P256_SHA256_ASN1_SIGNING] {
        let pair = EcdsaKeyPair::generate(algorithm).unwrap();
        let key = VerifyingKey::from_bytes(pair.public_key().as_ref()).unwrap();
        let signed = pair.sign(&random, nonce.to_string().as_bytes()).unwrap();
        let proof = Proof::parse(&BASE64.encode(signed.as_ref())).unwrap();
        assert_eq!(proof.verify(&key, &nonce), Ok(()));
        let other = Nonce::new(nonce.unix_ms(), [8; 16]);
        assert_eq!(proof.verify(&key, &other), Err(SignatureError::Mismatch));
    }
    for other in ["", "!", "AAAA", &BASE64.encode(&[0; 63]), &BASE64.encode(&[0; 65]), &BASE64.encode(&[1; 80])] {
        assert_eq!(Proof::parse(other), Err(SignatureError::Form), "{other}");
    }
    let key = VerifyingKey::from_bytes(
        EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap().public_key().as_ref(),
    )
    .unwrap();
    let zeros = Proof::parse(&BASE64.encode(&[0; 64])).unwrap();
    assert_eq!(zeros.verify(&key, &nonce), Err(SignatureError::Mismatch), "r = s = 0 is no signature of anything");
}

proptest! {
    #[test]
    fn any_headers_are_read_or_refused(input in ".{0,200}", signature in ".{0,100}") {
        let _ = SignedHead::parse(&input, &signature);
        let _ = ContentDigest::parse(&input);
        let _ = Proof::parse(&signature);
    }
}
