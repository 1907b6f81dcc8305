//! A session: sealing what goes out and opening what comes in (spec/protocol.md, 4).
//!
//! XChaCha20-Poly1305 with a nonce of a fixed prefix and a counter. As the prefix is fixed for an epoch, HChaCha20 runs
//! once for it, and the frames go through the provider's ChaCha20-Poly1305: byte for byte the same.

use std::time::Duration;

use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use chacha20::{R20, hchacha};
use zeroize::Zeroizing;

use crate::frame::{CloseCode, Content, DATA_MAX, FRAME_MAX, HEADER, Kind, Opened, PADDED_BELOW, PADDING, TAG};
use crate::schedule::{DerivationFailed, Source};

/// The most frames of an epoch, its KEYUPDATE included.
pub const EPOCH_FRAMES: u64 = 1 << 16;
/// The most bytes of frames in an epoch, its KEYUPDATE excluded.
pub const EPOCH_BYTES: u64 = 1 << 30;
/// How long an epoch may last.
pub const EPOCH_TIME: Duration = Duration::from_secs(15 * 60);
/// How long a session may last before a new handshake.
pub const SESSION_TIME: Duration = Duration::from_secs(12 * 3600);

const MAGIC: u8 = 0x11;

/// Only in builds for tests: sends frames as they are, so that a test that looks for plaintext in a capture can show
/// that it would find it.
#[cfg(feature = "failpoints")]
pub static UNSEALED: std::sync::atomic::AtomicBool = std::sync::atomic::AtomicBool::new(false);

#[cfg(feature = "failpoints")]
fn unsealed() -> bool {
    UNSEALED.load(std::sync::atomic::Ordering::Relaxed)
}

#[cfg(not(feature = "failpoints"))]
const fn unsealed() -> bool {
    false
}

/// Which end this is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The device.
    Initiator,
    /// The host.
    Responder,
}

/// Both directions of a session. They share nothing and may be taken apart.
#[derive(Debug)]
pub struct Session {
    /// What goes out.
    pub sealer: Sealer,
    /// What comes in.
    pub opener: Opener,
}

/// A frame cannot be sealed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// More data than a frame carries.
    #[error("a frame carries at most {DATA_MAX} bytes")]
    TooLong,
    /// The epoch's frames or bytes are used up: update the key first.
    #[error("the key must be updated first")]
    KeyUpdateDue,
    /// The session was closed, or has used up its last epoch.
    #[error("the session is over")]
    Over,
}

/// A frame cannot be opened. There is one error for whatever is wrong with it, and the session is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame could not be opened: it was changed, lost, repeated or sent out of order, and the session is over")]
pub struct OpenError;

impl Session {
    pub(crate) fn new(prk: &Source, role: Role) -> Result<Self, DerivationFailed> {
        let direction = |name: &'static [u8]| -> Result<Epoch, DerivationFailed> {
            let key = prk.expand::<32>(&[b"couplet/1 key ", name])?;
            let prefix = prk.expand::<16>(&[b"couplet/1 nonce ", name])?;
            Epoch::new(name, 0, key, &prefix)
        };
        let (i2r, r2i) = (direction(b"i2r")?, direction(b"r2i")?);
        let (ours, theirs) = match role {
            Role::Initiator => (i2r, r2i),
            Role::Responder => (r2i, i2r),
        };
        Ok(Session { sealer: Sealer::new(ours), opener: Opener::new(theirs) })
    }
}

/// One direction under one key.
struct Epoch {
    direction: &'static [u8],
    number: u16,
    key: Zeroizing<[u8; 32]>,
    aead: LessSafeKey,
    counter: u64,
}

impl Epoch {
    fn new(
        direction: &'static [u8],
        number: u16,
        key: Zeroizing<[u8; 32]>,
        prefix: &[u8; 16],
    ) -> Result<Self, DerivationFailed> {
        let mut subkey = hchacha::<R20>((&*key).into(), prefix.into());
        let unbound = UnboundKey::new(&CHACHA20_POLY1305, &subkey);
        zeroize::Zeroize::zeroize(subkey.as_mut_slice());
        let aead = LessSafeKey::new(unbound.map_err(|_| DerivationFailed)?);
        Ok(Epoch { direction, number, key, aead, counter: 0 })
    }

