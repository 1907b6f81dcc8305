//! `GET /api/pair/events`: what happens to pairings and devices, as server-sent events.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::sse::{Event as Frame, KeepAlive, Sse};
use couplet_protocol::Problem;
use couplet_protocol::api::Event;
use futures_util::{Stream, StreamExt, stream};
use http::{HeaderMap, HeaderName};
use tokio_stream::wrappers::BroadcastStream;

use super::caller::Owner;
use crate::logins::OwnerSession;
use crate::pairing::{Core, Pairing};
use crate::problem::Failure;

/// How often it is looked whether a session is over.
const LOOK: Duration = Duration::from_secs(10);

const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");

/// Tells the owner what happens. With `Last-Event-ID`, first what was missed; then an `id` without an event, so that a
/// stream that breaks before its first event can be taken up again, too. A listener that falls too far behind is let
/// go, and catches up when it comes back.
#[utoipa::path(get, path = "/api/pair/events", tag = "pairing", security(("owner" = [])),
    params(("last-event-id" = Option<u64>, Header, description = "the id of the last event seen")),
    responses((status = 200, body = Event, content_type = "text/event-stream"), (status = 401, body = Problem)))]
pub(super) async fn events(
    owner: Owner,
    State(pairing): State<Pairing>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Frame, Infallible>>>, Failure> {
    let last = headers.get(LAST_EVENT_ID).and_then(|id| id.to_str().ok()?.parse().ok());
    let (missed, reached, live) = pairing.core().events().since(last);
    let live = BroadcastStream::new(live)
        .take_while(|event| std::future::ready(event.is_ok()))
        .filter_map(|event| std::future::ready(event.ok()));
    let until = over(pairing.core().clone(), owner.session);
    let before = stream::iter(missed).map(|event| frame(&event));
    let opening = stream::iter([Frame::default().id(reached.to_string())]);
    let all = before.chain(opening).chain(live.map(|event| frame(&event))).map(Ok).take_until(until);
    Ok(Sse::new(all).keep_alive(KeepAlive::new().interval(Duration::from_secs(15))))
}

/// When nothing more is told: the host stops, or the session of the page that listens ends.
async fn over(core: Core, session: Option<Arc<OwnerSession>>) {
    let session_over = async {
        let Some(session) = session else { return std::future::pending().await };
        let timed_out = async {
            while core.now() < session.ends_at() {
                // The clock may jump ahead of the steady one.
                tokio::time::sleep(core.now().until(session.ends_at()).min(LOOK)).await;
            }
        };
        tokio::select! {
            () = session.ended.cancelled() => {}
            () = timed_out => {}
        }
    };
    tokio::select! {
        () = core.stopping().cancelled() => {}
        () = session_over => {}
    }
}

fn frame(event: &Arc<Event>) -> Frame {
    let data = serde_json::to_string(event.as_ref()).unwrap_or_default();
    Frame::default().id(event.id.to_string()).event(event.event.name()).data(data)
}
