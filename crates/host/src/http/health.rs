//! `GET /health`, `/livez`, `/readyz`: for anyone.

use axum::extract::State;
use couplet_protocol::Problem;
use couplet_protocol::api::{Features, Health, PairingFeature, RelayFeature};

use crate::pairing::{Core, Pairing};
use crate::problem::Failure;

/// What this host is and can do.
#[utoipa::path(get, path = "/health", tag = "health", responses((status = 200, body = Health)))]
pub(super) async fn health(State(pairing): State<Pairing>) -> axum::Json<Health> {
    axum::Json(of(pairing.core()).await)
}

/// The answer, for whoever asks.
pub(crate) async fn of(core: &Core) -> Health {
    let available = core.ready().await.is_ok();
    Health {
        status: if available { "ok" } else { "degraded" }.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        features: Features {
            pairing: PairingFeature {
                available,
                transport: "daemon-http".to_owned(),
                endpoint: "/pair".to_owned(),
                token_bits: u16::try_from(8 * couplet_protocol::BearerToken::ENTROPY).unwrap_or_default(),
                rng: crate::random::SOURCE.to_owned(),
            },
            relay: RelayFeature { available: core.relay().name().is_some(), connected: core.relay().is_up() },
        },
    }
}

/// The process answers.
#[utoipa::path(get, path = "/livez", tag = "health", responses((status = 200, body = String)))]
pub(super) async fn livez() -> &'static str {
    "ok\n"
}

/// The process and its store answer.
#[utoipa::path(get, path = "/readyz", tag = "health",
    responses((status = 200, body = String), (status = 503, body = Problem)))]
pub(super) async fn readyz(State(pairing): State<Pairing>) -> Result<&'static str, Failure> {
    pairing.core().ready().await.map(|()| "ok\n")
}
