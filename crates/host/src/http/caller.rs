//! Who calls: the owner, or a device. Extractors for our handlers and for those of an app that uses the library.

use std::sync::Arc;

use axum::extract::{FromRef, FromRequestParts, OptionalFromRequestParts, OriginalUri};
use couplet_protocol::Code;
use http::HeaderName;
use http::Method;
use http::request::Parts;

use crate::auth::is_owner;
use crate::pairing::Pairing;
use crate::problem::Failure;
use crate::session::{Device, Session};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Proof that the owner calls.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Owner;

impl FromRequestParts<Pairing> for Owner {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, pairing: &Pairing) -> Result<Self, Failure> {
        let site = parts.headers.get(SEC_FETCH_SITE);
        if parts.method == Method::GET && site.is_some_and(|site| site != "same-origin" && site != "none") {
            return Err(Failure::new(Code::CrossSite, "Open the page yourself instead of following another site's."));
        }
        if is_owner(&parts.headers, pairing.core().admin())? {
            return Ok(Owner);
        }
        Err(Failure::new(
            Code::OwnerRequired,
            "Use the `couplet` command on the host, or send `Authorization: Bearer` with the token that is in the \
             state folder's file admin-token.",
        ))
    }
}

/// The authenticated device's session, for what goes on after the answer: [`Session::ended`] fires at revocation.
#[derive(Clone, Debug)]
pub struct DeviceSession(pub Arc<Session>);

impl<S> FromRequestParts<S> for DeviceSession
where
    S: Send + Sync,
    Pairing: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        if let Some(session) = parts.extensions.get::<DeviceSession>() {
            return Ok(session.clone());
        }
        let pairing = Pairing::from_ref(state);
        let session = authenticate(&pairing, parts).await?;
        parts.extensions.insert(session.clone());
        Ok(session)
    }
}

/// Authenticates a request and holds it to the device's scope.
pub(crate) async fn authenticate(pairing: &Pairing, parts: &Parts) -> Result<DeviceSession, Failure> {
    let auth = pairing.authenticator();
    let (session, _) = auth.authenticate(&parts.headers).await?;
    let path = parts.extensions.get::<OriginalUri>().map_or(parts.uri.path(), |uri| uri.path());
    let upgrade = parts.headers.contains_key(http::header::UPGRADE);
    session.permits(auth.now(), parts.method.as_str(), path, upgrade).map_err(Failure::of_device)?;
    Ok(DeviceSession(session))
}

/// `Device` in a handler's arguments: a paired device calls, within its scope. `Option<Device>`: or somebody else,
/// whom the app's own login judges.
///
/// The router's state must give a [`Pairing`] (`FromRef`):
///
/// ```
/// use axum::{Router, extract::FromRef, routing::get};
/// use couplet_host::{Device, Pairing};
///
/// #[derive(Clone, FromRef)]
/// struct App { pairing: Pairing }
///
/// async fn hello(device: Device) -> String { device.device_name.to_string() }
///
/// let app: Router<App> = Router::new().route("/", get(hello));
/// ```
///
/// An app that forgot it does not compile:
///
/// ```compile_fail,E0277
/// use axum::{Router, extract::FromRef, routing::get};
/// use couplet_host::{Device, Pairing};
///
/// #[derive(Clone)]
/// struct App { pairing: Pairing }
///
/// async fn hello(device: Device) -> String { device.device_name.to_string() }
///
/// let app: Router<App> = Router::new().route("/", get(hello));
/// ```
impl<S> FromRequestParts<S> for Device
where
    S: Send + Sync,
    Pairing: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Failure> {
        let DeviceSession(session) = <DeviceSession as FromRequestParts<S>>::from_request_parts(parts, state).await?;
        Ok(session.device.clone())
    }
}

impl<S> OptionalFromRequestParts<S> for Device
where
    S: Send + Sync,
    Pairing: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Option<Self>, Failure> {
        match <Device as FromRequestParts<S>>::from_request_parts(parts, state).await {
            Ok(device) => Ok(Some(device)),
            // Nobody of ours, or no longer: the app's own login decides.
            Err(failure) if failure.code().status() == 401 => Ok(None),
            Err(failure) => Err(failure),
        }
    }
}
