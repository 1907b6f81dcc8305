//! The handshake (spec/protocol.md, 3): Noise IK with a pre-shared key. Each step consumes itself and yields the next,
//! so that no step can be taken twice or out of order.
//!
//! ```text
//! device  Initiator::{pair, reconnect}  ── M1 ──▶  Hello::parse, Responder::{pair, reconnect}  host
//!         Initiator::finish             ◀── M2 ──  Responder::answer
//!         the first sealed frame        ── confirm ──▶  Unconfirmed::confirm
//! ```

use aws_lc_rs::digest;
use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

use crate::check_code::CheckCode;
use crate::frame::{Content, Kind};
use crate::identity::{PublicKey, StaticSecret};
use crate::message::{
    AnswerPayload, Claim, ClaimPayload, Control, RoomNumbers, check_reconnect_payload, reconnect_payload,
};
use crate::noise::{Noise, Pattern};
use crate::offer::{Offer, SUITE_1};
use crate::schedule::Source;
use crate::secret::{Entropy, Psk};
use crate::session::{Role, Session};

/// The longest M1, in bytes.
pub const M1_MAX: usize = 4096;
/// The longest M2, in bytes.
pub const M2_MAX: usize = 4096;

const HEADER: usize = 13;
const M1: u8 = 1;
const M2: u8 = 2;
const VERSION: u8 = 1;
/// The number of suite 1 in M1.
const SUITE: u8 = 1;

/// Why a handshake came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandshakeError {
    /// It has not the form of the message that was expected.
    #[error("the peer sent something that is no handshake message")]
    Malformed,
    /// A version that this end does not speak.
    #[error("the peer speaks version {0} of the protocol, this end version {VERSION}: update the older one")]
    Version(u8),
    /// A suite that is not the strongest both ends share, or suites that were never offered: someone may be between.
    #[error("the peer chose a cipher suite that was not agreed on")]
    Suite,
    /// A message cannot be opened: a wrong key, or someone changed it.
    #[error("the handshake failed: the keys of the two ends do not belong together, or a message was changed")]
    Failed,
    /// The device's nonce is not the one that it committed to.
    #[error("the device did not keep to what it committed to")]
    Commitment,
}

impl From<snow::Error> for HandshakeError {
    fn from(_: snow::Error) -> Self {
        HandshakeError::Failed
    }
}

impl From<crate::schedule::DerivationFailed> for HandshakeError {
    fn from(_: crate::schedule::DerivationFailed) -> Self {
        HandshakeError::Failed
    }
}

impl From<crate::message::Malformed> for HandshakeError {
    fn from(_: crate::message::Malformed) -> Self {
        HandshakeError::Malformed
    }
}

/// What a handshake is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Claiming an offer; the id is the offer's.
    Pair,
    /// A paired device comes back; the id is its psk_id.
    Reconnect,
}

/// What a paired device needs to come back.
#[derive(Clone, Debug)]
pub struct PairingKeys {
    /// Names the pairing.
    pub psk_id: [u8; 8],
    /// The pairing PSK.
    pub psk: Psk,
    /// The host's static key, pinned when pairing.
    pub host_key: PublicKey,
    /// The suites that the host offered when pairing.
    pub suites: u8,
}

/// The device, after M1.
pub struct Initiator {
    noise: Noise,
    nonce: Option<Entropy>,
}

/// The device, after M2: the session is open, and its first frame must be [`Confirmed::confirm`].
#[derive(Debug)]
pub struct Confirmed {
    /// The session.
    pub session: Session,
    /// The message to seal first: `confirm`.
    pub confirm: Control,
    /// What the host calls itself.
    pub host_name: String,
    /// When pairing: what the device shows.
    pub check_code: CheckCode,
}

impl Initiator {
    /// Begins to claim an offer. Returns the state and M1. `ephemeral` and `nonce` are fresh in each try.
    ///
    /// # Errors
    /// [`HandshakeError::Suite`] when the offer allows none that this end knows; [`HandshakeError::Malformed`] when
    /// the claim's texts are too long.
    pub fn pair(
        offer: &Offer,
        ours: &StaticSecret,
        claim: Claim,
        ephemeral: Entropy,
        nonce: Entropy,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let keys = offer.keys()?;
        let commit = commitment(&nonce, &ours.public());
        let payload = ClaimPayload { claim, commit }.encode()?;
        let header = header(Mode::Pair, offer.suites, &keys.offer_id)?;
        Self::begin(Pattern::IkPsk1, header, ours, &offer.host_key, &keys.psk, &payload, ephemeral, Some(nonce))
    }

