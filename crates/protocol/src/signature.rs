//! Requests that a device signs with a P-256 key, as watches do (spec/protocol.md, 8).
//!
//! A profile of HTTP Message Signatures (RFC 9421) that leaves a signer no choice: one signature, these components in
//! this order, these parameters. What a signer could leave out, somebody on the network could change.
//!
//! A verifier must, besides [`SignedHead::verify`], hold [`SignedHead::created`] and [`SignedHead::nonce`] to its clock,
//! take each nonce of a device once, and compare the body with [`ContentDigest`]. A signature (r, s) has a twin
//! (r, n − s), which verifies as well, and keys in secure hardware make either; so both are taken, and it is the nonce
//! that says whether a request was there before, never the signature.

mod digest;
mod key;
mod nonce;

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ParsedPublicKey};
use sfv::{BareItem, InnerList, ListEntry, Parser};
use uuid::Uuid;

pub use digest::ContentDigest;
pub use key::{InvalidVerifyingKey, Jwk, KeyForm, VerifyingKey};
pub use nonce::{InvalidNonce, NONCE_WINDOW_MS, Nonce};

/// What the parameter `tag` says: which profile this is.
pub const TAG: &str = "couplet-v1";
/// What the parameter `alg` says.
pub const ALGORITHM: &str = "ecdsa-p256-sha256";
/// The components that every request signs, in this order.
pub const COMPONENTS: [&str; 6] = ["@method", "@authority", "@path", "@query", "content-digest", "x-device-id"];
/// The component that follows when the host has asked for it.
pub const CHALLENGE: &str = "x-couplet-challenge";
/// The most bytes that a signed request's body may have.
pub const BODY_MAX: usize = 1024 * 1024;

/// The longest header value that is looked into; what an honest signer sends has some 300 bytes.
const HEADER_MAX: usize = 1024;
const PARAMETERS: [&str; 5] = ["created", "nonce", "alg", "keyid", "tag"];

/// Why a signature does not count. The text says what the signer did otherwise than the profile.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// A header is no structured field (RFC 9651).
    #[error("{0} is no structured field of the right type (RFC 9651)")]
    Field(&'static str),
    /// There is no signature, or several.
    #[error("Signature-Input and Signature hold one signature, under one label")]
    NotOne,
    /// Other components, or in another order.
    #[error(
        "the components are \"@method\" \"@authority\" \"@path\" \"@query\" \"content-digest\" \"x-device-id\", in this \
         order and without parameters, and \"x-couplet-challenge\" behind them when the host has asked for it"
    )]
    Components,
    /// A parameter is missing, of another type, or unknown.
    #[error("the parameters are created, nonce, alg, keyid and tag, and no others: {0} is missing or wrong")]
    Parameter(&'static str),
    /// The signature has not the form of one.
    #[error("a signature is r and s, 64 bytes")]
    Form,
    /// The device's id is not in `X-Device-Id` as it is in `keyid`.
    #[error("X-Device-Id and keyid are the device's id, the same in both")]
    Device,
    /// `Content-Digest` is missing or of another form.
    #[error("Content-Digest is sha-256=:…: (RFC 9530) and nothing else, over an empty body too")]
    Digest,
    /// The key did not make this signature over this request.
    #[error("the key did not sign this method, authority, path, query, digest and device id")]
    Mismatch,
}

/// A request as far as its signature covers it, in the words of RFC 9421, 2.2.
#[derive(Clone, Copy, Debug)]
pub struct Covered<'a> {
    /// The method, in its own case.
    pub method: &'a str,
    /// `host[:port]` in lower case, without the scheme's default port.
    pub authority: &'a str,
    /// The absolute path, as it came.
    pub path: &'a str,
    /// What follows `?`; None and empty are one.
    pub query: Option<&'a str>,
    /// The value of `Content-Digest`.
    pub content_digest: &'a str,
    /// The value of `X-Device-Id`.
    pub device_id: &'a str,
    /// The value of `X-Couplet-Challenge`.
    pub challenge: Option<&'a str>,
}

