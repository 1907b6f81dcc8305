//! The app that `make demo` puts behind Couplet: notes that every paired device sees as they are written. It knows
//! nothing of tokens; who writes, the gateway tells it in `X-Couplet-Device-Name`.

#![allow(clippy::expect_used, clippy::print_stdout, reason = "an example")]

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{Html, Sse, sse};
use axum::routing::get;
use axum::{Json, Router};
use futures_util::{Stream, StreamExt};
use percent_encoding::percent_decode_str;
use serde::{Deserialize, Serialize};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;

const PAGE: &str = r#"<!doctype html><meta name="viewport" content="width=device-width"><title>Notes</title>
<style>body{font:1.1rem system-ui;max-width:32rem;margin:2rem auto;padding:0 1rem}</style>
<h1>Notes</h1><form><input name="text" placeholder="Write something" autofocus><button>Add</button></form><ul></ul>
<script>
const list = document.querySelector("ul"), form = document.querySelector("form");
const show = n => list.append(Object.assign(document.createElement("li"), { textContent: `${n.by}: ${n.text}` }));
fetch("notes").then(r => r.json()).then(all => all.forEach(show));
new EventSource("events").onmessage = e => show(JSON.parse(e.data));
form.onsubmit = e => { e.preventDefault(); const text = form.text.value; form.reset();
  fetch("notes", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ text }) }); };
</script>"#;

#[derive(Clone, Serialize)]
struct Note {
    by: String,
    text: String,
}

#[derive(Deserialize)]
struct Draft {
    text: String,
}

#[derive(Clone)]
struct Notes {
    all: Arc<Mutex<Vec<Note>>>,
    news: broadcast::Sender<Note>,
}

async fn list(State(notes): State<Notes>) -> Json<Vec<Note>> {
    Json(notes.all.lock().expect("nobody panics with it").clone())
}

async fn add(State(notes): State<Notes>, headers: HeaderMap, Json(draft): Json<Draft>) -> (StatusCode, Json<Note>) {
    let name = headers.get("x-couplet-device-name").and_then(|name| name.to_str().ok()).unwrap_or("this machine");
    let note = Note { by: percent_decode_str(name).decode_utf8_lossy().into_owned(), text: draft.text };
    let mut all = notes.all.lock().expect("nobody panics with it");
    all.push(note.clone());
    let surplus = all.len().saturating_sub(100);
    all.drain(..surplus);
    let _ = notes.news.send(note.clone());
    (StatusCode::CREATED, Json(note))
}

async fn events(State(notes): State<Notes>) -> Sse<impl Stream<Item = Result<sse::Event, Infallible>>> {
    let news = BroadcastStream::new(notes.news.subscribe());
    let event = async |note: Result<Note, _>| sse::Event::default().json_data(note.ok()?).ok().map(Ok);
    Sse::new(news.filter_map(event))
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "says where it listens")]
async fn main() -> std::io::Result<()> {
    let address = std::env::var("LISTEN").unwrap_or_else(|_| "127.0.0.1:3000".to_owned());
    let listener = tokio::net::TcpListener::bind(address).await?;
    println!("http://{}", listener.local_addr()?);
    let first = Note { by: "Couplet".to_owned(), text: "It works: this device is paired.".to_owned() };
    let notes = Notes { all: Arc::new(Mutex::new(vec![first])), news: broadcast::channel(16).0 };
    let app = Router::new()
        .route("/", get(|| async { Html(PAGE) }))
        .route("/notes", get(list).post(add))
        .route("/events", get(events));
    axum::serve(listener, app.with_state(notes)).await
}