    /// The next epoch: key ‖ prefix = Expand(key, "couplet/1 rekey " ‖ d, 48).
    fn next(&self) -> Option<Self> {
        let number = self.number.checked_add(1)?;
        let bytes = Source::of_key(&self.key).expand::<48>(&[b"couplet/1 rekey ", self.direction]).ok()?;
        let (mut key, mut prefix) = (Zeroizing::new([0; 32]), Zeroizing::new([0; 16]));
        key.copy_from_slice(&bytes[..32]);
        prefix.copy_from_slice(&bytes[32..]);
        Epoch::new(self.direction, number, key, &prefix).ok()
    }

    /// The last eight bytes of the 24-byte nonce; the prefix is in the subkey.
    fn nonce(&self) -> Nonce {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(&self.counter.to_le_bytes());
        Nonce::assume_unique_for_key(nonce)
    }

    fn seal(&self, header: [u8; HEADER], inner: &mut [u8]) -> Option<[u8; TAG]> {
        if unsealed() {
            return Some([0; TAG]);
        }
        let tag = self.aead.seal_in_place_separate_tag(self.nonce(), Aad::from(header), inner).ok()?;
        tag.as_ref().try_into().ok()
    }

    fn open<'a>(&self, header: [u8; HEADER], sealed: &'a mut [u8]) -> Option<&'a mut [u8]> {
        if unsealed() {
            let inner = sealed.len().checked_sub(TAG)?;
            return sealed.get_mut(..inner);
        }
        self.aead.open_in_place(self.nonce(), Aad::from(header), sealed).ok()
    }

    fn header(&self) -> [u8; HEADER] {
        let [high, low] = self.number.to_be_bytes();
        [MAGIC, 0, high, low]
    }
}

/// What goes out.
pub struct Sealer {
    epoch: Option<Epoch>,
    bytes: u64,
    frames: u64,
    began: Duration,
}

impl Sealer {
    fn new(epoch: Epoch) -> Self {
        Sealer { epoch: Some(epoch), bytes: 0, frames: 0, began: Duration::ZERO }
    }

    /// Whether the key must be updated before the next frame. `now` counts from the session's begin.
    #[must_use]
    pub fn key_update_due(&self, now: Duration) -> bool {
        self.is_spent() || now.saturating_sub(self.began) >= EPOCH_TIME
    }

    /// One frame is kept back for the KEYUPDATE, or the CLOSE.
    fn is_spent(&self) -> bool {
        let frames = self.epoch.as_ref().map_or(0, |epoch| epoch.counter);
        frames + 1 >= EPOCH_FRAMES || self.bytes + FRAME_MAX as u64 > EPOCH_BYTES
    }

    /// Appends a sealed frame to `out`. Short ones are padded, so that their length says little.
    ///
    /// # Errors
    /// See [`SealError`]. Nothing is appended then.
    pub fn seal(&mut self, content: Content<'_>, out: &mut Vec<u8>) -> Result<(), SealError> {
        if self.epoch.is_some() && self.is_spent() {
            return Err(SealError::KeyUpdateDue);
        }
        match content {
            Content::Data(data) => self.append(Kind::Data, [data, &[]], 0, out),
            Content::Joined(pieces) => self.append(Kind::Data, pieces, 0, out),
            Content::Control(message) => self.append(Kind::Control, [message, &[]], 0, out),
            Content::Pad(len) => self.append(Kind::Pad, [&[]; 2], len, out),
        }
    }

    /// Appends the last frame of this epoch, and begins the next. `now` counts from the session's begin.
    ///
    /// # Errors
    /// [`SealError::Over`] in the last epoch there is: shake hands anew.
    pub fn seal_key_update(&mut self, now: Duration, out: &mut Vec<u8>) -> Result<(), SealError> {
        let next = self.epoch.as_ref().and_then(Epoch::next).ok_or(SealError::Over)?;
        self.append(Kind::KeyUpdate, [&[]; 2], 0, out)?;
        (self.epoch, self.bytes, self.began) = (Some(next), 0, now);
        Ok(())
    }