/// What `Signature-Input` and `Signature` of a request say. Nothing is proven before [`Self::verify`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHead {
    /// When it was signed, in seconds since the epoch, by the device's clock.
    pub created: i64,
    /// What makes it unlike every other request of the device.
    pub nonce: Nonce,
    /// The device that signed.
    pub device: Uuid,
    /// Whether the host's challenge is signed, too.
    pub is_challenged: bool,
    /// What the signature base ends with: the parsed field, written the one way there is.
    parameters: String,
    signature: [u8; 64],
}

/// Whether a `Signature-Input` is meant for this profile. Others are the app's own.
#[must_use]
pub fn is_ours(signature_input: &[u8]) -> bool {
    let wanted = TAG.as_bytes();
    signature_input.windows(wanted.len()).any(|window| window == wanted)
}

impl SignedHead {
    /// Reads the two headers.
    ///
    /// # Errors
    /// They are not what the profile says.
    pub fn parse(signature_input: &str, signature: &str) -> Result<Self, SignatureError> {
        let (label, input) = one_member(signature_input, "Signature-Input")?;
        let ListEntry::InnerList(input) = input else { return Err(SignatureError::Field("Signature-Input")) };
        let (signed, signature) = one_member(signature, "Signature")?;
        let signature = match signature {
            ListEntry::Item(item) if item.params.is_empty() && signed == label => item.bare_item,
            _ => return Err(SignatureError::NotOne),
        };
        let BareItem::ByteSequence(signature) = signature else { return Err(SignatureError::Field("Signature")) };
        let is_challenged = components(&input)?;
        let text = |name| match input.params.get(name) {
            Some(BareItem::String(text)) => Ok(text.as_str()),
            _ => Err(SignatureError::Parameter(name)),
        };
        let created = match input.params.get("created") {
            Some(BareItem::Integer(seconds)) => i64::from(*seconds),
            _ => return Err(SignatureError::Parameter("created")),
        };
        for (name, wanted) in [("alg", ALGORITHM), ("tag", TAG)] {
            if text(name)? != wanted {
                return Err(SignatureError::Parameter(name));
            }
        }
        if input.params.len() != PARAMETERS.len() {
            return Err(SignatureError::Parameter("another"));
        }
        Ok(SignedHead {
            created,
            nonce: Nonce::parse(text("nonce")?).map_err(|_| SignatureError::Parameter("nonce"))?,
            device: device_id(text("keyid")?).ok_or(SignatureError::Parameter("keyid"))?,
            is_challenged,
            parameters: written(&input)?,
            signature: signature.as_slice().try_into().map_err(|_| SignatureError::Form)?,
        })
    }

    /// Whether the device's key made this signature over this request.
    ///
    /// # Errors
    /// It did not, or the request is not one that the profile can sign.
    pub fn verify(&self, key: &VerifyingKey, request: &Covered<'_>) -> Result<(), SignatureError> {
        if device_id(request.device_id) != Some(self.device) {
            return Err(SignatureError::Device);
        }
        let base = self.base(request).ok_or(SignatureError::Components)?;
        key.verify_raw(base.as_bytes(), &self.signature)
    }

    /// The signature base (RFC 9421, 2.5). None when the challenge is signed and absent, or there and not signed.
    fn base(&self, request: &Covered<'_>) -> Option<String> {
        let query = format!("?{}", request.query.unwrap_or_default());
        let values =
            [request.method, request.authority, request.path, &query, request.content_digest, request.device_id];
        let mut base = String::with_capacity(512);
        let mut line = |name: &str, value: &str| base.extend(["\"", name, "\": ", value, "\n"]);
        COMPONENTS.iter().zip(values).for_each(|(name, value)| line(name, value));
        match (self.is_challenged, request.challenge) {
            (true, Some(challenge)) => line(CHALLENGE, challenge),
            (false, None) => {}
            _ => return None,
        }
        base.extend(["\"@signature-params\": ", &self.parameters]);
        // A value with a line break could pose as more components; HTTP has none, so nothing honest is refused.
        let lines = COMPONENTS.len() + usize::from(self.is_challenged);
        (base.bytes().filter(|byte| *byte == b'\n').count() == lines).then_some(base)
    }
}

