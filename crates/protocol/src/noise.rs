//! The primitives of the Noise handshake, for snow, over the one provider: `25519_ChaChaPoly_SHA256`.
//!
//! snow's own resolvers take an all-zero Diffie-Hellman result and leave keys in memory; this one refuses the first
//! and clears the second. Its only source of randomness is the ephemeral key that the caller brings. What snow itself
//! computes with, the chaining key above all, it does not clear: that is out of reach from here.

use std::sync::LazyLock;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::digest;
use snow::params::{CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Random};
use snow::{Builder, Error, HandshakeState};
use zeroize::{Zeroize, Zeroizing};

use crate::identity::{KeyPair, PublicKey, StaticSecret};
use crate::schedule::Source;
use crate::secret::{Entropy, Psk};

/// How long an AEAD's tag is.
const TAG: usize = 16;

/// The two patterns: where the pre-shared key is mixed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pattern {
    /// Pairing: into the first message, so that only who knows the offer gets an answer.
    IkPsk1,
    /// Reconnecting: into the second.
    IkPsk2,
}

// None only if snow did not know its own names.
static IKPSK1: LazyLock<Option<NoiseParams>> = LazyLock::new(|| "Noise_IKpsk1_25519_ChaChaPoly_SHA256".parse().ok());
static IKPSK2: LazyLock<Option<NoiseParams>> = LazyLock::new(|| "Noise_IKpsk2_25519_ChaChaPoly_SHA256".parse().ok());

/// A handshake under way.
pub(crate) struct Noise {
    state: HandshakeState,
    psk_at: usize,
}

impl Noise {
    /// Begins one; with `theirs` as the initiator, without as the responder.
    pub(crate) fn begin(
        pattern: Pattern,
        ours: &StaticSecret,
        theirs: Option<&PublicKey>,
        psk: &Psk,
        prologue: &[u8],
        ephemeral: Entropy,
    ) -> Result<Self, Error> {
        let (params, psk_at) = match pattern {
            Pattern::IkPsk1 => (&*IKPSK1, 1),
            Pattern::IkPsk2 => (&*IKPSK2, 2),
        };
        let params = params.clone().ok_or(Error::Input)?;
        let builder = Builder::with_resolver(params, Box::new(Provider { ephemeral }))
            .local_private_key(ours.expose())?
            .psk(u8::try_from(psk_at).map_err(|_| Error::Input)?, psk.expose())?
            .prologue(prologue)?;
        let state = match theirs {
            Some(theirs) => builder.remote_public_key(theirs.as_bytes())?.build_initiator()?,
            None => builder.build_responder()?,
        };
        Ok(Noise { state, psk_at })
    }

    /// Writes the next message to `out`; returns its length.
    pub(crate) fn write(&mut self, payload: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        self.state.write_message(payload, out)
    }

    /// Reads the next message; returns its payload.
    pub(crate) fn read(&mut self, message: &[u8]) -> Result<Zeroizing<Vec<u8>>, Error> {
        let mut payload = Zeroizing::new(vec![0; message.len()]);
        let len = self.state.read_message(message, &mut payload)?;
        payload.truncate(len);
        Ok(payload)
    }

    /// The initiator's static key, once its message has been read.
    pub(crate) fn theirs(&self) -> Option<PublicKey> {
        self.state.get_remote_static().and_then(PublicKey::from_slice)
    }

    /// k1, k2 and h, for the vectors.
    #[cfg(test)]
    pub(crate) fn raw(&mut self) -> ([u8; 32], [u8; 32], Vec<u8>) {
        let (k1, k2) = self.state.dangerously_get_raw_split();
        (k1, k2, self.state.get_handshake_hash().to_vec())
    }

    /// prk = Extract(salt h, k1 ‖ k2), from Noise's Split, raw. Only after both messages.
    pub(crate) fn finish(mut self) -> Result<Source, Error> {
        if !self.state.is_handshake_finished() {
            return Err(Error::Input);
        }
        let (k1, k2) = self.state.dangerously_get_raw_split();
        let (k1, k2) = (Zeroizing::new(k1), Zeroizing::new(k2));
        let keys = Zeroizing::new([&k1[..], &k2[..]].concat());
        Ok(Source::extract(self.state.get_handshake_hash(), &keys))
    }
}

impl Drop for Noise {
    fn drop(&mut self) {
        // snow leaves it there.
        let _ = self.state.set_psk(self.psk_at, &[0; Psk::LEN]);
    }
}

struct Provider {
    ephemeral: Entropy,
}

impl CryptoResolver for Provider {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Some(Box::new(Once(Some(self.ephemeral.clone()))))
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        matches!(choice, DHChoice::Curve25519).then(|| Box::<X25519>::default() as Box<dyn Dh>)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        matches!(choice, HashChoice::SHA256).then(|| Box::<Sha256>::default() as Box<dyn Hash>)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        matches!(choice, CipherChoice::ChaChaPoly).then(|| Box::<ChaChaPoly>::default() as Box<dyn Cipher>)
    }
}

