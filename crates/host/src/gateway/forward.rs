//! One request, from the device to the app and back.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use couplet_protocol::Code;
use http::{Method, Request, Response, StatusCode, Version};
use http_body::Body;
use hyper::body::Incoming;
use hyper::client::conn::TrySendError;
use tokio::task::coop::unconstrained;
use tokio::time::Instant;

use super::alarm::Alarm;
use super::answer::AnswerBody;
use super::headers::{self, Peer, Rewrite, Seen};
use super::pool::{App, Link, Pool};
use super::request::{ClientBody, Flow, RequestBody, Stage};
use super::upgrade::Tunnel;
use crate::auth::{Authenticator, CredentialHeader};
use crate::clock::Timestamp;
use crate::config::{Limits, Upstream};
use crate::problem::Failure;
use crate::session::Session;

/// How long a client that waits for `100 Continue` waits at most: an app that knows no such thing never says it.
const CONTINUE_AFTER: Duration = Duration::from_secs(1);

/// Forwards the requests of devices to one app.
pub(super) struct Forwarder {
    pub(super) auth: Authenticator,
    pub(super) pool: Arc<Pool>,
    app: Arc<App>,
    answer_within: Duration,
    pub(super) body_within: Duration,
}

/// What came of a request.
pub struct Answer {
    /// For the client.
    pub response: Response<AnswerBody>,
    /// With a `101`: the app's end, to be joined with the client's once the head is written.
    pub tunnel: Option<Tunnel>,
    /// Whether the request's body was left unread, at least in part.
    pub cut_short: bool,
}

/// A request on its way: what must outlive its sending.
struct Course<'a> {
    alarm: &'a Alarm,
    session: Arc<Session>,
    flow: Option<Arc<Flow>>,
    held: bool,
    upgrade: bool,
}

impl Forwarder {
    pub(super) fn new(upstream: Upstream, auth: Authenticator, limits: &Limits) -> Self {
        let app = Arc::new(App::new(upstream));
        let connect_within = Duration::from_secs(limits.upstream_connect_seconds);
        Forwarder {
            auth,
            pool: Arc::new(Pool::new(app.clone(), connect_within)),
            app,
            answer_within: Duration::from_secs(limits.upstream_answer_seconds),
            body_within: limits.body_timeout(),
        }
    }

    /// Must be polled again when the session ends; `alarm` is the polling task's.
    pub(super) async fn forward(
        &self,
        mut request: Request<ClientBody>,
        session: Arc<Session>,
        credential: Option<CredentialHeader>,
        peer: &Peer,
        now: Timestamp,
        alarm: &Alarm,
    ) -> Result<Answer, Failure> {
        let authority = headers::target(&request)?;
        let seen = Seen::of(request.headers());
        if seen.has_unknown_coding(request.headers()) {
            let detail = "Send the body with Content-Length or as plain chunked.";
            return Err(Failure::new(Code::RequestNotForwardable, detail));
        }
        // An app that answers it would hand the device what only the app should see.
        if *request.method() == Method::TRACE && !self.app.headers.is_empty() {
            let detail = "TRACE is not forwarded to this app: its answer would show the headers that Couplet adds.";
            return Err(Failure::new(Code::RequestNotForwardable, detail));
        }
        let upgrade = headers::upgrade(seen, request.version(), request.headers());
        if upgrade.is_some() && credential == Some(CredentialHeader::Signature) {
            let detail = "What follows an upgrade is not signed: a watch reads answers as they come, or connects as other \
                          devices do.";
            return Err(Failure::new(Code::RequestNotForwardable, detail));
        }
        session.permits(now, request.method().as_str(), request.uri().path(), upgrade.is_some()).map_err(refusal)?;

        let body = request.body();
        let (has_body, is_sized) = (!body.is_end_stream(), body.size_hint().exact().is_some());
        let is_streamed = matches!(body, ClientBody::Stream(_));
        let held = has_body
            && is_streamed
            && request.version() != Version::HTTP_10
            && seen.expects_continue(request.headers());
        let course = Course {
            alarm,
            flow: has_body.then(|| Flow::new(self.app.clone(), held)),
            held,
            upgrade: upgrade.is_some(),
            session,
        };
        headers::rewrite_request(
            request.headers_mut(),
            Rewrite {
                seen,
                session: &course.session,
                credential,
                peer,
                authority,
                app: &self.app,
                upgrade,
                chunked: has_body && !is_sized,
                continues: held,
            },
        );
        let is_stream = request.version() == Version::HTTP_2;
        let (mut parts, body) = request.into_parts();
        parts.uri = headers::origin_form(parts.uri);
        parts.version = Version::HTTP_11;
        // What hyper's server notes of a request (how to upgrade it, say) means nothing to its client.
        parts.extensions.clear();
        let request = Request::from_parts(parts, RequestBody::new(body, course.flow.clone(), is_stream));
        let (response, link) = self.send(request, &course).await?;
        self.answer(response, link, course)
    }

