//! The HTTP API: routes, and the one OpenAPI document that is made from them.

mod audit;
mod authz;
mod browser;
pub(crate) mod caller;
mod dashboard;
mod devices;
mod doctor;
mod events;
pub(crate) mod guard;
mod health;
mod json;
mod mobile;
mod offers;
mod owner;
mod pair_url;
mod pairings;
mod tunnel;
mod watches;

use axum::Router;
use axum::middleware::from_fn_with_state;
use couplet_protocol::{ClaimToken, Code};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{InfoBuilder, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::pairing::Pairing;
use crate::problem::Failure;

pub(crate) use devices::me_of as me;
pub(crate) use health::of as health;

/// How the owner is known, for the document.
const OWNER: &str = "The owner's token, `adm_…`, from the state folder. Or a session of the dashboard, for its own pages: \
                     the cookie of `POST /api/owner/login`, and that answer's `page_key` as `Couplet-Page`.";

fn documented() -> OpenApiRouter<Pairing> {
    OpenApiRouter::new()
        .routes(routes!(offers::generate))
        .routes(routes!(offers::withdraw))
        .routes(routes!(offers::exchange))
        .routes(routes!(devices::list, devices::add))
        .routes(routes!(devices::update, devices::revoke))
        .routes(routes!(devices::me, devices::unpair))
        .routes(routes!(pairings::list))
        .routes(routes!(pairings::approve))
        .routes(routes!(pairings::reject))
        .routes(routes!(audit::audit))
        .routes(routes!(doctor::doctor))
        .routes(routes!(events::events))
        .routes(routes!(owner::status))
        .routes(routes!(owner::link))
        .routes(routes!(owner::login))
        .routes(routes!(owner::logout))
        .routes(routes!(owner::sessions, owner::logout_all))
        .routes(routes!(owner::logout_other))
        .routes(routes!(owner::qr))
        .routes(routes!(tunnel::tunnel))
        .routes(routes!(authz::authz))
        .routes(routes!(pair_url::pair))
        .routes(routes!(mobile::list, mobile::ask))
        .routes(routes!(mobile::verify))
        .routes(routes!(mobile::withdraw))
        .routes(routes!(mobile::accept))
        .routes(routes!(mobile::reject))
        .routes(routes!(watches::pairing_info))
        .routes(routes!(watches::list, watches::register))
        .routes(routes!(watches::revoke))
        .routes(routes!(watches::verify))
        .routes(routes!(health::health))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
}

/// The OpenAPI 3.1 document of the pairing API.
#[must_use]
pub fn openapi() -> OpenApi {
    let info = InfoBuilder::new()
        .title("Couplet host")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some("Pairs devices with a host, and tells the host's owner about them."))
        .license(Some(utoipa::openapi::LicenseBuilder::new().name("MIT OR Apache-2.0").build()))
        .build();
    let mut document = OpenApiBuilder::new().info(info).build();
    document.merge(documented().into_openapi());
    let components = document.components.get_or_insert_with(Default::default);
    let bearer = |what: &str| {
        SecurityScheme::Http(HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(what)).build())
    };
    components.add_security_scheme("owner", bearer(OWNER));
    components.add_security_scheme("device", bearer("A device's credential, `dev_…` or 32 hex characters."));
    let signed = ApiKeyValue::with_description("Signature", "A signed request (RFC 9421; spec/protocol.md, 8).");
    components.add_security_scheme("watch", SecurityScheme::ApiKey(ApiKey::Header(signed)));
    document
}

impl Pairing {
    /// The pairing API as routes of an axum app, whatever its state is. Their defences (private peers, `Host`,
    /// `Origin`, sizes, times) come with them; serve the app with [`Pairing::serve`], which tells them the peer.
    pub fn routes<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        self.plain_routes().layer(from_fn_with_state(self.clone(), guard::guard)).with_state(self.clone())
    }

    /// The pairing listener's whole app: the routes, the dashboard, and a clear answer everywhere else.
    pub(crate) fn app(&self) -> Router {
        self.plain_routes()
            .merge(dashboard::routes())
            .fallback(async || Failure::new(Code::NoSuchRoute, "/api/openapi.json lists what there is."))
            .method_not_allowed_fallback(async || {
                Failure::new(Code::MethodNotAllowed, "/api/openapi.json lists the methods of each path.")
            })
            .layer(from_fn_with_state(self.clone(), guard::guard))
            .with_state(self.clone())
    }

    fn plain_routes(&self) -> Router<Pairing> {
        let document = async || axum::Json(openapi());
        documented().split_for_parts().0.route("/api/openapi.json", axum::routing::get(document))
    }
}

/// Polling with a claim is how a device waits for its owner and is not counted; a claim that is unknown is.
fn counted<T>(
    pairing: &Pairing,
    source: guard::Source,
    polling: bool,
    result: Result<T, Failure>,
) -> Result<T, Failure> {
    match result {
        Err(failure) if polling && matches!(failure.code(), Code::ClaimInvalid | Code::PairTokenInvalid) => {
            pairing.core().admit(source.ip).and(Err(failure))
        }
        other => other,
    }
}

/// The claim that a waiting device comes back with.
fn claim(text: Option<&str>) -> Result<Option<ClaimToken>, Failure> {
    let invalid = |_| Failure::new(Code::ClaimInvalid, "Send the claim of the 202 answer as it was.");
    text.map(ClaimToken::parse).transpose().map_err(invalid)
}