/// The one member of a dictionary.
fn one_member(value: &str, header: &'static str) -> Result<(String, ListEntry), SignatureError> {
    if value.len() > HEADER_MAX {
        return Err(SignatureError::Field(header));
    }
    let dictionary: sfv::Dictionary = Parser::new(value).parse().map_err(|_| SignatureError::Field(header))?;
    let mut members = dictionary.into_iter();
    match (members.next(), members.next()) {
        (Some((label, entry)), None) => Ok((label.as_str().to_owned(), entry)),
        _ => Err(SignatureError::NotOne),
    }
}

/// Checks the components, and says whether the challenge is among them.
fn components(input: &InnerList) -> Result<bool, SignatureError> {
    let name = |item: &sfv::Item| match &item.bare_item {
        BareItem::String(name) if item.params.is_empty() => Some(name.as_str().to_owned()),
        _ => None,
    };
    let names: Option<Vec<String>> = input.items.iter().map(name).collect();
    let names = names.ok_or(SignatureError::Components)?;
    match names.split_at_checked(COMPONENTS.len()) {
        Some((first, [])) if first == COMPONENTS => Ok(false),
        Some((first, [last])) if first == COMPONENTS && last == CHALLENGE => Ok(true),
        _ => Err(SignatureError::Components),
    }
}

/// The inner list as RFC 9651 writes it.
fn written(input: &InnerList) -> Result<String, SignatureError> {
    let unwritable = SignatureError::Field("Signature-Input");
    let mut list = sfv::ListSerializer::new();
    let mut inner = list.inner_list();
    for item in &input.items {
        inner.bare_item(&item.bare_item);
    }
    inner.finish().parameters(&input.params);
    list.finish().ok_or(unwritable)
}

/// An id in the one form that it is given out in.
fn device_id(text: &str) -> Option<Uuid> {
    let id = Uuid::try_parse(text).ok()?;
    (id.hyphenated().encode_lower(&mut Uuid::encode_buffer()) == text).then_some(id)
}

/// A signature over a nonce, as a new device shows that it has its key: r and s, 32 bytes each, or DER, as Apple's and
/// Android's interfaces give it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proof(Vec<u8>);

impl Proof {
    /// Reads base64 or base64url.
    ///
    /// # Errors
    /// It is neither form of a P-256 signature.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let bytes = key::from_base64(text, 72).ok_or(SignatureError::Form)?;
        if bytes.len() == 64 || bytes.first() == Some(&0x30) { Ok(Proof(bytes)) } else { Err(SignatureError::Form) }
    }

    /// Whether the key made it over the nonce's text.
    ///
    /// # Errors
    /// It did not.
    pub fn verify(&self, key: &VerifyingKey, nonce: &Nonce) -> Result<(), SignatureError> {
        let message = nonce.to_string();
        // Once in millions of times DER has 64 bytes, too, or r and s begin as DER does: so both are tried.
        match <&[u8; 64]>::try_from(&self.0[..]) {
            Ok(raw) if key.verify_raw(message.as_bytes(), raw).is_ok() => Ok(()),
            _ => key.verify_with(&ECDSA_P256_SHA256_ASN1, message.as_bytes(), &self.0),
        }
    }
}

impl VerifyingKey {
    fn verify_raw(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
        self.verify_with(&ECDSA_P256_SHA256_FIXED, message, signature)
    }

    fn verify_with(
        &self,
        algorithm: &'static aws_lc_rs::signature::EcdsaVerificationAlgorithm,
        message: &[u8],
        signature: &[u8],
    ) -> Result<(), SignatureError> {
        let key = ParsedPublicKey::new(algorithm, self.as_bytes()).map_err(|_| SignatureError::Mismatch)?;
        key.verify_sig(message, signature).map_err(|_| SignatureError::Mismatch)
    }
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod vectors;