    /// Sends on an idle connection or, when that one turns out to be closed before anything was written, on a
    /// fresh one.
    async fn send(
        &self,
        mut request: Request<RequestBody>,
        course: &Course<'_>,
    ) -> Result<(Response<Incoming>, Option<Box<Link>>), Failure> {
        let mut reused = self.pool.reuse();
        loop {
            let fresh = reused.is_none();
            let link = match reused.take() {
                Some(link) => link,
                None => self.connect(course).await?,
            };
            match self.exchange(link, request, course).await? {
                Sent::Answered(response, link) => return Ok((response, link)),
                Sent::Stale(unsent) if !fresh => request = unsent,
                Sent::Stale(_) => {
                    return Err(self.app.failure(Code::UpstreamBroken, "closes every connection. See its log."));
                }
            }
        }
    }

    async fn connect(&self, course: &Course<'_>) -> Result<Box<Link>, Failure> {
        tokio::select! {
            biased;
            link = self.pool.connect() => link,
            () = course.session.ended().cancelled() => Err(self.ended(course)),
        }
    }

    /// Sends one request and waits for the head of its answer, driving the connection meanwhile.
    async fn exchange(
        &self,
        link: Box<Link>,
        mut request: Request<RequestBody>,
        course: &Course<'_>,
    ) -> Result<Sent, Failure> {
        if let (true, Some(flow)) = (course.held, course.flow.clone()) {
            hyper::ext::on_informational(&mut request, move |response| {
                if response.status() == StatusCode::CONTINUE {
                    flow.release();
                }
            });
        }
        let mut link = Some(link);
        let Some(sender) = &mut link else { return Ok(Sent::Stale(request)) };
        let mut answer = pin!(unconstrained(sender.send.try_send_request(request)));
        let mut patience = Patience::new(self.answer_within, course);
        let answered = std::future::poll_fn(|cx| {
            if let Poll::Ready(answered) = poll_exchange(&mut link, answer.as_mut(), cx) {
                return Poll::Ready(Ok(answered));
            }
            if course.session.ended().is_cancelled() {
                return Poll::Ready(Err(self.ended(course)));
            }
            patience.poll(cx).map(|stage| Err(self.too_slow(stage)))
        });
        match answered.await? {
            Ok(response) => Ok(Sent::Answered(response, link)),
            Err(mut error) => match error.take_message() {
                Some(unsent) => Ok(Sent::Stale(unsent)),
                None => Err(self.broken(course, error.error())),
            },
        }
    }

