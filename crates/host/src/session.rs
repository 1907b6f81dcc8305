//! What the host holds in memory of a device that is using it: who it is, what it may do, and whether it may go on.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::sync::{Arc, OnceLock};

use couplet_protocol::api::NetworkPath;
use couplet_protocol::frame::CloseCode;
use couplet_protocol::signature::VerifyingKey;
use couplet_protocol::{Code, DeviceModel, DeviceName, Scope};
use http::{HeaderName, HeaderValue};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::clock::Timestamp;

/// The headers that tell an app who calls, in the order of [`Session::headers`].
pub const DEVICE_HEADERS: [HeaderName; 3] = [
    HeaderName::from_static("x-couplet-device-id"),
    HeaderName::from_static("x-couplet-device-name"),
    HeaderName::from_static("x-couplet-device-model"),
];

/// Headers by which some frameworks and servers take a request for another one than its line says.
const OVERRIDES: [&str; 6] = [
    "x-http-method",
    "x-http-method-override",
    "x-method-override",
    "x-original-url",
    "x-original-uri",
    "x-rewrite-url",
];

/// Whether a header would let a limited device ask for what its scope forbids. `-` and `_` are one here.
pub(crate) fn overrides_request(name: &str) -> bool {
    let plain = |b: u8| if b == b'_' { b'-' } else { b.to_ascii_lowercase() };
    OVERRIDES.iter().any(|o| o.len() == name.len() && o.bytes().zip(name.bytes()).all(|(o, n)| o == plain(n)))
}

/// Who a device is, as the app behind the authentication sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The device's id.
    pub device_id: Uuid,
    /// What its user calls it.
    pub device_name: DeviceName,
    /// Its model as it told it.
    pub device_model: Option<DeviceModel>,
}

/// An authenticated device. One per device and process; replaced whole when the device is renamed or restricted.
#[derive(Debug)]
pub struct Session {
    /// Who it is.
    pub device: Device,
    /// What it may do in the apps.
    pub scope: Scope,
    /// When its access ends.
    pub expires_at: Option<Timestamp>,
    /// `X-Couplet-Device-Id`, `-Name`, `-Model`, ready to be sent; the model is empty when unknown.
    pub headers: [HeaderValue; 3],
    /// What a watch signs with; a device's key never changes.
    signing_key: Option<VerifyingKey>,
    ended: CancellationToken,
    /// Set before `ended` fires.
    why: Arc<OnceLock<CloseCode>>,
    last_seen: AtomicI64,
    by_relay: AtomicBool,
}

impl Session {
    /// A session that lasts until `ended` is cancelled.
    #[must_use]
    pub fn new(device: Device, scope: Scope, expires_at: Option<Timestamp>) -> Self {
        let header = |text: String| HeaderValue::from_str(&text).unwrap_or(HeaderValue::from_static(""));
        let headers = [
            header(device.device_id.to_string()),
            header(device.device_name.to_header()),
            header(device.device_model.as_ref().map(DeviceModel::to_header).unwrap_or_default()),
        ];
        Session {
            device,
            scope,
            expires_at,
            headers,
            signing_key: None,
            ended: CancellationToken::new(),
            why: Arc::default(),
            last_seen: AtomicI64::new(0),
            by_relay: AtomicBool::new(false),
        }
    }

    pub(crate) fn with_signing_key(self, signing_key: Option<VerifyingKey>) -> Self {
        Session { signing_key, ..self }
    }

    pub(crate) fn signing_key(&self) -> Option<&VerifyingKey> {
        self.signing_key.as_ref()
    }

    /// Whether the device may call at all.
    ///
    /// # Errors
    /// [`Code::DeviceExpired`], or [`Code::DeviceUnknown`] once revoked.
    pub fn is_live(&self, now: Timestamp) -> Result<(), Code> {
        if self.ended.is_cancelled() {
            return Err(Code::DeviceUnknown);
        }
        if self.expires_at.is_some_and(|end| now >= end) {
            return Err(Code::DeviceExpired);
        }
        Ok(())
    }

    /// Whether this request is within the device's time and scope.
    ///
    /// # Errors
    /// Those of [`Session::is_live`], or the scope's refusal.
    pub fn permits(&self, now: Timestamp, method: &str, path: &str, upgrade: bool) -> Result<(), Code> {
        self.is_live(now)?;
        self.scope.check(method, path, upgrade)
    }

    /// Fires when the device is revoked, restricted or expires: everything that it has open ends then.
    #[must_use]
    pub fn ended(&self) -> &CancellationToken {
        &self.ended
    }

    /// The same session under another name: what is open goes on, and ends with it.
    pub(crate) fn renamed(&self, device: Device) -> Self {
        let renamed = Session::new(device, self.scope.clone(), self.expires_at);
        renamed.last_seen.store(self.last_seen.load(Ordering::Relaxed), Ordering::Relaxed);
        renamed.by_relay.store(self.by_relay.load(Ordering::Relaxed), Ordering::Relaxed);
        Session { ended: self.ended.clone(), why: Arc::clone(&self.why), signing_key: self.signing_key, ..renamed }
    }

    #[cfg(test)]
    pub(crate) fn end(&self) {
        self.end_for(CloseCode::Revoked);
    }

    pub(crate) fn end_for(&self, why: CloseCode) {
        let _ = self.why.set(why);
        self.ended.cancel();
    }

    /// Why it ended, once it has.
    pub(crate) fn why(&self) -> Option<CloseCode> {
        self.why.get().copied()
    }

    pub(crate) fn came_by(&self, path: NetworkPath) {
        self.by_relay.store(path == NetworkPath::Relay, Ordering::Relaxed);
    }

    pub(crate) fn path(&self) -> NetworkPath {
        if self.by_relay.load(Ordering::Relaxed) { NetworkPath::Relay } else { NetworkPath::Lan }
    }

    pub(crate) fn seen(&self, now: Timestamp) {
        self.last_seen.store(now.millis(), Ordering::Relaxed);
    }

    /// When it was last seen and not yet written down.
    pub(crate) fn take_seen(&self) -> Option<Timestamp> {
        match self.last_seen.swap(0, Ordering::Relaxed) {
            0 => None,
            millis => Some(Timestamp::from_millis(millis)),
        }
    }
}
