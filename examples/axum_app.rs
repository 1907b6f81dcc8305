//! An axum app that paired devices may use, beside its own login. Run it, then pair a device with it:
//! `couplet pair --state-dir target/axum-app`.

use axum::{Router, extract::FromRef, routing::get};
use couplet_host::{Config, Device, Pairing};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

#[derive(Clone, FromRef)]
struct App {
    pairing: Pairing,
}

/// Anyone may read this; a paired device is greeted by its name.
async fn hello(device: Option<Device>) -> String {
    device.map_or("Hello, stranger\n".into(), |device| format!("Hello, {}\n", device.device_name))
}

/// Only paired devices get here.
async fn notes(device: Device) -> String {
    format!("The notes of {}\n", device.device_id)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let address = std::env::var("LISTEN").unwrap_or("127.0.0.1:7878".into());
    let listener = tokio::net::TcpListener::bind(address).await?;
    let pairing = Pairing::open(Config::new("target/axum-app", "My app")).await?;
    let private = Router::new().route("/notes", get(notes)).route_layer(pairing.require_device());
    let app = Router::new()
        .route("/", get(hello))
        .merge(private)
        .with_state(App { pairing: pairing.clone() })
        .merge(pairing.routes());
    let (stop, mut terminate) = (CancellationToken::new(), signal(SignalKind::terminate())?);
    let asked = stop.clone();
    tokio::spawn(async move { terminate.recv().await.map(|()| asked.cancel()) });
    Ok(pairing.serve(listener, app, stop).await?)
}