    fn answer(
        &self,
        mut response: Response<Incoming>,
        link: Option<Box<Link>>,
        course: Course<'_>,
    ) -> Result<Answer, Failure> {
        let switching = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let seen = Seen::of(response.headers());
        let coded = seen.has_unknown_coding(response.headers());
        if switching && !course.upgrade || coded {
            let what = "gave an answer that cannot be passed on. See its log.";
            return Err(self.app.failure(Code::UpstreamBroken, what).because("unasked upgrade or unknown coding"));
        }
        let names_protocol = switching || response.status() == StatusCode::UPGRADE_REQUIRED;
        headers::rewrite_response(seen, response.headers_mut(), names_protocol);
        *response.version_mut() = Version::HTTP_11;
        // Among them is hyper's own way to upgrade, which would keep the connection alive.
        let (mut parts, incoming) = response.into_parts();
        parts.extensions.clear();
        if switching {
            let link =
                link.ok_or_else(|| self.app.failure(Code::UpstreamBroken, "left while upgrading. See its log."))?;
            let tunnel = Some(Tunnel::new(link.into_stream(), course.session));
            let response = Response::from_parts(parts, AnswerBody::ours(axum::body::Body::empty()));
            return Ok(Answer { response, tunnel, cut_short: false });
        }
        let uploading = course.flow.as_ref().is_some_and(|flow| flow.stage() != Stage::Done);
        let body = AnswerBody::apps(incoming, link, &self.pool, course.session, uploading);
        Ok(Answer { response: Response::from_parts(parts, body), tunnel: None, cut_short: uploading })
    }

    fn ended(&self, course: &Course<'_>) -> Failure {
        let now = self.auth.now();
        let code = course.session.is_live(now).err().unwrap_or(Code::DeviceUnknown);
        // A scope that was narrowed ends the session too, and says nothing about this request.
        refusal(if code.status() == 401 { code } else { Code::DeviceUnknown })
    }

    fn too_slow(&self, stage: Stage) -> Failure {
        if stage == Stage::Client {
            return Failure::new(Code::BodyTooSlow, "The request's body stopped arriving. Send it again.");
        }
        self.app.failure(Code::UpstreamSlow, "took too long to answer. See what it is doing, then try again.")
    }

    fn broken(&self, course: &Course<'_>, error: &hyper::Error) -> Failure {
        if course.flow.as_ref().is_some_and(|flow| flow.stage() == Stage::Broken) {
            return Failure::new(Code::RequestNotForwardable, "The request's body broke off or is not framed rightly.");
        }
        let what = if error.is_parse() {
            "gave an answer that is not HTTP. Check that the address is that of an HTTP server."
        } else {
            "broke off before it answered. See its log, then try again."
        };
        self.app.failure(Code::UpstreamBroken, what).because(error)
    }
}

enum Sent {
    Answered(Response<Incoming>, Option<Box<Link>>),
    /// The connection was closed already; nothing of the request went out.
    Stale(Request<RequestBody>),
}

type Answered = Result<Response<Incoming>, TrySendError<Request<RequestBody>>>;

/// Polls the connection, then the answer that only the connection can bring about: so the answer itself needs to
/// wake nobody, and must not be held back by the task's budget, as nothing would wake us then.
fn poll_exchange(
    link: &mut Option<Box<Link>>,
    mut answer: Pin<&mut impl Future<Output = Answered>>,
    cx: &mut Context<'_>,
) -> Poll<Answered> {
    let is_over = link.as_mut().is_none_or(|link| link.poll(cx).is_ready());
    let mut quiet = Context::from_waker(Waker::noop());
    match answer.as_mut().poll(&mut quiet) {
        Poll::Ready(Ok(response)) => {
            // An upgraded connection is over as HTTP, but its stream is still wanted.
            if is_over && response.status() != StatusCode::SWITCHING_PROTOCOLS {
                *link = None;
            }
            Poll::Ready(Ok(response))
        }
        Poll::Pending if is_over => {
            // Dropping the connection makes it give the unsent request back.
            *link = None;
            answer.poll(&mut quiet)
        }
        other => other,
    }
}