/// Gives its bytes once: a handshake makes one ephemeral key.
struct Once(Option<Entropy>);

impl Random for Once {
    fn try_fill_bytes(&mut self, dest: &mut [u8]) -> Result<(), Error> {
        match self.0.take() {
            Some(bytes) if dest.len() == Entropy::LEN => {
                dest.copy_from_slice(bytes.expose());
                Ok(())
            }
            _ => Err(Error::Rng),
        }
    }
}

/// An X25519 key pair, once it is set.
#[derive(Default)]
struct X25519(Option<KeyPair>);

impl Dh for X25519 {
    fn name(&self) -> &'static str {
        "25519"
    }

    fn pub_len(&self) -> usize {
        32
    }

    fn priv_len(&self) -> usize {
        32
    }

    fn set(&mut self, privkey: &[u8]) {
        // Without a key no agreement succeeds.
        self.0 = KeyPair::new(privkey).ok();
    }

    fn generate(&mut self, rng: &mut dyn Random) -> Result<(), Error> {
        let mut secret = Zeroizing::new([0; 32]);
        rng.try_fill_bytes(&mut secret[..])?;
        self.set(&secret[..]);
        self.0.as_ref().map(drop).ok_or(Error::Dh)
    }

    fn pubkey(&self) -> &[u8] {
        self.0.as_ref().map_or(&[0; 32], |pair| pair.public().as_bytes())
    }

    /// snow asks for it only to make key pairs for its caller, which is never done here.
    fn privkey(&self) -> &[u8] {
        &[0; 32]
    }

    fn dh(&self, pubkey: &[u8], out: &mut [u8]) -> Result<(), Error> {
        // snow hands over a buffer as long as its longest key.
        let theirs = pubkey.get(..32).ok_or(Error::Dh)?;
        self.0.as_ref().ok_or(Error::Dh)?.agree(theirs, out).map_err(|_| Error::Dh)
    }
}

struct Sha256(digest::Context);

impl Default for Sha256 {
    fn default() -> Self {
        Sha256(digest::Context::new(&digest::SHA256))
    }
}

impl Hash for Sha256 {
    fn name(&self) -> &'static str {
        "SHA256"
    }

    fn block_len(&self) -> usize {
        64
    }

    fn hash_len(&self) -> usize {
        32
    }

    fn reset(&mut self) {
        *self = Sha256::default();
    }

    fn input(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    fn result(&mut self, out: &mut [u8]) {
        let context = std::mem::replace(&mut self.0, digest::Context::new(&digest::SHA256));
        out[..32].copy_from_slice(context.finish().as_ref());
    }
}

/// Noise's ChaChaPoly: the nonce is four zero bytes and the counter, little-endian (Noise, 12.3).
#[derive(Default)]
struct ChaChaPoly(Option<LessSafeKey>);

fn nonce(counter: u64) -> Nonce {
    let mut bytes = [0; 12];
    bytes[4..].copy_from_slice(&counter.to_le_bytes());
    Nonce::assume_unique_for_key(bytes)
}

impl Cipher for ChaChaPoly {
    fn name(&self) -> &'static str {
        "ChaChaPoly"
    }

    fn set(&mut self, key: &[u8; 32]) {
        self.0 = UnboundKey::new(&CHACHA20_POLY1305, key).ok().map(LessSafeKey::new);
    }

    fn encrypt(&self, counter: u64, authtext: &[u8], plaintext: &[u8], out: &mut [u8]) -> usize {
        let (text, tag) = out.split_at_mut(plaintext.len());
        text.copy_from_slice(plaintext);
        let sealed = self
            .0
            .as_ref()
            .and_then(|key| key.seal_in_place_separate_tag(nonce(counter), Aad::from(authtext), text).ok());
        match sealed {
            Some(made) => tag[..TAG].copy_from_slice(made.as_ref()),
            // The trait knows no failure here. What goes out then is zeros, which no peer can open.
            None => {
                text.zeroize();
                tag[..TAG].zeroize();
            }
        }
        plaintext.len() + TAG
    }

    fn decrypt(&self, counter: u64, authtext: &[u8], ciphertext: &[u8], out: &mut [u8]) -> Result<usize, Error> {
        let len = ciphertext.len().checked_sub(TAG).ok_or(Error::Decrypt)?;
        let (text, tag) = ciphertext.split_at(len);
        let out = out.get_mut(..len).ok_or(Error::Decrypt)?;
        let key = self.0.as_ref().ok_or(Error::Decrypt)?;
        key.open_separate_gather(nonce(counter), Aad::from(authtext), text, tag, out).map_err(|_| Error::Decrypt)?;
        Ok(len)
    }
}

#[cfg(test)]
mod tests;