    /// Begins to come back. Returns the state and M1. `ephemeral` is fresh in each try.
    ///
    /// # Errors
    /// As [`Self::pair`].
    pub fn reconnect(
        keys: &PairingKeys,
        ours: &StaticSecret,
        ephemeral: Entropy,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let header = header(Mode::Reconnect, keys.suites, &keys.psk_id)?;
        let payload = reconnect_payload()?;
        Self::begin(Pattern::IkPsk2, header, ours, &keys.host_key, &keys.psk, &payload, ephemeral, None)
    }

    #[expect(clippy::too_many_arguments, reason = "the two ways in differ in each of them")]
    fn begin(
        pattern: Pattern,
        header: [u8; HEADER],
        ours: &StaticSecret,
        theirs: &PublicKey,
        psk: &Psk,
        payload: &[u8],
        ephemeral: Entropy,
        nonce: Option<Entropy>,
    ) -> Result<(Self, Vec<u8>), HandshakeError> {
        let mut noise = Noise::begin(pattern, ours, Some(theirs), psk, &prologue(&header), ephemeral)?;
        let mut message = vec![0; M1_MAX];
        message[..HEADER].copy_from_slice(&header);
        let written = noise.write(payload, &mut message[HEADER..])?;
        message.truncate(HEADER + written);
        Ok((Initiator { noise, nonce }, message))
    }

    /// Reads M2 and opens the session.
    ///
    /// # Errors
    /// M2 is malformed, or cannot be opened: the host has not the key that the offer or the pairing names.
    pub fn finish(mut self, m2: &[u8]) -> Result<Confirmed, HandshakeError> {
        let noise = match m2 {
            [M2, noise @ ..] if m2.len() <= M2_MAX => noise,
            _ => return Err(HandshakeError::Malformed),
        };
        let payload = self.noise.read(noise)?;
        let answer = AnswerPayload::decode(&payload)?;
        let prk = self.noise.finish()?;
        // Nothing is committed to when reconnecting, and nobody compares the code then.
        let zeros = Entropy::new([0; 32]);
        let ours = self.nonce.as_ref().unwrap_or(&zeros);
        Ok(Confirmed {
            session: Session::new(&prk, Role::Initiator)?,
            check_code: CheckCode::derive(&prk, ours.expose(), &answer.nonce)?,
            confirm: Control::Confirm { reveal: self.nonce, rooms: None },
            host_name: answer.host_name,
        })
    }
}

impl std::fmt::Debug for Initiator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Initiator")
    }
}

/// An M1 whose header is read and whose rest is still closed.
#[derive(Clone, Copy, Debug)]
pub struct Hello<'a> {
    header: [u8; HEADER],
    mode: Mode,
    noise: &'a [u8],
}

impl<'a> Hello<'a> {
    /// Reads the header of M1.
    ///
    /// # Errors
    /// It is no M1, too long, of another version, or of a suite that this end does not know.
    pub fn parse(m1: &'a [u8]) -> Result<Self, HandshakeError> {
        // Another version may look otherwise from the third byte on.
        match m1 {
            [M1, VERSION, ..] if m1.len() <= M1_MAX => {}
            [M1, version, ..] if *version != VERSION => return Err(HandshakeError::Version(*version)),
            _ => return Err(HandshakeError::Malformed),
        }
        let (header, noise) = m1.split_first_chunk::<HEADER>().ok_or(HandshakeError::Malformed)?;
        // The shortest Noise message: an ephemeral key, a sealed static key, a sealed empty payload.
        if noise.len() < 32 + 48 + 16 {
            return Err(HandshakeError::Malformed);
        }
        if header[2] != SUITE {
            return Err(HandshakeError::Suite);
        }
        let mode = match header[3] {
            1 => Mode::Pair,
            2 => Mode::Reconnect,
            _ => return Err(HandshakeError::Malformed),
        };
        Ok(Hello { header: *header, mode, noise })
    }