/// How long the app may take, counted from the last time the body moved.
struct Patience<'a> {
    limit: Duration,
    course: &'a Course<'a>,
    until: Instant,
    held: bool,
}

impl<'a> Patience<'a> {
    fn new(limit: Duration, course: &'a Course<'a>) -> Self {
        let first = if course.held { limit.min(CONTINUE_AFTER) } else { limit };
        Patience { limit, course, until: Instant::now() + first, held: course.held }
    }

    /// Ready when it is over, with the one who was waited for.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Stage> {
        loop {
            ready!(self.course.alarm.poll(self.until, cx));
            let Some(flow) = &self.course.flow else { return Poll::Ready(Stage::Done) };
            let end = flow.last_move() + self.limit;
            if self.held {
                flow.release();
                self.held = false;
            } else if end <= Instant::now() {
                return Poll::Ready(flow.stage());
            }
            self.until = end;
        }
    }
}

pub(super) fn refusal(code: Code) -> Failure {
    let detail = match code {
        Code::DeviceUnknown => "Pair this device again.",
        Code::DeviceExpired => "Ask the owner to extend this device's access, or pair it again.",
        Code::MethodOutOfScope => "Use GET, HEAD or OPTIONS, or ask the owner for a wider scope.",
        Code::PathOutOfScope => "Use a path within this device's scope, or ask the owner for a wider one.",
        Code::PathAmbiguous => "Send the path without dot segments, empty segments, '%', ';' and '\\'.",
        _ => "Ask the owner.",
    };
    Failure::new(code, detail)
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use couplet_protocol::DeviceName;
    use tokio::time::sleep_until;

    use super::*;
    use crate::session::Device;

    fn course(alarm: &Alarm, held: bool) -> Course<'_> {
        let upstream = Upstream { name: "web".into(), authority: "127.0.0.1:1".into(), headers: vec![] };
        let device =
            Device { device_id: uuid::Uuid::nil(), device_name: DeviceName::parse("d").unwrap(), device_model: None };
        let flow = Some(Flow::new(Arc::new(App::new(upstream)), held));
        let session = Arc::new(Session::new(device, Default::default(), None));
        Course { alarm, session, flow, held, upgrade: false }
    }

    async fn seconds_until_given_up(moves: &[(u64, Stage)]) -> (u64, Stage) {
        let alarm = Alarm::default();
        let course = course(&alarm, false);
        let start = Instant::now();
        let flow = course.flow.clone().unwrap();
        let upload = async {
            for (at, stage) in moves {
                sleep_until(start + Duration::from_secs(*at)).await;
                flow.at(*stage);
            }
        };
        let mut patience = Patience::new(Duration::from_secs(10), &course);
        let (stage, ()) = tokio::join!(poll_fn(|cx| patience.poll(cx)), upload);
        (start.elapsed().as_secs(), stage)
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_counts_from_the_last_move_of_the_body() {
        assert_eq!(seconds_until_given_up(&[]).await, (10, Stage::App));
        let long = [(8, Stage::App), (16, Stage::App), (24, Stage::Done)];
        assert_eq!(seconds_until_given_up(&long).await, (34, Stage::Done));
        // Waiting for the client is no move.
        let stalled = [(8, Stage::App), (9, Stage::Client)];
        assert_eq!(seconds_until_given_up(&stalled).await, (18, Stage::Client));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_waits_to_continue_is_let_go_on_after_a_second() {
        let alarm = Alarm::default();
        let course = course(&alarm, true);
        let released = course.flow.clone().unwrap();
        let mut patience = Patience::new(Duration::from_secs(10), &course);
        let mut patience = poll_fn(|cx| patience.poll(cx));
        assert!(tokio::time::timeout(Duration::from_millis(900), &mut patience).await.is_err());
        assert!(released.is_held());
        assert!(tokio::time::timeout(Duration::from_millis(200), &mut patience).await.is_err());
        assert!(!released.is_held());
    }
}