    /// Appends the last frame of the session. Nothing can be sealed after it.
    ///
    /// # Errors
    /// [`SealError::Over`] when it is over already.
    pub fn seal_close(&mut self, code: CloseCode, out: &mut Vec<u8>) -> Result<(), SealError> {
        let mut body = [0; 10];
        body[..2].copy_from_slice(&code.number().to_be_bytes());
        body[2..].copy_from_slice(&(self.frames + 1).to_be_bytes());
        self.append(Kind::Close, [&body, &[]], 0, out)?;
        self.epoch = None;
        Ok(())
    }

    /// The one place that seals. `blank`: so many zeros behind the type.
    fn append(&mut self, kind: Kind, pieces: [&[u8]; 2], blank: usize, out: &mut Vec<u8>) -> Result<(), SealError> {
        let epoch = self.epoch.as_mut().ok_or(SealError::Over)?;
        let len = pieces[0].len().saturating_add(pieces[1].len());
        if len.saturating_add(blank) > DATA_MAX {
            return Err(SealError::TooLong);
        }
        let plain = len + blank + 1;
        let padded = kind != Kind::Pad && len < PADDED_BELOW;
        let inner = if padded { plain.next_multiple_of(PADDING) } else { plain };
        let start = out.len();
        let header = epoch.header();
        out.reserve(HEADER + inner + TAG);
        out.extend_from_slice(&header);
        pieces.iter().for_each(|piece| out.extend_from_slice(piece));
        out.push(kind as u8);
        out.resize(start + HEADER + inner, 0);
        match epoch.seal(header, &mut out[start + HEADER..]) {
            Some(tag) => out.extend_from_slice(&tag),
            None => {
                out.truncate(start);
                return Err(SealError::Over);
            }
        }
        epoch.counter += 1;
        self.frames += 1;
        self.bytes += (HEADER + inner + TAG) as u64;
        Ok(())
    }
}

/// What comes in.
pub struct Opener {
    epoch: Option<Epoch>,
    frames: u64,
    closed: Option<CloseCode>,
}

impl Opener {
    fn new(epoch: Epoch) -> Self {
        Opener { epoch: Some(epoch), frames: 0, closed: None }
    }

    /// Opens the next frame, in place. After an error, and after a CLOSE, nothing can be opened any more.
    ///
    /// # Errors
    /// The one error for whatever is wrong.
    pub fn open(&mut self, frame: &mut [u8]) -> Result<Opened, OpenError> {
        // Taken out until all is well: whatever fails ends the session.
        let mut epoch = self.epoch.take().ok_or(OpenError)?;
        if frame.len() > FRAME_MAX || epoch.counter >= EPOCH_FRAMES {
            return Err(OpenError);
        }
        let (header, sealed) = frame.split_first_chunk_mut::<HEADER>().ok_or(OpenError)?;
        if *header != epoch.header() {
            return Err(OpenError);
        }
        let inner = epoch.open(*header, sealed).ok_or(OpenError)?;
        epoch.counter += 1;
        self.frames += 1;
        let type_at = inner.iter().rposition(|byte| *byte != 0).ok_or(OpenError)?;
        let kind = Kind::of(inner[type_at]).ok_or(OpenError)?;
        let data = &inner[..type_at];
        match kind {
            Kind::Close => {
                let (code, frames) = data.split_first_chunk::<2>().ok_or(OpenError)?;
                if frames != self.frames.to_be_bytes() {
                    return Err(OpenError);
                }
                self.closed = Some(CloseCode::of(u16::from_be_bytes(*code)));
            }
            Kind::KeyUpdate if data.is_empty() => self.epoch = Some(epoch.next().ok_or(OpenError)?),
            Kind::KeyUpdate => return Err(OpenError),
            Kind::Data | Kind::Pad | Kind::Control => {
                // The last frame that an epoch has room for updates the key.
                if epoch.counter >= EPOCH_FRAMES {
                    return Err(OpenError);
                }
                self.epoch = Some(epoch);
            }
        }
        Ok(Opened { kind, data: HEADER..HEADER + type_at })
    }

    /// Why the peer closed the session, once it has.
    #[must_use]
    pub fn closed(&self) -> Option<CloseCode> {
        self.closed
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer").field("frames", &self.frames).finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener").field("frames", &self.frames).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