    /// What it is for.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// The offer's id, or the psk_id. Nothing proves it yet.
    #[must_use]
    pub fn id(&self) -> [u8; 8] {
        let mut id = [0; 8];
        id.copy_from_slice(&self.header[5..]);
        id
    }

    /// The ephemeral key, fresh in each honest try: one that comes again is a replay.
    #[must_use]
    pub fn ephemeral(&self) -> [u8; 32] {
        let mut key = [0; 32];
        key.copy_from_slice(&self.noise[..32]);
        key
    }

    fn open(
        &self,
        pattern: Pattern,
        ours: &StaticSecret,
        psk: &Psk,
        suites: u8,
        ephemeral: Entropy,
    ) -> Result<(Noise, PublicKey, Zeroizing<Vec<u8>>), HandshakeError> {
        // Suite 1 is all that there is: the strongest shared one, as long as it is what this end offers.
        if self.header[4] != suites || suites & SUITE_1 == 0 {
            return Err(HandshakeError::Suite);
        }
        let mut noise = Noise::begin(pattern, ours, None, psk, &prologue(&self.header), ephemeral)?;
        let payload = noise.read(self.noise)?;
        let theirs = noise.theirs().ok_or(HandshakeError::Failed)?;
        Ok((noise, theirs, payload))
    }
}

/// The host, after M1 has been opened.
pub struct Responder {
    noise: Noise,
    device_key: PublicKey,
    claimed: Option<(Claim, [u8; 32])>,
}

impl Responder {
    /// Opens the M1 of a device that claims the offer with this PSK. `suites` is the offer's byte.
    ///
    /// # Errors
    /// It cannot be opened: it is dropped, and not counted.
    pub fn pair(
        hello: &Hello<'_>,
        ours: &StaticSecret,
        psk: &Psk,
        suites: u8,
        ephemeral: Entropy,
    ) -> Result<Self, HandshakeError> {
        let (noise, device_key, payload) = hello.open(Pattern::IkPsk1, ours, psk, suites, ephemeral)?;
        let payload = ClaimPayload::decode(&payload)?;
        Ok(Responder { noise, device_key, claimed: Some((payload.claim, payload.commit)) })
    }

    /// Opens the M1 of a device that comes back, which must hold the static key that was paired.
    ///
    /// # Errors
    /// It cannot be opened, or another key is behind it.
    pub fn reconnect(
        hello: &Hello<'_>,
        ours: &StaticSecret,
        psk: &Psk,
        suites: u8,
        device_key: &PublicKey,
        ephemeral: Entropy,
    ) -> Result<Self, HandshakeError> {
        let (noise, theirs, payload) = hello.open(Pattern::IkPsk2, ours, psk, suites, ephemeral)?;
        // Before anything is made of what a stranger says.
        if !bool::from(theirs.as_bytes().ct_eq(device_key.as_bytes())) {
            return Err(HandshakeError::Failed);
        }
        check_reconnect_payload(&payload)?;
        Ok(Responder { noise, device_key: theirs, claimed: None })
    }

    /// The device's static key.
    #[must_use]
    pub fn device_key(&self) -> PublicKey {
        self.device_key
    }

    /// What the device says of itself, when it claims an offer.
    #[must_use]
    pub fn claim(&self) -> Option<&Claim> {
        self.claimed.as_ref().map(|(claim, _)| claim)
    }

    /// Answers with M2. `nonce` is the host's part of the check code, fresh in each try.
    ///
    /// # Errors
    /// The host's name is too long, or the keys agree on nothing.
    pub fn answer(mut self, host_name: &str, nonce: &Entropy) -> Result<(Unconfirmed, Vec<u8>), HandshakeError> {
        let payload = AnswerPayload { host_name: host_name.to_owned(), nonce: *nonce.expose() }.encode()?;
        let mut message = vec![0; M2_MAX];
        message[0] = M2;
        let written = self.noise.write(&payload, &mut message[1..])?;
        message.truncate(1 + written);
        let prk = self.noise.finish()?;
        let unconfirmed = Unconfirmed {
            session: Session::new(&prk, Role::Responder)?,
            prk,
            nonce: nonce.clone(),
            device_key: self.device_key,
            commit: self.claimed.map(|(_, commit)| commit),
        };
        Ok((unconfirmed, message))
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder").field("device_key", &self.device_key).finish_non_exhaustive()
    }
}

/// What the first frame shows of its device.
#[derive(Debug)]
pub struct Proof {
    /// The session, the device's from now on.
    pub session: Session,
    /// When pairing: what the owner must type.
    pub check_code: Option<CheckCode>,
    /// When coming back: by which rooms, where the device has any.
    pub rooms: Option<RoomNumbers>,
}

/// The host, after M2: the first frame must be the device's `confirm`.
pub struct Unconfirmed {
    session: Session,
    prk: Source,
    nonce: Entropy,
    device_key: PublicKey,
    commit: Option<[u8; 32]>,
}

impl Unconfirmed {
    /// Opens the first frame, in place.
    ///
    /// # Errors
    /// The frame cannot be opened, is no `confirm`, or reveals another nonce than was committed to.
    pub fn confirm(mut self, frame: &mut [u8]) -> Result<Proof, HandshakeError> {
        let opened = self.session.opener.open(frame).map_err(|_| HandshakeError::Failed)?;
        if opened.kind != Kind::Control {
            return Err(HandshakeError::Malformed);
        }
        let Some(Control::Confirm { reveal, rooms }) = Control::decode(&frame[opened.data])? else {
            return Err(HandshakeError::Malformed);
        };
        match (self.commit, reveal) {
            (None, _) => Ok(Proof { session: self.session, check_code: None, rooms }),
            (Some(commit), Some(nonce)) => {
                if !bool::from(commitment(&nonce, &self.device_key).ct_eq(&commit)) {
                    return Err(HandshakeError::Commitment);
                }
                let code = CheckCode::derive(&self.prk, nonce.expose(), self.nonce.expose())?;
                Ok(Proof { session: self.session, check_code: Some(code), rooms: None })
            }
            (Some(_), None) => Err(HandshakeError::Commitment),
        }
    }
}

impl std::fmt::Debug for Unconfirmed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Unconfirmed")
    }
}

impl Confirmed {
    /// Says by which rooms at a relay the device comes.
    pub fn come_by(&mut self, numbers: RoomNumbers) {
        if let Control::Confirm { rooms, .. } = &mut self.confirm {
            *rooms = Some(numbers);
        }
    }

    /// Seals the first frame and hands over the session.
    ///
    /// # Errors
    /// None that input can bring about.
    pub fn begin(mut self) -> Result<(Session, Vec<u8>), HandshakeError> {
        let message = self.confirm.encode()?;
        let mut frame = Vec::new();
        self.session.sealer.seal(Content::Control(&message), &mut frame).map_err(|_| HandshakeError::Failed)?;
        Ok((self.session, frame))
    }
}

/// The header of M1. The suite is the strongest that both ends share: today the only one.
fn header(mode: Mode, suites: u8, id: &[u8; 8]) -> Result<[u8; HEADER], HandshakeError> {
    if suites & SUITE_1 == 0 {
        return Err(HandshakeError::Suite);
    }
    let mode = match mode {
        Mode::Pair => 1,
        Mode::Reconnect => 2,
    };
    let mut header = [M1, VERSION, SUITE, mode, suites, 0, 0, 0, 0, 0, 0, 0, 0];
    header[5..].copy_from_slice(id);
    Ok(header)
}

fn prologue(header: &[u8; HEADER]) -> Vec<u8> {
    [b"couplet/1", &header[..]].concat()
}

/// H("couplet/1 commit" ‖ rP ‖ DS_pub).
fn commitment(nonce: &Entropy, device: &PublicKey) -> [u8; 32] {
    let mut hash = digest::Context::new(&digest::SHA256);
    hash.update(b"couplet/1 commit");
    hash.update(nonce.expose());
    hash.update(device.as_bytes());
    let mut out = [0; 32];
    out.copy_from_slice(hash.finish().as_ref());
    out
}

#[cfg(test)]
mod tests;
